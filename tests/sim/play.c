/*
 * play.c - the acts of a scene, and what has to be true in each
 *
 * Storm: work under faults. Calm: no more faults, no new work; all that was begun must end, every session must be
 * up and every disk open again, in bounded time of the world's. Audit: every session reads every sector; then the
 * target loses its power, and they read again, so that what was to be stable is looked at. End: everybody leaves,
 * and no program may have left memory behind.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "tests/sim/scene.h"

#define CALM_NS  (900 * RT_S) /* the longest waits follow one another a few times */
#define AUDIT_NS (300 * RT_S)
#define END_NS   (120 * RT_S)

/* ---- conditions ------------------------------------------------------------------------------------------ */

static bool desk_calm(const struct desk *d)
{
    return d->disk && !d->lun->shut && desk_idle(d) && !d->pr.busy &&
           (!d->nexus->scene->plan.reservations || d->unit->pr_shut);
}

static bool calm(void *arg)
{
    struct scene *sc = arg;

    if (sc->failed)
        return true;
    for (unsigned i = 0; i < sc->nexuses_nr; i++) {
        const struct nexus_end *n = sc->nexus[i];

        if (n->life != LIFE_RUN || !n->s || n->s->state != INI_UP)
            return false;
        for (unsigned k = 0; k < sc->plan.units && !sc->plan.multi; k++)
            if (!desk_calm(&n->desk[k]))
                return false;
    }
    for (unsigned i = 0; i < sc->plan.clients && sc->plan.multi; i++)
        if (!paths_calm(&sc->client[i]))
            return false;
    return (!sc->stir || stir_is_calm(sc)) && tgtd_whole(sc) && sc->tgtd.loop && !(sc->ctl.prog && sim_prog_runs(sc->ctl.prog));
}

/* Over several paths it is the first session that has them. */
static bool desk_is(const struct desk *d)
{
    return !d->nexus->scene->plan.multi || d->multi;
}

static bool audited(void *arg)
{
    struct scene *sc = arg;

    if (sc->failed)
        return true;
    for (unsigned i = 0; i < sc->nexuses_nr; i++)
        for (unsigned k = 0; k < sc->plan.units; k++)
            if (!sc->nexus[i]->desk[k].audit_done && desk_is(&sc->nexus[i]->desk[k]))
                return false;
    return true;
}

static bool left(void *arg)
{
    struct scene *sc = arg;

    for (unsigned i = 0; i < sc->plan.clients; i++)
        if (sim_prog_runs(sc->client[i].prog))
            return sc->failed;
    return true;
}

static bool tgt_left(void *arg)
{
    struct scene *sc = arg;

    return sc->failed || !sim_prog_runs(sc->tgtd.prog);
}

/* Who is not where he should be. */
static void tell(struct scene *sc, char *out, size_t len)
{
    size_t at =
        (size_t)snprintf(out, len, "target: %s%s, started %u times", tgtd_whole(sc) ? "whole" : "not whole",
                         sc->tgtd.stopping ? ", stopping" : "", sc->tgtd.starts);

    for (unsigned i = 0; i < sc->nexuses_nr && at < len; i++) {
        const struct nexus_end *n = sc->nexus[i];

        at += (size_t)snprintf(out + at, len - at, "\n    nexus %u: life %d, %s, steps %x%s%s", n->id, n->life,
                               ini_state_name(nexus_state(n)), near_steps(n), n->s ? ", last: " : "",
                               n->s ? n->s->why : "");
        for (unsigned k = 0; k < sc->plan.units && at < len && !sc->plan.multi; k++) {
            const struct desk *d = &n->desk[k];

            at += (size_t)snprintf(out + at, len - at, "\n        unit %u: %s%s%s", k,
                                   d->disk      ? "open"
                                   : d->opening ? "opening"
                                                : "closed",
                                   d->pr.busy ? ", a reservation command is under way" : "",
                                   d->disk && d->lun->shut ? ", gate shut" : "");
            for (unsigned m = 0; m < DEPTH_MAX && at < len; m++)
                if (d->slot[m].busy)
                    at += (size_t)snprintf(out + at, len - at, ", slot %u waits (operation %u, sectors %u+%u)",
                                           m, d->slot[m].op, d->slot[m].first, d->slot[m].n);
        }
    }
    for (unsigned i = 0; i < sc->plan.clients && at < len && sc->plan.multi; i++)
        at += (size_t)paths_tell(&sc->client[i], out + at, len - at);
}

static bool await(struct scene *sc, bool (*met)(void *arg), uint64_t ns, const char *what)
{
    char text[4000];

    if (sc->failed)
        return false;
    if (!sim_run_until(sc->w, met, sc, ns) && !sc->failed) {
        tell(sc, text, sizeof(text));
        scene_fail(sc, "%s did not come to an end in %" PRIu64 " s of the world's time; %s", what,
                   (uint64_t)(ns / RT_S), text);
    }
    return !sc->failed;
}

/* ---- acts ------------------------------------------------------------------------------------------------ */

static void act(struct scene *sc, enum act a)
{
    static const char *const names[] = { "storm", "calm", "audit", "drill", "end" };

    scene_log(sc, "---- %s ----", names[a]);
    sc->act = a;
}

static void storm(struct scene *sc)
{
    act(sc, ACT_STORM);
    swarm_start(sc);
    moves_start(sc);
    if (sc->stir)
        stir_start(sc);
    tgtd_boot(sc);
    for (unsigned i = 0; i < sc->plan.clients; i++)
        client_boot(&sc->client[i]);
    sim_run(sc->w, sc->plan.storm_ns);
}

static void audit(struct scene *sc)
{
    act(sc, ACT_AUDIT);
    for (unsigned i = 0; i < sc->nexuses_nr; i++)
        for (unsigned k = 0; k < sc->plan.units; k++)
            desk_audit(&sc->nexus[i]->desk[k]);
    await(sc, audited, AUDIT_NS, "the audit");
}

/* And a target that met a failed sync was started anew: until then it takes no writes. */
static bool whole(void *arg)
{
    const struct scene *sc = arg;

    return calm(arg) && !sc->tgtd.sync_failed_ns;
}

static void drill(struct scene *sc)
{
    if (sc->failed || !sc->plan.drill)
        return;
    act(sc, ACT_CALM);
    if (!await(sc, whole, CALM_NS, "the calm before a drill"))
        return;
    drill_set(sc);
    act(sc, ACT_DRILL);
    drill_run(sc);
    act(sc, ACT_CALM);
    await(sc, calm, CALM_NS, "the calm after a drill");
}

static void calm_down(struct scene *sc)
{
    struct sim_sched sched;

    act(sc, ACT_CALM);
    sim_calm(sc->w);
    if (sc->stir)
        stir_calm(sc);
    sim_sched_get(sc->w, &sched);
    if (!sc->tgtd.loop)                     /* there are sessions that go by shared memory or not at all */
        tgtd_stop(sc);
    sched.hiccup_ppm = 0;                   /* a core that is held up for a second outlasts a target's stop */
    sim_sched_set(sc->w, &sched);
    await(sc, calm, CALM_NS, "the calm after the storm");
}

static void power_cycle(struct scene *sc)
{
    if (sc->failed)
        return;
    swarm_power(sc, sc->tgtd.machine, RT_S);
    act(sc, ACT_CALM);
    await(sc, calm, CALM_NS, "the calm after a power loss");
}

static void leak_check(struct scene *sc, const char *name, const struct sim_prog *p)
{
    struct sim_prog_info info;

    sim_prog_info(p, &info);
    if (!sc->failed && info.state == SIM_EXITED && info.leaked_blocks)
        scene_fail(sc, "%s left %" PRIu64 " blocks of memory behind, %" PRIu64 " bytes", name,
                   info.leaked_blocks, info.leaked_bytes);
}

static void leave(struct scene *sc)
{
    if (sc->failed)
        return;
    act(sc, ACT_END);
    for (unsigned i = 0; i < sc->plan.clients; i++)
        client_leave(&sc->client[i]);
    if (!await(sc, left, END_NS, "logging out"))
        return;
    for (unsigned i = 0; i < sc->plan.clients; i++)
        leak_check(sc, sc->client[i].name, sc->client[i].prog);
    sim_signal(sc->tgtd.prog, SIGTERM);
    if (!await(sc, tgt_left, END_NS, "the target's stop"))
        return;
    if (!sc->tgtd.clean)
        scene_fail(sc, "the target, without sessions, did not stop in time");
    leak_check(sc, "the target", sc->tgtd.prog);
}

/* ---- a seed ---------------------------------------------------------------------------------------------- */

static void line_out(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

static void sum_up(struct scene *sc, struct result *out)
{
    out->failed = sc->failed;
    memcpy(out->why, sc->why, sizeof(out->why));
    out->sim_ns = sim_now(sc->w);
    out->requests = sc->requests;
    out->events = sim_events(sc->w);
    out->fingerprint = sim_fingerprint(sc->w);
    for (unsigned i = 0; i < sc->plan.units; i++) {
        struct hist_stats st;

        hist_stats(sc->unit[i].hist, &st);
        out->checked += st.checked;
        out->skipped += st.skipped;
        out->judged += sc->unit[i].prh.judged;
        if (st.clusters_max > out->clusters_max)
            out->clusters_max = st.clusters_max;
        out->fingerprint = (out->fingerprint ^ st.checked) * 0x9e3779b97f4a7c15ull;
    }
}

void scene_play(uint64_t seed, enum scene_kind kind, uint8_t *buffers, bool verbose, struct tally *tally, struct result *out)
{
    struct scene *sc = scene_new(seed, kind, buffers, tally);

    memset(out, 0, sizeof(*out));
    sc->verbose = verbose;
    if (verbose)
        sim_log_to(sc->w, line_out, NULL, RT_DEBUG);
    storm(sc);
    calm_down(sc);
    audit(sc);
    drill(sc);
    power_cycle(sc);
    audit(sc);
    leave(sc);
    sum_up(sc, out);
    scene_free(sc);
}
