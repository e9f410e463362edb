/*
 * file.c - rt.h's files over the simulated disk: opening, locks, operations on their way
 *
 * The handle is its program's memory. The open file description is the world's: it lives, and its lock with it, until
 * the handle and the last operation are gone, so a killed program's writes land under its lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/disk.h"

#define LOCK_WAIT_NS (10 * RT_S)            /* as rt_file_open() promises */
#define LATE_NS (20 * RT_MS)                /* how much later a killed program's write may land */

struct open {                               /* an open file description */
    struct rt_link link;                    /* on inode->opens */
    struct rt_link prog_link;               /* on prog->files while the handle is there */
    struct inode *inode;
    struct sim_machine *machine;
    char *path;
    unsigned refs;                          /* the handle, and operations */
    bool handle, writable, excl, direct;
};

struct rt_file {
    struct open *o;
};

enum io_kind { IO_READ, IO_WRITE, IO_SYNC, IO_PUNCH, IO_ZERO };

enum torn_part { TORN_OPEN, TORN_FIRST, TORN_SECOND };

struct late {                               /* a piece of memory of a killed program's operation */
    struct iovec iov;
    struct sim_shm *shm;                    /* where it lies, and lives on; NULL: iov_base is a copy of its own */
};

struct io {                                 /* an operation on its way */
    struct rt_link link;                    /* on machine->ios */
    struct rt_link parked;                  /* on machine->parked while that is stalled */
    struct sim_event ev;
    struct open *o;
    struct rt_op *op;                       /* NULL: its program is gone */
    enum io_kind kind;
    int err;                                /* how it will end; 0: well */
    bool torn;                              /* a part of it lands first */
    uint64_t rest_ns;                       /* from that part to the other */
    uint8_t *part;                          /* a byte for each sector, enum torn_part; NULL: not torn, or not yet */
    uint64_t off, len;
    struct late *late;                      /* its memory, when the program is gone; NULL: none */
    unsigned late_nr;
};

/* ---- opening ------------------------------------------------------------------------------------------ */

static void open_unref(struct open *o)
{
    if (--o->refs)
        return;
    rt_list_del(&o->link);
    sim_inode_unref(o->inode);
    sim_release(o->path);
    sim_release(o);
}

static void handle_drop(struct open *o)
{
    o->handle = false;
    rt_list_del(&o->prog_link);
    open_unref(o);
}

static void io_land(struct io *io);

/* What a killed program still had on its way to this file lands now, if it will within the time of a wait for the
 * lock. Return: whether all did. */
static bool leftovers_land(struct open *o)
{
    struct sim_machine *m = o->machine;
    const uint64_t until = m->w->now + LOCK_WAIT_NS;
    bool more;

    if (o->handle || m->stalled)
        return false;
    o->refs++;                              /* to see its end */
    do {
        struct io *first = NULL;

        rt_list_for(l, &m->ios) {
            struct io *io = rt_list_entry(l, struct io, link);

            if (io->o == o && io->ev.at <= until && (!first || io->ev.at < first->ev.at))
                first = io;
        }
        more = first;
        if (first)
            io_land(first);
    } while (more);
    more = o->refs > 1;
    open_unref(o);
    return !more;
}

static int lock_take(struct inode *n, bool write)
{
    rt_list_for_safe(l, &n->opens) {
        struct open *o = rt_list_entry(l, struct open, link);

        if (o->excl && (write || o->writable) && !leftovers_land(o))
            return -EBUSY;
    }
    return 0;
}

int rt_file_open(const char *path, unsigned flags, struct rt_file **out)
{
    struct sim_machine *m;
    struct rt_file *f;
    struct inode *n;
    struct open *o;
    int err;

    assert(sim_cur);                        /* a program's own call */
    m = sim_cur->machine;
    if (!(f = calloc(1, sizeof(*f))))
        return -ENOMEM;
    n = sim_fs_inode(m, path, flags & RT_FILE_CREATE, &err);
    if (!n || ((flags & RT_FILE_EXCL) && (err = lock_take(n, flags & RT_FILE_WRITE)))) {
        free(f);
        return err;
    }
    o = sim_zalloc(sizeof(*o));
    *o = (struct open){
        .inode = n, .machine = m, .path = sim_copy_text(path), .refs = 1, .handle = true,
        .writable = flags & RT_FILE_WRITE, .excl = flags & RT_FILE_EXCL, .direct = flags & RT_FILE_DIRECT,
    };
    n->refs++;
    rt_list_push(&n->opens, &o->link);
    rt_list_push(&sim_cur->files, &o->prog_link);
    f->o = o;
    *out = f;
    return 0;
}

/* Whether an operation of a program's that lives is on its way. */
static bool operating(const struct open *o)
{
    rt_list_for(l, &o->machine->ios) {
        const struct io *io = rt_list_entry(l, struct io, link);

        if (io->o == o && io->op)
            return true;
    }
    return false;
}

void rt_file_close(struct rt_file *f)
{
    if (!f)
        return;
    assert(f->o->refs == 1 || !operating(f->o));    /* after its operations ended */
    handle_drop(f->o);
    free(f);
}

int rt_file_stat(struct rt_file *f, struct rt_file_info *out)
{
    const struct inode *n = f->o->inode;

    *out = (struct rt_file_info){
        .size = n->size,
        .block_len = n->block_len ? n->block_len : SIM_SECTOR,
        .phys_len = SIM_PAGE,
        .dio_align = f->o->direct ? (n->block_len ? n->block_len : SIM_SECTOR) : 1,
        .block_dev = n->block_len,
        .regular = !n->block_len,
        .discard = f->o->writable,
    };
    return 0;
}

int rt_file_set_size(struct rt_file *f, uint64_t size)
{
    if (f->o->inode->block_len || size > INT64_MAX || !f->o->writable)
        return -EINVAL;
    sim_inode_resize(f->o->inode, size);
    return 0;
}

/* ---- what an operation does --------------------------------------------------------------------------- */

static void io_free(struct io *io)
{
    sim_ev_del(io->o->machine->w, &io->ev);
    rt_list_del(&io->link);
    rt_list_del(&io->parked);
    open_unref(io->o);
    for (unsigned i = 0; i < io->late_nr; i++) {
        if (io->late[i].shm)
            sim_shm_unref(io->late[i].shm);
        else
            sim_release(io->late[i].iov.iov_base);
    }
    sim_release(io->late);
    sim_release(io->part);
    sim_release(io);
}

/* Calls for each piece of memory of a write or read that is not done yet, with where in the file it goes. */
static int pieces(struct io *io, uint64_t len, int (*fn)(struct io *io, uint8_t *mem, size_t len, uint64_t off))
{
    size_t skip = io->op ? io->op->skip : 0;
    uint64_t off = io->off;
    int err = 0;

    for (unsigned i = 0; len && !err; i++, skip = 0) {
        const struct iovec *iov = io->op ? &io->op->u.rw.iov[i] : &io->late[i].iov;
        size_t part = iov->iov_len - skip;

        if (part > len)
            part = len;
        err = fn(io, (uint8_t *)iov->iov_base + skip, part, off);
        off += part;
        len -= part;
    }
    return err;
}

static int piece_read(struct io *io, uint8_t *mem, size_t len, uint64_t off)
{
    sim_inode_read(io->o->inode, mem, len, off, false);
    return 0;
}

static int piece_write(struct io *io, uint8_t *mem, size_t len, uint64_t off)
{
    return sim_inode_write(io->o->inode, mem, len, off);
}

static uint8_t *part_of(const struct io *io, uint64_t off)
{
    return &io->part[off / SIM_SECTOR - io->off / SIM_SECTOR];
}

/* Whether a sector goes now; of a torn write each goes once, wherever its memory is cut. */
static bool goes_now(const struct io *io, uint64_t off, bool now)
{
    uint8_t *part;

    if (!io->part)
        return now;
    part = part_of(io, off);
    if (*part == TORN_OPEN)
        *part = now ? TORN_FIRST : TORN_SECOND;
    return *part == TORN_FIRST;
}

/* What the first part of a torn write has left. What landed twice could come back after another write had taken its place. */
static int piece_write_rest(struct io *io, uint8_t *mem, size_t len, uint64_t off)
{
    int err = 0;

    while (len && !err) {
        const uint32_t in = (uint32_t)(off % SIM_SECTOR);
        const size_t part = len < SIM_SECTOR - in ? len : SIM_SECTOR - in;

        if (*part_of(io, off) != TORN_FIRST)
            err = sim_inode_write(io->o->inode, mem, part, off);
        mem += part;
        off += part;
        len -= part;
    }
    return err;
}

/* Any part of a piece, by sectors. */
static int piece_write_some(struct io *io, uint8_t *mem, size_t len, uint64_t off)
{
    struct inode *n = io->o->inode;
    uint64_t bits = 0;
    unsigned have = 0;

    while (len) {
        const uint32_t in = (uint32_t)(off % SIM_SECTOR);
        const size_t part = len < SIM_SECTOR - in ? len : SIM_SECTOR - in;

        if (!have--) {
            bits = sim_rng_next(&n->machine->w->disk_rng);
            have = 63;
        }
        if (goes_now(io, off, bits & 1))
            (void)sim_inode_write(n, mem, part, off);
        bits >>= 1;
        mem += part;
        off += part;
        len -= part;
    }
    return 0;
}

/* How much of it is on the file: reads end at its end, writes at a device's. */
static uint64_t io_len(const struct io *io)
{
    const struct inode *n = io->o->inode;

    if (io->kind == IO_WRITE && !n->block_len)
        return io->len;
    if (io->off >= n->size)
        return 0;
    return io->len < n->size - io->off ? io->len : n->size - io->off;
}

static int write_do(struct io *io)
{
    const uint64_t len = io_len(io);
    int err;

    if (io->err) {
        if (io->err == -EIO)
            (void)pieces(io, len, piece_write_some);
        return io->err;
    }
    if ((err = pieces(io, len, io->part ? piece_write_rest : piece_write)))
        return err;
    return len < io->len ? -ENOSPC : (int)len;
}

static int io_do(struct io *io)
{
    switch (io->kind) {
    case IO_READ:
        if (io->err)
            return io->err;
        (void)pieces(io, io_len(io), piece_read);
        return (int)io_len(io);
    case IO_WRITE:
        return write_do(io);
    case IO_SYNC:
        return io->err;                     /* what it does it did when it was submitted */
    case IO_PUNCH:
    case IO_ZERO:
        if (!io->err)
            sim_inode_zero(io->o->inode, io->off, io->len);
        return io->err;
    }
    return 0;
}

static void io_land(struct io *io)
{
    struct sim *w = io->o->machine->w;
    const int res = io_do(io);

    sim_mix(w, io->off ^ (uint64_t)(unsigned)res << 32);
    if (io->op)
        sim_op_done(io->op, res);
    else
        sim_fault_note(w, io->kind == IO_READ ? SIM_FAULT_LATE_READ : SIM_FAULT_LATE_WRITE, io->o->machine, NULL);
    io_free(io);
}

static void io_due(struct sim *w, struct sim_event *ev)
{
    struct io *io = container_of(ev, struct io, ev);

    if (io->o->machine->stalled) {
        rt_list_push(&io->o->machine->parked, &io->parked);
        return;
    }
    if (io->torn) {
        io->torn = false;
        sim_fault_note(w, SIM_FAULT_TORN, io->o->machine, NULL);
        io->part = sim_zalloc((io->len + 2 * SIM_SECTOR - 1) / SIM_SECTOR);
        (void)pieces(io, io_len(io), piece_write_some);
        sim_ev_set(w, &io->ev, w->now + io->rest_ns);
        return;
    }
    io_land(io);
}

/* ---- submitting --------------------------------------------------------------------------------------- */

static bool drawn(struct io *io, uint32_t ppm, enum sim_fault f, int err)
{
    struct sim_machine *m = io->o->machine;

    if (io->err || !sim_rng_chance(&m->w->disk_rng, ppm))
        return false;
    sim_fault_note(m->w, f, m, NULL);
    io->err = err;
    return true;
}

static void faults_draw(struct io *io)
{
    struct sim_machine *m = io->o->machine;
    const struct sim_disk *d = &m->disk;
    const bool write = io->kind == IO_WRITE;

    if (!sim_fs_faulty(m, io->o->path))
        return;
    if (io->kind == IO_READ)
        (void)drawn(io, d->read_eio_ppm, SIM_FAULT_READ_EIO, -EIO);
    else if (io->kind == IO_SYNC)
        (void)drawn(io, d->sync_eio_ppm, SIM_FAULT_SYNC_EIO, -EIO);
    else if (!drawn(io, d->write_eio_ppm, SIM_FAULT_WRITE_EIO, -EIO))
        (void)drawn(io, write ? d->enospc_ppm : 0, SIM_FAULT_ENOSPC, -ENOSPC);
    io->torn = write && !io->err && io->len > SIM_SECTOR && sim_rng_chance(&m->w->disk_rng, d->torn_ppm);
}

static uint64_t delay_draw(const struct io *io)
{
    struct sim_machine *m = io->o->machine;
    const struct sim_disk *d = &m->disk;
    struct sim_rng *r = &m->w->disk_rng;
    uint64_t ns = io->kind == IO_SYNC ? d->sync_ns + sim_rng_below(r, d->sync_jitter_ns + 1)
                                      : d->latency_ns + sim_rng_below(r, d->jitter_ns + 1);

    if (sim_fs_faulty(m, io->o->path) && sim_rng_chance(r, d->slow_ppm)) {
        sim_fault_note(m->w, SIM_FAULT_SLOW_DISK, m, NULL);
        ns += sim_rng_below(r, d->slow_ns + 1);
    }
    return ns;
}

static void io_begin(struct rt_op *op, enum io_kind kind, uint64_t off, uint64_t len)
{
    struct rt_file *f = op->obj;
    struct open *o = f->o;
    struct sim *w = o->machine->w;
    struct io *io = sim_zalloc(sizeof(*io));
    uint64_t ns;

    *io = (struct io){ .ev.fn = io_due, .o = o, .op = op, .kind = kind, .off = off, .len = len };
    o->refs++;
    rt_list_init(&io->parked);
    rt_list_push(&o->machine->ios, &io->link);
    if (kind != IO_READ && kind != IO_SYNC && !o->writable)
        io->err = -EBADF;
    else if ((kind == IO_READ || kind == IO_WRITE) && o->direct && (off | len) % SIM_SECTOR)
        io->err = -EINVAL;
    faults_draw(io);
    ns = delay_draw(io);
    if (io->torn) {
        io->rest_ns = sim_rng_below(&w->disk_rng, ns + 1);
        ns -= io->rest_ns;
    }
    /* What was written before is stable from here on, what comes later is not, whenever the answer comes. */
    if (kind == IO_SYNC && io->err)
        sim_inode_sync_fail(o->inode);
    else if (kind == IO_SYNC)
        sim_inode_sync(o->inode);
    sim_ev_set(w, &io->ev, w->now + ns);
}

static uint64_t iov_len(const struct rt_op *op)
{
    uint64_t len = 0;

    for (unsigned i = 0; i < op->n; i++)
        len += op->u.rw.iov[i].iov_len;
    return len - op->skip;
}

static void read_begin(struct rt_op *op)
{
    io_begin(op, IO_READ, op->u.rw.off, iov_len(op));
}

static void write_begin(struct rt_op *op)
{
    io_begin(op, IO_WRITE, op->u.rw.off, iov_len(op));
}

static void sync_begin(struct rt_op *op)
{
    io_begin(op, IO_SYNC, 0, 0);
}

static void falloc_begin(struct rt_op *op)
{
    io_begin(op, op->n == RT_FALLOC_PUNCH ? IO_PUNCH : IO_ZERO, op->u.range.off, op->u.range.len);
}

static const struct rt_op_type read_type = { .name = "rt_file_read", .begin = read_begin };
static const struct rt_op_type write_type = { .name = "rt_file_write", .begin = write_begin };
static const struct rt_op_type sync_type = { .name = "rt_file_sync", .begin = sync_begin };
static const struct rt_op_type falloc_type = { .name = "rt_file_falloc", .begin = falloc_begin };

static void rw_start(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                     uint64_t off, const struct rt_op_type *type)
{
    op->obj = f;
    op->u.rw.off = off;
    if (!rt_op_iov(op, iov, n))             /* nothing to do */
        rt_op_ready(rt, op, type, 0);
    else
        rt_op_start(rt, op, type);
}

void rt_file_read(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                  uint64_t off)
{
    rw_start(rt, f, op, iov, n, off, &read_type);
}

void rt_file_write(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                   uint64_t off)
{
    rw_start(rt, f, op, iov, n, off, &write_type);
}

void rt_file_sync(struct rt *rt, struct rt_file *f, struct rt_op *op)
{
    op->obj = f;
    rt_op_start(rt, op, &sync_type);
}

void rt_file_falloc(struct rt *rt, struct rt_file *f, struct rt_op *op, enum rt_falloc how, uint64_t off, uint64_t len)
{
    op->obj = f;
    op->n = how;
    op->u.range.off = off;
    op->u.range.len = len;
    if (!len)
        rt_op_ready(rt, op, &falloc_type, 0);
    else
        rt_op_start(rt, op, &falloc_type);
}

/* ---- programs and power that go ----------------------------------------------------------------------- */

/* The shared memory that a piece of an operation of a program lies in. NULL: it is private. */
static struct sim_shm *shm_of(const struct io *io, void *mem, size_t len, uint64_t *off)
{
    return sim_shm_find(io->op->rt->c.host->prog, mem, len, off);
}

/* Whether what it reads is seen by anybody when its program is gone. */
static bool seen(const struct io *io)
{
    uint64_t off;

    for (unsigned i = 0; i < io->op->n; i++)
        if (io->op->u.rw.iov[i].iov_len && shm_of(io, io->op->u.rw.iov[i].iov_base, io->op->u.rw.iov[i].iov_len, &off))
            return true;
    return false;
}

/* What is private goes with the program: of that the kernel has a copy, or nobody will see it. Shared memory it keeps,
 * and what is written from there is what is there when it is written. */
static void memory_keep(struct io *io)
{
    struct sim *w = io->o->machine->w;
    const struct iovec *iov = io->op->u.rw.iov;
    size_t skip = io->op->skip;

    io->late = sim_zalloc(io->op->n * sizeof(*io->late));
    io->late_nr = io->op->n;
    for (unsigned i = 0; i < io->late_nr; i++, skip = 0) {
        struct late *l = &io->late[i];
        uint8_t *mem = (uint8_t *)iov[i].iov_base + skip;
        uint64_t off;

        l->iov.iov_len = iov[i].iov_len - skip;
        if (l->iov.iov_len && (l->shm = shm_of(io, mem, l->iov.iov_len, &off))) {
            l->iov.iov_base = sim_shm_bytes(w, sim_shm_ref(l->shm)) + off;
            continue;
        }
        l->iov.iov_base = sim_zalloc(l->iov.iov_len + 1);
        if (io->kind == IO_WRITE)
            memcpy(l->iov.iov_base, mem, l->iov.iov_len);
    }
}

/* Its program is gone: what had been handed to the kernel may still be done, later. */
static void io_orphan(struct io *io)
{
    struct sim *w = io->o->machine->w;
    struct sim_rng *r = &w->disk_rng;
    uint64_t at = io->ev.place ? io->ev.at : w->now;

    if ((io->kind == IO_READ && !seen(io)) || io->kind == IO_SYNC || sim_rng_chance(r, 333333)) {
        io_free(io);
        return;
    }
    if (io->kind == IO_READ || io->kind == IO_WRITE)
        memory_keep(io);
    io->op = NULL;
    if (sim_rng_chance(r, 500000))
        at += sim_rng_below(r, LATE_NS);
    if (rt_list_empty(&io->parked))
        sim_ev_set(w, &io->ev, at);
}

void sim_host_ios_drop(struct rt_host *h)
{
    rt_list_for_safe(l, &h->prog->machine->ios) {
        struct io *io = rt_list_entry(l, struct io, link);

        if (io->op && io->op->rt->c.host == h)
            io_orphan(io);
    }
}

bool sim_ios_use(const struct sim_prog *p, const void *mem, size_t len)
{
    rt_list_for(l, &p->machine->ios) {
        const struct io *io = rt_list_entry(l, struct io, link);

        if (!io->op || io->op->rt->c.host->prog != p || (io->kind != IO_READ && io->kind != IO_WRITE))
            continue;
        for (unsigned i = 0; i < io->op->n; i++) {
            const struct iovec *iov = &io->op->u.rw.iov[i];

            if ((uintptr_t)iov->iov_base < (uintptr_t)mem + len &&
                (uintptr_t)mem < (uintptr_t)iov->iov_base + iov->iov_len)
                return true;
        }
    }
    return false;
}

void sim_files_drop(struct sim_prog *p)
{
    struct rt_link *l;

    while ((l = p->files.next) != &p->files)
        handle_drop(rt_list_entry(l, struct open, prog_link));
}

struct crash {
    uint32_t keep_ppm;
    bool lost;
};

static void crash_inode(void *arg, struct inode *n)
{
    struct crash *c = arg;

    c->lost |= sim_inode_crash(n, c->keep_ppm);
}

void sim_disk_power_off(struct sim_machine *m)
{
    /* Nothing, everything, or any part of what was not synced. */
    static const uint32_t keeps[] = { 0, 1000000, 500000, 900000, 100000 };
    struct crash c = { .keep_ppm = keeps[sim_rng_below(&m->w->disk_rng, ARRAY_SIZE(keeps))] };

    rt_list_for_safe(l, &m->ios) {
        struct io *io = rt_list_entry(l, struct io, link);

        if (io->kind == IO_WRITE && sim_rng_chance(&m->w->disk_rng, 500000))
            (void)pieces(io, io_len(io), piece_write_some);
        io_free(io);
    }
    sim_fs_each_inode(m, crash_inode, &c);
    if (c.lost)
        sim_fault_note(m->w, SIM_FAULT_LOST_SECTOR, m, NULL);
}

void sim_ios_free(struct sim_machine *m)
{
    rt_list_for_safe(l, &m->ios)
        io_free(rt_list_entry(l, struct io, link));
}

/* ---- the disk's owner --------------------------------------------------------------------------------- */

void sim_disk_get(const struct sim_machine *m, struct sim_disk *out)
{
    *out = m->disk;
}

void sim_disk_set(struct sim_machine *m, const struct sim_disk *d)
{
    m->disk = *d;
}

void sim_disk_faults_in(struct sim_machine *m, const char *prefix)
{
    sim_release(m->fault_prefix);
    m->fault_prefix = prefix ? sim_copy_text(prefix) : NULL;
}

void sim_disk_stall(struct sim_machine *m, bool on)
{
    struct rt_link *l;

    if (on && !m->stalled)
        sim_fault_note(m->w, SIM_FAULT_SLOW_DISK, m, NULL);
    m->stalled = on;
    while (!on && (l = rt_list_pop(&m->parked)))
        sim_ev_set(m->w, &rt_list_entry(l, struct io, parked)->ev, m->w->now + m->disk.latency_ns);
}
