/*
 * kern_events.c - events of the kernel's iSCSI transport class, through libnl
 *
 * The layout of a message and its numbers are the kernel's interface with iscsid (scsi/iscsi_if.h), which no package
 * installs. All numbers are of the host's byte order.
 */
#include <errno.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/kern_events.h"

#define NETLINK_ISCSI_PROTO 8
#define GROUP_ISCSID        1

enum { /* ISCSI_KEVENT_... */
       KEVENT_CONN_ERROR = 102,
       KEVENT_DESTROY_SESSION = 104,
       KEVENT_UNBIND_SESSION = 105,
       KEVENT_CREATE_SESSION = 106,
};

/* struct iscsi_uevent: type, error, transport's handle, 24 bytes of what programs say to the kernel, then what it says. */
#define OFF_TYPE  0
#define OFF_UP    40
#define EVENT_MIN 48

#define READS_MAX 64 /* of a socket before others are looked at again */

static uint32_t word(const void *msg, size_t off)
{
    uint32_t v;

    memcpy(&v, (const uint8_t *)msg + off, sizeof(v));
    return v;
}

int bal_kern_event_parse(struct bal_kern_event *out, const void *msg, size_t len)
{
    uint32_t a, b;

    if (len < EVENT_MIN)
        return -EINVAL;
    a = word(msg, OFF_UP);
    b = word(msg, OFF_UP + sizeof(a));
    switch (word(msg, OFF_TYPE)) {
    case KEVENT_CREATE_SESSION:
        *out = (struct bal_kern_event){ BAL_KERN_CREATED, .sid = a, .host = b };
        return 0;
    case KEVENT_UNBIND_SESSION:
        *out = (struct bal_kern_event){ BAL_KERN_UNBOUND, .sid = a, .host = b };
        return 0;
    case KEVENT_DESTROY_SESSION: /* the other way round */
        *out = (struct bal_kern_event){ BAL_KERN_DESTROYED, .sid = b, .host = a };
        return 0;
    case KEVENT_CONN_ERROR: *out = (struct bal_kern_event){ BAL_KERN_FAILED, .sid = a }; return 0;
    }
    return -ENOENT; /* PDUs for iscsid, for the most part */
}

struct bal_kern_events {
    struct nl_sock *sock;
    void (*fn)(void *user, const struct bal_kern_event *ev);
    void *user;
    int told;
};

static int event_valid(struct nl_msg *msg, void *arg)
{
    const struct nlmsghdr *h = nlmsg_hdr(msg);
    struct bal_kern_events *e = arg;
    struct bal_kern_event ev;

    if (!bal_kern_event_parse(&ev, nlmsg_data(h), (size_t)nlmsg_datalen(h))) {
        e->told++;
        e->fn(e->user, &ev);
    }
    return NL_OK;
}

int bal_kern_events_open(struct bal_kern_events **out, char why[static 256])
{
    struct bal_kern_events *e = calloc(1, sizeof(*e));
    int err;

    if (!e || !(e->sock = nl_socket_alloc())) {
        free(e);
        snprintf(why, 256, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    nl_socket_disable_seq_check(e->sock);
    nl_socket_disable_auto_ack(e->sock);
    nl_socket_modify_cb(e->sock, NL_CB_VALID, NL_CB_CUSTOM, event_valid, e);
    errno = 0;
    if ((err = nl_connect(e->sock, NETLINK_ISCSI_PROTO)) ||
        (err = nl_socket_add_membership(e->sock, GROUP_ISCSID)) || (err = nl_socket_set_nonblocking(e->sock))) {
        snprintf(why, 256, "the kernel's iSCSI events cannot be had (%s)", nl_geterror(err));
        err = errno ? -errno : -EIO;
        bal_kern_events_close(e);
        return err;
    }
    *out = e;
    return 0;
}

void bal_kern_events_close(struct bal_kern_events *e)
{
    if (!e)
        return;
    nl_socket_free(e->sock);
    free(e);
}

int bal_kern_events_fd(const struct bal_kern_events *e)
{
    return nl_socket_get_fd(e->sock);
}

int bal_kern_events_read(struct bal_kern_events *e, void (*fn)(void *user, const struct bal_kern_event *ev),
                         void *user)
{
    e->fn = fn;
    e->user = user;
    e->told = 0;
    for (unsigned i = 0; i < READS_MAX; i++) {
        const int err = nl_recvmsgs_default(e->sock);

        if (err == -NLE_AGAIN)
            break;
        if (err == -NLE_NOMEM) { /* ENOBUFS: the socket was full */
            e->told++;
            fn(user, &(struct bal_kern_event){ .what = BAL_KERN_LOST });
        } else if (err < 0) {
            return -EIO;
        }
    }
    return e->told;
}
