/*
 * dm_shm.c - the shared-memory datamover: rings, wake-ups, tasks, and the end of a connection
 *
 * Owns both rings' private sides, the unix socket while it is open, and the TCP connection of the login, whose end is this
 * connection's. What only one role does is dm_shm_ini.c's and dm_shm_tgt.c's.
 */
#include <stdlib.h>
#include "loopback/dm_shm.h"
#include "reactor/rt_bytes.h"

/* ---- tasks ----------------------------------------------------------------------------------------------- */

static struct dm_task **task_bucket(struct dm_shm *c, uint32_t itt)
{
    return &c->hash[(itt * 0x9e3779b1u) >> (32 - SHM_HASH_BITS)];
}

/* Not the whole of own: most of it is dm_tcp's, and this is done for each command. */
void shm_task_begin(struct dm_shm *c, struct dm_task *task)
{
    struct dm_task **head = task_bucket(c, task->itt);
    struct dm_task_own *own = &task->own;

    assert(!own->known);
    task->out_done = task->in_done = 0;
    own->known = true;
    own->releasing = own->answered = own->bounced = own->tx.queued = false;
    own->cmd = NULL;
    own->place = NULL;
    own->sn = own->data_in_nr = 0;
    own->next = *head;
    *head = task;
}

struct dm_task *shm_task_find(const struct dm_shm *c, uint32_t itt)
{
    struct dm_task *t = *task_bucket((struct dm_shm *)(uintptr_t)c, itt);

    while (t && (t->itt != itt || t->own.answered))
        t = t->own.next;
    return t;
}

void shm_task_forget(struct dm_shm *c, struct dm_task *task)
{
    struct dm_task **at = task_bucket(c, task->itt);

    while (*at != task)
        at = &(*at)->own.next;
    *at = task->own.next;
    task->own.known = task->own.releasing = false;
}

/* ---- what is told later ---------------------------------------------------------------------------------- */

static void defer_arm(struct dm_shm *c)
{
    if (c->in_event || c->defer_busy)
        return;
    c->defer_busy = true;
    rt_defer(c->rt, &c->defer);
}

void shm_unqueue(struct dm_tx *tx)
{
    if (!tx->queued)
        return;
    tx->queued = false;
    rt_list_del(&tx->link);
}

void shm_due(struct dm_shm *c, struct dm_tx *tx, enum shm_tx_kind kind)
{
    assert(!tx->queued);
    tx->kind = (uint8_t)kind;
    tx->queued = true;
    rt_list_push(&c->due, &tx->link);
    defer_arm(c);
}

static void due_tell(struct dm_shm *c, struct dm_tx *tx)
{
    struct dm_task *task = container_of(tx, struct dm_task, own.tx);
    struct dm_ctl *ctl;

    tx->queued = false;
    if (tx->kind == SHM_DUE_SENT) {
        ctl = container_of(tx, struct dm_ctl, tx);
        if (ctl->sent)
            ctl->sent(ctl, 0);
        return;
    }
    if (c->state != SHM_OPEN)
        return; /* closed() speaks for all of them */
    if (tx->kind == SHM_DUE_RELEASED) {
        shm_task_forget(c, task);
        c->dm.events->task_released(c->dm.user, task);
        return;
    }
    c->dm.events->data_completion_notify(c->dm.user, task, tx->kind == SHM_DUE_GOT ? DM_DATA_GET : DM_DATA_PUT,
                                         DM_OK);
}

/* What becomes due meanwhile waits for the next turn, or this could go on for ever. */
static void due_tell_all(struct dm_shm *c)
{
    struct rt_link all, *l;

    if (rt_list_empty(&c->due))
        return;
    all = c->due;
    all.next->prev = all.prev->next = &all;
    rt_list_init(&c->due);
    while ((l = rt_list_pop(&all)))
        due_tell(c, rt_list_entry(l, struct dm_tx, link));
}

/* ---- sending --------------------------------------------------------------------------------------------- */

static void wake_send(struct dm_shm *c)
{
    if (c->wake_busy) { /* the peer takes no bytes, or sleeps faster than they go */
        c->wake_again = true;
        return;
    }
    c->wake_busy = true;
    rt_send(c->sock, &c->wake, &c->wake_iov, 1);
}

static void wake_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, wake);
    const bool again = c->wake_again && res >= 0 && c->state <= SHM_DRAINING;

    c->wake_busy = c->wake_again = false;
    if (again)
        wake_send(c);
    shm_event_begin(c); /* a broken socket is told by receiving */
    shm_event_end(c);
}

/* At the end of a turn that wrote slots. */
static void turn_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, turn);
    _Atomic uint32_t *asleep = &c->tx.ring->asleep;

    (void)res;
    c->turn_busy = false;
    if (c->state <= SHM_DRAINING) {
        /* Pairs with the fence in sleeps(): either it sees our slots, or we see that it sleeps. */
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(asleep, memory_order_relaxed)) {
            atomic_store_explicit(asleep, 0, memory_order_relaxed); /* one byte wakes it */
            wake_send(c);
        }
        shm_try_rest(c);
        return;
    }
    shm_event_begin(c);
    shm_event_end(c);
}

bool shm_has_room(struct dm_shm *c, uint32_t len)
{
    const int err = shm_tx_room(&c->tx, len);

    if (err == -EPROTO)
        shm_fail(c, err);
    return !err;
}

void shm_push(struct dm_shm *c, uint32_t len)
{
    shm_tx_push(&c->tx);
    c->stats.tx_pdus++;
    c->stats.tx_bytes += ISCSI_BHS_LEN + len;
    if (c->turn_busy)
        return;
    c->turn_busy = true;
    rt_turn_end(c->rt, &c->turn);
}

void shm_queue(struct dm_shm *c, struct dm_tx *tx, enum shm_tx_kind kind)
{
    assert(!tx->queued);
    tx->kind = (uint8_t)kind;
    tx->queued = true;
    rt_list_push(&c->queue, &tx->link);
    if (c->state <= SHM_DRAINING && !rt_timer_armed(&c->tick))
        rt_timer_arm(c->rt, &c->tick, SHM_TICK_NS);
}

/* Target: with its response a task is over for the initiator, who may use the tag again at once. */
static void response_fix(struct dm_shm *c, struct iscsi_pdu *pdu)
{
    struct dm_task *task = shm_task_find(c, pdu->itt);

    c->exp_cmd_sn = pdu->exp_cmd_sn;
    c->max_cmd_sn = pdu->max_cmd_sn;
    if (!task)
        return;
    pdu->resp.exp_data_sn = pdu->resp.response == ISCSI_RESPONSE_COMPLETED ? task->own.data_in_nr : 0;
    task->own.answered = true;
}

/* Return: false: it has to wait. */
static bool control_write(struct dm_shm *c, struct dm_ctl *ctl)
{
    struct iscsi_pdu *pdu = &ctl->pdu;
    const uint32_t len = pdu->data_len;
    struct loop_slot *s;

    if (pdu->opcode == ISCSI_OP_SCSI_CMD)
        return shm_ini_command_write(c, ctl);
    assert(len <= LOOP_DATA_MAX);
    if (!shm_has_room(c, len))
        return false;
    if (pdu->opcode == ISCSI_OP_SCSI_RESP)
        response_fix(c, pdu);
    s = shm_tx_slot(&c->tx);
    iscsi_pdu_encode(s->bhs, pdu);
    store_be24(&s->bhs[5], 0);
    s->off = len ? shm_tx_data(&c->tx, ctl->data, len) : 0;
    s->len = len;
    shm_push(c, len);
    return true;
}

/* A command that waits for a stand-in waits for the target. What finds out that the target does not answer, and what makes it
 * give up a command that it has, must not wait behind that: a ping, and the end of one task. Both are immediate, so in no
 * order with commands (RFC 7143 4.2.2.1). What ends all tasks of a unit waits: it is to reach those before it. */
static bool overtakes(const struct dm_shm *c, const struct iscsi_pdu *pdu)
{
    const struct dm_task *task;

    if (c->role != ISCSI_INITIATOR || !shm_is_open(c) || !pdu->immediate ||
        container_of(rt_list_entry(c->queue.next, struct dm_tx, link), struct dm_ctl, tx)->pdu.opcode !=
            ISCSI_OP_SCSI_CMD)
        return false;
    if (pdu->opcode != ISCSI_OP_TMF)
        return pdu->opcode == ISCSI_OP_NOP_OUT;
    if (pdu->tmf.function != ISCSI_TMF_ABORT_TASK)
        return false;
    task = shm_task_find(c, pdu->tmf.ref_task_tag);
    return task && !task->own.cmd; /* one that is still queued must not come behind its abort */
}

static bool send_control(struct dm *dm, struct dm_ctl *ctl)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    ctl->tx.queued = false;
    if (ctl->task)
        shm_ini_begin(c, ctl);
    if ((!shm_may_send(c) && !overtakes(c, &ctl->pdu)) || !control_write(c, ctl)) {
        shm_queue(c, &ctl->tx, SHM_TX_CTL);
        return false;
    }
    if (ctl->at_once)
        return true;
    shm_due(c, &ctl->tx, SHM_DUE_SENT);
    return false;
}

/* Return: whether any of it went out. From an event. */
static bool queue_flush(struct dm_shm *c)
{
    bool any = false;

    while (!rt_list_empty(&c->queue) && (shm_is_open(c) || c->state == SHM_DRAINING)) {
        struct dm_tx *tx = rt_list_entry(c->queue.next, struct dm_tx, link);
        struct dm_ctl *ctl = container_of(tx, struct dm_ctl, tx);
        struct dm_task *task = container_of(tx, struct dm_task, own.tx);

        if (tx->kind == SHM_TX_CTL ? !control_write(c, ctl) : !shm_tgt_put_write(c, task))
            break;
        any = true;
        shm_unqueue(tx);
        if (tx->kind == SHM_TX_PUT && c->state == SHM_OPEN)
            c->dm.events->data_completion_notify(c->dm.user, task, DM_DATA_PUT, DM_OK);
        else if (tx->kind == SHM_TX_CTL && ctl->sent)
            ctl->sent(ctl, 0);
    }
    return any;
}

/* ---- receiving ------------------------------------------------------------------------------------------- */

void shm_take_control(struct dm_shm *c, struct loop_slot *s)
{
    const uint32_t len = s->len;
    enum iscsi_reject why;
    struct iscsi_pdu pdu;
    uint8_t *data = c->small;

    if (len > LOOP_DATA_MAX || (len && (s->off > LOOP_DATA_LEN || len > LOOP_DATA_LEN - s->off))) {
        shm_fail(c, -EPROTO);
        return;
    }
    store_be24(&s->bhs[5], len); /* the slot's word counts, and the kind is judged by it */
    c->bhs = s->bhs;
    why = iscsi_pdu_decode(&pdu, s->bhs, c->role == ISCSI_TARGET ? ISCSI_FROM_INITIATOR : ISCSI_FROM_TARGET);
    if (why) {
        c->dm.events->reject_notify(c->dm.user, s->bhs, why);
        return;
    }
    if (len > SHM_SMALL_LEN && !(data = malloc(len))) {
        shm_fail(c, -ENOMEM);
        return;
    }
    shm_copy_once(data, c->rx.ring->data + s->off, len);
    c->dm.events->control_notify(c->dm.user, &pdu, len ? data : NULL);
    if (data != c->small)
        free(data);
}

/* At most @max slots, and none after those that have @len_max bytes of data between them: a device in memory, or a copy,
 * moves a command's data within this call. From an event. Return: how many. */
static unsigned slots_take(struct dm_shm *c, unsigned max, uint64_t len_max)
{
    struct loop_slot s;
    uint64_t len = 0;
    unsigned n = 0;

    while (n < max && len < len_max && (shm_is_open(c) || c->state == SHM_DRAINING) &&
           shm_rx_take(&c->rx, &s)) {
        n++;
        len += s.len;
        c->stats.rx_bytes += ISCSI_BHS_LEN + s.len;
        if (c->state == SHM_OPEN)
            c->take(c, &s);
    }
    if (!n)
        return 0;
    shm_rx_release(&c->rx);
    c->stats.rx_pdus += n;
    c->stats.rx_at_ns = rt_now(c->rt);
    return n;
}

static bool shm_poll(struct rt_poller *p)
{
    struct dm_shm *c = container_of(p, struct dm_shm, poller);
    bool any;

    if (!shm_rx_ready(&c->rx) && rt_list_empty(&c->queue))
        return false;
    shm_event_begin(c);
    any = slots_take(c, SHM_POLL_SLOTS, SHM_POLL_LEN);
    any |= queue_flush(c);
    shm_event_end(c);
    return any;
}

static bool sleeps(struct rt_poller *p, bool asleep)
{
    struct dm_shm *c = container_of(p, struct dm_shm, poller);
    _Atomic uint32_t *flag = &c->rx.ring->asleep;

    atomic_store_explicit(flag, asleep, memory_order_relaxed);
    if (!asleep)
        return true;
    /* Pairs with the fence in turn_done(). */
    atomic_thread_fence(memory_order_seq_cst);
    if (!shm_rx_ready(&c->rx))
        return true;
    atomic_store_explicit(flag, 0, memory_order_relaxed);
    return false;
}

void shm_poller_start(struct dm_shm *c)
{
    if (!c->polled)
        rt_poller_add(c->rt, &c->poller);
    c->polled = true;
}

void shm_poller_stop(struct dm_shm *c)
{
    if (c->polled)
        rt_poller_del(c->rt, &c->poller);
    c->polled = false;
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void tasks_forget(struct dm_shm *c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(c->hash); i++) {
        while (c->hash[i]) {
            struct dm_task *t = c->hash[i];

            if (t->own.tx.queued)
                shm_unqueue(&t->own.tx);
            c->hash[i] = t->own.next;
            t->own.known = t->own.releasing = false;
        }
    }
}

static void queue_cancel(struct dm_shm *c)
{
    struct rt_link *l;

    while (!rt_list_empty(&c->due)) /* of dm_ctls: tasks are forgotten */
        due_tell_all(c);
    while ((l = rt_list_pop(&c->queue))) {
        struct dm_tx *tx = rt_list_entry(l, struct dm_tx, link);
        struct dm_ctl *ctl = container_of(tx, struct dm_ctl, tx);

        assert(tx->kind == SHM_TX_CTL);
        tx->queued = false;
        if (ctl->sent)
            ctl->sent(ctl, -ECANCELED);
    }
}

static void close_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, close);

    (void)res;
    c->in_event = true; /* and stays so: nothing is deferred any more */
    /* Before anything is given back. Without it nothing can be, however long it takes. */
    if (c->role == ISCSI_INITIATOR && !shm_ini_revoke(c, true)) {
        rt_timer_arm(c->rt, &c->retry, SHM_RETRY_NS);
        return;
    }
    tasks_forget(c);
    queue_cancel(c);
    if (c->rings) {
        rt_sock_close(c->sock);
        rt_shm_free(c->rings);
    }
    c->state = SHM_CLOSED;
    c->dm.events->closed(c->dm.user); /* c may be gone */
}

void shm_try_close(struct dm_shm *c)
{
    if (c->state != SHM_CLOSING || c->close_busy)
        return;
    if (c->tcp || c->recv_busy || c->wake_busy || c->turn_busy || c->defer_busy || c->rest_busy)
        return;
    c->close_busy = true;
    rt_defer(c->rt, &c->close);
}

static void conn_close(struct dm_shm *c)
{
    c->state = SHM_CLOSING;
    rt_timer_disarm(c->rt, &c->tick);
    rt_timer_disarm(c->rt, &c->drain);
    rt_timer_disarm(c->rt, &c->retry);
    shm_poller_stop(c);
    rt_sock_shutdown(c->sock);
    if (c->tcp)
        dm_terminate(c->tcp, false);
    shm_try_close(c);
}

/* Everything is in the ring, where the peer finds it though we have gone: remote_end(). */
static bool drained(const struct dm_shm *c)
{
    return rt_list_empty(&c->queue);
}

static void terminate(struct dm *dm, bool drain)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    if (c->state > SHM_DRAINING || (c->state == SHM_DRAINING && drain))
        return;
    /* As with TCP: what a target that stands still has not read is not to be carried out when it was long sent by another way. */
    if (!drain && c->role == ISCSI_INITIATOR)
        shm_tx_recall(&c->tx);
    if (!drain || c->state == SHM_FAILED || c->end_err || drained(c)) {
        conn_close(c);
        return;
    }
    c->state = SHM_DRAINING;
    rt_timer_arm(c->rt, &c->drain, SHM_DRAIN_NS);
    rt_timer_arm(c->rt, &c->tick, SHM_TICK_NS);
}

static void drain_over(struct rt_timer *t)
{
    conn_close(container_of(t, struct dm_shm, drain));
}

/* Something waits for room. */
static void tick_over(struct rt_timer *t)
{
    struct dm_shm *c = container_of(t, struct dm_shm, tick);

    shm_event_begin(c);
    queue_flush(c);
    shm_event_end(c);
    if (c->state == SHM_DRAINING || (c->state == SHM_OPEN && !rt_list_empty(&c->queue)))
        rt_timer_arm(c->rt, &c->tick, SHM_TICK_NS);
}

/* Memory of released tasks, or at the end of all, could not be taken away. */
static void retry_over(struct rt_timer *t)
{
    struct dm_shm *c = container_of(t, struct dm_shm, retry);

    if (c->close_busy)
        rt_defer(c->rt, &c->close);
    else if (!shm_ini_revoke(c, false))
        rt_timer_arm(c->rt, &c->retry, SHM_RETRY_NS);
}

void shm_fail(struct dm_shm *c, int err)
{
    if (c->end_err || c->state == SHM_FAILED || c->state > SHM_DRAINING)
        return;
    c->end_err = err;
    defer_arm(c);
}

void shm_event_begin(struct dm_shm *c)
{
    assert(!c->in_event);
    c->in_event = true;
}

void shm_event_end(struct dm_shm *c)
{
    due_tell_all(c);
    if (c->end_err && c->state == SHM_OPEN) {
        c->state = SHM_FAILED;
        rt_timer_disarm(c->rt, &c->tick);
        shm_poller_stop(c);
        c->dm.events->terminate_notify(c->dm.user, c->end_err);
    }
    if (c->state == SHM_DRAINING && (c->end_err || drained(c)))
        conn_close(c);
    c->in_event = false;
    if (!rt_list_empty(&c->due))
        defer_arm(c);
    shm_try_close(c);
    shm_try_rest(c);
}

static void defer_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, defer);

    (void)res;
    c->defer_busy = false;
    shm_event_begin(c);
    shm_event_end(c);
}

/* The other end is gone. What it wrote before is as good as ever: a write that was answered must not be sent again. */
static void remote_end(struct dm_shm *c, int err)
{
    shm_event_begin(c);
    slots_take(c, LOOP_SLOTS, UINT64_MAX);
    shm_fail(c, err);
    shm_event_end(c);
}

void shm_recv_arm(struct dm_shm *c)
{
    c->recv_busy = true;
    rt_recv(c->sock, &c->recv, &c->recv_iov, 1, 0);
}

/* Bytes only wake: the poller finds what there is. */
static void recv_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, recv);
    const bool ours = res == -ECANCELED && c->recalled;

    c->recv_busy = c->recalled = false;
    if ((res <= 0 && !ours) || c->state > SHM_DRAINING)
        remote_end(c, res < 0 ? res : -ECONNRESET);
    else if (c->resting && c->state == SHM_OPEN)
        shm_try_rest(c);
    else
        shm_recv_arm(c);
}

/* ---- the TCP connection ---------------------------------------------------------------------------------- */

static void tcp_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)pdu, (void)data;
    shm_fail(user, -EPROTO); /* nothing is to come there */
}

static struct dm_task *tcp_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    tcp_control(user, pdu, ahs);
    return NULL;
}

static void tcp_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    (void)bhs, (void)reason;
    shm_fail(user, -EPROTO);
}

static void tcp_ended(void *user, int err)
{
    remote_end(user, err);
}

static void tcp_closed(void *user)
{
    struct dm_shm *c = user;

    dm_free(c->tcp);
    c->tcp = NULL;
    shm_try_close(c);
}

static void tcp_at_rest(void *user)
{
    struct dm_shm *c = user;

    c->tcp_rests = true;
    shm_try_rest(c);
}

static const struct dm_events tcp_events = {
    .control_notify = tcp_control,
    .command_notify = tcp_command,
    .reject_notify = tcp_reject,
    .terminate_notify = tcp_ended,
    .at_rest = tcp_at_rest,
    .closed = tcp_closed,
};

/* ---- operations ------------------------------------------------------------------------------------------ */

static bool release_task(struct dm *dm, struct dm_task *task)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    assert(task->own.known && !task->own.releasing);
    return c->role == ISCSI_TARGET ? shm_tgt_release(c, task) : shm_ini_release(c, task);
}

static void notice_key_values(struct dm *dm, const struct iscsi_params *params)
{
    (void)dm, (void)params; /* no length that is negotiated means anything here */
}

static void enable(struct dm *dm)
{
    (void)dm;
}

/* A peer that takes nothing is told by two looks: at the first what is to be taken is noted, and when. Nothing that is
 * done for each PDU has to care. */
static void stats(const struct dm *dm, struct dm_stats *out)
{
    struct dm_shm *c = dm_shm_of(dm);
    const uint32_t before = c->tx.taken;

    if (shm_tx_look(&c->tx))
        shm_fail(c, -EPROTO);
    if (c->tx.taken != before || (int32_t)(c->tx.taken - c->mark) >= 0) {
        c->mark = c->tx.head;
        c->mark_ns = rt_now(c->rt);
    }
    *out = c->stats;
    out->tx_at_ns = c->mark_ns;
    /* What is queued while the peer has taken everything waits for a stand-in, and that says nothing of the peer. */
    out->tx_waiting = c->tx.taken != c->tx.head;
}

static const uint8_t *header(const struct dm *dm)
{
    return dm_shm_of(dm)->bhs;
}

static void shm_free(struct dm *dm)
{
    struct dm_shm *c = dm_shm_of(dm);

    assert(c->state == SHM_CLOSED);
    free(c);
}

static const struct dm_ops dm_shm_ops = {
    .transport = "shm",
    .send_control = send_control,
    .put_data = shm_put_data,
    .get_data = shm_get_data,
    .release_task = release_task,
    .notice_key_values = notice_key_values,
    .enable = enable,
    .terminate = terminate,
    .stats = stats,
    .header = header,
    .place = shm_place,
    .rest = shm_rest,
    .move = shm_move,
    .go_on = shm_go_on,
    .free = shm_free,
};

struct dm_shm *shm_alloc(void)
{
    return calloc(1, sizeof(struct dm_shm));
}

void shm_start(struct dm_shm *c, struct dm *tcp, const struct loop_handed *h, enum iscsi_role role,
               const struct dm_events *events, void *user)
{
    struct loop_rings *rings = rt_shm_mem(h->rings);

    c->dm = (struct dm){ .ops = &dm_shm_ops, .events = events, .user = user };
    c->rt = h->rt;
    c->role = (uint8_t)role;
    c->tx.ring = role == ISCSI_TARGET ? &rings->to_initiator : &rings->to_target;
    c->rx.ring = role == ISCSI_TARGET ? &rings->to_target : &rings->to_initiator;
    c->arena = h->arena;
    c->arena_len = h->arena_len;
    c->sock = h->sock;
    rt_list_init(&c->queue);
    rt_list_init(&c->due);
    rt_list_init(&c->stuck);
    c->defer.done = defer_done;
    c->turn.done = turn_done;
    c->close.done = close_done;
    c->recv.done = recv_done;
    c->wake.done = wake_done;
    c->rest.done = shm_rest_done;
    c->recv_iov = (struct iovec){ c->recv_buf, sizeof(c->recv_buf) };
    c->wake_iov = (struct iovec){ &c->wake_byte, 1 };
    c->tick.fn = tick_over;
    c->drain.fn = drain_over;
    c->retry.fn = retry_over;
    c->stats.rx_at_ns = c->mark_ns = rt_now(c->rt);
    c->poller.poll = shm_poll;
    c->poller.rest = sleeps;
    c->tcp = tcp;
    tcp->events = &tcp_events;
    tcp->user = c;
    shm_poller_start(c);
    shm_recv_arm(c);
}
