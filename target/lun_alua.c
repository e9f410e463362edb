/*
 * lun_alua.c - through which ports the unit is reached, and how well: target port groups and their states
 *
 * The groups and their states are shared state like any other: they are part of the view, the owner changes them,
 * and who changed them is answered when every core has the new ones and nothing runs any more by a port that does
 * not admit it. Source: SPC-4 r36, "Asymmetric logical unit access".
 */
#include <string.h>

#include "target/lun_internal.h"

static const struct {
    uint8_t state;
    bool settable;
    const char *name;
} names[] = {
    { LUN_PORT_OPTIMIZED, true, "optimized" }, { LUN_PORT_NON_OPTIMIZED, true, "non-optimized" },
    { LUN_PORT_STANDBY, true, "standby" },     { LUN_PORT_UNAVAILABLE, true, "unavailable" },
    { LUN_PORT_OFFLINE, true, "offline" },     { LUN_PORT_TRANSITIONING, false, "transitioning" },
};

const char *lun_port_state_name(uint8_t state)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].state == state)
            return names[i].name;
    return "?";
}

int lun_port_state_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].settable && !strcmp(names[i].name, name))
            return names[i].state;
    return -1;
}

const struct lun_group *view_group(const struct lun_view *v, uint16_t tag)
{
    for (unsigned i = 0; i < v->groups_nr; i++)
        if (v->groups[i].tag == tag)
            return &v->groups[i];
    return NULL;
}

uint8_t view_port_state(const struct lun_view *v, uint16_t tag)
{
    const struct lun_group *g = view_group(v, tag);

    return g ? g->state : LUN_PORT_UNAVAILABLE; /* its portals are closed: who came in there is about to go */
}

bool view_in_transition(const struct lun_view *v)
{
    for (unsigned i = 0; i < v->groups_nr; i++)
        if (v->groups[i].state == LUN_PORT_TRANSITIONING)
            return true;
    return false;
}

/* What a port that does not admit a command answers. */
enum lun_next task_no_access(struct scsi_task *t)
{
    switch (t->itl->port_state) {
    case LUN_PORT_STANDBY: task_check(t, SCSI_NOT_READY, 0x04, 0x0b); break;
    case LUN_PORT_TRANSITIONING: task_check(t, SCSI_NOT_READY, 0x04, 0x0a); break;
    case LUN_PORT_OFFLINE: task_check(t, SCSI_NOT_READY, 0x04, 0x12); break;
    default: task_check(t, SCSI_NOT_READY, 0x04, 0x0c); break;
    }
    return LUN_DONE;
}

/* ---- from outside SCSI ----------------------------------------------------------------------------------- */

unsigned lun_groups(const struct lun *lun, struct lun_group out[static LUN_GROUPS_MAX])
{
    const struct lun_view *v = lun_view_here(lun);

    memcpy(out, v->groups, v->groups_nr * sizeof(out[0]));
    return v->groups_nr;
}

/* What a group is to be, by what it was: NULL, there was none. */
static struct lun_group group_next(struct lun_group want, const struct lun_group *old)
{
    const struct lun_group none = { .tag = want.tag };

    if (!old)
        old = &none;
    if (want.state == LUN_PORT_KEEP || (want.state == LUN_PORT_BACK && old->state != LUN_PORT_TRANSITIONING))
        return *old;
    if (want.state == LUN_PORT_BACK) {
        want = *old;
        want.state = old->was;
        return want;
    }
    if (want.state == LUN_PORT_TRANSITIONING) {
        want = *old;
        want.was = old->state == LUN_PORT_TRANSITIONING ? old->was : old->state;
        want.state = LUN_PORT_TRANSITIONING;
        return want;
    }
    want.was = want.state;
    want.why = old == &none ? LUN_GROUP_NEW : want.state != old->state ? LUN_GROUP_IMPLICIT : old->why;
    return want;
}

static bool groups_equal(const struct lun_view *a, const struct lun_view *b)
{
    if (a->groups_nr != b->groups_nr)
        return false;
    for (unsigned i = 0; i < a->groups_nr; i++)
        if (a->groups[i].tag != b->groups[i].tag || a->groups[i].state != b->groups[i].state ||
            a->groups[i].preferred != b->groups[i].preferred)
            return false;
    return true;
}

/* @from, @to: may be the same view. */
static void groups_put(struct lun_view *to, const struct lun_view *from, const struct lun_group *groups,
                       unsigned nr)
{
    struct lun_group next[LUN_GROUPS_MAX];

    assert(nr <= LUN_GROUPS_MAX);
    for (unsigned i = 0; i < nr; i++) {
        assert(!i || groups[i].tag > groups[i - 1].tag);
        next[i] = group_next(groups[i], view_group(from, groups[i].tag));
    }
    memcpy(to->groups, next, nr * sizeof(next[0]));
    to->groups_nr = nr;
}

void lun_init_groups(struct lun *lun, const struct lun_group *groups, unsigned nr)
{
    struct lun_view *v = lun->views[lun->cur];

    v->groups_nr = 0;
    groups_put(v, v, groups, nr);
}

static void groups_start(struct rt_msg *m)
{
    struct lun_request *r = container_of(m, struct lun_request, msg);
    struct lun *lun = r->lun;
    struct lun_view *n = owner_draft(lun);

    lun->own.req = r;
    groups_put(n, owner_view(lun), r->groups, r->groups_nr);
    if (groups_equal(n, owner_view(lun))) {
        owner_end(lun);
        return;
    }
    if (r->told)
        view_event(n, 0x2a, r->told, 0);
    owner_publish(lun, owner_end);
}

static void groups_arrive(struct rt_msg *m)
{
    owner_queue(container_of(m, struct lun_request, msg)->lun, m, groups_start);
}

void lun_set_groups(struct lun *lun, struct lun_request *r, const struct lun_group *groups, unsigned nr,
                    enum lun_groups_told told)
{
    r->groups = groups;
    r->groups_nr = nr;
    r->told = (uint8_t)told;
    request_send(lun, r, groups_arrive);
}
