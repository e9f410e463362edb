/*
 * place.h - which core gets a session, and why
 *
 * Pure: what is known of the cores goes in, a choice and the reasons for and against each candidate come out, so that it
 * can be tried on made-up hosts. It knows neither sessions nor reactors.
 */
#ifndef CORELANE_BALANCER_PLACE_H
#define CORELANE_BALANCER_PLACE_H

#include <stdint.h>

#include "balancer/topo.h"

enum bal_policy { BAL_FREE_CORE, BAL_NUMA, BAL_PINNED, BAL_SPREAD, BAL_PACK, BAL_POLICIES };
extern const char
    *const bal_policy_names[]; /* "free-core", "numa", "pinned", "spread", "pack"; NULL at the end */

struct bal_core {      /* one candidate: a CPU that has a reactor */
    int cpu;           /* CPU number, -1: not pinned */
    unsigned sessions; /* that live there, those being set up included */
    unsigned busy_pct; /* 0..100: share of the last second(s) that its reactor spent working */
    unsigned host_pct; /* 0..100: share that anybody else had of this CPU, from the kernel */
};
struct bal_ask {
    enum bal_policy policy;
    int node;         /* wanted NUMA node (of the NIC, or of the device), BAL_NODE_ANY: none */
    int pin;          /* CPU; -1: not pinned. Holds under every policy */
    const char *what; /* for the reasons: "eth0", "/dev/nvme0n1"; may be NULL */
};
struct bal_verdict { /* what was thought of one candidate */
    bool possible;   /* else why says what rules it out */
    uint64_t score;  /* lower is better; made of the criteria in order of weight */
    char why[128];   /* "free, whole core free, node 1 as eth0 has" or why it lost */
};
/**
 * bal_place - choose the core of a session
 * @topo:     NULL: nothing is known of the machine: every CPU is a core of node 0
 * @cores:    borrowed; in the order of preference among equals
 * @nr:       1 or more
 * @verdicts: @nr of them, filled; NULL: not wanted
 * @why:      the reasons in a sentence
 *
 * free-core: a core without sessions on the right node first, none of whose SMT siblings has one while whole cores are free;
 * with none free the least loaded. numa: never another node while the right one has a core. pinned: only where it is
 * pinned, -1 without one. spread: fewest sessions over packages, nodes, caches, cores in turn. pack: the fewest cores that
 * bear it (below 70 % busy). Any thread. Return: an index into @cores, or -1 with @why: none is possible.
 */
int bal_place(const struct bal_topo *topo, const struct bal_core *cores, unsigned nr, const struct bal_ask *ask,
              struct bal_verdict *verdicts, char why[static BAL_TEXT_MAX]);

#endif
