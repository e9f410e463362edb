/*
 * disk.c - a disk of one path
 *
 * Owns the checks that every request gets whichever way it takes, and the counters. With one path the choice
 * is easy; what a path does with a request is the initiator's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/disk.h"
#include "reactor/rt_list.h"

struct mpio_disk {
    struct rt *rt;
    struct ini_lun *path;
    void (*event)(void *user, enum mpio_event ev);
    void *user;
    struct mpio_stats stats;
    struct rt_link refused;                 /* requests that can never be right, to be told by op */
    struct rt_op op;
    bool op_armed;
};

static void refused_tell(struct rt_op *op, int res)
{
    struct mpio_disk *d = container_of(op, struct mpio_disk, op);

    (void)res;
    d->op_armed = false;
    for (unsigned n = d->stats.in_flight; n && !rt_list_empty(&d->refused); n--) {
        struct mpio_io *io = rt_list_entry(rt_list_pop(&d->refused), struct mpio_io, io.link);
        const bool last = !--d->stats.in_flight;

        io->done(io, io->io.res);
        if (last)
            return;                         /* d may be gone */
    }
    if (!rt_list_empty(&d->refused) && !d->op_armed) {
        d->op_armed = true;
        rt_defer(d->rt, &d->op);
    }
}

int mpio_disk_new(struct mpio_disk **out, struct rt *rt, struct ini_lun *path,
                  void (*event)(void *user, enum mpio_event ev), void *user)
{
    struct mpio_disk *d = calloc(1, sizeof(*d));

    assert(ini_sess_rt(ini_lun_sess(path)) == rt);
    if (!d)
        return -ENOMEM;
    d->rt = rt;
    d->path = path;
    d->event = event;
    d->user = user;
    d->op.done = refused_tell;
    rt_list_init(&d->refused);
    *out = d;
    return 0;
}

void mpio_disk_free(struct mpio_disk *d)
{
    if (!d)
        return;
    assert(!d->stats.in_flight);
    free(d);
}

void mpio_path_event(struct mpio_disk *d, struct ini_lun *path, enum ini_event ev)
{
    static const enum mpio_event of[] = {
        [INI_LUN_RESIZED] = MPIO_RESIZED,
        [INI_LUN_GONE] = MPIO_FAILED,
        [INI_LUN_CHANGED] = MPIO_FAILED,
        [INI_LUN_PAUSED] = MPIO_PAUSED,
        [INI_LUN_RESUMED] = MPIO_RESUMED,
    };

    assert(path == d->path);
    if (d->event)
        d->event(d->user, of[ev]);
}

const struct ini_lun_info *mpio_disk_info(const struct mpio_disk *d)
{
    return ini_lun_info(d->path);
}

struct rt *mpio_disk_rt(const struct mpio_disk *d)
{
    return d->rt;
}

/* Return: 0, or -errno for what can never be right. */
static int io_refusal(const struct mpio_disk *d, const struct ini_io *io)
{
    const struct ini_lun_info *i = ini_lun_info(d->path);

    if (io->op > INI_ZERO)
        return -EINVAL;
    if (io->op == INI_FLUSH)
        return io->off || io->len ? -EINVAL : 0;
    /* block_len is a power of two; the subtraction cannot wrap, a sum could */
    if (!io->len || (io->off | io->len) & (i->block_len - 1) || io->off > i->size ||
        io->len > i->size - io->off)
        return -EINVAL;
    return io->op != INI_READ && i->readonly ? -EROFS : 0;
}

static void path_done(struct ini_io *i, int res)
{
    struct mpio_io *io = container_of(i, struct mpio_io, io);
    struct mpio_disk *d = io->disk;

    d->stats.in_flight--;
    if (res)
        d->stats.errors++;
    io->done(io, res);                      /* d may be gone */
}

void mpio_submit(struct mpio_disk *d, struct mpio_io *io)
{
    const int err = io_refusal(d, &io->io);

    rt_assert_here(d->rt);
    io->disk = d;
    io->start_ns = rt_now(d->rt);
    io->io.done = path_done;
    d->stats.in_flight++;
    if (err) {
        d->stats.errors++;
        io->io.res = err;
        rt_list_push(&d->refused, &io->io.link);
        if (!d->op_armed) {
            d->op_armed = true;
            rt_defer(d->rt, &d->op);
        }
        return;
    }
    switch (io->io.op) {
    case INI_READ:
        d->stats.reads++;
        d->stats.read_bytes += io->io.len;
        break;
    case INI_WRITE:
        d->stats.writes++;
        d->stats.write_bytes += io->io.len;
        break;
    default:
        d->stats.others++;
    }
    ini_io_submit(d->path, &io->io);
}

void mpio_disk_fail(struct mpio_disk *d, int err)
{
    rt_assert_here(d->rt);
    ini_lun_abandon(d->path, err);
}

void mpio_stats(const struct mpio_disk *d, struct mpio_stats *out)
{
    *out = d->stats;
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

void *mpio_buf_get(struct mpio_disk *d, size_t len)
{
    return ini_buf_get(ini_lun_sess(d->path), len);
}

void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len)
{
    ini_buf_put(ini_lun_sess(d->path), mem, len);
}

bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len)
{
    return ini_buf_good(ini_lun_sess(d->path), mem, len);
}
