/*
 * fuse_mount.h - mounting a FUSE session, and unmounting it; all of it blocks, and may wait for the session:
 * jobs only
 */
#ifndef CORELANE_EXPORT_FUSE_MOUNT_H
#define CORELANE_EXPORT_FUSE_MOUNT_H

#include <fuse_lowlevel.h>

#include "export/export_internal.h"

#define FUSE_MOUNT_SUBTYPE "corelane"       /* "fuse.corelane" in /proc/mounts */

/* Return: 0, or -errno with a note and nothing mounted. */
int fuse_mount(struct exp *e, struct fuse_session *se, const char *dir);
/* lazy: at once, whoever uses it. Return: 0 also where nothing is mounted; -EBUSY, or -errno. */
int fuse_unmount(const char *dir, bool lazy);
/* Takes away what a daemon that died left mounted below @run_dir, and loop devices over that. */
void fuse_mounts_cleanup(const char *run_dir);
/* Ends all requests to what is mounted there, for good; it stays mounted. */
void fuse_mounts_abort(const char *run_dir);

#endif
