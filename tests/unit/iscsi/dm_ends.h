/*
 * dm_ends.h - two ends for tests of a datamover: an initiator that reads and writes, a target that is a pattern
 *
 * Each end counts what it was told. They run on one reactor that the test turns; a test may also put a plain
 * socket in the place of one of them and speak bytes.
 */
#ifndef TESTS_DM_ENDS_H
#define TESTS_DM_ENDS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "iscsi/dm.h"
#include "reactor/rt_bytes.h"

#define TASKS 64u
#define MEM_MAX (2u << 20)

struct end;

struct xtask {
    struct dm_task t;
    struct dm_ctl ctl;                      /* initiator: the command; target: the response */
    struct end *end;
    uint8_t *mem;
    struct iovec iov[8192];
    bool busy, released, done, write;
    bool ctl_out;                           /* given to dm_send_control(), sent() has not come */
    int status;                             /* initiator: SAM status; -1: none yet */
    enum dm_trouble how;
    unsigned unsolicited, gets, puts;
};

struct end {
    struct dm *dm;
    struct rt *rt;
    enum iscsi_role role;
    struct xtask *task;                     /* TASKS, by ITT */
    uint32_t piece;                         /* bytes of an iovec; 0: one for all */
    uint32_t stat_sn, cmd_sn;
    unsigned controls, commands, rejects, terminated, closed, sent, cancelled, released, rests;
    enum iscsi_reject reject;
    int err;
    struct iscsi_pdu last;                  /* control_notify's */
    uint8_t *data;                          /* its data, MEM_MAX */
    bool passive;                           /* target: only notes commands; initiator: does not release */
    bool refuse;                            /* target: command_notify() returns NULL */
    bool at_once;                           /* its control PDUs may be over at once */
    bool fuzz;                              /* target: any command may come at any time */
    unsigned responses;                     /* target: given to dm_send_control() */
    uint32_t step;                          /* target: puts and gets at most so many bytes at a time; 0: all */
};

static inline uint8_t pattern(uint32_t itt, uint32_t at)
{
    return (uint8_t)(itt * 31 + at * 7 + (at >> 8) * 13 + (at >> 16));
}

static inline void pattern_fill(uint8_t *mem, uint32_t itt, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        mem[i] = pattern(itt, i);
}

/* The first byte that is wrong, or len. */
static inline uint32_t pattern_differs(const uint8_t *mem, uint32_t itt, uint32_t len)
{
    uint32_t i = 0;

    while (i < len && mem[i] == pattern(itt, i))
        i++;
    return i;
}

static inline struct dm_buf xtask_buf(struct xtask *x, uint32_t len, uint32_t piece)
{
    unsigned n = 0;

    if (!piece)
        piece = len ? len : 1;
    for (uint32_t at = 0; at < len; at += piece) {
        assert_true(n < ARRAY_SIZE(x->iov) - 1);
        if (n == 1)                         /* an empty iovec is allowed too */
            x->iov[n++] = (struct iovec){ x->mem, 0 };
        x->iov[n++] = (struct iovec){ x->mem + at, len - at < piece ? len - at : piece };
    }
    return (struct dm_buf){ .iov = x->iov, .iov_nr = n, .len = len };
}

static inline struct xtask *xtask_at(struct end *e, uint32_t itt)
{
    struct xtask *x = &e->task[itt % TASKS];

    x->end = e;
    if (!x->mem)
        x->mem = calloc(1, MEM_MAX);
    return x;
}

static void end_sent(struct dm_ctl *ctl, int err)
{
    struct xtask *x = container_of(ctl, struct xtask, ctl);

    x->ctl_out = false;
    if (err)
        x->end->cancelled++;
    else
        x->end->sent++;
}

static void end_released(void *user, struct dm_task *task);
static void end_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how);

/* Whether it is over at once is the datamover's affair. */
static inline void end_release(struct end *e, struct dm_task *task)
{
    if (dm_release_task(e->dm, task))
        end_released(e, task);
}

static inline void end_send(struct end *e, struct dm_ctl *ctl)
{
    ctl->at_once = e->at_once;
    if (dm_send_control(e->dm, ctl))
        end_sent(ctl, 0);
}

/* ---- target ---- */

static void target_respond(struct xtask *x, uint8_t status)
{
    struct end *e = x->end;

    x->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = x->t.itt,
                                     .ttt = ISCSI_TAG_RESERVED, .stat_sn = e->stat_sn++,
                                     .exp_cmd_sn = 1, .max_cmd_sn = 64 };
    x->ctl.pdu.resp.status = status;
    x->ctl.pdu.resp.has_status = true;
    x->ctl.sent = end_sent;
    e->responses++;
    x->ctl_out = true;
    end_send(e, &x->ctl);
}

static void target_put_next(struct xtask *x, uint32_t from)
{
    struct end *e = x->end;
    const uint32_t left = x->t.edtl - from;
    const uint32_t len = e->step && e->step < left ? e->step : left;
    struct iscsi_pdu status = { .opcode = ISCSI_OP_SCSI_RESP, .exp_cmd_sn = 1, .max_cmd_sn = 64 };

    if (len == left)
        status.stat_sn = e->stat_sn++;
    if (dm_put_data(e->dm, &x->t, from, len, len == left, len == left ? &status : NULL))
        end_data(e, &x->t, DM_DATA_PUT, DM_OK);
}

static void target_get_next(struct xtask *x)
{
    struct end *e = x->end;
    const uint32_t left = x->t.edtl - x->t.out_done;

    if (left)
        dm_get_data(e->dm, &x->t, x->t.out_done, e->step && e->step < left ? e->step : left);
    else
        target_respond(x, 0);
}

static struct dm_task *end_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct end *e = user;
    struct xtask *x = xtask_at(e, pdu->itt);

    (void)ahs;
    e->commands++;
    e->last = *pdu;
    if (e->refuse)
        return NULL;
    if (x->t.own.known)                     /* the tag is in use again before we know that it is free */
        x = xtask_at(e, pdu->itt + TASKS / 2);
    if (e->fuzz && (x->t.own.known || x->ctl_out || pdu->cmd.edtl > MEM_MAX ||
                    (pdu->cmd.read && pdu->cmd.write)))
        return NULL;
    assert_false(x->t.own.known);
    x->t.itt = pdu->itt;
    x->t.lun = pdu->lun;
    x->t.edtl = pdu->cmd.edtl;
    x->write = pdu->cmd.write;
    x->busy = true;
    x->released = false;
    x->puts = x->gets = x->unsolicited = 0;
    x->how = DM_OK;
    x->t.in = x->t.out = (struct dm_buf){ 0 };
    if (x->write) {
        memset(x->mem, 0xee, x->t.edtl);
        x->t.out = xtask_buf(x, x->t.edtl, e->piece);
    } else {
        pattern_fill(x->mem, pdu->itt, x->t.edtl);
        x->t.in = xtask_buf(x, x->t.edtl, e->piece);
        if (!e->passive && x->t.edtl)
            target_put_next(x, 0);
        else if (!e->passive)
            target_respond(x, 0);
    }
    return &x->t;
}

static void end_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct end *e = user;
    struct xtask *x = container_of(task, struct xtask, t);

    x->how = how;
    x->unsolicited += what == DM_DATA_UNSOLICITED;
    x->gets += what == DM_DATA_GET;
    x->puts += what == DM_DATA_PUT;
    if (e->passive)
        return;
    if (how)
        target_respond(x, 2);
    else if (what != DM_DATA_PUT)
        target_get_next(x);
    else if (e->step && x->puts * e->step < task->edtl)
        target_put_next(x, x->puts * e->step);
    else
        end_release(e, task);
}

/* ---- both ---- */

static void end_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct end *e = user;

    e->controls++;
    e->last = *pdu;
    if (data)
        memcpy(e->data, data, pdu->data_len);
    if (e->role == ISCSI_INITIATOR && (pdu->opcode == ISCSI_OP_SCSI_RESP || pdu->opcode == ISCSI_OP_DATA_IN)) {
        struct xtask *x = xtask_at(e, pdu->itt);

        x->status = pdu->resp.status;
        x->done = true;
        if (!e->passive && x->busy && x->t.own.known && !x->t.own.releasing)
            end_release(e, &x->t);
    }
}

static void end_released(void *user, struct dm_task *task)
{
    struct end *e = user;
    struct xtask *x = container_of(task, struct xtask, t);

    e->released++;
    x->released = true;
    x->busy = false;
}

static void end_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    struct end *e = user;

    (void)bhs;
    e->rejects++;
    e->reject = reason;
}

static void end_terminated(void *user, int err)
{
    struct end *e = user;

    e->terminated++;
    e->err = err;
}

static void end_at_rest(void *user)
{
    struct end *e = user;

    e->rests++;
}

static void end_closed(void *user)
{
    struct end *e = user;

    e->closed++;
}

static const struct dm_events end_events = {
    .control_notify = end_control,
    .command_notify = end_command,
    .data_completion_notify = end_data,
    .task_released = end_released,
    .reject_notify = end_reject,
    .terminate_notify = end_terminated,
    .at_rest = end_at_rest,
    .closed = end_closed,
};

/* ---- the initiator's requests ---- */

static inline struct xtask *end_submit(struct end *e, uint32_t itt, bool write, uint32_t len)
{
    struct xtask *x = xtask_at(e, itt);

    assert_false(x->busy);
    x->busy = true;
    x->write = write;
    x->done = x->released = false;
    x->status = -1;
    x->t.itt = itt;
    x->t.lun = 0x0001000000000000;
    x->t.edtl = len;
    x->t.in = x->t.out = (struct dm_buf){ 0 };
    if (write) {
        pattern_fill(x->mem, itt, len);
        x->t.out = xtask_buf(x, len, e->piece);
    } else {
        memset(x->mem, 0xdd, len + 1);
        x->t.in = xtask_buf(x, len, e->piece);
    }
    x->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = itt, .lun = x->t.lun,
                                     .cmd_sn = e->cmd_sn++, .exp_stat_sn = 1 };
    x->ctl.pdu.cmd.read = !write;
    x->ctl.pdu.cmd.write = write;
    x->ctl.pdu.cmd.edtl = len;
    x->ctl.pdu.cmd.cdb[0] = write ? 0x2a : 0x28;
    x->ctl.task = &x->t;
    x->ctl.sent = end_sent;
    x->ctl_out = true;
    end_send(e, &x->ctl);
    return x;
}

/* ---- the bench ---- */

struct ends {
    struct rt_host *host;
    struct rt *rt;
    struct end ini, tgt;
    int fd;                                 /* the raw peer's, -1 */
};

static inline struct iscsi_params params_usual(void)
{
    struct iscsi_params p;

    iscsi_params_default(&p);
    p.recv_data_max = p.peer_recv_data_max = 65536;
    return p;
}

/* On the first of @cores_nr reactors. */
static inline void ends_start_of(struct ends *b, unsigned cores_nr)
{
    static const int cores[] = { -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = cores_nr, .mode = RT_MODE_INTERRUPT };

    memset(b, 0, sizeof(*b));
    b->fd = -1;
    assert_int_equal(rt_host_new(&b->host, &conf), 0);
    b->rt = rt_host_at(b->host, 0);
    b->ini = (struct end){ .role = ISCSI_INITIATOR, .cmd_sn = 1, .stat_sn = 1 };
    b->tgt = (struct end){ .role = ISCSI_TARGET, .cmd_sn = 1, .stat_sn = 1 };
    for (int i = 0; i < 2; i++) {
        struct end *e = i ? &b->ini : &b->tgt;

        e->rt = b->rt;
        e->task = calloc(TASKS, sizeof(*e->task));
        e->data = malloc(MEM_MAX);
    }
    rt_turn(b->rt, 0);                      /* this thread is the reactor's from now on */
}

static inline void ends_start(struct ends *b)
{
    ends_start_of(b, 1);
}

/* Turns until *what reaches at_least, or so much time has gone without that only a hang takes it. */
static inline bool turn_until(struct ends *b, const unsigned *what, unsigned at_least)
{
    const uint64_t end = rt_clock(b->rt) + 30 * RT_S;

    while (*what < at_least && rt_clock(b->rt) < end)
        rt_turn(b->rt, 10 * RT_MS);
    return *what >= at_least;
}

static inline void turn_some(struct ends *b, unsigned turns)
{
    while (turns--)
        rt_turn(b->rt, 20 * RT_US);
}

struct sock_wait {
    struct rt_op op;
    unsigned done;
    int res;
};

static void sock_wait_done(struct rt_op *op, int res)
{
    struct sock_wait *w = container_of(op, struct sock_wait, op);

    w->done = 1;
    w->res = res;
}

/* Two datamovers over loopback TCP, in login phase. */
static inline void ends_connect(struct ends *b)
{
    struct rt_sock *listener, *sock[2];
    struct rt_addr at, peer;
    struct sock_wait acc = { .op.done = sock_wait_done }, con = { .op.done = sock_wait_done };

    assert_int_equal(rt_addr_parse(&at, "127.0.0.1:0", 0), 0);
    assert_int_equal(rt_listen(b->rt, &at, &listener), 0);
    assert_int_equal(rt_sock_addr(listener, &at), 0);
    rt_accept(listener, &acc.op, &sock[0], &peer);
    rt_connect(b->rt, &con.op, &at, &sock[1]);
    assert_true(turn_until(b, &acc.done, 1) && acc.res == 0);
    assert_true(turn_until(b, &con.done, 1) && con.res == 0);
    rt_sock_close(listener);
    assert_int_equal(dm_tcp_new(&b->tgt.dm, b->rt, sock[0], ISCSI_TARGET, &end_events, &b->tgt), 0);
    assert_int_equal(dm_tcp_new(&b->ini.dm, b->rt, sock[1], ISCSI_INITIATOR, &end_events, &b->ini), 0);
}

/* One datamover, and a plain socket in the place of its peer. */
static inline void ends_raw(struct ends *b, enum iscsi_role role, bool small_socket)
{
    struct end *e = role == ISCSI_TARGET ? &b->tgt : &b->ini;
    struct rt_sock *sock;

    assert_int_equal(rt_socketpair(b->rt, &sock, &b->fd), 0);
    assert_int_equal(fcntl(b->fd, F_SETFL, O_NONBLOCK), 0);
    if (small_socket)
        assert_int_equal(setsockopt(b->fd, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int)), 0);
    assert_int_equal(dm_tcp_new(&e->dm, b->rt, sock, role, &end_events, e), 0);
}

static inline void end_enable(struct end *e, const struct iscsi_params *p)
{
    if (!e->dm)
        return;
    dm_notice_key_values(e->dm, p);
    dm_enable(e->dm);
}

static inline void end_stop(struct ends *b, struct end *e)
{
    if (!e->dm)
        return;
    if (!e->closed) {
        dm_terminate(e->dm, false);
        assert_true(turn_until(b, &e->closed, 1));
    }
    turn_some(b, 2);
    assert_int_equal(e->closed, 1);
    dm_free(e->dm);
    for (unsigned n = 0; n < TASKS; n++)
        assert_false(e->task[n].t.own.known);
}

/* Ends the connection, for another one on the same reactor: making a reactor is what takes time. */
static inline void ends_again(struct ends *b)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = i ? &b->ini : &b->tgt;

        end_stop(b, e);
        for (unsigned n = 0; n < TASKS; n++) {
            uint8_t *mem = e->task[n].mem;

            if (mem)
                memset(&e->task[n], 0, sizeof(e->task[n]));
            e->task[n].mem = mem;
        }
        *e = (struct end){ .rt = e->rt, .role = e->role, .task = e->task, .data = e->data, .cmd_sn = 1,
                           .stat_sn = 1 };
    }
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
}

static inline void ends_stop(struct ends *b)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = i ? &b->ini : &b->tgt;

        end_stop(b, e);
        for (unsigned n = 0; n < TASKS; n++)
            free(e->task[n].mem);
        free(e->task);
        free(e->data);
    }
    if (b->fd >= 0)
        close(b->fd);
    rt_host_free(b->host);
}

#endif
