/*
 * tgt_group.c - changes of portals, and of the access states of port groups
 *
 * A group is there for every unit as long as it has an open portal. So a portal that is opened accepts only when
 * the units know its group, and one that is closed has its sessions ended before they forget it. What the
 * configuration says of a group is what it starts with; a state that an initiator has set since stays until it is set
 * anew or the target restarts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/json.h"
#include "target/tgt_edit.h"

static const char *member(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

/* ---- what there is --------------------------------------------------------------------------------------- */

/* Into a list that ascends, once. Return: how many there are then. */
static unsigned tag_insert(uint16_t *tags, unsigned nr, uint16_t tag)
{
    unsigned at = 0;

    while (at < nr && tags[at] < tag)
        at++;
    if (at < nr && tags[at] == tag)
        return nr;
    memmove(&tags[at + 1], &tags[at], (nr - at) * sizeof(tags[0]));
    tags[at] = tag;
    return nr + 1;
}

unsigned portal_groups(const struct tgt *t, uint16_t tags[static TGT_PORTALS_MAX])
{
    unsigned nr = 0;

    for (unsigned i = 0; i < t->portals_nr; i++) {
        if (t->portals[i].listener && !t->portals[i].leaving)
            nr = tag_insert(tags, nr, t->portals[i].group);
    }
    return nr;
}

static bool group_is_there(const struct tgt *t, uint16_t tag)
{
    for (unsigned i = 0; i < t->portals_nr; i++) {
        if (t->portals[i].listener && !t->portals[i].leaving && t->portals[i].group == tag)
            return true;
    }
    return false;
}

static bool group_of_list(json_t *list, struct lun_group *g)
{
    size_t i;
    json_t *v;

    json_array_foreach(list, i, v)
    {
        if (json_integer_value(json_object_get(v, "group")) != g->tag)
            continue;
        g->state = (uint8_t)lun_port_state_parse(member(v, "state")); /* was checked */
        g->preferred = json_is_true(json_object_get(v, "preferred"));
        return true;
    }
    return false;
}

void conf_group(json_t *target, json_t *lun, struct lun_group *g)
{
    g->state = LUN_PORT_OPTIMIZED;
    g->preferred = false;
    if (!lun || !group_of_list(json_object_get(lun, "alua"), g))
        (void)group_of_list(json_object_get(target, "alua"), g);
}

void unit_groups(struct unit *u, json_t *doc)
{
    json_t *target = conf_target(doc, u->iqn);
    struct lun_group groups[LUN_GROUPS_MAX];
    uint16_t tags[TGT_PORTALS_MAX];
    const unsigned nr = portal_groups(u->tgt, tags);

    for (unsigned i = 0; i < nr; i++) {
        groups[i] = (struct lun_group){ .tag = tags[i] };
        conf_group(target, conf_lun(target, u->number), &groups[i]);
    }
    lun_init_groups(u->lun, groups, nr);
}

/* ---- the walk over the units ----------------------------------------------------------------------------- */

/* One after another, as each takes a round over the cores; no other change adds or takes units meanwhile. */
static void walk_next(struct change *c);

static void unit_told(struct lun_request *req, int err)
{
    struct change *c = container_of(req, struct change, req);

    if (err)
        rt_log(RT_ERR, "a LUN did not take its port groups: %s", strerror(-err));
    walk_next(c);
}

static bool unit_is_meant(const struct group_change *g, const struct unit *u)
{
    return g->tag && !strcmp(g->iqn, u->iqn) && (g->number < 0 || g->number == u->number);
}

static bool knows_group(const struct lun_group *groups, unsigned nr, uint16_t tag)
{
    for (unsigned i = 0; i < nr; i++) {
        if (groups[i].tag == tag)
            return true;
    }
    return false;
}

static unsigned groups_of(struct change *c, const struct unit *u)
{
    struct group_change *g = &c->group;
    json_t *target = conf_target(c->tgt->doc, u->iqn);
    struct lun_group had[LUN_GROUPS_MAX];
    const unsigned had_nr = lun_groups(u->lun, had);
    uint16_t tags[TGT_PORTALS_MAX];
    const unsigned nr = portal_groups(c->tgt, tags);

    for (unsigned i = 0; i < nr; i++) {
        g->groups[i] = (struct lun_group){ .tag = tags[i], .state = LUN_PORT_KEEP };
        if (tags[i] == g->tag && unit_is_meant(g, u)) {
            g->groups[i].state = g->want;
            g->groups[i].preferred = g->preferred;
        } else if (!knows_group(had, had_nr, tags[i])) {
            conf_group(target, conf_lun(target, u->number), &g->groups[i]);
        }
    }
    return nr;
}

static void walk_next(struct change *c)
{
    struct group_change *g = &c->group;

    while ((g->at = g->at->next) != &c->tgt->units) {
        struct unit *u = rt_list_entry(g->at, struct unit, link);

        if (!u->lun || (g->tag && !unit_is_meant(g, u)))
            continue;
        c->req.fn = unit_told;
        lun_set_groups(u->lun, &c->req, g->groups, groups_of(c, u), g->told);
        return;
    }
    g->walked(c);
}

/* @want: the state of g->tag, as the units are to have it. */
static void walk(struct change *c, uint8_t want, enum lun_groups_told told, void (*walked)(struct change *c))
{
    struct group_change *g = &c->group;

    g->at = &c->tgt->units;
    g->want = want;
    g->told = told;
    g->walked = walked;
    walk_next(c);
}

/* ---- after saving, or not -------------------------------------------------------------------------------- */

static void settle_over(struct change *c)
{
    struct group_change *g = &c->group;

    if (g->opened && !c->tgt->stopping)
        portal_accept(g->opened);
    g->over(c);
}

void group_settle(struct change *c, void (*over)(struct change *c))
{
    struct group_change *g = &c->group;
    const uint32_t id = g->closing ? g->closing->id : 0;

    g->over = over;
    if (!g->opened && !g->closing && !g->tag) {
        over(c);
        return;
    }
    if (g->closing) {
        portal_close(g->closing);
        reg_end_portal(c->tgt, id, "its portal was taken away");
    }
    walk(c, g->state, LUN_GROUPS_CHANGED, settle_over);
}

static void undo_over(struct change *c)
{
    c->group.over(c);
}

void group_undo(struct change *c, void (*over)(struct change *c))
{
    struct group_change *g = &c->group;

    g->over = over;
    if (g->opened)
        portal_close(g->opened);
    if (g->closing)
        g->closing->leaving = false;
    if (g->moving)
        walk(c, LUN_PORT_BACK, LUN_GROUPS_FAILED, undo_over);
    else
        over(c);
}

/* ---- portals --------------------------------------------------------------------------------------------- */

static json_t *portal_entry(const struct tgt_portal *p)
{
    char text[RT_ADDR_STR_MAX];

    rt_addr_format(&p->addr, text);
    return p->group == TGT_GROUP_DEFAULT ? json_string(text) : json_sprintf("%s,%u", text, p->group);
}

/* The address and group that the parameters name. False: c->why. */
static bool portal_params(struct change *c, struct rt_addr *addr, uint16_t *group)
{
    const json_t *tag = json_object_get(c->params, "group");
    const char *text = change_text(c, "addr");

    if (!text)
        return false;
    if (tgt_portal_parse(text, addr, group)) {
        change_refuse(c,
                      "%.200s is no portal: give an address with an optional port, like 192.0.2.1:3260 or "
                      "[2001:db8::1]:3260",
                      text);
        return false;
    }
    if (!tag)
        return true;
    if (!json_is_integer(tag) || json_integer_value(tag) < 1 || json_integer_value(tag) > UINT16_MAX) {
        change_refuse(c, "parameters: \"group\" must be a whole number from 1 to 65535");
        return false;
    }
    *group = (uint16_t)json_integer_value(tag);
    return true;
}

static const char *portal_advice(int err)
{
    switch (err) {
    case -EADDRINUSE: return "; it is a portal already, or another program listens there";
    case -EADDRNOTAVAIL: return "; it is no address of this host";
    case -EACCES: return "; ports below 1024 need privilege";
    case -E2BIG: return "; there are as many as there can be, take one away first";
    default: return "";
    }
}

enum edit_next edit_portal_add(struct change *c)
{
    static const char *const known[] = { "addr", "group", NULL };
    struct tgt *t = c->tgt;
    json_t *list = json_object_get(c->doc, "portals");
    char text[RT_ADDR_STR_MAX];
    struct rt_addr addr;
    uint16_t group;
    int err;

    if (!change_params_known(c, known) || !portal_params(c, &addr, &group))
        return EDIT_REFUSED;
    rt_addr_format(&addr, text);
    if ((err = portal_listen(t, &addr, group, true, &c->group.opened))) {
        c->group.opened = NULL;
        return change_refuse(c, "portal %s cannot be opened: %s%s", text, strerror(-err), portal_advice(err));
    }
    /* Those that are there because nothing else is said stay when something is. */
    if (!json_array_size(list)) {
        list = change_list(c->doc, "portals");
        for (unsigned i = 0; i < t->portals_nr; i++) {
            const struct tgt_portal *p = &t->portals[i];

            if (p->listener && !p->given && p != c->group.opened)
                json_array_append_new(list, portal_entry(p));
        }
    }
    json_array_append_new(list, portal_entry(c->group.opened));
    if (change_edited(c) != EDIT_SAVE)
        return EDIT_REFUSED;
    rt_addr_format(&c->group.opened->addr, text);
    c->result = json_pack("{s:s, s:i}", "addr", text, "tpgt", (int)group);
    return EDIT_SAVE;
}

static unsigned portals_open_nr(const struct tgt *t)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < t->portals_nr; i++)
        nr += t->portals[i].listener != NULL;
    return nr;
}

/* Out of the list, when it is there; the defaults become a list, when it is one of them. */
static void portal_unlist(struct change *c, const struct tgt_portal *gone)
{
    struct tgt *t = c->tgt;
    json_t *list = json_object_get(c->doc, "portals");

    if (!json_array_size(list) && !gone->given) {
        list = change_list(c->doc, "portals");
        for (unsigned i = 0; i < t->portals_nr; i++) {
            if (t->portals[i].listener && !t->portals[i].given)
                json_array_append_new(list, portal_entry(&t->portals[i]));
        }
    }
    for (size_t i = json_array_size(list); i-- > 0;) {
        struct rt_addr addr;
        uint16_t group;

        if (!tgt_portal_parse(json_string_value(json_array_get(list, i)), &addr, &group) &&
            rt_addr_equal(&addr, &gone->addr))
            json_array_remove(list, i);
    }
}

enum edit_next edit_portal_remove(struct change *c)
{
    static const char *const known[] = { "addr", "force", NULL };
    const bool force = json_is_true(json_object_get(c->params, "force"));
    struct tgt_portal *p;
    char text[RT_ADDR_STR_MAX];
    struct rt_addr addr;
    uint16_t group;
    unsigned n;

    if (!change_params_known(c, known) || !portal_params(c, &addr, &group))
        return EDIT_REFUSED;
    rt_addr_format(&addr, text);
    if (!(p = portal_find(c->tgt, &addr)))
        return change_refuse(c, "there is no portal %s; `corelane portal list` shows those there are", text);
    if (portals_open_nr(c->tgt) == 1)
        return change_refuse(c, "portal %s is the last: nobody could log in; add another one first", text);
    n = reg_count_portal(c->tgt, p->id);
    if (n && !force)
        return change_refuse(c, "portal %s has %u session%s; log the initiators out first, or force it", text,
                             n, n == 1 ? "" : "s");
    c->group.closing = p;
    p->leaving = true;
    portal_unlist(c, p);
    return change_edited(c);
}

/* ---- access states --------------------------------------------------------------------------------------- */

static void list_drop(json_t *list, uint16_t tag)
{
    for (size_t i = json_array_size(list); i-- > 0;) {
        if (json_integer_value(json_object_get(json_array_get(list, i), "group")) == tag)
            json_array_remove(list, i);
    }
}

static void transition_over(struct rt_timer *timer)
{
    change_save(container_of(timer, struct change, group.timer));
}

static void transition_begun(struct change *c)
{
    const json_int_t ms = json_integer_value(json_object_get(c->params, "transition_ms"));

    if (c->tgt->stopping) {
        change_refuse(c, "the target is stopping");
        change_fail(c);
        return;
    }
    c->group.timer.fn = transition_over;
    rt_timer_arm(c->tgt->rt, &c->group.timer, (uint64_t)ms * RT_MS);
}

void change_hurry(struct tgt *t)
{
    struct change *c = t->change;

    if (!c || !rt_timer_armed(&c->group.timer))
        return;
    rt_timer_disarm(t->rt, &c->group.timer);
    change_refuse(c, "the target is stopping");
    change_fail(c);
}

/* A whole number of the parameters. @def: when it is not there; below @min: it must be. False: c->why. */
static bool param_num(struct change *c, const char *key, json_int_t min, json_int_t max, json_int_t def,
                      json_int_t *out)
{
    const json_t *v = json_object_get(c->params, key);

    *out = v && !json_is_null(v) ? json_integer_value(v) : def;
    if ((v && !json_is_null(v) && !json_is_integer(v)) || *out < min || *out > max) {
        change_refuse(c, "parameters: \"%s\" must be a whole number from %lld to %lld", key, (long long)min,
                      (long long)max);
        return false;
    }
    return true;
}

/* The object that keeps the state: the target, or its LUN. NULL: c->why. */
static json_t *alua_place(struct change *c)
{
    const json_t *number = json_object_get(c->params, "lun");
    struct group_change *g = &c->group;
    const char *iqn = change_text(c, "iqn");
    json_t *target;

    g->number = -1;
    if (!iqn || !(target = change_target(c, iqn)))
        return NULL;
    snprintf(g->iqn, sizeof(g->iqn), "%s", member(target, "iqn"));
    if (!number || json_is_null(number))
        return target;
    if (!change_lun(c, &target))
        return NULL;
    g->number = (int)json_integer_value(number);
    return c->entry;
}

enum edit_next edit_alua_set(struct change *c)
{
    static const char *const known[] = { "iqn", "lun", "group", "state", "preferred", "transition_ms", NULL };
    struct group_change *g = &c->group;
    const char *state;
    json_t *place, *lun;
    json_int_t tag, ms;
    size_t i;

    if (!change_params_known(c, known) || !(place = alua_place(c)) || !(state = change_text(c, "state")) ||
        !param_num(c, "group", 1, UINT16_MAX, 0, &tag) ||
        !param_num(c, "transition_ms", 0, LUN_TRANSITION_MAX_S * 1000, 0, &ms))
        return EDIT_REFUSED;
    if (lun_port_state_parse(state) < 0)
        return change_refuse(c,
                             "state \"%.32s\" is not known; it may be optimized, non-optimized, standby, "
                             "unavailable or offline",
                             state);
    if (!group_is_there(c->tgt, (uint16_t)tag))
        return change_refuse(c, "no portal is of group %lld; `corelane portal list` shows the groups there are",
                             (long long)tag);
    g->state = (uint8_t)lun_port_state_parse(state);
    g->preferred = json_is_true(json_object_get(c->params, "preferred"));
    if (g->number < 0) { /* for all: what LUNs had of their own goes */
        json_array_foreach(json_object_get(place, "luns"), i, lun)
            list_drop(json_object_get(lun, "alua"), (uint16_t)tag);
    }
    list_drop(change_list(place, "alua"), (uint16_t)tag);
    json_array_append_new(change_list(place, "alua"), json_pack("{s:I, s:s, s:b}", "group", tag, "state", state,
                                                                "preferred", (int)g->preferred));
    if (change_edited(c) != EDIT_SAVE)
        return EDIT_REFUSED;
    g->tag = (uint16_t)tag;
    if (!ms)
        return EDIT_SAVE;
    g->moving = true;
    walk(c, LUN_PORT_TRANSITIONING, LUN_GROUPS_NOT_TOLD, transition_begun);
    return EDIT_WAIT;
}
