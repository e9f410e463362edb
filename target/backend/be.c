/*
 * be.c - backends by kind, and the checks that all of them share
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "target/backend/be_internal.h"

static const struct be_ops *const kinds[] = { &be_file_ops, &be_block_ops, &be_ram_ops, &be_null_ops };

int be_size_check(uint64_t size, uint32_t block_len, const char *what, char why[static 256])
{
    if (!size) {
        snprintf(why, 256, "%.140s: size is 0; a unit needs at least one block: give a size", what);
        return -EINVAL;
    }
    if (size % block_len) {
        snprintf(why, 256, "%.140s: size %" PRIu64 " is not a multiple of the block size %" PRIu32
                 ": choose %" PRIu64 " or another block size", what, size, block_len,
                 size / block_len ? size - size % block_len : block_len);
        return -EINVAL;
    }
    if (size > INT64_MAX) {
        snprintf(why, 256, "%.140s: size %" PRIu64 " is above 2^63 - 1 bytes", what, size);
        return -EINVAL;
    }
    return 0;
}

int be_open(struct be **out, const struct be_conf *conf, char why[static 256])
{
    if (conf->block_len != 512 && conf->block_len != 4096) {
        snprintf(why, 256, "block size %" PRIu32 " is not possible: choose 512 or 4096", conf->block_len);
        return -EINVAL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (conf->kind && !strcmp(kinds[i]->kind, conf->kind))
            return kinds[i]->open(out, conf, why);
    snprintf(why, 256, "there is no backend \"%.60s\": choose file, block, ram or null",
             conf->kind ? conf->kind : "");
    return -EINVAL;
}

void be_close(struct be *be)
{
    if (be)
        be->ops->close(be);
}

void be_info(const struct be *be, struct be_info *out)
{
    *out = be->info;
    out->size = atomic_load_explicit(&be->size, memory_order_relaxed);
}

int be_resize(struct be *be, uint64_t size, char why[static 256])
{
    if (be->info.readonly && size) {
        snprintf(why, 256, "the unit is read-only: its size cannot be changed");
        return -EROFS;
    }
    return be->ops->resize(be, size, why);
}

/* The size may have shrunk since the caller looked: what lies outside is an I/O error, never another's
 * bytes. */
static bool inside(struct be_io *io)
{
    const uint64_t size = atomic_load_explicit(&io->be->size, memory_order_relaxed);

    return io->len <= size && io->off <= size - io->len;
}

static void io_set(struct be *be, struct rt *rt, struct be_io *io, uint64_t off, uint64_t len)
{
    io->be = be;
    io->rt = rt;
    io->off = off;
    io->len = len;
    io->moved = 0;
}

void be_read(struct be *be, struct rt *rt, struct be_io *io, const struct iovec *iov, unsigned n, uint64_t off,
             uint64_t len)
{
    io_set(be, rt, io, off, len);
    io->iov = iov;
    io->iov_nr = n;
    io->fua = false;
    if (inside(io))
        be->ops->read(io);
    else
        be_io_end(io, -EIO);
}

void be_write(struct be *be, struct rt *rt, struct be_io *io, const struct iovec *iov, unsigned n, uint64_t off,
              uint64_t len, bool fua)
{
    io_set(be, rt, io, off, len);
    io->iov = iov;
    io->iov_nr = n;
    io->fua = fua;
    if (be->info.readonly)
        be_io_end(io, -EROFS);
    else if (inside(io))
        be->ops->write(io);
    else
        be_io_end(io, -EIO);
}

void be_soon(struct be *be, uint64_t off, uint64_t len)
{
    const uint64_t size = atomic_load_explicit(&be->size, memory_order_acquire);

    if (be->ops->soon && off <= size && len <= size - off)
        be->ops->soon(be, off, len);
}

void be_sync(struct be *be, struct rt *rt, struct be_io *io)
{
    io_set(be, rt, io, 0, 0);
    be->ops->sync(io);
}

void be_zero(struct be *be, struct rt *rt, struct be_io *io, uint64_t off, uint64_t len, bool unmap)
{
    io_set(be, rt, io, off, len);
    io->unmap = unmap;
    io->fua = false;
    if (be->info.readonly)
        be_io_end(io, -EROFS);
    else if (inside(io))
        be->ops->zero(io);
    else
        be_io_end(io, -EIO);
}
