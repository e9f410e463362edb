/*
 * limit.h - what the programs share that measure what this machine can do at all: clock, pinning, memory, random places
 *
 * They use nothing of Corelane: what limits it must not change with it.
 */
#ifndef CORELANE_BENCH_LIMIT_H
#define CORELANE_BENCH_LIMIT_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static inline uint64_t limit_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Ends the program when that core is not to be had: a number measured elsewhere would be taken for one of there. */
static inline void limit_pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set)) {
        fprintf(stderr, "core %d is not there, or not for us\n", core);
        exit(1);
    }
}

/* Memory as a LUN in memory has it: huge pages where the system has them, every page there. Ends the program when there is
 * not so much. */
static inline uint8_t *limit_mem(size_t len)
{
    const size_t huge = 2u << 20, room = (len + huge - 1) / huge * huge;
    uint8_t *mem = aligned_alloc(huge, room);

    if (!mem) {
        fprintf(stderr, "no memory for %zu bytes\n", len);
        exit(1);
    }
    (void)madvise(mem, room, MADV_HUGEPAGE); /* advice: without huge pages it is as good, only slower */
    return memset(mem, 0x5a, room);
}

/* xorshift64*: @state is not 0. Return: 0 .. @n - 1. */
static inline uint64_t limit_random(uint64_t *state, uint64_t n)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint64_t)(((unsigned __int128)(*state * 0x2545f4914f6cdd1du) * n) >> 64);
}

/* A number that an option was given, @lo..@hi. Ends the program otherwise. */
static inline uint64_t limit_number(const char *text, uint64_t lo, uint64_t hi)
{
    char *end;
    const uint64_t n = strtoull(text, &end, 0);

    if (end == text || *end || n < lo || n > hi) {
        fprintf(stderr, "'%s': not a number from %llu to %llu\n", text, (unsigned long long)lo,
                (unsigned long long)hi);
        exit(2);
    }
    return n;
}

#endif
