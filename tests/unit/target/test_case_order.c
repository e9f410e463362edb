/*
 * test_case_order.c - numbers and tags: CmdSN and its window, what comes before its turn, gaps that a Reject
 * leaves, tags in use, StatSN
 */
#include "tgt_bed.h"

static uint8_t data[8192], back[8192];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + 1);
    return 0;
}

/* ---- the window ------------------------------------------------------------------------------------------ */

static void test_a_command_below_the_window_is_ignored(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    send_tur(p, p->cmd_sn - 1, false);
    send_tur(p, p->cmd_sn - 2, false);
    send_tur(p, p->cmd_sn - 0x7fffffff, false);
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_command_past_the_window_is_ignored(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    send_tur(p, p->rsp.max_cmd_sn + 1, false);
    send_tur(p, p->rsp.max_cmd_sn + 1000, false);
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

/* The last number of the window is kept until its turn. */
static void test_the_last_command_of_the_window_is_taken(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t last = p->rsp.max_cmd_sn;
    uint32_t itt;

    (void)state;
    send_tur(p, last, false);
    itt = p->itt;
    peer_quiet(p);
    while (p->cmd_sn != last)
        send_tur(p, p->cmd_sn++, false);
    for (uint32_t n = last - p->rsp.exp_cmd_sn + 1; n; n--)
        peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, itt);
    p->cmd_sn++;
    peer_serves(p);
    peer_logout(p);
}

static void test_every_kind_of_pdu_outside_the_window_is_ignored(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t outside[] = { p->cmd_sn - 1, p->rsp.max_cmd_sn + 1 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
        struct iscsi_pdu pdus[] = {
            nop_pdu(p, 0), tmf_pdu(p, ISCSI_TMF_LUN_RESET), logout_pdu(p, ISCSI_LOGOUT_SESSION),
            text_pdu(p, ISCSI_TAG_RESERVED, 0, false),
        };

        for (unsigned k = 0; k < ARRAY_SIZE(pdus); k++) {
            pdus[k].immediate = false;
            pdus[k].cmd_sn = outside[i];
            peer_send(p, &pdus[k], NULL);
        }
    }
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

/* Even one that would be rejected: its number says that it is not for now. */
static void test_a_broken_pdu_outside_the_window_is_ignored(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = tmf_pdu(p, ISCSI_TMF_ABORT_TASK);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    pdu.immediate = false;
    pdu.cmd_sn = p->cmd_sn - 1;
    iscsi_pdu_encode(bhs, &pdu);
    bhs[1] &= 0x7f;                         /* without F */
    peer_raw(p, bhs, sizeof(bhs));
    store_be32(&bhs[24], p->rsp.max_cmd_sn + 1);
    peer_raw(p, bhs, sizeof(bhs));
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

static void test_cmd_sn_wraps_with_a_window_across_zero(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    p->isid[5] = 1;
    p->cmd_sn = 0xfffffff0u;
    peer_login(p, "");
    peer_settle(p);
    for (uint32_t sn = 3; sn + 16 > 0; sn--) {      /* from behind: 3 down to 0xfffffff1 */
        if (iscsi_sn_le(sn, p->cmd_sn))
            break;
        send_tur(p, sn, false);
    }
    peer_quiet(p);
    assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
    send_tur(p, p->cmd_sn, false);
    while (p->rsp.exp_cmd_sn != 4)
        expect_status(p, SCSI_GOOD);
    p->cmd_sn = 4;
    while (p->rsp.opcode == ISCSI_OP_SCSI_RESP && p->rsp.max_cmd_sn != 4 + SESS_WINDOW - 1)
        expect_status(p, SCSI_GOOD);
    send_tur(p, 0xffffffffu, false);        /* in the past now */
    peer_serves(p);
    peer_logout(p);
}

/* 4.2.2.1: MaxCmdSN never goes down, whatever is outstanding. */
static void test_the_window_never_shrinks(void **state)
{
    struct peer_end *p = ready("");
    uint32_t max = p->rsp.max_cmd_sn;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct iscsi_pdu w = hanging_write(p, 0);

        assert_false(iscsi_sn_lt(p->rsp.max_cmd_sn, max));
        max = p->rsp.max_cmd_sn;
        peer_serves(p);
        assert_false(iscsi_sn_lt(p->rsp.max_cmd_sn, max));
        max = p->rsp.max_cmd_sn;
        if (i % 3 == 0)
            assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, w.itt, w.cmd_sn, 0), ISCSI_TMF_COMPLETE);
        assert_false(iscsi_sn_lt(p->rsp.max_cmd_sn, max));
        max = p->rsp.max_cmd_sn;
    }
    peer_logout(p);
}

/* ---- a command sent again -------------------------------------------------------------------------------- */

/* 4.2.2.1: a duplicate is ignored by its number; what is under way goes on. */
static void test_a_command_sent_again_is_ignored(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 5), out;
    const uint32_t ttt = p->rsp.ttt;

    (void)state;
    peer_send(p, &write, NULL);
    peer_send(p, &write, NULL);
    peer_quiet(p);
    out = data_out_pdu(&write, ttt, 0, 0, 8192, true);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    assert_int_equal(p->rsp.itt, write.itt);
    peer_send(p, &write, NULL);             /* and once it is over */
    peer_quiet(p);
    assert_int_equal(peer_read10(p, 5, 16, back), SCSI_GOOD);
    assert_memory_equal(back, data, sizeof(back));
    peer_logout(p);
}

static void test_a_held_command_sent_again_runs_once(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn;

    (void)state;
    send_tur(p, sn + 1, false);
    p->itt--;
    send_tur(p, sn + 1, false);
    send_tur(p, sn + 1, false);
    peer_quiet(p);
    send_tur(p, sn, false);
    expect_status(p, SCSI_GOOD);
    expect_status(p, SCSI_GOOD);
    p->cmd_sn = sn + 2;
    peer_serves(p);
    peer_logout(p);
}

/* ---- what comes before its turn -------------------------------------------------------------------------- */

/* Sends @pdu one ahead of its turn, then the command that was missing. */
static uint32_t send_ahead(struct peer_end *p, struct iscsi_pdu *pdu)
{
    static const uint8_t tur[16];
    struct iscsi_pdu missing;

    pdu->immediate = false;
    pdu->cmd_sn = p->cmd_sn + 1;
    peer_send(p, pdu, NULL);
    peer_quiet(p);
    missing = cmd_pdu(p, tur, 0, false, false);
    peer_send(p, &missing, NULL);
    p->cmd_sn++;
    return missing.itt;
}

static void test_an_abort_ahead_of_the_command_it_names_is_answered(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = tmf_pdu(p, ISCSI_TMF_ABORT_TASK);
    uint32_t itt;

    (void)state;
    pdu.tmf.ref_task_tag = p->itt + 2;      /* of the command to come: a ping goes between */
    pdu.tmf.ref_cmd_sn = p->cmd_sn;
    itt = send_ahead(p, &pdu);
    assert_int_equal(itt, pdu.tmf.ref_task_tag);
    assert_true(peer_recv_ms(p, PEER_MS));
    if (p->rsp.opcode == ISCSI_OP_SCSI_RESP) {
        assert_int_equal(p->rsp.itt, itt);
        peer_expect(p, ISCSI_OP_TMF_RESP);
    }
    assert_int_equal(p->rsp.opcode, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.itt, pdu.itt);
    peer_serves(p);
    peer_logout(p);
}

static void test_every_function_ahead_of_its_turn_is_answered(void **state)
{
    static const unsigned functions[] = {
        ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET, ISCSI_TMF_LUN_RESET, ISCSI_TMF_TARGET_WARM_RESET,
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++) {
        struct peer_end *p = ready("");
        struct iscsi_pdu pdu = tmf_pdu(p, functions[i]);

        send_ahead(p, &pdu);
        assert_true(peer_recv_ms(p, PEER_MS));
        if (p->rsp.opcode == ISCSI_OP_SCSI_RESP)        /* it was quicker than what would have ended it */
            assert_true(peer_recv_ms(p, PEER_MS));
        assert_int_equal(p->rsp.opcode, ISCSI_OP_TMF_RESP);
        assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
        peer_settle(p);
        peer_logout(p);
    }
}

/* A write with data is the command whose coming gives the reset its turn. */
static void test_a_reset_ahead_of_a_write_ends_it_whole(void **state)
{
    struct peer_end *p = ready("InitialR2T=No");
    struct iscsi_pdu pdu = tmf_pdu(p, ISCSI_TMF_LUN_RESET), write, out;
    uint8_t cdb[16];

    (void)state;
    pdu.immediate = false;
    pdu.cmd_sn = p->cmd_sn + 1;
    peer_send(p, &pdu, NULL);
    cdb_rw10(cdb, true, 0, 16);
    write = cmd_pdu(p, cdb, 8192, false, true);
    write.final = false;
    write.data_len = 512;
    peer_send(p, &write, data);
    p->cmd_sn++;
    peer_expect(p, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 512, 7680, true);
    peer_send(p, &out, data);
    assert_int_equal(peer_attention(p), 0x2903);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_logout_ahead_of_its_turn_ends_the_session_in_turn(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = logout_pdu(p, ISCSI_LOGOUT_SESSION);

    (void)state;
    send_ahead(p, &pdu);
    assert_true(peer_recv_ms(p, PEER_MS));
    if (p->rsp.opcode == ISCSI_OP_SCSI_RESP)
        assert_true(peer_recv_ms(p, PEER_MS));
    assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(p->rsp.logout.response, ISCSI_LOGOUT_OK);
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
}

/* Commands on both sides of a held Logout: those behind it are never executed. */
static void test_what_is_held_behind_a_logout_is_dropped(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = logout_pdu(p, ISCSI_LOGOUT_SESSION), write;
    uint8_t cdb[16];

    (void)state;
    memset(back, 0, sizeof(back));
    assert_int_equal(peer_write10(p, 40, 1, back), SCSI_GOOD);
    pdu.immediate = false;
    pdu.cmd_sn = p->cmd_sn + 1;
    peer_send(p, &pdu, NULL);
    cdb_rw10(cdb, true, 40, 1);
    write = cmd_pdu(p, cdb, 512, false, true);
    write.cmd_sn = pdu.cmd_sn + 1;
    write.data_len = 512;
    p->cmd_sn--;
    peer_send(p, &write, data);
    send_tur(p, p->cmd_sn, false);
    while (p->rsp.opcode != ISCSI_OP_LOGOUT_RESP)
        assert_true(peer_recv_ms(p, PEER_MS));
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
    p = ready("");
    assert_int_equal(peer_read10(p, 40, 1, data + 4096), SCSI_GOOD);
    assert_memory_equal(data + 4096, back, 512);
    peer_logout(p);
}

/* Its data come by themselves before its turn, in their own order. */
static void test_a_write_ahead_of_its_turn_takes_its_unsolicited_data(void **state)
{
    struct peer_end *p = ready("InitialR2T=No");
    struct iscsi_pdu write, out;
    uint8_t cdb[16];

    (void)state;
    for (unsigned late = 0; late < 2; late++) {         /* the last of them before its turn, and after it */
        cdb_rw10(cdb, true, 60, 16);
        p->cmd_sn++;
        write = cmd_pdu(p, cdb, 8192, false, true);
        write.final = false;
        write.data_len = 1024;
        peer_send(p, &write, data);
        out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 1024, 3072, false);
        peer_send(p, &out, data + 1024);
        peer_quiet(p);
        out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 1, 4096, 4096, true);
        if (!late)
            peer_send(p, &out, data + 4096);
        send_tur(p, write.cmd_sn - 1, false);
        if (late)
            peer_send(p, &out, data + 4096);
        expect_status(p, SCSI_GOOD);
        expect_status(p, SCSI_GOOD);
        assert_int_equal(peer_read10(p, 60, 16, back), SCSI_GOOD);
        assert_memory_equal(back, data, sizeof(back));
    }
    peer_logout(p);
}

/* ABORT TASK declares the missing command received: what waited for it goes on, be it a reset. */
static void test_an_abort_that_fills_a_hole_sets_a_held_reset_free(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu reset = tmf_pdu(p, ISCSI_TMF_LUN_RESET), abort;
    const uint32_t sn = p->cmd_sn;

    (void)state;
    hanging_write(p, 0);                    /* the reset ends it */
    reset.immediate = false;
    reset.cmd_sn = sn + 2;
    peer_send(p, &reset, NULL);
    abort = tmf_pdu(p, ISCSI_TMF_ABORT_TASK);
    abort.tmf.ref_task_tag = 0x7777;
    abort.tmf.ref_cmd_sn = sn + 1;
    abort.cmd_sn = sn + 3;
    peer_send(p, &abort, NULL);
    for (unsigned i = 0; i < 2; i++) {
        peer_expect(p, ISCSI_OP_TMF_RESP);
        assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    }
    assert_int_equal(p->rsp.exp_cmd_sn, sn + 3);
    p->cmd_sn = sn + 3;
    peer_settle(p);
    peer_logout(p);
}

/* ---- gaps that a Reject leaves (7.3) --------------------------------------------------------------------- */

/* A command with an AHS that is none. */
static void send_bad_ahs(struct peer_end *p, uint32_t cmd_sn)
{
    uint8_t pdu[ISCSI_BHS_LEN + 4] = { ISCSI_OP_SCSI_CMD, 0x80, [4] = 1 };

    store_be32(&pdu[16], ++p->itt);
    store_be32(&pdu[24], cmd_sn);
    store_be32(&pdu[28], p->exp_stat_sn);
    peer_raw(p, pdu, sizeof(pdu));
}

static void test_a_rejected_command_is_not_received(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    send_bad_ahs(p, p->cmd_sn);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
    peer_serves(p);                         /* another in its place */
    peer_logout(p);
}

static void test_the_place_of_a_rejected_command_may_be_filled_late(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn;

    (void)state;
    send_bad_ahs(p, sn);
    send_tur(p, sn + 1, false);             /* on its way before the Reject was seen */
    send_tur(p, sn + 2, false);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    peer_quiet(p);
    assert_int_equal(p->rsp.exp_cmd_sn, sn);
    send_tur(p, sn, false);
    for (unsigned i = 0; i < 3; i++)
        expect_status(p, SCSI_GOOD);
    p->cmd_sn = sn + 3;
    peer_serves(p);
    peer_logout(p);
}

static void test_an_abort_fills_the_gap_of_a_rejected_command(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu;
    const uint32_t sn = p->cmd_sn;

    (void)state;
    send_bad_ahs(p, sn);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    pdu = tmf_pdu(p, ISCSI_TMF_ABORT_TASK);
    pdu.cmd_sn = sn + 1;
    pdu.tmf.ref_task_tag = p->itt - 1;
    pdu.tmf.ref_cmd_sn = sn;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    assert_int_equal(p->rsp.exp_cmd_sn, sn + 1);
    p->cmd_sn = sn + 1;
    peer_serves(p);
    peer_logout(p);
}

/* An initiator that has seen the Reject and goes on all the same is served. */
static void test_a_gap_that_is_left_behind_holds_nobody_up(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        send_bad_ahs(p, sn + i);
        expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    }
    p->cmd_sn = sn + 3;
    peer_serves(p);
    peer_serves(p);
    peer_logout(p);
}

/* More gaps than a window has room for, the same one again and again among them. */
static void test_rejects_without_end_keep_nothing(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        send_bad_ahs(p, p->cmd_sn);
        expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    }
    for (unsigned i = 0; i < 1000; i++) {
        send_bad_ahs(p, p->cmd_sn++);
        expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    }
    peer_serves(p);
    peer_logout(p);
}

/* The bytes that came, reserved ones too: who sent it looks for what was wrong. */
static void test_a_reject_carries_the_header_as_received(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu login = login_pdu(p, 1, 3, true), text = text_pdu(p, 77, 0, false);
    struct iscsi_pdu *pdus[] = { &login, &text }, missing;
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(pdus); i++) {
        iscsi_pdu_encode(bhs, pdus[i]);
        bhs[0] |= 0x80;
        memset(&bhs[36], 0xa5, 12);
        peer_raw(p, bhs, sizeof(bhs));
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
        assert_memory_equal(p->data, bhs, sizeof(bhs));
    }
    /* One that waited for its turn. */
    text.immediate = false;
    text.cmd_sn = p->cmd_sn + 1;
    iscsi_pdu_encode(bhs, &text);
    memset(&bhs[36], 0x5a, 12);
    peer_raw(p, bhs, sizeof(bhs));
    missing = nop_pdu(p, 0);
    missing.immediate = false;
    p->cmd_sn++;
    peer_send(p, &missing, NULL);
    peer_expect(p, ISCSI_OP_NOP_IN);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    assert_memory_equal(p->data, bhs, sizeof(bhs));
    peer_serves(p);
    peer_logout(p);
}

static void test_commands_rejected_in_discovery_hold_nothing_up(void **state)
{
    struct peer_end *p = peer_discovery(&bed);
    struct iscsi_pdu text;
    char keys[64];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        send_tur(p, p->cmd_sn++, false);
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    ++p->itt;
    text = text_pdu(p, ISCSI_TAG_RESERVED, keys_text("SendTargets=All", keys), false);
    text.immediate = false;
    text.cmd_sn = p->cmd_sn++;
    peer_send(p, &text, keys);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    peer_logout(p);
}

/* ---- immediate commands ---------------------------------------------------------------------------------- */

/* They take no number and no place in the window. */
static void test_immediate_commands_leave_the_window_alone(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        send_tur(p, p->cmd_sn, true);
        expect_status(p, SCSI_GOOD);
        assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
        assert_int_equal(p->rsp.max_cmd_sn, p->cmd_sn + SESS_WINDOW - 1);
    }
    peer_serves(p);
    peer_logout(p);
}

/* 4.2.2.1: an immediate command goes past what waits for its turn. */
static void test_an_immediate_command_does_not_wait_for_a_hole(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn;

    (void)state;
    send_tur(p, sn + 1, false);
    send_tur(p, sn, true);
    expect_status(p, SCSI_GOOD);
    assert_int_equal(p->rsp.itt, p->itt);
    send_tur(p, sn, false);
    expect_status(p, SCSI_GOOD);
    expect_status(p, SCSI_GOOD);
    p->cmd_sn = sn + 2;
    peer_serves(p);
    peer_logout(p);
}

/* ---- tags ------------------------------------------------------------------------------------------------ */

static void test_a_new_command_under_a_tag_in_use_is_rejected(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 9), out;
    const uint32_t ttt = p->rsp.ttt;

    (void)state;
    p->itt--;
    send_tur(p, p->cmd_sn, false);
    expect_reject(p, ISCSI_REJECT_TASK_IN_PROGRESS);
    assert_int_equal(load_be32(&p->data[16]), write.itt);
    out = data_out_pdu(&write, ttt, 0, 0, 8192, true);  /* the one that has it is unharmed */
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_serves(p);
    peer_logout(p);
}

static void test_the_reserved_tag_names_no_task(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    p->itt = ISCSI_TAG_RESERVED - 1;
    {
        uint8_t bhs[ISCSI_BHS_LEN] = { ISCSI_OP_SCSI_CMD, 0x80 };
        static const uint8_t ops[] = { ISCSI_OP_SCSI_CMD, ISCSI_OP_TMF, ISCSI_OP_TEXT, ISCSI_OP_LOGOUT };

        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
            bhs[0] = 0x40 | ops[i];
            store_be32(&bhs[16], ISCSI_TAG_RESERVED);
            store_be32(&bhs[20], ISCSI_TAG_RESERVED);
            peer_raw(p, bhs, sizeof(bhs));
            expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
        }
    }
    p->itt = 500;
    peer_serves(p);
    peer_logout(p);
}

static void test_data_for_a_tag_nobody_has_are_dropped(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu ghost = { .itt = 0x12345678 }, out;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        out = data_out_pdu(&ghost, i * 1000, i, i * 512, 512, i % 2);
        peer_send(p, &out, data);
    }
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

/* ---- StatSN ---------------------------------------------------------------------------------------------- */

/* Each response takes the next number; a ping of the target's own and an R2T take none. */
static void test_stat_sn_counts_responses_without_a_gap(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    uint32_t sn = p->exp_stat_sn;
    struct iscsi_pdu write;

    (void)state;
    peer_serves(p);
    assert_int_equal(p->rsp.stat_sn, sn++);
    peer_quiet(p);
    assert_int_equal(p->rsp.stat_sn, sn++);
    write = hanging_write(p, 0);
    assert_int_equal(p->rsp.stat_sn, sn);   /* 11.8.3: the next one, not used up */
    send_bad_ahs(p, p->cmd_sn);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    assert_int_equal(p->rsp.stat_sn, sn++);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_COMPLETE);
    assert_int_equal(p->rsp.stat_sn, sn++);
    peer_logout(p);
}

/* What the peer says of ExpStatSN is its own affair at ErrorRecoveryLevel 0: nothing is kept for it. */
static void test_any_exp_stat_sn_is_taken(void **state)
{
    static const uint32_t values[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        p->exp_stat_sn += values[i];
        peer_serves(p);
    }
    for (unsigned i = 0; i < 300; i++) {    /* one that never moves */
        p->exp_stat_sn = 5;
        peer_serves(p);
    }
    peer_logout(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_a_command_below_the_window_is_ignored),
        CASE(test_a_command_past_the_window_is_ignored),
        CASE(test_the_last_command_of_the_window_is_taken),
        CASE(test_every_kind_of_pdu_outside_the_window_is_ignored),
        CASE(test_a_broken_pdu_outside_the_window_is_ignored),
        CASE(test_cmd_sn_wraps_with_a_window_across_zero),
        CASE(test_the_window_never_shrinks),
        CASE(test_a_command_sent_again_is_ignored),
        CASE(test_a_held_command_sent_again_runs_once),
        CASE(test_an_abort_ahead_of_the_command_it_names_is_answered),
        CASE(test_every_function_ahead_of_its_turn_is_answered),
        CASE(test_a_reset_ahead_of_a_write_ends_it_whole),
        CASE(test_a_logout_ahead_of_its_turn_ends_the_session_in_turn),
        CASE(test_what_is_held_behind_a_logout_is_dropped),
        CASE(test_a_write_ahead_of_its_turn_takes_its_unsolicited_data),
        CASE(test_an_abort_that_fills_a_hole_sets_a_held_reset_free),
        CASE(test_a_rejected_command_is_not_received),
        CASE(test_the_place_of_a_rejected_command_may_be_filled_late),
        CASE(test_an_abort_fills_the_gap_of_a_rejected_command),
        CASE(test_a_gap_that_is_left_behind_holds_nobody_up),
        CASE(test_rejects_without_end_keep_nothing),
        CASE(test_a_reject_carries_the_header_as_received),
        CASE(test_commands_rejected_in_discovery_hold_nothing_up),
        CASE(test_immediate_commands_leave_the_window_alone),
        CASE(test_an_immediate_command_does_not_wait_for_a_hole),
        CASE(test_a_new_command_under_a_tag_in_use_is_rejected),
        CASE(test_the_reserved_tag_names_no_task),
        CASE(test_data_for_a_tag_nobody_has_are_dropped),
        CASE(test_stat_sn_counts_responses_without_a_gap),
        CASE(test_any_exp_stat_sn_is_taken),
    };

    return cmocka_run_group_tests(tests, up, down);
}
