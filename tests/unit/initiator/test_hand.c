/*
 * test_hand.c - units whose requests are handed back when their session cannot carry them out
 */
#include "lun_rig.h"

#define MIB (1u << 20)

static atomic_bool serving; /* the target lets in who comes again */

static void once_script(struct fake_conn *c)
{
    if (!c->nr || serving)
        fake_default_script(c);
}

/* Takes so many reads and writes, answers none of them on the first connection, and hangs up. */
static bool hang_up_after(struct fake_conn *c)
{
    const uintptr_t limit = (uintptr_t)c->f->arg;

    if (c->nr || !(is_data(c) || c->pdu.opcode == ISCSI_OP_DATA_OUT))
        return false;
    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD && ++c->f->reads == limit)
        shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void hand_start(struct rig *r, struct fake *f, bool served)
{
    serving = served;
    fake_start(f, once_script);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    rig_start(r);
    rig_open(r);
    ini_lun_hand_back(r->lun, true);
}

/* ---- a connection that breaks --------------------------------------------------------------------------- */

static unsigned order[N], order_nr;

static void ordered_done(struct ini_io *io, int res)
{
    order[order_nr++] = (unsigned)((struct req *)io - reqs);
    req_done(io, res);
}

static void test_what_was_sent_comes_back_in_order_and_says_what_may_have_happened(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)8 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    order_nr = 0;
    for (unsigned i = 0; i < 8; i++) {
        submit(&r, i, i % 2 ? INI_WRITE : INI_READ, 4096 * i, 4096, 0);
        reqs[i].io.done = ordered_done;
    }
    rig_until(&r, order_nr == 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(order[i], i);
        assert_int_equal(reqs[i].res, i % 2 ? -ECONNABORTED : -ENOTCONN);
    }
    assert_int_equal(r.downs, 1);
    assert_int_equal(r.events[INI_LUN_PAUSED], 1);
    assert_int_equal(r.events[INI_LUN_GONE], 0);
    end(&r, &f);
}

static void test_a_flush_comes_back_as_not_done(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    submit(&r, 0, INI_WRITE, 0, 512, 0); /* the target hangs up on it */
    submit(&r, 1, INI_FLUSH, 0, 0, 0);
    rig_until(&r, reqs[0].ended && reqs[1].ended);
    assert_int_equal(reqs[0].res, -ECONNABORTED);
    assert_int_equal(reqs[1].res, -ENOTCONN);
    end(&r, &f);
}

/* Without a cache, as far as it knows. */
static bool no_cache(struct fake_conn *c)
{
    static const uint8_t page[24] = { 23, 0, 0x10, 0, 0x08, 18 };

    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_MODE_SENSE_6)
        return false;
    fake_data(c, page, sizeof(page));
    return true;
}

/* Another path may have written to a cache that was turned on, of which this one has not heard. */
static void test_a_flush_is_sent_to_a_unit_that_is_not_known_to_have_a_cache(void **state)
{
    struct fake f = { .hook = no_cache };
    struct rig r;

    (void)state;
    hand_start(&r, &f, true);
    assert_false(ini_lun_info(r.lun)->write_cache);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.syncs, 1);
    ini_lun_hand_back(r.lun, false);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

/* Commands beyond the window, the pool and the depth never left. */
static void test_what_never_left_comes_back_as_not_done(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)2 };
    struct rig r;

    (void)state;
    serving = false;
    fake_start(&f, once_script);
    rig_init(&r, f.port);
    r.conf.set.noop_interval_s = 0;
    r.conf.set.cmds_max = 4;
    r.conf.set.queue_depth = 6;
    rig_start(&r);
    rig_open(&r);
    ini_lun_hand_back(r.lun, true);
    f.arg = (void *)4;
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 4096 * i, 4096, 0);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, i < 4 ? -ECONNABORTED : -ENOTCONN);
    end(&r, &f);
}

/* Answers the first piece of a large write, not the second. */
static bool second_piece_is_lost(struct fake_conn *c)
{
    if (c->nr || !is_data(c) || c->f->writes < 1)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_a_request_in_pieces_comes_back_once(void **state)
{
    struct fake f = { .hook = second_piece_is_lost };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    submit(&r, 0, INI_WRITE, 0, 2 * MIB, 0);
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, -ECONNABORTED);
    end(&r, &f);
}

/* A write that was answered and whose flush is lost may be done again at once. */
static bool no_flush(struct fake_conn *c)
{
    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_SYNC_CACHE_10)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_a_write_that_lost_its_flush_comes_back_as_not_done(void **state)
{
    struct fake f = { .hook = no_flush };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_WRITE, 0, 4096, INI_FUA), -ENOTCONN);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

/* Zeroes and unmapping change the unit like writes. */
static bool no_same(struct fake_conn *c)
{
    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_WRITE_SAME_16)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_zeroes_may_have_been_written(void **state)
{
    struct fake f = { .hook = no_same };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_ZERO, 0, 4096, 0), -ECONNABORTED);
    end(&r, &f);
}

/* ---- a session that is away ----------------------------------------------------------------------------- */

static void test_while_the_session_is_away_nothing_waits_for_it(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENOTCONN);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), -ENOTCONN);
    serving = true;
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    assert_int_equal(f.writes, 1); /* and nothing of before was sent */
    end(&r, &f);
}

static void test_what_waits_for_a_session_is_handed_back_when_that_is_switched_on(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)4 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    ini_lun_hand_back(r.lun, false);
    for (unsigned i = 0; i < 4; i++)
        submit(&r, i, i % 2 ? INI_WRITE : INI_READ, 4096 * i, 4096, 0);
    rig_until(&r, r.downs);
    rig_for(&r, 50);
    for (unsigned i = 4; i < 6; i++)
        submit(&r, i, i % 2 ? INI_WRITE : INI_READ, 4096 * i, 4096, 0);
    rig_for(&r, 50);
    for (unsigned i = 0; i < 6; i++)
        assert_false(reqs[i].ended);
    ini_lun_hand_back(r.lun, true);
    for (unsigned i = 0; i < 6; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(reqs[i].res, i % 2 && i < 4 ? -ECONNABORTED : -ENOTCONN);
    serving = true;
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

/* What is no request of the unit's waits as ever. */
static void nothing_reported(void *user, int err, const uint16_t *luns, unsigned nr)
{
    (void)luns, (void)nr;
    *(int *)user = err;
}

static void test_others_commands_are_kept(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;
    int told = 1;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    ini_report_luns(r.s, nothing_reported, &told);
    rig_for(&r, 100);
    assert_int_equal(told, 1);
    serving = true;
    rig_until(&r, told != 1);
    assert_int_equal(told, -EOPNOTSUPP); /* the fake's answer, after the new login */
    end(&r, &f);
}

static atomic_bool looked_at; /* the probe may go on */

/* The first thing that is asked of the unit after the second login is answered when the test says so. */
static bool slow_probe(struct fake_conn *c)
{
    if (c->nr == 1 && c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->pdu.cmd.cdb[0] == SCSI_TEST_UNIT_READY)
        while (!looked_at && !c->f->stop)
            usleep(1000);
    return hang_up_after(c);
}

static void test_while_the_unit_is_looked_at_requests_wait(void **state)
{
    struct fake f = { .hook = slow_probe, .arg = (void *)1 };
    struct rig r;

    (void)state;
    looked_at = false;
    hand_start(&r, &f, true);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    rig_until(&r, r.ups == 2);
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    rig_for(&r, 50);
    assert_false(reqs[0].ended);
    looked_at = true;
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, 0);
    end(&r, &f);
}

/* Another unit has the number: what waited for the look at it goes elsewhere. */
static void test_of_another_unit_requests_come_back_as_not_done(void **state)
{
    struct fake f = { .hook = slow_probe, .arg = (void *)1 };
    struct rig r;

    (void)state;
    looked_at = false;
    hand_start(&r, &f, true);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    rig_until(&r, r.ups == 2);
    strcpy(f.naa, "5001405ffffffff2");
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    submit(&r, 1, INI_READ, 0, 512, 0);
    looked_at = true;
    rig_until(&r, reqs[0].ended && reqs[1].ended);
    assert_int_equal(reqs[0].res, -ENOTCONN);
    assert_int_equal(reqs[1].res, -ENOTCONN);
    assert_int_equal(r.events[INI_LUN_CHANGED], 1);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

static void test_after_replacement_timeout_requests_are_handed_back_as_before(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;

    (void)state;
    serving = false;
    fake_start(&f, once_script);
    rig_init(&r, f.port);
    r.conf.set.noop_interval_s = 0;
    r.conf.set.replacement_timeout_s = 1;
    rig_start(&r);
    rig_open(&r);
    ini_lun_hand_back(r.lun, true);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ECONNABORTED);
    rig_until(&r, r.events[INI_LUN_GONE]);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENOTCONN);
    serving = true;
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    end(&r, &f);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static bool deaf(struct fake_conn *c)
{
    return is_data(c) && ++c->f->reads;
}

static void test_a_stop_hands_back_what_is_under_way(void **state)
{
    struct fake f = { .hook = deaf };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    submit(&r, 1, INI_READ, 0, 512, 0);
    rig_until(&r, f.reads == 2);
    ini_sess_stop(r.s, false, rig_stopped, &r);
    submit(&r, 2, INI_WRITE, 0, 512, 0);
    rig_until(&r, r.stops);
    for (unsigned i = 0; i < 3; i++)
        rig_until(&r, reqs[i].ended);
    assert_int_equal(reqs[0].res, -ECONNABORTED);
    assert_int_equal(reqs[1].res, -ENOTCONN);
    assert_int_equal(reqs[2].res, -ENOTCONN);
    ini_lun_close(r.lun);
    r.lun = NULL;
    ini_sess_free(r.s);
    r.s = NULL;
    end(&r, &f);
}

static void test_a_unit_that_is_given_up_ends_requests_with_what_was_asked_for(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    ini_lun_abandon(r.lun, -EIO);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -EIO);
    end(&r, &f);
}

/* ---- a connection that is dropped ----------------------------------------------------------------------- */

static void test_a_dropped_connection_is_one_that_broke(void **state)
{
    struct fake f = { .hook = deaf };
    struct rig r;

    (void)state;
    hand_start(&r, &f, true);
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    rig_until(&r, f.reads == 1);
    ini_sess_drop(r.s, "nobody likes it");
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, -ECONNABORTED);
    assert_int_equal(r.downs, 1);
    assert_string_equal(r.why, "nobody likes it");
    rig_until(&r, r.ups == 2);
    f.hook = NULL;
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    end(&r, &f);
}

static void test_where_there_is_no_connection_none_is_dropped(void **state)
{
    struct fake f = { .hook = hang_up_after, .arg = (void *)1 };
    struct rig r;

    (void)state;
    hand_start(&r, &f, false);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    ini_sess_drop(r.s, "nobody likes it");
    rig_for(&r, 50);
    assert_int_equal(r.downs, 1);
    serving = true;
    rig_until(&r, r.ups == 2);
    end(&r, &f);
}

/* ---- commands that are late ------------------------------------------------------------------------------ */

static atomic_uint tmf_answer; /* 0x100: none */

/* Takes reads and writes on the first connection, answers none of them, and has its own view of aborts. */
static bool never_abort(struct fake_conn *c)
{
    if (c->nr || !(is_data(c) || c->pdu.opcode == ISCSI_OP_TMF))
        return false;
    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD)
        return true;
    *(c->pdu.tmf.function == ISCSI_TMF_ABORT_TASK ? &c->f->aborts : &c->f->resets) += 1;
    if (tmf_answer < 0x100)
        fake_tmf(c, (uint8_t)tmf_answer);
    return true;
}

/* What the unit has of other sessions is not to be lost for one command of this. */
static void test_a_unit_with_other_paths_is_not_reset_for_a_late_command(void **state)
{
    static const unsigned answers[] = { ISCSI_TMF_NOT_SUPPORTED, ISCSI_TMF_REJECTED, 0x100 };

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct fake f = { .hook = never_abort };
        struct rig r;

        tmf_answer = answers[i];
        serving = false;
        fake_start(&f, once_script);
        rig_init(&r, f.port);
        r.conf.set.noop_interval_s = 0;
        r.conf.set.cmd_timeout_s = r.conf.set.abort_timeout_s = 1;
        rig_start(&r);
        rig_open(&r);
        ini_lun_hand_back(r.lun, true);
        submit(&r, 0, INI_WRITE, 0, 512, 0);
        rig_until(&r, reqs[0].ended);
        assert_int_equal(reqs[0].res, -ECONNABORTED);
        assert_int_equal(r.downs, 1);
        assert_non_null(strstr(r.why, "other paths"));
        assert_int_equal(f.aborts, 1);
        assert_int_equal(f.resets, 0);
        end(&r, &f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_sent_comes_back_in_order_and_says_what_may_have_happened),
        cmocka_unit_test(test_a_flush_comes_back_as_not_done),
        cmocka_unit_test(test_a_flush_is_sent_to_a_unit_that_is_not_known_to_have_a_cache),
        cmocka_unit_test(test_what_never_left_comes_back_as_not_done),
        cmocka_unit_test(test_a_request_in_pieces_comes_back_once),
        cmocka_unit_test(test_a_write_that_lost_its_flush_comes_back_as_not_done),
        cmocka_unit_test(test_zeroes_may_have_been_written),
        cmocka_unit_test(test_while_the_session_is_away_nothing_waits_for_it),
        cmocka_unit_test(test_what_waits_for_a_session_is_handed_back_when_that_is_switched_on),
        cmocka_unit_test(test_others_commands_are_kept),
        cmocka_unit_test(test_while_the_unit_is_looked_at_requests_wait),
        cmocka_unit_test(test_of_another_unit_requests_come_back_as_not_done),
        cmocka_unit_test(test_after_replacement_timeout_requests_are_handed_back_as_before),
        cmocka_unit_test(test_a_stop_hands_back_what_is_under_way),
        cmocka_unit_test(test_a_unit_that_is_given_up_ends_requests_with_what_was_asked_for),
        cmocka_unit_test(test_a_dropped_connection_is_one_that_broke),
        cmocka_unit_test(test_where_there_is_no_connection_none_is_dropped),
        cmocka_unit_test(test_a_unit_with_other_paths_is_not_reset_for_a_late_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
