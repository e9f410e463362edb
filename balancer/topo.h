/*
 * topo.h - the machine as the balancer sees it: cores, siblings, caches, NUMA nodes, and what hangs where
 *
 * From hwloc, or made up by hwloc's synthetic notation for tests and plans.
 */
#ifndef CORELANE_BALANCER_TOPO_H
#define CORELANE_BALANCER_TOPO_H

#include <stdbool.h>

struct bal_topo;

struct bal_pu {     /* one logical CPU */
    int cpu;        /* its number in the system */
    unsigned core;  /* whole core; SMT siblings share it; 0.. */
    unsigned cache; /* last-level cache; 0.. */
    unsigned node;  /* NUMA node, the system's number */
    unsigned package;
    bool allowed;  /* by this process's cpuset */
    bool isolated; /* isolcpus, cpuset partitions: only who names it gets it */
};

#define BAL_TEXT_MAX 256
#define BAL_NODE_ANY (-1)

/* @synthetic: NULL: this machine; else hwloc's notation ("pack:2 numa:1 core:24 pu:2"), after which lists of CPUs may follow
 * that it has no words for: "pack:1 core:8 pu:2; offline 9,11; allowed 0-7; isolated 6-7". Of this machine CPUs are allowed
 * that the calling thread may run on: not from a reactor, which is pinned. Blocks; at set-up or on a helper thread.
 * Return: 0 or -errno (-EINVAL for a notation) with @why. */
int bal_topo_new(struct bal_topo **out, const char *synthetic, char why[static BAL_TEXT_MAX]);
void bal_topo_free(struct bal_topo *t);
/* By CPU number, ascending. Immutable from bal_topo_new() on: any thread. */
unsigned bal_topo_pus(const struct bal_topo *t, const struct bal_pu **out);
const struct bal_pu *bal_topo_pu(const struct bal_topo *t, int cpu); /* NULL: no such CPU */
/* The CPUs that a program takes which was not told any: the allowed ones that are not isolated, or, where there is none of
 * these, all allowed. Ascending. Return: how many were written, @max at most. */
unsigned bal_topo_default(const struct bal_topo *t, int *cpus, unsigned max);
/* The network interface that packets to @addr (a number, without port) leave by, and its NUMA node (BAL_NODE_ANY: none, as
 * with lo). Blocks. Return: 0 or -errno. */
int bal_nic_of(const char *addr, char ifname[static 32], int *node, unsigned *queues);
/* The NUMA node of the block device that a path is, or lies on; BAL_NODE_ANY. Blocks. */
int bal_dev_node(const char *path);

#endif
