/*
 * rebalance.c - heat of cores, smoothed and counted, and the move that relieves most
 *
 * A session's share of its core's busy time is not measured; it is taken to be its share of the work done there.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "balancer/rebalance.h"

#define WEIGHT       0.25 /* of a new second in what is smoothed: four or five make a new level */
#define COOL_PCT     10.0 /* below high_pct, before a hot core is not hot any more */
#define OFF_NODE_PCT 20.0 /* what a session on the wrong node is thought to suffer, in points of load */
#define BUSY_PCT     10.0 /* who has less of a core than this does not suffer from the wrong node */
#define IDLE_PCT     1.0  /* and who has less than this relieves nobody by going */
#define REST_S       60u
#define RESTS_MAX    4u /* doublings */
#define FORGET_S     1800u
#define MINUTE_S     60u

struct best {
    const struct bal_guest *guest;
    unsigned to;
    double relief, gain, share;
};

/* ---- taking in ------------------------------------------------------------------------------------------- */

static void smooth(double *v, double now, bool first)
{
    *v = first ? now : *v + (now - *v) * WEIGHT;
}

static void core_take(struct bal_heat *h, const struct bal_topo *topo, const struct bal_core *c, unsigned i,
                      bool first)
{
    const struct bal_pu *pu = topo ? bal_topo_pu(topo, c->cpu) : NULL;
    const unsigned used = c->busy_pct + c->host_pct;

    smooth(&h->used, used < 100 ? used : 100, first);
    smooth(&h->busy, c->busy_pct < 100 ? c->busy_pct : 100, first);
    h->rate = 0;
    h->whole = pu ? pu->core : UINT32_MAX - i;
    h->node = pu ? pu->node : 0;
    h->allowed = !topo || c->cpu < 0 || (pu && pu->allowed);
}

static void guest_take(struct bal_rebal *r, const struct bal_guest *g)
{
    struct bal_past *p = g->past;
    const bool first = !p->seen_s || g->work < p->work;

    assert(g->at < r->nr);
    smooth(&p->rate, first ? 0 : (double)(g->work - p->work), first);
    p->work = g->work;
    p->seen_s = r->now_s;
    r->core[g->at].rate += p->rate;
}

static bool siblings(const struct bal_heat *a, const struct bal_heat *b)
{
    return a != b && a->whole == b->whole;
}

static void effect_find(struct bal_rebal *r, unsigned i)
{
    struct bal_heat *h = &r->core[i];

    h->eff = h->used;
    for (unsigned k = 0; k < r->nr; k++)
        if (siblings(&r->core[k], h))
            h->eff += r->core[k].used / 2;
}

/* Percent of its core. */
static double share_of(const struct bal_rebal *r, const struct bal_guest *g)
{
    const struct bal_heat *h = &r->core[g->at];

    return h->rate > 0 ? h->busy * g->past->rate / h->rate : 0;
}

static bool off_node(const struct bal_rebal *r, const struct bal_guest *g, unsigned at)
{
    return g->node != BAL_NODE_ANY && r->core[at].node != (unsigned)g->node;
}

static bool suffers_node(const struct bal_rebal *r, const struct bal_guest *g, unsigned at)
{
    return off_node(r, g, at) && share_of(r, g) >= BUSY_PCT;
}

/* Some core is where it belongs: else there is nothing to be had by wishing. */
static bool node_is_there(const struct bal_rebal *r, const struct bal_guest *g)
{
    for (unsigned i = 0; g->node != BAL_NODE_ANY && i < r->nr; i++)
        if (r->core[i].allowed && r->core[i].node == (unsigned)g->node)
            return true;
    return false;
}

static bool may_move(const struct bal_rebal *r, const struct bal_guest *g)
{
    const struct bal_past *p = g->past;
    const unsigned rests = p->moves && p->moves - 1 < RESTS_MAX ? p->moves - 1 : RESTS_MAX;

    return !g->fixed && share_of(r, g) >= IDLE_PCT &&
           (!p->moves || r->now_s - p->moved_s >= (uint64_t)REST_S << rests);
}

static void count_heat(struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_guest *guests,
                       unsigned guests_nr)
{
    bool off[BAL_REBAL_CORES_MAX] = { false };

    for (unsigned i = 0; i < guests_nr; i++) {
        const struct bal_guest *g = &guests[i];

        if (!off[g->at] && suffers_node(r, g, g->at) && may_move(r, g) && node_is_there(r, g))
            off[g->at] = true;
    }
    for (unsigned i = 0; i < r->nr; i++) {
        struct bal_heat *h = &r->core[i];
        const double high = (double)conf->high_pct - (h->hot_s ? COOL_PCT : 0);

        h->hot_s = h->eff >= high ? h->hot_s + 1 : 0;
        h->off_s = off[i] ? h->off_s + 1 : 0;
    }
}

/* ---- choosing -------------------------------------------------------------------------------------------- */

/* What a session finds on @to, in points of load; its own included. */
static double place_cost(const struct bal_rebal *r, const struct bal_guest *g, unsigned to, double share)
{
    const struct bal_heat *h = &r->core[to], *now = &r->core[g->at];
    double cost = h->eff;

    if (to != g->at)
        cost += siblings(h, now) ? share / 2 : share; /* it leaves a sibling, which presses that much less */
    if (off_node(r, g, to))
        cost += OFF_NODE_PCT;
    return cost;
}

static bool is_possible(const struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_guest *g,
                        unsigned to)
{
    return to != g->at && r->core[to].allowed &&
           (conf->policy != BAL_NUMA || !off_node(r, g, to) || !node_is_there(r, g));
}

/* Who is there already must not be the worse for it: it stays below hot, or well below what is hot now. */
static bool is_bearable(const struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_guest *g,
                        unsigned to, double share)
{
    const double then = r->core[to].eff + (siblings(&r->core[to], &r->core[g->at]) ? share / 2 : share);

    return then < conf->high_pct || then <= r->core[g->at].eff - conf->gap_pct;
}

/* By how much the busier of the two cores becomes less busy, and what the session's node is worth to it. To choose by the
 * session's own gain would be to choose the smallest. */
static double relief_of(const struct bal_rebal *r, const struct bal_guest *g, unsigned to, double share)
{
    const double now = r->core[g->at].eff, left = now - share, there = r->core[to].eff + share;

    return now - (left > there ? left : there) + (off_node(r, g, g->at) ? OFF_NODE_PCT : 0) -
           (off_node(r, g, to) ? OFF_NODE_PCT : 0);
}

static void guest_try(const struct bal_rebal *r, const struct bal_rebal_conf *conf,
                      const struct bal_core *cores, const struct bal_guest *g, struct best *best)
{
    const double share = share_of(r, g), now = place_cost(r, g, g->at, share);
    bool best_used = false;
    unsigned to = r->nr;
    double cost = 0;

    for (unsigned i = 0; i < r->nr; i++) {
        /* To pack is to fill what is in use before a core is opened. */
        const bool used = conf->policy == BAL_PACK && cores[i].sessions;
        const double c = place_cost(r, g, i, share);

        if (!is_possible(r, conf, g, i) || !is_bearable(r, conf, g, i, share) || now - c < conf->gap_pct)
            continue;
        if (to == r->nr || (used && !best_used) || (used == best_used && c < cost)) {
            to = i;
            cost = c;
            best_used = used;
        }
    }
    if (to < r->nr && (!best->guest || relief_of(r, g, to, share) > best->relief))
        *best = (struct best){ g, to, relief_of(r, g, to, share), now - cost, share };
}

/* ---- words ----------------------------------------------------------------------------------------------- */

static void say_move(const struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_core *cores,
                     const struct best *b, char why[static BAL_TEXT_MAX])
{
    const struct bal_heat *from = &r->core[b->guest->at], *to = &r->core[b->to];
    const int a = cores[b->guest->at].cpu, z = cores[b->to].cpu;

    if (from->hot_s >= conf->sustain_s)
        snprintf(
            why, BAL_TEXT_MAX,
            "core %d is %.0f%% in use%s for %u s, core %d %.0f%%; %.0f%% of it is %.40s, which has it better "
            "there by %.0f points%s%.40s",
            a, from->used, from->eff > from->used ? " beside a busy SMT sibling" : "", from->hot_s, z, to->used,
            b->share, b->guest->name, b->gain,
            off_node(r, b->guest, b->guest->at) && !off_node(r, b->guest, b->to) ? ", and is on the node of "
                                                                                 : "",
            off_node(r, b->guest, b->guest->at) && !off_node(r, b->guest, b->to) && b->guest->what
                ? b->guest->what
                : "");
    else
        snprintf(why, BAL_TEXT_MAX,
                 "%.40s is on node %u for %u s, %.40s on node %d; core %d there is %.0f%% in use, and %.0f%% "
                 "of core "
                 "%d is to come",
                 b->guest->name, from->node, from->off_s, b->guest->what ? b->guest->what : "what it needs",
                 b->guest->node, z, to->used, b->share, a);
}

static void say_rest(const struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_core *cores,
                     char why[static BAL_TEXT_MAX])
{
    unsigned at = 0;

    for (unsigned i = 1; i < r->nr; i++)
        if (r->core[i].hot_s + r->core[i].off_s > r->core[at].hot_s + r->core[at].off_s)
            at = i;
    if (!r->core[at].hot_s && !r->core[at].off_s)
        snprintf(why, BAL_TEXT_MAX, "no core is hot, and no busy session is on the wrong node");
    else if (r->core[at].hot_s < conf->sustain_s && r->core[at].off_s < conf->sustain_s)
        snprintf(why, BAL_TEXT_MAX, "core %d is %s since %u s, of %u that it takes", cores[at].cpu,
                 r->core[at].hot_s ? "hot" : "on the wrong node for a session",
                 r->core[at].hot_s ? r->core[at].hot_s : r->core[at].off_s, conf->sustain_s);
    else
        snprintf(why, BAL_TEXT_MAX,
                 "core %d is %s, and no move would better it by %u points: pinned, at rest, or as "
                 "bad elsewhere",
                 cores[at].cpu, r->core[at].hot_s ? "hot" : "on the wrong node for a session", conf->gap_pct);
}

/* ---- a second -------------------------------------------------------------------------------------------- */

static bool budget_left(const struct bal_rebal *r, const struct bal_rebal_conf *conf)
{
    const unsigned budget = conf->budget < BAL_REBAL_BUDGET_MAX ? conf->budget : BAL_REBAL_BUDGET_MAX;

    if (!budget)
        return false;
    if (r->moved < budget)
        return true;
    return r->now_s - r->moved_s[(r->moved - budget) % BAL_REBAL_BUDGET_MAX] >= MINUTE_S;
}

/* As if it were done: what is smoothed would take seconds to see it, and propose more meanwhile. */
static void note_move(struct bal_rebal *r, const struct best *b)
{
    struct bal_heat *from = &r->core[b->guest->at], *to = &r->core[b->to];
    struct bal_past *p = b->guest->past;

    r->moved_s[r->moved++ % BAL_REBAL_BUDGET_MAX] = r->now_s;
    p->moves = p->moves && r->now_s - p->moved_s >= FORGET_S ? 1 : p->moves + 1;
    p->moved_s = r->now_s;
    from->used -= b->share;
    from->busy -= b->share;
    to->used += b->share;
    to->busy += b->share;
    from->hot_s = to->hot_s = from->off_s = 0;
}

bool bal_rebal_sample(struct bal_rebal *r, const struct bal_rebal_conf *conf, const struct bal_topo *topo,
                      const struct bal_core *cores, unsigned nr, const struct bal_guest *guests,
                      unsigned guests_nr, struct bal_move *out, char why[static BAL_TEXT_MAX])
{
    const bool first = r->nr != nr;
    struct best best = { 0 };

    assert(nr && nr <= BAL_REBAL_CORES_MAX);
    if (first)
        memset(r->core, 0, sizeof(r->core));
    r->now_s++;
    r->nr = nr;
    for (unsigned i = 0; i < nr; i++)
        core_take(&r->core[i], topo, &cores[i], i, first);
    for (unsigned i = 0; i < guests_nr; i++)
        guest_take(r, &guests[i]);
    for (unsigned i = 0; i < nr; i++)
        effect_find(r, i);
    count_heat(r, conf, guests, guests_nr);
    if (conf->policy == BAL_PINNED) {
        snprintf(why, BAL_TEXT_MAX, "policy pinned: nothing moves by itself");
        return false;
    }
    if (!budget_left(r, conf)) {
        snprintf(why, BAL_TEXT_MAX, "the budget of %u moves a minute is used up", conf->budget);
        return false;
    }
    for (unsigned i = 0; i < guests_nr; i++) {
        const struct bal_heat *h = &r->core[guests[i].at];

        if ((h->hot_s >= conf->sustain_s ||
             (h->off_s >= conf->sustain_s && suffers_node(r, &guests[i], guests[i].at))) &&
            may_move(r, &guests[i]))
            guest_try(r, conf, cores, &guests[i], &best);
    }
    if (!best.guest) {
        say_rest(r, conf, cores, why);
        return false;
    }
    *out = (struct bal_move){ .guest = (unsigned)(best.guest - guests), .from = best.guest->at, .to = best.to };
    say_move(r, conf, cores, &best, out->why);
    note_move(r, &best);
    return true;
}
