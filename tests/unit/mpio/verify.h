/*
 * verify.h - a target with a unit in memory, on two cores, for tests that verify what they read; and what they write
 */
#ifndef CORELANE_TESTS_MPIO_VERIFY_H
#define CORELANE_TESTS_MPIO_VERIFY_H

#include "../target/tgt_peer.h"

static struct bed bed;

static inline uint32_t verify_next(uint32_t seed)
{
    return seed * 1664525u + 1013904223u;
}

static inline void verify_fill(uint8_t *p, uint32_t len, uint32_t seed)
{
    for (uint32_t i = 0; i < len; i++) {
        seed = verify_next(seed);
        p[i] = (uint8_t)(seed >> 24);
    }
}

static inline bool verify_right(const uint8_t *p, uint32_t len, uint32_t seed)
{
    for (uint32_t i = 0; i < len; i++) {
        seed = verify_next(seed);
        if (p[i] != (uint8_t)(seed >> 24))
            return false;
    }
    return true;
}

/* @size: of the unit, bytes */
static inline int verify_bed(uint64_t size)
{
    bed_loopback = true;
    bed_start(&bed, 2);
    json_decref(bed_call(&bed, "target.create", json_pack("{s:s}", "iqn", T_IQN)));
    json_decref(bed_call(&bed, "lun.create",
                         json_pack("{s:s, s:s, s:I}", "iqn", T_IQN, "kind", "ram", "size", (json_int_t)size)));
    return 0;
}

static inline int verify_bed_end(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

#endif
