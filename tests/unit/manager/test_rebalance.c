/* Sessions that move by themselves, or of which it is said that they should: on loads made up, a second a call. */
#include "fake_sess.h"

/* A second is a call here, and not the timer's. */
#include "manager/rebalance.c"

static unsigned busy[CORES];

struct bal_core __wrap_bal_load_core(const struct bal_load *l, unsigned index);
struct bal_core __wrap_bal_load_core(const struct bal_load *l, unsigned index)
{
    return (struct bal_core){ .cpu = (int)index, .busy_pct = busy[index] };
}

/* All but the last live on core 0, and do as much as each other. */
static void hot_core(struct fix *x, unsigned percent)
{
    busy[0] = percent;
    busy[1] = busy[2] = 0;
    x->fake[3].s.rt = x->fake[3].at = rt_host_at(x->host, 1);
    x->fake[3].s.core = 1;
    for (unsigned i = 0; i < ARRAY_SIZE(x->fake); i++)
        x->fake[i].s.core = (int)rt_index(x->fake[i].s.rt);
}

static void second(struct fix *x)
{
    for (unsigned i = 0; i < 3; i++)
        x->fake[i].s.work += 1000;
    rt_timer_disarm(x->m->rt, &x->m->layout->auto_moves->timer);
    sample_fired(&x->m->layout->auto_moves->timer);
    for (unsigned i = 0; i < 5; i++)
        turn_all(x);
}

static unsigned advice_nr(const struct fix *x)
{
    return x->m->layout->auto_moves->advice_nr;
}

static struct fake *moving(struct fix *x)
{
    for (unsigned i = 0; i < ARRAY_SIZE(x->fake); i++)
        if (x->fake[i].to)
            return &x->fake[i];
    return NULL;
}

static void test_advice_is_given_once_and_nobody_moves(void **state)
{
    struct fix *x = *state;
    const struct advice *a;

    hot_core(x, 95);
    for (unsigned i = 0; i < 120 && !advice_nr(x); i++)
        second(x);
    assert_int_equal(advice_nr(x), 1);
    a = &x->m->layout->auto_moves->advice[0];
    assert_true(a->id >= 1 && a->id <= 3);
    assert_true(*a->why);
    assert_null(moving(x));
    for (unsigned i = 0; i < 300; i++)
        second(x);
    assert_null(moving(x));
}

static void test_it_moves_when_it_may(void **state)
{
    struct fix *x = *state;
    struct fake *f = NULL;
    struct rt *to;

    x->m->layout->rebalance = BAL_AUTO_ON;
    hot_core(x, 95);
    for (unsigned i = 0; i < 120 && !(f = moving(x)); i++)
        second(x);
    assert_non_null(f);
    assert_true(f != &x->fake[3]);
    assert_int_equal(advice_nr(x), 0);
    to = f->to;
    assert_true(to != rt_host_at(x->host, 0));
    for (unsigned i = 0; i < 20; i++) /* while it is away nothing else begins */
        second(x);
    nexus_answers(x, f, 0);
    for (unsigned i = 0; i < 20; i++)
        turn_all(x);
    assert_ptr_equal(f->s.rt, to);
    assert_false(x->m->layout->auto_moves->moving);
    assert_non_null(strstr(f->s.why_core, "(rebalance)"));
}

static void test_pinned_sessions_stay(void **state)
{
    struct fix *x = *state;

    x->m->layout->rebalance = BAL_AUTO_ON;
    hot_core(x, 95);
    for (unsigned i = 0; i < 3; i++) {
        struct bal_seat seat;

        layout_seat(&x->fake[i].s, &seat);
        assert_int_equal(layout_pin(x->m, &seat), 0);
    }
    for (unsigned i = 0; i < 120; i++)
        second(x);
    assert_null(moving(x));
}

static void test_nothing_moves_when_it_is_off_or_nobody_is_busy(void **state)
{
    struct fix *x = *state;

    x->m->layout->rebalance = BAL_AUTO_OFF;
    hot_core(x, 95);
    for (unsigned i = 0; i < 120; i++)
        second(x);
    assert_int_equal(advice_nr(x), 0);
    x->m->layout->rebalance = BAL_AUTO_ON;
    hot_core(x, 30);
    for (unsigned i = 0; i < 120; i++)
        second(x);
    assert_null(moving(x));
    assert_true(*x->m->layout->auto_moves->why);
}

/* A move that fails is told, and another may follow. */
static void test_a_move_that_fails_is_not_the_last(void **state)
{
    struct fix *x = *state;
    struct fake *f = NULL;

    x->m->layout->rebalance = BAL_AUTO_ON;
    hot_core(x, 95);
    for (unsigned i = 0; i < 120 && !(f = moving(x)); i++)
        second(x);
    assert_non_null(f);
    nexus_answers(x, f, -ETIMEDOUT);
    for (unsigned i = 0; i < 20; i++)
        turn_all(x);
    assert_false(x->m->layout->auto_moves->moving);
    for (unsigned i = 0; i < 600 && !(f = moving(x)); i++)
        second(x);
    assert_non_null(f);
    nexus_answers(x, f, 0);
    for (unsigned i = 0; i < 20; i++)
        turn_all(x);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_advice_is_given_once_and_nobody_moves),
        WITH(test_it_moves_when_it_may),
        WITH(test_pinned_sessions_stay),
        WITH(test_nothing_moves_when_it_is_off_or_nobody_is_busy),
        WITH(test_a_move_that_fails_is_not_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
