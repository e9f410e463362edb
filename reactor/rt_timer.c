/*
 * rt_timer.c - timers of one reactor: a pairing heap whose links live in the timers
 *
 * Arming is constant time, taking the earliest and disarming are logarithmic on average, nothing allocates
 * and there is no upper limit. A wheel arms as fast but rounds to its tick; timers here are exact to the
 * clock, and most are disarmed long before they are due, which for a leaf of the heap is constant time too.
 *
 * prev of a first child is its parent, of another child its elder sibling; the root has none.
 */
#include <assert.h>

#include "reactor/rt_common.h"

static bool earlier(const struct rt_timer *a, const struct rt_timer *b)
{
    if (a->at != b->at)
        return a->at < b->at;
    return (int32_t)(a->slot - b->slot) < 0;    /* equal times: in the order of arming */
}

/* Joins two heaps; neither has siblings. */
static struct rt_timer *meld(struct rt_timer *a, struct rt_timer *b)
{
    struct rt_timer *top, *sub;

    if (!a || !b)
        return a ? a : b;
    top = earlier(b, a) ? b : a;
    sub = top == a ? b : a;
    sub->prev = top;
    sub->next = top->child;
    if (sub->next)
        sub->next->prev = sub;
    top->child = sub;
    return top;
}

/* Makes one heap of a list of siblings: pairs from the left, then all from the right. No recursion: a list
 * may be as long as there are timers. */
static struct rt_timer *meld_list(struct rt_timer *first)
{
    struct rt_timer *pairs = NULL, *top = NULL;

    while (first) {
        struct rt_timer *a = first, *b = a->next, *m;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        m = meld(a, b);
        m->next = pairs;
        pairs = m;
    }
    while (pairs) {
        struct rt_timer *m = pairs;

        pairs = m->next;
        m->next = NULL;
        top = meld(top, m);
    }
    return top;
}

static void heap_del(struct rt_common *c, struct rt_timer *t)
{
    struct rt_timer *rest = meld_list(t->child);

    if (t == c->timers) {
        c->timers = rest;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next)
            t->next->prev = t->prev;
        c->timers = meld(c->timers, rest);
    }
    if (c->timers)
        c->timers->prev = NULL;
    t->child = t->next = t->prev = NULL;
    t->slot = 0;
}

bool rt_timer_armed(const struct rt_timer *t)
{
    return t->slot;
}

void rt_timer_arm(struct rt *rt, struct rt_timer *t, uint64_t after_ns)
{
    struct rt_common *c = rt_common(rt);
    /* The real clock, not the turn's: "after_ns from now or later" holds however long this turn has run. */
    const uint64_t now = rt_clock(rt);

    assert(rt_owned(rt));
    assert(t->fn);
    if (t->slot)
        heap_del(c, t);
    t->at = after_ns > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + after_ns;
    if (t->at <= c->now)
        t->at = c->now + 1;                     /* never in the pass that armed it: a loop would not end */
    if (!++c->timer_seq)
        c->timer_seq = 1;
    t->slot = c->timer_seq;
    t->child = t->next = t->prev = NULL;
    c->timers = meld(c->timers, t);
    if (c->timers == t)
        rt_stirred(rt);
}

void rt_timer_disarm(struct rt *rt, struct rt_timer *t)
{
    assert(rt_owned(rt));
    if (t->slot)
        heap_del(rt_common(rt), t);
}

void rt_timer_leave(struct rt *rt, struct rt_timer *t)
{
    assert(rt_owned(rt));
    if (t->slot)
        heap_del(rt_common(rt), t);             /* at stays */
    else
        t->at = 0;                              /* no armed timer has that: see rt_timer_arm() */
}

void rt_timer_enter(struct rt *rt, struct rt_timer *t)
{
    const uint64_t now = rt_clock(rt);

    assert(!t->slot);
    if (t->at)
        rt_timer_arm(rt, t, t->at > now ? t->at - now : 0);
}

unsigned rt_timers_run(struct rt *rt)
{
    struct rt_common *c = rt_common(rt);
    unsigned n = 0;

    for (; c->timers && c->timers->at <= c->now; n++) {
        struct rt_timer *t = c->timers;

        heap_del(c, t);
        t->fn(t);
    }
    return n;
}
