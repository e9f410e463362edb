/*
 * pdu.h - the header of a PDU: 48 bytes on the wire, a struct in host order here
 *
 * One table row an opcode says its name, direction, whether it may carry data and an AHS, and how its fields
 * are read and written. The codec is pure: bytes in, struct out.
 */
#ifndef CORELANE_ISCSI_PDU_H
#define CORELANE_ISCSI_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "iscsi/proto.h"

/* Fields that several kinds share have one place: exp_cmd_sn and max_cmd_sn are the target's window in every
 * response, cmd_sn the number of a request, stat_sn a response's, exp_stat_sn a request's. */
struct iscsi_pdu {
    uint8_t opcode;                         /* enum iscsi_opcode */
    bool immediate;                         /* I */
    bool final;                             /* F; T in Login, always set in R2T, NOP-In and so on */
    uint16_t ahs_len;                       /* bytes, a multiple of 4 */
    uint32_t data_len;                      /* bytes, before padding */
    uint64_t lun;                           /* the 8 bytes as one big-endian number; see scsi_lun_decode() */
    uint32_t itt, ttt;                      /* ttt: ISCSI_TAG_RESERVED where the kind has none */
    uint32_t cmd_sn, exp_stat_sn;           /* requests */
    uint32_t stat_sn, exp_cmd_sn, max_cmd_sn;   /* responses */
    union {
        struct {                            /* SCSI Command 11.3 */
            bool read, write;
            uint8_t attr;                   /* enum iscsi_task_attr */
            uint32_t edtl;                  /* Expected Data Transfer Length */
            uint8_t cdb[16];
        } cmd;
        struct {                            /* SCSI Response 11.4; and Data-In 11.7 with status */
            bool overflow, underflow;       /* O, U */
            bool bidi_overflow, bidi_underflow;
            bool has_status;                /* S of Data-In */
            bool ack;                       /* A of Data-In */
            uint8_t response;               /* ISCSI_RESPONSE_*; SCSI Response only */
            uint8_t status;                 /* SAM status */
            uint32_t snack_tag;             /* SCSI Response only */
            uint32_t exp_data_sn;           /* SCSI Response only */
            uint32_t data_sn, offset;       /* Data-In only */
            uint32_t residual, bidi_residual;
        } resp;
        struct {                            /* Data-Out 11.7 */
            uint32_t data_sn, offset;
        } data_out;
        struct {                            /* R2T 11.8 */
            uint32_t r2t_sn, offset, length;
        } r2t;
        struct {                            /* Task Management request and response 11.5, 11.6 */
            uint8_t function;               /* request */
            uint8_t response;               /* response */
            uint32_t ref_task_tag, ref_cmd_sn, exp_data_sn;
        } tmf;
        struct {                            /* Login request and response 11.12, 11.13 */
            bool transit, cont;             /* T, C */
            uint8_t csg, nsg;
            uint8_t version_max, version_min;   /* request; response: Version-max and Version-active */
            uint8_t isid[6];
            uint16_t tsih, cid;
            uint16_t status;                /* enum iscsi_login_status; response */
        } login;
        struct {                            /* Text request and response 11.10, 11.11 */
            bool cont;
        } text;
        struct {                            /* Logout request and response 11.14, 11.15 */
            uint8_t reason;                 /* request */
            uint8_t response;               /* response */
            uint16_t cid;                   /* request */
            uint16_t time2wait_s, time2retain_s;   /* response */
        } logout;
        struct {                            /* SNACK 11.16 */
            uint8_t type;
            uint32_t beg_run, run_len;
        } snack;
        struct {                            /* Asynchronous Message 11.9 */
            uint8_t event, vendor_code;
            uint16_t param1, param2, param3;
        } async;
        struct {                            /* Reject 11.17 */
            uint8_t reason;
            uint32_t data_sn;
        } reject;
    };
};

enum iscsi_from { ISCSI_FROM_INITIATOR, ISCSI_FROM_TARGET };

/* Bytes of AHS and of data that a header announces, for framing before anything else is believed. */
static inline uint32_t iscsi_bhs_ahs_len(const uint8_t bhs[static ISCSI_BHS_LEN])
{
    return 4u * bhs[4];
}

static inline uint32_t iscsi_bhs_data_len(const uint8_t bhs[static ISCSI_BHS_LEN])
{
    return (uint32_t)bhs[5] << 16 | (uint32_t)bhs[6] << 8 | bhs[7];
}

/* Data segments and AHSs are padded to words, RFC 7143 11.2.3. */
static inline uint32_t iscsi_padded(uint32_t len)
{
    return (len + 3u) & ~3u;
}

/**
 * iscsi_pdu_decode - read a header
 * @out:  borrowed; written whole on success, untouched on refusal
 * @wire: borrowed; as received, network byte order
 * @from: who sent it; an opcode of the other side is refused
 *
 * Judges what the header alone can tell: opcode known and of that direction, no data or AHS where the kind
 * has none, AHS at most what a kind may carry, the fixed F bits, R or W with an EDTL, the stages of a
 * Login Response. Those of a Login Request pass, whatever they are: its refusal is a Login Response, which the
 * login owes. Limits that were negotiated are the datamover's.
 *
 * Any thread, never blocks. Return: ISCSI_REJECT_NONE, ISCSI_REJECT_NOT_SUPPORTED for an opcode not known,
 * ISCSI_REJECT_PROTOCOL_ERROR or ISCSI_REJECT_INVALID_FIELD. Source: RFC 7143 11.2 to 11.17.
 */
enum iscsi_reject iscsi_pdu_decode(struct iscsi_pdu *out, const uint8_t wire[static ISCSI_BHS_LEN],
                                   enum iscsi_from from);

/* Writes all 48 bytes; reserved ones as zero. The struct is our own: what cannot be is asserted. */
void iscsi_pdu_encode(uint8_t wire[static ISCSI_BHS_LEN], const struct iscsi_pdu *pdu);

/* What iscsi_pdu_encode() makes of a Data-In with these fields, DataSegmentLength 0, without a struct in between: for who
 * sends millions of them. @status: borrowed; a SCSI Response whose status, residual and numbers it carries (S), or NULL:
 * the numbers are 0 then. */
void iscsi_data_in_encode(uint8_t wire[static ISCSI_BHS_LEN], uint32_t itt, uint32_t data_sn, uint32_t offset, bool final,
                          const struct iscsi_pdu *status);

/**
 * iscsi_ahs_cdb - the whole CDB of a SCSI Command that has an Extended CDB AHS
 * @out: borrowed; 260 bytes
 * @out_len: bytes of CDB, 16 when there is no such AHS
 * @bidi_read_len: bytes, from a Bidirectional Read AHS; 0 without
 *
 * Walks the AHS area with every length checked against it: AHSLength 0, one that reaches past the area, two
 * of a kind and unknown kinds are refused. Return: as iscsi_pdu_decode(). Source: RFC 7143 11.2.2.
 */
enum iscsi_reject iscsi_ahs_cdb(const uint8_t cdb16[static 16], const uint8_t *ahs, uint32_t ahs_len,
                                uint8_t out[static 260], uint32_t *out_len, uint32_t *bidi_read_len);

#endif
