/*
 * fuse_dir.h - the directory of a FUSE mount and the file in it: libfuse's operations that concern no data
 *
 * On the core, answered before they return. A request's user, as libfuse calls it, is the struct fuse_dir.
 */
#ifndef CORELANE_EXPORT_FUSE_DIR_H
#define CORELANE_EXPORT_FUSE_DIR_H

#include <fuse_lowlevel.h>

#include "export/export_internal.h"

struct fuse_dir {
    const struct exp *e;                    /* borrowed for life */
    const char *name;                       /* the file's; borrowed for life, below 128 bytes */
    uint64_t since_s;                       /* 1970; the file's times */
};

void fuse_dir_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fuse_dir_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fuse_dir_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void fuse_dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fuse_dir_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fuse_dir_statfs(fuse_req_t req, fuse_ino_t ino);

#endif
