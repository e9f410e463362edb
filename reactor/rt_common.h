/*
 * rt_common.h - what every backend's reactor has; nobody above the reactor room includes it
 *
 * A backend's struct rt opens with a struct rt_common named c, and its operations have types of its own. What is
 * here is the same whoever moves the bytes: the life of an operation on the caller's side, timers, counters.
 */
#ifndef CORELANE_RT_COMMON_H
#define CORELANE_RT_COMMON_H

#include <stdatomic.h>

#include "reactor/rt.h"

enum rt_op_stage {
    RT_OP_IDLE,                             /* the caller's */
    RT_OP_QUEUED,                           /* submitted, and the backend has not begun with it */
    RT_OP_FLIGHT,                           /* the backend's */
    RT_OP_READY,                            /* on a list of ended ones, with its result */
    RT_OP_PAUSED,                           /* waits for a timer of its object (accept without descriptors) */
};

enum rt_op_flag {
    RT_OP_CANCEL = 1,                       /* rt_cancel() was called */
    RT_OP_LISTED = 2,                       /* on a list of the backend's, by next and prev */
    RT_OP_ALL = 4,                          /* RT_RECV_ALL */
    RT_OP_BUF = 8,                          /* holds shared buffer buf_id */
    RT_OP_PINNED = 16,                      /* submitted with registered memory */
    RT_OP_UNPINNED = 32,                    /* not to be so again */
    RT_OP_LATER = 64,                       /* there was nothing: wait until there is before a buffer is taken */
};

struct rt_counters {                        /* written by the owner alone, read by anybody */
    _Atomic uint64_t busy_ns, poll_ns, sleep_ns;
    _Atomic uint64_t turns, ops, enters, sleeps, messages, timers;
};

/* One writer, so load and store do instead of a locked add. */
static inline void rt_count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

struct rt_ops {                             /* first in, first out */
    struct rt_op *head, *tail;
};

static inline void rt_ops_push(struct rt_ops *q, struct rt_op *op)
{
    op->next = NULL;
    if (q->head)
        q->tail->next = op;
    else
        q->head = op;
    q->tail = op;
}

static inline struct rt_op *rt_ops_pop(struct rt_ops *q)   /* not empty */
{
    struct rt_op *op = q->head;

    q->head = op->next;
    return op;
}

struct rt_common {
    struct rt_host *host;
    unsigned index;
    int core;
    uint64_t now;                           /* this pass's clock */
    struct rt_timer *timers;                /* root of the pairing heap, the earliest */
    uint32_t timer_seq;
    struct rt_ops ready;                    /* to be completed */
    struct rt_ops late;                     /* to be completed at the end of this turn */
    _Atomic uint32_t mode, poll_us;
    struct rt_counters n;
};

static inline struct rt_common *rt_common(const struct rt *rt)
{
    return (struct rt_common *)rt;
}

/* ---- rt_common.c */
/* IDLE -> stage: takes an operation over from its caller. */
void rt_op_begin(struct rt *rt, struct rt_op *op, const struct rt_op_type *type, enum rt_op_stage stage);
/* Completes in the next turn with res, without anybody's help. */
void rt_op_ready(struct rt *rt, struct rt_op *op, const struct rt_op_type *type, int res);
/* Notes an operation's progress: true when iovecs are left to do. */
bool rt_op_advance(struct rt_op *op, uint32_t bytes);
/* Points an operation at iovecs. Return: whether there is anything to move. */
bool rt_op_iov(struct rt_op *op, const struct iovec *iov, unsigned n);

/* ---- rt_timer.c */
unsigned rt_timers_run(struct rt *rt);
static inline uint64_t rt_timers_next(const struct rt *rt)   /* UINT64_MAX: none */
{
    return rt_common(rt)->timers ? rt_common(rt)->timers->at : UINT64_MAX;
}

/* ---- each backend's */
/* True on the thread that turns rt, or while none does. */
bool rt_owned(const struct rt *rt);
/* Of rt_defer() and rt_turn_end(): the type that needs nothing done. */
extern const struct rt_op_type rt_defer_type;
/* An operation became ready, or a timer was armed: for a backend that has to know. */
void rt_stirred(struct rt *rt);

#endif
