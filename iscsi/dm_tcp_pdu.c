/*
 * dm_tcp_pdu.c - what a received PDU means to the datamover
 *
 * Four kinds move data and are handled here; all others go up as they are. A PDU is looked at twice: opened
 * when its header is in, which decides where its data go, and finished when all of it is in and its digest
 * matched, which is when anything is counted or told. Between the two its task may have been released.
 */
#include <errno.h>
#include <string.h>
#include "iscsi/dm_tcp.h"

struct pdu_kind {
    void (*open)(struct dm_tcp *c, const uint8_t *header);
    void (*finish)(struct dm_tcp *c, const uint8_t *ctl_data);
};

void dm_tcp_pdu_reject(struct dm_tcp *c, const uint8_t *header, enum iscsi_reject why)
{
    c->rx.reject = true;
    c->rx.sink = DM_SINK_DISCARD;
    c->dm.events->reject_notify(c->dm.user, header, why);
}

/* Where the data segment of the open PDU goes: to @pos of @buf, unless something is wrong with it. */
static void rx_into_task(struct dm_tcp *c, struct dm_task *task, const struct dm_buf *buf, uint32_t pos,
                         enum dm_trouble trouble)
{
    c->rx.task = task;
    c->rx.trouble = (uint8_t)trouble;
    if (trouble || !c->rx.data_left)
        return;
    assert(c->rx.data_left <= buf->len && pos <= buf->len - c->rx.data_left);
    c->rx.sink = DM_SINK_TASK;
    dm_cursor_seek(&task->own.rx_cur, buf, pos);
}

/* Initiator: tags can be guessed, but nobody can answer a command that is still here. */
static bool answers_unsent(const struct dm_task *task)
{
    return task && task->own.cmd;
}

/* ---- PDUs that are only handed up ---------------------------------------------------------------------- */

static void control_open(struct dm_tcp *c, const uint8_t *header)
{
    if (c->rx.pdu.opcode == ISCSI_OP_SCSI_RESP && answers_unsent(dm_tcp_task_find(c, c->rx.pdu.itt))) {
        dm_tcp_fail(c, -EPROTO);            /* else a write would count as done that never left */
        return;
    }
    if (c->rx.pdu.data_len > DM_CTL_DATA_MAX) {
        dm_tcp_pdu_reject(c, header, ISCSI_REJECT_LONG_OPERATION);
        return;
    }
    c->rx.sink = DM_SINK_CTL;
    if (c->role != ISCSI_TARGET)
        return;
    if (header != c->rx.header)             /* it may lie in memory that is lent for less long */
        memcpy(c->rx.header, header, ISCSI_BHS_LEN);
    c->rx.bhs = c->rx.header;
}

static void control_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    c->dm.events->control_notify(c->dm.user, &c->rx.pdu, ctl_data);
}

/* ---- target: SCSI Command ------------------------------------------------------------------------------ */

static void data_ended(struct dm_tcp *c, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    task->own.awaiting = DM_AWAIT_NOTHING;
    task->own.discard = how != DM_OK;
    if (how && task->own.tx.kind == DM_TX_R2T)
        dm_tcp_tx_unqueue(&task->own.tx);
    c->dm.events->data_completion_notify(c->dm.user, task, what, how);
}

static void command_open(struct dm_tcp *c, const uint8_t *header)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    const bool more = pdu->cmd.write && !pdu->final;
    enum dm_trouble trouble = DM_OK;
    struct dm_task *task;
    uint32_t limit;

    if (dm_tcp_task_find(c, pdu->itt)) {
        dm_tcp_pdu_reject(c, header, ISCSI_REJECT_TASK_IN_PROGRESS);
        return;
    }
    c->in_command = true;
    c->rx.bhs = header;
    task = c->dm.events->command_notify(c->dm.user, pdu, header + ISCSI_BHS_LEN);
    c->in_command = false;
    if (!task || !dm_tcp_is_open(c) || task->own.releasing)
        return;
    assert(task->itt == pdu->itt);
    if (!task->own.known)                   /* else a Put_Data was quicker */
        dm_tcp_task_begin(c, task);
    if (!pdu->cmd.write)
        return;
    limit = min_u32(c->params.first_burst_max, pdu->cmd.edtl);
    assert((!pdu->data_len && !more) || task->out.len >= limit);
    if (pdu->data_len > limit || (pdu->data_len && !c->params.immediate_data) ||
        (more && c->params.initial_r2t))
        trouble = DM_TOO_MUCH_UNSOLICITED;
    task->own.awaiting = DM_AWAIT_UNSOLICITED;
    task->own.rx_end = limit;
    rx_into_task(c, task, &task->out, 0, trouble);
}

static void command_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = c->rx.task;

    (void)ctl_data;
    if (!task)                              /* no write, or released */
        return;
    if (c->rx.trouble) {
        data_ended(c, task, DM_DATA_UNSOLICITED, c->rx.trouble);
        return;
    }
    task->own.rx_pos = task->out_done = pdu->data_len;
    if (pdu->final)
        data_ended(c, task, DM_DATA_UNSOLICITED, DM_OK);
}

/* ---- target: Data-Out ---------------------------------------------------------------------------------- */

/* 11.7: DataSN from 0 in each sequence, offsets without gap; F where the sequence ends and nowhere else.
 * Unsolicited data that were begun are all of FirstBurstLength or of the command's (4.2.5.2). */
static enum dm_trouble data_out_judge(const struct dm_task *task, const struct iscsi_pdu *pdu)
{
    const bool solicited = task->own.awaiting == DM_AWAIT_SOLICITED;
    const uint32_t left = task->own.rx_end - task->own.rx_pos;

    if (pdu->data_out.offset != task->own.rx_pos || pdu->data_out.data_sn != task->own.rx_sn)
        return DM_BAD_DATA_PDU;
    if (pdu->data_len > left)
        return solicited ? DM_BAD_DATA_PDU : DM_TOO_MUCH_UNSOLICITED;
    if (pdu->final == (pdu->data_len == left))
        return DM_OK;
    if (pdu->final)
        return solicited ? DM_BAD_DATA_PDU : DM_TOO_LITTLE_UNSOLICITED;
    return solicited ? DM_BAD_DATA_PDU : DM_OK;             /* F may come by itself, in an empty PDU */
}

static void data_out_open(struct dm_tcp *c, const uint8_t *header)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = dm_tcp_task_find(c, pdu->itt);
    enum dm_trouble trouble = DM_OK;

    /* The rest of a task that was aborted, answered or refused: skipped. */
    if (!task || task->own.discard)
        return;
    if (task->own.awaiting == DM_AWAIT_NOTHING) {           /* all is in, or it is a read */
        dm_tcp_pdu_reject(c, header, ISCSI_REJECT_PROTOCOL_ERROR);
        return;
    }
    /* Under a tag that does not fit, what was asked for may never come: told, so that nobody waits for it. */
    if (pdu->ttt == ISCSI_TAG_RESERVED) {
        if (task->own.awaiting != DM_AWAIT_UNSOLICITED)
            trouble = DM_TOO_MUCH_UNSOLICITED;
    } else if (task->own.awaiting != DM_AWAIT_SOLICITED || !task->own.r2t_nr || pdu->ttt != task->own.ttt) {
        trouble = DM_BAD_DATA_PDU;          /* also an R2T's out of turn: DataSequenceInOrder */
    }
    rx_into_task(c, task, &task->out, task->own.rx_pos, trouble ? trouble : data_out_judge(task, pdu));
}

static void sequence_ended(struct dm_tcp *c, struct dm_task *task)
{
    struct dm_task_own *own = &task->own;

    own->ttt++;
    own->r2t_nr--;
    own->rx_sn = 0;
    if (own->rx_pos == own->get_end) {
        data_ended(c, task, DM_DATA_GET, DM_OK);
        return;
    }
    own->rx_end = own->rx_pos + min_u32(c->params.burst_max, own->get_end - own->rx_pos);
    if (own->r2t_pos < own->get_end && !own->tx.queued)
        dm_tcp_tx_queue(c, &c->tx.ctl, &own->tx, DM_TX_R2T);
}

static void data_out_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = c->rx.task;

    (void)ctl_data;
    if (!task)
        return;
    if (c->rx.trouble) {
        data_ended(c, task, task->own.awaiting == DM_AWAIT_SOLICITED ? DM_DATA_GET : DM_DATA_UNSOLICITED,
                   c->rx.trouble);
        return;
    }
    task->own.rx_sn++;
    task->own.rx_pos += pdu->data_len;
    task->out_done = task->own.rx_pos;
    if (!pdu->final)
        return;
    if (task->own.awaiting == DM_AWAIT_SOLICITED)
        sequence_ended(c, task);
    else
        data_ended(c, task, DM_DATA_UNSOLICITED, DM_OK);
}

/* ---- initiator: Data-In and R2T ------------------------------------------------------------------------ */

/* A target that places data wrong would corrupt what the caller reads: nothing can be saved of it. */
static void data_in_open(struct dm_tcp *c, const uint8_t *header)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = dm_tcp_task_find(c, pdu->itt);

    (void)header;
    if (!task)
        return;                             /* aborted: skipped, though a status in it goes up */
    if (answers_unsent(task) || pdu->resp.data_sn != task->own.sn ||
        (pdu->data_len && pdu->resp.offset != task->in_done) ||
        pdu->data_len > task->own.in_max - task->in_done) {
        dm_tcp_fail(c, -EPROTO);
        return;
    }
    rx_into_task(c, task, &task->in, task->in_done, DM_OK);
}

static void data_in_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = c->rx.task;

    (void)ctl_data;
    if (task) {
        task->own.sn++;
        task->in_done += pdu->data_len;
    }
    if (pdu->resp.has_status)
        c->dm.events->control_notify(c->dm.user, pdu, NULL);
}

static void r2t_open(struct dm_tcp *c, const uint8_t *header)
{
    const struct iscsi_pdu *pdu = &c->rx.pdu;
    struct dm_task *task = dm_tcp_task_find(c, pdu->itt);
    struct dm_task_own *own;
    uint32_t waiting;

    (void)header;
    if (!task)
        return;                             /* aborted: it waits for a task management response, not for data */
    own = &task->own;
    waiting = own->r2t_nr + (own->streaming && own->ttt != ISCSI_TAG_RESERVED);
    if (answers_unsent(task) || !own->out_max || pdu->r2t.r2t_sn != own->sn ||
        pdu->r2t.length > c->params.burst_max ||
        pdu->r2t.offset > own->out_max || pdu->r2t.length > own->out_max - pdu->r2t.offset ||
        waiting >= c->r2t_max) {
        dm_tcp_fail(c, -EPROTO);
        return;
    }
    own->sn++;
    task->r2t[(own->r2t_first + own->r2t_nr++) % DM_R2T_MAX] =
        (struct dm_r2t){ .ttt = pdu->ttt, .off = pdu->r2t.offset, .len = pdu->r2t.length };
    dm_tcp_tx_next_sequence(c, task);
}

static void nothing_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    (void)c, (void)ctl_data;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static const struct pdu_kind control_kind = { control_open, control_finish };
static const struct pdu_kind data_kinds[64] = {             /* by opcode; decoding has checked who sent it */
    [ISCSI_OP_SCSI_CMD] = { command_open,  command_finish },
    [ISCSI_OP_DATA_OUT] = { data_out_open, data_out_finish },
    [ISCSI_OP_DATA_IN]  = { data_in_open,  data_in_finish },
    [ISCSI_OP_R2T]      = { r2t_open,      nothing_finish },
};

static const struct pdu_kind *pdu_kind(const struct dm_tcp *c)
{
    const struct pdu_kind *k = &data_kinds[c->rx.pdu.opcode];

    return k->open ? k : &control_kind;
}

void dm_tcp_pdu_open(struct dm_tcp *c, const uint8_t *header)
{
    pdu_kind(c)->open(c, header);
}

void dm_tcp_pdu_finish(struct dm_tcp *c, const uint8_t *ctl_data)
{
    pdu_kind(c)->finish(c, ctl_data);
}
