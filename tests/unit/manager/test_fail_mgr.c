/*
 * test_fail_mgr.c - corelaned's books while one allocation after another fails: a start with disks of before,
 * and discovery, login, attach, lists, detach and logout over JSON-RPC
 *
 * Each request succeeds or says what is wrong, and succeeds when it is made again. What a daemon of before
 * left is not lost by one that finds no memory to read it.
 */
#include "../initiator/fake_target.h"
#include "initiator/record.h"
#include "manager/mgr_internal.h"
#include "rpc/json.h"
#include "../fail.h"

#define LIMIT_NS (60 * RT_S)

struct books {
    struct rt_host *host;
    struct rt *rt;
    struct mgr *m;
    struct rpc_server *rpc;
    bool stopped;
};

static struct fake fake;
static char dir[] = "/tmp/fail-mgr-XXXXXX", conf_dir[64], store[64], sock[64];

static const char attachments[] =
    "{\"version\":1,\"disks\":[{\"name\":\"d\",\"iqn\":\"" FAKE_IQN "\",\"portal\":\"127.0.0.1:3260\",\"lun\":0,"
    "\"export\":\"nbd\",\"readonly\":false,\"isid\":\"80010203abff\","
    "\"user\":\"somebody\",\"secret\":\"a secret of length\"}]}";

/* ---- the target's side ----------------------------------------------------------------------------------- */

static bool on_text(struct fake_conn *c)
{
    static const char list[] = "TargetName=" FAKE_IQN;
    const struct iscsi_pdu p = { .opcode = ISCSI_OP_TEXT_RESP, .final = true, .itt = c->pdu.itt,
                                 .ttt = ISCSI_TAG_RESERVED };

    return c->pdu.opcode == ISCSI_OP_TEXT && fake_send(c, p, list, sizeof(list));
}

/* ---- the daemon ------------------------------------------------------------------------------------------ */

static int books_open(struct books *b)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    const struct mgr_conf mc = { .run_dir = dir, .config_dir = conf_dir };
    int err;

    *b = (struct books){ 0 };
    if ((err = rt_host_new(&b->host, &conf)))
        return err;
    b->rt = rt_host_at(b->host, 0);
    if ((err = mgr_new(&b->m, b->host, &mc)) ||
        (err = rpc_listen(&b->rpc, b->rt, sock, mgr_methods, mgr_methods_nr, b->m))) {
        mgr_free(b->m);
        rt_host_free(b->host);
    }
    return err;
}

static void stopped(void *arg)
{
    ((struct books *)arg)->stopped = true;
}

static void books_close(struct books *b)
{
    const uint64_t end_ns = rt_clock(b->rt) + LIMIT_NS;

    mgr_stop(b->m, stopped, b);
    while (!b->stopped && rt_clock(b->rt) < end_ns)
        assert_true(rt_turn(b->rt, 10 * RT_MS) >= 0);
    assert_true(b->stopped);
    rpc_close(b->rpc);
    for (int i = 0; i < 10; i++)
        assert_true(rt_turn(b->rt, RT_MS) >= 0);
    mgr_free(b->m);
    rt_host_free(b->host);
}

/* ---- a start --------------------------------------------------------------------------------------------- */

static void assert_store_untouched(void)
{
    char *text;

    assert_int_equal(rt_load(store, 1 << 20, &text, NULL), 0);
    assert_string_equal(text, attachments);
    free(text);
}

static void start_once(void *arg)
{
    struct books b;
    int err;

    (void)arg;
    assert_int_equal(rt_save(store, attachments, strlen(attachments), 0600), 0);
    do {
        const unsigned hits = fail_hits();

        fail_begin(FAIL_HERE);
        err = books_open(&b);
        fail_end();
        if (err) {
            assert_int_equal(err, -ENOMEM);
            assert_true(fail_hits() != hits);
            assert_store_untouched();
        }
    } while (err);
    assert_int_equal(json_array_size(json_object_get(b.m->restore, "disks")), 1);
    books_close(&b);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static json_t *where(void)
{
    char portal[32];

    snprintf(portal, sizeof(portal), "127.0.0.1:%u", fake.port);
    return json_pack("{s:s, s:s}", "iqn", FAKE_IQN, "portal", portal);
}

/* Until it is done: @is_done looks whether an answer was all that was lost. @params: taken by one try each. */
static json_t *ask(struct books *b, const char *method, json_t *(*params)(void), const char *lost)
{
    char why[512];

    for (;;) {
        const unsigned hits = fail_hits();
        json_t *result = NULL, *p;
        int err;

        fail_end();
        p = params ? params() : json_object();
        fail_begin(FAIL_HERE);
        if (!(err = rpc_request(b->rt, sock, method, p, LIMIT_NS, &result, why)))
            return result;
        if (fail_hits() == hits && !(lost && strstr(why, lost) && fail_hit()))
            fail_msg("%s: %s", method, why);
        assert_true(why[0]);
        if (fail_hits() == hits)            /* it had been done, and its answer was lost */
            return NULL;
    }
}

static json_t *attach_params(void)
{
    json_t *p = where();

    json_object_set_new(p, "lun", json_integer(0));
    json_object_set_new(p, "export", json_string("none"));
    json_object_set_new(p, "name", json_string("disk"));
    return p;
}

static json_t *detach_params(void)
{
    return json_pack("{s:s}", "name", "disk");
}

static json_t *policy_params(void)
{
    return json_pack("{s:s, s:{s:s, s:i}}", "disk", "disk", "set", "policy", "round-robin", "no_path", 30);
}

static json_t *path_params(void)
{
    return json_pack("{s:s, s:s}", "disk", "disk", "path", "p1");
}

static json_t *weight_params(void)
{
    return json_pack("{s:s, s:s, s:i}", "disk", "disk", "path", "p1", "weight", 3);
}

static json_t *disk_params(void)
{
    return json_pack("{s:s}", "disk", "disk");
}

static json_t *logout_params(void)
{
    return json_pack("{s:s}", "iqn", FAKE_IQN);
}

static json_t *session_params(void)
{
    return json_pack("{s:s}", "session", FAKE_IQN);
}

static json_t *plan_params(void)
{
    return json_pack("{s:i}", "sessions", 2);
}

static json_t *restore_params(void)
{
    return json_pack("{s:s}", "text", "policy spread\nrebalance off 5\n");
}

static json_t *discover_params(void)
{
    json_t *p = where();

    json_object_del(p, "iqn");
    return p;
}

/* A list is to have so many entries, at last: a session may still be on its way out. */
static void list(struct books *b, const char *method, size_t nr)
{
    const uint64_t end_ns = rt_clock(b->rt) + LIMIT_NS;
    bool right;

    do {
        json_t *result = ask(b, method, NULL, NULL);

        assert_non_null(result);
        right = !json_is_array(result) || json_array_size(result) == nr;
        json_decref(result);
    } while (!right && rt_clock(b->rt) < end_ns);
    assert_true(right);
}

static void requests_once(void *arg)
{
    struct books b;

    (void)arg;
    unlink(store);
    assert_int_equal(books_open(&b), 0);
    assert_true(rt_turn(b.rt, 0) >= 0);
    fail_begin(FAIL_HERE);
    json_decref(ask(&b, "discover", discover_params, NULL));
    json_decref(ask(&b, "login", where, "already"));
    list(&b, "session.list", 1);
    json_decref(ask(&b, "attach", attach_params, "disk"));
    list(&b, "list", 1);
    list(&b, "status", 0);
    list(&b, "layout.show", 0);
    list(&b, "layout.save", 0);
    json_decref(ask(&b, "layout.explain", session_params, NULL));
    json_decref(ask(&b, "layout.plan", plan_params, NULL));
    json_decref(ask(&b, "layout.restore", restore_params, NULL));
    list(&b, "path.list", 1);
    list(&b, "path.events", 0);
    json_decref(ask(&b, "path.policy", policy_params, NULL));
    json_decref(ask(&b, "path.set", weight_params, NULL));
    json_decref(ask(&b, "path.fail", path_params, NULL));
    json_decref(ask(&b, "path.reinstate", path_params, NULL));
    json_decref(ask(&b, "path.resume", disk_params, NULL));
    list(&b, "path.reconfigure", 0);
    json_decref(ask(&b, "detach", detach_params, "no disk"));
    json_decref(ask(&b, "logout", logout_params, "no session"));
    list(&b, "session.list", 0);
    fail_end();
    books_close(&b);
}

/* ---- tests ----------------------------------------------------------------------------------------------- */

static int up(void **state)
{
    static const char iscsid[] = "node.session.initial_login_retry_max = 0\n";
    char path[128];

    (void)state;
    fail_up();
    rt_log_level(0);
    fake.hook = on_text;
    fake_start(&fake, NULL);
    if (!mkdtemp(dir))
        return -1;
    snprintf(conf_dir, sizeof(conf_dir), "%s/conf", dir);
    snprintf(store, sizeof(store), "%s/attachments.json", dir);
    snprintf(sock, sizeof(sock), "%s/sock", dir);
    snprintf(path, sizeof(path), "%s/iscsid.conf", conf_dir);
    if (rt_mkdirs(conf_dir, 0700) || rt_save(path, iscsid, strlen(iscsid), 0600))
        return -1;
    return ini_name_save(conf_dir, "iqn.2026-11.org.corelane.test:host");
}

static int down(void **state)
{
    char cmd[80];

    (void)state;
    fake_stop(&fake);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static void test_a_start_without_memory_leaves_what_was_there(void **state)
{
    (void)state;
    fail_each("corelaned's start", 1, 800, false, start_once, NULL);
}

static void test_requests_without_memory_can_be_made_again(void **state)
{
    (void)state;
    fail_each("corelaned's requests", 1, 200, false, requests_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_start_without_memory_leaves_what_was_there, fail_down),
        cmocka_unit_test_teardown(test_requests_without_memory_can_be_made_again, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
