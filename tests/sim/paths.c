/*
 * paths.c - disks that have a path over each session of their initiator
 *
 * Owns such disks and their paths: opened as their sessions are up, joined, let go, closed, opened again. Disks and desks live
 * on one core, sessions on any, from which they move; what is called of a session is called where it is, and not while it moves.
 *
 * To the oracle such an initiator is one nexus. A write that failed may still be carried out until the disk sends a newer
 * one, which it must not do before; where no disk is left that knows of it (its program was killed, the disk closed), until
 * every session that it may have gone over has logged in again: until then that path is a ghost's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "tests/sim/scene.h"

static struct scene *scene_of(const struct route *r)
{
    return r->nexus->scene;
}

static void route_log(const struct route *r, const char *what, int err, const char *why)
{
    scene_log(scene_of(r), "    nexus %u unit %u: %s: %d %s", r->nexus->id, r->desk->unit->number, what, err,
              why ? why : "");
}

static void route_wait(struct route *r)
{
    struct nexus_end *n = r->nexus;

    r->due_ns = rt_now(n->rt) + sim_rng_range(&n->rng, RT_MS, n->scene->plan.hold_ns);
}

/* What others left is another matter: that is over for the judge when a newer write is acknowledged. */
static void ghost_over(struct route *r)
{
    r->ghost = false;
}

/* ---- a session's paths ----------------------------------------------------------------------------------- */

/* Its own, as the target's configuration names it. */
static bool is_own(const struct desk *d, const struct ini_lun_info *i)
{
    char naa[40];

    snprintf(naa, sizeof(naa), "6000000000000000000000000000000%u", d->unit->number + 1);
    return strstr(i->wwid, naa);
}

/* On the session's core. */
static void opened(void *user, int err, const char *why)
{
    struct route *r = user;

    route_log(r, "opened", err, why);
    if (err) {
        r->step = ROUTE_NONE;
        route_wait(r);
        return;
    }
    /* What was given up on this session has ended, or it would not have opened. */
    ghost_over(r);
    if (is_own(r->desk, mpio_path_lun_info(r->path))) {
        r->step = ROUTE_OPEN;
        return;
    }
    if (!scene_of(r)->plan.swaps)
        scene_fail(scene_of(r), "unit %u calls itself %s", r->desk->unit->number,
                   mpio_path_lun_info(r->path)->wwid);
    r->step = ROUTE_LEFT; /* who keeps books of disks knows its name, and does not begin with another */
}

static void call_open(void *arg)
{
    struct route *r = arg;

    r->step = ROUTE_OPENING;
    if (mpio_path_open(&r->path, r->nexus->nexus, (uint16_t)r->desk->unit->number, opened, r))
        r->step = ROUTE_NONE;
}

static void call_close(void *arg)
{
    mpio_path_close(arg);
}

static void route_close(struct route *r)
{
    nexus_on(r->nexus, call_close, r->path);
    r->path = NULL;
    r->step = ROUTE_NONE;
    route_wait(r);
}

void paths_run(struct nexus_end *n)
{
    for (unsigned i = 0; i < n->scene->plan.units && !n->moving; i++) {
        struct route *r = paths_route(n, i);

        if (r->step == ROUTE_LEFT)
            route_close(r);
        else if (r->step == ROUTE_NONE && n->s->state == INI_UP && rt_now(n->rt) >= r->due_ns && !r->leave &&
                 !r->desk->closing && !n->client->leaving)
            nexus_on(n, call_open, r);
    }
}

static void give_all(struct desk *d)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        if (!d->slot[i].busy)
            near_give(&d->slot[i]);
}

/* Memory that the session gave is back; requests that wait for a path, with such memory, wait in vain if all leave. */
static bool memory_is_back(struct nexus_end *n)
{
    bool all = true;

    for (unsigned i = 0; i < n->scene->plan.units; i++) {
        struct desk *d = paths_route(n, i)->desk;

        if (!d->made || !buf_of_nexus(d->made, n->nexus))
            continue;
        give_all(d);
        mpio_disk_no_path_fail(d->made);
        all = false;
    }
    return all;
}

bool paths_leave(struct nexus_end *n)
{
    bool all = true;

    for (unsigned i = 0; i < n->scene->plan.units; i++) {
        struct route *r = paths_route(n, i);

        r->leave = true;
        /* Nobody will ever settle what waits for that: as an operator, who sees no path, would. */
        if (n->s->state == INI_FAILED && r->step == ROUTE_LEAVING)
            mpio_disk_no_path_fail(r->desk->made);
        if (r->step == ROUTE_LEFT && !n->moving)
            route_close(r);
        all &= r->step == ROUTE_NONE;
    }
    return all && memory_is_back(n);
}

void paths_up(struct nexus_end *n)
{
    for (unsigned i = 0; i < n->scene->plan.units; i++)
        ghost_over(paths_route(n, i));
}

void paths_hurry(struct client *c)
{
    struct nexus_end *n = &c->nexus[0];

    c->hurry_ns = rt_now(n->rt) + sim_rng_range(&n->rng, 10 * RT_MS, 80 * RT_MS);
    for (unsigned i = 0; i < c->scene->plan.units; i++)
        if (n->desk[i].disk)
            desk_burst(&n->desk[i]);
}

static void call_hurry(void *arg)
{
    paths_hurry(arg);
}

/* What is carried out late is noticed where something newer is there. */
void paths_down(struct nexus_end *n)
{
    if (n->scene->act == ACT_STORM && n->hurries)
        sim_on(n->rt, call_hurry, n->client);
    n->hurries = false;
}

void paths_stopped(struct nexus_end *n)
{
    const bool clean = ini_sess_logged_out(n->s);

    for (unsigned i = 0; i < n->scene->plan.units; i++) {
        struct route *r = paths_route(n, i);

        if (clean)
            ghost_over(r);
        else
            r->ghost |= r->used;
        r->used = r->leave = false;
    }
}

/* ---- joining and leaving --------------------------------------------------------------------------------- */

static void disk_event(void *user, enum mpio_event ev, const char *why)
{
    struct desk *d = user;

    scene_log(d->nexus->scene, "    initiator %u unit %u: disk event %d %s", d->nexus->client->id,
              d->unit->number, ev, why ? why : "");
    for (unsigned i = 0; i < SESS_MAX; i++) {
        const struct route *r = &d->route[i];

        if (r->step == ROUTE_JOINED && r->path->in_use && !is_own(d, &r->path->seen.info))
            scene_fail(d->nexus->scene, "initiator %u uses a path of unit %u that leads to %s",
                       d->nexus->client->id, d->unit->number, r->path->seen.info.wwid);
    }
}

static void joined(void *user, int err, const char *why)
{
    struct route *r = user;
    struct desk *d = r->desk;

    route_log(r, "joined", err, why);
    if (err) {
        if (!scene_of(r)->plan.swaps)
            scene_fail(scene_of(r), "unit %u is refused by nexus %u: %s", d->unit->number, r->nexus->id, why);
        r->step = ROUTE_LEFT;
        return;
    }
    r->step = ROUTE_JOINED;
    r->used = true;
    if (d->closing || d->disk)
        return;
    d->disk = d->made;
    d->abandoned = false;
    desk_start(d);
}

static void left(void *user)
{
    struct route *r = user;

    route_log(r, "left", 0, NULL);
    /* Where no other was left to know of it, it went all the same. */
    r->ghost |= r->path->owed > path_settled(r->path);
    r->step = ROUTE_LEFT;
}

static void route_leave(struct route *r)
{
    if (r->step == ROUTE_OPEN)
        r->step = ROUTE_LEFT;
    if (r->step != ROUTE_JOINED)
        return;
    r->step = ROUTE_LEAVING;
    mpio_disk_leave(r->desk->made, r->path, left, r);
}

/* What the swarm did to it stays, but not for ever. */
static void route_mend(struct route *r)
{
    const struct mpio_path *p = r->path;
    const bool amiss = p->quarantine || p->admin || (p->seen.gone && r->nexus->s->state == INI_UP);

    if (amiss && !p->reopening_asked && !p->reinstate &&
        (scene_of(r)->act != ACT_STORM || !sim_rng_below(&r->nexus->rng, 50)))
        mpio_disk_path_admin(r->desk->made, r->path, false);
}

static void route_run(struct route *r)
{
    struct desk *d = r->desk;

    if (r->leave || d->closing) {
        route_leave(r);
    } else if (r->step == ROUTE_OPEN && !d->waits) {
        r->step = ROUTE_JOINING;
        mpio_disk_join(d->made, r->path, joined, r);
    } else if (r->step == ROUTE_JOINED) {
        route_mend(r);
    }
}

/* ---- disks ----------------------------------------------------------------------------------------------- */

void paths_disk_close(struct desk *d)
{
    if (!d->made || d->closing)
        return;
    d->closing = d->abandoned = true;
    d->disk = NULL;
    mpio_disk_fail(d->made, -EIO);
    for (unsigned i = 0; i < SESS_MAX; i++) {
        struct route *r = &d->route[i];

        r->ghost |= r->used; /* its session may go on, and it ends there, or at the next login */
        d->waits |= r->ghost;
    }
}

static bool at_rest(const struct desk *d)
{
    for (unsigned i = 0; i < SESS_MAX; i++)
        if (d->route[i].step >= ROUTE_JOINING && d->route[i].step <= ROUTE_LEAVING)
            return false;
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        if (d->slot[i].lent)
            return false;
    return desk_idle(d) && !buf_going(d->made);
}

static void desk_run(struct desk *d)
{
    struct client *c = d->nexus->client;
    struct mpio_conf conf;
    bool leaves = d->closing;

    if (c->leaving && d->made) {
        d->closing = d->abandoned = true;
        d->disk = NULL;
    }
    if (!d->made && !d->closing && !c->leaving) {
        stir_conf(d->nexus->scene, &conf);
        if (mpio_disk_new(&d->made, d->nexus->rt, &conf, disk_event, d))
            d->made = NULL;
    }
    if (d->waits && !desk_ghosts(d))
        d->waits = false;
    if (!d->made)
        return;
    for (unsigned i = 0; i < c->nexuses_nr; i++) {
        route_run(&d->route[i]);
        leaves |= d->route[i].step == ROUTE_LEAVING;
    }
    if (leaves) /* memory of its session, among other things */
        give_all(d);
    if (!d->closing || !at_rest(d))
        return;
    mpio_disk_free(d->made);
    d->made = NULL;
    d->closing = false;
}

void paths_desks(struct client *c)
{
    for (unsigned i = 0; i < c->scene->plan.units; i++)
        desk_run(&c->nexus[0].desk[i]);
}

bool paths_closed(const struct client *c)
{
    for (unsigned i = 0; i < c->scene->plan.units; i++)
        if (c->nexus[0].desk[i].made)
            return false;
    return true;
}

/* ---- the program ----------------------------------------------------------------------------------------- */

void paths_start(struct client *c)
{
    for (unsigned i = 0; i < c->scene->plan.units; i++) {
        struct desk *d = &c->nexus[0].desk[i];

        d->multi = true;
        for (unsigned k = 0; k < c->nexuses_nr; k++) {
            d->route[k].desk = d;
            d->route[k].nexus = &c->nexus[k];
        }
    }
}

void paths_gone(struct client *c)
{
    for (unsigned i = 0; i < c->scene->plan.units; i++) {
        struct desk *d = &c->nexus[0].desk[i];

        for (unsigned k = 0; k < c->nexuses_nr; k++) {
            struct route *r = &d->route[k];

            r->ghost |= r->used;
            r->used = r->leave = false;
            r->step = ROUTE_NONE;
            r->path = NULL;
            r->due_ns = 0;
        }
        d->closing = d->waits = false;
    }
}

static bool route_calm(const struct route *r)
{
    const struct mpio_nexus *n = r->nexus->nexus;

    return r->step == ROUTE_JOINED && !r->leave && !r->nexus->moving && r->path->seen.up &&
           !r->path->quarantine && !r->path->admin && is_own(r->desk, &r->path->seen.info) &&
           !atomic_load(&n->requests) && !atomic_load(&n->bytes);
}

bool paths_calm(const struct client *c)
{
    for (unsigned i = 0; i < c->scene->plan.units; i++) {
        const struct desk *d = &c->nexus[0].desk[i];

        if (!d->disk || !d->disk->use_nr || !desk_idle(d))
            return false;
        for (unsigned k = 0; k < c->nexuses_nr; k++)
            if (!route_calm(&d->route[k]))
                return false;
    }
    return true;
}

static int route_tell(const struct route *r, char *out, size_t len)
{
    static const char *const steps[] = { "none", "opening", "open", "joining", "joined", "leaving", "left" };
    const struct mpio_path *p = r->path;

    if (r->step < ROUTE_JOINED || r->step == ROUTE_LEFT)
        return snprintf(out, len, "\n        path %u: %s%s%s", r->nexus->id, steps[r->step],
                        r->leave ? ", leaves" : "", r->ghost ? ", ghosts" : "");
    return snprintf(
        out, len,
        "\n        path %u: %s, %s (%s), ALUA %u, up %d open %d gone %d hold %d, in use %d, in flight %u (%u), "
        "fenced %u, fence %u, owed %u, settled %u",
        r->nexus->id, steps[r->step], mpio_path_state_names[p->state], p->why, p->seen.alua.state, p->seen.up,
        p->seen.open, p->seen.gone, p->seen.hold, p->in_use, p->in_flight,
        r->nexus->nexus ? atomic_load(&r->nexus->nexus->requests) : 0, p->fenced_nr, p->fence.step, p->owed,
        path_settled(p));
}

int paths_tell(const struct client *c, char *out, size_t len)
{
    size_t at = 0;

    out[0] = '\0';
    if (!sim_prog_runs(c->prog))
        return snprintf(out, len, "\n    initiator %u does not run", c->id);
    for (unsigned i = 0; i < c->scene->plan.units && at < len; i++) {
        const struct desk *d = &c->nexus[0].desk[i];

        at += (size_t)snprintf(out + at, len - at, "\n    initiator %u unit %u: %s%s%s%s", c->id, i,
                               d->disk   ? "open"
                               : d->made ? "made"
                                         : "none",
                               d->closing ? ", closing" : "", d->waits ? ", waits" : "",
                               desk_idle(d) ? "" : ", busy");
        for (unsigned k = 0; k < c->nexuses_nr && at < len; k++)
            at += (size_t)route_tell(&d->route[k], out + at, len - at);
    }
    return (int)at;
}
