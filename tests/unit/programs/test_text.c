/* Sizes, core lists, words and histograms as the programs read and write them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The programs are no library: what is tested of them is compiled in. */
#include "programs/common/text.c"
#include "programs/corelane/hist.c"

/* What a daemon takes that was told nothing. */
static void test_isolated_cores_are_not_taken_unasked(void **state)
{
    struct bal_topo *topo;
    struct cores c, all;
    char why[BAL_TEXT_MAX];

    cores_allowed(&all);
    cores_default(&c, NULL);
    assert_int_equal(c.nr, all.nr);
    assert_int_equal(bal_topo_new(&topo, "core:4 pu:1; isolated 1-2", why), 0);
    cores_default(&c, topo);
    assert_int_equal(c.nr, 2);
    assert_int_equal(c.core[0], 0);
    assert_int_equal(c.core[1], 3);
    bal_topo_free(topo);
}

static void test_sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        { "0", 0 },
        { "512", 512 },
        { "4k", 4096 },
        { "4K", 4096 },
        { "10M", 10ull << 20 },
        { "10G", 10ull << 30 },
        { "1T", 1ull << 40 },
        { "8388607T", 8388607ull << 40 },
        { "9223372036854775807", INT64_MAX },
    };
    uint64_t v;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(size_parse(rows[i].text, &v), 0);
        assert_true(v == rows[i].bytes);
    }
}

static void test_what_is_no_size_is_refused_and_nothing_written(void **state)
{
    static const struct {
        const char *text;
        int err;
    } rows[] = {
        { "", -EINVAL },
        { "k", -EINVAL },
        { "4kk", -EINVAL },
        { "4x", -EINVAL },
        { "-1", -EINVAL },
        { "+1", -EINVAL },
        { " 1", -EINVAL },
        { "1.5G", -EINVAL },
        { "0x10", -EINVAL },
        { "4 k", -EINVAL },
        { "4KiB", -EINVAL },
        { "8388608T", -ERANGE },
        { "9223372036854775808", -ERANGE },
        { "99999999999999999999", -ERANGE },
        { "9999999999999999999999999999999999", -EINVAL },
    };
    uint64_t v = 7;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(size_parse(rows[i].text, &v), rows[i].err);
        assert_int_equal(v, 7);
    }
}

static void test_sizes_are_written_as_they_are_read(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        { 0, "0" },       { 1023, "1023" },       { 1024, "1k" },
        { 1536, "1.5k" }, { 10ull << 30, "10G" }, { 1ull << 40, "1T" },
    };
    char text[SIZE_STR_MAX];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_format(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
    size_format(UINT64_MAX, text); /* fits, whatever it says */
}

static void test_core_lists_are_read_and_checked(void **state)
{
    struct cores all, c;
    char list[256], why[256], one[64];

    cores_allowed(&all);
    assert_true(all.nr >= 1);
    cores_format(&all, list, sizeof(list));
    assert_true(cores_parse(list, &c, why));
    assert_int_equal(c.nr, all.nr);
    assert_memory_equal(c.core, all.core, all.nr * sizeof(all.core[0]));
    snprintf(one, sizeof(one), "%d", all.core[0]);
    assert_true(cores_parse(one, &c, why));
    assert_int_equal(c.nr, 1);
    snprintf(one, sizeof(one), "%d,%d", all.core[0], all.core[0]);
    assert_false(cores_parse(one, &c, why));
    assert_non_null(strstr(why, "named twice"));
}

static void test_what_is_no_core_list_is_refused_with_words(void **state)
{
    static const char *const bad[] = { "", ",", "a", "0,", "1-", "-1", "3-1", "0,,1", "0-1-2", "0 1" };
    struct cores c;
    char why[256];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(cores_parse(bad[i], &c, why));
        assert_non_null(strstr(why, "looks like 0,2-5"));
    }
    assert_false(cores_parse("99999", &c, why));
    assert_non_null(strstr(why, "core 99999 is not there"));
    assert_false(cores_parse("0-4294967296", &c, why));
}

static void test_nearest_word_is_found_and_strange_ones_are_not(void **state)
{
    static const char *const words[] = { "target", "lun", "attach", "detach", "session", "sessions", NULL };

    assert_string_equal(word_nearest("targt", words), "target");
    assert_string_equal(word_nearest("tagret", words), "target");
    assert_string_equal(word_nearest("atach", words), "attach");
    assert_string_equal(word_nearest("sess", words), "session");
    assert_string_equal(word_nearest("lnu", words), "lun");
    assert_null(word_nearest("frobnicate", words));
    assert_null(word_nearest("x", words));
    assert_null(word_nearest("", words));
}

static void test_histogram_keeps_quantiles_within_two_percent(void **state)
{
    struct hist *h = calloc(1, sizeof(*h)), *all = calloc(1, sizeof(*all));

    for (uint64_t v = 1; v <= 100000; v++)
        hist_add(h, v * 10);
    hist_merge(all, h);
    hist_merge(all, h);
    assert_int_equal(all->count, 200000);
    assert_true(all->max == 1000000);
    assert_true(hist_mean(all) > 500004 && hist_mean(all) < 500006);
    assert_in_range(hist_quantile(all, 0.5), 500000, 510000);
    assert_in_range(hist_quantile(all, 0.99), 990000, 1000000);
    assert_true(hist_quantile(all, 1) == 1000000);
    free(h);
    free(all);
}

static void test_histogram_places_every_value_in_a_bucket_that_holds_it(void **state)
{
    for (unsigned p = 0; p < 64; p++) {
        const uint64_t around[] = { (1ull << p) - 1, 1ull << p, (1ull << p) + 1 };

        for (unsigned i = 0; i < 3; i++) {
            const unsigned at = hist_index(around[i]);

            assert_true(at < HIST_BUCKETS);
            if (at == HIST_BUCKETS - 1)
                continue; /* the last takes all that is larger */
            assert_true(bucket_end(at) >= around[i]);
            assert_true(!at || bucket_end(at - 1) < around[i]);
        }
    }
}

static void test_empty_histogram_has_answers(void **state)
{
    struct hist *h = calloc(1, sizeof(*h));

    assert_true(hist_quantile(h, 0.5) == 0);
    assert_true(hist_mean(h) == 0);
    hist_print(h, stderr);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isolated_cores_are_not_taken_unasked),
        cmocka_unit_test(test_sizes_are_read),
        cmocka_unit_test(test_what_is_no_size_is_refused_and_nothing_written),
        cmocka_unit_test(test_sizes_are_written_as_they_are_read),
        cmocka_unit_test(test_core_lists_are_read_and_checked),
        cmocka_unit_test(test_what_is_no_core_list_is_refused_with_words),
        cmocka_unit_test(test_nearest_word_is_found_and_strange_ones_are_not),
        cmocka_unit_test(test_histogram_keeps_quantiles_within_two_percent),
        cmocka_unit_test(test_histogram_places_every_value_in_a_bucket_that_holds_it),
        cmocka_unit_test(test_empty_histogram_has_answers),
    };

    return cmocka_run_group_tests_name("programs' text", tests, NULL, NULL);
}
