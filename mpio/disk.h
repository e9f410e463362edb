/*
 * disk.h - a disk is a set of paths
 *
 * What is exported or opened is never a session's LUN but a disk. Paths join by identity (the wwid of VPD page
 * 0x83), never by number. With one path it is just that one.
 */
#ifndef CORELANE_MPIO_DISK_H
#define CORELANE_MPIO_DISK_H

#include "initiator/ini.h"

struct mpio_disk;

enum mpio_event { MPIO_RESIZED, MPIO_FAILED, MPIO_PAUSED, MPIO_RESUMED };
/* Makes a disk of one path, an open LUN that stays the caller's and open until mpio_disk_free(). The disk lives on @rt,
 * the core its requests come from. event may be NULL. Return: 0 or -ENOMEM. */
int mpio_disk_new(struct mpio_disk **out, struct rt *rt, struct ini_lun *path,
                  void (*event)(void *user, enum mpio_event ev), void *user);
void mpio_disk_free(struct mpio_disk *d);   /* nothing in flight (asserted); accepts NULL */
/* What the path's LUN told of itself: forward ini_lun_open()'s events here. */
void mpio_path_event(struct mpio_disk *d, struct ini_lun *path, enum ini_event ev);

const struct ini_lun_info *mpio_disk_info(const struct mpio_disk *d);
struct rt *mpio_disk_rt(const struct mpio_disk *d);

struct mpio_io {
    struct ini_io io;                       /* op, flags, off, len, iov filled by the caller; its done is the disk's */
    void (*done)(struct mpio_io *io, int res);
    void *disk_user;                        /* the caller's, left alone */
    struct mpio_disk *disk;                 /* the disk's from here on */
    uint64_t start_ns;
};
/* Gives the disk up, for good: its requests end with @err soon, whether or not its target can be reached, and
 * new ones at once. See ini_lun_abandon(). On the disk's core. */
void mpio_disk_fail(struct mpio_disk *d, int err);
/* On the disk's core. Range and alignment are checked (-EINVAL, -EROFS for a write to a read-only disk); done is never called from inside. */
void mpio_submit(struct mpio_disk *d, struct mpio_io *io);

/* Buffers for its requests, as ini_buf_get() and the others of ini.h give them. On the disk's core. */
void *mpio_buf_get(struct mpio_disk *d, size_t len);
void mpio_buf_put(struct mpio_disk *d, void *mem, size_t len);
bool mpio_buf_good(const struct mpio_disk *d, const void *mem, size_t len);

struct mpio_stats {
    uint64_t reads, writes, others, read_bytes, write_bytes, errors;
    uint32_t in_flight;
};
void mpio_stats(const struct mpio_disk *d, struct mpio_stats *out);

#endif
