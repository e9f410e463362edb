/*
 * sense.c - sense data in its two formats, and in words
 *
 * Fixed format has room for a 32-bit INFORMATION field: a larger value is left out there (VALID zero), as
 * SPC-4 asks; descriptor format carries it whole.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "scsi/scsi.h"

enum {
    SENSE_FIXED = 0x70,                     /* 0x71: the same, of an earlier command */
    SENSE_DESCRIPTOR = 0x72,
    SENSE_FIXED_LEN = 18,
    DESC_INFORMATION = 0x00,
    DESC_SPECIFIC = 0x02,
};

/* SENSE KEY SPECIFIC of an ILLEGAL REQUEST: the field pointer, three bytes. */
static void specific_encode(uint8_t out[static 3], const struct scsi_sense *s)
{
    out[0] = (uint8_t)(0x80 | (s->field_in_cdb ? 0x40 : 0));
    if (s->bit >= 0)
        out[0] |= (uint8_t)(0x08 | (s->bit & 7));
    store_be16(&out[1], s->field);
}

static void specific_decode(struct scsi_sense *s, const uint8_t in[static 3])
{
    if (!(in[0] & 0x80) || s->key != SCSI_ILLEGAL_REQUEST)
        return;
    s->has_field = true;
    s->field_in_cdb = in[0] & 0x40;
    s->bit = in[0] & 0x08 ? (int8_t)(in[0] & 7) : -1;
    s->field = load_be16(&in[1]);
}

static uint32_t fixed_encode(uint8_t *out, const struct scsi_sense *s)
{
    memset(out, 0, SENSE_FIXED_LEN);
    out[0] = SENSE_FIXED;
    out[2] = s->key & 0x0f;
    out[7] = SENSE_FIXED_LEN - 8;
    out[12] = s->asc;
    out[13] = s->ascq;
    if (s->has_info && s->info <= UINT32_MAX) {
        out[0] |= 0x80;
        store_be32(&out[3], (uint32_t)s->info);
    }
    if (s->has_field)
        specific_encode(&out[15], s);
    return SENSE_FIXED_LEN;
}

static uint32_t descriptor_encode(uint8_t *out, const struct scsi_sense *s)
{
    uint32_t len = 8;

    memset(out, 0, 32);
    out[0] = SENSE_DESCRIPTOR;
    out[1] = s->key & 0x0f;
    out[2] = s->asc;
    out[3] = s->ascq;
    if (s->has_info) {
        out[len] = DESC_INFORMATION;
        out[len + 1] = 10;
        out[len + 2] = 0x80;
        store_be64(&out[len + 4], s->info);
        len += 12;
    }
    if (s->has_field) {
        out[len] = DESC_SPECIFIC;
        out[len + 1] = 6;
        specific_encode(&out[len + 4], s);
        len += 8;
    }
    out[7] = (uint8_t)(len - 8);
    return len;
}

uint32_t scsi_sense_encode(uint8_t out[static 32], const struct scsi_sense *s, bool descriptor)
{
    return descriptor ? descriptor_encode(out, s) : fixed_encode(out, s);
}

static void fixed_decode(struct scsi_sense *s, const uint8_t *data, size_t len)
{
    if (len > 2)
        s->key = data[2] & 0x0f;
    if (len < 8)
        return;
    if (data[0] & 0x80) {
        s->has_info = true;
        s->info = load_be32(&data[3]);
    }
    if (len > 8u + data[7])
        len = 8u + data[7];
    if (len > 12)
        s->asc = data[12];
    if (len > 13)
        s->ascq = data[13];
    if (len >= 18)
        specific_decode(s, &data[15]);
}

static void descriptor_decode(struct scsi_sense *s, const uint8_t *data, size_t len)
{
    if (len > 1)
        s->key = data[1] & 0x0f;
    if (len > 2)
        s->asc = data[2];
    if (len > 3)
        s->ascq = data[3];
    if (len < 8)
        return;
    if (len > 8u + data[7])
        len = 8u + data[7];
    for (size_t at = 8; at + 2 <= len; at += 2u + data[at + 1]) {
        const uint8_t *d = &data[at];

        if (d[1] > len - at - 2)            /* runs past what came */
            return;
        if (d[0] == DESC_INFORMATION && d[1] >= 10 && (d[2] & 0x80)) {
            s->has_info = true;
            s->info = load_be64(&d[4]);
        } else if (d[0] == DESC_SPECIFIC && d[1] >= 6) {
            specific_decode(s, &d[4]);
        }
    }
}

int scsi_sense_decode(struct scsi_sense *out, const uint8_t *data, size_t len)
{
    struct scsi_sense s = { .bit = -1 };
    const unsigned code = len ? data[0] & 0x7f : 0;

    if (code < SENSE_FIXED || code > SENSE_DESCRIPTOR + 1)
        return -EPROTO;
    if (code < SENSE_DESCRIPTOR)
        fixed_decode(&s, data, len);
    else
        descriptor_decode(&s, data, len);
    *out = s;
    return 0;
}

/* ---- in words -------------------------------------------------------------------------------------------- */

static const char *const keys[16] = {
    "NO SENSE", "RECOVERED ERROR", "NOT READY", "MEDIUM ERROR", "HARDWARE ERROR", "ILLEGAL REQUEST",
    "UNIT ATTENTION", "DATA PROTECT", "BLANK CHECK", "VENDOR SPECIFIC", "COPY ABORTED", "ABORTED COMMAND",
    "RESERVED", "VOLUME OVERFLOW", "MISCOMPARE", "COMPLETED",
};

#define ASC(asc, ascq) (uint16_t)((asc) << 8 | (ascq))

/* SPC-4 r36, "ASC and ASCQ assignments": those a disk over iSCSI is likely to send. */
static const struct {
    uint16_t code;
    const char *text;
} ascs[] = {
    { ASC(0x00, 0x00), "NO ADDITIONAL SENSE INFORMATION" },
    { ASC(0x04, 0x00), "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE" },
    { ASC(0x04, 0x01), "LOGICAL UNIT IS IN PROCESS OF BECOMING READY" },
    { ASC(0x04, 0x02), "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED" },
    { ASC(0x04, 0x03), "LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED" },
    { ASC(0x04, 0x04), "LOGICAL UNIT NOT READY, FORMAT IN PROGRESS" },
    { ASC(0x04, 0x0a), "LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION" },
    { ASC(0x04, 0x0b), "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE" },
    { ASC(0x04, 0x0c), "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE" },
    { ASC(0x08, 0x00), "LOGICAL UNIT COMMUNICATION FAILURE" },
    { ASC(0x0c, 0x00), "WRITE ERROR" },
    { ASC(0x0c, 0x0c), "WRITE ERROR - UNEXPECTED UNSOLICITED DATA" },
    { ASC(0x0c, 0x0d), "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA" },
    { ASC(0x11, 0x00), "UNRECOVERED READ ERROR" },
    { ASC(0x1a, 0x00), "PARAMETER LIST LENGTH ERROR" },
    { ASC(0x1d, 0x00), "MISCOMPARE DURING VERIFY OPERATION" },
    { ASC(0x20, 0x00), "INVALID COMMAND OPERATION CODE" },
    { ASC(0x21, 0x00), "LOGICAL BLOCK ADDRESS OUT OF RANGE" },
    { ASC(0x24, 0x00), "INVALID FIELD IN CDB" },
    { ASC(0x25, 0x00), "LOGICAL UNIT NOT SUPPORTED" },
    { ASC(0x26, 0x00), "INVALID FIELD IN PARAMETER LIST" },
    { ASC(0x26, 0x04), "INVALID RELEASE OF PERSISTENT RESERVATION" },
    { ASC(0x27, 0x00), "WRITE PROTECTED" },
    { ASC(0x27, 0x02), "LOGICAL UNIT SOFTWARE WRITE PROTECTED" },
    { ASC(0x27, 0x07), "SPACE ALLOCATION FAILED WRITE PROTECT" },
    { ASC(0x28, 0x00), "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED" },
    { ASC(0x29, 0x00), "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED" },
    { ASC(0x29, 0x01), "POWER ON OCCURRED" },
    { ASC(0x29, 0x02), "SCSI BUS RESET OCCURRED" },
    { ASC(0x29, 0x03), "BUS DEVICE RESET FUNCTION OCCURRED" },
    { ASC(0x29, 0x07), "I_T NEXUS LOSS OCCURRED" },
    { ASC(0x2a, 0x01), "MODE PARAMETERS CHANGED" },
    { ASC(0x2a, 0x03), "RESERVATIONS PREEMPTED" },
    { ASC(0x2a, 0x04), "RESERVATIONS RELEASED" },
    { ASC(0x2a, 0x05), "REGISTRATIONS PREEMPTED" },
    { ASC(0x2a, 0x06), "ASYMMETRIC ACCESS STATE CHANGED" },
    { ASC(0x2a, 0x09), "CAPACITY DATA HAS CHANGED" },
    { ASC(0x2c, 0x00), "COMMAND SEQUENCE ERROR" },
    { ASC(0x2f, 0x00), "COMMANDS CLEARED BY ANOTHER INITIATOR" },
    { ASC(0x38, 0x07), "THIN PROVISIONING SOFT THRESHOLD REACHED" },
    { ASC(0x39, 0x00), "SAVING PARAMETERS NOT SUPPORTED" },
    { ASC(0x3a, 0x00), "MEDIUM NOT PRESENT" },
    { ASC(0x3f, 0x01), "MICROCODE HAS BEEN CHANGED" },
    { ASC(0x3f, 0x03), "INQUIRY DATA HAS CHANGED" },
    { ASC(0x3f, 0x0e), "REPORTED LUNS DATA HAS CHANGED" },
    { ASC(0x44, 0x00), "INTERNAL TARGET FAILURE" },
    { ASC(0x47, 0x05), "PROTOCOL SERVICE CRC ERROR" },
    { ASC(0x4b, 0x00), "DATA PHASE ERROR" },
    { ASC(0x49, 0x00), "INVALID MESSAGE ERROR" },
    { ASC(0x53, 0x02), "MEDIUM REMOVAL PREVENTED" },
    { ASC(0x55, 0x03), "INSUFFICIENT RESOURCES" },
    { ASC(0x55, 0x04), "INSUFFICIENT REGISTRATION RESOURCES" },
};

void scsi_sense_format(const struct scsi_sense *s, char out[static 96])
{
    const uint16_t code = ASC(s->asc, s->ascq);

    for (size_t i = 0; i < sizeof(ascs) / sizeof(ascs[0]); i++) {
        if (ascs[i].code != code)
            continue;
        snprintf(out, 96, "%s, %s (%02X/%02X)", keys[s->key & 0x0f], ascs[i].text, s->asc, s->ascq);
        return;
    }
    snprintf(out, 96, "%s (%02X/%02X)", keys[s->key & 0x0f], s->asc, s->ascq);
}
