/*
 * io.c - requests: checked, sent over a path, and sent over another where the first could not
 *
 * Owns a request from mpio_submit() to its done. Three lists are for those that are on no path: they wait for one, or until
 * what was sent of them can do no harm any more, or to be told of their end.
 */
#include <errno.h>
#include <string.h>
#include "mpio/mpio_internal.h"

#define SHUN_NS  (20 * RT_MS) /* a path that refused is left alone for, unless it is heard to be back */
#define LATE_MAX 3u           /* times that a request which took too long is tried on another path */
#define AWAY_MIN 16u          /* times that it was not taken before paths that refuse it are as good as none */

static struct mpio_io *io_at(const struct rt_link *l)
{
    return rt_list_entry(l, struct mpio_io, io.link);
}

/* Bytes that lie on the wire for it. */
static uint64_t io_bytes(const struct mpio_io *io)
{
    return io->io.op <= INI_WRITE ? io->io.len : 0;
}

/* Its being carried out late would be noticed. */
static bool io_changes(const struct mpio_io *io)
{
    return io->io.op != INI_READ && io->io.op != INI_FLUSH;
}

/* ---- the end -------------------------------------------------------------------------------------------- */

/* Whoever is told of its error may write there again: this one must not come after that. */
static void owe(const struct mpio_io *io)
{
    struct mpio_path *p = io->path;

    if (!p || !io_changes(io) || io->fence <= p->owed)
        return;
    p->owed = io->fence;
    if (p->fence_max < p->owed)
        p->fence_max = p->owed;
    p->disk->owed |= path_owes(p);
    disk_look_soon(p->disk);
}

static void io_finish(struct mpio_io *io, int res)
{
    struct mpio_disk *d = io->disk;

    d->stats.in_flight--;
    d->stats.errors += res != 0;
    io->place = IO_NOWHERE;
    io->done(io, res); /* d may be gone */
}

static void ended_tell(struct rt_timer *t)
{
    struct mpio_disk *d = container_of(t, struct mpio_disk, end);
    struct rt_link mine, *l;

    rt_list_init(&mine);
    while ((l = rt_list_pop(&d->ended)))
        rt_list_push(&mine, l);
    while ((l = rt_list_pop(&mine))) {
        struct mpio_io *io = io_at(l);
        const bool last = d->stats.in_flight == 1;

        io_finish(io, io->io.res);
        if (last)
            return; /* d may be gone: it was the last of all */
    }
}

static void io_end_later(struct mpio_io *io, int res)
{
    struct mpio_disk *d = io->disk;

    io->io.res = res;
    io->place = IO_ENDED;
    rt_list_push(&d->ended, &io->io.link);
    if (!rt_timer_armed(&d->end))
        rt_timer_arm(d->rt, &d->end, 0);
}

/* ---- waiting -------------------------------------------------------------------------------------------- */

/* By the order of submission: most come in it, so from the end. */
static void insert(struct rt_link *list, struct mpio_io *io)
{
    struct rt_link *at = list->prev;

    while (at != list && io_at(at)->seq > io->seq)
        at = at->prev;
    rt_list_add_after(at, &io->io.link);
}

static void io_wait(struct mpio_io *io)
{
    struct mpio_disk *d = io->disk;

    io->place = IO_WAITING;
    io->path = NULL;
    io->fence = 0;
    io->sent_ns = rt_now(d->rt);
    d->stats.waited++;
    insert(&d->waiting, io);
    disk_look_soon(d); /* it may have to end, by a deadline or at once */
}

static void io_fence(struct mpio_io *io)
{
    struct mpio_disk *d = io->disk;
    struct mpio_path *p = io->path;

    io->place = IO_FENCED;
    io->sent_ns = rt_now(d->rt);
    p->fenced_nr++;
    if (p->fence_max < io->fence)
        p->fence_max = io->fence;
    insert(&d->fenced, io);
    disk_look_soon(d);
}

static void fenced_take(struct mpio_io *io)
{
    assert(io->place == IO_FENCED && io->path->fenced_nr);
    rt_list_del(&io->io.link);
    io->path->fenced_nr--;
    io->path = NULL; /* which may leave now */
}

/* ---- on a path ------------------------------------------------------------------------------------------ */

static void io_home(struct mpio_io *io, int res);

static void io_homed(struct rt_msg *m)
{
    struct mpio_io *io = container_of(m, struct mpio_io, msg);

    io_home(io, io->io.res);
}

/* On the nexus's core. */
static void io_answered(struct ini_io *i, int res)
{
    struct mpio_io *io = container_of(i, struct mpio_io, io);
    const struct mpio_nexus *n = io->path->nexus;
    struct rt *home = io->disk->rt;

    /* What its connection left behind is settled by the next login. An error that comes while there is none may hide
     * the same. */
    io->fence = res && (res == -ECONNABORTED || !n->up) ? n->logins + 1 : 0;
    if (rt_self() == home) {
        io_home(io, res);
        return;
    }
    io->io.res = res;
    io->msg.fn = io_homed;
    rt_post(home, &io->msg);
}

static void io_arrived(struct rt_msg *m)
{
    struct mpio_io *io = container_of(m, struct mpio_io, msg);

    ini_io_submit(io->path->lun, &io->io);
}

static void io_send(struct mpio_path *p, struct mpio_io *io)
{
    struct mpio_disk *d = io->disk;
    const uint64_t now = rt_now(d->rt), bytes = io_bytes(io);

    assert(!p->seen.hold && p->seen.open);
    io->place = IO_ON_PATH;
    io->path = p;
    io->sent_ns = now;
    io->io.done = io_answered;
    atomic_fetch_add_explicit(&p->nexus->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->nexus->bytes, bytes, memory_order_relaxed);
    p->in_flight_bytes += bytes;
    p->requests++;
    if (io->io.op == INI_READ)
        p->read_bytes += bytes;
    else
        p->write_bytes += bytes;
    if (!p->in_flight++) {
        p->busy_ns = now;
        if (d->multi && d->conf.suspect_ms)
            disk_look_by(d, now + d->conf.suspect_ms * RT_MS);
    }
    if (p->seen.rt == d->rt) {
        ini_io_submit(p->lun, &io->io);
        return;
    }
    io->msg.fn = io_arrived;
    rt_post(p->seen.rt, &io->msg);
}

static uint64_t latency_of(const struct mpio_path *p, uint64_t now)
{
    /* It has been left alone for so long that what it was like says nothing: tried, it will be known again. */
    return !p->in_flight && now - p->answer_ns > RT_S ? 0 : p->latency_ns;
}

static struct mpio_path *io_path(struct mpio_disk *d, const struct mpio_io *io)
{
    struct mpio_choice c[MPIO_PATHS_MAX];
    const uint64_t now = rt_now(d->rt);
    int at;

    if (d->owed && io_changes(io))
        return NULL;
    if (d->only)
        return d->only;
    if (!d->use_nr)
        return NULL;
    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];
        const bool lun = d->conf.scope == MPIO_SCOPE_LUN;

        c[i].usable = p->in_use;
        if (!p->in_use)
            continue;
        c[i].same_core = p->seen.rt == d->rt;
        c[i].weight = p->weight;
        c[i].latency_ns = latency_of(p, now);
        c[i].requests = lun ? p->in_flight : atomic_load_explicit(&p->nexus->requests, memory_order_relaxed);
        c[i].bytes = lun ? p->in_flight_bytes : atomic_load_explicit(&p->nexus->bytes, memory_order_relaxed);
    }
    at = mpio_select(&d->conf, &d->turn, c, d->paths_nr, io->io.len);
    return at < 0 ? NULL : d->path[at];
}

/* Return: whether it is on its way. */
static bool io_try(struct mpio_io *io)
{
    struct mpio_path *p = io_path(io->disk, io);

    if (p)
        io_send(p, io);
    return p;
}

static void io_go(struct mpio_io *io)
{
    struct mpio_disk *d = io->disk;

    if (d->err)
        io_end_later(io, d->err);
    else if (d->only_err)
        io_end_later(io, d->only_err);
    else if (!io_try(io))
        io_wait(io);
}

/* ---- back from it --------------------------------------------------------------------------------------- */

/* Not over this one, until something is heard of it: what was told may be older than this answer. */
static void path_shun(struct mpio_path *p)
{
    struct mpio_disk *d = p->disk;

    p->shun_ns = rt_now(d->rt) + SHUN_NS;
    p->shun_login = p->seen.logins;
    if (p->in_use)
        d->use_nr--;
    p->in_use = false;
    if (d->only == p)
        d->only = NULL;
    disk_look_soon(d);
}

static void io_elsewhere(struct mpio_io *io)
{
    struct mpio_path *p = io->path;

    p->failovers++;
    p->disk->stats.failovers++;
    if (io->tries < UINT8_MAX)
        io->tries++;
    path_shun(p);
    io_go(io);
}

/* Somebody else may have what this path says is not there. */
static bool others_may(const struct mpio_disk *d, const struct mpio_path *p)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *q = d->path[i];

        if (q != p && !q->leaving && !q->quarantine && !q->seen.gone)
            return true;
    }
    return false;
}

static void path_answered(struct mpio_path *p, const struct mpio_io *io, int res)
{
    struct mpio_disk *d = p->disk;
    const uint64_t now = rt_now(d->rt), bytes = io_bytes(io);

    assert(io->place == IO_ON_PATH && p->in_flight);
    atomic_fetch_sub_explicit(&p->nexus->requests, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&p->nexus->bytes, bytes, memory_order_relaxed);
    p->in_flight_bytes -= bytes;
    p->in_flight--;
    if (res)
        p->errors++;
    if (!res)
        p->latency_ns += (now - io->sent_ns) / 8 - p->latency_ns / 8;
    if (res != -ENOTCONN && res != -ECONNABORTED) {
        p->answer_ns = now;
        if (p->suspect)
            disk_look_soon(d);
    }
    if (!p->in_flight && (p->leaving || p->reinstate))
        disk_look_soon(d);
}

/* Its paths are there and say that they can be used, and whenever it is sent over one of them it is not taken: it waits for as
 * long as it would without a path. */
static bool is_refused(const struct mpio_disk *d, const struct mpio_io *io)
{
    return !io->fence && io->tries >= AWAY_MIN && rt_now(d->rt) - io->start_ns >= disk_patience_ns(d);
}

/* The last thing that is done: what asked for it may take the disk away. */
static void io_home(struct mpio_io *io, int res)
{
    struct mpio_path *p = io->path;
    struct mpio_disk *d = io->disk;

    path_answered(p, io, res);
    if (d->err) { /* it is not to be had any other way now */
        io_finish(io, res == -ENOTCONN || res == -ECONNABORTED ? d->err : res);
        return;
    }
    switch (res) {
    case -ENOTCONN:
        if (is_refused(d, io)) {
            res = d->conf.no_path == MPIO_NO_PATH_DEADLINE ? -ETIMEDOUT : -EIO;
            break;
        }
        io_elsewhere(io);
        return;
    case -ECONNABORTED:
        if (io_changes(io) && io->fence > path_settled(p)) {
            p->failovers++;
            d->stats.failovers++;
            path_shun(p);
            io_fence(io);
        } else {
            io_elsewhere(io);
        }
        return;
    case -ENODEV:
        if (!others_may(d, p) || (io_changes(io) && io->fence > path_settled(p)))
            break;
        io_elsewhere(io);
        return;
    case -ETIMEDOUT:
        if (!d->multi || io->fence || io->tries >= LATE_MAX)
            break;
        io_elsewhere(io);
        return;
    }
    if (res)
        owe(io);
    io_finish(io, res);
}

/* ---- by what look.c finds ------------------------------------------------------------------------------- */

void io_pump(struct mpio_disk *d)
{
    rt_list_for_safe (l, &d->waiting) {
        struct mpio_io *io = io_at(l);

        if (!d->only && !d->use_nr && !d->only_err)
            return;
        if (d->only_err) {
            rt_list_del(l);
            io_end_later(io, d->only_err);
            continue;
        }
        if (d->owed && io_changes(io))
            continue; /* reads go past it */
        rt_list_del(l);
        if (!io_try(io)) {
            insert(&d->waiting, io);
            return;
        }
    }
}

void io_release(struct mpio_disk *d)
{
    rt_list_for_safe (l, &d->fenced) {
        struct mpio_io *io = io_at(l);

        if (io->fence > path_settled(io->path))
            continue;
        fenced_take(io);
        io->place = IO_WAITING;
        io->fence = 0;
        insert(&d->waiting, io);
    }
}

void io_fail_waiting(struct mpio_disk *d, int err)
{
    io_fail_old(d, UINT64_MAX, err);
}

void io_fail_old(struct mpio_disk *d, uint64_t before_ns, int err)
{
    rt_list_for_safe (l, &d->fenced) {
        struct mpio_io *io = io_at(l);

        if (io->sent_ns > before_ns)
            continue;
        owe(io);
        fenced_take(io);
        io_end_later(io, err);
    }
    rt_list_for_safe (l, &d->waiting)
        if (io_at(l)->sent_ns <= before_ns) {
            rt_list_del(l);
            io_end_later(io_at(l), err);
        }
}

uint64_t io_oldest(const struct mpio_disk *d)
{
    uint64_t ns = UINT64_MAX;

    rt_list_for (l, &d->fenced)
        ns = io_at(l)->sent_ns < ns ? io_at(l)->sent_ns : ns;
    rt_list_for (l, &d->waiting)
        ns = io_at(l)->sent_ns < ns ? io_at(l)->sent_ns : ns;
    return ns;
}

void io_init(struct mpio_disk *d)
{
    rt_list_init(&d->waiting);
    rt_list_init(&d->fenced);
    rt_list_init(&d->ended);
    d->end.fn = ended_tell;
}

/* ---- from above ----------------------------------------------------------------------------------------- */

/* Return: 0, or -errno for what can never be right. */
static int io_refusal(const struct mpio_disk *d, const struct ini_io *io)
{
    const struct ini_lun_info *i = &d->info;

    if (d->err)
        return d->err;
    if (!d->has_info)
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

static void io_count(struct mpio_stats *st, const struct ini_io *io)
{
    switch (io->op) {
    case INI_READ:
        st->reads++;
        st->read_bytes += io->len;
        break;
    case INI_WRITE:
        st->writes++;
        st->write_bytes += io->len;
        break;
    default: st->others++;
    }
}

void mpio_submit(struct mpio_disk *d, struct mpio_io *io)
{
    const int err = io_refusal(d, &io->io);

    rt_assert_here(d->rt);
    io->disk = d;
    io->path = NULL;
    io->start_ns = rt_now(d->rt);
    io->seq = d->seq++;
    io->fence = 0;
    io->tries = 0;
    d->stats.in_flight++;
    if (err) {
        io_end_later(io, err);
        return;
    }
    io_count(&d->stats, &io->io);
    io_go(io);
}
