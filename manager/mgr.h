/*
 * mgr.h - corelaned's books: which sessions and disks this host has, and the methods that change them
 *
 * The books belong to the host's first core. Sessions, and the disks that stand on them, live on cores that the
 * balancer chose; what is to be done there goes by message and comes back by message.
 */
#ifndef CORELANE_MANAGER_MGR_H
#define CORELANE_MANAGER_MGR_H

#include "balancer/topo.h"
#include "reactor/rt.h"
#include "rpc/rpc.h"

struct mgr;

struct mgr_conf {
    const char *run_dir;    /* borrowed for life; attachments.json and what exports need live there */
    const char *config_dir; /* borrowed for life; open-iscsi's: initiatorname.iscsi, iscsid.conf, nodes/ */
    const struct bal_topo *topo; /* borrowed for life; NULL: nothing is known of the machine, every CPU is a core */
    const char *multipath_conf; /* borrowed for life; NULL: none is read. That it is not there is fine */
};

/* Reads the initiator's name (or makes one up) and iscsid.conf, clears away what a daemon that died left, and,
 * once the host runs, takes its ublk disks over again. Blocks: before the host runs.
 * Return: 0, or -errno having logged why (a refused configuration names file, line, rule and remedy). */
int mgr_new(struct mgr **out, struct rt_host *host, const struct mgr_conf *conf);
/* Detaches the disks that nobody uses, names those in use and leaves them as they are, logs out, then calls
 * done(arg). First core. */
void mgr_stop(struct mgr *m, void (*done)(void *arg), void *arg);
/* While that is under way: requests of what is not detached yet fail, since the flush of a disk waits for its target, and the
 * process, which carries that disk, for its thread that flushes. First core. */
void mgr_stop_hurry(struct mgr *m);
void mgr_free(struct mgr *m); /* after the host stopped; accepts NULL */

/* What the daemon's socket serves; user is the struct mgr. The methods are in docs/rpc.md. */
extern const struct rpc_method mgr_methods[];
extern const unsigned mgr_methods_nr;

#endif
