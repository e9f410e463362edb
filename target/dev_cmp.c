/*
 * dev_cmp.c - commands that read before they answer or write: VERIFY, COMPARE AND WRITE, ORWRITE
 *
 * They go through the task's scratch buffer piece by piece; t->step counts the bytes done. Those that write
 * what they have read run under a guard over their range, so pieces are as good as the whole.
 */
#include <string.h>

#include "target/lun_internal.h"

enum { BYTCHK_ONE = 3 };                    /* every block against a single one */

static struct scsi_task *io_task(struct be_io *io)
{
    return container_of(io, struct scsi_task, io);
}

static unsigned bytchk(const struct scsi_task *t)
{
    return t->cdb[1] >> 1 & 3;
}

static void end_with(struct scsi_task *t, int res, bool write)
{
    if (res)
        task_be_error(t, res, write);
    task_end(t);
}

static uint32_t bytes_of(const struct scsi_task *t)
{
    return t->blocks << task_lun(t)->block_shift;
}

/* The next piece of @total bytes. Return: false when there is none left. */
static bool piece_next(struct scsi_task *t, uint32_t total)
{
    const uint32_t left = total - t->step;

    t->iov_tmp = (struct iovec){ t->scratch, left < LUN_SCRATCH_LEN ? left : LUN_SCRATCH_LEN };
    return left > 0;
}

static void piece_read(struct scsi_task *t, void (*done)(struct be_io *io, int res))
{
    t->io.done = done;
    be_read(task_lun(t)->be, t->nexus->rt, &t->io, &t->iov_tmp, 1,
            (t->lba << task_lun(t)->block_shift) + t->step, t->iov_tmp.iov_len);
}

static void piece_write(struct scsi_task *t, void (*done)(struct be_io *io, int res))
{
    t->io.done = done;
    be_write(task_lun(t)->be, t->nexus->rt, &t->io, &t->iov_tmp, 1,
             (t->lba << task_lun(t)->block_shift) + t->step, t->iov_tmp.iov_len, dev_fua(t));
}

/* INFORMATION: where the first different byte lies in the data sent. */
static void miscompare(struct scsi_task *t, uint64_t off)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_MISCOMPARE, 0x1d, 0x00);

    s.has_info = true;
    s.info = off;
    task_sense(t, &s);
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Compares @n bytes read with what was sent at @off of the data. */
static bool same_as_sent(struct scsi_task *t, const uint8_t *read, uint64_t off, size_t n)
{
    for (unsigned i = 0; i < t->out_nr && n; i++) {
        const struct iovec *v = &t->out_iov[i];
        const uint8_t *sent = (const uint8_t *)v->iov_base + off;
        size_t m = v->iov_len;

        if (off >= m) {
            off -= m;
            continue;
        }
        m -= off;
        if (m > n)
            m = n;
        if (memcmp(read, sent, m)) {
            const size_t in_piece = (size_t)(read - (const uint8_t *)t->scratch);

            miscompare(t, t->step + in_piece + first_difference(read, sent, m));
            return false;
        }
        read += m;
        n -= m;
        off = 0;
    }
    return true;
}

static bool each_same_as_one(struct scsi_task *t, size_t n)
{
    const uint32_t block_len = task_lun(t)->block_len;

    for (size_t at = 0; at < n; at += block_len) {
        uint8_t one[4096];
        const uint8_t *read = (const uint8_t *)t->scratch + at;

        iov_get(t->out_iov, t->out_nr, 0, one, block_len);
        if (memcmp(read, one, block_len)) {
            miscompare(t, first_difference(read, one, block_len));
            return false;
        }
    }
    return true;
}

/* ---- VERIFY, WRITE AND VERIFY ---------------------------------------------------------------------------- */

enum lun_next dev_verify_check(struct scsi_task *t)
{
    if (bytchk(t) == 2)
        return task_bad_cdb(t, 1, 2);
    if (!t->blocks)
        return LUN_DONE;
    if (bytchk(t))
        t->out_len = bytchk(t) == BYTCHK_ONE ? task_lun(t)->block_len : bytes_of(t);
    if (t->out_len && (t->edtl < t->out_len || !t->write))
        return task_bad_data(t);
    return LUN_RUN;
}

static void verify_more(struct scsi_task *t, uint32_t total);

static uint32_t verify_total(const struct scsi_task *t)
{
    const uint32_t got = t->out_got & ~(task_lun(t)->block_len - 1);

    /* WRITE AND VERIFY verifies what it wrote, which may be less than its CDB says. */
    return (t->cmd->flags & F_OUT_BLOCKS) && got < bytes_of(t) ? got : bytes_of(t);
}

static void verify_done(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);
    const size_t n = t->iov_tmp.iov_len;
    bool same = true;

    if (res || t->aborted) {
        if (t->aborted)
            t->status = SCSI_TASK_ABORTED;
        end_with(t, t->aborted ? 0 : res, false);
        return;
    }
    if (bytchk(t) == BYTCHK_ONE)
        same = each_same_as_one(t, n);
    else if (bytchk(t))
        same = same_as_sent(t, t->scratch, t->step, n);
    if (!same) {
        task_end(t);
        return;
    }
    t->step += (uint32_t)n;
    verify_more(t, verify_total(t));
}

static void verify_more(struct scsi_task *t, uint32_t total)
{
    if (piece_next(t, total))
        piece_read(t, verify_done);
    else
        task_end(t);
}

void dev_verify(struct scsi_task *t)
{
    if (t->out_got < t->out_len) {
        task_bad_data(t);
        task_end(t);
        return;
    }
    verify_more(t, verify_total(t));
}

static void written(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res)
        end_with(t, res, true);
    else
        verify_more(t, verify_total(t));
}

/* On the medium before it is read back. */
void dev_write_verify(struct scsi_task *t)
{
    uint32_t len;

    if (!dev_write_len(t, &len)) {
        task_end(t);
        return;
    }
    t->io.done = written;
    be_write(task_lun(t)->be, t->nexus->rt, &t->io, t->out_iov, t->out_nr,
             t->lba << task_lun(t)->block_shift, len, task_lun(t)->cached);
}

/* ---- COMPARE AND WRITE ----------------------------------------------------------------------------------- */

/* The data are two blocks for each of the count: those to compare, then those to write. A count of none
 * with data for some is one of 256 that its field of a byte has no room for. */
enum lun_next dev_caw_check(struct scsi_task *t)
{
    if (!t->blocks)
        return t->edtl < 2 * task_lun(t)->block_len ? LUN_DONE : task_bad_cdb(t, 13, -1);
    return t->edtl == t->out_len ? LUN_RUN : task_bad_data(t);
}

static void caw_write(struct scsi_task *t);

static void caw_written(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    t->step += (uint32_t)t->iov_tmp.iov_len;
    if (res)
        end_with(t, res, true);
    else
        caw_write(t);
}

static void caw_write(struct scsi_task *t)
{
    if (!piece_next(t, bytes_of(t))) {
        task_end(t);
        return;
    }
    iov_get(t->out_iov, t->out_nr, (uint64_t)bytes_of(t) + t->step, t->scratch, t->iov_tmp.iov_len);
    piece_write(t, caw_written);
}

static void caw_compare(struct scsi_task *t);

static void caw_read(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    if (res) {
        end_with(t, res, false);
        return;
    }
    if (!same_as_sent(t, t->scratch, t->step, t->iov_tmp.iov_len)) {
        task_end(t);
        return;
    }
    t->step += (uint32_t)t->iov_tmp.iov_len;
    caw_compare(t);
}

static void caw_compare(struct scsi_task *t)
{
    if (piece_next(t, bytes_of(t))) {
        piece_read(t, caw_read);
        return;
    }
    t->step = 0;
    caw_write(t);
}

void dev_caw(struct scsi_task *t)
{
    if (t->out_got < t->out_len) {
        task_bad_data(t);
        task_end(t);
        return;
    }
    caw_compare(t);
}

/* ---- ORWRITE --------------------------------------------------------------------------------------------- */

static void orwrite_more(struct scsi_task *t);

static void orwrite_written(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);

    t->step += (uint32_t)t->iov_tmp.iov_len;
    if (res)
        end_with(t, res, true);
    else
        orwrite_more(t);
}

static void orwrite_read(struct be_io *io, int res)
{
    struct scsi_task *t = io_task(io);
    uint8_t *at = t->scratch, sent[4096];

    if (res) {
        end_with(t, res, false);
        return;
    }
    for (size_t done = 0; done < t->iov_tmp.iov_len;) {
        const size_t left = t->iov_tmp.iov_len - done, n = left < sizeof(sent) ? left : sizeof(sent);

        iov_get(t->out_iov, t->out_nr, t->step + done, sent, n);
        for (size_t i = 0; i < n; i++)
            at[done + i] |= sent[i];
        done += n;
    }
    piece_write(t, orwrite_written);
}

static void orwrite_more(struct scsi_task *t)
{
    if (piece_next(t, bytes_of(t)))
        piece_read(t, orwrite_read);
    else
        task_end(t);
}

void dev_orwrite(struct scsi_task *t)
{
    if (t->out_got < t->out_len) {
        task_bad_data(t);
        task_end(t);
        return;
    }
    orwrite_more(t);
}
