/*
 * text.c - key=value text: the bounded writer, the walk, and values that carry numbers and bytes
 *
 * RFC 7143 6.1. Nothing here knows a key; nothing allocates. What comes from a peer is checked whole before any
 * of it is written anywhere.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "iscsi/keys.h"

/* ---- writing ------------------------------------------------------------------------------------------- */

void iscsi_text_init(struct iscsi_text *t, char *buf, uint32_t len_max)
{
    *t = (struct iscsi_text) { .buf = buf, .len_max = len_max };
}

/* Room for one more pair of that many bytes, its NUL included. After the first that did not fit nothing else is
 * added: a text with a hole in the middle would say something nobody meant. */
static bool text_room(struct iscsi_text *t, size_t need)
{
    if (t->overflow || need > t->len_max - t->len) {
        t->overflow = true;
        return false;
    }
    return true;
}

void iscsi_text_add(struct iscsi_text *t, const char *key, const char *value)
{
    const size_t key_len = strlen(key), value_len = strlen(value);

    if (!text_room(t, key_len + 1 + value_len + 1))
        return;
    memcpy(t->buf + t->len, key, key_len);
    t->len += (uint32_t)key_len;
    t->buf[t->len++] = '=';
    memcpy(t->buf + t->len, value, value_len + 1);
    t->len += (uint32_t)value_len + 1;
}

void iscsi_text_addf(struct iscsi_text *t, const char *key, const char *fmt, ...)
{
    const size_t key_len = strlen(key);
    size_t room;
    va_list ap;
    int n;

    if (!text_room(t, key_len + 2))         /* an empty value at least; then it is tried in what is left */
        return;
    room = t->len_max - t->len - (key_len + 1);
    va_start(ap, fmt);
    n = vsnprintf(t->buf + t->len + key_len + 1, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room) {
        t->overflow = true;
        return;
    }
    memcpy(t->buf + t->len, key, key_len);
    t->buf[t->len + key_len] = '=';
    t->len += (uint32_t)(key_len + 1 + (size_t)n + 1);
}

void iscsi_text_hex(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";

    *out++ = '0';
    *out++ = 'x';
    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A standard-label of 6.1. Besides: '#', for the public extension keys "X#..." that RFC 3720 had, and the one
 * key of the RFC (13.24) that does not start with a capital letter as its own rule demands. */
static bool label_ok(const char *key, size_t len)
{
    static const char odd[] = "iSCSIProtocolLevel";

    if (len == sizeof(odd) - 1 && !memcmp(key, odd, len))
        return true;
    if (!len || len > ISCSI_KEY_LEN_MAX || !is_upper(key[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_upper(key[i]) && !is_digit(key[i]) && !(key[i] >= 'a' && key[i] <= 'z') &&
            !strchr(".-+@_#", key[i]))
            return false;
    return true;
}

int iscsi_text_next(char *data, uint32_t len, uint32_t *pos, char **key, char **value)
{
    uint32_t at = *pos;
    char *start, *end, *eq;

    while (at < len && !data[at])           /* "at least one null", 6.1: some send more, or pad with them */
        at++;
    *pos = at;
    if (at >= len)
        return 0;
    start = data + at;
    end = memchr(start, '\0', len - at);
    if (!end)
        return -EPROTO;
    eq = memchr(start, '=', (size_t)(end - start));
    if (!eq || !label_ok(start, (size_t)(eq - start)))
        return -EPROTO;
    *eq = '\0';
    *key = start;
    *value = eq + 1;
    *pos = (uint32_t)(end - data) + 1;
    return 1;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool has_prefix(const char *value, char letter)
{
    return value[0] == '0' && (value[1] | 0x20) == letter;
}

int iscsi_text_number(const char *value, uint64_t *out)
{
    const bool hex = has_prefix(value, 'x');
    const unsigned base = hex ? 16 : 10;
    uint64_t n = 0;

    if (hex)
        value += 2;
    else if (value[0] == '0' && value[1])   /* 6.1 has no leading zeros in decimal: octal to some, so refused */
        return -EINVAL;
    if (!*value)
        return -EINVAL;
    for (; *value; value++) {
        const int d = hex ? hex_digit(*value) : is_digit(*value) ? *value - '0' : -1;

        if (d < 0 || n > (UINT64_MAX - (unsigned)d) / base)
            return -EINVAL;
        n = n * base + (unsigned)d;
    }
    *out = n;
    return 0;
}

static int hex_binary(const char *value, uint8_t *out, size_t max)
{
    const size_t len = strlen(value);

    if (!len || len % 2 || len / 2 > max)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        if (hex_digit(value[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < len / 2; i++)
        out[i] = (uint8_t)((unsigned)hex_digit(value[2 * i]) << 4 | (unsigned)hex_digit(value[2 * i + 1]));
    return (int)(len / 2);
}

static int base64_digit(char c)
{
    if (is_upper(c))
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648. Padding may be left out, but where it is it must be right, and bits beyond the last byte are zero:
 * one value has one length and one meaning. */
static int base64_binary(const char *value, uint8_t *out, size_t max)
{
    const size_t whole = strlen(value);
    size_t len = whole, bytes, n = 0;
    uint32_t acc = 0;
    unsigned bits = 0, last;

    while (len && whole - len < 2 && value[len - 1] == '=')
        len--;
    bytes = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);
    if (!len || len % 4 == 1 || (len != whole && whole % 4) || bytes > max)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        if (base64_digit(value[i]) < 0)
            return -EINVAL;
    last = (unsigned)base64_digit(value[len - 1]);
    if ((len % 4 == 2 && last & 15) || (len % 4 == 3 && last & 3))
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        acc = acc << 6 | (uint32_t)base64_digit(value[i]);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (uint8_t)(acc >> bits);
        }
    }
    return (int)n;
}

int iscsi_text_binary(const char *value, uint8_t *out, size_t max)
{
    if (has_prefix(value, 'x'))
        return hex_binary(value + 2, out, max);
    if (has_prefix(value, 'b'))
        return base64_binary(value + 2, out, max);
    return -EINVAL;
}
