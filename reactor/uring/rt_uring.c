/*
 * rt_uring.c - the ring of one reactor and its turn
 *
 * Owns the io_uring of a reactor, the queues of operations and the decision to poll or to sleep. What an
 * operation means is its type's (rt_sock.c, rt_file.c, rt_fd.c); threads are rt_host.c's.
 *
 * A turn enters the kernel once at most: it writes everything queued since the last turn into the submission
 * ring, enters (waiting or not), and completes what came back. With DEFER_TASKRUN completions are made on
 * this core, inside our own io_uring_enter(), and the kernel sets a flag in the ring when there are some to
 * be made: so a polling turn that finds nothing costs no system call.
 *
 * Where there are pollers, what a pass costs is what their peers wait. So while nothing else is to be done, they alone
 * are asked, over and over (spin()); and what they find is done before the clock is read. The time that such a pass
 * took is booked as busy, with the few empty ones that came before it since the clock was read.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

/* Operations in flight are bounded by who submits them (a few a session, one a task); the completion ring
 * has room for thousands so that the kernel's overflow list, which allocates, stays unused. */
#define ENTRIES_DEFAULT 1024
#define CQ_PER_SQ 8
/* What is in the submission ring that has no operation: the completion of a cancel request. */
#define NO_OP 0ull
/* Adaptive polling that does not pay is left off, and tried again now and then: where whom we wait for needs
 * the very core that polls, or where work comes rarely. Two reactors in ping-pong on one core: 38,000 round
 * trips a second instead of 9,000; yielding in the loop gives as much there, and 30 times less beside a
 * program that computes. */
#define POLL_MISSES_MAX 8
#define POLL_SKIPS_MAX 64
/* Empty passes over the pollers between two looks at the clock, so at the timers: less than a microsecond. */
#define SPIN_PASSES 16
/* RT_MODE_POLL: a core that finds nothing lets others have it for a moment, so often: one that has found nothing for
 * IDLE_YIELD_NS, and one that waits for disk operations. A kernel's helper for an operation that could not be done at once (a
 * write that has to update the file's time, every few milliseconds) is else kept waiting by who waits for it, for the
 * 3 ms that a scheduler gives: 4 KiB writes to a file were four times slower than from a program that sleeps. With nobody
 * there it costs 0.3 us. */
#define IDLE_YIELD_NS (20 * RT_US)
#define DISK_YIELD_NS (50 * RT_US)
/* Eight: with one per stream of a busy core rarely missing, and a pass over all of them still in cache. */
#define SHARED_BUFS 8
#define SHARED_GROUP 0

/* Its address names the thread: cheaper to compare than pthread_self() and never reused while it runs. Both
 * are the thread's own, so two hosts in one program do not meet here. */
static _Thread_local char thread_id;
static _Thread_local struct rt *thread_rt;

/* ---- the ring ---------------------------------------------------------------------------------------- */

/* From the best to what every kernel with io_uring has. The ring is made disabled and enabled by the thread
 * that turns it, because SINGLE_ISSUER binds it to who enables it. */
static const unsigned setups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,                                                           /* 6.1 */
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,       /* 5.19 */
    0,
};

static void ring_refused(int err)
{
    rt_log(RT_ERR, "the kernel refuses io_uring (%s): %s", strerror(-err),
           err == -EPERM    ? "set the sysctl kernel.io_uring_disabled to 0, or allow io_uring in the "
                              "container's seccomp profile"
           : err == -ENOSYS ? "a kernel of 5.11 or later with CONFIG_IO_URING is needed"
           : err == -ENOMEM ? "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)"
                            : "see the kernel's log");
}

int rt_ring_make(struct rt *rt, uint32_t entries)
{
    struct io_uring_params p;
    int err = -EINVAL;

    if (!entries)
        entries = ENTRIES_DEFAULT;
    for (size_t i = 0; i < ARRAY_SIZE(setups) && err == -EINVAL; i++) {
        p = (struct io_uring_params){
            .flags = setups[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = entries * CQ_PER_SQ,
        };
        err = io_uring_queue_init_params(entries, &rt->ring, &p);
    }
    if (!err && (~p.features & (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG))) {
        io_uring_queue_exit(&rt->ring);
        err = -ENOSYS;
    }
    if (err) {
        ring_refused(err);
        return err;
    }
    rt->made = true;
    rt->msgs = calloc(p.sq_entries, sizeof(*rt->msgs));
    return rt->msgs ? 0 : -ENOMEM;
}

static void shared_free(struct rt_shared *s)
{
    rt_mem_free(s->ring, s->ring_len);
    rt_mem_free(s->mem, s->mem_len);
    *s = (struct rt_shared){ 0 };
}

void rt_ring_free(struct rt *rt)
{
    if (rt->made)
        io_uring_queue_exit(&rt->ring);
    rt->made = false;
    free(rt->msgs);
    shared_free(&rt->shared);
}

static uint8_t *shared_at(const struct rt *rt, unsigned id)
{
    return rt->shared.mem + (size_t)id * RT_RECV_SHARED_MAX;
}

static void shared_give(struct rt *rt, unsigned id)
{
    struct rt_shared *s = &rt->shared;

    io_uring_buf_ring_add(s->ring, shared_at(rt, id), RT_RECV_SHARED_MAX, (unsigned short)id,
                          io_uring_buf_ring_mask(SHARED_BUFS), 0);
    io_uring_buf_ring_advance(s->ring, 1);
}

static int shared_alloc(struct rt_shared *s)
{
    s->ring_len = SHARED_BUFS * sizeof(struct io_uring_buf);
    s->mem_len = (size_t)(SHARED_BUFS + 1) * RT_RECV_SHARED_MAX;
    s->mem = rt_mem_alloc(s->mem_len);
    s->ring = rt_mem_alloc(s->ring_len);
    if (s->mem && s->ring) {
        s->spare = s->mem + (size_t)SHARED_BUFS * RT_RECV_SHARED_MAX;
        return 0;
    }
    shared_free(s);
    return -ENOMEM;
}

static void shared_register(struct rt *rt)
{
    struct rt_shared *s = &rt->shared;
    struct io_uring_buf_reg reg;

    reg = (struct io_uring_buf_reg){
        .ring_addr = (uintptr_t)s->ring, .ring_entries = SHARED_BUFS, .bgid = SHARED_GROUP,
    };
    if (io_uring_register_buf_ring(&rt->ring, &reg, 0)) {
        rt_mem_free(s->ring, s->ring_len);      /* before 5.19: rt_sock.c reads at readiness instead */
        s->ring = NULL;
        return;
    }
    io_uring_buf_ring_init(s->ring);
    for (unsigned i = 0; i < SHARED_BUFS; i++)
        shared_give(rt, i);
}

static int ring_enable(struct rt *rt)
{
    int err = shared_alloc(&rt->shared);    /* first: without, the reactor is as it was and may be tried again */

    if (err)
        return err;
    /* Not io_uring_enable_rings(): Debian 12's liburing declares it and does not export it. */
    if ((err = io_uring_register((unsigned)rt->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0))) {
        shared_free(&rt->shared);
        return err;
    }
    rt->enabled = true;
    /* Saves looking the descriptor up on each enter; the kernel may be too old, and then nothing changes. */
    (void)io_uring_register_ring_fd(&rt->ring);
    shared_register(rt);
    return 0;
}

/* ---- operations -------------------------------------------------------------------------------------- */

bool rt_owned(const struct rt *rt)
{
    return !rt->owner || rt->owner == &thread_id;
}

void rt_disown(struct rt *rt)
{
    rt->owner = NULL;
    if (thread_rt == rt)
        thread_rt = NULL;
}

void rt_op_start(struct rt *rt, struct rt_op *op, const struct rt_op_type *type)
{
    rt_op_begin(rt, op, type, RT_OP_QUEUED);
    rt_ops_push(&rt->queue, op);
}

void rt_op_requeue(struct rt_op *op)
{
    op->stage = RT_OP_QUEUED;
    rt_ops_push(&op->rt->queue, op);
}

static void cancels_del(struct rt *rt, struct rt_op *op)
{
    if (op->prev)
        op->prev->next = op->next;
    else
        rt->cancels = op->next;
    if (op->next)
        op->next->prev = op->prev;
    op->flags &= (uint16_t)~RT_OP_LISTED;
}

void rt_cancel(struct rt_op *op)
{
    struct rt *rt = op->rt;

    if (op->stage == RT_OP_IDLE || op->stage == RT_OP_READY || (op->flags & RT_OP_CANCEL))
        return;
    assert(rt_owned(rt));
    op->flags |= RT_OP_CANCEL;
    switch ((enum rt_op_stage)op->stage) {
    case RT_OP_FLIGHT:
        op->prev = NULL;
        op->next = rt->cancels;
        if (op->next)
            op->next->prev = op;
        rt->cancels = op;
        op->flags |= RT_OP_LISTED;
        break;
    case RT_OP_PAUSED:
        op->type->unpause(op);
        op->stage = RT_OP_READY;
        op->res = -ECANCELED;
        rt_ops_push(&rt->c.ready, op);
        break;
    default:                                    /* queued: found to be cancelled when its turn comes */
        break;
    }
}

const struct rt_op_type rt_defer_type = { 0 };

void rt_stirred(struct rt *rt)
{
    /* Looked at in each pass. */
}

/* The op may be gone when this returns. */
static void op_end(struct rt *rt, struct rt_op *op)
{
    const bool buf = op->flags & RT_OP_BUF;
    const unsigned id = op->buf_id;
    const int res = op->res;

    op->stage = RT_OP_IDLE;
    op->flags = 0;
    if (buf)
        op->buf = shared_at(rt, id);
    op->done(op, res);
    if (buf)
        shared_give(rt, id);
}

static void op_release(struct rt_op *op)
{
    if (op->type->release)
        op->type->release(op);
}

/* An operation that the kernel is through with for now. */
static void op_finish(struct rt *rt, struct rt_op *op, int res, unsigned cqe_flags)
{
    rt->disk_ops -= op->type->disk;
    if (op->flags & RT_OP_LISTED)
        cancels_del(rt, op);
    if (cqe_flags & IORING_CQE_F_BUFFER) {
        op->buf_id = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
        op->flags |= RT_OP_BUF;
    }
    switch (op->type->finish(op, res, cqe_flags)) {
    case RT_OP_AGAIN:
        if (op->flags & RT_OP_BUF) {
            shared_give(rt, op->buf_id);
            op->flags &= (uint16_t)~RT_OP_BUF;
        }
        op->stage = RT_OP_QUEUED;               /* a cancelled one is found out there */
        rt_ops_push(res == -ENOBUFS ? &rt->starved : &rt->queue, op);
        break;
    case RT_OP_HELD:
        op->stage = RT_OP_PAUSED;
        break;
    case RT_OP_ENDED:
        op_release(op);
        op_end(rt, op);
        break;
    }
}

/* ---- one pass ---------------------------------------------------------------------------------------- */

/* Writes a list into the submission ring, as far as there is room: true when all went in. */
static bool list_fill(struct rt *rt, struct rt_ops *list)
{
    struct io_uring_sqe *sqe;

    while (list->head) {
        struct rt_op *op = list->head;

        if (op->flags & RT_OP_CANCEL) {
            rt_ops_pop(list);
            op->stage = RT_OP_READY;
            op->res = -ECANCELED;
            rt_ops_push(&rt->c.ready, op);
            continue;
        }
        if (!(sqe = io_uring_get_sqe(&rt->ring)))
            return false;
        rt_ops_pop(list);
        rt->disk_ops += op->type->disk;
        op->type->prep(op, sqe, &rt->msgs[sqe - rt->ring.sq.sqes]);
        io_uring_sqe_set_data(sqe, op);
        op->stage = RT_OP_FLIGHT;
    }
    return true;
}

/* Writes what is queued into the submission ring, as far as there is room: true when all went in. */
static bool queue_fill(struct rt *rt)
{
    struct io_uring_sqe *sqe;

    while (rt->cancels) {
        struct rt_op *op = rt->cancels;

        if (!(sqe = io_uring_get_sqe(&rt->ring)))
            return false;
        cancels_del(rt, op);
        /* Cannot hit a later use of the same op: it is in flight now, and whatever is submitted after its
         * completion was reaped stands behind this entry in the ring. */
        io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
        io_uring_sqe_set_data64(sqe, NO_OP);
    }
    return list_fill(rt, &rt->starved) && list_fill(rt, &rt->queue);
}

static unsigned ops_run(struct rt *rt, struct rt_ops *list)
{
    struct rt_ops q = *list;
    unsigned n = 0;

    list->head = NULL;                          /* what is added meanwhile waits for the next turn */
    for (; q.head; n++) {
        struct rt_op *op = rt_ops_pop(&q);

        op_release(op);
        op_end(rt, op);
    }
    return n;
}

static unsigned cq_run(struct rt *rt)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0, n = 0;
    const unsigned most = io_uring_cq_ready(&rt->ring);    /* what comes meanwhile waits for the next pass */

    io_uring_for_each_cqe(&rt->ring, head, cqe) {
        struct rt_op *op = io_uring_cqe_get_data(cqe);

        if (seen == most)
            break;
        seen++;
        if (!op)
            continue;
        op_finish(rt, op, cqe->res, cqe->flags);
        n++;
    }
    io_uring_cq_advance(&rt->ring, seen);
    return n;
}

static bool kernel_has_work(const struct rt *rt)
{
    return IO_URING_READ_ONCE(*rt->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Errors that mean "not all of it now": reaping makes room, and the rest goes in with the next enter. */
static bool enter_transient(int err)
{
    return err == -EAGAIN || err == -EBUSY || err == -EINTR || err == -ETIME || err == -ENOMEM;
}

/* Enters the kernel if there is a reason to. wait_ns: how long to sleep for a completion, 0: not. */
static int rt_enter(struct rt *rt, uint64_t wait_ns)
{
    const bool all = queue_fill(rt);
    int ret;

    if (wait_ns && all && !rt->c.ready.head && !rt->c.late.head) {
        struct __kernel_timespec ts = { (int64_t)(wait_ns / RT_S), (int64_t)(wait_ns % RT_S) };
        struct io_uring_cqe *cqe;

        ret = io_uring_submit_and_wait_timeout(&rt->ring, &cqe, 1, wait_ns == UINT64_MAX ? NULL : &ts, NULL);
    } else if (io_uring_sq_ready(&rt->ring) || kernel_has_work(rt)) {
        ret = io_uring_submit_and_get_events(&rt->ring);
    } else {
        return 0;
    }
    rt_count(&rt->c.n.enters, 1);
    return ret < 0 && !enter_transient(ret) ? ret : 0;
}

static void account(struct rt *rt)
{
    rt->c.now = rt_clock_ns();
    rt_count(rt->was_busy ? &rt->c.n.busy_ns : &rt->c.n.poll_ns, rt->c.now - rt->mark);
    rt->mark = rt->c.now;
}

/* A sleeping enter also submits, and completes on this core what woke it: the CPU time of it was no sleep. */
static void account_sleep(struct rt *rt, uint64_t cpu_ns)
{
    uint64_t total;

    rt->c.now = rt_clock_ns();
    total = rt->c.now - rt->mark;
    if (cpu_ns > total)
        cpu_ns = total;
    rt_count(&rt->c.n.busy_ns, cpu_ns);
    rt_count(&rt->c.n.sleep_ns, total - cpu_ns);
    rt->mark = rt->c.now;
}

/* Completes what there is. @polled: how many pollers have found work in this pass already; 0: they are asked.
 * Return: how many callbacks ran. */
static unsigned dispatch(struct rt *rt, unsigned polled)
{
    unsigned ops = polled, messages, timers;

    rt->was_busy |= polled;
    account(rt);
    ops += ops_run(rt, &rt->c.ready) + cq_run(rt);
    messages = rt_mail_run(rt);
    timers = rt_timers_run(rt);
    if (!polled)
        ops += rt_pollers_run(rt);
    ops += ops_run(rt, &rt->c.late);              /* last: it gathers what the others have produced */
    if (ops)
        rt_count(&rt->c.n.ops, ops);
    if (messages)
        rt_count(&rt->c.n.messages, messages);
    if (timers)
        rt_count(&rt->c.n.timers, timers);
    rt->was_busy = ops + messages + timers;
    if (rt->was_busy)
        rt_count(&rt->c.n.turns, 1);
    if (ops + messages)
        rt->last_work = rt->c.now;            /* not for a timer: it would be on time after a sleep too */
    return ops + messages + timers;
}

static bool must_return(const struct rt *rt)
{
    return atomic_load_explicit(&rt->c.host->stop, memory_order_relaxed);
}

/* How long it may sleep from now on, 0: not at all. */
static uint64_t sleep_ns(const struct rt *rt, uint64_t deadline)
{
    const uint64_t timer = rt_timers_next(rt), wake_at = timer < deadline ? timer : deadline;

    if (wake_at == UINT64_MAX)
        return wake_at;
    return wake_at > rt->c.now ? wake_at - rt->c.now : 0;
}

/* Sleeps until a completion, a timer, a message or the deadline; not at all when a poller has work. */
static int rt_sleep(struct rt *rt, uint64_t deadline)
{
    uint64_t cpu_ns;
    int err = 0;

    account(rt);
    if (!sleep_ns(rt, deadline) || !rt_pollers_rest(rt))
        return rt_enter(rt, 0);
    /* Sequentially consistent with rt_post(): either it sees the flag and wakes us, or we see its message. */
    atomic_store_explicit(&rt->sleeping, 1, memory_order_seq_cst);
    if (!atomic_load_explicit(&rt->mail, memory_order_seq_cst) &&
        !atomic_load_explicit(&rt->c.host->stop, memory_order_seq_cst)) {
        cpu_ns = rt_thread_cpu_ns();
        err = rt_enter(rt, sleep_ns(rt, deadline));    /* again: a poller may have armed a timer */
        account_sleep(rt, rt_thread_cpu_ns() - cpu_ns);
        rt_count(&rt->c.n.sleeps, 1);
    }
    atomic_store_explicit(&rt->sleeping, 0, memory_order_relaxed);
    rt_pollers_rouse(rt);
    return err;
}

/* Whether to go on polling, when there is nothing to do. */
static bool poll_pays(const struct rt *rt)
{
    switch ((enum rt_mode)atomic_load_explicit(&rt->c.mode, memory_order_relaxed)) {
    case RT_MODE_POLL:
        return true;
    case RT_MODE_INTERRUPT:
        return false;
    default:
        return rt->c.now - rt->last_work < atomic_load_explicit(&rt->c.poll_us, memory_order_relaxed) * RT_US &&
               (rt->poll_misses < POLL_MISSES_MAX || rt->poll_skips >= POLL_SKIPS_MAX);
    }
}

static void poll_missed(struct rt *rt, bool polled)
{
    if (polled) {
        rt->poll_misses++;
        rt->poll_skips = 0;
    } else {
        rt->poll_skips++;
    }
}

/* Tells the core that this is a spin: frees the sibling thread and saves power. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void poll_yield(struct rt *rt)
{
    const uint64_t idle = rt->c.now - rt->last_work, since = rt->c.now - rt->last_yield;

    if ((idle < IDLE_YIELD_NS || since < IDLE_YIELD_NS) && (!rt->disk_ops || since < DISK_YIELD_NS))
        return;
    if (atomic_load_explicit(&rt->c.mode, memory_order_relaxed) != RT_MODE_POLL)
        return;                             /* it sleeps soon */
    rt->last_yield = rt->c.now;
    sched_yield();
}

static bool nothing_local(const struct rt *rt)
{
    return !rt->c.ready.head && !rt->c.late.head && !io_uring_cq_ready(&rt->ring) &&
           !atomic_load_explicit(&rt->mail, memory_order_relaxed);
}

/* Nothing but the pollers wants anything. */
static bool nothing_else(const struct rt *rt)
{
    return nothing_local(rt) && !rt->queue.head && !rt->starved.head && !rt->cancels &&
           !io_uring_sq_ready(&rt->ring) && !kernel_has_work(rt);
}

/* Passes in which only the pollers are asked. Return: how many of them found work in the last. */
static unsigned spin(struct rt *rt)
{
    for (unsigned i = 0; i < SPIN_PASSES && nothing_else(rt); i++) {
        const unsigned found = rt_pollers_run(rt);

        if (found)
            return found;
    }
    return 0;
}

static int turn(struct rt *rt, uint64_t wait_ns)
{
    const uint64_t start = rt->c.now;
    const uint64_t deadline = wait_ns > UINT64_MAX - start ? UINT64_MAX : start + wait_ns;
    bool polled = false;                    /* found nothing once, and has not slept since */
    unsigned n;
    int err = 0;

    for (;;) {
        const bool may_wait = wait_ns && nothing_local(rt);
        const bool sleeps = may_wait && !poll_pays(rt);

        if (may_wait && rt->c.now >= deadline)
            return 0;
        n = 0;
        if (sleeps) {                       /* in one enter with what is queued */
            poll_missed(rt, polled);
            err = rt_sleep(rt, deadline);
        } else if (!rt->pollers.head || !may_wait || !(n = spin(rt))) {
            err = rt_enter(rt, 0);
        }
        if (err)
            return err;
        n = dispatch(rt, n);
        if (n && polled && !sleeps)
            rt->poll_misses = 0;
        if (n || !wait_ns || must_return(rt))
            return (int)n;
        polled = !sleeps;
        poll_yield(rt);
        cpu_relax();
    }
}

static int turn_begin(struct rt *rt)
{
    int err;

    assert(rt_owned(rt));
    assert(!rt->in_turn);                       /* a callback must not turn its own reactor */
    thread_rt = rt;
    if (rt->enabled)
        return 0;
    rt->owner = &thread_id;
    rt->mark = rt->c.now = rt->last_work = rt_clock_ns();
    if ((err = ring_enable(rt)))
        rt_log(RT_ERR, "reactor %u: the ring cannot be started: %s", rt->c.index, strerror(-err));
    return err;
}

int rt_turn(struct rt *rt, uint64_t wait_ns)
{
    int ret = turn_begin(rt);

    if (ret)
        return ret;
    rt->in_turn = true;
    rt->mark = rt->c.now = rt_clock_ns();         /* the time since the last call was the caller's */
    ret = turn(rt, wait_ns);
    account(rt);                                /* what the last pass took: rt_run() does it in the next */
    rt->in_turn = false;
    return ret;
}

int rt_run(struct rt *rt)
{
    int ret = turn_begin(rt);

    rt->in_turn = true;
    while (ret >= 0 && !atomic_load_explicit(&rt->c.host->stop, memory_order_relaxed))
        ret = turn(rt, UINT64_MAX);
    rt->in_turn = false;
    if (ret < 0)
        rt_log(RT_ERR, "reactor %u stops: io_uring_enter: %s", rt->c.index, strerror(-ret));
    return ret < 0 ? ret : 0;
}

struct rt *rt_self(void)
{
    return thread_rt;
}
