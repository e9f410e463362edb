/*
 * faults.c - what each kind of fault is: done now, and undone later where it ends by itself
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "initiator/ini_internal.h"
#include "tests/sim/swarm_internal.h"

const struct swarm_kind swarm_kinds[KINDS] = {
    [K_RESET] = { 20, true },       [K_CUT] = { 20, true },        [K_HALF_CLOSE] = { 10, true },
    [K_BLACKHOLE] = { 6, true },    [K_FLIP] = { 20, true },       [K_PARTITION] = { 6, true },
    [K_KILL_CLIENT] = { 5, true },  [K_POWER_CLIENT] = { 3, true }, [K_KILL_TGT] = { 5, true },
    [K_POWER_TGT] = { 5, true },    [K_STOP_TGT] = { 4, true },    [K_STALL] = { 4, true },
    [K_READ_EIO] = { 4, true },     [K_WRITE_EIO] = { 4, true },   [K_SYNC_EIO] = { 2, true },
    [K_NO_SPACE] = { 3, true },
    [K_LUN_RESET] = { 10, true },   [K_LOGOUT] = { 8, false },     [K_ABRUPT] = { 5, false },
    [K_ABANDON] = { 5, true },      [K_RESIZE] = { 4, true },      [K_ASK] = { 4, true },
    [K_FREEZE_CLIENT] = { 5, true }, [K_FREEZE_TGT] = { 5, true }, [K_DOOR] = { 20, true },
};

/* ---- later ----------------------------------------------------------------------------------------------- */

static void later_fired(struct sim_timer *t)
{
    struct later *l = container_of(t, struct later, timer);

    l->busy = false;
    if (!l->scene->failed)
        l->fn(l);
}

struct later *fault_later(struct scene *sc, void (*fn)(struct later *l), uint64_t ns)
{
    for (unsigned i = 0; i < LATER_MAX; i++) {
        struct later *l = &sc->swarm->later[i];

        if (l->busy)
            continue;
        l->busy = true;
        l->scene = sc;
        l->fn = fn;
        l->timer.fn = later_fired;
        sim_at(sc->w, &l->timer, ns);
        return l;
    }
    return NULL;
}

uint64_t fault_hold(struct scene *sc)
{
    return draw(sc, RT_MS, 10 * RT_MS) << draw(sc, 0, 10);  /* to 10 s */
}

/* ---- connections ----------------------------------------------------------------------------------------- */

static void unhole(struct later *l)
{
    struct sim_conn *c = sim_conn_find(l->scene->w, l->conn_id);

    if (c)
        sim_fault_blackhole(c, false);
}

void fault_conn(struct scene *sc, enum kind k, struct nexus_end *n)
{
    struct sim_conn *c = sim_conn_find(sc->w, n->conn_id);
    const unsigned end = (unsigned)draw(sc, 0, 1);
    struct later *l;

    if (!c)
        return;
    switch (k) {
    case K_RESET: sim_fault_reset(c); break;
    case K_CUT: sim_fault_cut(c, end, draw(sc, 1, 48) << draw(sc, 0, 6)); break;
    case K_HALF_CLOSE: sim_fault_half_close(c, end); break;
    case K_FLIP:
        if (n->s && n->s->state >= INI_UP && n->s->conn >= CONN_FULL && n->s->conn <= CONN_LOGOUT &&
            sc->plan.digests && !near_shm(n))
            sim_fault_flip(c, end);
        break;
    default:
        if (!(l = fault_later(sc, unhole, fault_hold(sc))))
            return;
        l->conn_id = n->conn_id;
        sim_fault_blackhole(c, true);
    }
}

static void unpart(struct later *l)
{
    struct scene *sc = l->scene;

    if (l->to)
        sim_partition(l->nexus->client->machine, sc->tgtd.machine, false);
    if (l->from)
        sim_partition(sc->tgtd.machine, l->nexus->client->machine, false);
}

static void do_partition(struct scene *sc, struct nexus_end *n)
{
    struct later *l = fault_later(sc, unpart, fault_hold(sc) * (one_in(sc, 4) ? 4 : 1));

    if (!l)
        return;
    l->nexus = n;
    l->to = !one_in(sc, 3);
    l->from = !l->to || !one_in(sc, 3);
    if (l->to)
        sim_partition(n->client->machine, sc->tgtd.machine, true);
    if (l->from)
        sim_partition(sc->tgtd.machine, n->client->machine, true);
}

/* ---- programs and machines ------------------------------------------------------------------------------- */

void swarm_power(struct scene *sc, struct sim_machine *m, uint64_t ns)
{
    for (unsigned i = 0; i < sc->nexuses_nr; i++)
        if (sc->nexus[i]->client->machine == m)
            swarm_note(sc, SCENE_FAULT_CLIENT_POWER, sc->nexus[i]);
    sim_machine_off(m);
    for (unsigned i = 0; i < sc->plan.clients; i++) {
        struct client *c = &sc->client[i];

        if (c->machine != m)
            continue;
        client_gone(c);
        client_boot_later(c, ns ? ns : fault_hold(sc));
    }
    if (m != sc->tgtd.machine)
        return;
    tgtd_gone(sc, true);
    tgtd_boot_later(sc, ns ? ns : fault_hold(sc));
}

static void do_kill_client(struct scene *sc, struct client *c, bool power)
{
    if (!sim_prog_runs(c->prog))
        return;
    if (power) {
        swarm_power(sc, c->machine, 0);
        return;
    }
    for (unsigned i = 0; i < c->nexuses_nr; i++)
        swarm_note(sc, SCENE_FAULT_CLIENT_KILLED, &c->nexus[i]);
    sim_kill(c->prog);
    client_gone(c);
    client_boot_later(c, fault_hold(sc));
}

void fault_kill_tgt(struct scene *sc, bool power)
{
    struct tgtd *d = &sc->tgtd;

    if (!power && !sim_prog_runs(d->prog))
        return;
    if (!sim_machine_is_on(d->machine))
        return;
    if (power) {
        swarm_power(sc, d->machine, 0);
        return;
    }
    swarm_note(sc, SCENE_FAULT_TGT_KILLED, NULL);
    sim_kill(d->prog);
    tgtd_gone(sc, false);
    tgtd_boot_later(sc, fault_hold(sc));
}

static void unfreeze(struct later *l)
{
    sim_freeze(l->prog, false);
}

/* c NULL: the target. */
static void do_freeze(struct scene *sc, struct client *c)
{
    struct sim_prog *p = c ? c->prog : sc->tgtd.prog;
    struct later *l;

    if (!p || !sim_prog_runs(p) || sim_frozen(p) ||
        !(l = fault_later(sc, unfreeze, fault_hold(sc) * (one_in(sc, 4) ? 4 : 1))))
        return;
    l->prog = p;
    for (unsigned i = 0; c && i < c->nexuses_nr; i++)
        swarm_note(sc, SCENE_FAULT_CLIENT_FROZEN, &c->nexus[i]);
    if (!c)
        swarm_note(sc, SCENE_FAULT_TGT_FROZEN, NULL);
    sim_freeze(p, true);
}

static void do_door(struct scene *sc, struct nexus_end *n)
{
    struct sim_conn *c = sim_conn_find(sc->w, n->door_id);

    if (!c)
        return;
    swarm_note(sc, SCENE_FAULT_DOOR_CUT, n);
    if (one_in(sc, 2))
        sim_fault_reset(c);
    else
        sim_fault_half_close(c, (unsigned)draw(sc, 0, 1));
}

static void unstall(struct later *l)
{
    sim_disk_stall(l->scene->tgtd.machine, false);
}

static void disk_mend(struct later *l)
{
    if (l->scene->act == ACT_STORM)
        sim_disk_set(l->scene->tgtd.machine, &l->scene->swarm->disk);
}

/* For a while all operations of a kind fail. */
static void do_disk(struct scene *sc, enum kind k)
{
    struct sim_disk d = sc->swarm->disk;

    if (!fault_later(sc, disk_mend, draw(sc, RT_MS, 4 * RT_MS) << draw(sc, 0, 9)))
        return;
    d.read_eio_ppm = k == K_READ_EIO ? 1000000 : 0;
    d.write_eio_ppm = k == K_WRITE_EIO ? 1000000 : 0;
    d.sync_eio_ppm = k == K_SYNC_EIO ? 1000000 : 0;
    d.enospc_ppm = k == K_NO_SPACE ? 1000000 : 0;
    sim_disk_set(sc->tgtd.machine, &d);
}

void fault_stall(struct scene *sc, uint64_t ns)
{
    if (!fault_later(sc, unstall, ns))
        return;
    swarm_note(sc, SCENE_FAULT_DISK_STALL, NULL);
    sim_disk_stall(sc->tgtd.machine, true);
}

/* ---- what users do --------------------------------------------------------------------------------------- */

static void reset_over(void *user, int resp, int err)
{
    (void)user, (void)resp, (void)err;
}

static void call_reset(void *arg)
{
    struct nexus_end *n = arg;

    ini_lun_reset(n->s, n->reset_lun, reset_over, NULL);
    n->reset_lun = (uint16_t)draw(n->scene, 0, n->scene->plan.units - 1);
}

static void call_drain(void *arg)
{
    nexus_close(arg, WAY_DRAIN);
}

static void call_abrupt(void *arg)
{
    nexus_close(arg, WAY_ABRUPT);
}

static void call_abandon(void *arg)
{
    nexus_close(arg, WAY_ABANDON);
}

static void do_session(struct scene *sc, enum kind k, struct nexus_end *n)
{
    if (!n->s || n->life != LIFE_RUN || n->moving || sim_frozen(n->client->prog))
        return;
    switch (k) {
    case K_LUN_RESET:
        swarm_note(sc, SCENE_FAULT_LUN_RESET, n);
        sim_call(ini_sess_rt(n->s), call_reset, n);
        break;
    case K_LOGOUT:
        swarm_note(sc, SCENE_FAULT_LOGOUT, n);
        sim_call(n->rt, call_drain, n);
        break;
    case K_ABRUPT:
        swarm_note(sc, SCENE_FAULT_ABRUPT, n);
        sim_call(n->rt, call_abrupt, n);
        break;
    default:
        swarm_note(sc, SCENE_FAULT_ABANDON, n);
        sim_call(n->rt, call_abandon, n);
    }
}

static void do_resize(struct scene *sc)
{
    struct swarm *s = sc->swarm;
    const struct unit_end *u = &sc->unit[0];
    char params[128];

    if (s->size_asked + 8 > u->sectors_max || sc->plan.swaps)
        return;                             /* swaps: the other one might grow */
    s->size_asked += (uint32_t)draw(sc, 1, (u->sectors_max - s->size_asked) / 8) * 8;
    snprintf(params, sizeof(params), "\"iqn\":\"" SCENE_IQN "\",\"lun\":0,\"size\":%u",
             s->size_asked * STAMP_LEN);
    swarm_note(sc, SCENE_FAULT_RESIZE, NULL);
    tgtd_ask(sc, "lun.resize", params);
}

void fault_do(struct scene *sc, enum kind k, struct nexus_end *n)
{
    if (!n)
        n = sc->nexus[sim_rng_below(&sc->fault_rng, sc->nexuses_nr)];
    switch (k) {
    case K_RESET:
    case K_CUT:
    case K_HALF_CLOSE:
    case K_BLACKHOLE:
    case K_FLIP: fault_conn(sc, k, n); break;
    case K_PARTITION: do_partition(sc, n); break;
    case K_KILL_CLIENT: do_kill_client(sc, n->client, false); break;
    case K_POWER_CLIENT: do_kill_client(sc, n->client, true); break;
    case K_KILL_TGT: fault_kill_tgt(sc, false); break;
    case K_POWER_TGT: fault_kill_tgt(sc, true); break;
    case K_STOP_TGT: tgtd_stop(sc); break;
    case K_STALL: fault_stall(sc, fault_hold(sc)); break;
    case K_READ_EIO:
    case K_WRITE_EIO:
    case K_SYNC_EIO:
    case K_NO_SPACE: do_disk(sc, k); break;
    case K_RESIZE: do_resize(sc); break;
    case K_ASK: tgtd_ask_logout(sc); break;
    case K_FREEZE_CLIENT: do_freeze(sc, n->client); break;
    case K_FREEZE_TGT: do_freeze(sc, NULL); break;
    case K_DOOR: do_door(sc, n); break;
    default: do_session(sc, k, n); break;
    }
}
