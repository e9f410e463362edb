/*
 * test_case_reject.c - Rejects of every reason and for everything that an initiator sends (RFC 7143 7.3, 11.17)
 */
#include "case.h"

static bool reject(struct fake_conn *c, uint8_t reason)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    p.reject.reason = reason;
    return fake_send(c, p, c->bhs, sizeof(c->bhs));
}

/* ---- the number of a rejected command ------------------------------------------------------------------- */

/* By the book (7.3): what was rejected was not received, and nothing after it is looked at until something with
 * its number comes. x->which: 1 counts it all the same, as some targets do; 2 does not answer what fills the gap;
 * 3 rejects a whole row of them. */
static bool strict(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->pdu.opcode == ISCSI_OP_NOP_OUT && !c->pdu.immediate) {
        if (x->which == 1 || c->pdu.itt == ISCSI_TAG_RESERVED || c->pdu.ttt != ISCSI_TAG_RESERVED || c->len)
            x->faults++;
        x->seen++;
        return x->which == 2;
    }
    if (!is_cmd(c))
        return false;
    if (x->sent < (x->which == 3 ? 4 : 1)) {
        if (x->which != 1)
            c->exp_cmd_sn = c->pdu.cmd_sn - x->sent;
        x->sent++;
        reject(c, ISCSI_REJECT_PROTOCOL_ERROR);
        return true;
    }
    /* Behind a gap: nothing. fake_recv() has counted it when it was the next. */
    return iscsi_sn_le(c->exp_cmd_sn, c->pdu.cmd_sn);
}

static void gap(uintptr_t which, unsigned nr)
{
    struct scene x;

    scene_init(&x, NULL, strict);
    x.which = which;
    scene_go(&x);
    for (unsigned i = 0; i < nr; i++)
        cmd_read(&x.r, &x.c[i], i, 1);
    for (unsigned i = 0; i < nr; i++) {
        rig_until(&x.r, x.c[i].ended);
        assert_int_equal(x.c[i].t.err, -EPROTO);
    }
    if (which != 1)
        rig_until(&x.r, x.seen == nr);
    still_works(&x, 1);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

static void test_the_number_of_a_rejected_command_is_filled_in(void **state)
{
    (void)state;
    gap(0, 1);
}

static void test_a_rejected_command_that_was_counted_leaves_no_gap(void **state)
{
    (void)state;
    gap(1, 1);
}

static void test_what_fills_a_gap_needs_no_answer(void **state)
{
    (void)state;
    gap(2, 1);
}

static void test_a_row_of_rejected_commands_is_filled_in(void **state)
{
    (void)state;
    gap(3, 4);
}

/* ---- reasons -------------------------------------------------------------------------------------------- */

static bool reject_first(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || x->sent++)
        return false;
    reject(c, (uint8_t)x->which);
    return true;
}

/* @status: GOOD: it ends with -EPROTO. */
static void reason(uint8_t which, uint8_t status)
{
    struct scene x;

    scene_init(&x, NULL, reject_first);
    x.which = which;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 0, 8);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, status ? 0 : -EPROTO);
    assert_int_equal(x.c[0].t.status, status);
    still_works(&x, 1);
    assert_int_equal(x.f.writes, 0);
    scene_end(&x);
}

#define REASON(name, which, status)                                                                           \
    static void name(void **state)                                                                            \
    {                                                                                                         \
        (void)state;                                                                                          \
        reason(which, status);                                                                                \
    }
REASON(test_a_command_rejected_for_its_digest_ends, ISCSI_REJECT_DATA_DIGEST, 0)
REASON(test_a_command_rejected_as_a_snack_ends, ISCSI_REJECT_SNACK, 0)
REASON(test_a_command_rejected_as_a_protocol_error_ends, ISCSI_REJECT_PROTOCOL_ERROR, 0)
REASON(test_a_command_rejected_as_not_supported_ends, ISCSI_REJECT_NOT_SUPPORTED, 0)
REASON(test_a_command_rejected_as_one_immediate_too_many_met_a_full_task_set, ISCSI_REJECT_IMMEDIATE,
       SCSI_TASK_SET_FULL)
REASON(test_a_command_rejected_as_a_task_in_progress_ends, ISCSI_REJECT_TASK_IN_PROGRESS, 0)
REASON(test_a_command_rejected_as_a_bad_data_ack_ends, ISCSI_REJECT_INVALID_DATA_ACK, 0)
REASON(test_a_command_rejected_for_a_field_ends, ISCSI_REJECT_INVALID_FIELD, 0)
REASON(test_a_command_rejected_for_want_of_room_met_a_full_task_set, ISCSI_REJECT_LONG_OPERATION,
       SCSI_TASK_SET_FULL)
REASON(test_a_command_rejected_for_a_negotiation_ends, ISCSI_REJECT_NEGOTIATION_RESET, 0)
REASON(test_a_command_rejected_for_a_reason_to_come_ends, 0x7e, 0)

/* 0x0c: the target waits for a Logout that it asked for, and gets it. */
static bool wants_logout(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->nr || !is_cmd(c))
        return false;
    if (!x->sent++)
        reject(c, ISCSI_REJECT_WAITING_FOR_LOGOUT);
    return false;
}

static void test_a_target_that_waits_for_a_logout_gets_it(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, wants_logout);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.r.ups == 2 && x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.f.logouts, 1);
    still_works(&x, 2);
    scene_end(&x);
}

/* ---- requests of a disk --------------------------------------------------------------------------------- */

struct request {
    struct ini_io io;
    struct iovec iov;
    uint8_t buf[4096];
    bool ended;
    int res;
};

static void request_done(struct ini_io *io, int res)
{
    struct request *q = (struct request *)io;

    q->ended = true;
    q->res = res;
}

static bool no_room(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || c->pdu.cmd.cdb[0] != SCSI_WRITE_10 || x->sent++ >= 6)
        return false;
    reject(c, ISCSI_REJECT_LONG_OPERATION);
    return true;
}

static void test_want_of_room_is_a_wait_for_a_disk(void **state)
{
    struct scene x;
    static struct request q[4];

    (void)state;
    scene_up(&x, NULL, no_room);
    rig_open(&x.r);
    for (unsigned i = 0; i < 4; i++) {
        q[i] = (struct request){ .io = { .op = INI_WRITE, .off = 4096 * i, .len = 4096, .iov = &q[i].iov,
                                         .iov_nr = 1, .done = request_done } };
        q[i].iov = (struct iovec){ q[i].buf, 4096 };
        ini_io_submit(x.r.lun, &q[i].io);
    }
    for (unsigned i = 0; i < 4; i++) {
        rig_until(&x.r, q[i].ended);
        assert_int_equal(q[i].res, 0);
    }
    assert_int_equal(x.f.writes, 4);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* However many in the life of a connection: a target that answers what it has room for is none that answers
 * nothing. */
static bool every_second(struct fake_conn *c)
{
    if (!is_cmd(c) || scene_of(c)->sent++ % 2)
        return false;
    reject(c, ISCSI_REJECT_LONG_OPERATION);
    return true;
}

static void test_rejects_among_answers_do_not_add_up(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, every_second);
    for (unsigned i = 0; i < 200; i++) {
        cmd_read(&x.r, &x.c[0], 0, 1);
        rig_until(&x.r, x.c[0].ended);
        assert_int_equal(x.c[0].t.err, 0);
        assert_int_equal(x.c[0].t.status, i % 2 ? SCSI_GOOD : SCSI_TASK_SET_FULL);
    }
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* ---- what is no command --------------------------------------------------------------------------------- */

/* Swallows the command, rejects the abort once for want of room. */
static bool abort_has_no_room(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_cmd(c))
        return x->seen++ == 0;
    if (c->pdu.opcode != ISCSI_OP_TMF || x->sent++)
        return false;
    reject(c, (uint8_t)x->which);
    return true;
}

static void rejected_abort(uint8_t which, unsigned resets)
{
    struct scene x;

    scene_init(&x, NULL, abort_has_no_room);
    x.which = which;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 0, 1);
    x.c[0].t.timeout_s = 1;
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.f.aborts > 0, !resets);
    assert_int_equal(x.f.resets > 0, resets);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_an_abort_rejected_for_want_of_room_is_sent_again(void **state)
{
    (void)state;
    rejected_abort(ISCSI_REJECT_IMMEDIATE, 0);
}

static void test_an_abort_rejected_for_good_becomes_a_reset(void **state)
{
    (void)state;
    rejected_abort(ISCSI_REJECT_NOT_SUPPORTED, 1);
}

static bool reject_pings(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_NOP_OUT)
        return false;
    scene_of(c)->seen++;
    reject(c, ISCSI_REJECT_NOT_SUPPORTED);
    return true;
}

static void test_a_rejected_ping_is_a_sign_of_life(void **state)
{
    struct scene x;

    (void)state;
    scene_init(&x, NULL, reject_pings);
    x.r.conf.set.noop_interval_s = 1;
    x.r.conf.set.noop_timeout_s = 60;
    scene_go(&x);
    rig_until(&x.r, x.seen >= 2);
    still_works(&x, 1);
    scene_end(&x);
}

/* Rejects that carry nothing, half a header, another's, a response's, or one for a command of long ago. */
static bool odd_rejects(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };
    uint8_t bhs[ISCSI_BHS_LEN];

    if (!is_cmd(c) || x->sent++)
        return false;
    memcpy(bhs, c->bhs, sizeof(bhs));
    p.reject.reason = ISCSI_REJECT_PROTOCOL_ERROR;
    switch (x->which) {
    case 0:
        fake_send(c, p, NULL, 0);
        return false;
    case 1:
        fake_send(c, p, bhs, 20);
        return false;
    case 2:                                 /* another tag */
        bhs[18] ^= 0x55;
        break;
    case 3:                                 /* a response of its own */
        bhs[0] = 0x21;
        break;
    case 4:                                 /* another number */
        bhs[27] ^= 0x55;
        break;
    default:                                /* no opcode at all */
        memset(bhs, 0xff, sizeof(bhs));
        break;
    }
    fake_send(c, p, bhs, sizeof(bhs));
    return false;
}

static void odd_reject(uintptr_t which)
{
    struct scene x;

    scene_init(&x, NULL, odd_rejects);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_a_reject_without_a_header_is_ignored(void **state)
{
    (void)state;
    odd_reject(0);
}

static void test_a_reject_with_half_a_header_is_ignored(void **state)
{
    (void)state;
    odd_reject(1);
}

static void test_a_reject_of_a_tag_never_used_is_ignored(void **state)
{
    (void)state;
    odd_reject(2);
}

static void test_a_reject_of_a_response_is_ignored(void **state)
{
    (void)state;
    odd_reject(3);
}

static void test_a_reject_of_another_number_is_ignored(void **state)
{
    (void)state;
    odd_reject(4);
}

static void test_a_reject_of_noise_is_ignored(void **state)
{
    (void)state;
    odd_reject(5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 7.3: a rejected command was not received: its CmdSN is sent again */
        cmocka_unit_test(test_the_number_of_a_rejected_command_is_filled_in),
        /* 7.3: unless ExpCmdSN says that it was */
        cmocka_unit_test(test_a_rejected_command_that_was_counted_leaves_no_gap),
        /* 7.3: what fills the gap needs no answer */
        cmocka_unit_test(test_what_fills_a_gap_needs_no_answer),
        /* 7.3: several gaps in a row */
        cmocka_unit_test(test_a_row_of_rejected_commands_is_filled_in),
        /* 11.17.1: reason 02 */
        cmocka_unit_test(test_a_command_rejected_for_its_digest_ends),
        /* 11.17.1: reason 03 */
        cmocka_unit_test(test_a_command_rejected_as_a_snack_ends),
        /* 11.17.1: reason 04 */
        cmocka_unit_test(test_a_command_rejected_as_a_protocol_error_ends),
        /* 11.17.1: reason 05 */
        cmocka_unit_test(test_a_command_rejected_as_not_supported_ends),
        /* 11.17.1: reason 06: not now */
        cmocka_unit_test(test_a_command_rejected_as_one_immediate_too_many_met_a_full_task_set),
        /* 11.17.1: reason 07 */
        cmocka_unit_test(test_a_command_rejected_as_a_task_in_progress_ends),
        /* 11.17.1: reason 08 */
        cmocka_unit_test(test_a_command_rejected_as_a_bad_data_ack_ends),
        /* 11.17.1: reason 09 */
        cmocka_unit_test(test_a_command_rejected_for_a_field_ends),
        /* 11.17.1: reason 0a: not now */
        cmocka_unit_test(test_a_command_rejected_for_want_of_room_met_a_full_task_set),
        /* 11.17.1: reason 0b, of RFC 3720 */
        cmocka_unit_test(test_a_command_rejected_for_a_negotiation_ends),
        /* 11.17.1: a reason that is not assigned */
        cmocka_unit_test(test_a_command_rejected_for_a_reason_to_come_ends),
        /* 11.17.1: reason 0c: the target waits for a Logout */
        cmocka_unit_test(test_a_target_that_waits_for_a_logout_gets_it),
        /* 11.17.1: reason 0a to a request of a disk: a wait, no error */
        cmocka_unit_test(test_want_of_room_is_a_wait_for_a_disk),
        /* 11.17: hundreds of Rejects among answers */
        cmocka_unit_test(test_rejects_among_answers_do_not_add_up),
        /* 11.17.1: reason 06 to an abort: asked again */
        cmocka_unit_test(test_an_abort_rejected_for_want_of_room_is_sent_again),
        /* 11.17.1: reason 05 to an abort: the next step */
        cmocka_unit_test(test_an_abort_rejected_for_good_becomes_a_reset),
        /* 11.17: a rejected ping is answered */
        cmocka_unit_test(test_a_rejected_ping_is_a_sign_of_life),
        /* 11.17: no header */
        cmocka_unit_test(test_a_reject_without_a_header_is_ignored),
        /* 11.17: half a header */
        cmocka_unit_test(test_a_reject_with_half_a_header_is_ignored),
        /* 11.17: the header of another task */
        cmocka_unit_test(test_a_reject_of_a_tag_never_used_is_ignored),
        /* 11.17: the header of a target's PDU */
        cmocka_unit_test(test_a_reject_of_a_response_is_ignored),
        /* 11.17: the header of another CmdSN */
        cmocka_unit_test(test_a_reject_of_another_number_is_ignored),
        /* 11.17: a header that is none */
        cmocka_unit_test(test_a_reject_of_noise_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
