/* The machine as a table: made-up ones exactly, this one as far as any machine allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/topo.h"

static struct bal_topo *made(const char *notation)
{
    char why[BAL_TEXT_MAX];
    struct bal_topo *t = NULL;

    if (bal_topo_new(&t, notation, why))
        fail_msg("%s: %s", notation ? notation : "this machine", why);
    return t;
}

static void test_a_cpu_is_where_the_notation_has_it(void **state)
{
    struct bal_topo *t = made("pack:2 numa:2 l3:2 core:2 pu:2");
    const struct bal_pu *pus;

    assert_int_equal(bal_topo_pus(t, &pus), 32);
    for (unsigned i = 0; i < 32; i++) {
        assert_int_equal(pus[i].cpu, i);
        assert_int_equal(pus[i].core, i / 2);
        assert_int_equal(pus[i].cache, i / 4);
        assert_int_equal(pus[i].node, i / 8);
        assert_int_equal(pus[i].package, i / 16);
        assert_true(pus[i].allowed && !pus[i].isolated);
        assert_ptr_equal(bal_topo_pu(t, (int)i), &pus[i]);
    }
    assert_null(bal_topo_pu(t, 32));
    assert_null(bal_topo_pu(t, -1));
    bal_topo_free(t);
}

static void test_the_table_is_by_cpu_number(void **state)
{
    struct bal_topo *t = made("core:3 pu:2(indexes=2*3:3*1); offline 4");
    const struct bal_pu *pus;

    assert_int_equal(bal_topo_pus(t, &pus), 5);
    assert_int_equal(pus[0].core, bal_topo_pu(t, 3)->core);
    assert_int_equal(pus[2].core, bal_topo_pu(t, 5)->core);
    assert_int_equal(pus[4].cpu, 5);
    assert_null(bal_topo_pu(t, 4));
    bal_topo_free(t);
}

/* Hosts without a shared last cache, virtual ones often without any. */
static void test_without_a_cache_the_package_stands_for_it(void **state)
{
    struct bal_topo *t = made("pack:2 core:2 pu:1");

    assert_int_equal(bal_topo_pu(t, 0)->cache, bal_topo_pu(t, 1)->cache);
    assert_int_not_equal(bal_topo_pu(t, 1)->cache, bal_topo_pu(t, 2)->cache);
    bal_topo_free(t);
}

static void expect_default(const char *notation, unsigned nr, const int *cpus)
{
    struct bal_topo *t = made(notation);
    int got[64];

    assert_int_equal(bal_topo_default(t, got, 64), nr);
    assert_memory_equal(got, cpus, nr * sizeof(got[0]));
    assert_int_equal(bal_topo_default(t, got, 1), 1);
    bal_topo_free(t);
}

static void test_isolated_and_forbidden_cpus_are_not_taken_unasked(void **state)
{
    expect_default("core:4 pu:1", 4, (const int[]){ 0, 1, 2, 3 });
    expect_default("core:6 pu:1; allowed 1-4; isolated 2,5", 3, (const int[]){ 1, 3, 4 });
    expect_default("core:6 pu:1; allowed 2-3; isolated 2-3", 2, (const int[]){ 2, 3 });
    expect_default("core:4 pu:1; offline 0 ; isolated 1", 2, (const int[]){ 2, 3 });
}

static void test_what_is_no_notation_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "banana",
        "core:0",
        "core:2 pu:1; offline",
        "core:2 pu:1; offline x",
        "core:2 pu:1; hidden 0",
        "core:2 pu:1; allowed 0-",
        "core:2 pu:1; allowed 1-0",
        "core:2 pu:1; allowed 0,",
        "core:2 pu:1;",
        "core:2 pu:1; allowed 0-99999",
        "core:2 pu:1; allowed -1",
        "core:2 pu:1; isolated 0 1",
    };
    struct bal_topo *t = (void *)&bad;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char why[BAL_TEXT_MAX] = "";
        const int err = bal_topo_new(&t, bad[i], why);

        if (err != -EINVAL)
            fail_msg("'%s': %d", bad[i], err);
        assert_true(*why);
        assert_ptr_equal(t, &bad);
    }
}

static void test_a_machine_without_cpus_is_none(void **state)
{
    struct bal_topo *t;
    char why[BAL_TEXT_MAX];

    assert_int_equal(bal_topo_new(&t, "core:2 pu:1; offline 0-1", why), -ENODEV);
    assert_non_null(strstr(why, "none"));
}

/* What this very thread may run on, and nothing else, is allowed. */
static void test_this_machine(void **state)
{
    struct bal_topo *t = made(NULL);
    const struct bal_pu *pus;
    const unsigned nr = bal_topo_pus(t, &pus);
    int cpus[1024];
    cpu_set_t set;

    assert_true(nr > 0);
    assert_true(bal_topo_default(t, cpus, 1024) > 0);
    if (!sched_getaffinity(0, sizeof(set), &set))
        for (unsigned i = 0; i < nr && pus[i].cpu < CPU_SETSIZE; i++)
            assert_int_equal(pus[i].allowed, CPU_ISSET((size_t)pus[i].cpu, &set) != 0);
    bal_topo_free(t);
    bal_topo_free(NULL);
}

/* As under taskset, or in a container. */
static void test_a_narrower_mask_allows_less(void **state)
{
    cpu_set_t before, one;
    struct bal_topo *t;
    int cpus[1024], cpu = 0;

    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET((size_t)cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    t = made(NULL);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(bal_topo_default(t, cpus, 1024), 1);
    assert_int_equal(cpus[0], cpu);
    bal_topo_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cpu_is_where_the_notation_has_it),
        cmocka_unit_test(test_the_table_is_by_cpu_number),
        cmocka_unit_test(test_without_a_cache_the_package_stands_for_it),
        cmocka_unit_test(test_isolated_and_forbidden_cpus_are_not_taken_unasked),
        cmocka_unit_test(test_what_is_no_notation_is_refused),
        cmocka_unit_test(test_a_machine_without_cpus_is_none),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_a_narrower_mask_allows_less),
    };

    return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
