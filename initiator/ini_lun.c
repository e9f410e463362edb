/*
 * ini_lun.c - a logical unit: what it is, and whether it still is the same
 *
 * A unit is looked over when it is opened, after every recovery of its session, and after unit attentions that
 * may mean another disk or another size. Until the answers are in, its gate is shut: no command but the
 * probe's own is sent, so not one write can go to a disk that took over the number. Requests are ini_io.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

#define IO_MAX (1024u * 1024)               /* bytes in one command at most, whatever the unit takes */
#define UNMAP_MAX_DEFAULT (1024ull * 1024 * 1024)
#define ABANDON_NS RT_S
#define OPEN_AWAY_NS (60 * RT_S)            /* a first look waits no longer for a session that is away */
#define AWAY_NS (5 * RT_S)                  /* from one look at a unit that is not to be reached now to the next */
#define ZERO_MAX_DEFAULT (64ull * 1024 * 1024)  /* written in seconds without help, too */

/* ---- the gate ------------------------------------------------------------------------------------------- */

struct ini_lun *ini_lun_find(struct ini_sess *s, uint16_t lun)
{
    rt_list_for(l, &s->luns) {
        struct ini_lun *u = rt_list_entry(l, struct ini_lun, link);

        if (u->lun == lun)
            return u;
    }
    return NULL;
}

static void gate_shut(struct ini_lun *l)
{
    struct ini_sess *s = l->sess;

    if (l->shut)
        return;
    l->shut = true;
    s->gates++;
    rt_list_for_safe(at, &s->queue) {
        struct ini_task *t = rt_list_entry(at, struct ini_task, link);

        if (t->lun != l->lun || t->probe)
            continue;
        rt_list_del(at);
        rt_list_push(&l->held, at);
    }
}

/* What was held goes on, or fails where the unit is not to be used again. */
static void gate_leave(struct ini_lun *l)
{
    struct ini_sess *s = l->sess;
    struct rt_link *at;

    while (!rt_list_empty(&l->held)) {
        at = l->held.prev;                  /* the youngest first: each is inserted before the one after it */
        rt_list_del(at);
        if (l->err) {
            struct ini_task *t = rt_list_entry(at, struct ini_task, link);

            s->queue_nr--;
            ini_task_end_later(s, t, ini_io_piece(t) ? ini_lun_refuses(l) : l->err);
        } else {
            ini_queue_insert(&s->queue, rt_list_entry(at, struct ini_task, link));
        }
    }
}

static void gate_open(struct ini_lun *l)
{
    if (!l->shut)
        return;
    l->shut = false;
    l->sess->gates--;
    gate_leave(l);
    ini_tasks_pump(l->sess);
}

/* ---- the probe ------------------------------------------------------------------------------------------ */

static unsigned probe_page(uint8_t cdb[static 16], uint8_t page)
{
    return scsi_cdb_inquiry_vpd(cdb, page, INI_PROBE_LEN);
}

static unsigned build_ready(uint8_t cdb[static 16]) { return scsi_cdb_test_unit_ready(cdb); }
static unsigned build_inquiry(uint8_t cdb[static 16]) { return scsi_cdb_inquiry(cdb, 96); }
static unsigned build_00(uint8_t cdb[static 16]) { return probe_page(cdb, 0x00); }
static unsigned build_80(uint8_t cdb[static 16]) { return probe_page(cdb, 0x80); }
static unsigned build_83(uint8_t cdb[static 16]) { return probe_page(cdb, 0x83); }
static unsigned build_b0(uint8_t cdb[static 16]) { return probe_page(cdb, 0xb0); }
static unsigned build_b1(uint8_t cdb[static 16]) { return probe_page(cdb, 0xb1); }
static unsigned build_b2(uint8_t cdb[static 16]) { return probe_page(cdb, 0xb2); }
static unsigned build_cap16(uint8_t cdb[static 16]) { return scsi_cdb_read_capacity_16(cdb, 32); }
static unsigned build_cap10(uint8_t cdb[static 16]) { return scsi_cdb_read_capacity_10(cdb); }
static unsigned build_mode6(uint8_t cdb[static 16]) { return scsi_cdb_mode_sense_6(cdb, 0x08, 192); }
static unsigned build_mode10(uint8_t cdb[static 16]) { return scsi_cdb_mode_sense_10(cdb, 0x08, 512); }

static bool out_of_reach(const struct ini_lun *l)
{
    return l->cmd.task.status == SCSI_CHECK_CONDITION && ini_alua_out_of_reach(&l->cmd.task.sense);
}

/* err: of the command. Return: 0 to go on, -errno: the unit cannot be used. */
static int take_ready(struct ini_lun *l, int err, size_t len)
{
    (void)len;
    /* Reserved for another, or not to be used through this port now: it may be looked at all the same. */
    return err == -EOPNOTSUPP || err == -EBADE || (err == -EAGAIN && out_of_reach(l)) ? 0 : err;
}

static int take_inquiry(struct ini_lun *l, int err, size_t len)
{
    struct scsi_inquiry *q = &l->got.inquiry;

    if (err)
        return err;
    if (scsi_inquiry_parse(q, l->buf, len))
        return -EPROTO;
    /* 001b with the type of a disk: there is one, but not through this port now (SPC-4 r36, "Unavailable state"). */
    if (q->qualifier > 1 || q->device_type == 0x1f)
        return -ENODEV;
    return q->device_type ? -EMEDIUMTYPE : 0;
}

static int take_00(struct ini_lun *l, int err, size_t len)
{
    if (!err)
        for (unsigned p = 0; p < 256; p++)
            if (scsi_vpd_00_has(l->buf, len, (uint8_t)p))
                l->got.pages[p / 8] |= (uint8_t)(1u << p % 8);
    return 0;
}

static int take_83(struct ini_lun *l, int err, size_t len)
{
    if (!err && scsi_vpd_83_parse(l->got.wwid, l->buf, len))
        l->got.wwid[0] = '\0';
    if (!err && scsi_vpd_83_port(&l->got.port, l->buf, len))
        l->got.port = (struct scsi_port){ 0 };
    return 0;
}

static int take_80(struct ini_lun *l, int err, size_t len)
{
    if (!err && scsi_vpd_80_parse(l->got.serial, l->buf, len))
        l->got.serial[0] = '\0';
    return 0;
}

static int take_cap16(struct ini_lun *l, int err, size_t len)
{
    if (err == -EOPNOTSUPP) {
        l->got.cap16_refused = true;
        return 0;
    }
    if (err == -EAGAIN && l->open && out_of_reach(l)) {     /* it has the size it had: who it is counts */
        l->got.out_of_reach = true;
        return 0;
    }
    return err ? err : scsi_capacity_16_parse(&l->got.capacity, l->buf, len);
}

static int take_cap10(struct ini_lun *l, int err, size_t len)
{
    if (!err)
        err = scsi_capacity_10_parse(&l->got.capacity, l->buf, len);
    return !err && l->got.capacity.blocks > 0xffffffffu ? -EFBIG : err;
}

static int take_mode6(struct ini_lun *l, int err, size_t len)
{
    l->got.mode6_refused = err || scsi_mode_parse(&l->got.mode, l->buf, len, false);
    return 0;
}

static int take_mode10(struct ini_lun *l, int err, size_t len)
{
    if (err || scsi_mode_parse(&l->got.mode, l->buf, len, true))
        l->got.mode = (struct scsi_mode){ 0 };
    return 0;
}

static int take_b0(struct ini_lun *l, int err, size_t len)
{
    if (!err)
        scsi_vpd_b0_parse(&l->got.limits, l->buf, len);     /* of a page that is none nothing is taken */
    return 0;
}

static int take_b1(struct ini_lun *l, int err, size_t len)
{
    if (!err)
        scsi_vpd_b1_parse(&l->got.limits, l->buf, len);     /* of a page that is none nothing is taken */
    return 0;
}

static int take_b2(struct ini_lun *l, int err, size_t len)
{
    if (!err)
        scsi_vpd_b2_parse(&l->got.limits, l->buf, len);     /* of a page that is none nothing is taken */
    return 0;
}

static bool always(const struct ini_probe *p) { (void)p; return true; }
static bool has_groups(const struct ini_probe *p) { return p->inquiry.tpgs_implicit || p->inquiry.tpgs_explicit; }
static bool cap16_refused(const struct ini_probe *p) { return p->cap16_refused; }
static bool mode6_refused(const struct ini_probe *p) { return p->mode6_refused; }
#define HAS_PAGE(p, page) ((p)->pages[(page) / 8] >> (page) % 8 & 1)
static bool has_80(const struct ini_probe *p) { return HAS_PAGE(p, 0x80); }
static bool has_83(const struct ini_probe *p) { return HAS_PAGE(p, 0x83); }
static bool has_b0(const struct ini_probe *p) { return HAS_PAGE(p, 0xb0); }
static bool has_b1(const struct ini_probe *p) { return HAS_PAGE(p, 0xb1); }
static bool has_b2(const struct ini_probe *p) { return HAS_PAGE(p, 0xb2); }

static const struct probe_step {
    const char *name;
    unsigned (*build)(uint8_t cdb[static 16]);
    uint32_t len;                           /* bytes of answer */
    bool (*wanted)(const struct ini_probe *p);
    int (*take)(struct ini_lun *l, int err, size_t len);
} steps[] = {
    { "TEST UNIT READY",      build_ready,   0,             always,        take_ready   },
    { "INQUIRY",              build_inquiry, 96,            always,        take_inquiry },
    { "INQUIRY VPD 00",       build_00,      INI_PROBE_LEN, always,        take_00      },
    { "INQUIRY VPD 83",       build_83,      INI_PROBE_LEN, has_83,        take_83      },
    { "INQUIRY VPD 80",       build_80,      INI_PROBE_LEN, has_80,        take_80      },
    { "REPORT TARGET PORT GROUPS",
                              ini_alua_build, INI_PROBE_LEN, has_groups,  ini_alua_take },
    { "READ CAPACITY (16)",   build_cap16,   32,            always,        take_cap16   },
    { "READ CAPACITY (10)",   build_cap10,   8,             cap16_refused, take_cap10   },
    { "MODE SENSE (6)",       build_mode6,   192,           always,        take_mode6   },
    { "MODE SENSE (10)",      build_mode10,  512,           mode6_refused, take_mode10  },
    { "INQUIRY VPD B0",       build_b0,      INI_PROBE_LEN, has_b0,        take_b0      },
    { "INQUIRY VPD B1",       build_b1,      INI_PROBE_LEN, has_b1,        take_b1      },
    { "INQUIRY VPD B2",       build_b2,      INI_PROBE_LEN, has_b2,        take_b2      },
};

static void probe_done(struct ini_cmd *c);
static void probe_finished(struct ini_lun *l);

static void probe_next(struct ini_lun *l)
{
    const struct probe_step *st;

    while (l->step < ARRAY_SIZE(steps) && !steps[l->step].wanted(&l->got))
        l->step++;
    if (l->step == ARRAY_SIZE(steps)) {
        probe_finished(l);
        return;
    }
    st = &steps[l->step];
    memset(&l->cmd.task, 0, sizeof(l->cmd.task));
    l->cmd.task.lun = l->lun;
    l->cmd.task.probe = l->cmd.task.once = true;    /* broken off: the probe begins anew */
    l->cmd.task.cdb_len = (uint8_t)st->build(l->cmd.task.cdb);
    l->cmd.buf = l->buf;
    l->cmd.buf_len = st->len;
    l->cmd.done = probe_done;
    l->probing = true;
    ini_cmd_start(l->sess, &l->cmd);
}

static void probe_start(struct ini_lun *l)
{
    gate_shut(l);
    if (l->probing) {
        l->again = true;
        return;
    }
    rt_timer_disarm(l->rt, &l->probe_timer);
    l->again = false;
    l->step = 0;
    memset(&l->got, 0, sizeof(l->got));
    probe_next(l);
}

static void open_failed(struct ini_lun *l, int err, const char *why);

static void probe_later(struct rt_timer *t)
{
    struct ini_lun *l = container_of(t, struct ini_lun, probe_timer);

    if (l->sess->state == INI_UP) {
        probe_start(l);
    } else if (!l->open) {                  /* with replacement_timeout -1 it could wait for ever */
        l->late = true;
        if (!l->probing)
            open_failed(l, -ETIMEDOUT, l->sess->why);
        else
            ini_task_unqueue(l->sess, &l->cmd.task, -ETIMEDOUT);
    }
}

static void lun_free(struct ini_lun *l)
{
    rt_timer_disarm(l->rt, &l->probe_timer);
    rt_timer_disarm(l->rt, &l->abandon);
    ini_cmd_cancel(&l->cmd);
    ini_alua_exit(l);
    ini_io_exit(l);
    free(l->buf);
    free(l);
}

static void lun_unlink(struct ini_lun *l)
{
    l->err = l->err ? l->err : -ECANCELED;
    gate_open(l);
    rt_list_del(&l->link);
}

static void open_failed(struct ini_lun *l, int err, const char *why)
{
    void (*opened)(void *user, int e, const char *w) = l->opened;
    void *user = l->user;

    l->err = err;
    lun_unlink(l);
    *l->out = NULL;
    lun_free(l);
    opened(user, err, why);
}

static void lun_end(struct ini_lun *l, int err)
{
    l->err = err;
    rt_timer_disarm(l->rt, &l->probe_timer);
    gate_shut(l);                           /* and stays shut: what is sent to it past us ends here too */
    gate_leave(l);
    ini_io_fail_all(l, ini_lun_refuses(l));
}

void ini_lun_gone(struct ini_lun *l, int err, enum ini_event ev)
{
    if (l->err)
        return;
    lun_end(l, err);
    if (l->event)
        l->event(l->user, ev);
}

/* After a second, what the target still has is taken from it; after another, the connection that still holds
 * its memory. */
static void abandon_due(struct rt_timer *t)
{
    struct ini_lun *l = container_of(t, struct ini_lun, abandon);
    struct ini_sess *s = l->sess;

    if (!l->flight_nr || s->conn < CONN_FULL)
        return;                             /* all is back; or conn_gone() brings it back */
    if (l->given_up) {
        ini_conn_lost(s, -ETIMEDOUT, "the connection does not move, and lun %u is given up", l->lun);
        return;
    }
    l->given_up = true;
    if (ini_tasks_give_up(s, l->lun, l->err))
        ini_ghosts_abort(s, l->lun);
    rt_timer_arm(l->rt, &l->abandon, ABANDON_NS);
}

void ini_lun_abandon(struct ini_lun *l, int err)
{
    rt_assert_here(l->rt);
    assert(l->open && err < 0);
    l->hand = false;                        /* whoever gives it up has no other way either */
    if (!l->err)
        lun_end(l, err);
    l->offline = false;                     /* nor does the session's return change that */
    if (!rt_timer_armed(&l->abandon) && !l->given_up)
        rt_timer_arm(l->rt, &l->abandon, ABANDON_NS);
}

/* What was read of it so far says that it is there, and not to be reached through this port. */
static bool is_away(const struct ini_lun *l)
{
    return l->got.inquiry.qualifier == 1 && !l->got.inquiry.device_type;
}

/* It is there, and nobody says whether it is the one it was: it gets nothing until somebody does, and is looked at again.
 * Return: false where that has been tried enough. */
static bool probe_away(struct ini_lun *l)
{
    if (!l->hand && l->probes++ >= INI_PROBES_MAX)
        return false;
    l->away = true;
    rt_timer_arm(l->rt, &l->probe_timer, AWAY_NS);
    if (l->hand)
        ini_hand_waiting(l);
    ini_alua_away(l);
    return true;
}

static void probe_failed(struct ini_lun *l, int err, const char *step)
{
    char why[256], sense[96] = "";

    if (!l->cmd.task.err && l->cmd.task.status == SCSI_CHECK_CONDITION)
        scsi_sense_format(&l->cmd.task.sense, sense);
    if (is_away(l)) {
        if (l->open && probe_away(l))
            return;
        if (!l->open)
            err = -EAGAIN;
        snprintf(why, sizeof(why), "lun %u: the unit cannot be reached through this port now: %s%s%s", l->lun, step,
                 sense[0] ? ": " : "", sense);
    } else if (err == -ENODEV)
        snprintf(why, sizeof(why),
                 "lun %u: there is no unit by this number; see what the target has with REPORT LUNS "
                 "and whether this initiator may see it",
                 l->lun);
    else if (err == -EMEDIUMTYPE)
        snprintf(why, sizeof(why), "lun %u: not a disk (device type %02xh)", l->lun,
                 l->got.inquiry.device_type);
    else if (sense[0])
        snprintf(why, sizeof(why), "lun %u: %s: %s", l->lun, step, sense);
    else
        snprintf(why, sizeof(why), "lun %u: %s: %s", l->lun, step, strerror(-err));
    if (!l->open) {
        open_failed(l, err == -EMEDIUMTYPE ? -ENODEV : err, why);
        return;
    }
    rt_log(RT_ERR, "%s: %s; the disk is taken out of use", l->sess->conf.target, why);
    ini_lun_gone(l, -ENODEV, err == -EMEDIUMTYPE ? INI_LUN_CHANGED : INI_LUN_GONE);
}

static void probe_done(struct ini_cmd *c)
{
    struct ini_lun *l = container_of(c, struct ini_lun, cmd);
    const struct probe_step *st = &steps[l->step];
    int err = ini_cmd_result(c);

    l->probing = false;
    if (l->closing) {
        l->rt = l->sess->rt;                /* which may have moved since */
        lun_free(l);
        return;
    }
    if (l->err)
        return;
    if (c->attentions && l->step)           /* what was read before it may be of yesterday */
        l->again = true;
    if (c->task.err) {
        const uint8_t state = l->sess->state;

        if (!l->open && (l->late || state == INI_OFFLINE || state == INI_LOGOUT || state == INI_FAILED ||
                         l->sess->stopping)) {
            open_failed(l, c->task.err, l->sess->why);
        } else if (state == INI_UP) {
            if (l->probes++ < INI_PROBES_MAX)
                rt_timer_arm(l->rt, &l->probe_timer, 500 * RT_MS);
            else
                probe_failed(l, c->task.err, st->name);
        }
        return;                             /* else ini_lun_up() begins anew */
    }
    if (l->again) {
        if (l->probes++ < INI_PROBES_MAX)
            probe_start(l);
        else
            probe_failed(l, -EIO, "it changes while it is being looked at");
        return;
    }
    err = st->take(l, err, c->task.in_len);
    if (err) {
        probe_failed(l, err, st->name);
        return;
    }
    l->step++;
    probe_next(l);
}

/* ---- what it amounts to --------------------------------------------------------------------------------- */

/* Some unit names itself by no page: then by what else is lasting about it. */
static void identity_make(struct ini_lun *l)
{
    struct ini_probe *p = &l->got;

    if (p->wwid[0])
        return;
    if (p->serial[0])
        snprintf(p->wwid, sizeof(p->wwid), "S%s_%s_%.200s", p->inquiry.vendor, p->inquiry.product, p->serial);
    else
        snprintf(p->wwid, sizeof(p->wwid), "N%s_%s_%.200s/%u", p->inquiry.vendor, p->inquiry.product,
                 l->sess->conf.target, l->lun);
}

static uint64_t limit_or(uint64_t blocks, uint32_t block_len, uint64_t otherwise)
{
    const uint64_t most = 1ull << 40;

    if (!blocks)
        return otherwise;
    return blocks > most / block_len ? otherwise : min_u64(blocks * block_len, otherwise);
}

static void info_make(const struct ini_lun *l, struct ini_lun_info *i)
{
    const struct ini_probe *p = &l->got;
    const uint32_t bl = p->capacity.block_len;
    const struct scsi_limits *lim = &p->limits;

    *i = (struct ini_lun_info) {
        .size = p->capacity.blocks * bl,
        .block_len = bl,
        .phys_len = p->capacity.phys_block_len ? p->capacity.phys_block_len : bl,
        .io_max = (uint32_t)limit_or(lim->transfer_max, bl, IO_MAX),
        .io_opt = (uint32_t)limit_or(lim->transfer_opt, bl, IO_MAX),
        .readonly = p->mode.write_protect,
        /* Without a caching page nobody knows: then a flush costs less than a lost write. */
        .write_cache = !p->mode.has_caching || p->mode.wce,
        .fua = p->mode.dpofua,
        .unmap = p->capacity.lbpme && (lim->lbpu || lim->lbpws),
        .unmap_zeroes = p->capacity.lbprz,
        .rotational = lim->rotation > 1,
        .unmap_granularity = (uint32_t)limit_or(lim->unmap_granularity, bl, IO_MAX),
        .unmap_max = limit_or(lim->lbpu ? lim->unmap_max : lim->write_same_max, bl, UNMAP_MAX_DEFAULT),
        .zero_max = limit_or(lim->write_same_max, bl, ZERO_MAX_DEFAULT),
    };
    if (!lim->unmap_granularity)
        i->unmap_granularity = bl;
    i->io_max = i->io_max < bl ? bl : i->io_max / bl * bl;
    i->unmap_max = i->unmap_max < bl ? bl : i->unmap_max / bl * bl;
    i->zero_max = i->zero_max < bl ? bl : i->zero_max / bl * bl;
    memcpy(i->wwid, p->wwid, sizeof(i->wwid));
    memcpy(i->serial, p->serial, sizeof(i->serial));
    memcpy(i->vendor, p->inquiry.vendor, sizeof(i->vendor));
    memcpy(i->product, p->inquiry.product, sizeof(i->product));
    memcpy(i->revision, p->inquiry.revision, sizeof(i->revision));
}

static void first_look(struct ini_lun *l, const struct ini_lun_info *now)
{
    int err;

    l->info = *now;
    err = ini_io_init(l);
    if (err) {
        open_failed(l, err, "no memory for requests");
        return;
    }
    l->open = true;
    *l->out = l;
    gate_open(l);
    l->opened(l->user, 0, "");
}

static void probe_finished(struct ini_lun *l)
{
    struct ini_lun_info now;
    const bool named = l->got.wwid[0];
    bool resized, was_paused = l->paused;

    identity_make(l);
    if (is_away(l) && !named && (!l->open || strcmp(l->got.wwid, l->info.wwid))) {
        probe_failed(l, -EAGAIN, "it does not say who it is");
        return;
    }
    if (l->got.out_of_reach) {
        now = l->info;
        memcpy(now.wwid, l->got.wwid, sizeof(now.wwid));
    } else if (l->got.capacity.blocks > UINT64_MAX / l->got.capacity.block_len) {
        probe_failed(l, -EFBIG, "its size in bytes does not fit 64 bits");
        return;
    } else {
        info_make(l, &now);
    }
    l->cached |= now.write_cache;
    l->probes = 0;
    l->away = false;
    if (l->got.inquiry.qualifier)
        rt_timer_arm(l->rt, &l->probe_timer, AWAY_NS);
    if (!l->open) {
        ini_alua_probed(l);
        first_look(l, &now);
        return;
    }
    if (strcmp(now.wwid, l->info.wwid) || now.block_len != l->info.block_len) {
        rt_log(RT_ERR,
               "%s: lun %u: another unit answers by this number now (%s with blocks of %u, was %s with %u): "
               "nothing more is sent to it",
               l->sess->conf.target, l->lun, now.wwid, now.block_len, l->info.wwid, l->info.block_len);
        ini_lun_gone(l, -ENODEV, INI_LUN_CHANGED);
        return;
    }
    resized = now.size != l->info.size;
    now.io_max = min_u32(now.io_max, l->info.io_max);       /* pieces were made for the old one */
    l->info = now;
    l->paused = false;
    if (resized && l->event)
        l->event(l->user, INI_LUN_RESIZED);
    ini_alua_probed(l);
    gate_open(l);
    ini_io_pump(l);
    if (was_paused && l->event)
        l->event(l->user, INI_LUN_RESUMED);
}

/* ---- what happens to it --------------------------------------------------------------------------------- */

void ini_lun_recheck(struct ini_lun *l)
{
    if (l->open && !l->err)
        probe_start(l);
}

bool ini_lun_attention(struct ini_sess *s, const struct ini_task *t)
{
    struct ini_lun *l = ini_lun_find(s, t->lun);

    if (!l || !l->open || l->err || t == &l->cmd.task || ini_io_piece(t) || !ini_io_changes_unit(&t->sense))
        return false;
    gate_shut(l);
    return true;
}

void ini_lun_attend(struct ini_sess *s, uint16_t lun)
{
    struct ini_lun *l = ini_lun_find(s, lun);

    if (l)
        ini_lun_recheck(l);
}

void ini_lun_down(struct ini_lun *l)
{
    const bool was_paused = l->paused;

    if (l->err)
        return;
    gate_shut(l);
    rt_timer_disarm(l->rt, &l->probe_timer);
    l->away = false;
    if (l->probing)
        l->again = true;
    if (!l->open)
        rt_timer_arm(l->rt, &l->probe_timer, OPEN_AWAY_NS);
    l->paused = l->open;
    if (l->hand)
        ini_hand_waiting(l);
    if (l->open && !was_paused && l->event)
        l->event(l->user, INI_LUN_PAUSED);
}

void ini_lun_up(struct ini_lun *l)
{
    l->probes = 0;
    rt_timer_disarm(l->rt, &l->probe_timer);
    if (l->offline) {                       /* the gate is shut: requests wait for what the probe says */
        l->offline = false;
        l->err = 0;
    }
    if (!l->err && !l->probing) /* one that was under way begins anew by itself, see ini_lun_down() */
        probe_start(l);
}

void ini_lun_offline(struct ini_lun *l, int err)
{
    l->offline = l->open && !l->err;
    ini_lun_failed(l, err);
}

void ini_lun_failed(struct ini_lun *l, int err)
{
    if (!l->open) {
        if (!l->probing || ini_cmd_cancel(&l->cmd))
            open_failed(l, err, l->sess->why);
        return;                             /* else the probe's end says so */
    }
    ini_lun_gone(l, err, INI_LUN_GONE);
}

/* ---- open and close ------------------------------------------------------------------------------------- */

int ini_lun_open(struct ini_sess *s, uint16_t lun, struct ini_lun **out,
                 void (*done)(void *user, int err, const char *why),
                 void (*event)(void *user, enum ini_event ev), void *user)
{
    struct ini_lun *l;

    rt_assert_here(s->rt);
    if (lun > SCSI_LUN_MAX)
        return -EINVAL;
    if (ini_lun_find(s, lun))
        return -EEXIST;
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->buf = malloc(INI_PROBE_LEN);
    if (!l->buf) {
        free(l);
        return -ENOMEM;
    }
    l->sess = s;
    l->rt = s->rt;
    l->lun = lun;
    l->out = out;
    l->opened = done;
    l->event = event;
    l->user = user;
    l->probe_timer.fn = probe_later;
    l->abandon.fn = abandon_due;
    rt_list_init(&l->held);
    rt_list_push(&s->luns, &l->link);
    *out = NULL;
    if (s->ghosts && s->state == INI_UP && s->conn == CONN_FULL)    /* ini_lun_up() begins when they are gone */
        ini_conn_lost(s, -EAGAIN, "the target may still have commands of a unit that was given up");
    else
        probe_start(l);
    return 0;
}

void ini_lun_close(struct ini_lun *l)
{
    if (!l)
        return;
    rt_assert_here(l->rt);
    assert(l->open && !l->io_nr);
    ini_alua_exit(l);
    lun_unlink(l);
    /* Not in the session's list any more, its timers would not go with that to another core. */
    rt_timer_disarm(l->rt, &l->probe_timer);
    rt_timer_disarm(l->rt, &l->abandon);
    rt_timer_disarm(l->rt, &l->delay);
    if (l->probing && !rt_timer_armed(&l->cmd.timer))
        l->closing = true;
    else
        lun_free(l);
}

const struct ini_lun_info *ini_lun_info(const struct ini_lun *l)
{
    return &l->info;
}

struct ini_sess *ini_lun_sess(const struct ini_lun *l)
{
    return l->sess;
}

uint16_t ini_lun_number(const struct ini_lun *l)
{
    return l->lun;
}
