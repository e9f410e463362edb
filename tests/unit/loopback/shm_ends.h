/*
 * shm_ends.h - the two ends of dm_ends.h over shared memory: handed over as in a login, then both datamovers replaced
 *
 * Either end can be left out: the test then has its mapping and plays the peer with bare hands.
 */
#ifndef TESTS_SHM_ENDS_H
#define TESTS_SHM_ENDS_H

#include <stdio.h>
#include "loopback/handover.h"
#include "loopback/ring.h"
#include "tests/unit/iscsi/dm_ends.h"

#define ARENA_LEN LOOP_ARENA_MIN

struct shm_ends {
    struct ends e;
    char path[64];
    struct loop_door *door;
    struct loop_guest *guest;
    struct loop_arena *arena;
    struct loop_join *join;
    struct loop_handed raw;   /* of the initiator, when it is left out */
    struct loop_rings *rings; /* as the one that is left out sees them */
    uint8_t *peer_arena;
    unsigned came, joined, admitted;
    bool raw_ini, raw_tgt;
};

static inline void shm_admitted(void *user, int err, const char *why)
{
    struct shm_ends *b = user;

    (void)why;
    assert_int_equal(err, 0);
    b->admitted = 1;
}

static inline void shm_came(void *user, struct loop_guest *g)
{
    struct shm_ends *b = user;

    b->guest = g;
    loop_guest_admit(g, shm_admitted, b);
}

static inline void shm_joined(void *user, int err, const char *why)
{
    struct shm_ends *b = user;

    (void)why;
    assert_int_equal(err, 0);
    b->joined = 1;
}

/* As turn_until(), but as patient as a loaded machine asks for. */
static inline bool shm_until(struct shm_ends *b, const unsigned *what, unsigned at_least)
{
    const uint64_t end = rt_clock(b->e.rt) + 30 * RT_S;

    while (*what < at_least && rt_clock(b->e.rt) < end)
        rt_turn(b->e.rt, 10 * RT_MS);
    return *what >= at_least;
}

/* Hands over, on the one reactor. */
static inline void shm_hand_over(struct shm_ends *b)
{
    struct loop_invitation inv = { .token = { 1, 2, 3 } };

    snprintf(b->path, sizeof(b->path), "/tmp/corelane-shm-%d-%p.sock", (int)getpid(), (void *)b);
    memcpy(inv.path, b->path, sizeof(b->path));
    assert_int_equal(loop_door_open(&b->door, b->e.rt, b->path, shm_came, b), 0);
    assert_int_equal(loop_join_start(&b->join, b->e.rt, &inv, b->arena, shm_joined, b), 0);
    assert_true(shm_until(b, &b->joined, 1));
    assert_true(shm_until(b, &b->admitted, 1));
    loop_door_close(b->door);
}

/* On a reactor that is there already. NULL events: those of dm_ends.h. */
static inline void shm_connect(struct shm_ends *b, bool raw_ini, bool raw_tgt,
                               const struct dm_events *initiator, const struct dm_events *target)
{
    struct loop_handed h;
    struct dm *tcp;

    ends_connect(&b->e);
    assert_int_equal(loop_arena_new(&b->arena, ARENA_LEN), 0);
    shm_hand_over(b);
    loop_guest_handed(b->guest, &h);
    b->raw_ini = raw_ini;
    b->raw_tgt = raw_tgt;
    if (raw_ini) {
        loop_join_take(b->join, &b->raw);
        loop_join_free(b->join);
        b->rings = rt_shm_mem(b->raw.rings);
        b->peer_arena = b->raw.arena;
    } else {
        tcp = b->e.ini.dm;
        assert_int_equal(dm_shm_new_initiator(&b->e.ini.dm, tcp, b->join, b->arena,
                                              initiator ? initiator : &end_events, &b->e.ini),
                         0);
    }
    if (raw_tgt) {
        b->rings = rt_shm_mem(h.rings);
        b->peer_arena = h.arena;
    } else {
        tcp = b->e.tgt.dm;
        assert_int_equal(
            dm_shm_new_target(&b->e.tgt.dm, tcp, b->guest, target ? target : &end_events, &b->e.tgt), 0);
    }
}

static inline void shm_start_of(struct shm_ends *b, unsigned cores_nr, bool raw_tgt)
{
    memset(b, 0, sizeof(*b));
    ends_start_of(&b->e, cores_nr);
    shm_connect(b, false, raw_tgt, NULL, NULL);
}

static inline void shm_start_with(struct shm_ends *b, bool raw_ini, bool raw_tgt,
                                  const struct dm_events *target)
{
    memset(b, 0, sizeof(*b));
    ends_start(&b->e);
    shm_connect(b, raw_ini, raw_tgt, NULL, target);
}

static inline void shm_start(struct shm_ends *b)
{
    shm_start_with(b, false, false, NULL);
}

/* The task's memory from the arena: nothing is copied on the initiator. Give it back before the end. */
static inline void shm_lend(struct shm_ends *b, uint32_t itt, uint32_t len, uint32_t skip)
{
    struct xtask *x = xtask_at(&b->e.ini, itt);

    free(x->mem);
    x->mem = loop_arena_get(b->arena, len + skip + 1);
    assert_non_null(x->mem);
    x->mem += skip;
}

static inline void shm_unlend(struct shm_ends *b, uint32_t itt, uint32_t len, uint32_t skip)
{
    struct xtask *x = xtask_at(&b->e.ini, itt);

    loop_arena_put(b->arena, x->mem - skip, len + skip + 1);
    x->mem = NULL;
}

static inline void shm_stop(struct shm_ends *b)
{
    struct end *const both[] = { &b->e.ini, &b->e.tgt };

    /* Both at once: each waits for operations that the other's end completes. */
    for (int i = 0; i < 2; i++)
        if (!both[i]->closed)
            dm_terminate(both[i]->dm, false);
    if (b->raw_ini)
        rt_sock_shutdown(b->raw.sock);
    for (int i = 0; i < 2; i++)
        assert_true(shm_until(b, &both[i]->closed, 1));
    turn_some(&b->e, 2);
    loop_guest_free(b->guest);
    if (b->raw_ini) {
        rt_sock_close(b->raw.sock);
        rt_shm_free(b->raw.rings);
    }
    loop_arena_drop(b->arena);
    ends_stop(&b->e);
}

#endif
