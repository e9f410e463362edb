/*
 * fuse_mount.c - see fuse_mount.h
 */
#define FUSE_USE_VERSION 314

#include "export/fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export/loop.h"
#include "reactor/rt_log.h"

#define UMOUNT_TRIES 20
#define UMOUNT_PAUSE_MS 50

/* With privilege by mount(2) itself, whose reasons are better than a helper program's; else by fusermount3. */
int fuse_mount(struct exp *e, struct fuse_session *se, const char *dir)
{
    char options[96], dev[32];
    int fd = -1, err = 0;

    if (!geteuid()) {
        if ((fd = open("/dev/fuse", O_RDWR | O_CLOEXEC)) < 0)
            return -errno;
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=%u", fd,
                 (unsigned)getegid());
        if (mount(e->name, dir, "fuse." FUSE_MOUNT_SUBTYPE, MS_NOSUID | MS_NODEV | MS_NOATIME, options))
            err = -errno;
        snprintf(dev, sizeof(dev), "/dev/fd/%d", fd);
        if (!err && !fuse_session_mount(se, dev))
            return 0;                           /* the session has fd now */
        if (!err)
            (void)umount2(dir, MNT_DETACH);
        close(fd);
    }
    if (err && err != -EPERM) {
        exp_note(e, "%s cannot be mounted: %s", dir, strerror(-err));
        return err;
    }
    if (!fuse_session_mount(se, dir))
        return 0;
    exp_note(e, "%s cannot be mounted: without the privilege to mount, fusermount3 is needed (package fuse3)",
             dir);
    return -EPERM;
}

static int run_fusermount(const char *dir, bool lazy)
{
    char *argv[] = {
        (char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)(lazy ? "-z" : "--"), (char *)dir, NULL,
    };
    char *const env[] = { (char *)"PATH=/usr/local/bin:/usr/bin:/bin", NULL };
    int status;
    pid_t pid;

    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, env))
        return -ENOENT;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

int fuse_unmount(const char *dir, bool lazy)
{
    int err = -EBUSY;

    for (int i = 0; i < UMOUNT_TRIES && err == -EBUSY; i++) {
        if (i)
            exp_sleep_ms(UMOUNT_PAUSE_MS);      /* the kernel lets go of a loop device's file a moment later */
        err = umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) ? -errno : 0;
        if (err == -EPERM)
            err = run_fusermount(dir, lazy);
    }
    return err == -EINVAL || err == -ENOENT ? 0 : err;
}

/* ---- what a daemon that died left -------------------------------------------------------------------- */

/* mountinfo writes blanks and backslashes of a path as \ooo. */
static void unescape(char *s)
{
    char *to = s;

    while (*s) {
        unsigned c;

        if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1 && strlen(s) > 3) {
            *to++ = (char)c;
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* Whether a line of mountinfo is a mount of ours below dir. *at is its mount point, in line; *minor its device's. */
static bool mount_below(const char *dir, char *line, char **at, unsigned *minor)
{
    const char *const type = strstr(line, " - fuse." FUSE_MOUNT_SUBTYPE " ");
    const size_t len = strlen(dir);

    if (!type || sscanf(line, "%*u %*u %*u:%u", minor) != 1)
        return false;
    *at = line;
    for (int i = 0; i < 4; i++) {               /* the mount point is the fifth word */
        *at = strchr(*at, ' ');
        if (!(*at)++)
            return false;
    }
    (*at)[strcspn(*at, " ")] = '\0';
    unescape(*at);
    return !strncmp(*at, dir, len) && (*at)[len] == '/';
}

static void mounts_walk(const char *dir, void (*fn)(const char *at, unsigned minor))
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *at;
    size_t room = 0;
    unsigned minor;

    while (mounts && getline(&line, &room, mounts) > 0)
        if (mount_below(dir, line, &at, &minor))
            fn(at, minor);
    free(line);
    if (mounts)
        fclose(mounts);
}

/* Where they are, as mountinfo names it. Return: false: nowhere. */
static bool disks_dir(const char *run_dir, char dir[static PATH_MAX + 8])
{
    char *real = realpath(run_dir, NULL);

    if (!real)
        return false;
    snprintf(dir, PATH_MAX + 8, "%s/disks", real);
    free(real);
    return true;
}

static void cleanup_mount(const char *at, unsigned minor)
{
    if (fuse_unmount(at, true))
        rt_log(RT_WARN, "%s, left over, cannot be unmounted: %s", at, strerror(errno));
    else
        rt_log(RT_NOTICE, "%s, left over, was unmounted", at);
    (void)rmdir(at);
}

/* A forced unmount aborts the connection before it looks whether the mount is in use. Who may not unmount, but did mount
 * by fusermount3, owns the connection's control file. */
static void abort_mount(const char *at, unsigned minor)
{
    char path[64];
    int fd;

    if (!umount2(at, MNT_FORCE | UMOUNT_NOFOLLOW) || errno == EBUSY)
        return;
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor);
    if ((fd = open(path, O_WRONLY | O_CLOEXEC)) < 0 || write(fd, "1", 1) != 1)
        rt_log(RT_WARN, "%s, left over, cannot be aborted: %s: %s", at, path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

void fuse_mounts_cleanup(const char *run_dir)
{
    char dir[PATH_MAX + 8];

    if (!disks_dir(run_dir, dir))
        return;
    mounts_walk(dir, abort_mount);              /* or taking a loop device away may wait for one of them */
    loop_cleanup(dir);
    mounts_walk(dir, cleanup_mount);
}

void fuse_mounts_abort(const char *run_dir)
{
    char dir[PATH_MAX + 8];

    if (disks_dir(run_dir, dir))
        mounts_walk(dir, abort_mount);
}
