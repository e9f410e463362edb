/*
 * tgtd.c - the target's program: reactors, target and control socket, as corelane-targetd composes them
 *
 * And a program that asks its control socket one thing and ends, as the corelane command does.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loopback/dm_shm.h"
#include "target/sess.h"
#include "tests/sim/scene.h"

#define SOCKET        "/run/targetd.sock"
#define DOOR          "/run/loop.sock"
#define STATE         "/etc/corelane/state"
#define CONFIG        "/etc/corelane/target.json"
#define STOP_LIMIT_NS (2 * RT_S)
#define LAST_TURNS_NS (20 * RT_MS)
#define WATCH_NS      (2 * RT_S)

/* ---- the program ----------------------------------------------------------------------------------------- */

static void limit_over(struct rt_timer *t)
{
    rt_host_stop(container_of(t, struct tgtd, limit)->host);
}

static void tgt_stopped(void *arg)
{
    struct tgtd *d = arg;

    d->clean = true;
    rpc_close(d->rpc);
    d->rpc = NULL;
    rt_timer_arm(rt_host_at(d->host, 0), &d->limit, LAST_TURNS_NS);
}

static void signalled(void *arg, int signo)
{
    struct tgtd *d = arg;

    if (d->stopping) {
        rt_host_stop(d->host);
        return;
    }
    d->stopping = true;
    rt_timer_arm(rt_host_at(d->host, 0), &d->limit, STOP_LIMIT_NS);
    tgt_stop(d->tgt, tgt_stopped, d);
}

static int serve(struct tgtd *d)
{
    static const int signals[] = { SIGTERM, 0 };
    const int cores[] = { 0, 1, 2, 3 };
    const struct plan *p = &d->scene->plan;
    const struct rt_conf conf = { .cores = cores, .cores_nr = p->tgt_cores, .mode = p->tgt_mode };
    const struct tgt_conf tconf = { .config_path = CONFIG,
                                    .state_dir = STATE,
                                    .loop_path = d->loop ? DOOR : NULL };
    int err;

    if ((err = rt_host_new(&d->host, &conf)) || (err = rt_mkdirs(STATE, 0700)) ||
        (err = rt_mkdirs("/run", 0700)) || (err = tgt_new(&d->tgt, d->host, &tconf)) ||
        (err = rpc_listen(&d->rpc, rt_host_at(d->host, 0), SOCKET, tgt_methods, tgt_methods_nr, d->tgt)) ||
        (err = rt_signals(rt_host_at(d->host, 0), signals, signalled, d)))
        return err;
    d->limit.fn = limit_over;
    return 0; /* the world turns the reactors */
}

static void close_all(struct tgtd *d)
{
    rpc_close(d->rpc);
    tgt_free(d->tgt);
    rt_host_free(d->host);
    d->rpc = NULL;
    d->tgt = NULL;
    d->host = NULL;
}

static int tgtd_main(void *arg)
{
    struct tgtd *d = arg;
    const int err = serve(d);

    if (err)
        close_all(d);
    return err ? 1 : 0;
}

static void down(struct tgtd *d, bool power)
{
    struct scene *sc = d->scene;

    d->serves = false;
    d->upsets++;
    for (unsigned i = 0; i < sc->plan.units; i++) {
        hist_target_down(sc->unit[i].hist);
        prh_target_down(&sc->unit[i].prh);
        if (power)
            hist_lost(sc->unit[i].hist);
    }
}

static void tgtd_stopped(void *arg)
{
    struct tgtd *d = arg;

    close_all(d);
    down(d, false);
}

static const struct sim_program tgtd = { .name = "targetd", .main = tgtd_main, .stopped = tgtd_stopped };

/* ---- its life -------------------------------------------------------------------------------------------- */

static void boot_timer(struct sim_timer *t)
{
    struct tgtd *d = container_of(t, struct tgtd, boot);

    d->boot_set = false;
    tgtd_boot(d->scene);
}

void tgtd_boot_later(struct scene *sc, uint64_t ns)
{
    sc->tgtd.boot.fn = boot_timer;
    sc->tgtd.boot_set = true;
    sim_at(sc->w, &sc->tgtd.boot, ns);
}

/* What a service manager does: one that ended is started again; and what its operator does: one that lost a unit, as
 * its file could not be opened, or whose unit takes no more writes, is restarted. */
static void watch(struct sim_timer *t)
{
    struct tgtd *d = container_of(t, struct tgtd, watch);
    struct scene *sc = d->scene;

    if (sc->act != ACT_END && !sim_prog_runs(d->prog) && !d->boot_set)
        tgtd_boot(sc);
    else if (sc->act != ACT_END && d->serves &&
             (!tgtd_whole(sc) || (d->sync_failed_ns && sim_now(sc->w) > d->sync_failed_ns + 3 * RT_S)))
        tgtd_stop(sc);
    sim_at(sc->w, &d->watch, WATCH_NS);
}

void tgtd_boot(struct scene *sc)
{
    struct tgtd *d = &sc->tgtd;

    d->watch.fn = watch;
    sim_at(sc->w, &d->watch, WATCH_NS);
    if (!sim_machine_is_on(d->machine))
        sim_machine_on(d->machine);
    if (d->prog && sim_prog_runs(d->prog))
        return;
    d->rpc = NULL;
    d->tgt = NULL;
    d->host = NULL;
    d->stopping = d->clean = false;
    memset(&d->limit, 0, sizeof(d->limit));
    d->loop = sc->act != ACT_STORM || !sim_rng_chance(&sc->near_rng, sc->plan.loop_off_ppm);
    if (d->swap != d->swapped) {
        d->swapped = d->swap;
        scene_config(sc);
        swarm_note(sc, SCENE_FAULT_SWAP, NULL);
    }
    if (sim_start(d->machine, &tgtd, d, &d->prog))
        return; /* the watch tries again */
    if (!d->loop)
        swarm_note(sc, SCENE_FAULT_LOOP_OFF, NULL);
    d->serves = true;
    d->sync_failed_ns = 0;
    d->starts++;
    for (unsigned i = 0; i < sc->plan.units; i++) {
        hist_target_up(sc->unit[i].hist);
        prh_target_up(&sc->unit[i].prh);
    }
}

void tgtd_gone(struct scene *sc, bool power)
{
    struct tgtd *d = &sc->tgtd;

    d->rpc = NULL;
    d->tgt = NULL;
    d->host = NULL;
    down(d, power);
}

void tgtd_stop(struct scene *sc)
{
    if (!sc->tgtd.serves)
        return;
    swarm_note(sc, SCENE_FAULT_TGT_STOP, NULL);
    sim_signal(sc->tgtd.prog, SIGTERM);
}

bool tgtd_whole(const struct scene *sc)
{
    if (!sc->tgtd.serves || sc->tgtd.stopping)
        return false;
    rt_list_for (l, &sc->tgtd.tgt->units)
        if (!rt_list_entry(l, struct unit, link)->lun)
            return false;
    return true;
}

static bool in_shm(const struct sess *s)
{
    return s->dm && !strcmp(s->dm->ops->transport, "shm");
}

unsigned tgtd_sees(const struct nexus_end *n)
{
    const struct tgtd *d = &n->scene->tgtd;
    const struct sess *last = NULL;
    unsigned ghost = 0;

    if (!d->tgt || !sim_prog_runs(d->prog))
        return 0;
    for (unsigned i = 0; i < d->tgt->cores_nr; i++) {
        rt_list_for (l, &d->tgt->cores[i].sessions) {
            const struct sess *s = rt_list_entry(l, struct sess, link);

            if (memcmp(s->isid, n->conf.isid, sizeof(s->isid)) || strcmp(s->initiator, n->conf.initiator))
                continue;
            if (s->loop.guest && s->tasks_nr && (!s->dm || (in_shm(s) && dm_shm_of(s->dm)->state != SHM_OPEN)))
                ghost = TGT_GHOST;
            if (!last || s->id > last->id)
                last = s;
        }
    }
    if (!last || !last->loop.guest)
        return ghost;
    return ghost | TGT_GUEST | (last->loop.admitted ? TGT_ADMITTED : 0) | (in_shm(last) ? TGT_SHM : 0);
}

static void ask_logout(void *arg)
{
    struct tgtd *d = arg;

    (void)reg_ask_logout(d->tgt, 0);
}

void tgtd_ask_logout(struct scene *sc)
{
    if (!sc->tgtd.serves || sc->tgtd.stopping || sim_frozen(sc->tgtd.prog))
        return;
    swarm_note(sc, SCENE_FAULT_ASKED, NULL);
    sim_call(rt_host_at(sc->tgtd.host, 0), ask_logout, &sc->tgtd);
}

/* ---- asking it ------------------------------------------------------------------------------------------- */

static void ctl_end(struct ctl *c)
{
    rt_sock_close(c->sock);
    c->sock = NULL;
    rt_host_stop(c->host);
}

static void ctl_received(struct rt_op *op, int res)
{
    struct ctl *c = container_of(op, struct ctl, op);

    if (res > 0 && (c->len += (size_t)res) < sizeof(c->answer) - 1 && !memchr(c->answer, '\n', c->len)) {
        c->iov = (struct iovec){ c->answer + c->len, sizeof(c->answer) - 1 - c->len };
        rt_recv(c->sock, &c->op, &c->iov, 1, 0);
        return;
    }
    c->answer[c->len] = '\0';
    scene_log(c->scene, "    control: %s", c->answer);
    ctl_end(c);
}

static void ctl_sent(struct rt_op *op, int res)
{
    struct ctl *c = container_of(op, struct ctl, op);

    if (res < 0) {
        ctl_end(c);
        return;
    }
    c->op.done = ctl_received;
    c->iov = (struct iovec){ c->answer, sizeof(c->answer) - 1 };
    rt_recv(c->sock, &c->op, &c->iov, 1, 0);
}

static void ctl_connected(struct rt_op *op, int res)
{
    struct ctl *c = container_of(op, struct ctl, op);

    if (res < 0) {
        rt_host_stop(c->host);
        return;
    }
    c->op = (struct rt_op){ .done = ctl_sent };
    c->iov = (struct iovec){ c->text, strlen(c->text) };
    rt_send(c->sock, &c->op, &c->iov, 1);
}

static void ctl_started(struct rt_op *op, int res)
{
    struct ctl *c = container_of(op, struct ctl, op);

    c->op = (struct rt_op){ .done = ctl_connected };
    rt_connect(rt_self(), &c->op, &c->addr, &c->sock);
}

static int ctl_main(void *arg)
{
    struct ctl *c = arg;
    const int core = 0;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1 };
    int err;

    if ((err = rt_host_new(&c->host, &conf)) || (err = rt_addr_parse(&c->addr, SOCKET, 0)))
        return 1;
    c->op = (struct rt_op){ .done = ctl_started };
    rt_defer(rt_host_at(c->host, 0), &c->op);
    return 0; /* the world turns the reactors */
}

static void ctl_stopped(void *arg)
{
    struct ctl *c = arg;

    rt_host_free(c->host);
}

static const struct sim_program corelane = { .name = "corelane", .main = ctl_main, .stopped = ctl_stopped };

void tgtd_ask(struct scene *sc, const char *method, const char *params)
{
    struct ctl *c = &sc->ctl;

    if (!sc->tgtd.serves || (c->prog && sim_prog_runs(c->prog)))
        return;
    *c = (struct ctl){ .scene = sc };
    snprintf(c->text, sizeof(c->text), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":{%s}}\n",
             method, params);
    scene_log(sc, "    control: %s", c->text);
    sim_start(sc->tgtd.machine, &corelane, c, &c->prog);
}
