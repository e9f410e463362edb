/*
 * rt_poll.c - pollers: the list of them, and going through it while it changes
 *
 * When they are asked is rt_uring.c's.
 */
#include <assert.h>

#include "reactor/uring/rt_internal.h"

void rt_poller_add(struct rt *rt, struct rt_poller *p)
{
    struct rt_pollers *l = &rt->pollers;

    assert(rt_owned(rt));
    assert(p->poll && p->rest);
    p->next = NULL;
    p->prev = l->tail;
    if (l->tail)
        l->tail->next = p;
    else
        l->head = p;
    l->tail = p;
    l->nr++;
    if (!l->at) /* the last one that is being asked has added it */
        l->at = p;
}

void rt_poller_del(struct rt *rt, struct rt_poller *p)
{
    struct rt_pollers *l = &rt->pollers;

    assert(rt_owned(rt));
    assert(l->nr);
    if (l->at == p)
        l->at = p->next;
    if (p->prev)
        p->prev->next = p->next;
    else
        l->head = p->next;
    if (p->next)
        p->next->prev = p->prev;
    else
        l->tail = p->prev;
    p->next = p->prev = NULL;
    l->nr--;
}

unsigned rt_pollers_run(struct rt *rt)
{
    struct rt_pollers *l = &rt->pollers;
    struct rt_poller *p = l->head;
    unsigned found = 0;

    /* As many as there were: one that deletes and adds itself must not keep us here. */
    for (unsigned left = l->nr; p && left; left--, p = l->at) {
        l->at = p->next;
        found += p->poll(p);
    }
    return found;
}

/* Tells those before @end that we are awake. */
static void pollers_rouse(struct rt *rt, const struct rt_poller *end)
{
    struct rt_pollers *l = &rt->pollers;

    for (struct rt_poller *p = l->head; p && p != end; p = l->at) {
        l->at = p->next;
        (void)p->rest(p, false);
    }
}

bool rt_pollers_rest(struct rt *rt)
{
    struct rt_pollers *l = &rt->pollers;

    for (struct rt_poller *p = l->head; p; p = l->at) {
        l->at = p->next;
        if (!p->rest(p, true)) {
            pollers_rouse(rt, l->at); /* the one that refused among them: it was told too */
            return false;
        }
    }
    return true;
}

void rt_pollers_rouse(struct rt *rt)
{
    pollers_rouse(rt, NULL);
}
