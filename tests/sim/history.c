/*
 * history.c - operations and events as they happen: see history.h
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/history_internal.h"

/* ---- memory ---------------------------------------------------------------------------------------------- */

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

static void write_close(struct hist *h, struct hist_write *w, uint64_t end)
{
    w->end = end;
    w->prev->next = w->next;
    w->next->prev = w->prev;
    write_put(h, w);
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
    h->cl = malloc(CL_MAX * sizeof(*h->cl)); /* touched as it is used */
    h->writes = malloc(WRITES_MAX * sizeof(*h->writes));
    h->cl_top = 1;
    if (!h->sector || !h->cl || !h->writes) {
        hist_free(h);
        return NULL;
    }
    for (uint32_t i = 0; i < conf->sectors; i++)
        sector_add(h, i, HIST_ZERO);
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

void hist_read_end(struct hist *h, struct hist_read *r, uint32_t first, uint32_t n, const uint64_t *values)
{
    const uint64_t end = ++h->tick;

    assert(first <= h->conf.sectors && n <= h->conf.sectors - first);
    hist_read_drop(h, r);
    for (uint32_t i = 0; i < n; i++)
        sector_read(h, first + i, values[i], r->inv, end);
}

/* ---- writes ---------------------------------------------------------------------------------------------- */

static struct hist_write *begin(struct hist *h, unsigned nexus, uint32_t first, uint32_t n,
                                const uint64_t *from, uint64_t value, bool stable)
{
    struct hist_write *w = write_new(h);

    assert(first <= h->conf.sectors && n && n <= h->conf.sectors - first && nexus < HIST_NEXUS_MAX);
    if (!w)
        return NULL;
    *w = (struct hist_write){
        .inv = ++h->tick,
        .end = NEVER,
        .since = h->tick,
        .value = value,
        .first = first,
        .n = n,
        .refs = 1,
        .nexus = (uint8_t)nexus,
        .fate = PENDING,
        .stable = stable,
        .caw = from,
        .loose = h->resets && !from,
    };
    w->next = &h->open;
    w->prev = h->open.prev;
    w->prev->next = w->next->prev = w;
    for (uint32_t i = 0; i < n; i++) {
        struct cluster *c = sector_add(h, first + i, value);

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

/* Something stable that began at @s was acknowledged after the crash: what it followed did not come back.
 * Return: any? */
static bool cands_filter(struct hist *h, uint32_t sector, uint64_t s, uint64_t but)
{
    bool any = false;

    for (uint32_t *l = &h->sector[sector]; *l;) {
        const struct cluster *c = &h->cl[*l];

        if ((c->flags & CAND) && c->value != but && c->of < s) {
            sector_drop(h, l);
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
        uint32_t *l = sector_link(h, w->first + i, w);

        if (!*l)
            continue;
        if (h->cl[*l].flags & READ && w->value != HIST_ZERO)
            sector_fail(h, w->first + i, "was read, though the command that wrote it says that it did not",
                        w->value);
        sector_drop(h, l);
    }
}

void hist_write_through(struct hist_write *w)
{
    w->stable = true;
}

void hist_write_end(struct hist *h, struct hist_write *w, enum hist_fate fate)
{
    const uint64_t end = ++h->tick;
    const bool late = w->inv < h->epoch && h->nexus_up[w->nexus] < h->epoch;
    const bool caw_acked = w->caw && fate == HIST_ACKED && !late;

    if (fate == HIST_NOT && w->loose) /* the first time it may have been done */
        fate = HIST_MAYBE;
    w->refs++;
    h->stats.checked += fate == HIST_ACKED ? w->n : 0;
    if (late && fate == HIST_ACKED && w->stable && !h->conf.volatile_mem)
        for (uint32_t i = 0; i < w->n; i++)
            cands_filter(h, w->first + i, w->inv, w->value);
    else if (late && fate == HIST_ACKED) /* done before the crash, which may have undone it, or after */
        fate = HIST_MAYBE;
    if (caw_acked) /* what was there before it, while that is still known */
        for (uint32_t i = 0; i < w->n; i++)
            sector_read(h, w->first + i, h->cl[*sector_link(h, w->first + i, w)].from, w->read.inv, end);
    w->fate = (int8_t)fate;
    w->failed = end;
    if (fate != HIST_LATER)
        write_close(h, w, end);
    if (fate == HIST_NOT)
        refused(h, w);
    for (uint32_t i = 0; i < w->n && fate != HIST_LATER; i++)
        sector_settle(h, w->first + i);
    if (w->caw) /* last: what it found is remembered until it has been judged */
        hist_read_drop(h, &w->read);
    write_put(h, w);
}

void hist_caw_miscompared(struct hist *h, struct hist_write *w, uint32_t at_sector)
{
    const uint32_t sector = w->first + at_sector;
    const struct cluster *mine = &h->cl[*sector_link(h, sector, w)];
    struct cluster *v = NULL;
    const uint64_t from = mine->from;

    assert(w->caw && at_sector < w->n);
    if (w->inv > h->epoch && from != HIST_ZERO && sector_find(h, sector, from, &v) == 1 && !(v->flags & CAND) &&
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
            if ((c->flags & (CAND | REAL)) == (CAND | REAL) && c->of < inv &&
                cands_filter(h, sector, c->os, c->value))
                break; /* the list has changed: from the start */
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

#define OPEN_FOR(w)                                                                                            \
    for (struct hist_write *w = h->open.next, *w##_next; w##_next = w->next, w != &h->open; w = w##_next)

void hist_nexus_again(struct hist *h, unsigned nexus)
{
    OPEN_FOR(w)
    {
        if (w->nexus == nexus && w->fate == PENDING && !w->caw)
            w->loose = true;
    }
}

void hist_nexus_up(struct hist *h, unsigned nexus)
{
    h->nexus_up[nexus] = ++h->tick;
    OPEN_FOR(w)
    {
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

void hist_nexus_settled(struct hist *h, unsigned nexus, uint64_t before)
{
    ++h->tick;
    OPEN_FOR(w)
    {
        if (w->nexus != nexus || w->fate != HIST_LATER || w->failed >= before)
            continue;
        w->fate = HIST_MAYBE;
        write_close(h, w, h->tick);
    }
}

void hist_reset_begin(struct hist *h)
{
    h->resets++;
    OPEN_FOR(w)
    {
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
    OPEN_FOR(w)
    {
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
                sector_drop(h, l);
            }
        }
        c = sector_add(h, i, HIST_ZERO);
        if (c)
            c->base = h->tick;
    }
}

void hist_target_up(struct hist *h)
{
    ++h->tick;
    OPEN_FOR(w)
    {
        if (w->fate != HIST_LATER)
            continue;
        w->fate = HIST_MAYBE;
        write_close(h, w, h->tick);
    }
}

/* A value that a crash may have left. */
static void cand_add(struct hist *h, uint32_t sector, uint64_t value, uint64_t f, uint64_t s, bool real)
{
    struct cluster *c;

    for (c = at(h, h->sector[sector]); c; c = at(h, c->next)) {
        if (c->w || c->base != h->epoch || c->value != value)
            continue;
        c->of = max_u64(c->of, f);
        c->os = min_u64(c->os, s);
        c->flags |= real ? REAL : 0;
        return;
    }
    c = sector_add(h, sector, value);
    if (!c)
        return;
    c->flags = (uint8_t)(CAND | (real ? REAL : 0));
    c->base = h->epoch;
    c->of = f;
    c->os = s;
}

static void sector_lost(struct hist *h, uint32_t sector)
{
    struct {
        uint64_t value, f, s;
        bool real;
    } left[SECTOR_MAX * 4];
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
        left[n].real = was_there(c) && !(c->flags & CAND);
        left[n++].s = zone_s(c);
    }
    for (uint32_t *l = &h->sector[sector]; *l;) {
        struct cluster *c = &h->cl[*l];

        if (survives(c)) {
            unseen(c);
            l = &c->next;
        } else {
            sector_drop(h, l);
        }
    }
    for (unsigned i = 0; i < n; i++)
        cand_add(h, sector, left[i].value, left[i].f, left[i].s, left[i].real);
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

    if (h->doomed_nr == DOOMED_MAX) { /* as if no flush since the last could be believed */
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
            out + used, len - used,
            "    %s: %s, begun %" PRIu64 ", ended %s, first end %s, last begin %s%s%s%s%s%s%s%s\n", v,
            c->w ? c->w->fate == PENDING ? "under way" : fates[c->w->fate] : "from before",
            c->w ? c->w->inv : c->base, end, f, s, c->flags & READ ? ", read" : "",
            c->flags & OLD ? ", old" : "", c->flags & CAND ? ", one of several" : "",
            c->w && c->w->loose ? ", sent again" : "", is_stable(h, c) ? ", stable" : "",
            c->chained ? ", in place of " : "", c->chained ? from : "");
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
