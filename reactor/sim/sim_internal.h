/*
 * sim_internal.h - what the files of the simulated backend share; nobody else includes it
 *
 * Two kinds of memory. The world's (sim_zalloc()) is what a kernel, a network and a disk would hold: it outlives
 * programs. A program's is what a process would hold, handles of rt.h included: calloc() and free() in this room
 * are the wrapped ones and book it to the program that runs. A killed program's memory is gone at once, so whatever
 * of the world points into it has to be taken off it first (prog_end() and what it calls).
 */
#ifndef CORELANE_SIM_INTERNAL_H
#define CORELANE_SIM_INTERNAL_H

#include <stdarg.h>

#include "reactor/rt_common.h"
#include "reactor/rt_list.h"
#include "reactor/sim/sim.h"

/* ---- operations --------------------------------------------------------------------------------------- */

enum rt_op_next { RT_OP_ENDED, RT_OP_AGAIN };

struct rt_op_type {
    const char *name;
    /* At the end of the turn that submitted it: puts it to the world. It is on rt->flight, and leaves it by
     * sim_op_done(). */
    void (*begin)(struct rt_op *op);
    /* Ends one in flight early if it can, by sim_op_done(). NULL: it cannot be. */
    void (*cancel)(struct rt_op *op);
    /* In the turn: sets op->res; or AGAIN: it was not enough, begin it again. NULL: res is set. */
    enum rt_op_next (*finish)(struct rt_op *op);
    void (*release)(struct rt_op *op);      /* detaches it from its object before done; may be NULL */
};

/* IDLE -> QUEUED */
void rt_op_start(struct rt *rt, struct rt_op *op, const struct rt_op_type *type);
/* FLIGHT -> READY, to be finished in a turn. */
void sim_op_done(struct rt_op *op, int res);

/* ---- reactors and hosts ------------------------------------------------------------------------------- */

struct rt {
    struct rt_common c;
    struct sim *w;
    struct sim_event ev;                    /* its next turn */
    struct rt_ops queue;                    /* to be begun at the end of this turn */
    struct rt_ops done;                     /* to be finished in the next */
    struct rt_op *flight;                   /* the world's; doubly linked */
    struct rt_msg *mail, *mail_tail;
    struct rt_link socks;
    uint64_t free_at;                       /* when the last turn is over */
    uint64_t slept_from;
    uint64_t spins;                         /* turns in a row that only continued themselves */
    uint8_t *shared;                        /* RT_RECV_SHARED_MAX bytes, the world's; NULL: not needed yet */
    void *lent;                             /* the world's, for the length of one done */
    bool manual;                            /* turned by rt_turn() */
    bool in_turn;

    /* poll.c */
    struct rt_poller *pollers, *poller_next;    /* the next of those being asked */
    uint64_t poll_at;                       /* when it looks again; UINT64_MAX: not by itself */
    bool poll_more;                         /* the last round found something */
    bool rest_due;                          /* its next turn is that it rests, unless there is something to do */
    bool resting;                           /* they were told */
};

struct rt_host {
    struct sim_prog *prog;
    struct rt_link link;                    /* on prog->hosts */
    struct rt_link jobs;                    /* rt_work() under way */
    unsigned count;
    bool started;                           /* its reactors run by themselves */
    bool stop;
    struct rt *signal_rt;
    void (*signal_fn)(void *arg, int signo);
    void *signal_arg;
    uint64_t signals, signals_due;          /* masks */
    struct rt rts[];
};

/* ---- machines and programs ---------------------------------------------------------------------------- */

struct sim_node;                            /* a name in a file system: fs.c */

/* What is amiss with one address of a machine. */
struct sim_way {
    bool cut[2];                            /* as a connection's directions: what goes there, what comes from there */
    uint64_t delay_ns;
};

struct sim_machine {
    struct sim *w;
    struct rt_link link;                    /* on w->machines */
    struct rt_link progs;
    unsigned index;
    char *name;
    unsigned cores;
    bool on;
    unsigned boots;                         /* how often it was switched on again */
    struct rt_addr *addrs;
    struct sim_way *ways;                   /* as many */
    unsigned addrs_nr;
    uint16_t port_next;
    struct rt_link listeners;
    struct sim_node *root;
    struct sim_disk disk;
    char *fault_prefix;
    bool stalled;
    struct rt_link parked;                  /* operations that a stalled disk holds */
    struct rt_link ios;                     /* all under way */
    uint64_t stored;                        /* bytes in pages */
};

struct sim_prog {
    struct sim_machine *machine;
    struct rt_link link;                    /* on machine->progs while it runs */
    const struct sim_program *program;
    void *arg;
    int32_t pid;
    enum sim_prog_state state;
    int status;
    bool kill_wanted;
    bool frozen, exit_held;
    struct rt_link hosts;
    struct rt_link files;                   /* open file descriptions */
    struct sim_rng random;
    struct sim_event exit_ev;
    struct sim_prog *next;                  /* all there ever were, for sim_free() */

    struct rt_link shms;                    /* shm.c */

    /* mem.c */
    struct rt_link blocks, regions;
    struct sim_prog_info mem;
    uint64_t limit, fail_at, fail_more;     /* by number of allocation */
};

/* ---- the world ---------------------------------------------------------------------------------------- */

struct sim {
    uint64_t seed, now, seq, events, print;
    struct sim_event **heap;
    uint32_t heap_nr, heap_room;
    bool stop;
    uint64_t instant, instant_events;
    uint32_t clock_reads;                   /* during this event */
    struct sim_rng net_rng, disk_rng, sched_rng;
    struct sim_sched sched;
    struct rt *turning;                     /* whose turn runs; NULL: nobody's */
    struct rt *last_manual;
    struct sim_prog *entered;
    struct rt_link machines;
    unsigned machines_nr;
    struct sim_prog *progs;
    int32_t pids;

    struct sim_net net;
    struct sim_pair *pairs;                 /* machines_nr squared, made when first needed */
    unsigned pairs_nr;
    struct rt_link conns;
    uint64_t conn_ids;
    unsigned conns_nr;

    uint64_t faults[SIM_FAULT_NR];
    void (*on_event)(void *arg);
    void *on_event_arg;
    void (*on_connect)(void *arg, struct sim_conn *c);
    void *on_connect_arg;
    bool (*on_flip)(void *arg, struct sim_conn *c, unsigned from);
    void *on_flip_arg;
    void (*on_fault)(void *arg, enum sim_fault f, struct sim_machine *m, struct sim_conn *c);
    void *on_fault_arg;
    void (*log)(void *arg, const char *line);
    void *log_arg;
    enum rt_level log_level;
};

/* What rt.h's functions act in, and who allocates. The one place where that cannot be handed down: rt_file_open() and
 * malloc() have no argument for it. */
extern _Thread_local struct sim *sim_world;
extern _Thread_local struct sim_prog *sim_cur;

/* ---- world.c */
void *sim_zalloc(size_t len);               /* the world's; aborts for want of memory */
void *sim_grow(void *mem, size_t len);
void sim_release(void *mem);
char *sim_copy_text(const char *s);
void sim_ev_set(struct sim *w, struct sim_event *ev, uint64_t at);
void sim_ev_del(struct sim *w, struct sim_event *ev);
void sim_mix(struct sim *w, uint64_t v);    /* into the fingerprint */
void sim_fault_note(struct sim *w, enum sim_fault f, struct sim_machine *m, struct sim_conn *c);
static inline bool sim_log_wanted(const struct sim *w, enum rt_level level)
{
    return w->log && level <= w->log_level;
}
void sim_log_line(struct sim *w, enum rt_level level, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
void sim_debug_line(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define sim_debug(w, ...) (sim_log_wanted(w, RT_DEBUG) ? sim_debug_line(w, __VA_ARGS__) : (void)0)
/* Says on stderr what is wrong with the program under test, and aborts. */
_Noreturn void sim_fail(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From here to sim_context_leave() code runs as p (NULL: outside), on rt's core (NULL: on none). */
struct sim_context {
    struct sim *world;
    struct sim_prog *cur;
    struct rt *turning;
};
struct sim_context sim_context_enter(struct sim *w, struct sim_prog *p, struct rt *rt);
void sim_context_leave(struct sim *w, const struct sim_context *before);

/* ---- core.c */
void sim_host_start(struct rt_host *h);
void sim_host_drop(struct rt_host *h);      /* its program dies: takes all of it off the world */
unsigned sim_turn(struct rt *rt);
void sim_host_thaw(struct rt_host *h);      /* what came due while its program was frozen goes on */

/* ---- poll.c */
/* Asks its pollers. Return: how often one had work. */
unsigned sim_pollers_run(struct rt *rt);
void sim_pollers_wake(struct rt *rt);
/* At the end of a turn, as the program: says when it looks again or rests, or rests. busy: it will turn anyway.
 * Return: false: one does not let it rest. */
bool sim_pollers_settle(struct rt *rt, bool busy);
/* As the program: rests. Return: false: one does not let it. */
bool sim_pollers_rest(struct rt *rt);

/* ---- prog.c */
uint64_t sim_boot_stream(const struct sim_machine *m);      /* of the seed's streams: that of its boot id */
void sim_prog_stop_wanted(struct sim_prog *p);
void sim_machine_free(struct sim_machine *m);

/* ---- mem.c */
void sim_mem_init(struct sim_prog *p);
void sim_mem_release(struct sim_prog *p);   /* all of it */
/* Memory that others give out, as rt_mem_alloc()'s is counted. Return: false: this allocation fails. */
bool sim_mem_book(struct sim_prog *p, size_t len);
void sim_mem_unbook(struct sim_prog *p, size_t len);
void sim_mem_unpoison(void *mem, size_t len);

/* ---- shm.c */
struct sim_shm;                             /* shared memory; the world's */
struct sim_shm *sim_shm_ref(struct sim_shm *s);
void sim_shm_unref(struct sim_shm *s);
uint8_t *sim_shm_bytes(struct sim *w, struct sim_shm *s);   /* what the peers see, whoever is there */
struct rt_shm *sim_shm_handle(struct sim_prog *p, struct sim_shm *s);   /* one more; NULL: no memory */
struct sim_shm *sim_shm_of(const struct rt_shm *h);
/* The shared memory in which all of [mem, mem + len) of that program lies, and where; NULL: none. */
struct sim_shm *sim_shm_find(const struct sim_prog *p, const void *mem, size_t len, uint64_t *off);
void sim_shms_drop(struct sim_prog *p);     /* its program is over */

/* ---- sock.c */
void sim_socks_drop(struct rt *rt);         /* its program dies: takes all of them off the world */
void sim_socks_zombies_free(struct rt *rt);
/* Something arrived, there is room, or it broke. */
void sim_sock_readable(struct rt_sock *s);
void sim_sock_writable(struct rt_sock *s);

/* ---- net.c */
bool sim_machine_has(const struct sim_machine *m, const struct rt_addr *a);
struct sim_machine *sim_machine_at(struct sim *w, struct sim_machine *near, const struct rt_addr *a);
void sim_net_power_off(struct sim_machine *m);
void sim_net_healed(struct sim *w);
void sim_calm_net(struct sim *w);
void sim_net_free(struct sim *w);

/* ---- file.c, disk.c, fs.c: see disk.h too */
void sim_files_drop(struct sim_prog *p);    /* its program dies: what is under way lands later or never */
void sim_host_ios_drop(struct rt_host *h);
/* Whether a file operation of that program is on its way from or into that memory. */
bool sim_ios_use(const struct sim_prog *p, const void *mem, size_t len);
void sim_disk_power_off(struct sim_machine *m);
void sim_ios_free(struct sim_machine *m);
void sim_fs_init(struct sim_machine *m);
void sim_fs_free(struct sim_machine *m);
/* The name of a unix socket. Return: 0, -EADDRINUSE (a file or directory), -ENOENT, -ENOTDIR. */
int sim_fs_socket(struct sim_machine *m, const char *path);
void sim_fs_unsocket(struct sim_machine *m, const char *path);

#endif
