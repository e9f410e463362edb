/*
 * scsi.c - names of statuses and operation codes, and the eight bytes of a LUN
 */
#include <errno.h>

#include "scsi/scsi.h"

struct scsi_name {
    uint8_t code;
    const char *name;
};

static const struct scsi_name statuses[] = {
    { SCSI_GOOD, "GOOD" },
    { SCSI_CHECK_CONDITION, "CHECK CONDITION" },
    { SCSI_CONDITION_MET, "CONDITION MET" },
    { SCSI_BUSY, "BUSY" },
    { SCSI_RESERVATION_CONFLICT, "RESERVATION CONFLICT" },
    { SCSI_TASK_SET_FULL, "TASK SET FULL" },
    { SCSI_ACA_ACTIVE, "ACA ACTIVE" },
    { SCSI_TASK_ABORTED, "TASK ABORTED" },
};

static const char *const ops[256] = {
    [SCSI_TEST_UNIT_READY] = "TEST UNIT READY",
    [SCSI_REQUEST_SENSE] = "REQUEST SENSE",
    [SCSI_READ_6] = "READ (6)",
    [SCSI_WRITE_6] = "WRITE (6)",
    [SCSI_INQUIRY] = "INQUIRY",
    [SCSI_MODE_SELECT_6] = "MODE SELECT (6)",
    [SCSI_RESERVE_6] = "RESERVE (6)",
    [SCSI_RELEASE_6] = "RELEASE (6)",
    [SCSI_MODE_SENSE_6] = "MODE SENSE (6)",
    [SCSI_START_STOP_UNIT] = "START STOP UNIT",
    [SCSI_SEND_DIAGNOSTIC] = "SEND DIAGNOSTIC",
    [SCSI_PREVENT_ALLOW] = "PREVENT ALLOW MEDIUM REMOVAL",
    [SCSI_READ_CAPACITY_10] = "READ CAPACITY (10)",
    [SCSI_READ_10] = "READ (10)",
    [SCSI_WRITE_10] = "WRITE (10)",
    [SCSI_WRITE_VERIFY_10] = "WRITE AND VERIFY (10)",
    [SCSI_VERIFY_10] = "VERIFY (10)",
    [SCSI_PREFETCH_10] = "PRE-FETCH (10)",
    [SCSI_SYNC_CACHE_10] = "SYNCHRONIZE CACHE (10)",
    [SCSI_READ_DEFECT_10] = "READ DEFECT DATA (10)",
    [SCSI_WRITE_SAME_10] = "WRITE SAME (10)",
    [SCSI_UNMAP] = "UNMAP",
    [SCSI_LOG_SENSE] = "LOG SENSE",
    [SCSI_MODE_SELECT_10] = "MODE SELECT (10)",
    [SCSI_RESERVE_10] = "RESERVE (10)",
    [SCSI_RELEASE_10] = "RELEASE (10)",
    [SCSI_MODE_SENSE_10] = "MODE SENSE (10)",
    [SCSI_PR_IN] = "PERSISTENT RESERVE IN",
    [SCSI_PR_OUT] = "PERSISTENT RESERVE OUT",
    [SCSI_READ_16] = "READ (16)",
    [SCSI_COMPARE_AND_WRITE] = "COMPARE AND WRITE",
    [SCSI_WRITE_16] = "WRITE (16)",
    [SCSI_ORWRITE_16] = "ORWRITE (16)",
    [SCSI_WRITE_VERIFY_16] = "WRITE AND VERIFY (16)",
    [SCSI_VERIFY_16] = "VERIFY (16)",
    [SCSI_PREFETCH_16] = "PRE-FETCH (16)",
    [SCSI_SYNC_CACHE_16] = "SYNCHRONIZE CACHE (16)",
    [SCSI_WRITE_SAME_16] = "WRITE SAME (16)",
    [SCSI_WRITE_ATOMIC_16] = "WRITE ATOMIC (16)",
    [SCSI_SERVICE_IN_16] = "SERVICE ACTION IN (16)",
    [SCSI_REPORT_LUNS] = "REPORT LUNS",
    [SCSI_MAINTENANCE_IN] = "MAINTENANCE IN",
    [SCSI_MAINTENANCE_OUT] = "MAINTENANCE OUT",
    [SCSI_READ_12] = "READ (12)",
    [SCSI_WRITE_12] = "WRITE (12)",
    [SCSI_WRITE_VERIFY_12] = "WRITE AND VERIFY (12)",
    [SCSI_VERIFY_12] = "VERIFY (12)",
    [SCSI_READ_DEFECT_12] = "READ DEFECT DATA (12)",
};

const char *scsi_status_name(unsigned status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].code == status)
            return statuses[i].name;
    return "UNKNOWN STATUS";
}

const char *scsi_op_name(uint8_t op)
{
    return ops[op] ? ops[op] : "UNKNOWN COMMAND";
}

/* ---- LUN addresses --------------------------------------------------------------------------------------- */

#define LUN_FLAT 0x4000u                    /* address method 01b in the top bits of the first level */
#define LUN_W_REPORT_LUNS 0xc101u           /* extended, well known: 11b, length 00b, 0001b; W-LUN 01 */

uint64_t scsi_lun_encode(uint16_t lun)
{
    const uint16_t level = lun < 256 ? lun : (uint16_t)(LUN_FLAT | (lun & SCSI_LUN_MAX));

    return (uint64_t)level << 48;
}

int scsi_lun_decode(uint64_t raw, uint16_t *lun)
{
    const uint16_t level = (uint16_t)(raw >> 48);

    if (raw & 0xffffffffffffull)            /* a second level: a unit behind a unit, which nothing here has */
        return -EINVAL;
    if (level == LUN_W_REPORT_LUNS)
        *lun = SCSI_LUN_WELL_KNOWN;
    else if (level < 256)
        *lun = level;
    else if ((level & 0xc000u) == LUN_FLAT)
        *lun = level & SCSI_LUN_MAX;
    else
        return -EINVAL;
    return 0;
}
