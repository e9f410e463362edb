/*
 * chap.h - CHAP as iSCSI uses it, both ends: pure state machines over text keys (RFC 7143 12.1, RFC 1994)
 *
 * A side feeds the keys that came and gets the keys to send. Nothing here touches a socket or a clock;
 * randomness is given. Compares are constant in time; an unknown user takes as long as a wrong secret.
 */
#ifndef CORELANE_ISCSI_CHAP_H
#define CORELANE_ISCSI_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "iscsi/keys.h"

enum chap_alg { CHAP_MD5 = 5, CHAP_SHA1 = 6, CHAP_SHA256 = 7, CHAP_SHA3_256 = 8 };   /* IANA PPP registry */
#define CHAP_ALGS_ALL ((1u << CHAP_MD5) | (1u << CHAP_SHA1) | (1u << CHAP_SHA256) | (1u << CHAP_SHA3_256))
#define CHAP_SECRET_LEN_MIN 12u             /* bytes; 96 bits, 12.1.3.1; enforced where secrets are configured */
#define CHAP_SECRET_LEN_MAX 255u
#define CHAP_NAME_LEN_MAX 255u
#define CHAP_DIGEST_LEN_MAX 32u
#define CHAP_CHALLENGE_LEN_MAX 1024u        /* bytes; what a key of 12.1.3 may carry */

struct chap_cred {                          /* both empty: none; one of them alone fails the login */
    char name[CHAP_NAME_LEN_MAX + 1];
    uint8_t secret[CHAP_SECRET_LEN_MAX];
    uint32_t secret_len;
};
/* Whether a secret or a pair of secrets may be configured: 12..255 bytes, and not the same in both
 * directions (12.1.3: a reflection attack). Return: NULL, or what is wrong with it and how to mend it. */
const char *chap_secret_refusal(const void *secret, size_t len, const void *other, size_t other_len);
/* "MD5", "SHA1", "SHA256", "SHA3-256" as in node.session.auth.chap_algs. 0: not known. */
unsigned chap_alg_from_name(const char *name);
const char *chap_alg_name(unsigned alg);

/* ---- initiator ----------------------------------------------------------------------------------------- */

struct chap_initiator {
    const struct chap_cred *out;            /* borrowed; what we prove */
    const struct chap_cred *in;             /* borrowed; what the target must prove, or NULL */
    unsigned algs;                          /* bits of 1 << enum chap_alg; offered strongest first */
    unsigned state, alg;
    uint8_t own_id, own_challenge[CHAP_DIGEST_LEN_MAX];
    uint32_t own_challenge_len;
};
/* @random: 33 unpredictable bytes for our own identifier and challenge. */
void chap_initiator_init(struct chap_initiator *c, const struct chap_cred *out, const struct chap_cred *in,
                         unsigned algs, const uint8_t random[static 33]);

enum chap_step {
    CHAP_CONTINUE,                          /* send @out and wait for the answer */
    CHAP_DONE,                              /* proved, both ways where asked; @out may hold a last answer */
    CHAP_FAILED,                            /* the peer is not who it should be, or breaks the rules */
    CHAP_NO_ALG,                            /* initiator: the target knows none of the offered digests */
};
/* The CHAP_* pairs of one login PDU (of all PDUs joined by the C bit), as received. pairs may be NULL at the
 * start: the first offer, CHAP_A. Every other key is ignored. @data is written over by the walk. */
enum chap_step chap_initiator_step(struct chap_initiator *c, char *data, uint32_t len, struct iscsi_text *out);

/* ---- target -------------------------------------------------------------------------------------------- */

struct chap_target {
    unsigned algs;                          /* accepted: bits of 1 << enum chap_alg */
    unsigned state, alg;
    uint8_t id, challenge[CHAP_DIGEST_LEN_MAX];
    uint32_t challenge_len;
    bool mutual_done;                       /* the initiator asked us to prove ourselves and we did */
    char user[CHAP_NAME_LEN_MAX + 1];       /* CHAP_N as received, for the log */
};
/* @random: 33 unpredictable bytes. */
void chap_target_init(struct chap_target *c, unsigned algs, const uint8_t random[static 33]);
/* @in: what the initiator must prove; several users may be right: @in_nr of them. @out: what we prove when asked;
 * NULL: asked all the same is a failure. A challenge that equals our own is refused (reflection). */
enum chap_step chap_target_step(struct chap_target *c, const struct chap_cred *in, unsigned in_nr,
                                const struct chap_cred *out_cred, char *data, uint32_t len,
                                struct iscsi_text *out);

#endif
