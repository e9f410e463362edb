/* What more sessions would get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/plan.h"

static const struct bal_ask anywhere = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = -1 };

static void test_a_plan_is_placement_one_after_another(void **state)
{
    const struct bal_core cores[] = { { 0, 1, 0, 0 }, { 1, 0, 0, 0 }, { 2, 0, 0, 0 } };
    static const int expected[] = { 1, 2, 0, 1, 2 };
    struct bal_planned out[5];

    assert_int_equal(bal_plan(NULL, cores, 3, &anywhere, 5, 0, out), 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(out[i].at, expected[i]);
    assert_non_null(strstr(out[0].why, "free"));
    assert_non_null(strstr(out[4].why, "none of 3 cores is free"));
    assert_int_equal(cores[1].sessions, 0); /* a plan changes nothing */
}

/* With 30 % each pack fills a core to 90 % and opens the next. */
static void test_expected_load_is_counted(void **state)
{
    const struct bal_ask pack = { .policy = BAL_PACK, .node = BAL_NODE_ANY, .pin = -1 };
    const struct bal_core cores[] = { { 0, 0, 0, 0 }, { 1, 0, 0, 0 } };
    static const int expected[] = { 0, 0, 0, 1, 1, 1 };
    struct bal_planned out[6];

    assert_int_equal(bal_plan(NULL, cores, 2, &pack, 6, 30, out), 6);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(out[i].at, expected[i]);
}

static void test_a_plan_ends_at_the_first_refusal(void **state)
{
    const struct bal_ask pin = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = 7 };
    const struct bal_core cores[] = { { 0, 0, 0, 0 } };
    struct bal_planned out[3];

    assert_int_equal(bal_plan(NULL, cores, 1, &pin, 3, 0, out), 0);
    assert_int_equal(out[0].at, -1);
    assert_non_null(strstr(out[0].why, "pinned to core 7"));
    assert_int_equal(bal_plan(NULL, cores, 1, &anywhere, 0, 0, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plan_is_placement_one_after_another),
        cmocka_unit_test(test_expected_load_is_counted),
        cmocka_unit_test(test_a_plan_ends_at_the_first_refusal),
    };

    return cmocka_run_group_tests_name("plans", tests, NULL, NULL);
}
