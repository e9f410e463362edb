/*
 * prog.c - machines and the programs that run on them
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/sim_internal.h"

#define STREAM_PROGS 0x10000u               /* of the seed's streams: one for each run of a program */
#define STREAM_BOOTS 0x1000000000000u       /* far from those: one for each start of a machine */
#define MEM_TOTAL (64ull << 30)
#define PORT_FIRST 32768u

/* ---- machines ----------------------------------------------------------------------------------------- */

struct sim_machine *sim_machine_new(struct sim *w, const char *name, unsigned cores)
{
    struct sim_machine *m = sim_zalloc(sizeof(*m));

    m->w = w;
    m->index = w->machines_nr++;
    m->name = sim_copy_text(name);
    m->cores = cores;
    m->on = true;
    m->port_next = PORT_FIRST;
    m->disk = (struct sim_disk){
        .latency_ns = 20 * RT_US, .jitter_ns = 200 * RT_US, .sync_ns = 100 * RT_US, .sync_jitter_ns = 2 * RT_MS,
    };
    rt_list_init(&m->progs);
    rt_list_init(&m->listeners);
    rt_list_init(&m->parked);
    rt_list_init(&m->ios);
    sim_fs_init(m);
    rt_list_push(&w->machines, &m->link);
    return m;
}

void sim_machine_addr(struct sim_machine *m, const char *number)
{
    struct rt_addr a;

    if (rt_addr_parse(&a, number, 0))
        assert(!"not an address");
    m->addrs = sim_grow(m->addrs, (m->addrs_nr + 1) * sizeof(a));
    m->ways = sim_grow(m->ways, (m->addrs_nr + 1) * sizeof(*m->ways));
    m->ways[m->addrs_nr] = (struct sim_way){ 0 };
    m->addrs[m->addrs_nr++] = a;
}

const char *sim_machine_name(const struct sim_machine *m)
{
    return m->name;
}

bool sim_machine_is_on(const struct sim_machine *m)
{
    return m->on;
}

uint64_t sim_boot_stream(const struct sim_machine *m)
{
    return STREAM_BOOTS + ((uint64_t)m->index << 32) + m->boots;
}

void sim_machine_free(struct sim_machine *m)
{
    assert(rt_list_empty(&m->progs));
    sim_ios_free(m);
    sim_fs_free(m);
    sim_release(m->addrs);
    sim_release(m->ways);
    sim_release(m->fault_prefix);
    sim_release(m->name);
    sim_release(m);
}

uint64_t rt_mem_total(void)
{
    return MEM_TOTAL;
}

/* ---- programs ----------------------------------------------------------------------------------------- */

/* Takes a program off the world. Its memory stays for now. */
static void prog_end(struct sim_prog *p, enum sim_prog_state state)
{
    struct sim *w = p->machine->w;
    struct rt_link *l;

    assert(sim_cur != p || !w->turning);
    p->state = state;
    p->frozen = false;
    sim_ev_del(w, &p->exit_ev);
    while ((l = p->hosts.next) != &p->hosts)
        sim_host_drop(rt_list_entry(l, struct rt_host, link));
    sim_files_drop(p);
    rt_list_del(&p->link);
    if (w->entered == p)
        sim_leave(w);
}

static void prog_exit(struct sim_prog *p, int status)
{
    struct sim *w = p->machine->w;

    p->status = status;
    p->mem.leaked_blocks = p->mem.blocks;
    p->mem.leaked_bytes = p->mem.bytes;
    sim_debug(w, "%s: %s ended with status %d", p->machine->name, p->program->name, status);
    prog_end(p, SIM_EXITED);
    sim_mem_release(p);
}

static void exit_due(struct sim *w, struct sim_event *ev)
{
    struct sim_prog *p = container_of(ev, struct sim_prog, exit_ev);
    struct sim_context before;

    if (p->frozen) {
        p->exit_held = true;
        return;
    }
    rt_list_for(l, &p->hosts) {
        struct rt_host *h = rt_list_entry(l, struct rt_host, link);

        h->started = false;
        for (unsigned i = 0; i < h->count; i++)
            sim_ev_del(w, &h->rts[i].ev);
    }
    before = sim_context_enter(w, p, NULL);
    if (p->program->stopped)
        p->program->stopped(p->arg);
    sim_context_leave(w, &before);
    if (p->state == SIM_RUNNING)
        prog_exit(p, p->status);
}

void sim_prog_stop_wanted(struct sim_prog *p)
{
    struct sim *w = p->machine->w;

    if (p->program && w->entered != p && !p->exit_ev.place && !p->exit_held)
        sim_ev_set(w, &p->exit_ev, w->now + w->sched.wake_ns +
                                       sim_rng_below(&w->sched_rng, w->sched.wake_jitter_ns + 1ull));
}

static struct sim_prog *prog_new(struct sim_machine *m, const struct sim_program *program, void *arg)
{
    struct sim *w = m->w;
    struct sim_prog *p = sim_zalloc(sizeof(*p));

    p->machine = m;
    p->program = program;
    p->arg = arg;
    p->pid = ++w->pids;
    p->random = sim_rng(w->seed, STREAM_PROGS + (uint64_t)p->pid);
    p->exit_ev.fn = exit_due;
    rt_list_init(&p->hosts);
    rt_list_init(&p->files);
    rt_list_init(&p->shms);
    sim_mem_init(p);
    rt_list_push(&m->progs, &p->link);
    p->next = w->progs;
    w->progs = p;
    return p;
}

static void hosts_start(struct sim_prog *p)
{
    rt_list_for(l, &p->hosts) {
        struct rt_host *h = rt_list_entry(l, struct rt_host, link);

        sim_host_start(h);
        if (h->stop)
            sim_prog_stop_wanted(p);
    }
}

int sim_start(struct sim_machine *m, const struct sim_program *program, void *arg, struct sim_prog **out)
{
    struct sim *w = m->w;
    struct sim_prog *p;
    struct sim_context before;
    int status;

    assert(m->on);
    p = prog_new(m, program, arg);
    if (out)
        *out = p;
    sim_debug(w, "%s: %s starts as pid %d", m->name, program->name, p->pid);
    if (!program->main)
        return 0;
    before = sim_context_enter(w, p, NULL);
    status = program->main(arg);
    sim_context_leave(w, &before);
    p->status = status;
    if (p->state == SIM_RUNNING && status)
        prog_exit(p, status);
    else if (p->state == SIM_RUNNING)
        hosts_start(p);
    return status;
}

static void prog_kill(struct sim_prog *p)
{
    prog_end(p, SIM_KILLED);
    sim_mem_release(p);
}

void sim_kill(struct sim_prog *p)
{
    struct sim *w = p->machine->w;

    if (p->state != SIM_RUNNING)
        return;
    if (sim_cur == p && w->entered != p) {
        p->kill_wanted = true;              /* it stands on its own memory now */
        return;
    }
    assert(!w->turning || w->turning->c.host->prog != p);
    sim_fault_note(w, SIM_FAULT_KILL, p->machine, NULL);
    sim_debug(w, "%s: %s (pid %d) is killed", p->machine->name, p->program->name, p->pid);
    prog_kill(p);
}

void sim_freeze(struct sim_prog *p, bool on)
{
    struct sim *w = p->machine->w;

    if (p->state != SIM_RUNNING || p->frozen == on)
        return;
    assert(w->entered != p);                /* it turns its cores itself */
    if (on)
        sim_fault_note(w, SIM_FAULT_FREEZE, p->machine, NULL);
    p->frozen = on;
    sim_debug(w, "%s: %s (pid %d) %s", p->machine->name, p->program->name, p->pid, on ? "is frozen" : "goes on");
    if (on)
        return;
    if (p->exit_held)
        sim_ev_set(w, &p->exit_ev, w->now + w->sched.wake_ns);
    p->exit_held = false;
    rt_list_for(l, &p->hosts)
        sim_host_thaw(rt_list_entry(l, struct rt_host, link));
}

bool sim_frozen(const struct sim_prog *p)
{
    return p->frozen;
}

void sim_machine_off(struct sim_machine *m)
{
    struct sim *w = m->w;
    struct rt_link *l;

    if (!m->on)
        return;
    sim_fault_note(w, SIM_FAULT_POWER, m, NULL);
    m->on = false;
    sim_net_power_off(m);                   /* first: no end of a connection says a word */
    while ((l = m->progs.next) != &m->progs) {
        struct sim_prog *p = rt_list_entry(l, struct sim_prog, link);

        assert(sim_cur != p);               /* not from inside */
        prog_kill(p);
    }
    sim_disk_power_off(m);
}

void sim_machine_on(struct sim_machine *m)
{
    if (m->on)
        return;
    m->on = true;
    m->boots++;
    sim_debug(m->w, "%s: power is back", m->name);
    sim_net_healed(m->w);
}

bool sim_prog_runs(const struct sim_prog *p)
{
    return p->state == SIM_RUNNING;
}

void sim_prog_info(const struct sim_prog *p, struct sim_prog_info *out)
{
    *out = p->mem;
    out->name = p->program->name;
    out->machine = p->machine;
    out->state = p->state;
    out->status = p->status;
    out->pid = p->pid;
}

struct rt_host *sim_prog_host(const struct sim_prog *p)
{
    if (p->state != SIM_RUNNING || rt_list_empty(&p->hosts))
        return NULL;
    return rt_list_entry(p->hosts.prev, struct rt_host, link);
}

void sim_enter(struct sim_prog *p)
{
    struct sim *w = p->machine->w;

    assert(!w->turning && !sim_cur);
    assert(p->state == SIM_RUNNING);
    w->entered = p;
    sim_world = w;
    sim_cur = p;
}

void sim_leave(struct sim *w)
{
    assert(!w->turning);
    w->entered = NULL;
    w->last_manual = NULL;
    if (sim_world == w) {
        sim_world = NULL;
        sim_cur = NULL;
    }
}
