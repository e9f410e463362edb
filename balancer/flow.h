/*
 * flow.h - filters in a network card that bring one TCP flow to one receive queue (ethtool's ntuple)
 */
#ifndef CORELANE_BALANCER_FLOW_H
#define CORELANE_BALANCER_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#define BAL_FLOW_NAME_MAX 256
#define BAL_IFNAME_MAX    16

struct bal_flow { /* packets that come in: source is the target's portal */
    char ifname[BAL_IFNAME_MAX];
    bool v6;
    uint8_t src[16], dst[16]; /* network byte order; IPv4 takes the first 4 */
    bool any_dst;
    uint16_t src_port, dst_port; /* host byte order; dst_port 0: any */
};

/* "flow/eth0/192.0.2.9/3260/192.0.2.1/40000", with '*' for any destination or destination port. Pure. Return: 0 or
 * -EINVAL. */
int bal_flow_parse(struct bal_flow *out, const char *name);
/* @dst NULL or empty, @dst_port 0: any. Return: 0, or -EINVAL: not two addresses of one family. */
int bal_flow_name(char out[static BAL_FLOW_NAME_MAX], const char *ifname, const char *src, uint16_t src_port,
                  const char *dst, uint16_t dst_port);
/* What an interface may be called, as it becomes part of paths. */
bool bal_ifname_valid(const char *name);

struct bal_flow_ops { /* each blocks; returns 0 or -errno */
    /* Filters are there and switched on: @queues: how many receive queues. Else -EOPNOTSUPP and the like, with @why. */
    int (*able)(void *user, const char *ifname, unsigned *queues, char why[static 128]);
    int (*find)(void *user, const struct bal_flow *f, unsigned *queue); /* -ENOENT: there is none like that */
    int (*add)(void *user, const struct bal_flow *f, unsigned queue);
    int (*del)(void *user, const struct bal_flow *f); /* -ENOENT as well */
};
extern const struct bal_flow_ops bal_flow_nic;  /* this machine's; user is NULL */
extern const struct bal_flow_ops bal_flow_none; /* a machine without any */

#endif
