/*
 * dm_tcp.c - the TCP datamover: set-up, tasks, and the end of a connection
 *
 * Owns the socket, the table of tasks by ITT and the order in which a connection ends: nothing is given back
 * while an operation of the reactor may still touch it. Receiving is dm_tcp_rx.c's, sending dm_tcp_tx.c's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/dm_tcp.h"

/* ---- tasks --------------------------------------------------------------------------------------------- */

/* Initiators count tags up, or pack indexes into them: a multiplication spreads either. */
static unsigned task_bucket(uint32_t itt)
{
    return (itt * 0x9e3779b1u) >> (32 - DM_HASH_BITS);
}

void dm_tcp_task_begin(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task **head = &c->hash[task_bucket(task->itt)];

    assert(!task->own.known);
    task->out_done = task->in_done = 0;
    task->own = (struct dm_task_own){ .known = true, .hashed = true, .next = *head };
    task->own.seq_left = c->params.burst_max;
    rt_list_push(&c->tasks, &task->own.all);
    *head = task;
}

struct dm_task *dm_tcp_task_find(const struct dm_tcp *c, uint32_t itt)
{
    struct dm_task *t = c->hash[task_bucket(itt)];

    while (t && t->itt != itt)
        t = t->own.next;
    return t;
}

void dm_tcp_task_unhash(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task **at = &c->hash[task_bucket(task->itt)];

    if (!task->own.hashed)
        return;
    while (*at != task)
        at = &(*at)->own.next;
    *at = task->own.next;
    task->own.hashed = false;
}

void dm_tcp_task_let_go(struct dm_tcp *c, struct dm_task *task)
{
    assert(task->own.releasing && !task->own.inflight && !task->own.tx.queued);
    if (!dm_tcp_is_open(c))
        return;                             /* closed() speaks for all of them */
    rt_list_push(&c->released, &task->own.tx.link);
    if (!c->in_event && !c->defer_busy) {
        c->defer_busy = true;
        rt_defer(c->rt, &c->defer);
    }
}

static void task_forget(struct dm_task *task)
{
    rt_list_del(&task->own.all);
    task->own.known = task->own.releasing = false;
}

static bool task_release(struct dm *dm, struct dm_task *task)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    rt_assert_here(c->rt);
    assert(task->own.known && !task->own.releasing);
    task->own.releasing = true;
    dm_tcp_task_unhash(c, task);
    dm_tcp_tx_unqueue(&task->own.tx);
    if (task->own.cmd) {
        /* Its CmdSN is given away: the command goes out, but without data, and nobody answers its R2T. */
        task->own.cmd->task = NULL;
        task->own.cmd = NULL;
    }
    if (dm_tcp_rx_drop(c, task) || task->own.inflight)
        return false;                       /* the completion lets it go */
    dm_tcp_task_let_go(c, task);
    return false;
}

/* task_released() may release others, and start new tasks in their place. */
static void tasks_released(struct dm_tcp *c)
{
    struct rt_link *l;

    while (dm_tcp_is_open(c) && (l = rt_list_pop(&c->released))) {
        struct dm_task *t = rt_list_entry(l, struct dm_task, own.tx.link);

        task_forget(t);
        c->dm.events->task_released(c->dm.user, t);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void close_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, close);

    (void)res;
    dm_tcp_tx_cancel(c);
    while (!rt_list_empty(&c->tasks))
        task_forget(rt_list_entry(c->tasks.next, struct dm_task, own.all));
    rt_sock_close(c->sock);
    c->sock = NULL;
    c->state = DM_CLOSED;
    c->dm.events->closed(c->dm.user);       /* c may be gone */
}

static void conn_try_close(struct dm_tcp *c)
{
    if (c->state != DM_CLOSING || c->close_busy)
        return;
    if (c->rx.busy || c->tx.busy || c->tx.armed || c->defer_busy || c->rest_busy)
        return;
    c->close_busy = true;
    rt_defer(c->rt, &c->close);
}

static void conn_close(struct dm_tcp *c)
{
    c->state = DM_CLOSING;
    rt_timer_disarm(c->rt, &c->drain);
    rt_sock_shutdown(c->sock);
    conn_try_close(c);
}

static void conn_drain_over(struct rt_timer *t)
{
    conn_close(container_of(t, struct dm_tcp, drain));
}

static void conn_terminate(struct dm *dm, bool drain)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    rt_assert_here(c->rt);
    if (c->state > DM_DRAINING || (c->state == DM_DRAINING && drain))
        return;
    /* Commands in the kernel's buffers are not to reach the target when they were long sent by another way. */
    if (!drain && c->role == ISCSI_INITIATOR)
        rt_sock_abort(c->sock);
    if (!drain || c->state == DM_FAILED || dm_tcp_tx_idle(c)) {
        conn_close(c);
        return;
    }
    /* Receiving goes on: a socket that is closed with bytes unread resets the connection, and the peer would
     * lose what is being drained. */
    c->state = DM_DRAINING;
    rt_timer_arm(c->rt, &c->drain, DM_DRAIN_NS);
    dm_tcp_rx_go_on(c);                     /* if it was at rest */
}

void dm_tcp_fail(struct dm_tcp *c, int err)
{
    if (!dm_tcp_is_open(c))
        return;
    c->state = DM_FAILED;
    rt_sock_shutdown(c->sock);
    c->dm.events->terminate_notify(c->dm.user, err);
}

static bool conn_is_quiet(const struct dm_tcp *c)
{
    return c->resting && dm_tcp_is_open(c) && !c->rx.busy && !c->tx.armed && dm_tcp_tx_idle(c) && !c->defer_busy &&
           rt_list_empty(&c->released);
}

/* Told from an operation of its own, so that nothing of this connection is left on the stack. */
static void conn_try_rest(struct dm_tcp *c)
{
    if (c->rest_busy || !conn_is_quiet(c))
        return;
    c->rest_busy = true;
    rt_defer(c->rt, &c->rest);
}

static void rest_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, rest);

    (void)res;
    c->rest_busy = false;
    if (conn_is_quiet(c))
        c->dm.events->at_rest(c->dm.user);  /* c may be another core's */
    else
        conn_try_close(c);                  /* or something came in between, and the end of that comes here again */
}

void dm_tcp_event_begin(struct dm_tcp *c)
{
    assert(!c->in_event);
    c->in_event = true;
}

void dm_tcp_event_end(struct dm_tcp *c)
{
    tasks_released(c);
    c->in_event = false;
    if (c->state == DM_DRAINING && dm_tcp_tx_idle(c))
        conn_close(c);
    conn_try_close(c);
    conn_try_rest(c);
}

static void defer_done(struct rt_op *op, int res)
{
    struct dm_tcp *c = container_of(op, struct dm_tcp, defer);

    (void)res;
    c->defer_busy = false;
    dm_tcp_event_begin(c);
    dm_tcp_event_end(c);
}

/* ---- operations ---------------------------------------------------------------------------------------- */

static void params_notice(struct dm *dm, const struct iscsi_params *params)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    c->params = *params;
    c->r2t_max = params->r2t_max < DM_R2T_MAX ? params->r2t_max : DM_R2T_MAX;
}

static void conn_enable(struct dm *dm)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    c->enabled = true;
    c->header_digest = c->params.header_digest;
    c->data_digest = c->params.data_digest;
}

static void conn_stats(const struct dm *dm, struct dm_stats *out)
{
    const struct dm_tcp *c = dm_tcp_of(dm);

    *out = c->stats;
    out->tx_waiting = !dm_tcp_tx_idle(c);
}

static const uint8_t *conn_header(const struct dm *dm)
{
    return dm_tcp_of(dm)->rx.bhs;
}

static void conn_rest(struct dm *dm)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    rt_assert_here(c->rt);
    assert(!c->resting);
    if (!dm_tcp_is_open(c))
        return;
    c->resting = true;
    dm_tcp_rx_recall(c);
    conn_try_rest(c);
}

static void conn_move(struct dm *dm, struct rt *to)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    rt_assert_here(c->rt);
    assert(conn_is_quiet(c) && !c->rest_busy);
    assert(rt_list_empty(&c->tasks));
    assert(!rt_timer_armed(&c->drain));
    rt_sock_move(c->sock, to);
    c->rt = to;
}

static void conn_go_on(struct dm *dm)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    rt_assert_here(c->rt);
    c->resting = false;
    dm_tcp_rx_go_on(c);
}

static void conn_free(struct dm *dm)
{
    struct dm_tcp *c = dm_tcp_of(dm);

    assert(c->state == DM_CLOSED);
    dm_tcp_rx_free(c);
    free(c);
}

static const struct dm_ops dm_tcp_ops = {
    .transport = "tcp",
    .send_control = dm_tcp_send_control,
    .put_data = dm_tcp_put_data,
    .get_data = dm_tcp_get_data,
    .release_task = task_release,
    .notice_key_values = params_notice,
    .enable = conn_enable,
    .terminate = conn_terminate,
    .stats = conn_stats,
    .header = conn_header,
    .rest = conn_rest,
    .move = conn_move,
    .go_on = conn_go_on,
    .free = conn_free,
};

int dm_tcp_new(struct dm **out, struct rt *rt, struct rt_sock *sock, enum iscsi_role role,
               const struct dm_events *events, void *user)
{
    struct dm_tcp *c = calloc(1, sizeof(*c));

    if (!c) {
        rt_sock_close(sock);
        return -ENOMEM;
    }
    c->dm = (struct dm){ .ops = &dm_tcp_ops, .events = events, .user = user };
    c->rt = rt;
    c->sock = sock;
    c->role = role;
    iscsi_params_default(&c->params);
    c->r2t_max = 1;
    c->defer.done = defer_done;
    c->close.done = close_done;
    c->rest.done = rest_done;
    c->drain.fn = conn_drain_over;
    rt_list_init(&c->tasks);
    rt_list_init(&c->released);
    c->stats.rx_at_ns = c->stats.tx_at_ns = rt_now(rt);
    dm_tcp_tx_init(c);
    c->rx.op.done = dm_tcp_rx_done;
    dm_tcp_rx_arm(c);
    *out = &c->dm;
    return 0;
}
