/*
 * fail_sample.h - how many of the cases a scenario has are run: what fail.h and failop.h share
 */
#ifndef CORELANE_TESTS_FAIL_SAMPLE_H
#define CORELANE_TESTS_FAIL_SAMPLE_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define FAIL_BUDGET_NS 40000000000ull       /* for one scenario, on a machine as busy as it was when none failed */
#define FAIL_SAMPLE_MIN 40u

static inline uint64_t fail_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* From one case to the next, of @n: all with FULL in the environment, else at most @sample of them, and fewer where one
 * takes long (@once_ns): a slow machine is to test less rather than to run into the time limit of a test. */
static inline unsigned fail_step(unsigned n, unsigned sample, uint64_t once_ns)
{
    const uint64_t affordable = FAIL_BUDGET_NS / (once_ns ? once_ns : 1);

    if (getenv("FULL"))
        return 1;
    if (sample > affordable)
        sample = affordable < FAIL_SAMPLE_MIN ? FAIL_SAMPLE_MIN : (unsigned)affordable;
    return n <= sample ? 1 : (n + sample - 1) / sample;
}

#endif
