/*
 * lane.c - see lane.h
 */
#include "tests/proxy/lane.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define SINGLES_MAX 64u /* bytes sent one by one in a call: others want their turn */
#define SLOW_STEPS  20u /* reads a second of a slow lane */

void lane_open(struct lane *l, int from, int to)
{
    memset(l, 0, offsetof(struct lane, buf));
    l->from = from;
    l->to = to;
}

static uint32_t space(const struct lane *l)
{
    const uint32_t most = l->lag ? LANE_BUF : LANE_HELD;

    return l->len < most ? most - l->len : 0;
}

bool lane_wants_read(const struct lane *l, uint64_t now)
{
    return l->end == LANE_OPEN && (l->dead || (space(l) && now >= l->read_at));
}

bool lane_wants_write(const struct lane *l, uint64_t now)
{
    return l->blocked && !l->dead && now >= l->hold_until;
}

static bool pending(const struct lane *l)
{
    return !l->dead && (l->len || (l->end != LANE_OPEN && !l->shut));
}

uint64_t lane_wake(const struct lane *l, uint64_t now)
{
    uint64_t wake = LANE_NEVER;

    if (pending(l) && (!l->blocked || l->hold_until > now))
        wake = l->hold_until > now ? l->hold_until : now;
    if (wake != LANE_NEVER && l->marks && l->ripe == l->out && l->mark[l->mark_head].due > wake)
        wake = l->mark[l->mark_head].due;
    if (!l->dead && l->end == LANE_OPEN && space(l) && l->read_at > now && l->read_at < wake)
        wake = l->read_at;
    return wake;
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

/* What came just now is not due before its lag is over. A time is a whole millisecond that began, hence one more. */
static void mark(struct lane *l, uint64_t now)
{
    struct lane_mark *last = &l->mark[(l->mark_head + l->marks - 1) % LANE_MARKS];
    uint64_t due = l->lag ? now + l->lag + 1 : now;

    if (!l->lag && !l->marks) {
        l->ripe = l->in;
        return;
    }
    if (l->marks && due < last->due) /* the lag has become shorter: nothing overtakes */
        due = last->due;
    if (!l->marks || (last->due != due && l->marks < LANE_MARKS))
        last = &l->mark[(l->mark_head + l->marks++) % LANE_MARKS];
    *last = (struct lane_mark){ due, l->in };
}

static void ripen(struct lane *l, uint64_t now)
{
    for (; l->marks && l->mark[l->mark_head].due <= now; l->marks--) {
        l->ripe = l->mark[l->mark_head].end;
        l->mark_head = (l->mark_head + 1) % LANE_MARKS;
    }
}

/* How much may be read now, into the room that begins at *at. */
static size_t room(const struct lane *l, uint64_t now, uint32_t *at)
{
    uint32_t n = space(l);

    *at = (l->head + l->len) % LANE_BUF;
    if (n > LANE_BUF - *at)
        n = LANE_BUF - *at;
    if (now < l->slow_until && n > l->rate / SLOW_STEPS + 1)
        n = l->rate / SLOW_STEPS + 1;
    return n;
}

static void read_dead(struct lane *l)
{
    uint8_t away[16384];
    const ssize_t n = recv(l->from, away, sizeof(away), MSG_DONTWAIT);

    if (n > 0)
        l->in += (uint64_t)n;
    else if (!n)
        l->end = LANE_FIN;
    else if (errno != EAGAIN && errno != EINTR)
        l->end = LANE_RST;
}

void lane_read(struct lane *l, uint64_t now)
{
    uint32_t at;
    ssize_t n;

    if (l->dead) {
        read_dead(l);
        return;
    }
    n = recv(l->from, l->buf + (l->head + l->len) % LANE_BUF, room(l, now, &at), MSG_DONTWAIT);
    if (n > 0) {
        l->len += (uint32_t)n;
        l->in += (uint64_t)n;
        mark(l, now);
        if (now < l->slow_until)
            l->read_at = now + (uint64_t)n * 1000 / l->rate + 1;
    } else if (!n) {
        l->end = LANE_FIN;
    } else if (errno != EAGAIN && errno != EINTR) {
        l->end = LANE_RST;
    }
}

/* The bytes that may go in one send. */
static size_t burst(const struct lane *l, uint64_t limit)
{
    uint64_t n = l->len;

    if (n > LANE_BUF - l->head)
        n = LANE_BUF - l->head;
    if (n > limit - l->out)
        n = limit - l->out;
    if (n > l->ripe - l->out)
        n = l->ripe - l->out;
    if (n > 1 && l->out < l->split_until)
        n = 1;
    return n;
}

static void die(struct lane *l)
{
    l->dead = true;
    l->len = 0;
}

void lane_write(struct lane *l, uint64_t now, uint64_t limit,
                void (*sent)(void *arg, const uint8_t *bytes, size_t len), void *arg)
{
    unsigned singles = 0;
    size_t n;

    if (l->dead || l->shut || now < l->hold_until)
        return;
    l->blocked = false;
    ripen(l, now);
    assert(limit >= l->out);
    while ((n = burst(l, limit)) && singles < SINGLES_MAX) {
        const ssize_t done = send(l->to, l->buf + l->head, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (done <= 0) {
            l->blocked = errno == EAGAIN || errno == EINTR;
            if (!l->blocked)
                die(l);
            return;
        }
        singles += l->out < l->split_until;
        if (sent)
            sent(arg, l->buf + l->head, (size_t)done);
        l->head = (l->head + (uint32_t)done) % LANE_BUF;
        l->len -= (uint32_t)done;
        l->out += (uint64_t)done;
    }
    if (!l->len)
        l->head = 0; /* so that a stream that keeps up goes through little memory */
    if (l->end == LANE_FIN && !l->len) {
        (void)shutdown(l->to, SHUT_WR); /* refused: it is gone, and nothing is left to tell it */
        l->shut = true;
    }
}

/* ---- faults and ends ------------------------------------------------------------------------------------- */

void lane_fault(struct lane *l, const struct fault *f, uint64_t now)
{
    switch (f->kind) {
    case FAULT_DELAY: l->hold_until = now + f->arg[0]; break;
    case FAULT_DROP: die(l); break;
    case FAULT_HALF_CLOSE:
        (void)shutdown(l->to, SHUT_WR);
        l->shut = true;
        die(l);
        break;
    case FAULT_SPLIT: l->split_until = l->out + f->arg[0]; break;
    case FAULT_FLIP:
        assert(l->len);
        l->buf[l->head] ^= (uint8_t)(1u << f->arg[0]);
        break;
    case FAULT_SLOW:
        l->rate = f->arg[0];
        l->slow_until = now + f->arg[1];
        break;
    case FAULT_LAG: l->lag = f->arg[0]; break;
    default: assert(!"a fault of the whole connection");
    }
}

bool lane_calm(struct lane *l)
{
    l->hold_until = l->slow_until = l->read_at = 0;
    l->split_until = 0;
    l->lag = l->marks = 0;
    l->ripe = l->in;
    return !l->dead;
}

bool lane_reset_due(const struct lane *l)
{
    return l->end == LANE_RST && !l->dead && !l->len;
}

bool lane_done(const struct lane *l)
{
    return l->shut || (l->dead && l->end != LANE_OPEN);
}
