/*
 * path_list.c - disks with all there is to say of their paths, as JSON
 *
 * What a path has done is known on the disk's core, what its session is on the session's. A listing sends somebody
 * to each; when the last is back the answer is put together at home.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "rpc/json.h"

struct path_visit {
    struct hop hop;
    struct path_gather *gather;
    struct path *path;    /* held */
    struct sess *sess;    /* held; NULL: it has none */
    struct mpio_path *mp; /* in the disk when it was asked; NULL: not */
    bool known, listed;   /* sess_info, info were filled */
    struct ini_sess_info sess_info;
    struct mpio_path_info info;
};

struct disk_visit {
    struct hop hop;
    struct path_gather *gather;
    struct att *att;    /* held */
    unsigned first, nr; /* its path visits */
    struct mpio_stats stats;
    struct mpio_conf conf;
    uint64_t size;
    bool known;
};

struct path_gather {
    struct mgr *mgr;
    struct rpc_call *call;
    unsigned left, disks_nr, paths_nr;
    struct disk_visit *disks;
    struct path_visit *paths;
};

/* ---- as JSON --------------------------------------------------------------------------------------------- */

static const char *state_word(const struct path_visit *v)
{
    static const char *const words[] = {
        [PATH_LOGIN] = "connecting", [PATH_OPENING] = "opening", [PATH_OPEN] = "opening",
        [PATH_JOINING] = "joining",  [PATH_IN] = "active",       [PATH_LEAVING] = "leaving",
        [PATH_WAITING] = "waiting",
    };

    if (v->listed)
        return mpio_path_state_names[v->info.state];
    if (v->path->err == -EXDEV && v->path->state == PATH_WAITING)
        return "quarantine";
    return words[v->path->state];
}

static void counters_set(json_t *o, const struct mpio_path_info *i)
{
    const struct {
        const char *key;
        uint64_t v;
    } rows[] = {
        { "requests", i->requests },
        { "read_bytes", i->read_bytes },
        { "write_bytes", i->write_bytes },
        { "errors", i->errors },
        { "failovers", i->failovers },
        { "downs", i->downs },
        { "in_flight", i->in_flight },
        { "in_flight_bytes", i->in_flight_bytes },
        { "session_in_flight", i->nexus_in_flight },
        { "session_in_flight_bytes", i->nexus_in_flight_bytes },
        { "latency_us", i->latency_ns / 1000 },
    };

    for (size_t n = 0; n < ARRAY_SIZE(rows); n++)
        rpc_json_set_int(o, rows[n].key, rows[n].v);
}

static json_t *path_json(const struct path_visit *v)
{
    const struct path *p = v->path;
    const struct ini_alua *al = &v->info.alua;
    char isid[ISID_STR_MAX];
    json_t *o = json_object();

    isid_format(v->sess ? v->sess->conf.isid : p->spec.isid, isid);
    rpc_json_set_text(o, "name", p->name);
    rpc_json_set_text(o, "state", state_word(v));
    rpc_json_set_text(o, "why", v->listed ? v->info.why : p->state == PATH_WAITING ? p->why : "");
    rpc_json_set_text(o, "session", v->sess ? v->sess->name : "");
    rpc_json_set_text(o, "session_state", v->known ? ini_state_name(v->sess_info.state) : "");
    rpc_json_set_text(o, "target", p->spec.wish.iqn);
    rpc_json_set_text(o, "portal", p->portal);
    rpc_json_set_int(o, "lun", p->spec.lun);
    rpc_json_set_text(o, "isid", isid);
    rpc_json_set_text(o, "transport", v->known && v->sess_info.transport ? v->sess_info.transport : "");
    json_object_set_new(o, "core", v->sess ? json_integer(v->sess->core) : json_null());
    if (v->listed) {
        rpc_json_set_int(o, "group", v->info.group);
        rpc_json_set_int(o, "prio", v->info.prio);
        rpc_json_set_int(o, "weight", v->info.weight);
        json_object_set_new(o, "in_use", json_boolean(v->info.in_use));
        json_object_set_new(o, "alua",
                            json_pack("{s:s, s:i, s:i, s:b, s:b, s:b}", "state", mpio_alua_name(al->state),
                                      "group", (int)al->group, "port", (int)al->port, "preferred",
                                      (int)al->preferred, "implicit", (int)al->is_implicit, "explicit",
                                      (int)al->is_explicit));
        counters_set(o, &v->info);
    }
    return o;
}

static const char *disk_state(const struct path_gather *g, const struct disk_visit *d)
{
    if (d->att->state == ATT_WAITING)
        return "waiting";
    if (d->att->state == ATT_CLOSING)
        return "detaching";
    if (d->att->state != ATT_UP)
        return "attaching";
    for (unsigned i = d->first; i < d->first + d->nr; i++) {
        const struct path_visit *v = &g->paths[i];

        if (v->listed && (v->info.state == MPIO_PATH_UP || v->info.state == MPIO_PATH_SUSPECT ||
                          v->info.state == MPIO_PATH_MARGINAL))
            return "up";
    }
    return d->stats.failing ? "failed" : "no path";
}

static json_t *disk_json(const struct path_gather *g, const struct disk_visit *d)
{
    json_t *o = att_json(d->att), *paths = json_array();
    const struct att *a = d->att;

    rpc_json_set_text(o, "state", disk_state(g, d));
    if (d->size)
        rpc_json_set_int(o, "size", d->size);
    rpc_json_set_text(o, "vendor", a->info.vendor);
    rpc_json_set_text(o, "product", a->info.product);
    json_object_set_new(o, "policy", d->known ? policy_json(&d->conf) : json_null());
    json_object_set_new(o, "policy_said", policy_over_json(&a->over));
    rpc_json_set_int(o, "in_flight", d->stats.in_flight);
    rpc_json_set_int(o, "errors", d->stats.errors);
    rpc_json_set_int(o, "failovers", d->stats.failovers);
    rpc_json_set_int(o, "waited", d->stats.waited);
    for (unsigned i = d->first; i < d->first + d->nr; i++)
        json_array_append_new(paths, path_json(&g->paths[i]));
    json_object_set_new(o, "paths", paths);
    return o;
}

/* ---- gathering ------------------------------------------------------------------------------------------- */

static void gather_free(struct path_gather *g)
{
    free(g->disks);
    free(g->paths);
    free(g);
}

static void gather_left(struct path_gather *g)
{
    const uint64_t losses = rpc_json_losses();
    json_t *list;

    if (--g->left)
        return;
    list = json_array();
    for (unsigned i = 0; i < g->disks_nr; i++)
        json_array_append_new(list, disk_json(g, &g->disks[i]));
    rpc_reply_whole(g->call, list, losses);
    for (unsigned i = 0; i < g->paths_nr; i++) {
        if (g->paths[i].sess)
            sess_put(g->paths[i].sess);
        path_put(g->paths[i].path);
    }
    for (unsigned i = 0; i < g->disks_nr; i++)
        att_put(g->disks[i].att);
    gather_free(g);
}

static void path_back(struct hop *h)
{
    gather_left(container_of(h, struct path_visit, hop)->gather);
}

static void disk_back(struct hop *h)
{
    gather_left(container_of(h, struct disk_visit, hop)->gather);
}

static void path_run(struct hop *h)
{
    struct path_visit *v = container_of(h, struct path_visit, hop);

    if (v->sess->ini) {
        ini_sess_info(v->sess->ini, &v->sess_info);
        v->known = true;
    }
    hop_back(h);
}

static void disk_run(struct hop *h)
{
    struct disk_visit *d = container_of(h, struct disk_visit, hop);
    const struct mpio_disk *disk = d->att->disk;

    if (disk) {
        mpio_stats(disk, &d->stats);
        d->conf = *mpio_disk_conf(disk);
        d->size = mpio_disk_info(disk) ? mpio_disk_info(disk)->size : 0;
        d->known = true;
    }
    for (unsigned n = 0; disk && n < mpio_disk_paths_nr(disk); n++) {
        for (unsigned i = d->first; i < d->first + d->nr; i++) {
            struct path_visit *v = &d->gather->paths[i];

            if (v->mp && v->mp == mpio_disk_path(disk, n)) {
                mpio_disk_path_info(disk, v->mp, &v->info);
                v->listed = true;
            }
        }
    }
    hop_back(h);
}

static void gather_add(struct path_gather *g, struct att *a)
{
    struct disk_visit *d = &g->disks[g->disks_nr++];

    d->gather = g;
    d->att = a;
    d->first = g->paths_nr;
    att_hold(a);
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);
        struct path_visit *v = &g->paths[g->paths_nr++];

        v->gather = g;
        v->path = p;
        v->sess = p->sess;
        v->mp = p->state == PATH_IN ? p->mp : NULL;
        path_hold(p);
        if (v->sess)
            sess_hold(v->sess);
        d->nr++;
    }
}

static void gather_go(struct path_gather *g)
{
    g->left = 1;
    for (unsigned i = 0; i < g->paths_nr; i++) {
        if (!g->paths[i].sess)
            continue;
        g->left++;
        sess_go(g->paths[i].sess, &g->paths[i].hop, path_run, path_back);
    }
    for (unsigned i = 0; i < g->disks_nr; i++) {
        if (!g->disks[i].att->rt)
            continue;
        g->left++;
        hop_go(&g->disks[i].hop, g->mgr->rt, g->disks[i].att->rt, disk_run, disk_back);
    }
    gather_left(g);
}

void path_list(struct mgr *m, struct rpc_call *call, struct att *only)
{
    struct path_gather *g = calloc(1, sizeof(*g));
    unsigned disks = 0, paths = 0;

    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        if (only && a != only)
            continue;
        disks++;
        rt_list_for (lp, &a->paths)
            paths++;
    }
    if (g) {
        g->disks = calloc(disks + 1, sizeof(*g->disks));
        g->paths = calloc(paths + 1, sizeof(*g->paths));
    }
    if (!g || !g->disks || !g->paths) {
        if (g)
            gather_free(g);
        rpc_fail(call, RPC_INTERNAL, "no memory for the listing");
        return;
    }
    g->mgr = m;
    g->call = call;
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (!only || a == only)
            gather_add(g, a);
    }
    gather_go(g);
}
