/* Shares of a second, of reactors that run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "balancer/load.h"

#define WAIT_NS (60 * RT_S)

struct bench {
    struct rt_host *host;
    struct bal_load *load;
    struct rt_op busy; /* has something to do in each turn */
    struct rt_timer look;
    uint64_t end;
    bool seen;
};

static void busy_again(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, busy);

    (void)res;
    rt_defer(rt_host_at(b->host, 0), op);
}

static void looked(struct rt_timer *t)
{
    struct bench *b = container_of(t, struct bench, look);
    struct rt *rt = rt_host_at(b->host, 0);
    struct bal_share s;

    bal_load_share(b->load, 0, &s);
    assert_true(s.busy >= 0 && s.busy <= 1 && s.poll >= 0 && s.poll <= 1 && s.sleep >= 0 && s.sleep <= 1);
    assert_true(s.host >= 0 && s.host <= 1);
    b->seen = s.busy > 0.01;
    if (b->seen || rt_clock(rt) > b->end)
        rt_host_stop(b->host);
    else
        rt_timer_arm(rt, t, 50 * RT_MS);
}

static void test_a_busy_reactor_is_seen(void **state)
{
    const int cpu = -1;
    const struct rt_conf conf = { .cores = &cpu, .cores_nr = 1 };
    struct bench b = { .busy.done = busy_again, .look.fn = looked };
    struct bal_core core;
    struct bal_share s;

    assert_int_equal(rt_host_new(&b.host, &conf), 0);
    assert_int_equal(bal_load_new(&b.load, b.host), 0);
    assert_int_equal(bal_load_kernel(b.load), 0);
    bal_load_share(b.load, 0, &s);
    assert_true(s.busy == 0 && s.poll == 0 && s.sleep == 1 && s.host == 0);
    b.end = rt_clock(rt_host_at(b.host, 0)) + WAIT_NS;
    rt_defer(rt_host_at(b.host, 0), &b.busy);
    rt_timer_arm(rt_host_at(b.host, 0), &b.look, 50 * RT_MS);
    assert_int_equal(rt_host_run(b.host), 0);
    assert_true(b.seen);
    core = bal_load_core(b.load, 0);
    assert_int_equal(core.cpu, -1);
    assert_int_equal(core.sessions, 0);
    assert_true(core.busy_pct >= 1 && core.busy_pct <= 100);
    assert_int_equal(core.host_pct, 0); /* not pinned: of no CPU anything is known */
    bal_load_free(b.load);
    bal_load_free(NULL);
    rt_host_free(b.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_busy_reactor_is_seen),
    };

    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
