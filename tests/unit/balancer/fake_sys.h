/*
 * fake_sys.h - a made-up tree of /sys and /proc in a directory of its own
 */
#ifndef CORELANE_TESTS_FAKE_SYS_H
#define CORELANE_TESTS_FAKE_SYS_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "balancer/sysfs.h"

struct fake_sys {
    char root[256];
    struct bal_sys *sys;
};

static inline void fake_path(const struct fake_sys *f, const char *path, char out[static 768])
{
    snprintf(out, 768, "%s/%s", f->root, path);
}

static inline void fake_dirs(const struct fake_sys *f, const char *path)
{
    char full[768];

    fake_path(f, path, full);
    for (char *p = full + strlen(f->root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)!mkdir(full, 0700);
        *p = '/';
    }
}

/* A file of that text; directories are made. One that exists keeps its inode, as a file of sysfs does. */
static inline void fake_bytes(const struct fake_sys *f, const char *path, const char *text, size_t len)
{
    char full[768];
    int fd;

    fake_dirs(f, path);
    fake_path(f, path, full);
    fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static inline void fake_put(const struct fake_sys *f, const char *path, const char *text)
{
    char line[8192];

    snprintf(line, sizeof(line), "%s\n", text);
    fake_bytes(f, path, line, strlen(line));
}

static inline void fake_link(const struct fake_sys *f, const char *path, const char *to)
{
    char full[768];

    fake_dirs(f, path);
    fake_path(f, path, full);
    assert_int_equal(symlink(to, full), 0);
}

static inline void fake_remove(const struct fake_sys *f, const char *path)
{
    char full[768];

    fake_path(f, path, full);
    assert_int_equal(unlink(full), 0);
}

/* As it is in the tree now. */
static inline const char *fake_get(const struct fake_sys *f, const char *path)
{
    static _Thread_local char text[BAL_SYS_TEXT_MAX];

    assert_true(bal_sys_read(f->sys, path, text, sizeof(text), NULL) >= 0);
    return text;
}

static inline int fake_setup(void **state)
{
    struct fake_sys *f = calloc(1, sizeof(*f));
    char why[256];

    snprintf(f->root, sizeof(f->root), "%s/corelane-sys.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(f->root));
    fake_dirs(f, "sys/");
    fake_dirs(f, "proc/");
    assert_int_equal(bal_sys_open(&f->sys, f->root, why), 0);
    *state = f;
    return 0;
}

static inline int fake_rm(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline int fake_teardown(void **state)
{
    struct fake_sys *f = *state;

    bal_sys_close(f->sys);
    nftw(f->root, fake_rm, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* A session of open-iscsi as the kernel shows it, logged in over TCP, with the work queue's mask @wq and a disk. */
static inline void fake_session(const struct fake_sys *f, unsigned sid, unsigned host, const char *portal,
                                const char *wq)
{
    const struct {
        const char *name, *text;
    } files[] = {
        { "sess/targetname", "iqn.2026-11.org.example:disk" },
        { "sess/state", "LOGGED_IN" },
        { "sess/ifacename", "default" },
        { "conn/persistent_address", portal },
        { "conn/address", portal },
        { "conn/persistent_port", "3260" },
        { "conn/port", "3260" },
        { "conn/local_port", "40000" },
        { "scsi/proc_name", "iscsi_tcp" },
        { "host/ipaddress", "192.0.2.1" },
        { "host/netdev", "<NULL>" },
    };
    char dir[256], path[512], to[512];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const char *name = strchr(files[i].name, '/') + 1;

        if (*files[i].name == 's' && files[i].name[1] == 'e')
            snprintf(path, sizeof(path), "sys/devices/platform/host%u/session%u/iscsi_session/session%u/%s",
                     host, sid, sid, name);
        else if (*files[i].name == 'c')
            snprintf(path, sizeof(path), "sys/class/iscsi_connection/connection%u:0/%s", sid, name);
        else
            snprintf(path, sizeof(path), "sys/class/%s_host/host%u/%s",
                     *files[i].name == 's' ? "scsi" : "iscsi", host, name);
        fake_put(f, path, files[i].text);
    }
    snprintf(dir, sizeof(dir), "sys/devices/platform/host%u/session%u", host, sid);
    snprintf(path, sizeof(path), "%s/target%u:0:0/%u:0:0:0/block/sd%c/size", dir, host, host,
             'a' + (int)(sid % 26));
    fake_put(f, path, "1");
    snprintf(path, sizeof(path), "%s/iscsi_session/session%u/device", dir, sid);
    snprintf(to, sizeof(to), "../../../session%u", sid);
    fake_link(f, path, to);
    snprintf(path, sizeof(path), "sys/class/iscsi_session/session%u", sid);
    snprintf(to, sizeof(to), "../../devices/platform/host%u/session%u/iscsi_session/session%u", host, sid, sid);
    fake_link(f, path, to);
    if (wq) {
        snprintf(path, sizeof(path), "sys/devices/virtual/workqueue/iscsi_q_%u/cpumask", host);
        fake_put(f, path, wq);
    }
}

#endif
