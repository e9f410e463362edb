/*
 * null.c - a unit that forgets: writes vanish, reads give zeroes. It shows what the protocol costs.
 *
 * Reads do write their zeroes: the buffers come from a pool and hold what another task left in them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/backend/be_internal.h"

static int null_open(struct be **out, const struct be_conf *conf, char why[static 256])
{
    struct be *be;
    int err = be_size_check(conf->size, conf->block_len, "null unit", why);

    if (err)
        return err;
    if (!(be = calloc(1, sizeof(*be)))) {
        strcpy(why, "out of memory");
        return -ENOMEM;
    }
    be->ops = &be_null_ops;
    be->block_len = conf->block_len;
    be->info = (struct be_info){ .phys_len = conf->block_len, .readonly = conf->readonly };
    atomic_init(&be->size, conf->size);
    *out = be;
    return 0;
}

static void null_close(struct be *be)
{
    free(be);
}

static int null_resize(struct be *be, uint64_t size, char why[static 256])
{
    int err = be_size_check(size, be->block_len, "null unit", why);

    if (!err)
        atomic_store_explicit(&be->size, size, memory_order_relaxed);
    return err;
}

static void null_read(struct be_io *io)
{
    uint64_t left = io->len;

    for (unsigned i = 0; i < io->iov_nr && left; i++) {
        const size_t n = io->iov[i].iov_len < left ? io->iov[i].iov_len : left;

        memset(io->iov[i].iov_base, 0, n);
        left -= n;
    }
    be_io_end(io, left ? -EIO : 0);
}

static void null_end(struct be_io *io)
{
    be_io_end(io, 0);
}

const struct be_ops be_null_ops = {
    .kind = "null", .open = null_open, .close = null_close, .resize = null_resize,
    .read = null_read, .write = null_end, .sync = null_end, .zero = null_end,
};
