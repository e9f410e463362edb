/*
 * test_mpio_paths.c - paths of a disk: joining, and which of them requests take; on simulated cores, over sessions
 * that do as they are told
 */
#include "mpio_rig.h"

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
    run(2 * RT_S);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
