/*
 * device.c - device nodes, who holds them, and kernel modules
 *
 * Everything here blocks and is called from jobs. It knows block devices in general; what serves them is the
 * kinds' own affair.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "export/export_internal.h"

/* udev opens a device for a moment whenever it changes: a holder has to stay this long to count. */
#define CLAIM_TRIES 10
#define CLAIM_PAUSE_MS 50

void exp_sleep_ms(unsigned ms)
{
    struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

    while (nanosleep(&ts, &ts) && errno == EINTR)
        ;
}

int exp_read_line(const char *path, char *out, size_t len)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    int err;

    if (fd < 0)
        return -errno;
    n = read(fd, out, len - 1);
    err = n < 0 ? -errno : 0;
    close(fd);
    if (err)
        return err;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

int exp_node(const char *path, const char *sysfs, bool block)
{
    unsigned maj, min;
    struct stat st;
    char line[32];
    int err;

    if (!stat(path, &st))
        return (block ? S_ISBLK(st.st_mode) : S_ISCHR(st.st_mode)) ? 0 : -ENODEV;
    if ((err = exp_read_line(sysfs, line, sizeof(line))))
        return err;
    if (sscanf(line, "%u:%u", &maj, &min) != 2)
        return -ENODEV;
    if (mknod(path, (block ? S_IFBLK : S_IFCHR) | 0600, makedev(maj, min)) && errno != EEXIST)
        return -errno;
    return 0;
}

void exp_module(const char *name)
{
    static const char *const programs[] = { "/sbin/modprobe", "/usr/sbin/modprobe" };
    char *const argv[] = { (char *)"modprobe", (char *)"-q", (char *)name, NULL };
    char *const env[] = { NULL };
    pid_t pid;

    if (geteuid())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        if (posix_spawn(&pid, programs[i], NULL, NULL, argv, env))
            continue;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return;
    }
}

/* ---- who holds a device ------------------------------------------------------------------------------ */

/* Whether one of a process's descriptors is the device. By the link's text: looking at the file itself could
 * wait for a dead file system. */
static bool pid_holds(const char *pid, const char *dev)
{
    char dir[64], link[PATH_MAX];
    struct dirent *d;
    bool found = false;
    ssize_t n;
    DIR *fds;

    snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
    if (!(fds = opendir(dir)))
        return false;
    while (!found && (d = readdir(fds))) {
        n = readlinkat(dirfd(fds), d->d_name, link, sizeof(link) - 1);
        if (n > 0) {
            link[n] = '\0';
            found = !strcmp(link, dev);
        }
    }
    closedir(fds);
    return found;
}

bool exp_find_holder(const char *dev, char *out, size_t len)
{
    char self[24], path[64], comm[64];
    struct dirent *d;
    bool found = false;
    DIR *proc = opendir("/proc");

    if (!proc)
        return false;
    snprintf(self, sizeof(self), "%d", (int)getpid());
    while (!found && (d = readdir(proc))) {
        if (d->d_name[0] < '0' || d->d_name[0] > '9' || !strcmp(d->d_name, self) || !pid_holds(d->d_name, dev))
            continue;
        snprintf(path, sizeof(path), "/proc/%.20s/comm", d->d_name);
        if (exp_read_line(path, comm, sizeof(comm)))
            snprintf(comm, sizeof(comm), "a process");
        snprintf(out, len, "%s (pid %.20s)", comm, d->d_name);
        found = true;
    }
    closedir(proc);
    return found;
}

/* One look. Return: 0 with *fd, -EBUSY with a note, or what open(2) said. */
static int claim_once(struct exp *e, int *fd)
{
    char holder[128];

    *fd = open(e->path, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (*fd < 0 && errno == EBUSY) {
        exp_note(e, "%s is mounted, or in use by the kernel (swap, LVM, RAID, device mapper): see `lsblk %s`",
                 e->path, e->path);
        return -EBUSY;
    }
    if (*fd < 0)
        return -errno;
    /* Who opened it without O_EXCL does not keep us out: a virtual machine, a copy under way. */
    if (exp_find_holder(e->path, holder, sizeof(holder))) {
        exp_note(e, "%s is held open by %s", e->path, holder);
        close(*fd);
        *fd = -1;
        return -EBUSY;
    }
    return 0;
}

static int claim_forced(struct exp *e, int *fd)
{
    *fd = open(e->path, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (*fd < 0)
        *fd = open(e->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return 0;
}

int exp_claim(struct exp *e, int *fd)
{
    int err = -EBUSY;

    *fd = -1;
    if (e->lost)
        return 0;
    if (e->force)
        return claim_forced(e, fd);
    for (int i = 0; i < CLAIM_TRIES && err == -EBUSY; i++) {
        if (i)
            exp_sleep_ms(CLAIM_PAUSE_MS);
        err = claim_once(e, fd);
    }
    if (err == -ENOENT || err == -ENXIO || err == -ENODEV)
        return 0;                               /* gone already */
    if (err)
        return err;
    /* Buffered writes of who closed it before; a device that is stopped drops them. */
    if (fsync(*fd)) {
        err = -errno;
        exp_note(e, "%s: cached data cannot be written (%s); forcing it would lose them", e->path,
                 strerror(-err));
        close(*fd);
        *fd = -1;
    }
    return err;
}

int exp_size_check(struct exp *e)
{
    const int fd = open(e->path, O_RDONLY | O_CLOEXEC);
    uint64_t size = 0;
    int err = 0;

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (err)
        exp_note(e, "%s cannot be opened: %s", e->path, strerror(-err));
    else if (size != e->size) {
        exp_note(e, "%s has %llu bytes where the disk has %llu", e->path, (unsigned long long)size,
                 (unsigned long long)e->size);
        err = -EIO;
    }
    return err;
}
