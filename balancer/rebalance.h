/*
 * rebalance.h - which session should move to another core, if any, when the load has not been what placement hoped for
 *
 * Pure but for its own memory: once a second it is told how busy cores and sessions are, and names one move at most. It does
 * not move anything, and does not learn whether somebody did: in mode `advise` nobody does.
 */
#ifndef CORELANE_BALANCER_REBALANCE_H
#define CORELANE_BALANCER_REBALANCE_H

#include "balancer/place.h"

#define BAL_REBAL_CORES_MAX  1024
#define BAL_REBAL_BUDGET_MAX 60

struct bal_rebal_conf {
    enum bal_policy policy; /* pinned: nothing moves */
    unsigned budget;        /* moves in a minute at most, 0..BAL_REBAL_BUDGET_MAX */
    unsigned high_pct;      /* a core is hot from here on, until it is 10 points below */
    unsigned gap_pct;       /* points by which a move must better the session's place */
    unsigned sustain_s;     /* seconds that it must have been so without a break */
};
#define BAL_REBAL_DEFAULT                                                                                      \
    {                                                                                                          \
        BAL_FREE_CORE, 6, 70, 20, 10                                                                           \
    }

/* What is remembered of a session. In the session's own object, zeroed when that is made; the rest is rebalance.c's. */
struct bal_past {
    uint64_t work;
    double rate;
    uint64_t seen_s, moved_s;
    unsigned moves;
};

struct bal_guest { /* a session */
    struct bal_past *past;
    const char *name; /* for the reasons */
    unsigned at;      /* index of its core */
    uint64_t
        work; /* done since it began, in whatever unit is common to all: commands, and bytes / 16384, say */
    int node; /* wanted NUMA node, BAL_NODE_ANY: none */
    const char *what; /* that hangs there, "eth0"; may be NULL */
    bool fixed;       /* pinned, or not in a state to move */
};

struct bal_move {
    unsigned guest;    /* index */
    unsigned from, to; /* indexes of cores */
    char why[BAL_TEXT_MAX];
};

/* Zeroed is new. */
struct bal_rebal {
    uint64_t now_s; /* seconds, from 1 */
    unsigned nr;
    uint64_t moved_s[BAL_REBAL_BUDGET_MAX]; /* of the latest moves, a ring */
    unsigned moved;
    struct bal_heat {
        double used, busy; /* smoothed, percent: by anybody, by sessions */
        double eff;        /* used, and half of what SMT siblings are */
        double rate;       /* of its sessions, summed */
        unsigned whole, node;
        bool allowed;
        unsigned hot_s,
            off_s; /* for how long it was too busy; had a busy session that belongs on another node */
    } core[BAL_REBAL_CORES_MAX];
};

/**
 * bal_rebal_sample - takes in a second's load, and says what should move
 * @r:      kept by the caller from call to call
 * @cores:  borrowed; the reactors' cores, always the same in the same order
 * @guests: borrowed; the sessions as they are now
 * @out:    written when something should
 * @why:    else why nothing should: "no core is hot", "core 3 is hot since 4 s", ...
 *
 * A hot core gives away the session that leaves the least uneven load, one of several or one that others on this CPU press; a
 * busy session on the wrong node goes to the right one. Who would just make another core as hot stays, and who moved rests a
 * minute, longer each time it is moved again within half an hour: loads that come and go do not send sessions to and fro.
 * Once a second. Return: whether there is a move; it counts against the budget.
 */
bool bal_rebal_sample(struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_topo *topo,
                      const struct bal_core *cores, unsigned nr, const struct bal_guest *guests,
                      unsigned guests_nr, struct bal_move *out, char why[static BAL_TEXT_MAX]);

#endif
