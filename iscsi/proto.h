/*
 * proto.h - the numbers of RFC 7143, as both ends use them
 */
#ifndef CORELANE_ISCSI_PROTO_H
#define CORELANE_ISCSI_PROTO_H

#include <stdint.h>

#define ISCSI_PORT 3260
#define ISCSI_BHS_LEN 48u                   /* 11.2.1 */
#define ISCSI_AHS_LEN_MAX (255u * 4)        /* TotalAHSLength counts words in a byte, 11.2.1.5 */
#define ISCSI_NAME_LEN_MAX 223u             /* bytes, 4.2.7.1 */
#define ISCSI_LOGIN_DATA_MAX 8192u          /* MaxRecvDataSegmentLength before it is declared, 13.12 */
#define ISCSI_TAG_RESERVED 0xffffffffu      /* ITT and TTT that mean "none" */

enum iscsi_opcode {                         /* 11.2.1.2 */
    ISCSI_OP_NOP_OUT = 0x00,
    ISCSI_OP_SCSI_CMD = 0x01,
    ISCSI_OP_TMF = 0x02,
    ISCSI_OP_LOGIN = 0x03,
    ISCSI_OP_TEXT = 0x04,
    ISCSI_OP_DATA_OUT = 0x05,
    ISCSI_OP_LOGOUT = 0x06,
    ISCSI_OP_SNACK = 0x10,
    ISCSI_OP_NOP_IN = 0x20,
    ISCSI_OP_SCSI_RESP = 0x21,
    ISCSI_OP_TMF_RESP = 0x22,
    ISCSI_OP_LOGIN_RESP = 0x23,
    ISCSI_OP_TEXT_RESP = 0x24,
    ISCSI_OP_DATA_IN = 0x25,
    ISCSI_OP_LOGOUT_RESP = 0x26,
    ISCSI_OP_R2T = 0x31,
    ISCSI_OP_ASYNC = 0x32,
    ISCSI_OP_REJECT = 0x3f,
};

enum iscsi_reject {                         /* 11.17.1 */
    ISCSI_REJECT_NONE = 0,                  /* not on the wire: nothing to reject */
    ISCSI_REJECT_DATA_DIGEST = 0x02,
    ISCSI_REJECT_SNACK = 0x03,
    ISCSI_REJECT_PROTOCOL_ERROR = 0x04,
    ISCSI_REJECT_NOT_SUPPORTED = 0x05,
    ISCSI_REJECT_IMMEDIATE = 0x06,          /* too many immediate commands */
    ISCSI_REJECT_TASK_IN_PROGRESS = 0x07,
    ISCSI_REJECT_INVALID_DATA_ACK = 0x08,
    ISCSI_REJECT_INVALID_FIELD = 0x09,
    ISCSI_REJECT_LONG_OPERATION = 0x0a,     /* cannot generate TTT: out of resources */
    ISCSI_REJECT_NEGOTIATION_RESET = 0x0b,
    ISCSI_REJECT_WAITING_FOR_LOGOUT = 0x0c,
};

enum iscsi_stage {                          /* CSG and NSG, 11.12.3 */
    ISCSI_STAGE_SECURITY = 0,
    ISCSI_STAGE_OPERATIONAL = 1,
    ISCSI_STAGE_RESERVED = 2,
    ISCSI_STAGE_FULL_FEATURE = 3,
};

enum iscsi_login_status {                   /* class << 8 | detail, 11.13.5 */
    ISCSI_LOGIN_OK = 0x0000,
    ISCSI_LOGIN_MOVED_TEMP = 0x0101,
    ISCSI_LOGIN_MOVED_PERM = 0x0102,
    ISCSI_LOGIN_INITIATOR_ERROR = 0x0200,
    ISCSI_LOGIN_AUTH_FAILED = 0x0201,
    ISCSI_LOGIN_FORBIDDEN = 0x0202,
    ISCSI_LOGIN_NOT_FOUND = 0x0203,
    ISCSI_LOGIN_REMOVED = 0x0204,
    ISCSI_LOGIN_VERSION = 0x0205,
    ISCSI_LOGIN_TOO_MANY = 0x0206,
    ISCSI_LOGIN_MISSING_PARAMETER = 0x0207,
    ISCSI_LOGIN_CANNOT_INCLUDE = 0x0208,
    ISCSI_LOGIN_SESSION_TYPE = 0x0209,
    ISCSI_LOGIN_NO_SESSION = 0x020a,
    ISCSI_LOGIN_INVALID_REQUEST = 0x020b,
    ISCSI_LOGIN_TARGET_ERROR = 0x0300,
    ISCSI_LOGIN_UNAVAILABLE = 0x0301,
    ISCSI_LOGIN_OUT_OF_RESOURCES = 0x0302,
};

enum iscsi_tmf {                            /* 11.5.1 */
    ISCSI_TMF_ABORT_TASK = 1,
    ISCSI_TMF_ABORT_TASK_SET = 2,
    ISCSI_TMF_CLEAR_ACA = 3,
    ISCSI_TMF_CLEAR_TASK_SET = 4,
    ISCSI_TMF_LUN_RESET = 5,
    ISCSI_TMF_TARGET_WARM_RESET = 6,
    ISCSI_TMF_TARGET_COLD_RESET = 7,
    ISCSI_TMF_TASK_REASSIGN = 8,
};

enum iscsi_tmf_resp {                       /* 11.6.1 */
    ISCSI_TMF_COMPLETE = 0,
    ISCSI_TMF_NO_TASK = 1,
    ISCSI_TMF_NO_LUN = 2,
    ISCSI_TMF_STILL_ALLEGIANT = 3,
    ISCSI_TMF_NO_REASSIGN = 4,
    ISCSI_TMF_NOT_SUPPORTED = 5,
    ISCSI_TMF_AUTH_FAILED = 6,
    ISCSI_TMF_REJECTED = 255,
};

enum iscsi_logout_reason {                  /* 11.14.1 */
    ISCSI_LOGOUT_SESSION = 0,
    ISCSI_LOGOUT_CONNECTION = 1,
    ISCSI_LOGOUT_RECOVERY = 2,
};

enum iscsi_logout_resp {                    /* 11.15.1 */
    ISCSI_LOGOUT_OK = 0,
    ISCSI_LOGOUT_NO_CID = 1,
    ISCSI_LOGOUT_NO_RECOVERY = 2,
    ISCSI_LOGOUT_FAILED = 3,
};

enum iscsi_async_event {                    /* 11.9.1 */
    ISCSI_ASYNC_SCSI = 0,
    ISCSI_ASYNC_LOGOUT_REQUEST = 1,
    ISCSI_ASYNC_DROP_CONNECTION = 2,
    ISCSI_ASYNC_DROP_ALL = 3,
    ISCSI_ASYNC_NEGOTIATE = 4,
    ISCSI_ASYNC_TASK_TERMINATION = 5,
    ISCSI_ASYNC_VENDOR = 255,
};

enum iscsi_task_attr {                      /* 11.3.1 */
    ISCSI_ATTR_UNTAGGED = 0,
    ISCSI_ATTR_SIMPLE = 1,
    ISCSI_ATTR_ORDERED = 2,
    ISCSI_ATTR_HEAD = 3,
    ISCSI_ATTR_ACA = 4,
};

#define ISCSI_RESPONSE_COMPLETED 0x00       /* SCSI Response, 11.4.3 */
#define ISCSI_RESPONSE_TARGET_FAILURE 0x01

#define ISCSI_AHS_ECDB 1                    /* 11.2.2.3 */
#define ISCSI_AHS_BIDI_READ 2               /* 11.2.2.4 */

/* Serial numbers of 32 bits, RFC 1982, as RFC 7143 4.2.2.1 asks. True when a comes before b. */
static inline int iscsi_sn_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline int iscsi_sn_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

/* Names for messages and logs; never NULL. */
const char *iscsi_opcode_name(unsigned opcode);
const char *iscsi_reject_name(unsigned reason);
const char *iscsi_tmf_name(unsigned function);
/* The status in words; with what the user can do about it in *advice (borrowed static text). */
const char *iscsi_login_status_text(unsigned status, const char **advice);

#endif
