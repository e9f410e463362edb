/*
 * bench_ring.c - the limit of a loopback: two threads, two rings in shared memory, a copy for each request, nothing else
 *
 *   bench_ring [--bs BYTES] [--qd N] [--time S] [--mem MIB] [--write] [--no-copy] [--cores A,B]
 *
 * The thread on core A asks for blocks at random places of a memory; the one on core B copies each into a buffer of the
 * asker's (--write: from it) and says so. A slot is a cache line, valid by the sequence number in it, so one line moves
 * between the cores for a request and one for its answer. No protocol, no checks, no wake-ups. Prints requests a second.
 */
#include <assert.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bench/limit.h"

#define SLOTS  1024u
#define QD_MAX 512u
static_assert(QD_MAX < SLOTS, "so a ring is never full");
static_assert((SLOTS & (SLOTS - 1)) == 0, "slots are found by masking");

struct slot {
    _Alignas(64) uint64_t off;
    uint32_t buf;
    bool end;
    _Atomic uint32_t seq; /* the slot's number counted from 1: it is valid */
};
static_assert(sizeof(struct slot) == 64, "a slot is a cache line");

struct bench {
    struct slot ask[SLOTS], answer[SLOTS];
    uint8_t *mem, *bufs;
    uint64_t bs, blocks;
    uint32_t qd, time_s;
    int cores[2];
    bool write, copy;
};

/* @n: how many were put before. Release pairs with the acquire in slot_wait(). */
static inline void slot_put(struct slot *ring, uint32_t n, uint64_t off, uint32_t buf, bool end)
{
    struct slot *s = &ring[n % SLOTS];

    s->off = off;
    s->buf = buf;
    s->end = end;
    atomic_store_explicit(&s->seq, n + 1, memory_order_release);
}

static inline bool slot_there(struct slot *ring, uint32_t n)
{
    return atomic_load_explicit(&ring[n % SLOTS].seq, memory_order_acquire) == n + 1;
}

static inline struct slot *slot_wait(struct slot *ring, uint32_t n)
{
    while (!slot_there(ring, n))
        ;
    return &ring[n % SLOTS];
}

static void *serve(void *arg)
{
    struct bench *b = arg;

    limit_pin(b->cores[1]);
    for (uint32_t n = 0;; n++) {
        const struct slot *s = slot_wait(b->ask, n);
        uint8_t *at = b->mem + s->off, *buf = b->bufs + s->buf * b->bs;

        if (s->end)
            return NULL;
        if (b->copy && b->write)
            memcpy(at, buf, b->bs);
        else if (b->copy)
            memcpy(buf, at, b->bs);
        slot_put(b->answer, n, 0, s->buf, false);
    }
}

/* Return: requests answered a second. */
static double ask(struct bench *b)
{
    const uint64_t start = limit_clock_ns(), end = start + b->time_s * 1000000000ull;
    uint64_t random = 88172645463325252u, now;
    uint32_t asked = 0, answered = 0;

    for (; asked < b->qd; asked++)
        slot_put(b->ask, asked, limit_random(&random, b->blocks) * b->bs, asked, false);
    while (answered % 1024 || (now = limit_clock_ns()) < end) {
        const uint32_t buf = slot_wait(b->answer, answered++)->buf;

        slot_put(b->ask, asked++, limit_random(&random, b->blocks) * b->bs, buf, false);
    }
    for (const uint32_t done = answered; answered < done + b->qd; answered++)
        (void)slot_wait(b->answer, answered);
    slot_put(b->ask, asked, 0, 0, true);
    return (double)(answered - b->qd) * 1e9 / (double)(now - start);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "bs", 1, NULL, 'b' },    { "qd", 1, NULL, 'q' },
        { "time", 1, NULL, 't' },  { "mem", 1, NULL, 'm' },
        { "write", 0, NULL, 'w' }, { "no-copy", 0, NULL, 'n' },
        { "cores", 1, NULL, 'c' }, { 0 },
    };
    static struct bench b = { .bs = 4096, .qd = 32, .time_s = 3, .cores = { 0, 1 }, .copy = true };
    uint64_t mem = 512;
    pthread_t server;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': b.bs = limit_number(optarg, 64, 1u << 24); break;
        case 'q': b.qd = (uint32_t)limit_number(optarg, 1, QD_MAX); break;
        case 't': b.time_s = (uint32_t)limit_number(optarg, 1, 3600); break;
        case 'm': mem = limit_number(optarg, 16, 1u << 20); break;
        case 'w': b.write = true; break;
        case 'n': b.copy = false; break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &b.cores[0], &b.cores[1]) == 2)
                break;
            /* fall through */
        default: fprintf(stderr, "see the head of bench/bench_ring.c\n"); return 2;
        }
    }
    limit_pin(b.cores[0]);
    b.blocks = (mem << 20) / b.bs;
    b.mem = limit_mem(mem << 20);
    b.bufs = limit_mem(b.qd * b.bs);
    if (pthread_create(&server, NULL, serve, &b))
        return 1;
    printf("%.0f\n", ask(&b));
    pthread_join(server, NULL);
    free(b.mem);
    free(b.bufs);
    return 0;
}
