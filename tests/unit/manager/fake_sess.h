/*
 * fake_sess.h - sessions without a target: where each really is, and a nexus that moves when the test says so
 *
 * Linked with --wrap=mpio_nexus_move (Makefile).
 */
#ifndef FAKE_SESS_H
#define FAKE_SESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "manager/layout.h"

#define CORES    3u
#define LIMIT_NS (60 * RT_S)

struct fake {
    struct sess s;
    struct rt *at; /* the truth */
    struct rt *to; /* a move was begun; NULL: none */
    void (*done)(void *user, int err, const char *why, uint64_t pause_ns);
    void *user;
};

static struct fake *fake_of(struct mpio_nexus *n)
{
    return (struct fake *)n;
}

void __wrap_mpio_nexus_move(struct mpio_nexus *n, struct rt *to, uint64_t limit_ns,
                            void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user);
void __wrap_mpio_nexus_move(struct mpio_nexus *n, struct rt *to, uint64_t limit_ns,
                            void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user)
{
    struct fake *f = fake_of(n);

    assert_ptr_equal(rt_self(), f->at);
    assert_null(f->to);
    f->to = to;
    f->done = done;
    f->user = user;
}

struct fix {
    struct rt_host *host;
    struct mgr *m;
    char dir[40], conf[64];
    struct fake fake[4];
    bool stopped;
};

static void turn_all(struct fix *x)
{
    for (unsigned i = 0; i < CORES; i++)
        assert_true(rt_turn(rt_host_at(x->host, i), 0) >= 0);
}

static void turn_until(struct fix *x, const bool *flag)
{
    struct rt *home = rt_host_at(x->host, 0);
    const uint64_t end = rt_clock(home) + LIMIT_NS;

    while (!*flag && rt_clock(home) < end)
        turn_all(x);
    assert_true(*flag);
}

/* The nexus answers, on the core where it is then. */
static void nexus_answers(struct fix *x, struct fake *f, int err)
{
    struct rt *to = f->to;

    for (unsigned i = 0; !to && i < 1000; i++, to = f->to)
        turn_all(x);
    assert_non_null(to);
    f->to = NULL;
    if (!err)
        f->at = to;
    f->done(f->user, err, err ? "because" : NULL, 7 * RT_US);
}

static void fake_add(struct fix *x, struct fake *f, unsigned id)
{
    struct sess *s = &f->s;

    f->at = s->rt = rt_host_at(x->host, 0);
    s->mgr = x->m;
    s->id = id;
    s->holds = 1;
    s->state = SESS_UP;
    s->core = rt_core(s->rt);
    s->node = BAL_NODE_ANY;
    s->nexus = (struct mpio_nexus *)f;
    s->keep = true;
    snprintf(s->name, sizeof(s->name), "s%u", id);
    snprintf(s->wish.iqn, sizeof(s->wish.iqn), "iqn.2026-11.org.example:disk");
    assert_null(iscsi_portal_parse(&s->wish.portal, "192.0.2.7"));
    snprintf(s->portal, sizeof(s->portal), "192.0.2.7:3260");
    s->index = id - 1;
    rt_list_init(&s->held);
    rt_list_init(&s->up_waits);
    rt_list_init(&s->end_waits);
    rt_list_init(&s->settle_waits);
    rt_list_push(&x->m->sessions, &s->link);
}

static int set_up(void **state)
{
    static const int cores[CORES] = { -1, -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = CORES, .mode = RT_MODE_INTERRUPT };
    struct fix *x = calloc(1, sizeof(*x));

    strcpy(x->dir, "/tmp/move-test-XXXXXX");
    if (!mkdtemp(x->dir) || rt_host_new(&x->host, &conf))
        return -1;
    snprintf(x->conf, sizeof(x->conf), "%s/iscsi", x->dir);
    rt_log_level(RT_ERR);
    *state = x;
    if (mgr_new(&x->m, x->host, &(struct mgr_conf){ .run_dir = x->dir, .config_dir = x->conf }))
        return -1;
    for (unsigned i = 0; i < ARRAY_SIZE(x->fake); i++)
        fake_add(x, &x->fake[i], i + 1);
    return 0;
}

static void stopped(void *arg)
{
    ((struct fix *)arg)->stopped = true;
}

static int tear_down(void **state)
{
    struct fix *x = *state;
    char cmd[64];

    rt_list_init(&x->m->sessions); /* they are ours */
    mgr_stop(x->m, stopped, x);
    turn_until(x, &x->stopped);
    mgr_free(x->m);
    rt_host_free(x->host);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", x->dir);
    const int bad = system(cmd);
    free(x);
    return bad;
}

#endif
