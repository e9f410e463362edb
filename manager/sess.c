/*
 * sess.c - sessions: placed on a core, shared by the disks that stand on them, ended when nobody needs them
 *
 * The object belongs to home; the struct ini_sess in it to the session's core. Messages from one core to
 * another arrive in order, so what the core told before it let go of a session has been read when its last
 * word comes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"

/* ---- holding on ------------------------------------------------------------------------------------------ */

void sess_hold(struct sess *s)
{
    s->holds++;
}

void sess_put(struct sess *s)
{
    assert(s->holds);
    if (--s->holds)
        return;
    assert(!s->ini && !s->users && !s->trips && !s->away);
    explicit_bzero(&s->wish, sizeof(s->wish));
    explicit_bzero(&s->conf, sizeof(s->conf));
    explicit_bzero(&s->load, sizeof(s->load));
    free(s->record);
    free(s);
}

void sess_waits_call(struct rt_link *list, int err, const char *why)
{
    struct rt_link *l, mine;

    /* Those that are told now: fn may wait anew, on this session or another. */
    rt_list_init(&mine);
    while ((l = rt_list_pop(list)))
        rt_list_push(&mine, l);
    while ((l = rt_list_pop(&mine))) {
        struct sess_wait *w = rt_list_entry(l, struct sess_wait, link);

        w->fn(w, err, why);
    }
}

/* ---- trips to its core ----------------------------------------------------------------------------------- */

static void trip_begin(struct sess *s, struct hop *h)
{
    s->trips++;
    hop_go(h, s->mgr->rt, s->rt, h->run, h->back);
}

void sess_go(struct sess *s, struct hop *h, void (*run)(struct hop *h), void (*back)(struct hop *h))
{
    assert(!h->sess && s->holds);
    h->sess = s;
    h->run = run;
    h->back = back;
    if (s->away)
        rt_list_push(&s->held, &h->link);
    else
        trip_begin(s, h);
}

void sess_returned(struct sess *s)
{
    assert(s->trips && !s->away);
    s->trips--;
    if (!s->trips && s->move)
        move_ready(s);
}

void sess_leaves(struct sess *s)
{
    assert(!s->trips && !s->away);
    s->away = true;
}

void sess_arrived(struct sess *s)
{
    struct rt_link *l;

    assert(s->away);
    s->away = false;
    while ((l = rt_list_pop(&s->held))) /* in the order in which they were asked for */
        trip_begin(s, rt_list_entry(l, struct hop, link));
}

/* ---- what its core tells home ---------------------------------------------------------------------------- */

static void told_up(struct rt_msg *m)
{
    struct sess *s = container_of(m, struct sess, up_msg);

    if (s->state != SESS_LOGIN)
        return;
    s->state = SESS_UP;
    if (s->settler) {
        rt_log(RT_NOTICE, "%s: a session of before is ended, of which something might have been left there",
               s->wish.iqn);
        sess_end(s, NULL);
        return;
    }
    rt_log(RT_INFO, "%s: session %s to %s is up; %s", s->wish.iqn, s->name, s->portal, s->why_core);
    sess_waits_call(&s->up_waits, 0, NULL);
}

static void told_again(struct rt_msg *m)
{
    struct sess *s = container_of(m, struct sess, again_msg);

    atomic_store(&s->again_told, false);
    if (s->state == SESS_UP)
        pr_sess_again(s);
}

/* Never came up: nobody has anything on it. Was up: its disks fail, and stay to be looked at and detached. */
static void sess_failed(struct sess *s, int err, const char *why)
{
    const bool first = s->state == SESS_LOGIN;

    if (s->state == SESS_ENDING)
        return;
    s->state = SESS_FAILED;
    s->err = err;
    snprintf(s->why_failed, sizeof(s->why_failed), "%s", why);
    sess_hold(s);
    sess_waits_call(&s->settle_waits, err, s->why_failed);
    if (!first) {
        paths_sess_failed(s->mgr, s);
        sess_put(s);
        return;
    }
    sess_waits_call(&s->up_waits, err, s->why_failed);
    sess_end(s, NULL);
    sess_put(s);
}

static void told_failed(struct rt_msg *m)
{
    struct sess *s = container_of(m, struct sess, failed_msg);

    sess_failed(s, s->core_err, s->core_why);
}

/* ---- on its core ----------------------------------------------------------------------------------------- */

static void core_up(void *user)
{
    struct sess *s = user;

    mpio_nexus_up(s->nexus);
    if (s->up_told) {
        if (!atomic_exchange(&s->again_told, true)) {
            s->again_msg.fn = told_again;
            rt_post(s->mgr->rt, &s->again_msg);
        }
        return;
    }
    s->up_told = true;
    s->up_msg.fn = told_up;
    rt_post(s->mgr->rt, &s->up_msg);
}

static void core_down(void *user, int err, const char *why)
{
    struct sess *s = user;

    mpio_nexus_down(s->nexus, err, why);
}

static void core_failed(void *user, int err, const char *why)
{
    struct sess *s = user;

    if (s->nexus)
        mpio_nexus_failed(s->nexus, err, why);
    if (s->failed_told)
        return;
    s->failed_told = true;
    s->core_err = err;
    snprintf(s->core_why, sizeof(s->core_why), "%s", why);
    s->failed_msg.fn = told_failed;
    rt_post(s->mgr->rt, &s->failed_msg);
}

static void core_luns_changed(void *user)
{
    struct sess *s = user;

    rt_log(RT_INFO, "%s: the target's LUNs have changed: 'corelane attach' reaches new ones", s->conf.target);
}

static const struct ini_sess_events core_events = {
    .up = core_up,
    .down = core_down,
    .failed = core_failed,
    .luns_changed = core_luns_changed,
};

static void core_start(struct hop *h)
{
    struct sess *s = container_of(h, struct sess, start);
    int err = ini_sess_new(&s->ini, s->rt, &s->conf, &core_events, s);

    if (err)
        s->ini = NULL;
    else if ((err = mpio_nexus_new(&s->nexus, s->ini, s->name)))
        s->nexus = NULL;
    if (err) {
        ini_sess_free(s->ini);
        s->ini = NULL;
        core_failed(s, err, "no memory for a session");
    } else {
        ini_sess_start(s->ini);
    }
    hop_back(h);
}

static void core_free(struct rt_op *op, int res)
{
    struct sess *s = container_of(op, struct sess, free_op);

    /* Never up with an identity of its own: it had nothing to leave anywhere. */
    s->clean = ini_sess_logged_out(s->ini) || (s->fresh && !s->up_told);
    mpio_nexus_free(s->nexus);
    s->nexus = NULL;
    ini_sess_free(s->ini);
    s->ini = NULL;
    hop_back(&s->stop);
}

static void core_stopped(void *user)
{
    struct sess *s = user;

    s->free_op.done = core_free; /* not from inside a call of the session's own */
    rt_defer(s->rt, &s->free_op);
}

static void core_stop(struct hop *h)
{
    struct sess *s = container_of(h, struct sess, stop);

    if (s->ini)
        ini_sess_stop(s->ini, true, core_stopped, s);
    else
        hop_back(h);
}

/* ---- at home --------------------------------------------------------------------------------------------- */

static void started(struct hop *h)
{
    sess_put(container_of(h, struct sess, start));
}

static void ended(struct hop *h)
{
    struct sess *s = container_of(h, struct sess, stop);

    rt_list_del(&s->link);
    if (!isid_lives(s->mgr, s->conf.isid))
        (void)isid_keep(s->mgr, s->wish.iqn, s->conf.isid, &s->wish.portal, !s->clean, &s->record);
    if (s->settler)
        isid_settled(s);
    if (!s->mgr->stopping)                  /* which saves when all is over */
        store_save(s->mgr, NULL);
    sess_waits_call(&s->end_waits, 0, NULL);
    sess_put(s);
}

static void place(struct sess *s)
{
    struct settings_load *l = &s->load;

    s->loading = false;
    layout_place(s);
    sess_arrived(s);
    if (s->state == SESS_ENDING) { /* was ended meanwhile, and waits for us */
        sess_go(s, &s->stop, core_stop, ended);
        return;
    }
    if (l->err) {
        sess_failed(s, l->err, l->why);
        return;
    }
    s->conf.set = l->set;
    if (s->elsewhere)                       /* somebody waits who can do without it */
        s->conf.set.login_retry_max = 0;
    sess_hold(s);
    sess_go(s, &s->start, core_start, started);
}

static struct sess *loading_first(const struct sess *like)
{
    rt_list_for (l, &like->mgr->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->loading && sess_matches(s, like->wish.iqn, &like->wish.portal))
            return s;
    }
    return NULL;
}

/* All is known that its place depends on. Those to one portal are placed in the order in which they were made, whichever
 * helper thread was first: so that the same host lays its sessions out the same way each time. */
static void locatable(struct sess *s)
{
    struct sess *first;

    s->located = true;
    sess_hold(s);
    while ((first = loading_first(s)) && first->located)
        place(first);
    sess_put(s);
}

static void loaded(struct settings_load *l)
{
    nic_find(container_of(l, struct sess, load), locatable);
}

/* The lowest that no other session there has: who logs in again after a logout is who it was. */
static unsigned index_free(const struct mgr *m, const struct mgr_wish *wish)
{
    uint64_t used[(BAL_INDEX_MAX + 1) / 64] = { 0 };
    unsigned index = 0;

    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (!s->settler && s->state != SESS_ENDING && sess_matches(s, wish->iqn, &wish->portal))
            used[s->index / 64] |= 1ull << s->index % 64;
    }
    while (index < BAL_INDEX_MAX && used[index / 64] >> index % 64 & 1)
        index++;
    return index;
}

struct sess *sess_new(struct mgr *m, const struct mgr_wish *wish, const uint8_t *isid, bool keep)
{
    struct sess *s = calloc(1, sizeof(*s));

    if (!s || !(s->record = isid_record())) {
        free(s);
        return NULL;
    }
    s->mgr = m;
    s->wish = *wish;
    s->keep = keep;
    s->holds = 1;
    s->id = ++m->sess_last;
    snprintf(s->name, sizeof(s->name), "s%u", s->id);
    iscsi_portal_format(&wish->portal, s->portal);
    snprintf(s->conf.initiator, sizeof(s->conf.initiator), "%s", m->initiator);
    snprintf(s->conf.target, sizeof(s->conf.target), "%s", wish->iqn);
    s->conf.portal = wish->portal;
    if (isid)
        isid_take(m, isid, s->conf.isid);
    else
        s->fresh = isid_choose(m, wish->iqn, s->conf.isid);
    s->clean = s->fresh;
    rt_list_init(&s->held);
    rt_list_init(&s->up_waits);
    rt_list_init(&s->end_waits);
    rt_list_init(&s->settle_waits);
    s->index = index_free(m, wish);
    s->core = -1;
    s->node = BAL_NODE_ANY;
    s->away = true; /* until it is placed */
    rt_list_push(&m->sessions, &s->link);
    s->load.mgr = m;
    s->load.wish = &s->wish;
    s->load.done = loaded;
    s->loading = true;
    settings_load(&s->load);
    return s;
}

bool sess_matches(const struct sess *s, const char *iqn, const struct iscsi_portal *portal)
{
    return !strcmp(s->wish.iqn, iqn) &&
           (!portal || (!strcmp(s->wish.portal.host, portal->host) && s->wish.portal.port == portal->port));
}

bool sess_carried(const struct sess *s, const struct mgr_wish *wish)
{
    return !*wish->transport || !strcmp(wish->transport, s->wish.transport);
}

bool sess_serves(const struct sess *s)
{
    return s->state <= SESS_UP && !s->settler;
}

/* Two paths of one disk over one session would be one. */
static bool is_in(const struct sess *s, const struct att *a)
{
    rt_list_for (l, &a->paths)
        if (rt_list_entry(l, struct path, link)->sess == s)
            return true;
    return false;
}

struct sess *sess_shared(struct mgr *m, const struct mgr_wish *wish, const struct att *a)
{
    struct sess *best = NULL;

    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (!sess_serves(s) || !sess_matches(s, wish->iqn, &wish->portal) || !sess_carried(s, wish) ||
            is_in(s, a))
            continue;
        /* Who proves to be somebody else may be shown other units. */
        if (*wish->user.name && strcmp(wish->user.name, s->wish.user.name))
            continue;
        if (!best || s->users < best->users)
            best = s;
    }
    return best;
}

struct sess *sess_find(struct mgr *m, unsigned id)
{
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

void sess_wait_up(struct sess *s, struct sess_wait *w)
{
    assert(s->state == SESS_LOGIN);
    rt_list_push(&s->up_waits, &w->link);
}

void sess_end(struct sess *s, struct sess_wait *w)
{
    if (w)
        rt_list_push(&s->end_waits, &w->link);
    if (s->state == SESS_ENDING)
        return;
    s->state = SESS_ENDING;
    sess_hold(s);
    sess_waits_call(&s->up_waits, -ECANCELED, "the session was logged out meanwhile");
    sess_waits_call(&s->settle_waits, -ECANCELED, "the session was logged out meanwhile");
    if (!s->loading)
        sess_go(s, &s->stop, core_stop, ended);
    sess_put(s);
}

void sess_use(struct sess *s)
{
    s->users++;
}

void sess_unuse(struct sess *s)
{
    assert(s->users);
    if (!--s->users && !s->keep && s->state != SESS_ENDING)
        sess_end(s, NULL);
}
