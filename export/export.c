/*
 * export.c - which kind of device a disk becomes, and the life that all kinds share
 *
 * Owns the order of preference and what is said about it, the one job at a time, and the calls back to who
 * asked. What a kind does is its own file's; nodes and records are device.c's and record.c's.
 */
#include "export/export_internal.h"

#include <errno.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reactor/rt_log.h"

/* From the best to what works everywhere; ends with NULL. EXP_AUTO tries them in this order. */
static const struct exp_ops *const kinds[] = { &exp_ublk, &exp_nbd, &exp_fuse, NULL };
static const struct exp_ops *const only_none[] = { &exp_none, NULL };

static const char *const kind_names[] = {
    [EXP_AUTO] = "auto", [EXP_UBLK] = "ublk", [EXP_NBD] = "nbd", [EXP_FUSE] = "fuse", [EXP_NONE] = "none",
};

int exp_kind_parse(const char *word, enum exp_kind *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
        if (!strcmp(word, kind_names[i])) {
            *out = (enum exp_kind)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *exp_kind_name(enum exp_kind k)
{
    return (size_t)k < ARRAY_SIZE(kind_names) ? kind_names[k] : "?";
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

static void *job_thread(void *arg)
{
    struct exp *e = arg;

    /* A kernel before 5.9 has no such call: then it is as if the job were an ordinary one. */
    (void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_UNSHARE);
    e->job_err = e->job(e);
    return NULL;
}

static void job_run(struct rt_work *w)
{
    struct exp *e = container_of(w, struct exp, work);
    pthread_t alone;
    int err;

    if (!e->job_alone) {
        e->job_err = e->job(e);
    } else if ((err = -pthread_create(&alone, NULL, job_thread, e))) {
        e->job_err = err;
        exp_note(e, "no thread to wait for the disk: %s", strerror(-err));
    } else {
        pthread_join(alone, NULL);
    }
}

static void job_done(struct rt_work *w)
{
    struct exp *e = container_of(w, struct exp, work);

    e->then(e, e->job_err);
}

static void job_start(struct exp *e, bool alone, int (*job)(struct exp *e), void (*then)(struct exp *e, int err))
{
    assert(e->busy);
    e->job = job;
    e->job_alone = alone;
    e->then = then;
    e->work.run = job_run;
    e->work.done = job_done;
    rt_work(e->rt, &e->work);
}

void exp_job(struct exp *e, int (*job)(struct exp *e), void (*then)(struct exp *e, int err))
{
    job_start(e, false, job, then);
}

void exp_job_alone(struct exp *e, int (*job)(struct exp *e), void (*then)(struct exp *e, int err))
{
    job_start(e, true, job, then);
}

static void later_done(struct rt_op *op, int res)
{
    struct exp *e = container_of(op, struct exp, defer);

    e->then(e, e->job_err);
}

void exp_later(struct exp *e, int err, void (*then)(struct exp *e, int err))
{
    e->job_err = err;
    e->then = then;
    e->defer.done = later_done;
    rt_defer(e->rt, &e->defer);
}

void exp_note(struct exp *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e->note, sizeof(e->note), fmt, ap);
    va_end(ap);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

int exp_refuses(const struct exp *e, enum ini_io_op op)
{
    if (e->failing)
        return -EIO;
    if (e->readonly && op != INI_READ && op != INI_FLUSH)
        return -EROFS;
    return 0;
}

void exp_submit(struct exp *e, struct mpio_io *io, enum ini_io_op op, unsigned flags, uint64_t off,
                uint64_t len, const struct iovec *iov, unsigned iov_nr)
{
    io->io.op = (uint8_t)op;
    io->io.flags = (uint8_t)flags;
    io->io.off = off;
    io->io.len = len;
    io->io.iov = iov;
    io->io.iov_nr = iov_nr;
    mpio_submit(e->disk, io);
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static void why_add(struct exp *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void why_add(struct exp *e, const char *fmt, ...)
{
    const size_t used = strlen(e->why);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e->why + used, sizeof(e->why) - used, fmt, ap);
    va_end(ap);
}

static bool shape_fits(const struct exp *e)
{
    const uint32_t block = e->block_len;

    return block >= 512 && block <= EXP_BLOCK_LEN_MAX && !(block & (block - 1)) && e->size &&
           e->size % block == 0;
}

static void open_next(struct exp *e, int err)
{
    e->ops = *e->row++;
    e->note[0] = '\0';
    e->lost = e->failing = false;               /* of the kind before */
    if (e->ops == &exp_none || shape_fits(e)) {
        e->ops->open(e);
        return;
    }
    exp_note(e, "blocks of %u bytes and a size of %llu cannot become a device", e->block_len,
             (unsigned long long)e->size);
    exp_later(e, -EOPNOTSUPP, exp_opened);
}

static void lost_tell(struct exp *e)
{
    rt_log(RT_WARN, "%s: taken away by somebody else", e->path);
    if (e->event)
        e->event(e->user, EXP_LOST);
}

static void open_report(struct exp *e, int err)
{
    struct exp_result r = { .err = err, .kind = e->ops->kind };

    memcpy(r.why, e->why, sizeof(r.why));
    if (!err)
        memcpy(r.path, e->path, sizeof(r.path));
    e->busy = false;
    e->open = !err;
    e->opened(e->user, &r);                     /* who may not close from inside: the header says "later" */
    if (err) {
        free(e);
        return;
    }
    if (e->want_resize)
        exp_resized(e);
    if (e->lost)
        lost_tell(e);
}

void exp_opened(struct exp *e, int err)
{
    if (!err) {
        if (e->why[0])
            why_add(e, "; took %s", exp_kind_name(e->ops->kind));
        else
            why_add(e, "%s: %s", exp_kind_name(e->ops->kind), e->ops->best);
        if (e->note[0])
            why_add(e, " (%s)", e->note);
        open_report(e, 0);
        return;
    }
    if (!e->note[0])
        exp_note(e, "%s", strerror(-err));
    why_add(e, "%s%s: %s", e->why[0] ? "; " : "", exp_kind_name(e->ops->kind), e->note);
    e->ops->free(e);
    e->priv = NULL;
    e->path[0] = '\0';
    /* A device that waits for this very disk must not get a second one beside it. */
    if (e->any && *e->row && err != -ESTALE)
        exp_later(e, 0, open_next);
    else
        open_report(e, err);
}

static bool name_valid(const char *name)
{
    const size_t len = strlen(name);

    if (!len || len > EXP_NAME_LEN_MAX || name[0] == '.')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.:-") == len;
}

static const struct exp_ops *const *kind_row(enum exp_kind kind)
{
    if (kind == EXP_AUTO)
        return kinds;
    if (kind == EXP_NONE)
        return only_none;
    for (const struct exp_ops *const *k = kinds; *k; k++)
        if ((*k)->kind == kind)
            return k;
    return NULL;
}

int exp_open(struct exp **out, struct mpio_disk *disk, const struct exp_conf *conf,
             void (*done)(void *user, const struct exp_result *r), void (*event)(void *user, enum exp_event ev),
             void *user)
{
    const struct ini_lun_info *info = mpio_disk_info(disk);
    const struct exp_ops *const *row = kind_row(conf->kind);
    struct exp *e;

    if (!row || !name_valid(conf->name) || strlen(conf->run_dir) >= sizeof(e->run_dir))
        return -EINVAL;
    if (conf->queue_depth > EXP_QUEUE_DEPTH_MAX)
        return -EINVAL;
    if (!(e = calloc(1, sizeof(*e))))
        return -ENOMEM;
    e->rt = mpio_disk_rt(disk);
    rt_assert_here(e->rt);
    e->disk = disk;
    e->row = row;
    e->any = conf->kind == EXP_AUTO;
    e->readonly = conf->readonly || info->readonly;
    e->queue_depth = conf->queue_depth ? conf->queue_depth : EXP_QUEUE_DEPTH;
    e->block_len = info->block_len;
    e->size = info->size;
    memcpy(e->wwid, info->wwid, sizeof(e->wwid));
    memcpy(e->name, conf->name, strlen(conf->name) + 1);
    memcpy(e->run_dir, conf->run_dir, strlen(conf->run_dir) + 1);
    e->opened = done;
    e->event = event;
    e->user = user;
    e->busy = true;
    *out = e;
    exp_later(e, 0, open_next);
    return 0;
}

/* ---- while it lives ---------------------------------------------------------------------------------- */

/* What was asked for while a job ran. */
static void idle(struct exp *e)
{
    if (e->want_close) {
        e->want_close = false;
        e->busy = true;
        e->ops->close(e);
    } else if (e->want_resize) {
        exp_resized(e);
    }
}

void exp_resized(struct exp *e)
{
    const uint64_t size = mpio_disk_info(e->disk)->size;

    rt_assert_here(e->rt);
    if (e->busy || !e->open) {
        e->want_resize = true;
        return;
    }
    e->want_resize = false;
    if (size == e->size || !e->ops->resize)
        return;
    e->size = size;
    e->note[0] = '\0';
    e->busy = true;
    e->ops->resize(e);
}

void exp_memory_look(struct exp *e)
{
    rt_assert_here(e->rt);
    if (e->open && e->ops->memory)
        e->ops->memory(e);
}

void exp_resize_done(struct exp *e, int err)
{
    if (err)
        rt_log(RT_WARN, "%s: the new size, %llu bytes, did not reach the kernel: %s", e->path,
               (unsigned long long)e->size, e->note[0] ? e->note : strerror(-err));
    else
        rt_log(RT_NOTICE, "%s: has %llu bytes now", e->path, (unsigned long long)e->size);
    e->busy = false;
    idle(e);
}

void exp_lost(struct exp *e)
{
    if (e->lost || e->closing)
        return;
    e->lost = e->failing = true;
    if (e->open)                                /* else whoever opens it finds out, or open_report() tells */
        lost_tell(e);
}

/* ---- closing ----------------------------------------------------------------------------------------- */

void exp_close(struct exp *e, bool force, void (*done)(void *user, int err, const char *why), void *user)
{
    rt_assert_here(e->rt);
    assert(e->open && !e->closing);
    e->closing = true;
    e->force = force;
    e->failing = e->failing || force;
    e->closed = done;
    e->closed_user = user;
    e->note[0] = '\0';
    if (e->busy) {
        e->want_close = true;
        return;
    }
    e->busy = true;
    e->ops->close(e);
}

void exp_closed(struct exp *e, int err)
{
    void (*const done)(void *user, int err, const char *why) = e->closed;
    void *const user = e->closed_user;
    char why[EXP_NOTE_MAX];

    memcpy(why, e->note, sizeof(why));
    if (err && !why[0])
        snprintf(why, sizeof(why), "%s", strerror(-err));
    e->busy = false;
    e->closing = false;
    if (!err) {
        e->ops->free(e);
        free(e);
    } else {
        idle(e);
    }
    done(user, err, why);
}

/* ---- no device --------------------------------------------------------------------------------------- */

static void none_open(struct exp *e)
{
    exp_later(e, 0, exp_opened);
}

static void none_close(struct exp *e)
{
    exp_later(e, 0, exp_closed);
}

static void none_free(struct exp *e)
{
}

const struct exp_ops exp_none = {
    .kind = EXP_NONE,
    .best = "no device was asked for",
    .open = none_open,
    .close = none_close,
    .free = none_free,
};

void exp_cleanup(const char *run_dir)
{
    for (const struct exp_ops *const *k = kinds; *k; k++)
        if ((*k)->cleanup)
            (*k)->cleanup(run_dir);
}

void exp_unblock(const char *run_dir)
{
    for (const struct exp_ops *const *k = kinds; *k; k++)
        if ((*k)->unblock)
            (*k)->unblock(run_dir);
}
