/*
 * load.h - how busy the reactors of a host are, and the CPUs they are on: shares of the last second
 *
 * Owned and sampled by one core; reads the counters of all.
 */
#ifndef CORELANE_BALANCER_LOAD_H
#define CORELANE_BALANCER_LOAD_H

#include "balancer/place.h"
#include "reactor/rt.h"

struct bal_load;

struct bal_share { /* of the time between the last two samples; sums to about 1 */
    double busy, poll, sleep;
    double host; /* what anybody else had of the CPU, beside these; 0 unless bal_load_kernel() */
};

/* Samples each second from now on, on the host's first core. Before the host runs, or there. Return: 0 or
 * -ENOMEM. */
int bal_load_new(struct bal_load **out, struct rt_host *host);
/* Asks the kernel too from now on, what it says of the reactors' CPUs. At set-up, before a thread is pinned. Return: 0 or
 * -errno: then it goes on without. */
int bal_load_kernel(struct bal_load *l);
/* On the same core. @index: of the reactor. Before the second sample all is 0 but sleep, 1. */
void bal_load_share(const struct bal_load *l, unsigned index, struct bal_share *out);
/* The same as a candidate of placement, without sessions. */
struct bal_core bal_load_core(const struct bal_load *l, unsigned index);
void bal_load_free(struct bal_load *l); /* on that core, or after the host stopped; accepts NULL */

#endif
