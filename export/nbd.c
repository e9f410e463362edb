/*
 * nbd.c - a disk as /dev/nbdN: the kernel's client at the other end of a socket pair
 *
 * Owns our end: requests come in through a buffer, large writes straight into memory that the disk shares with its
 * target (slab.h), or into one of a few that are our own; answers go out as many in one send as one turn finished. The
 * driver is configured over generic netlink (nbd_nl.c). It knows one error, EIO: what we answer is the protocol's number
 * all the same.
 *
 * When this process dies the kernel fails new requests at once, and those in flight when the next daemon
 * cleans up: a device that must outlive its daemon is ublk's.
 *
 * No file of this program may live on its own disk, nor its memory in swap there: its exit would wait for
 * itself.
 */
#include "export/export_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/nbd_nl.h"
#include "export/nbd_wire.h"
#include "export/slab.h"
#include "reactor/rt_list.h"
#include "reactor/rt_log.h"

#define RX_LEN (64u << 10)
/* As much as kernels ask for by default (2,560 sectors). */
#define BUF_LEN (1280u << 10)
/* So many of them: with the slab, what is in flight when dirty pages have to be written. More waits in the socket. Memory for
 * every tag would be many times that, and found out to be missing when it is needed. */
#define OWN_NR 8u
/* The driver's own limit (65,536 sectors of 512 bytes), which a user can allow in max_sectors_kb: one
 * request at a time gets a buffer of this size. */
#define IO_MAX (32u << 20)
#define REPLIES_PER_SEND (RT_IOV_MAX / 2)

struct nbd_tag {
    struct mpio_io io;
    struct rt_link link;                    /* free, answered or being sent */
    struct nbd *n;
    struct nbd_rq rq;
    int err;
    enum nbd_mem { NONE, SLAB, OWN, LARGE } where;  /* data is */
    uint8_t *data;
    struct iovec iov;
    uint8_t reply[NBD_REPLY_LEN];
};

struct nbd {
    struct exp *e;
    struct rt_sock *sock;
    int theirs;                             /* the kernel's end until it has it; -1 after */
    int id;                                 /* of /dev/nbdN; -1: not connected */
    struct rt_op rx_op, tx_op, flush_op;
    bool rx_busy, tx_busy, flush_armed;
    bool ended;                             /* the stream is of no use any more */
    bool stalled;                           /* requests wait in rx for a tag or the large buffer */
    struct rt_link free, answered, sending;
    unsigned used;                          /* tags not free */
    struct nbd_tag *payload;                /* a write whose data are coming in */
    uint32_t payload_got;
    uint8_t *rx;
    size_t rx_head, rx_tail;
    struct iovec rx_iov[2], tx_iov[RT_IOV_MAX];
    uint32_t tx_len;
    struct exp_slab slab;
    uint8_t *own, *own_free[OWN_NR];        /* OWN_NR of BUF_LEN, for when the slab has no room; those nobody has */
    unsigned own_free_nr;
    uint8_t *large;
    bool large_busy, stopping;
    struct nbd_tag *tags;
    unsigned tags_nr;
    void (*then)(struct exp *e, int err);
    int then_err;
};

static void rx_go(struct nbd *n);
static void flush_later(struct nbd *n);
static void end_step(struct nbd *n);

static void stream_end(struct nbd *n, const char *why)
{
    if (n->ended)
        return;
    n->ended = true;
    if (why)
        rt_log(RT_WARN, "%s: %s", n->e->path[0] ? n->e->path : n->e->name, why);
    rt_sock_shutdown(n->sock);
    exp_lost(n->e);
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static void tag_free(struct nbd_tag *t)
{
    struct nbd *n = t->n;

    switch (t->where) {
    case NONE:                                              break;
    case SLAB:  exp_slab_put(&n->slab, t->data, t->rq.len); break;
    case OWN:   n->own_free[n->own_free_nr++] = t->data;    break;
    case LARGE: n->large_busy = false;                      break;
    }
    t->where = NONE;
    n->used--;
    rt_list_push_front(&n->free, &t->link);
}

static void tag_answer(struct nbd_tag *t, int err)
{
    struct nbd *n = t->n;

    t->err = err;
    nbd_reply_encode(t->reply, t->rq.handle, err);
    rt_list_push(&n->answered, &t->link);
    flush_later(n);
}

static void tx_done(struct rt_op *op, int res)
{
    struct nbd *n = container_of(op, struct nbd, tx_op);
    struct rt_link *l;

    n->tx_busy = false;
    while ((l = rt_list_pop(&n->sending)))
        tag_free(rt_list_entry(l, struct nbd_tag, link));
    if (res != (int)n->tx_len)
        stream_end(n, NULL);
    flush_later(n);
    if (n->stalled)
        rx_go(n);
    end_step(n);
}

static void answers_drop(struct nbd *n)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&n->answered)))
        tag_free(rt_list_entry(l, struct nbd_tag, link));
}

static void flush_done(struct rt_op *op, int res)
{
    struct nbd *n = container_of(op, struct nbd, flush_op);
    unsigned iovs = 0;

    n->flush_armed = false;
    if (n->tx_busy)
        return;
    if (n->ended)
        answers_drop(n);
    n->tx_len = 0;
    for (unsigned i = 0; i < REPLIES_PER_SEND && !rt_list_empty(&n->answered); i++) {
        struct rt_link *l = rt_list_pop(&n->answered);
        struct nbd_tag *t = rt_list_entry(l, struct nbd_tag, link);

        n->tx_iov[iovs++] = (struct iovec){ t->reply, NBD_REPLY_LEN };
        n->tx_len += NBD_REPLY_LEN;
        if (t->rq.type == NBD_READ && !t->err) {
            n->tx_iov[iovs++] = (struct iovec){ t->data, t->rq.len };
            n->tx_len += t->rq.len;
        }
        rt_list_push(&n->sending, l);
    }
    if (iovs) {
        n->tx_busy = true;
        n->tx_op.done = tx_done;
        rt_send(n->sock, &n->tx_op, n->tx_iov, iovs);
    }
    end_step(n);
}

/* What one turn finishes goes into one send. */
static void flush_later(struct nbd *n)
{
    if (n->flush_armed || n->tx_busy || rt_list_empty(&n->answered))
        return;
    n->flush_armed = true;
    n->flush_op.done = flush_done;
    rt_turn_end(n->e->rt, &n->flush_op);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static const struct nbd_cmd {
    bool known, data;
    enum ini_io_op op;
} cmds[] = {
    [NBD_READ]         = { true, true,  INI_READ },
    [NBD_WRITE]        = { true, true,  INI_WRITE },
    [NBD_FLUSH]        = { true, false, INI_FLUSH },
    [NBD_TRIM]         = { true, false, INI_UNMAP },
    [NBD_WRITE_ZEROES] = { true, false, INI_ZERO },
};

static const struct nbd_cmd *cmd_of(const struct nbd_rq *rq)
{
    return rq->type < ARRAY_SIZE(cmds) && cmds[rq->type].known ? &cmds[rq->type] : NULL;
}

static void io_done(struct mpio_io *io, int res)
{
    tag_answer(container_of(io, struct nbd_tag, io), res);
}

/* All of the request is here. */
static void tag_submit(struct nbd_tag *t)
{
    const struct nbd_cmd *cmd = cmd_of(&t->rq);
    struct exp *e = t->n->e;
    int err = cmd ? exp_refuses(e, cmd->op) : -EINVAL;
    unsigned flags = 0;

    if (err) {
        tag_answer(t, err);
        return;
    }
    if (cmd->op == INI_WRITE && (t->rq.flags & NBD_RQ_FUA))
        flags |= INI_FUA;
    if (cmd->op == INI_ZERO && (t->rq.flags & NBD_RQ_NO_HOLE))
        flags |= INI_NO_UNMAP;
    t->io.done = io_done;
    t->iov = (struct iovec){ t->data, t->rq.len };
    if (cmd->op == INI_FLUSH)
        exp_submit(e, &t->io, INI_FLUSH, 0, 0, 0, NULL, 0);
    else
        exp_submit(e, &t->io, cmd->op, flags, t->rq.off, t->rq.len, &t->iov, cmd->data);
}

/* Memory for the request's data. Return: false: not now. */
static bool data_take(struct nbd_tag *t)
{
    struct nbd *n = t->n;

    if ((t->data = exp_slab_get(&n->slab, t->rq.len))) {
        t->where = SLAB;
    } else if (t->rq.len <= BUF_LEN) {
        if (!n->own_free_nr)
            return false;
        t->data = n->own_free[--n->own_free_nr];
        t->where = OWN;
    } else {
        if (n->large_busy)
            return false;
        n->large_busy = true;
        t->data = n->large;
        t->where = LARGE;
    }
    return true;
}

/* A tag with memory for the request, or NULL: not now. */
static struct nbd_tag *tag_take(struct nbd *n, const struct nbd_rq *rq)
{
    const struct nbd_cmd *cmd = cmd_of(rq);
    struct nbd_tag *t;

    if (rt_list_empty(&n->free))
        return NULL;
    t = rt_list_entry(n->free.next, struct nbd_tag, link);
    t->rq = *rq;
    t->data = NULL;
    if (cmd && cmd->data && !data_take(t))
        return NULL;
    rt_list_del(&t->link);
    n->used++;
    return t;
}

/* Takes one request, or part of a write's data, out of rx. Return: false when there is nothing to do with
 * what is there. */
static bool rx_step(struct nbd *n)
{
    const size_t have = n->rx_tail - n->rx_head;
    struct nbd_tag *t = n->payload;
    struct nbd_rq rq;

    if (t) {
        const size_t left = t->rq.len - n->payload_got, len = have < left ? have : left;

        memcpy(t->data + n->payload_got, n->rx + n->rx_head, len);
        n->payload_got += (uint32_t)len;
        n->rx_head += len;
        if (n->payload_got < t->rq.len)
            return false;
        n->payload = NULL;
        tag_submit(t);
        return true;
    }
    if (have < NBD_REQUEST_LEN)
        return false;
    if (nbd_rq_decode(&rq, n->rx + n->rx_head) ||
        (rq.len > IO_MAX && (rq.type == NBD_READ || rq.type == NBD_WRITE))) {
        stream_end(n, "the kernel sent what is no request");
        return false;
    }
    if (rq.type == NBD_DISC) {
        stream_end(n, NULL);
        return false;
    }
    if (!(t = tag_take(n, &rq))) {
        n->stalled = true;
        return false;
    }
    n->rx_head += NBD_REQUEST_LEN;
    if (rq.type == NBD_WRITE) {
        assert(t->data);                        /* cmds[] says that a write has data */
        n->payload = t;
        n->payload_got = 0;
    } else {
        tag_submit(t);
    }
    return true;
}

static void rx_done(struct rt_op *op, int res)
{
    struct nbd *n = container_of(op, struct nbd, rx_op);
    uint32_t len, left;

    n->rx_busy = false;
    if (res <= 0) {
        stream_end(n, NULL);
        end_step(n);
        return;
    }
    len = (uint32_t)res;
    if (n->payload) {
        left = n->payload->rq.len - n->payload_got;
        left = len < left ? len : left;
        n->payload_got += left;
        len -= left;
    }
    n->rx_tail += len;
    rx_go(n);
    end_step(n);
}

static void rx_arm(struct nbd *n)
{
    unsigned iovs = 0;

    if (n->rx_head == n->rx_tail) {
        n->rx_head = n->rx_tail = 0;
    } else if (RX_LEN - n->rx_tail < NBD_REQUEST_LEN) {
        memmove(n->rx, n->rx + n->rx_head, n->rx_tail - n->rx_head);
        n->rx_tail -= n->rx_head;
        n->rx_head = 0;
    }
    if (n->payload)                             /* rx is empty then */
        n->rx_iov[iovs++] =
            (struct iovec){ n->payload->data + n->payload_got, n->payload->rq.len - n->payload_got };
    n->rx_iov[iovs++] = (struct iovec){ n->rx + n->rx_tail, RX_LEN - n->rx_tail };
    n->rx_busy = true;
    n->rx_op.done = rx_done;
    rt_recv(n->sock, &n->rx_op, n->rx_iov, iovs, 0);
}

static void rx_go(struct nbd *n)
{
    n->stalled = false;
    while (!n->ended && rx_step(n))
        ;
    if (!n->ended && !n->stalled && !n->rx_busy)
        rx_arm(n);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static int end_job(struct exp *e)
{
    struct nbd *n = e->priv;

    if (n->id >= 0)                             /* else the record, if any, is another's */
        exp_record_remove(e->run_dir, e->name);
    return 0;
}

static void end_done(struct exp *e, int err)
{
    struct nbd *n = e->priv;

    n->then(e, n->then_err);
}

static void end_step(struct nbd *n)
{
    if (!n->stopping || n->rx_busy || n->tx_busy || n->flush_armed)
        return;
    if (n->payload) {                           /* will never be whole */
        tag_free(n->payload);
        n->payload = NULL;
    }
    if (n->used)
        return;
    n->stopping = false;
    rt_sock_close(n->sock);
    n->sock = NULL;
    exp_job(n->e, end_job, end_done);
}

/* The kernel has let go of its end, or never had it. */
static void end_begin(struct nbd *n, int err, void (*then)(struct exp *e, int err))
{
    n->then = then;
    n->then_err = err;
    n->stopping = true;
    n->ended = true;
    rt_sock_shutdown(n->sock);
    if (!n->tx_busy && !n->flush_armed)
        answers_drop(n);
    end_step(n);
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static uint64_t server_flags(const struct exp *e)
{
    const struct ini_lun_info *info = mpio_disk_info(e->disk);
    uint64_t flags = NBD_HAS_FLAGS;

    if (e->readonly)
        return flags | NBD_READ_ONLY;
    /* Always: the unit's cache may be switched on while the device is there, and a kernel that was once told of
     * no cache never flushes. Without one a flush ends before it reaches the network. */
    flags |= NBD_SEND_FLUSH | NBD_SEND_FUA;
    if (info->unmap)
        flags |= NBD_SEND_TRIM;
    if (info->zero_max)
        flags |= NBD_SEND_WRITE_ZEROES;
    if (info->rotational)
        flags |= NBD_ROTATIONAL;
    return flags;
}

static const char *nbd_remedy(int err)
{
    switch (err) {
    case -ENOENT:
        return "the kernel has no nbd driver (`modprobe nbd`)";
    case -EPERM:
        return "configuring nbd needs root";
    case -EBUSY:
        return "all nbd devices are in use (`modprobe nbd nbds_max=N` makes more)";
    default:
        return strerror(-err);
    }
}

static void ident_format(const char *name, char out[static EXP_NAME_LEN_MAX + 16])
{
    snprintf(out, EXP_NAME_LEN_MAX + 16, "corelane:%s", name);
}

static int connect_job(struct exp *e)
{
    char sysfs[64], ident[EXP_NAME_LEN_MAX + 16];
    struct nbd *n = e->priv;
    struct nbd_nl_conf conf = {
        .sock = n->theirs, .size = e->size, .block_len = e->block_len, .flags = server_flags(e), .ident = ident,
    };
    int err;

    ident_format(e->name, ident);
    exp_touch(n->slab.mem, exp_slab_len(&n->slab));
    exp_touch(n->own, OWN_NR * (size_t)BUF_LEN);
    if ((err = exp_record_clash(e)))
        return err;
    n->id = nbd_nl_connect(&conf);
    close(n->theirs);
    n->theirs = -1;
    if (n->id < 0) {
        exp_note(e, "%s", nbd_remedy(n->id));
        return n->id;
    }
    snprintf(e->path, sizeof(e->path), "/dev/nbd%d", n->id);
    snprintf(sysfs, sizeof(sysfs), "/sys/block/nbd%d/dev", n->id);
    if ((err = exp_record_save(e, n->id)))
        exp_note(e, "the device's record cannot be kept below %.200s: %s", e->run_dir, strerror(-err));
    else if ((err = exp_node(e->path, sysfs, true)))
        exp_note(e, "%s is not there and cannot be made: %s", e->path, strerror(-err));
    else
        err = exp_size_check(e);
    if (err)
        (void)nbd_nl_disconnect(n->id);
    return err;
}

static void connect_done(struct exp *e, int err)
{
    struct nbd *n = e->priv;

    if (err)
        end_begin(n, err, exp_opened);
    else
        exp_opened(e, 0);
}

static int tags_make(struct nbd *n)
{
    n->tags = calloc(n->e->queue_depth, sizeof(*n->tags));
    n->rx = rt_mem_alloc(RX_LEN);
    n->own = rt_mem_alloc(OWN_NR * (size_t)BUF_LEN);
    n->large = rt_mem_alloc(IO_MAX);            /* address space only, until somebody allows requests of that size */
    if (!n->tags || !n->rx || !n->own || !n->large || exp_slab_open(&n->slab, n->e->disk))
        return -ENOMEM;
    for (; n->tags_nr < n->e->queue_depth; n->tags_nr++) {
        struct nbd_tag *t = &n->tags[n->tags_nr];

        t->n = n;
        rt_list_push(&n->free, &t->link);
    }
    while (n->own_free_nr < OWN_NR) {
        n->own_free[n->own_free_nr] = n->own + n->own_free_nr * (size_t)BUF_LEN;
        n->own_free_nr++;
    }
    return 0;
}

static void nbd_open(struct exp *e)
{
    struct nbd *n;
    int err;

    if (!(e->priv = n = calloc(1, sizeof(*n)))) {
        exp_later(e, -ENOMEM, exp_opened);
        return;
    }
    n->e = e;
    n->id = n->theirs = -1;
    rt_list_init(&n->free);
    rt_list_init(&n->answered);
    rt_list_init(&n->sending);
    if ((err = tags_make(n)) || (err = rt_socketpair(e->rt, &n->sock, &n->theirs))) {
        exp_later(e, err, exp_opened);
        return;
    }
    rx_go(n);                                   /* the kernel reads before connecting returns */
    exp_job(e, connect_job, connect_done);
}

static void nbd_free(struct exp *e)
{
    struct nbd *n = e->priv;

    if (!n)
        return;
    rt_mem_free(n->own, OWN_NR * (size_t)BUF_LEN);
    exp_slab_close(&n->slab);
    rt_mem_free(n->rx, RX_LEN);
    rt_mem_free(n->large, IO_MAX);
    rt_sock_close(n->sock);
    free(n->tags);
    free(n);
}

/* ---- size and closing -------------------------------------------------------------------------------- */

static int resize_job(struct exp *e)
{
    char ident[EXP_NAME_LEN_MAX + 16];
    struct nbd *n = e->priv;
    int err;

    ident_format(e->name, ident);
    err = nbd_nl_resize(n->id, ident, e->size);
    return err ? err : exp_size_check(e);
}

static void nbd_resize(struct exp *e)
{
    exp_job(e, resize_job, exp_resize_done);
}

/* The number may be somebody else's by now: the kernel tells whose it is, older ones by the process that
 * made it. */
static bool still_ours(const char *name, int id)
{
    char path[64], line[EXP_NAME_LEN_MAX + 32], ident[EXP_NAME_LEN_MAX + 16];
    long pid;

    ident_format(name, ident);
    snprintf(path, sizeof(path), "/sys/block/nbd%d/backend", id);
    if (!exp_read_line(path, line, sizeof(line)))
        return !strcmp(line, ident);
    snprintf(path, sizeof(path), "/sys/block/nbd%d/pid", id);
    if (exp_read_line(path, line, sizeof(line)))
        return false;
    pid = strtol(line, NULL, 10);
    return pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH;
}

static int close_job(struct exp *e)
{
    struct nbd *n = e->priv;
    int fd, err;

    if ((err = exp_claim(e, &fd)))
        return err;
    if (!e->lost || still_ours(e->name, n->id))
        err = nbd_nl_disconnect(n->id);
    if (err)
        exp_note(e, "%s cannot be disconnected: %s", e->path, strerror(-err));
    if (fd >= 0)
        close(fd);
    return err;
}

static void close_done(struct exp *e, int err)
{
    if (err)
        exp_closed(e, err);
    else
        end_begin(e->priv, 0, exp_closed);
}

static void nbd_close(struct exp *e)
{
    exp_job(e, close_job, close_done);
}

/* ---- what a daemon that died left -------------------------------------------------------------------- */

static void cleanup_one(const char *run_dir, const char *name, const struct exp_record *r)
{
    int err;

    if (r->kind != EXP_NBD)
        return;
    if (still_ours(name, r->id)) {
        if ((err = nbd_nl_disconnect(r->id)))
            rt_log(RT_WARN, "/dev/nbd%d, left over from %s, cannot be disconnected: %s", r->id, name,
                   strerror(-err));
        else
            rt_log(RT_NOTICE, "/dev/nbd%d, left over from %s, was disconnected", r->id, name);
    }
    exp_record_remove(run_dir, name);
}

static void nbd_cleanup(const char *run_dir)
{
    exp_records(run_dir, cleanup_one);
}

static void nbd_memory(struct exp *e)
{
    struct nbd *x = e->priv;

    exp_slab_look(&x->slab);
}

const struct exp_ops exp_nbd = {
    .kind = EXP_NBD,
    .best = "a device of the kernel's own client",
    .open = nbd_open,
    .resize = nbd_resize,
    .memory = nbd_memory,
    .close = nbd_close,
    .free = nbd_free,
    .cleanup = nbd_cleanup,
};
