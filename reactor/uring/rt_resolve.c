/*
 * rt_resolve.c - host names, by the system's resolver on a helper thread
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "reactor/uring/rt_internal.h"

static int eai_errno(int eai)
{
    switch (eai) {
    case 0:
        return 0;
    case EAI_AGAIN:
        return -EAGAIN;                     /* no name server answered */
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno ? -errno : -EIO;
    case EAI_FAIL:
        return -EIO;
    default:
        return -ENOENT;
    }
}

static bool resolve_has(const struct rt_resolve *r, const struct rt_addr *a)
{
    for (unsigned i = 0; i < r->addr_nr; i++)
        if (rt_addr_equal(&r->addr[i], a))
            return true;
    return false;
}

static void resolve_run(struct rt_work *w)
{
    struct rt_resolve *r = container_of(w, struct rt_resolve, work);
    /* Without AI_ADDRCONFIG, which takes a host that has only its loopback interface for one without IP. */
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;

    r->addr_nr = 0;
    r->err = eai_errno(getaddrinfo(r->host, NULL, &hints, &list));
    if (r->err)
        return;
    for (const struct addrinfo *ai = list; ai && r->addr_nr < ARRAY_SIZE(r->addr); ai = ai->ai_next) {
        struct rt_addr a = { .len = ai->ai_addrlen };

        if ((ai->ai_family != AF_INET && ai->ai_family != AF_INET6) || ai->ai_addrlen > sizeof(a.storage))
            continue;
        memcpy(&a.storage, ai->ai_addr, ai->ai_addrlen);
        if (ai->ai_family == AF_INET)
            a.in.sin_port = htons(r->port);
        else
            a.in6.sin6_port = htons(r->port);
        if (!resolve_has(r, &a))
            r->addr[r->addr_nr++] = a;
    }
    freeaddrinfo(list);
    if (!r->addr_nr)
        r->err = -ENOENT;
}

void rt_resolve(struct rt *rt, struct rt_resolve *r)
{
    r->work.run = resolve_run;
    rt_work(rt, &r->work);
}
