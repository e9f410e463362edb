/*
 * tgt_rpc.c - the methods of docs/rpc.md that only look
 *
 * What concerns sessions is gathered in a round over their cores. Methods that change something are in
 * tgt_change.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/json.h"
#include "target/sess.h"
#include "target/tgt_change.h"

#ifndef CORELANE_VERSION
#define CORELANE_VERSION "0.1.0"
#endif

static const char *member(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

/* An optional "iqn", and nothing else. False: answered. */
static bool iqn_param(struct tgt *t, struct rpc_call *call, json_t *params, const char **iqn)
{
    json_error_t error;

    *iqn = NULL;
    if (json_unpack_ex(params, &error, 0, "{s?s !}", "iqn", iqn)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "parameters: %s", error.text);
        return false;
    }
    if (*iqn && !conf_target(t->doc, *iqn)) {
        rpc_fail(call, RPC_FAILED, "there is no target %.223s; `corelane target list` shows those there are",
                 *iqn);
        return false;
    }
    return true;
}

/* ---- LUNs and targets ------------------------------------------------------------------------------------ */

static json_t *lun_json(struct tgt *t, const char *iqn, json_t *lun)
{
    const uint16_t number = (uint16_t)json_integer_value(json_object_get(lun, "lun"));
    const struct unit *u = unit_find(t, iqn, number);
    const json_t *block = json_object_get(lun, "block_size");
    struct lun_info info = { .block_len = block ? (uint32_t)json_integer_value(block) : 512,
                             .readonly = json_is_true(json_object_get(lun, "readonly")) };
    struct lun_stats st = { 0 };
    uint64_t size = (uint64_t)json_integer_value(json_object_get(lun, "size"));
    json_t *out;
    char state[300];

    snprintf(state, sizeof(state), "online");
    if (u && u->lun) {
        lun_info(u->lun, &info);
        lun_stats(u->lun, &st);
        size = info.blocks * info.block_len;
    } else {
        snprintf(state, sizeof(state), "offline: %s", u ? u->offline : "it is being closed");
    }
    out = json_pack("{s:s, s:i, s:s, s:s, s:I, s:i, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                    "iqn", iqn, "lun", (int)number, "kind", member(lun, "kind"), "path", member(lun, "path"),
                    "size", (json_int_t)size, "block_size", (int)info.block_len, "readonly", (int)info.readonly,
                    "naa", member(lun, "naa"), "serial", info.serial, "state", state,
                    "reads", (json_int_t)st.reads, "writes", (json_int_t)st.writes,
                    "read_bytes", (json_int_t)st.read_bytes, "write_bytes", (json_int_t)st.write_bytes,
                    "others", (json_int_t)st.others, "errors", (json_int_t)st.errors,
                    "in_flight", (json_int_t)st.in_flight);
    return out;
}

static void luns_append(struct tgt *t, json_t *list, json_t *target)
{
    size_t i;
    json_t *lun;

    json_array_foreach(json_object_get(target, "luns"), i, lun)
        json_array_append_new(list, lun_json(t, member(target, "iqn"), lun));
}

static void acls_append(struct tgt *t, json_t *list, json_t *target)
{
    size_t i;
    json_t *acl, *luns;

    json_array_foreach(json_object_get(target, "acls"), i, acl) {
        luns = json_object_get(acl, "luns");
        json_array_append_new(list, json_pack("{s:s, s:s, s:O, s:b}", "iqn", member(target, "iqn"),
                                              "initiator", member(acl, "initiator"),
                                              "luns", luns ? luns : json_null(),
                                              "readonly", json_is_true(json_object_get(acl, "readonly"))));
    }
}

/* Secrets never come out. */
static void chap_append(json_t *list, const char *of, json_t *value, json_t *creds)
{
    size_t i;
    json_t *c, *o;

    json_array_foreach(creds, i, c) {
        o = json_pack("{s:O, s:s, s:s, s:s}", of, value, "direction", member(c, "direction"),
                      "user", member(c, "user"), "initiator", member(c, "initiator"));
        if (json_object_get(c, "algs"))
            json_object_set(o, "algs", json_object_get(c, "algs"));
        json_array_append_new(list, o);
    }
}

static void target_chap_append(struct tgt *t, json_t *list, json_t *target)
{
    chap_append(list, "iqn", json_object_get(target, "iqn"), json_object_get(target, "chap"));
}

static json_t *portal_texts(const struct tgt *t)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < t->snap->portals_nr; i++) {
        char text[RT_ADDR_STR_MAX];

        rt_addr_format(&t->snap->portals[i].addr, text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static void target_append(struct tgt *t, json_t *list, json_t *target)
{
    json_t *luns = json_array();
    const size_t acls = json_array_size(json_object_get(target, "acls"));

    luns_append(t, luns, target);
    json_array_append_new(list, json_pack("{s:s, s:o, s:I, s:b, s:i, s:o}", "iqn", member(target, "iqn"),
                                          "luns", luns, "acls", (json_int_t)acls, "open", acls == 0,
                                          "sessions", (int)reg_count(t, member(target, "iqn")),
                                          "portals", portal_texts(t)));
}

static void list_targets(struct tgt *t, struct rpc_call *call, json_t *params,
                         void (*append)(struct tgt *t, json_t *list, json_t *target), bool discovery)
{
    const uint64_t losses = rpc_json_losses();
    json_t *list, *target;
    const char *iqn;
    size_t i;

    if (!iqn_param(t, call, params, &iqn))
        return;
    list = json_array();
    json_array_foreach(json_object_get(t->doc, "targets"), i, target) {
        if (!iqn || !strcmp(iqn, member(target, "iqn")))
            append(t, list, target);
    }
    if (discovery && !iqn)
        chap_append(list, "discovery", json_true(), json_object_get(t->doc, "discovery_chap"));
    rpc_reply_whole(call, list, losses);
}

static void m_target_list(void *user, struct rpc_call *call, json_t *params)
{
    list_targets(user, call, params, target_append, false);
}

static void m_lun_list(void *user, struct rpc_call *call, json_t *params)
{
    list_targets(user, call, params, luns_append, false);
}

static void m_acl_list(void *user, struct rpc_call *call, json_t *params)
{
    list_targets(user, call, params, acls_append, false);
}

static void m_chap_list(void *user, struct rpc_call *call, json_t *params)
{
    list_targets(user, call, params, target_chap_append, true);
}

static void m_portal_list(void *user, struct rpc_call *call, json_t *params)
{
    const uint64_t losses = rpc_json_losses();
    struct tgt *t = user;
    json_t *list = json_array();

    (void)params;
    for (unsigned i = 0; i < t->snap->portals_nr; i++) {
        const struct snap_portal *p = &t->snap->portals[i];
        char text[RT_ADDR_STR_MAX];

        rt_addr_format(&p->addr, text);
        json_array_append_new(list, json_pack("{s:s, s:i}", "addr", text, "tpgt", (int)p->group));
    }
    rpc_reply_whole(call, list, losses);
}

/* ---- access states --------------------------------------------------------------------------------------- */

static json_t *group_portals(const struct tgt *t, uint16_t tag)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < t->snap->portals_nr; i++) {
        char text[RT_ADDR_STR_MAX];

        if (t->snap->portals[i].group != tag)
            continue;
        rt_addr_format(&t->snap->portals[i].addr, text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* As the unit has them; of one that is offline, as it would. */
static unsigned groups_now(const struct tgt *t, json_t *target, json_t *lun, const struct unit *u,
                           struct lun_group groups[static LUN_GROUPS_MAX])
{
    uint16_t tags[TGT_PORTALS_MAX];
    unsigned nr;

    if (u && u->lun)
        return lun_groups(u->lun, groups);
    nr = portal_groups(t, tags);
    for (unsigned i = 0; i < nr; i++) {
        groups[i] = (struct lun_group){ .tag = tags[i] };
        conf_group(target, lun, &groups[i]);
    }
    return nr;
}

static void alua_append(struct tgt *t, json_t *list, json_t *target)
{
    static const char *const by[] = { "nobody", "initiator", "target" };
    struct lun_group groups[LUN_GROUPS_MAX];
    size_t i;
    json_t *lun;

    json_array_foreach(json_object_get(target, "luns"), i, lun) {
        const uint16_t number = (uint16_t)json_integer_value(json_object_get(lun, "lun"));
        const unsigned nr = groups_now(t, target, lun, unit_find(t, member(target, "iqn"), number), groups);

        for (unsigned k = 0; k < nr; k++) {
            const struct lun_group *g = &groups[k];

            json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s, s:b, s:s, s:o}", "iqn",
                                                  member(target, "iqn"), "lun", (int)number, "group",
                                                  (int)g->tag, "state", lun_port_state_name(g->state),
                                                  "preferred", (int)g->preferred, "changed_by", by[g->why],
                                                  "portals", group_portals(t, g->tag)));
        }
    }
}

static void m_alua_list(void *user, struct rpc_call *call, json_t *params)
{
    list_targets(user, call, params, alua_append, false);
}

/* ---- sessions and cores ---------------------------------------------------------------------------------- */

struct gather {
    struct tgt_round round;
    struct rpc_call *call;
    json_t *list;
    bool lost;                   /* an entry did not find memory, on whatever core */
    struct bal_share *shares; /* layout.show: copies, by core; the first core goes on writing its own */
};

static void gather_end(struct gather *g, json_t *answer, uint64_t losses)
{
    if (g->lost) {
        json_decref(answer);
        rpc_fail(g->call, RPC_INTERNAL, "not enough memory for the answer");
    } else {
        rpc_reply_whole(g->call, answer, losses);
    }
    free(g->shares);
    free(g);
}

static void gather_over(struct tgt_round *r)
{
    struct gather *g = container_of(r, struct gather, round);

    gather_end(g, g->list, rpc_json_losses());
}

static void sessions_each(struct tgt_core *core, struct tgt_round *r)
{
    struct gather *g = container_of(r, struct gather, round);
    const uint64_t losses = rpc_json_losses();

    rt_list_for(l, &core->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);
        json_t *o = s->id ? sess_json(s) : NULL;   /* who is not logged in has no name to be listed by */

        if (o)
            json_array_append_new(g->list, o);
    }
    g->lost |= rpc_json_losses() != losses;
}

static void gather_start(struct tgt *t, struct rpc_call *call,
                         void (*each)(struct tgt_core *c, struct tgt_round *r),
                         void (*over)(struct tgt_round *r))
{
    struct gather *g = calloc(1, sizeof(*g));

    if (!g || !(g->shares = calloc(t->cores_nr, sizeof(*g->shares)))) {
        free(g);
        rpc_fail(call, RPC_INTERNAL, "no memory for the answer");
        return;
    }
    for (unsigned i = 0; t->load && i < t->cores_nr; i++)
        bal_load_share(t->load, i, &g->shares[i]);
    g->call = call;
    g->list = json_array();
    g->lost = !g->list;
    g->round = (struct tgt_round){ .each = each, .over = over, .home = t->rt };
    tgt_round_start(t, &g->round);
}

static void m_session_list(void *user, struct rpc_call *call, json_t *params)
{
    (void)params;
    gather_start(user, call, sessions_each, gather_over);
}

static const char *mode_name(enum rt_mode mode)
{
    return mode == RT_MODE_POLL ? "poll" : mode == RT_MODE_INTERRUPT ? "interrupt" : "adaptive";
}

static void layout_each(struct tgt_core *core, struct tgt_round *r)
{
    struct gather *g = container_of(r, struct gather, round);
    const struct bal_share *share = &g->shares[core->index];
    const uint64_t losses = rpc_json_losses();
    json_t *names = json_array(), *placed = json_array();

    rt_list_for(l, &core->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (!s->id)
            continue;
        json_array_append_new(names, json_sprintf("%llu %s", (unsigned long long)s->id, s->initiator));
        json_array_append_new(placed, json_pack("{s:I, s:s}", "session", (json_int_t)s->id, "why", s->why_core));
    }
    json_array_append_new(g->list, json_pack("{s:i, s:s, s:f, s:f, s:f, s:f, s:o, s:o}", "core", rt_core(core->rt),
                                             "mode", mode_name(rt_mode(core->rt)), "busy", share->busy,
                                             "poll", share->poll, "sleep", share->sleep, "host", share->host,
                                             "sessions", names, "placed", placed));
    g->lost |= rpc_json_losses() != losses;
}

static void layout_over(struct tgt_round *r)
{
    struct gather *g = container_of(r, struct gather, round);
    const uint64_t losses = rpc_json_losses();

    gather_end(g, json_pack("{s:o}", "cores", g->list), losses);
}

static void m_layout_show(void *user, struct rpc_call *call, json_t *params)
{
    (void)params;
    gather_start(user, call, layout_each, layout_over);
}

static void m_status(void *user, struct rpc_call *call, json_t *params)
{
    const uint64_t losses = rpc_json_losses();
    struct tgt *t = user;
    json_t *cores = json_array(), *target;
    size_t luns = 0, i;
    unsigned offline = 0;

    (void)params;
    for (unsigned k = 0; k < t->cores_nr; k++)
        json_array_append_new(cores, json_integer(rt_core(t->cores[k].rt)));
    json_array_foreach(json_object_get(t->doc, "targets"), i, target)
        luns += json_array_size(json_object_get(target, "luns"));
    rt_list_for(l, &t->units)
        offline += !rt_list_entry(l, struct unit, link)->lun;
    rpc_reply_whole(call,
              json_pack("{s:s, s:i, s:I, s:s, s:o, s:I, s:I, s:i, s:i, s:i, s:i}", "version", CORELANE_VERSION,
                        "pid", (int)rt_pid(), "uptime_s", (json_int_t)(rt_wall_s(t->rt) - t->started_s), "mode",
                        mode_name(rt_mode(t->rt)), "cores", cores, "targets",
                        (json_int_t)json_array_size(json_object_get(t->doc, "targets")), "luns",
                        (json_int_t)luns, "luns_offline", (int)offline, "sessions", (int)reg_count(t, NULL),
                        "logins", (int)t->logins_nr, "portals", (int)t->snap->portals_nr), losses);
}

static void m_session_logout(void *user, struct rpc_call *call, json_t *params)
{
    json_error_t error;
    json_int_t id;

    if (json_unpack_ex(params, &error, 0, "{s:I !}", "id", &id)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "parameters: %s", error.text);
        return;
    }
    if (id <= 0 || reg_ask_logout(user, (uint64_t)id)) {
        rpc_fail(call, RPC_FAILED, "there is no session %lld; `corelane session list` shows those there are",
                 (long long)id);
        return;
    }
    rpc_reply(call, NULL);
}

const struct rpc_method tgt_methods[] = {
    { "status", m_status },
    { "layout.show", m_layout_show },
    { "session.list", m_session_list },
    { "session.logout", m_session_logout },
    { "portal.list", m_portal_list },
    { "target.list", m_target_list },
    { "lun.list", m_lun_list },
    { "acl.list", m_acl_list },
    { "chap.list", m_chap_list },
    { "alua.list", m_alua_list },
#define X(name, fn, ...) { name, fn },
    TGT_CHANGES(X)
#undef X
};
const unsigned tgt_methods_nr = ARRAY_SIZE(tgt_methods);
