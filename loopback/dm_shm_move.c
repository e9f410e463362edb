/*
 * dm_shm_move.c - a connection in shared memory that comes to rest, and goes on on another core
 *
 * Nothing is ever under way in the rings, so what has to rest is what wakes and what watches: the poller, the receive that
 * waits for a byte, a byte that is being sent, and the TCP connection of the login. The peer need not know.
 */
#include "loopback/dm_shm.h"

static bool is_quiet(const struct dm_shm *c)
{
    return c->resting && shm_is_open(c) && c->tcp_rests && !c->recv_busy && !c->wake_busy && !c->turn_busy &&
           !c->defer_busy && rt_list_empty(&c->queue) && rt_list_empty(&c->due);
}

/* Told from an operation of its own, so that nothing of this connection is left on the stack. */
void shm_try_rest(struct dm_shm *c)
{
    if (c->rest_busy || !is_quiet(c))
        return;
    c->rest_busy = true;
    rt_defer(c->rt, &c->rest);
}

void shm_rest_done(struct rt_op *op, int res)
{
    struct dm_shm *c = container_of(op, struct dm_shm, rest);

    (void)res;
    c->rest_busy = false;
    if (is_quiet(c))
        c->dm.events->at_rest(c->dm.user); /* c may be another core's */
    else
        shm_try_close(c);
}

/* What comes in the ring, and bytes that wake, wait there. */
void shm_rest(struct dm *dm)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    assert(!c->resting);
    if (!shm_is_open(c))
        return;
    c->resting = true;
    c->tcp_rests = false;
    shm_poller_stop(c);
    if (c->recv_busy) {
        c->recalled = true;
        rt_cancel(&c->recv);
    }
    dm_rest(c->tcp);
}

void shm_move(struct dm *dm, struct rt *to)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    assert(is_quiet(c) && !c->rest_busy);
    assert(!c->standins && rt_list_empty(&c->stuck));
    rt_timer_disarm(c->rt, &c->tick); /* nothing waits any more for what they look after */
    rt_timer_disarm(c->rt, &c->retry);
    dm_move(c->tcp, to);
    rt_sock_move(c->sock, to);
    c->rt = to;
    c->arrived = true;
}

/* A reactor that has the poller looks into the ring before it sleeps: who wrote there meanwhile saw nobody asleep, and sent
 * no byte. */
void shm_go_on(struct dm *dm)
{
    struct dm_shm *c = dm_shm_of(dm);

    rt_assert_here(c->rt);
    if (c->arrived && c->rings) /* else they are the guest's */
        (void)rt_mem_move(rt_shm_mem(c->rings), rt_shm_len(c->rings), c->rt);
    c->resting = c->arrived = false;
    if (!shm_is_open(c))
        return;
    shm_poller_start(c);
    if (!c->recv_busy) /* else it is armed when the old one is back */
        shm_recv_arm(c);
    dm_go_on(c->tcp);
}
