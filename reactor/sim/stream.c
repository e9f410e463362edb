/*
 * stream.c - what a simulated connection carries: segments, their ends, and what goes wrong with them
 *
 * A direction delivers its segments in order, one event at a time. What cannot get through stays at its head (the
 * sender's kernel would send it again and again) until the way is free, or until the sender's patience ends.
 */
#include <errno.h>
#include <string.h>

#include "reactor/sim/net.h"

#define UNIX_LATENCY_NS (2 * RT_US)
#define BACKOFF_MAX_NS (30 * RT_S)          /* how much later than the way is free it is noticed, at most */
#define PAUSE_NS (20 * RT_US)

static void conn_check_over(struct sim_conn *c)
{
    if (!c->end[0].gone || !c->end[1].gone)
        return;
    assert(!c->end[0].sock && !c->end[1].sock);
    sim_conn_free(c);
}

/* ---- segments ----------------------------------------------------------------------------------------- */

static void seg_push(struct segs *q, struct seg *s)
{
    s->next = NULL;
    if (q->head)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
}

struct seg *sim_seg_pop(struct segs *q)
{
    struct seg *s = q->head;

    if (s)
        q->head = s->next;
    return s;
}

void sim_seg_free(struct seg *s)
{
    for (unsigned i = 0; s && i < s->shm_nr; i++)
        sim_shm_unref(s->shm[i]);
    sim_release(s);
}

static void segs_free(struct segs *q)
{
    struct seg *s;

    while ((s = sim_seg_pop(q)))
        sim_seg_free(s);
}

static void deliver_plan(struct sim_conn *c, unsigned i)
{
    struct dir *d = &c->dir[i];

    if (d->way.head && !d->deliver.place && !d->stuck_since)
        sim_ev_set(c->w, &d->deliver, d->way.head->due > c->w->now ? d->way.head->due : c->w->now);
}

uint64_t sim_latency(struct sim_conn *c, unsigned i)
{
    const struct sim_net *n = sim_net_of(c, i);

    if (c->local)
        return UNIX_LATENCY_NS + sim_rng_below(&c->w->net_rng, UNIX_LATENCY_NS);
    return n->latency_ns + sim_rng_below(&c->w->net_rng, n->jitter_ns + 1) +
           (c->way ? c->machine[1]->ways[c->way - 1].delay_ns : 0);
}

static void seg_send(struct sim_conn *c, unsigned i, struct seg *s)
{
    const struct sim_net *n = sim_net_of(c, i);
    struct dir *d = &c->dir[i];
    uint64_t at = c->w->now;

    if (n->bytes_per_s && !c->local) {
        if (d->wire_free > at)
            at = d->wire_free;
        at += s->len * RT_S / n->bytes_per_s;
        d->wire_free = at;
    }
    at += sim_latency(c, i);
    if (at < d->due_last)
        at = d->due_last;                   /* in order */
    d->due_last = s->due = at;
    seg_push(&d->way, s);
    deliver_plan(c, i);
}

static struct seg *seg_new(enum seg_kind kind, uint32_t len)
{
    struct seg *s = sim_grow(NULL, sizeof(*s) + len);

    *s = (struct seg){ .len = len, .kind = kind };
    return s;
}

/* Loses the rear of what is under way: any part of it, or all. */
static void way_cut(struct sim_conn *c, struct dir *d, bool any)
{
    struct seg **at = &d->way.head, *s, *next;
    uint64_t keep = 0;

    for (s = d->way.head; s; s = s->next)
        keep++;
    keep = any ? sim_rng_below(&c->w->net_rng, keep + 1) : 0;
    d->way.tail = NULL;
    for (; keep; keep--) {
        d->way.tail = *at;
        at = &(*at)->next;
    }
    s = *at;
    *at = NULL;
    for (; s; s = next) {
        next = s->next;
        sim_seg_free(s);
    }
}

/* Ends a direction by a FIN, behind all that is under way; or by a reset, which keeps any part of that. */
static void dir_finish(struct sim_conn *c, unsigned i, enum seg_kind kind)
{
    struct dir *d = &c->dir[i];

    if (kind == SEG_RST) {
        way_cut(c, d, true);
    } else if (d->finished) {
        return;
    }
    d->finished = true;
    seg_send(c, i, seg_new(kind, 0));
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static void conn_reset(struct sim_conn *c)
{
    dir_finish(c, 0, SEG_RST);
    dir_finish(c, 1, SEG_RST);
}

static uint32_t room(const struct sim_conn *c, unsigned i)
{
    const struct dir *d = &c->dir[i];
    const uint64_t ahead = d->taken - d->read, window = sim_net_of(c, i)->window;

    return ahead < window ? (uint32_t)(window - ahead) : 0;
}

/* How much the next segment takes. */
static uint32_t seg_len(struct sim_conn *c, unsigned i, uint32_t len)
{
    const struct sim_net *n = sim_net_of(c, i);
    const struct dir *d = &c->dir[i];

    if (len > n->segment_max)
        len = n->segment_max;
    if (len > 1 && sim_rng_chance(&c->w->net_rng, n->split_ppm))
        len = (uint32_t)sim_rng_range(&c->w->net_rng, 1, len - 1);
    if (d->cut_at != UINT64_MAX && d->taken + len > d->cut_at)
        len = (uint32_t)(d->cut_at - d->taken);
    return len;
}

/* Takes one segment from the send that is outstanding. Return: its bytes; 0: nothing to take. */
static uint32_t seg_take(struct sim_conn *c, unsigned i)
{
    struct end *e = &c->end[i];
    struct dir *d = &c->dir[i];
    const uint8_t *from;
    uint32_t want = room(c, i), len = 0;
    size_t piece;
    struct seg *s;

    if (!want || !sim_sock_sending(e->sock, &from))
        return 0;
    if (!(want = seg_len(c, i, want)))
        return 0;
    s = seg_new(SEG_DATA, want);
    sim_sock_pass(e->sock, s);
    while (len < want && (piece = sim_sock_sending(e->sock, &from))) {
        if (piece > want - len)
            piece = want - len;
        memcpy(s->data + len, from, piece);
        len += (uint32_t)piece;
        sim_sock_sent(e->sock, (uint32_t)piece);
    }
    s->len = len;
    d->taken += len;
    sim_mix(c->w, d->taken << 8 | s->data[0]);
    if (d->finished)
        sim_seg_free(s);                    /* a reset is on its way: the bytes go nowhere */
    else
        seg_send(c, i, s);
    return len;
}

/* sim_fault_cut() has come to its place: the sender knows at once. */
static void send_cut(struct sim_conn *c, unsigned i)
{
    const uint8_t *from;

    c->dir[i].cut_at = UINT64_MAX;
    sim_fault_note(c->w, sim_sock_sending(c->end[i].sock, &from) ? SIM_FAULT_CUT : SIM_FAULT_RESET, c->machine[i], c);
    conn_reset(c);
    c->end[i].dead = true;
    c->end[i].err = -ECONNRESET;
    sim_sock_readable(c->end[i].sock);
}

void sim_end_pump(struct sim_conn *c, unsigned i)
{
    const struct sim_net *n = sim_net_of(c, i);
    struct end *e = &c->end[i];
    struct dir *d = &c->dir[i];

    if (c->state != CONN_UP && i == 0)
        return;
    while (e->sock && !e->dead) {
        if (d->taken == d->cut_at) {
            send_cut(c, i);
            break;
        }
        if (!seg_take(c, i))
            break;
        if (!c->local && sim_rng_chance(&c->w->net_rng, n->pause_ppm)) {
            sim_ev_set(c->w, &d->pump, c->w->now + sim_rng_below(&c->w->net_rng, PAUSE_NS));
            break;
        }
    }
    if (e->sock)
        sim_sock_writable(e->sock);
}

static void pump_due(struct sim *w, struct sim_event *ev)
{
    struct dir *d = container_of(ev, struct dir, pump);

    sim_end_pump(d->c, d->i);
}

void sim_end_read(struct sim_conn *c, unsigned i, uint32_t bytes)
{
    struct dir *d = &c->dir[!i];            /* what the other end sends */
    const uint8_t *from;

    d->read += bytes;
    if (!c->end[!i].sock || d->pump.place || d->ack_stuck || !sim_sock_sending(c->end[!i].sock, &from))
        return;
    if (sim_dir_blocked(c, i))
        d->ack_stuck = true;
    else
        sim_ev_set(c->w, &d->pump, c->w->now + sim_latency(c, i));
}

/* ---- receiving ---------------------------------------------------------------------------------------- */

/* The end of a connection as the network tells it: everything that waits ends. */
static void end_broken(struct sim_conn *c, unsigned i, int err)
{
    struct end *e = &c->end[i];
    struct dir *d = &c->dir[i];

    if (e->gone || e->dead)
        return;
    e->dead = true;
    e->err = err;
    if (d->stuck_since) {                   /* nobody sends it again */
        segs_free(&d->way);
        d->stuck_since = 0;
        sim_ev_del(c->w, &d->timeout);
    }
    if (e->sock) {
        sim_sock_readable(e->sock);
        sim_sock_writable(e->sock);
    }
}

static void flip_bit(struct sim_conn *c, struct seg *s)
{
    const uint64_t bit = sim_rng_below(&c->w->net_rng, s->len * 8ull);

    sim_fault_note(c->w, SIM_FAULT_FLIP, c->machine[0], c);
    s->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static bool flip_allowed(struct sim_conn *c, unsigned i)
{
    struct sim *w = c->w;
    struct sim_context before;
    bool ok;

    if (!w->on_flip)
        return false;
    before = sim_context_enter(w, NULL, NULL);
    ok = w->on_flip(w->on_flip_arg, c, i);
    sim_context_leave(w, &before);
    return ok;
}

/* Draws what happens to a segment of data that arrives. Return: whether it may go on to the receiver. */
static bool seg_judge(struct sim_conn *c, unsigned i, struct seg *s)
{
    const struct sim_net *n = sim_net_of(c, i);
    struct sim *w = c->w;
    struct sim_rng *r = &w->net_rng;

    s->judged = true;
    if (c->dir[i].flip || (sim_rng_chance(r, n->flip_ppm) && flip_allowed(c, i))) {
        c->dir[i].flip = false;
        flip_bit(c, s);
    }
    if (sim_rng_chance(r, n->reset_ppm)) {
        sim_fault_reset(c);
        return false;
    }
    if (sim_rng_chance(r, n->half_close_ppm)) {
        sim_fault_half_close(c, i);
        return false;
    }
    if (sim_rng_chance(r, n->blackhole_ppm)) {
        sim_fault_note(w, SIM_FAULT_BLACKHOLE, c->machine[i], c);
        sim_conn_hole(c, 1 + sim_rng_below(r, n->blackhole_ns));
        return true;
    }
    if (sim_rng_chance(r, n->stall_ppm)) {
        sim_fault_note(w, SIM_FAULT_STALL, c->machine[i], c);
        s->due = w->now + sim_rng_below(r, n->stall_ns);
        if (s->due > c->dir[i].due_last)
            c->dir[i].due_last = s->due;
        deliver_plan(c, i);
        return false;
    }
    return true;
}

static void stuck(struct sim_conn *c, unsigned i)
{
    struct dir *d = &c->dir[i];

    d->stuck_since = c->w->now;
    if (!d->timeout.place)
        sim_ev_set(c->w, &d->timeout, c->w->now + sim_net_of(c, i)->tcp_timeout_ns);
}

/* To an end that is gone. */
static void answer_reset(struct sim_conn *c, unsigned i)
{
    if (c->end[i].gone)
        return;
    dir_finish(c, !i, SEG_RST);
}

static void seg_receive(struct sim_conn *c, unsigned i, struct seg *s)
{
    struct end *to = &c->end[!i];

    if (to->gone) {
        if (s->kind == SEG_DATA)
            answer_reset(c, i);
        sim_seg_free(s);
        return;
    }
    if (s->kind == SEG_RST) {
        sim_release(s);
        end_broken(c, !i, -ECONNRESET);
        return;
    }
    if (s->kind == SEG_FIN || to->eof || to->shut || to->dead) {
        if (s->kind == SEG_FIN)
            to->eof = true;
        else
            sim_end_read(c, !i, s->len);    /* thrown away: after a half-close that only the receiver saw, too */
        sim_seg_free(s);
    } else {
        seg_push(&to->rx, s);
    }
    if (to->sock)
        sim_sock_readable(to->sock);
}

static void deliver_due(struct sim *w, struct sim_event *ev)
{
    struct dir *d = container_of(ev, struct dir, deliver);
    struct sim_conn *c = d->c;
    const unsigned i = d->i;
    struct seg *s = d->way.head;

    if (!s)
        return;
    if (s->due > w->now) {                  /* it was put off */
        deliver_plan(c, i);
        return;
    }
    if (!c->local && s->kind == SEG_DATA && !s->judged && !c->end[!i].gone && !seg_judge(c, i, s))
        return;
    if (sim_dir_blocked(c, i)) {
        if (c->end[i].dead || (c->end[i].gone && c->end[i].abort))
            segs_free(&d->way);             /* nobody sends it again */
        else
            stuck(c, i);
        return;
    }
    sim_seg_pop(&d->way);
    sim_ev_del(w, &d->timeout);
    seg_receive(c, i, s);
    deliver_plan(c, i);
}

static void timeout_due(struct sim *w, struct sim_event *ev)
{
    struct dir *d = container_of(ev, struct dir, timeout);
    struct sim_conn *c = d->c;
    const unsigned i = d->i;

    if (!d->stuck_since)
        return;
    segs_free(&d->way);
    d->stuck_since = 0;
    d->finished = true;
    if (c->end[i].gone)
        return;
    sim_fault_note(w, SIM_FAULT_TCP_TIMEOUT, c->machine[i], c);
    end_broken(c, i, -ETIMEDOUT);
}

void sim_dir_kick(struct sim_conn *c, unsigned i)
{
    struct dir *d = &c->dir[i];
    struct sim *w = c->w;
    uint64_t backoff;

    if (d->stuck_since && !sim_dir_blocked(c, i)) {
        backoff = w->now - d->stuck_since;
        if (backoff > BACKOFF_MAX_NS)
            backoff = BACKOFF_MAX_NS;
        d->stuck_since = 0;
        sim_ev_set(w, &d->deliver, w->now + sim_rng_below(&w->net_rng, backoff + 1));
    }
    if (d->ack_stuck && !sim_dir_blocked(c, !i)) {
        d->ack_stuck = false;
        sim_ev_set(w, &d->pump, w->now + sim_latency(c, !i));
    }
}

/* ---- ends --------------------------------------------------------------------------------------------- */

static void hole_over(struct sim *w, struct sim_event *ev)
{
    sim_conn_hole(container_of(ev, struct sim_conn, hole_end), 0);
}

void sim_conn_hole(struct sim_conn *c, uint64_t ns)
{
    c->hole = ns;
    sim_ev_del(c->w, &c->hole_end);
    if (ns && ns < UINT64_MAX - c->w->now) {
        c->hole_end.fn = hole_over;
        sim_ev_set(c->w, &c->hole_end, c->w->now + ns);
    }
    if (!ns) {
        sim_dir_kick(c, 0);
        sim_dir_kick(c, 1);
    }
}

void sim_dir_init(struct sim_conn *c, unsigned i)
{
    c->dir[i] = (struct dir){
        .c = c, .i = i, .deliver.fn = deliver_due, .pump.fn = pump_due, .timeout.fn = timeout_due,
        .cut_at = UINT64_MAX,
    };
}

void sim_dir_free(struct sim_conn *c, unsigned i)
{
    struct dir *d = &c->dir[i];

    sim_ev_del(c->w, &d->deliver);
    sim_ev_del(c->w, &d->pump);
    sim_ev_del(c->w, &d->timeout);
    segs_free(&d->way);
    segs_free(&c->end[i].rx);
}

void sim_end_shut(struct sim_conn *c, unsigned i)
{
    c->end[i].shut = true;
    dir_finish(c, i, SEG_FIN);
}

void sim_end_abort(struct sim_conn *c, unsigned i)
{
    c->end[i].abort = true;
}

/* What is under way has been lost once, and only its sender would send it again: be it that the way is still blocked, or
 * that it has not tried since. */
static bool is_overdue(const struct sim_conn *c, const struct dir *d)
{
    return d->stuck_since || (d->way.head && d->way.head->due < c->w->now);
}

/* What has left the machine may still arrive: any part of what is under way; and then a reset, unless nothing does. */
static void end_aborted(struct sim_conn *c, unsigned i)
{
    struct dir *d = &c->dir[i];
    const bool lost = is_overdue(c, d);

    way_cut(c, d, !lost);
    d->stuck_since = 0;
    sim_ev_del(c->w, &d->timeout);
    d->finished = true;
    if (!lost)
        seg_send(c, i, seg_new(SEG_RST, 0));
}

void sim_end_close(struct sim_conn *c, unsigned i, bool rude)
{
    struct end *e = &c->end[i];
    const bool unread = e->rx.head;

    e->sock = NULL;
    e->gone = true;
    segs_free(&e->rx);
    if (c->state != CONN_UP && i == 0) {    /* the client gave up on connecting */
        struct end *far = &c->end[1];

        if (c->state == CONN_ANSWERED && !c->waiting && !far->gone) {
            sim_ev_del(c->w, &c->syn);
            c->state = CONN_UP;
            dir_finish(c, 0, SEG_RST);
            return;
        }
        sim_conn_free(c);
        return;
    }
    /* A killed program's kernel answers unread bytes by a reset; what else it does may come to the same. */
    if (!c->end[!i].gone && !e->dead && e->abort)
        end_aborted(c, i);
    else if (!c->end[!i].gone && !e->dead)
        dir_finish(c, i, rude && (unread || sim_rng_chance(&c->w->net_rng, 500000)) ? SEG_RST : SEG_FIN);
    conn_check_over(c);
}

void sim_end_vanish(struct sim_conn *c, unsigned i)
{
    struct end *e = &c->end[i];
    struct dir *d = &c->dir[i];

    if (e->sock)
        sim_sock_lost(e->sock);
    if (i == 1 && c->waiting) {
        rt_list_del(&c->accept);
        c->waiting->queued--;
        c->waiting = NULL;
    }
    e->sock = NULL;
    e->gone = true;
    segs_free(&e->rx);
    /* What has left the machine may still arrive: any part of what is under way. */
    way_cut(c, d, !is_overdue(c, d));
    d->stuck_since = 0;
    sim_ev_del(c->w, &d->timeout);
    d->finished = true;
}

/* ---- faults done now ---------------------------------------------------------------------------------- */

void sim_fault_reset(struct sim_conn *c)
{
    sim_fault_note(c->w, SIM_FAULT_RESET, c->machine[0], c);
    conn_reset(c);
}

void sim_fault_half_close(struct sim_conn *c, unsigned i)
{
    sim_fault_note(c->w, SIM_FAULT_HALF_CLOSE, c->machine[i], c);
    /* The end is seen now; what is under way and what is sent later arrives at nobody. */
    c->end[!i].eof = true;
    if (c->end[!i].sock)
        sim_sock_readable(c->end[!i].sock);
    deliver_plan(c, i);
}

void sim_fault_blackhole(struct sim_conn *c, bool on)
{
    if (on && !c->hole)
        sim_fault_note(c->w, SIM_FAULT_BLACKHOLE, c->machine[0], c);
    sim_conn_hole(c, on ? UINT64_MAX : 0);
}

void sim_fault_flip(struct sim_conn *c, unsigned end)
{
    c->dir[end].flip = true;
}

void sim_fault_cut(struct sim_conn *c, unsigned end, uint64_t bytes)
{
    c->dir[end].cut_at = c->dir[end].taken + bytes;
}
