/*
 * disk.c - a disk and its paths
 *
 * Owns the checks that every request gets whichever way it takes, and the counters. With one path the choice
 * is easy; what a path does with a request is the initiator's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/mpio_internal.h"

struct mpio_disk {
    struct rt *rt;
    struct mpio_path *path; /* NULL: none */
    struct mpio_conf conf;
    struct ini_lun_info info;
    bool has_info;
    int err; /* given up with that */
    void (*event)(void *user, enum mpio_event ev, const char *why);
    void *user;
    struct mpio_stats stats;
    struct rt_link refused; /* requests that end without having been sent, to be told by op */
    struct rt_op op;
    bool op_armed;
    bool leaving;
};

static void path_left(struct mpio_disk *d)
{
    struct mpio_path *p = d->path;
    void (*const left)(void *user) = p->left;

    d->path = NULL;
    d->leaving = false;
    p->disk = NULL;
    left(p->user); /* both may be gone */
}

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
            return; /* d may be gone */
    }
    if (!rt_list_empty(&d->refused) && !d->op_armed) {
        d->op_armed = true;
        rt_defer(d->rt, &d->op);
    }
}

int mpio_disk_new(struct mpio_disk **out, struct rt *rt, const struct mpio_conf *conf,
                  void (*event)(void *user, enum mpio_event ev, const char *why), void *user)
{
    struct mpio_disk *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->rt = rt;
    if (conf)
        d->conf = *conf;
    else
        mpio_conf_default(&d->conf);
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
    assert(!d->path);
    free(d);
}

/* ---- paths ---------------------------------------------------------------------------------------------- */

static void join_tell(struct rt_op *op, int res)
{
    struct mpio_path *p = container_of(op, struct mpio_path, op);

    (void)res;
    p->joined(p->user, p->err, p->err ? p->why : NULL);
}

void mpio_disk_join(struct mpio_disk *d, struct mpio_path *p,
                    void (*done)(void *user, int err, const char *why), void *user)
{
    rt_assert_here(d->rt);
    p->joined = done;
    p->user = user;
    p->op.done = join_tell;
    p->err = 0;
    if (p->disk || d->path) {
        p->err = -EEXIST;
        snprintf(p->why, sizeof(p->why), "it is in a disk already");
    } else {
        p->disk = d;
        d->path = p;
        d->info = *ini_lun_info(p->lun);
        d->has_info = true;
    }
    rt_defer(d->rt, &p->op);
}

static void leave_tell(struct rt_op *op, int res)
{
    struct mpio_path *p = container_of(op, struct mpio_path, op);

    (void)res;
    path_left(p->disk);
}

void mpio_disk_leave(struct mpio_disk *d, struct mpio_path *p, void (*done)(void *user), void *user)
{
    rt_assert_here(d->rt);
    assert(d->path == p);
    p->left = done;
    p->user = user;
    p->op.done = leave_tell;
    if (d->stats.in_flight)
        d->leaving = true; /* the last answer goes on */
    else
        rt_defer(d->rt, &p->op);
}

void mpio_path_event(struct mpio_path *p, enum ini_event ev)
{
    static const enum mpio_event of[] = {
        [INI_LUN_RESIZED] = MPIO_RESIZED, [INI_LUN_GONE] = MPIO_FAILED,     [INI_LUN_CHANGED] = MPIO_FAILED,
        [INI_LUN_PAUSED] = MPIO_PAUSED,   [INI_LUN_RESUMED] = MPIO_RESUMED, [INI_LUN_ALUA] = MPIO_PATH_CHANGED,
    };
    struct mpio_disk *d = p->disk;

    if (!d)
        return;
    d->info = *ini_lun_info(p->lun);
    if (d->event)
        d->event(d->user, of[ev], NULL);
}

const struct ini_lun_info *mpio_disk_info(const struct mpio_disk *d)
{
    return d->has_info ? &d->info : NULL;
}

struct rt *mpio_disk_rt(const struct mpio_disk *d)
{
    return d->rt;
}

void mpio_disk_conf_set(struct mpio_disk *d, const struct mpio_conf *conf)
{
    d->conf = *conf;
}

const struct mpio_conf *mpio_disk_conf(const struct mpio_disk *d)
{
    return &d->conf;
}

void mpio_disk_path_admin(struct mpio_disk *d, struct mpio_path *p, bool is_failed)
{
    (void)d, (void)p, (void)is_failed;
}

const char *const mpio_path_state_names[] = { "active", "down",       "suspect", "marginal",
                                              "failed", "quarantine", "moving",  NULL };

unsigned mpio_disk_paths_nr(const struct mpio_disk *d)
{
    return d->path ? 1 : 0;
}

struct mpio_path *mpio_disk_path(const struct mpio_disk *d, unsigned i)
{
    assert(!i && d->path);
    return d->path;
}

void mpio_disk_path_info(const struct mpio_disk *d, const struct mpio_path *p, struct mpio_path_info *out)
{
    *out = (struct mpio_path_info){
        .state = p->nexus->up ? MPIO_PATH_UP : MPIO_PATH_DOWN,
        .weight = 1,
        .in_use = true,
        .requests = d->stats.reads + d->stats.writes + d->stats.others,
        .read_bytes = d->stats.read_bytes,
        .write_bytes = d->stats.write_bytes,
        .errors = d->stats.errors,
        .in_flight = d->stats.in_flight,
        .nexus_in_flight = d->stats.in_flight,
    };
}

/* ---- requests ------------------------------------------------------------------------------------------- */

/* Return: 0, or -errno for what can never be right. */
static int io_refusal(const struct mpio_disk *d, const struct ini_io *io)
{
    const struct ini_lun_info *i = &d->info;

    if (d->err)
        return d->err;
    if (!d->path)
        return -ENODEV;
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
    const bool left = !--d->stats.in_flight && d->leaving;

    if (res)
        d->stats.errors++;
    if (left)
        rt_defer(d->rt, &d->path->op);
    io->done(io, res); /* d may be gone */
}

void mpio_submit(struct mpio_disk *d, struct mpio_io *io)
{
    const int err = io_refusal(d, &io->io);

    rt_assert_here(d->rt);
    io->disk = d;
    io->path = d->path;
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
    default: d->stats.others++;
    }
    ini_io_submit(d->path->lun, &io->io);
}

void mpio_disk_fail(struct mpio_disk *d, int err)
{
    rt_assert_here(d->rt);
    d->err = d->err ? d->err : err;
    if (d->path)
        ini_lun_abandon(d->path->lun, err);
}

void mpio_disk_no_path_fail(struct mpio_disk *d)
{
    (void)d;
}

void mpio_stats(const struct mpio_disk *d, struct mpio_stats *out)
{
    *out = d->stats;
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

void *mpio_buf_get(struct mpio_disk *d, size_t len)
{
    return ini_buf_get(d->path->nexus->s, len);
}

void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len)
{
    ini_buf_put(d->path->nexus->s, mem, len);
}

bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len)
{
    return ini_buf_good(d->path->nexus->s, mem, len);
}
