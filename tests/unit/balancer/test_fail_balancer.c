/*
 * test_fail_balancer.c - what the balancer makes at start, while one allocation after another fails
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "balancer/kstat.h"
#include "balancer/load.h"
#include "balancer/topo.h"
#include "../fail.h"

static void topo_once(void *arg)
{
    static const char *const machines[] = { NULL, "core:4 pu:2; isolated 1" };

    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        struct bal_topo *t = NULL;
        char why[BAL_TEXT_MAX] = "";
        int err;

        fail_begin(FAIL_HERE);
        err = bal_topo_new(&t, machines[i], why);
        fail_end();
        if (err) {
            assert_true(fail_hit());
            assert_int_equal(err, -ENOMEM);
            assert_true(*why);
            assert_null(t);
            return;
        }
        bal_topo_free(t);
    }
}

static void load_once(void *arg)
{
    struct rt_host *host = arg;
    struct bal_load *l = NULL;
    int err;

    fail_begin(FAIL_HERE);
    err = bal_load_new(&l, host);
    if (!err && (err = bal_load_kernel(l)))
        assert_int_equal(err, -ENOMEM);
    fail_end();
    if (err)
        assert_true(fail_hit());
    bal_load_free(l); /* without the kernel's word it goes on as well */
}

static void test_a_machine_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    fail_each("the machine", 1, 0, true, topo_once, NULL);
}

static void test_load_goes_without_what_cannot_be_had(void **state)
{
    const int cpu = -1;
    const struct rt_conf conf = { .cores = &cpu, .cores_nr = 1 };
    struct rt_host *host;

    (void)state;
    assert_int_equal(rt_host_new(&host, &conf), 0);
    fail_each("load", 1, 0, true, load_once, host);
    rt_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_machine_is_read_whole_or_not_at_all),
        cmocka_unit_test(test_load_goes_without_what_cannot_be_had),
    };

    fail_up();
    return cmocka_run_group_tests_name("balancer without memory", tests, NULL, fail_down);
}
