/* Disks with several paths in the books: what attachments.json says of them, policies, events, and the methods' refusals. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "manager/mgr_internal.h"

#define IQN  "iqn.2026-11.org.example:disk"
#define IQN2 "iqn.2026-11.org.example:other"

/* ---- attachments.json ------------------------------------------------------------------------------------ */

#define FIRST       "\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1:3260\",\"lun\":1,\"isid\":\"800102030405\""
#define ENTRY(more) "{\"name\":\"d\",\"export\":\"ublk\",\"readonly\":false," FIRST more "}"

static unsigned paths_of(const char *text, struct att_spec *spec, struct path_spec *paths)
{
    json_t *e = json_loads(text, 0, NULL);
    uint8_t isid[6];
    bool over;
    unsigned nr;

    assert_non_null(e);
    assert_null(store_entry(e, spec, isid, &over));
    assert_true(over);
    nr = store_paths(e, spec, isid, paths);
    json_decref(e);
    return nr;
}

static struct path_spec paths[MPIO_PATHS_MAX];

static void test_an_entry_without_paths_has_one(void **state)
{
    struct att_spec spec;

    assert_int_equal(paths_of(ENTRY(""), &spec, paths), 1);
    assert_string_equal(paths[0].wish.iqn, IQN);
    assert_int_equal(paths[0].lun, 1);
    assert_true(paths[0].has_isid);
    assert_int_equal(paths[0].isid[5], 5);
    assert_string_equal(spec.wwid, "");
    assert_int_equal(spec.over.has, 0);
}

static void test_an_entry_has_all_its_paths(void **state)
{
    struct att_spec spec;

    assert_int_equal(
        paths_of(ENTRY(",\"wwid\":\"36001405aa\",\"paths\":["
                       "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.2:3260\",\"lun\":1,\"isid\":\"000000000000\","
                       "\"transport\":\"tcp\"},"
                       "{\"iqn\":\"" IQN2 "\",\"portal\":\"[::1]:3261\",\"lun\":7,\"isid\":\"80aabbccddee\","
                                    "\"prio\":5,\"weight\":1001}]"),
                 &spec, paths),
        3);
    assert_string_equal(spec.wwid, "36001405aa");
    assert_string_equal(paths[1].wish.portal.host, "127.0.0.2");
    assert_string_equal(paths[1].wish.transport, "tcp");
    assert_false(paths[1].has_isid); /* no session had it: there is nothing to be ended */
    assert_string_equal(paths[2].wish.iqn, IQN2);
    assert_int_equal(paths[2].lun, 7);
    assert_true(paths[2].has_isid);
    assert_int_equal(paths[2].prio, 5);
    assert_int_equal(paths[2].weight, 0); /* there is none as large */
}

static void test_a_path_that_was_tampered_with_is_passed_over(void **state)
{
    static const char *const bad[] = {
        "{}",
        "7",
        "{\"iqn\":\"disk\",\"portal\":\"127.0.0.1\",\"lun\":1,\"isid\":\"800102030405\"}",
        "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1:99999\",\"lun\":1,\"isid\":\"800102030405\"}",
        "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":-1,\"isid\":\"800102030405\"}",
        "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":1,\"isid\":\"8001\"}",
    };
    struct att_spec spec;
    char text[1024];

    rt_log_level(RT_ERR - 1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(text, sizeof(text),
                 ENTRY(",\"paths\":[%s,"
                       "{" FIRST "}]"),
                 bad[i]);
        assert_int_equal(paths_of(text, &spec, paths), 2);
    }
    rt_log_level(RT_ERR);
}

static void test_an_entry_cannot_have_too_many_paths(void **state)
{
    char *text = malloc(64 * 1024), *at = text;
    struct att_spec spec;

    assert_non_null(text);
    at += sprintf(at, "{\"name\":\"d\",\"export\":\"ublk\",\"readonly\":false," FIRST ",\"paths\":[");
    for (unsigned i = 0; i < MPIO_PATHS_MAX + 3; i++)
        at += sprintf(at, "%s{" FIRST "}", i ? "," : "");
    strcpy(at, "]}");
    assert_int_equal(paths_of(text, &spec, paths), MPIO_PATHS_MAX);
    free(text);
}

static void test_a_key_is_kept_with_the_disk(void **state)
{
    static const struct {
        const char *text;
        uint64_t key;
    } rows[] = {
        { "0x123abc", 0x123abc }, { "ffffffffffffffff", UINT64_MAX }, { "0x0", 0 }, { "", 0 }, { "0x", 0 }, { "key", 0 },
        { "11112222333344445", 0 },
    };
    struct att_spec spec;
    char text[512];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(text, sizeof(text), ENTRY(",\"pr_key\":\"%s\""), rows[i].text);
        assert_int_equal(paths_of(text, &spec, paths), 1);
        assert_int_equal(spec.has_pr_key, rows[i].key != 0);
        assert_int_equal(spec.pr_key, rows[i].key);
    }
}

/* ---- policies -------------------------------------------------------------------------------------------- */

static const char *set(struct policy_over *o, const char *key, const char *value)
{
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
    const char *wrong;

    assert_non_null(v);
    wrong = policy_set(o, key, v);
    json_decref(v);
    return wrong;
}

static void test_settings_go_over_what_held(void **state)
{
    struct policy_over o = { 0 };
    struct mpio_conf c;

    assert_null(set(&o, "policy", "\"round-robin\""));
    assert_null(set(&o, "scope", "\"lun\""));
    assert_null(set(&o, "failback", "30"));
    assert_null(set(&o, "no_path", "\"queue\""));
    assert_null(set(&o, "suspect_ms", "0"));
    mpio_conf_default(&c);
    policy_apply(&o, &c);
    assert_int_equal(c.policy, MPIO_ROUND_ROBIN);
    assert_int_equal(c.scope, MPIO_SCOPE_LUN);
    assert_int_equal(c.failback, MPIO_FAILBACK_DELAYED);
    assert_int_equal(c.failback_s, 30);
    assert_int_equal(c.no_path, MPIO_NO_PATH_QUEUE);
    assert_int_equal(c.suspect_ms, 0);
    assert_int_equal(c.marginal_fails, 3); /* not said: as it was */
    assert_null(set(&o, "no_path", "60"));
    policy_apply(&o, &c);
    assert_int_equal(c.no_path, MPIO_NO_PATH_DEADLINE);
    assert_int_equal(c.no_path_s, 60);
}

static void test_null_takes_a_setting_back(void **state)
{
    struct policy_over o = { 0 };
    struct mpio_conf c;

    assert_null(set(&o, "policy", "\"weighted\""));
    assert_null(set(&o, "rr_min_io", "8"));
    assert_null(set(&o, "policy", "null"));
    mpio_conf_default(&c);
    policy_apply(&o, &c);
    assert_int_equal(c.policy, MPIO_LQD);
    assert_int_equal(c.rr_min_io, 8);
}

/* Written down and read again, they are the same. */
static void test_settings_survive_a_restart(void **state)
{
    static const char *const rows[][2] = {
        { "policy", "\"service-time\"" },
        { "scope", "\"lun\"" },
        { "unit", "\"bytes\"" },
        { "grouping", "\"multibus\"" },
        { "failback", "\"manual\"" },
        { "no_path", "\"fail\"" },
        { "rr_min_io", "7" },
        { "suspect_ms", "123" },
        { "marginal_fails", "0" },
        { "marginal_window_s", "9" },
        { "marginal_hold_s", "11" },
    };
    struct policy_over o = { 0 }, again = { 0 };
    struct mpio_conf c, d;
    const char *key;
    json_t *said, *v;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_null(set(&o, rows[i][0], rows[i][1]));
    said = policy_over_json(&o);
    assert_int_equal(json_object_size(said), ARRAY_SIZE(rows));
    json_object_foreach(said, key, v) assert_null(policy_set(&again, key, v));
    json_decref(said);
    mpio_conf_default(&c);
    d = c;
    policy_apply(&o, &c);
    policy_apply(&again, &d);
    assert_memory_equal(&c, &d, sizeof(c));
    said = policy_json(&c);
    assert_int_equal(json_object_size(said), ARRAY_SIZE(rows));
    json_decref(said);
}

static void test_settings_that_cannot_be(void **state)
{
    static const char *const rows[][2] = {
        { "policy", "\"fastest\"" },  { "policy", "1" },
        { "scope", "\"disk\"" },      { "unit", "\"blocks\"" },
        { "grouping", "\"\"" },       { "failback", "\"soon\"" },
        { "failback", "0" },          { "failback", "86401" },
        { "no_path", "-1" },          { "no_path", "true" },
        { "rr_min_io", "0" },         { "rr_min_io", "\"1\"" },
        { "suspect_ms", "3600001" },  { "marginal_fails", "1001" },
        { "marginal_window_s", "0" }, { "marginal_hold_s", "0.5" },
    };
    struct policy_over o = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *wrong = set(&o, rows[i][0], rows[i][1]);

        if (!wrong || wrong == POLICY_UNKNOWN)
            fail_msg("%s %s was taken", rows[i][0], rows[i][1]);
        assert_int_equal(o.has, 0);
    }
    assert_ptr_equal(set(&o, "colour", "\"red\""), POLICY_UNKNOWN);
}

/* ---- the whole, without a target ------------------------------------------------------------------------- */

struct fix {
    struct rt_host *host;
    struct rt *rt;
    struct mgr *m;
    struct rpc_server *rpc;
    char dir[32], conf[64], sock[64], mp[64], why[512];
    bool stopped;
};

static int set_up(void **state)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct fix *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    strcpy(f->dir, "/tmp/mgr-test-XXXXXX");
    if (!mkdtemp(f->dir) || rt_host_new(&f->host, &conf))
        return -1;
    f->rt = rt_host_at(f->host, 0);
    snprintf(f->conf, sizeof(f->conf), "%s/iscsi", f->dir);
    snprintf(f->sock, sizeof(f->sock), "%s/sock", f->dir);
    snprintf(f->mp, sizeof(f->mp), "%s/multipath.conf", f->dir);
    rt_log_level(RT_ERR - 1);
    *state = f;
    return mgr_new(&f->m, f->host,
                   &(struct mgr_conf){ .run_dir = f->dir, .config_dir = f->conf, .multipath_conf = f->mp }) ||
           rpc_listen(&f->rpc, f->rt, f->sock, mgr_methods, mgr_methods_nr, f->m);
}

static void stopped(void *arg)
{
    ((struct fix *)arg)->stopped = true;
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    char cmd[64];
    int bad;

    mgr_stop(f->m, stopped, f);
    for (unsigned i = 0; i < 3000 && !f->stopped; i++)
        rt_turn(f->rt, 10 * RT_MS);
    rpc_close(f->rpc);
    for (unsigned i = 0; i < 5; i++)
        rt_turn(f->rt, RT_MS);
    mgr_free(f->m);
    rt_host_free(f->host);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
    bad = !f->stopped || system(cmd);
    free(f);
    return bad;
}

/* Return: the words of the refusal, or NULL when it went well. */
static const char *ask(struct fix *f, const char *method, const char *params, json_t **result)
{
    json_t *r = NULL;
    int err = rpc_request(f->rt, f->sock, method, json_loads(params, 0, NULL), 30 * RT_S, &r, f->why);

    if (result)
        *result = r;
    else
        json_decref(r);
    return err ? f->why : NULL;
}

static void test_methods_refuse_with_words(void **state)
{
    static const struct {
        const char *method, *params, *words;
    } rows[] = {
        { "path.list", "{\"disk\":\"d\"}", "there is no disk 'd'" },
        { "path.list", "{\"disk\":1}", "'disk' is a string" },
        { "path.add", "{\"disk\":\"d\"}", "'portal' is missing" },
        { "path.add", "{\"disk\":\"d\",\"portal\":\"127.0.0.1\"}", "there is no disk 'd'" },
        { "path.remove", "{\"disk\":\"d\"}", "'path' is missing" },
        { "path.remove", "{\"disk\":\"d\",\"path\":\"p1\"}", "there is no disk 'd'" },
        { "path.fail", "{\"disk\":\"d\",\"path\":\"p1\"}", "there is no disk 'd'" },
        { "path.set", "{\"disk\":\"d\",\"path\":\"p1\",\"weight\":0}", "'weight' is a number" },
        { "path.set", "{\"disk\":\"d\",\"path\":\"p1\",\"weight\":1}", "there is no disk 'd'" },
        { "path.reinstate", "{\"path\":\"p1\"}", "'disk' is missing" },
        { "path.policy", "{\"disk\":\"d\",\"set\":[]}", "'set' is an object" },
        { "path.policy", "{\"disk\":\"d\"}", "there is no disk 'd'" },
        { "path.resume", "{\"disk\":\"d\"}", "there is no disk 'd'" },
        { "path.fail_queued", "{}", "'disk' is missing" },
        { "path.events", "{\"after\":-1}", "'after' is a number" },
        { "path.reconfigure", "{\"x\":1}", "'x' is not known" },
        { "reserve", "{\"disk\":\"d\"}", "'action' is missing" },
        { "reserve", "{\"disk\":\"d\",\"action\":\"steal\"}", "action 'steal'" },
        { "reserve", "{\"disk\":\"d\",\"action\":\"show\"}", "there is no disk 'd'" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[]}", "1 to 16 elements" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":{}}", "'portals' is a list" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[\"127.0.0.1\"]}", "a list of objects" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[{}]}", "'portal' is missing" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[{\"portal\":\"127.0.0.1:0x\"}]}",
          "portal '127.0.0.1:0x'" },
        { "attach", "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[{\"portal\":\"127.0.0.1\",\"sessions\":65}]}",
          "'sessions' is a number from 1 to 64" },
        { "attach",
          "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[{\"portal\":\"127.0.0.1\",\"transport\":\"pigeon\"}]}",
          "transport 'pigeon'" },
        { "attach",
          "{\"iqn\":\"" IQN "\",\"lun\":0,\"portal\":\"127.0.0.1\",\"portals\":[{\"portal\":\"127.0.0.1\"}]}",
          "not both" },
        { "attach",
          "{\"iqn\":\"" IQN "\",\"lun\":0,\"portals\":[{\"portal\":\"127.0.0.1\",\"sessions\":64},"
          "{\"portal\":\"127.0.0.2\",\"sessions\":1}]}",
          "64 paths at most" },
    };
    struct fix *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *words = ask(f, rows[i].method, rows[i].params, NULL);

        if (!words || !strstr(words, rows[i].words))
            fail_msg("%s %s: %s", rows[i].method, rows[i].params, words ? words : "was done");
    }
}

static void test_no_disks_no_paths(void **state)
{
    struct fix *f = *state;
    json_t *r;

    assert_null(ask(f, "path.list", "{}", &r));
    assert_true(json_is_array(r) && !json_array_size(r));
    json_decref(r);
    assert_null(ask(f, "path.events", "{}", &r));
    assert_int_equal(json_integer_value(json_object_get(r, "last")), 0);
    json_decref(r);
}

/* The ring keeps the last ones, in order, with their numbers. */
static void test_events_are_kept_and_counted(void **state)
{
    const unsigned many = EVENTS_MAX + 10;
    struct fix *f = *state;
    json_t *r, *list;

    for (unsigned i = 1; i <= many; i++)
        event_add(f->m, RT_INFO, "d", i & 1 ? "p1" : "", "number %u\n\xff", i);
    assert_null(ask(f, "path.events", "{}", &r));
    list = json_object_get(r, "events");
    assert_int_equal(json_integer_value(json_object_get(r, "last")), many);
    assert_int_equal(json_array_size(list), EVENTS_MAX);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "nr")), 11);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "text")), "number 11\?\?");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "path")), "p1");
    json_decref(r);
    assert_null(ask(f, "path.events", "{\"after\":520}", &r));
    assert_int_equal(json_array_size(json_object_get(r, "events")), many - 520);
    json_decref(r);
    assert_null(ask(f, "path.events", "{\"after\":9999}", &r));
    assert_int_equal(json_array_size(json_object_get(r, "events")), 0);
    json_decref(r);
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
}

static void test_multipath_conf_is_read_again(void **state)
{
    static const struct ini_lun_info info = { .wwid = "36001405aa", .vendor = "CORELANE", .product = "RAM" };
    const struct policy_over none = { 0 };
    struct fix *f = *state;
    struct mpio_mpset s;
    json_t *r;

    assert_null(ask(f, "path.reconfigure", "{}", &r)); /* that there is none is fine */
    assert_false(json_is_true(json_object_get(r, "there")));
    json_decref(r);
    put(f->mp, "defaults {\nno_path_retry queue\nnonsense 1\n}\nmultipaths {\nmultipath {\nwwid "
               "36001405aa\nalias db\n}\n}\n"
               "blacklist {\nwwid 36001405bb\n}\n");
    assert_null(ask(f, "path.reconfigure", "{}", &r));
    assert_true(json_is_true(json_object_get(r, "there")));
    assert_int_equal(json_integer_value(json_object_get(r, "remarks")), 1);
    json_decref(r);
    policy_for(f->m, &info, &none, &s);
    assert_int_equal(s.conf.no_path, MPIO_NO_PATH_QUEUE);
    assert_int_equal(s.conf.policy, MPIO_LQD);
    assert_string_equal(s.alias, "db");
    /* One that cannot be read changes nothing. */
    put(f->mp, "defaults {\nno_path_retry fail\n");
    assert_non_null(strstr(ask(f, "path.reconfigure", "{}", NULL), "holds on"));
    policy_for(f->m, &info, &none, &s);
    assert_int_equal(s.conf.no_path, MPIO_NO_PATH_QUEUE);
    assert_int_equal(unlink(f->mp), 0);
    assert_null(ask(f, "path.reconfigure", "{}", NULL));
    policy_for(f->m, &info, &none, &s);
    assert_int_equal(s.conf.no_path, MPIO_NO_PATH_DEADLINE);
}

/* Nobody listens at any of its portals: the first one's reason is told, and nothing is left of it. */
static void test_an_attach_whose_portals_are_all_dead_fails(void **state)
{
    struct fix *f = *state;
    const char *words;
    json_t *r;

    mkdir(f->conf, 0700);
    {
        char path[128];

        snprintf(path, sizeof(path), "%s/iscsid.conf", f->conf);
        put(path, "node.session.initial_login_retry_max = 0\n");
    }
    words = ask(f, "attach",
                "{\"iqn\":\"" IQN "\",\"lun\":0,\"export\":\"none\",\"portals\":[{\"portal\":\"127.0.0.1:1\"},"
                "{\"portal\":\"127.0.0.1:2\",\"sessions\":2}]}",
                NULL);
    assert_non_null(words);
    assert_non_null(strstr(words, "127.0.0.1:1"));
    assert_null(ask(f, "path.list", "{}", &r));
    assert_int_equal(json_array_size(r), 0);
    json_decref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_entry_without_paths_has_one),
        cmocka_unit_test(test_an_entry_has_all_its_paths),
        cmocka_unit_test(test_a_path_that_was_tampered_with_is_passed_over),
        cmocka_unit_test(test_an_entry_cannot_have_too_many_paths),
        cmocka_unit_test(test_a_key_is_kept_with_the_disk),
        cmocka_unit_test(test_settings_go_over_what_held),
        cmocka_unit_test(test_null_takes_a_setting_back),
        cmocka_unit_test(test_settings_survive_a_restart),
        cmocka_unit_test(test_settings_that_cannot_be),
        cmocka_unit_test_setup_teardown(test_methods_refuse_with_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_disks_no_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_events_are_kept_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_multipath_conf_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_attach_whose_portals_are_all_dead_fails, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
