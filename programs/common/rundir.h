/*
 * rundir.h - the directory where a daemon's socket, lock and log live
 */
#ifndef CORELANE_COMMON_RUNDIR_H
#define CORELANE_COMMON_RUNDIR_H

#include <stdbool.h>

#define RUNDIR_MAX      88 /* with the longest socket name below it a unix address is full at 108 */
#define RUNDIR_PATH_MAX 128
#define PATH_LEN_MAX    4096

/* As seen from the working directory, which a daemon that goes to the background leaves. Return: 0 or -errno. */
int path_absolute(const char *path, char out[static PATH_LEN_MAX]);

/* @given (--run-dir), else CORELANE_RUN_DIR, else /run/corelane for root and $XDG_RUNTIME_DIR/corelane for
 * others; made absolute. Return: true, or false with @why. */
bool rundir_find(const char *given, char out[static RUNDIR_MAX], char why[static 256]);
/* Makes it, mode 0700. Refuses one that belongs to somebody else or that others may write to. */
bool rundir_make(const char *dir, char why[static 256]);
/* dir/name. */
void rundir_path(const char *dir, const char *name, char out[static RUNDIR_PATH_MAX]);

/**
 * rundir_lock - take the lock of the one daemon of that name in the directory, and write our pid into it
 * @unblock: borrowed; called once if who has it was killed and cannot end: to let go what it may wait for, as it
 *           will never get it itself. NULL: there is no such thing
 *
 * Blocks for up to 10 s, while a daemon that was killed ends. Return: a descriptor to be kept open, or -1 with
 * @why naming who has it.
 */
int rundir_lock(const char *dir, const char *daemon, void (*unblock)(const char *dir), char why[static 256]);
void rundir_unlock(int fd, const char *dir, const char *daemon);

#endif
