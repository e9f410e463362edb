/*
 * ini_task.c - commands of a session: the window, tags, answers, and what is sent again
 *
 * A command is in exactly one list: queue (not sent), flight (sent), ending (answered or aborted, the
 * datamover may still touch its memory), ended (to be told), or held by its unit's gate. It is told of its end
 * when neither the datamover knows it nor its PDU is on the way out, never earlier.
 */
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"

int ini_tasks_init(struct ini_sess *s)
{
    const uint16_t nr = (uint16_t)s->conf.set.cmds_max;

    rt_list_init(&s->queue);
    rt_list_init(&s->flight);
    rt_list_init(&s->ending);
    rt_list_init(&s->ended);
    s->slot = calloc(nr, sizeof(*s->slot));
    if (!s->slot)
        return -ENOMEM;
    s->slot_nr = nr;
    for (uint16_t i = 0; i < nr; i++)
        s->slot[i].next_free = (uint16_t)(i + 1);
    s->slot_free = 0;
    return 0;
}

/* ---- the end of a command ------------------------------------------------------------------------------- */

static void ended_tell(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, end_op);
    struct rt_link all;

    (void)res;
    s->end_armed = false;
    if (rt_list_empty(&s->ended))
        return;
    /* Those that are added meanwhile wait for the next turn, or this could go on for ever. */
    all = s->ended;
    all.next->prev = all.prev->next = &all;
    rt_list_init(&s->ended);
    for (struct rt_link *l; (l = rt_list_pop(&all));) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        t->state = TASK_IDLE;
        t->done(t);
    }
}

static void ended_add(struct ini_sess *s, struct ini_task *t)
{
    rt_list_push(&s->ended, &t->link);
    if (s->end_armed)
        return;
    s->end_armed = true;
    s->end_op.done = ended_tell;
    rt_defer(s->rt, &s->end_op);
}

void ini_task_end_later(struct ini_sess *s, struct ini_task *t, int err)
{
    t->err = err;
    ended_add(s, t);
}

void ini_task_unqueue(struct ini_sess *s, struct ini_task *t, int err)
{
    rt_list_for(l, &s->queue) {
        if (l != &t->link)
            continue;
        rt_list_del(l);
        s->queue_nr--;
        ini_task_end_later(s, t, err);
        return;
    }
}

static void slot_put(struct ini_sess *s, struct ini_task *t)
{
    const uint16_t i = t->dm.itt & 0xffff;

    assert(s->slot[i].task == t);
    s->slot[i].task = NULL;
    s->slot[i].next_free = s->slot_free;
    s->slot_free = i;
}

/* By seq, from the front: what comes back is older than nearly all that waits. */
void ini_queue_insert(struct rt_link *queue, struct ini_task *t)
{
    struct rt_link *at = queue->next;

    while (at != queue && rt_list_entry(at, struct ini_task, link)->seq < t->seq)
        at = at->next;
    rt_list_push(at, &t->link);             /* before it */
}

/* Where a command waits: with its unit while the gate is shut. NULL: nowhere, the unit is not to be used. */
static struct rt_link *queue_of(struct ini_sess *s, const struct ini_task *t)
{
    struct ini_lun *l = s->gates && !t->probe ? ini_lun_find(s, t->lun) : NULL;

    if (!l || !l->shut)
        return &s->queue;
    return l->err ? NULL : &l->held;
}

static void requeue(struct ini_sess *s, struct ini_task *t)
{
    struct rt_link *queue = queue_of(s, t);
    const int err = ini_hand_err(s, t, t->again);

    t->state = TASK_QUEUED;
    if (err || !queue) {
        ini_task_end_later(s, t, err ? err : -ENODEV);
        return;
    }
    s->queue_nr++;
    ini_queue_insert(queue, t);
}

/* The datamover let go of it. */
static void task_settle(struct ini_sess *s, struct ini_task *t)
{
    rt_list_del(&t->link);                  /* of ending */
    slot_put(s, t);
    if (t->state == TASK_RETURNING) {
        if (t->once)
            ini_task_end_later(s, t, -ECONNRESET);
        else if (rt_now(s->rt) >= t->deadline_ns)
            ini_task_end_later(s, t, -ETIMEDOUT);
        else
            requeue(s, t);
        ini_tasks_pump(s);
    } else {
        ini_tasks_pump(s);                  /* there is a slot again */
        t->state = TASK_IDLE;
        t->done(t);
    }
    if (s->leaving || s->draining)
        ini_drain_check(s);
    if (s->move.step)
        ini_move_check(s);
}

static void task_sent(struct dm_ctl *ctl, int err)
{
    struct ini_task *t = container_of(ctl, struct ini_task, ctl);

    t->ctl_out = false;
    t->on_wire = err != -ECANCELED;
    if (t->state >= TASK_ENDING && !t->dm_knows)
        task_settle(t->sess, t);
}

void ini_task_released(struct ini_sess *s, struct dm_task *dt)
{
    struct ini_task *t = container_of(dt, struct ini_task, dm);

    t->dm_knows = false;
    if (!t->ctl_out)
        task_settle(s, t);
}

static void task_let_go(struct ini_sess *s, struct ini_task *t, enum ini_task_state state)
{
    assert(t->state == TASK_SENT);
    t->state = (uint8_t)state;
    s->flight_nr--;
    rt_list_del(&t->link);
    rt_list_push(&s->ending, &t->link);
    if (dm_release_task(s->dm, &t->dm))
        ini_task_released(s, &t->dm);
}

void ini_task_return(struct ini_sess *s, struct ini_task *t)
{
    task_let_go(s, t, TASK_RETURNING);
}

void ini_task_fail(struct ini_sess *s, struct ini_task *t, int err)
{
    t->err = err;
    task_let_go(s, t, TASK_ENDING);
}

void ini_task_crowded(struct ini_sess *s, struct ini_task *t)
{
    t->status = SCSI_TASK_SET_FULL;
    ini_task_fail(s, t, 0);
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static void task_send(struct ini_sess *s, struct ini_task *t)
{
    const uint16_t i = s->slot_free;
    struct ini_slot *slot = &s->slot[i];
    struct iscsi_pdu *p = &t->ctl.pdu;

    s->slot_free = slot->next_free;
    slot->task = t;
    t->dm.itt = ini_itt(i, ++slot->gen);
    t->dm.lun = scsi_lun_encode(t->lun);
    t->dm.edtl = t->edtl;
    t->dm.out = t->out;
    t->dm.in = t->in;
    t->dm.own.known = t->dm.own.releasing = false;
    t->ctl.ahs = t->ctl.data = NULL;
    t->ctl.task = &t->dm;
    t->ctl.sent = task_sent;
    t->ctl.at_once = true;
    t->ctl.tx = (struct dm_tx){ 0 };
    *p = (struct iscsi_pdu) {
        .opcode = ISCSI_OP_SCSI_CMD,
        .final = true,
        .lun = t->dm.lun,
        .itt = t->dm.itt,
        .cmd_sn = s->cmd_sn,
        .exp_stat_sn = s->exp_stat_sn,
        .cmd = { .read = t->in.len, .write = t->out.len, .attr = ISCSI_ATTR_SIMPLE, .edtl = t->edtl },
    };
    memcpy(p->cmd.cdb, t->cdb, sizeof(p->cmd.cdb));
    t->cmd_sn = s->cmd_sn++;
    t->sent_ns = rt_now(s->rt);
    t->state = TASK_SENT;
    t->dm_knows = t->ctl_out = true;
    t->on_wire = false;
    s->resent += t->again;
    t->again = false;
    s->flight_nr++;
    rt_list_push(&s->flight, &t->link);
    if (dm_send_control(s->dm, &t->ctl)) {
        t->ctl_out = false;
        t->on_wire = true;
    }
}

void ini_tasks_pump(struct ini_sess *s)
{
    if (rt_list_empty(&s->queue) || !s->sending || ini_move_holds(s))
        return;
    if (!s->tick_soon)
        ini_tick_soon(s);
    while (!rt_list_empty(&s->queue) && s->slot_free != s->slot_nr && iscsi_sn_le(s->cmd_sn, s->max_cmd_sn)) {
        s->queue_nr--;
        task_send(s, rt_list_entry(rt_list_pop(&s->queue), struct ini_task, link));
    }
}

void ini_submit(struct ini_sess *s, struct ini_task *t)
{
    const int32_t hold_s = s->conf.set.replacement_timeout_s, cmd_s = (int32_t)s->conf.set.cmd_timeout_s;
    struct rt_link *queue;

    rt_assert_here(s->rt);
    assert(t->cdb_len && t->cdb_len <= 16 && !(t->out.len && t->in.len));
    assert(t->edtl == t->out.len + t->in.len);
    t->sess = s;
    t->seq = s->seq++;
    t->err = 0;
    t->status = 0;
    t->sense = (struct scsi_sense){ 0 };
    t->in_len = t->residual = 0;
    t->overflow = false;
    t->on_wire = t->again = t->dm_knows = t->ctl_out = false;
    t->state = TASK_QUEUED;
    t->deadline_ns =
        hold_s < 0 ? UINT64_MAX : rt_now(s->rt) + (uint64_t)(hold_s > cmd_s ? hold_s : cmd_s) * RT_S;
    if (s->state == INI_FAILED || s->state == INI_OFFLINE || s->stopping) {
        ini_task_end_later(s, t,
                           s->stopping                ? -ECANCELED
                           : s->state == INI_OFFLINE  ? INI_OFFLINE_ERR
                                                      : s->err);
        return;
    }
    queue = s->gates ? queue_of(s, t) : &s->queue;
    if (!queue) {
        ini_task_end_later(s, t, -ENODEV);
        return;
    }
    rt_list_push(queue, &t->link);
    s->queue_nr++;
    ini_tasks_pump(s);
}

/* ---- the window (RFC 7143 4.2.2.1) ---------------------------------------------------------------------- */

void ini_tasks_window(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    /* MaxCmdSN below ExpCmdSN - 1 makes both void; and neither ever goes back. ExpCmdSN beyond what was sent
     * would acknowledge commands that do not exist. */
    if (iscsi_sn_lt(pdu->max_cmd_sn, pdu->exp_cmd_sn - 1) || iscsi_sn_lt(s->cmd_sn, pdu->exp_cmd_sn))
        return;
    if (iscsi_sn_lt(s->exp_cmd_sn, pdu->exp_cmd_sn))
        s->exp_cmd_sn = pdu->exp_cmd_sn;
    if (iscsi_sn_lt(s->max_cmd_sn, pdu->max_cmd_sn))
        s->max_cmd_sn = pdu->max_cmd_sn;
}

/* ---- answers -------------------------------------------------------------------------------------------- */

struct ini_task *ini_task_find(struct ini_sess *s, uint32_t itt)
{
    const uint16_t i = itt & 0xffff;
    struct ini_task *t = i < s->slot_nr ? s->slot[i].task : NULL;

    return t && t->dm.itt == itt && t->state == TASK_SENT ? t : NULL;
}

static void sense_take(struct ini_task *t, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    if (pdu->opcode != ISCSI_OP_SCSI_RESP || pdu->data_len < 2)
        return;
    /* The length inside is the target's word; what came is what there is. */
    if (scsi_sense_decode(&t->sense, data + 2, min_u32(load_be16(data), pdu->data_len - 2)))
        t->sense = (struct scsi_sense){ 0 };
}

/* What moved, by the target's count and by ours: a target whose counts do not agree has lost data somewhere,
 * and a GOOD from it is worth nothing. */
static int moved_judge(struct ini_task *t, const struct iscsi_pdu *pdu)
{
    const uint32_t came = t->dm.in_done;
    uint32_t moved = t->edtl;

    t->in_len = came;
    t->overflow = pdu->resp.overflow;
    if (pdu->resp.overflow && pdu->resp.underflow)
        return -EPROTO;
    if (pdu->resp.overflow || pdu->resp.underflow)
        t->residual = pdu->resp.residual;
    if (pdu->resp.underflow) {
        if (pdu->resp.residual > t->edtl)
            return -EPROTO;
        moved -= pdu->resp.residual;
    }
    if (t->in.len && t->status == SCSI_GOOD && came != moved)
        return -EPROTO;
    /* It cannot have written what it never fetched. */
    if (t->out.len && t->status == SCSI_GOOD && t->dm.out_done < moved)
        return -EPROTO;
    t->in_len = min_u32(came, moved);
    return 0;
}

/* SCSI Response, or the last Data-In with the status in it. */
void ini_task_notify(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct ini_task *t = ini_task_find(s, pdu->itt);
    bool changed, attention;
    uint16_t lun;

    if (!t) {
        /* A tag that was in use may be answered late, after an abort. One that never was is no tag of ours. */
        if ((pdu->itt & 0xffff) >= s->slot_nr)
            ini_conn_lost(s, -EPROTO, "the target answered a command that was never sent (tag %08x)", pdu->itt);
        return;
    }
    t->status = pdu->resp.status;
    if (pdu->opcode == ISCSI_OP_SCSI_RESP && pdu->resp.response != ISCSI_RESPONSE_COMPLETED)
        t->err = -EREMOTEIO;
    else
        t->err = moved_judge(t, pdu);
    sense_take(t, pdu, data);
    s->commands++;
    s->rejects = 0;                         /* it does answer */
    s->useful |= !t->probe;
    s->read_bytes += t->in_len;
    if (t->out.len && !t->status && !t->err)
        s->write_bytes += t->edtl - (t->overflow ? 0 : t->residual);
    changed = t->sense.key == SCSI_UNIT_ATTENTION && t->sense.asc == 0x3f && t->sense.ascq == 0x0e;
    lun = t->lun;
    attention = !t->err && t->status == SCSI_CHECK_CONDITION && ini_lun_attention(s, t);
    task_let_go(s, t, TASK_ENDING);         /* t may be told of its end in here, and be gone */
    if (attention)
        ini_lun_attend(s, lun);
    if (changed && s->events.luns_changed)
        s->events.luns_changed(s->user);
}

/* ---- recovery ------------------------------------------------------------------------------------------- */

/* The old session's tasks end at the target when the new one is made with the same ISID, so whatever was not
 * answered may be sent again, in the order of submission. */
void ini_tasks_hold(struct ini_sess *s)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&s->ending))) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        rt_list_push(&s->ending, l);        /* where settling takes it from */
        t->dm_knows = t->ctl_out = false;
        if (t->state == TASK_ENDING) {      /* was answered before the end */
            rt_list_del(l);
            slot_put(s, t);
            ini_task_end_later(s, t, t->err);
        } else {
            t->again = t->on_wire;
            task_settle(s, t);
        }
    }
    rt_list_for_safe(at, &s->flight) {      /* the oldest first: in this order they are told */
        struct ini_task *t = rt_list_entry(at, struct ini_task, link);
        const int err = ini_hand_err(s, t, t->on_wire);

        if (!err)
            continue;
        rt_list_del(at);
        s->flight_nr--;
        slot_put(s, t);
        t->dm_knows = t->ctl_out = false;
        ini_task_end_later(s, t, err);
    }
    while (!rt_list_empty(&s->flight)) {
        struct ini_task *t = rt_list_entry(s->flight.prev, struct ini_task, link);

        rt_list_del(&t->link);
        s->flight_nr--;
        slot_put(s, t);
        t->dm_knows = t->ctl_out = false;
        if (t->once && t->on_wire) {
            ini_task_end_later(s, t, -ECONNRESET);
        } else {
            t->again = t->on_wire;
            requeue(s, t);
        }
    }
    assert(!s->flight_nr);
}

static void list_fail(struct ini_sess *s, struct rt_link *list, int err)
{
    struct rt_link *l;

    while ((l = rt_list_pop(list))) {
        s->queue_nr--;
        ini_task_end_later(s, rt_list_entry(l, struct ini_task, link), err);
    }
}

bool ini_tasks_give_up(struct ini_sess *s, uint16_t lun, int err)
{
    bool any = false;

    if (s->conn != CONN_FULL && s->conn != CONN_LOGOUT)
        return false;                       /* those in flight end with the connection, which is being closed */
    rt_list_for_safe(l, &s->flight) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        if (t->lun != lun)
            continue;
        any = true;
        ini_task_fail(s, t, err);
    }
    if (!any)
        return false;
    s->ghosts = s->ghosts && (s->ghosts == 2 || s->ghost_lun != lun) ? 2 : 1;
    s->ghost_lun = lun;
    return true;
}

void ini_tasks_fail_all(struct ini_sess *s, int err)
{
    list_fail(s, &s->queue, err);
    rt_list_for(l, &s->luns)
        list_fail(s, &rt_list_entry(l, struct ini_lun, link)->held, err);
}
