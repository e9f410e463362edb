/* rt_turn_end(): what runs last in a turn, and is never lost before a sleep. */
#include <unistd.h>

#include "tests/unit/reactor/rt_test.h"

#define LOG_MAX 32

/* Who ran, in order: one letter each, and '|' after each turn. */
struct order {
    struct rt *rt;
    char log[LOG_MAX + 1];
    struct rt_op late, ready;
    struct rt_msg msg;
    struct rt_timer timer;
    unsigned late_nr, again;
};

static void note(struct order *o, char c)
{
    const size_t n = strlen(o->log);

    assert_true(n < LOG_MAX);
    o->log[n] = c;
}

static void on_late(struct rt_op *op, int res)
{
    struct order *o = container_of(op, struct order, late);

    assert_int_equal(res, 0);
    note(o, 'E');
    o->late_nr++;
    if (o->again) {
        o->again--;
        rt_turn_end(o->rt, op);
    }
}

static void on_ready(struct rt_op *op, int res)
{
    struct order *o = container_of(op, struct order, ready);

    note(o, 'o');
    rt_turn_end(o->rt, &o->late);           /* before the others of this turn have run */
}

static void on_msg(struct rt_msg *m)
{
    note(container_of(m, struct order, msg), 'm');
}

static void on_timer(struct rt_timer *t)
{
    note(container_of(t, struct order, timer), 't');
}

static struct rt_host *order_make(struct order *o, enum rt_mode mode)
{
    struct rt_host *h = host_make(1, mode);

    *o = (struct order){ .rt = rt_host_at(h, 0), .late.done = on_late, .ready.done = on_ready,
                         .msg.fn = on_msg, .timer.fn = on_timer };
    rt_turn(o->rt, 0);
    return h;
}

static void order_turn(struct order *o)
{
    assert_true(rt_turn(o->rt, 0) >= 0);
    note(o, '|');
}

/* Queued by the first that runs in a turn, it comes after everything else of that same turn. */
static void test_turn_end_runs_after_completions_messages_and_timers(void **state)
{
    struct order o;
    struct rt_host *h = order_make(&o, RT_MODE_INTERRUPT);
    const uint64_t due = rt_clock(o.rt) + RT_MS;

    rt_timer_arm(o.rt, &o.timer, 0);
    while (rt_clock(o.rt) < due)
        ;
    rt_defer(o.rt, &o.ready);
    rt_post(o.rt, &o.msg);
    order_turn(&o);
    assert_string_equal(o.log, "omtE|");
    order_turn(&o);
    assert_string_equal(o.log, "omtE||");
    rt_host_free(h);
}

static void test_turn_end_queued_from_itself_runs_in_the_next_turn(void **state)
{
    struct order o;
    struct rt_host *h = order_make(&o, RT_MODE_INTERRUPT);

    o.again = 2;
    rt_turn_end(o.rt, &o.late);
    for (int i = 0; i < 4; i++)
        order_turn(&o);
    assert_string_equal(o.log, "E|E|E||");
    rt_host_free(h);
}

/* Outside a turn it waits for the next one, in the order of queueing. */
static void test_turn_end_queued_outside_a_turn_runs_in_the_next(void **state)
{
    struct order o;
    struct rt_host *h = order_make(&o, RT_MODE_INTERRUPT);
    struct noted n = { 0 };

    rt_turn_end(o.rt, &o.late);
    rt_turn_end(o.rt, noted_op(&n));
    assert_int_equal(o.late_nr, 0);
    assert_int_equal(rt_turn(o.rt, 0), 2);
    assert_int_equal(o.late_nr, 1);
    assert_int_equal(n.count, 1);
    assert_int_equal(n.res, 0);
    rt_host_free(h);
}

/* A turn that may wait for ever does not, whatever the mode, and however often it is queued again. */
static void test_turn_end_is_not_lost_before_a_sleep(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_POLL, RT_MODE_ADAPTIVE, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct order o;
        struct rt_host *h = order_make(&o, modes[i]);

        rt_set_mode(o.rt, modes[i], 1);     /* adaptive: so short that it would sleep at once */
        o.again = 1;
        rt_turn_end(o.rt, &o.late);
        assert_int_equal(rt_turn(o.rt, UINT64_MAX), 1);
        assert_int_equal(rt_turn(o.rt, UINT64_MAX), 1);
        assert_int_equal(o.late_nr, 2);
        rt_host_free(h);
    }
}

/* Queued by a timer that ended a sleep: in that turn too. */
static void late_by_timer(struct rt_timer *t)
{
    struct order *o = container_of(t, struct order, timer);

    note(o, 't');
    rt_turn_end(o->rt, &o->late);
}

static void test_turn_end_after_a_sleep_runs_in_the_waking_turn(void **state)
{
    struct order o;
    struct rt_host *h = order_make(&o, RT_MODE_INTERRUPT);

    o.timer.fn = late_by_timer;
    rt_timer_arm(o.rt, &o.timer, RT_MS);
    assert_int_equal(rt_turn(o.rt, UINT64_MAX), 2);
    assert_string_equal(o.log, "tE");
    rt_host_free(h);
}

/* What it sends leaves with the enter that follows: a turn that may wait sends it before it sleeps. */
struct sender {
    struct order o;
    struct rt_sock *sock;
    struct noted tx;
    struct iovec iov;
};

static void late_send(struct rt_op *op, int res)
{
    struct sender *s = container_of(op, struct sender, o.late);

    rt_send(s->sock, noted_op(&s->tx), &s->iov, 1);
}

static void test_send_from_turn_end_leaves_before_the_next_sleep(void **state)
{
    struct sender s = { 0 };
    struct rt_host *h = order_make(&s.o, RT_MODE_INTERRUPT);
    char got[4] = "";
    int theirs;

    assert_int_equal(rt_socketpair(s.o.rt, &s.sock, &theirs), 0);
    s.o.late.done = late_send;
    s.iov = (struct iovec){ (char[]){ "ab" }, 2 };
    rt_turn_end(s.o.rt, &s.o.late);
    assert_int_equal(rt_turn(s.o.rt, UINT64_MAX), 1);
    assert_int_equal(rt_turn(s.o.rt, UINT64_MAX), 1);
    assert_int_equal(s.tx.res, 2);
    assert_int_equal(recv(theirs, got, sizeof(got), MSG_DONTWAIT), 2);
    assert_string_equal(got, "ab");
    close(theirs);
    rt_sock_close(s.sock);
    rt_host_free(h);
}

/* Cancelling has nothing to cut short: it completes once, with 0. */
static void test_cancelled_turn_end_completes_once(void **state)
{
    struct order o;
    struct rt_host *h = order_make(&o, RT_MODE_INTERRUPT);
    struct noted n = { 0 };

    rt_turn_end(o.rt, noted_op(&n));
    rt_cancel(&n.op);
    rt_cancel(&n.op);
    assert_int_equal(rt_turn(o.rt, 0), 1);
    assert_int_equal(rt_turn(o.rt, 0), 0);
    assert_int_equal(n.count, 1);
    assert_int_equal(n.res, 0);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turn_end_runs_after_completions_messages_and_timers),
        cmocka_unit_test(test_turn_end_queued_from_itself_runs_in_the_next_turn),
        cmocka_unit_test(test_turn_end_queued_outside_a_turn_runs_in_the_next),
        cmocka_unit_test(test_turn_end_is_not_lost_before_a_sleep),
        cmocka_unit_test(test_turn_end_after_a_sleep_runs_in_the_waking_turn),
        cmocka_unit_test(test_send_from_turn_end_leaves_before_the_next_sleep),
        cmocka_unit_test(test_cancelled_turn_end_completes_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
