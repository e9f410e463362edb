/*
 * dev_alua.c - REPORT and SET TARGET PORT GROUPS
 *
 * A group has one port here: the portals of a group are one SCSI target port (RFC 7143 4.4.3), and its tag is its
 * relative identifier.
 */
#include <string.h>

#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"
#include "target/lun_internal.h"

enum { PREFERRED = 0x80, HEAD_EXTENDED = 0x20, DESC_LEN = 8, PORT_LEN = 4 };
enum { SET_HEAD_LEN = 4, SET_DESC_LEN = 4 };
/* Transitioning, offline, unavailable, standby, non-optimized, optimized: all but dependent on the block. */
#define SUPPORTED 0xcfu

/* Source: SPC-4 r36, "REPORT TARGET PORT GROUPS command". */
void dev_report_groups(struct scsi_task *t)
{
    const struct lun_view *v = task_view(t);
    const uint32_t len = v->groups_nr * (DESC_LEN + PORT_LEN);
    uint8_t head[8] = { [4] = 0x10, [5] = LUN_TRANSITION_MAX_S };
    struct resp r;

    resp_init(&r, t);
    if (t->cdb[1] & HEAD_EXTENDED) {
        store_be32(head, len + 4);
        resp_put(&r, head, 8);
    } else {
        store_be32(head, len);
        resp_put(&r, head, 4);
    }
    for (unsigned i = 0; i < v->groups_nr; i++) {
        const struct lun_group *g = &v->groups[i];
        uint8_t d[DESC_LEN + PORT_LEN] = { [1] = SUPPORTED, [5] = g->why, [7] = 1 };

        d[0] = (uint8_t)((g->preferred ? PREFERRED : 0) | g->state);
        store_be16(&d[2], g->tag);
        store_be16(&d[DESC_LEN + 2], g->tag);
        resp_put(&r, d, sizeof(d));
    }
    resp_end(&r);
    task_end(t);
}

/* ---- SET TARGET PORT GROUPS ------------------------------------------------------------------------------ */

enum lun_next dev_set_groups_check(struct scsi_task *t)
{
    if (!t->blocks)
        return LUN_DONE; /* asks for nothing */
    if (t->blocks < SET_HEAD_LEN + SET_DESC_LEN || t->blocks % SET_DESC_LEN ||
        t->blocks > SET_HEAD_LEN + LUN_GROUPS_MAX * SET_DESC_LEN) {
        t->out_len = 0; /* nothing is asked for, however much was announced */
        return task_bad_cdb(t, 6, -1);
    }
    return LUN_RUN;
}

static bool state_settable(uint8_t state)
{
    return state <= LUN_PORT_UNAVAILABLE || state == LUN_PORT_OFFLINE;
}

/* One descriptor, at @at of the list. False: sense is set. */
static bool group_set(struct scsi_task *t, struct lun_view *n, const uint8_t *p, uint32_t at, uint64_t *seen)
{
    const uint8_t state = p[at] & 0x0f;
    const struct lun_group *g = view_group(n, load_be16(&p[at + 2]));
    const unsigned i = g ? (unsigned)(g - n->groups) : 0;

    if (!state_settable(state)) {
        task_bad_param(t, at, 3);
        return false;
    }
    if (!g || *seen >> i & 1) { /* no such group, or a second word on it */
        task_bad_param(t, at + 2, -1);
        return false;
    }
    *seen |= 1ull << i;
    if (g->state == state)
        return true;
    n->groups[i].state = n->groups[i].was = state;
    n->groups[i].why = LUN_GROUP_EXPLICIT;
    return true;
}

static void sets_tell(const struct scsi_task *t, const struct lun_view *v, const struct lun_view *n)
{
    for (unsigned i = 0; i < n->groups_nr; i++)
        if (n->groups[i].state != v->groups[i].state)
            rt_log_peer(RT_NOTICE, "%s set port group %u of LUN %u of %s to %s", t->nexus->initiator,
                        n->groups[i].tag, t->number, t->nexus->target, lun_port_state_name(n->groups[i].state));
}

/* On the owner core. All of the list or nothing; answered when the new states hold. Source: SPC-4 r36, "SET TARGET
 * PORT GROUPS command". */
void dev_set_groups(struct scsi_task *t)
{
    static_assert(LUN_GROUPS_MAX <= 64, "groups are marked in one word");
    struct lun *lun = task_lun(t);
    const struct lun_view *v = owner_view(lun);
    struct lun_view *n = owner_draft(lun);
    uint8_t p[SET_HEAD_LEN + LUN_GROUPS_MAX * SET_DESC_LEN];
    uint64_t seen = 0;

    if (t->out_got < t->out_len) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        owner_end(lun);
        return;
    }
    if (view_in_transition(v)) {
        task_check(t, SCSI_NOT_READY, 0x04, 0x0a);
        owner_end(lun);
        return;
    }
    iov_get(t->out_iov, t->out_nr, 0, p, t->out_len);
    for (uint32_t at = SET_HEAD_LEN; at < t->out_len; at += SET_DESC_LEN) {
        if (!group_set(t, n, p, at, &seen)) {
            owner_end(lun);
            return;
        }
    }
    if (!memcmp(n->groups, v->groups, n->groups_nr * sizeof(n->groups[0]))) {
        owner_end(lun);
        return;
    }
    sets_tell(t, v, n);
    view_event(n, 0x2a, LUN_GROUPS_CHANGED, t->itl->id);
    owner_publish(lun, owner_end);
}
