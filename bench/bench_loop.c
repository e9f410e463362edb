/*
 * bench_loop.c - the shared-memory datamover alone: as bench_dm.c, but over rings, in one process
 *
 *   bench_loop [--bs BYTES] [--qd N] [--time S] [--write] [--standin] [--copy] [--mode poll|adaptive|interrupt]
 *              [--cores A,B] [--one]
 *
 * The target's device moves nothing; with --copy it copies as a disk in memory does. --standin: the initiator's memory is
 * not in the arena, so that the initiator copies too. What it prints is the most that a session can reach on this machine.
 * --one: both ends on one core, for what they cost together: the CPU time, which other programs do not disturb.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "loopback/loop.h"

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
    struct io io[QD_MAX]; /* by ITT */
    uint32_t stat_sn, cmd_sn;
};

struct bench {
    struct rt_host *host;
    struct rt_sock *listener;
    struct rt_addr at;
    struct side ini, tgt;
    struct loop_door *door;
    struct loop_guest *guest;
    struct loop_join *join;
    struct loop_arena *arena;
    struct loop_invitation inv;
    struct rt_timer timer;
    uint64_t began_ns, began_cpu_ns, done;
    uint32_t bs, qd, time_s;
    uint8_t *disk;
    uint64_t disk_at;
    unsigned ready;
    bool write, standin, copy, one;
};

#define DISK_LEN (64ul << 20)

/* ---- target ---- */

static uint8_t *disk_next(struct bench *b)
{
    b->disk_at = b->disk_at + 7 * (uint64_t)b->bs;
    if (b->disk_at + b->bs > DISK_LEN)
        b->disk_at %= 8192;
    return b->disk + b->disk_at;
}

static void response_sent(struct dm_ctl *ctl, int err)
{
    (void)ctl, (void)err;
}

static void respond(struct io *io)
{
    struct side *s = &io->b->tgt;

    io->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP,
                                      .final = true,
                                      .itt = io->t.itt,
                                      .stat_sn = s->stat_sn++,
                                      .exp_cmd_sn = 1,
                                      .max_cmd_sn = QD_MAX };
    io->ctl.at_once = true;
    dm_release_task(s->dm, &io->t);
    dm_send_control(s->dm, &io->ctl);
}

static struct dm_task *target_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct bench *b = user;
    struct io *io = &b->tgt.io[pdu->itt % QD_MAX];
    void *place = dm_place(b->tgt.dm);

    (void)ahs;
    if (!place)
        abort();
    io->t.itt = pdu->itt;
    io->t.edtl = pdu->cmd.edtl;
    io->iov = (struct iovec){ place, b->bs };
    if (pdu->cmd.write) {
        io->t.out = (struct dm_buf){ 0 };
        return &io->t;
    }
    const struct iscsi_pdu status = {
        .opcode = ISCSI_OP_SCSI_RESP, .stat_sn = b->tgt.stat_sn++, .exp_cmd_sn = 1, .max_cmd_sn = QD_MAX
    };

    if (b->copy)
        memcpy(place, disk_next(b), b->bs);
    io->t.in = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
    if (!dm_put_data(b->tgt.dm, &io->t, 0, pdu->cmd.edtl, true, &status))
        abort();
    dm_release_task(b->tgt.dm, &io->t);
    return NULL;
}

static void target_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct bench *b = user;
    struct io *io = container_of(task, struct io, t);

    if (how || what != DM_DATA_UNSOLICITED)
        abort();
    if (b->copy)
        memcpy(disk_next(b), io->iov.iov_base, b->bs);
    respond(io);
}

static void ignore_released(void *user, struct dm_task *task)
{
    (void)user, (void)task;
}

/* ---- initiator ---- */

static void submit(struct io *io)
{
    struct bench *b = io->b;

    io->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = io->t.itt, .cmd_sn = b->ini.cmd_sn++
    };
    io->ctl.pdu.cmd.read = !b->write;
    io->ctl.pdu.cmd.write = b->write;
    io->ctl.pdu.cmd.edtl = b->bs;
    io->ctl.task = &io->t;
    io->ctl.at_once = true;
    if (!dm_send_control(b->ini.dm, &io->ctl))
        abort();
}

static void initiator_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct bench *b = user;
    struct io *io = &b->ini.io[pdu->itt % QD_MAX];

    (void)data;
    if (!dm_release_task(b->ini.dm, &io->t))
        abort();
    b->done++;
    submit(io);
}

/* ---- both ---- */

static void unexpected_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    (void)user;
    fprintf(stderr, "bench_loop: opcode 0x%02x rejected: %d\n", bhs[0], reason);
    abort();
}

static void terminated(void *user, int err)
{
    (void)user;
    fprintf(stderr, "bench_loop: connection ended: %s\n", strerror(-err));
    exit(1);
}

static void target_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)user, (void)pdu, (void)data;
}

static void closed(void *user)
{
    (void)user;
}

static const struct dm_events target_events = {
    .control_notify = target_control,
    .command_notify = target_command,
    .data_completion_notify = target_data,
    .task_released = ignore_released,
    .reject_notify = unexpected_reject,
    .terminate_notify = terminated,
    .closed = closed,
};
static const struct dm_events initiator_events = {
    .control_notify = initiator_control,
    .task_released = ignore_released,
    .reject_notify = unexpected_reject,
    .terminate_notify = terminated,
    .closed = closed,
};

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * RT_S + (uint64_t)ts.tv_nsec;
}

static void over(struct rt_timer *t)
{
    struct bench *b = container_of(t, struct bench, timer);
    const double s = (double)(rt_clock(b->ini.rt) - b->began_ns) / 1e9, ios = (double)b->done / s;

    printf("%s %u bytes, depth %u: %.0f IO/s, %.0f MB/s, %.0f ns between, %.0f ns each\n",
           b->write ? "write" : "read", b->bs, b->qd, ios, ios * b->bs / 1e6, 1e9 / ios, 1e9 * b->qd / ios);
    if (b->one)
        printf("  %.1f ns of CPU time each\n", (double)(cpu_ns() - b->began_cpu_ns) / (double)b->done);
    for (int i = 0; i < 2 && !b->one; i++) {
        struct rt_stats st;

        rt_stats(rt_host_at(b->host, (unsigned)i), &st);
        printf("  %s: busy %.0f %%, %.1f IO a turn\n", i ? "target" : "initiator", (double)st.busy_ns / 1e7 / s,
               st.turns ? (double)b->done / (double)st.turns : 0);
    }
    rt_host_stop(b->host);
}

/* Once the target is ready and the initiator knows that it was let in, in either order. */
static void initiator_go(struct bench *b)
{
    struct dm *tcp = b->ini.dm;

    if (++b->ready < 2)
        return;
    if (dm_shm_new_initiator(&b->ini.dm, tcp, b->join, b->arena, &initiator_events, b))
        exit(1);
    b->began_ns = rt_clock(b->ini.rt);
    b->began_cpu_ns = cpu_ns();
    rt_timer_arm(b->ini.rt, &b->timer, b->time_s * RT_S);
    for (uint32_t i = 0; i < b->qd; i++)
        submit(&b->ini.io[i]);
}

static void target_ready(struct rt_msg *m)
{
    initiator_go(container_of(m, struct bench, ini.msg));
}

static void admitted(void *user, int err, const char *why)
{
    struct bench *b = user;
    struct dm *tcp = b->tgt.dm;

    if (err) {
        fprintf(stderr, "bench_loop: %s\n", why);
        exit(1);
    }
    if (dm_shm_new_target(&b->tgt.dm, tcp, b->guest, &target_events, b))
        exit(1);
    b->ini.msg.fn = target_ready;
    rt_post(b->ini.rt, &b->ini.msg);
}

static void came(void *user, struct loop_guest *g)
{
    struct bench *b = user;

    b->guest = g;
    loop_guest_admit(g, admitted, b);
}

static void joined(void *user, int err, const char *why)
{
    if (!err) {
        initiator_go(user);
        return;
    }
    fprintf(stderr, "bench_loop: %s\n", why);
    exit(1);
}

static void connected(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, ini.op);

    if (res || dm_tcp_new(&b->ini.dm, b->ini.rt, b->ini.sock, ISCSI_INITIATOR, &initiator_events, b) ||
        loop_join_start(&b->join, b->ini.rt, &b->inv, b->arena, joined, b))
        exit(1);
}

static void accepted(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, tgt.op);

    if (res || dm_tcp_new(&b->tgt.dm, b->tgt.rt, b->tgt.sock, ISCSI_TARGET, &target_events, b))
        exit(1);
    rt_sock_close(b->listener);
}

static void initiator_begin(struct rt_msg *m)
{
    struct bench *b = container_of(m, struct bench, ini.msg);

    rt_connect(b->ini.rt, &b->ini.op, &b->at, &b->ini.sock);
}

static void target_begin(struct rt_msg *m)
{
    struct bench *b = container_of(m, struct bench, tgt.msg);

    rt_accept(b->listener, &b->tgt.op, &b->tgt.sock, &b->tgt.peer);
    if (loop_door_open(&b->door, b->tgt.rt, b->inv.path, came, b))
        exit(1);
    b->ini.msg.fn = initiator_begin;
    rt_post(b->ini.rt, &b->ini.msg);
}

static void side_init(struct bench *b, struct side *s)
{
    for (uint32_t i = 0; i < QD_MAX; i++) {
        struct io *io = &s->io[i];

        io->b = b;
        io->t.itt = i;
        io->t.edtl = b->bs;
        io->ctl.sent = response_sent;
        if (s == &b->tgt || i >= b->qd)
            continue;
        io->iov = (struct iovec){ b->standin ? rt_mem_alloc(b->bs) : loop_arena_get(b->arena, b->bs), b->bs };
        if (!io->iov.iov_base) {
            fprintf(stderr, "bench_loop: depth times size is more than half an arena\n");
            exit(1);
        }
        if (b->write)
            io->t.out = (struct dm_buf){ &io->iov, 1, b->bs };
        else
            io->t.in = (struct dm_buf){ &io->iov, 1, b->bs };
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "bs", 1, NULL, 'b' },      { "qd", 1, NULL, 'q' },
        { "time", 1, NULL, 't' },    { "write", 0, NULL, 'w' },
        { "standin", 0, NULL, 's' }, { "copy", 0, NULL, 'y' },
        { "mode", 1, NULL, 'm' },    { "cores", 1, NULL, 'c' },
        { "one", 0, NULL, '1' },     { 0 },
    };
    static struct bench b = { .bs = 4096, .qd = 32, .time_s = 3 };
    int cores[2] = { 0, 1 }, opt;
    struct rt_conf conf = { .cores = cores, .cores_nr = 2, .mode = RT_MODE_POLL };

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': b.bs = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'q': b.qd = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 't': b.time_s = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'w': b.write = true; break;
        case 's': b.standin = true; break;
        case 'y': b.copy = true; break;
        case '1': b.one = true; break;
        case 'm':
            conf.mode = *optarg == 'p' ? RT_MODE_POLL : *optarg == 'i' ? RT_MODE_INTERRUPT : RT_MODE_ADAPTIVE;
            break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &cores[0], &cores[1]) == 2)
                break;
            /* fall through */
        default: fprintf(stderr, "see the head of bench/bench_loop.c\n"); return 2;
        }
    }
    if (!b.bs || b.bs > 1u << 22 || !b.qd || b.qd > QD_MAX / 2 || !b.time_s)
        return 2;
    conf.cores_nr = b.one ? 1 : 2;
    b.disk = rt_mem_alloc(DISK_LEN);
    if (!b.disk || rt_host_new(&b.host, &conf) || loop_arena_new(&b.arena, 8 * LOOP_ARENA_DEFAULT))
        return 1;
    memset(b.disk, 1, DISK_LEN);
    b.ini.rt = rt_host_at(b.host, 0);
    b.tgt.rt = rt_host_at(b.host, !b.one);
    side_init(&b, &b.ini);
    side_init(&b, &b.tgt);
    snprintf(b.inv.path, sizeof(b.inv.path), "/tmp/bench_loop-%d.sock", (int)rt_pid());
    if (rt_addr_parse(&b.at, "127.0.0.1:0", 0) || rt_listen(b.tgt.rt, &b.at, &b.listener) ||
        rt_sock_addr(b.listener, &b.at))
        return 1;
    b.timer.fn = over;
    b.ini.op.done = connected;
    b.tgt.op.done = accepted;
    b.tgt.msg.fn = target_begin;
    rt_post(b.tgt.rt, &b.tgt.msg);
    opt = rt_host_run(b.host) ? 1 : 0;
    rt_remove(b.inv.path);
    return opt;
}
