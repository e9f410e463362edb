/*
 * ublk_ctl.h - /dev/ublk-control: making and ending ublk devices; all of it blocks: jobs only
 */
#ifndef CORELANE_EXPORT_UBLK_CTL_H
#define CORELANE_EXPORT_UBLK_CTL_H

#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stdbool.h>
#include <stdint.h>

/* What Debian 12's linux/ublk_cmd.h, of Linux 6.1, does not have yet. */
#define UBLK_CTL_GET_FEATURES 0x13
#define UBLK_CTL_UPDATE_SIZE 0x15
#define UBLK_CTL_F_IOCTL_ENCODE (1ull << 6)
#define UBLK_CTL_F_UPDATE_SIZE (1ull << 10)
/* Data are read from and written to /dev/ublkcN by who serves the request (Linux 6.5), at UBLK_CTL_DATA_OFF(). */
#define UBLK_CTL_F_USER_COPY (1ull << 7)
#define UBLK_CTL_DATA_OFF(tag) (UBLKSRV_IO_BUF_OFFSET + ((uint64_t)(tag) << 25))    /* of the first queue */

struct ublk_ctl {
    struct io_uring ring;
    int fd;
    uint64_t features;                      /* UBLK_F_...; 0: the kernel is older than the question */
};

/* Loads the driver where it is not there. Return: 0, or -errno (-ENOENT: no driver) with nothing to close. */
int ublk_ctl_open(struct ublk_ctl *c);
void ublk_ctl_close(struct ublk_ctl *c);
/* op: UBLK_CMD_... . Return: 0 or more, or -errno. */
int ublk_ctl(struct ublk_ctl *c, unsigned op, uint32_t dev_id, void *addr, uint16_t len, uint64_t data);
/* The number of a queue's command (UBLK_IO_...) on a kernel with these features. */
uint32_t ublk_io_op(uint64_t features, unsigned op);

#endif
