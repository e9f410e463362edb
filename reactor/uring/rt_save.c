/*
 * rt_save.c - whole small files and their directories: configuration, records, state
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"

#define LOAD_STEP 4096u
#define NAME_TRIES 16

/* ---- loading ----------------------------------------------------------------------------------------- */

static ssize_t read_some(int fd, void *buf, size_t len)
{
    ssize_t n;

    do
        n = read(fd, buf, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Grows as it reads: a size asked for beforehand is wrong for /proc and for a file that is being written. */
static int load_fd(int fd, size_t len_max, char **out, size_t *out_len)
{
    size_t len = 0, room = 0;
    char *buf = NULL, *grown;
    ssize_t n = 1;

    while (n > 0 && len <= len_max) {
        if (room - len < 2) {
            room = room ? room * 2 : LOAD_STEP;
            if (!(grown = realloc(buf, room))) {
                n = -ENOMEM;
                break;
            }
            buf = grown;
        }
        n = read_some(fd, buf + len, room - len - 1);
        if (n > 0)
            len += (size_t)n;
    }
    if (n < 0 || len > len_max) {
        free(buf);
        return n < 0 ? (int)n : -EFBIG;
    }
    buf[len] = '\0';
    *out = buf;
    if (out_len)
        *out_len = len;
    return 0;
}

int rt_load(const char *path, size_t len_max, char **out, size_t *len)
{
    struct stat st;
    /* Non-blocking, so that a FIFO in a file's place does not hold us up. */
    int err, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        err = -errno;
    else if (!S_ISREG(st.st_mode))
        err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    else
        err = load_fd(fd, len_max, out, len);
    close(fd);
    return err;
}

/* ---- saving ------------------------------------------------------------------------------------------ */

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        const ssize_t n = write(fd, data, len);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (!n || errno != EINTR) {
            return n ? -errno : -EIO;
        }
    }
    return 0;
}

/* Splits at the last slash. dir is given to the caller. */
static int dir_of(const char *path, char **dir, const char **base)
{
    const char *slash = strrchr(path, '/');

    *base = slash ? slash + 1 : path;
    if (!**base || !strcmp(*base, ".") || !strcmp(*base, ".."))
        return -EINVAL;
    if (!slash)
        *dir = strdup(".");
    else
        *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return *dir ? 0 : -ENOMEM;
}

/* A new file beside the old: hidden, with a name nobody can have made ready. */
static int temp_open(int dir_fd, const char *base, unsigned mode, char name[static NAME_MAX + 1])
{
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        uint64_t r;
        int n, fd;

        rt_random_bytes(&r, sizeof(r));
        n = snprintf(name, NAME_MAX + 1, ".%s.%016llx", base, (unsigned long long)r);
        if (n < 0 || n > NAME_MAX)
            return -ENAMETOOLONG;
        fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

static int temp_fill(int fd, const void *data, size_t len, unsigned mode)
{
    int err;

    /* Creation took the umask away; that can only have left less than mode, never more. */
    if (fchmod(fd, mode))
        return -errno;
    if ((err = write_all(fd, data, len)))
        return err;
    return fsync(fd) ? -errno : 0;
}

static int save_in(int dir_fd, const char *base, const void *data, size_t len, unsigned mode)
{
    char name[NAME_MAX + 1];
    int err, fd = temp_open(dir_fd, base, mode, name);

    if (fd < 0)
        return fd;
    err = temp_fill(fd, data, len, mode);
    if (close(fd) && !err)
        err = -errno;
    if (!err && renameat(dir_fd, name, dir_fd, base))
        err = -errno;
    if (err) {
        unlinkat(dir_fd, name, 0);
        return err;
    }
    /* The new name is stable only when its directory is. Some file systems have no such call. */
    return fsync(dir_fd) && errno != EINVAL ? -errno : 0;
}

/* A device or a pipe would be gone, with a file in its place. */
static int may_replace(int dir_fd, const char *base)
{
    struct stat st;

    if (fstatat(dir_fd, base, &st, 0) || S_ISREG(st.st_mode))
        return 0;
    return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
}

int rt_save(const char *path, const void *data, size_t len, unsigned mode)
{
    const char *base;
    char *dir;
    int err, dir_fd;

    if ((err = dir_of(path, &dir, &base)))
        return err;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err = dir_fd < 0 ? -errno : may_replace(dir_fd, base);
    if (!err)
        err = save_in(dir_fd, base, data, len, mode);
    if (dir_fd >= 0)
        close(dir_fd);
    free(dir);
    return err;
}

int rt_remove(const char *path)
{
    const char *base;
    char *dir;
    int err, dir_fd;

    if ((err = dir_of(path, &dir, &base)))
        return err;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || unlinkat(dir_fd, base, 0))
        err = errno == ENOENT ? 0 : -errno;
    else
        err = fsync(dir_fd) && errno != EINVAL ? -errno : 0;
    if (dir_fd >= 0)
        close(dir_fd);
    free(dir);
    return err;
}

/* ---- directories ------------------------------------------------------------------------------------- */

static int dir_make(const char *path, unsigned mode)
{
    struct stat st;

    if (!mkdir(path, mode))
        return chmod(path, mode) ? -errno : 0;    /* what the umask took */
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st))
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int rt_mkdirs(const char *path, unsigned mode)
{
    char *copy = strdup(path);
    int err = copy ? 0 : -ENOMEM;

    for (char *p = copy; !err && p && *p; p++) {
        if (*p != '/' || p == copy || p[-1] == '/')
            continue;
        *p = '\0';
        err = dir_make(copy, mode);
        *p = '/';
    }
    if (!err && *path)
        err = dir_make(copy, mode);
    else if (!err)
        err = -EINVAL;
    free(copy);
    return err;
}

int rt_rmdir(const char *path)
{
    if (!rmdir(path))
        return 0;
    return errno == EEXIST ? -ENOTEMPTY : -errno;   /* POSIX allows either word */
}

int rt_dir_each(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
    const struct dirent *e;
    DIR *d = opendir(path);
    int err;

    if (!d)
        return -errno;
    while ((errno = 0, e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            fn(arg, e->d_name);
    err = -errno;
    closedir(d);
    return err;
}

int rt_kind(const char *path)
{
    struct stat st;

    if (lstat(path, &st))
        return -errno;
    return S_ISREG(st.st_mode) ? RT_KIND_FILE : S_ISDIR(st.st_mode) ? RT_KIND_DIR : RT_KIND_OTHER;
}
