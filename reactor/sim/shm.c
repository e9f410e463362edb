/*
 * shm.c - memory that programs of a simulated machine share
 *
 * The memory is the world's, an anonymous file of the real kernel's, mapped once for each program that has it: two
 * programs see the same bytes at two addresses, and what one revokes is really mapped over. So an access that the
 * real system would not allow is not allowed here either. It lives as long as somebody has it: a handle, a segment on
 * its way that carries it, an operation of a killed program's that is still to land in it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reactor/sim/sim_internal.h"

#define PAGE_LEN 4096u

struct sim_shm { /* the world's */
    int fd;
    size_t len;
    unsigned refs;
    uint8_t *mem; /* the world's own mapping; NULL: not needed yet */
};

struct rt_shm {          /* a program's */
    struct rt_link link; /* on prog->shms */
    struct sim_prog *prog;
    struct sim_shm *s;
    uint8_t *mem;  /* NULL: not mapped */
    uint8_t *ours; /* one for each page: it was revoked; NULL: none was */
    unsigned pins;
};

/* ---- the memory --------------------------------------------------------------------------------------- */

struct sim_shm *sim_shm_ref(struct sim_shm *s)
{
    s->refs++;
    return s;
}

void sim_shm_unref(struct sim_shm *s)
{
    if (--s->refs)
        return;
    if (s->mem)
        munmap(s->mem, s->len);
    close(s->fd);
    sim_release(s);
}

/* The simulation's own want, as all of the world's: not the program's. */
static void *must_map(struct sim *w, const struct sim_shm *s)
{
    void *mem = mmap(NULL, s->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);

    if (mem == MAP_FAILED)
        sim_fail(w, "no shared memory: %s", strerror(errno));
    return mem;
}

uint8_t *sim_shm_bytes(struct sim *w, struct sim_shm *s)
{
    if (!s->mem)
        s->mem = must_map(w, s);
    return s->mem;
}

static struct sim_shm *shm_make(struct sim *w, size_t len)
{
    struct sim_shm *s = sim_zalloc(sizeof(*s));

    s->len = len;
    s->refs = 1;
    s->fd = memfd_create("sim", MFD_CLOEXEC);
    if (s->fd < 0 || ftruncate(s->fd, (off_t)len))
        sim_fail(w, "no shared memory: %s", strerror(errno));
    return s;
}

/* ---- handles ------------------------------------------------------------------------------------------ */

struct rt_shm *sim_shm_handle(struct sim_prog *p, struct sim_shm *s)
{
    struct rt_shm *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->prog = p;
    h->s = sim_shm_ref(s);
    rt_list_push(&p->shms, &h->link);
    return h;
}

struct sim_shm *sim_shm_of(const struct rt_shm *h)
{
    return h->s;
}

static void handle_unmap(struct rt_shm *h)
{
    if (!h->mem)
        return;
    sim_mem_unpoison(h->mem, h->s->len); /* a killed program's pools have left theirs poisoned */
    munmap(h->mem, h->s->len);
    sim_mem_unbook(h->prog, h->s->len);
    h->mem = NULL;
}

static int handle_map(struct rt_shm *h)
{
    if (!sim_mem_book(h->prog, h->s->len))
        return -ENOMEM;
    h->mem = must_map(h->prog->machine->w, h->s);
    return 0;
}

int rt_shm_new(struct rt_shm **out, size_t len)
{
    struct sim_shm *s;
    struct rt_shm *h;
    int err;

    assert(sim_cur); /* a program's own call */
    if (!len || len % PAGE_LEN)
        return -EINVAL;
    s = shm_make(sim_cur->machine->w, len);
    h = sim_shm_handle(sim_cur, s);
    sim_shm_unref(s); /* the handle's now */
    if (!h)
        return -ENOMEM;
    if ((err = handle_map(h))) {
        rt_shm_free(h);
        return err;
    }
    *out = h;
    return 0;
}

int rt_shm_map(struct rt_shm *h, size_t len_min, size_t len_max)
{
    assert(h->prog == sim_cur && !h->mem);
    if (h->s->len < len_min || h->s->len > len_max)
        return -EFBIG;
    return handle_map(h);
}

void *rt_shm_mem(const struct rt_shm *h)
{
    return h->mem;
}

size_t rt_shm_len(const struct rt_shm *h)
{
    return h->mem ? h->s->len : 0; /* what came is believed nothing before */
}

void rt_shm_free(struct rt_shm *h)
{
    if (!h)
        return;
    assert(h->prog == sim_cur);
    assert(!h->pins);                                            /* rt_shm_unpin() comes before */
    assert(!h->mem || !sim_ios_use(h->prog, h->mem, h->s->len)); /* no operation may use it any more */
    handle_unmap(h);
    rt_list_del(&h->link);
    sim_shm_unref(h->s);
    free(h->ours);
    free(h);
}

void sim_shms_drop(struct sim_prog *p)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&p->shms))) {
        struct rt_shm *h = rt_list_entry(l, struct rt_shm, link);

        handle_unmap(h);
        sim_shm_unref(h->s);
    }
}

void rt_shm_pin(struct rt *rt, struct rt_shm *h)
{
    assert(rt_owned(rt) && h->prog == sim_cur && h->mem);
    h->pins++;
}

void rt_shm_unpin(struct rt *rt, struct rt_shm *h)
{
    assert(rt_owned(rt) && h->prog == sim_cur && h->pins);
    h->pins--;
}

/* ---- revoking ----------------------------------------------------------------------------------------- */

/* The bytes go by the file, past the eyes of a sanitizer: parts of a page may be poisoned for the program. */
static void page_revoke(struct rt_shm *h, size_t off)
{
    void *page = mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || pread(h->s->fd, page, PAGE_LEN, (off_t)off) != (ssize_t)PAGE_LEN ||
        mremap(page, PAGE_LEN, PAGE_LEN, MREMAP_MAYMOVE | MREMAP_FIXED, h->mem + off) == MAP_FAILED)
        sim_fail(h->prog->machine->w, "memory cannot be revoked: %s", strerror(errno));
    h->ours[off / PAGE_LEN] = 1;
}

int rt_shm_revoke(struct rt_shm *h, size_t off, size_t len)
{
    assert(h->prog == sim_cur && h->mem);
    assert(off % PAGE_LEN == 0 && len % PAGE_LEN == 0 && len <= h->s->len && off <= h->s->len - len);
    if (!h->ours && !(h->ours = calloc(1, h->s->len / PAGE_LEN)))
        return -ENOMEM;
    for (size_t at = off; at < off + len; at += PAGE_LEN)
        if (!h->ours[at / PAGE_LEN])
            page_revoke(h, at);
    return 0;
}

struct sim_shm *sim_shm_find(const struct sim_prog *p, const void *mem, size_t len, uint64_t *off)
{
    rt_list_for (l, &p->shms) {
        const struct rt_shm *h = rt_list_entry(l, struct rt_shm, link);
        const uintptr_t at = (uintptr_t)mem - (uintptr_t)h->mem; /* wraps when it lies before */

        if (!h->mem || at >= h->s->len || len > h->s->len - at)
            continue;
        if (h->ours && memchr(h->ours + at / PAGE_LEN, 1, (at + len - 1) / PAGE_LEN - at / PAGE_LEN + 1))
            return NULL;
        *off = at;
        return h->s;
    }
    return NULL;
}

/* ---- which start of which machine --------------------------------------------------------------------- */

void rt_boot_id(char out[static RT_BOOT_ID_LEN + 1])
{
    struct sim_rng r;
    uint64_t a, b;

    out[0] = '\0';
    if (!sim_cur)
        return;
    r = sim_rng(sim_cur->machine->w->seed, sim_boot_stream(sim_cur->machine));
    a = sim_rng_next(&r);
    b = sim_rng_next(&r);
    (void)snprintf(out, RT_BOOT_ID_LEN + 1, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
                   (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xffff, (unsigned)(b >> 48),
                   (unsigned long long)b & 0xffffffffffff);
}
