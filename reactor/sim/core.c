/*
 * core.c - simulated reactors: hosts, turns, messages, blocking work, signals
 *
 * A turn has the order of the real one: what is ready, completions, messages, timers, what was put off to its end;
 * then the operations that it submitted are begun. It takes no time while it runs and some afterwards: the next one
 * of the same core cannot start before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/sim_internal.h"

#define CLOCK_READS_MAX 10000000u           /* during one event */
#define WALL_START_S 1767225600ull          /* 2026-01-01 */

/* ---- who may call ------------------------------------------------------------------------------------- */

static struct sim_prog *prog_of(const struct rt *rt)
{
    return rt->c.host->prog;
}

bool rt_owned(const struct rt *rt)
{
    if (rt->w->turning)
        return rt->w->turning == rt;
    /* Nobody turns it: while its program is set up or taken down, and where its caller does that. */
    return sim_cur == prog_of(rt) && (!rt->c.host->started || rt->manual);
}

struct rt *rt_self(void)
{
    if (!sim_world)
        return NULL;
    return sim_world->turning ? sim_world->turning : sim_cur ? sim_world->last_manual : NULL;
}

uint64_t rt_clock(const struct rt *rt)
{
    if (++rt->w->clock_reads > CLOCK_READS_MAX)
        sim_fail(rt->w, "waits for the clock, which stands still during a turn");
    return rt->w->now;
}

uint64_t rt_wall_s(const struct rt *rt)
{
    return WALL_START_S + rt->w->now / RT_S;
}

void rt_random(struct rt *rt, void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len) {
        const uint64_t v = sim_rng_next(&prog_of(rt)->random);
        const size_t n = len < sizeof(v) ? len : sizeof(v);

        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

int32_t rt_pid(void)
{
    return sim_cur ? sim_cur->pid : 0;
}

uint32_t rt_uid(void)
{
    return 0;
}

/* ---- operations --------------------------------------------------------------------------------------- */

const struct rt_op_type rt_defer_type = { .name = "rt_defer" };

static void flight_add(struct rt *rt, struct rt_op *op)
{
    op->stage = RT_OP_FLIGHT;
    op->prev = NULL;
    op->next = rt->flight;
    if (op->next)
        op->next->prev = op;
    rt->flight = op;
}

static void flight_del(struct rt *rt, struct rt_op *op)
{
    /* Else its memory was freed or written over while it was outstanding. */
    assert(op->stage == RT_OP_FLIGHT && op->rt == rt);
    assert(op->prev ? op->prev->next == op : rt->flight == op);
    assert(!op->next || op->next->prev == op);
    if (op->prev)
        op->prev->next = op->next;
    else
        rt->flight = op->next;
    if (op->next)
        op->next->prev = op->prev;
}

void sim_op_done(struct rt_op *op, int res)
{
    struct rt *rt = op->rt;

    flight_del(rt, op);
    op->stage = RT_OP_READY;
    op->res = res;
    rt_ops_push(&rt->done, op);
    rt_stirred(rt);
}

void rt_op_start(struct rt *rt, struct rt_op *op, const struct rt_op_type *type)
{
    rt_op_begin(rt, op, type, RT_OP_QUEUED);
    rt_ops_push(&rt->queue, op);
    rt_stirred(rt);
}

void rt_cancel(struct rt_op *op)
{
    if (op->stage == RT_OP_IDLE || op->stage == RT_OP_READY || (op->flags & RT_OP_CANCEL))
        return;
    assert(rt_owned(op->rt));
    op->flags |= RT_OP_CANCEL;              /* queued: found to be cancelled when it would be begun */
    if (op->stage == RT_OP_FLIGHT && op->type->cancel)
        op->type->cancel(op);
}

/* The op may be gone when this returns. */
static void op_end(struct rt_op *op)
{
    const int res = op->res;

    if (op->type->release)
        op->type->release(op);
    op->stage = RT_OP_IDLE;
    op->flags = 0;
    op->done(op, res);
}

static unsigned ready_run(struct rt_ops *list)
{
    struct rt_ops q = *list;
    unsigned n = 0;

    list->head = NULL;                      /* what is added meanwhile waits for the next turn */
    for (; q.head; n++) {
        struct rt_op *op = rt_ops_pop(&q);

        assert(op->stage == RT_OP_READY);   /* else its memory was freed or written over */
        op_end(op);
    }
    return n;
}

static unsigned done_run(struct rt *rt)
{
    struct rt_ops q = rt->done;
    unsigned n = 0;

    rt->done.head = NULL;
    while (q.head) {
        struct rt_op *op = rt_ops_pop(&q);

        assert(op->stage == RT_OP_READY && op->rt == rt);
        if (op->type->finish && op->type->finish(op) == RT_OP_AGAIN) {
            op->stage = RT_OP_QUEUED;
            rt_ops_push(&rt->queue, op);
            continue;
        }
        op_end(op);
        sim_release(rt->lent);
        rt->lent = NULL;
        n++;
    }
    return n;
}

static void queue_begin(struct rt *rt)
{
    while (rt->queue.head) {
        struct rt_op *op = rt_ops_pop(&rt->queue);

        assert(op->stage == RT_OP_QUEUED && op->rt == rt);
        flight_add(rt, op);
        if (op->flags & RT_OP_CANCEL)
            sim_op_done(op, -ECANCELED);
        else
            op->type->begin(op);
    }
}

/* ---- a turn ------------------------------------------------------------------------------------------- */

static bool has_work(const struct rt *rt)
{
    return rt->c.ready.head || rt->c.late.head || rt->queue.head || rt->done.head || rt->mail ||
           (rt->c.host->signals_due && rt->c.host->signal_rt == rt);
}

static uint64_t wake_delay(struct rt *rt)
{
    struct sim *w = rt->w;
    uint64_t ns = w->sched.wake_ns + sim_rng_below(&w->sched_rng, w->sched.wake_jitter_ns + 1ull);

    if (sim_rng_chance(&w->sched_rng, w->sched.hiccup_ppm)) {
        ns += sim_rng_below(&w->sched_rng, w->sched.hiccup_ns);
        sim_fault_note(w, SIM_FAULT_HICCUP, prog_of(rt)->machine, NULL);
    }
    return ns;
}

static uint64_t later(const struct rt *rt, uint64_t at)
{
    return at > rt->free_at ? at : rt->free_at;
}

/* Sees to it that its next turn comes when it is due, and no later than it already would. */
static void turn_plan(struct rt *rt)
{
    uint64_t at;

    if (!rt->c.host->started || rt->manual || prog_of(rt)->frozen)
        return;
    at = has_work(rt) ? rt->w->now : rt_timers_next(rt);
    if (at > rt->poll_at)
        at = rt->poll_at;
    if (at == UINT64_MAX)
        return;
    at = later(rt, at > rt->w->now ? at : rt->w->now);
    if (rt->ev.place && rt->ev.at <= at)
        return;
    at += wake_delay(rt);
    if (!rt->ev.place || at < rt->ev.at)
        sim_ev_set(rt->w, &rt->ev, at);
}

void rt_stirred(struct rt *rt)
{
    if (!rt->in_turn)                       /* else the turn's end sees to it */
        turn_plan(rt);
}

static unsigned mail_run(struct rt *rt)
{
    struct rt_msg *m = rt->mail, *next;
    unsigned n = 0;

    rt->mail = NULL;
    for (; m; m = next, n++) {
        next = m->next;
        m->fn(m);                           /* m is its owner's from here on */
    }
    return n;
}

static unsigned signals_run(struct rt *rt)
{
    struct rt_host *h = rt->c.host;
    uint64_t due = h->signals_due;
    unsigned n = 0;

    if (!due || h->signal_rt != rt)
        return 0;
    h->signals_due = 0;
    for (int s = 1; s < 64; s++) {
        if (due >> s & 1) {
            h->signal_fn(h->signal_arg, s);
            n++;
        }
    }
    return n;
}

static void spin_guard(struct rt *rt, unsigned from_outside)
{
    rt->spins = from_outside ? 0 : rt->spins + 1;
    if (rt->spins > rt->w->sched.spin_max)
        sim_fail(rt->w, "%llu turns in a row with nothing but what they put off themselves: the core spins",
                 (unsigned long long)rt->spins);
}

/* In the program's context. Return: how many callbacks ran. */
static unsigned turn_run(struct rt *rt)
{
    struct sim *w = rt->w;
    unsigned ops, completions, messages = 0, found, timers, n;

    rt->c.now = w->now;
    rt->in_turn = true;
    sim_pollers_wake(rt);
    ops = ready_run(&rt->c.ready);
    completions = done_run(rt) + signals_run(rt);
    if (rt->mail && (rt->manual || !sim_rng_chance(&w->sched_rng, w->sched.late_mail_ppm)))
        messages = mail_run(rt);
    found = sim_pollers_run(rt);
    timers = rt_timers_run(rt);
    ops += ready_run(&rt->c.late);
    queue_begin(rt);
    rt->in_turn = false;
    rt_count(&rt->c.n.ops, ops + completions);
    rt_count(&rt->c.n.messages, messages);
    rt_count(&rt->c.n.timers, timers);
    n = ops + completions + messages + found + timers;
    if (n)
        spin_guard(rt, completions + messages + timers);
    return n;
}

static void turn_count(struct rt *rt, unsigned n)
{
    const uint64_t cost = rt->w->sched.turn_ns + (uint64_t)n * rt->w->sched.call_ns;

    if (rt->w->now > rt->slept_from) {
        rt_count(&rt->c.n.sleep_ns, rt->w->now - rt->slept_from);
        rt_count(&rt->c.n.sleeps, 1);
    }
    rt_count(&rt->c.n.busy_ns, cost);
    rt_count(&rt->c.n.turns, 1);
    rt->free_at = rt->w->now + cost;
    rt->slept_from = rt->free_at;
}

unsigned sim_turn(struct rt *rt)
{
    struct sim *w = rt->w;
    const struct sim_context before = sim_context_enter(w, prog_of(rt), rt);
    unsigned n = 0;

    if (!rt->rest_due || has_work(rt) || rt_timers_next(rt) <= w->now || !sim_pollers_rest(rt)) {
        n = turn_run(rt);
        turn_count(rt, n);
        if (!rt->manual && !sim_pollers_settle(rt, has_work(rt)))
            spin_guard(rt, 0);
    }
    turn_plan(rt);
    sim_context_leave(w, &before);          /* rt may be gone: its program was to be killed */
    return n;
}

static void turn_due(struct sim *w, struct sim_event *ev)
{
    struct rt *rt = container_of(ev, struct rt, ev);

    if (!prog_of(rt)->frozen)               /* else it is planned anew when that is over */
        (void)sim_turn(rt);
}

/* As a part of a turn; in the program's context. */
static void call(struct rt *rt, void (*fn)(void *arg), void *arg)
{
    rt->c.now = rt->w->now;
    rt->in_turn = true;
    sim_pollers_wake(rt);
    fn(arg);
    queue_begin(rt);
    rt->in_turn = false;
    if (rt->pollers)
        rt->poll_at = rt->w->now;
    turn_plan(rt);
}

void sim_call(struct rt *rt, void (*fn)(void *arg), void *arg)
{
    struct sim *w = rt->w;
    struct sim_context before;

    assert(!w->turning);                    /* from outside only */
    before = sim_context_enter(w, prog_of(rt), rt);
    call(rt, fn, arg);
    sim_context_leave(w, &before);
}

void sim_on(struct rt *rt, void (*fn)(void *arg), void *arg)
{
    struct rt *from = rt->w->turning;

    assert(from && prog_of(from) == prog_of(rt));
    rt->w->turning = rt;
    if (rt->in_turn)                        /* this one, or one that is in the midst of calling us */
        fn(arg);
    else
        call(rt, fn, arg);
    rt->w->turning = from;
}

/* Before a wait of rt_turn(). Return: until when nothing but an event of the world's ends it. */
static uint64_t wait_until(struct rt *rt, uint64_t end)
{
    const struct sim_context before = sim_context_enter(rt->w, prog_of(rt), rt);
    uint64_t next;

    if (!sim_pollers_settle(rt, false) || (rt->rest_due && !sim_pollers_rest(rt)))
        spin_guard(rt, 0);
    sim_context_leave(rt->w, &before);
    next = rt_timers_next(rt) < rt->poll_at ? rt_timers_next(rt) : rt->poll_at;
    return next < end ? next : end;
}

int rt_turn(struct rt *rt, uint64_t wait_ns)
{
    struct sim *w = rt->w;
    const uint64_t end = wait_ns > UINT64_MAX - w->now ? UINT64_MAX : w->now + wait_ns;
    unsigned n;

    assert(!w->turning);                    /* a callback must not turn its own reactor */
    assert(sim_cur == prog_of(rt));
    rt->manual = true;
    w->last_manual = rt;
    sim_ev_del(w, &rt->ev);
    for (;;) {
        uint64_t next;

        n = sim_turn(rt);
        if (n || w->now >= end || rt->c.host->stop)
            return (int)n;
        if (has_work(rt))
            continue;
        next = wait_until(rt, end);
        do {
            if (w->heap_nr && w->heap[0]->at <= next)
                (void)sim_step(w);
            else if (next != UINT64_MAX)
                w->now = next > w->now ? next : w->now;
            else
                sim_fail(w, "a reactor waits without limit, and nothing will ever happen");
            /* Asleep it does not look at what others do. */
        } while (rt->resting && w->now < next && !has_work(rt) && !rt->c.host->stop);
    }
}

/* ---- hosts -------------------------------------------------------------------------------------------- */

static void rt_init(struct rt *rt, struct rt_host *h, unsigned index, const struct rt_conf *conf)
{
    rt->w = h->prog->machine->w;
    rt->c.host = h;
    rt->c.index = index;
    rt->c.core = conf->cores[index];
    rt->c.now = rt->w->now;
    rt->slept_from = rt->w->now;
    rt->ev.fn = turn_due;
    rt->poll_at = UINT64_MAX;
    rt_list_init(&rt->socks);
    rt_set_mode(rt, conf->mode, conf->poll_us);
}

int rt_host_new(struct rt_host **out, const struct rt_conf *conf)
{
    struct rt_host *h;

    assert(sim_cur);                        /* a program's own call */
    if (!conf->cores_nr || conf->cores_nr > RT_CORES_MAX)
        return -EINVAL;
    for (unsigned i = 0; i < conf->cores_nr; i++) {
        if (conf->cores[i] < -1 || conf->cores[i] >= (int)sim_cur->machine->cores) {
            rt_log(RT_ERR, "core %d is not there", conf->cores[i]);
            return -EINVAL;
        }
    }
    if (!(h = calloc(1, sizeof(*h) + conf->cores_nr * sizeof(struct rt))))
        return -ENOMEM;
    h->prog = sim_cur;
    h->count = conf->cores_nr;
    rt_list_init(&h->jobs);
    for (unsigned i = 0; i < h->count; i++)
        rt_init(&h->rts[i], h, i, conf);
    rt_list_push(&sim_cur->hosts, &h->link);
    *out = h;
    return 0;
}

void sim_host_start(struct rt_host *h)
{
    h->started = true;
    for (unsigned i = 0; i < h->count; i++)
        turn_plan(&h->rts[i]);
}

int rt_host_run(struct rt_host *h)
{
    struct sim *w = h->prog->machine->w;

    assert(!w->turning && w->entered == h->prog);   /* sim.h: a started program returns from main() instead */
    sim_host_start(h);
    while (!h->stop)
        if (!sim_step(w))
            sim_fail(w, "a host runs, and nothing will ever happen");
    h->started = false;
    return 0;
}

void rt_host_stop(struct rt_host *h)
{
    h->stop = true;
    sim_prog_stop_wanted(h->prog);
}

unsigned rt_host_count(const struct rt_host *h)
{
    return h->count;
}

struct rt *rt_host_at(struct rt_host *h, unsigned index)
{
    assert(index < h->count);
    return &h->rts[index];
}

void rt_set_mode(struct rt *rt, enum rt_mode mode, uint32_t poll_us)
{
    atomic_store_explicit(&rt->c.poll_us, poll_us, memory_order_relaxed);
    atomic_store_explicit(&rt->c.mode, mode, memory_order_relaxed);
}

/* ---- messages ----------------------------------------------------------------------------------------- */

void rt_post(struct rt *to, struct rt_msg *m)
{
    m->next = NULL;
    if (to->mail)
        to->mail_tail->next = m;
    else
        to->mail = m;
    to->mail_tail = m;
    rt_stirred(to);
}

/* ---- blocking work ------------------------------------------------------------------------------------ */

struct sim_job {                            /* the world's */
    struct rt_link link;                    /* on host->jobs */
    struct sim_event ev;
    struct rt_work *work;
    struct rt_host *host;
    bool ran;                               /* it is on its way back */
};

static void work_done(struct rt_msg *m)
{
    struct rt_work *w = container_of(m, struct rt_work, msg);

    w->done(w);
}

static void job_free(struct sim *w, struct sim_job *j)
{
    sim_ev_del(w, &j->ev);
    rt_list_del(&j->link);
    sim_release(j);
}

static uint64_t job_delay(struct sim *w)
{
    return w->sched.work_ns + sim_rng_below(&w->sched_rng, w->sched.work_jitter_ns + 1);
}

static void job_due(struct sim *w, struct sim_event *ev)
{
    struct sim_job *j = container_of(ev, struct sim_job, ev);
    struct sim_context before;

    if (j->host->prog->frozen)
        return;                             /* sim_host_thaw() finds it */
    if (j->ran) {
        struct rt_work *work = j->work;

        job_free(w, j);
        work->msg.fn = work_done;
        rt_post(work->rt, &work->msg);
        return;
    }
    j->ran = true;
    sim_ev_set(w, &j->ev, w->now + job_delay(w));
    before = sim_context_enter(w, j->host->prog, NULL);
    j->work->run(j->work);
    sim_context_leave(w, &before);
}

void rt_work(struct rt *rt, struct rt_work *work)
{
    struct sim_job *j = sim_zalloc(sizeof(*j));

    assert(rt_owned(rt));
    work->rt = rt;
    j->work = work;
    j->host = rt->c.host;
    j->ev.fn = job_due;
    rt_list_push(&j->host->jobs, &j->link);
    sim_ev_set(rt->w, &j->ev, rt->w->now + job_delay(rt->w));
}

void sim_host_thaw(struct rt_host *h)
{
    struct sim *w = h->prog->machine->w;

    rt_list_for(l, &h->jobs) {
        struct sim_job *j = rt_list_entry(l, struct sim_job, link);

        if (!j->ev.place)
            sim_ev_set(w, &j->ev, w->now + w->sched.wake_ns);
    }
    for (unsigned i = 0; i < h->count; i++)
        turn_plan(&h->rts[i]);
}

/* ---- signals ------------------------------------------------------------------------------------------ */

int rt_signals(struct rt *rt, const int *signals, void (*fn)(void *arg, int signo), void *arg)
{
    struct rt_host *h = rt->c.host;
    uint64_t mask = 0;

    assert(!h->signal_rt);                  /* once for a host */
    for (; *signals; signals++) {
        if (*signals < 1 || *signals > 63)
            return -EINVAL;
        mask |= 1ull << *signals;
    }
    h->signal_rt = rt;
    h->signal_fn = fn;
    h->signal_arg = arg;
    h->signals = mask;
    return 0;
}

void sim_signal(struct sim_prog *p, int signo)
{
    assert(signo > 0 && signo < 64);
    rt_list_for(l, &p->hosts) {
        struct rt_host *h = rt_list_entry(l, struct rt_host, link);

        if (h->signals >> signo & 1) {
            h->signals_due |= 1ull << signo;
            rt_stirred(h->signal_rt);
            return;
        }
    }
    sim_kill(p);
}

/* ---- the end ------------------------------------------------------------------------------------------ */

void sim_host_drop(struct rt_host *h)
{
    struct sim *w = h->prog->machine->w;
    struct rt_link *l;

    sim_host_ios_drop(h);
    while ((l = h->jobs.next) != &h->jobs)
        job_free(w, rt_list_entry(l, struct sim_job, link));
    for (unsigned i = 0; i < h->count; i++) {
        struct rt *rt = &h->rts[i];

        sim_ev_del(w, &rt->ev);
        sim_socks_drop(rt);
        sim_release(rt->shared);
        sim_release(rt->lent);
        if (w->last_manual == rt)
            w->last_manual = NULL;
    }
    rt_list_del(&h->link);
}

void rt_host_free(struct rt_host *h)
{
    struct rt_link *l;

    if (!h)
        return;
    assert(!h->started);
    /* As the helpers do: what was given to them is run, and nobody hears of it. */
    while ((l = rt_list_pop(&h->jobs))) {
        struct sim_job *j = rt_list_entry(l, struct sim_job, link);

        if (!j->ran)
            j->work->run(j->work);
        job_free(h->prog->machine->w, j);
    }
    for (unsigned i = 0; i < h->count; i++)
        sim_socks_zombies_free(&h->rts[i]);
    sim_host_drop(h);
    free(h);
}
