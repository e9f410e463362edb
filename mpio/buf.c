/*
 * buf.c - memory for requests
 *
 * A session that lives on the disk's core gives it, where there is one: over shared memory such a buffer need not be copied.
 * It is that session's whatever becomes of the path, so it is known here where each came from: a session that has moved gets
 * it back by a message, and a path does not leave before its session has what is its own.
 */
#include <stdlib.h>
#include "mpio/mpio_internal.h"

#define LATE_NS RT_MS

struct buf {
    struct rt_link link; /* in the disk's table, until its session has it back */
    struct mpio_disk *disk;
    struct mpio_nexus *nexus; /* NULL: plain memory */
    uint8_t *mem;
    size_t len;
    bool going;
    struct rt_msg msg;
    struct rt_timer late;
};

static struct rt_link *bucket(struct mpio_disk *d, const void *mem)
{
    return &d->bufs[((uintptr_t)mem >> 12) % BUF_BUCKETS];
}

static struct buf *buf_find(const struct mpio_disk *d, const void *mem)
{
    rt_list_for (l, bucket((struct mpio_disk *)d, mem)) {
        struct buf *b = rt_list_entry(l, struct buf, link);

        if (b->mem == mem && !b->going)
            return b;
    }
    return NULL;
}

void buf_init(struct mpio_disk *d)
{
    for (unsigned i = 0; i < BUF_BUCKETS; i++)
        rt_list_init(&d->bufs[i]);
}

/* What was never given back goes with its session. */
void buf_exit(struct mpio_disk *d)
{
    struct rt_link *l;

    for (unsigned i = 0; i < BUF_BUCKETS; i++)
        while ((l = rt_list_pop(&d->bufs[i]))) {
            assert(!rt_list_entry(l, struct buf, link)->going);
            free(rt_list_entry(l, struct buf, link));
        }
}

bool buf_of_nexus(const struct mpio_disk *d, const struct mpio_nexus *n)
{
    for (unsigned i = 0; i < BUF_BUCKETS; i++)
        rt_list_for (l, &d->bufs[i])
            if (rt_list_entry(l, struct buf, link)->nexus == n)
                return true;
    return false;
}

bool buf_going(const struct mpio_disk *d)
{
    for (unsigned i = 0; i < BUF_BUCKETS; i++)
        rt_list_for (l, &d->bufs[i])
            if (rt_list_entry(l, struct buf, link)->going)
                return true;
    return false;
}

/* Its session may be called from here: it is on this core, and not about to leave it. */
static bool is_here(const struct mpio_disk *d, const struct mpio_path *p)
{
    return p->seen.rt == d->rt && !p->seen.hold && !p->leaving;
}

/* A path over that session, that is here; or, where @n is NULL, the best one to have memory from. */
static struct mpio_path *path_here(const struct mpio_disk *d, const struct mpio_nexus *n)
{
    struct mpio_path *best = NULL;

    for (unsigned i = 0; i < d->paths_nr; i++) {
        struct mpio_path *p = d->path[i];

        if (is_here(d, p) && (!n || p->nexus == n) && (!best || (p->seen.shm && !best->seen.shm)))
            best = p;
    }
    return best;
}

void *mpio_buf_get(struct mpio_disk *d, size_t len)
{
    struct mpio_path *p = path_here(d, NULL);
    struct buf *b = calloc(1, sizeof(*b));

    rt_assert_here(d->rt);
    if (!b)
        return NULL;
    b->disk = d;
    b->len = len;
    b->nexus = p ? p->nexus : NULL;
    b->mem = p ? ini_buf_get(p->nexus->s, len) : rt_mem_alloc(len);
    if (!b->mem) {
        free(b);
        return NULL;
    }
    rt_list_push(bucket(d, b->mem), &b->link);
    return b->mem;
}

static void buf_gone(struct buf *b)
{
    struct mpio_disk *d = b->disk;

    rt_list_del(&b->link);
    free(b);
    disk_look_soon(d); /* a path may wait for that to leave */
}

static void buf_back(struct rt_msg *m)
{
    buf_gone(container_of(m, struct buf, msg));
}

static void buf_home(struct rt_msg *m);

static void buf_late(struct rt_timer *t)
{
    buf_home(&container_of(t, struct buf, late)->msg);
}

/* On the session's core, or where that was: see is_elsewhere() of path.c. */
static void buf_home(struct rt_msg *m)
{
    struct buf *b = container_of(m, struct buf, msg);
    const bool moving = atomic_load_explicit(&b->nexus->moving, memory_order_acquire);
    struct rt *rt = mpio_nexus_rt(b->nexus);

    if (moving) {
        b->late.fn = buf_late;
        rt_timer_arm(rt_self(), &b->late, LATE_NS);
    } else if (rt != rt_self()) {
        rt_post(rt, &b->msg);
    } else {
        ini_buf_put(b->nexus->s, b->mem, b->len);
        b->msg.fn = buf_back;
        rt_post(b->disk->rt, &b->msg);
    }
}

void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len)
{
    struct buf *b = buf_find(d, mem);
    struct rt *rt;
    bool moving;

    rt_assert_here(d->rt);
    assert(b && b->len == len);
    if (!b->nexus) {
        rt_mem_free(mem, len);
        buf_gone(b);
        return;
    }
    /* In this order, as in buf_home(). */
    moving = atomic_load_explicit(&b->nexus->moving, memory_order_acquire);
    rt = mpio_nexus_rt(b->nexus);
    if (rt == d->rt && !moving) {
        ini_buf_put(b->nexus->s, mem, len);
        buf_gone(b);
        return;
    }
    b->going = true;
    b->msg.fn = buf_home;
    rt_post(rt, &b->msg);
}

bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len)
{
    const struct buf *b = buf_find(d, mem);
    const struct mpio_path *best = path_here(d, NULL), *own;

    assert(b);
    own = b->nexus ? path_here(d, b->nexus) : NULL;
    if (own)
        return ini_buf_good(own->nexus->s, mem, len);
    /* Plain, or of a session that lives elsewhere by now, or is about to go: a path there may have better, and one that
     * leaves has to have its own back. */
    if (b->nexus)
        for (unsigned i = 0; i < d->paths_nr; i++)
            if (d->path[i]->nexus == b->nexus && d->path[i]->leaving)
                return false;
    return !best || !best->seen.shm;
}
