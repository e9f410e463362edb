/*
 * test_case_tmf.c - task management, from either side of the session's own escalation (RFC 7143 7.2, 11.5, 11.6)
 */
#include "case.h"

struct ending {
    bool ended;
    int resp, err;
};

static void reset_done(void *user, int resp, int err)
{
    struct ending *o = user;

    *o = (struct ending){ true, resp, err };
}

/* ---- from above ----------------------------------------------------------------------------------------- */

/* Answers a reset with what the row says; checks what it asks. */
static bool answer_tmf(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->pdu.opcode != ISCSI_OP_TMF)
        return false;
    if (!c->pdu.immediate || !c->pdu.final || c->pdu.tmf.function != ISCSI_TMF_LUN_RESET ||
        c->pdu.tmf.ref_task_tag != ISCSI_TAG_RESERVED || c->pdu.lun != scsi_lun_encode(3) || c->len ||
        c->pdu.cmd_sn != c->exp_cmd_sn)
        x->faults++;
    x->seen++;
    fake_tmf(c, (uint8_t)x->which);
    return true;
}

static void reset_answered(uint8_t resp)
{
    struct scene x;
    struct ending o = { 0 };

    scene_init(&x, NULL, answer_tmf);
    x.which = resp;
    scene_go(&x);
    ini_lun_reset(x.r.s, 3, reset_done, &o);
    assert_false(o.ended);
    rig_until(&x.r, o.ended);
    assert_int_equal(o.err, 0);
    assert_int_equal(o.resp, resp);
    still_works(&x, 1);
    assert_int_equal(x.seen, 1);
    scene_end(&x);
}

#define ANSWER(name, resp)                                                                                    \
    static void name(void **state)                                                                            \
    {                                                                                                         \
        (void)state;                                                                                          \
        reset_answered(resp);                                                                                 \
    }
ANSWER(test_a_reset_that_is_done_is_said_so, ISCSI_TMF_COMPLETE)
ANSWER(test_a_reset_of_no_task_is_said_so, ISCSI_TMF_NO_TASK)
ANSWER(test_a_reset_of_no_unit_is_said_so, ISCSI_TMF_NO_LUN)
ANSWER(test_a_reset_of_what_is_still_allegiant_is_said_so, ISCSI_TMF_STILL_ALLEGIANT)
ANSWER(test_a_reset_that_is_not_supported_is_said_so, ISCSI_TMF_NOT_SUPPORTED)
ANSWER(test_a_reset_that_is_not_permitted_is_said_so, ISCSI_TMF_AUTH_FAILED)
ANSWER(test_a_reset_that_is_rejected_is_said_so, ISCSI_TMF_REJECTED)
ANSWER(test_a_reset_with_an_answer_to_come_is_said_so, 0x77)

static bool deaf_to_tmf(struct fake_conn *c)
{
    return !c->nr && c->pdu.opcode == ISCSI_OP_TMF;
}

/* Without pings an idle session looks at nothing for a long time. */
static void test_an_unanswered_reset_ends_at_its_timeout(void **state)
{
    struct scene x;
    struct ending o = { 0 };

    (void)state;
    scene_init(&x, NULL, deaf_to_tmf);
    x.r.conf.set.lu_reset_timeout_s = 1;
    x.r.conf.set.noop_interval_s = 3600;
    scene_go(&x);
    rig_for(&x.r, 500);                     /* so that the tick of the login is over */
    ini_lun_reset(x.r.s, 3, reset_done, &o);
    rig_until(&x.r, o.ended);
    assert_int_equal(o.err, -ECONNRESET);
    rig_until(&x.r, x.r.ups == 2);
    still_works(&x, 2);
    scene_end(&x);
}

static void test_two_resets_at_once_are_one_too_many(void **state)
{
    struct scene x;
    struct ending a = { 0 }, b = { 0 };

    (void)state;
    scene_init(&x, NULL, answer_tmf);
    scene_go(&x);
    ini_lun_reset(x.r.s, 3, reset_done, &a);
    ini_lun_reset(x.r.s, 3, reset_done, &b);
    assert_true(b.ended);
    assert_int_equal(b.err, -EBUSY);
    rig_until(&x.r, a.ended);
    assert_int_equal(a.err, 0);
    ini_lun_reset(x.r.s, 3, reset_done, &b);
    rig_until(&x.r, b.err == 0);
    scene_end(&x);
}

/* 7.2.2, 11.5.1: what the unit had is gone with the reset, and is sent again; what came after it is not. */
static bool swallow_then_reset(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    return is_cmd(c) && x->sent++ < 3;
}

static void test_commands_that_a_reset_ended_are_sent_again(void **state)
{
    struct scene x;
    struct ending o = { 0 };

    (void)state;
    scene_up(&x, NULL, swallow_then_reset);
    for (unsigned i = 0; i < 3; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    rig_until(&x.r, x.sent == 3);
    ini_lun_reset(x.r.s, 0, reset_done, &o);
    for (unsigned i = 0; i < 3; i++) {
        rig_until(&x.r, x.c[i].ended);
        assert_int_equal(x.c[i].t.err, 0);
        assert_int_equal(x.f.lba[i], i);
    }
    assert_true(o.ended);
    assert_int_equal(x.f.writes, 3);
    still_works(&x, 1);
    scene_end(&x);
}

/* ---- answers that fit nothing --------------------------------------------------------------------------- */

static bool unasked(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_TMF_RESP, .final = true, .itt = 0x1234f003, .ttt = ISCSI_TAG_RESERVED
    };
    uint8_t bhs[ISCSI_BHS_LEN];

    if (!is_cmd(c) || x->sent++)
        return false;
    if (x->which == 1)
        p.itt = c->pdu.itt;
    numbered_bhs(c, bhs, p);
    if (x->which == 2)
        store_be32(bhs + 16, ISCSI_TAG_RESERVED);
    fake_send_bhs(c, bhs, NULL, 0);
    return false;
}

static void nobody_asked(uintptr_t which, unsigned ups)
{
    struct scene x;

    scene_init(&x, NULL, unasked);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended && x.r.ups == ups);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, ups);
    scene_end(&x);
}

static void test_an_answer_to_no_request_is_ignored(void **state)
{
    (void)state;
    nobody_asked(0, 1);
}

static void test_an_answer_under_the_tag_of_a_command_is_ignored(void **state)
{
    (void)state;
    nobody_asked(1, 1);
}

static void test_an_answer_under_the_reserved_tag_costs_the_session(void **state)
{
    (void)state;
    nobody_asked(2, 2);
}

/* The same answer twice; the second may come when another request is out. */
static bool twice(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_TMF)
        return false;
    fake_tmf(c, ISCSI_TMF_COMPLETE);
    fake_tmf(c, ISCSI_TMF_REJECTED);
    return true;
}

static void test_an_answer_that_comes_twice_counts_once(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, twice);
    for (unsigned i = 0; i < 5; i++) {
        struct ending o = { 0 };

        ini_lun_reset(x.r.s, 3, reset_done, &o);
        rig_until(&x.r, o.ended);
        assert_int_equal(o.resp, ISCSI_TMF_COMPLETE);
    }
    still_works(&x, 1);
    scene_end(&x);
}

/* ---- the session's own: ABORT TASK ---------------------------------------------------------------------- */

static struct iscsi_pdu late;

/* 11.5.4, 11.5.5: the tag of the task, its LUN, and the number that it was sent with. */
static bool look_at_abort(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_cmd(c) && !x->sent++) {
        late = c->pdu;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_TMF || x->seen++)
        return false;
    if (c->pdu.tmf.function != ISCSI_TMF_ABORT_TASK || c->pdu.tmf.ref_task_tag != late.itt ||
        c->pdu.tmf.ref_cmd_sn != late.cmd_sn || c->pdu.lun != late.lun || c->pdu.itt == late.itt ||
        !c->pdu.immediate)
        x->faults++;
    fake_tmf(c, (uint8_t)x->which);
    return true;
}

static void aborted(uint8_t resp, unsigned resets)
{
    struct scene x;

    scene_init(&x, NULL, look_at_abort);
    x.which = resp;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 5, 1);
    x.c[0].t.timeout_s = 1;
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.f.resets > 0, resets);
    assert_true(x.f.writes >= 1);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_an_abort_names_the_task_as_it_was_sent(void **state)
{
    (void)state;
    aborted(ISCSI_TMF_COMPLETE, 0);
}

static void test_an_abort_that_finds_no_task_means_that_it_never_came(void **state)
{
    (void)state;
    aborted(ISCSI_TMF_NO_TASK, 0);
}

static void test_an_abort_that_is_refused_becomes_a_reset(void **state)
{
    (void)state;
    aborted(ISCSI_TMF_AUTH_FAILED, 1);
}

/* A write that waits for its R2T is aborted; the R2T that comes all the same is not answered. */
static bool r2t_after_abort(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu r2t = { .opcode = ISCSI_OP_R2T, .final = true, .ttt = 5, .r2t.length = 4096 };

    if (c->pdu.opcode == ISCSI_OP_DATA_OUT && c->pdu.itt == late.itt) {
        x->faults++;
        return true;
    }
    if (is_cmd(c) && !x->sent++) {
        late = c->pdu;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_TMF)
        return false;
    fake_tmf(c, ISCSI_TMF_COMPLETE);
    r2t.lun = late.lun;
    r2t.itt = late.itt;
    send_unnumbered(c, r2t, NULL, 0);
    return true;
}

static void ask_script(struct fake_conn *c)
{
    static const char keys[] = CASE_KEYS("None", "Yes", "No", "1048576", "1048576", "262144");

    if (LOGIN_WITH(c, keys))
        fake_serve(c);
}

static void test_an_r2t_of_an_aborted_write_is_not_answered(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, ask_script, r2t_after_abort);
    cmd_write(&x.r, &x.c[0], 5, 8);
    x.c[0].t.timeout_s = 1;
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, 1);
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 11.5, 11.6.1: LOGICAL UNIT RESET as it must be; response 0 */
        cmocka_unit_test(test_a_reset_that_is_done_is_said_so),
        /* 11.6.1: response 1 */
        cmocka_unit_test(test_a_reset_of_no_task_is_said_so),
        /* 11.6.1: response 2 */
        cmocka_unit_test(test_a_reset_of_no_unit_is_said_so),
        /* 11.6.1: response 3 */
        cmocka_unit_test(test_a_reset_of_what_is_still_allegiant_is_said_so),
        /* 11.6.1: response 5 */
        cmocka_unit_test(test_a_reset_that_is_not_supported_is_said_so),
        /* 11.6.1: response 6 */
        cmocka_unit_test(test_a_reset_that_is_not_permitted_is_said_so),
        /* 11.6.1: response 255 */
        cmocka_unit_test(test_a_reset_that_is_rejected_is_said_so),
        /* 11.6.1: a response that is not assigned */
        cmocka_unit_test(test_a_reset_with_an_answer_to_come_is_said_so),
        /* 11.5: no answer, on a session that is idle */
        cmocka_unit_test(test_an_unanswered_reset_ends_at_its_timeout),
        /* 11.5: one at a time */
        cmocka_unit_test(test_two_resets_at_once_are_one_too_many),
        /* 11.5.1, 4.2.3: what the reset ended is sent again, in order */
        cmocka_unit_test(test_commands_that_a_reset_ended_are_sent_again),
        /* 11.6: an answer to nothing */
        cmocka_unit_test(test_an_answer_to_no_request_is_ignored),
        /* 11.6: an answer under the tag of a command */
        cmocka_unit_test(test_an_answer_under_the_tag_of_a_command_is_ignored),
        /* 11.2.1.8: an answer under the reserved tag */
        cmocka_unit_test(test_an_answer_under_the_reserved_tag_costs_the_session),
        /* 11.6: an answer twice */
        cmocka_unit_test(test_an_answer_that_comes_twice_counts_once),
        /* 11.5.4, 11.5.5: ABORT TASK: tag, LUN and RefCmdSN */
        cmocka_unit_test(test_an_abort_names_the_task_as_it_was_sent),
        /* 11.6.1: no such task: sent again */
        cmocka_unit_test(test_an_abort_that_finds_no_task_means_that_it_never_came),
        /* 11.6.1: refused: the next step */
        cmocka_unit_test(test_an_abort_that_is_refused_becomes_a_reset),
        /* 11.5.1, 11.8: an R2T that comes after the abort */
        cmocka_unit_test(test_an_r2t_of_an_aborted_write_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
