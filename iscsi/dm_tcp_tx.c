/*
 * dm_tcp_tx.c - the sending side: what is queued in a turn leaves in one send
 *
 * Queued are dm_ctls and tasks, not PDUs: headers are made while a batch is gathered, so a read of many
 * megabytes needs no memory per PDU. One send is under way at a time; the next batch is gathered when the turn
 * ends. A PDU is never split over batches: one whose data lie in too many pieces is made shorter instead.
 */
#include <errno.h>
#include <string.h>
#include "iscsi/dm_tcp.h"

/* ---- the queue ----------------------------------------------------------------------------------------- */

static void tx_kick(struct dm_tcp *c)
{
    if (c->tx.busy || c->tx.armed || (c->state != DM_OPEN && c->state != DM_DRAINING))
        return;
    c->tx.armed = true;
    c->stats.tx_at_ns = rt_now(c->rt);      /* a long silence before is not a peer that takes nothing */
    rt_turn_end(c->rt, &c->tx.turn);
}

void dm_tcp_tx_queue(struct dm_tcp *c, struct rt_link *queue, struct dm_tx *tx, enum dm_tx_kind kind)
{
    assert(!tx->queued);
    tx->kind = (uint8_t)kind;
    tx->queued = true;
    rt_list_push(queue, &tx->link);
    tx_kick(c);
}

void dm_tcp_tx_unqueue(struct dm_tx *tx)
{
    if (!tx->queued)
        return;
    tx->queued = false;
    rt_list_del(&tx->link);
}

static bool tx_queues_empty(const struct dm_tcp *c)
{
    return rt_list_empty(&c->tx.ctl) && rt_list_empty(&c->tx.unsolicited) && rt_list_empty(&c->tx.solicited);
}

bool dm_tcp_tx_idle(const struct dm_tcp *c)
{
    return !c->tx.busy && tx_queues_empty(c);
}

/* ---- a batch ------------------------------------------------------------------------------------------- */

static bool batch_has_room(const struct dm_tcp *c)
{
    return c->tx.iov_nr + DM_TX_PDU_IOV <= DM_TX_IOV && c->tx.len < DM_TX_BYTES_MAX &&
           c->tx.head_len + ISCSI_BHS_LEN + ISCSI_DIGEST_LEN + DM_TRAILER_MAX <= DM_TX_HEAD_LEN;
}

static void batch_add(struct dm_tcp *c, const void *at, uint32_t len)
{
    struct dm_tx_side *tx = &c->tx;

    tx->len += len;
    if (tx->iov_nr) {
        struct iovec *last = &tx->iov[tx->iov_nr - 1];

        if ((const uint8_t *)last->iov_base + last->iov_len == at) {
            last->iov_len += len;
            return;
        }
    }
    assert(tx->iov_nr < DM_TX_IOV);
    tx->iov[tx->iov_nr++] = (struct iovec){ (void *)(uintptr_t)at, len };
}

static uint8_t *batch_head(struct dm_tcp *c, uint32_t len)
{
    uint8_t *at = c->tx.head + c->tx.head_len;

    assert(len <= DM_TX_HEAD_LEN - c->tx.head_len);
    c->tx.head_len += len;
    return at;
}

static void batch_add_header(struct dm_tcp *c, const struct iscsi_pdu *pdu, const void *ahs, bool digest)
{
    uint8_t *bhs = batch_head(c, ISCSI_BHS_LEN);

    iscsi_pdu_encode(bhs, pdu);
    batch_add(c, bhs, ISCSI_BHS_LEN);
    if (pdu->ahs_len)
        batch_add(c, ahs, pdu->ahs_len);
    if (digest) {
        uint8_t *wire = batch_head(c, ISCSI_DIGEST_LEN);
        uint32_t crc = iscsi_crc_feed(ISCSI_CRC_INIT, bhs, ISCSI_BHS_LEN);

        iscsi_crc_wire(iscsi_crc_feed(crc, ahs, pdu->ahs_len), wire);
        batch_add(c, wire, ISCSI_DIGEST_LEN);
    }
    c->stats.tx_pdus++;
}

/* Padding and digest of a data segment of @len bytes whose CRC so far is @crc. */
static void batch_add_trailer(struct dm_tcp *c, uint32_t len, bool digest, uint32_t crc)
{
    const uint32_t pad = iscsi_padded(len) - len, whole = pad + (digest ? ISCSI_DIGEST_LEN : 0);
    uint8_t *at;

    if (!len || !whole)
        return;
    at = batch_head(c, whole);
    memset(at, 0, pad);
    if (digest)
        iscsi_crc_wire(iscsi_crc_feed(crc, at, pad), at + pad);
    batch_add(c, at, whole);
}

/* How much of the next @want bytes of a task goes into one PDU here: all, 0 when that needs an emptier batch,
 * and when even an empty one has not iovecs enough, as many as it has, in a round number. */
static uint32_t batch_fit(const struct dm_tcp *c, const struct dm_task *task, const struct dm_buf *buf,
                          uint32_t want)
{
    struct dm_cursor cur = task->own.tx_cur;
    uint32_t got = 0;
    const unsigned room = DM_TX_IOV - c->tx.iov_nr - (DM_TX_PDU_IOV - 2);   /* header, AHS, digest, trailer */

    for (unsigned n = 0; n < room && got < want; n++) {
        uint32_t len;

        dm_cursor_next(&cur, buf, want - got, &len);
        got += len;
    }
    if (got == want)
        return got;
    if (c->tx.iov_nr)
        return 0;
    return got > 512 ? got & ~511u : got;
}

static void batch_add_data(struct dm_tcp *c, struct dm_task *task, const struct dm_buf *buf, uint32_t len,
                           bool digest)
{
    uint32_t crc = ISCSI_CRC_INIT;

    for (uint32_t left = len; left;) {
        uint32_t n;
        const void *at = dm_cursor_next(&task->own.tx_cur, buf, left, &n);

        if (digest)
            crc = iscsi_crc_feed(crc, at, n);
        batch_add(c, at, n);
        left -= n;
    }
    batch_add_trailer(c, len, digest, crc);
    if (len && !task->own.inflight) {
        task->own.inflight = true;
        rt_list_push(&c->tx.flight, &task->own.flight);
    }
}

/* ---- control PDUs -------------------------------------------------------------------------------------- */

/* R2Ts and Data-Ins carry the numbers of the responses around them (11.7, 11.8), Data-Outs ExpStatSN. */
static void numbers_note(struct dm_tcp *c, const struct iscsi_pdu *pdu)
{
    if (c->role == ISCSI_INITIATOR) {
        c->tx.exp_stat_sn = pdu->exp_stat_sn;
        return;
    }
    /* A NOP-In that asks has the next StatSN without using it up, 11.19.3. */
    c->tx.stat_sn = pdu->stat_sn + !(pdu->opcode == ISCSI_OP_NOP_IN && pdu->itt == ISCSI_TAG_RESERVED);
    c->tx.exp_cmd_sn = pdu->exp_cmd_sn;
    c->tx.max_cmd_sn = pdu->max_cmd_sn;
}

static void sequence_begin(struct dm_tcp *c, struct dm_task *task, uint32_t ttt, uint32_t off, uint32_t len)
{
    struct dm_task_own *own = &task->own;
    const bool solicited = ttt != ISCSI_TAG_RESERVED;

    own->streaming = true;
    own->ttt = ttt;
    own->tx_pos = off;
    own->tx_end = off + len;
    own->tx_sn = 0;
    dm_tcp_tx_queue(c, solicited ? &c->tx.solicited : &c->tx.unsolicited, &own->tx,
                    solicited ? DM_TX_SOLICITED : DM_TX_UNSOLICITED);
}

void dm_tcp_tx_next_sequence(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task_own *own = &task->own;
    struct dm_r2t r;

    if (own->streaming || !own->r2t_nr)
        return;
    r = task->r2t[own->r2t_first];
    own->r2t_first = (own->r2t_first + 1) % DM_R2T_MAX;
    own->r2t_nr--;
    sequence_begin(c, task, r.ttt, r.off, r.len);
}

/* Initiator: a SCSI Command with what data it may bring (4.2.5.2); says with F whether more follows unasked. */
static bool command_gather(struct dm_tcp *c, struct dm_ctl *ctl)
{
    struct dm_task *task = ctl->task;
    struct iscsi_pdu *pdu = &ctl->pdu;
    const uint32_t burst = task && pdu->cmd.write ? min_u32(c->params.first_burst_max, task->edtl) : 0;
    uint32_t len = 0;

    if (burst && c->params.immediate_data &&
        !(len = batch_fit(c, task, &task->out, min_u32(burst, c->params.peer_recv_data_max))))
        return false;
    pdu->data_len = len;
    pdu->final = c->params.initial_r2t || len == burst;
    numbers_note(c, pdu);
    batch_add_header(c, pdu, ctl->ahs, ctl->tx.header_digest);
    dm_tcp_tx_unqueue(&ctl->tx);
    rt_list_push(&c->tx.sent, &ctl->tx.link);
    if (!task)
        return true;
    task->own.cmd = NULL;
    batch_add_data(c, task, &task->out, len, ctl->tx.data_digest);
    task->out_done = len;
    if (!pdu->final)
        sequence_begin(c, task, ISCSI_TAG_RESERVED, len, burst - len);
    return true;
}

/* Target: with its response a task is over for the initiator, who may use the tag again as soon as it has it,
 * which can be before the end of this very send. */
static void response_fix(struct dm_tcp *c, struct iscsi_pdu *pdu)
{
    struct dm_task *task = dm_tcp_task_find(c, pdu->itt);

    pdu->resp.exp_data_sn = 0;
    if (!task)
        return;
    if (pdu->resp.response == ISCSI_RESPONSE_COMPLETED)
        pdu->resp.exp_data_sn = task->own.data_in_nr;
    dm_tcp_task_unhash(c, task);
}

static bool ctl_gather(struct dm_tcp *c, struct dm_tx *tx)
{
    struct dm_ctl *ctl = container_of(tx, struct dm_ctl, tx);

    if (ctl->pdu.opcode == ISCSI_OP_SCSI_CMD)
        return command_gather(c, ctl);
    dm_tcp_tx_unqueue(tx);
    rt_list_push(&c->tx.sent, &tx->link);
    numbers_note(c, &ctl->pdu);
    if (ctl->pdu.opcode == ISCSI_OP_SCSI_RESP)
        response_fix(c, &ctl->pdu);
    batch_add_header(c, &ctl->pdu, ctl->ahs, ctl->tx.header_digest);
    if (ctl->pdu.data_len) {
        const uint32_t len = ctl->pdu.data_len;
        const uint32_t crc = ctl->tx.data_digest ? iscsi_crc_feed(ISCSI_CRC_INIT, ctl->data, len) : 0;

        batch_add(c, ctl->data, len);
        batch_add_trailer(c, len, ctl->tx.data_digest, crc);
    }
    return true;
}

bool dm_tcp_send_control(struct dm *dm, struct dm_ctl *ctl)
{
    struct dm_tcp *c = dm_tcp_of(dm);
    struct dm_task *task = ctl->task;

    rt_assert_here(c->rt);
    ctl->tx.header_digest = c->header_digest;
    ctl->tx.data_digest = c->data_digest;
    if (task) {
        const struct iscsi_pdu *pdu = &ctl->pdu;

        assert(c->role == ISCSI_INITIATOR && pdu->opcode == ISCSI_OP_SCSI_CMD && pdu->itt == task->itt);
        assert(!pdu->cmd.write || task->out.len >= task->edtl);
        dm_tcp_task_begin(c, task);
        task->own.cmd = ctl;
        task->own.out_max = pdu->cmd.write ? task->edtl : 0;
        task->own.in_max = pdu->cmd.write ? task->in.len : min_u32(task->in.len, task->edtl);
    }
    dm_tcp_tx_queue(c, &c->tx.ctl, &ctl->tx, DM_TX_CTL);
    return false;
}

/* ---- target: Put_Data and Get_Data --------------------------------------------------------------------- */

static bool data_in_gather(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task_own *own = &task->own;
    const uint32_t left = own->tx_end - own->tx_pos;
    const uint32_t want = min_u32(min_u32(left, c->params.peer_recv_data_max), own->seq_left);
    const uint32_t len = batch_fit(c, task, &task->in, want);
    const bool last = len == left && own->put_final;
    struct iscsi_pdu plain, *pdu = &plain;

    if (!len)
        return false;
    if (last && own->put_status) {
        pdu = &task->status;
        numbers_note(c, pdu);
    } else {
        plain = (struct iscsi_pdu){ .exp_cmd_sn = c->tx.exp_cmd_sn, .max_cmd_sn = c->tx.max_cmd_sn };
    }
    own->seq_left -= len;
    pdu->opcode = ISCSI_OP_DATA_IN;
    pdu->final = last || !own->seq_left;
    pdu->itt = task->itt;
    pdu->ttt = ISCSI_TAG_RESERVED;
    pdu->lun = 0;                           /* only with A, 11.7.4 */
    pdu->ahs_len = 0;
    pdu->data_len = len;
    pdu->resp.has_status = pdu == &task->status;
    pdu->resp.ack = false;
    pdu->resp.data_sn = own->sn++;
    pdu->resp.offset = own->tx_pos;
    batch_add_header(c, pdu, NULL, c->header_digest);
    batch_add_data(c, task, &task->in, len, c->data_digest);
    own->data_in_nr++;
    own->tx_pos += len;
    if (!own->seq_left)
        own->seq_left = c->params.burst_max;
    return true;
}

static bool put_gather(struct dm_tcp *c, struct dm_tx *tx)
{
    struct dm_task *task = container_of(tx, struct dm_task, own.tx);

    while (task->own.tx_pos < task->own.tx_end) {
        if (!batch_has_room(c) || !data_in_gather(c, task))
            return false;
    }
    dm_tcp_tx_unqueue(tx);
    task->own.put_gone = true;
    if (task->own.put_status)
        dm_tcp_task_unhash(c, task);        /* as with a response */
    return true;
}

bool dm_tcp_put_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                     const struct iscsi_pdu *status)
{
    struct dm_tcp *c = dm_tcp_of(dm);
    struct dm_task_own *own = &task->own;

    rt_assert_here(c->rt);
    assert(len && off <= task->in.len && len <= task->in.len - off);
    assert(!status || final);
    if (!own->known) {
        assert(c->in_command);
        dm_tcp_task_begin(c, task);
    }
    assert(!own->releasing && !own->tx.queued && !own->put_gone);
    own->tx_pos = off;
    own->tx_end = off + len;
    own->tx_cur = (struct dm_cursor){ 0 };
    dm_cursor_seek(&own->tx_cur, &task->in, off);
    own->put_final = final;
    own->put_status = status != NULL;
    if (status)
        task->status = *status;
    dm_tcp_tx_queue(c, &c->tx.ctl, &own->tx, DM_TX_PUT);
    return false;
}

static bool r2t_gather(struct dm_tcp *c, struct dm_tx *tx)
{
    struct dm_task *task = container_of(tx, struct dm_task, own.tx);
    struct dm_task_own *own = &task->own;

    while (own->r2t_pos < own->get_end && own->r2t_nr < c->params.r2t_max) {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_R2T, .final = true, .lun = task->lun, .itt = task->itt };

        if (!batch_has_room(c))
            return false;
        pdu.ttt = own->ttt + own->r2t_nr++;
        pdu.stat_sn = c->tx.stat_sn;
        pdu.exp_cmd_sn = c->tx.exp_cmd_sn;
        pdu.max_cmd_sn = c->tx.max_cmd_sn;
        pdu.r2t.r2t_sn = own->sn++;
        pdu.r2t.offset = own->r2t_pos;
        pdu.r2t.length = min_u32(c->params.burst_max, own->get_end - own->r2t_pos);
        own->r2t_pos += pdu.r2t.length;
        batch_add_header(c, &pdu, NULL, c->header_digest);
    }
    dm_tcp_tx_unqueue(tx);
    return true;
}

void dm_tcp_get_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len)
{
    struct dm_tcp *c = dm_tcp_of(dm);
    struct dm_task_own *own = &task->own;
    const uint32_t tags = len / c->params.burst_max + 1;

    rt_assert_here(c->rt);
    assert(own->known && !own->releasing && own->awaiting == DM_AWAIT_NOTHING);
    assert(len && off <= task->out.len && len <= task->out.len - off);
    if (c->next_ttt > ISCSI_TAG_RESERVED - tags)            /* a run of tags without the reserved one */
        c->next_ttt = 0;
    own->ttt = c->next_ttt;
    c->next_ttt += tags;
    own->awaiting = DM_AWAIT_SOLICITED;
    own->discard = false;
    own->rx_pos = own->r2t_pos = off;
    own->rx_end = off + min_u32(c->params.burst_max, len);
    own->get_end = off + len;
    own->rx_sn = 0;
    own->r2t_nr = 0;
    own->rx_cur = (struct dm_cursor){ 0 };
    dm_tcp_tx_queue(c, &c->tx.ctl, &own->tx, DM_TX_R2T);
}

/* ---- initiator: Data-Out ------------------------------------------------------------------------------- */

/* One PDU, so that long sequences of several tasks take turns. */
static bool data_out_gather(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task_own *own = &task->own;
    const uint32_t left = own->tx_end - own->tx_pos;
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_DATA_OUT, .lun = task->lun, .itt = task->itt, .ttt = own->ttt };

    dm_cursor_seek(&own->tx_cur, &task->out, own->tx_pos);
    pdu.data_len = batch_fit(c, task, &task->out, min_u32(left, c->params.peer_recv_data_max));
    if (!pdu.data_len)
        return false;
    pdu.final = pdu.data_len == left;
    pdu.exp_stat_sn = c->tx.exp_stat_sn;
    pdu.data_out.data_sn = own->tx_sn++;
    pdu.data_out.offset = own->tx_pos;
    batch_add_header(c, &pdu, NULL, c->header_digest);
    batch_add_data(c, task, &task->out, pdu.data_len, c->data_digest);
    if (own->tx_pos <= task->out_done && task->out_done - own->tx_pos < pdu.data_len)
        task->out_done = own->tx_pos + pdu.data_len;        /* what is asked for twice counts once */
    own->tx_pos += pdu.data_len;
    return true;
}

static bool data_out_turn(struct dm_tcp *c, struct dm_tx *tx)
{
    struct dm_task *task = container_of(tx, struct dm_task, own.tx);
    const bool solicited = tx->kind == DM_TX_SOLICITED;

    if (!data_out_gather(c, task))
        return false;
    if (task->own.tx_pos == task->own.tx_end) {
        dm_tcp_tx_unqueue(tx);
        task->own.streaming = false;
        dm_tcp_tx_next_sequence(c, task);
    } else if (solicited) {
        rt_list_del(&tx->link);
        rt_list_push(&c->tx.solicited, &tx->link);
    }
    return true;
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* How each kind adds itself to the batch. Return: false when the batch is full before it was through. */
static bool (*const gather[])(struct dm_tcp *c, struct dm_tx *tx) = {
    [DM_TX_CTL] = ctl_gather,
    [DM_TX_PUT] = put_gather,
    [DM_TX_R2T] = r2t_gather,
    [DM_TX_UNSOLICITED] = data_out_turn,
    [DM_TX_SOLICITED] = data_out_turn,
};

static void queue_gather(struct dm_tcp *c, struct rt_link *queue)
{
    while (!rt_list_empty(queue) && batch_has_room(c)) {
        struct dm_tx *tx = rt_list_entry(queue->next, struct dm_tx, link);

        if (!gather[tx->kind](c, tx))
            return;
    }
}

/* At the end of a turn. An initiator's commands may overtake its data: they are small, and bounded by the
 * command window, so that data are not held up for long. */
static void turn_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, tx.turn);
    struct dm_tx_side *tx = &c->tx;

    (void)res;
    assert(!tx->busy);
    if (c->state == DM_OPEN || c->state == DM_DRAINING) {
        tx->len = tx->iov_nr = tx->head_len = 0;
        queue_gather(c, &tx->ctl);
        queue_gather(c, &tx->unsolicited);
        queue_gather(c, &tx->solicited);
        if (tx->iov_nr) {
            tx->armed = false;
            tx->busy = true;
            rt_send(c->sock, &tx->send, tx->iov, tx->iov_nr);
            return;
        }
    }
    tx->armed = false;
    dm_tcp_event_begin(c);
    dm_tcp_event_end(c);
}

/* Memory of the tasks in this send is free again. */
static void flight_done(struct dm_tcp *c)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&c->tx.flight))) {
        struct dm_task *task = rt_list_entry(l, struct dm_task, own.flight);

        task->own.inflight = false;
        if (task->own.releasing) {
            if (c->rx.held != task)
                dm_tcp_task_let_go(c, task);
            continue;
        }
        if (task->own.put_gone) {
            task->own.put_gone = false;
            if (dm_tcp_is_open(c))
                c->dm.events->data_completion_notify(c->dm.user, task, DM_DATA_PUT, DM_OK);
        }
    }
}

static void sent_done(struct dm_tcp *c, int err)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&c->tx.sent))) {
        struct dm_ctl *ctl = rt_list_entry(l, struct dm_ctl, tx.link);

        if (ctl->sent)
            ctl->sent(ctl, err);
    }
}

static void send_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, tx.send);
    struct dm_tx_side *tx = &c->tx;
    const int err = res < 0 ? res : (uint32_t)res < tx->len ? -EPIPE : 0;

    dm_tcp_event_begin(c);
    tx->busy = false;
    if (res > 0) {
        c->stats.tx_bytes += (uint32_t)res;
        c->stats.tx_at_ns = rt_now(c->rt);
    }
    if (err && c->state == DM_DRAINING) {   /* nothing more will get through */
        dm_tcp_tx_cancel(c);
    } else if (err) {
        dm_tcp_fail(c, err);
    } else {
        sent_done(c, 0);
    }
    flight_done(c);
    if (!tx_queues_empty(c))
        tx_kick(c);
    dm_tcp_event_end(c);
}

void dm_tcp_tx_cancel(struct dm_tcp *c)
{
    struct rt_link *l;

    sent_done(c, -EPIPE);                   /* of their send: how far it got nobody knows */
    while ((l = rt_list_pop(&c->tx.ctl))) {
        struct dm_tx *tx = rt_list_entry(l, struct dm_tx, link);

        tx->queued = false;
        if (tx->kind == DM_TX_CTL) {
            struct dm_ctl *ctl = container_of(tx, struct dm_ctl, tx);

            if (ctl->sent)
                ctl->sent(ctl, -ECANCELED);
        }
    }
    while ((l = rt_list_pop(&c->tx.unsolicited)) || (l = rt_list_pop(&c->tx.solicited)))
        rt_list_entry(l, struct dm_tx, link)->queued = false;
}

void dm_tcp_tx_init(struct dm_tcp *c)
{
    rt_list_init(&c->tx.ctl);
    rt_list_init(&c->tx.unsolicited);
    rt_list_init(&c->tx.solicited);
    rt_list_init(&c->tx.sent);
    rt_list_init(&c->tx.flight);
    c->tx.send.done = send_done;
    c->tx.turn.done = turn_done;
}
