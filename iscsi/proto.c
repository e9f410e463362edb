/*
 * proto.c - the protocol's numbers in words, for messages and logs
 *
 * Owns the texts only. The advice beside a login status is for the person who runs the initiator: what the
 * target meant, and what to look at next.
 */
#include <stddef.h>
#include "iscsi/proto.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

const char *iscsi_opcode_name(unsigned opcode)
{
    static const char *const names[64] = {
        [ISCSI_OP_NOP_OUT] = "NOP-Out",
        [ISCSI_OP_SCSI_CMD] = "SCSI Command",
        [ISCSI_OP_TMF] = "Task Management request",
        [ISCSI_OP_LOGIN] = "Login request",
        [ISCSI_OP_TEXT] = "Text request",
        [ISCSI_OP_DATA_OUT] = "SCSI Data-Out",
        [ISCSI_OP_LOGOUT] = "Logout request",
        [ISCSI_OP_SNACK] = "SNACK request",
        [ISCSI_OP_NOP_IN] = "NOP-In",
        [ISCSI_OP_SCSI_RESP] = "SCSI Response",
        [ISCSI_OP_TMF_RESP] = "Task Management response",
        [ISCSI_OP_LOGIN_RESP] = "Login response",
        [ISCSI_OP_TEXT_RESP] = "Text response",
        [ISCSI_OP_DATA_IN] = "SCSI Data-In",
        [ISCSI_OP_LOGOUT_RESP] = "Logout response",
        [ISCSI_OP_R2T] = "Ready To Transfer",
        [ISCSI_OP_ASYNC] = "Asynchronous Message",
        [ISCSI_OP_REJECT] = "Reject",
    };

    return opcode < ARRAY_SIZE(names) && names[opcode] ? names[opcode] : "unknown opcode";
}

const char *iscsi_reject_name(unsigned reason)
{
    static const char *const names[] = {
        [ISCSI_REJECT_NONE] = "nothing to reject",
        [ISCSI_REJECT_DATA_DIGEST] = "data digest error",
        [ISCSI_REJECT_SNACK] = "SNACK rejected",
        [ISCSI_REJECT_PROTOCOL_ERROR] = "protocol error",
        [ISCSI_REJECT_NOT_SUPPORTED] = "command not supported",
        [ISCSI_REJECT_IMMEDIATE] = "too many immediate commands",
        [ISCSI_REJECT_TASK_IN_PROGRESS] = "task in progress",
        [ISCSI_REJECT_INVALID_DATA_ACK] = "invalid data acknowledgement",
        [ISCSI_REJECT_INVALID_FIELD] = "invalid PDU field",
        [ISCSI_REJECT_LONG_OPERATION] = "out of resources for a long operation",
        [ISCSI_REJECT_NEGOTIATION_RESET] = "negotiation reset",
        [ISCSI_REJECT_WAITING_FOR_LOGOUT] = "waiting for logout",
    };

    return reason < ARRAY_SIZE(names) && names[reason] ? names[reason] : "unknown reason";
}

const char *iscsi_tmf_name(unsigned function)
{
    static const char *const names[] = {
        [ISCSI_TMF_ABORT_TASK] = "ABORT TASK",
        [ISCSI_TMF_ABORT_TASK_SET] = "ABORT TASK SET",
        [ISCSI_TMF_CLEAR_ACA] = "CLEAR ACA",
        [ISCSI_TMF_CLEAR_TASK_SET] = "CLEAR TASK SET",
        [ISCSI_TMF_LUN_RESET] = "LOGICAL UNIT RESET",
        [ISCSI_TMF_TARGET_WARM_RESET] = "TARGET WARM RESET",
        [ISCSI_TMF_TARGET_COLD_RESET] = "TARGET COLD RESET",
        [ISCSI_TMF_TASK_REASSIGN] = "TASK REASSIGN",
    };

    return function < ARRAY_SIZE(names) && names[function] ? names[function] : "unknown task management";
}

struct login_text {
    uint16_t status;
    const char *text, *advice;
};

/* RFC 7143 11.13.5 */
static const struct login_text login_texts[] = {
    { ISCSI_LOGIN_OK, "login accepted", "" },
    { ISCSI_LOGIN_MOVED_TEMP, "the target has moved for now",
      "the target named another portal in TargetAddress; a loop or no address at all is a fault of the "
      "target's redirection" },
    { ISCSI_LOGIN_MOVED_PERM, "the target has moved for good",
      "the target named another portal in TargetAddress; discover again and store the new portal" },
    { ISCSI_LOGIN_INITIATOR_ERROR, "the target found an error in the login and names no reason",
      "read the target's log for this initiator name; it is not an authentication failure, which has a status "
      "of its own" },
    { ISCSI_LOGIN_AUTH_FAILED, "authentication failed",
      "compare the CHAP user and secret on both sides, in both directions if mutual CHAP is on; if they agree, "
      "the digests may not: an old target may know MD5 only, a FIPS one may refuse it (chap_algs); and one "
      "side may ask for CHAP where the other has none" },
    { ISCSI_LOGIN_FORBIDDEN, "this initiator may not use the target",
      "the target has no ACL for this initiator name; compare InitiatorName with the target's access list, "
      "letter by letter, and mind that the ACL may be bound to an address or a portal" },
    { ISCSI_LOGIN_NOT_FOUND, "no target of this name at this portal",
      "compare the target name letter by letter, and run a discovery at this portal: the target may be served "
      "by another one" },
    { ISCSI_LOGIN_REMOVED, "the target was removed and has no forwarding address",
      "the target was here and is gone for good: delete its record, or have it created again" },
    { ISCSI_LOGIN_VERSION, "no iSCSI version in common",
      "this side speaks version 0, the only one there is; the other end is not an iSCSI target or is broken" },
    { ISCSI_LOGIN_TOO_MANY, "too many connections or sessions",
      "the target's limit for this session or this initiator is reached: log out what is not needed, look for "
      "sessions another host holds under the same initiator name, or raise the limit on the target" },
    { ISCSI_LOGIN_MISSING_PARAMETER, "the target misses a parameter",
      "a login needs an initiator name, and a target name unless it is for discovery; check both are set" },
    { ISCSI_LOGIN_CANNOT_INCLUDE, "the connection cannot join this session",
      "the target cannot add a connection on this portal to the session; use a session of its own" },
    { ISCSI_LOGIN_SESSION_TYPE, "this type of session is not supported",
      "the portal may serve discovery only, or no discovery at all: try the other, or log in by name without "
      "discovery" },
    { ISCSI_LOGIN_NO_SESSION, "the session does not exist",
      "the target no longer knows the session this connection wants to join; a new session is needed" },
    { ISCSI_LOGIN_INVALID_REQUEST, "invalid login request",
      "the target did not accept the course of the login: read its log for what it missed. Where both sides "
      "are of one make, this is a fault to report" },
    { ISCSI_LOGIN_TARGET_ERROR, "the target has an internal error",
      "nothing to mend on this side: read the target's log, then try again" },
    { ISCSI_LOGIN_UNAVAILABLE, "the target is not available at this time",
      "it starts, stops, or runs on another node just now: try again, or use another portal" },
    { ISCSI_LOGIN_OUT_OF_RESOURCES, "the target is out of resources",
      "not an authentication problem: the target has no memory or no session left. Log out sessions that are "
      "not needed or raise the target's limits, then try again" },
};

/* What a class says when its detail is a number the RFC does not know. */
static const struct login_text login_classes[] = {
    { 0x00, "login accepted, with a detail the standard does not know", "" },
    { 0x01, "the target redirects, in a way the standard does not know",
      "read the target's log or manual for this status" },
    { 0x02, "the target found an error on the initiator's side that the standard does not know",
      "read the target's log or manual for this status; another try will not help" },
    { 0x03, "the target has an error of its own that the standard does not know",
      "nothing to mend on this side: read the target's log, then try again" },
};

const char *iscsi_login_status_text(unsigned status, const char **advice)
{
    const char *text = "login status of no known class";
    const char *hint = "the other end breaks the protocol, or is no iSCSI target";

    if (status >> 8 < ARRAY_SIZE(login_classes)) {
        text = login_classes[status >> 8].text;
        hint = login_classes[status >> 8].advice;
    }
    for (size_t i = 0; i < ARRAY_SIZE(login_texts); i++)
        if (login_texts[i].status == status) {
            text = login_texts[i].text;
            hint = login_texts[i].advice;
        }
    if (advice)
        *advice = hint;
    return text;
}
