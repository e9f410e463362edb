/*
 * test_fail_session.c - login to logout, with changes of the configuration and reads and writes in between,
 * while one allocation of the target after another fails
 *
 * Whatever was asked for succeeds, or is refused with nothing changed: on the disk, in the lists, for the
 * session. Asked again it succeeds. Only what an allocation failed under may fail; and nothing that is read
 * is wrong.
 */
#include "fail_bed.h"
#include "rpc/json.h"
#include "../fail.h"

#define X_IQN "iqn.2026-01.test:another-target-with-quite-a-name"

static struct bed bed;
static char disk_path[128], keys_path[160], portal_addr[32];

/* ---- the target ------------------------------------------------------------------------------------------ */

static int up(void **state)
{
    static const char conf[] = "{\"version\": 1, \"limits\": {\"buffer_mib\": 16}}";
    json_t *list;

    (void)state;
    fail_up();
    rt_log_level(RT_ERR);
    fail_bed_dir(&bed);
    assert_int_equal(rt_save(bed.config, conf, strlen(conf), 0600), 0);
    fail_bed_up(&bed, 2);
    snprintf(disk_path, sizeof(disk_path), "%s/disk.img", bed.dir);
    bed_disk(&bed);
    list = bed_call(&bed, "lun.list", NULL);
    snprintf(keys_path, sizeof(keys_path), "%s/%s.pr", bed.dir,
             json_string_value(json_object_get(json_array_get(list, 0), "naa")));
    json_decref(list);
    /* The lists are there from now on, if empty: a run ends as it began. */
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "*"));
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "*"));
    bed_do(&bed, "chap.set", json_pack("{s:b, s:s, s:s, s:s}", "discovery", 1, "direction", "out", "user", "we",
                                       "secret", "a secret of ours"));
    bed_do(&bed, "chap.clear", json_pack("{s:b, s:s}", "discovery", 1, "direction", "out"));
    list = bed_call(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", "127.0.0.77:0", "group", 2));
    snprintf(portal_addr, sizeof(portal_addr), "%s", json_string_value(json_object_get(list, "addr")));
    json_decref(list);
    bed_do(&bed, "alua.set", json_pack("{s:s, s:i, s:i, s:s}", "iqn", T_IQN, "lun", 0, "group", 2, "state",
                                       "optimized"));
    bed_do(&bed, "portal.remove", json_pack("{s:s}", "addr", portal_addr));
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_down(&bed, true);
    return fail_bed_clear(&bed);
}

/* ---- control --------------------------------------------------------------------------------------------- */

/* The answer, or NULL: the connection was closed without one. */
static json_t *ask(const char *method, json_t *params)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    static char buf[1 << 16];
    json_t *req = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", method, "params", params);
    char *text = json_dumps(req, JSON_COMPACT);
    json_t *answer = NULL;
    size_t len = 0;
    ssize_t n = 1;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_non_null(text);
    memcpy(at.sun_path, bed.sock, strlen(bed.sock) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 && send(fd, "\n", 1, MSG_NOSIGNAL) == 1) {
        while (n > 0 && !memchr(buf, '\n', len)) {
            struct pollfd pfd = { .fd = fd, .events = POLLIN };

            if (poll(&pfd, 1, ANSWER_MS) != 1)
                fail_msg("%s: no answer, and the connection stays open", method);
            n = read(fd, buf + len, sizeof(buf) - 1 - len);
            len += n > 0 ? (size_t)n : 0;
        }
    }
    buf[len] = '\0';
    if (memchr(buf, '\n', len))
        assert_int_equal(rpc_json_read(&answer, buf, len, 0, NULL), 0);
    close(fd);
    free(text);
    json_decref(req);
    return answer;
}

static json_t *saved(void)
{
    json_t *doc;
    char *text;

    assert_int_equal(rt_load(bed.config, CONF_LEN_MAX, &text, NULL), 0);
    assert_int_equal(rpc_json_read(&doc, text, strlen(text), 0, NULL), 0);
    free(text);
    return doc;
}

/* What there is in an answer, whatever the order and the numbers: every value counts, and every character but
 * digits. */
static size_t weight(json_t *json)
{
    size_t n = 1, i;
    const char *key;
    json_t *v;

    json_object_foreach(json, key, v)
        n += strlen(key) + weight(v);
    json_array_foreach(json, i, v)
        n += weight(v);
    for (const char *s = json_string_value(json); s && *s; s++)
        n += *s < '0' || *s > '9';
    return n;
}

/* A request, and what there is to be afterwards: learnt when nothing failed. */
struct ask {
    const char *method, *params;
    bool disk, portal;                      /* "path", "addr" is added */
    bool looks;                             /* the answer is what matters */
    json_t *answer, *doc;
};

static void assert_outcome(struct ask *a, json_t *result)
{
    json_t *doc = saved();

    if (!a->doc) {
        a->doc = json_incref(doc);
        a->answer = json_incref(result);
    }
    if (!json_equal(doc, a->doc)) {
        json_dumpf(doc, stderr, JSON_INDENT(1));
        fail_msg("%s: what was saved is not what it was", a->method);
    }
    if (result && (a->looks ? weight(result) != weight(a->answer) : !json_equal(result, a->answer))) {
        json_dumpf(result, stderr, JSON_INDENT(1));
        json_dumpf(a->answer, stderr, JSON_INDENT(1));
        fail_msg("%s: the answer is not what it was", a->method);
    }
    json_decref(doc);
}

static void step(struct ask *a)
{
    bool done = false;

    while (!done) {
        const unsigned hits = fail_hits();
        json_t *before = saved(), *after, *p, *answer;

        assert_int_equal(rpc_json_read(&p, a->params, strlen(a->params), 0, NULL), 0);
        if (a->disk)
            json_object_set_new(p, "path", json_string(disk_path));
        if (a->portal)
            json_object_set_new(p, "addr", json_string(portal_addr));
        answer = ask(a->method, p);
        after = saved();
        done = json_object_get(answer, "result");
        if (done) {
            assert_outcome(a, json_object_get(answer, "result"));
        } else {
            const char *words = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

            if (fail_hits() == hits)
                fail_msg("%s: %s", a->method, words ? words : "the connection was closed");
            if (answer && !json_equal(before, after))
                fail_msg("%s was refused (%s) and saved", a->method, words);
            if (!answer && !json_equal(before, after)) {   /* only its answer was lost */
                assert_outcome(a, NULL);
                done = true;
            }
        }
        json_decref(answer);
        json_decref(before);
        json_decref(after);
    }
}

/* Waits until there are so many sessions and no login is under way, as it is when nothing failed. */
static void settle(json_int_t sessions)
{
    for (int i = 0; i < ANSWER_MS; i++) {
        json_t *answer = ask("status", json_object()), *st = json_object_get(answer, "result");
        const bool settled = st && json_integer_value(json_object_get(st, "sessions")) == sessions &&
                             !json_integer_value(json_object_get(st, "logins"));

        json_decref(answer);
        if (settled)
            return;
        usleep(1000);
    }
    fail_msg("there are not %d sessions", (int)sessions);
}

/* ---- the initiator --------------------------------------------------------------------------------------- */

/* One step of a login. Return: whether it was taken. */
static bool login_try(struct peer_end *p, unsigned csg, unsigned nsg, const char *keys)
{
    struct iscsi_pdu pdu = login_pdu(p, csg, nsg, true);
    const unsigned hits = fail_hits();
    char text[1024];

    pdu.data_len = keys_text(keys, text);
    peer_send(p, &pdu, text);
    if (peer_recv_ms(p, ANSWER_MS)) {
        assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGIN_RESP);
        if (!p->rsp.login.status) {
            assert_true(p->rsp.login.transit);
            return true;
        }
        assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OUT_OF_RESOURCES);
    }
    /* Closed, and not merely silent; by an allocation of this step, or of accepting it. */
    assert_true(peer_ended(p, ANSWER_MS));
    assert_true(fail_hits() != hits || fail_hit());
    return false;
}

static struct peer_end *login(bool discovery)
{
    for (unsigned hits = fail_hits();; hits = fail_hits()) {
        struct peer_end *p = peer_open(&bed);

        p->isid[5] = discovery;
        if (login_try(p, 0, 1, discovery ? "InitiatorName=" I_IQN "\nSessionType=Discovery\nAuthMethod=None"
                                         : LOGIN_NAMES "\nAuthMethod=None") &&
            login_try(p, 1, 3, "MaxRecvDataSegmentLength=65536\nImmediateData=Yes\nInitialR2T=No"))
            return p;
        peer_close(p);
        assert_true(fail_hits() != hits);
    }
}

/* Takes the answer, or logs in anew where the target closed the connection: false. */
static bool answered(struct peer_end **p, bool discovery)
{
    if (peer_recv_ms(*p, ANSWER_MS))
        return true;
    assert_true(peer_ended(*p, ANSWER_MS));
    assert_true(fail_hit());
    peer_close(*p);
    *p = login(discovery);
    return false;
}

static bool exchange(struct peer_end **p, struct iscsi_pdu *pdu, const void *data, bool discovery)
{
    peer_send(*p, pdu, data);
    return answered(p, discovery);
}

/* One block of LUN 0, until it is GOOD: it may be told to come again, and of changes. */
static void block_io(struct peer_end **p, bool write, uint32_t lba, uint8_t *data)
{
    for (;;) {
        uint8_t cdb[16];
        struct iscsi_pdu pdu;

        cdb_rw10(cdb, write, lba, 1);
        pdu = cmd_pdu(*p, cdb, T_BLOCK, !write, write);
        pdu.data_len = write ? T_BLOCK : 0;
        if (!exchange(p, &pdu, data, false))
            continue;
        assert_true((*p)->rsp.opcode == ISCSI_OP_DATA_IN || (*p)->rsp.opcode == ISCSI_OP_SCSI_RESP);
        if ((*p)->rsp.resp.status == SCSI_GOOD)
            break;
        if ((*p)->rsp.resp.status == SCSI_CHECK_CONDITION)
            assert_int_equal((*p)->data[2 + 2] & 0xf, SCSI_UNIT_ATTENTION);
        else
            assert_true(fail_hit());
    }
    if (write)
        return;
    assert_int_equal((*p)->data_len, T_BLOCK);
    assert_memory_equal((*p)->data, data, T_BLOCK);
}

static void write_and_read(struct peer_end **p, uint8_t seed)
{
    uint8_t data[T_BLOCK];

    memset(data, seed, sizeof(data));
    block_io(p, true, seed, data);
    block_io(p, false, seed, data);
}

/* A unit that was made is there for a session that was there before, too. */
static void assert_sees(struct peer_end **p, uint16_t lun)
{
    static const uint8_t tur[16];

    for (;;) {
        struct iscsi_pdu pdu = cmd_pdu(*p, tur, 0, false, false);

        pdu.lun = scsi_lun_encode(lun);
        if (!exchange(p, &pdu, NULL, false))
            continue;
        assert_int_equal((*p)->rsp.opcode, ISCSI_OP_SCSI_RESP);
        if ((*p)->rsp.resp.status == SCSI_GOOD)
            return;
        assert_int_equal((*p)->rsp.resp.status, SCSI_CHECK_CONDITION);
        assert_int_equal((*p)->data[2 + 2] & 0xf, SCSI_UNIT_ATTENTION);
    }
}

static void reset_lun(struct peer_end **p)
{
    unsigned hits;

    do {
        struct iscsi_pdu pdu = {
            .opcode = ISCSI_OP_TMF, .immediate = true, .final = true, .itt = ++(*p)->itt, .cmd_sn = (*p)->cmd_sn,
            .tmf = { .function = ISCSI_TMF_LUN_RESET, .ref_task_tag = ISCSI_TAG_RESERVED },
        };

        hits = fail_hits();
        if (!exchange(p, &pdu, NULL, false))
            continue;
        if ((*p)->rsp.opcode == ISCSI_OP_TMF_RESP && (*p)->rsp.tmf.response == ISCSI_TMF_COMPLETE)
            return;
    } while (fail_hits() != hits);
    fail_msg("a reset of LUN 0 failed");
}

/* A NOP-Out with more data than a connection has room for of its own, and which comes in two pieces: what is asked in
 * between takes longer than the first on its way. */
static void ping(struct peer_end **p)
{
    static uint8_t data[8192];
    uint8_t bhs[ISCSI_BHS_LEN];

    memset(data, 0x5c, sizeof(data));
    for (;;) {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true,
                                 .itt = ++(*p)->itt, .ttt = ISCSI_TAG_RESERVED, .cmd_sn = (*p)->cmd_sn,
                                 .data_len = sizeof(data) };

        pdu.exp_stat_sn = (*p)->exp_stat_sn;
        iscsi_pdu_encode(bhs, &pdu);
        peer_raw(*p, bhs, sizeof(bhs));
        peer_raw(*p, data, sizeof(data) / 2);
        json_decref(ask("status", json_object()));
        peer_raw(*p, data + sizeof(data) / 2, sizeof(data) / 2);
        if (answered(p, false))
            break;
    }
    assert_int_equal((*p)->rsp.opcode, ISCSI_OP_NOP_IN);
    assert_int_equal((*p)->data_len, sizeof(data));
    assert_memory_equal((*p)->data, data, sizeof(data));
}

/* The keys that a start would find, as often as one of them is this. */
static unsigned keys_saved(unsigned key)
{
    char word[40], *text;
    unsigned n = 0;

    snprintf(word, sizeof(word), "\"key\": \"%016x\"", key);
    if (rt_load(keys_path, 1 << 20, &text, NULL))
        return 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        n++;
    free(text);
    return n;
}

/* PERSISTENT RESERVE OUT, REGISTER with APTPL on LUN 0: GOOD and saved, or neither. */
static void register_key(struct peer_end **p, unsigned from, unsigned to)
{
    uint8_t cdb[16] = { 0x5f, [8] = 24 }, list[24] = { [7] = (uint8_t)from, [15] = (uint8_t)to, [20] = 1 };

    for (;;) {
        const unsigned hits = fail_hits();
        struct iscsi_pdu pdu = cmd_pdu(*p, cdb, sizeof(list), false, true);

        pdu.data_len = sizeof(list);
        if (!exchange(p, &pdu, list, false)) {
            cdb[1] = 6;                     /* AND IGNORE EXISTING KEY: it may have been done */
            continue;
        }
        assert_int_equal((*p)->rsp.opcode, ISCSI_OP_SCSI_RESP);
        if ((*p)->rsp.resp.status == SCSI_GOOD)
            break;
        assert_int_equal((*p)->rsp.resp.status, SCSI_CHECK_CONDITION);
        if (((*p)->data[2 + 2] & 0xf) == SCSI_UNIT_ATTENTION)
            continue;
        assert_true(fail_hits() != hits);
        assert_int_equal(keys_saved(from), from != 0);
        assert_int_equal(keys_saved(to), 0);
    }
    assert_int_equal(keys_saved(from), 0);
    assert_int_equal(keys_saved(to), to != 0);
}

static void send_targets(struct peer_end **p)
{
    unsigned hits;

    do {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_TEXT, .final = true, .itt = ++(*p)->itt,
                                 .ttt = ISCSI_TAG_RESERVED, .cmd_sn = (*p)->cmd_sn++ };
        char text[64];

        pdu.data_len = keys_text("SendTargets=All", text);
        hits = fail_hits();
        if (!exchange(p, &pdu, text, true))
            continue;
        if ((*p)->rsp.opcode == ISCSI_OP_TEXT_RESP) {
            assert_true(answer_has(*p, "TargetName=" T_IQN));
            assert_true(answer_has(*p, "TargetName=" X_IQN));
            return;
        }
        assert_int_equal((*p)->rsp.opcode, ISCSI_OP_REJECT);
    } while (fail_hits() != hits);
    fail_msg("SendTargets was rejected");
}

static void logout(struct peer_end *p)
{
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = ++p->itt,
                             .cmd_sn = p->cmd_sn };

    peer_send(p, &pdu, NULL);
    if (peer_recv_ms(p, ANSWER_MS))
        assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGOUT_RESP);
    else
        assert_true(fail_hit());
    assert_true(peer_ended(p, ANSWER_MS));
    peer_close(p);
}

/* ---- the scenario ---------------------------------------------------------------------------------------- */

#define CHANGE(m, p) { .method = m, .params = p }
#define LOOK(m, p) { .method = m, .params = p, .looks = true }
#define AT_T "{\"iqn\": \"" T_IQN "\""
#define AT_X "{\"iqn\": \"" X_IQN "\""

static struct ask changes[] = {
    CHANGE("target.create", AT_X "}"),
    CHANGE("lun.create", AT_X ", \"kind\": \"ram\", \"size\": 65536, \"naa\": \"60000000000000000000000000000001\"}"),
    { .method = "lun.create", .disk = true,
      .params = AT_X ", \"lun\": 3, \"kind\": \"file\", \"size\": 65536,"
                     " \"naa\": \"60000000000000000000000000000002\"}" },
    CHANGE("lun.create", AT_T ", \"lun\": 5, \"kind\": \"null\", \"size\": 65536,"
                              " \"naa\": \"60000000000000000000000000000003\"}"),
    CHANGE("acl.add", AT_T ", \"initiator\": \"*\", \"luns\": [0, 5]}"),
    CHANGE("acl.add", AT_X ", \"initiator\": \"iqn.2026-01.test:Host\", \"readonly\": true}"),
    CHANGE("acl.add", AT_X ", \"initiator\": \"" I_IQN ".other\"}"),
    CHANGE("chap.set", AT_X ", \"direction\": \"in\", \"user\": \"somebody\","
                            " \"secret\": \"a secret of some length\", \"algs\": [\"SHA256\"]}"),
    CHANGE("chap.set", "{\"discovery\": true, \"direction\": \"out\", \"user\": \"we\","
                       " \"secret\": \"another, of length\"}"),
    CHANGE("lun.resize", AT_X ", \"lun\": 0, \"size\": 131072}"),
    CHANGE("lun.resize", AT_X ", \"lun\": 3, \"size\": 131072}"),
    { .method = "portal.add", .portal = true, .params = "{\"group\": 2}" },
    CHANGE("alua.set", AT_T ", \"lun\": 0, \"group\": 2, \"state\": \"standby\", \"transition_ms\": 1}"),
    CHANGE("alua.set", AT_X ", \"group\": 2, \"state\": \"non-optimized\", \"preferred\": true}"),
};
static struct ask looks[] = {
    LOOK("status", "{}"),        LOOK("target.list", "{}"),  LOOK("lun.list", AT_X "}"),
    LOOK("acl.list", "{}"),      LOOK("chap.list", "{}"),    LOOK("portal.list", "{}"),
    LOOK("session.list", "{}"),  LOOK("layout.show", "{}"),  LOOK("alua.list", "{}"),
};
static struct ask undoing[] = {
    CHANGE("alua.set", AT_T ", \"lun\": 0, \"group\": 2, \"state\": \"optimized\"}"),
    { .method = "portal.remove", .portal = true, .params = "{\"force\": false}" },
    CHANGE("lun.delete", AT_T ", \"lun\": 5}"),
    CHANGE("lun.delete", AT_X ", \"lun\": 3}"),
    CHANGE("acl.remove", AT_X ", \"initiator\": \"" I_IQN "\"}"),
    CHANGE("acl.remove", AT_T ", \"initiator\": \"*\"}"),
    CHANGE("chap.clear", AT_X ", \"direction\": \"in\"}"),
    CHANGE("chap.clear", "{\"discovery\": true, \"direction\": \"out\", \"user\": \"we\"}"),
    CHANGE("target.delete", AT_X ", \"force\": false}"),
};

static void session_once(void *arg)
{
    struct peer_end *p, *d;

    (void)arg;
    rt_log_level(fail_state.from ? 0 : RT_ERR);
    unlink(disk_path);
    fail_begin(FAIL_OTHERS);
    p = login(false);
    write_and_read(&p, 1);
    ping(&p);
    register_key(&p, 0, 7);
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++)
        step(&changes[i]);
    assert_sees(&p, 5);
    write_and_read(&p, 2);
    d = login(true);
    send_targets(&d);
    settle(2);
    for (unsigned i = 0; i < ARRAY_SIZE(looks); i++)
        step(&looks[i]);
    logout(d);
    register_key(&p, 7, 0);
    reset_lun(&p);
    for (unsigned i = 0; i < ARRAY_SIZE(undoing); i++)
        step(&undoing[i]);
    write_and_read(&p, 3);
    logout(p);
    fail_end();
    settle(0);
}

static void test_each_allocation_from_login_to_logout_fails(void **state)
{
    (void)state;
    fail_each("login to logout", 1, 300, false, session_once, NULL);
}

/* What a session or a change that failed cleans up may need memory too. */
static void test_some_allocations_in_a_row_fail(void **state)
{
    (void)state;
    fail_each("login to logout, five in a row", 5, 60, false, session_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_from_login_to_logout_fails, fail_down),
        cmocka_unit_test_teardown(test_some_allocations_in_a_row_fail, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
