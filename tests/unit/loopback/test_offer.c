/* test_offer.c - the text of the negotiation: one spelling, and nothing else is taken */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loopback/offer.h"
#include "reactor/rt.h"

#include <cmocka.h>

#define ID    "0a1b2c3d-1111-2222-3333-0123456789ab"
#define TOKEN "000102030405060708090a0b0c0d0eff"

/* ---- offer ------------------------------------------------------------------------------------------- */

static void test_an_offer_is_of_one_machine(void **state)
{
    char value[LOOP_TEXT_MAX];

    assert_true(loop_offer_encode_for(ID, value));
    assert_string_equal(value, "1," ID);
    assert_true(loop_offer_is_for(ID, value));
    assert_false(loop_offer_is_for("0a1b2c3d-1111-2222-3333-0123456789ac", value));
}

static void test_an_offer_needs_a_boot_id(void **state)
{
    static const char *const bad[] = { "",
                                       "0a1b2c3d-1111-2222-3333-0123456789a",
                                       ID "0",
                                       "0a1b2c3d-1111-2222-3333-0123456789aB",
                                       "0a1b2c3d-1111-2222-3333-0123456789a\n",
                                       "0a1b2c3d,1111-2222-3333-0123456789ab" };
    char value[LOOP_TEXT_MAX] = "?", ours[LOOP_TEXT_MAX];

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(loop_offer_encode_for(bad[i], value));
        assert_string_equal(value, "?");
        snprintf(ours, sizeof(ours), "1,%s", bad[i]);
        assert_false(loop_offer_is_for(bad[i], ours)); /* who knows no id is at home nowhere */
    }
}

static void test_nothing_but_our_offer_is_ours(void **state)
{
    static const char *const bad[] = { "",          "1",
                                       "1,",        "Yes",
                                       ID,          "2," ID,
                                       "01," ID,    "1, " ID,
                                       " 1," ID,    "1," ID " ",
                                       "1," ID ",", "1," ID "0",
                                       "+1," ID,    "1,0A1B2C3D-1111-2222-3333-0123456789AB" };
    char value[LOOP_TEXT_MAX];

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(loop_offer_is_for(ID, bad[i]));
    assert_true(loop_offer_encode_for(ID, value));
    for (size_t len = strlen(value); len-- > 0;) { /* each prefix */
        value[len] = '\0';
        assert_false(loop_offer_is_for(ID, value));
    }
}

static void test_this_machine_knows_its_own(void **state)
{
    char value[LOOP_TEXT_MAX], again[LOOP_TEXT_MAX];

    assert_true(loop_offer_encode(value));
    assert_true(loop_offer_is_ours(value));
    assert_true(loop_offer_encode(again));
    assert_string_equal(value, again);
    value[strlen(value) - 1] ^= 1;
    assert_false(loop_offer_is_ours(value));
}

/* ---- invitation -------------------------------------------------------------------------------------- */

static const struct loop_invitation sample = {
    .token = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 },
    .path = "/run/corelane/loop.sock",
};

static void test_an_invitation_is_read_as_written(void **state)
{
    struct loop_invitation inv = { 0 };
    char value[LOOP_TEXT_MAX];

    assert_true(loop_invitation_encode(&sample, value));
    assert_string_equal(value, "1," TOKEN ",/run/corelane/loop.sock");
    assert_null(loop_invitation_decode(&inv, value));
    assert_memory_equal(inv.token, sample.token, sizeof(inv.token));
    assert_string_equal(inv.path, sample.path);
}

static void test_a_path_is_as_long_as_a_socket_allows(void **state)
{
    struct loop_invitation inv = sample, out = { .path = "?" };
    char value[LOOP_TEXT_MAX], longer[LOOP_TEXT_MAX + 1];

    memset(inv.path, 'p', sizeof(inv.path));
    inv.path[0] = '/';
    inv.path[LOOP_PATH_LEN_MAX] = '\0';
    assert_true(loop_invitation_encode(&inv, value));
    assert_null(loop_invitation_decode(&out, value));
    assert_string_equal(out.path, inv.path);

    snprintf(longer, sizeof(longer), "%sp", value);
    out = (struct loop_invitation){ .path = "?" };
    assert_non_null(loop_invitation_decode(&out, longer));
    assert_string_equal(out.path, "?");
    inv.path[LOOP_PATH_LEN_MAX] = 'p'; /* and one that does not end at all */
    assert_false(loop_invitation_encode(&inv, value));
}

static const char *const paths_bad[] = { "",      "/",     "relative", "./x",    "@abstract", "/a,b", "/a b",
                                         "/a\tb", "/a\nb", "/a\x7f",   "/a\x01", " /a",       "/a " };

static void test_a_path_stands_in_a_text_value_or_not_at_all(void **state)
{
    struct loop_invitation inv = sample, out;
    char value[LOOP_TEXT_MAX];

    for (unsigned i = 0; i < ARRAY_SIZE(paths_bad); i++) {
        snprintf(inv.path, sizeof(inv.path), "%s", paths_bad[i]);
        strcpy(value, "?");
        assert_false(loop_invitation_encode(&inv, value));
        assert_string_equal(value, "?");
        snprintf(value, sizeof(value), "1," TOKEN ",%s", paths_bad[i]);
        out = (struct loop_invitation){ .path = "?" };
        assert_non_null(loop_invitation_decode(&out, value));
        assert_string_equal(out.path, "?");
    }
    strcpy(inv.path, "/run/\xc3\xa4/x"); /* UTF-8 is text */
    assert_true(loop_invitation_encode(&inv, value));
    assert_null(loop_invitation_decode(&out, value));
    assert_string_equal(out.path, inv.path);
}

static void test_nothing_but_an_invitation_is_one(void **state)
{
    static const char *const bad[] = {
        "",
        "Yes",
        "1",
        "1,",
        "1,,/x",
        "1,/x",
        "/x",
        "1," TOKEN,
        "1," TOKEN ",",
        "1," TOKEN "/x",
        "1," TOKEN ";/x",
        "1," TOKEN "0,/x",
        "1,00010203040506070809,/x",
        "1,000102030405060708090A0B0C0D0EFF,/x",
        "1,000102030405060708090a0b0c0d0efg,/x",
        "1,g00102030405060708090a0b0c0d0eff,/x",
        "1,0x0102030405060708090a0b0c0d0eff,/x",
        "1, " TOKEN ",/x",
        "01," TOKEN ",/x",
        "1," TOKEN ", /x",
        "1," TOKEN ",/x,",
        " 1," TOKEN ",/x",
        "no",
        "NO",
        "No ",
    };
    struct loop_invitation out = { .token = { 9 }, .path = "?" };
    const char *why;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_non_null(why = loop_invitation_decode(&out, bad[i]));
        assert_true(strlen(why) > 0);
    }
    assert_int_equal(out.token[0], 9);
    assert_string_equal(out.path, "?");
}

/* Each prefix, in memory that ends where it ends: with SAN=1 a step beyond is seen. */
static void test_each_prefix_is_refused(void **state)
{
    static const char whole[] = "1," TOKEN ",/x";

    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        char *value = strndup(whole, len);
        struct loop_invitation out = { .path = "?" };

        assert_non_null(value);
        assert_non_null(loop_invitation_decode(&out, value));
        assert_string_equal(out.path, "?");
        free(value);
    }
}

static void test_why_not_is_told_in_words(void **state)
{
    static const struct {
        const char *value, *words;
    } cases[] = {
        { "No", "another machine" },
        { "NotUnderstood", "does not know it" },
        { "Reject", "Reject" },
        { "Irrelevant", "Irrelevant" },
        { "2," TOKEN ",/x", "another version" },
        { "12,anything", "another version" },
        { "2", "cannot be read" },
        { "x", "cannot be read" },
    };
    struct loop_invitation out;

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
        assert_non_null(strstr(loop_invitation_decode(&out, cases[i].value), cases[i].words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_offer_is_of_one_machine),
        cmocka_unit_test(test_an_offer_needs_a_boot_id),
        cmocka_unit_test(test_nothing_but_our_offer_is_ours),
        cmocka_unit_test(test_this_machine_knows_its_own),
        cmocka_unit_test(test_an_invitation_is_read_as_written),
        cmocka_unit_test(test_a_path_is_as_long_as_a_socket_allows),
        cmocka_unit_test(test_a_path_stands_in_a_text_value_or_not_at_all),
        cmocka_unit_test(test_nothing_but_an_invitation_is_one),
        cmocka_unit_test(test_each_prefix_is_refused),
        cmocka_unit_test(test_why_not_is_told_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
