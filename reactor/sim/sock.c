/*
 * sock.c - rt.h's sockets over the simulated network
 *
 * Owns the handles, which are their program's memory; what a handle stands for is a connection's end or a listener
 * of net.c and stream.c. A handle goes when its owner says so and the last of its operations has come back, whichever
 * is later, as with the real ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/net.h"

struct rt_sock {
    struct rt *rt;
    struct rt_link link;                    /* on rt->socks */
    struct sim_conn *conn;                  /* NULL: none (yet, any more) */
    unsigned side;                          /* its end of conn */
    struct listener *listener;
    struct rt_op *rx, *tx;                  /* outstanding: receive or accept; send or connect */
    struct rt_shm *const *tx_shm;           /* memories that go with tx; NULL: none, or they have gone */
    unsigned tx_shm_nr;
    struct rt_shm **rx_shm;                 /* where those go that come with rx */
    unsigned *rx_shm_nr;
    int rx_shm_err;
    bool closed, shut;
    struct rt_addr addr;                    /* where to connect to, or where a unix listener stands */
};

/* ---- life --------------------------------------------------------------------------------------------- */

static struct rt_sock *sock_new(struct rt *rt)
{
    struct rt_sock *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->rt = rt;
    rt_list_push(&rt->socks, &s->link);
    return s;
}

static void sock_free(struct rt_sock *s)
{
    rt_list_del(&s->link);
    if (s->conn)
        sim_end_close(s->conn, s->side, false);
    if (s->listener) {
        sim_listener_close(s->listener);
        if (s->addr.len)
            sim_fs_unsocket(s->rt->c.host->prog->machine, s->addr.un.sun_path);
    }
    free(s);
}

void sim_socks_zombies_free(struct rt *rt)
{
    rt_list_for_safe(l, &rt->socks) {
        struct rt_sock *s = rt_list_entry(l, struct rt_sock, link);

        if (s->closed)
            sock_free(s);
    }
}

void sim_socks_drop(struct rt *rt)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&rt->socks))) {
        struct rt_sock *s = rt_list_entry(l, struct rt_sock, link);

        if (s->conn)
            sim_end_close(s->conn, s->side, true);
        if (s->listener)
            sim_listener_close(s->listener);    /* a unix socket's name stays, as it does */
    }
}

void sim_sock_lost(struct rt_sock *s)
{
    s->conn = NULL;
}

void rt_sock_shutdown(struct rt_sock *s)
{
    assert(rt_owned(s->rt));
    s->shut = true;
    if (s->conn)
        sim_end_shut(s->conn, s->side);
    sim_sock_readable(s);
    sim_sock_writable(s);
}

void rt_sock_abort(struct rt_sock *s)
{
    assert(rt_owned(s->rt));
    if (s->conn)
        sim_end_abort(s->conn, s->side);
}

void rt_sock_close(struct rt_sock *s)
{
    if (!s)
        return;
    assert(rt_owned(s->rt));
    assert(!s->closed);
    s->closed = true;
    if (!s->rx && !s->tx) {
        sock_free(s);
        return;
    }
    if (s->conn)
        sim_end_shut(s->conn, s->side);     /* the peer learns it now */
    if (s->rx)
        rt_cancel(s->rx);
    if (s->tx)
        rt_cancel(s->tx);
}

void rt_sock_move(struct rt_sock *s, struct rt *to)
{
    assert(rt_owned(s->rt));
    assert(!s->rx && !s->tx && !s->closed);
    rt_list_del(&s->link);
    rt_list_push(&to->socks, &s->link);
    s->rt = to;
}

/* The operation is over: the socket may go with it. */
static void sock_release(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->rx == op)
        s->rx = NULL;
    else
        s->tx = NULL;
    if (s->closed && !s->rx && !s->tx)
        sock_free(s);
}

static enum rt_op_next ended(struct rt_op *op, int res)
{
    op->res = res;
    return RT_OP_ENDED;
}

static void cancelled(struct rt_op *op)
{
    sim_op_done(op, -ECANCELED);
}

int rt_sock_addr(const struct rt_sock *s, struct rt_addr *local)
{
    if (s->listener)
        *local = s->listener->at;
    else if (s->conn)
        *local = s->conn->addr[s->side];
    else
        return -ENOTCONN;
    return 0;
}

int rt_sock_peercred(const struct rt_sock *s, uint32_t *uid, int32_t *pid)
{
    if (!s->conn || !s->conn->local)
        return -EOPNOTSUPP;
    *uid = 0;
    *pid = s->conn->prog[!s->side] ? s->conn->prog[!s->side]->pid : 0;    /* not accepted yet */
    return 0;
}

bool rt_sock_same_host(const struct rt_sock *s)
{
    return s->conn && !s->conn->local && sim_same_number(&s->conn->addr[0], &s->conn->addr[1]);
}

int rt_socketpair(struct rt *rt, struct rt_sock **ours, int *theirs)
{
    return -EOPNOTSUPP;
}

void rt_fd_poll(struct rt *rt, struct rt_op *op, int fd, short events)
{
    sim_fail(rt->w, "rt_fd_poll(): kernel drivers are not simulated");
}

void rt_fd_uring_cmd(struct rt *rt, struct rt_op *op, int fd, uint32_t cmd_op, const void *cmd16)
{
    sim_fail(rt->w, "rt_fd_uring_cmd(): kernel drivers are not simulated");
}

/* ---- listening ---------------------------------------------------------------------------------------- */

int rt_listen(struct rt *rt, const struct rt_addr *at, struct rt_sock **out)
{
    struct sim_machine *m = rt->c.host->prog->machine;
    struct rt_sock *s;
    int err;

    assert(rt_owned(rt));
    if (!(s = sock_new(rt)))
        return -ENOMEM;
    if (!(err = sim_listener_open(m, at, &s->listener)) && at->sa.sa_family == AF_UNIX) {
        if ((err = sim_fs_socket(m, at->un.sun_path))) {
            sim_listener_close(s->listener);
            s->listener = NULL;
        } else {
            s->addr = *at;
        }
    }
    if (err) {
        sock_free(s);
        return err;
    }
    s->listener->sock = s;
    *out = s;
    return 0;
}

static void accept_begin(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->shut || !rt_list_empty(&s->listener->queue))
        sim_op_done(op, 0);
}

static enum rt_op_next accept_finish(struct rt_op *op)
{
    struct rt_sock *s = op->obj, *made;
    struct rt_link *l;
    struct sim_conn *c;

    if (s->closed)
        return ended(op, -ECANCELED);
    if (op->res)
        return RT_OP_ENDED;
    if (s->shut)
        return ended(op, -ESHUTDOWN);
    if (!(l = rt_list_pop(&s->listener->queue)))
        return RT_OP_AGAIN;                 /* the peer left the queue */
    c = rt_list_entry(l, struct sim_conn, accept);
    c->waiting = NULL;
    s->listener->queued--;
    if (!(made = sock_new(s->rt))) {
        sim_end_close(c, 1, true);
        return ended(op, -ENOMEM);
    }
    made->conn = c;
    made->side = 1;
    c->end[1].sock = made;
    c->prog[1] = s->rt->c.host->prog;
    *op->u.conn.peer = c->addr[0];
    *op->u.conn.out = made;
    return RT_OP_ENDED;
}

static const struct rt_op_type accept_type = {
    .name = "rt_accept", .begin = accept_begin, .cancel = cancelled, .finish = accept_finish, .release = sock_release,
};

void rt_accept(struct rt_sock *s, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer)
{
    assert(!s->rx && !s->closed && s->listener);
    s->rx = op;
    op->obj = s;
    op->u.conn.out = out;
    op->u.conn.peer = peer;
    rt_op_start(s->rt, op, &accept_type);
}

/* ---- connecting --------------------------------------------------------------------------------------- */

static void connect_begin(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->addr.sa.sa_family == AF_UNIX && rt_kind(s->addr.un.sun_path) < 0)
        sim_op_done(op, -ENOENT);
    else
        s->conn = sim_conn_new(s->rt->c.host->prog, &s->addr, s);
}

void sim_sock_connected(struct rt_sock *s, int err)
{
    if (!s)
        return;
    if (err)
        s->conn = NULL;
    if (s->tx && s->tx->stage == RT_OP_FLIGHT)
        sim_op_done(s->tx, err);
}

static enum rt_op_next connect_finish(struct rt_op *op)
{
    if (!op->res)
        *op->u.conn.out = op->obj;
    return RT_OP_ENDED;
}

/* The socket is the caller's from now on, or nobody's. */
static void connect_release(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (op->res)
        s->closed = true;
    sock_release(op);
}

static const struct rt_op_type connect_type = {
    .name = "rt_connect", .begin = connect_begin, .cancel = cancelled, .finish = connect_finish,
    .release = connect_release,
};
static const struct rt_op_type failed_type = { .name = "rt_connect" };    /* there is no socket */

void rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out)
{
    struct rt_sock *s;

    assert(rt_owned(rt));
    if (!(s = sock_new(rt))) {
        rt_op_ready(rt, op, &failed_type, -ENOMEM);
        return;
    }
    s->addr = *to;
    s->tx = op;
    op->obj = s;
    op->u.conn.out = out;
    rt_op_start(rt, op, &connect_type);
}

/* ---- receiving ---------------------------------------------------------------------------------------- */

/* Whether a receive would have something to say. */
static bool readable(const struct rt_sock *s)
{
    const struct end *e;

    if (s->listener)
        return s->shut || !rt_list_empty(&s->listener->queue);
    if (!s->conn || s->shut)
        return true;
    e = &s->conn->end[s->side];
    return e->rx.head || e->eof || e->dead;
}

void sim_sock_readable(struct rt_sock *s)
{
    if (s && s->rx && s->rx->stage == RT_OP_FLIGHT && readable(s))
        sim_op_done(s->rx, 0);
}

static void recv_begin(struct rt_op *op)
{
    if (readable(op->obj))
        sim_op_done(op, 0);
}

/* What a receive says when there are no bytes. AGAIN: nothing. */
static enum rt_op_next recv_over(struct rt_op *op)
{
    struct rt_sock *s = op->obj;
    struct end *e = s->conn ? &s->conn->end[s->side] : NULL;
    int err;

    if (s->shut)
        return ended(op, -ESHUTDOWN);
    if (!e)
        return ended(op, -ENOTCONN);
    if ((err = e->err)) {
        e->err = 0;                         /* told once; then it reads as the end */
        return ended(op, err);
    }
    return e->dead || e->eof ? ended(op, 0) : RT_OP_AGAIN;
}

/* What is taken of a piece at once: any part of it. */
static uint32_t some(const struct rt_sock *s, uint32_t len)
{
    const struct sim_net *n = sim_net_of(s->conn, !s->side);

    if (len > 1 && !s->conn->local && sim_rng_chance(&s->rt->w->net_rng, n->split_ppm))
        len = (uint32_t)sim_rng_range(&s->rt->w->net_rng, 1, len - 1);
    return len;
}

static const struct rt_op_type recv_shm_type;

/* A receive has come to bytes that bring memories: they are its, or nobody's. */
static void shm_arrive(struct rt_sock *s, struct seg *g)
{
    for (unsigned i = 0; i < g->shm_nr; i++) {
        struct rt_shm *h = NULL;

        if (s->rx->type == &recv_shm_type && *s->rx_shm_nr == RT_SHM_PASS_MAX)
            s->rx_shm_err = -EPROTO;
        else if (s->rx->type == &recv_shm_type && !(h = sim_shm_handle(s->rt->c.host->prog, g->shm[i])))
            s->rx_shm_err = -ENOMEM;
        if (h)
            s->rx_shm[(*s->rx_shm_nr)++] = h;
        sim_shm_unref(g->shm[i]);
    }
    g->shm_nr = 0;
}

/* Copies received bytes out, as many as there are and fit. */
static uint32_t rx_copy(struct rt_sock *s, uint8_t *to, size_t room)
{
    struct end *e = &s->conn->end[s->side];
    uint32_t done = 0;

    while (e->rx.head && done < room) {
        struct seg *g = e->rx.head;
        uint32_t n = g->len - g->off;

        shm_arrive(s, g);
        if (n > room - done)
            n = (uint32_t)(room - done);
        memcpy(to + done, g->data + g->off, n);
        g->off += n;
        done += n;
        if (g->off == g->len)
            sim_seg_free(sim_seg_pop(&e->rx));
    }
    if (done)
        sim_end_read(s->conn, s->side, done);
    return done;
}

static enum rt_op_next recv_finish(struct rt_op *op)
{
    struct rt_sock *s = op->obj;
    const bool all = op->flags & RT_OP_ALL;
    enum rt_op_next next;

    if (s->closed)
        return ended(op, -ECANCELED);
    if (op->res)
        return ended(op, op->moved ? (int)op->moved : op->res);
    while (op->n && s->conn && s->conn->end[s->side].rx.head) {
        const struct iovec *iov = op->u.rw.iov;
        uint32_t room = (uint32_t)(iov->iov_len - op->skip), n;

        if (!all)
            room = some(s, room);
        n = rx_copy(s, (uint8_t *)iov->iov_base + op->skip, room);
        (void)rt_op_advance(op, n);
        if (!all && op->skip)
            break;
    }
    if (!op->n || (op->moved && !all))
        return ended(op, (int)op->moved);
    next = recv_over(op);
    if (next == RT_OP_ENDED && op->moved)
        op->res = (int)op->moved;
    return next;
}

static enum rt_op_next recv_shm_finish(struct rt_op *op)
{
    struct rt_sock *s = op->obj;
    const enum rt_op_next next = recv_finish(op);

    return s->rx_shm_err ? ended(op, s->rx_shm_err) : next;
}

static const struct rt_op_type recv_type = {
    .name = "rt_recv", .begin = recv_begin, .cancel = cancelled, .finish = recv_finish, .release = sock_release,
};

static const struct rt_op_type recv_shm_type = {
    .name = "rt_recv_shm", .begin = recv_begin, .cancel = cancelled, .finish = recv_shm_finish,
    .release = sock_release,
};

static void recv_start(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, uint16_t flags,
                       const struct rt_op_type *type)
{
    assert(!s->rx && !s->closed);
    op->obj = s;
    if (!rt_op_iov(op, iov, n))
        assert(!"0 bytes asked for would read as the peer's end");
    s->rx = op;
    op->flags = flags;
    rt_op_start(s->rt, op, type);
}

void rt_recv(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, unsigned flags)
{
    recv_start(s, op, iov, n, flags & RT_RECV_ALL ? RT_OP_ALL : 0, &recv_type);
}

void rt_recv_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm **shm,
                 unsigned *nr)
{
    assert(s->conn && s->conn->local);
    s->rx_shm = shm;
    s->rx_shm_nr = nr;
    s->rx_shm_err = 0;
    *nr = 0;
    recv_start(s, op, iov, n, RT_OP_ALL, &recv_shm_type);
}

/* Lends one segment whole, or a copy of a part of it, or of several. */
static uint32_t rx_lend(struct rt_sock *s, struct rt_op *op)
{
    struct end *e = &s->conn->end[s->side];
    struct rt *rt = s->rt;
    struct seg *g = e->rx.head;
    const uint32_t left = g->len - g->off;

    shm_arrive(s, g);
    if (left <= RT_RECV_SHARED_MAX && some(s, left) == left && (!g->next || sim_rng_chance(&rt->w->net_rng, 500000))) {
        sim_seg_pop(&e->rx);
        op->buf = g->data + g->off;
        rt->lent = g;
        sim_end_read(s->conn, s->side, left);
        return left;
    }
    if (!rt->shared)
        rt->shared = sim_grow(NULL, RT_RECV_SHARED_MAX);
    op->buf = rt->shared;
    return rx_copy(s, rt->shared, some(s, RT_RECV_SHARED_MAX));
}

static enum rt_op_next shared_finish(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->closed)
        return ended(op, -ECANCELED);
    if (op->res)
        return RT_OP_ENDED;
    if (s->conn && s->conn->end[s->side].rx.head)
        return ended(op, (int)rx_lend(s, op));
    return recv_over(op);
}

static const struct rt_op_type shared_type = {
    .name = "rt_recv_shared", .begin = recv_begin, .cancel = cancelled, .finish = shared_finish,
    .release = sock_release,
};

void rt_recv_shared(struct rt_sock *s, struct rt_op *op)
{
    assert(!s->rx && !s->closed);
    op->obj = s;
    op->n = 0;
    s->rx = op;
    op->flags = 0;
    rt_op_start(s->rt, op, &shared_type);
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static void send_begin(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->conn && !s->shut)
        sim_end_pump(s->conn, s->side);
    else
        sim_op_done(op, -EPIPE);
}

static enum rt_op_next send_finish(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (s->closed)
        return ended(op, -ECANCELED);
    return ended(op, op->moved ? (int)op->moved : op->res);
}

static const struct rt_op_type send_type = {
    .name = "rt_send", .begin = send_begin, .cancel = cancelled, .finish = send_finish, .release = sock_release,
};

static struct rt_op *sending(const struct rt_sock *s)
{
    return s && s->tx && s->tx->stage == RT_OP_FLIGHT && s->tx->type == &send_type ? s->tx : NULL;
}

size_t sim_sock_sending(struct rt_sock *s, const uint8_t **from)
{
    const struct rt_op *op = sending(s);

    if (!op || !op->n)
        return 0;
    *from = (const uint8_t *)op->u.rw.iov->iov_base + op->skip;
    return op->u.rw.iov->iov_len - op->skip;
}

void sim_sock_sent(struct rt_sock *s, uint32_t bytes)
{
    (void)rt_op_advance(s->tx, bytes);
}

void sim_sock_writable(struct rt_sock *s)
{
    struct rt_op *op = sending(s);
    struct end *e;

    if (!op)
        return;
    if (!op->n) {
        sim_op_done(op, 0);
        return;
    }
    e = s->conn ? &s->conn->end[s->side] : NULL;
    if (!e || s->shut || e->dead) {
        int err = -EPIPE;

        if (e && e->err && !op->moved) {    /* told once, and not by a short count */
            err = e->err;
            e->err = 0;
        }
        sim_op_done(op, err);
    }
}

void sim_sock_pass(struct rt_sock *s, struct seg *to)
{
    for (unsigned i = 0; s->tx_shm && i < s->tx_shm_nr; i++)
        to->shm[to->shm_nr++] = sim_shm_ref(sim_shm_of(s->tx_shm[i]));
    s->tx_shm = NULL;
}

void rt_send(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n)
{
    assert(!s->tx && !s->closed);
    s->tx = op;
    s->tx_shm = NULL;
    op->obj = s;
    op->flags = 0;
    if (!rt_op_iov(op, iov, n))             /* nothing to send */
        rt_op_ready(s->rt, op, &send_type, 0);
    else
        rt_op_start(s->rt, op, &send_type);
}

void rt_send_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm *const *shm,
                 unsigned nr)
{
    assert(nr >= 1 && nr <= RT_SHM_PASS_MAX);
    assert(s->conn && s->conn->local);
    rt_send(s, op, iov, n);
    assert(op->n);                          /* memories go with a byte */
    s->tx_shm = shm;
    s->tx_shm_nr = nr;
}

/* ---- names -------------------------------------------------------------------------------------------- */

static void resolve_run(struct rt_work *work)
{
    struct rt_resolve *r = container_of(work, struct rt_resolve, work);
    struct rt_addr a;

    r->addr_nr = 0;
    r->err = 0;
    if (!rt_addr_parse(&a, r->host, r->port) && a.sa.sa_family != AF_UNIX) {
        r->addr[r->addr_nr++] = a;
        return;
    }
    if (!strcmp(r->host, "localhost")) {
        (void)rt_addr_parse(&r->addr[r->addr_nr++], "127.0.0.1", r->port);
        (void)rt_addr_parse(&r->addr[r->addr_nr++], "::1", r->port);
        return;
    }
    rt_list_for(l, &sim_world->machines) {
        const struct sim_machine *m = rt_list_entry(l, struct sim_machine, link);

        for (unsigned i = 0; i < m->addrs_nr && !strcmp(m->name, r->host) && r->addr_nr < ARRAY_SIZE(r->addr); i++) {
            a = m->addrs[i];
            if (a.sa.sa_family == AF_INET)
                a.in.sin_port = htons(r->port);
            else
                a.in6.sin6_port = htons(r->port);
            r->addr[r->addr_nr++] = a;
        }
    }
    if (!r->addr_nr)
        r->err = -ENOENT;
}

void rt_resolve(struct rt *rt, struct rt_resolve *r)
{
    r->work.run = resolve_run;
    rt_work(rt, &r->work);
}
