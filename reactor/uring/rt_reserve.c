/*
 * rt_reserve.c - memory kept back for when there is none: for a program that others' dirty pages are written out through
 *
 * What such a program has of its own is locked and there. But the kernel allocates in its name too: a packet for what it
 * sends, a page of a file system's map when a file gets a new block. When all memory is dirty pages, each of those
 * waits for pages to become clean, and they wait for this program: a deadlock, or one allocation a second, which is the
 * longest that the kernel holds up who must not wait for write-out (PR_SET_IO_FLUSHER).
 *
 * So some memory is kept where it can be given back without needing any: in pipes, whose pages are nobody's cache and not
 * swapped, and which no lock of the address space stands before. The canary allocates as the program's threads do, now
 * and then. The guard, which allocates nothing, looks after it: as long as the canary is stuck it gives a part back. That
 * lets the program write some pages out, and with those it goes on by itself. Later the canary fills up again.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "reactor/rt_log.h"
#include "reactor/uring/rt_internal.h"

#define PART_LEN (1u << 20) /* bytes; of a pipe that needs no privilege */
/* Given at a time: more than what a small machine's kernel keeps for itself. */
#define PARTS_GIVEN 2
#define LOOK_NS     (500 * RT_MS)
#define STUCK_NS    (300 * RT_MS)
/* Who waits inside the kernel looks again after a second: a second part is for when the first did not help. */
#define AGAIN_NS      (1200 * RT_MS)
#define FILL_AFTER_NS (5 * RT_S)
/* A pipe keeps the page that was read last for the next write. */
#define PROBE_PAGES 4u
#define PAGE_LEN    4096u

static const uint8_t zeroes[PAGE_LEN];

static int pipe_make(int fds[2], unsigned len)
{
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
        return -errno;
    return fcntl(fds[1], F_SETPIPE_SZ, (int)len) < 0 ? -errno : 0;
}

/* Return: whether it went in: false when it is full, or memory is short. */
static bool page_in(const int fds[2])
{
    return write(fds[1], zeroes, PAGE_LEN) == PAGE_LEN;
}

static void pages_out(const struct rt_reserve *r, const int fds[2])
{
    while (splice(fds[0], NULL, r->null_fd, NULL, PART_LEN, SPLICE_F_NONBLOCK) > 0)
        ;
}

/* ---- the canary ------------------------------------------------------------------------------------------ */

/* Around whatever allocates; try_end() says whether that took long. */
static void try_begin(struct rt_reserve *r)
{
    atomic_store_explicit(&r->trying_ns, rt_clock_ns(), memory_order_release);
}

static bool try_end(struct rt_reserve *r)
{
    const uint64_t since = atomic_exchange_explicit(&r->trying_ns, 0, memory_order_acq_rel);

    return rt_clock_ns() - since >= STUCK_NS;
}

static bool probe(struct rt_reserve *r)
{
    bool slow;

    try_begin(r);
    for (unsigned i = 0; i < PROBE_PAGES && page_in(r->probe); i++)
        ;
    slow = try_end(r);
    pages_out(r, r->probe);
    return !slow;
}

/* Return: false: memory is short again, and nothing was kept. */
static bool fill(struct rt_reserve *r, unsigned part)
{
    bool more = true, slow = false;

    while (more && !slow) {
        try_begin(r);
        more = page_in(r->part[part]);
        slow = try_end(r);
    }
    if (slow) {
        pages_out(r, r->part[part]);
        return false;
    }
    atomic_fetch_or_explicit(&r->full, 1u << part, memory_order_release);
    return true;
}

/* Return: how many parts are there that were not. */
static unsigned refill(struct rt_reserve *r)
{
    unsigned n = 0;

    for (unsigned i = 0; i < RT_RESERVE_PARTS; i++) {
        if (atomic_load_explicit(&r->full, memory_order_acquire) & 1u << i)
            continue;
        if (!fill(r, i))
            break;
        n++;
    }
    return n;
}

/* Locked. Return: false: it is over. */
static bool wait_ns(struct rt_reserve *r, uint64_t ns)
{
    struct timespec ts;
    const uint64_t at = rt_clock_ns() + ns;

    ts = (struct timespec){ (time_t)(at / RT_S), (long)(at % RT_S) };
    if (!r->stop)
        (void)pthread_cond_timedwait(&r->stopped, &r->lock, &ts);
    return !r->stop;
}

static void *canary(void *arg)
{
    struct rt_host *h = arg;
    struct rt_reserve *r = &h->reserve;
    uint64_t good_ns = 0; /* since when memory is there; 0: since ever */
    unsigned n;

    (void)pthread_setname_np(pthread_self(), "rt-canary");
    rt_thread_setup(h);
    pthread_mutex_lock(&r->lock);
    do {
        pthread_mutex_unlock(&r->lock);
        if (!probe(r))
            good_ns = rt_clock_ns();
        else if (rt_clock_ns() - good_ns >= FILL_AFTER_NS && (n = refill(r)))
            rt_log(RT_NOTICE, "memory was short: %u MiB that were kept back for that went to it, and are back",
                   n * PART_LEN >> 20);
        pthread_mutex_lock(&r->lock);
    } while (wait_ns(r, LOOK_NS));
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the guard ------------------------------------------------------------------------------------------- */

bool rt_reserve_give(struct rt_reserve *r)
{
    const unsigned full = atomic_load_explicit(&r->full, memory_order_acquire);
    unsigned part;

    if (!full)
        return false;
    part = (unsigned)__builtin_ctz(full);
    pages_out(r, r->part[part]);
    /* Release pairs with the acquire in refill(): it finds the pipe empty. */
    atomic_fetch_and_explicit(&r->full, ~(1u << part), memory_order_release);
    return true;
}

size_t rt_reserve_len(struct rt_reserve *r)
{
    return (size_t)__builtin_popcount(atomic_load_explicit(&r->full, memory_order_acquire)) * PART_LEN;
}

static void *guard(void *arg)
{
    struct rt_reserve *r = &((struct rt_host *)arg)->reserve;
    uint64_t given_ns = 0;

    (void)pthread_setname_np(pthread_self(), "rt-guard");
    rt_thread_setup(arg);
    pthread_mutex_lock(&r->guard_lock);
    while (!r->guard_stop) {
        const uint64_t since = atomic_load_explicit(&r->trying_ns, memory_order_acquire), now = rt_clock_ns();
        const uint64_t at = now + (since ? STUCK_NS : LOOK_NS);
        const struct timespec ts = { (time_t)(at / RT_S), (long)(at % RT_S) };

        if (since && now > since && now - since >= STUCK_NS && now - given_ns >= AGAIN_NS) {
            for (unsigned i = 0; i < PARTS_GIVEN && rt_reserve_give(r); i++)
                ;
            given_ns = now;
        }
        (void)pthread_cond_timedwait(&r->guard_stopped, &r->guard_lock, &ts);
    }
    pthread_mutex_unlock(&r->guard_lock);
    return NULL;
}

/* ---- its life -------------------------------------------------------------------------------------------- */

static void close_pair(const int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void stop(pthread_t thread, pthread_mutex_t *lock, pthread_cond_t *cond, bool *flag)
{
    pthread_mutex_lock(lock);
    *flag = true;
    pthread_cond_signal(cond);
    pthread_mutex_unlock(lock);
    pthread_join(thread, NULL);
}

void rt_reserve_end(struct rt_reserve *r)
{
    if (!r->made)
        return;
    if (r->canary_runs)
        stop(r->canary, &r->lock, &r->stopped, &r->stop);
    if (r->guard_runs) /* last: who is stuck may need what it has to give */
        stop(r->guard, &r->guard_lock, &r->guard_stopped, &r->guard_stop);
    pthread_cond_destroy(&r->stopped);
    pthread_cond_destroy(&r->guard_stopped);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->guard_lock);
    for (unsigned i = 0; i < RT_RESERVE_PARTS; i++)
        close_pair(r->part[i]);
    close_pair(r->probe);
    if (r->null_fd >= 0)
        close(r->null_fd);
    r->made = false;
}

static int reserve_make(struct rt_reserve *r)
{
    pthread_condattr_t attr;
    int err;

    memset(r, 0, sizeof(*r));
    memset(r->part, -1, sizeof(r->part));
    memset(r->probe, -1, sizeof(r->probe));
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->stopped, &attr);
    pthread_cond_init(&r->guard_stopped, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->guard_lock, NULL);
    r->made = true;
    if ((r->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
        return -errno;
    if ((err = pipe_make(r->probe, PROBE_PAGES * PAGE_LEN)))
        return err;
    for (unsigned i = 0; i < RT_RESERVE_PARTS; i++)
        if ((err = pipe_make(r->part[i], PART_LEN)))
            return err;
    return 0;
}

int rt_reserve_start(struct rt_host *h)
{
    struct rt_reserve *r = &h->reserve;
    int err = reserve_make(r);

    if (!err) {
        (void)refill(r);
        /* Once before it is needed: what it runs through is in memory from then on. */
        if (rt_reserve_give(r))
            (void)refill(r);
        err = rt_helper_start(&r->guard, guard, h);
        r->guard_runs = !err;
    }
    if (!err) {
        err = rt_helper_start(&r->canary, canary, h);
        r->canary_runs = !err;
    }
    if (err)
        rt_reserve_end(r);
    return err;
}
