/*
 * mask.c - sets of CPUs as the kernel writes them
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/mask.h"

#define WORD_BITS   32
#define WORD_NR     (BAL_MASK_CPUS / WORD_BITS)
#define WORD_DIGITS 8

static_assert(BAL_MASK_CPUS % 64 == 0, "a mask is whole words");

void bal_mask_set(struct bal_mask *m, int cpu)
{
    if (cpu >= 0 && cpu < BAL_MASK_CPUS)
        m->word[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

bool bal_mask_has(const struct bal_mask *m, int cpu)
{
    return cpu >= 0 && cpu < BAL_MASK_CPUS && (m->word[cpu / 64] >> (cpu % 64) & 1);
}

bool bal_mask_equal(const struct bal_mask *a, const struct bal_mask *b)
{
    return !memcmp(a, b, sizeof(*a));
}

void bal_mask_or(struct bal_mask *m, const struct bal_mask *more)
{
    for (unsigned i = 0; i < BAL_MASK_CPUS / 64; i++)
        m->word[i] |= more->word[i];
}

unsigned bal_mask_count(const struct bal_mask *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < BAL_MASK_CPUS / 64; i++)
        n += (unsigned)__builtin_popcountll(m->word[i]);
    return n;
}

int bal_mask_next(const struct bal_mask *m, int from)
{
    for (int cpu = from < 0 ? 0 : from; cpu < BAL_MASK_CPUS; cpu++) {
        if (!(cpu % 64) && !m->word[cpu / 64])
            cpu += 63;
        else if (bal_mask_has(m, cpu))
            return cpu;
    }
    return -1;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static size_t len_without_blanks(const char *text)
{
    size_t len = strlen(text);

    while (len && (text[len - 1] == '\n' || text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    return len;
}

int bal_mask_parse(struct bal_mask *out, const char *text)
{
    size_t end = len_without_blanks(text);
    struct bal_mask m = { 0 };
    unsigned word = 0, digits = 0;

    if (!end)
        return -EINVAL;
    /* From the right: a group's place is known only by those that follow it. */
    for (; end; end--) {
        const char c = text[end - 1];
        const int d = digit_of(c);

        if (c == ',') {
            if (!digits)
                return -EINVAL;
            word++;
            digits = 0;
            continue;
        }
        if (d < 0 || digits == WORD_DIGITS)
            return -EINVAL;
        if (d && word >= WORD_NR)
            return -ERANGE;
        for (int b = 0; b < 4; b++)
            if (d >> b & 1)
                bal_mask_set(&m, (int)(word * WORD_BITS + digits * 4) + b);
        digits++;
    }
    if (!digits)
        return -EINVAL;
    *out = m;
    return 0;
}

/* A decimal number; @p is moved behind it. Return: -1: there is none, or it is out of bounds. */
static int cpu_read(const char **p, const char *end)
{
    int n = -1;

    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        n = (n < 0 ? 0 : n) * 10 + (**p - '0');
        if (n >= BAL_MASK_CPUS)
            return -2;
    }
    return n;
}

int bal_mask_parse_list(struct bal_mask *out, const char *text)
{
    const char *p = text, *end = text + len_without_blanks(text);
    struct bal_mask m = { 0 };

    while (p < end) {
        int lo = cpu_read(&p, end), hi = lo;

        if (lo >= 0 && p < end && *p == '-') {
            p++;
            hi = cpu_read(&p, end);
        }
        if (lo == -2 || hi == -2)
            return -ERANGE;
        if (lo < 0 || hi < lo || (p < end && *p != ',') || (p + 1 == end))
            return -EINVAL;
        for (int cpu = lo; cpu <= hi; cpu++)
            bal_mask_set(&m, cpu);
        p += p < end;
    }
    *out = m;
    return 0;
}

static uint32_t word_of(const struct bal_mask *m, unsigned i)
{
    return (uint32_t)(m->word[i / 2] >> (i % 2 * WORD_BITS));
}

void bal_mask_format(const struct bal_mask *m, char out[static BAL_MASK_TEXT_MAX])
{
    unsigned top = WORD_NR - 1;
    size_t len;

    while (top && !word_of(m, top))
        top--;
    len = (size_t)snprintf(out, BAL_MASK_TEXT_MAX, "%x", word_of(m, top));
    while (top--)
        len += (size_t)snprintf(out + len, BAL_MASK_TEXT_MAX - len, ",%08x", word_of(m, top));
}

void bal_mask_format_list(const struct bal_mask *m, char *out, size_t len)
{
    size_t used = 0;

    snprintf(out, len, "none");
    for (int lo = bal_mask_next(m, 0), hi; lo >= 0; lo = bal_mask_next(m, hi + 1)) {
        char run[32];
        int n;

        for (hi = lo; bal_mask_has(m, hi + 1); hi++)
            ;
        n = lo == hi ? snprintf(run, sizeof(run), "%s%d", used ? "," : "", lo)
                     : snprintf(run, sizeof(run), "%s%d-%d", used ? "," : "", lo, hi);
        if (used + (size_t)n + sizeof("...") > len) {
            snprintf(out + used, len - used, "...");
            return;
        }
        memcpy(out + used, run, (size_t)n + 1);
        used += (size_t)n;
    }
}
