/*
 * drill.c - how soon I/O goes on when one path of several breaks
 *
 * After a storm's calm, in a world that is quick and whole and with disks set as they are by default: one path's connection
 * is reset, or its way is cut off, while requests go on. None of them may fail, nor take longer than it is promised for.
 */
#include "initiator/ini_internal.h"
#include "tests/sim/scene.h"

#define LOAD_NS  (100 * RT_MS) /* before it breaks */
#define RESET_NS (500 * RT_MS) /* watched so long after it */
#define DISK_NS  (4 * RT_MS)   /* so that there is always something under way */
#define CUT_NS   (2 * RT_S)

static const uint64_t goals[DRILLS] = { [DRILL_RESET] = 50 * RT_MS, [DRILL_CUT] = 1500 * RT_MS };
static const char *const names[DRILLS] = { [DRILL_RESET] = "was reset", [DRILL_CUT] = "was cut off" };

static uint64_t draw(struct scene *sc, uint64_t lo, uint64_t hi)
{
    return sim_rng_range(&sc->path_rng, lo, hi);
}

static void call_default(void *arg)
{
    struct desk *d = arg;
    struct mpio_conf conf;

    mpio_conf_default(&conf);
    mpio_disk_conf_set(d->made, &conf);
}

void drill_set(struct scene *sc)
{
    struct sim_disk disk = sc->whole.disk;

    disk.latency_ns = disk.jitter_ns = DISK_NS;
    sim_net_set(sc->w, &sc->whole.net);
    sim_disk_set(sc->tgtd.machine, &disk);
    sim_sched_set(sc->w, &sc->whole.sched);
    for (unsigned i = 0; i < sc->plan.clients; i++)
        for (unsigned k = 0; k < sc->plan.units; k++)
            sim_call(sc->client[i].nexus[0].rt, call_default, &sc->client[i].nexus[0].desk[k]);
}

static void strike(struct scene *sc, struct nexus_end *n, enum drill kind)
{
    const unsigned way = (unsigned)draw(sc, 1, 3);
    struct sim_conn *c = sim_conn_find(sc->w, n->conn_id);

    sc->drill.client = n->client;
    sc->drill.kind = kind;
    sc->drill.at_ns = sim_now(sc->w);
    sc->tally->drills[kind]++;
    scene_log(sc, "drill: the connection of nexus %u %s", n->id, names[kind]);
    if (kind == DRILL_CUT)
        sim_addr_cut(sc->tgtd.machine, n->conf.portal.host, way != 1, way != 2);
    else if (c)
        sim_fault_reset(c);
}

void drill_run(struct scene *sc)
{
    struct nexus_end *n = sc->nexus[draw(sc, 0, sc->nexuses_nr - 1)];
    const enum drill kind = draw(sc, 0, 1) ? DRILL_RESET : DRILL_CUT;

    sim_run(sc->w, LOAD_NS + draw(sc, 0, 5 * RT_MS));
    if (sc->failed)
        return;
    strike(sc, n, kind);
    sim_run(sc->w, kind == DRILL_RESET ? RESET_NS : CUT_NS);
    sc->drill.client = NULL;
    sim_addr_cut(sc->tgtd.machine, n->conf.portal.host, false, false);
}

void drill_over(struct slot *s, int res)
{
    struct scene *sc = s->desk->nexus->scene;
    const uint64_t from = s->begun_ns > sc->drill.at_ns ? s->begun_ns : sc->drill.at_ns;
    const enum drill kind = sc->drill.kind;
    char text[3000];
    uint64_t ns;

    if (sc->drill.client != s->desk->nexus->client)
        return;
    ns = sim_now(sc->w) - from;
    if (ns > sc->tally->drill_max_ns[kind])
        sc->tally->drill_max_ns[kind] = ns;
    if (!res && ns <= goals[kind])
        return;
    paths_tell(sc->drill.client, text, sizeof(text));
    if (res)
        scene_fail(sc, "a path of initiator %u %s, and a request to unit %u failed: %d; %s",
                   sc->drill.client->id, names[kind], s->desk->unit->number, res, text);
    else
        scene_fail(sc, "a path of initiator %u %s, and a request to unit %u took %u ms; %s",
                   sc->drill.client->id, names[kind], s->desk->unit->number, (unsigned)(ns / RT_MS), text);
}
