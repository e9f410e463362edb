/*
 * bench_dm.c - the TCP datamover alone: an initiator's on one core, a target's on another, no SCSI between
 *
 *   bench_dm [--bs BYTES] [--qd N] [--time S] [--write] [--digest] [--mode poll|adaptive|interrupt]
 *            [--cores A,B]
 *
 * What it prints is the most that sessions over one connection can reach on this machine.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/dm.h"

#define QD_MAX 256u

struct bench;

struct io {
    struct dm_task t;
    struct dm_ctl ctl;
    struct bench *b;
    struct iovec iov;
};

struct side {
    struct dm *dm;
    struct rt *rt;
    struct rt_sock *sock;
    struct rt_op op;
    struct rt_msg msg;
    struct rt_addr peer;
    struct io io[QD_MAX];                   /* by ITT */
    uint32_t stat_sn, cmd_sn;
};

struct bench {
    struct rt_host *host;
    struct rt_sock *listener;
    struct rt_addr at;
    struct side ini, tgt;
    struct iscsi_params params;
    struct rt_timer timer;
    uint64_t began_ns, done;
    uint32_t bs, qd, time_s;
    bool write;
};

/* ---- target ---- */

static void respond(struct io *io)
{
    struct side *s = &io->b->tgt;

    io->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = io->t.itt,
                                      .stat_sn = s->stat_sn++, .exp_cmd_sn = 1, .max_cmd_sn = QD_MAX };
    dm_send_control(s->dm, &io->ctl);
}

static void response_sent(struct dm_ctl *ctl, int err)
{
    struct io *io = container_of(ctl, struct io, ctl);

    if (!err)
        dm_release_task(io->b->tgt.dm, &io->t);
}

static struct dm_task *target_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct bench *b = user;
    struct io *io = NULL;

    /* The tag may come back before the send that answered it has ended: any free place will do. */
    for (uint32_t i = 0; i < QD_MAX; i++) {
        io = &b->tgt.io[(pdu->itt + i) % QD_MAX];
        if (!io->t.own.known)
            break;
    }
    io->t.itt = pdu->itt;
    io->t.edtl = pdu->cmd.edtl;
    if (pdu->cmd.write) {
        io->t.out = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
    } else {
        const struct iscsi_pdu status = { .opcode = ISCSI_OP_SCSI_RESP, .stat_sn = b->tgt.stat_sn++,
                                          .exp_cmd_sn = 1, .max_cmd_sn = QD_MAX };

        io->t.in = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
        dm_put_data(b->tgt.dm, &io->t, 0, pdu->cmd.edtl, true, &status);
    }
    return &io->t;
}

static void target_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct bench *b = user;

    if (how)
        abort();
    if (what == DM_DATA_PUT)
        dm_release_task(b->tgt.dm, task);
    else if (task->out_done < task->edtl)
        dm_get_data(b->tgt.dm, task, task->out_done, task->edtl - task->out_done);
    else
        respond(container_of(task, struct io, t));
}

static void ignore_released(void *user, struct dm_task *task)
{
}

/* ---- initiator ---- */

static void submit(struct io *io)
{
    struct bench *b = io->b;

    io->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = io->t.itt,
                                      .cmd_sn = b->ini.cmd_sn++ };
    io->ctl.pdu.cmd.read = !b->write;
    io->ctl.pdu.cmd.write = b->write;
    io->ctl.pdu.cmd.edtl = b->bs;
    io->ctl.task = &io->t;
    dm_send_control(b->ini.dm, &io->ctl);
}

static void initiator_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct bench *b = user;

    if (pdu->itt < QD_MAX)
        dm_release_task(b->ini.dm, &b->ini.io[pdu->itt].t);
}

static void initiator_released(void *user, struct dm_task *task)
{
    struct bench *b = user;

    b->done++;
    submit(container_of(task, struct io, t));
}

/* ---- both ---- */

static void unexpected_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    fprintf(stderr, "bench_dm: opcode 0x%02x rejected: %d\n", bhs[0], reason);
    abort();
}

static void terminated(void *user, int err)
{
    fprintf(stderr, "bench_dm: connection ended: %s\n", strerror(-err));
    exit(1);
}

static void target_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
}

static void closed(void *user)
{
}

static const struct dm_events target_events = {
    .control_notify = target_control, .command_notify = target_command, .data_completion_notify = target_data,
    .task_released = ignore_released, .reject_notify = unexpected_reject, .terminate_notify = terminated,
    .closed = closed,
};
static const struct dm_events initiator_events = {
    .control_notify = initiator_control, .task_released = initiator_released,
    .reject_notify = unexpected_reject,
    .terminate_notify = terminated, .closed = closed,
};

static void side_up(struct bench *b, struct side *s, enum iscsi_role role, const struct dm_events *events)
{
    if (dm_tcp_new(&s->dm, s->rt, s->sock, role, events, b))
        exit(1);
    dm_notice_key_values(s->dm, &b->params);
    dm_enable(s->dm);
}

static void over(struct rt_timer *t)
{
    struct bench *b = container_of(t, struct bench, timer);
    const double s = (double)(rt_clock(b->ini.rt) - b->began_ns) / 1e9, ios = (double)b->done / s;

    printf("%s %u bytes, depth %u: %.0f IO/s, %.0f MB/s, %.1f us each\n", b->write ? "write" : "read",
           b->bs, b->qd, ios, ios * b->bs / 1e6, 1e6 * b->qd / ios);
    for (int i = 0; i < 2; i++) {
        struct rt_stats st;

        rt_stats(rt_host_at(b->host, (unsigned)i), &st);
        printf("  %s: busy %.0f %%, %.1f IO a turn\n", i ? "target" : "initiator", (double)st.busy_ns / 1e7 / s,
               st.turns ? (double)b->done / (double)st.turns : 0);
    }
    rt_host_stop(b->host);
}

static void connected(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, ini.op);

    if (res)
        exit(1);
    side_up(b, &b->ini, ISCSI_INITIATOR, &initiator_events);
    b->began_ns = rt_clock(b->ini.rt);
    rt_timer_arm(b->ini.rt, &b->timer, b->time_s * RT_S);
    for (uint32_t i = 0; i < b->qd; i++)
        submit(&b->ini.io[i]);
}

static void accepted(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, tgt.op);

    if (res)
        exit(1);
    side_up(b, &b->tgt, ISCSI_TARGET, &target_events);
    rt_sock_close(b->listener);
}

static void target_begin(struct rt_msg *m)
{
    struct bench *b = container_of(m, struct bench, tgt.msg);

    rt_accept(b->listener, &b->tgt.op, &b->tgt.sock, &b->tgt.peer);
}

static void initiator_begin(struct rt_msg *m)
{
    struct bench *b = container_of(m, struct bench, ini.msg);

    rt_connect(b->ini.rt, &b->ini.op, &b->at, &b->ini.sock);
}

static void side_init(struct bench *b, struct side *s)
{
    for (uint32_t i = 0; i < QD_MAX; i++) {
        struct io *io = &s->io[i];

        io->b = b;
        io->iov = (struct iovec){ rt_mem_alloc(b->bs), b->bs };
        if (!io->iov.iov_base)
            exit(1);
        io->t.itt = i;
        io->t.edtl = b->bs;
        if (s == &b->tgt)
            io->ctl.sent = response_sent;
        else if (b->write)
            io->t.out = (struct dm_buf){ &io->iov, 1, b->bs };
        else
            io->t.in = (struct dm_buf){ &io->iov, 1, b->bs };
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "bs", 1, NULL, 'b' },    { "qd", 1, NULL, 'q' },     { "time", 1, NULL, 't' },
        { "write", 0, NULL, 'w' }, { "digest", 0, NULL, 'd' }, { "mode", 1, NULL, 'm' },
        { "cores", 1, NULL, 'c' }, { 0 },
    };
    static struct bench b = { .bs = 4096, .qd = 32, .time_s = 3 };
    int cores[2] = { 0, 1 }, opt;
    struct rt_conf conf = { .cores = cores, .cores_nr = 2 };

    iscsi_params_default(&b.params);
    b.params.recv_data_max = b.params.peer_recv_data_max = 262144;
    b.params.first_burst_max = 262144;
    b.params.burst_max = 1 << 20;
    b.params.initial_r2t = 0;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': b.bs = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'q': b.qd = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 't': b.time_s = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'w': b.write = true; break;
        case 'd': b.params.header_digest = b.params.data_digest = 1; break;
        case 'm':
            conf.mode = *optarg == 'p' ? RT_MODE_POLL : *optarg == 'i' ? RT_MODE_INTERRUPT : RT_MODE_ADAPTIVE;
            break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &cores[0], &cores[1]) == 2)
                break;
            /* fall through */
        default: fprintf(stderr, "see the head of bench/bench_dm.c\n"); return 2;
        }
    }
    if (!b.bs || b.bs > 1u << 24 || !b.qd || b.qd > QD_MAX / 2 || !b.time_s)
        return 2;
    if (rt_host_new(&b.host, &conf))
        return 1;
    b.ini.rt = rt_host_at(b.host, 0);
    b.tgt.rt = rt_host_at(b.host, 1);
    side_init(&b, &b.ini);
    side_init(&b, &b.tgt);
    if (rt_addr_parse(&b.at, "127.0.0.1:0", 0) || rt_listen(b.tgt.rt, &b.at, &b.listener) ||
        rt_sock_addr(b.listener, &b.at))
        return 1;
    b.timer.fn = over;
    b.ini.op.done = connected;
    b.tgt.op.done = accepted;
    b.tgt.msg.fn = target_begin;
    b.ini.msg.fn = initiator_begin;
    rt_post(b.tgt.rt, &b.tgt.msg);
    rt_post(b.ini.rt, &b.ini.msg);
    return rt_host_run(b.host) ? 1 : 0;
}
