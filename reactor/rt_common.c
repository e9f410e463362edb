/*
 * rt_common.c - what a reactor is and how an operation begins, whichever backend completes it
 */
#include <assert.h>

#include "reactor/rt_common.h"

/* ---- what a reactor is ------------------------------------------------------------------------------- */

unsigned rt_index(const struct rt *rt)
{
    return rt_common(rt)->index;
}

int rt_core(const struct rt *rt)
{
    return rt_common(rt)->core;
}

struct rt_host *rt_host_of(const struct rt *rt)
{
    return rt_common(rt)->host;
}

uint64_t rt_now(const struct rt *rt)
{
    return rt_common(rt)->now;
}

enum rt_mode rt_mode(const struct rt *rt)
{
    return (enum rt_mode)atomic_load_explicit(&rt_common(rt)->mode, memory_order_relaxed);
}

void rt_stats(const struct rt *rt, struct rt_stats *out)
{
#define READ(f) .f = atomic_load_explicit(&rt_common(rt)->n.f, memory_order_relaxed)
    *out = (struct rt_stats){
        READ(busy_ns), READ(poll_ns), READ(sleep_ns), READ(turns),    READ(ops),
        READ(enters),  READ(sleeps),  READ(messages), READ(timers),
    };
#undef READ
}

/* ---- operations -------------------------------------------------------------------------------------- */

void rt_op_begin(struct rt *rt, struct rt_op *op, const struct rt_op_type *type, enum rt_op_stage stage)
{
    assert(rt_owned(rt));
    assert(op->stage == RT_OP_IDLE);            /* submitted twice, or never zeroed */
    assert(op->done);
    op->rt = rt;
    op->type = type;
    op->stage = (uint8_t)stage;
    op->buf = NULL;
}

void rt_op_ready(struct rt *rt, struct rt_op *op, const struct rt_op_type *type, int res)
{
    rt_op_begin(rt, op, type, RT_OP_READY);
    op->res = res;
    rt_ops_push(&rt_common(rt)->ready, op);
    rt_stirred(rt);
}

bool rt_op_advance(struct rt_op *op, uint32_t bytes)
{
    assert(bytes <= INT32_MAX - op->moved);     /* the result is an int */
    op->moved += bytes;
    op->skip += bytes;
    while (op->n && op->skip >= op->u.rw.iov->iov_len) {
        op->skip -= (uint32_t)op->u.rw.iov->iov_len;
        op->u.rw.iov++;
        op->n--;
    }
    return op->n;
}

bool rt_op_iov(struct rt_op *op, const struct iovec *iov, unsigned n)
{
    assert(n <= RT_IOV_MAX);
    op->u.rw.iov = iov;
    op->n = n;
    op->skip = op->moved = 0;
    return rt_op_advance(op, 0);                /* past leading empty iovecs */
}

void rt_defer(struct rt *rt, struct rt_op *op)
{
    rt_op_ready(rt, op, &rt_defer_type, 0);
}

void rt_turn_end(struct rt *rt, struct rt_op *op)
{
    rt_op_begin(rt, op, &rt_defer_type, RT_OP_READY);
    op->res = 0;
    rt_ops_push(&rt_common(rt)->late, op);
    rt_stirred(rt);
}
