/*
 * dm_tcp_rx.c - the receiving side: bytes to PDUs
 *
 * Bytes come in two ways. Usually the reactor lends its shared buffer with whatever has arrived, often many
 * PDUs, and data are copied from it once. When much of a data segment is outstanding the rest is received in
 * place, together with the trailer and the header that follows, so that bulk transfers copy nothing here.
 * Either way the same machine consumes them: header (with AHS and digest), data, trailer (padding, digest).
 * It may stop and go on at every byte. One turn's work is bounded by the shared buffer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/dm_tcp.h"

/* ---- a complete PDU, and a complete header ------------------------------------------------------------- */

static void ctl_memory_free(struct dm_rx *rx)
{
    if (rx->ctl != rx->small)
        free(rx->ctl);
    rx->ctl = NULL;
    rx->ctl_have = 0;
}

/* Return: true when the connection goes on. */
static bool rx_pdu_done(struct dm_tcp *c, const uint8_t *ctl_data)
{
    struct dm_rx *rx = &c->rx;

    if (rx->ddigest && !iscsi_crc_matches(rx->crc, &rx->trailer[rx->trailer_len - ISCSI_DIGEST_LEN])) {
        c->stats.digest_errors++;
        ctl_memory_free(rx);
        dm_tcp_fail(c, -EBADMSG);
        return false;
    }
    rx->state = DM_RX_HEADER;
    c->stats.rx_pdus++;
    if (!rx->reject)
        dm_tcp_pdu_finish(c, ctl_data);
    rx->task = NULL;
    if (rx->ctl)
        ctl_memory_free(rx);
    return dm_tcp_is_open(c);
}

/* The length is judged before anything else is believed; before the login is over, nothing is forgiven. */
static enum iscsi_reject rx_judge(struct dm_tcp *c, const uint8_t *header)
{
    const uint32_t limit = c->enabled ? c->params.recv_data_max : ISCSI_LOGIN_DATA_MAX;
    enum iscsi_reject why;

    if (iscsi_bhs_data_len(header) > limit)
        return ISCSI_REJECT_PROTOCOL_ERROR;
    why = iscsi_pdu_decode(&c->rx.pdu, header,
                           c->role == ISCSI_TARGET ? ISCSI_FROM_INITIATOR : ISCSI_FROM_TARGET);
    if (why || c->enabled)
        return why;
    switch (c->rx.pdu.opcode) {
    case ISCSI_OP_LOGIN:
    case ISCSI_OP_LOGIN_RESP:
    case ISCSI_OP_REJECT:
        return ISCSI_REJECT_NONE;
    default:
        return ISCSI_REJECT_PROTOCOL_ERROR;
    }
}

/* @header: BHS, AHS and digest, all of them. Return: true when the connection goes on. */
static bool rx_header(struct dm_tcp *c, const uint8_t *header)
{
    struct dm_rx *rx = &c->rx;
    const uint32_t ahs_len = iscsi_bhs_ahs_len(header), data_len = iscsi_bhs_data_len(header);
    enum iscsi_reject why;

    if (c->header_digest &&
        !iscsi_crc_matches(iscsi_crc_feed(ISCSI_CRC_INIT, header, ISCSI_BHS_LEN + ahs_len),
                           header + ISCSI_BHS_LEN + ahs_len)) {
        c->stats.digest_errors++;
        dm_tcp_fail(c, -EBADMSG);
        return false;
    }
    why = rx_judge(c, header);
    if (why && !c->enabled) {
        dm_tcp_fail(c, -EPROTO);
        return false;
    }
    rx->header_have = 0;
    rx->task = NULL;
    rx->sink = DM_SINK_DISCARD;
    rx->trouble = DM_OK;
    rx->reject = false;
    rx->bulk = false;
    rx->data_left = data_len;
    rx->ddigest = c->data_digest && data_len;
    rx->crc = ISCSI_CRC_INIT;
    rx->trailer_have = 0;
    rx->trailer_len = iscsi_padded(data_len) - data_len + (rx->ddigest ? ISCSI_DIGEST_LEN : 0);
    rx->state = data_len ? DM_RX_DATA : DM_RX_HEADER;
    if (why)
        dm_tcp_pdu_reject(c, header, why);
    else
        dm_tcp_pdu_open(c, header);
    if (!dm_tcp_is_open(c))
        return false;
    return data_len || rx_pdu_done(c, NULL);
}

/* ---- the machine: each step takes what it can of @p and says how much, 0 when the connection ended ------ */

/* Bytes of a whole header by its BHS. No PDU of the login has an AHS, and none is waited for. */
static uint32_t header_len(const struct dm_tcp *c, const uint8_t *bhs)
{
    const uint32_t digest = c->header_digest ? ISCSI_DIGEST_LEN : 0;

    return ISCSI_BHS_LEN + (c->enabled ? iscsi_bhs_ahs_len(bhs) : 0) + digest;
}

static uint32_t take_header(struct dm_tcp *c, const uint8_t *p, uint32_t n)
{
    struct dm_rx *rx = &c->rx;
    uint32_t need = ISCSI_BHS_LEN, taken = 0;

    if (!rx->header_have && n >= ISCSI_BHS_LEN) {           /* the usual case: whole, and read where it is */
        need = header_len(c, p);
        if (n >= need)
            return rx_header(c, p) ? need : 0;
    }
    if (rx->header_have >= ISCSI_BHS_LEN)
        need = header_len(c, rx->header);
    /* Two steps at most: the BHS, then what it says follows. */
    for (;;) {
        const uint32_t want = need - rx->header_have, len = min_u32(want, n - taken);

        memcpy(rx->header + rx->header_have, p + taken, len);
        rx->header_have += len;
        taken += len;
        if (rx->header_have < need)
            return taken;
        if (need == ISCSI_BHS_LEN) {
            need = header_len(c, rx->header);
            if (need > ISCSI_BHS_LEN)
                continue;
        }
        return rx_header(c, rx->header) ? taken : 0;
    }
}

static const struct dm_buf *rx_task_buf(const struct dm_rx *rx, const struct dm_task *task)
{
    return rx->pdu.opcode == ISCSI_OP_DATA_IN ? &task->in : &task->out;
}

static void task_take(struct dm_rx *rx, const uint8_t *p, uint32_t n)
{
    const struct dm_buf *buf = rx_task_buf(rx, rx->task);

    while (n) {
        uint32_t len;
        void *to = dm_cursor_next(&rx->task->own.rx_cur, buf, n, &len);

        memcpy(to, p, len);
        p += len;
        n -= len;
    }
}

/* Control data that did not come in one piece. Memory is taken with the first byte that is here. */
static bool ctl_take(struct dm_tcp *c, const uint8_t *p, uint32_t n)
{
    struct dm_rx *rx = &c->rx;

    if (!rx->ctl) {
        rx->ctl = rx->pdu.data_len <= sizeof(rx->small) ? rx->small : malloc(rx->pdu.data_len);
        if (!rx->ctl)
            return false;
    }
    memcpy(rx->ctl + rx->ctl_have, p, n);
    rx->ctl_have += n;
    return true;
}

static uint32_t take_data(struct dm_tcp *c, const uint8_t *p, uint32_t n)
{
    struct dm_rx *rx = &c->rx;
    const uint32_t len = min_u32(n, rx->data_left);

    if (rx->ddigest)
        rx->crc = iscsi_crc_feed(rx->crc, p, len);
    if (rx->sink == DM_SINK_TASK) {
        task_take(rx, p, len);
    } else if (rx->sink == DM_SINK_CTL) {
        if (len == rx->pdu.data_len && n >= len + rx->trailer_len) {    /* all of it, here and now */
            if (rx->ddigest)
                rx->crc = iscsi_crc_feed(rx->crc, p + len, rx->trailer_len - ISCSI_DIGEST_LEN);
            memcpy(rx->trailer, p + len, rx->trailer_len);
            rx->data_left = 0;
            return rx_pdu_done(c, p) ? len + rx->trailer_len : 0;
        }
        if (!ctl_take(c, p, len)) {
            dm_tcp_fail(c, -ENOMEM);
            return 0;
        }
    }
    rx->data_left -= len;
    if (rx->data_left)
        return len;
    rx->state = DM_RX_TRAILER;
    if (!rx->trailer_len && !rx_pdu_done(c, rx->ctl))
        return 0;
    return len;
}

static uint32_t take_trailer(struct dm_tcp *c, const uint8_t *p, uint32_t n)
{
    struct dm_rx *rx = &c->rx;
    const uint32_t want = rx->trailer_len - rx->trailer_have, len = min_u32(n, want);

    memcpy(rx->trailer + rx->trailer_have, p, len);
    rx->trailer_have += len;
    if (rx->trailer_have < rx->trailer_len)
        return len;
    if (rx->ddigest)                        /* padding counts, whatever it holds */
        rx->crc = iscsi_crc_feed(rx->crc, rx->trailer, rx->trailer_len - ISCSI_DIGEST_LEN);
    return rx_pdu_done(c, rx->ctl) ? len : 0;
}

static void rx_consume(struct dm_tcp *c, const uint8_t *p, uint32_t n)
{
    while (n) {
        uint32_t taken;

        switch (c->rx.state) {
        case DM_RX_HEADER: taken = take_header(c, p, n);  break;
        case DM_RX_DATA:   taken = take_data(c, p, n);    break;
        default:           taken = take_trailer(c, p, n); break;
        }
        if (!taken)
            return;
        p += taken;
        n -= taken;
    }
}

/* ---- receiving ----------------------------------------------------------------------------------------- */

/* Into the task's memory, and behind it the trailer and the next header: a run of large segments then costs
 * one receive each. With no data outstanding, just the latter. */
static void arm_direct(struct dm_tcp *c)
{
    struct dm_rx *rx = &c->rx;
    uint32_t left = rx->state == DM_RX_DATA ? rx->data_left : 0, tail;
    unsigned n = 0;

    rx->direct_len = 0;
    if (left) {
        struct dm_cursor cur = rx->task->own.rx_cur;

        while (left && n < DM_DIRECT_IOV) {
            uint32_t len;
            void *at = dm_cursor_next(&cur, rx_task_buf(rx, rx->task), left, &len);

            rx->iov[n++] = (struct iovec){ at, len };
            rx->direct_len += len;
            left -= len;
        }
    }
    if (!left) {
        tail = ISCSI_BHS_LEN + (c->header_digest ? ISCSI_DIGEST_LEN : 0);
        tail = rx->state == DM_RX_HEADER ? tail - rx->header_have : tail + rx->trailer_len - rx->trailer_have;
        rx->iov[n++] = (struct iovec){ rx->tail, tail };
    }
    rx->direct = true;
    rt_recv(c->sock, &rx->op, rx->iov, n, 0);
}

/* Whether the next receive goes past the shared buffer. */
static bool rx_in_place(struct dm_rx *rx)
{
    switch (rx->state) {
    case DM_RX_DATA:
        if (rx->sink != DM_SINK_TASK)
            return false;
        if (rx->data_left >= DM_DIRECT_MIN)
            rx->bulk = true;
        return rx->bulk;
    case DM_RX_HEADER:
        return rx->bulk && rx->header_have < ISCSI_BHS_LEN;
    default:
        return rx->bulk;
    }
}

void dm_tcp_rx_arm(struct dm_tcp *c)
{
    struct dm_rx *rx = &c->rx;

    assert(!rx->busy);
    if ((c->state != DM_OPEN && c->state != DM_DRAINING) || (c->resting && dm_tcp_is_open(c)))
        return;
    rx->busy = true;
    rx->direct = false;
    if (dm_tcp_is_open(c) && rx_in_place(rx)) {
        arm_direct(c);
        return;
    }
    rt_recv_shared(c->sock, &rx->op);
}

/* @n bytes came, the first of them into the memory of @task, the rest into the tail. */
static void direct_took(struct dm_tcp *c, struct dm_task *task, uint32_t n)
{
    struct dm_rx *rx = &c->rx;
    uint32_t in_place = min_u32(n, rx->direct_len);
    const uint32_t rest = n - in_place;

    rx->data_left -= in_place;
    while (in_place) {
        uint32_t len;
        const void *at = dm_cursor_next(&task->own.rx_cur, rx_task_buf(rx, task), in_place, &len);

        if (rx->ddigest)
            rx->crc = iscsi_crc_feed(rx->crc, at, len);
        in_place -= len;
    }
    if (rx->state == DM_RX_DATA && !rx->data_left) {
        rx->state = DM_RX_TRAILER;
        if (!rx->trailer_len && !rx_pdu_done(c, NULL))
            return;
    }
    rx_consume(c, rx->tail, rest);
}

void dm_tcp_rx_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, rx.op);
    struct dm_rx *rx = &c->rx;
    struct dm_task *held = rx->held, *task = held ? held : rx->task;
    const bool ours = res == -ECANCELED && (held || rx->recalled);      /* cancelled by ourselves */

    dm_tcp_event_begin(c);
    rx->busy = rx->recalled = false;
    rx->taking = true;
    if (res > 0) {
        c->stats.rx_bytes += (uint32_t)res;
        c->stats.rx_at_ns = rt_now(c->rt);
    }
    if (dm_tcp_is_open(c)) {
        if (res > 0 && rx->direct)
            direct_took(c, task, (uint32_t)res);
        else if (res > 0)
            rx_consume(c, op->buf, (uint32_t)res);
        else if (!ours)
            dm_tcp_fail(c, res ? res : -ECONNRESET);
    } else if (c->state == DM_DRAINING && res <= 0 && !ours) {
        /* The peer wants no more: sending tells whether it still takes what is queued. */
        rx->held = NULL;
        rx->taking = false;
        dm_tcp_event_end(c);
        return;
    }
    if (held) {
        rx->held = NULL;
        if (!held->own.inflight)
            dm_tcp_task_let_go(c, held);
    }
    rx->taking = false;
    dm_tcp_rx_arm(c);
    dm_tcp_event_end(c);
}

bool dm_tcp_rx_drop(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_rx *rx = &c->rx;

    if (rx->task != task)
        return false;
    rx->task = NULL;
    rx->sink = DM_SINK_DISCARD;             /* the rest of the segment */
    if (!rx->busy || !rx->direct || !rx->direct_len)
        return false;
    rx->held = task;
    rt_cancel(&rx->op);
    return true;
}

void dm_tcp_rx_recall(struct dm_tcp *c)
{
    if (!c->rx.busy)
        return;
    c->rx.recalled = true;
    rt_cancel(&c->rx.op);
}

void dm_tcp_rx_go_on(struct dm_tcp *c)
{
    if (!c->rx.busy && !c->rx.taking)
        dm_tcp_rx_arm(c);
}

void dm_tcp_rx_free(struct dm_tcp *c)
{
    ctl_memory_free(&c->rx);
}
