/*
 * stage.c - machines and programs for the fuzzers of sessions
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "target/sess.h"
#include "tests/fuzz/sim/ops.h"
#include "tests/fuzz/sim/stage.h"

#define STOP_NS (30 * RT_S)                 /* a target ends in two seconds, whatever its sessions do */

void stage_finding(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: not true: %s: ", file, line, cond);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    abort();
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    printf("%s\n", line);
}

struct sim *stage_new(uint64_t seed)
{
    struct sim *w = sim_new(seed);

    if (!seed) {
        struct sim_sched sched;
        struct sim_net net;

        sim_sched_get(w, &sched);
        sched.wake_jitter_ns = sched.late_mail_ppm = sched.hiccup_ppm = 0;
        sched.work_jitter_ns = 0;
        sim_sched_set(w, &sched);
        sim_net_get(w, &net);
        net.jitter_ns = net.split_ppm = net.pause_ppm = 0;
        sim_net_set(w, &net);
    }
    if (ops_trace())
        sim_log_to(w, print_line, NULL, RT_DEBUG);
    return w;
}

void stage_end(struct sim *w)
{
    if (ops_trace())
        printf("fingerprint %016llx\n", (unsigned long long)sim_fingerprint(w));
    sim_free(w);
}

struct sim_machine *stage_machine(struct sim *w, const char *name, unsigned cores, const char *addr)
{
    struct sim_machine *m = sim_machine_new(w, name, cores);

    sim_machine_addr(m, addr);
    return m;
}

/* ---- a reactor ------------------------------------------------------------------------------------------- */

static int host_make(struct rt_host **out, unsigned cores)
{
    static const int cpus[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const struct rt_conf conf = { .cores = cpus, .cores_nr = cores, .mode = RT_MODE_INTERRUPT };

    return rt_host_new(out, &conf);
}

static int prog_main(void *arg)
{
    struct stage_prog *p = arg;
    const int err = host_make(&p->host, 1);

    if (!err)
        p->rt = rt_host_at(p->host, 0);
    return err ? 1 : 0;
}

static void prog_stopped(void *arg)
{
    struct stage_prog *p = arg;

    rt_host_free(p->host);
}

void stage_start(struct sim_machine *m, struct stage_prog *p)
{
    static const struct sim_program program = { "peer", prog_main, prog_stopped };
    const int status = sim_start(m, &program, p, &p->prog);

    stage_check(!status, "a program of %s does not start", sim_machine_name(m));
}

/* ---- the target ------------------------------------------------------------------------------------------ */

static int tgt_main(void *arg)
{
    struct stage_tgt *t = arg;
    const struct tgt_conf conf = { .config_path = t->config, .state_dir = "/state" };

    if (rt_mkdirs("/state", 0700) || rt_mkdirs("/run", 0700) || host_make(&t->host, t->cores) ||
        tgt_new(&t->tgt, t->host, &conf))
        return 1;
    if (t->rpc && rpc_listen(&t->server, rt_host_at(t->host, 0), t->rpc, tgt_methods, tgt_methods_nr, t->tgt))
        return 1;
    return 0;
}

static void tgt_stopped(void *arg)
{
    struct stage_tgt *t = arg;

    tgt_free(t->tgt);
    rt_host_free(t->host);
    t->stopped = true;
}

void stage_tgt_start(struct sim_machine *m, struct stage_tgt *t)
{
    static const struct sim_program program = { "targetd", tgt_main, tgt_stopped };
    const int status = sim_start(m, &program, t, &t->prog);

    stage_check(!status, "the target does not start");
}

static void stop_over(void *arg)
{
    struct stage_tgt *t = arg;

    rpc_close(t->server);
    rt_host_stop(t->host);
}

static void stop_ask(void *arg)
{
    struct stage_tgt *t = arg;

    tgt_stop(t->tgt, stop_over, t);
}

static bool is_stopped(void *arg)
{
    return ((struct stage_tgt *)arg)->stopped;
}

void stage_tgt_stop(struct sim *w, struct stage_tgt *t)
{
    struct sim_prog_info info;

    sim_call(rt_host_at(t->host, 0), stop_ask, t);
    stage_check(sim_run_until(w, is_stopped, t, STOP_NS), "the target does not stop");
    sim_prog_info(t->prog, &info);
    stage_check(!info.leaked_blocks, "%llu bytes in %llu blocks", (unsigned long long)info.leaked_bytes,
                (unsigned long long)info.leaked_blocks);
}

unsigned stage_tgt_load(const struct stage_tgt *t)
{
    unsigned n = t->tgt->logins_nr;

    for (unsigned i = 0; i < t->tgt->cores_nr; i++)
        n += t->tgt->cores[i].sessions_nr;
    return n;
}
