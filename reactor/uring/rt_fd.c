/*
 * rt_fd.c - descriptors of kernel drivers: readiness, and commands through the ring
 */
#include <string.h>

#include "reactor/uring/rt_internal.h"

static enum rt_op_next plain_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    op->res = res;
    return RT_OP_ENDED;
}

static void poll_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    io_uring_prep_poll_add(sqe, op->fd, op->n);
}

static const struct rt_op_type poll_type = { .prep = poll_prep, .finish = plain_finish };

void rt_fd_poll(struct rt *rt, struct rt_op *op, int fd, short events)
{
    op->fd = fd;
    op->n = (uint16_t)events;
    rt_op_start(rt, op, &poll_type);
}

static void cmd_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op->fd, NULL, 0, 0);
    sqe->cmd_op = op->n;
    memcpy(sqe->cmd, op->u.cmd, sizeof(op->u.cmd));
}

static const struct rt_op_type cmd_type = { .prep = cmd_prep, .finish = plain_finish };

void rt_fd_uring_cmd(struct rt *rt, struct rt_op *op, int fd, uint32_t cmd_op, const void *cmd16)
{
    op->fd = fd;
    op->n = cmd_op;
    memcpy(op->u.cmd, cmd16, sizeof(op->u.cmd));
    rt_op_start(rt, op, &cmd_type);
}
