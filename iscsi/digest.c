/*
 * digest.c - CRC32C with ISA-L, which takes the CPU's own instructions
 */
#include <string.h>
#include <isa-l/crc.h>
#include "iscsi/digest.h"

/* ISA-L counts in int. */
#define FEED_MAX ((size_t)1 << 30)

uint32_t iscsi_crc_feed(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > FEED_MAX) {
        crc = crc32_iscsi((unsigned char *)(uintptr_t)p, (int)FEED_MAX, crc);
        p += FEED_MAX;
        len -= FEED_MAX;
    }
    if (!len)
        return crc;
    return crc32_iscsi((unsigned char *)(uintptr_t)p, (int)len, crc);   /* reads only, for all its type says */
}

void iscsi_crc_wire(uint32_t crc, uint8_t out[static ISCSI_DIGEST_LEN])
{
    crc = ~crc;
    for (unsigned i = 0; i < ISCSI_DIGEST_LEN; i++)
        out[i] = (uint8_t)(crc >> 8 * i);
}

int iscsi_crc_matches(uint32_t crc, const uint8_t wire[static ISCSI_DIGEST_LEN])
{
    uint8_t own[ISCSI_DIGEST_LEN];

    iscsi_crc_wire(crc, own);
    return memcmp(own, wire, sizeof(own)) == 0;
}
