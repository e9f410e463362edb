/* Names of disks, what attachments.json may say, and the books themselves on a host of one core. */
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

#include "manager/layout.h"

#define IQN "iqn.2026-11.org.example:disk"

/* ---- names ----------------------------------------------------------------------------------------------- */

static void test_names_that_may_be_given(void **state)
{
    static const char *const good[] = { "a", "disk-0", "0", "db.data:1", "x-", "lists" };
    static const char *const bad[] = { "",   "list", "A",   "a b",      "a/b", "../x",
                                       ".x", "-x",   "a\n", "\xc3\xa4", "a_b" };
    char longest[MGR_NAME_MAX + 2];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_null(att_name_refusal(good[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_non_null(att_name_refusal(bad[i]));
    memset(longest, 'a', sizeof(longest));
    longest[MGR_NAME_MAX + 1] = '\0';
    assert_non_null(att_name_refusal(longest));
    longest[MGR_NAME_MAX] = '\0';
    assert_null(att_name_refusal(longest));
}

static void test_names_are_made_from_target_and_lun(void **state)
{
    struct att first = { .spec.name = "disk-0" }, second = { .spec.name = "disk-0.2" };
    char name[MGR_NAME_MAX + 1], iqn[ISCSI_NAME_LEN_MAX + 1];
    struct mgr m;

    rt_list_init(&m.atts);
    att_name_make(&m, IQN, 0, name);
    assert_string_equal(name, "disk-0");
    rt_list_push(&m.atts, &first.link);
    att_name_make(&m, IQN, 0, name);
    assert_string_equal(name, "disk-0.2");
    rt_list_push(&m.atts, &second.link);
    att_name_make(&m, IQN, 0, name);
    assert_string_equal(name, "disk-0.3");
    att_name_make(&m, "eui.02004567a425678d", 16383, name);
    assert_string_equal(name, "eui.02004567a425678d-16383");
    att_name_make(&m, "iqn.2026-11.org.example:", 1, name);
    assert_string_equal(name, "iqn.2026-11.org.example:-1");
    att_name_make(&m, "iqn.2026-11.org.example:-._", 1, name);
    assert_null(att_name_refusal(name));
    memset(iqn, 'z', sizeof(iqn) - 1);
    iqn[sizeof(iqn) - 1] = '\0';
    memcpy(iqn, "iqn.2026-11.a:", 14);
    att_name_make(&m, iqn, 16383, name);
    assert_null(att_name_refusal(name));
}

/* ---- attachments.json ------------------------------------------------------------------------------------ */

#define ENTRY(name, iqn, portal, lun, export, isid)                                                            \
    "{\"name\":\"" name "\",\"iqn\":\"" iqn "\",\"portal\":\"" portal "\",\"lun\":" lun                        \
    ",\"export\":\"" export "\",\"readonly\":false,\"isid\":\"" isid "\"}"

static const char *entry(const char *text, struct att_spec *spec, uint8_t isid[static 6], bool *over)
{
    json_t *e = json_loads(text, 0, NULL);
    const char *wrong;

    assert_non_null(e);
    wrong = store_entry(e, spec, isid, over);
    json_decref(e);
    return wrong;
}

static void test_entry_says_what_is_to_be_taken_over(void **state)
{
    static const uint8_t want[6] = { 0x80, 1, 2, 3, 0xab, 0xff };
    struct att_spec spec;
    uint8_t isid[6];
    bool over = false;

    assert_null(entry(ENTRY("d", IQN, "[::1]:3260", "3", "ublk", "80010203abff"), &spec, isid, &over));
    assert_true(over);
    assert_int_equal(spec.lun, 3);
    assert_int_equal(spec.kind, EXP_UBLK);
    assert_string_equal(spec.wish.portal.host, "::1");
    assert_memory_equal(isid, want, 6);
    assert_null(entry(ENTRY("d", IQN, "127.0.0.1", "3", "nbd", "80010203abff"), &spec, isid, &over));
    assert_false(over); /* its device ended with its daemon */
    assert_null(entry(ENTRY("d", IQN, "127.0.0.1", "3", "pending", "80010203abff"), &spec, isid, &over));
    assert_false(over);
}

static void test_entry_that_was_tampered_with_is_passed_over(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        ENTRY("../../etc", IQN, "127.0.0.1", "0", "ublk", "800000000000"),
        ENTRY("d", "disk", "127.0.0.1", "0", "ublk", "800000000000"),
        ENTRY("d", IQN, "127.0.0.1:99999", "0", "ublk", "800000000000"),
        ENTRY("d", IQN, "127.0.0.1", "-1", "ublk", "800000000000"),
        ENTRY("d", IQN, "127.0.0.1", "65536", "ublk", "800000000000"),
        ENTRY("d", IQN, "127.0.0.1", "0", "ublk", "80000000000"),
        ENTRY("d", IQN, "127.0.0.1", "0", "ublk", "80000000000g"),
        ENTRY("d", IQN, "127.0.0.1", "\"0\"", "ublk", "800000000000"),
    };
    struct att_spec spec;
    uint8_t isid[6];
    bool over;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_non_null(entry(bad[i], &spec, isid, &over));
}

/* ---- the whole, without a target ------------------------------------------------------------------------- */

struct fix {
    struct rt_host *host;
    struct rt *rt;
    struct mgr *m;
    struct rpc_server *rpc;
    char dir[32], conf[64], sock[64], why[512];
    bool stopped;
};

static int set_up(void **state)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct fix *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/mgr-test-XXXXXX");
    if (!mkdtemp(f->dir) || rt_host_new(&f->host, &conf))
        return -1;
    f->rt = rt_host_at(f->host, 0);
    snprintf(f->conf, sizeof(f->conf), "%s/iscsi", f->dir);
    snprintf(f->sock, sizeof(f->sock), "%s/sock", f->dir);
    rt_log_level(RT_ERR);
    *state = f;
    return mgr_new(&f->m, f->host, &(struct mgr_conf){ .run_dir = f->dir, .config_dir = f->conf }) ||
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

    mgr_stop(f->m, stopped, f);
    for (unsigned i = 0; i < 3000 && !f->stopped; i++)
        rt_turn(f->rt, 10 * RT_MS);
    rpc_close(f->rpc);
    for (unsigned i = 0; i < 5; i++)
        rt_turn(f->rt, RT_MS);
    mgr_free(f->m);
    rt_host_free(f->host);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
    const int bad = !f->stopped || system(cmd);
    free(f);
    return bad;
}

/* Return: the words of the refusal, or NULL when it went well. */
static const char *ask(struct fix *f, const char *method, json_t *params, json_t **result)
{
    json_t *r = NULL;
    int err = rpc_request(f->rt, f->sock, method, params, 20 * RT_S, &r, f->why);

    if (result)
        *result = r;
    else
        json_decref(r);
    return err ? f->why : NULL;
}

static void test_name_is_made_up_once_and_kept(void **state)
{
    struct fix *f = *state;
    char name[ISCSI_NAME_LEN_MAX + 1], why[256];
    json_t *r;

    assert_null(ask(f, "status", json_object(), &r));
    assert_int_equal(ini_name_load(f->conf, name, why), 0);
    assert_string_equal(name, json_string_value(json_object_get(r, "initiator")));
    json_decref(r);
}

static void test_empty_books_are_listed(void **state)
{
    static const char *const lists[] = { "list", "session.list" };
    struct fix *f = *state;
    json_t *r;

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        assert_null(ask(f, lists[i], json_object(), &r));
        assert_true(json_is_array(r));
        assert_int_equal(json_array_size(r), 0);
        json_decref(r);
    }
    assert_null(ask(f, "layout.show", json_object(), &r));
    assert_int_equal(json_array_size(json_object_get(r, "cores")), 1);
    json_decref(r);
}

static void test_bad_parameters_are_refused_with_words(void **state)
{
    static const struct {
        const char *method, *params, *words;
    } rows[] = {
        { "attach", "{}", "'iqn' is missing" },
        { "attach", "{\"iqn\":\"" IQN "\"}", "'portal' is missing" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\"}", "'lun' is missing" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":16384}",
          "'lun' is a number from 0 to 16383" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":\"0\"}", "'lun' is a number" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":0,\"export\":\"iser\"}",
          "not one of auto" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":0,\"name\":\"a/b\"}", "name 'a/b'" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":0,\"readonly\":1}",
          "true or false" },
        { "attach", "{\"iqn\":\"disk\",\"portal\":\"127.0.0.1\",\"lun\":0}", "iqn 'disk'" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1:0x\",\"lun\":0}", "portal '127.0.0.1:0x'" },
        { "attach", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"lun\":0,\"colour\":1}",
          "'colour' is not known" },
        { "login", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"user\":\"u\",\"secret\":\"short\"}",
          "CHAP:" },
        { "login", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"secret\":\"abcdefghijkl\"}",
          "without a user" },
        { "login",
          "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"user_in\":\"u\",\"secret_in\":\"abcdefghijkl\"}",
          "user_in" },
        { "login", "{\"iqn\":\"" IQN "\",\"portal\":\"127.0.0.1\",\"sessions\":0}", "'sessions'" },
        { "logout", "{\"iqn\":\"" IQN "\"}", "there is no session to " IQN },
        { "detach", "{\"name\":\"nothing\"}", "there is no disk 'nothing'" },
        { "detach", "{\"name\":\"/dev/nothing\"}", "there is no disk '/dev/nothing'" },
        { "discover", "{}", "'portal' is missing" },
        { "status", "{\"x\":1}", "'x' is not known" },
    };
    struct fix *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *words = ask(f, rows[i].method, json_loads(rows[i].params, 0, NULL), NULL);

        if (!words || !strstr(words, rows[i].words))
            fail_msg("%s %s: %s", rows[i].method, rows[i].params, words ? words : "was done");
    }
}

/* Port 1 refuses connections: what was begun is undone, and the books are as before. */
static void test_target_that_is_not_there_leaves_nothing_behind(void **state)
{
    struct fix *f = *state;
    char conf[96];
    static const char few[] = "node.session.initial_login_retry_max = 0\n";
    json_t *r;

    snprintf(conf, sizeof(conf), "%s/iscsid.conf", f->conf);
    assert_int_equal(rt_mkdirs(f->conf, 0700), 0);
    assert_int_equal(rt_save(conf, few, strlen(few), 0600), 0);
    assert_non_null(
        ask(f, "attach",
            json_pack("{s:s, s:s, s:i, s:s}", "iqn", IQN, "portal", "127.0.0.1:1", "lun", 0, "export", "none"),
            NULL));
    assert_non_null(strstr(f->why, "is not attached"));
    assert_non_null(ask(
        f, "login", json_pack("{s:s, s:s, s:i}", "iqn", IQN, "portal", "127.0.0.1:1", "sessions", 3), NULL));
    assert_non_null(strstr(f->why, "login to " IQN " at 127.0.0.1:1"));
    assert_non_null(ask(f, "discover", json_pack("{s:s}", "portal", "127.0.0.1:1"), NULL));
    for (unsigned i = 0; i < 20; i++)
        rt_turn(f->rt, RT_MS);
    assert_null(ask(f, "list", json_object(), &r));
    assert_int_equal(json_array_size(r), 0);
    json_decref(r);
    assert_null(ask(f, "session.list", json_object(), &r));
    assert_int_equal(json_array_size(r), 0);
    json_decref(r);
}

/* ---- identities that a daemon which died has left ---------------------------------------------------------- */

/* What attachments.json says of identities, in order, as one text. */
static void recorded(struct fix *f, char out[static 128])
{
    char path[64], *text;
    json_t *top, *entry;
    size_t len, i;

    snprintf(path, sizeof(path), "%s/attachments.json", f->dir);
    out[0] = '\0';
    if (rt_load(path, 1 << 20, &text, &len))
        return;
    assert_non_null(top = json_loadb(text, len, 0, NULL));
    json_array_foreach(json_object_get(top, "identities"), i, entry)
    {
        assert_string_equal(json_string_value(json_object_get(entry, "iqn")), IQN);
        snprintf(out + strlen(out), 128 - strlen(out), "%s ", json_string_value(json_object_get(entry, "isid")));
    }
    json_decref(top);
    free(text);
}

static void turn_until_recorded(struct fix *f, const char *want)
{
    const uint64_t end = rt_clock(f->rt) + 60 * RT_S;
    char now[128];

    for (recorded(f, now); strcmp(now, want) && rt_clock(f->rt) < end; recorded(f, now))
        rt_turn(f->rt, RT_MS);
    assert_string_equal(now, want);
}

struct idle {
    struct journal_wait w;
    bool is;
};

static void idle(struct journal_wait *w)
{
    container_of(w, struct idle, w)->is = true;
}

static void journal_idle(struct fix *f)
{
    struct idle i = { .w.fn = idle };

    journal_flush(f->m->layout->journal, &i.w);
    while (!i.is)
        rt_turn(f->rt, RT_MS);
}

/* The daemon dies, and another starts, which has read what there was when it is removed: what is there later is its. */
static void die_and_start(struct fix *f)
{
    char path[64];

    rpc_close(f->rpc);
    do                                      /* memory cannot die with work under way */
        rt_turn(f->rt, RT_MS);
    while (f->m->saving || !rt_list_empty(&f->m->sessions));
    journal_idle(f);
    mgr_free(f->m);
    snprintf(path, sizeof(path), "%s/attachments.json", f->dir);
    assert_int_equal(mgr_new(&f->m, f->host, &(struct mgr_conf){ .run_dir = f->dir, .config_dir = f->conf }), 0);
    assert_int_equal(rpc_listen(&f->rpc, f->rt, f->sock, mgr_methods, mgr_methods_nr, f->m), 0);
    assert_int_equal(rt_remove(path), 0);
}

static void record_write(struct fix *f, const char *text)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/attachments.json", f->dir);
    assert_int_equal(rt_save(path, text, strlen(text), 0600), 0);
}

/* A disk by FUSE dies with its daemon: what is left of it is the session that nobody has ended yet. */
static void test_identities_stay_on_record_until_settled_however_often_we_die(void **state)
{
    struct fix *f = *state;

    record_write(f, "{\"version\":1,\"disks\":[" ENTRY("d", IQN, "127.0.0.1:1", "0", "fuse", "80000000000a") "],"
                    "\"identities\":[{\"iqn\":\"" IQN "\",\"isid\":\"80000000000b\"}]}");
    die_and_start(f);
    turn_until_recorded(f, "80000000000a 80000000000b ");
    die_and_start(f);
    turn_until_recorded(f, "80000000000a 80000000000b ");
}

/* Port 1 refuses connections. The session that tried had one of them, and was no help. */
static void test_identities_stay_on_record_when_the_target_is_not_reached(void **state)
{
    static const char few[] = "node.session.initial_login_retry_max = 0\n";
    struct fix *f = *state;
    char conf[96];

    snprintf(conf, sizeof(conf), "%s/iscsid.conf", f->conf);
    assert_int_equal(rt_mkdirs(f->conf, 0700), 0);
    assert_int_equal(rt_save(conf, few, strlen(few), 0600), 0);
    record_write(f, "{\"version\":1,\"disks\":[],\"identities\":[{\"iqn\":\"" IQN "\",\"isid\":\"80000000000c\"}]}");
    die_and_start(f);
    turn_until_recorded(f, "80000000000c ");
    assert_non_null(ask(f, "attach", json_pack("{s:s, s:s, s:i, s:s}", "iqn", IQN, "portal", "127.0.0.1:1", "lun", 0,
                                               "export", "none"), NULL));
    turn_until_recorded(f, "80000000000c ");
    die_and_start(f);
    turn_until_recorded(f, "80000000000c ");
}

static void test_identities_that_were_tampered_with_are_passed_over(void **state)
{
    static const char *const bad[] = { "{}", "[]", "7", "{\"iqn\":\"disk\",\"isid\":\"800000000000\"}",
                                       "{\"iqn\":\"" IQN "\",\"isid\":\"80000000000\"}",
                                       "{\"iqn\":\"" IQN "\",\"isid\":1}" };
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *e = json_loads(bad[i], JSON_DECODE_ANY, NULL);

        assert_non_null(isid_entry(e, iqn, isid));
        json_decref(e);
    }
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_may_be_given),
        cmocka_unit_test(test_names_are_made_from_target_and_lun),
        cmocka_unit_test(test_entry_says_what_is_to_be_taken_over),
        cmocka_unit_test(test_entry_that_was_tampered_with_is_passed_over),
        T(test_name_is_made_up_once_and_kept),
        T(test_empty_books_are_listed),
        T(test_bad_parameters_are_refused_with_words),
        T(test_target_that_is_not_there_leaves_nothing_behind),
        T(test_identities_stay_on_record_until_settled_however_often_we_die),
        T(test_identities_stay_on_record_when_the_target_is_not_reached),
        cmocka_unit_test(test_identities_that_were_tampered_with_are_passed_over),
    };

    return cmocka_run_group_tests_name("the manager's books", tests, NULL, NULL);
}
