/* What the kernel says of a CPU: its lines, and a thread that reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "balancer/kstat.h"

static void test_a_line_of_a_cpu_is_read(void **state)
{
    struct bal_ticks t;
    int cpu = -1;

    assert_true(bal_kstat_line("cpu12 1 2 3 4 5 6 7 8 100 100\n", &cpu, &t));
    assert_int_equal(cpu, 12);
    assert_int_equal(t.idle, 9);
    assert_int_equal(t.all, 36); /* guest time is in user time already */
    assert_true(bal_kstat_line("cpu0 18446744073709551615 0 0 0 0 0 0 0", &cpu, &t));
    assert_int_equal(cpu, 0);
}

static void test_other_lines_are_not(void **state)
{
    static const char *const bad[] = {
        "",
        "cpu",
        "cpu  1 2 3 4 5 6 7 8 9 10",
        "cpu1",
        "cpu1 1 2 3",
        "cpu1 1 2 3 4 5 6 7",
        "cpu1 1 2 3 4 5 6 7 x",
        "cpux 1 2 3 4 5 6 7 8",
        "intr 1 2 3 4 5 6 7 8",
        "cpu99999999999 1 2 3 4 5 6 7 8",
        "cpu-1 1 2 3 4 5 6 7 8",
    };
    struct bal_ticks t;
    int cpu;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (bal_kstat_line(bad[i], &cpu, &t))
            fail_msg("'%s' was taken", bad[i]);
}

/* We keep a CPU busy ourselves until the thread has seen it; a CPU that nobody watches is never busy. */
static void test_a_busy_cpu_is_seen(void **state)
{
    struct bal_kstat *k;
    cpu_set_t before, one;
    int cpus[2] = { 0, -1 };
    time_t end = time(NULL) + 60;

    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET((size_t)cpus[0], &before))
        cpus[0]++;
    assert_int_equal(bal_kstat_new(&k, cpus, 2), 0);
    assert_int_equal(bal_kstat_busy_pct(k, 1), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)cpus[0], &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
    while (!bal_kstat_busy_pct(k, 0) && time(NULL) < end)
        ;
    (void)sched_setaffinity(0, sizeof(before), &before);
    assert_true(bal_kstat_busy_pct(k, 0) > 0);
    assert_int_equal(bal_kstat_busy_pct(k, 1), 0);
    assert_int_equal(bal_kstat_busy_pct(k, 2), 0);
    bal_kstat_free(k);
    bal_kstat_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_of_a_cpu_is_read),
        cmocka_unit_test(test_other_lines_are_not),
        cmocka_unit_test(test_a_busy_cpu_is_seen),
    };

    return cmocka_run_group_tests_name("kernel load", tests, NULL, NULL);
}
