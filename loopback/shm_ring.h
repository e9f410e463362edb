/*
 * shm_ring.h - one end of a ring: what is written into the shared memory, and what of it is believed
 *
 * Each side counts for itself. Of the other side's words two are read: a slot's number, which makes the slot valid, and
 * how many slots it has taken, which is judged. Nothing else in the shared memory is read twice.
 */
#ifndef CORELANE_LOOPBACK_SHM_RING_H
#define CORELANE_LOOPBACK_SHM_RING_H

#include <errno.h>
#include <string.h>
#include "loopback/ring.h"

#define SHM_MASK (LOOP_SLOTS - 1)

static_assert((LOOP_DATA_LEN & (LOOP_DATA_LEN - 1)) == 0, "places in the data area are found by masking");

/* ---- producing ------------------------------------------------------------------------------------------- */

struct shm_tx {
    struct loop_ring *ring;
    uint32_t head;                 /* slots written since the start, and the number of the last */
    uint32_t taken;                /* of them, as far as the other side was last believed */
    uint32_t data_head, data_tail; /* bytes given out and given back since the start, modulo 2^32 */
    uint32_t data_end[LOOP_SLOTS]; /* data_head behind each slot: what comes back with it */
};

/* Looks how much was taken. Return: 0; -EPROTO: more than was written, or less than before. */
static inline int shm_tx_look(struct shm_tx *tx)
{
    /* Acquire pairs with the release in shm_rx_release(): slots and data that are written anew have been read. */
    const uint32_t taken = atomic_load_explicit(&tx->ring->taken, memory_order_acquire);

    if (taken == tx->taken)
        return 0;
    if (tx->head - taken > tx->head - tx->taken)
        return -EPROTO;
    tx->taken = taken;
    tx->data_tail = tx->data_end[(taken - 1) & SHM_MASK];
    return 0;
}

/* Bytes at the end of the data area that are left unused so that @len bytes lie together. */
static inline uint32_t shm_tx_gap(const struct shm_tx *tx, uint32_t len)
{
    const uint32_t left = LOOP_DATA_LEN - (tx->data_head & (LOOP_DATA_LEN - 1));

    return len <= left ? 0 : left;
}

/* By what was seen last. */
static inline bool shm_tx_has_room(const struct shm_tx *tx, uint32_t len)
{
    if (tx->head - tx->taken >= LOOP_SLOTS)
        return false;
    return !len || shm_tx_gap(tx, len) + len <= LOOP_DATA_LEN - (tx->data_head - tx->data_tail);
}

/* Return: 0; -EAGAIN: a slot, or @len bytes of the data area (at most LOOP_DATA_MAX), are not free; -EPROTO. */
static inline int shm_tx_room(struct shm_tx *tx, uint32_t len)
{
    int err;

    if (shm_tx_has_room(tx, len))
        return 0;
    if ((err = shm_tx_look(tx)))
        return err;
    return shm_tx_has_room(tx, len) ? 0 : -EAGAIN;
}

/* Data of the slot that is pushed next, after there was room. Return: where they lie, for the slot. */
static inline uint32_t shm_tx_data(struct shm_tx *tx, const void *data, uint32_t len)
{
    uint32_t off;

    tx->data_head += shm_tx_gap(tx, len);
    off = tx->data_head & (LOOP_DATA_LEN - 1);
    memcpy(tx->ring->data + off, data, len);
    tx->data_head += len;
    return off;
}

/* The next slot, after there was room: written in place, which spares a copy through memory that was written in small
 * pieces a moment ago, and which a processor can only read again once they have arrived. What the peer does to it before
 * it is pushed is its own affair: nothing that matters is read back. */
static inline struct loop_slot *shm_tx_slot(const struct shm_tx *tx)
{
    return &tx->ring->slot[tx->head & SHM_MASK]; /* by our own count, which no peer can alter */
}

/* That slot is written. */
static inline void shm_tx_push(struct shm_tx *tx)
{
    struct loop_slot *s = shm_tx_slot(tx);

    tx->data_end[tx->head & SHM_MASK] = tx->data_head;
    /* Release pairs with the acquire in shm_rx_ready(): who sees the number sees the slot, and its data. */
    atomic_store_explicit(&s->seq, ++tx->head, memory_order_release);
}

/* What the other side has not taken is none any more; it may be taking one at this moment. The oldest first: who takes them in
 * their order comes to none behind it. */
static inline void shm_tx_recall(struct shm_tx *tx)
{
    (void)shm_tx_look(tx); /* else by what was believed last: a slot too many does no harm */
    for (uint32_t n = tx->taken; n != tx->head; n++)
        atomic_store_explicit(&tx->ring->slot[n & SHM_MASK].seq, n, memory_order_release); /* instead of n + 1 */
}

/* ---- consuming ------------------------------------------------------------------------------------------- */

struct shm_rx {
    struct loop_ring *ring;
    uint32_t taken; /* slots taken since the start */
};

static inline bool shm_rx_ready(const struct shm_rx *rx)
{
    const struct loop_slot *s = &rx->ring->slot[rx->taken & SHM_MASK];

    return atomic_load_explicit(&s->seq, memory_order_acquire) == rx->taken + 1;
}

/* Copies from memory that the other side may be writing at this moment: what comes out is whatever it is, but it stays. */
static inline void shm_copy_once(void *to, const void *from, size_t len)
{
    memcpy(to, from, len);
    /* Or the compiler might read the shared memory again in the place of the copy. */
    atomic_signal_fence(memory_order_seq_cst);
}

/* Return: false: there is none. @out is private from then on; the slot is its writer's again with shm_rx_release(). */
static inline bool shm_rx_take(struct shm_rx *rx, struct loop_slot *out)
{
    const struct loop_slot *s;

    if (!shm_rx_ready(rx))
        return false;
    s = &rx->ring->slot[rx->taken++ & SHM_MASK];
    out->off = s->off;
    out->len = s->len;
    shm_copy_once(out->bhs, s->bhs, ISCSI_BHS_LEN);
    __builtin_prefetch(&rx->ring->slot[rx->taken & SHM_MASK]);
    return true;
}

/* Gives back all that were taken, and their data. */
static inline void shm_rx_release(struct shm_rx *rx)
{
    /* Release pairs with the acquire in shm_tx_look(). */
    atomic_store_explicit(&rx->ring->taken, rx->taken, memory_order_release);
}

#endif
