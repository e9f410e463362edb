/*
 * plan.c - see plan.h
 */
#include "tests/proxy/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/common/text.h"

#define HOUR_MS 3600000u

const struct fault_row fault_rows[FAULT_KINDS] = {
    [FAULT_DELAY] = { "delay", "MS", { { 1, HOUR_MS, 1, 200 } } },
    [FAULT_DROP] = { "drop", "", { { 0 } } },
    [FAULT_RESET] = { "reset", "", { { 0 } } },
    [FAULT_HALF_CLOSE] = { "half-close", "", { { 0 } } },
    [FAULT_SPLIT] = { "split", "BYTES", { { 1, UINT32_MAX, 1, 4096 } } },
    [FAULT_FLIP] = { "flip", "BIT", { { 0, 7, 0, 7 } } },
    [FAULT_BLACKHOLE] = { "blackhole", "MS", { { 1, HOUR_MS, 100, 2000 } } },
    [FAULT_SLOW] = { "slow", "BYTES_PER_S MS", { { 1, UINT32_MAX, 4096, 262144 }, { 1, HOUR_MS, 50, 1000 } } },
    [FAULT_LAG] = { "lag", "MS", { { 0, LAG_MAX_MS, 0, 50 } } },
};

unsigned fault_args(enum fault_kind kind)
{
    const char *a = fault_rows[kind].args;

    return *a ? 1u + (strchr(a, ' ') != NULL) : 0;
}

/* ---- words ----------------------------------------------------------------------------------------------- */

#define WORDS_MAX 8
#define TEXT_MAX 256

struct words {
    char line[TEXT_MAX];
    char *at[WORDS_MAX + 1];
    unsigned nr, next;
};

static bool words_split(struct words *w, const char *line)
{
    const size_t len = strcspn(line, "#\n");
    char *save = NULL, *word;

    *w = (struct words){ 0 };
    if (len >= sizeof(w->line))
        return false;
    memcpy(w->line, line, len);
    for (word = strtok_r(w->line, " \t\r", &save); word; word = strtok_r(NULL, " \t\r", &save)) {
        if (w->nr == WORDS_MAX)
            return false;
        w->at[w->nr++] = word;
    }
    return true;
}

static const char *word_now(const struct words *w)
{
    return w->next < w->nr ? w->at[w->next] : "";
}

static bool word_take(struct words *w, const char *word)
{
    const bool is = !strcmp(word_now(w), word);

    w->next += is;
    return is;
}

static bool number_take(struct words *w, uint64_t lo, uint64_t hi, uint64_t *out)
{
    uint64_t n;

    if (number_parse(word_now(w), &n) || n < lo || n > hi)
        return false;
    w->next++;
    *out = n;
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

static int refuse(char why[static PLAN_WHY_MAX], const char *what, const char *word)
{
    snprintf(why, PLAN_WHY_MAX, "%s, not '%.32s'", what, word);
    return -EINVAL;
}

static int when_parse(struct step *s, struct words *w, char why[static PLAN_WHY_MAX])
{
    if (word_take(w, "now")) {
        s->timed = true;
        return 0;
    }
    s->timed = word_take(w, "at");
    if (!s->timed && !word_take(w, "byte"))
        return refuse(why, "a step begins with 'byte N' or 'at MS'", word_now(w));
    if (!number_take(w, 0, INT64_MAX, &s->where))
        return refuse(why, "a number is wanted", word_now(w));
    return 0;
}

static int fault_parse(struct fault *f, struct words *w, char why[static PLAN_WHY_MAX])
{
    unsigned kind;

    for (kind = 0; kind < FAULT_KINDS && !word_take(w, fault_rows[kind].word); kind++)
        ;
    if (kind == FAULT_KINDS)
        return refuse(why, "a fault is wanted (see --help)", word_now(w));
    *f = (struct fault){ .kind = kind };
    for (unsigned i = 0; i < fault_args(kind); i++) {
        const struct fault_range *r = &fault_rows[kind].range[i];
        uint64_t n;

        if (!number_take(w, r->lo, r->hi, &n)) {
            snprintf(why, PLAN_WHY_MAX, "%s takes %s: a number from %" PRIu32 " to %" PRIu32 ", not '%.32s'",
                     fault_rows[kind].word, fault_rows[kind].args, r->lo, r->hi, word_now(w));
            return -EINVAL;
        }
        f->arg[i] = (uint32_t)n;
    }
    return 0;
}

int step_parse(struct step *out, const char *line, char why[static PLAN_WHY_MAX])
{
    struct step s = { .way = WAY_BOTH };
    struct words w;
    uint64_t conn = 0;
    int err;

    if (!words_split(&w, line))
        return refuse(why, "a step is shorter", line);
    if (!w.nr)
        return 0;
    if ((err = when_parse(&s, &w, why)))
        return err;
    if (word_take(&w, "conn") && !number_take(&w, 1, UINT32_MAX, &conn))
        return refuse(why, "the number of a connection is wanted, from 1", word_now(&w));
    s.conn = (uint32_t)conn;
    if (word_take(&w, "up"))
        s.way = WAY_UP;
    else if (word_take(&w, "down"))
        s.way = WAY_DOWN;
    if ((err = fault_parse(&s.fault, &w, why)))
        return err;
    if (w.next < w.nr)
        return refuse(why, "nothing more is wanted", word_now(&w));
    *out = s;
    return 1;
}

void step_format(const struct step *s, char out[static STEP_TEXT_MAX])
{
    static const char *const ways[] = { [WAY_UP] = " up", [WAY_DOWN] = " down", [WAY_BOTH] = "" };
    int n = snprintf(out, STEP_TEXT_MAX, "%s %" PRIu64, s->timed ? "at" : "byte", s->where);

    if (s->conn)
        n += snprintf(out + n, STEP_TEXT_MAX - (size_t)n, " conn %" PRIu32, s->conn);
    n += snprintf(out + n, STEP_TEXT_MAX - (size_t)n, "%s %s", ways[s->way], fault_rows[s->fault.kind].word);
    for (unsigned i = 0; i < fault_args(s->fault.kind); i++)
        n += snprintf(out + n, STEP_TEXT_MAX - (size_t)n, " %" PRIu32, s->fault.arg[i]);
}

/* ---- plans ----------------------------------------------------------------------------------------------- */

/* Insertion keeps the text's order among equals, which qsort() would not. */
static int plan_add(struct plan *p, const struct step *s)
{
    struct step *more = realloc(p->steps, (p->nr + 1) * sizeof(*more));
    unsigned at = p->nr;

    if (!more)
        return -ENOMEM;
    p->steps = more;
    while (at && more[at - 1].where > s->where) {
        more[at] = more[at - 1];
        at--;
    }
    more[at] = *s;
    p->nr++;
    return 0;
}

int plan_parse(struct plan *out, const char *text, char why[static PLAN_WHY_MAX])
{
    struct plan p = { 0 };
    char wrong[PLAN_WHY_MAX];
    struct step s;
    unsigned line = 1;
    int ret = 0;

    for (; *text && ret >= 0; text += strcspn(text, "\n"), text += *text == '\n', line++) {
        if ((ret = step_parse(&s, text, wrong)) < 0)
            snprintf(why, PLAN_WHY_MAX, "line %u: %.*s", line, PLAN_WHY_MAX - 20, wrong);
        else if (ret > 0 && (ret = plan_add(&p, &s)))
            snprintf(why, PLAN_WHY_MAX, "no memory");
    }
    if (ret < 0) {
        plan_free(&p);
        return ret;
    }
    *out = p;
    return 0;
}

void plan_free(struct plan *p)
{
    free(p->steps);
    *p = (struct plan){ 0 };
}

const struct step *plan_next_byte(const struct plan *p, unsigned *at, uint32_t conn, enum way way)
{
    for (; *at < p->nr; (*at)++) {
        const struct step *s = &p->steps[*at];

        if (!s->timed && (!s->conn || s->conn == conn) && (s->way == WAY_BOTH || s->way == way))
            return s;
    }
    return NULL;
}

const struct step *plan_next_timed(const struct plan *p, unsigned *at)
{
    while (*at < p->nr && !p->steps[*at].timed)
        (*at)++;
    return *at < p->nr ? &p->steps[*at] : NULL;
}

/* ---- drawn from a seed ----------------------------------------------------------------------------------- */

static uint64_t dice_next(struct dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

struct dice dice_of(uint64_t seed, uint32_t conn, enum way way)
{
    struct dice d = { seed };

    d.state = dice_next(&d) ^ ((uint64_t)conn << 2 | (uint64_t)way);
    d.state = dice_next(&d);
    return d;
}

uint64_t dice_draw(struct dice *d, uint64_t lo, uint64_t hi)
{
    const uint64_t span = hi - lo + 1;

    return lo + (span ? dice_next(d) % span : dice_next(d));
}

static int mix_word(struct mix *m, const char *word, char why[static PLAN_WHY_MAX])
{
    const char *const colon = strchr(word, ':');
    const size_t len = colon ? (size_t)(colon - word) : strlen(word);
    uint64_t weight = 1;
    bool found = false;

    if (colon && (number_parse(colon + 1, &weight) || weight > 1000))
        return refuse(why, "a weight from 0 to 1000 is wanted", colon + 1);
    for (unsigned k = 0; k < FAULT_KINDS; k++) {
        const bool named = strlen(fault_rows[k].word) == len && !memcmp(fault_rows[k].word, word, len);

        if (!named && (k == FAULT_FLIP || k == FAULT_LAG || len != 3 || memcmp(word, "all", 3) != 0))
            continue;
        m->weight[k] = (uint32_t)weight;
        found = true;
    }
    return found ? 0 : refuse(why, "a fault is wanted (see --help), or 'all'", word);
}

int mix_parse(struct mix *out, const char *text, char why[static PLAN_WHY_MAX])
{
    struct mix m = { 0 };
    char copy[TEXT_MAX], *save = NULL;

    if (strlen(text) >= sizeof(copy))
        return refuse(why, "a list of faults is shorter", text);
    strcpy(copy, text);
    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
        if (mix_word(&m, word, why))
            return -EINVAL;
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        m.sum += m.weight[k];
    if (!m.sum)
        return refuse(why, "at least one fault is wanted", text);
    *out = m;
    return 0;
}

struct fault mix_draw(const struct mix *m, struct dice *d)
{
    uint64_t at = dice_draw(d, 1, m->sum);
    struct fault f = { 0 };

    while (at > m->weight[f.kind])
        at -= m->weight[f.kind++];
    for (unsigned i = 0; i < fault_args(f.kind); i++) {
        const struct fault_range *r = &fault_rows[f.kind].range[i];

        f.arg[i] = (uint32_t)dice_draw(d, r->draw_lo, r->draw_hi);
    }
    return f;
}
