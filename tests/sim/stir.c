/*
 * stir.c - what happens to a disk's paths beside faults of the world: they leave, are taken out of use, lead to another unit
 *
 * In scenes where disks have several paths. Owns what such a scene draws, and what it changes at the target, which is put
 * back for the calm. From numbers of its own, as other scenes are to stay what they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "tests/sim/scene.h"

#define ONE_IN    5u /* scenes in which disks have several paths */
#define LATER_MAX 48u
#define MEND_NS   (200 * RT_MS)

enum stir_kind {
    STIR_LEAVE,
    STIR_ADMIN,
    STIR_POLICY,
    STIR_WEIGHT,
    STIR_CUT,
    STIR_FAR,
    STIR_FLAP,
    STIR_ALL_CUT,
    STIR_ALUA,
    STIR_SWAP,
    STIR_CLOSE,
    STIR_FAIL_QUEUED,
    STIR_LATE,
    STIR_GHOST,
    STIR_KINDS,
};

/* In a storm, at most. */
static const uint8_t most[STIR_KINDS] = {
    [STIR_LEAVE] = 20, [STIR_ADMIN] = 12,      [STIR_POLICY] = 12, [STIR_WEIGHT] = 12, [STIR_CUT] = 12,
    [STIR_FAR] = 8,    [STIR_FLAP] = 5,        [STIR_ALL_CUT] = 3, [STIR_ALUA] = 12,   [STIR_SWAP] = 4,
    [STIR_CLOSE] = 5,  [STIR_FAIL_QUEUED] = 6, [STIR_LATE] = 12,   [STIR_GHOST] = 10,
};

struct stir_every {
    struct sim_timer timer;
    struct scene *scene;
    enum stir_kind kind;
    uint64_t mean_ns;
};

struct stir_later {
    struct sim_timer timer;
    struct scene *scene;
    void (*fn)(struct stir_later *l);
    struct nexus_end *nexus;
    struct client *client;
    struct route *route;
    unsigned left; /* times */
    uint32_t slow_ppm; /* the disk, as it was */
    uint64_t slow_ns;
    bool busy;
};

struct stir {
    struct scene *scene;
    struct stir_every every[STIR_KINDS];
    struct stir_later later[LATER_MAX];
    struct sim_timer mend;
    uint16_t mended; /* groups that are as they were */
    bool asked;
};

static uint64_t draw(struct scene *sc, uint64_t lo, uint64_t hi)
{
    return sim_rng_range(&sc->path_rng, lo, hi);
}

static bool one_in(struct scene *sc, unsigned n)
{
    return !sim_rng_below(&sc->path_rng, n);
}

static uint64_t hold(struct scene *sc)
{
    return draw(sc, RT_MS, 10 * RT_MS) << draw(sc, 0, 10);
}

/* ---- what is drawn --------------------------------------------------------------------------------------- */

static void work_draw(struct scene *sc)
{
    struct plan *p = &sc->plan;
    const unsigned requests = (unsigned)draw(sc, 400, 1400);
    bool any = false;

    /* What goes past the disk would not know by which path. */
    p->weight[OP_SAME] = p->weight[OP_CAW] = p->weight[OP_MODE] = 0;
    p->reservations = false;
    p->think_ns = p->storm_ns / requests * (p->clients * p->units * p->depth);
    for (unsigned i = 0; i < p->clients; i++)
        any |= p->cli_cores[i] > 1;
    if (any && !p->moves && one_in(sc, 2))
        p->moves = (unsigned)draw(sc, 5, 200);
}

void stir_draw(struct scene *sc, enum scene_kind kind)
{
    struct plan *p = &sc->plan;
    bool one_group;

    if (kind != SCENES_PATHS && !one_in(sc, ONE_IN))
        return;
    p->multi = true;
    p->clients = one_in(sc, 3) ? 2 : 1;
    p->drill = one_in(sc, 4);
    p->swaps = p->units > 1 && one_in(sc, 4);
    one_group = one_in(sc, 3);
    for (unsigned i = 0; i < p->clients; i++) {
        p->sessions[i] = (unsigned)draw(sc, 2, SESS_MAX);
        p->cli_cores[i] = (unsigned)draw(sc, 1, 4);
        p->home[i] = (unsigned)draw(sc, 0, p->cli_cores[i] - 1);
        for (unsigned k = 0; k < SESS_MAX; k++)
            p->group[i][k] = one_group ? 1 : (uint16_t)draw(sc, 1, 3);
    }
    work_draw(sc);
}

void stir_conf(struct scene *sc, struct mpio_conf *out)
{
    mpio_conf_default(out);
    if (one_in(sc, 3))
        return;
    out->policy = (enum mpio_policy)draw(sc, 0, MPIO_POLICIES - 1);
    out->scope = one_in(sc, 2) ? MPIO_SCOPE_NEXUS : MPIO_SCOPE_LUN;
    out->unit = one_in(sc, 2) ? MPIO_UNIT_REQUESTS : MPIO_UNIT_BYTES;
    out->grouping = (enum mpio_grouping)draw(sc, 0, MPIO_GROUP_BY_TPG);
    out->failback = (enum mpio_failback)draw(sc, 0, MPIO_FAILBACK_MANUAL);
    out->failback_s = (uint32_t)draw(sc, 0, 5);
    out->no_path = (enum mpio_no_path)draw(sc, 0, MPIO_NO_PATH_FAIL);
    out->no_path_s = (uint32_t)draw(sc, 1, 20);
    out->rr_min_io = (uint32_t)draw(sc, 1, 8);
    out->suspect_ms = one_in(sc, 6) ? 0 : (uint32_t)draw(sc, 5, 100) << draw(sc, 0, 4);
    out->marginal_fails = (uint32_t)draw(sc, 0, 5);
    out->marginal_window_s = (uint32_t)draw(sc, 1, 60);
    out->marginal_hold_s = (uint32_t)draw(sc, 1, 30);
}

/* ---- later ----------------------------------------------------------------------------------------------- */

static void later_fired(struct sim_timer *t)
{
    struct stir_later *l = container_of(t, struct stir_later, timer);

    l->busy = false;
    if (!l->scene->failed)
        l->fn(l);
}

/* NULL: too much is to be done already; then it is left. */
static struct stir_later *later_new(struct scene *sc, void (*fn)(struct stir_later *l), uint64_t ns)
{
    for (unsigned i = 0; i < LATER_MAX; i++) {
        struct stir_later *l = &sc->stir->later[i];

        if (l->busy)
            continue;
        *l = (struct stir_later){ .timer.fn = later_fired, .scene = sc, .fn = fn, .busy = true };
        sim_at(sc->w, &l->timer, ns);
        return l;
    }
    return NULL;
}

/* ---- paths ----------------------------------------------------------------------------------------------- */

static void stay(struct stir_later *l)
{
    if (l->nexus->life == LIFE_RUN)
        l->route->leave = false;
}

static void do_leave(struct scene *sc, struct route *r)
{
    struct stir_later *l;

    if (r->step != ROUTE_JOINED || r->leave || r->nexus->life != LIFE_RUN ||
        !(l = later_new(sc, stay, hold(sc))))
        return;
    l->route = r;
    l->nexus = r->nexus;
    swarm_note(sc, SCENE_FAULT_PATH_LEAVE, r->nexus);
    r->leave = true; /* at the next tick */
}

static bool is_in(const struct route *r)
{
    return r->step == ROUTE_JOINED && sim_prog_runs(r->nexus->client->prog) &&
           !sim_frozen(r->nexus->client->prog);
}

static void call_fail(void *arg)
{
    struct route *r = arg;

    mpio_disk_path_admin(r->desk->made, r->path, true);
}

static void call_reinstate(void *arg)
{
    struct route *r = arg;

    mpio_disk_path_admin(r->desk->made, r->path, false);
}

static void reinstate(struct stir_later *l)
{
    if (is_in(l->route))
        sim_call(l->route->nexus->rt, call_reinstate, l->route);
}

static void do_admin(struct scene *sc, struct route *r)
{
    struct stir_later *l;

    if (!is_in(r) || !(l = later_new(sc, reinstate, hold(sc))))
        return;
    l->route = r;
    swarm_note(sc, SCENE_FAULT_PATH_ADMIN, r->nexus);
    sim_call(r->nexus->rt, call_fail, r);
}

static void call_weight(void *arg)
{
    struct route *r = arg;
    struct scene *sc = r->nexus->scene;

    mpio_disk_path_weight(r->desk->made, r->path, one_in(sc, 2) ? 0 : (unsigned)draw(sc, 1, 3),
                          (unsigned)draw(sc, 1, 9));
}

static void call_policy(void *arg)
{
    struct desk *d = arg;
    struct mpio_conf conf;

    stir_conf(d->nexus->scene, &conf);
    mpio_disk_conf_set(d->made, &conf);
}

static void call_fail_queued(void *arg)
{
    mpio_disk_no_path_fail(((struct desk *)arg)->made);
}

static void call_disk_close(void *arg)
{
    paths_disk_close(arg);
}

static void do_disk(struct scene *sc, struct desk *d, enum scene_fault f, void (*fn)(void *arg))
{
    if (!d->made || d->closing || !sim_prog_runs(d->nexus->client->prog) || sim_frozen(d->nexus->client->prog))
        return;
    swarm_note(sc, f, d->nexus);
    sim_call(d->nexus->rt, fn, d);
}

/* ---- ways ------------------------------------------------------------------------------------------------ */

static void cut(struct nexus_end *n, bool to, bool from)
{
    sim_addr_cut(n->scene->tgtd.machine, n->conf.portal.host, to, from);
}

static void uncut(struct stir_later *l)
{
    cut(l->nexus, false, false);
}

static void do_cut(struct scene *sc, struct nexus_end *n)
{
    struct stir_later *l = later_new(sc, uncut, hold(sc) * (one_in(sc, 4) ? 4 : 1));
    const unsigned way = (unsigned)draw(sc, 1, 4);

    if (!l)
        return;
    l->nexus = n;
    cut(n, way != 1, way != 2);
}

static void uncut_all(struct stir_later *l)
{
    for (unsigned i = 0; i < l->client->nexuses_nr; i++)
        cut(&l->client->nexus[i], false, false);
}

static void do_all_cut(struct scene *sc, struct client *c)
{
    struct stir_later *l = later_new(sc, uncut_all, hold(sc) * (one_in(sc, 4) ? 4 : 1));

    if (!l)
        return;
    l->client = c;
    swarm_note(sc, SCENE_FAULT_ALL_CUT, &c->nexus[0]);
    for (unsigned i = 0; i < c->nexuses_nr; i++)
        cut(&c->nexus[i], true, true);
}

static void near_again(struct stir_later *l)
{
    sim_addr_delay(l->scene->tgtd.machine, l->nexus->conf.portal.host, 0);
}

static void do_far(struct scene *sc, struct nexus_end *n)
{
    struct stir_later *l = later_new(sc, near_again, hold(sc));

    if (!l)
        return;
    l->nexus = n;
    swarm_note(sc, SCENE_FAULT_FAR, n);
    sim_addr_delay(sc->tgtd.machine, n->conf.portal.host, draw(sc, RT_MS, 4 * RT_MS) << draw(sc, 0, 6));
}

static void end_seen(struct stir_later *l)
{
    struct sim_conn *c = sim_conn_find(l->scene->w, l->nexus->conn_id);

    if (c && l->scene->act == ACT_STORM)
        sim_fault_half_close(c, 1);
}

static bool has_sibling(const struct nexus_end *n)
{
    const struct client *c = n->client;
    const uint16_t *group = n->scene->plan.group[c->id];

    for (unsigned i = 0; i < c->nexuses_nr; i++)
        if (&c->nexus[i] != n && group[i] == group[n - c->nexus])
            return true;
    return false;
}

/* The initiator sees the end of a connection of which much is still on its way to the target. A reset of the unit can come
 * before that, which is why it is the last thing to be tried: so only where another portal of the group is there. */
static void do_late(struct scene *sc, struct nexus_end *n)
{
    const uint64_t ns = draw(sc, 4 * RT_MS, 8 * RT_MS) << draw(sc, 0, 4);
    struct stir_later *l;

    if (!has_sibling(n) || !(l = later_new(sc, near_again, 80 * ns)))
        return;
    l->nexus = n;
    swarm_note(sc, SCENE_FAULT_FAR, n);
    sim_addr_delay(sc->tgtd.machine, n->conf.portal.host, ns);
    for (unsigned i = 1; i < 4; i++)
        if ((l = later_new(sc, end_seen, draw(sc, 4 * ns, 60 * ns))))
            l->nexus = n;
}

static void flap(struct stir_later *l)
{
    struct scene *sc = l->scene;
    struct nexus_end *n = l->nexus;
    struct sim_conn *c = sim_conn_find(sc->w, n->conn_id);
    const unsigned times = l->left;

    if (c && sc->act == ACT_STORM)
        sim_fault_reset(c);
    if (times && (l = later_new(sc, flap, draw(sc, RT_MS, 10 * RT_MS) << draw(sc, 0, 6)))) {
        l->nexus = n;
        l->left = times - 1;
    }
}

static void do_flap(struct scene *sc, struct nexus_end *n)
{
    struct stir_later *l = later_new(sc, flap, 0);

    if (!l)
        return;
    swarm_note(sc, SCENE_FAULT_FLAP, n);
    l->nexus = n;
    l->left = (unsigned)draw(sc, 2, 12);
}

/* ---- writes that come late ------------------------------------------------------------------------------- */

static void call_hurry(void *arg)
{
    paths_hurry(arg);
}

static void hurry(struct client *c)
{
    if (sim_prog_runs(c->prog) && !sim_frozen(c->prog))
        sim_call(c->nexus[0].rt, call_hurry, c);
}

static void quick_again(struct stir_later *l)
{
    struct scene *sc = l->scene;
    struct sim_conn *c = sim_conn_find(sc->w, l->nexus->conn_id);
    struct sim_disk d;

    if (sc->act != ACT_STORM)
        return;
    sim_disk_get(sc->tgtd.machine, &d);
    d.slow_ppm = l->slow_ppm;
    d.slow_ns = l->slow_ns;
    sim_disk_set(sc->tgtd.machine, &d);
    if (c)
        sim_fault_reset(c);
}

/* Many writes at once, to a disk that takes its time with these alone, or into a way that is cut off; then the path breaks. */
static void do_ghost(struct scene *sc, struct nexus_end *n)
{
    const bool slow = one_in(sc, 2);
    struct stir_later *l =
        slow ? later_new(sc, quick_again, draw(sc, 200 * RT_US, 400 * RT_US) << draw(sc, 0, 4))
             : later_new(sc, uncut, draw(sc, 500 * RT_MS, 4 * RT_S));
    struct sim_disk d;

    if (!l)
        return;
    l->nexus = n;
    n->hurries = true;
    if (slow) {
        sim_disk_get(sc->tgtd.machine, &d);
        l->slow_ppm = d.slow_ppm;
        l->slow_ns = d.slow_ns;
        d.slow_ppm = 1000000;
        d.slow_ns = draw(sc, 20 * RT_MS, 40 * RT_MS) << draw(sc, 0, 4);
        sim_disk_set(sc->tgtd.machine, &d);
    } else {
        cut(n, true, one_in(sc, 2));
    }
    hurry(n->client);
}

/* ---- the target ------------------------------------------------------------------------------------------ */

static bool alua_set(struct scene *sc, const char *lun, unsigned group, const char *state, unsigned ms)
{
    char params[200];

    if (!sc->tgtd.serves || (sc->ctl.prog && sim_prog_runs(sc->ctl.prog)))
        return false;
    snprintf(params, sizeof(params),
             "\"iqn\":\"" SCENE_IQN "\"%s,\"group\":%u,\"state\":\"%s\",\"transition_ms\":%u", lun, group,
             state, ms);
    tgtd_ask(sc, "alua.set", params);
    return true;
}

static unsigned groups_mask(const struct scene *sc)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < sc->plan.clients; i++)
        for (unsigned k = 0; k < sc->plan.sessions[i]; k++)
            mask |= 1u << sc->plan.group[i][k];
    return mask;
}

static void do_alua(struct scene *sc)
{
    static const char *const states[] = { "optimized",     "optimized", "optimized",   "non-optimized",
                                          "non-optimized", "standby",   "unavailable", "offline" };
    const unsigned group = (unsigned)draw(sc, 1, 3);
    char lun[32] = "";

    if (one_in(sc, 2))
        snprintf(lun, sizeof(lun), ",\"lun\":%u", (unsigned)draw(sc, 0, sc->plan.units - 1));
    if (!(groups_mask(sc) >> group & 1))
        return;
    if (alua_set(sc, lun, group, states[draw(sc, 0, ARRAY_SIZE(states) - 1)],
                 one_in(sc, 2) ? 0 : (unsigned)draw(sc, 1, 3000)))
        swarm_note(sc, SCENE_FAULT_ALUA, NULL);
}

static void swap_back(struct stir_later *l)
{
    if (!l->scene->tgtd.swap)
        return;
    l->scene->tgtd.swap = false;
    tgtd_stop(l->scene);
}

/* Between two lives of it: whoever comes back finds other units there. */
static void do_swap(struct scene *sc)
{
    if (!sc->plan.swaps || sc->tgtd.swap || !later_new(sc, swap_back, hold(sc) * 2))
        return;
    sc->tgtd.swap = true;
    tgtd_stop(sc);
}

static void mend(struct sim_timer *t)
{
    struct stir *s = container_of(t, struct stir, mend);
    struct scene *sc = s->scene;
    const unsigned left = groups_mask(sc) & ~s->mended;
    const bool over = !(sc->ctl.prog && sim_prog_runs(sc->ctl.prog));

    if (sc->act == ACT_END || sc->failed)
        return;
    if (left && s->asked && over) {
        s->asked = false;
        if (strstr(sc->ctl.answer, "\"result\"") && strstr(sc->ctl.text, "alua.set") &&
            strstr(sc->ctl.text, "\"transition_ms\":0}"))
            s->mended |= (uint16_t)(left & -left);
    } else if (left && tgtd_whole(sc) && !sc->tgtd.swap && !sc->tgtd.swapped) {
        s->asked = alua_set(sc, "", (unsigned)__builtin_ctz(left), "optimized", 0);
    }
    if (groups_mask(sc) & ~s->mended)
        sim_at(sc->w, t, MEND_NS);
}

void stir_calm(struct scene *sc)
{
    struct stir *s = sc->stir;

    sc->tgtd.swap = false;
    if (sc->tgtd.swapped)
        tgtd_stop(sc);
    s->mend.fn = mend;
    sim_at(sc->w, &s->mend, MEND_NS);
}

bool stir_is_calm(const struct scene *sc)
{
    return !(groups_mask(sc) & ~sc->stir->mended) && !sc->tgtd.swapped;
}

/* ---- set-up ---------------------------------------------------------------------------------------------- */

static void do_stir(struct scene *sc, enum stir_kind k)
{
    struct nexus_end *n = sc->nexus[sim_rng_below(&sc->path_rng, sc->nexuses_nr)];
    const unsigned unit = (unsigned)sim_rng_below(&sc->path_rng, sc->plan.units);
    struct desk *d = &n->client->nexus[0].desk[unit];
    struct route *r = paths_route(n, unit);

    switch (k) {
    case STIR_LEAVE: do_leave(sc, r); break;
    case STIR_ADMIN: do_admin(sc, r); break;
    case STIR_POLICY: do_disk(sc, d, SCENE_FAULT_POLICY, call_policy); break;
    case STIR_WEIGHT:
        if (is_in(r))
            sim_call(n->rt, call_weight, r);
        break;
    case STIR_CUT: do_cut(sc, n); break;
    case STIR_FAR: do_far(sc, n); break;
    case STIR_FLAP: do_flap(sc, n); break;
    case STIR_ALL_CUT: do_all_cut(sc, n->client); break;
    case STIR_ALUA: do_alua(sc); break;
    case STIR_SWAP: do_swap(sc); break;
    case STIR_CLOSE: do_disk(sc, d, SCENE_FAULT_CLOSE, call_disk_close); break;
    case STIR_FAIL_QUEUED: do_disk(sc, d, SCENE_FAULT_FAIL_QUEUED, call_fail_queued); break;
    case STIR_LATE: do_late(sc, n); break;
    case STIR_GHOST: do_ghost(sc, n); break;
    case STIR_KINDS: break;
    }
}

static void every_fired(struct sim_timer *t)
{
    struct stir_every *e = container_of(t, struct stir_every, timer);
    struct scene *sc = e->scene;

    if (sc->act != ACT_STORM || sc->failed)
        return;
    do_stir(sc, e->kind);
    sim_at(sc->w, t, draw(sc, 1, 2 * e->mean_ns));
}

struct stir *stir_new(struct scene *sc)
{
    struct stir *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->scene = sc;
    return s;
}

void stir_free(struct stir *s)
{
    free(s);
}

void stir_start(struct scene *sc)
{
    for (unsigned k = 0; k < STIR_KINDS; k++) {
        struct stir_every *e = &sc->stir->every[k];

        if (!one_in(sc, 3) && !(k == STIR_SWAP && sc->plan.swaps))
            continue;
        *e = (struct stir_every){ .timer.fn = every_fired, .scene = sc, .kind = k };
        e->mean_ns = sc->plan.storm_ns / draw(sc, 1, most[k]);
        sim_at(sc->w, &e->timer, draw(sc, 1, 2 * e->mean_ns));
    }
}
