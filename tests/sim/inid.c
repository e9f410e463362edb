/*
 * inid.c - an initiator's program: sessions on cores, a disk for each unit, as corelaned composes them
 *
 * A session keeps its name and ISID for as long as the scene lasts, across logouts and deaths of its program: a
 * new login then replaces what the target still has of the old one, and that is what the oracle counts on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "tests/sim/scene.h"

#define TICK_NS       (250 * RT_MS)
#define TICK_MULTI_NS (40 * RT_MS)

/* ---- disks ----------------------------------------------------------------------------------------------- */

static void disk_event(void *user, enum mpio_event ev, const char *why)
{
    struct desk *d = user;

    scene_log(d->nexus->scene, "    nexus %u unit %u: disk event %d %s", d->nexus->id, d->unit->number, ev,
              why ? why : "");
    if (d->path && d->path->lun->info.block_len != d->unit->per_block * STAMP_LEN)
        scene_fail(d->nexus->scene, "nexus %u takes unit %u for another one", d->nexus->id, d->unit->number);
}

static void call_close(void *arg)
{
    mpio_path_close(arg);
}

static void path_closed(struct desk *d)
{
    sim_on(mpio_nexus_rt(d->nexus->nexus), call_close, d->path);
    d->path = NULL;
    d->opening = false; /* the tick tries again */
}

static void disk_joined(void *user, int err, const char *why)
{
    struct desk *d = user;
    struct nexus_end *n = d->nexus;

    if (err) {
        scene_log(n->scene, "    nexus %u unit %u: not joined: %d %s", n->id, d->unit->number, err, why);
        mpio_disk_free(d->leaving);
        d->leaving = NULL;
        path_closed(d);
        return;
    }
    d->disk = d->leaving;
    d->leaving = NULL;
    d->lun = d->path->lun;
    d->opening = d->abandoned = false;
    desk_start(d);
    pr_start(d);
}

static void path_join(void *arg)
{
    struct desk *d = arg;
    struct nexus_end *n = d->nexus;

    if (mpio_path_lun_info(d->path)->block_len != d->unit->per_block * STAMP_LEN)
        scene_fail(n->scene, "unit %u has blocks of %u bytes", d->unit->number,
                   mpio_path_lun_info(d->path)->block_len);
    /* What was given up on this session has ended, or it would not have opened. */
    hist_nexus_up(d->unit->hist, n->id);
    if (mpio_disk_new(&d->leaving, n->rt, NULL, disk_event, d)) {
        d->leaving = NULL;
        path_closed(d);
        return;
    }
    mpio_disk_join(d->leaving, d->path, disk_joined, d);
}

/* On the session's core. */
static void path_opened(void *user, int err, const char *why)
{
    struct desk *d = user;
    struct nexus_end *n = d->nexus;

    scene_log(n->scene, "    nexus %u unit %u: opened: %d %s", n->id, d->unit->number, err, why ? why : "");
    if (err)
        d->opening = false; /* the tick tries again */
    else
        sim_on(n->rt, path_join, d);
}

static void call_open(void *arg)
{
    struct desk *d = arg;

    if (mpio_path_open(&d->path, d->nexus->nexus, (uint16_t)d->unit->number, path_opened, d))
        d->opening = false;
}

static void disk_left(void *user)
{
    struct desk *d = user;

    mpio_disk_free(d->leaving);
    d->leaving = NULL;
    path_closed(d);
}

/* Takes a turn or two, for which it counts as being opened. */
static void disk_close(struct desk *d)
{
    if (!d->disk)
        return;
    d->leaving = d->disk;
    d->disk = NULL;
    d->lun = NULL;
    d->opening = true;
    mpio_disk_leave(d->leaving, d->path, disk_left, d);
}

static void desk_tick(struct desk *d)
{
    struct nexus_end *n = d->nexus;

    if (n->moving)
        return;
    if (d->disk && desk_idle(d) && d->lun->err && !d->lun->offline) /* gone for good: look for it anew */
        disk_close(d);
    if (d->disk || d->opening || n->s->state != INI_UP)
        return;
    d->opening = true;
    nexus_on(n, call_open, d);
}

/* ---- sessions -------------------------------------------------------------------------------------------- */

static void on_up(void *user)
{
    struct nexus_end *n = user;

    mpio_nexus_up(n->nexus);
    n->ups++;
    if (n->scene->plan.near[n->client->id])
        n->scene->tally->logins[near_shm(n)]++;
    if (n->scene->plan.multi)
        paths_up(n);
    for (unsigned i = 0; i < n->scene->plan.units && !n->scene->plan.multi; i++) {
        hist_nexus_up(n->scene->unit[i].hist, n->id);
        prh_nexus_up(&n->scene->unit[i].prh, n->id);
        if (!n->desk[i].pr.busy)
            pr_aborts_over(&n->desk[i]);
    }
}

static void on_down(void *user, int err, const char *why)
{
    struct nexus_end *n = user;

    mpio_nexus_down(n->nexus, err, why);
    n->breaks++;
    if (n->scene->plan.multi)
        paths_down(n);
    for (unsigned i = 0; i < n->scene->plan.units; i++)
        hist_nexus_again(n->scene->unit[i].hist, nexus_hist(n));
}

static void on_failed(void *user, int err, const char *why)
{
    struct nexus_end *n = user;

    mpio_nexus_failed(n->nexus, err, why);
    n->failed = true;
    n->due_ns = rt_now(n->rt) + n->scene->plan.hold_ns;
}

static void call_begin(void *arg)
{
    struct nexus_end *n = arg;
    static const struct ini_sess_events events = { .up = on_up, .down = on_down, .failed = on_failed };

    struct rt *rt = rt_self();
    char name[8];

    snprintf(name, sizeof(name), "n%u", n->id);
    if (ini_sess_new(&n->s, rt, &n->conf, &events, n)) {
        n->s = NULL;
        return;
    }
    if (mpio_nexus_new(&n->nexus, n->s, name)) {
        ini_sess_free(n->s);
        n->s = NULL;
        n->nexus = NULL;
        return;
    }
    n->life = LIFE_RUN;
    n->failed = false;
    ini_sess_start(n->s);
}

static void nexus_open(struct nexus_end *n)
{
    struct rt *rt = n->rt;

    if (n->scene->plan.multi)               /* on any core, whatever the disks' is */
        rt = rt_host_at(n->client->host, (unsigned)sim_rng_below(&n->rng, rt_host_count(n->client->host)));
    sim_on(rt, call_begin, n);
}

static bool desks_idle(const struct nexus_end *n)
{
    for (unsigned i = 0; i < n->scene->plan.units; i++)
        if (!desk_idle(&n->desk[i]) || n->desk[i].opening || n->desk[i].pr.busy)
            return false;
    return true;
}

static void on_stopped(void *user)
{
    struct nexus_end *n = user;

    n->life = LIFE_STOPPED; /* the tick frees it */
}

static void call_stop(void *arg)
{
    struct nexus_end *n = arg;

    ini_sess_stop(n->s, n->drain, on_stopped, n);
}

static void sess_stop(struct nexus_end *n, bool drain)
{
    n->life = LIFE_STOPPING;
    n->drain = drain;
    nexus_on(n, call_stop, n);
}

static void call_free(void *arg)
{
    struct nexus_end *n = arg;

    struct ini_sess *s = n->s;

    mpio_nexus_free(n->nexus);
    n->nexus = NULL;
    n->s = NULL;                            /* from here on nobody looks at it: a fault is told as the turn ends */
    ini_sess_free(s);
}

/* Gives the session up; it comes back later, unless its program leaves. */
void nexus_close(struct nexus_end *n, enum nexus_way way)
{
    if (n->life != LIFE_RUN || n->moving) /* the tick tries again */
        return;
    if (n->scene->plan.multi && way == WAY_ABANDON) {
        paths_disk_close(&n->client->nexus[0].desk[sim_rng_below(&n->rng, n->scene->plan.units)]);
        return;
    }
    n->life = LIFE_CLOSING;
    n->way = (uint8_t)way;
    if (n->scene->plan.multi)
        return;
    if (way == WAY_ABRUPT)
        sess_stop(n, sim_rng_below(&n->rng, 2));
    for (unsigned i = 0; way == WAY_ABANDON && i < n->scene->plan.units; i++) {
        struct desk *d = &n->desk[i];

        if (d->disk) {
            d->abandoned = true;
            mpio_disk_fail(d->disk, -EIO);
        }
    }
}

static void closing_tick(struct nexus_end *n)
{
    if (n->scene->plan.multi) {
        if (paths_leave(n) && !n->moving)
            sess_stop(n, n->way == WAY_DRAIN || sim_rng_below(&n->rng, 2));
        return;
    }
    /* A session that was never up has nothing to wait for, and its disks are not looked over. */
    if (!desks_idle(n) && n->s->state != INI_FAILED && n->s->state != INI_LOGIN)
        return;
    if (desks_idle(n)) {
        for (unsigned i = 0; i < n->scene->plan.units; i++)
            disk_close(&n->desk[i]);
        if (!desks_idle(n))
            return; /* they are closed at the next tick */
    }
    sess_stop(n, true);
}

/* Return: whether nothing is left of its desks' part in it. */
static bool desks_stopped(struct nexus_end *n)
{
    if (!desks_idle(n)) /* they are being told */
        return false;
    for (unsigned i = 0; i < n->scene->plan.units; i++) {
        for (unsigned k = 0; k < DEPTH_MAX; k++)
            near_give(&n->desk[i].slot[k]);
        disk_close(&n->desk[i]);
    }
    return desks_idle(n); /* else they are closed at the next tick */
}

static void stopped_tick(struct nexus_end *n)
{
    if (n->scene->plan.multi)
        paths_stopped(n);
    else if (!desks_stopped(n))
        return;
    nexus_on(n, call_free, n);
    n->life = LIFE_OFF;
    n->due_ns = rt_now(n->rt) + sim_rng_range(&n->rng, RT_MS, n->scene->plan.hold_ns);
}

static bool all_off(const struct client *c)
{
    if (c->scene->plan.multi && !paths_closed(c))
        return false;
    for (unsigned i = 0; i < c->nexuses_nr; i++)
        if (c->nexus[i].life != LIFE_OFF)
            return false;
    return true;
}

static void on_tick(struct rt_timer *t)
{
    struct nexus_end *n = container_of(t, struct nexus_end, tick);
    struct client *c = n->client;

    if (n->scene->plan.multi && n == c->nexus)
        paths_desks(c);
    switch ((enum nexus_life)n->life) {
    case LIFE_OFF:
        if (!c->leaving && rt_now(n->rt) >= n->due_ns)
            nexus_open(n);
        break;
    case LIFE_RUN:
        if (c->leaving || (n->failed && rt_now(n->rt) >= n->due_ns)) {
            nexus_close(n, WAY_DRAIN);
            break;
        }
        if (n->scene->plan.multi) {
            paths_run(n);
            break;
        }
        for (unsigned i = 0; i < n->scene->plan.units; i++)
            desk_tick(&n->desk[i]);
        break;
    case LIFE_CLOSING: closing_tick(n); break;
    case LIFE_STOPPED: stopped_tick(n); break;
    case LIFE_STOPPING: break;
    }
    if (c->leaving && all_off(c))
        rt_host_stop(c->host);
    else
        rt_timer_arm(n->rt, &n->tick, n->scene->plan.multi ? TICK_MULTI_NS : TICK_NS);
}

static void on_start(struct rt_msg *m)
{
    on_tick(&container_of(m, struct nexus_end, start)->tick);
}

/* ---- the program ----------------------------------------------------------------------------------------- */

static int inid_main(void *arg)
{
    struct client *c = arg;
    struct scene *sc = c->scene;
    const int cores[] = { 0, 1, 2, 3 };
    const struct rt_conf conf = { .cores = cores,
                                  .cores_nr = sc->plan.cli_cores[c->id],
                                  .mode = sc->plan.cli_mode };

    if (rt_host_new(&c->host, &conf))
        return 1;
    for (unsigned i = 0; i < c->nexuses_nr; i++) {
        struct nexus_end *n = &c->nexus[i];

        n->rt = rt_host_at(c->host, sc->plan.multi ? sc->plan.home[c->id] : i % conf.cores_nr);
        memset(&n->tick, 0, sizeof(n->tick));
        n->tick.fn = on_tick;
        n->start = (struct rt_msg){ .fn = on_start };
        n->moving = false;
        n->due_ns = 0;
        rt_post(n->rt, &n->start);
    }
    if (sc->plan.multi)
        paths_start(c);
    return 0; /* the world turns the reactors */
}

static void inid_stopped(void *arg)
{
    struct client *c = arg;

    for (unsigned i = 0; i < c->nexuses_nr; i++) /* their timers were of this host */
        for (unsigned k = 0; k < c->scene->plan.units; k++) {
            desk_orphan(&c->nexus[i].desk[k]);
            pr_orphan(&c->nexus[i].desk[k]);
        }
    rt_host_free(c->host);
    c->host = NULL;
}

static const struct sim_program inid = { .name = "inid", .main = inid_main, .stopped = inid_stopped };

static void boot_timer(struct sim_timer *t)
{
    client_boot(container_of(t, struct client, boot));
}

void client_boot(struct client *c)
{
    if (!sim_machine_is_on(c->machine))
        sim_machine_on(c->machine);
    if (c->prog && sim_prog_runs(c->prog))
        return;
    sim_start(c->machine, &inid, c, &c->prog);
}

void client_boot_later(struct client *c, uint64_t ns)
{
    c->boot.fn = boot_timer;
    sim_at(c->scene->w, &c->boot, ns);
}

void client_gone(struct client *c)
{
    if (c->scene->plan.multi)
        paths_gone(c);
    for (unsigned i = 0; i < c->nexuses_nr; i++) {
        struct nexus_end *n = &c->nexus[i];

        for (unsigned k = 0; k < c->scene->plan.units; k++) {
            desk_orphan(&n->desk[k]);
            pr_orphan(&n->desk[k]);
            hist_nexus_again(c->scene->unit[k].hist, nexus_hist(n));
        }
        n->s = NULL;
        n->nexus = NULL;
        n->life = LIFE_OFF;
        n->failed = n->moving = false;
        n->once = 0;
        n->breaks++;
        n->seen_reset = false;
    }
    c->host = NULL;
}

void client_leave(struct client *c)
{
    c->leaving = true;
}

uint8_t nexus_state(const struct nexus_end *n)
{
    /* A machine that loses its power has no programs any more when its disk loses sectors. */
    return n->s && sim_prog_runs(n->client->prog) ? n->s->state : INI_FREE;
}
