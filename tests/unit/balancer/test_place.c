/* Which core a new session gets, on hosts made up for the purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/place.h"

static const struct bal_ask anywhere = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = -1 };

static int placed(const struct bal_core *cores, unsigned nr, char why[static BAL_TEXT_MAX])
{
    const int at = bal_place(NULL, cores, nr, &anywhere, NULL, why);

    assert_true(at >= 0);
    return cores[at].cpu;
}

static void test_only_core_is_taken_whatever_its_load(void **state)
{
    const struct bal_core cores[] = { { 7, 900, 100, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 1, why), 7);
    assert_non_null(strstr(why, "core 7: the only core"));
}

static void test_free_core_comes_before_an_idle_one_with_sessions(void **state)
{
    const struct bal_core cores[] = { { 0, 1, 0, 0 }, { 1, 0, 60, 0 }, { 2, 3, 5, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
    assert_non_null(strstr(why, "core 1: free, one of 1 free among 3 cores"));
}

static void test_among_free_cores_the_less_busy_one_is_taken(void **state)
{
    const struct bal_core cores[] = { { 0, 0, 45, 0 }, { 1, 0, 20, 0 }, { 2, 0, 21, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
}

static void test_noise_does_not_change_the_order_of_the_set(void **state)
{
    const struct bal_core cores[] = { { 4, 0, 10, 0 }, { 2, 0, 0, 0 }, { 0, 0, 3, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 4);
}

static void test_with_none_free_the_fewest_sessions_win(void **state)
{
    const struct bal_core cores[] = { { 0, 3, 0, 0 }, { 1, 2, 80, 0 }, { 2, 4, 0, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
    assert_non_null(strstr(why, "none of 3 cores is free"));
}

/* Nobody is given a core that has nothing left while others have. */
static void test_a_core_that_is_used_up_comes_last(void **state)
{
    const struct bal_core cores[] = { { 0, 2, 0, 0 }, { 1, 0, 5, 90 }, { 2, 1, 95, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 0);
}

/* But only while another is used less than half: on a host that is busy all over the sessions decide. */
static void test_used_up_is_what_others_are_not(void **state)
{
    static const struct {
        unsigned full, other;
        int cpu;
    } rows[] = { { 90, 49, 1 }, { 89, 49, 0 }, { 90, 50, 0 }, { 100, 50, 0 }, { 100, 0, 1 } };
    char why[BAL_TEXT_MAX];

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct bal_core cores[] = { { 0, 0, 0, rows[i].full }, { 1, 1, rows[i].other, 0 } };

        assert_int_equal(placed(cores, 2, why), rows[i].cpu);
    }
}

static void test_with_equal_sessions_the_less_busy_one_wins(void **state)
{
    const struct bal_core cores[] = { { 0, 2, 90, 0 }, { 1, 2, 70, 0 }, { 2, 2, 95, 0 } };
    char why[BAL_TEXT_MAX];

    assert_int_equal(placed(cores, 3, why), 1);
}

/* Sessions one after another onto an idle host: each core one, then each core two. */
static void test_sessions_spread_evenly(void **state)
{
    struct bal_core cores[64];
    char why[BAL_TEXT_MAX];

    for (int i = 0; i < 64; i++)
        cores[i] = (struct bal_core){ .cpu = i };
    for (unsigned n = 0; n < 128; n++) {
        const int at = bal_place(NULL, cores, 64, &anywhere, NULL, why);

        assert_int_equal(at, n % 64);
        cores[at].sessions++;
    }
}

/* ---- policies under load ---------------------------------------------------------------------------------- */

static struct bal_topo *machine(const char *notation)
{
    char why[BAL_TEXT_MAX];
    struct bal_topo *t = NULL;

    if (bal_topo_new(&t, notation, why))
        fail_msg("%s: %s", notation, why);
    return t;
}

struct expected {
    int cpu; /* -1: none */
    const char *why;
};

static void expect_place(const char *notation, const struct bal_core *cores, unsigned nr,
                         const struct bal_ask *ask, struct expected e)
{
    struct bal_topo *t = notation ? machine(notation) : NULL;
    struct bal_verdict v[16];
    char why[BAL_TEXT_MAX] = "";
    const int at = bal_place(t, cores, nr, ask, v, why);
    char alone[BAL_TEXT_MAX];

    if ((at < 0 ? -1 : cores[at].cpu) != e.cpu || !strstr(why, e.why))
        fail_msg("core %d: %s", at < 0 ? -1 : cores[at].cpu, why);
    for (unsigned i = 0; i < nr; i++) {
        assert_true(*v[i].why);
        assert_true(at >= 0 || !v[i].possible);
    }
    /* The choice does not hang on whether somebody wants to hear of the others. */
    assert_int_equal(bal_place(t, cores, nr, ask, NULL, alone), at);
    assert_string_equal(alone, why);
    bal_topo_free(t);
}

#define CORES(...)                                                                                             \
    (const struct bal_core[]){ __VA_ARGS__ },                                                                  \
        sizeof((const struct bal_core[]){ __VA_ARGS__ }) / sizeof(struct bal_core)

static void test_pack_goes_on_when_a_core_bears_no_more(void **state)
{
    const struct bal_ask pack = { .policy = BAL_PACK, .node = BAL_NODE_ANY, .pin = -1 };
    const char *const two = "pack:2 l3:1 core:2 pu:2"; /* siblings 2n and 2n+1; 4-7 on the second package */

    /* 69 % bears another, 70 % does not: then the sibling, the cache, another package */
    expect_place(two, CORES({ 0, 0, 0, 0 }, { 2, 5, 69, 0 }), &pack, (struct expected){ 2, "bears another" });
    expect_place(two, CORES({ 0, 0, 0, 0 }, { 2, 5, 70, 0 }, { 3, 0, 0, 0 }), &pack,
                 (struct expected){ 3, "free" });
    expect_place(two, CORES({ 4, 0, 0, 0 }, { 0, 5, 70, 0 }, { 2, 0, 9, 0 }), &pack,
                 (struct expected){ 2, "free" });
    /* what others use counts as well */
    expect_place(two, CORES({ 0, 1, 20, 60 }, { 2, 1, 60, 0 }), &pack, (struct expected){ 2, "bears another" });
    /* the fuller of two, so that the other becomes free */
    expect_place(two, CORES({ 0, 1, 0, 0 }, { 2, 3, 10, 0 }), &pack, (struct expected){ 2, "3 sessions" });
    /* nobody bears it: the least busy */
    expect_place(two, CORES({ 0, 1, 99, 0 }, { 2, 3, 75, 0 }), &pack,
                 (struct expected){ 2, "no core bears another, this is the least busy" });
}

static void test_a_pin_holds_under_every_policy(void **state)
{
    for (int policy = 0; policy < BAL_POLICIES; policy++) {
        const struct bal_ask ask = { .policy = (enum bal_policy)policy, .node = 0, .pin = 3 };

        expect_place("numa:2 core:2 pu:1", CORES({ 0, 0, 0, 0 }, { 1, 0, 0, 0 }, { 3, 9, 100, 0 }), &ask,
                     (struct expected){ 3, "core 3: pinned there, 9 sessions" });
    }
}

static void test_a_pin_that_cannot_be_kept_is_refused_with_the_reason(void **state)
{
    const struct bal_ask ask = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = 1 };
    const struct bal_ask nowhere = { .policy = BAL_PINNED, .node = BAL_NODE_ANY, .pin = -1 };

    expect_place("core:4 pu:1", CORES({ 0, 0, 0, 0 }, { 2, 0, 0, 0 }), &ask,
                 (struct expected){ -1, "pinned to core 1, which has no reactor" });
    expect_place("core:4 pu:1; allowed 0,2", CORES({ 0, 0, 0, 0 }, { 1, 0, 0, 0 }), &ask,
                 (struct expected){ -1, "pinned to core 1, which is offline or outside" });
    expect_place("core:4 pu:1", CORES({ 0, 0, 0, 0 }), &nowhere, (struct expected){ -1, "pinned nowhere" });
}

static void test_where_nothing_is_allowed_nothing_is_chosen(void **state)
{
    expect_place("core:4 pu:1; allowed 3; offline 2", CORES({ 0, 0, 0, 0 }, { 2, 0, 0, 0 }), &anywhere,
                 (struct expected){ -1, "each of the 2 cores is offline or outside" });
}

/* A program whose reactors are not pinned, and a machine of which nothing is known. */
static void test_unknown_cores_are_cores_of_node_0(void **state)
{
    const struct bal_ask ask = { .policy = BAL_NUMA, .node = 0, .pin = -1, .what = "eth0" };

    expect_place(NULL, CORES({ 0, 1, 0, 0 }, { 1, 0, 0, 0 }), &ask,
                 (struct expected){ 1, "node 0 as eth0 has" });
    expect_place("core:2 pu:2", CORES({ -1, 1, 0, 0 }, { -1, 0, 0, 0 }), &anywhere,
                 (struct expected){ -1, "free" });
}

static void test_what_others_use_of_a_core_counts(void **state)
{
    expect_place(NULL, CORES({ 0, 0, 0, 55 }, { 1, 0, 20, 0 }), &anywhere, (struct expected){ 1, "20% busy" });
    expect_place(NULL, CORES({ 0, 0, 0, 55 }, { 1, 1, 0, 0 }), &anywhere,
                 (struct expected){ 0, "0% busy and 55% used by others" });
    expect_place(NULL, CORES({ 0, 0, 0, 99 }, { 1, 1, 0, 0 }), &anywhere,
                 (struct expected){ 1, "the free cores are used up" });
}

/* Whoever explains a layout reads these. */
static void test_losers_are_told_why(void **state)
{
    static const struct {
        enum bal_policy policy;
        struct bal_core loser, winner;
        const char *why;
    } rows[] = {
        { BAL_FREE_CORE, { 0, 0, 0, 95 }, { 4, 1, 0, 0 }, "95% of it is in use, core 4 has room" },
        { BAL_FREE_CORE, { 4, 2, 0, 0 }, { 0, 1, 0, 0 }, "2 sessions, core 0 has 1" },
        { BAL_FREE_CORE, { 0, 0, 0, 0 }, { 4, 0, 40, 0 }, "node 0, core 4 is on node 1 as eth1 is" },
        { BAL_FREE_CORE, { 4, 0, 60, 0 }, { 5, 0, 40, 0 }, "60% busy, core 5 40%" },
        { BAL_FREE_CORE, { 5, 0, 4, 0 }, { 4, 0, 5, 0 }, "as good as core 4, which comes before it" },
        { BAL_SPREAD,
          { 4, 1, 0, 0 },
          { 0, 0, 0, 0 },
          "1 session on the 1 core of its package, 0 on the 1 of core 0's" },
        { BAL_PACK,
          { 0, 0, 0, 0 },
          { 4, 1, 0, 0 },
          "one more core in use: there are sessions on core 4 already" },
        { BAL_PACK, { 4, 9, 80, 0 }, { 0, 0, 0, 0 }, "80% of it is in use: it bears no more, core 0 does" },
    };
    struct bal_topo *t = machine("pack:2 numa:1 core:2 pu:2");

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct bal_ask ask = { .policy = rows[i].policy, .node = 1, .pin = -1, .what = "eth1" };
        const bool first = rows[i].winner.cpu < rows[i].loser.cpu;
        const struct bal_core cores[] = { first ? rows[i].winner : rows[i].loser,
                                          first ? rows[i].loser : rows[i].winner };
        struct bal_verdict v[2];
        char why[BAL_TEXT_MAX];

        assert_int_equal(bal_place(t, cores, 2, &ask, v, why), !first);
        if (!strstr(v[first].why, rows[i].why))
            fail_msg("%s, not %s", v[first].why, rows[i].why);
        assert_true(v[first].possible);
    }
    bal_topo_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_core_is_taken_whatever_its_load),
        cmocka_unit_test(test_free_core_comes_before_an_idle_one_with_sessions),
        cmocka_unit_test(test_among_free_cores_the_less_busy_one_is_taken),
        cmocka_unit_test(test_noise_does_not_change_the_order_of_the_set),
        cmocka_unit_test(test_with_none_free_the_fewest_sessions_win),
        cmocka_unit_test(test_a_core_that_is_used_up_comes_last),
        cmocka_unit_test(test_used_up_is_what_others_are_not),
        cmocka_unit_test(test_with_equal_sessions_the_less_busy_one_wins),
        cmocka_unit_test(test_sessions_spread_evenly),
        cmocka_unit_test(test_pack_goes_on_when_a_core_bears_no_more),
        cmocka_unit_test(test_a_pin_holds_under_every_policy),
        cmocka_unit_test(test_a_pin_that_cannot_be_kept_is_refused_with_the_reason),
        cmocka_unit_test(test_where_nothing_is_allowed_nothing_is_chosen),
        cmocka_unit_test(test_unknown_cores_are_cores_of_node_0),
        cmocka_unit_test(test_what_others_use_of_a_core_counts),
        cmocka_unit_test(test_losers_are_told_why),
    };

    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
