/*
 * rt_shm.c - memory that two processes share: made, judged when it came from a stranger, taken back
 *
 * Owns the descriptor and the mapping. How it crosses a socket is rt_sock.c's, how a ring makes file operations on
 * it cheaper is rt_pin.c's.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"

#define PAGE_LEN 4096u
#define HUGE_LEN (2ul << 20)
/* Without them the giver could cut the file, and what we touch beyond its end kills us (SIGBUS); and with the last,
 * nobody adds a seal against writing while we write. */
#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* 5.14 */
#endif

struct rt_shm {
    int fd;
    uint8_t *mem;          /* NULL: not mapped */
    size_t len;            /* bytes */
    bool revoked;          /* some of it is ours alone */
    _Atomic unsigned pins; /* reactors that have it registered */
};

static int shm_wrap(int fd, struct rt_shm **out)
{
    struct rt_shm *shm = calloc(1, sizeof(*shm));

    if (!shm) {
        close(fd);
        return -ENOMEM;
    }
    shm->fd = fd;
    *out = shm;
    return 0;
}

int rt_shm_take(int fd, struct rt_shm **out)
{
    if (fcntl(fd, F_GET_SEALS) < 0) { /* only memory has seals */
        close(fd);
        return -EPROTO;
    }
    return shm_wrap(fd, out);
}

int rt_shm_fd(const struct rt_shm *shm)
{
    return shm->fd;
}

static int shm_mmap(struct rt_shm *shm, size_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, shm->fd, 0);

    if (mem == MAP_FAILED)
        return -errno;
    if (len >= HUGE_LEN)
        (void)madvise(mem, len, MADV_HUGEPAGE); /* advice: without huge pages it is as good, only slower */
    shm->mem = mem;
    shm->len = len;
    return 0;
}

/* Whose memory is locked stands in a write-out path, and must not need memory later to write some out. That is asked
 * of the mapping itself, which alone knows: giving pages back is refused for a locked one, and changes nothing for
 * another, in which nothing was touched yet. By reading, which makes pages of such a memory too: another process may be
 * using it. */
static int shm_populate(struct rt_shm *shm)
{
    if (!madvise(shm->mem, shm->len, MADV_DONTNEED))
        return 0;
    if (!madvise(shm->mem, shm->len, MADV_POPULATE_READ))
        return 0;
    if (errno != EINVAL)
        return -errno;
    for (size_t at = 0; at < shm->len; at += PAGE_LEN) /* an older kernel */
        (void)*(volatile uint8_t *)(shm->mem + at);
    return 0;
}

int rt_shm_new(struct rt_shm **out, size_t len)
{
    struct rt_shm *shm = NULL;
    int err, fd;

    if (!len || len % PAGE_LEN || len > INT64_MAX)
        return -EINVAL;
    if ((fd = memfd_create("corelane", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
        return -errno;
    if ((err = shm_wrap(fd, &shm)))
        return err;
    if (ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, SEALS_NEEDED))
        err = -errno;
    if (err || (err = shm_mmap(shm, len)) || (err = shm_populate(shm))) {
        rt_shm_free(shm);
        return err;
    }
    *out = shm;
    return 0;
}

/* Return: its size in bytes, or -errno as rt_shm_map() says it. */
static int64_t shm_judge(int fd)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    const int flags = fcntl(fd, F_GETFL);
    struct statfs fs;
    struct stat st;

    if (seals < 0 || flags < 0 || fstatfs(fd, &fs) || fstat(fd, &st))
        return -EINVAL;
    /* hugetlbfs has seals too, but no pages for sure: one that its giver has punched out, or never touched, is had
     * from the pool when we touch it, and an empty pool is a SIGBUS. Pages of a memfd are ordinary memory. A file of a
     * mounted tmpfs, which may be full, cannot have the seals that are asked for. */
    if ((unsigned long)fs.f_type != TMPFS_MAGIC || !S_ISREG(st.st_mode) || (flags & O_ACCMODE) != O_RDWR)
        return -EINVAL;
    if ((seals & SEALS_NEEDED) != SEALS_NEEDED || (seals & SEALS_REFUSED))
        return -EPERM;
    return st.st_size; /* after the seals: from here on it stays */
}

int rt_shm_map(struct rt_shm *shm, size_t len_min, size_t len_max)
{
    int64_t len;
    int err;

    assert(!shm->mem);
    if ((len = shm_judge(shm->fd)) < 0)
        return (int)len;
    if ((uint64_t)len < len_min || (uint64_t)len > len_max || !len || len % PAGE_LEN)
        return -EFBIG;
    if ((err = shm_mmap(shm, (size_t)len)))
        return err;
    return shm_populate(shm);
}

void *rt_shm_mem(const struct rt_shm *shm)
{
    return shm->mem;
}

size_t rt_shm_len(const struct rt_shm *shm)
{
    return shm->len;
}

int rt_shm_revoke(struct rt_shm *shm, size_t off, size_t len)
{
    uint8_t *at = shm->mem + off;
    void *own;
    int err;

    assert(shm->mem);
    assert(len && off <= shm->len && len <= shm->len - off);
    assert(off % PAGE_LEN == 0 && len % PAGE_LEN == 0);
    /* What is registered with a ring stays the old pages: who pins does not revoke. */
    assert(!atomic_load_explicit(&shm->pins, memory_order_relaxed));
    own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED)
        return -errno;
    memcpy(own, at, len); /* also touches it: the pages are there before they are needed */
    /* In one step: a thread that uses the memory meanwhile meets the old pages or the new ones, never none. What can
     * fail (too many mappings, the limit of locked memory) is checked before the old one goes. */
    if (mremap(own, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
        err = -errno;
        munmap(own, len);
        return err;
    }
    shm->revoked = true;
    return 0;
}

void rt_shm_pin_count(struct rt_shm *shm, bool more)
{
    assert(shm->mem);
    assert(!more || !shm->revoked); /* see rt_shm_revoke() */
    if (more)
        atomic_fetch_add_explicit(&shm->pins, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&shm->pins, 1, memory_order_relaxed);
}

void rt_shm_free(struct rt_shm *shm)
{
    if (!shm)
        return;
    assert(!atomic_load_explicit(&shm->pins, memory_order_relaxed));
    if (shm->mem)
        munmap(shm->mem, shm->len);
    close(shm->fd);
    free(shm);
}

/* ---- this start of this machine ------------------------------------------------------------------------ */

void rt_boot_id(char out[static RT_BOOT_ID_LEN + 1])
{
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, out, RT_BOOT_ID_LEN);

    if (fd >= 0)
        close(fd);
    out[n == RT_BOOT_ID_LEN ? RT_BOOT_ID_LEN : 0] = '\0';
}
