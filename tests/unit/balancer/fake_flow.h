/*
 * fake_flow.h - a network card with a few flow filters
 */
#ifndef CORELANE_TESTS_FAKE_FLOW_H
#define CORELANE_TESTS_FAKE_FLOW_H

#include <errno.h>
#include <string.h>
#include "balancer/flow.h"

#define FAKE_FLOWS 4

struct fake_card {
    unsigned queues; /* 0: it has no filters */
    struct bal_flow flow[FAKE_FLOWS];
    unsigned queue[FAKE_FLOWS], nr;
    int refusal;          /* what it says to every change, 0: none */
    void (*on_add)(void); /* for one that is to die at this point */
};

static inline int fake_able(void *user, const char *ifname, unsigned *queues, char why[static 128])
{
    const struct fake_card *c = user;

    *queues = c->queues;
    strcpy(why, "it has no flow filters");
    return c->queues ? 0 : -EOPNOTSUPP;
}

static inline int fake_index(const struct fake_card *c, const struct bal_flow *f)
{
    for (unsigned i = 0; i < c->nr; i++)
        if (!memcmp(&c->flow[i], f, sizeof(*f)))
            return (int)i;
    return -ENOENT;
}

static inline int fake_find(void *user, const struct bal_flow *f, unsigned *queue)
{
    const struct fake_card *c = user;
    const int i = fake_index(c, f);

    if (!c->queues)
        return -EOPNOTSUPP;
    if (i >= 0)
        *queue = c->queue[i];
    return i < 0 ? i : 0;
}

static inline int fake_add(void *user, const struct bal_flow *f, unsigned queue)
{
    struct fake_card *c = user;

    if (c->on_add)
        c->on_add();
    if (c->refusal)
        return c->refusal;
    if (c->nr == FAKE_FLOWS)
        return -ENOSPC;
    c->flow[c->nr] = *f;
    c->queue[c->nr++] = queue;
    return 0;
}

static inline int fake_del(void *user, const struct bal_flow *f)
{
    struct fake_card *c = user;
    const int i = fake_index(c, f);

    if (i < 0 || c->refusal)
        return i < 0 ? i : c->refusal;
    c->nr--;
    c->flow[i] = c->flow[c->nr];
    c->queue[i] = c->queue[c->nr];
    return 0;
}

static const struct bal_flow_ops fake_flow_ops = { fake_able, fake_find, fake_add, fake_del };

#endif
