/*
 * test_alua.c - asymmetric access: what is read of it, when it is read again, and how it is asked to change
 */
#include "lun_rig.h"

#define IMPLICIT 0x10
#define EXPLICIT 0x20

static atomic_uint sense_next;      /* asc and ascq of what the next reads or writes meet; 0: nothing */
static atomic_uint sense_nr;        /* how many of them */
static atomic_bool sense_attention; /* a unit attention, else NOT READY */

static bool meets_sense(struct fake_conn *c)
{
    if (!is_data(c) || !sense_nr)
        return false;
    sense_nr--;
    fake_sense(c, c->pdu.itt, sense_attention ? SCSI_UNIT_ATTENTION : SCSI_NOT_READY,
               (uint8_t)(sense_next >> 8), (uint8_t)sense_next);
    return true;
}

static void meet(bool attention, unsigned code, unsigned nr)
{
    sense_attention = attention;
    sense_next = code;
    sense_nr = nr;
}

static void alua_is(const struct rig *r, uint8_t state, bool preferred)
{
    const struct ini_alua *a = ini_lun_alua(r->lun);

    assert_int_equal(a->state, state);
    assert_int_equal(a->preferred, preferred);
    assert_int_equal(a->group, 3);
    assert_int_equal(a->port, 9);
}

/* ---- when the unit is opened ---------------------------------------------------------------------------- */

static void test_a_unit_without_groups_is_not_asked_for_them(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_false(ini_lun_alua(r.lun)->is_implicit);
    assert_false(ini_lun_alua(r.lun)->is_explicit);
    assert_int_equal(ini_lun_alua(r.lun)->state, INI_ALUA_OPTIMIZED);
    assert_int_equal(f.group_reads, 0);
    end(&r, &f);
}

static void test_the_state_is_known_when_the_unit_is(void **state)
{
    static const uint8_t states[] = { 0, 1, 2, 3, 4, 14, 15 };

    (void)state;
    for (size_t i = 0; i < sizeof(states); i++) {
        struct fake f = { .tpgs = i % 2 ? IMPLICIT : IMPLICIT | EXPLICIT,
                          .access = states[i] | (i % 3 ? 0 : 0x80) };
        struct rig r;

        start(&r, &f);
        alua_is(&r, states[i], !(i % 3));
        assert_true(ini_lun_alua(r.lun)->is_implicit);
        assert_int_equal(ini_lun_alua(r.lun)->is_explicit, !(i % 2));
        assert_int_equal(f.group_reads, 1);
        assert_int_equal(r.events[INI_LUN_ALUA], 0);
        end(&r, &f);
    }
}

static bool no_groups(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_MAINTENANCE_IN)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    return true;
}

static void test_a_unit_that_promises_groups_and_has_none_is_used_all_the_same(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = no_groups };
    struct rig r;

    (void)state;
    start(&r, &f);
    alua_is(&r, INI_ALUA_OPTIMIZED, false);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    end(&r, &f);
}

/* A port in standby refuses to say whether it is ready, and no more; one that is unavailable does not tell the size. */
static bool not_ready(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || (c->f->access & 0xf) < 2)
        return false;
    switch (c->pdu.cmd.cdb[0]) {
    case SCSI_SERVICE_IN_16:
    case SCSI_READ_CAPACITY_10:
        if ((c->f->access & 0xf) == INI_ALUA_STANDBY)
            return false;
        break;
    case SCSI_TEST_UNIT_READY:
    case SCSI_READ_10:
    case SCSI_WRITE_10: break;
    default: return false;
    }
    fake_sense(c, c->pdu.itt, SCSI_NOT_READY, 0x04, (c->f->access & 0xf) == INI_ALUA_STANDBY ? 0x0b : 0x0c);
    return true;
}

static void test_a_unit_in_standby_can_be_opened(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .access = INI_ALUA_STANDBY, .hook = not_ready };
    struct rig r;

    (void)state;
    start(&r, &f);
    alua_is(&r, INI_ALUA_STANDBY, false);
    assert_int_equal(ini_lun_info(r.lun)->size, FAKE_BLOCKS * 512);
    end(&r, &f);
}

static void test_a_unit_whose_size_cannot_be_had_is_not_opened(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .access = INI_ALUA_UNAVAILABLE, .hook = not_ready };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    rig_start(&r);
    assert_int_equal(ini_lun_open(r.s, 0, &r.lun, rig_opened, rig_event, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, -EAGAIN);
    assert_null(r.lun);
    end(&r, &f);
}

/* ---- when it changes ------------------------------------------------------------------------------------ */

static void test_a_unit_attention_has_it_read_again(void **state)
{
    static const unsigned codes[] = { 0x2a06, 0x2a07 };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct fake f = { .tpgs = IMPLICIT, .hook = meets_sense };
        struct rig r;

        start(&r, &f);
        f.access = INI_ALUA_NON_OPTIMIZED | 0x80;
        meet(true, codes[i], 1);
        assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
        rig_until(&r, r.events[INI_LUN_ALUA] == 1);
        alua_is(&r, INI_ALUA_NON_OPTIMIZED, true);
        assert_int_equal(f.readies, 1); /* the unit is what it was: it is not looked over again */
        assert_int_equal(f.group_reads, 2);
        end(&r, &f);
    }
}

static void test_no_event_when_it_is_what_it_was(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = meets_sense };
    struct rig r;

    (void)state;
    start(&r, &f);
    meet(true, 0x2a06, 1);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    rig_until(&r, f.group_reads == 2);
    rig_for(&r, 50);
    assert_int_equal(r.events[INI_LUN_ALUA], 0);
    end(&r, &f);
}

static bool tells_by_itself(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED, .async.event = ISCSI_ASYNC_SCSI
    };
    const struct scsi_sense s = SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x2a, 0x06);
    uint8_t data[34] = { 0 };
    uint32_t n;

    if (is_data(c)) {
        c->f->access = INI_ALUA_STANDBY;
        n = scsi_sense_encode(data + 2, &s, false);
        store_be16(data, (uint16_t)n);
        fake_send(c, p, data, n + 2);
    }
    return false;
}

static void test_an_event_of_the_targets_has_it_read_again(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = tells_by_itself };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), 0);
    rig_until(&r, r.events[INI_LUN_ALUA] == 1);
    alua_is(&r, INI_ALUA_STANDBY, false);
    end(&r, &f);
}

/* A path that is not used hears of nothing: where there are others it is asked now and then. */
static void test_where_requests_are_handed_back_it_is_followed(void **state)
{
    struct fake f = { .tpgs = IMPLICIT };
    struct rig r;

    (void)state;
    start(&r, &f);
    ini_lun_hand_back(r.lun, true);
    f.access = INI_ALUA_TRANSITIONING;
    rig_until(&r, r.events[INI_LUN_ALUA] == 1);
    alua_is(&r, INI_ALUA_TRANSITIONING, false);
    f.access = INI_ALUA_NON_OPTIMIZED;
    rig_until(&r, r.events[INI_LUN_ALUA] == 2);
    alua_is(&r, INI_ALUA_NON_OPTIMIZED, false);
    end(&r, &f);
}

static atomic_bool swapped;

static bool another_unit_answers(struct fake_conn *c)
{
    if (!swapped || c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_MAINTENANCE_IN)
        return false;
    swapped = false;
    strcpy(c->f->naa, "5001405ffffffff2");
    fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x3f, 0x0e);
    return true;
}

/* The attention that tells of another unit is told once: who meets it must not keep it to himself. */
static void test_an_attention_that_asking_meets_is_not_lost(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = another_unit_answers };
    struct rig r;

    (void)state;
    start(&r, &f);
    ini_lun_hand_back(r.lun, true);
    swapped = true;
    rig_until(&r, r.events[INI_LUN_CHANGED]);
    assert_true(run(&r, INI_WRITE, 0, 512, 0) < 0);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

static void test_requests_meet_a_port_that_is_out_of_reach(void **state)
{
    static const unsigned codes[] = { 0x040b, 0x040c, 0x0412 };

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct fake f = { .tpgs = IMPLICIT, .hook = meets_sense };
        struct rig r;

        start(&r, &f);
        ini_lun_hand_back(r.lun, i % 2);
        f.access = INI_ALUA_UNAVAILABLE;
        meet(false, codes[i / 2], 2);
        assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), i % 2 ? -ENOTCONN : -EIO);
        assert_int_equal(run(&r, INI_READ, 0, 512, 0), i % 2 ? -ENOTCONN : -EIO);
        rig_until(&r, r.events[INI_LUN_ALUA] == 1);
        alua_is(&r, INI_ALUA_UNAVAILABLE, false);
        end(&r, &f);
    }
}

static void test_requests_wait_for_the_end_of_a_transition(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = meets_sense };
    struct rig r;

    (void)state;
    start(&r, &f);
    ini_lun_hand_back(r.lun, true);
    f.access = INI_ALUA_TRANSITIONING;
    meet(false, 0x040a, 3);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    rig_until(&r, r.events[INI_LUN_ALUA] == 1);
    assert_true(f.group_reads >= 2);
    end(&r, &f);
}

static atomic_bool closed; /* nobody is let in */

static void closed_script(struct fake_conn *c)
{
    if (!closed)
        fake_default_script(c);
}

/* It comes back on a port that does not tell the size: it is the unit that it was, by its name, and has the size it had. */
static void test_a_unit_may_come_back_out_of_reach(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = not_ready };
    struct rig r;

    (void)state;
    closed = false;
    fake_start(&f, closed_script);
    rig_init(&r, f.port);
    r.conf.set.noop_interval_s = 0;
    rig_start(&r);
    rig_open(&r);
    ini_lun_hand_back(r.lun, true);
    f.access = INI_ALUA_UNAVAILABLE;
    ini_sess_drop(r.s, "by the test");
    rig_until(&r, r.events[INI_LUN_RESUMED]);
    alua_is(&r, INI_ALUA_UNAVAILABLE, false);
    assert_int_equal(ini_lun_info(r.lun)->size, FAKE_BLOCKS * 512);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENOTCONN);
    f.access = INI_ALUA_OPTIMIZED;
    rig_until(&r, r.events[INI_LUN_ALUA] == 2);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), 0);
    f.access = INI_ALUA_UNAVAILABLE;
    closed = true;
    ini_sess_drop(r.s, "by the test");
    strcpy(f.naa, "5001405ffffffff2");
    closed = false;
    rig_until(&r, r.events[INI_LUN_CHANGED]);
    end(&r, &f);
}

/* ---- what cannot be read -------------------------------------------------------------------------------- */

static atomic_uint lie; /* which of the answers below */

static const struct {
    uint8_t data[16];
    uint32_t len;
} lies[] = {
    { { 0 }, 0 },
    { { 0 }, 3 },
    { { 0, 0, 0, 0 }, 4 },
    { { 0xff, 0xff, 0xff, 0xff }, 4 },
    { { 0, 0, 0, 8, 2, 0, 0, 4, 0, 0, 0, 0 }, 12 }, /* another group */
    { { 0, 0, 0, 8, 7, 0, 0, 3, 0, 0, 0, 0 }, 12 }, /* a state that there is not */
    { { 0, 0, 0, 8, 2, 0, 0, 3, 0, 0, 0, 0 }, 11 },
    { { 0, 0, 0, 8, 2, 0, 0, 9, 0, 0, 0, 255, 0, 0, 0, 9 }, 16 },
};

static bool lies_hook(struct fake_conn *c)
{
    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->pdu.cmd.cdb[0] == SCSI_MAINTENANCE_IN && lie) {
        const unsigned i = lie - 1;

        c->f->group_reads++;
        if (i == sizeof(lies) / sizeof(lies[0]))
            fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
        else
            fake_data(c, lies[i].data, lies[i].len);
        return true;
    }
    return meets_sense(c);
}

static void test_what_cannot_be_read_leaves_what_was_known(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .access = INI_ALUA_NON_OPTIMIZED | 0x80, .hook = lies_hook };
    struct rig r;

    (void)state;
    lie = 0;
    start(&r, &f);
    for (unsigned i = 0; i <= sizeof(lies) / sizeof(lies[0]); i++) {
        lie = i + 1;
        meet(true, 0x2a06, 1);
        assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
        rig_until(&r, f.group_reads == i + 2);
        rig_for(&r, 20);
        alua_is(&r, INI_ALUA_NON_OPTIMIZED, true);
    }
    assert_int_equal(r.events[INI_LUN_ALUA], 0);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

/* One that is not answered when the unit is closed, or its session stopped, keeps nobody. */
static bool mute(struct fake_conn *c)
{
    return meets_sense(c) || (c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->f->group_reads &&
                              (c->pdu.cmd.cdb[0] & 0xfe) == 0xa2 && ++c->f->group_reads);
}

static void test_a_unit_is_closed_while_it_is_read(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .hook = mute };
    struct rig r;

    (void)state;
    start(&r, &f);
    meet(true, 0x2a06, 1);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    rig_until(&r, f.group_reads == 2);
    end(&r, &f);
}

/* ---- asking for it -------------------------------------------------------------------------------------- */

struct asked {
    unsigned told;
    int err;
};

static void asked_done(void *user, int err)
{
    struct asked *a = user;

    a->told++;
    a->err = err;
}

static int activate(struct rig *r)
{
    struct asked a = { 0 };

    ini_lun_activate(r->lun, asked_done, &a);
    rig_until(r, a.told);
    return a.err;
}

static void test_a_unit_can_be_activated(void **state)
{
    struct fake f = { .tpgs = EXPLICIT, .access = INI_ALUA_STANDBY, .hook = not_ready };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(activate(&r), 0);
    alua_is(&r, INI_ALUA_OPTIMIZED, false); /* by then it is known */
    assert_int_equal(r.events[INI_LUN_ALUA], 1);
    assert_int_equal(f.group_sets, 1);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    end(&r, &f);
}

static void test_one_without_explicit_access_is_not_asked(void **state)
{
    struct fake f = { .tpgs = IMPLICIT, .access = INI_ALUA_STANDBY };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(activate(&r), -EOPNOTSUPP);
    assert_int_equal(f.group_sets, 0);
    end(&r, &f);
}

static bool refuses_to_set(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_MAINTENANCE_OUT)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_HARDWARE_ERROR, 0x67, 0x0a); /* set target port groups command failed */
    return true;
}

static void test_a_refusal_is_said_so(void **state)
{
    struct fake f = { .tpgs = EXPLICIT, .access = INI_ALUA_STANDBY, .hook = refuses_to_set };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(activate(&r), -EIO);
    alua_is(&r, INI_ALUA_STANDBY, false);
    assert_int_equal(activate(&r), -EIO); /* and it can be tried again */
    end(&r, &f);
}

static bool no_answer_to_set(struct fake_conn *c)
{
    return c->pdu.opcode == ISCSI_OP_SCSI_CMD && c->pdu.cmd.cdb[0] == SCSI_MAINTENANCE_OUT && ++c->f->group_sets;
}

static void test_one_at_a_time_and_only_with_a_session(void **state)
{
    struct fake f = { .tpgs = EXPLICIT, .access = INI_ALUA_STANDBY, .hook = no_answer_to_set };
    struct asked first = { 0 };
    struct rig r;

    (void)state;
    start(&r, &f);
    ini_lun_activate(r.lun, asked_done, &first);
    rig_until(&r, f.group_sets == 1);
    assert_int_equal(activate(&r), -EBUSY);
    ini_sess_drop(r.s, "by the test");
    assert_int_equal(activate(&r), -ENOTCONN);
    rig_until(&r, first.told == 1);
    assert_true(first.err < 0);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_unit_without_groups_is_not_asked_for_them),
        cmocka_unit_test(test_the_state_is_known_when_the_unit_is),
        cmocka_unit_test(test_a_unit_that_promises_groups_and_has_none_is_used_all_the_same),
        cmocka_unit_test(test_a_unit_in_standby_can_be_opened),
        cmocka_unit_test(test_a_unit_whose_size_cannot_be_had_is_not_opened),
        cmocka_unit_test(test_a_unit_attention_has_it_read_again),
        cmocka_unit_test(test_no_event_when_it_is_what_it_was),
        cmocka_unit_test(test_an_event_of_the_targets_has_it_read_again),
        cmocka_unit_test(test_where_requests_are_handed_back_it_is_followed),
        cmocka_unit_test(test_an_attention_that_asking_meets_is_not_lost),
        cmocka_unit_test(test_requests_meet_a_port_that_is_out_of_reach),
        cmocka_unit_test(test_requests_wait_for_the_end_of_a_transition),
        cmocka_unit_test(test_a_unit_may_come_back_out_of_reach),
        cmocka_unit_test(test_what_cannot_be_read_leaves_what_was_known),
        cmocka_unit_test(test_a_unit_is_closed_while_it_is_read),
        cmocka_unit_test(test_a_unit_can_be_activated),
        cmocka_unit_test(test_one_without_explicit_access_is_not_asked),
        cmocka_unit_test(test_a_refusal_is_said_so),
        cmocka_unit_test(test_one_at_a_time_and_only_with_a_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
