/*
 * hist.c - a histogram of latencies
 */
#include <string.h>

#include "programs/corelane/hist.h"

#define BAR_LEN 40

/* The largest value that falls into a bucket. */
static uint64_t bucket_end(unsigned i)
{
    const unsigned shift = i < HIST_SUB ? 0 : i / HIST_SUB - 1;

    if (i < HIST_SUB)
        return i;
    return ((uint64_t)(i % HIST_SUB + HIST_SUB + 1) << shift) - 1;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t hist_quantile(const struct hist *h, double share)
{
    const double wanted = share * (double)h->count;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen && (double)seen >= wanted)
            return bucket_end(i) < h->max ? bucket_end(i) : h->max;
    }
    return h->max;
}

double hist_mean(const struct hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

/* Nanoseconds in the unit that reads best. */
static void time_format(uint64_t ns, char out[static 16])
{
    if (ns < 1000)
        snprintf(out, 16, "%u ns", (unsigned)ns);
    else if (ns < 1000000)
        snprintf(out, 16, "%.4g us", (double)ns / 1e3);
    else if (ns < 1000000000)
        snprintf(out, 16, "%.4g ms", (double)ns / 1e6);
    else
        snprintf(out, 16, "%.4g s", (double)ns / 1e9);
}

void hist_print(const struct hist *h, FILE *to)
{
    static const char bar[BAR_LEN + 1] = "########################################";
    uint64_t row[64] = { 0 }, most = 1, seen = 0;

    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        const uint64_t end = bucket_end(i);
        const unsigned power = end ? 63u - (unsigned)__builtin_clzll(end) : 0;

        row[power] += h->bucket[i];
        most = row[power] > most ? row[power] : most;
    }
    for (unsigned p = 0; p < 63; p++) {
        char lo[16], hi[16];

        if (!row[p])
            continue;
        seen += row[p];
        time_format(p ? 1ull << p : 0, lo);
        time_format(1ull << (p + 1), hi);
        fprintf(to, "  %9s .. %-9s %10llu  %-*.*s %6.2f%%\n", lo, hi, (unsigned long long)row[p], BAR_LEN,
                (int)((double)row[p] * BAR_LEN / (double)most + 0.5), bar,
                100.0 * (double)seen / (double)h->count);
    }
}
