/*
 * disk.h - a disk is a set of paths
 *
 * What is exported or opened is never a session's LUN but a disk. Paths join by identity (the wwid of VPD page
 * 0x83), never by number; it is looked at again after each login and each unit attention that may change it, and a path that
 * leads elsewhere is put in quarantine. A disk lives on one core, where its requests come from; its paths on the cores of
 * their sessions, which are reached by messages where they are others.
 */
#ifndef CORELANE_MPIO_DISK_H
#define CORELANE_MPIO_DISK_H

#include "mpio/nexus.h"
#include "mpio/policy.h"

struct mpio_disk;

enum mpio_event {
    MPIO_RESIZED, MPIO_FAILED,
    MPIO_PAUSED, MPIO_RESUMED,              /* no path can be used: requests wait; one can again */
    MPIO_PATH_CHANGED,                      /* a path's state did: mpio_disk_path_info() says how */
};
/* Makes a disk that has no path yet; mpio_disk_join() gives it its first, and with it its identity and size. The disk
 * lives on @rt. conf: copied, NULL: the defaults. event may be NULL; @why: NULL or what happened, in words, for logs and
 * events. Return: 0 or -ENOMEM. */
int mpio_disk_new(struct mpio_disk **out, struct rt *rt, const struct mpio_conf *conf,
                  void (*event)(void *user, enum mpio_event ev, const char *why), void *user);
void mpio_disk_free(struct mpio_disk *d);   /* nothing in flight and no path left (asserted); accepts NULL */

/* Takes a path in. It stays the caller's, and open until it has left. done: 0; -EXDEV: it leads to another unit than the
 * disk's, -EMEDIUMTYPE: the same name with another block length; -EEXIST: it is in a disk: it is not taken in, @why says
 * what differs. Several at once are fine. On the disk's core. */
void mpio_disk_join(struct mpio_disk *d, struct mpio_path *p, void (*done)(void *user, int err, const char *why),
                    void *user);
/* Lets a path go: nothing new is sent over it; what is under way there is answered, or taken back and sent over another as
 * after a failure. done() when no request has to do with it any more, its writes that ended in an error included, and its
 * session has the memory back that came from it. The last path goes whatever was left of its writes: nothing newer is sent
 * after it but by another that joins, for which the caller has to have settled that (its session logged in again, or
 * out). On the disk's core. */
void mpio_disk_leave(struct mpio_disk *d, struct mpio_path *p, void (*done)(void *user), void *user);

const struct ini_lun_info *mpio_disk_info(const struct mpio_disk *d);       /* the first path joined, or NULL */
struct rt *mpio_disk_rt(const struct mpio_disk *d);
/* From the next request on. */
void mpio_disk_conf_set(struct mpio_disk *d, const struct mpio_conf *conf);
const struct mpio_conf *mpio_disk_conf(const struct mpio_disk *d);
/* `path fail`: it gets nothing more, and what is under way goes elsewhere, until `path reinstate`, which also ends its time
 * as a marginal one. */
void mpio_disk_path_admin(struct mpio_disk *d, struct mpio_path *p, bool failed);
/* @prio: the larger the better, among paths of the same ALUA state; 0: by that state. @weight: 1.., of `weighted` and
 * `service-time`. */
void mpio_disk_path_weight(struct mpio_disk *d, struct mpio_path *p, unsigned prio, unsigned weight);

enum mpio_path_state {
    MPIO_PATH_UP, MPIO_PATH_DOWN,           /* down: no session */
    MPIO_PATH_SUSPECT,                      /* has not answered for a while: gets nothing new while others can */
    MPIO_PATH_MARGINAL,                     /* fails too often: gets nothing while others can */
    MPIO_PATH_FAILED,                       /* by the administrator */
    MPIO_PATH_QUARANTINE,                   /* leads to another unit now: never used */
    MPIO_PATH_MOVING,
};
extern const char *const mpio_path_state_names[];       /* "active", "down", "suspect", "marginal", "failed", ... */
const char *mpio_alua_name(uint8_t state);              /* an ini_alua's: "active/optimized", "standby", ... */
struct mpio_path_info {
    enum mpio_path_state state;
    struct ini_alua alua;
    unsigned group, prio, weight;           /* group: 0 is the one in use where it can be */
    bool in_use;                            /* requests go over it now */
    uint64_t requests, read_bytes, write_bytes, errors, failovers, downs;   /* failovers: requests taken back from it */
    uint32_t in_flight, nexus_in_flight;    /* of this disk; of all over the session */
    uint64_t in_flight_bytes, nexus_in_flight_bytes;
    uint64_t latency_ns;                    /* a moving mean of this disk's requests over it */
    char why[160];                          /* why it is in that state; empty where it is up */
};
/* On the disk's core. */
unsigned mpio_disk_paths_nr(const struct mpio_disk *d);
struct mpio_path *mpio_disk_path(const struct mpio_disk *d, unsigned i);
void mpio_disk_path_info(const struct mpio_disk *d, const struct mpio_path *p, struct mpio_path_info *out);

struct mpio_io {
    struct ini_io io;                       /* op, flags, off, len, iov filled by the caller; its done is the disk's */
    void (*done)(struct mpio_io *io, int res);
    void *disk_user;                        /* the caller's, left alone */
    /* The disk's from here on. */
    struct mpio_disk *disk;
    struct mpio_path *path;                 /* the one it is on, or was last */
    struct rt_msg msg;
    uint64_t start_ns, sent_ns, seq;
    uint32_t fence;                         /* may still be carried out by @path until its nexus has come to this login */
    uint8_t place;                          /* which list it is in */
    uint8_t tries;
};
/* Gives the disk up, for good: its requests end with @err soon, whether or not its targets can be reached, and
 * new ones at once. See ini_lun_abandon(). On the disk's core. */
void mpio_disk_fail(struct mpio_disk *d, int err);
/* With no path left and requests waiting: `fail` ends those that wait now, and new ones from now on until a path is back.
 * Return: whether there is none. */
bool mpio_disk_no_path_fail(struct mpio_disk *d);
/* On the disk's core. Range and alignment are checked (-EINVAL, -EROFS for a write to a read-only disk); done is never called from inside. */
void mpio_submit(struct mpio_disk *d, struct mpio_io *io);

/* Buffers for its requests, as ini_buf_get() and the others of ini.h give them. On the disk's core. */
void *mpio_buf_get(struct mpio_disk *d, size_t len);
void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len);
bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len);

struct mpio_stats {
    uint64_t reads, writes, others, read_bytes, write_bytes, errors;
    uint64_t failovers, waited;             /* requests that changed paths; that found none */
    uint32_t in_flight;
    bool failing; /* there is no path, and requests do not wait for one */
};
void mpio_stats(const struct mpio_disk *d, struct mpio_stats *out);

#endif
