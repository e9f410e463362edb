/*
 * rt_internal.h - what the files of the io_uring backend share; nobody above includes it
 *
 * The life of an operation: the submitting call fills it in and puts it on rt->queue (QUEUED). The next turn
 * writes it into the submission ring (FLIGHT), its completion comes back through the type's finish(), which
 * either ends it or puts it on the queue again (a short transfer, a transient error). An operation that needs
 * no kernel goes straight to rt->c.ready (READY). done() runs from the turn only.
 */
#ifndef CORELANE_RT_INTERNAL_H
#define CORELANE_RT_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "reactor/rt_common.h"
#include "reactor/rt_list.h"

enum rt_op_next { RT_OP_ENDED, RT_OP_AGAIN, RT_OP_HELD };

/* How one kind of operation is put to the kernel, and what its completion means. */
struct rt_op_type {
    /* msg: scratch that lives until the kernel has taken the submission (IORING_FEAT_SUBMIT_STABLE). */
    void (*prep)(struct rt_op *op, struct io_uring_sqe *sqe, struct msghdr *msg);
    /* Sets op->res and says ENDED, or AGAIN to submit once more, or HELD when a timer will. */
    enum rt_op_next (*finish)(struct rt_op *op, int res, unsigned cqe_flags);
    void (*release)(struct rt_op *op);      /* detaches the op from its object before done; may be NULL */
    void (*unpause)(struct rt_op *op);      /* takes back HELD; NULL where that does not occur */
    bool disk;                              /* the kernel may give it to a helper thread of its own */
};

struct rt_shared {                          /* buffers of rt_recv_shared() */
    struct io_uring_buf_ring *ring;         /* NULL: the kernel has no such rings */
    uint8_t *mem;                           /* its buffers, one after another, then spare */
    uint8_t *spare;                         /* one more, that is read into at once when those are taken */
    size_t ring_len, mem_len;
};

#define RT_PINS_MAX 64                      /* memories that a reactor has registered with its ring, */
#define RT_PIN_SLOTS 1024u                  /* in so many buffers together, */
#define RT_PIN_LEN (8ul << 20)              /* each of so many bytes at most */

struct rt_pin {
    uintptr_t at;
    size_t len;                             /* 0: free */
    size_t touched, ready;                  /* bytes from the start: whose pages are there; that are registered */
    unsigned slot;                          /* of its first buffer; those of the others follow */
    bool wanted;                            /* a file operation came across it */
};

struct rt_pins {
    bool made, told;                        /* the ring's table; that something was refused */
    bool stepping;                          /* step is under way */
    unsigned nr;                            /* places from the first to the last in use */
    unsigned last;                          /* the last one that was found: likely the next */
    struct rt_pin pin[RT_PINS_MAX];
    bool used[RT_PIN_SLOTS];
    struct rt_op step;
};

struct rt_pollers {
    struct rt_poller *head, *tail;
    struct rt_poller *at;                   /* while they are gone through: the next; those may go meanwhile */
    unsigned nr;
};

struct rt {
    struct rt_common c;
    struct io_uring ring;
    struct rt_ops queue;                    /* to be submitted */
    struct rt_ops starved;                  /* likewise, but first: there was no buffer for them the last time,
                                             * and behind those that had one there would be none for ever */
    struct rt_pollers pollers;
    struct rt_op *cancels;                  /* in flight, to be cancelled; doubly linked */
    struct msghdr *msgs;                    /* one for each submission slot */
    uint64_t mark;                          /* up to where time was accounted */
    uint64_t last_work;                     /* when an operation or message last came */
    uint64_t last_yield;                    /* when the core was last offered to others */
    unsigned disk_ops;                      /* such operations that the kernel has */
    unsigned poll_misses;                   /* polls in a row that ended in sleep */
    unsigned poll_skips;                    /* sleeps since without polling first */
    const char *owner;                      /* identity of the thread that turns it; NULL: none yet */
    struct rt_shared shared;
    struct rt_pins pins;
    int wake_fd;
    bool made, enabled, in_turn;
    bool was_busy;                          /* the last pass did something */
    struct rt_op wake_op;
    struct iovec wake_iov;
    uint64_t wake_buf;
    struct rt_link zombies;                 /* sockets closed with operations outstanding */

    /* Written by other cores: on lines of their own. */
    _Alignas(RT_CACHE_LINE) _Atomic(struct rt_msg *) mail;
    _Alignas(RT_CACHE_LINE) _Atomic uint32_t sleeping;
};

/* Started as needed, never for the I/O path. Enough that calls that wait for a dead target (a flush, an unmount)
 * do not keep the name look-up waiting that would bring it back. */
#define RT_WORKERS_MAX 64

struct rt_workers {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct rt_work *head, *tail;
    unsigned queued, idle, threads_nr;
    bool stop;
    pthread_t threads[RT_WORKERS_MAX];
};

#define RT_RESERVE_PARTS 8u
struct rt_reserve {
    bool made, canary_runs, guard_runs;
    pthread_t canary, guard;
    /* One each: the guard must never wait for who waits for memory. */
    pthread_mutex_t lock, guard_lock;
    pthread_cond_t stopped, guard_stopped;
    bool stop, guard_stop;
    _Atomic uint64_t trying_ns;             /* since when the canary asks for memory; 0: it does not */
    _Atomic unsigned full;                  /* a bit for each part that can be given */
    int part[RT_RESERVE_PARTS][2], probe[2], null_fd;
};

struct rt_signal_source;

struct rt_host {
    _Atomic bool stop;
    bool ran, lock_memory;
    unsigned count;
    struct rt **rts;
    cpu_set_t *cpus;                        /* where the program may run; helpers go back to it */
    size_t cpus_len;
    struct rt_workers workers;
    struct rt_reserve reserve;
    struct rt_signal_source *signals;
};

/* ---- rt_uring.c */
int rt_ring_make(struct rt *rt, uint32_t entries);
void rt_ring_free(struct rt *rt);
void rt_disown(struct rt *rt);
void rt_op_start(struct rt *rt, struct rt_op *op, const struct rt_op_type *type);   /* IDLE -> QUEUED */
void rt_op_requeue(struct rt_op *op);                                               /* PAUSED -> QUEUED */
int rt_run(struct rt *rt);                  /* turns until the host stops */

/* ---- rt_poll.c */
unsigned rt_pollers_run(struct rt *rt);     /* asks each once. Return: how many found work */
/* Tells them that the reactor is about to sleep. Return: false: it must not, and all have been told. */
bool rt_pollers_rest(struct rt *rt);
void rt_pollers_rouse(struct rt *rt);       /* tells them that it slept */

/* ---- rt_msg.c */
int rt_mail_open(struct rt *rt);
void rt_mail_close(struct rt *rt);
unsigned rt_mail_run(struct rt *rt);
void rt_wake(struct rt *rt);                /* any thread */

/* ---- rt_work.c */
int rt_workers_init(struct rt_workers *w);
void rt_workers_end(struct rt_workers *w);  /* runs what is queued, then joins */
/* A thread with all signals blocked and no real-time policy. Return: 0 or -errno. */
int rt_helper_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* ---- rt_reserve.c */
/* Keeps memory back, with two threads that look after it. Return: 0 or -errno: there is none. */
int rt_reserve_start(struct rt_host *h);
void rt_reserve_end(struct rt_reserve *r);  /* accepts one that was zeroed and never started */
bool rt_reserve_give(struct rt_reserve *r); /* a part, to whoever asks the kernel. Return: false: there is none */
size_t rt_reserve_len(struct rt_reserve *r); /* bytes that can be given */

/* ---- rt_sock.c */
void rt_zombies_free(struct rt *rt);

/* ---- rt_shm.c */
/* Makes a memory of a descriptor that came from another process. @fd: given. Return: 0, -EPROTO (not memory) or -ENOMEM. */
int rt_shm_take(int fd, struct rt_shm **out);
int rt_shm_fd(const struct rt_shm *shm);
void rt_shm_pin_count(struct rt_shm *shm, bool more);

/* ---- rt_pin.c */
/* Return: the registered buffer that holds [mem, mem + len), or -1. */
int rt_pin_find(struct rt *rt, const void *mem, size_t len);

/* ---- rt_host.c */
uint64_t rt_clock_ns(void);
uint64_t rt_thread_cpu_ns(void);            /* CPU time this thread has had */
void rt_thread_setup(const struct rt_host *h);   /* what each thread of a write-out path wants */
void rt_signals_free(struct rt_host *h);

/* ---- rt_file.c */
void rt_random_bytes(void *buf, size_t len);

#endif
