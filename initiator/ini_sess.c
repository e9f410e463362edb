/*
 * ini_sess.c - the life of a session: its states, what each change does, and the end
 *
 * Owns which state a session is in; every change is a row of one table. Connections are ini_conn.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

/* ---- states --------------------------------------------------------------------------------------------- */

const char *ini_state_name(enum ini_state st)
{
    static const char *const names[] = { "FREE", "LOGIN", "LOGGED_IN", "RECOVERY", "OFFLINE",
                                          "LOGOUT", "FAILED" };

    return st < ARRAY_SIZE(names) ? names[st] : "?";
}

static void act_login(struct ini_sess *s)
{
    ini_conn_open(s);
}

static void sess_came_up(struct ini_sess *s)
{
    ini_fence_end(s, 0);
    rt_timer_disarm(s->rt, &s->replacement);
    s->attempts = 0;
    s->up_ns = rt_now(s->rt);
    s->useful = false;
    s->sending = true;
    ini_tick_soon(s);
    rt_list_for(l, &s->luns)
        ini_lun_up(rt_list_entry(l, struct ini_lun, link));
    ini_tasks_pump(s);
}

static void act_up(struct ini_sess *s)
{
    s->ever_up = true;
    sess_came_up(s);
    if (s->events.up)
        s->events.up(s->user);
}

/* Of several sessions to one target, which: by its portal. Return: @out. */
static const char *home_of(const struct ini_sess *s, char out[static ISCSI_PORTAL_STR_MAX])
{
    iscsi_portal_format(&s->home, out);
    return out;
}

static void act_resume(struct ini_sess *s)
{
    const uint64_t down = rt_now(s->rt) - s->down_ns;
    char home[ISCSI_PORTAL_STR_MAX];

    s->reconnects++;
    /* How long a path was away is bounded by replacement_timeout, not by a command's own patience. */
    rt_list_for(l, &s->queue) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        if (t->deadline_ns != UINT64_MAX)
            t->deadline_ns += down;
    }
    rt_log(RT_NOTICE, "%s at %s: logged in again after %u.%u s", s->conf.target, home_of(s, home),
           (unsigned)(down / RT_S), (unsigned)(down / (RT_S / 10) % 10));
    sess_came_up(s);
    if (s->events.up)
        s->events.up(s->user);
}

static void act_hold(struct ini_sess *s)
{
    const int32_t hold_s = s->conf.set.replacement_timeout_s;
    char why[sizeof(s->why)], home[ISCSI_PORTAL_STR_MAX];

    memcpy(why, s->why, sizeof(why));
    s->sending = s->leaving = false;
    s->down_ns = rt_now(s->rt);
    /* One that lets us in and breaks at once, again and again, is waited for like one that lets nobody in. */
    s->vain = s->useful || s->silent || s->down_ns - s->up_ns >= INI_LASTED_NS ? 0 : s->vain + 1;
    s->silent = false;
    rt_timer_disarm(s->rt, &s->tick);
    if (hold_s > 0)
        rt_timer_arm(s->rt, &s->replacement, (uint64_t)hold_s * RT_S);
    if (!s->discovery)
        rt_log(RT_WARN, "%s at %s: connection lost: %s; logging in again", s->conf.target, home_of(s, home),
               why);
    rt_list_for(l, &s->luns)
        ini_lun_down(rt_list_entry(l, struct ini_lun, link));
    ini_conn_end(s);
    if (s->events.down)
        s->events.down(s->user, s->err, why);
}

/* As long as replacement_timeout says the wait was worth it; nobody above is to hang for longer. */
static void act_expire(struct ini_sess *s)
{
    char home[ISCSI_PORTAL_STR_MAX];

    rt_timer_disarm(s->rt, &s->replacement);
    rt_log(RT_ERR, "%s at %s: %s; requests fail until it is back", s->conf.target, home_of(s, home), s->why);
    ini_tasks_fail_all(s, INI_OFFLINE_ERR);
    rt_list_for_safe(l, &s->luns)
        ini_lun_offline(rt_list_entry(l, struct ini_lun, link), INI_OFFLINE_ERR);
}

static void act_fail(struct ini_sess *s)
{
    char why[sizeof(s->why)], home[ISCSI_PORTAL_STR_MAX];

    memcpy(why, s->why, sizeof(why));
    s->sending = false;
    if (!s->err)
        s->err = -ECONNRESET;
    rt_timer_disarm(s->rt, &s->replacement);
    rt_timer_disarm(s->rt, &s->retry);
    rt_timer_disarm(s->rt, &s->tick);
    if (s->ever_up && !s->discovery)        /* whoever asked for a first login is told, and tells */
        rt_log(RT_ERR, "%s at %s: session failed: %s", s->conf.target, home_of(s, home), why);
    if (s->conn == CONN_NONE)
        ini_tasks_fail_all(s, s->err);
    else
        ini_conn_end(s);                    /* conn_gone() fails them */
    rt_list_for_safe(l, &s->luns)
        ini_lun_failed(rt_list_entry(l, struct ini_lun, link), s->err);
    if (s->events.failed)
        s->events.failed(s->user, s->err, why);
}

static void act_logout(struct ini_sess *s)
{
    s->sending = false;
    rt_timer_disarm(s->rt, &s->tick);
    ini_logout_send(s);
}

static void act_close(struct ini_sess *s)
{
    s->sending = false;
    rt_timer_disarm(s->rt, &s->replacement);
    rt_timer_disarm(s->rt, &s->retry);
    rt_timer_disarm(s->rt, &s->tick);
    if (s->conn != CONN_NONE)
        ini_conn_end(s);
    else
        rt_defer(s->rt, &s->stop_op);
}

static void act_stopped(struct ini_sess *s)
{
    ini_tasks_fail_all(s, -ECANCELED);
    /* What a unit holds back itself must end as well, also where it would have waited for the session. */
    rt_list_for_safe(l, &s->luns)
        ini_lun_failed(rt_list_entry(l, struct ini_lun, link), -ECANCELED);
    rt_defer(s->rt, &s->stop_op);
}

/* RFC 7143 8.3.1, initiator side, with the phases before the first login and after the last told apart.
 * ini_sess_step() is the only writer of ->state. */
static const struct sess_edge {
    uint8_t from, on, to;
    void (*act)(struct ini_sess *s);        /* calls the user last, who may step again */
} edges[] = {
    /* from         on            to            act           */
    { INI_FREE,     EV_START,     INI_LOGIN,    act_login   },
    { INI_LOGIN,    EV_LOGGED_IN, INI_UP,       act_up      },  /* N1 */
    { INI_LOGIN,    EV_GIVE_UP,   INI_FAILED,   act_fail    },
    { INI_LOGIN,    EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_UP,       EV_LOST,      INI_RECOVERY, act_hold    },  /* N5 */
    { INI_UP,       EV_STOP,      INI_LOGOUT,   act_logout  },
    { INI_RECOVERY, EV_LOGGED_IN, INI_UP,       act_resume  },  /* N4 */
    { INI_RECOVERY, EV_EXPIRED,   INI_OFFLINE,  act_expire  },
    { INI_RECOVERY, EV_GIVE_UP,   INI_FAILED,   act_fail    },  /* N6 */
    { INI_RECOVERY, EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_OFFLINE,  EV_LOGGED_IN, INI_UP,       act_resume  },  /* N4 */
    { INI_OFFLINE,  EV_GIVE_UP,   INI_FAILED,   act_fail    },  /* N6 */
    { INI_OFFLINE,  EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_FAILED,   EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_FREE,     EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_LOGOUT,   EV_STOPPED,   INI_FREE,     act_stopped },  /* N3 */
};

void ini_sess_step(struct ini_sess *s, enum ini_sess_event ev)
{
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        if (edges[i].from != s->state || edges[i].on != ev)
            continue;
        s->state = edges[i].to;
        edges[i].act(s);
        return;
    }
    assert(!"a state machine of our own: no peer chooses its events");
}

/* ---- the end -------------------------------------------------------------------------------------------- */

void ini_logout_send(struct ini_sess *s)
{
    const struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_LOGOUT,
        .final = true,
        .logout.reason = ISCSI_LOGOUT_SESSION,
    };

    ini_move_off(s, -EAGAIN, "the session is being logged out");
    s->conn = CONN_LOGOUT;
    s->sending = false;
    /* Commands were given up: by one who found the target dead, and does not want to wait for it. */
    ini_phase_arm(s, s->ghosts ? 2 : s->conf.set.logout_timeout_s);
    if (ini_ctl_free(s, INI_TAG_LOGOUT))
        ini_ctl_send(s, INI_TAG_LOGOUT, &pdu, NULL);
}

void ini_drain_check(struct ini_sess *s)
{
    if (s->conn != CONN_FULL || s->flight_nr || !rt_list_empty(&s->ending))
        return;
    if (s->leaving && s->state == INI_UP && !s->stopping)
        ini_logout_send(s);
    else if (s->draining && rt_list_empty(&s->queue) && s->state == INI_UP)
        ini_sess_step(s, EV_STOP);
}

/* Once tasks were told of their end, so that done() is the last that anybody hears of the session. */
static void stop_later(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, stop_op);

    (void)res;
    if (s->state == INI_LOGOUT) {
        ini_sess_step(s, EV_STOPPED);
        return;
    }
    if (s->end_armed || !rt_list_empty(&s->ended) || !rt_list_empty(&s->cmds) || s->move.step || s->loop.making ||
        s->loop.settling) {
        rt_defer(s->rt, &s->stop_op);
        return;
    }
    if (s->fences_nr) {
        s->stop_held = true;
        return;
    }
    assert(!s->flight_nr && rt_list_empty(&s->queue) && rt_list_empty(&s->ending));
    s->stopped(s->stopped_user);            /* s may be gone */
}

void ini_sess_stop(struct ini_sess *s, bool drain, void (*done)(void *user), void *user)
{
    rt_assert_here(s->rt);
    assert(!s->stopping);
    s->stopping = true;
    ini_move_off(s, -EAGAIN, "the session is being stopped");
    s->stopped = done;
    s->stopped_user = user;
    ini_fence_end(s, -ECANCELED);
    if (drain && s->state == INI_UP &&
        (s->flight_nr || !rt_list_empty(&s->queue) || !rt_list_empty(&s->ending))) {
        s->draining = true;
        ini_phase_arm(s, s->conf.set.logout_timeout_s);
        return;
    }
    if (s->conn == CONN_LOGOUT)             /* by the target's wish, which is under way */
        ini_conn_lost(s, -ECANCELED, "stopped");
    else
        ini_sess_step(s, EV_STOP);
}

void ini_sess_free(struct ini_sess *s)
{
    if (!s)
        return;
    assert(s->state == INI_FREE && s->conn == CONN_NONE && rt_list_empty(&s->luns) && !s->fences_nr);
    if (s->lookup && s->lookup->busy)
        s->lookup->sess = NULL;
    else
        free(s->lookup);
    ini_loop_exit(s);
    free(s->slot);
    explicit_bzero(&s->conf.set, sizeof(s->conf.set));
    free(s);
}

void ini_sess_drop(struct ini_sess *s, const char *why)
{
    rt_assert_here(s->rt);
    if (s->state == INI_UP)
        ini_conn_lost(s, -ECONNRESET, "%s", why);
}

bool ini_sess_logged_out(const struct ini_sess *s)
{
    return s->logged_out;
}

/* ---- set-up and questions ------------------------------------------------------------------------------- */

/* RFC 7143 11.12.5: T 10b, a random qualifier. */
static void isid_make(struct ini_sess *s)
{
    static const uint8_t none[6];

    if (memcmp(s->conf.isid, none, sizeof(none)))
        return;
    rt_random(s->rt, s->conf.isid, sizeof(s->conf.isid));
    s->conf.isid[0] = 0x80;
}

int ini_sess_new(struct ini_sess **out, struct rt *rt, const struct ini_conf *conf,
                 const struct ini_sess_events *events, void *user)
{
    struct ini_sess *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->rt = rt;
    s->conf = *conf;
    s->home = conf->portal;
    s->user = user;
    if (events)
        s->events = *events;
    s->discovery = !conf->target[0];
    s->chap_algs = conf->set.chap_algs ? conf->set.chap_algs : CHAP_ALGS_ALL;
    ini_conn_init(s);
    ini_loop_init(s);
    s->tick.fn = ini_tick;
    s->stop_op.done = stop_later;
    ini_move_init(s);
    rt_list_init(&s->luns);
    rt_list_init(&s->cmds);
    if (ini_tasks_init(s)) {
        ini_sess_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void ini_sess_start(struct ini_sess *s)
{
    rt_assert_here(s->rt);
    isid_make(s);
    rt_random(s->rt, &s->gen, sizeof(s->gen));
    ini_sess_step(s, EV_START);
}

struct rt *ini_sess_rt(const struct ini_sess *s)
{
    return s->rt;
}

void ini_sess_info(const struct ini_sess *s, struct ini_sess_info *out)
{
    *out = (struct ini_sess_info) {
        .state = s->state,
        .tsih = s->tsih,
        .tpgt = s->tpgt,
        .transport = s->dm ? s->dm->ops->transport : "tcp",
        .params = s->params,
        .commands = s->commands,
        .read_bytes = s->read_bytes,
        .write_bytes = s->write_bytes,
        .reconnects = s->reconnects,
        .resent = s->resent,
        .digest_errors = s->digest_errors,
        .timeouts = s->timeouts,
        .aborts = s->aborts,
        .in_flight = s->flight_nr,
        .queued = s->queue_nr,
        .nop_rtt_us = s->nop_rtt_ns / RT_US,
    };
    memcpy(out->target, s->conf.target, sizeof(out->target));
    memcpy(out->isid, s->conf.isid, sizeof(out->isid));
    memcpy(out->why, s->why, sizeof(out->why));
    /* In between it is TCP, whatever comes of it. */
    if (s->conn == CONN_FULL || s->conn == CONN_LOGOUT)
        memcpy(out->transport_why, s->loop.why, sizeof(out->transport_why));
    else
        strcpy(out->transport_why, "not logged in");
    iscsi_portal_format(s->conn == CONN_NONE ? &s->home : &s->portal, out->portal);
    if (s->peer.len)
        rt_addr_format(&s->peer, out->peer);
    if (s->state == INI_UP && !iscsi_sn_lt(s->max_cmd_sn, s->cmd_sn))
        out->window = s->max_cmd_sn - s->cmd_sn + 1;
    if (s->dm)
        dm_stats(s->dm, &out->dm);
}
