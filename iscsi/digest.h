/*
 * digest.h - CRC32C as header and data digests use it (RFC 7143 13.1, RFC 3385)
 */
#ifndef CORELANE_ISCSI_DIGEST_H
#define CORELANE_ISCSI_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define ISCSI_DIGEST_LEN 4u

/* Start with ISCSI_CRC_INIT, feed what comes, padding included, and end with iscsi_crc_wire(), which stores
 * the 4 bytes in the order they travel (the remainder's least significant byte first). Any thread. */
#define ISCSI_CRC_INIT 0xffffffffu
uint32_t iscsi_crc_feed(uint32_t crc, const void *data, size_t len);
void iscsi_crc_wire(uint32_t crc, uint8_t out[static ISCSI_DIGEST_LEN]);
int iscsi_crc_matches(uint32_t crc, const uint8_t wire[static ISCSI_DIGEST_LEN]);

#endif
