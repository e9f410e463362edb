/*
 * join.c - initiator: hands the memories over
 *
 * Connect, send the hello with rings and arena, read the welcome. The last two are under way together: a target that
 * turns us away may do so before it has read anything, and its word about why is worth more than our failed send.
 *
 * An operation that was begun comes back before the join goes: loop_join_free() before that only marks it. So each
 * completion ends in join_settle(), which looks whether it was the last, and is the one that tells and frees.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loopback/arena.h"
#include "loopback/handover.h"
#include "loopback/ring.h"

#define JOIN_S    5u
#define ERRNO_MAX 4095

struct loop_join {
    struct rt *rt;
    struct loop_arena *arena; /* with a reference */
    struct rt_shm *rings;
    struct rt_sock *sock;
    struct rt_op conn, tx, rx;
    struct rt_timer timer;
    unsigned outstanding; /* of those operations */
    bool welcome;         /* it said 0 */
    bool told;            /* done was called */
    bool freed;           /* by its owner, while operations were outstanding */
    int err;              /* 0: no failure yet */
    char why[256];
    char path[LOOP_PATH_LEN_MAX + 1];
    struct loop_hello hello;
    struct loop_welcome answer;
    struct rt_shm *memories[RT_SHM_PASS_MAX];
    struct iovec out, in;
    void (*done)(void *user, int err, const char *why);
    void *user;
};
static_assert(RT_SHM_PASS_MAX >= 2, "rings and arena");

static void join_destroy(struct loop_join *j)
{
    assert(!j->outstanding);
    rt_timer_disarm(j->rt, &j->timer);
    rt_sock_close(j->sock);
    rt_shm_free(j->rings);
    loop_arena_drop(j->arena);
    free(j);
}

/* j may be gone on return. */
static void join_settle(struct loop_join *j)
{
    if (j->outstanding || j->told)
        return;
    if (j->freed) {
        join_destroy(j);
        return;
    }
    if (!j->err && !j->welcome)
        return;
    rt_timer_disarm(j->rt, &j->timer);
    j->told = true;
    j->done(j->user, j->err, j->err ? j->why : NULL);
}

/* Ends what is under way, whose completions then find nothing more to do. */
static void join_stop(struct loop_join *j)
{
    rt_timer_disarm(j->rt, &j->timer);
    if (j->sock) {
        rt_sock_close(j->sock);
        j->sock = NULL;
    } else if (j->outstanding) {
        rt_cancel(&j->conn);
    }
}

/* The first reason is the one. */
static void join_fail(struct loop_join *j, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void join_fail(struct loop_join *j, int err, const char *fmt, ...)
{
    va_list ap;

    if (j->err)
        return;
    j->err = err;
    va_start(ap, fmt);
    vsnprintf(j->why, sizeof(j->why), fmt, ap);
    va_end(ap);
    join_stop(j);
}

static const char *words(int err)
{
    const char *text = strerrordesc_np(-err);

    return text ? text : "unknown error";
}

static bool join_over(const struct loop_join *j)
{
    return j->freed || j->err;
}

/* ---- hello and welcome ------------------------------------------------------------------------------------ */

static void hello_sent(struct rt_op *op, int res)
{
    struct loop_join *j = container_of(op, struct loop_join, tx);

    j->outstanding--;
    /* One that failed for the other end's doing says less than what is received. */
    if (!join_over(j) && res < 0 && res != -EPIPE && res != -ECONNRESET)
        join_fail(j, res, "the memories cannot be handed over: %s", words(res));
    join_settle(j);
}

/* What a target says of us, with what to do about it. */
static const char *refusal(int err)
{
    switch (-err) {
    case EPERM: return "it serves its own user and root alone: run both as one user";
    case ENOENT: return "the login that it was for has ended";
    case EDQUOT: return "it shares as much memory with others already as it may: make arenas smaller";
    case EPROTO: return "it speaks another version of it: use the same release on both ends";
    default: return words(err);
    }
}

static void welcome_read(struct loop_join *j, int res)
{
    const int err = j->answer.err;

    if (res != (int)sizeof(j->answer))
        join_fail(j, res < 0 ? res : -ECONNRESET, "the target hung up at its socket %s%s%s", j->path,
                  res < 0 ? ": " : "", res < 0 ? words(res) : "");
    else if (err > 0 || err < -ERRNO_MAX)
        join_fail(j, -EPROTO, "what the target answered at its socket %s makes no sense", j->path);
    else if (err)
        join_fail(j, err, "the target refused it: %s", refusal(err));
    else
        j->welcome = true;
}

static void welcome_came(struct rt_op *op, int res)
{
    struct loop_join *j = container_of(op, struct loop_join, rx);

    j->outstanding--;
    if (!join_over(j))
        welcome_read(j, res);
    join_settle(j);
}

/* ---- connecting ------------------------------------------------------------------------------------------- */

static const char *remedy(int err)
{
    switch (-err) {
    case EACCES:
    case EPERM: return " (it belongs to another user)";
    case ENOENT: return " (it is in another mount namespace: share that directory)";
    case ECONNREFUSED: return " (nobody listens there any more)";
    default: return "";
    }
}

static void unreachable(struct loop_join *j, int err)
{
    join_fail(j, err, "cannot reach its socket %s: %s%s", j->path, words(err), remedy(err));
}

static void connected(struct rt_op *op, int res)
{
    struct loop_join *j = container_of(op, struct loop_join, conn);

    j->outstanding--;
    if (join_over(j)) {
        rt_sock_close(j->sock); /* made in the very moment that it was given up; or NULL */
        j->sock = NULL;
    } else if (res) {
        unreachable(j, res);
    } else {
        j->memories[0] = j->rings;
        j->memories[1] = loop_arena_shm(j->arena);
        j->out = (struct iovec){ &j->hello, sizeof(j->hello) };
        j->in = (struct iovec){ &j->answer, sizeof(j->answer) };
        j->tx.done = hello_sent;
        j->rx.done = welcome_came;
        j->outstanding += 2;
        rt_recv(j->sock, &j->rx, &j->in, 1, RT_RECV_ALL);
        rt_send_shm(j->sock, &j->tx, &j->out, 1, j->memories, 2);
    }
    join_settle(j);
}

static void timed_out(struct rt_timer *t)
{
    struct loop_join *j = container_of(t, struct loop_join, timer);

    join_fail(j, -ETIMEDOUT, "the target did not answer at its socket %s within %u seconds", j->path, JOIN_S);
    join_settle(j);
}

/* ---- what the initiator calls ----------------------------------------------------------------------------- */

static int path_address(struct rt_addr *to, const char *path)
{
    const size_t len = strlen(path);

    if (path[0] != '/' || len >= sizeof(to->un.sun_path))
        return -EINVAL;
    *to = (struct rt_addr){ .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1) };
    to->un.sun_family = AF_UNIX;
    memcpy(to->un.sun_path, path, len + 1);
    return 0;
}

int loop_join_start(struct loop_join **out, struct rt *rt, const struct loop_invitation *inv,
                    struct loop_arena *arena, void (*done)(void *user, int err, const char *why), void *user)
{
    struct loop_join *j = calloc(1, sizeof(*j));
    struct rt_addr to;
    int err;

    if (!j)
        return -ENOMEM;
    j->rt = rt;
    j->done = done;
    j->user = user;
    j->timer.fn = timed_out;
    j->hello = (struct loop_hello){ .magic = LOOP_MAGIC, .version = LOOP_VERSION };
    memcpy(j->hello.token, inv->token, sizeof(j->hello.token));
    memcpy(j->path, inv->path, sizeof(j->path));
    loop_arena_hold(arena);
    j->arena = arena;
    if ((err = rt_shm_new(&j->rings, LOOP_RINGS_LEN)) == -ENOMEM) {
        join_destroy(j);
        return err;
    }
    if (err)
        join_fail(j, err, "no memory can be made to be shared: %s", words(err));
    else if ((err = path_address(&to, j->path)))
        unreachable(j, err);
    j->outstanding = 1;
    j->conn.done = connected;
    if (err) {
        rt_defer(rt, &j->conn); /* told later, like all else */
    } else {
        rt_connect(rt, &j->conn, &to, &j->sock);
        rt_timer_arm(rt, &j->timer, JOIN_S * RT_S);
    }
    *out = j;
    return 0;
}

void loop_join_free(struct loop_join *j)
{
    if (!j)
        return;
    assert(!j->freed);
    rt_assert_here(j->rt);
    if (!j->outstanding) {
        join_destroy(j);
        return;
    }
    j->freed = true;
    join_stop(j);
}

void loop_join_take(struct loop_join *j, struct loop_handed *out)
{
    struct rt_shm *arena = loop_arena_shm(j->arena);

    assert(j->told && !j->err && j->sock && j->rings);
    *out = (struct loop_handed){
        .rt = j->rt,
        .sock = j->sock,
        .rings = j->rings,
        .arena = rt_shm_mem(arena),
        .arena_len = rt_shm_len(arena),
    };
    j->sock = NULL;
    j->rings = NULL;
}
