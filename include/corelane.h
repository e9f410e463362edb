/*
 * corelane.h - libcorelane: iSCSI disks in your own program
 *
 * One struct corelane is one event loop on one thread: the thread that first calls corelane_poll() or corelane_disk_open() on it is
 * the only one that may use it and its disks from then on. Make one per core. Nothing here blocks but
 * corelane_disk_open(), corelane_disk_close() and corelane_poll() with a timeout.
 *
 *     struct corelane *c;
 *     struct corelane_disk *d;
 *     corelane_new(&c, &(struct corelane_options){ .core = 2 });
 *     if (corelane_disk_open(c, "iscsi://192.0.2.7/iqn.2026-11.org.example:disk/0", NULL, &d))
 *         errx(1, "%s", corelane_error(c));
 *     struct corelane_io io = { .op = CORELANE_READ, .offset = 0, .iov = &iov, .iov_nr = 1, .done = on_done };
 *     corelane_submit(d, &io);
 *     while (!finished)
 *         corelane_poll(c, -1);
 */
#ifndef CORELANE_H
#define CORELANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CORELANE_VERSION "0.1.0"

struct corelane;
struct corelane_disk;

enum corelane_mode { CORELANE_ADAPTIVE, CORELANE_POLLING, CORELANE_INTERRUPT };

struct corelane_options {
    int core;                       /* CPU to pin the calling thread to; -1: leave it where it is */
    enum corelane_mode mode;
    const char *initiator_name;     /* borrowed; NULL: /etc/iscsi/initiatorname.iscsi, else one made up */
};
/* options: NULL for { .core = -1 }. Return: 0 or -errno. */
int corelane_new(struct corelane **out, const struct corelane_options *options);
void corelane_free(struct corelane *c);             /* after its disks were closed; accepts NULL */
/* What went wrong last, in words, with what to do about it. Valid until the next call. */
const char *corelane_error(const struct corelane *c);

enum corelane_transport {
    CORELANE_TRANSPORT_AUTO,            /* shared memory with a Corelane target on this host, else TCP */
    CORELANE_TRANSPORT_TCP,
    CORELANE_TRANSPORT_SHM,             /* shared memory; else opening fails, and corelane_error() says what is in the way */
};

struct corelane_disk_options {
    const char *user, *secret;          /* CHAP; NULL: what the URL says */
    const char *user_in, *secret_in;    /* what the target must prove; NULL: nothing */
    unsigned queue_depth;               /* commands in flight at most; 0: 128 */
    unsigned replacement_timeout_s;     /* how long requests wait for a broken session; 0: 120 */
    bool header_digest, data_digest;    /* CRC32C if the target has it; none over shared memory */
    enum corelane_transport transport;  /* holds for each new login too, when the target comes back */
};
/* url: iscsi://[user%secret@]host[:port]/iqn/lun. Logs in and looks the unit over; returns when the disk is usable
 * or known not to be (at most the login timeout). Return: 0, or -errno with corelane_error(). */
int corelane_disk_open(struct corelane *c, const char *url, const struct corelane_disk_options *options,
                       struct corelane_disk **out);
/* Waits for what is in flight, logs out. Accepts NULL. */
void corelane_disk_close(struct corelane_disk *d);

struct corelane_disk_info {
    uint64_t size;                      /* bytes */
    uint32_t block_len, phys_len;       /* bytes */
    uint32_t io_max;                    /* bytes that go as one command; larger requests are split */
    bool readonly, write_cache, fua, unmap;
    char wwid[256], vendor[9], product[17];
    const char *transport;              /* "tcp", or "shm": memory shared with a target on this host; now: it may change
                                         * when a connection breaks */
    char transport_why[160];            /* why it is that one, in words */
    int core;                           /* the CPU the session runs on; -1: not pinned */
};
void corelane_disk_info(const struct corelane_disk *d, struct corelane_disk_info *out);

enum corelane_op { CORELANE_READ, CORELANE_WRITE, CORELANE_FLUSH, CORELANE_UNMAP, CORELANE_WRITE_ZEROES };
#define CORELANE_FUA 1u                 /* a write is stable when done */

/* ---- several paths to one unit --------------------------------------------------------------------------- */

/* Another way to the disk's unit, over a session of its own: another portal, another transport, or the same again. url as for
 * corelane_disk_open(); the unit has to be the same by its identity (VPD page 0x83), whatever number it has there. Returns
 * when the path is usable or known not to be. From two paths on a request takes the one that the policy says, and one that
 * breaks takes no request with it: they go over the others, once the target can no longer carry them out from before.
 * Return: 0, or -errno with corelane_error(): -EXDEV: it leads to another unit. */
#define CORELANE_PATHS_MAX 32u
int corelane_path_add(struct corelane_disk *d, const char *url, const struct corelane_disk_options *options);
unsigned corelane_path_count(const struct corelane_disk *d);     /* counted from 0, in the order in which they came */
/* Takes a path out of use, or back into it. */
int corelane_path_fail(struct corelane_disk *d, unsigned index, bool fail);
/* "least-queue-depth" (where it starts), "round-robin", "service-time", "failover-only", "weighted". */
int corelane_disk_policy(struct corelane_disk *d, const char *policy);
struct corelane_path_info {
    const char *state;                  /* "active", "down", "suspect", "marginal", "failed", "quarantine", "moving" */
    const char *transport;              /* as in corelane_disk_info */
    bool in_use;
    char portal[300];
    uint64_t requests, read_bytes, write_bytes, errors;
    uint64_t failovers;                 /* requests that were taken back from it */
    uint64_t latency_ns;                /* a moving mean */
    uint32_t in_flight;
    char why[160];                      /* why it is in that state; empty while it is active */
};
int corelane_path_info(const struct corelane_disk *d, unsigned index, struct corelane_path_info *out);

/* One request; yours until done is called, once, from corelane_poll(). */
struct corelane_io {
    enum corelane_op op;
    unsigned flags;
    uint64_t offset, length;            /* bytes, multiples of block_len; length of a read or write: what iov holds */
    const struct iovec *iov;            /* kept until done */
    unsigned iov_nr;
    void (*done)(struct corelane_io *io, int res);   /* 0 or -errno */
    void *user;
    uint64_t reserved[176];             /* the library's */
};
/* Return: 0, or -EINVAL for what can never be right (range, alignment, read-only): done is not called then. */
int corelane_submit(struct corelane_disk *d, struct corelane_io *io);

/* Memory for requests to this disk, on a page boundary, of whatever was in it before. Over shared memory a read or write
 * whose data lie in one such buffer is not copied between the two processes; from memory of your own it costs one copy.
 * Over TCP it is memory like any other. Use it as you like while no request has it, but for one thing: while a request has
 * part of a page, nobody else may write to the rest of that page, no other thread, nor the kernel for another file. The
 * target can write to it at any time: who does not trust the target copies what it is going to look at more than once. Give
 * it back before the disk is closed. NULL: no memory. */
void *corelane_buffer_alloc(struct corelane_disk *d, size_t length);
void corelane_buffer_free(struct corelane_disk *d, void *buffer, size_t length);

/* Runs what is ready; waits for something if nothing is: timeout_us 0 does not wait, -1 waits without limit.
 * Return: how many requests finished, or -errno. */
int corelane_poll(struct corelane *c, int64_t timeout_us);

/* Counters of the loop: nanoseconds busy, polling and asleep since the start. */
void corelane_cpu(const struct corelane *c, uint64_t *busy_ns, uint64_t *poll_ns, uint64_t *sleep_ns);

#ifdef __cplusplus
}
#endif

#endif
