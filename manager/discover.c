/*
 * discover.c - asks a portal for its targets, answers with them, and keeps new ones as node records
 *
 * A record that exists is left as it is: somebody may have set it up with care.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "rpc/json.h"

struct discover {
    struct mgr *mgr;
    struct rpc_call *call;
    struct mgr_wish wish;
    struct settings_load load;
    struct ini_discovery disc;
    struct rt_work save;
    unsigned saved, failed;
    char why[256];
};

static void discover_free(struct discover *d)
{
    free(d->disc.found);
    explicit_bzero(d, sizeof(*d));
    free(d);
}

/* ---- the answer ------------------------------------------------------------------------------------------ */

static json_t *entry_of(json_t *list, json_t *by_name, const char *iqn)
{
    json_t *e = json_object_get(by_name, iqn);

    if (!e && (e = json_pack("{s:s, s:[]}", "iqn", iqn, "portals"))) {
        json_object_set(by_name, iqn, e);
        json_array_append_new(list, e);
    }
    return e;
}

/* Targets in the order in which they came, each with its portals. */
static json_t *found_json(const struct ini_discovery *disc)
{
    json_t *list = json_array(), *by_name = json_object();

    for (size_t i = 0; i < disc->found_nr; i++) {
        const struct ini_found *f = &disc->found[i];
        char portal[ISCSI_PORTAL_STR_MAX], text[ISCSI_PORTAL_STR_MAX + 8];

        iscsi_portal_format(&f->portal, portal);
        snprintf(text, sizeof(text), "%s,%u", portal, f->portal.tpgt);
        json_array_append_new(json_object_get(entry_of(list, by_name, f->target), "portals"),
                              json_string(text));
    }
    json_decref(by_name);
    return list;
}

/* ---- records --------------------------------------------------------------------------------------------- */

static int record_keep(const struct discover *d, const struct ini_found *f, bool *made)
{
    const char *dir = d->mgr->config_dir;
    struct ini_record *rec;
    int err;

    *made = false;
    if (!ini_record_load(dir, f->target, &f->portal, &rec)) {
        ini_record_free(rec);
        return 0;
    }
    if ((err = ini_record_new(f->target, &f->portal, &d->load.set, &rec)))
        return err;
    err = ini_record_save(dir, rec);
    ini_record_free(rec);
    *made = !err;
    return err;
}

static void save_run(struct rt_work *w)
{
    struct discover *d = container_of(w, struct discover, save);

    for (size_t i = 0; i < d->disc.found_nr; i++) {
        bool made;
        const int err = record_keep(d, &d->disc.found[i], &made);

        d->saved += made;
        if (err && !d->failed++)
            snprintf(d->why, sizeof(d->why), "%s", strerror(-err));
        if (err == -EROFS || err == -EACCES || err == -ENOSPC)
            break; /* the others will not fare better */
    }
}

static void save_done(struct rt_work *w)
{
    const uint64_t losses = rpc_json_losses();
    struct discover *d = container_of(w, struct discover, save);

    if (d->failed)
        rt_log(RT_WARN, "discovery: node records cannot be kept in %s/nodes: %s", d->mgr->config_dir, d->why);
    else if (d->saved)
        rt_log(RT_INFO, "discovery: %u new node record%s in %s/nodes", d->saved, d->saved == 1 ? "" : "s",
               d->mgr->config_dir);
    rpc_reply_whole(d->call, found_json(&d->disc), losses);
    discover_free(d);
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

static void found(struct ini_discovery *disc)
{
    struct discover *d = container_of(disc, struct discover, disc);
    char portal[ISCSI_PORTAL_STR_MAX];

    if (disc->err) {
        iscsi_portal_format(&d->wish.portal, portal);
        rpc_fail(d->call, RPC_FAILED, "discovery at %s: %s", portal, disc->why);
        discover_free(d);
        return;
    }
    if (disc->cut)
        rt_log(RT_WARN, "discovery: more than %u targets and portals: the rest is left out", INI_DISCOVER_MAX);
    d->save.run = save_run;
    d->save.done = save_done;
    rt_work(d->mgr->rt, &d->save);
}

static void loaded(struct settings_load *l)
{
    struct discover *d = container_of(l, struct discover, load);
    struct ini_conf *conf = &d->disc.conf;

    if (l->err) {
        rpc_fail(d->call, RPC_FAILED, "%s", l->why);
        discover_free(d);
        return;
    }
    snprintf(conf->initiator, sizeof(conf->initiator), "%s", d->mgr->initiator);
    conf->portal = d->wish.portal;
    conf->set = l->set;
    /* node.session.auth.* are for sessions with targets: a portal is told only what was said for it, by the
     * caller or else by discovery.sendtargets.auth.*. */
    if (*d->wish.user.name) {
        conf->set.user = d->wish.user;
        conf->set.user_in = d->wish.user_in;
    } else {
        conf->set.user = l->set.disc_user;
        conf->set.user_in = l->set.disc_user_in;
        conf->set.chap_algs = l->set.disc_chap_algs;
    }
    d->disc.done = found;
    ini_discover(d->mgr->rt, &d->disc);
}

void mgr_discover(struct mgr *m, struct rpc_call *call, const struct mgr_wish *wish)
{
    struct discover *d = calloc(1, sizeof(*d));

    if (!d) {
        rpc_fail(call, RPC_INTERNAL, "no memory for a discovery");
        return;
    }
    d->mgr = m;
    d->call = call;
    d->wish = *wish;
    d->load.mgr = m;
    d->load.wish = &d->wish;
    d->load.done = loaded;
    settings_load(&d->load);
}
