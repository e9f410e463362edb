/*
 * fake_wire.h - what a target made up for a test has on its wire: PDUs both ways, numbers, digests, the login
 *
 * Nothing here is shared with the code under test but the codec, which has tests of its own.
 */
#ifndef FAKE_WIRE_H
#define FAKE_WIRE_H

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
    uint8_t tpgs;                           /* INQUIRY byte 5; 0: no target port groups */
    atomic_uint access;                     /* of group 3, through port 9; 0x80: preferred */
    /* What came. */
    atomic_uint reads, writes, aborts, set_aborts, resets, nops, syncs, unmaps, sames, logouts, bad_digests,
        group_reads, group_sets, readies;
    uint32_t lba[4096];
    atomic_uint lba_nr;
};

/* A request that came while the data of another were awaited. */
struct fake_later {
    struct fake_later *next;
    struct iscsi_pdu pdu;
    uint8_t bhs[ISCSI_BHS_LEN];
    uint32_t len;
    uint8_t data[];
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
    struct fake_later *later;
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

/* From the network, past what was put aside. */
static inline bool fake_recv_new(struct fake_conn *c)
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

static inline bool fake_recv(struct fake_conn *c)
{
    struct fake_later *l = c->later;

    if (!l)
        return fake_recv_new(c);
    c->later = l->next;
    c->pdu = l->pdu;
    memcpy(c->bhs, l->bhs, sizeof(c->bhs));
    memcpy(c->data, l->data, l->len);
    c->len = l->len;
    free(l);
    return true;
}

/* The request received last, to be received again after those put aside before. */
static inline void fake_put_aside(struct fake_conn *c)
{
    struct fake_later *l = malloc(sizeof(*l) + c->len), **at = &c->later;

    while (*at)
        at = &(*at)->next;
    *l = (struct fake_later){ .pdu = c->pdu, .len = c->len };
    memcpy(l->bhs, c->bhs, sizeof(l->bhs));
    memcpy(l->data, c->data, c->len);
    *at = l;
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

/* Sends a header of any 48 bytes with @len bytes of data, padded, and what digests are in use. */
static inline bool fake_send_bhs(struct fake_conn *c, const uint8_t bhs[static ISCSI_BHS_LEN], const void *data,
                                 uint32_t len)
{
    static const uint8_t pad[3];
    const uint32_t pad_len = ((len + 3) & ~3u) - len;
    uint8_t crc[ISCSI_DIGEST_LEN];

    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, bhs, ISCSI_BHS_LEN), crc);
    crc[0] ^= c->spoil == 1;
    c->spoil = c->spoil == 1 ? 0 : c->spoil;
    if (!fake_write(c->fd, bhs, ISCSI_BHS_LEN) || (c->digests && !fake_write(c->fd, crc, sizeof(crc))))
        return false;
    if (!len)
        return true;
    iscsi_crc_wire(iscsi_crc_feed(iscsi_crc_feed(ISCSI_CRC_INIT, data, len), pad, pad_len), crc);
    crc[0] ^= c->spoil == 2;
    c->spoil = 0;
    return fake_write(c->fd, data, len) && fake_write(c->fd, pad, pad_len) &&
           (!c->digests || fake_write(c->fd, crc, sizeof(crc)));
}

/* Sends as it is: all numbers are the script's. */
static inline bool fake_send_raw(struct fake_conn *c, struct iscsi_pdu p, const void *data, uint32_t len)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    p.data_len = len;
    iscsi_pdu_encode(bhs, &p);
    return fake_send_bhs(c, bhs, data, len);
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
        if (!fake_recv_new(c)) {
            ok = false;
            break;
        }
        if (c->pdu.opcode != ISCSI_OP_DATA_OUT) {           /* sent before it knew what we ask for */
            fake_put_aside(c);
            continue;
        }
        ok = c->pdu.itt == cmd.itt && c->pdu.ttt == 77 &&
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
    "MaxConnections=1\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0ErrorRecoveryLevel=0";

static inline bool fake_login(struct fake_conn *c)
{
    return fake_login_first(c) && fake_login_rest(c, fake_keys, sizeof(fake_keys));
}

#endif
