/*
 * slab.h - memory for the data of an export's requests, one piece for all of them
 *
 * The piece is the disk's (mpio_buf_get()): over shared memory what lies in it is not copied on its way to the target.
 * A request takes as many pages of it as its data need, so a few MiB serve a deep queue of small requests; who finds no
 * room uses memory of its own, which is as right and costs the copy. Nothing here allocates but opening and exchanging.
 */
#ifndef CORELANE_EXPORT_SLAB_H
#define CORELANE_EXPORT_SLAB_H

#include "mpio/disk.h"

#define EXP_PAGE         4096u
#define EXP_SLAB_LEN     (4u << 20) /* bytes; of the smallest arena what one buffer may be at most */
#define EXP_SLAB_LEN_MIN (2u << 20) /* what is taken where there is no room for more */

struct exp_slab {
    struct mpio_disk *disk; /* NULL: closed */
    uint8_t *mem;
    uint32_t pages, used;
    bool leaving;     /* another is to take its place: nothing is taken from it any more */
    bool must;        /* whether or not that is better */
    uint64_t look_ns; /* no other is looked for before */
    uint64_t taken[EXP_SLAB_LEN / EXP_PAGE / 64];
};

/* On the disk's core. Return: 0 or -ENOMEM. */
int exp_slab_open(struct exp_slab *s, struct mpio_disk *disk);
/* Nothing is taken (asserted). Accepts one that was zeroed and never opened. On the disk's core. */
void exp_slab_close(struct exp_slab *s);
size_t exp_slab_len(const struct exp_slab *s); /* bytes at s->mem */
/* Makes sure that memory nobody uses yet is there, so that no request has to wait for a page when memory is short. Any
 * thread; blocks shortly. */
void exp_touch(void *mem, size_t len);
/* On a page boundary, of whatever was in it before. NULL: no room now (always for len 0, or more than there is). */
void *exp_slab_get(struct exp_slab *s, size_t len);
/* Gives back what lies behind the first @keep bytes (not 0) of what was taken for @len. It counts as taken for @keep then. */
void exp_slab_trim(struct exp_slab *s, const void *mem, size_t len, size_t keep);
void exp_slab_put(struct exp_slab *s, const void *mem, size_t len);
/* Exchanges the buffer now, or once all of it is back, where it is not as good as can be any more, and be it for a worse
 * one: its owner may wait for it. Accepts a closed one. */
void exp_slab_look(struct exp_slab *s);

#endif
