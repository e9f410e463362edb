/*
 * lun_guard.c - ranges on which one command works alone: COMPARE AND WRITE, ORWRITE, WRITE ATOMIC
 *
 * The task asks the owner; the owner tells every core, and each one holds back what overlaps from then on
 * and says so once what it has in the backend there has ended. Then the task runs on its own core; after it
 * the range is given up the same way. Overlapping guards take turns at the owner, first come first served,
 * so none waits for one that waits for it; and a task holds its scratch buffer before it asks, so nobody
 * with a guard waits for one.
 */
#include <errno.h>
#include <stdlib.h>

#include "target/lun_internal.h"

int guards_new(struct lun *lun)
{
    for (unsigned i = 0; i < LUN_GUARDS_MAX; i++) {
        struct lun_guard *g = &lun->own.guards[i];

        g->lun = lun;
        if (!(g->parts = calloc(lun->parts_nr, sizeof(*g->parts))))
            return -ENOMEM;
        for (unsigned j = 0; j < lun->parts_nr; j++) {
            g->parts[j].guard = g;
            g->parts[j].part = j;
        }
    }
    return 0;
}

void guards_free(struct lun *lun)
{
    for (unsigned i = 0; i < LUN_GUARDS_MAX; i++)
        free(lun->own.guards[i].parts);
}

static bool ranges_meet(uint64_t a, uint64_t a_nr, uint64_t b, uint64_t b_nr)
{
    return a < b + b_nr && b < a + a_nr;    /* all inside the unit: no sum wraps */
}

static struct lun_guard_part *gp_of(struct rt_msg *m)
{
    return container_of(m, struct lun_guard_part, msg);
}

static struct lun_part *home_of(const struct lun_guard_part *gp)
{
    return &gp->guard->lun->parts[gp->part];
}

/* ---- on each core ---------------------------------------------------------------------------------------- */

static void guard_acked(struct rt_msg *m);
static void guard_end(struct rt_msg *m);

/* In the backend now; a guarded task's range is guarded by itself. */
static bool in_the_way(const struct lun_part *p, const struct lun_guard *g)
{
    rt_list_for(l, &p->tasks) {
        const struct scsi_task *t = rt_list_entry(l, struct scsi_task, link);

        if (t->running && !t->guarded && task_overlaps(t, g->lba, g->blocks))
            return true;
    }
    return false;
}

/* Return: true when it was acknowledged now: the task may have run and ended meanwhile, and others too. */
static bool guard_try_ack(struct lun_part *p, struct lun_guard_part *gp)
{
    if (gp->acked || in_the_way(p, gp->guard))
        return false;
    gp->acked = true;
    core_send(gp->guard->lun->owner_rt, &gp->msg, guard_acked);
    return true;
}

static void guard_add(struct rt_msg *m)
{
    struct lun_guard_part *gp = gp_of(m);
    struct lun_part *p = home_of(gp);

    gp->acked = gp->released = false;
    rt_list_push(&p->guards, &gp->link);
    guard_try_ack(p, gp);
}

static void guard_del(struct rt_msg *m)
{
    struct lun_guard_part *gp = gp_of(m);
    struct lun_part *p = home_of(gp);

    rt_list_del(&gp->link);
    core_send(gp->guard->lun->owner_rt, m, guard_end);
    /* Now and not in a coming turn: the next guard over the range may be on its way, and what waited goes
     * first. */
    part_kick(p);
}

bool guard_blocks(const struct lun_part *p, const struct scsi_task *t)
{
    rt_list_for(l, &p->guards) {
        const struct lun_guard *g = rt_list_entry(l, struct lun_guard_part, link)->guard;

        if (task_overlaps(t, g->lba, g->blocks))
            return true;
    }
    return false;
}

/* From the start again after each that was acknowledged: what ends then takes guards out of this list, and not
 * only its own. */
void guards_recheck(struct lun_part *p)
{
    struct rt_link *l = p->guards.next;

    while (l != &p->guards)
        l = guard_try_ack(p, rt_list_entry(l, struct lun_guard_part, link)) ? p->guards.next : l->next;
}

struct lun_guard_part *guard_of(struct scsi_task *t)
{
    rt_list_for(l, &t->itl->part->guards) {
        struct lun_guard_part *gp = rt_list_entry(l, struct lun_guard_part, link);

        if (gp->guard->task == t && !gp->released)
            return gp;
    }
    return NULL;
}

/* ---- on the owner core ----------------------------------------------------------------------------------- */

static void guard_granted(struct rt_msg *m)
{
    task_begin_guarded(container_of(m, struct scsi_task, msg));
}

static void guard_acked(struct rt_msg *m)
{
    struct lun_guard *g = gp_of(m)->guard;

    assert(g->left);
    if (!--g->left)
        core_send(g->task->nexus->rt, &g->task->msg, guard_granted);
}

static struct lun_guard *guard_slot(struct lun *lun)
{
    for (unsigned i = 0; i < LUN_GUARDS_MAX; i++)
        if (!lun->own.guards[i].busy)
            return &lun->own.guards[i];
    return NULL;
}

/* @before: the end of the waiting tasks that count too. */
static bool must_wait(const struct lun *lun, const struct scsi_task *t, const struct rt_link *before)
{
    const struct lun_owner *own = &lun->own;

    for (unsigned i = 0; i < LUN_GUARDS_MAX; i++) {
        const struct lun_guard *g = &own->guards[i];

        if (g->busy && !g->gone && ranges_meet(g->lba, g->blocks, t->lba, t->blocks))
            return true;
    }
    for (const struct rt_link *l = own->guard_wait.next; l != before; l = l->next) {
        const struct scsi_task *u = rt_list_entry(l, struct scsi_task, wait);

        if (ranges_meet(u->lba, u->blocks, t->lba, t->blocks))
            return true;
    }
    return false;
}

static void guard_begin(struct lun *lun, struct lun_guard *g, struct scsi_task *t)
{
    g->lba = t->lba;
    g->blocks = t->blocks;
    g->task = t;
    g->busy = true;
    g->gone = false;
    g->left = lun->parts_nr;
    lun->own.guards_nr++;
    for (unsigned i = 0; i < lun->parts_nr; i++)
        core_send(lun->parts[i].rt, &g->parts[i].msg, guard_add);   /* the last may run it: nothing after it */
}

static void guard_arrive(struct rt_msg *m)
{
    struct scsi_task *t = container_of(m, struct scsi_task, msg);
    struct lun *lun = task_lun(t);
    struct lun_guard *g = guard_slot(lun);

    if (!g || must_wait(lun, t, &lun->own.guard_wait))
        rt_list_push(&lun->own.guard_wait, &t->wait);
    else
        guard_begin(lun, g, t);
}

static void guard_next(struct lun *lun)
{
    struct lun_owner *own = &lun->own;

    if (own->guard_loop)                    /* one that ends at once comes back here */
        return;
    own->guard_loop = true;
    for (struct rt_link *l = own->guard_wait.next; l != &own->guard_wait;) {
        struct scsi_task *t = rt_list_entry(l, struct scsi_task, wait);
        struct lun_guard *g = guard_slot(lun);

        if (!g)
            break;
        if (must_wait(lun, t, l)) {
            l = l->next;
            continue;
        }
        rt_list_del(l);
        guard_begin(lun, g, t);
        l = own->guard_wait.next;           /* anything may have happened */
    }
    own->guard_loop = false;
}

static void guard_gone(struct rt_msg *m)
{
    struct lun_guard *g = gp_of(m)->guard;
    struct lun *lun = g->lun;

    g->gone = true;
    g->left = lun->parts_nr;
    for (unsigned i = 0; i < lun->parts_nr; i++)
        core_send(lun->parts[i].rt, &g->parts[i].msg, guard_del);
    guard_next(lun);
}

/* A core has let go of it; after the last one the slot is free. */
static void guard_end(struct rt_msg *m)
{
    struct lun_guard *g = gp_of(m)->guard;
    struct lun *lun = g->lun;

    assert(g->left);
    if (--g->left)
        return;
    g->busy = false;
    g->task = NULL;
    lun->own.guards_nr--;
    guard_next(lun);
    if (!lun->own.guards_nr && lun->own.guards_idle_wanted)
        owner_end(lun);
}

/* ---- on the task's core ---------------------------------------------------------------------------------- */

void guard_ask(struct scsi_task *t)
{
    t->guarded = true;
    core_send(task_lun(t)->owner_rt, &t->msg, guard_arrive);
}

void guard_release(struct lun_guard_part *gp)
{
    gp->released = true;
    core_send(gp->guard->lun->owner_rt, &gp->msg, guard_gone);
}
