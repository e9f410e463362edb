/*
 * name.c - names, portals and URLs as people type them, with a sentence for each way to get them wrong
 *
 * Pure parsing: whether a host resolves or a target exists is found out elsewhere.
 */
#include <stdio.h>
#include <string.h>
#include "iscsi/name.h"

/* ---- characters ---------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int hex_digit(char c)
{
    c = to_lower(c);
    if (is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_hex(const char *s)
{
    while (*s && hex_digit(*s) >= 0)
        s++;
    return !*s;
}

/* ---- iSCSI names --------------------------------------------------------------------------------------- */

/* What follows "iqn.": yyyy-mm, a reversed domain name, and perhaps ':' and anything. */
static const char *iqn_refusal(const char *s)
{
    static const char date[] = "dddd-dd.";
    unsigned month;

    for (unsigned i = 0; date[i]; i++)
        if (date[i] == 'd' ? !is_digit(s[i]) : s[i] != date[i])
            return "an iqn. name needs a date and a reversed domain name: iqn.yyyy-mm.com.example:anything";
    month = (unsigned)(s[5] - '0') * 10 + (unsigned)(s[6] - '0');
    if (month < 1 || month > 12)
        return "the date in the iSCSI name has no such month: iqn.yyyy-mm with 01 to 12";
    s += sizeof(date) - 1;
    if (!is_lower(to_lower(*s)) && !is_digit(*s))
        return "the iSCSI name has no domain name after its date: iqn.yyyy-mm.com.example:anything";
    return NULL;
}

static const char *eui_refusal(const char *s)
{
    return strlen(s) == 16 && all_hex(s) ? NULL : "an eui. name is eui. and 16 hexadecimal digits";
}

static const char *naa_refusal(const char *s)
{
    const size_t len = strlen(s);

    if ((len != 16 && len != 32) || !all_hex(s))
        return "a naa. name is naa. and 16 or 32 hexadecimal digits";
    return NULL;
}

const char *iscsi_name_refusal(const char *name, char out[static ISCSI_NAME_LEN_MAX + 1])
{
    static const struct {
        char prefix[5];
        const char *(*refusal)(const char *rest);
    } types[] = { { "iqn.", iqn_refusal }, { "eui.", eui_refusal }, { "naa.", naa_refusal } };
    const size_t len = strlen(name);

    if (!len)
        return "the iSCSI name is empty: it looks like iqn.yyyy-mm.com.example:anything";
    if (len > ISCSI_NAME_LEN_MAX)
        return "the iSCSI name is longer than 223 bytes";
    for (size_t i = 0; i < len; i++) {
        const char c = to_lower(name[i]);

        /* RFC 3722 has no '_' either, but names in use have; it is safe in a path and on a command line. */
        if (!is_lower(c) && !is_digit(c) && !strchr("-.:_", c))
            return "the iSCSI name has a character that is none of letters, digits, '-', '.', ':' and '_'";
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const char *why;

        if (strncasecmp(name, types[i].prefix, 4) != 0)
            continue;
        why = types[i].refusal(name + 4);
        for (size_t j = 0; !why && j <= len; j++)
            out[j] = to_lower(name[j]);
        return why;
    }
    return "the iSCSI name has no known type: it starts with iqn., eui. or naa.";
}

/* ---- portals ------------------------------------------------------------------------------------------- */

/* Reads a decimal of [@min, @max] that ends at @end. */
static bool number_read(const char *s, const char *end, unsigned min, unsigned max, uint16_t *out)
{
    unsigned v = 0;

    if (s == end || end - s > 5)
        return false;
    for (; s < end; s++) {
        if (!is_digit(*s))
            return false;
        v = v * 10 + (unsigned)(*s - '0');
    }
    if (v < min || v > max)
        return false;
    *out = (uint16_t)v;
    return true;
}

/* An IPv6 address, "%zone" after it allowed: at most eight groups, fewer only with one "::". A dotted IPv4 tail
 * counts for two. Whether such an address exists is not asked. */
static bool v6_ok(const char *s, size_t len)
{
    unsigned groups = 0, gaps = 0, digits = 0;
    size_t i;

    for (i = 0; i < len && s[i] != '%'; i++) {
        if (s[i] == ':') {
            if (i + 1 < len && s[i + 1] == ':') {
                gaps++;
                i++;
            } else if (!i || i + 1 == len || s[i + 1] == '%') {
                return false;               /* a lone ':' at either end */
            }
            digits = 0;
        } else if (s[i] == '.') {
            size_t dots = 0;

            for (; i < len && (is_digit(s[i]) || s[i] == '.'); i++)
                dots += s[i] == '.';
            groups++;                       /* the group its first number was counted as, and one more */
            if (dots != 3 || (i < len && s[i] != '%'))
                return false;
            break;
        } else if (hex_digit(s[i]) < 0 || ++digits > 4) {
            return false;
        } else if (digits == 1) {
            groups++;
        }
    }
    if (i < len && (s[i] != '%' || i + 1 == len))
        return false;
    /* What parts an address from what is around it cannot be in it: it is written between brackets. */
    for (; i < len; i++)
        if (s[i] <= ' ' || s[i] == 0x7f || strchr("/[],", s[i]))
            return false;
    return gaps ? gaps == 1 && groups < 8 : groups == 8;
}

static bool host_ok(const char *s, size_t len)
{
    if (!len || s[0] == '-' || s[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_lower(to_lower(s[i])) && !is_digit(s[i]) && !strchr("-._", s[i]))
            return false;
    return true;
}

const char *iscsi_portal_parse(struct iscsi_portal *out, const char *text)
{
    struct iscsi_portal p = { .port = ISCSI_PORT };
    const char *end = text + strlen(text), *host = text, *host_end, *port = NULL;
    const char *comma = strchr(text, ',');
    bool v6 = false;

    if (comma) {
        if (!number_read(comma + 1, end, 0, 65535, &p.tpgt))
            return "the portal group tag after ',' is no number of 0 to 65535";
        end = comma;
    }
    if (*text == '[') {
        host_end = memchr(text, ']', (size_t)(end - text));
        if (!host_end)
            return "the portal's '[' has no ']': an IPv6 portal looks like [2001:db8::1]:3260";
        if (host_end + 1 < end && host_end[1] != ':')
            return "only ':' and a port may follow the ']' of an IPv6 portal";
        host++;
        v6 = true;
        port = host_end + 1 < end ? host_end + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', (size_t)(end - text));

        /* More than one ':' is an address without a port; with one it needs its brackets. */
        v6 = colon && memchr(colon + 1, ':', (size_t)(end - colon - 1));
        host_end = colon && !v6 ? colon : end;
        port = colon && !v6 ? colon + 1 : NULL;
    }
    if (port && !number_read(port, end, 1, 65535, &p.port))
        return "the portal's port is no number of 1 to 65535";
    if (host_end == host)
        return "the portal has no host: it looks like 192.0.2.1:3260, host:3260 or [2001:db8::1]:3260";
    if ((size_t)(host_end - host) >= sizeof(p.host))
        return "the portal's host is longer than 255 bytes";
    if (v6 && !v6_ok(host, (size_t)(host_end - host)))
        return "the portal's host is no IPv6 address: it looks like [2001:db8::1]:3260";
    if (!v6 && !host_ok(host, (size_t)(host_end - host)))
        return "the portal's host is neither an address nor a host name";
    memcpy(p.host, host, (size_t)(host_end - host));
    *out = p;
    return NULL;
}

void iscsi_portal_format(const struct iscsi_portal *p, char out[static ISCSI_PORTAL_STR_MAX])
{
    snprintf(out, ISCSI_PORTAL_STR_MAX, strchr(p->host, ':') ? "[%s]:%u" : "%s:%u", p->host, p->port);
}

/* ---- URLs ---------------------------------------------------------------------------------------------- */

/* Copies [@s, @end) with %XX undone. False when it does not fit in @size with its NUL, or holds a %00. A '%'
 * that starts no escape stands for itself: URLs of libiscsi carry secrets as they are. */
static bool url_unescape(const char *s, const char *end, char *out, size_t size)
{
    size_t n = 0;

    while (s < end) {
        char c = *s++;

        if (c == '%' && end - s >= 2 && hex_digit(s[0]) >= 0 && hex_digit(s[1]) >= 0) {
            c = (char)(hex_digit(s[0]) << 4 | hex_digit(s[1]));
            s += 2;
            if (!c)
                return false;
        }
        if (n + 1 >= size)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

/* The part before the last '@'. As libiscsi has it, the first '%' ends the user, so only the secret can hold
 * escapes: "user%12345" is the user "user" with the secret "12345". */
static const char *url_user(struct iscsi_url *u, const char *s, const char *at)
{
    const char *percent = memchr(s, '%', (size_t)(at - s));

    if (!url_unescape(s, percent ? percent : at, u->user, sizeof(u->user)))
        return "the user in the URL is longer than 255 bytes";
    if (!u->user[0])
        return "the URL has '@' and no user before it: iscsi://user%secret@host/target/lun";
    if (percent && !url_unescape(percent + 1, at, u->secret, sizeof(u->secret)))
        return "the secret in the URL is longer than 255 bytes or holds %00";
    if (percent && !u->secret[0])
        return "the secret in the URL is empty: iscsi://user%secret@host/target/lun";
    return NULL;
}

const char *iscsi_url_parse(struct iscsi_url *out, const char *text)
{
    static const char scheme[] = "iscsi://";
    static const char shape[] = "the URL is not iscsi://[user[%secret]@]host[:port]/target/lun";
    struct iscsi_url u = { .lun = 0 };
    char part[512];
    const char *authority, *path, *lun, *at, *why;

    if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
        return shape;
    authority = text + sizeof(scheme) - 1;
    path = strchr(authority, '/');
    lun = path ? strchr(path + 1, '/') : NULL;
    if (!lun)
        return shape;
    if (strchr(path, '?') || strchr(path, '#'))
        return "the URL has arguments after '?' or '#': none are supported, set them by their own options";
    if (!number_read(lun + 1, lun + strlen(lun), 0, 16383, &u.lun))
        return "the LUN at the end of the URL is no number of 0 to 16383";
    at = memrchr(authority, '@', (size_t)(path - authority));
    if (at) {
        why = url_user(&u, authority, at);
        if (why)
            return why;
        authority = at + 1;
    }
    if ((size_t)(path - authority) >= sizeof(part))
        return "the host in the URL is longer than 255 bytes";
    memcpy(part, authority, (size_t)(path - authority));
    part[path - authority] = '\0';
    why = iscsi_portal_parse(&u.portal, part);
    if (why)
        return why;
    if (!url_unescape(path + 1, lun, part, sizeof(part)))
        return "the target name in the URL is longer than 223 bytes";
    why = iscsi_name_refusal(part, u.target);
    if (!why)
        *out = u;
    return why;
}
