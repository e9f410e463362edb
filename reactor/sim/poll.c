/*
 * poll.c - pollers of simulated cores: who looks for work by itself, and when a core stops looking
 *
 * A real core polls and polls, and sleeps at last. Here a turn that found nothing either goes to rest or, as the seed
 * has it, comes back after a while as if it had polled all the time. Between its last look and its rest some time may
 * pass. So work comes to cores that look, to cores that are just about to sleep, and to cores that sleep and have to
 * be woken. RT_MODE_POLL is as adaptive: a core that never rests would never let the world get on. RT_MODE_INTERRUPT
 * does not look twice.
 */
#include "reactor/sim/sim_internal.h"

#define ROUNDS_MAX   6u      /* in a turn; how many it may be is drawn */
#define REST_NOW_PPM 500000u /* else later */

void rt_poller_add(struct rt *rt, struct rt_poller *p)
{
    assert(rt_owned(rt));
    p->prev = NULL;
    p->next = rt->pollers;
    if (p->next)
        p->next->prev = p;
    rt->pollers = p;
    rt->poll_at = rt->w->now;
    rt_stirred(rt);
}

void rt_poller_del(struct rt *rt, struct rt_poller *p)
{
    assert(rt_owned(rt));
    assert(p->prev ? p->prev->next == p : rt->pollers == p); /* it was added here, and is not gone yet */
    if (rt->poller_next == p)
        rt->poller_next = p->next;
    if (p->prev)
        p->prev->next = p->next;
    else
        rt->pollers = p->next;
    if (p->next)
        p->next->prev = p->prev;
    p->next = p->prev = NULL;
}

/* The one after, even if that one is deleted meanwhile. */
static struct rt_poller *step(struct rt *rt, struct rt_poller *p)
{
    rt->poller_next = p ? p->next : NULL;
    return p;
}

static unsigned round_run(struct rt *rt)
{
    unsigned n = 0;

    for (struct rt_poller *p = step(rt, rt->pollers); p; p = step(rt, rt->poller_next))
        n += p->poll(p);
    return n;
}

unsigned sim_pollers_run(struct rt *rt)
{
    unsigned rounds, n = 0;

    rt->poll_more = false;
    if (!rt->pollers)
        return 0;
    for (rounds = 1 + (unsigned)sim_rng_below(&rt->w->sched_rng, ROUNDS_MAX); rounds; rounds--) {
        const unsigned found = round_run(rt);

        n += found;
        rt->poll_more = found;
        if (!found)
            break;
    }
    return n;
}

void sim_pollers_wake(struct rt *rt)
{
    if (!rt->resting)
        return;
    rt->resting = false;
    for (struct rt_poller *p = step(rt, rt->pollers); p; p = step(rt, rt->poller_next))
        (void)p->rest(p, false);
}

/* Return: whether all agreed. */
static bool rest(struct rt *rt)
{
    bool agreed = true;

    rt->resting = true;
    for (struct rt_poller *p = step(rt, rt->pollers); p && agreed; p = step(rt, rt->poller_next))
        agreed = p->rest(p, true);
    if (!agreed)
        sim_pollers_wake(rt);
    return agreed;
}

bool sim_pollers_rest(struct rt *rt)
{
    rt->rest_due = false;
    rt->poll_at = UINT64_MAX;
    if (rest(rt))
        return true;
    rt->poll_at = rt->w->now;
    return false;
}

bool sim_pollers_settle(struct rt *rt, bool busy)
{
    struct sim *w = rt->w;

    rt->rest_due = false;
    rt->poll_at = UINT64_MAX;
    if (!rt->pollers)
        return true;
    if (busy || rt->poll_more) {
        rt->poll_at = w->now;
        return true;
    }
    if (rt_mode(rt) != RT_MODE_INTERRUPT && sim_rng_chance(&w->sched_rng, w->sched.poll_ppm)) {
        rt->poll_at = w->now + 1 + sim_rng_below(&w->sched_rng, w->sched.poll_ns);
        return true;
    }
    if (sim_rng_chance(&w->sched_rng, REST_NOW_PPM))
        return sim_pollers_rest(rt);
    rt->rest_due = true;
    rt->poll_at = w->now; /* the wake-up's delay is what passes */
    return true;
}
