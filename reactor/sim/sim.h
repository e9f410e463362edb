/*
 * sim.h - a world made up from a seed: machines, programs, network, disks, one clock
 *
 * The second backend of rt.h. Everything happens in one process on one thread: time is a number that jumps to the
 * next event, a reactor's turn is an event, a segment that arrives is one, a disk's answer is one. What is drawn
 * (delays, pieces, faults) is drawn from one 64-bit seed, so a world is replayed bit for bit by making it again
 * from the same seed and doing the same to it.
 *
 *     struct sim *w = sim_new(seed);
 *     struct sim_machine *m = sim_machine_new(w, "tgt", 2);
 *     sim_machine_addr(m, "10.0.0.1");
 *     sim_start(m, &target_program, my_arg, &prog);      calls target_program.main(my_arg) as that program
 *     sim_run(w, 10 * RT_S);                             ten seconds of the world's time
 *     sim_kill(prog);
 *     sim_free(w);
 *
 * Who runs as what. Code of a program runs inside main(), stopped(), its reactors' callbacks and rt_work; what it
 * allocates there belongs to the program and goes when it is killed. All other code (hooks, sim_at(), what is between
 * two sim_run()) is outside: it owns what it allocates, and must not call rt.h, except on a reactor through
 * sim_call(), or between sim_enter() and sim_leave().
 *
 * A world belongs to the thread that made it. There may be many worlds on a thread, one after another or side by side:
 * rt.h's functions without a reactor act in the world that runs, or that was entered.
 *
 * Misuse of rt.h (an operation submitted twice or freed while outstanding, a call on the wrong core, a second receive
 * on a stream) ends in an assert that names it. A core that spins without anything happening to it, and a world that
 * does not get away from one instant, end in a message on stderr that names machine and core, and abort().
 *
 * Not simulated: rt_fd_*() and rt_socketpair(), threads (so no data races), io_uring itself, TIME_WAIT.
 */
#ifndef CORELANE_SIM_H
#define CORELANE_SIM_H

#include "reactor/rt.h"
#include "reactor/rt_log.h"

struct sim;                                 /* a world */
struct sim_machine;
struct sim_prog;                            /* one run of a program; valid until sim_free() */
struct sim_conn;                            /* a TCP or unix connection; valid while a hook or sim_conn_each() shows
                                             * it, and else as long as sim_conn_find() finds its id */

/* ---- chance ------------------------------------------------------------------------------------------- */

/* A stream of numbers (splitmix64). The world has its own for network, disks and scheduling, so that a draw more in
 * one does not shift the others; make yours with sim_rng(). */
struct sim_rng {
    uint64_t s;
};
struct sim_rng sim_rng(uint64_t seed, uint64_t stream);
uint64_t sim_rng_next(struct sim_rng *r);
uint64_t sim_rng_below(struct sim_rng *r, uint64_t n);                  /* 0..n-1; 0 for n = 0 */
uint64_t sim_rng_range(struct sim_rng *r, uint64_t lo, uint64_t hi);    /* lo..hi */
bool sim_rng_chance(struct sim_rng *r, uint32_t ppm);                   /* true in ppm of a million draws */

/* ---- a world ------------------------------------------------------------------------------------------ */

struct sim *sim_new(uint64_t seed);         /* aborts for want of memory, as all of the world does */
/* Kills all programs. Accepts NULL. */
void sim_free(struct sim *w);
uint64_t sim_seed(const struct sim *w);
uint64_t sim_now(const struct sim *w);      /* nanoseconds since the world began (it begins at 1 s) */
uint64_t sim_events(const struct sim *w);   /* events run so far */
/* A number made of all events and all bytes moved so far: equal for equal runs. */
uint64_t sim_fingerprint(const struct sim *w);

/* Runs events for @ns of the world's time, or until sim_stop(); the clock is there then. */
void sim_run(struct sim *w, uint64_t ns);
/* Runs until met(arg), asked after each event, or for @ns at most. Return: whether it was met. */
bool sim_run_until(struct sim *w, bool (*met)(void *arg), void *arg, uint64_t ns);
/* Runs one event. Return: false: there is none. */
bool sim_step(struct sim *w);
void sim_stop(struct sim *w);               /* sim_run() returns after this event */

/* Called before each event, outside of any program: it may kill, reset, look. NULL: nobody. */
void sim_on_event(struct sim *w, void (*fn)(void *arg), void *arg);

struct sim_event {                          /* the world's */
    uint64_t at, seq;
    uint32_t place;                         /* in the heap, from 1; 0: not armed */
    void (*fn)(struct sim *w, struct sim_event *ev);
};

/* A call at a time of the world's, outside of any program. Zeroed, fn set; armed anew moves; memory is the caller's
 * and stays put while armed. */
struct sim_timer {
    void (*fn)(struct sim_timer *t);
    struct sim_event ev;
};
void sim_at(struct sim *w, struct sim_timer *t, uint64_t after_ns);
void sim_at_cancel(struct sim *w, struct sim_timer *t);

/* Lines of rt_log() of all programs and of the world itself (RT_DEBUG: what connections, disks, programs and faults
 * do), with the world's time and the place: "    12.345678901 tgt/0 warning: ...". @level: the largest shown.
 * NULL, as at start: nobody listens, and lines cost nothing. */
void sim_log_to(struct sim *w, void (*fn)(void *arg, const char *line), void *arg, enum rt_level level);
/* A line of yours among them. */
void sim_logf(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* How cores take turns. Defaults in parentheses. */
struct sim_sched {
    uint32_t wake_ns, wake_jitter_ns;       /* from when there is something to do to the turn (300, 3,000) */
    uint32_t turn_ns, call_ns;              /* what a turn, and each callback in it, costs (500, 200) */
    uint32_t late_mail_ppm;                 /* a turn does not see its messages yet (100,000) */
    uint32_t hiccup_ppm;                    /* a wake-up takes longer, (50) */
    uint64_t hiccup_ns;                     /* up to so much (2 ms) */
    uint32_t poll_ppm;                      /* a core with pollers does not rest at once, (500,000) */
    uint32_t poll_ns;                       /* but polls again within (20 us) */
    uint64_t work_ns, work_jitter_ns;       /* rt_work(): until it runs, and again until it is back (20 us, 500 us) */
    uint64_t spin_max;                      /* turns in a row that only continue themselves (1,000,000) */
    uint64_t instant_max;                   /* events at one instant (1,000,000) */
};
void sim_sched_get(const struct sim *w, struct sim_sched *out);
void sim_sched_set(struct sim *w, const struct sim_sched *s);

/* ---- machines ----------------------------------------------------------------------------------------- */

/* name: copied, and what rt_resolve() finds its addresses by; cores: CPUs 0..cores-1. It is on. */
struct sim_machine *sim_machine_new(struct sim *w, const char *name, unsigned cores);
/* One more address, a number without port: "10.0.0.1", "fd00::1". 127.0.0.1 and ::1 are there. */
void sim_machine_addr(struct sim_machine *m, const char *number);
const char *sim_machine_name(const struct sim_machine *m);
bool sim_machine_is_on(const struct sim_machine *m);
/* Power loss: programs are gone without a word to their peers; of what was written and not synced any subset of
 * sectors is lost. Not from inside one of its programs. */
void sim_machine_off(struct sim_machine *m);
void sim_machine_on(struct sim_machine *m);  /* nothing runs on it: sim_start() */

/* ---- programs ----------------------------------------------------------------------------------------- */

struct sim_program {
    const char *name;
    /* As the program: makes its host and all that is set up before rt_host_run(), and returns 0 instead of
     * calling it; the reactors run from then on. Otherwise its exit status, and it is over. */
    int (*main)(void *arg);
    /* As the program, once rt_host_stop() was called and the reactors have stopped: frees what main() made, and the
     * host. Then the program is over, and what it has not freed is counted as leaked. */
    void (*stopped)(void *arg);
};

enum sim_prog_state { SIM_RUNNING, SIM_EXITED, SIM_KILLED };

/* arg: kept by the program, owned by the caller. Return: what main() returned; *out (may be NULL) is set in any
 * case. The machine is on (asserted). */
int sim_start(struct sim_machine *m, const struct sim_program *program, void *arg, struct sim_prog **out);
/* As kill -9: its memory is released at once, operations and timers never complete, connections end (peers see their
 * end or a reset), listeners and locks go; writes under way at its disks still land, or do not, as do reads into memory
 * that another program shares (a write from such memory writes what is there by then). From inside the program it
 * happens at the end of the turn. One that does not run is left alone. */
void sim_kill(struct sim_prog *p);
/* As SIGSTOP and SIGCONT: none of its code runs while on, and what comes due meanwhile does so when it goes on; its
 * connections and what is under way at its disks are the kernel's and go on. It can be killed meanwhile. sim_call() must
 * not be used on it. One that does not run is left alone. */
void sim_freeze(struct sim_prog *p, bool on);
bool sim_frozen(const struct sim_prog *p);
/* As kill -SIGNO: rt_signals()'s function is called in a turn to come; without one it is sim_kill(). */
void sim_signal(struct sim_prog *p, int signo);

struct sim_prog_info {
    const char *name;
    struct sim_machine *machine;
    enum sim_prog_state state;
    int status;                             /* what main() returned */
    int32_t pid;                            /* numbers the runs of programs in the world, from 1 */
    uint64_t allocs;                        /* allocations asked for, failed ones included */
    uint64_t blocks, bytes;                 /* allocated now, rt_mem_alloc() included */
    uint64_t bytes_max;                     /* the most there ever were */
    uint64_t heap_bytes, heap_max;          /* the same without rt_mem_alloc(), which is mostly address space */
    uint64_t leaked_blocks, leaked_bytes;   /* left at SIM_EXITED */
};
void sim_prog_info(const struct sim_prog *p, struct sim_prog_info *out);
bool sim_prog_runs(const struct sim_prog *p);
/* The host that it made last, NULL: none (any more). */
struct rt_host *sim_prog_host(const struct sim_prog *p);

/* Calls fn(arg) now on a reactor, as a part of a turn of it. From outside, not from inside any program. */
void sim_call(struct rt *rt, void (*fn)(void *arg), void *arg);
/* The same from a core of the same program, or this very one: for a test's own code, which is to have no core. What a
 * program says to another core it has to post. */
void sim_on(struct rt *rt, void (*fn)(void *arg), void *arg);

/* For tests that turn their reactors themselves with rt_turn(), or call rt_host_run(): what is between these runs as
 * @p. A program with neither main nor stopped is nothing but what is done so. */
void sim_enter(struct sim_prog *p);
void sim_leave(struct sim *w);

/* Allocation number @nth from now on (1: the next) fails, and @more after it (UINT64_MAX: all). 0: none any more. */
void sim_fault_alloc(struct sim_prog *p, uint64_t nth, uint64_t more);
/* Allocations that would lead past so many bytes of heap fail. 0: no limit. */
void sim_prog_limit(struct sim_prog *p, uint64_t heap_bytes);

/* ---- network ------------------------------------------------------------------------------------------
 *
 * A connection is two streams of segments. What a send hands over is cut and joined at any byte; a receive gets what
 * is there. Bytes that cannot get through (a partition, a blackhole, a machine that is off) are sent again until they
 * can, or for tcp_timeout_ns: then the sender gets -ETIMEDOUT and the other end learns nothing.
 */

struct sim_net {
    uint64_t latency_ns, jitter_ns;         /* one way; jitter is on top (30 us, 30 us) */
    uint64_t bytes_per_s;                   /* of each stream; 0: no limit (0) */
    uint32_t window;                        /* bytes that one end can be ahead of the other (256 KiB) */
    uint32_t segment_max;                   /* bytes (64 KiB) */
    uint32_t split_ppm;                     /* a segment is cut at any byte (100,000) */
    uint32_t pause_ppm;                     /* after a segment, the rest of the send comes later (20,000) */
    uint64_t connect_timeout_ns;            /* 127 s */
    uint64_t tcp_timeout_ns;                /* 924 s */
    /* Faults (all 0). Those of segments are drawn for each segment of data that arrives. */
    uint32_t reset_ppm;                     /* both ends see a reset; any part of what is under way may still arrive */
    uint32_t half_close_ppm;                /* the receiver sees the end of the stream; the other way goes on */
    uint32_t blackhole_ppm;                 /* the connection stays and nothing gets through, for up to */
    uint64_t blackhole_ns;
    uint32_t stall_ppm;                     /* this segment and those behind it come later, by up to */
    uint64_t stall_ns;
    uint32_t flip_ppm;                      /* one bit; where sim_on_flip() allows */
    uint32_t refuse_ppm;                    /* connect ends with -ECONNREFUSED */
    uint32_t connect_lost_ppm;              /* connect runs into its timeout */
};
void sim_net_get(const struct sim *w, struct sim_net *out);
void sim_net_set(struct sim *w, const struct sim_net *net);
/* For what goes from one machine to another (or to itself) only; NULL: as the world. */
void sim_net_set_between(struct sim_machine *from, struct sim_machine *to, const struct sim_net *net);

/* One way only; twice for both. Unix sockets are not concerned. */
void sim_partition(struct sim_machine *from, struct sim_machine *to, bool on);
bool sim_partitioned(const struct sim_machine *from, const struct sim_machine *to);

/* One address of a machine: what goes to it, or comes from it, does not get through; both false: it does again. One way
 * to a target that is cut, beside others that are not. */
void sim_addr_cut(struct sim_machine *m, const char *number, bool to, bool from);
/* Each segment that goes there or comes from there takes so much longer. */
void sim_addr_delay(struct sim_machine *m, const char *number, uint64_t ns);

/* The client is end 0, who accepted is end 1. */
struct sim_conn_info {
    uint64_t id;                            /* from 1; never used again */
    struct sim_machine *machine[2];
    struct sim_prog *prog[2];               /* NULL: that end is gone (or not accepted yet: end 1) */
    struct rt_addr addr[2];
    uint64_t bytes[2];                      /* that each end has sent and the other has read */
    bool blackhole;
};
void sim_conn_info(const struct sim_conn *c, struct sim_conn_info *out);
/* In the order of their making. fn may end connections. */
void sim_conn_each(struct sim *w, void (*fn)(void *arg, struct sim_conn *c), void *arg);
struct sim_conn *sim_conn_find(struct sim *w, uint64_t id);     /* NULL: it is over */
unsigned sim_conn_count(const struct sim *w);
/* Called when a connection has been made (seen by the client), before anybody uses it. */
void sim_on_connect(struct sim *w, void (*fn)(void *arg, struct sim_conn *c), void *arg);
/* Asked before a bit of what end @from sent is flipped; nobody asked: none is. */
void sim_on_flip(struct sim *w, bool (*ok)(void *arg, struct sim_conn *c, unsigned from), void *arg);

/* Faults done now. */
void sim_fault_reset(struct sim_conn *c);
/* The stream that @end sends ends, as its receiver sees it. */
void sim_fault_half_close(struct sim_conn *c, unsigned end);
void sim_fault_blackhole(struct sim_conn *c, bool on);
/* One bit of the next segment that arrives from @end; the caller's word replaces sim_on_flip()'s. */
void sim_fault_flip(struct sim_conn *c, unsigned end);
/* Reset once so many more bytes have been taken from @end's sends: in the middle of one, if @bytes is. */
void sim_fault_cut(struct sim_conn *c, unsigned end, uint64_t bytes);

/* ---- disks --------------------------------------------------------------------------------------------
 *
 * A machine has one file system; it survives programs and power losses. A write is in the page cache when its
 * completion comes, or any part of it before; it is stable after a sync that was submitted after that completion.
 * rt_save(), rt_remove(), directories and sizes are stable at once.
 */

struct sim_disk {
    uint64_t latency_ns, jitter_ns;         /* of a read or write (20 us, 200 us) */
    uint64_t sync_ns, sync_jitter_ns;       /* (100 us, 2 ms) */
    uint64_t capacity;                      /* bytes that files may hold; -ENOSPC beyond. 0: no limit (0) */
    /* Faults (all 0), drawn for each operation on an rt_file. */
    uint32_t read_eio_ppm, write_eio_ppm, sync_eio_ppm, enospc_ppm;
    /* A failed write may have landed in any part. What a failed sync should have written is lost at the next
     * power loss, and no later sync says so. */
    uint32_t slow_ppm;                      /* takes longer, by up to */
    uint64_t slow_ns;
    uint32_t torn_ppm;                      /* a write lands in two parts, sectors drawn, at two instants */
    uint32_t save_ppm;                      /* rt_save() fails: -EIO or -ENOSPC, the old file stays */
    uint32_t load_ppm;                      /* rt_load() fails: -EIO */
};
void sim_disk_get(const struct sim_machine *m, struct sim_disk *out);
void sim_disk_set(struct sim_machine *m, const struct sim_disk *d);
/* Only files whose path starts so have faults from now on (copied); NULL: all. */
void sim_disk_faults_in(struct sim_machine *m, const char *prefix);
/* Nothing on its disk completes while on. */
void sim_disk_stall(struct sim_machine *m, bool on);

/* Files from outside: no faults, no time. Directories are made as needed; *out is malloc()ed, NUL-terminated. */
void sim_fs_save(struct sim_machine *m, const char *path, const void *data, size_t len);
int sim_fs_load(struct sim_machine *m, const char *path, char **out, size_t *len);
/* An empty file of that size, sparse. */
void sim_fs_make(struct sim_machine *m, const char *path, uint64_t size);
/* A block device in the same place, as rt_file sees it. */
void sim_fs_make_block(struct sim_machine *m, const char *path, uint64_t size, uint32_t block_len);
/* What a reader would see, and what would be there after a power loss now that keeps nothing it need not keep.
 * Holes and what is past the end read as zeroes. Return: 0 or -ENOENT. */
int sim_fs_peek(struct sim_machine *m, const char *path, void *buf, size_t len, uint64_t off, bool stable);

/* ---- what happened ------------------------------------------------------------------------------------ */

#define SIM_FAULTS(X) /* name, in words */                                                                    \
    X(RESET, "reset")                                                                                        \
    X(CUT, "reset inside a send")                                                                            \
    X(HALF_CLOSE, "half-close")                                                                              \
    X(BLACKHOLE, "blackhole")                                                                                \
    X(PARTITION, "partition")                                                                                \
    X(STALL, "stall")                                                                                        \
    X(FLIP, "bit flip")                                                                                      \
    X(REFUSE, "connect refused")                                                                             \
    X(CONNECT_LOST, "connect lost")                                                                          \
    X(TCP_TIMEOUT, "connection timeout")                                                                     \
    X(KILL, "program killed")                                                                                \
    X(POWER, "power loss")                                                                                   \
    X(ALLOC, "allocation failed")                                                                            \
    X(READ_EIO, "read error")                                                                                \
    X(WRITE_EIO, "write error")                                                                              \
    X(SYNC_EIO, "sync error")                                                                                \
    X(ENOSPC, "no space")                                                                                    \
    X(SLOW_DISK, "slow disk")                                                                                \
    X(TORN, "write in two parts")                                                                            \
    X(LOST_SECTOR, "sectors lost at power loss")                                                             \
    X(LATE_WRITE, "write of a killed program landed")                                                        \
    X(SAVE, "save failed")                                                                                   \
    X(LOAD, "load failed")                                                                                   \
    X(HICCUP, "core held up")                                                                                \
    X(FREEZE, "program frozen")                                                                              \
    X(LATE_READ, "read of a killed program landed")                                                          \
    X(ADDR_CUT, "address cut off")
enum sim_fault {
#define X(name, text) SIM_FAULT_##name,
    SIM_FAULTS(X)
#undef X
    SIM_FAULT_NR
};
const char *sim_fault_name(enum sim_fault f);
uint64_t sim_fault_count(const struct sim *w, enum sim_fault f);
/* Called when a fault happens, before its effects: where it happened, as far as it has a place (m, c may be NULL).
 * Looks only: it must do nothing to the world. */
void sim_on_fault(struct sim *w, void (*fn)(void *arg, enum sim_fault f, struct sim_machine *m, struct sim_conn *c),
                  void *arg);
/* Sets all fault probabilities to 0, ends partitions, cuts and delays of addresses, blackholes, stalls and freezes: for a calm phase. Machines that are off
 * stay off. */
void sim_calm(struct sim *w);

#endif
