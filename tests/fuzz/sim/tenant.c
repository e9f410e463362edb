/*
 * tenant.c - verified reads and writes through our own initiator
 *
 * Each slot has blocks of its own and one request at a time, so that what a block must hold is known. Pauses grow,
 * so that an input that lets hours pass does not cost millions of requests.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reactor/rt_bytes.h"
#include "tests/fuzz/sim/ops.h"
#include "tests/fuzz/sim/tenant.h"

#define GAP_MIN RT_MS
#define GAP_MAX (2 * RT_S)

static void next(struct tenant_io *q);

static void finding(const struct tenant *t, const char *what, long long a, long long b)
{
    fprintf(stderr, "%s on %s was harmed: %s (%lld, %lld)\n", t->conf.initiator, t->conf.target, what, a, b);
    abort();
}

static uint32_t rnd(struct tenant *t)
{
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t->seed >> 33);
}

/* ---- what is in a block ---------------------------------------------------------------------------------- */

static void block_fill(uint8_t *at, uint32_t block, uint8_t version)
{
    memset(at, version ? (int)(block * 7 + version) : 0, TENANT_BLOCK_LEN);
    if (version)
        store_be32(at, block << 8 | version);
}

static void block_judge(struct tenant_io *q, const uint8_t *at, uint32_t i)
{
    uint8_t want[TENANT_BLOCK_LEN];
    const uint32_t block = (uint32_t)(q - q->t->slot) * TENANT_SLOT_BLOCKS + i;

    block_fill(want, block, q->version[i]);
    if (memcmp(at, want, sizeof(want)))
        finding(q->t, "a block does not hold what was written", block, q->version[i]);
}

/* ---- questions ------------------------------------------------------------------------------------------- */

static void settle(struct tenant *t);

static void on_answer(struct tenant *t)
{
    t->asking = false;
    settle(t);
}

static void on_units(void *user, int err, const uint16_t *units, unsigned nr)
{
    (void)err, (void)units, (void)nr;
    on_answer(user);
}

static void on_reset(void *user, int resp, int err)
{
    (void)resp, (void)err;
    on_answer(user);
}

static void on_done(void *user, int err)
{
    (void)err;
    on_answer(user);
}

static void ask(struct tenant *t)
{
    if (t->asking || t->finishing)
        return;
    t->asking = true;
    if (t->hand && t->lun && t->opened && t->done % 48 >= 32)
        ini_lun_abort_all(t->lun, on_done, t);
    else if (t->hand && t->lun && t->opened && t->done % 48 >= 16)
        ini_lun_activate(t->lun, on_done, t);
    else if (t->done % 16 < 8)
        ini_report_luns(t->sess, on_units, t);
    else
        ini_lun_reset(t->sess, 0, on_reset, t);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static void on_io(struct ini_io *io, int res)
{
    struct tenant_io *q = container_of(io, struct tenant_io, io);
    struct tenant *t = q->t;
    uint64_t gap;

    assert(q->busy);
    q->busy = false;
    t->done++;
    t->errors += res != 0;
    if (res && t->strict)
        finding(t, "a request failed", res, io->op);
    if (res && io->op != INI_READ && io->op != INI_FLUSH)
        q->unsure = true;
    if (!res && io->op == INI_READ && t->strict && !q->unsure)
        for (uint32_t i = 0; i < q->blocks; i++)
            block_judge(q, q->buf + i * TENANT_BLOCK_LEN, q->first + i);
    if (t->finishing) {
        settle(t);
        return;
    }
    if (t->curious && t->done % 8 == 5)
        ask(t);
    gap = GAP_MIN << (q->nr / 4 < 12 ? q->nr / 4 : 12);
    rt_timer_arm(t->rt, &q->gap, gap < GAP_MAX ? gap : GAP_MAX);
}

static void on_gap(struct rt_timer *timer)
{
    struct tenant_io *q = container_of(timer, struct tenant_io, gap);

    if (!q->t->finishing && !q->t->failed && q->t->opened)
        next(q);
}

static void next(struct tenant_io *q)
{
    struct tenant *t = q->t;
    static const uint8_t kinds[16] = {
        INI_FLUSH, INI_ZERO, INI_UNMAP, INI_WRITE, INI_WRITE, INI_WRITE, INI_WRITE, INI_WRITE,
        INI_WRITE, INI_WRITE, INI_READ, INI_READ, INI_READ, INI_READ, INI_READ, INI_READ,
    };
    const struct ini_lun_info *info = ini_lun_info(t->lun);
    const uint32_t what = rnd(t) % 16, base = (uint32_t)(q - t->slot) * TENANT_SLOT_BLOCKS;
    uint32_t cut;

    q->nr++;
    q->blocks = rnd(t) % 4 ? 1 + rnd(t) % 4 : 1 + rnd(t) % TENANT_IO_BLOCKS;
    q->first = rnd(t) % (TENANT_SLOT_BLOCKS - q->blocks + 1);
    memset(&q->io, 0, sizeof(q->io));
    q->io.op = kinds[what];
    /* A strict tenant asks for nothing that the unit does not do, and unmaps only where it knows what is there then. */
    if (t->strict && q->io.op == INI_UNMAP &&
        !(info->unmap && info->unmap_zeroes && info->unmap_granularity <= TENANT_BLOCK_LEN))
        q->io.op = INI_READ;
    if (q->io.op != INI_FLUSH) {
        q->io.off = (base + q->first) * (uint64_t)TENANT_BLOCK_LEN;
        q->io.len = q->blocks * TENANT_BLOCK_LEN;
    }
    if (q->io.op == INI_WRITE && what == 3)
        q->io.flags = INI_FUA;
    if (q->io.op == INI_ZERO && q->nr & 1)
        q->io.flags = INI_NO_UNMAP;
    for (uint32_t i = 0; i < q->blocks && q->io.op != INI_READ && q->io.op != INI_FLUSH; i++) {
        uint8_t *const v = &q->version[q->first + i];

        *v = q->io.op != INI_WRITE ? 0 : *v == 255 ? 1 : (uint8_t)(*v + 1);
        block_fill(q->buf + i * TENANT_BLOCK_LEN, base + q->first + i, *v);
    }
    cut = q->io.len ? rnd(t) % (uint32_t)q->io.len : 0;
    q->iov[0] = (struct iovec){ q->buf, cut };
    q->iov[1] = (struct iovec){ q->buf + cut, q->io.len - cut };
    q->io.iov = q->iov;
    q->io.iov_nr = 2;
    q->io.done = on_io;
    q->busy = true;
    ini_io_submit(t->lun, &q->io);
}

/* ---- session --------------------------------------------------------------------------------------------- */

static void on_stopped(void *user)
{
    struct tenant *t = user;

    ini_sess_free(t->sess);
    t->sess = NULL;
    t->over = true;
}

/* Ends when nothing is under way any more. */
static void settle(struct tenant *t)
{
    if (!t->finishing || t->stopping || t->opening || t->asking || tenant_busy(t))
        return;
    t->stopping = true;
    for (unsigned i = 0; i < TENANT_SLOTS; i++)
        rt_timer_disarm(t->rt, &t->slot[i].gap);
    ini_lun_close(t->lun);
    t->lun = NULL;
    ini_sess_stop(t->sess, true, on_stopped, t);
}

static void on_opened(void *user, int err, const char *why)
{
    struct tenant *t = user;

    t->opening = false;
    if (ops_trace())
        printf("%s: open: %d %s\n", t->conf.target, err, err ? why : "");
    if (err && t->strict)
        finding(t, why, err, 0);
    if (err)
        t->lun = NULL;
    t->opened = !err;
    if (t->finishing) {
        settle(t);
        return;
    }
    if (err)
        return;
    if (t->hand) {
        ini_lun_hand_back(t->lun, true);
        ini_sess_watch(t->sess, 700);
    }
    /* What a hostile target calls a disk may be too small for us, or have other blocks: the errors are its own. */
    for (unsigned i = 0; i < TENANT_SLOTS; i++)
        rt_timer_arm(t->rt, &t->slot[i].gap, GAP_MIN);
}

static void on_changed(void *user)
{
    struct tenant *t = user;

    if (t->opened && t->curious)
        ask(t);
}

static void on_event(void *user, enum ini_event ev)
{
    struct tenant *t = user;

    if (t->strict && (ev == INI_LUN_GONE || ev == INI_LUN_CHANGED))
        finding(t, "its unit is gone", ev, 0);
}

static void open_unit(struct tenant *t)
{
    int err;

    if (t->opening || t->opened || t->finishing || t->failed || t->opens >= 4)
        return;
    t->opens++;
    t->opening = true;
    err = ini_lun_open(t->sess, 0, &t->lun, on_opened, on_event, t);
    if (err) {
        t->opening = false;
        if (t->strict)
            finding(t, "its unit cannot be opened", err, 0);
    }
}

static void on_up(void *user)
{
    struct tenant *t = user;

    t->up = true;
    if (ops_trace())
        printf("%s: up\n", t->conf.target);
    open_unit(t);
}

static void on_down(void *user, int err, const char *why)
{
    struct tenant *t = user;

    (void)err;
    if (ops_trace())
        printf("%s: down: %s\n", t->conf.target, why);
}

static void on_failed(void *user, int err, const char *why)
{
    struct tenant *t = user;

    if (ops_trace())
        printf("%s: failed: %s\n", t->conf.target, why);
    if (t->strict)
        finding(t, why, err, 0);
    t->failed = true;
}

void tenant_init(struct tenant *t, struct rt *rt, const char *initiator, const char *target, const char *host,
                 uint16_t port)
{
    memset(t, 0, sizeof(*t));
    t->rt = rt;
    t->seed = 1;
    snprintf(t->conf.initiator, sizeof(t->conf.initiator), "%s", initiator);
    snprintf(t->conf.target, sizeof(t->conf.target), "%s", target);
    snprintf(t->conf.portal.host, sizeof(t->conf.portal.host), "%s", host);
    t->conf.portal.port = port;
    ini_settings_default(&t->conf.set);
    t->conf.set.queue_depth = 8;
    t->conf.set.cmds_max = 16;
    for (unsigned i = 0; i < TENANT_SLOTS; i++) {
        t->slot[i].t = t;
        t->slot[i].gap.fn = on_gap;
    }
}

int tenant_start(struct tenant *t)
{
    static const struct ini_sess_events events = { .up = on_up, .down = on_down, .failed = on_failed,
                                                  .luns_changed = on_changed };
    const int err = ini_sess_new(&t->sess, t->rt, &t->conf, &events, t);

    if (err)
        return err;
    ini_sess_start(t->sess);
    return 0;
}

void tenant_finish(struct tenant *t)
{
    t->finishing = true;
    settle(t);
}

void tenant_abandon(struct tenant *t)
{
    if (t->opened && tenant_busy(t))
        ini_lun_abandon(t->lun, -EIO);
    tenant_finish(t);
}

unsigned tenant_busy(const struct tenant *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < TENANT_SLOTS; i++)
        n += t->slot[i].busy;
    return n;
}
