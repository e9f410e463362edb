/*
 * test_mask.c - sets of CPUs in the kernel's notation: what is read, what is written, what is refused
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/mask.h"

static void test_mask_reads_the_kernels_words(void **state)
{
    static const struct {
        const char *text, *list, *back;
    } cases[] = {
        { "0", "none", "0" },
        { "1", "0", "1" },
        { "f", "0-3", "f" },
        { "0000000f\n", "0-3", "f" },
        { "00000000,00000001\n", "0", "1" },
        { "80000000", "31", "80000000" },
        { "1,00000000", "32", "1,00000000" },
        { "00000001,00000000,00000001", "0,64", "1,00000000,00000001" },
        { "ffffffff,ffffffff,ffffffff", "0-95", "ffffffff,ffffffff,ffffffff" },
        { "a,5", "0,2,33,35", "a,00000005" }, /* short groups, as the kernel takes them */
        { "DEADBEEF", "0-3,5-7,9-13,15-16,18-19,21,23,25-28,30-31", "deadbeef" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char list[256], text[BAL_MASK_TEXT_MAX];
        struct bal_mask m, again;

        assert_int_equal(bal_mask_parse(&m, cases[i].text), 0);
        bal_mask_format_list(&m, list, sizeof(list));
        assert_string_equal(list, cases[i].list);
        bal_mask_format(&m, text);
        assert_string_equal(text, cases[i].back);
        assert_int_equal(bal_mask_parse(&again, text), 0);
        assert_true(bal_mask_equal(&m, &again));
    }
}

static void test_mask_refuses_what_is_none(void **state)
{
    static const char *const bad[] = { "",   "\n",  ",",   "1,",        ",1",   "1,,1", "x",       "0x1",
                                       "-1", "1 1", "0-3", "123456789", "1\n1", " 1",   "1;reboot" };
    struct bal_mask m;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(bal_mask_parse(&m, bad[i]), -EINVAL);
    assert_int_equal(m.word[0], 0x5a5a5a5a5a5a5a5a); /* untouched */
}

static void test_mask_goes_up_to_the_last_cpu_and_not_beyond(void **state)
{
    char text[BAL_MASK_TEXT_MAX + 16];
    struct bal_mask m = { 0 }, got;

    (void)state;
    bal_mask_set(&m, BAL_MASK_CPUS - 1);
    bal_mask_set(&m, BAL_MASK_CPUS); /* left out */
    bal_mask_set(&m, -1);
    assert_int_equal(bal_mask_count(&m), 1);
    bal_mask_format(&m, text);
    assert_int_equal(strlen(text), BAL_MASK_TEXT_MAX - 1 - 1);
    assert_int_equal(bal_mask_parse(&got, text), 0);
    assert_true(bal_mask_equal(&m, &got));
    memmove(text + 2, text, strlen(text) + 1);
    memcpy(text, "0,", 2); /* a word more, empty */
    assert_int_equal(bal_mask_parse(&got, text), 0);
    *text = '1';
    assert_int_equal(bal_mask_parse(&got, text), -ERANGE);
    assert_int_equal(bal_mask_next(&m, 0), BAL_MASK_CPUS - 1);
    assert_int_equal(bal_mask_next(&m, BAL_MASK_CPUS), -1);
    assert_false(bal_mask_has(&m, BAL_MASK_CPUS));
}

static void test_mask_lists(void **state)
{
    static const char *const bad[] = { "a", "1-", "-1", "3-1", "1,", ",1", "1,,2", "1 2", "1-2-3", "0x1" };
    char text[16];
    struct bal_mask m;

    (void)state;
    assert_int_equal(bal_mask_parse_list(&m, "0-3,8,70-71\n"), 0);
    assert_int_equal(bal_mask_count(&m), 7);
    assert_true(bal_mask_has(&m, 71));
    assert_int_equal(bal_mask_parse_list(&m, ""), 0);
    assert_int_equal(bal_mask_count(&m), 0);
    assert_int_equal(bal_mask_parse_list(&m, "8191"), 0);
    assert_int_equal(bal_mask_parse_list(&m, "8192"), -ERANGE);
    assert_int_equal(bal_mask_parse_list(&m, "0-99999999999999999999"), -ERANGE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(bal_mask_parse_list(&m, bad[i]), -EINVAL);
    assert_int_equal(bal_mask_parse_list(&m, "1,3,5,7,9,11,13"), 0);
    bal_mask_format_list(&m, text, sizeof(text)); /* does not fit: says so, stays in bounds */
    assert_string_equal(text, "1,3,5,7,9,11...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_reads_the_kernels_words),
        cmocka_unit_test(test_mask_refuses_what_is_none),
        cmocka_unit_test(test_mask_goes_up_to_the_last_cpu_and_not_beyond),
        cmocka_unit_test(test_mask_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
