/*
 * swarm.c - faults: which kinds there are in a scene and how many, drawn from its seed
 *
 * Each scene has a random few of all kinds, so that one does not hide what another would show. Some come by
 * probability (the world draws them for each segment, each operation of a disk), some at random times, and some
 * lie in wait: for a session to come into a state, or to send a command that must not be sent twice. What was hit is
 * counted by kind and by the state of the session it happened to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "tests/sim/swarm_internal.h"

/* ---- the tally ------------------------------------------------------------------------------------------- */

static void hit(struct scene *sc, unsigned fault, const struct nexus_end *n)
{
    uint8_t st = nexus_state(n);

    sc->tally->hit[fault][st]++;
    if (n->once && st == INI_UP)
        sc->tally->hit[fault][STATE_ONCE]++;
    for (uint32_t steps = near_steps(n), i = 0; steps; steps >>= 1, i++)
        sc->tally->near[fault][i] += steps & 1;
}

static void hit_all(struct scene *sc, unsigned fault)
{
    for (unsigned i = 0; i < sc->nexuses_nr; i++)
        hit(sc, fault, sc->nexus[i]);
}

void swarm_note(struct scene *sc, enum scene_fault f, const struct nexus_end *n)
{
    scene_log(sc, "fault: %s, nexus %d", scene_fault_name(f), n ? (int)n->id : -1);
    if (n)
        hit(sc, f, n);
    else
        hit_all(sc, f);
}

/* Each session has an address of the target's to itself. */
static struct nexus_end *conn_nexus(struct scene *sc, const struct rt_addr *target)
{
    char text[RT_ADDR_STR_MAX], portal[ISCSI_PORTAL_STR_MAX];

    rt_addr_format(target, text);
    for (unsigned i = 0; i < sc->nexuses_nr; i++) {
        iscsi_portal_format(&sc->nexus[i]->conf.portal, portal);
        if (!strcmp(text, portal))
            return sc->nexus[i];
    }
    return NULL;
}

static void on_fault(void *arg, enum sim_fault f, struct sim_machine *m, struct sim_conn *c)
{
    struct scene *sc = arg;
    struct sim_conn_info info;
    const struct nexus_end *n;

    if (f == SIM_FAULT_SYNC_EIO && m == sc->tgtd.machine) {
        for (unsigned i = 0; i < sc->plan.units; i++)
            hist_sync_failed(sc->unit[i].hist);
        sc->tgtd.upsets++;
        if (!sc->tgtd.sync_failed_ns)
            sc->tgtd.sync_failed_ns = sim_now(sc->w);
    }
    if (f == SIM_FAULT_SLOW_DISK)
        sc->swarm->slow_seen = true;
    if (f == SIM_FAULT_KILL || f == SIM_FAULT_FREEZE)
        return;                             /* whose it was says who did it */
    if (c) {
        sim_conn_info(c, &info);
        if ((n = conn_nexus(sc, &info.addr[1])))
            hit(sc, f, n);
        return;
    }
    if (!m || m == sc->tgtd.machine) {
        hit_all(sc, f);
        return;
    }
    for (unsigned i = 0; i < sc->nexuses_nr; i++)
        if (sc->nexus[i]->client->machine == m)
            hit(sc, f, sc->nexus[i]);
}

/* ---- lying in wait --------------------------------------------------------------------------------------- */

static void ambush_fired(struct later *l)
{
    if (l->scene->act != ACT_STORM)
        return;
    /* One that logs out is to be still at it when what the target had under way lands. */
    if (l->kind == K_KILL_TGT && nexus_state(l->nexus) == INI_LOGOUT)
        fault_conn(l->scene, K_BLACKHOLE, l->nexus);
    fault_do(l->scene, l->kind, l->nexus);
}

static void ambush_look(struct scene *sc, struct nexus_end *n, uint8_t state)
{
    struct swarm *s = sc->swarm;

    if (sc->act != ACT_STORM)
        return;
    for (unsigned i = 0; i < s->ambushes; i++) {
        struct ambush *a = &s->ambush[i];
        struct later *l;

        if (a->state != state || !a->left || !one_in(sc, state < STATES ? 3 : 2))
            continue;
        a->left--;
        l = fault_later(sc, ambush_fired, one_in(sc, 2) ? 0 : draw(sc, 0, 40 * RT_US) << draw(sc, 0, 6));
        if (!l)
            return;
        l->kind = a->kind;
        l->nexus = n;
    }
}

/* What the disk holds back must not be carried out once its session was replaced, or its unit reset. */
static void slow_look(struct scene *sc)
{
    struct swarm *s = sc->swarm;

    if (!s->slow_seen)
        return;
    s->slow_seen = false;
    if (!s->slow_resets || sc->act != ACT_STORM)
        return;
    s->slow_resets--;
    for (unsigned i = 0; i < sc->nexuses_nr; i++) {
        struct later *l;

        if (one_in(sc, 2) || !(l = fault_later(sc, ambush_fired, draw(sc, 0, RT_MS) << draw(sc, 0, 7))))
            continue;
        l->kind = one_in(sc, 2) ? K_LUN_RESET : near_shm(sc->nexus[i]) && one_in(sc, 2) ? K_KILL_TGT : K_RESET;
        l->nexus = sc->nexus[i];
        l->nexus->reset_lun = (uint16_t)(i % sc->plan.units);
    }
}

bool swarm_once(struct nexus_end *n, uint32_t bytes)
{
    struct scene *sc = n->scene;
    struct sim_conn *c = sim_conn_find(sc->w, n->conn_id);

    if (sc->act != ACT_STORM || !c || near_shm(n))
        return false;
    for (unsigned i = 0; i < sc->swarm->ambushes; i++) {
        struct ambush *a = &sc->swarm->ambush[i];

        if (a->state != STATE_ONCE || a->kind != K_CUT || !a->left || one_in(sc, 2))
            continue;
        a->left--;
        sim_fault_cut(c, 0, 48 + (one_in(sc, 3) ? 0 : bytes) + draw(sc, 1, 100));
        return true;
    }
    return false;
}

/* Somebody has come to the target's unix socket: whose hand-over is at that? */
static void door_note(struct scene *sc, const struct sim_conn_info *info)
{
    for (unsigned i = 0; i < sc->nexuses_nr; i++) {
        struct nexus_end *n = sc->nexus[i];

        if (n->client->prog == info->prog[0] && near_steps(n) >> STEP_CONNECT & 1) {
            n->door_id = info->id;
            return;
        }
    }
}

static void on_connect(void *arg, struct sim_conn *c)
{
    struct scene *sc = arg;
    struct sim_conn_info info;
    struct nexus_end *n;

    sim_conn_info(c, &info);
    if (info.addr[1].sa.sa_family == AF_UNIX) {
        door_note(sc, &info);
        return;
    }
    n = conn_nexus(sc, &info.addr[1]);
    if (!n)
        return;
    n->conn_id = info.id;
    ambush_look(sc, n, nexus_state(n));     /* logging in, for the first time or again */
}

static bool flip_ok(void *arg, struct sim_conn *c, unsigned from)
{
    struct scene *sc = arg;
    struct sim_conn_info info;
    const struct nexus_end *n;

    (void)from;
    sim_conn_info(c, &info);
    n = conn_nexus(sc, &info.addr[1]);
    /* Digests are there from the full feature phase on; nothing is to protect what comes before. */
    return sc->plan.digests && n && n->s && n->conn_id == info.id &&
           (n->s->conn == CONN_FULL || n->s->conn == CONN_LOGOUT) && !near_shm(n);
}

/* A command may be sent again by its session from here on: the oracle must know before it can be carried out. */
static void watch_tasks(struct scene *sc, struct nexus_end *n)
{
    const struct ini_sess *s = n->s;
    const uint64_t aborts = s ? s->aborts + s->eh.step : 0;
    const bool resets = s && (s->eh.step == EH_LUN_RESET || s->eh.step == EH_CALLER);

    if (s && aborts != n->seen_aborts) {
        n->seen_aborts = aborts;
        for (unsigned i = 0; i < sc->plan.units; i++)
            hist_nexus_again(sc->unit[i].hist, nexus_hist(n));
    }
    if (resets && !n->seen_reset) {
        n->seen_reset = true;
        n->seen_lun = s->eh.lun;
        hist_reset_begin(sc->unit[n->seen_lun].hist);
    } else if (!resets && n->seen_reset && s && s->state == INI_UP) {
        n->seen_reset = false;              /* it was answered, or its session replaced */
        hist_reset_end(sc->unit[n->seen_lun].hist);
    }
}

/* What a target reads into shared memory lands when who asked for it has long given it up. */
static void stall_and_kill(struct later *l)
{
    if (l->scene->act != ACT_STORM)
        return;
    fault_stall(l->scene, draw(l->scene, 3, 10) * RT_S);
    fault_kill_tgt(l->scene, false);
}

static void watch_steps(struct scene *sc, struct nexus_end *n)
{
    const uint32_t steps = near_steps(n);

    if (sc->swarm->late_kills && (steps & ~n->seen_steps) >> STEP_WORK & 1 && sc->act == ACT_STORM && one_in(sc, 32) &&
        fault_later(sc, stall_and_kill, draw(sc, 0, 50 * RT_US)))
        sc->swarm->late_kills--;

    for (uint32_t fresh = steps & ~n->seen_steps, i = 0; fresh; fresh >>= 1, i++)
        if (fresh & 1)
            ambush_look(sc, n, (uint8_t)(STATES + i));
    n->seen_steps = steps;
}

static void on_event(void *arg)
{
    struct scene *sc = arg;

    slow_look(sc);
    for (unsigned i = 0; i < sc->nexuses_nr; i++) {
        struct nexus_end *n = sc->nexus[i];
        const uint8_t st = nexus_state(n);

        if (st != n->seen_state) {
            n->seen_state = st;
            ambush_look(sc, n, st);
        }
        if (n->once > n->seen_once)
            ambush_look(sc, n, STATE_ONCE);
        n->seen_once = (uint8_t)n->once;
        watch_tasks(sc, n);
        if (sc->plan.near[n->client->id])
            watch_steps(sc, n);
    }
}

/* ---- set-up ---------------------------------------------------------------------------------------------- */

static void every_fired(struct sim_timer *t)
{
    struct every *e = container_of(t, struct every, timer);
    struct scene *sc = e->scene;

    if (sc->act != ACT_STORM || sc->failed)
        return;
    fault_do(sc, e->kind, NULL);
    sim_at(sc->w, t, draw(sc, 1, 2 * e->mean_ns));
}

static uint32_t ppm(struct scene *sc, unsigned of, uint32_t most)
{
    return one_in(sc, of) ? (uint32_t)draw(sc, most / 100 + 1, most) >> draw(sc, 0, 5) : 0;
}

static void net_draw(struct scene *sc)
{
    struct sim_net n;

    sim_net_get(sc->w, &n);
    n.latency_ns = draw(sc, 10 * RT_US, 40 * RT_US) << draw(sc, 0, 6);
    n.jitter_ns = draw(sc, 0, 2 * n.latency_ns);
    n.window = (uint32_t)draw(sc, 4096, 16384) << draw(sc, 0, 5);
    n.segment_max = (uint32_t)draw(sc, 100, 65536);
    n.split_ppm = (uint32_t)draw(sc, 0, 400000);
    n.pause_ppm = (uint32_t)draw(sc, 0, 50000);
    n.reset_ppm = ppm(sc, 4, 2000);
    n.half_close_ppm = ppm(sc, 6, 1000);
    n.blackhole_ppm = ppm(sc, 6, 500);
    n.blackhole_ns = fault_hold(sc);
    n.stall_ppm = ppm(sc, 4, 5000);
    n.stall_ns = fault_hold(sc);
    n.flip_ppm = sc->plan.digests ? ppm(sc, 2, 3000) : 0;
    n.refuse_ppm = ppm(sc, 3, 300000);
    n.connect_lost_ppm = ppm(sc, 4, 200000);
    n.connect_timeout_ns = draw(sc, 1, 30) * RT_S;
    n.tcp_timeout_ns = draw(sc, 2, 60) * RT_S;
    sim_net_set(sc->w, &n);
}

static void disk_draw(struct scene *sc)
{
    struct sim_disk d;

    sim_disk_get(sc->tgtd.machine, &d);
    d.latency_ns = draw(sc, 5 * RT_US, 20 * RT_US) << draw(sc, 0, 6);
    d.jitter_ns = draw(sc, 0, 4 * d.latency_ns);
    d.sync_ns = draw(sc, 20 * RT_US, 100 * RT_US) << draw(sc, 0, 6);
    d.sync_jitter_ns = draw(sc, 0, 4 * d.sync_ns);
    d.read_eio_ppm = ppm(sc, 5, 5000);
    d.write_eio_ppm = ppm(sc, 5, 5000);
    d.sync_eio_ppm = ppm(sc, 5, 40000);
    d.enospc_ppm = ppm(sc, 5, 5000);
    d.slow_ppm = ppm(sc, 4, 40000);
    d.slow_ns = fault_hold(sc);
    d.torn_ppm = ppm(sc, 2, 100000);
    d.save_ppm = ppm(sc, 4, 400000);
    d.load_ppm = ppm(sc, 6, 200000);
    sc->swarm->disk = d;
    sim_disk_set(sc->tgtd.machine, &d);
}

static void sched_draw(struct scene *sc)
{
    struct sim_sched c;

    sim_sched_get(sc->w, &c);
    c.wake_jitter_ns = (uint32_t)draw(sc, 100, 1000) << draw(sc, 0, 6);
    c.late_mail_ppm = (uint32_t)draw(sc, 0, 400000);
    c.hiccup_ppm = ppm(sc, 3, 2000);
    c.hiccup_ns = fault_hold(sc) / 8;
    c.work_jitter_ns = draw(sc, RT_US, 100 * RT_US) << draw(sc, 0, 6);
    sim_sched_set(sc->w, &c);
}

struct swarm *swarm_new(struct scene *sc)
{
    struct swarm *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->scene = sc;
    s->size_asked = sc->unit[0].sectors;
    return s;
}

void swarm_free(struct swarm *s)
{
    free(s);
}

/* What is most likely to meet a session in shared memory where it hurts. */
static const uint8_t near_kinds[] = { K_KILL_TGT, K_KILL_TGT, K_KILL_CLIENT, K_KILL_CLIENT, K_FREEZE_TGT,
                                      K_FREEZE_CLIENT, K_DOOR, K_RESET, K_POWER_TGT, K_STOP_TGT, K_HALF_CLOSE,
                                      K_ABANDON, K_LUN_RESET };

static const uint8_t near_busy[] = { STEP_SENT, STEP_WORK, STEP_WORK, STEP_ANSWER };

static bool near_any(const struct scene *sc)
{
    for (unsigned i = 0; i < sc->plan.clients; i++)
        if (sc->plan.near[i])
            return true;
    return false;
}

void swarm_start(struct scene *sc)
{
    struct swarm *s = sc->swarm;

    sim_on_event(sc->w, on_event, sc);
    sim_on_fault(sc->w, on_fault, sc);
    sim_on_connect(sc->w, on_connect, sc);
    sim_on_flip(sc->w, flip_ok, sc);
    net_draw(sc);
    disk_draw(sc);
    sched_draw(sc);
    for (unsigned k = 0; k < KINDS; k++) {
        if (!one_in(sc, 3))
            continue;
        s->every[k] = (struct every){ .timer.fn = every_fired, .scene = sc, .kind = k };
        s->every[k].mean_ns = sc->plan.storm_ns / draw(sc, 1, swarm_kinds[k].most);
        sim_at(sc->w, &s->every[k].timer, draw(sc, 1, 2 * s->every[k].mean_ns));
    }
    s->slow_resets = one_in(sc, 2) ? (unsigned)draw(sc, 1, 12) : 0;
    s->late_kills = near_any(sc) && one_in(sc, 2) ? (unsigned)draw(sc, 1, 3) : 0;
    s->ambushes = (unsigned)draw(sc, 0, AMBUSH_MAX);
    for (unsigned i = 0; i < s->ambushes; i++) {
        struct ambush *a = &s->ambush[i];

        do
            a->kind = (uint8_t)draw(sc, 0, KINDS - 1);
        while (!swarm_kinds[a->kind].waits);
        a->state = (uint8_t)draw(sc, 0, STATES - 1);
        a->left = (unsigned)draw(sc, 1, 4);
        if (near_any(sc) && one_in(sc, 2)) {
            a->kind = near_kinds[draw(sc, 0, ARRAY_SIZE(near_kinds) - 1)];
            a->state = (uint8_t)(STATES + (one_in(sc, 3) ? near_busy[draw(sc, 0, ARRAY_SIZE(near_busy) - 1)]
                                                         : draw(sc, 0, STEPS - 1)));
            a->left = (unsigned)draw(sc, 1, 8);
        } else if (one_in(sc, 8)) {                /* those that are hardest to hit */
            a->kind = K_KILL_TGT;
            a->state = INI_LOGOUT;
        } else if (one_in(sc, 4)) {
            a->kind = K_CUT;
            a->state = STATE_ONCE;
            a->left = (unsigned)draw(sc, 2, 12);
        }
    }
}
