/*
 * fence.c - when a write may be sent a second time
 *
 * A write whose connection broke may lie in the target's socket, or in a network's queue. Sent over another path at once it
 * would be carried out twice, the second time perhaps over a newer one. So it waits until the target has ended the old session's
 * tasks, which these bring about, in this order:
 *   - the session's own next login, for which it is given a moment;
 *   - a login with its identity at another portal of the same target portal group: to the target that is the same thing;
 *   - where there is none, a reset of the unit by another path. It ends what the target has read of the old session's; for what
 *     has not even got there, the session's own login, which is tried all the time, stays the only remedy. So it comes last.
 * The same goes for writes that ended in an error meanwhile: until they are settled no newer one is sent (owed).
 */
#include <errno.h>
#include <string.h>
#include "mpio/mpio_internal.h"

#define GRACE_NS (15 * RT_MS)
#define BUSY_NS  (2 * RT_MS)
#define RETRY_NS RT_S

uint32_t path_settled(const struct mpio_path *p)
{
    return p->seen.settled > p->reset_settled ? p->seen.settled : p->reset_settled;
}

bool path_owes(const struct mpio_path *p)
{
    /* What its own session sends, the only one there is, comes after the login that settles it. */
    return p->owed > path_settled(p) && p != p->disk->lone;
}

static bool needs(const struct mpio_path *p)
{
    return p->fenced_nr || p->owed > path_settled(p);
}

void fence_forget(struct mpio_disk *d)
{
    for (unsigned i = 0; i < d->paths_nr; i++)
        d->path[i]->fence.tried = d->path[i]->fence.tried_reset = 0;
}

/* By the portal of @q the target takes a login for that of @p. */
static bool same_group(const struct mpio_path *p, const struct mpio_path *q)
{
    return q->seen.up && q->nexus != p->nexus && !strcmp(p->nexus->target, q->nexus->target) &&
           p->seen.tpgt == q->seen.tpgt && q->seen.portal.host[0];
}

static bool fence_by_login(struct mpio_disk *d, struct mpio_path *p)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *q = d->path[i];

        if (p->fence.tried >> i & 1 || !same_group(p, q))
            continue;
        p->fence.tried |= 1ull << i;
        p->fence.step = FENCE_LOGIN;
        p->fence.nr = ++p->fence_nr_asked;
        p->fence.login = p->fence_max;
        p->want.nr = p->fence.nr;
        p->want.login = p->fence.login;
        p->want.portal = q->seen.portal;
        path_want(p, ASK_FENCE);
        return true;
    }
    return false;
}

/* @busy: set where somebody could, but does it for another now. */
static bool fence_by_reset(struct mpio_disk *d, struct mpio_path *p, bool *busy)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *q = d->path[i];

        if (p->fence.tried_reset >> i & 1 || q->nexus == p->nexus || q->leaving || !path_can(q))
            continue;
        if (q->reset_out) {
            *busy = true;
            continue;
        }
        p->fence.tried_reset |= 1ull << i;
        p->fence.step = FENCE_RESET;
        p->fence.via = q;
        p->fence.nr = ++q->reset_nr_asked;
        p->fence.login = p->fence_max;
        q->reset_out = true;
        q->want.reset_nr = p->fence.nr;
        path_want(q, ASK_RESET);
        return true;
    }
    return false;
}

static void fence_at(struct mpio_disk *d, struct mpio_path *p, enum fence_step step, uint64_t at_ns)
{
    p->fence.step = step;
    p->fence.at_ns = at_ns;
    disk_look_by(d, at_ns);
}

static void fence_next(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    bool busy = false;

    if (fence_by_login(d, p) || fence_by_reset(d, p, &busy))
        return;
    if (busy) {
        fence_at(d, p, FENCE_GRACE, now + BUSY_NS);
        return;
    }
    p->fence.tried = p->fence.tried_reset = 0;
    fence_at(d, p, FENCE_RETRY, now + RETRY_NS);
}

/* The unit was reset by @q: the tasks of all sessions are gone there, also of those that are well and wait for answers; among
 * them that of @p itself, where it has come back meanwhile. */
static void reset_over(struct mpio_disk *d, struct mpio_path *p, struct mpio_path *q)
{
    if (p->reset_settled < p->fence.login)
        p->reset_settled = p->fence.login;
    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *r = d->path[i];

        if (r != q && r->seen.up)
            path_want(r, ASK_ABORT);
    }
}

/* A session does one at a time, for other disks as well: it is asked again, and nobody else instead. */
static void reset_again(struct mpio_disk *d, struct mpio_path *p, const struct mpio_path *q, uint64_t now)
{
    for (unsigned i = 0; i < d->paths_nr; i++)
        if (d->path[i] == q)
            p->fence.tried_reset &= ~(1ull << i);
    fence_at(d, p, FENCE_GRACE, now + BUSY_NS);
}

/* Return: whether it is over, one way or the other. */
static bool reset_look(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    struct mpio_path *q = p->fence.via;

    if (q->seen.reset.nr != p->fence.nr)
        return false;
    q->reset_out = false;
    p->fence.via = NULL;
    if (q->seen.reset.err == -EBUSY) {
        reset_again(d, p, q, now);
        return false;
    }
    if (!q->seen.reset.err)
        reset_over(d, p, q);
    return true;
}

void fence_look(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    bool next = false;

    if (p->fence.step == FENCE_RESET && !(next = reset_look(d, p, now)))
        return;
    if (!needs(p) || p->fence_max <= path_settled(p)) {
        p->fence.step = FENCE_IDLE; /* io_release() does the rest */
        p->fence.tried = p->fence.tried_reset = 0;
        return;
    }
    switch ((enum fence_step)p->fence.step) {
    case FENCE_IDLE: fence_at(d, p, FENCE_GRACE, now + GRACE_NS); return;
    case FENCE_GRACE:
    case FENCE_RETRY:
        next = now >= p->fence.at_ns;
        if (!next)
            disk_look_by(d, p->fence.at_ns);
        break;
    case FENCE_LOGIN:
        next = p->seen.fence.nr == p->fence.nr;
        if (next && !p->seen.fence.err) /* it was of use, but more has come that needs it */
            p->fence.tried = 0;
        break;
    case FENCE_RESET: break;
    }
    if (next)
        fence_next(d, p, now);
}
