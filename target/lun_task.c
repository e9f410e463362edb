/*
 * lun_task.c - a task on its session's core: checked, held, begun, ended, finished
 */
#include <errno.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

/* ---- results --------------------------------------------------------------------------------------------- */

void task_sense(struct scsi_task *t, const struct scsi_sense *s)
{
    const bool descriptor = !t->absent && task_view(t)->d_sense;

    t->status = SCSI_CHECK_CONDITION;
    t->sense_len = scsi_sense_encode(t->sense, s, descriptor);
    t->in_done = 0;
}

void task_check(struct scsi_task *t, uint8_t key, uint8_t asc, uint8_t ascq)
{
    task_sense(t, &SCSI_SENSE(key, asc, ascq));
}

static void bad_field(struct scsi_task *t, uint8_t asc, bool in_cdb, unsigned byte, int bit)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, asc, 0);

    s.has_field = true;
    s.field_in_cdb = in_cdb;
    s.field = (uint16_t)byte;
    s.bit = (int8_t)bit;
    task_sense(t, &s);
}

enum lun_next task_bad_cdb(struct scsi_task *t, unsigned byte, int bit)
{
    bad_field(t, 0x24, true, byte, bit);
    return LUN_DONE;
}

void task_bad_param(struct scsi_task *t, unsigned byte, int bit)
{
    bad_field(t, 0x26, false, byte, bit);
}

enum lun_next task_bad_data(struct scsi_task *t)
{
    task_check(t, SCSI_ILLEGAL_REQUEST, 0x0e, 0x03);   /* INVALID FIELD IN COMMAND INFORMATION UNIT */
    return LUN_DONE;
}

void task_be_error(struct scsi_task *t, int err, bool write)
{
    switch (err) {
    case -ENOSPC:
    case -EDQUOT: task_check(t, SCSI_DATA_PROTECT, 0x27, 0x07); break;
    case -EROFS: task_check(t, SCSI_DATA_PROTECT, 0x27, 0x00); break;
    case -EIO:
        if (write)
            task_check(t, SCSI_MEDIUM_ERROR, 0x0c, 0x00);
        else
            task_check(t, SCSI_MEDIUM_ERROR, 0x11, 0x00);
        break;
    default: task_check(t, SCSI_HARDWARE_ERROR, 0x44, 0x00); break;
    }
}

/* ---- bytes between iovecs and memory --------------------------------------------------------------------- */

static size_t iov_copy(const struct iovec *iov, unsigned nr, uint64_t off, uint8_t *mem, size_t len, bool put)
{
    size_t done = 0;

    for (unsigned i = 0; i < nr && done < len; i++) {
        size_t n = iov[i].iov_len;

        if (off >= n) {
            off -= n;
            continue;
        }
        n -= off;
        if (n > len - done)
            n = len - done;
        if (put)
            memcpy((uint8_t *)iov[i].iov_base + off, mem + done, n);
        else
            memcpy(mem + done, (const uint8_t *)iov[i].iov_base + off, n);
        done += n;
        off = 0;
    }
    return done;
}

size_t iov_get(const struct iovec *iov, unsigned nr, uint64_t off, void *out, size_t len)
{
    return iov_copy(iov, nr, off, out, len, false);
}

size_t iov_put(const struct iovec *iov, unsigned nr, uint64_t off, const void *data, size_t len)
{
    return iov_copy(iov, nr, off, (uint8_t *)data, len, true);
}

uint64_t iov_total(const struct iovec *iov, unsigned nr)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < nr; i++)
        n += iov[i].iov_len;
    return n;
}

void resp_init(struct resp *r, struct scsi_task *t)
{
    const uint64_t room = iov_total(t->in_iov, t->in_nr);

    *r = (struct resp){ .t = t, .limit = t->blocks < room ? t->blocks : (uint32_t)room };
}

void resp_put(struct resp *r, const void *data, uint32_t len)
{
    if (r->at < r->limit) {
        const uint32_t n = len < r->limit - r->at ? len : r->limit - r->at;

        iov_put(r->t->in_iov, r->t->in_nr, r->at, data, n);
    }
    r->at += len;
}

void resp_end(struct resp *r)
{
    struct scsi_task *t = r->t;

    t->status = SCSI_GOOD;
    t->in_len = r->at < t->blocks ? r->at : t->blocks;
    t->in_done = r->at < r->limit ? r->at : r->limit;
}

void resp_send(struct scsi_task *t, const void *data, uint32_t len)
{
    struct resp r;

    resp_init(&r, t);
    resp_put(&r, data, len);
    resp_end(&r);
    task_end(t);
}

/* ---- start ----------------------------------------------------------------------------------------------- */

/* The first bit of the CDB that its row knows nothing about; here one means what no unit of ours does. */
static enum lun_next bad_bits(struct scsi_task *t, const struct lun_cmd *cmd)
{
    for (unsigned i = 1; i < cmd->len; i++) {
        const unsigned bad = t->cdb[i] & ~cmd->usage[i] & 0xffu;

        if (bad)
            return task_bad_cdb(t, i, 31 - __builtin_clz(bad));
    }
    assert(!"only called for a CDB that has one");
    return LUN_DONE;
}

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* As two words that may overlap: this runs for every command. Byte order does not matter. */
static bool bits_ok(const uint8_t *cdb, const uint8_t *usage, unsigned len)
{
    if (len < 8)
        return !((load_u32(cdb) & ~load_u32(usage)) | (load_u32(cdb + 2) & ~load_u32(usage + 2)));
    return !((load_u64(cdb) & ~load_u64(usage)) | (load_u64(cdb + len - 8) & ~load_u64(usage + len - 8)));
}

static uint64_t field_get(const uint8_t *cdb, struct lun_field f)
{
    switch (f.len) {
    case 0: return 0;
    case 4: return load_be32(cdb + f.off);
    case 8: return load_be64(cdb + f.off);
    default: return load_be(cdb + f.off, f.len);
    }
}

static enum lun_next range_check(struct scsi_task *t, const struct lun_cmd *cmd)
{
    const uint64_t blocks = task_view(t)->blocks;
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0x00);

    /* The subtraction cannot wrap; a sum could. No blocks at the very end are inside. */
    if (t->lba <= blocks && t->blocks <= blocks - t->lba)
        return LUN_RUN;
    s.has_info = true;
    s.info = t->lba > blocks ? t->lba : blocks;
    task_sense(t, &s);
    return LUN_DONE;
}

static enum lun_next decode(struct scsi_task *t, const struct lun_cmd *cmd)
{
    if (t->cdb_len < cmd->len || !bits_ok(t->cdb, cmd->usage, cmd->len))
        return t->cdb_len < cmd->len ? task_bad_cdb(t, 0, -1) : bad_bits(t, cmd);
    t->lba = field_get(t->cdb, cmd->lba);
    t->blocks = (uint32_t)field_get(t->cdb, cmd->count);
    if (cmd->flags & F_SIX) {
        t->lba &= 0x1fffff;
        t->blocks = t->blocks ? t->blocks : 256;
    }
    return LUN_RUN;
}

static void lengths(struct scsi_task *t, const struct lun_cmd *cmd)
{
    const uint32_t shift = t->absent ? 0 : task_lun(t)->block_shift;

    if (cmd->flags & F_IN_BLOCKS)
        t->in_len = t->blocks << shift;
    else if (cmd->flags & F_OUT_BLOCKS)
        t->out_len = t->blocks << shift;
    else if (cmd->flags & F_OUT_TWICE)
        t->out_len = 2 * t->blocks << shift;
    else if (cmd->flags & F_OUT_ONE)
        t->out_len = 1u << shift;
    else if (cmd->flags & F_IN_ALLOC)
        t->in_len = t->blocks < cmd->param_max ? t->blocks : cmd->param_max;
    else if (cmd->flags & F_OUT_PARAM)
        t->out_len = t->blocks;
}

static enum lun_next cmd_check(struct scsi_task *t, const struct lun_cmd *cmd)
{
    const struct lun *lun = task_lun(t);

    if (decode(t, cmd) == LUN_DONE)
        return LUN_DONE;
    if ((cmd->flags & F_RANGE) && range_check(t, cmd) == LUN_DONE)
        return LUN_DONE;
    if ((cmd->flags & F_LIMIT) && t->blocks > LUN_TRANSFER_MAX >> lun->block_shift)
        return task_bad_cdb(t, cmd->count.off, -1);
    if ((cmd->flags & F_WRITE) && (lun->readonly || t->itl->readonly || task_view(t)->swp)) {
        task_check(t, SCSI_DATA_PROTECT, 0x27, lun->readonly || t->itl->readonly ? 0x00 : 0x02);
        return LUN_DONE;
    }
    if ((cmd->flags & F_OUT_PARAM) && t->blocks > cmd->param_max) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x1a, 0x00);
        return LUN_DONE;
    }
    lengths(t, cmd);
    /* Data that the initiator does not say it sends cannot be asked for. One that does not say it reads
     * gets none. */
    if (t->edtl && t->out_len && !t->write)
        return task_bad_data(t);
    return cmd->check ? cmd->check(t) : LUN_RUN;
}

/* No such LUN for this nexus: three commands are answered all the same. Source: SPC-4 r36, "INQUIRY
 * command" and SAM-5 r21, "Incorrect logical unit numbers". */
static enum lun_next absent_start(struct scsi_task *t, const struct lun_cmd *cmd)
{
    t->absent = true; /* ->itl stays: it is the session's, and may be set when the unit is going */
    if (cmd && cmd->op == SCSI_TEST_UNIT_READY && t->number == SCSI_LUN_WELL_KNOWN)
        return LUN_DONE;
    if (!cmd || !(cmd->flags & F_ABSENT)) {
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x25, 0x00);
        return LUN_DONE;
    }
    if (decode(t, cmd) == LUN_DONE)
        return LUN_DONE;
    lengths(t, cmd);
    return cmd->check ? cmd->check(t) : LUN_RUN;
}

static bool attention_take(struct scsi_task *t)
{
    struct itl *itl = t->itl;

    task_check(t, SCSI_UNIT_ATTENTION, itl->ua[0].asc, itl->ua[0].ascq);
    itl->ua_nr--;
    memmove(&itl->ua[0], &itl->ua[1], itl->ua_nr * sizeof(itl->ua[0]));
    return true;
}

static enum lun_next unknown(struct scsi_task *t, const struct lun_cmd *cmd)
{
    if (!cmd && lun_cmd_find(t->cdb, 0))    /* the opcode is known, its service action is not */
        return task_bad_cdb(t, 1, 4);
    task_check(t, SCSI_ILLEGAL_REQUEST, 0x20, 0x00);
    return LUN_DONE;
}

static enum lun_next present_start(struct scsi_task *t, const struct lun_cmd *cmd)
{
    struct itl *itl = t->itl;

    if (itl->ua_nr && !(cmd && (cmd->flags & F_NO_UA)) && attention_take(t))
        return LUN_DONE;
    if (!cmd || !lun_cmd_there(itl->lun, cmd))
        return unknown(t, cmd);
    if (!port_admits(itl->port_state, cmd))
        return task_no_access(t);
    if (cmd->need & ~itl->access) {
        lun_count(&itl->part->n.conflicts, 1);
        t->status = SCSI_RESERVATION_CONFLICT;
        return LUN_DONE;
    }
    if (t->attr == ISCSI_ATTR_ACA) {        /* there is never an auto contingent allegiance here */
        task_check(t, SCSI_ILLEGAL_REQUEST, 0x49, 0x00);
        return LUN_DONE;
    }
    return cmd_check(t, cmd);
}

static void task_clear(struct scsi_task *t)
{
    t->out_len = t->in_len = t->in_done = t->sense_len = 0;
    t->status = SCSI_GOOD;
    t->lba = t->blocks = t->step = 0;
    t->aborted = t->running = t->guarded = t->killed = t->awaited = false;
    t->held = t->over = t->absent = t->bounced = false;
    t->scratch = NULL;
    rt_list_init(&t->link);
}

static void count_start(struct scsi_task *t, enum lun_next next)
{
    struct lun_counts *n = &t->itl->part->n;
    const uint32_t flags = t->cmd ? t->cmd->flags : 0;

    if (next == LUN_DONE || !(flags & (F_IN_BLOCKS | F_OUT_BLOCKS))) {
        lun_count(&n->others, 1);
    } else if (flags & F_IN_BLOCKS) {
        lun_count(&n->reads, 1);
        lun_count(&n->read_bytes, t->in_len);
    } else {
        lun_count(&n->writes, 1);
        lun_count(&n->write_bytes, t->out_len);
    }
    lun_count(&n->in_flight, 1);
}

enum lun_next lun_start(struct scsi_task *t)
{
    struct itl *itl = t->itl;
    enum lun_next next;

    task_clear(t);
    t->cmd = lun_cmd_find(t->cdb, t->cdb_len);
    if (!itl || itl->part->view->quiet)
        return absent_start(t, t->cmd);
    rt_list_push(&itl->part->tasks, &t->link);
    itl->tasks++;
    if (t->attr == ISCSI_ATTR_ORDERED)
        itl->ordered++;
    next = present_start(t, t->cmd);
    count_start(t, next);
    if (next == LUN_DONE) {
        t->over = true;
        if (t->status == SCSI_CHECK_CONDITION)
            lun_count(&itl->part->n.errors, 1);
        if (!rt_list_empty(&itl->part->held))
            part_kick_later(itl->part);
    }
    return next;
}

bool lun_is_direct(const struct scsi_task *t)
{
    return !t->absent && t->cmd && (t->cmd->flags & F_DIRECT);
}

void lun_soon(const struct scsi_task *t)
{
    const struct lun *lun = task_lun(t);

    be_soon(lun->be, t->lba << lun->block_shift, t->in_len + t->out_len);
}

/* ---- run ------------------------------------------------------------------------------------------------- */

bool task_overlaps(const struct scsi_task *t, uint64_t lba, uint64_t blocks)
{
    const uint32_t flags = t->cmd->flags;

    if (flags & F_ALL)
        return true;
    /* Both are inside the unit: no sum wraps. */
    return (flags & F_RANGE) && t->lba < lba + blocks && lba < t->lba + t->blocks;
}

/* The task set is the nexus's own (TST 001b): an ORDERED task waits for what that nexus sent before, and
 * what it sent after waits for the ORDERED one. */
static bool order_blocks(const struct scsi_task *t)
{
    if (t->attr == ISCSI_ATTR_HEAD)
        return false;
    rt_list_for(l, &t->itl->part->tasks) {
        const struct scsi_task *u = rt_list_entry(l, struct scsi_task, link);

        if (u == t)
            return false;
        if (u->itl == t->itl && !u->over && (t->attr == ISCSI_ATTR_ORDERED || u->attr == ISCSI_ATTR_ORDERED))
            return true;
    }
    return false;
}

/* A read with room for less than it asks for may end inside a block: it goes through a scratch buffer. One that
 * says it writes has little room whatever it expects. */
static bool wants_scratch(const struct scsi_task *t)
{
    if (t->cmd->flags & F_SCRATCH)
        return true;
    return (t->cmd->flags & F_IN_BLOCKS) && (t->edtl < t->in_len || t->write) &&
           iov_total(t->in_iov, t->in_nr) < t->in_len;
}

static bool admit(struct scsi_task *t)
{
    struct lun_part *p = t->itl->part;

    if (t->itl->ordered && order_blocks(t))
        return false;
    if ((t->cmd->flags & F_MEDIUM) && !(t->cmd->flags & F_GUARD) && guard_blocks(p, t))
        return false;
    if (wants_scratch(t) && !t->scratch && !(t->scratch = rt_pool_get(p->scratch)))
        return false;
    return true;
}

/* Looked at again where time has passed since lun_start(): data were waited for, or a turn. */
static bool still_ok(struct scsi_task *t)
{
    if (t->aborted) {
        t->status = SCSI_TASK_ABORTED;
        return false;
    }
    if (!port_admits(t->itl->port_state, t->cmd)) {
        task_no_access(t);
        return false;
    }
    if (t->cmd->need & ~t->itl->access) {
        lun_count(&t->itl->part->n.conflicts, 1);
        t->status = SCSI_RESERVATION_CONFLICT;
        return false;
    }
    return !(t->cmd->flags & F_RANGE) || range_check(t, t->cmd) == LUN_RUN;
}

static void begin(struct scsi_task *t)
{
    if (!still_ok(t)) {
        task_end(t);
    } else if (t->cmd->flags & F_OWNER) {
        owner_take(t);
    } else if ((t->cmd->flags & F_GUARD) && t->blocks) {
        guard_ask(t);
    } else {
        t->running = true;
        t->cmd->run(t);
    }
}

void task_begin_guarded(struct scsi_task *t)
{
    if (!still_ok(t)) {
        task_end(t);
        return;
    }
    t->running = true;
    t->cmd->run(t);
}

void lun_run(struct scsi_task *t)
{
    if (t->absent) {
        t->cmd->run(t);
        return;
    }
    rt_assert_here(t->nexus->rt);
    if (!t->aborted && !admit(t)) {
        t->held = true;
        rt_list_push(&t->itl->part->held, &t->wait);
        return;
    }
    begin(t);
}

/* ---- held tasks ------------------------------------------------------------------------------------------ */

void part_kick_later(struct lun_part *p)
{
    if (p->kicking || rt_list_empty(&p->held))
        return;
    p->kicking = true;
    rt_defer(p->rt, &p->kick);
}

static void list_move(struct rt_link *to, struct rt_link *from)
{
    struct rt_link *l;

    while ((l = rt_list_pop(from)))
        rt_list_push(to, l);
}

/* Each held task once, in order. What is held anew meanwhile comes after those that stay. */
static void kick_once(struct lun_part *p)
{
    struct rt_link todo, keep, *l;

    rt_list_init(&todo);
    rt_list_init(&keep);
    list_move(&todo, &p->held);
    while ((l = rt_list_pop(&todo))) {
        struct scsi_task *t = rt_list_entry(l, struct scsi_task, wait);

        if (t->aborted || t->bounced || admit(t)) {
            t->held = t->bounced = false;
            begin(t);
        } else {
            rt_list_push(&keep, l);
        }
    }
    list_move(&keep, &p->held);
    list_move(&p->held, &keep);
}

void part_kick(struct lun_part *p)
{
    if (p->in_kick) {                       /* from inside a task that was begun here */
        p->kick_again = true;
        return;
    }
    p->in_kick = true;
    do {
        p->kick_again = false;
        kick_once(p);
    } while (p->kick_again);
    p->in_kick = false;
}

void task_bounced(struct rt_msg *m)
{
    struct scsi_task *t = container_of(m, struct scsi_task, msg);

    t->held = t->bounced = true;
    rt_list_push(&t->itl->part->held, &t->wait);
    if (t->aborted)
        part_kick_later(t->itl->part);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

void task_back(struct rt_msg *m)
{
    task_end(container_of(m, struct scsi_task, msg));
}

static void await_over(struct lun_part *p, struct scsi_task *t)
{
    struct rt_msg *ack = p->await_ack;

    t->awaited = false;
    assert(p->await_left);
    if (--p->await_left || !ack)
        return;
    p->await_ack = NULL;
    part_ack(p, ack);
}

void task_end(struct scsi_task *t)
{
    struct lun_part *p;
    struct lun_guard_part *g;

    if (t->absent) {
        t->done(t);
        return;
    }
    p = t->itl->part;
    t->running = false;
    t->over = true;
    if (t->scratch) {
        rt_pool_put(p->scratch, t->scratch);
        t->scratch = NULL;
    }
    if (t->status == SCSI_CHECK_CONDITION)
        lun_count(&p->n.errors, 1);
    g = t->guarded ? guard_of(t) : NULL;
    if (g)
        guard_release(g);
    if (!rt_list_empty(&p->guards))
        guards_recheck(p);
    if (!rt_list_empty(&p->held))
        part_kick_later(p);
    if (t->awaited)
        await_over(p, t);
    t->done(t);
}

void lun_cancel(struct scsi_task *t)
{
    if (t->absent || t->over)
        return;
    t->aborted = true;
    if (t->held)
        part_kick_later(t->itl->part);
}

void lun_finish(struct scsi_task *t)
{
    struct lun_part *p;

    if (t->absent)
        return;
    assert(!t->running);
    assert(!t->held);
    p = t->itl->part;
    rt_list_del(&t->link);
    t->itl->tasks--;
    if (t->attr == ISCSI_ATTR_ORDERED)
        t->itl->ordered--;
    lun_count(&p->n.in_flight, (uint64_t)-1);
    if (!rt_list_empty(&p->held))
        part_kick_later(p);
    if (!t->killed)
        return;
    assert(p->drain_left);
    p->drain_left--;
    part_drain_check(p);
}
