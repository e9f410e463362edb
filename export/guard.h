/*
 * guard.h - who may write which blocks now
 *
 * A write that covers a part of a block only reads the block, changes it and writes it back: between the two
 * nobody else may write there, or one of the writes is lost. Such a range is held alone; ranges of whole
 * blocks are shared with each other, as a disk promises nothing about writes that overlap in time.
 */
#ifndef CORELANE_EXPORT_GUARD_H
#define CORELANE_EXPORT_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "reactor/rt_list.h"

struct exp_range {
    uint64_t first, end;                    /* bytes; filled by the caller, rounded outward to blocks */
    bool alone;                             /* filled by the caller */
    struct rt_link link;                    /* the rest is the guard's */
    struct exp_range *next;
};

struct exp_guard {
    struct rt_link held, waiting;           /* in order of arrival */
    unsigned alone_nr;                      /* in both lists */
};

void exp_guard_init(struct exp_guard *g);
/* True: held from now on. False: go() of a later exp_guard_leave() will say so. In order of arrival where
 * ranges conflict. */
bool exp_guard_enter(struct exp_guard *g, struct exp_range *r);
/* Gives a held range up and calls go for each that may proceed now; go may enter and leave ranges itself. */
void exp_guard_leave(struct exp_guard *g, struct exp_range *r, void (*go)(struct exp_range *r));

#endif
