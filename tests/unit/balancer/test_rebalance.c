/* Rebalancing over made-up load curves: sessions want so much of a core each second, get what there is, and move when told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/rebalance.h"

#define CORES_MAX  16u
#define GUESTS_MAX 32u
#define MOVES_MAX  512u

struct world {
    struct bal_rebal rebal;
    struct bal_rebal_conf conf;
    struct bal_topo *topo;
    struct bal_core cores[CORES_MAX];
    unsigned nr, guests_nr;
    struct bal_guest guests[GUESTS_MAX];
    struct bal_past past[GUESTS_MAX];
    char names[GUESTS_MAX][8];
    unsigned want[GUESTS_MAX];  /* percent of a core, now */
    unsigned others[CORES_MAX]; /* percent of a core that others have */
    bool advise;                /* nobody carries moves out */
    unsigned second, moves;
    struct {
        unsigned second, guest, from, to;
    } move[MOVES_MAX];
    char why[BAL_TEXT_MAX];      /* of the last second in which nothing moved */
    char move_why[BAL_TEXT_MAX]; /* of the last move */
};

static void world_open(struct world *w, const char *notation, unsigned nr)
{
    char why[BAL_TEXT_MAX];

    *w = (struct world){ .conf = BAL_REBAL_DEFAULT, .nr = nr };
    if (notation && bal_topo_new(&w->topo, notation, why))
        fail_msg("%s: %s", notation, why);
    for (unsigned i = 0; i < nr; i++)
        w->cores[i].cpu = (int)i;
}

static unsigned guest_add(struct world *w, unsigned at, unsigned want)
{
    const unsigned i = w->guests_nr++;

    snprintf(w->names[i], sizeof(w->names[i]), "s%u", i);
    w->guests[i] =
        (struct bal_guest){ .past = &w->past[i], .name = w->names[i], .at = at, .node = BAL_NODE_ANY };
    w->want[i] = want;
    return i;
}

/* Cores with too much asked of them serve all alike. */
static void serve(struct world *w)
{
    for (unsigned c = 0; c < w->nr; c++) {
        const unsigned room = 100 - w->others[c];
        unsigned sum = 0;

        w->cores[c].sessions = 0;
        for (unsigned i = 0; i < w->guests_nr; i++)
            if (w->guests[i].at == c) {
                sum += w->want[i];
                w->cores[c].sessions++;
            }
        for (unsigned i = 0; i < w->guests_nr; i++)
            if (w->guests[i].at == c)
                w->guests[i].work += sum > room ? w->want[i] * 1000 * room / sum : w->want[i] * 1000;
        w->cores[c].busy_pct = sum < room ? sum : room;
        w->cores[c].host_pct = w->others[c];
    }
}

static void run(struct world *w, unsigned seconds)
{
    while (seconds--) {
        struct bal_move m;

        w->second++;
        serve(w);
        if (!bal_rebal_sample(&w->rebal, &w->conf, w->topo, w->cores, w->nr, w->guests, w->guests_nr, &m,
                              w->why))
            continue;
        assert_true(m.guest < w->guests_nr && m.to < w->nr && m.from != m.to);
        assert_int_equal(w->guests[m.guest].at, m.from);
        assert_true(*m.why);
        assert_true(w->moves < MOVES_MAX);
        w->move[w->moves].second = w->second;
        w->move[w->moves].guest = m.guest;
        w->move[w->moves].from = m.from;
        w->move[w->moves++].to = m.to;
        memcpy(w->move_why, m.why, sizeof(w->move_why));
        if (!w->advise)
            w->guests[m.guest].at = m.to;
    }
}

static void world_close(struct world *w)
{
    bal_topo_free(w->topo);
}

static unsigned guests_on(const struct world *w, unsigned core)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->guests_nr; i++)
        n += w->guests[i].at == core;
    return n;
}

/* ---- steady loads ---------------------------------------------------------------------------------------- */

static void test_an_even_load_moves_nobody(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    for (unsigned i = 0; i < 8; i++)
        guest_add(&w, i % 4, 50); /* each core 100 %: there is no better place */
    run(&w, 600);
    assert_int_equal(w.moves, 0);
    assert_non_null(strstr(w.why, "no move would better it"));
    world_close(&w);
}

static void test_a_low_load_moves_nobody_however_uneven(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    for (unsigned i = 0; i < 6; i++)
        guest_add(&w, 0, 10);
    run(&w, 600);
    assert_int_equal(w.moves, 0);
    assert_string_equal(w.why, "no core is hot, and no busy session is on the wrong node");
    world_close(&w);
}

static void test_two_hot_sessions_on_one_core_part(void **state)
{
    struct world w;

    world_open(&w, NULL, 3);
    guest_add(&w, 0, 80);
    guest_add(&w, 0, 80);
    guest_add(&w, 1, 30);
    run(&w, 9);
    assert_int_equal(w.moves, 0);
    assert_non_null(strstr(w.why, "core 0 is hot since 9 s, of 10 that it takes"));
    run(&w, 1);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.move[0].to, 2);
    assert_non_null(strstr(w.move_why, "core 0 is 100% in use for 10 s, core 2 0%"));
    run(&w, 600);
    assert_int_equal(w.moves, 1);
    world_close(&w);
}

/* One session that fills its core would fill any other too. */
static void test_a_lone_hot_session_stays(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    guest_add(&w, 0, 100);
    run(&w, 600);
    assert_int_equal(w.moves, 0);
    world_close(&w);
}

static void test_a_session_leaves_a_core_that_others_press(void **state)
{
    struct world w;

    world_open(&w, NULL, 2);
    guest_add(&w, 0, 60);
    w.others[0] = 60;
    run(&w, 60);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.guests[0].at, 1);
    world_close(&w);
}

static void test_nobody_moves_to_make_another_core_as_hot(void **state)
{
    struct world w;

    world_open(&w, NULL, 2);
    guest_add(&w, 0, 40);
    guest_add(&w, 0, 40);
    guest_add(&w, 1, 45);
    run(&w, 600);
    assert_int_equal(w.moves, 0);
    world_close(&w);
}

static void test_the_only_core_keeps_all(void **state)
{
    struct world w;

    world_open(&w, NULL, 1);
    guest_add(&w, 0, 90);
    guest_add(&w, 0, 90);
    run(&w, 60);
    assert_int_equal(w.moves, 0);
    world_close(&w);
}

/* Of three, the one whose going leaves both cores alike. */
static void test_the_move_that_evens_most_is_made(void **state)
{
    struct world w;

    world_open(&w, NULL, 2);
    guest_add(&w, 0, 15);
    guest_add(&w, 0, 45);
    guest_add(&w, 0, 30);
    guest_add(&w, 1, 5);
    run(&w, 60);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.move[0].guest, 1);
    world_close(&w);
}

/* All on one core: one after another goes, until each has its own. */
static void test_a_crowd_spreads(void **state)
{
    struct world w;

    world_open(&w, NULL, 8);
    for (unsigned i = 0; i < 8; i++)
        guest_add(&w, 0, 90);
    run(&w, 600);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(guests_on(&w, i), 1);
    assert_int_equal(w.moves, 7);
    world_close(&w);
}

/* ---- loads that change ----------------------------------------------------------------------------------- */

static void test_spikes_move_nobody(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    guest_add(&w, 0, 10);
    guest_add(&w, 0, 10);
    for (unsigned n = 0; n < 100; n++) {
        w.want[0] = w.want[1] = 100;
        run(&w, 6);
        w.want[0] = w.want[1] = 10;
        run(&w, 14);
    }
    assert_int_equal(w.moves, 0);
    world_close(&w);
}

/* Two sessions of three are busy, others each time: whatever the period, an hour of it makes a handful of moves. */
static void test_loads_that_go_round_send_nobody_to_and_fro(void **state)
{
    static const unsigned periods[] = { 3, 7, 12, 15, 20, 30, 45, 60, 61, 75, 90, 120, 180, 300 };

    for (unsigned k = 0; k < sizeof(periods) / sizeof(periods[0]); k++) {
        unsigned of[3] = { 0 };
        struct world w;

        world_open(&w, NULL, 2);
        guest_add(&w, 0, 0);
        guest_add(&w, 0, 0);
        guest_add(&w, 1, 0);
        for (unsigned n = 0; w.second < 3600; n++) {
            for (unsigned i = 0; i < 3; i++)
                w.want[i] = i == n % 3 ? 5 : 70;
            run(&w, periods[k]);
        }
        for (unsigned i = 0; i < w.moves; i++) {
            of[w.move[i].guest]++;
            for (unsigned j = 0; j < i; j++)
                if (w.move[i].guest == w.move[j].guest)
                    assert_true(w.move[i].second - w.move[j].second >= 60);
        }
        for (unsigned i = 0; i < 3; i++)
            if (of[i] > 8)
                fail_msg("a period of %u s moves s%u %u times in an hour", periods[k], i, of[i]);
        world_close(&w);
    }
}

/* ---- who never moves, and where to ------------------------------------------------------------------------ */

static void test_fixed_sessions_never_move(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    w.guests[guest_add(&w, 0, 90)].fixed = true;
    w.guests[guest_add(&w, 0, 90)].fixed = true;
    run(&w, 120);
    assert_int_equal(w.moves, 0);
    guest_add(&w, 0, 40); /* the one that can */
    run(&w, 120);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.move[0].guest, 2);
    world_close(&w);
}

static void test_policy_pinned_moves_nobody(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    w.conf.policy = BAL_PINNED;
    guest_add(&w, 0, 90);
    guest_add(&w, 0, 90);
    run(&w, 120);
    assert_int_equal(w.moves, 0);
    assert_non_null(strstr(w.why, "policy pinned"));
    world_close(&w);
}

/* CPUs 0 and 1 are one core: the second session is not done a favour there while 2 and 3 are free. */
static void test_siblings_part_while_whole_cores_are_free(void **state)
{
    struct world w;

    world_open(&w, "core:2 pu:2", 4);
    guest_add(&w, 0, 55);
    guest_add(&w, 1, 55);
    run(&w, 60);
    assert_int_equal(w.moves, 1);
    assert_true(w.move[0].to >= 2);
    assert_non_null(strstr(w.why, "no core is hot"));
    run(&w, 600);
    assert_int_equal(w.moves, 1);
    world_close(&w);
}

static void test_a_busy_session_goes_to_its_node(void **state)
{
    struct world w;

    world_open(&w, "numa:2 core:2 pu:1", 4);
    w.guests[guest_add(&w, 0, 40)].node = 1;
    w.guests[0].what = "eth0";
    run(&w, 12);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.guests[0].at, 2);
    assert_non_null(strstr(w.move_why, "s0 is on node 0"));
    run(&w, 600);
    assert_int_equal(w.moves, 1);
    world_close(&w);
}

/* An idle one gains nothing by it, and a node without cores of ours is no place. */
static void test_an_idle_session_or_one_of_a_far_node_stays(void **state)
{
    struct world w;

    world_open(&w, "numa:2 core:2 pu:1", 4);
    w.guests[guest_add(&w, 0, 3)].node = 1;
    run(&w, 120);
    world_close(&w);
    assert_int_equal(w.moves, 0);
    world_open(&w, "numa:2 core:2 pu:1", 2);
    w.guests[guest_add(&w, 0, 60)].node = 1;
    run(&w, 120);
    assert_int_equal(w.moves, 0);
    world_close(&w);
}

static void test_policy_numa_does_not_leave_the_node(void **state)
{
    for (int numa = 0; numa < 2; numa++) {
        struct world w;

        world_open(&w, "numa:2 core:2 pu:1", 4);
        w.conf.policy = numa ? BAL_NUMA : BAL_FREE_CORE;
        for (unsigned i = 0; i < 4; i++)
            w.guests[guest_add(&w, i / 2, 90)].node = 0;
        run(&w, 600);
        assert_int_equal(guests_on(&w, 2) + guests_on(&w, 3), numa ? 0 : 2);
        world_close(&w);
    }
}

static void test_pack_fills_what_is_in_use_first(void **state)
{
    struct world w;

    world_open(&w, NULL, 4);
    w.conf.policy = BAL_PACK;
    guest_add(&w, 0, 30);
    guest_add(&w, 0, 30);
    guest_add(&w, 0, 30);
    guest_add(&w, 3, 10);
    run(&w, 600);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.move[0].to, 3);
    world_close(&w);
}

static void test_no_session_moves_to_a_forbidden_core(void **state)
{
    struct world w;

    world_open(&w, "core:3 pu:1; allowed 0,2", 3);
    guest_add(&w, 0, 90);
    guest_add(&w, 0, 90);
    run(&w, 60);
    assert_int_equal(w.moves, 1);
    assert_int_equal(w.move[0].to, 2);
    world_close(&w);
}

/* ---- the budget ------------------------------------------------------------------------------------------ */

static void test_the_budget_holds_in_each_minute(void **state)
{
    static const unsigned budgets[] = { 0, 1, 2, 60, 1000 };

    for (unsigned k = 0; k < sizeof(budgets) / sizeof(budgets[0]); k++) {
        struct world w;

        world_open(&w, NULL, 16);
        w.conf.budget = budgets[k];
        w.conf.sustain_s = 1;
        for (unsigned i = 0; i < 32; i++)
            guest_add(&w, i % 2, 60);
        run(&w, 400);
        if (!w.moves != !budgets[k])
            fail_msg("%u moves with a budget of %u: %s", w.moves, budgets[k], w.why);
        for (unsigned i = budgets[k]; budgets[k] && i < w.moves; i++)
            assert_true(w.move[i].second - w.move[i - budgets[k]].second >= 60);
        if (budgets[k] < 2)
            assert_non_null(strstr(w.why, "the budget of"));
        world_close(&w);
    }
}

/* Advice that nobody takes is not given every second. */
static void test_advice_is_repeated_seldom(void **state)
{
    struct world w;

    world_open(&w, NULL, 2);
    w.advise = true;
    guest_add(&w, 0, 90);
    guest_add(&w, 0, 90);
    run(&w, 3600);
    assert_true(w.moves > 1);
    assert_true(w.moves < 60);
    world_close(&w);
}

/* ---- oddities -------------------------------------------------------------------------------------------- */

static void test_counters_that_start_anew_and_no_sessions_do_no_harm(void **state)
{
    struct world w;

    world_open(&w, NULL, 2);
    run(&w, 30);
    guest_add(&w, 0, 90);
    guest_add(&w, 0, 90);
    run(&w, 8);
    w.guests[0].work = 0; /* the session was made anew */
    run(&w, 1);
    assert_true(w.past[0].rate >= 0 && w.past[0].rate < 1e6);
    w.others[0] = 100; /* and gets nothing */
    run(&w, 60);
    w.nr = 1; /* other cores than before */
    w.guests[0].at = w.guests[1].at = 0;
    run(&w, 60);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_even_load_moves_nobody),
        cmocka_unit_test(test_a_low_load_moves_nobody_however_uneven),
        cmocka_unit_test(test_two_hot_sessions_on_one_core_part),
        cmocka_unit_test(test_a_lone_hot_session_stays),
        cmocka_unit_test(test_a_session_leaves_a_core_that_others_press),
        cmocka_unit_test(test_nobody_moves_to_make_another_core_as_hot),
        cmocka_unit_test(test_the_only_core_keeps_all),
        cmocka_unit_test(test_the_move_that_evens_most_is_made),
        cmocka_unit_test(test_a_crowd_spreads),
        cmocka_unit_test(test_spikes_move_nobody),
        cmocka_unit_test(test_loads_that_go_round_send_nobody_to_and_fro),
        cmocka_unit_test(test_fixed_sessions_never_move),
        cmocka_unit_test(test_policy_pinned_moves_nobody),
        cmocka_unit_test(test_siblings_part_while_whole_cores_are_free),
        cmocka_unit_test(test_a_busy_session_goes_to_its_node),
        cmocka_unit_test(test_an_idle_session_or_one_of_a_far_node_stays),
        cmocka_unit_test(test_policy_numa_does_not_leave_the_node),
        cmocka_unit_test(test_pack_fills_what_is_in_use_first),
        cmocka_unit_test(test_no_session_moves_to_a_forbidden_core),
        cmocka_unit_test(test_the_budget_holds_in_each_minute),
        cmocka_unit_test(test_advice_is_repeated_seldom),
        cmocka_unit_test(test_counters_that_start_anew_and_no_sessions_do_no_harm),
    };

    return cmocka_run_group_tests_name("rebalancing", tests, NULL, NULL);
}
