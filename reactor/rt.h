/*
 * rt.h - the reactor: one event loop a core, and the only door to the outside
 *
 * Everything that a session, a target or an export wants of the world (time, timers, randomness, sockets,
 * files, blocking calls, messages to another core) goes through this header. Two backends stand behind it:
 * uring/ over io_uring, and sim/, a network, disk and clock made up from a seed; that is why nothing here shows a file descriptor except where a kernel interface has to be
 * given one (rt_fd_*), and those are for the export room alone.
 *
 * Rules that hold for every function, unless its docstring says otherwise:
 * - It is called on the reactor's own core (rt_assert_here()), never blocks and never allocates once the
 *   object it works on exists.
 * - An operation is a struct rt_op that the caller embeds in its own object. The caller sets op->done and
 *   submits; done is called exactly once, from rt_turn() and never from inside the submitting call, with a
 *   count or 0 on success and -errno on failure. Until then the op, and the memory it names, stay put.
 * - A completion may free the object that holds the op: the reactor does not touch an op after done.
 */
#ifndef CORELANE_RT_H
#define CORELANE_RT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <netinet/in.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define RT_CACHE_LINE 64
#define RT_US 1000ull                       /* nanoseconds in a microsecond */
#define RT_MS (1000ull * RT_US)
#define RT_S (1000ull * RT_MS)

struct rt;                                  /* one reactor; used by the thread that turns it */
struct rt_host;                             /* the reactors of one program */
struct rt_op_type;                          /* how one kind of operation is made: the reactor's */

/* ---- hosts and reactors ------------------------------------------------------------------------------ */

enum rt_mode {
    RT_MODE_ADAPTIVE,                       /* poll while there is work and poll_us longer, then sleep; polls
                                             * that find nothing time after time are left off for a while */
    RT_MODE_POLL,                           /* never sleep */
    RT_MODE_INTERRUPT,                      /* sleep whenever there is nothing to do */
};

struct rt_conf {
    const int *cores;                       /* borrowed; CPU number of each reactor, -1: not pinned */
    unsigned cores_nr;                      /* 1..RT_CORES_MAX */
    enum rt_mode mode;
    uint32_t poll_us;                       /* adaptive: microseconds to poll after the last work; 0: default */
    uint32_t entries;                       /* operations in flight per submission batch; 0: default */
    bool lock_memory;                       /* mlockall() and PR_SET_IO_FLUSHER: for a daemon in a write-out path */
};
#define RT_CORES_MAX 1024

/**
 * rt_host_new - make the reactors of a program; nothing runs yet
 * @out:  taken by the caller, who will rt_host_free() it
 * @conf: borrowed
 *
 * Any thread; blocks for set-up. Return: 0, or -errno (-EINVAL for a core that is not there or not allowed,
 * -ENOSYS or -EPERM where the kernel refuses io_uring, having logged what to do).
 */
int rt_host_new(struct rt_host **out, const struct rt_conf *conf);

/* Stops nothing: call it after rt_host_run() returned. Accepts NULL. */
void rt_host_free(struct rt_host *h);

/* Runs all reactors until rt_host_stop(): the first on the calling thread, the others on threads of their
 * own. Once for a host. Return: 0, or -errno if a thread or ring could not be made. */
int rt_host_run(struct rt_host *h);

/* Asks rt_host_run() to return; any thread. Operations in flight are abandoned: stop services first. */
void rt_host_stop(struct rt_host *h);

unsigned rt_host_count(const struct rt_host *h);
struct rt *rt_host_at(struct rt_host *h, unsigned index);

/**
 * rt_turn - run one turn of a reactor that no rt_host_run() runs: for a library driven by its caller
 * @wait_ns: how long to wait for something to happen when there is nothing to do; 0 does not wait,
 *           UINT64_MAX waits without limit; in RT_MODE_POLL the wait is spent polling
 *
 * Always on one and the same thread, the first that called it for this reactor.
 * Return: how many completions, timers and messages ran, or -errno.
 */
int rt_turn(struct rt *rt, uint64_t wait_ns);

unsigned rt_index(const struct rt *rt);     /* place in the host, 0.. */
int rt_core(const struct rt *rt);           /* CPU number, -1: not pinned */
struct rt_host *rt_host_of(const struct rt *rt);
enum rt_mode rt_mode(const struct rt *rt);
void rt_set_mode(struct rt *rt, enum rt_mode mode, uint32_t poll_us);   /* any thread */
/* The reactor that this thread turns (between its turns too; the last, if it turns several), or NULL. */
struct rt *rt_self(void);
#define rt_assert_here(rt) assert(rt_self() == (rt))

/* Counters since start, nanoseconds and counts; any thread, a snapshot without promise of one instant.
 * busy_ns: in turns that did something; poll_ns: in turns that found nothing; sleep_ns: asleep. */
struct rt_stats {
    uint64_t busy_ns, poll_ns, sleep_ns;
    uint64_t turns, ops, enters, sleeps, messages, timers;
};
void rt_stats(const struct rt *rt, struct rt_stats *out);

/* ---- time, randomness, memory ------------------------------------------------------------------------ */

/* Monotonic nanoseconds, read once a turn: cheap, and up to a turn old. In a poller's poll it is what the turn before
 * read, or, of passes that found nothing since, one of the last few: a microsecond older at most. */
uint64_t rt_now(const struct rt *rt);
/* Monotonic nanoseconds right now: for measuring a latency. */
uint64_t rt_clock(const struct rt *rt);
/* Seconds since 1970, for printing only. */
uint64_t rt_wall_s(const struct rt *rt);

struct rt_timer {
    void (*fn)(struct rt_timer *t);         /* set by the caller */
    uint64_t at;                            /* the rest is the reactor's */
    struct rt_timer *child, *next, *prev;   /* a heap: arming allocates nothing */
    uint32_t slot;                          /* 0: not armed */
};
/* Calls t->fn once, after_ns from now or later. An armed timer is moved. */
void rt_timer_arm(struct rt *rt, struct rt_timer *t, uint64_t after_ns);
/* Not armed is fine. After it returns fn will not be called. */
void rt_timer_disarm(struct rt *rt, struct rt_timer *t);
bool rt_timer_armed(const struct rt_timer *t);
/* Takes a timer off its reactor, armed or not, for rt_timer_enter() on another of the same host, where it is due when it
 * would have been; in between it is not armed, and nobody's. Each on its reactor's core. */
void rt_timer_leave(struct rt *rt, struct rt_timer *t);
void rt_timer_enter(struct rt *rt, struct rt_timer *t);

/* Unpredictable bytes (getrandom(2)); aborts the program if the kernel has none. */
void rt_random(struct rt *rt, void *buf, size_t len);

/* Page-aligned, zeroed, in huge pages where @len is large and the system has them; on the reactor's NUMA
 * node where there are several. Any thread, set-up only. NULL: no memory. */
void *rt_mem_alloc(size_t len);
void rt_mem_free(void *mem, size_t len);
/* Gives whole pages of it back; they read as zeroes from now on. Any thread. False, and nothing changed, where
 * memory is locked. */
bool rt_mem_drop(void *mem, size_t len);
/* Has the pages of it moved to the NUMA node of that reactor's core, and new ones taken from there, as far as the system
 * can and lets us: same address, same bytes, whoever else has it. Begins on a page boundary. Blocks while they are copied,
 * a fraction of a millisecond for a MiB. On the reactor. Return: false: there is nothing to be had by it, one node as a
 * rule. */
bool rt_mem_move(void *mem, size_t len, struct rt *rt);
uint64_t rt_mem_total(void);                /* bytes that the machine has, in use or not */
/* This process and its effective user. */
int32_t rt_pid(void);
uint32_t rt_uid(void);

/* ---- messages and blocking work ---------------------------------------------------------------------- */

/* A call to be made on another (or the same) core. Messages from one core to another arrive in order. */
struct rt_msg {
    void (*fn)(struct rt_msg *m);           /* runs on the receiver; m is its again */
    struct rt_msg *next;                    /* the reactor's */
};
/* Any thread; m stays put until fn is called. */
void rt_post(struct rt *to, struct rt_msg *m);

/* A call that may block (name look-up, mount, file save), made on a helper thread. */
struct rt_work {
    void (*run)(struct rt_work *w);         /* on a helper thread: touches only what w owns */
    void (*done)(struct rt_work *w);        /* on the reactor that submitted it */
    struct rt *rt;                          /* the reactor's */
    struct rt_msg msg;
    struct rt_work *next;
};
/* What was given here is run before rt_host_free() returns; done may then never come. */
void rt_work(struct rt *rt, struct rt_work *w);

/* Calls fn(arg, signo) on this reactor for each of the signals, which are blocked in all threads from now
 * on. Before rt_host_run(), once for a host. signals: 0-terminated. */
int rt_signals(struct rt *rt, const int *signals, void (*fn)(void *arg, int signo), void *arg);

/* ---- operations -------------------------------------------------------------------------------------- */

/* Zeroed before its first use, and left alone by the caller while it is outstanding. */
struct rt_op {
    void (*done)(struct rt_op *op, int res);
    const uint8_t *buf;                     /* rt_recv_shared(): the bytes, during done only */
    /* The rest is the reactor's. */
    struct rt *rt;
    struct rt_op *next, *prev;
    const struct rt_op_type *type;
    void *obj;                              /* the socket or file it works on */
    union {
        struct { const struct iovec *iov; uint64_t off; } rw;
        struct { struct rt_sock **out; struct rt_addr *peer; } conn;
        struct { uint64_t off, len; } range;
        uint8_t cmd[16];
    } u;
    uint32_t n, skip;                       /* iovecs left, bytes done of the first of them */
    uint32_t moved;                         /* bytes done of all of them */
    int32_t fd, res;
    uint16_t flags, buf_id;
    uint8_t stage;
};

/* Asks for an early end. done still comes, with -ECANCELED or with how the operation ended before. */
void rt_cancel(struct rt_op *op);

/* Completes in a coming turn with 0: to continue later without growing the stack. */
void rt_defer(struct rt *rt, struct rt_op *op);

/* Completes with 0 at the end of this very turn, after its completions, timers and messages have run and
 * before the ring is entered: to put what one turn produced into one send. What it queues with rt_turn_end()
 * again runs in the next turn. */
void rt_turn_end(struct rt *rt, struct rt_op *op);

/* ---- pollers ----------------------------------------------------------------------------------------- */

/* Looks, in each pass of the reactor, for work that no operation brings: a ring in memory that another process
 * writes. The caller embeds it and sets both functions. */
struct rt_poller {
    /* Does a bounded amount of what there is. Return: whether there was any. It may add and delete pollers, itself
     * too. */
    bool (*poll)(struct rt_poller *p);
    /* @asleep true: the reactor is about to sleep; from now on who has work for it has to wake it, by something that
     * an outstanding operation waits for (a byte on a socket). Return: false when there is work already: it does
     * not sleep then. @asleep false: it is awake again (also after one of the others said false); what is returned
     * does not matter. */
    bool (*rest)(struct rt_poller *p, bool asleep);
    struct rt_poller *next, *prev;          /* the reactor's */
};
void rt_poller_add(struct rt *rt, struct rt_poller *p);
void rt_poller_del(struct rt *rt, struct rt_poller *p);

/* ---- memory that two processes share ------------------------------------------------------------------- */

/* An anonymous file in memory, sealed against shrinking and growing, that nobody finds who was not given it. Not a
 * core's: any thread may call these, one at a time for one rt_shm. */
struct rt_shm;

/* Made, zeroed, and mapped; in huge pages where the system gives them to such memory. @len: bytes, a multiple of 4096.
 * Blocks shortly (longer where memory is locked: all of it is touched). Return: 0 or -errno. */
int rt_shm_new(struct rt_shm **out, size_t len);
/* Maps what came over a socket (rt_recv_shm()). It is believed nothing: it has to be such a memory, sealed against
 * shrinking, growing and further seals, of a size that is @len_min..@len_max bytes, so that no access can fault later
 * whatever the giver does. Blocks as rt_shm_new(). Return: 0, -EINVAL (not such a memory), -EPERM (not sealed), -EFBIG (size),
 * or -errno. */
int rt_shm_map(struct rt_shm *shm, size_t len_min, size_t len_max);
void *rt_shm_mem(const struct rt_shm *shm);                       /* NULL: not mapped */
size_t rt_shm_len(const struct rt_shm *shm);                      /* bytes */
/* Takes whole pages away from who else has it: the bytes at @off (bytes, page multiples, as @len) are from now on ours
 * alone, at the same address and unchanged, and what the other end still reads or writes there is no longer what we
 * see. It cannot be taken back. Return: 0 or -errno (nothing changed). */
int rt_shm_revoke(struct rt_shm *shm, size_t off, size_t len);
void rt_shm_free(struct rt_shm *shm);                             /* accepts NULL; no operation may use it any more */

/* Makes file operations of this reactor from and into that memory cheaper (registered buffers), as far as the kernel
 * and its limits allow; else nothing changes. Begins with the first of them. Mapped; undone before rt_shm_free(). On the
 * reactor. */
void rt_shm_pin(struct rt *rt, struct rt_shm *shm);
void rt_shm_unpin(struct rt *rt, struct rt_shm *shm);

/* What tells this start of this machine from all others: 36 characters and a NUL; "" when it cannot be had. */
#define RT_BOOT_ID_LEN 36u
void rt_boot_id(char out[static RT_BOOT_ID_LEN + 1]);

/* ---- sockets ----------------------------------------------------------------------------------------- */

struct rt_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
};
#define RT_ADDR_STR_MAX 128
/* "192.0.2.1:3260", "[2001:db8::1%eth0]:3260", "/run/x.sock". A missing port is @port. Numbers only: a host
 * name is -EINVAL here and goes to rt_resolve(). */
int rt_addr_parse(struct rt_addr *out, const char *text, uint16_t port);
void rt_addr_format(const struct rt_addr *a, char out[static RT_ADDR_STR_MAX]);
bool rt_addr_equal(const struct rt_addr *a, const struct rt_addr *b);

/* Looks up a host name (or number) without blocking the core. */
struct rt_resolve {
    struct rt_work work;                    /* done is set by the caller; the rest by rt_resolve() */
    char host[256];                         /* filled by the caller; IPv6 numbers without brackets */
    uint16_t port;
    int err;                                /* at done: 0, or -errno (-ENOENT: no such name) */
    struct rt_addr addr[8];                 /* at done: what was found, in the order to try */
    unsigned addr_nr;
};
void rt_resolve(struct rt *rt, struct rt_resolve *r);

struct rt_sock;                             /* a listener or a stream; belongs to one reactor at a time */

/* Set-up; may be called before the host runs. A unix socket is made with mode 0600 from its first instant,
 * over a stale one nobody listens on. On a thread that turns no reactor an address in use is waited for, up to 10 s:
 * a killed process's may be so for a moment after its end. Return: 0 or -errno. */
int rt_listen(struct rt *rt, const struct rt_addr *at, struct rt_sock **out);
/* The address a socket is bound to, with the port the kernel chose. */
int rt_sock_addr(const struct rt_sock *s, struct rt_addr *local);
/* uid and pid of a unix socket's peer, read on the accepted socket. */
int rt_sock_peercred(const struct rt_sock *s, uint32_t *uid, int32_t *pid);

/* done: 0 with *out taken by the caller and *peer filled (both stay put until then), or -errno. One may be
 * outstanding on a listener. Errors of single connections and a lack of descriptors do not surface: the
 * first are skipped, the second is waited out. */
void rt_accept(struct rt_sock *listener, struct rt_op *op, struct rt_sock **out, struct rt_addr *peer);
/* done: 0 with *out taken by the caller, or -errno. *to is copied. TCP: TCP_NODELAY is set. */
void rt_connect(struct rt *rt, struct rt_op *op, const struct rt_addr *to, struct rt_sock **out);

/* One receive and one send may be outstanding on a stream at a time.
 * rt_recv: into the caller's iovecs (kept until done); done: 1..len, 0: the peer closed, or -errno.
 *          With RT_RECV_ALL it completes only when all is filled, or on end or error with less.
 * rt_recv_shared: into a buffer of the reactor's; done: the count, with the bytes at op->buf during done
 *          only. An idle stream costs no memory this way. -ENOBUFS does not surface: it is retried.
 * rt_send: all of the iovecs (the array and the memory kept until done); done: the total, or -errno. A
 *          short count means the stream broke. No SIGPIPE. */
#define RT_RECV_ALL 1u
#define RT_RECV_SHARED_MAX (128u * 1024)
#define RT_IOV_MAX 512u
void rt_recv(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, unsigned flags);
void rt_recv_shared(struct rt_sock *s, struct rt_op *op);
void rt_send(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n);

/* Over a unix stream, bytes together with memory that is shared from then on. One such message at a time each way.
 * rt_send_shm: as rt_send; the @nr memories (1..RT_SHM_PASS_MAX, kept until done) stay the caller's.
 * rt_recv_shm: as rt_recv with RT_RECV_ALL; at done those that came are @shm[0..@*nr), the caller's to rt_shm_free(), not
 *          mapped yet, whatever the result is. More than RT_SHM_PASS_MAX, or anything that is not memory, is closed
 *          and counts as -EPROTO. */
#define RT_SHM_PASS_MAX 2u
void rt_send_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm *const *shm,
                 unsigned nr);
void rt_recv_shm(struct rt_sock *s, struct rt_op *op, const struct iovec *iov, unsigned n, struct rt_shm **shm,
                 unsigned *nr);
/* True for a TCP stream whose two ends have the same address, or are both in 127.0.0.0/8 (which talk to each other from
 * 127.0.0.1), so this very host is the peer. */
bool rt_sock_same_host(const struct rt_sock *s);

/* Ends both directions at once; outstanding operations complete with an error. */
void rt_sock_shutdown(struct rt_sock *s);
/* Gives the socket up. Outstanding operations complete with an error after it returns; the handle is not to
 * be used again. Accepts NULL. */
void rt_sock_close(struct rt_sock *s);
/* Once it is closed, what was sent and has not reached the peer is thrown away, where the kernel would go on sending it for
 * minutes; the peer sees a reset, where it can. */
void rt_sock_abort(struct rt_sock *s);
/* Hands a socket without outstanding operations to another reactor; called on the old one, used on the new. */
void rt_sock_move(struct rt_sock *s, struct rt *to);

/* A connected pair of stream sockets; *theirs is a plain descriptor for a kernel driver or another process,
 * given to the caller. */
int rt_socketpair(struct rt *rt, struct rt_sock **ours, int *theirs);

/* ---- files ------------------------------------------------------------------------------------------- */

struct rt_file;                             /* a file or block device, usable from every core of the host */

#define RT_FILE_WRITE 1u                    /* else read only */
#define RT_FILE_CREATE 2u                   /* make it, mode 0600, if it is not there */
#define RT_FILE_DIRECT 4u                   /* O_DIRECT where it works; see rt_file_info.dio_align */
#define RT_FILE_EXCL 8u                     /* refuse one that is mounted, held, or locked by another opening */

struct rt_file_info {
    uint64_t size;                          /* bytes */
    uint32_t block_len;                     /* bytes; logical block of a device, 512 for a file */
    uint32_t phys_len;                      /* bytes; physical block */
    uint32_t dio_align;                     /* bytes; of offset, length and memory; 1: buffered, any will do */
    bool block_dev;
    bool regular;
    bool discard;                           /* hole punching or discard is there */
};
/* Blocks; call it from rt_work or at set-up. Follows no symlink in the last component's place.
 * RT_FILE_EXCL: a file is locked until closed, whatever name it was opened by: alone when for writing, beside
 * other readers else. The hold of a process that was killed ends with the last operation that the kernel still
 * had of it: it is waited for, up to 10 s, before -EBUSY, unless this very process is who holds it. A file system
 * without locks gets none. */
int rt_file_open(const char *path, unsigned flags, struct rt_file **out);
int rt_file_stat(struct rt_file *f, struct rt_file_info *out);   /* blocks shortly */
int rt_file_set_size(struct rt_file *f, uint64_t size);          /* regular files; blocks shortly */
void rt_file_close(struct rt_file *f);                           /* after its operations ended; accepts NULL */

/* done: bytes moved (short at the end of the file), or -errno. Offsets in bytes. */
void rt_file_read(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n, uint64_t off);
void rt_file_write(struct rt *rt, struct rt_file *f, struct rt_op *op, const struct iovec *iov, unsigned n, uint64_t off);
/* Data and the metadata needed to find it are stable when done says 0. */
void rt_file_sync(struct rt *rt, struct rt_file *f, struct rt_op *op);
enum rt_falloc { RT_FALLOC_PUNCH, RT_FALLOC_ZERO };
/* A range of holes that read as zeroes (punch), or zeroes that stay allocated (zero). done: 0, or -errno
 * (-EOPNOTSUPP: write zeroes instead). Works on block devices too (discard, write zeroes). */
void rt_file_falloc(struct rt *rt, struct rt_file *f, struct rt_op *op, enum rt_falloc how, uint64_t off, uint64_t len);

/* Whole small files, blocking: call them from rt_work or at set-up.
 * rt_load: *out is NUL-terminated, given to the caller to free(). -EFBIG above len_max.
 * rt_save: written beside, synced, renamed over the old: old or new, never half; mode as given from creation. -EINVAL
 * where something else than a regular file has the name, which is left alone. */
int rt_load(const char *path, size_t len_max, char **out, size_t *len);
int rt_save(const char *path, const void *data, size_t len, unsigned mode);
/* Removes what rt_save() to @base in @dir (NULL: to any file there) left when its process died half way. At set-up, while
 * nobody saves there. */
void rt_save_sweep(const char *dir, const char *base);
int rt_remove(const char *path);            /* gone for good when it says 0; one that was not there is */
/* Directories as needed, each with @mode. */
int rt_mkdirs(const char *path, unsigned mode);
int rt_rmdir(const char *path);             /* an empty one; else -ENOTEMPTY */
/* fn for each name in a directory, in no order, without "." and ".."; it must not change the directory. */
int rt_dir_each(const char *path, void (*fn)(void *arg, const char *name), void *arg);
enum rt_kind { RT_KIND_FILE, RT_KIND_DIR, RT_KIND_OTHER };
int rt_kind(const char *path);              /* enum rt_kind (a link is OTHER), or -errno */

/* ---- kernel drivers (for the export room only: nothing simulates these) ------------------------------- */

/* done: poll(2) events that are ready, or -errno. One shot. */
void rt_fd_poll(struct rt *rt, struct rt_op *op, int fd, short events);
/* IORING_OP_URING_CMD with 16 bytes of command, as ublk's queues use. */
void rt_fd_uring_cmd(struct rt *rt, struct rt_op *op, int fd, uint32_t cmd_op, const void *cmd16);

#endif
