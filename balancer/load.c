/*
 * load.c - samples the reactors' counters once a second
 *
 * A reactor counts a stretch of sleep or polling when it ends: one that slept through the whole second has
 * counted nothing. So shares are of the wall time between samples, what is missing is what the reactor was
 * last seen doing, and that is sleep unless it polls. What others have of a CPU is what the kernel says that it was busy,
 * less our own share; the two are measured over seconds that begin at different times, so it wavers with a changing load.
 */
#include <errno.h>
#include <stdlib.h>

#include "balancer/kstat.h"
#include "balancer/load.h"

#define SAMPLE_NS RT_S

struct bal_load {
    struct rt_host *host;
    struct rt *rt;
    struct rt_timer timer;
    struct bal_kstat *kernel; /* NULL: not asked */
    uint64_t at;
    unsigned nr;
    struct sample {
        struct rt_stats last;
        struct bal_share share;
    } core[];
};

static double part(uint64_t now, uint64_t before, uint64_t span)
{
    const double p = span ? (double)(now - before) / (double)span : 0;

    return p > 1 ? 1 : p;
}

static void host_share(struct bal_share *s, unsigned cpu_pct)
{
    const double others = (double)cpu_pct / 100 - s->busy - s->poll;

    s->host = others > 0 ? others : 0;
}

static void sample(struct bal_load *l)
{
    const uint64_t now = rt_clock(l->rt), span = now - l->at;

    for (unsigned i = 0; i < l->nr; i++) {
        struct sample *s = &l->core[i];
        struct rt_stats st;
        double rest;

        rt_stats(rt_host_at(l->host, i), &st);
        s->share.busy = part(st.busy_ns, s->last.busy_ns, span);
        s->share.poll = part(st.poll_ns, s->last.poll_ns, span);
        rest = 1 - s->share.busy - s->share.poll;
        if (rest < 0) { /* a longer stretch that ended in this second */
            s->share.poll = 1 - s->share.busy;
            rest = 0;
        }
        s->share.sleep = rest;
        if (l->kernel)
            host_share(&s->share, bal_kstat_busy_pct(l->kernel, i));
        s->last = st;
    }
    l->at = now;
}

static void sample_fired(struct rt_timer *t)
{
    struct bal_load *l = container_of(t, struct bal_load, timer);

    sample(l);
    rt_timer_arm(l->rt, &l->timer, SAMPLE_NS);
}

int bal_load_new(struct bal_load **out, struct rt_host *host)
{
    const unsigned nr = rt_host_count(host);
    struct bal_load *l = calloc(1, sizeof(*l) + nr * sizeof(l->core[0]));

    if (!l)
        return -ENOMEM;
    l->host = host;
    l->rt = rt_host_at(host, 0);
    l->nr = nr;
    l->at = rt_clock(l->rt);
    for (unsigned i = 0; i < nr; i++) {
        rt_stats(rt_host_at(host, i), &l->core[i].last);
        l->core[i].share.sleep = 1;
    }
    l->timer.fn = sample_fired;
    rt_timer_arm(l->rt, &l->timer, SAMPLE_NS);
    *out = l;
    return 0;
}

int bal_load_kernel(struct bal_load *l)
{
    int *cpus = calloc(l->nr, sizeof(*cpus)), err;

    if (!cpus)
        return -ENOMEM;
    assert(!l->kernel);
    for (unsigned i = 0; i < l->nr; i++)
        cpus[i] = rt_core(rt_host_at(l->host, i));
    err = bal_kstat_new(&l->kernel, cpus, l->nr);
    free(cpus);
    return err;
}

void bal_load_share(const struct bal_load *l, unsigned index, struct bal_share *out)
{
    assert(index < l->nr);
    *out = l->core[index].share;
}

struct bal_core bal_load_core(const struct bal_load *l, unsigned index)
{
    const struct bal_share *s = &l->core[index].share;

    assert(index < l->nr);
    return (struct bal_core){
        .cpu = rt_core(rt_host_at(l->host, index)),
        .busy_pct = (unsigned)(s->busy * 100 + 0.5),
        .host_pct = (unsigned)(s->host * 100 + 0.5),
    };
}

void bal_load_free(struct bal_load *l)
{
    if (!l)
        return;
    rt_timer_disarm(l->rt, &l->timer);
    bal_kstat_free(l->kernel);
    free(l);
}
