/*
 * test_giveup.c - units that are given up, and other ways to the end of a wait that nobody would end
 */
#include "lun_rig.h"

/* Deaf to whatever asks for data of unit 0, on the first connection. */
static bool deaf_to_unit_0(struct fake_conn *c)
{
    return c->nr == 0 && is_data(c) && c->pdu.lun == 0;
}

static void two_units(struct rig *r, struct ini_lun **other)
{
    struct ini_lun *first = r->lun;

    r->opened = false;
    assert_int_equal(ini_lun_open(r->s, 1, &r->lun, rig_opened, NULL, r), 0);
    rig_until(r, r->opened);
    *other = r->lun;
    r->lun = first;
}

static void test_a_unit_is_given_up_without_its_target_and_its_neighbour_stays(void **state)
{
    struct fake f = { .hook = deaf_to_unit_0 };
    struct rig r;
    struct ini_lun *other, *first;

    (void)state;
    start(&r, &f);
    two_units(&r, &other);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, i % 2 ? INI_WRITE : INI_READ, 4096 * i, 4096, 0);
    rig_for(&r, 50);
    ini_lun_abandon(r.lun, -EIO);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, -EIO);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -EIO);
    rig_until(&r, f.set_aborts == 1);       /* so that none is carried out later */
    first = r.lun;
    r.lun = other;
    assert_int_equal(run(&r, INI_READ, 0, 4096, 0), 0);
    assert_int_equal(r.downs, 0);
    assert_int_equal(r.events[INI_LUN_GONE], 0);
    ini_lun_close(first);
    r.opened = false;                       /* the target has aborted them: open again without more ado */
    assert_int_equal(ini_lun_open(r.s, 0, &first, rig_opened, NULL, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.downs, 0);
    ini_lun_close(first);
    end(&r, &f);
}

static bool deaf_and_no_abort(struct fake_conn *c)
{
    if (c->nr == 0 && c->pdu.opcode == ISCSI_OP_TMF) {
        fake_tmf(c, ISCSI_TMF_NOT_SUPPORTED);
        return true;
    }
    return deaf_to_unit_0(c);
}

/* The target keeps the commands: before the unit is used again a new login ends them. */
static void test_ghosts_of_a_unit_are_gone_before_it_is_used_again(void **state)
{
    struct fake f = { .hook = deaf_and_no_abort };
    struct rig r;

    (void)state;
    start(&r, &f);
    submit(&r, 0, INI_WRITE, 0, 4096, 0);
    rig_for(&r, 50);
    ini_lun_abandon(r.lun, -ENODEV);
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, -ENODEV);
    rig_for(&r, 100);
    ini_lun_close(r.lun);
    assert_int_equal(f.conns, 1);
    r.opened = false;
    assert_int_equal(ini_lun_open(r.s, 0, &r.lun, rig_opened, rig_event, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, 0);
    assert_int_equal(f.conns, 2);
    assert_int_equal(run(&r, INI_WRITE, 0, 4096, 0), 0);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

/* Reads nothing any more: what is on its way cannot be let go of, until the connection is given up. */
static void plugged_script(struct fake_conn *c)
{
    if (!fake_login(c))
        return;
    while (fake_recv(c)) {
        if (c->nr == 0 && is_data(c)) {
            while (!c->f->stop && !c->f->arg)
                usleep(10000);
            return;
        }
        if (!fake_answer(c))
            return;
    }
}

static void test_memory_that_a_dead_connection_holds_comes_back(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, plugged_script);
    rig_init(&r, f.port);
    r.conf.set.noop_interval_s = 0;
    r.conf.set.replacement_timeout_s = -1;
    rig_start(&r);
    rig_open(&r);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 0, 2u << 20, 0);
    rig_for(&r, 300);
    ini_lun_abandon(r.lun, -EIO);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_true(reqs[i].res == -EIO || reqs[i].res == -ENODEV);
    f.arg = &f;
    end(&r, &f);
}

static void once_up_script(struct fake_conn *c)
{
    if (c->nr == 0 && fake_login(c))
        fake_serve(c);
}

static bool hang_up(struct fake_conn *c)
{
    if (!is_data(c))
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void never_back(struct rig *r, struct fake *f)
{
    fake_start(f, once_up_script);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    r->conf.set.replacement_timeout_s = -1;
    rig_start(r);
    rig_open(r);
}

static void test_in_recovery_a_unit_is_given_up_at_once(void **state)
{
    struct fake f = { .hook = hang_up };
    struct rig r;

    (void)state;
    never_back(&r, &f);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 512 * i, i % 2 ? 512 : 3u << 19, 0);
    rig_until(&r, r.downs == 1);
    rig_for(&r, 50);
    ini_lun_abandon(r.lun, -EIO);
    rig_for(&r, 300);                       /* less than the second that a live connection gets */
    for (unsigned i = 0; i < N; i++) {
        assert_true(reqs[i].ended);
        assert_true(reqs[i].res == -EIO || reqs[i].res == -ENODEV);
    }
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -EIO);
    end(&r, &f);
}

/* The session is stopped while it is away: requests and an open that wait for it end. */
static void test_a_stop_in_recovery_ends_what_waits_for_the_session(void **state)
{
    struct fake f = { .hook = hang_up };
    struct rig r;
    struct ini_lun *late = NULL;

    (void)state;
    never_back(&r, &f);
    for (unsigned i = 2; i < N - 1; i++)
        submit(&r, i, INI_ZERO, 512 * i, 3u << 19, 0);
    submit(&r, N - 1, INI_WRITE, 0, 512, 0);
    rig_until(&r, r.downs == 1);
    r.opened = false;
    assert_int_equal(ini_lun_open(r.s, 1, &late, rig_opened, NULL, &r), 0);
    rig_for(&r, 50);
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    submit(&r, 1, INI_READ, 0, 512, 0);
    ini_sess_stop(r.s, true, rig_stopped, &r);
    rig_until(&r, r.stops);
    rig_until(&r, r.opened);
    assert_true(r.err < 0);
    assert_null(late);
    assert_int_equal(r.events[INI_LUN_GONE], 1);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    assert_true(reqs[0].res < 0 && reqs[1].res < 0 && reqs[N - 1].res < 0);
    ini_lun_close(r.lun);
    r.lun = NULL;
    ini_sess_free(r.s);
    r.s = NULL;
    end(&r, &f);
}

/* Zeroes go out chunk by chunk; between two the unit goes. */
static bool gone_after_two(struct fake_conn *c)
{
    if (!is_data(c))
        return false;
    if (c->pdu.cmd.cdb[0] == SCSI_READ_10) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x25, 0);
        return true;
    }
    usleep(30000);
    return false;
}

static void test_zeroes_half_written_end_with_their_unit(void **state)
{
    struct fake f = { .hook = gone_after_two, .no_write_same = true };
    struct rig r;

    (void)state;
    start(&r, &f);
    submit(&r, 0, INI_ZERO, 0, 2u << 20, INI_FUA);
    rig_until(&r, f.writes >= 1);
    submit(&r, 1, INI_READ, 0, 512, 0);
    rig_until(&r, reqs[0].ended && reqs[1].ended);
    assert_int_equal(reqs[0].res, -ENODEV);
    assert_int_equal(reqs[1].res, -ENODEV);
    end(&r, &f);
}

static bool becoming_ready(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_NOT_READY, 0x04, 0x01);
    return true;
}

static void luns_told(void *user, int err, const uint16_t *luns, unsigned nr)
{
    (void)luns;
    assert_true(err < 0 && !nr);
    (*(unsigned *)user)++;
}

/* What waits to ask once more is told as well, and looks at no session that is gone. */
static void test_a_stop_ends_what_waits_to_ask_again(void **state)
{
    struct fake f = { .hook = becoming_ready };
    struct rig r;
    struct ini_lun *l = NULL;
    unsigned told = 0;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    assert_int_equal(ini_lun_open(r.s, 0, &l, rig_opened, NULL, &r), 0);
    ini_report_luns(r.s, luns_told, &told);
    rig_for(&r, 200);
    ini_sess_stop(r.s, false, rig_stopped, &r);
    rig_until(&r, r.stops);
    assert_true(r.opened);
    assert_true(r.err < 0);
    assert_int_equal(told, 1);
    ini_sess_free(r.s);
    r.s = NULL;
    rig_for(&r, 600);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_unit_is_given_up_without_its_target_and_its_neighbour_stays),
        cmocka_unit_test(test_ghosts_of_a_unit_are_gone_before_it_is_used_again),
        cmocka_unit_test(test_memory_that_a_dead_connection_holds_comes_back),
        cmocka_unit_test(test_in_recovery_a_unit_is_given_up_at_once),
        cmocka_unit_test(test_a_stop_in_recovery_ends_what_waits_for_the_session),
        cmocka_unit_test(test_zeroes_half_written_end_with_their_unit),
        cmocka_unit_test(test_a_stop_ends_what_waits_to_ask_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
