/*
 * knob_log.h - the journal of changed kernel settings: what each was before, so that all of it can be put back
 *
 * A change is in the journal, and the journal on the disk, before the setting is written. So whatever a crash interrupts
 * can be undone: a setting that has its old value was not written yet, or was put back already. A setting belongs to an
 * object (a session's work queue, a card's receive queue) that may end; what takes its name later is another one, and so is
 * everything after a restart of the host. The file holds a JSON object a line and is empty when there is nothing to undo.
 *
 * Every call blocks (files, fsync). One thread; one process at a time may write.
 */
#ifndef CORELANE_BALANCER_KNOB_LOG_H
#define CORELANE_BALANCER_KNOB_LOG_H

#include "balancer/knob.h"

#define BAL_LOG_FILE "kernel-settings.journal"

struct bal_log;

/**
 * bal_log_open - read the journal, and take it for writing
 * @dir:   where it is; must exist
 * @write: false: only to look at it, also while somebody writes; nothing is made then
 * @knobs: borrowed until bal_log_close()
 *
 * A last line that a crash cut off is no change: what it announces was not written. Return: 0, or -errno with @why: -EBUSY:
 * another process has it; -EBADMSG: damaged, or holds what we would never write.
 */
int bal_log_open(struct bal_log **out, const char *dir, bool write, const struct bal_knobs *knobs,
                 char why[static 256]);
void bal_log_close(struct bal_log *l); /* accepts NULL */

/**
 * bal_log_set - journal, write, and read back what the kernel made of it
 * @name, @value: of knob.h
 * @reason: for people, into the journal
 *
 * Return: 1: written; 0: it had that value already; -errno with @why, the setting as it was: -EEXIST: somebody else has
 * changed what we had set: it is theirs now.
 */
int bal_log_set(struct bal_log *l, const char *name, const char *value, const char *reason,
                char why[static 256]);
enum bal_log_state {
    BAL_LOG_HOLDS,   /* as we set it */
    BAL_LOG_EARLIER, /* as we had set it before: a crash came between journal and setting */
    BAL_LOG_BACK,    /* as it was before us */
    BAL_LOG_DRIFT,   /* somebody else has set something */
    BAL_LOG_GONE,    /* its object is no more: ended, or the host restarted */
    BAL_LOG_FAILED,  /* cannot be read or written: err */
};
struct bal_log_view {
    enum bal_knob kind;
    enum bal_log_state state;
    int err;
    const char *name, *old, *want, *reason, *now; /* now: "" where it is not known */
    long long since;                              /* seconds since 1970: the first change */
};
typedef void bal_log_fn(void *user, const struct bal_log_view *view);
/* What has become of a setting: a state, or -ENOENT: it is none of ours, or another object's by now. */
int bal_log_look(const struct bal_log *l, const char *name);
/* All that is in the journal, the first change first. Return: how many of them hold no more. */
unsigned bal_log_each(const struct bal_log *l, bal_log_fn *fn, void *user);

/**
 * bal_log_undo - put everything back, the last change first, and forget it
 * @force: also what somebody else has changed since; it is left as it is otherwise, and stays in the journal
 * @fn:    told about each: BACK (now or before), GONE, DRIFT and FAILED (left); may be NULL
 *
 * Can be repeated, also when it was interrupted. Return: how many are left, or -errno with @why: the journal cannot be
 * written.
 */
int bal_log_undo(struct bal_log *l, bool force, bal_log_fn *fn, void *user, char why[static 256]);
/* The same for one of them. Return: its state afterwards (BACK and GONE: forgotten), or -errno with @why: -ENOENT: it is not in
 * the journal. */
int bal_log_restore(struct bal_log *l, const char *name, bool force, char why[static 256]);
/* Forgets those that are gone, so that a journal does not grow with each session that ends. Return: 0 or -errno. */
int bal_log_prune(struct bal_log *l, char why[static 256]);

#endif
