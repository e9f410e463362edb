/* Who may write which blocks now. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/guard.h"

static struct exp_range *went[64];
static unsigned went_nr;

static void note(struct exp_range *r)
{
    went[went_nr++] = r;
}

static struct exp_range range(uint64_t first, uint64_t end, bool alone)
{
    return (struct exp_range){ .first = first, .end = end, .alone = alone };
}

static int fresh(void **state)
{
    static struct exp_guard g;

    exp_guard_init(&g);
    went_nr = 0;
    *state = &g;
    return 0;
}

static void test_whole_blocks_share(void **state)
{
    struct exp_range a = range(0, 4096, false), b = range(0, 4096, false);

    assert_true(exp_guard_enter(*state, &a));
    assert_true(exp_guard_enter(*state, &b));
    exp_guard_leave(*state, &a, note);
    exp_guard_leave(*state, &b, note);
    assert_int_equal(went_nr, 0);
}

static void test_alone_waits_for_whole_blocks_and_they_for_it(void **state)
{
    struct exp_range a = range(0, 4096, false), b = range(0, 512, true), c = range(0, 4096, false);

    assert_true(exp_guard_enter(*state, &a));
    assert_false(exp_guard_enter(*state, &b));
    assert_false(exp_guard_enter(*state, &c));  /* not past the one that waits */
    exp_guard_leave(*state, &a, note);
    assert_int_equal(went_nr, 1);
    assert_ptr_equal(went[0], &b);
    exp_guard_leave(*state, &b, note);
    assert_int_equal(went_nr, 2);
    assert_ptr_equal(went[1], &c);
    exp_guard_leave(*state, &c, note);
}

static void test_neighbours_do_not_conflict(void **state)
{
    struct exp_range a = range(512, 1024, true), b = range(0, 512, true), c = range(1024, 1536, false);

    assert_true(exp_guard_enter(*state, &a));
    assert_true(exp_guard_enter(*state, &b));
    assert_true(exp_guard_enter(*state, &c));
    exp_guard_leave(*state, &a, note);
    exp_guard_leave(*state, &b, note);
    exp_guard_leave(*state, &c, note);
}

/* Many ranges at random: never two that conflict at once, and nobody is forgotten. */
static void test_random_ranges_never_conflict_and_all_get_their_turn(void **state)
{
    struct exp_guard *g = *state;
    const char *const given = getenv("TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 20261123u, done = 0;
    static struct exp_range r[64];
    static bool held[64], live[64];

    print_message("seed %u\n", seed);
    while (done < 20000) {
        const unsigned i = (unsigned)rand_r(&seed) % 64;

        if (!live[i]) {
            const uint64_t first = (uint64_t)(rand_r(&seed) % 16);

            r[i] = range(first, first + 1 + (uint64_t)(rand_r(&seed) % 4), rand_r(&seed) % 3 == 0);
            live[i] = true;
            held[i] = exp_guard_enter(g, &r[i]);
        } else if (held[i]) {
            live[i] = held[i] = false;
            went_nr = 0;
            exp_guard_leave(g, &r[i], note);
            for (unsigned k = 0; k < went_nr; k++)
                held[went[k] - r] = true;
            done++;
        }
        for (unsigned a = 0; a < 64; a++)
            for (unsigned b = a + 1; b < 64; b++)
                if (held[a] && held[b] && (r[a].alone || r[b].alone))
                    assert_false(r[a].first < r[b].end && r[b].first < r[a].end);
    }
    for (unsigned left = 1; left;) {
        left = 0;
        for (unsigned i = 0; i < 64; i++) {
            if (!held[i])
                continue;
            live[i] = held[i] = false;
            went_nr = 0;
            exp_guard_leave(g, &r[i], note);
            for (unsigned k = 0; k < went_nr; k++)
                held[went[k] - r] = true;
            left++;
        }
    }
    for (unsigned i = 0; i < 64; i++)
        assert_false(live[i]);
    assert_int_equal(g->alone_nr, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_whole_blocks_share, fresh),
        cmocka_unit_test_setup(test_alone_waits_for_whole_blocks_and_they_for_it, fresh),
        cmocka_unit_test_setup(test_neighbours_do_not_conflict, fresh),
        cmocka_unit_test_setup(test_random_ranges_never_conflict_and_all_get_their_turn, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
