/*
 * move.c - sessions that go from core to core of their program, at random instants of a storm
 *
 * In scenes that have it, which their seed says by numbers of their own: others are what they were. The desks stay where they
 * are, with their disks; what they say to the session past the disk they say on its core, or not at all while it moves.
 */
#include <errno.h>

#include "mpio/nexus.h"
#include "tests/sim/scene.h"

static uint64_t draw(struct scene *sc, uint64_t lo, uint64_t hi)
{
    return sim_rng_range(&sc->move_rng, lo, hi);
}

/* ---- what a desk says to its session --------------------------------------------------------------------- */

static void call_submit(void *arg)
{
    struct ini_task *t = arg;

    ini_submit(t->sess, t);
}

void nexus_submit(struct nexus_end *n, struct ini_task *t)
{
    t->sess = n->s;
    nexus_on(n, call_submit, t);
}

struct buf {
    struct nexus_end *n;
    void *mem;
    size_t len;
};

static void call_get(void *arg)
{
    struct buf *b = arg;

    b->mem = ini_buf_get(b->n->s, b->len);
}

void *nexus_buf_get(struct nexus_end *n, size_t len)
{
    struct buf b = { .n = n, .len = len };

    nexus_on(n, call_get, &b);
    return b.mem;
}

static void call_put(void *arg)
{
    struct buf *b = arg;

    ini_buf_put(b->n->s, b->mem, b->len);
}

void nexus_buf_put(struct nexus_end *n, void *mem, size_t len)
{
    struct buf b = { n, mem, len };

    nexus_on(n, call_put, &b);
}

/* ---- moves ----------------------------------------------------------------------------------------------- */

static void moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct nexus_end *n = user;

    scene_log(n->scene, "    nexus %u: moved: %d %s, to core %u, pause %llu us", n->id, err, why,
              rt_index(ini_sess_rt(n->s)), (unsigned long long)(pause_ns / RT_US));
    if (rt_self() != ini_sess_rt(n->s))
        scene_fail(n->scene, "nexus %u: the end of a move is told on another core", n->id);
    if (err && err != -EAGAIN && err != -ETIMEDOUT)
        scene_fail(n->scene, "nexus %u: a move ended with %d: %s", n->id, err, why);
    n->moving = false;
}

static void call_move(void *arg)
{
    static const uint64_t limits[] = { 10 * RT_US, RT_MS, 100 * RT_MS, 10 * RT_S, 60 * RT_S };
    struct nexus_end *n = arg;
    struct scene *sc = n->scene;
    struct rt *to = rt_host_at(n->client->host, (unsigned)draw(sc, 0, rt_host_count(n->client->host) - 1));

    n->moving = true;
    mpio_nexus_move(n->nexus, to, limits[draw(sc, 0, ARRAY_SIZE(limits) - 1)], moved, n);
}

static void move_due(struct sim_timer *t)
{
    struct scene *sc = container_of(t, struct scene, move_timer);
    struct nexus_end *n = sc->nexus[draw(sc, 0, sc->nexuses_nr - 1)];
    const uint64_t mean = sc->plan.storm_ns / sc->plan.moves;

    if (sc->act != ACT_STORM || sc->failed)
        return;
    if (n->s && n->life == LIFE_RUN && !n->moving && sim_prog_runs(n->client->prog) &&
        !sim_frozen(n->client->prog)) {
        swarm_note(sc, SCENE_FAULT_MOVE, n);
        sim_call(ini_sess_rt(n->s), call_move, n);
    }
    /* Now and then one right behind the other. */
    sim_at(sc->w, t, draw(sc, 0, 3) ? draw(sc, 1, 2 * mean) : draw(sc, 1, 200 * RT_US));
}

void moves_draw(struct scene *sc)
{
    sc->plan.moves = draw(sc, 0, 1) ? (unsigned)draw(sc, 5, 40) << draw(sc, 0, 4) : 0;
}

void moves_start(struct scene *sc)
{
    sc->move_timer.fn = move_due;
    if (sc->plan.moves)
        sim_at(sc->w, &sc->move_timer, draw(sc, 1, sc->plan.storm_ns / sc->plan.moves));
}
