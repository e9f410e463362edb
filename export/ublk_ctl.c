/*
 * ublk_ctl.c - see ublk_ctl.h
 *
 * The driver takes commands as large io_uring entries (128 bytes), which a reactor's ring does not have: a
 * private ring for each job. Kernels since 6.4 know the commands by ioctl-like numbers too, and may be built
 * without the old ones: which to use is asked of the kernel, in the new way, which an old one does not
 * understand.
 */
#include "export/ublk_ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <string.h>
#include <unistd.h>

#include "export/export_internal.h"

static_assert(sizeof(struct ublksrv_ctrl_cmd) == 32, "as in every kernel, whatever the last words are called");

/* Which of them only read: it is part of the number. */
static bool op_reads(unsigned op)
{
    return op == UBLK_CMD_GET_DEV_INFO || op == UBLK_CMD_GET_PARAMS || op == UBLK_CTL_GET_FEATURES;
}

static uint32_t encode(unsigned op, size_t len)
{
    return (uint32_t)_IOC(op_reads(op) ? _IOC_READ : _IOC_READ | _IOC_WRITE, 'u', op, len);
}

uint32_t ublk_io_op(uint64_t features, unsigned op)
{
    return features & UBLK_CTL_F_IOCTL_ENCODE ? encode(op, sizeof(struct ublksrv_io_cmd)) : op;
}

static int run(struct ublk_ctl *c, uint32_t cmd_op, const struct ublksrv_ctrl_cmd *cmd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
    struct io_uring_cqe *cqe;
    int ret;

    if (!sqe)
        return -EBUSY;
    memset(sqe, 0, 128);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = c->fd;
    sqe->cmd_op = cmd_op;
    memcpy(sqe->cmd, cmd, sizeof(*cmd));
    if ((ret = io_uring_submit(&c->ring)) < 0)
        return ret;
    while ((ret = io_uring_wait_cqe(&c->ring, &cqe)) == -EINTR)
        ;
    if (ret)
        return ret;
    ret = cqe->res;
    io_uring_cqe_seen(&c->ring, cqe);
    return ret;
}

int ublk_ctl(struct ublk_ctl *c, unsigned op, uint32_t dev_id, void *addr, uint16_t len, uint64_t data)
{
    const struct ublksrv_ctrl_cmd cmd = {
        .dev_id = dev_id, .queue_id = (uint16_t)-1, .len = len, .addr = (uintptr_t)addr, .data = { data },
    };

    return run(c, c->features & UBLK_CTL_F_IOCTL_ENCODE ? encode(op, sizeof(cmd)) : op, &cmd);
}

int ublk_ctl_open(struct ublk_ctl *c)
{
    uint64_t features = 0;
    int err;

    c->fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
    if (c->fd < 0 && errno == ENOENT) {
        exp_module("ublk_drv");
        (void)exp_node("/dev/ublk-control", "/sys/class/misc/ublk-control/dev", false);
        c->fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
    }
    if (c->fd < 0)
        return -errno;
    if ((err = io_uring_queue_init(4, &c->ring, IORING_SETUP_SQE128))) {
        close(c->fd);
        return err;
    }
    c->features = UBLK_CTL_F_IOCTL_ENCODE;      /* for the question itself */
    if (ublk_ctl(c, UBLK_CTL_GET_FEATURES, (uint32_t)-1, &features, sizeof(features), 0) < 0)
        features = 0;
    c->features = features;
    return 0;
}

void ublk_ctl_close(struct ublk_ctl *c)
{
    io_uring_queue_exit(&c->ring);
    close(c->fd);
}
