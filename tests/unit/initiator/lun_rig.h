/*
 * lun_rig.h - requests to a unit of a fake target, for the tests of units
 */
#ifndef LUN_RIG_H
#define LUN_RIG_H

#include "fake_target.h"

struct req {
    struct ini_io io;
    struct iovec iov;
    bool ended;
    int res;
};
#define N 16
static struct req reqs[N];
static uint8_t bufs[N][4u << 20];

static inline void req_done(struct ini_io *io, int res)
{
    struct req *q = (struct req *)io;

    assert_false(q->ended);                 /* once */
    q->ended = true;
    q->res = res;
}

static inline void submit(struct rig *r, unsigned i, enum ini_io_op op, uint64_t off, uint64_t len, uint8_t flags)
{
    struct req *q = &reqs[i];

    memset(q, 0xa5, sizeof(*q));            /* nothing may depend on what was there */
    q->ended = false;
    q->iov = (struct iovec){ bufs[i], sizeof(bufs[i]) };
    q->io.op = (uint8_t)op;
    q->io.flags = flags;
    q->io.off = off;
    q->io.len = len;
    q->io.iov = &q->iov;
    q->io.iov_nr = 1;
    q->io.done = req_done;
    ini_io_submit(r->lun, &q->io);
    assert_false(q->ended);
}

static inline int run(struct rig *r, enum ini_io_op op, uint64_t off, uint64_t len, uint8_t flags)
{
    submit(r, 0, op, off, len, flags);
    rig_until(r, reqs[0].ended);
    return reqs[0].res;
}

static inline void start(struct rig *r, struct fake *f)
{
    fake_start(f, NULL);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    rig_start(r);
    rig_open(r);
}

static inline void end(struct rig *r, struct fake *f)
{
    rig_end(r);
    fake_stop(f);
}

static inline bool is_data(const struct fake_conn *c)
{
    const uint8_t op = c->pdu.cmd.cdb[0];

    return c->pdu.opcode == ISCSI_OP_SCSI_CMD && (op == SCSI_READ_10 || op == SCSI_WRITE_10);
}

#endif
