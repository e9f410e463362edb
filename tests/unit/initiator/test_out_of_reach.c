/*
 * test_out_of_reach.c - a unit that INQUIRY says is there and cannot be reached through this port (peripheral qualifier 001b)
 */
#include "lun_rig.h"

static atomic_uint peripheral; /* byte 0 of INQUIRY data */
static atomic_bool nameless;   /* neither pages nor size are told meanwhile */
static atomic_uint attentions; /* so many reads or writes are told that INQUIRY data have changed */

static bool is_cmd(const struct fake_conn *c, uint8_t op)
{
    return c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->pdu.cmd.cdb[0] == op;
}

static bool port(struct fake_conn *c)
{
    uint8_t d[36] = { [0] = (uint8_t)peripheral, [2] = 6, [3] = 2, [4] = 31, [5] = c->f->tpgs };

    if (is_data(c) && attentions) {
        attentions--;
        fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x3f, 0x03);
        return true;
    }
    if (!peripheral)
        return false;
    if (is_cmd(c, SCSI_INQUIRY) && !(c->pdu.cmd.cdb[1] & 1)) {
        memcpy(d + 8, "CORELANEFAKE DISK       1.0 ", 28);
        fake_data(c, d, sizeof(d));
        return true;
    }
    if (is_cmd(c, SCSI_INQUIRY) && nameless) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
        return true;
    }
    if (is_cmd(c, SCSI_SERVICE_IN_16) || is_cmd(c, SCSI_TEST_UNIT_READY) || is_data(c)) {
        fake_sense(c, c->pdu.itt, SCSI_NOT_READY, 0x04, 0x0c);
        return true;
    }
    return false;
}

static void set(unsigned first, bool anonymous)
{
    nameless = anonymous;
    peripheral = first;
    attentions = 0;
}

static void open_it(struct rig *r, struct fake *f)
{
    fake_start(f, NULL);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    rig_start(r);
    assert_int_equal(ini_lun_open(r->s, 0, &r->lun, rig_opened, rig_event, r), 0);
    rig_until(r, r->opened);
}

/* The words are what an administrator reads: it is no matter of a wrong number. */
static void test_it_is_told_from_one_that_is_not_there(void **state)
{
    static const struct {
        uint8_t peripheral;
        bool nameless;
        int err;
    } cases[] = { { 0x20, false, -EAGAIN }, { 0x20, true, -EAGAIN },  { 0x3f, false, -ENODEV },
                  { 0x60, false, -ENODEV }, { 0x7f, false, -ENODEV }, { 0x1f, false, -ENODEV } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake f = { .tpgs = 0x10, .access = INI_ALUA_UNAVAILABLE, .hook = port };
        struct rig r;

        set(cases[i].peripheral, cases[i].nameless);
        open_it(&r, &f);
        assert_int_equal(r.err, cases[i].err);
        assert_int_equal(!!strstr(r.why, "cannot be reached through this port"), r.err == -EAGAIN);
        assert_int_equal(!!strstr(r.why, "there is no unit"), r.err == -ENODEV);
        assert_null(r.lun);
        end(&r, &f);
    }
}

/* One that says who it is stays what it was, and is used again as soon as the state allows that. */
static void test_an_open_one_keeps_its_name_and_size(void **state)
{
    struct fake f = { .tpgs = 0x10, .hook = port };
    struct rig r;

    (void)state;
    set(0, false);
    start(&r, &f);
    ini_lun_hand_back(r.lun, true);
    f.access = INI_ALUA_UNAVAILABLE;
    set(0x20, false);
    ini_sess_drop(r.s, "by the test");
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    assert_int_equal(ini_lun_alua(r.lun)->state, INI_ALUA_UNAVAILABLE);
    assert_int_equal(ini_lun_info(r.lun)->size, FAKE_BLOCKS * 512);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENOTCONN);
    f.access = INI_ALUA_OPTIMIZED;
    set(0, false);
    rig_until(&r, ini_lun_alua(r.lun)->state == INI_ALUA_OPTIMIZED);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    assert_int_equal(r.events[INI_LUN_GONE] + r.events[INI_LUN_CHANGED], 0);
    end(&r, &f);
}

/* One that does not gets nothing until it does. */
static void test_one_that_does_not_say_who_it_is_gets_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* with access states, and without */
        struct fake f = { .tpgs = i ? 0x10 : 0, .hook = port };
        struct rig r;

        set(0, false);
        start(&r, &f);
        ini_lun_hand_back(r.lun, true);
        f.access = INI_ALUA_UNAVAILABLE;
        set(0x20, true);
        attentions = 1;
        assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENOTCONN);
        assert_int_equal(ini_lun_alua(r.lun)->state, INI_ALUA_UNAVAILABLE);
        assert_int_equal(r.events[INI_LUN_ALUA], 1);
        assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN); /* at once */
        assert_int_equal(f.writes, 0);
        f.access = INI_ALUA_OPTIMIZED;
        set(0, false);
        rig_until(&r, ini_lun_alua(r.lun)->state == INI_ALUA_OPTIMIZED);
        assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
        assert_int_equal(r.events[INI_LUN_GONE] + r.events[INI_LUN_CHANGED], 0);
        end(&r, &f);
    }
}

static void test_another_that_comes_back_in_its_place_is_found_out(void **state)
{
    struct fake f = { .tpgs = 0x10, .hook = port };
    struct rig r;

    (void)state;
    set(0, false);
    start(&r, &f);
    ini_lun_hand_back(r.lun, true);
    f.access = INI_ALUA_UNAVAILABLE;
    set(0x20, true);
    attentions = 1;
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENOTCONN);
    strcpy(f.naa, "5001405ffffffff2");
    f.access = INI_ALUA_OPTIMIZED;
    set(0, false);
    rig_until(&r, r.events[INI_LUN_CHANGED]);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

/* Who has no other way waits for this one. */
static void test_where_it_is_the_only_way_requests_wait(void **state)
{
    struct fake f = { .tpgs = 0x10, .hook = port };
    struct rig r;

    (void)state;
    set(0, false);
    start(&r, &f);
    set(0x20, true);
    attentions = 1;
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    rig_until(&r, r.events[INI_LUN_ALUA]);
    assert_false(reqs[0].ended);
    set(0, false);
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, 0);
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    rig_until(&r, reqs[0].ended);
    set(0x20, true);
    attentions = 1;
    submit(&r, 0, INI_WRITE, 0, 512, 0);
    rig_until(&r, r.events[INI_LUN_ALUA] == 3);
    assert_false(reqs[0].ended);
    ini_lun_hand_back(r.lun, true);
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, -ENOTCONN);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_told_from_one_that_is_not_there),
        cmocka_unit_test(test_an_open_one_keeps_its_name_and_size),
        cmocka_unit_test(test_one_that_does_not_say_who_it_is_gets_nothing),
        cmocka_unit_test(test_another_that_comes_back_in_its_place_is_found_out),
        cmocka_unit_test(test_where_it_is_the_only_way_requests_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
