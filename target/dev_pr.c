/*
 * dev_pr.c - PERSISTENT RESERVE OUT: the rules of registrations and reservations, on the owner core
 *
 * A service action reads the published view and writes the draft, and says whether the draft is to be
 * published. Registrants are told apart by their place in a view; sets of them in events are places in the
 * view before. With APTPL the new state is on the disk before it is published, so a power loss never
 * forgets a fence that was answered. Source: SPC-4 r36, "Persistent reservations model", "PERSISTENT
 * RESERVE OUT command".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"
#include "target/lun_internal.h"

enum { PR_PARAM_LEN = 24, PR_TIDS_AT = 28 };
enum { FLAG_SPEC_I_PT = 0x08, FLAG_ALL_TG_PT = 0x04, FLAG_APTPL = 0x01, MOVE_UNREG = 0x02 };
enum pr_sa { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, REGISTER_MOVE };

enum pr_result {
    PR_DONE,                                /* GOOD, nothing changed */
    PR_CHANGED,                             /* GOOD, publish the draft */
    PR_CONFLICT,
    PR_REFUSED,                             /* sense is set */
};

struct pr_call {
    struct scsi_task *t;
    const struct lun_view *v;
    struct lun_view *n;
    const uint8_t *p;                       /* parameter list */
    uint32_t len;
    uint64_t key, sa_key;
    uint8_t sa, flags, type;
    int me;                                 /* place in v, -1: not registered */
};

/* ---- who is who ------------------------------------------------------------------------------------------ */

bool pr_matches(const struct lun_reg *r, const struct nexus *n)
{
    if (strcmp(r->initiator, n->initiator) || strcmp(r->target, n->target))
        return false;
    if (!r->any_isid && memcmp(r->isid, n->isid, sizeof(r->isid)))
        return false;
    return r->any_port || (r->tpgt == n->tpgt && r->rel_port == n->rel_port);
}

int pr_find(const struct lun_view *v, const struct nexus *n)
{
    for (unsigned i = 0; i < v->regs_nr; i++)
        if (pr_matches(&v->regs[i], n))
            return (int)i;
    return -1;
}

/* Whether two registrations could be one nexus's. */
static bool regs_meet(const struct lun_reg *a, const struct lun_reg *b)
{
    if (strcmp(a->initiator, b->initiator) || strcmp(a->target, b->target))
        return false;
    if (!a->any_isid && !b->any_isid && memcmp(a->isid, b->isid, sizeof(a->isid)))
        return false;
    return a->any_port || b->any_port || (a->tpgt == b->tpgt && a->rel_port == b->rel_port);
}

static int reg_find(const struct lun_view *v, const struct lun_reg *r)
{
    for (unsigned i = 0; i < v->regs_nr; i++)
        if (regs_meet(&v->regs[i], r))
            return (int)i;
    return -1;
}

bool pr_all(uint8_t type)
{
    return type == PR_WRITE_EXCLUSIVE_AR || type == PR_EXCLUSIVE_ACCESS_AR;
}

bool pr_type_ok(unsigned type)
{
    return type <= PR_EXCLUSIVE_ACCESS_AR && (1u << type & 0x1ea);   /* 1, 3, 5 to 8 */
}

/* Types that let registrants in: they lose something when the reservation goes. */
static bool pr_for_registrants(uint8_t type)
{
    return type >= PR_WRITE_EXCLUSIVE_RO;
}

static bool holds(const struct lun_view *v, int i)
{
    return v->pr_type && i >= 0 && (pr_all(v->pr_type) || v->pr_holder == i);
}

/* ---- changes to the draft -------------------------------------------------------------------------------- */

static void event_to(struct pr_call *c, uint8_t ascq, const uint64_t *set)
{
    struct lun_event *e = view_event(c->n, 0x2a, ascq, c->t->itl->id);

    e->regs_only = true;
    memcpy(e->regs, set, sizeof(e->regs));
}

static void set_all(const struct lun_view *v, uint64_t *set)
{
    for (unsigned i = 0; i < v->regs_nr; i++)
        regs_set(set, i);
}

static void reservation_drop(struct pr_call *c)
{
    c->n->pr_type = PR_NONE;
    c->n->pr_holder = -1;
}

/* The draft's registrations are the view's without @set; the holder keeps its name under a new number. */
static void regs_drop(struct pr_call *c, const uint64_t *set)
{
    struct lun_view *n = c->n;
    const int holder = n->pr_holder;

    n->regs_nr = 0;
    n->pr_holder = -1;
    for (unsigned i = 0; i < c->v->regs_nr; i++) {
        if (regs_has(set, (int)i))
            continue;
        if (holder == (int)i)
            n->pr_holder = (int)n->regs_nr;
        n->regs[n->regs_nr++] = c->v->regs[i];
    }
    if (n->pr_type && (pr_all(n->pr_type) ? !n->regs_nr : n->pr_holder < 0))
        reservation_drop(c);
}

static enum pr_result refuse(struct pr_call *c, unsigned byte, int bit)
{
    task_bad_param(c->t, byte, bit);
    return PR_REFUSED;
}

static enum pr_result no_room(struct pr_call *c)
{
    task_check(c->t, SCSI_ILLEGAL_REQUEST, 0x55, 0x04);   /* INSUFFICIENT REGISTRATION RESOURCES */
    return PR_REFUSED;
}

static bool reg_add(struct pr_call *c, const struct lun_reg *r)
{
    if (c->n->regs_nr == LUN_REGS_MAX)
        return false;
    c->n->regs[c->n->regs_nr++] = *r;
    return true;
}

static struct lun_reg reg_of_nexus(const struct nexus *n, uint64_t key)
{
    struct lun_reg r = { .key = key, .tpgt = n->tpgt, .rel_port = n->rel_port };

    memcpy(r.initiator, n->initiator, sizeof(r.initiator));
    memcpy(r.target, n->target, sizeof(r.target));
    memcpy(r.isid, n->isid, sizeof(r.isid));
    return r;
}

/* ---- REGISTER -------------------------------------------------------------------------------------------- */

static enum pr_result unregister(struct pr_call *c)
{
    uint64_t gone[LUN_REGS_MAX / 64] = { 0 }, others[LUN_REGS_MAX / 64] = { 0 };
    const uint8_t type = c->v->pr_type;

    regs_set(gone, (unsigned)c->me);
    regs_drop(c, gone);
    if (type && !c->n->pr_type && pr_for_registrants(type)) {
        set_all(c->v, others);
        event_to(c, 0x04, others);          /* RESERVATIONS RELEASED */
    }
    return PR_CHANGED;
}

/* SPEC_I_PT: the nexuses listed are registered too, all of them or none. */
static enum pr_result register_listed(struct pr_call *c, const struct lun_reg *me)
{
    uint32_t at = PR_TIDS_AT, took;

    if (c->len < PR_TIDS_AT || load_be32(&c->p[PR_PARAM_LEN]) != c->len - PR_TIDS_AT) {
        task_check(c->t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        return PR_REFUSED;
    }
    for (; at < c->len; at += took) {
        struct lun_reg r = *me;

        if (!(took = pr_tid_decode(&r, &c->p[at], c->len - at)))
            return refuse(c, at, -1);
        if (reg_find(c->n, &r) >= 0)
            return regs_meet(&r, me) ? refuse(c, at, -1) : PR_CONFLICT;
        if (!reg_add(c, &r))
            return no_room(c);
    }
    return PR_CHANGED;
}

static enum pr_result register_new(struct pr_call *c)
{
    struct lun_reg r = reg_of_nexus(c->t->nexus, c->sa_key);

    r.any_port = c->flags & FLAG_ALL_TG_PT;
    if (!reg_add(c, &r))
        return no_room(c);
    return c->flags & FLAG_SPEC_I_PT ? register_listed(c, &r) : PR_CHANGED;
}

static enum pr_result pr_register(struct pr_call *c)
{
    const bool ignore = c->sa == REGISTER_IGNORE;
    const uint64_t mine = c->me >= 0 ? c->v->regs[c->me].key : 0;

    if ((c->flags & FLAG_SPEC_I_PT) && (ignore || c->me >= 0))
        return refuse(c, 20, 3);
    if (!ignore && c->key != mine)
        return PR_CONFLICT;
    c->n->aptpl = c->flags & FLAG_APTPL;
    c->n->pr_gen++;
    if (c->me < 0)
        return c->sa_key ? register_new(c) : PR_DONE;
    if (!c->sa_key)
        return unregister(c);
    c->n->regs[c->me].key = c->sa_key;
    return PR_CHANGED;
}

/* The reservation and a registration go to another nexus; this one may leave. */
static enum pr_result pr_move(struct pr_call *c)
{
    struct lun_reg to;
    int at;

    if (!holds(c->v, c->me) || pr_all(c->v->pr_type))
        return PR_CONFLICT;
    if (!c->sa_key)
        return refuse(c, 8, -1);
    to = c->v->regs[c->me];
    to.key = c->sa_key;
    to.any_port = false;
    to.rel_port = load_be16(&c->p[18]);
    to.tpgt = to.rel_port;                  /* a group is a port */
    if (!view_group(c->v, to.tpgt))
        return refuse(c, 18, -1);
    if (load_be32(&c->p[20]) != c->len - PR_PARAM_LEN)
        return refuse(c, 20, -1);
    if (pr_tid_decode(&to, &c->p[PR_PARAM_LEN], c->len - PR_PARAM_LEN) != c->len - PR_PARAM_LEN)
        return refuse(c, PR_PARAM_LEN, -1);
    if (regs_meet(&to, &c->v->regs[c->me]))
        return refuse(c, PR_PARAM_LEN, -1);
    at = reg_find(c->n, &to);
    if (at < 0 && !reg_add(c, &to))
        return no_room(c);
    if (at >= 0)
        c->n->regs[at].key = c->sa_key;
    else
        at = (int)c->n->regs_nr - 1;
    c->n->pr_holder = at;
    c->n->aptpl = c->p[17] & FLAG_APTPL;
    c->n->pr_gen++;
    if (c->p[17] & MOVE_UNREG) {
        const unsigned me = (unsigned)c->me;

        memmove(&c->n->regs[me], &c->n->regs[me + 1], (--c->n->regs_nr - me) * sizeof(to));
        if (c->n->pr_holder > c->me)
            c->n->pr_holder--;
    }
    return PR_CHANGED;
}

/* ---- RESERVE, RELEASE, CLEAR ----------------------------------------------------------------------------- */

static enum pr_result pr_reserve(struct pr_call *c)
{
    if (c->v->pr_type)
        return holds(c->v, c->me) && c->v->pr_type == c->type ? PR_DONE : PR_CONFLICT;
    c->n->pr_type = c->type;
    c->n->pr_holder = pr_all(c->type) ? -1 : c->me;
    return PR_CHANGED;
}

static enum pr_result pr_release(struct pr_call *c)
{
    uint64_t others[LUN_REGS_MAX / 64] = { 0 };

    if (!holds(c->v, c->me))
        return PR_DONE;
    if (c->v->pr_type != c->type) {
        task_check(c->t, SCSI_ILLEGAL_REQUEST, 0x26, 0x04);   /* INVALID RELEASE OF PERSISTENT RESERVATION */
        return PR_REFUSED;
    }
    reservation_drop(c);
    if (pr_for_registrants(c->type)) {
        set_all(c->v, others);
        event_to(c, 0x04, others);
    }
    return PR_CHANGED;
}

static enum pr_result pr_clear(struct pr_call *c)
{
    uint64_t all[LUN_REGS_MAX / 64] = { 0 };

    set_all(c->v, all);
    regs_drop(c, all);
    event_to(c, 0x03, all);                 /* RESERVATIONS PREEMPTED */
    c->n->pr_gen++;
    return PR_CHANGED;
}

/* ---- PREEMPT --------------------------------------------------------------------------------------------- */

/* The registrations to go: those with the key, or with @all every one, but never the preemptor's. */
static unsigned victims(const struct pr_call *c, bool all, uint64_t *set)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < c->v->regs_nr; i++) {
        if ((int)i == c->me || (!all && c->v->regs[i].key != c->sa_key))
            continue;
        regs_set(set, i);
        nr++;
    }
    return nr;
}

static void preempt_reservation(struct pr_call *c, const uint64_t *gone)
{
    uint64_t others[LUN_REGS_MAX / 64] = { 0 };
    const uint8_t old = c->v->pr_type;

    c->n->pr_type = c->type;
    c->n->pr_holder = pr_all(c->type) ? -1 : c->me;
    regs_drop(c, gone);
    if (old == c->type)
        return;
    for (unsigned i = 0; i < c->v->regs_nr; i++)
        if (!regs_has(gone, (int)i) && (int)i != c->me)
            regs_set(others, i);
    event_to(c, 0x04, others);
}

static enum pr_result pr_preempt(struct pr_call *c)
{
    const struct lun_view *v = c->v;
    const bool all = v->pr_type && pr_all(v->pr_type);
    const bool holder = v->pr_type && (all ? !c->sa_key : v->regs[v->pr_holder].key == c->sa_key);
    uint64_t gone[LUN_REGS_MAX / 64] = { 0 };
    unsigned nr;

    if (!c->sa_key && !all)
        return refuse(c, 8, -1);
    nr = victims(c, all && !c->sa_key, gone);
    if (!nr && !holder && !(c->me >= 0 && v->regs[c->me].key == c->sa_key))
        return PR_CONFLICT;
    if (holder && !pr_type_ok(c->type)) {
        task_bad_cdb(c->t, 2, 3);
        return PR_REFUSED;
    }
    c->n->pr_gen++;
    if (holder)
        preempt_reservation(c, gone);
    else
        regs_drop(c, gone);
    event_to(c, 0x05, gone);                /* REGISTRATIONS PREEMPTED */
    if (c->sa == PREEMPT_ABORT)
        memcpy(c->n->doomed, gone, sizeof(gone));
    return PR_CHANGED;
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static const struct {
    enum pr_result (*run)(struct pr_call *c);
    bool registered;                        /* only for a registrant, by its key */
    bool typed;                             /* scope and type are looked at */
    bool aptpl;                             /* byte 20 has flags */
} actions[] = {
    [REGISTER] = { pr_register, false, false, true },
    [RESERVE] = { pr_reserve, true, true, false },
    [RELEASE] = { pr_release, true, true, false },
    [CLEAR] = { pr_clear, true, false, false },
    [PREEMPT] = { pr_preempt, true, false, false },
    [PREEMPT_ABORT] = { pr_preempt, true, false, false },
    [REGISTER_IGNORE] = { pr_register, false, false, true },
    [REGISTER_MOVE] = { pr_move, true, false, false },
};

enum lun_next dev_pr_out_check(struct scsi_task *t)
{
    const unsigned sa = t->cmd->sa;
    const bool longer = sa == REGISTER || sa == REGISTER_MOVE;

    if (actions[sa].typed && t->cdb[2] >> 4)
        return task_bad_cdb(t, 2, 7);       /* scopes other than the logical unit are history */
    if (actions[sa].typed && !pr_type_ok(t->cdb[2] & 0x0f))
        return task_bad_cdb(t, 2, 3);
    if (t->out_len < PR_PARAM_LEN || (!longer && t->out_len != PR_PARAM_LEN) || t->edtl < t->out_len) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        return LUN_DONE;
    }
    return LUN_RUN;
}

static enum pr_result pr_run(struct pr_call *c)
{
    const bool move = c->sa == REGISTER_MOVE;
    const bool aptpl = move ? c->p[17] & FLAG_APTPL : actions[c->sa].aptpl && (c->flags & FLAG_APTPL);

    if (c->v->legacy)
        return PR_CONFLICT;
    if (c->sa == REGISTER && !(c->flags & FLAG_SPEC_I_PT) && c->len != PR_PARAM_LEN) {
        task_check(c->t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        return PR_REFUSED;
    }
    if (aptpl && !task_lun(c->t)->state_path)
        return refuse(c, move ? 17 : 20, 0);
    if (actions[c->sa].registered && (c->me < 0 || c->v->regs[c->me].key != c->key))
        return PR_CONFLICT;
    return actions[c->sa].run(c);
}

static bool any_doomed(const struct lun_view *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(v->doomed); i++)
        if (v->doomed[i])
            return true;
    return false;
}

static void pr_published(struct lun *lun)
{
    lun->own.reset_by = lun->own.task->itl->id;
    if (any_doomed(owner_view(lun)))
        owner_drain(lun, owner_end);
    else
        owner_end(lun);
}

static void save_run(struct rt_work *w)
{
    struct lun *lun = container_of(w, struct lun, own.work);

    lun->own.err = rt_save(lun->state_path, lun->own.text, strlen(lun->own.text), 0600);
}

static void save_done(struct rt_work *w)
{
    struct lun *lun = container_of(w, struct lun, own.work);
    const int err = lun->own.err;

    free(lun->own.text);
    lun->own.text = NULL;
    lun->own.err = 0;
    if (!err) {
        owner_publish(lun, pr_published);
        return;
    }
    rt_log(RT_ERR, "%s: persistent reservations cannot be saved: %s", lun->state_path, strerror(-err));
    task_check(lun->own.task, SCSI_ILLEGAL_REQUEST, 0x55, 0x04);
    owner_end(lun);
}

static void pr_commit(struct lun *lun, const struct lun_view *v, const struct lun_view *n)
{
    struct lun_owner *own = &lun->own;

    if (!lun->state_path || (!v->aptpl && !n->aptpl)) {
        owner_publish(lun, pr_published);
        return;
    }
    if (!(own->text = pr_state_text(n))) {
        task_check(own->task, SCSI_ILLEGAL_REQUEST, 0x55, 0x04);
        owner_end(lun);
        return;
    }
    own->work.run = save_run;
    own->work.done = save_done;
    rt_work(lun->owner_rt, &own->work);
}

void dev_pr_out(struct scsi_task *t)
{
    struct lun *lun = task_lun(t);
    uint8_t p[LUN_PR_PARAM_MAX];
    struct pr_call c = { .t = t, .v = owner_view(lun), .p = p, .len = t->out_len, .sa = t->cmd->sa };

    if (t->out_got < t->out_len) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        owner_end(lun);
        return;
    }
    iov_get(t->out_iov, t->out_nr, 0, p, c.len);
    c.n = owner_draft(lun);
    c.key = load_be64(&p[0]);
    c.sa_key = load_be64(&p[8]);
    c.flags = p[20];
    c.type = t->cdb[2] & 0x0f;
    c.me = pr_find(c.v, t->nexus);
    switch (pr_run(&c)) {
    case PR_CHANGED:
        pr_commit(lun, c.v, c.n);
        return;
    case PR_CONFLICT:
        t->status = SCSI_RESERVATION_CONFLICT;
        break;
    case PR_DONE:
    case PR_REFUSED:
        break;
    }
    owner_end(lun);
}
