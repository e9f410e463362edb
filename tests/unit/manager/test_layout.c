/* The layout's methods on a host of one core, without a target: what is kept, what is refused and with which words. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "manager/layout.h"

#define IQN "iqn.2026-11.org.example:disk"

struct fix {
    struct rt_host *host;
    struct rt *rt;
    struct bal_topo *topo;
    struct mgr *m;
    struct rpc_server *rpc;
    char dir[32], conf[64], sock[64], why[512];
    int cpu;
    bool stopped;
};

static int books_open(struct fix *f)
{
    const struct mgr_conf conf = { .run_dir = f->dir, .config_dir = f->conf, .topo = f->topo };

    f->stopped = false;
    return mgr_new(&f->m, f->host, &conf) ||
           rpc_listen(&f->rpc, f->rt, f->sock, mgr_methods, mgr_methods_nr, f->m);
}

static void stopped(void *arg)
{
    ((struct fix *)arg)->stopped = true;
}

static void books_close(struct fix *f)
{
    const uint64_t end = rt_clock(f->rt) + 60 * RT_S;

    mgr_stop(f->m, stopped, f);
    while (!f->stopped && rt_clock(f->rt) < end)
        rt_turn(f->rt, 10 * RT_MS);
    assert_true(f->stopped);
    rpc_close(f->rpc);
    for (unsigned i = 0; i < 5; i++)
        rt_turn(f->rt, RT_MS);
    mgr_free(f->m);
}

static int set_up(void **state)
{
    static const char few[] = "node.session.initial_login_retry_max = 0\n";
    struct fix *f = calloc(1, sizeof(*f));
    struct rt_conf conf = { .cores = &f->cpu, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    char path[96], why[BAL_TEXT_MAX];

    f->cpu = sched_getcpu();
    strcpy(f->dir, "/tmp/layout-test-XXXXXX");
    /* Of several nodes, so that routes are looked up. */
    if (!mkdtemp(f->dir) || rt_host_new(&f->host, &conf) ||
        bal_topo_new(&f->topo, "pack:2 numa:1 core:32 pu:2", why))
        return -1;
    f->rt = rt_host_at(f->host, 0);
    snprintf(f->conf, sizeof(f->conf), "%s/iscsi", f->dir);
    snprintf(f->sock, sizeof(f->sock), "%s/sock", f->dir);
    snprintf(path, sizeof(path), "%s/iscsid.conf", f->conf);
    rt_log_level(0);
    *state = f;
    return rt_mkdirs(f->conf, 0700) || rt_save(path, few, strlen(few), 0600) || books_open(f);
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    char cmd[64];

    books_close(f);
    rt_host_free(f->host);
    bal_topo_free(f->topo);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
    const int bad = system(cmd);
    free(f);
    return bad;
}

/* Return: the words of the refusal, or NULL when it went well. */
static const char *ask(struct fix *f, const char *method, json_t *params, json_t **result)
{
    json_t *r = NULL;
    int err = rpc_request(f->rt, f->sock, method, params ? params : json_object(), 60 * RT_S, &r, f->why);

    if (result)
        *result = r;
    else
        json_decref(r);
    return err ? f->why : NULL;
}

static void test_bad_parameters_are_refused_with_words(void **state)
{
    static const struct {
        const char *method, *params, *words;
    } rows[] = {
        { "layout.show", "{\"x\":1}", "'x' is not known" },
        { "layout.move", "{}", "'session' is missing" },
        { "layout.move", "{\"session\":\"s1\"}", "'core' is missing" },
        { "layout.move", "{\"session\":\"s1\",\"core\":0}", "there is no session s1" },
        { "layout.move", "{\"session\":\"s1\",\"core\":-1}", "'core' is a number from 0" },
        { "layout.move", "{\"session\":\"s1\",\"core\":0,\"limit_ms\":0}", "'limit_ms' is a number" },
        { "layout.move", "{\"session\":\"" IQN "\",\"core\":0}", "there is no session '" IQN "'" },
        { "layout.move", "{\"session\":\"disk\",\"core\":0}", "TARGET[@PORTAL][#INDEX]" },
        { "layout.move", "{\"session\":\"" IQN "#x\",\"core\":0}", "TARGET[@PORTAL][#INDEX]" },
        { "layout.move", "{\"session\":\"" IQN "@:0x\",\"core\":0}", "TARGET[@PORTAL][#INDEX]" },
        { "layout.move", "{\"session\":\"\",\"core\":0}", "TARGET[@PORTAL][#INDEX]" },
        { "layout.move", "{\"session\":\"s99999999999999999999\",\"core\":0}", "TARGET[@PORTAL][#INDEX]" },
        { "layout.pin", "{\"session\":\"s1\",\"core\":0}", "there is no session s1" },
        { "layout.unpin", "{\"session\":\"" IQN "@192.0.2.7\"}", "is not pinned" },
        { "layout.unpin", "{\"session\":\"s1\"}", "there is no session s1" },
        { "layout.explain", "{\"session\":\"s7\"}", "there is no session s7" },
        { "layout.explain", "{\"session\":\"s7\",\"last\":0}", "'last' is a number from 1" },
        { "layout.policy", "{\"policy\":\"fast\"}", "policy 'fast': one of free-core, numa" },
        { "layout.policy", "{\"policy\":\"\"}", "policy '': one of free-core" },
        { "layout.rebalance", "{\"mode\":\"maybe\"}", "mode 'maybe': one of off, on, advise" },
        { "layout.rebalance", "{\"budget\":0}", "'budget' is a number from 1 to 60" },
        { "layout.plan", "{}", "'sessions' is missing" },
        { "layout.plan", "{\"sessions\":1025}", "'sessions' is a number from 1 to 1024" },
        { "layout.plan", "{\"sessions\":1,\"target\":\"" IQN "\"}", "there is no session to " IQN },
        { "layout.plan", "{\"sessions\":1,\"target\":\"" IQN "\",\"node\":0}", "give one of both" },
        { "layout.restore", "{}", "'text' is missing" },
        { "layout.restore", "{\"text\":\"# nothing\\n\",\"name\":\"f\"}", "f: there is no layout in it" },
        { "layout.restore", "{\"text\":\"policy\",\"name\":\"f\"}", "f:1: 1 words" },
        { "layout.restore", "{\"text\":\"policy pack\\nsession " IQN " 192.0.2.7 0 pin 9999\",\"name\":\"f\"}",
          "f:2: corelaned has no reactor on core 9999" },
    };
    struct fix *f = *state;
    json_t *r;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *words = ask(f, rows[i].method, json_loads(rows[i].params, 0, NULL), NULL);

        if (!words || !strstr(words, rows[i].words))
            fail_msg("%s %s: %s", rows[i].method, rows[i].params, words ? words : "was done");
    }
    assert_null(ask(f, "layout.policy", NULL, &r)); /* the file with a wrong core changed nothing */
    assert_string_equal(json_string_value(json_object_get(r, "policy")), "free-core");
    json_decref(r);
}

static void test_policy_and_rebalancing_are_kept(void **state)
{
    struct fix *f = *state;
    json_t *r;

    assert_null(ask(f, "layout.policy", json_pack("{s:s}", "policy", "spread"), NULL));
    assert_null(ask(f, "layout.rebalance", json_pack("{s:s, s:i}", "mode", "on", "budget", 9), NULL));
    books_close(f);
    assert_int_equal(books_open(f), 0);
    assert_null(ask(f, "layout.policy", NULL, &r));
    assert_string_equal(json_string_value(json_object_get(r, "policy")), "spread");
    json_decref(r);
    assert_null(ask(f, "layout.rebalance", NULL, &r));
    assert_string_equal(json_string_value(json_object_get(r, "mode")), "on");
    assert_int_equal(json_integer_value(json_object_get(r, "budget")), 9);
    json_decref(r);
}

static void test_what_was_kept_and_cannot_be_read_is_left_out(void **state)
{
    static const char bad[] = "policy spread\npins s1\n";
    struct fix *f = *state;
    char path[64];
    json_t *r;

    snprintf(path, sizeof(path), "%s/layout.conf", f->dir);
    books_close(f);
    assert_int_equal(rt_save(path, bad, strlen(bad), 0600), 0);
    assert_int_equal(books_open(f), 0);
    assert_null(ask(f, "layout.policy", NULL, &r));
    assert_string_equal(json_string_value(json_object_get(r, "policy")), "free-core");
    json_decref(r);
}

static json_t *file(const struct fix *f, const char *how, bool dry)
{
    char text[256];

    snprintf(text, sizeof(text), "session " IQN " 192.0.2.7 0 %s %d\n", how, f->cpu);
    return json_pack("{s:s, s:s, s:b}", "text", text, "name", "f", "dry_run", (int)dry);
}

/* What changes a file means, as one text. */
static const char *changes(struct fix *f, json_t *params, char out[static 256])
{
    size_t i, at = 0;
    json_t *r, *c;

    assert_null(ask(f, "layout.restore", params, &r));
    out[0] = '\0';
    json_array_foreach(json_object_get(r, "changes"), i, c) at +=
        (size_t)snprintf(out + at, 256 - at, "%s%s ", json_string_value(json_object_get(c, "what")),
                         json_is_true(json_object_get(c, "done")) ? "+" : "");
    json_decref(r);
    return out;
}

static void test_pins_come_and_go_with_a_file_and_outlive_the_daemon(void **state)
{
    struct fix *f = *state;
    char text[256];
    json_t *r;

    assert_string_equal(changes(f, file(f, "core", true), text), "absent ");
    assert_string_equal(changes(f, file(f, "pin", true), text), "pin ");
    assert_string_equal(changes(f, file(f, "pin", true), text), "pin "); /* it was a dry run */
    assert_string_equal(changes(f, file(f, "pin", false), text), "pin+ ");
    assert_string_equal(changes(f, file(f, "pin", true), text), "");
    books_close(f);
    assert_int_equal(books_open(f), 0);
    assert_null(ask(f, "layout.save", NULL, &r));
    assert_non_null(
        strstr(json_string_value(json_object_get(r, "text")), "session " IQN " 192.0.2.7:3260 0 pin "));
    json_decref(r);
    assert_string_equal(changes(f, file(f, "core", false), text), "unpin+ absent ");
    assert_string_equal(changes(f, file(f, "pin", false), text), "pin+ ");
    assert_null(ask(f, "layout.unpin", json_pack("{s:s}", "session", IQN "@192.0.2.7"), NULL));
    assert_string_equal(changes(f, file(f, "pin", true), text), "pin ");
}

/* Port 1 refuses connections; that the session was placed before, and why, the journal knows after a restart too. */
static void test_the_journal_knows_why_a_session_that_is_gone_was_where_it_was(void **state)
{
    struct fix *f = *state;
    json_t *r, *e, *cores;

    assert_non_null(ask(f, "login", json_pack("{s:s, s:s}", "iqn", IQN, "portal", "127.0.0.1:1"), NULL));
    books_close(f);
    assert_int_equal(books_open(f), 0);
    assert_null(ask(f, "layout.explain", json_pack("{s:s}", "session", IQN "@127.0.0.1:1"), &r));
    assert_int_equal(json_array_size(json_object_get(r, "entries")), 1);
    e = json_array_get(json_object_get(r, "entries"), 0);
    assert_string_equal(json_string_value(json_object_get(e, "event")), "placed");
    assert_int_equal(json_integer_value(json_object_get(e, "core")), f->cpu);
    cores = json_object_get(e, "cores");
    assert_int_equal(json_array_size(cores), 1);
    assert_true(json_is_true(json_object_get(json_array_get(cores, 0), "chosen")));
    json_decref(r);
    assert_null(ask(f, "layout.explain", json_pack("{s:s}", "session", IQN "@127.0.0.1:1#1"), &r));
    assert_int_equal(json_array_size(json_object_get(r, "entries")), 0);
    json_decref(r);
}

static void test_plans_say_where_and_when_it_ends(void **state)
{
    struct fix *f = *state;
    json_t *r;

    assert_null(ask(f, "layout.plan", json_pack("{s:i}", "sessions", 3), &r));
    assert_int_equal(json_array_size(json_object_get(r, "sessions")), 3);
    assert_null(json_object_get(r, "refused"));
    json_decref(r);
    assert_null(ask(f, "layout.policy", json_pack("{s:s}", "policy", "pinned"), NULL));
    assert_null(ask(f, "layout.plan", json_pack("{s:i}", "sessions", 3), &r));
    assert_int_equal(json_array_size(json_object_get(r, "sessions")), 0);
    assert_non_null(json_object_get(r, "refused"));
    json_decref(r);
}

static void test_show_has_the_machine_beside_the_cores(void **state)
{
    struct fix *f = *state;
    json_t *r, *core;

    assert_null(ask(f, "layout.show", NULL, &r));
    core = json_array_get(json_object_get(r, "cores"), 0);
    assert_int_equal(json_integer_value(json_object_get(core, "core")), f->cpu);
    assert_int_equal(json_array_size(json_object_get(core, "siblings")), 1);
    assert_int_equal(json_integer_value(json_object_get(r, "cpus")), 128);
    assert_int_equal(json_array_size(json_object_get(r, "sessions")), 0);
    assert_true(json_is_real(json_object_get(json_object_get(r, "totals"), "imbalance")));
    json_decref(r);
    assert_null(ask(f, "layout.advice", NULL, &r));
    assert_int_equal(json_array_size(json_object_get(r, "advice")), 0);
    json_decref(r);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_bad_parameters_are_refused_with_words),
        WITH(test_policy_and_rebalancing_are_kept),
        WITH(test_what_was_kept_and_cannot_be_read_is_left_out),
        WITH(test_pins_come_and_go_with_a_file_and_outlive_the_daemon),
        WITH(test_the_journal_knows_why_a_session_that_is_gone_was_where_it_was),
        WITH(test_plans_say_where_and_when_it_ends),
        WITH(test_show_has_the_machine_beside_the_cores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
