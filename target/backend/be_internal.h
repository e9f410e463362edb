/*
 * be_internal.h - what the backends share: one row of functions a kind
 */
#ifndef CORELANE_BE_INTERNAL_H
#define CORELANE_BE_INTERNAL_H

#include <stdatomic.h>

#include "target/backend/be.h"

struct be_ops {
    const char *kind;
    /* Makes *out; on failure leaves nothing behind but a file that it may have created. */
    int (*open)(struct be **out, const struct be_conf *conf, char why[static 256]);
    void (*close)(struct be *be);
    int (*resize)(struct be *be, uint64_t size, char why[static 256]);   /* sets be->size */
    /* io is filled in; ends in be_io_end(). */
    void (*read)(struct be_io *io);
    void (*write)(struct be_io *io);
    void (*sync)(struct be_io *io);
    void (*zero)(struct be_io *io);
    void (*soon)(struct be *be, uint64_t off, uint64_t len);     /* inside the size; NULL: nothing to be gained */
};

struct be {                                 /* first member of each kind's own struct */
    const struct be_ops *ops;
    struct be_info info;                    /* size excepted: it is below */
    uint32_t block_len;
    _Atomic uint64_t size;                  /* written by be_resize(), read on every core */
};

extern const struct be_ops be_file_ops, be_block_ops, be_ram_ops, be_null_ops;

/* The size rules that hold for every kind. Return: 0, or -EINVAL with @why. */
int be_size_check(uint64_t size, uint32_t block_len, const char *what, char why[static 256]);

static inline void be_io_end(struct be_io *io, int res)
{
    io->done(io, res);                      /* io may be gone */
}

#endif
