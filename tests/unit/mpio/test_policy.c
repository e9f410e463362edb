/*
 * test_policy.c - selectors on made-up disks
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "mpio/policy.h"

#define MANY MPIO_PATHS_MAX

struct bench {
    struct mpio_conf conf;
    struct mpio_turn turn;
    struct mpio_choice p[MANY];
    unsigned nr;
    unsigned got[MANY]; /* how often each was chosen */
};

static struct bench bench_of(enum mpio_policy policy, unsigned nr)
{
    struct bench b = { .nr = nr };

    mpio_conf_default(&b.conf);
    b.conf.policy = policy;
    for (unsigned i = 0; i < nr; i++)
        b.p[i] = (struct mpio_choice){ .usable = true, .weight = 1 };
    return b;
}

static int choose(struct bench *b)
{
    const int at = mpio_select(&b->conf, &b->turn, b->p, b->nr, 4096);

    assert_true(at >= -1 && at < (int)b->nr);
    if (at >= 0) {
        assert_true(b->p[at].usable);
        b->got[at]++;
    }
    return at;
}

/* A request that stays outstanding. */
static int send_one(struct bench *b, uint64_t len)
{
    const int at = choose(b);

    assert_true(at >= 0);
    b->p[at].requests++;
    b->p[at].bytes += len;
    return at;
}

static void test_defaults_are_least_queue_depth_over_the_nexus(void **state)
{
    struct mpio_conf c;

    (void)state;
    mpio_conf_default(&c);
    assert_int_equal(c.policy, MPIO_LQD);
    assert_int_equal(c.scope, MPIO_SCOPE_NEXUS);
    assert_int_equal(c.unit, MPIO_UNIT_REQUESTS);
    assert_int_equal(c.grouping, MPIO_GROUP_BY_PRIO);
    assert_int_equal(c.failback, MPIO_FAILBACK_IMMEDIATE);
    assert_int_equal(c.no_path, MPIO_NO_PATH_DEADLINE);
    assert_int_equal(c.no_path_s, 120);
    assert_int_equal(c.rr_min_io, 1);
    assert_int_equal(c.suspect_ms, 400);
    assert_int_equal(c.marginal_fails, 3);
}

static void test_names_end_with_null_and_stand_in_order(void **state)
{
    (void)state;
    assert_string_equal(mpio_policy_names[MPIO_LQD], "least-queue-depth");
    assert_string_equal(mpio_policy_names[MPIO_WEIGHTED], "weighted");
    assert_null(mpio_policy_names[MPIO_POLICIES]);
    assert_string_equal(mpio_scope_names[MPIO_SCOPE_LUN], "lun");
    assert_null(mpio_scope_names[2]);
    assert_string_equal(mpio_unit_names[MPIO_UNIT_BYTES], "bytes");
    assert_null(mpio_unit_names[2]);
    assert_string_equal(mpio_grouping_names[MPIO_GROUP_BY_TPG], "group_by_tpg");
    assert_null(mpio_grouping_names[4]);
}

static void test_no_policy_chooses_what_is_not_usable(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < MPIO_POLICIES; policy++)
        for (unsigned nr = 1; nr <= MANY; nr++) {
            struct bench b = bench_of(policy, nr);

            for (unsigned i = 0; i < nr; i++)
                b.p[i].usable = false;
            for (unsigned n = 0; n < 3; n++)
                assert_int_equal(choose(&b), -1);
            b.p[nr - 1].usable = true; /* the busiest of all, but the only one */
            b.p[nr - 1].requests = UINT32_MAX;
            b.p[nr - 1].bytes = b.p[nr - 1].latency_ns = UINT64_MAX;
            for (unsigned n = 0; n < 3; n++)
                assert_int_equal(choose(&b), (int)nr - 1);
        }
}

static void test_equal_paths_are_taken_in_turn_by_all_policies_but_failover(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < MPIO_POLICIES; policy++)
        for (unsigned nr = 1; nr <= MANY; nr++) {
            struct bench b = bench_of(policy, nr);

            for (unsigned n = 0; n < 10 * nr; n++)
                choose(&b);
            for (unsigned i = 0; i < nr; i++)
                assert_int_equal(b.got[i], policy == MPIO_FAILOVER ? (i ? 0 : 10 * nr) : 10);
        }
}

static void test_lqd_takes_the_fewest_requests(void **state)
{
    struct bench b = bench_of(MPIO_LQD, 4);

    (void)state;
    b.p[0].requests = 3, b.p[1].requests = 2, b.p[2].requests = 5, b.p[3].requests = 4;
    b.p[1].bytes = 1u << 30; /* which is not looked at where requests differ */
    b.p[0].same_core = true;
    assert_int_equal(choose(&b), 1);
    assert_int_equal(choose(&b), 1);
}

static void test_lqd_of_equal_queues_takes_the_fewest_bytes(void **state)
{
    struct bench b = bench_of(MPIO_LQD, 3);

    (void)state;
    b.p[0].bytes = 8192, b.p[1].bytes = 4096, b.p[2].bytes = 8192;
    b.p[0].same_core = true;
    assert_int_equal(choose(&b), 1);
    assert_int_equal(choose(&b), 1);
}

static void test_lqd_of_equals_stays_on_its_core(void **state)
{
    struct bench b = bench_of(MPIO_LQD, 4);

    (void)state;
    b.p[2].same_core = true;
    for (unsigned n = 0; n < 5; n++)
        assert_int_equal(choose(&b), 2);
    b.p[0].same_core = true; /* two there: in turn */
    for (unsigned n = 0; n < 10; n++)
        choose(&b);
    assert_int_equal(b.got[0], 5);
    assert_int_equal(b.got[2], 10);
}

static void test_lqd_by_bytes_takes_the_fewest_bytes_then_requests(void **state)
{
    struct bench b = bench_of(MPIO_LQD, 3);

    (void)state;
    b.conf.unit = MPIO_UNIT_BYTES;
    b.p[0].bytes = 4096, b.p[1].bytes = 65536, b.p[2].bytes = 4096;
    b.p[0].requests = 8, b.p[1].requests = 1, b.p[2].requests = 1;
    assert_int_equal(choose(&b), 2);
    b.p[2].bytes = 65537;
    assert_int_equal(choose(&b), 0);
}

/* As many outstanding on each, however unequal the requests: nobody is left out, nobody is a step ahead. */
static void test_lqd_keeps_queues_level(void **state)
{
    (void)state;
    for (unsigned nr = 1; nr <= MANY; nr++) {
        struct bench b = bench_of(MPIO_LQD, nr);

        b.p[nr / 2].same_core = true;
        for (unsigned n = 0; n < 7 * nr; n++)
            send_one(&b, 512u << n % 12);
        for (unsigned i = 0; i < nr; i++)
            assert_int_equal(b.p[i].requests, 7);
    }
}

/* A path ten times as slow gets what it can serve, and never more outstanding than the others. */
static void test_lqd_gives_a_slow_path_little(void **state)
{
    struct bench b = bench_of(MPIO_LQD, 2);

    (void)state;
    for (unsigned n = 0; n < 8; n++)
        send_one(&b, 4096);
    for (unsigned tick = 0; tick < 1000; tick++) {
        const unsigned done = tick % 11 ? 0 : 1; /* of eleven answers one is the slow path's */

        assert_true(b.p[done].requests);
        b.p[done].requests--;
        b.p[done].bytes -= 4096;
        send_one(&b, 4096);
        assert_true(b.p[0].requests >= 3 && b.p[1].requests >= 3);
    }
    assert_in_range(b.got[1], 80, 110);
}

static void test_round_robin_stays_for_as_many_as_it_is_told(void **state)
{
    struct bench b = bench_of(MPIO_ROUND_ROBIN, 3);
    int first;

    (void)state;
    b.conf.rr_min_io = 4;
    b.p[0].requests = 100; /* queues are not its business */
    first = choose(&b);
    for (unsigned n = 1; n < 24; n++)
        assert_int_equal(choose(&b), (first + (int)n / 4) % 3);
    b.conf.rr_min_io = 0; /* as 1 */
    while (b.turn.left)
        choose(&b);
    first = choose(&b);
    assert_int_equal(choose(&b), (first + 1) % 3);
}

static void test_round_robin_leaves_a_path_that_cannot_be_used_at_once(void **state)
{
    struct bench b = bench_of(MPIO_ROUND_ROBIN, 3);
    int at;

    (void)state;
    b.conf.rr_min_io = 100;
    at = choose(&b);
    b.p[at].usable = false;
    assert_int_not_equal(choose(&b), at);
}

static void test_service_time_takes_who_will_be_done_first(void **state)
{
    struct bench b = bench_of(MPIO_SERVICE_TIME, 2);

    (void)state;
    b.p[0].latency_ns = 100000, b.p[1].latency_ns = 1000000;
    for (unsigned n = 0; n < 9; n++)
        assert_int_equal(send_one(&b, 4096), 0);
    assert_int_equal(b.p[0].requests, 9);
    send_one(&b, 4096); /* ten there take as long as one on the other */
    send_one(&b, 4096);
    assert_int_equal(b.p[0].requests, 10);
    assert_int_equal(b.p[1].requests, 1);
    b.p[1].weight = 100; /* told to be that much better than it looks */
    assert_int_equal(choose(&b), 1);
}

static void test_service_time_tries_a_path_that_it_does_not_know(void **state)
{
    struct bench b = bench_of(MPIO_SERVICE_TIME, 3);

    (void)state;
    b.p[0].latency_ns = 1000, b.p[1].latency_ns = 2000;
    b.p[0].requests = b.p[1].requests = 1;
    assert_int_equal(choose(&b), 2);
}

static void test_service_time_survives_numbers_that_cannot_be(void **state)
{
    struct bench b = bench_of(MPIO_SERVICE_TIME, 2);

    (void)state;
    b.p[0].latency_ns = UINT64_MAX, b.p[0].requests = UINT32_MAX, b.p[0].weight = 0;
    b.p[1].latency_ns = 1, b.p[1].weight = UINT32_MAX;
    assert_int_equal(choose(&b), 1);
}

static void test_failover_takes_the_first_that_can_be_used(void **state)
{
    struct bench b = bench_of(MPIO_FAILOVER, 3);

    (void)state;
    b.p[0].requests = 1000;
    assert_int_equal(choose(&b), 0);
    b.p[0].usable = false;
    assert_int_equal(choose(&b), 1);
    assert_int_equal(choose(&b), 1);
    b.p[0].usable = true;
    assert_int_equal(choose(&b), 0);
}

static void test_weighted_gives_each_its_part(void **state)
{
    struct bench b = bench_of(MPIO_WEIGHTED, 3);

    (void)state;
    b.p[0].weight = 5, b.p[1].weight = 1, b.p[2].weight = 2;
    for (unsigned n = 0; n < 800; n++)
        choose(&b);
    assert_int_equal(b.got[0], 500);
    assert_int_equal(b.got[1], 100);
    assert_int_equal(b.got[2], 200);
}

/* The least weight there is among the greatest: seldom, but never left out. */
static void test_weighted_starves_nobody(void **state)
{
    struct bench b = bench_of(MPIO_WEIGHTED, MANY);

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        b.p[i].weight = i ? 100 : 0;
    for (unsigned n = 0; n < 6400; n++)
        choose(&b);
    assert_in_range(b.got[0], 1, 2);
    for (unsigned i = 1; i < MANY; i++)
        assert_in_range(b.got[i], 100, 103);
}

static void test_weighted_forgives_nothing_and_overflows_never(void **state)
{
    struct bench b = bench_of(MPIO_WEIGHTED, MANY);

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        b.p[i].weight = UINT32_MAX;
    for (unsigned n = 0; n < 100000; n++) {
        b.p[n % MANY].usable = n % 3;
        assert_true(choose(&b) >= 0);
        for (unsigned i = 0; i < MANY; i++)
            assert_in_range(b.turn.credit[i] + (1 << 30), 0, 2u << 30);
    }
    /* One that comes back does not take all until it has caught up. */
    b = bench_of(MPIO_WEIGHTED, 2);
    b.p[1].usable = false;
    for (unsigned n = 0; n < 1000; n++)
        assert_int_equal(choose(&b), 0);
    b.p[1].usable = true;
    for (unsigned n = 0; n < 10; n++)
        choose(&b);
    assert_int_equal(b.got[1], 5);
}

/* Paths come and go between two requests: the turn of before may stand at one that is not there any more. */
static void test_turns_outlive_paths(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < MPIO_POLICIES; policy++) {
        struct bench b = bench_of(policy, MANY);

        for (unsigned n = 0; n < 2 * MANY; n++)
            choose(&b);
        b.turn.last = MANY - 1;
        b.turn.left = 7;
        for (b.nr = MANY; b.nr; b.nr--)
            assert_true(choose(&b) >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_least_queue_depth_over_the_nexus),
        cmocka_unit_test(test_names_end_with_null_and_stand_in_order),
        cmocka_unit_test(test_no_policy_chooses_what_is_not_usable),
        cmocka_unit_test(test_equal_paths_are_taken_in_turn_by_all_policies_but_failover),
        cmocka_unit_test(test_lqd_takes_the_fewest_requests),
        cmocka_unit_test(test_lqd_of_equal_queues_takes_the_fewest_bytes),
        cmocka_unit_test(test_lqd_of_equals_stays_on_its_core),
        cmocka_unit_test(test_lqd_by_bytes_takes_the_fewest_bytes_then_requests),
        cmocka_unit_test(test_lqd_keeps_queues_level),
        cmocka_unit_test(test_lqd_gives_a_slow_path_little),
        cmocka_unit_test(test_round_robin_stays_for_as_many_as_it_is_told),
        cmocka_unit_test(test_round_robin_leaves_a_path_that_cannot_be_used_at_once),
        cmocka_unit_test(test_service_time_takes_who_will_be_done_first),
        cmocka_unit_test(test_service_time_tries_a_path_that_it_does_not_know),
        cmocka_unit_test(test_service_time_survives_numbers_that_cannot_be),
        cmocka_unit_test(test_failover_takes_the_first_that_can_be_used),
        cmocka_unit_test(test_weighted_gives_each_its_part),
        cmocka_unit_test(test_weighted_starves_nobody),
        cmocka_unit_test(test_weighted_forgives_nothing_and_overflows_never),
        cmocka_unit_test(test_turns_outlive_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
