/*
 * sess_tmf.c - task management (RFC 7143 11.5, 11.6)
 *
 * A function is answered when what it was to end has ended: tasks of this session when they are freed, those of
 * others when the logical unit says so. A task that waits for data is simply forgotten by the datamover, so no
 * answer waits for an R2T. Functions are bounded per session; each is a small object of its own.
 */
#include <stdlib.h>
#include "target/sess.h"

struct sess_tmf {
    struct rt_link link;                    /* sess->tmfs */
    struct sess *sess;
    struct iscsi_pdu pdu;
    struct sess_itl *itl;                   /* pinned; NULL: none now */
    uint16_t number;
    bool busy;                              /* an answer of a unit is awaited */
    bool in_use; /* by a function that goes on with it: not to be freed by tmf_close() */
    struct lun_request req;
};

static void tmf_step(struct sess_tmf *m);

/* ---- life and answer ------------------------------------------------------------------------------------- */

static void tmf_unpin(struct sess_tmf *m)
{
    struct sess_itl *si = m->itl;

    m->itl = NULL;
    if (!si)
        return;
    si->pins--;
    map_task_over(m->sess, &si->itl);
}

static void tmf_pin(struct sess_tmf *m, struct itl *itl)
{
    m->itl = container_of(itl, struct sess_itl, itl);
    m->itl->pins++;
}

static void tmf_free(struct sess_tmf *m)
{
    struct sess *s = m->sess;

    tmf_unpin(m);
    rt_list_del(&m->link);
    s->tmfs_nr--;
    free(m);
    if (s->state == SESS_CLOSING)
        sess_turn(s);                       /* this may have been the last of it */
}

static void respond(struct sess *s, const struct iscsi_pdu *pdu, uint8_t response)
{
    struct sess_ctl *c = s->state == SESS_FULL ? ctl_get(s) : NULL;

    if (!c)
        return;
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_TMF_RESP, .final = true, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED,
        .tmf = { .response = response },
    };
    ctl_send(c, true);
}

static void tmf_end(struct sess_tmf *m, uint8_t response)
{
    struct sess *s = m->sess;
    const bool cold = m->pdu.tmf.function == ISCSI_TMF_TARGET_COLD_RESET && response == ISCSI_TMF_COMPLETE;

    m->in_use = true;
    respond(s, &m->pdu, response);
    if (cold && s->state == SESS_FULL)
        reg_end_later(s, "an initiator asked for a cold reset of the target");
    tmf_free(m);
}

/* ---- what is waited for ---------------------------------------------------------------------------------- */

static bool tmf_concerns(const struct sess_tmf *m, const struct sess_task *t)
{
    if (m->pdu.tmf.function == ISCSI_TMF_ABORT_TASK)
        return t->dm.itt == m->pdu.tmf.ref_task_tag;
    /* 4.2.3.2: not what was sent after the request, though it may have come before it. */
    if (t->state == TASK_HELD && !iscsi_sn_lt(t->cmd_sn, m->pdu.cmd_sn))
        return false;
    return t->scsi.number == m->number;
}

static bool tmf_blocked(const struct sess_tmf *m)
{
    rt_list_for(l, &m->sess->tasks) {
        const struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        if (t->aborted && tmf_concerns(m, t))
            return true;
    }
    return false;
}

/* Of this session. @m says which. */
static void tasks_abort(struct sess_tmf *m)
{
    rt_list_for_safe(l, &m->sess->tasks) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        if (tmf_concerns(m, t))
            task_abort(t, false);
    }
}

void tmf_task_over(struct sess *s)
{
    rt_list_for_safe(l, &s->tmfs) {
        struct sess_tmf *m = rt_list_entry(l, struct sess_tmf, link);

        if (!m->busy && !m->in_use)
            tmf_step(m);
        if (s->state != SESS_FULL)
            return;                         /* the others are gone */
    }
}

/* ---- resets ---------------------------------------------------------------------------------------------- */

static void reset_done(struct lun_request *r, int err)
{
    struct sess_tmf *m = container_of(r, struct sess_tmf, req);

    m->busy = false;
    if (err)
        rt_log(RT_WARN, "reset of LUN %u of %s: %s", m->number, m->sess->target, r->why);
    tmf_unpin(m);
    if (m->pdu.tmf.function != ISCSI_TMF_LUN_RESET)
        m->number++;                        /* the next one */
    tmf_step(m);
}

static void reset_start(struct sess_tmf *m, struct itl *itl)
{
    tmf_pin(m, itl);
    m->busy = true;
    m->req = (struct lun_request){ .fn = reset_done };
    /* Our own tasks end without a word, as RFC 7143 11.5.1 has it; the unit attention is for every nexus,
     * the one that asked included (SAM-5 r21, "Logical unit reset"). */
    tasks_abort(m);
    lun_reset(itl->lun, &m->req, NULL,
              m->pdu.tmf.function == ISCSI_TMF_LUN_RESET ? LUN_RESET_UNIT : LUN_RESET_TARGET);
}

/* The first unit of the session's map from @number on. */
static struct itl *itl_from(const struct sess *s, uint16_t number)
{
    for (unsigned i = 0; i < s->nexus.itls_nr; i++) {
        if (s->nexus.itls[i]->number >= number)
            return s->nexus.itls[i];
    }
    return NULL;
}

/* ---- the functions --------------------------------------------------------------------------------------- */

enum tmf_next { TMF_WAIT, TMF_OVER };

static enum tmf_next after_tasks(struct sess_tmf *m)
{
    return tmf_blocked(m) ? TMF_WAIT : TMF_OVER;
}

static enum tmf_next after_lun_reset(struct sess_tmf *m)
{
    return TMF_OVER;
}

static enum tmf_next after_target_reset(struct sess_tmf *m)
{
    struct itl *itl = itl_from(m->sess, m->number);

    if (!itl)
        return TMF_OVER;
    m->number = itl->number;
    reset_start(m, itl);
    return TMF_WAIT;
}

static void begin_tasks(struct sess_tmf *m, struct itl *itl)
{
    tasks_abort(m);
}

static void begin_reset(struct sess_tmf *m, struct itl *itl)
{
    m->number = 0;                          /* unit by unit, each of which ends its tasks */
}

static const struct tmf_kind {
    bool lun;                               /* names a logical unit, which must be there */
    void (*begin)(struct sess_tmf *m, struct itl *itl);   /* NULL: not supported */
    enum tmf_next (*next)(struct sess_tmf *m);
} tmf_kinds[] = {
    [ISCSI_TMF_ABORT_TASK]        = { false, begin_tasks, after_tasks },
    [ISCSI_TMF_ABORT_TASK_SET]    = { true,  begin_tasks, after_tasks },
    [ISCSI_TMF_CLEAR_TASK_SET]    = { true,  begin_tasks, after_tasks },   /* TST 001b: a task set a nexus */
    [ISCSI_TMF_LUN_RESET]         = { true,  reset_start, after_lun_reset },
    [ISCSI_TMF_TARGET_WARM_RESET] = { false, begin_reset, after_target_reset },
    [ISCSI_TMF_TARGET_COLD_RESET] = { false, begin_reset, after_target_reset },
    [ISCSI_TMF_TASK_REASSIGN]     = { 0 },
};

static void tmf_step(struct sess_tmf *m)
{
    if (m->busy)
        return;
    if (m->sess->state != SESS_FULL) {
        tmf_free(m);
        return;
    }
    if (tmf_kinds[m->pdu.tmf.function].next(m) == TMF_OVER)
        tmf_end(m, ISCSI_TMF_COMPLETE);
}

/* 11.6.1: a task that is not here has ended, or has not come yet; then its CmdSN is taken for received. */
static uint8_t missing_task(struct sess *s, const struct iscsi_pdu *pdu)
{
    const uint32_t ref = pdu->tmf.ref_cmd_sn;

    if (iscsi_sn_lt(ref, s->exp_cmd_sn) || iscsi_sn_lt(sess_max_cmd_sn(s), ref) ||
        iscsi_sn_le(pdu->cmd_sn, ref))
        return ISCSI_TMF_NO_TASK;
    sess_skip_sn(s, ref);
    return ISCSI_TMF_COMPLETE;
}

static const struct sess_task *task_of_tag(const struct sess *s, uint32_t itt)
{
    rt_list_for(l, &s->tasks) {
        const struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        if (t->dm.itt == itt && t->state != TASK_ENDING && t->state != TASK_PUT)
            return t;
    }
    return NULL;
}

/* Return: a response to give at once, or ISCSI_TMF_COMPLETE to go on. */
static uint8_t tmf_refusal(struct sess *s, const struct iscsi_pdu *pdu, uint16_t *number, struct itl **itl)
{
    const uint8_t fn = pdu->tmf.function;
    const struct sess_task *t;

    if (fn == ISCSI_TMF_TASK_REASSIGN)
        return ISCSI_TMF_NO_REASSIGN;
    if (fn >= ARRAY_SIZE(tmf_kinds) || !tmf_kinds[fn].begin || s->discovery)
        return ISCSI_TMF_NOT_SUPPORTED;
    if (tmf_kinds[fn].lun) {
        if (scsi_lun_decode(pdu->lun, number) || !(*itl = map_find(s, *number)))
            return ISCSI_TMF_NO_LUN;
    } else if (fn == ISCSI_TMF_ABORT_TASK) {
        t = task_of_tag(s, pdu->tmf.ref_task_tag);
        if (t && t->dm.lun != pdu->lun)
            return ISCSI_TMF_NO_TASK;
    }
    return ISCSI_TMF_COMPLETE;
}

void tmf_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t bhs[static ISCSI_BHS_LEN])
{
    struct sess_tmf *m;
    struct itl *itl = NULL;
    uint16_t number = 0;
    uint8_t no = tmf_refusal(s, pdu, &number, &itl);

    if (!no && pdu->tmf.function == ISCSI_TMF_ABORT_TASK && !task_of_tag(s, pdu->tmf.ref_task_tag)) {
        respond(s, pdu, missing_task(s, pdu));
        return;
    }
    if (no) {
        respond(s, pdu, no);
        return;
    }
    if (s->tmfs_nr >= SESS_TMFS_MAX || !(m = calloc(1, sizeof(*m)))) {
        if (pdu->immediate)
            sess_reject(s, bhs, ISCSI_REJECT_IMMEDIATE);
        else
            respond(s, pdu, ISCSI_TMF_REJECTED);
        return;
    }
    *m = (struct sess_tmf){ .sess = s, .pdu = *pdu, .number = number };
    rt_list_push(&s->tmfs, &m->link);
    s->tmfs_nr++;
    m->in_use = true;
    tmf_kinds[pdu->tmf.function].begin(m, itl);
    m->in_use = false;
    tmf_step(m);
}

void tmf_close(struct sess *s)
{
    rt_list_for_safe(l, &s->tmfs) {
        struct sess_tmf *m = rt_list_entry(l, struct sess_tmf, link);

        if (!m->busy && !m->in_use)
            tmf_free(m);
    }
}
