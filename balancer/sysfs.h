/*
 * sysfs.h - reads and writes files of /sys and /proc, or of a tree that looks like them
 *
 * The room's door to the kernel's settings. A path is taken below the root's own sys/ and proc/: a link that leads out of
 * them, a "..", a FIFO or a directory where a file should be is refused, as trees for tests, and what runs in containers,
 * may hold anything. Every call blocks: in the command's own process, or on a helper thread. Any thread.
 */
#ifndef CORELANE_BALANCER_SYSFS_H
#define CORELANE_BALANCER_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bal_sys;

#define BAL_SYS_PATH_MAX 512
#define BAL_SYS_TEXT_MAX 4096 /* a page, as sysfs has it */
#define BAL_SYS_NAME_MAX 64

/* @root: "/" for this machine. Return: 0, or -errno with @why. */
int bal_sys_open(struct bal_sys **out, const char *root, char why[static 256]);
void bal_sys_close(struct bal_sys *s);         /* accepts NULL */
bool bal_sys_is_real(const struct bal_sys *s); /* the root is "/" */

/* A path, as printf() makes it. Empty where it does not fit: no such file, then, as names are bounded, so it is not one that
 * anybody looks for. */
void bal_sys_path(char out[static BAL_SYS_PATH_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * bal_sys_read - the text of a file, without the line ends at its end
 * @path: "sys/class/..." or "proc/..."
 * @id:   which file it was: another one has taken the name if it differs later. NULL: not wanted
 *
 * Return: its length, or -errno: -ENOENT, -EMSGSIZE: does not fit, -EBADMSG: holds a NUL, -EXDEV: leads out of the tree,
 * -EINVAL: neither sys/ nor proc/, or no regular file.
 */
int bal_sys_read(const struct bal_sys *s, const char *path, char *out, size_t len, uint64_t *id);
/* The same, a decimal number. Return: 0 or -errno; -EINVAL: it is none. */
int bal_sys_read_num(const struct bal_sys *s, const char *path, unsigned *out);
/* In one write(), as the kernel wants it, and a line's end behind it. @id: as bal_sys_read() said. Return: 0 or -errno; -ESTALE: it is another file. */
int bal_sys_write(const struct bal_sys *s, const char *path, const char *text, uint64_t id);
/* What a link says, not followed. Return: its length or -errno. */
int bal_sys_link(const struct bal_sys *s, const char *path, char *out, size_t len);
/* The names in a directory that begin with @prefix, in the order of the numbers in them; at most @max. Return: how many, or
 * -errno. */
int bal_sys_list(const struct bal_sys *s, const char *dir, const char *prefix, char (*out)[BAL_SYS_NAME_MAX],
                 unsigned max);

#endif
