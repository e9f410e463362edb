/*
 * stamp.c - see stamp.h
 */
#include <string.h>

#include "tests/sim/stamp.h"

enum { WORDS = STAMP_LEN / 8 };
#define MAGIC 0x6e616c65726f6300ull         /* beside the unit's number */

static uint64_t place_of(uint32_t sector, unsigned per_block, uint64_t value)
{
    return value & STAMP_SAME ? ~0ull << 32 | sector % per_block : sector;
}

/* The words after the first three: cheap, and different for every value and place. */
static uint64_t word(uint64_t value, uint64_t place, unsigned i)
{
    return (value * 0x9e3779b97f4a7c15ull ^ place * 0xd1b54a32d192ed03ull) + i * 0xbf58476d1ce4e5b9ull;
}

void stamp_put(uint8_t *out, unsigned unit, uint32_t sector, unsigned per_block, uint64_t value)
{
    const uint64_t place = place_of(sector, per_block, value);
    uint64_t w[WORDS];

    if (!value) {
        memset(out, 0, STAMP_LEN);
        return;
    }
    w[0] = MAGIC + unit;
    w[1] = value;
    w[2] = place;
    for (unsigned i = 3; i < WORDS; i++)
        w[i] = word(value, place, i);
    memcpy(out, w, sizeof(w));
}

const char *stamp_get(const uint8_t *in, unsigned unit, uint32_t sector, unsigned per_block, uint64_t *value)
{
    uint64_t w[WORDS], bad = 0;

    memcpy(w, in, sizeof(w));
    *value = 0;
    if (!w[0] && !w[1]) {
        for (unsigned i = 0; i < WORDS; i++)
            bad |= w[i];
        return bad ? "zeroes, and then something else" : NULL;
    }
    if (w[0] - MAGIC > 255)
        return "bytes that nobody wrote";
    if (w[0] != MAGIC + unit)
        return "what was written to another unit";
    if (w[2] != place_of(sector, per_block, w[1]))
        return "what was written to another place";
    for (unsigned i = 3; i < WORDS; i++)
        bad |= w[i] ^ word(w[1], w[2], i);
    *value = w[1];
    return bad ? "a part of another write" : NULL;
}

void stamp_spoil(uint8_t *out)
{
    memset(out, 0xee, 24);
}
