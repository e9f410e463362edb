/*
 * rundir.c - finds, makes and locks the run directory
 *
 * The lock goes with the process, however it ends; the pid in the file is for people.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "programs/common/rundir.h"
#include "reactor/rt.h"
#include "reactor/rt_log.h"

#define DYING_TRIES    200 /* with pauses: 10 s */
#define DYING_PAUSE_NS (50 * 1000 * 1000)

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

static void holder_name(int fd, char pid[static 16])
{
    const ssize_t n = pread(fd, pid, 15, 0);

    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
}

/* Its pid is there, and no process is: its last threads are on their way out. */
static bool pid_dying(const char *pid)
{
    const uint64_t killed = 1u << (SIGKILL - 1);
    unsigned long long pending = 0;
    char path[64], line[256];
    bool zombie = false;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%.12s/status", pid);
    if (!*pid || !(status = fopen(path, "re")))
        return false;
    while (fgets(line, sizeof(line), status)) {
        unsigned long long set;

        zombie |= !strncmp(line, "State:\tZ", 8) || !strncmp(line, "State:\tX", 8);
        if (sscanf(line, "SigPnd: %llx", &set) == 1 || sscanf(line, "ShdPnd: %llx", &set) == 1)
            pending |= set;
    }
    fclose(status);
    return zombie || (pending & killed);
}

/* The file that was locked is still the one by that name: its last owner may have removed it meanwhile. */
static bool lock_current(int fd, const char *path)
{
    struct stat a, b;

    return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

enum locked { LOCK_TAKEN, LOCK_HELD, LOCK_DYING, LOCK_ERROR };

static enum locked lock_try(const char *path, int *out, char pid[static 16], char why[static 256])
{
    int fd;

    for (;;) {
        if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0) {
            snprintf(why, 256, "%s: %s", path, strerror(errno));
            return LOCK_ERROR;
        }
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            holder_name(fd, pid);
            close(fd);
            return pid_dying(pid) ? LOCK_DYING : LOCK_HELD;
        }
        if (lock_current(fd, path))
            break;
        close(fd);
    }
    *out = fd;
    return LOCK_TAKEN;
}

/* Until one that was killed has ended. @unblock may take away what it left: another that starts meanwhile must not
 * have put something of its own there, so they come one by one. */
static int lock_wait(const char *dir, const char *daemon, const char *path, void (*unblock)(const char *dir),
                     char why[static 256])
{
    const int turn = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum locked got = LOCK_DYING;
    char pid[16] = "";
    int fd = -1;

    if (turn >= 0)
        (void)flock(turn, LOCK_EX);
    for (unsigned i = 0; got == LOCK_DYING && i < DYING_TRIES; i++) {
        if (i)
            nanosleep(&(struct timespec){ .tv_nsec = DYING_PAUSE_NS }, NULL);
        got = lock_try(path, &fd, pid, why);
        if (got == LOCK_DYING && !i) {
            rt_log(RT_NOTICE, "%s: the one of before (pid %s) was killed and is not gone yet: waiting for it", daemon,
                   pid);
            if (unblock)
                unblock(dir);
        }
    }
    if (turn >= 0)
        close(turn);
    if (got == LOCK_DYING)
        snprintf(why, 256, "%s of before (pid %s) was killed and does not end: the kernel has it wait for something",
                 daemon, pid);
    else if (got == LOCK_HELD)
        snprintf(why, 256, "%s runs already in %s (pid %s): stop it, or give this one a --run-dir of its own", daemon,
                 dir, *pid ? pid : "not written yet");
    return fd;
}

int rundir_lock(const char *dir, const char *daemon, void (*unblock)(const char *dir), char why[static 256])
{
    char path[RUNDIR_PATH_MAX], pid[16];
    int fd, n;

    lock_path(dir, daemon, path);
    if ((fd = lock_wait(dir, daemon, path, unblock, why)) < 0)
        return -1;
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
