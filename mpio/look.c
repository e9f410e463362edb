/*
 * look.c - the state of all paths of a disk, and what follows from it
 *
 * Whenever something is told, asked or due, all of it is worked out anew: which paths can be used, which group of them is, what
 * their nexuses are to be asked, whether requests wait, for how long. It costs a walk over the paths, and requests pay
 * nothing for it: they find the result.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "mpio/mpio_internal.h"

#define STUCK_NS RT_S /* for answers over a path that is taken out of use, before its connection is dropped */
#define ACTIVATE_NS RT_S /* from one SET TARGET PORT GROUPS to the next */
#define FAIL_FENCE_NS                                                                                          \
    (60 * RT_S) /* who wants no wait without a path waits for a write to be settled all the same */

/* ---- when ----------------------------------------------------------------------------------------------- */

static void look_due(struct rt_timer *t)
{
    disk_look(container_of(t, struct mpio_disk, look));
}

void disk_look_init(struct mpio_disk *d)
{
    d->look.fn = look_due;
}

void disk_look_by(struct mpio_disk *d, uint64_t at_ns)
{
    const uint64_t now = rt_now(d->rt);

    if (rt_timer_armed(&d->look) && d->look_ns <= at_ns)
        return;
    d->look_ns = at_ns;
    rt_timer_arm(d->rt, &d->look, at_ns > now ? at_ns - now : 0);
}

void disk_look_soon(struct mpio_disk *d)
{
    disk_look_by(d, 0);
}

/* ---- each path ------------------------------------------------------------------------------------------ */

static unsigned alua_rank(const struct mpio_path *p)
{
    switch (p->seen.alua.state) {
    case INI_ALUA_OPTIMIZED: return 2;
    case INI_ALUA_NON_OPTIMIZED:
    case INI_ALUA_LBA_DEPENDENT: return 1;
    default: return 0;
    }
}

static bool is_transitioning(const struct mpio_path *p)
{
    return p->seen.up && !p->quarantine && !p->admin && !p->leaving &&
           p->seen.alua.state == INI_ALUA_TRANSITIONING;
}

bool path_can(const struct mpio_path *p)
{
    return p->seen.up && p->seen.open && !p->seen.hold && !p->quarantine && alua_rank(p);
}

static bool is_in_reach(const struct mpio_path *p)
{
    return p->seen.up && p->seen.open && !p->quarantine && !p->admin && !p->leaving;
}

/* Nothing can be sent over it, and it can be asked to change that. Not where it is offline: that is no longer the unit's own to
 * change (SPC-4 r36, "Offline target port group asymmetric access state"). */
static bool can_activate(const struct mpio_path *p)
{
    return is_in_reach(p) && !p->seen.hold && p->seen.alua.is_explicit &&
           (p->seen.alua.state == INI_ALUA_STANDBY || p->seen.alua.state == INI_ALUA_UNAVAILABLE);
}

static bool is_marginal(struct mpio_disk *d, const struct mpio_path *p, uint64_t now)
{
    const uint32_t limit = d->conf.marginal_fails < PATH_FAILS_MAX ? d->conf.marginal_fails : PATH_FAILS_MAX;
    uint64_t last, first;

    if (!limit || p->fails_nr < limit)
        return false;
    last = p->fails[(p->fails_nr - 1) % PATH_FAILS_MAX];
    first = p->fails[(p->fails_nr - limit) % PATH_FAILS_MAX];
    if (last - first > d->conf.marginal_window_s * RT_S || now >= last + d->conf.marginal_hold_s * RT_S)
        return false;
    disk_look_by(d, last + d->conf.marginal_hold_s * RT_S);
    return true;
}

static bool is_suspect(struct mpio_disk *d, const struct mpio_path *p, uint64_t now)
{
    const uint64_t since = p->answer_ns > p->busy_ns ? p->answer_ns : p->busy_ns;
    const uint64_t due = since + d->conf.suspect_ms * RT_MS;

    if (!d->conf.suspect_ms || !p->in_flight || !d->multi)
        return false;
    if (now >= due)
        return true; /* the next answer over it says otherwise */
    disk_look_by(d, due);
    return false;
}

static enum mpio_path_state path_state(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    p->suspect = is_suspect(d, p, now);
    if (p->quarantine)
        return MPIO_PATH_QUARANTINE;
    if (p->admin)
        return MPIO_PATH_FAILED;
    if (p->seen.hold)
        return MPIO_PATH_MOVING;
    if (!p->seen.up || !p->seen.open)
        return MPIO_PATH_DOWN;
    if (is_marginal(d, p, now))
        return MPIO_PATH_MARGINAL;
    return p->suspect ? MPIO_PATH_SUSPECT : MPIO_PATH_UP;
}

static void why_set(struct mpio_path *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void why_set(struct mpio_path *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->why, sizeof(p->why), fmt, ap);
    va_end(ap);
}

static void path_why(const struct mpio_disk *d, struct mpio_path *p)
{
    switch ((enum mpio_path_state)p->state) {
    case MPIO_PATH_DOWN: why_set(p, "%s", p->seen.why); break;
    case MPIO_PATH_SUSPECT: why_set(p, "no answer for %u ms", d->conf.suspect_ms); break;
    case MPIO_PATH_MARGINAL:
        why_set(p, "went down %u times within %u s", d->conf.marginal_fails, d->conf.marginal_window_s);
        break;
    case MPIO_PATH_FAILED: why_set(p, "by the administrator"); break;
    case MPIO_PATH_QUARANTINE: why_set(p, "%s", p->why_kept); break;
    default: why_set(p, "%s", "");
    }
}

/* Its unit is to be looked over anew, or is being: requests on their way would find none. */
static bool is_reopening(const struct mpio_path *p)
{
    return p->reinstate || p->reopening_asked;
}

/* ---- groups --------------------------------------------------------------------------------------------- */

static unsigned path_prio(const struct mpio_path *p)
{
    static const unsigned by_rank[] = { 1, 10, 50 };
    const unsigned rank = alua_rank(p);

    /* Preferred is a word only among those that are not optimized: of the others all are as near. */
    return p->prio ? p->prio : by_rank[rank] + (rank == 1 && p->seen.alua.preferred);
}

static enum mpio_grouping grouping(const struct mpio_disk *d)
{
    return d->conf.policy == MPIO_FAILOVER ? MPIO_GROUP_FAILOVER : d->conf.grouping;
}

/* The place of a path's group among those of the same state and priority. */
static unsigned group_place(const struct mpio_disk *d, const struct mpio_path *p)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *q = d->path[i];

        if (q == p || (grouping(d) == MPIO_GROUP_BY_TPG && q->seen.alua.group == p->seen.alua.group &&
                       !strcmp(q->nexus->target, p->nexus->target)))
            return i;
    }
    return 0;
}

/* What makes a group: state first, always; then what the grouping goes by. The greatest is the best. */
static uint64_t group_key(const struct mpio_disk *d, const struct mpio_path *p)
{
    const uint64_t rank = (uint64_t)alua_rank(p) << 48, prio = (uint64_t)path_prio(p) << 8;

    switch (grouping(d)) {
    case MPIO_MULTIBUS: return rank;
    case MPIO_GROUP_BY_PRIO: return rank | prio;
    default: return rank | prio | (MPIO_PATHS_MAX - group_place(d, p));
    }
}

static bool failback_due(struct mpio_disk *d, const struct mpio_path *p, uint64_t now)
{
    const uint64_t due = p->back_ns + d->conf.failback_s * RT_S;

    if (d->conf.failback == MPIO_FAILBACK_IMMEDIATE)
        return true;
    if (d->conf.failback == MPIO_FAILBACK_MANUAL)
        return false;
    if (now < due)
        disk_look_by(d, due);
    return now >= due;
}

static bool is_better(const struct mpio_disk *d, const struct mpio_path *p, const struct mpio_path *than)
{
    if (!than || p->klass != than->klass)
        return !than || p->klass < than->klass;
    return group_key(d, p) > group_key(d, than);
}

static struct mpio_path *best_of(const struct mpio_disk *d, bool probation)
{
    struct mpio_path *best = NULL;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];

        if (p->candidate && (probation || !p->probation) && is_better(d, p, best))
            best = p;
    }
    return best;
}

static void group_choose(struct mpio_disk *d, uint64_t now)
{
    const struct mpio_path *best;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];

        p->candidate = !p->leaving && !p->admin && !p->quarantine && p->seen.up && p->seen.open &&
                       alua_rank(p) && !p->shun_ns && !is_reopening(p);
        p->klass = p->state == MPIO_PATH_MARGINAL ? 2 : p->suspect ? 1 : 0;
        if (p->probation && failback_due(d, p, now))
            p->probation = false;
    }
    best = best_of(d, false);
    if (!best)
        best = best_of(d, true);
    d->use_nr = 0;
    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];
        const bool chosen =
            p->candidate && best && p->klass == best->klass && group_key(d, p) == group_key(d, best);

        if (chosen)
            p->probation = false;
        /* A group of which all are being moved is waited for: that is over sooner than a change to another. */
        p->in_use = chosen && !p->seen.hold;
        d->use_nr += p->in_use;
    }
}

/* A disk with one path: whatever can be done with a request is that path's own affair. */
static void only_choose(struct mpio_disk *d)
{
    struct mpio_path *only = NULL;
    unsigned nr = 0;

    for (unsigned i = 0; i < d->paths_nr; i++)
        if (!d->path[i]->leaving) {
            only = d->path[i];
            nr++;
        }
    d->multi = nr > 1;
    d->lone = nr == 1 ? only : NULL;
    d->only = NULL;
    d->only_err = 0;
    if (!d->lone)
        return;
    if (is_reopening(only))
        return;
    if (only->quarantine || !only->seen.open)
        d->only_err = -ENODEV;
    else if (!only->admin && !only->seen.hold && !only->shun_ns && only->seen.open)
        d->only = only;
}

/* ---- what the nexus's side is to do --------------------------------------------------------------------- */

static void path_settings(struct mpio_disk *d, struct mpio_path *p, unsigned up_nr)
{
    const bool hand_back = d->multi || p->admin || p->leaving;
    const uint32_t watch = d->multi && up_nr > 1 ? d->conf.suspect_ms : 0;

    if (hand_back == p->hand_back && watch == p->watch_asked)
        return;
    p->hand_back = p->want.hand_back = hand_back;
    p->watch_asked = p->want.watch_ms = watch;
    path_want(p, ASK_SET);
}

/* Nothing new is sent over it, and others could take what is under way: but only a broken connection gives it back. */
static void path_unstick(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    if (!(p->leaving || p->admin) || !p->in_flight || p->dropped || !p->seen.up || !d->use_nr)
        return;
    if (now < p->stuck_ns + STUCK_NS) {
        disk_look_by(d, p->stuck_ns + STUCK_NS);
        return;
    }
    p->dropped = true;
    path_want(p, ASK_DROP);
}

/* A unit that a target does not have any more may be there again later: one that restarts may let in who comes before all its units
 * are. Whoever it is then is found out when it is opened. */
static void gone_retry(struct mpio_disk *d, struct mpio_path *p, uint64_t now)
{
    if (!d->multi || d->err || !p->seen.gone || !p->seen.session || p->quarantine || p->admin || is_reopening(p))
        return;
    if (now < p->reopen_ns)
        disk_look_by(d, p->reopen_ns);
    else
        p->reinstate = true;
}

static void path_reopen(struct mpio_path *p)
{
    if (!p->reinstate || p->in_flight || p->leaving)
        return;
    p->reinstate = false;
    if (!p->quarantine && !p->seen.gone)
        return; /* it came back by itself meanwhile */
    p->reopening_asked = true;
    p->want.reopen_nr = ++p->reopen_nr_asked;
    path_want(p, ASK_REOPEN);
}

/* Memory of its session is still with whoever uses the disk, and cannot come back to it by another path. Where no path
 * stays the disk is about to go: who has not given it back by then will not. */
static bool keeps_memory(const struct mpio_disk *d, const struct mpio_path *p, bool stays)
{
    if (!stays)
        return buf_going(d);
    for (unsigned i = 0; i < d->paths_nr; i++)
        if (d->path[i] != p && d->path[i]->nexus == p->nexus && !d->path[i]->leaving)
            return false;
    return buf_of_nexus(d, p->nexus);
}

/* @stays: others do not leave. */
static void path_part(struct mpio_disk *d, struct mpio_path *p, bool stays)
{
    if (!p->leaving || p->parting || p->in_flight || p->fenced_nr || p->fence.via || keeps_memory(d, p, stays))
        return;
    if (!d->err && stays && p->owed > path_settled(p))
        return; /* nobody would know then that newer writes must wait */
    p->parting = true;
    path_want(p, ASK_UNBIND);
}

/* The one that was asked longest ago, or never; of these the best. */
static bool is_next_to_activate(const struct mpio_path *p, const struct mpio_path *than)
{
    if (!than || p->activate_ns != than->activate_ns)
        return !than || p->activate_ns < than->activate_ns;
    return path_prio(p) > path_prio(than);
}

/* Through no path the unit can be used, and it does as it is told: then it is told. Not where one is not optimized only: that
 * may be somebody's wish. A target that does not obey, and another host that wants it elsewhere, are asked again, but not all the
 * time. */
static void activate(struct mpio_disk *d, uint64_t now)
{
    struct mpio_path *best = NULL;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];

        if (is_transitioning(p) || (alua_rank(p) && is_in_reach(p)))
            return;
        if (can_activate(p) && is_next_to_activate(p, best))
            best = p;
    }
    if (!best)
        return;
    if (now < d->activate_ns) {
        disk_look_by(d, d->activate_ns);
        return;
    }
    d->activate_ns = now + ACTIVATE_NS;
    best->activate_ns = now;
    path_want(best, ASK_ACTIVATE);
}

/* ---- the disk ------------------------------------------------------------------------------------------- */

static bool size_refresh(struct mpio_disk *d)
{
    uint64_t size = UINT64_MAX;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *p = d->path[i];

        if (!p->leaving && !p->quarantine && p->seen.open) {
            size = p->seen.info.size < size ? p->seen.info.size : size;
            d->info.write_cache |= p->seen.info.write_cache;
        }
    }
    if (size == UINT64_MAX || size == d->info.size)
        return false;
    d->info.size = size;
    return true;
}

uint64_t disk_patience_ns(const struct mpio_disk *d)
{
    switch (d->conf.no_path) {
    case MPIO_NO_PATH_QUEUE: return UINT64_MAX;
    case MPIO_NO_PATH_FAIL: return FAIL_FENCE_NS;
    default: return d->conf.no_path_s * RT_S;
    }
}

/* Nothing can be sent. @soon: but that is about to be over. */
static void without_path(struct mpio_disk *d, uint64_t now, bool soon)
{
    if (!d->lost_ns)
        d->lost_ns = now;
    if (d->conf.no_path == MPIO_NO_PATH_FAIL && !soon)
        d->given_up = true;
    if (d->conf.no_path == MPIO_NO_PATH_DEADLINE || (d->conf.no_path == MPIO_NO_PATH_FAIL && soon)) {
        if (now - d->lost_ns >= disk_patience_ns(d))
            d->given_up = true;
        else
            disk_look_by(d, d->lost_ns + disk_patience_ns(d));
    }
    if (d->given_up)
        io_fail_waiting(d, d->conf.no_path == MPIO_NO_PATH_DEADLINE ? -ETIMEDOUT : -EIO);
}

/* Requests that wait though there are paths: for older writes to be settled. */
static void with_path(struct mpio_disk *d, uint64_t now)
{
    const uint64_t oldest = io_oldest(d), patience = disk_patience_ns(d);

    d->lost_ns = 0;
    d->given_up = false;
    if (oldest == UINT64_MAX || patience == UINT64_MAX)
        return;
    if (now - oldest >= patience)
        io_fail_old(d, now - patience, -ETIMEDOUT);
    else
        disk_look_by(d, oldest + patience);
}

static bool is_soon(const struct mpio_disk *d)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *p = d->path[i];

        if (is_transitioning(p) || (is_reopening(p) && !p->leaving) ||
            (!p->leaving && !p->quarantine && !p->admin && (p->seen.hold || p->shun_ns) && p->seen.up))
            return true;
    }
    return false;
}

struct news {
    bool resized, paused, resumed, failed;
    uint64_t changed, access; /* bits by place in the disk: its state; how the unit is reached by it */
};

static void availability(struct mpio_disk *d, struct news *news, uint64_t now)
{
    const bool soon = is_soon(d);
    bool down, failed;

    d->no_path = d->has_info && !d->use_nr && !d->only && !d->only_err && !d->err;
    if (d->no_path)
        without_path(d, now, soon);
    else
        with_path(d, now);
    if (d->only || d->only_err) { /* requests wait in the session, if they do */
        failed = d->only_err || d->lone->seen.gone || d->lone->seen.changed;
        down = !failed && !d->lone->seen.up;
    } else {
        failed = d->given_up;
        down = d->no_path && !soon && !failed;
    }
    news->failed = failed && !d->failed;
    news->paused = down && !d->paused && !d->failed;
    news->resumed = !down && !failed && (d->paused || d->failed) && !d->no_path;
    if (d->no_path && soon)
        return; /* neither: what was told last holds on */
    d->failed = failed;
    d->paused = down;
}

static void news_tell(struct mpio_disk *d, const struct news *news)
{
    char why[320];

    if (!d->event)
        return;
    for (unsigned i = 0; i < d->paths_nr; i++) {
        const struct mpio_path *p = d->path[i];

        if (!((news->changed | news->access) >> i & 1))
            continue;
        snprintf(why, sizeof(why), "%s: %s%s%s%s%s", p->nexus->name, mpio_path_state_names[p->state],
                 news->access >> i & 1 ? ", access state " : "",
                 news->access >> i & 1 ? mpio_alua_name(p->seen.alua.state) : "", *p->why ? ": " : "", p->why);
        d->event(d->user, MPIO_PATH_CHANGED, why);
    }
    if (news->paused)
        d->event(d->user, MPIO_PAUSED, "no path can be used: requests wait");
    if (news->failed)
        d->event(d->user, MPIO_FAILED, "no path can be used: requests fail");
    if (news->resumed)
        d->event(d->user, MPIO_RESUMED, NULL);
    if (news->resized)
        d->event(d->user, MPIO_RESIZED, NULL);
}

static void paths_judge(struct mpio_disk *d, struct news *news, uint64_t now)
{
    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];

        if (p->shun_ns && now >= p->shun_ns)
            p->shun_ns = 0;
        else if (p->shun_ns)
            disk_look_by(d, p->shun_ns);
        p->state = (uint8_t)path_state(d, p, now);
        path_why(d, p);
        if (p->state == MPIO_PATH_MOVING)
            continue; /* who moves it says so, and it is over soon */
        news->changed |= (uint64_t)(p->state != p->told_state) << i;
        news->access |= (uint64_t)(p->told_alua != p->seen.alua.state) << i;
        p->told_state = p->state;
        p->told_alua = p->seen.alua.state;
    }
}

void disk_look(struct mpio_disk *d)
{
    const uint64_t now = rt_now(d->rt);
    struct news news = { 0 };
    unsigned up_nr = 0;

    if (d->looking) {
        disk_look_soon(d);
        return;
    }
    d->looking = true;
    rt_timer_disarm(d->rt, &d->look); /* what is due later says so again */
    only_choose(d);
    paths_judge(d, &news, now);
    group_choose(d, now);
    only_choose(d);
    d->owed = false;
    for (unsigned i = 0; i < d->paths_nr; i++) {
        up_nr += d->path[i]->candidate;
        d->owed |= path_owes(d->path[i]);
    }
    for (unsigned i = 0; i < d->paths_nr; i++) {
        path_settings(d, d->path[i], up_nr);
        path_unstick(d, d->path[i], now);
        gone_retry(d, d->path[i], now);
        path_reopen(d->path[i]);
        fence_look(d, d->path[i], now);
    }
    activate(d, now);
    news.resized = size_refresh(d);
    io_release(d);
    availability(d, &news, now);
    io_pump(d);
    for (unsigned i = 0; i < d->paths_nr; i++) {
        path_part(d, d->path[i], d->multi || d->lone);
        path_ask_go(d->path[i]);
    }
    news_tell(d, &news);
    d->looking = false;
}

const char *mpio_alua_name(uint8_t state)
{
    static const char *const names[16] = {
        [INI_ALUA_OPTIMIZED] = "active/optimized",
        [INI_ALUA_NON_OPTIMIZED] = "active/non-optimized",
        [INI_ALUA_STANDBY] = "standby",
        [INI_ALUA_UNAVAILABLE] = "unavailable",
        [INI_ALUA_LBA_DEPENDENT] = "lba-dependent",
        [INI_ALUA_OFFLINE] = "offline",
        [INI_ALUA_TRANSITIONING] = "transitioning",
    };

    return state < ARRAY_SIZE(names) && names[state] ? names[state] : "unknown";
}

void mpio_disk_path_info(const struct mpio_disk *d, const struct mpio_path *p, struct mpio_path_info *out)
{
    uint64_t better[MPIO_PATHS_MAX];
    const uint64_t key = group_key(d, p);
    unsigned groups = 0;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        const uint64_t k = group_key(d, d->path[i]);
        unsigned at = 0;

        while (at < groups && better[at] != k)
            at++;
        if (k > key && at == groups)
            better[groups++] = k;
    }
    *out = (struct mpio_path_info){
        .state = p->state,
        .alua = p->seen.alua,
        .group = groups,
        .prio = path_prio(p),
        .weight = p->weight,
        .in_use = p->in_use || d->only == p,
        .requests = p->requests,
        .read_bytes = p->read_bytes,
        .write_bytes = p->write_bytes,
        .errors = p->errors,
        .failovers = p->failovers,
        .downs = p->downs,
        .in_flight = p->in_flight,
        .nexus_in_flight = atomic_load_explicit(&p->nexus->requests, memory_order_relaxed),
        .in_flight_bytes = p->in_flight_bytes,
        .nexus_in_flight_bytes = atomic_load_explicit(&p->nexus->bytes, memory_order_relaxed),
        .latency_ns = p->latency_ns,
    };
    memcpy(out->why, p->why, sizeof(out->why));
}
