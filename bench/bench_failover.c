/*
 * bench_failover.c - how long a disk of two paths does not answer when one of them breaks
 *
 *   bench_failover [--trials N] [--qd N] [--policy P] [--core N] [--proxy FILE] [--dir DIR] FAULT URL OTHER
 *
 * FAULT: reset: the connection is reset, and the portal still answers; dead: reset, and the portal refuses from then on;
 * blackhole: nothing passes to or from the portal any more, nothing closes. URL is reached through a fault proxy of its own,
 * OTHER straight, both over TCP. Each trial is a new disk with default settings, under load, half of it writes. Every block has a stamp of
 * which write it is from; each read is looked at, all blocks are read again after each trial, and what they hold is looked for
 * in the next one, so that a write which the target carries out late is found.
 *
 * Prints a line for each trial, milliseconds: from the fault to the first completion of a request submitted after it; the
 * longest time without any completion; the longest time that a request took. Status 1: something failed or was wrong.
 *
 * It is a program of a user's, over libcorelane alone; clocks and processes are its own for that reason.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "corelane.h"

#define QD_MAX  256u
#define BS      4096u
#define BLOCKS  8u             /* of each slot: a slot's requests never meet another's */
#define WARM_MS 40u            /* of load before the fault; and how long after it requests count */
#define GIVE_UP 60000000000ull /* nanoseconds */
#define MS_NS   1000000ull

struct bench;
struct slot {
    struct corelane_io io;
    struct iovec iov;
    struct bench *b;
    unsigned index, block;
    uint32_t version[BLOCKS]; /* what was written last, and is acknowledged; 0: nothing yet */
    uint64_t start_ns;
    bool busy;
};

struct bench {
    const char *fault, *url, *other, *policy, *proxy, *dir;
    unsigned trials, qd;
    int core;
    struct corelane *c;
    struct corelane_disk *d;
    struct slot slots[QD_MAX];
    uint64_t rng;
    /* of a trial */
    pid_t proxy_pid;
    FILE *proxy_said; /* open as long as it lives: it has little to say */
    char ctl[512];
    unsigned busy, old; /* in flight; of those, submitted before old_ns */
    bool going, reading;
    uint64_t fault_ns, old_ns, last_ns, first_ns, gap_ns, longest_ns;
    unsigned errors, wrong;
};

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t draw(struct bench *b) /* SplitMix64 */
{
    uint64_t z = b->rng += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

__attribute__((noreturn)) static void die(struct bench *b, const char *what)
{
    fprintf(stderr, "bench_failover: %s\n", what);
    if (b->proxy_pid > 0)
        kill(b->proxy_pid, SIGKILL);
    unlink(b->ctl);
    exit(1);
}

/* ---- the proxy -------------------------------------------------------------------------------------------- */

/* "iscsi://HOST:PORT/IQN/LUN": what is between the slashes, and what follows. */
static const char *url_split(struct bench *b, const char *url, char host[static 128])
{
    const char *from, *end;

    assert(url);
    from = strstr(url, "://");
    end = from ? strchr(from + 3, '/') : NULL;
    if (!end || end - from - 3 >= 128)
        die(b, "a URL is iscsi://HOST:PORT/IQN/LUN");
    snprintf(host, 128, "%.*s", (int)(end - from - 3), from + 3);
    return end;
}

/* Starts one before the URL's portal. @front: the URL through it. */
static void proxy_start(struct bench *b, char *front, size_t len)
{
    char host[128], line[512], *word;
    const char *const rest = url_split(b, b->url, host);
    char *const argv[] = { (char *)b->proxy, host, (char *)"--control", b->ctl, NULL };
    posix_spawn_file_actions_t fds;
    int out[2];

    unlink(b->ctl);
    if (pipe2(out, O_CLOEXEC))
        die(b, strerror(errno));
    posix_spawn_file_actions_init(&fds);
    posix_spawn_file_actions_adddup2(&fds, out[1], STDOUT_FILENO);
    if ((errno = posix_spawn(&b->proxy_pid, b->proxy, &fds, NULL, argv, environ)))
        die(b, strerror(errno));
    posix_spawn_file_actions_destroy(&fds);
    close(out[1]);
    if (!(b->proxy_said = fdopen(out[0], "r")))
        die(b, strerror(errno));
    do {
        if (!fgets(line, sizeof(line), b->proxy_said))
            die(b, "the proxy does not start");
    } while (!(word = strstr(line, "listening at ")));
    word += strlen("listening at ");
    word[strcspn(word, " \n")] = '\0';
    snprintf(front, len, "iscsi://%s%s", word, rest);
}

static void proxy_end(struct bench *b)
{
    if (b->proxy_pid <= 0)
        return;
    kill(b->proxy_pid, SIGKILL);
    waitpid(b->proxy_pid, NULL, 0);
    b->proxy_pid = 0;
    fclose(b->proxy_said);
    unlink(b->ctl);
}

static void fault_do(struct bench *b)
{
    const char *const line = *b->fault == 'r' ? "now reset\n" : "now blackhole 3600000\n";
    int fd;

    if (*b->fault == 'd') {
        kill(b->proxy_pid, SIGKILL); /* the kernel resets what it leaves */
        return;
    }
    fd = open(b->ctl, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
        die(b, "the proxy does not listen");
    close(fd);
}

/* ---- stamps ----------------------------------------------------------------------------------------------- */

static uint64_t stamp(const struct slot *s, unsigned word)
{
    return ((uint64_t)s->index << 48 | (uint64_t)s->block << 40 | s->version[s->block]) * 0x9e3779b97f4a7c15u +
           word;
}

static void stamp_write(struct slot *s)
{
    uint64_t *const w = s->iov.iov_base;

    for (unsigned i = 0; i < BS / 8; i++)
        w[i] = stamp(s, i);
}

static bool stamp_good(const struct slot *s)
{
    const uint64_t *const w = s->iov.iov_base;

    for (unsigned i = 0; i < BS / 8; i++)
        if (w[i] != stamp(s, i))
            return false;
    return true;
}

/* ---- load ------------------------------------------------------------------------------------------------- */

static void slot_submit(struct slot *s, enum corelane_op op, unsigned block)
{
    struct bench *b = s->b;

    s->block = block;
    if (op == CORELANE_WRITE) {
        s->version[block]++;
        stamp_write(s);
    }
    s->io.op = op;
    s->io.offset = ((uint64_t)s->index * BLOCKS + block) * BS;
    s->io.length = BS;
    s->busy = true;
    s->start_ns = clock_ns();
    b->busy++;
    if (corelane_submit(b->d, &s->io))
        die(b, "a request is refused: the LUN is too small");
}

static void slot_next(struct slot *s)
{
    const uint64_t r = draw(s->b);

    slot_submit(s, r & 1 ? CORELANE_READ : CORELANE_WRITE, (unsigned)(r >> 1) % BLOCKS);
}

static void slot_measure(struct slot *s, uint64_t now)
{
    struct bench *b = s->b;

    if (!b->fault_ns)
        return;
    if (now - b->last_ns > b->gap_ns)
        b->gap_ns = now - b->last_ns;
    if (now - s->start_ns > b->longest_ns)
        b->longest_ns = now - s->start_ns;
    b->old -= s->start_ns <= b->old_ns;
    if (s->start_ns > b->fault_ns && !b->first_ns)
        b->first_ns = now - b->fault_ns;
    b->last_ns = now;
}

static void slot_done(struct corelane_io *io, int res)
{
    struct slot *s = io->user;
    struct bench *b = s->b;

    s->busy = false;
    b->busy--;
    slot_measure(s, clock_ns());
    if (res) {
        b->errors++;
        fprintf(stderr, "bench_failover: a %s failed: %s\n", io->op == CORELANE_READ ? "read" : "write",
                strerror(-res));
    } else if (io->op == CORELANE_READ && !stamp_good(s)) {
        b->wrong++;
        fprintf(stderr, "bench_failover: block %u of slot %u is not what was written last\n", s->block,
                s->index);
    }
    if (b->reading && s->block + 1 < BLOCKS)
        slot_submit(s, CORELANE_READ, s->block + 1);
    else if (b->going)
        slot_next(s);
}

static void poll_until(struct bench *b, uint64_t at)
{
    for (uint64_t now; (now = clock_ns()) < at;)
        corelane_poll(b->c, (int64_t)((at - now) / 1000 + 1));
}

static void drain(struct bench *b)
{
    const uint64_t end = clock_ns() + GIVE_UP;

    b->going = false;
    while (b->busy) {
        corelane_poll(b->c, 100000);
        if (clock_ns() > end)
            die(b, "requests are not answered");
    }
}

static void read_all(struct bench *b)
{
    b->reading = true;
    for (unsigned i = 0; i < b->qd; i++)
        slot_submit(&b->slots[i], CORELANE_READ, 0);
    drain(b);
    b->reading = false;
}

static void write_all(struct bench *b)
{
    for (unsigned k = 0; k < BLOCKS; k++) {
        for (unsigned i = 0; i < b->qd; i++)
            slot_submit(&b->slots[i], CORELANE_WRITE, k);
        drain(b);
    }
}

/* ---- trials ----------------------------------------------------------------------------------------------- */

static void disk_open(struct bench *b, const char *front)
{
    const struct corelane_disk_options tcp = { .transport = CORELANE_TRANSPORT_TCP };

    if (corelane_disk_open(b->c, front, &tcp, &b->d) || corelane_path_add(b->d, b->other, &tcp) ||
        (b->policy && corelane_disk_policy(b->d, b->policy)))
        die(b, corelane_error(b->c));
}

/* The fault, and what follows until every request is answered that was there when it came or soon after: a path that is
 * a black hole is given requests until it is suspected. The load goes on all the while. */
static void fault_measure(struct bench *b)
{
    uint64_t end;

    b->gap_ns = b->longest_ns = b->first_ns = b->old_ns = 0;
    b->fault_ns = b->last_ns = clock_ns(); /* before it happens: what the proxy takes for it counts too */
    fault_do(b);
    poll_until(b, b->fault_ns + WARM_MS * MS_NS);
    b->old_ns = clock_ns();
    b->old = b->busy;
    end = b->old_ns + GIVE_UP;
    while (b->old || !b->first_ns) {
        corelane_poll(b->c, 100000);
        if (clock_ns() > end)
            die(b, "requests are not answered");
    }
    drain(b);
    b->fault_ns = 0;
}

static void trial(struct bench *b, bool first)
{
    char front[512];

    proxy_start(b, front, sizeof(front));
    disk_open(b, front);
    if (first)
        write_all(b);
    read_all(b);
    b->going = true;
    for (unsigned i = 0; i < b->qd; i++)
        slot_next(&b->slots[i]);
    poll_until(b, clock_ns() + WARM_MS * MS_NS + draw(b) % (10 * MS_NS));
    fault_measure(b);
    read_all(b);
    proxy_end(b);
    corelane_disk_close(b->d);
    printf("%.3f %.3f %.3f\n", (double)b->first_ns / 1e6, (double)b->gap_ns / 1e6, (double)b->longest_ns / 1e6);
    fflush(stdout);
}

static void slots_init(struct bench *b)
{
    for (unsigned i = 0; i < b->qd; i++) {
        struct slot *s = &b->slots[i];

        if (!(s->iov.iov_base = aligned_alloc(BS, BS)))
            die(b, "no memory");
        s->iov.iov_len = BS;
        s->b = b;
        s->index = i;
        s->io.iov = &s->iov;
        s->io.iov_nr = 1;
        s->io.done = slot_done;
        s->io.user = s;
    }
}

static int usage(void)
{
    fprintf(stderr, "see the head of bench/bench_failover.c\n");
    return 2;
}

static bool options_parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "trials", 1, NULL, 't' },
        { "qd", 1, NULL, 'q' },
        { "policy", 1, NULL, 'p' },
        { "core", 1, NULL, 'c' },
        { "proxy", 1, NULL, 'x' },
        { "dir", 1, NULL, 'd' },
        { 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 't': b->trials = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'q': b->qd = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'p': b->policy = optarg; break;
        case 'c': b->core = (int)strtol(optarg, NULL, 10); break;
        case 'x': b->proxy = optarg; break;
        case 'd': b->dir = optarg; break;
        default: return false;
        }
    }
    if (argc - optind != 3 || !b->qd || b->qd > QD_MAX)
        return false;
    b->fault = argv[optind];
    b->url = argv[optind + 1];
    b->other = argv[optind + 2];
    return !strcmp(b->fault, "reset") || !strcmp(b->fault, "dead") || !strcmp(b->fault, "blackhole");
}

int main(int argc, char **argv)
{
    static struct bench b = {
        .trials = 20, .qd = 32, .core = -1, .proxy = "build/corelane-faultproxy", .dir = "/tmp"
    };

    if (!options_parse(&b, argc, argv))
        return usage();
    b.rng = clock_ns();
    snprintf(b.ctl, sizeof(b.ctl), "%s/failover-%d.ctl", b.dir, (int)getpid());
    slots_init(&b);
    if (corelane_new(&b.c, &(struct corelane_options){
                               .core = b.core, .initiator_name = "iqn.2026-11.test.corelane:failover" }))
        die(&b, "no event loop");
    for (unsigned i = 0; i < b.trials; i++)
        trial(&b, !i);
    corelane_free(b.c);
    for (unsigned i = 0; i < b.qd; i++)
        free(b.slots[i].iov.iov_base);
    return b.errors || b.wrong ? 1 : 0;
}
