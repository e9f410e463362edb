/*
 * scene.c - what a seed draws, and the scene made of it
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scene.h"

#define SECRET     "0123456789abcdef"
#define SECRET_OUT "fedcba9876543210"

const char *scene_fault_name(unsigned fault)
{
    static const char *const names[] = {
#define X(name, text) text,
        SCENE_FAULTS(X)
#undef X
    };

    return fault < SIM_FAULT_NR ? sim_fault_name(fault) : names[fault - SIM_FAULT_NR];
}

const char *scene_state_name(unsigned state)
{
    static const char *const names[] = { "free",    "login",  "up",     "recovery",
                                         "offline", "logout", "failed", "once" };

    return names[state];
}

const char *scene_step_name(unsigned step)
{
    static const char *const names[] = {
#define X(name, text) text,
        STEPS_OF(X)
#undef X
    };

    return names[step];
}

void scene_fail(struct scene *sc, const char *fmt, ...)
{
    va_list ap;
    char text[sizeof(sc->why)];

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    scene_log(sc, "FAILED: %s", text);
    if (sc->failed)
        return;
    sc->failed = true;
    memcpy(sc->why, text, sizeof(text));
    sim_stop(sc->w);
}

/* ---- drawing --------------------------------------------------------------------------------------------- */

static uint64_t draw(struct scene *sc, uint64_t lo, uint64_t hi)
{
    return sim_rng_range(&sc->rng, lo, hi);
}

static bool one_in(struct scene *sc, unsigned n)
{
    return !sim_rng_below(&sc->rng, n);
}

/* From small numbers to large ones, all orders of magnitude alike. */
static uint64_t draw_log(struct scene *sc, uint64_t lo, uint64_t hi)
{
    unsigned steps = 0;
    uint64_t top;

    while (lo << (steps + 1) <= hi)
        steps++;
    top = lo << draw(sc, 0, steps);
    return draw(sc, top, top * 2 <= hi ? top * 2 - 1 : hi);
}

static enum rt_mode mode_draw(struct scene *sc)
{
    return one_in(sc, 3) ? RT_MODE_INTERRUPT : RT_MODE_ADAPTIVE;
}

static void plan_draw(struct scene *sc)
{
    struct plan *p = &sc->plan;
    unsigned slots = 0, requests;

    p->clients = (unsigned)draw(sc, 1, CLIENTS_MAX);
    p->units = (unsigned)draw(sc, 1, UNITS_MAX);
    p->depth = (unsigned)draw(sc, 1, DEPTH_MAX);
    for (unsigned i = 0; i < p->clients; i++) {
        p->sessions[i] = one_in(sc, 3) ? 2 : 1;
        p->cli_cores[i] = (unsigned)draw(sc, 1, 2);
        slots += p->sessions[i] * p->units * p->depth;
    }
    p->tgt_cores = (unsigned)draw(sc, 1, 4);
    p->tgt_mode = mode_draw(sc);
    p->cli_mode = mode_draw(sc);
    p->storm_ns = draw(sc, 20, 90) * RT_S;
    requests = (unsigned)draw(sc, 600, 2200);
    p->think_ns = p->storm_ns / requests * slots;
    p->weight[OP_READ] = (uint32_t)draw(sc, 20, 60);
    p->weight[OP_WRITE] = (uint32_t)draw(sc, 20, 60);
    p->weight[OP_FLUSH] = (uint32_t)draw(sc, 1, 10);
    p->weight[OP_UNMAP] = (uint32_t)draw(sc, 0, 6);
    p->weight[OP_ZERO] = (uint32_t)draw(sc, 0, 6);
    p->weight[OP_SAME] = (uint32_t)draw(sc, 0, 4);
    p->weight[OP_CAW] = (uint32_t)draw(sc, 0, 25);
    p->weight[OP_MODE] = one_in(sc, 3) ? (uint32_t)draw(sc, 0, 2) : 0;
    p->fua_ppm = (uint32_t)draw(sc, 0, 400000);
    p->miss_ppm = (uint32_t)draw(sc, 0, 300000);
    p->hot_ppm = (uint32_t)draw(sc, 0, 1000000);
    p->reservations = one_in(sc, 2);
    p->aptpl = one_in(sc, 2);
    p->chap = one_in(sc, 2) ? 0 : (unsigned)draw(sc, 1, 2);
    p->digests = one_in(sc, 2);
    p->login_s = (unsigned)draw(sc, 3, 15);
    p->idle_s = (unsigned)draw(sc, 2, 30);
    p->stall_s = (unsigned)draw(sc, 4, 30);
    p->v6 = one_in(sc, 4);
    p->hold_ns = draw_log(sc, 50, 4000) * RT_MS;
}

/* Who is on the target's host. From numbers of their own: scenes without such are what they were. */
static void near_draw(struct scene *sc)
{
    struct plan *p = &sc->plan;
    struct sim_rng *r = &sc->near_rng;

    for (unsigned i = 0; i < p->clients; i++)
        p->near[i] = sim_rng_below(r, 2);
    p->loop_off_ppm = sim_rng_below(r, 2) ? 0 : (uint32_t)sim_rng_range(r, 100000, 500000);
    p->lent_ppm = (uint32_t)sim_rng_range(r, 0, 1000000);
}

/* ---- the target ------------------------------------------------------------------------------------------ */

static void on_hist_fail(void *user, const char *what)
{
    struct unit_end *u = user;

    scene_fail(u->scene, "unit %u (%s), %s", u->number, u->ram ? "memory" : "file", what);
}

static void unit_make(struct scene *sc, unsigned i)
{
    struct unit_end *u = &sc->unit[i];
    struct hist_conf conf = { .fail = on_hist_fail, .user = u };

    u->scene = sc;
    u->number = i;
    u->ram = i == 2 || (i == 0 && one_in(sc, 8));
    u->per_block = one_in(sc, 3) ? 8 : 1;
    u->sectors = (uint32_t)draw_log(sc, 16, 1024) * 8;
    u->sectors_max = i == 0 ? 2 * u->sectors : u->sectors;
    u->hot = (uint32_t)draw_log(sc, 1, 32) * u->per_block;
    conf.sectors = u->sectors_max;
    conf.volatile_mem = u->ram;
    if (!(u->hist = hist_new(&conf)))
        abort();
    u->prh.fail = on_hist_fail;
    u->prh.user = u;
    snprintf(u->path, sizeof(u->path), "/data/unit%u", i);
    if (!u->ram)
        sim_fs_make(sc->tgtd.machine, u->path, (uint64_t)u->sectors * STAMP_LEN);
}

/* Every session has an address of the target's to itself: so a connection tells whose it is. */
static const char *addr_of(const struct scene *sc, unsigned nexus, char out[static 32])
{
    snprintf(out, 32, sc->plan.v6 ? "fd00::1:%u" : "10.0.1.%u", nexus + 1);
    return out;
}

void scene_config(struct scene *sc)
{
    char text[4096], addr[32];
    int n = snprintf(
        text, sizeof(text),
        "{\"version\": 1, \"limits\": {\"login_s\": %u, \"idle_s\": %u, \"stall_s\": %u, \"tasks\": 512, "
        "\"buffer_mib\": 16}, ",
        sc->plan.login_s, sc->plan.idle_s, sc->plan.stall_s);

    for (unsigned i = 0; i < sc->plan.clients && sc->plan.multi; i++)
        for (unsigned k = 0; k < sc->plan.sessions[i]; k++)
            n += snprintf(text + n, sizeof(text) - (size_t)n, sc->plan.v6 ? "%s\"[%s]:3260,%u\"" : "%s\"%s:3260,%u\"",
                          i || k ? ", " : "\"portals\": [", addr_of(sc, i * SESS_MAX + k, addr), sc->plan.group[i][k]);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%s\"targets\": [{\"iqn\": \"" SCENE_IQN "\", \"luns\": [",
                  sc->plan.multi ? "], " : "");

    for (unsigned i = 0; i < sc->plan.units; i++) {
        const struct unit_end *u = &sc->unit[sc->tgtd.swapped && i < 2 ? !i : i];

        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "%s{\"lun\": %u, \"kind\": \"%s\", %s%s%s \"size\": %u, \"block_size\": %u, "
                      "\"naa\": \"6000000000000000000000000000000%u\"}",
                      i ? ", " : "", i, u->ram ? "ram" : "file", u->ram ? "" : "\"path\": \"",
                      u->ram ? "" : u->path, u->ram ? "" : "\",", u->sectors * STAMP_LEN,
                      u->per_block * STAMP_LEN, u->number + 1);
    }
    n += snprintf(text + n, sizeof(text) - (size_t)n, "]");
    if (sc->plan.chap)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      ", \"chap\": [{\"direction\": \"in\", \"user\": \"joe\", \"secret\": \"" SECRET "\"}%s]",
                      sc->plan.chap == 2
                          ? ", {\"direction\": \"out\", \"user\": \"tgt\", \"secret\": \"" SECRET_OUT "\"}"
                          : "");
    n += snprintf(text + n, sizeof(text) - (size_t)n, "}]}");
    assert(n < (int)sizeof(text));
    sim_fs_save(sc->tgtd.machine, "/etc/corelane/target.json", text, (size_t)n);
}

/* ---- initiators ------------------------------------------------------------------------------------------ */

static struct chap_cred cred(const char *name, const char *secret)
{
    struct chap_cred c = { .secret_len = (uint32_t)strlen(secret) };

    snprintf(c.name, sizeof(c.name), "%s", name);
    memcpy(c.secret, secret, c.secret_len);
    return c;
}

static void settings_draw(struct scene *sc, struct ini_settings *s)
{
    ini_settings_default(s);
    s->replacement_timeout_s = (int32_t)draw_log(sc, 2, 60);
    s->abort_timeout_s = (int32_t)draw(sc, 1, 10);
    s->lu_reset_timeout_s = (int32_t)draw(sc, 1, 10);
    s->login_timeout_s = (int32_t)draw(sc, 2, 15);
    s->logout_timeout_s = (int32_t)draw(sc, 1, 10);
    s->noop_interval_s = (int32_t)draw(sc, 0, 5);
    s->noop_timeout_s = (int32_t)draw(sc, 1, 5);
    s->cmd_timeout_s = (uint32_t)draw_log(sc, 2, 30);
    if (!s->noop_interval_s)
        s->cmd_timeout_s = (uint32_t)draw(sc, 2, 6);
    s->login_retry_max = (int32_t)draw(sc, 0, 5);
    s->reopen_max = one_in(sc, 2) ? 0 : (int32_t)draw(sc, 1, 6);
    s->cmds_max = (int32_t)draw_log(sc, 2, 64);
    s->queue_depth = (int32_t)draw_log(sc, 1, 32);
    if (sc->plan.drill) {                   /* no request is to wait for its turn for longer than a path may be down */
        s->cmds_max = 128;
        s->queue_depth = 32;
    }
    s->initial_r2t = one_in(sc, 2);
    s->immediate_data = one_in(sc, 2);
    s->burst_max = (int32_t)draw_log(sc, 512, 256 * 1024);
    s->first_burst_max = (int32_t)draw_log(sc, 512, (uint64_t)s->burst_max);
    s->recv_data_max = (int32_t)draw_log(sc, 512, 256 * 1024);
    s->r2t_max = (int32_t)draw(sc, 1, 4);
    if (sc->plan.digests) {
        s->header_digest = s->data_digest = ISCSI_DIGEST_CRC32C;
    } else {
        s->header_digest = (int32_t)draw(sc, 0, 3);
        s->data_digest = (int32_t)draw(sc, 0, 3);
    }
    if (sc->plan.chap)
        s->user = cred("joe", SECRET);
    if (sc->plan.chap == 2)
        s->user_in = cred("tgt", SECRET_OUT);
}

static int32_t transport_draw(struct scene *sc)
{
    static const uint8_t of[] = { INI_TRANSPORT_AUTO, INI_TRANSPORT_AUTO, INI_TRANSPORT_AUTO,
                                  INI_TRANSPORT_SHM,  INI_TRANSPORT_SHM,  INI_TRANSPORT_TCP };

    return of[sim_rng_below(&sc->near_rng, sizeof(of))];
}

static void nexus_make(struct scene *sc, struct client *c, unsigned i, uint8_t **buffers)
{
    struct nexus_end *n = &c->nexus[i];
    char addr[32];

    n->scene = sc;
    n->client = c;
    n->id = c->id * SESS_MAX + i;
    n->rng = sim_rng(sc->seed, 100 + n->id);
    snprintf(n->conf.initiator, sizeof(n->conf.initiator), "iqn.2026-11.test.corelane:host%u", c->id);
    snprintf(n->conf.target, sizeof(n->conf.target), SCENE_IQN);
    sim_machine_addr(sc->tgtd.machine, addr_of(sc, n->id, addr));
    snprintf(n->conf.portal.host, sizeof(n->conf.portal.host), "%s", addr);
    n->conf.portal.port = 3260;
    memcpy(n->conf.isid, (const uint8_t[6]){ 0x80, 0, 0, 1, (uint8_t)c->id, (uint8_t)i }, 6);
    settings_draw(sc, &n->conf.set);
    n->conf.set.arena_mib = 16;
    if (sc->plan.near[c->id])
        n->conf.set.transport = transport_draw(sc);
    if (sc->plan.near[c->id] && sim_rng_below(&sc->near_rng, 2))     /* memory is soon the caller's again */
        n->conf.set.replacement_timeout_s = (int32_t)sim_rng_range(&sc->near_rng, 2, 4);
    for (unsigned k = 0; k < sc->plan.units; k++) {
        n->desk[k].nexus = n;
        n->desk[k].unit = &sc->unit[k];
        for (unsigned m = 0; m < DEPTH_MAX; m++) {
            n->desk[k].slot[m].desk = &n->desk[k];
            n->desk[k].slot[m].buf = n->desk[k].slot[m].own = *buffers;
            *buffers += SCENE_BUF_LEN;
        }
    }
    sc->nexus[sc->nexuses_nr++] = n;
}

static void client_make(struct scene *sc, unsigned i, uint8_t **buffers)
{
    struct client *c = &sc->client[i];
    char addr[32];

    c->scene = sc;
    c->id = i;
    c->nexuses_nr = sc->plan.sessions[i];
    snprintf(c->name, sizeof(c->name), "ini%u", i);
    if (sc->plan.near[i])
        c->machine = sc->tgtd.machine;
    else
        c->machine = sim_machine_new(sc->w, c->name, 4);
    snprintf(addr, sizeof(addr), sc->plan.v6 ? "fd00::2:%u" : "10.0.2.%u", i + 1);
    sim_machine_addr(c->machine, addr);
    for (unsigned k = 0; k < c->nexuses_nr; k++)
        nexus_make(sc, c, k, buffers);
}

struct scene *scene_new(uint64_t seed, enum scene_kind kind, uint8_t *buffers, struct tally *tally)
{
    struct scene *sc = calloc(1, sizeof(*sc));

    if (!sc)
        abort();
    sc->seed = seed;
    sc->tally = tally;
    sc->w = sim_new(seed);
    sc->rng = sim_rng(seed, 50);
    sc->fault_rng = sim_rng(seed, 51);
    sc->near_rng = sim_rng(seed, 52);
    sc->move_rng = sim_rng(seed, 53);
    plan_draw(sc);
    near_draw(sc);
    moves_draw(sc);
    sc->path_rng = sim_rng(seed, 54);
    stir_draw(sc, kind);
    sc->tgtd.scene = sc;
    sc->tgtd.machine = sim_machine_new(sc->w, "tgt", 4);
    sim_net_get(sc->w, &sc->whole.net);
    sim_disk_get(sc->tgtd.machine, &sc->whole.disk);
    sim_sched_get(sc->w, &sc->whole.sched);
    for (unsigned i = 0; i < sc->plan.units; i++)
        unit_make(sc, i);
    scene_config(sc);
    for (unsigned i = 0; i < sc->plan.clients; i++)
        client_make(sc, i, &buffers);
    sc->swarm = swarm_new(sc);
    if (sc->plan.multi)
        sc->stir = stir_new(sc);
    return sc;
}

void scene_free(struct scene *sc)
{
    sim_free(sc->w);
    for (unsigned i = 0; i < sc->plan.units; i++)
        hist_free(sc->unit[i].hist);
    swarm_free(sc->swarm);
    stir_free(sc->stir);
    free(sc);
}
