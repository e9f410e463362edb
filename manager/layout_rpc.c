/*
 * layout_rpc.c - methods that look at the layout and change it, one session at a time
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"
#include "manager/param.h"
#include "rpc/json.h"

#define EXPLAIN_LAST     16 /* entries that 'explain' tells, if nobody says how many */
#define EXPLAIN_LAST_MAX 1000

static const struct param no_params[] = { { 0 } };

/* ---- show ------------------------------------------------------------------------------------------------ */

/* What is known of a session on its core alone. */
struct look {
    struct hop hop;
    struct show *show;
    struct sess *sess;
    bool known;
    enum ini_state state;
    const char *transport;
    uint32_t in_flight;
};

struct show {
    struct mgr *mgr;
    struct rpc_call *call;
    unsigned left, nr;
    struct look looks[];
};

static void topo_set(const struct bal_topo *topo, json_t *o, int cpu)
{
    const struct bal_pu *all, *pu = topo ? bal_topo_pu(topo, cpu) : NULL;
    const unsigned nr = topo ? bal_topo_pus(topo, &all) : 0;
    json_t *siblings = json_array();

    if (pu) {
        json_object_set_new(o, "package", json_integer(pu->package));
        json_object_set_new(o, "node", json_integer(pu->node));
        json_object_set_new(o, "cache", json_integer(pu->cache));
        json_object_set_new(o, "whole_core", json_integer(pu->core));
        json_object_set_new(o, "isolated", json_boolean(pu->isolated));
        for (unsigned i = 0; i < nr; i++)
            if (all[i].core == pu->core && all[i].cpu != cpu)
                json_array_append_new(siblings, json_integer(all[i].cpu));
    }
    json_object_set_new(o, "siblings", siblings);
}

static json_t *core_json(struct mgr *m, unsigned i)
{
    struct rt *rt = rt_host_at(m->host, i);
    json_t *names = json_array(), *o;
    struct bal_share share;

    bal_load_share(m->load, i, &share);
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->rt == rt)
            json_array_append_new(names, json_string(s->name));
    }
    o = json_pack("{s:i, s:s, s:f, s:f, s:f, s:f, s:o}", "core", rt_core(rt), "mode",
                  mgr_mode_word(rt_mode(rt)), "busy", share.busy, "poll", share.poll, "sleep", share.sleep,
                  "host", share.host, "sessions", names);
    topo_set(m->topo, o, rt_core(rt));
    return o;
}

static json_t *disks_of(const struct sess *s)
{
    json_t *names = json_array();

    rt_list_for (l, &s->mgr->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        rt_list_for (lp, &a->paths)
            if (rt_list_entry(lp, struct path, link)->sess == s)
                json_array_append_new(names, json_string(a->spec.name));
    }
    return names;
}

/* Who it is, where it is and whether it stays there. */
static json_t *place_json(const struct sess *s)
{
    const struct layout_pin *p;
    struct bal_seat seat;
    json_t *o;

    layout_seat(s, &seat);
    p = s->settler ? NULL : layout_pin_of(s->mgr, &seat);
    o = json_pack("{s:s, s:i, s:s, s:s, s:i, s:i, s:b, s:s}", "name", s->name, "id", (int)s->id, "target",
                  s->wish.iqn, "portal", s->portal, "index", (int)s->index, "core", s->core, "pinned",
                  p != NULL, "why", s->why_core);
    if (p)
        json_object_set_new(o, "pin", json_integer(p->seat.cpu));
    if (*s->nic)
        json_object_set_new(o, "nic", json_string(s->nic));
    if (s->node != BAL_NODE_ANY)
        json_object_set_new(o, "node", json_integer(s->node));
    return o;
}

static json_t *look_json(const struct look *k)
{
    json_t *o = place_json(k->sess);

    json_object_set_new(o, "disks", disks_of(k->sess));
    json_object_set_new(o, "state", json_string(k->known ? ini_state_name(k->state) : "LOGIN"));
    json_object_set_new(o, "transport", json_string(k->known && k->transport ? k->transport : ""));
    json_object_set_new(o, "in_flight", json_integer(k->in_flight));
    json_object_set_new(o, "moving", json_boolean(k->sess->move));
    return o;
}

static json_t *totals_json(const struct mgr *m)
{
    const unsigned nr = rt_host_count(m->host);
    double sum = 0, most = 0, least = 1;
    struct bal_core cores[RT_CORES_MAX];
    unsigned sessions = 0, idle = 0;
    struct bal_share share;

    rt_list_for (l, &m->sessions)
        sessions += rt_list_entry(l, struct sess, link)->state != SESS_ENDING;
    layout_cores(m, NULL, cores);
    for (unsigned i = 0; i < nr; i++) {
        bal_load_share(m->load, i, &share);
        sum += share.busy;
        most = share.busy > most ? share.busy : most;
        least = share.busy < least ? share.busy : least;
        idle += !cores[i].sessions;
    }
    return json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "cores", (int)nr, "cores_free", (int)idle,
                     "sessions", (int)sessions, "busy", sum / nr, "busy_max", most, "busy_min", least,
                     "imbalance", most - least);
}

static void show_over(struct show *sh)
{
    const uint64_t losses = rpc_json_losses();
    const struct layout *l = sh->mgr->layout;
    json_t *cores = json_array(), *sessions = json_array();
    const struct bal_pu *pus;

    for (unsigned i = 0; i < rt_host_count(sh->mgr->host); i++)
        json_array_append_new(cores, core_json(sh->mgr, i));
    for (unsigned i = 0; i < sh->nr; i++) {
        json_array_append_new(sessions, look_json(&sh->looks[i]));
        sess_put(sh->looks[i].sess);
    }
    rpc_reply_whole(sh->call,
                    json_pack("{s:o, s:o, s:s, s:s, s:i, s:i, s:o}", "cores", cores, "sessions", sessions,
                              "policy", bal_policy_names[l->policy], "rebalance", bal_auto_names[l->rebalance],
                              "budget", (int)l->budget, "cpus",
                              sh->mgr->topo ? (int)bal_topo_pus(sh->mgr->topo, &pus) : 0, "totals",
                              totals_json(sh->mgr)),
                    losses);
    free(sh);
}

static void look_back(struct hop *h)
{
    struct look *k = container_of(h, struct look, hop);

    if (!--k->show->left)
        show_over(k->show);
}

static void look_run(struct hop *h)
{
    struct look *k = container_of(h, struct look, hop);
    struct ini_sess_info info;

    if (k->sess->ini) {
        ini_sess_info(k->sess->ini, &info);
        k->known = true;
        k->state = info.state;
        k->transport = info.transport;
        k->in_flight = info.in_flight;
    }
    hop_back(h);
}

void do_layout_show(void *user, struct rpc_call *call, json_t *params)
{
    struct mgr *m = user;
    struct show *sh;
    unsigned nr = 0;

    if (!param_check(call, params, no_params))
        return;
    rt_list_for (l, &m->sessions)
        nr++;
    if (!(sh = calloc(1, sizeof(*sh) + nr * sizeof(sh->looks[0])))) {
        rpc_fail(call, RPC_INTERNAL, "no memory for the listing");
        return;
    }
    sh->mgr = m;
    sh->call = call;
    sh->left = 1;
    rt_list_for (l, &m->sessions) {
        struct look *k = &sh->looks[sh->nr++];

        k->show = sh;
        k->sess = rt_list_entry(l, struct sess, link);
        sess_hold(k->sess);
        sh->left++;
        sess_go(k->sess, &k->hop, look_run, look_back);
    }
    if (!--sh->left)
        show_over(sh);
}

/* ---- explain --------------------------------------------------------------------------------------------- */

struct explain {
    struct mgr *mgr;
    struct rpc_call *call;
    struct bal_seat seat;
    char portal[ISCSI_PORTAL_STR_MAX];
    struct journal_find find;
};

/* On a helper thread. */
static bool explain_match(const json_t *entry, const void *arg)
{
    const struct explain *x = arg;
    const char *target = json_string_value(json_object_get(entry, "target"));
    const char *portal = json_string_value(json_object_get(entry, "portal"));
    const json_t *index = json_object_get(entry, "index");

    return target && portal && json_is_integer(index) &&
           json_integer_value(index) == (json_int_t)x->seat.index && !strcmp(portal, x->portal) &&
           !strcmp(target, x->seat.target);
}

static void explain_over(struct journal_find *f)
{
    struct explain *x = container_of(f, struct explain, find);
    const uint64_t losses = rpc_json_losses();
    const struct sess *s = layout_sess_of(x->mgr, &x->seat);
    json_t *who = s ? place_json(s)
                    : json_pack("{s:s, s:s, s:i}", "target", x->seat.target, "portal", x->portal, "index",
                                (int)x->seat.index);

    if (f->found)
        rpc_reply_whole(x->call, json_pack("{s:o, s:o}", "session", who, "entries", f->found), losses);
    else
        rpc_fail(x->call, RPC_INTERNAL, "no memory to read the journal");
    if (!f->found)
        json_decref(who);
    free(x);
}

void do_layout_explain(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("session", .needed = true),
        PARAM_INT("last", 1, EXPLAIN_LAST_MAX),
        { 0 },
    };
    const char *name = param_text(params, "session");
    char why[MGR_WHY_MAX];
    struct explain *x;
    struct sess *s;

    if (!param_check(call, params, list))
        return;
    if (!(x = calloc(1, sizeof(*x)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    if ((s = layout_find(user, name, why)))
        layout_seat(s, &x->seat);
    else if (!layout_seat_of(name, &x->seat)) { /* of one that is gone the journal knows still */
        rpc_fail(call, RPC_FAILED, "%s", why);
        free(x);
        return;
    }
    x->mgr = user;
    x->call = call;
    iscsi_portal_format(&x->seat.portal, x->portal);
    x->find.match = explain_match;
    x->find.arg = x;
    x->find.last = (size_t)param_int(params, "last", EXPLAIN_LAST);
    x->find.done = explain_over;
    journal_find(x->mgr->layout->journal, &x->find);
}

/* ---- move, pin, unpin ------------------------------------------------------------------------------------ */

struct mover {
    struct move mv;
    struct rpc_call *call;
    bool pinned;
};

static void mover_over(struct move *mv)
{
    struct mover *o = container_of(mv, struct mover, mv);
    const uint64_t losses = rpc_json_losses();

    if (mv->err)
        rpc_fail(o->call, RPC_FAILED, "%s stays on core %d%s: %s", mv->sess->name, mv->from,
                 o->pinned ? " (its pin holds from its next login on)" : "", mv->why);
    else
        rpc_reply_whole(o->call,
                        json_pack("{s:s, s:i, s:i, s:I, s:b, s:b}", "session", mv->sess->name, "from", mv->from,
                                  "core", mv->sess->core, "pause_us", (json_int_t)(mv->pause_ns / RT_US),
                                  "moved", 1, "pinned", (int)o->pinned),
                        losses);
    free(o);
}

/* Answers the call, now or when it is there. */
static void mover_go(struct rpc_call *call, struct sess *s, struct rt *to, uint64_t limit_ms, bool pinned)
{
    struct mover *o = calloc(1, sizeof(*o));
    const char *wrong;

    if (!o) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    o->call = call;
    o->pinned = pinned;
    o->mv = (struct move){
        .sess = s, .to = to, .limit_ns = limit_ms * RT_MS, .by = pinned ? "pin" : "request", .done = mover_over
    };
    if (!(wrong = move_begin(&o->mv)))
        return;
    rpc_fail(call, RPC_FAILED, "%s is not moved to core %d: %s", s->name, rt_core(to), wrong);
    free(o);
}

/* The session and the core that are asked for. Answers the call and returns NULL unless there are both. */
static struct rt *seat_take(struct mgr *m, struct rpc_call *call, const json_t *params, struct sess **s,
                            struct bal_seat *seat)
{
    char why[MGR_WHY_MAX];
    struct rt *to;

    if (!(*s = layout_find(m, param_text(params, "session"), why)) ||
        !(to = layout_reactor(m, (int)param_int(params, "core", 0), why))) {
        rpc_fail(call, RPC_FAILED, "%s", why);
        return NULL;
    }
    layout_seat(*s, seat);
    return to;
}

void do_layout_move(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("session", .needed = true),
        PARAM_INT("core", 0, 65535, .needed = true),
        PARAM_INT("limit_ms", 1, 60000),
        { 0 },
    };
    const struct layout_pin *pin;
    struct bal_seat seat;
    struct sess *s;
    struct rt *to;

    if (!param_check(call, params, list))
        return;
    if (!(to = seat_take(user, call, params, &s, &seat)))
        return;
    if ((pin = layout_pin_of(user, &seat)) && pin->seat.cpu != rt_core(to)) {
        rpc_fail(call, RPC_FAILED,
                 "%s is pinned to core %d: 'corelane layout pin %s %d' pins it there instead, 'corelane layout "
                 "unpin %s' "
                 "lets it go",
                 s->name, pin->seat.cpu, s->name, rt_core(to), s->name);
        return;
    }
    mover_go(call, s, to, (uint64_t)param_int(params, "limit_ms", MOVE_LIMIT_MS), false);
}

static void pin_reply(struct rpc_call *call, const struct sess *s, bool pinned)
{
    const uint64_t losses = rpc_json_losses();

    rpc_reply_whole(call,
                    json_pack("{s:s, s:i, s:b, s:b}", "session", s->name, "core", s->core, "pinned",
                              (int)pinned, "moved", 0),
                    losses);
}

void do_layout_pin(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("session", .needed = true),
        PARAM_INT("core", 0, 65535, .needed = true),
        PARAM_BOOL("no_move"),
        PARAM_INT("limit_ms", 1, 60000),
        { 0 },
    };
    char words[64];
    struct bal_seat seat;
    struct sess *s;
    struct rt *to;

    if (!param_check(call, params, list))
        return;
    if (!(to = seat_take(user, call, params, &s, &seat)))
        return;
    seat.cpu = rt_core(to);
    if (layout_pin(user, &seat)) {
        rpc_fail(call, RPC_INTERNAL, "no room for one more pin");
        return;
    }
    layout_save(user);
    snprintf(words, sizeof(words), "pinned to core %d", seat.cpu);
    layout_told(s, "pinned", "request", s->core, s->core, UINT64_MAX, words, NULL);
    if (s->rt == to || s->state != SESS_UP || param_flag(params, "no_move"))
        pin_reply(call, s, true); /* who is not up yet comes there by itself, or with its next login */
    else
        mover_go(call, s, to, (uint64_t)param_int(params, "limit_ms", MOVE_LIMIT_MS), true);
}

void do_layout_unpin(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("session", .needed = true), { 0 } };
    const char *name = param_text(params, "session");
    struct layout_pin *pin;
    char why[MGR_WHY_MAX];
    struct bal_seat seat;
    struct sess *s;

    if (!param_check(call, params, list))
        return;
    if ((s = layout_find(user, name, why)))
        layout_seat(s, &seat);
    else if (!layout_seat_of(name, &seat)) { /* the pin of a session that is gone */
        rpc_fail(call, RPC_FAILED, "%s", why);
        return;
    }
    if (!(pin = layout_pin_of(user, &seat))) {
        rpc_fail(call, RPC_FAILED, "%.300s is not pinned: 'corelane layout show' marks those that are", name);
        return;
    }
    layout_unpin(user, pin);
    layout_save(user);
    if (!s) {
        rpc_reply(call, NULL);
        return;
    }
    layout_told(s, "unpinned", "request", s->core, s->core, UINT64_MAX, "free to be moved", NULL);
    pin_reply(call, s, false);
}

/* ---- policy ---------------------------------------------------------------------------------------------- */

void do_layout_policy(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("policy"), { 0 } };
    const char *word = param_text(params, "policy");
    const uint64_t losses = rpc_json_losses();
    const bool set = param_given(params, "policy");
    struct mgr *m = user;
    int at = 0;

    if (!param_check(call, params, list))
        return;
    while (set && bal_policy_names[at] && strcmp(bal_policy_names[at], word))
        at++;
    if (set && !bal_policy_names[at]) {
        rpc_fail(call, RPC_INVALID_PARAMS, "policy '%.32s': one of free-core, numa, pinned, spread, pack",
                 word);
        return;
    }
    if (set) {
        m->layout->policy = (enum bal_policy)at;
        layout_save(m);
    }
    rpc_reply_whole(call, json_pack("{s:s}", "policy", bal_policy_names[m->layout->policy]), losses);
}
