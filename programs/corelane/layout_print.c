/*
 * layout_print.c - the picture of a layout
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "programs/corelane/layout_print.h"
#include "programs/corelane/print.h"

#define BAR_LEN      20
#define SHOWN_MAX    1024u /* cores */
#define QUIET_BUSY   0.005 /* below it a core has nothing to tell */
#define QUIET_MIN    4u    /* so many such cores in a row are one line */
#define SESSIONS_MAX 16u   /* of one core; the others are counted */

/* ---- what is where --------------------------------------------------------------------------------------- */

static const char *plain(const json_t *o, const char *key, char out[static CELL_LEN_MAX])
{
    cell_format(json_object_get(o, key), CELL_TEXT, out);
    return out;
}

static double real_of(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static bool has(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

/* In this order they are shown: whoever shares a package, a node and a whole core is side by side. */
static int core_before(const json_t *a, const json_t *b)
{
    static const char *const keys[] = { "package", "node", "whole_core", "core" };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_int_t x = json_integer_value(json_object_get(a, keys[i]));
        const json_int_t y = json_integer_value(json_object_get(b, keys[i]));

        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}

static unsigned cores_sorted(const json_t *list, const json_t *out[static SHOWN_MAX])
{
    const size_t nr = json_array_size(list);
    unsigned n = 0;

    for (size_t i = 0; i < nr && n < SHOWN_MAX; i++) {
        const json_t *c = json_array_get(list, i);
        unsigned at = n++;

        for (; at && core_before(c, out[at - 1]) < 0; at--)
            out[at] = out[at - 1];
        out[at] = c;
    }
    return n;
}

static bool same_place(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "package"), json_object_get(b, "package")) &&
           json_equal(json_object_get(a, "node"), json_object_get(b, "node"));
}

/* ---- lines ----------------------------------------------------------------------------------------------- */

/* '#' our work, '.' our polling, '+' what others had of the CPU. */
static void bar_make(const json_t *core, char out[static BAR_LEN + 1])
{
    const int busy = (int)(real_of(core, "busy") * BAR_LEN + 0.5);
    const int host = busy + (int)(real_of(core, "host") * BAR_LEN + 0.5);
    const int poll = host + (int)(real_of(core, "poll") * BAR_LEN + 0.5);

    for (int i = 0; i < BAR_LEN; i++)
        out[i] = i < busy ? '#' : i < host ? '+' : i < poll ? '.' : ' ';
    out[BAR_LEN] = '\0';
}

/* "0+48": CPU 0, whose other half is 48. */
static void number_make(const json_t *core, char *out, size_t len)
{
    const json_t *siblings = json_object_get(core, "siblings");
    const json_int_t cpu = json_integer_value(json_object_get(core, "core"));
    size_t at = cpu < 0 ? (size_t)snprintf(out, len, "-") : (size_t)snprintf(out, len, "%lld", (long long)cpu);

    for (size_t i = 0; i < json_array_size(siblings) && at < len; i++)
        at += (size_t)snprintf(out + at, len - at, "+%lld",
                               (long long)json_integer_value(json_array_get(siblings, i)));
}

static void session_line(FILE *to, const json_t *s)
{
    char text[CELL_LEN_MAX];

    fprintf(to, "      %-5s", plain(s, "name", text));
    fprintf(to, " %s", plain(s, "target", text));
    fprintf(to, " at %s", plain(s, "portal", text));
    if (num_of(s, "index"))
        fprintf(to, " #%llu", (unsigned long long)num_of(s, "index"));
    plain(s, "transport", text);
    fprintf(to, ", %s", strcmp(text, "-") ? text : plain(s, "state", text));
    if (has(s, "nic"))
        fprintf(to, ", by %s", plain(s, "nic", text));
    if (has(s, "node"))
        fprintf(to, " (node %s)", plain(s, "node", text));
    if (json_array_size(json_object_get(s, "disks")))
        fprintf(to, ", disks %s", plain(s, "disks", text));
    if (json_is_true(json_object_get(s, "moving")))
        fputs(", moving", to);
    if (has(s, "pin") && num_of(s, "pin") == num_of(s, "core"))
        fputs(" [pinned]", to);
    else if (has(s, "pin"))
        fprintf(to, " [pinned to core %s]", plain(s, "pin", text));
    fputc('\n', to);
}

static void core_lines(FILE *to, const json_t *core, const json_t *sessions)
{
    const json_int_t cpu = json_integer_value(json_object_get(core, "core"));
    const size_t there = json_array_size(json_object_get(core, "sessions"));
    char bar[BAR_LEN + 1], number[48], names[CELL_LEN_MAX] = "";
    unsigned shown = 0;
    size_t i;
    json_t *s;

    bar_make(core, bar);
    number_make(core, number, sizeof(number));
    if (there && !sessions) /* of a daemon that tells their names only */
        plain(core, "sessions", names);
    else if (there)
        snprintf(names, sizeof(names), "%zu session%s", there, there == 1 ? "" : "s");
    fprintf(to, "    core %-7s [%s] %3.0f%%", number, bar, real_of(core, "busy") * 100);
    if (real_of(core, "host") >= QUIET_BUSY)
        fprintf(to, " +%.0f%%", real_of(core, "host") * 100);
    fprintf(to, "  %s%s%s\n", text_of(core, "mode"),
            json_is_true(json_object_get(core, "isolated")) ? ", isolated" : "", "");
    if (!sessions && there)
        fprintf(to, "      %s\n", names);
    json_array_foreach(sessions, i, s)
    {
        if (json_integer_value(json_object_get(s, "core")) != cpu)
            continue;
        if (shown++ < SESSIONS_MAX)
            session_line(to, s);
    }
    if (shown > SESSIONS_MAX)
        fprintf(to, "      and %u more\n", shown - SESSIONS_MAX);
}

static bool is_quiet(const json_t *core)
{
    return !json_array_size(json_object_get(core, "sessions")) && real_of(core, "busy") < QUIET_BUSY &&
           real_of(core, "host") < QUIET_BUSY;
}

static int number_before(const void *a, const void *b)
{
    const long long x = *(const long long *)a, y = *(const long long *)b;

    return (x > y) - (x < y);
}

/* "cores 2-23,50  23, free". */
static void quiet_line(FILE *to, const json_t *const *cores, unsigned nr)
{
    long long cpu[SHOWN_MAX];

    for (unsigned i = 0; i < nr; i++)
        cpu[i] = json_integer_value(json_object_get(cores[i], "core"));
    if (!nr)
        return;
    qsort(cpu, nr, sizeof(cpu[0]), number_before);
    fputs("    cores ", to);
    for (unsigned i = 0, last; i < nr; i = last + 1) {
        for (last = i; last + 1 < nr && cpu[last + 1] == cpu[last] + 1;)
            last++;
        fprintf(to, "%s%lld", i ? "," : "", cpu[i]);
        if (last > i)
            fprintf(to, "-%lld", cpu[last]);
    }
    fprintf(to, "  %u, free\n", nr);
}

static void head_line(FILE *to, const char *daemon, const json_t *layout)
{
    const json_t *t = json_object_get(layout, "totals");

    if (!t) {
        fprintf(to, "%s  (# working, . polling)\n", daemon);
        return;
    }
    fprintf(to, "%s: %llu sessions on %llu cores", daemon, (unsigned long long)num_of(t, "sessions"),
            (unsigned long long)num_of(t, "cores"));
    if (num_of(layout, "cpus"))
        fprintf(to, " of %llu CPUs", (unsigned long long)num_of(layout, "cpus"));
    fprintf(to, ", %llu free; policy %s, rebalance %s\n", (unsigned long long)num_of(t, "cores_free"),
            text_of(layout, "policy"), text_of(layout, "rebalance"));
    fprintf(to,
            "  busy %.0f%% on average, %.0f%% to %.0f%%: imbalance %.0f  (# working, + others, . polling)\n",
            real_of(t, "busy") * 100, real_of(t, "busy_min") * 100, real_of(t, "busy_max") * 100,
            real_of(t, "imbalance") * 100);
}

static void unplaced_lines(FILE *to, const json_t *sessions)
{
    unsigned nr = 0;
    size_t i;
    json_t *s;

    json_array_foreach(sessions, i, s)
    {
        if (json_integer_value(json_object_get(s, "core")) >= 0 || !strcmp(text_of(s, "transport"), "tcp"))
            continue;
        if (!nr++)
            fputs("  not placed yet\n", to);
        session_line(to, s);
    }
}

void layout_picture(FILE *to, const char *daemon, const json_t *layout)
{
    const json_t *cores[SHOWN_MAX], *sessions = json_object_get(layout, "sessions");
    const unsigned nr = cores_sorted(json_object_get(layout, "cores"), cores);
    bool pinned = false;

    head_line(to, daemon, layout);
    for (unsigned i = 0; i < nr;) {
        unsigned quiet = 0;

        pinned |= json_integer_value(json_object_get(cores[i], "core")) >= 0;
        if ((!i || !same_place(cores[i - 1], cores[i])) && has(cores[i], "node"))
            fprintf(to, "  package %llu, node %llu\n", (unsigned long long)num_of(cores[i], "package"),
                    (unsigned long long)num_of(cores[i], "node"));
        while (i + quiet < nr && is_quiet(cores[i + quiet]) && same_place(cores[i], cores[i + quiet]))
            quiet++;
        if (quiet >= QUIET_MIN) {
            quiet_line(to, cores + i, quiet);
            i += quiet;
        } else {
            core_lines(to, cores[i++], sessions);
        }
    }
    if (pinned) /* else every session is on "core -1" */
        unplaced_lines(to, sessions);
}

/* ---- explain --------------------------------------------------------------------------------------------- */

static void verdicts_print(FILE *to, const json_t *cores)
{
    char text[CELL_LEN_MAX];
    size_t i;
    json_t *c;

    json_array_foreach(cores, i, c)
    {
        const bool chosen = json_is_true(json_object_get(c, "chosen"));

        fprintf(to, "    core %-4lld %-7s", (long long)json_integer_value(json_object_get(c, "core")),
                chosen                                         ? "chosen"
                : json_is_true(json_object_get(c, "possible")) ? "lost"
                                                               : "is out");
        if (json_is_true(json_object_get(c, "possible")))
            fprintf(to, "  score %-12llu", (unsigned long long)num_of(c, "score"));
        else
            fprintf(to, "  %-18s", "");
        fprintf(to, "  %llu session%s, %llu%% busy", (unsigned long long)num_of(c, "sessions"),
                num_of(c, "sessions") == 1 ? "" : "s", (unsigned long long)num_of(c, "busy"));
        fprintf(to, ": %s\n", plain(c, "why", text));
    }
}

static void time_make(uint64_t s, char out[static 32])
{
    const time_t t = (time_t)s;
    struct tm tm;

    if (!localtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm))
        strcpy(out, "?");
}

/* @name: what the session is called now; it was another before it logged in again. */
static void entry_print(FILE *to, const json_t *e, const char *name)
{
    char when[32], text[CELL_LEN_MAX];

    time_make(num_of(e, "t"), when);
    fprintf(to, "%s  %s", when, plain(e, "event", text));
    if (has(e, "session") && strcmp(text_of(e, "session"), name))
        fprintf(to, " as %s", plain(e, "session", text));
    if (has(e, "from"))
        fprintf(to, " from core %s to %lld", plain(e, "from", text),
                (long long)json_integer_value(json_object_get(e, "core")));
    else
        fprintf(to, " on core %lld", (long long)json_integer_value(json_object_get(e, "core")));
    fprintf(to, " (%s", plain(e, "by", text));
    fprintf(to, ", policy %s)", plain(e, "policy", text));
    if (has(e, "pause_us"))
        fprintf(to, ", pause %.3f ms", (double)num_of(e, "pause_us") / 1000);
    fprintf(to, ": %s\n", plain(e, "why", text));
    verdicts_print(to, json_object_get(e, "cores"));
}

void layout_reasons(FILE *to, const json_t *answer)
{
    const json_t *s = json_object_get(answer, "session"), *entries = json_object_get(answer, "entries");
    char text[CELL_LEN_MAX];
    size_t i;
    json_t *e;

    fprintf(to, "%s", has(s, "name") ? plain(s, "name", text) : "(gone)");
    fprintf(to, "  %s", plain(s, "target", text));
    fprintf(to, " at %s", plain(s, "portal", text));
    fprintf(to, " #%llu", (unsigned long long)num_of(s, "index"));
    if (has(s, "core"))
        fprintf(to, ", core %lld", (long long)json_integer_value(json_object_get(s, "core")));
    if (has(s, "pin"))
        fprintf(to, ", pinned to core %s", plain(s, "pin", text));
    fputc('\n', to);
    json_array_foreach(entries, i, e) entry_print(to, e, text_of(s, "name"));
    if (!json_array_size(entries))
        fputs("The journal has nothing of it.\n", to);
}

/* ---- advice, plan ---------------------------------------------------------------------------------------- */

void layout_advice(FILE *to, const json_t *answer)
{
    char when[32], text[CELL_LEN_MAX];
    size_t i;
    json_t *a;

    fprintf(to, "rebalance %s", plain(answer, "mode", text));
    fprintf(to, "; now: %s\n", plain(answer, "why", text));
    json_array_foreach(json_object_get(answer, "advice"), i, a)
    {
        time_make(num_of(a, "t"), when);
        fprintf(to, "%s  %s", when, plain(a, "session", text));
        fprintf(to, " from core %s", plain(a, "from", text));
        fprintf(to, " to %s", plain(a, "to", text));
        if (num_of(a, "times") > 1)
            fprintf(to, " (%llu times)", (unsigned long long)num_of(a, "times"));
        fprintf(to, ": %s%s\n", plain(a, "why", text),
                json_is_true(json_object_get(a, "stands")) ? "" : " (over: it is not there any more)");
    }
}

void layout_plan(FILE *to, const json_t *answer)
{
    const json_t *list = json_object_get(answer, "sessions");
    char text[CELL_LEN_MAX];
    size_t i;
    json_t *s;

    fprintf(to, "policy %s", plain(answer, "policy", text));
    if (has(answer, "node"))
        fprintf(to, ", node %s wanted", plain(answer, "node", text));
    fputc('\n', to);
    json_array_foreach(list, i, s)
    {
        fprintf(to, "%4zu  core %-4s", i + 1, plain(s, "core", text));
        if (has(s, "node"))
            fprintf(to, " node %s", plain(s, "node", text));
        fprintf(to, "  %s\n", plain(s, "why", text));
    }
    if (has(answer, "refused"))
        fprintf(to, "%4zu  none: %s\n", i + 1, plain(answer, "refused", text));
}
