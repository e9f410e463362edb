/*
 * disk.c - bytes of files: what is in the page cache, and what of it is stable
 *
 * A page holds what a reader sees. As long as that differs from what is stable, by sector, the page keeps the stable
 * bytes beside and stands on its file's list of unstable pages; a sync clears the list, a power loss decides for each
 * sector. No page: a hole, zeroes, stable.
 */
#include <errno.h>
#include <string.h>

#include "reactor/sim/disk.h"

#define LEAF_PAGES 512u
#define SECTORS (SIM_PAGE / SIM_SECTOR)

struct page {
    struct rt_link link;                    /* on inode->unstable, if dirty or lost */
    uint8_t *stable;                        /* of those sectors; NULL: zeroes */
    uint8_t dirty;                          /* sectors that the next sync will write */
    uint8_t lost;                           /* sectors that a failed sync gave up */
    uint8_t data[SIM_PAGE];
};
static_assert(SECTORS == 8, "a bit for each sector in a byte");

struct inode *sim_inode_new(struct sim_machine *m)
{
    struct inode *n = sim_zalloc(sizeof(*n));

    n->machine = m;
    n->refs = 1;
    rt_list_init(&n->unstable);
    rt_list_init(&n->opens);
    return n;
}

static struct page *page_at(const struct inode *n, uint64_t nr)
{
    const uint64_t leaf = nr / LEAF_PAGES;

    return leaf < n->leaves_nr && n->leaves[leaf] ? n->leaves[leaf][nr % LEAF_PAGES] : NULL;
}

static struct page *page_make(struct inode *n, uint64_t nr)
{
    const uint64_t leaf = nr / LEAF_PAGES;
    struct page *p = page_at(n, nr);
    const struct sim_disk *d = &n->machine->disk;

    if (p)
        return p;
    if (d->capacity && n->machine->stored + SIM_PAGE > d->capacity)
        return NULL;
    if (leaf >= n->leaves_nr) {
        n->leaves = sim_grow(n->leaves, (leaf + 1) * sizeof(*n->leaves));
        memset(&n->leaves[n->leaves_nr], 0, (leaf + 1 - n->leaves_nr) * sizeof(*n->leaves));
        n->leaves_nr = leaf + 1;
    }
    if (!n->leaves[leaf])
        n->leaves[leaf] = sim_zalloc(LEAF_PAGES * sizeof(struct page *));
    p = sim_zalloc(sizeof(*p));
    rt_list_init(&p->link);
    n->machine->stored += SIM_PAGE;
    n->leaves[leaf][nr % LEAF_PAGES] = p;
    return p;
}

static void page_free(struct inode *n, struct page *p)
{
    rt_list_del(&p->link);
    n->machine->stored -= SIM_PAGE;
    sim_release(p->stable);
    sim_release(p);
}

static void page_settled(struct page *p)
{
    if (p->dirty || p->lost)
        return;
    sim_release(p->stable);
    p->stable = NULL;
    rt_list_del(&p->link);
}

static uint8_t *sector(uint8_t *mem, unsigned s)
{
    return mem + (size_t)s * SIM_SECTOR;
}

/* The sectors of the mask are stable as they are read. */
static void page_write_back(struct page *p, uint8_t mask)
{
    if (!mask)
        return;
    if (!p->stable)
        p->stable = sim_zalloc(SIM_PAGE);
    for (unsigned s = 0; s < SECTORS; s++)
        if (mask >> s & 1)
            memcpy(sector(p->stable, s), sector(p->data, s), SIM_SECTOR);
}

/* The sectors of the mask are read as they are stable. */
static void page_revert(struct page *p, uint8_t mask)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        if (!(mask >> s & 1))
            continue;
        if (p->stable)
            memcpy(sector(p->data, s), sector(p->stable, s), SIM_SECTOR);
        else
            memset(sector(p->data, s), 0, SIM_SECTOR);
    }
}

/* The sectors of the mask are about to be changed. fresh: the page was a hole, which is stable. */
static void page_dirty(struct inode *n, struct page *p, uint8_t mask, bool fresh)
{
    struct sim_rng *r = &n->machine->w->disk_rng;

    if (!p->dirty && !p->lost) {
        if (!fresh) {
            p->stable = sim_grow(NULL, SIM_PAGE);
            memcpy(p->stable, p->data, SIM_PAGE);
        }
        rt_list_push(&n->unstable, &p->link);
    } else if (p->dirty & mask) {
        /* The kernel may have written the one before at any time: a quarter of them. */
        const uint64_t v = sim_rng_next(r);

        page_write_back(p, (uint8_t)(v & v >> 8) & p->dirty & mask);
    }
    p->dirty |= mask;
    p->lost &= (uint8_t)~mask;
}

static uint8_t sectors_mask(uint32_t from, uint32_t len)
{
    const uint32_t first = from / SIM_SECTOR, last = (from + len - 1) / SIM_SECTOR;

    return (uint8_t)(0xffu << first & 0xffu >> (SECTORS - 1 - last));
}

void sim_inode_read(const struct inode *n, void *buf, size_t len, uint64_t off, bool stable)
{
    uint8_t *to = buf;

    while (len) {
        const uint32_t in = (uint32_t)(off % SIM_PAGE);
        const size_t part = len < SIM_PAGE - in ? len : SIM_PAGE - in;
        const struct page *p = page_at(n, off / SIM_PAGE);

        if (!p) {
            memset(to, 0, part);
        } else {
            memcpy(to, p->data + in, part);
            for (size_t i = 0; stable && i < part; i++)
                if ((p->dirty | p->lost) >> (in + i) / SIM_SECTOR & 1)
                    to[i] = p->stable ? p->stable[in + i] : 0;
        }
        to += part;
        off += part;
        len -= part;
    }
}

int sim_inode_write(struct inode *n, const void *buf, size_t len, uint64_t off)
{
    const uint8_t *from = buf;

    while (len) {
        const uint32_t in = (uint32_t)(off % SIM_PAGE);
        const size_t part = len < SIM_PAGE - in ? len : SIM_PAGE - in;
        const bool fresh = !page_at(n, off / SIM_PAGE);
        struct page *p = page_make(n, off / SIM_PAGE);

        if (!p)
            return -ENOSPC;
        page_dirty(n, p, sectors_mask(in, (uint32_t)part), fresh);
        memcpy(p->data + in, from, part);
        from += part;
        off += part;
        len -= part;
        if (off > n->size && !n->block_len)
            n->size = off;
    }
    return 0;
}

void sim_inode_zero(struct inode *n, uint64_t off, uint64_t len)
{
    if (off >= n->size)
        return;
    if (len > n->size - off)
        len = n->size - off;
    while (len) {
        const uint32_t in = (uint32_t)(off % SIM_PAGE);
        const uint64_t part = len < SIM_PAGE - in ? len : SIM_PAGE - in, leaf = off / SIM_PAGE / LEAF_PAGES;
        struct page *p = page_at(n, off / SIM_PAGE);
        uint64_t hole = part;

        if (p) {
            page_dirty(n, p, sectors_mask(in, (uint32_t)part), false);
            memset(p->data + in, 0, part);
        } else if (leaf >= n->leaves_nr || !n->leaves[leaf]) {
            hole = (leaf + 1) * LEAF_PAGES * SIM_PAGE - off;
        }
        if (hole > len)
            hole = len;
        off += hole;
        len -= hole;
    }
}

void sim_inode_resize(struct inode *n, uint64_t size)
{
    if (size < n->size) {
        const uint64_t end = (size + SIM_PAGE - 1) / SIM_PAGE;

        if (size % SIM_PAGE) {
            struct page *p = page_at(n, size / SIM_PAGE);

            if (p) {
                memset(p->data + size % SIM_PAGE, 0, SIM_PAGE - size % SIM_PAGE);
                if (p->stable)
                    memset(p->stable + size % SIM_PAGE, 0, SIM_PAGE - size % SIM_PAGE);
            }
        }
        for (uint64_t leaf = end / LEAF_PAGES; leaf < n->leaves_nr; leaf++) {
            for (unsigned i = 0; n->leaves[leaf] && i < LEAF_PAGES; i++) {
                struct page **at = &n->leaves[leaf][i];

                if (!*at || leaf * LEAF_PAGES + i < end)
                    continue;
                page_free(n, *at);
                *at = NULL;
            }
        }
    }
    n->size = size;
}

void sim_inode_unref(struct inode *n)
{
    if (!n || --n->refs)
        return;
    sim_inode_resize(n, 0);
    for (size_t i = 0; i < n->leaves_nr; i++)
        sim_release(n->leaves[i]);
    sim_release(n->leaves);
    sim_release(n);
}

void sim_inode_sync(struct inode *n)
{
    rt_list_for_safe(l, &n->unstable) {
        struct page *p = rt_list_entry(l, struct page, link);

        if (p->lost)
            page_write_back(p, p->dirty);
        p->dirty = 0;
        page_settled(p);
    }
}

void sim_inode_sync_fail(struct inode *n)
{
    rt_list_for_safe(l, &n->unstable) {
        struct page *p = rt_list_entry(l, struct page, link);
        const uint8_t lost = p->dirty & (uint8_t)sim_rng_next(&n->machine->w->disk_rng);

        page_write_back(p, p->dirty & (uint8_t)~lost);
        p->lost |= lost;
        p->dirty = 0;
        page_settled(p);
    }
}

bool sim_inode_crash(struct inode *n, uint32_t keep_ppm)
{
    struct sim_rng *r = &n->machine->w->disk_rng;
    bool any = false;

    rt_list_for_safe(l, &n->unstable) {
        struct page *p = rt_list_entry(l, struct page, link);
        uint8_t gone = p->lost;

        for (unsigned s = 0; s < SECTORS; s++)
            if (p->dirty >> s & 1 && !sim_rng_chance(r, keep_ppm))
                gone |= (uint8_t)(1u << s);
        any |= gone;
        page_revert(p, gone);
        p->dirty = p->lost = 0;
        page_settled(p);
    }
    return any;
}
