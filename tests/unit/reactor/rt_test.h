/*
 * rt_test.h - what the reactor's tests share: reactors turned by the test itself, and operations that note
 * how they ended
 */
#ifndef RT_TEST_H
#define RT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt.h"

#include <cmocka.h>

#define WAIT_MAX_NS (20 * RT_S)             /* only a hang takes that long */

struct noted {
    struct rt_op op;
    int res;
    unsigned count;
    uint8_t head[64];                       /* of rt_recv_shared() */
};

static inline void noted_done(struct rt_op *op, int res)
{
    struct noted *n = container_of(op, struct noted, op);

    n->res = res;
    n->count++;
    if (op->buf && res > 0)
        memcpy(n->head, op->buf, (size_t)res < sizeof(n->head) ? (size_t)res : sizeof(n->head));
}

static inline struct rt_op *noted_op(struct noted *n)
{
    n->op.done = noted_done;
    n->count = 0;
    n->res = -9999;
    return &n->op;
}

static inline struct rt_host *host_make(unsigned cores_nr, enum rt_mode mode)
{
    static const int cores[] = { -1, -1, -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = cores_nr, .mode = mode };
    struct rt_host *h = NULL;

    assert_true(cores_nr <= ARRAY_SIZE(cores));
    assert_int_equal(rt_host_new(&h, &conf), 0);
    return h;
}

/* Turns rt until *n reaches what is wanted. */
static inline void turn_until(struct rt *rt, const unsigned *n, unsigned wanted)
{
    const uint64_t end = rt_clock(rt) + WAIT_MAX_NS;

    while (*n < wanted) {
        assert_true(rt_turn(rt, RT_MS) >= 0);
        assert_true(rt_clock(rt) < end);
    }
}

/* Completes one operation and returns its result; done once and no more. */
static inline int turn_for(struct rt *rt, struct noted *n)
{
    turn_until(rt, &n->count, 1);
    assert_int_equal(n->count, 1);
    return n->res;
}

static inline char *temp_dir(void)
{
    char *dir = strdup("/tmp/rt-test-XXXXXX");

    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static inline void temp_dir_remove(char *dir)
{
    char cmd[256];

    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    assert_int_equal(system(cmd), 0);
    free(dir);
}

#endif
