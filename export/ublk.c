/*
 * ublk.c - a disk as /dev/ublkbN
 *
 * One hardware queue, served by the disk's reactor: for each tag a command waits in the reactor's own ring
 * until the kernel has a request for it, and the answer to one request is the wait for the next. The thread
 * that fetched is the one that must go on, which is what a reactor is. Data are copied between the request's pages
 * and memory that the disk shares with its target (slab.h): by us, once it is known how much there is (user copy,
 * Linux 6.5), which never blocks; by an older driver, between those pages and the tag's own buffer, of which it has to be
 * told before.
 *
 * The device outlives its daemon where the kernel can (user recovery): requests wait, and are issued again to
 * the daemon that opens an export of the same name and the same disk. At worst that writes twice what was in
 * flight; but the dead daemon's session must be gone from the target by then, or its late writes could land on
 * new ones: a session that reinstates the old one by its ISID sees to that.
 *
 * No file of this program may live on its own disk, nor its memory in swap there: its exit would flush to
 * itself and wait for ever.
 */
#include "export/export_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "export/slab.h"
#include "export/ublk_ctl.h"
#include "reactor/rt_log.h"

#define BUF_LEN (1u << 20)
/* One request discards or zeroes so much at most: a bound on how long it takes. */
#define RANGE_MAX (1ull << 30)
#define SECTOR 512u
/* How long the kernel may take to see that the former server is dead (it looked every 5 s before 6.11). */
#define QUIESCE_TRIES 120
#define QUIESCE_PAUSE_MS 100

struct ublk_tag {
    struct mpio_io io;
    struct rt_op op;
    struct ublk *u;
    struct iovec iov;
    uint8_t *own;
    bool in_slab;                           /* iov is; else it is own */
    bool reads;
    int32_t moved;                          /* the result when all goes well */
    uint16_t tag;
};

struct ublk {
    struct exp *e;
    int id;                                 /* of /dev/ublkbN; -1: none */
    int fd;                                 /* /dev/ublkcN; -1 */
    bool recovering;                        /* id was there before us */
    bool keep;                              /* so it stays when opening fails */
    uint64_t features;
    bool user_copy;
    struct exp_slab slab;                   /* user copy only */
    const struct ublksrv_io_desc *iods;     /* the kernel's, read only */
    size_t iods_len;
    uint16_t depth;
    uint32_t buf_len;
    struct ublk_tag *tags;
    unsigned tags_nr;
    unsigned fetching, serving;             /* tags with the kernel, with the disk */
    struct rt_op defer;
    unsigned pauses;
    bool stopping;
    void (*then)(struct exp *e, int err);
    int then_err;
};

static void end_step(struct ublk *u);

/* ---- requests ---------------------------------------------------------------------------------------- */

static void fetched(struct rt_op *op, int res);

static void fetch(struct ublk_tag *t, unsigned op, int32_t result)
{
    struct ublk *u = t->u;
    const struct ublksrv_io_cmd cmd = {
        .q_id = 0, .tag = t->tag, .result = result, .addr = u->user_copy ? 0 : (uintptr_t)t->own
    };

    static_assert(sizeof(cmd) == 16, "as the ring's entry has it");
    u->fetching++;
    t->op.done = fetched;
    rt_fd_uring_cmd(u->e->rt, &t->op, u->fd, ublk_io_op(u->features, op), &cmd);
}

/* A write's data from the request's pages, or a read's into them. Return: 0 or -errno. */
static int user_copy(const struct ublk_tag *t)
{
    const struct iovec *v = &t->iov;
    ssize_t n;

    if (t->reads)
        n = pwrite(t->u->fd, v->iov_base, v->iov_len, (off_t)UBLK_CTL_DATA_OFF(t->tag));
    else
        n = pread(t->u->fd, v->iov_base, v->iov_len, (off_t)UBLK_CTL_DATA_OFF(t->tag));
    if (n < 0)
        return -errno;
    return (size_t)n == v->iov_len ? 0 : -EIO;
}

static void data_put(struct ublk_tag *t)
{
    if (t->in_slab)
        exp_slab_put(&t->u->slab, t->iov.iov_base, t->iov.iov_len);
    t->in_slab = false;
}

/* Memory for the request's data, with them in it when it writes. Return: 0 or -errno. */
static int data_take(struct ublk_tag *t, size_t len)
{
    struct ublk *u = t->u;
    void *shared = u->user_copy ? exp_slab_get(&u->slab, len) : NULL;

    t->in_slab = shared;
    t->iov = (struct iovec){ shared ? shared : t->own, len };
    return u->user_copy && !t->reads ? user_copy(t) : 0;
}

static void io_done(struct mpio_io *io, int res)
{
    struct ublk_tag *t = container_of(io, struct ublk_tag, io);

    if (!res && t->reads && t->u->user_copy)
        res = user_copy(t);
    data_put(t);
    t->u->serving--;
    fetch(t, UBLK_IO_COMMIT_AND_FETCH_REQ, res ? res : t->moved);
}

static const struct ublk_op {
    bool known, data;
    enum ini_io_op op;
} ops[] = {
    [UBLK_IO_OP_READ]         = { true, true,  INI_READ },
    [UBLK_IO_OP_WRITE]        = { true, true,  INI_WRITE },
    [UBLK_IO_OP_FLUSH]        = { true, false, INI_FLUSH },
    [UBLK_IO_OP_DISCARD]      = { true, false, INI_UNMAP },
    [UBLK_IO_OP_WRITE_ZEROES] = { true, false, INI_ZERO },
};

static void serve(struct ublk_tag *t)
{
    struct ublk *u = t->u;
    const struct ublksrv_io_desc d = u->iods[t->tag];
    const unsigned code = d.op_flags & 0xff;
    const struct ublk_op *op = code < ARRAY_SIZE(ops) && ops[code].known ? &ops[code] : NULL;
    const uint64_t off = d.start_sector * SECTOR, len = (uint64_t)d.nr_sectors * SECTOR;
    int err = op ? exp_refuses(u->e, op->op) : -EOPNOTSUPP;
    unsigned flags = 0;

    if (!err && op->data && len > u->buf_len)
        err = -EINVAL;
    t->reads = op && op->op == INI_READ;
    if (!err && op->data && (err = data_take(t, len)))
        data_put(t);
    if (err) {
        fetch(t, UBLK_IO_COMMIT_AND_FETCH_REQ, err);
        return;
    }
    /* The flags stand where the defines say, above the operation's byte: ublksrv_get_flags() shifts them
     * away. */
    if (op->op == INI_WRITE && (d.op_flags & UBLK_IO_F_FUA))
        flags |= INI_FUA;
    if (op->op == INI_ZERO && (d.op_flags & UBLK_IO_F_NOUNMAP))
        flags |= INI_NO_UNMAP;
    t->moved = op->data ? (int32_t)len : 0;
    t->io.done = io_done;
    u->serving++;
    if (op->op == INI_FLUSH)
        exp_submit(u->e, &t->io, INI_FLUSH, 0, 0, 0, NULL, 0);
    else
        exp_submit(u->e, &t->io, op->op, flags, off, len, &t->iov, op->data);
}

/* res: UBLK_IO_RES_OK with a request in the tag's descriptor; else there will be no more for this tag. */
static void fetched(struct rt_op *op, int res)
{
    struct ublk_tag *t = container_of(op, struct ublk_tag, op);
    struct ublk *u = t->u;

    u->fetching--;
    if (res == UBLK_IO_RES_OK) {
        serve(t);
        return;
    }
    if (u->e->open)
        exp_lost(u->e);
    end_step(u);
}

/* ---- making the device ------------------------------------------------------------------------------- */

static const char *ublk_remedy(int err)
{
    switch (err) {
    case -ENOENT:
    case -ENODEV:
        return "the kernel has no ublk driver (`modprobe ublk_drv`; Linux 6.0 or later)";
    case -EPERM:
    case -EACCES:
        return "ublk needs root";
    default:
        return strerror(-err);
    }
}

static uint8_t shift_of(uint64_t v)
{
    return (uint8_t)(63 - __builtin_clzll(v));
}

static uint32_t range_sectors(uint64_t max)
{
    return (uint32_t)((max && max < RANGE_MAX ? max : RANGE_MAX) / SECTOR);
}

static void params_fill(const struct exp *e, struct ublk_params *p)
{
    const struct ini_lun_info *info = mpio_disk_info(e->disk);
    const uint32_t phys = info->phys_len > e->block_len ? info->phys_len : e->block_len;
    const uint32_t gran = info->unmap_granularity > e->block_len ? info->unmap_granularity : e->block_len;

    *p = (struct ublk_params){
        .len = sizeof(*p),
        .types = UBLK_PARAM_TYPE_BASIC,
        .basic = {
            /* A cache always: the unit's may be switched on while the device is there, and a kernel that was
             * once told of none never flushes. Without one a flush ends before it reaches the network. */
            .attrs = (e->readonly ? UBLK_ATTR_READ_ONLY : 0) | (info->rotational ? UBLK_ATTR_ROTATIONAL : 0) |
                     UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
            .logical_bs_shift = shift_of(e->block_len),
            .physical_bs_shift = shift_of(phys),
            .io_min_shift = shift_of(phys),
            .io_opt_shift = shift_of(info->io_opt > phys ? info->io_opt : phys),
            .max_sectors = BUF_LEN / SECTOR,
            .dev_sectors = e->size / SECTOR,
        },
    };
    if (e->readonly || (!info->unmap && !info->zero_max))
        return;
    p->types |= UBLK_PARAM_TYPE_DISCARD;
    p->discard = (struct ublk_param_discard){
        .discard_granularity = gran,
        .max_discard_sectors = info->unmap ? range_sectors(info->unmap_max) : 0,
        .max_discard_segments = info->unmap,
        .max_write_zeroes_sectors = info->zero_max ? range_sectors(info->zero_max) : 0,
    };
}

static int add(struct ublk *u, struct ublk_ctl *c)
{
    struct exp *e = u->e;
    struct ublksrv_ctrl_dev_info info = {
        .nr_hw_queues = 1,
        .queue_depth = (uint16_t)e->queue_depth,
        .max_io_buf_bytes = BUF_LEN,
        .dev_id = (uint32_t)-1,
        /* a kernel takes those it knows */
        .flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE | UBLK_CTL_F_USER_COPY,
    };
    struct ublk_params p;
    int err = ublk_ctl(c, UBLK_CMD_ADD_DEV, (uint32_t)-1, &info, sizeof(info), 0);

    if (err < 0) {
        exp_note(e, "%s", ublk_remedy(err));
        return err;
    }
    u->id = (int)info.dev_id;
    u->depth = info.queue_depth;
    u->buf_len = info.max_io_buf_bytes;
    u->user_copy = info.flags & UBLK_CTL_F_USER_COPY;
    params_fill(e, &p);
    if ((err = ublk_ctl(c, UBLK_CMD_SET_PARAMS, info.dev_id, &p, sizeof(p), 0)) < 0) {
        exp_note(e, "the driver refuses the disk's parameters: %s", strerror(-err));
        return err;
    }
    if ((err = exp_record_save(e, u->id)))
        exp_note(e, "the device's record cannot be kept below %.200s: %s", e->run_dir, strerror(-err));
    return err;
}

/* ---- taking over a device whose daemon died ---------------------------------------------------------- */

static bool pid_alive(int pid)
{
    return pid > 0 && pid != getpid() && (!kill(pid, 0) || errno != ESRCH);
}

/* Whether this disk may stand behind the device: the same by identity, and of the same shape. */
static int recovery_fits(struct ublk *u, struct ublk_ctl *c, const struct exp_record *r)
{
    struct ublk_params p = { .len = sizeof(p) };
    struct exp *e = u->e;
    int err;

    if (!e->wwid[0] || strcmp(e->wwid, r->wwid) != 0) {
        exp_note(e, "/dev/ublkb%d waits for disk %s, and this is %s: attach that, or use another name", r->id,
                 r->wwid[0] ? r->wwid : "without an identity",
                 e->wwid[0] ? e->wwid : "a disk without an identity");
        return -ESTALE;
    }
    if ((err = ublk_ctl(c, UBLK_CMD_GET_PARAMS, (uint32_t)r->id, &p, sizeof(p), 0)) < 0) {
        exp_note(e, "/dev/ublkb%d does not tell its parameters: %s", r->id, strerror(-err));
        return -ESTALE;
    }
    if (p.basic.logical_bs_shift != shift_of(e->block_len) ||
        !(p.basic.attrs & UBLK_ATTR_READ_ONLY) != !e->readonly) {
        exp_note(e, "/dev/ublkb%d has blocks of %u bytes and is %s: the disk is not so any more", r->id,
                 1u << p.basic.logical_bs_shift,
                 p.basic.attrs & UBLK_ATTR_READ_ONLY ? "read-only" : "writable");
        return -ESTALE;
    }
    e->size = p.basic.dev_sectors * SECTOR;
    return 0;
}

/* Return: 0 when recovery has begun, -ENODEV when there is nothing to take over, or -errno with a note. */
static int recover(struct ublk *u, struct ublk_ctl *c, const struct exp_record *r)
{
    struct ublksrv_ctrl_dev_info info = { 0 };
    struct exp *e = u->e;
    int err;

    for (int i = 0;; i++) {
        if (ublk_ctl(c, UBLK_CMD_GET_DEV_INFO, (uint32_t)r->id, &info, sizeof(info), 0) < 0)
            return -ENODEV;
        if (info.state == UBLK_S_DEV_QUIESCED)
            break;
        if (info.state == UBLK_S_DEV_DEAD || !(info.flags & UBLK_F_USER_RECOVERY)) {
            (void)ublk_ctl(c, UBLK_CMD_STOP_DEV, (uint32_t)r->id, NULL, 0, 0);
            (void)ublk_ctl(c, UBLK_CMD_DEL_DEV, (uint32_t)r->id, NULL, 0, 0);
            return -ENODEV;
        }
        if (i == QUIESCE_TRIES) {
            exp_note(e, "/dev/ublkb%d of this name is %s", r->id,
                     pid_alive(info.ublksrv_pid) ? "served by another process" : "not released by the kernel");
            return -ESTALE;
        }
        exp_sleep_ms(QUIESCE_PAUSE_MS);
    }
    if ((err = recovery_fits(u, c, r)))
        return err;
    for (int i = 0; i < QUIESCE_TRIES; i++) {
        err = ublk_ctl(c, UBLK_CMD_START_USER_RECOVERY, (uint32_t)r->id, NULL, 0, 0);
        if (err != -EBUSY)
            break;
        exp_sleep_ms(QUIESCE_PAUSE_MS);
    }
    if (err < 0) {
        exp_note(e, "/dev/ublkb%d cannot be taken over: %s", r->id, strerror(-err));
        return -ESTALE;
    }
    u->id = r->id;
    u->depth = info.queue_depth;
    u->buf_len = info.max_io_buf_bytes;
    u->user_copy = info.flags & UBLK_CTL_F_USER_COPY;
    u->recovering = u->keep = true;
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static int tags_make(struct ublk *u)
{
    if (!(u->tags = calloc(u->depth, sizeof(*u->tags))))
        return -ENOMEM;
    for (; u->tags_nr < u->depth; u->tags_nr++) {
        struct ublk_tag *t = &u->tags[u->tags_nr];

        /* One by one, below the size of a huge page: what a tag never used is never touched. */
        if (!(t->own = rt_mem_alloc(u->buf_len)))
            return -ENOMEM;
        t->u = u;
        t->tag = (uint16_t)u->tags_nr;
    }
    return 0;
}

static int queue_open(struct ublk *u)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char path[32], sysfs[64];
    void *map;
    int err;

    snprintf(path, sizeof(path), "/dev/ublkc%d", u->id);
    snprintf(sysfs, sizeof(sysfs), "/sys/class/ublk-char/ublkc%d/dev", u->id);
    if (!(err = exp_node(path, sysfs, false))) {
        u->fd = open(path, O_RDWR | O_CLOEXEC);
        err = u->fd < 0 ? -errno : 0;
    }
    if (err) {
        exp_note(u->e, "%s cannot be opened: %s", path, strerror(-err));
        return err;
    }
    u->iods_len = (u->depth * sizeof(struct ublksrv_io_desc) + page - 1) / page * page;
    map = mmap(NULL, u->iods_len, PROT_READ, MAP_SHARED | MAP_POPULATE, u->fd, UBLKSRV_CMD_BUF_OFFSET);
    if (map == MAP_FAILED)
        return -errno;
    u->iods = map;
    return tags_make(u);
}

static int add_job(struct exp *e)
{
    struct ublk *u = e->priv;
    struct exp_record r;
    struct ublk_ctl c;
    int err = ublk_ctl_open(&c);

    if (err) {
        exp_note(e, "%s", ublk_remedy(err));
        return err;
    }
    exp_touch(u->slab.mem, exp_slab_len(&u->slab));
    u->features = c.features;
    err = -ENODEV;
    if (!exp_record_load(e->run_dir, e->name, &r) && r.kind == EXP_UBLK)
        err = recover(u, &c, &r);
    if (err == -ENODEV)
        err = add(u, &c);
    if (!err)
        err = queue_open(u);
    ublk_ctl_close(&c);
    return err;
}

/* Every tag waits in the ring by now, and the kernel waits for that. */
static int start_job(struct exp *e)
{
    struct ublk *u = e->priv;
    struct ublk_ctl c;
    char sysfs[64];
    int err = ublk_ctl_open(&c);

    if (err)
        return err;
    err = ublk_ctl(&c, u->recovering ? UBLK_CMD_END_USER_RECOVERY : UBLK_CMD_START_DEV, (uint32_t)u->id, NULL,
                   0, (uint64_t)getpid());
    ublk_ctl_close(&c);
    if (err < 0) {
        exp_note(e, "/dev/ublkb%d does not start: %s", u->id, strerror(-err));
        return err;
    }
    snprintf(e->path, sizeof(e->path), "/dev/ublkb%d", u->id);
    snprintf(sysfs, sizeof(sysfs), "/sys/block/ublkb%d/dev", u->id);
    if ((err = exp_node(e->path, sysfs, true))) {
        exp_note(e, "%s is not there and cannot be made: %s", e->path, strerror(-err));
        return err;
    }
    if ((err = exp_size_check(e)))
        return err;
    if (u->recovering)
        exp_note(e, "taken over from a daemon that died");
    return 0;
}

static void stop_begin(struct ublk *u, int err, void (*then)(struct exp *e, int err));
static void end_begin(struct ublk *u, int err, void (*then)(struct exp *e, int err));

static void start_done(struct exp *e, int err)
{
    struct ublk *u = e->priv;

    if (err)
        stop_begin(u, err, exp_opened);
    else
        exp_opened(e, 0);
}

/* A command that the driver refuses comes back at once; starting the device would wait for it for ever. */
static void fetch_seen(struct rt_op *op, int res)
{
    struct ublk *u = container_of(op, struct ublk, defer);

    if (u->pauses++ < 3) {
        rt_defer(u->e->rt, &u->defer);
    } else if (u->fetching < u->depth) {
        exp_note(u->e, "the driver refuses this kernel's io_uring commands");
        stop_begin(u, -EIO, exp_opened);
    } else {
        exp_job(u->e, start_job, start_done);
    }
}

static void add_done(struct exp *e, int err)
{
    struct ublk *u = e->priv;

    if (err) {
        end_begin(u, err, exp_opened);
        return;
    }
    if (!u->user_copy)
        exp_slab_close(&u->slab);
    /* A size that changed while nobody served the device is told to the kernel when it is up, as if it
     * changed then. */
    if (u->recovering && mpio_disk_info(e->disk)->size != e->size)
        e->want_resize = true;
    for (unsigned i = 0; i < u->tags_nr; i++)
        fetch(&u->tags[i], UBLK_IO_FETCH_REQ, -1);
    u->defer.done = fetch_seen;
    rt_defer(e->rt, &u->defer);
}

static void ublk_open(struct exp *e)
{
    struct ublk *u;

    if (!(e->priv = u = calloc(1, sizeof(*u)))) {
        exp_later(e, -ENOMEM, exp_opened);
        return;
    }
    u->e = e;
    u->id = u->fd = -1;
    if (exp_slab_open(&u->slab, e->disk))
        exp_later(e, -ENOMEM, exp_opened);
    else
        exp_job(e, add_job, add_done);
}

static void ublk_free(struct exp *e)
{
    struct ublk *u = e->priv;

    if (!u)
        return;
    for (unsigned i = 0; i < u->tags_nr; i++)
        rt_mem_free(u->tags[i].own, u->buf_len);
    exp_slab_close(&u->slab);
    free(u->tags);
    free(u);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* The driver lets a device go when its queue's file and map are gone, and not before. */
static int end_job(struct exp *e)
{
    struct ublk *u = e->priv;
    struct ublk_ctl c;

    if (u->iods)
        munmap((void *)u->iods, u->iods_len);
    if (u->fd >= 0)
        close(u->fd);
    u->iods = NULL;
    u->fd = -1;
    if (u->keep || u->id < 0)
        return 0;
    if (!ublk_ctl_open(&c)) {
        (void)ublk_ctl(&c, UBLK_CMD_DEL_DEV, (uint32_t)u->id, NULL, 0, 0);
        ublk_ctl_close(&c);
    }
    exp_record_remove(e->run_dir, e->name);
    return 0;
}

static void end_done(struct exp *e, int err)
{
    struct ublk *u = e->priv;

    u->then(e, u->then_err);
}

static void end_step(struct ublk *u)
{
    if (!u->stopping || u->fetching || u->serving)
        return;
    u->stopping = false;
    exp_job(u->e, end_job, end_done);
}

static void end_begin(struct ublk *u, int err, void (*then)(struct exp *e, int err))
{
    u->then = then;
    u->then_err = err;
    u->stopping = true;
    end_step(u);
}

static int stop(struct ublk *u)
{
    struct ublk_ctl c;
    int err = ublk_ctl_open(&c);

    if (err)
        return err;
    err = ublk_ctl(&c, UBLK_CMD_STOP_DEV, (uint32_t)u->id, NULL, 0, 0);
    ublk_ctl_close(&c);
    return err == -ENODEV || err > 0 ? 0 : err;
}

static int stop_job(struct exp *e)
{
    struct ublk *u = e->priv;

    u->keep = false;                            /* what was held fails: nobody could serve it any more */
    (void)stop(u);
    return 0;
}

static void stop_done(struct exp *e, int err)
{
    struct ublk *u = e->priv;

    end_begin(u, u->then_err, u->then);
}

/* Ends a device that did not come up: stopping it brings the waiting commands back. */
static void stop_begin(struct ublk *u, int err, void (*then)(struct exp *e, int err))
{
    u->then = then;
    u->then_err = err;
    exp_job(u->e, stop_job, stop_done);
}

static int close_job(struct exp *e)
{
    struct ublk *u = e->priv;
    int fd, err;

    if ((err = exp_claim(e, &fd)))
        return err;
    if ((err = stop(u)))
        exp_note(e, "%s cannot be stopped: %s", e->path, strerror(-err));
    if (fd >= 0)
        close(fd);
    u->keep = false;
    return err;
}

static void close_done(struct exp *e, int err)
{
    if (err)
        exp_closed(e, err);
    else
        end_begin(e->priv, 0, exp_closed);
}

static void ublk_close(struct exp *e)
{
    exp_job(e, close_job, close_done);
}

/* ---- size -------------------------------------------------------------------------------------------- */

static int resize_job(struct exp *e)
{
    struct ublk *u = e->priv;
    struct ublk_ctl c;
    int err;

    if (!(u->features & UBLK_CTL_F_UPDATE_SIZE)) {
        exp_note(e, "this kernel's ublk driver cannot (Linux 6.16 and later can): detach and attach again");
        return -EOPNOTSUPP;
    }
    if ((err = ublk_ctl_open(&c)))
        return err;
    err = ublk_ctl(&c, UBLK_CTL_UPDATE_SIZE, (uint32_t)u->id, NULL, 0, e->size / SECTOR);
    ublk_ctl_close(&c);
    return err < 0 ? err : exp_size_check(e);
}

static void ublk_resize(struct exp *e)
{
    exp_job(e, resize_job, exp_resize_done);
}

/* ---- what a daemon that died left -------------------------------------------------------------------- */

static void cleanup_one(const char *run_dir, const char *name, const struct exp_record *r)
{
    struct ublksrv_ctrl_dev_info info = { 0 };
    struct ublk_ctl c;
    bool there;

    if (r->kind != EXP_UBLK)
        return;
    if (ublk_ctl_open(&c)) {
        exp_record_remove(run_dir, name);       /* no driver, no device: since a reboot */
        return;
    }
    there = ublk_ctl(&c, UBLK_CMD_GET_DEV_INFO, (uint32_t)r->id, &info, sizeof(info), 0) >= 0;
    if (there && (info.state == UBLK_S_DEV_DEAD || !(info.flags & UBLK_F_USER_RECOVERY)) &&
        !pid_alive(info.ublksrv_pid)) {
        (void)ublk_ctl(&c, UBLK_CMD_STOP_DEV, (uint32_t)r->id, NULL, 0, 0);
        (void)ublk_ctl(&c, UBLK_CMD_DEL_DEV, (uint32_t)r->id, NULL, 0, 0);
        there = false;
        rt_log(RT_NOTICE, "/dev/ublkb%d, left over from %s, was removed", r->id, name);
    }
    if (there)
        rt_log(RT_NOTICE, "/dev/ublkb%d waits for %s to be attached again; its requests are held until then",
               r->id, name);
    else
        exp_record_remove(run_dir, name);
    ublk_ctl_close(&c);
}

static void ublk_cleanup(const char *run_dir)
{
    exp_records(run_dir, cleanup_one);
}

static void ublk_memory(struct exp *e)
{
    struct ublk *x = e->priv;

    exp_slab_look(&x->slab);
}

const struct exp_ops exp_ublk = {
    .kind = EXP_UBLK,
    .best = "the fastest there is",
    .open = ublk_open,
    .resize = ublk_resize,
    .memory = ublk_memory,
    .close = ublk_close,
    .free = ublk_free,
    .cleanup = ublk_cleanup,
};
