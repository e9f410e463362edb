/*
 * test_case_nop.c - pings of both sides (RFC 7143 11.18, 11.19)
 */
#include "case.h"

#define PINGS 40u

static struct iscsi_pdu ping(uint32_t ttt)
{
    return (struct iscsi_pdu){
        .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ttt
    };
}

static bool is_pong(const struct fake_conn *c)
{
    return c->pdu.opcode == ISCSI_OP_NOP_OUT && c->pdu.itt == ISCSI_TAG_RESERVED;
}

/* Many in one segment, each under a tag and a LUN of its own. The answers are checked off in order. */
static bool many_pings(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    uint8_t all[PINGS * ISCSI_BHS_LEN];

    if (is_pong(c)) {
        if (c->pdu.ttt != 1000 + x->seen || c->pdu.lun != (uint64_t)x->seen << 48)
            x->faults++;
        x->seen++;
        return true;
    }
    if (!is_cmd(c) || x->sent++)
        return false;
    for (uint32_t i = 0; i < PINGS; i++) {
        struct iscsi_pdu p = ping(1000 + i);

        p.lun = (uint64_t)i << 48;
        p.stat_sn = c->stat_sn;
        p.exp_cmd_sn = c->exp_cmd_sn;
        p.max_cmd_sn = c->exp_cmd_sn + 63;
        iscsi_pdu_encode(all + i * ISCSI_BHS_LEN, &p);
    }
    fake_write(c->fd, all, sizeof(all));
    return false;
}

static void test_each_of_many_pings_is_answered(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, many_pings);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended && x.seen == PINGS);
    still_works(&x, 1);
    assert_int_equal(x.seen, PINGS);
    scene_end(&x);
}

/* 11.18: immediate, without data, ITT reserved, and CmdSN not used up by it. */
static bool look_at_pong(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_pong(c)) {
        if (!c->pdu.immediate || !c->pdu.final || c->len || c->pdu.cmd_sn != c->exp_cmd_sn ||
            c->pdu.exp_stat_sn != c->stat_sn)
            x->faults++;
        x->seen++;
        return true;
    }
    if (!is_cmd(c) || x->sent++)
        return false;
    fake_answer(c);
    send_unnumbered(c, ping(7), "four", (uint32_t)x->which);
    return true;
}

static void test_the_answer_to_a_ping_is_immediate_and_numbered_as_it_must_be(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, look_at_pong);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.seen == 1);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_a_ping_with_data_that_it_must_not_have_is_answered_without(void **state)
{
    struct scene x;

    (void)state;
    scene_init(&x, NULL, look_at_pong);
    x.which = 4;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.seen == 1);
    still_works(&x, 1);
    scene_end(&x);
}

/* 11.19: both tags reserved: nothing to answer. */
static bool only_tell(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->pdu.opcode == ISCSI_OP_NOP_OUT)
        x->faults++;
    if (is_cmd(c))
        for (unsigned i = 0; i < 5; i++)
            send_unnumbered(c, ping(ISCSI_TAG_RESERVED), NULL, 0);
    return false;
}

static void test_a_nop_in_that_asks_nothing_is_not_answered(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, only_tell);
    for (unsigned i = 0; i < 3; i++) {
        cmd_read(&x.r, &x.c[i], 0, 1);
        rig_until(&x.r, x.c[i].ended);
    }
    still_works(&x, 1);
    scene_end(&x);
}

/* 4.2.2.1: the window of a NOP-In counts, whether or not it asks. */
static void shut_then_open_script(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct timeval quick = { .tv_usec = 50000 }, slow = { .tv_sec = 60 };
    uint8_t b;

    c->window = 0;
    if (!fake_login(c))
        return;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &quick, sizeof(quick));
    if (recv(c->fd, &b, 1, MSG_PEEK) > 0)
        x->faults++;                        /* sent into a window that is shut */
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &slow, sizeof(slow));
    c->window = 64;
    send_unnumbered(c, ping(x->which ? 5 : ISCSI_TAG_RESERVED), NULL, 0);
    fake_serve(c);
}

static void window_opens(uintptr_t asks)
{
    struct scene x;

    scene_init(&x, shut_then_open_script, NULL);
    x.which = asks;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_a_nop_in_that_asks_nothing_opens_the_window(void **state)
{
    (void)state;
    window_opens(0);
}

static void test_a_ping_opens_the_window(void **state)
{
    (void)state;
    window_opens(1);
}

/* More than are kept, faster than they are answered: some go unanswered, nothing grows, nothing breaks. */
static bool storm(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_pong(c)) {
        x->seen++;
        return true;
    }
    if (is_cmd(c) && !x->sent++)
        for (uint32_t i = 0; i < 20000; i++)
            send_unnumbered(c, ping(i), NULL, 0);
    return false;
}

static void test_a_storm_of_pings_does_not_stop_the_work(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, storm);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, 1);
    assert_true(x.seen >= 1);
    scene_end(&x);
}

/* Between an R2T and its data. */
static bool ping_then_fetch(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_pong(c)) {
        x->seen++;
        return true;
    }
    if (is_cmd(c))
        send_unnumbered(c, ping(9), NULL, 0);
    return false;
}

static void ask_script(struct fake_conn *c)
{
    static const char keys[] = CASE_KEYS("None", "Yes", "No", "1048576", "1048576", "262144");

    if (LOGIN_WITH(c, keys))
        fake_serve(c);
}

static void test_a_ping_in_the_middle_of_a_write_is_answered(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, ask_script, ping_then_fetch);
    cmd_write(&x.r, &x.c[0], 0, 8);
    rig_until(&x.r, x.c[0].ended && x.seen);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.f.writes, 1);
    still_works(&x, 1);
    scene_end(&x);
}

/* ---- our own -------------------------------------------------------------------------------------------- */

static bool look_at_ping(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->pdu.opcode != ISCSI_OP_NOP_OUT)
        return false;
    if (!c->pdu.immediate || c->pdu.itt == ISCSI_TAG_RESERVED || c->pdu.ttt != ISCSI_TAG_RESERVED ||
        c->pdu.cmd_sn != c->exp_cmd_sn || c->pdu.exp_stat_sn != c->stat_sn)
        x->faults++;
    x->seen++;
    return false;
}

static void pings_of_ours(fake_hook *hook, uintptr_t which, unsigned nr)
{
    struct scene x;

    scene_init(&x, NULL, hook);
    x.which = which;
    x.r.conf.set.noop_interval_s = 1;
    x.r.conf.set.noop_timeout_s = 60;
    scene_go(&x);
    rig_until(&x.r, x.seen >= nr);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_a_quiet_target_is_pinged_by_the_rules(void **state)
{
    (void)state;
    pings_of_ours(look_at_ping, 0, 1);
}

/* Answers that are odd: of another tag, twice, with other data, with a TTT. */
static bool odd_answer(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = ping(ISCSI_TAG_RESERVED);
    char data[4096] = "what nobody sent";

    if (c->pdu.opcode != ISCSI_OP_NOP_OUT || is_pong(c))
        return false;
    x->seen++;
    p.itt = c->pdu.itt;
    switch (x->which) {
    case 0:
        p.itt ^= 0x00550000;
        fake_send(c, p, NULL, 0);
        p.itt = c->pdu.itt;
        break;
    case 1:
        fake_send(c, p, NULL, 0);
        break;
    case 2:
        fake_send(c, p, data, sizeof(data));
        return true;
    default:
        p.ttt = 77;
        break;
    }
    fake_send(c, p, NULL, 0);
    return true;
}

static void test_an_answer_to_a_ping_never_sent_is_ignored(void **state)
{
    (void)state;
    pings_of_ours(odd_answer, 0, 1);
}

static void test_a_ping_answered_twice_is_answered(void **state)
{
    (void)state;
    pings_of_ours(odd_answer, 1, 1);
}

static void test_data_that_no_ping_had_are_ignored(void **state)
{
    (void)state;
    pings_of_ours(odd_answer, 2, 1);
}

static void test_an_answer_to_a_ping_with_a_transfer_tag_counts(void **state)
{
    (void)state;
    pings_of_ours(odd_answer, 3, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 11.18, 11.19: each NOP-In with a Target Transfer Tag is answered, under its tag and LUN */
        cmocka_unit_test(test_each_of_many_pings_is_answered),
        /* 11.18: the answer is immediate, under the reserved tag, and uses no CmdSN up */
        cmocka_unit_test(test_the_answer_to_a_ping_is_immediate_and_numbered_as_it_must_be),
        /* 11.19: a ping of a target has no data */
        cmocka_unit_test(test_a_ping_with_data_that_it_must_not_have_is_answered_without),
        /* 11.19: both tags reserved: nothing is asked */
        cmocka_unit_test(test_a_nop_in_that_asks_nothing_is_not_answered),
        /* 4.2.2.1, 11.19: the window of a NOP-In that asks nothing counts */
        cmocka_unit_test(test_a_nop_in_that_asks_nothing_opens_the_window),
        /* 4.2.2.1, 11.19: the window of a ping counts */
        cmocka_unit_test(test_a_ping_opens_the_window),
        /* hostile: pings faster than they are answered */
        cmocka_unit_test(test_a_storm_of_pings_does_not_stop_the_work),
        /* 11.19: a ping between R2T and data */
        cmocka_unit_test(test_a_ping_in_the_middle_of_a_write_is_answered),
        /* 11.18: our own ping: immediate, a tag of its own, no transfer tag */
        cmocka_unit_test(test_a_quiet_target_is_pinged_by_the_rules),
        /* 11.19: an answer under another tag */
        cmocka_unit_test(test_an_answer_to_a_ping_never_sent_is_ignored),
        /* 11.19: an answer twice */
        cmocka_unit_test(test_a_ping_answered_twice_is_answered),
        /* 11.18.3: an answer with data that were not sent */
        cmocka_unit_test(test_data_that_no_ping_had_are_ignored),
        /* 11.19.1: an answer with a Target Transfer Tag */
        cmocka_unit_test(test_an_answer_to_a_ping_with_a_transfer_tag_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
