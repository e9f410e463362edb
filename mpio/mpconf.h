/*
 * mpconf.h - /etc/multipath.conf: what it says of a disk that has several paths
 *
 * The syntax and the words are multipath-tools', so that a file which people have goes on meaning what it meant. What it
 * does not mention stays as it is here: it changes nothing of ours by being there.
 */
#ifndef CORELANE_MPIO_MPCONF_H
#define CORELANE_MPIO_MPCONF_H

#include <stddef.h>
#include "mpio/policy.h"

#define MPIO_ALIAS_MAX 128u /* bytes, with the NUL */

struct mpio_mpconf; /* a file that was read; never changes afterwards, so any thread may look at it */

/* One remark of the parser on a line of the file; @bad: it is not as it should be, and was passed over. */
struct mpio_mpconf_say {
    void (*fn)(void *user, bool bad, const char *remark);
    void *user;
};

/**
 * mpio_mpconf_parse - read a file's text
 * @out:  taken by the caller, to mpio_mpconf_free(); set on success only
 * @text: borrowed; @len bytes
 * @from: borrowed; what the file is called in remarks
 * @say:  borrowed; told of each thing that is unknown (each key once), wrong or without effect here, as
 *        "FILE line N: ..."; of 64 at most
 *
 * Any thread, does not block. Values that are wrong are passed over, as multipath-tools does: a daemon that holds disks must not
 * stay down for them. Return: 0; -EINVAL: sections do not nest, or it is no text: nothing of it holds; -E2BIG; -ENOMEM.
 */
int mpio_mpconf_parse(struct mpio_mpconf **out, const char *text, size_t len, const char *from,
                      const struct mpio_mpconf_say *say);
/* The same of a file; blocks. -ENOENT where there is none, which nobody has to be told of; else as open(2) and read(2). */
int mpio_mpconf_load(struct mpio_mpconf **out, const char *path, const struct mpio_mpconf_say *say);
void mpio_mpconf_free(struct mpio_mpconf *f); /* accepts NULL */

/* By what a unit is known: its wwid as `multipath -ll` shows it, and INQUIRY's words without the blanks around them.
 * Borrowed; none is NULL. */
struct mpio_whose {
    const char *wwid, *vendor, *product, *revision;
};

struct mpio_mpset {
    struct mpio_conf conf;
    char alias[MPIO_ALIAS_MAX]; /* empty: none */
    bool has_pr_key;
    uint64_t pr_key; /* as a number: 0x123abc is what reservation_key 0x123abc says */
};
/**
 * mpio_mpconf_for - what the file says of one unit, in multipath-tools' order: defaults, the devices that match, overrides,
 * the multipath of its wwid, each over what came before
 * @f:   borrowed; NULL: no file
 * @set: conf is what holds without the file and is written over where the file says something; alias and key are set
 */
void mpio_mpconf_for(const struct mpio_mpconf *f, const struct mpio_whose *whose, struct mpio_mpset *set);
/* Whether it is to have one path only: a blacklist names it, and no exception of the same kind does. @why: set then: the
 * line that says so. */
bool mpio_mpconf_blacklisted(const struct mpio_mpconf *f, const struct mpio_whose *whose, char why[static 256]);

#endif
