/*
 * rundir.c - finds, makes and locks the run directory
 *
 * The lock goes with the process, however it ends; the pid in the file is for people.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "programs/common/rundir.h"
#include "reactor/rt.h"

int path_absolute(const char *path, char out[static PATH_LEN_MAX])
{
    char cwd[PATH_LEN_MAX] = "";

    if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
        return -errno;
    return snprintf(out, PATH_LEN_MAX, "%s%s%s", cwd, *cwd ? "/" : "", path) < PATH_LEN_MAX ? 0 : -ENAMETOOLONG;
}

static const char *dir_default(char buf[static 512], char why[static 256])
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");

    if (!geteuid())
        return "/run/corelane";
    if (!xdg || *xdg != '/') {
        snprintf(why, 256,
                 "no run directory: neither --run-dir nor CORELANE_RUN_DIR nor XDG_RUNTIME_DIR says one: give "
                 "--run-dir DIR");
        return NULL;
    }
    snprintf(buf, 512, "%s/corelane", xdg);
    return buf;
}

bool rundir_find(const char *given, char out[static RUNDIR_MAX], char why[static 256])
{
    char buf[512], cwd[512] = "";
    const char *dir = given ? given : getenv("CORELANE_RUN_DIR");
    size_t len;
    int n;

    if (!dir || !*dir)
        dir = dir_default(buf, why);
    if (!dir)
        return false;
    if (*dir != '/' && !getcwd(cwd, sizeof(cwd))) {
        snprintf(why, 256, "run directory '%.100s': the current directory has no name: give an absolute path",
                 dir);
        return false;
    }
    for (len = strlen(dir); len > 1 && dir[len - 1] == '/'; len--)
        ;
    n = snprintf(out, RUNDIR_MAX, "%s%s%.*s", cwd, *cwd ? "/" : "", (int)len, dir);
    if (n >= RUNDIR_MAX) {
        snprintf(why, 256,
                 "run directory '%.100s...' is longer than %d bytes, and a socket's name must fit below it: "
                 "choose a shorter one",
                 dir, RUNDIR_MAX - 1);
        return false;
    }
    return true;
}

bool rundir_make(const char *dir, char why[static 256])
{
    struct stat st;
    int err = rt_mkdirs(dir, 0700);

    if (err && err != -EEXIST) {
        snprintf(why, 256, "run directory %s cannot be made: %s: choose another with --run-dir", dir,
                 strerror(-err));
        return false;
    }
    if (stat(dir, &st) || !S_ISDIR(st.st_mode)) {
        snprintf(why, 256, "run directory %s is no directory: choose another with --run-dir", dir);
        return false;
    }
    if (st.st_uid != geteuid()) {
        snprintf(
            why, 256,
            "run directory %s belongs to uid %u, not to uid %u who runs this: choose another with --run-dir",
            dir, (unsigned)st.st_uid, (unsigned)geteuid());
        return false;
    }
    if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, 256,
                 "run directory %s may be written to by others, who could put a socket of theirs in our place: "
                 "chmod 700 it, or choose another with --run-dir",
                 dir);
        return false;
    }
    return true;
}

void rundir_path(const char *dir, const char *name, char out[static RUNDIR_PATH_MAX])
{
    snprintf(out, RUNDIR_PATH_MAX, "%s/%s", dir, name);
}

static void lock_path(const char *dir, const char *daemon, char out[static RUNDIR_PATH_MAX])
{
    snprintf(out, RUNDIR_PATH_MAX, "%s/%s.pid", dir, daemon);
}

static void holder_name(int fd, const char *dir, const char *daemon, char why[static 256])
{
    char pid[16] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    if (n > 0)
        pid[strcspn(pid, "\n")] = '\0';
    snprintf(why, 256, "%s runs already in %s (pid %s): stop it, or give this one a --run-dir of its own",
             daemon, dir, *pid ? pid : "not written yet");
}

/* The file that was locked is still the one by that name: its last owner may have removed it meanwhile. */
static bool lock_current(int fd, const char *path)
{
    struct stat a, b;

    return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int rundir_lock(const char *dir, const char *daemon, char why[static 256])
{
    char path[RUNDIR_PATH_MAX], pid[16];
    int fd, n;

    lock_path(dir, daemon, path);
    for (;;) {
        if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0) {
            snprintf(why, 256, "%s: %s", path, strerror(errno));
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            holder_name(fd, dir, daemon, why);
            close(fd);
            return -1;
        }
        if (lock_current(fd, path))
            break;
        close(fd);
    }
    n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)n, 0) != n) {
        snprintf(why, 256, "%s cannot be written: %s", path, strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

void rundir_unlock(int fd, const char *dir, const char *daemon)
{
    char path[RUNDIR_PATH_MAX];

    if (fd < 0)
        return;
    lock_path(dir, daemon, path);
    unlink(path);
    close(fd);
}
