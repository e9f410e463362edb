/*
 * loop.c - see loop.h
 *
 * With direct I/O on both sides (the loop device's and the file's) nothing is cached twice, and requests stay
 * in flight side by side.
 */
#include "export/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "reactor/rt_log.h"

#define LOOP_MAJOR 7
/* Others take free devices too: the one that was free may be taken before we have it. */
#define ATTACH_TRIES 16

static int loop_open(int id, int flags, char path[static 32])
{
    int fd;

    snprintf(path, 32, "/dev/loop%d", id);
    fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        /* In a container /dev may be an ordinary directory, where the kernel makes no nodes. */
        if (mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)id)) && errno != EEXIST)
            return -errno;
        fd = open(path, flags | O_CLOEXEC);
    }
    return fd < 0 ? -errno : fd;
}

static int loop_try(struct exp *e, int ctl, int file_fd, const char *file, char path[static 32])
{
    struct loop_config c = {
        .fd = (uint32_t)file_fd,
        .block_size = e->block_len,
        .info.lo_flags = LO_FLAGS_DIRECT_IO | (e->readonly ? LO_FLAGS_READ_ONLY : 0),
    };
    const int id = ioctl(ctl, LOOP_CTL_GET_FREE);
    int fd, err;

    if (id < 0)
        return -errno;
    if ((fd = loop_open(id, e->readonly ? O_RDONLY : O_RDWR, path)) < 0)
        return fd;
    snprintf((char *)c.info.lo_file_name, sizeof(c.info.lo_file_name), "%s", file);
    err = ioctl(fd, LOOP_CONFIGURE, &c) ? -errno : 0;
    close(fd);
    return err;
}

static const char *loop_remedy(int err)
{
    switch (err) {
    case -EPERM:
    case -EACCES:
        return "a loop device needs root";
    case -ENOENT:
        return "/dev/loop-control is missing: `modprobe loop`";
    case -EINVAL:
        return "the loop driver refuses this file; a kernel of 5.10 or later is needed";
    default:
        return strerror(-err);
    }
}

/* What the device e->path stands over; empty: nothing. */
static void loop_file(const struct exp *e, char out[static PATH_MAX])
{
    char sys[64];

    snprintf(sys, sizeof(sys), "/sys/block/%.32s/loop/backing_file", e->path + sizeof("/dev/") - 1);
    if (exp_read_line(sys, out, PATH_MAX))
        out[0] = '\0';
}

int loop_attach(struct exp *e, struct loop *l, const char *file)
{
    int ctl, fd, err = -EBUSY;
    char path[32];

    if ((ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC)) < 0 && errno == ENOENT) {
        exp_module("loop");
        ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    }
    if (ctl < 0) {
        err = -errno;
        exp_note(e, "%s", loop_remedy(err));
        return err;
    }
    if ((fd = open(file, (e->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC)) < 0)
        err = -errno;
    for (int i = 0; fd >= 0 && i < ATTACH_TRIES && err == -EBUSY; i++)
        err = loop_try(e, ctl, fd, file, path);
    if (fd >= 0)
        close(fd);
    close(ctl);
    if (err) {
        exp_note(e, "%s", loop_remedy(err));
        return err;
    }
    memcpy(e->path, path, sizeof(path));
    loop_file(e, l->file);
    if ((err = exp_size_check(e)))
        (void)loop_detach(e, l);
    return err;
}

int loop_detach(struct exp *e, struct loop *l)
{
    char now[PATH_MAX];
    int fd, err;

    loop_file(e, now);
    if (strcmp(now, l->file) != 0) {
        l->file[0] = '\0';
        return 0;
    }
    if ((err = exp_claim(e, &fd)))
        return err;
    if (fd < 0 && e->lost)
        fd = open(e->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return 0;
    /* Still open elsewhere (forced): the kernel lets go of the file when the last one closes it. ENXIO:
     * somebody was faster. */
    if (ioctl(fd, LOOP_CLR_FD) && errno != ENXIO) {
        err = -errno;
        exp_note(e, "%s cannot be taken away: %s", e->path, strerror(-err));
    } else {
        l->file[0] = '\0';
    }
    close(fd);
    return err;
}

int loop_resize(struct exp *e)
{
    const int fd = open(e->path, O_RDONLY | O_CLOEXEC);
    int err = 0;

    if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY))
        err = -errno;
    if (fd >= 0)
        close(fd);
    return err ? err : exp_size_check(e);
}

void loop_cleanup(const char *dir)
{
    char sys[64], file[PATH_MAX], path[32];
    const size_t len = strlen(dir);
    struct dirent *d;
    int id, fd;
    DIR *blocks = opendir("/sys/block");

    while (blocks && (d = readdir(blocks))) {
        if (sscanf(d->d_name, "loop%d", &id) != 1)
            continue;
        snprintf(sys, sizeof(sys), "/sys/block/loop%d/loop/backing_file", id);
        if (exp_read_line(sys, file, sizeof(file)) || strncmp(file, dir, len) != 0 || file[len] != '/')
            continue;
        if ((fd = loop_open(id, O_RDONLY | O_NONBLOCK, path)) < 0)
            continue;
        if (ioctl(fd, LOOP_CLR_FD))
            rt_log(RT_WARN, "%s, left over from %s: %s", path, file, strerror(errno));
        else
            rt_log(RT_NOTICE, "%s, left over from %s: taken away", path, file);
        close(fd);
    }
    if (blocks)
        closedir(blocks);
}
