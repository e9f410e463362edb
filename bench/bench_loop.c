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
#include "bench/dm_pair.h"
#include "loopback/loop.h"

struct bench {
    struct pair p;
    struct loop_door *door;
    struct loop_guest *guest;
    struct loop_join *join;
    struct loop_arena *arena;
    struct loop_invitation inv;
    uint8_t *disk;
    uint64_t disk_at;
    unsigned ready;
    bool standin, copy;
};

#define DISK_LEN (64ul << 20)

/* ---- target ---- */

static uint8_t *disk_next(struct bench *b)
{
    b->disk_at = b->disk_at + 7 * (uint64_t)b->p.bs;
    if (b->disk_at + b->p.bs > DISK_LEN)
        b->disk_at %= 8192;
    return b->disk + b->disk_at;
}

static void response_sent(struct dm_ctl *ctl, int err)
{
    (void)ctl, (void)err;
}

static struct dm_task *target_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct bench *b = user;
    struct side *s = &b->p.tgt;
    struct io *io = &s->io[pdu->itt % QD_MAX];
    void *place = dm_place(s->dm);

    (void)ahs;
    if (!place)
        abort();
    io->t.itt = pdu->itt;
    io->t.edtl = pdu->cmd.edtl;
    io->iov = (struct iovec){ place, b->p.bs };
    if (pdu->cmd.write) {
        io->t.out = (struct dm_buf){ 0 };
        return &io->t;
    }
    const struct iscsi_pdu status = pair_response(&b->p, io);

    if (b->copy)
        memcpy(place, disk_next(b), b->p.bs);
    io->t.in = (struct dm_buf){ &io->iov, 1, pdu->cmd.edtl };
    if (!dm_put_data(s->dm, &io->t, 0, pdu->cmd.edtl, true, &status))
        abort();
    dm_release_task(s->dm, &io->t);
    return NULL;
}

static void target_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct bench *b = user;
    struct io *io = container_of(task, struct io, t);

    if (how || what != DM_DATA_UNSOLICITED)
        abort();
    if (b->copy)
        memcpy(disk_next(b), io->iov.iov_base, b->p.bs);
    io->ctl.pdu = pair_response(&b->p, io);
    io->ctl.at_once = true;
    dm_release_task(b->p.tgt.dm, &io->t);
    dm_send_control(b->p.tgt.dm, &io->ctl);
}

/* ---- initiator ---- */

static void initiator_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct bench *b = user;
    struct io *io = &b->p.ini.io[pdu->itt % QD_MAX];

    (void)data;
    if (!dm_release_task(b->p.ini.dm, &io->t))
        abort();
    b->p.done++;
    pair_submit(io);
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
    .task_released = pair_no_release,
    .reject_notify = pair_rejected,
    .terminate_notify = pair_terminated,
    .closed = pair_closed,
};

/* Once the target is ready and the initiator knows that it was let in, in either order. */
static void initiator_go(struct bench *b)
{
    struct dm *tcp = b->p.ini.dm;

    if (++b->ready < 2)
        return;
    if (dm_shm_new_initiator(&b->p.ini.dm, tcp, b->join, b->arena, &initiator_events, b))
        exit(1);
    pair_load(&b->p);
}

static void target_ready(struct rt_msg *m)
{
    initiator_go(container_of(m, struct bench, p.ini.msg));
}

static void admitted(void *user, int err, const char *why)
{
    struct bench *b = user;
    struct dm *tcp = b->p.tgt.dm;

    if (err) {
        fprintf(stderr, "bench_loop: %s\n", why);
        exit(1);
    }
    if (dm_shm_new_target(&b->p.tgt.dm, tcp, b->guest, &target_events, b))
        exit(1);
    b->p.ini.msg.fn = target_ready;
    rt_post(b->p.ini.rt, &b->p.ini.msg);
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
    struct bench *b = container_of(op, struct bench, p.ini.op);
    struct side *s = &b->p.ini;

    if (res || dm_tcp_new(&s->dm, s->rt, s->sock, ISCSI_INITIATOR, &initiator_events, b) ||
        loop_join_start(&b->join, s->rt, &b->inv, b->arena, joined, b))
        exit(1);
}

static void accepted(struct rt_op *op, int res)
{
    struct bench *b = container_of(op, struct bench, p.tgt.op);
    struct side *s = &b->p.tgt;

    if (res || dm_tcp_new(&s->dm, s->rt, s->sock, ISCSI_TARGET, &target_events, b))
        exit(1);
    rt_sock_close(b->p.listener);
}

static void target_begin(struct rt_msg *m)
{
    struct bench *b = container_of(m, struct bench, p.tgt.msg);

    if (loop_door_open(&b->door, b->p.tgt.rt, b->inv.path, came, b))
        exit(1);
    pair_accept(m);
}

static void memory_init(struct bench *b)
{
    struct pair *p = &b->p;

    for (uint32_t i = 0; i < QD_MAX; i++)
        p->ini.io[i].ctl.sent = p->tgt.io[i].ctl.sent = response_sent;
    for (uint32_t i = 0; i < p->qd; i++) {
        void *mem = b->standin ? rt_mem_alloc(p->bs) : loop_arena_get(b->arena, p->bs);

        if (!mem) {
            fprintf(stderr, "bench_loop: depth times size is more than half an arena\n");
            exit(1);
        }
        pair_memory(&p->ini.io[i], mem);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        PAIR_OPTIONS,
        { "standin", 0, NULL, 's' },
        { "copy", 0, NULL, 'y' },
        { 0 },
    };
    static struct bench b;
    uint8_t *disk;
    int opt;

    pair_init(&b.p);
    b.p.conf.mode = RT_MODE_POLL;
    b.p.at_once = true;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 's') {
            b.standin = true;
        } else if (opt == 'y') {
            b.copy = true;
        } else if (!pair_option(&b.p, opt)) {
            fprintf(stderr, "see the head of bench/bench_loop.c\n");
            return 2;
        }
    }
    if ((opt = pair_open(&b.p, 1u << 22)))
        return opt;
    if (!(disk = rt_mem_alloc(DISK_LEN)) || loop_arena_new(&b.arena, 8 * LOOP_ARENA_DEFAULT))
        return 1;
    memset(disk, 1, DISK_LEN);
    b.disk = disk;
    memory_init(&b);
    snprintf(b.inv.path, sizeof(b.inv.path), "/tmp/bench_loop-%d.sock", (int)rt_pid());
    opt = pair_run(&b.p, target_begin, connected, accepted);
    rt_remove(b.inv.path);
    return opt;
}
