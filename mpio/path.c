/*
 * path.c - one logical unit over one nexus, as the nexus's core sees it
 *
 * Owns the unit and all that is called of it; tells the disk's side what becomes of it, and does what that asks for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/mpio_internal.h"

#define LATE_NS RT_MS

/* ---- telling -------------------------------------------------------------------------------------------- */

static void path_told_back(struct rt_msg *m)
{
    struct mpio_path *p = container_of(m, struct mpio_path, tell_msg);

    p->telling = false;
    p->holds = p->told.hold;
    if (p->again) {
        p->again = false;
        path_tell(p);
    }
    nexus_move_check(p->nexus);
}

void path_tell(struct mpio_path *p)
{
    struct mpio_nexus *n = p->nexus;
    struct rt *home = p->home;

    if (!home || n->step == NEXUS_AWAY) /* all is told when it has arrived */
        return;
    if (p->telling) {
        p->again = true;
        return;
    }
    p->now.bound = !p->unbind || p->busy;
    p->now.hold = n->step != NEXUS_STILL;
    p->now.rt = rt_self();
    p->told = p->now;
    p->told_back = path_told_back;
    p->tell_msg.fn = path_told;
    p->telling = p->now.bound; /* what is told last does not come back */
    if (!p->now.bound) {
        p->home = NULL;
        p->watch_ms = 0;
        nexus_watch(n);
    }
    rt_post(home, &p->tell_msg);
}

void path_nexus_look(struct mpio_path *p)
{
    const struct mpio_nexus *n = p->nexus;
    struct path_told *now = &p->now;

    now->session = n->up;
    now->logins = n->logins;
    now->settled = n->settled;
    now->shm = n->shm;
    now->tpgt = n->tpgt;
    now->portal = n->portal;
    if (!n->up && !now->changed)
        memcpy(now->why, n->why, sizeof(now->why));
    path_tell(p);
}

/* ---- the unit ------------------------------------------------------------------------------------------- */

static void lun_read(struct mpio_path *p)
{
    p->now.info = *ini_lun_info(p->lun);
    p->now.alua = *ini_lun_alua(p->lun);
}

static void session_why(struct mpio_path *p)
{
    struct ini_sess_info info;

    ini_sess_info(p->nexus->s, &info);
    snprintf(p->now.why, sizeof(p->now.why), "%.150s", info.why);
}

static void lun_event(void *user, enum ini_event ev)
{
    struct mpio_path *p = user;
    struct path_told *now = &p->now;

    if (p->lun)
        lun_read(p);
    switch (ev) {
    case INI_LUN_RESIZED: break;
    case INI_LUN_ALUA:
        if (!now->up && p->nexus->up && now->alua.state == INI_ALUA_UNAVAILABLE)
            snprintf(now->why, sizeof(now->why), "LUN %u cannot be reached through this port now", p->lun_nr);
        break;
    case INI_LUN_PAUSED:
        now->up = false;
        session_why(p); /* which tells us of it after this */
        break;
    case INI_LUN_RESUMED:
        now->up = true;
        now->gone = false;
        now->why[0] = '\0';
        break;
    case INI_LUN_GONE:
        now->up = false;
        now->gone = true;
        if (p->nexus->up)
            snprintf(now->why, sizeof(now->why), "the target has no LUN %u any more", p->lun_nr);
        break;
    case INI_LUN_CHANGED:
        now->up = false;
        now->changed = true;
        snprintf(now->why, sizeof(now->why), "LUN %u is another unit now", p->lun_nr);
        break;
    }
    path_tell(p);
}

static void lun_opened(void *user, int err, const char *why)
{
    struct mpio_path *p = user;
    void (*const opened)(void *, int, const char *) = p->opened;
    void *const opened_user = p->opened_user;

    if (err) {
        rt_list_del(&p->link);
        free(p);
    } else {
        p->now.up = p->now.open = true;
        lun_read(p);
        *p->out = p;
    }
    opened(opened_user, err, why);
}

int mpio_path_open(struct mpio_path **out, struct mpio_nexus *n, uint16_t lun,
                   void (*done)(void *user, int err, const char *why), void *user)
{
    struct mpio_path *p;
    int err;

    rt_assert_here(mpio_nexus_rt(n));
    p = aligned_alloc(RT_CACHE_LINE, sizeof(*p));
    if (!p)
        return -ENOMEM;
    memset(p, 0, sizeof(*p));
    p->nexus = n;
    p->lun_nr = lun;
    p->opened = done;
    p->opened_user = user;
    p->out = out;
    p->weight = 1;
    *out = NULL;
    rt_list_push(&n->paths, &p->link);
    err = ini_lun_open(n->s, lun, &p->lun, lun_opened, lun_event, p);
    if (err) {
        rt_list_del(&p->link);
        free(p);
    }
    return err;
}

void mpio_path_close(struct mpio_path *p)
{
    if (!p)
        return;
    rt_assert_here(mpio_nexus_rt(p->nexus));
    assert(!p->home && !p->busy);
    assert(!p->disk);
    ini_lun_close(p->lun);
    rt_list_del(&p->link);
    free(p);
}

const struct ini_lun_info *mpio_path_lun_info(const struct mpio_path *p)
{
    return &p->now.info;
}

struct mpio_nexus *mpio_path_nexus(const struct mpio_path *p)
{
    return p->nexus;
}

/* ---- what is asked -------------------------------------------------------------------------------------- */

static void busy(struct mpio_path *p)
{
    p->busy++;
    p->nexus->busy++;
}

static void busy_over(struct mpio_path *p)
{
    struct mpio_nexus *n = p->nexus;

    assert(p->busy && n->busy);
    p->busy--;
    n->busy--;
    path_tell(p);
    nexus_move_check(n);
}

static void reset_done(void *user, int resp, int err)
{
    struct mpio_path *p = user;

    p->now.reset.nr = p->reset_nr;
    p->now.reset.err = err ? err : resp ? -EIO : 0; /* 0: function complete (RFC 7143 11.6.1) */
    busy_over(p);
}

/* Whatever comes of these two is seen by what the unit tells, or by its connection's end. */
static void activated(void *user, int err)
{
    struct mpio_path *p = user;

    (void)err;
    p->activating = false;
    busy_over(p);
}

static void path_activate(struct mpio_path *p)
{
    if (!p->lun || p->activating)
        return;
    p->activating = true;
    busy(p);
    ini_lun_activate(p->lun, activated, p);
}

static void path_abort(struct mpio_path *p);

static void aborted(void *user, int err)
{
    struct mpio_path *p = user;
    const bool again = p->abort_again;

    (void)err;
    p->aborting = p->abort_again = false;
    if (again)
        path_abort(p);
    busy_over(p);
}

/* The target may have been asked before another reset, which took what has been sent since: then it is asked once more. */
static void path_abort(struct mpio_path *p)
{
    if (p->aborting) {
        p->abort_again = true;
        return;
    }
    if (!p->lun)
        return;
    p->aborting = true;
    busy(p);
    ini_lun_abort_all(p->lun, aborted, p);
}

/* Who closes a unit does not hear of what was asked of it. */
static void calls_forget(struct mpio_path *p)
{
    const bool activating = p->activating, aborting = p->aborting;

    p->activating = p->aborting = p->abort_again = false;
    if (activating)
        busy_over(p);
    if (aborting)
        busy_over(p);
}

static void lun_reopened(void *user, int err, const char *why)
{
    struct mpio_path *p = user;

    p->reopening = false;
    p->now.reopen.nr = p->reopen_nr;
    p->now.reopen.err = err;
    if (err) {
        p->lun = NULL;
        p->now.gone = true;
        snprintf(p->now.why, sizeof(p->now.why), "%s", why && *why ? why : strerror(-err));
    } else {
        p->now.open = p->now.up = true;
        p->now.gone = p->now.changed = false;
        p->now.why[0] = '\0';
        lun_read(p);
        ini_lun_hand_back(p->lun, p->hand_set);
    }
    busy_over(p);
}

/* A unit that was found to be another, or none, is done with: what there is now has to be looked over from the start. The
 * disk sends nothing meanwhile, and has nothing there. */
static void path_reopen(struct mpio_path *p)
{
    int err;

    if (p->reopening)
        return; /* its end answers the question that came last */
    ini_lun_close(p->lun);
    p->lun = NULL;
    p->now.open = p->now.up = false;
    p->reopening = true;
    busy(p);
    calls_forget(p);
    err = ini_lun_open(p->nexus->s, p->lun_nr, &p->lun, lun_reopened, lun_event, p);
    if (err)
        lun_reopened(p, err, NULL);
}

static void path_set(struct mpio_path *p, const struct path_ask *a)
{
    p->hand_set = a->hand_back;
    if (p->lun)
        ini_lun_hand_back(p->lun, a->hand_back);
    p->watch_ms = a->watch_ms;
    nexus_watch(p->nexus);
}

static void path_bind(struct mpio_path *p, const struct path_ask *a)
{
    assert(!p->home);
    p->home = a->home;
    p->telling = p->again = p->holds = p->unbind = p->fence_asked = false;
    /* Questions are counted from the start: no answer of before may be taken for one of now. */
    p->now.fence.nr = p->now.reset.nr = p->now.reopen.nr = 0;
    p->hand_set = false;
    if (p->lun)
        ini_lun_hand_back(p->lun, false);
    path_nexus_look(p);
}

static void do_asked(struct mpio_path *p, const struct path_ask *a)
{
    const unsigned what = a->what;

    if (what & ASK_BIND)
        path_bind(p, a);
    if (what & ASK_SET)
        path_set(p, a);
    if (what & ASK_FENCE) {
        p->fence_nr = a->nr;
        p->fence_login = a->login;
        nexus_fence(p->nexus, p, &a->portal);
    }
    if (what & ASK_RESET) {
        p->reset_nr = a->reset_nr;
        busy(p);
        ini_lun_reset(p->nexus->s, p->lun_nr, reset_done, p);
    }
    if (what & ASK_ABORT)
        path_abort(p);
    if (what & ASK_ACTIVATE)
        path_activate(p);
    if (what & ASK_REOPEN) {
        p->reopen_nr = a->reopen_nr;
        path_reopen(p);
    }
    if (what & ASK_DROP)
        ini_sess_drop(p->nexus->s, "a path over it was taken out of use, and requests were not answered");
    if (what & ASK_ABANDON && p->lun)
        ini_lun_abandon(p->lun, a->err);
    if (what & ASK_UNBIND) {
        p->unbind = true;
        p->fence_asked = false;
    }
    path_tell(p);
}

static void asked_late(struct rt_timer *t)
{
    path_asked(&container_of(t, struct mpio_path, late)->ask_msg);
}

/* A join may come here while the nexus leaves, or after it left; whatever else is asked cannot, as disks that it is told
 * of hold back. @p is the caller's of the join, and stays until that is answered. */
static bool is_elsewhere(struct mpio_path *p)
{
    /* Acquire, and in this order: see move_over(). */
    const bool moving = atomic_load_explicit(&p->nexus->moving, memory_order_acquire);
    struct rt *rt = mpio_nexus_rt(p->nexus);

    if (moving) {
        p->late.fn = asked_late;
        rt_timer_arm(rt_self(), &p->late, LATE_NS);
    } else if (rt != rt_self()) {
        rt_post(rt, &p->ask_msg);
    }
    return moving || rt != rt_self();
}

void path_asked(struct rt_msg *m)
{
    struct mpio_path *p = container_of(m, struct mpio_path, ask_msg);
    const struct path_ask a = p->ask;

    if (a.what & ASK_BIND && is_elsewhere(p))
        return;
    assert(p->nexus->step != NEXUS_AWAY);
    /* First, so that it is there before the last that may be told. */
    p->ask_msg.fn = path_ask_back;
    rt_post(a.home, &p->ask_msg);
    do_asked(p, &a);
}
