/*
 * test_mpio_paths.c - paths of a disk: joining, choosing, failing, coming back, moving, leaving; on simulated cores, over
 * sessions that do as they are told
 */
#include "mpio_rig.h"

static struct mpio_conf conf_of(enum mpio_policy policy)
{
    struct mpio_conf c;

    mpio_conf_default(&c);
    c.policy = policy;
    return c;
}

/* ---- joining --------------------------------------------------------------------------------------------- */

static void test_a_disk_gets_its_identity_from_its_first_path(void **state)
{
    (void)state;
    rig_start(1, 0, NULL);
    assert_null(mpio_disk_info(rig.disk));
    way(0, 0);
    assert_string_equal(mpio_disk_info(rig.disk)->wwid, "naa.unit0");
    assert_int_equal(mpio_disk_paths_nr(rig.disk), 1);
    rig_end();
}

static void test_another_unit_does_not_join_and_both_are_named(void **state)
{
    (void)state;
    rig_start(2, 0, NULL);
    way(0, 0);
    sess_make(1, 1);
    path_make(1, 1);
    assert_int_equal(join(1), -EXDEV);
    assert_non_null(strstr(rig.join_why, "naa.unit0"));
    assert_non_null(strstr(rig.join_why, "naa.unit1"));
    assert_int_equal(mpio_disk_paths_nr(rig.disk), 1);
    assert_null(rig.path[1]->disk);
    path_end(1); /* it is whole, and not in use */
    rig_end();
}

static void test_another_block_length_does_not_join(void **state)
{
    (void)state;
    rig_start(3, 0, NULL);
    way(0, 0);
    sess_make(1, 1);
    path_make(1, 0);
    rig.path[1]->now.info.block_len = 4096;
    assert_int_equal(join(1), -EMEDIUMTYPE);
    assert_non_null(strstr(rig.join_why, "4096"));
    rig_end();
}

static void test_a_path_joins_once(void **state)
{
    (void)state;
    rig_start(4, 0, NULL);
    way(0, 2);
    assert_int_equal(join(0), -EEXIST);
    assert_int_equal(mpio_disk_paths_nr(rig.disk), 1);
    rig_end();
}

static void test_a_path_that_became_another_unit_does_not_join(void **state)
{
    (void)state;
    rig_start(5, 0, NULL);
    way(0, 0);
    sess_make(1, 1);
    path_make(1, 0);
    rig.path[1]->now.changed = true;
    assert_int_equal(join(1), -EXDEV);
    rig_end();
}

static void test_paths_join_again_after_they_left(void **state)
{
    (void)state;
    rig_start(6, 0, NULL);
    way(0, 0);
    way(1, 1);
    leave(0);
    run(RT_MS);
    assert_int_equal(rig.left, 1);
    rig.left = 0;
    leave(1);
    run(RT_MS);
    rig.left = 0;
    assert_int_equal(join(0), 0); /* alone now: its session keeps its requests */
    assert_false(rig.path[0]->lun->hand);
    assert_int_equal(join(1), 0);
    assert_true(rig.path[0]->lun->hand);
    for (unsigned n = 0; n < 3; n++) {
        leave(1);
        run(RT_MS);
        assert_int_equal(rig.left, n + 1);
        assert_int_equal(join(1), 0);
    }
    submit(0, INI_WRITE);
    submit(1, INI_WRITE);
    run(RT_MS);
    assert_int_equal(there(0) + there(1), 2);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    assert_true(rig.req[0].done && rig.req[1].done);
    rig_end();
}

/* ---- choosing -------------------------------------------------------------------------------------------- */

static void test_requests_go_over_all_paths_and_cores(void **state)
{
    (void)state;
    rig_start(10, 3, NULL);
    for (unsigned i = 0; i < 4; i++)
        way(i, i);
    for (unsigned n = 0; n < 32; n++)
        submit(n, n % 2 ? INI_WRITE : INI_READ);
    run(RT_MS);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(there(i), 8);
        assert_int_equal(info(i).in_flight, 8);
        assert_int_equal(info(i).nexus_in_flight, 8);
        assert_true(info(i).in_use);
        answer_all(i);
    }
    run(RT_MS);
    for (unsigned n = 0; n < 32; n++)
        assert_true(rig.req[n].done && !rig.req[n].res);
    for (unsigned n = 1; n < 32; n += 2)
        assert_int_equal(fake.medium[n], 1000 + n);
    rig_end();
}

/* What another disk has on a session counts. */
static void test_queues_are_the_nexus_s(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    rig_start(11, 0, NULL);
    way(0, 0);
    way(1, 0);
    atomic_fetch_add(&rig.nexus[0]->requests, 100);
    for (unsigned n = 0; n < 8; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 0);
    assert_int_equal(there(1), 8);
    c.scope = MPIO_SCOPE_LUN; /* and does not where it is told not to */
    conf_set(&c);
    for (unsigned n = 8; n < 16; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 8);
    atomic_fetch_sub(&rig.nexus[0]->requests, 100);
    answer_all(0);
    answer_all(1);
    run(RT_MS);
    rig_end();
}

static void test_optimized_paths_then_others_never_standby(void **state)
{
    (void)state;
    rig_start(12, 0, NULL);
    for (unsigned i = 0; i < 4; i++)
        way(i, i);
    alua(0, INI_ALUA_NON_OPTIMIZED, false);
    alua(2, INI_ALUA_STANDBY, false);
    alua(3, INI_ALUA_UNAVAILABLE, false);
    assert_int_equal(info(1).group, 0);
    assert_int_equal(info(0).group, 1);
    for (unsigned n = 0; n < 4; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(there(1), 4);
    alua(1, INI_ALUA_OFFLINE, false);
    for (unsigned n = 4; n < 8; n++)
        submit(n, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0), 4);
    alua(0, INI_ALUA_STANDBY, false); /* none is left */
    submit(8, INI_READ);
    run(RT_MS);
    assert_int_equal(there(0) + there(1) + there(2) + there(3), 8);
    assert_int_equal(rig.events[MPIO_PAUSED], 1);
    alua(3, INI_ALUA_OPTIMIZED, false);
    assert_int_equal(there(3), 1);
    assert_int_equal(rig.events[MPIO_RESUMED], 1);
    for (unsigned i = 0; i < 4; i++)
        answer_all(i);
    run(RT_MS);
    rig_end();
}

static void test_a_transition_is_waited_for(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.no_path = MPIO_NO_PATH_FAIL; /* which is for when there is no path, not for when there will be */
    rig_start(13, 0, &c);
    way(0, 0);
    way(1, 1);
    alua(0, INI_ALUA_TRANSITIONING, false);
    alua(1, INI_ALUA_TRANSITIONING, false);
    submit(0, INI_WRITE);
    run(10 * RT_S);
    assert_false(rig.req[0].done);
    alua(1, INI_ALUA_OPTIMIZED, false);
    assert_int_equal(there(1), 1);
    answer_all(1);
    run(RT_MS);
    assert_int_equal(rig.req[0].res, 0);
    rig_end();
}

/* Which path is optimized is somebody's wish as long as the unit can be used at all. */
static void test_an_explicit_unit_is_asked_where_it_cannot_be_used(void **state)
{
    (void)state;
    rig_start(14, 0, NULL);
    way(0, 0);
    way(1, 1);
    alua(0, INI_ALUA_STANDBY, true);
    assert_false(rig.path[0]->lun->activated); /* the other is optimized */
    alua(1, INI_ALUA_NON_OPTIMIZED, true);
    alua(0, INI_ALUA_NON_OPTIMIZED, true);
    alua(0, INI_ALUA_STANDBY, true);
    run(2 * RT_S);
    assert_false(rig.path[0]->lun->activated || rig.path[1]->lun->activated);
    alua(1, INI_ALUA_OFFLINE, true);
    assert_true(rig.path[0]->lun->activated);
    assert_false(rig.path[1]->lun->activated);
    rig_end();
}

/* Who took a port out of service does not want to see it used again by itself. */
static void test_what_is_offline_is_left_so(void **state)
{
    (void)state;
    rig_start(14, 0, NULL);
    way(0, 0);
    way(1, 1);
    alua(0, INI_ALUA_OFFLINE, true);
    assert_non_null(strstr(rig.why, "active, access state offline"));
    alua(1, INI_ALUA_OFFLINE, true);
    assert_false(rig.path[0]->lun->activated || rig.path[1]->lun->activated);
    alua(1, INI_ALUA_UNAVAILABLE, true);
    assert_true(rig.path[1]->lun->activated);
    assert_false(rig.path[0]->lun->activated);
    alua(0, INI_ALUA_OPTIMIZED, true);
    rig_end();
}

static void do_weight(void *arg)
{
    struct call *c = arg;

    mpio_disk_path_weight(rig.disk, rig.path[c->i], c->n, (unsigned)c->a);
}

static void weight(unsigned i, unsigned prio, unsigned w)
{
    struct call c = { .i = i, .n = prio, .a = (int)w };

    sim_call(rig.home, do_weight, &c);
}

static void test_groups_are_made_as_told(void **state)
{
    struct mpio_conf c = conf_of(MPIO_ROUND_ROBIN);

    (void)state;
    rig_start(15, 0, &c);
    for (unsigned i = 0; i < 4; i++)
        way(i, 0);
    weight(2, 70, 1);
    weight(3, 70, 1);
    assert_true(!info(0).in_use && !info(1).in_use && info(2).in_use && info(3).in_use);
    assert_int_equal(info(0).group, 1);
    c.grouping = MPIO_MULTIBUS;
    conf_set(&c);
    assert_true(info(0).in_use && info(3).in_use);
    assert_int_equal(info(0).group, 0);
    c.grouping = MPIO_GROUP_FAILOVER;
    conf_set(&c);
    assert_true(!info(0).in_use && !info(1).in_use && info(2).in_use && !info(3).in_use);
    assert_int_equal(info(3).group, 1);
    c.grouping = MPIO_GROUP_BY_TPG;
    weight(2, 0, 1);
    weight(3, 0, 1);
    rig.path[1]->seen.alua.group = rig.path[3]->seen.alua.group = 7;
    conf_set(&c);
    assert_true(info(0).in_use && !info(1).in_use && info(2).in_use && !info(3).in_use);
    c.grouping = MPIO_MULTIBUS;
    c.policy = MPIO_FAILOVER; /* one at a time, however they are grouped */
    conf_set(&c);
    assert_true(info(0).in_use && !info(1).in_use && !info(2).in_use && !info(3).in_use);
    rig_end();
}

static void test_failback_at_once_later_or_by_hand(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    rig_start(16, 0, &c);
    way(0, 0);
    way(1, 0);
    alua(1, INI_ALUA_NON_OPTIMIZED, false);
    for (unsigned n = 0; n < 3; n++) {
        c.failback = (enum mpio_failback)n;
        c.failback_s = 5;
        c.marginal_fails = 0;
        conf_set(&c);
        assert_true(info(0).in_use && !info(1).in_use);
        break_sess(0);
        run(RT_MS);
        assert_true(!info(0).in_use && info(1).in_use);
        login_sess(0);
        run(RT_S);
        assert_int_equal(info(0).in_use, c.failback == MPIO_FAILBACK_IMMEDIATE);
        run(5 * RT_S);
        assert_int_equal(info(0).in_use, c.failback != MPIO_FAILBACK_MANUAL);
        admin(0, false);
        assert_true(info(0).in_use && !info(1).in_use);
    }
    rig_end();
}

/* Where the one that is used goes too, a path need not be waved back. */
static void test_a_path_on_probation_is_used_rather_than_none(void **state)
{
    struct mpio_conf c = conf_of(MPIO_LQD);

    (void)state;
    c.failback = MPIO_FAILBACK_MANUAL;
    rig_start(17, 0, &c);
    way(0, 0);
    way(1, 0);
    alua(1, INI_ALUA_NON_OPTIMIZED, false);
    break_sess(0);
    run(RT_MS);
    login_sess(0);
    run(RT_MS);
    assert_true(info(1).in_use);
    break_sess(1);
    run(RT_MS);
    assert_true(info(0).in_use);
    rig_end();
}

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

static void do_gone(void *arg)
{
    struct ini_lun *l = rig.path[((struct call *)arg)->i]->lun;

    l->err = -ENODEV;
    rt_list_for_safe (at, &l->ios)
        fake_end(l, rt_list_entry(at, struct ini_io, link), -ENODEV);
    l->event(l->user, INI_LUN_GONE);
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
        cmocka_unit_test(test_a_disk_gets_its_identity_from_its_first_path),
        cmocka_unit_test(test_another_unit_does_not_join_and_both_are_named),
        cmocka_unit_test(test_another_block_length_does_not_join),
        cmocka_unit_test(test_a_path_joins_once),
        cmocka_unit_test(test_a_path_that_became_another_unit_does_not_join),
        cmocka_unit_test(test_paths_join_again_after_they_left),
        cmocka_unit_test(test_requests_go_over_all_paths_and_cores),
        cmocka_unit_test(test_queues_are_the_nexus_s),
        cmocka_unit_test(test_optimized_paths_then_others_never_standby),
        cmocka_unit_test(test_a_transition_is_waited_for),
        cmocka_unit_test(test_an_explicit_unit_is_asked_where_it_cannot_be_used),
        cmocka_unit_test(test_what_is_offline_is_left_so),
        cmocka_unit_test(test_groups_are_made_as_told),
        cmocka_unit_test(test_failback_at_once_later_or_by_hand),
        cmocka_unit_test(test_a_path_on_probation_is_used_rather_than_none),
        cmocka_unit_test(test_what_is_idempotent_goes_elsewhere_at_once),
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
