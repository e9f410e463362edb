/*
 * foe_disk.c - what an honest target answers: login, discovery, a small disk in memory
 */
#include <stdio.h>
#include <string.h>
#include "scsi/scsi.h"
#include "tests/fuzz/sim/foe.h"

#define FOE_DATA_MAX 65536u                 /* of one Data-In PDU */

static const uint8_t naa[8] = { 0x50, 0x01, 0x40, 0x5a, 0xab, 0xbc, 0xcd, 0xd1 };

/* ---- PDUs ------------------------------------------------------------------------------------------------ */

void foe_send(struct foe_conn *c, uint8_t bhs[static ISCSI_BHS_LEN], const void *data, uint32_t len,
              bool advance)
{
    store_be24(&bhs[5], len);
    store_be32(&bhs[24], c->stat_sn);
    c->stat_sn += advance;
    store_be32(&bhs[28], c->exp_cmd_sn + (uint32_t)c->sn_shift);
    store_be32(&bhs[32], c->exp_cmd_sn + (uint32_t)c->sn_shift + (uint32_t)c->window - 1);
    memcpy(c->last, bhs, ISCSI_BHS_LEN);
    c->last_len = len < sizeof(c->last_data) ? len : (uint32_t)sizeof(c->last_data);
    if (c->last_len)
        memcpy(c->last_data, data, c->last_len);
    wire_send(&c->w, bhs, NULL, 0, data, len);
}

static void answer_head(uint8_t bhs[static ISCSI_BHS_LEN], uint8_t opcode, uint32_t itt)
{
    memset(bhs, 0, ISCSI_BHS_LEN);
    bhs[0] = opcode;
    bhs[1] = 0x80;
    store_be32(&bhs[16], itt);
    store_be32(&bhs[20], ISCSI_TAG_RESERVED);
}

static void status(struct foe_conn *c, uint32_t itt, uint8_t st, uint32_t underflow)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    answer_head(bhs, ISCSI_OP_SCSI_RESP, itt);
    store_be32(&bhs[20], 0);
    bhs[3] = st;
    if (underflow)
        bhs[1] |= 0x02;
    store_be32(&bhs[44], underflow);
    foe_send(c, bhs, NULL, 0, true);
}

static void sense(struct foe_conn *c, const struct iscsi_pdu *pdu, uint8_t key, uint8_t asc)
{
    const struct scsi_sense s = SCSI_SENSE(key, asc, 0);
    uint8_t bhs[ISCSI_BHS_LEN], data[34];
    const uint32_t n = scsi_sense_encode(data + 2, &s, false);

    store_be16(data, (uint16_t)n);
    answer_head(bhs, ISCSI_OP_SCSI_RESP, pdu->itt);
    store_be32(&bhs[20], 0);
    bhs[3] = SCSI_CHECK_CONDITION;
    if (pdu->cmd.edtl)
        bhs[1] |= 0x02;
    store_be32(&bhs[44], pdu->cmd.edtl);
    foe_send(c, bhs, data, n + 2, true);
}

static void data_in(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t all)
{
    const uint32_t n = all < pdu->cmd.edtl ? all : pdu->cmd.edtl;
    uint32_t step = c->peer_recv_max < FOE_DATA_MAX ? c->peer_recv_max : FOE_DATA_MAX, sn = 0;
    uint8_t bhs[ISCSI_BHS_LEN];

    if (!n) {
        status(c, pdu->itt, SCSI_GOOD, pdu->cmd.edtl);
        return;
    }
    for (uint32_t at = 0, len; at < n; at += len) {
        const bool end = n - at <= step;

        len = end ? n - at : step;
        answer_head(bhs, ISCSI_OP_DATA_IN, pdu->itt);
        bhs[1] = end ? 0x81 : 0;
        store_be32(&bhs[36], sn++);
        store_be32(&bhs[40], at);
        if (end && n < pdu->cmd.edtl) {
            bhs[1] |= 0x02;
            store_be32(&bhs[44], pdu->cmd.edtl - n);
        }
        foe_send(c, bhs, data + at, len, end);
    }
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static void inquiry(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    uint8_t d[96] = { 0, [2] = 6, [3] = 2, [4] = 91 };
    const uint8_t *cdb = pdu->cmd.cdb;

    if (!(cdb[1] & 1)) {
        d[5] = c->foe->groups ? 0x30 : 0;
        memcpy(d + 8, "CORELANEFUZZ DISK       1.0 ", 28);
        data_in(c, pdu, d, sizeof(d));
        return;
    }
    memset(d, 0, sizeof(d));
    d[1] = cdb[2];
    switch (cdb[2]) {
    case 0x00:
        memcpy(d + 4, "\x00\x80\x83\xb0\xb1\xb2", d[3] = 6);
        data_in(c, pdu, d, 10);
        return;
    case 0x80:
        memcpy(d + 4, "0123456789abcdef", d[3] = 16);
        data_in(c, pdu, d, 20);
        return;
    case 0x83:
        d[3] = 12;
        d[4] = 1;
        d[5] = 3;
        d[7] = 8;
        memcpy(d + 8, naa, sizeof(naa));
        if (c->foe->groups) {
            memcpy(d + 16, (uint8_t[]){ 1, 0x94, 0, 4, 0, 0, 0, 1, 1, 0x95, 0, 4, 0, 0, 0, 2 }, 16);
            d[3] += 16;
        }
        data_in(c, pdu, d, 4u + d[3]);
        return;
    case 0xb0:
        d[3] = 0x3c;
        store_be32(d + 8, 16);              /* short: requests are split */
        store_be32(d + 20, 64);
        store_be32(d + 24, 1);
        data_in(c, pdu, d, 64);
        return;
    case 0xb1:
        d[3] = 0x3c;
        d[5] = 1;
        data_in(c, pdu, d, 64);
        return;
    case 0xb2:
        d[3] = 4;
        d[5] = 0xe4;
        data_in(c, pdu, d, 8);
        return;
    default:
        sense(c, pdu, SCSI_ILLEGAL_REQUEST, 0x24);
    }
}

static void capacity(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    uint8_t d[32] = { 0 };

    if (pdu->cmd.cdb[0] == SCSI_READ_CAPACITY_10) {
        store_be32(d, FOE_BLOCKS - 1);
        store_be32(d + 4, FOE_BLOCK_LEN);
        data_in(c, pdu, d, 8);
        return;
    }
    store_be64(d, FOE_BLOCKS - 1);
    store_be32(d + 8, FOE_BLOCK_LEN);
    d[14] = 0xc0;
    data_in(c, pdu, d, sizeof(d));
}

static void report_luns(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    const uint8_t d[16] = { [3] = 8 };

    data_in(c, pdu, d, sizeof(d));
}

static void groups(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    static const uint8_t d[16] = { [3] = 12, [7] = 2, [11] = 1, [15] = 1 };

    if (!c->foe->groups)
        sense(c, pdu, SCSI_ILLEGAL_REQUEST, 0x20);
    else if (pdu->cmd.cdb[0] == SCSI_MAINTENANCE_IN)
        data_in(c, pdu, d, sizeof(d));
    else
        status(c, pdu->itt, SCSI_GOOD, 0);
}

static void mode_sense(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    const uint8_t six[24] = { 23, 0, 0x10, 0, 0x08, 18, 0x04 },
                  ten[28] = { 0, 26, 0, 0x10, 0, 0, 0, 0, 0x08, 18, 4 };

    if (pdu->cmd.cdb[0] == SCSI_MODE_SENSE_6)
        data_in(c, pdu, six, sizeof(six));
    else
        data_in(c, pdu, ten, sizeof(ten));
}

/* ---- reads and writes ------------------------------------------------------------------------------------ */

/* Bytes from the start of the disk; false: the range is not on it. */
static bool range(const struct iscsi_pdu *pdu, uint64_t *at, uint32_t *len)
{
    const uint8_t *cdb = pdu->cmd.cdb;
    const bool sixteen = cdb[0] >> 5 == 4;
    const uint64_t lba = sixteen ? load_be64(cdb + 2) : load_be32(cdb + 2);
    const uint32_t blocks = sixteen ? load_be32(cdb + 10) : load_be16(cdb + 7);

    if (lba > FOE_BLOCKS || blocks > FOE_BLOCKS - lba)
        return false;
    *at = lba * FOE_BLOCK_LEN;
    *len = blocks * FOE_BLOCK_LEN;
    return true;
}

static void write_go_on(struct foe_conn *c, struct foe_write *w)
{
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint32_t left = w->edtl - w->have, len = left < c->burst_max ? left : c->burst_max;

    if (!left) {
        w->used = false;
        status(c, w->itt, SCSI_GOOD, 0);
        return;
    }
    w->solicited = true;
    w->ttt++;
    answer_head(bhs, ISCSI_OP_R2T, w->itt);
    store_be32(&bhs[20], w->ttt);
    store_be32(&bhs[36], w->r2t_sn++);
    store_be32(&bhs[40], w->have);
    store_be32(&bhs[44], len);
    foe_send(c, bhs, NULL, 0, false);
}

static void write_take(struct foe_conn *c, struct foe_write *w, const uint8_t *data, uint32_t len, bool final)
{
    const uint32_t n = len < w->edtl - w->have ? len : w->edtl - w->have;

    memcpy(c->foe->disk + w->at + w->have, data, n);
    w->have += n;
    if (final)
        write_go_on(c, w);
}

static void write_begin(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    struct foe_write *w = NULL;
    uint64_t at;
    uint32_t all;

    for (unsigned i = 0; i < FOE_WRITES && !w; i++)
        w = c->write[i].used ? NULL : &c->write[i];
    if (!w || !range(pdu, &at, &all) || all != pdu->cmd.edtl) {
        sense(c, pdu, SCSI_ILLEGAL_REQUEST, w ? 0x21 : 0x24);
        return;
    }
    *w = (struct foe_write){ .itt = pdu->itt, .edtl = pdu->cmd.edtl, .at = at, .used = true, .ttt = pdu->itt };
    write_take(c, w, data, len, pdu->final);
}

void foe_data_out(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    for (unsigned i = 0; i < FOE_WRITES; i++) {
        struct foe_write *w = &c->write[i];

        if (!w->used || w->itt != pdu->itt || (w->solicited && pdu->ttt != w->ttt))
            continue;
        if (pdu->data_out.offset == w->have)
            write_take(c, w, data, len, pdu->final);
        return;
    }
}

static void zero(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    uint64_t at = 0;
    uint32_t n = 0;

    if (pdu->cmd.cdb[0] == SCSI_UNMAP) {
        if (len == 24 && load_be64(data + 8) < FOE_BLOCKS &&
            load_be32(data + 16) <= FOE_BLOCKS - load_be64(data + 8)) {
            at = load_be64(data + 8) * FOE_BLOCK_LEN;
            n = load_be32(data + 16) * FOE_BLOCK_LEN;
        }
    } else if (!range(pdu, &at, &n)) {
        sense(c, pdu, SCSI_ILLEGAL_REQUEST, 0x21);
        return;
    }
    memset(c->foe->disk + at, 0, n);
    status(c, pdu->itt, SCSI_GOOD, pdu->cmd.edtl > len ? pdu->cmd.edtl - len : 0);
}

static void command(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    uint64_t at;
    uint32_t n;

    switch (pdu->cmd.cdb[0]) {
    case SCSI_TEST_UNIT_READY:
    case SCSI_SYNC_CACHE_10:
    case SCSI_SYNC_CACHE_16:
        status(c, pdu->itt, SCSI_GOOD, pdu->cmd.edtl);
        return;
    case SCSI_INQUIRY:          inquiry(c, pdu);             return;
    case SCSI_READ_CAPACITY_10:
    case SCSI_SERVICE_IN_16:    capacity(c, pdu);            return;
    case SCSI_REPORT_LUNS:      report_luns(c, pdu);         return;
    case SCSI_MODE_SENSE_6:
    case SCSI_MODE_SENSE_10:    mode_sense(c, pdu);          return;
    case SCSI_MAINTENANCE_IN:
    case SCSI_MAINTENANCE_OUT:  groups(c, pdu);              return;
    case SCSI_UNMAP:
    case SCSI_WRITE_SAME_16:    zero(c, pdu, data, len);     return;
    case SCSI_WRITE_10:
    case SCSI_WRITE_16:         write_begin(c, pdu, data, len); return;
    case SCSI_READ_10:
    case SCSI_READ_16:
        if (range(pdu, &at, &n))
            data_in(c, pdu, c->foe->disk + at, n);
        else
            sense(c, pdu, SCSI_ILLEGAL_REQUEST, 0x21);
        return;
    default:
        sense(c, pdu, SCSI_ILLEGAL_REQUEST, 0x20);
    }
}

/* ---- login and text -------------------------------------------------------------------------------------- */

void foe_chap(struct foe_conn *c, struct keys_text *out)
{
    static const uint8_t random[33] = { 9, 8, 7, 6, 5, 4, 3, 2, 1 };
    char room[4096], copy[KEYS_TEXT_MAX];
    struct iscsi_text t;

    if (!c->chap_on)
        chap_target_init(&c->chap, CHAP_ALGS_ALL, random);
    c->chap_on = true;
    iscsi_text_init(&t, room, sizeof(room));
    memcpy(copy, c->text_in, c->text_in_len);
    chap_target_step(&c->chap, &c->foe->user, 1, &c->foe->user_out, copy, c->text_in_len, &t);
    keys_add_raw(out, room, t.len);
}

static bool text_has(const struct foe_conn *c, const char *pair)
{
    const size_t n = strlen(pair);

    for (uint32_t at = 0; at + n < c->text_in_len; at++) {
        if (!memcmp(c->text_in + at, pair, n) && !c->text_in[at + n] && (!at || !c->text_in[at - 1]))
            return true;
    }
    return false;
}

static const struct iscsi_params *offer_of(const struct foe *f)
{
    static const struct iscsi_params plain = {
        .connections_max = 1, .immediate_data = 1, .recv_data_max = FOE_RECV_MAX, .burst_max = 65536,
        .first_burst_max = 16384, .time2wait_s = 0, .r2t_max = 1, .pdu_in_order = 1, .seq_in_order = 1,
    }, digests = {
        .connections_max = 1, .immediate_data = 1, .recv_data_max = FOE_RECV_MAX, .burst_max = 4096,
        .first_burst_max = 1024, .time2wait_s = 0, .r2t_max = 4, .pdu_in_order = 1, .seq_in_order = 1,
        .header_digest_pref = ISCSI_DIGEST_CRC32C_NONE, .data_digest_pref = ISCSI_DIGEST_CRC32C_NONE,
    };

    return f->digests ? &digests : &plain;
}

static void negotiate(struct foe_conn *c, struct keys_text *out)
{
    char room[4096], copy[KEYS_TEXT_MAX], *key, *value;
    struct iscsi_text t;
    uint32_t pos = 0;

    if (!c->neg_begun)
        iscsi_negotiation_init(&c->neg, ISCSI_TARGET, text_has(c, "SessionType=Discovery"), offer_of(c->foe));
    c->neg_begun = true;
    iscsi_text_init(&t, room, sizeof(room));
    memcpy(copy, c->text_in, c->text_in_len);
    while (iscsi_text_next(copy, c->text_in_len, &pos, &key, &value) > 0)
        iscsi_negotiation_take(&c->neg, key, value, &t);
    keys_add_raw(out, room, t.len);
}

void foe_login(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    struct keys_text out = { .len = 0 };
    uint8_t bhs[ISCSI_BHS_LEN];
    bool transit = pdu->login.transit;

    (void)data, (void)len;
    answer_head(bhs, ISCSI_OP_LOGIN_RESP, pdu->itt);
    if (pdu->login.csg == ISCSI_STAGE_SECURITY) {
        if (text_has(c, "AuthMethod=CHAP"))
            keys_add_pair(&out, "AuthMethod", "CHAP");
        else if (text_has(c, "AuthMethod=None"))
            keys_add_pair(&out, "AuthMethod", "None");
        else
            foe_chap(c, &out);
    } else {
        negotiate(c, &out);
    }
    if (pdu->login.cont)
        transit = false;
    bhs[1] = (uint8_t)((transit ? 0x80 | pdu->login.nsg : 0) | pdu->login.csg << 2);
    memcpy(&bhs[8], pdu->login.isid, 6);
    store_be16(&bhs[14], transit && pdu->login.nsg == ISCSI_STAGE_FULL_FEATURE ? 1 : pdu->login.tsih);
    store_be32(&bhs[20], 0);
    foe_send(c, bhs, out.buf, out.len, true);
    if (transit && pdu->login.nsg == ISCSI_STAGE_FULL_FEATURE) {
        iscsi_negotiation_finish(&c->neg);
        c->full = true;
        c->peer_recv_max =
            c->neg.result.peer_recv_data_max ? c->neg.result.peer_recv_data_max : ISCSI_LOGIN_DATA_MAX;
        c->burst_max = c->neg.result.burst_max ? c->neg.result.burst_max : 65536;
        c->w.header_digest = c->neg.result.header_digest;
        c->w.data_digest = c->neg.result.data_digest;
    }
}

void foe_text(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    struct keys_text out = { .len = 0 };
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)data, (void)len;
    if (text_has(c, "SendTargets=All")) {
        keys_add_pair(&out, "TargetName", FUZZ_TARGET);
        keys_add_pair(&out, "TargetAddress", "10.0.0.2:3260,1");
        keys_add_pair(&out, "TargetName", FUZZ_TARGET_GOOD);
    }
    answer_head(bhs, ISCSI_OP_TEXT_RESP, pdu->itt);
    foe_send(c, bhs, out.buf, out.len, true);
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static void simple(struct foe_conn *c, const struct iscsi_pdu *pdu, uint8_t opcode, const void *data,
                   uint32_t len)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    answer_head(bhs, opcode, pdu->itt);
    if (opcode != ISCSI_OP_NOP_IN)
        store_be32(&bhs[20], 0);
    foe_send(c, bhs, data, len, true);
}

void foe_honest(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    switch (pdu->opcode) {
    case ISCSI_OP_LOGIN:
        foe_login(c, pdu, data, len);
        return;
    case ISCSI_OP_SCSI_CMD:
        command(c, pdu, data, len);
        return;
    case ISCSI_OP_TEXT:
        foe_text(c, pdu, data, len);
        return;
    case ISCSI_OP_NOP_OUT:
        if (pdu->itt != ISCSI_TAG_RESERVED)
            simple(c, pdu, ISCSI_OP_NOP_IN, data, len);
        return;
    case ISCSI_OP_TMF:
        for (unsigned i = 0; i < FOE_WRITES; i++)   /* what waits for data is gone, whichever it meant */
            c->write[i].used &=
                pdu->tmf.function == ISCSI_TMF_ABORT_TASK && c->write[i].itt != pdu->tmf.ref_task_tag;
        simple(c, pdu, ISCSI_OP_TMF_RESP, NULL, 0);
        return;
    case ISCSI_OP_LOGOUT:
        simple(c, pdu, ISCSI_OP_LOGOUT_RESP, NULL, 0);
        c->bye = true;
        return;
    default:
        return;
    }
}
