/*
 * door.c - target: takes what initiators hand over
 *
 * The door owns its listener and the guests that have not said a token yet; there are GUESTS_MAX of them at most, and
 * while there are so many nobody is let in: who waits outside waits in the kernel. Then a guest is its callee's. What it
 * brought is mapped on a helper thread: where memory is locked all of it is touched then, and no core is held up for it.
 *
 * What guests have mapped is bounded in all: it is theirs to choose how long it is, but a target that locks its memory has
 * every page of it for as long as they stay.
 *
 * A guest goes when its owner said so and the last of what is under way for it has come back, whichever is later. One that
 * nobody admitted is told that on the way out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loopback/door.h"
#include "loopback/handover.h"
#include "loopback/ring.h"
#include "reactor/rt_list.h"
#include "reactor/rt_log.h"

#define GUESTS_MAX 64u
#define HELLO_NS   (2 * RT_S) /* to say hello, and to take our answer */
#define PAUSE_NS   RT_S       /* when descriptors or memory ran out */
#define MEM_PART   4u /* of the machine's memory, one of so many parts may be guests' */

enum stage {
    GUEST_LISTENING, /* to its hello; the door's */
    GUEST_SAID,      /* given to who looks for its login */
    GUEST_MAPPING,   /* on a helper thread */
    GUEST_ANSWERING, /* the welcome is under way */
    GUEST_ADMITTED,
    GUEST_REFUSED, /* done has said why, or nobody waits for it */
};

/* What guests of one door may map yet. Theirs and the door's: guests outlive it, on other cores. */
struct share {
    _Atomic unsigned users;
    _Atomic uint64_t left; /* bytes */
};

struct loop_guest {
    struct rt *rt;
    struct share *share;
    uint64_t mapped;        /* bytes of the share */
    struct loop_door *door; /* NULL: it is its callee's, or nobody's */
    struct rt_link link;    /* in door->guests */
    struct rt_sock *sock;   /* NULL once closed */
    struct rt_op op;        /* the hello, then the welcome */
    struct rt_timer timer;  /* until the hello is here, and while an answer is under way */
    struct rt_work work;
    enum stage stage;
    bool busy;  /* op or work is outstanding */
    bool freed; /* by its owner */
    bool pinned;
    int err;               /* what the welcome says */
    const char *why;       /* the same in words */
    struct rt_shm *shm[2]; /* rings, arena */
    unsigned shm_nr;
    struct loop_hello hello;
    struct loop_welcome welcome;
    struct iovec iov;
    void (*done)(void *user, int err, const char *why);
    void *user;
};
static_assert(RT_SHM_PASS_MAX == 2, "who brings more is turned away below us");

struct loop_door {
    struct rt *rt;
    struct rt_sock *listener; /* NULL once closed */
    struct rt_op accept_op;
    struct rt_sock *incoming;
    struct rt_addr incoming_addr;
    bool accepting; /* accept_op is outstanding */
    struct rt_timer pause;
    struct share *share;
    struct rt_link guests;
    unsigned guests_nr;
    void (*came)(void *user, struct loop_guest *g);
    void *user;
};

static void door_accept(struct loop_door *d);

/* ---- the share -------------------------------------------------------------------------------------------- */

static void share_drop(struct share *s)
{
    /* Acquire and release: the last one frees what the others are through with. */
    if (s && atomic_fetch_sub_explicit(&s->users, 1, memory_order_acq_rel) == 1)
        free(s);
}

static bool share_take(struct share *s, uint64_t len)
{
    uint64_t left = atomic_load_explicit(&s->left, memory_order_relaxed);

    do {
        if (left < len)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&s->left, &left, left - len, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* ---- the end of a guest ----------------------------------------------------------------------------------- */

static void guest_destroy(struct loop_guest *g)
{
    assert(!g->busy && !g->door);
    rt_timer_disarm(g->rt, &g->timer);
    if (g->pinned)
        rt_shm_unpin(g->rt, g->shm[1]);
    rt_sock_close(g->sock);
    for (unsigned i = 0; i < g->shm_nr; i++)
        rt_shm_free(g->shm[i]);
    atomic_fetch_add_explicit(&g->share->left, g->mapped, memory_order_relaxed);
    share_drop(g->share);
    free(g);
}

static void guest_leave_door(struct loop_guest *g)
{
    struct loop_door *d = g->door;

    if (!d)
        return;
    g->door = NULL;
    rt_list_del(&g->link);
    d->guests_nr--;
    door_accept(d);
}

/* Its socket is closed, which ends the operation on it. */
static void guest_hang_up(struct loop_guest *g)
{
    rt_timer_disarm(g->rt, &g->timer);
    rt_sock_close(g->sock);
    g->sock = NULL;
}

static void timed_out(struct rt_timer *t)
{
    guest_hang_up(container_of(t, struct loop_guest, timer));
}

/* ---- the answer ------------------------------------------------------------------------------------------- */

/* g may be gone on return. */
static void answered(struct rt_op *op, int res)
{
    struct loop_guest *g = container_of(op, struct loop_guest, op);

    g->busy = false;
    rt_timer_disarm(g->rt, &g->timer);
    guest_leave_door(g);
    if (g->freed) {
        guest_destroy(g);
        return;
    }
    if (!g->err && (!g->sock || res != (int)sizeof(g->welcome))) {
        g->err = res < 0 ? res : -ECONNRESET;
        g->why = "the initiator hung up before it was told that it is welcome";
    }
    g->stage = g->err ? GUEST_REFUSED : GUEST_ADMITTED;
    g->done(g->user, g->err, g->why);
}

/* Four bytes into an empty socket: nobody has to read for that to end. */
static void guest_answer(struct loop_guest *g, int err, const char *why)
{
    g->stage = GUEST_ANSWERING;
    g->err = err;
    g->why = why;
    g->welcome.err = err;
    g->iov = (struct iovec){ &g->welcome, sizeof(g->welcome) };
    g->op.done = answered;
    g->busy = true;
    rt_timer_arm(g->rt, &g->timer, HELLO_NS);
    rt_send(g->sock, &g->op, &g->iov, 1);
}

/* Nobody's guest any more: it gets an answer, and goes. */
static void guest_turn_away(struct loop_guest *g, int err)
{
    g->freed = true;
    guest_answer(g, err, NULL);
}

/* ---- the hello -------------------------------------------------------------------------------------------- */

static const char *hello_fault(const struct loop_guest *g, int res)
{
    if (res == -EPROTO)
        return "it brought something that is not shared memory, or too much";
    if (res != (int)sizeof(g->hello))
        return "it left without a whole hello";
    if (memcmp(g->hello.magic, LOOP_MAGIC, sizeof(g->hello.magic)))
        return "it is not Corelane's initiator";
    if (g->hello.version != LOOP_VERSION || g->hello.zero)
        return "it speaks another version of it";
    if (g->shm_nr != 2)
        return "it did not bring two memories";
    return NULL;
}

/* g may be gone on return. */
static void hello_came(struct rt_op *op, int res)
{
    struct loop_guest *g = container_of(op, struct loop_guest, op);
    struct loop_door *d = g->door;
    const char *fault = hello_fault(g, res);

    g->busy = false;
    rt_timer_disarm(g->rt, &g->timer);
    if (!d || !g->sock) { /* the door was closed, or it was silent for too long */
        guest_leave_door(g);
        guest_destroy(g);
    } else if (fault) {
        rt_log_peer(RT_WARN, "loopback: an initiator was turned away: %s", fault);
        guest_turn_away(g, -EPROTO);
    } else {
        g->stage = GUEST_SAID;
        guest_leave_door(g);
        d->came(d->user, g);
    }
}

static void guest_listen(struct loop_guest *g)
{
    g->iov = (struct iovec){ &g->hello, sizeof(g->hello) };
    g->op.done = hello_came;
    g->busy = true;
    rt_timer_arm(g->rt, &g->timer, HELLO_NS);
    rt_recv_shm(g->sock, &g->op, &g->iov, 1, g->shm, &g->shm_nr);
}

/* ---- the door --------------------------------------------------------------------------------------------- */

/* The socket's mode lets nobody else in but root, whom we serve too: what its file's mode became since is not for us to
 * know, so who came is asked once more. */
static bool may_come_in(struct rt_sock *s)
{
    uint32_t uid;
    int32_t pid;
    const int err = rt_sock_peercred(s, &uid, &pid);

    if (!err && (uid == rt_uid() || !uid))
        return true;
    if (err)
        rt_log_peer(RT_WARN, "loopback: an initiator was turned away: who it is cannot be had");
    else
        rt_log_peer(RT_WARN,
                    "loopback: an initiator was turned away: user %u, process %d: it is neither our user nor "
                    "root",
                    uid, pid);
    return false;
}

static void guest_enter(struct loop_door *d, struct rt_sock *s)
{
    struct loop_guest *g = calloc(1, sizeof(*g));

    if (!g) {
        rt_log_peer(RT_ERR, "loopback: no memory for an initiator");
        rt_sock_close(s);
        return;
    }
    g->rt = d->rt;
    g->share = d->share;
    atomic_fetch_add_explicit(&d->share->users, 1, memory_order_relaxed);
    g->door = d;
    g->sock = s;
    g->timer.fn = timed_out;
    rt_list_push(&d->guests, &g->link);
    d->guests_nr++;
    if (may_come_in(s))
        guest_listen(g);
    else
        guest_turn_away(g, -EPERM);
}

static void door_free(struct loop_door *d)
{
    share_drop(d->share);
    free(d);
}

static void door_accepted(struct rt_op *op, int res)
{
    struct loop_door *d = container_of(op, struct loop_door, accept_op);

    d->accepting = false;
    if (!d->listener) {
        if (!res)
            rt_sock_close(d->incoming);
        door_free(d);
        return;
    }
    if (res && res != -ECONNABORTED) { /* who comes meanwhile waits in the kernel */
        rt_log_peer(RT_WARN, "loopback: nobody is let in for a second: %s", strerror(-res));
        rt_timer_arm(d->rt, &d->pause, PAUSE_NS);
        return;
    }
    if (!res)
        guest_enter(d, d->incoming);
    door_accept(d);
}

static void door_paused(struct rt_timer *t)
{
    door_accept(container_of(t, struct loop_door, pause));
}

static void door_accept(struct loop_door *d)
{
    if (d->accepting || !d->listener || d->guests_nr >= GUESTS_MAX || rt_timer_armed(&d->pause))
        return;
    d->accepting = true;
    rt_accept(d->listener, &d->accept_op, &d->incoming, &d->incoming_addr);
}

int loop_door_open(struct loop_door **out, struct rt *rt, const char *path,
                   void (*came)(void *user, struct loop_guest *g), void *user)
{
    struct loop_door *d;
    struct rt_addr at = { 0 };
    int err;

    if (path[0] != '/' || strlen(path) > LOOP_PATH_LEN_MAX)
        return -EINVAL;
    if (!(d = calloc(1, sizeof(*d))) || !(d->share = calloc(1, sizeof(*d->share)))) {
        free(d);
        return -ENOMEM;
    }
    d->share->users = 1;
    d->share->left = rt_mem_total() / MEM_PART;
    at.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    at.un.sun_family = AF_UNIX;
    memcpy(at.un.sun_path, path, strlen(path) + 1);
    d->rt = rt;
    d->came = came;
    d->user = user;
    d->accept_op.done = door_accepted;
    d->pause.fn = door_paused;
    rt_list_init(&d->guests);
    if ((err = rt_listen(rt, &at, &d->listener))) {
        door_free(d);
        return err;
    }
    door_accept(d);
    *out = d;
    return 0;
}

void loop_door_close(struct loop_door *d)
{
    struct rt_link *l;

    if (!d)
        return;
    while ((l = rt_list_pop(&d->guests))) {
        struct loop_guest *g = rt_list_entry(l, struct loop_guest, link);

        g->door = NULL;
        guest_hang_up(g);
    }
    d->guests_nr = 0;
    rt_timer_disarm(d->rt, &d->pause);
    rt_sock_close(d->listener);
    d->listener = NULL;
    if (!d->accepting)
        door_free(d);
}

void loop_door_limit(struct loop_door *d, uint64_t bytes)
{
    assert(!d->guests_nr);
    atomic_store_explicit(&d->share->left, bytes, memory_order_relaxed);
}

/* ---- guests ----------------------------------------------------------------------------------------------- */

const uint8_t *loop_guest_token(const struct loop_guest *g)
{
    return g->hello.token;
}

void loop_guest_move(struct loop_guest *g, struct rt *to)
{
    assert(g->stage == GUEST_SAID);
    rt_sock_move(g->sock, to);
    g->rt = to;
}

/* How long a memory is is known once it is mapped. */
static int guest_count(struct loop_guest *g)
{
    const uint64_t len = (uint64_t)rt_shm_len(g->shm[0]) + rt_shm_len(g->shm[1]);

    if (!share_take(g->share, len))
        return -EDQUOT;
    g->mapped = len;
    return 0;
}

/* On a helper thread. */
static void guest_map(struct rt_work *w)
{
    struct loop_guest *g = container_of(w, struct loop_guest, work);

    if ((g->err = rt_shm_map(g->shm[0], LOOP_RINGS_LEN, LOOP_RINGS_LEN)) ||
        (g->err = rt_shm_map(g->shm[1], LOOP_ARENA_MIN, LOOP_ARENA_MAX)))
        return;
    g->err = guest_count(g);
}

static void guest_mapped(struct rt_work *w)
{
    struct loop_guest *g = container_of(w, struct loop_guest, work);

    g->busy = false;
    if (g->freed) {
        guest_destroy(g);
        return;
    }
    switch (-g->err) {
    case 0:
        rt_shm_pin(g->rt, g->shm[1]);
        g->pinned = true;
        guest_answer(g, 0, NULL);
        break;
    case EINVAL:
    case EPERM:
    case EFBIG:
        guest_answer(g, -EPROTO, "what the initiator brought is no sealed memory of the size agreed");
        break;
    case EDQUOT:
        guest_answer(
            g, g->err,
            "initiators of this host share a quarter of its memory already: make their arenas smaller");
        break;
    default: guest_answer(g, g->err, "what the initiator brought cannot be mapped");
    }
}

void loop_guest_admit(struct loop_guest *g, void (*done)(void *user, int err, const char *why), void *user)
{
    assert(g->stage == GUEST_SAID);
    g->stage = GUEST_MAPPING;
    g->done = done;
    g->user = user;
    g->work.run = guest_map;
    g->work.done = guest_mapped;
    g->busy = true;
    rt_work(g->rt, &g->work);
}

void loop_guest_free(struct loop_guest *g)
{
    if (!g)
        return;
    assert(!g->freed && !g->door);
    rt_assert_here(g->rt);
    switch (g->stage) {
    case GUEST_SAID: /* turned away: its token is nobody's */ guest_turn_away(g, -ENOENT); break;
    case GUEST_ANSWERING:
        g->freed = true;
        guest_hang_up(g);
        break;
    case GUEST_MAPPING: g->freed = true; break;
    default: guest_destroy(g);
    }
}

void loop_guest_handed(const struct loop_guest *g, struct loop_handed *out)
{
    assert(g->stage == GUEST_ADMITTED);
    *out = (struct loop_handed){
        .rt = g->rt,
        .sock = g->sock,
        .rings = g->shm[0],
        .arena = rt_shm_mem(g->shm[1]),
        .arena_len = rt_shm_len(g->shm[1]),
    };
}
