/*
 * kstat.c - a thread that reads /proc/stat once a second
 *
 * Not a helper of the reactor: what such a one works on has to stay until the host is gone, and the books of load go before.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balancer/kstat.h"

#define LINE_MAX_LEN 256u /* eleven numbers of 20 digits */

struct watched {
    int cpu;
    struct bal_ticks last;
    _Atomic uint8_t busy_pct;
};

struct bal_kstat {
    pthread_t thread;
    pthread_mutex_t lock; /* of stop */
    pthread_cond_t wake;
    bool stop;
    unsigned nr;
    size_t text_len;
    char *text;
    struct watched cpu[];
};

/* ---- the text -------------------------------------------------------------------------------------------- */

static const char *number(const char *p, uint64_t *out)
{
    while (*p == ' ')
        p++;
    if (*p < '0' || *p > '9')
        return NULL;
    for (*out = 0; *p >= '0' && *p <= '9'; p++)
        *out = *out * 10 + (uint64_t)(*p - '0'); /* of the kernel: one that wraps does no harm */
    return p;
}

bool bal_kstat_line(const char *line, int *cpu, struct bal_ticks *out)
{
    /* user nice system idle iowait irq softirq steal; guest times, which follow, are in user and nice already */
    uint64_t v[8] = { 0 }, nr;
    const char *p = line;

    if (strncmp(p, "cpu", 3) || p[3] < '0' || p[3] > '9' || !(p = number(p + 3, &nr)) || nr > INT32_MAX)
        return false;
    for (unsigned i = 0; i < 8 && (p = number(p, &v[i])); i++)
        ;
    if (!p) /* kernels before 2.6.11 have fewer; none that we run on */
        return false;
    *cpu = (int)nr;
    out->idle = v[3] + v[4];
    out->all = 0;
    for (unsigned i = 0; i < 8; i++)
        out->all += v[i];
    return true;
}

static uint8_t share_pct(const struct bal_ticks *a, const struct bal_ticks *b)
{
    const uint64_t all = b->all - a->all, idle = b->idle - a->idle;

    /* A CPU that went and came begins anew, and the kernel lets idle time run backwards at times. */
    if (!a->all || b->all <= a->all || b->idle < a->idle || idle > all)
        return 0;
    return (uint8_t)(100 - idle * 100 / all);
}

static void take(struct bal_kstat *k, int cpu, const struct bal_ticks *now)
{
    for (unsigned i = 0; i < k->nr; i++) {
        struct watched *w = &k->cpu[i];

        if (w->cpu != cpu)
            continue;
        atomic_store_explicit(&w->busy_pct, share_pct(&w->last, now), memory_order_relaxed);
        w->last = *now;
    }
}

static void sample(struct bal_kstat *k)
{
    const int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return;
    while (len < k->text_len &&
           ((n = read(fd, k->text + len, k->text_len - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    close(fd);
    k->text[len] = '\0';
    for (char *p = k->text, *end; (end = strchr(p, '\n')); p = end + 1) {
        struct bal_ticks now;
        int cpu;

        if (strncmp(p, "cpu", 3)) /* these come first */
            break;
        if (bal_kstat_line(p, &cpu, &now))
            take(k, cpu, &now);
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------ */

static void *watch(void *arg)
{
    struct bal_kstat *k = arg;
    struct timespec at;

    (void)pthread_setname_np(pthread_self(), "kstat");
    clock_gettime(CLOCK_MONOTONIC, &at);
    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        pthread_mutex_unlock(&k->lock);
        sample(k);
        at.tv_sec++;
        pthread_mutex_lock(&k->lock);
        while (!k->stop && !pthread_cond_timedwait(&k->wake, &k->lock, &at))
            ;
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* With all signals blocked: they are the reactor's. */
static int thread_start(struct bal_kstat *k)
{
    sigset_t all, old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&k->thread, NULL, watch, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -err;
}

static void let_go(struct bal_kstat *k)
{
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k->text);
    free(k);
}

int bal_kstat_new(struct bal_kstat **out, const int *cpus, unsigned nr)
{
    struct bal_kstat *k = calloc(1, sizeof(*k) + nr * sizeof(k->cpu[0]));
    const long machine = sysconf(_SC_NPROCESSORS_CONF);
    pthread_condattr_t attr;
    int err;

    if (!k)
        return -ENOMEM;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &attr);
    pthread_condattr_destroy(&attr);
    k->nr = nr;
    for (unsigned i = 0; i < nr; i++)
        k->cpu[i].cpu = cpus[i];
    k->text_len = (size_t)(machine > 0 ? machine + 1 : 1) * LINE_MAX_LEN;
    err = (k->text = malloc(k->text_len + 1)) ? thread_start(k) : -ENOMEM;
    if (err) {
        let_go(k);
        return err;
    }
    *out = k;
    return 0;
}

unsigned bal_kstat_busy_pct(const struct bal_kstat *k, unsigned index)
{
    return index < k->nr ? atomic_load_explicit(&k->cpu[index].busy_pct, memory_order_relaxed) : 0;
}

void bal_kstat_free(struct bal_kstat *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    let_go(k);
}
