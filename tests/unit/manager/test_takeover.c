/*
 * test_takeover.c - disks of a daemon that is gone: before one is served again, nothing that the sessions of before sent may
 * be carried out any more
 *
 * A target of two portal groups on a thread of its own, and the books on this one. What is taken over has no device: devices
 * are the kernel's affair.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "manager/mgr_internal.h"
#include "target/tgt.h"

#define IQN      "iqn.2026-01.test:disk"
#define WWID     "3691f8917ee9d865a94f1de1641d1425b"
#define LIMIT_NS (60 * RT_S)

static const char config[] =
    "{\"version\":1,\"targets\":[{\"iqn\":\"" IQN "\",\"luns\":[{\"kind\":\"ram\",\"size\":1048576,"
    "\"lun\":0,\"naa\":\"691f8917ee9d865a94f1de1641d1425b\"}]}]}";
/* Nobody logs in twice in vain: what is dead is dead. */
static const char iscsid[] =
    "node.session.initial_login_retry_max = 0\nnode.session.corelane.transport = tcp\n";

static struct {
    char dir[40], store[80], conf[80], target[80], sock[80], tsock[80];
    /* The target's. */
    struct rt_host *thost;
    struct tgt *tgt;
    struct rpc_server *trpc;
    pthread_t thread;
    struct rt_msg stop_msg;
    char portal[2][ISCSI_PORTAL_STR_MAX];
    /* The books. */
    struct rt_host *host;
    struct rt *rt;
    struct mgr *m;
    bool stopped;
} f;

/* ---- the target ------------------------------------------------------------------------------------------ */

static void *target_main(void *arg)
{
    (void)arg;
    return rt_host_run(f.thost) ? (void *)1 : NULL;
}

static void target_stopped(void *arg)
{
    (void)arg;
    rpc_close(f.trpc);
    rt_host_stop(f.thost);
}

static void target_stop(struct rt_msg *m)
{
    (void)m;
    tgt_stop(f.tgt, target_stopped, NULL);
}

static json_t *ask(const char *sock, const char *method, const char *params)
{
    json_t *r = NULL;
    char why[512];
    int err = rpc_request(f.rt, sock, method, json_loads(params, 0, NULL), LIMIT_NS, &r, why);

    if (err)
        fail_msg("%s: %s", method, why);
    return r;
}

static int target_up(void)
{
    static const int core = -1;
    static const uint16_t groups[2] = { 1, 2 };
    const struct rt_conf rc = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct rt_addr at[2];
    const struct tgt_conf tc = {
        .config_path = f.target, .state_dir = f.dir, .portals = at, .groups = groups, .portals_nr = 2
    };

    return rt_addr_parse(&at[0], "127.0.0.1:0", 0) || rt_addr_parse(&at[1], "127.0.0.1:0", 0) ||
           rt_host_new(&f.thost, &rc) || tgt_new(&f.tgt, f.thost, &tc) ||
           rpc_listen(&f.trpc, rt_host_at(f.thost, 0), f.tsock, tgt_methods, tgt_methods_nr, f.tgt) ||
           pthread_create(&f.thread, NULL, target_main, NULL);
}

static int all_up(void **state)
{
    char path[128];

    (void)state;
    rt_log_level(RT_ERR - 1);
    strcpy(f.dir, "/tmp/mgr-takeover-XXXXXX");
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(f.store, sizeof(f.store), "%s/attachments.json", f.dir);
    snprintf(f.conf, sizeof(f.conf), "%s/iscsi", f.dir);
    snprintf(f.target, sizeof(f.target), "%s/target.json", f.dir);
    snprintf(f.sock, sizeof(f.sock), "%s/sock", f.dir);
    snprintf(f.tsock, sizeof(f.tsock), "%s/tsock", f.dir);
    snprintf(path, sizeof(path), "%s/iscsid.conf", f.conf);
    return rt_save(f.target, config, strlen(config), 0600) || rt_mkdirs(f.conf, 0700) ||
           rt_save(path, iscsid, strlen(iscsid), 0600) || target_up();
}

static int all_down(void **state)
{
    char cmd[80];
    void *bad;

    (void)state;
    f.stop_msg.fn = target_stop;
    rt_post(rt_host_at(f.thost, 0), &f.stop_msg);
    if (pthread_join(f.thread, &bad) || bad)
        return -1;
    tgt_free(f.tgt);
    rt_host_free(f.thost);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f.dir);
    return system(cmd);
}

/* ---- the books ------------------------------------------------------------------------------------------- */

static int books_up(void **state)
{
    static const int core = -1;
    const struct rt_conf rc = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    const struct mgr_conf mc = { .run_dir = f.dir, .config_dir = f.conf };
    json_t *list;

    (void)state;
    unlink(f.store);
    f.stopped = false;
    if (rt_host_new(&f.host, &rc))
        return -1;
    f.rt = rt_host_at(f.host, 0);
    if (mgr_new(&f.m, f.host, &mc))
        return -1;
    list = ask(f.tsock, "portal.list", "{}");
    for (unsigned i = 0; i < 2; i++)
        snprintf(f.portal[i], sizeof(f.portal[i]), "%s",
                 json_string_value(json_object_get(json_array_get(list, i), "addr")));
    json_decref(list);
    return 0;
}

static void stopped(void *arg)
{
    (void)arg;
    f.stopped = true;
}

static bool is_stopped(void)
{
    return f.stopped;
}

/* Return: whether it came to be. */
static bool turn_until(bool (*is)(void))
{
    const uint64_t end_ns = rt_clock(f.rt) + LIMIT_NS;

    while (!is() && rt_clock(f.rt) < end_ns)
        if (rt_turn(f.rt, 10 * RT_MS) < 0)
            return false;
    return is();
}

static int books_down(void **state)
{
    bool ended;

    (void)state;
    mgr_stop(f.m, stopped, NULL);
    ended = turn_until(is_stopped);
    for (int i = 0; i < 10; i++)
        rt_turn(f.rt, RT_MS);
    mgr_free(f.m);
    rt_host_free(f.host);
    return ended ? 0 : -1;
}

/* ---- what is taken over ---------------------------------------------------------------------------------- */

static const uint8_t isids[2][6] = { { 0x80, 1, 2, 3, 4, 5 }, { 0x80, 6, 7, 8, 9, 10 } };
static struct att *att;
static bool told, gone;
static int told_err;

static void opened(struct att *a, int err, const char *why, void *user)
{
    (void)a, (void)why, (void)user;
    told = true;
    told_err = err;
}

static bool is_told(void)
{
    return told;
}

static bool are_in(void)
{
    unsigned in = 0;

    rt_list_for (l, &att->paths)
        in += rt_list_entry(l, struct path, link)->state == PATH_IN;
    return in == 2;
}

static struct path_spec over(const char *portal, const uint8_t *isid)
{
    struct path_spec p = { .has_isid = isid != NULL };

    snprintf(p.wish.iqn, sizeof(p.wish.iqn), "%s", IQN);
    assert_null(iscsi_portal_parse(&p.wish.portal, portal));
    if (isid)
        memcpy(p.isid, isid, 6);
    return p;
}

static void take_over(const char *portal0, const char *portal1, const char *wwid)
{
    struct att_spec spec = { .kind = EXP_NONE, .restored = true, .name = "d" };
    const struct path_spec paths[2] = { over(portal0, isids[0]), over(portal1, isids[1]) };
    char why[MGR_WHY_MAX];

    told = gone = false;
    snprintf(spec.wwid, sizeof(spec.wwid), "%s", wwid);
    att = att_open(f.m, &spec, paths, 2, opened, NULL, why);
    assert_non_null(att);
}

static void detached(struct att_wait *w, int err, const char *why)
{
    (void)w, (void)why;
    gone = true;
    told_err = err;
}

static bool is_gone(void)
{
    return gone;
}

static struct att_wait wait_gone = { .fn = detached };

/* Both log in as who they were. */
static void test_every_session_of_before_is_there_again(void **state)
{
    unsigned i = 0;

    (void)state;
    take_over(f.portal[0], f.portal[1], WWID);
    assert_true(turn_until(is_told));
    assert_int_equal(told_err, 0);
    assert_true(turn_until(are_in));
    assert_false(att->was_reset);
    rt_list_for (l, &att->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        assert_true(p->settled);
        assert_memory_equal(p->sess->conf.isid, isids[i++], 6);
    }
    att_close(att, false, &wait_gone);
    assert_true(turn_until(is_gone));
    assert_int_equal(told_err, 0);
}

/* One of them cannot: its portal is dead, and the other is of another group. */
static void test_what_cannot_log_in_again_is_ended_by_a_reset(void **state)
{
    (void)state;
    take_over(f.portal[0], "127.0.0.1:1", WWID);
    assert_true(turn_until(is_told));
    assert_int_equal(told_err, 0);
    assert_true(att->was_reset);
    att_close(att, false, &wait_gone);
    assert_true(turn_until(is_gone));
}

static bool leads_elsewhere(void)
{
    rt_list_for (l, &att->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        if (p->state == PATH_WAITING && p->err == -EXDEV)
            return att->state == ATT_WAITING;
    }
    return false;
}

/* Another unit answers: it is not served, and waits. */
static void test_another_unit_is_not_the_disk(void **state)
{
    (void)state;
    take_over(f.portal[0], f.portal[1], "3600000000000000000000000000000000");
    assert_true(turn_until(leads_elsewhere));
    assert_false(told);
    att_close(att, false, &wait_gone); /* its device waits: not without force */
    assert_true(gone);
    assert_int_equal(told_err, -EBUSY);
    gone = false;
    att_close(att, true, &wait_gone);
    assert_true(turn_until(is_gone));
    assert_true(rt_list_empty(&f.m->atts));
}

static void open_new(const uint8_t *owed, const char *owed_at)
{
    struct att_spec spec = { .kind = EXP_NONE, .name = "d" };
    const struct path_spec path = over(f.portal[0], NULL);
    struct iscsi_portal portal;
    char why[MGR_WHY_MAX];

    told = gone = false;
    assert_null(iscsi_portal_parse(&portal, owed_at));
    assert_int_equal(isid_keep(f.m, IQN, owed, &portal, true, NULL), 0);
    att = att_open(f.m, &spec, &path, 1, opened, NULL, why);
    assert_non_null(att);
    assert_true(turn_until(is_told));
    assert_int_equal(told_err, 0);
}

/* The first of two is taken for the new session, the other one's login ends what is left of it, where it was used. */
static void test_an_identity_is_settled_at_its_portal(void **state)
{
    struct iscsi_portal portal;

    (void)state;
    assert_null(iscsi_portal_parse(&portal, f.portal[0]));
    assert_int_equal(isid_keep(f.m, IQN, isids[0], &portal, true, NULL), 0);
    open_new(isids[1], f.portal[1]);
    assert_memory_equal(att_sess(att)->conf.isid, isids[0], 6);
    assert_false(att->was_reset);
    att_close(att, false, &wait_gone);
    assert_true(turn_until(is_gone));
}

static void test_an_identity_of_a_dead_portal_has_the_unit_reset(void **state)
{
    struct iscsi_portal portal;

    (void)state;
    assert_null(iscsi_portal_parse(&portal, f.portal[0]));
    assert_int_equal(isid_keep(f.m, IQN, isids[0], &portal, true, NULL), 0);
    open_new(isids[1], "127.0.0.1:1");
    assert_true(att->was_reset);
    att_close(att, false, &wait_gone);
    assert_true(turn_until(is_gone));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, books_up, books_down)
    const struct CMUnitTest tests[] = {
        T(test_every_session_of_before_is_there_again),
        T(test_what_cannot_log_in_again_is_ended_by_a_reset),
        T(test_another_unit_is_not_the_disk),
        T(test_an_identity_is_settled_at_its_portal),
        T(test_an_identity_of_a_dead_portal_has_the_unit_reset),
    };

    return cmocka_run_group_tests(tests, all_up, all_down);
}
