/*
 * rt_addr.c - addresses as text
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt.h"

/* Decimal digits and nothing else, 0..65535. */
static bool port_parse(const char *s, uint16_t *port)
{
    unsigned v = 0;
    size_t n = 0;

    for (; s[n] >= '0' && s[n] <= '9' && n < 5; n++)
        v = v * 10 + (unsigned)(s[n] - '0');
    if (!n || s[n] || v > UINT16_MAX)
        return false;
    *port = (uint16_t)v;
    return true;
}

static int unix_parse(struct rt_addr *out, const char *path)
{
    const size_t len = strlen(path);

    if (len >= sizeof(out->un.sun_path))
        return -ENAMETOOLONG;
    *out = (struct rt_addr){ .un = { .sun_family = AF_UNIX } };
    memcpy(out->un.sun_path, path, len + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

static bool scope_parse(const char *s, uint32_t *scope)
{
    unsigned long v;
    char *end;

    if (strpbrk(s, "[]"))                   /* Linux takes such names; between brackets they cannot be told */
        return false;
    if ((*scope = if_nametoindex(s)))
        return true;
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    v = strtoul(s, &end, 10);
    *scope = (uint32_t)v;
    return !errno && !*end && v && v <= UINT32_MAX;
}

/* host: an IPv6 number with an optional scope; it is taken apart in place. */
static int in6_parse(struct rt_addr *out, char *host, uint16_t port)
{
    struct rt_addr a = {
        .len = sizeof(a.in6), .in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) },
    };
    char *scope = strchr(host, '%');

    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) != 1 ||
        (scope && !scope_parse(scope, &a.in6.sin6_scope_id)))
        return -EINVAL;
    *out = a;
    return 0;
}

static int in_parse(struct rt_addr *out, const char *host, uint16_t port)
{
    struct rt_addr a = { .len = sizeof(a.in), .in = { .sin_family = AF_INET, .sin_port = htons(port) } };

    if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
        return -EINVAL;
    *out = a;
    return 0;
}

int rt_addr_parse(struct rt_addr *out, const char *text, uint16_t port)
{
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
    const char *colon, *end;
    const bool bracket = text[0] == '[';

    if (text[0] == '/')
        return unix_parse(out, text);
    if (bracket) {
        if (!(end = strchr(++text, ']')) || (end[1] && end[1] != ':'))
            return -EINVAL;
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL;                   /* a bare IPv6 number: no port can follow */
        end = colon ? colon : text + strlen(text);
    }
    if ((size_t)(end - text) >= sizeof(host) || (colon && !port_parse(colon + 1, &port)))
        return -EINVAL;
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    if (bracket || strchr(host, ':'))
        return in6_parse(out, host, port);
    return in_parse(out, host, port);
}

static void in6_format(const struct sockaddr_in6 *in6, char out[static RT_ADDR_STR_MAX])
{
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 2] = "";

    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    if (in6->sin6_scope_id) {
        scope[0] = '%';
        if (!if_indextoname(in6->sin6_scope_id, scope + 1) || strpbrk(scope + 1, "[]"))
            snprintf(scope + 1, sizeof(scope) - 1, "%u", in6->sin6_scope_id);
    }
    snprintf(out, RT_ADDR_STR_MAX, "[%s%s]:%u", host, scope, ntohs(in6->sin6_port));
}

void rt_addr_format(const struct rt_addr *a, char out[static RT_ADDR_STR_MAX])
{
    char host[INET_ADDRSTRLEN];
    bool named;

    switch (a->len ? a->sa.sa_family : AF_UNSPEC) {
    case AF_INET:
        inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
        snprintf(out, RT_ADDR_STR_MAX, "%s:%u", host, ntohs(a->in.sin_port));
        break;
    case AF_INET6:
        in6_format(&a->in6, out);
        break;
    case AF_UNIX:
        /* The client's end of a unix connection has no name. */
        named = a->len > offsetof(struct sockaddr_un, sun_path) && a->un.sun_path[0];
        snprintf(out, RT_ADDR_STR_MAX, "%s", named ? a->un.sun_path : "unix");
        break;
    default:
        snprintf(out, RT_ADDR_STR_MAX, "none");
        break;
    }
}

bool rt_addr_equal(const struct rt_addr *a, const struct rt_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
    case AF_UNIX:
        return !strncmp(a->un.sun_path, b->un.sun_path, sizeof(a->un.sun_path));
    default:
        return false;
    }
}
