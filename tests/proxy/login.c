/*
 * login.c - see login.h
 *
 * Bytes are looked at here with no help of the library that is tested. RFC 7143 11.2 (header), 11.13 (Login
 * Response); no digests until login is over (RFC 7143 6.3).
 */
#include "tests/proxy/login.h"

#include <string.h>

#define BHS_LEN      48u
#define OP_LOGIN_RSP 0x23

/* Of the PDU whose header is there; LOGIN_PDU_MAX + 1 if it does not fit. */
static uint32_t pdu_len(const struct login *l)
{
    const uint32_t data = (uint32_t)l->pdu[5] << 16 | (uint32_t)l->pdu[6] << 8 | l->pdu[7];
    const uint32_t len = BHS_LEN + 4u * l->pdu[4] + (data + 3) / 4 * 4;

    return len <= LOGIN_PDU_MAX ? len : LOGIN_PDU_MAX + 1;
}

static void text_look(struct login *l, const char *text, const char *end)
{
    for (; text < end; text += strnlen(text, (size_t)(end - text)) + 1) {
        const size_t len = strnlen(text, (size_t)(end - text));

        if (len == strlen("HeaderDigest=CRC32C") && !memcmp(text, "HeaderDigest=CRC32C", len))
            l->header = true;
        if (len == strlen("DataDigest=CRC32C") && !memcmp(text, "DataDigest=CRC32C", len))
            l->data = true;
    }
}

static void pdu_look(struct login *l, uint32_t len)
{
    const uint8_t *p = l->pdu;

    if ((p[0] & 0x3f) != OP_LOGIN_RSP || p[36]) { /* another opcode, or a status of failure */
        l->given_up = true;
        return;
    }
    text_look(l, (const char *)p + BHS_LEN + 4u * p[4], (const char *)p + len);
    l->over = (p[1] & 0x83) == 0x83; /* T, and NSG is FullFeaturePhase */
}

void login_feed(struct login *l, const uint8_t *bytes, size_t len)
{
    while (len && !l->over && !l->given_up) {
        const uint32_t want = l->have < BHS_LEN ? BHS_LEN : pdu_len(l);
        const size_t n = want - l->have < len ? want - l->have : len;

        memcpy(l->pdu + l->have, bytes, n);
        l->have += (uint32_t)n;
        bytes += n;
        len -= n;
        if (l->have < BHS_LEN)
            return;
        if (pdu_len(l) > LOGIN_PDU_MAX) {
            l->given_up = true;
        } else if (l->have == pdu_len(l)) {
            pdu_look(l, l->have);
            l->have = 0;
        }
    }
}

bool login_covered(const struct login *l)
{
    return l->over && l->header && l->data;
}
