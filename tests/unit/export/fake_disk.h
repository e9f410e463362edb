/*
 * fake_disk.h - a disk in memory behind mpio/disk.h, and a reactor on a thread of its own
 *
 * Stands in for mpio/disk.c at link time: include it in one file of a program. The disk answers in a later
 * turn, out of order when told to, fails what it is told to fail, and refuses what a real one would refuse.
 */
#ifndef TESTS_EXPORT_FAKE_DISK_H
#define TESTS_EXPORT_FAKE_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mpio/disk.h"
#include "reactor/rt.h"

#define FAKE_SIZE_MAX (64ull << 20)

struct fake_pending {
    struct rt_timer timer;
    struct mpio_io *io;
};

struct mpio_disk {
    struct rt *rt;
    struct ini_lun_info info;
    uint8_t *mem;
    _Atomic int fail[INI_ZERO + 1];         /* errno for all requests of the kind from now on */
    _Atomic unsigned count[INI_ZERO + 1];
    _Atomic unsigned fua, in_flight;
    _Atomic uint64_t delay_ns;
    _Atomic bool scatter;                   /* answer out of order */
    unsigned seed;
    /* Buffers handed out; those made when bad_bufs was another number are not good any more. */
    _Atomic unsigned bufs, bad_bufs;
    struct fake_buf {
        uint8_t *mem;
        size_t len;
        unsigned made;
    } buf[8];
    _Atomic size_t buf_room;                /* longer ones are never good; 0: all may be */
    _Atomic unsigned placed;                /* reads and writes whose data lay in one, whole and on a page boundary */
};

const struct ini_lun_info *mpio_disk_info(const struct mpio_disk *d)
{
    return &d->info;
}

struct rt *mpio_disk_rt(const struct mpio_disk *d)
{
    return d->rt;
}

/* ---- buffers ---- */

static struct fake_buf *fake_buf_of(struct mpio_disk *d, const void *mem, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(d->buf); i++) {
        struct fake_buf *b = &d->buf[i];

        if (b->mem && (const uint8_t *)mem >= b->mem && (const uint8_t *)mem + len <= b->mem + b->len)
            return b;
    }
    return NULL;
}

void *mpio_buf_get(struct mpio_disk *d, size_t len)
{
    rt_assert_here(d->rt);
    for (size_t i = 0; i < ARRAY_SIZE(d->buf); i++) {
        struct fake_buf *b = &d->buf[i];

        if (b->mem)
            continue;
        *b = (struct fake_buf){ rt_mem_alloc(len), len, atomic_load(&d->bad_bufs) };
        atomic_fetch_add(&d->bufs, 1);
        return b->mem;
    }
    return NULL;
}

void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len)
{
    struct fake_buf *b = fake_buf_of(d, mem, len);

    rt_assert_here(d->rt);
    assert(b && b->mem == mem && b->len == len);
    rt_mem_free(mem, len);
    b->mem = NULL;
    atomic_fetch_sub(&d->bufs, 1);
}

bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len)
{
    const struct fake_buf *b = fake_buf_of((struct mpio_disk *)d, mem, len);
    const size_t room = atomic_load(&d->buf_room);

    assert(b);
    return b->made == atomic_load(&d->bad_bufs) && (!room || b->len <= room);
}

/* ---- requests ---- */

static void fake_copy(struct mpio_disk *d, struct ini_io *io)
{
    uint8_t *at = d->mem + io->off;
    uint64_t left = io->len;

    if (io->iov_nr == 1 && (uintptr_t)io->iov->iov_base % 4096 == 0 && fake_buf_of(d, io->iov->iov_base, io->len))
        atomic_fetch_add(&d->placed, 1);
    for (unsigned i = 0; i < io->iov_nr; i++) {
        assert(io->iov[i].iov_len <= left);
        if (io->op == INI_READ)
            memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
        else
            memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
        left -= io->iov[i].iov_len;
    }
    assert(!left);
}

static int fake_do(struct mpio_disk *d, struct ini_io *io)
{
    const int fail = atomic_load(&d->fail[io->op]);

    atomic_fetch_add(&d->count[io->op], 1);
    if (fail)
        return -fail;
    if (io->op == INI_FLUSH)
        return 0;
    if (!io->len || io->off % d->info.block_len || io->len % d->info.block_len || io->off > d->info.size ||
        io->len > d->info.size - io->off)
        return -EINVAL;
    if (io->op != INI_READ && d->info.readonly)
        return -EROFS;
    if (io->op == INI_WRITE && (io->flags & INI_FUA))
        atomic_fetch_add(&d->fua, 1);
    if (io->op == INI_READ || io->op == INI_WRITE)
        fake_copy(d, io);
    else if (io->op == INI_ZERO)
        memset(d->mem + io->off, 0, io->len);
    return 0;                               /* INI_UNMAP keeps the data: it is a hint */
}

static void fake_done(struct rt_timer *t)
{
    struct fake_pending *p = container_of(t, struct fake_pending, timer);
    struct mpio_io *io = p->io;
    struct mpio_disk *d = io->disk;
    const int res = fake_do(d, &io->io);

    free(p);
    atomic_fetch_sub(&d->in_flight, 1);
    io->done(io, res);
}

void mpio_submit(struct mpio_disk *d, struct mpio_io *io)
{
    struct fake_pending *p = calloc(1, sizeof(*p));
    uint64_t after = atomic_load(&d->delay_ns);

    assert(p);
    rt_assert_here(d->rt);
    if (atomic_load(&d->scatter))
        after += (uint64_t)(rand_r(&d->seed) % 300) * RT_US;
    io->disk = d;
    p->io = io;
    p->timer.fn = fake_done;
    atomic_fetch_add(&d->in_flight, 1);
    rt_timer_arm(d->rt, &p->timer, after);
}

/* ---- the reactor's thread ---- */

struct fake {
    struct rt_host *host;
    struct rt *rt;
    pthread_t thread;
    struct mpio_disk disk;
};

static void *fake_thread(void *arg)
{
    struct fake *f = arg;

    return (void *)(intptr_t)rt_host_run(f->host);
}

/* FAKE_FILE in the environment: the disk outlives the process. */
static inline uint8_t *fake_memory(void)
{
    const char *file = getenv("FAKE_FILE");
    const int fd = file ? open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *mem;

    if (fd >= 0 && ftruncate(fd, FAKE_SIZE_MAX))
        return NULL;
    mem = mmap(NULL, FAKE_SIZE_MAX, PROT_READ | PROT_WRITE, fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
               fd, 0);
    if (fd >= 0)
        close(fd);
    return mem == MAP_FAILED ? NULL : mem;
}

static inline int fake_start(struct fake *f, uint64_t size, uint32_t block_len)
{
    static const int core = -1;
    struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    int err;

    memset(f, 0, sizeof(*f));
    if ((err = rt_host_new(&f->host, &conf)))
        return err;
    f->rt = rt_host_at(f->host, 0);
    f->disk.rt = f->rt;
    f->disk.mem = fake_memory();
    if (!f->disk.mem)
        return -ENOMEM;
    f->disk.info = (struct ini_lun_info){
        .size = size,
        .block_len = block_len,
        .phys_len = 4096,
        .io_max = 1u << 20,
        .write_cache = true,
        .fua = true,
        .unmap = true,
        .unmap_zeroes = true,
        .unmap_granularity = block_len,
        .unmap_max = 1u << 30,
        .zero_max = 1u << 30,
        .wwid = "naa.60000000000000001",
    };
    f->disk.seed = 7;
    return -pthread_create(&f->thread, NULL, fake_thread, f);
}

static inline void fake_stop(struct fake *f)
{
    rt_host_stop(f->host);
    pthread_join(f->thread, NULL);
    rt_host_free(f->host);
    munmap(f->disk.mem, FAKE_SIZE_MAX);
}

struct fake_call {
    struct rt_msg msg;
    void (*fn)(void *arg);
    void *arg;
    sem_t sem;
};

static void fake_called(struct rt_msg *m)
{
    struct fake_call *c = container_of(m, struct fake_call, msg);

    c->fn(c->arg);
    sem_post(&c->sem);
}

/* Runs fn(arg) on the core and waits for it. */
static inline void fake_on_core(struct fake *f, void (*fn)(void *arg), void *arg)
{
    struct fake_call c = { .msg.fn = fake_called, .fn = fn, .arg = arg };

    sem_init(&c.sem, 0, 0);
    rt_post(f->rt, &c.msg);
    sem_wait(&c.sem);
    sem_destroy(&c.sem);
}

#endif
