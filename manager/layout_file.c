/*
 * layout_file.c - the layout as a file: saved, compared with what is, and restored
 *
 * What a file says is the whole of it: pins that it does not have are taken away, and sessions that it does not name stay
 * where they are. What differs is worked out first, as a list of changes; a dry run answers with that. Then policy and pins
 * take effect at once, and sessions are moved one after another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"
#include "manager/param.h"
#include "rpc/json.h"

/* ---- save ------------------------------------------------------------------------------------------------ */

static bool is_saved(const struct sess *s)
{
    return !s->settler && s->state != SESS_ENDING && s->core >= 0;
}

/* Sessions as they are, and pins of those that are not there. */
static int layout_now(struct mgr *m, struct bal_layout *out)
{
    const struct layout *l = m->layout;
    unsigned nr = l->pins_nr;

    rt_list_for (k, &m->sessions)
        nr++;
    *out = (struct bal_layout){ .has_policy = true,
                                .has_rebalance = true,
                                .policy = l->policy,
                                .rebalance = l->rebalance,
                                .budget = l->budget };
    if (nr && !(out->seats = calloc(nr, sizeof(*out->seats))))
        return -ENOMEM;
    rt_list_for (k, &m->sessions) {
        const struct sess *s = rt_list_entry(k, struct sess, link);
        struct bal_seat *seat = &out->seats[out->seats_nr];
        const struct layout_pin *p;

        assert(out->seats);
        if (!is_saved(s))
            continue;
        layout_seat(s, seat);
        if ((p = layout_pin_of(m, seat))) {
            seat->pinned = true;
            seat->cpu = p->seat.cpu;
        }
        out->seats_nr++;
    }
    rt_list_for (k, &l->pins) {
        const struct layout_pin *p = rt_list_entry(k, struct layout_pin, link);
        const struct sess *s = layout_sess_of(m, &p->seat);

        assert(out->seats);
        if (!s || !is_saved(s))
            out->seats[out->seats_nr++] = p->seat;
    }
    return 0;
}

void do_layout_save(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { { 0 } };
    const uint64_t losses = rpc_json_losses();
    struct bal_layout now;
    char *text = NULL;

    if (!param_check(call, params, list))
        return;
    if (!layout_now(user, &now)) {
        text = bal_layout_text(&now);
        bal_layout_free(&now);
    }
    if (text)
        rpc_reply_whole(call, json_pack("{s:s}", "text", text), losses);
    else
        rpc_fail(call, RPC_INTERNAL, "no memory for the layout");
    free(text);
}

/* ---- what differs ---------------------------------------------------------------------------------------- */

struct restore {
    struct mgr *mgr;
    struct rpc_call *call;
    uint64_t losses; /* when it began */
    struct bal_layout want;
    json_t *changes;
    size_t next; /* of the changes */
    struct move mv;
};

static json_t *change_add(struct restore *r, const char *what, const struct bal_seat *seat)
{
    char portal[ISCSI_PORTAL_STR_MAX];
    const struct sess *s;
    json_t *c = json_pack("{s:s}", "what", what);

    if (seat) {
        iscsi_portal_format(&seat->portal, portal);
        json_object_set_new(c, "target", json_string(seat->target));
        json_object_set_new(c, "portal", json_string(portal));
        json_object_set_new(c, "index", json_integer(seat->index));
        if ((s = layout_sess_of(r->mgr, seat)))
            json_object_set_new(c, "session", json_string(s->name));
    }
    json_array_append_new(r->changes, c);
    return c;
}

static void from_to(json_t *c, const char *from, const char *to)
{
    json_object_set_new(c, "from", json_string(from));
    json_object_set_new(c, "to", json_string(to));
}

static void differs_settings(struct restore *r)
{
    const struct layout *l = r->mgr->layout;
    const struct bal_layout *w = &r->want;
    char from[32], to[32];

    if (w->has_policy && w->policy != l->policy)
        from_to(change_add(r, "policy", NULL), bal_policy_names[l->policy], bal_policy_names[w->policy]);
    if (!w->has_rebalance || (w->rebalance == l->rebalance && (!w->budget || w->budget == l->budget)))
        return;
    snprintf(from, sizeof(from), "%s %u", bal_auto_names[l->rebalance], l->budget);
    snprintf(to, sizeof(to), "%s %u", bal_auto_names[w->rebalance], w->budget ? w->budget : l->budget);
    from_to(change_add(r, "rebalance", NULL), from, to);
}

static void differs_seat(struct restore *r, const struct bal_seat *seat)
{
    const struct sess *s = layout_sess_of(r->mgr, seat);
    const struct layout_pin *p = layout_pin_of(r->mgr, seat);
    json_t *c;

    if (seat->pinned && (!p || p->seat.cpu != seat->cpu)) {
        c = change_add(r, "pin", seat);
        json_object_set_new(c, "to", json_integer(seat->cpu));
        if (p)
            json_object_set_new(c, "from", json_integer(p->seat.cpu));
    } else if (!seat->pinned && p) {
        json_object_set_new(change_add(r, "unpin", seat), "from", json_integer(p->seat.cpu));
    }
    if (!s && !seat->pinned)
        change_add(r, "absent", seat);
    if (!s || s->core == seat->cpu)
        return;
    c = change_add(r, "move", seat);
    json_object_set_new(c, "id", json_integer(s->id));
    json_object_set_new(c, "from", json_integer(s->core));
    json_object_set_new(c, "to", json_integer(seat->cpu));
}

static void differs_rest(struct restore *r)
{
    rt_list_for (k, &r->mgr->layout->pins) {
        const struct layout_pin *p = rt_list_entry(k, struct layout_pin, link);

        if (!bal_layout_find(&r->want, p->seat.target, &p->seat.portal, p->seat.index))
            json_object_set_new(change_add(r, "unpin", &p->seat), "from", json_integer(p->seat.cpu));
    }
    rt_list_for (k, &r->mgr->sessions) {
        const struct sess *s = rt_list_entry(k, struct sess, link);
        struct bal_seat seat;

        layout_seat(s, &seat);
        if (is_saved(s) && !bal_layout_find(&r->want, seat.target, &seat.portal, seat.index))
            json_object_set_new(change_add(r, "extra", &seat), "from", json_integer(s->core));
    }
}

/* ---- and is made so -------------------------------------------------------------------------------------- */

static void restore_free(struct restore *r)
{
    bal_layout_free(&r->want);
    json_decref(r->changes);
    free(r);
}

static void restore_over(struct restore *r)
{
    rpc_reply_whole(r->call, json_pack("{s:O}", "changes", r->changes), r->losses);
    restore_free(r);
}

static void change_done(json_t *c, const char *why)
{
    json_object_set_new(c, "done", json_boolean(!why));
    if (why)
        json_object_set_new(c, "why", json_string(why));
}

static void seat_take(const json_t *c, struct bal_seat *out)
{
    *out = (struct bal_seat){ .index = (unsigned)json_integer_value(json_object_get(c, "index")) };
    snprintf(out->target, sizeof(out->target), "%s", json_string_value(json_object_get(c, "target")));
    (void)iscsi_portal_parse(&out->portal, json_string_value(json_object_get(c, "portal")));
    out->cpu = (int)json_integer_value(json_object_get(c, "to"));
}

static void pin_change(struct restore *r, json_t *c, bool on)
{
    struct layout_pin *p;
    struct bal_seat seat;
    struct sess *s;

    seat_take(c, &seat);
    if (on && layout_pin(r->mgr, &seat)) {
        change_done(c, "no room for one more pin");
        return;
    }
    if (!on && (p = layout_pin_of(r->mgr, &seat)))
        layout_unpin(r->mgr, p);
    if ((s = layout_sess_of(r->mgr, &seat)))
        layout_told(s, on ? "pinned" : "unpinned", "restore", s->core, s->core, UINT64_MAX,
                    on ? "a layout was restored" : "not pinned in the layout that was restored", NULL);
    change_done(c, NULL);
}

static void settings_change(struct restore *r, json_t *c, bool policy)
{
    struct layout *l = r->mgr->layout;

    if (policy) {
        l->policy = r->want.policy;
    } else {
        l->rebalance = r->want.rebalance;
        l->budget = r->want.budget ? r->want.budget : l->budget;
    }
    change_done(c, NULL);
}

static void restore_next(struct restore *r);

static void restore_moved(struct move *mv)
{
    struct restore *r = container_of(mv, struct restore, mv);

    change_done(json_array_get(r->changes, r->next++), mv->err ? mv->why : NULL);
    restore_next(r);
}

/* Return: true: it is under way. */
static bool move_change(struct restore *r, json_t *c)
{
    struct sess *s = sess_find(r->mgr, (unsigned)json_integer_value(json_object_get(c, "id")));
    char why[MGR_WHY_MAX] = "it is gone";
    const char *wrong = why;
    struct rt *to;

    if (s && (to = layout_reactor(r->mgr, (int)json_integer_value(json_object_get(c, "to")), why))) {
        r->mv = (struct move){ .sess = s,
                               .to = to,
                               .limit_ns = MOVE_LIMIT_MS * RT_MS,
                               .by = "restore",
                               .reason = "a layout was restored",
                               .done = restore_moved };
        if (!(wrong = move_begin(&r->mv)))
            return true;
    }
    change_done(c, wrong);
    return false;
}

static void restore_next(struct restore *r)
{
    for (json_t *c; (c = json_array_get(r->changes, r->next)); r->next++) {
        const char *what = json_string_value(json_object_get(c, "what"));

        if (!strcmp(what, "move")) {
            if (move_change(r, c))
                return;
        } else if (!strcmp(what, "pin") || !strcmp(what, "unpin")) {
            pin_change(r, c, *what == 'p');
        } else if (!strcmp(what, "policy") || !strcmp(what, "rebalance")) {
            settings_change(r, c, *what == 'p');
        }
    }
    layout_save(r->mgr);
    restore_over(r);
}

static bool cores_refused(struct restore *r, const char *name)
{
    char why[MGR_WHY_MAX];

    for (unsigned i = 0; i < r->want.seats_nr; i++) {
        const struct bal_seat *s = &r->want.seats[i];

        if (layout_reactor(r->mgr, s->cpu, why))
            continue;
        rpc_fail(r->call, RPC_FAILED, "%.80s:%u: %s; nothing was changed", name, s->line, why);
        return true;
    }
    return false;
}

void do_layout_restore(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("text", .needed = true),
        PARAM_TEXT("name"),
        PARAM_BOOL("dry_run"),
        { 0 },
    };
    const char *text = param_text(params, "text"), *name = param_text(params, "name");
    char why[BAL_TEXT_MAX];
    struct restore *r;
    int err;

    if (!param_check(call, params, list))
        return;
    name = *name ? name : "layout";
    if (!(r = calloc(1, sizeof(*r)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    r->mgr = user;
    r->call = call;
    if ((err = bal_layout_parse(&r->want, text, strlen(text), name, why)))
        rpc_fail(call, err == -EINVAL ? RPC_FAILED : RPC_INTERNAL, "%s; nothing was changed", why);
    /* All pins would go: a file that could not be read, or a pipe from a command that failed, looks like that. */
    if (!err && !r->want.has_policy && !r->want.has_rebalance && !r->want.seats_nr) {
        err = -EINVAL;
        rpc_fail(call, RPC_FAILED, "%.80s: there is no layout in it; nothing was changed", name);
    }
    if (err || cores_refused(r, name)) {
        restore_free(r);
        return;
    }
    r->losses = rpc_json_losses();
    r->changes = json_array();
    differs_settings(r);
    for (unsigned i = 0; i < r->want.seats_nr; i++)
        differs_seat(r, &r->want.seats[i]);
    differs_rest(r);
    /* A list that lacks a change is not carried out either. */
    if (param_flag(params, "dry_run") || rpc_json_losses() != r->losses)
        restore_over(r);
    else
        restore_next(r);
}
