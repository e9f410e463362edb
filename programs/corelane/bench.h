/*
 * bench.h - what the files of `corelane bench` share; nobody else includes it
 *
 * bench.c         what is asked for, and the measuring
 * bench_report.c  what came out, for people and as JSON
 */
#ifndef CORELANE_CORELANE_BENCH_H
#define CORELANE_CORELANE_BENCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "corelane.h"
#include "programs/common/opt.h"
#include "programs/common/text.h"
#include "programs/corelane/hist.h"

struct rw {
    const char *name, *words;
    bool random;
    unsigned read_pct; /* of randrw: as --rwmixread says */
};

/* Beside the URL: one more way to the same unit. */
struct bench_path {
    const char *url;
    enum corelane_transport transport;
};

struct bench { /* what all lanes share and none changes, but for the atomics */
    const char *url;
    const char *policy; /* NULL: the library's own */
    struct bench_path path[CORELANE_PATHS_MAX];
    unsigned paths_nr; /* beside the URL */
    struct corelane_disk_options disk;
    enum corelane_mode mode;
    const struct rw *rw;
    unsigned read_pct, qd, jobs_nr, lanes_nr, time_s;
    bool own_buffers;         /* plain memory, as that of a program that has its own */
    uint64_t bs, seed, count; /* count: requests in all; 0: no limit */
    uint64_t rate;            /* requests a second that all jobs together begin; 0: as many as --qd lets them */
    struct cores cores;
    struct job *jobs; /* job i is lane i % lanes_nr's */
    struct lane *lanes;
    pthread_barrier_t ready;
    _Atomic bool stop, failed;
    _Atomic unsigned running; /* lanes that have not measured all they shall */
};

struct slot {
    struct corelane_io io;
    struct job *job;
    struct iovec iov;
    uint64_t start_ns; /* with --rate: when it was due */
    struct slot *next; /* in lane->idle */
};

struct job { /* a session and what goes over it */
    struct bench *b;
    struct lane *lane;
    unsigned index, in_flight;
    struct corelane_disk *d;
    struct slot *slots;
    uint64_t rng[2], blocks, next; /* blocks: of bs bytes */
    uint64_t left;                 /* requests to begin yet, where they are counted */
};

struct lane { /* a core: its thread, its loop, and what its jobs did */
    struct bench *b;
    pthread_t thread;
    unsigned index, in_flight, errors;
    int core, first_error;
    char why[512], transport[16], transport_why[160];
    struct corelane *c;
    uint64_t start_ns, end_ns, elapsed_ns, user_us, sys_us, busy_ns;
    unsigned jobs_nr; /* its jobs */
    /* With --rate: what waits for its turn, first in, first out, so that all jobs have theirs; and how many requests
     * were due so far. */
    struct slot *idle, **idle_end;
    uint64_t due_nr;
    struct hist hist;
    unsigned paths_nr; /* of a job of it, where there are several */
    struct corelane_path_info
        path[CORELANE_PATHS_MAX];      /* of its first job; counters are those of all its jobs */
    _Alignas(64) _Atomic uint64_t ios; /* read by the thread that shows progress */
};

/* Return: the exit status. */
int bench_report(const struct opts *o, const struct bench *b);

#endif
