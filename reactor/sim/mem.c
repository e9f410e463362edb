/*
 * mem.c - what programs allocate: booked, counted, made to fail, and released with them
 *
 * The linker sends the program's calls of malloc() and its like here (SIM_LDFLAGS in tests/sim/sim.mk). A block has a
 * header that links it to the program that runs; outside of any program it is linked to nothing. What a shared
 * library allocates by itself does not come by here: jansson is told to; OpenSSL is not, as it keeps things for
 * the process, and what it is asked for lives no longer than a call. Memory that a library hands out to be free()d
 * (getline(), realpath()...) must not be freed through here: the assert on the mark says so.
 *
 * New and freed blocks are filled with a pattern as far as that costs little: what reads them is deterministic then,
 * and an operation in freed memory trips over an assert of core.c.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "reactor/sim/sim_internal.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define UNPOISON(p, n) ((void)0)
#endif

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void __real_free(void *mem);

void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *mem, size_t len);
void *__wrap_reallocarray(void *mem, size_t n, size_t len);
void __wrap_free(void *mem);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_vasprintf(char **out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void *__wrap_aligned_alloc(size_t align, size_t len);
int __wrap_posix_memalign(void **out, size_t align, size_t len);

#define MARK 0x51b10c4du
#define FILL_MAX (16u << 10)                /* bytes: more is too dear */
#define FILL_NEW 0xa5
#define FILL_FREED 0xdb
#define SMALL_REGION (256u << 10)           /* rt_mem_alloc(): below this the heap is cheaper than a mapping */
#define PAGE_LEN 4096u

struct block {
    struct rt_link link;
    struct sim_prog *prog;                  /* NULL: outside */
    size_t len;
    void *base;                             /* what the allocator gave */
    uint32_t mark;
    uint32_t pad;
};
static_assert(sizeof(struct block) % 16 == 0, "what follows the header is aligned for anything");

struct region {                             /* the world's: of rt_mem_alloc() */
    struct rt_link link;
    void *mem;
    size_t len;
    bool mapped;
};

/* ---- books -------------------------------------------------------------------------------------------- */

void sim_mem_init(struct sim_prog *p)
{
    rt_list_init(&p->blocks);
    rt_list_init(&p->regions);
}

/* One more allocation. Return: whether it may succeed. */
static bool admit(struct sim_prog *p, size_t len, bool heap)
{
    const uint64_t nr = ++p->mem.allocs;

    if (p->fail_at && nr >= p->fail_at && nr - p->fail_at <= p->fail_more)
        goto refuse;
    if (heap && p->limit && (len > p->limit || p->mem.heap_bytes > p->limit - len))
        goto refuse;
    return true;
refuse:
    sim_fault_note(p->machine->w, SIM_FAULT_ALLOC, p->machine, NULL);
    errno = ENOMEM;
    return false;
}

static void book(struct sim_prog *p, size_t len, bool heap)
{
    p->mem.blocks++;
    p->mem.bytes += len;
    if (p->mem.bytes > p->mem.bytes_max)
        p->mem.bytes_max = p->mem.bytes;
    if (heap && (p->mem.heap_bytes += len) > p->mem.heap_max)
        p->mem.heap_max = p->mem.heap_bytes;
}

static void unbook(struct sim_prog *p, size_t len, bool heap)
{
    p->mem.blocks--;
    p->mem.bytes -= len;
    if (heap)
        p->mem.heap_bytes -= len;
}

bool sim_mem_book(struct sim_prog *p, size_t len)
{
    if (!admit(p, len, false))
        return false;
    book(p, len, false);
    return true;
}

void sim_mem_unbook(struct sim_prog *p, size_t len)
{
    unbook(p, len, false);
}

void sim_mem_unpoison(void *mem, size_t len)
{
    UNPOISON(mem, len);
}

void sim_fault_alloc(struct sim_prog *p, uint64_t nth, uint64_t more)
{
    p->fail_at = nth ? p->mem.allocs + nth : 0;
    p->fail_more = more;
}

void sim_prog_limit(struct sim_prog *p, uint64_t heap_bytes)
{
    p->limit = heap_bytes;
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

static struct block *block_of(void *mem)
{
    struct block *b = (struct block *)mem - 1;

    assert(b->mark == MARK);                /* else freed twice, or not allocated through here */
    return b;
}

static void *block_new(size_t len, size_t align, bool zero)
{
    const size_t head = align > sizeof(struct block) ? align : sizeof(struct block);
    struct sim_prog *p = sim_cur;
    struct block *b;
    uint8_t *base, *mem;

    if (len > SIZE_MAX / 2 - head - align) {
        errno = ENOMEM;
        return NULL;
    }
    if (p && !admit(p, len, true))
        return NULL;
    if (zero)
        base = __real_calloc(1, head + len);
    else if (align > 16)
        base = __real_aligned_alloc(align, (head + len + align - 1) & ~(align - 1));
    else
        base = __real_malloc(head + len);
    if (!base)
        return NULL;
    mem = base + head;
    b = (struct block *)mem - 1;
    b->prog = p;
    b->len = len;
    b->base = base;
    b->mark = MARK;
    if (p) {
        rt_list_push(&p->blocks, &b->link);
        book(p, len, true);
    }
    if (!zero && len <= FILL_MAX)
        memset(mem, FILL_NEW, len);
    return mem;
}

static void block_free(struct block *b)
{
    if (b->prog) {
        rt_list_del(&b->link);
        unbook(b->prog, b->len, true);
    }
    b->mark = 0;
#ifndef SIM_ASAN                            /* which does better */
    memset(b + 1, FILL_FREED, b->len < FILL_MAX ? b->len : FILL_MAX);
#endif
    __real_free(b->base);
}

void *__wrap_malloc(size_t len)
{
    return block_new(len, 16, false);
}

void *__wrap_calloc(size_t n, size_t len)
{
    if (len && n > SIZE_MAX / len) {
        errno = ENOMEM;
        return NULL;
    }
    return block_new(n * len, 16, true);
}

void __wrap_free(void *mem)
{
    if (mem)
        block_free(block_of(mem));
}

void *__wrap_realloc(void *mem, size_t len)
{
    struct block *b;
    void *grown;

    if (!mem)
        return block_new(len, 16, false);
    b = block_of(mem);
    if (!(grown = block_new(len, 16, false)))
        return NULL;
    memcpy(grown, mem, b->len < len ? b->len : len);
    block_free(b);
    return grown;
}

void *__wrap_reallocarray(void *mem, size_t n, size_t len)
{
    if (len && n > SIZE_MAX / len) {
        errno = ENOMEM;
        return NULL;
    }
    return __wrap_realloc(mem, n * len);
}

static char *text_copy(const char *s, size_t len)
{
    char *copy = block_new(len + 1, 16, false);

    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *__wrap_strndup(const char *s, size_t n)
{
    return text_copy(s, strnlen(s, n));
}

char *__wrap_strdup(const char *s)
{
    return text_copy(s, strlen(s));
}

int __wrap_vasprintf(char **out, const char *fmt, va_list ap)
{
    va_list again;
    char *text;
    int len;

    va_copy(again, ap);
    len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (len < 0 || !(text = block_new((size_t)len + 1, 16, false)))
        return -1;
    vsnprintf(text, (size_t)len + 1, fmt, ap);
    *out = text;
    return len;
}

int __wrap_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = __wrap_vasprintf(out, fmt, ap);
    va_end(ap);
    return len;
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
    return block_new(len, align < 16 ? 16 : align, false);
}

int __wrap_posix_memalign(void **out, size_t align, size_t len)
{
    void *mem;

    if (align < sizeof(void *) || (align & (align - 1)))
        return EINVAL;
    if (!(mem = __wrap_aligned_alloc(align, len)))
        return ENOMEM;
    *out = mem;
    return 0;
}

/* Before constructors without a number: where rpc/json.c is linked its own functions stay, which are on top of
 * these. */
__attribute__((constructor(101)))
static void json_book(void)
{
    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
    json_object_seed(1);                    /* else from the system's randomness */
}

/* ---- regions ------------------------------------------------------------------------------------------ */

static void region_release(struct region *r)
{
    rt_list_del(&r->link);
    UNPOISON(r->mem, r->len);               /* a killed program's pools have left theirs poisoned */
    if (r->mapped)
        munmap(r->mem, r->len);
    else
        __real_free(r->mem);
    sim_release(r);
}

static bool region_map(struct region *r)
{
    r->mapped = r->len > SMALL_REGION;
    if (r->mapped) {
        r->mem = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return r->mem != MAP_FAILED;
    }
    r->mem = __real_aligned_alloc(PAGE_LEN, (r->len + PAGE_LEN - 1) & ~(size_t)(PAGE_LEN - 1));
    if (r->mem)
        memset(r->mem, 0, r->len);
    return r->mem;
}

void *rt_mem_alloc(size_t len)
{
    struct region *r;

    assert(sim_cur);                        /* a program's own call */
    if (!len || !admit(sim_cur, len, false))
        return NULL;
    r = sim_zalloc(sizeof(*r));
    r->len = len;
    rt_list_init(&r->link);
    if (!region_map(r)) {
        sim_release(r);
        return NULL;
    }
    rt_list_push(&sim_cur->regions, &r->link);
    book(sim_cur, len, false);
    return r->mem;
}

void rt_mem_free(void *mem, size_t len)
{
    if (!mem)
        return;
    assert(sim_cur);
    /* A program has a few dozen; the last made go first as a rule. */
    for (struct rt_link *l = sim_cur->regions.prev; l != &sim_cur->regions; l = l->prev) {
        struct region *r = rt_list_entry(l, struct region, link);

        if (r->mem != mem)
            continue;
        assert(r->len == len);
        unbook(sim_cur, len, false);
        region_release(r);
        return;
    }
    assert(!"memory that rt_mem_alloc() did not give this program");
}

bool rt_mem_drop(void *mem, size_t len)
{
    return !madvise(mem, len, MADV_DONTNEED);
}

bool rt_mem_move(void *mem, size_t len, struct rt *rt)
{
    return false;                           /* all memory is equally near */
}

/* ---- the end of a program ----------------------------------------------------------------------------- */

void sim_mem_release(struct sim_prog *p)
{
    sim_shms_drop(p);
    while (!rt_list_empty(&p->blocks))
        block_free(rt_list_entry(p->blocks.next, struct block, link));
    while (!rt_list_empty(&p->regions)) {
        struct region *r = rt_list_entry(p->regions.next, struct region, link);

        unbook(p, r->len, false);
        region_release(r);
    }
}
