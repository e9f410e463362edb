/*
 * att_core.c - an attachment's disk and device, on the disk's core: made, flushed, taken away
 *
 * What is here runs on that core, in trips that attach.c begins and that end at home.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "manager/mgr_internal.h"

#define FLUSH_NS (5 * RT_S) /* for what is left in the target's cache when a disk is detached */

/* ---- what happens by itself ------------------------------------------------------------------------------ */

static void told_lost(struct rt_msg *m)
{
    struct att *a = container_of(m, struct att, lost_msg);

    if (a->state == ATT_UP) {
        rt_log(RT_WARN, "%s: %s was taken away by somebody else: detached", a->spec.name, a->result.path);
        att_close(a, true, NULL);
    }
}

static void core_exp_event(void *user, enum exp_event ev)
{
    struct att *a = user;

    if (ev != EXP_LOST || a->lost_told)
        return;
    a->lost_told = true;
    a->lost_msg.fn = told_lost;
    rt_post(a->mgr->rt, &a->lost_msg);
}

/* What the disk told goes home in parcels: there is one, so what happens while it is away waits for it to come back, and is
 * counted when it is too much. */
static void parcel_back(struct rt_msg *m)
{
    struct parcel *pc = container_of(m, struct parcel, msg);
    struct att *a = container_of(pc, struct att, parcel);

    pc->away = false;
    if (pc->next_nr || pc->lost)
        att_core_post(a);
    else if (pc->closing)
        pc->closing(a);
}

/* A path that is back, or reached in another way, is no reason to worry. */
static int event_level(const struct parcel_text *t, const char *colon)
{
    const char *const up = mpio_path_state_names[MPIO_PATH_UP];

    if (t->ev == MPIO_RESIZED || t->ev == MPIO_RESUMED)
        return RT_NOTICE;
    if (t->ev != MPIO_PATH_CHANGED || !colon)
        return RT_WARN;
    return strncmp(colon + 2, up, strlen(up)) ? RT_WARN : RT_NOTICE;
}

/* "s2: down" is told of the path that stands on s2. */
static void event_tell(struct att *a, const struct parcel_text *t)
{
    const char *colon = strstr(t->why, ": ");
    const int level = event_level(t, colon);
    const struct path *p = NULL;
    char name[16];

    /* Its paths go: that none is left is no news. */
    if (a->state != ATT_UP && (t->ev == MPIO_PAUSED || t->ev == MPIO_RESUMED))
        return;
    if (t->ev == MPIO_PATH_CHANGED && colon && colon - t->why < (ptrdiff_t)sizeof(name)) {
        snprintf(name, sizeof(name), "%.*s", (int)(colon - t->why), t->why);
        p = path_find(a, name);
    }
    if (p)
        event_add(a->mgr, level, a->spec.name, p->name, "%s", colon + 2);
    else
        event_add(a->mgr, level, a->spec.name, "", "%s", t->why);
}

static void parcel_open(struct rt_msg *m)
{
    struct parcel *pc = container_of(m, struct parcel, msg);
    struct att *a = container_of(pc, struct att, parcel);

    for (unsigned i = 0; i < pc->nr; i++)
        event_tell(a, &pc->text[i]);
    if (pc->lost_out)
        event_add(a->mgr, RT_WARN, a->spec.name, "", "and %u more things happened at once", pc->lost_out);
    pc->msg.fn = parcel_back;
    rt_post(a->rt, &pc->msg);
}

void att_core_post(struct att *a)
{
    struct parcel *pc = &a->parcel;

    memcpy(pc->text, pc->next, sizeof(pc->text));
    pc->nr = pc->next_nr;
    pc->lost_out = pc->lost;
    pc->next_nr = pc->lost = 0;
    pc->away = true;
    pc->msg.fn = parcel_open;
    rt_post(a->mgr->rt, &pc->msg);
}

static void core_disk_event(void *user, enum mpio_event ev, const char *why)
{
    static const char *const words[] = {
        [MPIO_RESIZED] = "its size has changed",
        [MPIO_FAILED] = "its requests fail",
        [MPIO_PAUSED] = "no path can be used: requests wait",
        [MPIO_RESUMED] = "requests go on",
        [MPIO_PATH_CHANGED] = "a path changed",
    };
    struct att *a = user;
    struct parcel *pc = &a->parcel;

    if (ev == MPIO_RESIZED && a->exp)
        exp_resized(a->exp);
    if (pc->next_nr == ARRAY_SIZE(pc->next)) {
        pc->lost++;
        return;
    }
    pc->next[pc->next_nr].ev = ev;
    snprintf(pc->next[pc->next_nr].why, sizeof(pc->next[0].why), "%s", why && *why ? why : words[ev]);
    pc->next_nr++;
    if (!pc->away)
        att_core_post(a);
}

/* ---- the disk is made, and undone ------------------------------------------------------------------------ */

static void core_disk_free(struct att *a)
{
    mpio_disk_free(a->disk);
    a->disk = NULL;
    a->joined = false;
    hop_back(&a->hop);
}

/* No event of it may be on its way when it is gone. */
static void core_free_last(struct att *a)
{
    if (a->parcel.away)
        a->parcel.closing = core_disk_free;
    else
        core_disk_free(a);
}

static void core_left(void *user)
{
    core_free_last(user);
}

static void core_undo(struct rt_op *op, int res)
{
    struct att *a = container_of(op, struct att, core_op);

    if (a->joined)
        mpio_disk_leave(a->disk, a->founder->mp, core_left, a);
    else
        core_free_last(a);
}

static void core_export_failed(struct att *a, int err, const char *why)
{
    a->exp = NULL;
    a->err = err;
    snprintf(a->why, sizeof(a->why), "%s", why && *why ? why : strerror(-err));
    a->core_op.done = core_undo; /* what we are called from may still look at the disk */
    rt_defer(a->rt, &a->core_op);
}

static void core_exported(void *user, const struct exp_result *r)
{
    struct att *a = user;

    if (r->err) {
        core_export_failed(a, r->err, r->why);
        return;
    }
    a->result = *r;
    a->err = 0;
    a->info = *mpio_disk_info(a->disk); /* it may have grown meanwhile */
    hop_back(&a->hop);
}

static void core_joined(void *user, int err, const char *why)
{
    struct att *a = user;
    const struct exp_conf conf = {
        .kind = a->spec.kind,
        .name = a->spec.name,
        .run_dir = a->mgr->run_dir,
        .readonly = a->spec.readonly,
    };

    a->joined = !err;
    if (a->joined)
        path_core_weight(a->founder);
    if (!err)
        err = exp_open(&a->exp, a->disk, &conf, core_exported, core_exp_event, a);
    if (err)
        core_export_failed(a, err, a->joined ? NULL : why);
}

void att_core_export(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    const int err = mpio_disk_new(&a->disk, a->rt, &a->set.conf, core_disk_event, a);

    a->parcel.closing = NULL;
    if (err) {
        a->disk = NULL;
        core_export_failed(a, err, NULL);
        return;
    }
    mpio_disk_join(a->disk, a->founder->mp, core_joined, a);
}

/* ---- the device goes ------------------------------------------------------------------------------------- */

static void core_back(struct rt_op *op, int res)
{
    hop_back(&container_of(op, struct att, core_op)->hop);
}

/* In a turn of its own: what we are called from may still look at the disk. */
static void core_back_later(struct att *a)
{
    a->core_op.done = core_back;
    rt_defer(a->rt, &a->core_op);
}

static void core_flushed(struct mpio_io *io, int res)
{
    struct att *a = container_of(io, struct att, flush);

    rt_timer_disarm(a->rt, &a->flush_late);
    if (res)
        rt_log(RT_WARN,
               "%s: the last flush failed (%s): if the target loses its power now, written data can be lost",
               a->spec.name, strerror(-res));
    core_back_later(a);
}

static void core_flush_late(struct rt_timer *t)
{
    mpio_disk_fail(container_of(t, struct att, flush_late)->disk, -ETIMEDOUT);
}

/* Nobody can flush the disk once its device is gone, and not everybody did before: what it took is to be safe
 * when its user is told that it is detached, as a disk of the kernel's is when it goes. */
static void core_flush(struct att *a)
{
    a->flush = (struct mpio_io){ .io.op = INI_FLUSH, .done = core_flushed };
    a->flush_late.fn = core_flush_late;
    rt_timer_arm(a->rt, &a->flush_late, FLUSH_NS);
    mpio_submit(a->disk, &a->flush);
}

static void core_closed(void *user, int err, const char *why)
{
    struct att *a = user;

    a->err = err;
    if (err) {
        snprintf(a->why, sizeof(a->why), "%s", why && *why ? why : strerror(-err));
        hop_back(&a->hop);
        return;
    }
    a->exp = NULL;
    if (a->force || a->spec.readonly || a->result.kind == EXP_NONE)
        core_back_later(a);
    else
        core_flush(a);
}

void att_core_close(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->force) /* or it would wait for a target that cannot be reached */
        mpio_disk_fail(a->disk, -EIO);
    exp_close(a->exp, a->force, core_closed, a);
}

void att_core_fail(struct hop *h)
{
    struct att *a = container_of(h, struct att, force_hop);

    if (a->disk)
        mpio_disk_fail(a->disk, -EIO);
    hop_back(h);
}

void att_core_free(struct hop *h)
{
    core_free_last(container_of(h, struct att, hop));
}
