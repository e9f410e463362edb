/*
 * dm_shm_tgt.c - the target's end: commands out of the ring, data between buffers and the arena
 *
 * The arena is an initiator's, which may write anywhere in it at any time, and may take pages of it away at any time:
 * bytes are moved and never looked at, and where they are moved was judged when the command came.
 */
#include "loopback/dm_shm.h"
#include "reactor/rt_bytes.h"

#define PLACE_ALIGN 4096u /* what any device takes */

/* ---- commands -------------------------------------------------------------------------------------------- */

/* Where the command's data lie; @len: bytes that are there. */
static enum iscsi_reject place_judge(struct dm_shm *c, const struct loop_slot *s, const struct iscsi_pdu *pdu)
{
    c->place = NULL;
    c->place_len = 0;
    if (!pdu->cmd.edtl)
        return ISCSI_REJECT_NONE;
    if (s->len < pdu->cmd.edtl || s->off > c->arena_len || s->len > c->arena_len - s->off)
        return ISCSI_REJECT_PROTOCOL_ERROR;
    c->place = c->arena + s->off;
    c->place_len = pdu->cmd.edtl;
    return ISCSI_REJECT_NONE;
}

static void task_begin(struct dm_shm *c, struct dm_task *task)
{
    shm_task_begin(c, task);
    task->own.place = c->place;
    task->own.rx_end = c->place_len;
}

static enum iscsi_reject command_judge(struct dm_shm *c, const struct loop_slot *s, struct iscsi_pdu *pdu)
{
    enum iscsi_reject why;

    if (s->bhs[4]) /* no CDB of ours is longer than 16 bytes */
        return ISCSI_REJECT_NOT_SUPPORTED;
    if ((why = iscsi_pdu_decode(pdu, s->bhs, ISCSI_FROM_INITIATOR)) || (why = place_judge(c, s, pdu)))
        return why;
    return shm_task_find(c, pdu->itt) ? ISCSI_REJECT_TASK_IN_PROGRESS : ISCSI_REJECT_NONE;
}

static void command(struct dm_shm *c, struct loop_slot *s)
{
    enum iscsi_reject why;
    struct dm_task *task;
    struct iscsi_pdu pdu;

    s->bhs[5] = s->bhs[6] = s->bhs[7] = 0; /* there is no data segment, whatever it says */
    c->bhs = s->bhs;
    if ((why = command_judge(c, s, &pdu))) {
        c->dm.events->reject_notify(c->dm.user, s->bhs, why);
        return;
    }
    pdu.final = true;
    c->in_command = true;
    c->command_over = false;
    c->begun = NULL;
    task = c->dm.events->command_notify(c->dm.user, &pdu, NULL);
    c->in_command = false;
    if (!task || c->command_over || c->state != SHM_OPEN)
        return;
    assert(task->itt == pdu.itt);
    if (!task->own.known) /* else a Put_Data was quicker */
        task_begin(c, task);
    if (pdu.cmd.write)
        c->dm.events->data_completion_notify(c->dm.user, task, DM_DATA_UNSOLICITED, DM_OK);
}

static void tgt_take(struct dm_shm *c, struct loop_slot *s)
{
    switch (s->bhs[0] & 0x3f) {
    case ISCSI_OP_SCSI_CMD: command(c, s); break;
    case ISCSI_OP_DATA_OUT: /* nobody asked for any */
        c->bhs = s->bhs;
        c->dm.events->reject_notify(c->dm.user, s->bhs, ISCSI_REJECT_PROTOCOL_ERROR);
        break;
    default: shm_take_control(c, s);
    }
}

void *shm_place(const struct dm *dm)
{
    const struct dm_shm *c = dm_shm_of(dm);

    return c->in_command && (uintptr_t)c->place % PLACE_ALIGN == 0 ? c->place : NULL;
}

bool shm_tgt_release(struct dm_shm *c, struct dm_task *task)
{
    shm_unqueue(&task->own.tx);
    if (c->in_command && task == c->begun) { /* another one may be released meanwhile */
        c->begun = NULL;
        c->command_over = true;
    }
    shm_task_forget(c, task);
    return true;
}

/* ---- data ------------------------------------------------------------------------------------------------ */

/* Bytes [off, off + len) of the buffer to or from the same bytes of the place. */
static void data_move(const struct dm_buf *buf, uint8_t *place, uint32_t off, uint32_t len, bool to_place)
{
    const struct iovec *v = buf->iov;
    uint32_t skip = off;

    for (; skip >= v->iov_len; v++)
        skip -= (uint32_t)v->iov_len;
    for (; len; v++, skip = 0) {
        const uint32_t left = (uint32_t)v->iov_len - skip, n = left < len ? left : len;
        uint8_t *mem = (uint8_t *)v->iov_base + skip, *at = place + off;

        if (mem != at && to_place)
            memcpy(at, mem, n);
        else if (mem != at)
            memcpy(mem, at, n);
        off += n;
        len -= n;
    }
}

/* After there was room. @status: NULL: none. */
static void data_in_write(struct dm_shm *c, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                          const struct iscsi_pdu *status)
{
    struct dm_task_own *own = &task->own;
    struct loop_slot *s = shm_tx_slot(&c->tx);
    uint8_t *bhs = s->bhs;

    data_move(&task->in, own->place, off, len, true);
    if (status) {
        c->exp_cmd_sn = status->exp_cmd_sn;
        c->max_cmd_sn = status->max_cmd_sn;
        own->answered = true;
    }
    iscsi_data_in_encode(bhs, task->itt, own->sn++, off, final, status);
    if (!status) {
        store_be32(&bhs[28], c->exp_cmd_sn);
        store_be32(&bhs[32], c->max_cmd_sn);
    }
    s->off = (uint64_t)(own->place - c->arena);
    s->len = len;
    own->data_in_nr++;
    shm_push(c, len);
}

bool shm_tgt_put_write(struct dm_shm *c, struct dm_task *task)
{
    const struct dm_task_own *own = &task->own;

    if (!shm_has_room(c, 0))
        return false;
    data_in_write(c, task, own->tx_pos, own->tx_end - own->tx_pos, own->put_final,
                  own->put_status ? &task->status : NULL);
    return true;
}

bool shm_put_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                  const struct iscsi_pdu *status)
{
    struct dm_shm *c = dm_shm_of(dm);
    struct dm_task_own *own = &task->own;

    rt_assert_here(c->rt);
    assert(len && off <= task->in.len && len <= task->in.len - off);
    assert(!status || final);
    if (!own->known) {
        assert(c->in_command && !c->begun && !c->command_over);
        task_begin(c, task);
        c->begun = task;
    }
    assert(!own->releasing && !own->tx.queued && !own->answered);
    assert(off <= own->rx_end && len <= own->rx_end - off);
    if (shm_may_send(c) && shm_has_room(c, 0)) {
        data_in_write(c, task, off, len, final, status);
        return true;
    }
    own->tx_pos = off;
    own->tx_end = off + len;
    own->put_final = final;
    own->put_status = status != NULL;
    if (status)
        task->status = *status;
    shm_queue(c, &own->tx, SHM_TX_PUT);
    return false;
}

void shm_get_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len)
{
    struct dm_shm *c = dm_shm_of(dm);
    struct dm_task_own *own = &task->own;

    rt_assert_here(c->rt);
    assert(own->known && !own->releasing && !own->tx.queued);
    assert(len && off <= task->out.len && len <= task->out.len - off);
    assert(off <= own->rx_end && len <= own->rx_end - off);
    data_move(&task->out, own->place, off, len, false);
    task->out_done = off + len;
    shm_due(c, &own->tx, SHM_DUE_GOT);
}

int dm_shm_new_target(struct dm **out, struct dm *tcp, struct loop_guest *guest, const struct dm_events *events,
                      void *user)
{
    struct dm_shm *c = shm_alloc();
    struct loop_handed h;

    if (!c)
        return -ENOMEM;
    loop_guest_handed(guest, &h);
    c->take = tgt_take;
    shm_start(c, tcp, &h, ISCSI_TARGET, events, user);
    *out = &c->dm;
    return 0;
}
