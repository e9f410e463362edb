/*
 * tgt_registry.c - which sessions there are: names, TSIHs, reinstatement (RFC 7143 4.4.3, 6.3.5)
 *
 * Belongs to the first core. Sessions ask by message and are answered by message; an entry lives from the
 * answer that let a session in until that session says it holds nothing any more. So a session that takes
 * another's place is let in only when the older one's last task is over, on whatever core that was: no write
 * of the old one can land behind one of the new.
 *
 * A word to a session (end, log out) travels in its entry. It arrives before the session's memory goes,
 * because that too waits for a message from here, sent later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "target/sess.h"

#define STEALS_NS (60 * RT_S)               /* two hosts under one name: so many times in so long */
#define STEALS_MAX 3u

enum word { WORD_NONE, WORD_LOGOUT, WORD_END };

struct reg_entry {
    struct rt_link link;
    struct tgt *tgt;
    struct sess *sess;                      /* for its core; here only to be posted along */
    struct tgt_core *core;
    uint64_t id;
    uint16_t tsih, cid, group;
    uint32_t portal;
    bool discovery, gone;
    char initiator[ISCSI_NAME_LEN_MAX + 1], target[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];
    struct rt_addr peer;
    struct reg_call *waiting;               /* who takes its place */
    unsigned steals;
    uint64_t steal_at;
    struct rt_msg msg;
    enum word word, next;                   /* on its way; to be sent when that came back */
    const char *why;
};

/* ---- words to a session ---------------------------------------------------------------------------------- */

static void entry_free(struct reg_entry *e)
{
    if (e->gone && !e->word)
        free(e);
}

static void word_send(struct reg_entry *e);

static void word_back(struct rt_msg *m)
{
    struct reg_entry *e = container_of(m, struct reg_entry, msg);

    e->word = WORD_NONE;
    if (e->next && !e->gone)
        word_send(e);
    else
        entry_free(e);
}

/* On the session's core. */
static void word_arrived(struct rt_msg *m)
{
    struct reg_entry *e = container_of(m, struct reg_entry, msg);
    struct sess *s = e->sess;

    if (e->word == WORD_END)
        sess_close(s, true, e->why);
    else if (s->state == SESS_FULL)
        text_async_logout(s, 3);
    m->fn = word_back;
    rt_post(e->tgt->rt, m);
}

static void word_send(struct reg_entry *e)
{
    e->word = e->next;
    e->next = WORD_NONE;
    e->msg.fn = word_arrived;
    rt_post(e->core->rt, &e->msg);
}

static void word_say(struct reg_entry *e, enum word word, const char *why)
{
    if (e->word >= word || e->next >= word)
        return;
    if (word == WORD_END)
        e->why = why;
    e->next = word;
    if (!e->word)
        word_send(e);
}

/* ---- joining --------------------------------------------------------------------------------------------- */

/* On the session's core. */
static void call_answered(struct rt_msg *m)
{
    sess_answered(container_of(m, struct reg_call, msg)->sess);
}

static void call_answer(struct reg_call *c, uint16_t status)
{
    c->status = status;
    c->msg.fn = call_answered;
    rt_post(c->sess->rt, &c->msg);
}

static struct reg_entry *entry_by_tsih(struct tgt *t, uint16_t tsih)
{
    rt_list_for(l, &t->entries) {
        struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        if (e->tsih == tsih)
            return e;
    }
    return NULL;
}

static bool tsih_is_used(const struct tgt *t, uint16_t tsih)
{
    return t->tsih_used[tsih / 64] >> tsih % 64 & 1;
}

/* There are more than sessions (TGT_SESSIONS_MAX): one is always found. */
static uint16_t tsih_new(struct tgt *t)
{
    do {
        t->tsih_last++;
    } while (!t->tsih_last || tsih_is_used(t, t->tsih_last));
    t->tsih_used[t->tsih_last / 64] |= 1ull << t->tsih_last % 64;
    return t->tsih_last;
}

static void tsih_free(struct tgt *t, uint16_t tsih)
{
    assert(tsih_is_used(t, tsih));
    t->tsih_used[tsih / 64] &= ~(1ull << tsih % 64);
}

/* The session whose place this one takes: of the same SCSI ports, and a portal group is one. Discovery sessions hold
 * nothing and live side by side. */
static struct reg_entry *entry_same(struct tgt *t, const struct sess *s)
{
    rt_list_for(l, &t->entries) {
        struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        if (!e->discovery && !s->discovery && e->group == s->group && !memcmp(e->isid, s->isid, sizeof(e->isid)) &&
            !strcmp(e->initiator, s->initiator) && !strcmp(e->target, s->target))
            return e;
    }
    return NULL;
}

static void call_admit(struct tgt *t, struct reg_call *c)
{
    const struct sess *s = c->sess;
    struct reg_entry *e = calloc(1, sizeof(*e));

    if (!e) {
        call_answer(c, ISCSI_LOGIN_OUT_OF_RESOURCES);
        return;
    }
    e->tgt = t;
    e->sess = c->sess;
    e->core = s->core;
    e->id = c->id = ++t->id_last;
    e->tsih = c->tsih = tsih_new(t);
    e->cid = s->cid;
    e->group = s->group;
    e->portal = s->portal;
    e->discovery = s->discovery;
    memcpy(e->initiator, s->initiator, sizeof(e->initiator));
    memcpy(e->target, s->target, sizeof(e->target));
    memcpy(e->isid, s->isid, sizeof(e->isid));
    e->peer = s->peer;
    e->steals = c->steals;
    e->steal_at = c->steal_at;
    rt_list_push(&t->entries, &e->link);
    t->entries_nr++;
    c->entry = e;
    portal_login_over(t, &s->peer, false);
    call_answer(c, ISCSI_LOGIN_OK);
}

static bool same_host(const struct rt_addr *a, const struct rt_addr *b)
{
    struct rt_addr x = *a, y = *b;

    if (x.sa.sa_family == AF_INET)
        x.in.sin_port = y.in.sin_port = 0;
    else if (x.sa.sa_family == AF_INET6)
        x.in6.sin6_port = y.in6.sin6_port = 0;
    return rt_addr_equal(&x, &y);
}

/* Two hosts with one initiator name throw each other out for ever; the operator is told which. */
static void steal_note(struct tgt *t, struct reg_entry *old, struct reg_call *c)
{
    const uint64_t now = rt_now(t->rt);
    char a[RT_ADDR_STR_MAX];

    if (same_host(&old->peer, &c->sess->peer))
        return;
    c->steals = now - old->steal_at < STEALS_NS ? old->steals + 1 : 1;
    c->steal_at = now;
    rt_addr_format(&old->peer, a);
    if (c->steals == STEALS_MAX)
        rt_log(RT_WARN,
               "two hosts, %s and %s, use the initiator name %s and end each other's sessions with %s; "
               "give each a name of its own",
               a, c->sess->peer_text, c->sess->initiator, c->sess->target);
}

static void call_judge(struct tgt *t, struct reg_call *c)
{
    const struct sess *s = c->sess;
    struct reg_entry *old = entry_same(t, s);

    if (t->stopping) {
        call_answer(c, ISCSI_LOGIN_UNAVAILABLE);
    } else if (!portal_is_open(t, s->portal)) {
        call_answer(c, ISCSI_LOGIN_UNAVAILABLE);   /* it was taken away meanwhile */
    } else if (!s->discovery && !snap_find(t->snap, s->target)) {
        call_answer(c, ISCSI_LOGIN_NOT_FOUND);
    } else if (t->entries_nr >= TGT_SESSIONS_MAX) {
        rt_log_peer(RT_WARN, "there are %u sessions, which is the most; a login was refused", t->entries_nr);
        call_answer(c, ISCSI_LOGIN_OUT_OF_RESOURCES);
    } else if (old) {
        steal_note(t, old, c);
        if (old->waiting)                   /* the newest is meant */
            call_answer(old->waiting, ISCSI_LOGIN_UNAVAILABLE);
        old->waiting = c;
        word_say(old, WORD_END, "the initiator logged in anew (session reinstatement)");
    } else {
        call_admit(t, c);
    }
}

static void join_arrived(struct rt_msg *m)
{
    struct reg_call *c = container_of(m, struct reg_call, msg);

    call_judge(c->sess->core->tgt, c);
}

static void call_send(struct sess *s, void (*fn)(struct rt_msg *m))
{
    s->reg.msg.fn = fn;
    s->reg.entry = NULL;
    s->reg.steals = 0;
    rt_post(s->core->tgt->rt, &s->reg.msg);
}

void reg_join(struct sess *s)
{
    call_send(s, join_arrived);
}

/* 6.3.1, for a TSIH other than 0: sessions have one connection here, and none is taken over. */
static void probe_arrived(struct rt_msg *m)
{
    struct reg_call *c = container_of(m, struct reg_call, msg);
    const struct sess *s = c->sess;
    const struct reg_entry *e = entry_by_tsih(s->core->tgt, s->tsih);

    call_answer(c, !e || memcmp(e->isid, s->isid, sizeof(e->isid)) ? ISCSI_LOGIN_NO_SESSION
                   : e->cid == s->cid                              ? ISCSI_LOGIN_CANNOT_INCLUDE
                                                                   : ISCSI_LOGIN_TOO_MANY);
}

void reg_probe(struct sess *s)
{
    call_send(s, probe_arrived);
}

/* ---- leaving --------------------------------------------------------------------------------------------- */

/* On the session's core. */
static void free_arrived(struct rt_msg *m)
{
    sess_free(container_of(m, struct sess, gone));
}

static void gone_arrived(struct rt_msg *m)
{
    struct sess *s = container_of(m, struct sess, gone);
    struct tgt *t = s->core->tgt;
    struct reg_entry *e = s->reg.entry;
    struct reg_call *waiting = NULL;

    if (e) {
        waiting = e->waiting;
        rt_list_del(&e->link);
        tsih_free(t, e->tsih);
        t->entries_nr--;
        e->gone = true;
        entry_free(e);
    } else {
        portal_login_over(t, &s->peer, s->auth_failed);
    }
    portal_placed(s->core, -1);
    m->fn = free_arrived;
    rt_post(s->rt, m);
    if (waiting)
        call_judge(t, waiting);
    tgt_session_gone(t);
}

void reg_gone(struct sess *s)
{
    s->gone.fn = gone_arrived;
    rt_post(s->core->tgt->rt, &s->gone);
}

/* ---- for the rest of the first core ---------------------------------------------------------------------- */

unsigned reg_count(struct tgt *t, const char *iqn)
{
    unsigned n = 0;

    rt_list_for(l, &t->entries) {
        const struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        n += !iqn || (!e->discovery && !strcmp(e->target, iqn));
    }
    return n;
}

unsigned reg_count_portal(struct tgt *t, uint32_t portal)
{
    unsigned n = 0;

    rt_list_for(l, &t->entries) {
        const struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        n += !e->discovery && e->portal == portal;
    }
    return n;
}

void reg_end_portal(struct tgt *t, uint32_t portal, const char *why)
{
    rt_list_for(l, &t->entries) {
        struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        if (e->portal == portal)
            word_say(e, WORD_END, why);
    }
}

void reg_end(struct tgt *t, const char *iqn, const char *why)
{
    rt_list_for(l, &t->entries) {
        struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        if (!iqn || (!e->discovery && !strcmp(e->target, iqn)))
            word_say(e, WORD_END, why);
    }
}

int reg_ask_logout(struct tgt *t, uint64_t id)
{
    int found = -ENOENT;

    rt_list_for(l, &t->entries) {
        struct reg_entry *e = rt_list_entry(l, struct reg_entry, link);

        if (id && e->id != id)
            continue;
        word_say(e, WORD_LOGOUT, NULL);
        found = 0;
    }
    return found;
}

struct end_later {
    struct rt_msg msg;
    struct tgt *tgt;
    const char *why;
    char iqn[ISCSI_NAME_LEN_MAX + 1];
};

static void end_arrived(struct rt_msg *m)
{
    struct end_later *e = container_of(m, struct end_later, msg);

    reg_end(e->tgt, e->iqn, e->why);
    free(e);
}

void reg_end_later(struct sess *s, const char *why)
{
    struct end_later *e = calloc(1, sizeof(*e));

    if (!e)
        return;                             /* the sessions stay: a cold reset that was only warm */
    e->msg.fn = end_arrived;
    e->tgt = s->core->tgt;
    e->why = why;
    memcpy(e->iqn, s->target, sizeof(e->iqn));
    rt_post(e->tgt->rt, &e->msg);
}

void reg_free(struct tgt *t)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&t->entries)))
        free(rt_list_entry(l, struct reg_entry, link));
}
