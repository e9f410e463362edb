/*
 * place.c - the choice of a core: criteria in a policy's order, compared one after another
 *
 * A criterion is a number for each candidate, lower is better, and words for who loses by it. A policy is a row of
 * criteria; what is equal in all of them is decided by the order of the candidates, so that the same host lays its sessions
 * out the same way each time. The score holds each criterion's rank among the candidates, the weightiest on top.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/place.h"

#define CORES_MAX 1024u /* as many as there are reactors */
/* Percentage points. An idle core's share of a second wavers by a few; what is within this of the least busy counts as
 * equally busy. */
#define BUSY_NOISE_PCT 10u
/* A core used so far is no place for more, free of sessions or not, while another is used less than half; when all are busy
 * the sessions decide. */
#define FULL_PCT  90u
#define HALF_PCT  50u
#define BEARS_PCT 70u /* pack: below this a core bears another session */

const char *const bal_policy_names[] = { "free-core", "numa", "pinned", "spread", "pack", NULL };

/* ---- candidates ------------------------------------------------------------------------------------------ */

enum crit {
    CRIT_FULL,     /* used to FULL_PCT, and another is not to HALF_PCT */
    CRIT_SESSIONS, /* on this CPU */
    CRIT_SIBLINGS, /* sessions on the others of its whole core */
    CRIT_NODE,     /* 0: wanted; 1: another of the same package; 2: farther */
    CRIT_LEVEL,    /* steps of use above the least used */
    CRIT_PACKAGE,  /* sessions for each core of the package; likewise node, cache and whole core */
    CRIT_MEMORY,
    CRIT_CACHE,
    CRIT_CORE,
    CRIT_BEARS, /* used to BEARS_PCT */
    CRIT_COMPANY, /* where the nearest session is: 0: on it, 1: its whole core, 2: cache, 3: package, 4: none of these */
    CRIT_FEWER, /* sessions it has less than the one that has most */
    CRITS,
};

struct cand {
    const struct bal_core *core;
    unsigned whole, cache, node, package; /* as struct bal_pu has them */
    unsigned used;                        /* percent, by whomever */
    bool possible;
    uint32_t val[CRITS];
    uint64_t score;
};

struct choice {
    const struct bal_ask *ask;
    struct cand cand[CORES_MAX];
    unsigned nr, possible;
    int wanted_package; /* of the wanted node; -1: unknown */
    unsigned wanted_nr; /* possible candidates on it */
    unsigned least_used, most_sessions;
    const struct cand *best;
};

struct text {
    char *to;
    size_t len, max;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->to + t->len, t->max - t->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        t->len = t->len + (size_t)n < t->max ? t->len + (size_t)n : t->max - 1;
}

static const char *s_of(unsigned n)
{
    return n == 1 ? "" : "s";
}

/* What the wanted node is that of. */
static const char *what_of(const struct choice *ch)
{
    return ch->ask->what ? ch->ask->what : "what it needs";
}

static bool wants_node(const struct choice *ch)
{
    return ch->ask->node != BAL_NODE_ANY;
}

static bool on_wanted(const struct choice *ch, const struct cand *c)
{
    return (int)c->node == ch->ask->node;
}

/* ---- criteria -------------------------------------------------------------------------------------------- */

static bool same_whole(const struct cand *a, const struct cand *b)
{
    return a->whole == b->whole;
}

static bool same_cache(const struct cand *a, const struct cand *b)
{
    return a->cache == b->cache;
}

static bool same_node(const struct cand *a, const struct cand *b)
{
    return a->node == b->node;
}

static bool same_package(const struct cand *a, const struct cand *b)
{
    return a->package == b->package;
}

typedef bool same_fn(const struct cand *a, const struct cand *b);

static unsigned sessions_around(const struct choice *ch, const struct cand *c, same_fn *same, unsigned *cores)
{
    unsigned sum = 0;

    *cores = 0;
    for (unsigned i = 0; i < ch->nr; i++)
        if (same(&ch->cand[i], c)) {
            sum += ch->cand[i].core->sessions;
            ++*cores;
        }
    return sum;
}

/* In thousandths of a session for each core, as groups may be of different size. */
static uint32_t crowd(const struct choice *ch, const struct cand *c, same_fn *same)
{
    unsigned cores;
    const unsigned sum = sessions_around(ch, c, same, &cores);

    return (uint32_t)((uint64_t)sum * 1000 / cores);
}

static uint32_t crit_full(const struct choice *ch, const struct cand *c)
{
    return c->used >= FULL_PCT && ch->least_used < HALF_PCT;
}

static uint32_t crit_sessions(const struct choice *ch, const struct cand *c)
{
    return c->core->sessions;
}

static uint32_t crit_siblings(const struct choice *ch, const struct cand *c)
{
    unsigned cores;

    return sessions_around(ch, c, same_whole, &cores) - c->core->sessions;
}

static uint32_t crit_node(const struct choice *ch, const struct cand *c)
{
    return !wants_node(ch) || on_wanted(ch, c) ? 0 : (int)c->package == ch->wanted_package ? 1 : 2;
}

static uint32_t crit_level(const struct choice *ch, const struct cand *c)
{
    return c->used > ch->least_used ? (c->used - ch->least_used) / (BUSY_NOISE_PCT + 1) : 0;
}

static uint32_t crit_package(const struct choice *ch, const struct cand *c)
{
    return crowd(ch, c, same_package);
}

static uint32_t crit_memory(const struct choice *ch, const struct cand *c)
{
    return crowd(ch, c, same_node);
}

static uint32_t crit_cache(const struct choice *ch, const struct cand *c)
{
    return crowd(ch, c, same_cache);
}

static uint32_t crit_core(const struct choice *ch, const struct cand *c)
{
    return crowd(ch, c, same_whole);
}

static uint32_t crit_bears(const struct choice *ch, const struct cand *c)
{
    return c->used >= BEARS_PCT;
}

/* With nobody who bears it company is no advantage. */
static uint32_t crit_company(const struct choice *ch, const struct cand *c)
{
    static same_fn *const near[] = { same_whole, same_cache, same_package };
    unsigned cores;

    if (c->core->sessions || crit_bears(ch, c))
        return 0;
    for (unsigned i = 0; i < sizeof(near) / sizeof(near[0]); i++)
        if (sessions_around(ch, c, near[i], &cores))
            return i + 1;
    return 4;
}

static uint32_t crit_fewer(const struct choice *ch, const struct cand *c)
{
    return crit_bears(ch, c) ? 0 : ch->most_sessions - c->core->sessions;
}

/* ---- why one lost ---------------------------------------------------------------------------------------- */

static void lost_full(const struct choice *ch, const struct cand *c, struct text *t)
{
    say(t, "%u%% of it is in use, core %d has room", c->used, ch->best->core->cpu);
}

static void lost_sessions(const struct choice *ch, const struct cand *c, struct text *t)
{
    say(t, "%u session%s, core %d has %u", c->core->sessions, s_of(c->core->sessions), ch->best->core->cpu,
        ch->best->core->sessions);
}

static void lost_siblings(const struct choice *ch, const struct cand *c, struct text *t)
{
    say(t, "%u session%s on its SMT sibling, on that of core %d %u", c->val[CRIT_SIBLINGS],
        s_of(c->val[CRIT_SIBLINGS]), ch->best->core->cpu, ch->best->val[CRIT_SIBLINGS]);
}

static void lost_node(const struct choice *ch, const struct cand *c, struct text *t)
{
    if (on_wanted(ch, ch->best))
        say(t, "node %u, core %d is on node %d as %.40s is", c->node, ch->best->core->cpu, ch->ask->node,
            what_of(ch));
    else
        say(t, "node %u, core %d is nearer to node %d, where %.40s is", c->node, ch->best->core->cpu,
            ch->ask->node, what_of(ch));
}

static void lost_level(const struct choice *ch, const struct cand *c, struct text *t)
{
    say(t, "%u%% busy, core %d %u%%", c->used, ch->best->core->cpu, ch->best->used);
}

static void lost_crowd(const struct choice *ch, const struct cand *c, struct text *t, same_fn *same,
                       const char *what)
{
    unsigned cores, best_cores;
    const unsigned sum = sessions_around(ch, c, same, &cores);
    const unsigned best = sessions_around(ch, ch->best, same, &best_cores);

    say(t, "%u session%s on the %u core%s of its %s, %u on the %u of core %d's", sum, s_of(sum), cores,
        s_of(cores), what, best, best_cores, ch->best->core->cpu);
}

static void lost_package(const struct choice *ch, const struct cand *c, struct text *t)
{
    lost_crowd(ch, c, t, same_package, "package");
}

static void lost_memory(const struct choice *ch, const struct cand *c, struct text *t)
{
    lost_crowd(ch, c, t, same_node, "node");
}

static void lost_cache(const struct choice *ch, const struct cand *c, struct text *t)
{
    lost_crowd(ch, c, t, same_cache, "cache");
}

static void lost_core(const struct choice *ch, const struct cand *c, struct text *t)
{
    lost_crowd(ch, c, t, same_whole, "whole core");
}

static void lost_bears(const struct choice *ch, const struct cand *c, struct text *t)
{
    say(t, "%u%% of it is in use: it bears no more, core %d does", c->used, ch->best->core->cpu);
}

static void lost_company(const struct choice *ch, const struct cand *c, struct text *t)
{
    static const char *const near[] = { "on core", "on the whole core of core", "at the cache of core",
                                        "on the package of core" };

    say(t, "would be one more core in use: there are sessions %s %d already",
        near[ch->best->val[CRIT_COMPANY] < 4 ? ch->best->val[CRIT_COMPANY] : 3], ch->best->core->cpu);
}

/* The table: name by name what a criterion is and what is said of who loses by it; bits of rank in the score. */
static const struct {
    uint32_t (*val)(const struct choice *ch, const struct cand *c);
    void (*lost)(const struct choice *ch, const struct cand *c, struct text *t);
    unsigned bits;
} crits[CRITS] = {
    [CRIT_FULL] = { crit_full, lost_full, 1 },
    [CRIT_SESSIONS] = { crit_sessions, lost_sessions, 10 },
    [CRIT_SIBLINGS] = { crit_siblings, lost_siblings, 10 },
    [CRIT_NODE] = { crit_node, lost_node, 2 },
    [CRIT_LEVEL] = { crit_level, lost_level, 4 },
    [CRIT_PACKAGE] = { crit_package, lost_package, 10 },
    [CRIT_MEMORY] = { crit_memory, lost_memory, 10 },
    [CRIT_CACHE] = { crit_cache, lost_cache, 10 },
    [CRIT_CORE] = { crit_core, lost_core, 10 },
    [CRIT_BEARS] = { crit_bears, lost_bears, 1 },
    [CRIT_COMPANY] = { crit_company, lost_company, 3 },
    [CRIT_FEWER] = { crit_fewer, lost_sessions, 10 },
};
static_assert(CORES_MAX <= 1u << 10, "a rank among the candidates fits its bits");

#define CRITS_END CRITS
static const enum crit orders[BAL_POLICIES][CRITS + 1] = {
    [BAL_FREE_CORE] = { CRIT_FULL, CRIT_SESSIONS, CRIT_SIBLINGS, CRIT_NODE, CRIT_LEVEL, CRITS_END },
    [BAL_NUMA] = { CRIT_FULL, CRIT_SESSIONS, CRIT_SIBLINGS, CRIT_NODE, CRIT_LEVEL, CRITS_END },
    [BAL_PINNED] = { CRITS_END },
    [BAL_SPREAD] = { CRIT_FULL, CRIT_PACKAGE, CRIT_MEMORY, CRIT_CACHE, CRIT_CORE, CRIT_SESSIONS, CRIT_NODE,
                     CRIT_LEVEL, CRITS_END },
    [BAL_PACK] = { CRIT_BEARS, CRIT_COMPANY, CRIT_NODE, CRIT_FEWER, CRIT_LEVEL, CRITS_END },
};

/* ---- choosing -------------------------------------------------------------------------------------------- */

static void cand_init(struct cand *c, const struct bal_topo *topo, const struct bal_core *core, unsigned i)
{
    const struct bal_pu *pu = topo ? bal_topo_pu(topo, core->cpu) : NULL;
    const unsigned used = core->busy_pct + core->host_pct;

    c->core = core;
    c->used = used < 100 ? used : 100;
    c->score = UINT64_MAX;
    c->possible = true;
    c->cache = pu ? pu->cache : 0;
    c->node = pu ? pu->node : 0;
    c->package = pu ? pu->package : 0;
    c->whole = pu ? pu->core : UINT32_MAX - i; /* shared with nobody */
}

/* NULL, or what rules it out whatever the others are. */
static const char *ruled_out(const struct choice *ch, const struct bal_topo *topo, const struct cand *c)
{
    const struct bal_pu *pu = topo && c->core->cpu >= 0 ? bal_topo_pu(topo, c->core->cpu) : NULL;
    const struct bal_ask *ask = ch->ask;

    if (topo && c->core->cpu >= 0 && !pu)
        return "offline";
    if (pu && !pu->allowed)
        return "not allowed to this process: outside its cpuset";
    if (ask->pin >= 0 && ask->pin != c->core->cpu)
        return "it is pinned to another core";
    if (ask->policy == BAL_PINNED && ask->pin < 0)
        return "policy pinned, and it is pinned nowhere";
    return NULL;
}

static void rule(struct choice *ch, const struct bal_topo *topo, struct bal_verdict *verdicts)
{
    for (unsigned i = 0; i < ch->nr; i++) {
        struct cand *c = &ch->cand[i];
        const char *out = ruled_out(ch, topo, c);

        c->possible = !out;
        ch->wanted_nr += !out && wants_node(ch) && on_wanted(ch, c);
        if (out && verdicts)
            snprintf(verdicts[i].why, sizeof(verdicts[i].why), "%s", out);
    }
    for (unsigned i = 0; i < ch->nr; i++) {
        struct cand *c = &ch->cand[i];

        /* A pin is stronger than the policy. */
        if (ch->ask->policy == BAL_NUMA && c->possible && ch->ask->pin < 0 && ch->wanted_nr &&
            !on_wanted(ch, c)) {
            c->possible = false;
            if (verdicts)
                snprintf(verdicts[i].why, sizeof(verdicts[i].why),
                         "node %u: policy numa keeps to node %d, where %.40s is", c->node, ch->ask->node,
                         what_of(ch));
        }
        ch->possible += c->possible;
    }
}

static void find_extremes(struct choice *ch)
{
    ch->least_used = 100;
    for (unsigned i = 0; i < ch->nr; i++) {
        const struct cand *c = &ch->cand[i];

        if (c->possible && c->used < ch->least_used)
            ch->least_used = c->used;
        if (c->possible && c->core->sessions > ch->most_sessions)
            ch->most_sessions = c->core->sessions;
    }
}

static int by_value(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Values become ranks: 0 for the lowest, and equal for equal ones. */
static void rank_add(struct choice *ch, enum crit k)
{
    uint32_t vals[CORES_MAX];
    unsigned nr = 0, distinct = 0;

    for (unsigned i = 0; i < ch->nr; i++)
        if (ch->cand[i].possible)
            vals[nr++] = ch->cand[i].val[k];
    if (!nr)
        return;
    qsort(vals, nr, sizeof(vals[0]), by_value);
    for (unsigned i = 0; i < nr; i++)
        if (!i || vals[i] != vals[distinct - 1])
            vals[distinct++] = vals[i];
    for (unsigned i = 0; i < ch->nr; i++) {
        struct cand *c = &ch->cand[i];
        const uint32_t *at =
            c->possible ? bsearch(&c->val[k], vals, distinct, sizeof(vals[0]), by_value) : NULL;

        if (at)
            c->score = c->score << crits[k].bits | (uint64_t)(at - vals);
    }
}

static void judge(struct choice *ch)
{
    const enum crit *order = orders[ch->ask->policy];

    for (unsigned i = 0; i < ch->nr; i++)
        if (ch->cand[i].possible)
            ch->cand[i].score = 0;
    for (unsigned n = 0; order[n] != CRITS_END; n++) {
        for (unsigned i = 0; i < ch->nr; i++)
            if (ch->cand[i].possible)
                ch->cand[i].val[order[n]] = crits[order[n]].val(ch, &ch->cand[i]);
        rank_add(ch, order[n]);
    }
    for (unsigned i = 0; i < ch->nr; i++)
        if (ch->cand[i].possible && (!ch->best || ch->cand[i].score < ch->best->score))
            ch->best = &ch->cand[i];
}

/* ---- words ----------------------------------------------------------------------------------------------- */

static unsigned count_with(const struct choice *ch, unsigned sessions)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ch->nr; i++)
        n += ch->cand[i].possible && ch->cand[i].core->sessions == sessions;
    return n;
}

static bool has_siblings(const struct choice *ch, const struct cand *c)
{
    unsigned cores;

    (void)sessions_around(ch, c, same_whole, &cores);
    return cores > 1;
}

/* What speaks of the chosen one beside its sessions. */
static void say_traits(const struct choice *ch, const struct cand *c, struct text *t)
{
    const unsigned beside = crit_siblings(ch, c);

    if (beside)
        say(t, ", %u session%s on its SMT sibling", beside, s_of(beside));
    else if (!c->core->sessions && has_siblings(ch, c))
        say(t, ", whole core free");
    if (wants_node(ch) && on_wanted(ch, c))
        say(t, ", node %u as %.60s has", c->node, what_of(ch));
    else if (wants_node(ch))
        say(t, ", node %u though %.60s is on node %d", c->node, what_of(ch), ch->ask->node);
    say(t, ", %u%% busy", c->core->busy_pct);
    if (c->core->host_pct >= BUSY_NOISE_PCT)
        say(t, " and %u%% used by others", c->core->host_pct);
}

static void say_sessions(const struct choice *ch, const struct cand *c, struct text *t)
{
    const unsigned n = c->core->sessions;

    if (ch->ask->pin >= 0)
        say(t, "pinned there, %u session%s", n, s_of(n));
    else if (ch->possible == 1 && ch->nr == 1)
        say(t, "the only core of the set, %u session%s there", n, s_of(n));
    else if (ch->ask->policy == BAL_SPREAD)
        say(t, "the fewest sessions around it, %u on it", n);
    else if (ch->ask->policy == BAL_PACK && n && !crit_bears(ch, c))
        say(t, "in use with %u session%s and bears another", n, s_of(n));
    else if (ch->ask->policy == BAL_PACK && crit_bears(ch, c))
        say(t, "no core bears another, this is the least busy, %u session%s", n, s_of(n));
    else if (!n)
        say(t, "free, one of %u free among %u cores", count_with(ch, 0), ch->possible);
    else if (count_with(ch, 0))
        say(t, "the free cores are used up; %u session%s", n, s_of(n));
    else if (count_with(ch, n) > 1)
        say(t, "none of %u cores is free; fewest sessions (%u, as on %u of them)", ch->possible, n,
            count_with(ch, n));
    else
        say(t, "none of %u cores is free; fewest sessions (%u)", ch->possible, n);
}

static void say_lost(const struct choice *ch, const struct cand *c, struct text *t)
{
    const enum crit *order = orders[ch->ask->policy];

    for (unsigned n = 0; order[n] != CRITS_END; n++)
        if (c->val[order[n]] != ch->best->val[order[n]]) {
            crits[order[n]].lost(ch, c, t);
            return;
        }
    say(t, "as good as core %d, which comes before it", ch->best->core->cpu);
}

static void say_verdicts(const struct choice *ch, struct bal_verdict *verdicts)
{
    for (unsigned i = 0; i < ch->nr; i++) {
        const struct cand *c = &ch->cand[i];
        struct text t = { verdicts[i].why, 0, sizeof(verdicts[i].why) };

        verdicts[i].possible = c->possible;
        verdicts[i].score = c->score;
        if (c == ch->best) {
            say_sessions(ch, c, &t);
            say_traits(ch, c, &t);
        } else if (c->possible) {
            say_lost(ch, c, &t);
        }
    }
}

static void say_none(const struct choice *ch, char why[static BAL_TEXT_MAX])
{
    const int pin = ch->ask->pin;
    unsigned i = 0;

    while (pin >= 0 && i < ch->nr && ch->cand[i].core->cpu != pin)
        i++;
    if (pin >= 0)
        snprintf(why, BAL_TEXT_MAX, "it is pinned to core %d, which %s", pin,
                 i == ch->nr ? "has no reactor: name it in --cores, or pin elsewhere"
                             : "is offline or outside this process's cpuset: pin elsewhere");
    else if (ch->ask->policy == BAL_PINNED)
        snprintf(why, BAL_TEXT_MAX,
                 "policy pinned, and it is pinned nowhere: pin it, or choose another policy");
    else
        snprintf(why, BAL_TEXT_MAX, "each of the %u cores is offline or outside this process's cpuset", ch->nr);
}

int bal_place(const struct bal_topo *topo, const struct bal_core *cores, unsigned nr, const struct bal_ask *ask,
              struct bal_verdict *verdicts, char why[static BAL_TEXT_MAX])
{
    struct choice ch = { .ask = ask, .nr = nr, .wanted_package = -1 };
    struct text t = { why, 0, BAL_TEXT_MAX };
    const struct bal_pu *pus;
    const unsigned pus_nr = topo ? bal_topo_pus(topo, &pus) : 0;

    assert(nr && nr <= CORES_MAX);
    assert(ask->policy < BAL_POLICIES);
    for (unsigned i = 0; i < pus_nr; i++)
        if ((int)pus[i].node == ask->node)
            ch.wanted_package = (int)pus[i].package;
    for (unsigned i = 0; i < nr; i++)
        cand_init(&ch.cand[i], topo, &cores[i], i);
    rule(&ch, topo, verdicts);
    find_extremes(&ch);
    judge(&ch);
    if (verdicts)
        say_verdicts(&ch, verdicts);
    if (!ch.best) {
        say_none(&ch, why);
        return -1;
    }
    say(&t, "core %d: ", ch.best->core->cpu);
    say_sessions(&ch, ch.best, &t);
    say_traits(&ch, ch.best, &t);
    return (int)(ch.best - ch.cand);
}
