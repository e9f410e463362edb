/*
 * ini_io.c - bytes in and out of a unit
 *
 * A request becomes one command, or several when it is larger than one may be. What a target says that is not
 * an answer yet (busy, attention, becoming ready) is waited out here; what is one becomes an errno by a table.
 * Owns requests from submit to done; whether the unit may be used at all is ini_lun.c's.
 */
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

#define RETRIES_MAX 5u                      /* of what should not fail and may be an accident */
#define ATTENTIONS_MAX 20u                  /* unit attentions for one command: more is a fault of the target */
#define ZERO_BUF_LEN (64u * 1024)
#define ZERO_LEN (1024u * 1024)             /* bytes of zeroes in one write */

enum piece_kind { PIECE_READ, PIECE_WRITE, PIECE_SYNC, PIECE_UNMAP, PIECE_SAME, PIECE_ZEROES };
enum io_stage { IO_PIECES, IO_SYNC };

static const uint8_t zeroes[ZERO_BUF_LEN];

static void piece_done(struct ini_task *t);

/* ---- the end of a request ------------------------------------------------------------------------------- */

static void ended_tell(struct rt_op *op, int res)
{
    struct ini_lun *l = container_of(op, struct ini_lun, end_op);
    struct rt_link all;

    (void)res;
    l->end_armed = false;
    if (rt_list_empty(&l->ended))
        return;
    all = l->ended;
    all.next->prev = all.prev->next = &all;
    rt_list_init(&l->ended);
    for (struct rt_link *at; (at = rt_list_pop(&all));) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);
        const bool last = !--l->io_nr;

        io->done(io, io->res);
        if (last)
            return;                         /* l may be gone: it was the last of all, so of this list too */
    }
}

static void end_later(struct ini_lun *l, struct ini_io *io, int res)
{
    io->res = res;
    rt_list_push(&l->ended, &io->link);
    if (l->end_armed)
        return;
    l->end_armed = true;
    l->end_op.done = ended_tell;
    rt_defer(l->rt, &l->end_op);
}

/* ---- pieces --------------------------------------------------------------------------------------------- */

static void piece_submit(struct ini_lun *l, struct ini_piece *p)
{
    struct ini_task *t = &p->task;
    const struct ini_lun_info *info = &l->info;
    const uint64_t lba = p->off / info->block_len;
    const uint32_t blocks = (uint32_t)(p->len / info->block_len);
    uint32_t chunk;
    bool fua = false;

    switch ((enum piece_kind)p->kind) {
    case PIECE_READ:
        t->cdb_len = (uint8_t)scsi_cdb_read(t->cdb, lba, blocks, false);
        break;
    case PIECE_WRITE:
        fua = info->fua && p->io->flags & INI_FUA;
        t->cdb_len = (uint8_t)scsi_cdb_write(t->cdb, lba, blocks, fua);
        break;
    case PIECE_SYNC:
        t->cdb_len = (uint8_t)scsi_cdb_sync_cache(t->cdb, 0, 0);
        break;
    case PIECE_UNMAP:
        scsi_unmap_param(p->param, lba, blocks);
        p->cut = (struct iovec){ p->param, sizeof(p->param) };
        t->out = (struct dm_buf){ &p->cut, 1, sizeof(p->param) };
        t->cdb_len = (uint8_t)scsi_cdb_unmap(t->cdb, sizeof(p->param));
        break;
    case PIECE_SAME:
        p->cut = (struct iovec){ (void *)(uintptr_t)zeroes, info->block_len };
        t->out = (struct dm_buf){ &p->cut, 1, info->block_len };
        t->cdb_len = (uint8_t)scsi_cdb_write_same_16(
            t->cdb, lba, blocks,
            p->io->op == INI_UNMAP ||
                (info->unmap_zeroes && info->unmap && !(p->io->flags & INI_NO_UNMAP) && !l->no_zero_unmap),
            false);
        break;
    case PIECE_ZEROES:                      /* one chunk after the other; off and len go along */
        chunk = min_u32(p->len, min_u32(l->zero_len, info->io_max));
        t->out = (struct dm_buf){ l->zero_iov, chunk / ZERO_BUF_LEN + 1, chunk };
        t->cdb_len = (uint8_t)scsi_cdb_write(t->cdb, lba, chunk / info->block_len, false);
        break;
    }
    /* What the unit can do may be another thing when this has been answered, after a new login. */
    p->io->cached |= !fua;
    t->edtl = t->out.len + t->in.len;
    l->flight_nr++;
    ini_submit(l->sess, t);
}

/* The iovecs of the next piece: the caller's own where the piece begins with one, else as many as needed in a
 * copy whose first is cut. Return: bytes, 0 when not even a block lies in as many iovecs as a piece has. */
static uint32_t piece_iov(struct ini_lun *l, struct ini_io *io, struct ini_piece *p, uint32_t want,
                          struct dm_buf *buf)
{
    const struct iovec *v = io->iov + io->iov_at;
    struct iovec *own;
    uint32_t len = 0;
    unsigned n = 0;

    if (!io->iov_skip) {
        *buf = (struct dm_buf){ v, io->iov_nr - io->iov_at, want };
        return want;
    }
    if (v->iov_len - io->iov_skip >= want) {
        own = &p->cut;
        own[0] = (struct iovec){ (uint8_t *)v->iov_base + io->iov_skip, v->iov_len - io->iov_skip };
        *buf = (struct dm_buf){ own, 1, want };
        return want;
    }
    own = container_of(p, struct ini_pool_piece, p)->iov;
    for (size_t skip = io->iov_skip; len < want && n < INI_PIECE_IOV; skip = 0, v++) {
        own[n] = (struct iovec){ (uint8_t *)v->iov_base + skip, v->iov_len - skip };
        len += (uint32_t)min_u64(own[n++].iov_len, want - len);
    }
    len -= len % l->info.block_len;
    *buf = (struct dm_buf){ own, n, len };
    return len;
}

static void iov_advance(struct ini_io *io, uint32_t len)
{
    while (len) {
        const size_t left = io->iov[io->iov_at].iov_len - io->iov_skip;

        if (len < left) {
            io->iov_skip += len;
            return;
        }
        len -= (uint32_t)left;
        io->iov_skip = 0;
        io->iov_at++;
    }
}

static uint64_t piece_most(const struct ini_lun *l, const struct ini_io *io)
{
    switch (io->op) {
    case INI_UNMAP: return l->info.unmap_max;
    case INI_ZERO:  return l->info.zero_max;
    default:        return l->info.io_max;
    }
}

static uint8_t kind_of(const struct ini_lun *l, const struct ini_io *io)
{
    switch (io->op) {
    case INI_READ:  return PIECE_READ;
    case INI_WRITE: return PIECE_WRITE;
    case INI_FLUSH: return PIECE_SYNC;
    case INI_UNMAP: return l->got.limits.lbpu ? PIECE_UNMAP : PIECE_SAME;
    default:        return l->no_write_same ? PIECE_ZEROES : PIECE_SAME;
    }
}

static struct ini_piece *piece_get(struct ini_lun *l, struct ini_io *io)
{
    struct ini_pool_piece *more;

    if (!io->next && !io->left)
        return &io->first;
    more = rt_pool_get(l->pieces);
    return more ? &more->p : NULL;
}

static void piece_put(struct ini_lun *l, struct ini_piece *p)
{
    if (p != &p->io->first)
        rt_pool_put(l->pieces, container_of(p, struct ini_pool_piece, p));
}

static void piece_init(struct ini_lun *l, struct ini_io *io, struct ini_piece *p, uint8_t kind)
{
    struct ini_task *t = &p->task;

    p->io = io;
    p->kind = kind;
    p->tries = 0;
    p->waited_ns = 0;
    t->lun = l->lun;
    t->once = t->probe = false;
    t->timeout_s = 0;
    t->done = piece_done;
    t->in = t->out = (struct dm_buf){ 0 };
}

/* Sends the next piece of a request. Return: false when none can be had now. */
static bool piece_next(struct ini_lun *l, struct ini_io *io)
{
    struct ini_piece *p = piece_get(l, io);
    uint32_t len = (uint32_t)min_u64(io->len - io->next, piece_most(l, io));
    struct ini_task *t;

    if (!p)
        return false;
    piece_init(l, io, p, kind_of(l, io));
    t = &p->task;
    p->off = io->off + io->next;
    if (io->op <= INI_WRITE) {
        struct dm_buf *buf = io->op == INI_READ ? &t->in : &t->out;

        len = piece_iov(l, io, p, len, buf);
        if (!len) {                         /* iovecs of a few bytes, thousands to a block */
            piece_put(l, p);
            io->res = -EINVAL;
            io->next = io->len;
            return true;
        }
        if (io->next + len < io->len)
            iov_advance(io, len);
    }
    p->len = len;
    io->next += len;
    io->left++;
    piece_submit(l, p);
    return true;
}

/* Return: true when nothing more of it has to be handed out. */
static bool io_hand_out(struct ini_lun *l, struct ini_io *io)
{
    do {
        if (l->flight_nr >= l->limit || !piece_next(l, io))
            return false;
    } while (io->next < io->len);
    return true;
}

/* A cache that another initiator has just turned off may still be on its way to the medium, and one that a reset has
 * turned on again is told of with the next answer: only of a unit that never had one a flush is a word. */
static bool flush_matters(const struct ini_lun *l)
{
    return (l->cached || l->shut) && !l->no_sync;
}

/* All pieces are back. */
static bool io_needs_sync(const struct ini_lun *l, const struct ini_io *io)
{
    return io->op >= INI_WRITE && io->op != INI_FLUSH && io->flags & INI_FUA && io->stage == IO_PIECES &&
           !io->res && io->cached && flush_matters(l);
}

static void delay_run(struct ini_lun *l);

void ini_io_pump(struct ini_lun *l)
{
    if (!rt_list_empty(&l->delayed))
        delay_run(l);
    while (!l->shut && !rt_list_empty(&l->waiting)) {
        struct ini_io *io = rt_list_entry(l->waiting.next, struct ini_io, link);

        if (io->next >= io->len && io->res) {
            /* An error made the rest of it pointless. */
        } else if (!io_hand_out(l, io)) {
            return;
        }
        rt_list_del(&io->link);
        io->queued = false;
        if (!io->left)
            end_later(l, io, io->res);
    }
}

static void io_rewind(struct ini_io *io)
{
    io->next = 0;
    io->iov_at = 0;
    io->iov_skip = 0;
    io->stage = IO_PIECES;
    io->cached = false;
    io->logins = UINT64_MAX;
}

/* A flush covers what the target took before it. One that answers after a new login may be a target that lost its
 * power, and with it what it had in its cache: then all of it is done once more. */
static bool io_flushed_late(const struct ini_lun *l, const struct ini_io *io)
{
    return io->op != INI_FLUSH && io->stage == IO_SYNC && !io->res && io->logins != l->sess->reconnects;
}

static int io_refusal(const struct ini_lun *l, const struct ini_io *io)
{
    const struct ini_lun_info *i = &l->info;
    const int refused = ini_lun_refuses(l);

    if (refused)
        return refused;
    if (io->op == INI_FLUSH)
        return io->off || io->len ? -EINVAL : 0;
    if (!io->len || io->off % i->block_len || io->len % i->block_len || io->off > i->size ||
        io->len > i->size - io->off)
        return -EINVAL;
    if (io->op != INI_READ && i->readonly)
        return -EROFS;
    if (io->op == INI_UNMAP && !i->unmap)
        return -EOPNOTSUPP;
    return io->op > INI_ZERO ? -EINVAL : 0;
}

void ini_io_submit(struct ini_lun *l, struct ini_io *io)
{
    int err;

    rt_assert_here(l->rt);
    io->lun = l;
    io->left = 0;
    io->res = 0;
    io->queued = false;
    io_rewind(io);
    l->io_nr++;
    err = io_refusal(l, io);
    /* Where there are other paths, one of them may have met the cache that was turned on meanwhile, and written to it. */
    if (err || (io->op == INI_FLUSH && !flush_matters(l) && (!l->hand || l->no_sync))) {
        end_later(l, io, err);
        return;
    }
    if (!l->shut && rt_list_empty(&l->waiting) && io_hand_out(l, io))
        return;
    io->queued = true;
    rt_list_push(&l->waiting, &io->link);
}

/* ---- answers -------------------------------------------------------------------------------------------- */

enum verdict {
    V_OK,
    V_FAIL,
    V_AGAIN,                                /* an accident, perhaps: a few times */
    V_ATTENTION,                            /* it was told something; the command was not executed */
    V_CHANGED,                              /* the same, and the unit has to be looked over first */
    V_WAIT,                                 /* not now */
    V_CROWDED,                              /* not now, and fewer at a time */
    V_AWAY,                                 /* not through this port */
    V_GONE,
};

#define ANY (-1)
static const struct sense_rule {
    uint8_t key;
    int16_t asc, ascq;
    uint8_t verdict;
    int err;                                /* when it is the end */
} sense_rules[] = {    /* the first that fits; SPC-4 r36, "Sense key and sense code definitions" */
    { SCSI_UNIT_ATTENTION,  0x29, ANY,  V_CHANGED,   -EIO },        /* reset, power on, nexus loss */
    { SCSI_UNIT_ATTENTION,  0x2a, 0x06, V_ATTENTION, -EIO },        /* asymmetric access state changed */
    { SCSI_UNIT_ATTENTION,  0x2a, 0x07, V_ATTENTION, -EIO },        /* implicit transition of it failed */
    { SCSI_UNIT_ATTENTION,  0x2a, ANY,  V_CHANGED,   -EIO },        /* parameters or capacity changed */
    { SCSI_UNIT_ATTENTION,  0x3f, ANY,  V_CHANGED,   -EIO },        /* INQUIRY data or LUNs changed */
    { SCSI_UNIT_ATTENTION,  ANY,  ANY,  V_ATTENTION, -EIO },
    { SCSI_NOT_READY,       0x04, 0x01, V_WAIT,      -ETIMEDOUT },  /* becoming ready */
    { SCSI_NOT_READY,       0x04, 0x0a, V_WAIT,      -ETIMEDOUT },  /* ALUA transition */
    { SCSI_NOT_READY,       0x04, 0x0b, V_AWAY,      -EIO },        /* standby */
    { SCSI_NOT_READY,       0x04, 0x0c, V_AWAY,      -EIO },        /* unavailable */
    { SCSI_NOT_READY,       0x04, 0x12, V_AWAY,      -EIO },        /* offline */
    { SCSI_NOT_READY,       0x04, 0x14, V_WAIT,      -ETIMEDOUT },  /* space allocation in progress */
    { SCSI_NOT_READY,       ANY,  ANY,  V_FAIL,      -EIO },
    { SCSI_MEDIUM_ERROR,    ANY,  ANY,  V_FAIL,      -ENODATA },
    { SCSI_HARDWARE_ERROR,  ANY,  ANY,  V_FAIL,      -EREMOTEIO },
    { SCSI_ILLEGAL_REQUEST, 0x25, ANY,  V_GONE,      -ENODEV },     /* logical unit not supported */
    { SCSI_ILLEGAL_REQUEST, 0x20, ANY,  V_FAIL,      -EOPNOTSUPP },
    { SCSI_ILLEGAL_REQUEST, 0x24, ANY,  V_FAIL,      -EOPNOTSUPP },
    { SCSI_ILLEGAL_REQUEST, 0x26, ANY,  V_FAIL,      -EOPNOTSUPP },
    { SCSI_ILLEGAL_REQUEST, 0x21, ANY,  V_FAIL,      -EIO },        /* beyond the end */
    { SCSI_ILLEGAL_REQUEST, ANY,  ANY,  V_FAIL,      -EREMOTEIO },
    { SCSI_DATA_PROTECT,    0x27, 0x07, V_FAIL,      -ENOSPC },     /* space allocation failed */
    { SCSI_DATA_PROTECT,    ANY,  ANY,  V_FAIL,      -EROFS },
    { SCSI_ABORTED_COMMAND, ANY,  ANY,  V_AGAIN,     -EIO },
    { SCSI_COPY_ABORTED,    ANY,  ANY,  V_AGAIN,     -EIO },
    { 0xd,                  ANY,  ANY,  V_FAIL,      -ENOSPC },     /* volume overflow */
    /* Also a CHECK CONDITION that came without sense data: nothing says that the command was carried out. */
    { SCSI_NO_SENSE,        ANY,  ANY,  V_AGAIN,     -EIO },
    { SCSI_RECOVERED_ERROR, ANY,  ANY,  V_OK,        0 },
};

static enum verdict sense_judge(const struct scsi_sense *e, int *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(sense_rules); i++) {
        const struct sense_rule *r = &sense_rules[i];

        if (r->key != e->key || (r->asc != ANY && r->asc != e->asc) || (r->ascq != ANY && r->ascq != e->ascq))
            continue;
        *err = r->err;
        return r->verdict;
    }
    *err = -EIO;
    return V_FAIL;
}

bool ini_io_changes_unit(const struct scsi_sense *e)
{
    int err;

    return e->key == SCSI_UNIT_ATTENTION && sense_judge(e, &err) == V_CHANGED;
}

static enum verdict answer_judge(const struct ini_task *t, int *err)
{
    enum verdict v = V_OK;

    *err = t->err;
    if (t->err == -EPROTO || t->err == -EREMOTEIO) {        /* the target lost its way in this one command */
        *err = -EIO;
        return V_AGAIN;
    }
    if (t->err)
        return V_FAIL;
    switch (t->status) {
    case SCSI_GOOD:
    case SCSI_CONDITION_MET:
        break;
    case SCSI_CHECK_CONDITION:
        v = sense_judge(&t->sense, err);
        break;
    case SCSI_BUSY:
    case SCSI_ACA_ACTIVE:
        *err = -ETIMEDOUT;
        return V_WAIT;
    case SCSI_TASK_SET_FULL:
        *err = -ETIMEDOUT;
        return V_CROWDED;
    case SCSI_RESERVATION_CONFLICT:
        *err = -EBADE;
        return V_FAIL;
    case SCSI_TASK_ABORTED:
        *err = -EIO;
        return V_AGAIN;
    default:
        *err = -EIO;
        return V_FAIL;
    }
    /* Fewer bytes than asked for, or more: whatever the status says, not what was asked for. */
    if (v == V_OK && (t->residual || t->overflow || (t->in.len && t->in_len != t->edtl) ||
                      (t->out.len && t->dm.out_done != t->edtl))) {
        *err = -EIO;
        return V_AGAIN;
    }
    return v;
}

/* A target without the command: the same by other means. Return: true when the piece goes on. */
static bool piece_otherwise(struct ini_lun *l, struct ini_piece *p, int *err)
{
    if (*err != -EOPNOTSUPP)
        return false;
    if (p->kind == PIECE_SYNC) {
        if (p->task.sense.asc != 0x20)      /* it has the command: what it did not like is not "no cache" */
            return false;
        rt_log(RT_WARN, "%s: lun %u: the target says that it may cache writes and has no SYNCHRONIZE CACHE: "
               "flushes are answered without it", l->sess->conf.target, l->lun);
        l->no_sync = true;
        *err = 0;
        return false;
    }
    if (p->kind != PIECE_SAME || p->io->op != INI_ZERO)
        return false;
    if (p->task.cdb[1] & 0x08) {            /* UNMAP bit */
        l->no_zero_unmap = true;
    } else {
        l->no_write_same = true;
        p->kind = PIECE_ZEROES;
    }
    return true;
}

static void delay_arm(struct ini_lun *l, uint64_t ns)
{
    const uint64_t due = rt_now(l->rt) + ns;

    if (rt_timer_armed(&l->delay) && l->delay_ns <= due)
        return;
    l->delay_ns = due;
    rt_timer_arm(l->rt, &l->delay, ns);
}

static void piece_delay(struct ini_lun *l, struct ini_piece *p, uint64_t ns)
{
    assert(!ini_lun_refuses(l));            /* nobody would ever send it */
    p->due_ns = rt_now(l->rt) + ns;
    p->waited_ns += ns;
    rt_list_push(&l->delayed, &p->task.link);
    delay_arm(l, ns);
}

static void piece_go_on(struct ini_lun *l, struct ini_piece *p)
{
    if (l->shut)
        piece_delay(l, p, 0);
    else
        piece_submit(l, p);
}

/* Return: how long to wait before the piece is sent again, UINT64_MAX: it has been tried enough. */
static uint64_t retry_ns(const struct ini_lun *l, struct ini_piece *p, enum verdict v)
{
    const int32_t limit_s = l->sess->conf.set.replacement_timeout_s;
    const unsigned tries = p->tries;

    if (p->tries < 255)
        p->tries++;
    switch (v) {
    case V_AGAIN:
        return tries < RETRIES_MAX ? tries * 20 * RT_MS : UINT64_MAX;
    case V_ATTENTION:
    case V_CHANGED:
        return tries < ATTENTIONS_MAX ? 0 : UINT64_MAX;
    default:
        if (limit_s >= 0 && p->waited_ns >= (uint64_t)(limit_s ? limit_s : 1) * RT_S)
            return UINT64_MAX;
        return 5 * RT_MS << (tries < 8 ? tries : 8);        /* to 1.28 s */
    }
}

static void piece_finish(struct ini_lun *l, struct ini_piece *p, int err);

static void delay_over(struct rt_timer *t)
{
    ini_io_pump(container_of(t, struct ini_lun, delay));
}

static void delay_run(struct ini_lun *l)
{
    uint64_t now = rt_now(l->rt), next = UINT64_MAX;

    if (l->shut)
        return;                             /* the gate calls again */
    rt_list_for_safe(at, &l->delayed) {
        struct ini_piece *p = rt_list_entry(at, struct ini_piece, task.link);

        if (p->due_ns > now) {
            next = min_u64(next, p->due_ns - now);
        } else if (l->flight_nr < l->limit) {
            rt_list_del(at);
            piece_submit(l, p);
        }                                   /* else the end of another makes room */
    }
    if (next != UINT64_MAX)
        delay_arm(l, next);
}

static void crowd_shrink(struct ini_lun *l)
{
    l->limit = l->flight_nr > 1 ? l->flight_nr : 1;
    l->good_nr = 0;
}

static void crowd_grow(struct ini_lun *l)
{
    if (++l->good_nr < 4 * l->limit)
        return;
    l->good_nr = 0;
    l->limit++;
}

/* The piece has its result; the request perhaps too. Calls the user last: l may be gone then. */
static void piece_finish(struct ini_lun *l, struct ini_piece *p, int err)
{
    struct ini_io *io = p->io;
    const int refused = ini_lun_refuses(l);
    bool finished;

    /* What may yet be carried out outweighs whatever else went wrong. */
    if (err && (!io->res || err == -ECONNABORTED))
        io->res = err;
    if (p->kind == PIECE_SYNC)
        io->stage = IO_SYNC;
    piece_put(l, p);
    io->left--;
    if (io->res && io->queued)
        io->next = io->len;                 /* no more of it */
    if (!io->left && !io->queued && refused && io_needs_sync(l, io))
        io->res = refused;
    if (!io->left && !io->queued && io_needs_sync(l, io)) {
        piece_init(l, io, &io->first, PIECE_SYNC);
        io->first.off = io->first.len = 0;
        io->left++;
        piece_go_on(l, &io->first);
    }
    if (!io->left && io_flushed_late(l, io)) {
        if (refused) {
            io->res = refused;
        } else {
            io_rewind(io);
            io->queued = true;
            rt_list_push(&l->waiting, &io->link);
        }
    }
    finished = !io->left && !io->queued;
    if (!rt_list_empty(&l->waiting) || !rt_list_empty(&l->delayed))
        ini_io_pump(l);
    if (!finished)
        return;
    l->io_nr--;
    io->done(io, io->res);
}

/* One of zeroes that go out chunk by chunk. Return: true when more follow. */
static bool zeroes_go_on(struct ini_lun *l, struct ini_piece *p)
{
    const uint32_t chunk = p->task.edtl;

    if (p->kind != PIECE_ZEROES || chunk >= p->len)
        return false;
    p->off += chunk;
    p->len -= chunk;
    p->tries = 0;
    if (ini_lun_refuses(l))
        piece_finish(l, p, ini_lun_refuses(l));
    else
        piece_go_on(l, p);
    return true;
}

static void piece_judge(struct ini_lun *l, struct ini_piece *p)
{
    int err = 0, refused = ini_lun_refuses(l);
    enum verdict v = answer_judge(&p->task, &err);
    uint64_t wait;

    if (p->task.err && p->task.err != -ECONNABORTED && refused && l->hand) {
        piece_finish(l, p, refused);
        return;
    }
    if (!p->task.err && p->task.status == SCSI_CHECK_CONDITION && ini_alua_concerns(&p->task.sense))
        ini_alua_stale(l);
    switch (v) {
    case V_AWAY:
        piece_finish(l, p, l->hand ? -ENOTCONN : err);
        return;
    case V_OK:
        if (!zeroes_go_on(l, p))
            piece_finish(l, p, 0);
        return;
    case V_FAIL:
        if (p->task.sense.key == SCSI_ILLEGAL_REQUEST && p->task.sense.asc == 0x21)
            ini_lun_recheck(l);             /* it may have shrunk */
        if (!piece_otherwise(l, p, &err))
            piece_finish(l, p, err);
        else if (refused)
            piece_finish(l, p, refused);
        else
            piece_delay(l, p, 0);
        return;
    case V_GONE:
        ini_lun_gone(l, -ENODEV, INI_LUN_GONE);
        piece_finish(l, p, ini_lun_refuses(l));
        return;
    case V_CHANGED:
        ini_lun_recheck(l);
        break;
    case V_CROWDED:
        crowd_shrink(l);
        break;
    default:
        break;
    }
    wait = retry_ns(l, p, v);
    refused = ini_lun_refuses(l);           /* a look at it may have ended it */
    if (wait == UINT64_MAX || refused)
        piece_finish(l, p, refused ? refused : err);
    else
        piece_delay(l, p, wait);
}

static void piece_done(struct ini_task *t)
{
    struct ini_piece *p = container_of(t, struct ini_piece, task);
    struct ini_lun *l = p->io->lun;

    l->flight_nr--;
    if (p->kind != PIECE_SYNC && p->io->logins == UINT64_MAX)
        p->io->logins = l->sess->reconnects;
    if (t->err || t->status || t->residual || t->overflow || p->kind == PIECE_ZEROES) {
        piece_judge(l, p);
        return;
    }
    if (l->limit < (uint32_t)l->sess->conf.set.queue_depth)
        crowd_grow(l);
    piece_finish(l, p, 0);
}

const struct ini_piece *ini_io_piece(const struct ini_task *t)
{
    return t->done == piece_done ? rt_list_entry(t, struct ini_piece, task) : NULL;
}

bool ini_io_writes(const struct ini_piece *p)
{
    return p->kind != PIECE_READ && p->kind != PIECE_SYNC;
}

/* ---- set-up, and the end of a unit ---------------------------------------------------------------------- */

void ini_io_fail_all(struct ini_lun *l, int err)
{
    struct rt_link delayed, *at;

    rt_timer_disarm(l->rt, &l->delay);
    rt_list_init(&delayed);
    while ((at = rt_list_pop(&l->waiting))) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);

        io->queued = false;
        if (!io->res)
            io->res = err;
        if (!io->left)
            end_later(l, io, io->res);
    }
    while ((at = rt_list_pop(&l->delayed)))
        rt_list_push(&delayed, at);
    while ((at = rt_list_pop(&delayed))) {
        struct ini_piece *p = rt_list_entry(at, struct ini_piece, task.link);
        struct ini_io *io = p->io;

        if (!io->res)
            io->res = err;
        piece_put(l, p);
        if (!--io->left)
            end_later(l, io, io->res);
    }
}

int ini_io_init(struct ini_lun *l)
{
    const uint32_t depth = (uint32_t)l->sess->conf.set.queue_depth;
    unsigned n = ZERO_LEN / ZERO_BUF_LEN;

    rt_list_init(&l->waiting);
    rt_list_init(&l->delayed);
    rt_list_init(&l->ended);
    l->delay.fn = delay_over;
    l->limit = depth;
    l->zero_len = ZERO_LEN;
    l->zero_iov = calloc(n + 1, sizeof(*l->zero_iov));
    if (!l->zero_iov)
        return -ENOMEM;
    for (unsigned i = 0; i <= n; i++)
        l->zero_iov[i] = (struct iovec){ (void *)(uintptr_t)zeroes, ZERO_BUF_LEN };
    return rt_pool_new(&l->pieces, sizeof(struct ini_pool_piece), 64, depth);
}

void ini_io_exit(struct ini_lun *l)
{
    rt_timer_disarm(l->rt, &l->delay);
    rt_pool_free(l->pieces);
    free(l->zero_iov);
    l->pieces = NULL;
    l->zero_iov = NULL;
}
