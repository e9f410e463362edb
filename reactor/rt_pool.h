/*
 * rt_pool.h - fixed-size objects made at start and handed out without allocating
 *
 * A pool belongs to one core. It owns the memory of its objects; who takes one gives it back.
 */
#ifndef CORELANE_RT_POOL_H
#define CORELANE_RT_POOL_H

#include <stddef.h>
#include <stdint.h>

struct rt;
struct rt_pool;

/* @size, @align: bytes (align a power of two); @count: objects. Memory is reserved now and touched as it is
 * first used. Return: 0 or -ENOMEM. */
int rt_pool_new(struct rt_pool **out, size_t size, size_t align, uint32_t count);
/* All objects must be back (asserted). Accepts NULL. */
void rt_pool_free(struct rt_pool *p);

/* NULL when the pool is empty. The bytes mean nothing: they are what an earlier user left, or, in a build with
 * AddressSanitizer, junk. */
void *rt_pool_get(struct rt_pool *p);
void rt_pool_put(struct rt_pool *p, void *obj);
/* It is that core's from now on: rt_mem_move(). Accepts NULL. */
void rt_pool_move(struct rt_pool *p, struct rt *rt);
uint32_t rt_pool_left(const struct rt_pool *p);
uint32_t rt_pool_count(const struct rt_pool *p);

#endif
