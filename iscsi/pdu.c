/*
 * pdu.c - the 48-byte header: one table row an opcode, read and written by the row
 *
 * Owns the layout of RFC 7143 11 and what a header alone can be judged by. Negotiated limits, tags in flight
 * and sequence windows belong to those who know them. Reserved bits are ignored on the way in and zero on the
 * way out.
 */
#include <assert.h>
#include <string.h>
#include "iscsi/pdu.h"
#include "reactor/rt_bytes.h"

/* Byte 0 and byte 1. */
#define BHS_I        0x40u
#define BHS_OPCODE   0x3fu
#define BHS_F        0x80u                  /* T in Login */
#define BHS_C        0x40u                  /* Login, Text */
#define CMD_R        0x40u
#define CMD_W        0x20u
#define CMD_ATTR     0x07u
#define RESP_BIDI_O  0x10u
#define RESP_BIDI_U  0x08u
#define RESP_O       0x04u
#define RESP_U       0x02u
#define IN_A         0x40u
#define IN_S         0x01u

/* The longest that a SCSI Command can carry: an Extended CDB of 260 bytes and a Bidirectional Read length. */
#define AHS_HEAD_LEN   4u                   /* AHSLength, AHSType, and one reserved byte */
#define CDB_LEN_MAX    260u
#define CMD_AHS_MAX    (AHS_HEAD_LEN + (CDB_LEN_MAX - 16) + AHS_HEAD_LEN + 4)

/* What a kind is, and which of the shared fields it has. */
enum {
    K_INITIATOR = 1 << 0,                   /* sent by the initiator; else by the target */
    K_DATA      = 1 << 1,                   /* may carry a data segment */
    K_AHS       = 1 << 2,
    K_I         = 1 << 3,                   /* the I bit says immediate */
    K_FIXED_I   = 1 << 4,                   /* I is 1, whatever came */
    K_FIXED_F   = 1 << 5,                   /* F is 1 by the RFC */
    K_LUN       = 1 << 6,
    K_TASK      = 1 << 7,                   /* ITT names a task: the reserved tag is refused */
    K_NO_ITT    = 1 << 8,                   /* ITT is the reserved tag */
    K_TTT       = 1 << 9,
    K_CMD_SN    = 1 << 10,
    K_EXP_STAT  = 1 << 11,
    K_STAT_SN   = 1 << 12,
    K_WINDOW    = 1 << 13,                  /* ExpCmdSN and MaxCmdSN */
};
#define K_REQUEST  (K_INITIATOR | K_CMD_SN | K_EXP_STAT)
#define K_RESPONSE (K_STAT_SN | K_WINDOW)

/* Nothing is decoded that was not judged: so a header goes straight to where the caller wants it. */
struct pdu_kind {
    uint32_t flags;
    enum iscsi_reject (*judge)(const uint8_t *w);       /* what is special to the kind; NULL: nothing */
    void (*decode)(struct iscsi_pdu *p, const uint8_t *w);
    void (*encode)(uint8_t *w, const struct iscsi_pdu *p);
};

/* O and U exclude each other (11.4.1), and each means other data. */
static bool both(uint8_t flags, uint8_t bits)
{
    return (flags & bits) == bits;
}

/* True when @len bytes from the offset at @w reach past 2^32. */
static bool wraps(const uint8_t *w, uint32_t len)
{
    return load_be32(w) > UINT32_MAX - len;
}

/* ---- kinds, in the order of RFC 7143 11 ---------------------------------------------------------------- */

static enum iscsi_reject cmd_judge(const uint8_t *w)
{
    if ((w[1] & CMD_ATTR) > ISCSI_ATTR_ACA)
        return ISCSI_REJECT_INVALID_FIELD;
    if (w[1] & CMD_W)
        return ISCSI_REJECT_NONE;
    if (!(w[1] & BHS_F))                    /* "Setting both the W and the F bit to 0 is an error", 11.3.1 */
        return ISCSI_REJECT_INVALID_FIELD;
    if (!(w[1] & CMD_R) && load_be32(&w[20]))
        return ISCSI_REJECT_INVALID_FIELD;
    if (iscsi_bhs_data_len(w))              /* immediate data for a command that takes none */
        return ISCSI_REJECT_PROTOCOL_ERROR;
    return ISCSI_REJECT_NONE;
}

static void cmd_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->cmd.read = w[1] & CMD_R;
    p->cmd.write = w[1] & CMD_W;
    p->cmd.attr = w[1] & CMD_ATTR;
    p->cmd.edtl = load_be32(&w[20]);
    memcpy(p->cmd.cdb, &w[32], sizeof(p->cmd.cdb));
}

static void cmd_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->cmd.attr <= ISCSI_ATTR_ACA);
    assert(p->final || p->cmd.write);
    assert(p->cmd.read || p->cmd.write || !p->cmd.edtl);
    w[1] |= (uint8_t)((p->cmd.read ? CMD_R : 0) | (p->cmd.write ? CMD_W : 0) | p->cmd.attr);
    store_be32(&w[20], p->cmd.edtl);
    memcpy(&w[32], p->cmd.cdb, sizeof(p->cmd.cdb));
}

static enum iscsi_reject resp_judge(const uint8_t *w)
{
    return both(w[1], RESP_O | RESP_U) || both(w[1], RESP_BIDI_O | RESP_BIDI_U) ? ISCSI_REJECT_INVALID_FIELD
                                                                              : ISCSI_REJECT_NONE;
}

static void resp_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->resp.bidi_overflow = w[1] & RESP_BIDI_O;
    p->resp.bidi_underflow = w[1] & RESP_BIDI_U;
    p->resp.overflow = w[1] & RESP_O;
    p->resp.underflow = w[1] & RESP_U;
    p->resp.has_status = true;
    p->resp.response = w[2];
    p->resp.status = w[3];
    p->resp.snack_tag = load_be32(&w[20]);
    p->resp.exp_data_sn = load_be32(&w[36]);
    p->resp.bidi_residual = load_be32(&w[40]);
    p->resp.residual = load_be32(&w[44]);
}

static void resp_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(!(p->resp.overflow && p->resp.underflow));
    assert(!(p->resp.bidi_overflow && p->resp.bidi_underflow));
    w[1] |= (uint8_t)((p->resp.bidi_overflow ? RESP_BIDI_O : 0) | (p->resp.bidi_underflow ? RESP_BIDI_U : 0) |
                      (p->resp.overflow ? RESP_O : 0) | (p->resp.underflow ? RESP_U : 0));
    w[2] = p->resp.response;
    w[3] = p->resp.status;
    store_be32(&w[20], p->resp.snack_tag);
    store_be32(&w[36], p->resp.exp_data_sn);
    store_be32(&w[40], p->resp.bidi_residual);
    store_be32(&w[44], p->resp.residual);
}

static enum iscsi_reject data_in_judge(const uint8_t *w)
{
    if (wraps(&w[40], iscsi_bhs_data_len(w)))
        return ISCSI_REJECT_INVALID_FIELD;
    if (w[1] & IN_S && (!(w[1] & BHS_F) || both(w[1], RESP_O | RESP_U)))
        return ISCSI_REJECT_INVALID_FIELD;
    return ISCSI_REJECT_NONE;
}

static void data_in_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->resp.ack = w[1] & IN_A;
    p->resp.data_sn = load_be32(&w[36]);
    p->resp.offset = load_be32(&w[40]);
    /* Without S there is no status, and StatSN, O, U and the residual count mean nothing (11.7.3, 11.7.4). */
    if (!(w[1] & IN_S)) {
        p->stat_sn = 0;
        return;
    }
    p->resp.has_status = true;
    p->resp.overflow = w[1] & RESP_O;
    p->resp.underflow = w[1] & RESP_U;
    p->resp.status = w[3];
    p->resp.residual = load_be32(&w[44]);
}

static void data_in_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    w[1] |= (uint8_t)(p->resp.ack ? IN_A : 0);
    store_be32(&w[36], p->resp.data_sn);
    store_be32(&w[40], p->resp.offset);
    if (!p->resp.has_status) {
        store_be32(&w[24], 0);              /* a StatSN nobody may count */
        return;
    }
    assert(p->final);
    assert(!(p->resp.overflow && p->resp.underflow));
    w[1] |= (uint8_t)(IN_S | (p->resp.overflow ? RESP_O : 0) | (p->resp.underflow ? RESP_U : 0));
    w[3] = p->resp.status;
    store_be32(&w[44], p->resp.residual);
}

static void tmf_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->tmf.function = w[1] & 0x7f;          /* one not known is answered by a response, not by a Reject */
    p->tmf.ref_task_tag = load_be32(&w[20]);
    p->tmf.ref_cmd_sn = load_be32(&w[32]);
    p->tmf.exp_data_sn = load_be32(&w[36]);
}

static void tmf_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->tmf.function <= 0x7f);
    w[1] |= p->tmf.function;
    store_be32(&w[20], p->tmf.ref_task_tag);
    store_be32(&w[32], p->tmf.ref_cmd_sn);
    store_be32(&w[36], p->tmf.exp_data_sn);
}

static void tmf_resp_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->tmf.response = w[2];
}

static void tmf_resp_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    w[2] = p->tmf.response;
}

static enum iscsi_reject data_out_judge(const uint8_t *w)
{
    return wraps(&w[40], iscsi_bhs_data_len(w)) ? ISCSI_REJECT_INVALID_FIELD : ISCSI_REJECT_NONE;
}

static void data_out_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->data_out.data_sn = load_be32(&w[36]);
    p->data_out.offset = load_be32(&w[40]);
}

static void data_out_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    store_be32(&w[36], p->data_out.data_sn);
    store_be32(&w[40], p->data_out.offset);
}

static enum iscsi_reject r2t_judge(const uint8_t *w)
{
    const uint32_t length = load_be32(&w[44]);

    /* 11.8.4: a length is never 0, and 11.8.5: the tag is a real one. */
    if (!length || load_be32(&w[20]) == ISCSI_TAG_RESERVED || wraps(&w[40], length))
        return ISCSI_REJECT_INVALID_FIELD;
    return ISCSI_REJECT_NONE;
}

static void r2t_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->r2t.r2t_sn = load_be32(&w[36]);
    p->r2t.offset = load_be32(&w[40]);
    p->r2t.length = load_be32(&w[44]);
}

static void r2t_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->r2t.length);
    assert(p->ttt != ISCSI_TAG_RESERVED);
    store_be32(&w[36], p->r2t.r2t_sn);
    store_be32(&w[40], p->r2t.offset);
    store_be32(&w[44], p->r2t.length);
}

static void async_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->async.event = w[36];
    p->async.vendor_code = w[37];
    p->async.param1 = load_be16(&w[38]);
    p->async.param2 = load_be16(&w[40]);
    p->async.param3 = load_be16(&w[42]);
}

static void async_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    w[36] = p->async.event;
    w[37] = p->async.vendor_code;
    store_be16(&w[38], p->async.param1);
    store_be16(&w[40], p->async.param2);
    store_be16(&w[42], p->async.param3);
}

static enum iscsi_reject text_judge(const uint8_t *w)
{
    return both(w[1], BHS_F | BHS_C) ? ISCSI_REJECT_PROTOCOL_ERROR : ISCSI_REJECT_NONE;  /* 11.10.2 */
}

static void text_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->text.cont = w[1] & BHS_C;
}

static void text_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(!(p->text.cont && p->final));
    w[1] |= (uint8_t)(p->text.cont ? BHS_C : 0);
}

/* CSG and NSG as 11.12.3 allows them: a login goes forward; full feature is where it goes, not where it is.
 * Of a response only: a request's stages are the login's to judge, as its refusal is a Login Response. */
static enum iscsi_reject login_stages_judge(const uint8_t *w)
{
    const unsigned csg = w[1] >> 2 & 3, nsg = w[1] & 3;

    if (both(w[1], BHS_F | BHS_C))
        return ISCSI_REJECT_PROTOCOL_ERROR;
    if (csg >= ISCSI_STAGE_RESERVED)
        return ISCSI_REJECT_INVALID_FIELD;
    if (w[1] & BHS_F && (nsg == ISCSI_STAGE_RESERVED || nsg <= csg))
        return ISCSI_REJECT_INVALID_FIELD;
    return ISCSI_REJECT_NONE;
}

/* A refusal or redirection must reach the user whatever else the target wrote: it ends the login. */
static enum iscsi_reject login_resp_judge(const uint8_t *w)
{
    return load_be16(&w[36]) == ISCSI_LOGIN_OK ? login_stages_judge(w) : ISCSI_REJECT_NONE;
}

static void login_common_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->login.transit = w[1] & BHS_F;
    p->login.cont = w[1] & BHS_C;
    p->login.csg = w[1] >> 2 & 3;
    p->login.nsg = w[1] & BHS_F ? w[1] & 3 : 0;          /* reserved without T */
    p->login.version_max = w[2];
    p->login.version_min = w[3];
    memcpy(p->login.isid, &w[8], sizeof(p->login.isid));
    p->login.tsih = load_be16(&w[14]);
}

static void login_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    login_common_decode(p, w);
    p->login.cid = load_be16(&w[20]);
}

static void login_resp_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    login_common_decode(p, w);
    p->login.status = load_be16(&w[36]);
    if (p->login.status == ISCSI_LOGIN_OK)
        return;
    p->login.transit = p->login.cont = p->final = false;
    p->login.nsg = 0;
}

static void login_common_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->login.csg < 4 && p->login.nsg < 4);
    /* T is login.transit; pdu.final is what decode derives from it. */
    w[1] = (uint8_t)((p->login.transit ? BHS_F : 0) | (p->login.cont ? BHS_C : 0) | p->login.csg << 2 |
                     (p->login.transit ? p->login.nsg : 0));
    w[2] = p->login.version_max;
    w[3] = p->login.version_min;
    memcpy(&w[8], p->login.isid, sizeof(p->login.isid));
    store_be16(&w[14], p->login.tsih);
}

/* Stages that cannot be, and T with C, pass: what a peer sent goes back to it inside a Reject. */
static void login_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    login_common_encode(w, p);
    store_be16(&w[20], p->login.cid);
}

static void login_resp_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(!(p->login.transit && p->login.cont));
    login_common_encode(w, p);
    store_be16(&w[36], p->login.status);
}

static void logout_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->logout.reason = w[1] & 0x7f;
    p->logout.cid = load_be16(&w[20]);
}

static void logout_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->logout.reason <= 0x7f);
    w[1] |= p->logout.reason;
    store_be16(&w[20], p->logout.cid);
}

static void logout_resp_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->logout.response = w[2];
    p->logout.time2wait_s = load_be16(&w[40]);
    p->logout.time2retain_s = load_be16(&w[42]);
}

static void logout_resp_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    w[2] = p->logout.response;
    store_be16(&w[40], p->logout.time2wait_s);
    store_be16(&w[42], p->logout.time2retain_s);
}

static void snack_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->snack.type = w[1] & 0x0f;
    p->snack.beg_run = load_be32(&w[40]);
    p->snack.run_len = load_be32(&w[44]);
}

static void snack_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    assert(p->snack.type <= 0x0f);
    w[1] |= p->snack.type;
    store_be32(&w[40], p->snack.beg_run);
    store_be32(&w[44], p->snack.run_len);
}

static void reject_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    p->reject.reason = w[2];
    p->reject.data_sn = load_be32(&w[36]);
}

static void reject_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    w[2] = p->reject.reason;
    store_be32(&w[36], p->reject.data_sn);
}

/* 11.18.1: one that wants no answer is immediate. Else it would take a CmdSN that nothing reports back. */
static enum iscsi_reject nop_out_judge(const uint8_t *w)
{
    return load_be32(&w[16]) == ISCSI_TAG_RESERVED && !(w[0] & BHS_I) ? ISCSI_REJECT_PROTOCOL_ERROR
                                                                      : ISCSI_REJECT_NONE;
}

static void nop_out_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    (void)w;
    assert(p->itt != ISCSI_TAG_RESERVED || p->immediate);
}

/* A NOP is all shared fields. */
static void nop_decode(struct iscsi_pdu *p, const uint8_t *w)
{
    (void)p, (void)w;
}

static void nop_in_encode(uint8_t *w, const struct iscsi_pdu *p)
{
    (void)w, (void)p;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

/* A row for each opcode of 11.2.1.2. Vendor codes (1c-1e, 3c-3e) have none: they are not supported. */
static const struct pdu_kind kinds[64] = {
    [ISCSI_OP_NOP_OUT]     = { K_REQUEST | K_I | K_FIXED_F | K_LUN | K_TTT | K_DATA,
                               nop_out_judge, nop_decode, nop_out_encode },
    [ISCSI_OP_SCSI_CMD]    = { K_REQUEST | K_I | K_LUN | K_TASK | K_DATA | K_AHS,
                               cmd_judge, cmd_decode, cmd_encode },
    [ISCSI_OP_TMF]         = { K_REQUEST | K_I | K_FIXED_F | K_LUN | K_TASK, NULL, tmf_decode, tmf_encode },
    [ISCSI_OP_LOGIN]       = { K_REQUEST | K_FIXED_I | K_TASK | K_DATA, NULL, login_decode, login_encode },
    [ISCSI_OP_TEXT]        = { K_REQUEST | K_I | K_LUN | K_TASK | K_TTT | K_DATA,
                               text_judge, text_decode, text_encode },
    [ISCSI_OP_DATA_OUT]    = { K_INITIATOR | K_EXP_STAT | K_LUN | K_TASK | K_TTT | K_DATA,
                               data_out_judge, data_out_decode, data_out_encode },
    [ISCSI_OP_LOGOUT]      = { K_REQUEST | K_I | K_FIXED_F | K_TASK, NULL, logout_decode, logout_encode },
    [ISCSI_OP_SNACK]       = { K_INITIATOR | K_EXP_STAT | K_FIXED_F | K_LUN | K_TTT,
                               NULL, snack_decode, snack_encode },
    [ISCSI_OP_NOP_IN]      = { K_RESPONSE | K_FIXED_F | K_LUN | K_TTT | K_DATA,
                               NULL, nop_decode, nop_in_encode },
    [ISCSI_OP_SCSI_RESP]   = { K_RESPONSE | K_FIXED_F | K_TASK | K_DATA, resp_judge, resp_decode, resp_encode },
    [ISCSI_OP_TMF_RESP]    = { K_RESPONSE | K_FIXED_F | K_TASK, NULL, tmf_resp_decode, tmf_resp_encode },
    [ISCSI_OP_LOGIN_RESP]  = { K_RESPONSE | K_DATA, login_resp_judge, login_resp_decode, login_resp_encode },
    [ISCSI_OP_TEXT_RESP]   = { K_RESPONSE | K_LUN | K_TASK | K_TTT | K_DATA,
                               text_judge, text_decode, text_encode },
    [ISCSI_OP_DATA_IN]     = { K_RESPONSE | K_LUN | K_TASK | K_TTT | K_DATA,
                               data_in_judge, data_in_decode, data_in_encode },
    [ISCSI_OP_LOGOUT_RESP] = { K_RESPONSE | K_FIXED_F | K_TASK, NULL, logout_resp_decode, logout_resp_encode },
    [ISCSI_OP_R2T]         = { K_RESPONSE | K_FIXED_F | K_LUN | K_TASK | K_TTT,
                               r2t_judge, r2t_decode, r2t_encode },
    [ISCSI_OP_ASYNC]       = { K_RESPONSE | K_FIXED_F | K_NO_ITT | K_LUN | K_DATA,
                               NULL, async_decode, async_encode },
    [ISCSI_OP_REJECT]      = { K_RESPONSE | K_FIXED_F | K_NO_ITT | K_DATA, NULL, reject_decode, reject_encode },
};

/* What every kind is judged by, and then the kind's own rules. */
static enum iscsi_reject pdu_judge(const struct pdu_kind *k, const uint8_t *w)
{
    if (iscsi_bhs_data_len(w) && !(k->flags & K_DATA))
        return ISCSI_REJECT_PROTOCOL_ERROR;
    if (w[4] && !(k->flags & K_AHS))
        return ISCSI_REJECT_PROTOCOL_ERROR;
    if (iscsi_bhs_ahs_len(w) > CMD_AHS_MAX)
        return ISCSI_REJECT_INVALID_FIELD;
    if (!(w[1] & BHS_F) && k->flags & K_FIXED_F)
        return ISCSI_REJECT_PROTOCOL_ERROR;
    if (k->flags & K_TASK && load_be32(&w[16]) == ISCSI_TAG_RESERVED)
        return ISCSI_REJECT_INVALID_FIELD;
    return k->judge ? k->judge(w) : ISCSI_REJECT_NONE;
}

/* Inlined for the kinds of which millions come in a second: with @opcode a constant the row folds into straight code. */
#define PDU_INLINE static inline __attribute__((always_inline))

PDU_INLINE enum iscsi_reject decode_as(uint8_t opcode, struct iscsi_pdu *out, const uint8_t *wire, enum iscsi_from from)
{
    const struct pdu_kind *k = &kinds[opcode];
    const uint32_t f = k->flags;
    enum iscsi_reject r;

    if (!k->decode)
        return ISCSI_REJECT_NOT_SUPPORTED;
    if (!(f & K_INITIATOR) != (from == ISCSI_FROM_TARGET))
        return ISCSI_REJECT_PROTOCOL_ERROR;
    r = pdu_judge(k, wire);
    if (r != ISCSI_REJECT_NONE)
        return r;
    memset(out, 0, sizeof(*out));
    out->opcode = opcode;
    out->immediate = f & K_FIXED_I || (f & K_I && wire[0] & BHS_I);
    out->final = wire[1] & BHS_F;
    out->ahs_len = (uint16_t)iscsi_bhs_ahs_len(wire);
    out->data_len = iscsi_bhs_data_len(wire);
    out->itt = f & K_NO_ITT ? ISCSI_TAG_RESERVED : load_be32(&wire[16]);
    out->ttt = f & K_TTT ? load_be32(&wire[20]) : ISCSI_TAG_RESERVED;
    if (f & K_LUN)
        out->lun = load_be64(&wire[8]);
    if (f & K_CMD_SN)
        out->cmd_sn = load_be32(&wire[24]);
    if (f & K_EXP_STAT)
        out->exp_stat_sn = load_be32(&wire[28]);
    if (f & K_STAT_SN)
        out->stat_sn = load_be32(&wire[24]);
    if (f & K_WINDOW) {
        out->exp_cmd_sn = load_be32(&wire[28]);
        out->max_cmd_sn = load_be32(&wire[32]);
    }
    k->decode(out, wire);
    return ISCSI_REJECT_NONE;
}

enum iscsi_reject iscsi_pdu_decode(struct iscsi_pdu *out, const uint8_t wire[static ISCSI_BHS_LEN],
                                   enum iscsi_from from)
{
    const uint8_t opcode = wire[0] & BHS_OPCODE;

    switch (opcode) {
    case ISCSI_OP_SCSI_CMD:  return decode_as(ISCSI_OP_SCSI_CMD, out, wire, from);
    case ISCSI_OP_SCSI_RESP: return decode_as(ISCSI_OP_SCSI_RESP, out, wire, from);
    case ISCSI_OP_DATA_IN:   return decode_as(ISCSI_OP_DATA_IN, out, wire, from);
    default:                 return decode_as(opcode, out, wire, from);
    }
}

PDU_INLINE void encode_as(uint8_t opcode, uint8_t *wire, const struct iscsi_pdu *pdu)
{
    const struct pdu_kind *k = &kinds[opcode];
    const uint32_t f = k->flags;

    assert(k->encode);
    assert(pdu->data_len <= 0xffffff);
    assert(!pdu->data_len || f & K_DATA);
    assert(!pdu->ahs_len || f & K_AHS);
    assert(pdu->ahs_len % 4 == 0 && pdu->ahs_len <= CMD_AHS_MAX);
    assert(!(f & K_TASK) || pdu->itt != ISCSI_TAG_RESERVED);
    memset(wire, 0, ISCSI_BHS_LEN);
    wire[0] = (uint8_t)(opcode | (f & K_FIXED_I || (f & K_I && pdu->immediate) ? BHS_I : 0));
    wire[1] = f & K_FIXED_F || pdu->final ? BHS_F : 0;
    wire[4] = (uint8_t)(pdu->ahs_len / 4);
    store_be24(&wire[5], pdu->data_len);
    if (f & K_LUN)
        store_be64(&wire[8], pdu->lun);
    store_be32(&wire[16], f & K_NO_ITT ? ISCSI_TAG_RESERVED : pdu->itt);
    if (f & K_TTT)
        store_be32(&wire[20], pdu->ttt);
    if (f & K_CMD_SN)
        store_be32(&wire[24], pdu->cmd_sn);
    if (f & K_EXP_STAT)
        store_be32(&wire[28], pdu->exp_stat_sn);
    if (f & K_STAT_SN)
        store_be32(&wire[24], pdu->stat_sn);
    if (f & K_WINDOW) {
        store_be32(&wire[28], pdu->exp_cmd_sn);
        store_be32(&wire[32], pdu->max_cmd_sn);
    }
    k->encode(wire, pdu);
}

void iscsi_pdu_encode(uint8_t wire[static ISCSI_BHS_LEN], const struct iscsi_pdu *pdu)
{
    assert(pdu->opcode <= BHS_OPCODE);
    switch (pdu->opcode) {
    case ISCSI_OP_SCSI_CMD:  encode_as(ISCSI_OP_SCSI_CMD, wire, pdu);  return;
    case ISCSI_OP_SCSI_RESP: encode_as(ISCSI_OP_SCSI_RESP, wire, pdu); return;
    case ISCSI_OP_DATA_IN:   encode_as(ISCSI_OP_DATA_IN, wire, pdu);   return;
    default:                 encode_as(pdu->opcode, wire, pdu);
    }
}

void iscsi_data_in_encode(uint8_t wire[static ISCSI_BHS_LEN], uint32_t itt, uint32_t data_sn, uint32_t offset, bool final,
                          const struct iscsi_pdu *status)
{
    assert(itt != ISCSI_TAG_RESERVED);
    assert(final || !status);
    memset(wire, 0, ISCSI_BHS_LEN);
    wire[0] = ISCSI_OP_DATA_IN;
    wire[1] = final ? BHS_F : 0;
    store_be32(&wire[16], itt);
    store_be32(&wire[20], ISCSI_TAG_RESERVED);
    store_be32(&wire[36], data_sn);
    store_be32(&wire[40], offset);
    if (!status)
        return;
    assert(!(status->resp.overflow && status->resp.underflow));
    wire[1] = (uint8_t)(BHS_F | IN_S | (status->resp.overflow ? RESP_O : 0) | (status->resp.underflow ? RESP_U : 0));
    wire[3] = status->resp.status;
    store_be32(&wire[24], status->stat_sn);
    store_be32(&wire[28], status->exp_cmd_sn);
    store_be32(&wire[32], status->max_cmd_sn);
    store_be32(&wire[44], status->resp.residual);
}

/* ---- additional header segments ------------------------------------------------------------------------ */

enum iscsi_reject iscsi_ahs_cdb(const uint8_t cdb16[static 16], const uint8_t *ahs, uint32_t ahs_len,
                                uint8_t out[static 260], uint32_t *out_len, uint32_t *bidi_read_len)
{
    const uint8_t *ecdb = NULL, *bidi = NULL;
    uint32_t ecdb_len = 0;

    for (uint32_t pos = 0; pos < ahs_len;) {
        const uint8_t *const a = ahs + pos;
        uint32_t len, whole;

        if (ahs_len - pos < AHS_HEAD_LEN)
            return ISCSI_REJECT_INVALID_FIELD;
        len = load_be16(a);                 /* what follows AHSType: the reserved byte is the first of it */
        whole = iscsi_padded(3 + len);
        if (!len || whole > ahs_len - pos)
            return ISCSI_REJECT_INVALID_FIELD;
        switch (a[2] & 0x3f) {
        case ISCSI_AHS_ECDB:
            if (ecdb || len < 2 || len - 1 > CDB_LEN_MAX - 16)      /* 17..260 bytes of CDB, 11.2.2.3 */
                return ISCSI_REJECT_INVALID_FIELD;
            ecdb = a + AHS_HEAD_LEN;
            ecdb_len = len - 1;
            break;
        case ISCSI_AHS_BIDI_READ:
            if (bidi || len != 5)
                return ISCSI_REJECT_INVALID_FIELD;
            bidi = a + AHS_HEAD_LEN;
            break;
        default:
            return ISCSI_REJECT_INVALID_FIELD;
        }
        pos += whole;
    }
    memcpy(out, cdb16, 16);
    if (ecdb)
        memcpy(out + 16, ecdb, ecdb_len);
    *out_len = 16 + ecdb_len;
    *bidi_read_len = bidi ? load_be32(bidi) : 0;
    return ISCSI_REJECT_NONE;
}
