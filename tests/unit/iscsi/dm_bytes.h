/*
 * dm_bytes.h - a peer that is only bytes: PDUs built by hand, written to and read from a plain socket
 */
#ifndef TESTS_DM_BYTES_H
#define TESTS_DM_BYTES_H

#include "tests/unit/iscsi/dm_ends.h"
#include "iscsi/digest.h"

/* ---- a stream of bytes ---- */

struct bytes {
    uint8_t at[1 << 18];
    uint32_t len;
    bool header_digest, data_digest;
};

static inline void bytes_add(struct bytes *s, const void *at, uint32_t len)
{
    assert_true(s->len + len <= sizeof(s->at));
    memcpy(s->at + s->len, at, len);
    s->len += len;
}

static inline void bytes_digest(struct bytes *s, uint32_t from)
{
    uint8_t wire[ISCSI_DIGEST_LEN];

    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, s->at + from, s->len - from), wire);
    bytes_add(s, wire, sizeof(wire));
}

/* A header of 48 bytes, already encoded, and @len bytes of data. */
static inline void bytes_raw(struct bytes *s, const uint8_t *bhs, const void *data, uint32_t len)
{
    uint32_t from = s->len;

    bytes_add(s, bhs, ISCSI_BHS_LEN);
    if (s->header_digest)
        bytes_digest(s, from);
    from = s->len;
    bytes_add(s, data, len);
    bytes_add(s, "\x11\x22\x33", iscsi_padded(len) - len);  /* padding need not be zero */
    if (s->data_digest && len)
        bytes_digest(s, from);
}

static inline void bytes_pdu(struct bytes *s, struct iscsi_pdu pdu, const void *data)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    iscsi_pdu_encode(bhs, &pdu);
    bytes_raw(s, bhs, data, pdu.data_len);
}

static uint8_t text[1 << 17];              /* itt 4's pattern: what commands below write */

static inline struct iscsi_pdu write_cmd(uint32_t itt, uint32_t edtl, uint32_t imm, bool final)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_SCSI_CMD, .final = final, .itt = itt, .data_len = imm };

    p.cmd.write = true;
    p.cmd.edtl = edtl;
    p.cmd.cdb[0] = 0x2a;
    return p;
}

static inline struct iscsi_pdu data_out(uint32_t itt, uint32_t ttt, uint32_t sn, uint32_t off, uint32_t len,
                                 bool final)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_DATA_OUT, .final = final, .itt = itt, .ttt = ttt,
                           .data_len = len };

    p.data_out.data_sn = sn;
    p.data_out.offset = off;
    return p;
}

static inline struct iscsi_pdu data_in(uint32_t itt, uint32_t sn, uint32_t off, uint32_t len, bool status)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_DATA_IN, .final = status, .itt = itt, .ttt = ISCSI_TAG_RESERVED,
                           .data_len = len };

    p.resp.data_sn = sn;
    p.resp.offset = off;
    p.resp.has_status = status;
    return p;
}

static inline struct iscsi_pdu r2t(uint32_t itt, uint32_t ttt, uint32_t sn, uint32_t off, uint32_t len)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_R2T, .final = true, .itt = itt, .ttt = ttt };

    p.r2t.r2t_sn = sn;
    p.r2t.offset = off;
    p.r2t.length = len;
    return p;
}

static inline struct iscsi_pdu ping(uint32_t itt, uint32_t len)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_NOP_OUT, .final = true, .immediate = true, .itt = itt,
                               .ttt = ISCSI_TAG_RESERVED, .data_len = len };
}

/* Parameters with digests: 1 header, 2 data. */
static inline struct iscsi_params params_split(unsigned digests)
{
    struct iscsi_params p = params_usual();

    p.initial_r2t = 0;
    p.header_digest = digests & 1;
    p.data_digest = digests >> 1;
    return p;
}

/* ---- the raw end ---- */

static inline void raw_write(struct ends *b, const uint8_t *at, uint32_t len)
{
    while (len) {
        const ssize_t n = write(b->fd, at, len);

        if (n > 0) {
            at += n;
            len -= (uint32_t)n;
        } else if (errno != EAGAIN) {
            return;                         /* refused already */
        }
        rt_turn(b->rt, 0);
    }
    turn_some(b, 4);
}

/* What the datamover sent so far. */
static inline uint32_t raw_read(struct ends *b, uint8_t *to, uint32_t max)
{
    uint32_t got = 0;

    for (int idle = 0; idle < 4;) {
        const ssize_t n = read(b->fd, to + got, max - got);

        idle = n > 0 ? 0 : idle + 1;
        got += n > 0 ? (uint32_t)n : 0;
        turn_some(b, 1);
    }
    return got;
}

/* On a bench that was not started, or again on one that was. */
static inline void raw_start(struct ends *b, enum iscsi_role role, const struct iscsi_params *p)
{
    if (b->host)
        ends_again(b);
    else
        ends_start(b);
    ends_raw(b, role, false);
    if (p)
        end_enable(role == ISCSI_TARGET ? &b->tgt : &b->ini, p);
}

/* ---- what is expected of the end that is ---- */

enum fate { FATE_GOES_ON, FATE_REJECT, FATE_PROTO, FATE_BADMSG };

static inline void expect_fate(struct ends *b, struct end *e, enum fate fate, const char *what)
{
    const int err = fate == FATE_PROTO ? -EPROTO : fate == FATE_BADMSG ? -EBADMSG : 0;

    turn_some(b, 4);
    if (e->terminated != (err != 0) || e->err != err || (fate == FATE_REJECT) != (e->rejects == 1))
        fail_msg("%s: terminated %u (%d), rejects %u (reason %d)", what, e->terminated, e->err, e->rejects,
                 e->reject);
}

#endif
