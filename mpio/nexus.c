/*
 * nexus.c - what all paths over one session have in common
 *
 * Owns the counts that disks choose by, the numbers of logins by which a write is known to be over, and the order in which a
 * session is moved: disks hold back, what they sent before has arrived, then it goes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/mpio_internal.h"

int mpio_nexus_new(struct mpio_nexus **out, struct ini_sess *s, const char *name)
{
    struct mpio_nexus *n = aligned_alloc(RT_CACHE_LINE, sizeof(*n));
    struct ini_sess_info info;

    rt_assert_here(ini_sess_rt(s));
    if (!n)
        return -ENOMEM;
    memset(n, 0, sizeof(*n));
    ini_sess_info(s, &info);
    n->s = s;
    atomic_init(&n->rt, ini_sess_rt(s));
    snprintf(n->name, sizeof(n->name), "%s", name);
    snprintf(n->target, sizeof(n->target), "%s", info.target);
    rt_list_init(&n->paths);
    *out = n;
    return 0;
}

void mpio_nexus_free(struct mpio_nexus *n)
{
    if (!n)
        return;
    assert(rt_list_empty(&n->paths));
    assert(n->step == NEXUS_STILL);
    assert(!n->busy);
    free(n);
}

struct ini_sess *mpio_nexus_sess(const struct mpio_nexus *n)
{
    return n->s;
}

struct rt *mpio_nexus_rt(const struct mpio_nexus *n)
{
    /* Acquire pairs with the release in session_moved(): who sees the new core sees what was settled for it. */
    return atomic_load_explicit(&n->rt, memory_order_acquire);
}

/* ---- what its session tells ----------------------------------------------------------------------------- */

static void tell_all(struct mpio_nexus *n)
{
    rt_list_for (l, &n->paths)
        path_nexus_look(rt_list_entry(l, struct mpio_path, link));
}

static void fence_answer(struct mpio_nexus *n, int err)
{
    rt_list_for (l, &n->paths) {
        struct mpio_path *p = rt_list_entry(l, struct mpio_path, link);

        if (!p->fence_asked)
            continue;
        p->fence_asked = false;
        p->now.fence.nr = p->fence_nr;
        p->now.fence.err = n->settled >= p->fence_login ? 0 : err ? err : -EAGAIN;
    }
}

void mpio_nexus_up(struct mpio_nexus *n)
{
    struct ini_sess_info info;

    ini_sess_info(n->s, &info);
    n->up = true;
    n->why[0] = '\0';
    n->logins++;
    /* It came with the identity of the session before, whose tasks the target has ended (RFC 7143 6.3.5). */
    if (n->settled < n->logins)
        n->settled = n->logins;
    n->shm = !strcmp(info.transport, "shm");
    n->tpgt = info.tpgt;
    if (iscsi_portal_parse(&n->portal, info.portal))
        n->portal.host[0] = '\0';
    fence_answer(n, 0);
    tell_all(n);
}

void mpio_nexus_down(struct mpio_nexus *n, int err, const char *why)
{
    n->up = false;
    snprintf(n->why, sizeof(n->why), "%s", why && *why ? why : strerror(-err));
    tell_all(n);
    nexus_move_check(n);
}

void mpio_nexus_failed(struct mpio_nexus *n, int err, const char *why)
{
    mpio_nexus_down(n, err, why);
}

void nexus_watch(struct mpio_nexus *n)
{
    uint32_t ms = 0;

    rt_list_for (l, &n->paths) {
        const struct mpio_path *p = rt_list_entry(l, struct mpio_path, link);

        if (p->watch_ms && (!ms || p->watch_ms < ms))
            ms = p->watch_ms;
    }
    if (ms == n->watch_ms)
        return;
    n->watch_ms = ms;
    ini_sess_watch(n->s, ms);
}

/* ---- fences --------------------------------------------------------------------------------------------- */

static void fence_done(void *user, int err)
{
    struct mpio_nexus *n = user;

    n->fencing = false;
    n->busy--;
    if (!err && n->settled < n->fence_login)
        n->settled = n->fence_login;
    fence_answer(n, err);
    tell_all(n);
    nexus_move_check(n);
}

void nexus_fence(struct mpio_nexus *n, struct mpio_path *p, const struct iscsi_portal *portal)
{
    if (n->settled >= p->fence_login) {
        p->now.fence.nr = p->fence_nr;
        p->now.fence.err = 0;
        return;
    }
    if (n->up) {
        /* It broke, and yet is up: whatever was told in which order, its next login settles it. Should that not come, other
         * ways are to be tried. */
        p->now.fence.nr = p->fence_nr;
        p->now.fence.err = -EAGAIN;
        ini_sess_drop(n->s, "what it had sent may still be carried out");
        return;
    }
    p->fence_asked = true; /* answered with the fence that is under way, or by a login */
    if (!n->fencing) {
        n->fencing = true;
        n->busy++;
        n->fence_login = n->logins + 1;
        ini_sess_fence(n->s, portal, fence_done, n);
    }
}

/* ---- moves ---------------------------------------------------------------------------------------------- */

static void move_over(struct mpio_nexus *n, int err, const char *why)
{
    void (*const moved)(void *, int, const char *, uint64_t) = n->moved;
    struct rt *rt = rt_self();

    /* Both release: who finds it not moving any more (a join, in path_bind()) finds the core where it is. */
    atomic_store_explicit(&n->rt, rt, memory_order_release);
    atomic_store_explicit(&n->moving, false, memory_order_release);
    n->step = NEXUS_STILL;
    tell_all(n);
    moved(n->moved_user, err, why, rt_clock(rt) - n->began_ns);
}

static void session_moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct mpio_nexus *n = user;

    (void)pause_ns; /* ours is longer: disks held back before */
    assert(n->step == NEXUS_AWAY);
    move_over(n, err, why);
}

/* Whether a disk may have sent something that is not here yet. */
static bool holds(const struct mpio_path *p)
{
    return !p->home || (p->holds && !p->telling && !p->again);
}

static void move_turn(struct rt_op *op, int res)
{
    struct mpio_nexus *n = container_of(op, struct mpio_nexus, move_op);

    (void)res;
    n->move_armed = false;
    if (n->step != NEXUS_HOLD)
        return;
    if (!n->up) {
        move_over(n, -EAGAIN, n->why[0] ? n->why : "it is not logged in");
        return;
    }
    if (n->busy) {
        move_over(n, -EAGAIN, "the target is being asked to end what others have sent");
        return;
    }
    rt_list_for (l, &n->paths)
        if (!holds(rt_list_entry(l, struct mpio_path, link)))
            return; /* nexus_move_check() comes again */
    n->step = NEXUS_AWAY;
    ini_sess_move(n->s, n->to, n->limit_ns, session_moved, n);
}

void nexus_move_check(struct mpio_nexus *n)
{
    if (n->step != NEXUS_HOLD || n->move_armed)
        return;
    n->move_armed = true;
    n->move_op.done = move_turn;
    rt_defer(rt_self(), &n->move_op);
}

void mpio_nexus_move(struct mpio_nexus *n, struct rt *to, uint64_t limit_ns,
                     void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user)
{
    rt_assert_here(mpio_nexus_rt(n));
    if (n->step != NEXUS_STILL) {
        done(user, -EBUSY, "it is being moved", 0);
        return;
    }
    n->to = to;
    n->limit_ns = limit_ns;
    n->moved = done;
    n->moved_user = user;
    n->began_ns = rt_clock(rt_self());
    n->step = NEXUS_HOLD;
    atomic_store_explicit(&n->moving, true, memory_order_relaxed); /* for this core alone until it is away */
    tell_all(n);
    nexus_move_check(n);
}
