/*
 * main.c - corelane-sim: plays seeds, by several processes side by side, and says what came of it
 *
 * A process plays one seed after the other and tells its parent of each begin and end. One that dies (an assert, a
 * signal) or does not come back is that seed's failure; another goes on after it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/scene.h"

#define JOBS_MAX   64u
#define PROGRESS_S 60                       /* how often a long run says how far it is */

struct options {
    uint64_t seed, from, seeds;
    unsigned jobs, limit_s, stop_after;
    bool one, quiet, table, twice, each;
    enum scene_kind kind;
    const char *self;
};

struct word { /* from a player to its parent */
    uint64_t seed;
    bool begin;
    struct result result;
    struct tally tally;
};

struct player {
    pid_t pid;
    int fd;
    uint64_t next, seed; /* seed: under way */
    bool playing, over;
    time_t since;
};

struct sums {
    uint64_t green, failed, requests, checked, skipped, judged, sim_ns, events, fingerprint;
    uint32_t clusters_max;
    uint64_t first_failed;
    struct tally tally;
};

static time_t seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* ---- a player -------------------------------------------------------------------------------------------- */

static void word_send(int fd, const struct word *w)
{
    const char *p = (const char *)w;

    for (size_t left = sizeof(*w); left;) {
        const ssize_t n = write(fd, p, left);

        if (n < 0 && errno != EINTR)
            _exit(2);
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        }
    }
}

static void play_one(const struct options *o, uint8_t *buffers, struct word *w)
{
    memset(&w->tally, 0, sizeof(w->tally));
    scene_play(w->seed, o->kind, buffers, false, &w->tally, &w->result);
    if (o->twice && !w->result.failed) {
        struct tally tally = { 0 };
        struct result again;

        scene_play(w->seed, o->kind, buffers, false, &tally, &again);
        if (again.fingerprint == w->result.fingerprint && again.events == w->result.events)
            return;
        w->result.failed = true;
        snprintf(w->result.why, sizeof(w->result.why),
                 "played twice it was not the same: %" PRIu64 " and %" PRIu64 " events", w->result.events,
                 again.events);
    }
}

static void player_run(const struct options *o, uint64_t from, int fd)
{
    uint8_t *buffers = malloc(SCENE_BUFFERS);
    struct word *w = calloc(1, sizeof(*w));

    if (!buffers || !w)
        _exit(2);
    for (uint64_t seed = from; seed < o->from + o->seeds; seed += o->jobs) {
        w->seed = seed;
        w->begin = true;
        word_send(fd, w);
        play_one(o, buffers, w);
        w->begin = false;
        word_send(fd, w);
    }
    _exit(0);
}

static void player_start(const struct options *o, struct player *p)
{
    int fds[2];

    p->over = p->next >= o->from + o->seeds;
    p->playing = false;
    if (p->over)
        return;
    fflush(stdout);
    if (pipe(fds) || (p->pid = fork()) < 0) {
        perror("corelane-sim");
        exit(2);
    }
    if (!p->pid) {
        close(fds[0]);
        player_run(o, p->next, fds[1]);
    }
    close(fds[1]);
    p->fd = fds[0];
    p->since = seconds();
}

/* ---- what came of it ------------------------------------------------------------------------------------- */

static void failed(const struct options *o, struct sums *s, uint64_t seed, const char *why)
{
    if (!s->failed || seed < s->first_failed)
        s->first_failed = seed;
    s->failed++;
    printf("seed %" PRIu64 " FAILED: %s\n    replay it with: %s%s --seed %" PRIu64 "\n", seed, why, o->self,
           o->kind == SCENES_PATHS ? " --paths" : "", seed);
    fflush(stdout);
}

static void sum(const struct options *o, struct sums *s, const struct word *w)
{
    const struct result *r = &w->result;

    if (r->failed)
        failed(o, s, w->seed, r->why);
    else
        s->green++;
    if (o->each)
        printf("seed %" PRIu64 ": %.1f s, %" PRIu64 " requests, %" PRIu64 " sectors, %" PRIu64
               " events, fingerprint %016" PRIx64 "\n",
               w->seed, (double)r->sim_ns / RT_S, r->requests, r->checked, r->events, r->fingerprint);
    s->requests += r->requests;
    s->checked += r->checked;
    s->skipped += r->skipped;
    s->judged += r->judged;
    s->sim_ns += r->sim_ns;
    s->events += r->events;
    s->fingerprint += r->fingerprint * (2 * w->seed + 1);
    if (r->clusters_max > s->clusters_max)
        s->clusters_max = r->clusters_max;
    for (unsigned f = 0; f < SCENE_FAULT_NR; f++) {
        for (unsigned st = 0; st < STATES; st++)
            s->tally.hit[f][st] += w->tally.hit[f][st];
        for (unsigned st = 0; st < STEPS; st++)
            s->tally.near[f][st] += w->tally.near[f][st];
    }
    for (unsigned i = 0; i < DRILLS; i++) {
        s->tally.drills[i] += w->tally.drills[i];
        if (w->tally.drill_max_ns[i] > s->tally.drill_max_ns[i])
            s->tally.drill_max_ns[i] = w->tally.drill_max_ns[i];
    }
    for (unsigned i = 0; i < ARRAY_SIZE(s->tally.logins); i++)
        s->tally.logins[i] += w->tally.logins[i];
}

/* Whether a fault of that kind can meet a session in that state at all; if not, why. */
static const char *cannot(unsigned fault, unsigned state)
{
    switch (fault) {
    case SIM_FAULT_ALLOC: return "not drawn here: tests of failing in turn do it";
    case SIM_FAULT_RESET:
    case SIM_FAULT_CUT:
    case SIM_FAULT_HALF_CLOSE:
    case SIM_FAULT_BLACKHOLE:
    case SIM_FAULT_STALL:
    case SIM_FAULT_TCP_TIMEOUT: return state == INI_FREE || state == INI_FAILED ? "no connection" : NULL;
    case SIM_FAULT_FLIP:
        return state != INI_UP && state != INI_LOGOUT && state != STATE_ONCE
                   ? "no digests before the full feature phase"
                   : NULL;
    case SIM_FAULT_REFUSE:
    case SIM_FAULT_CONNECT_LOST:
        return state == INI_FREE || state == INI_UP || state == INI_LOGOUT || state == INI_FAILED ||
                       state == STATE_ONCE
                   ? "does not connect"
                   : NULL;
    case SCENE_FAULT_LUN_RESET:
    case SCENE_FAULT_LOGOUT:
    case SCENE_FAULT_ABRUPT:
    case SCENE_FAULT_ABANDON:
        return state == INI_FREE || state == INI_LOGOUT ? "no session, or one that leaves" : NULL;
    default: return NULL;
    }
}

/* The world knows only on which machine; rows of ours say which program. */
static bool told_by_whom(unsigned fault)
{
    return fault == SIM_FAULT_KILL || fault == SIM_FAULT_FREEZE;
}

static const char *cannot_near(unsigned fault, unsigned step)
{
    const bool joins = step <= STEP_CONNECT;

    switch (fault) {
    case SIM_FAULT_ALLOC: return "not drawn here: tests of failing in turn do it";
    case SIM_FAULT_FLIP: return "no digests";
    case SIM_FAULT_PARTITION: return "it is one host";
    case SIM_FAULT_REFUSE:
    case SIM_FAULT_CONNECT_LOST: return "does not connect";
    case SCENE_FAULT_DOOR_CUT: return joins || step == STEP_CLOSE ? "no connection to the unix socket" : NULL;
    case SCENE_FAULT_LOOP_OFF: return "the target has just started";
    default: return NULL;
    }
}

static void table_near(const struct sums *s)
{
    printf("\n%-34s", "fault, by step in shared memory");
    for (unsigned st = 0; st < STEPS; st++)
        printf(" %8s", scene_step_name(st));
    printf("\n");
    for (unsigned f = 0; f < SCENE_FAULT_NR; f++) {
        if (told_by_whom(f))
            continue;
        printf("%-34s", scene_fault_name(f));
        for (unsigned st = 0; st < STEPS; st++) {
            if (!s->tally.near[f][st] && cannot_near(f, st))
                printf(" %8s", ".");
            else
                printf(" %8" PRIu64, s->tally.near[f][st]);
        }
        printf("\n");
    }
    printf("logins of initiators on the target's host: %" PRIu64 " in shared memory, %" PRIu64 " over TCP\n",
           s->tally.logins[1], s->tally.logins[0]);
}

static void table(const struct sums *s)
{
    printf("\n%-34s", "fault, by state of the session");
    for (unsigned st = 0; st < STATES; st++)
        printf(" %9s", scene_state_name(st));
    printf("\n");
    for (unsigned f = 0; f < SCENE_FAULT_NR; f++) {
        if (told_by_whom(f))
            continue;
        printf("%-34s", scene_fault_name(f));
        for (unsigned st = 0; st < STATES; st++) {
            if (!s->tally.hit[f][st] && cannot(f, st))
                printf(" %9s", ".");
            else
                printf(" %9" PRIu64, s->tally.hit[f][st]);
        }
        printf("\n");
    }
    puts("\".\": cannot be. Free and failed sessions have no connection; connecting is done by login, recovery and offline;\n"
         "bits are flipped only where digests guard them, from the full feature phase on; what a user does to a session\n"
         "needs one that does not leave already; failed allocations are drawn elsewhere (failing in turn).");
}

/* ---- parent ---------------------------------------------------------------------------------------------- */

static void player_died(const struct options *o, struct sums *s, struct player *p, const char *why)
{
    char text[256];
    int status = 0;

    close(p->fd);
    if (why)
        kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (p->playing) {
        if (!why && WIFSIGNALED(status))
            snprintf(text, sizeof(text), "died of signal %d (%s): see what it said above", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
        else
            snprintf(text, sizeof(text), "%s", why ? why : "ended before its end");
        failed(o, s, p->seed, text);
        p->next = p->seed + o->jobs;
    }
    player_start(o, p);
}

/* Return: false when nothing more comes. */
static bool word_read(int fd, struct word *w)
{
    for (size_t at = 0; at < sizeof(*w);) {
        const ssize_t n = read(fd, (char *)w + at, sizeof(*w) - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void hear(const struct options *o, struct sums *s, struct player *p)
{
    static struct word w;

    if (!word_read(p->fd, &w)) {
        player_died(o, s, p, NULL);
        return;
    }
    p->seed = w.seed;
    p->playing = w.begin;
    p->since = seconds();
    p->next = w.seed + (w.begin ? 0 : o->jobs);
    if (!w.begin)
        sum(o, s, &w);
}

static bool turn(const struct options *o, struct sums *s, struct player *players)
{
    struct pollfd fds[JOBS_MAX];
    unsigned index[JOBS_MAX], n = 0;

    for (unsigned i = 0; i < o->jobs; i++) {
        if (players[i].over)
            continue;
        fds[n] = (struct pollfd){ .fd = players[i].fd, .events = POLLIN };
        index[n++] = i;
    }
    if (!n)
        return false;
    poll(fds, n, 1000);
    for (unsigned i = 0; i < n; i++) {
        struct player *p = &players[index[i]];

        if (fds[i].revents)
            hear(o, s, p);
        else if (seconds() - p->since > (time_t)o->limit_s)
            player_died(o, s, p, "did not come to an end in the time that --limit gives it");
    }
    return !(o->stop_after && s->failed >= o->stop_after);
}

static int play_many(const struct options *o)
{
    static struct player players[JOBS_MAX];
    static struct sums s;
    struct timespec t0, t1;
    time_t told = seconds();
    double wall;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (unsigned i = 0; i < o->jobs; i++) {
        players[i].next = o->from + i;
        player_start(o, &players[i]);
    }
    while (turn(o, &s, players)) {
        if (seconds() < told + PROGRESS_S)
            continue;
        told = seconds();
        fprintf(stderr, "corelane-sim: %" PRIu64 " seeds green, %" PRIu64 " failed so far\n", s.green, s.failed);
    }
    for (unsigned i = 0; i < o->jobs; i++) {
        if (players[i].over)
            continue;
        kill(players[i].pid, SIGKILL);
        waitpid(players[i].pid, NULL, 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    wall = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    if (o->table) {
        table(&s);
        table_near(&s);
    }
    if (s.tally.drills[DRILL_RESET] + s.tally.drills[DRILL_CUT])
        printf("of disks with several paths one was reset %" PRIu64 " times: I/O went on within %.1f ms; cut off %" PRIu64
               " times: within %.1f ms\n",
               s.tally.drills[DRILL_RESET], (double)s.tally.drill_max_ns[DRILL_RESET] / RT_MS, s.tally.drills[DRILL_CUT],
               (double)s.tally.drill_max_ns[DRILL_CUT] / RT_MS);
    printf("%" PRIu64 " seeds green, %" PRIu64 " failed (from %" PRIu64 ")", s.green, s.failed, o->from);
    if (s.failed)
        printf(", the first: %" PRIu64, s.first_failed);
    printf("\n%" PRIu64 " requests, %" PRIu64 " block operations checked, %" PRIu64
           " reads of blocks not judged (the target "
           "crashed meanwhile), %" PRIu64
           " judged by reservations\n%.1f simulated hours in %.0f s: %.0f simulated hours an "
           "hour; %" PRIu64 " events; at most %u values remembered; fingerprint %016" PRIx64 "\n",
           s.requests, s.checked, s.skipped, s.judged, (double)s.sim_ns / 3.6e12, wall,
           (double)s.sim_ns / 1e9 / (wall > 0.001 ? wall : 0.001), s.events, s.clusters_max, s.fingerprint);
    return s.failed ? 1 : 0;
}

static int play_single(const struct options *o)
{
    uint8_t *buffers = malloc(SCENE_BUFFERS);
    static struct result r;
    static struct tally tally;

    if (!buffers)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    scene_play(o->seed, o->kind, buffers, !o->quiet, &tally, &r);
    free(buffers);
    if (r.failed)
        printf("seed %" PRIu64 " FAILED: %s\n", o->seed, r.why);
    else
        printf("seed %" PRIu64 " green: %.1f s, %" PRIu64 " requests, %" PRIu64
               " block operations checked, fingerprint %016" PRIx64 "\n",
               o->seed, (double)r.sim_ns / RT_S, r.requests, r.checked, r.fingerprint);
    return r.failed;
}

static const char usage[] =
    "usage: corelane-sim --seed N [--quiet]              play one seed, with a full log\n"
    "       corelane-sim --seeds COUNT [--from N]        play many\n"
    "  --paths         only scenes in which disks have several paths; their seeds are others\n"
    "  --jobs J        processes side by side (1)\n"
    "  --table         print which faults met sessions in which state\n"
    "  --twice         play each seed twice: it must be the same\n"
    "  --each          a line for each seed\n"
    "  --stop-after N  stop after so many failures\n"
    "  --limit S       seconds that a seed may take (600)\n";

static uint64_t number(const char *text)
{
    char *end;
    const uint64_t n = strtoull(text, &end, 0);

    if (*end || !*text) {
        fprintf(stderr, "corelane-sim: \"%s\" is not a number\n%s", text, usage);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "seed", 1, NULL, 's' },  { "seeds", 1, NULL, 'n' }, { "from", 1, NULL, 'f' },
        { "jobs", 1, NULL, 'j' },  { "table", 0, NULL, 't' }, { "twice", 0, NULL, '2' },
        { "each", 0, NULL, 'e' },  { "quiet", 0, NULL, 'q' }, { "stop-after", 1, NULL, 'x' },
        { "limit", 1, NULL, 'l' }, { "paths", 0, NULL, 'p' }, { "help", 0, NULL, 'h' },  { 0 },
    };
    struct options o = { .from = 1, .jobs = 1, .limit_s = 600, .self = argv[0] };
    int c;

    while ((c = getopt_long(argc, argv, "h", opts, NULL)) >= 0) {
        switch (c) {
        case 's':
            o.seed = number(optarg);
            o.one = true;
            break;
        case 'n': o.seeds = number(optarg); break;
        case 'f': o.from = number(optarg); break;
        case 'j': o.jobs = (unsigned)number(optarg); break;
        case 'x': o.stop_after = (unsigned)number(optarg); break;
        case 'l': o.limit_s = (unsigned)number(optarg); break;
        case 't': o.table = true; break;
        case '2': o.twice = true; break;
        case 'e': o.each = true; break;
        case 'p': o.kind = SCENES_PATHS; break;
        case 'q': o.quiet = true; break;
        default: fputs(usage, c == 'h' ? stdout : stderr); return c == 'h' ? 0 : 2;
        }
    }
    if (optind < argc || o.one == (o.seeds > 0) || !o.jobs || o.jobs > JOBS_MAX) {
        fputs(usage, stderr);
        return 2;
    }
    return o.one ? play_single(&o) : play_many(&o);
}
