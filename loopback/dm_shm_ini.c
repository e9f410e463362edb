/*
 * dm_shm_ini.c - the initiator's end: where the data of commands lie, and what a target says of them
 *
 * From the moment a command's slot is written until its status has come the target may use the command's place. Whoever
 * wants the memory back earlier takes it away from the target first: nothing waits for a peer.
 */
#include "loopback/dm_shm.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"

/* ---- the caller's memory --------------------------------------------------------------------------------- */

/* The buffer itself, when it lies together and the target sees it; else NULL. */
static uint8_t *place_of(const struct dm_shm *c, const struct dm_buf *buf, uint32_t len)
{
    uint8_t *at = NULL;
    uint32_t have = 0;

    for (unsigned i = 0; i < buf->iov_nr && have < len; i++) {
        const struct iovec *v = &buf->iov[i];

        if (!v->iov_len)
            continue;
        if (!have)
            at = v->iov_base;
        else if (at + have != v->iov_base)
            return NULL;
        have = v->iov_len < len - have ? have + (uint32_t)v->iov_len : len;
    }
    if (have != len || !loop_arena_shared(c->lender, at, len))
        return NULL;
    assert(at); /* nothing at no address is in an arena */
    return at;
}

static void copy_out(uint8_t *to, const struct dm_buf *buf, uint32_t len)
{
    for (const struct iovec *v = buf->iov; len; v++) {
        const uint32_t n = v->iov_len < len ? (uint32_t)v->iov_len : len;

        if (n) /* an empty one may have no memory */
            memcpy(to, v->iov_base, n);
        to += n;
        len -= n;
    }
}

/* To byte @pos of the buffer on. */
static void copy_in(const struct dm_buf *buf, uint32_t pos, const uint8_t *from, uint32_t len)
{
    const struct iovec *v = buf->iov;

    for (; pos >= v->iov_len && len; v++)
        pos -= (uint32_t)v->iov_len;
    for (; len; v++, pos = 0) {
        const uint32_t left = (uint32_t)v->iov_len - pos, n = left < len ? left : len;

        if (n)
            memcpy((uint8_t *)v->iov_base + pos, from, n);
        from += n;
        len -= n;
    }
}

/* ---- commands -------------------------------------------------------------------------------------------- */

void shm_ini_begin(struct dm_shm *c, struct dm_ctl *ctl)
{
    struct dm_task *task = ctl->task;
    const struct iscsi_pdu *pdu = &ctl->pdu;

    assert(c->role == ISCSI_INITIATOR && pdu->opcode == ISCSI_OP_SCSI_CMD && pdu->itt == task->itt);
    assert(!pdu->cmd.write || task->out.len >= task->edtl);
    assert(!pdu->ahs_len);
    shm_task_begin(c, task);
    task->own.cmd = ctl;
}

/* A place for the command's data; false: there is no stand-in now. */
static bool place_take(struct dm_shm *c, struct dm_task *task, bool write)
{
    const struct dm_buf *buf = write ? &task->out : &task->in;
    const uint32_t len = task->edtl;

    task->own.place = buf->len >= len ? place_of(c, buf, len) : NULL;
    if (task->own.place)
        return true;
    task->own.place = loop_arena_get_standin(c->lender, len);
    if (!task->own.place) {
        /* With none of ours out, none will come back: it is longer than any, or the arena is worn. */
        if (!c->standins)
            shm_fail(c, -ENOBUFS);
        return false;
    }
    task->own.bounced = true;
    c->standins++;
    if (write)
        copy_out(task->own.place, buf, len);
    return true;
}

/* Its CmdSN is given away, so something has to go out: what moves nothing and changes nothing, a TEST UNIT READY. */
static void command_void(struct iscsi_pdu *pdu)
{
    pdu->cmd.read = pdu->cmd.write = false;
    pdu->cmd.edtl = 0;
    memset(pdu->cmd.cdb, 0, sizeof(pdu->cmd.cdb));
}

bool shm_ini_command_write(struct dm_shm *c, struct dm_ctl *ctl)
{
    struct iscsi_pdu *pdu = &ctl->pdu;
    struct dm_task *task = ctl->task;
    struct loop_slot *s;
    uint64_t off = 0;
    uint32_t len = 0;

    if (!shm_has_room(c, 0))
        return false;
    if (!task) {
        command_void(pdu);
    } else if (task->edtl && (pdu->cmd.read || pdu->cmd.write)) {
        if (!place_take(c, task, pdu->cmd.write))
            return false;
        off = (uint64_t)(task->own.place - c->arena);
        len = task->edtl;
    }
    pdu->final = true;
    pdu->data_len = 0;
    s = shm_tx_slot(&c->tx);
    iscsi_pdu_encode(s->bhs, pdu);
    s->off = off;
    s->len = len;
    shm_push(c, len);
    if (!task)
        return true;
    task->own.cmd = NULL;
    task->out_done = pdu->cmd.write ? task->edtl : 0; /* the target has it from here on */
    return true;
}

/* ---- memory that comes back ------------------------------------------------------------------------------ */

static void standin_put(struct dm_shm *c, struct dm_task *task, bool lose)
{
    if (lose)
        loop_arena_lose_standin(c->lender, task->own.place, task->edtl);
    else
        loop_arena_put_standin(c->lender, task->own.place, task->edtl);
    task->own.bounced = false;
    c->standins--;
}

/* The target is through with it. */
void shm_ini_answered(struct dm_shm *c, struct dm_task *task)
{
    task->own.answered = true;
    if (task->own.bounced)
        standin_put(c, task, false);
    task->own.place = NULL;
}

/* Once a connection: it is tried again ten times a second. */
static void stuck_tell(struct dm_shm *c, int err)
{
    if (!c->stuck_told)
        rt_log(RT_ERR,
               "memory cannot be taken away from a target that did not answer (%s): requests wait until it can; see "
               "vm.max_map_count, and the memory that this process may have",
               strerror(-err));
    c->stuck_told = true;
}

/* Return: false: the peer still reaches it. */
static bool take_away(struct dm_shm *c, struct dm_task *task)
{
    int err;

    if (!task->own.place)
        return true;
    if (task->own.bounced) {
        standin_put(c, task, true);
    } else if ((err = loop_arena_revoke(c->lender, task->own.place, task->edtl))) {
        stuck_tell(c, err);
        return false;
    }
    task->own.place = NULL;
    return true;
}

/* One without an answer ends in a later turn: whoever gives up many at once walks over them, and the end of one may be told
 * to who submits another. */
bool shm_ini_release(struct dm_shm *c, struct dm_task *task)
{
    if (task->own.answered) {
        shm_task_forget(c, task);
        return true;
    }
    if (task->own.cmd) {                    /* still queued, and goes out as nothing */
        task->own.cmd->task = NULL;
        task->own.cmd = NULL;
    }
    task->own.releasing = task->own.answered = true;
    if (take_away(c, task)) {
        shm_due(c, &task->own.tx, SHM_DUE_RELEASED);
        return false;
    }
    rt_list_push(&c->stuck, &task->own.all);
    if (c->state <= SHM_DRAINING && !rt_timer_armed(&c->retry))
        rt_timer_arm(c->rt, &c->retry, SHM_RETRY_NS);
    return false;
}

bool shm_ini_revoke(struct dm_shm *c, bool all)
{
    bool safe = true;

    rt_list_for_safe (l, &c->stuck) {
        struct dm_task *task = rt_list_entry(l, struct dm_task, own.all);

        if (!take_away(c, task)) {
            safe = false;
            continue;
        }
        rt_list_del(l);
        shm_due(c, &task->own.tx, SHM_DUE_RELEASED);
    }
    for (unsigned i = 0; all && i < ARRAY_SIZE(c->hash); i++) {
        for (struct dm_task *t = c->hash[i]; t; t = t->own.next)
            safe &= t->own.answered || take_away(c, t);
    }
    return safe;
}

/* ---- what the target says -------------------------------------------------------------------------------- */

/* A target that places data wrong would corrupt what the caller reads: nothing can be saved of it. */
static bool data_in_is_right(const struct dm_shm *c, const struct dm_task *task, const struct loop_slot *s,
                             const struct iscsi_pdu *pdu)
{
    const uint32_t max = task->in.len < task->edtl ? task->in.len : task->edtl;

    if (task->own.cmd || pdu->resp.data_sn != task->own.sn)
        return false;
    if (!s->len)
        return true;
    return task->own.place && s->off == (uint64_t)(task->own.place - c->arena) &&
           pdu->resp.offset == task->in_done && s->len <= max - task->in_done;
}

static void data_in(struct dm_shm *c, const struct loop_slot *s, struct iscsi_pdu *pdu)
{
    struct dm_task *task = shm_task_find(c, pdu->itt);

    pdu->data_len = s->len;
    if (task && !data_in_is_right(c, task, s, pdu)) {
        shm_fail(c, -EPROTO);
        return;
    }
    if (task && s->len) {
        if (task->own.bounced) {
            copy_in(&task->in, task->in_done, task->own.place + task->in_done, s->len);
        } else if (!loop_arena_shared(c->lender, task->own.place, task->edtl)) {
            /* Another command's pages were taken away, and it shared one with them: what the target wrote there is not
             * what we see. Read again, over a new connection. */
            shm_fail(c, -ECONNRESET);
            return;
        }
        task->in_done += s->len;
    }
    if (task)
        task->own.sn++; /* an unknown one was aborted: skipped, though a status goes up */
    if (!pdu->resp.has_status)
        return;
    if (task)
        shm_ini_answered(c, task);
    c->dm.events->control_notify(c->dm.user, pdu, NULL);
}

static void response_seen(struct dm_shm *c, uint32_t itt)
{
    struct dm_task *task = shm_task_find(c, itt);

    if (task && task->own.cmd)
        shm_fail(c, -EPROTO); /* else a write would count as done that never left */
    else if (task)
        shm_ini_answered(c, task);
}

static void ini_take(struct dm_shm *c, struct loop_slot *s)
{
    enum iscsi_reject why;
    struct iscsi_pdu pdu;

    switch (s->bhs[0] & 0x3f) {
    case ISCSI_OP_DATA_IN:
        s->bhs[5] = s->bhs[6] = s->bhs[7] = 0;
        why = iscsi_pdu_decode(&pdu, s->bhs, ISCSI_FROM_TARGET);
        if (why)
            c->dm.events->reject_notify(c->dm.user, s->bhs, why);
        else
            data_in(c, s, &pdu);
        break;
    case ISCSI_OP_R2T: /* all data are where the target reads them */ shm_fail(c, -EPROTO); break;
    case ISCSI_OP_SCSI_RESP:
        response_seen(c, load_be32(&s->bhs[16]));
        if (c->end_err)
            break;
        shm_take_control(c, s);
        break;
    default: shm_take_control(c, s);
    }
}

int dm_shm_new_initiator(struct dm **out, struct dm *tcp, struct loop_join *join, struct loop_arena *arena,
                         const struct dm_events *events, void *user)
{
    struct dm_shm *c = shm_alloc();
    struct loop_handed h;

    if (!c)
        return -ENOMEM;
    loop_join_take(join, &h);
    loop_join_free(join);
    c->take = ini_take;
    c->lender = arena;
    c->rings = h.rings;
    shm_start(c, tcp, &h, ISCSI_INITIATOR, events, user);
    *out = &c->dm;
    return 0;
}
