/*
 * keys.h - text keys: the table, the text format, and the negotiation of operational parameters
 *
 * Every key of RFC 7143 13 is one row. From the rows come the struct of results, the parser, the offers and
 * the answers of both ends.
 */
#ifndef CORELANE_ISCSI_KEYS_H
#define CORELANE_ISCSI_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "iscsi/proto.h"

#define ISCSI_KEY_LEN_MAX 63u               /* 6.1 */
#define ISCSI_VALUE_LEN_MAX 255u            /* 6.1; text-values that may be longer say so in their row */

/* Operational keys with a number, a boolean or a digest as result.
 *      key                       field           kind   default   min       max       rule */
#define ISCSI_KEYS(X)                                                                                        \
    X(HeaderDigest,             header_digest,    DIGEST,      0,   0,        1, LIST)    /* 13.1 */         \
    X(DataDigest,               data_digest,      DIGEST,      0,   0,        1, LIST)    /* 13.1 */         \
    X(MaxConnections,           connections_max,  NUM,         1,   1,    65535, MIN)     /* 13.2 */         \
    X(InitialR2T,               initial_r2t,      BOOL,        1,   0,        1, OR)      /* 13.10 */        \
    X(ImmediateData,            immediate_data,   BOOL,        1,   0,        1, AND)     /* 13.11 */        \
    X(MaxRecvDataSegmentLength, recv_data_max,    NUM,      8192, 512, 16777215, DECLARE) /* 13.12 */        \
    X(MaxBurstLength,           burst_max,        NUM,    262144, 512, 16777215, MIN)     /* 13.13 */        \
    X(FirstBurstLength,         first_burst_max,  NUM,     65536, 512, 16777215, MIN)     /* 13.14 */        \
    X(DefaultTime2Wait,         time2wait_s,      NUM,         2,   0,     3600, MAX)     /* 13.15 */        \
    X(DefaultTime2Retain,       time2retain_s,    NUM,        20,   0,     3600, MIN)     /* 13.16 */        \
    X(MaxOutstandingR2T,        r2t_max,          NUM,         1,   1,    65535, MIN)     /* 13.17 */        \
    X(DataPDUInOrder,           pdu_in_order,     BOOL,        1,   0,        1, OR)      /* 13.18 */        \
    X(DataSequenceInOrder,      seq_in_order,     BOOL,        1,   0,        1, OR)      /* 13.19 */        \
    X(ErrorRecoveryLevel,       erl,              NUM,         0,   0,        2, MIN)     /* 13.20 */

/* What one side wants, or what both agreed on. Digest fields: 0 None, 1 CRC32C. In an offer, *_digest_pref
 * gives the list that is offered or accepted. */
enum iscsi_digest_pref {
    ISCSI_DIGEST_NONE,                      /* None */
    ISCSI_DIGEST_NONE_CRC32C,               /* None,CRC32C: either, rather without */
    ISCSI_DIGEST_CRC32C_NONE,               /* CRC32C,None: either, rather with */
    ISCSI_DIGEST_CRC32C,                    /* CRC32C */
};
struct iscsi_params {
#define X(key, field, kind, def, lo, hi, rule) uint32_t field;
    ISCSI_KEYS(X)
#undef X
    uint32_t peer_recv_data_max;            /* bytes; the MaxRecvDataSegmentLength that the peer declared */
    enum iscsi_digest_pref header_digest_pref, data_digest_pref;   /* offers only */
};

/* RFC 7143's defaults. */
void iscsi_params_default(struct iscsi_params *out);

/* ---- key=value text ----------------------------------------------------------------------------------- */

/* A bounded text under construction: what does not fit sets overflow and is left out. */
struct iscsi_text {
    char *buf;                              /* borrowed */
    uint32_t len, len_max;                  /* bytes */
    bool overflow;
};
void iscsi_text_init(struct iscsi_text *t, char *buf, uint32_t len_max);
/* Appends "key=value" and its NUL. */
void iscsi_text_add(struct iscsi_text *t, const char *key, const char *value);
void iscsi_text_addf(struct iscsi_text *t, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * iscsi_text_next - walk the pairs of a data segment
 * @pos: borrowed; 0 at first
 * @key, @value: borrowed; point into @data, NUL-terminated: the walk writes a NUL over '='
 *
 * Return: 1 with a pair, 0 at the end, -EPROTO for text that RFC 7143 6.1 does not allow (no '=', no NUL, a
 * key that is no standard-label or over 63 bytes).
 */
int iscsi_text_next(char *data, uint32_t len, uint32_t *pos, char **key, char **value);

/* Numbers as keys carry them: decimal or 0x hex, no sign, at most 64 bits (6.1). Return: 0 or -EINVAL. */
int iscsi_text_number(const char *value, uint64_t *out);
/* A binary value: 0x hex or 0b base64 (6.1). Refuses odd nibbles, bad characters and more than @max bytes
 * before writing any. Return: bytes written, or -EINVAL. */
int iscsi_text_binary(const char *value, uint8_t *out, size_t max);
/* "0x..." of @len bytes into @out, which holds 2 * len + 3. */
void iscsi_text_hex(const uint8_t *bytes, size_t len, char *out);

/* ---- negotiation --------------------------------------------------------------------------------------- */

/* Who negotiates, in which kind of session: some keys are Irrelevant to discovery. */
struct iscsi_negotiation {
    enum iscsi_role { ISCSI_INITIATOR, ISCSI_TARGET } role;
    bool discovery;
    bool leading;                           /* the first connection of its session */
    const struct iscsi_params *offer;       /* borrowed for its life: what this side wants at most */
    struct iscsi_params result;             /* agreed so far; defaults where nothing was said */
    uint64_t seen, sent;                    /* rows that were received and sent: a key is negotiated once */
};
void iscsi_negotiation_init(struct iscsi_negotiation *n, enum iscsi_role role, bool discovery,
                            const struct iscsi_params *offer);

/* Initiator: adds every operational key that this kind of session negotiates. Target: adds what a target
 * declares of its own accord (MaxRecvDataSegmentLength) and has not yet sent. */
void iscsi_negotiation_offer(struct iscsi_negotiation *n, struct iscsi_text *out);

enum iscsi_key_result {
    ISCSI_KEY_OK,                           /* taken; an answer was added to @out where one is due */
    ISCSI_KEY_NOT_OURS,                     /* no operational key: the caller looks in its own table */
    ISCSI_KEY_REJECTED,                     /* answered Reject: the value breaks the key's rule */
    ISCSI_KEY_AGAIN,                        /* negotiated a second time: RFC 7143 6.3, ends the login */
    ISCSI_KEY_BAD_ANSWER,                   /* the peer's answer is not one the offer allows, or was not asked */
};
/* One received pair. A key that we have not offered is the peer's offer, in both roles, and is answered. The
 * markers of RFC 3720 are answered as RFC 7143 13.25 asks: "No", and "Reject" for their intervals. */
enum iscsi_key_result iscsi_negotiation_take(struct iscsi_negotiation *n, const char *key, const char *value,
                                             struct iscsi_text *out);
/* True when nothing that this side offered still waits for an answer. */
bool iscsi_negotiation_done(const struct iscsi_negotiation *n);
/* Last checks and mends once both sides are through: FirstBurstLength <= MaxBurstLength; an offer without answer
 * settles on what is safe under the default and the offer alike. Return: 0, or -EPROTO when a digest that this
 * side insists on was not agreed. */
int iscsi_negotiation_finish(struct iscsi_negotiation *n);

#endif
