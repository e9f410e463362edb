/* test_login.c - when every byte of a connection is covered by a digest */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/proxy/login.h"

#include <cmocka.h>

#define BOTH "HeaderDigest=CRC32C\0DataDigest=CRC32C\0"

struct made { /* a Login Response */
    uint8_t bytes[1024];
    size_t len;
};

static struct made response(uint8_t flags, uint8_t status, const char *text, size_t text_len)
{
    struct made m = { .bytes = { 0x23, flags }, .len = 48 + (text_len + 3) / 4 * 4 };

    m.bytes[6] = (uint8_t)(text_len >> 8);
    m.bytes[7] = (uint8_t)text_len;
    m.bytes[36] = status;
    memcpy(m.bytes + 48, text, text_len);
    return m;
}
#define RESPONSE(flags, status, text) response(flags, status, text, sizeof(text) - 1)

static bool covered(const struct made *m, size_t nr, size_t step)
{
    struct login *l = calloc(1, sizeof(*l));
    bool yes;

    assert_non_null(l);
    for (size_t i = 0; i < nr; i++)
        for (size_t at = 0; at < m[i].len; at += step)
            login_feed(l, m[i].bytes + at, m[i].len - at < step ? m[i].len - at : step);
    yes = login_covered(l);
    free(l);
    return yes;
}

static void test_covered_once_login_agreed_on_both(void **state)
{
    const struct made m[] = { RESPONSE(0x81, 0, "AuthMethod=None\0"), RESPONSE(0x87, 0, BOTH) };

    for (size_t step = 1; step < 100; step++) {
        assert_true(covered(m, 2, step));
        assert_false(covered(m, 1, step));
    }
}

/* The text follows the header that says it is the last. */
static void test_not_covered_before_the_last_byte(void **state)
{
    struct made m = RESPONSE(0x87, 0, BOTH);

    for (m.len--; m.len; m.len--)
        assert_false(covered(&m, 1, 1024));
}

static void test_digests_of_an_earlier_answer_count(void **state)
{
    const struct made m[] = { RESPONSE(0x04, 0, BOTH), RESPONSE(0x87, 0, "") };

    assert_true(covered(m, 2, 7));
}

static void test_not_covered_with_one_digest_or_none(void **state)
{
    const struct made m[] = {
        RESPONSE(0x87, 0, "HeaderDigest=CRC32C\0DataDigest=None\0"),
        RESPONSE(0x87, 0, "HeaderDigest=None\0DataDigest=CRC32C\0"),
        RESPONSE(0x87, 0, "HeaderDigest=None,CRC32C\0DataDigest=CRC32C\0"),
        RESPONSE(0x87, 0, ""),
    };

    for (size_t i = 0; i < 4; i++)
        assert_false(covered(&m[i], 1, 5));
}

static void test_failed_login_and_other_streams_never_are(void **state)
{
    struct made m[] = { RESPONSE(0x87, 2, BOTH), RESPONSE(0x87, 0, BOTH) };

    assert_false(covered(m, 2, 9));
    m[0] = RESPONSE(0x87, 0, BOTH);
    m[0].bytes[0] = 0x24;
    assert_false(covered(m, 2, 9));
    m[0] = RESPONSE(0x03, 0, BOTH);
    m[0].bytes[5] = 0xff; /* 16 MB */
    assert_false(covered(m, 2, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_covered_once_login_agreed_on_both),
        cmocka_unit_test(test_not_covered_before_the_last_byte),
        cmocka_unit_test(test_digests_of_an_earlier_answer_count),
        cmocka_unit_test(test_not_covered_with_one_digest_or_none),
        cmocka_unit_test(test_failed_login_and_other_streams_never_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
