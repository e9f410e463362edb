/*
 * lists.h - parameter lists of commands, most of them as they should be, made of few bytes of an input
 */
#ifndef FUZZ_LISTS_H
#define FUZZ_LISTS_H

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"
#include "tests/fuzz/fuzz.h"

/* MODE SELECT: which pages, and what may be changed in them. @out: zeroed, 64 bytes. Return: bytes. */
static inline uint32_t list_mode(uint8_t *out, struct fuzz_in *in, bool ten, uint32_t blocks, uint32_t block_len)
{
    enum { DESCRIPTOR = 1, CACHING = 2, CONTROL = 4, EXCEPTIONS = 8, WCE = 16, D_SENSE = 32, SWP = 64, LONG = 128 };
    const uint8_t bits = fuzz_u8(in);
    uint32_t at = ten ? 8 : 4;

    if (bits & DESCRIPTOR) {
        const bool wide = ten && bits & LONG;

        out[4] = wide;
        out[ten ? 7 : 3] = wide ? 16 : 8;
        store_be32(&out[at + (wide ? 4 : 0)], bits & EXCEPTIONS ? blocks : 0);
        store_be32(&out[at + (wide ? 12 : 4)], block_len);
        at += wide ? 16 : 8;
    }
    if (bits & CACHING) {
        memcpy(&out[at], (const uint8_t[]){ 0x08, 18, bits & WCE ? 0x04 : 0 }, 3);
        at += 20;
    }
    if (bits & CONTROL) {
        memcpy(&out[at], (const uint8_t[]){ 0x0a, 10, bits & D_SENSE ? 0x24 : 0x20, 0x10, bits & SWP ? 8 : 0, 0x40 }, 6);
        at += 12;
    }
    if (bits & EXCEPTIONS) {
        memcpy(&out[at], (const uint8_t[]){ 0x1c, 10, 0x08 }, 3);
        at += 12;
    }
    return at;
}

/* UNMAP: up to three ranges. @out: zeroed, 64 bytes. Return: bytes. */
static inline uint32_t list_unmap(uint8_t *out, struct fuzz_in *in)
{
    const uint32_t nr = fuzz_u8(in) & 3;

    store_be16(&out[0], (uint16_t)(6 + 16 * nr));
    store_be16(&out[2], (uint16_t)(16 * nr));
    for (uint32_t i = 0; i < nr; i++) {
        out[8 + 16 * i + 7] = fuzz_u8(in);
        out[8 + 16 * i + 11] = fuzz_u8(in);
    }
    return 8 + 16 * nr;
}

/* PERSISTENT RESERVE OUT, of few keys and names, so that they meet. @out: zeroed, 28 + PR_TID_MAX bytes; @sa, @type:
 * of the CDB. Return: bytes. */
static inline uint32_t list_reserve(uint8_t *out, struct fuzz_in *in, uint8_t *sa, uint8_t *type)
{
    const uint8_t what = fuzz_u8(in), keys = fuzz_u8(in), flags = fuzz_u8(in), who = keys >> 4 & 3;
    const bool move = (what & 7) == 7;
    const uint32_t head = move ? 24 : 28;
    struct lun_reg to = { .any_isid = keys & 0x80, .isid = { [5] = (uint8_t)(who + 1) } };
    uint32_t len;

    *sa = what & 7;
    *type = what >> 3 & 15;
    out[7] = keys & 3;
    out[15] = keys >> 2 & 3;
    out[20] = flags & 0x0d;
    if (!(flags & 0x08))
        return 24;
    /* With whom: one of the two that the unit knows, or one who is not there. */
    snprintf(to.initiator, sizeof(to.initiator), "iqn.2024-01.org.example:host%u", who);
    len = pr_tid_encode(out + head, &to);
    store_be32(&out[head - 4], len);
    if (move) {
        out[17] = flags >> 4 & 3;
        out[19] = (uint8_t)(who + 1);       /* the port that it comes in by; there are two */
    }
    return head + len;
}

/* SET TARGET PORT GROUPS: up to three groups, of which there are two. @out: zeroed, 16 bytes. Return: bytes. */
static inline uint32_t list_groups(uint8_t *out, struct fuzz_in *in)
{
    static const uint8_t states[8] = { 0, 1, 2, 3, 14, 0, 4, 15 };
    const uint32_t nr = fuzz_u8(in) & 3;

    for (uint32_t i = 0; i < nr; i++) {
        const uint8_t what = fuzz_u8(in);

        out[4 + 4 * i] = states[what & 7];
        out[4 + 4 * i + 3] = what >> 3 & 3;
    }
    return 4 + 4 * nr;
}

#endif
