/*
 * nexus.c - what all paths over one session have in common
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "mpio/mpio_internal.h"

int mpio_nexus_new(struct mpio_nexus **out, struct ini_sess *s, const char *name)
{
    struct mpio_nexus *n = calloc(1, sizeof(*n));

    rt_assert_here(ini_sess_rt(s));
    if (!n)
        return -ENOMEM;
    n->s = s;
    atomic_init(&n->rt, ini_sess_rt(s));
    snprintf(n->name, sizeof(n->name), "%s", name);
    *out = n;
    return 0;
}

void mpio_nexus_free(struct mpio_nexus *n)
{
    if (!n)
        return;
    assert(!n->paths_nr);
    free(n);
}

void mpio_nexus_up(struct mpio_nexus *n)
{
    n->up = true;
}

void mpio_nexus_down(struct mpio_nexus *n, int err, const char *why)
{
    (void)err, (void)why;
    n->up = false;
}

void mpio_nexus_failed(struct mpio_nexus *n, int err, const char *why)
{
    (void)err, (void)why;
    n->up = false;
}

struct ini_sess *mpio_nexus_sess(const struct mpio_nexus *n)
{
    return n->s;
}

struct rt *mpio_nexus_rt(const struct mpio_nexus *n)
{
    return atomic_load_explicit(&n->rt, memory_order_acquire);
}
