/*
 * scsi.h - SCSI as bytes: status, sense data, LUN addresses and operation codes (SAM-5, SPC-4, SBC-3)
 */
#ifndef CORELANE_SCSI_H
#define CORELANE_SCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCSI_CDB_LEN_MAX 260u               /* SPC-4: variable length CDBs */
#define SCSI_SENSE_LEN_MAX 252u             /* SPC-4 r36, "Sense data" */

enum scsi_status {                          /* SAM-5 r21, "Status codes" */
    SCSI_GOOD = 0x00,
    SCSI_CHECK_CONDITION = 0x02,
    SCSI_CONDITION_MET = 0x04,
    SCSI_BUSY = 0x08,
    SCSI_RESERVATION_CONFLICT = 0x18,
    SCSI_TASK_SET_FULL = 0x28,
    SCSI_ACA_ACTIVE = 0x30,
    SCSI_TASK_ABORTED = 0x40,
};

enum scsi_sense_key {                       /* SPC-4 r36, "Sense key and additional sense code definitions" */
    SCSI_NO_SENSE = 0x0,
    SCSI_RECOVERED_ERROR = 0x1,
    SCSI_NOT_READY = 0x2,
    SCSI_MEDIUM_ERROR = 0x3,
    SCSI_HARDWARE_ERROR = 0x4,
    SCSI_ILLEGAL_REQUEST = 0x5,
    SCSI_UNIT_ATTENTION = 0x6,
    SCSI_DATA_PROTECT = 0x7,
    SCSI_BLANK_CHECK = 0x8,
    SCSI_COPY_ABORTED = 0xa,
    SCSI_ABORTED_COMMAND = 0xb,
    SCSI_MISCOMPARE = 0xe,
};

enum scsi_op {                              /* SPC-4 and SBC-3, operation codes */
    SCSI_TEST_UNIT_READY = 0x00,
    SCSI_REQUEST_SENSE = 0x03,
    SCSI_READ_6 = 0x08,
    SCSI_WRITE_6 = 0x0a,
    SCSI_INQUIRY = 0x12,
    SCSI_MODE_SELECT_6 = 0x15,
    SCSI_RESERVE_6 = 0x16,
    SCSI_RELEASE_6 = 0x17,
    SCSI_MODE_SENSE_6 = 0x1a,
    SCSI_START_STOP_UNIT = 0x1b,
    SCSI_SEND_DIAGNOSTIC = 0x1d,
    SCSI_PREVENT_ALLOW = 0x1e,
    SCSI_READ_CAPACITY_10 = 0x25,
    SCSI_READ_10 = 0x28,
    SCSI_WRITE_10 = 0x2a,
    SCSI_WRITE_VERIFY_10 = 0x2e,
    SCSI_VERIFY_10 = 0x2f,
    SCSI_PREFETCH_10 = 0x34,
    SCSI_SYNC_CACHE_10 = 0x35,
    SCSI_READ_DEFECT_10 = 0x37,
    SCSI_WRITE_SAME_10 = 0x41,
    SCSI_UNMAP = 0x42,
    SCSI_LOG_SENSE = 0x4d,
    SCSI_MODE_SELECT_10 = 0x55,
    SCSI_RESERVE_10 = 0x56,
    SCSI_RELEASE_10 = 0x57,
    SCSI_MODE_SENSE_10 = 0x5a,
    SCSI_PR_IN = 0x5e,
    SCSI_PR_OUT = 0x5f,
    SCSI_READ_16 = 0x88,
    SCSI_COMPARE_AND_WRITE = 0x89,
    SCSI_WRITE_16 = 0x8a,
    SCSI_ORWRITE_16 = 0x8b,
    SCSI_WRITE_VERIFY_16 = 0x8e,
    SCSI_VERIFY_16 = 0x8f,
    SCSI_PREFETCH_16 = 0x90,
    SCSI_SYNC_CACHE_16 = 0x91,
    SCSI_WRITE_SAME_16 = 0x93,
    SCSI_WRITE_ATOMIC_16 = 0x9c,
    SCSI_SERVICE_IN_16 = 0x9e,              /* 10 READ CAPACITY (16), 12 GET LBA STATUS */
    SCSI_REPORT_LUNS = 0xa0,
    SCSI_MAINTENANCE_IN = 0xa3,             /* 0A REPORT TARGET PORT GROUPS, 0C REPORT SUPPORTED OPERATION CODES */
    SCSI_MAINTENANCE_OUT = 0xa4,
    SCSI_READ_12 = 0xa8,
    SCSI_WRITE_12 = 0xaa,
    SCSI_WRITE_VERIFY_12 = 0xae,
    SCSI_VERIFY_12 = 0xaf,
    SCSI_READ_DEFECT_12 = 0xb7,
};

/* ---- sense -------------------------------------------------------------------------------------------- */

struct scsi_sense {                         /* key 0 with asc 0: no sense */
    uint8_t key, asc, ascq;
    bool has_info;
    uint64_t info;                          /* INFORMATION: an LBA, an offset */
    bool has_field;                         /* sense-key specific: field pointer into the CDB (cd) or data */
    bool field_in_cdb;
    uint16_t field;                         /* byte offset */
    int8_t bit;                             /* -1: none */
};
#define SCSI_SENSE(k, a, q) ((struct scsi_sense){ .key = (k), .asc = (a), .ascq = (q), .bit = -1 })

/* Fixed (descriptor false) or descriptor format. Return: bytes written, at most 32.
 * Source: SPC-4 r36, "Fixed format sense data", "Descriptor format sense data". */
uint32_t scsi_sense_encode(uint8_t out[static 32], const struct scsi_sense *s, bool descriptor);
/* Either format, any length: what is not there is zero. Return: 0, or -EPROTO for a response code that is neither. */
int scsi_sense_decode(struct scsi_sense *out, const uint8_t *data, size_t len);
/* "ILLEGAL REQUEST, INVALID FIELD IN CDB (24/00)" into @out. */
void scsi_sense_format(const struct scsi_sense *s, char out[static 96]);
const char *scsi_status_name(unsigned status);
const char *scsi_op_name(uint8_t op);

/* ---- LUN addresses ------------------------------------------------------------------------------------- */

/* Peripheral addressing below 256, flat space up to 16383 (SAM-5 r21, "Logical unit number formats").
 * The 8 bytes as one big-endian number, as struct iscsi_pdu has them. */
#define SCSI_LUN_MAX 16383u
uint64_t scsi_lun_encode(uint16_t lun);
/* Peripheral (bus 0), flat and the well-known REPORT LUNS unit (SCSI_LUN_WELL_KNOWN). Return: 0 or -EINVAL. */
#define SCSI_LUN_WELL_KNOWN 0xffffu
int scsi_lun_decode(uint64_t raw, uint16_t *lun);

#endif
