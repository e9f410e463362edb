/*
 * test_mpio_hostile.c - paths of a disk: targets that do not do what they say, and things that happen at the worst moment
 */
#include "mpio_rig.h"

/* ---- resets ---------------------------------------------------------------------------------------------- */

/* The path whose writes are to be settled is back before the reset is over, which takes what was sent over it since. */
static void test_a_reset_is_told_to_who_came_back_meanwhile(void **state)
{
    (void)state;
    rig_start(1, 0, NULL);
    for (unsigned i = 0; i < 2; i++) {
        fake.sess[i].tpgt = (uint16_t)(i + 1);
        way(i, i + 1);
    }
    fake.sess[1].reset_ns = 50 * RT_MS;
    for (unsigned n = 0; n < 4; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(45 * RT_MS);
    assert_int_equal(fake.sess[1].resets, 1);
    login_sess(0);
    run(5 * RT_MS);
    for (unsigned n = 4; n < 12; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_true(fake.sess[1].resetting && there(0) > 0);
    run(100 * RT_MS);
    assert_int_equal(fake.sess[0].aborts, 1);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    for (unsigned n = 0; n < 12; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    rig_end();
}

static void do_calls_end(void *arg)
{
    fake_calls_end(rig.path[((struct call *)arg)->i]->lun);
}

static void calls_end(unsigned i)
{
    struct call c = { .i = i };

    sim_call(fake.sess[i].rt, do_calls_end, &c);
    run(RT_MS);
}

/* What was sent after the first one was told of is gone as well. */
static void test_a_second_reset_while_the_first_is_told_is_told_too(void **state)
{
    (void)state;
    rig_start(2, 0, NULL);
    for (unsigned i = 0; i < 4; i++) {
        fake.sess[i].tpgt = (uint16_t)(i + 1);
        way(i, i % 3);
    }
    fake.sess[2].slow = fake.sess[3].slow = true;
    for (unsigned n = 0; n < 16; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(100 * RT_MS);
    break_sess(1);
    run(100 * RT_MS);
    assert_int_equal(fake.sess[1].resets + fake.sess[2].resets + fake.sess[3].resets, 2);
    assert_in_range(fake.sess[2].aborts + fake.sess[3].aborts, 1, 2);
    for (unsigned n = 0; n < 3; n++) {
        calls_end(2);
        calls_end(3);
    }
    assert_int_equal(fake.sess[1].aborts + fake.sess[2].aborts + fake.sess[3].aborts, 4 - fake.sess[1].resets);
    answer_all(2);
    answer_all(3);
    run(RT_MS);
    for (unsigned n = 0; n < 16; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    rig_end();
}

/* ---- asymmetric access ----------------------------------------------------------------------------------- */

static void test_a_unit_that_does_not_obey_is_asked_again_by_all_paths(void **state)
{
    (void)state;
    rig_start(10, 0, NULL);
    way(0, 0);
    way(1, 1);
    run(2 * RT_S);
    alua(0, INI_ALUA_STANDBY, true);
    alua(1, INI_ALUA_STANDBY, true);
    assert_int_equal(rig.path[0]->lun->activated + rig.path[1]->lun->activated, 1);
    run(3 * RT_S);
    assert_true(rig.path[0]->lun->activated && rig.path[1]->lun->activated);
    rig.path[0]->lun->activated = rig.path[1]->lun->activated = false;
    run(3 * RT_S);
    assert_true(rig.path[0]->lun->activated && rig.path[1]->lun->activated);
    alua(1, INI_ALUA_OPTIMIZED, true);
    rig.path[0]->lun->activated = rig.path[1]->lun->activated = false;
    run(10 * RT_S);
    assert_false(rig.path[0]->lun->activated || rig.path[1]->lun->activated);
    rig_end();
}

/* The first path of a disk may be in standby and the second not: to ask it at once would have the unit moved for nothing. */
static void test_the_first_path_is_not_asked_before_others_may_have_come(void **state)
{
    (void)state;
    rig_start(15, 0, NULL);
    way(0, 1);
    alua(0, INI_ALUA_STANDBY, true);
    run(100 * RT_MS);
    way(1, 2);
    submit(0, INI_WRITE);
    run(5 * RT_S);
    assert_false(rig.path[0]->lun->activated);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 1);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.req[0].res, 0);
    rig_end();
}

/* The path that can be used is being moved: it will be there again. */
static void test_a_path_that_moves_is_no_reason_to_ask(void **state)
{
    (void)state;
    rig_start(11, 0, NULL);
    way(0, 1);
    way(1, 2);
    run(2 * RT_S);
    alua(0, INI_ALUA_STANDBY, true);
    move(1, 3);
    run(200 * RT_MS);
    assert_int_equal(rig.moves, 1);
    assert_false(rig.path[0]->lun->activated);
    rig_end();
}

/* Who asked something of a unit that is opened anew never hears of it, and does not wait for it. */
static void test_a_unit_is_opened_anew_while_it_is_asked_to_change(void **state)
{
    struct call c = { .i = 0 };

    (void)state;
    rig_start(12, 0, NULL);
    way(0, 1);
    way(1, 2);
    run(2 * RT_S);
    fake.sess[0].slow = true;
    alua(1, INI_ALUA_OFFLINE, true);
    alua(0, INI_ALUA_STANDBY, true);
    assert_true(rig.path[0]->lun->activated);
    sim_call(fake.rt[1], do_gone, &c);
    run(RT_MS);
    admin(0, false);
    run(10 * RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    fake.sess[0].slow = false;
    move(0, 3);
    run(200 * RT_MS);
    assert_int_equal(rig.moves, 1);
    assert_int_equal(rig.move_err, 0);
    leave(0);
    run(10 * RT_MS);
    assert_int_equal(rig.left, 1);
    rig_end();
}

/* All ports say that they can be used, and none takes a request: that is no path, whatever they say. */
static void test_paths_that_refuse_all_requests_are_none(void **state)
{
    struct mpio_conf c;

    (void)state;
    mpio_conf_default(&c);
    c.no_path_s = 2;
    rig_start(13, 0, &c);
    way(0, 1);
    way(1, 2);
    fake.sess[0].refuses = fake.sess[1].refuses = true;
    submit(0, INI_WRITE);
    run(RT_S);
    assert_false(rig.req[0].done);
    run(2 * RT_S);
    assert_int_equal(rig.req[0].res, -ETIMEDOUT);
    c.no_path = MPIO_NO_PATH_FAIL;
    conf_set(&c);
    submit(1, INI_WRITE);
    run(70 * RT_S);
    assert_int_equal(rig.req[1].res, -EIO);
    c.no_path = MPIO_NO_PATH_QUEUE;
    conf_set(&c);
    submit(2, INI_WRITE);
    run(300 * RT_S);
    assert_false(rig.req[2].done);
    fake.sess[1].refuses = false;
    run(RT_S);
    assert_int_equal(there(1), 1);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.req[2].res, 0);
    rig_end();
}

/* States that change every second, on all paths, in no order. */
static void test_requests_get_through_while_states_flap(void **state)
{
    static const uint8_t states[] = { INI_ALUA_OPTIMIZED, INI_ALUA_STANDBY,       INI_ALUA_NON_OPTIMIZED,
                                      INI_ALUA_OFFLINE,   INI_ALUA_TRANSITIONING, INI_ALUA_UNAVAILABLE };

    (void)state;
    rig_start(14, 0, NULL);
    for (unsigned i = 0; i < 3; i++)
        way(i, i);
    for (unsigned n = 0; n < 60; n++) {
        for (unsigned i = 0; i < 3; i++)
            alua(i, states[fake_ns(6)], i != 0);
        submit(n, n % 2 ? INI_WRITE : INI_READ);
        run(RT_S);
        for (unsigned i = 0; i < 3; i++)
            answer_all(i);
        run(RT_MS);
    }
    alua(1, INI_ALUA_OPTIMIZED, true);
    answer_all(1);
    run(RT_MS);
    for (unsigned n = 0; n < 60; n++)
        assert_true(rig.req[n].done == 1 && !rig.req[n].res);
    rig_end();
}

/* ---- units that go and come ------------------------------------------------------------------------------ */

/* One that has gone is used again when it is back, and asked for while it is not, as long as there is a session. */
static void test_a_unit_that_has_gone_is_looked_for(void **state)
{
    struct call c = { .i = 0 };

    (void)state;
    rig_start(20, 0, NULL);
    way(0, 1);
    way(1, 2);
    fake_open_err = -ENODEV;
    sim_call(fake.rt[1], do_gone, &c);
    run(20 * RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_DOWN);
    assert_int_equal(rig.events[MPIO_PATH_CHANGED], 1);
    break_sess(0);
    run(20 * RT_S);
    fake_open_err = 0;
    run(20 * RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_DOWN);
    login_sess(0);
    run(6 * RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    rig_end();
}

/* And is not where another has come in its place; nor where the administrator has taken it out. */
static void test_another_in_place_of_one_that_has_gone_is_not_used(void **state)
{
    struct call c = { .i = 0 };

    (void)state;
    rig_start(21, 0, NULL);
    way(0, 1);
    way(1, 2);
    admin(0, true);
    sim_call(fake.rt[1], do_gone, &c);
    run(20 * RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_FAILED);
    assert_true(rig.path[0]->lun->err);
    for (unsigned n = 0; n < 4; n++) { /* back and forth */
        snprintf(fake.wwid[0], sizeof(fake.wwid[0]), n % 2 ? "naa.unit0" : "naa.other");
        admin(0, false);
        run(20 * RT_S);
        assert_int_equal(info(0).state, n % 2 ? MPIO_PATH_UP : MPIO_PATH_QUARANTINE);
        submit(n, INI_WRITE);
        submit(n + 4, INI_WRITE);
        run(RT_MS);
        assert_int_equal(there(0), n % 2 ? 1 : 0);
        answer_all(0);
        answer_all(1);
        run(RT_MS);
        if (n % 2) {
            sim_call(fake.rt[1], do_gone, &c);
            run(RT_MS);
        }
    }
    rig_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reset_is_told_to_who_came_back_meanwhile),
        cmocka_unit_test(test_a_second_reset_while_the_first_is_told_is_told_too),
        cmocka_unit_test(test_a_unit_that_does_not_obey_is_asked_again_by_all_paths),
        cmocka_unit_test(test_the_first_path_is_not_asked_before_others_may_have_come),
        cmocka_unit_test(test_a_path_that_moves_is_no_reason_to_ask),
        cmocka_unit_test(test_a_unit_is_opened_anew_while_it_is_asked_to_change),
        cmocka_unit_test(test_paths_that_refuse_all_requests_are_none),
        cmocka_unit_test(test_requests_get_through_while_states_flap),
        cmocka_unit_test(test_a_unit_that_has_gone_is_looked_for),
        cmocka_unit_test(test_another_in_place_of_one_that_has_gone_is_not_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
