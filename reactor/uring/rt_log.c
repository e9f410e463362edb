/*
 * rt_log.c - lines for the operator
 *
 * The level and the limits of rt_log_peer() are the program's one piece of mutable global state: a line must
 * be possible from any thread, before there is a host and after it is gone, and what bounds a flood must hold
 * for the program, not for each core.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "reactor/rt.h"
#include "reactor/rt_log.h"

#define LINE_MAX_LEN 1000
#define PEER_BURST 20
/* Limited by format string, so that a flood of one kind of line hides no other; two kinds that share a place
 * share its limit. */
#define PEER_KINDS 64

static _Atomic int level_max = RT_INFO;
static _Atomic int journal = -1;            /* -1: not looked yet; 0, 1 */

static struct {
    pthread_mutex_t lock;
    struct peer_kind {
        uint64_t second;
        unsigned tokens, dropped;
        bool used;
    } kind[PEER_KINDS];
} peer = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const words[] = {
    [RT_ERR] = "error: ", [RT_WARN] = "warning: ", [RT_NOTICE] = "", [RT_INFO] = "", [RT_DEBUG] = "debug: ",
};

/* systemd names the stream it gave us by device and inode: stderr may have been redirected since. */
static bool journal_reads(void)
{
    const char *env = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;
    int known = atomic_load_explicit(&journal, memory_order_relaxed);

    if (known < 0) {
        known = env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
                st.st_dev == dev && st.st_ino == ino;
        atomic_store_explicit(&journal, known, memory_order_relaxed);
    }
    return known;
}

__attribute__((format(printf, 3, 0)))
static void line_write(enum rt_level level, unsigned dropped, const char *fmt, va_list ap)
{
    char line[LINE_MAX_LEN + 64];
    size_t len, start;
    int n;

    if (journal_reads())
        n = snprintf(line, sizeof(line), "<%d>", (int)level);
    else
        n = snprintf(line, sizeof(line), "%s", words[level]);
    start = (size_t)n;
    n = vsnprintf(line + start, LINE_MAX_LEN, fmt, ap);
    len = start + (n < 0 ? 0 : n < LINE_MAX_LEN ? (size_t)n : LINE_MAX_LEN - 1);
    for (size_t i = start; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    if (dropped)
        len += (size_t)snprintf(line + len, sizeof(line) - len, " (%u such lines dropped)", dropped);
    line[len++] = '\n';
    for (size_t done = 0; done < len;) {    /* one write as a rule, so that threads do not mix lines */
        const ssize_t w = write(STDERR_FILENO, line + done, len - done);

        if (w > 0)
            done += (size_t)w;
        else if (w == 0 || errno != EINTR)
            return;                         /* nobody to tell */
    }
}

static bool wanted(enum rt_level level)
{
    return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

void rt_log(enum rt_level level, const char *fmt, ...)
{
    const int saved = errno;
    va_list ap;

    if (!wanted(level))
        return;
    va_start(ap, fmt);
    line_write(level, 0, fmt, ap);
    va_end(ap);
    errno = saved;
}

/* Return: whether the line may go out, with how many were dropped before it. */
static bool peer_take(const char *fmt, unsigned *dropped)
{
    struct peer_kind *k = &peer.kind[((uintptr_t)fmt >> 3) * 0x9e3779b97f4a7c15ull >> 58];
    struct timespec ts;
    bool pass;

    static_assert(PEER_KINDS == 1 << (64 - 58), "the shift takes a place's number");
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    pthread_mutex_lock(&peer.lock);
    if (!k->used) {
        k->used = true;
        k->tokens = PEER_BURST;
        k->second = (uint64_t)ts.tv_sec;
    } else if (k->second != (uint64_t)ts.tv_sec) {
        const uint64_t gained = (uint64_t)ts.tv_sec - k->second;

        k->tokens = gained > PEER_BURST - k->tokens ? PEER_BURST : k->tokens + (unsigned)gained;
        k->second = (uint64_t)ts.tv_sec;
    }
    pass = k->tokens;
    *dropped = 0;
    if (pass) {
        k->tokens--;
        *dropped = k->dropped;
        k->dropped = 0;
    } else {
        k->dropped++;
    }
    pthread_mutex_unlock(&peer.lock);
    return pass;
}

void rt_log_peer(enum rt_level level, const char *fmt, ...)
{
    const int saved = errno;
    unsigned dropped;
    va_list ap;

    if (wanted(level) && peer_take(fmt, &dropped)) {
        va_start(ap, fmt);
        line_write(level, dropped, fmt, ap);
        va_end(ap);
    }
    errno = saved;
}

void rt_log_level(enum rt_level level)
{
    atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}
