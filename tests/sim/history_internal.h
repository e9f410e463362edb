/*
 * history_internal.h - what the files of the history share; nobody else includes it
 *
 * history.c         operations and events
 * history_sector.c  the clusters of one sector
 */
#ifndef CORELANE_SIM_HISTORY_INTERNAL_H
#define CORELANE_SIM_HISTORY_INTERNAL_H

#include "tests/sim/history.h"

#define NEVER       UINT64_MAX
#define CL_MAX      (1u << 20)              /* clusters in all */
#define WRITES_MAX  (1u << 17)              /* writes remembered in all */
#define DOOMED_MAX  32u                     /* failed flushes between two power losses; more are taken together */
#define PATIENCE    64u                     /* values of a sector that may wait for a read that does not end */
#define SECTOR_MAX  512u                    /* clusters that are compared with each other */

enum { PENDING = -1 };                      /* of ->fate, beside enum hist_fate */

struct hist_write {
    uint64_t inv, end;                      /* end: NEVER while it may still take effect */
    uint64_t since;                         /* its last effect is not before that: begin, or when sent again */
    uint64_t failed;                        /* HIST_LATER: when that was said */
    uint64_t value;
    struct hist_write *next, *prev;         /* in h->open while end is NEVER */
    struct hist_read read;                  /* a COMPARE AND WRITE reads, too */
    uint32_t first, n, refs;
    uint8_t nexus;
    int8_t fate;
    bool stable, loose, caw;                /* loose: it may take effect several times */
};

enum {
    READ = 1,                               /* was seen */
    OLD  = 2,                               /* can be read no more, unless a crash brings it back */
    CAND = 4,                               /* one of those that are the sector's first value since a crash */
    REAL = 8,                               /* CAND: it was there before the crash for certain */
};

struct cluster {
    struct hist_write *w;                   /* NULL: what the sector began with */
    uint64_t value, from;                   /* from: a COMPARE AND WRITE's */
    bool chained;                           /* from is valid */
    uint8_t flags;
    uint32_t next;                          /* 0: none */
    uint64_t rf, rs;                        /* reads: first end, last begin */
    uint64_t gf;                            /* first end of what it was chained to and is forgotten */
    uint64_t base;                          /* w is NULL: since when */
    uint64_t of, os;                        /* CAND: its zone before the crash */
    uint64_t not_end;                       /* a comparison that ended then found something else */
};

struct hist {
    struct hist_conf conf;
    uint64_t tick, epoch, synced;
    struct {                                /* ended at lo or later, begun before hi: no flush helps */
        uint64_t lo, hi;
        bool deaf;                         /* nor does one that was under way */
    } doomed[DOOMED_MAX];
    unsigned doomed_nr;
    uint64_t nexus_up[HIST_NEXUS_MAX];
    unsigned resets;
    struct hist_read reads;                 /* by begin */
    struct hist_write open;
    uint32_t *sector;                       /* first cluster of each */
    struct cluster *cl;                     /* CL_MAX; 0 is not used */
    uint32_t cl_free, cl_top, cl_nr;
    struct hist_write *writes, *write_free;
    uint32_t writes_top, writes_nr;
    bool full;
    struct hist_stats stats;
};

static inline struct cluster *at(struct hist *h, uint32_t i)
{
    return i ? &h->cl[i] : NULL;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A value in words: "zeroes", "w3#17". */
void value_text(uint64_t v, char out[static 40]);
/* Tells conf.fail() of a value that cannot be where it was, and of what is known of the sector. */
void sector_fail(struct hist *h, uint32_t sector, const char *what, uint64_t value);
void no_room(struct hist *h);
void write_put(struct hist *h, struct hist_write *w);       /* one reference less */

/* NULL: no room, which was told. */
struct cluster *sector_add(struct hist *h, uint32_t sector, uint64_t value);
/* *link: where the cluster's number stands; it is the next one's then. */
void sector_drop(struct hist *h, uint32_t *link);
uint32_t *sector_link(struct hist *h, uint32_t sector, const struct hist_write *w);     /* *link 0: none */
/* Those of that value that can be read. Return: how many; *out: the oldest. */
unsigned sector_find(struct hist *h, uint32_t sector, uint64_t value, struct cluster **out);

/* The zone: first end and last begin of its operations. Of a write that takes effect several times only the last effect
 * counts, and reads before its end say nothing of that. */
uint64_t zone_f(const struct cluster *c);
uint64_t zone_s(const struct cluster *c);
bool was_there(const struct cluster *c);    /* for certain, at some instant of its zone */
bool is_stable(const struct hist *h, const struct cluster *c);      /* it, or what came after it, outlasts a crash */
bool overwritten_stably(struct hist *h, uint32_t sector, const struct cluster *c);      /* by one that came after it */

/* A read, or a comparison that matched, that began at @inv and ended at @end. */
void sector_read(struct hist *h, uint32_t sector, uint64_t value, uint64_t inv, uint64_t end);
/* After a change: judges the sector, and forgets what can be read no more. */
void sector_settle(struct hist *h, uint32_t sector);

#endif
