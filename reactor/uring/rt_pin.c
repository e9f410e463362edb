/*
 * rt_pin.c - memory registered with a reactor's ring, so that file operations from and into it need not look up and
 * hold its pages each time
 *
 * Owns the ring's table of registered buffers and what we know about it. Pinning is an offer: where the kernel or a limit
 * refuses, or the table is full, operations go the ordinary way. The kernel keeps what a running operation uses until it
 * has ended, whatever becomes of the table.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

#define PIECE_LEN (1ul << 30)               /* the kernel's limit of one buffer */

static void refused(struct rt *rt, int err)
{
    if (rt->pins.told)
        return;
    rt->pins.told = true;
    rt_log(RT_INFO, "reactor %u: shared memory cannot be registered (%s)%s: file operations cost a little more",
           rt->c.index, strerror(-err),
           err == -ENOMEM ? "; raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)" : "");
}

/* The table is made when it is first wanted: most reactors have no use for it. */
static bool table_make(struct rt *rt)
{
    int err;

    if (!rt->pins.made) {
        if ((err = io_uring_register_buffers_sparse(&rt->ring, RT_PINS_MAX))) {    /* 5.19 */
            refused(rt, err);
            return false;
        }
        rt->pins.made = true;
    }
    return true;
}

/* Return: 0 or -errno. */
static int slot_set(struct rt *rt, unsigned slot, void *mem, size_t len)
{
    const struct iovec iov = { mem, len };
    const __u64 no_tag = 0;
    const int ret = io_uring_register_buffers_update_tag(&rt->ring, slot, &iov, &no_tag, 1);

    return ret < 0 ? ret : ret == 1 ? 0 : -EINVAL;
}

/* Return: -errno, also when the table is full. */
static int piece_pin(struct rt *rt, uint8_t *mem, size_t len)
{
    struct rt_pins *p = &rt->pins;
    int err;

    for (unsigned i = 0; i < RT_PINS_MAX; i++) {
        if (p->slot[i].len)
            continue;
        if ((err = slot_set(rt, i, mem, len)))
            return err;
        p->slot[i].at = (uintptr_t)mem;
        p->slot[i].len = len;
        if (p->nr <= i)
            p->nr = i + 1;
        return 0;
    }
    return -ENOSPC;
}

void rt_shm_pin(struct rt *rt, struct rt_shm *shm)
{
    uint8_t *mem = rt_shm_mem(shm);
    const size_t len = rt_shm_len(shm);
    int err = 0;

    assert(rt_owned(rt));
    assert(rt_pin_find(rt, mem, 1) < 0);    /* twice */
    rt_shm_pin_count(shm, true);
    if (!table_make(rt))
        return;
    for (size_t at = 0; at < len && !err; at += PIECE_LEN)
        err = piece_pin(rt, mem + at, len - at < PIECE_LEN ? len - at : PIECE_LEN);
    if (err)
        refused(rt, err);
}

void rt_shm_unpin(struct rt *rt, struct rt_shm *shm)
{
    const uintptr_t mem = (uintptr_t)rt_shm_mem(shm);
    struct rt_pins *p = &rt->pins;

    assert(rt_owned(rt));
    for (unsigned i = 0; i < p->nr; i++) {
        if (!p->slot[i].len || p->slot[i].at - mem >= rt_shm_len(shm))
            continue;
        /* Forgotten by us whatever the kernel says: the slot's next owner takes its place there too. */
        (void)slot_set(rt, i, NULL, 0);
        p->slot[i].at = p->slot[i].len = 0;
    }
    while (p->nr && !p->slot[p->nr - 1].len)
        p->nr--;
    rt_shm_pin_count(shm, false);
}

static bool slot_has(const struct rt_pins *p, unsigned i, uintptr_t at, size_t len)
{
    const uintptr_t off = at - p->slot[i].at;

    return off < p->slot[i].len && len <= p->slot[i].len - off;
}

int rt_pin_find(struct rt *rt, const void *mem, size_t len)
{
    struct rt_pins *p = &rt->pins;
    const uintptr_t at = (uintptr_t)mem;

    if (!p->nr)
        return -1;
    if (slot_has(p, p->last, at, len))
        return (int)p->last;
    for (unsigned i = 0; i < p->nr; i++) {
        if (slot_has(p, i, at, len)) {
            p->last = i;
            return (int)i;
        }
    }
    return -1;
}
