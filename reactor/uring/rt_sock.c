/*
 * rt_sock.c - listeners and streams: TCP over IPv4 and IPv6, and unix sockets
 *
 * A socket belongs to one reactor. It is closed when its owner says so and the last of its operations has
 * come back, whichever is later. Sockets are blocking ones: on a non-blocking one io_uring hands -EAGAIN
 * back instead of waiting for readiness.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

#define LISTEN_BACKLOG 1024                 /* all sessions of a host coming back at once; somaxconn caps it */
#define ACCEPT_PAUSE_NS (100 * RT_MS)       /* no descriptors: long enough not to spin, short for a login */
#define LISTEN_TRIES 200u                    /* with pauses: what a killed process leaves is gone by then */
#define LISTEN_PAUSE_NS (50 * 1000 * 1000)
#define DRAIN_STEP (1u << 20)
#define DRAIN_STEPS_MAX 16

/* One message with memory, one way. The kernel reads and writes it until the operation ends, not only when it is
 * submitted. */
struct pass {
    struct msghdr msg;
    struct iovec rest;                      /* of an iovec that was begun */
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(RT_SHM_PASS_MAX * sizeof(int))];
    size_t control_len;                     /* sent: bytes of it */
    struct rt_shm **shm;                    /* received: the caller's array, and how many are in it */
    unsigned *nr;
    int err;                                /* received: what was wrong with it */
};

struct rt_sock {
    struct rt *rt;
    int fd;
    struct rt_op *rx, *tx;                  /* outstanding: receive or accept; send or connect */
    bool closed;                            /* by its owner */
    bool shut;                              /* rt_sock_shutdown() was called */
    bool abort;                             /* so was rt_sock_abort() */
    struct rt_link zombie;                  /* on rt->zombies while closed and not yet freed */
    struct rt_timer pause;                  /* listener: until accept is tried again */
    struct rt_addr addr;                    /* where to connect to, or where a unix listener stands */
    dev_t dev;                              /* unix listener: the name we made, so that we remove no other */
    ino_t ino;
    struct pass rx_pass, tx_pass;
};

/* ---- life -------------------------------------------------------------------------------------------- */

static int sock_wrap(struct rt *rt, int fd, struct rt_sock **out)
{
    struct rt_sock *s = calloc(1, sizeof(*s));

    if (!s) {
        close(fd);
        return -ENOMEM;
    }
    s->rt = rt;
    s->fd = fd;
    rt_list_init(&s->zombie);
    *out = s;
    return 0;
}

static void name_remove(const struct rt_sock *s)
{
    struct stat st;

    if (s->ino && !lstat(s->addr.un.sun_path, &st) && st.st_ino == s->ino && st.st_dev == s->dev)
        unlink(s->addr.un.sun_path);
}

/* A TCP socket closed with bytes unread answers with a reset, which can overtake what we sent last (a login
 * refusal, a logout response) on some peers. So what has arrived is thrown away first, in bounded measure;
 * MSG_TRUNC does it without copying. */
static void sock_drain(const struct rt_sock *s)
{
    for (unsigned i = 0; i < DRAIN_STEPS_MAX; i++)
        if (recv(s->fd, NULL, DRAIN_STEP, MSG_DONTWAIT | MSG_TRUNC) <= 0)
            break;
}

static void sock_free(struct rt_sock *s)
{
    rt_list_del(&s->zombie);
    if (!s->abort)
        sock_drain(s);
    close(s->fd);
    name_remove(s);
    free(s);
}

void rt_zombies_free(struct rt *rt)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&rt->zombies)))
        sock_free(rt_list_entry(l, struct rt_sock, zombie));
}

void rt_sock_shutdown(struct rt_sock *s)
{
    assert(rt_owned(s->rt));
    s->shut = true;
    (void)shutdown(s->fd, SHUT_RDWR);       /* not connected (any more): then there is nothing to end */
}

void rt_sock_abort(struct rt_sock *s)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };

    assert(rt_owned(s->rt));
    s->abort = true;
    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
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
    rt_list_push(&s->rt->zombies, &s->zombie);
    (void)shutdown(s->fd, SHUT_RDWR);       /* the peer learns it now, and pending operations return */
    if (s->rx)
        rt_cancel(s->rx);
    if (s->tx)
        rt_cancel(s->tx);
}

void rt_sock_move(struct rt_sock *s, struct rt *to)
{
    assert(rt_owned(s->rt));
    assert(!s->rx && !s->tx && !s->closed);
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

/* Errors after which the same call is simply made again. */
static bool transient(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

static enum rt_op_next ended(struct rt_op *op, int res)
{
    op->res = res;
    return RT_OP_ENDED;
}

/* ---- listening --------------------------------------------------------------------------------------- */

/* True when a unix socket stands at that name and nobody listens on it. */
static bool stale(const struct rt_addr *at)
{
    struct stat st;
    bool refused;
    int fd;

    if (lstat(at->un.sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    /* Non-blocking: a listener whose backlog is full must not hold us up, it is alive. */
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
        return false;
    refused = connect(fd, &at->sa, at->len) && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int listen_unix(struct rt_sock *s, const struct rt_addr *at)
{
    struct stat st;
    int ret;

    /* Linux makes the name with the mode of the unbound socket: no instant in which others may connect. */
    if (fchmod(s->fd, 0600))
        return -errno;
    ret = bind(s->fd, &at->sa, at->len);
    if (ret && errno == EADDRINUSE && stale(at)) {
        unlink(at->un.sun_path);
        ret = bind(s->fd, &at->sa, at->len);
    }
    if (ret)
        return -errno;
    s->addr = *at;
    if (!lstat(at->un.sun_path, &st)) {
        s->dev = st.st_dev;
        s->ino = st.st_ino;
    }
    return 0;
}

static int listen_inet(struct rt_sock *s, const struct rt_addr *at)
{
    const int one = 1;

    /* Restarting must not wait for old connections in TIME_WAIT. */
    if (setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
        return -errno;
    /* [::] and 0.0.0.0 are portals of their own, whatever net.ipv6.bindv6only says. */
    if (at->sa.sa_family == AF_INET6 && setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)))
        return -errno;
    if (setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))   /* accepted sockets inherit it */
        return -errno;
    return bind(s->fd, &at->sa, at->len) ? -errno : 0;
}

static int listen_once(struct rt *rt, const struct rt_addr *at, struct rt_sock **out)
{
    struct rt_sock *s;
    int err, fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if ((err = sock_wrap(rt, fd, &s)))
        return err;
    err = at->sa.sa_family == AF_UNIX ? listen_unix(s, at) : listen_inet(s, at);
    if (!err && listen(fd, LISTEN_BACKLOG))
        err = -errno;
    if (err) {
        sock_free(s);
        return err;
    }
    *out = s;
    return 0;
}

/* A process that was killed is gone before its rings are: the kernel ends the accept that waits in one, and with it
 * the listener, some time later. A service that is started again at once must not fail for that. Who turns a reactor
 * cannot wait, and is no service that was just started. */
static bool may_be_let_go(const struct rt_addr *at)
{
    struct stat st;

    return !rt_self() && (at->sa.sa_family != AF_UNIX ||
                          (!lstat(at->un.sun_path, &st) && S_ISSOCK(st.st_mode)));
}

int rt_listen(struct rt *rt, const struct rt_addr *at, struct rt_sock **out)
{
    char text[RT_ADDR_STR_MAX];
    int err;

    for (unsigned i = 0; (err = listen_once(rt, at, out)) == -EADDRINUSE; i++) {
        if (i == LISTEN_TRIES || !may_be_let_go(at))
            break;
        if (!i) {
            rt_addr_format(at, text);
            rt_log(RT_NOTICE, "%s is in use: waiting for up to 10 s, in case its owner was killed just now", text);
        }
        nanosleep(&(struct timespec){ .tv_nsec = LISTEN_PAUSE_NS }, NULL);
    }
    return err;
}

int rt_sock_addr(const struct rt_sock *s, struct rt_addr *local)
{
    struct rt_addr a = { .len = sizeof(a.storage) };

    if (getsockname(s->fd, &a.sa, &a.len))
        return -errno;
    *local = a;
    return 0;
}

int rt_sock_peercred(const struct rt_sock *s, uint32_t *uid, int32_t *pid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        return -errno;
    if (len != sizeof(cred) || cred.uid == (uid_t)-1)
        return -EOPNOTSUPP;                 /* TCP answers, but with nobody */
    *uid = cred.uid;
    *pid = cred.pid;
    return 0;
}

/* The IPv4 address in an IPv6 one that is mapped, or of IPv4. Return: false: neither. */
static bool addr_v4(const struct rt_addr *a, uint32_t *out)
{
    if (a->sa.sa_family == AF_INET)
        *out = a->in.sin_addr.s_addr;
    else if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        memcpy(out, &a->in6.sin6_addr.s6_addr[12], sizeof(*out));
    else
        return false;
    return true;
}

bool rt_sock_same_host(const struct rt_sock *s)
{
    struct rt_addr us = { .len = sizeof(us.storage) }, them = { .len = sizeof(them.storage) };
    uint32_t a, b;

    if (getsockname(s->fd, &us.sa, &us.len) || getpeername(s->fd, &them.sa, &them.len))
        return false;
    if (addr_v4(&us, &a) && addr_v4(&them, &b))
        return a == b || (ntohl(a) >> 24 == IN_LOOPBACKNET && ntohl(b) >> 24 == IN_LOOPBACKNET);
    return us.sa.sa_family == AF_INET6 && them.sa.sa_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&us.in6.sin6_addr, &them.in6.sin6_addr);
}

/* ---- accepting --------------------------------------------------------------------------------------- */

static void accept_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    struct rt_addr *peer = op->u.conn.peer;

    peer->len = sizeof(peer->storage);
    io_uring_prep_accept(sqe, op->fd, &peer->sa, &peer->len, SOCK_CLOEXEC);
}

static void accept_again(struct rt_timer *t)
{
    struct rt_sock *s = container_of(t, struct rt_sock, pause);

    rt_op_requeue(s->rx);
}

static void accept_unpause(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    rt_timer_disarm(s->rt, &s->pause);
}

static enum rt_op_next accept_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_sock *s = op->obj;

    if (s->closed) {
        if (res >= 0)
            close(res);
        return ended(op, -ECANCELED);
    }
    if (res >= 0)
        return ended(op, sock_wrap(s->rt, res, op->u.conn.out));
    switch (-res) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        /* The connection stays in the backlog; asking again at once would spin. */
        if (op->flags & RT_OP_CANCEL)
            return ended(op, -ECANCELED);
        rt_log_peer(RT_WARN, "cannot accept a connection: %s; trying again", strerror(-res));
        s->pause.fn = accept_again;
        rt_timer_arm(s->rt, &s->pause, ACCEPT_PAUSE_NS);
        return RT_OP_HELD;
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:                      /* the peer left the queue; and, from accept(2), network errors */
    case ENETDOWN:                          /* that are the new connection's and not the listener's */
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPERM:                             /* a firewall's word about one peer */
        return RT_OP_AGAIN;
    default:
        return ended(op, s->shut && res == -EINVAL ? -ESHUTDOWN : res);
    }
}

static const struct rt_op_type accept_type = {
    .prep = accept_prep, .finish = accept_finish, .release = sock_release, .unpause = accept_unpause,
};

void rt_accept(struct rt_sock *s, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer)
{
    assert(!s->rx && !s->closed);
    s->rx = op;
    op->obj = s;
    op->fd = s->fd;
    op->u.conn.out = out;
    op->u.conn.peer = peer;
    rt_op_start(s->rt, op, &accept_type);
}

/* ---- connecting -------------------------------------------------------------------------------------- */

static void connect_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    struct rt_sock *s = op->obj;

    io_uring_prep_connect(sqe, op->fd, &s->addr.sa, s->addr.len);
}

static enum rt_op_next connect_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_sock *s = op->obj;

    if (res == -EINTR)
        return RT_OP_AGAIN;
    if (res == -EISCONN)                    /* what the second call says when the first was interrupted */
        res = 0;
    if (!res)
        *op->u.conn.out = s;
    return ended(op, res);
}

/* The socket is the caller's from now on, or nobody's; failed, or cancelled before it was submitted. */
static void connect_release(struct rt_op *op)
{
    struct rt_sock *s = op->obj;

    if (op->res)
        s->closed = true;
    sock_release(op);
}

static const struct rt_op_type connect_type = {
    .prep = connect_prep, .finish = connect_finish, .release = connect_release,
};
static const struct rt_op_type failed_type = { 0 };    /* there is no socket */

void rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out)
{
    const int one = 1;
    struct rt_sock *s = NULL;
    int err, fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    err = fd < 0 ? -errno : sock_wrap(rt, fd, &s);
    if (err || !s) {
        rt_op_ready(rt, op, &failed_type, err);
        return;
    }
    if (to->sa.sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));   /* slower without, not wrong */
    s->addr = *to;
    s->tx = op;
    op->obj = s;
    op->fd = fd;
    op->u.conn.out = out;
    rt_op_start(rt, op, &connect_type);
}

int rt_socketpair(struct rt *rt, struct rt_sock **ours, int *theirs)
{
    int fds[2], err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        return -errno;
    if ((err = sock_wrap(rt, fds[0], ours))) {
        close(fds[1]);
        return err;
    }
    *theirs = fds[1];
    return 0;
}

/* ---- moving bytes ------------------------------------------------------------------------------------
 *
 * All through the ring: one enter a turn does the sends and receives of every stream of the core. Two pinned
 * reactors over TCP loopback on 2 virtual cores (AMD EPYC, Linux 6.18), 48-byte requests and 4,144-byte
 * responses, polling; best and median of 14 interleaved runs, thousands of responses a second:
 *
 *                                              ping-pong     4 in flight    32 in flight
 *   this                                        97   83        299   253       923   766
 *   ... and IORING_RECVSEND_POLL_FIRST          97   76        259   241       875   672
 *   ... and send(2) first, the ring for rest    88   77        306   245       872   707
 *   poll through the ring, then recv(2)         95   84        288   243       899   737
 *   both of these                               98   84        292   269       857   726
 *
 * That is within the noise of the machine, so it is the simplest. Bulk (256 KiB responses, each byte copied
 * once more) runs at 4.5 GB/s whichever way, with 1 to 16 shared buffers.
 */

/* What is left of the iovecs, as one buffer when that is all or when the first is begun: so a resumed
 * transfer needs no array of its own. Return: the single buffer's length, 0 when msg was filled instead. */
static size_t iov_left(const struct rt_op *op, void **buf, struct msghdr *msg)
{
    const struct iovec *iov = op->u.rw.iov;

    if (op->n == 1 || op->skip) {
        *buf = (uint8_t *)iov->iov_base + op->skip;
        return iov->iov_len - op->skip;
    }
    *msg = (struct msghdr){ .msg_iov = (struct iovec *)iov, .msg_iovlen = op->n };
    return 0;
}

/* Return: whether there is anything to move. */
static bool io_set(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n)
{
    op->obj = s;
    op->fd = s->fd;
    return rt_op_iov(op, iov, n);
}

static void recv_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    const int flags = op->flags & RT_OP_ALL ? MSG_WAITALL : 0;
    void *buf;
    const size_t len = iov_left(op, &buf, msg);

    if (len)
        io_uring_prep_recv(sqe, op->fd, buf, len, flags);
    else
        io_uring_prep_recvmsg(sqe, op->fd, msg, (unsigned)flags);
}

static enum rt_op_next recv_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_sock *s = op->obj;

    if (s->closed)
        return ended(op, -ECANCELED);
    if (transient(res) || res == -ENOBUFS)
        return RT_OP_AGAIN;
    if (!res && s->shut)
        res = -ESHUTDOWN;                   /* it was not the peer who ended it */
    if (!(op->flags & RT_OP_ALL))
        return ended(op, res);
    if (res > 0 && rt_op_advance(op, (uint32_t)res))
        return RT_OP_AGAIN;
    return ended(op, op->moved ? (int)op->moved : res);
}

static const struct rt_op_type recv_type = {
    .prep = recv_prep, .finish = recv_finish, .release = sock_release,
};

void rt_recv(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, unsigned flags)
{
    assert(!s->rx && !s->closed);
    if (!io_set(s, op, iov, n))
        assert(!"0 bytes asked for would read as the peer's end");
    s->rx = op;
    op->flags = flags & RT_RECV_ALL ? RT_OP_ALL : 0;
    rt_op_start(s->rt, op, &recv_type);
}

static void shared_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    if (!op->rt->shared.ring) {
        io_uring_prep_poll_add(sqe, op->fd, POLLIN);
        return;
    }
    io_uring_prep_recv(sqe, op->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;      /* of group 0, when there are bytes and not before */
    sqe->buf_group = 0;
    if (op->flags & RT_OP_LATER)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    op->flags &= (uint16_t)~RT_OP_LATER;
}

static enum rt_op_next shared_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    const struct rt_shared *sh = &op->rt->shared;

    /* Ready, or the ring's buffers are taken: by the first few streams of many that bytes came for at once. To ask the ring
     * again is no way out, as in each pass all but those few would be refused: with 1,024 streams that was 95 % of the time.
     * One buffer does for all: done runs before the next completion is looked at. */
    if (sh->ring ? res == -ENOBUFS : res >= 0) {
        op->buf = sh->spare;
        res = (int)recv(op->fd, sh->spare, RT_RECV_SHARED_MAX, MSG_DONTWAIT);
        if (res < 0)
            res = -errno;
        if (res == -EAGAIN) /* a buffer is asked for before there are bytes, too */
            op->flags |= RT_OP_LATER;
    }
    return recv_finish(op, res, cqe_flags);
}

static const struct rt_op_type shared_type = {
    .prep = shared_prep, .finish = shared_finish, .release = sock_release,
};

void rt_recv_shared(struct rt_sock *s, struct rt_op *op)
{
    assert(!s->rx && !s->closed);
    (void)io_set(s, op, NULL, 0);
    s->rx = op;
    op->flags = 0;
    rt_op_start(s->rt, op, &shared_type);
}

static void send_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    /* The kernel goes on by itself after a short send; send_finish() does where it cannot. */
    const int flags = MSG_NOSIGNAL | MSG_WAITALL;
    void *buf;
    const size_t len = iov_left(op, &buf, msg);

    if (len)
        io_uring_prep_send(sqe, op->fd, buf, len, flags);
    else
        io_uring_prep_sendmsg(sqe, op->fd, msg, (unsigned)flags);
}

static enum rt_op_next send_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_sock *s = op->obj;

    if (s->closed)
        return ended(op, -ECANCELED);
    if (transient(res))
        return RT_OP_AGAIN;
    if (res > 0 && rt_op_advance(op, (uint32_t)res))
        return RT_OP_AGAIN;
    if (op->moved)
        return ended(op, (int)op->moved);
    return ended(op, res ? res : -EPIPE);
}

static const struct rt_op_type send_type = {
    .prep = send_prep, .finish = send_finish, .release = sock_release,
};

void rt_send(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n)
{
    assert(!s->tx && !s->closed);
    s->tx = op;
    op->flags = 0;
    if (!io_set(s, op, iov, n))             /* nothing to send */
        rt_op_ready(s->rt, op, &send_type, 0);
    else
        rt_op_start(s->rt, op, &send_type);
}

/* ---- passing memory ----------------------------------------------------------------------------------
 *
 * Without MSG_WAITALL: the kernel's own going on after a short transfer does not mind the control data, and on some
 * versions sends descriptors twice, or forgets those that came with the first piece.
 */

/* The iovecs that are left. */
static void pass_iov(const struct rt_op *op, struct pass *p)
{
    p->msg = (struct msghdr){ .msg_iov = (struct iovec *)op->u.rw.iov, .msg_iovlen = op->n };
    if (op->skip) {
        p->rest.iov_base = (uint8_t *)op->u.rw.iov->iov_base + op->skip;
        p->rest.iov_len = op->u.rw.iov->iov_len - op->skip;
        p->msg.msg_iov = &p->rest;
        p->msg.msg_iovlen = 1;
    }
}

static void send_shm_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    struct rt_sock *s = op->obj;
    struct pass *p = &s->tx_pass;

    pass_iov(op, p);
    if (!op->moved) {                       /* with the first byte, and only with it */
        p->msg.msg_control = p->control;
        p->msg.msg_controllen = p->control_len;
    }
    io_uring_prep_sendmsg(sqe, op->fd, &p->msg, MSG_NOSIGNAL);
}

static const struct rt_op_type send_shm_type = {
    .prep = send_shm_prep, .finish = send_finish, .release = sock_release,
};

void rt_send_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm *const *shm,
                 unsigned nr)
{
    const struct cmsghdr head = {
        .cmsg_len = CMSG_LEN(nr * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
    };

    assert(!s->tx && !s->closed);
    assert(nr && nr <= RT_SHM_PASS_MAX);
    if (!io_set(s, op, iov, n))
        assert(!"memory goes with a byte at least");
    memcpy(s->tx_pass.control, &head, sizeof(head));
    for (unsigned i = 0; i < nr; i++) {
        const int fd = rt_shm_fd(shm[i]);

        memcpy(s->tx_pass.control + CMSG_LEN(i * sizeof(int)), &fd, sizeof(fd));
    }
    s->tx_pass.control_len = head.cmsg_len;
    s->tx = op;
    op->flags = 0;
    rt_op_start(s->rt, op, &send_shm_type);
}

static void recv_shm_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    struct rt_sock *s = op->obj;
    struct pass *p = &s->rx_pass;

    pass_iov(op, p);
    p->msg.msg_control = p->control;
    p->msg.msg_controllen = sizeof(p->control);
    io_uring_prep_recvmsg(sqe, op->fd, &p->msg, MSG_CMSG_CLOEXEC);
}

/* Takes one descriptor that came, or closes it and notes what was wrong. */
static void pass_take(struct pass *p, int fd)
{
    int err;

    if (*p->nr == RT_SHM_PASS_MAX) {
        close(fd);
        err = -EPROTO;
    } else if (!(err = rt_shm_take(fd, &p->shm[*p->nr]))) {
        ++*p->nr;
    }
    if (err && !p->err)
        p->err = err;
}

/* Takes all that came with one piece. */
static void pass_collect(struct pass *p)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&p->msg); c; c = CMSG_NXTHDR(&p->msg, c)) {
        const size_t n = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
                             ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            pass_take(p, fd);
        }
    }
    if (p->msg.msg_flags & MSG_CTRUNC)      /* there were more; the kernel has dropped those */
        p->err = -EPROTO;
}

static enum rt_op_next recv_shm_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_sock *s = op->obj;
    struct pass *p = &s->rx_pass;

    if (res >= 0)
        pass_collect(p);                    /* closed or not: they are ours now, and nobody else's */
    if (p->err)
        return ended(op, p->err);
    return recv_finish(op, res, cqe_flags);
}

static void recv_shm_release(struct rt_op *op)
{
    struct rt_sock *s = op->obj;
    struct pass *p = &s->rx_pass;

    if (op->res < 0)                        /* with a message that did not come whole nobody can do anything */
        while (*p->nr)
            rt_shm_free(p->shm[--*p->nr]);
    sock_release(op);
}

static const struct rt_op_type recv_shm_type = {
    .prep = recv_shm_prep, .finish = recv_shm_finish, .release = recv_shm_release,
};

void rt_recv_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm **shm,
                 unsigned *nr)
{
    assert(!s->rx && !s->closed);
    if (!io_set(s, op, iov, n))
        assert(!"0 bytes asked for would read as the peer's end");
    *nr = 0;
    s->rx_pass.shm = shm;
    s->rx_pass.nr = nr;
    s->rx_pass.err = 0;
    s->rx = op;
    op->flags = RT_OP_ALL;
    rt_op_start(s->rt, op, &recv_shm_type);
}
