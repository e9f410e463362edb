/*
 * export_internal.h - what the files of the export room share; nobody else includes it
 *
 * An export is a state of its own kind (struct ublk, nbd, fuse) behind one struct exp. What may wait for the
 * kernel is a job: a function on a helper thread that owns the kind's control fields until its continuation
 * runs on the disk's core. There is one job of an export at a time.
 *
 * The kernel drivers want descriptors, ioctls, mounts and netlink, which the reactor's interface does not
 * have: nothing simulates a kernel. Those calls are made from jobs alone; what the reactor's core itself does
 * is read and answer /dev/fuse, which never blocks.
 */
#ifndef CORELANE_EXPORT_INTERNAL_H
#define CORELANE_EXPORT_INTERNAL_H

#include <linux/limits.h>

#include "export/export.h"

#define EXP_NAME_LEN_MAX 240u               /* bytes; a file name with room for a suffix */
#define EXP_QUEUE_DEPTH 128u
#define EXP_QUEUE_DEPTH_MAX 1024u
#define EXP_BLOCK_LEN_MAX 4096u             /* bytes; a Linux block device has none larger than a page */
#define EXP_NOTE_MAX 256

struct exp_ops {
    enum exp_kind kind;
    const char *best;                       /* why somebody would take it, when nothing better was refused */
    /* On the core. Starts; exp_opened() follows, never from inside. On failure nothing is left of it but
     * what free() takes. */
    void (*open)(struct exp *e);
    /* Tells the kernel e->size; exp_resize_done() follows. NULL: nothing to tell. */
    void (*resize)(struct exp *e);
    void (*memory)(struct exp *e);          /* while open: exp_memory_look(); may be NULL */
    /* exp_closed() follows; with an error all is as before. */
    void (*close)(struct exp *e);
    void (*free)(struct exp *e);            /* after a failed open and after a close; priv may be NULL */
    void (*cleanup)(const char *run_dir);   /* may be NULL */
    void (*unblock)(const char *run_dir);   /* may be NULL */
};
extern const struct exp_ops exp_ublk, exp_nbd, exp_fuse, exp_none;

struct exp {
    const struct exp_ops *ops;
    void *priv;                             /* the kind's */
    struct rt *rt;
    struct mpio_disk *disk;
    const struct exp_ops *const *row;       /* kinds left to try */
    bool any;                               /* EXP_AUTO */
    bool open, closing, force, lost;
    bool failing;                           /* requests are answered -EIO from now on */
    bool readonly;
    uint32_t queue_depth;
    uint32_t block_len;                     /* bytes; fixed while the export lives */
    uint64_t size;                          /* bytes; as told to the kernel, or about to be */
    char wwid[SCSI_WWID_MAX];               /* of the disk; may be empty */
    char name[EXP_NAME_LEN_MAX + 1];
    char run_dir[PATH_MAX];
    char path[256];                         /* of the device, once it is there */
    char note[EXP_NOTE_MAX];                /* why the last step failed, or what is to be said about success */
    char why[512];

    bool busy;                              /* opening, resizing or closing */
    bool want_resize, want_close;
    struct rt_work work;                    /* the job */
    int (*job)(struct exp *e);
    bool job_alone;
    void (*then)(struct exp *e, int err);
    int job_err;
    struct rt_op defer;

    void (*opened)(void *user, const struct exp_result *r);
    void (*event)(void *user, enum exp_event ev);
    void *user;
    void (*closed)(void *user, int err, const char *why);
    void *closed_user;
};

/* ---- export.c */

/* Runs job on a helper thread, then then(e, what it returned) on the core. */
void exp_job(struct exp *e, int (*job)(struct exp *e), void (*then)(struct exp *e, int err));
/* The same for a job that may wait for the very disk that this program serves: it runs without the program's
 * descriptors but 0 to 2, so it opens what it needs and keeps none. A program that is killed closes its descriptors
 * one by one; if a file of its own mount came before /dev/fuse, or /dev/fuse stayed open in a thread that waits, the
 * dying program would wait for itself for ever, and the loop device it was about to set up would block everybody
 * who looks for a free one. */
void exp_job_alone(struct exp *e, int (*job)(struct exp *e), void (*then)(struct exp *e, int err));
/* Calls then(e, err) in a coming turn. */
void exp_later(struct exp *e, int err, void (*then)(struct exp *e, int err));
void exp_note(struct exp *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void exp_opened(struct exp *e, int err);
void exp_resize_done(struct exp *e, int err);
void exp_closed(struct exp *e, int err);    /* e is gone on return when err is 0 */
/* The device went away without us. */
void exp_lost(struct exp *e);
/* 0; -EIO when the export is being taken away by force or is lost; -EROFS for what writes to a read-only
 * export. */
int exp_refuses(const struct exp *e, enum ini_io_op op);
/* Fills in and submits; io->done is set by the caller and is the only thing that has to be. */
void exp_submit(struct exp *e, struct mpio_io *io, enum ini_io_op op, unsigned flags, uint64_t off,
                uint64_t len, const struct iovec *iov, unsigned iov_nr);

/* ---- device.c: nodes, holders, modules; all of it blocks: jobs only */

/* Makes a device node where nobody made it. sysfs: the file that says "major:minor". */
int exp_node(const char *path, const char *sysfs, bool block);
/* Loads a kernel module, as mount(8) does for file systems. Failure shows in what is tried next. */
void exp_module(const char *name);
/**
 * exp_claim - open the export's block device so that nobody else can mount it, and write out its cache
 * @fd: set on success; -1 where the device is not there any more
 *
 * Not forced: -EBUSY with a note that says by whom it is held; -EIO and so on where the cache could not be
 * written.
 * Forced: takes what it gets, writes nothing out (the disk may be why force is needed).
 */
int exp_claim(struct exp *e, int *fd);
/* The size that the kernel gives the device is e->size. Return: 0, or -errno with a note. */
int exp_size_check(struct exp *e);
/* Names one other process that has the file or device open, by its path. */
bool exp_find_holder(const char *path, char *out, size_t len);
void exp_sleep_ms(unsigned ms);
/* First line of a small file (sysfs) without its newline. Return: 0 or -errno. */
int exp_read_line(const char *path, char *out, size_t len);

/* ---- record.c: run_dir/devices/NAME, what outlives a daemon that dies; all of it blocks */

struct exp_record {
    enum exp_kind kind;
    int id;                                 /* the N of /dev/ublkbN, /dev/nbdN */
    char wwid[SCSI_WWID_MAX];               /* of the disk behind it: nothing else may ever take its place */
};
int exp_record_save(const struct exp *e, int id);
/* Return: 0, -ENOENT, or -errno (-EINVAL: not a record). */
int exp_record_load(const char *run_dir, const char *name, struct exp_record *out);
/* A ublk device of this name that waits for its server must not get another device of the same disk beside
 * it: -ESTALE with a note, else 0. */
int exp_record_clash(struct exp *e);
void exp_record_remove(const char *run_dir, const char *name);
/* Calls fn for each record; fn may remove it. */
void exp_records(const char *run_dir,
                 void (*fn)(const char *run_dir, const char *name, const struct exp_record *r));

#endif
