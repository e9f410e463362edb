/*
 * work.c - requests of one place on one disk, and what they tell the oracle
 *
 * A slot has one request under way at a time: think, draw, submit, tell the history, again. Reads, writes,
 * flushes, unmaps and zeroes go the way of an exported disk (mpio); WRITE SAME with a pattern and COMPARE AND
 * WRITE are commands given to the session. What an answer says about the fate of a write is judged here, and
 * nowhere more kindly than it must be.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"
#include "tests/sim/scene.h"

#define POLL_NS     (50 * RT_MS) /* how often one that has nothing to do looks again */
#define MOVING_NS   (20 * RT_US) /* likewise, that needs the session itself, which moves */
#define TRIES_MAX   50u          /* of a command that was told to wait, or of something that happened */
#define BACKOFF_NS  (20 * RT_S)             /* after a write that failed, at most */
#define AUDIT_TRIES 200u
#define DRILL_THINK_NS (8 * RT_MS)
#define HURRY_NS    RT_MS
#define DRILL_LEN   8u                      /* sectors */
#define QUICK_NS    (500 * RT_MS)           /* a read in shared memory, when nothing is in the way, and much more */

static void slot_next(struct slot *s);
static void task_done(struct ini_task *t);
static void io_done(struct mpio_io *io, int res);

static struct scene *scene_of(const struct slot *s)
{
    return s->desk->nexus->scene;
}

static const char *op_name(const struct slot *s)
{
    static const char *const names[] = { "read", "write", "flush", "unmap", "zero", "same", "compare-and-write",
                                         "mode" };

    return names[s->op];
}

static void slot_log(struct slot *s, const char *what, int res)
{
    struct desk *d = s->desk;

    scene_log(scene_of(s), "    nexus %u unit %u slot %u: %s %u+%u%s value %" PRIx64 ": %s %d", d->nexus->id,
              d->unit->number, (unsigned)(s - d->slot), op_name(s), s->first, s->n, s->fua ? " fua" : "",
              s->value, what, res);
}

static void wait_for(struct slot *s, uint64_t ns)
{
    rt_timer_arm(s->desk->nexus->rt, &s->timer, ns);
}

static bool in_a_hurry(const struct slot *s)
{
    return scene_of(s)->act == ACT_STORM && rt_now(s->desk->nexus->rt) < s->desk->nexus->client->hurry_ns;
}

static uint64_t think(struct slot *s)
{
    static const uint8_t tenths[] = { 0, 1, 2, 5, 5, 10, 10, 20, 30 };
    struct sim_rng *r = &s->desk->nexus->rng;

    const uint64_t ns = scene_of(s)->act == ACT_DRILL ? DRILL_THINK_NS
                        : in_a_hurry(s)               ? HURRY_NS
                                                      : scene_of(s)->plan.think_ns;

    return 1 + ns / 10 * tenths[sim_rng_below(r, sizeof(tenths))] +
           sim_rng_below(r, 50 * RT_US);
}

/* ---- what an answer means -------------------------------------------------------------------------------- */

/* A disk's answer to a write: whether the target said it, so that it is over there. */
static enum hist_fate fate_of(const struct slot *s, int res)
{
    const struct nexus_end *n = s->desk->nexus;
    /* Perhaps a write and then a flush: that may be what met a conflict. */
    const bool two = s->fua;

    if (s->desk->multi)                     /* until no path can do it any more, of which the disk keeps the books */
        return res ? HIST_LATER : HIST_ACKED;
    if (res && s->never_up && s->ups == n->ups)
        return HIST_NOT; /* there was no connection all the time: it was never sent */
    switch (res) {
    case 0: return HIST_ACKED;
    case -EBADE: return s->breaks == n->breaks && !two ? HIST_NOT : HIST_MAYBE;
    case -EIO:
    case -ENOSPC:
    case -ENODATA:
    case -EREMOTEIO:
    case -EROFS: return n->s->state == INI_UP && !s->desk->abandoned ? HIST_MAYBE : HIST_LATER;
    default: return HIST_LATER;
    }
}

static bool may_cache(const struct slot *s)
{
    return s->desk->multi || s->desk->lun->cached || s->desk->lun->shut;
}

/* On a disk that never had a cache nobody need flush what was acknowledged; but a flush is not sent either, so it says
 * nothing of what others wrote. */
static void write_over(struct slot *s, enum hist_fate fate)
{
    if (fate == HIST_ACKED && !s->cached && !may_cache(s))
        hist_write_through(s->write);
    hist_write_end(s->desk->unit->hist, s->write, fate);
    /* No newer write is sent while an older one that failed may still be carried out. */
    if (fate == HIST_ACKED && s->desk->multi && !desk_ghosts(s->desk))
        hist_nexus_settled(s->desk->unit->hist, s->desk->nexus->id, s->tick);
}

static void accessed(struct slot *s, bool write, int res)
{
    struct desk *d = s->desk;

    if (res == 0 || (res == -EBADE && s->op != OP_FLUSH))
        prh_access(&d->unit->prh, s->pr_tick, d->nexus->id, write, res);
}

static void read_judge(struct slot *s, int res)
{
    struct desk *d = s->desk;
    uint64_t values[SECTORS_LEN];

    accessed(s, false, res);
    if (res) {
        hist_read_drop(d->unit->hist, &s->read);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const char *why =
            stamp_get(s->buf + i * STAMP_LEN, d->unit->number, s->first + i, d->unit->per_block, &values[i]);

        if (!why)
            continue;
        scene_fail(scene_of(s), "unit %u sector %u, read by nexus %u: %s (as if by value %" PRIx64 ")",
                   d->unit->number, s->first + i, d->nexus->id, why, values[i]);
        hist_read_drop(d->unit->hist, &s->read);
        return;
    }
    hist_read_end(d->unit->hist, &s->read, s->first, s->n, values);
}

static void slot_over(struct slot *s, int res)
{
    struct desk *d = s->desk;

    const bool audit = s->audit;

    slot_log(s, "ended", res);
    if (audit && !d->multi && !s->never_up && s->breaks == d->nexus->breaks && near_shm(d->nexus) &&
        rt_now(d->nexus->rt) > s->begun_ns + QUICK_NS)
        scene_fail(scene_of(s),
                   "nexus %u waited %u ms for a read of unit %u in shared memory: a wake-up was lost",
                   d->nexus->id, (unsigned)((rt_now(d->nexus->rt) - s->begun_ns) / RT_MS), d->unit->number);
    if (scene_of(s)->drill.client)
        drill_over(s, res);
    near_over(s);
    s->busy = s->waiting = false;
    if (audit) {
        s->audit = false;
        d->audit_next += res ? 0 : s->n;
        if (res && ++s->tries > AUDIT_TRIES)
            scene_fail(scene_of(s), "nexus %u cannot read unit %u in peace: %s", d->nexus->id, d->unit->number,
                       strerror(-res));
    }
    if (audit)
        wait_for(s, 1 + (res ? POLL_NS : 0));
    else if (!res || s->op == OP_READ)
        wait_for(s, think(s));
    else                                    /* a unit that takes no more writes is not to get hundreds */
        wait_for(s, min_u64(10 * think(s), BACKOFF_NS));
}

static void io_done(struct mpio_io *io, int res)
{
    struct slot *s = container_of(io, struct slot, io);
    struct hist *h = s->desk->unit->hist;

    assert(s->busy);
    switch (s->op) {
    case OP_READ: read_judge(s, res); break;
    case OP_FLUSH:
        /* Over several paths it may have been sent late: it says nothing of what the target met meanwhile. */
        if (!res && s->cached && (!s->desk->multi || s->upsets == scene_of(s)->tgtd.upsets))
            hist_synced(h, s->desk->nexus->id, s->tick);
        break;
    default: accessed(s, true, res); write_over(s, fate_of(s, res));
    }
    slot_over(s, res);
}

/* ---- commands -------------------------------------------------------------------------------------------- */

/* It was not carried out, and may be given again. */
static bool not_yet(const struct ini_task *t)
{
    if (t->err)
        return false;
    return t->status == SCSI_BUSY || t->status == SCSI_TASK_SET_FULL ||
           (t->status == SCSI_CHECK_CONDITION && t->sense.key == SCSI_UNIT_ATTENTION);
}

/* A command given to the session past the disk may be the one that is told of a reset: the disk must hear of it. */
void desk_attention(struct desk *d, const struct ini_task *t)
{
    if (d->disk && !t->err && t->status == SCSI_CHECK_CONDITION && t->sense.key == SCSI_UNIT_ATTENTION &&
        !d->lun->err)
        ini_lun_recheck(d->lun);            /* on the session's core: its answer came there */
}

static enum hist_fate task_fate(const struct slot *s, const struct ini_task *t)
{
    if (t->err && s->never_up && s->ups == s->desk->nexus->ups)
        return HIST_NOT;
    if (t->err)
        return t->err == -EPROTO || t->err == -EREMOTEIO ? HIST_MAYBE : HIST_LATER;
    if (t->status == SCSI_GOOD)
        return HIST_ACKED;
    if (t->status == SCSI_RESERVATION_CONFLICT)
        return HIST_NOT;
    if (t->status == SCSI_CHECK_CONDITION &&
        (t->sense.key == SCSI_ILLEGAL_REQUEST || t->sense.key == SCSI_UNIT_ATTENTION))
        return HIST_NOT;
    if ((t->status == SCSI_BUSY || t->status == SCSI_TASK_SET_FULL) && s->op == OP_CAW)
        return HIST_NOT;
    return HIST_MAYBE;
}

static void once_over(struct slot *s)
{
    struct nexus_end *n = s->desk->nexus;

    if (s->op != OP_CAW)
        return;
    assert(n->once);
    n->once--;
}

static void task_over(void *arg)
{
    struct slot *s = arg;
    struct ini_task *t = &s->task;
    struct hist *h = s->desk->unit->hist;

    assert(s->busy);
    if (s->op == OP_MODE) {
        slot_over(s, t->err);
        return;
    }
    once_over(s);
    if (not_yet(t) && s->tries++ < TRIES_MAX) {
        s->waiting = true;
        wait_for(s, t->status == SCSI_CHECK_CONDITION ? 1 : 20 * RT_MS);
        return;
    }
    if (!t->err && (t->status == SCSI_GOOD || t->sense.key == SCSI_MISCOMPARE))
        accessed(s, true, 0);
    else if (!t->err && t->status == SCSI_RESERVATION_CONFLICT)
        accessed(s, true, -EBADE);
    if (s->meddled && !t->err && t->status == SCSI_CHECK_CONDITION && t->sense.key == SCSI_MISCOMPARE) {
        write_over(s, HIST_NOT);            /* it asked for something else in the end */
    } else if (s->op == OP_CAW && !t->err && t->status == SCSI_CHECK_CONDITION &&
               t->sense.key == SCSI_MISCOMPARE) {
        if (!t->sense.has_info || t->sense.info >= (uint64_t)s->n * STAMP_LEN)
            scene_fail(scene_of(s), "MISCOMPARE at byte %" PRIu64 " of %u", t->sense.info, s->n * STAMP_LEN);
        else
            hist_caw_miscompared(h, s->write, (uint32_t)(t->sense.info / STAMP_LEN));
    } else {
        write_over(s, task_fate(s, t));
    }
    slot_over(s, t->err ? t->err : t->status == SCSI_GOOD ? 0 : -EIO);
}

/* On the session's core. */
static void task_done(struct ini_task *t)
{
    struct slot *s = container_of(t, struct slot, task);

    desk_attention(s->desk, t);
    sim_on(s->desk->nexus->rt, task_over, s);
}

static void task_submit(struct slot *s)
{
    struct desk *d = s->desk;
    struct ini_task *t = &s->task;
    const bool caw = s->op == OP_CAW;
    const uint32_t blocks = s->n / d->unit->per_block,
                   out = caw ? 2 * s->n * STAMP_LEN : d->unit->per_block * STAMP_LEN;
    const uint64_t lba = s->first / d->unit->per_block;
    bool breaks;

    memset(t, 0, sizeof(*t));
    t->lun = (uint16_t)d->unit->number;
    t->done = task_done;
    t->once = caw;
    if (caw) {
        t->cdb[0] = SCSI_COMPARE_AND_WRITE;
        t->cdb[1] = s->fua ? 0x08 : 0;
        store_be64(&t->cdb[2], lba);
        t->cdb[13] = (uint8_t)blocks;
        t->cdb_len = 16;
        d->nexus->once++;
    } else {
        t->cdb_len = (uint8_t)scsi_cdb_write_same_16(t->cdb, lba, blocks, false, false);
    }
    s->iov[0] = (struct iovec){ s->buf, out };
    t->edtl = out;
    t->out = (struct dm_buf){ s->iov, 1, out };
    if (caw)
        near_meddle(s);
    breaks = caw && swarm_once(d->nexus, out);
    nexus_submit(d->nexus, t);
    if (breaks)
        desk_burst(d);
}

/* MODE SELECT (6): the write cache off; a reset or a new start of the target turns it on again. The other sessions are
 * told, and flushes go on meaning what they say. */
static void mode_submit(struct slot *s)
{
    struct desk *d = s->desk;
    struct ini_task *t = &s->task;

    memset(t, 0, sizeof(*t));
    memset(s->buf, 0, 24);
    s->buf[4] = 0x08;
    s->buf[5] = 18;
    t->lun = (uint16_t)d->unit->number;
    t->cdb[0] = SCSI_MODE_SELECT_6;
    t->cdb[1] = 0x10;
    t->cdb[4] = 24;
    t->cdb_len = 6;
    t->done = task_done;
    s->iov[0] = (struct iovec){ s->buf, 24 };
    t->edtl = 24;
    t->out = (struct dm_buf){ s->iov, 1, 24 };
    nexus_submit(d->nexus, t);
}

/* ---- drawing --------------------------------------------------------------------------------------------- */

static enum work_op op_draw(struct slot *s)
{
    const struct plan *p = &scene_of(s)->plan;
    uint32_t sum = 0, x;
    unsigned i;

    for (i = 0; i < OP_NR; i++)
        sum += p->weight[i];
    x = (uint32_t)sim_rng_below(&s->desk->nexus->rng, sum);
    for (i = 0; x >= p->weight[i]; i++)
        x -= p->weight[i];
    return i;
}

/* Where, in whole blocks of the unit as it is now. */
static void range_draw(struct slot *s, uint32_t most)
{
    struct desk *d = s->desk;
    struct sim_rng *r = &d->nexus->rng;
    const uint32_t per = d->unit->per_block;
    uint32_t all = (uint32_t)(mpio_disk_info(d->disk)->size / STAMP_LEN) / per, n;

    if (all > d->unit->sectors_max / per)
        all = d->unit->sectors_max / per;
    if (all > d->unit->hot / per && (sim_rng_chance(r, scene_of(s)->plan.hot_ppm) || in_a_hurry(s)))
        all = d->unit->hot / per;
    n = sim_rng_below(r, 3) ? (uint32_t)sim_rng_range(r, 1, 8) : (uint32_t)sim_rng_range(r, 1, SECTORS_LEN);
    if (n > most / per)
        n = most / per;
    if (n > all)
        n = all;
    s->first = (uint32_t)sim_rng_range(r, 0, all - n) * per;
    s->n = n * per;
}

static void sectors_put(struct slot *s, uint8_t *to, uint64_t value)
{
    for (uint32_t i = 0; i < s->n; i++)
        stamp_put(to + i * STAMP_LEN, s->desk->unit->number, s->first + i, s->desk->unit->per_block, value);
}

static void caw_prepare(struct slot *s)
{
    struct desk *d = s->desk;
    struct scene *sc = scene_of(s);
    uint64_t from[CAW_MAX];

    for (uint32_t i = 0; i < s->n; i++)
        from[i] = hist_guess(d->unit->hist, s->first + i);
    if (sim_rng_chance(&d->nexus->rng, sc->plan.miss_ppm)) {
        const uint32_t i = (uint32_t)sim_rng_below(&d->nexus->rng, s->n);

        from[i] = from[i] ? HIST_ZERO : stamp_value(100, ++d->count, false);
    }
    for (uint32_t i = 0; i < s->n; i++)
        stamp_put(s->buf + i * STAMP_LEN, d->unit->number, s->first + i, d->unit->per_block, from[i]);
    sectors_put(s, s->buf + s->n * STAMP_LEN, s->value);
    s->write = hist_caw_begin(d->unit->hist, d->nexus->id, s->first, s->n, from, s->value, s->fua);
}

static void io_submit(struct slot *s, enum ini_io_op op)
{
    struct desk *d = s->desk;
    struct sim_rng *r = &d->nexus->rng;
    const uint32_t len = s->n * STAMP_LEN;
    uint32_t cut[3] = { 0, 0, len };

    memset(&s->io, 0, sizeof(s->io));
    s->io.done = io_done;
    s->io.io.op = (uint8_t)op;
    s->io.io.flags = s->fua ? INI_FUA : 0;
    if (op == INI_ZERO && sim_rng_below(r, 2))
        s->io.io.flags |= INI_NO_UNMAP;
    if (op != INI_FLUSH) {
        s->io.io.off = (uint64_t)s->first * STAMP_LEN;
        s->io.io.len = len;
    }
    if (op <= INI_WRITE) { /* one to three pieces of memory, cut anywhere */
        unsigned n = 0;

        if (sim_rng_below(r, 2))
            cut[0] = cut[1] = (uint32_t)sim_rng_below(r, len);
        if (cut[1])
            cut[1] += (uint32_t)sim_rng_below(r, len - cut[1]);
        for (unsigned i = 0; i < 3; i++) {
            const uint32_t from = i ? cut[i - 1] : 0;

            if (cut[i] > from)
                s->iov[n++] = (struct iovec){ s->buf + from, cut[i] - from };
        }
        s->io.io.iov = s->iov;
        s->io.io.iov_nr = n;
    }
    mpio_submit(d->disk, &s->io);
}

static void slot_submit(struct slot *s)
{
    static const enum ini_io_op ops[] = { [OP_READ] = INI_READ,
                                          [OP_WRITE] = INI_WRITE,
                                          [OP_FLUSH] = INI_FLUSH,
                                          [OP_UNMAP] = INI_UNMAP,
                                          [OP_ZERO] = INI_ZERO };
    struct desk *d = s->desk;
    struct hist *h = d->unit->hist;
    const unsigned nexus = d->nexus->id;

    if (s->op <= OP_WRITE || s->op >= OP_SAME)
        near_take(s, s->op == OP_MODE   ? 24
                     : s->op == OP_SAME ? d->unit->per_block * STAMP_LEN
                                        : s->n * STAMP_LEN * (s->op == OP_CAW ? 2 : 1));
    s->busy = true;
    s->tries = s->audit ? s->tries : 0;
    s->begun_ns = rt_now(d->nexus->rt);
    s->meddled = false;
    s->breaks = d->nexus->breaks;
    s->ups = d->nexus->ups;
    s->never_up = !d->multi && d->nexus->s->state != INI_UP;
    s->upsets = scene_of(s)->tgtd.upsets;
    s->tick = hist_now(h);
    s->cached = may_cache(s);
    s->pr_tick = prh_tick(&d->unit->prh);
    scene_of(s)->requests++;
    switch ((enum work_op)s->op) {
    case OP_READ:
        for (uint32_t i = 0; i < s->n; i++)
            stamp_spoil(s->buf + i * STAMP_LEN);
        hist_read_begin(h, &s->read);
        break;
    case OP_FLUSH: break;
    case OP_WRITE:
        sectors_put(s, s->buf, s->value);
        s->write = hist_write_begin(h, nexus, s->first, s->n, s->value, s->fua);
        break;
    case OP_SAME:
        for (uint32_t i = 0; i < d->unit->per_block; i++)
            stamp_put(s->buf + i * STAMP_LEN, d->unit->number, s->first + i, d->unit->per_block, s->value);
        s->write = hist_write_begin(h, nexus, s->first, s->n, s->value, false);
        break;
    case OP_CAW: caw_prepare(s); break;
    case OP_MODE: break;
    default: s->value = HIST_ZERO; s->write = hist_write_begin(h, nexus, s->first, s->n, HIST_ZERO, s->fua);
    }
    slot_log(s, "begun", 0);
    if (s->op != OP_READ && s->op != OP_MODE)
        near_used(s);
    if (s->op == OP_MODE)
        mode_submit(s);
    else if (!s->write && s->op != OP_READ && s->op != OP_FLUSH)
        s->busy = false; /* out of room, and told */
    else if (s->op == OP_SAME || s->op == OP_CAW)
        task_submit(s);
    else
        io_submit(s, ops[s->op]);
}

static void slot_draw(struct slot *s)
{
    struct desk *d = s->desk;
    struct scene *sc = scene_of(s);

    s->write = NULL;
    s->op = (uint8_t)op_draw(s);
    if (d->nexus->moving && s->op >= OP_SAME)
        s->op = OP_WRITE;                   /* what goes past the disk has to wait; this does by itself */
    s->fua = s->op != OP_READ && s->op != OP_FLUSH && s->op != OP_SAME && s->op != OP_MODE &&
             sim_rng_chance(&d->nexus->rng, sc->plan.fua_ppm);
    s->value = stamp_value(d->nexus->id, (uint64_t)d->unit->number << 40 | ++d->count, s->op == OP_SAME);
    s->first = s->n = 0;
    if (s->op != OP_FLUSH && s->op != OP_MODE)
        range_draw(s, s->op == OP_CAW ? CAW_MAX : sc->act == ACT_DRILL ? DRILL_LEN : SECTORS_LEN);
    slot_submit(s);
}

/* One after the other reads of the whole unit, by the first slot. */
static bool audit_draw(struct slot *s)
{
    struct desk *d = s->desk;
    const uint32_t all = (uint32_t)(mpio_disk_info(d->disk)->size / STAMP_LEN);

    if (s != d->slot || d->audit_done)
        return false;
    if (d->audit_next >= all) {
        d->audit_done = true;
        return false;
    }
    s->op = OP_READ;
    s->audit = true;
    s->fua = false;
    s->first = d->audit_next;
    s->n = all - s->first < SECTORS_LEN ? all - s->first : SECTORS_LEN;
    slot_submit(s);
    return true;
}

static void slot_next(struct slot *s)
{
    struct desk *d = s->desk;
    struct scene *sc = scene_of(s);
    const bool burst = sc->act == ACT_STORM && !sim_rng_below(&d->nexus->rng, 12);

    if (d->nexus->moving && !d->multi && (s->waiting || s->lent)) {
        wait_for(s, MOVING_NS);
    } else if (s->waiting) { /* whatever the act: it is under way */
        s->waiting = false;
        task_submit(s);
    } else if (!d->disk || (!d->multi && d->nexus->life != LIFE_RUN) || d->abandoned || sc->failed) {
        wait_for(s, POLL_NS);
    } else if (sc->act == ACT_STORM || sc->act == ACT_DRILL) {
        slot_draw(s);
        if (burst)
            desk_burst(d);
    } else if (sc->act != ACT_AUDIT || !audit_draw(s)) {
        wait_for(s, POLL_NS);
    }
}

static void slot_timer(struct rt_timer *t)
{
    slot_next(container_of(t, struct slot, timer));
}

/* ---- a desk ---------------------------------------------------------------------------------------------- */

void desk_start(struct desk *d)
{
    for (unsigned i = 0; i < d->nexus->scene->plan.depth; i++) {
        struct slot *s = &d->slot[i];

        if (rt_timer_armed(&s->timer) || s->busy)
            continue;
        s->timer.fn = slot_timer;
        wait_for(s, think(s));
    }
}

void desk_burst(struct desk *d)
{
    if (d->bursting)
        return;
    d->bursting = true;
    for (unsigned i = 0; i < d->nexus->scene->plan.depth; i++) {
        struct slot *s = &d->slot[i];

        if (s->busy || !rt_timer_armed(&s->timer))
            continue;
        rt_timer_disarm(d->nexus->rt, &s->timer);
        slot_next(s);
    }
    d->bursting = false;
}

bool desk_idle(const struct desk *d)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        if (d->slot[i].busy)
            return false;
    return true;
}

void desk_audit(struct desk *d)
{
    d->audit_next = 0;
    d->audit_done = false;
    d->slot[0].tries = 0;
}

void desk_orphan(struct desk *d)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        struct slot *s = &d->slot[i];

        if (s->busy && s->op == OP_READ)
            hist_read_drop(d->unit->hist, &s->read);
        else if (s->busy && s->write)
            hist_write_end(d->unit->hist, s->write, HIST_LATER);
        if (s->busy)
            slot_log(s, "its program is dead", 0);
        s->busy = s->waiting = s->audit = false;
        s->write = NULL;
        s->buf = s->own;
        s->lent = NULL;                     /* it went with the program */
        memset(&s->meddle, 0, sizeof(s->meddle));
        s->used = 0;
        memset(&s->timer, 0, sizeof(s->timer));
    }
    d->path = NULL;
    d->lun = NULL;
    d->disk = d->leaving = d->made = NULL;
    d->opening = d->abandoned = d->bursting = false;
}
