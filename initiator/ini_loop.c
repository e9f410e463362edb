/*
 * ini_loop.c - the loopback accelerator on the initiator: its part of a login, and the memory that it needs
 *
 * Owns the offer, what comes of it, and the session's arenas with the buffers that callers hold in them. The text around
 * it is ini_login.c's, handing over and the datamover are loopback/'s.
 *
 * A login with an offer has one round trip more than one without: the operational keys go without T, the target's answer
 * brings the invitation, and what ends the login says whether the memories were handed over. Whatever fails on that way
 * means TCP, with the reason kept for who asks, unless shared memory was asked for by name.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

#define SETTLE_LEN (512ul << 10)             /* bytes of an arena that are moved between nodes in a turn */

static bool required(const struct ini_sess *s)
{
    return s->conf.set.transport == INI_TRANSPORT_SHM;
}

static void why_note(struct ini_sess *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void why_note(struct ini_sess *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->loop.why, sizeof(s->loop.why), fmt, ap);
    va_end(ap);
}

/* It is TCP, then. @hopeless: trying again changes nothing. Return: false when that ends the login. */
static bool tcp_instead(struct ini_sess *s, int err, bool hopeless, const char *why)
{
    why_note(s, "%s", why);
    s->login->loop = LOOP_NONE;
    if (!required(s))
        return true;
    s->hopeless = hopeless;
    ini_conn_lost(s, err, "no shared memory, which transport = shm demands: %.150s (auto takes TCP then)", why);
    return false;
}

/* ---- arenas --------------------------------------------------------------------------------------------- */

static void arena_free(struct ini_arena *a)
{
    if (!a)
        return;
    assert(!a->out);
    loop_arena_drop(a->mem);
    free(a);
}

static void arena_retire(struct ini_sess *s)
{
    struct ini_arena *a = s->loop.arena;

    s->loop.arena = NULL;
    if (!a)
        return;
    if (!a->out) {
        arena_free(a);
        return;
    }
    rt_list_push(&s->loop.old, &a->link);
    s->loop.old_nr++;
}

/* Another can take its place: what callers still have of it is not more than may be. */
static bool arena_may_go(const struct ini_sess *s)
{
    return !s->loop.arena || !s->loop.arena->out || s->loop.old_nr < INI_ARENAS_OLD_MAX;
}

static bool arena_serves(const struct ini_sess *s)
{
    const struct ini_arena *a = s->loop.arena;

    return a && !s->loop.spent && (!loop_arena_worn(a->mem) || !arena_may_go(s));
}

static void arena_run(struct rt_work *w)
{
    struct ini_sess *s = container_of(w, struct ini_sess, loop.work);

    s->loop.made_err = loop_arena_new(&s->loop.made, (size_t)s->conf.set.arena_mib << 20);
}

static void join_begin(struct ini_sess *s);

/* The login that it was for may be over; the next one finds it. */
static void arena_done(struct rt_work *w)
{
    struct ini_sess *s = container_of(w, struct ini_sess, loop.work);
    struct ini_arena *a = s->loop.made_err ? NULL : calloc(1, sizeof(*a));

    s->loop.making = false;
    if (a) {
        a->mem = s->loop.made;
        arena_retire(s);
        s->loop.arena = a;
        s->loop.settled = 0;
        s->loop.full = s->loop.spent = false;
    } else if (!s->loop.made_err) {
        s->loop.made_err = -ENOMEM;
        loop_arena_drop(s->loop.made);
    }
    s->loop.made = NULL;
    ini_move_check(s);
    if (s->conn == CONN_LOGIN && s->login && s->login->loop == LOOP_JOINING)
        join_begin(s);
}

/* On a helper thread: where memory is locked all of it is touched, and others' sessions live on this core. */
static void arena_make(struct ini_sess *s)
{
    if (s->loop.making)
        return;
    s->loop.making = true;
    s->loop.work.run = arena_run;
    s->loop.work.done = arena_done;
    rt_work(s->rt, &s->loop.work);
}

/* ---- the login ------------------------------------------------------------------------------------------ */

bool ini_loop_offer(struct ini_sess *s, struct iscsi_text *t)
{
    char offer[LOOP_TEXT_MAX];

    if (s->discovery)
        return true;
    if (s->conf.set.transport == INI_TRANSPORT_TCP)
        return tcp_instead(s, 0, false, "asked for (transport = tcp)");
    if (!required(s) && !s->loop.same_host)
        return tcp_instead(s, 0, false, "the portal is not an address of this host");
    if (!required(s) && s->loop.hangups >= INI_HANGUPS_MAX)
        return tcp_instead(s, 0, false, "the target gives no answer where shared memory is offered");
    if (!required(s) && s->loop.vain >= INI_LOOP_VAIN_MAX)
        return tcp_instead(s, 0, false, "connections over shared memory broke at once, one after the other");
    if (s->loop.spent && !arena_may_go(s))
        return tcp_instead(s, -ENOBUFS, false,
                           "the memory to share is used up, and buffers in earlier ones are still in use");
    if (!loop_offer_encode(offer))
        return tcp_instead(s, -EOPNOTSUPP, true, "this host does not say which start of it this is (boot id)");
    iscsi_text_add(t, LOOP_KEY, offer);
    s->login->loop = LOOP_OFFERED;
    return true;
}

bool ini_loop_told(struct ini_sess *s, const char *key, const char *value)
{
    struct ini_login *l = s->login;
    const char *why;

    if (l->loop == LOOP_JOINED && !strcmp(key, LOOP_KEY_GO)) {
        l->loop_yes = !strcmp(value, "Yes");
        return true;
    }
    if (l->loop != LOOP_OFFERED || strcmp(key, LOOP_KEY))
        return false;
    why = loop_invitation_decode(&l->invitation, value);
    why_note(s, "%s", why ? why : "");
    l->loop_told = true;
    return true;
}

static void join_failed(struct ini_sess *s, int err, const char *why)
{
    /* Nobody there, or not for us: that stays so. Others pass: a target that has no room, or just dies. */
    const bool hopeless = err == -ENOENT || err == -EACCES || err == -EPERM || err == -EPROTO;

    if (tcp_instead(s, err, hopeless, why))
        ini_login_go_on(s);
}

static void joined(void *user, int err, const char *why)
{
    struct ini_sess *s = user;

    if (s->conn != CONN_LOGIN || !s->login || s->login->loop != LOOP_JOINING)
        return; /* the connection ended meanwhile: conn_gone() follows */
    if (err) {
        join_failed(s, err, why);
        return;
    }
    s->login->loop = LOOP_JOINED;
    iscsi_text_add(&s->login->answer, LOOP_KEY_GO, "Yes");
    ini_login_go_on(s);
}

/* There is an arena now, or there will be none. A worn one will do where no new one is to be had; one that cannot serve a
 * command will not. */
static void join_begin(struct ini_sess *s)
{
    char why[80];
    int err = s->loop.arena && !s->loop.spent ? 0 : s->loop.made_err;

    if (err) {
        snprintf(why, sizeof(why), "no memory to share, %d MiB: %s", s->conf.set.arena_mib, strerror(-err));
        join_failed(s, err, why);
        return;
    }
    assert(s->loop.arena);
    assert(!s->loop.join);
    err = loop_join_start(&s->loop.join, s->rt, &s->login->invitation, s->loop.arena->mem, joined, s);
    if (err)
        join_failed(s, err, "no memory to hand memory over");
}

bool ini_loop_answered(struct ini_sess *s, const struct iscsi_text *answer)
{
    struct ini_login *l = s->login;
    char why[sizeof(s->loop.why)];

    if (l->loop != LOOP_OFFERED)
        return true;
    if (!l->loop_told || s->loop.why[0]) {
        snprintf(why, sizeof(why), "%s",
                 l->loop_told ? s->loop.why : "the target does not know it (no answer)");
        return tcp_instead(s, -EOPNOTSUPP, true, why);
    }
    l->loop = LOOP_JOINING;
    l->answer = *answer;
    if (arena_serves(s))
        join_begin(s);
    else
        arena_make(s);
    return false;
}

/* What @s->params says is agreed on. */
static bool shm_enable(struct ini_sess *s)
{
    struct dm *dm;
    const int err = dm_shm_new_initiator(&dm, s->dm, s->loop.join, s->loop.arena->mem, &ini_dm_events, s);

    if (err) { /* the target is there already: no way back to TCP */
        ini_conn_lost(s, err, "no memory for a connection over shared memory");
        return false;
    }
    s->dm = dm;
    s->loop.join = NULL;
    s->loop.on = true;
    s->params.header_digest = s->params.data_digest = 0;
    why_note(s, "the target is on this host");
    rt_log(RT_DEBUG, "%s: shares memory with its target", s->conf.target);
    s->loop.was = true;
    return true;
}

bool ini_loop_enable(struct ini_sess *s)
{
    const struct ini_login *l = s->login;

    if (l->loop == LOOP_JOINED && l->loop_yes)
        return shm_enable(s);
    if (l->loop == LOOP_OFFERED &&
        !tcp_instead(s, -EPROTO, true, "the target ended the login where it was to answer the offer"))
        return false;
    if (l->loop == LOOP_JOINED &&
        !tcp_instead(s, -EAGAIN, false, "the target took the memory and then went on without it"))
        return false;
    loop_join_free(s->loop.join);
    s->loop.join = NULL;
    if (s->loop.was)
        rt_log(RT_NOTICE, "%s: goes on over TCP, without shared memory: %s", s->conf.target, s->loop.why);
    s->loop.was = false;
    dm_notice_key_values(s->dm, &s->params);
    dm_enable(s->dm);
    return true;
}

/* Some do not answer a key that they do not know, though they have to (RFC 7143 6.2); and one that takes the memories and
 * then does not go on would keep us out for ever. Once is no proof: any connection may break, and a session is not to miss
 * shared memory for that. */
void ini_loop_unanswered(struct ini_sess *s, unsigned weight)
{
    if (!s->login || s->login->loop == LOOP_NONE || required(s))
        return;
    s->loop.hangups += weight;
    s->again = true;
}

void ini_loop_gone(struct ini_sess *s)
{
    loop_join_free(s->loop.join);
    s->loop.join = NULL;
    s->loop.vain = s->vain ? s->loop.vain + s->loop.on : 0;
    s->loop.on = false;
}

/* There is no stand-in for a command, though none is out: so many were lost, or those that were lie so, that no room is left.
 * Sent again it would meet the same, so the next login has another arena, or TCP. */
void ini_loop_spent(struct ini_sess *s)
{
    s->loop.spent |= s->loop.on;
}

/* A step a turn: others' sessions live on this core. A move that comes meanwhile begins it anew. */
static void settle_step(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, loop.settle);
    struct rt_shm *shm = s->loop.arena ? loop_arena_shm(s->loop.arena->mem) : NULL;
    const size_t left = shm ? rt_shm_len(shm) - s->loop.settled : 0, len = left < SETTLE_LEN ? left : SETTLE_LEN;

    (void)res;
    s->loop.settling = false;
    if (!len || s->move.step || s->stopping || !rt_mem_move((uint8_t *)rt_shm_mem(shm) + s->loop.settled, len, s->rt))
        return;
    s->loop.settled += len;
    s->loop.settling = true;
    rt_defer(s->rt, &s->loop.settle);
}

void ini_loop_settle(struct ini_sess *s)
{
    assert(!s->loop.settling);
    s->loop.settled = 0;
    s->loop.settling = true;
    rt_defer(s->rt, &s->loop.settle);
}

void ini_loop_init(struct ini_sess *s)
{
    s->loop.settle.done = settle_step;
    rt_list_init(&s->loop.old);
}

void ini_loop_exit(struct ini_sess *s)
{
    struct rt_link *l;

    assert(!s->loop.making && !s->loop.join);
    arena_free(s->loop.arena);
    while ((l = rt_list_pop(&s->loop.old)))
        arena_free(rt_list_entry(l, struct ini_arena, link));
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

static bool arena_takes(const struct ini_sess *s, size_t len)
{
    return s->loop.arena && len && len <= rt_shm_len(loop_arena_shm(s->loop.arena->mem)) / 4;
}

void *ini_buf_get(struct ini_sess *s, size_t len)
{
    void *mem = NULL;

    rt_assert_here(s->rt);
    if (arena_takes(s, len)) {
        mem = loop_arena_get(s->loop.arena->mem, len);
        s->loop.full = !mem;
        s->loop.arena->out += mem != NULL;
    }
    return mem ? mem : rt_mem_alloc(len);
}

static bool arena_put(struct ini_arena *a, void *mem, size_t len)
{
    if (!loop_arena_has(a->mem, mem))
        return false;
    assert(a->out);
    a->out--;
    loop_arena_put(a->mem, mem, len);
    return true;
}

void ini_buf_put(struct ini_sess *s, void *mem, size_t len)
{
    rt_assert_here(s->rt);
    if (s->loop.arena && arena_put(s->loop.arena, mem, len)) {
        s->loop.full = false;
        return;
    }
    rt_list_for (l, &s->loop.old) {
        struct ini_arena *a = rt_list_entry(l, struct ini_arena, link);

        if (!arena_put(a, mem, len))
            continue;
        if (!a->out) {
            rt_list_del(&a->link);
            s->loop.old_nr--;
            arena_free(a);
        }
        return;
    }
    rt_mem_free(mem, len);
}

bool ini_buf_good(const struct ini_sess *s, const void *mem, size_t len)
{
    return !s->loop.on || s->loop.full || !arena_takes(s, len) ||
           loop_arena_shared(s->loop.arena->mem, mem, len);
}
