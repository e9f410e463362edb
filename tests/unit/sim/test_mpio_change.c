/*
 * test_mpio_change.c - paths of a disk: one and several, taken out of use, leaving, on other cores; and memory; on simulated
 * cores, over sessions that do as they are told
 */
#include "mpio_rig.h"

/* ---- one path -------------------------------------------------------------------------------------------- */

static void test_one_path_leaves_requests_to_its_session(void **state)
{
    (void)state;
    rig_start(45, 0, NULL);
    way(0, 0);
    assert_false(rig.path[0]->lun->hand);
    submit(0, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(200 * RT_S);
    submit(1, INI_READ);
    run(RT_S);
    assert_int_equal(there(0), 2);
    assert_int_equal(rig.events[MPIO_PAUSED], 1);
    login_sess(0);
    run(RT_MS);
    assert_int_equal(rig.events[MPIO_RESUMED], 1);
    answer_all(0);
    run(RT_MS);
    assert_true(rig.req[0].done && rig.req[1].done);
    assert_int_equal(fake.sess[0].fences, 0);
    rig_end();
}

static void test_one_path_s_errors_are_the_disk_s(void **state)
{
    struct call c = { .i = 0 };

    (void)state;
    rig_start(46, 0, NULL);
    way(0, 2);
    submit(0, INI_WRITE);
    run(RT_MS);
    sim_call(fake.rt[2], do_gone, &c);
    run(RT_MS);
    assert_int_equal(rig.req[0].res, -ENODEV);
    assert_int_equal(rig.events[MPIO_FAILED], 1);
    submit(1, INI_READ);
    run(RT_MS);
    assert_int_equal(rig.req[1].res, -ENODEV);
    rig_end();
}

/* The second that joins finds requests that the first keeps, and they come to it. */
static void test_a_second_path_takes_over_what_the_first_kept(void **state)
{
    (void)state;
    rig_start(47, 0, NULL);
    way(0, 1);
    sess_make(1, 2);
    path_make(1, 0);
    submit(0, INI_WRITE);
    submit(1, INI_READ);
    run(RT_MS);
    break_sess(0);
    run(RT_S);
    submit(2, INI_WRITE); /* never sent */
    run(RT_MS);
    assert_int_equal(there(0), 3);
    assert_int_equal(join(1), 0);
    run(100 * RT_MS);
    assert_true(rig.path[0]->lun->hand && rig.path[1]->lun->hand);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 3);
    assert_int_equal(fake.sess[0].fences, 1); /* for the one that was */
    answer_all(1);
    run(RT_MS);
    leave(1);
    run(RT_MS);
    assert_int_equal(rig.left, 1);
    assert_false(rig.path[0]->lun->hand);
    rig_end();
}

static void do_raw(void *arg)
{
    struct req *r = arg;

    mpio_submit(rig.disk, &r->io);
    assert_false(r->done);
}

static void test_what_can_never_be_right_is_refused(void **state)
{
    static const uint64_t end = FAKE_BLOCKS * FAKE_BLOCK;
    static const struct ini_io bad[] = {
        { .op = INI_ZERO + 1, .len = FAKE_BLOCK },
        { .op = INI_READ },
        { .op = INI_READ, .off = 1, .len = FAKE_BLOCK },
        { .op = INI_READ, .len = 1 },
        { .op = INI_READ, .off = end, .len = FAKE_BLOCK },
        { .op = INI_WRITE, .off = end - FAKE_BLOCK, .len = 2 * FAKE_BLOCK },
        { .op = INI_READ, .off = UINT64_MAX - FAKE_BLOCK + 1, .len = FAKE_BLOCK },
        { .op = INI_FLUSH, .off = FAKE_BLOCK },
        { .op = INI_FLUSH, .len = FAKE_BLOCK },
    };

    (void)state;
    rig_start(48, 0, NULL);
    submit(50, INI_READ); /* no path was ever there */
    run(RT_MS);
    assert_int_equal(rig.req[50].res, -ENODEV);
    way(0, 1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct req *r = &rig.req[i];

        *r = (struct req){ .io = { .io = bad[i], .done = on_done } };
        sim_call(rig.home, do_raw, r);
        run(RT_MS);
        assert_int_equal(r->done, 1);
        assert_int_equal(r->res, -EINVAL);
    }
    rig_end();
}

/* ---- by the administrator, and leaving ------------------------------------------------------------------- */

static void test_a_path_failed_by_hand_gets_nothing(void **state)
{
    (void)state;
    rig_start(50, 0, NULL);
    way(0, 1);
    way(1, 2);
    admin(0, true);
    for (unsigned n = 0; n < 4; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(info(0).state, MPIO_PATH_FAILED);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 4);
    answer_all(1);
    run(RT_MS);
    admin(1, true); /* both: as without any */
    submit(4, INI_READ);
    run(RT_S);
    assert_false(rig.req[4].done);
    admin(0, false);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    answer_all(0);
    run(RT_MS);
    rig_end();
}

static void test_what_a_failed_path_does_not_answer_is_taken_back(void **state)
{
    (void)state;
    rig_start(51, 0, NULL);
    way(0, 1);
    way(1, 2);
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    admin(0, true);
    run(100 * RT_MS);
    assert_int_equal(there(0), 1); /* it may yet be answered */
    run(2 * RT_S);
    assert_int_equal(fake.sess[0].drops, 1);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 2);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_the_only_path_is_not_dropped_for_being_failed(void **state)
{
    (void)state;
    rig_start(52, 0, NULL);
    way(0, 1);
    submit(0, INI_WRITE);
    run(RT_MS);
    admin(0, true);
    submit(1, INI_WRITE);
    run(10 * RT_S);
    assert_int_equal(fake.sess[0].drops, 0);
    assert_int_equal(there(0), 1);
    admin(0, false);
    run(RT_MS);
    assert_int_equal(there(0), 2);
    answer_all(0);
    run(RT_MS);
    rig_end();
}

static void test_a_path_leaves_when_its_requests_are_answered(void **state)
{
    (void)state;
    rig_start(53, 0, NULL);
    way(0, 1);
    way(1, 2);
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    leave(0);
    submit(2, INI_WRITE);
    run(10 * RT_MS);
    assert_int_equal(rig.left, 0);
    assert_int_equal(there(0), 1);
    assert_int_equal(there(1), 2);
    answer_all(0);
    run(RT_MS);
    assert_int_equal(rig.left, 1);
    assert_int_equal(mpio_disk_paths_nr(rig.disk), 1);
    path_end(0);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_a_path_leaves_when_its_requests_are_settled(void **state)
{
    (void)state;
    rig_start(54, 0, NULL);
    way(0, 1);
    way(1, 2);
    fake.sess[0].fence_res = -EACCES;
    fake.sess[1].reset_err = -EIO;
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    break_sess(0);
    run(RT_MS);
    leave(0);
    run(2 * RT_S);
    assert_int_equal(rig.left, 0); /* its write may still be carried out */
    fake.sess[1].reset_err = 0;
    run(2 * RT_S);
    assert_int_equal(rig.left, 1);
    assert_int_equal(there(1), 2);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_the_last_path_leaves_and_requests_wait_for_another(void **state)
{
    (void)state;
    rig_start(55, 0, NULL);
    way(0, 1);
    leave(0);
    run(RT_MS);
    assert_int_equal(rig.left, 1);
    submit(0, INI_WRITE);
    run(RT_S);
    assert_false(rig.req[0].done);
    way(1, 2);
    assert_int_equal(there(1), 1);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.req[0].res, 0);
    rig_end();
}

/* ---- other cores ----------------------------------------------------------------------------------------- */

static void test_a_nexus_moves_under_requests(void **state)
{
    (void)state;
    rig_start(60, 0, NULL);
    way(0, 1);
    way(1, 2);
    for (unsigned n = 0; n < 40; n++)
        submit(n, n % 2 ? INI_READ : INI_WRITE);
    move(0, 3);
    for (unsigned n = 40; n < 60; n++)
        submit(n, n % 2 ? INI_READ : INI_WRITE);
    run(10 * RT_MS);
    assert_int_equal(rig.moves, 1);
    assert_int_equal(rig.move_err, 0);
    assert_ptr_equal(mpio_nexus_rt(rig.nexus[0]), fake.rt[3]);
    assert_int_equal(info(0).state, MPIO_PATH_UP);
    for (unsigned n = 60; n < 64; n++)
        submit(n, INI_WRITE);
    run(RT_MS);
    assert_true(there(0) > 0);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    for (unsigned n = 0; n < 64; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    move(0, 0); /* to where the disk is */
    run(10 * RT_MS);
    submit(64, INI_WRITE);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    answer_all(0);
    run(RT_MS);
    rig_end();
}

static void test_the_only_path_moves_and_requests_wait(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_FAIL;
    rig_start(61, 0, &c);
    way(0, 1);
    move(0, 2);
    run(5000);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_WRITE);
    run(10 * RT_MS);
    assert_int_equal(there(0), 8);
    assert_int_equal(rig.events[MPIO_PAUSED] + rig.events[MPIO_FAILED], 0);
    assert_int_equal(rig.events[MPIO_PATH_CHANGED], 0); /* who moves it has the word */
    answer_all(0);
    run(RT_MS);
    rig_end();
}

static void test_a_move_that_fails_goes_on_where_it_was(void **state)
{
    (void)state;
    rig_start(62, 0, NULL);
    way(0, 1);
    fake.sess[0].move_err = -ETIMEDOUT;
    move(0, 2);
    run(10 * RT_MS);
    assert_int_equal(rig.move_err, -ETIMEDOUT);
    assert_ptr_equal(mpio_nexus_rt(rig.nexus[0]), fake.rt[1]);
    submit(0, INI_WRITE);
    run(RT_MS);
    assert_int_equal(there(0), 1);
    answer_all(0);
    break_sess(0);
    run(RT_MS);
    move(0, 2);
    run(RT_MS);
    assert_int_equal(rig.move_err, -EAGAIN);
    assert_int_equal(rig.moves, 2);
    rig_end();
}

static void test_one_move_at_a_time(void **state)
{
    (void)state;
    rig_start(63, 0, NULL);
    way(0, 1);
    move(0, 2);
    move(0, 3);
    assert_int_equal(rig.moves, 1);
    assert_int_equal(rig.move_err, -EBUSY);
    run(10 * RT_MS);
    assert_int_equal(rig.moves, 2);
    assert_int_equal(rig.move_err, 0);
    rig_end();
}

/* Both orders of a join and a move, and all between. */
static void test_a_path_joins_while_its_nexus_moves(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 200; n++) {
        struct call c = { .i = 1 };

        rig_start(100 + n, 0, NULL);
        way(0, 0);
        sess_make(1, 1);
        path_make(1, 0);
        if (n % 2)
            move(1, 2);
        run(n * 500);
        sim_call(rig.home, do_join, &c);
        run(fake_ns(20000));
        if (!(n % 2))
            move(1, 2);
        run(20 * RT_MS);
        assert_int_equal(rig.joins, 2);
        assert_int_equal(rig.join_err, 0);
        assert_int_equal(rig.move_err, 0);
        submit(0, INI_READ);
        submit(1, INI_READ);
        run(RT_MS);
        assert_int_equal(there(1), 1);
        answer_all(0);
        answer_all(1);
        run(RT_MS);
        rig_end();
    }
}

static void test_a_path_leaves_while_its_nexus_moves(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 200; n++) {
        rig_start(300 + n, 0, NULL);
        way(0, 0);
        way(1, 1);
        submit(0, INI_WRITE);
        submit(1, INI_WRITE);
        if (n % 2)
            move(1, 2);
        run(n * 500);
        leave(1);
        run(fake_ns(20000));
        if (!(n % 2))
            move(1, 2);
        run(20 * RT_MS);
        answer_all(1);
        run(20 * RT_MS);
        assert_int_equal(rig.left, 1);
        assert_int_equal(rig.moves, 1);
        path_end(1);
        answer_all(0);
        run(RT_MS);
        rig_end();
    }
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

static void *buf;
static bool good;

static void do_buf(void *arg)
{
    buf = mpio_buf_get(rig.disk, 8192);
}
static void do_put(void *arg)
{
    mpio_buf_put(rig.disk, buf, 8192);
}
static void do_good(void *arg)
{
    good = mpio_buf_good(rig.disk, buf, 8192);
}

static bool is_good(void)
{
    sim_call(rig.home, do_good, NULL);
    return good;
}

static void test_memory_comes_from_a_session_on_the_disk_s_core(void **state)
{
    (void)state;
    rig_start(70, 0, NULL);
    way(0, 1);
    sim_call(rig.home, do_buf, NULL);
    assert_non_null(buf);
    assert_int_equal(fake.sess[0].bufs, 0); /* it lives elsewhere: plain */
    assert_true(is_good());
    fake.sess[1].shm = true;
    way(1, 0);
    assert_false(is_good()); /* there is better now */
    sim_call(rig.home, do_put, NULL);
    sim_call(rig.home, do_buf, NULL);
    assert_int_equal(fake.sess[1].bufs, 1);
    assert_true(is_good());
    sim_call(rig.home, do_put, NULL);
    assert_int_equal(fake.sess[1].bufs, 0);
    rig_end();
}

static void test_memory_goes_back_to_a_session_that_moved(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 60; n++) {
        rig_start(500 + n, 0, NULL);
        way(0, 0);
        sim_call(rig.home, do_buf, NULL);
        assert_int_equal(fake.sess[0].bufs, 1);
        move(0, 1);
        run(n * RT_US);
        sim_call(rig.home, do_put, NULL); /* before, during, or after */
        run(20 * RT_MS);
        assert_int_equal(fake.sess[0].bufs, 0);
        rig_end();
    }
}

static void test_a_path_leaves_when_its_session_has_its_memory_back(void **state)
{
    (void)state;
    rig_start(71, 0, NULL);
    way(0, 0);
    way(1, 1);
    sim_call(rig.home, do_buf, NULL);
    assert_int_equal(fake.sess[0].bufs, 1);
    leave(0);
    run(10 * RT_MS);
    assert_int_equal(rig.left, 0);
    assert_false(is_good()); /* so whoever has it gives it back */
    sim_call(rig.home, do_put, NULL);
    run(RT_MS);
    assert_int_equal(rig.left, 1);
    rig_end();
}

static void test_the_last_paths_do_not_wait_for_memory_that_nobody_gives_back(void **state)
{
    (void)state;
    rig_start(72, 0, NULL);
    way(0, 0);
    way(1, 1);
    sim_call(rig.home, do_buf, NULL);
    leave(0);
    leave(1);
    run(10 * RT_MS);
    assert_int_equal(rig.left, 2);
    sim_call(rig.home, do_put, NULL); /* late, but its session is still there */
    rig_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_path_leaves_requests_to_its_session),
        cmocka_unit_test(test_one_path_s_errors_are_the_disk_s),
        cmocka_unit_test(test_a_second_path_takes_over_what_the_first_kept),
        cmocka_unit_test(test_what_can_never_be_right_is_refused),
        cmocka_unit_test(test_a_path_failed_by_hand_gets_nothing),
        cmocka_unit_test(test_what_a_failed_path_does_not_answer_is_taken_back),
        cmocka_unit_test(test_the_only_path_is_not_dropped_for_being_failed),
        cmocka_unit_test(test_a_path_leaves_when_its_requests_are_answered),
        cmocka_unit_test(test_a_path_leaves_when_its_requests_are_settled),
        cmocka_unit_test(test_the_last_path_leaves_and_requests_wait_for_another),
        cmocka_unit_test(test_a_nexus_moves_under_requests),
        cmocka_unit_test(test_the_only_path_moves_and_requests_wait),
        cmocka_unit_test(test_a_move_that_fails_goes_on_where_it_was),
        cmocka_unit_test(test_one_move_at_a_time),
        cmocka_unit_test(test_a_path_joins_while_its_nexus_moves),
        cmocka_unit_test(test_a_path_leaves_while_its_nexus_moves),
        cmocka_unit_test(test_memory_comes_from_a_session_on_the_disk_s_core),
        cmocka_unit_test(test_memory_goes_back_to_a_session_that_moved),
        cmocka_unit_test(test_a_path_leaves_when_its_session_has_its_memory_back),
        cmocka_unit_test(test_the_last_paths_do_not_wait_for_memory_that_nobody_gives_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
