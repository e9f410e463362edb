/*
 * arena.c - the initiator's memory: buffers handed out, stand-ins for buffers that are not in it
 *
 * Two buddy allocators over 4 KiB pages, one for each half. All that they know is in private memory: a peer that writes
 * all over the arena changes data and nothing else. A buffer is as many pages as it needs and not a power of two of
 * them: the rest of its block goes back at once. What came back of the common small sizes is kept aside as it is, since
 * it is wanted again for the next request, and joined with its neighbours only when a block cannot be had otherwise.
 *
 * Pages that were revoked or lost are gone: they are left out when what they belong to comes back, so that no list
 * ever holds one.
 */
#include <errno.h>
#include <stdlib.h>

#include "loopback/arena.h"

#define ORDERS      18u   /* a block of order n is 2^n pages; the largest half is 2^17 pages */
#define ASIDE_ORDER 6u    /* the largest kept aside: 256 KiB */
#define ASIDE_MAX   32u   /* of each order */
#define NONE        (~0u) /* no page */
/* Each makes two mappings more; a process may have some 65,000, and many sessions. */
#define HOLES_MAX 256u

static_assert(LOOP_ARENA_MAX / 2 / LOOP_PAGE == 1u << (ORDERS - 1), "the largest half is one block");
static_assert(ORDERS <= 32, "one bit an order in half.avail");
static_assert(LOOP_ARENA_MAX / LOOP_PAGE < NONE, "a page's number fits");

struct page {
    uint32_t prev, next; /* first page of a free block: in its list; of one that is aside: next alone */
    uint32_t run;        /* first page of what is out: its pages; else 0 */
    uint8_t free;        /* first page of a free block: 1 + its order; else 0 */
};

struct half {
    struct page *page;       /* [pages] */
    uint64_t *gone;          /* [pages / 64]: a bit a page */
    uint32_t pages, gone_nr; /* gone_nr: bits set in gone */
    uint32_t avail;          /* bit n: there is a free block of order n */
    uint32_t free[ORDERS];   /* first block of each list; NONE: empty */
    uint32_t aside[ASIDE_ORDER + 1];
    uint8_t aside_nr[ASIDE_ORDER + 1];
};

struct loop_arena {
    struct rt_shm *shm;
    uint8_t *mem;
    size_t len;
    uint32_t refs;
    uint32_t holes;      /* ranges that were revoked */
    struct half half[2]; /* buffers handed out, then stand-ins: halves of the memory in that order */
};

enum { HANDED, STANDINS };

/* ---- blocks ---------------------------------------------------------------------------------------------- */

static unsigned floor_log2(uint32_t n) /* n > 0 */
{
    return 31u - (unsigned)__builtin_clz(n);
}

static unsigned ceil_log2(uint32_t n) /* n > 0 */
{
    return n > 1 ? 1u + floor_log2(n - 1) : 0;
}

static void block_link(struct half *h, uint32_t at, unsigned order)
{
    struct page *p = &h->page[at];

    assert(!p->free && !p->run);
    p->free = (uint8_t)(1 + order);
    p->prev = NONE;
    p->next = h->free[order];
    if (p->next != NONE)
        h->page[p->next].prev = at;
    h->free[order] = at;
    h->avail |= 1u << order;
}

static void block_unlink(struct half *h, uint32_t at)
{
    struct page *p = &h->page[at];
    const unsigned order = p->free - 1u;

    if (p->next != NONE)
        h->page[p->next].prev = p->prev;
    if (p->prev != NONE)
        h->page[p->prev].next = p->next;
    else if ((h->free[order] = p->next) == NONE)
        h->avail &= ~(1u << order);
    p->free = 0;
}

/* A block comes back, and is joined with its buddy as long as that one is free as a whole. */
static void block_free(struct half *h, uint32_t at, unsigned order)
{
    for (; order + 1 < ORDERS; order++) {
        const uint32_t buddy = at ^ 1u << order;

        if (buddy >= h->pages || h->page[buddy].free != 1 + order)
            break;
        block_unlink(h, buddy);
        at &= ~(1u << order);
    }
    block_link(h, at, order);
}

/* Any pages, as the fewest aligned blocks that they are. */
static void pages_free(struct half *h, uint32_t at, uint32_t nr)
{
    while (nr) {
        const unsigned fits = floor_log2(nr), aligned = at ? (unsigned)__builtin_ctz(at) : ORDERS - 1;
        const unsigned order = fits < aligned ? fits : aligned;

        block_free(h, at, order);
        at += 1u << order;
        nr -= 1u << order;
    }
}

/* Return: whether there was anything. */
static bool aside_return(struct half *h)
{
    bool any = false;

    for (unsigned order = 0; order <= ASIDE_ORDER; order++) {
        for (; h->aside_nr[order]; h->aside_nr[order]--) {
            const uint32_t at = h->aside[order];

            h->aside[order] = h->page[at].next;
            block_free(h, at, order);
            any = true;
        }
    }
    return any;
}

/* ---- runs of pages ---------------------------------------------------------------------------------------- */

static bool page_gone(const struct half *h, uint32_t at)
{
    return h->gone[at / 64] >> at % 64 & 1;
}

static bool pages_any_gone(const struct half *h, uint32_t at, uint32_t nr)
{
    if (!h->gone_nr)
        return false;
    for (uint32_t i = at; i < at + nr; i++)
        if (page_gone(h, i))
            return true;
    return false;
}

static uint32_t run_take(struct half *h, uint32_t nr)
{
    const unsigned order = ceil_log2(nr);
    const uint32_t whole = 1u << order;
    uint32_t at;

    if (order <= ASIDE_ORDER && nr == whole && h->aside_nr[order]) {
        at = h->aside[order];
        h->aside[order] = h->page[at].next;
        h->aside_nr[order]--;
    } else {
        if (!(h->avail >> order) && !(aside_return(h) && h->avail >> order))
            return NONE;
        unsigned have = order + (unsigned)__builtin_ctz(h->avail >> order);

        at = h->free[have];
        block_unlink(h, at);
        while (have > order) {
            have--;
            block_link(h, at + (1u << have), have);
        }
        if (nr < whole)
            pages_free(h, at + nr, whole - nr);
    }
    h->page[at].run = nr;
    return at;
}

static void run_give(struct half *h, uint32_t at, uint32_t nr)
{
    const unsigned order = floor_log2(nr);

    assert(h->page[at].run == nr); /* given back twice, or not what was taken */
    h->page[at].run = 0;
    if (pages_any_gone(h, at, nr)) {
        for (uint32_t i = 0, clean = 0; i <= nr; i++) {
            if (i < nr && !page_gone(h, at + i)) {
                clean++;
            } else {
                pages_free(h, at + i - clean, clean);
                clean = 0;
            }
        }
    } else if (order <= ASIDE_ORDER && nr == 1u << order && h->aside_nr[order] < ASIDE_MAX) {
        h->page[at].next = h->aside[order];
        h->aside[order] = at;
        h->aside_nr[order]++;
    } else {
        pages_free(h, at, nr);
    }
}

static void pages_lose(struct half *h, uint32_t at, uint32_t nr)
{
    for (uint32_t i = at; i < at + nr; i++) {
        h->gone_nr += !page_gone(h, i);
        h->gone[i / 64] |= 1ull << i % 64;
    }
}

static uint32_t pages_of(size_t len)
{
    return (uint32_t)((len + LOOP_PAGE - 1) / LOOP_PAGE);
}

static void *half_get(struct loop_arena *a, int which, size_t len)
{
    uint32_t at;

    if (!len || len > a->len / 4)
        return NULL;
    at = run_take(&a->half[which], pages_of(len));
    return at == NONE ? NULL : a->mem + which * (a->len / 2) + (size_t)at * LOOP_PAGE;
}

/* The page of the half at which what was handed out begins. */
static uint32_t half_page(const struct loop_arena *a, int which, const void *mem, size_t len)
{
    const size_t off = (size_t)((const uint8_t *)mem - a->mem) - which * (a->len / 2);

    assert(len && len <= a->len / 4);
    assert(off <= a->len / 2 - len && !(off % LOOP_PAGE));
    return (uint32_t)(off / LOOP_PAGE);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int half_init(struct half *h, size_t len)
{
    h->pages = (uint32_t)(len / LOOP_PAGE);
    /* Not from the heap, which may write the zeroes itself: most of it is never touched, and what is belongs to the session. */
    h->page = rt_mem_alloc(h->pages * sizeof(*h->page));
    h->gone = calloc(h->pages / 64, sizeof(*h->gone));
    if (!h->page || !h->gone)
        return -ENOMEM;
    for (unsigned order = 0; order < ORDERS; order++)
        h->free[order] = NONE;
    pages_free(h, 0, h->pages);
    return 0;
}

static void arena_free(struct loop_arena *a)
{
    for (unsigned i = 0; i < ARRAY_SIZE(a->half); i++) {
        rt_mem_free(a->half[i].page, a->half[i].pages * sizeof(*a->half[i].page));
        free(a->half[i].gone);
    }
    rt_shm_free(a->shm);
    free(a);
}

int loop_arena_new(struct loop_arena **out, size_t len)
{
    struct loop_arena *a;
    int err;

    if (len < LOOP_ARENA_MIN || len > LOOP_ARENA_MAX || len % (8ul << 20))
        return -EINVAL;
    if (!(a = calloc(1, sizeof(*a))))
        return -ENOMEM;
    a->refs = 1;
    a->len = len;
    if ((err = half_init(&a->half[HANDED], len / 2)) || (err = half_init(&a->half[STANDINS], len / 2)) ||
        (err = rt_shm_new(&a->shm, len))) {
        arena_free(a);
        return err;
    }
    a->mem = rt_shm_mem(a->shm);
    *out = a;
    return 0;
}

void loop_arena_hold(struct loop_arena *a)
{
    a->refs++;
}

void loop_arena_drop(struct loop_arena *a)
{
    if (!a)
        return;
    assert(a->refs);
    if (!--a->refs)
        arena_free(a);
}

/* ---- buffers ---------------------------------------------------------------------------------------------- */

void *loop_arena_get(struct loop_arena *a, size_t len)
{
    void *mem = half_get(a, HANDED, len);

    if (mem)
        loop_arena_hold(a);
    return mem;
}

void loop_arena_put(struct loop_arena *a, void *mem, size_t len)
{
    run_give(&a->half[HANDED], half_page(a, HANDED, mem, len), pages_of(len));
    loop_arena_drop(a);
}

void *loop_arena_get_standin(struct loop_arena *a, size_t len)
{
    return half_get(a, STANDINS, len);
}

void loop_arena_put_standin(struct loop_arena *a, void *mem, size_t len)
{
    run_give(&a->half[STANDINS], half_page(a, STANDINS, mem, len), pages_of(len));
}

void loop_arena_lose_standin(struct loop_arena *a, void *mem, size_t len)
{
    struct half *h = &a->half[STANDINS];
    const uint32_t at = half_page(a, STANDINS, mem, len), nr = pages_of(len);

    pages_lose(h, at, nr);
    run_give(h, at, nr);
}

/* ---- what the peer reaches -------------------------------------------------------------------------------- */

bool loop_arena_has(const struct loop_arena *a, const void *mem)
{
    return (uintptr_t)mem - (uintptr_t)a->mem < a->len;
}

/* The half that has a page of the whole, and its number there. */
static struct half *half_of(struct loop_arena *a, size_t page, uint32_t *at)
{
    const uint32_t pages = a->half[HANDED].pages;

    *at = (uint32_t)(page % pages);
    return &a->half[page / pages];
}

static bool gone(const struct loop_arena *a, size_t page)
{
    uint32_t at;
    const struct half *h = half_of((struct loop_arena *)(uintptr_t)a, page, &at);

    return page_gone(h, at);
}

bool loop_arena_shared(const struct loop_arena *a, const void *mem, size_t len)
{
    const size_t off = (uintptr_t)mem - (uintptr_t)a->mem;

    if (off >= a->len || len > a->len - off)
        return false;
    if (!(a->half[HANDED].gone_nr | a->half[STANDINS].gone_nr))
        return true;
    for (size_t page = off / LOOP_PAGE; page * LOOP_PAGE < off + len; page++)
        if (gone(a, page))
            return false;
    return true;
}

/* Pages [from, to), none of which is gone yet. When it cannot be done none is: whoever tries again is not to believe that
 * it was. */
static int pages_revoke(struct loop_arena *a, size_t from, size_t to)
{
    const int err = rt_shm_revoke(a->shm, from * LOOP_PAGE, (to - from) * LOOP_PAGE);

    if (err)
        return err;
    a->holes++;
    for (; from < to; from++) {
        uint32_t at;
        struct half *h = half_of(a, from, &at);

        pages_lose(h, at, 1);
    }
    return 0;
}

int loop_arena_revoke(struct loop_arena *a, void *mem, size_t len)
{
    const size_t off = (uintptr_t)mem - (uintptr_t)a->mem;
    size_t from, to, end;
    int ret, err = 0;

    assert(len && off < a->len && len <= a->len - off);
    end = (off + len - 1) / LOOP_PAGE + 1;
    for (from = off / LOOP_PAGE; from < end; from = to + 1) {
        /* A page that two requests use went away with the first of them: doing it again would only cost. */
        for (to = from; to < end && !gone(a, to); to++)
            ;
        if (to > from && (ret = pages_revoke(a, from, to)) && !err)
            err = ret;
    }
    return err;
}

bool loop_arena_worn(const struct loop_arena *a)
{
    const struct half *h = a->half;

    return h[HANDED].gone_nr > h[HANDED].pages / 4 || h[STANDINS].gone_nr > h[STANDINS].pages / 4 ||
           a->holes > HOLES_MAX;
}

struct rt_shm *loop_arena_shm(const struct loop_arena *a)
{
    return a->shm;
}

/* ---- check ------------------------------------------------------------------------------------------------ */

/* Each page once: free, aside, out, or gone. */
static void half_check(const struct half *h)
{
    uint8_t *seen = calloc(h->pages, 1);
    uint32_t gone = 0;

    assert(seen);
    for (unsigned order = 0; order < ORDERS; order++) {
        assert((h->free[order] != NONE) == (h->avail >> order & 1));
        for (uint32_t at = h->free[order], prev = NONE; at != NONE; prev = at, at = h->page[at].next) {
            assert(h->page[at].free == 1 + order && h->page[at].prev == prev);
            assert(!(at & ((1u << order) - 1)) && at + (1u << order) <= h->pages);
            for (uint32_t i = at; i < at + (1u << order); i++)
                assert(!seen[i] && !page_gone(h, i)), seen[i] = 1;
        }
    }
    for (unsigned order = 0; order <= ASIDE_ORDER; order++) {
        uint32_t at = h->aside[order];

        for (unsigned n = 0; n < h->aside_nr[order]; n++, at = h->page[at].next)
            for (uint32_t i = at; i < at + (1u << order); i++)
                assert(!seen[i] && !page_gone(h, i)), seen[i] = 1;
    }
    for (uint32_t at = 0; at < h->pages; at++)
        for (uint32_t i = at; i < at + h->page[at].run; i++)
            assert(!seen[i]), seen[i] = 1;
    for (uint32_t at = 0; at < h->pages; at++) {
        gone += page_gone(h, at);
        assert(seen[at] || page_gone(h, at));
    }
    assert(gone == h->gone_nr);
    free(seen);
}

void loop_arena_check(const struct loop_arena *a)
{
    half_check(&a->half[HANDED]);
    half_check(&a->half[STANDINS]);
    assert(a->refs);
}
