/*
 * lun_owner.c - the owner core: one change of shared state at a time, and its way to every core and back
 *
 * A change is a command (MODE SELECT, PERSISTENT RESERVE OUT, SET TARGET PORT GROUPS, RESERVE, RELEASE) or a
 * request (resize, port groups, reset, quiesce). It drafts a view, publishes it in a round of messages, and is answered when every core
 * has acknowledged: after that no core acts on the old state. A core acknowledges once the I/O it has in
 * the backend that the new view forbids has ended, so a fenced host's late write does not land after the
 * fence was reported.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/lun_internal.h"

void core_send(struct rt *to, struct rt_msg *m, void (*fn)(struct rt_msg *m))
{
    m->fn = fn;
    if (to == rt_self())
        fn(m);
    else
        rt_post(to, m);
}

/* ---- the queue ------------------------------------------------------------------------------------------- */

static void owner_start(struct rt_msg *m);

/* Home again, to wait there: by the same way as the messages that follow, so in order with them. */
static void bounce(struct scsi_task *t)
{
    core_send(t->nexus->rt, &t->msg, task_bounced);
}

/* A message's turn, now or later: m->fn says how it starts. */
void owner_queue(struct lun *lun, struct rt_msg *m, void (*start)(struct rt_msg *m))
{
    struct lun_owner *own = &lun->own;

    rt_assert_here(lun->owner_rt);
    m->fn = start;
    if (own->busy) {
        m->next = NULL;
        if (own->head)
            own->tail->next = m;
        else
            own->head = m;
        own->tail = m;
        return;
    }
    own->busy = true;
    own->err = 0;
    m->fn(m);
}

/* A loop and no recursion: what ends at once comes back here and finds it running. */
static void owner_next(struct lun *lun)
{
    struct lun_owner *own = &lun->own;
    struct rt_msg *m;

    own->task = NULL;
    own->req = NULL;
    own->busy = false;
    if (own->looping)
        return;
    own->looping = true;
    while (!own->busy && (m = own->head)) {
        own->head = m->next;
        own->busy = true;
        own->err = 0;
        m->fn(m);
    }
    own->looping = false;
}

static void owner_start(struct rt_msg *m)
{
    struct scsi_task *t = container_of(m, struct scsi_task, msg);

    task_lun(t)->own.task = t;
    t->cmd->run(t);
}

static void owner_arrive(struct rt_msg *m)
{
    struct scsi_task *t = container_of(m, struct scsi_task, msg);
    struct lun *lun = task_lun(t);

    if (lun->own.draining) {
        bounce(t);
        return;
    }
    owner_queue(lun, m, owner_start);
}

void owner_take(struct scsi_task *t)
{
    core_send(task_lun(t)->owner_rt, &t->msg, owner_arrive);
}

static void request_answer(struct rt_msg *m)
{
    struct lun_request *r = container_of(m, struct lun_request, msg);

    r->fn(r, (int)(int64_t)r->arg);
}

void owner_end(struct lun *lun)
{
    struct lun_owner *own = &lun->own;
    struct scsi_task *t = own->task;
    struct lun_request *r = own->req;

    own->guards_idle_wanted = false;
    if (r) {
        r->arg = (uint64_t)(int64_t)own->err;
        r->msg.fn = request_answer;
        rt_post(r->asker, &r->msg);         /* never from inside: who asked may free the unit */
    }
    if (t)
        core_send(t->nexus->rt, &t->msg, task_back);
    owner_next(lun);
}

/* ---- rounds: a message to every core, and on when all have come back ------------------------------------- */

static void round_acked(struct rt_msg *m)
{
    struct lun_fan *f = container_of(m, struct lun_fan, msg);
    struct lun_owner *own = &f->lun->own;

    assert(own->left);
    if (!--own->left)
        own->then(f->lun);
}

static void round_ack(struct lun *lun, struct rt_msg *m)
{
    core_send(lun->owner_rt, m, round_acked);
}

void part_ack(struct lun_part *p, struct rt_msg *m)
{
    round_ack(p->lun, m);
}

static void owner_round(struct lun *lun, void (*there)(struct rt_msg *m), void (*then)(struct lun *lun))
{
    struct lun_owner *own = &lun->own;

    rt_assert_here(lun->owner_rt);
    assert(!own->left);
    own->then = then;
    own->left = lun->parts_nr;
    for (unsigned i = 0; i < lun->parts_nr; i++)
        core_send(lun->parts[i].rt, &own->fan[i].msg, there);   /* the last may end it: nothing after it */
}

static struct lun_part *part_of(struct rt_msg *m)
{
    struct lun_fan *f = container_of(m, struct lun_fan, msg);

    return &f->lun->parts[f->part];
}

/* ---- publishing ------------------------------------------------------------------------------------------ */

const struct lun_view *owner_view(const struct lun *lun)
{
    return lun->views[lun->cur];
}

struct lun_view *owner_draft(struct lun *lun)
{
    const struct lun_view *v = owner_view(lun);
    struct lun_view *n = lun->views[!lun->cur];

    memcpy(n, v, offsetof(struct lun_view, regs) + v->regs_nr * sizeof(v->regs[0]));
    n->events_nr = 0;
    memset(n->doomed, 0, sizeof(n->doomed));
    return n;
}

struct lun_event *view_event(struct lun_view *v, uint8_t asc, uint8_t ascq, uint64_t except)
{
    struct lun_event *e = &v->events[v->events_nr++];

    assert(v->events_nr <= ARRAY_SIZE(v->events));
    *e = (struct lun_event){ .asc = asc, .ascq = ascq, .except = except };
    return e;
}

/* What the reservations and port groups of a view leave to a nexus. Source: SPC-4 r36, "Persistent reservations model";
 * SPC-2 r20, "RESERVE (6) command", for the older kind. */
void part_access(struct itl *itl, const struct lun_view *v)
{
    const int reg = pr_find(v, itl->nexus);
    uint32_t access = ACC_ALL;

    switch (v->pr_type) {
    case PR_NONE:
        if (v->legacy && v->legacy != itl->id)
            access = 0;
        break;
    case PR_WRITE_EXCLUSIVE: access = reg >= 0 && reg == v->pr_holder ? ACC_ALL : ACC_TOUCH | ACC_READ; break;
    case PR_EXCLUSIVE_ACCESS: access = reg >= 0 && reg == v->pr_holder ? ACC_ALL : ACC_TOUCH; break;
    case PR_WRITE_EXCLUSIVE_RO:
    case PR_WRITE_EXCLUSIVE_AR: access = reg >= 0 ? ACC_ALL : ACC_TOUCH | ACC_READ; break;
    case PR_EXCLUSIVE_ACCESS_RO:
    case PR_EXCLUSIVE_ACCESS_AR: access = reg >= 0 ? ACC_ALL : ACC_TOUCH; break;
    }
    itl->reg = reg;
    itl->access = access;
    itl->port_state = view_port_state(v, itl->nexus->tpgt);
}

static void itl_install(struct itl *itl, const struct lun_view *v)
{
    for (unsigned i = 0; i < v->events_nr; i++) {
        const struct lun_event *e = &v->events[i];

        if (e->except != itl->id && (!e->regs_only || regs_has(e->regs, itl->reg)))
            itl_attention(itl, e->asc, e->ascq);
    }
    itl->doomed = regs_has(v->doomed, itl->reg);
    part_access(itl, v);
}

/* I/O that is in the backend and would not be let in any more. */
static bool overtaken(const struct scsi_task *t, const struct lun_view *v)
{
    if (!t->running)
        return false;
    if ((t->cmd->need & ~t->itl->access) || !port_admits(t->itl->port_state, t->cmd))
        return true;
    if (t->cmd->flags & F_ALL)              /* its ranges were judged by the size of then */
        return v->blocks < owner_view(task_lun(t))->blocks;
    return (t->cmd->flags & F_RANGE) && (t->lba > v->blocks || t->blocks > v->blocks - t->lba);
}

static void part_install(struct rt_msg *m)
{
    struct lun_part *p = part_of(m);
    struct lun *lun = p->lun;

    p->view = lun->views[!lun->cur];
    rt_list_for(l, &p->itls)
        itl_install(rt_list_entry(l, struct itl, link), p->view);
    assert(!p->await_left);
    rt_list_for(l, &p->tasks) {
        struct scsi_task *t = rt_list_entry(l, struct scsi_task, link);

        if (overtaken(t, p->view)) {
            t->awaited = true;
            p->await_left++;
        }
    }
    if (p->await_left)
        p->await_ack = m;                   /* task_end() sends it */
    else
        round_ack(lun, m);
}

static void published(struct lun *lun)
{
    struct lun_owner *own = &lun->own;

    lun->cur = !lun->cur;
    own->req_after(lun);
}

void owner_publish(struct lun *lun, void (*then)(struct lun *lun))
{
    lun->own.req_after = then;
    owner_round(lun, part_install, published);
}

/* ---- draining: aborting tasks and waiting for their end -------------------------------------------------- */

static void part_drain(struct rt_msg *m)
{
    struct lun_part *p = part_of(m);
    const struct lun_owner *own = &p->lun->own;

    assert(!p->drain_ack);
    p->drain_ack = m;
    rt_list_for(l, &p->tasks) {
        struct scsi_task *t = rt_list_entry(l, struct scsi_task, link);

        /* What is over has only its answer to send, which may wait for the peer: only the unit's end waits
         * for it. */
        if ((own->drain_all || t->itl->doomed) && t != own->task && (!t->over || p->view->quiet)) {
            assert(!t->killed);
            t->killed = true;
            p->drain_left++;
        }
    }
    rt_list_for(l, &p->tasks) {             /* abort() finishes nothing from inside: the list stays as it is */
        struct scsi_task *t = rt_list_entry(l, struct scsi_task, link);

        if (t->killed)
            t->nexus->ops->abort(t, t->itl->id != own->reset_by);
    }
    part_drain_check(p);
}

void part_drain_check(struct lun_part *p)
{
    struct rt_msg *m = p->drain_ack;

    if (!m || p->drain_left || p->kicking)
        return;
    p->drain_ack = NULL;
    round_ack(p->lun, m);
}

static void part_resume(struct rt_msg *m)
{
    struct lun_part *p = part_of(m);

    rt_list_for(l, &p->itls)
        rt_list_entry(l, struct itl, link)->doomed = false;
    part_kick_later(p);                     /* those that were sent home */
    p->drain_ack = m;
    part_drain_check(p);
}

static void drained(struct lun *lun)
{
    lun->own.draining = false;
    lun->own.drain_all = false;
    owner_round(lun, part_resume, lun->own.req_after);
}

void owner_drain(struct lun *lun, void (*then)(struct lun *lun))
{
    struct lun_owner *own = &lun->own;
    struct rt_msg *keep = NULL, **at = &keep, *m = own->head;

    /* Tasks that wait here may be among those to die, and only their own core can tell. */
    own->draining = true;
    own->tail = NULL;
    while (m) {
        struct rt_msg *next = m->next;

        if (m->fn == owner_start) {
            bounce(container_of(m, struct scsi_task, msg));
        } else {
            own->tail = m;
            *at = m;
            at = &m->next;
        }
        m = next;
    }
    *at = NULL;
    own->head = keep;
    own->req_after = then;
    owner_round(lun, part_drain, drained);
}

/* ---- a holder of RESERVE that has left ------------------------------------------------------------------- */

static void gone_start(struct rt_msg *m)
{
    struct lun_part *p = container_of(m, struct lun_part, gone_msg);
    struct lun *lun = p->lun;

    if (owner_view(lun)->legacy != p->gone_id) {
        owner_end(lun);                     /* a reset was faster */
        return;
    }
    owner_draft(lun)->legacy = 0;
    owner_publish(lun, owner_end);
}

void owner_gone(struct rt_msg *m)
{
    owner_queue(container_of(m, struct lun_part, gone_msg)->lun, m, gone_start);
}
