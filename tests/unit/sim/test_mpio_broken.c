/*
 * test_mpio_broken.c - paths of a disk: failing, leading elsewhere, and none left; on simulated cores, over sessions
 * that do as they are told
 */
#include "mpio_rig.h"

/* ---- failing --------------------------------------------------------------------------------------------- */

static void test_what_is_idempotent_goes_elsewhere_at_once(void **state)
{
    (void)state;
    rig_start(20, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 8; n++)
        submit(n, n % 2 ? INI_READ : INI_FLUSH);
    run(RT_MS);
    assert_int_equal(there(0), 4);
    break_sess(0);
    run(RT_MS);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 8);
    assert_int_equal(info(0).failovers, 4);
    assert_int_equal(info(0).state, MPIO_PATH_DOWN);
    assert_string_equal(info(0).why, "broken by the test");
    assert_int_equal(info(0).downs, 1);
    answer_all(1);
    run(RT_MS);
    for (unsigned n = 0; n < 8; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    rig_end();
}

/* The unit says that it is out of reach before the session says why. */
static void test_that_a_path_is_down_is_told_with_the_reason(void **state)
{
    (void)state;
    rig_start(19, 0, NULL);
    way(0, 1);
    way(1, 2);
    run(RT_MS);
    rig.events[MPIO_PATH_CHANGED] = 0;
    break_sess(0);
    run(RT_MS);
    assert_int_equal(rig.events[MPIO_PATH_CHANGED], 1);
    assert_non_null(strstr(rig.why, ": down: broken by the test"));
    rig_end();
}

static void test_writes_wait_until_their_session_logged_in_again(void **state)
{
    (void)state;
    rig_start(21, 0, NULL);
    way(0, 1);
    way(1, 2);
    fake.sess[0].fence_ns = 100 * RT_S; /* no help from there */
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(RT_S);
    assert_int_equal(fake.sess[0].ghosts_nr, 4);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 4);
    answer_all(1);
    login_sess(0);
    run(10 * RT_MS);
    assert_int_equal(there(0) + there(1), 4);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    for (unsigned n = 0; n < 8; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    rig_end();
}

static void test_a_login_by_another_portal_settles_them(void **state)
{
    (void)state;
    rig_start(22, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(200 * RT_MS);
    assert_int_equal(fake.sess[0].fences, 1);
    assert_string_equal(fake.sess[0].fence_portal, "10.0.0.2");
    assert_int_equal(fake.sess[0].ghosts_nr, 0);
    assert_int_equal(there(1), 8);
    assert_int_equal(fake.sess[1].resets, 0);
    /* In the order of submission. */
    for (uint64_t last = 0, at = 0; at < 4; at++) {
        const struct rt_link *l = rig.path[1]->lun->ios.prev;
        const struct mpio_io *io;

        for (unsigned k = 0; k < 3 - at; k++)
            l = l->prev;
        io = container_of(rt_list_entry(l, struct ini_io, link), struct mpio_io, io);
        assert_true(!at || io->seq > last);
        last = io->seq;
    }
    answer_all(1);
    run(RT_MS);
    rig_end();
}

/* The session's own login is as good, and mostly the first. */
static void test_a_session_that_is_back_at_once_needs_no_fence(void **state)
{
    (void)state;
    rig_start(23, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(2 * RT_MS);
    login_sess(0);
    run(100 * RT_MS);
    assert_int_equal(fake.sess[0].fences, 0);
    assert_int_equal(there(0) + there(1), 8);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_another_group_s_paths_reset_the_unit(void **state)
{
    (void)state;
    rig_start(24, 0, NULL);
    for (unsigned i = 0; i < 3; i++) {
        fake.sess[i].tpgt = (uint16_t)(i + 1);
        way(i, i);
    }
    for (unsigned n = 0; n < 12; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(200 * RT_MS);
    assert_int_equal(fake.sess[0].fences, 0);
    assert_int_equal(fake.sess[1].resets + fake.sess[2].resets, 1);
    assert_int_equal(fake.sess[0].ghosts_nr, 0);
    assert_int_equal(there(1) + there(2), 12);
    /* Who did not ask for it has lost commands, and is told to send them again. */
    assert_int_equal(fake.sess[1].aborts, fake.sess[2].resets);
    assert_int_equal(fake.sess[2].aborts, fake.sess[1].resets);
    answer_all(1);
    answer_all(2);
    run(RT_MS);
    for (unsigned n = 0; n < 12; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    rig_end();
}

/* Joined again, a path is asked anew: that it was once reset with success says nothing of now. */
static void test_an_answer_of_before_it_left_settles_nothing(void **state)
{
    (void)state;
    rig_start(73, 0, NULL);
    for (unsigned i = 0; i < 2; i++) {
        fake.sess[i].tpgt = (uint16_t)(i + 1);
        way(i, i + 1);
    }
    for (unsigned n = 0; n < 2; n++) {
        submit(2 * n, INI_WRITE);
        submit(2 * n + 1, INI_WRITE);
        run(RT_MS);
        fake.sess[1].reset_ns = n ? 100 * RT_MS : RT_MS;
        break_sess(0);
        run(70 * RT_MS);
        assert_int_equal(fake.sess[1].resets, n + 1);
        assert_int_equal(there(1), n ? 1 : 2); /* the second time the reset is not over */
        run(100 * RT_MS);
        assert_int_equal(there(1), 2);
        answer_all(1);
        login_sess(0);
        run(RT_MS);
        leave(1);
        run(RT_MS);
        assert_int_equal(join(1), 0);
    }
    rig_end();
}

static void test_what_cannot_be_settled_is_tried_again_all_ways(void **state)
{
    (void)state;
    rig_start(25, 0, NULL);
    way(0, 1);
    way(1, 2);
    fake.sess[0].fence_res = -EACCES;
    fake.sess[1].reset_err = -EIO;
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(5 * RT_S);
    assert_in_range(fake.sess[0].fences, 3, 8);
    assert_in_range(fake.sess[1].resets, 3, 8);
    assert_int_equal(there(1), 1);
    fake.sess[0].fence_res = 0;
    run(2 * RT_S);
    assert_int_equal(there(1), 2);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

/* A write that ended in an error is over for who sent it: it must not come after what is written there next. */
static void test_after_an_error_newer_writes_wait_until_the_old_one_is_settled(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path_s = 2;
    rig_start(26, 0, &c);
    way(0, 1);
    way(1, 2);
    fake.sess[0].fence_res = -EACCES;
    fake.sess[1].reset_err = -EIO;
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    break_sess(0);
    run(3 * RT_S);
    assert_int_equal(rig.order_nr, 1);
    assert_int_equal(rig.req[rig.order[0]].res, -ETIMEDOUT);
    submit(2, INI_WRITE);
    submit(3, INI_READ);
    submit(4, INI_FLUSH);
    run(10 * RT_MS);
    assert_int_equal(there(1), 3); /* the other write of before, and what changes nothing */
    fake_haunt(&fake.sess[0], 0);
    login_sess(0);
    run(10 * RT_MS);
    assert_int_equal(there(0) + there(1), 4);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(fake.medium[2], 1002);
    rig_end();
}

static void test_a_silent_path_gets_nothing_new_until_it_answers(void **state)
{
    (void)state;
    rig_start(27, 0, NULL);
    way(0, 1);
    way(1, 2);
    assert_int_equal(fake.sess[0].watch_ms, 400);
    submit(0, INI_READ);
    submit(1, INI_READ);
    run(RT_MS);
    answer_all(1);
    run(RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_SUSPECT);
    for (unsigned n = 2; n < 6; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    assert_int_equal(there(1), 4);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    submit(6, INI_READ); /* both silent: then it is no reason to prefer one */
    submit(7, INI_READ);
    run(RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_SUSPECT);
    assert_int_equal(info(1).state, MPIO_PATH_SUSPECT);
    submit(8, INI_READ);
    submit(9, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 2);
    assert_int_equal(there(1), 2);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_one_usable_path_is_not_watched(void **state)
{
    (void)state;
    rig_start(28, 0, NULL);
    way(0, 1);
    assert_int_equal(fake.sess[0].watch_ms, 0);
    way(1, 2);
    assert_int_equal(fake.sess[0].watch_ms, 400);
    break_sess(1);
    run(RT_MS);
    assert_int_equal(fake.sess[0].watch_ms, 0);
    login_sess(1);
    run(RT_MS);
    assert_int_equal(fake.sess[0].watch_ms, 400);
    rig_end();
}

static void test_a_path_that_fails_too_often_is_marginal_for_a_while(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.marginal_hold_s = 30;
    rig_start(29, 0, &c);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 3; n++) {
        break_sess(0);
        run(RT_MS);
        login_sess(0);
        run(RT_MS);
    }
    assert_int_equal(info(0).state, MPIO_PATH_MARGINAL);
    assert_false(info(0).in_use);
    break_sess(1); /* where there is no other it is good enough */
    run(RT_MS);
    assert_true(info(0).in_use);
    login_sess(1);
    run(RT_MS);
    assert_false(info(0).in_use);
    run(31 * RT_S);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    assert_true(info(0).in_use);
    for (unsigned n = 0; n < 3; n++) {
        break_sess(0);
        run(RT_MS);
        login_sess(0);
        run(RT_MS);
    }
    assert_int_equal(info(0).state, MPIO_PATH_MARGINAL);
    admin(0, false); /* who reinstates it knows better */
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    rig_end();
}

static void test_failures_far_apart_make_no_marginal_path(void **state)
{
    (void)state;
    rig_start(30, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 6; n++) {
        break_sess(0);
        run(40 * RT_S);
        login_sess(0);
        run(RT_MS);
        assert_int_equal(info(0).state, MPIO_PATH_UP);
    }
    rig_end();
}

/* ---- no path --------------------------------------------------------------------------------------------- */

static void both_down(const struct mpio_conf *c, uint64_t seed)
{
    rig_start(seed, 0, c);
    way(0, 1);
    way(1, 2);
    submit(0, INI_WRITE);
    submit(1, INI_READ);
    run(RT_MS);
    break_sess(0);
    break_sess(1);
    run(RT_MS);
    submit(2, INI_WRITE);
    run(100 * RT_MS);
    assert_int_equal(rig.events[MPIO_PAUSED] + rig.events[MPIO_FAILED], 1);
}

static void test_without_a_path_requests_wait_for_the_deadline(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path_s = 20;
    both_down(&c, 31);
    run(19 * RT_S);
    assert_int_equal(rig.order_nr, 0);
    run(2 * RT_S);
    assert_int_equal(rig.order_nr, 3);
    for (unsigned n = 0; n < 3; n++)
        assert_int_equal(rig.req[n].res, -ETIMEDOUT);
    assert_int_equal(rig.events[MPIO_FAILED], 1);
    submit(3, INI_READ); /* and new ones no more */
    run(RT_MS);
    assert_int_equal(rig.req[3].res, -ETIMEDOUT);
    login_sess(1);
    run(RT_MS);
    assert_int_equal(rig.events[MPIO_RESUMED], 1);
    submit(4, INI_READ);
    run(RT_MS);
    assert_int_equal(there(1), 1);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.req[4].res, 0);
    rig_end();
}

static void test_without_a_path_requests_wait_for_ever(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_QUEUE;
    both_down(&c, 32);
    run(100000 * RT_S);
    assert_int_equal(rig.order_nr, 0);
    login_sess(0);
    login_sess(1);
    run(10 * RT_MS);
    assert_int_equal(there(0) + there(1), 3);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.order_nr, 3);
    rig_end();
}

static void test_without_a_path_requests_fail_at_once(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_FAIL;
    both_down(&c, 33);
    assert_int_equal(rig.order_nr, 3);
    for (unsigned n = 0; n < 3; n++)
        assert_int_equal(rig.req[n].res, -EIO);
    rig_end();
}

static void test_waiting_requests_are_failed_by_hand(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_QUEUE;
    both_down(&c, 34);
    sim_call(rig.home, do_no_path_fail, NULL);
    run(RT_MS);
    assert_int_equal(rig.order_nr, 3);
    submit(3, INI_WRITE);
    run(RT_MS);
    assert_int_equal(rig.req[3].res, -EIO);
    login_sess(0);
    run(RT_MS);
    sim_call(rig.home, do_no_path_fail, NULL); /* with a path it says nothing */
    submit(4, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    answer_all(0);
    run(RT_MS);
    assert_int_equal(rig.req[4].res, 0);
    rig_end();
}

static void test_what_is_set_holds_from_then_on(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_QUEUE;
    both_down(&c, 35);
    run(1000 * RT_S);
    assert_int_equal(rig.order_nr, 0);
    c.no_path = MPIO_NO_PATH_FAIL;
    conf_set(&c);
    run(RT_MS);
    assert_int_equal(rig.order_nr, 3);
    rig_end();
}

static void test_a_disk_that_is_given_up_ends_all_its_requests(void **state)
{
    (void)state;
    for (unsigned down = 0; down < 4; down++) {
        rig_start(36 + down, 0, NULL);
        way(0, 1);
        way(1, 2);
        for (unsigned n = 0; n < 8; n++)
            submit(n, n % 2 ? INI_READ : INI_WRITE);
        run(RT_MS);
        if (down & 1)
            break_sess(0);
        if (down & 2)
            break_sess(1);
        run(RT_MS);
        sim_call(rig.home, do_fail, NULL);
        submit(8, INI_WRITE);
        run(10 * RT_MS);
        for (unsigned n = 0; n < 9; n++)
            assert_int_equal(rig.req[n].res, -EIO);
        assert_int_equal(rig.order_nr, 9);
        rig_end();
    }
}

/* ---- quarantine, and other sizes ------------------------------------------------------------------------- */

static void do_resized(void *arg)
{
    struct ini_lun *l = rig.path[((struct call *)arg)->i]->lun;

    l->info.size = fake.size;
    l->event(l->user, INI_LUN_RESIZED);
}

static void resized(unsigned i, uint64_t size)
{
    struct call c = { .i = i };

    fake.size = size;
    sim_call(fake.sess[i].rt, do_resized, &c);
    run(RT_MS);
}

static void test_a_disk_is_as_large_as_its_smallest_path_says(void **state)
{
    const uint64_t was = FAKE_BLOCKS * FAKE_BLOCK;

    (void)state;
    rig_start(40, 0, NULL);
    way(0, 1);
    way(1, 2);
    resized(0, 2 * was);
    assert_int_equal(mpio_disk_info(rig.disk)->size, was);
    assert_int_equal(rig.events[MPIO_RESIZED], 0);
    resized(1, 2 * was);
    assert_int_equal(mpio_disk_info(rig.disk)->size, 2 * was);
    assert_int_equal(rig.events[MPIO_RESIZED], 1);
    resized(1, was);
    assert_int_equal(mpio_disk_info(rig.disk)->size, was);
    assert_int_equal(rig.events[MPIO_RESIZED], 2);
    leave(1);
    run(RT_MS);
    assert_int_equal(mpio_disk_info(rig.disk)->size, 2 * was);
    rig_end();
}

static void test_a_path_to_another_unit_is_put_in_quarantine(void **state)
{
    (void)state;
    rig_start(41, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_READ);
    run(RT_MS);
    rig.path[0]->lun->changes = true;
    break_sess(0);
    run(RT_MS);
    login_sess(0);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_QUARANTINE);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 8);
    break_sess(1); /* not even where there is no other */
    submit(8, INI_READ);
    run(RT_S);
    assert_int_equal(there(0), 0);
    assert_false(rig.req[8].done);
    login_sess(1);
    run(RT_MS);
    assert_int_equal(there(1), 9);
    /* Reinstated while it leads elsewhere: looked at, and left where it is. */
    snprintf(fake.wwid[0], sizeof(fake.wwid[0]), "naa.other");
    admin(0, false);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_QUARANTINE);
    assert_int_equal(there(0), 0);
    /* It leads here again, but nobody said so. */
    snprintf(fake.wwid[0], sizeof(fake.wwid[0]), "naa.unit0");
    break_sess(0);
    run(RT_MS);
    login_sess(0);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_QUARANTINE);
    admin(0, false);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    submit(9, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_a_unit_that_one_path_does_not_have_any_more_is_reached_by_the_others(void **state)
{
    struct call c = { .i = 0 };

    (void)state;
    rig_start(42, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    sim_call(fake.rt[1], do_gone, &c);
    run(RT_MS);
    assert_int_equal(there(1), 8);
    assert_int_equal(info(0).state, MPIO_PATH_DOWN);
    admin(0, false); /* opened anew */
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    c.i = 1;
    sim_call(fake.rt[2], do_gone, &c);
    run(RT_MS);
    assert_int_equal(there(0), 8);
    c.i = 0;
    sim_call(fake.rt[1], do_gone, &c); /* no one has it: it is gone */
    run(RT_MS);
    for (unsigned n = 0; n < 8; n++)
        assert_int_equal(rig.req[n].res, -ENODEV);
    rig_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_idempotent_goes_elsewhere_at_once),
        cmocka_unit_test(test_that_a_path_is_down_is_told_with_the_reason),
        cmocka_unit_test(test_writes_wait_until_their_session_logged_in_again),
        cmocka_unit_test(test_a_login_by_another_portal_settles_them),
        cmocka_unit_test(test_a_session_that_is_back_at_once_needs_no_fence),
        cmocka_unit_test(test_another_group_s_paths_reset_the_unit),
        cmocka_unit_test(test_an_answer_of_before_it_left_settles_nothing),
        cmocka_unit_test(test_what_cannot_be_settled_is_tried_again_all_ways),
        cmocka_unit_test(test_after_an_error_newer_writes_wait_until_the_old_one_is_settled),
        cmocka_unit_test(test_a_silent_path_gets_nothing_new_until_it_answers),
        cmocka_unit_test(test_one_usable_path_is_not_watched),
        cmocka_unit_test(test_a_path_that_fails_too_often_is_marginal_for_a_while),
        cmocka_unit_test(test_failures_far_apart_make_no_marginal_path),
        cmocka_unit_test(test_without_a_path_requests_wait_for_the_deadline),
        cmocka_unit_test(test_without_a_path_requests_wait_for_ever),
        cmocka_unit_test(test_without_a_path_requests_fail_at_once),
        cmocka_unit_test(test_waiting_requests_are_failed_by_hand),
        cmocka_unit_test(test_what_is_set_holds_from_then_on),
        cmocka_unit_test(test_a_disk_that_is_given_up_ends_all_its_requests),
        cmocka_unit_test(test_a_disk_is_as_large_as_its_smallest_path_says),
        cmocka_unit_test(test_a_path_to_another_unit_is_put_in_quarantine),
        cmocka_unit_test(test_a_unit_that_one_path_does_not_have_any_more_is_reached_by_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
