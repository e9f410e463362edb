/*
 * layout.c - layouts as text: read line by line, each by the row of its first
 * word
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/layout.h"

#define WORDS_MAX    7u /* one more than the longest line has */
#define LINE_LEN_MAX 1023u
#define CPU_MAX      65535u

const char *const bal_auto_names[] = { "off", "on", "advise", NULL };

struct reader {
    const char *name; /* of the text */
    unsigned line;
    unsigned room; /* seats allocated */
    struct bal_layout l;
    char *why; /* BAL_TEXT_MAX */
};

static int wrong(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct reader *r, const char *fmt, ...)
{
    const int n = snprintf(r->why, BAL_TEXT_MAX, "%.80s:%u: ", r->name, r->line);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->why + n, BAL_TEXT_MAX - (size_t)n, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int word_of(const char *const *list, const char *word)
{
    for (int i = 0; list[i]; i++)
        if (!strcmp(list[i], word))
            return i;
    return -1;
}

/* Digits and nothing else. */
static bool number(const char *word, unsigned max, unsigned *out)
{
    unsigned long v = 0;

    if (!*word)
        return false;
    for (; *word; word++) {
        if (*word < '0' || *word > '9' || (v = v * 10 + (unsigned long)(*word - '0')) > max)
            return false;
    }
    *out = (unsigned)v;
    return true;
}

/* ---- lines
 * -----------------------------------------------------------------------------------------------
 */

static int line_policy(struct reader *r, char **word, unsigned nr)
{
    const int at = word_of(bal_policy_names, word[1]);

    if (at < 0)
        return wrong(r, "policy '%.32s': one of free-core, numa, pinned, spread, pack", word[1]);
    if (r->l.has_policy)
        return wrong(r, "a second policy: say it once");
    r->l.has_policy = true;
    r->l.policy = (enum bal_policy)at;
    return 0;
}

static int line_rebalance(struct reader *r, char **word, unsigned nr)
{
    const int at = word_of(bal_auto_names, word[1]);

    if (at < 0)
        return wrong(r, "rebalance '%.32s': one of off, on, advise", word[1]);
    if (r->l.has_rebalance)
        return wrong(r, "a second rebalance: say it once");
    if (nr > 2 && (!number(word[2], BAL_BUDGET_MAX, &r->l.budget) || !r->l.budget))
        return wrong(r, "'%.32s': moves per minute are a number from 1 to %u", word[2], BAL_BUDGET_MAX);
    r->l.has_rebalance = true;
    r->l.rebalance = (enum bal_auto)at;
    return 0;
}

static struct bal_seat *seat_add(struct reader *r)
{
    struct bal_seat *more;

    if (r->l.seats_nr == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        if (!(more = realloc(r->l.seats, r->room * sizeof(*more))))
            return NULL;
        r->l.seats = more;
    }
    return &r->l.seats[r->l.seats_nr++];
}

static int line_session(struct reader *r, char **word, unsigned nr)
{
    struct bal_seat seat = { .line = r->line };
    const struct bal_seat *other;
    struct bal_seat *room;
    const char *what;
    unsigned cpu;

    if ((what = iscsi_name_refusal(word[1], seat.target)))
        return wrong(r, "target '%.64s': %.100s", word[1], what);
    if ((what = iscsi_portal_parse(&seat.portal, word[2])))
        return wrong(r, "portal '%.64s': %.100s", word[2], what);
    if (!number(word[3], BAL_INDEX_MAX, &seat.index))
        return wrong(r, "'%.32s': which of the sessions there, a number from 0", word[3]);
    if (strcmp(word[4], "core") && strcmp(word[4], "pin"))
        return wrong(r, "'%.32s': 'core N', or 'pin N' for a session that is to stay there", word[4]);
    if (!number(word[5], CPU_MAX, &cpu))
        return wrong(r, "core '%.32s': a CPU number", word[5]);
    seat.portal.tpgt = 0;
    seat.cpu = (int)cpu;
    seat.pinned = *word[4] == 'p';
    if ((other = bal_layout_find(&r->l, seat.target, &seat.portal, seat.index)))
        return wrong(r, "this session has line %u already", other->line);
    if (r->l.seats_nr == BAL_LAYOUT_SEATS_MAX)
        return wrong(r, "more than %u sessions", BAL_LAYOUT_SEATS_MAX);
    if (!(room = seat_add(r)))
        return -ENOMEM;
    *room = seat;
    return 0;
}

static const struct {
    const char *word, *right;
    unsigned words_min, words_max; /* the first one included */
    int (*take)(struct reader *r, char **word, unsigned nr);
} lines[] = {
    { "policy", "policy free-core|numa|pinned|spread|pack", 2, 2, line_policy },
    { "rebalance", "rebalance off|on|advise [MOVES-PER-MINUTE]", 2, 3, line_rebalance },
    { "session", "session TARGET PORTAL INDEX core|pin CPU", 6, 6, line_session },
};

/* Up to WORDS_MAX of them; a '#' that begins one ends the line. */
static unsigned words_split(char *line, char *word[static WORDS_MAX])
{
    static const char blanks[] = " \t\r";
    unsigned nr = 0;

    for (line += strspn(line, blanks); *line && *line != '#' && nr < WORDS_MAX; line += strspn(line, blanks)) {
        word[nr++] = line;
        line += strcspn(line, blanks);
        if (*line)
            *line++ = '\0';
    }
    return nr;
}

static int line_take(struct reader *r, const char *text, size_t len)
{
    char line[LINE_LEN_MAX + 1], *word[WORDS_MAX];
    unsigned nr;

    if (len > LINE_LEN_MAX)
        return wrong(r, "a line of %zu bytes: %u at most", len, LINE_LEN_MAX);
    if (memchr(text, '\0', len))
        return wrong(r, "a NUL: this is no text");
    memcpy(line, text, len);
    line[len] = '\0';
    if (!(nr = words_split(line, word)))
        return 0;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strcmp(lines[i].word, word[0]))
            continue;
        if (nr < lines[i].words_min || nr > lines[i].words_max)
            return wrong(r, "%u words: '%s'", nr, lines[i].right);
        return lines[i].take(r, word, nr);
    }
    return wrong(r, "'%.32s': a line begins with policy, rebalance, session or '#'", word[0]);
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------
 */

int bal_layout_parse(struct bal_layout *out, const char *text, size_t len, const char *name,
                     char why[static BAL_TEXT_MAX])
{
    struct reader r = { .name = name, .why = why };
    int err = 0;

    while (len && !err) {
        const char *end = memchr(text, '\n', len);
        const size_t n = end ? (size_t)(end - text) : len;

        r.line++;
        err = line_take(&r, text, n);
        text += n + (end ? 1 : 0);
        len -= n + (end ? 1 : 0);
    }
    if (err == -ENOMEM)
        snprintf(why, BAL_TEXT_MAX, "%.80s: no memory for %u sessions", name, r.l.seats_nr);
    if (err)
        bal_layout_free(&r.l);
    else
        *out = r.l;
    return err;
}

void bal_layout_free(struct bal_layout *l)
{
    free(l->seats);
    l->seats = NULL;
    l->seats_nr = 0;
}

/* Numbers first: a thousand sessions to one target differ in little else. */
static bool seat_is(const struct bal_seat *s, const char *target, const struct iscsi_portal *portal,
                    unsigned index)
{
    return s->index == index && s->portal.port == portal->port && !strcmp(s->portal.host, portal->host) &&
           !strcmp(s->target, target);
}

const struct bal_seat *bal_layout_find(const struct bal_layout *l, const char *target,
                                       const struct iscsi_portal *portal, unsigned index)
{
    for (unsigned i = 0; i < l->seats_nr; i++)
        if (seat_is(&l->seats[i], target, portal, index))
            return &l->seats[i];
    return NULL;
}

char *bal_layout_text(const struct bal_layout *l)
{
    char portal[ISCSI_PORTAL_STR_MAX], *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    bool bad;

    if (!f)
        return NULL;
    fputs(
        "# Which session belongs on which core. One line each: session TARGET PORTAL INDEX core|pin CPU\n"
        "# INDEX tells sessions to the same target and portal apart, from 0; 'pin': it stays there, and comes\n"
        "# there whenever it logs in.\n",
        f);
    if (l->has_policy)
        fprintf(f, "policy %s\n", bal_policy_names[l->policy]);
    if (l->has_rebalance)
        fprintf(f, "rebalance %s", bal_auto_names[l->rebalance]);
    if (l->has_rebalance && l->budget)
        fprintf(f, " %u", l->budget);
    if (l->has_rebalance)
        fputc('\n', f);
    for (unsigned i = 0; i < l->seats_nr; i++) {
        const struct bal_seat *s = &l->seats[i];

        iscsi_portal_format(&s->portal, portal);
        fprintf(f, "session %s %s %u %s %d\n", s->target, portal, s->index, s->pinned ? "pin" : "core", s->cpu);
    }
    bad = ferror(f);
    if (fclose(f) || bad) {
        free(text);
        return NULL;
    }
    return text;
}
