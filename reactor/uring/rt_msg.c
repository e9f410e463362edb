/*
 * rt_msg.c - the mailbox of a reactor, and waking one that sleeps
 *
 * A stack that any thread pushes to and the owner takes whole and turns round: so messages of one sender stay
 * in order, and neither side ever waits for the other. A sleeping owner is woken through an eventfd that its
 * ring always reads: IORING_OP_MSG_RING would save the poster a system call, but only between rings that are
 * both running, and the wake-up itself costs ten times as much. No system call is made for one that is awake.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"

/* Written by the poster that found the flag set, so once for each sleep. */
void rt_wake(struct rt *rt)
{
    /* Sequentially consistent with the store in rt_sleep(). */
    if (atomic_load_explicit(&rt->sleeping, memory_order_seq_cst) &&
        atomic_exchange_explicit(&rt->sleeping, 0, memory_order_seq_cst)) {
        const uint64_t one = 1;
        ssize_t ret;

        do
            ret = write(rt->wake_fd, &one, sizeof(one));
        while (ret < 0 && errno == EINTR);
    }
}

void rt_post(struct rt *to, struct rt_msg *m)
{
    struct rt_msg *head = atomic_load_explicit(&to->mail, memory_order_relaxed);

    /* Sequentially consistent with the load in rt_sleep(), and a release for rt_mail_run(): who takes the
     * message sees what its sender wrote before. */
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(&to->mail, &head, m, memory_order_seq_cst,
                                                  memory_order_relaxed));
    rt_wake(to);
}

unsigned rt_mail_run(struct rt *rt)
{
    struct rt_msg *m, *list = NULL;
    unsigned n = 0;

    if (!atomic_load_explicit(&rt->mail, memory_order_relaxed))
        return 0;
    /* Acquire pairs with the push in rt_post(). */
    m = atomic_exchange_explicit(&rt->mail, NULL, memory_order_acquire);
    while (m) {
        struct rt_msg *next = m->next;

        m->next = list;
        list = m;
        m = next;
    }
    for (; list; n++) {
        m = list;
        list = m->next;
        m->fn(m);                               /* m is its owner's from here on */
    }
    return n;
}

/* ---- the wake-up's own operation --------------------------------------------------------------------- */

static void wake_prep(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg)
{
    io_uring_prep_read(sqe, op->fd, &op->rt->wake_buf, sizeof(op->rt->wake_buf), 0);
}

static enum rt_op_next wake_finish(struct rt_op *op, int res, unsigned cqe_flags)
{
    return RT_OP_AGAIN;                         /* the count means nothing: the mailbox is looked at anyway */
}

static const struct rt_op_type wake_type = { .prep = wake_prep, .finish = wake_finish };

static void wake_done(struct rt_op *op, int res)
{
}

int rt_mail_open(struct rt *rt)
{
    /* Not EFD_NONBLOCK: the ring would hand -EAGAIN back instead of waiting. */
    if ((rt->wake_fd = eventfd(0, EFD_CLOEXEC)) < 0)
        return -errno;
    rt->wake_op = (struct rt_op){ .done = wake_done, .fd = rt->wake_fd };
    rt_op_start(rt, &rt->wake_op, &wake_type);
    return 0;
}

void rt_mail_close(struct rt *rt)
{
    if (rt->wake_fd >= 0)
        close(rt->wake_fd);
    rt->wake_fd = -1;
}
