/*
 * exports.h - opening and closing an export from a thread that is not the core
 */
#ifndef TESTS_EXPORT_EXPORTS_H
#define TESTS_EXPORT_EXPORTS_H

#include "export/export.h"
#include "fake_disk.h"

struct exporter {
    struct fake *fake;
    struct exp *e;
    struct exp_conf conf;
    struct exp_result r;
    int err;
    char why[512];
    bool force;
    _Atomic unsigned lost;
    sem_t sem;
};

static inline void exporter_opened(void *user, const struct exp_result *r)
{
    struct exporter *x = user;

    x->r = *r;
    sem_post(&x->sem);
}

static inline void exporter_event(void *user, enum exp_event ev)
{
    struct exporter *x = user;

    atomic_fetch_add(&x->lost, 1);
}

static inline void exporter_closed(void *user, int err, const char *why)
{
    struct exporter *x = user;

    x->err = err;
    snprintf(x->why, sizeof(x->why), "%s", why ? why : "");
    sem_post(&x->sem);
}

static inline void exporter_open_fn(void *arg)
{
    struct exporter *x = arg;

    x->err = exp_open(&x->e, &x->fake->disk, &x->conf, exporter_opened, exporter_event, x);
}

static inline void exporter_close_fn(void *arg)
{
    struct exporter *x = arg;

    exp_close(x->e, x->force, exporter_closed, x);
}

static inline void exporter_resized_fn(void *arg)
{
    exp_resized(((struct exporter *)arg)->e);
}

/* Return: exp_open()'s refusal or what done said; x->r has the rest. */
static inline int exporter_open(struct exporter *x, struct fake *f, const struct exp_conf *conf)
{
    memset(x, 0, sizeof(*x));
    x->fake = f;
    x->conf = *conf;
    sem_init(&x->sem, 0, 0);
    fake_on_core(f, exporter_open_fn, x);
    if (x->err)
        return x->err;
    sem_wait(&x->sem);
    return x->r.err;
}

static inline int exporter_close(struct exporter *x, bool force)
{
    x->force = force;
    fake_on_core(x->fake, exporter_close_fn, x);
    sem_wait(&x->sem);
    return x->err;
}

#endif
