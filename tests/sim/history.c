/*
 * history.c - clusters and zones of each sector: see history.h
 *
 * A sector has a list of clusters, newest first, from one arena that is sized once. Most sectors have one
 * cluster most of the time, so the quadratic checks below are over a handful.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- telling --------------------------------------------------------------------------------------------- */

static void value_text(uint64_t v, char out[static 40])
{
    if (v == HIST_ZERO)
        snprintf(out, 40, "zeroes");
    else
        snprintf(out, 40, "w%" PRIu64 "#%" PRIu64, v >> 48, v & UINT64_C(0xffffffffffff));
}

static void fail(struct hist *h, uint32_t sector, const char *what, uint64_t value)
{
    char dump[4096], v[40], text[5000];

    h->stats.fails++;
    value_text(value, v);
    hist_dump(h, sector, dump, sizeof(dump));
    snprintf(text, sizeof(text), "sector %u: %s: %s, at tick %" PRIu64 "\n%s", sector, v, what, h->tick, dump);
    h->conf.fail(h->conf.user, text);
}

static void no_room(struct hist *h)
{
    if (!h->full)
        h->conf.fail(h->conf.user, "the history is out of room: the workload never flushes, or the history forgets too little");
    h->full = true;
    h->stats.fails++;
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static struct cluster *cl_new(struct hist *h, uint32_t sector, uint64_t value)
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

static struct hist_write *write_new(struct hist *h)
{
    struct hist_write *w = h->write_free;

    if (w) {
        h->write_free = w->next;
    } else if (h->writes_top < WRITES_MAX) {
        w = &h->writes[h->writes_top++];
    } else {
        no_room(h);
        return NULL;
    }
    h->writes_nr++;
    return w;
}

static void write_put(struct hist *h, struct hist_write *w)
{
    assert(w->refs);
    if (--w->refs)
        return;
    w->next = h->write_free;
    h->write_free = w;
    h->writes_nr--;
}

static void write_close(struct hist *h, struct hist_write *w, uint64_t end)
{
    w->end = end;
    w->prev->next = w->next;
    w->next->prev = w->prev;
    write_put(h, w);
}

static struct cluster *at(struct hist *h, uint32_t i)
{
    return i ? &h->cl[i] : NULL;
}

/* *link: where the cluster's number stands. */
static void cl_drop(struct hist *h, uint32_t *link)
{
    const uint32_t i = *link;

    *link = h->cl[i].next;
    if (h->cl[i].w)
        write_put(h, h->cl[i].w);
    h->cl[i].next = h->cl_free;
    h->cl_free = i;
    h->cl_nr--;
}

struct hist *hist_new(const struct hist_conf *conf)
{
    struct hist *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->conf = *conf;
    h->tick = 1;
    h->reads.next = h->reads.prev = &h->reads;
    h->open.next = h->open.prev = &h->open;
    h->sector = calloc(conf->sectors, sizeof(*h->sector));
    h->cl = malloc(CL_MAX * sizeof(*h->cl));                /* touched as it is used */
    h->writes = malloc(WRITES_MAX * sizeof(*h->writes));
    h->cl_top = 1;
    if (!h->sector || !h->cl || !h->writes) {
        hist_free(h);
        return NULL;
    }
    for (uint32_t i = 0; i < conf->sectors; i++)
        cl_new(h, i, HIST_ZERO);
    return h;
}

void hist_free(struct hist *h)
{
    if (!h)
        return;
    free(h->sector);
    free(h->cl);
    free(h->writes);
    free(h);
}

uint64_t hist_now(struct hist *h)
{
    return ++h->tick;
}

/* ---- zones ----------------------------------------------------------------------------------------------- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The first end. Of one that takes effect several times only the last effect counts, and reads before the
 * end say nothing of that. */
static uint64_t zone_f(const struct cluster *c)
{
    if (!c->w)
        return c->base;
    return c->w->loose ? c->w->end : min_u64(c->w->end, c->rf);
}

static uint64_t zone_s(const struct cluster *c)
{
    return max_u64(c->w ? c->w->since : c->base, c->rs);
}

/* Whether it was there for certain, at some instant of its zone. */
static bool was_there(const struct cluster *c)
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
static bool is_stable(const struct hist *h, const struct cluster *c)
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
    uint16_t of;                            /* of which group it is part */
};

struct view {
    struct cluster *c[SECTOR_MAX];
    struct group g[SECTOR_MAX];
    unsigned n;
    bool cands;                             /* the last group is that of all candidates together */
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
static bool overwritten_stably(struct hist *h, uint32_t sector, const struct cluster *c)
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
        return 1;                           /* one value: nothing to forget */
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
            cl_drop(h, l);
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

static void settle(struct hist *h, uint32_t sector)
{
    struct view v;
    const char *what;
    uint64_t value;

    if (h->cl[h->sector[sector]].next && view_make(h, &v, sector, NULL) && (what = view_judge(&v, &value)))
        fail(h, sector, what, value);
    while (prune(h, sector) > PATIENCE && h->reads.next != &h->reads && h->reads.next->inv + PATIENCE < h->tick)
        give_up_oldest(h);
}

/* ---- reads ----------------------------------------------------------------------------------------------- */

void hist_read_begin(struct hist *h, struct hist_read *r)
{
    r->inv = ++h->tick;
    r->next = &h->reads;
    r->prev = h->reads.prev;
    r->prev->next = r->next->prev = r;
}

void hist_read_drop(struct hist *h, struct hist_read *r)
{
    (void)h;
    r->prev->next = r->next;
    r->next->prev = r->prev;
    r->next = r->prev = NULL;
}

/* Not OLD ones of that value. Return: how many; *c: the last. */
static unsigned matches(struct hist *h, uint32_t sector, uint64_t value, struct cluster **out)
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
            cl_drop(h, l);
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
static void judge_read(struct hist *h, uint32_t sector, uint64_t value, uint64_t inv, uint64_t end)
{
    struct cluster *c = NULL, *can = NULL;
    unsigned n, ways = 0;

    if (inv < h->epoch || !inv) {           /* 0: it took too long */
        h->stats.skipped++;
        return;
    }
    h->stats.checked++;
    n = matches(h, sector, value, &c);
    if (!n) {
        fail(h, sector, not_known(h, sector, value), value);
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
            fail(h, sector, "was read, and none of its writers can have written it then", value);
        if (ways != 1)
            return;
        c = can;
    }
    if (c->flags & CAND)
        resolve(h, sector, c);
    seen(c, inv, end);
    settle(h, sector);
}

void hist_read_end(struct hist *h, struct hist_read *r, uint32_t first, uint32_t n, const uint64_t *values)
{
    const uint64_t end = ++h->tick;

    assert(first <= h->conf.sectors && n <= h->conf.sectors - first);
    hist_read_drop(h, r);
    for (uint32_t i = 0; i < n; i++)
        judge_read(h, first + i, values[i], r->inv, end);
}

/* ---- writes ---------------------------------------------------------------------------------------------- */

static struct hist_write *begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n, const uint64_t *from,
                                uint64_t value, bool stable)
{
    struct hist_write *w = write_new(h);

    assert(first <= h->conf.sectors && n && n <= h->conf.sectors - first && nexus < HIST_NEXUS_MAX);
    if (!w)
        return NULL;
    *w = (struct hist_write){
        .inv = ++h->tick, .end = NEVER, .since = h->tick, .value = value, .first = first, .n = n, .refs = 1,
        .nexus = (uint8_t)nexus, .fate = PENDING, .stable = stable, .caw = from, .loose = h->resets && !from,
    };
    w->next = &h->open;
    w->prev = h->open.prev;
    w->prev->next = w->next->prev = w;
    for (uint32_t i = 0; i < n; i++) {
        struct cluster *c = cl_new(h, first + i, value);

        if (!c)
            break;
        c->w = w;
        w->refs++;
        c->chained = from;
        c->from = from ? from[i] : 0;
    }
    if (from)
        hist_read_begin(h, &w->read);
    return w;
}

struct hist_write *hist_write_begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n, uint64_t value,
                                    bool stable)
{
    return begin(h, nexus, first, n, NULL, value, stable);
}

struct hist_write *hist_caw_begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n,
                                  const uint64_t *from, uint64_t value, bool stable)
{
    return begin(h, nexus, first, n, from, value, stable);
}

static uint32_t *link_of(struct hist *h, uint32_t sector, const struct hist_write *w)
{
    uint32_t *l = &h->sector[sector];

    while (*l && h->cl[*l].w != w)
        l = &h->cl[*l].next;
    return l;
}

/* Something stable that began at @s was acknowledged after the crash: what it followed did not come back.
 * Return: any? */
static bool cands_filter(struct hist *h, uint32_t sector, uint64_t s, uint64_t but)
{
    bool any = false;

    for (uint32_t *l = &h->sector[sector]; *l;) {
        const struct cluster *c = &h->cl[*l];

        if ((c->flags & CAND) && c->value != but && c->of < s) {
            cl_drop(h, l);
            any = true;
        } else {
            l = &h->cl[*l].next;
        }
    }
    return any;
}

static void refused(struct hist *h, struct hist_write *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t *l = link_of(h, w->first + i, w);

        if (!*l)
            continue;
        if (h->cl[*l].flags & READ && w->value != HIST_ZERO)
            fail(h, w->first + i, "was read, though the command that wrote it says that it did not", w->value);
        cl_drop(h, l);
    }
}

void hist_write_end(struct hist *h, struct hist_write *w, enum hist_fate fate)
{
    const uint64_t end = ++h->tick;
    const bool late = w->inv < h->epoch && h->nexus_up[w->nexus] < h->epoch;
    const bool caw_acked = w->caw && fate == HIST_ACKED && !late;

    if (fate == HIST_NOT && w->loose)       /* the first time it may have been done */
        fate = HIST_MAYBE;
    w->refs++;
    h->stats.checked += fate == HIST_ACKED ? w->n : 0;
    if (late && fate == HIST_ACKED && w->stable && !h->conf.volatile_mem)
        for (uint32_t i = 0; i < w->n; i++)
            cands_filter(h, w->first + i, w->inv, w->value);
    else if (late && fate == HIST_ACKED)    /* done before the crash, which may have undone it, or after */
        fate = HIST_MAYBE;
    if (caw_acked)                          /* what was there before it, while that is still known */
        for (uint32_t i = 0; i < w->n; i++)
            judge_read(h, w->first + i, h->cl[*link_of(h, w->first + i, w)].from, w->read.inv, end);
    w->fate = (int8_t)fate;
    if (fate != HIST_LATER)
        write_close(h, w, end);
    if (fate == HIST_NOT)
        refused(h, w);
    for (uint32_t i = 0; i < w->n && fate != HIST_LATER; i++)
        settle(h, w->first + i);
    if (w->caw)                             /* last: what it found is remembered until it has been judged */
        hist_read_drop(h, &w->read);
    write_put(h, w);
}

void hist_caw_miscompared(struct hist *h, struct hist_write *w, uint32_t at_sector)
{
    const uint32_t sector = w->first + at_sector;
    const struct cluster *mine = &h->cl[*link_of(h, sector, w)];
    struct cluster *v = NULL;
    const uint64_t from = mine->from;

    assert(w->caw && at_sector < w->n);
    if (w->inv > h->epoch && from != HIST_ZERO && matches(h, sector, from, &v) == 1 && !(v->flags & CAND) &&
        zone_f(v) < w->inv)
        v->not_end = min_u64(v->not_end, h->tick + 1);
    hist_write_end(h, w, HIST_NOT);
}

/* Of the sector's candidates, those that were overwritten by one that a flush begun at @inv made stable. */
static void cands_synced(struct hist *h, uint32_t sector, uint64_t inv)
{
    struct cluster *c;

    do {
        for (c = at(h, h->sector[sector]); c; c = at(h, c->next))
            if ((c->flags & CAND) && c->of < inv && cands_filter(h, sector, c->os, c->value))
                break;                      /* the list has changed: from the start */
    } while (c);
}

void hist_synced(struct hist *h, unsigned nexus, uint64_t inv)
{
    const uint64_t up = h->nexus_up[nexus];

    ++h->tick;
    /* Sent again after a new login it was carried out after that: it says nothing of what was before. */
    for (unsigned i = 0; i < h->doomed_nr; i++)
        if (inv < h->doomed[i].hi && up < h->doomed[i].hi && !h->doomed[i].deaf)
            h->doomed[i].lo = max_u64(h->doomed[i].lo, inv);
    if (inv > h->epoch)
        h->synced = max_u64(h->synced, inv);
    /* It was carried out before the crash, and deaf of after: what it had made stable was not lost. */
    for (uint32_t i = 0; inv < h->epoch && up < h->epoch && i < h->conf.sectors; i++)
        cands_synced(h, i, inv);
}

/* ---- events ---------------------------------------------------------------------------------------------- */

#define OPEN_FOR(w) \
    for (struct hist_write *w = h->open.next, *w##_next; w##_next = w->next, w != &h->open; w = w##_next)

void hist_nexus_again(struct hist *h, unsigned nexus)
{
    OPEN_FOR(w) {
        if (w->nexus == nexus && w->fate == PENDING && !w->caw)
            w->loose = true;
    }
}

void hist_nexus_up(struct hist *h, unsigned nexus)
{
    h->nexus_up[nexus] = ++h->tick;
    OPEN_FOR(w) {
        if (w->nexus != nexus)
            continue;
        if (w->fate == HIST_LATER) {
            w->fate = HIST_MAYBE;
            write_close(h, w, h->tick);
        } else if (w->loose) {
            w->since = h->tick;
        }
    }
}

void hist_reset_begin(struct hist *h)
{
    h->resets++;
    OPEN_FOR(w) {
        if (w->fate == PENDING && !w->caw)
            w->loose = true;
    }
}

void hist_reset_end(struct hist *h)
{
    assert(h->resets);
    h->resets--;
}

/* Across a crash, as something that may still be done. */
static bool survives(const struct cluster *c)
{
    return c->w && c->w->end == NEVER;
}

static void unseen(struct cluster *c)
{
    c->flags = 0;
    c->rf = c->gf = c->not_end = NEVER;
    c->rs = 0;
}

void hist_target_down(struct hist *h)
{
    ++h->tick;
    OPEN_FOR(w) {
        if (w->fate == PENDING && !w->caw)
            w->loose = true;
    }
    if (!h->conf.volatile_mem)
        return;
    h->epoch = ++h->tick;
    for (uint32_t i = 0; i < h->conf.sectors; i++) {
        struct cluster *c;

        for (uint32_t *l = &h->sector[i]; *l;) {
            if (survives(&h->cl[*l])) {
                unseen(&h->cl[*l]);
                l = &h->cl[*l].next;
            } else {
                cl_drop(h, l);
            }
        }
        c = cl_new(h, i, HIST_ZERO);
        if (c)
            c->base = h->tick;
    }
}

void hist_target_up(struct hist *h)
{
    ++h->tick;
    OPEN_FOR(w) {
        if (w->fate != HIST_LATER)
            continue;
        w->fate = HIST_MAYBE;
        write_close(h, w, h->tick);
    }
}

/* A value that a crash may have left. */
static void cand_add(struct hist *h, uint32_t sector, uint64_t value, uint64_t f, uint64_t s)
{
    struct cluster *c;

    for (c = at(h, h->sector[sector]); c; c = at(h, c->next)) {
        if (c->w || c->base != h->epoch || c->value != value)
            continue;
        c->of = max_u64(c->of, f);
        c->os = min_u64(c->os, s);
        return;
    }
    c = cl_new(h, sector, value);
    if (!c)
        return;
    c->flags = CAND;
    c->base = h->epoch;
    c->of = f;
    c->os = s;
}

static void sector_lost(struct hist *h, uint32_t sector)
{
    struct { uint64_t value, f, s; } left[SECTOR_MAX * 4];
    unsigned n = 0;

    for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next)) {
        if (overwritten_stably(h, sector, c))
            continue;
        if (n == sizeof(left) / sizeof(left[0])) {
            no_room(h);
            break;
        }
        left[n].value = c->value;
        left[n].f = zone_f(c);
        left[n++].s = zone_s(c);
    }
    for (uint32_t *l = &h->sector[sector]; *l;) {
        struct cluster *c = &h->cl[*l];

        if (survives(c)) {
            unseen(c);
            l = &c->next;
        } else {
            cl_drop(h, l);
        }
    }
    for (unsigned i = 0; i < n; i++)
        cand_add(h, sector, left[i].value, left[i].f, left[i].s);
    if (n == 1)
        for (struct cluster *c = at(h, h->sector[sector]); c; c = at(h, c->next))
            c->flags &= (uint8_t)~CAND;
}

void hist_lost(struct hist *h)
{
    h->epoch = ++h->tick;
    if (h->conf.volatile_mem)
        return;
    for (uint32_t i = 0; i < h->conf.sectors; i++)
        sector_lost(h, i);
    h->doomed_nr = 0;
}

void hist_sync_failed(struct hist *h)
{
    const uint64_t now = ++h->tick;

    if (h->doomed_nr == DOOMED_MAX) {       /* as if no flush since the last could be believed */
        h->doomed[DOOMED_MAX - 1].hi = now;
        h->doomed[DOOMED_MAX - 1].deaf = true;
        return;
    }
    h->doomed[h->doomed_nr].lo = h->synced;
    h->doomed[h->doomed_nr].hi = now;
    h->doomed[h->doomed_nr++].deaf = false;
}

/* ---- numbers --------------------------------------------------------------------------------------------- */

void hist_stats(const struct hist *h, struct hist_stats *out)
{
    *out = h->stats;
    out->clusters = h->cl_nr;
    out->writes = h->writes_nr;
}

static void tick_text(uint64_t t, char out[static 24])
{
    if (t == NEVER)
        snprintf(out, 24, "-");
    else
        snprintf(out, 24, "%" PRIu64, t);
}

void hist_dump(const struct hist *h, uint32_t sector, char *out, unsigned len)
{
    static const char *const fates[] = { "acked", "refused", "perhaps", "perhaps, alive" };
    unsigned used = 0;

    out[0] = '\0';
    for (uint32_t i = h->sector[sector]; i && used < len; i = h->cl[i].next) {
        const struct cluster *c = &h->cl[i];
        char v[40], from[40], f[24], s[24], end[24];

        value_text(c->value, v);
        value_text(c->from, from);
        tick_text(zone_f(c), f);
        tick_text(zone_s(c), s);
        tick_text(c->w ? c->w->end : c->base, end);
        used += (unsigned)snprintf(
            out + used, len - used, "    %s: %s, begun %" PRIu64 ", ended %s, first end %s, last begin %s%s%s%s%s%s%s%s\n",
            v, c->w ? c->w->fate == PENDING ? "under way" : fates[c->w->fate] : "from before", c->w ? c->w->inv : c->base,
            end, f, s, c->flags & READ ? ", read" : "", c->flags & OLD ? ", old" : "",
            c->flags & CAND ? ", one of several" : "", c->w && c->w->loose ? ", sent again" : "",
            is_stable(h, c) ? ", stable" : "", c->chained ? ", in place of " : "", c->chained ? from : "");
    }
}

uint64_t hist_guess(const struct hist *h, uint32_t sector)
{
    uint64_t value = HIST_ZERO, s = 0;

    for (uint32_t i = h->sector[sector]; i; i = h->cl[i].next) {
        const struct cluster *c = &h->cl[i];

        if ((c->flags & (OLD | CAND)) || !was_there(c) || zone_s(c) < s)
            continue;
        s = zone_s(c);
        value = c->value;
    }
    return value;
}
