/*
 * guard.c - see guard.h
 *
 * Lists, searched only while somebody holds or wants a range alone: a disk that is used in whole blocks pays
 * for a list insertion and no more.
 */
#include "export/guard.h"

#include <assert.h>

void exp_guard_init(struct exp_guard *g)
{
    rt_list_init(&g->held);
    rt_list_init(&g->waiting);
    g->alone_nr = 0;
}

static bool conflict(const struct exp_range *a, const struct exp_range *b)
{
    return (a->alone || b->alone) && a->first < b->end && b->first < a->end;
}

/* Whether r conflicts with what stands in the list before the link at. */
static bool conflicts(const struct rt_link *head, const struct rt_link *at, const struct exp_range *r)
{
    for (const struct rt_link *l = head->next; l != at; l = l->next)
        if (conflict(rt_list_entry(l, const struct exp_range, link), r))
            return true;
    return false;
}

bool exp_guard_enter(struct exp_guard *g, struct exp_range *r)
{
    assert(r->first < r->end);
    g->alone_nr += r->alone;
    if (g->alone_nr && (conflicts(&g->held, &g->held, r) || conflicts(&g->waiting, &g->waiting, r))) {
        rt_list_push(&g->waiting, &r->link);
        return false;
    }
    rt_list_push(&g->held, &r->link);
    return true;
}

void exp_guard_leave(struct exp_guard *g, struct exp_range *r, void (*go)(struct exp_range *r))
{
    struct exp_range *first = NULL, **last = &first;

    rt_list_del(&r->link);
    g->alone_nr -= r->alone;
    rt_list_for_safe(l, &g->waiting) {
        struct exp_range *w = rt_list_entry(l, struct exp_range, link);

        if (conflicts(&g->held, &g->held, w) || conflicts(&g->waiting, l, w))
            continue;
        rt_list_del(l);
        rt_list_push(&g->held, l);
        *last = w;
        last = &w->next;
    }
    *last = NULL;
    while (first) {                             /* after the walk, as go may change the lists */
        struct exp_range *w = first;

        first = w->next;
        go(w);
    }
}
