/*
 * export.h - a disk becomes a device of the host
 *
 * One interface, one row per kind in export.c: ublk (/dev/ublkbN), nbd (/dev/nbdN, configured over generic
 * netlink), FUSE (a file; with privilege a loop device over it, /dev/loopN). The data path runs on the
 * disk's core; calls into the kernel that may wait (mount, loop, netlink, ublk control) are made by rt_work, because
 * the answer may need the very core that asked.
 */
#ifndef CORELANE_EXPORT_H
#define CORELANE_EXPORT_H

#include "mpio/disk.h"
#include "reactor/rt.h"

struct exp;

enum exp_kind { EXP_AUTO, EXP_UBLK, EXP_NBD, EXP_FUSE, EXP_NONE };
/* "auto", "ublk", "nbd", "fuse", "none". Return: 0 or -EINVAL. */
int exp_kind_parse(const char *word, enum exp_kind *out);
const char *exp_kind_name(enum exp_kind k);

struct exp_conf {
    enum exp_kind kind;                     /* EXP_AUTO: the best that works: ublk, nbd, FUSE with loop, FUSE file */
    const char *name;                       /* borrowed for exp_open(): the attachment's name, used for files: [a-z0-9.:-] */
    const char *run_dir;                    /* borrowed for exp_open(): FUSE mounts and recovery records live below it */
    bool readonly;
    uint32_t queue_depth;                   /* requests in flight; 0: 128 */
};

enum exp_event {
    EXP_LOST,                               /* the device went away under us (unmounted, disconnected by somebody) */
};

struct exp_result {                         /* at done */
    int err;                                /* 0 or -errno */
    char path[256];                         /* "/dev/ublkb0", "/dev/nbd3", "/dev/loop5", or a FUSE file; empty for none */
    enum exp_kind kind;                     /* what was taken */
    char why[512];                          /* why this one: what was tried before and how it was refused; or what failed and the remedy */
};
/**
 * exp_open - make the device; on the disk's core
 * @disk: kept until exp_close()'s done
 * @done: called once, later; on success the device is usable (the node is there, its size is right) and *out is set
 * @event: may be NULL
 */
int exp_open(struct exp **out, struct mpio_disk *disk, const struct exp_conf *conf,
             void (*done)(void *user, const struct exp_result *r), void (*event)(void *user, enum exp_event ev), void *user);
/* The disk's size changed: tells the kernel. */
void exp_resized(struct exp *e);
/* A path leaves the disk: what the export has of its session's memory is given back, at once or when it is free, and not with
 * the next request, which may never come. */
void exp_memory_look(struct exp *e);
/* Takes the device away once requests in flight are answered. Refused with -EBUSY while it is mounted or held open, unless @force
 * (requests from then on fail with EIO). On success e is freed after done. */
void exp_close(struct exp *e, bool force, void (*done)(void *user, int err, const char *why), void *user);

/* What a daemon that died left behind under @run_dir (stale mounts, loop devices over them, nbd and ublk devices nobody serves): puts it
 * away, or keeps a ublk device in recovery for exp_open() by the same name to take over. Blocks; at start, before the host runs. */
void exp_cleanup(const char *run_dir);
/* A daemon of that run directory was killed and may wait for devices of its own, that is for itself: ends the requests
 * that are left in them, so that it can end too. Blocks shortly; before the host runs. */
void exp_unblock(const char *run_dir);

#endif
