/*
 * test_case_tmf.c - task management, SNACK and Logout, in season and out of it
 */
#include "tgt_bed.h"

static uint8_t data[8192], back[8192];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    memset(data, 0x77, sizeof(data));
    return 0;
}

/* ---- ABORT TASK (11.5.1, 11.6.1) ------------------------------------------------------------------------- */

static void test_abort_of_a_task_that_is_over_says_so(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    peer_serves(p);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, p->itt, p->cmd_sn - 1, 0), ISCSI_TMF_NO_TASK);
    peer_logout(p);
}

static void test_abort_of_a_task_that_never_was_says_so(void **state)
{
    static const uint32_t tags[] = { 0, 1, 0x7fffffff, 0xfffffffe, ISCSI_TAG_RESERVED };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, tags[i] ^ 0x100000, p->cmd_sn - 500, 0),
                         ISCSI_TMF_NO_TASK);
        assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, tags[i] ^ 0x100000, p->rsp.max_cmd_sn + 500, 0),
                         ISCSI_TMF_NO_TASK);
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_an_aborted_write_gets_no_status_and_writes_nothing(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu write, out;
    uint32_t ttt;

    (void)state;
    memset(back, 0, sizeof(back));
    assert_int_equal(peer_write10(p, 0, 16, back), SCSI_GOOD);
    write = hanging_write(p, 0);
    ttt = p->rsp.ttt;
    out = data_out_pdu(&write, ttt, 0, 0, 4096, false);
    peer_send(p, &out, data);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_COMPLETE);
    out = data_out_pdu(&write, ttt, 1, 4096, 4096, true);
    peer_send(p, &out, data);
    peer_quiet(p);
    assert_int_equal(peer_read10(p, 0, 16, data), SCSI_GOOD);
    assert_memory_equal(data, back, sizeof(back));
    memset(data, 0x77, sizeof(data));
    peer_logout(p);
}

static void test_the_tag_of_an_aborted_task_is_free_again(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        struct iscsi_pdu write = hanging_write(p, 0);

        assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_COMPLETE);
        p->itt = write.itt - 1;
        peer_serves(p);
        assert_int_equal(p->itt, write.itt);
    }
    assert_int_equal(p->rsp.max_cmd_sn, p->cmd_sn + SESS_WINDOW - 1);
    peer_logout(p);
}

static void test_abort_on_another_lun_does_not_find_the_task(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0), out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, scsi_lun_encode(3)),
                     ISCSI_TMF_NO_TASK);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

static void test_abort_of_another_sessions_task_does_not_find_it(void **state)
{
    struct peer_end *p = ready("ImmediateData=No"), *q = peer_ready(&bed, 2, "");
    struct iscsi_pdu write = hanging_write(p, 0), out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);

    (void)state;
    assert_int_equal(peer_tmf(q, ISCSI_TMF_ABORT_TASK, write.itt, q->cmd_sn - 1, 0), ISCSI_TMF_NO_TASK);
    assert_int_equal(peer_tmf(q, ISCSI_TMF_ABORT_TASK_SET, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
    assert_int_equal(peer_tmf(q, ISCSI_TMF_CLEAR_TASK_SET, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(q);
    peer_logout(p);
}

/* A command that waits for its CmdSN: aborted, its number counts, and those behind it go on. */
static void test_abort_of_a_command_that_waits_for_its_turn(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn;
    uint32_t itt;

    (void)state;
    send_tur(p, sn + 1, false);
    itt = p->itt;
    send_tur(p, sn + 2, false);
    p->cmd_sn = sn + 3;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, itt, sn + 1, 0), ISCSI_TMF_COMPLETE);
    send_tur(p, sn, false);
    for (unsigned i = 0; i < 2; i++) {
        expect_status(p, SCSI_GOOD);
        assert_int_not_equal(p->rsp.itt, itt);
    }
    peer_serves(p);
    peer_logout(p);
}

/* Names its own tag: there is no such task. */
static void test_a_function_cannot_abort_itself(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, p->itt + 1, p->cmd_sn, 0), ISCSI_TMF_NO_TASK);
    peer_serves(p);
    peer_logout(p);
}

/* ---- resets ---------------------------------------------------------------------------------------------- */

/* TAS: those who did not ask are told that their tasks were aborted. */
static void test_a_reset_ends_the_tasks_of_all_sessions(void **state)
{
    static const unsigned functions[] = { ISCSI_TMF_LUN_RESET, ISCSI_TMF_TARGET_WARM_RESET };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        struct peer_end *p = ready(""), *q = peer_ready(&bed, 2, "");
        struct iscsi_pdu write;

        hanging_write(p, 0);
        write = hanging_write(q, 32);
        assert_int_equal(peer_tmf(p, functions[i], ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
        expect_status(q, SCSI_TASK_ABORTED);
        assert_int_equal(q->rsp.itt, write.itt);
        assert_int_equal(peer_attention(q) >> 8, 0x29);
        assert_int_equal(peer_attention(p) >> 8, 0x29);
        peer_serves(q);
        peer_serves(p);
        peer_logout(q);
        peer_logout(p);
    }
}

static void test_a_storm_of_resets_from_two_sessions_ends(void **state)
{
    struct peer_end *p[2] = { ready(""), peer_ready(&bed, 2, "") };
    enum { NR = 12 };

    (void)state;
    for (unsigned i = 0; i < NR; i++) {
        for (unsigned k = 0; k < 2; k++) {
            struct iscsi_pdu reset = tmf_pdu(p[k], i % 3 ? ISCSI_TMF_LUN_RESET : ISCSI_TMF_TARGET_WARM_RESET),
                             write;
            uint8_t cdb[16];

            cdb_rw10(cdb, true, i, 16);
            write = cmd_pdu(p[k], cdb, 8192, false, true);
            peer_send(p[k], &write, NULL);
            reset.cmd_sn = p[k]->cmd_sn;
            peer_send(p[k], &reset, NULL);
        }
    }
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned answers = 0; answers < NR;) {
            assert_true(peer_recv_ms(p[k], PEER_MS));
            answers += p[k]->rsp.opcode == ISCSI_OP_TMF_RESP || p[k]->rsp.opcode == ISCSI_OP_REJECT;
        }
    }
    for (unsigned k = 0; k < 2; k++) {      /* what is left of the writes: aborted, or to be aborted */
        assert_int_equal(peer_tmf(p[k], ISCSI_TMF_ABORT_TASK_SET, ISCSI_TAG_RESERVED, 0, 0),
                         ISCSI_TMF_COMPLETE);
        peer_settle(p[k]);
    }
    peer_logout(p[1]);
    peer_logout(p[0]);
}

/* The initiator goes while its reset is under way. */
static void test_a_session_that_ends_in_the_middle_of_its_reset_leaves_nothing(void **state)
{
    struct peer_end *q = peer_ready(&bed, 2, "");

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct peer_end *p = peer_logged_in(&bed, 1, "");
        struct iscsi_pdu reset = tmf_pdu(p, i % 2 ? ISCSI_TMF_LUN_RESET : ISCSI_TMF_TARGET_WARM_RESET);

        peer_send(p, &reset, NULL);
        peer_close(p);
    }
    bed_settle(&bed, 1);
    peer_settle(q);
    peer_logout(q);
}

/* A command to LUN 1 waits for its CmdSN while LUN 0 is reset: it is not LUN 0's. */
static void test_functions_of_one_unit_leave_what_waits_for_another(void **state)
{
    static const unsigned functions[] = { ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET,
                                          ISCSI_TMF_LUN_RESET };

    (void)state;
    bed_ram(&bed, T_IQN, 1, 1);
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        struct peer_end *p = ready("");
        static const uint8_t report[16] = { 0xa0, 0, 0, 0, 0, 0, 0, 0, 1 };     /* past unit attentions */
        struct iscsi_pdu ahead = cmd_pdu(p, report, 256, true, false);
        const uint32_t sn = ahead.cmd_sn;

        ahead.cmd_sn = sn + 1;
        ahead.lun = scsi_lun_encode(1);
        peer_send(p, &ahead, NULL);
        p->cmd_sn = sn + 2;
        assert_int_equal(peer_tmf(p, functions[i], ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
        ahead = cmd_pdu(p, report, 256, true, false);
        ahead.cmd_sn = sn;
        peer_send(p, &ahead, NULL);
        p->cmd_sn = sn + 2;
        peer_expect(p, ISCSI_OP_DATA_IN);
        peer_expect(p, ISCSI_OP_DATA_IN);
        peer_settle(p);
        peer_logout(p);
    }
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

/* One that was sent after the function, and came before it: 4.2.3.2 has it live. */
static void test_functions_leave_what_was_sent_after_them(void **state)
{
    static const unsigned functions[] = { ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        struct iscsi_pdu pdu = tmf_pdu(p, functions[i]);
        const uint32_t sn = p->cmd_sn;

        send_tur(p, sn + 1, false);
        pdu.immediate = false;
        peer_send(p, &pdu, NULL);
        peer_expect(p, ISCSI_OP_TMF_RESP);
        assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
        expect_status(p, SCSI_GOOD);
        p->cmd_sn = sn + 2;
        peer_serves(p);
    }
    peer_logout(p);
}

/* ---- what is not there ----------------------------------------------------------------------------------- */

static void test_functions_without_a_meaning_are_not_supported(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned f = 0; f < 128; f++) {
        const bool known =
            f >= ISCSI_TMF_ABORT_TASK && f <= ISCSI_TMF_TASK_REASSIGN && f != ISCSI_TMF_CLEAR_ACA;

        if (!known)
            assert_int_equal(peer_tmf(p, f, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_NOT_SUPPORTED);
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_tasks_are_not_reassigned(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0), out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_TASK_REASSIGN, write.itt, write.cmd_sn, 0), ISCSI_TMF_NO_REASSIGN);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

static void test_functions_on_a_unit_that_is_not_there_say_so(void **state)
{
    static const unsigned functions[] = { ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET,
                                          ISCSI_TMF_LUN_RESET };
    const uint64_t luns[] = { scsi_lun_encode(1), scsi_lun_encode(16383), ~0ull, 0xc101000000000000ull, 1 };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(luns); k++)
            assert_int_equal(peer_tmf(p, functions[i], ISCSI_TAG_RESERVED, 0, luns[k]), ISCSI_TMF_NO_LUN);
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_functions_in_a_discovery_session_are_not_supported(void **state)
{
    struct peer_end *p = peer_discovery(&bed), *q = peer_ready(&bed, 2, "");

    (void)state;
    for (unsigned f = ISCSI_TMF_ABORT_TASK; f < ISCSI_TMF_TASK_REASSIGN; f++)
        assert_int_equal(peer_tmf(p, f, 1, 0, 0), ISCSI_TMF_NOT_SUPPORTED);
    peer_serves(q);                         /* nothing was reset */
    peer_logout(p);
    peer_logout(q);
}

/* ---- SNACK (11.16) --------------------------------------------------------------------------------------- */

/* Nothing is sent twice at ErrorRecoveryLevel 0, however much is asked for. */
static void test_every_snack_is_rejected(void **state)
{
    static const uint32_t runs[][2] = { { 0, 0 }, { 0, 1 }, { 5, 0xffffffff }, { 0xffffffff, 0xffffffff } };
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0), out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);

    (void)state;
    for (unsigned type = 0; type < 16; type++) {
        for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
            const uint32_t tags[] = { write.itt, p->itt + 100, ISCSI_TAG_RESERVED };

            for (size_t k = 0; k < ARRAY_SIZE(tags); k++) {
                struct iscsi_pdu snack = { .opcode = ISCSI_OP_SNACK, .final = true, .itt = tags[k],
                                           .ttt = ISCSI_TAG_RESERVED,
                                           .snack = { .type = (uint8_t)type, .beg_run = runs[i][0],
                                                      .run_len = runs[i][1] } };

                peer_send(p, &snack, NULL);
                expect_reject(p, ISCSI_REJECT_SNACK);
            }
        }
    }
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

/* ---- Logout (11.14, 11.15) ------------------------------------------------------------------------------- */

static int logout_of(struct peer_end *p, unsigned reason, uint16_t cid)
{
    struct iscsi_pdu pdu = logout_pdu(p, reason);

    pdu.logout.cid = cid;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(p->rsp.itt, pdu.itt);
    return p->rsp.logout.response;
}

static void test_logout_of_the_session_and_of_the_connection(void **state)
{
    (void)state;
    for (unsigned reason = ISCSI_LOGOUT_SESSION; reason <= ISCSI_LOGOUT_CONNECTION; reason++) {
        struct peer_end *p = peer_open(&bed);

        p->cid = 42;
        peer_login(p, "");
        assert_int_equal(logout_of(p, reason, 42), ISCSI_LOGOUT_OK);
        peer_gone(p);
    }
}

static void test_logout_of_another_connection_does_not_find_it(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    assert_int_equal(logout_of(p, ISCSI_LOGOUT_CONNECTION, 77), ISCSI_LOGOUT_NO_CID);
    peer_serves(p);
    peer_logout(p);
}

static void test_logout_for_recovery_is_not_supported(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    assert_int_equal(logout_of(p, ISCSI_LOGOUT_RECOVERY, 0), ISCSI_LOGOUT_NO_RECOVERY);
    assert_int_equal(logout_of(p, ISCSI_LOGOUT_RECOVERY, 9), ISCSI_LOGOUT_NO_RECOVERY);
    peer_serves(p);
    peer_logout(p);
}

static void test_logout_for_no_reason_there_is_is_rejected(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned reason = 3; reason < 128; reason++) {
        struct iscsi_pdu pdu = logout_pdu(p, reason);

        peer_send(p, &pdu, NULL);
        expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    }
    peer_serves(p);
    peer_logout(p);
}

/* What is under way ends without an answer; the Logout Response is the last that comes. */
static void test_logout_with_writes_under_way(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        hanging_write(p, i * 16);
    assert_int_equal(logout_of(p, ISCSI_LOGOUT_SESSION, 0), ISCSI_LOGOUT_OK);
    assert_false(peer_recv_ms(p, PEER_MS));
    peer_close(p);
}

/* Reads whose data the peer has not taken yet: all that was begun comes whole, then the response, or not at all. */
static void test_logout_with_reads_under_way(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = logout_pdu(p, ISCSI_LOGOUT_SESSION), read;
    uint8_t cdb[16];

    (void)state;
    cdb_rw10(cdb, false, 0, 2000);
    for (unsigned i = 0; i < 16; i++) {
        read = cmd_pdu(p, cdb, 2000 * T_BLOCK, true, false);
        peer_send(p, &read, NULL);
    }
    pdu.cmd_sn = p->cmd_sn;
    peer_send(p, &pdu, NULL);
    do
        assert_true(peer_recv_ms(p, PEER_MS));
    while (p->rsp.opcode == ISCSI_OP_DATA_IN);
    assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(p->rsp.logout.response, ISCSI_LOGOUT_OK);
    peer_gone(p);
}

/* Whatever is sent behind a Logout is not looked at. */
static void test_nothing_is_done_behind_a_logout(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = logout_pdu(p, ISCSI_LOGOUT_SESSION), again;

    (void)state;
    memset(back, 0, 512);
    assert_int_equal(peer_write10(p, 60, 1, back), SCSI_GOOD);
    pdu.cmd_sn = p->cmd_sn;
    peer_send(p, &pdu, NULL);
    {
        uint8_t cdb[16];
        struct iscsi_pdu write;

        cdb_rw10(cdb, true, 60, 1);
        write = cmd_pdu(p, cdb, 512, false, true);
        write.data_len = 512;
        peer_send(p, &write, data);
    }
    again = logout_pdu(p, ISCSI_LOGOUT_SESSION);
    peer_send(p, &again, NULL);
    peer_expect(p, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(p->rsp.itt, pdu.itt);
    assert_false(peer_recv_ms(p, PEER_MS));
    peer_close(p);
    p = ready("");
    assert_int_equal(peer_read10(p, 60, 1, back + 512), SCSI_GOOD);
    assert_memory_equal(back, back + 512, 512);
    peer_logout(p);
}

/* 11.15.3, 11.15.4: at ErrorRecoveryLevel 0 nothing is retained. */
static void test_a_logout_response_tells_the_times(void **state)
{
    struct peer_end *p = ready("DefaultTime2Wait=7\nDefaultTime2Retain=30");

    (void)state;
    assert_int_equal(logout_of(p, ISCSI_LOGOUT_SESSION, 0), ISCSI_LOGOUT_OK);
    assert_int_equal(p->rsp.logout.time2wait_s, 7);
    assert_int_equal(p->rsp.logout.time2retain_s, 0);
    peer_gone(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_abort_of_a_task_that_is_over_says_so),
        CASE(test_abort_of_a_task_that_never_was_says_so),
        CASE(test_an_aborted_write_gets_no_status_and_writes_nothing),
        CASE(test_the_tag_of_an_aborted_task_is_free_again),
        CASE(test_abort_on_another_lun_does_not_find_the_task),
        CASE(test_abort_of_another_sessions_task_does_not_find_it),
        CASE(test_abort_of_a_command_that_waits_for_its_turn),
        CASE(test_a_function_cannot_abort_itself),
        CASE(test_a_reset_ends_the_tasks_of_all_sessions),
        CASE(test_a_storm_of_resets_from_two_sessions_ends),
        CASE(test_a_session_that_ends_in_the_middle_of_its_reset_leaves_nothing),
        CASE(test_functions_of_one_unit_leave_what_waits_for_another),
        CASE(test_functions_leave_what_was_sent_after_them),
        CASE(test_functions_without_a_meaning_are_not_supported),
        CASE(test_tasks_are_not_reassigned),
        CASE(test_functions_on_a_unit_that_is_not_there_say_so),
        CASE(test_functions_in_a_discovery_session_are_not_supported),
        CASE(test_every_snack_is_rejected),
        CASE(test_logout_of_the_session_and_of_the_connection),
        CASE(test_logout_of_another_connection_does_not_find_it),
        CASE(test_logout_for_recovery_is_not_supported),
        CASE(test_logout_for_no_reason_there_is_is_rejected),
        CASE(test_logout_with_writes_under_way),
        CASE(test_logout_with_reads_under_way),
        CASE(test_nothing_is_done_behind_a_logout),
        CASE(test_a_logout_response_tells_the_times),
    };

    return cmocka_run_group_tests(tests, up, down);
}
