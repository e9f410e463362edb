/*
 * dm_pair.h - what the programs share that measure a datamover alone: both ends of one connection in one process, the
 * initiator's on one core and the target's on another, and no SCSI between
 *
 * The kind of datamover is the program's: its main() makes the pair, pair_run() connects the two by TCP, and from there on
 * the program's connected() and accepted() go their own way, up to pair_load() on the initiator's core.
 */
#ifndef CORELANE_BENCH_DM_PAIR_H
#define CORELANE_BENCH_DM_PAIR_H

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "iscsi/dm.h"

#define QD_MAX 256u

struct pair;

struct io {
    struct dm_task t;
    struct dm_ctl ctl;
    struct pair *p;
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

struct pair {
    struct rt_host *host;
    struct rt_conf conf;
    int cores[2];
    struct rt_sock *listener;
    struct rt_addr at;
    struct side ini, tgt;
    struct rt_timer timer;
    uint64_t began_ns, began_cpu_ns, done;
    uint32_t bs, qd, time_s;
    bool write, one, at_once; /* one: both on one core; at_once: sends do not wait for the end of the turn */
};

/* ---- options --------------------------------------------------------------------------------------------- */

#define PAIR_OPTION(name, args, letter)                                                                        \
    {                                                                                                          \
        name, args, NULL, letter                                                                               \
    }
#define PAIR_OPTIONS                                                                                           \
    PAIR_OPTION("bs", 1, 'b'), PAIR_OPTION("qd", 1, 'q'), PAIR_OPTION("time", 1, 't'),                         \
        PAIR_OPTION("write", 0, 'w'), PAIR_OPTION("mode", 1, 'm'), PAIR_OPTION("cores", 1, 'c'),               \
        PAIR_OPTION("one", 0, '1')

static inline void pair_init(struct pair *p)
{
    p->bs = 4096;
    p->qd = 32;
    p->time_s = 3;
    p->cores[1] = 1;
}

/* One of PAIR_OPTIONS, as getopt_long() found it. Return: false: not one of them, or nonsense. */
static inline bool pair_option(struct pair *p, int opt)
{
    switch (opt) {
    case 'b': p->bs = (uint32_t)strtoul(optarg, NULL, 0); return true;
    case 'q': p->qd = (uint32_t)strtoul(optarg, NULL, 0); return true;
    case 't': p->time_s = (uint32_t)strtoul(optarg, NULL, 0); return true;
    case 'w': p->write = true; return true;
    case '1': p->one = true; return true;
    case 'm':
        p->conf.mode = *optarg == 'p' ? RT_MODE_POLL : *optarg == 'i' ? RT_MODE_INTERRUPT : RT_MODE_ADAPTIVE;
        return true;
    case 'c': return sscanf(optarg, "%d,%d", &p->cores[0], &p->cores[1]) == 2;
    default: return false;
    }
}

/* Return: 0, or what main() returns: 2 for options out of bounds. */
static inline int pair_open(struct pair *p, uint32_t bs_max)
{
    if (!p->bs || p->bs > bs_max || !p->qd || p->qd > QD_MAX / 2 || !p->time_s)
        return 2;
    p->conf.cores = p->cores;
    p->conf.cores_nr = p->one ? 1 : 2;
    if (rt_host_new(&p->host, &p->conf))
        return 1;
    p->ini.rt = rt_host_at(p->host, 0);
    p->tgt.rt = rt_host_at(p->host, !p->one);
    for (uint32_t i = 0; i < 2 * QD_MAX; i++) {
        struct io *io = i < QD_MAX ? &p->ini.io[i] : &p->tgt.io[i - QD_MAX];

        io->p = p;
        io->t.itt = i % QD_MAX;
        io->t.edtl = p->bs;
    }
    return 0;
}

/* An initiator's request, all of it at @mem, bs bytes. */
static inline void pair_memory(struct io *io, void *mem)
{
    struct dm_buf *buf = io->p->write ? &io->t.out : &io->t.in;

    io->iov = (struct iovec){ mem, io->p->bs };
    *buf = (struct dm_buf){ &io->iov, 1, io->p->bs };
}

/* ---- PDUs ------------------------------------------------------------------------------------------------ */

static inline struct iscsi_pdu pair_response(struct pair *p, const struct io *io)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_RESP,
                               .final = true,
                               .itt = io->t.itt,
                               .stat_sn = p->tgt.stat_sn++,
                               .exp_cmd_sn = 1,
                               .max_cmd_sn = QD_MAX };
}

static inline void pair_submit(struct io *io)
{
    struct pair *p = io->p;

    io->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = io->t.itt, .cmd_sn = p->ini.cmd_sn++
    };
    io->ctl.pdu.cmd.read = !p->write;
    io->ctl.pdu.cmd.write = p->write;
    io->ctl.pdu.cmd.edtl = p->bs;
    io->ctl.task = &io->t;
    io->ctl.at_once = p->at_once;
    if (dm_send_control(p->ini.dm, &io->ctl) != p->at_once)
        abort();
}

/* ---- events that neither end has anything to do for ------------------------------------------------------ */

static inline void pair_no_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)user, (void)pdu, (void)data;
}

static inline void pair_no_release(void *user, struct dm_task *task)
{
    (void)user, (void)task;
}

static inline void pair_rejected(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    (void)user;
    fprintf(stderr, "opcode 0x%02x rejected: %d\n", bhs[0], reason);
    abort();
}

static inline void pair_terminated(void *user, int err)
{
    (void)user;
    fprintf(stderr, "connection ended: %s\n", strerror(-err));
    exit(1);
}

static inline void pair_closed(void *user)
{
    (void)user;
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static inline uint64_t pair_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * RT_S + (uint64_t)ts.tv_nsec;
}

static inline void pair_over(struct rt_timer *t)
{
    struct pair *p = container_of(t, struct pair, timer);
    const double s = (double)(rt_clock(p->ini.rt) - p->began_ns) / 1e9, ios = (double)p->done / s;

    printf("%s %u bytes, depth %u: %.0f IO/s, %.0f MB/s, %.0f ns between, %.0f ns each\n",
           p->write ? "write" : "read", p->bs, p->qd, ios, ios * p->bs / 1e6, 1e9 / ios, 1e9 * p->qd / ios);
    if (p->one)
        printf("  %.1f ns of CPU time each\n", (double)(pair_cpu_ns() - p->began_cpu_ns) / (double)p->done);
    for (unsigned i = 0; i < 2 && !p->one; i++) {
        struct rt_stats st;

        rt_stats(rt_host_at(p->host, i), &st);
        printf("  %s: busy %.0f %%, %.1f IO a turn\n", i ? "target" : "initiator", (double)st.busy_ns / 1e7 / s,
               st.turns ? (double)p->done / (double)st.turns : 0);
    }
    rt_host_stop(p->host);
}

/* The first requests. On the initiator's core, once both ends are ready. */
static inline void pair_load(struct pair *p)
{
    p->began_ns = rt_clock(p->ini.rt);
    p->began_cpu_ns = pair_cpu_ns();
    p->timer.fn = pair_over;
    rt_timer_arm(p->ini.rt, &p->timer, p->time_s * RT_S);
    for (uint32_t i = 0; i < p->qd; i++)
        pair_submit(&p->ini.io[i]);
}

static inline void pair_connect(struct rt_msg *m)
{
    struct pair *p = container_of(m, struct pair, ini.msg);

    rt_connect(p->ini.rt, &p->ini.op, &p->at, &p->ini.sock);
}

/* What the target's core does first; a program that has more to do there does it before. */
static inline void pair_accept(struct rt_msg *m)
{
    struct pair *p = container_of(m, struct pair, tgt.msg);

    rt_accept(p->listener, &p->tgt.op, &p->tgt.sock, &p->tgt.peer);
    p->ini.msg.fn = pair_connect;
    rt_post(p->ini.rt, &p->ini.msg);
}

/* @begin: pair_accept(), or the program's. Return: what main() returns. */
static inline int pair_run(struct pair *p, void (*begin)(struct rt_msg *m),
                           void (*connected)(struct rt_op *op, int res),
                           void (*accepted)(struct rt_op *op, int res))
{
    if (rt_addr_parse(&p->at, "127.0.0.1:0", 0) || rt_listen(p->tgt.rt, &p->at, &p->listener) ||
        rt_sock_addr(p->listener, &p->at))
        return 1;
    p->ini.op.done = connected;
    p->tgt.op.done = accepted;
    p->tgt.msg.fn = begin;
    rt_post(p->tgt.rt, &p->tgt.msg);
    return rt_host_run(p->host) ? 1 : 0;
}

#endif
