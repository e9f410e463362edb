/*
 * cdb.h - what an initiator sends and what it reads from the answers: builders and parsers, pure
 *
 * Builders write a whole 16-byte CDB and return its length. Parsers take what came, with its real length,
 * believe no length field beyond it, and write on success only.
 */
#ifndef CORELANE_SCSI_CDB_H
#define CORELANE_SCSI_CDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

unsigned scsi_cdb_test_unit_ready(uint8_t cdb[static 16]);
unsigned scsi_cdb_inquiry(uint8_t cdb[static 16], uint16_t alloc);
unsigned scsi_cdb_inquiry_vpd(uint8_t cdb[static 16], uint8_t page, uint16_t alloc);
unsigned scsi_cdb_report_luns(uint8_t cdb[static 16], uint32_t alloc);
unsigned scsi_cdb_read_capacity_10(uint8_t cdb[static 16]);
unsigned scsi_cdb_read_capacity_16(uint8_t cdb[static 16], uint32_t alloc);
unsigned scsi_cdb_mode_sense_6(uint8_t cdb[static 16], uint8_t page, uint8_t alloc);
unsigned scsi_cdb_mode_sense_10(uint8_t cdb[static 16], uint8_t page, uint16_t alloc);
/* READ and WRITE (10) where lba and blocks fit in it, else (16). */
unsigned scsi_cdb_read(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool fua);
unsigned scsi_cdb_write(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool fua);
unsigned scsi_cdb_sync_cache(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks);   /* 0, 0: all */
unsigned scsi_cdb_write_same_16(uint8_t cdb[static 16], uint64_t lba, uint32_t blocks, bool unmap, bool ndob);
unsigned scsi_cdb_unmap(uint8_t cdb[static 16], uint16_t param_len);
/* One descriptor; @out 24 bytes. */
void scsi_unmap_param(uint8_t out[static 24], uint64_t lba, uint32_t blocks);
/* REPORT and SET TARGET PORT GROUPS. */
unsigned scsi_cdb_report_groups(uint8_t cdb[static 16], uint32_t alloc);
unsigned scsi_cdb_set_groups(uint8_t cdb[static 16], uint32_t param_len);
/* One descriptor: @group is to have the access state @state, as coded there. */
void scsi_set_groups_param(uint8_t out[static 8], uint16_t group, uint8_t state);

struct scsi_inquiry {                       /* SPC-4 r36, "Standard INQUIRY data"; texts trimmed, NUL-terminated */
    uint8_t qualifier, device_type, version;
    bool removable, tpgs_implicit, tpgs_explicit;
    char vendor[9], product[17], revision[5];
};
int scsi_inquiry_parse(struct scsi_inquiry *out, const uint8_t *data, size_t len);

struct scsi_capacity {
    uint64_t blocks;                        /* how many, not the last one's number */
    uint32_t block_len;                     /* bytes; 512..65536, a power of two, else -EPROTO */
    uint32_t phys_block_len;                /* bytes */
    bool lbpme, lbprz, prot;                /* thin; unmapped blocks read as zeroes; protection information */
};
/* blocks 0x1_0000_0000: too large for READ CAPACITY (10), ask (16). */
int scsi_capacity_10_parse(struct scsi_capacity *out, const uint8_t *data, size_t len);
int scsi_capacity_16_parse(struct scsi_capacity *out, const uint8_t *data, size_t len);

/* LUNs in the order given; entries of formats not known are left out. Return: how many, at most max, or -EPROTO. */
int scsi_report_luns_parse(uint16_t *out, size_t max, const uint8_t *data, size_t len);

/* What identifies a logical unit, best first: NAA, EUI-64, SCSI name string, T10 vendor ID, vendor specific; those
 * of association "logical unit" only. As multipath and udev print it: "3" + hex for NAA, "2" for EUI-64, "8" name,
 * "1" T10. Source: SPC-4 r36, "Device Identification VPD page". Return: 0, or -ENOENT, or -EPROTO. */
#define SCSI_WWID_MAX 256
int scsi_vpd_83_parse(char wwid[static SCSI_WWID_MAX], const uint8_t *data, size_t len);
/* Through which port the page was asked for: the relative target port and target port group designators, of association
 * "target port". Return: 0, -ENOENT where it tells neither, -EPROTO. */
struct scsi_port {
    bool has_group, has_port;
    uint16_t group, port;
};
int scsi_vpd_83_port(struct scsi_port *out, const uint8_t *data, size_t len);
int scsi_vpd_80_parse(char serial[static SCSI_WWID_MAX], const uint8_t *data, size_t len);

struct scsi_limits {                        /* VPD B0, B2, B1; 0: not reported */
    uint32_t transfer_max, transfer_opt;    /* blocks */
    uint64_t write_same_max;                /* blocks */
    uint32_t unmap_max, unmap_descs_max;    /* blocks, descriptors */
    uint32_t unmap_granularity, unmap_alignment;   /* blocks */
    uint32_t caw_max;                       /* blocks */
    bool lbpu, lbpws, lbpws10;              /* UNMAP, WRITE SAME (16), (10) with UNMAP */
    uint16_t rotation;                      /* 1: solid state */
};
/* Each fills its own fields of @out, which the caller zeroed. */
int scsi_vpd_b0_parse(struct scsi_limits *out, const uint8_t *data, size_t len);
int scsi_vpd_b1_parse(struct scsi_limits *out, const uint8_t *data, size_t len);
int scsi_vpd_b2_parse(struct scsi_limits *out, const uint8_t *data, size_t len);
/* VPD 00: whether @page is there. */
bool scsi_vpd_00_has(const uint8_t *data, size_t len, uint8_t page);

/* The target port group that @at is in: by its number; where that is not known, one that lists the port; where neither is,
 * the only one there is. Source: SPC-4 r36, "REPORT TARGET PORT GROUPS command", length only header.
 * Return: 0; -ENOENT: it is not there; -EPROTO: a state that there is not, or no answer at all. */
struct scsi_group {
    uint8_t state;                          /* 0..4, 14, 15: asymmetric access state as coded there */
    bool preferred;
    uint16_t group;
};
int scsi_groups_parse(struct scsi_group *out, const struct scsi_port *at, const uint8_t *data, size_t len);

struct scsi_mode {                          /* MODE SENSE (6) or (10) with the caching page, as far as present */
    bool write_protect, dpofua, has_caching, wce, rcd;
};
int scsi_mode_parse(struct scsi_mode *out, const uint8_t *data, size_t len, bool ten);

#endif
