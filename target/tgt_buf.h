/*
 * tgt_buf.h - data buffers of a core: page-aligned chunks of two sizes, bounded in all
 *
 * One pool a core, used by that core's sessions only. Two sizes, so that a 4 KiB write does not spread over
 * the cache what a 64 KiB one needs; both are handed out last in, first out. What unsolicited data may hold
 * is bounded to half of each size: the other half always comes back, because who waits for it holds nothing
 * of it and who has it needs nothing more.
 */
#ifndef CORELANE_TARGET_TGT_BUF_H
#define CORELANE_TARGET_TGT_BUF_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "reactor/rt_pool.h"
#include "target/lun.h"

#define BUF_SMALL_LEN (8u * 1024)
#define BUF_LARGE_LEN (64u * 1024)
#define BUF_MEM_DEFAULT (64u << 20)         /* bytes a core */
#define BUF_MEM_MIN     (16u << 20) /* half of it must hold one transfer of LUN_TRANSFER_MAX twice over */
/* Unsolicited data first, in small or large chunks, then the rest. */
#define BUF_CHUNKS_MAX (LUN_TRANSFER_MAX / BUF_LARGE_LEN + 2)

struct buf_pool;

/* What one task holds. iov[] is what the datamover and the logical unit see. */
struct buf_list {
    uint32_t len;                           /* bytes of room in all */
    uint16_t nr;
    uint16_t unsolicited[2];                /* chunks counted as unsolicited, by size */
    bool large[BUF_CHUNKS_MAX];
    struct iovec iov[BUF_CHUNKS_MAX];
};

/* @mem: bytes, at least BUF_MEM_MIN; reserved now, touched as used. Set-up only. Return: 0 or -ENOMEM. */
int buf_pool_new(struct buf_pool **out, size_t mem);
/* Accepts NULL. Everything must be back (asserted). */
void buf_pool_free(struct buf_pool *p);

/* An empty list; holds nothing yet. */
static inline void buf_list_init(struct buf_list *l)
{
    l->len = 0;
    l->nr = 0;
    l->unsolicited[0] = l->unsolicited[1] = 0;
}

/**
 * buf_grow - give a list room for @len bytes in all, or leave it as it is
 * @len: bytes, at most LUN_TRANSFER_MAX
 * @unsolicited: the data come unasked: counts against their half
 *
 * Return: true, or false when the pool has not enough.
 */
bool buf_grow(struct buf_pool *p, struct buf_list *l, uint32_t len, bool unsolicited);
/* All chunks back, whatever buf_trim() did. */
void buf_release(struct buf_pool *p, struct buf_list *l);
/* Cuts the iovecs to @len bytes exactly, for the logical unit; what is cut comes back with buf_release() all
 * the same. Return: how many iovecs hold something. */
unsigned buf_trim(struct buf_list *l, uint32_t len);

/* One chunk by itself, for text and pings; counts as unsolicited. @len: at most BUF_LARGE_LEN. NULL: none
 * left. */
void *buf_one_get(struct buf_pool *p, uint32_t len);
void buf_one_put(struct buf_pool *p, void *chunk, uint32_t len);   /* @len as given to buf_one_get() */

/* True when nothing is handed out: the balance that tests and tgt_stop() look at. */
bool buf_pool_idle(const struct buf_pool *p);

#endif
