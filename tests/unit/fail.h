/*
 * fail.h - one allocation after another fails
 *
 * For test programs named test_fail_*.c, which the Makefile links with FAIL_WRAP: each call of an allocator
 * in the rooms comes here first. A scenario is run once to count its allocations, then once for each of them
 * with that one failing. Every block is written down, so that what is still there afterwards is a leak, with
 * or without sanitizers.
 *
 *   FULL=1          every allocation, however many; else a sample of them, evenly
 *   FAIL_AT=N       only the N-th, and says where it was asked for
 *   FAIL_TRACE=1    says before each which it is
 *
 * Between fail_begin() and fail_end() either the thread that runs the test counts, for code that it drives
 * itself, or all others do, for code with threads of its own. What a test itself allocates neither counts nor
 * fails.
 */
#ifndef CORELANE_TESTS_FAIL_H
#define CORELANE_TESTS_FAIL_H

#include <errno.h>
#include <netdb.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail_sample.h"
#include "reactor/rt.h"

#define FAIL_WAIT_MS 30000
#define FAIL_SLOTS (1u << 16)               /* live blocks at most, less some */

struct fail_block {
    void *mem;                              /* NULL: free slot */
    size_t len;
    void *by;                               /* return address */
    uint64_t seq;
};

enum fail_who { FAIL_HERE, FAIL_OTHERS };

static struct fail_state {
    pthread_mutex_t lock;
    struct fail_block slot[FAIL_SLOTS];
    size_t live, base;                      /* blocks; and the fewest there were after a run */
    uint64_t seq;                           /* of all blocks ever */
    bool on;                                /* between fail_begin() and fail_end() */
    enum fail_who who;
    unsigned seen;                          /* allocations in this run */
    unsigned from, to;                      /* these fail, from 1; from 0: none */
    unsigned hits;
    void *hit_by;
    const char *name;                       /* of the scenario under way */
} fail_state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool fail_test_thread; /* set by fail_up() */

/* ---- blocks ---------------------------------------------------------------------------------------------- */

static size_t fail_hash(const void *p)
{
    return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull >> 40) & (FAIL_SLOTS - 1);
}

static void fail_note(void *mem, size_t len, void *by)
{
    struct fail_state *f = &fail_state;
    size_t i = fail_hash(mem);

    pthread_mutex_lock(&f->lock);
    if (f->live > FAIL_SLOTS / 2)
        abort();
    while (f->slot[i].mem)
        i = (i + 1) & (FAIL_SLOTS - 1);
    f->slot[i] = (struct fail_block){ mem, len, by, ++f->seq };
    f->live++;
    pthread_mutex_unlock(&f->lock);
}

/* What came from elsewhere (a library's own malloc) is not there, and is nobody's concern. */
static void fail_forget(const void *mem)
{
    struct fail_state *f = &fail_state;
    size_t i = fail_hash(mem), hole;

    if (!mem)
        return;
    pthread_mutex_lock(&f->lock);
    while (f->slot[i].mem && f->slot[i].mem != mem)
        i = (i + 1) & (FAIL_SLOTS - 1);
    if (f->slot[i].mem) {
        f->live--;
        f->slot[i].mem = NULL;
        hole = i;
        /* Those behind it that were pushed on by it move up, or they would not be found. */
        for (i = (i + 1) & (FAIL_SLOTS - 1); f->slot[i].mem; i = (i + 1) & (FAIL_SLOTS - 1)) {
            const size_t home = fail_hash(f->slot[i].mem);

            if (((i - home) & (FAIL_SLOTS - 1)) < ((i - hole) & (FAIL_SLOTS - 1)))
                continue;
            f->slot[hole] = f->slot[i];
            f->slot[i].mem = NULL;
            hole = i;
        }
    }
    pthread_mutex_unlock(&f->lock);
}

static void fail_say_where(const char *what, void *by)
{
    fprintf(stderr, "# %s: ", what);
    backtrace_symbols_fd(&by, 1, 2);
}

/* ---- the decision ---------------------------------------------------------------------------------------- */

static bool fail_now(void *by)
{
    struct fail_state *f = &fail_state;
    bool hit;

    pthread_mutex_lock(&f->lock);
    hit = f->on && fail_test_thread == (f->who == FAIL_HERE) && ++f->seen >= f->from && f->from &&
          f->seen <= f->to;
    if (hit && !f->hits++)
        f->hit_by = by;
    pthread_mutex_unlock(&f->lock);
    if (hit && getenv("FAIL_AT")) {
        void *stack[24];

        fprintf(stderr, "# allocation %u fails:\n", f->seen);
        backtrace_symbols_fd(stack, backtrace(stack, 24), 2);
    }
    if (hit)
        errno = ENOMEM;
    return hit;
}

/* ---- what the linker puts in the allocators' place --------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t k, size_t n);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
int __real_posix_memalign(void **out, size_t align, size_t n);
void *__real_rt_mem_alloc(size_t n);
void __real_rt_mem_free(void *p, size_t n);
void __real_free(void *p);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t k, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
int __wrap_posix_memalign(void **out, size_t align, size_t n);
void *__wrap_rt_mem_alloc(size_t n);
void __wrap_rt_mem_free(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t max);
void __wrap_free(void *p);

#define FAIL_BY __builtin_extract_return_addr(__builtin_return_address(0))

static void *fail_alloc(void *mem, size_t len, void *by)
{
    if (mem)
        fail_note(mem, len, by);
    return mem;
}

void *__wrap_malloc(size_t n)
{
    return fail_now(FAIL_BY) ? NULL : fail_alloc(__real_malloc(n), n, FAIL_BY);
}

void *__wrap_calloc(size_t k, size_t n)
{
    return fail_now(FAIL_BY) ? NULL : fail_alloc(__real_calloc(k, n), k * n, FAIL_BY);
}

void *__wrap_realloc(void *p, size_t n)
{
    void *more;

    if (fail_now(FAIL_BY))
        return NULL;
    fail_forget(p);                         /* before another thread can be given the same place */
    more = __real_realloc(p, n);
    return fail_alloc(more, n, FAIL_BY);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fail_now(FAIL_BY) ? NULL : fail_alloc(__real_aligned_alloc(align, n), n, FAIL_BY);
}

int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
    int err = fail_now(FAIL_BY) ? ENOMEM : __real_posix_memalign(out, align, n);

    if (!err)
        fail_note(*out, n, FAIL_BY);
    return err;
}

void *__wrap_rt_mem_alloc(size_t n)
{
    return fail_now(FAIL_BY) ? NULL : fail_alloc(__real_rt_mem_alloc(n), n, FAIL_BY);
}

void __wrap_rt_mem_free(void *p, size_t n)
{
    fail_forget(p);
    __real_rt_mem_free(p, n);
}

char *__wrap_strndup(const char *s, size_t max)
{
    const size_t n = strnlen(s, max);
    char *copy = fail_now(FAIL_BY) ? NULL : fail_alloc(__real_malloc(n + 1), n + 1, FAIL_BY);

    if (copy) {
        memcpy(copy, s, n);
        copy[n] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *s)
{
    const size_t n = strlen(s);
    char *copy = fail_now(FAIL_BY) ? NULL : fail_alloc(__real_malloc(n + 1), n + 1, FAIL_BY);

    if (copy)
        memcpy(copy, s, n + 1);
    return copy;
}

void __wrap_free(void *p)
{
    fail_forget(p);
    __real_free(p);
}

/* ---- for tests ------------------------------------------------------------------------------------------- */

/* A group's set-up begins with it. */
static inline void fail_up(void)
{
    fail_test_thread = true;
}

/* From here on allocations count and the chosen one fails. */
static inline void fail_begin(enum fail_who who)
{
    pthread_mutex_lock(&fail_state.lock);
    fail_state.who = who;
    fail_state.on = true;
    pthread_mutex_unlock(&fail_state.lock);
}

static inline void fail_end(void)
{
    pthread_mutex_lock(&fail_state.lock);
    fail_state.on = false;
    pthread_mutex_unlock(&fail_state.lock);
}

/* How many have failed in this run: what fails now must be by one of them. */
static inline unsigned fail_hits(void)
{
    unsigned n;

    pthread_mutex_lock(&fail_state.lock);
    n = fail_state.hits;
    pthread_mutex_unlock(&fail_state.lock);
    return n;
}

static inline bool fail_hit(void)
{
    return fail_hits() != 0;
}

static inline size_t fail_live(void)
{
    size_t n;

    pthread_mutex_lock(&fail_state.lock);
    n = fail_state.live;
    pthread_mutex_unlock(&fail_state.lock);
    return n;
}

static inline void fail_say(void)
{
    const struct fail_state *f = &fail_state;

    if (!f->name)
        return;
    fprintf(stderr, "# %s: run again with FAIL_AT=%u\n", f->name, f->from);
    if (f->hits)
        fail_say_where("refused at", f->hit_by);
}

/* A test's teardown: after one that failed, how to have it again. */
static inline int fail_down(void **state)
{
    (void)state;
    fail_end();
    fail_say();
    fail_state.name = NULL;
    return 0;
}

static void fail_died(int signo)
{
    fail_say();
    signal(signo, SIG_DFL);
    raise(signo);
}

/* Blocks newer than @seq. */
static inline void fail_say_leaks(uint64_t seq)
{
    const struct fail_state *f = &fail_state;

    for (unsigned i = 0; i < FAIL_SLOTS; i++) {
        if (f->slot[i].mem && f->slot[i].seq > seq) {
            fprintf(stderr, "# still there, %zu bytes", f->slot[i].len);
            fail_say_where("", f->slot[i].by);
        }
    }
}

/* One run with allocations @from to @to failing. Return: how many there were. */
static inline unsigned fail_run(unsigned from, unsigned to, void (*run)(void *arg), void *arg)
{
    struct fail_state *f = &fail_state;
    const uint64_t seq = f->seq;

    f->seen = f->hits = 0;
    f->from = from;
    f->to = to;
    if (getenv("FAIL_TRACE"))
        fprintf(stderr, "# %s: %u\n", f->name, from);
    run(arg);
    /* Other threads may still be about to put away what they had: of this run, or of the one before when
     * @base was counted, which then is corrected. */
    for (int i = 0; fail_live() > f->base && i < FAIL_WAIT_MS; i++)
        usleep(1000);
    if (fail_live() > f->base) {
        fail_say_leaks(seq);
        fail_msg("%zu blocks became %zu", f->base, fail_live());
    }
    f->base = fail_live();
    return f->seen;
}

/* A name for 127.0.0.1, so that a look-up takes memory too; or the number, on a system that knows no names. */
static inline const char *fail_localhost(void)
{
    const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;

    if (getaddrinfo("localhost", NULL, &hints, &found))
        return "127.0.0.1";
    freeaddrinfo(found);
    return "localhost";
}

/* Runs the scenario with none failing, then with each in turn (@width of them in a row; @sample of them,
 * evenly, where there are more), and after each failure once more with none if @again. @name: NULL for one of
 * many, of which nothing is said. run() checks by itself that what it saw is right, by fail_hit(). */
static inline void fail_each(const char *name, unsigned width, unsigned sample, bool again,
                             void (*run)(void *arg), void *arg)
{
    const char *at = getenv("FAIL_AT");
    unsigned n, step, done = 0;
    uint64_t began;

    fail_state.name = name;
    signal(SIGABRT, fail_died);
    fail_state.from = fail_state.hits = 0;
    run(arg);                               /* what is made once for a process is made now */
    fail_state.base = fail_live();
    began = fail_clock();
    n = fail_run(0, 0, run, arg);
    step = fail_step(n, sample, (fail_clock() - began) * (again ? 2 : 1));
    if (at) {
        fail_run((unsigned)atoi(at), (unsigned)atoi(at) + width - 1, run, arg);
        return;
    }
    for (unsigned i = 1; i <= n; i += step, done++) {
        fail_run(i, i + width - 1, run, arg);
        if (again)
            fail_run(0, 0, run, arg);
    }
    if (name)
        fprintf(stderr, "# %s: %u allocations, %u of them failed in turn\n", name, n, done);
    fail_state.name = NULL;
}

#endif
