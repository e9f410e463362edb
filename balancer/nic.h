/*
 * nic.h - a network interface's receive queues, as sysfs and /proc/irq show them
 *
 * Every call blocks. Any thread.
 */
#ifndef CORELANE_BALANCER_NIC_H
#define CORELANE_BALANCER_NIC_H

#include "balancer/flow.h"
#include "balancer/sysfs.h"

#define BAL_NIC_QUEUES_MAX 1024
#define BAL_NIC_BASES_MAX  8

/* The cards below a bond, bridge or VLAN, where packets come in; the interface itself if nothing is below it.
 * Return: how many; 0: there is no such interface. */
unsigned bal_nic_bases(const struct bal_sys *s, const char *ifname, char (*out)[BAL_IFNAME_MAX], unsigned max);
/* Numbers of the receive queues. Return: how many, 0: none. */
unsigned bal_nic_queues(const struct bal_sys *s, const char *ifname, unsigned *out, unsigned max);
void bal_nic_rps_path(const char *ifname, unsigned queue, char out[static BAL_SYS_PATH_MAX]);
/* The receive queue whose interrupt goes to that CPU alone. Return: its number, -ENOENT: there is none. */
int bal_nic_queue_of(const struct bal_sys *s, const char *ifname, int cpu);
/* The NUMA node of the card, -1: none. */
int bal_nic_node(const struct bal_sys *s, const char *ifname);

#endif
