/*
 * history_sector.c - the clusters of one sector: their zones, what cannot be, and what may be forgotten
 *
 * A sector has a list of clusters, newest first, from one arena that is sized once. Most sectors have one cluster most of the
 * time, so the quadratic checks below are over a handful.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/history_internal.h"

/* ---- telling --------------------------------------------------------------------------------------------- */

void value_text(uint64_t v, char out[static 40])
{
    if (v == HIST_ZERO)
        snprintf(out, 40, "zeroes");
    else
        snprintf(out, 40, "w%" PRIu64 "#%" PRIu64, v >> 48, v & UINT64_C(0xffffffffffff));
}

void sector_fail(struct hist *h, uint32_t sector, const char *what, uint64_t value)
{
    char dump[4096], v[40], text[5000];

    h->stats.fails++;
    value_text(value, v);
    hist_dump(h, sector, dump, sizeof(dump));
    snprintf(text, sizeof(text), "sector %u: %s: %s, at tick %" PRIu64 "\n%s", sector, v, what, h->tick, dump);
    h->conf.fail(h->conf.user, text);
}

void no_room(struct hist *h)
{
    if (!h->full)
        h->conf.fail(
            h->conf.user,
            "the history is out of room: the workload never flushes, or the history forgets too little");
    h->full = true;
    h->stats.fails++;
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

struct cluster *sector_add(struct hist *h, uint32_t sector, uint64_t value)
{
    uint32_t i = h->cl_free;
    struct cluster *c;

    if (i) {
        h->cl_free = h->cl[i].next;
    } else if (h->cl_top < CL_MAX) {
        i = h->cl_top++;
    } else {
        no_room(h);
        return NULL;
    }
    c = &h->cl[i];
    *c = (struct cluster){ .value = value, .rf = NEVER, .gf = NEVER, .not_end = NEVER };
    c->next = h->sector[sector];
    h->sector[sector] = i;
    if (++h->cl_nr > h->stats.clusters_max)
        h->stats.clusters_max = h->cl_nr;
    return c;
}

void write_put(struct hist *h, struct hist_write *w)
{
    assert(w->refs);
    if (--w->refs)
        return;
    w->next = h->write_free;
    h->write_free = w;
    h->writes_nr--;
}

/* *link: where the cluster's number stands. */
void sector_drop(struct hist *h, uint32_t *link)
{
    const uint32_t i = *link;

    *link = h->cl[i].next;
    if (h->cl[i].w)
        write_put(h, h->cl[i].w);
    h->cl[i].next = h->cl_free;
    h->cl_free = i;
    h->cl_nr--;
}

/* ---- zones ----------------------------------------------------------------------------------------------- */

/* The first end. Of one that takes effect several times only the last effect counts, and reads before the
 * end say nothing of that. */
uint64_t zone_f(const struct cluster *c)
{
    if (!c->w)
        return c->base;
    return c->w->loose ? c->w->end : min_u64(c->w->end, c->rf);
}

uint64_t zone_s(const struct cluster *c)
{
    return max_u64(c->w ? c->w->since : c->base, c->rs);
}

/* Whether it was there for certain, at some instant of its zone. */
bool was_there(const struct cluster *c)
{
    return !c->w || c->w->fate == HIST_ACKED || ((c->flags & READ) && !c->w->loose);
}

/* A flush that should have made it stable failed. */
static bool is_doomed(const struct hist *h, const struct cluster *c, uint64_t f)
{
    for (unsigned i = 0; i < h->doomed_nr; i++)
        if (f >= h->doomed[i].lo && c->w->inv < h->doomed[i].hi)
            return true;
    return false;
}

/* It, or what came after it, outlasts a crash. */
bool is_stable(const struct hist *h, const struct cluster *c)
{
    uint64_t f;

    if (!c->w || (c->w->fate == HIST_ACKED && c->w->stable))
        return true;
    f = zone_f(c);
    return f < h->synced && !is_doomed(h, c, f);
}

/* A set of clusters that follow each other without a gap, as COMPARE AND WRITE promised. */
struct group {
    uint64_t f, s;
    bool there, stable;
    uint16_t of; /* of which group it is part */
};

struct view {
    struct cluster *c[SECTOR_MAX];
    struct group g[SECTOR_MAX];
    unsigned n;
    bool cands; /* the last group is that of all candidates together */
};

/* A chain says that @w took @v's place, with nothing in between. */
static bool chained(const struct cluster *w, const struct cluster *v)
{
    return w->chained && was_there(w) && v->value == w->from && v->value != HIST_ZERO &&
           !(v->w && v->w->loose) && !(v->flags & (OLD | CAND));
}

/* What of a sector can still be read. @only: this candidate is taken for the one, NULL: undecided. */
static bool view_make(struct hist *h, struct view *v, uint32_t sector, const struct cluster *only)
{
    uint64_t cand_base = 0;

    v->n = 0;
    v->cands = false;
    for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next)) {
        if ((c->flags & OLD) || (only && c != only && (c->flags & CAND)))
            continue;
        if ((c->flags & CAND) && c != only) {
            v->cands = true;
            cand_base = c->base;
            continue;
        }
        if (v->n == SECTOR_MAX - 1) {
            no_room(h);
            return false;
        }
        v->c[v->n] = c;
        v->g[v->n] = (struct group){ min_u64(zone_f(c), c->gf), zone_s(c), was_there(c), is_stable(h, c),
                                     (uint16_t)v->n };
        v->n++;
    }
    for (unsigned i = 0; i < v->n; i++) {
        if (!v->c[i]->chained)
            continue;
        for (unsigned k = 0; k < v->n; k++) {
            if (i == k || !chained(v->c[i], v->c[k]))
                continue;
            struct group *a = &v->g[v->g[i].of], *b = &v->g[v->g[k].of];

            if (a == b)
                break;
            a->f = min_u64(a->f, b->f);
            a->s = max_u64(a->s, b->s);
            a->there |= b->there;
            a->stable |= b->stable;
            for (unsigned m = 0, of = v->g[k].of, to = v->g[i].of; m < v->n; m++)
                if (v->g[m].of == of)
                    v->g[m].of = (uint16_t)to;
            break;
        }
    }
    if (v->cands) {
        v->c[v->n] = NULL;
        v->g[v->n] = (struct group){ cand_base, cand_base, true, true, (uint16_t)v->n };
        v->n++;
    }
    return true;
}

static bool forward(const struct group *g)
{
    return g->f < g->s;
}

/* Return: what cannot be, or NULL. */
static const char *view_judge(const struct view *v, uint64_t *value)
{
    for (unsigned i = 0; i < v->n; i++) {
        const struct group *a = &v->g[i];
        const struct cluster *c = v->c[i];

        *value = c ? c->value : HIST_ZERO;
        if (c && c->not_end != NEVER && !(c->w && c->w->loose) && c->not_end < zone_s(c))
            return "was there all the time, though a COMPARE AND WRITE meanwhile said MISCOMPARE";
        for (unsigned k = 0; c && c->chained && was_there(c) && k < v->n; k++) {
            if (k == i || !v->c[k])
                continue;
            if (chained(c, v->c[k]) && zone_f(c) < zone_s(v->c[k])) {
                *value = v->c[k]->value;
                return "was read after a COMPARE AND WRITE had taken its place";
            }
            if (k < i && v->c[k]->chained && was_there(v->c[k]) && v->c[k]->from == c->from &&
                c->from != HIST_ZERO) {
                for (unsigned m = 0; m < v->n; m++)
                    if (v->c[m] && chained(c, v->c[m]))
                        return "two COMPARE AND WRITE found the same value, which was written once";
            }
        }
        if (a->of != i || !forward(a))
            continue;
        for (unsigned k = 0; k < v->n; k++) {
            const struct group *b = &v->g[k];

            if (k == i || b->of != k || !(a->f < b->s && b->f < a->s))
                continue;
            if (forward(b))
                return "and another value were both there alone at one time";
            if (b->there)
                return "was read again after another value had taken its place, or though one had";
        }
    }
    return NULL;
}

/* ---- forgetting ------------------------------------------------------------------------------------------ */

/* Reads to come began at that tick or later. */
static uint64_t oldest(const struct hist *h)
{
    return h->reads.next == &h->reads ? h->tick : h->reads.next->inv;
}

/* A stable one that came after it for certain. */
bool overwritten_stably(struct hist *h, uint32_t sector, const struct cluster *c)
{
    const uint64_t f = zone_f(c);

    for (struct cluster *d = at(h, h->sector[sector]); d; d = at(h, d->next))
        if (d != c && !(d->flags & CAND) && was_there(d) && f < zone_s(d) && is_stable(h, d))
            return true;
    return false;
}

/* Chained to it, what comes after it keeps its begin. */
static void chain_inherit(struct hist *h, uint32_t sector, const struct cluster *v)
{
    for (struct cluster *w = at(h, h->sector[sector]); w; w = at(h, w->next))
        if (w != v && chained(w, v))
            w->gf = min_u64(w->gf, min_u64(zone_f(v), v->gf));
}

/* Return: how many can still be read. */
static unsigned prune(struct hist *h, uint32_t sector)
{
    const uint64_t t0 = oldest(h);
    struct view v;
    unsigned live;

    if (!h->cl[h->sector[sector]].next)
        return 1; /* one value: nothing to forget */
    if (!view_make(h, &v, sector, NULL))
        return 1;
    live = v.n;
    for (unsigned i = 0; i < v.n; i++) {
        const struct group *g = &v.g[v.g[i].of];
        bool gone = false;

        for (unsigned k = 0; k < v.n && !gone; k++) {
            const struct group *o = &v.g[k];

            if (o->of == k && k != v.g[i].of && o->there)
                gone = g->f < o->s && o->f < t0;
            if (v.c[i] && v.c[k] && i != k && chained(v.c[k], v.c[i]))
                gone |= zone_f(v.c[k]) < t0;
        }
        /* What is under way may yet be sent again, and be there once more. */
        if (!gone || (v.c[i] && v.c[i]->w && v.c[i]->w->fate == PENDING))
            continue;
        live--;
        if (v.c[i]) {
            if (!(v.c[i]->flags & OLD))
                chain_inherit(h, sector, v.c[i]);
            v.c[i]->flags |= OLD;
            continue;
        }
        for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next))
            if (c->flags & CAND)
                c->flags |= OLD;
    }
    for (uint32_t *l = &h->sector[sector]; *l;) {
        struct cluster *c = &h->cl[*l];
        if ((c->flags & OLD) && (h->conf.volatile_mem || overwritten_stably(h, sector, c)))
            sector_drop(h, l);
        else
            l = &c->next;
    }
    return live;
}

/* The oldest read under way will not be judged: what it may return need not be remembered for it. */
static void give_up_oldest(struct hist *h)
{
    struct hist_read *r = h->reads.next;

    h->reads.next = r->next;
    r->next->prev = &h->reads;
    r->next = r->prev = r;
    r->inv = 0;
}

void sector_settle(struct hist *h, uint32_t sector)
{
    struct view v;
    const char *what;
    uint64_t value;

    if (h->cl[h->sector[sector]].next && view_make(h, &v, sector, NULL) && (what = view_judge(&v, &value)))
        sector_fail(h, sector, what, value);
    while (prune(h, sector) > PATIENCE && h->reads.next != &h->reads && h->reads.next->inv + PATIENCE < h->tick)
        give_up_oldest(h);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

/* Not OLD ones of that value. Return: how many; *c: the last. */
unsigned sector_find(struct hist *h, uint32_t sector, uint64_t value, struct cluster **out)
{
    unsigned n = 0;

    for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next)) {
        if (c->value != value || (c->flags & OLD))
            continue;
        *out = c;
        n++;
    }
    return n;
}

/* It is what the sector had after the crash. */
static void resolve(struct hist *h, uint32_t sector, struct cluster *c)
{
    c->flags &= (uint8_t)~CAND;
    for (uint32_t *l = &h->sector[sector]; *l;) {
        if (h->cl[*l].flags & CAND)
            sector_drop(h, l);
        else
            l = &h->cl[*l].next;
    }
}

static void seen(struct cluster *c, uint64_t inv, uint64_t end)
{
    c->flags |= READ;
    c->rf = min_u64(c->rf, end);
    c->rs = max_u64(c->rs, inv);
}

static bool feasible(struct hist *h, uint32_t sector, struct cluster *c, uint64_t inv, uint64_t end)
{
    const struct cluster was = *c;
    struct view v;
    uint64_t value;
    bool can;

    seen(c, inv, end);
    can = view_make(h, &v, sector, c->flags & CAND ? c : NULL) && !view_judge(&v, &value);
    c->flags = was.flags;
    c->rf = was.rf;
    c->rs = was.rs;
    return can;
}

static const char *not_known(struct hist *h, uint32_t sector, uint64_t value)
{
    for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next))
        if (c->value == value)
            return "stale: other values have taken its place for certain";
    return "cannot be there: never written here, or refused, or long gone";
}

/* One sector of a read, or of a comparison that matched. */
void sector_read(struct hist *h, uint32_t sector, uint64_t value, uint64_t inv, uint64_t end)
{
    struct cluster *c = NULL, *can = NULL;
    unsigned n, ways = 0;

    if (inv < h->epoch || !inv) { /* 0: it took too long */
        h->stats.skipped++;
        return;
    }
    h->stats.checked++;
    n = sector_find(h, sector, value, &c);
    if (!n) {
        sector_fail(h, sector, not_known(h, sector, value), value);
        return;
    }
    if (n > 1) {
        for (struct cluster *d = at(h, h->sector[sector]); d; d = at(h, d->next)) {
            if (d->value != value || (d->flags & OLD) || !feasible(h, sector, d, inv, end))
                continue;
            ways++;
            can = d;
        }
        if (!ways)
            sector_fail(h, sector, "was read, and none of its writers can have written it then", value);
        if (ways != 1)
            return;
        c = can;
    }
    if (c->flags & CAND)
        resolve(h, sector, c);
    seen(c, inv, end);
    sector_settle(h, sector);
}
uint32_t *sector_link(struct hist *h, uint32_t sector, const struct hist_write *w)
{
    uint32_t *l = &h->sector[sector];

    while (*l && h->cl[*l].w != w)
        l = &h->cl[*l].next;
    return l;
}
