/*
 * rt_work.c - a few helper threads for calls that may block
 *
 * Started on first use and shared by the reactors of a host. They run on any CPU the program may use (a
 * reactor that starts one is pinned, and would hand its single core down), with all signals blocked.
 */
#include <signal.h>
#include <string.h>

#include "reactor/uring/rt_internal.h"
#include "reactor/rt_log.h"

static struct rt_work *work_pop(struct rt_workers *p)
{
    struct rt_work *w = p->head;

    if (w) {
        p->head = w->next;
        p->queued--;
    }
    return w;
}

static void work_done(struct rt_msg *m)
{
    struct rt_work *w = container_of(m, struct rt_work, msg);

    w->done(w);
}

static void work_run(struct rt_work *w)
{
    w->run(w);
    w->msg.fn = work_done;
    rt_post(w->rt, &w->msg);
}

static void *worker(void *arg)
{
    struct rt_host *h = arg;
    struct rt_workers *p = &h->workers;

    (void)pthread_setaffinity_np(pthread_self(), h->cpus_len, h->cpus);
    (void)pthread_setname_np(pthread_self(), "rt-work");
    rt_thread_setup(h);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct rt_work *w = work_pop(p);

        if (w) {
            pthread_mutex_unlock(&p->lock);
            work_run(w);
            pthread_mutex_lock(&p->lock);
        } else if (p->stop) {
            break;                              /* only when all that was queued has run */
        } else {
            p->idle++;
            pthread_cond_wait(&p->more, &p->lock);
            p->idle--;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int rt_helper_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    static const struct sched_param none;
    pthread_attr_t attr;
    sigset_t all, old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    /* Not the policy of who starts it: a reactor that polls under SCHED_FIFO leaves its like no time at all, and others
     * the little that the kernel keeps back for them. */
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_OTHER);
    pthread_attr_setschedparam(&attr, &none);
    err = pthread_create(thread, &attr, run, arg);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -err;
}

/* Locked. Return: whether somebody will take what is queued. */
static bool worker_start(struct rt_host *h)
{
    struct rt_workers *p = &h->workers;
    const int err = rt_helper_start(&p->threads[p->threads_nr], worker, h);

    if (err)
        rt_log(RT_WARN, "cannot start a helper thread: %s", strerror(-err));
    else
        p->threads_nr++;
    return p->threads_nr;
}

void rt_work(struct rt *rt, struct rt_work *w)
{
    struct rt_workers *p = &rt->c.host->workers;
    bool taken;

    assert(rt_owned(rt));
    w->rt = rt;
    w->next = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->head)
        p->tail->next = w;
    else
        p->head = w;
    p->tail = w;
    p->queued++;
    /* An idle helper may have been woken for what was queued before and not run yet: one for each. */
    taken = p->queued <= p->idle || (p->threads_nr == RT_WORKERS_MAX) || worker_start(rt->c.host);
    if (!taken)
        work_pop(p);                            /* with no helper at all nothing else can be queued */
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
    if (!taken)
        work_run(w);                            /* a stalled core is better than a call that never returns */
}

int rt_workers_init(struct rt_workers *p)
{
    int err = pthread_mutex_init(&p->lock, NULL);

    if (!err && (err = pthread_cond_init(&p->more, NULL)))
        pthread_mutex_destroy(&p->lock);
    return -err;
}

void rt_workers_end(struct rt_workers *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads_nr; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
}
