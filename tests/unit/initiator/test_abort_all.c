/*
 * test_abort_all.c - another session reset the unit: what this one had there is ended and sent again
 */
#include "lun_rig.h"

static atomic_bool deaf; /* to reads and writes */
static atomic_bool deaf_to_tmf;
static atomic_uint tmf_answer; /* what task management is answered with; 0: done */
static atomic_uint waiting;    /* requests it was deaf to */

static bool hook(struct fake_conn *c)
{
    if (deaf && is_data(c) && c->nr == 0) {
        waiting++;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_TMF || c->nr)
        return false;
    if (deaf_to_tmf) {
        waiting++;
        return true;
    }
    if (!tmf_answer)
        return false;
    fake_tmf(c, (uint8_t)tmf_answer);
    return true;
}

struct told {
    unsigned nr;
    int err;
};

static void aborted(void *user, int err)
{
    struct told *t = user;

    t->nr++;
    t->err = err;
}

static void abort_start(struct rig *r, struct fake *f, int32_t abort_timeout_s)
{
    deaf = true;
    deaf_to_tmf = false;
    tmf_answer = waiting = 0;
    f->hook = hook;
    fake_start(f, NULL);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    r->conf.set.abort_timeout_s = abort_timeout_s;
    rig_start(r);
    rig_open(r);
}

static void four_wait(struct rig *r)
{
    for (unsigned i = 0; i < 4; i++)
        submit(r, i, i % 2 ? INI_WRITE : INI_READ, 4096 * i, 4096, 0);
    rig_until(r, waiting == 4);
}

static void four_end(struct rig *r)
{
    for (unsigned i = 0; i < 4; i++)
        rig_until(r, reqs[i].ended);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(reqs[i].res, 0);
}

static void test_what_the_unit_has_forgotten_is_sent_again(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 };
    struct ini_sess_info info;
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    four_wait(&r);
    deaf = false;
    ini_lun_abort_all(r.lun, aborted, &t);
    assert_int_equal(t.nr, 0);
    rig_until(&r, t.nr == 1);
    assert_int_equal(t.err, 0);
    four_end(&r);
    assert_int_equal(f.set_aborts, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(f.lba[i], 8 * i); /* in their old order */
    ini_sess_info(r.s, &info);
    assert_int_equal(info.reconnects, 0);
    end(&r, &f);
}

static void test_other_units_are_left_alone(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 };
    struct ini_lun *other = NULL;
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    r.opened = false;
    assert_int_equal(ini_lun_open(r.s, 1, &other, rig_opened, NULL, &r), 0);
    rig_until(&r, r.opened);
    four_wait(&r);
    ini_lun_abort_all(other, aborted, &t);
    rig_until(&r, t.nr == 1);
    assert_int_equal(t.err, 0);
    rig_for(&r, 50);
    assert_int_equal(waiting, 4); /* none of them came a second time */
    deaf = false;
    ini_lun_abort_all(r.lun, aborted, &t);
    four_end(&r);
    ini_lun_close(other);
    end(&r, &f);
}

/* Then a new login ends them. */
static void test_a_target_that_does_not_abort_loses_the_connection(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 };
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    four_wait(&r);
    tmf_answer = ISCSI_TMF_NOT_SUPPORTED;
    ini_lun_abort_all(r.lun, aborted, &t);
    rig_until(&r, t.nr == 1);
    assert_true(t.err < 0);
    assert_int_equal(r.downs, 1);
    four_end(&r);
    assert_int_equal(r.ups, 2);
    end(&r, &f);
}

static void test_one_that_does_not_answer_loses_it_too(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 };
    struct rig r;

    (void)state;
    abort_start(&r, &f, 1);
    four_wait(&r);
    deaf_to_tmf = true;
    ini_lun_abort_all(r.lun, aborted, &t);
    rig_until(&r, t.nr == 1);
    assert_int_equal(t.err, -ECONNRESET);
    assert_int_equal(r.downs, 1);
    four_end(&r);
    end(&r, &f);
}

static void reset_told(void *user, int resp, int err)
{
    (void)resp;
    aborted(user, err);
}

/* One task management request at a time: it waits for its turn, however the one before ends. */
static void test_it_waits_for_what_else_the_target_is_asked(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 }, reset = { 0 };
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    deaf = false;
    ini_lun_reset(r.s, 5, reset_told, &reset);
    ini_lun_abort_all(r.lun, aborted, &t);
    rig_until(&r, t.nr == 1);
    assert_int_equal(reset.nr, 1);
    assert_int_equal(t.err, 0);
    assert_int_equal(f.resets, 1);
    assert_int_equal(f.set_aborts, 1);
    end(&r, &f);
}

static void test_who_waits_when_the_connection_breaks_is_told(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 }, reset = { 0 };
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    deaf_to_tmf = true;
    ini_lun_reset(r.s, 5, reset_told, &reset);
    ini_lun_abort_all(r.lun, aborted, &t);
    rig_until(&r, waiting == 1);
    ini_sess_drop(r.s, "by the test");
    rig_until(&r, t.nr == 1 && reset.nr == 1);
    assert_int_equal(t.err, -ECONNRESET);
    rig_until(&r, r.ups == 2);
    assert_int_equal(f.set_aborts, 0); /* there is nothing to abort any more */
    end(&r, &f);
}

static void test_one_at_a_time_and_only_with_a_session(void **state)
{
    struct fake f = { 0 };
    struct told t = { 0 }, second = { 0 };
    struct rig r;

    (void)state;
    abort_start(&r, &f, 30);
    deaf_to_tmf = true;
    ini_lun_abort_all(r.lun, aborted, &t);
    ini_lun_abort_all(r.lun, aborted, &second);
    assert_int_equal(second.err, -EBUSY);
    ini_sess_drop(r.s, "by the test");
    rig_until(&r, t.nr == 1);
    ini_lun_abort_all(r.lun, aborted, &second);
    assert_int_equal(second.err, -ENOTCONN);
    assert_int_equal(second.nr, 2);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_unit_has_forgotten_is_sent_again),
        cmocka_unit_test(test_other_units_are_left_alone),
        cmocka_unit_test(test_a_target_that_does_not_abort_loses_the_connection),
        cmocka_unit_test(test_one_that_does_not_answer_loses_it_too),
        cmocka_unit_test(test_it_waits_for_what_else_the_target_is_asked),
        cmocka_unit_test(test_who_waits_when_the_connection_breaks_is_told),
        cmocka_unit_test(test_one_at_a_time_and_only_with_a_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
