/*
 * bench_dm.c - the TCP datamover alone: an initiator's on one core, a target's on another, no SCSI between
 *
 *   bench_dm [--bs BYTES] [--qd N] [--time S] [--write] [--digest] [--mode poll|adaptive|interrupt]
 *            [--cores A,B] [--one]
 *
 * What it prints is the most that sessions over one connection can reach on this machine. --one: both ends on one core, for
 * what they cost together: the CPU time, which other programs do not disturb.
 */
#include "bench/dm_pair.h"

struct bench {
    struct pair p;
    struct iscsi_params params;
};

/* ---- target ---- */

static void response_sent(struct dm_ctl *ctl, int err)
{
    struct io *io = container_of(ctl, struct io, ctl);

    if (!err)
        dm_release_task(io->p->tgt.dm, &io->t);
}

static struct dm_task *target_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct bench *b = user;
    struct side *s = &b->p.tgt;
    struct io *io = NULL;

    (void)ahs;
    /* The tag may come back before the send that answered it has ended: any free place will do. */
    for (uint32_t i = 0; i < QD_MAX; i++) {
        io = &s->io[(pdu->itt + i) % QD_MAX];
        if (!io->t.own.known)
            break;
    }
    io->t.itt = pdu->itt;
    io->t.edtl = pdu->cmd.edtl;
    if (pdu->cmd.write) {
        io->t.out = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
    } else {
        const struct iscsi_pdu status = pair_response(&b->p, io);

        io->t.in = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
        dm_put_data(s->dm, &io->t, 0, pdu->cmd.edtl, true, &status);
    }
    return &io->t;
}

static void target_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct bench *b = user;
    struct io *io = container_of(task, struct io, t);

    if (how)
        abort();
    if (what == DM_DATA_PUT) {
        dm_release_task(b->p.tgt.dm, task);
    } else if (task->out_done < task->edtl) {
        dm_get_data(b->p.tgt.dm, task, task->out_done, task->edtl - task->out_done);
    } else {
        io->ctl.pdu = pair_response(&b->p, io);
        dm_send_control(b->p.tgt.dm, &io->ctl);
    }
}

/* ---- initiator ---- */

static void initiator_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct bench *b = user;

    (void)data;
    if (pdu->itt < QD_MAX)
        dm_release_task(b->p.ini.dm, &b->p.ini.io[pdu->itt].t);
}

static void initiator_released(void *user, struct dm_task *task)
{
    struct bench *b = user;

    b->p.done++;
    pair_submit(container_of(task, struct io, t));
}

/* ---- both ---- */

static const struct dm_events target_events = {
    .control_notify = pair_no_control,
    .command_notify = target_command,
    .data_completion_notify = target_data,
    .task_released = pair_no_release,
    .reject_notify = pair_rejected,
    .terminate_notify = pair_terminated,
    .closed = pair_closed,
};
static const struct dm_events initiator_events = {
    .control_notify = initiator_control,
    .task_released = initiator_released,
    .reject_notify = pair_rejected,
    .terminate_notify = pair_terminated,
    .closed = pair_closed,
};

static void side_up(struct bench *b, struct side *s, enum iscsi_role role, const struct dm_events *events)
{
    if (dm_tcp_new(&s->dm, s->rt, s->sock, role, events, b))
        exit(1);
    dm_notice_key_values(s->dm, &b->params);
    dm_enable(s->dm);
}

static void connected(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, p.ini.op);

    if (res)
        exit(1);
    side_up(b, &b->p.ini, ISCSI_INITIATOR, &initiator_events);
    pair_load(&b->p);
}

static void accepted(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, p.tgt.op);

    if (res)
        exit(1);
    side_up(b, &b->p.tgt, ISCSI_TARGET, &target_events);
    rt_sock_close(b->p.listener);
}

static void side_init(struct side *s, bool target)
{
    for (uint32_t i = 0; i < QD_MAX; i++) {
        struct io *io = &s->io[i];
        void *mem = rt_mem_alloc(io->p->bs);

        if (!mem)
            exit(1);
        if (target) {
            io->iov = (struct iovec){ mem, io->p->bs };
            io->ctl.sent = response_sent;
        } else {
            pair_memory(io, mem);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = { PAIR_OPTIONS, { "digest", 0, NULL, 'd' }, { 0 } };
    static struct bench b;
    int opt;

    pair_init(&b.p);
    iscsi_params_default(&b.params);
    b.params.recv_data_max = b.params.peer_recv_data_max = 262144;
    b.params.first_burst_max = 262144;
    b.params.burst_max = 1 << 20;
    b.params.initial_r2t = 0;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'd') {
            b.params.header_digest = b.params.data_digest = 1;
        } else if (!pair_option(&b.p, opt)) {
            fprintf(stderr, "see the head of bench/bench_dm.c\n");
            return 2;
        }
    }
    if ((opt = pair_open(&b.p, 1u << 24)))
        return opt;
    side_init(&b.p.ini, false);
    side_init(&b.p.tgt, true);
    return pair_run(&b.p, pair_accept, connected, accepted);
}
