/*
 * move.c - a session goes to another core while it lives
 *
 * Who is on a trip to it finds it where it was: so it leaves when no trip is under way, and trips that begin later wait
 * until it has arrived, here or there (sess.c). It is not held back while it waits for that instant: who ends a session or
 * forces a detach does not wait for a move.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "manager/layout.h"

static void move_over(struct move *mv, int err, const char *why)
{
    struct sess *s = mv->sess;
    const int to = rt_core(mv->to);
    char words[BAL_TEXT_MAX];

    mv->err = err;
    if (why != mv->why)
        snprintf(mv->why, sizeof(mv->why), "%s", why ? why : "");
    rt_timer_disarm(s->mgr->rt, &mv->late);
    s->move = NULL;
    if (err) {
        json_decref(mv->cores);
        mv->cores = NULL;
        snprintf(words, sizeof(words), "not moved to core %d: %.200s", to, mv->why);
        layout_told(s, "stayed", mv->by, s->core, s->core, UINT64_MAX, words, NULL);
    } else {
        snprintf(words, sizeof(words), "%s", mv->reason ? mv->reason : "asked for");
        snprintf(s->why_core, sizeof(s->why_core), "core %d: moved from core %d (%s): %.180s", to, mv->from,
                 mv->by, words);
        layout_told(s, "moved", mv->by, mv->from, to, mv->pause_ns, words, mv->cores);
        mv->cores = NULL;
        rt_log(RT_INFO, "%s: session %s moved from core %d to %d (%s), pause %llu us", s->wish.iqn, s->name,
               mv->from, to, mv->by, (unsigned long long)(mv->pause_ns / RT_US));
    }
    mv->done(mv);
    sess_put(s);
}

/* ---- on its core, the old one, then the new -------------------------------------------------------------- */

static void core_moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct move *mv = user;

    mv->err = err;
    mv->pause_ns = pause_ns;
    why = !err ? "" : why && *why ? why : strerror(-err);
    if (err == -EAGAIN)
        snprintf(mv->why, sizeof(mv->why),
                 "it cannot move now: %.300s; try again when 'corelane session list' shows it as LOGGED_IN", why);
    else
        snprintf(mv->why, sizeof(mv->why), "%s", why);
    hop_back(&mv->hop);
}

static void core_move(struct hop *h)
{
    struct move *mv = container_of(h, struct move, hop);

    if (mv->sess->nexus)
        mpio_nexus_move(mv->sess->nexus, mv->to, mv->limit_ns, core_moved, mv);
    else
        core_moved(mv, -EAGAIN, "it has ended", 0);
}

/* ---- at home --------------------------------------------------------------------------------------------- */

static void moved(struct hop *h)
{
    struct move *mv = container_of(h, struct move, hop);
    struct sess *s = mv->sess;

    if (!mv->err) {
        s->rt = mv->to;
        s->core = rt_core(mv->to);
    }
    s->move = NULL; /* before trips begin, whose end would be taken for its time to leave */
    sess_arrived(s);
    move_over(mv, mv->err, mv->why);
}

static void leave(struct move *mv)
{
    struct sess *s = mv->sess;

    rt_timer_disarm(s->mgr->rt, &mv->late);
    sess_leaves(s);
    hop_go(&mv->hop, s->mgr->rt, s->rt, core_move, moved);
}

void move_ready(struct sess *s)
{
    if (s->away)
        return;
    if (s->state == SESS_UP && !s->mgr->stopping)
        leave(s->move);
    else
        move_over(s->move, -ESHUTDOWN, "it ends");
}

static void late_fired(struct rt_timer *t)
{
    struct move *mv = container_of(t, struct move, late);

    move_over(mv, -EBUSY, "a disk on it is being attached or detached, and that takes longer than the limit");
}

const char *move_begin(struct move *mv)
{
    struct sess *s = mv->sess;

    if (s->mgr->stopping)
        return "corelaned is being stopped";
    if (s->settler || s->state == SESS_ENDING)
        return "it is being logged out";
    if (s->state != SESS_UP)
        return "it is not logged in: a session that cannot be reached has nothing to move; wait until it is up";
    if (s->move)
        return "it is being moved already";
    if (s->rt == mv->to)
        return "it is on that core already";
    mv->from = s->core;
    mv->pause_ns = 0;
    mv->hop = (struct hop){ 0 };
    mv->late = (struct rt_timer){ .fn = late_fired };
    mv->cores = layout_verdicts(s, (int)rt_index(mv->to));
    s->move = mv;
    sess_hold(s);
    if (s->trips)
        rt_timer_arm(s->mgr->rt, &mv->late, mv->limit_ns);
    else
        leave(mv);
    return NULL;
}
