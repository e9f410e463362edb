/*
 * test_case_numbers.c - CmdSN, ExpCmdSN, MaxCmdSN, StatSN, tags (RFC 7143 4.2.2)
 */
#include "case.h"

/* ---- what the session sends ----------------------------------------------------------------------------- */

/* CmdSN goes up by one a command and by none for what is immediate; tags are not used twice at a time. */
static bool look_at_numbers(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    static uint32_t next, tags[64];

    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD || c->pdu.opcode == ISCSI_OP_TMF) {
        if (x->seen && c->pdu.cmd_sn != next)
            x->faults++;
        next = c->pdu.cmd_sn + !c->pdu.immediate;
        if (c->pdu.immediate != (c->pdu.opcode == ISCSI_OP_TMF))
            x->faults++;
        for (unsigned i = 0; i < x->seen; i++)
            if (tags[i] == c->pdu.itt)
                x->faults++;
        if (x->seen < 64)
            tags[x->seen++] = c->pdu.itt;
    }
    return false;
}

static void nothing(void *user, int resp, int err)
{
    (void)user, (void)resp, (void)err;
}

static void test_numbers_go_up_by_one_and_tags_differ(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, look_at_numbers);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 4; i++)
            cmd_read(&x.r, &x.c[i], i, 1);
        ini_lun_reset(x.r.s, 9, nothing, NULL);
        for (unsigned i = 0; i < 4; i++)
            rig_until(&x.r, x.c[i].ended);
    }
    still_works(&x, 1);
    assert_true(x.seen >= 21);
    scene_end(&x);
}

/* ExpStatSN says what came, no more and no less. */
static bool look_at_exp_stat_sn(struct fake_conn *c)
{
    if (is_cmd(c) && c->pdu.exp_stat_sn != c->stat_sn)
        scene_of(c)->faults++;
    return false;
}

static void test_exp_stat_sn_follows_the_responses(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, look_at_exp_stat_sn);
    for (unsigned i = 0; i < 20; i++) {
        cmd_read(&x.r, &x.c[0], i, 1);
        rig_until(&x.r, x.c[0].ended);
    }
    still_works(&x, 1);
    scene_end(&x);
}

/* ---- StatSN --------------------------------------------------------------------------------------------- */

enum row { ZERO, WRAP, SKIPPED, REPEATED, SHUT, BACK, BEYOND, BELOW };

static void stat_sn_script(struct fake_conn *c)
{
    const uintptr_t which = scene_of(c)->which;

    if (which == ZERO)
        c->stat_sn = 0;
    if (which == WRAP)
        c->stat_sn = 0xfffffffc;
    fake_default_script(c);
}

static bool odd_stat_sn(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || x->sent++)
        return false;
    if (x->which == SKIPPED)
        c->stat_sn++;
    if (x->which == REPEATED) {             /* the response before this, once more */
        struct iscsi_pdu p = fake_resp(SCSI_BUSY);

        p.itt = c->pdu.itt;
        p.stat_sn = c->stat_sn - 1;
        p.exp_cmd_sn = c->exp_cmd_sn;
        p.max_cmd_sn = c->exp_cmd_sn + 63;
        fake_send_raw(c, p, NULL, 0);
    }
    return false;
}

static void numbered(enum row which, enum outcome how)
{
    struct scene x;

    scene_init(&x, stat_sn_script, odd_stat_sn);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 8);
    command_comes_to(&x, how);
    for (unsigned i = 0; i < 10; i++)
        still_works(&x, how == IS_LOST ? 2 : 1);
    scene_end(&x);
}

/* ---- the window ----------------------------------------------------------------------------------------- */

/* fake_recv() has counted it when it was the next. */
static bool in_window(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c))
        return false;
    if (c->pdu.cmd_sn != c->exp_cmd_sn - 1)
        x->faults++;
    return false;
}

static void narrow_script(struct fake_conn *c)
{
    c->window = 1;
    fake_default_script(c);
}

static void test_a_window_of_one_takes_one_at_a_time(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, narrow_script, in_window);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 6; i++)
            cmd_write(&x.r, &x.c[i], 6 * round + i, 1);
        for (unsigned i = 0; i < 6; i++)
            rig_until(&x.r, x.c[i].ended);
    }
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(x.f.lba[i], i);
    still_works(&x, 1);
    scene_end(&x);
}

static void wide_script(struct fake_conn *c)
{
    c->window = 0x40000000;
    fake_default_script(c);
}

static void test_a_window_of_a_billion_is_used_as_far_as_there_are_tags(void **state)
{
    struct scene x;
    struct ini_sess_info info;

    (void)state;
    scene_init(&x, wide_script, in_window);
    x.r.conf.set.cmds_max = 3;
    scene_go(&x);
    ini_sess_info(x.r.s, &info);
    assert_int_equal(info.window, 0x40000000);
    for (unsigned i = 0; i < 7; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    ini_sess_info(x.r.s, &info);
    assert_int_equal(info.in_flight, 3);
    for (unsigned i = 0; i < 7; i++)
        rig_until(&x.r, x.c[i].ended);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(x.f.lba[i], i);
    still_works(&x, 1);
    scene_end(&x);
}

/* The window holds nothing back that is immediate; a command waits until the answer to that opens it. */
static void shut_script(struct fake_conn *c)
{
    c->window = 0;
    fake_default_script(c);
}

static bool opens_at_tmf(struct fake_conn *c)
{
    if (is_cmd(c) && !c->window)
        scene_of(c)->faults++;
    if (c->pdu.opcode != ISCSI_OP_TMF)
        return false;
    scene_of(c)->seen++;
    c->window = 8;
    return false;
}

static void test_immediate_requests_pass_a_window_that_is_shut(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, shut_script, opens_at_tmf);
    cmd_write(&x.r, &x.c[0], 0, 1);
    ini_lun_reset(x.r.s, 9, nothing, NULL);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.seen, 1);
    still_works(&x, 1);
    scene_end(&x);
}

/* A window as the row has it in one response; the next command goes out all the same, or not before the window
 * opens. */
static bool odd_window(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = fake_resp(SCSI_GOOD);

    if (!is_cmd(c) || x->sent++)
        return false;
    p.itt = c->pdu.itt;
    p.stat_sn = c->stat_sn++;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + 63;
    switch (x->which) {
    case BACK:                              /* MaxCmdSN never goes back */
        p.max_cmd_sn = p.exp_cmd_sn + 1;
        break;
    case BEYOND:                            /* what was never sent is acknowledged */
        p.exp_cmd_sn += 1000;
        p.max_cmd_sn = p.exp_cmd_sn + 5;
        break;
    case BELOW:                             /* MaxCmdSN < ExpCmdSN - 1 makes both void */
        p.max_cmd_sn = p.exp_cmd_sn - 2;
        break;
    case SHUT:                              /* an old response, overtaken by nobody: still no reason to stop */
        p.exp_cmd_sn -= 3;
        p.max_cmd_sn = p.exp_cmd_sn - 1;
        break;
    default:
        break;
    }
    fake_send_raw(c, p, NULL, 0);
    return true;
}

static void window(enum row which)
{
    struct scene x;

    scene_init(&x, NULL, odd_window);
    x.which = which;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    for (unsigned i = 1; i < 7; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    for (unsigned i = 1; i < 7; i++) {
        rig_until(&x.r, x.c[i].ended);
        assert_int_equal(x.c[i].t.err, 0);
    }
    still_works(&x, 1);
    scene_end(&x);
}

/* The last Login Response opens the window. One without sense admits a command, whose response says more. */
static void odd_login_window_script(struct fake_conn *c)
{
    struct iscsi_pdu p;

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    p = fake_login_resp(c, true, 1, 3, 0);
    p.stat_sn = c->stat_sn++;
    p.exp_cmd_sn = c->exp_cmd_sn + 7000;
    p.max_cmd_sn = c->exp_cmd_sn - 9000;
    fake_send_raw(c, p, fake_keys, sizeof(fake_keys));
    fake_serve(c);
}

static void test_a_login_with_a_window_without_sense_admits_a_command(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, odd_login_window_script, NULL);
    for (unsigned i = 0; i < 5; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    for (unsigned i = 0; i < 5; i++)
        rig_until(&x.r, x.c[i].ended);
    still_works(&x, 1);
    scene_end(&x);
}

#define CASES(X)                                                                                              \
    /* 4.2.2.2: StatSN may start at 0 */                                                                      \
    X(test_stat_sn_from_0_is_taken, numbered, ZERO, IS_GOOD)                                                  \
    /* 4.2.2.2, RFC 1982: StatSN across zero */                                                               \
    X(test_stat_sn_wraps, numbered, WRAP, IS_GOOD)                                                            \
    /* 4.2.2.2: a response that is missing cannot be had at ErrorRecoveryLevel 0 */                           \
    X(test_a_missing_response_costs_the_session, numbered, SKIPPED, IS_LOST)                                  \
    /* 4.2.2.2: a response that was there already */                                                          \
    X(test_a_response_sent_again_is_ignored, numbered, REPEATED, IS_GOOD)                                     \
    /* 4.2.2.1: MaxCmdSN never goes back */                                                                   \
    X(test_a_window_that_goes_back_is_ignored, window, BACK)                                                  \
    /* 4.2.2.1: ExpCmdSN beyond what was sent */                                                              \
    X(test_a_window_beyond_what_was_sent_is_ignored, window, BEYOND)                                          \
    /* 4.2.2.1: MaxCmdSN less than ExpCmdSN - 1 */                                                            \
    X(test_a_window_of_less_than_nothing_is_ignored, window, BELOW)                                           \
    /* 4.2.2.1: ExpCmdSN that goes back */                                                                    \
    X(test_an_old_window_is_ignored, window, SHUT)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 4.2.2.1, 11.2.1.8: CmdSN advances by 1, not for immediate requests; tags in use differ */
        cmocka_unit_test(test_numbers_go_up_by_one_and_tags_differ),
        /* 4.2.2.2: ExpStatSN acknowledges what came */
        cmocka_unit_test(test_exp_stat_sn_follows_the_responses),
        /* 4.2.2.1: nothing is sent past MaxCmdSN, and the order of submission is kept */
        cmocka_unit_test(test_a_window_of_one_takes_one_at_a_time),
        /* 4.2.2.1: a window larger than anybody needs */
        cmocka_unit_test(test_a_window_of_a_billion_is_used_as_far_as_there_are_tags),
        /* 4.2.2.1: immediate requests are outside of the window */
        cmocka_unit_test(test_immediate_requests_pass_a_window_that_is_shut),
        /* 4.2.2.1: a login whose window makes no sense */
        cmocka_unit_test(test_a_login_with_a_window_without_sense_admits_a_command),
        CASES(CASE_ENTRY)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
