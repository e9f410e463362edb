/*
 * sess_cmd.c - SCSI tasks of a session: from the command to its status
 *
 * A command is started with the logical unit as soon as its CmdSN comes, which says what data it moves. A read
 * gets buffers and is run when the turn ends (by then the datamover knows the task); a write is run when its
 * data are there. Once lun_run() is over the unit is left at once, so nothing that happens to the connection
 * afterwards concerns it: what is still to be sent is the session's affair.
 *
 * Buffers. Unsolicited data must have a place when they come; when there is none, they go to the sink and the
 * command ends with TASK SET FULL. Everything else waits in the core's queue until all of it is to be had, and
 * only then asks for data or runs.
 *
 * Over shared memory a plain READ or WRITE needs none: the unit works on the initiator's own buffer, the place. The
 * initiator can change that at any time, so every other command gets a copy in buffers of ours: what is compared,
 * merged or parsed must not change between two looks.
 */
#include <string.h>
#include "reactor/rt_bytes.h"
#include "target/sess.h"

/* A command that answers with less than its allocation length says so only if it has room for all of it: it
 * gets that up to here, whatever EDTL says. */
#define EXACT_RESIDUAL_MAX 65536u

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void task_proceed(struct sess_task *t);
static void task_run(struct sess_task *t);

/* ---- life ------------------------------------------------------------------------------------------------ */

static void lun_done(struct scsi_task *st);

static struct sess_task *task_new(struct sess *s, const struct iscsi_pdu *pdu)
{
    struct sess_task *t = rt_pool_get(s->core->tasks);

    if (!t)
        return NULL;
    t->dm.itt = pdu->itt;
    t->dm.lun = pdu->lun;
    t->dm.edtl = pdu->cmd.read || pdu->cmd.write ? pdu->cmd.edtl : 0;
    t->dm.out = t->dm.in = (struct dm_buf){ 0 };
    t->dm.out_done = 0;
    t->dm.own.known = t->dm.own.releasing = false;
    t->place = dm_place(s->dm);
    t->sess = s;
    rt_list_init(&t->wait);
    rt_list_init(&t->held.link);
    t->held.kind = HELD_TASK;
    t->state = TASK_ENDING;
    t->refusal = SCSI_GOOD;
    t->immediate = pdu->immediate;
    t->counted = t->lun_open = t->answered = t->unsolicited_over = t->known = t->direct = false;
    t->releasing = t->sending = t->aborted = t->abort_tas = t->abort_queued = false;
    t->trouble = DM_OK;
    t->seen_out = 0;
    t->seen_at = rt_now(s->rt);
    t->cmd_sn = pdu->cmd_sn;
    memset(&t->scsi, 0, offsetof(struct scsi_task, sense));
    t->scsi.sense_len = t->scsi.in_done = 0;
    t->scsi.nexus = &s->nexus;
    t->scsi.edtl = t->dm.edtl;
    t->scsi.read = pdu->cmd.read;
    t->scsi.write = pdu->cmd.write;
    t->scsi.attr = pdu->cmd.attr;
    t->scsi.tag = pdu->itt;
    t->scsi.done = lun_done;
    t->scsi.cdb = t->cdb;
    t->scsi.number = SCSI_LUN_MAX + 1;      /* an address of a form we have no units in */
    (void)scsi_lun_decode(pdu->lun, &t->scsi.number);
    buf_list_init(&t->buf);
    rt_list_push(&s->tasks, &t->link);
    s->tasks_nr++;
    s->immediates += t->immediate;
    return t;
}

/* Hands out what came back, in the order in which it was asked for. */
static void buffers_pump(struct tgt_core *core)
{
    while (!rt_list_empty(&core->waiting)) {
        struct sess_task *t = rt_list_entry(core->waiting.next, struct sess_task, wait);

        if (!buf_grow(core->bufs, &t->buf, t->put_len, false))
            return;
        rt_list_del(&t->wait);
        task_proceed(t);
    }
}

static void task_free(struct sess_task *t)
{
    struct sess *s = t->sess;
    struct tgt_core *core = s->core;

    assert(!t->lun_open && !t->releasing && !t->sending && rt_list_empty(&t->held.link));
    assert(rt_list_empty(&t->wait));
    buf_release(core->bufs, &t->buf);
    rt_list_del(&t->link);
    s->tasks_nr--;
    s->immediates -= t->immediate;
    rt_pool_put(core->tasks, t);
    if (s->tmfs_nr)
        tmf_task_over(s);
    buffers_pump(core);
}

/* Leaves the logical unit: from here on nothing there waits for this task. */
static void task_leave(struct sess_task *t)
{
    if (!t->lun_open)
        return;
    t->lun_open = false;
    lun_finish(&t->scsi);
    if (t->scsi.itl)
        map_task_over(t->sess, t->scsi.itl);
}

static void task_uncount(struct sess_task *t)
{
    t->sess->active -= t->counted;
    t->counted = false;
}

static void task_release(struct sess_task *t)
{
    if (!t->known)
        return;
    t->known = false;
    t->releasing = !dm_release_task(t->sess->dm, &t->dm);
}

/* ---- the answer ------------------------------------------------------------------------------------------ */

static void task_sense(struct sess_task *t, uint8_t key, uint8_t asc, uint8_t ascq)
{
    const struct scsi_sense sense = SCSI_SENSE(key, asc, ascq);

    t->scsi.status = SCSI_CHECK_CONDITION;
    t->scsi.sense_len = scsi_sense_encode(t->scsi.sense, &sense, false);
}

/* RFC 7143 11.4.5: what the command would have moved in the direction that was announced, against EDTL. */
static void residual_set(const struct sess_task *t, struct iscsi_pdu *p, uint64_t wants)
{
    const uint32_t edtl = t->dm.edtl;

    p->resp.overflow = wants > edtl;
    p->resp.underflow = wants < edtl;
    p->resp.residual = (uint32_t)(wants > edtl ? wants - edtl : edtl - wants);
}

/* Bytes that the command would have moved. What was refused moves nothing, but a length in the CDB that EDTL
 * has no room for is told all the same: it may be why. */
static uint64_t task_wants(const struct sess_task *t)
{
    const struct scsi_task *st = &t->scsi;
    const uint32_t edtl = t->dm.edtl, len = st->out_len ? st->out_len : st->in_len;

    if (t->answered || (st->sense_len && !st->out_len))
        return len > edtl ? len : 0;
    if (st->out_len)
        return st->write || !st->read ? len : 0;
    if (st->write && !st->read)
        return 0;
    return st->in_done < min_u32(len, edtl) ? st->in_done : len;
}

static void response_fill(struct sess_task *t, struct iscsi_pdu *p)
{
    struct sess *s = t->sess;

    *p = (struct iscsi_pdu){
        .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = t->dm.itt, .ttt = ISCSI_TAG_RESERVED,
        .resp = { .response = ISCSI_RESPONSE_COMPLETED, .status = t->scsi.status },
    };
    residual_set(t, p, task_wants(t));
    task_uncount(t);
    sess_stamp(s, p, true);
}

static void response_sent(struct dm_ctl *ctl, int err)
{
    struct sess_task *t = container_of(ctl, struct sess_task, rsp);

    (void)err;
    t->sending = false;
    if (!t->releasing)
        task_free(t);
}

/* A SCSI Response by itself. The datamover forgets the task first: the tag is free once the peer has this. */
static void task_respond(struct sess_task *t)
{
    struct dm_ctl *ctl = &t->rsp;
    const uint32_t sense_len = t->scsi.sense_len;
    const uint32_t data_sn = t->known ? t->dm.own.sn : 0;

    assert(!t->lun_open && rt_list_empty(&t->wait));
    t->state = TASK_ENDING;
    memset(ctl, 0, sizeof(*ctl));
    response_fill(t, &ctl->pdu);
    ctl->pdu.resp.exp_data_sn = data_sn;    /* 11.4.8: R2Ts and Data-Ins sent */
    if (sense_len) {
        store_be16(t->sense, (uint16_t)sense_len);
        memcpy(t->sense + 2, t->scsi.sense, sense_len);
        ctl->data = t->sense;
        ctl->pdu.data_len = 2 + sense_len;
    }
    ctl->sent = response_sent;
    ctl->at_once = true;
    t->sending = true;
    task_release(t);
    if (dm_send_control(t->sess->dm, ctl))
        response_sent(ctl, 0);
}

/* Ends with a status that is not the logical unit's. */
static void task_refuse(struct sess_task *t, uint8_t status)
{
    t->scsi.status = status;
    t->scsi.sense_len = 0;
    t->scsi.in_done = 0;
    t->answered = true;
    task_leave(t);
}

/* A status without a task: there was no memory for one. */
static void respond_full(struct sess *s, const struct iscsi_pdu *pdu)
{
    struct sess_ctl *c = ctl_get(s);

    if (!c)
        return;
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED,
        .resp = { .response = ISCSI_RESPONSE_COMPLETED, .status = SCSI_TASK_SET_FULL,
                  .underflow = pdu->cmd.edtl != 0, .residual = pdu->cmd.edtl },
    };
    ctl_send(c, true);
}

/* ---- the end of a task without an answer ----------------------------------------------------------------- */

/* Nothing of the unit's refers to it any more. */
static void task_vanish(struct sess_task *t)
{
    assert(!t->lun_open);
    if (t->aborted && t->abort_tas && t->sess->state == SESS_FULL) {
        task_refuse(t, SCSI_TASK_ABORTED);
        task_respond(t);
        return;
    }
    t->state = TASK_ENDING;
    task_uncount(t);
    task_release(t);
    if (!t->releasing && !t->sending)
        task_free(t);
}

/**
 * task_abort - end a task that has no status yet
 *
 * One whose status is with the datamover is over: its status goes out before anything that is said about the
 * abort. Data that still come for it are thrown away there, so an R2T that is never answered keeps nothing.
 */
void task_abort(struct sess_task *t, bool tas)
{
    struct sess *s = t->sess;

    if (t->aborted || t->state == TASK_PUT || t->state == TASK_ENDING)
        return;
    t->aborted = true;
    t->abort_tas = tas;
    if (t->state == TASK_RUN) {
        rt_list_del(&t->wait);
        t->abort_queued = false;
        lun_cancel(&t->scsi);               /* lun_done() goes on */
        return;
    }
    rt_list_del(&t->wait);
    t->abort_queued = false;
    if (!rt_list_empty(&t->held.link)) {    /* its CmdSN was given away all the same */
        rt_list_del(&t->held.link);
        sess_skip_sn(s, t->cmd_sn);
    }
    task_leave(t);
    if (s->state == SESS_FULL)
        task_vanish(t);
}

/* The unit wants the task gone. It holds lists of tasks at this moment: they are left when the turn ends. */
static void nexus_abort(struct scsi_task *st, bool tas)
{
    struct sess_task *t = container_of(st, struct sess_task, scsi);

    if (t->aborted || t->abort_queued)
        return;
    t->abort_tas = tas;
    t->abort_queued = true;
    rt_list_del(&t->wait);                  /* neither buffers nor the unit are for it any more */
    rt_list_push(&t->sess->aborts, &t->wait);
    sess_turn(t->sess);
}

const struct nexus_ops sess_nexus_ops = { .abort = nexus_abort };

/* ---- running --------------------------------------------------------------------------------------------- */

/* Data and status have left. */
static void task_put_over(struct sess_task *t)
{
    t->state = TASK_ENDING;
    task_release(t);
    if (!t->releasing)
        task_free(t);
}

static void task_put(struct sess_task *t, uint32_t len)
{
    struct sess *s = t->sess;
    struct iscsi_pdu status;

    t->state = TASK_PUT;
    response_fill(t, &status);
    t->dm.in = (struct dm_buf){ t->scsi.in_iov, t->scsi.in_nr, len };
    if (dm_put_data(s->dm, &t->dm, 0, len, true, &status))
        task_put_over(t);
}

/* lun_run() is over. */
static void lun_done(struct scsi_task *st)
{
    struct sess_task *t = container_of(st, struct sess_task, scsi);
    struct sess *s = t->sess;
    uint32_t len;

    assert(t->state == TASK_RUN);
    if (t->abort_queued) {
        t->abort_queued = false;
        t->aborted = true;
        rt_list_del(&t->wait);
    }
    task_leave(t);
    if (s->state != SESS_FULL) {
        t->state = TASK_ENDING;
        if (!s->dm) {
            task_free(t);
            sess_turn(s);
        }
        return;
    }
    if (t->aborted) {
        task_vanish(t);
        return;
    }
    if (st->sense_len)
        st->in_done = 0;
    len = st->read ? min_u32(st->in_done, t->dm.edtl) : 0;
    s->read_bytes += len;
    s->write_bytes += st->out_got;
    if (len)
        task_put(t, len);
    else
        task_respond(t);
}

static void task_run(struct sess_task *t)
{
    struct scsi_task *st = &t->scsi;

    t->state = TASK_RUN;
    if (t->direct) {
        t->flat = (struct iovec){ t->place, st->out_len ? st->out_len : st->in_len };
        st->out_got = st->out_len;
        st->out_nr = st->in_nr = 1;
        st->out_iov = st->in_iov = &t->flat;
    } else if (st->out_len) {
        st->out_got = st->write ? min_u32(st->out_len, t->dm.edtl) : 0;
        st->out_nr = buf_trim(&t->buf, st->out_got);
        st->out_iov = t->buf.iov;
    } else if (st->in_len) {
        st->in_nr = buf_trim(&t->buf, t->put_len);
        st->in_iov = t->buf.iov;
    }
    lun_run(st);
}

/* In turn at the end of this turn: the datamover knows the task by then. */
static void task_ready(struct sess_task *t)
{
    t->state = TASK_READY;
    rt_list_push(&t->sess->ready, &t->wait);
    sess_turn(t->sess);
}

/* Its buffers are there. */
static void task_proceed(struct sess_task *t)
{
    struct scsi_task *st = &t->scsi;

    if (st->write && st->out_len) {
        const uint32_t have = t->dm.out_done;

        t->state = TASK_GET;
        t->seen_at = rt_now(t->sess->rt);
        t->seen_out = have;
        t->dm.out = (struct dm_buf){ t->buf.iov, t->buf.nr, t->buf.len };
        dm_get_data(t->sess->dm, &t->dm, have, t->put_len - have);
        return;
    }
    task_ready(t);
}

/* Everything at once, after those that asked before; nothing is run or solicited until then. */
static void task_want_buffers(struct sess_task *t, uint32_t len)
{
    struct tgt_core *core = t->sess->core;

    t->put_len = len;
    if (rt_list_empty(&core->waiting) && buf_grow(core->bufs, &t->buf, len, false)) {
        task_proceed(t);
        return;
    }
    t->state = TASK_BUFFERS;
    rt_list_push(&core->waiting, &t->wait);
}

/* A write whose unsolicited data are through. */
static void write_go_on(struct sess_task *t)
{
    struct scsi_task *st = &t->scsi;
    uint32_t need;

    if (t->trouble && !t->answered) {
        /* What RFC 7143 11.4.7.2 says for data that break the rules. */
        static const uint8_t codes[][2] = {
            [DM_TOO_MUCH_UNSOLICITED] = { 0x0c, 0x0c }, [DM_TOO_LITTLE_UNSOLICITED] = { 0x0c, 0x0d },
            [DM_BAD_DATA_PDU] = { 0x4b, 0x00 },
        };

        task_refuse(t, SCSI_CHECK_CONDITION);
        task_sense(t, SCSI_ABORTED_COMMAND, codes[t->trouble][0], codes[t->trouble][1]);
    }
    if (t->answered) {
        task_respond(t);
        return;
    }
    need = min_u32(st->out_len, t->dm.edtl);
    if (t->direct)
        task_ready(t);                      /* with others of its turn */
    else if (st->out_len && t->dm.out_done < need)
        task_want_buffers(t, need);
    else if (!st->out_len && st->in_len)    /* W on a command that reads: nothing can be sent, but it is run */
        task_want_buffers(t, min_u32(st->in_len, EXACT_RESIDUAL_MAX));
    else
        task_run(t);
}

/* ---- starting -------------------------------------------------------------------------------------------- */

/* The unit may work on the place. Only where that holds exactly what the CDB says: residuals, and what ends inside a
 * block, are for buffers. */
static bool task_is_direct(const struct sess_task *t)
{
    const struct scsi_task *st = &t->scsi;
    const bool in = st->in_len && st->read && !st->write && st->in_len <= t->dm.edtl;
    const bool out = st->out_len && st->write && !st->read && st->out_len <= t->dm.edtl;

    return t->place && (in || out) && lun_is_direct(st);
}

/* The CmdSN has come, or the command is immediate: the logical unit decides. */
static void task_start(struct sess_task *t)
{
    struct sess *s = t->sess;
    struct scsi_task *st = &t->scsi;

    t->counted = !t->immediate;
    s->active += t->counted;
    s->commands++;
    if (t->answered)                        /* there was no place for its data */
        return;
    st->itl = map_find(s, st->number);
    t->lun_open = true;
    t->answered = lun_start(st) == LUN_DONE;
    if (t->answered) {
        task_leave(t);
    } else if (st->out_len && st->in_len) {
        task_refuse(t, SCSI_CHECK_CONDITION);       /* no command we know moves data both ways */
        task_sense(t, SCSI_ILLEGAL_REQUEST, 0x24, 0x00);
    } else if (st->out_len > LUN_TRANSFER_MAX && min_u32(st->out_len, t->dm.edtl) > LUN_TRANSFER_MAX) {
        task_refuse(t, SCSI_CHECK_CONDITION);
        task_sense(t, SCSI_ILLEGAL_REQUEST, 0x24, 0x00);
    } else {
        t->direct = task_is_direct(t);
        if (t->direct)
            lun_soon(st);
    }
}

/* A command without data from the initiator: needs no more than buffers. */
static void read_go_on(struct sess_task *t)
{
    struct scsi_task *st = &t->scsi;
    uint32_t room = 0;

    if (!t->answered && st->in_len) {
        room = st->in_len <= EXACT_RESIDUAL_MAX ? st->in_len : min_u32(st->in_len, t->dm.edtl);
        room = min_u32(room, LUN_TRANSFER_MAX);
    }
    t->put_len = room;
    if (room && !t->direct)
        task_want_buffers(t, room);
    else
        task_ready(t);
}

/* Where unsolicited data go: to the task's buffers, or to the sink when it is refused or there are none. */
static void unsolicited_place(struct sess_task *t, const struct iscsi_pdu *pdu)
{
    struct sess *s = t->sess;
    const uint32_t limit = min_u32(t->dm.edtl, s->params.first_burst_max);

    t->dm.out = (struct dm_buf){ 0 };
    if (!pdu->data_len && pdu->final)
        return;
    if (!t->answered && !buf_grow(s->core->bufs, &t->buf, limit, true))
        task_refuse(t, SCSI_TASK_SET_FULL);
    if (t->answered) {
        t->buf.iov[0] = (struct iovec){ s->core->sink, BUF_LARGE_LEN };
        t->dm.out = (struct dm_buf){ t->buf.iov, 1, BUF_LARGE_LEN };
    } else {
        t->dm.out = (struct dm_buf){ t->buf.iov, t->buf.nr, t->buf.len };
    }
}

void cmd_held_turn(struct sess *s, struct sess_task *t)
{
    task_start(t);
    if (!t->scsi.write) {
        read_go_on(t);
        return;
    }
    t->state = TASK_UNSOLICITED;
    if (t->unsolicited_over)
        write_go_on(t);
}

/* Return: false when the command is not to be: it was dropped or answered. */
static bool cmd_admit(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *ahs, enum sess_turn_of *turn)
{
    *turn = sess_judge_sn(s, pdu);
    if (*turn == SN_NEVER)
        return false;
    if (s->discovery) {
        sess_reject(s, dm_header(s->dm), ISCSI_REJECT_PROTOCOL_ERROR);
        return false;
    }
    if (pdu->immediate && s->immediates >= SESS_IMMEDIATES_MAX) {
        sess_reject(s, dm_header(s->dm), ISCSI_REJECT_IMMEDIATE);
        return false;
    }
    if (s->tasks_nr >= SESS_TASKS_MAX) {
        sess_close(s, false, "it sends commands past its window");
        return false;
    }
    return true;
}

/* The whole CDB into the task. False: the AHS is not one. */
static bool cdb_take(struct sess_task *t, const struct iscsi_pdu *pdu, const uint8_t *ahs,
                     enum iscsi_reject *why)
{
    uint32_t bidi;

    if (!pdu->ahs_len) {
        memcpy(t->cdb, pdu->cmd.cdb, sizeof(pdu->cmd.cdb));
        t->scsi.cdb_len = sizeof(pdu->cmd.cdb);
        return true;
    }
    *why = iscsi_ahs_cdb(pdu->cmd.cdb, ahs, pdu->ahs_len, t->cdb, &t->scsi.cdb_len, &bidi);
    return *why == ISCSI_REJECT_NONE;
}

struct dm_task *cmd_notify(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    enum sess_turn_of turn;
    enum iscsi_reject why;
    struct sess_task *t;

    if (!cmd_admit(s, pdu, ahs, &turn))
        return NULL;
    if (!(t = task_new(s, pdu))) {
        if (turn == SN_LATER)
            sess_skip_sn(s, pdu->cmd_sn);
        respond_full(s, pdu);
        return NULL;
    }
    if (!cdb_take(t, pdu, ahs, &why)) {
        task_free(t);
        sess_reject(s, dm_header(s->dm), why);
        return NULL;
    }
    t->known = true;
    if (turn == SN_LATER) {
        t->state = TASK_HELD;
        sess_hold_back(s, &t->held, pdu->cmd_sn);
    } else {
        task_start(t);
    }
    if (t->scsi.write) {
        if (turn == SN_NOW)
            t->state = TASK_UNSOLICITED;
        unsolicited_place(t, pdu);
    } else if (turn == SN_NOW) {
        read_go_on(t);
    }
    return s->state == SESS_FULL ? &t->dm : NULL;
}

/* ---- what the datamover tells ---------------------------------------------------------------------------- */

void cmd_data(struct sess *s, struct dm_task *dm, enum dm_data what, enum dm_trouble how)
{
    struct sess_task *t = container_of(dm, struct sess_task, dm);

    if (s->state != SESS_FULL || !t->known)
        return;
    switch (what) {
    case DM_DATA_UNSOLICITED:
        t->trouble = (uint8_t)how;
        if (t->state == TASK_HELD)
            t->unsolicited_over = true;
        else if (t->state == TASK_UNSOLICITED && !t->abort_queued)
            write_go_on(t);
        break;
    case DM_DATA_GET:
        if (t->state != TASK_GET || t->abort_queued)
            break;
        t->trouble = (uint8_t)how;
        if (how)
            write_go_on(t);
        else
            task_run(t);
        break;
    case DM_DATA_PUT:
        task_put_over(t);
        break;
    }
}

void cmd_released(struct sess *s, struct dm_task *dm)
{
    struct sess_task *t = container_of(dm, struct sess_task, dm);

    (void)s;
    t->releasing = false;
    if (t->state == TASK_ENDING && !t->sending)
        task_free(t);
}

void cmd_turn(struct sess *s)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&s->aborts))) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, wait);

        t->abort_queued = false;
        task_abort(t, t->abort_tas);
    }
    while (s->state == SESS_FULL && (l = rt_list_pop(&s->ready))) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, wait);

        if (t->answered)
            task_respond(t);
        else
            task_run(t);
    }
}

/* ---- the end of the session ------------------------------------------------------------------------------ */

void cmd_close(struct sess *s)
{
    rt_list_for(l, &s->tasks) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        rt_list_del(&t->wait);
        t->abort_queued = false;
        if (t->state == TASK_RUN) {
            lun_cancel(&t->scsi);
            continue;
        }
        task_leave(t);
        t->state = TASK_ENDING;
    }
}

void cmd_closed(struct sess *s)
{
    rt_list_for_safe(l, &s->tasks) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        t->known = t->releasing = t->sending = false;
        memset(&t->dm.own, 0, sizeof(t->dm.own));
        if (t->state != TASK_RUN)
            task_free(t);
    }
}

void cmd_watch(struct sess *s, uint64_t now)
{
    rt_list_for(l, &s->tasks) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        if (t->state != TASK_GET && t->state != TASK_UNSOLICITED)
            continue;
        if (t->dm.out_done != t->seen_out) {
            t->seen_out = t->dm.out_done;
            t->seen_at = now;
        } else if (now - t->seen_at > s->core->tgt->limits.stall_ns) {
            sess_close(s, false, "it owed data of a write for too long (stall_s)");
            return;
        }
    }
}
