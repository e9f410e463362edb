/* Which core a new session gets, on hosts made up for the purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/place.h"

static const struct bal_ask anywhere = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = -1 };

static int placed(const struct bal_core *cores, unsigned nr, char why[static BAL_TEXT_MAX])
{
    const int at = bal_place(NULL, cores, nr, &anywhere, NULL, why);

    assert_true(at >= 0);
    return cores[at].cpu;
}

static void test_only_core_is_taken_whatever_its_load(void **state)
{
    const struct bal_core cores[] = { { 7, 900, 100, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 1, why), 7);
    assert_non_null(strstr(why, "core 7: the only core"));
}

static void test_free_core_comes_before_an_idle_one_with_sessions(void **state)
{
    const struct bal_core cores[] = { { 0, 1, 0, 0 }, { 1, 0, 60, 0 }, { 2, 3, 5, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
    assert_non_null(strstr(why, "core 1: free, one of 1 free among 3 cores"));
}

static void test_among_free_cores_the_less_busy_one_is_taken(void **state)
{
    const struct bal_core cores[] = { { 0, 0, 45, 0 }, { 1, 0, 20, 0 }, { 2, 0, 21, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
}

static void test_noise_does_not_change_the_order_of_the_set(void **state)
{
    const struct bal_core cores[] = { { 4, 0, 10, 0 }, { 2, 0, 0, 0 }, { 0, 0, 3, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 4);
}

static void test_with_none_free_the_fewest_sessions_win(void **state)
{
    const struct bal_core cores[] = { { 0, 3, 0, 0 }, { 1, 2, 80, 0 }, { 2, 4, 0, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
    assert_non_null(strstr(why, "none of 3 cores is free"));
}

/* Nobody is given a core that has nothing left while others have. */
static void test_a_core_that_is_used_up_comes_last(void **state)
{
    const struct bal_core cores[] = { { 0, 2, 0, 0 }, { 1, 0, 5, 90 }, { 2, 1, 95, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 0);
}

static void test_with_equal_sessions_the_less_busy_one_wins(void **state)
{
    const struct bal_core cores[] = { { 0, 2, 90, 0 }, { 1, 2, 70, 0 }, { 2, 2, 95, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
}

/* Sessions one after another onto an idle host: each core one, then each core two. */
static void test_sessions_spread_evenly(void **state)
{
    struct bal_core cores[64];
    char why[BAL_TEXT_MAX];

    for (int i = 0; i < 64; i++)
        cores[i] = (struct bal_core){ .cpu = i };
    for (unsigned n = 0; n < 128; n++) {
        const int at = bal_place(NULL, cores, 64, &anywhere, NULL, why);

        assert_int_equal(at, n % 64);
        cores[at].sessions++;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_core_is_taken_whatever_its_load),
        cmocka_unit_test(test_free_core_comes_before_an_idle_one_with_sessions),
        cmocka_unit_test(test_among_free_cores_the_less_busy_one_is_taken),
        cmocka_unit_test(test_noise_does_not_change_the_order_of_the_set),
        cmocka_unit_test(test_with_none_free_the_fewest_sessions_win),
        cmocka_unit_test(test_a_core_that_is_used_up_comes_last),
        cmocka_unit_test(test_with_equal_sessions_the_less_busy_one_wins),
        cmocka_unit_test(test_sessions_spread_evenly),
    };

    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
