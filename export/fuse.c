/*
 * fuse.c - a disk as a file in a FUSE mount of its own, and with privilege a loop device over that file
 *
 * run_dir/disks/NAME/disk, a regular file of the disk's size in a directory only its owner may enter (fuse_dir.c). The
 * session with the kernel is libfuse's; reading /dev/fuse is ours: a write's data are read into memory that the disk
 * shares with its target (slab.h), or into memory of the disk's own, and stay there until the disk has them, so nothing
 * is copied and nothing is allocated here. What libfuse allocates is its own note of a request, some 200 bytes,
 * given back with the answer. What libfuse looks at is in no memory that a target could change meanwhile.
 *
 * Any offset and length will do for the file: a write of a part of a block reads the block first, alone on it
 * by the guard. The loop device asks for whole blocks only.
 *
 * Who uses the disk must not wait for this process in ways this process waits for: a job that opens, stats or
 * unmounts our file is answered by our own core, so none of that happens on the core. And no file of this
 * program may live on its own disk: its exit would wait for itself.
 */
#define FUSE_USE_VERSION 314

#include "export/export_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/fuse_dir.h"
#include "export/fuse_mount.h"
#include "export/guard.h"
#include "export/loop.h"
#include "export/slab.h"
#include "reactor/rt_log.h"

#define DISK_NAME "disk"
/* A larger request is sent in pieces, side by side. 1 MiB at a time through the loop device of a RAM LUN over shared memory,
 * on two busy cores, medians of seven rounds in turn: 512 KiB moves 6 to 24 % more than 128 KiB does, for 3 to 15 % less
 * CPU of the daemons; 1 MiB would give little more but for writes one at a time. */
#define IO_MAX (512u << 10)
/* What requests may have in flight has its memory from the start: what is found out to be missing when dirty pages have to be
 * written would be missing for good. This is for what the slab has no room for, 16 MiB a disk; beyond, requests wait in
 * the kernel. */
#define OWN_NR 32u
/* Of a request what comes before a write's data. The data themselves are read to a page boundary, or the target could not
 * use them where they are. */
#define HEAD_LEN (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define REQ_LEN (HEAD_LEN + IO_MAX)
/* Requests that one pass takes from the kernel before others get their turn. */
#define PER_PASS 32
/* Above the depth that the kernel fills by itself: for what programs ask of the file directly, and so that a
 * stat is answered while the disk waits for its target (if not for much: a request is read where any has room). */
#define EXTRA_TAGS 16

struct fuse_tag {
    struct mpio_io io;
    struct rt_link link;                    /* free */
    struct fuse *f;
    fuse_req_t req;
    struct exp_range range;                 /* whatever changes blocks: whole blocks around off, len */
    uint64_t off, len;                      /* bytes, as asked for */
    uint8_t *buf;                           /* a write's or a read's data; NULL: none */
    size_t slab_len;                        /* bytes of the slab that buf is; 0: it is one of the disk's own */
    enum ini_io_op op;
    unsigned flags;                         /* INI_FUA, INI_NO_UNMAP */
    unsigned head, tail;                    /* bytes of the blocks at the ends that were not asked for */
    uint8_t *edge;                          /* two blocks: the ends */
    struct iovec iov[3];
};

struct fuse {
    struct exp *e;
    struct fuse_session *se;
    int fd;                                 /* the session's; -1: not mounted */
    /* An epoll over fd, for the ring to wait for. A request in a ring keeps its file open until the last thread of the
     * program has ended, and one that waits for this disk would then wait for ever (exp_job_alone()). */
    int ready_fd;
    struct rt_op op;                        /* readiness, or the next pass */
    bool armed, polling, stopped;           /* op is outstanding; it is a poll; no more passes */
    bool unmounted;                         /* the kernel says so */
    struct loop loop;
    struct rt_link free;
    unsigned used;                          /* tags in flight */
    struct fuse_tag *cur;                   /* the one whose request is being looked at */
    uint8_t *request;                       /* that request, all of it but a write's data; REQ_LEN */
    struct exp_slab slab;
    struct exp_guard guard;
    struct fuse_tag *tags;
    unsigned tags_nr;
    uint8_t *own_free[OWN_NR];              /* those that nobody has, IO_MAX each */
    unsigned own_free_nr;
    uint8_t *mem;                           /* all of own, all tags' edges, and the request */
    size_t mem_len;
    void (*drained)(struct fuse *f);
    struct fuse_dir root;                   /* whose requests the session hands over */
    char dir[PATH_MAX], file[PATH_MAX];
};

static void pump_later(struct fuse *f);

static struct fuse *fuse_of(fuse_req_t req)
{
    struct fuse_dir *root = fuse_req_userdata(req);

    return container_of(root, struct fuse, root);
}

/* ---- tags -------------------------------------------------------------------------------------------- */

/* For a request of any length: what it does not need is given back once that is known. Return: false: there is none now, and
 * some requests are in flight. */
static bool buf_take(struct fuse_tag *t)
{
    struct fuse *f = t->f;

    t->buf = exp_slab_get(&f->slab, IO_MAX);
    t->slab_len = t->buf ? IO_MAX : 0;
    if (!t->buf && f->own_free_nr)
        t->buf = f->own_free[--f->own_free_nr];
    assert(t->buf || f->used);
    return t->buf;
}

static void buf_put(struct fuse_tag *t)
{
    struct fuse *f = t->f;

    if (t->slab_len)
        exp_slab_put(&f->slab, t->buf, t->slab_len);
    else if (t->buf)
        f->own_free[f->own_free_nr++] = t->buf;
    t->buf = NULL;
    t->slab_len = 0;
}

static void buf_trim(struct fuse_tag *t, size_t keep)
{
    if (!keep)
        buf_put(t);
    if (!t->slab_len)
        return;
    exp_slab_trim(&t->f->slab, t->buf, t->slab_len, keep);
    t->slab_len = keep;
}

/* A request that goes to the disk keeps the tag it was read with, and room for @data_len bytes. */
static struct fuse_tag *tag_take(struct fuse *f, fuse_req_t req, size_t data_len)
{
    struct fuse_tag *t = f->cur;

    assert(t && t->f == f);
    f->cur = NULL;
    rt_list_del(&t->link);
    f->used++;
    t->req = req;
    buf_trim(t, data_len);
    return t;
}

static void tag_put(struct fuse_tag *t)
{
    struct fuse *f = t->f;

    buf_put(t);
    rt_list_push_front(&f->free, &t->link);     /* the warmest next */
    f->used--;
    if (!f->armed)
        pump_later(f);
    if (!f->used && f->drained)
        f->drained(f);
}

/* ---- reads ------------------------------------------------------------------------------------------- */

static void read_done(struct mpio_io *io, int res)
{
    struct fuse_tag *t = container_of(io, struct fuse_tag, io);

    if (res)
        fuse_reply_err(t->req, -res);
    else
        fuse_reply_buf(t->req, (const char *)t->buf, t->len);
    tag_put(t);
}

/* iovecs for off, len with the unwanted ends of its blocks in the tag's edges. Return: how many. */
static unsigned tag_iov(struct fuse_tag *t)
{
    unsigned n = 0;

    if (t->head)
        t->iov[n++] = (struct iovec){ t->edge, t->head };
    t->iov[n++] = (struct iovec){ t->buf, t->len };
    if (t->tail)
        t->iov[n++] = (struct iovec){ t->edge + 2 * t->f->e->block_len - t->tail, t->tail };
    return n;
}

static void tag_range(struct fuse_tag *t, uint64_t off, uint64_t len)
{
    const uint32_t block = t->f->e->block_len;

    t->off = off;
    t->len = len;
    t->range.first = off - off % block;
    t->range.end = off + len + (block - 1) - (off + len + block - 1) % block;
    t->head = (unsigned)(off - t->range.first);
    t->tail = (unsigned)(t->range.end - off - len);
    t->range.alone = t->head || t->tail;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fuse *f = fuse_of(req);
    struct exp *e = f->e;
    const int err = exp_refuses(e, INI_READ);
    struct fuse_tag *t;

    if (err || off < 0 || size > IO_MAX) {
        fuse_reply_err(req, err ? -err : EINVAL);
        return;
    }
    if (!size || (uint64_t)off >= e->size) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    if (size > e->size - (uint64_t)off)
        size = e->size - (uint64_t)off;
    t = tag_take(f, req, size);
    tag_range(t, (uint64_t)off, size);
    t->io.done = read_done;
    exp_submit(e, &t->io, INI_READ, 0, t->range.first, t->range.end - t->range.first, t->iov, tag_iov(t));
}

/* ---- what changes blocks ----------------------------------------------------------------------------- */

static void change_go(struct exp_range *r);

static void change_done(struct mpio_io *io, int res)
{
    struct fuse_tag *t = container_of(io, struct fuse_tag, io);

    if (res || t->op != INI_WRITE)
        fuse_reply_err(t->req, -res);
    else
        fuse_reply_write(t->req, t->len);
    exp_guard_leave(&t->f->guard, &t->range, change_go);
    tag_put(t);
}

static void change_blocks(struct fuse_tag *t)
{
    const unsigned n = t->op == INI_WRITE ? tag_iov(t) : 0;

    t->io.done = change_done;
    exp_submit(t->f->e, &t->io, t->op, t->flags, t->range.first, t->range.end - t->range.first, t->iov, n);
}

static void edge_read(struct fuse_tag *t, uint64_t off, uint8_t *to, void (*done)(struct mpio_io *io, int res))
{
    const uint32_t block = t->f->e->block_len;

    t->io.done = done;
    t->iov[0] = (struct iovec){ to, block };
    exp_submit(t->f->e, &t->io, INI_READ, 0, off, block, t->iov, 1);
}

static void tail_done(struct mpio_io *io, int res)
{
    if (res)
        change_done(io, res);
    else
        change_blocks(container_of(io, struct fuse_tag, io));
}

static void tail_read(struct fuse_tag *t)
{
    const uint32_t block = t->f->e->block_len;

    edge_read(t, t->range.end - block, t->edge + block, tail_done);
}

static void head_done(struct mpio_io *io, int res)
{
    struct fuse_tag *t = container_of(io, struct fuse_tag, io);
    const uint32_t block = t->f->e->block_len;

    if (res) {
        change_done(io, res);
    } else if (!t->tail) {
        change_blocks(t);
    } else if (t->range.end - t->range.first == block) {
        memcpy(t->edge + block, t->edge, block);    /* one block is both ends */
        change_blocks(t);
    } else {
        tail_read(t);
    }
}

/* The range is ours. */
static void change_go(struct exp_range *r)
{
    struct fuse_tag *t = container_of(r, struct fuse_tag, range);

    if (t->head)
        edge_read(t, t->range.first, t->edge, head_done);
    else if (t->tail)
        tail_read(t);
    else
        change_blocks(t);
}

static void change(struct fuse *f, fuse_req_t req, enum ini_io_op op, unsigned flags, uint64_t off,
                   uint64_t len)
{
    struct fuse_tag *t = tag_take(f, req, op == INI_WRITE ? len : 0);

    t->op = op;
    t->flags = flags;
    tag_range(t, off, len);
    if (exp_guard_enter(&f->guard, &t->range))
        change_go(&t->range);
}

/* @buf: where libfuse thinks that the data are. The tag has them. */
static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    struct fuse *f = fuse_of(req);
    const int err = exp_refuses(f->e, INI_WRITE);

    if (err || off < 0 || size > IO_MAX) {
        fuse_reply_err(req, err ? -err : EINVAL);
    } else if (!size) {
        fuse_reply_write(req, 0);
    } else if ((uint64_t)off >= f->e->size) {
        fuse_reply_err(req, ENOSPC);            /* as a block device says it */
    } else {
        const uint64_t room = f->e->size - (uint64_t)off;

        change(f, req, INI_WRITE, fi->flags & O_DSYNC ? INI_FUA : 0, (uint64_t)off, size < room ? size : room);
    }
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    struct fuse *f = fuse_of(req);
    struct exp *e = f->e;
    const bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    const bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
    int err = exp_refuses(e, INI_ZERO);

    if (!err && (off < 0 || len <= 0 || (uint64_t)len > e->size || (uint64_t)off > e->size - (uint64_t)len))
        err = -EINVAL;
    /* A hole in a disk that cannot unmap would cost writing it full of zeroes: the caller may do that if it
     * needs them. Parts of blocks likewise. */
    if (!err && (!(punch || zero) || (punch && !mpio_disk_info(e->disk)->unmap) || off % e->block_len ||
                 len % e->block_len))
        err = -EOPNOTSUPP;
    if (err)
        fuse_reply_err(req, -err);
    else
        /* Not INI_UNMAP, which may leave old data: the loop device passes its "write zeroes" on as holes
         * too. */
        change(f, req, INI_ZERO, zero ? INI_NO_UNMAP : 0, (uint64_t)off, (uint64_t)len);
}

static void fsync_done(struct mpio_io *io, int res)
{
    struct fuse_tag *t = container_of(io, struct fuse_tag, io);

    fuse_reply_err(t->req, -res);
    tag_put(t);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct fuse *f = fuse_of(req);
    const int err = exp_refuses(f->e, INI_FLUSH);
    struct fuse_tag *t;

    /* The loop driver syncs a file that it takes, with locks held that others on this host wait for. Nobody has written
     * yet: it does not have to wait for a target. */
    if (err || !f->e->open) {
        fuse_reply_err(req, -err);
        return;
    }
    t = tag_take(f, req, 0);
    t->io.done = fsync_done;
    exp_submit(f->e, &t->io, INI_FLUSH, 0, 0, 0, NULL, 0);
}

/* ---- the session ------------------------------------------------------------------------------------- */

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fuse *f = container_of((struct fuse_dir *)userdata, struct fuse, root);

    conn->max_write = IO_MAX;
    conn->max_background = f->tags_nr - EXTRA_TAGS;
    conn->congestion_threshold = conn->max_background;
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /* Else opening with O_TRUNC makes the kernel believe in an empty file. */
    conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
}

static const struct fuse_lowlevel_ops disk_ops = {
    .init = on_init,
    .lookup = fuse_dir_lookup,
    .getattr = fuse_dir_getattr,
    .setattr = fuse_dir_setattr,
    .open = fuse_dir_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .fallocate = on_fallocate,
    .readdir = fuse_dir_readdir,
    .statfs = fuse_dir_statfs,
};

/* ---- the kernel's requests --------------------------------------------------------------------------- */

static void end_step(struct fuse *f);
static void pump(struct rt_op *op, int res);

static void pump_later(struct fuse *f)
{
    if (f->stopped || f->unmounted || f->fd < 0)
        return;
    f->armed = true;
    f->polling = false;
    f->op.done = pump;
    rt_defer(f->e->rt, &f->op);
}

static void pump_poll(struct fuse *f)
{
    f->armed = true;
    f->polling = true;
    f->op.done = pump;
    rt_fd_poll(f->e->rt, &f->op, f->ready_fd, POLLIN);
}

/* libfuse follows what a request says, some of it twice over. */
static void request_whole(struct fuse *f, const struct fuse_tag *t, size_t len)
{
    struct fuse_in_header head;

    memcpy(&head, f->request, sizeof(head));
    if (len > HEAD_LEN && head.opcode != FUSE_WRITE)
        memcpy(f->request + HEAD_LEN, t->buf, len - HEAD_LEN);
}

/* Return: whether there may be more. */
static bool pump_one(struct fuse *f)
{
    struct fuse_tag *t = rt_list_entry(f->free.next, struct fuse_tag, link);
    struct iovec in[2] = { { f->request, HEAD_LEN } };
    struct fuse_buf buf;
    ssize_t n;

    if (!buf_take(t))
        return false;                           /* tag_put() goes on */
    in[1] = (struct iovec){ t->buf, IO_MAX };
    n = readv(f->fd, in, 2);
    if (n < 0) {
        buf_put(t);
        switch (errno) {
        case EINTR:
        case ENOENT:                            /* a request was interrupted before we had it */
            return true;
        case EAGAIN:
            pump_poll(f);
            return false;
        default:                                /* ENODEV: unmounted */
            f->unmounted = true;
            exp_lost(f->e);
            return false;
        }
    }
    request_whole(f, t, (size_t)n);
    f->cur = t;
    buf = (struct fuse_buf){ .mem = f->request, .size = (size_t)n };
    fuse_session_process_buf(f->se, &buf);
    if (f->cur)                                 /* answered already */
        buf_put(t);
    f->cur = NULL;
    return true;
}

static void pump(struct rt_op *op, int res)
{
    struct fuse *f = container_of(op, struct fuse, op);

    f->armed = false;
    if (f->stopped) {
        end_step(f);
        return;
    }
    for (int i = 0; i < PER_PASS; i++) {
        if (rt_list_empty(&f->free))
            return;                             /* tag_put() goes on */
        if (!pump_one(f))
            return;
    }
    pump_later(f);
}

/* ---- mounting ---------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void log_line(enum fuse_log_level level, const char *fmt,
                                                           va_list ap)
{
    char line[512];

    vsnprintf(line, sizeof(line), fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    rt_log(level <= FUSE_LOG_ERR ? RT_WARN : RT_DEBUG, "%s", line);
}

static int mount_job(struct exp *e)
{
    struct fuse *f = e->priv;
    char options[EXP_NAME_LEN_MAX + 64];
    char *argv[] = { (char *)"corelaned", (char *)"-o", options, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct stat st;
    int err;

    exp_touch(f->slab.mem, exp_slab_len(&f->slab));
    exp_touch(f->mem, f->mem_len);
    if ((err = exp_record_clash(e)))
        return err;
    if (stat(f->dir, &st) && errno == ENOTCONN)
        (void)fuse_unmount(f->dir, true);            /* of a daemon that died */
    if ((err = rt_mkdirs(f->dir, 0700))) {
        exp_note(e, "%s: %s", f->dir, strerror(-err));
        return err;
    }
    if (access("/dev/fuse", F_OK))
        exp_module("fuse");
    if (access("/dev/fuse", R_OK | W_OK)) {
        err = -errno;
        exp_note(e, "/dev/fuse: %s: the fuse module is needed, in a container the device too", strerror(-err));
        return err;
    }
    snprintf(options, sizeof(options), "fsname=%s,subtype=" FUSE_MOUNT_SUBTYPE, e->name);
    fuse_set_log_func(log_line);
    f->se = fuse_session_new(&args, &disk_ops, sizeof(disk_ops), &f->root);
    fuse_opt_free_args(&args);
    if (!f->se) {
        exp_note(e, "libfuse made no session");
        return -ENOMEM;
    }
    if ((err = fuse_mount(e, f->se, f->dir))) {
        (void)rmdir(f->dir);
        return err;
    }
    f->fd = fuse_session_fd(f->se);
    f->ready_fd = epoll_create1(EPOLL_CLOEXEC);
    if (fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) | O_NONBLOCK) || f->ready_fd < 0 ||
        epoll_ctl(f->ready_fd, EPOLL_CTL_ADD, f->fd, &(struct epoll_event){ .events = EPOLLIN }))
        return -errno;
    return 0;
}

/* The core serves the mount by now. */
static int device_job(struct exp *e)
{
    struct fuse *f = e->priv;
    char note[EXP_NOTE_MAX];
    struct stat st;

    if (stat(f->file, &st) || (uint64_t)st.st_size != e->size) {
        exp_note(e, "%s does not answer with the disk's size", f->file);
        return -EIO;
    }
    if (!loop_attach(e, &f->loop, f->file))
        return 0;
    memcpy(note, e->note, sizeof(note));
    exp_note(e, "the file alone, no loop device: %.200s", note);
    if (strlen(f->file) >= sizeof(e->path))
        return -ENAMETOOLONG;
    memcpy(e->path, f->file, strlen(f->file) + 1);
    return 0;
}

static int tags_make(struct fuse *f)
{
    const unsigned nr = f->e->queue_depth + EXTRA_TAGS;
    const size_t edge_len = 2u * f->e->block_len;

    f->mem_len = (size_t)OWN_NR * IO_MAX + nr * edge_len + REQ_LEN;
    f->tags = calloc(nr, sizeof(*f->tags));
    f->mem = rt_mem_alloc(f->mem_len);
    if (!f->tags || !f->mem || exp_slab_open(&f->slab, f->e->disk))
        return -ENOMEM;
    for (; f->tags_nr < nr; f->tags_nr++) {
        struct fuse_tag *t = &f->tags[f->tags_nr];

        t->f = f;
        t->edge = f->mem + (size_t)OWN_NR * IO_MAX + f->tags_nr * edge_len;
        rt_list_push(&f->free, &t->link);
    }
    f->request = f->mem + f->mem_len - REQ_LEN;
    for (; f->own_free_nr < OWN_NR; f->own_free_nr++)
        f->own_free[f->own_free_nr] = f->mem + f->own_free_nr * (size_t)IO_MAX;
    return 0;
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* Closing the session's descriptor ends what is left of the connection. */
static int end_job(struct exp *e)
{
    struct fuse *f = e->priv;

    fuse_session_unmount(f->se);
    fuse_session_destroy(f->se);
    f->se = NULL;
    f->fd = -1;
    if (f->ready_fd >= 0)
        close(f->ready_fd);
    f->ready_fd = -1;
    (void)rmdir(f->dir);
    return 0;
}

static void end_step(struct fuse *f)
{
    if (!f->armed && !f->used)
        exp_job(f->e, end_job, f->e->then);
}

/* Nothing is read any more; what is in flight is waited for; then comes then(). */
static void end_begin(struct exp *e, void (*then)(struct exp *e, int err))
{
    struct fuse *f = e->priv;

    f->stopped = true;
    f->drained = end_step;
    e->then = then;
    if (f->armed && f->polling)
        rt_cancel(&f->op);
    end_step(f);
}

static void open_end(struct exp *e, int err)
{
    exp_opened(e, -EIO);
}

static void device_done(struct exp *e, int err)
{
    if (err)
        end_begin(e, open_end);
    else
        exp_opened(e, 0);
}

static void mount_done(struct exp *e, int err)
{
    struct fuse *f = e->priv;

    if (err) {
        exp_opened(e, err);
        return;
    }
    pump_later(f);
    exp_job_alone(e, device_job, device_done);
}

static void fuse_open(struct exp *e)
{
    struct fuse *f;
    int n;

    if (!(e->priv = f = calloc(1, sizeof(*f)))) {
        exp_later(e, -ENOMEM, exp_opened);
        return;
    }
    f->e = e;
    f->fd = f->ready_fd = -1;
    f->root = (struct fuse_dir){ .e = e, .name = DISK_NAME, .since_s = rt_wall_s(e->rt) };
    rt_list_init(&f->free);
    exp_guard_init(&f->guard);
    n = snprintf(f->file, sizeof(f->file), "%s/disks/%s/" DISK_NAME, e->run_dir, e->name);
    if (n < 0 || (size_t)n >= sizeof(f->file)) {
        exp_later(e, -ENAMETOOLONG, exp_opened);
        return;
    }
    memcpy(f->dir, f->file, (size_t)n - sizeof(DISK_NAME));
    if (tags_make(f))
        exp_later(e, -ENOMEM, exp_opened);
    else
        exp_job(e, mount_job, mount_done);
}

static int resize_job(struct exp *e)
{
    struct fuse *f = e->priv;
    struct stat st;

    if (stat(f->file, &st))                     /* renews the size that the kernel keeps */
        return -errno;
    return f->loop.file[0] ? loop_resize(e) : 0;
}

static void fuse_resize(struct exp *e)
{
    exp_job_alone(e, resize_job, exp_resize_done);
}

static int close_job(struct exp *e)
{
    struct fuse *f = e->priv;
    bool lazy = e->force;
    char holder[128];
    int err;

    if (!e->force && exp_find_holder(f->file, holder, sizeof(holder))) {
        exp_note(e, "%s is held open by %s", f->file, holder);
        return -EBUSY;
    }
    if (f->loop.file[0]) {
        if ((err = loop_detach(e, &f->loop)))
            return err;
        lazy = true;                            /* what the loop device leaves behind is nobody's */
    }
    if ((err = fuse_unmount(f->dir, lazy)))
        exp_note(e, err == -EBUSY ? "%s is in use: `fuser -vm` on it shows by whom" : "%s cannot be unmounted",
                 f->dir);
    return err;
}

static void close_done(struct exp *e, int err)
{
    if (err)
        exp_closed(e, err);
    else
        end_begin(e, exp_closed);
}

static void fuse_close(struct exp *e)
{
    exp_job_alone(e, close_job, close_done);
}

static void fuse_free(struct exp *e)
{
    struct fuse *f = e->priv;

    if (!f)
        return;
    if (f->se)
        fuse_session_destroy(f->se);
    if (f->ready_fd >= 0)
        close(f->ready_fd);
    exp_slab_close(&f->slab);
    rt_mem_free(f->mem, f->mem_len);
    free(f->tags);
    free(f);
}

static void fuse_memory(struct exp *e)
{
    struct fuse *x = e->priv;

    exp_slab_look(&x->slab);
}

const struct exp_ops exp_fuse = {
    .kind = EXP_FUSE,
    .best = "works on any kernel",
    .open = fuse_open,
    .resize = fuse_resize,
    .memory = fuse_memory,
    .close = fuse_close,
    .free = fuse_free,
    .cleanup = fuse_mounts_cleanup,
    .unblock = fuse_mounts_abort,
};
