/*
 * bench.c - corelane bench: measures a LUN from this very process, through libcorelane and nothing else
 *
 * It is a program of a user's, as it were: a thread a core, with a loop of its own that turns the sessions of
 * the jobs dealt to it; threads and clocks are its own for that reason. A thread touches nothing of another
 * while it measures.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "iscsi/name.h"
#include "programs/corelane/bench.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"

#define JOBS_MAX   1024u
#define QD_MAX     1024u
#define BS_MAX     (64ull << 20)
#define MEMORY_MAX (4ull << 30)
#define ERRORS_MAX 1000u          /* then a core gives up */
#define POLL_US    100000         /* so that an interrupt is noticed */
#define DRAIN_NS   30000000000ull /* how long answers are waited for after the end */
#define TIME_MAX   86400u         /* seconds */
#define RATE_MAX   100000000u     /* requests a second */

static const struct rw rws[] = {
    { "randread", "random reads", true, 100 },         { "randwrite", "random writes", true, 0 },
    { "randrw", "random reads and writes", true, 50 }, { "read", "sequential reads", false, 100 },
    { "write", "sequential writes", false, 0 },
};

/* A lane's jobs: for (struct job *j = lane_jobs(l); j; j = lane_more(l, j)) */
static struct job *lane_jobs(const struct lane *l)
{
    return &l->b->jobs[l->index];
}

static struct job *lane_more(const struct lane *l, const struct job *j)
{
    const unsigned next = j->index + l->b->lanes_nr;

    return next < l->b->jobs_nr ? &l->b->jobs[next] : NULL;
}

static _Atomic(struct bench *) running; /* for the handler of SIGINT, which gets no argument */

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- random numbers: xoroshiro128+, seeded by splitmix64 ------------------------------------------------- */

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static inline uint64_t rng_next(uint64_t s[static 2])
{
    const uint64_t a = s[0], b = s[1] ^ a, out = a + s[1];

    s[0] = rotl(a, 24) ^ b ^ (b << 16);
    s[1] = rotl(b, 37);
    return out;
}

static inline uint64_t rng_below(uint64_t s[static 2], uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rng_next(s) * n) >> 64);
}

/* ---- one job, on its lane's thread --------------------------------------------------------------------- */

static void slot_go(struct slot *s, uint64_t now);

static bool lane_goes_on(const struct lane *l, uint64_t now)
{
    return now < l->end_ns && l->errors < ERRORS_MAX &&
           !atomic_load_explicit(&l->b->stop, memory_order_relaxed);
}

static void slot_rest(struct slot *s)
{
    struct lane *l = s->job->lane;

    s->next = NULL;
    *l->idle_end = s;
    l->idle_end = &s->next;
}

/* Even over the lane's whole time: what is due does not depend on how the target keeps up. */
static uint64_t lane_due_ns(const struct lane *l)
{
    const struct bench *b = l->b;

    const unsigned __int128 ns = (unsigned __int128)l->due_nr * 1000000000u * b->jobs_nr;

    return l->start_ns + (uint64_t)(ns / b->rate / l->jobs_nr);
}

/* Begins what is due. What finds all of --qd in flight begins late, but its time runs from when it was due: else
 * the requests that a slow target kept from being made would be missing from the latencies. */
static void lane_pace(struct lane *l, uint64_t now)
{
    while (l->idle && lane_goes_on(l, now)) {
        struct slot *s = l->idle;
        const bool spent = l->b->count && !s->job->left; /* a job that began all it has to needs no turn */
        const uint64_t due = lane_due_ns(l);

        if (!spent && due > now)
            break;
        if (!(l->idle = s->next))
            l->idle_end = &l->idle;
        if (spent)
            continue;
        l->due_nr++;
        slot_go(s, due);
    }
}

static void slot_done(struct corelane_io *io, int res)
{
    struct slot *s = io->user;
    struct lane *l = s->job->lane;
    const uint64_t now = clock_ns();

    s->job->in_flight--;
    l->in_flight--;
    if (res) {
        if (!l->errors++)
            l->first_error = res;
    } else if (now <= l->end_ns) {
        hist_add(&l->hist, now - s->start_ns);
        atomic_store_explicit(&l->ios, l->hist.count, memory_order_relaxed);
    }
    if (l->b->rate)
        slot_rest(s); /* lane_measure() goes on */
    else if (lane_goes_on(l, now))
        slot_go(s, now);
}

static void slot_go(struct slot *s, uint64_t now)
{
    struct job *j = s->job;
    struct lane *l = j->lane;
    const struct bench *b = j->b;
    const bool read = b->read_pct == 100 || (b->read_pct && rng_below(j->rng, 100) < b->read_pct);
    uint64_t at;
    int err;

    if (b->count && !j->left--) {
        j->left = 0;
        return;
    }
    if (b->rw->random) {
        at = rng_below(j->rng, j->blocks);
    } else {
        at = j->next;
        j->next = at + 1 < j->blocks ? at + 1 : 0;
    }
    s->io.op = read ? CORELANE_READ : CORELANE_WRITE;
    s->io.offset = at * b->bs;
    s->io.length = b->bs;
    s->start_ns = now;
    j->in_flight++;
    l->in_flight++;
    if ((err = corelane_submit(j->d, &s->io))) {
        j->in_flight--;
        l->in_flight--;
        l->first_error = l->errors ? l->first_error : err;
        l->errors = ERRORS_MAX;
    }
}

static void *buffer_alloc(struct job *j)
{
    return j->b->own_buffers ? aligned_alloc(4096, (j->b->bs + 4095) & ~4095ull)
                             : corelane_buffer_alloc(j->d, j->b->bs);
}

static void job_buffers_free(struct job *j)
{
    for (unsigned i = 0; j->slots && i < j->b->qd; i++) {
        void *mem = j->slots[i].iov.iov_base;

        if (j->b->own_buffers)
            free(mem);
        else if (mem)
            corelane_buffer_free(j->d, mem, j->b->bs);
    }
}

static int job_slots(struct job *j)
{
    const struct bench *b = j->b;

    j->slots = calloc(b->qd, sizeof(*j->slots));
    if (!j->slots)
        return -ENOMEM;
    for (unsigned i = 0; i < b->qd; i++) {
        struct slot *s = &j->slots[i];
        uint64_t *mem = buffer_alloc(j);

        if (!mem)
            return -ENOMEM;
        s->job = j;
        s->iov = (struct iovec){ mem, b->bs };
        for (uint64_t n = 0; n < b->bs / 8; n++)
            mem[n] = rng_next(j->rng); /* so that nothing in between can squeeze or skip it */
        s->io.iov = &s->iov;
        s->io.iov_nr = 1;
        s->io.done = slot_done;
        s->io.user = s;
    }
    return 0;
}

/* Return: whether the LUN can be measured as asked; else l->why says why not. */
static bool job_open(struct lane *l, struct job *j)
{
    const struct bench *b = j->b;
    struct corelane_disk_info info;

    if (corelane_disk_open(l->c, b->url, &b->disk, &j->d)) {
        snprintf(l->why, sizeof(l->why), "%s", corelane_error(l->c));
        return false;
    }
    for (unsigned i = 0; i < b->paths_nr; i++) {
        struct corelane_disk_options path = b->disk;

        path.transport = b->path[i].transport;
        if (corelane_path_add(j->d, b->path[i].url, &path)) {
            snprintf(l->why, sizeof(l->why), "path %s: %s", b->path[i].url, corelane_error(l->c));
            return false;
        }
    }
    if (b->policy && corelane_disk_policy(j->d, b->policy)) {
        snprintf(l->why, sizeof(l->why), "%s", corelane_error(l->c));
        return false;
    }
    corelane_disk_info(j->d, &info);
    snprintf(l->transport, sizeof(l->transport), "%s", info.transport);
    memcpy(l->transport_why, info.transport_why, sizeof(l->transport_why));
    j->blocks = info.size / b->bs;
    j->next = j->blocks * j->index / b->jobs_nr;
    if (!j->blocks)
        snprintf(l->why, sizeof(l->why), "--bs is larger than the LUN, which has %llu bytes",
                 (unsigned long long)info.size);
    else if (b->bs % info.block_len)
        snprintf(l->why, sizeof(l->why), "--bs is not a multiple of the LUN's block of %u bytes",
                 info.block_len);
    else if (info.readonly && b->read_pct < 100)
        snprintf(l->why, sizeof(l->why), "the LUN is read-only: measure it with --rw randread or read");
    else if (job_slots(j))
        snprintf(l->why, sizeof(l->why), "no memory for %u buffers of %llu bytes", b->qd,
                 (unsigned long long)b->bs);
    return !*l->why;
}

/* ---- one lane ------------------------------------------------------------------------------------------ */

static bool lane_open(struct lane *l)
{
    const struct corelane_options options = { .core = l->core, .mode = l->b->mode };
    const int err = corelane_new(&l->c, &options);

    if (err) {
        snprintf(l->why, sizeof(l->why), "core %d: %s", l->core, strerror(-err));
        return false;
    }
    for (struct job *j = lane_jobs(l); j; j = lane_more(l, j))
        if (!job_open(l, j))
            return false;
    return true;
}

static void lane_paths(struct lane *l)
{
    if (!l->b->paths_nr)
        return;
    for (struct job *j = lane_jobs(l); j; j = lane_more(l, j)) {
        struct corelane_path_info p;

        l->paths_nr = j->d ? corelane_path_count(j->d) : 0;
        for (unsigned i = 0; i < l->paths_nr && !corelane_path_info(j->d, i, &p); i++) {
            p.requests += l->path[i].requests;
            p.failovers += l->path[i].failovers;
            l->path[i] = p;
        }
    }
}

/* What still has requests under way stays: the library owns their memory. */
static void lane_close(struct lane *l)
{
    const bool idle = !l->in_flight;

    for (struct job *j = lane_jobs(l); j; j = lane_more(l, j)) {
        if (j->in_flight)
            continue;
        job_buffers_free(j);
        corelane_disk_close(j->d);
        free(j->slots);
    }
    if (idle)
        corelane_free(l->c);
}

static void usage_take(uint64_t *user_us, uint64_t *sys_us)
{
    struct rusage ru;

    getrusage(RUSAGE_THREAD, &ru);
    *user_us = (uint64_t)ru.ru_utime.tv_sec * 1000000u + (uint64_t)ru.ru_utime.tv_usec;
    *sys_us = (uint64_t)ru.ru_stime.tv_sec * 1000000u + (uint64_t)ru.ru_stime.tv_usec;
}

static void lane_begin(struct lane *l)
{
    for (unsigned i = 0; i < l->b->qd; i++) {
        for (struct job *j = lane_jobs(l); j; j = lane_more(l, j)) {
            if (l->b->rate)
                slot_rest(&j->slots[i]);
            else
                slot_go(&j->slots[i], clock_ns());
        }
    }
}

/* With --rate: begins what is due. Return: how long the loop may wait for answers, microseconds. */
static int64_t lane_wait_us(struct lane *l, uint64_t now)
{
    uint64_t until = l->end_ns;

    if (l->b->rate) {
        lane_pace(l, now);
        if (l->idle && lane_due_ns(l) < until)
            until = lane_due_ns(l);
    }
    if (until <= now)
        return 0;
    if (until - now > POLL_US * 1000u)
        return POLL_US;
    /* Not beyond what is due; the end may be late by a little. */
    return (int64_t)((until - now) / 1000 + (until == l->end_ns));
}

static void lane_measure(struct lane *l)
{
    uint64_t user, sys, busy, poll, sleep, now;

    usage_take(&user, &sys);
    corelane_cpu(l->c, &busy, &poll, &sleep);
    l->start_ns = clock_ns();
    l->end_ns = l->start_ns + (uint64_t)l->b->time_s * 1000000000u;
    l->idle_end = &l->idle;
    lane_begin(l);
    while ((now = clock_ns()) < l->end_ns && (l->in_flight || (l->idle && lane_goes_on(l, now)))) {
        const int64_t wait_us = lane_wait_us(l, now);

        if (l->in_flight || l->idle) /* else all that was left idle belonged to jobs that began all they have to */
            corelane_poll(l->c, wait_us);
    }
    now = clock_ns();
    l->elapsed_ns = (now < l->end_ns ? now : l->end_ns) - l->start_ns;
    usage_take(&l->user_us, &l->sys_us);
    l->user_us -= user;
    l->sys_us -= sys;
    corelane_cpu(l->c, &l->busy_ns, &poll, &sleep);
    l->busy_ns -= busy;
    while (l->in_flight && clock_ns() < l->end_ns + DRAIN_NS)
        corelane_poll(l->c, POLL_US);
    lane_paths(l);
    if (l->in_flight)
        snprintf(l->why, sizeof(l->why), "%u requests were not answered within %llu s after the end",
                 l->in_flight, DRAIN_NS / 1000000000u);
}

static void *lane_run(void *arg)
{
    struct lane *l = arg;

    if (l->b->rate)
        (void)prctl(PR_SET_TIMERSLACK, 1ul); /* else each request begins some 50 us after it was due */
    if (!lane_open(l))
        atomic_store(&l->b->failed, true);
    pthread_barrier_wait(&l->b->ready); /* all log in first, so that none measures while another does that */
    pthread_barrier_wait(&l->b->ready); /* and who shows progress has begun to look */
    if (!atomic_load(&l->b->failed))
        lane_measure(l);
    atomic_fetch_sub(&l->b->running, 1);
    lane_close(l);
    return NULL;
}

/* ---- all lanes ------------------------------------------------------------------------------------------- */

static void interrupted(int signo)
{
    struct bench *b = atomic_load(&running);

    if (b)
        atomic_store(&b->stop, true);
}

static uint64_t ios_now(const struct bench *b)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < b->lanes_nr; i++)
        n += atomic_load_explicit(&b->lanes[i].ios, memory_order_relaxed);
    return n;
}

static bool going_on(struct bench *b)
{
    return atomic_load(&b->running) && !atomic_load(&b->stop);
}

static void progress_show(struct bench *b)
{
    const bool tty = isatty(STDERR_FILENO);
    const uint64_t start = clock_ns();
    uint64_t last = 0, last_ns = start;

    for (unsigned s = 1; s <= b->time_s && going_on(b); s++) {
        uint64_t now, ios;
        double rate;

        while ((now = clock_ns()) < start + s * 1000000000ull && going_on(b))
            nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
        ios = ios_now(b);
        rate = (double)(ios - last) * 1e9 / (double)(now - last_ns);
        fprintf(stderr, "%s%3u s  %9.0f IO/s  %8.1f MB/s%s", tty ? "\r" : "", s, rate,
                rate * (double)b->bs / 1e6, tty ? "" : "\n");
        last = ios;
        last_ns = now;
    }
    if (tty)
        fputs("\n", stderr);
}

static void job_init(struct bench *b, unsigned index)
{
    uint64_t seed = b->seed + index * 0x632be59bd9b4e019u;
    struct job *j = &b->jobs[index];

    j->b = b;
    j->index = index;
    j->lane = &b->lanes[index % b->lanes_nr];
    j->lane->jobs_nr++;
    j->left = b->count / b->jobs_nr + (index < b->count % b->jobs_nr);
    j->rng[0] = splitmix(&seed);
    j->rng[1] = splitmix(&seed);
}

static void lanes_start(const struct opts *o, struct bench *b)
{
    for (unsigned i = 0; i < b->jobs_nr; i++)
        job_init(b, i);
    for (unsigned i = 0; i < b->lanes_nr; i++) {
        struct lane *l = &b->lanes[i];
        int err;

        l->b = b;
        l->index = i;
        l->core = b->cores.core[i];
        if ((err = pthread_create(&l->thread, NULL, lane_run, l))) {
            fprintf(stderr, "%s: core %d cannot have a thread: %s\n", o->prog, l->core, strerror(err));
            exit(1); /* the others wait for it */
        }
    }
}

static int lanes_run(const struct opts *o, struct bench *b)
{
    pthread_barrier_init(&b->ready, NULL, b->lanes_nr + 1);
    atomic_store(&b->running, b->lanes_nr);
    lanes_start(o, b);
    atomic_store(&running, b);
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    pthread_barrier_wait(&b->ready);
    pthread_barrier_wait(&b->ready);
    if (!atomic_load(&b->failed) && !opt_has(o, "json"))
        progress_show(b);
    for (unsigned i = 0; i < b->lanes_nr; i++)
        pthread_join(b->lanes[i].thread, NULL);
    atomic_store(&running, NULL);
    pthread_barrier_destroy(&b->ready);
    return bench_report(o, b);
}

/* ---- the command ----------------------------------------------------------------------------------------- */

/* "tcp:URL", "shm:URL", or the URL alone, which goes as --transport says. Return: as bench_options(). */
static int bench_path_option(const struct opts *o, struct bench *b, const char *text)
{
    struct bench_path *p = &b->path[b->paths_nr];
    struct iscsi_url url;
    const char *wrong;

    if (b->paths_nr + 1 == CORELANE_PATHS_MAX)
        return opt_usage(o->prog, o->cmd, "--path: a disk has %u paths at most", CORELANE_PATHS_MAX);
    p->transport = b->disk.transport;
    p->url = text;
    if (!strncmp(text, "tcp:", 4) || !strncmp(text, "shm:", 4)) {
        p->transport = *text == 't' ? CORELANE_TRANSPORT_TCP : CORELANE_TRANSPORT_SHM;
        p->url = text + 4;
    }
    wrong = iscsi_url_parse(&url, p->url);
    explicit_bzero(&url, sizeof(url));
    if (wrong)
        return opt_usage(o->prog, o->cmd, "--path '%s': %s", text, wrong);
    b->paths_nr++;
    return -1;
}

/* Return: -1 to go on, else the exit status. */
static int bench_options(const struct opts *o, struct bench *b)
{
    const char *rw = opt_text(o, "rw", "randread"), *mode = opt_text(o, "mode", "adaptive"), *wrong;
    const char *transport = opt_text(o, "transport", "auto");
    struct iscsi_url url;
    char why[256];

    if ((wrong = iscsi_url_parse(&url, o->operand[0])))
        return opt_usage(o->prog, o->cmd, "'%s': %s", o->operand[0], wrong);
    for (size_t i = 0; i < sizeof(rws) / sizeof(rws[0]); i++)
        if (!strcmp(rws[i].name, rw))
            b->rw = &rws[i];
    if (opt_has(o, "rwmixread") && strcmp(rw, "randrw"))
        return opt_usage(o->prog, o->cmd, "--rwmixread is for --rw randrw");
    b->url = o->operand[0];
    b->read_pct = (unsigned)opt_num(o, "rwmixread", b->rw->read_pct);
    b->bs = opt_num(o, "bs", 4096);
    b->qd = (unsigned)opt_num(o, "qd", 32);
    b->jobs_nr = (unsigned)opt_num(o, "jobs", 1);
    b->count = opt_num(o, "count", 0);
    b->time_s = (unsigned)opt_num(o, "time", b->count ? TIME_MAX : 5);
    b->seed = opt_num(o, "seed", 1);
    b->rate = opt_num(o, "rate", 0);
    b->mode = *mode == 'p' ? CORELANE_POLLING : *mode == 'i' ? CORELANE_INTERRUPT : CORELANE_ADAPTIVE;
    b->disk.queue_depth = b->qd < 2 ? 2 : b->qd;
    b->disk.header_digest = opt_has(o, "header-digest");
    b->disk.data_digest = opt_has(o, "data-digest");
    b->disk.transport = *transport == 't'   ? CORELANE_TRANSPORT_TCP
                        : *transport == 's' ? CORELANE_TRANSPORT_SHM
                                            : CORELANE_TRANSPORT_AUTO;
    b->own_buffers = opt_has(o, "own-buffers");
    b->policy = opt_text(o, "policy", NULL);
    for (unsigned i = 0; i < o->given_nr; i++) {
        const int status = strcmp(o->given[i].opt->name, "path") ? -1 : bench_path_option(o, b, o->given[i].text);

        if (status >= 0)
            return status;
    }
    if (b->bs % 512)
        return opt_usage(o->prog, o->cmd, "--bs %s: not a multiple of 512", opt_text(o, "bs", ""));
    if (b->bs * b->qd * b->jobs_nr > MEMORY_MAX)
        return opt_usage(o->prog, o->cmd,
                         "--bs times --qd times --jobs is more than 4G of buffers: make one of them smaller");
    if (!opt_has(o, "cores"))
        cores_allowed(&b->cores);
    else if (!cores_parse(opt_text(o, "cores", ""), &b->cores, why))
        return EXIT_USAGE;
    b->lanes_nr = b->jobs_nr < b->cores.nr ? b->jobs_nr : b->cores.nr;
    return -1;
}

static void *zeroed(size_t align, size_t len)
{
    void *p = aligned_alloc(align, len);

    return p ? memset(p, 0, len) : NULL;
}

static int bench_run(const struct cmd *cmd, const struct opts *o)
{
    struct bench *b = calloc(1, sizeof(*b));
    json_t *secret = json_object();
    int status = b ? bench_options(o, b) : 1;

    if (status < 0 && opt_has(o, "user"))
        status = secret_param(o, "secret-file", "CORELANE_SECRET", "secret", secret);
    if (status < 0 && opt_has(o, "user") && !json_object_get(secret, "secret"))
        status =
            opt_usage(o->prog, o->cmd, "--user needs a secret: give --secret-file, or set CORELANE_SECRET");
    if (status < 0) {
        b->disk.user = opt_text(o, "user", NULL);
        b->disk.secret = json_string_value(json_object_get(secret, "secret"));
        assert(b->jobs_nr && b->lanes_nr);     /* bench_options() saw to it */
        b->jobs = calloc(b->jobs_nr, sizeof(*b->jobs));
        b->lanes = zeroed(64, b->lanes_nr * sizeof(*b->lanes)); /* calloc() would not keep their alignment */
        status = b->jobs && b->lanes ? lanes_run(o, b) : 1;
    }
    if (b) {
        free(b->jobs);
        free(b->lanes);
    }
    json_decref(secret);
    free(b);
    return status;
}

static const struct opt bench_opts[] = {
    { "rw", 0, OPT_WORD, .arg = "randread|randwrite|randrw|read|write",
      .help = "what to do (default: randread)" },
    { "rwmixread", 0, OPT_NUM, .arg = "P", .lo = 0, .hi = 100,
      .help = "percent of reads in randrw (default: 50)" },
    { "bs", 0, OPT_SIZE, .arg = "SIZE", .lo = 512, .hi = BS_MAX, .help = "bytes of a request (default: 4k)" },
    { "qd", 0, OPT_NUM, .arg = "N", .lo = 1, .hi = QD_MAX,
      .help = "requests in flight of each job (default: 32)" },
    { "jobs", 0, OPT_NUM, .arg = "N", .lo = 1, .hi = JOBS_MAX,
      .help = "sessions, dealt out over the cores (default: 1)" },
    { "time", 0, OPT_NUM, .arg = "S", .lo = 1, .hi = TIME_MAX,
      .help = "seconds (default: 5; with --count, no limit)" },
    { "count", 0, OPT_NUM, .arg = "N", .lo = 1, .hi = UINT64_MAX,
      .help = "end after so many requests of all jobs together" },
    { "rate", 0, OPT_NUM, .arg = "IOPS", .lo = 1, .hi = RATE_MAX,
      .help = "requests a second of all jobs together, evenly spaced (default: what --qd lets)" },
    { "cores", 0, OPT_CORES, .arg = "LIST",
      .help = "cores, like 0,2-5 (default: as many as jobs, of those allowed)" },
    { "mode", 0, OPT_WORD, .arg = "poll|adaptive|interrupt",
      .help = "how cores wait for answers (default: adaptive)" },
    { "seed", 0, OPT_NUM, .arg = "N", .lo = 0, .hi = UINT64_MAX, .help = "of the random offsets (default: 1)" },
    { "header-digest", 0, OPT_FLAG, .help = "CRC32C over headers, if the target has it" },
    { "data-digest", 0, OPT_FLAG, .help = "CRC32C over data, if the target has it" },
    { "transport", 0, OPT_WORD, .arg = "auto|tcp|shm",
      .help = "what carries the sessions (default: auto, shared memory with a target of ours on this host)" },
    { "path", 0, OPT_TEXT, .many = true, .arg = "[tcp:|shm:]URL",
      .help = "one more path to the same unit for each job: another portal, or another transport" },
    { "policy", 0, OPT_WORD, .arg = "least-queue-depth|round-robin|service-time|failover-only|weighted",
      .help = "which path a request takes (default: least-queue-depth)" },
    { "own-buffers", 0, OPT_FLAG,
      .help = "buffers that the library did not hand out: over shared memory each request is copied once" },
    { "user", 0, OPT_TEXT, .arg = "NAME", .help = "CHAP name, if the URL has none" },
    { "secret-file", 0, OPT_TEXT, .arg = "FILE", .help = "its first line is the secret; - is standard input" },
    { "json", 0, OPT_FLAG, .help = "print the result as JSON, and no progress" },
    { 0 },
};

const struct cmd cmds_bench[] = {
    { "bench", "URL", "measure a LUN from this process: no daemon, no block device in between",
      .more = "URL is iscsi://[USER%SECRET@]ADDR[:PORT]/IQN/LUN. randwrite, randrw and write WRITE TO THE LUN "
              "and destroy\n"
              "what is on it. Progress goes to standard error, the result to standard output.",
      .sets = { bench_opts, opt_common }, .run = bench_run },
    { 0 },
};
