/*
 * resv.c - persistent reservations: one command that changes them at a time on a unit, and what it must answer
 *
 * Each session registers with a key that tells who it is, takes the reservation now and then, holds it for a
 * while, gives it back; others look, preempt, clear. Where a command was lost, somebody looks before anybody
 * goes on.
 */
#include <inttypes.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"
#include "tests/sim/scene.h"

enum { FULL_STATUS = 3 };
#define SOON_NS   (20 * RT_MS)
#define TRIES_MAX 20u

static void pr_wait(struct desk *d, uint64_t ns)
{
    rt_timer_arm(d->nexus->rt, &d->pr.timer, ns);
}

static uint64_t key_of(const struct desk *d)
{
    return d->unit->prh.key[d->nexus->id];
}

static uint64_t key_new(struct desk *d)
{
    return (uint64_t)++d->pr.keys << 16 | 0x100 | d->nexus->id;
}

static void over(struct desk *d)
{
    const bool holds = d->unit->prh.type && d->unit->prh.holder == (int)d->nexus->id;

    d->pr.busy = false;
    if (d->unit->pr_desk == d)
        d->unit->pr_desk = NULL;
    pr_wait(d, holds ? sim_rng_range(&d->nexus->rng, RT_MS, 500 * RT_MS)
                     : sim_rng_range(&d->nexus->rng, 50 * RT_MS, 4 * RT_S));
}

/* ---- looking --------------------------------------------------------------------------------------------- */

static void status_parse(struct desk *d, const uint8_t *p, uint32_t len)
{
    struct prh *prh = &d->unit->prh;
    uint64_t key[PRH_NEXUS_MAX] = { 0 };
    enum prh_type type = PRH_NONE;
    int holder = -1;

    if (len < 8 || load_be32(p + 4) != len - 8) {
        scene_fail(d->nexus->scene, "READ FULL STATUS: %u bytes came, the list has %u", len,
                   len < 8 ? 0 : load_be32(p + 4));
        return;
    }
    for (uint32_t at = 8; at + 24 <= len; at += 24 + load_be32(p + at + 20)) {
        const unsigned nexus = load_be64(p + at) & 0xff;

        if (nexus >= NEXUS_MAX || key[nexus]) {
            scene_fail(d->nexus->scene, "READ FULL STATUS: a key that nobody registered, or twice: %" PRIx64,
                       load_be64(p + at));
            return;
        }
        key[nexus] = load_be64(p + at);
        if (p[at + 12] & 1) {
            holder = (int)nexus;
            type = p[at + 13] & 0xf;
        }
    }
    prh_read(prh, d->pr.tick, key, holder, type);
}

static void look_over(void *arg)
{
    struct desk *d = arg;
    const struct ini_task *t = &d->pr.task;

    if (!t->err && t->status == SCSI_GOOD)
        status_parse(d, d->pr.buf, t->in_len);
    scene_log(d->nexus->scene, "    nexus %u unit %u: PR IN: %d, status %02x", d->nexus->id, d->unit->number,
              t->err, t->status);
    over(d);
}

/* On the session's core. */
static void look_done(struct ini_task *t)
{
    struct desk *d = container_of(t, struct desk, pr.task);

    desk_attention(d, t);
    sim_on(d->nexus->rt, look_over, d);
}

static void look(struct desk *d)
{
    struct ini_task *t = &d->pr.task;

    memset(t, 0, sizeof(*t));
    d->pr.busy = true;
    d->pr.tick = prh_tick(&d->unit->prh);
    t->lun = (uint16_t)d->unit->number;
    t->cdb[0] = SCSI_PR_IN;
    t->cdb[1] = FULL_STATUS;
    store_be16(&t->cdb[7], sizeof(d->pr.buf));
    t->cdb_len = 10;
    d->pr.iov = (struct iovec){ d->pr.buf, sizeof(d->pr.buf) };
    t->edtl = sizeof(d->pr.buf);
    t->in = (struct dm_buf){ &d->pr.iov, 1, sizeof(d->pr.buf) };
    t->done = look_done;
    nexus_submit(d->nexus, t);
}

/* ---- changing -------------------------------------------------------------------------------------------- */

/* What it may have aborted, or may abort yet, may be sent again. */
static void aborts_begin(struct desk *d)
{
    if (d->pr.aborts)
        return;
    d->pr.aborts = true;
    hist_reset_begin(d->unit->hist);
}

void pr_aborts_over(struct desk *d)
{
    if (!d->pr.aborts)
        return;
    d->pr.aborts = false;
    hist_reset_end(d->unit->hist);
}

static void change_over(void *arg)
{
    struct desk *d = arg;
    const struct ini_task *t = &d->pr.task;
    enum prh_answer a = PRH_REFUSED;

    d->nexus->once--;
    if (t->err)
        a = PRH_LOST;
    else if (t->status == SCSI_GOOD)
        a = PRH_GOOD;
    else if (t->status == SCSI_RESERVATION_CONFLICT)
        a = PRH_CONFLICT;
    else if (t->status == SCSI_TASK_ABORTED ||
             (t->status == SCSI_CHECK_CONDITION && t->sense.key == SCSI_ABORTED_COMMAND))
        a = PRH_MAYBE;
    if (a != PRH_LOST)
        pr_aborts_over(d);
    scene_log(d->nexus->scene, "    nexus %u unit %u: PR OUT %u: %d, status %02x, sense %x/%02x/%02x",
              d->nexus->id, d->unit->number, d->unit->prh.op.sa, t->err, t->status, t->sense.key, t->sense.asc,
              t->sense.ascq);
    prh_end(&d->unit->prh, a);
    over(d);
}

/* On the session's core. */
static void change_done(struct ini_task *t)
{
    struct desk *d = container_of(t, struct desk, pr.task);

    desk_attention(d, t);
    sim_on(d->nexus->rt, change_over, d);
}

static void change(struct desk *d, enum prh_sa sa, enum prh_type type, uint64_t key, uint64_t sa_key)
{
    const struct prh_op op = {
        .sa = sa,
        .nexus = d->nexus->id,
        .key = key,
        .sa_key = sa_key,
        .type = type,
        .aptpl = (sa == PRH_REGISTER || sa == PRH_REGISTER_IGNORE) && d->nexus->scene->plan.aptpl,
    };
    struct ini_task *t = &d->pr.task;
    bool breaks;

    memset(t, 0, sizeof(*t));
    memset(d->pr.buf, 0, 24);
    store_be64(&d->pr.buf[0], key);
    store_be64(&d->pr.buf[8], sa_key);
    d->pr.buf[20] = op.aptpl;
    d->pr.busy = true;
    d->unit->pr_desk = d;
    t->lun = (uint16_t)d->unit->number;
    t->cdb[0] = SCSI_PR_OUT;
    t->cdb[1] = (uint8_t)sa;
    t->cdb[2] = (uint8_t)type;
    store_be32(&t->cdb[5], 24);
    t->cdb_len = 10;
    t->once = true;
    d->pr.iov = (struct iovec){ d->pr.buf, 24 };
    t->edtl = 24;
    t->out = (struct dm_buf){ &d->pr.iov, 1, 24 };
    t->done = change_done;
    d->nexus->once++;
    if (sa == PRH_PREEMPT_ABORT)
        aborts_begin(d);
    prh_begin(&d->unit->prh, &op);
    breaks = swarm_once(d->nexus, 24);
    nexus_submit(d->nexus, t);
    if (breaks)
        desk_burst(d);
}

static enum prh_type type_draw(struct desk *d)
{
    static const enum prh_type types[] = { PRH_WRITE_EXCLUSIVE, PRH_EXCLUSIVE_ACCESS, PRH_WRITE_EXCLUSIVE_RO,
                                           PRH_EXCLUSIVE_ACCESS_RO };

    return types[sim_rng_below(&d->nexus->rng, ARRAY_SIZE(types))];
}

/* Whoever holds it gives it back soon: the others have work to do. */
static void draw_holder(struct desk *d)
{
    const struct prh *p = &d->unit->prh;
    const uint64_t key = key_of(d);

    switch (sim_rng_below(&d->nexus->rng, 10)) {
    case 0: change(d, PRH_CLEAR, 0, key, 0); break;
    case 1: change(d, PRH_REGISTER, 0, key, 0); break;
    case 2: change(d, PRH_REGISTER, 0, key, key_new(d)); break;
    case 3: look(d); break;
    default: change(d, PRH_RELEASE, p->type, key, 0); break;
    }
}

static void draw(struct desk *d)
{
    const struct prh *p = &d->unit->prh;
    const uint64_t key = key_of(d);
    const uint64_t x = sim_rng_below(&d->nexus->rng, 20);

    if (p->unsure)
        look(d);
    else if (!key)
        x < 2 ? change(d, PRH_RESERVE, type_draw(d), 0x77, 0) /* not registered: a conflict */
              : change(d, x < 4 ? PRH_REGISTER_IGNORE : PRH_REGISTER, 0, 0, key_new(d));
    else if (p->type && p->holder == (int)d->nexus->id)
        draw_holder(d);
    else if (p->type)
        x < 4   ? change(d, x < 2 ? PRH_PREEMPT : PRH_PREEMPT_ABORT, type_draw(d), key, p->key[p->holder])
        : x < 6 ? change(d, PRH_CLEAR, 0, key, 0)
        : x < 8 ? change(d, PRH_RESERVE, type_draw(d), key, 0)
        : x < 9 ? change(d, PRH_RELEASE, p->type, key, 0)
                : look(d);
    else
        x < 12   ? change(d, PRH_RESERVE, type_draw(d), key, 0)
        : x < 14 ? change(d, PRH_REGISTER, 0, key, 0)
        : x < 16 ? change(d, PRH_REGISTER, 0, key, key_new(d))
        : x < 17 ? change(d, PRH_REGISTER, 0, key + 0x1000000, key) /* another key than the one registered */
                 : look(d);
}

/* Before the audit nothing may stand in anybody's way. */
static void shut(struct desk *d)
{
    const struct prh *p = &d->unit->prh;

    if (p->unsure)
        look(d);
    else if (!p->type)
        d->unit->pr_shut = true;
    else if (!key_of(d))
        change(d, PRH_REGISTER_IGNORE, 0, 0, key_new(d));
    else
        change(d, PRH_CLEAR, 0, key_of(d), 0);
}

static void pr_timer(struct rt_timer *timer)
{
    struct desk *d = container_of(timer, struct desk, pr.timer);
    struct scene *sc = d->nexus->scene;

    if (d->pr.busy)
        return;
    /* Whoever lost a command on a session that goes on ends that: only then it is known to be over. */
    if (sc->act == ACT_CALM && d->unit->prh.ghosts >> d->nexus->id & 1 && d->nexus->life == LIFE_RUN)
        nexus_close(d->nexus, WAY_DRAIN);
    if (d->nexus->life != LIFE_RUN || d->nexus->moving || !d->disk || d->abandoned || sc->failed || !prh_free(&d->unit->prh) ||
        d->unit->pr_desk)
        pr_wait(d, SOON_NS);
    else if (sc->act == ACT_STORM)
        draw(d);
    else if (sc->act == ACT_CALM && !d->unit->pr_shut)
        shut(d);
    if (!d->pr.busy && !rt_timer_armed(timer))
        pr_wait(d, sc->act == ACT_STORM ? SOON_NS : 200 * RT_MS);
}

void pr_start(struct desk *d)
{
    if (!d->nexus->scene->plan.reservations || rt_timer_armed(&d->pr.timer) || d->pr.busy)
        return;
    d->pr.timer.fn = pr_timer;
    pr_wait(d, sim_rng_range(&d->nexus->rng, RT_MS, 2 * RT_S));
}

void pr_orphan(struct desk *d)
{
    if (d->unit->pr_desk == d) {
        prh_end(&d->unit->prh, PRH_LOST);
        d->unit->pr_desk = NULL;
    }
    d->pr.busy = false;
    memset(&d->pr.timer, 0, sizeof(d->pr.timer));
}
