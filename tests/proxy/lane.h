/*
 * lane.h - one direction of a connection through the proxy: bytes come in, wait, and go on, or do not
 *
 * A lane works on two non-blocking stream sockets that it borrows. It knows faults of its own stream; what concerns the
 * whole connection (reset, blackhole) is its owner's. Time is given to it, in milliseconds of any clock.
 */
#ifndef CORELANE_PROXY_LANE_H
#define CORELANE_PROXY_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/proxy/plan.h"

#define LANE_HELD  (256u * 1024)  /* bytes under way at most: what a peer that died may have left behind */
#define LANE_BUF   (4096u * 1024) /* and with a lag, which is not to be a lack of bandwidth as well */
#define LANE_MARKS (2 * LAG_MAX_MS)
#define LANE_NEVER UINT64_MAX

enum lane_end { LANE_OPEN, LANE_FIN, LANE_RST };

struct lane {
    int from, to;                 /* borrowed */
    enum lane_end end;            /* how from ended: passed on once all that came before it is */
    bool shut;                    /* its end was passed on */
    bool dead;                    /* what comes is thrown away */
    bool blocked;                 /* to takes no more just now */
    uint64_t in, out;             /* bytes that came, bytes that went on */
    uint64_t hold_until;          /* ms; nothing goes on before */
    uint64_t split_until;         /* bytes of out; those before go on one by one */
    uint64_t slow_until, read_at; /* ms */
    uint32_t rate;                /* bytes a second while slow */
    uint32_t lag;                 /* ms */
    struct lane_mark {
        uint64_t due, end; /* ms; of in: the bytes before it may go then */
    } mark[LANE_MARKS];    /* a ring; one for each millisecond at most */
    uint32_t mark_head, marks;
    uint64_t ripe;      /* bytes of in that have waited long enough */
    uint32_t head, len; /* of buf, a ring */
    uint8_t buf[LANE_BUF];
};

void lane_open(struct lane *l, int from, int to);
/* Whether lane_read() is to be called when from has something, and lane_write() when to has room. */
bool lane_wants_read(const struct lane *l, uint64_t now);
bool lane_wants_write(const struct lane *l, uint64_t now);
/* When it is to be looked at though neither socket stirs; LANE_NEVER. */
uint64_t lane_wake(const struct lane *l, uint64_t now);
/* Takes what there is. A reset counts as an end that comes after the bytes under way, as it does on a wire. */
void lane_read(struct lane *l, uint64_t now);
/* Sends on what may go, and not byte @limit of the stream; passes a FIN on. sent() sees the bytes that went; it may
 * be NULL. */
void lane_write(struct lane *l, uint64_t now, uint64_t limit,
                void (*sent)(void *arg, const uint8_t *bytes, size_t len), void *arg);
/* FAULT_DELAY, _DROP, _HALF_CLOSE, _SPLIT, _SLOW, _LAG; _FLIP with l->len > 0, on the byte that goes next. */
void lane_fault(struct lane *l, const struct fault *f, uint64_t now);
/* No fault holds it up any more. Return: false if bytes were lost, so that it cannot go on. */
bool lane_calm(struct lane *l);
/* All that came before from's reset went on: the owner passes the reset on. */
bool lane_reset_due(const struct lane *l);
bool lane_done(const struct lane *l);

#endif
