/*
 * history.h - the oracle: can what was read be explained by what was written?
 *
 * One struct hist judges one logical unit. Whoever drives the unit tells it of every operation's begin and end
 * as they happen, and of every event that changes what may happen to those under way (a session breaks, is
 * back, the target dies). It decides for each sector whether some order of the operations explains all that was
 * read: linearizability of a register per sector, with writes that failed (they took effect at any time until
 * they are provably dead, or never), with writes that the initiator sent again (they took effect several
 * times, the last of them before they were acknowledged), and with crashes (what was not made stable may be
 * what it was before, sector by sector).
 *
 * Every write has a value that no other write has; zeroes are the value 0, which many may write. So a sector's
 * operations fall into clusters, a value's write and its reads, and a cluster has a zone: from the first end
 * of its operations to the last begin. A zone that runs forward is a time during which nothing else can have
 * been there; one that runs backward says that the value was there at some instant of it. An order exists if
 * and only if no two forward zones overlap and no backward zone lies inside a forward one. A COMPARE
 * AND WRITE that matched chains its cluster to that of the value which it found: together they are one.
 * Source: Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26 (1997), theorem 4.
 *
 * Time is counted in calls (ticks), so two events are never at once. What can be read no more, and can not
 * come back by a crash either, is forgotten: memory is bounded by what is in flight and not flushed.
 *
 * It is exact but for this, where it errs on the side of silence: reads during which the target crashed, and those
 * during which a sector had very many values, are not judged; a read of zeroes that several operations may have
 * written binds none of them.
 */
#ifndef CORELANE_SIM_HISTORY_H
#define CORELANE_SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define HIST_ZERO        0ull               /* what a sector has that was never written, or zeroed since */
#define HIST_NEXUS_MAX   32u
#define HIST_SECTORS_MAX 256u               /* of one COMPARE AND WRITE */

struct hist;
struct hist_write;                          /* a write, zeroing or COMPARE AND WRITE from begin to end */

struct hist_conf {
    uint32_t sectors;
    bool volatile_mem;                      /* the unit is memory of the target program: zeroes when that dies */
    /* What cannot be explained, in words; called as often as that is found. */
    void (*fail)(void *user, const char *what);
    void *user;
};

/* Return: NULL: no memory. Given to the caller to hist_free(). */
struct hist *hist_new(const struct hist_conf *conf);
void hist_free(struct hist *h);             /* accepts NULL */

uint64_t hist_now(struct hist *h);          /* a tick of its own: the begin of a flush */

/* ---- writes ---------------------------------------------------------------------------------------------- */

enum hist_fate {
    HIST_ACKED,                             /* done: it took effect, for the last time between begin and now */
    HIST_NOT,                               /* not done, and it never will be */
    HIST_MAYBE,                             /* may have been done, in each sector or not; not later than now */
    HIST_LATER,                             /* the same, and it may still be done until hist_nexus_up() of its
                                             * nexus or hist_target_up() */
};

/**
 * hist_write_begin - a write is about to be submitted
 * @nexus:  0..HIST_NEXUS_MAX - 1: of whoever writes
 * @value:  no other write's, or HIST_ZERO
 * @stable: once acknowledged it outlasts a crash
 * Return: kept until hist_write_end(); NULL: out of room, which was told to fail().
 */
struct hist_write *hist_write_begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n, uint64_t value,
                                    bool stable);
/* The same for a COMPARE AND WRITE that expects @from[i] in sector first + i. It is never sent twice. */
struct hist_write *hist_caw_begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n,
                                  const uint64_t *from, uint64_t value, bool stable);
/* @w: gone. */
void hist_write_end(struct hist *h, struct hist_write *w, enum hist_fate fate);
/* Before its end: it is stable once it is acknowledged, as the unit has no cache. */
void hist_write_through(struct hist_write *w);
/* A COMPARE AND WRITE that said MISCOMPARE in sector first + @at. @w: gone. */
void hist_caw_miscompared(struct hist *h, struct hist_write *w, uint32_t at);

/* A flush of the nexus that began at tick @inv was acknowledged. */
void hist_synced(struct hist *h, unsigned nexus, uint64_t inv);

/* ---- reads ----------------------------------------------------------------------------------------------- */

struct hist_read {                          /* the caller's; from begin to end or drop the history's */
    uint64_t inv;
    struct hist_read *next, *prev;
};
void hist_read_begin(struct hist *h, struct hist_read *r);
void hist_read_end(struct hist *h, struct hist_read *r, uint32_t first, uint32_t n, const uint64_t *values);
void hist_read_drop(struct hist *h, struct hist_read *r);   /* it failed */

/* ---- events ---------------------------------------------------------------------------------------------- */

/* What the nexus has under way may be sent again from here on. */
void hist_nexus_again(struct hist *h, unsigned nexus);
/* The nexus has logged in again: of its old session nothing will be done any more; what is under way is sent now. */
void hist_nexus_up(struct hist *h, unsigned nexus);
/* Whoever writes as that nexus, over several sessions, has seen to it that of those that ended with HIST_LATER before tick
 * @before nothing will be done any more; what is under way goes on. */
void hist_nexus_settled(struct hist *h, unsigned nexus, uint64_t before);
/* Tasks of the unit may be aborted, and so sent again, by a reset; from begin until end, all of them. */
void hist_reset_begin(struct hist *h);
void hist_reset_end(struct hist *h);
/* The target program died: what it had under way may be sent again. What a unit in memory had is gone. */
void hist_target_down(struct hist *h);
/* A new target program serves: of the old one nothing will be done any more. */
void hist_target_up(struct hist *h);
/* Power failed: what was not stable may be lost, in each sector or not. hist_target_down() comes before it. */
void hist_lost(struct hist *h);
/* The system below the target failed to make stable what was written, and forgets that it did: no later
 * flush makes up for it. Only one that was under way, and acknowledged all the same, vouches for it. */
void hist_sync_failed(struct hist *h);

/* ---- numbers --------------------------------------------------------------------------------------------- */

struct hist_stats {
    uint64_t checked;                       /* sectors read, and writes of sectors, that were judged */
    uint64_t skipped;                       /* sectors read that were not: see above */
    uint64_t fails;
    uint32_t clusters, writes;              /* remembered now */
    uint32_t clusters_max;
};
void hist_stats(const struct hist *h, struct hist_stats *out);
/* What is known of a sector, in lines, for people. */
void hist_dump(const struct hist *h, uint32_t sector, char *out, unsigned len);
/* A value that the sector can have now, for one who wants a COMPARE AND WRITE to match: the newest. */
uint64_t hist_guess(const struct hist *h, uint32_t sector);

#endif
