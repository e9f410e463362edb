/*
 * tgt_model.c - from the configuration document to what cores serve: logical units and snapshots
 *
 * Belongs to the first core. A unit is opened once and lives beside the document; a snapshot is what
 * sessions may know, made anew for each change and carried round the cores. The old one is freed when all
 * have the new.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/json.h"
#include "target/sess.h"

/* ---- snapshots ------------------------------------------------------------------------------------------- */

const struct snap_target *snap_find(const struct snap *snap, const char *iqn)
{
    unsigned lo = 0, hi = snap->targets_nr;

    while (lo < hi) {
        const unsigned mid = (lo + hi) / 2;
        const int c = strcmp(snap->targets[mid].iqn, iqn);

        if (!c)
            return &snap->targets[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct snap_acl *snap_acl_of(const struct snap_target *t, const char *initiator, bool *open)
{
    const struct snap_acl *any = NULL;

    *open = !t->acls_nr;
    for (unsigned i = 0; i < t->acls_nr; i++) {
        if (!strcmp(t->acls[i].initiator, initiator))
            return &t->acls[i];
        if (!strcmp(t->acls[i].initiator, "*"))
            any = &t->acls[i];
    }
    return any;
}

bool snap_acl_has(const struct snap_acl *acl, uint16_t number)
{
    if (!acl || acl->all)
        return true;
    for (unsigned i = 0; i < acl->luns_nr; i++) {
        if (acl->luns[i] == number)
            return true;
    }
    return false;
}

static void auth_free(struct snap_auth *a)
{
    if (a->in)
        explicit_bzero(a->in, a->in_nr * sizeof(*a->in));
    if (a->out)
        explicit_bzero(a->out, a->out_nr * sizeof(*a->out));
    free(a->in);
    free(a->out);
}

void snap_free(struct snap *snap)
{
    if (!snap)
        return;
    for (unsigned i = 0; i < snap->targets_nr; i++) {
        struct snap_target *t = &snap->targets[i];

        for (unsigned k = 0; k < t->acls_nr; k++)
            free(t->acls[k].luns);
        free(t->luns);
        free(t->acls);
        auth_free(&t->auth);
    }
    auth_free(&snap->discovery);
    free(snap->targets);
    free(snap);
}

static const char *member(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

static int auth_fill(struct snap_auth *a, json_t *list)
{
    const size_t n = json_array_size(list);
    size_t i;
    json_t *v;

    if (!n)
        return 0;
    a->in = calloc(n, sizeof(*a->in));
    a->out = calloc(n, sizeof(*a->out));
    if (!a->in || !a->out)
        return -ENOMEM;
    json_array_foreach(list, i, v) {
        struct snap_cred *c = strcmp(member(v, "direction"), "in") ? &a->out[a->out_nr++] : &a->in[a->in_nr++];
        const char *secret = member(v, "secret");

        snprintf(c->cred.name, sizeof(c->cred.name), "%s", member(v, "user"));
        snprintf(c->initiator, sizeof(c->initiator), "%s", member(v, "initiator"));
        c->cred.secret_len = (uint32_t)strlen(secret);
        memcpy(c->cred.secret, secret, c->cred.secret_len);
        c->algs = conf_algs(json_object_get(v, "algs"));
    }
    return 0;
}

static int acls_fill(struct snap_target *t, json_t *list)
{
    size_t i, k;
    json_t *v, *n;

    if (!json_array_size(list))
        return 0;
    if (!(t->acls = calloc(json_array_size(list), sizeof(*t->acls))))
        return -ENOMEM;
    json_array_foreach(list, i, v) {
        struct snap_acl *a = &t->acls[t->acls_nr++];
        json_t *luns = json_object_get(v, "luns");

        snprintf(a->initiator, sizeof(a->initiator), "%s", member(v, "initiator"));
        a->readonly = json_is_true(json_object_get(v, "readonly"));
        a->all = !luns;
        if (!luns)
            continue;
        if (!(a->luns = calloc(json_array_size(luns) + 1, sizeof(*a->luns))))
            return -ENOMEM;
        json_array_foreach(luns, k, n)
            a->luns[a->luns_nr++] = (uint16_t)json_integer_value(n);
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    return (int)((const struct snap_lun *)a)->number - (int)((const struct snap_lun *)b)->number;
}

static int by_iqn(const void *a, const void *b)
{
    return strcmp(((const struct snap_target *)a)->iqn, ((const struct snap_target *)b)->iqn);
}

static int luns_fill(struct tgt *tgt, struct snap_target *t, json_t *list)
{
    size_t i;
    json_t *v;

    if (!json_array_size(list))
        return 0;
    if (!(t->luns = calloc(json_array_size(list), sizeof(*t->luns))))
        return -ENOMEM;
    json_array_foreach(list, i, v) {
        const uint16_t number = (uint16_t)json_integer_value(json_object_get(v, "lun"));
        const struct unit *u = unit_find(tgt, t->iqn, number);

        if (u && u->lun)
            t->luns[t->luns_nr++] = (struct snap_lun){ number, u->lun };
    }
    qsort(t->luns, t->luns_nr, sizeof(*t->luns), by_number);
    return 0;
}

struct snap *model_snap(struct tgt *tgt, json_t *doc)
{
    json_t *list = json_object_get(doc, "targets"), *v;
    struct snap *snap = calloc(1, sizeof(*snap));
    size_t i;

    if (!snap || !(snap->targets = calloc(json_array_size(list) + 1, sizeof(*snap->targets))) ||
        auth_fill(&snap->discovery, json_object_get(doc, "discovery_chap")))
        goto fail;
    json_array_foreach(list, i, v) {
        struct snap_target *t = &snap->targets[snap->targets_nr++];

        snprintf(t->iqn, sizeof(t->iqn), "%s", member(v, "iqn"));
        if (luns_fill(tgt, t, json_object_get(v, "luns")) || acls_fill(t, json_object_get(v, "acls")) ||
            auth_fill(&t->auth, json_object_get(v, "chap")))
            goto fail;
    }
    qsort(snap->targets, snap->targets_nr, sizeof(*snap->targets), by_iqn);
    for (unsigned k = 0; k < tgt->portals_nr; k++) {
        const struct tgt_portal *p = &tgt->portals[k];

        if (p->listener && !p->leaving)
            snap->portals[snap->portals_nr++] = (struct snap_portal){ p->addr, p->wildcard, p->group };
    }
    return snap;
fail:
    snap_free(snap);
    return NULL;
}

/* On each core in turn: its sessions see the new map, or end. */
static void publish_each(struct tgt_core *core, struct tgt_round *r)
{
    struct model_publish *p = container_of(r, struct model_publish, round);

    core->snap = p->snap;
    rt_list_for_safe(l, &core->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        int err = s->state == SESS_FULL && !s->discovery ? map_update(s, true) : 0;

        /* Without memory it would go on seeing what is gone; with the next login it sees what is there. */
        if (err)
            sess_close(s, true, err == -ENOMEM ? "not enough memory for what it is to see of its target"
                                               : "its target is gone, or it may not use it any more");
    }
}

static void publish_over(struct tgt_round *r)
{
    struct model_publish *p = container_of(r, struct model_publish, round);

    snap_free((struct snap *)p->old);
    p->old = NULL;
    p->over(p);
}

void model_publish(struct tgt *t, struct model_publish *p)
{
    p->old = t->snap;
    t->snap = p->snap;
    p->round = (struct tgt_round){ .each = publish_each, .over = publish_over, .home = t->rt };
    tgt_round_start(t, &p->round);
}

/* ---- units ----------------------------------------------------------------------------------------------- */

struct unit *unit_find(struct tgt *t, const char *iqn, uint16_t number)
{
    rt_list_for(l, &t->units) {
        struct unit *u = rt_list_entry(l, struct unit, link);

        if (u->number == number && !strcmp(u->iqn, iqn))
            return u;
    }
    return NULL;
}

struct unit *unit_new(struct tgt *t, const char *iqn, uint16_t number)
{
    struct unit *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->tgt = t;
    snprintf(u->iqn, sizeof(u->iqn), "%s", iqn);
    u->number = number;
    u->node = BAL_NODE_ANY;
    u->owner = t->units_made++ % t->cores_nr;   /* shared state spreads over the cores */
    rt_list_init(&u->link);
    rt_random(t->rt, u->fresh, sizeof(u->fresh));
    u->fresh[0] = (uint8_t)(0x60 | (u->fresh[0] & 0x0f));   /* NAA 6, locally made */
    return u;
}

/* A file that was a disk before is taken as it is: to make a missing one anew, or to fill up what is missing
 * of it, would pass zeroes off as data. */
static int size_check(struct unit *u, uint64_t want, char why[static 256])
{
    struct lun_info info;
    uint64_t have;

    lun_info(u->lun, &info);
    have = info.blocks * info.block_len;
    if (have < want) {
        snprintf(why, 256,
                 "it has %llu bytes and had %llu: something is missing; restore it, or delete the LUN and "
                 "create it anew",
                 (unsigned long long)have, (unsigned long long)want);
        return -EIO;
    }
    return 0;
}

static void state_path(const struct unit *u, char out[static 4096])
{
    snprintf(out, 4096, "%s/%s.pr", u->tgt->state_dir, u->naa);
}

int unit_open(struct unit *u, json_t *lun, bool known, char why[static 256])
{
    const json_t *block = json_object_get(lun, "block_size");
    const uint64_t size = (uint64_t)json_integer_value(json_object_get(lun, "size"));
    const bool as_it_is = known && !strcmp(member(lun, "kind"), "file");
    struct lun_conf conf = {
        .be = { .kind = member(lun, "kind"), .size = as_it_is ? 0 : size,
                .readonly = json_is_true(json_object_get(lun, "readonly")) },
        .block_len = block ? (uint32_t)json_integer_value(block) : 512,
        .readonly = json_is_true(json_object_get(lun, "readonly")),
    };
    char state[4096];
    int err;

    if (*member(lun, "path"))
        conf.be.path = member(lun, "path");
    conf.be.block_len = conf.block_len;
    if (*member(lun, "naa"))
        (void)conf_naa_parse(member(lun, "naa"), conf.naa);   /* was checked */
    else
        memcpy(conf.naa, u->fresh, sizeof(conf.naa));
    conf_naa_text(conf.naa, u->naa);
    if (u->tgt->state_dir) {
        state_path(u, state);
        conf.state_path = state;
        /* A new one has no reservations, whatever a deleted one of that identity left when power failed. */
        if (!known && (err = rt_remove(state))) {
            snprintf(why, 256, "%.180s cannot be removed: %s", state, strerror(-err));
            return err;
        }
    }
    err = lun_new(&u->lun, u->tgt->host, u->owner, &conf, why);
    if (err) {
        u->lun = NULL;
        return err;
    }
    if (as_it_is && (err = size_check(u, size, why))) {
        lun_free(u->lun);
        u->lun = NULL;
        return err;
    }
    if (u->tgt->topo && conf.be.path)
        u->node = bal_dev_node(conf.be.path);
    return 0;
}

void unit_note(const struct unit *u, json_t *lun)
{
    struct lun_info info;
    uint64_t size;

    if (!u->lun)
        return;
    lun_info(u->lun, &info);
    size = info.blocks * info.block_len;
    json_object_set_new(lun, "naa", json_string(u->naa));
    json_object_set_new(lun, "size", json_integer((json_int_t)size));
}

int model_open(struct tgt *t)
{
    const uint64_t losses = rpc_json_losses();
    size_t i, k;
    json_t *target, *lun;

    json_array_foreach(json_object_get(t->doc, "targets"), i, target) {
        json_array_foreach(json_object_get(target, "luns"), k, lun) {
            struct unit *u = unit_new(t, member(target, "iqn"),
                                      (uint16_t)json_integer_value(json_object_get(lun, "lun")));

            if (!u)
                return -ENOMEM;
            rt_list_push(&t->units, &u->link);
            /* Without an identity it was written by hand, and may ask for a file to be made. */
            if (unit_open(u, lun, *member(lun, "naa"), u->offline)) {
                rt_log(RT_ERR, "LUN %u of %s stays offline, and in the configuration: %s", u->number, u->iqn,
                       u->offline);
                continue;
            }
            t->unsaved |= !*member(lun, "naa");
            unit_note(u, lun);
        }
    }
    if (rpc_json_losses() != losses)        /* an identity that is not saved would be another next time */
        return -ENOMEM;
    return 0;
}

int model_start(struct tgt *t)
{
    rt_list_for(l, &t->units) {
        struct unit *u = rt_list_entry(l, struct unit, link);

        if (u->lun)
            unit_groups(u, t->doc);
    }
    if (!(t->snap = model_snap(t, t->doc)))
        return -ENOMEM;
    for (unsigned i = 0; i < t->cores_nr; i++)
        t->cores[i].snap = t->snap;
    return 0;
}

void unit_free(struct unit *u)
{
    if (!u)
        return;
    lun_free(u->lun);
    free(u);
}

bool model_is_idle(const struct tgt *t)
{
    rt_list_for (l, &t->units) {
        const struct unit *u = rt_list_entry(l, struct unit, link);

        if (u->lun && !lun_idle(u->lun))
            return false;
    }
    return !t->change && !t->retiring;
}

void model_close(struct tgt *t)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&t->units)))
        unit_free(rt_list_entry(l, struct unit, link));
    snap_free(t->snap);
    t->snap = NULL;
}

/* ---- taking a unit out of service ------------------------------------------------------------------------ */

#define RETIRE_AGAIN_NS (10 * RT_MS)

/* Three steps: no task is left on it (quiesce), no session knows it (rounds), closed (work). */

static void retire_done(struct rt_work *w)
{
    struct unit *u = container_of(w, struct unit, work);

    u->tgt->retiring--;
    if (u->gone)
        u->gone(u->gone_arg);
    unit_free(u);
}

/* What outlasts a power loss does not outlast the LUN. */
static void retire_run(struct rt_work *w)
{
    struct unit *u = container_of(w, struct unit, work);
    char state[4096];
    int err = 0;

    if (u->tgt->state_dir && *u->naa) {
        state_path(u, state);
        err = rt_remove(state);
    }
    if (err)
        rt_log(RT_WARN, "%s is of a LUN that was deleted and cannot be removed: %s", state, strerror(-err));
    lun_free(u->lun);                       /* here, as it blocks */
    u->lun = NULL;
}

static void retire_close(struct unit *u)
{
    u->work = (struct rt_work){ .run = retire_run, .done = retire_done };
    rt_work(u->tgt->rt, &u->work);
}

static void retire_each(struct tgt_core *core, struct tgt_round *round)
{
    struct unit *u = container_of(round, struct unit, round);

    rt_list_for(l, &core->sessions)
        u->knowing += map_knows(rt_list_entry(l, struct sess, link), u->lun);
}

static void retire_over(struct tgt_round *round)
{
    struct unit *u = container_of(round, struct unit, round);

    if (u->knowing)
        rt_timer_arm(u->tgt->rt, &u->again, RETIRE_AGAIN_NS);
    else
        retire_close(u);
}

static void retire_look(struct rt_timer *t)
{
    struct unit *u = container_of(t, struct unit, again);

    u->knowing = 0;
    u->round = (struct tgt_round){ .each = retire_each, .over = retire_over, .home = u->tgt->rt };
    tgt_round_start(u->tgt, &u->round);
}

static void retire_quiet(struct lun_request *req, int err)
{
    struct unit *u = container_of(req, struct unit, req);

    if (err)
        rt_log(RT_ERR, "LUN %u of %s: %s", u->number, u->iqn, req->why);
    retire_look(&u->again);
}

void unit_retire(struct tgt *t, struct unit *u, void (*done)(void *arg), void *arg)
{
    rt_list_del(&u->link);
    u->gone = done;
    u->gone_arg = arg;
    u->again = (struct rt_timer){ .fn = retire_look };
    u->req = (struct lun_request){ .fn = retire_quiet };
    t->retiring++;
    if (u->lun)
        lun_quiesce(u->lun, &u->req);
    else
        retire_close(u);
}
