/*
 * path_rpc.c - the methods of paths: parameters in, answers out
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "manager/param.h"
#include "rpc/json.h"

/* Answers the call and returns NULL unless there is that disk, and it is up. */
static struct att *disk_take(struct mgr *m, struct rpc_call *call, const json_t *params)
{
    struct att *a = mgr_att_take(m, call, params, "disk");

    if (a && a->state != ATT_UP) {
        rpc_fail(call, RPC_FAILED, "%s is not up: 'corelane list' says what it waits for", a->spec.name);
        return NULL;
    }
    return a;
}

/* The same for one of its paths. */
static struct path *path_take(struct rpc_call *call, const struct att *a, const json_t *params)
{
    struct path *p = path_find(a, param_text(params, "path"));

    if (!p || p->ending) {
        rpc_fail(call, RPC_FAILED, "%s has no path '%.64s': 'corelane path list %s' shows those it has",
                 a->spec.name, param_text(params, "path"), a->spec.name);
        return NULL;
    }
    return p;
}

void mgr_rpc_path_list(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("disk"), { 0 } };
    struct att *a = NULL;

    if (!param_check(call, params, list))
        return;
    if (param_given(params, "disk") && !(a = mgr_att_take(user, call, params, "disk")))
        return;
    path_list(user, call, a);
}

/* ---- add, remove ----------------------------------------------------------------------------------------- */

static void added(struct path *p, int err, const char *why, void *user)
{
    struct rpc_call *call = user;

    if (!err) {
        rpc_reply(call, json_pack("{s:s, s:s, s:s}", "disk", p->att->spec.name, "name", p->name, "session",
                                  p->sess->name));
        return;
    }
    rpc_fail(call, RPC_FAILED, "LUN %u of %s at %s is not a path of %s: %s", p->spec.lun, p->spec.wish.iqn,
             p->portal, p->att->spec.name, why);
    if (!p->gone)
        path_end(p, NULL, NULL);
}

void mgr_rpc_path_add(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("disk", .needed = true),
        PARAM_TEXT("portal", .needed = true),
        PARAM_TEXT("iqn"),
        PARAM_INT("lun", 0, 16383),
        PARAM_TEXT("transport"),
        PARAM_TEXT("header_digest"),
        PARAM_TEXT("data_digest"),
        PARAMS_CRED,
        { 0 },
    };
    struct path_spec spec = { 0 };
    const struct path *first;
    unsigned nr = 0;
    struct path *p;
    struct att *a;

    if (!param_check(call, params, list) || mgr_refused_stopping(user, call) ||
        !(a = disk_take(user, call, params)) || !mgr_wish_take(call, params, &spec.wish))
        return;
    rt_list_for (l, &a->paths)
        nr++;
    first = att_path_first(a);
    if (nr >= MPIO_PATHS_MAX || !first) {
        rpc_fail(call, RPC_FAILED, "%s has %u paths, and no disk has more", a->spec.name, nr);
        return;
    }
    /* What is not said is as it is for the first path. */
    if (!*spec.wish.iqn)
        snprintf(spec.wish.iqn, sizeof(spec.wish.iqn), "%s", first->spec.wish.iqn);
    if (!*spec.wish.user.name && !strcmp(spec.wish.iqn, first->spec.wish.iqn)) {
        spec.wish.user = first->spec.wish.user;
        spec.wish.user_in = first->spec.wish.user_in;
    }
    spec.lun = (uint16_t)param_int(params, "lun", first->spec.lun);
    if (!(p = path_new(a, &spec, added, call)))
        rpc_fail(call, RPC_INTERNAL, "no memory for a path");
    else
        path_start(p, 0);
    explicit_bzero(&spec, sizeof(spec));
}

static void removed(void *user)
{
    rpc_reply(user, NULL);
}

void mgr_rpc_path_remove(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("disk", .needed = true),
                                         PARAM_TEXT("path", .needed = true),
                                         { 0 } };
    unsigned others = 0;
    struct path *p;
    struct att *a;

    if (!param_check(call, params, list) || !(a = disk_take(user, call, params)) ||
        !(p = path_take(call, a, params)))
        return;
    rt_list_for (l, &a->paths) {
        const struct path *q = rt_list_entry(l, struct path, link);

        others += q != p && q->state == PATH_IN && !q->ending;
    }
    if (p->state == PATH_IN && !others) {
        rpc_fail(call, RPC_FAILED,
                 "%s is the only path of %s that is in it: add another first, or detach the disk", p->name,
                 a->spec.name);
        return;
    }
    event_add(user, RT_INFO, a->spec.name, p->name, "taken away by command");
    path_end(p, removed, call);
}

/* ---- on the disk's core ---------------------------------------------------------------------------------- */

struct trip { /* one thing to do to a disk where it lives */
    struct hop hop;
    struct mgr *mgr;
    struct rpc_call *call; /* NULL: nobody waits */
    struct att *att;       /* held */
    struct path *path;     /* held; or NULL */
    void (*what)(struct trip *t);
    struct mpio_path *mp;
    bool failed, gone, needless; /* fail or reinstate; it was not there any more; there is nothing to do */
    struct mpio_conf conf;
    uint32_t prio, weight;
};

static void trip_run(struct hop *h)
{
    struct trip *t = container_of(h, struct trip, hop);

    if (t->att->disk)
        t->what(t);
    else
        t->gone = true;
    hop_back(h);
}

static void trip_back(struct hop *h)
{
    struct trip *t = container_of(h, struct trip, hop);

    if (t->call && t->gone)
        rpc_fail(t->call, RPC_FAILED, "%s changed meanwhile: try again", t->att->spec.name);
    else if (t->call && t->needless)
        rpc_fail(t->call, RPC_FAILED,
                 "requests of %s do not wait for a path, they go over one that it has: 'corelane path list %s' "
                 "shows "
                 "it, and 'corelane path fail' takes it out of use",
                 t->att->spec.name, t->att->spec.name);
    else if (t->call)
        rpc_reply(t->call, NULL);
    if (t->path)
        path_put(t->path);
    att_put(t->att);
    free(t);
}

static bool trip_go(struct mgr *m, struct rpc_call *call, struct att *a, struct path *p,
                    void (*what)(struct trip *t), bool failed)
{
    struct trip *t = calloc(1, sizeof(*t));

    if (!t) {
        if (call)
            rpc_fail(call, RPC_INTERNAL, "no memory");
        return false;
    }
    *t = (struct trip){ .mgr = m, .call = call, .att = a, .path = p, .what = what, .failed = failed };
    t->conf = a->set.conf;
    att_hold(a);
    if (p) {
        t->mp = p->mp;
        t->prio = p->spec.prio;
        t->weight = p->spec.weight;
        path_hold(p);
    }
    hop_go(&t->hop, m->rt, a->rt, trip_run, trip_back);
    return true;
}

static void core_admin(struct trip *t)
{
    for (unsigned i = 0; i < mpio_disk_paths_nr(t->att->disk); i++) {
        if (mpio_disk_path(t->att->disk, i) == t->mp) {
            mpio_disk_path_admin(t->att->disk, t->mp, t->failed);
            return;
        }
    }
    t->gone = true;
}

static void path_admin(struct mgr *m, struct rpc_call *call, json_t *params, bool failed)
{
    static const struct param list[] = { PARAM_TEXT("disk", .needed = true),
                                         PARAM_TEXT("path", .needed = true),
                                         { 0 } };
    struct path *p;
    struct att *a;

    if (!param_check(call, params, list) || !(a = disk_take(m, call, params)) ||
        !(p = path_take(call, a, params)))
        return;
    if (p->state == PATH_IN) {
        if (!failed) /* that it has failed, and by whom, is told by its state */
            event_add(m, RT_NOTICE, a->spec.name, p->name, "reinstated by command");
        trip_go(m, call, a, p, core_admin, failed);
    } else if (!failed && p->state == PATH_WAITING) {
        path_start(p, 0);
        rpc_reply(call, NULL);
    } else {
        rpc_fail(call, RPC_FAILED, "path %s of %s is not in the disk now%s%s", p->name, a->spec.name,
                 *p->why ? ": " : "", p->why);
    }
}

void mgr_rpc_path_fail(void *user, struct rpc_call *call, json_t *params)
{
    path_admin(user, call, params, true);
}

void mgr_rpc_path_reinstate(void *user, struct rpc_call *call, json_t *params)
{
    path_admin(user, call, params, false);
}

static void core_weight(struct trip *t)
{
    for (unsigned i = 0; i < mpio_disk_paths_nr(t->att->disk); i++)
        if (mpio_disk_path(t->att->disk, i) == t->mp)
            mpio_disk_path_weight(t->att->disk, t->mp, t->prio, t->weight);
}

void mgr_rpc_path_set(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("disk", .needed = true),
        PARAM_TEXT("path", .needed = true),
        PARAM_INT("prio", 0, PATH_WEIGHT_MAX),
        PARAM_INT("weight", 1, PATH_WEIGHT_MAX),
        { 0 },
    };
    struct path *p;
    struct att *a;

    if (!param_check(call, params, list) || !(a = disk_take(user, call, params)) ||
        !(p = path_take(call, a, params)))
        return;
    p->spec.prio = (uint32_t)param_int(params, "prio", p->spec.prio);
    p->spec.weight = (uint32_t)param_int(params, "weight", p->spec.weight);
    store_save(user, NULL);
    if (p->state == PATH_IN)
        trip_go(user, call, a, p, core_weight, false);
    else
        rpc_reply(call, NULL); /* it is told when it joins */
}

/* ---- policies -------------------------------------------------------------------------------------------- */

static void core_conf(struct trip *t)
{
    mpio_disk_conf_set(t->att->disk, &t->conf);
}

static void core_fail_queued(struct trip *t)
{
    t->needless = !mpio_disk_no_path_fail(t->att->disk);
}

/* What holds for it is worked out anew, and goes to its core. */
static void policy_renew(struct mgr *m, struct att *a)
{
    policy_for(m, &a->info, &a->over, &a->set);
    trip_go(m, NULL, a, NULL, core_conf, false);
}

static void setting_refuse(struct rpc_call *call, const char *key, const json_t *v, const char *wrong)
{
    char value[80] = "that";

    if (json_is_string(v))
        snprintf(value, sizeof(value), "'%.64s'", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(value, sizeof(value), "%lld", (long long)json_integer_value(v));
    if (wrong == POLICY_UNKNOWN)
        rpc_fail(call, RPC_INVALID_PARAMS, "setting '%.64s': %s", key, wrong);
    else
        rpc_fail(call, RPC_INVALID_PARAMS, "setting '%.64s' cannot be %s: it is %s", key, value, wrong);
}

void mgr_rpc_path_policy(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("disk", .needed = true), PARAM_OBJECT("set"), { 0 } };
    const uint64_t losses = rpc_json_losses();
    struct policy_over over;
    const char *key, *wrong;
    struct mgr *m = user;
    struct att *a;
    json_t *v;

    if (!param_check(call, params, list) || !(a = disk_take(m, call, params)))
        return;
    over = a->over;
    json_object_foreach(json_object_get(params, "set"), key, v)
    {
        if (!(wrong = policy_set(&over, key, v)))
            continue;
        setting_refuse(call, key, v, wrong);
        return;
    }
    if (json_object_size(json_object_get(params, "set"))) {
        a->over = over;
        policy_renew(m, a);
        store_save(m, NULL);
    }
    rpc_reply_whole(call,
                    json_pack("{s:s, s:o, s:o}", "disk", a->spec.name, "policy", policy_json(&a->set.conf),
                              "said", policy_over_json(&a->over)),
                    losses);
}

/* Paths that wait are tried at once, and requests wait again where they were to fail. */
void mgr_rpc_path_resume(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("disk", .needed = true), { 0 } };
    struct att *a;

    if (!param_check(call, params, list) || !(a = disk_take(user, call, params)))
        return;
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (p->state == PATH_WAITING)
            path_start(p, 0);
    }
    trip_go(user, call, a, NULL, core_conf, false);
}

void mgr_rpc_path_fail_queued(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("disk", .needed = true), { 0 } };
    struct att *a;

    if (!param_check(call, params, list) || !(a = disk_take(user, call, params)))
        return;
    trip_go(user, call, a, NULL, core_fail_queued, false);
}

/* ---- multipath.conf -------------------------------------------------------------------------------------- */

struct reread {
    struct rt_work work;
    struct mgr *mgr;
    struct rpc_call *call;
    struct mpio_mpconf *conf;
    unsigned remarks;
    int err;
};

static void reread_run(struct rt_work *w)
{
    struct reread *r = container_of(w, struct reread, work);

    r->err = mpconf_read(r->mgr, &r->conf, &r->remarks);
}

static void reread_done(struct rt_work *w)
{
    struct reread *r = container_of(w, struct reread, work);
    struct mgr *m = r->mgr;

    if (r->err) {
        rpc_fail(r->call, RPC_FAILED, "%s: %s: what held before holds on; the log has the lines",
                 m->multipath_conf,
                 r->err == -EINVAL ? "its sections do not nest, or it is no text" : strerror(-r->err));
        free(r);
        return;
    }
    mpio_mpconf_free(m->mpconf);
    m->mpconf = r->conf;
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (a->state == ATT_UP)
            policy_renew(m, a);
    }
    rpc_reply(r->call, json_pack("{s:s, s:b, s:i}", "file", m->multipath_conf ? m->multipath_conf : "", "there",
                                 m->mpconf != NULL, "remarks", (int)r->remarks));
    free(r);
}

void mgr_rpc_path_reconfigure(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { { 0 } };
    struct reread *r;

    if (!param_check(call, params, list))
        return;
    if (!(r = calloc(1, sizeof(*r)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    r->mgr = user;
    r->call = call;
    r->work.run = reread_run;
    r->work.done = reread_done;
    rt_work(r->mgr->rt, &r->work);
}

/* ---- events ---------------------------------------------------------------------------------------------- */

void mgr_rpc_path_events(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_INT("after", 0, INT64_MAX), { 0 } };
    const uint64_t losses = rpc_json_losses();
    const struct mgr *m = user;

    if (param_check(call, params, list))
        rpc_reply_whole(call, events_json(m->events, (uint64_t)param_int(params, "after", 0)), losses);
}
