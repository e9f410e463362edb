/*
 * dev_sbc.c - block commands: reading, writing, zeroing, and what they say about the medium (SBC-3 r36)
 */
#include <errno.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

enum { CDB1_FUA = 0x08, CDB1_UNMAP = 0x08, CDB1_NDOB = 0x01 };

static struct scsi_task *io_task(struct be_io *io)
{
    return container_of(io, struct scsi_task, io);
}

static uint64_t byte_off(const struct scsi_task *t)
{
    return t->lba << task_lun(t)->block_shift;
}

/* Ends the task after its last operation. */
static void end_with(struct scsi_task *t, int res, bool write)
{
    if (res)
        task_be_error(t, res, write);
    task_end(t);
}

bool dev_fua(const struct scsi_task *t)
{
    const bool asked = !(t->cmd->flags & F_SIX) && (t->cdb[1] & CDB1_FUA);

    return task_lun(t)->cached && (asked || !task_view(t)->wce);
}

/* ---- READ, WRITE ----------------------------------------------------------------------------------------- */

enum lun_next dev_rw_check(struct scsi_task *t)
{
    return t->blocks ? LUN_RUN : LUN_DONE;
}

/* An initiator may expect to move less than its CDB says: whole blocks of that are written and the rest is
 * in the residual count. Half a block cannot be written. It is found here and not before, for that count's
 * sake. */
bool dev_write_len(struct scsi_task *t, uint32_t *len)
{
    *len = t->out_got < t->out_len ? t->out_got : t->out_len;
    if (!(*len & (task_lun(t)->block_len - 1)))
        return *len > 0;
    task_bad_data(t);
    return false;
}

enum lun_next dev_whole_check(struct scsi_task *t)
{
    if (!t->blocks)
        return LUN_DONE;
    return t->edtl < t->out_len ? task_bad_data(t) : LUN_RUN;
}

static void read_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (!res)
        t->in_done = t->in_len;
    end_with(t, res, false);
}

static void read_odd(struct scsi_task *t);

static uint32_t read_room(const struct scsi_task *t)
{
    const uint64_t room = iov_total(t->in_iov, t->in_nr);

    return room < t->in_len ? (uint32_t)room : t->in_len;
}

static void read_odd_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);
    const uint32_t left = read_room(t) - t->step, n = t->io.len < left ? (uint32_t)t->io.len : left;

    if (res) {
        end_with(t, res, false);
        return;
    }
    iov_put(t->in_iov, t->in_nr, t->step, t->scratch, n);
    t->step += n;
    read_odd(t);
}

/* Into the scratch buffer and from there what fits: the end of what is expected may lie inside a block. */
static void read_odd(struct scsi_task *t)
{
    const uint32_t mask = task_lun(t)->block_len - 1;
    uint32_t n = read_room(t) - t->step;    /* step: bytes done */

    if (!n) {
        t->in_done = t->step;
        end_with(t, 0, false);
        return;
    }
    if (n > LUN_SCRATCH_LEN)
        n = LUN_SCRATCH_LEN;
    n = (n + mask) & ~mask;
    t->iov_tmp = (struct iovec){ t->scratch, n };
    t->io.done = read_odd_done;
    be_read(task_lun(t)->be, t->nexus->rt, &t->io, &t->iov_tmp, 1, byte_off(t) + t->step, n);
}

static void read_now(struct scsi_task *t)
{
    if (t->scratch) {
        read_odd(t);
        return;
    }
    t->io.done = read_done;
    be_read(task_lun(t)->be, t->nexus->rt, &t->io, t->in_iov, t->in_nr, byte_off(t), t->in_len);
}

static void read_synced(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res)
        end_with(t, res, true);
    else
        read_now(t);
}

/* FUA: what is read is on the medium, so what the cache has newer goes there first. */
void dev_read(struct scsi_task *t)
{
    if (!(t->cmd->flags & F_SIX) && (t->cdb[1] & CDB1_FUA) && task_lun(t)->cached) {
        t->io.done = read_synced;
        be_sync(task_lun(t)->be, t->nexus->rt, &t->io);
        return;
    }
    read_now(t);
}

static void write_done(struct be_io *io, int res)
{
    end_with(io_task(io), res, true);
}

void dev_write(struct scsi_task *t)
{
    uint32_t len;

    if (!dev_write_len(t, &len)) {
        task_end(t);
        return;
    }
    t->io.done = write_done;
    be_write(task_lun(t)->be, t->nexus->rt, &t->io, t->out_iov, t->out_nr, byte_off(t), len, dev_fua(t));
}

/* ---- SYNCHRONIZE CACHE, PRE-FETCH and others that need not do anything ----------------------------------- */

void dev_sync(struct scsi_task *t)
{
    if (!task_lun(t)->cached) {
        task_end(t);
        return;
    }
    t->io.done = write_done;
    be_sync(task_lun(t)->be, t->nexus->rt, &t->io);
}

void dev_good(struct scsi_task *t)
{
    task_end(t);
}

/* ---- zeroes: WRITE SAME and UNMAP ------------------------------------------------------------------------ */

static void next_turn(struct scsi_task *t, void (*done)(struct rt_op *op, int res))
{
    t->io.op = (struct rt_op){ .done = done };
    rt_defer(t->nexus->rt, &t->io.op);
}

static struct scsi_task *op_task(struct rt_op *op)
{
    return io_task(container_of(op, struct be_io, op));
}

/* The last step of what went by pieces: stable, where every write has to be. */
static void pieces_end(struct scsi_task *t)
{
    if (!dev_fua(t)) {
        task_end(t);
        return;
    }
    t->io.done = write_done;
    be_sync(task_lun(t)->be, t->nexus->rt, &t->io);
}

static void pieces_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res)
        end_with(t, res, true);
    else
        pieces_end(t);
}

/* WSNZ is set: a count of 0 is refused and does not mean "to the end". */
enum lun_next dev_write_same_check(struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);
    const bool sixteen = t->cmd->len == 16;

    if ((t->cdb[1] & CDB1_UNMAP) && !lun->thin)
        return task_bad_cdb(t, 1, 3);
    if (!t->blocks || t->blocks > LUN_WRITE_SAME_MAX)
        return task_bad_cdb(t, t->cmd->count.off, -1);
    if (sixteen && (t->cdb[1] & CDB1_NDOB)) {
        t->out_len = 0;
        return LUN_RUN;
    }
    if (t->edtl && !t->write)
        return task_bad_data(t);
    return t->edtl == t->out_len ? LUN_RUN : task_bad_data(t);
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void same_more(struct rt_op *op, int res);

static void same_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res) {
        end_with(t, res, true);
        return;
    }
    t->step += (uint32_t)(t->iov_tmp.iov_len >> task_lun(t)->block_shift);
    if (t->aborted)
        t->status = SCSI_TASK_ABORTED;
    if (t->aborted || t->step == t->blocks)
        pieces_end(t);
    else
        next_turn(t, same_more);            /* other tasks get their turn between the pieces */
}

/* step: blocks done. */
static void same_more(struct rt_op *op, int res)
{
    struct scsi_task *t = op_task(op);
    const struct lun *lun = task_lun(t);
    const uint32_t most = LUN_SCRATCH_LEN >> lun->block_shift, left = t->blocks - t->step;

    t->iov_tmp = (struct iovec){ t->scratch, (size_t)(left < most ? left : most) << lun->block_shift };
    t->io.done = same_done;
    be_write(lun->be, t->nexus->rt, &t->io, &t->iov_tmp, 1, (t->lba + t->step) << lun->block_shift,
             t->iov_tmp.iov_len, false);
}

static void same_fill(struct scsi_task *t)
{
    const uint32_t block_len = task_lun(t)->block_len;
    const uint64_t want = (uint64_t)t->blocks * block_len;
    const size_t len = want < LUN_SCRATCH_LEN ? (size_t)want : LUN_SCRATCH_LEN;

    for (size_t at = block_len; at < len; at += block_len)
        memcpy((uint8_t *)t->scratch + at, t->scratch, block_len);
}

/* Zeroes can be had without sending them to the medium. Another pattern is written, with UNMAP too:
 * unmapped blocks read as zeroes here, which it is not. Source: SBC-3 r36, "WRITE SAME (16) command". */
void dev_write_same(struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);

    if (t->out_len && (t->out_got < t->out_len ||
                       iov_get(t->out_iov, t->out_nr, 0, t->scratch, lun->block_len) < lun->block_len)) {
        task_bad_data(t);
        task_end(t);
    } else if (!t->out_len || all_zero(t->scratch, lun->block_len)) {
        t->io.done = pieces_done;
        be_zero(lun->be, t->nexus->rt, &t->io, byte_off(t), (uint64_t)t->blocks << lun->block_shift,
                t->cdb[1] & CDB1_UNMAP);
    } else {
        same_fill(t);
        same_more(&t->io.op, 0);
    }
}

enum { UNMAP_HEAD_LEN = 8, UNMAP_DESC_LEN = 16 };

enum lun_next dev_unmap_check(struct scsi_task *t)
{
    if (!t->out_len)
        return LUN_DONE;                    /* no list: nothing to do, and no error */
    if (t->out_len >= UNMAP_HEAD_LEN && t->edtl >= t->out_len)
        return LUN_RUN;
    task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
    return LUN_DONE;
}

static void unmap_desc(const struct scsi_task *t, unsigned i, uint64_t *lba, uint32_t *blocks)
{
    uint8_t d[UNMAP_DESC_LEN] = { 0 };

    iov_get(t->out_iov, t->out_nr, UNMAP_HEAD_LEN + (uint64_t)i * UNMAP_DESC_LEN, d, sizeof(d));
    *lba = load_be64(&d[0]);
    *blocks = load_be32(&d[8]);
}

/* All descriptors are judged before any is acted on. t->blocks becomes how many there are. */
static bool unmap_judge(struct scsi_task *t)
{
    const uint64_t capacity = task_view(t)->blocks;
    uint8_t head[UNMAP_HEAD_LEN] = { 0 };
    unsigned data_len, descs_len;
    uint64_t total = 0;

    iov_get(t->out_iov, t->out_nr, 0, head, sizeof(head));
    data_len = load_be16(&head[0]);
    descs_len = load_be16(&head[2]);
    if (descs_len + UNMAP_HEAD_LEN > t->out_len || descs_len + UNMAP_HEAD_LEN > data_len + 2u) {
        task_bad_param(t, 2, -1);
        return false;
    }
    t->blocks = descs_len / UNMAP_DESC_LEN;
    for (unsigned i = 0; i < t->blocks; i++) {
        struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0x00);
        uint64_t lba;
        uint32_t blocks;

        unmap_desc(t, i, &lba, &blocks);
        if (lba > capacity || blocks > capacity - lba) {
            s.has_info = true;
            s.info = lba > capacity ? lba : capacity;
            task_sense(t, &s);
            return false;
        }
        total += blocks;
    }
    if (total > LUN_UNMAP_MAX)
        task_bad_param(t, UNMAP_HEAD_LEN, -1);
    return total <= LUN_UNMAP_MAX;
}

static void unmap_more(struct rt_op *op, int res);

static void unmap_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res)
        end_with(t, res, true);
    else
        next_turn(t, unmap_more);
}

/* step: descriptors done. */
static void unmap_more(struct rt_op *op, int res)
{
    struct scsi_task *t = op_task(op);
    const struct lun *lun = task_lun(t);
    uint32_t blocks = 0;
    uint64_t lba = 0;

    while (t->step < t->blocks && !blocks && !t->aborted)
        unmap_desc(t, t->step++, &lba, &blocks);
    if (!blocks) {
        if (t->aborted)
            t->status = SCSI_TASK_ABORTED;
        pieces_end(t);
        return;
    }
    t->io.done = unmap_done;
    be_zero(lun->be, t->nexus->rt, &t->io, lba << lun->block_shift, (uint64_t)blocks << lun->block_shift, true);
}

void dev_unmap(struct scsi_task *t)
{
    if (t->out_got < t->out_len) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        task_end(t);
    } else if (!unmap_judge(t)) {
        task_end(t);
    } else {
        unmap_more(&t->io.op, 0);
    }
}

/* ---- capacity, provisioning, defects --------------------------------------------------------------------- */

enum lun_next dev_capacity_10_check(struct scsi_task *t)
{
    t->blocks = t->in_len = 8;              /* there is no allocation length in this CDB */
    return LUN_RUN;
}

void dev_read_capacity_10(struct scsi_task *t)
{
    const uint64_t last = task_view(t)->blocks - 1;
    uint8_t data[8];

    store_be32(&data[0], last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    store_be32(&data[4], task_lun(t)->block_len);
    resp_send(t, data, sizeof(data));
}

void dev_read_capacity_16(struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);
    uint8_t data[32] = { 0 };

    store_be64(&data[0], task_view(t)->blocks - 1);
    store_be32(&data[8], lun->block_len);
    data[13] = (uint8_t)__builtin_ctz(lun->phys_len / lun->block_len);   /* blocks in a physical one, as 2^n */
    if (lun->thin)
        data[14] = (uint8_t)(0x80 | (lun->zeroes ? 0x40 : 0));           /* LBPME, LBPRZ */
    resp_send(t, data, sizeof(data));
}

enum lun_next dev_lba_status_check(struct scsi_task *t)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0x00);

    if (t->lba < task_view(t)->blocks)
        return LUN_RUN;
    s.has_info = true;
    s.info = t->lba;
    task_sense(t, &s);
    return LUN_DONE;
}

/* Backends do not say what is allocated, so everything is called mapped: a copier then reads zeroes, which
 * is slow and right. */
void dev_lba_status(struct scsi_task *t)
{
    const uint64_t left = task_view(t)->blocks - t->lba;
    uint8_t data[24] = { 0 };

    store_be32(&data[0], sizeof(data) - 4);
    store_be64(&data[8], t->lba);
    store_be32(&data[16], left > UINT32_MAX ? UINT32_MAX : (uint32_t)left);
    resp_send(t, data, sizeof(data));
}

/* An empty list in the format asked for. */
void dev_read_defect(struct scsi_task *t)
{
    const bool ten = t->cmd->len == 10;
    uint8_t data[8] = { 0 };

    data[1] = t->cdb[ten ? 2 : 1] & 0x1f;
    resp_send(t, data, ten ? 4 : 8);
}
