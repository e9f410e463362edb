/*
 * mpio_internal.h - what mpio's files share; nobody else includes it, but tests that look inside
 *
 * nexus.c   a session's counters, and what all paths over it have to be told
 * path.c    a unit over a session, on the session's core
 * disk.c    a set of paths: choice, waiting, retries, on the disk's core
 * policy.c  which path a request takes
 */
#ifndef CORELANE_MPIO_INTERNAL_H
#define CORELANE_MPIO_INTERNAL_H

#include "mpio/disk.h"
#include "reactor/rt_list.h"

struct mpio_nexus {
    struct ini_sess *s;
    _Atomic(struct rt *) rt; /* where it lives */
    char name[32];
    unsigned paths_nr;
    bool up;
};

struct mpio_path {
    /* Its nexus's core's. */
    struct mpio_nexus *nexus;
    struct ini_lun *lun;
    void (*opened)(void *user, int err, const char *why);
    void *opened_user;
    struct mpio_path **out;

    /* Its disk's. */
    struct mpio_disk *disk; /* NULL: in none */
    struct rt_op op;
    void (*joined)(void *user, int err, const char *why);
    void (*left)(void *user);
    void *user;
    int err;
    char why[320];
};

/* What the unit told of itself. */
void mpio_path_event(struct mpio_path *p, enum ini_event ev);

#endif
