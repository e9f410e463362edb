/*
 * kern.c - finds the stock kernel's iSCSI sessions in sysfs
 *
 *   sys/class/iscsi_session/sessionS    a link into .../hostH/sessionS/iscsi_session/sessionS
 *   sys/class/iscsi_connection/connectionS:0
 *   sys/class/scsi_host/hostH, sys/class/iscsi_host/hostH
 *   sys/devices/virtual/workqueue/iscsi_q_H    where commands are sent from (and, with recv_from_iscsi_q, received)
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/kern.h"

#define TARGETS_MAX 16 /* of a host: iscsi_tcp has one, and old ones linger */
#define LUNS_MAX    64

void bal_kern_wq_path(unsigned host, char out[static BAL_SYS_PATH_MAX])
{
    snprintf(out, BAL_SYS_PATH_MAX, "sys/devices/virtual/workqueue/iscsi_q_%u/cpumask", host);
}

/* A text that may be shown and compared: else empty. What sysfs says for "none" is empty too. */
static void text_read(const struct bal_sys *s, char *out, size_t len, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void text_read(const struct bal_sys *s, char *out, size_t len, const char *fmt, ...)
{
    char path[BAL_SYS_PATH_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path, sizeof(path), fmt, ap);
    va_end(ap);
    if (bal_sys_read(s, path, out, len, NULL) < 0)
        *out = '\0';
    for (const char *p = out; *p; p++)
        if (!isgraph((unsigned char)*p)) {
            *out = '\0';
            break;
        }
    if (!strcmp(out, "(null)") || !strcmp(out, "<NULL>") || !strcmp(out, "default"))
        *out = '\0';
}

static void addr_read(const struct bal_sys *s, char out[static 64], const char *base, const char *name)
{
    unsigned char bin[sizeof(struct in6_addr)];

    text_read(s, out, 64, "%s/%s", base, name);
    if (inet_pton(AF_INET, out, bin) != 1 && inet_pton(AF_INET6, out, bin) != 1)
        *out = '\0'; /* also a name, which the kernel never shows: nobody is to look it up */
}

static unsigned port_read(const struct bal_sys *s, const char *base, const char *name)
{
    char path[BAL_SYS_PATH_MAX];
    unsigned port;

    bal_sys_path(path, "%s/%s", base, name);
    return bal_sys_read_num(s, path, &port) || port > UINT16_MAX ? 0 : port;
}

/* "prefix" and a decimal number, and nothing else. */
static bool numbered(const char *name, const char *prefix, char end, unsigned *out)
{
    const size_t len = strlen(prefix);
    unsigned long n;
    char *rest;

    if (strncmp(name, prefix, len) || !isdigit((unsigned char)name[len]))
        return false;
    errno = 0;
    n = strtoul(name + len, &rest, 10);
    if (*rest != end || errno || n > INT32_MAX)
        return false;
    *out = (unsigned)n;
    return true;
}

/* A session's host is where its link leads through. */
static bool host_of(const struct bal_sys *s, const char *name, unsigned *host)
{
    char path[BAL_SYS_PATH_MAX], to[BAL_SYS_PATH_MAX], part[BAL_SYS_NAME_MAX + 2];
    const char *session, *p;

    bal_sys_path(path, "sys/class/iscsi_session/%s", name);
    if (bal_sys_link(s, path, to, sizeof(to)) < 0)
        return false;
    snprintf(part, sizeof(part), "/%s/", name);
    if (!(session = strstr(to, part)))
        return false;
    for (p = session; p > to && p[-1] != '/'; p--)
        ;
    return numbered(p, "host", '/', host);
}

static void disks_read(const struct bal_sys *s, struct bal_kern_sess *k)
{
    char targets[TARGETS_MAX][BAL_SYS_NAME_MAX], luns[LUNS_MAX][BAL_SYS_NAME_MAX], dir[BAL_SYS_PATH_MAX];
    char names[BAL_KERN_DISKS][BAL_SYS_NAME_MAX];
    int nr_targets, nr_luns, nr;

    bal_sys_path(dir, "sys/class/iscsi_session/session%u/device", k->sid);
    nr_targets = bal_sys_list(s, dir, "target", targets, TARGETS_MAX);
    for (int t = 0; t < nr_targets; t++) {
        bal_sys_path(dir, "sys/class/iscsi_session/session%u/device/%s", k->sid, targets[t]);
        nr_luns = bal_sys_list(s, dir, "", luns, LUNS_MAX);
        for (int l = 0; l < nr_luns; l++) {
            if (!isdigit((unsigned char)*luns[l]))
                continue;
            bal_sys_path(dir, "sys/class/iscsi_session/session%u/device/%s/%s/block", k->sid, targets[t],
                         luns[l]);
            nr = bal_sys_list(s, dir, "", names, BAL_KERN_DISKS);
            for (int i = 0; i < nr; i++)
                if (k->disks < BAL_KERN_DISKS && strlen(names[i]) < sizeof(k->disk[0]))
                    strcpy(k->disk[k->disks++], names[i]);
        }
    }
}

static void sess_read(const struct bal_sys *s, struct bal_kern_sess *k)
{
    char base[BAL_SYS_PATH_MAX], text[BAL_SYS_TEXT_MAX];

    bal_sys_path(base, "sys/class/iscsi_session/session%u", k->sid);
    text_read(s, k->target, sizeof(k->target), "%s/targetname", base);
    text_read(s, k->state, sizeof(k->state), "%s/state", base);
    text_read(s, k->iface, sizeof(k->iface), "%s/ifacename", base);
    text_read(s, k->transport, sizeof(k->transport), "sys/class/scsi_host/host%u/proc_name", k->host);
    text_read(s, k->netdev, sizeof(k->netdev), "sys/class/iscsi_host/host%u/netdev", k->host);
    if (strchr(k->netdev, '/') || *k->netdev == '.')
        *k->netdev = '\0'; /* no interface can be called so, and it is to become part of a path */
    bal_sys_path(base, "sys/class/iscsi_host/host%u", k->host);
    addr_read(s, k->local, base, "ipaddress");
    bal_sys_path(base, "sys/class/iscsi_connection/connection%u:0", k->sid);
    addr_read(s, k->portal, base, "persistent_address");
    addr_read(s, k->addr, base, "address");
    k->portal_port = port_read(s, base, "persistent_port");
    k->port = port_read(s, base, "port");
    k->local_port = port_read(s, base, "local_port");
    bal_kern_wq_path(k->host, base);
    k->has_wq = bal_sys_read(s, base, text, sizeof(text), NULL) > 0 && !bal_mask_parse(&k->wq, text);
    disks_read(s, k);
}

int bal_kern_scan(const struct bal_sys *s, struct bal_kern_sess **out, char why[static 256])
{
    char(*names)[BAL_SYS_NAME_MAX] = malloc(BAL_KERN_SESS_MAX * sizeof(*names));
    struct bal_kern_sess *all = NULL;
    int nr, found = 0;

    *why = '\0';
    if (!names)
        return -ENOMEM;
    nr = bal_sys_list(s, "sys/class/iscsi_session", "session", names, BAL_KERN_SESS_MAX);
    if (nr == -ENOENT)
        nr = 0;
    if (nr < 0)
        snprintf(why, 256, "/sys/class/iscsi_session: %s", strerror(-nr));
    if (nr > 0 && !(all = calloc((size_t)nr, sizeof(*all))))
        nr = -ENOMEM;
    for (int i = 0; i < nr; i++) {
        struct bal_kern_sess *k = &all[found];

        if (!numbered(names[i], "session", '\0', &k->sid) || !host_of(s, names[i], &k->host))
            continue;
        sess_read(s, k);
        found++;
    }
    free(names);
    if (nr < 0)
        return nr;
    *out = all;
    return found;
}

bool bal_kern_settled(const struct bal_kern_sess *k)
{
    /* FAILED: it recovers, over the same queue; steered already or to be steered all the same. */
    return (!strcmp(k->state, "LOGGED_IN") || !strcmp(k->state, "FAILED")) && *k->target && *k->portal;
}
