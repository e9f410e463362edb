/*
 * fuzz_dm_tcp.c - the datamover's byte stream: two ends against each other, or one against bytes, cut anywhere
 *
 * One world serves all inputs. Between two real ends everything that is asked for arrives, whole and right, whatever
 * sizes the limits, the iovecs and the segments have. Against bytes nothing is promised but that the end keeps to the
 * contract of iscsi/dm.h: what it was given comes back once, and it comes to rest.
 */
#include <string.h>
#include "iscsi/dm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/stage.h"
#include "tests/fuzz/sim/ops.h"
#include "tests/fuzz/sim/wire.h"

#define TASKS 32u                           /* slots of an end; an initiator uses half of them, as a target may
                                             * hold on to one a little longer */
#define MEM_MAX 65536u                      /* bytes of one task */
#define PIECES 64u
#define GAP_NS (300 * RT_US)
#define END_NS (30 * RT_S)

#define KINDS(X)                                                                                              \
    X(READ,    "bw",    6) /* task, bytes */                                                                  \
    X(WRITE,   "bw",    6)                                                                                    \
    X(PING,    "bw",    3) /* control PDU with data: from which end */                                        \
    X(RELEASE, "bb",    2) /* task, at which end */                                                           \
    X(STEP,    "w",     1) /* the target puts and gets so much at a time */                                   \
    X(PIECE,   "w",     1) /* bytes of an iovec */                                                            \
    X(TERM,    "b",     1) /* which end, whether it drains */                                                 \
    X(PASSIVE, "b",     1) /* the target answers nothing by itself */                                         \
    X(PDU,     "bbbbwwn", 12) /* bytes: opcode, flags, task, TTT, offset, length, SN */                       \
    X(CMD,     "bbww",  6) /* bytes: flags, task, EDTL, immediate data */                                     \
    X(LIKELY,  "n",     6) /* bytes: what would be right next */                                              \
    X(RAW,     "rr",    2)                                                                                    \
    X(SPOIL,   "bb0",   2)                                                                                    \
    X(CHUNK,   "b",     2)                                                                                    \
    X(CLOSE,   "",      1)                                                                                    \
    X(WAIT,    "b",     1)
enum {
#define X(name, shape, weight) OP_##name,
    KINDS(X)
#undef X
    OP_NR
};
static const struct op_kind kinds[] = {
#define X(name, shape, weight) { #name, shape, weight },
    KINDS(X)
#undef X
};
const struct op_table op_table = { kinds, OP_NR, NULL };
enum { HEAD_MODE, HEAD_LIMITS, HEAD_NET, HEAD_PARAMS };
enum { PAIR, BYTES_TO_TARGET, BYTES_TO_INITIATOR };

/* ---- an end ---------------------------------------------------------------------------------------------- */

struct end;
struct task {
    struct dm_task t;
    struct dm_ctl ctl;                      /* initiator: the command; target: the response */
    struct end *end;
    uint8_t *mem;
    struct iovec iov[PIECES + 2];
    bool busy, write, ctl_out, answered;
    uint32_t put;                           /* target: bytes put so far */
};
struct ping {
    struct dm_ctl ctl;
    struct end *end;
    bool out;
};
struct end {
    struct dm *dm;
    struct rt_sock *sock;
    enum iscsi_role role;
    bool closed, passive, told;             /* told: terminate_notify() came */
    uint32_t piece, step, stat_sn, cmd_sn;
    unsigned pings_due, pings_got;
    struct task task[TASKS];
    struct ping ping[4];
};

static struct sim *world;
static struct stage_prog prog;
static struct rt_sock *listener;
static struct rt_addr at, from;
static struct rt_op accept_op, connect_op;
static struct rt_sock *accepted, *connected;
static unsigned ready;
static struct end ini, tgt;
static struct wire wire;
static uint8_t memory[2][TASKS][MEM_MAX];
static uint8_t last_bhs[ISCSI_BHS_LEN];     /* what the end sent last, and an R2T of it */
static struct { uint32_t itt, ttt, off, len; } r2t;
static struct iscsi_params params;
static uint32_t len_max;                    /* bytes of a request: fewer where segments are small, for speed */
static bool calm;                           /* between two real ends, and nothing was broken off */

static uint8_t pattern(uint32_t itt, uint32_t i)
{
    return (uint8_t)(itt * 31 + i * 7 + (i >> 8) * 13);
}

static struct dm_buf task_buf(struct task *x, uint32_t len, uint32_t piece)
{
    unsigned n = 0;

    if (piece < len / PIECES + 1)
        piece = len / PIECES + 1;
    for (uint32_t p = 0; p < len; p += piece) {
        if (n == 1)                         /* an empty one is allowed too */
            x->iov[n++] = (struct iovec){ x->mem, 0 };
        x->iov[n++] = (struct iovec){ x->mem + p, len - p < piece ? len - p : piece };
    }
    return (struct dm_buf){ x->iov, n, len };
}

static void task_sent(struct dm_ctl *ctl, int err)
{
    struct task *x = container_of(ctl, struct task, ctl);

    fuzz_check(x->ctl_out);
    x->ctl_out = false;
    if (err)
        fuzz_check(!calm);
}

static void release(struct task *x)
{
    if (x->end && x->end->dm && !x->end->closed && x->t.own.known && !x->t.own.releasing)
        dm_release_task(x->end->dm, &x->t);
}

/* ---- target ---------------------------------------------------------------------------------------------- */

static void respond(struct task *x, uint8_t status)
{
    struct end *e = x->end;

    if (x->ctl_out || x->answered)
        return;
    memset(&x->ctl, 0, sizeof(x->ctl));
    x->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = x->t.itt,
                                     .ttt = ISCSI_TAG_RESERVED, .stat_sn = e->stat_sn++, .exp_cmd_sn = 1,
                                     .max_cmd_sn = 64 };
    x->ctl.pdu.resp.status = status;
    x->ctl.pdu.resp.has_status = true;
    x->ctl.sent = task_sent;
    x->ctl_out = x->answered = true;
    dm_send_control(e->dm, &x->ctl);
    release(x);
}

static void put_next(struct task *x)
{
    struct end *e = x->end;
    const uint32_t left = x->t.edtl - x->put, len = e->step && e->step < left ? e->step : left;
    struct iscsi_pdu status = { .opcode = ISCSI_OP_SCSI_RESP, .exp_cmd_sn = 1, .max_cmd_sn = 64 };
    const uint32_t off = x->put;

    x->put += len;
    if (len == left) {
        status.stat_sn = e->stat_sn++;
        x->answered = true;
    }
    dm_put_data(e->dm, &x->t, off, len, len == left, len == left ? &status : NULL);
}

static struct dm_task *on_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct end *e = user;
    struct task *x = NULL;

    (void)ahs;
    for (unsigned i = 0; i < TASKS && !x; i++) {
        struct task *y = &e->task[(pdu->itt + i) % TASKS];

        x = y->busy || y->ctl_out ? NULL : y;
    }
    if (!x || pdu->cmd.edtl > MEM_MAX || (pdu->cmd.read && pdu->cmd.write) || e->closed) {
        fuzz_check(!calm);
        return NULL;
    }
    memset(&x->t, 0, sizeof(x->t));
    x->t.itt = pdu->itt;
    x->t.lun = pdu->lun;
    x->t.edtl = pdu->cmd.edtl;
    x->write = pdu->cmd.write;
    x->busy = true;
    x->answered = false;
    x->put = 0;
    if (x->write) {
        memset(x->mem, 0xee, x->t.edtl);
        x->t.out = task_buf(x, x->t.edtl, e->piece);
        return &x->t;
    }
    for (uint32_t i = 0; i < x->t.edtl; i++)
        x->mem[i] = pattern(pdu->itt, i);
    x->t.in = task_buf(x, x->t.edtl, e->piece);
    if (!x->t.edtl) {                       /* moves nothing, so the datamover need not know it */
        x->busy = false;
        respond(x, 0);
        return NULL;
    }
    put_next(x);
    return &x->t;
}

static void write_go_on(struct task *x)
{
    struct end *e = x->end;
    const uint32_t left = x->t.edtl - x->t.out_done;

    if (left) {
        dm_get_data(e->dm, &x->t, x->t.out_done, e->step && e->step < left ? e->step : left);
        return;
    }
    if (calm)
        for (uint32_t i = 0; i < x->t.edtl; i++)
            fuzz_check(x->mem[i] == pattern(x->t.itt, i));
    respond(x, 0);
}

static void on_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct end *e = user;
    struct task *x = container_of(task, struct task, t);

    fuzz_check(x->busy && x->t.own.known);
    if (calm)
        fuzz_check(!how);
    if (what == DM_DATA_PUT) {
        if (x->put < x->t.edtl)
            put_next(x);
        else
            release(x);
        return;
    }
    fuzz_check(x->write);
    if (how)
        respond(x, 2);
    else if (!e->passive)                   /* else RELEASE, or the end, deals with it */
        write_go_on(x);
}

/* ---- both ------------------------------------------------------------------------------------------------ */

static struct task *task_of(struct end *e, uint32_t itt)
{
    for (unsigned i = 0; i < TASKS; i++)
        if (e->task[i].busy && e->task[i].t.itt == itt)
            return &e->task[i];
    return NULL;
}

static void on_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct end *e = user;
    struct task *x;

    if (pdu->opcode == ISCSI_OP_NOP_IN || pdu->opcode == ISCSI_OP_NOP_OUT) {
        e->pings_got++;
        if (calm)
            for (uint32_t i = 0; i < pdu->data_len; i++)
                fuzz_check(data[i] == pattern(7, i));
    }
    if (e->role == ISCSI_TARGET || (pdu->opcode != ISCSI_OP_SCSI_RESP && pdu->opcode != ISCSI_OP_DATA_IN))
        return;
    x = task_of(e, pdu->itt);
    if (!x)
        return;
    if (calm && !x->write) {
        fuzz_check(x->t.in_done == x->t.edtl);
        for (uint32_t i = 0; i < x->t.edtl; i++)
            fuzz_check(x->mem[i] == pattern(x->t.itt, i));
    }
    if (calm)
        fuzz_check(!pdu->resp.status);
    fuzz_check(x->t.in_done <= x->t.edtl);
    x->answered = true;
    release(x);
}

static void on_released(void *user, struct dm_task *task)
{
    struct task *x = container_of(task, struct task, t);

    (void)user;
    fuzz_check(x->busy && !task->own.known);
    x->busy = false;
}

static void on_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    (void)user, (void)bhs, (void)reason;
    fuzz_check(!calm);
}

static void on_terminated(void *user, int err)
{
    struct end *e = user;

    (void)err;
    fuzz_check(!e->told && !calm);
    e->told = true;
    dm_terminate(e->dm, false);
}

static void on_closed(void *user)
{
    struct end *e = user;

    fuzz_check(!e->closed);
    e->closed = true;
    for (unsigned i = 0; i < TASKS; i++) {
        fuzz_check(!e->task[i].ctl_out && !e->task[i].t.own.known);
        e->task[i].busy = false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(e->ping); i++)
        fuzz_check(!e->ping[i].out);
}

static const struct dm_events events = {
    .control_notify = on_control,
    .command_notify = on_command,
    .data_completion_notify = on_data,
    .task_released = on_released,
    .reject_notify = on_reject,
    .terminate_notify = on_terminated,
    .closed = on_closed,
};

/* ---- operations on ends ---------------------------------------------------------------------------------- */

static void submit(uint8_t which, uint32_t len, bool write)
{
    struct task *x = &ini.task[which % (TASKS / 2)];

    if (!ini.dm || ini.closed || ini.told || x->busy || x->ctl_out)
        return;
    len %= len_max + 1;
    memset(&x->t, 0, sizeof(x->t));
    memset(&x->ctl, 0, sizeof(x->ctl));
    x->busy = true;
    x->write = write;
    x->answered = false;
    x->t.itt = which % (TASKS / 2) + 1;
    x->t.edtl = len;
    if (write) {
        for (uint32_t i = 0; i < len; i++)
            x->mem[i] = pattern(x->t.itt, i);
        x->t.out = task_buf(x, len, ini.piece);
    } else {
        memset(x->mem, 0xdd, len);
        x->t.in = task_buf(x, len, ini.piece);
    }
    x->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = x->t.itt,
                                     .cmd_sn = ini.cmd_sn++, .exp_stat_sn = 1 };
    x->ctl.pdu.cmd.read = !write;
    x->ctl.pdu.cmd.write = write;
    x->ctl.pdu.cmd.edtl = len;
    x->ctl.task = &x->t;
    x->ctl.sent = task_sent;
    x->ctl_out = true;
    dm_send_control(ini.dm, &x->ctl);
}

static void ping_sent(struct dm_ctl *ctl, int err)
{
    struct ping *p = container_of(ctl, struct ping, ctl);

    fuzz_check(p->out && (!err || !calm));
    p->out = false;
}

static void ping(struct end *e, uint32_t len)
{
    static uint8_t data[8192];
    struct ping *p = NULL;

    if (!data[1])
        for (uint32_t i = 0; i < sizeof(data); i++)
            data[i] = pattern(7, i);
    if (!e->dm || e->closed || e->told)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(e->ping) && !p; i++)
        p = e->ping[i].out ? NULL : &e->ping[i];
    if (!p)
        return;
    memset(&p->ctl, 0, sizeof(p->ctl));
    p->out = true;
    p->ctl.pdu = (struct iscsi_pdu){ .opcode = e->role == ISCSI_TARGET ? ISCSI_OP_NOP_IN : ISCSI_OP_NOP_OUT,
                                     .immediate = true, .final = true, .itt = ISCSI_TAG_RESERVED,
                                     .ttt = ISCSI_TAG_RESERVED };
    p->ctl.pdu.data_len =
        len % (params.peer_recv_data_max < sizeof(data) ? params.peer_recv_data_max : sizeof(data));
    p->ctl.data = p->ctl.pdu.data_len ? data : NULL;
    p->ctl.sent = ping_sent;
    (e == &ini ? &tgt : &ini)->pings_due++;
    dm_send_control(e->dm, &p->ctl);
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

static void pdu_of(uint8_t bhs[static ISCSI_BHS_LEN], uint8_t opcode, uint8_t flags, uint32_t itt)
{
    memset(bhs, 0, ISCSI_BHS_LEN);
    bhs[0] = opcode;
    bhs[1] = flags;
    store_be32(&bhs[16], itt);
    store_be32(&bhs[20], ISCSI_TAG_RESERVED);
}

/* Something. */
static const uint8_t *bytes(void)
{
    static uint8_t room[MEM_MAX];

    if (!room[1])
        for (uint32_t i = 0; i < sizeof(room); i++)
            room[i] = pattern(0, i);
    return room;
}

static void do_pdu(struct op_args *a)
{
    static const uint8_t opcodes[] = { ISCSI_OP_DATA_OUT, ISCSI_OP_DATA_IN, ISCSI_OP_R2T, ISCSI_OP_SCSI_RESP,
                                       ISCSI_OP_NOP_OUT, ISCSI_OP_NOP_IN, ISCSI_OP_TEXT, ISCSI_OP_REJECT };
    const uint8_t op = arg_u8(a), flags = arg_u8(a), task = arg_u8(a), ttt = arg_u8(a);
    const uint32_t off = arg_u16(a), len = arg_u16(a) % (len_max + 1);
    const uint8_t sn = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    pdu_of(bhs, op < 0xc0 ? opcodes[op % ARRAY_SIZE(opcodes)] : op & 0x3f, flags, task % (TASKS + 2));
    store_be32(&bhs[20], ttt < 16 ? ISCSI_TAG_RESERVED : ttt < 64 ? r2t.ttt : ttt);
    store_be32(&bhs[36], sn);
    store_be32(&bhs[40], off);
    store_be32(&bhs[44], len);
    if (bhs[0] == ISCSI_OP_R2T || bhs[0] == ISCSI_OP_SCSI_RESP) {
        wire_send(&wire, bhs, NULL, 0, NULL, 0);
        return;
    }
    store_be24(&bhs[5], len);
    wire_send(&wire, bhs, NULL, 0, bytes(), len);
}

static void do_cmd(struct op_args *a)
{
    const uint8_t flags = arg_u8(a), task = arg_u8(a);
    const uint32_t edtl = arg_u16(a) % (len_max + 1), len = arg_u16(a) % (len_max + 1);
    uint8_t bhs[ISCSI_BHS_LEN];

    pdu_of(bhs, ISCSI_OP_SCSI_CMD, (uint8_t)((flags & 0x61) | (flags & 2 ? 0 : 0x80)), task % (TASKS + 2));
    store_be32(&bhs[20], edtl);
    store_be24(&bhs[5], flags & 0x20 ? len : 0);
    wire_send(&wire, bhs, NULL, 0, bytes(), flags & 0x20 ? len : 0);
}

/* To a target: the data that it asked for last. To an initiator: what its last command asks for. */
static void do_likely(struct op_args *a)
{
    const uint8_t how = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint32_t edtl = load_be32(&last_bhs[20]);
    uint32_t len;

    if (tgt.dm && r2t.len) {
        for (uint32_t done = 0, sn = 0; done < r2t.len; done += len) {
            len = r2t.len - done < 4096 ? r2t.len - done : 4096;
            pdu_of(bhs, ISCSI_OP_DATA_OUT, done + len == r2t.len ? 0x80 : 0, r2t.itt);
            store_be24(&bhs[5], len);
            store_be32(&bhs[20], r2t.ttt);
            store_be32(&bhs[36], sn++);
            store_be32(&bhs[40], r2t.off + done);
            wire_send(&wire, bhs, NULL, 0, bytes(), len);
        }
        r2t.len = 0;
    } else if (ini.dm && (last_bhs[0] & 0x3f) == ISCSI_OP_SCSI_CMD && last_bhs[1] & 0x40) {
        len = edtl < 8192 ? edtl : 8192;
        pdu_of(bhs, ISCSI_OP_DATA_IN, 0x81, load_be32(&last_bhs[16]));
        store_be24(&bhs[5], len);
        wire_send(&wire, bhs, NULL, 0, bytes(), len);
    } else if (ini.dm && (last_bhs[0] & 0x3f) == ISCSI_OP_SCSI_CMD && last_bhs[1] & 0x20) {
        pdu_of(bhs, how & 1 ? ISCSI_OP_SCSI_RESP : ISCSI_OP_R2T, 0x80, load_be32(&last_bhs[16]));
        store_be32(&bhs[20], how & 1 ? 0 : 5);
        store_be32(&bhs[44], how & 1 ? 0 : edtl);
        wire_send(&wire, bhs, NULL, 0, NULL, 0);
    }
}

static void do_raw(struct op_args *a)
{
    size_t n;
    const uint8_t *p = arg_rest(a, &n);

    wire_raw(&wire, p, (uint32_t)n);
}

static void on_pdu(struct wire *w, const uint8_t *bhs, const uint8_t *data, uint32_t len)
{
    struct iscsi_pdu pdu;

    (void)w, (void)data, (void)len;
    fuzz_check(!iscsi_pdu_decode(&pdu, bhs, tgt.dm ? ISCSI_FROM_TARGET : ISCSI_FROM_INITIATOR));
    fuzz_check(pdu.data_len <= params.peer_recv_data_max);
    if (pdu.opcode == ISCSI_OP_R2T) {
        r2t.itt = pdu.itt;
        r2t.ttt = pdu.ttt;
        r2t.off = pdu.r2t.offset;
        r2t.len = pdu.r2t.length;
    } else {
        memcpy(last_bhs, bhs, sizeof(last_bhs));
    }
}

static void on_ended(struct wire *w, int err)
{
    (void)err;
    wire_close(w);
}

/* ---- one input ------------------------------------------------------------------------------------------- */

static struct op op;

static void do_op(void *arg)
{
    struct op_args *a = &op.args;
    uint8_t n;

    (void)arg;
    switch (op.kind) {
    case OP_READ:    n = arg_u8(a); submit(n, arg_u16(a), false);                     return;
    case OP_WRITE:   n = arg_u8(a); submit(n, arg_u16(a), true);                      return;
    case OP_PING:    n = arg_u8(a); ping(n & 1 ? &ini : &tgt, arg_u16(a));            return;
    case OP_RELEASE:
        n = arg_u8(a);
        calm = false;
        release(&(arg_u8(a) & 1 ? &ini : &tgt)->task[n % TASKS]);
        return;
    case OP_STEP:    tgt.step = arg_u16(a) % 8192;                                    return;
    case OP_PIECE:   ini.piece = tgt.piece = 1 + arg_u16(a);                          return;
    case OP_TERM:
        n = arg_u8(a);
        calm = false;
        if ((n & 1 ? &ini : &tgt)->dm && !(n & 1 ? &ini : &tgt)->told) {
            (n & 1 ? &ini : &tgt)->told = true;
            dm_terminate((n & 1 ? &ini : &tgt)->dm, n & 2);
        }
        return;
    case OP_PASSIVE:
        tgt.passive = arg_u8(a) & 1;
        calm &= !tgt.passive;
        return;
    default:
        break;
    }
    if (!wire.sock)
        return;
    switch (op.kind) {
    case OP_PDU:     do_pdu(a);                                                       break;
    case OP_CMD:     do_cmd(a);                                                       break;
    case OP_LIKELY:  do_likely(a);                                                    break;
    case OP_RAW:     do_raw(a);                                                       break;
    case OP_SPOIL:
        wire.spoil.at = arg_u8(a);
        wire.spoil.bits = arg_u8(a);
        wire.spoil.after = arg_u8(a) & 1;
        break;
    case OP_CHUNK:   wire.chunk = arg_u8(a);                                          break;
    case OP_CLOSE:   wire_close(&wire);                                               break;
    default:
        break;
    }
}

static void on_ready(struct rt_op *o, int res)
{
    (void)o;
    fuzz_check(!res);
    ready++;
}

static void connect_both(void *arg)
{
    (void)arg;
    ready = 0;
    rt_accept(listener, &accept_op, &accepted, &from);
    rt_connect(prog.rt, &connect_op, &at, &connected);
}

static bool is_ready(void *arg)
{
    (void)arg;
    return ready == 2;
}

static void end_begin(struct end *e, struct rt_sock *sock, enum iscsi_role role)
{
    e->role = role;
    e->stat_sn = e->cmd_sn = 1;
    for (unsigned i = 0; i < TASKS; i++) {
        e->task[i].end = e;
        e->task[i].mem = memory[role == ISCSI_TARGET][i];
    }
    e->piece = MEM_MAX;
    fuzz_check(!dm_tcp_new(&e->dm, prog.rt, sock, role, &events, e));
    dm_notice_key_values(e->dm, &params);
    dm_enable(e->dm);
}

static const struct wire_events wire_events = { on_pdu, on_ended };

static void begin(void *arg)
{
    const uint8_t *head = arg;
    const uint8_t mode = head[HEAD_MODE] % 3;

    memset(&ini, 0, sizeof(ini));
    memset(&tgt, 0, sizeof(tgt));
    memset(last_bhs, 0, sizeof(last_bhs));
    memset(&r2t, 0, sizeof(r2t));
    calm = mode == PAIR;
    if (mode != BYTES_TO_INITIATOR)
        end_begin(&tgt, accepted, ISCSI_TARGET);
    if (mode != BYTES_TO_TARGET)
        end_begin(&ini, connected, ISCSI_INITIATOR);
    if (mode != PAIR) {
        wire_open(&wire, mode == BYTES_TO_INITIATOR ? accepted : connected);
        wire.header_digest = params.header_digest;
        wire.data_digest = params.data_digest;
    }
}

static void params_make(const uint8_t *head)
{
    static const uint32_t sizes[] = { 8192, 512, 1024, 4096, 16384, 65536, 513, 262144 };
    const uint8_t l = head[HEAD_LIMITS], p = head[HEAD_PARAMS];

    iscsi_params_default(&params);
    params.recv_data_max = params.peer_recv_data_max = sizes[l & 7];
    params.burst_max = sizes[l >> 3 & 7];
    params.first_burst_max = sizes[l >> 6] < params.burst_max ? sizes[l >> 6] : params.burst_max;
    params.header_digest = p & 1;
    params.data_digest = p >> 1 & 1;
    params.initial_r2t = p >> 2 & 1;
    params.immediate_data = !(p >> 3 & 1);
    params.r2t_max = 1 + (p >> 4 & 7);
}

/* How the network cuts: by the input alone, so that nothing depends on the inputs before. */
static void net_make(const uint8_t *head)
{
    static const struct {
        uint32_t segment, len;              /* bytes */
    } cuts[] = { { 65536, 32768 }, { 1, 300 },   { 7, 1500 },    { 47, 8192 },
                     { 48, 8192 },     { 49, 8192 }, { 1000, 16384 }, { 4096, 32768 } };
    static const uint32_t windows[] = { 262144, 100, 5000, 65536 };
    struct sim_net net;

    sim_net_get(world, &net);
    net.segment_max = cuts[head[HEAD_NET] & 7].segment;
    net.window = windows[head[HEAD_NET] >> 3 & 3];
    len_max = cuts[head[HEAD_NET] & 7].len;
    sim_net_set(world, &net);
}

static bool quiet(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < TASKS; i++)
        if (ini.task[i].busy || ini.task[i].ctl_out || tgt.task[i].busy || tgt.task[i].ctl_out)
            return false;
    return ini.pings_got == ini.pings_due && tgt.pings_got == tgt.pings_due;
}

static void finish(void *arg)
{
    struct end *const both[] = { &ini, &tgt };

    (void)arg;
    calm = false;
    for (unsigned i = 0; i < 2; i++) {
        if (both[i]->dm && !both[i]->told)
            dm_terminate(both[i]->dm, false);
        both[i]->told = true;
    }
    if (wire.sock)
        wire_close(&wire);
}

static bool finished(void *arg)
{
    (void)arg;
    return (!ini.dm || ini.closed) && (!tgt.dm || tgt.closed) && wire_idle(&wire);
}

static void free_all(void *arg)
{
    (void)arg;
    dm_free(ini.dm);
    dm_free(tgt.dm);
}

static void start(void *arg)
{
    (void)arg;
    fuzz_check(!rt_addr_parse(&at, "10.0.0.1:3260", 0) && !rt_listen(prog.rt, &at, &listener));
    accept_op.done = connect_op.done = on_ready;
    wire_init(&wire, prog.rt, &wire_events);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    world = stage_new(0);
    stage_start(stage_machine(world, "both", 1, "10.0.0.1"), &prog);
    sim_call(prog.rt, start, NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ops ops;

    ops_init(&ops, data, size);
    params_make(ops.head);
    sim_call(prog.rt, connect_both, NULL);
    fuzz_check(sim_run_until(world, is_ready, NULL, RT_S));
    net_make(ops.head);
    sim_call(prog.rt, begin, ops.head);
    while (ops_next(&ops, &op)) {
        if (op.kind == OP_WAIT)
            sim_run(world, arg_u8(&op.args) * 10 * RT_MS);
        else
            sim_call(prog.rt, do_op, NULL);
        if (!op.no_wait)
            sim_run(world, GAP_NS);
    }
    if (calm)
        stage_check(sim_run_until(world, quiet, NULL, END_NS), "not all of it arrives");
    sim_call(prog.rt, finish, NULL);
    stage_check(sim_run_until(world, finished, NULL, END_NS), "an end does not close");
    sim_call(prog.rt, free_all, NULL);
    sim_run(world, RT_MS);
    return 0;
}
