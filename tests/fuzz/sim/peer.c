/*
 * peer.c - a hostile initiator's connection: login, numbers, and the judging of answers
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "scsi/scsi.h"
#include "tests/fuzz/sim/peer.h"

#define ANSWER_MAX (16u * 1024)             /* bytes that any request may bring back beside its data */
#define ANSWER_LENIENT (32u << 20)          /* the largest read that there is, and more */
#define ANSWERS_SPARE (256u * 1024)         /* pings and messages that nobody asked for */

static void finding(const struct peer *p, const char *what, const uint8_t *bhs)
{
    (void)p;
    fprintf(stderr, "the target broke a rule: %s\n", what);
    for (unsigned i = 0; bhs && i < ISCSI_BHS_LEN; i++)
        fprintf(stderr, "%02x%s", bhs[i], i % 16 == 15 ? "\n" : " ");
    abort();
}

const uint8_t *peer_pattern(void)
{
    static uint8_t pattern[PEER_PATTERN_LEN];

    if (!pattern[1])
        for (uint32_t i = 0; i < sizeof(pattern); i++)
            pattern[i] = (uint8_t)(i * 31 + (i >> 8));
    return pattern;
}

/* ---- sending --------------------------------------------------------------------------------------------- */

void peer_bhs(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], uint8_t opcode, bool immediate)
{
    memset(bhs, 0, ISCSI_BHS_LEN);
    bhs[0] = (uint8_t)(opcode | (immediate ? 0x40 : 0));
    bhs[1] = 0x80;
    store_be32(&bhs[16], ++p->itt);
    store_be32(&bhs[24], p->cmd_sn);
    store_be32(&bhs[28], p->exp_stat_sn);
    p->cmd_sn += !immediate;
}

void peer_send(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], const void *ahs, uint32_t ahs_len,
               const void *data, uint32_t len)
{
    bhs[4] = (uint8_t)(ahs_len / 4);
    store_be24(&bhs[5], len);
    p->allowed += ANSWER_MAX + len;         /* a ping comes back whole */
    wire_send(&p->w, bhs, ahs, ahs_len, data, len);
}

void peer_expect(struct peer *p, uint32_t itt, uint32_t edtl)
{
    struct peer_cmd *c = NULL;

    for (unsigned i = 0; i < PEER_CMDS && i < p->cmd_nr && !c; i++)
        c = p->cmd[i].itt == itt ? &p->cmd[i] : NULL;
    if (!c) {
        c = &p->cmd[p->cmd_nr++ % PEER_CMDS];
        *c = (struct peer_cmd){ .itt = itt };
    }
    if (edtl > c->edtl)                     /* a tag used twice: the larger one is right for both */
        c->edtl = edtl;
    p->allowed += edtl < (64u << 20) ? edtl + edtl / 8 : 72u << 20;
}

void peer_lenient(struct peer *p)
{
    p->lenient = true;
    p->allowed += ANSWER_LENIENT;
}

void peer_answer_r2t(struct peer *p)
{
    const struct peer_r2t r = p->r2t_nr ? p->r2t[(p->r2t_nr - 1) % PEER_R2TS] : (struct peer_r2t){ 0 };
    uint8_t bhs[ISCSI_BHS_LEN];
    uint32_t sn = 0;

    if (!p->r2t_nr)
        return;
    p->r2t_nr--;
    for (uint32_t at = 0, len; at < r.len; at += len) {
        len = r.len - at < 65536 ? r.len - at : 65536;
        peer_bhs(p, bhs, ISCSI_OP_DATA_OUT, true);
        p->itt--;
        bhs[0] = ISCSI_OP_DATA_OUT;
        bhs[1] = at + len == r.len ? 0x80 : 0;
        store_be64(&bhs[8], r.lun);
        store_be32(&bhs[16], r.itt);
        store_be32(&bhs[20], r.ttt);
        store_be32(&bhs[24], 0);
        store_be32(&bhs[36], sn++);
        store_be32(&bhs[40], r.off + at);
        peer_send(p, bhs, NULL, 0, peer_pattern() + (r.off + at) % 1024, len);
    }
}

/* ---- login ----------------------------------------------------------------------------------------------- */

void peer_login_send(struct peer *p, uint8_t flags, uint8_t version_max, uint8_t version_min)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, ISCSI_OP_LOGIN, true);
    bhs[1] = flags;
    bhs[2] = version_max;
    bhs[3] = version_min;
    memcpy(&bhs[8], p->isid, sizeof(p->isid));
    store_be16(&bhs[14], p->tsih);
    p->itt--;
    store_be32(&bhs[16], p->itt);
    store_be16(&bhs[20], p->cid);
    store_be16(&bhs[22], 0);
    peer_send(p, bhs, NULL, 0, p->text.buf, p->text.len);
    p->text.len = 0;
}

static void login_honest(struct peer *p)
{
    const struct peer_login *l = &p->login;
    char number[16];

    p->text.len = 0;
    keys_add_pair(&p->text, "InitiatorName", l->initiator);
    if (l->target)
        keys_add_pair(&p->text, "TargetName", l->target);
    keys_add_pair(&p->text, "SessionType", l->target ? "Normal" : "Discovery");
    if (l->digests) {
        keys_add_pair(&p->text, "HeaderDigest", "CRC32C");
        keys_add_pair(&p->text, "DataDigest", "CRC32C");
    }
    if (l->target) {
        keys_add_pair(&p->text, "InitialR2T", l->initial_r2t ? "Yes" : "No");
        keys_add_pair(&p->text, "ImmediateData", l->immediate_data ? "Yes" : "No");
        keys_add_pair(&p->text, "MaxOutstandingR2T", "4");
    }
    snprintf(number, sizeof(number), "%u", l->recv_max);
    keys_add_pair(&p->text, "MaxRecvDataSegmentLength", number);
    p->recv_max = l->recv_max;
    p->isid[0] = 0x80;
    p->isid[5] = l->isid;
    peer_login_send(p, 0x87, 0, 0);         /* T, operational, to full feature phase */
}

static bool got_has(const struct peer *p, const char *pair)
{
    const size_t n = strlen(pair) + 1;

    for (uint32_t at = 0; at + n <= p->got_len; at++) {
        if (!memcmp(p->got + at, pair, n) && (!at || !p->got[at - 1]))
            return true;
    }
    return false;
}

void peer_chap(struct peer *p, bool begin)
{
    static const uint8_t random[33] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 };
    char room[4096], copy[sizeof(p->got)];
    struct iscsi_text out;

    iscsi_text_init(&out, room, sizeof(room));
    if (begin) {
        chap_initiator_init(&p->chap, &p->user, p->user_in.secret_len ? &p->user_in : NULL, CHAP_ALGS_ALL,
                            random);
        chap_initiator_step(&p->chap, NULL, 0, &out);
    } else if (p->chap.out) {
        memcpy(copy, p->got, p->got_len);
        chap_initiator_step(&p->chap, copy, p->got_len, &out);
    }
    keys_add_raw(&p->text, room, out.len);
}

/* ---- judging --------------------------------------------------------------------------------------------- */

static void text_keep(struct peer *p, const uint8_t *data, uint32_t len)
{
    p->got_len = len < sizeof(p->got) ? len : (uint32_t)sizeof(p->got) - 1;
    memcpy(p->got, data, p->got_len);
    p->digest[0] |= got_has(p, "HeaderDigest=CRC32C");
    p->digest[1] |= got_has(p, "DataDigest=CRC32C");
}

static void on_login(struct peer *p, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len)
{
    if (p->state != PEER_LOGIN)
        finding(p, "a Login Response outside the login", NULL);
    p->status = pdu->login.status;
    text_keep(p, data, len);
    if (pdu->login.status || !pdu->login.transit || pdu->login.nsg != ISCSI_STAGE_FULL_FEATURE)
        return;
    p->tsih = pdu->login.tsih;
    p->state = PEER_FULL;
    p->w.header_digest = p->digest[0];
    p->w.data_digest = p->digest[1];
    if (!p->scripted && p->full)
        p->full(p);
}

static void on_data_in(struct peer *p, const struct iscsi_pdu *pdu, const uint8_t *bhs)
{
    const struct peer_cmd *c = NULL;

    for (unsigned i = 0; i < PEER_CMDS && i < p->cmd_nr && !c; i++)
        c = p->cmd[i].itt == pdu->itt ? &p->cmd[i] : NULL;
    if (p->lenient)
        return;
    if (!c && p->cmd_nr <= PEER_CMDS)
        finding(p, "Data-In for a command that was never sent", bhs);
    if (c && (pdu->resp.offset > c->edtl || pdu->data_len > c->edtl - pdu->resp.offset))
        finding(p, "Data-In past the expected length of its command", bhs);
}

static void on_r2t(struct peer *p, const struct iscsi_pdu *pdu, const uint8_t *bhs)
{
    const struct peer_cmd *c = NULL;

    for (unsigned i = 0; i < PEER_CMDS && i < p->cmd_nr && !c; i++)
        c = p->cmd[i].itt == pdu->itt ? &p->cmd[i] : NULL;
    if (c && !p->lenient && (pdu->r2t.offset > c->edtl || pdu->r2t.length > c->edtl - pdu->r2t.offset))
        finding(p, "an R2T past the expected length of its command", bhs);
    p->r2t[p->r2t_nr++ % PEER_R2TS] = (struct peer_r2t){ .lun = pdu->lun, .itt = pdu->itt, .ttt = pdu->ttt,
                                                         .off = pdu->r2t.offset, .len = pdu->r2t.length };
    if (p->auto_data)
        peer_answer_r2t(p);
}

static void judge_sizes(struct peer *p, const struct iscsi_pdu *pdu, const uint8_t *bhs)
{
    const uint32_t max = p->state != PEER_FULL ? ISCSI_LOGIN_DATA_MAX : p->recv_max;

    if (max && !p->lenient && pdu->data_len > max)
        finding(p, "a data segment longer than was declared", bhs);
    if (pdu->opcode == ISCSI_OP_SCSI_RESP && pdu->data_len > 2 + SCSI_SENSE_LEN_MAX)
        finding(p, "a SCSI Response with more than sense data", bhs);
    if (p->w.rx_bytes > p->allowed + ANSWERS_SPARE)
        finding(p, "more bytes in all than were asked for", bhs);
}

static void on_pdu(struct wire *w, const uint8_t *bhs, const uint8_t *data, uint32_t len)
{
    struct peer *p = container_of(w, struct peer, w);
    struct iscsi_pdu pdu;

    if (iscsi_pdu_decode(&pdu, bhs, ISCSI_FROM_TARGET))
        finding(p, "a PDU that cannot be", bhs);
    judge_sizes(p, &pdu, bhs);
    if (pdu.opcode != ISCSI_OP_R2T && !(pdu.opcode == ISCSI_OP_DATA_IN && !pdu.resp.has_status) &&
        !(pdu.opcode == ISCSI_OP_NOP_IN && pdu.itt == ISCSI_TAG_RESERVED))
        p->exp_stat_sn = pdu.stat_sn + 1;
    switch (pdu.opcode) {
    case ISCSI_OP_LOGIN_RESP:
        on_login(p, &pdu, data, len);
        break;
    case ISCSI_OP_TEXT_RESP:
        text_keep(p, data, len);
        p->ttt = pdu.ttt;
        break;
    case ISCSI_OP_DATA_IN:
        on_data_in(p, &pdu, bhs);
        break;
    case ISCSI_OP_R2T:
        on_r2t(p, &pdu, bhs);
        break;
    case ISCSI_OP_NOP_IN:
        p->ttt = pdu.ttt;
        break;
    default:
        break;
    }
}

static void on_ended(struct wire *w, int err)
{
    (void)err;
    peer_close(container_of(w, struct peer, w));
}

static const struct wire_events peer_events = { on_pdu, on_ended };

/* ---- life ------------------------------------------------------------------------------------------------ */

static void on_connected(struct rt_op *op, int res)
{
    struct peer *p = container_of(op, struct peer, conn_op);

    if (p->state != PEER_CONNECTING) {      /* closed meanwhile */
        if (!res)
            rt_sock_close(p->fresh);
        p->state = PEER_CLOSED;
        return;
    }
    if (res) {
        p->state = PEER_CLOSED;
        return;
    }
    p->state = PEER_LOGIN;
    wire_open(&p->w, p->fresh);
    if (!p->scripted)
        login_honest(p);
}

static void cred_set(struct chap_cred *c, const char *name, const char *secret)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->secret_len = (uint32_t)strlen(secret);
    memcpy(c->secret, secret, c->secret_len);
}

void peer_init(struct peer *p, struct rt *rt)
{
    memset(p, 0, sizeof(*p));
    wire_init(&p->w, rt, &peer_events);
    p->conn_op.done = on_connected;
    cred_set(&p->user, FUZZ_USER, FUZZ_SECRET);
    cred_set(&p->user_in, FUZZ_USER_OUT, FUZZ_SECRET_OUT);
}

void peer_open(struct peer *p, const struct rt_addr *to, const struct peer_login *login)
{
    assert(peer_idle(p));
    p->scripted = !login;
    if (login)
        p->login = *login;
    memset(p->isid, 0, sizeof(p->isid));
    p->isid[0] = 0x80;
    p->tsih = p->cid = p->status = 0;
    p->cmd_sn = 1000;
    p->exp_stat_sn = 0;
    p->itt = 1;
    p->ttt = ISCSI_TAG_RESERVED;
    p->recv_max = 0;
    p->auto_data = true;
    p->lenient = false;
    p->digest[0] = p->digest[1] = false;
    p->cmd_nr = p->r2t_nr = 0;
    p->w.rx_bytes = p->allowed = 0;
    p->text.len = p->got_len = 0;
    p->chap.out = NULL;
    p->state = PEER_CONNECTING;
    rt_connect(p->w.rt, &p->conn_op, to, &p->fresh);
}

void peer_close(struct peer *p)
{
    switch (p->state) {
    case PEER_CONNECTING:
        p->state = PEER_CLOSING;
        rt_cancel(&p->conn_op);
        break;
    case PEER_LOGIN:
    case PEER_FULL:
        wire_close(&p->w);
        p->state = PEER_CLOSED;
        break;
    default:
        break;
    }
}

bool peer_idle(const struct peer *p)
{
    return p->state == PEER_CLOSED && wire_idle(&p->w);
}
