/*
 * sysfs.c - files below a root's sys/ and proc/, by openat2(): the kernel itself refuses what leads out of them
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "balancer/sysfs.h"

enum { TREE_SYS, TREE_PROC, TREES };
static const char *const trees[TREES] = { "sys/", "proc/" };

struct bal_sys {
    int fd[TREES]; /* O_PATH; -1: there is none */
    bool real;
};

int bal_sys_open(struct bal_sys **out, const char *root, char why[static 256])
{
    struct bal_sys *s = malloc(sizeof(*s));
    int err;

    if (!s)
        return -ENOMEM;
    *s = (struct bal_sys){ .fd = { -1, -1 }, .real = !strcmp(root, "/") };
    for (unsigned i = 0; i < TREES; i++) {
        char path[BAL_SYS_PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s", root, trees[i]) < (int)sizeof(path))
            s->fd[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        else
            errno = ENAMETOOLONG;
        err = -errno;
        if (s->fd[i] >= 0 || (i == TREE_PROC && err == -ENOENT))
            continue; /* a tree for tests may do without proc */
        snprintf(why, 256, "%.150s/%s: %s", root, trees[i], strerror(-err));
        bal_sys_close(s);
        return err;
    }
    *out = s;
    return 0;
}

void bal_sys_close(struct bal_sys *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < TREES; i++)
        if (s->fd[i] >= 0)
            close(s->fd[i]);
    free(s);
}

void bal_sys_path(char out[static BAL_SYS_PATH_MAX], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(out, BAL_SYS_PATH_MAX, fmt, ap) >= BAL_SYS_PATH_MAX)
        *out = '\0';
    va_end(ap);
}

bool bal_sys_is_real(const struct bal_sys *s)
{
    return s->real;
}

static int open_below(const struct bal_sys *s, const char *path, uint64_t flags)
{
    const struct open_how how = { .flags = flags | O_CLOEXEC,
                                  .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

    for (unsigned i = 0; i < TREES; i++) {
        const size_t len = strlen(trees[i]);
        long fd;

        if (strncmp(path, trees[i], len) || !path[len])
            continue;
        if (s->fd[i] < 0)
            return -ENOENT;
        fd = syscall(SYS_openat2, s->fd[i], path + len, &how, sizeof(how));
        return fd < 0 ? -errno : (int)fd;
    }
    return -EINVAL;
}

/* Never a FIFO or a device, which would block or do something else. Return: a descriptor or -errno. */
static int open_regular(const struct bal_sys *s, const char *path, uint64_t flags, uint64_t *id)
{
    const int fd = open_below(s, path, flags | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    if (id)
        *id = (uint64_t)st.st_ino;
    return fd;
}

int bal_sys_read(const struct bal_sys *s, const char *path, char *out, size_t len, uint64_t *id)
{
    char buf[BAL_SYS_TEXT_MAX + 1];
    const int fd = open_regular(s, path, O_RDONLY, id);
    size_t have = 0;
    ssize_t n;

    if (fd < 0)
        return fd;
    while ((n = read(fd, buf + have, sizeof(buf) - have)) > 0)
        have += (size_t)n;
    n = n < 0 ? -errno : 0;
    close(fd);
    if (n)
        return (int)n;
    while (have && buf[have - 1] == '\n')
        have--;
    if (have >= sizeof(buf) - 1 || have >= len)
        return -EMSGSIZE;
    if (memchr(buf, '\0', have))
        return -EBADMSG;
    memcpy(out, buf, have);
    out[have] = '\0';
    return (int)have;
}

int bal_sys_read_num(const struct bal_sys *s, const char *path, unsigned *out)
{
    char text[16] = "", *end;
    const int n = bal_sys_read(s, path, text, sizeof(text), NULL);
    unsigned long v;

    if (n < 0)
        return n;
    errno = 0;
    v = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || errno || v > UINT32_MAX)
        return -EINVAL;
    *out = (unsigned)v;
    return 0;
}

int bal_sys_write(const struct bal_sys *s, const char *path, const char *text, uint64_t id)
{
    char line[BAL_SYS_TEXT_MAX + 1];
    const int len = snprintf(line, sizeof(line), "%s\n", text); /* as "echo" does it */
    uint64_t now;
    /* A file of a made-up tree is cut off first, as one of sysfs has no end to cut. */
    const int fd = len < (int)sizeof(line) ? open_regular(s, path, O_WRONLY, &now) : -EMSGSIZE;
    ssize_t n;
    int err = 0;

    if (fd < 0)
        return fd;
    if (now != id)
        err = -ESTALE;
    else if (!s->real && ftruncate(fd, 0))
        err = -errno;
    else if ((n = write(fd, line, (size_t)len)) != len)
        err = n < 0 ? -errno : -EIO;
    close(fd);
    return err;
}

int bal_sys_link(const struct bal_sys *s, const char *path, char *out, size_t len)
{
    const int fd = open_below(s, path, O_PATH | O_NOFOLLOW);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = readlinkat(fd, "", out, len);
    if (n < 0)
        n = errno == ENOENT ? -EINVAL : -errno; /* no link */
    else if ((size_t)n == len)
        n = -ENAMETOOLONG;
    else
        out[n] = '\0';
    close(fd);
    return (int)n;
}

/* "rx-2" before "rx-10". */
static int name_order(const void *a, const void *b)
{
    return strverscmp(a, b);
}

int bal_sys_list(const struct bal_sys *s, const char *dir, const char *prefix, char (*out)[BAL_SYS_NAME_MAX],
                 unsigned max)
{
    const int fd = open_below(s, dir, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const size_t len = strlen(prefix);
    const struct dirent *e;
    unsigned n = 0;

    if (!d) {
        const int err = fd < 0 ? fd : -errno;

        if (fd >= 0)
            close(fd);
        return err;
    }
    while (n < max && (e = readdir(d))) {
        if (*e->d_name == '.' || strncmp(e->d_name, prefix, len) || strlen(e->d_name) >= BAL_SYS_NAME_MAX)
            continue;
        strcpy(out[n++], e->d_name);
    }
    closedir(d);
    qsort(out, n, sizeof(*out), name_order);
    return (int)n;
}
