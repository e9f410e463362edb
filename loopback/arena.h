/*
 * arena.h - what else loopback/ and its tests want of an arena
 */
#ifndef CORELANE_LOOPBACK_ARENA_H
#define CORELANE_LOOPBACK_ARENA_H

#include "loopback/loop.h"

#define LOOP_PAGE 4096u /* bytes: what is handed out is whole pages */

/* One reference more, for an operation that uses its memory; loop_arena_drop() gives it back. */
void loop_arena_hold(struct loop_arena *a);
/* Asserts all that holds between two calls. Looks at every page: for tests. */
void loop_arena_check(const struct loop_arena *a);

#endif
