/*
 * kern_events.h - the kernel's own word that an iSCSI session came or went
 *
 * NETLINK_ISCSI, group 1: what iscsid hears. It needs CAP_NET_ADMIN and the host's network namespace, and a kernel with
 * scsi_transport_iscsi: where one is missing, sysfs has to be looked at now and then. An event says that something has changed,
 * sysfs what: at the time of the event a new session has neither portal nor target yet. One thread; nothing here blocks.
 */
#ifndef CORELANE_BALANCER_KERN_EVENTS_H
#define CORELANE_BALANCER_KERN_EVENTS_H

#include <stddef.h>
#include <stdint.h>

struct bal_kern_events;

enum bal_kern_what {
    BAL_KERN_CREATED,
    BAL_KERN_DESTROYED,
    BAL_KERN_UNBOUND, /* its disks go; it follows */
    BAL_KERN_FAILED,  /* its connection broke */
    BAL_KERN_LOST,    /* events were lost: anything may have changed */
};
struct bal_kern_event {
    enum bal_kern_what what;
    unsigned sid, host; /* host is 0 for FAILED, both for LOST */
};

/* Pure. @msg: @len bytes of a netlink message's payload. Return: 0, -ENOENT: an event of another kind, -EINVAL: too short. */
int bal_kern_event_parse(struct bal_kern_event *out, const void *msg, size_t len);

/* Return: 0 or -errno with @why. */
int bal_kern_events_open(struct bal_kern_events **out, char why[static 256]);
void bal_kern_events_close(struct bal_kern_events *e); /* accepts NULL */
/* Readable when there are events. */
int bal_kern_events_fd(const struct bal_kern_events *e);
/* All that there are. Return: how many were told, or -errno: it is to be closed. */
int bal_kern_events_read(struct bal_kern_events *e, void (*fn)(void *user, const struct bal_kern_event *ev),
                         void *user);

#endif
