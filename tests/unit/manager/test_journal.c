/* The journal of the layout: what is added is found again, by this daemon and the next, whatever became of the files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "manager/journal.h"
#include "reactor/rt_log.h"

#define LIMIT_NS (60 * RT_S)

struct fix {
    struct rt_host *host;
    struct rt *rt;
    struct journal *j;
    char dir[40];
    bool done;
    json_t *found;
};

static int set_up(void **state)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct fix *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/journal-test-XXXXXX");
    if (!mkdtemp(f->dir) || rt_host_new(&f->host, &conf))
        return -1;
    f->rt = rt_host_at(f->host, 0);
    rt_log_level(RT_ERR);
    *state = f;
    return journal_new(&f->j, f->rt, f->dir, 0);
}

static void turn_until(struct fix *f, const bool *flag)
{
    const uint64_t end = rt_clock(f->rt) + LIMIT_NS;

    while (!*flag && rt_clock(f->rt) < end)
        rt_turn(f->rt, 10 * RT_MS);
    assert_true(*flag);
}

struct flush {
    struct journal_wait w;
    bool done;
};

static void flushed(struct journal_wait *w)
{
    container_of(w, struct flush, w)->done = true;
}

static void flush(struct fix *f)
{
    struct flush fl = { .w.fn = flushed };

    journal_flush(f->j, &fl.w);
    turn_until(f, &fl.done);
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    char path[64];

    flush(f);
    journal_free(f->j);
    rt_host_free(f->host);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/layout.journal.%u", f->dir, i);
        unlink(path);
        rmdir(path);
    }
    const int bad = rmdir(f->dir);
    free(f);
    return bad;
}

static void add(struct fix *f, const char *who, int n)
{
    journal_add(f->j, json_pack("{s:s, s:i}", "who", who, "n", n));
}

static bool matches(const json_t *entry, const void *arg)
{
    const char *who = json_string_value(json_object_get(entry, "who"));

    return who && !strcmp(who, arg);
}

struct find {
    struct journal_find jf;
    bool done;
};

static void found(struct journal_find *jf)
{
    container_of(jf, struct find, jf)->done = true;
}

/* The numbers of who's entries, as one text. */
static const char *find(struct fix *f, const char *who, size_t last, char out[static 256])
{
    struct find fi = { .jf = { .match = matches, .arg = who, .last = last, .done = found } };
    size_t i, at = 0;
    json_t *e;

    journal_find(f->j, &fi.jf);
    turn_until(f, &fi.done);
    assert_non_null(fi.jf.found);
    out[0] = '\0';
    json_array_foreach(fi.jf.found, i, e)
    {
        assert_true(json_is_integer(json_object_get(e, "seq")));
        at += (size_t)snprintf(out + at, 256 - at, "%lld ", json_integer_value(json_object_get(e, "n")));
    }
    json_decref(fi.jf.found);
    return out;
}

static void again(struct fix *f, size_t file_max)
{
    flush(f);
    journal_free(f->j);
    assert_int_equal(journal_new(&f->j, f->rt, f->dir, file_max), 0);
}

static void file_put(struct fix *f, unsigned n, const char *how, const void *data, size_t len)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/layout.journal.%u", f->dir, n);
    assert_non_null(file = fopen(path, how));
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

static long file_size(struct fix *f, unsigned n)
{
    char path[64];
    FILE *file;
    long size;

    snprintf(path, sizeof(path), "%s/layout.journal.%u", f->dir, n);
    assert_non_null(file = fopen(path, "r"));
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    fclose(file);
    return size;
}

static void test_what_was_added_is_found_in_order(void **state)
{
    char text[256];

    assert_string_equal(find(*state, "a", 10, text), "");
    add(*state, "a", 1);
    add(*state, "b", 2);
    add(*state, "a", 3); /* while the first is being written */
    assert_string_equal(find(*state, "a", 10, text), "1 3 ");
    assert_string_equal(find(*state, "b", 10, text), "2 ");
    assert_string_equal(find(*state, "c", 10, text), "");
}

static void test_the_newest_are_told_when_there_are_more(void **state)
{
    char text[256];

    for (int i = 0; i < 30; i++)
        add(*state, "a", i);
    assert_string_equal(find(*state, "a", 3, text), "27 28 29 ");
}

static void test_the_next_daemon_finds_it_and_goes_on(void **state)
{
    char text[256];

    add(*state, "a", 1);
    again(*state, 0);
    add(*state, "a", 2);
    again(*state, 0);
    assert_string_equal(find(*state, "a", 10, text), "1 2 ");
}

static void test_lines_that_are_none_of_ours_are_passed_over(void **state)
{
    static const char garbage[] =
        "\n{\"seq\":\n\0\xff\xfe\n[1]\n7\n{\"seq\":-1,\"who\":\"a\",\"n\":9}\n"
        "{\"seq\":\"x\",\"who\":\"a\"}\n{\"who\":\"a\",\"n\":9}\n{\"seq\":5,\"who\":{}}\n"
        "{\"seq\":99,\"who\":\"a\",\"n\":2}\n{\"seq\":100,\"who\":\"a\",\"n\"";
    char text[256];

    add(*state, "a", 1);
    flush(*state);
    file_put(*state, 0, "a", garbage, sizeof(garbage) - 1);
    again(*state, 0);
    add(*state, "a", 3); /* behind half a line, on one of its own */
    assert_string_equal(find(*state, "a", 10, text), "1 2 3 ");
}

static void test_files_take_turns_and_are_bounded(void **state)
{
    char text[256];

    again(*state, 500);
    for (int i = 0; i < 100; i++) {
        add(*state, "a", i);
        flush(*state);
    }
    assert_true(file_size(*state, 0) < 600 && file_size(*state, 1) < 600);
    assert_string_equal(find(*state, "a", 2, text), "98 99 ");
    again(*state, 500);
    add(*state, "a", 100);
    assert_string_equal(find(*state, "a", 3, text), "98 99 100 ");
}

static void test_without_a_place_to_write_to_nothing_is_found_and_nothing_breaks(void **state)
{
    struct fix *f = *state;
    char text[256], path[64];

    flush(f);
    journal_free(f->j);
    snprintf(path, sizeof(path), "%s/layout.journal.0", f->dir);
    unlink(path);
    assert_int_equal(rt_mkdirs(path, 0700), 0);
    assert_int_equal(journal_new(&f->j, f->rt, f->dir, 0), 0);
    add(f, "a", 1);
    assert_string_equal(find(f, "a", 10, text), "");
}

static void test_an_entry_for_which_there_was_no_memory_is_left_out(void **state)
{
    char text[256];

    journal_add(((struct fix *)*state)->j, NULL);
    add(*state, "a", 1);
    assert_string_equal(find(*state, "a", 10, text), "1 ");
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_what_was_added_is_found_in_order),
        WITH(test_the_newest_are_told_when_there_are_more),
        WITH(test_the_next_daemon_finds_it_and_goes_on),
        WITH(test_lines_that_are_none_of_ours_are_passed_over),
        WITH(test_files_take_turns_and_are_bounded),
        WITH(test_without_a_place_to_write_to_nothing_is_found_and_nothing_breaks),
        WITH(test_an_entry_for_which_there_was_no_memory_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
