/*
 * test_fail_json.c - JSON is read, written and asked for while one allocation after another fails
 *
 * What comes is whole, or it is said that memory is lacking. Strings of every length up to some hundred are
 * read, as the reader's buffer grows in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "reactor/rt_log.h"
#include "rpc/json.h"
#include "rpc/rpc.h"
#include "../fail.h"

/* ---- reading and writing --------------------------------------------------------------------------------- */

struct sample {
    char text[4096];
    json_t *json;
};

static void read_once(void *arg)
{
    const struct sample *s = arg;
    json_t *json = NULL;
    uint64_t losses = rpc_json_losses();
    int err;

    fail_begin(FAIL_HERE);
    err = rpc_json_read(&json, s->text, strlen(s->text), JSON_REJECT_DUPLICATES, NULL);
    fail_end();
    if (err) {
        assert_true(fail_hit());
        assert_int_equal(err, -ENOMEM);
        assert_null(json);
        assert_true(rpc_json_losses() != losses);
        return;
    }
    assert_int_equal(rpc_json_losses(), losses);
    assert_true(json_equal(json, s->json));
    json_decref(json);
}

static void write_once(void *arg)
{
    const struct sample *s = arg;
    char *text;

    fail_begin(FAIL_HERE);
    text = rpc_json_text(s->json, JSON_COMPACT);
    fail_end();
    if (!text) {
        assert_true(fail_hit());
        return;
    }
    assert_string_equal(text, s->text);
    free(text);
}

static void sample_make(struct sample *s, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);

    assert_true(strlen(text) < sizeof(s->text));
    strcpy(s->text, text);
    s->json = json;
    free(text);
}

static void test_strings_are_read_whole_or_not_at_all(void **state)
{
    static struct sample s;

    (void)state;
    for (unsigned len = 0; len < 140; len++) {
        char name[141];

        for (unsigned i = 0; i < len; i++)
            name[i] = (char)(i % 7 ? 'a' + i % 26 : i % 2 ? '\\' : '"');
        name[len] = '\0';
        sample_make(&s, json_pack("{s:s}", "name", name));
        fail_each(NULL, 1, 800, false, read_once, &s);
        fail_each(NULL, 1u << 20, 800, false, read_once, &s);
        json_decref(s.json);
    }
}

static json_t *large(void)
{
    json_t *list = json_array();

    for (int i = 0; i < 9; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:[b, n, f], s:{s:s}}", "number", i, "name",
                                              "a name of some length, longer than a small buffer", "list", i & 1, 0.5,
                                              "object", "key", "\xc3\xa4\xf0\x9f\x98\x80"));
    return list;
}

static void test_a_document_is_read_whole_or_not_at_all(void **state)
{
    static struct sample s;

    (void)state;
    sample_make(&s, large());
    fail_each("read", 1, 800, true, read_once, &s);
    fail_each("read, from one on", 1u << 20, 800, true, read_once, &s);
    json_decref(s.json);
}

static void test_a_document_is_written_whole_or_not_at_all(void **state)
{
    static struct sample s;

    (void)state;
    sample_make(&s, large());
    fail_each("write", 1, 800, true, write_once, &s);
    json_decref(s.json);
}

static void test_what_is_no_json_is_told_from_a_lack_of_memory(void **state)
{
    static const char *const bad[] = { "", "{", "{\"a\":1,\"a\":2}", "[1,]", "\"", "{\"a\" 1}", "nul" };
    json_error_t why;
    json_t *json = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(rpc_json_read(&json, bad[i], strlen(bad[i]), JSON_REJECT_DUPLICATES, &why), -EINVAL);
        assert_null(json);
        assert_true(why.text[0]);
    }
}

/* ---- a request and its answer ---------------------------------------------------------------------------- */

struct door {
    struct rt_host *host;
    struct rt *rt;
    struct rpc_server *server;
    char dir[32], path[64];
};

static void do_echo(void *user, struct rpc_call *call, json_t *params)
{
    const uint64_t losses = rpc_json_losses();

    (void)user;
    rpc_reply_whole(call, json_deep_copy(params), losses);
}

static void do_list(void *user, struct rpc_call *call, json_t *params)
{
    const uint64_t losses = rpc_json_losses();

    (void)user;
    (void)params;
    rpc_reply_whole(call, large(), losses);
}

static const struct rpc_method methods[] = { { "echo", do_echo }, { "list", do_list } };

static void door_open(struct door *d)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };

    rt_log_level(0);
    strcpy(d->dir, "/tmp/rpc-test-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    snprintf(d->path, sizeof(d->path), "%s/sock", d->dir);
    assert_int_equal(rt_host_new(&d->host, &conf), 0);
    d->rt = rt_host_at(d->host, 0);
    assert_int_equal(rpc_listen(&d->server, d->rt, d->path, methods, ARRAY_SIZE(methods), NULL), 0);
}

static void door_close(struct door *d)
{
    rpc_close(d->server);
    for (int i = 0; i < 20; i++)
        assert_true(rt_turn(d->rt, RT_MS) >= 0);
    rt_host_free(d->host);
    assert_int_equal(rmdir(d->dir), 0);
}

/* Client and server are turned by the same thread: either end may be refused. */
static void ask_once(void *arg)
{
    struct door *d = arg;
    json_t *want = large(), *got;
    char why[512];

    for (int list = 0; list < 2; list++) {
        int err;

        got = NULL;
        fail_begin(FAIL_HERE);
        err = rpc_request(d->rt, d->path, list ? "list" : "echo",
                          list ? json_object() : json_pack("{s:s}", "name", "a name of quite some length"), 60 * RT_S,
                          &got, why);
        fail_end();
        if (err) {
            assert_true(fail_hit());
            assert_true(why[0]);
        } else if (list) {
            assert_true(json_equal(got, want));
        } else {
            assert_string_equal(json_string_value(json_object_get(got, "name")), "a name of quite some length");
        }
        json_decref(got);
        for (int i = 0; i < 3; i++)         /* the server sees its client go */
            assert_true(rt_turn(d->rt, 0) >= 0);
    }
    json_decref(want);
}

static void test_a_request_is_answered_whole_or_fails(void **state)
{
    static struct door d;

    (void)state;
    door_open(&d);
    fail_each("request", 1, 800, true, ask_once, &d);
    fail_each("request, four in a row", 4, 800, false, ask_once, &d);
    door_close(&d);
}

static int up(void **state)
{
    (void)state;
    fail_up();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_strings_are_read_whole_or_not_at_all, fail_down),
        cmocka_unit_test_teardown(test_a_document_is_read_whole_or_not_at_all, fail_down),
        cmocka_unit_test_teardown(test_a_document_is_written_whole_or_not_at_all, fail_down),
        cmocka_unit_test(test_what_is_no_json_is_told_from_a_lack_of_memory),
        cmocka_unit_test_teardown(test_a_request_is_answered_whole_or_fails, fail_down),
    };

    return cmocka_run_group_tests(tests, up, NULL);
}
