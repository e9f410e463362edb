/*
 * be.h - a backend: the bytes behind a logical unit
 *
 * One interface, one row per kind (file, block device, RAM, null). A backend is opened once and used from
 * every core of its host; each operation runs on the core that submits it. Backends know bytes, not blocks
 * or SCSI.
 */
#ifndef CORELANE_TARGET_BE_H
#define CORELANE_TARGET_BE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "reactor/rt.h"

struct be;

struct be_conf {
    const char *kind;                       /* "file", "block", "ram", "null" */
    const char *path;                       /* file, block */
    uint64_t size;                          /* bytes; ram, null, and a file to be made or grown; 0: as it is */
    uint32_t block_len;                     /* bytes: what the logical unit will use, for O_DIRECT's sake */
    bool readonly;
};

struct be_info {
    uint64_t size;                          /* bytes */
    uint32_t phys_len;                      /* bytes; physical block, a power of two */
    bool thin;                              /* unmap gives space back */
    bool zeroes;                            /* unmapped bytes read as zeroes */
    bool volatile_cache;                    /* a write is safe only after a sync */
    bool readonly;
};

/* Blocks (opens, sizes, allocates): from rt_work or at set-up. On refusal *why (borrowed static or from
 * @why_buf) names the thing, the rule and the remedy. Return: 0 or -errno. */
int be_open(struct be **out, const struct be_conf *conf, char why[static 256]);
/* After all operations ended. Accepts NULL. */
void be_close(struct be *be);
void be_info(const struct be *be, struct be_info *out);
/* Grows or shrinks (file, ram, null), or reads the size anew (block, size 0). Blocks. Return: 0 or -errno with
 * @why. Operations under way inside the new size go on undisturbed. */
int be_resize(struct be *be, uint64_t size, char why[static 256]);

/* One operation. done is called once, on the submitting core; for backends that finish at once (ram, null) it
 * may be called from inside the submission. res: 0, or -errno (-EIO, -ENOSPC, ...); short transfers are
 * finished or turned into an error inside. */
struct be_io {
    void (*done)(struct be_io *io, int res);
    /* The rest is the backend's, of whatever was in it before. */
    struct rt_op op;
    struct be *be;
    struct rt *rt;
    const struct iovec *iov;
    unsigned iov_nr;
    uint64_t off, len, moved;
    struct iovec cut;                       /* the last iovec, when it is longer than what is left to move */
    uint64_t want;                          /* bytes of the operation under way */
    unsigned used;                          /* iovecs of it */
    bool fua, unmap;
    struct be_io *next;                     /* in line for a sync */
    struct rt_msg msg;                      /* its result, from the core that made it */
};
/* iov is kept until done and holds len bytes or more. Offsets and lengths in bytes, multiples of block_len; outside
 * the size: -EIO. */
void be_read(struct be *be, struct rt *rt, struct be_io *io, const struct iovec *iov, unsigned n, uint64_t off, uint64_t len);
/* fua: stable at done. */
void be_write(struct be *be, struct rt *rt, struct be_io *io, const struct iovec *iov, unsigned n, uint64_t off, uint64_t len, bool fua);
void be_sync(struct be *be, struct rt *rt, struct be_io *io);
/* That range is about to be read or written: the start of it may be fetched, so that the wait for several of them is one
 * wait. Any core; a range that is not there does no harm. */
void be_soon(struct be *be, uint64_t off, uint64_t len);
/* The range reads as zeroes afterwards. unmap: and gives its space back where it can. */
void be_zero(struct be *be, struct rt *rt, struct be_io *io, uint64_t off, uint64_t len, bool unmap);

#endif
