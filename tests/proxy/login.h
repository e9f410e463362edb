/*
 * login.h - watches a stream of the target's until login is over, and says whether both digests were agreed on
 *
 * A flipped bit is a fault that must be noticed only where a CRC covers it. During login nothing does, and a flip in its
 * text could even talk the digests away; so flips wait for this.
 */
#ifndef CORELANE_PROXY_LOGIN_H
#define CORELANE_PROXY_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGIN_PDU_MAX (48 + 255 * 4 + 16384) /* of a Login Response: what is longer is not watched on */

struct login { /* zeroed before its first use */
    uint8_t pdu[LOGIN_PDU_MAX];
    uint32_t have;       /* bytes of it */
    bool header, data;   /* HeaderDigest, DataDigest: CRC32C was answered */
    bool over, given_up; /* the last PDU of login has passed; or it is no login that we understand */
};

/* The next bytes that the target sent. */
void login_feed(struct login *l, const uint8_t *bytes, size_t len);
/* Every byte that follows in either direction is covered by a CRC32C. */
bool login_covered(const struct login *l);

#endif
