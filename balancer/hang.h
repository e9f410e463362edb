/*
 * hang.h - NUMA nodes of network interfaces and block devices, from a tree like /sys
 *
 * What stands behind bal_nic_of() and bal_dev_node(), apart so that tests can have a tree of their own.
 */
#ifndef CORELANE_BALANCER_HANG_H
#define CORELANE_BALANCER_HANG_H

#include <stdbool.h>
#include <stdint.h>

/* @sys: where the tree is, "/sys". What stands on several devices (bond, VLAN, bridge; md, dm) is on their node where they
 * share one. Block. Return: the node, or BAL_NODE_ANY. */
int bal_net_node(const char *sys, const char *ifname, unsigned *queues);
int bal_block_node(const char *sys, unsigned dev_major, unsigned dev_minor);

/* Whether the kernel's answer to a route request names an interface. @msg: borrowed; as received, native byte order.
 * Return: its index, 0: not the answer to @seq, or -errno as the kernel had it. */
int bal_route_read(const void *msg, uint32_t len, uint32_t seq);

#endif
