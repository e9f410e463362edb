/*
 * tgt_peer.h - a target on reactors of its own, and scripted initiators against it: raw PDUs over the loopback
 *
 * For the tests of the session layer. The peer's socket is a plain blocking one: what a test sends and in which
 * order is all of it in the test.
 */
#ifndef CORELANE_TESTS_TGT_PEER_H
#define CORELANE_TESTS_TGT_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <jansson.h>

#include "iscsi/digest.h"
#include "iscsi/pdu.h"
#include "iscsi/keys.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"
#include "target/sess.h"

#define T_IQN "iqn.2026-01.test:disk"
#define I_IQN "iqn.2026-01.test:host"
#define T_BLOCK 512u

#define PEER_MS 60000                       /* for what must come: only a hang takes that long */

/* ---- the target ------------------------------------------------------------------------------------------ */

struct bed {
    struct rt_host *host;
    struct tgt *tgt;
    struct rpc_server *rpc;
    pthread_t thread;
    char dir[64], sock[100], config[100];
    char loop[100];                         /* empty: no loopback */
    uint16_t port;
};

/* Set before bed_start(): there is a loopback socket. */
static bool bed_loopback;
/* Likewise: the target knows a machine, and asks where its peers are reached. */
static const struct bal_topo *bed_topo;

static void *bed_thread(void *arg)
{
    struct bed *b = arg;

    assert_int_equal(rt_host_run(b->host), 0);
    return NULL;
}

static void bed_up(struct bed *b, unsigned cores)
{
    int cpus[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const struct rt_conf rc = { .cores = cpus, .cores_nr = cores };
    struct rt_addr at;
    struct tgt_conf conf = { .config_path = b->config, .state_dir = b->dir, .portals = &at, .portals_nr = 1,
                             .loop_path = *b->loop ? b->loop : NULL, .topo = bed_topo };

    assert_int_equal(rt_addr_parse(&at, "127.0.0.1:0", 0), 0);
    assert_int_equal(rt_host_new(&b->host, &rc), 0);
    assert_int_equal(tgt_new(&b->tgt, b->host, &conf), 0);
    b->port = ntohs(b->tgt->portals[0].addr.in.sin_port);
    assert_int_equal(rpc_listen(&b->rpc, rt_host_at(b->host, 0), b->sock, tgt_methods, tgt_methods_nr, b->tgt),
                     0);
    assert_int_equal(pthread_create(&b->thread, NULL, bed_thread, b), 0);
}

/* @limits: of the configuration, as JSON. */
static inline void bed_start_with(struct bed *b, unsigned cores, const char *limits)
{
    char text[512];

    memset(b, 0, sizeof(*b));
    rt_log_level(RT_ERR);
    snprintf(b->dir, sizeof(b->dir), "/tmp/tgt-test-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->sock, sizeof(b->sock), "%s/rpc.sock", b->dir);
    snprintf(b->config, sizeof(b->config), "%s/config.json", b->dir);
    if (bed_loopback)
        snprintf(b->loop, sizeof(b->loop), "%s/loop.sock", b->dir);
    snprintf(text, sizeof(text), "{\"version\": 1, \"limits\": %s}", limits);
    assert_int_equal(rt_save(b->config, text, strlen(text), 0600), 0);
    bed_up(b, cores);
}

/* Nobody is dropped or pinged for being slow: on a busy machine a test is. */
static inline void bed_start(struct bed *b, unsigned cores)
{
    bed_start_with(b, cores, "{\"login_s\": 600, \"idle_s\": 3600, \"stall_s\": 600}");
}

struct bed_stop {
    struct rt_msg msg;
    struct rt_timer timer;
    struct bed *bed;
};

static void bed_quiet(struct rt_timer *t)
{
    rt_host_stop(container_of(t, struct bed_stop, timer)->bed->host);
}

/* The control socket closes while the reactor still turns. */
static void bed_stopped(void *arg)
{
    struct bed_stop *s = arg;

    rpc_close(s->bed->rpc);
    s->timer.fn = bed_quiet;
    rt_timer_arm(rt_self(), &s->timer, 20 * RT_MS);
}

static void bed_stop_arrived(struct rt_msg *m)
{
    struct bed_stop *s = container_of(m, struct bed_stop, msg);

    tgt_stop(s->bed->tgt, bed_stopped, s);
}

/* Stops it; @balanced: every pool has all it gave out, and no session is left. */
static void bed_down(struct bed *b, bool balanced)
{
    struct bed_stop s = { .msg.fn = bed_stop_arrived, .bed = b };

    rt_post(rt_host_at(b->host, 0), &s.msg);
    assert_int_equal(pthread_join(b->thread, NULL), 0);
    for (unsigned i = 0; balanced && i < b->tgt->cores_nr; i++) {
        assert_true(buf_pool_idle(b->tgt->cores[i].bufs));
        assert_int_equal(rt_pool_left(b->tgt->cores[i].tasks), rt_pool_count(b->tgt->cores[i].tasks));
        assert_int_equal(rt_pool_left(b->tgt->cores[i].ctls), rt_pool_count(b->tgt->cores[i].ctls));
        assert_true(rt_list_empty(&b->tgt->cores[i].sessions));
    }
    tgt_free(b->tgt);
    rt_host_free(b->host);
}

static inline void bed_stop(struct bed *b)
{
    bed_down(b, true);
    unlink(b->config);
    assert_int_equal(rmdir(b->dir), 0);
}

/* ---- control --------------------------------------------------------------------------------------------- */

/* The whole answer, result or error. */
static json_t *bed_call_any(struct bed *b, const char *method, json_t *params)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    json_t *req = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", method, "params",
                            params ? params : json_object()), *answer;
    char *text = json_dumps(req, JSON_COMPACT), *buf = calloc(1, 1 << 20);
    size_t len = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_non_null(text);
    memcpy(at.sun_path, b->sock, strlen(b->sock) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(write(fd, "\n", 1), 1);
    while (!memchr(buf, '\n', len)) {
        const ssize_t n = read(fd, buf + len, (1 << 20) - 1 - len);

        assert_true(n > 0);
        len += (size_t)n;
    }
    answer = json_loads(buf, 0, NULL);
    assert_non_null(answer);
    close(fd);
    free(text);
    free(buf);
    json_decref(req);
    return answer;
}

/* The result; the call must succeed. */
static inline json_t *bed_call(struct bed *b, const char *method, json_t *params)
{
    json_t *answer = bed_call_any(b, method, params), *result = json_object_get(answer, "result");

    if (!result)
        fail_msg("%s: %s", method,
                 json_string_value(json_object_get(json_object_get(answer, "error"), "message")));
    json_incref(result);
    json_decref(answer);
    return result;
}

static inline void bed_do(struct bed *b, const char *method, json_t *params)
{
    json_decref(bed_call(b, method, params));
}

/* The call must fail, and its message must say @words. */
static inline void bed_refused(struct bed *b, const char *method, json_t *params, const char *words)
{
    json_t *answer = bed_call_any(b, method, params);
    const char *text = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

    assert_non_null(text);
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    json_decref(answer);
}

static inline void bed_ram(struct bed *b, const char *iqn, int lun, int mib)
{
    bed_do(b, "lun.create", json_pack("{s:s, s:s, s:I, s:i}", "iqn", iqn, "kind", "ram", "size",
                                      (json_int_t)mib << 20, "lun", lun));
}

static inline void bed_disk(struct bed *b)
{
    bed_do(b, "target.create", json_pack("{s:s}", "iqn", T_IQN));
    bed_ram(b, T_IQN, 0, 16);
}

static inline size_t bed_sessions(struct bed *b)
{
    json_t *list = bed_call(b, "session.list", NULL);
    const size_t n = json_array_size(list);

    json_decref(list);
    return n;
}

/* Waits until so many sessions are left, and nobody is about to log in: a peer sees its connection end
 * before the target has put everything away. */
static inline void bed_settle(struct bed *b, size_t sessions)
{
    for (int i = 0; i < PEER_MS / 5; i++) {
        json_t *st = bed_call(b, "status", NULL);
        const bool quiet = !json_integer_value(json_object_get(st, "logins"));

        json_decref(st);
        if (quiet && bed_sessions(b) == sessions)
            return;
        usleep(5 * 1000);
    }
    fail_msg("there are %zu sessions, not %zu", bed_sessions(b), sessions);
}

/* ---- the peer -------------------------------------------------------------------------------------------- */

struct peer_end {
    int fd;
    uint32_t cmd_sn, exp_stat_sn, itt;
    uint8_t isid[6];
    uint16_t tsih, cid;
    bool header_digest, data_digest;        /* to be set after a login that agreed on them */
    struct iscsi_pdu rsp;                   /* what came last */
    uint8_t data[300 * 1024];
    uint32_t data_len;
};

/* Where peers come from: the target remembers addresses. */
static uint32_t peer_host = INADDR_LOOPBACK;

static struct peer_end *peer_open(struct bed *b)
{
    const struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(peer_host) };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(b->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct peer_end *p = calloc(1, sizeof(*p));
    const int one = 1;

    assert_non_null(p);
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(p->fd >= 0);
    if (peer_host != INADDR_LOOPBACK)
        assert_int_equal(bind(p->fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(p->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    p->isid[0] = 0x80;
    p->cmd_sn = 1000;
    p->itt = 1;
    return p;
}

static inline void peer_close(struct peer_end *p)
{
    close(p->fd);
    free(p);
}

static void peer_raw(struct peer_end *p, const void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = send(p->fd, (const char *)data + done, len - done, MSG_NOSIGNAL);

        if (n <= 0)
            return;                         /* the test looks at what comes back */
        done += (size_t)n;
    }
}

#define WIRE_MAX(len) (ISCSI_BHS_LEN + (len) + 3 + 2 * ISCSI_DIGEST_LEN)

/* A PDU as it goes over the network, digests and all. @out: WIRE_MAX() bytes. Return: bytes. */
static uint32_t peer_wire(const struct peer_end *p, const struct iscsi_pdu *pdu, const void *data, uint8_t *out)
{
    const uint32_t len = pdu->data_len;
    uint8_t *at = out;

    iscsi_pdu_encode(at, pdu);
    at += ISCSI_BHS_LEN;
    if (p->header_digest) {
        iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, out, ISCSI_BHS_LEN), at);
        at += ISCSI_DIGEST_LEN;
    }
    if (len) {
        memcpy(at, data, len);
        memset(at + len, 0, iscsi_padded(len) - len);
        at += iscsi_padded(len);
        if (p->data_digest) {
            iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, at - iscsi_padded(len), iscsi_padded(len)), at);
            at += ISCSI_DIGEST_LEN;
        }
    }
    return (uint32_t)(at - out);
}

/* pdu->data_len bytes of @data, padded. */
static void peer_send(struct peer_end *p, struct iscsi_pdu *pdu, const void *data)
{
    uint8_t *wire = malloc(WIRE_MAX(pdu->data_len));

    assert_non_null(wire);
    pdu->exp_stat_sn = p->exp_stat_sn;
    peer_raw(p, wire, peer_wire(p, pdu, data, wire));
    free(wire);
}

/* Return: false when the connection ended, or nothing came for @ms. */
static bool peer_read(struct peer_end *p, void *to, size_t len, int ms)
{
    size_t have = 0;

    while (have < len) {
        struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
        ssize_t n;

        if (poll(&pfd, 1, ms) != 1)
            return false;
        n = recv(p->fd, (char *)to + have, len - have, 0);
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

/* What was just read must have had this digest, which is read now. */
static void peer_digest(struct peer_end *p, uint32_t crc)
{
    uint8_t wire[ISCSI_DIGEST_LEN];

    assert_true(peer_read(p, wire, sizeof(wire), PEER_MS));
    assert_true(iscsi_crc_matches(crc, wire));
}

static bool peer_recv_ms(struct peer_end *p, int ms)
{
    uint8_t bhs[ISCSI_BHS_LEN], ahs[ISCSI_AHS_LEN_MAX];

    if (!peer_read(p, bhs, sizeof(bhs), ms))
        return false;
    assert_int_equal(iscsi_pdu_decode(&p->rsp, bhs, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
    assert_true(peer_read(p, ahs, iscsi_bhs_ahs_len(bhs), PEER_MS));
    if (p->header_digest)
        peer_digest(
            p, iscsi_crc_feed(iscsi_crc_feed(ISCSI_CRC_INIT, bhs, sizeof(bhs)), ahs, iscsi_bhs_ahs_len(bhs)));
    p->data_len = iscsi_bhs_data_len(bhs);
    assert_true(p->data_len <= sizeof(p->data) - 4);
    assert_true(peer_read(p, p->data, iscsi_padded(p->data_len), PEER_MS));
    if (p->data_digest && p->data_len)
        peer_digest(p, iscsi_crc_feed(ISCSI_CRC_INIT, p->data, iscsi_padded(p->data_len)));
    if (p->rsp.opcode != ISCSI_OP_R2T && !(p->rsp.opcode == ISCSI_OP_DATA_IN && !p->rsp.resp.has_status) &&
        !(p->rsp.opcode == ISCSI_OP_NOP_IN && p->rsp.itt == ISCSI_TAG_RESERVED))
        p->exp_stat_sn = p->rsp.stat_sn + 1;
    return true;
}

/* The next PDU must be of this kind. */
static inline void peer_expect(struct peer_end *p, unsigned opcode)
{
    if (!peer_recv_ms(p, PEER_MS))
        fail_msg("no %s came", iscsi_opcode_name(opcode));
    if (p->rsp.opcode != opcode)
        fail_msg("a %s came, not a %s", iscsi_opcode_name(p->rsp.opcode), iscsi_opcode_name(opcode));
}

static inline bool peer_ended(struct peer_end *p, int ms)
{
    struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
    char scrap[4096];
    ssize_t n;

    do {
        if (poll(&pfd, 1, ms) != 1)
            return false;
        n = recv(p->fd, scrap, sizeof(scrap), 0);
    } while (n > 0);
    return true;
}

/* ---- login ----------------------------------------------------------------------------------------------- */

/* @keys: "A=b", ... NULL-terminated list as one text with '\n' between. */
static uint32_t keys_text(const char *keys, char *out)
{
    const size_t n = strlen(keys);

    memcpy(out, keys, n);
    for (size_t i = 0; i < n; i++) {
        if (out[i] == '\n')
            out[i] = '\0';
    }
    if (n)
        out[n] = '\0';
    return n ? (uint32_t)n + 1 : 0;
}

static inline struct iscsi_pdu login_pdu(struct peer_end *p, unsigned csg, unsigned nsg, bool transit)
{
    struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_LOGIN,
        .immediate = true,
        .final = transit,
        .itt = p->itt,
        .cmd_sn = p->cmd_sn,
        .login = { .transit = transit,
                   .csg = (uint8_t)csg,
                   .nsg = (uint8_t)nsg,
                   .tsih = p->tsih,
                   .cid = p->cid },
    };

    memcpy(pdu.login.isid, p->isid, sizeof(p->isid));
    return pdu;
}

/* One Login request and its answer. Return: the status, or -1 when the connection ended without one. */
static inline int login_step(struct peer_end *p, unsigned csg, unsigned nsg, bool transit, const char *keys)
{
    struct iscsi_pdu pdu = login_pdu(p, csg, nsg, transit);
    char text[8192];

    pdu.data_len = keys_text(keys, text);
    peer_send(p, &pdu, text);
    if (!peer_recv_ms(p, PEER_MS))
        return -1;
    assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGIN_RESP);
    return p->rsp.login.status;
}

static inline bool answer_has(const struct peer_end *p, const char *pair)
{
    uint32_t at = 0;

    while (at < p->data_len) {
        if (!strcmp((const char *)p->data + at, pair))
            return true;
        at += (uint32_t)strlen((const char *)p->data + at) + 1;
    }
    return false;
}

#define LOGIN_NAMES "InitiatorName=" I_IQN "\nTargetName=" T_IQN "\nSessionType=Normal"

/* Straight into full feature phase, @keys on top. */
static inline void peer_login(struct peer_end *p, const char *keys)
{
    char all[4096];

    snprintf(all, sizeof(all), LOGIN_NAMES "%s%s", *keys ? "\n" : "", keys);
    assert_int_equal(login_step(p, 1, 3, true, all), ISCSI_LOGIN_OK);
    assert_true(p->rsp.login.transit);
    assert_int_not_equal(p->rsp.login.tsih, 0);
    p->tsih = p->rsp.login.tsih;
}

static inline struct peer_end *peer_logged_in(struct bed *b, uint8_t isid, const char *keys)
{
    struct peer_end *p = peer_open(b);

    p->isid[5] = isid;
    peer_login(p, keys);
    return p;
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static inline struct iscsi_pdu cmd_pdu(struct peer_end *p, const uint8_t cdb[static 16], uint32_t edtl,
                                       bool read, bool write)
{
    struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = ++p->itt, .cmd_sn = p->cmd_sn++,
        .cmd = { .read = read, .write = write, .attr = ISCSI_ATTR_SIMPLE, .edtl = edtl },
    };

    memcpy(pdu.cmd.cdb, cdb, 16);
    return pdu;
}

static inline void cdb_rw10(uint8_t cdb[static 16], bool write, uint32_t lba, uint16_t blocks)
{
    memset(cdb, 0, 16);
    cdb[0] = write ? SCSI_WRITE_10 : SCSI_READ_10;
    store_be32(&cdb[2], lba);
    store_be16(&cdb[7], blocks);
}

/* Clears unit attentions. */
static inline void peer_settle(struct peer_end *p)
{
    static const uint8_t tur[16];

    for (int i = 0; i < 8; i++) {
        struct iscsi_pdu pdu = cmd_pdu(p, tur, 0, false, false);

        peer_send(p, &pdu, NULL);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        if (p->rsp.resp.status == SCSI_GOOD)
            return;
    }
    fail_msg("unit attentions without end");
}

/* Data in p->data; Data-In PDUs put together. Return: the SCSI status. */
static inline int peer_read10(struct peer_end *p, uint32_t lba, uint16_t blocks, uint8_t *out)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;
    uint32_t got = 0;

    cdb_rw10(cdb, false, lba, blocks);
    pdu = cmd_pdu(p, cdb, blocks * T_BLOCK, true, false);
    peer_send(p, &pdu, NULL);
    for (;;) {
        if (!peer_recv_ms(p, PEER_MS))
            return -1;
        if (p->rsp.opcode == ISCSI_OP_SCSI_RESP)
            return p->rsp.resp.status;
        assert_int_equal(p->rsp.opcode, ISCSI_OP_DATA_IN);
        assert_int_equal(p->rsp.resp.offset, got);
        memcpy(out + got, p->data, p->data_len);
        got += p->data_len;
        if (p->rsp.resp.has_status)
            return p->rsp.resp.status;
    }
}

/* All of it as immediate data. */
static inline int peer_write10(struct peer_end *p, uint32_t lba, uint16_t blocks, const uint8_t *data)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    cdb_rw10(cdb, true, lba, blocks);
    pdu = cmd_pdu(p, cdb, blocks * T_BLOCK, false, true);
    pdu.data_len = blocks * T_BLOCK;
    peer_send(p, &pdu, data);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    return p->rsp.resp.status;
}

static inline void peer_logout(struct peer_end *p)
{
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = ++p->itt,
                             .cmd_sn = p->cmd_sn };

    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(p->rsp.logout.response, ISCSI_LOGOUT_OK);
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
}

#endif
