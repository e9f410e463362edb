/*
 * offer.c - the text of the negotiation
 *
 * What is read here is one spelling and no other: a value is what our own encoder would have written, or it is not
 * ours. So there is nothing to be lenient about, and an offer of this machine is equal to our own, byte for byte.
 */
#include <stdio.h>
#include <string.h>

#include "loopback/offer.h"
#include "loopback/ring.h"

/* Of both values; LOOP_VERSION is a number with a suffix, which is no text. */
#define VERSION_TEXT "1,"
static_assert(LOOP_VERSION == 1, "VERSION_TEXT");

#define HEX_DIGITS (2 * LOOP_TOKEN_LEN)
#define PATH_AT    (sizeof(VERSION_TEXT) - 1 + HEX_DIGITS + 1)
static_assert(PATH_AT + LOOP_PATH_LEN_MAX < LOOP_TEXT_MAX, "an invitation fits");
static_assert(sizeof(VERSION_TEXT) + RT_BOOT_ID_LEN <= LOOP_TEXT_MAX, "an offer fits");

/* ---- offer ------------------------------------------------------------------------------------------------ */

/* Hexadecimal digits and dashes: it has to stand in a text value, and the kernel writes nothing else. */
static bool boot_id_good(const char *id)
{
    return strlen(id) == RT_BOOT_ID_LEN && strspn(id, "0123456789abcdef-") == RT_BOOT_ID_LEN;
}

bool loop_offer_encode_for(const char *boot_id, char out[static LOOP_TEXT_MAX])
{
    if (!boot_id_good(boot_id))
        return false;
    snprintf(out, LOOP_TEXT_MAX, VERSION_TEXT "%s", boot_id);
    return true;
}

bool loop_offer_is_for(const char *boot_id, const char *value)
{
    char ours[LOOP_TEXT_MAX];

    return loop_offer_encode_for(boot_id, ours) && !strcmp(value, ours);
}

bool loop_offer_encode(char out[static LOOP_TEXT_MAX])
{
    char id[RT_BOOT_ID_LEN + 1];

    rt_boot_id(id);
    return loop_offer_encode_for(id, out);
}

bool loop_offer_is_ours(const char *value)
{
    char id[RT_BOOT_ID_LEN + 1];

    rt_boot_id(id);
    return loop_offer_is_for(id, value);
}

/* ---- invitation ------------------------------------------------------------------------------------------- */

/* An absolute path that can stand in a text value, where commas part a list, and in a line for people. */
static bool path_good(const char *path)
{
    const size_t len = strnlen(path, LOOP_PATH_LEN_MAX + 1);

    if (len > LOOP_PATH_LEN_MAX || path[0] != '/' || !path[1])
        return false;
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == ',' || *p == 0x7f)
            return false;
    return true;
}

bool loop_invitation_encode(const struct loop_invitation *inv, char out[static LOOP_TEXT_MAX])
{
    char hex[HEX_DIGITS + 1];

    if (!path_good(inv->path))
        return false;
    for (unsigned i = 0; i < LOOP_TOKEN_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", inv->token[i]);
    snprintf(out, LOOP_TEXT_MAX, VERSION_TEXT "%s,%s", hex, inv->path);
    return true;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @hex: HEX_DIGITS of them, or less and a NUL. */
static bool token_read(uint8_t token[static LOOP_TOKEN_LEN], const char *hex)
{
    for (unsigned i = 0; i < LOOP_TOKEN_LEN; i++) {
        const int hi = hex_value(hex[2 * i]), lo = hi < 0 ? -1 : hex_value(hex[2 * i + 1]);

        if (lo < 0)
            return false;
        token[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

/* What is said instead of an invitation: RFC 7143 6.2 has the last three. */
static const struct {
    const char *value, *why;
} declined[] = {
    { "No", "the target is on another machine, or has shared memory switched off" },
    { "NotUnderstood", "the target does not know it (NotUnderstood)" },
    { "Reject", "the target refused it (Reject)" },
    { "Irrelevant", "the target has no use for it (Irrelevant)" },
};

const char *loop_invitation_decode(struct loop_invitation *out, const char *value)
{
    struct loop_invitation inv = { 0 };

    for (unsigned i = 0; i < ARRAY_SIZE(declined); i++)
        if (!strcmp(value, declined[i].value))
            return declined[i].why;
    if (strncmp(value, VERSION_TEXT, sizeof(VERSION_TEXT) - 1)) {
        const size_t digits = strspn(value, "0123456789");

        return digits && value[digits] == ','
                   ? "the target speaks another version of it: use the same release on both ends"
                   : "the target's answer to it cannot be read";
    }
    /* The token's digits hold no NUL, so what follows them is still in the string. */
    if (!token_read(inv.token, value + sizeof(VERSION_TEXT) - 1) || value[PATH_AT - 1] != ',' ||
        !path_good(value + PATH_AT))
        return "the target's answer to it cannot be read";
    memcpy(inv.path, value + PATH_AT, strlen(value + PATH_AT) + 1);
    *out = inv;
    return NULL;
}
