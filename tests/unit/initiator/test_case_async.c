/*
 * test_case_async.c - Asynchronous Messages and Logout (RFC 7143 11.9, 11.14, 11.15)
 */
#include "case.h"

/* ---- asynchronous messages ------------------------------------------------------------------------------ */

static bool send_event(struct fake_conn *c, uint8_t event, uint16_t param2, uint16_t param3, const void *data,
                       uint32_t len)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    p.async.event = event;
    p.async.param2 = param2;
    p.async.param3 = param3;
    return fake_send(c, p, data, len);
}

/* One event, before the answer to the first command. */
static bool event_first(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || x->sent++)
        return false;
    send_event(c, (uint8_t)x->which, 0, 3, NULL, 0);
    return false;
}

static void event(uint8_t which, unsigned ups, unsigned logouts)
{
    struct scene x;

    scene_init(&x, NULL, event_first);
    x.which = which;
    scene_go(&x);
    for (unsigned i = 0; i < 4; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    for (unsigned i = 0; i < 4; i++) {
        rig_until(&x.r, x.c[i].ended);
        assert_int_equal(x.c[i].t.err, 0);
    }
    rig_until(&x.r, x.r.ups == ups);
    still_works(&x, ups);
    assert_int_equal(x.f.logouts, logouts);
    scene_end(&x);
}

/* A SCSI event with sense data that are whole, cut, or a lie about their length. */
static bool scsi_event_first(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    static const uint8_t changed[20] = { 0, 18, 0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x3f, 0x0e };
    uint8_t data[20];

    if (!is_cmd(c) || x->sent++)
        return false;
    memcpy(data, changed, sizeof(data));
    switch (x->which) {
    case 1:
        send_event(c, ISCSI_ASYNC_SCSI, 0, 0, data, 6);
        break;
    case 2:
        data[0] = 0xff;
        send_event(c, ISCSI_ASYNC_SCSI, 0, 0, data, sizeof(data));
        break;
    case 3:
        send_event(c, ISCSI_ASYNC_SCSI, 0, 0, NULL, 0);
        break;
    case 4:
        memset(data, 0xee, sizeof(data));
        send_event(c, ISCSI_ASYNC_SCSI, 0, 0, data, sizeof(data));
        break;
    default:
        send_event(c, ISCSI_ASYNC_SCSI, 0, 0, data, sizeof(data));
        break;
    }
    return false;
}

static void scsi_event(uintptr_t which, unsigned changes)
{
    struct scene x;

    scene_init(&x, NULL, scsi_event_first);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_GOOD);
    assert_int_equal(x.r.changes, changes);
    scene_end(&x);
}

/* Thousands of them. */
static bool event_storm(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_cmd(c) && !x->sent++)
        for (unsigned i = 0; i < 5000; i++)
            send_event(c, i % 2 ? 200 : ISCSI_ASYNC_SCSI, 0, 0, "noise", 5);
    return false;
}

static void test_a_storm_of_events_does_not_stop_the_work(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, event_storm);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_GOOD);
    scene_end(&x);
}

/* It asks for a logout and then answers nothing more, not even what is in flight. */
static bool asks_and_falls_silent(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->nr)
        return false;
    if (is_cmd(c) && !x->sent++)
        send_event(c, ISCSI_ASYNC_LOGOUT_REQUEST, 0, 1, NULL, 0);
    if (c->pdu.opcode == ISCSI_OP_LOGOUT)
        x->seen++;
    return true;
}

static void test_a_logout_asked_for_does_not_wait_for_commands_for_ever(void **state)
{
    struct scene x;

    (void)state;
    scene_init(&x, NULL, asks_and_falls_silent);
    x.r.conf.set.logout_timeout_s = 1;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.seen, 1);
    assert_int_equal(x.f.writes, 1);
    still_works(&x, 2);
    scene_end(&x);
}

static bool asks_twice(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->nr || !is_cmd(c))
        return false;
    if (!x->sent++)
        for (unsigned i = 0; i < 10; i++)
            send_event(c, ISCSI_ASYNC_LOGOUT_REQUEST, 0, 3, NULL, 0);
    return false;
}

static void test_a_logout_asked_for_ten_times_is_one(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, asks_twice);
    cmd_write(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended && x.r.ups == 2);
    assert_int_equal(x.f.logouts, 1);
    still_works(&x, 2);
    scene_end(&x);
}

/* ---- logout --------------------------------------------------------------------------------------------- */

enum row { CODE, OTHER_TAG, CLOSE, HALF, STAT_SN_OFF, WITH_DATA, ANSWERS_FIRST, NOTHING, REJECTED };

static struct iscsi_pdu logout_resp(const struct fake_conn *c, uint8_t response)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_LOGOUT_RESP, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    p.logout.response = response;
    p.logout.time2wait_s = 600;             /* of no concern to who logs out for good */
    return p;
}

static bool odd_logout(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = logout_resp(c, 0);
    uint8_t bhs[ISCSI_BHS_LEN];

    if (c->pdu.opcode != ISCSI_OP_LOGOUT)
        return false;
    /* 11.14: reason "close the session", immediate, CmdSN not used up. */
    if (x->seen++ || !c->pdu.immediate || c->pdu.logout.reason != ISCSI_LOGOUT_SESSION || c->len ||
        c->pdu.cmd_sn != c->exp_cmd_sn)
        x->faults++;
    switch (x->which & 0xff) {
    case CODE:
        fake_send(c, logout_resp(c, (uint8_t)(x->which >> 8)), NULL, 0);
        return true;
    case OTHER_TAG:
        p.itt ^= 0x00110000;
        fake_send(c, p, NULL, 0);
        fake_send(c, logout_resp(c, 0), NULL, 0);
        return true;
    case CLOSE:
        shutdown(c->fd, SHUT_RDWR);
        return true;
    case HALF:
        fake_write(c->fd, c->bhs, 20);
        shutdown(c->fd, SHUT_RDWR);
        return true;
    case STAT_SN_OFF:
        c->stat_sn += 5;
        fake_send(c, p, NULL, 0);
        return true;
    case WITH_DATA:
        p.data_len = 4;
        numbered_bhs(c, bhs, logout_resp(c, 0));
        bhs[7] = 4;
        fake_send_bhs(c, bhs, "data", 4);
        return true;
    case ANSWERS_FIRST:                     /* a ping and an event before the answer: neither is answered */
        send_unnumbered(c, (struct iscsi_pdu){ .opcode = ISCSI_OP_NOP_IN, .final = true,
                                               .itt = ISCSI_TAG_RESERVED, .ttt = 4 }, NULL, 0);
        send_event(c, ISCSI_ASYNC_LOGOUT_REQUEST, 0, 1, NULL, 0);
        fake_send(c, p, NULL, 0);
        while (fake_recv(c))
            x->faults++;
        return true;
    case REJECTED:
        p = (struct iscsi_pdu){ .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED,
                                .ttt = ISCSI_TAG_RESERVED };
        p.reject.reason = ISCSI_REJECT_PROTOCOL_ERROR;
        fake_send(c, p, c->bhs, sizeof(c->bhs));
        return true;
    default:
        return true;
    }
}

/* Whatever the target makes of it: the session ends, once, with nothing left. */
static void logout(uintptr_t which)
{
    struct scene x;

    scene_init(&x, NULL, odd_logout);
    x.which = which;
    x.r.conf.set.logout_timeout_s = which == NOTHING ? 1 : 60;
    scene_go(&x);
    still_works(&x, 1);
    ini_sess_stop(x.r.s, false, rig_stopped, &x.r);
    rig_until(&x.r, x.r.stops);
    assert_int_equal(x.r.stops, 1);
    ini_sess_free(x.r.s);
    x.r.s = NULL;
    scene_end(&x);
    assert_int_equal(x.seen, 1);
    assert_int_equal(x.f.conns, 1);
}

/* With commands in flight: those end as cancelled, and the Logout goes out all the same. */
static bool hold_commands(struct fake_conn *c)
{
    return is_cmd(c);
}

static void test_a_logout_does_not_wait_for_commands_unless_told(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, hold_commands);
    for (unsigned i = 0; i < 4; i++)
        cmd_write(&x.r, &x.c[i], i, 1);
    ini_sess_stop(x.r.s, false, rig_stopped, &x.r);
    rig_until(&x.r, x.r.stops);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(x.c[i].ended);
        assert_int_equal(x.c[i].t.err, -ECANCELED);
    }
    ini_sess_free(x.r.s);
    x.r.s = NULL;
    scene_end(&x);
    assert_int_equal(x.f.logouts, 1);
}

#define CASES(X)                                                                                              \
    /* 11.9.1: event 1, the target requests a Logout: it gets one, and a new login */                         \
    X(test_event_1_gets_a_logout_and_a_login, event, ISCSI_ASYNC_LOGOUT_REQUEST, 2, 1)                        \
    /* 11.9.1: event 2, the connection is dropped */                                                          \
    X(test_event_2_drops_the_connection, event, ISCSI_ASYNC_DROP_CONNECTION, 2, 0)                            \
    /* 11.9.1: event 3, all connections are dropped */                                                        \
    X(test_event_3_drops_the_session, event, ISCSI_ASYNC_DROP_ALL, 2, 0)                                      \
    /* 11.9.1: event 4, a negotiation is requested: had by a new login */                                     \
    X(test_event_4_gets_a_new_negotiation, event, ISCSI_ASYNC_NEGOTIATE, 2, 1)                                \
    /* 11.9.1: event 5, tasks are terminated: none is waited for */                                           \
    X(test_event_5_sends_the_tasks_again, event, ISCSI_ASYNC_TASK_TERMINATION, 2, 0)                          \
    /* 11.9.1: event 255, a vendor's */                                                                       \
    X(test_an_event_of_a_vendor_is_ignored, event, ISCSI_ASYNC_VENDOR, 1, 0)                                  \
    /* 11.9.1: an event that is not assigned */                                                               \
    X(test_an_event_to_come_is_ignored, event, 99, 1, 0)                                                      \
    /* 11.9.4: event 0 with REPORTED LUNS DATA HAS CHANGED */                                                 \
    X(test_event_0_tells_of_changed_luns, scsi_event, 0, 1)                                                   \
    /* 11.9.4: event 0, its sense data cut */                                                                 \
    X(test_event_0_with_cut_sense_is_ignored, scsi_event, 1, 0)                                               \
    /* 11.9.4: event 0, SenseLength beyond the data */                                                        \
    X(test_event_0_with_long_sense_is_read_as_far_as_it_goes, scsi_event, 2, 1)                               \
    /* 11.9.4: event 0 without sense data */                                                                  \
    X(test_event_0_without_sense_is_ignored, scsi_event, 3, 0)                                                \
    /* 11.9.4: event 0 with noise */                                                                          \
    X(test_event_0_with_noise_is_ignored, scsi_event, 4, 0)                                                   \
    /* 11.15.1: response 0 */                                                                                 \
    X(test_a_logout_that_is_done_ends_the_session, logout, CODE)                                              \
    /* 11.15.1: response 1, no such CID */                                                                    \
    X(test_a_logout_that_finds_no_connection_ends_the_session, logout, CODE | 1 << 8)                         \
    /* 11.15.1: response 2, no recovery */                                                                    \
    X(test_a_logout_without_recovery_ends_the_session, logout, CODE | 2 << 8)                                 \
    /* 11.15.1: response 3, cleanup failed */                                                                 \
    X(test_a_logout_that_failed_ends_the_session, logout, CODE | 3 << 8)                                      \
    /* 11.15.1: a response that is not assigned */                                                            \
    X(test_a_logout_with_an_answer_to_come_ends_the_session, logout, CODE | 99 << 8)                          \
    /* 11.15: a response under another tag */                                                                 \
    X(test_a_logout_answered_under_another_tag_waits_for_its_own, logout, OTHER_TAG)                          \
    /* 11.14: the connection is closed instead of an answer */                                                \
    X(test_a_logout_answered_by_closing_ends_the_session, logout, CLOSE)                                      \
    /* 11.14: closed in the middle of the answer */                                                           \
    X(test_a_logout_answered_by_half_a_header_ends_the_session, logout, HALF)                                 \
    /* 4.2.2.2: an answer with another StatSN */                                                              \
    X(test_a_logout_answered_out_of_number_ends_the_session, logout, STAT_SN_OFF)                             \
    /* 11.15: an answer with data */                                                                          \
    X(test_a_logout_answered_with_data_ends_the_session, logout, WITH_DATA)                                   \
    /* 11.14: nothing is sent behind a Logout */                                                              \
    X(test_nothing_follows_a_logout, logout, ANSWERS_FIRST)                                                   \
    /* 11.14: no answer at all */                                                                             \
    X(test_a_logout_without_an_answer_ends_the_session, logout, NOTHING)                                      \
    /* 11.17: the Logout is rejected */                                                                       \
    X(test_a_logout_that_is_rejected_ends_the_session, logout, REJECTED)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(CASE_ENTRY)
        /* 11.9: events without end */
        cmocka_unit_test(test_a_storm_of_events_does_not_stop_the_work),
        /* 11.9.1: event 1 of a target that answers nothing any more */
        cmocka_unit_test(test_a_logout_asked_for_does_not_wait_for_commands_for_ever),
        /* 11.9.1: event 1 more than once */
        cmocka_unit_test(test_a_logout_asked_for_ten_times_is_one),
        /* 11.14: commands in flight are the target's to end */
        cmocka_unit_test(test_a_logout_does_not_wait_for_commands_unless_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
