/*
 * policy.c - which path a request takes
 *
 * Pure. A selector gives each usable path a key, of which the smallest wins, or takes them in turn; what has equal
 * keys takes turns too, so that no path starves where nothing speaks against it.
 */
#include <assert.h>
#include <stddef.h>
#include "mpio/policy.h"

#define WEIGHT_MAX 65535u /* so that the credits of all paths together stay far from what 32 bits hold */

const char *const mpio_policy_names[] = { "least-queue-depth", "round-robin", "service-time",
                                          "failover-only",     "weighted",    NULL };
const char *const mpio_scope_names[] = { "nexus", "lun", NULL };
const char *const mpio_unit_names[] = { "requests", "bytes", NULL };
const char *const mpio_grouping_names[] = { "group_by_prio", "multibus", "failover", "group_by_tpg", NULL };

static_assert(sizeof(mpio_policy_names) / sizeof(*mpio_policy_names) == MPIO_POLICIES + 1, "each has a name");
static_assert(sizeof(((struct mpio_turn *)0)->credit) / sizeof(int32_t) == MPIO_PATHS_MAX, "each has credit");

void mpio_conf_default(struct mpio_conf *out)
{
    *out = (struct mpio_conf){
        .policy = MPIO_LQD,
        .scope = MPIO_SCOPE_NEXUS,
        .unit = MPIO_UNIT_REQUESTS,
        .grouping = MPIO_GROUP_BY_PRIO,
        .failback = MPIO_FAILBACK_IMMEDIATE,
        .failback_s = 60,
        .no_path = MPIO_NO_PATH_DEADLINE,
        .no_path_s = 120,
        .rr_min_io = 1,
        .suspect_ms = 400,
        .marginal_fails = 3,
        .marginal_window_s = 60,
        .marginal_hold_s = 300,
    };
}

/* ---- by a key ------------------------------------------------------------------------------------------- */

struct key {
    uint64_t first, second;
    bool away; /* it lives on another core: the last word before the turn */
};

static bool key_less(const struct key *a, const struct key *b)
{
    if (a->first != b->first)
        return a->first < b->first;
    if (a->second != b->second)
        return a->second < b->second;
    return !a->away && b->away;
}

static struct key queue_key(const struct mpio_conf *conf, const struct mpio_choice *p, uint64_t best_ns)
{
    (void)best_ns;
    if (conf->unit == MPIO_UNIT_BYTES)
        return (struct key){ p->bytes, p->requests, !p->same_core };
    return (struct key){ p->requests, p->bytes, !p->same_core };
}

/* How long a request may take that comes after those which are there. A path that nobody knows yet is taken to be as
 * fast as the fastest, or it would never be tried. */
static struct key service_key(const struct mpio_conf *conf, const struct mpio_choice *p, uint64_t best_ns)
{
    const uint64_t ns = p->latency_ns ? p->latency_ns : best_ns;
    const uint64_t limit_ns = UINT64_MAX / ((uint64_t)p->requests + 1);

    (void)conf;
    return (struct key){ (ns < limit_ns ? ns : limit_ns) * ((uint64_t)p->requests + 1) /
                             (p->weight ? p->weight : 1),
                         p->bytes, !p->same_core };
}

static int
by_key(const struct mpio_conf *conf, struct mpio_turn *turn, const struct mpio_choice *p, unsigned nr,
       struct key (*key_of)(const struct mpio_conf *conf, const struct mpio_choice *p, uint64_t best_ns))
{
    uint64_t best_ns = UINT64_MAX;
    struct key best, key;
    int at = -1;

    for (unsigned i = 0; i < nr; i++)
        if (p[i].usable && p[i].latency_ns && p[i].latency_ns < best_ns)
            best_ns = p[i].latency_ns;
    if (best_ns == UINT64_MAX)
        best_ns = 1;
    /* From the one after the last: of equal ones the first that is met wins. */
    for (unsigned k = 1; k <= nr; k++) {
        const unsigned i = (turn->last + k) % nr;

        if (!p[i].usable)
            continue;
        key = key_of(conf, &p[i], best_ns);
        if (at < 0 || key_less(&key, &best)) {
            best = key;
            at = (int)i;
        }
    }
    return at;
}

/* ---- in turn -------------------------------------------------------------------------------------------- */

static int next_usable(unsigned last, const struct mpio_choice *p, unsigned nr)
{
    for (unsigned k = 1; k <= nr; k++)
        if (p[(last + k) % nr].usable)
            return (int)((last + k) % nr);
    return -1;
}

static int round_robin(const struct mpio_conf *conf, struct mpio_turn *turn, const struct mpio_choice *p,
                       unsigned nr)
{
    if (turn->left && turn->last < nr && p[turn->last].usable) {
        turn->left--;
        return (int)turn->last;
    }
    turn->left = conf->rr_min_io ? conf->rr_min_io - 1 : 0;
    return next_usable(turn->last, p, nr);
}

/* As many of all requests as its part of all weights, and never several in a row where others are due: each earns its
 * weight a turn, the richest goes, and pays what all have earned. */
static int weighted(struct mpio_turn *turn, const struct mpio_choice *p, unsigned nr)
{
    int32_t all = 0;
    int at = -1;

    for (unsigned i = 0; i < nr; i++) {
        const uint32_t weight = !p[i].weight ? 1 : p[i].weight < WEIGHT_MAX ? p[i].weight : WEIGHT_MAX;

        if (!p[i].usable) {
            turn->credit[i] = 0; /* what it could not spend is not owed to it */
            continue;
        }
        turn->credit[i] += (int32_t)weight;
        all += (int32_t)weight;
        if (at < 0 || turn->credit[i] > turn->credit[at])
            at = (int)i;
    }
    if (at >= 0)
        turn->credit[at] -= all;
    return at;
}

int mpio_select(const struct mpio_conf *conf, struct mpio_turn *turn, const struct mpio_choice *p, unsigned nr,
                uint64_t len)
{
    int at = -1;

    (void)len; /* the same for each of them, and so far no selector weighs it */
    assert(nr && nr <= MPIO_PATHS_MAX);
    switch (conf->policy) {
    case MPIO_ROUND_ROBIN: at = round_robin(conf, turn, p, nr); break;
    case MPIO_SERVICE_TIME: at = by_key(conf, turn, p, nr, service_key); break;
    case MPIO_FAILOVER:
        at = next_usable(nr - 1, p, nr); /* the first */
        break;
    case MPIO_WEIGHTED: at = weighted(turn, p, nr); break;
    default: at = by_key(conf, turn, p, nr, queue_key);
    }
    if (at >= 0)
        turn->last = (unsigned)at;
    return at;
}
