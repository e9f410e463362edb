/*
 * wire.c - PDUs as bytes, for peers that keep no rules
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/sim/wire.h"

/* ---- sending --------------------------------------------------------------------------------------------- */

static void tx_pump(struct wire *w)
{
    uint32_t len = wire_queued(w);

    if (w->tx_busy || !w->sock)
        return;
    if (!len) {
        w->out_at = w->out_len = 0;
        return;
    }
    if (w->chunk && len > w->chunk)
        len = w->chunk;
    w->iov = (struct iovec){ w->out + w->out_at, len };
    w->tx_busy = true;
    rt_send(w->sock, &w->tx, &w->iov, 1);
}

static void tx_done(struct rt_op *op, int res)
{
    struct wire *w = container_of(op, struct wire, tx);

    w->tx_busy = false;
    if (!w->sock)
        return;
    if (res < (int)w->iov.iov_len) {
        w->events->ended(w, res < 0 ? res : -EPIPE);
        return;
    }
    w->out_at += (uint32_t)res;
    tx_pump(w);
}

/* Room for @len bytes more at the end of the queue; the send under way must not lose its memory. NULL: none. */
static uint8_t *out_room(struct wire *w, uint32_t len)
{
    const uint32_t need = w->out_len + len;

    if (!w->sock || need > WIRE_OUT_MAX || (w->tx_busy && need > w->out_room))
        return NULL;
    if (need > w->out_room) {
        w->out_room = need < 16384 ? 16384 : need < 131072 ? 131072 : WIRE_OUT_MAX;
        w->out = realloc(w->out, w->out_room);
    }
    return w->out ? w->out + w->out_len : NULL;
}

void wire_raw(struct wire *w, const void *bytes, uint32_t len)
{
    uint8_t *p = out_room(w, len);

    if (!p || !len)
        return;
    memcpy(p, bytes, len);
    w->out_len += len;
    tx_pump(w);
}

static uint8_t *crc_put(uint8_t *p, const uint8_t *from, size_t len)
{
    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, from, len), p);
    return p + ISCSI_DIGEST_LEN;
}

static void spoil(struct wire *w, uint8_t *pdu, const uint8_t *end, bool after)
{
    if (w->spoil.bits && w->spoil.after == after && end > pdu) {
        pdu[w->spoil.at % (uint32_t)(end - pdu)] ^= w->spoil.bits;
        w->spoil.bits = 0;
    }
}

void wire_send(struct wire *w, const uint8_t bhs[static ISCSI_BHS_LEN], const void *ahs, uint32_t ahs_len,
               const void *data, uint32_t len)
{
    const uint32_t padded = iscsi_padded(len);
    uint8_t *const pdu = out_room(w, ISCSI_BHS_LEN + ahs_len + padded + 2 * ISCSI_DIGEST_LEN), *p = pdu;

    if (!p)
        return;
    memcpy(p, bhs, ISCSI_BHS_LEN);
    p += ISCSI_BHS_LEN;
    if (ahs_len)
        memcpy(p, ahs, ahs_len);
    p += ahs_len;
    spoil(w, pdu, p, false);
    if (w->header_digest)
        p = crc_put(p, pdu, ISCSI_BHS_LEN + ahs_len);
    if (len) {
        uint8_t *const from = p;

        memcpy(p, data, len);
        memset(p + len, 0, padded - len);
        p += padded;
        if (w->data_digest)
            p = crc_put(p, from, padded);
    }
    spoil(w, pdu, p, true);
    w->out_len += (uint32_t)(p - pdu);
    tx_pump(w);
}

/* ---- receiving ------------------------------------------------------------------------------------------- */

static void rx_arm(struct wire *w)
{
    if (w->rx_busy || w->deaf || !w->sock)
        return;
    w->rx_busy = true;
    rt_recv_shared(w->sock, &w->rx);
}

static uint32_t head_len(const struct wire *w)
{
    return ISCSI_BHS_LEN + iscsi_bhs_ahs_len(w->head) + (w->header_digest ? ISCSI_DIGEST_LEN : 0);
}

static void pdu_end(struct wire *w)
{
    const uint32_t len = iscsi_bhs_data_len(w->head);

    w->head_have = w->data_have = 0;
    w->events->pdu(w, w->head, w->data, len < WIRE_KEEP ? len : WIRE_KEEP);
}

static uint32_t head_take(struct wire *w, const uint8_t *p, uint32_t n)
{
    const uint32_t need = w->head_have < ISCSI_BHS_LEN ? ISCSI_BHS_LEN : head_len(w);
    const uint32_t len = n < need - w->head_have ? n : need - w->head_have;
    uint32_t data_len;

    memcpy(w->head + w->head_have, p, len);
    w->head_have += len;
    if (w->head_have < ISCSI_BHS_LEN || w->head_have < head_len(w))
        return len;
    data_len = iscsi_bhs_data_len(w->head);
    w->data_all = data_len ? iscsi_padded(data_len) + (w->data_digest ? ISCSI_DIGEST_LEN : 0) : 0;
    if (!w->data_all)
        pdu_end(w);
    return len;
}

static uint32_t data_take(struct wire *w, const uint8_t *p, uint32_t n)
{
    const uint32_t left = w->data_all - w->data_have, len = n < left ? n : left;
    const uint32_t room = w->data_have < WIRE_KEEP ? WIRE_KEEP - w->data_have : 0;

    if (room)
        memcpy(w->data + w->data_have, p, len < room ? len : room);
    w->data_have += len;
    if (w->data_have == w->data_all)
        pdu_end(w);
    return len;
}

static void rx_done(struct rt_op *op, int res)
{
    struct wire *w = container_of(op, struct wire, rx);
    const uint8_t *p = op->buf;

    w->rx_busy = false;
    if (!w->sock)
        return;
    if (res <= 0) {
        w->events->ended(w, res);
        return;
    }
    w->rx_bytes += (uint32_t)res;
    for (uint32_t n = (uint32_t)res, len; n && w->sock; p += len, n -= len) {
        const bool in_head = w->head_have < ISCSI_BHS_LEN || w->head_have < head_len(w);

        len = in_head ? head_take(w, p, n) : data_take(w, p, n);
    }
    rx_arm(w);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

void wire_init(struct wire *w, struct rt *rt, const struct wire_events *events)
{
    memset(w, 0, offsetof(struct wire, head));
    w->rt = rt;
    w->events = events;
    w->rx.done = rx_done;
    w->tx.done = tx_done;
    w->head_have = w->data_have = w->data_all = 0;
}

void wire_open(struct wire *w, struct rt_sock *sock)
{
    assert(!w->sock && wire_idle(w));
    w->sock = sock;
    w->out_at = w->out_len = 0;
    w->head_have = w->data_have = w->data_all = 0;
    w->header_digest = w->data_digest = w->deaf = false;
    w->chunk = 0;
    w->spoil.bits = 0;
    rx_arm(w);
}

void wire_close(struct wire *w)
{
    struct rt_sock *sock = w->sock;

    w->sock = NULL;
    rt_sock_close(sock);
}

bool wire_idle(const struct wire *w)
{
    return !w->rx_busy && !w->tx_busy;
}

void wire_listen(struct wire *w, bool on)
{
    w->deaf = !on;
    rx_arm(w);
}
