/*
 * disk.h - what is stored on a simulated machine, as fs.c (names), disk.c (bytes) and file.c (operations) share it
 */
#ifndef CORELANE_SIM_DISK_H
#define CORELANE_SIM_DISK_H

#include "reactor/sim/sim_internal.h"

#define SIM_SECTOR 512u
#define SIM_PAGE 4096u

struct inode {                              /* a file's bytes, or a block device's */
    struct sim_machine *machine;
    unsigned refs;                          /* its name, and open file descriptions */
    uint64_t size;
    uint32_t block_len;                     /* of a block device; 0: a regular file */
    struct page ***leaves;                  /* [offset / 2 MiB][offset / 4 KiB % 512]; NULL: holes */
    size_t leaves_nr;
    struct rt_link unstable;                /* pages whose stable state is another */
    struct rt_link opens;                   /* open file descriptions */
};

/* ---- disk.c */
struct inode *sim_inode_new(struct sim_machine *m);
void sim_inode_unref(struct inode *n);
void sim_inode_read(const struct inode *n, void *buf, size_t len, uint64_t off, bool stable);
/* Into the page cache. Return: 0 or -ENOSPC, with what fitted before. */
int sim_inode_write(struct inode *n, const void *buf, size_t len, uint64_t off);
void sim_inode_zero(struct inode *n, uint64_t off, uint64_t len);
void sim_inode_resize(struct inode *n, uint64_t size);
void sim_inode_sync(struct inode *n);
/* Some of what it should have made stable will be lost. */
void sim_inode_sync_fail(struct inode *n);
/* keep_ppm: of what is not stable. Return: whether anything was lost. */
bool sim_inode_crash(struct inode *n, uint32_t keep_ppm);

/* ---- fs.c */
/* The file of that name; NULL and *err (-ENOENT, -ENOTDIR, -EINVAL: no file). @create: made if it is not there. */
struct inode *sim_fs_inode(struct sim_machine *m, const char *path, bool create, int *err);
void sim_fs_each_inode(struct sim_machine *m, void (*fn)(void *arg, struct inode *n), void *arg);
/* Whether faults of this machine's disk are meant for that file. */
bool sim_fs_faulty(const struct sim_machine *m, const char *path);

#endif
