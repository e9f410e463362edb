/*
 * kern.h - the stock kernel's iSCSI sessions (open-iscsi), as sysfs shows them
 *
 * Read only. What a file lacks or has wrong leaves its field empty: a session comes and goes while it is looked at. Every
 * call blocks. Any thread.
 */
#ifndef CORELANE_BALANCER_KERN_H
#define CORELANE_BALANCER_KERN_H

#include "balancer/mask.h"
#include "balancer/sysfs.h"

#define BAL_KERN_SESS_MAX 4096
#define BAL_KERN_DISKS    8

struct bal_kern_sess {
    unsigned sid, host;
    char target[224];                       /* names come from a peer: printable ASCII only, else empty */
    char state[24];                         /* "LOGGED_IN", "FAILED", "FREE" */
    char transport[24];                     /* "iscsi_tcp"; others do their work elsewhere */
    char portal[64];                        /* where it was told to go (persistent address), no port */
    char addr[64];                          /* where it is connected to */
    char local[64];                         /* and from; empty: not known */
    unsigned portal_port, port, local_port; /* 0: not known */
    char iface[40];                         /* open-iscsi's name of the interface record */
    char netdev[16];                        /* network interface that the host is bound to; empty: none */
    bool has_wq;                            /* there is a work queue with a cpumask */
    struct bal_mask wq;
    char disk[BAL_KERN_DISKS][16]; /* "sda" */
    unsigned disks;                /* those beyond are not listed */
};

/* "sys/devices/virtual/workqueue/iscsi_q_3/cpumask" */
void bal_kern_wq_path(unsigned host, char out[static BAL_SYS_PATH_MAX]);

/**
 * bal_kern_scan - all sessions of the kernel, by number
 * @out: taken by the caller, who will free() it; NULL where there is none
 *
 * Return: how many, or -errno with @why. Without the kernel's module there are none: 0.
 */
int bal_kern_scan(const struct bal_sys *s, struct bal_kern_sess **out, char why[static 256]);
/* It is logged in and all that steering asks is known: false: look again soon. */
bool bal_kern_settled(const struct bal_kern_sess *k);

#endif
