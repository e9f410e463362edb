/* test_plan.c - plans as text, and faults drawn from a seed */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/proxy/plan.h"

#include <cmocka.h>

static char why[PLAN_WHY_MAX];

static struct step parsed(const char *line)
{
    struct step s;

    why[0] = '\0';
    if (step_parse(&s, line, why) != 1)
        fail_msg("'%s': %s", line, why);
    return s;
}

static void refused(const char *line, const char *word)
{
    struct step s = { .where = 77 };

    assert_int_equal(step_parse(&s, line, why), -EINVAL);
    assert_non_null(strstr(why, word));
    assert_int_equal(s.where, 77);
}

static void test_step_has_place_stream_and_fault(void **state)
{
    const struct step s = parsed("byte 4096 conn 3 up slow 8192 500 # why not");

    assert_false(s.timed);
    assert_int_equal(s.where, 4096);
    assert_int_equal(s.conn, 3);
    assert_int_equal(s.way, WAY_UP);
    assert_int_equal(s.fault.kind, FAULT_SLOW);
    assert_int_equal(s.fault.arg[0], 8192);
    assert_int_equal(s.fault.arg[1], 500);
}

static void test_step_without_stream_means_all(void **state)
{
    const struct step s = parsed("at 1500 reset"), now = parsed("now down delay 1");

    assert_true(s.timed);
    assert_int_equal(s.where, 1500);
    assert_int_equal(s.conn, 0);
    assert_int_equal(s.way, WAY_BOTH);
    assert_true(now.timed);
    assert_int_equal(now.where, 0);
    assert_int_equal(now.way, WAY_DOWN);
}

static void test_comments_and_blanks_are_no_steps(void **state)
{
    struct step s;

    assert_int_equal(step_parse(&s, "", why), 0);
    assert_int_equal(step_parse(&s, "  \t# byte 0 reset", why), 0);
}

static void test_step_refuses_what_it_does_not_know(void **state)
{
    char line[600];

    refused("reset", "byte N");
    refused("byte reset", "number");
    refused("byte -1 reset", "number");
    refused("at 1 conn 0 reset", "from 1");
    refused("at 1 explode", "explode");
    refused("at 1", "fault");
    refused("at 1 reset 5", "nothing more");
    refused("at 1 delay", "MS");
    refused("at 1 delay 0", "1 to 3600000");
    refused("at 1 delay 3600001", "1 to 3600000");
    refused("at 1 flip 8", "0 to 7");
    refused("at 1 slow 100", "BYTES_PER_S MS");
    refused("at 1 slow 0 100", "from 1");
    snprintf(line, sizeof(line), "at 1 %500s reset", "x");
    refused(line, "shorter");
    refused("at 1 conn 1 up slow 1 1 a b c d", "shorter");
}

static void test_bounds_are_taken(void **state)
{
    assert_int_equal(parsed("byte 0 flip 7").fault.arg[0], 7);
    assert_int_equal(parsed("byte 0 flip 0").fault.arg[0], 0);
    assert_int_equal(parsed("byte 0 delay 3600000").fault.arg[0], 3600000);
    assert_int_equal(parsed("byte 9223372036854775807 drop").where, INT64_MAX);
}

/* What is printed of a run is a plan. */
static void test_step_reads_what_it_formats(void **state)
{
    struct dice d = { 7 };

    for (unsigned i = 0; i < 2000; i++) {
        struct step s = { .timed = dice_draw(&d, 0, 1), .where = dice_draw(&d, 0, INT64_MAX),
                          .conn = (uint32_t)dice_draw(&d, 0, UINT32_MAX), .way = (enum way)dice_draw(&d, 0, 2) };
        struct mix all;
        struct step back;
        char text[STEP_TEXT_MAX];

        assert_int_equal(mix_parse(&all, "all,flip", why), 0);
        s.fault = mix_draw(&all, &d);
        step_format(&s, text);
        back = parsed(text);
        assert_int_equal(back.timed, s.timed);
        assert_int_equal(back.where, s.where);
        assert_int_equal(back.conn, s.conn);
        assert_int_equal(back.way, s.way);
        assert_memory_equal(&back.fault, &s.fault, sizeof(s.fault));
    }
}

static void test_plan_is_sorted_and_walked_by_stream(void **state)
{
    struct plan p;
    unsigned up = 0, down = 0, timed = 0;
    const struct step *s;

    assert_int_equal(plan_parse(&p,
                                "byte 500 conn 2 up reset\n"
                                "# a comment\n"
                                "at 20 reset\n"
                                "byte 100 up delay 5\n"
                                "byte 100 delay 6\n"
                                "at 10 drop",
                                why), 0);
    assert_int_equal(p.nr, 5);
    s = plan_next_byte(&p, &up, 2, WAY_UP);
    assert_int_equal(s->fault.arg[0], 5);
    up++;
    s = plan_next_byte(&p, &up, 2, WAY_UP);
    assert_int_equal(s->fault.arg[0], 6);
    up++;
    s = plan_next_byte(&p, &up, 2, WAY_UP);
    assert_int_equal(s->where, 500);
    up++;
    assert_null(plan_next_byte(&p, &up, 2, WAY_UP));
    s = plan_next_byte(&p, &down, 1, WAY_DOWN);
    assert_int_equal(s->fault.arg[0], 6);
    down++;
    assert_null(plan_next_byte(&p, &down, 1, WAY_DOWN));
    s = plan_next_timed(&p, &timed);
    assert_int_equal(s->where, 10);
    timed++;
    s = plan_next_timed(&p, &timed);
    assert_int_equal(s->where, 20);
    timed++;
    assert_null(plan_next_timed(&p, &timed));
    plan_free(&p);
    assert_null(p.steps);
}

static void test_plan_names_the_line_that_is_wrong(void **state)
{
    struct plan p = { .nr = 77 };

    assert_int_equal(plan_parse(&p, "at 1 reset\n\nat 2 nonsense\nat 3 reset\n", why), -EINVAL);
    assert_non_null(strstr(why, "line 3"));
    assert_int_equal(p.nr, 77);
}

static void test_mix_takes_lists_weights_and_all(void **state)
{
    struct mix m;

    assert_int_equal(mix_parse(&m, "delay,reset:3", why), 0);
    assert_int_equal(m.sum, 4);
    assert_int_equal(m.weight[FAULT_RESET], 3);
    assert_int_equal(mix_parse(&m, "all", why), 0);
    assert_int_equal(m.sum, FAULT_KINDS - 2);
    assert_int_equal(m.weight[FAULT_LAG], 0);
    assert_int_equal(m.weight[FAULT_FLIP], 0);
    assert_int_equal(mix_parse(&m, "all,drop:0", why), 0);
    assert_int_equal(m.weight[FAULT_DROP], 0);
    for (const char *const *bad = (const char *const[]){ "", "none", "reset:x", "reset:0", "reset:1001", "rese", NULL };
         *bad; bad++)
        assert_int_equal(mix_parse(&m, *bad, why), -EINVAL);
}

static void test_draws_stay_in_range_and_find_every_kind(void **state)
{
    unsigned seen[FAULT_KINDS] = { 0 };
    struct dice d = dice_of(1, 1, WAY_UP);
    struct mix m;

    assert_int_equal(mix_parse(&m, "all,flip,lag,reset:0", why), 0);
    for (unsigned i = 0; i < 10000; i++) {
        const struct fault f = mix_draw(&m, &d);

        seen[f.kind]++;
        for (unsigned k = 0; k < fault_args(f.kind); k++) {
            assert_in_range(f.arg[k], fault_rows[f.kind].range[k].draw_lo, fault_rows[f.kind].range[k].draw_hi);
            assert_in_range(f.arg[k], fault_rows[f.kind].range[k].lo, fault_rows[f.kind].range[k].hi);
        }
    }
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        assert_int_equal(!seen[k], k == FAULT_RESET);
}

static void test_dice_are_those_of_seed_connection_and_direction(void **state)
{
    struct dice a = dice_of(42, 3, WAY_UP), same = dice_of(42, 3, WAY_UP), others[] = {
        dice_of(43, 3, WAY_UP), dice_of(42, 4, WAY_UP), dice_of(42, 3, WAY_DOWN)
    };
    const uint64_t first = dice_draw(&a, 0, UINT64_MAX);

    assert_true(first == dice_draw(&same, 0, UINT64_MAX));
    for (unsigned i = 0; i < 3; i++)
        assert_true(first != dice_draw(&others[i], 0, UINT64_MAX));
    assert_int_equal(dice_draw(&a, 5, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_has_place_stream_and_fault),
        cmocka_unit_test(test_step_without_stream_means_all),
        cmocka_unit_test(test_comments_and_blanks_are_no_steps),
        cmocka_unit_test(test_step_refuses_what_it_does_not_know),
        cmocka_unit_test(test_bounds_are_taken),
        cmocka_unit_test(test_step_reads_what_it_formats),
        cmocka_unit_test(test_plan_is_sorted_and_walked_by_stream),
        cmocka_unit_test(test_plan_names_the_line_that_is_wrong),
        cmocka_unit_test(test_mix_takes_lists_weights_and_all),
        cmocka_unit_test(test_draws_stay_in_range_and_find_every_kind),
        cmocka_unit_test(test_dice_are_those_of_seed_connection_and_direction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
