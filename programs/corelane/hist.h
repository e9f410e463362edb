/*
 * hist.h - a histogram of latencies: exact to 1.6 %, one addition a value, of fixed size
 *
 * Log-linear buckets: each power of two is cut into 64. One writer; merged when the writers are done.
 */
#ifndef CORELANE_CLI_HIST_H
#define CORELANE_CLI_HIST_H

#include <stdint.h>
#include <stdio.h>

#define HIST_SUB     64u /* buckets in a power of two */
#define HIST_POWERS  42u /* of two above HIST_SUB: up to 2^48 ns, three days */
#define HIST_BUCKETS (HIST_SUB * (HIST_POWERS + 1))

struct hist { /* zeroed at first; values in nanoseconds */
    uint64_t count, sum, max;
    uint64_t bucket[HIST_BUCKETS];
};

static inline unsigned hist_index(uint64_t ns)
{
    unsigned shift;

    if (ns < HIST_SUB)
        return (unsigned)ns;
    shift = 63u - (unsigned)__builtin_clzll(ns) - 6;
    if (shift >= HIST_POWERS)
        return HIST_BUCKETS - 1;
    return (shift + 1) * HIST_SUB + (unsigned)(ns >> shift) - HIST_SUB;
}

static inline void hist_add(struct hist *h, uint64_t ns)
{
    h->count++;
    h->sum += ns;
    if (ns > h->max)
        h->max = ns;
    h->bucket[hist_index(ns)]++;
}

void hist_merge(struct hist *into, const struct hist *from);
/* The value that @share (0..1) of all are not above: the upper end of its bucket, and never more than the
 * largest value seen. 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double share);
double hist_mean(const struct hist *h);
/* A line for each power of two in use: range, count, bar, share so far. */
void hist_print(const struct hist *h, FILE *to);

#endif
