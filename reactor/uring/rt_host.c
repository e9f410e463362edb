/*
 * rt_host.c - the reactors of a program: making them, their threads and cores, signals, clocks, counters
 *
 * What a reactor does in a turn is rt_uring.c's.
 */
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

/* Polling for as long as a wake-up costs is never worse than twice the best choice. Two pinned reactors over
 * TCP loopback on 2 virtual cores: a round trip takes 11 us polling and 79 us when both sleep each time, so
 * a wake-up costs some 35 us there. */
#define POLL_US_DEFAULT 50

#define CPUS_MAX 65536

#define STACK_TOUCHED (128u << 10) /* bytes */

/* ---- clocks and randomness --------------------------------------------------------------------------- */

static uint64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * RT_S + (uint64_t)ts.tv_nsec;
}

uint64_t rt_clock_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t rt_thread_cpu_ns(void)
{
    return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t rt_clock(const struct rt *rt)
{
    return rt_clock_ns();
}

uint64_t rt_wall_s(const struct rt *rt)
{
    return (uint64_t)time(NULL);
}

void rt_random_bytes(void *buf, size_t len)
{
    for (size_t got = 0; got < len;) {
        const ssize_t n = getrandom((uint8_t *)buf + got, len - got, 0);

        if (n >= 0) {
            got += (size_t)n;
        } else if (errno != EINTR) {
            rt_log(RT_ERR, "getrandom: %s: no secret can be made without it", strerror(errno));
            abort();
        }
    }
}

void rt_random(struct rt *rt, void *buf, size_t len)
{
    rt_random_bytes(buf, len);
}

/* ---- making and freeing ------------------------------------------------------------------------------ */

/* The CPUs the program may run on, however many the machine has. */
static int cpus_read(struct rt_host *h)
{
    for (int n = 1024; n <= CPUS_MAX; n *= 2) {
        h->cpus_len = CPU_ALLOC_SIZE(n);
        if (!(h->cpus = CPU_ALLOC((size_t)n)))
            return -ENOMEM;
        if (!sched_getaffinity(0, h->cpus_len, h->cpus))
            return 0;
        CPU_FREE(h->cpus);
        h->cpus = NULL;
        if (errno != EINVAL)
            return -errno;
    }
    return -EINVAL;
}

static int core_check(const struct rt_host *h, int core)
{
    if (core == -1 || (core >= 0 && h->cpus && CPU_ISSET_S((size_t)core, h->cpus_len, h->cpus)))
        return 0;
    rt_log(RT_ERR, "core %d is not there or not allowed to this program: choose among those that "
                   "`taskset -cp $$` lists", core);
    return -EINVAL;
}

/* Of the program and its libraries all of it, at once: code that runs when memory is short for the first time would be read
 * from a disk then. What is not read from a file (@p_memsz beyond it) comes as it is used. */
static int image_lock(struct dl_phdr_info *info, size_t size, void *arg)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];

        if (p->p_type == PT_LOAD)
            (void)mlock((const void *)(info->dlpi_addr + p->p_vaddr), p->p_filesz);
    }
    return 0;
}

static void memory_lock(void)
{
    const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
    struct rlimit have = { 0, 0 };
    int err = 0;

    /* Under a limit MCL_FUTURE would make allocations fail that have nothing to do with it. */
    if (setrlimit(RLIMIT_MEMLOCK, &none) &&
        (getrlimit(RLIMIT_MEMLOCK, &have) || have.rlim_cur != RLIM_INFINITY))
        err = EPERM;
    /* On fault: pools are reserved generously, and only what was used once has to stay. */
    else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
        err = errno;
    else
        (void)dl_iterate_phdr(image_lock, NULL);
    if (err)
        rt_log(RT_WARN, "memory cannot be locked (%s): a host that swaps to its own disks may hang; set "
                        "LimitMEMLOCK=infinity or ulimit -l unlimited", strerror(err));
}

/* Allocations of this thread never wait for write-out that may have to pass through this thread. The flag
 * is a thread's own, so each asks; the one line about a refusal comes from rt_host_new(). */
static bool io_flusher_set(void)
{
    return !prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

/* The stack as deep as it will be needed, or its pages are asked for when memory is short. */
__attribute__((noinline)) static void stack_touch(void)
{
    volatile uint8_t stack[STACK_TOUCHED];

    for (size_t at = 0; at < sizeof(stack); at += 4096)
        stack[at] = 0;
}

void rt_thread_setup(const struct rt_host *h)
{
    if (!h->lock_memory)
        return;
    (void)io_flusher_set();
    stack_touch();
}

static int rt_make(struct rt **out, struct rt_host *h, unsigned index, const struct rt_conf *conf)
{
    struct rt *rt = aligned_alloc(RT_CACHE_LINE, sizeof(*rt));
    int err;

    if (!rt)
        return -ENOMEM;
    memset(rt, 0, sizeof(*rt));
    rt->c.host = h;
    rt->c.index = index;
    rt->c.core = conf->cores[index];
    rt->wake_fd = -1;
    rt->c.now = rt_clock_ns();
    rt_list_init(&rt->zombies);
    rt_set_mode(rt, conf->mode, conf->poll_us);
    *out = rt;                                  /* rt_host_free() frees it, half made or not */
    if ((err = rt_ring_make(rt, conf->entries)))
        return err;
    return rt_mail_open(rt);
}

static void rt_unmake(struct rt *rt)
{
    if (!rt)
        return;
    rt_ring_free(rt);
    rt_zombies_free(rt);
    rt_mail_close(rt);
    rt_disown(rt);
    free(rt);
}

int rt_host_new(struct rt_host **out, const struct rt_conf *conf)
{
    struct rt_host *h;
    int err;

    if (!conf->cores_nr || conf->cores_nr > RT_CORES_MAX)
        return -EINVAL;
    if (!(h = calloc(1, sizeof(*h))))
        return -ENOMEM;
    if ((err = rt_workers_init(&h->workers))) {
        free(h);
        return err;
    }
    h->lock_memory = conf->lock_memory;
    if ((err = cpus_read(h)))
        goto fail;
    if (!(h->rts = calloc(conf->cores_nr, sizeof(struct rt *)))) {
        err = -ENOMEM;
        goto fail;
    }
    if (h->lock_memory) {
        memory_lock();
        if (!io_flusher_set())
            rt_log(RT_WARN, "PR_SET_IO_FLUSHER is refused (%s): under memory pressure, write-out to its own "
                            "disks may wait for this program; give CAP_SYS_RESOURCE", strerror(errno));
    }
    for (unsigned i = 0; i < conf->cores_nr; i++) {
        if ((err = core_check(h, conf->cores[i])))
            goto fail;
        h->count = i + 1;
        if ((err = rt_make(&h->rts[i], h, i, conf)))
            goto fail;
    }
    *out = h;
    return 0;
fail:
    rt_host_free(h);
    return err;
}

void rt_host_free(struct rt_host *h)
{
    if (!h)
        return;
    rt_reserve_end(&h->reserve);
    rt_workers_end(&h->workers);                /* first: what they run ends in a post to a reactor */
    for (unsigned i = 0; i < h->count; i++)
        rt_unmake(h->rts[i]);
    rt_signals_free(h);
    free(h->rts);
    CPU_FREE(h->cpus);
    free(h);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static int pin(const struct rt *rt)
{
    cpu_set_t *set;
    int err;

    if (rt->c.core < 0)
        return 0;
    if (!(set = CPU_ALLOC(CPUS_MAX)))
        return -ENOMEM;
    CPU_ZERO_S(CPU_ALLOC_SIZE(CPUS_MAX), set);
    CPU_SET_S((size_t)rt->c.core, CPU_ALLOC_SIZE(CPUS_MAX), set);
    err = pthread_setaffinity_np(pthread_self(), CPU_ALLOC_SIZE(CPUS_MAX), set);
    CPU_FREE(set);
    if (err)
        rt_log(RT_ERR, "reactor %u cannot be pinned to core %d: %s", rt->c.index, rt->c.core, strerror(err));
    return -err;
}

static int reactor_run(struct rt *rt)
{
    int err;

    rt_thread_setup(rt->c.host);
    if ((err = pin(rt)) || (err = rt_run(rt)))
        rt_host_stop(rt->c.host);                 /* one lost core is not something to go on without */
    return err;
}

static void *reactor_thread(void *arg)
{
    struct rt *rt = arg;
    char name[16];

    snprintf(name, sizeof(name), "rt-%u", rt->c.index);
    (void)pthread_setname_np(pthread_self(), name);
    return (void *)(intptr_t)reactor_run(rt);
}

int rt_host_run(struct rt_host *h)
{
    pthread_t *threads = calloc(h->count, sizeof(*threads));
    unsigned started = 1;
    int err = 0;

    assert(!h->ran);                            /* rings belong to threads that are gone after a run */
    if (!threads)
        return -ENOMEM;
    h->ran = true;
    if (h->lock_memory && (err = rt_reserve_start(h))) {
        rt_log(RT_WARN, "no memory can be kept back for write-out (%s): it may be very slow when memory is short",
               strerror(-err));
        err = 0;
    }
    for (; started < h->count; started++) {
        if ((err = -pthread_create(&threads[started], NULL, reactor_thread, h->rts[started]))) {
            rt_log(RT_ERR, "cannot start the thread of reactor %u: %s", started, strerror(-err));
            rt_host_stop(h);
            break;
        }
    }
    if (!err) {
        err = reactor_run(h->rts[0]);
        (void)pthread_setaffinity_np(pthread_self(), h->cpus_len, h->cpus);
    }
    for (unsigned i = 1; i < started; i++) {
        void *ret;

        pthread_join(threads[i], &ret);
        if (ret && !err)
            err = (int)(intptr_t)ret;
    }
    for (unsigned i = 0; i < h->count; i++)
        rt_disown(h->rts[i]);                   /* so that the caller can close what is left */
    free(threads);
    return err;
}

void rt_host_stop(struct rt_host *h)
{
    /* Sequentially consistent with the load in rt_sleep(), as a posted message is. */
    atomic_store_explicit(&h->stop, true, memory_order_seq_cst);
    for (unsigned i = 0; i < h->count; i++)
        rt_wake(h->rts[i]);
}

/* ---- what a reactor is ------------------------------------------------------------------------------- */

unsigned rt_host_count(const struct rt_host *h)
{
    return h->count;
}

struct rt *rt_host_at(struct rt_host *h, unsigned index)
{
    assert(index < h->count);
    return h->rts[index];
}

void rt_set_mode(struct rt *rt, enum rt_mode mode, uint32_t poll_us)
{
    atomic_store_explicit(&rt->c.poll_us, poll_us ? poll_us : POLL_US_DEFAULT, memory_order_relaxed);
    atomic_store_explicit(&rt->c.mode, mode, memory_order_seq_cst);
    if (rt->wake_fd >= 0)
        rt_wake(rt);                            /* a sleeper learns of it now, not at its next event */
}

/* ---- signals ----------------------------------------------------------------------------------------- */

struct rt_signal_source {
    struct rt_op op;
    int fd;
    void (*fn)(void *arg, int signo);
    void *arg;
    struct signalfd_siginfo info;
};

static void signal_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    struct rt_signal_source *s = container_of(op, struct rt_signal_source, op);

    io_uring_prep_read(sqe, op->fd, &s->info, sizeof(s->info), 0);
}

static enum rt_op_next signal_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    struct rt_signal_source *s = container_of(op, struct rt_signal_source, op);

    if (res == (int)sizeof(s->info))
        s->fn(s->arg, (int)s->info.ssi_signo);
    return RT_OP_AGAIN;
}

static const struct rt_op_type signal_type = { .prep = signal_prep, .finish = signal_finish };

static void signal_done(struct rt_op *op, int res)
{
}

int rt_signals(struct rt *rt, const int *signals, void (*fn)(void *arg, int signo), void *arg)
{
    struct rt_signal_source *s;
    sigset_t set;
    int err;

    assert(!rt->c.host->signals);                 /* once for a host */
    sigemptyset(&set);
    for (; *signals; signals++)
        if (sigaddset(&set, *signals))
            return -EINVAL;
    if (!(s = calloc(1, sizeof(*s))))
        return -ENOMEM;
    if ((s->fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0) {
        err = -errno;
        free(s);
        return err;
    }
    pthread_sigmask(SIG_BLOCK, &set, NULL);     /* the threads made later inherit it */
    s->fn = fn;
    s->arg = arg;
    s->op = (struct rt_op){ .done = signal_done, .fd = s->fd };
    rt->c.host->signals = s;
    rt_op_start(rt, &s->op, &signal_type);
    return 0;
}

void rt_signals_free(struct rt_host *h)
{
    if (!h->signals)
        return;
    close(h->signals->fd);
    free(h->signals);
    h->signals = NULL;
}
