/* The picture of a layout, on machines made up for the purpose. */
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
#include "programs/corelane/print.c"
#include "programs/corelane/layout_print.c"

/* CPUs of two packages of one node each; CPU i's other half is i + nr / 2. */
static json_t *machine(unsigned nr)
{
    json_t *cores = json_array();

    for (unsigned i = 0; i < nr; i++)
        json_array_append_new(cores,
                              json_pack("{s:i, s:s, s:f, s:f, s:f, s:i, s:i, s:i, s:[i], s:[]}", "core", (int)i,
                                        "mode", "adaptive", "busy", 0.0, "poll", 0.0, "host", 0.0, "package",
                                        (int)(i % (nr / 2) / (nr / 4)), "node", (int)(i % (nr / 2) / (nr / 4)),
                                        "whole_core", (int)(i % (nr / 2)), "siblings", (int)((i + nr / 2) % nr),
                                        "sessions"));
    return json_pack("{s:o, s:[], s:s, s:s, s:i, s:{s:i, s:i, s:i, s:f, s:f, s:f, s:f}}", "cores", cores,
                     "sessions", "policy", "free-core", "rebalance", "advise", "cpus", (int)nr, "totals",
                     "cores", (int)nr, "sessions", 0, "cores_free", (int)nr, "busy", 0.0, "busy_min", 0.0,
                     "busy_max", 0.0, "imbalance", 0.0);
}

static void session_put(json_t *layout, const char *name, int core, int pin)
{
    json_t *s = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:[s], s:b}", "name", name, "target", "iqn.x",
                          "portal", "192.0.2.7:3260", "index", 1, "core", core, "transport", "tcp", "state",
                          "LOGGED_IN", "disks", "db", "moving", 0);

    if (pin >= 0)
        json_object_set_new(s, "pin", json_integer(pin));
    json_array_append_new(json_object_get(layout, "sessions"), s);
    if (core >= 0)
        json_array_append_new(
            json_object_get(json_array_get(json_object_get(layout, "cores"), (size_t)core), "sessions"),
            json_string(name));
}

/* Taken by the caller; the layout is given. */
static char *picture(json_t *layout)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    layout_picture(f, "corelaned", layout);
    fclose(f);
    json_decref(layout);
    return text;
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void test_a_machine_of_96_fits_a_screen(void **state)
{
    json_t *m = machine(96);
    char *text;

    session_put(m, "s1", 3, -1);
    session_put(m, "s2", 51, 51);
    session_put(m, "s3", 30, 2);
    text = picture(m);
    if (lines_of(text) > 20)
        fail_msg("%s", text);
    assert_non_null(strstr(text, "package 0, node 0"));
    assert_non_null(strstr(text, "package 1, node 1"));
    assert_non_null(strstr(text, "core 3+51 "));
    assert_non_null(strstr(text, "core 51+3 "));
    assert_non_null(strstr(text, "s1    iqn.x at 192.0.2.7:3260 #1, tcp, disks db\n"));
    assert_non_null(strstr(text, "disks db [pinned]\n"));
    assert_non_null(strstr(text, "disks db [pinned to core 2]\n"));
    assert_non_null(strstr(text, "cores 0-2,48-50  6, free"));
    free(text);
}

static void test_a_small_machine_has_a_line_for_each_core(void **state)
{
    json_t *m = machine(4), *core = json_array_get(json_object_get(m, "cores"), 1);
    char *text;

    json_object_set_new(core, "busy", json_real(0.5));
    json_object_set_new(core, "host", json_real(0.25));
    json_object_set_new(core, "poll", json_real(0.25));
    text = picture(m);
    assert_non_null(strstr(text, "core 0+2 "));
    assert_non_null(strstr(text, "core 1+3     [##########+++++.....]  50% +25%  adaptive"));
    assert_null(strstr(text, "free\n"));
    free(text);
}

static void test_many_sessions_on_a_core_are_counted(void **state)
{
    json_t *m = machine(4);
    char name[8], *text;

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        session_put(m, name, 0, -1);
    }
    text = picture(m);
    assert_true(lines_of(text) < 30);
    assert_non_null(strstr(text, "and 984 more\n"));
    free(text);
}

static void test_what_a_daemon_does_not_tell_is_left_out(void **state)
{
    json_t *m = json_pack("{s:[{s:i, s:s, s:f, s:f, s:[s]}]}", "cores", "core", 0, "mode", "poll", "busy", 0.1,
                          "poll", 0.9, "sessions", "1 iqn.x");
    char *text = picture(m);

    assert_string_equal(text, "corelaned  (# working, . polling)\n"
                              "    core 0       [##..................]  10%  poll\n"
                              "      1 iqn.x\n");
    free(text);
    free(picture(json_object()));
}

static void test_reasons_are_told_core_by_core(void **state)
{
    json_t *answer = json_pack(
        "{s:{s:s, s:s, s:s, s:i, s:i}, s:[{s:i, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:[{s:i, s:b, s:i, s:i, "
        "s:i, s:s, s:b}, {s:i, s:b, s:i, s:i, s:i, s:s}]}]}",
        "session", "name", "s1", "target", "iqn.x", "portal", "p", "index", 0, "core", 2, "entries", "t", 0,
        "event", "moved", "by", "request", "policy", "numa", "from", 1, "core", 2, "pause_us", 1500, "why",
        "asked for", "cores", "core", 2, "possible", 1, "score", 5, "sessions", 1, "busy", 9, "why", "good",
        "chosen", 1, "core", 3, "possible", 0, "score", -1, "sessions", 0, "busy", 0, "why", "isolated\x1b");
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(answer);
    layout_reasons(f, answer);
    fclose(f);
    json_decref(answer);
    assert_non_null(strstr(text, "s1  iqn.x at p #0, core 2\n"));
    assert_non_null(strstr(text, "moved from core 1 to 2 (request, policy numa), pause 1.500 ms: asked for\n"));
    assert_non_null(strstr(text, "core 2    chosen   score 5             1 session, 9% busy: good\n"));
    assert_non_null(strstr(text, "core 3    is out "));
    assert_non_null(strstr(text, "isolated?\n")); /* nothing that a terminal would obey */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_machine_of_96_fits_a_screen),
        cmocka_unit_test(test_a_small_machine_has_a_line_for_each_core),
        cmocka_unit_test(test_many_sessions_on_a_core_are_counted),
        cmocka_unit_test(test_what_a_daemon_does_not_tell_is_left_out),
        cmocka_unit_test(test_reasons_are_told_core_by_core),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
