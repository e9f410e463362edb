/*
 * nbd_wire.h - requests and replies of the NBD protocol as the kernel's client speaks it
 *
 * Source: NetworkBlockDevice/nbd doc/proto.md, "Transmission phase" (simple replies); linux/nbd.h has its
 * older half.
 */
#ifndef CORELANE_EXPORT_NBD_WIRE_H
#define CORELANE_EXPORT_NBD_WIRE_H

#include <errno.h>
#include <stdint.h>

#include "reactor/rt_bytes.h"

#define NBD_REQUEST_LEN 28u
#define NBD_REPLY_LEN 16u
#define NBD_WIRE_REQUEST 0x25609513u
#define NBD_WIRE_REPLY 0x67446698u

enum nbd_type {
    NBD_READ = 0, NBD_WRITE = 1, NBD_DISC = 2, NBD_FLUSH = 3, NBD_TRIM = 4, NBD_WRITE_ZEROES = 6,
};

#define NBD_RQ_FUA 1u                       /* command flags */
#define NBD_RQ_NO_HOLE 2u

#define NBD_HAS_FLAGS 1u                    /* transmission flags, told to the kernel */
#define NBD_READ_ONLY 2u
#define NBD_SEND_FLUSH 4u
#define NBD_SEND_FUA 8u
#define NBD_ROTATIONAL 16u
#define NBD_SEND_TRIM 32u
#define NBD_SEND_WRITE_ZEROES 64u           /* kernels before 6.11 ignore it */

struct nbd_rq {
    uint16_t flags, type;
    uint64_t handle;                        /* the kernel's, as it came */
    uint64_t off;                           /* bytes */
    uint32_t len;                           /* bytes */
};

/* Pure. Return: 0, or -EPROTO when it does not begin as a request: the stream is of no use any more. */
static inline int nbd_rq_decode(struct nbd_rq *out, const uint8_t wire[static NBD_REQUEST_LEN])
{
    if (load_be32(&wire[0]) != NBD_WIRE_REQUEST)
        return -EPROTO;
    *out = (struct nbd_rq){
        .flags = load_be16(&wire[4]),
        .type = load_be16(&wire[6]),
        .off = load_be64(&wire[16]),
        .len = load_be32(&wire[24]),
    };
    memcpy(&out->handle, &wire[8], sizeof(out->handle));
    return 0;
}

/* err: 0 or -errno; becomes the nearest of the protocol's own numbers ("Error values"). */
static inline void nbd_reply_encode(uint8_t wire[static NBD_REPLY_LEN], uint64_t handle, int err)
{
    static const struct {
        int err;
        uint32_t wire;
    } map[] = {
        { 0, 0 },        { -EPERM, 1 },   { -EROFS, 1 },       { -ENOMEM, 12 },
        { -EINVAL, 22 }, { -ENOSPC, 28 }, { -EOPNOTSUPP, 95 },
    };
    uint32_t code = 5;                      /* EIO */

    for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (map[i].err == err)
            code = map[i].wire;
    store_be32(&wire[0], NBD_WIRE_REPLY);
    store_be32(&wire[4], code);
    memcpy(&wire[8], &handle, sizeof(handle));
}

#endif
