/*
 * tgt.c - the target's life: cores, start, rounds over the cores, stop
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/json.h"
#include "target/sess.h"

#define STOP_ASK_NS RT_S                    /* for initiators to log out by themselves */
#define STOP_END_NS (800 * RT_MS)           /* for what is left to end */

/* ---- rounds ---------------------------------------------------------------------------------------------- */

static void round_step(struct rt_msg *m)
{
    struct tgt_round *r = container_of(m, struct tgt_round, msg);

    if (r->at == r->tgt->cores_nr) {
        r->over(r);
        return;
    }
    r->each(&r->tgt->cores[r->at++], r);
    rt_post(r->at == r->tgt->cores_nr ? r->home : r->tgt->cores[r->at].rt, &r->msg);
}

void tgt_round_start(struct tgt *t, struct tgt_round *r)
{
    r->tgt = t;
    r->at = 0;
    r->msg.fn = round_step;
    rt_post(t->cores[0].rt, &r->msg);
}

/* ---- start ----------------------------------------------------------------------------------------------- */

static int core_open(struct tgt *t, unsigned i)
{
    struct tgt_core *c = &t->cores[i];

    c->tgt = t;
    c->rt = rt_host_at(t->host, i);
    c->index = i;
    rt_list_init(&c->sessions);
    rt_list_init(&c->waiting);
    if (!(c->sink = rt_mem_alloc(BUF_LARGE_LEN)))
        return -ENOMEM;
    if (buf_pool_new(&c->bufs, t->limits.buffer_mem) ||
        rt_pool_new(&c->tasks, sizeof(struct sess_task), RT_CACHE_LINE, t->limits.tasks) ||
        rt_pool_new(&c->ctls, sizeof(struct sess_ctl), RT_CACHE_LINE, TGT_CTLS_PER_CORE))
        return -ENOMEM;
    return 0;
}

/* False when sessions were still there at the end: their memory is the process's last. */
static bool core_is_idle(const struct tgt_core *c)
{
    return buf_pool_idle(c->bufs) && rt_pool_left(c->tasks) == rt_pool_count(c->tasks) &&
           rt_pool_left(c->ctls) == rt_pool_count(c->ctls) && rt_list_empty(&c->sessions);
}

static void core_close(struct tgt_core *c)
{
    buf_pool_free(c->bufs);
    if (c->tasks)
        rt_pool_free(c->tasks);
    if (c->ctls)
        rt_pool_free(c->ctls);
    if (c->sink)
        rt_mem_free(c->sink, BUF_LARGE_LEN);
}

static int conf_read(struct tgt *t, const char *path)
{
    const uint64_t losses = rpc_json_losses();
    char why[CONF_WHY_MAX], *text = NULL;
    size_t len;
    int err;

    if (!path) {
        t->doc = conf_empty();
        return t->doc ? 0 : -ENOMEM;
    }
    err = rt_load(path, CONF_LEN_MAX, &text, &len);
    if (err == -ENOENT) {
        rt_log(RT_INFO, "%s is not there: starting without targets", path);
        t->doc = conf_empty();
        return t->doc ? 0 : -ENOMEM;
    }
    if (err) {
        rt_log(RT_ERR, "%s cannot be read: %s%s", path, strerror(-err),
               err == -EFBIG ? "; a configuration has at most 16 MiB" : "");
        return err;
    }
    t->doc = conf_parse(text, len, why);
    explicit_bzero(text, len);
    free(text);
    if (rpc_json_losses() != losses)
        return -ENOMEM;
    if (!t->doc) {
        rt_log(RT_ERR, "%s: %s. Nothing was started; mend the file, or move it away to begin without targets",
               path, why);
        return -EINVAL;
    }
    return 0;
}

static int portals_open(struct tgt *t, const struct tgt_conf *conf)
{
    static const char *const any[] = { "0.0.0.0", "[::]" };
    json_t *list = json_object_get(t->doc, "portals"), *v;
    struct tgt_portal *p;
    struct rt_addr addr;
    uint16_t group;
    size_t k;
    int err = 0;

    for (unsigned i = 0; i < conf->portals_nr; i++) {
        group = conf->groups ? conf->groups[i] : TGT_GROUP_DEFAULT;
        if ((err = portal_listen(t, &conf->portals[i], group, false, &p)))
            return err;
        p->given = true;
    }
    json_array_foreach(list, k, v) {
        if ((err = tgt_portal_parse(json_string_value(v), &addr, &group)))
            return err;
        if (!portal_find(t, &addr) && (err = portal_listen(t, &addr, group, false, &p)))
            return err;
    }
    if (conf->portals_nr || json_array_size(list))
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(any); i++) {
        if (!rt_addr_parse(&addr, any[i], ISCSI_PORT))
            err = portal_listen(t, &addr, TGT_GROUP_DEFAULT, i > 0, &p);   /* a host may have no IPv6 */
        if (err && !i)
            return err;
    }
    return 0;
}

/* The first thing that runs. */
static void on_start(struct rt_msg *m)
{
    struct tgt *t = container_of(m, struct tgt, start_msg);

    if (t->stopping)                        /* before it began: its portals are closed */
        return;
    t->started_s = rt_wall_s(t->rt);
    portal_start(t);
}

/* What a target that was killed had half written. */
static void leftovers_remove(const struct tgt *t)
{
    const char *slash = t->config_path ? strrchr(t->config_path, '/') : NULL;
    char dir[PATH_MAX];

    if (t->state_dir)
        rt_save_sweep(t->state_dir, NULL);
    if (slash && slash - t->config_path < (ptrdiff_t)sizeof(dir)) {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - t->config_path), t->config_path);
        rt_save_sweep(*dir ? dir : "/", slash + 1);
    }
}

static int tgt_open(struct tgt *t, const struct tgt_conf *conf)
{
    char *text;
    int err;

    if ((conf->config_path && !(t->config_path = strdup(conf->config_path))) ||
        (conf->state_dir && !(t->state_dir = strdup(conf->state_dir))))
        return -ENOMEM;
    leftovers_remove(t);
    t->cores_nr = rt_host_count(t->host);
    if (!(t->cores = calloc(t->cores_nr, sizeof(*t->cores))) ||
        !(t->peers = calloc(TGT_PEERS_MAX, tgt_peer_size)))
        return -ENOMEM;
    if ((err = bal_load_new(&t->load, t->host)))
        return err;
    if (t->topo && (err = bal_load_kernel(t->load)))
        rt_log(RT_WARN, "what others use of the cores is not known: %s", strerror(-err));
    if ((err = conf_read(t, t->config_path)) || (err = model_open(t)))
        return err;
    conf_limits(t->doc, &t->limits);
    if (conf->buffer_mem)
        t->limits.buffer_mem = conf->buffer_mem < BUF_MEM_MIN ? BUF_MEM_MIN : conf->buffer_mem;
    for (unsigned i = 0; i < t->cores_nr; i++) {
        if ((err = core_open(t, i)))
            return err;
    }
    /* Identities made for LUNs that had none must outlast this run. */
    if (t->unsaved && t->config_path) {
        if (!(text = conf_text(t->doc)))
            return -ENOMEM;
        err = rt_save(t->config_path, text, strlen(text), 0600);
        explicit_bzero(text, strlen(text));
        free(text);
        if (err) {
            rt_log(RT_ERR, "%s cannot be written: %s; it must be, as LUNs got identities that have to be kept",
                   t->config_path, strerror(-err));
            return err;
        }
    }
    if ((err = portals_open(t, conf)) || (err = model_start(t)))
        return err;
    door_open(t, conf->loop_path);
    return 0;
}

int tgt_new(struct tgt **out, struct rt_host *host, const struct tgt_conf *conf)
{
    struct tgt *t = calloc(1, sizeof(*t));
    int err;

    if (!t)
        return -ENOMEM;
    t->host = host;
    t->topo = conf->topo;
    t->rt = rt_host_at(host, 0);
    rt_list_init(&t->units);
    rt_list_init(&t->changes);
    rt_list_init(&t->entries);
    err = tgt_open(t, conf);
    if (err) {
        if (err == -ENOMEM)
            rt_log(RT_ERR, "not enough memory to start the target");
        portal_stop(t);
        tgt_free(t);
        return err;
    }
    t->start_msg.fn = on_start;
    rt_post(t->rt, &t->start_msg);
    *out = t;
    return 0;
}

/* ---- stop ------------------------------------------------------------------------------------------------ */

enum { STOP_ASKED = 1, STOP_ENDED, STOP_QUIESCED };

static void stop_over(struct tgt *t)
{
    if (!t->stop_done)
        return;
    rt_timer_disarm(t->rt, &t->stop_timer);
    bal_load_free(t->load);
    t->load = NULL;
    rt_log(RT_INFO, "the target has stopped");
    t->stop_done(t->stop_arg);
    t->stop_done = NULL;
}

static void stop_quiet(struct lun_request *req, int err)
{
    struct tgt *t = container_of(req, struct unit, req)->tgt;

    if (!--t->stop_left)
        stop_over(t);
}

/* Nobody is logged in: see the units idle, so that they can be closed. */
static void stop_units(struct tgt *t)
{
    t->stop_step = STOP_QUIESCED;
    t->stop_left = 1;
    rt_list_for(l, &t->units) {
        struct unit *u = rt_list_entry(l, struct unit, link);

        if (!u->lun)
            continue;
        u->req = (struct lun_request){ .fn = stop_quiet };
        t->stop_left++;
        lun_quiesce(u->lun, &u->req);
    }
    if (!--t->stop_left)
        stop_over(t);
}

static unsigned sessions_left(const struct tgt *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->cores_nr; i++)
        n += t->cores[i].sessions_nr;
    return n + t->arrivals_nr;
}

void tgt_session_gone(struct tgt *t)
{
    if (t->stopping && t->stop_step && t->stop_step < STOP_QUIESCED && !sessions_left(t))
        stop_units(t);
}

static void on_stop_timer(struct rt_timer *timer)
{
    struct tgt *t = container_of(timer, struct tgt, stop_timer);

    if (t->stop_step == STOP_ASKED) {
        t->stop_step = STOP_ENDED;
        reg_end(t, NULL, "the target is stopping");
        rt_timer_arm(t->rt, timer, STOP_END_NS);
        return;
    }
    rt_log(RT_WARN, "%u sessions did not end in time; stopping without them", sessions_left(t));
    stop_over(t);
}

/* On each core: who is not logged in yet will not be. */
static void stop_each(struct tgt_core *core, struct tgt_round *r)
{
    core->stopping = true;
    rt_list_for_safe(l, &core->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->state != SESS_FULL)
            sess_close(s, false, NULL);
    }
}

static void stop_asked(struct tgt_round *r)
{
    struct tgt *t = container_of(r, struct tgt, stop_round);

    t->stop_step = STOP_ASKED;
    (void)reg_ask_logout(t, 0);
    rt_timer_arm(t->rt, &t->stop_timer, STOP_ASK_NS);
    tgt_session_gone(t);                    /* there may be none */
}

void tgt_stop(struct tgt *t, void (*done)(void *arg), void *arg)
{
    rt_assert_here(t->rt);
    assert(!t->stopping);
    t->stopping = true;
    t->stop_done = done;
    t->stop_arg = arg;
    t->stop_timer.fn = on_stop_timer;
    portal_stop(t);
    door_close(t);
    change_hurry(t);
    t->stop_round = (struct tgt_round){ .each = stop_each, .over = stop_asked, .home = t->rt };
    tgt_round_start(t, &t->stop_round);
}

void tgt_free(struct tgt *t)
{
    bool idle = true;

    if (!t)
        return;
    bal_load_free(t->load);
    for (unsigned i = 0; t->cores && i < t->cores_nr; i++)
        idle &= !t->cores[i].ctls || core_is_idle(&t->cores[i]);
    idle &= model_is_idle(t);
    /* Sessions that did not end still point into all of this, and the logical units at them; and a change that is being
     * made, as when a stop was cut short, at its unit. */
    if (!idle)
        return;
    model_close(t);
    for (unsigned i = 0; t->cores && i < t->cores_nr; i++)
        core_close(&t->cores[i]);
    reg_free(t);
    json_decref(t->doc);
    free(t->cores);
    free(t->peers);
    free(t->config_path);
    free(t->state_dir);
    free(t);
}
