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

static void cleanup_mount(const char *dir, char *line)
{
    const char *const type = strstr(line, " - fuse." FUSE_MOUNT_SUBTYPE " ");
    const size_t len = strlen(dir);
    char *at = line;

    if (!type)
        return;
    for (int i = 0; i < 4; i++) {               /* the mount point is the fifth word */
        at = strchr(at, ' ');
        if (!at++)
            return;
    }
    at[strcspn(at, " ")] = '\0';
    unescape(at);
    if (strncmp(at, dir, len) != 0 || at[len] != '/')
        return;
    if (fuse_unmount(at, true))
        rt_log(RT_WARN, "%s, left over, cannot be unmounted: %s", at, strerror(errno));
    else
        rt_log(RT_NOTICE, "%s, left over, was unmounted", at);
    (void)rmdir(at);
}

void fuse_mounts_cleanup(const char *run_dir)
{
    char dir[PATH_MAX + 8], *line = NULL, *real = realpath(run_dir, NULL);
    size_t room = 0;
    FILE *mounts;

    if (!real)
        return;
    snprintf(dir, sizeof(dir), "%s/disks", real);
    free(real);
    loop_cleanup(dir);
    if (!(mounts = fopen("/proc/self/mountinfo", "re")))
        return;
    while (getline(&line, &room, mounts) > 0)
        cleanup_mount(dir, line);
    free(line);
    fclose(mounts);
}
