/* What is set in an object, whatever words a peer has put into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/json.h"

/* What @text is told as. */
static void expect_told(const char *text, const char *as)
{
    const uint64_t losses = rpc_json_losses();
    json_t *o = json_object();

    rpc_json_set_text(o, "text", text);
    assert_string_equal(json_string_value(json_object_get(o, "text")), as);
    assert_int_equal(rpc_json_losses(), losses);
    json_decref(o);
}

static void test_text_is_told_as_it_is(void **state)
{
    (void)state;
    expect_told("", "");
    expect_told("a \"disk\"\n", "a \"disk\"\n");
    expect_told("Gr\xc3\xb6\xc3\x9f", "Gr\xc3\xb6\xc3\x9f"); /* UTF-8 */
}

static void test_text_that_is_no_utf_8_is_told_by_its_ascii_letters(void **state)
{
    (void)state;
    expect_told("vendor \xff\xfe!", "vendor ?" "?!");
    expect_told("\xc3", "?"); /* cut in a letter */
    expect_told("Gr\xc3\xb6\xff", "Gr???");
}

static void test_text_that_is_no_utf_8_is_told_up_to_a_length(void **state)
{
    char text[2000], as[1024];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[0] = '\xff';
    text[sizeof(text) - 1] = '\0';
    memset(as, 'x', sizeof(as) - 1);
    as[0] = '?';
    as[sizeof(as) - 1] = '\0';
    expect_told(text, as);
}

static void test_numbers_are_set(void **state)
{
    json_t *o = json_object();

    (void)state;
    rpc_json_set_int(o, "none", 0);
    rpc_json_set_int(o, "most", INT64_MAX);
    assert_int_equal(json_integer_value(json_object_get(o, "none")), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "most")), INT64_MAX);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_told_as_it_is),
        cmocka_unit_test(test_text_that_is_no_utf_8_is_told_by_its_ascii_letters),
        cmocka_unit_test(test_text_that_is_no_utf_8_is_told_up_to_a_length),
        cmocka_unit_test(test_numbers_are_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
