/*
 * rebalance.c - once a second: should a session move? Told as advice, or done
 *
 * What to move is balancer/rebalance.c's judgement; here is what it judges by. How much a session does is known on its core
 * alone, and asked for only while some core has work: an idle host's reactors sleep on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/rebalance.h"
#include "manager/layout.h"
#include "manager/param.h"
#include "rpc/json.h"

#define SAMPLE_NS      RT_S
#define WARM_PCT       40u /* from here on it is worth asking sessions how much they do */
#define ADVICE_MAX     32u
#define BYTES_PER_WORK 16384u /* so many count as much as one command */

struct advice {
    uint64_t t_s;
    unsigned id; /* of the session */
    char session[16], why[BAL_TEXT_MAX];
    int from, to;
    unsigned times; /* that it was given in a row */
};

struct rebalance {
    struct mgr *mgr;
    struct rt_timer timer;
    unsigned left; /* sessions that are being asked */
    bool stopped, warm;
    struct bal_rebal past;
    char why[BAL_TEXT_MAX]; /* why nothing should move now */

    struct advice advice[ADVICE_MAX]; /* a ring */
    unsigned advice_nr;               /* ever */
    struct move mv;                   /* the one under way */
    bool moving;
    char reason[BAL_TEXT_MAX]; /* of it */
};

/* ---- what is to be done ---------------------------------------------------------------------------------- */

static void rebalanced(struct move *mv)
{
    struct rebalance *r = container_of(mv, struct rebalance, mv);

    r->moving = false;
    if (mv->err)
        rt_log(RT_NOTICE, "session %s was to move to core %d and stays: %s", mv->sess->name, rt_core(mv->to),
               mv->why);
}

static void do_it(struct rebalance *r, struct sess *s, const struct bal_move *b)
{
    const char *wrong;

    if (r->moving)
        return;
    snprintf(r->reason, sizeof(r->reason), "%s", b->why);
    r->mv = (struct move){ .sess = s,
                           .to = rt_host_at(r->mgr->host, b->to),
                           .limit_ns = MOVE_LIMIT_MS * RT_MS,
                           .by = "rebalance",
                           .reason = r->reason,
                           .done = rebalanced };
    r->moving = true;
    if ((wrong = move_begin(&r->mv))) {
        r->moving = false;
        rt_log(RT_NOTICE, "session %s was to move to core %d and stays: %s", s->name, rt_core(r->mv.to), wrong);
    }
}

/* The same advice again is one, or a log would be full of it. */
static void say_it(struct rebalance *r, const struct sess *s, const struct bal_move *b)
{
    const int from = rt_core(rt_host_at(r->mgr->host, b->from)), to = rt_core(rt_host_at(r->mgr->host, b->to));
    struct advice *last = r->advice_nr ? &r->advice[(r->advice_nr - 1) % ADVICE_MAX] : NULL;
    char why[BAL_TEXT_MAX];

    if (last && last->id == s->id && last->from == from && last->to == to) {
        last->t_s = rt_wall_s(r->mgr->rt);
        last->times++;
        return;
    }
    last = &r->advice[r->advice_nr++ % ADVICE_MAX];
    *last = (struct advice){ .t_s = rt_wall_s(r->mgr->rt), .id = s->id, .from = from, .to = to, .times = 1 };
    snprintf(last->session, sizeof(last->session), "%s", s->name);
    snprintf(last->why, sizeof(last->why), "%s", b->why);
    snprintf(why, sizeof(why), "to core %d: %.220s", to, b->why);
    layout_told(s, "advised", "rebalance", s->core, s->core, UINT64_MAX, why, layout_verdicts(s, -1));
    rt_log(RT_NOTICE, "%s: session %s would do better on core %d than on %d: %s ('corelane layout move %s %d')",
           s->wish.iqn, s->name, to, from, b->why, s->name, to);
}

/* ---- once a second --------------------------------------------------------------------------------------- */

static bool is_guest(const struct sess *s)
{
    return !s->settler && s->core >= 0 && s->state == SESS_UP;
}

static struct bal_guest guest_of(struct sess *s)
{
    struct bal_seat seat;

    layout_seat(s, &seat);
    return (struct bal_guest){
        .past = &s->past,
        .name = s->name,
        .at = rt_index(s->rt),
        .work = s->work,
        .node = s->node,
        .what = *s->nic ? s->nic : NULL,
        .fixed = s->move || s->away || layout_pin_of(s->mgr, &seat),
    };
}

static void judge(struct rebalance *r)
{
    struct mgr *m = r->mgr;
    struct bal_rebal_conf conf = BAL_REBAL_DEFAULT;
    const unsigned nr = rt_host_count(m->host);
    struct bal_core *cores = calloc(nr, sizeof(*cores));
    struct bal_guest *guests;
    struct sess **who;
    struct bal_move b;
    unsigned guests_nr = 0, room = 1;

    rt_list_for (l, &m->sessions)
        room++;
    guests = calloc(room, sizeof(*guests));
    who = calloc(room, sizeof(*who));
    if (cores && guests && who) {
        rt_list_for (l, &m->sessions) {
            struct sess *s = rt_list_entry(l, struct sess, link);

            if (!is_guest(s))
                continue;
            who[guests_nr] = s;
            guests[guests_nr++] = guest_of(s);
        }
        layout_cores(m, NULL, cores);
        conf.policy = m->layout->policy;
        conf.budget = m->layout->budget;
        if (bal_rebal_sample(&r->past, &conf, m->topo, cores, nr, guests, guests_nr, &b, r->why)) {
            if (m->layout->rebalance == BAL_AUTO_ON)
                do_it(r, who[b.guest], &b);
            else
                say_it(r, who[b.guest], &b);
        }
    }
    free(cores);
    free(guests);
    free(who);
}

/* On its core. */
static void work_run(struct hop *h)
{
    struct sess *s = container_of(h, struct sess, sample);
    struct ini_sess_info info;

    if (s->ini) {
        ini_sess_info(s->ini, &info);
        s->work = info.commands + (info.read_bytes + info.write_bytes) / BYTES_PER_WORK;
    }
    hop_back(h);
}

static void answered(struct rebalance *r)
{
    if (!--r->left && !r->stopped)
        judge(r);
}

static void work_back(struct hop *h)
{
    struct sess *s = container_of(h, struct sess, sample);
    struct rebalance *r = s->mgr->layout->auto_moves;

    sess_put(s);
    answered(r);
}

static bool is_warm(const struct mgr *m)
{
    for (unsigned i = 0; i < rt_host_count(m->host); i++) {
        const struct bal_core c = bal_load_core(m->load, i);

        if (c.busy_pct + c.host_pct >= WARM_PCT)
            return true;
    }
    return false;
}

/* What a session did since it was last asked is not the work of one second. */
static void rates_forget(struct mgr *m)
{
    rt_list_for (l, &m->sessions)
        rt_list_entry(l, struct sess, link)->past.seen_s = 0;
}

static void sample_fired(struct rt_timer *t)
{
    struct rebalance *r = container_of(t, struct rebalance, timer);
    struct mgr *m = r->mgr;
    bool warm;

    rt_timer_arm(m->rt, &r->timer, SAMPLE_NS);
    if (m->layout->rebalance == BAL_AUTO_OFF || rt_host_count(m->host) < 2 || r->left)
        return;
    r->left = 1;
    warm = is_warm(m);
    if (warm && !r->warm)
        rates_forget(m);
    r->warm = warm;
    if (warm) {
        rt_list_for (l, &m->sessions) {
            struct sess *s = rt_list_entry(l, struct sess, link);

            if (!is_guest(s) || s->away)
                continue;
            sess_hold(s);
            r->left++;
            sess_go(s, &s->sample, work_run, work_back);
        }
    }
    answered(r);
}

int rebalance_new(struct mgr *m)
{
    struct rebalance *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->mgr = m;
    r->timer.fn = sample_fired;
    snprintf(r->why, sizeof(r->why), "nothing was measured yet");
    rt_timer_arm(m->rt, &r->timer, SAMPLE_NS);
    m->layout->auto_moves = r;
    return 0;
}

void rebalance_stop(struct rebalance *r)
{
    rt_timer_disarm(r->mgr->rt, &r->timer);
    r->stopped = true;
}

void rebalance_free(struct rebalance *r)
{
    if (!r)
        return;
    rt_timer_disarm(r->mgr->rt, &r->timer);
    free(r);
}

/* ---- methods --------------------------------------------------------------------------------------------- */

static json_t *settings_json(const struct mgr *m)
{
    const struct layout *l = m->layout;

    return json_pack("{s:s, s:i, s:s}", "mode", bal_auto_names[l->rebalance], "budget", (int)l->budget, "why",
                     l->rebalance == BAL_AUTO_OFF ? "it is switched off" : l->auto_moves->why);
}

void do_layout_rebalance(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("mode"), PARAM_INT("budget", 1, BAL_BUDGET_MAX), { 0 } };
    const char *word = param_text(params, "mode");
    const uint64_t losses = rpc_json_losses();
    struct mgr *m = user;
    const bool set = param_given(params, "mode");
    struct layout *l = m->layout;
    int at = 0;

    if (!param_check(call, params, list))
        return;
    while (set && bal_auto_names[at] && strcmp(bal_auto_names[at], word))
        at++;
    if (set && !bal_auto_names[at]) {
        rpc_fail(call, RPC_INVALID_PARAMS, "mode '%.32s': one of off, on, advise", word);
        return;
    }
    if (set)
        l->rebalance = (enum bal_auto)at;
    l->budget = (unsigned)param_int(params, "budget", l->budget);
    if (set || param_given(params, "budget"))
        layout_save(m);
    rpc_reply_whole(call, settings_json(m), losses);
}

void do_layout_advice(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { { 0 } };
    const uint64_t losses = rpc_json_losses();
    struct mgr *m = user;
    const struct rebalance *r = m->layout->auto_moves;
    const unsigned nr = r->advice_nr < ADVICE_MAX ? r->advice_nr : ADVICE_MAX;
    json_t *o, *all = json_array();

    if (!param_check(call, params, list)) {
        json_decref(all);
        return;
    }
    for (unsigned i = r->advice_nr - nr; i != r->advice_nr; i++) {
        const struct advice *a = &r->advice[i % ADVICE_MAX];
        const struct sess *s = sess_find(m, a->id);

        json_array_append_new(all, json_pack("{s:I, s:s, s:i, s:i, s:i, s:s, s:b}", "t", (json_int_t)a->t_s,
                                             "session", a->session, "from", a->from, "to", a->to, "times",
                                             (int)a->times, "why", a->why, "stands",
                                             (int)(s && s->core == a->from)));
    }
    o = settings_json(m);
    json_object_set_new(o, "advice", all);
    rpc_reply_whole(call, o, losses);
}
