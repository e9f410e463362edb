/*
 * world.c - the clock and the events of a simulated world, chance, faults counted, lines logged
 *
 * Events stand in a binary heap by time and, at equal times, in the order in which they were armed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/sim_internal.h"

#define START_NS RT_S                       /* not 0: that means "never" to some */
#define HEAP_FIRST 64u
#define LINE_MAX_LEN 1000

_Thread_local struct sim *sim_world;
_Thread_local struct sim_prog *sim_cur;

/* ---- memory of the world ------------------------------------------------------------------------------ */

void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *mem, size_t len);
void __real_free(void *mem);

static void *must(void *mem)
{
    if (!mem) {
        fputs("simulation: out of memory\n", stderr);
        abort();
    }
    return mem;
}

void *sim_zalloc(size_t len)
{
    return must(__real_calloc(1, len));
}

void *sim_grow(void *mem, size_t len)
{
    return must(__real_realloc(mem, len));
}

void sim_release(void *mem)
{
    __real_free(mem);
}

char *sim_copy_text(const char *s)
{
    const size_t len = strlen(s) + 1;

    return memcpy(sim_zalloc(len), s, len);
}

/* ---- chance ------------------------------------------------------------------------------------------- */

uint64_t sim_rng_next(struct sim_rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

struct sim_rng sim_rng(uint64_t seed, uint64_t stream)
{
    struct sim_rng a = { seed }, b;

    b.s = sim_rng_next(&a) ^ stream * 0xd1342543de82ef95ull;
    b.s = sim_rng_next(&b);                 /* neighbouring streams: far apart */
    return b;
}

uint64_t sim_rng_below(struct sim_rng *r, uint64_t n)
{
    /* The high half of a product: as even as needed, and without a division. */
    return (uint64_t)((unsigned __int128)sim_rng_next(r) * n >> 64);
}

uint64_t sim_rng_range(struct sim_rng *r, uint64_t lo, uint64_t hi)
{
    return lo + sim_rng_below(r, hi - lo + 1);
}

bool sim_rng_chance(struct sim_rng *r, uint32_t ppm)
{
    return ppm && sim_rng_below(r, 1000000) < ppm;
}

/* ---- the heap ----------------------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void place(struct sim *w, uint32_t i, struct sim_event *ev)
{
    w->heap[i] = ev;
    ev->place = i + 1;
}

static void sift_up(struct sim *w, uint32_t i, struct sim_event *ev)
{
    while (i && earlier(ev, w->heap[(i - 1) / 2])) {
        place(w, i, w->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(w, i, ev);
}

static void sift_down(struct sim *w, uint32_t i, struct sim_event *ev)
{
    for (;;) {
        uint32_t c = 2 * i + 1;

        if (c >= w->heap_nr)
            break;
        if (c + 1 < w->heap_nr && earlier(w->heap[c + 1], w->heap[c]))
            c++;
        if (!earlier(w->heap[c], ev))
            break;
        place(w, i, w->heap[c]);
        i = c;
    }
    place(w, i, ev);
}

void sim_ev_set(struct sim *w, struct sim_event *ev, uint64_t at)
{
    assert(at >= w->now);
    sim_ev_del(w, ev);
    if (w->heap_nr == w->heap_room) {
        w->heap_room = w->heap_room ? 2 * w->heap_room : HEAP_FIRST;
        w->heap = sim_grow(w->heap, w->heap_room * sizeof(*w->heap));
    }
    ev->at = at;
    ev->seq = w->seq++;
    sift_up(w, w->heap_nr++, ev);
}

void sim_ev_del(struct sim *w, struct sim_event *ev)
{
    struct sim_event *last;
    uint32_t i;

    if (!ev->place)
        return;
    i = ev->place - 1;
    assert(w->heap[i] == ev);
    ev->place = 0;
    last = w->heap[--w->heap_nr];
    if (last == ev)
        return;
    if (i && earlier(last, w->heap[(i - 1) / 2]))
        sift_up(w, i, last);
    else
        sift_down(w, i, last);
}

/* ---- running ------------------------------------------------------------------------------------------ */

struct sim_context sim_context_enter(struct sim *w, struct sim_prog *p, struct rt *rt)
{
    const struct sim_context before = { sim_world, sim_cur, w->turning };

    sim_world = w;
    sim_cur = p;
    w->turning = rt;
    return before;
}

void sim_context_leave(struct sim *w, const struct sim_context *before)
{
    struct sim_prog *p = sim_cur;

    sim_world = before->world;
    sim_cur = before->cur && before->cur->state == SIM_RUNNING ? before->cur : NULL;   /* it may be dead by now */
    w->turning = before->turning;
    if (p && p != sim_cur && p->kill_wanted)
        sim_kill(p);
}

void sim_mix(struct sim *w, uint64_t v)
{
    w->print = (w->print ^ v) * 0x9fb21c651e98df25ull;
    w->print ^= w->print >> 32;
}

static void instant_guard(struct sim *w, const struct sim_event *ev)
{
    if (ev->at != w->instant) {
        w->instant = ev->at;
        w->instant_events = 0;
    } else if (++w->instant_events > w->sched.instant_max) {
        sim_fail(w, "%llu events at one instant: the world does not get on", (unsigned long long)w->instant_events);
    }
}

/* Runs the next event if it is due by then. */
static bool step(struct sim *w, uint64_t until)
{
    struct sim_event *ev;

    if (!w->heap_nr || w->heap[0]->at > until)
        return false;
    if (w->on_event) {
        const struct sim_context before = sim_context_enter(w, NULL, NULL);

        w->on_event(w->on_event_arg);
        sim_context_leave(w, &before);
        if (!w->heap_nr || w->heap[0]->at > until)
            return false;
    }
    ev = w->heap[0];
    instant_guard(w, ev);
    sim_ev_del(w, ev);
    w->now = ev->at;
    w->events++;
    w->clock_reads = 0;
    sim_mix(w, w->now);
    ev->fn(w, ev);                          /* enters what it runs as; the event may be gone */
    return true;
}

bool sim_step(struct sim *w)
{
    return step(w, UINT64_MAX);
}

static uint64_t until(const struct sim *w, uint64_t ns)
{
    return ns > UINT64_MAX - w->now ? UINT64_MAX : w->now + ns;
}

void sim_run(struct sim *w, uint64_t ns)
{
    const uint64_t end = until(w, ns);

    w->stop = false;
    while (!w->stop && step(w, end))
        ;
    if (!w->stop && end != UINT64_MAX)
        w->now = end;
}

bool sim_run_until(struct sim *w, bool (*met)(void *arg), void *arg, uint64_t ns)
{
    const uint64_t end = until(w, ns);

    w->stop = false;
    while (!met(arg)) {
        if (w->stop)
            return false;
        if (!step(w, end)) {
            if (end != UINT64_MAX)
                w->now = end;
            return met(arg);
        }
    }
    return true;
}

void sim_stop(struct sim *w)
{
    w->stop = true;
}

static void timer_due(struct sim *w, struct sim_event *ev)
{
    struct sim_timer *t = container_of(ev, struct sim_timer, ev);
    const struct sim_context before = sim_context_enter(w, NULL, NULL);

    t->fn(t);
    sim_context_leave(w, &before);
}

void sim_at(struct sim *w, struct sim_timer *t, uint64_t after_ns)
{
    t->ev.fn = timer_due;
    sim_ev_set(w, &t->ev, until(w, after_ns));
}

void sim_at_cancel(struct sim *w, struct sim_timer *t)
{
    sim_ev_del(w, &t->ev);
}

/* ---- making ------------------------------------------------------------------------------------------- */

enum { STREAM_NET = 1, STREAM_DISK, STREAM_SCHED };

struct sim *sim_new(uint64_t seed)
{
    struct sim *w = sim_zalloc(sizeof(*w));

    w->seed = seed;
    w->now = START_NS;
    w->print = seed;
    w->net_rng = sim_rng(seed, STREAM_NET);
    w->disk_rng = sim_rng(seed, STREAM_DISK);
    w->sched_rng = sim_rng(seed, STREAM_SCHED);
    w->sched = (struct sim_sched){
        .wake_ns = 300, .wake_jitter_ns = 3000, .turn_ns = 500, .call_ns = 200, .late_mail_ppm = 100000,
        .hiccup_ppm = 50, .hiccup_ns = 2 * RT_MS, .poll_ppm = 500000, .poll_ns = 20 * RT_US, .work_ns = 20 * RT_US, .work_jitter_ns = 500 * RT_US,
        .spin_max = 1000000, .instant_max = 1000000,
    };
    w->net = (struct sim_net){
        .latency_ns = 30 * RT_US, .jitter_ns = 30 * RT_US, .window = 256u << 10, .segment_max = 64u << 10,
        .split_ppm = 100000, .pause_ppm = 20000, .connect_timeout_ns = 127 * RT_S, .tcp_timeout_ns = 924 * RT_S,
    };
    rt_list_init(&w->machines);
    rt_list_init(&w->conns);
    return w;
}

void sim_free(struct sim *w)
{
    struct rt_link *l;

    if (!w)
        return;
    assert(!w->turning);
    if (w->entered)
        sim_leave(w);
    w->on_event = NULL;
    w->on_fault = NULL;
    rt_list_for(m, &w->machines) {
        struct sim_machine *machine = rt_list_entry(m, struct sim_machine, link);

        rt_list_for_safe(p, &machine->progs)
            sim_kill(rt_list_entry(p, struct sim_prog, link));
    }
    sim_net_free(w);
    while ((l = rt_list_pop(&w->machines)))
        sim_machine_free(rt_list_entry(l, struct sim_machine, link));
    while (w->progs) {
        struct sim_prog *p = w->progs;

        w->progs = p->next;
        sim_release(p);
    }
    sim_release(w->pairs);
    sim_release(w->heap);
    sim_release(w);
}

uint64_t sim_seed(const struct sim *w)
{
    return w->seed;
}

uint64_t sim_now(const struct sim *w)
{
    return w->now;
}

uint64_t sim_events(const struct sim *w)
{
    return w->events;
}

uint64_t sim_fingerprint(const struct sim *w)
{
    return w->print;
}

void sim_on_event(struct sim *w, void (*fn)(void *arg), void *arg)
{
    w->on_event = fn;
    w->on_event_arg = arg;
}

void sim_sched_get(const struct sim *w, struct sim_sched *out)
{
    *out = w->sched;
}

void sim_sched_set(struct sim *w, const struct sim_sched *s)
{
    w->sched = *s;
}

/* ---- faults ------------------------------------------------------------------------------------------- */

const char *sim_fault_name(enum sim_fault f)
{
    static const char *const names[] = {
#define X(name, text) [SIM_FAULT_##name] = text,
        SIM_FAULTS(X)
#undef X
    };

    return names[f];
}

uint64_t sim_fault_count(const struct sim *w, enum sim_fault f)
{
    return w->faults[f];
}

void sim_on_fault(struct sim *w, void (*fn)(void *arg, enum sim_fault f, struct sim_machine *m, struct sim_conn *c),
                  void *arg)
{
    w->on_fault = fn;
    w->on_fault_arg = arg;
}

void sim_fault_note(struct sim *w, enum sim_fault f, struct sim_machine *m, struct sim_conn *c)
{
    struct sim_prog *cur = sim_cur;

    w->faults[f]++;
    sim_mix(w, (uint64_t)f);
    if (f != SIM_FAULT_HICCUP)
        sim_debug(w, "%s: %s", m ? m->name : "network", sim_fault_name(f));
    if (!w->on_fault)
        return;
    sim_cur = NULL;                         /* looks only, but may count in memory of its own */
    w->on_fault(w->on_fault_arg, f, m, c);
    sim_cur = cur;
}

/* ---- lines -------------------------------------------------------------------------------------------- */

void rt_log_level(enum rt_level level)
{
    /* A program's wish is for its stderr: here sim_log_to() rules. */
}

void sim_log_to(struct sim *w, void (*fn)(void *arg, const char *line), void *arg, enum rt_level level)
{
    w->log = fn;
    w->log_arg = arg;
    w->log_level = level;
}

void sim_log_line(struct sim *w, enum rt_level level, const char *fmt, va_list ap)
{
    static const char *const words[] = {
        [RT_ERR] = "error: ", [RT_WARN] = "warning: ", [RT_NOTICE] = "", [RT_INFO] = "", [RT_DEBUG] = "debug: ",
    };
    struct sim_prog *cur = sim_cur;
    char line[LINE_MAX_LEN];
    int n;

    n = snprintf(line, sizeof(line), "%6llu.%09llu ", (unsigned long long)(w->now / RT_S),
                 (unsigned long long)(w->now % RT_S));
    if (cur && w->turning)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%.64s/%u ", cur->machine->name, rt_index(w->turning));
    else
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%.64s ", cur ? cur->machine->name : "world");
    n += snprintf(line + n, sizeof(line) - (size_t)n, "%s", words[level]);
    vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    sim_cur = NULL;
    w->log(w->log_arg, line);
    sim_cur = cur;
}

void sim_debug_line(struct sim *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    sim_log_line(w, RT_DEBUG, fmt, ap);
    va_end(ap);
}

void sim_logf(struct sim *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->log)
        return;
    va_start(ap, fmt);
    sim_log_line(w, RT_NOTICE, fmt, ap);
    va_end(ap);
}

void rt_log(enum rt_level level, const char *fmt, ...)
{
    va_list ap;

    if (!sim_world || !sim_log_wanted(sim_world, level))
        return;
    va_start(ap, fmt);
    sim_log_line(sim_world, level, fmt, ap);
    va_end(ap);
}

/* Without a limit: nobody floods a log that somebody asked for. */
void rt_log_peer(enum rt_level level, const char *fmt, ...)
{
    va_list ap;

    if (!sim_world || !sim_log_wanted(sim_world, level))
        return;
    va_start(ap, fmt);
    sim_log_line(sim_world, level, fmt, ap);
    va_end(ap);
}

void sim_fail(struct sim *w, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "simulation: seed %llu, event %llu, %llu.%09llu s: ", (unsigned long long)w->seed,
            (unsigned long long)w->events, (unsigned long long)(w->now / RT_S), (unsigned long long)(w->now % RT_S));
    if (sim_cur)
        fprintf(stderr, "%s, %s (pid %d)%s: ", sim_cur->machine->name,
                sim_cur->program ? sim_cur->program->name : "program", sim_cur->pid, w->turning ? "" : ", no core");
    if (w->turning)
        fprintf(stderr, "core %u: ", rt_index(w->turning));
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

void sim_calm(struct sim *w)
{
    rt_list_for(l, &w->machines) {
        struct sim_machine *m = rt_list_entry(l, struct sim_machine, link);
        struct sim_disk *d = &m->disk;

        d->read_eio_ppm = d->write_eio_ppm = d->sync_eio_ppm = d->enospc_ppm = d->slow_ppm = d->torn_ppm = 0;
        d->save_ppm = d->load_ppm = 0;
        sim_disk_stall(m, false);
        rt_list_for(p, &m->progs)
            sim_freeze(rt_list_entry(p, struct sim_prog, link), false);
    }
    sim_calm_net(w);
}
