/* test_pr.c - persistent reservations: what is said and what is understood */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "mpio/pr.h"

static void test_commands_as_the_standard_has_them(void **state)
{
    static const struct {
        enum mpio_pr_action action;
        uint8_t cdb[10];
    } rows[] = {
        { MPIO_PR_READ_KEYS, { 0x5e, 0, 0, 0, 0, 0, 0, 0x08, 0x00, 0 } },
        { MPIO_PR_READ_RESERVATION, { 0x5e, 1, 0, 0, 0, 0, 0, 0x08, 0x00, 0 } },
        { MPIO_PR_REGISTER, { 0x5f, 6, 5, 0, 0, 0, 0, 0, 24, 0 } },
        { MPIO_PR_RESERVE, { 0x5f, 1, 5, 0, 0, 0, 0, 0, 24, 0 } },
        { MPIO_PR_RELEASE, { 0x5f, 2, 5, 0, 0, 0, 0, 0, 24, 0 } },
        { MPIO_PR_CLEAR, { 0x5f, 3, 5, 0, 0, 0, 0, 0, 24, 0 } },
        { MPIO_PR_PREEMPT, { 0x5f, 4, 5, 0, 0, 0, 0, 0, 24, 0 } },
        { MPIO_PR_PREEMPT_ABORT, { 0x5f, 5, 5, 0, 0, 0, 0, 0, 24, 0 } },
    };
    struct mpio_pr *pr = calloc(1, sizeof(*pr));
    uint8_t cdb[16];

    (void)state;
    assert_non_null(pr);
    pr->type = 5;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pr->action = rows[i].action;
        memset(cdb, 0xa5, sizeof(cdb));
        assert_int_equal(mpio_pr_cdb(cdb, pr, 2048), 10);
        assert_memory_equal(cdb, rows[i].cdb, 10);
    }
    free(pr);
}

static void test_keys_go_where_they_belong(void **state)
{
    struct mpio_pr *pr = calloc(1, sizeof(*pr));
    uint8_t p[MPIO_PR_PARAM_LEN];

    (void)state;
    assert_non_null(pr);
    *pr = (struct mpio_pr){ .action = MPIO_PR_REGISTER, .key = 0x1122334455667788 };
    mpio_pr_param(p, pr);
    assert_memory_equal(p, "\0\0\0\0\0\0\0\0\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\0\0\0\0\0", 24);
    pr->action = MPIO_PR_PREEMPT;
    pr->other = 0xab;
    mpio_pr_param(p, pr);
    assert_memory_equal(p, "\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\0\0\0\0\xab\0\0\0\0\0\0\0\0", 24);
    free(pr);
}

static void test_types_have_names(void **state)
{
    (void)state;
    assert_int_equal(mpio_pr_type_parse("write-exclusive"), 1);
    assert_int_equal(mpio_pr_type_parse("exclusive-access-all-registrants"), 8);
    assert_int_equal(mpio_pr_type_parse("shared"), -EINVAL);
    assert_int_equal(mpio_pr_type_parse(""), -EINVAL);
    assert_string_equal(mpio_pr_type_name(5), "write-exclusive-registrants-only");
    assert_string_equal(mpio_pr_type_name(2), "unknown");
    assert_false(mpio_pr_type_shared(1));
    assert_false(mpio_pr_type_shared(3));
    for (unsigned t = 5; t <= 8; t++)
        assert_true(mpio_pr_type_shared(t));
    assert_false(mpio_pr_type_shared(9));
}

static void test_answers_are_read(void **state)
{
    static const uint8_t keys[] = { 0, 0, 0, 9, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 1,
                                    0, 0, 0, 0, 0, 0, 0, 2,  0, 0, 0, 0, 0, 0, 0, 3 };
    static const uint8_t held[] = { 0, 0, 0, 9, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 5, 0, 0 };
    static const uint8_t none[] = { 0, 0, 0, 9, 0, 0, 0, 0 };
    struct mpio_pr *pr = calloc(1, sizeof(*pr));

    (void)state;
    assert_non_null(pr);
    pr->action = MPIO_PR_READ_KEYS;
    assert_int_equal(mpio_pr_parse(pr, keys, sizeof(keys)), 0);
    assert_int_equal(pr->generation, 9);
    assert_int_equal(pr->keys_nr, 3);
    assert_int_equal(pr->keys_more, 0);
    assert_int_equal(pr->keys[2], 3);
    pr->action = MPIO_PR_READ_RESERVATION;
    assert_int_equal(mpio_pr_parse(pr, held, sizeof(held)), 0);
    assert_true(pr->held);
    assert_int_equal(pr->held_key, 7);
    assert_int_equal(pr->held_type, 5);
    assert_int_equal(mpio_pr_parse(pr, none, sizeof(none)), 0);
    assert_false(pr->held);
    free(pr);
}

/* What says more than came, or less than it must, is not believed beyond what there is. */
static void test_answers_that_cannot_be(void **state)
{
    uint8_t data[] = { 0, 0, 0, 9, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 1,
                       0, 0, 0, 0, 0, 0, 0, 2,  0, 0, 0, 0, 0, 0, 0, 3 };
    struct mpio_pr *pr = calloc(1, sizeof(*pr));

    (void)state;
    assert_non_null(pr);
    for (size_t len = 0; len <= sizeof(data); len++) {
        uint8_t *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, data, len);
        pr->action = MPIO_PR_READ_KEYS;
        assert_int_equal(mpio_pr_parse(pr, copy, len), len < 8 ? -EPROTO : 0);
        if (len >= 8) {
            assert_int_equal(pr->keys_nr, (len - 8) / 8);
            assert_int_equal(pr->keys_more, 3 - pr->keys_nr);
        }
        pr->action = MPIO_PR_READ_RESERVATION;
        assert_int_equal(mpio_pr_parse(pr, copy, len), len < 24 ? -EPROTO : 0);
        free(copy);
    }
    data[7] = 23;
    pr->action = MPIO_PR_READ_KEYS;
    assert_int_equal(mpio_pr_parse(pr, data, sizeof(data)), -EPROTO);
    memset(&data[4], 0xff, 4);
    data[7] = 0xf8;
    assert_int_equal(mpio_pr_parse(pr, data, sizeof(data)), 0);
    assert_int_equal(pr->keys_nr, 3);
    data[4] = data[5] = data[6] = 0;
    data[7] = 15;
    pr->action = MPIO_PR_READ_RESERVATION;
    assert_int_equal(mpio_pr_parse(pr, data, sizeof(data)), -EPROTO);
    free(pr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_as_the_standard_has_them),
        cmocka_unit_test(test_keys_go_where_they_belong),
        cmocka_unit_test(test_types_have_names),
        cmocka_unit_test(test_answers_are_read),
        cmocka_unit_test(test_answers_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
