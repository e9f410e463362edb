/*
 * test_text.c - key=value text, numbers and binary values; mostly what peers should not send
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/keys.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the walk ------------------------------------------------------------------------------------------ */

static void test_walk_gives_each_pair_and_then_the_end(void **state)
{
    char data[] = "InitialR2T=No\0MaxBurstLength=262144\0X-com.example.a=b=c\0Empty=\0";
    static const char *const want[][2] = {
        { "InitialR2T", "No" }, { "MaxBurstLength", "262144" }, { "X-com.example.a", "b=c" }, { "Empty", "" },
    };
    uint32_t pos = 0;
    char *key, *value;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_int_equal(iscsi_text_next(data, sizeof(data) - 1, &pos, &key, &value), 1);
        assert_string_equal(key, want[i][0]);
        assert_string_equal(value, want[i][1]);
    }
    assert_int_equal(iscsi_text_next(data, sizeof(data) - 1, &pos, &key, &value), 0);
    assert_int_equal(iscsi_text_next(data, sizeof(data) - 1, &pos, &key, &value), 0);
}

static void test_walk_of_nothing_is_the_end(void **state)
{
    char zeros[4] = { 0 }, *key, *value;
    uint32_t pos = 0;

    (void)state;
    assert_int_equal(iscsi_text_next(zeros, 0, &pos, &key, &value), 0);
    assert_int_equal(iscsi_text_next(NULL, 0, &pos, &key, &value), 0);
    assert_int_equal(iscsi_text_next(zeros, sizeof(zeros), &pos, &key, &value), 0);
}

static void test_walk_passes_over_spare_nuls(void **state)
{
    char data[] = "\0\0A=1\0\0\0B=2\0\0", *key, *value;
    uint32_t pos = 0;

    (void)state;
    assert_int_equal(iscsi_text_next(data, sizeof(data), &pos, &key, &value), 1);
    assert_string_equal(key, "A");
    assert_int_equal(iscsi_text_next(data, sizeof(data), &pos, &key, &value), 1);
    assert_string_equal(key, "B");
    assert_string_equal(value, "2");
    assert_int_equal(iscsi_text_next(data, sizeof(data), &pos, &key, &value), 0);
}

#define LABEL_63 "Abcdefghijklmnopqrstuvwxyz0123456789.-+@_Abcdefghijklmnopqrstuv"
static_assert(sizeof(LABEL_63) == 64, "the longest label");

static void test_walk_judges_labels(void **state)
{
    static const struct {
        const char *text;
        int want;
    } cases[] = {
        { "A=", 1 },
        { LABEL_63 "=1", 1 },
        { LABEL_63 "w=1", -EPROTO },
        { "X#NodeArchitecture=1", 1 },
        { "iSCSIProtocolLevel=1", 1 },      /* the RFC's own exception */
        { "iSCSIProtocolLevels=1", -EPROTO },
        { "=x", -EPROTO },
        { "=", -EPROTO },
        { "NoEquals", -EPROTO },
        { "a=b", -EPROTO },
        { "1A=b", -EPROTO },
        { "A b=c", -EPROTO },
        { " A=c", -EPROTO },
        { "A\n=c", -EPROTO },
        { "A\xc3\xa4=c", -EPROTO },
        { "A/../b=c", -EPROTO },
        { "A,B=c", -EPROTO },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char data[128], *key, *value;
        uint32_t pos = 0;

        snprintf(data, sizeof(data), "%s", cases[i].text);
        if (iscsi_text_next(data, (uint32_t)strlen(data) + 1, &pos, &key, &value) != cases[i].want)
            fail_msg("\"%s\"", cases[i].text);
    }
}

/* Each prefix of a good text: pairs that are whole, then an end or a refusal, and never a byte beyond. */
static void test_walk_of_every_prefix_stays_inside(void **state)
{
    static const char whole[] = "InitialR2T=No\0MaxBurstLength=262144\0";

    (void)state;
    for (uint32_t len = 0; len < sizeof(whole); len++) {
        char *data = test_malloc(len + 1), *key, *value;
        uint32_t pos = 0;
        int r, pairs = 0;

        memcpy(data, whole, len);
        data[len] = 'x';
        while ((r = iscsi_text_next(data, len, &pos, &key, &value)) == 1) {
            pairs++;
            assert_in_range((uintptr_t)(value + strlen(value)), (uintptr_t)data, (uintptr_t)(data + len) - 1);
        }
        assert_int_equal(pairs, (len >= 14) + (len >= 36));
        assert_int_equal(r, len == 0 || len == 14 || len >= 36 ? 0 : -EPROTO);
        assert_int_equal(data[len], 'x');
        test_free(data);
    }
}

/* ---- the writer ---------------------------------------------------------------------------------------- */

static void test_writer_adds_pairs_with_their_nul(void **state)
{
    char buf[64];
    struct iscsi_text t;

    (void)state;
    iscsi_text_init(&t, buf, sizeof(buf));
    iscsi_text_add(&t, "A", "b");
    iscsi_text_addf(&t, "N", "%u,%s", 7u, "x");
    assert_int_equal(t.len, 10);
    assert_memory_equal(buf, "A=b\0N=7,x\0", 10);
    assert_false(t.overflow);
}

/* Every size of buffer: what fits is there, what does not is left out whole, and no byte beyond is touched. */
static void test_writer_never_writes_past_its_buffer(void **state)
{
    (void)state;
    for (uint32_t size = 0; size < 40; size++)
        for (int formatted = 0; formatted < 2; formatted++) {
            char buf[48];
            struct iscsi_text t;

            memset(buf, 0x7e, sizeof(buf));
            iscsi_text_init(&t, buf, size);
            for (int i = 0; i < 5; i++) {
                if (formatted)
                    iscsi_text_addf(&t, "Key", "%s", "abc");
                else
                    iscsi_text_add(&t, "Key", "abc");
            }
            assert_int_equal(t.overflow, size < 40);
            assert_int_equal(t.len, size / 8 * 8);
            for (uint32_t i = size; i < sizeof(buf); i++)
                assert_int_equal(buf[i], 0x7e);
        }
}

/* After a pair that did not fit, a shorter one must not slip in: the text would have a hole. */
static void test_writer_stays_shut_after_an_overflow(void **state)
{
    char buf[16];
    struct iscsi_text t;

    (void)state;
    iscsi_text_init(&t, buf, sizeof(buf));
    iscsi_text_add(&t, "A", "1");
    iscsi_text_add(&t, "TooLong", "0123456789");
    iscsi_text_add(&t, "B", "2");
    iscsi_text_addf(&t, "C", "%d", 3);
    assert_true(t.overflow);
    assert_int_equal(t.len, 4);
}

/* 2048 keys of four bytes, each answered with a longer one: the classic that grew sixteen times. */
static void test_answers_to_thousands_of_keys_are_bounded(void **state)
{
    char *in = test_malloc(2048 * 4), *out = test_malloc(8192), *key, *value;
    struct iscsi_text t;
    uint32_t pos = 0, pairs = 0;

    (void)state;
    for (unsigned i = 0; i < 2048; i++)
        memcpy(in + 4 * i, "A=b", 4);
    iscsi_text_init(&t, out, 8192);
    while (iscsi_text_next(in, 2048 * 4, &pos, &key, &value) == 1) {
        iscsi_text_add(&t, key, "NotUnderstood");
        pairs++;
    }
    assert_int_equal(pairs, 2048);
    assert_true(t.overflow);
    assert_int_equal(t.len, 8192 / 16 * 16);
    test_free(in);
    test_free(out);
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

static void test_numbers_that_are_good(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        { "0", 0 }, { "1", 1 }, { "65535", 65535 }, { "0x0", 0 }, { "0X1f", 31 }, { "0x00ff", 255 },
        { "0xABCDEF", 0xabcdef }, { "18446744073709551615", UINT64_MAX }, { "0xffffffffffffffff", UINT64_MAX },
        { "0x0000000000000000000000001", 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t v = 99;

        assert_int_equal(iscsi_text_number(cases[i].text, &v), 0);
        assert_true(v == cases[i].want);
    }
}

static void test_numbers_that_are_not(void **state)
{
    static const char *const cases[] = {
        "", " 1", "1 ", "+1", "-1", "-0", "01", "00", "0x", "0X", "0xg", "0x-1", "1.0", "1e3", "12a", "a",
        "0b11", "18446744073709551616", "0x10000000000000000", "99999999999999999999999999", "1,2", "Yes",
        "0x1 ",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t v = 99;

        if (iscsi_text_number(cases[i], &v) != -EINVAL)
            fail_msg("accepted \"%s\"", cases[i]);
        assert_int_equal(v, 99);
    }
}

/* ---- binary values ------------------------------------------------------------------------------------- */

static void test_binary_values_that_are_good(void **state)
{
    static const struct {
        const char *text;
        int len;
        uint8_t want[6];
    } cases[] = {
        { "0x00", 1, { 0 } },
        { "0X0aFf", 2, { 0x0a, 0xff } },
        { "0x010203040506", 6, { 1, 2, 3, 4, 5, 6 } },
        { "0bZg==", 1, { 'f' } },           /* RFC 4648 10 */
        { "0bZm8=", 2, { 'f', 'o' } },
        { "0bZm9v", 3, { 'f', 'o', 'o' } },
        { "0BZm9vYg==", 4, { 'f', 'o', 'o', 'b' } },
        { "0bZm9vYmE=", 5, { 'f', 'o', 'o', 'b', 'a' } },
        { "0bZm9vYmFy", 6, { 'f', 'o', 'o', 'b', 'a', 'r' } },
        { "0bZm9vYg", 4, { 'f', 'o', 'o', 'b' } },      /* padding left out */
        { "0b+/+/", 3, { 0xfb, 0xff, 0xbf } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t out[8];

        memset(out, 0xee, sizeof(out));
        if (iscsi_text_binary(cases[i].text, out, (size_t)cases[i].len) != cases[i].len)
            fail_msg("refused \"%s\"", cases[i].text);
        assert_memory_equal(out, cases[i].want, (size_t)cases[i].len);
        assert_int_equal(out[cases[i].len], 0xee);
        assert_int_equal(iscsi_text_binary(cases[i].text, out, (size_t)cases[i].len - 1), -EINVAL);
    }
}

static void test_binary_values_that_are_not_touch_nothing(void **state)
{
    static const char *const cases[] = {
        "", "0", "x", "0x", "0b", "00", "abcd", "12", "0x1", "0x123", "0x1g", "0x 1", "0x12 ", "0x-1",
        "0bA", "0bAAAAA", "0b=", "0b====", "0bA===", "0bAA=", "0bAAA==", "0bAAAA=", "0bAA=A", "0bA=AA",
        "0bAA==AAAA",
        "0bAB==", "0bAAB=", "0bAA-_", "0bAA A", "0bAA\n", "0c00",
        "0x0102030405060708090a", "0bAAAAAAAAAAAAAAAA",     /* longer than what there is room for */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t out[8];

        memset(out, 0xee, sizeof(out));
        if (iscsi_text_binary(cases[i], out, sizeof(out)) != -EINVAL)
            fail_msg("accepted \"%s\"", cases[i]);
        for (size_t j = 0; j < sizeof(out); j++)
            assert_int_equal(out[j], 0xee);
    }
}

/* 127 base64 characters once decoded to 95 bytes into 16: any length is measured before it is written. */
static void test_binary_values_of_every_length_are_measured_first(void **state)
{
    (void)state;
    for (size_t len = 0; len < 600; len++) {
        char text[640];
        uint8_t *out = test_malloc(16);
        int hex, b64;

        text[0] = '0';
        memset(text + 2, 'A', len);
        text[2 + len] = '\0';
        text[1] = 'x';
        hex = iscsi_text_binary(text, out, 16);
        assert_int_equal(hex, len && len % 2 == 0 && len <= 32 ? (int)len / 2 : -EINVAL);
        text[1] = 'b';
        b64 = iscsi_text_binary(text, out, 16);
        assert_int_equal(b64, len && len % 4 != 1 && len * 3 / 4 <= 16 ? (int)(len * 3 / 4) : -EINVAL);
        test_free(out);
    }
}

static void test_hex_is_read_back(void **state)
{
    const uint8_t bytes[5] = { 0, 1, 0x7f, 0x80, 0xff };
    char text[2 * sizeof(bytes) + 3];
    uint8_t back[sizeof(bytes)];

    (void)state;
    iscsi_text_hex(bytes, sizeof(bytes), text);
    assert_string_equal(text, "0x00017f80ff");
    assert_int_equal(iscsi_text_binary(text, back, sizeof(back)), sizeof(back));
    assert_memory_equal(back, bytes, sizeof(bytes));
    iscsi_text_hex(bytes, 0, text);
    assert_string_equal(text, "0x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_gives_each_pair_and_then_the_end),
        cmocka_unit_test(test_walk_of_nothing_is_the_end),
        cmocka_unit_test(test_walk_passes_over_spare_nuls),
        cmocka_unit_test(test_walk_judges_labels),
        cmocka_unit_test(test_walk_of_every_prefix_stays_inside),
        cmocka_unit_test(test_writer_adds_pairs_with_their_nul),
        cmocka_unit_test(test_writer_never_writes_past_its_buffer),
        cmocka_unit_test(test_writer_stays_shut_after_an_overflow),
        cmocka_unit_test(test_answers_to_thousands_of_keys_are_bounded),
        cmocka_unit_test(test_numbers_that_are_good),
        cmocka_unit_test(test_numbers_that_are_not),
        cmocka_unit_test(test_binary_values_that_are_good),
        cmocka_unit_test(test_binary_values_that_are_not_touch_nothing),
        cmocka_unit_test(test_binary_values_of_every_length_are_measured_first),
        cmocka_unit_test(test_hex_is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
