/*
 * disk.c - a disk: its life, and paths that join and leave it
 *
 * Owns what a disk is (identity, size) and what it knows of its paths, all of it from what their nexuses' cores told. What
 * follows from that is look.c's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/mpio_internal.h"
#include "reactor/rt_log.h"

#define ACTIVATE_NS RT_S  /* after the first path, before one is asked to be optimized */
#define REOPEN_NS (5 * RT_S) /* from one look for a unit that has gone to the next, where there are others to use meanwhile */

const char *const mpio_path_state_names[] = { "active", "down",       "suspect", "marginal",
                                              "failed", "quarantine", "moving",  NULL };

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
    disk_look_init(d);
    io_init(d);
    buf_init(d);
    *out = d;
    return 0;
}

void mpio_disk_free(struct mpio_disk *d)
{
    if (!d)
        return;
    assert(!d->stats.in_flight);
    assert(!d->paths_nr && !d->joining_nr);
    rt_timer_disarm(d->rt, &d->look);
    rt_timer_disarm(d->rt, &d->end);
    buf_exit(d);
    free(d);
}

/* ---- asking the nexus's side ---------------------------------------------------------------------------- */

void path_want(struct mpio_path *p, unsigned what)
{
    p->want.what |= what;
}

void path_ask_go(struct mpio_path *p)
{
    /* After the last nothing more: the answer to that may be on its way, and with it the path's end. */
    if (!p->want.what || p->asking || p->seen.hold || p->ask.what & ASK_UNBIND)
        return;
    p->asking = true;
    p->ask = p->want;
    p->ask.home = p->disk->rt;
    p->want.what = 0;
    p->ask_msg.fn = path_asked;
    rt_post(p->seen.rt, &p->ask_msg);
}

void path_ask_back(struct rt_msg *m)
{
    struct mpio_path *p = container_of(m, struct mpio_path, ask_msg);

    p->asking = false;
    path_ask_go(p);
}

/* ---- joining -------------------------------------------------------------------------------------------- */

static void refused_tell(struct rt_timer *t)
{
    struct mpio_path *p = container_of(t, struct mpio_path, refused.timer);

    p->refused.joined(p->refused.user, p->refused.err,
                      p->refused.err == -EEXIST ? "it is in a disk already"
                                                : "the disk has as many paths as it can");
}

static void join_refuse(struct mpio_disk *d, struct mpio_path *p, int err,
                        void (*done)(void *user, int err, const char *why), void *user)
{
    p->refused.err = err;
    p->refused.joined = done;
    p->refused.user = user;
    p->refused.timer.fn = refused_tell;
    rt_timer_arm(d->rt, &p->refused.timer, 0);
}

/* Nothing is left of the disk that it was in before. */
static void path_clean(struct mpio_path *p)
{
    const unsigned prio = p->prio, weight = p->weight;

    memset(&p->DISK_SIDE, 0, sizeof(*p) - offsetof(struct mpio_path, DISK_SIDE));
    p->ask.what = 0;
    p->prio = prio;
    p->weight = weight;
}

void mpio_disk_join(struct mpio_disk *d, struct mpio_path *p,
                    void (*done)(void *user, int err, const char *why), void *user)
{
    rt_assert_here(d->rt);
    if (p->disk) {
        join_refuse(d, p, -EEXIST, done, user);
        return;
    }
    path_clean(p);
    if (d->paths_nr + d->joining_nr == MPIO_PATHS_MAX) {
        join_refuse(d, p, -ENOSPC, done, user);
        return;
    }
    p->disk = d;
    p->joining = true;
    p->joined = done;
    p->user = user;
    d->joining_nr++;
    p->seen.rt = mpio_nexus_rt(p->nexus); /* it may move meanwhile: path_asked() sees to that */
    path_want(p, ASK_BIND);
    path_ask_go(p);
}

/* Return: 0, or -errno with join_why: it is not one of this disk's. */
static int join_refusal(const struct mpio_disk *d, struct mpio_path *p)
{
    const struct ini_lun_info *now = &p->seen.info;

    if (p->seen.changed) {
        snprintf(p->join_why, sizeof(p->join_why),
                 "%s: LUN %u has become another unit than it was when it was opened", p->nexus->name,
                 p->lun_nr);
        return -EXDEV;
    }
    if (d->has_info && strcmp(now->wwid, d->info.wwid)) {
        snprintf(p->join_why, sizeof(p->join_why), "%s: LUN %u is the unit %s, the disk is %s", p->nexus->name,
                 p->lun_nr, now->wwid, d->info.wwid);
        return -EXDEV;
    }
    if (d->has_info && now->block_len != d->info.block_len) {
        snprintf(p->join_why, sizeof(p->join_why), "%s: LUN %u has blocks of %u bytes, the disk's are of %u",
                 p->nexus->name, p->lun_nr, now->block_len, d->info.block_len);
        return -EMEDIUMTYPE;
    }
    return 0;
}

static void join_judge(struct mpio_disk *d, struct mpio_path *p)
{
    p->join_err = join_refusal(d, p);
    if (p->join_err) {
        path_want(p, ASK_UNBIND);
        path_ask_go(p);
        return; /* told when it has no part here any more */
    }
    p->joining = false;
    d->joining_nr--;
    if (!d->has_info) {
        d->info = p->seen.info;
        d->activate_ns = rt_now(d->rt) + ACTIVATE_NS; /* the next to join may need no such thing */
    }
    d->has_info = true;
    p->answer_ns = rt_now(d->rt);
    p->ever_up = p->seen.up;
    d->path[d->paths_nr++] = p;
    disk_look(d);
    p->joined(p->user, 0, NULL);
}

/* ---- leaving -------------------------------------------------------------------------------------------- */

void mpio_disk_leave(struct mpio_disk *d, struct mpio_path *p, void (*done)(void *user), void *user)
{
    rt_assert_here(d->rt);
    assert(p->disk == d && !p->joining && !p->leaving);
    p->leaving = true;
    p->left = done;
    p->user = user;
    p->stuck_ns = rt_now(d->rt);
    p->dropped = false;
    disk_look(d);
}

static void path_unbound(struct mpio_disk *d, struct mpio_path *p)
{
    char why[sizeof(p->join_why)];

    p->disk = NULL;
    if (p->joining) {
        memcpy(why, p->join_why, sizeof(why));
        d->joining_nr--;
        p->joined(p->user, p->join_err, why); /* p may be gone */
        return;
    }
    fence_forget(d);
    for (unsigned i = 0, to = 0; i < d->paths_nr; i++) {
        d->path[to] = d->path[i];
        to += d->path[i] != p;
    }
    d->paths_nr--;
    disk_look(d);
    p->left(p->user); /* both may be gone */
}

/* ---- what the nexus's side tells ------------------------------------------------------------------------ */

static void quarantine(struct mpio_disk *d, struct mpio_path *p, const char *wwid)
{
    if (p->quarantine)
        return;
    p->quarantine = true;
    if (wwid)
        snprintf(p->why_kept, sizeof(p->why_kept), "LUN %u is the unit %.100s now", p->lun_nr, wwid);
    else
        snprintf(p->why_kept, sizeof(p->why_kept), "%s", p->seen.why);
    rt_log(RT_ERR,
           "%s: %s of %s does not lead to this disk any more: %s; nothing is sent over it until it does, and "
           "is reinstated",
           d->info.wwid, p->nexus->name, p->nexus->target, p->why_kept);
}

/* A path came back, and stays aside where the administrator wants that. */
static void path_rose(struct mpio_disk *d, struct mpio_path *p)
{
    const uint64_t now = rt_now(d->rt);

    p->suspect = false;
    p->answer_ns = p->busy_ns = now;
    p->probation = p->ever_up && d->use_nr && !p->in_use;
    p->back_ns = now;
    p->ever_up = true;
}

static void path_fell(struct mpio_disk *d, struct mpio_path *p)
{
    p->downs++;
    p->fails[p->fails_nr++ % PATH_FAILS_MAX] = rt_now(d->rt);
}

static void path_update(struct mpio_disk *d, struct mpio_path *p, bool was_up, bool was_gone)
{
    const struct path_told *t = &p->seen;
    const bool ours =
        !t->changed && !strcmp(t->info.wwid, d->info.wwid) && t->info.block_len == d->info.block_len;
    const bool answered = p->reopening_asked && t->reopen.nr == p->reopen_nr_asked;

    if (answered)
        p->reopening_asked = false;
    if (t->gone && (answered || !was_gone))
        p->reopen_ns = rt_now(d->rt) + REOPEN_NS;
    if (t->changed || (t->open && !ours)) {
        quarantine(d, p, t->changed ? NULL : t->info.wwid);
    } else if (p->quarantine && answered && t->open) {
        p->quarantine = false;
        rt_log(RT_NOTICE, "%s: %s of %s leads to this disk again", d->info.wwid, p->nexus->name,
               p->nexus->target);
    }
    if (t->logins > p->shun_login)
        p->shun_ns = 0;
    if (was_up && !t->up)
        path_fell(d, p);
    if (!was_up && t->up)
        path_rose(d, p);
}

void path_told(struct rt_msg *m)
{
    struct mpio_path *p = container_of(m, struct mpio_path, tell_msg);
    struct mpio_disk *d = p->disk;
    const bool was_up = p->seen.up, was_gone = p->seen.gone;

    rt_assert_here(d->rt);
    p->seen = p->told;
    if (!p->seen.bound) {
        path_unbound(d, p);
        return;
    }
    /* Nothing was sent since it was told to hold: this is what the nexus waits for. */
    p->tell_msg.fn = p->told_back;
    rt_post(p->seen.rt, &p->tell_msg);
    if (p->joining) {
        if (!p->join_err)
            join_judge(d, p);
        return;
    }
    path_update(d, p, was_up, was_gone);
    disk_look(d);
}

/* ---- what others ask ------------------------------------------------------------------------------------ */

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
    rt_assert_here(d->rt);
    d->conf = *conf;
    memset(&d->turn, 0, sizeof(d->turn));
    disk_look(d);
}

const struct mpio_conf *mpio_disk_conf(const struct mpio_disk *d)
{
    return &d->conf;
}

void mpio_disk_path_admin(struct mpio_disk *d, struct mpio_path *p, bool failed)
{
    rt_assert_here(d->rt);
    assert(p->disk == d);
    p->admin = failed;
    p->stuck_ns = rt_now(d->rt);
    p->dropped = false;
    if (!failed) {
        p->fails_nr = 0;
        p->probation = p->suspect = false;
        p->answer_ns = p->busy_ns = rt_now(d->rt);
        p->shun_ns = 0;
        p->reinstate = p->quarantine || p->seen.gone;
    }
    disk_look(d);
}

void mpio_disk_path_weight(struct mpio_disk *d, struct mpio_path *p, unsigned prio, unsigned weight)
{
    rt_assert_here(d->rt);
    assert(p->disk == d);
    p->prio = prio;
    p->weight = weight ? weight : 1;
    disk_look(d);
}

unsigned mpio_disk_paths_nr(const struct mpio_disk *d)
{
    return d->paths_nr;
}

struct mpio_path *mpio_disk_path(const struct mpio_disk *d, unsigned i)
{
    assert(i < d->paths_nr);
    return d->path[i];
}

void mpio_disk_fail(struct mpio_disk *d, int err)
{
    rt_assert_here(d->rt);
    assert(err < 0);
    if (!d->err)
        d->err = err;
    io_fail_waiting(d, d->err);
    for (unsigned i = 0; i < d->paths_nr; i++) {
        d->path[i]->want.err = err;
        path_want(d->path[i], ASK_ABANDON);
    }
    disk_look(d);
}

bool mpio_disk_no_path_fail(struct mpio_disk *d)
{
    rt_assert_here(d->rt);
    if (!d->no_path)
        return false;
    d->given_up = true;
    disk_look(d);
    return true;
}

void mpio_stats(const struct mpio_disk *d, struct mpio_stats *out)
{
    *out = d->stats;
    out->failing = d->no_path && d->given_up;
}
