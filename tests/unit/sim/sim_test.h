/*
 * sim_test.h - what the simulation's own tests share: a world of two machines, operations that note how they ended
 */
#ifndef SIM_TEST_H
#define SIM_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/sim.h"

#include <cmocka.h>

struct noted {
    struct rt_op op;
    int res;
    unsigned count;
};

static inline void noted_done(struct rt_op *op, int res)
{
    struct noted *n = container_of(op, struct noted, op);

    n->res = res;
    n->count++;
}

static inline struct rt_op *noted_op(struct noted *n)
{
    n->op.done = noted_done;
    n->count = 0;
    n->res = -9999;
    return &n->op;
}

static const struct sim_program nobody = { .name = "nobody" };

/* A program on @m whose reactors its caller turns; entered. */
static inline struct rt *solo(struct sim_machine *m, struct sim_prog **prog, struct rt_host **host)
{
    static const int cores[] = { -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 2 };

    assert_int_equal(sim_start(m, &nobody, NULL, prog), 0);
    sim_enter(*prog);
    assert_int_equal(rt_host_new(host, &conf), 0);
    return rt_host_at(*host, 0);
}

/* Turns rt until the operation has ended; its result. */
static inline int turn_for(struct rt *rt, struct noted *n)
{
    for (unsigned i = 0; i < 1000000 && !n->count; i++)
        assert_true(rt_turn(rt, RT_S) >= 0);
    assert_int_equal(n->count, 1);
    return n->res;
}

static inline struct rt_addr addr(const char *text)
{
    struct rt_addr a;

    assert_int_equal(rt_addr_parse(&a, text, 3260), 0);
    return a;
}

static inline void line_print(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

#endif
