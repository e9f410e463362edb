/*
 * place.h - which core gets a new session, and why
 *
 * Pure: what is known of the cores goes in, a choice and its reasons come out, so that it can be tried on
 * made-up hosts. It knows neither sessions nor reactors.
 */
#ifndef CORELANE_BALANCER_PLACE_H
#define CORELANE_BALANCER_PLACE_H

struct bal_core {
    int core;          /* CPU number, -1: not pinned */
    unsigned sessions; /* that live there, those being set up included */
    unsigned busy_pct; /* 0..100: share of the last second spent working */
};

#define BAL_WHY_MAX 256

/**
 * bal_place - choose the core of a new session
 * @cores: borrowed; the cores that sessions may use, in the order of preference among equals
 * @nr:    1 or more
 * @why:   the reasons, for people: what was chosen, among how many, over what
 *
 * A free core comes first; with none free, the one with the fewest sessions. Among equals the less busy one,
 * where the difference is more than noise. Any thread. Return: an index into @cores.
 */
unsigned bal_place(const struct bal_core *cores, unsigned nr, char why[static BAL_WHY_MAX]);

#endif
