/*
 * text.c - sizes, core lists and words as people type and read them
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/topo.h"
#include "programs/common/text.h"

static const char suffixes[] = "kMGTP";

int number_parse(const char *text, uint64_t *out)
{
    uint64_t v = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return -ERANGE;
    }
    *out = v;
    return 0;
}

int size_parse(const char *text, uint64_t *out)
{
    const size_t len = strlen(text);
    char digits[32];
    uint64_t v;
    unsigned shift = 0;
    int err;

    if (!len || len >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, text, len + 1);
    for (unsigned i = 0; i < 4; i++)
        if ((digits[len - 1] | 0x20) == (suffixes[i] | 0x20))
            shift = 10 * (i + 1);
    if (shift)
        digits[len - 1] = '\0';
    if ((err = number_parse(digits, &v)))
        return err;
    if (v > (uint64_t)INT64_MAX >> shift)
        return -ERANGE;
    *out = v << shift;
    return 0;
}

void size_format(uint64_t bytes, char out[static SIZE_STR_MAX])
{
    unsigned i = 0;

    while (i < 5 && bytes >> (10 * (i + 1)))
        i++;
    if (!i)
        snprintf(out, SIZE_STR_MAX, "%llu", (unsigned long long)bytes);
    else if (!(bytes & ((1ull << (10 * i)) - 1)))
        snprintf(out, SIZE_STR_MAX, "%llu%c", (unsigned long long)(bytes >> (10 * i)), suffixes[i - 1]);
    else
        snprintf(out, SIZE_STR_MAX, "%.1f%c", (double)bytes / (double)(1ull << (10 * i)), suffixes[i - 1]);
}

/* ---- cores ----------------------------------------------------------------------------------------------- */

void cores_allowed(struct cores *out)
{
    const size_t len = CPU_ALLOC_SIZE(65536);
    cpu_set_t *set = CPU_ALLOC(65536);

    out->nr = 0;
    if (set && !sched_getaffinity(0, len, set))
        for (int i = 0; i < 65536 && out->nr < CORES_MAX; i++)
            if (CPU_ISSET_S((size_t)i, len, set))
                out->core[out->nr++] = i;
    if (set)
        CPU_FREE(set);
}

void cores_default(struct cores *out, const struct bal_topo *topo)
{
    out->nr = topo ? bal_topo_default(topo, out->core, CORES_MAX) : 0;
    if (!out->nr)
        cores_allowed(out);
}

void cores_format(const struct cores *c, char *out, size_t len)
{
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0, last; i < c->nr && at < len; i = last + 1) {
        for (last = i; last + 1 < c->nr && c->core[last + 1] == c->core[last] + 1;)
            last++;
        at += (size_t)snprintf(out + at, len - at, last > i ? "%s%d-%d" : "%s%d", i ? "," : "", c->core[i],
                               c->core[last]);
    }
}

static bool has_core(const struct cores *c, uint64_t core)
{
    for (unsigned i = 0; i < c->nr; i++)
        if ((uint64_t)c->core[i] == core)
            return true;
    return false;
}

/* One item, "3" or "2-5", cut out of the list. */
static bool range_parse(char *item, uint64_t *lo, uint64_t *hi)
{
    char *dash = strchr(item, '-');

    if (dash)
        *dash++ = '\0';
    return !number_parse(item, lo) && !number_parse(dash ? dash : item, hi) && *lo <= *hi;
}

static bool range_add(struct cores *c, uint64_t lo, uint64_t hi, const struct cores *allowed,
                      char why[static 256])
{
    char list[160];

    for (uint64_t n = lo; n <= hi; n++) {
        if (!has_core(allowed, n)) {
            cores_format(allowed, list, sizeof(list));
            snprintf(why, 256, "core %llu is not there, or not allowed to this process: choose among %s",
                     (unsigned long long)n, list);
            return false;
        }
        if (has_core(c, n)) {
            snprintf(why, 256, "core %llu is named twice", (unsigned long long)n);
            return false;
        }
        c->core[c->nr++] = (int)n; /* allowed cores are CORES_MAX at most, and each is there once */
    }
    return true;
}

bool cores_parse(const char *text, struct cores *out, char why[static 256])
{
    struct cores allowed;
    char *list = strdup(text), *rest = list, *item;
    bool ok = list && *text;

    if (!ok)
        snprintf(why, 256, "a list of cores looks like 0,2-5");
    cores_allowed(&allowed);
    out->nr = 0;
    while (ok && (item = strsep(&rest, ","))) {
        uint64_t lo, hi;

        if (!range_parse(item, &lo, &hi)) {
            snprintf(why, 256, "'%.64s' is no list of cores: it looks like 0,2-5", text);
            ok = false;
        } else {
            ok = range_add(out, lo, hi, &allowed, why);
        }
    }
    free(list);
    return ok;
}

/* ---- words ----------------------------------------------------------------------------------------------- */

#define WORD_MAX 48u

/* Letters to change, add, drop or swap with a neighbour to get from one word to the other (restricted
 * Damerau). */
static unsigned distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    unsigned d[WORD_MAX + 1][WORD_MAX + 1];

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *word_nearest(const char *word, const char *const *list)
{
    const size_t len = strlen(word);
    unsigned best = len < 4 ? 2 : 1 + (unsigned)len / 3; /* more than that is another word */
    const char *found = NULL;

    for (; *list; list++) {
        /* "--sess" for "--sessions": the beginning of a word is a good guess whatever is missing. */
        const unsigned d = len > 1 && !strncmp(*list, word, len) ? 0 : distance(word, *list);

        if (d < best) {
            best = d;
            found = *list;
        }
    }
    return found;
}
