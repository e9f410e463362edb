/* Sessions placed one after another on made-up machines: where each lands, and the reasons' words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/place.h"

#define CORES_MAX  256u
#define LAYOUT_MAX 1024u

/* clang-format off */
/* In hwloc's notation. As Linux numbers them, siblings are half the machine apart, where nothing else is said. */
static const struct machine {
    const char *name, *notation;
} machines[] = {
    { "1 core", "core:1 pu:1" },
    { "SMT pair", "core:1 pu:2" },
    { "2 cores SMT", "core:2 pu:2(indexes=2*2:2*1)" },
    { "no SMT", "pack:1 numa:1 l3:1 core:8 pu:1" },
    { "2 sockets SMT", "pack:2 numa:1 l3:1 core:24 pu:2(indexes=2*48:48*1)" },
    { "even and odd", "pack:2 numa:1 l3:1 core:4 pu:2(indexes=pack:core)" }, /* CPU 2n on node 0, 2n+1 on node 1 */
    { "neighbours", "pack:2 numa:1 l3:1 core:2 pu:2" },                      /* siblings are numbered 2n and 2n+1 */
    { "4 nodes", "pack:4 numa:1 l3:1 core:4 pu:1" },
    { "sub-NUMA", "pack:2 numa:2 l3:1 core:3 pu:1" },
    { "CCX", "pack:1 numa:1 l3:4 core:4 pu:2(indexes=2*16:16*1)" },
    { "72 cores", "pack:1 numa:1 l3:1 core:72 pu:1" },
    { "160 threads", "pack:2 numa:1 l3:1 core:40 pu:2(indexes=2*80:80*1)" },
    { "hybrid", "pack:1 numa:1 l3:1 core:8 pu:2; offline 9,11,13,15" },      /* 4 cores of two threads, 4 of one */
    { "cpuset", "pack:2 numa:1 l3:1 core:4 pu:2(indexes=2*8:8*1); allowed 2-5,10-11" },
    { "isolated", "pack:2 numa:1 l3:1 core:4 pu:1; isolated 2-3,6-7" },
    { "all isolated", "pack:1 numa:1 l3:1 core:4 pu:1; allowed 2-3; isolated 2-3" },
    { "one core's threads", "pack:1 numa:1 l3:1 core:4 pu:2(indexes=2*4:4*1); allowed 1,5" },
    { "holes", "pack:1 numa:1 l3:1 core:8 pu:1; offline 0,3-5" },
    { "node of memory", "pack:2 [numa] [numa] core:3 pu:1" }, /* nodes 0 and 2 have the CPUs, as their nearest */
};

#define ANY    BAL_NODE_ANY
#define FREE   BAL_FREE_CORE
#define NUMA   BAL_NUMA
#define SPREAD BAL_SPREAD
#define PACK   BAL_PACK
#define NONE   0, NULL
static const struct row {
    const char *machine;
    const char *take; /* candidates; NULL: what a daemon takes by itself */
    enum bal_policy policy;
    int node;           /* of eth0 */
    unsigned nr;        /* sessions */
    const char *layout; /* CPUs in the order in which they are given out */
    const char *why;    /* is said of the last one */
    int loser;          /* when the last one was placed */
    const char *lost;   /* is said of it */
} rows[] = {
    /* machine             candidates  policy node nr layout                            why the last one; who lost then, and why */
    /* ---- a free core first, its node first; whole cores before siblings; then all around again ---- */
    { "1 core",               NULL,        FREE,   ANY, 3,  "0 0 0",                                            "the only core of the set, 2 sessions there", NONE },
    { "SMT pair",             NULL,        FREE,   ANY, 4,  "0-1 0-1",                                          "fewest sessions (1)",
      0, "2 sessions, core 1 has 1" },
    { "2 cores SMT",          NULL,        FREE,   ANY, 2,  "0-1",                                              "free, one of 3 free among 4 cores, whole core free",
      2, "1 session on its SMT sibling, on that of core 1 0" },
    { "2 cores SMT",          NULL,        FREE,   ANY, 6,  "0-3 0-1",                                          "none of 4 cores is free", NONE },
    { "no SMT",               NULL,        FREE,   0,   10, "0-7 0-1",                                          "node 0 as eth0 has",
      7, "as good as core 1, which comes before it" },
    { "no SMT",               "7 5 3",     FREE,   ANY, 4,  "7 5 3 7",                                          "none of 3 cores is free; fewest sessions (1", NONE },
    { "2 sockets SMT",        NULL,        FREE,   1,   24, "24-47",                                            "free, one of 73 free among 96 cores, whole core free, node 1 as eth0 has",
      0, "node 0, core 47 is on node 1 as eth0 is" },
    { "2 sockets SMT",        NULL,        FREE,   1,   25, "24-47 0",                                          "whole core free, node 0 though eth0 is on node 1",
      72, "1 session on its SMT sibling, on that of core 0 0" },
    { "2 sockets SMT",        NULL,        FREE,   1,   97, "24-47 0-23 72-95 48-71 24",                        "none of 96 cores is free", NONE },
    { "2 sockets SMT",        NULL,        FREE,   ANY, 49, "0-48",                                             "1 session on its SMT sibling", NONE },
    { "even and odd",         NULL,        FREE,   1,   8,  "1 3 5 7 0 2 4 6",                                  "one of 9 free among 16 cores, whole core free, node 0 though eth0 is on node 1", NONE },
    { "neighbours",           NULL,        FREE,   0,   8,  "0 2 4 6 1 3 5 7",                                  "one of 1 free among 8 cores, 1 session on its SMT sibling, node 1 though eth0 is on node 0",
      0, "1 session, core 7 has 0" },
    { "4 nodes",              NULL,        FREE,   2,   6,  "8-11 0-1",                                         "node 0 though eth0 is on node 2",
      8, "1 session, core 1 has 0" },
    { "sub-NUMA",             NULL,        FREE,   3,   7,  "9-11 6-8 0",                                       "one of 6 free among 12 cores, node 0 though eth0 is on node 3",
      8, "1 session" },
    { "sub-NUMA",             NULL,        FREE,   3,   4,  "9-11 6",                                           "one of 9 free among 12 cores, node 2 though eth0 is on node 3",
      0, "node 0, core 6 is nearer to node 3, where eth0 is" },
    { "CCX",                  NULL,        FREE,   0,   17, "0-16",                                             "1 session on its SMT sibling", NONE },
    { "72 cores",             NULL,        FREE,   ANY, 73, "0-71 0",                                           "none of 72 cores is free", NONE },
    { "160 threads",          NULL,        FREE,   1,   81, "40-79 0-39 120",                                   "one of 80 free among 160 cores, 1 session on its SMT sibling, node 1 as eth0 has", NONE },
    { "hybrid",               NULL,        FREE,   ANY, 9,  "0 2 4 6 8 10 12 14 1",                             "one of 4 free among 12 cores, 1 session on its SMT sibling",
      3, "as good as core 1" },
    { "cpuset",               NULL,        FREE,   1,   6,  "4-5 2-3 10-11",                                    "one of 1 free among 6 cores, 1 session on its SMT sibling, node 0 though eth0 is on node 1", NONE },
    { "cpuset",               "0-15",      FREE,   1,   6,  "4-5 2-3 10-11",                                    "one of 1 free among 6 cores, 1 session on its SMT sibling, node 0 though eth0 is on node 1",
      12, "outside its cpuset" },
    { "isolated",             NULL,        FREE,   1,   5,  "4-5 0-1 4",                                        "none of 4 cores is free; fewest sessions (1", NONE },
    { "isolated",             "2-3 7",     FREE,   1,   4,  "7 2-3 7",                                          "none of 3 cores is free; fewest sessions (1", NONE },
    { "all isolated",         NULL,        FREE,   ANY, 3,  "2-3 2",                                            "none of 2 cores is free; fewest sessions (1", NONE },
    { "one core's threads",   NULL,        FREE,   ANY, 3,  "1 5 1",                                            "none of 2 cores is free; fewest sessions (1", NONE },
    { "holes",                NULL,        FREE,   0,   5,  "1-2 6-7 1",                                        "none of 4 cores is free; fewest sessions (1", NONE },
    { "node of memory",       NULL,        FREE,   2,   4,  "3-5 0",                                            "one of 3 free among 6 cores, node 0 though eth0 is on node 2", NONE },
    { "node of memory",       NULL,        FREE,   3,   2,  "0-1",                                              "node 0 though eth0 is on node 3", NONE },

    /* ---- never off the node ---- */
    { "1 core",               NULL,        NUMA,   1,   2,  "0 0",                                              "node 0 though eth0 is on node 1", NONE },
    { "2 sockets SMT",        NULL,        NUMA,   1,   49, "24-47 72-95 24",                                   "none of 48 cores is free; fewest sessions (1",
      0, "node 0: policy numa keeps to node 1, where eth0 is" },
    { "2 sockets SMT",        "0-3",       NUMA,   1,   5,  "0-3 0",                                            "none of 4 cores is free; fewest sessions (1", NONE },
    { "even and odd",         NULL,        NUMA,   0,   9,  "0 2 4 6 8 10 12 14 0",                             "none of 8 cores is free; fewest sessions (1", NONE },
    { "4 nodes",              NULL,        NUMA,   2,   5,  "8-11 8",                                           "none of 4 cores is free; fewest sessions (1", NONE },
    { "sub-NUMA",             NULL,        NUMA,   1,   4,  "3-5 3",                                            "none of 3 cores is free; fewest sessions (1", NONE },
    { "160 threads",          NULL,        NUMA,   1,   41, "40-79 120",                                        "one of 40 free among 80 cores, 1 session on its SMT sibling, node 1 as eth0 has", NONE },
    { "cpuset",               NULL,        NUMA,   1,   3,  "4-5 4",                                            "none of 2 cores is free; fewest sessions (1", NONE },
    { "isolated",             NULL,        NUMA,   1,   3,  "4-5 4",                                            "none of 2 cores is free; fewest sessions (1", NONE },
    { "node of memory",       NULL,        NUMA,   3,   2,  "0-1",                                              "one of 5 free among 6 cores, node 0 though eth0 is on node 3", NONE },
    { "72 cores",             NULL,        NUMA,   ANY, 2,  "0-1",                                              "one of 71 free among 72 cores", NONE },

    /* ---- as far apart as can be ---- */
    { "1 core",               NULL,        SPREAD, ANY, 2,  "0 0",                                              "the only core of the set, 1 session there", NONE },
    { "2 cores SMT",          NULL,        SPREAD, ANY, 4,  "0-3",                                              "the fewest sessions around it, 0 on it", NONE },
    { "no SMT",               NULL,        SPREAD, ANY, 3,  "0-2",                                              "the fewest sessions around it, 0 on it", NONE },
    { "2 sockets SMT",        NULL,        SPREAD, ANY, 6,  "0 24 1 25 2 26",                                   "the fewest sessions around it, 0 on it", NONE },
    { "2 sockets SMT",        NULL,        SPREAD, 1,   4,  "24 0 25 1",                                        "the fewest sessions around it, 0 on it", NONE },
    { "4 nodes",              NULL,        SPREAD, 2,   6,  "8 0 4 12 9 1",                                     "the fewest sessions around it, 0 on it", NONE },
    { "sub-NUMA",             NULL,        SPREAD, ANY, 6,  "0 6 3 9 1 7",                                      "the fewest sessions around it, 0 on it", NONE },
    { "CCX",                  NULL,        SPREAD, ANY, 18, "0 4 8 12 1 5 9 13 2 6 10 14 3 7 11 15-16 20",      "the fewest sessions around it, 0 on it", NONE },
    { "hybrid",               NULL,        SPREAD, ANY, 9,  "0 2 4 6 8 10 12 14 1",                             "the fewest sessions around it, 0 on it", NONE },
    { "2 sockets SMT",        "0 24-30",   SPREAD, ANY, 8,  "0 24-30",                                          "the fewest sessions around it, 0 on it", NONE },
    { "cpuset",               NULL,        SPREAD, ANY, 4,  "2 4 3 5",                                          "the fewest sessions around it, 0 on it", NONE },

    /* ---- as few as can be ---- */
    { "1 core",               NULL,        PACK,   ANY, 2,  "0 0",                                              "the only core of the set", NONE },
    { "2 sockets SMT",        NULL,        PACK,   1,   3,  "24 24 24",                                         "in use with 2 sessions and bears another", NONE },
    { "2 sockets SMT",        NULL,        PACK,   ANY, 2,  "0 0",                                              "in use with 1 session and bears another", NONE },
    { "CCX",                  "4-7 20-23", PACK,   ANY, 2,  "4 4",                                              "in use with 1 session and bears another", NONE },
    { "isolated",             NULL,        PACK,   1,   2,  "4 4",                                              "in use with 1 session and bears another", NONE },
};
/* clang-format on */

/* ---- lists ----------------------------------------------------------------------------------------------- */

static unsigned list_read(const char *text, int *out)
{
    unsigned nr = 0;

    while (*text) {
        char *end;
        int lo = (int)strtol(text, &end, 10), hi = *end == '-' ? (int)strtol(end + 1, &end, 10) : lo;

        for (; lo <= hi; lo++) {
            assert_true(nr < CORES_MAX);
            out[nr++] = lo;
        }
        text = end + strspn(end, " ");
    }
    return nr;
}

static void list_write(const int *cpus, unsigned nr, char out[static LAYOUT_MAX])
{
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0, last; i < nr; i = last + 1) {
        for (last = i; last + 1 < nr && cpus[last + 1] == cpus[last] + 1;)
            last++;
        at += (size_t)snprintf(out + at, LAYOUT_MAX - at, last > i ? "%s%d-%d" : "%s%d", i ? " " : "", cpus[i],
                               cpus[last]);
        assert_true(at < LAYOUT_MAX);
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------ */

static struct bal_topo *machine_make(const char *name)
{
    struct bal_topo *t = NULL;
    char why[BAL_TEXT_MAX];

    for (unsigned i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
        if (!strcmp(machines[i].name, name) && bal_topo_new(&t, machines[i].notation, why))
            fail_msg("%s: %s", name, why);
    assert_non_null(t);
    return t;
}

static unsigned cores_take(const struct row *r, const struct bal_topo *t, struct bal_core *cores)
{
    int cpus[CORES_MAX];
    const unsigned nr = r->take ? list_read(r->take, cpus) : bal_topo_default(t, cpus, CORES_MAX);

    for (unsigned i = 0; i < nr; i++)
        cores[i] = (struct bal_core){ .cpu = cpus[i] };
    return nr;
}

static const char *verdict_on(int cpu, const struct bal_core *cores, const struct bal_verdict *v, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++)
        if (cores[i].cpu == cpu)
            return v[i].why;
    return "(no such core)";
}

/* What must hold of any choice. */
static void verdicts_check(const struct bal_verdict *v, unsigned nr, int at)
{
    for (unsigned i = 0; i < nr; i++) {
        assert_true(*v[i].why);
        if (at >= 0 && v[i].possible)
            assert_true(v[i].score >= v[at].score);
    }
    if (at >= 0)
        assert_true(v[at].possible);
}

static bool row_holds(const struct row *r)
{
    struct bal_topo *t = machine_make(r->machine);
    struct bal_core cores[CORES_MAX];
    struct bal_verdict verdicts[CORES_MAX];
    const struct bal_ask ask = { .policy = r->policy, .node = r->node, .pin = -1, .what = "eth0" };
    char why[BAL_TEXT_MAX] = "", layout[LAYOUT_MAX];
    const unsigned nr = cores_take(r, t, cores);
    const char *lost;
    int got[4 * CORES_MAX];
    bool ok;

    for (unsigned n = 0; n < r->nr; n++) {
        const int at = bal_place(t, cores, nr, &ask, verdicts, why);

        verdicts_check(verdicts, nr, at);
        assert_true(at >= 0);
        got[n] = cores[at].cpu;
        cores[at].sessions++;
    }
    list_write(got, r->nr, layout);
    lost = r->lost ? verdict_on(r->loser, cores, verdicts, nr) : "";
    ok = !strcmp(layout, r->layout) && (!r->why || strstr(why, r->why)) && (!r->lost || strstr(lost, r->lost));
    if (!ok)
        print_error("%s, %s, node %d, %u sessions: \"%s\"\n    because: %s\n    core %d: %s\n", r->machine,
                    bal_policy_names[r->policy], r->node, r->nr, layout, why, r->loser, lost);
    bal_topo_free(t);
    return ok;
}

static void test_sessions_land_as_the_table_has_it(void **state)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        wrong += !row_holds(&rows[i]);
    assert_int_equal(wrong, 0);
}

/* No row leaves a machine out. */
static void test_each_machine_is_in_the_table(void **state)
{
    for (unsigned i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        bool found = false;

        for (unsigned k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
            found |= !strcmp(rows[k].machine, machines[i].name);
        if (!found)
            fail_msg("no row for %s", machines[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_land_as_the_table_has_it),
        cmocka_unit_test(test_each_machine_is_in_the_table),
    };

    return cmocka_run_group_tests_name("layouts", tests, NULL, NULL);
}
