/*
 * foe.c - the hostile target: connections, and answers by script
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "scsi/scsi.h"
#include "tests/fuzz/sim/foe.h"

/* ---- what the operations send ---------------------------------------------------------------------------- */

static uint32_t tag_of(struct foe_conn *c, const struct iscsi_pdu *pdu, uint8_t how)
{
    (void)c;
    switch (how) {
    case 0:  return pdu->itt;
    case 1:  return ISCSI_TAG_RESERVED;
    case 2:  return pdu->itt - 1;
    case 3:  return pdu->itt + 1;
    case 4:  return pdu->itt + 0x10000;
    default: return pdu->itt ^ how;
    }
}

static void head(uint8_t bhs[static ISCSI_BHS_LEN], uint8_t opcode, uint8_t flags, uint32_t itt)
{
    memset(bhs, 0, ISCSI_BHS_LEN);
    bhs[0] = opcode;
    bhs[1] = flags;
    store_be32(&bhs[16], itt);
    store_be32(&bhs[20], ISCSI_TAG_RESERVED);
}

static void do_status(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    static const uint8_t statuses[] = { SCSI_GOOD,          SCSI_CHECK_CONDITION,
                                        SCSI_BUSY,          SCSI_RESERVATION_CONFLICT,
                                        SCSI_TASK_SET_FULL, SCSI_TASK_ABORTED,
                                        SCSI_CONDITION_MET, SCSI_ACA_ACTIVE };
    const uint8_t st = arg_u8(a), key = arg_u8(a), asc = arg_u8(a), ascq = arg_u8(a), flags = arg_u8(a);
    const struct scsi_sense s = SCSI_SENSE(key, asc, ascq);
    uint8_t bhs[ISCSI_BHS_LEN], data[34] = { 0 };
    uint32_t n = 0;

    head(bhs, ISCSI_OP_SCSI_RESP, (uint8_t)(0x80 | (flags & 0x1e)), 0);
    bhs[2] = flags >> 5;
    bhs[3] = st < 128 ? statuses[st % ARRAY_SIZE(statuses)] : st;
    store_be32(&bhs[44], arg_u32(a));
    store_be32(&bhs[16], tag_of(c, pdu, arg_u8(a)));
    c->stat_sn += (uint32_t)(int8_t)arg_u8(a);
    if (key) {
        n = scsi_sense_encode(data + 2, &s, flags & 1);
        store_be16(data, (uint16_t)n);
        n += 2;
    }
    foe_send(c, bhs, data, n, true);
}

static void do_data_in(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    static uint8_t room[FOE_BLOCKS * FOE_BLOCK_LEN];
    const uint8_t flags = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint8_t *given;
    uint32_t len;
    size_t n;

    head(bhs, ISCSI_OP_DATA_IN, flags, 0);
    store_be32(&bhs[40], arg_u32(a));
    len = arg_u16(a);
    bhs[39] = arg_u8(a);
    store_be32(&bhs[44], arg_u32(a));
    store_be32(&bhs[16], tag_of(c, pdu, arg_u8(a)));
    c->stat_sn += (uint32_t)(int8_t)arg_u8(a);
    given = arg_rest(a, &n);
    if (n) {                                /* these bytes, and zeroes behind them */
        len = len < n ? (uint32_t)n : len;
        memset(room, 0, len);
        memcpy(room, given, n);
        foe_send(c, bhs, room, len, flags & 1);
    } else {
        foe_send(c, bhs, c->foe->disk, len, flags & 1);
    }
}

static void do_r2t(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    head(bhs, ISCSI_OP_R2T, 0x80, 0);
    store_be64(&bhs[8], pdu->lun);
    store_be32(&bhs[40], arg_u32(a));
    store_be32(&bhs[44], arg_u32(a));
    store_be32(&bhs[36], arg_u8(a));
    store_be32(&bhs[20], arg_u8(a));
    store_be32(&bhs[16], tag_of(c, pdu, arg_u8(a)));
    foe_send(c, bhs, NULL, 0, false);
}

static void do_reject(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *req, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN], data[ISCSI_BHS_LEN];
    const uint8_t reason = arg_u8(a), whose = arg_u8(a);

    head(bhs, ISCSI_OP_REJECT, 0x80, ISCSI_TAG_RESERVED);
    bhs[2] = reason;
    memcpy(data, whose & 1 ? c->last : req, sizeof(data));
    store_be32(&data[16], tag_of(c, pdu, arg_u8(a)));
    foe_send(c, bhs, data, whose & 2 ? 20 : sizeof(data), true);
}

static void do_async(struct foe_conn *c, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN], data[34] = { 0 };
    const struct scsi_sense s = SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x3f, 0x0e);

    head(bhs, ISCSI_OP_ASYNC, 0x80, ISCSI_TAG_RESERVED);
    bhs[36] = arg_u8(a);
    store_be16(&bhs[38], arg_u16(a) % 16);
    store_be16(&bhs[40], arg_u16(a) % 16);
    store_be16(&bhs[42], arg_u16(a) % 16);
    store_be16(data, (uint16_t)scsi_sense_encode(data + 2, &s, false));
    foe_send(c, bhs, data, arg_u8(a) & 1 ? 20 : 0, true);
}

static void do_ping(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint8_t how = arg_u8(a);
    const uint32_t len = arg_u16(a) % WIRE_KEEP;

    head(bhs, ISCSI_OP_NOP_IN, 0x80, how & 1 ? pdu->itt : ISCSI_TAG_RESERVED);
    if (how & 2)
        store_be32(&bhs[20], how);
    foe_send(c, bhs, c->foe->disk, len, arg_u8(a) & 1);
}

static void do_simple(struct foe_conn *c, const struct iscsi_pdu *pdu, uint8_t opcode, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    head(bhs, opcode, 0x80, 0);
    store_be32(&bhs[20], 0);
    bhs[2] = arg_u8(a);
    store_be32(&bhs[16], tag_of(c, pdu, arg_u8(a)));
    store_be16(&bhs[40], arg_u16(a) % 64);
    foe_send(c, bhs, NULL, 0, true);
}

static void do_text_resp(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    const uint8_t flags = arg_u8(a), ttt = arg_u8(a);
    struct keys_text *t = &c->foe->text;
    uint8_t bhs[ISCSI_BHS_LEN];

    head(bhs, ISCSI_OP_TEXT_RESP, flags & 0xc0, tag_of(c, pdu, arg_u8(a)));
    if (!(flags & 0x80) || ttt & 1)
        store_be32(&bhs[20], ttt);
    foe_send(c, bhs, t->buf, t->len, true);
    t->len = 0;
}

static void do_login_resp(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    static const uint16_t statuses[] = {
        0,      0x0101, 0x0102, 0x0200, 0x0201, 0x0202, 0x0203, 0x0204, 0x0205,
        0x0206, 0x0207, 0x0208, 0x0209, 0x020a, 0x020b, 0x0300, 0x0301, 0x0302
    };
    struct keys_text *t = &c->foe->text;
    const uint8_t flags = arg_u8(a);
    const uint16_t st = arg_u16(a);
    const bool asked = pdu->opcode == ISCSI_OP_LOGIN;
    uint8_t bhs[ISCSI_BHS_LEN];
    bool transit;

    head(bhs, ISCSI_OP_LOGIN_RESP, 0, 0);
    /* Mostly what the stage asks for. */
    bhs[1] = flags & 0x20 || !asked ? flags & 0xcf : (uint8_t)(pdu->login.csg << 2 | (flags & 0x40));
    if (asked && !(flags & 0x70) && pdu->login.transit)
        bhs[1] |= (uint8_t)(0x80 | pdu->login.nsg);
    memcpy(&bhs[8], c->isid, 6);
    store_be32(&bhs[20], 0);
    store_be16(&bhs[36], st < 0x8000 ? statuses[st % ARRAY_SIZE(statuses)] : st);
    bhs[3] = arg_u8(a);
    store_be16(&bhs[14], (uint16_t)(arg_u8(a) ^ 1));
    store_be32(&bhs[16], tag_of(c, pdu, arg_u8(a)));
    transit = bhs[1] & 0x80 && (bhs[1] & 3) == ISCSI_STAGE_FULL_FEATURE && !load_be16(&bhs[36]);
    foe_send(c, bhs, t->buf, t->len, true);
    t->len = 0;
    if (transit)                            /* it takes it for the end of the login, if all was right */
        c->full = true;
}

static void do_raw(struct foe_conn *c, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint8_t *given;
    size_t n;

    memcpy(bhs, c->last, sizeof(bhs));
    bhs[0] = arg_u8(a);
    given = arg_rest(a, &n);
    memcpy(bhs + 1, given, n < ISCSI_BHS_LEN - 1 ? n : ISCSI_BHS_LEN - 1);
    wire_raw(&c->w, bhs, sizeof(bhs));
}

static void do_length(struct foe_conn *c, const struct iscsi_pdu *pdu, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    head(bhs, ISCSI_OP_SCSI_RESP, 0x80, pdu->itt);
    bhs[4] = arg_u8(a);
    store_be24(&bhs[5], arg_u16(a) * 257u);
    wire_raw(&c->w, bhs, sizeof(bhs));
}

/* ---- the script ------------------------------------------------------------------------------------------ */

static void later(struct foe_conn *c, const uint8_t *bhs, const uint8_t *data, uint32_t len, uint8_t how_long)
{
    struct iscsi_pdu pdu;

    if (c->late) {
        if (!iscsi_pdu_decode(&pdu, bhs, ISCSI_FROM_INITIATOR))
            foe_honest(c, &pdu, data, len);
        return;
    }
    c->late = true;
    memcpy(c->late_bhs, bhs, sizeof(c->late_bhs));
    memcpy(c->late_data, data, len);
    c->late_len = len;
    rt_timer_arm(c->w.rt, &c->later, (1 + (uint64_t)how_long * how_long) * RT_MS);
}

static void conn_over(struct foe_conn *c)
{
    rt_timer_disarm(c->w.rt, &c->later);
    rt_timer_disarm(c->w.rt, &c->hearing);
    wire_close(&c->w);
    c->open = false;
}

/* It has said goodbye: closes, once what is queued had time to leave. */
static void conn_leave(struct foe_conn *c)
{
    if (!c->bye || !c->w.sock)
        return;
    if (wire_queued(&c->w))
        rt_timer_arm(c->w.rt, &c->hearing, RT_MS);
    else
        conn_over(c);
}

static void on_later(struct rt_timer *t)
{
    struct foe_conn *c = container_of(t, struct foe_conn, later);
    struct iscsi_pdu pdu;

    c->late = false;
    if (c->w.sock && !iscsi_pdu_decode(&pdu, c->late_bhs, ISCSI_FROM_INITIATOR))
        foe_honest(c, &pdu, c->late_data, c->late_len);
    conn_leave(c);
}

static void on_hearing(struct rt_timer *t)
{
    struct foe_conn *c = container_of(t, struct foe_conn, hearing);

    if (c->bye)
        conn_over(c);
    else
        wire_listen(&c->w, true);
}

/* One that deals with a request. */
static void answer(struct foe_conn *c, struct op *op, const struct iscsi_pdu *pdu, const uint8_t *bhs,
                   const uint8_t *data, uint32_t len)
{
    struct op_args *a = &op->args;

    switch ((enum foe_op)op->kind) {
    case FOE_OP_HONEST:
        c->foe->honest = arg_u8(a);
        foe_honest(c, pdu, data, len);
        break;
    case FOE_OP_SPOIL:
        c->w.spoil.at = arg_u8(a);
        c->w.spoil.bits = arg_u8(a);
        c->w.spoil.after = arg_u8(a) & 1;
        foe_honest(c, pdu, data, len);
        break;
    case FOE_OP_DROP:        break;
    case FOE_OP_DELAY:       later(c, bhs, data, len, arg_u8(a));                     break;
    case FOE_OP_STATUS:      do_status(c, pdu, a);                                    break;
    case FOE_OP_DATA_IN:     do_data_in(c, pdu, a);                                   break;
    case FOE_OP_R2T:         do_r2t(c, pdu, a);                                       break;
    case FOE_OP_REJECT:      do_reject(c, pdu, bhs, a);                               break;
    case FOE_OP_ASYNC:       do_async(c, a);                                          break;
    case FOE_OP_PING:        do_ping(c, pdu, a);                                      break;
    case FOE_OP_TMF_RESP:    do_simple(c, pdu, ISCSI_OP_TMF_RESP, a);                 break;
    case FOE_OP_LOGOUT_RESP: do_simple(c, pdu, ISCSI_OP_LOGOUT_RESP, a);              break;
    case FOE_OP_TEXT_RESP:   do_text_resp(c, pdu, a);                                 break;
    case FOE_OP_LOGIN_RESP:  do_login_resp(c, pdu, a);                                break;
    case FOE_OP_RAW:         do_raw(c, a);                                            break;
    case FOE_OP_AGAIN:       wire_send(&c->w, c->last, NULL, 0, c->last_data, c->last_len); break;
    case FOE_OP_LENGTH:      do_length(c, pdu, a);                                    break;
    default:                 c->bye = true;                                           break;
    }
}

/* One that changes what follows. */
static void arrange(struct foe_conn *c, struct op *op)
{
    struct op_args *a = &op->args;

    switch ((enum foe_op)op->kind) {
    case FOE_OP_KEY:
        keys_add(&c->foe->text, a);
        break;
    case FOE_OP_CHAP:
        foe_chap(c, &c->foe->text);
        break;
    case FOE_OP_WINDOW:
        c->window = (int8_t)arg_u8(a);
        c->sn_shift = (int8_t)arg_u8(a);
        break;
    case FOE_OP_STAT_SN:
        c->stat_sn += (uint32_t)(int8_t)arg_u8(a);
        break;
    case FOE_OP_CHUNK:
        c->w.chunk = arg_u8(a);
        break;
    case FOE_OP_DEAF:
        wire_listen(&c->w, false);
        rt_timer_arm(c->w.rt, &c->hearing, arg_u8(a) * 20 * RT_MS);
        break;
    default:
        c->foe->hostile_logins = 1u + arg_u8(a) % 4;
        break;
    }
}

/* The script is over: what it left behind must not last for ever. */
static void script_end(struct foe *f)
{
    f->over = true;
    for (unsigned i = 0; i < FOE_CONNS; i++) {
        if (!f->conn[i])
            continue;
        f->conn[i]->window = 32;
        f->conn[i]->sn_shift = 0;
        f->conn[i]->w.chunk = 0;
        f->conn[i]->w.spoil.bits = 0;
    }
}

static void serve(struct foe_conn *c, const uint8_t *bhs, const uint8_t *data, uint32_t len)
{
    struct foe *f = c->foe;
    struct iscsi_pdu pdu;
    struct op op;
    bool answered = false;

    if (iscsi_pdu_decode(&pdu, bhs, ISCSI_FROM_INITIATOR))
        abort();                            /* on_pdu() has looked */
    while (c->w.sock && !c->bye) {
        if (f->honest) {
            f->honest--;
            foe_honest(c, &pdu, data, len);
            return;
        }
        if (!ops_next(f->script, &op)) {
            script_end(f);
            if (!answered)
                foe_honest(c, &pdu, data, len);
            return;
        }
        if (op.kind > FOE_TAKES) {
            arrange(c, &op);
            continue;
        }
        answered = true;
        answer(c, &op, &pdu, bhs, data, len);
        if (!op.no_wait)
            return;
    }
}

static bool by_script(struct foe_conn *c, const struct iscsi_pdu *pdu)
{
    struct foe *f = c->foe;

    if (!f->script || f->over || pdu->opcode == ISCSI_OP_DATA_OUT)
        return false;
    if (pdu->opcode == ISCSI_OP_LOGIN) {
        if (f->login_scripted)
            return true;
        if (!f->hostile_logins)
            return false;
        f->hostile_logins--;
        return true;
    }
    if (f->skip && pdu->opcode == ISCSI_OP_SCSI_CMD) {
        f->skip--;
        return false;
    }
    return true;
}

/* ---- connections ----------------------------------------------------------------------------------------- */

static void accept_next(struct foe *f);

static void on_pdu(struct wire *w, const uint8_t *bhs, const uint8_t *data, uint32_t len)
{
    struct foe_conn *c = container_of(w, struct foe_conn, w);
    struct iscsi_pdu pdu;

    if (iscsi_pdu_decode(&pdu, bhs, ISCSI_FROM_INITIATOR) || pdu.data_len > WIRE_KEEP) {
        fprintf(stderr, "the initiator sent a PDU that cannot be\n");
        for (unsigned i = 0; i < ISCSI_BHS_LEN; i++)
            fprintf(stderr, "%02x%s", bhs[i], i % 16 == 15 ? "\n" : " ");
        abort();
    }
    if (ops_trace())
        printf("foe %p: %s itt %08x sn %u len %u cdb %02x\n", (void *)c, iscsi_opcode_name(pdu.opcode), pdu.itt,
               pdu.cmd_sn, pdu.data_len, pdu.opcode == ISCSI_OP_SCSI_CMD ? pdu.cmd.cdb[0] : 0);
    if (pdu.opcode == ISCSI_OP_LOGIN && !c->login) {
        c->login = true;
        c->exp_cmd_sn = pdu.cmd_sn;
        memcpy(c->isid, pdu.login.isid, sizeof(c->isid));
    }
    if (!pdu.immediate && pdu.opcode != ISCSI_OP_DATA_OUT && pdu.cmd_sn == c->exp_cmd_sn)
        c->exp_cmd_sn++;
    if (pdu.opcode == ISCSI_OP_LOGIN || pdu.opcode == ISCSI_OP_TEXT) {
        c->text_in_len = len < sizeof(c->text_in) ? len : (uint32_t)sizeof(c->text_in);
        memcpy(c->text_in, data, c->text_in_len);
    }
    if (pdu.opcode == ISCSI_OP_DATA_OUT)
        foe_data_out(c, &pdu, data, len);
    else if (by_script(c, &pdu))
        serve(c, bhs, data, len);
    else
        foe_honest(c, &pdu, data, len);
    conn_leave(c);
}

static void on_ended(struct wire *w, int err)
{
    (void)err;
    conn_over(container_of(w, struct foe_conn, w));
}

static const struct wire_events foe_events = { on_pdu, on_ended };

static void conn_begin(struct foe *f, struct foe_conn *c)
{
    const size_t keep = offsetof(struct foe_conn, foe);

    memset((char *)c + keep, 0, offsetof(struct foe_conn, late_data) - keep);
    c->foe = f;
    c->open = true;
    c->stat_sn = 100;
    c->window = 32;
    c->peer_recv_max = ISCSI_LOGIN_DATA_MAX;
    c->burst_max = 65536;
    c->text_in_len = c->late_len = c->last_len = 0;
    memset(c->last, 0, sizeof(c->last));
    c->later.fn = on_later;
    c->hearing.fn = on_hearing;
    wire_open(&c->w, f->fresh);
    f->fresh = NULL;
}

static void on_accepted(struct rt_op *op, int res)
{
    struct foe *f = container_of(op, struct foe, accept_op);

    if (!res) {
        struct foe_conn *c = NULL;

        for (unsigned i = 0; i < FOE_CONNS && !c; i++)
            c = f->conn[i]->open || !wire_idle(&f->conn[i]->w) ? NULL : f->conn[i];
        if (c)
            conn_begin(f, c);
        else
            rt_sock_close(f->fresh);
    }
    accept_next(f);
}

static void accept_next(struct foe *f)
{
    f->accept_op.done = on_accepted;
    rt_accept(f->listener, &f->accept_op, &f->fresh, &f->from);
}

static void cred_set(struct chap_cred *c, const char *name, const char *secret)
{
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->secret_len = (uint32_t)strlen(secret);
    memcpy(c->secret, secret, c->secret_len);
}

int foe_start(struct foe *f, struct rt *rt, const struct rt_addr *at)
{
    int err = rt_listen(rt, at, &f->listener);

    if (err)
        return err;
    f->rt = rt;
    cred_set(&f->user, FUZZ_USER, FUZZ_SECRET);
    cred_set(&f->user_out, FUZZ_USER_OUT, FUZZ_SECRET_OUT);
    f->disk = calloc(FOE_BLOCKS, FOE_BLOCK_LEN);
    for (unsigned i = 0; i < FOE_CONNS; i++) {
        f->conn[i] = malloc(sizeof(*f->conn[i]));
        wire_init(&f->conn[i]->w, rt, &foe_events);
        f->conn[i]->open = false;
    }
    accept_next(f);
    return 0;
}

void foe_script(struct foe *f, struct ops *script)
{
    for (unsigned i = 0; i < FOE_CONNS; i++)
        if (f->conn[i]->open)
            conn_over(f->conn[i]);
    f->script = script;
    f->over = false;
    f->skip = f->honest = f->hostile_logins = 0;
    f->text.len = 0;
}
