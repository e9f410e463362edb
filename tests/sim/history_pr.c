/*
 * history_pr.c - see history_pr.h
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/history_pr.h"

static void fail(struct prh *p, const char *what, unsigned nexus)
{
    char text[400];

    snprintf(text, sizeof(text),
             "reservations: %s; nexus %u (key %" PRIx64 "), holder %d, type %d, registered: %d, preserved: %d",
             what, nexus, p->key[nexus], p->type ? p->holder : -1, p->type, p->key[nexus] != 0, p->aptpl);
    p->fail(p->user, text);
}

static void changed(struct prh *p)
{
    p->since = ++p->tick;
}

uint64_t prh_tick(struct prh *p)
{
    return ++p->tick;
}

bool prh_free(const struct prh *p)
{
    return !p->changing && !p->ghosts;
}

void prh_begin(struct prh *p, const struct prh_op *op)
{
    assert(prh_free(p));
    p->op = *op;
    p->changing = true;
    changed(p);
}

static void unregister(struct prh *p, unsigned nexus)
{
    p->key[nexus] = 0;
    if (p->type && p->holder == (int)nexus)
        p->type = PRH_NONE;
}

static bool is_register(const struct prh_op *op)
{
    return op->sa == PRH_REGISTER || op->sa == PRH_REGISTER_IGNORE;
}

/* What the command must answer, and what is so after it. */
static enum prh_answer carry_out(struct prh *p, const struct prh_op *op)
{
    const uint64_t mine = p->key[op->nexus];
    bool any = false;

    if (op->sa != PRH_REGISTER_IGNORE && (op->key != mine || (op->sa != PRH_REGISTER && !mine)))
        return PRH_CONFLICT;
    switch (op->sa) {
    case PRH_REGISTER:
    case PRH_REGISTER_IGNORE:
        if (mine || op->sa_key) {
            p->aptpl = op->aptpl;
            p->unsure_aptpl = false;
        }
        if (mine && !op->sa_key)
            unregister(p, op->nexus);
        else
            p->key[op->nexus] = op->sa_key;
        return PRH_GOOD;
    case PRH_RESERVE:
        if (p->type)
            return p->holder == (int)op->nexus && p->type == op->type ? PRH_GOOD : PRH_CONFLICT;
        p->type = op->type;
        p->holder = (int)op->nexus;
        return PRH_GOOD;
    case PRH_RELEASE:
        if (!p->type || p->holder != (int)op->nexus)
            return PRH_GOOD;
        if (p->type != op->type)
            return PRH_REFUSED;
        p->type = PRH_NONE;
        return PRH_GOOD;
    case PRH_CLEAR:
        memset(p->key, 0, sizeof(p->key));
        p->type = PRH_NONE;
        return PRH_GOOD;
    case PRH_PREEMPT:
    case PRH_PREEMPT_ABORT:
        for (unsigned i = 0; i < PRH_NEXUS_MAX; i++)
            any |= p->key[i] == op->sa_key;
        if (!any)
            return PRH_CONFLICT;
        if (p->type && p->key[p->holder] == op->sa_key) {
            p->holder = (int)op->nexus;
            p->type = op->type;
        }
        for (unsigned i = 0; i < PRH_NEXUS_MAX; i++)
            if (i != op->nexus && p->key[i] == op->sa_key)
                unregister(p, i);
        return PRH_GOOD;
    }
    return PRH_REFUSED;
}

void prh_end(struct prh *p, enum prh_answer answer)
{
    static const char *const names[] = { "GOOD", "RESERVATION CONFLICT", "no answer", "aborted",
                                         "another refusal" };
    enum prh_answer want;
    char text[200];

    assert(p->changing);
    p->changing = false;
    changed(p);
    if (answer == PRH_LOST || answer == PRH_MAYBE) {
        p->unsure = p->unsure_aptpl = true;
        if (answer == PRH_LOST)
            p->ghosts |= 1u << p->op.nexus;
        return;
    }
    if (answer == PRH_REFUSED)
        return;
    if (p->unsure) { /* it was done to what is not known; but what is preserved is known then */
        if (answer == PRH_GOOD && is_register(&p->op) && p->op.sa_key) {
            p->aptpl = p->op.aptpl;
            p->unsure_aptpl = false;
        }
        return;
    }
    p->judged++;
    want = carry_out(p, &p->op);
    if (want == answer)
        return;
    snprintf(text, sizeof(text),
             "service action %d with key %" PRIx64 ", new key %" PRIx64 ", type %d: %s instead of %s", p->op.sa,
             p->op.key, p->op.sa_key, p->op.type, names[answer], names[want]);
    fail(p, text, p->op.nexus);
}

bool prh_let_in(const struct prh *p, unsigned nexus, bool write)
{
    const bool registrants = p->type >= PRH_WRITE_EXCLUSIVE_RO;

    if (!p->type || p->holder == (int)nexus || (registrants && p->key[nexus]))
        return true;
    return !write && (p->type == PRH_WRITE_EXCLUSIVE || p->type == PRH_WRITE_EXCLUSIVE_RO);
}

void prh_access(struct prh *p, uint64_t begin, unsigned nexus, bool write, bool conflict)
{
    ++p->tick;
    if (p->unsure || p->changing || begin <= p->since)
        return;
    p->judged++;
    if (prh_let_in(p, nexus, write) != conflict)
        return;
    fail(p,
         conflict ? "a command met a conflict, and may be carried out"
         : write  ? "a write was carried out against a reservation"
                  : "a read was carried out against a reservation",
         nexus);
}

void prh_read(struct prh *p, uint64_t begin, const uint64_t key[static PRH_NEXUS_MAX], int holder,
              enum prh_type type)
{
    ++p->tick;
    if (p->changing || p->ghosts || begin <= p->since)
        return;
    if (!p->unsure) {
        p->judged++;
        if (memcmp(key, p->key, sizeof(p->key)) || type != p->type || (type && holder != p->holder))
            fail(p, "PERSISTENT RESERVE IN tells of other registrations or another reservation",
                 holder >= 0 ? (unsigned)holder : 0);
    }
    memcpy(p->key, key, sizeof(p->key));
    p->type = type;
    p->holder = holder;
    p->unsure = false;
    changed(p);
}

void prh_nexus_up(struct prh *p, unsigned nexus)
{
    ++p->tick;
    p->ghosts &= ~(1u << nexus);
}

void prh_target_down(struct prh *p)
{
    changed(p);
}

void prh_target_up(struct prh *p)
{
    changed(p);
    p->ghosts = 0;
    if (p->unsure || p->changing || p->unsure_aptpl || p->aptpl) {
        p->unsure |= p->changing || p->unsure_aptpl;
        return;
    }
    memset(p->key, 0, sizeof(p->key));
    p->type = PRH_NONE;
}
