/* Where values end in a stream of JSON, whatever pieces it arrives in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/frame.h"

#define MAX 1024u

static const char stream[] = "{\"a\":\"}{\\\"]\\\\\"} [1,[2,{\"b\":[]}]]\n\n\t42\n\"x\\\"y\"\n{}";
static const char *const values[] = { "{\"a\":\"}{\\\"]\\\\\"}", "[1,[2,{\"b\":[]}]]", "42\n", "\"x\\\"y\"\n",
                                      "{}" };

/* Takes what is whole and expects it to be the values in order. Return: how many were taken in all. */
static unsigned take(struct rpc_frame *f, unsigned taken)
{
    const char *v;
    size_t len;

    while (rpc_frame_next(f, MAX, &v, &len) == 1) {
        assert_true(taken < 5);
        assert_int_equal(len, strlen(values[taken]));
        assert_memory_equal(v, values[taken], len);
        taken++;
    }
    return taken;
}

static void test_values_are_found_wherever_the_stream_is_cut(void **state)
{
    for (size_t cut = 0; cut <= strlen(stream); cut++) {
        struct rpc_frame f = { 0 };
        unsigned n;

        assert_int_equal(rpc_frame_add(&f, stream, cut), 0);
        n = take(&f, 0);
        assert_int_equal(rpc_frame_add(&f, stream + cut, strlen(stream) - cut), 0);
        assert_int_equal(take(&f, n), 5);
        assert_false(rpc_frame_partial(&f));
        rpc_frame_free(&f);
    }
}

static void test_values_are_found_byte_by_byte(void **state)
{
    struct rpc_frame f = { 0 };
    unsigned n = 0;

    for (size_t i = 0; i < strlen(stream); i++) {
        assert_int_equal(rpc_frame_add(&f, stream + i, 1), 0);
        n = take(&f, n);
    }
    assert_int_equal(n, 5);
    rpc_frame_free(&f);
}

static void test_value_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(void **state)
{
    char text[MAX + 1];
    const char *v;
    size_t len;

    memset(text, ' ', sizeof(text));
    for (size_t size = MAX; size <= MAX + 1; size++) {
        struct rpc_frame f = { 0 };

        text[0] = '{';
        text[MAX - 1] = ' ';
        text[size - 1] = '}';
        assert_int_equal(rpc_frame_add(&f, text, size), 0);
        assert_int_equal(rpc_frame_next(&f, MAX, &v, &len), size == MAX ? 1 : -EFBIG);
        rpc_frame_free(&f);
    }
}

static void test_unended_value_is_partial_and_bounded(void **state)
{
    struct rpc_frame f = { 0 };
    char open[100];
    const char *v;
    size_t len;
    int got = 0;

    memset(open, '[', sizeof(open));
    for (unsigned i = 0; i < 20 && !got; i++) {
        assert_int_equal(rpc_frame_add(&f, open, sizeof(open)), 0);
        got = rpc_frame_next(&f, MAX, &v, &len);
        assert_true(rpc_frame_partial(&f));
    }
    assert_int_equal(got, -EFBIG);
    rpc_frame_free(&f);
}

static void test_blanks_between_values_are_not_kept(void **state)
{
    struct rpc_frame f = { 0 };
    char blanks[1000];
    const char *v;
    size_t len;

    memset(blanks, '\n', sizeof(blanks));
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(rpc_frame_add(&f, blanks, sizeof(blanks)), 0);
        assert_int_equal(rpc_frame_next(&f, MAX, &v, &len), 0);
    }
    assert_true(f.cap <= 4096);
    assert_false(rpc_frame_partial(&f));
    rpc_frame_free(&f);
}

static void test_closing_bracket_too_many_ends_with_its_line(void **state)
{
    struct rpc_frame f = { 0 };
    const char *v;
    size_t len;

    assert_int_equal(rpc_frame_add(&f, "}]\n{}", 5), 0);
    assert_int_equal(rpc_frame_next(&f, MAX, &v, &len), 1);
    assert_memory_equal(v, "}]\n", len);
    assert_int_equal(rpc_frame_next(&f, MAX, &v, &len), 1);
    assert_memory_equal(v, "{}", len);
    rpc_frame_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_found_wherever_the_stream_is_cut),
        cmocka_unit_test(test_values_are_found_byte_by_byte),
        cmocka_unit_test(test_value_of_exactly_the_limit_is_taken_and_one_byte_more_is_not),
        cmocka_unit_test(test_unended_value_is_partial_and_bounded),
        cmocka_unit_test(test_blanks_between_values_are_not_kept),
        cmocka_unit_test(test_closing_bracket_too_many_ends_with_its_line),
    };

    return cmocka_run_group_tests_name("rpc frame", tests, NULL, NULL);
}
