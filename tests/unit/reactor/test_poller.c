/* Pollers: asked in each pass, told before a sleep, and beside them nobody starves. */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/reactor/rt_test.h"

#define POLLERS 4

struct scene;

struct looker {
    struct rt_poller p;
    struct scene *s;
    char name;
    unsigned work; /* how many times it will find some; UINT_MAX: for ever */
    unsigned polls, busy_at_rest;
    bool added;
    void (*act)(struct looker *l);      /* in poll, once */
    void (*act_rest)(struct looker *l); /* when told to rest, once */
};

/* Who was asked and told, in order: a letter for a poll, "+a" for rest(true), "-a" for rest(false). */
struct scene {
    struct rt_host *h;
    struct rt *rt;
    struct looker l[POLLERS];
    char log[256];
    bool logs_polls;
    struct rt_timer timer;
    struct rt_msg msg;
    struct noted n;
    unsigned fired;
};

static void note(struct scene *s, const char *what, char name)
{
    const size_t at = strlen(s->log);

    if (at + 3 < sizeof(s->log))
        snprintf(s->log + at, sizeof(s->log) - at, "%s%c", what, name);
}

static bool look(struct rt_poller *p)
{
    struct looker *l = container_of(p, struct looker, p);
    void (*act)(struct looker *) = l->act;

    l->polls++;
    if (l->s->logs_polls)
        note(l->s, "", l->name);
    l->act = NULL;
    if (act)
        act(l);
    if (!l->work)
        return false;
    if (l->work != UINT_MAX)
        l->work--;
    return true;
}

static bool look_rest(struct rt_poller *p, bool asleep)
{
    struct looker *l = container_of(p, struct looker, p);
    void (*act)(struct looker *) = l->act_rest;

    note(l->s, asleep ? "+" : "-", l->name);
    if (!asleep)
        return true;
    l->act_rest = NULL;
    if (act)
        act(l);
    if (!l->busy_at_rest)
        return true;
    l->busy_at_rest--;
    l->work++; /* found by the next poll */
    return false;
}

static void fire(struct rt_timer *t)
{
    container_of(t, struct scene, timer)->fired++;
}

static void got(struct rt_msg *m)
{
    container_of(m, struct scene, msg)->fired++;
}

static void add(struct looker *l)
{
    rt_poller_add(l->s->rt, &l->p);
    l->added = true;
}

static void del(struct looker *l)
{
    rt_poller_del(l->s->rt, &l->p);
    l->added = false;
}

/* @nr of them are added. */
static void setup(struct scene *s, enum rt_mode mode, unsigned nr)
{
    *s = (struct scene){ .h = host_make(1, mode), .timer.fn = fire, .msg.fn = got };
    s->rt = rt_host_at(s->h, 0);
    assert_int_equal(rt_turn(s->rt, 0), 0);
    for (unsigned i = 0; i < POLLERS; i++) {
        s->l[i] = (struct looker){ .p = { .poll = look, .rest = look_rest }, .s = s, .name = (char)('a' + i) };
        if (i < nr)
            add(&s->l[i]);
    }
}

static void teardown(struct scene *s)
{
    for (unsigned i = 0; i < POLLERS; i++)
        if (s->l[i].added)
            del(&s->l[i]);
    rt_host_free(s->h);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void test_work_found_ends_the_turn_and_is_counted(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_POLL, RT_MODE_ADAPTIVE, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rt_stats before, after;
        struct scene s;

        setup(&s, modes[i], 3);
        assert_int_equal(rt_turn(s.rt, 0), 0);
        assert_int_equal(s.l[0].polls, 1);
        s.l[1].work = 2;
        rt_stats(s.rt, &before);
        assert_int_equal(rt_turn(s.rt, 0), 1);
        s.l[2].work = 1;
        assert_int_equal(rt_turn(s.rt, 0), 2);
        rt_stats(s.rt, &after);
        assert_int_equal(after.ops - before.ops, 3);
        assert_int_equal(after.turns - before.turns, 2);
        assert_int_equal(rt_turn(s.rt, 0), 0);
        s.l[0].work = 1;
        if (modes[i] == RT_MODE_POLL) /* the others may rest first, and nothing would wake them */
            assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
        teardown(&s);
    }
}

static void del_self(struct looker *l)
{
    del(l);
}

static void del_next(struct looker *l)
{
    del(l + 1);
}

static void add_next(struct looker *l)
{
    add(l + 1);
}

static void add_and_del_next(struct looker *l)
{
    add(l + 1);
    del(l + 1);
}

static void test_pollers_come_and_go_inside_poll(void **state)
{
    struct scene s;

    setup(&s, RT_MODE_INTERRUPT, 3);
    s.logs_polls = true;
    s.l[0].act = del_self;
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "abc");
    s.l[1].act = del_next;
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "abcb");
    s.l[1].act = del_self; /* the only one */
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "abcbb");
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "abcbb");
    add(&s.l[0]);
    s.l[0].act = add_next;
    assert_int_equal(rt_turn(s.rt, 0), 0); /* whether it is asked in this very pass is not said */
    s.log[0] = '\0';
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "ab");
    s.l[1].act = add_and_del_next;
    s.log[0] = '\0';
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_int_equal(rt_turn(s.rt, 0), 0);
    assert_string_equal(s.log, "abab");
    teardown(&s);
}

static void again_and_again(struct looker *l)
{
    del(l);
    add(l);
    l->act = again_and_again;
}

static void test_poller_that_adds_itself_again_does_not_hold_the_turn(void **state)
{
    struct scene s;

    setup(&s, RT_MODE_INTERRUPT, 2);
    s.l[0].act = s.l[1].act = again_and_again;
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(rt_turn(s.rt, 0), 0);
        assert_int_equal(s.l[0].polls + s.l[1].polls, 2 * i);
    }
    teardown(&s);
}

/* ---- resting ------------------------------------------------------------------------------------------- */

static void test_pollers_are_told_before_and_after_a_sleep(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_ADAPTIVE, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct scene s;

        setup(&s, modes[i], 3);
        rt_set_mode(s.rt, modes[i], 1);
        rt_timer_arm(s.rt, &s.timer, 50 * RT_MS);
        assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
        assert_int_equal(s.fired, 1);
        assert_string_equal(s.log, "+a+b+c-a-b-c");
        teardown(&s);
    }
}

static void test_poll_mode_never_rests(void **state)
{
    struct scene s;

    setup(&s, RT_MODE_POLL, 2);
    rt_timer_arm(s.rt, &s.timer, 5 * RT_MS);
    assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
    assert_int_equal(s.fired, 1);
    assert_int_equal(rt_turn(s.rt, 2 * RT_MS), 0);
    assert_string_equal(s.log, "");
    assert_true(s.l[0].polls > 10);
    teardown(&s);
}

/* No timer, no message: the turn would never end if it slept. */
static void test_reactor_does_not_sleep_when_a_poller_has_work(void **state)
{
    for (unsigned who = 0; who < 3; who++) {
        static const char *const told[] = { "+a-a", "+a+b-a-b", "+a+b+c-a-b-c" };
        struct rt_stats stats;
        struct scene s;

        setup(&s, RT_MODE_INTERRUPT, 3);
        s.l[who].busy_at_rest = 1;
        assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
        assert_string_equal(s.log, told[who]);
        assert_int_equal(s.l[who].work, 0);
        rt_stats(s.rt, &stats);
        assert_int_equal(stats.sleeps, 0);
        teardown(&s);
    }
}

static void test_pollers_come_and_go_inside_rest(void **state)
{
    struct scene s;

    setup(&s, RT_MODE_INTERRUPT, 3);
    s.l[0].act_rest = del_self;
    s.l[1].act_rest = del_next;
    rt_timer_arm(s.rt, &s.timer, RT_MS);
    assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
    assert_string_equal(s.log, "+a+b-b");
    s.log[0] = '\0';
    s.l[1].act_rest = del_self; /* and refuses */
    s.l[1].busy_at_rest = 1;
    add(&s.l[2]);
    rt_timer_arm(s.rt, &s.timer, 0);
    assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
    teardown(&s);
}

static void arm_soon(struct looker *l)
{
    rt_timer_arm(l->s->rt, &l->s->timer, RT_MS);
}

static void post_to_self(struct looker *l)
{
    rt_post(l->s->rt, &l->s->msg);
}

static void defer_one(struct looker *l)
{
    rt_defer(l->s->rt, noted_op(&l->s->n));
}

/* What is begun while the reactor is about to sleep keeps it from sleeping for ever. */
static void test_what_rest_begins_is_not_slept_over(void **state)
{
    static void (*const acts[])(struct looker *) = { arm_soon, post_to_self, defer_one };

    for (unsigned i = 0; i < ARRAY_SIZE(acts); i++) {
        struct scene s;

        setup(&s, RT_MODE_INTERRUPT, 2);
        s.l[1].act_rest = acts[i];
        assert_int_equal(rt_turn(s.rt, UINT64_MAX), 1);
        assert_int_equal(s.fired + s.n.count, 1);
        assert_memory_equal(s.log, "+a+b-a-b", 8);
        teardown(&s);
    }
}

/* The way who has work wakes a reactor that rests. */
static void wake_them(struct looker *l)
{
    l->work = 1;
    assert_int_equal(write((int)(intptr_t)l->s->n.op.obj, "x", 1), 1);
}

static void test_byte_on_a_socket_wakes_who_rests(void **state)
{
    struct scene s;
    struct rt_sock *sock;
    struct noted rx = { 0 };
    struct iovec iov;
    char byte;
    int theirs;

    setup(&s, RT_MODE_INTERRUPT, 1);
    assert_int_equal(rt_socketpair(s.rt, &sock, &theirs), 0);
    iov = (struct iovec){ &byte, 1 };
    rt_recv(sock, noted_op(&rx), &iov, 1, 0);
    s.n.op.obj = (void *)(intptr_t)theirs;
    s.l[0].act_rest = wake_them;
    assert_int_equal(rt_turn(s.rt, UINT64_MAX), 2);
    assert_int_equal(rx.res, 1);
    assert_int_equal(s.l[0].work, 0);
    assert_string_equal(s.log, "+a-a");
    close(theirs);
    rt_sock_close(sock);
    assert_true(rt_turn(s.rt, 0) >= 0);
    teardown(&s);
}

/* ---- beside the others --------------------------------------------------------------------------------- */

static void *post_soon(void *arg)
{
    struct scene *s = arg;

    usleep(2000);
    rt_post(s->rt, &s->msg);
    return NULL;
}

static void beside(enum rt_mode mode, unsigned work)
{
    struct scene s;
    struct rt_sock *sock;
    struct noted rx = { 0 }, tx = { 0 }, late = { 0 };
    struct iovec in, out = { (char *)"y", 1 };
    pthread_t thread;
    char byte;
    int theirs;

    setup(&s, mode, 2);
    s.l[0].work = work;
    assert_int_equal(rt_socketpair(s.rt, &sock, &theirs), 0);
    in = (struct iovec){ &byte, 1 };
    rt_recv(sock, noted_op(&rx), &in, 1, 0);
    rt_timer_arm(s.rt, &s.timer, 3 * RT_MS);
    assert_int_equal(pthread_create(&thread, NULL, post_soon, &s), 0);
    turn_until(s.rt, &s.fired, 2); /* timer and message */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(rx.count, 0);
    assert_int_equal(write(theirs, "x", 1), 1);
    assert_int_equal(turn_for(s.rt, &rx), 1);
    rt_send(sock, noted_op(&tx), &out, 1);
    assert_int_equal(turn_for(s.rt, &tx), 1);
    rt_turn_end(s.rt, noted_op(&late));
    assert_int_equal(turn_for(s.rt, &late), 0);
    assert_true(s.l[1].polls > 1); /* nor the other poller */
    close(theirs);
    rt_sock_close(sock);
    assert_true(rt_turn(s.rt, 0) >= 0);
    teardown(&s);
}

static void test_nobody_starves_beside_a_poller(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_POLL, RT_MODE_ADAPTIVE, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        beside(modes[i], UINT_MAX);
        beside(modes[i], 0);
    }
}

static void defer_again(struct rt_op *op, int res)
{
    container_of(op, struct noted, op)->count++;
    rt_defer(op->rt, op);
}

static void test_pollers_do_not_starve_beside_endless_completions(void **state)
{
    struct scene s;
    struct noted n = { .op.done = defer_again };

    setup(&s, RT_MODE_POLL, 1);
    rt_defer(s.rt, &n.op);
    for (unsigned i = 0; i < 100; i++)
        assert_true(rt_turn(s.rt, UINT64_MAX) > 0);
    assert_true(s.l[0].polls >= 100);
    teardown(&s);
}

static void send_one(struct looker *l)
{
    static struct iovec iov = { (char *)"z", 1 };

    rt_send(l->s->n.op.obj, noted_op(&l->s->n), &iov, 1);
}

static void end_the_turn(struct looker *l)
{
    rt_turn_end(l->s->rt, noted_op(&l->s->n));
}

/* Whether or not it says that it found work, what it begins is done. */
static void test_what_poll_begins_is_done(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_POLL, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < 4; i++) {
        const uint64_t wait_ns = i % 2 ? 0 : UINT64_MAX; /* one that sleeps at once would not ask */
        struct rt_sock *sock;
        struct scene s;
        int theirs;

        setup(&s, modes[i % 2], 1);
        assert_int_equal(rt_socketpair(s.rt, &sock, &theirs), 0);
        s.n.op.obj = sock;
        s.l[0].act = send_one;
        s.l[0].work = i / 2;
        while (!s.n.count)
            assert_true(rt_turn(s.rt, wait_ns) >= 0);
        assert_int_equal(s.n.res, 1);
        s.l[0].act = end_the_turn;
        s.l[0].work = i / 2;
        assert_int_equal(rt_turn(s.rt, wait_ns), 1 + i / 2); /* in the very turn */
        assert_int_equal(s.n.count, 1);
        close(theirs);
        rt_sock_close(sock);
        assert_true(rt_turn(s.rt, 0) >= 0);
        teardown(&s);
    }
}

/* ---- the clock ----------------------------------------------------------------------------------------- */

struct watch {
    struct rt_poller p;
    struct rt *rt;
    uint64_t last;
    unsigned moves;
};

static bool watch_poll(struct rt_poller *p)
{
    struct watch *w = container_of(p, struct watch, p);
    const uint64_t now = rt_now(w->rt);

    assert_true(now >= w->last);
    w->moves += now > w->last;
    w->last = now;
    return false;
}

static bool watch_rest(struct rt_poller *p, bool asleep)
{
    return true;
}

static void test_clock_goes_on_while_pollers_find_nothing(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_POLL);
    struct watch w = { .p = { .poll = watch_poll, .rest = watch_rest }, .rt = rt_host_at(h, 0) };
    const uint64_t start = rt_clock(w.rt);

    assert_int_equal(rt_turn(w.rt, 0), 0);
    rt_poller_add(w.rt, &w.p);
    assert_int_equal(rt_turn(w.rt, 5 * RT_MS), 0);
    assert_true(rt_clock(w.rt) - start >= 5 * RT_MS);
    assert_true(w.moves > 3);
    rt_poller_del(w.rt, &w.p);
    rt_host_free(h);
}

/* ---- two cores ----------------------------------------------------------------------------------------- */

#define ROUNDS 20000u

/* A ball in memory between two reactors that sleep when they find nothing, with the wake-up of loopback/: a flag, and a
 * look after a fence; a message stands for the byte. One lost wake-up, and it stands still. */
struct side {
    struct rt_poller p;
    struct rt *rt;
    struct side *other;
    _Alignas(RT_CACHE_LINE) _Atomic unsigned in;
    _Atomic unsigned asleep;
    unsigned seen;
    struct rt_msg start;
    struct rt_msg wake;
    _Atomic bool waking;
};

static void side_woken(struct rt_msg *m)
{
    atomic_store(&container_of(m, struct side, wake)->waking, false);
}

static void side_give(struct side *to, unsigned ball)
{
    atomic_store_explicit(&to->in, ball, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* with that in side_rest() */
    if (atomic_load_explicit(&to->asleep, memory_order_relaxed) && atomic_exchange(&to->asleep, 0) &&
        !atomic_exchange(&to->waking, true))
        rt_post(to->rt, &to->wake);
}

static bool side_poll(struct rt_poller *p)
{
    struct side *s = container_of(p, struct side, p);
    const unsigned ball = atomic_load_explicit(&s->in, memory_order_acquire);

    if (ball == s->seen)
        return false;
    s->seen = ball;
    if (ball >= ROUNDS)
        rt_host_stop(rt_host_of(s->rt));
    else
        side_give(s->other, ball + 1);
    return true;
}

static bool side_rest(struct rt_poller *p, bool asleep)
{
    struct side *s = container_of(p, struct side, p);

    atomic_store_explicit(&s->asleep, asleep, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* with that in side_give() */
    return atomic_load_explicit(&s->in, memory_order_acquire) == s->seen;
}

static void side_start(struct rt_msg *m)
{
    struct side *s = container_of(m, struct side, start);

    rt_poller_add(s->rt, &s->p);
    if (!rt_index(s->rt))
        side_give(s->other, 1);
}

static void test_no_wake_up_is_lost_between_two_cores(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_ADAPTIVE, RT_MODE_INTERRUPT };

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rt_host *h = host_make(2, modes[i]);
        struct side side[2] = { 0 };

        for (unsigned k = 0; k < 2; k++) {
            side[k].p = (struct rt_poller){ .poll = side_poll, .rest = side_rest };
            side[k].rt = rt_host_at(h, k);
            side[k].other = &side[1 - k];
            side[k].start.fn = side_start;
            side[k].wake.fn = side_woken;
            rt_set_mode(side[k].rt, modes[i], 1);
            rt_post(side[k].rt, &side[k].start);
        }
        assert_int_equal(rt_host_run(h), 0);
        assert_true(side[0].seen >= ROUNDS || side[1].seen >= ROUNDS);
        for (unsigned k = 0; k < 2; k++)
            rt_poller_del(side[k].rt, &side[k].p);
        rt_host_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_found_ends_the_turn_and_is_counted),
        cmocka_unit_test(test_pollers_come_and_go_inside_poll),
        cmocka_unit_test(test_poller_that_adds_itself_again_does_not_hold_the_turn),
        cmocka_unit_test(test_pollers_are_told_before_and_after_a_sleep),
        cmocka_unit_test(test_poll_mode_never_rests),
        cmocka_unit_test(test_reactor_does_not_sleep_when_a_poller_has_work),
        cmocka_unit_test(test_pollers_come_and_go_inside_rest),
        cmocka_unit_test(test_what_rest_begins_is_not_slept_over),
        cmocka_unit_test(test_byte_on_a_socket_wakes_who_rests),
        cmocka_unit_test(test_nobody_starves_beside_a_poller),
        cmocka_unit_test(test_pollers_do_not_starve_beside_endless_completions),
        cmocka_unit_test(test_what_poll_begins_is_done),
        cmocka_unit_test(test_clock_goes_on_while_pollers_find_nothing),
        cmocka_unit_test(test_no_wake_up_is_lost_between_two_cores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
