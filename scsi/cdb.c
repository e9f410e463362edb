/*
 * cdb.c - builders of the commands an initiator sends
 */
#include <string.h>

#include "reactor/rt_bytes.h"
#include "scsi/cdb.h"
#include "scsi/scsi.h"

enum { EVPD = 0x01, FUA = 0x08, WS_UNMAP = 0x08, WS_NDOB = 0x01, SA_READ_CAPACITY_16 = 0x10,
       SA_TARGET_PORT_GROUPS = 0x0a };

static void cdb_clear(uint8_t *cdb, uint8_t op)
{
    memset(cdb, 0, 16);
    cdb[0] = op;
}

/* The commonest layouts of SBC-3: LBA at 2, count at 7 (10 bytes) or 10 (16 bytes). */
static unsigned cdb_block_10(uint8_t *cdb, uint8_t op, uint8_t flags, uint64_t lba, uint32_t blocks)
{
    cdb_clear(cdb, op);
    cdb[1] = flags;
    store_be32(&cdb[2], (uint32_t)lba);
    store_be16(&cdb[7], (uint16_t)blocks);
    return 10;
}

static unsigned cdb_block_16(uint8_t *cdb, uint8_t op, uint8_t flags, uint64_t lba, uint32_t blocks)
{
    cdb_clear(cdb, op);
    cdb[1] = flags;
    store_be64(&cdb[2], lba);
    store_be32(&cdb[10], blocks);
    return 16;
}

static unsigned cdb_block(uint8_t *cdb, uint8_t op10, uint8_t op16, uint8_t flags, uint64_t lba,
                          uint32_t blocks)
{
    if (lba <= UINT32_MAX && blocks <= UINT16_MAX)
        return cdb_block_10(cdb, op10, flags, lba, blocks);
    return cdb_block_16(cdb, op16, flags, lba, blocks);
}

unsigned scsi_cdb_test_unit_ready(uint8_t cdb[static 16])
{
    cdb_clear(cdb, SCSI_TEST_UNIT_READY);
    return 6;
}

unsigned scsi_cdb_inquiry(uint8_t cdb[static 16], uint16_t alloc)
{
    cdb_clear(cdb, SCSI_INQUIRY);
    store_be16(&cdb[3], alloc);
    return 6;
}

unsigned scsi_cdb_inquiry_vpd(uint8_t cdb[static 16], uint8_t page, uint16_t alloc)
{
    cdb_clear(cdb, SCSI_INQUIRY);
    cdb[1] = EVPD;
    cdb[2] = page;
    store_be16(&cdb[3], alloc);
    return 6;
}

unsigned scsi_cdb_report_luns(uint8_t cdb[static 16], uint32_t alloc)
{
    cdb_clear(cdb, SCSI_REPORT_LUNS);
    store_be32(&cdb[6], alloc);
    return 12;
}

unsigned scsi_cdb_read_capacity_10(uint8_t cdb[static 16])
{
    cdb_clear(cdb, SCSI_READ_CAPACITY_10);
    return 10;
}

unsigned scsi_cdb_read_capacity_16(uint8_t cdb[static 16], uint32_t alloc)
{
    cdb_clear(cdb, SCSI_SERVICE_IN_16);
    cdb[1] = SA_READ_CAPACITY_16;
    store_be32(&cdb[10], alloc);
    return 16;
}

unsigned scsi_cdb_mode_sense_6(uint8_t cdb[static 16], uint8_t page, uint8_t alloc)
{
    cdb_clear(cdb, SCSI_MODE_SENSE_6);
    cdb[2] = page & 0x3f;
    cdb[4] = alloc;
    return 6;
}

unsigned scsi_cdb_mode_sense_10(uint8_t cdb[static 16], uint8_t page, uint16_t alloc)
{
    cdb_clear(cdb, SCSI_MODE_SENSE_10);
    cdb[2] = page & 0x3f;
    store_be16(&cdb[7], alloc);
    return 10;
}

unsigned scsi_cdb_read(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool fua)
{
    return cdb_block(cdb, SCSI_READ_10, SCSI_READ_16, fua ? FUA : 0, lba, blocks);
}

unsigned scsi_cdb_write(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool fua)
{
    return cdb_block(cdb, SCSI_WRITE_10, SCSI_WRITE_16, fua ? FUA : 0, lba, blocks);
}

unsigned scsi_cdb_sync_cache(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks)
{
    return cdb_block(cdb, SCSI_SYNC_CACHE_10, SCSI_SYNC_CACHE_16, 0, lba, blocks);
}

unsigned scsi_cdb_write_same_16(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool unmap, bool ndob)
{
    const unsigned flags = (unmap ? WS_UNMAP : 0) | (ndob ? WS_NDOB : 0);

    return cdb_block_16(cdb, SCSI_WRITE_SAME_16, (uint8_t)flags, lba, blocks);
}

unsigned scsi_cdb_unmap(uint8_t cdb[static 16], uint16_t param_len)
{
    cdb_clear(cdb, SCSI_UNMAP);
    store_be16(&cdb[7], param_len);
    return 10;
}

/* SBC-3 r36, "UNMAP command": a header of 8 bytes and one block descriptor of 16. */
void scsi_unmap_param(uint8_t out[static 24], uint64_t lba, uint32_t blocks)
{
    memset(out, 0, 24);
    store_be16(&out[0], 22);
    store_be16(&out[2], 16);
    store_be64(&out[8], lba);
    store_be32(&out[16], blocks);
}

unsigned scsi_cdb_report_groups(uint8_t cdb[static 16], uint32_t alloc)
{
    cdb_clear(cdb, SCSI_MAINTENANCE_IN);
    cdb[1] = SA_TARGET_PORT_GROUPS;
    store_be32(&cdb[6], alloc);
    return 12;
}

unsigned scsi_cdb_set_groups(uint8_t cdb[static 16], uint32_t param_len)
{
    cdb_clear(cdb, SCSI_MAINTENANCE_OUT);
    cdb[1] = SA_TARGET_PORT_GROUPS;
    store_be32(&cdb[6], param_len);
    return 12;
}

/* SPC-4 r36, "SET TARGET PORT GROUPS command": a header of 4 bytes, all reserved, and one descriptor of 4. */
void scsi_set_groups_param(uint8_t out[static 8], uint16_t group, uint8_t state)
{
    memset(out, 0, 8);
    out[4] = state & 0x0f;
    store_be16(&out[6], group);
}
