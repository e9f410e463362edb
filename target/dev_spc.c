/*
 * dev_spc.c - primary commands that are answered from what is known: INQUIRY, REPORT LUNS, sense
 *
 * Some of them are answered for a LUN that is not there too: t->absent, and t->itl is NULL.
 */
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

/* ---- INQUIRY --------------------------------------------------------------------------------------------- */

enum { INQ_LEN = 96, TYPE_DISK = 0x00, TYPE_WELL_KNOWN = 0x1e, NO_ACCESS = 0x20, NOT_CONNECTED = 0x3f, NOT_CAPABLE = 0x7f };

enum lun_next dev_inquiry_check(struct scsi_task *t)
{
    const bool vpd = t->cdb[1] & 0x01;

    if (!vpd && t->cdb[2])
        return task_bad_cdb(t, 2, 7);
    if (vpd && t->absent)
        return task_bad_cdb(t, 1, 0);
    return LUN_RUN;
}

/* LUN 0 is asked first by everybody who looks for LUNs: it stays capable of being connected, so REPORT LUNS
 * follows. */
uint8_t dev_peripheral(const struct scsi_task *t)
{
    if (!t->absent)                         /* SPC-4 r36, "Unavailable state", "Offline state" */
        return t->itl->port_state == LUN_PORT_UNAVAILABLE || t->itl->port_state == LUN_PORT_OFFLINE
                   ? NO_ACCESS | TYPE_DISK : TYPE_DISK;
    if (t->number == SCSI_LUN_WELL_KNOWN)
        return TYPE_WELL_KNOWN;
    return t->number == 0 ? NOT_CONNECTED : NOT_CAPABLE;
}

/* Source: SPC-4 r36, "Standard INQUIRY data". */
void dev_inquiry(struct scsi_task *t)
{
    static const uint16_t versions[] = { 0x00a0, 0x0460, 0x04c0, 0x0960 };   /* SAM-5, SPC-4, SBC-3, iSCSI */
    uint8_t data[INQ_LEN] = {
        [0] = dev_peripheral(t),
        [2] = 0x06,                         /* SPC-4 */
        [3] = 0x12,                         /* HISUP; response data format 2 */
        [4] = INQ_LEN - 5,
        [5] = 0x30,                         /* TPGS: implicit and explicit */
        [6] = 0x10,                         /* MULTIP */
        [7] = 0x02,                         /* CMDQUE */
    };

    if (t->cdb[1] & 0x01) {
        dev_vpd(t);
        return;
    }
    memcpy(&data[8], "CORELANEVIRTUAL-DISK    0001", 28);
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
        store_be16(&data[58 + 2 * i], versions[i]);
    resp_send(t, data, sizeof(data));
}

/* ---- REPORT LUNS ----------------------------------------------------------------------------------------- */

enum { LUNS_ALL = 0, LUNS_WELL_KNOWN = 1, LUNS_BOTH = 2 };

enum lun_next dev_report_luns_check(struct scsi_task *t)
{
    return t->cdb[2] > LUNS_BOTH ? task_bad_cdb(t, 2, 7) : LUN_RUN;
}

/* Who has read the list knows that it changed. */
static void luns_known(struct nexus *n)
{
    for (unsigned i = 0; i < n->itls_nr; i++) {
        struct itl *itl = n->itls[i];
        unsigned kept = 0;

        for (unsigned j = 0; j < itl->ua_nr; j++)
            if (itl->ua[j].asc != 0x3f || itl->ua[j].ascq != 0x0e)
                itl->ua[kept++] = itl->ua[j];
        itl->ua_nr = (uint8_t)kept;
    }
}

void dev_report_luns(struct scsi_task *t)
{
    const struct nexus *n = t->nexus;
    const unsigned luns = t->cdb[2] == LUNS_WELL_KNOWN ? 0 : n->itls_nr, known = t->cdb[2] != LUNS_ALL;
    uint8_t entry[8] = { 0 };
    struct resp r;

    luns_known(t->nexus);
    resp_init(&r, t);
    store_be32(entry, 8 * (luns + known));
    resp_put(&r, entry, sizeof(entry));
    for (unsigned i = 0; i < luns; i++) {
        store_be64(entry, scsi_lun_encode(n->itls[i]->number));
        resp_put(&r, entry, sizeof(entry));
    }
    if (known) {
        store_be64(entry, 0xc101ull << 48);   /* the REPORT LUNS well-known logical unit */
        resp_put(&r, entry, sizeof(entry));
    }
    resp_end(&r);
    task_end(t);
}

/* ---- REQUEST SENSE --------------------------------------------------------------------------------------- */

void dev_request_sense(struct scsi_task *t)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_NO_SENSE, 0, 0);
    struct itl *itl = t->itl;
    uint8_t data[32];

    if (t->absent) {
        s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x25, 0x00);
    } else if (itl->ua_nr) {
        s = SCSI_SENSE(SCSI_UNIT_ATTENTION, itl->ua[0].asc, itl->ua[0].ascq);
        itl->ua_nr--;
        memmove(&itl->ua[0], &itl->ua[1], itl->ua_nr * sizeof(itl->ua[0]));
    }
    resp_send(t, data, scsi_sense_encode(data, &s, t->cdb[1] & 0x01));
}

/* ---- MAINTENANCE IN -------------------------------------------------------------------------------------- */

void dev_report_tmfs(struct scsi_task *t)
{
    /* ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET; the extended format says so in 16
     * bytes */
    const uint8_t data[16] = { 0x80 | 0x40 | 0x10 | 0x08, [3] = 12 };

    if (t->cdb[2] & 0x80)
        resp_send(t, data, sizeof(data));
    else
        resp_send(t, (const uint8_t[4]){ data[0] }, 4);
}

/* ---- START STOP UNIT, PREVENT ALLOW, SEND DIAGNOSTIC, LOG SENSE ------------------------------------------ */

static enum lun_next conflict(struct scsi_task *t)
{
    t->status = SCSI_RESERVATION_CONFLICT;
    return LUN_DONE;
}

/* There is no motor and no tray: stopping flushes, and what only such a device can do is refused. */
enum lun_next dev_start_stop_check(struct scsi_task *t)
{
    const unsigned condition = t->cdb[4] >> 4;
    const bool start = t->cdb[4] & 0x01, load = t->cdb[4] & 0x02, no_flush = t->cdb[4] & 0x04;

    if (condition) { /* ACTIVE, IDLE, STANDBY, LU CONTROL, FORCE IDLE_0, FORCE STANDBY_0 */
        if (!(1u << condition & (1u << 1 | 1u << 2 | 1u << 3 | 1u << 7 | 1u << 10 | 1u << 11)))
            return task_bad_cdb(t, 4, 7);
        return LUN_DONE;
    }
    if (load)
        return task_bad_cdb(t, 4, 1);
    if (start)
        return LUN_DONE;
    if (ACC_WRITE & ~t->itl->access)
        return conflict(t);
    return no_flush ? LUN_DONE : LUN_RUN;
}

enum lun_next dev_prevent_check(struct scsi_task *t)
{
    if (t->cdb[4] & 0x02)
        return task_bad_cdb(t, 4, 1);
    if ((t->cdb[4] & 0x01) && (ACC_WRITE & ~t->itl->access))
        return conflict(t);
    return LUN_RUN;
}

void dev_prevent(struct scsi_task *t)
{
    t->itl->prevent = t->cdb[4] & 0x01;     /* noted; there is no medium to take out */
    task_end(t);
}

enum lun_next dev_diagnostic_check(struct scsi_task *t)
{
    if (load_be16(&t->cdb[3]))
        return task_bad_cdb(t, 3, -1);
    return LUN_RUN;                         /* every self-test passes */
}

enum lun_next dev_log_sense_check(struct scsi_task *t)
{
    return t->cdb[2] & 0x3f ? task_bad_cdb(t, 2, 5) : LUN_RUN;
}

void dev_log_sense(struct scsi_task *t)
{
    const uint8_t data[5] = { 0x00, 0x00, 0, 1, 0x00 };   /* the list of pages is the only page */

    resp_send(t, data, sizeof(data));
}
