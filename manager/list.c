/*
 * list.c - what is known of sessions and disks, as JSON
 *
 * Counters live with what they count. A listing sends somebody to each core concerned, who copies them; when
 * the last has come back the answer is put together at home.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "rpc/json.h"

struct visit {
    struct hop hop;
    struct gather *gather;
    struct sess *sess;
    struct att *att; /* NULL: the session itself is what is looked at */
    bool known;      /* what follows was filled */
    bool disk_seen;  /* the disk's core was visited too */
    struct ini_sess_info info;
    struct mpio_stats stats;
    uint64_t size;
    unsigned usable; /* paths that requests could take */
};

struct gather {
    struct mgr *mgr;
    struct rpc_call *call;
    json_t *(*json)(const struct visit *v);
    unsigned left, nr;
    struct visit visits[];
};

/* ---- gathering ------------------------------------------------------------------------------------------- */

static struct gather *gather_new(struct mgr *m, struct rpc_call *call, unsigned nr,
                                 json_t *(*json)(const struct visit *v))
{
    struct gather *g = calloc(1, sizeof(*g) + nr * sizeof(g->visits[0]));

    if (!g) {
        rpc_fail(call, RPC_INTERNAL, "no memory for the listing");
        return NULL;
    }
    g->mgr = m;
    g->call = call;
    g->json = json;
    return g;
}

static void gather_over(struct gather *g)
{
    const uint64_t losses = rpc_json_losses();
    json_t *list = json_array();

    for (unsigned i = 0; i < g->nr; i++) {
        struct visit *v = &g->visits[i];

        json_array_append_new(list, g->json(v));
        if (v->att)
            att_put(v->att);
        if (v->sess)
            sess_put(v->sess);
    }
    rpc_reply_whole(g->call, list, losses);
    free(g);
}

static void visit_disk(struct hop *h);

static void visit_back(struct hop *h)
{
    struct visit *v = container_of(h, struct visit, hop);

    if (v->att && v->att->rt && !v->disk_seen) {
        v->disk_seen = true;
        hop_go(&v->hop, v->gather->mgr->rt, v->att->rt, visit_disk, visit_back);
        return;
    }
    if (!--v->gather->left)
        gather_over(v->gather);
}

/* On the session's core: all there is is read in one instant of it. */
static void visit_run(struct hop *h)
{
    struct visit *v = container_of(h, struct visit, hop);

    if (v->sess->ini) {
        ini_sess_info(v->sess->ini, &v->info);
        v->known = true;
    }
    hop_back(h);
}

/* On the disk's. */
static void visit_disk(struct hop *h)
{
    struct visit *v = container_of(h, struct visit, hop);
    const struct mpio_disk *d = v->att->disk;
    struct mpio_path_info i;

    if (d && mpio_disk_info(d)) {
        mpio_stats(d, &v->stats);
        v->size = mpio_disk_info(d)->size;
    }
    for (unsigned n = 0; d && n < mpio_disk_paths_nr(d); n++) {
        mpio_disk_path_info(d, mpio_disk_path(d, n), &i);
        v->usable += i.state == MPIO_PATH_UP || i.state == MPIO_PATH_SUSPECT || i.state == MPIO_PATH_MARGINAL;
    }
    hop_back(h);
}

static void gather_go(struct gather *g)
{
    g->left = 1;
    for (unsigned i = 0; i < g->nr; i++) {
        struct visit *v = &g->visits[i];

        v->gather = g;
        if (v->att)
            att_hold(v->att);
        if (v->sess)
            sess_hold(v->sess);
        else if (!v->att || !v->att->rt)
            continue; /* waits for one: there is no core to go to */
        g->left++;
        if (v->sess)
            sess_go(v->sess, &v->hop, visit_run, visit_back);
        else
            visit_back(&v->hop);
    }
    if (!--g->left)
        gather_over(g);
}

/* ---- sessions -------------------------------------------------------------------------------------------- */

static void set_isid(json_t *o, const uint8_t isid[static 6])
{
    char text[13];

    snprintf(text, sizeof(text), "%02x%02x%02x%02x%02x%02x", isid[0], isid[1], isid[2], isid[3], isid[4],
             isid[5]);
    rpc_json_set_text(o, "isid", text);
}

enum key_kind { KEY_NUM, KEY_BOOL, KEY_DIGEST };

static json_t *key_value(enum key_kind kind, uint32_t v)
{
    switch (kind) {
    case KEY_BOOL: return json_string(v ? "Yes" : "No");
    case KEY_DIGEST: return json_string(v ? "CRC32C" : "None");
    default: return json_integer(v);
    }
}

static void negotiated_set(json_t *o, const struct iscsi_params *p)
{
    json_object_set_new(o, "header_digest", key_value(KEY_DIGEST, p->header_digest));
    json_object_set_new(o, "data_digest", key_value(KEY_DIGEST, p->data_digest));
#define X(key, field, kind, def, lo, hi, rule) json_object_set_new(o, #key, key_value(KEY_##kind, p->field));
    ISCSI_KEYS(X)
#undef X
    rpc_json_set_int(o, "MaxXmitDataSegmentLength", p->peer_recv_data_max);
}

static void counters_set(json_t *o, const struct ini_sess_info *i)
{
    const struct {
        const char *key;
        uint64_t v;
    } rows[] = {
        { "commands", i->commands },       { "read_bytes", i->read_bytes },
        { "write_bytes", i->write_bytes }, { "in_flight", i->in_flight },
        { "queued", i->queued },           { "window", i->window },
        { "reconnects", i->reconnects },   { "resent", i->resent },
        { "timeouts", i->timeouts },       { "aborts", i->aborts },
        { "nop_rtt_us", i->nop_rtt_us },   { "digest_errors", i->digest_errors },
    };

    for (size_t n = 0; n < ARRAY_SIZE(rows); n++)
        rpc_json_set_int(o, rows[n].key, rows[n].v);
}

static const char *state_word(const struct visit *v)
{
    if (v->known)
        return ini_state_name(v->info.state);
    return v->sess->state == SESS_FAILED ? "FAILED" : v->sess->state == SESS_ENDING ? "LOGOUT" : "LOGIN";
}

static json_t *sess_json(const struct visit *v)
{
    const struct sess *s = v->sess;
    json_t *o = json_object();

    rpc_json_set_int(o, "id", s->id);
    rpc_json_set_text(o, "name", s->name);
    rpc_json_set_text(o, "target", s->wish.iqn);
    rpc_json_set_text(o, "portal", s->portal);
    rpc_json_set_text(o, "peer", v->known ? v->info.peer : "");
    set_isid(o, v->known ? v->info.isid : s->conf.isid);
    rpc_json_set_int(o, "tsih", v->info.tsih);
    rpc_json_set_int(o, "tpgt", v->info.tpgt);
    json_object_set_new(o, "core", json_integer(s->core));
    rpc_json_set_text(o, "state", state_word(v));
    rpc_json_set_text(o, "transport", v->known && v->info.transport ? v->info.transport : "");
    rpc_json_set_text(o, "transport_why", v->known ? v->info.transport_why : "");
    rpc_json_set_text(o, "why", s->why_core);
    rpc_json_set_int(o, "disks", s->users);
    if (v->known && v->info.tsih)
        negotiated_set(o, &v->info.params);
    counters_set(o, &v->info);
    rpc_json_set_text(o, "last_error", v->known ? v->info.why : s->why_failed);
    return o;
}

void list_sessions(struct mgr *m, struct rpc_call *call, bool (*keep)(const struct sess *s, const void *arg),
                   const void *arg)
{
    struct gather *g;
    unsigned nr = 0;

    rt_list_for (l, &m->sessions)
        nr++;
    if (!(g = gather_new(m, call, nr, sess_json)))
        return;
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (!keep || keep(s, arg))
            g->visits[g->nr++].sess = s;
    }
    gather_go(g);
}

/* ---- disks ----------------------------------------------------------------------------------------------- */

json_t *att_json(const struct att *a)
{
    json_t *o = json_object();
    const struct sess *s;
    unsigned nr = 0, in = 0;

    rpc_json_set_text(o, "name", a->spec.name);
    rpc_json_set_text(o, "path", att_device(a));
    rpc_json_set_text(o, "export", exp_kind_name(a->state >= ATT_UP && !a->restored ? a->result.kind : a->spec.kind));
    rpc_json_set_text(o, "why", a->state >= ATT_UP ? a->result.why : "");
    rpc_json_set_int(o, "size", a->info.size);
    rpc_json_set_int(o, "block_size", a->info.block_len);
    rpc_json_set_text(o, "wwid", a->info.wwid);
    rpc_json_set_text(o, "iqn", a->spec.wish.iqn);
    rpc_json_set_text(o, "portal", a->portal);
    rpc_json_set_int(o, "lun", a->spec.lun);
    json_object_set_new(o, "readonly", json_boolean(a->spec.readonly || a->info.readonly));
    s = att_sess(a);
    rpc_json_set_text(o, "session", s ? s->name : "");
    json_object_set_new(o, "core", a->rt ? json_integer(a->core) : json_null());
    rt_list_for (link, &a->paths) {
        nr++;
        in += rt_list_entry(link, struct path, link)->state == PATH_IN;
    }
    rpc_json_set_int(o, "paths", nr);
    rpc_json_set_int(o, "paths_in", in);
    return o;
}

static const char *disk_state(const struct visit *v)
{
    switch (v->att->state) {
    case ATT_LOGIN:
    case ATT_ENDING:
    case ATT_EXPORTING: return "attaching";
    case ATT_CLOSING: return "detaching";
    case ATT_WAITING: return "waiting";
    case ATT_UP: break;
    }
    if (v->usable)
        return "up";
    if (v->att->paths.next->next != &v->att->paths)
        return v->stats.failing ? "failed" : "paused"; /* of several paths none can be used now */
    if (!v->known || v->info.state == INI_FAILED || v->info.state == INI_OFFLINE)
        return "failed";
    return v->info.state == INI_UP ? "up" : "paused";
}

static json_t *disk_json(const struct visit *v)
{
    json_t *o = att_json(v->att);

    rpc_json_set_text(o, "state", disk_state(v));
    rpc_json_set_int(o, "paths_up", v->usable);
    if (v->size)
        rpc_json_set_int(o, "size", v->size);
    rpc_json_set_int(o, "in_flight", v->stats.in_flight);
    rpc_json_set_int(o, "reads", v->stats.reads);
    rpc_json_set_int(o, "writes", v->stats.writes);
    rpc_json_set_int(o, "read_bytes", v->stats.read_bytes);
    rpc_json_set_int(o, "write_bytes", v->stats.write_bytes);
    rpc_json_set_int(o, "errors", v->stats.errors);
    return o;
}

void list_atts(struct mgr *m, struct rpc_call *call)
{
    struct gather *g;
    unsigned nr = 0;

    rt_list_for (l, &m->atts)
        nr++;
    if (!(g = gather_new(m, call, nr, disk_json)))
        return;
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        g->visits[g->nr].att = a;
        g->visits[g->nr++].sess = att_sess(a);
    }
    gather_go(g);
}
