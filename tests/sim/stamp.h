/*
 * stamp.h - what a sector holds: who wrote it and where it belongs
 *
 * A value is a number that no other write of a scene has. A sector with it is filled to the last byte with words
 * made of value, unit and place, so whatever else is found in a sector is told at once: a wrong unit, a wrong
 * place, a part of another write, or bytes that nobody wrote.
 */
#ifndef CORELANE_SIM_STAMP_H
#define CORELANE_SIM_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#define STAMP_LEN 512u                      /* bytes: a sector */

/* Values: writer in the upper 16 bits, and a count. One with STAMP_SAME was written by WRITE SAME: its sectors tell
 * their place in a block only. */
#define STAMP_SAME (1ull << 47)
static inline uint64_t stamp_value(unsigned writer, uint64_t count, bool same)
{
    return (uint64_t)(writer + 1) << 48 | (same ? STAMP_SAME : 0) | count;
}

/* @value 0: zeroes. @sector: from the start of the unit; @per_block: sectors in a block. */
void stamp_put(uint8_t *out, unsigned unit, uint32_t sector, unsigned per_block, uint64_t value);
/* What the sector holds. Return: NULL, or what is wrong with it. */
const char *stamp_get(const uint8_t *in, unsigned unit, uint32_t sector, unsigned per_block, uint64_t *value);
/* Makes a sector such that it holds nothing that stamp_get() takes. */
void stamp_spoil(uint8_t *out);

#endif
