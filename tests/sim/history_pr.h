/*
 * history_pr.h - the oracle for persistent reservations of one logical unit
 *
 * Whoever drives the unit has at most one command that changes registrations or the reservation under way at a
 * time, so what each must answer is known, unless one before it failed without an answer: then nothing is
 * judged until a PERSISTENT RESERVE IN tells what is so. Commands that read or write, and that began and ended
 * while nothing changed, must have been let in or refused as the reservation says.
 * Source: SPC-4 r36, "Persistent reservations model".
 */
#ifndef CORELANE_SIM_HISTORY_PR_H
#define CORELANE_SIM_HISTORY_PR_H

#include <stdbool.h>
#include <stdint.h>

#define PRH_NEXUS_MAX 32u

enum prh_sa { PRH_REGISTER, PRH_RESERVE, PRH_RELEASE, PRH_CLEAR, PRH_PREEMPT,
              PRH_PREEMPT_ABORT, PRH_REGISTER_IGNORE };    /* the service action codes */
enum prh_type {
    PRH_NONE = 0,
    PRH_WRITE_EXCLUSIVE = 1,
    PRH_EXCLUSIVE_ACCESS = 3,
    PRH_WRITE_EXCLUSIVE_RO = 5,
    PRH_EXCLUSIVE_ACCESS_RO = 6,
};
enum prh_answer {
    PRH_GOOD,
    PRH_CONFLICT,
    PRH_LOST,                               /* none: it may have been done, or be done yet */
    PRH_MAYBE,                              /* it may have been done; it is over */
    PRH_REFUSED,                            /* something else: it was not done */
};

struct prh_op {
    enum prh_sa sa;
    unsigned nexus;
    uint64_t key, sa_key;
    enum prh_type type;
    bool aptpl;
};

struct prh {                                /* zeroed, then fail and user set: ready */
    void (*fail)(void *user, const char *what);
    void *user;
    uint64_t tick, since;                   /* since: nothing has changed */
    bool unsure, unsure_aptpl, changing;
    uint32_t ghosts;                        /* bit of each nexus whose command may yet be carried out */
    struct prh_op op;
    uint64_t key[PRH_NEXUS_MAX];            /* 0: not registered */
    int holder;                             /* valid where type is set */
    enum prh_type type;
    bool aptpl;
    uint64_t judged;
};

/* Whether the nexus may read or write, where that is known. */
bool prh_let_in(const struct prh *p, unsigned nexus, bool write);
/* Whether a command that changes something may be sent. */
bool prh_free(const struct prh *p);
void prh_begin(struct prh *p, const struct prh_op *op);
void prh_end(struct prh *p, enum prh_answer answer);

uint64_t prh_tick(struct prh *p);           /* the begin of a command that is not one of those */
/* A command that reads, or writes, was let in or met a conflict. */
void prh_access(struct prh *p, uint64_t begin, unsigned nexus, bool write, bool conflict);
/* What PERSISTENT RESERVE IN, READ FULL STATUS or both of its others said: keys by nexus, 0: none. */
void prh_read(struct prh *p, uint64_t begin, const uint64_t key[static PRH_NEXUS_MAX], int holder,
              enum prh_type type);

void prh_nexus_up(struct prh *p, unsigned nexus);
void prh_target_down(struct prh *p);
void prh_target_up(struct prh *p);

#endif
