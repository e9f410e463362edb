/*
 * nbd_nl.h - the kernel's nbd driver, told over generic netlink; all of it blocks: jobs only
 */
#ifndef CORELANE_EXPORT_NBD_NL_H
#define CORELANE_EXPORT_NBD_NL_H

#include <stdint.h>

struct nbd_nl_conf {
    int sock;                               /* borrowed: the kernel takes a reference of its own */
    uint64_t size, block_len;               /* bytes */
    uint64_t flags;                         /* NBD_HAS_FLAGS and so on */
    const char *ident;                      /* borrowed: shown in /sys/block/nbdN/backend */
};

/* Return: the N of /dev/nbdN, or -errno: -ENOENT where the driver is not there, -EPERM without
 * CAP_SYS_ADMIN. */
int nbd_nl_connect(const struct nbd_nl_conf *conf);
/* Requests that are not answered yet fail. Return: 0 also where it was not connected. */
int nbd_nl_disconnect(int id);
/* ident: as at nbd_nl_connect(), or the driver refuses. */
int nbd_nl_resize(int id, const char *ident, uint64_t size);

#endif
