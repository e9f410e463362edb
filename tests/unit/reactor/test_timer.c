/* test_timer.c - timers: order, moving, disarming, and never early */
#include <unistd.h>

#include "rt_test.h"

struct shot {
    struct rt_timer t;
    unsigned id;
    uint64_t seen;                          /* when it fired */
};

static uint64_t last_at;                    /* fields of a timer are the reactor's; looking is a test's right */

static unsigned fired[4096], fired_nr;
static struct rt *the_rt;

static void shot_fn(struct rt_timer *t)
{
    struct shot *s = container_of(t, struct shot, t);

    s->seen = rt_clock(the_rt);
    assert_true(t->at >= last_at);
    last_at = t->at;
    fired[fired_nr++] = s->id;
}

static struct rt_host *setup(void)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);

    the_rt = rt_host_at(h, 0);
    fired_nr = 0;
    last_at = 0;
    return h;
}

static void test_timers_fire_in_order_of_time(void **state)
{
    enum { N = 1000 };
    static struct shot shots[N];
    struct rt_host *h = setup();
    uint64_t seed = 0x9e3779b97f4a7c15ull;

    memset(shots, 0, sizeof(shots));
    for (unsigned i = 0; i < N; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        shots[i].id = (unsigned)(seed >> 40) % 5000;
        shots[i].t.fn = shot_fn;
        rt_timer_arm(the_rt, &shots[i].t, 20 * RT_MS + shots[i].id * 10 * RT_US);
    }
    for (unsigned i = 0; i < N; i += 3)          /* a third is taken back */
        rt_timer_disarm(the_rt, &shots[i].t);
    for (unsigned i = 1; i < N; i += 3)          /* a third is moved, some earlier, some later */
        rt_timer_arm(the_rt, &shots[i].t, 10 * RT_MS + (shots[i].id = 4999 - shots[i].id) * 10 * RT_US);
    turn_until(the_rt, &fired_nr, N - (N + 2) / 3);
    assert_int_equal(rt_turn(the_rt, 0), 0);
    assert_int_equal(fired_nr, N - (N + 2) / 3);
    for (unsigned i = 0; i < N; i++)
        assert_false(rt_timer_armed(&shots[i].t));
    rt_host_free(h);
}

static void test_equal_times_fire_in_order_of_arming(void **state)
{
    struct shot shots[50] = { 0 };
    struct rt_host *h = setup();

    for (unsigned i = 0; i < ARRAY_SIZE(shots); i++) {
        shots[i].id = i;
        shots[i].t.fn = shot_fn;
        rt_timer_arm(the_rt, &shots[i].t, UINT64_MAX);      /* saturates: all at the same instant */
    }
    assert_int_equal(rt_turn(the_rt, 0), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(shots); i++)
        shots[i].t.at = 1;                                  /* which has come */
    turn_until(the_rt, &fired_nr, ARRAY_SIZE(shots));
    for (unsigned i = 0; i < ARRAY_SIZE(shots); i++)
        assert_int_equal(fired[i], i);
    rt_host_free(h);
}

static void test_timer_never_fires_early(void **state)
{
    struct rt_host *h = setup();
    struct shot s = { .t.fn = shot_fn };

    for (unsigned i = 0; i < 50; i++) {
        uint64_t at;

        usleep(i % 4 * 500);                                /* the turn's clock is that old */
        at = rt_clock(the_rt) + i * 100 * RT_US;
        rt_timer_arm(the_rt, &s.t, i * 100 * RT_US);
        turn_until(the_rt, &fired_nr, i + 1);
        assert_true(s.seen >= at);
    }
    rt_host_free(h);
}

static struct shot *victim;

static void disarm_victim(struct rt_timer *t)
{
    fired_nr++;
    rt_timer_disarm(the_rt, &victim->t);
}

static void test_disarmed_in_the_same_turn_does_not_fire(void **state)
{
    struct rt_host *h = setup();
    struct rt_timer killer = { .fn = disarm_victim };
    struct shot v = { .t.fn = shot_fn, .id = 77 };

    victim = &v;
    rt_timer_arm(the_rt, &killer, 0);
    rt_timer_arm(the_rt, &v.t, 1);
    turn_until(the_rt, &fired_nr, 1);
    rt_turn(the_rt, 5 * RT_MS);
    assert_int_equal(fired_nr, 1);
    assert_false(rt_timer_armed(&v.t));
    rt_timer_disarm(the_rt, &v.t);                          /* once more is fine */
    rt_host_free(h);
}

static void rearm_now(struct rt_timer *t)
{
    fired_nr++;
    rt_timer_arm(the_rt, t, 0);
}

static void test_rearming_for_now_does_not_hold_the_turn(void **state)
{
    struct rt_host *h = setup();
    struct rt_timer t = { .fn = rearm_now };

    rt_timer_arm(the_rt, &t, 0);
    assert_int_equal(rt_turn(the_rt, UINT64_MAX), 1);
    assert_int_equal(rt_turn(the_rt, UINT64_MAX), 1);
    assert_int_equal(fired_nr, 2);
    rt_host_free(h);
}

static void test_turn_waits_no_longer_than_asked(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_ADAPTIVE, RT_MODE_POLL, RT_MODE_INTERRUPT };

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rt_host *h = setup();
        uint64_t t0 = rt_clock(the_rt);

        rt_set_mode(the_rt, modes[i], 0);
        assert_int_equal(rt_turn(the_rt, 3 * RT_MS), 0);
        assert_true(rt_clock(the_rt) - t0 >= 3 * RT_MS);
        assert_int_equal(rt_turn(the_rt, 0), 0);
        rt_host_free(h);
    }
}

/* What is left of its time it waits on the other reactor; one that is not armed is not there either. */
static void test_timer_goes_on_on_another_reactor(void **state)
{
    struct rt_host *h = host_make(2, RT_MODE_INTERRUPT);
    struct shot late = { .id = 2, .t.fn = shot_fn }, soon = { .id = 1, .t.fn = shot_fn }, idle = { .t.fn = shot_fn };
    struct rt *old = rt_host_at(h, 0);
    uint64_t t0;

    the_rt = rt_host_at(h, 1);
    fired_nr = 0;
    last_at = 0;
    t0 = rt_clock(old);
    rt_timer_arm(old, &late.t, 30 * RT_MS);
    rt_timer_arm(old, &soon.t, 0);
    rt_timer_arm(old, &idle.t, 1);
    rt_timer_disarm(old, &idle.t);
    rt_timer_leave(old, &late.t);
    rt_timer_leave(old, &soon.t);
    rt_timer_leave(old, &idle.t);
    assert_false(rt_timer_armed(&late.t) || rt_timer_armed(&soon.t));
    assert_int_equal(rt_turn(old, 2 * RT_MS), 0);
    rt_timer_enter(the_rt, &late.t);
    rt_timer_enter(the_rt, &soon.t);
    rt_timer_enter(the_rt, &idle.t);
    assert_false(rt_timer_armed(&idle.t));
    turn_until(the_rt, &fired_nr, 2);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 2);
    assert_true(late.seen - t0 >= 30 * RT_MS);
    assert_int_equal(rt_turn(the_rt, 0), 0);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_in_order_of_time),
        cmocka_unit_test(test_equal_times_fire_in_order_of_arming),
        cmocka_unit_test(test_timer_never_fires_early),
        cmocka_unit_test(test_disarmed_in_the_same_turn_does_not_fire),
        cmocka_unit_test(test_rearming_for_now_does_not_hold_the_turn),
        cmocka_unit_test(test_turn_waits_no_longer_than_asked),
        cmocka_unit_test(test_timer_goes_on_on_another_reactor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
