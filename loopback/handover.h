/*
 * handover.h - what a hand-over leaves to the datamover
 *
 * Nobody outside loopback/ includes it. Both ends of a connection get the same struct: the initiator's from its join, the
 * target's from its guest. What differs is who owns it, which the two functions say.
 */
#ifndef CORELANE_LOOPBACK_HANDOVER_H
#define CORELANE_LOOPBACK_HANDOVER_H

#include "loopback/loop.h"
#include "reactor/rt.h"

struct loop_handed {
    struct rt *rt;        /* the core it belongs to */
    struct rt_sock *sock; /* the unix socket: hello and welcome have passed, no operation is outstanding */
    struct rt_shm *rings; /* mapped; a struct loop_rings, LOOP_RINGS_LEN bytes */
    uint8_t *arena;       /* mapped; on a page boundary */
    size_t arena_len;     /* bytes */
};

/* After done said 0, once: @out->sock and @out->rings are taken by the caller, who will rt_sock_close() and rt_shm_free()
 * them; the arena is that of loop_join_start(), and no reference to it comes with it. loop_join_free() is still to be
 * called, and frees what is left. Cannot fail. */
void loop_join_take(struct loop_join *j, struct loop_handed *out);

/* After done said 0, at any time until loop_guest_free(): everything is borrowed, and stays the guest's. Whoever has an
 * operation on the socket ends it by rt_sock_shutdown(), and has it ended before loop_guest_free(). */
void loop_guest_handed(const struct loop_guest *g, struct loop_handed *out);

#endif
