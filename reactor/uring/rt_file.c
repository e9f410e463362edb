/*
 * rt_file.c - files and block devices that hold data
 *
 * Owns the descriptor and what was found out about it when it was opened; which ranges mean what is the
 * caller's. Whole small files are rt_save.c's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"

#define SECTOR_LEN 512u
#define PAGE_LEN 4096u
#define LOCK_TRIES 200u
#define LOCK_PAUSE_NS (50 * 1000 * 1000)

struct rt_file {
    int fd;
    bool writable;
    struct rt_file_info info;
};

/* ---- opening ----------------------------------------------------------------------------------------- */

/* Looks before it opens: opening a character device, a FIFO or a tape can block or have effects. Return: an
 * O_PATH descriptor of a regular file or block device, or -errno. */
static int path_open(const char *path, mode_t *type)
{
    struct stat st;
    int err, fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st)) {
        err = -errno;
    } else if (S_ISLNK(st.st_mode)) {
        /* /dev/disk/by-id and /dev/mapper are links to devices; a link to a file is somebody's trick. */
        close(fd);
        if ((fd = open(path, O_PATH | O_CLOEXEC)) < 0)
            return -errno;
        err = fstat(fd, &st) ? -errno : S_ISBLK(st.st_mode) ? 0 : -ELOOP;
    } else {
        err = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? 0 : -EINVAL;
    }
    if (err) {
        close(fd);
        return err;
    }
    *type = st.st_mode & S_IFMT;
    return fd;
}

/* Opens what an O_PATH descriptor stands for: the very thing that was looked at. */
static int path_reopen(int path_fd, const char *path, int flags)
{
    char proc[64];
    int fd;

    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
    fd = open(proc, flags);
    if (fd < 0 && errno == ENOENT)          /* no /proc here */
        fd = open(path, flags | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* O_DIRECT where it is wanted and works; *direct says which it became. */
static int data_open(int path_fd, const char *path, int flags, bool *direct)
{
    int fd;

    if (*direct) {
        fd = path_reopen(path_fd, path, flags | O_DIRECT);
        if (fd != -EINVAL)
            return fd;
        *direct = false;                    /* the file system has no direct I/O */
    }
    return path_reopen(path_fd, path, flags);
}

static int file_create(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno == EEXIST ? 0 : -errno;
    close(fd);
    return 0;
}

/* ---- what it is -------------------------------------------------------------------------------------- */

static unsigned long long sysfs_number(dev_t dev, const char *what)
{
    static const char *const places[] = { "queue", "../queue" };   /* a disk; a partition */
    unsigned long long v = 0;
    char path[128];
    FILE *f;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), places[i], what);
        if (!(f = fopen(path, "re")))
            continue;
        if (fscanf(f, "%llu", &v) != 1)
            v = 0;
        fclose(f);
        break;
    }
    return v;
}

static bool block_len_ok(uint32_t len)
{
    return len >= SECTOR_LEN && len <= 65536 && !(len & (len - 1));
}

/* True when direct reads of that length and alignment are taken. */
static bool direct_read_works(int fd, uint32_t len)
{
    void *buf;
    ssize_t n;

    if (posix_memalign(&buf, PAGE_LEN, PAGE_LEN))
        return false;
    n = pread(fd, buf, len, 0);
    free(buf);
    return n == (ssize_t)len;
}

/* 1 when direct I/O is not possible after all. */
static uint32_t dio_align_find(int fd, const struct rt_file_info *info)
{
    struct statfs fs;
#ifdef STATX_DIOALIGN
    struct statx sx = { 0 };

    if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && (sx.stx_mask & STATX_DIOALIGN)) {
        if (!sx.stx_dio_offset_align)
            return 1;
        return sx.stx_dio_mem_align > sx.stx_dio_offset_align ? sx.stx_dio_mem_align : sx.stx_dio_offset_align;
    }
#endif
    if (info->block_dev)
        return info->block_len;
    /* A file system in memory may take the flag and have no use for it. */
    if (!fstatfs(fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
        return 1;
    /* An empty file answers any read, so it says nothing: then the largest in use is the safe one. */
    return direct_read_works(fd, SECTOR_LEN) ? SECTOR_LEN : PAGE_LEN;
}

static int block_info(int fd, dev_t dev, struct rt_file_info *info)
{
    unsigned phys = 0;
    int logical = 0;

    if (ioctl(fd, BLKGETSIZE64, &info->size) || ioctl(fd, BLKSSZGET, &logical))
        return -errno;
    if (logical < 0 || !block_len_ok((uint32_t)logical))
        return -EINVAL;
    info->block_dev = true;
    info->block_len = (uint32_t)logical;
    info->phys_len = ioctl(fd, BLKPBSZGET, &phys) || !block_len_ok(phys) ? info->block_len : phys;
    info->discard = sysfs_number(dev, "discard_max_bytes");
    return 0;
}

/* Punching beyond the end changes nothing, and is refused where punching is not there. */
static bool punch_works(int fd, uint64_t size)
{
    const off_t at = (off_t)((size + PAGE_LEN - 1) / PAGE_LEN * PAGE_LEN);

    return !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE_LEN);
}

static int file_info(struct rt_file *f, bool direct)
{
    struct rt_file_info info = { .block_len = SECTOR_LEN, .dio_align = 1 };
    struct stat st;
    int err;

    if (fstat(f->fd, &st))
        return -errno;
    if (S_ISBLK(st.st_mode)) {
        if ((err = block_info(f->fd, st.st_rdev, &info)))
            return err;
    } else {
        info.regular = true;
        info.size = (uint64_t)st.st_size;
        info.phys_len = block_len_ok((uint32_t)st.st_blksize) && st.st_blksize <= PAGE_LEN
                            ? (uint32_t)st.st_blksize : PAGE_LEN;
        info.discard = f->writable && punch_works(f->fd, info.size);
    }
    if (direct)
        info.dio_align = dio_align_find(f->fd, &info);
    f->info = info;
    return 0;
}

/* Drops O_DIRECT from a descriptor where no alignment is right, and O_NONBLOCK always: with it, io_uring
 * hands -EAGAIN back instead of waiting. */
static int flags_settle(const struct rt_file *f)
{
    int flags = fcntl(f->fd, F_GETFL);

    if (flags < 0)
        return -errno;
    flags &= ~O_NONBLOCK;
    if (f->info.dio_align == 1)
        flags &= ~O_DIRECT;
    return fcntl(f->fd, F_SETFL, flags) ? -errno : 0;
}

/* Whether this very process has that file or device open, beside fd: then nobody will let go of it soon. */
static bool held_here(const struct stat *what, int fd)
{
    DIR *fds = opendir("/proc/self/fd");
    struct dirent *d;
    struct stat st;
    bool held = false;

    while (fds && !held && (d = readdir(fds))) {
        const int other = atoi(d->d_name);

        /* A device is one whatever its node; a file is where it lies. */
        if (d->d_name[0] == '.' || other == fd || fstat(other, &st) || (fcntl(other, F_GETFL) & O_PATH))
            continue;
        held = S_ISBLK(what->st_mode) ? S_ISBLK(st.st_mode) && st.st_rdev == what->st_rdev
                                      : st.st_dev == what->st_dev && st.st_ino == what->st_ino;
    }
    if (fds)
        closedir(fds);
    return held;
}

/* Whether to try again what a process that is being taken apart may let go of. */
static bool worth_waiting(const struct stat *st, int fd, unsigned tried)
{
    if (tried == LOCK_TRIES || (!tried && held_here(st, fd)))
        return false;
    nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_NS }, NULL);
    return true;
}

/* By the open file description, so that a second opening in this very process is refused too, and so that the
 * lock lives as long as any operation on it that the ring has not finished: whoever opens the file after a
 * crash cannot have an old write land on a new one. */
static int file_lock(int fd, bool write)
{
    struct flock lock = { .l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    for (unsigned i = 0; fcntl(fd, F_OFD_SETLK, &lock); i++) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EACCES)
            return 0;                       /* there are no locks here */
        if (!worth_waiting(&st, fd, i))
            return -EBUSY;
    }
    return 0;
}

/* A device has no lock but to be opened by one alone. */
static int data_open_alone(int path_fd, const char *path, int flags, bool *direct)
{
    struct stat st;
    int fd;

    if (fstat(path_fd, &st))
        return -errno;
    for (unsigned i = 0; (fd = data_open(path_fd, path, flags | O_EXCL, direct)) == -EBUSY; i++)
        if (!worth_waiting(&st, path_fd, i))
            break;
    return fd;
}

static int file_open_at(struct rt_file *f, const char *path, unsigned flags)
{
    bool direct = flags & RT_FILE_DIRECT;
    int path_fd, oflags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (flags & RT_FILE_WRITE ? O_RDWR : O_RDONLY);
    mode_t type = 0;
    int err;

    if ((path_fd = path_open(path, &type)) < 0)
        return path_fd;
    f->fd = (flags & RT_FILE_EXCL) && type == S_IFBLK ? data_open_alone(path_fd, path, oflags, &direct)
                                                      : data_open(path_fd, path, oflags, &direct);
    close(path_fd);
    if (f->fd < 0)
        return f->fd;
    f->writable = flags & RT_FILE_WRITE;
    if ((flags & RT_FILE_EXCL) && type == S_IFREG && (err = file_lock(f->fd, f->writable)))
        return err;
    if ((err = file_info(f, direct)))
        return err;
    return flags_settle(f);
}

int rt_file_open(const char *path, unsigned flags, struct rt_file **out)
{
    struct rt_file *f = calloc(1, sizeof(*f));
    int err;

    if (!f)
        return -ENOMEM;
    f->fd = -1;
    err = file_open_at(f, path, flags);
    if (err == -ENOENT && (flags & RT_FILE_CREATE) && !(err = file_create(path)))
        err = file_open_at(f, path, flags);
    if (err) {
        rt_file_close(f);
        return err;
    }
    *out = f;
    return 0;
}

void rt_file_close(struct rt_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

int rt_file_stat(struct rt_file *f, struct rt_file_info *out)
{
    struct rt_file_info info = f->info;     /* what cannot change while it is open */
    struct stat st;

    if (info.block_dev) {
        if (ioctl(f->fd, BLKGETSIZE64, &info.size))
            return -errno;
    } else {
        if (fstat(f->fd, &st))
            return -errno;
        info.size = (uint64_t)st.st_size;
    }
    *out = info;
    return 0;
}

int rt_file_set_size(struct rt_file *f, uint64_t size)
{
    if (!f->info.regular || size > INT64_MAX)
        return -EINVAL;
    return ftruncate(f->fd, (off_t)size) ? -errno : 0;
}

/* ---- operations -------------------------------------------------------------------------------------- */

static enum rt_op_next ended(struct rt_op *op, int res)
{
    op->res = res;
    return RT_OP_ENDED;
}

/* -EAGAIN: a device out of tags or a kernel out of requests; the ring has waited already where it can. */
static bool transient(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

static void rw_prep(struct rt_op *op, struct io_uring_sqe *sqe, bool write)
{
    const struct iovec *iov = op->u.rw.iov;
    const uint64_t off = op->u.rw.off + op->moved;
    uint8_t *mem = (uint8_t *)iov->iov_base + op->skip;
    const size_t len = iov->iov_len - op->skip;
    int pin;

    if (op->n > 1 && !op->skip) {
        io_uring_prep_rw(write ? IORING_OP_WRITEV : IORING_OP_READV, sqe, op->fd, iov, op->n, off);
    } else if (!(op->flags & RT_OP_UNPINNED) && (pin = rt_pin_find(op->rt, mem, len)) >= 0) {
        io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED, sqe, op->fd, mem, (unsigned)len, off);
        sqe->buf_index = (uint16_t)pin;
        op->flags |= RT_OP_PINNED;
    } else {
        io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, op->fd, mem, (unsigned)len, off);
    }
}

/* The memory was unpinned between the writing of the entry and its submission. */
static bool pin_lost(struct rt_op *op, int res)
{
    if (res != -EFAULT || !(op->flags & RT_OP_PINNED))
        return false;
    op->flags = (uint16_t)((op->flags & ~RT_OP_PINNED) | RT_OP_UNPINNED);
    return true;
}

static void read_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    rw_prep(op, sqe, false);
}

static void write_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    rw_prep(op, sqe, true);
}

/* A short read is the end of the file only when the next one says so: a signal or the page cache may have cut
 * it. With direct I/O going on from an unaligned place would be refused, and only the end leaves us at one.
 * An error after progress is the whole's: a short count would pass for the end, and its bytes for zeroes. */
static enum rt_op_next read_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    const struct rt_file *f = op->obj;

    if (transient(res) || pin_lost(op, res))
        return RT_OP_AGAIN;
    if (res < 0)
        return ended(op, res);
    if (res && rt_op_advance(op, (uint32_t)res) && !(op->moved % f->info.dio_align))
        return RT_OP_AGAIN;
    return ended(op, (int)op->moved);
}

static enum rt_op_next write_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    if (transient(res) || pin_lost(op, res))
        return RT_OP_AGAIN;
    if (res < 0)
        return ended(op, res);
    if (!res)
        return ended(op, -EIO);             /* nothing written and no reason: going on could be for ever */
    if (rt_op_advance(op, (uint32_t)res))
        return RT_OP_AGAIN;
    return ended(op, (int)op->moved);
}

static const struct rt_op_type read_type = { .prep = read_prep, .finish = read_finish, .disk = true };
static const struct rt_op_type write_type = { .prep = write_prep, .finish = write_finish, .disk = true };

static void rw_start(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                     uint64_t off, const struct rt_op_type *type)
{
    op->obj = f;
    op->fd = f->fd;
    op->u.rw.off = off;
    if (!rt_op_iov(op, iov, n))             /* nothing to do */
        rt_op_ready(rt, op, type, 0);
    else
        rt_op_start(rt, op, type);
}

void rt_file_read(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                  uint64_t off)
{
    rw_start(rt, f, op, iov, n, off, &read_type);
}

void rt_file_write(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n,
                   uint64_t off)
{
    rw_start(rt, f, op, iov, n, off, &write_type);
}

static void sync_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
}

static enum rt_op_next sync_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    return transient(res) ? RT_OP_AGAIN : ended(op, res);
}

static const struct rt_op_type sync_type = { .prep = sync_prep, .finish = sync_finish, .disk = true };

void rt_file_sync(struct rt *rt, struct rt_file *f, struct rt_op *op)
{
    op->obj = f;
    op->fd = f->fd;
    rt_op_start(rt, op, &sync_type);
}

static void falloc_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    io_uring_prep_fallocate(sqe, op->fd, (int)op->n, (off_t)op->u.range.off, (off_t)op->u.range.len);
}

static enum rt_op_next falloc_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    if (transient(res))
        return RT_OP_AGAIN;
    return ended(op, res == -ENOSYS || res == -ENODEV ? -EOPNOTSUPP : res);
}

static const struct rt_op_type falloc_type = { .prep = falloc_prep, .finish = falloc_finish, .disk = true };

void rt_file_falloc(struct rt *rt, struct rt_file *f, struct rt_op *op, enum rt_falloc how, uint64_t off,
                    uint64_t len)
{
    /* On a block device the kernel makes these discard-with-zeroes and write-zeroes. */
    static const int modes[] = {
        [RT_FALLOC_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        [RT_FALLOC_ZERO] = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
    };

    op->obj = f;
    op->fd = f->fd;
    op->n = (uint32_t)modes[how];
    op->u.range.off = off;
    op->u.range.len = len;
    if (!len)
        rt_op_ready(rt, op, &falloc_type, 0);
    else
        rt_op_start(rt, op, &falloc_type);
}
