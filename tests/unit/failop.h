/*
 * failop.h - one operation of the reactor after another fails
 *
 * For test programs named test_failop_*.c, which the Makefile links with FAILOP_WRAP: operations on files and
 * sockets that the rooms submit come here first. One of them ends with an error, or with less than was asked
 * for, instead of how it would have ended; all others are real.
 *
 *   FULL=1          every operation with every error; else a sample of them, evenly
 *   FAILOP_AT=N     only the N-th case, see failop_each()
 *   FAIL_TRACE=1    says before each which it is
 */
#ifndef CORELANE_TESTS_FAILOP_H
#define CORELANE_TESTS_FAILOP_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_sample.h"
#include "reactor/rt.h"

#define FAILOP_MAX 4096u

enum failop_who { FAILOP_HERE, FAILOP_OTHERS };

/* How the chosen one ends. */
enum failop_how {
    FAILOP_EIO,                             /* and was never begun */
    FAILOP_ENOSPC,
    FAILOP_CANCELED,                        /* and was done all the same, where that can be */
    FAILOP_SHORT,                           /* half of it was done; of a receive: the peer is gone */
    FAILOP_HOWS
};
static const char *const failop_words[FAILOP_HOWS] = { "EIO", "ENOSPC", "ECANCELED though done", "short" };

static struct failop_state {
    pthread_mutex_t lock;
    bool on;
    enum failop_who who;
    unsigned seen, at;                      /* operations in this run; the one that fails, from 1; 0: none */
    enum failop_how how;
    bool hit;
    const char *kind;                       /* of the one that failed */
    struct rt_op *op;
    void (*done)(struct rt_op *op, int res);
    const char *kinds[FAILOP_MAX];          /* as they came when none failed */
    const char *name;
    unsigned run;
} failop_state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool failop_test_thread;

/* ---- the decision ---------------------------------------------------------------------------------------- */

static bool failop_chosen(struct rt_op *op, const char *kind)
{
    struct failop_state *f = &failop_state;
    bool hit;

    pthread_mutex_lock(&f->lock);
    hit = f->on && failop_test_thread == (f->who == FAILOP_HERE) && ++f->seen == f->at;
    if (!f->at && f->seen && f->seen <= FAILOP_MAX)
        f->kinds[f->seen - 1] = kind;
    if (hit) {
        f->hit = true;
        f->kind = kind;
        f->op = op;
        f->done = op->done;
    }
    pthread_mutex_unlock(&f->lock);
    return hit;
}

static bool failop_receives(const char *kind)
{
    return !strncmp(kind, "rt_recv", 7);
}

/* Hands a socket over or does not: one way to fail is like another. */
static bool failop_hands_over(const char *kind)
{
    return !strcmp(kind, "rt_accept") || !strcmp(kind, "rt_connect");
}

/* The operation ended as @res; what its owner is told is another matter. */
static void failop_done(struct rt_op *op, int res)
{
    struct failop_state *f = &failop_state;

    assert(op == f->op);
    op->done = f->done;
    switch (f->how) {
    case FAILOP_EIO:      res = -EIO;                    break;
    case FAILOP_ENOSPC:   res = -ENOSPC;                 break;
    case FAILOP_CANCELED: res = -ECANCELED;              break;
    default:              res = failop_receives(f->kind) ? 0 : res > 1 ? res / 2 : -EIO; break;
    }
    op->done(op, res);
}

/* @real: it may be done and its end falsified. Return: whether the caller is to submit it. */
static bool failop_submit(struct rt *rt, struct rt_op *op, const char *kind, bool real)
{
    if (!failop_chosen(op, kind))
        return true;
    op->done = failop_done;
    /* What was received and not told of would be a stream with a hole. */
    if (real && (failop_state.how == FAILOP_CANCELED ||
                 (failop_state.how == FAILOP_SHORT && !failop_receives(kind))))
        return true;
    rt_defer(rt, op);
    return false;
}

/* ---- what the linker puts in the operations' place -------------------------------------------------------- */

#define FAILOP_FILE(name, params, args)                                                                       \
    void __real_##name params;                                                                                \
    void __wrap_##name params;                                                                                \
    void __wrap_##name params                                                                                 \
    {                                                                                                         \
        if (failop_submit(rt, op, #name, true))                                                               \
            __real_##name args;                                                                               \
    }
/* A stream's operations run on the reactor of the caller. */
#define FAILOP_SOCK(name, params, args)                                                                       \
    void __real_##name params;                                                                                \
    void __wrap_##name params;                                                                                \
    void __wrap_##name params                                                                                 \
    {                                                                                                         \
        if (failop_submit(rt_self(), op, #name, true))                                                        \
            __real_##name args;                                                                               \
    }

FAILOP_FILE(rt_file_read, (struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov,
                           unsigned n, uint64_t off), (rt, f, op, iov, n, off))
FAILOP_FILE(rt_file_write, (struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov,
                            unsigned n, uint64_t off), (rt, f, op, iov, n, off))
FAILOP_FILE(rt_file_sync, (struct rt *rt, struct rt_file *f, struct rt_op *op), (rt, f, op))
FAILOP_FILE(rt_file_falloc, (struct rt *rt, struct rt_file *f, struct rt_op *op, enum rt_falloc how, uint64_t off,
                             uint64_t len), (rt, f, op, how, off, len))
FAILOP_SOCK(rt_recv, (struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, unsigned flags),
            (s, op, iov, n, flags))
FAILOP_SOCK(rt_recv_shared, (struct rt_sock *s, struct rt_op *op), (s, op))
FAILOP_SOCK(rt_send, (struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n), (s, op, iov, n))

/* These hand a socket over: one that is said to have failed has none. */
void __real_rt_accept(struct rt_sock *listener, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer);
void __wrap_rt_accept(struct rt_sock *listener, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer);
void __wrap_rt_accept(struct rt_sock *listener, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer)
{
    if (failop_submit(rt_self(), op, "rt_accept", false))
        __real_rt_accept(listener, op, out, peer);
}

void __real_rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out);
void __wrap_rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out);
void __wrap_rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out)
{
    if (failop_submit(rt, op, "rt_connect", false))
        __real_rt_connect(rt, op, to, out);
}

/* ---- for tests ------------------------------------------------------------------------------------------- */

/* A group's set-up begins with it. */
static inline void failop_up(void)
{
    failop_test_thread = true;
}

/* From here on operations count and the chosen one fails. */
static inline void failop_begin(enum failop_who who)
{
    pthread_mutex_lock(&failop_state.lock);
    failop_state.who = who;
    failop_state.on = true;
    pthread_mutex_unlock(&failop_state.lock);
}

static inline void failop_end(void)
{
    pthread_mutex_lock(&failop_state.lock);
    failop_state.on = false;
    pthread_mutex_unlock(&failop_state.lock);
}

/* What failed in this run, or NULL: nothing has yet. */
static inline const char *failop_hit(void)
{
    const char *kind;

    pthread_mutex_lock(&failop_state.lock);
    kind = failop_state.hit ? failop_state.kind : NULL;
    pthread_mutex_unlock(&failop_state.lock);
    return kind;
}

static inline void failop_say(void)
{
    const struct failop_state *f = &failop_state;

    if (f->name)
        fprintf(stderr, "# %s: case %u, operation %u (%s) ends with %s\n", f->name, f->run, f->at,
                f->hit ? f->kind : "none yet", failop_words[f->how]);
}

/* A test's teardown: after one that failed, which it was. */
static inline int failop_down(void **state)
{
    (void)state;
    failop_end();
    failop_say();
    failop_state.name = NULL;
    return 0;
}

static void failop_died(int signo)
{
    failop_say();
    signal(signo, SIG_DFL);
    raise(signo);
}

static inline unsigned failop_run(unsigned at, enum failop_how how, void (*run)(void *arg), void *arg)
{
    struct failop_state *f = &failop_state;

    f->seen = 0;
    f->at = at;
    f->how = how;
    f->hit = false;
    if (getenv("FAIL_TRACE"))
        failop_say();
    run(arg);
    return f->seen;
}

/* Runs the scenario with none failing, then with each operation ending in each way in turn: case n is
 * operation n / FAILOP_HOWS + 1 in way n % FAILOP_HOWS. @sample: of so many cases, evenly, where there are
 * more. run() checks by itself that what it saw is right, by failop_hit(). */
static inline void failop_each(const char *name, unsigned sample, void (*run)(void *arg), void *arg)
{
    const char *only = getenv("FAILOP_AT");
    unsigned n, step, done = 0, hits = 0;
    uint64_t began;

    failop_state.name = name;
    signal(SIGABRT, failop_died);
    failop_run(0, 0, run, arg);             /* what is made at first is not counted */
    began = fail_clock();
    n = failop_run(0, 0, run, arg) * FAILOP_HOWS;
    step = fail_step(n, sample, fail_clock() - began) | 1;   /* an odd one meets every way */
    for (unsigned i = only ? (unsigned)atoi(only) : 0; i < n; i += step, done++) {
        const char *kind = failop_state.kinds[i / FAILOP_HOWS % FAILOP_MAX];

        if (kind && failop_hands_over(kind) && i % FAILOP_HOWS)
            continue;
        failop_state.run = i;
        failop_run(i / FAILOP_HOWS + 1, i % FAILOP_HOWS, run, arg);
        hits += failop_hit() != NULL;
        if (only)
            break;
    }
    fprintf(stderr, "# %s: %u operations, %u cases, of which %u came about\n", name, n / FAILOP_HOWS, done,
            hits);
    failop_state.name = NULL;
}

#endif
