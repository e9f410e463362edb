/*
 * ini_move.c - a session goes on on another core
 *
 * Commands wait in the session's queue, which keeps their order, while those under way are answered. Then the datamover
 * comes to rest, and when nothing of the session, its units or its connection is outstanding at the reactor, timers and
 * socket change hands, and one message carries the rest: until it is posted the old core has the session, from then on
 * the new one, and nobody in between. What the target says meanwhile waits in the socket, or in the ring.
 *
 * Up to the message the move can be called off, by time, by a connection that breaks, by a stop: then the session is where
 * it was, and nothing happened but a wait.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "initiator/ini_internal.h"

static void move_later(struct ini_sess *s)
{
    if (s->move.armed)
        return;
    s->move.armed = true;
    rt_defer(s->rt, &s->move.op);
}

static void move_over(struct ini_sess *s, int err)
{
    s->move.step = MOVE_OVER;
    s->move.err = err;
    s->move.pause_ns = rt_clock(s->rt) - s->move.began_ns;
}

/* The last that is heard of it: whoever is told may begin another. */
static void move_tell(struct ini_sess *s)
{
    const struct ini_move m = s->move;

    s->move.step = MOVE_NONE;
    m.done(m.user, m.err, m.why, m.pause_ns);
}

void ini_move_off(struct ini_sess *s, int err, const char *fmt, ...)
{
    const bool rests = s->move.step == MOVE_REST;
    va_list ap;

    if (s->move.step != MOVE_DRAIN && !rests)
        return;
    va_start(ap, fmt);
    vsnprintf(s->move.why, sizeof(s->move.why), fmt, ap);
    va_end(ap);
    rt_timer_disarm(s->rt, &s->move.limit);
    if (rests)
        dm_go_on(s->dm);
    move_over(s, err);
    move_later(s);
    ini_tasks_pump(s);
}

/* ---- until nothing is under way ------------------------------------------------------------------------- */

/* What ends by itself in a turn or two. */
static bool about_to_tell(const struct ini_sess *s)
{
    if (s->end_armed || !rt_list_empty(&s->ended) || s->loop.settling)
        return true;
    rt_list_for (l, &s->luns) {
        if (rt_list_entry(l, struct ini_lun, link)->end_armed)
            return true;
    }
    return false;
}

/* Commands and task management that the target owes an answer, and what a fence has left, which lives on this core. A ping
 * it may owe: that is answered anywhere. */
static bool under_way(const struct ini_sess *s)
{
    return s->flight_nr || !rt_list_empty(&s->ending) || s->eh.step || !ini_ctl_free(s, INI_TAG_TMF) ||
           !ini_ctl_free(s, INI_TAG_TEXT) || s->loop.making || s->fences_nr;
}

static void move_step(struct ini_sess *s)
{
    if (s->conn != CONN_FULL || s->state != INI_UP || s->leaving)
        ini_move_off(s, -EAGAIN, "the target asks for a new login");
    else if (under_way(s))
        return; /* the end of it comes here again */
    else if (about_to_tell(s))
        move_later(s);
    else {
        s->move.step = MOVE_REST;
        dm_rest(s->dm);
    }
}

void ini_move_check(struct ini_sess *s)
{
    if (s->move.step == MOVE_DRAIN)
        move_later(s);
}

static void move_turn(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, move.op);

    (void)res;
    s->move.armed = false;
    if (s->move.step == MOVE_OVER)
        move_tell(s);
    else if (s->move.step == MOVE_DRAIN)
        move_step(s);
}

static void limit_over(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, move.limit);

    if (s->flight_nr)
        ini_move_off(s, -ETIMEDOUT, "%u of its commands got no answer within %llu ms", s->flight_nr,
                     (unsigned long long)(s->move.limit_ns / RT_MS));
    else
        ini_move_off(s, -ETIMEDOUT, "what is under way to the target did not end within %llu ms",
                     (unsigned long long)(s->move.limit_ns / RT_MS));
}

/* ---- from core to core ---------------------------------------------------------------------------------- */

/* Every timer that a session which is up may have armed. */
static void timers_each(struct ini_sess *s, void (*fn)(struct rt *rt, struct rt_timer *t))
{
    fn(s->rt, &s->tick);
    fn(s->rt, &s->phase);
    fn(s->rt, &s->retry);
    fn(s->rt, &s->replacement);
    rt_list_for (l, &s->cmds)
        fn(s->rt, &rt_list_entry(l, struct ini_cmd, waits)->timer);
    rt_list_for (l, &s->luns) {
        struct ini_lun *u = rt_list_entry(l, struct ini_lun, link);

        fn(s->rt, &u->probe_timer);
        fn(s->rt, &u->abandon);
        fn(s->rt, &u->delay);
    }
}

static void rt_set(struct ini_sess *s, struct rt *rt)
{
    s->rt = rt;
    rt_list_for (l, &s->luns)
        rt_list_entry(l, struct ini_lun, link)->rt = rt;
}

static void arrived(struct rt_msg *m)
{
    struct ini_sess *s = container_of(m, struct ini_sess, move.msg);

    rt_assert_here(s->rt);
    timers_each(s, rt_timer_enter);
    dm_go_on(s->dm);
    move_over(s, 0);
    ini_tasks_pump(s);
    rt_list_for (l, &s->luns)
        rt_pool_move(rt_list_entry(l, struct ini_lun, link)->pieces, s->rt);
    ini_loop_settle(s);
    move_tell(s);
}

void ini_move_at_rest(struct ini_sess *s)
{
    struct rt *to = s->move.to;

    assert(s->move.step == MOVE_REST);
    /* Something came while it went to rest, and is being told, or made a command of it that the tick gave up. */
    if (under_way(s) || about_to_tell(s)) {
        dm_go_on(s->dm);
        s->move.step = MOVE_DRAIN;
        move_later(s);
        return;
    }
    assert(!s->move.armed);
    rt_timer_disarm(s->rt, &s->move.limit);
    timers_each(s, rt_timer_leave);
    dm_move(s->dm, to);
    s->move.step = MOVE_AWAY;
    rt_set(s, to);
    rt_post(to, &s->move.msg); /* s is that core's */
}

void ini_sess_move(struct ini_sess *s, struct rt *to, uint64_t limit_ns,
                   void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user)
{
    struct ini_move *m = &s->move;

    rt_assert_here(s->rt);
    assert(rt_host_of(to) == rt_host_of(s->rt));
    if (m->step) {
        done(user, -EBUSY, "it is being moved", 0);
        return;
    }
    m->to = to;
    m->limit_ns = limit_ns;
    m->done = done;
    m->user = user;
    m->why[0] = '\0';
    m->began_ns = rt_clock(s->rt);
    m->step = MOVE_DRAIN;
    if (s->state != INI_UP || s->discovery) {
        ini_move_off(s, -EAGAIN, "it is not logged in (%s)", ini_state_name(s->state));
    } else if (s->conn != CONN_FULL || s->stopping || s->leaving) {
        ini_move_off(s, -EAGAIN, "it is being logged out");
    } else if (to == s->rt) {
        move_over(s, 0);
        m->pause_ns = 0;
        move_later(s);
    } else {
        rt_timer_arm(s->rt, &m->limit, limit_ns);
        move_later(s);
    }
}

void ini_move_init(struct ini_sess *s)
{
    s->move.op.done = move_turn;
    s->move.limit.fn = limit_over;
    s->move.msg.fn = arrived;
}
