/*
 * swarm_internal.h - what the files of the swarm share; nobody else includes it
 *
 * swarm.c    which faults a scene has, when they come, what lies in wait; what was hit
 * faults.c   what each of them is
 */
#ifndef CORELANE_SIM_SWARM_INTERNAL_H
#define CORELANE_SIM_SWARM_INTERNAL_H

#include "tests/sim/scene.h"

enum kind {
    K_RESET, K_CUT, K_HALF_CLOSE, K_BLACKHOLE, K_FLIP, K_PARTITION, K_KILL_CLIENT, K_POWER_CLIENT, K_KILL_TGT,
    K_POWER_TGT, K_STOP_TGT, K_STALL, K_READ_EIO, K_WRITE_EIO, K_SYNC_EIO, K_NO_SPACE, K_LUN_RESET, K_LOGOUT,
    K_ABRUPT, K_ABANDON, K_RESIZE, K_ASK, K_FREEZE_CLIENT, K_FREEZE_TGT, K_DOOR, KINDS,
};

/* How many there are in a storm at most, in a scene that has the kind; and whether it may lie in wait. */
struct swarm_kind {
    uint8_t most;
    bool waits;
};
extern const struct swarm_kind swarm_kinds[KINDS];

#define LATER_MAX  64u                      /* things to be done, or undone, at a time to come */
#define AMBUSH_MAX 6u

struct later {
    struct sim_timer timer;
    struct scene *scene;
    void (*fn)(struct later *l);
    bool busy;
    enum kind kind;
    struct nexus_end *nexus;
    struct sim_prog *prog;
    uint64_t conn_id;
    bool to, from;                          /* partition: which way */
};

struct every {                              /* a kind that comes at random times */
    struct sim_timer timer;
    struct scene *scene;
    enum kind kind;
    uint64_t mean_ns;
};

struct ambush {
    uint8_t kind, state;                    /* state: one of STATES, or STATES and a step */
    unsigned left;                          /* times */
};

struct swarm {
    struct scene *scene;
    struct every every[KINDS];
    struct later later[LATER_MAX];
    struct ambush ambush[AMBUSH_MAX];
    unsigned ambushes;
    uint32_t size_asked;                    /* sectors of unit 0 */
    unsigned slow_resets;                   /* connections break when the disk is slow: so often */
    bool slow_seen;
    unsigned late_kills;                    /* the target is killed while its disk stands still: so often */
    struct sim_disk disk;                   /* as it was drawn */
};

static inline uint64_t draw(struct scene *sc, uint64_t lo, uint64_t hi)
{
    return sim_rng_range(&sc->fault_rng, lo, hi);
}

static inline bool one_in(struct scene *sc, unsigned n)
{
    return !sim_rng_below(&sc->fault_rng, n);
}

/* faults.c */
/* A thing to be done after @ns. NULL: too much is to be done already; then it is left. */
struct later *fault_later(struct scene *sc, void (*fn)(struct later *l), uint64_t ns);
uint64_t fault_hold(struct scene *sc);      /* how long something lasts: to 10 s */
void fault_do(struct scene *sc, enum kind k, struct nexus_end *n);  /* n NULL: drawn */
void fault_conn(struct scene *sc, enum kind k, struct nexus_end *n);
void fault_kill_tgt(struct scene *sc, bool power);
void fault_stall(struct scene *sc, uint64_t ns);                    /* of the target's disk */

#endif
