/*
 * test_away.c - targets that are away for longer than replacement_timeout, and come back
 */
#include "lun_rig.h"

static struct cmd cmds[2];
static atomic_bool serving;                 /* the target is back */

/* Hangs up on the first connection's first command, and on whoever connects until it is to be back. */
static void away_script(struct fake_conn *c)
{
    if (c->nr && serving)
        fake_default_script(c);
    else if (!c->nr && fake_login(c))
        (void)fake_recv(c);
}

static void away_sess_start(struct rig *r, struct fake *f, int32_t replacement_s, int32_t reopens)
{
    serving = false;
    fake_start(f, away_script);
    rig_init(r, f->port);
    r->conf.set.replacement_timeout_s = replacement_s;
    r->conf.set.reopen_max = reopens;
    rig_start(r);
    rig_until(r, r->ups == 1);
}

static void test_after_replacement_timeout_logins_go_on_until_one_succeeds(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    away_sess_start(&r, &f, 1, 0);
    cmd_write(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, -ETIMEDOUT);
    serving = true;
    rig_until(&r, r.ups == 2);
    cmd_write(&r, &cmds[1], 1, 1);
    rig_until(&r, cmds[1].ended);
    assert_int_equal(cmds[1].t.err, 0);
    assert_int_equal(f.writes, 1);          /* what was told to have failed is not sent after all */
    assert_int_equal(f.lba[0], 1);
    assert_int_equal(r.faults, 0);
    end(&r, &f);
}

static void test_reopen_max_is_the_end(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    away_sess_start(&r, &f, 0, 3);
    cmd_write(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, -ETIMEDOUT);
    assert_int_equal(r.faults, 0);          /* not at the first failure: then requests end, and no more */
    rig_until(&r, r.faults);
    assert_int_equal(f.conns, 4);
    end(&r, &f);
}
/* ---- units ---------------------------------------------------------------------------------------------- */

/* The first connection serves until it breaks at the first read or write. */
static bool break_once_and_swap(struct fake_conn *c)
{
    if (c->nr || !is_data(c))
        return false;
    if (c->f->arg)
        strcpy(c->f->naa, "5001405ffffffff2");
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void away_unit_script(struct fake_conn *c)
{
    if (!c->nr || serving)
        fake_default_script(c);
}

static void away_start(struct rig *r, struct fake *f)
{
    serving = false;
    fake_start(f, away_unit_script);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    r->conf.set.replacement_timeout_s = 1;
    rig_start(r);
    rig_open(r);
}

static void test_after_replacement_timeout_the_same_unit_serves_again(void **state)
{
    struct fake f = { .hook = break_once_and_swap };
    struct rig r;

    (void)state;
    away_start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 512 * i, 512, 0);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, -ETIMEDOUT);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ETIMEDOUT);
    assert_int_equal(r.events[INI_LUN_GONE], 1);
    serving = true;
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(f.writes + f.reads, 0); /* nothing that had failed is sent after all */
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), 0);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

static void test_after_replacement_timeout_another_unit_gets_nothing(void **state)
{
    struct fake f = { .hook = break_once_and_swap, .arg = &f };
    struct rig r;

    (void)state;
    away_start(&r, &f);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ETIMEDOUT);
    serving = true;
    rig_until(&r, r.events[INI_LUN_CHANGED]);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENODEV);
    assert_int_equal(f.writes + f.reads, 0);
    assert_int_equal(r.events[INI_LUN_RESUMED], 0);
    end(&r, &f);
}

/* A unit that is asked for meanwhile is refused at once, with the reason, and can be had later. */
static void test_no_unit_is_opened_on_a_session_that_is_away_for_long(void **state)
{
    struct fake f = { .hook = break_once_and_swap };
    struct ini_lun *other = NULL, *mine;
    struct rig r;

    (void)state;
    away_start(&r, &f);
    mine = r.lun;
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ETIMEDOUT);
    r.opened = 0;
    assert_int_equal(ini_lun_open(r.s, 1, &other, rig_opened, rig_event, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, -ETIMEDOUT);
    assert_null(other);
    serving = true;
    rig_until(&r, r.ups == 2);
    r.opened = 0;
    assert_int_equal(ini_lun_open(r.s, 1, &other, rig_opened, rig_event, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, 0);
    ini_lun_close(other);
    assert_ptr_equal(r.lun, mine);
    end(&r, &f);
}

/* Given up meanwhile: the session's return does not bring it back. */
static void test_a_unit_given_up_meanwhile_stays_so(void **state)
{
    struct fake f = { .hook = break_once_and_swap };
    struct rig r;

    (void)state;
    away_start(&r, &f);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ETIMEDOUT);
    ini_lun_abandon(r.lun, -EIO);
    serving = true;
    rig_until(&r, r.ups == 2);
    rig_for(&r, 100);
    assert_true(run(&r, INI_WRITE, 0, 512, 0) < 0);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_replacement_timeout_logins_go_on_until_one_succeeds),
        cmocka_unit_test(test_reopen_max_is_the_end),
        cmocka_unit_test(test_after_replacement_timeout_the_same_unit_serves_again),
        cmocka_unit_test(test_after_replacement_timeout_another_unit_gets_nothing),
        cmocka_unit_test(test_no_unit_is_opened_on_a_session_that_is_away_for_long),
        cmocka_unit_test(test_a_unit_given_up_meanwhile_stays_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
