/*
 * slab.c - pages of one shared buffer, taken and given back by their bits
 *
 * First fit: a shallow queue goes round in the same few pages, which stay in the cache. That the buffer is shared can
 * change while it is in use (a new login, another target, pages that had to be taken away from a dead one): then no more
 * is taken from it, and once all is back it is exchanged.
 */
#include "export/slab.h"

#include <errno.h>
#include <string.h>

/* How often it is asked whether the buffer is still as good as can be, and how often for a better one where none was to be
 * had. Nothing goes wrong meanwhile. */
#define GOOD_NS (10 * RT_MS)
#define LOOK_NS RT_S

size_t exp_slab_len(const struct exp_slab *s)
{
    return (size_t)s->pages * EXP_PAGE;
}

static uint32_t pages_of(size_t len)
{
    return (uint32_t)((len + EXP_PAGE - 1) / EXP_PAGE);
}

static void slab_use(struct exp_slab *s, uint8_t *mem, size_t len)
{
    s->mem = mem;
    s->pages = (uint32_t)(len / EXP_PAGE);
    s->leaving = s->must = false;
}

/* A buffer that is as good as can be: NULL when there is none now. */
static uint8_t *buf_good(struct mpio_disk *disk, size_t *len)
{
    for (*len = EXP_SLAB_LEN; *len >= EXP_SLAB_LEN_MIN; *len /= 2) {
        uint8_t *mem = mpio_buf_get(disk, *len);

        if (mem && mpio_buf_good(disk, mem, *len))
            return mem;
        if (mem)
            mpio_buf_put(disk, mem, *len);
    }
    return NULL;
}

int exp_slab_open(struct exp_slab *s, struct mpio_disk *disk)
{
    size_t len;
    uint8_t *mem = buf_good(disk, &len);

    if (!mem) {
        len = EXP_SLAB_LEN;
        mem = mpio_buf_get(disk, len);
    }
    if (!mem)
        return -ENOMEM;
    memset(s, 0, sizeof(*s));
    s->disk = disk;
    slab_use(s, mem, len);
    return 0;
}

void exp_slab_close(struct exp_slab *s)
{
    assert(!s->used);
    if (s->disk)
        mpio_buf_put(s->disk, s->mem, exp_slab_len(s));
    s->disk = NULL;
}

void exp_touch(void *mem, size_t len)
{
    for (size_t at = 0; at < len; at += EXP_PAGE)
        ((volatile uint8_t *)mem)[at] = 0;
}

/* All of it is back. The old one stays where a new one would be no better: its pages are there already. */
static void exchange(struct exp_slab *s)
{
    size_t len;
    uint8_t *mem = buf_good(s->disk, &len);

    s->leaving = false;
    if (!mem && s->must)
        mem = mpio_buf_get(s->disk, len = EXP_SLAB_LEN);
    if (!mem) {
        s->look_ns = rt_now(mpio_disk_rt(s->disk)) + LOOK_NS;
        return;
    }
    mpio_buf_put(s->disk, s->mem, exp_slab_len(s));
    slab_use(s, mem, len);
}

/* Return: whether something may be taken from it. */
static bool slab_ready(struct exp_slab *s)
{
    const uint64_t now = rt_now(mpio_disk_rt(s->disk));

    if (!s->leaving) {
        if (now < s->look_ns)
            return true;
        if (mpio_buf_good(s->disk, s->mem, exp_slab_len(s))) {
            s->look_ns = now + GOOD_NS;
            return true;
        }
        s->leaving = true;
    }
    if (!s->used)
        exchange(s);
    return !s->leaving;
}

/* The first page from @at on whose bit is @set, or the number of pages. */
static uint32_t next_page(const struct exp_slab *s, uint32_t at, bool set)
{
    while (at < s->pages) {
        const uint64_t word = (set ? s->taken[at / 64] : ~s->taken[at / 64]) >> (at % 64);

        if (word)
            return at + (uint32_t)__builtin_ctzll(word); /* pages are a multiple of 64 */
        at = (at / 64 + 1) * 64;
    }
    return s->pages;
}
static_assert(EXP_SLAB_LEN_MIN % (64 * EXP_PAGE) == 0, "no word of bits is half a slab's");

static void mark(struct exp_slab *s, uint32_t at, uint32_t nr, bool set)
{
    for (uint32_t i = at; i < at + nr;) {
        const uint32_t bit = i % 64, left = at + nr - i, n = left < 64 - bit ? left : 64 - bit;
        const uint64_t mask = (n == 64 ? ~0ull : (1ull << n) - 1) << bit;

        assert((s->taken[i / 64] & mask) == (set ? 0 : mask));
        s->taken[i / 64] ^= mask;
        i += n;
    }
    s->used += set ? nr : -nr;
}

void *exp_slab_get(struct exp_slab *s, size_t len)
{
    const uint32_t nr = pages_of(len);
    uint32_t at, end;

    if (!len || len > EXP_SLAB_LEN || !slab_ready(s))
        return NULL;
    for (at = next_page(s, 0, false); at + nr <= s->pages; at = next_page(s, end, false)) {
        end = next_page(s, at, true);
        if (end - at < nr)
            continue;
        mark(s, at, nr, true);
        return s->mem + (size_t)at * EXP_PAGE;
    }
    return NULL;
}

static uint32_t page_at(const struct exp_slab *s, const void *mem)
{
    const size_t off = (size_t)((const uint8_t *)mem - s->mem);

    assert(off < exp_slab_len(s) && off % EXP_PAGE == 0);
    return (uint32_t)(off / EXP_PAGE);
}

void exp_slab_trim(struct exp_slab *s, const void *mem, size_t len, size_t keep)
{
    assert(keep && keep <= len);
    mark(s, page_at(s, mem) + pages_of(keep), pages_of(len) - pages_of(keep), false);
}

void exp_slab_put(struct exp_slab *s, const void *mem, size_t len)
{
    mark(s, page_at(s, mem), pages_of(len), false);
    if (s->leaving && !s->used)             /* not when somebody takes something next: that may be never */
        exchange(s);
}

void exp_slab_look(struct exp_slab *s)
{
    if (!s->disk || mpio_buf_good(s->disk, s->mem, exp_slab_len(s)))
        return;
    s->must = s->leaving = true;
    if (!s->used)
        exchange(s);
}
