/* A session leaves its core when nobody is on a trip to it, and who comes meanwhile finds it where it arrives. */
#include "fake_sess.h"

/* ---- trips and moves ----------------------------------------------------------------------------------------- */

struct trip {
    struct hop hop;
    struct fake *fake;
    bool stay; /* does not go back by itself */
    bool ran, back;
    struct rt *on;
};

static void trip_run(struct hop *h)
{
    struct trip *t = container_of(h, struct trip, hop);

    assert_ptr_equal(rt_self(), t->fake->at); /* it is where it was looked for */
    assert_null(t->fake->to);                 /* and not about to leave */
    t->on = rt_self();
    t->ran = true;
    if (!t->stay)
        hop_back(h);
}

static void trip_back(struct hop *h)
{
    container_of(h, struct trip, hop)->back = true;
}

static void trip_go(struct trip *t, struct fake *f)
{
    t->fake = f;
    t->ran = t->back = false;
    sess_go(&f->s, &t->hop, trip_run, trip_back);
}

struct moving {
    struct move mv;
    bool over;
};

static void moving_over(struct move *mv)
{
    container_of(mv, struct moving, mv)->over = true;
}

static const char *move_to(struct fix *x, struct moving *m, struct fake *f, unsigned core, uint64_t limit_ns)
{
    *m = (struct moving){ .mv = { .sess = &f->s,
                                  .to = rt_host_at(x->host, core),
                                  .limit_ns = limit_ns,
                                  .by = "request",
                                  .done = moving_over } };
    const char *wrong = move_begin(&m->mv);

    m->over = wrong;
    return wrong;
}

static void test_session_is_on_the_other_core_when_it_is_over(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct moving m;
    struct trip t = { .stay = false };

    assert_null(move_to(x, &m, f, 1, RT_S));
    nexus_answers(x, f, 0);
    turn_until(x, &m.over);
    assert_int_equal(m.mv.err, 0);
    assert_int_equal(m.mv.pause_ns, 7 * RT_US);
    assert_ptr_equal(f->s.rt, rt_host_at(x->host, 1));
    assert_non_null(strstr(f->s.why_core, "moved from core"));
    trip_go(&t, f);
    turn_until(x, &t.back);
    assert_ptr_equal(t.on, rt_host_at(x->host, 1));
}

static void test_it_waits_for_trips_under_way_and_holds_back_nobody_meanwhile(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct trip slow = { .stay = true }, quick = { .stay = false };
    struct moving m;

    trip_go(&slow, f);
    turn_until(x, &slow.ran);
    assert_null(move_to(x, &m, f, 2, LIMIT_NS));
    trip_go(&quick, f);
    turn_until(x, &quick.back);
    assert_ptr_equal(quick.on, rt_host_at(x->host, 0));
    assert_null(f->to);
    hop_back(&slow.hop);
    nexus_answers(x, f, 0);
    turn_until(x, &m.over);
    assert_int_equal(m.mv.err, 0);
}

static void test_trips_wait_while_it_is_away_and_go_where_it_arrives(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct trip a = { .stay = false }, b = { .stay = false };
    struct moving m;

    assert_null(move_to(x, &m, f, 1, RT_S));
    trip_go(&a, f);
    trip_go(&b, f);
    for (unsigned i = 0; i < 100; i++)
        turn_all(x);
    assert_false(a.ran || b.ran);
    nexus_answers(x, f, 0);
    turn_until(x, &a.back);
    turn_until(x, &b.back);
    assert_ptr_equal(a.on, rt_host_at(x->host, 1));
    assert_ptr_equal(b.on, rt_host_at(x->host, 1));
}

static void test_trips_go_on_where_it_stays_when_it_cannot_move(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct trip a = { .stay = false };
    struct moving m;

    assert_null(move_to(x, &m, f, 1, RT_S));
    trip_go(&a, f);
    nexus_answers(x, f, -ETIMEDOUT);
    turn_until(x, &a.back);
    turn_until(x, &m.over);
    assert_ptr_equal(a.on, rt_host_at(x->host, 0));
    assert_int_equal(m.mv.err, -ETIMEDOUT);
    assert_string_equal(m.mv.why, "because");
    assert_ptr_equal(f->s.rt, rt_host_at(x->host, 0));
    assert_null(move_to(x, &m, f, 1, RT_S)); /* and may try again */
    nexus_answers(x, f, 0);
    turn_until(x, &m.over);
}

static void test_a_trip_that_takes_longer_than_the_limit_ends_the_move(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct trip slow = { .stay = true };
    struct moving m;

    trip_go(&slow, f);
    turn_until(x, &slow.ran);
    assert_null(move_to(x, &m, f, 1, RT_MS));
    turn_until(x, &m.over);
    assert_int_equal(m.mv.err, -EBUSY);
    assert_null(f->to);
    hop_back(&slow.hop);
    turn_until(x, &slow.back);
    assert_null(f->to);
}

static void test_a_session_that_ends_while_a_move_waits_does_not_move(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct trip slow = { .stay = true };
    struct moving m;

    trip_go(&slow, f);
    turn_until(x, &slow.ran);
    assert_null(move_to(x, &m, f, 1, LIMIT_NS));
    f->s.state = SESS_ENDING;
    hop_back(&slow.hop);
    turn_until(x, &m.over);
    assert_int_equal(m.mv.err, -ESHUTDOWN);
    assert_null(f->to);
}

static void test_moves_that_make_no_sense_are_refused(void **state)
{
    struct fix *x = *state;
    struct fake *f = &x->fake[0];
    struct moving m, other;

    assert_non_null(strstr(move_to(x, &m, f, 0, RT_S), "already"));
    f->s.state = SESS_LOGIN;
    assert_non_null(strstr(move_to(x, &m, f, 1, RT_S), "not logged in"));
    f->s.state = SESS_ENDING;
    assert_non_null(strstr(move_to(x, &m, f, 1, RT_S), "logged out"));
    f->s.state = SESS_UP;
    assert_null(move_to(x, &m, f, 1, RT_S));
    assert_non_null(strstr(move_to(x, &other, f, 2, RT_S), "being moved"));
    nexus_answers(x, f, 0);
    turn_until(x, &m.over);
}

/* Whatever the order, a trip that runs finds its session on that core (trip_run() looks), and all end. */
static void test_trips_and_moves_in_any_order(void **state)
{
    const unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : (unsigned)getpid();
    static struct trip trips[4][8];
    static struct moving moves[4];
    struct fix *x = *state;
    unsigned moved = 0, ran = 0;

    print_message("# SEED=%u\n", seed);
    srand(seed);
    for (unsigned i = 0; i < 4; i++)
        moves[i].over = true;
    for (unsigned n = 0; n < 20000; n++) {
        const unsigned i = (unsigned)rand() % 4;
        struct fake *f = &x->fake[i];
        struct trip *t = &trips[i][rand() % 8];

        switch (rand() % 6) {
        case 0:
            if (!t->fake || t->back) {
                t->stay = rand() % 3 == 0;
                trip_go(t, f);
                ran++;
            }
            break;
        case 1:
            if (t->fake && t->stay && t->ran && !t->back) {
                t->stay = false;
                hop_back(&t->hop);
            }
            break;
        case 2:
            if (moves[i].over && !move_to(x, &moves[i], f, (unsigned)rand() % CORES, LIMIT_NS))
                moved++;
            break;
        case 3:
            if (f->to)
                nexus_answers(x, f, rand() % 3 ? 0 : -EAGAIN);
            break;
        default: rt_turn(rt_host_at(x->host, (unsigned)rand() % CORES), 0);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 8; k++) {
            struct trip *t = &trips[i][k];

            for (unsigned n = 0; t->fake && !t->back && n < 1000; n++) {
                if (x->fake[i].to)
                    nexus_answers(x, &x->fake[i], 0);
                if (t->stay && t->ran) {
                    t->stay = false;
                    hop_back(&t->hop);
                }
                turn_all(x);
            }
            assert_true(!t->fake || t->back);
        }
        for (unsigned n = 0; !moves[i].over && n < 1000; n++) {
            if (x->fake[i].to)
                nexus_answers(x, &x->fake[i], 0);
            turn_all(x);
        }
        assert_true(moves[i].over);
        assert_ptr_equal(x->fake[i].s.rt, x->fake[i].at);
        assert_int_equal(x->fake[i].s.holds, 1);
    }
    assert_true(moved > 100 && ran > 100);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_session_is_on_the_other_core_when_it_is_over),
        WITH(test_it_waits_for_trips_under_way_and_holds_back_nobody_meanwhile),
        WITH(test_trips_wait_while_it_is_away_and_go_where_it_arrives),
        WITH(test_trips_go_on_where_it_stays_when_it_cannot_move),
        WITH(test_a_trip_that_takes_longer_than_the_limit_ends_the_move),
        WITH(test_a_session_that_ends_while_a_move_waits_does_not_move),
        WITH(test_moves_that_make_no_sense_are_refused),
        WITH(test_trips_and_moves_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
