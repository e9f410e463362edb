/*
 * rt_pin.c - memory registered with a reactor's ring, so that file operations from and into it need not look up and
 * hold its pages each time
 *
 * Owns the ring's table of registered buffers and what we know about it. Pinning is an offer: where the kernel or a limit
 * refuses, or the table is full, operations go the ordinary way. The kernel keeps what a running operation uses until it
 * has ended, whatever becomes of the table.
 *
 * Whoever gave us the memory may never have touched it, and the kernel makes all of its pages when it is registered:
 * 512 MiB took seconds, in which the core would serve nobody. So it is done a step in each turn, and in pieces: pages first,
 * then the piece they fill. An operation over the border of two pieces goes the ordinary way. And it begins with the first
 * operation that could make use of it: a session that is idle, or whose unit is in memory, has none, and no pages for it.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

#define STEP_LEN (512ul << 10) /* bytes; 128 faults, a good 0.1 ms */
static_assert(RT_PIN_LEN % STEP_LEN == 0, "a piece ends with a step");
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* 5.14 */
#endif

static void refused(struct rt *rt, int err)
{
    if (rt->pins.told)
        return;
    rt->pins.told = true;
    rt_log(RT_INFO, "reactor %u: shared memory cannot be registered (%s)%s: file operations cost a little more",
           rt->c.index, strerror(-err),
           err == -ENOMEM ? "; raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)" : "");
}

/* The table is made when it is first wanted: most reactors have no use for it. Return: 0 or -errno. */
static int table_make(struct rt *rt)
{
    int err;

    if (!rt->pins.made && (err = io_uring_register_buffers_sparse(&rt->ring, RT_PIN_SLOTS))) /* 5.19 */
        return err;
    rt->pins.made = true;
    return 0;
}

/* Return: 0 or -errno. */
static int slot_set(struct rt *rt, unsigned slot, void *mem, size_t len)
{
    const struct iovec iov = { mem, len };
    const __u64 no_tag = 0;
    const int ret = io_uring_register_buffers_update_tag(&rt->ring, slot, &iov, &no_tag, 1);

    return ret < 0 ? ret : ret == 1 ? 0 : -EINVAL;
}

static unsigned slots_of(size_t len)
{
    return (unsigned)((len + RT_PIN_LEN - 1) / RT_PIN_LEN);
}

/* Finds @nr free slots in a row. Return: the first, or RT_PIN_SLOTS. */
static unsigned slots_find(const struct rt_pins *p, size_t nr)
{
    size_t run = 0;

    for (unsigned i = 0; i < RT_PIN_SLOTS; i++) {
        run = p->used[i] ? 0 : run + 1;
        if (run == nr)
            return i + 1 - (unsigned)nr;
    }
    return RT_PIN_SLOTS;
}

/* Does a step of one memory. Return: 0 or -errno: that is all of it that will be registered. */
static int pin_step(struct rt *rt, struct rt_pin *pin)
{
    const size_t left = pin->len - pin->touched, len = left < STEP_LEN ? left : STEP_LEN;
    int err;

    /* Refused by an older kernel: registering makes the pages then, those of a piece at a time. */
    (void)madvise((void *)(pin->at + pin->touched), len, MADV_POPULATE_WRITE);
    pin->touched += len;
    if (pin->touched % RT_PIN_LEN && pin->touched < pin->len)
        return 0;
    err = slot_set(rt, pin->slot + (unsigned)(pin->ready / RT_PIN_LEN), (void *)(pin->at + pin->ready),
                   pin->touched - pin->ready);
    if (!err)
        pin->ready = pin->touched;
    return err;
}

static void pins_step(struct rt_op *op, int res)
{
    struct rt *rt = op->rt;
    struct rt_pins *p = &rt->pins;
    int err;

    p->stepping = false;
    for (unsigned i = 0; i < p->nr; i++) {
        struct rt_pin *pin = &p->pin[i];

        if (!pin->wanted || pin->touched == pin->len)
            continue;
        if ((err = pin_step(rt, pin))) {
            pin->touched = pin->len;
            refused(rt, err);
        }
        p->stepping = true;
        rt_defer(rt, op);
        return;
    }
}

/* Return: 0 or -errno, also when there is no room. */
static int pin_begin(struct rt *rt, uintptr_t at, size_t len)
{
    struct rt_pins *p = &rt->pins;
    const unsigned slot = slots_find(p, slots_of(len));
    unsigned i = 0;
    int err;

    while (i < RT_PINS_MAX && p->pin[i].len)
        i++;
    if (i == RT_PINS_MAX || slot == RT_PIN_SLOTS)
        return -ENOSPC;
    if ((err = table_make(rt)))
        return err;
    p->pin[i] = (struct rt_pin){ .at = at, .len = len, .slot = slot };
    memset(&p->used[slot], true, slots_of(len));
    if (p->nr <= i)
        p->nr = i + 1;
    return 0;
}

static void pin_want(struct rt *rt, struct rt_pin *pin)
{
    struct rt_pins *p = &rt->pins;

    pin->wanted = true;
    if (p->stepping)
        return;
    p->stepping = true;
    p->step.done = pins_step;
    rt_defer(rt, &p->step);
}

static struct rt_pin *pin_at(struct rt_pins *p, uintptr_t at)
{
    for (unsigned i = 0; i < p->nr; i++)
        if (p->pin[i].len && p->pin[i].at == at)
            return &p->pin[i];
    return NULL;
}

void rt_shm_pin(struct rt *rt, struct rt_shm *shm)
{
    const uintptr_t at = (uintptr_t)rt_shm_mem(shm);
    int err;

    assert(rt_owned(rt));
    assert(!pin_at(&rt->pins, at)); /* twice */
    rt_shm_pin_count(shm, true);
    if ((err = pin_begin(rt, at, rt_shm_len(shm))))
        refused(rt, err);
}

void rt_shm_unpin(struct rt *rt, struct rt_shm *shm)
{
    struct rt_pins *p = &rt->pins;
    struct rt_pin *pin = pin_at(p, (uintptr_t)rt_shm_mem(shm));

    assert(rt_owned(rt));
    rt_shm_pin_count(shm, false);
    if (!pin)
        return; /* it was refused */
    /* Forgotten by us whatever the kernel says: the slot's next owner takes its place there too. */
    for (unsigned i = 0; i < slots_of(pin->ready); i++)
        (void)slot_set(rt, pin->slot + i, NULL, 0);
    memset(&p->used[pin->slot], false, slots_of(pin->len));
    *pin = (struct rt_pin){ 0 };
    while (p->nr && !p->pin[p->nr - 1].len)
        p->nr--;
}

/* Return: the buffer, or -1. */
static int pin_has(const struct rt_pin *pin, uintptr_t at, size_t len)
{
    const uintptr_t off = at - pin->at;

    if (off >= pin->ready || len > pin->ready - off || off / RT_PIN_LEN != (off + len - 1) / RT_PIN_LEN)
        return -1;
    return (int)(pin->slot + off / RT_PIN_LEN);
}

int rt_pin_find(struct rt *rt, const void *mem, size_t len)
{
    struct rt_pins *p = &rt->pins;
    const uintptr_t at = (uintptr_t)mem;
    int slot;

    if (!p->nr)
        return -1;
    if ((slot = pin_has(&p->pin[p->last], at, len)) >= 0)
        return slot;
    for (unsigned i = 0; i < p->nr; i++) {
        if ((slot = pin_has(&p->pin[i], at, len)) >= 0) {
            p->last = i;
            return slot;
        }
        if (!p->pin[i].wanted && at - p->pin[i].at < p->pin[i].len)
            pin_want(rt, &p->pin[i]);
    }
    return -1;
}
