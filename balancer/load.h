/*
 * load.h - how busy the reactors of a host are: shares of the last second
 *
 * Owned and sampled by one core; reads the counters of all.
 */
#ifndef CORELANE_BALANCER_LOAD_H
#define CORELANE_BALANCER_LOAD_H

#include "reactor/rt.h"

struct bal_load;

struct bal_share { /* of the time between the last two samples; sums to about 1 */
    double busy, poll, sleep;
};

/* Samples each second from now on, on the host's first core. Before the host runs, or there. Return: 0 or
 * -ENOMEM. */
int bal_load_new(struct bal_load **out, struct rt_host *host);
/* On the same core. @index: of the reactor. Before the second sample all is 0 but sleep, 1. */
void bal_load_share(const struct bal_load *l, unsigned index, struct bal_share *out);
void bal_load_free(struct bal_load *l); /* on that core, or after the host stopped; accepts NULL */

#endif
