/*
 * fuse_dir.c - what a FUSE mount shows: a directory with one file in it, the disk
 *
 * The file behaves as a block device would: it has the disk's size and keeps it. Its data are fuse.c's.
 */
#define FUSE_USE_VERSION 314

#include "export/fuse_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_INO 2
#define NAME_CACHE_S 3600.0

static bool attr_fill(const struct fuse_dir *d, fuse_ino_t ino, struct stat *st)
{
    const struct exp *e = d->e;

    *st = (struct stat){ .st_ino = ino, .st_uid = geteuid(), .st_gid = getegid() };
    st->st_atime = st->st_mtime = st->st_ctime = (time_t)d->since_s;
    if (ino == FUSE_ROOT_ID) {
        st->st_mode = S_IFDIR | 0700;
        st->st_nlink = 2;
    } else if (ino == DISK_INO) {
        st->st_mode = S_IFREG | (e->readonly ? 0400 : 0600);
        st->st_nlink = 1;
        st->st_size = (off_t)e->size;
        st->st_blocks = (blkcnt_t)(e->size / 512);
        st->st_blksize = 4096;
    } else {
        return false;
    }
    return true;
}

void fuse_dir_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct fuse_dir *d = fuse_req_userdata(req);
    struct fuse_entry_param entry = { .ino = DISK_INO, .entry_timeout = NAME_CACHE_S };

    if (parent != FUSE_ROOT_ID || strcmp(name, d->name) != 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    attr_fill(d, DISK_INO, &entry.attr);
    fuse_reply_entry(req, &entry);
}

/* Attributes are never cached: a resize is seen by who looks. */
void fuse_dir_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    if (attr_fill(fuse_req_userdata(req), ino, &st))
        fuse_reply_attr(req, &st, 0);
    else
        fuse_reply_err(req, ENOENT);
}

/* As a block device: O_TRUNC has no effect, another size or owner is refused, times are not kept. */
void fuse_dir_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    const struct fuse_dir *d = fuse_req_userdata(req);

    if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        fuse_reply_err(req, EPERM);
    else if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size && (uint64_t)attr->st_size != d->e->size)
        fuse_reply_err(req, EINVAL);
    else
        fuse_dir_getattr(req, ino, fi);
}

void fuse_dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct fuse_dir *d = fuse_req_userdata(req);

    if (ino != DISK_INO) {
        fuse_reply_err(req, EISDIR);
    } else if (d->e->readonly && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
    } else {
        fi->direct_io = 1;
        fuse_reply_open(req, fi);
    }
}

void fuse_dir_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct fuse_dir *d = fuse_req_userdata(req);
    const struct {
        const char *name;
        fuse_ino_t ino;
    } entries[] = { { ".", FUSE_ROOT_ID }, { "..", FUSE_ROOT_ID }, { d->name, DISK_INO } };
    char buf[256];
    size_t len = 0;

    if (ino != FUSE_ROOT_ID) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    if (size > sizeof(buf))
        size = sizeof(buf);
    for (size_t i = off < 0 ? 0 : (size_t)off; i < ARRAY_SIZE(entries); i++) {
        struct stat st;
        size_t n;

        attr_fill(d, entries[i].ino, &st);
        n = fuse_add_direntry(req, buf + len, size - len, entries[i].name, &st, (off_t)i + 1);
        if (n > size - len)
            break;
        len += n;
    }
    fuse_reply_buf(req, buf, len);
}

/* The loop device takes its granularity of discard from the block size given here. */
void fuse_dir_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct fuse_dir *d = fuse_req_userdata(req);
    const struct exp *e = d->e;
    const uint32_t g = mpio_disk_info(e->disk)->unmap_granularity;
    const uint32_t unit = g > e->block_len && !(g & (g - 1)) && g % e->block_len == 0 ? g : e->block_len;
    const struct statvfs st = {
        .f_bsize = unit, .f_frsize = e->block_len, .f_blocks = e->size / e->block_len, .f_files = 1,
        .f_namemax = strlen(d->name),
    };

    fuse_reply_statfs(req, &st);
}
