/*
 * test_fail_initiator.c - discovery, login, a unit, reads and writes, logout, and node records, while one
 * allocation after another fails
 *
 * Each step succeeds, or says that it did not and can be taken again. Nothing that is read is wrong, and a
 * record is on the disk whole, the old one or the new.
 */
#include "fake_target.h"
#include "initiator/record.h"
#include "../fail.h"

#define LIMIT_S 60u
#define LEN 65536u

static struct fake fake;
static char dir[] = "/tmp/fail-ini-XXXXXX";

/* Turns until @cond: a limit for a test that hangs, not for a machine that is slow. */
#define until(r, cond)                                                                                        \
    do {                                                                                                      \
        const uint64_t end_ns = rt_clock((r)->rt) + LIMIT_S * RT_S;                                           \
        while (!(cond) && rt_clock((r)->rt) < end_ns)                                                         \
            assert_true(rt_turn((r)->rt, 20 * RT_MS) >= 0);                                                   \
        assert_true(cond);                                                                                    \
    } while (0)

/* What failed has failed by an allocation of this very step. */
#define by_memory(hits) assert_true(fail_hits() != (hits))

/* ---- the target's side ----------------------------------------------------------------------------------- */

/* What the small disk does not know: which targets and which units there are. */
static bool on_request(struct fake_conn *c)
{
    static const uint8_t luns[16] = { [3] = 8 };
    static const char list[] = "TargetName=" FAKE_IQN;
    const struct iscsi_pdu p = { .opcode = ISCSI_OP_TEXT_RESP, .final = true, .itt = c->pdu.itt,
                                 .ttt = ISCSI_TAG_RESERVED };

    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->pdu.cmd.cdb[0] == 0xa0)
        return fake_data(c, luns, sizeof(luns));
    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    return fake_send(c, p, list, sizeof(list));
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

static void found(struct ini_discovery *d)
{
    d->priv = d;
}

static void discover(struct rig *r)
{
    for (bool done = false; !done;) {
        const unsigned hits = fail_hits();
        struct ini_discovery d = { .conf = r->conf, .done = found };

        ini_discover(r->rt, &d);
        until(r, d.priv == &d);
        done = !d.err;
        if (done) {
            assert_int_equal(d.found_nr, 1);
            assert_string_equal(d.found[0].target, FAKE_IQN);
        } else {
            by_memory(hits);
            assert_true(d.why[0]);
            assert_int_equal(d.found_nr, 0);
        }
        free(d.found);
    }
}

static void stop(struct rig *r)
{
    r->stops = 0;
    ini_sess_stop(r->s, false, rig_stopped, r);
    until(r, r->stops);
    ini_sess_free(r->s);
    r->s = NULL;
}

static void login(struct rig *r)
{
    static const struct ini_sess_events events = { rig_up, rig_down, rig_failed, rig_changed };

    for (;;) {
        const unsigned hits = fail_hits();
        int err = ini_sess_new(&r->s, r->rt, &r->conf, &events, r);

        r->ups = r->faults = 0;
        if (!err) {
            ini_sess_start(r->s);
            until(r, r->ups || r->faults);
            if (r->ups)
                return;
            assert_true(r->err);
            if (fail_hits() == hits)
                fail_msg("%s", r->why);
            stop(r);
        } else {
            assert_int_equal(err, -ENOMEM);
            assert_null(r->s);
        }
        by_memory(hits);
    }
}

struct report {
    bool over;
    int err;
    unsigned nr;
};

static void reported(void *user, int err, const uint16_t *luns, unsigned nr)
{
    *(struct report *)user = (struct report){ true, err, nr };
}

static void report_luns(struct rig *r)
{
    struct report rep;

    do {
        const unsigned hits = fail_hits();

        rep = (struct report){ 0 };
        ini_report_luns(r->s, reported, &rep);
        until(r, rep.over);
        if (rep.err)
            by_memory(hits);
        else
            assert_int_equal(rep.nr, 1);
    } while (rep.err == -ENOMEM);
    assert_int_equal(rep.err, 0);
}

static void lun_open(struct rig *r)
{
    int err;

    do {
        const unsigned hits = fail_hits();

        r->opened = false;
        r->err = 0;
        err = ini_lun_open(r->s, 0, &r->lun, rig_opened, rig_event, r);
        if (!err) {
            until(r, r->opened);
            err = r->err;
        }
        if (err) {
            by_memory(hits);
            assert_int_equal(err, -ENOMEM);
            assert_null(r->lun);
        }
    } while (err);
}

struct request {
    struct ini_io io;
    bool over;
    int res;
};

static void request_done(struct ini_io *io, int res)
{
    struct request *q = container_of(io, struct request, io);

    q->over = true;
    q->res = res;
}

/* No request takes memory: none fails. */
static void request(struct rig *r, enum ini_io_op op, uint8_t *buf)
{
    struct iovec iov = { buf, LEN };
    static struct request q;

    q = (struct request){ .io = { .op = (uint8_t)op, .len = op == INI_FLUSH ? 0 : LEN, .iov = &iov,
                                  .iov_nr = buf ? 1 : 0, .done = request_done } };
    ini_io_submit(r->lun, &q.io);
    until(r, q.over);
    assert_int_equal(q.res, 0);
}

static void io(struct rig *r)
{
    static uint8_t out[LEN], in[LEN];

    memset(out, ++out[0], sizeof(out));
    memset(in, 0, sizeof(in));
    request(r, INI_WRITE, out);
    request(r, INI_FLUSH, NULL);
    request(r, INI_READ, in);
    assert_memory_equal(in, out, LEN);
    request(r, INI_ZERO, NULL);
    request(r, INI_READ, in);
    assert_int_equal(in[0], 0);
    assert_memory_equal(in, in + 1, LEN - 1);
}

/* ---- scenarios ------------------------------------------------------------------------------------------- */

static void session_once(void *arg)
{
    struct rig r;

    (void)arg;
    rig_init(&r, fake.port);
    snprintf(r.conf.portal.host, sizeof(r.conf.portal.host), "%s", fail_localhost());
    r.conf.set.noop_interval_s = 0;
    r.conf.set.login_timeout_s = LIMIT_S;
    if (fail_state.from)
        rt_log_level(0);
    fail_begin(FAIL_HERE);
    discover(&r);
    login(&r);
    report_luns(&r);
    lun_open(&r);
    io(&r);
    ini_lun_close(r.lun);
    r.lun = NULL;
    stop(&r);
    fail_end();
    rt_host_free(r.host);
}

/* The record that is saved is @value throughout, or not there when @value is NULL. */
static void assert_record(const struct iscsi_portal *portal, const char *value)
{
    struct ini_record *r = NULL;

    fail_end();
    if (value) {
        assert_int_equal(ini_record_load(dir, FAKE_IQN, portal, &r), 0);
        assert_string_equal(ini_record_get(r, "node.session.auth.username"), value);
        assert_string_equal(ini_record_get(r, "node.name"), FAKE_IQN);
        assert_non_null(ini_record_get(r, "node.conn[0].iscsi.DataDigest"));
    } else {
        assert_int_equal(ini_record_load(dir, FAKE_IQN, portal, &r), -ENOENT);
    }
    ini_record_free(r);
    fail_begin(FAIL_HERE);
}

#define again(err, hits) ((err) == -ENOMEM && fail_hits() != (hits))

static void record_once(void *arg)
{
    const struct iscsi_portal portal = { .host = "192.0.2.1", .port = 3260 };
    struct ini_settings set, read;
    struct ini_record *r;
    char why[512], name[ISCSI_NAME_LEN_MAX + 1];
    unsigned hits;
    int err;

    (void)arg;
    ini_settings_default(&set);
    strcpy(set.user.name, "somebody");
    set.user.secret_len = (uint32_t)strlen(strcpy((char *)set.user.secret, "a secret of some length"));
    fail_begin(FAIL_HERE);
    do {
        r = NULL;
        hits = fail_hits();
        err = ini_record_new(FAKE_IQN, &portal, &set, &r);
        if (!err)
            err = ini_record_save(dir, r);
        ini_record_free(r);
        assert_record(&portal, err ? NULL : "somebody");
    } while (again(err, hits));
    assert_int_equal(err, 0);
    do {
        r = NULL;
        hits = fail_hits();
        err = ini_record_load(dir, FAKE_IQN, &portal, &r);
        if (!err)
            err = ini_record_set(r, "node.session.auth.username", "another");
        if (!err)
            err = ini_record_settings(r, &read, why);
        if (!err)
            err = ini_record_save(dir, r);
        ini_record_free(r);
        assert_record(&portal, err ? "somebody" : "another");
    } while (again(err, hits));
    assert_int_equal(err, 0);
    assert_string_equal(read.user.name, "another");
    do {
        hits = fail_hits();
        err = ini_iscsid_conf_load(dir, &read, why);
        assert_true(!err || why[0]);
    } while (again(err, hits));
    assert_int_equal(err, 0);
    assert_int_equal(read.queue_depth, 77);
    do {
        hits = fail_hits();
        err = ini_name_load(dir, name, why);
    } while (again(err, hits));
    assert_int_equal(err, 0);
    do {
        hits = fail_hits();
        err = ini_name_save(dir, name);
    } while (again(err, hits));
    assert_int_equal(err, 0);
    do {
        hits = fail_hits();
        err = ini_record_delete(dir, FAKE_IQN, &portal);
    } while (again(err, hits));
    assert_int_equal(err, 0);
    assert_record(&portal, NULL);
    fail_end();
}

/* ---- tests ----------------------------------------------------------------------------------------------- */

static int in_dir(const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (!text)
        return unlink(path);
    return rt_save(path, text, strlen(text), 0600);
}

static int up(void **state)
{
    (void)state;
    fail_up();
    if (!mkdtemp(dir) || in_dir("iscsid.conf", "node.session.queue_depth = 77\n") ||
        in_dir("initiatorname.iscsi", "InitiatorName=iqn.2026-11.org.corelane.test:host\n"))
        return -1;
    fake.hook = on_request;
    fake_start(&fake, NULL);
    return 0;
}

static int down(void **state)
{
    char path[128];

    (void)state;
    fake_stop(&fake);
    in_dir("iscsid.conf", NULL);
    in_dir("initiatorname.iscsi", NULL);
    snprintf(path, sizeof(path), "%s/nodes", dir);
    rmdir(path);
    return rmdir(dir);
}

static void test_each_allocation_from_discovery_to_logout_fails(void **state)
{
    (void)state;
    fail_each("initiator", 1, 800, true, session_once, NULL);
}

static void test_allocations_in_a_row_from_discovery_to_logout_fail(void **state)
{
    (void)state;
    fail_each("initiator, three in a row", 3, 800, false, session_once, NULL);
}

static void test_each_allocation_for_node_records_fails(void **state)
{
    (void)state;
    fail_each("node records", 1, 800, false, record_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_from_discovery_to_logout_fails, fail_down),
        cmocka_unit_test_teardown(test_allocations_in_a_row_from_discovery_to_logout_fail, fail_down),
        cmocka_unit_test_teardown(test_each_allocation_for_node_records_fails, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
