/*
 * ring.h - what lies in the memory that two processes share, and what crosses the unix socket before
 *
 * Nobody outside loopback/ includes it. Both ends are built from this header or do not get together: LOOP_VERSION is in
 * the negotiation. Host byte order: it is one host.
 */
#ifndef CORELANE_LOOPBACK_RING_H
#define CORELANE_LOOPBACK_RING_H

#include <assert.h>
#include <stdatomic.h>
#include "iscsi/pdu.h"
#include "loopback/loop.h"
#include "reactor/rt.h"

#define LOOP_VERSION 1u
#define LOOP_SLOTS 512u                     /* in each ring; more than a window of commands and all that goes beside it */
#define LOOP_DATA_LEN (256u * 1024)         /* bytes: data of PDUs that have no arena, a ring of its own beside each */
#define LOOP_DATA_MAX (64u * 1024)          /* bytes of one such PDU */

/*
 * A PDU. @off says where its data lie:
 *   SCSI Command, Data-In    in the arena; a command's place for all of its data, edtl bytes, however little of it moves;
 *                            Data-In: the same, @len bytes of it are there. @len 0: no data
 *   all others               in the data area of this ring, @len bytes
 * The header is as on the wire, but for what the slot says better: DataSegmentLength is 0, and digests and padding do not
 * occur. TotalAHSLength is 0 (no command of ours has one; a longer CDB is rejected).
 *
 * @seq makes it valid: the number of the slot, counted from 1 without end, modulo 2^32 (0 of memory never written is
 * never expected first). Written last, with release; read first, with acquire. So the line that carries the PDU is the
 * only one that moves between the cores for it.
 */
struct loop_slot {
    uint8_t bhs[ISCSI_BHS_LEN];
    uint64_t off;
    uint32_t len;
    _Atomic uint32_t seq;
};
static_assert(sizeof(struct loop_slot) == RT_CACHE_LINE, "a slot is a cache line");
static_assert((LOOP_SLOTS & (LOOP_SLOTS - 1)) == 0, "slots are found by masking");
static_assert(LOOP_DATA_LEN >= 2 * LOOP_DATA_MAX, "one fits wherever the area wraps");

/* One way. What each line holds is written by one side alone. */
struct loop_ring {
    /* The consumer's: slots it has taken, counted like seq. The producer looks when it believes the ring full. */
    _Alignas(RT_CACHE_LINE) _Atomic uint32_t taken;
    /* The consumer's: 1: it sleeps, send it a byte. A line of its own: while both are awake nobody writes it. */
    _Alignas(RT_CACHE_LINE) _Atomic uint32_t asleep;
    _Alignas(RT_CACHE_LINE) struct loop_slot slot[LOOP_SLOTS];
    _Alignas(RT_CACHE_LINE) uint8_t data[LOOP_DATA_LEN];
};

struct loop_rings {
    struct loop_ring to_target, to_initiator;
};
#define LOOP_RINGS_LEN ((sizeof(struct loop_rings) + 4095) & ~4095ul)    /* of the memory handed over */

/* ---- the unix socket ------------------------------------------------------------------------------------ */

/* The initiator's only message, with two memories: rings, arena. */
struct loop_hello {
    uint8_t magic[8];                       /* LOOP_MAGIC */
    uint8_t token[LOOP_TOKEN_LEN];
    uint32_t version;
    uint32_t zero;
};
#define LOOP_MAGIC "corelane"
static_assert(sizeof(struct loop_hello) == 32, "no padding crosses");

/* The target's answer; bytes that follow, either way, only wake. */
struct loop_welcome {
    int32_t err;                            /* 0, or -errno of what the target did not like */
};

#endif
