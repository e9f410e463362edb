/*
 * journal.h - why each session is where it is: a journal on disk that outlives the daemon
 *
 * One JSON object a line, in two files of the run directory that take turns: when one is full the other is emptied and goes
 * on, so both together never hold more than twice JOURNAL_FILE_MAX and always the newest entries.
 */
#ifndef CORELANE_MANAGER_JOURNAL_H
#define CORELANE_MANAGER_JOURNAL_H

#include <jansson.h>
#include "reactor/rt.h"
#include "reactor/rt_list.h"

#define JOURNAL_FILE_MAX (4u << 20) /* bytes, and one entry */

struct journal;

/* Reads what is there; a line that is none of ours (cut off by a crash, edited) is passed over. Without a place to write to
 * it says so once and remembers nothing: sessions do not depend on it. @file_max: bytes; 0: JOURNAL_FILE_MAX. Blocks: at
 * set-up. Return: 0 or -ENOMEM. */
int journal_new(struct journal **out, struct rt *rt, const char *run_dir, size_t file_max);
void journal_free(struct journal *j); /* idle, or its reactor turns no more; accepts NULL */
/* Adds an entry; "seq" and "t" (seconds since 1970) are put to it. @entry: given; NULL (no memory for one) is told in the
 * log. On the reactor; never blocks. */
void journal_add(struct journal *j, json_t *entry);

struct journal_wait {
    struct rt_link link;
    void (*fn)(struct journal_wait *w);
};
/* w->fn is called when all that was added before is on disk, or could not be written; perhaps at once. */
void journal_flush(struct journal *j, struct journal_wait *w);

struct journal_find { /* kept until done */
    /* Filled by the caller: */
    bool (*match)(const json_t *entry, const void *arg); /* on a helper thread */
    const void *arg;
    size_t last; /* how many at most: the newest */
    void (*done)(struct journal_find *f);
    /* At done: */
    json_t *found; /* list, oldest first, taken by who asked; NULL: no memory */
    /* The journal's. */
    struct journal *journal;
    struct journal_wait wait;
    struct rt_work work;
};
/* Those that match, of all that was added before. */
void journal_find(struct journal *j, struct journal_find *f);

#endif
