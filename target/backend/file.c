/*
 * file.c - a unit in a regular file or on a block device
 *
 * Direct I/O where the file system has it and its alignment is not above the unit's block size; through the
 * page cache else. Either way a write is safe only after a sync. A sync that failed once has lost writes that
 * were acknowledged, and the kernel forgets that it did: so from then on every sync and every write fails.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt_log.h"
#include "target/backend/be_internal.h"

#define ZERO_BUF_LEN (256u << 10)
#define ZERO_IOVS 16u
#define ZERO_PIECE ((uint64_t)ZERO_BUF_LEN * ZERO_IOVS)   /* bytes a write when zeroes have to be written */
#define OP_LEN_MAX (1u << 30)

struct file {
    struct be be;
    struct rt_file *f;
    char *path;
    void *zeroes;
    struct iovec zero_iov[ZERO_IOVS];       /* each the whole of zeroes */
    _Atomic bool broken;                    /* a sync failed */
    _Atomic(struct be_io *) syncs;          /* that wait for the next one, by ->next */
    _Atomic bool syncing;                   /* one is under way: who began it begins the next */
    _Atomic bool no_punch, no_zero;         /* falloc said so once */
};

static struct file *file_of(struct be *be)
{
    return (struct file *)be;
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static int file_refuse(const char *path, int err, bool block, char why[static 256])
{
    const char *rule = strerror(-err);

    switch (err) {
    case -ELOOP: rule = "is a symbolic link to a file, which a unit may not be: name the file itself"; break;
    case -EINVAL:
        rule = block ? "is not a block device: name one, or use a file unit"
                     : "is not a regular file: a directory, FIFO or character device cannot hold a unit";
        break;
    case -EISDIR: rule = "is a directory: name a regular file"; break;
    case -ENXIO: rule = "is a FIFO, a socket or a device without a driver: name a regular file"; break;
    case -ENOENT: rule = "does not exist: create it, or give a size to have it made"; break;
    case -EBUSY:
        rule = block ? "is mounted or held by another program: unmount it first"
                     : "is locked by another unit or program: two of them would corrupt each other's data";
        break;
    case -EROFS: rule = "is on a read-only file system: make the unit read-only"; break;
    case -EACCES: rule = "may not be opened by this user: change its owner or mode"; break;
    }
    snprintf(why, 256, "%.150s: %s", path, rule);
    return err;
}

/* Grows a new or smaller file to what was asked. */
static int file_fit(struct rt_file *f, const struct be_conf *conf, struct rt_file_info *info,
                    char why[static 256])
{
    int err;

    if (!conf->size || conf->size == info->size)
        return 0;
    if (conf->size < info->size) {
        snprintf(why, 256, "%.120s: is %" PRIu64 " bytes long, more than the %" PRIu64
                 " asked for: leave the size out to use it as it is", conf->path, info->size, conf->size);
        return -EFBIG;
    }
    if (conf->readonly) {
        snprintf(why, 256, "%.120s: is %" PRIu64 " bytes long and read-only: leave the size out", conf->path,
                 info->size);
        return -EROFS;
    }
    if ((err = rt_file_set_size(f, conf->size)))
        return file_refuse(conf->path, err, false, why);
    info->size = conf->size;
    return 0;
}

static int kind_check(const struct rt_file_info *info, const struct be_conf *conf, bool block,
                      char why[static 256])
{
    if (block && !info->block_dev)
        return file_refuse(conf->path, -EINVAL, true, why);
    if (!block && !info->regular) {
        snprintf(why, 256, "%.150s: is a block device: make it a block unit, not a file unit", conf->path);
        return -EINVAL;
    }
    if (block && info->block_len > conf->block_len) {
        snprintf(why, 256,
                 "%.120s: has blocks of %" PRIu32 " bytes, the unit %" PRIu32 ": choose --block-size %" PRIu32,
                 conf->path, info->block_len, conf->block_len, info->block_len);
        return -EINVAL;
    }
    if (block && conf->size && conf->size != info->size) {
        snprintf(why, 256,
                 "%.120s: is %" PRIu64 " bytes long; a block unit has its device's size: leave the size out",
                 conf->path, info->size);
        return -EINVAL;
    }
    return 0;
}

/* Opens, and again without direct I/O when that would need larger blocks than the unit's. */
static int data_open(struct file *fl, const struct be_conf *conf, bool block, struct rt_file_info *info,
                     char why[static 256])
{
    unsigned flags = RT_FILE_DIRECT | (conf->readonly ? 0 : RT_FILE_WRITE) | RT_FILE_EXCL |
                     (!block && conf->size && !conf->readonly ? RT_FILE_CREATE : 0);
    int err;

    for (;;) {
        if ((err = rt_file_open(conf->path, flags, &fl->f)))
            return file_refuse(conf->path, err, block, why);
        if ((err = rt_file_stat(fl->f, info)))
            return file_refuse(conf->path, err, block, why);
        if (!(flags & RT_FILE_DIRECT) || info->dio_align <= conf->block_len)
            return 0;
        rt_file_close(fl->f);
        fl->f = NULL;
        flags &= ~RT_FILE_DIRECT;
    }
}

static void file_close(struct be *be)
{
    struct file *fl = file_of(be);

    rt_file_close(fl->f);
    rt_mem_free(fl->zeroes, ZERO_BUF_LEN);
    free(fl->path);
    free(fl);
}

static int file_setup(struct file *fl, const struct be_conf *conf, bool block, char why[static 256])
{
    struct rt_file_info info;
    int err;

    if (!(fl->path = strdup(conf->path)) || !(fl->zeroes = rt_mem_alloc(ZERO_BUF_LEN))) {
        strcpy(why, "out of memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < ZERO_IOVS; i++)
        fl->zero_iov[i] = (struct iovec){ fl->zeroes, ZERO_BUF_LEN };
    if ((err = data_open(fl, conf, block, &info, why)) || (err = kind_check(&info, conf, block, why)) ||
        (err = block ? 0 : file_fit(fl->f, conf, &info, why)) ||
        (err = be_size_check(info.size, conf->block_len, conf->path, why)))
        return err;
    fl->be.info = (struct be_info){
        .phys_len = info.phys_len > conf->block_len ? info.phys_len : conf->block_len,
        .thin = info.discard && !conf->readonly,
        .zeroes = true,                     /* rt_file_falloc() promises it, and writing zeroes does it */
        .volatile_cache = true,
        .readonly = conf->readonly,
    };
    atomic_init(&fl->be.size, info.size);
    return 0;
}

static int any_open(struct be **out, const struct be_conf *conf, bool block, char why[static 256])
{
    struct file *fl;
    int err;

    if (!conf->path || !conf->path[0]) {
        snprintf(why, 256, "a %s unit needs a path", block ? "block" : "file");
        return -EINVAL;
    }
    /* A size is judged before a file is made for it. */
    if (conf->size && (err = be_size_check(conf->size, conf->block_len, conf->path, why)))
        return err;
    if (!(fl = calloc(1, sizeof(*fl)))) {
        strcpy(why, "out of memory");
        return -ENOMEM;
    }
    fl->be.ops = block ? &be_block_ops : &be_file_ops;
    fl->be.block_len = conf->block_len;
    if ((err = file_setup(fl, conf, block, why))) {
        file_close(&fl->be);
        return err;
    }
    *out = &fl->be;
    return 0;
}

static int file_open(struct be **out, const struct be_conf *conf, char why[static 256])
{
    return any_open(out, conf, false, why);
}

static int block_open(struct be **out, const struct be_conf *conf, char why[static 256])
{
    return any_open(out, conf, true, why);
}

static int file_resize(struct be *be, uint64_t size, char why[static 256])
{
    struct file *fl = file_of(be);
    struct rt_file_info info;
    int err;

    if (size && be->ops == &be_block_ops) {
        snprintf(why, 256, "%.150s: a block unit has its device's size: resize the device, then give size 0",
                 fl->path);
        return -EINVAL;
    }
    if (size && ((err = be_size_check(size, be->block_len, fl->path, why))))
        return err;
    if (size && (err = rt_file_set_size(fl->f, size)))
        return file_refuse(fl->path, err, false, why);
    if ((err = rt_file_stat(fl->f, &info)))
        return file_refuse(fl->path, err, false, why);
    if ((err = be_size_check(info.size, be->block_len, fl->path, why)))
        return err;
    atomic_store_explicit(&be->size, info.size, memory_order_release);
    return 0;
}

/* ---- operations ------------------------------------------------------------------------------------------ */

/* The kernel tells each error of writing back once: of two syncs side by side one would be told that
 * acknowledged writes are lost, and the other that all is well. So one runs at a time, for all who asked
 * before it began; the others wait for the next. */
static void sync_next(struct file *fl);

static void sync_told(struct rt_msg *m)
{
    struct be_io *io = container_of(m, struct be_io, msg);

    be_io_end(io, io->want ? -EIO : 0);
}

/* On the core of the first of the batch. */
static void sync_done(struct rt_op *op, int res)
{
    struct be_io *io = container_of(op, struct be_io, op), *next;
    struct file *fl = file_of(io->be);
    bool broken = atomic_load_explicit(&fl->broken, memory_order_relaxed);

    if (res < 0 && !broken) {
        broken = true;
        atomic_store_explicit(&fl->broken, true, memory_order_relaxed);
        rt_log(RT_ERR, "%s: sync failed (%s): acknowledged writes may be lost; the unit takes no more writes "
               "until it is opened again", fl->path, strerror(-res));
    }
    sync_next(fl);                          /* first: fl may be gone once the batch has its answers */
    for (; io; io = next) {
        next = io->next;
        io->want = broken;
        io->msg.fn = sync_told;
        if (io->rt == rt_self())
            sync_told(&io->msg);
        else
            rt_post(io->rt, &io->msg);
    }
}

static void sync_begin(struct rt_msg *m)
{
    struct be_io *io = container_of(m, struct be_io, msg);

    io->op = (struct rt_op){ .done = sync_done };
    rt_file_sync(io->rt, file_of(io->be)->f, &io->op);
}

/* By who holds fl->syncing: begins for all who wait, or lets go of it. */
static void sync_next(struct file *fl)
{
    struct be_io *batch;

    /* Sequentially consistent with sync_start(): either it finds nobody syncing, or we find it waiting. */
    while (!(batch = atomic_exchange(&fl->syncs, NULL))) {
        atomic_store(&fl->syncing, false);
        if (!atomic_load(&fl->syncs) || atomic_exchange(&fl->syncing, true))
            return;
    }
    batch->msg.fn = sync_begin;
    if (batch->rt == rt_self())
        sync_begin(&batch->msg);
    else
        rt_post(batch->rt, &batch->msg);
}

static void sync_start(struct be_io *io)
{
    struct file *fl = file_of(io->be);

    io->next = atomic_load_explicit(&fl->syncs, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&fl->syncs, &io->next, io))
        ;
    if (!atomic_exchange(&fl->syncing, true))
        sync_next(fl);
}

static void file_sync(struct be_io *io)
{
    if (io->be->info.readonly)
        be_io_end(io, 0);
    else if (atomic_load_explicit(&file_of(io->be)->broken, memory_order_relaxed))
        be_io_end(io, -EIO);
    else
        sync_start(io);
}

/* As many whole iovecs as one operation takes, or the part of the last one that is asked for. */
static const struct iovec *rw_slice(struct be_io *io, unsigned *n)
{
    const uint64_t left = io->len - io->moved;
    uint64_t bytes = 0;
    unsigned i = 0;

    while (i < io->iov_nr && i < RT_IOV_MAX && bytes + io->iov[i].iov_len <= left &&
           bytes + io->iov[i].iov_len <= OP_LEN_MAX)
        bytes += io->iov[i++].iov_len;
    if (bytes) {
        io->want = bytes;
        *n = io->used = i;
        return io->iov;
    }
    assert(io->iov_nr);
    io->cut = (struct iovec){ io->iov[0].iov_base, left };
    io->want = left;
    io->used = *n = 1;
    return &io->cut;
}

static void rw_done(struct rt_op *op, int res, void (*start)(struct be_io *io))
{
    struct be_io *io = container_of(op, struct be_io, op);

    if (res < 0 || (uint64_t)res != io->want) {
        be_io_end(io, res < 0 ? res : -EIO);   /* the file ends before its size: cut behind our back */
        return;
    }
    io->moved += io->want;
    io->iov += io->used;
    io->iov_nr -= io->used;
    if (io->moved < io->len)
        start(io);
    else if (io->fua)
        sync_start(io);
    else
        be_io_end(io, 0);
}

static void read_start(struct be_io *io);
static void write_start(struct be_io *io);

static void read_done(struct rt_op *op, int res)
{
    rw_done(op, res, read_start);
}

static void write_done(struct rt_op *op, int res)
{
    rw_done(op, res, write_start);
}

static void read_start(struct be_io *io)
{
    unsigned n;
    const struct iovec *iov = rw_slice(io, &n);

    io->op = (struct rt_op){ .done = read_done };
    rt_file_read(io->rt, file_of(io->be)->f, &io->op, iov, n, io->off + io->moved);
}

static void write_start(struct be_io *io)
{
    unsigned n;
    const struct iovec *iov = rw_slice(io, &n);

    io->op = (struct rt_op){ .done = write_done };
    rt_file_write(io->rt, file_of(io->be)->f, &io->op, iov, n, io->off + io->moved);
}

static void file_read(struct be_io *io)
{
    if (io->len)
        read_start(io);
    else
        be_io_end(io, 0);
}

static void file_write(struct be_io *io)
{
    if (atomic_load_explicit(&file_of(io->be)->broken, memory_order_relaxed))
        be_io_end(io, -EIO);
    else if (io->len)
        write_start(io);
    else if (io->fua)
        sync_start(io);
    else
        be_io_end(io, 0);
}

/* ---- zeroes ---------------------------------------------------------------------------------------------- */

static void zero_write(struct be_io *io);

static void zero_write_done(struct rt_op *op, int res)
{
    struct be_io *io = container_of(op, struct be_io, op);

    if (res < 0 || (uint64_t)res != io->want) {
        be_io_end(io, res < 0 ? res : -EIO);
        return;
    }
    io->moved += io->want;
    if (io->moved < io->len)
        zero_write(io);
    else
        be_io_end(io, 0);
}

/* One bounded piece: whole zero buffers, or the rest that is shorter than one. */
static void zero_write(struct be_io *io)
{
    struct file *fl = file_of(io->be);
    const uint64_t left = io->len - io->moved;
    unsigned n = (unsigned)(left < ZERO_PIECE ? left / ZERO_BUF_LEN : ZERO_IOVS);
    const struct iovec *iov = fl->zero_iov;

    io->want = (uint64_t)n * ZERO_BUF_LEN;
    if (!n) {
        io->cut = (struct iovec){ fl->zeroes, left };
        io->want = left;
        iov = &io->cut;
        n = 1;
    }
    io->op = (struct rt_op){ .done = zero_write_done };
    rt_file_write(io->rt, fl->f, &io->op, iov, n, io->off + io->moved);
}

static void falloc_done(struct rt_op *op, int res)
{
    struct be_io *io = container_of(op, struct be_io, op);
    struct file *fl = file_of(io->be);

    if (res == -EOPNOTSUPP || res == -EINVAL) {
        if (res == -EOPNOTSUPP)
            atomic_store_explicit(io->unmap ? &fl->no_punch : &fl->no_zero, true, memory_order_relaxed);
        zero_write(io);
        return;
    }
    be_io_end(io, res);
}

static void file_zero(struct be_io *io)
{
    struct file *fl = file_of(io->be);

    if (atomic_load_explicit(&fl->broken, memory_order_relaxed)) {
        be_io_end(io, -EIO);
    } else if (!io->len) {
        be_io_end(io, 0);
    } else if (atomic_load_explicit(io->unmap ? &fl->no_punch : &fl->no_zero, memory_order_relaxed)) {
        zero_write(io);
    } else {
        io->op = (struct rt_op){ .done = falloc_done };
        rt_file_falloc(io->rt, fl->f, &io->op, io->unmap ? RT_FALLOC_PUNCH : RT_FALLOC_ZERO, io->off, io->len);
    }
}

const struct be_ops be_file_ops = {
    .kind = "file", .open = file_open, .close = file_close, .resize = file_resize,
    .read = file_read, .write = file_write, .sync = file_sync, .zero = file_zero,
};
const struct be_ops be_block_ops = {
    .kind = "block", .open = block_open, .close = file_close, .resize = file_resize,
    .read = file_read, .write = file_write, .sync = file_sync, .zero = file_zero,
};
