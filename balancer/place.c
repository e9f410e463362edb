/*
 * place.c - the choice of a core: fewest sessions, then least busy, then first in the set
 */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>

#include "balancer/place.h"

/* Percentage points. An idle core's share of a second wavers by a few; below this the order of the set decides,
 * so that the same host lays its sessions out the same way each time. */
#define BUSY_NOISE_PCT 10u

static bool better(const struct bal_core *a, const struct bal_core *b)
{
    if (a->sessions != b->sessions)
        return a->sessions < b->sessions;
    return a->busy_pct + BUSY_NOISE_PCT < b->busy_pct;
}

static unsigned count_with(const struct bal_core *cores, unsigned nr, unsigned sessions)
{
    unsigned n = 0;

    for (unsigned i = 0; i < nr; i++)
        n += cores[i].sessions == sessions;
    return n;
}

unsigned bal_place(const struct bal_core *cores, unsigned nr, char why[static BAL_WHY_MAX])
{
    const struct bal_core *c;
    unsigned best = 0, peers;

    assert(nr);
    for (unsigned i = 1; i < nr; i++)
        if (better(&cores[i], &cores[best]))
            best = i;
    c = &cores[best];
    peers = count_with(cores, nr, c->sessions);
    if (nr == 1)
        snprintf(why, BAL_WHY_MAX, "core %d: the only core of the set, %u session%s there, %u%% busy", c->core,
                 c->sessions, c->sessions == 1 ? "" : "s", c->busy_pct);
    else if (!c->sessions)
        snprintf(why, BAL_WHY_MAX, "core %d: free, one of %u free among %u cores, %u%% busy", c->core, peers,
                 nr, c->busy_pct);
    else
        snprintf(why, BAL_WHY_MAX,
                 "core %d: none of %u cores is free; fewest sessions (%u, as on %u of them), "
                 "%u%% busy",
                 c->core, nr, c->sessions, peers, c->busy_pct);
    return best;
}
