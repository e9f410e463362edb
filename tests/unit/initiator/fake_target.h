/*
 * fake_target.h - a target that does what a test tells it to, on a thread with blocking sockets
 *
 * A script is called for each connection with its number. It may speak PDU by PDU, or log in with fake_login()
 * and let fake_serve() answer as a small RAM disk would, with a hook that sees every request first. Nothing
 * here is shared with the code under test but the codec, which has tests of its own.
 */
#ifndef FAKE_TARGET_H
#define FAKE_TARGET_H

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>
#include "initiator/ini.h"
#include "iscsi/digest.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"

#define FAKE_IQN "iqn.2026-11.org.corelane.test:fake"
#define FAKE_BLOCKS 4096u
#define FAKE_DATA_MAX (1u << 20)

struct fake_conn;
typedef void fake_script(struct fake_conn *c);
typedef bool fake_hook(struct fake_conn *c);        /* true: the request was dealt with */

struct fake {
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint conns;
    fake_script *script;
    fake_hook *hook;
    void *arg;
    /* The disk. */
    _Atomic uint64_t blocks;
    char naa[17];
    bool no_vpd83, no_write_same, no_cap16, no_mode6;
    bool lbpme, lbprz;                      /* thin: READ CAPACITY (16)'s bits */
    uint8_t vpd_b2;                         /* byte 5 of page B2; 0: no such page */
    uint32_t unmap_max;                     /* page B0: blocks; 0: no such page */
    uint8_t *disk;
    /* What came. */
    atomic_uint reads, writes, aborts, set_aborts, resets, nops, syncs, unmaps, sames, logouts, bad_digests;
    uint32_t lba[4096];
    atomic_uint lba_nr;
};

struct fake_conn {
    struct fake *f;
    int fd;
    unsigned nr;                            /* 0, 1... */
    uint32_t stat_sn, exp_cmd_sn, window;
    uint16_t tsih;
    uint8_t isid[6];
    struct iscsi_pdu pdu;                   /* received last */
    uint8_t bhs[ISCSI_BHS_LEN];
    uint8_t *data;
    uint32_t len;
    bool digests;                           /* CRC32C of headers and data, both ways */
    unsigned spoil;                         /* 1: the next header digest sent is wrong; 2: the next data digest */
};

/* ---- PDUs ----------------------------------------------------------------------------------------------- */

static inline bool fake_read(int fd, void *to, size_t len)
{
    uint8_t *p = to;

    while (len) {
        const ssize_t n = recv(fd, p, len, 0);

        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool fake_recv(struct fake_conn *c)
{
    enum iscsi_reject bad;

    uint8_t crc[ISCSI_DIGEST_LEN];

    if (!fake_read(c->fd, c->bhs, sizeof(c->bhs)) || (c->digests && !fake_read(c->fd, crc, sizeof(crc))))
        return false;
    if (c->digests && !iscsi_crc_matches(iscsi_crc_feed(ISCSI_CRC_INIT, c->bhs, sizeof(c->bhs)), crc))
        c->f->bad_digests++;
    bad = iscsi_pdu_decode(&c->pdu, c->bhs, ISCSI_FROM_INITIATOR);
    if (bad) {
        print_message("fake: PDU %02x is wrong: %s\n", c->bhs[0], iscsi_reject_name(bad));
        return false;
    }
    if (getenv("FAKE_TRACE"))
        print_message("fake: %u: %s itt %08x sn %u len %u cdb %02x\n", c->nr, iscsi_opcode_name(c->pdu.opcode),
                      c->pdu.itt, c->pdu.cmd_sn, iscsi_bhs_data_len(c->bhs),
                      c->pdu.opcode == ISCSI_OP_SCSI_CMD ? c->pdu.cmd.cdb[0] : 0);
    c->len = iscsi_bhs_data_len(c->bhs);
    if (c->len > FAKE_DATA_MAX || !fake_read(c->fd, c->data, (c->len + 3) & ~3u))
        return false;
    if (c->digests && c->len) {
        if (!fake_read(c->fd, crc, sizeof(crc)))
            return false;
        if (!iscsi_crc_matches(iscsi_crc_feed(ISCSI_CRC_INIT, c->data, (c->len + 3) & ~3u), crc))
            c->f->bad_digests++;
    }
    if (!c->pdu.immediate && c->pdu.opcode != ISCSI_OP_DATA_OUT && c->pdu.cmd_sn == c->exp_cmd_sn)
        c->exp_cmd_sn++;
    return true;
}

static inline bool fake_write(int fd, const void *from, size_t len)
{
    const uint8_t *p = from;

    while (len) {
        const ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* Sends as it is: all numbers are the script's. */
static inline bool fake_send_raw(struct fake_conn *c, struct iscsi_pdu p, const void *data, uint32_t len)
{
    static const uint8_t pad[3];
    const uint32_t pad_len = ((len + 3) & ~3u) - len;
    uint8_t bhs[ISCSI_BHS_LEN], crc[ISCSI_DIGEST_LEN];

    p.data_len = len;
    iscsi_pdu_encode(bhs, &p);
    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, bhs, sizeof(bhs)), crc);
    crc[0] ^= c->spoil == 1;
    c->spoil = c->spoil == 1 ? 0 : c->spoil;
    if (!fake_write(c->fd, bhs, sizeof(bhs)) || (c->digests && !fake_write(c->fd, crc, sizeof(crc))))
        return false;
    if (!len)
        return true;
    iscsi_crc_wire(iscsi_crc_feed(iscsi_crc_feed(ISCSI_CRC_INIT, data, len), pad, pad_len), crc);
    crc[0] ^= c->spoil == 2;
    c->spoil = 0;
    return fake_write(c->fd, data, len) && fake_write(c->fd, pad, pad_len) &&
           (!c->digests || fake_write(c->fd, crc, sizeof(crc)));
}

/* With StatSN and the window. */
static inline bool fake_send(struct fake_conn *c, struct iscsi_pdu p, const void *data, uint32_t len)
{
    p.stat_sn = c->stat_sn++;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    return fake_send_raw(c, p, data, len);
}

static inline struct iscsi_pdu fake_resp(uint8_t status)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP, .final = true, .ttt = ISCSI_TAG_RESERVED,
                               .resp.status = status };
}

static inline bool fake_status(struct fake_conn *c, uint32_t itt, uint8_t status)
{
    struct iscsi_pdu p = fake_resp(status);

    p.itt = itt;
    return fake_send(c, p, NULL, 0);
}

static inline bool fake_sense(struct fake_conn *c, uint32_t itt, uint8_t key, uint8_t asc, uint8_t ascq)
{
    struct iscsi_pdu p = fake_resp(SCSI_CHECK_CONDITION);
    uint8_t data[34] = { 0 };
    const struct scsi_sense s = SCSI_SENSE(key, asc, ascq);
    const uint32_t n = scsi_sense_encode(data + 2, &s, false);

    store_be16(data, (uint16_t)n);
    p.itt = itt;
    p.resp.underflow = c->pdu.cmd.edtl && (c->pdu.cmd.read || c->pdu.cmd.write);
    p.resp.residual = p.resp.underflow ? c->pdu.cmd.edtl : 0;
    return fake_send(c, p, data, n + 2);
}

/* Data-In with the status in it, cut to what was asked for, with the residual that belongs to it. */
static inline bool fake_data(struct fake_conn *c, const void *data, uint32_t len)
{
    const uint32_t edtl = c->pdu.cmd.edtl, n = len < edtl ? len : edtl;
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    if (!n)
        return fake_status(c, c->pdu.itt, SCSI_GOOD);
    for (uint32_t off = 0, part; off < n; off += part) {
        part = n - off < 262144 ? n - off : 262144;
        p.resp.offset = off;
        if (off + part == n) {
            p.resp.has_status = true;
            p.resp.underflow = len < edtl;
            p.resp.residual = edtl - n;
            return fake_send(c, p, (const uint8_t *)data + off, part);
        }
        if (!fake_send_raw(c, p, (const uint8_t *)data + off, part))
            return false;
        p.resp.data_sn++;
    }
    return false;
}

/* What of a write did not come with the command, asked for in one go. Return: false when it breaks a rule. */
static inline bool fake_fetch(struct fake_conn *c)
{
    struct iscsi_pdu r2t = {
        .opcode = ISCSI_OP_R2T, .final = true, .lun = c->pdu.lun, .itt = c->pdu.itt, .ttt = 77
    };
    const struct iscsi_pdu cmd = c->pdu;
    uint8_t *all = c->data;
    uint32_t have = c->len, sn = 0;
    bool ok = true;

    if (have == cmd.cmd.edtl)
        return true;
    r2t.stat_sn = c->stat_sn;
    r2t.exp_cmd_sn = c->exp_cmd_sn;
    r2t.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    r2t.r2t.offset = have;
    r2t.r2t.length = cmd.cmd.edtl - have;
    fake_send_raw(c, r2t, NULL, 0);
    c->data = malloc(FAKE_DATA_MAX + 4);
    while (ok && have < cmd.cmd.edtl) {
        ok = fake_recv(c) && c->pdu.opcode == ISCSI_OP_DATA_OUT && c->pdu.itt == cmd.itt && c->pdu.ttt == 77 &&
             c->pdu.data_out.offset == have && c->pdu.data_out.data_sn == sn++ && c->len <= cmd.cmd.edtl - have;
        if (!ok)
            break;
        memcpy(all + have, c->data, c->len);
        have += c->len;
        ok = c->pdu.final == (have == cmd.cmd.edtl);
    }
    free(c->data);
    c->data = all;
    c->len = have;
    c->pdu = cmd;
    return ok;
}

/* ---- login ---------------------------------------------------------------------------------------------- */

static inline struct iscsi_pdu fake_login_resp(const struct fake_conn *c, bool transit, uint8_t csg,
                                               uint8_t nsg, uint16_t status)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_LOGIN_RESP, .final = transit, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    p.login.transit = transit;
    p.login.csg = csg;
    p.login.nsg = nsg;
    p.login.status = status;
    p.login.tsih = c->tsih;
    memcpy(p.login.isid, c->pdu.login.isid, 6);
    return p;
}

static inline bool fake_login_first(struct fake_conn *c)
{
    if (!fake_recv(c) || c->pdu.opcode != ISCSI_OP_LOGIN)
        return false;
    c->exp_cmd_sn = c->pdu.cmd_sn;
    memcpy(c->isid, c->pdu.login.isid, 6);
    return true;
}

static inline bool fake_refuse(struct fake_conn *c, uint16_t status, const char *text)
{
    char data[300] = "";
    const uint32_t len = text ? (uint32_t)snprintf(data, sizeof(data), "%s", text) + 1 : 0;

    return fake_send(c, fake_login_resp(c, false, c->pdu.login.csg, 0, status), data, len);
}

/* From the response to the security stage's last request on. */
static inline bool fake_login_rest(struct fake_conn *c, const char *keys, uint32_t keys_len)
{
    if (c->pdu.login.csg == ISCSI_STAGE_SECURITY) {
        if (!fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
            return false;
    }
    return fake_send(c, fake_login_resp(c, true, 1, 3, 0), keys, keys_len);
}

static const char fake_keys[] =
    "HeaderDigest=None\0DataDigest=None\0InitialR2T=No\0ImmediateData=Yes\0"
    "MaxRecvDataSegmentLength=1048576\0MaxBurstLength=1048576\0FirstBurstLength=262144\0"
    "MaxConnections=1\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0ErrorRecoveryLevel=0";

static inline bool fake_login(struct fake_conn *c)
{
    return fake_login_first(c) && fake_login_rest(c, fake_keys, sizeof(fake_keys));
}

/* ---- a disk --------------------------------------------------------------------------------------------- */

static inline void fake_inquiry(struct fake_conn *c)
{
    uint8_t d[96] = { 0, [2] = 6, [3] = 2, [4] = 91 };
    const uint8_t *cdb = c->pdu.cmd.cdb;

    if (!(cdb[1] & 1)) {
        memcpy(d + 8, "CORELANEFAKE DISK       1.0 ", 28);
        fake_data(c, d, sizeof(d));
        return;
    }
    memset(d, 0, sizeof(d));
    d[1] = cdb[2];
    switch (cdb[2]) {
    case 0x00:
        d[3] = 2;
        d[4] = 0x00;
        d[5] = 0x80;
        if (!c->f->no_vpd83)
            d[4 + d[3]++] = 0x83;
        if (c->f->unmap_max)
            d[4 + d[3]++] = 0xb0;
        if (c->f->vpd_b2)
            d[4 + d[3]++] = 0xb2;
        fake_data(c, d, 4u + d[3]);
        return;
    case 0xb0:
        d[3] = 0x3c;
        store_be32(d + 20, c->f->unmap_max);
        store_be32(d + 24, 1);
        fake_data(c, d, 64);
        return;
    case 0xb2:
        d[3] = 4;
        d[5] = c->f->vpd_b2;
        fake_data(c, d, 8);
        return;
    case 0x80:
        d[3] = 16;
        memcpy(d + 4, c->f->naa, 16);
        fake_data(c, d, 20);
        return;
    case 0x83:
        d[3] = 12;
        d[4] = 1;
        d[5] = 3;
        d[7] = 8;
        for (unsigned i = 0; i < 8; i++) {
            unsigned v = 0;

            sscanf(c->f->naa + 2 * i, "%2x", &v);
            d[8 + i] = (uint8_t)v;
        }
        fake_data(c, d, 16);
        return;
    default:
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    }
}

static inline void fake_capacity(struct fake_conn *c)
{
    uint8_t d[32] = { 0 };

    store_be64(d, c->f->blocks - 1);
    store_be32(d + 8, 512);
    d[14] = (uint8_t)(c->f->lbpme << 7 | c->f->lbprz << 6);
    fake_data(c, d, sizeof(d));
}

static inline void fake_capacity_10(struct fake_conn *c)
{
    uint8_t d[8];

    store_be32(d, c->f->blocks > 0xffffffffu ? 0xffffffffu : (uint32_t)c->f->blocks - 1);
    store_be32(d + 4, 512);
    fake_data(c, d, sizeof(d));
}

/* The list is one descriptor: more would be more than we said we take. */
static inline void fake_unmap(struct fake_conn *c)
{
    const uint64_t lba = load_be64(c->data + 8);
    const uint32_t blocks = load_be32(c->data + 16);

    if (c->len != 24 || load_be16(c->data) != 22 || load_be16(c->data + 2) != 16 || lba > FAKE_BLOCKS ||
        blocks > FAKE_BLOCKS - lba || (c->f->unmap_max && blocks > c->f->unmap_max)) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x26, 0);
        return;
    }
    c->f->unmaps++;
    memset(c->f->disk + 512 * lba, 0, 512ull * blocks);
    fake_status(c, c->pdu.itt, SCSI_GOOD);
}

static inline void fake_mode(struct fake_conn *c)
{
    uint8_t d[24] = { 23, 0, 0, 0, 0x08, 18, 0x04 };        /* caching page: WCE; no DPOFUA */
    uint8_t ten[28] = { 0, 26, 0, 0x10, 0, 0, 0, 0, 0x08, 18, 0x04 };      /* here with DPOFUA */

    if (c->pdu.cmd.cdb[0] == SCSI_MODE_SENSE_6)
        fake_data(c, d, sizeof(d));
    else
        fake_data(c, ten, sizeof(ten));
}

static inline void fake_note(struct fake *f, uint32_t lba)
{
    const unsigned n = f->lba_nr++;

    if (n < sizeof(f->lba) / sizeof(f->lba[0]))
        f->lba[n] = lba;
}

static inline void fake_command(struct fake_conn *c)
{
    struct fake *f = c->f;
    const uint8_t *cdb = c->pdu.cmd.cdb;
    const uint32_t lba = load_be32(cdb + 2), len = c->pdu.cmd.edtl;

    switch (cdb[0]) {
    case SCSI_TEST_UNIT_READY:
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    case SCSI_INQUIRY:
        fake_inquiry(c);
        return;
    case SCSI_SERVICE_IN_16:
        if (f->no_cap16)
            break;
        fake_capacity(c);
        return;
    case SCSI_READ_CAPACITY_10:
        fake_capacity_10(c);
        return;
    case SCSI_MODE_SENSE_6:
        if (f->no_mode6)
            break;
        fake_mode(c);
        return;
    case SCSI_MODE_SENSE_10:
        fake_mode(c);
        return;
    case SCSI_UNMAP:
        if (!(f->vpd_b2 & 0x80))
            break;
        fake_unmap(c);
        return;
    case SCSI_SYNC_CACHE_10:
        f->syncs++;
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    case SCSI_READ_10:
        f->reads++;
        fake_note(f, lba);
        fake_data(c, f->disk + 512ull * lba, len);
        return;
    case SCSI_WRITE_10:
        f->writes++;
        fake_note(f, lba);
        if (fake_fetch(c)) {
            memcpy(f->disk + 512ull * lba, c->data, len);
            fake_status(c, c->pdu.itt, SCSI_GOOD);
        } else {
            fake_status(c, c->pdu.itt, SCSI_TASK_ABORTED);
        }
        return;
    case SCSI_WRITE_SAME_16:
        if (f->no_write_same)
            break;
        f->sames++;
        memset(f->disk + 512 * load_be64(cdb + 2), 0, 512ull * load_be32(cdb + 10));
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return;
    default:
        break;
    }
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
}

static inline void fake_tmf(struct fake_conn *c, uint8_t response)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_TMF_RESP, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    p.tmf.response = response;
    fake_send(c, p, NULL, 0);
}

static inline void fake_nop(struct fake_conn *c)
{
    const struct iscsi_pdu p = {
        .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    c->f->nops++;
    if (c->pdu.itt != ISCSI_TAG_RESERVED)
        fake_send(c, p, c->data, c->len);
}

/* Return: false when the connection is over. */
static inline bool fake_answer(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_LOGOUT_RESP, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    switch (c->pdu.opcode) {
    case ISCSI_OP_SCSI_CMD:
        fake_command(c);
        return true;
    case ISCSI_OP_NOP_OUT:
        fake_nop(c);
        return true;
    case ISCSI_OP_TMF:
        if (c->pdu.tmf.function == ISCSI_TMF_ABORT_TASK)
            c->f->aborts++;
        else if (c->pdu.tmf.function == ISCSI_TMF_ABORT_TASK_SET)
            c->f->set_aborts++;
        else
            c->f->resets++;
        fake_tmf(c, ISCSI_TMF_COMPLETE);
        return true;
    case ISCSI_OP_LOGOUT:
        c->f->logouts++;
        fake_send(c, p, NULL, 0);
        return false;
    default:
        return true;
    }
}

static inline void fake_serve(struct fake_conn *c)
{
    while (fake_recv(c)) {
        if (c->f->hook && c->f->hook(c))
            continue;
        if (!fake_answer(c))
            return;
    }
}

static inline void fake_default_script(struct fake_conn *c)
{
    if (fake_login(c))
        fake_serve(c);
}

/* ---- the thread ----------------------------------------------------------------------------------------- */

static inline void *fake_main(void *arg)
{
    struct fake *f = arg;

    while (!f->stop) {
        const struct timeval patience = { .tv_sec = 8 };
        struct fake_conn c = { .f = f, .stat_sn = 100, .window = 64 };

        c.fd = accept(f->listener, NULL, NULL);
        if (c.fd < 0)
            break;
        if (f->stop) {
            close(c.fd);
            break;
        }
        setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        c.nr = f->conns++;
        c.tsih = (uint16_t)(c.nr + 1);
        c.data = malloc(FAKE_DATA_MAX + 4);
        f->script(&c);
        free(c.data);
        shutdown(c.fd, SHUT_RDWR);
        close(c.fd);
    }
    return NULL;
}

static inline void fake_start(struct fake *f, fake_script *script)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    f->script = script ? script : fake_default_script;
    if (!f->naa[0])
        strcpy(f->naa, "5001405aabbccdd1");
    if (!f->blocks)
        f->blocks = FAKE_BLOCKS;
    f->disk = calloc(FAKE_BLOCKS, 512);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static inline void fake_stop(struct fake *f)
{
    f->stop = true;
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    free(f->disk);
}

/* ---- the initiator under test --------------------------------------------------------------------------- */

struct rig {
    struct rt_host *host;
    struct rt *rt;
    struct ini_conf conf;
    struct ini_sess *s;
    struct ini_lun *lun;
    unsigned ups, downs, faults, changes, stops;
    unsigned events[8];                     /* by enum ini_event */
    bool opened;
    int err;
    char why[512];
};

static inline void rig_up(void *user)
{
    ((struct rig *)user)->ups++;
}

static inline void rig_down(void *user, int err, const char *why)
{
    struct rig *r = user;

    (void)err;
    if (getenv("FAKE_TRACE"))
        print_message("down: %s\n", why);
    r->downs++;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_failed(void *user, int err, const char *why)
{
    struct rig *r = user;

    r->faults++;
    r->err = err;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_changed(void *user)
{
    ((struct rig *)user)->changes++;
}

static inline void rig_init(struct rig *r, uint16_t port)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1 };

    memset(r, 0, sizeof(*r));
    rt_log_level(RT_ERR);
    assert_int_equal(rt_host_new(&r->host, &conf), 0);
    r->rt = rt_host_at(r->host, 0);
    assert_true(rt_turn(r->rt, 0) >= 0);
    strcpy(r->conf.initiator, "iqn.2026-11.org.corelane.test:initiator");
    strcpy(r->conf.target, FAKE_IQN);
    strcpy(r->conf.portal.host, "127.0.0.1");
    r->conf.portal.port = port;
    ini_settings_default(&r->conf.set);
    r->conf.set.login_retry_max = 0;
    r->conf.set.login_timeout_s = 5;
}

static inline void rig_start(struct rig *r)
{
    static const struct ini_sess_events events = { rig_up, rig_down, rig_failed, rig_changed };

    assert_int_equal(ini_sess_new(&r->s, r->rt, &r->conf, &events, r), 0);
    ini_sess_start(r->s);
}

/* Turns until @cond, at most 15 seconds. */
#define rig_until(r, cond)                                                                                    \
    do {                                                                                                      \
        const uint64_t rig_end = rt_clock((r)->rt) + 15 * RT_S;                                               \
        while (!(cond) && rt_clock((r)->rt) < rig_end)                                                        \
            assert_true(rt_turn((r)->rt, 20 * RT_MS) >= 0);                                                   \
        assert_true(cond);                                                                                    \
    } while (0)

static inline void rig_for(struct rig *r, unsigned ms)
{
    const uint64_t end = rt_clock(r->rt) + ms * RT_MS;

    while (rt_clock(r->rt) < end)
        assert_true(rt_turn(r->rt, 5 * RT_MS) >= 0);
}

static inline void rig_stopped(void *user)
{
    ((struct rig *)user)->stops++;
}

static inline void rig_opened(void *user, int err, const char *why)
{
    struct rig *r = user;

    r->opened = true;
    r->err = err;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_event(void *user, enum ini_event ev)
{
    ((struct rig *)user)->events[ev]++;
}

static inline void rig_open(struct rig *r)
{
    assert_int_equal(ini_lun_open(r->s, 0, &r->lun, rig_opened, rig_event, r), 0);
    rig_until(r, r->opened);
    if (r->err)
        print_message("open: %s\n", r->why);
    assert_int_equal(r->err, 0);
}

static inline void rig_end(struct rig *r)
{
    if (r->lun)
        ini_lun_close(r->lun);
    if (r->s) {
        ini_sess_stop(r->s, false, rig_stopped, r);
        rig_until(r, r->stops);
        ini_sess_free(r->s);
    }
    rt_host_free(r->host);
}

/* A command of its own. */
struct cmd {
    struct ini_task t;
    struct iovec iov;
    uint8_t buf[8192];
    bool ended;
};

static inline void cmd_ended(struct ini_task *t)
{
    ((struct cmd *)t)->ended = true;
}

static inline void cmd_read(struct rig *r, struct cmd *c, uint32_t lba, uint32_t blocks)
{
    memset(c, 0, sizeof(*c));
    c->iov = (struct iovec){ c->buf, sizeof(c->buf) };
    c->t.cdb_len = (uint8_t)scsi_cdb_read(c->t.cdb, lba, blocks, false);
    c->t.edtl = blocks * 512;
    c->t.in = (struct dm_buf){ &c->iov, 1, c->t.edtl };
    c->t.done = cmd_ended;
    ini_submit(r->s, &c->t);
}

static inline void cmd_write(struct rig *r, struct cmd *c, uint32_t lba, uint32_t blocks)
{
    memset(&c->t, 0, sizeof(c->t));
    c->ended = false;
    c->iov = (struct iovec){ c->buf, sizeof(c->buf) };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, lba, blocks, false);
    c->t.edtl = blocks * 512;
    c->t.out = (struct dm_buf){ &c->iov, 1, c->t.edtl };
    c->t.done = cmd_ended;
    ini_submit(r->s, &c->t);
}

#endif
