/*
 * rt_pool.c - fixed-size objects handed out without allocating
 *
 * The free objects stand on a stack of their numbers, beside the objects and not in them: an object that was
 * never used is never touched, and who writes into one he gave back cannot break the pool. Last in, first
 * out, so that what is warm in the cache goes out next.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt.h"
#include "reactor/rt_pool.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISON 1
#endif
#endif
#ifdef POOL_POISON
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
/* Who trusts what an earlier user left is found out. Buffers would take too long. */
#define JUNK(p, n) ((n) > 4096 ? (void *)(p) : memset(p, 0xa5, n))
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#define JUNK(p, n) ((void)0)
#endif

struct rt_pool {
    uint8_t *mem;
    size_t mem_len, stride, size;
    uint32_t count, left;
    uint32_t fresh;                         /* objects from here on were never handed out */
    uint32_t free_nr;                       /* on the stack; left = free_nr + count - fresh */
    uint32_t stack[];
};

int rt_pool_new(struct rt_pool **out, size_t size, size_t align, uint32_t count)
{
    struct rt_pool *p;
    size_t stride;

    assert(size && count && align && !(align & (align - 1)));
    if (size > SIZE_MAX / 2 || align > 4096)
        return -ENOMEM;
    stride = (size + align - 1) & ~(align - 1);
    if (stride > SIZE_MAX / count || !(p = calloc(1, sizeof(*p) + (size_t)count * sizeof(p->stack[0]))))
        return -ENOMEM;
    *p = (struct rt_pool){ .stride = stride, .size = size, .mem_len = stride * count, .count = count,
                           .left = count };
    if (!(p->mem = rt_mem_alloc(p->mem_len))) {
        free(p);
        return -ENOMEM;
    }
    POISON(p->mem, p->mem_len);
    *out = p;
    return 0;
}

void rt_pool_free(struct rt_pool *p)
{
    if (!p)
        return;
    assert(p->left == p->count);
    UNPOISON(p->mem, p->mem_len);
    rt_mem_free(p->mem, p->mem_len);
    free(p);
}

void *rt_pool_get(struct rt_pool *p)
{
    uint8_t *obj;

    if (!p->left)
        return NULL;
    p->left--;
    obj = p->mem + p->stride * (p->free_nr ? p->stack[--p->free_nr] : p->fresh++);
    UNPOISON(obj, p->size);
    JUNK(obj, p->size);
    return obj;
}

void rt_pool_put(struct rt_pool *p, void *obj)
{
    const size_t off = (size_t)((uint8_t *)obj - p->mem);

    assert((uint8_t *)obj >= p->mem && off < p->mem_len);
    assert(off % p->stride == 0);
    assert(p->left < p->count);             /* else something was given back twice */
    POISON(obj, p->size);
    p->stack[p->free_nr++] = (uint32_t)(off / p->stride);
    p->left++;
}

void rt_pool_move(struct rt_pool *p, struct rt *rt)
{
    if (p)
        (void)rt_mem_move(p->mem, p->mem_len, rt);
}

uint32_t rt_pool_left(const struct rt_pool *p)
{
    return p->left;
}

uint32_t rt_pool_count(const struct rt_pool *p)
{
    return p->count;
}
