/*
 * near.c - sessions in shared memory: how far they are, and the memory that their requests use
 *
 * How far one is, is read from what both programs know: the initiator's session, the target's, and the rings between
 * them. Faults lie in wait for that, and are counted by it.
 *
 * A request uses memory of the scene, which its session has to copy, or memory that the session gave out, which the
 * target may reach. What nobody has any business to change (what is to be written, and memory that is kept between two
 * requests) is looked at again when its time is over.
 */
#include <string.h>

#include "initiator/ini_internal.h"
#include "loopback/dm_shm.h"
#include "tests/sim/scene.h"

/* ---- how far ------------------------------------------------------------------------------------------------ */

bool near_shm(const struct nexus_end *n)
{
    return n->s && sim_prog_runs(n->client->prog) && n->s->loop.on && n->s->dm;
}

static uint32_t login_step(const struct nexus_end *n, unsigned tgt)
{
    switch (n->s->login->loop) {
    case LOOP_OFFERED: return 1u << STEP_OFFER;
    case LOOP_JOINING:
        if (!n->s->loop.join)
            return 1u << STEP_ARENA;
        if (!sim_conn_find(n->scene->w, n->door_id))
            return 1u << STEP_CONNECT;
        if (!(tgt & TGT_GUEST))
            return 1u << STEP_HELLO;
        return tgt & TGT_ADMITTED ? 1u << STEP_WELCOME : 1u << STEP_MAP;
    case LOOP_JOINED: return tgt & TGT_SHM ? 1u << STEP_CHANGE : 1u << STEP_GO;
    default: return 0;
    }
}

static bool unanswered(const struct dm_shm *c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(c->hash); i++)
        for (const struct dm_task *t = c->hash[i]; t; t = t->own.next)
            if (!t->own.answered && !t->own.cmd)
                return true;
    return false;
}

static uint32_t full_steps(const struct nexus_end *n)
{
    const struct dm_shm *c = dm_shm_of(n->s->dm);
    uint32_t steps = 0;

    if (n->s->conn == CONN_CLOSING || c->state != SHM_OPEN)
        return 1u << STEP_CLOSE;
    if (shm_rx_ready(&c->rx))
        steps |= 1u << STEP_ANSWER;
    if (c->tx.head != c->tx.ring->taken)
        steps |= 1u << STEP_SENT;
    else if (unanswered(c))
        steps |= 1u << STEP_WORK;
    return steps ? steps : 1u << STEP_IDLE;
}

uint32_t near_steps(const struct nexus_end *n)
{
    uint32_t steps = 0;
    unsigned tgt;

    if (!n->scene->plan.near[n->client->id])
        return 0;
    tgt = tgtd_sees(n);
    if (n->s && sim_prog_runs(n->client->prog)) {
        if (n->s->conn == CONN_LOGIN && n->s->login)
            steps = login_step(n, tgt);
        else if (near_shm(n))
            steps = full_steps(n);
    }
    return steps | (tgt & TGT_GHOST ? 1u << STEP_GHOST : 0);
}

/* ---- memory of requests ------------------------------------------------------------------------------------- */

static uint64_t print_of(const uint8_t *mem, uint32_t len)
{
    uint64_t h = len, v;

    for (; len >= sizeof(v); mem += sizeof(v), len -= (uint32_t)sizeof(v)) {
        memcpy(&v, mem, sizeof(v));
        h = (h ^ v) * 0x9fb21c651e98df25ull;
        h ^= h >> 29;
    }
    return h;
}

static void print_check(struct slot *s, const char *when)
{
    struct desk *d = s->desk;

    if (s->used && print_of(s->buf, s->used) != s->print)
        scene_fail(d->nexus->scene, "nexus %u unit %u slot %u: somebody wrote into memory %s", d->nexus->id,
                   d->unit->number, (unsigned)(s - d->slot), when);
    s->used = 0;
}

void near_give(struct slot *s)
{
    if (!s->lent)
        return;
    print_check(s, "that was kept for the next request");
    if (s->desk->multi)
        mpio_buf_put(s->desk->made, s->lent, s->lent_len);
    else
        nexus_buf_put(s->desk->nexus, s->lent, s->lent_len);
    s->lent = NULL;
    s->buf = s->own;
}

static bool lent_is_good(const struct slot *s)
{
    if (s->desk->multi)
        return mpio_buf_good(s->desk->made, s->lent, s->lent_len);
    return ini_buf_good(s->desk->nexus->s, s->lent, s->lent_len);
}

static void *lend(struct slot *s)
{
    if (s->desk->multi)
        return mpio_buf_get(s->desk->made, s->lent_len);
    return nexus_buf_get(s->desk->nexus, s->lent_len);
}

void near_take(struct slot *s, uint32_t len)
{
    struct nexus_end *n = s->desk->nexus;
    struct sim_rng *r = &n->rng;
    uint32_t off;

    if (!n->scene->plan.near[n->client->id] || (n->moving && !s->desk->multi))  /* then it has none: see slot_next() */
        return;
    off = sim_rng_below(r, 3) ? 0 : (uint32_t)sim_rng_range(r, 1, 4095);
    if (s->lent && (sim_rng_below(r, 3) == 0 || s->lent_len < len || !lent_is_good(s)))
        near_give(s);
    print_check(s, "that was kept for the next request");
    if (!s->lent && sim_rng_chance(r, n->scene->plan.lent_ppm)) {
        s->lent_len = len + off;
        if (!(s->lent = lend(s)))
            return;
    }
    if (s->lent)
        s->buf = s->lent + (len + off <= s->lent_len ? off : 0);
    s->used = 0;
}

void near_used(struct slot *s)
{
    if (!s->lent)
        return;
    s->used = s->lent_len - (uint32_t)(s->buf - s->lent);
    s->print = print_of(s->buf, s->used);
}

/* One sector that no unit holds makes sure that nothing may come of it. */
static void meddle(struct rt_timer *t)
{
    struct slot *s = container_of(t, struct slot, meddle);
    struct desk *d = s->desk;
    const uint32_t len = s->n * STAMP_LEN;

    s->meddled = true;
    for (uint32_t i = 0; i < s->n; i++) {
        stamp_put(s->buf + i * STAMP_LEN, d->unit->number, s->first + i, d->unit->per_block,
                  stamp_value(100, ++d->count, false));
        stamp_put(s->buf + len + i * STAMP_LEN, d->unit->number, s->first + i, d->unit->per_block,
                  stamp_value(101, d->count, false));
    }
    s->used = 0;
}

void near_meddle(struct slot *s)
{
    struct nexus_end *n = s->desk->nexus;

    if (!s->lent || !near_shm(n) || sim_rng_below(&n->rng, 2))
        return;
    s->meddle.fn = meddle;
    rt_timer_arm(n->rt, &s->meddle, sim_rng_range(&n->rng, RT_US, 10 * RT_US) << sim_rng_below(&n->rng, 8));
}

void near_over(struct slot *s)
{
    if (rt_timer_armed(&s->meddle))
        rt_timer_disarm(s->desk->nexus->rt, &s->meddle);
    print_check(s, "of what it wrote, before it was over");
    near_used(s);
}
