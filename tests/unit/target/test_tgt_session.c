/*
 * test_tgt_session.c - full feature phase against a scripted initiator: numbering, data, residuals, task
 * management, text, and what a hostile or clumsy peer sends
 */
#include <semaphore.h>
#include "tgt_act.h"

static struct bed bed;
static uint8_t big[(1 << 20) + 65536], back[1 << 20];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 131 + (i >> 9));
    return 0;
}

/* Before each test: placement and counts are its own. */
static int fresh(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

static struct peer_end *ready(const char *keys)
{
    return peer_ready(&bed, 1, keys);
}

/* ---- data ------------------------------------------------------------------------------------------------ */

static void test_a_write_is_read_back(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=8192");

    (void)state;
    assert_int_equal(peer_write10(p, 8, 1, big), SCSI_GOOD);
    assert_int_equal(peer_write10(p, 9, 16, big + 512), SCSI_GOOD);
    assert_int_equal(peer_read10(p, 8, 17, back), SCSI_GOOD);
    assert_memory_equal(big, back, 17 * 512);
    assert_false(p->rsp.resp.overflow || p->rsp.resp.underflow);
    peer_logout(p);
}

/* Immediate, unsolicited and solicited data in each combination, at sizes around the limits. */
static void test_writes_in_all_four_combinations(void **state)
{
    static const char *const keys[] = {
        "InitialR2T=Yes\nImmediateData=No", "InitialR2T=Yes\nImmediateData=Yes",
        "InitialR2T=No\nImmediateData=No", "InitialR2T=No\nImmediateData=Yes",
    };
    static const uint16_t blocks[] = { 1, 15, 16, 17, 127, 128, 129, 1000, 2047 };

    (void)state;
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
        struct peer_end *p = ready(keys[k]);
        const bool unsolicited = k >= 2, immediate = k & 1;

        for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
            const uint32_t len = blocks[i] * T_BLOCK, first = len < 65536 ? len : 65536;
            const uint8_t *data = big + i * 512;
            uint8_t cdb[16];
            struct iscsi_pdu pdu;
            uint32_t ahead;

            cdb_rw10(cdb, true, i * 7, blocks[i]);
            pdu = cmd_pdu(p, cdb, len, false, true);
            pdu.data_len = ahead = immediate ? (first < 8192 ? first : 8192) : 0;
            pdu.final = !unsolicited || ahead == first;
            peer_send(p, &pdu, data);
            for (uint32_t sn = 0; unsolicited && ahead < first; sn++) {
                const uint32_t n = first - ahead < 8192 ? first - ahead : 8192;
                struct iscsi_pdu out = {
                    .opcode = ISCSI_OP_DATA_OUT, .final = ahead + n == first, .itt = pdu.itt,
                    .ttt = ISCSI_TAG_RESERVED, .data_len = n, .data_out = { .data_sn = sn, .offset = ahead },
                };

                peer_send(p, &out, data + ahead);
                ahead += n;
            }
            assert_int_equal(feed_r2ts(p, data, 8192), SCSI_GOOD);
            assert_int_equal(peer_read10(p, i * 7, blocks[i], back), SCSI_GOOD);
            assert_memory_equal(data, back, len);
        }
        peer_logout(p);
    }
}

/* ---- residuals ------------------------------------------------------------------------------------------- */

static void test_residuals_of_reads(void **state)
{
    static const struct {
        uint16_t blocks;
        uint32_t edtl;
        bool o, u;
        uint32_t residual, data;
    } rows[] = {
        { 1, 512, false, false, 0, 512 },   { 1, 0, true, false, 512, 0 },
        { 1, 200, true, false, 312, 200 },  { 2, 512, true, false, 512, 512 },
        { 1, 10000, false, true, 9488, 512 }, { 0, 512, false, true, 512, 0 },
        { 256, 512, true, false, 255 * 512, 512 },
    };
    struct peer_end *p = ready("MaxRecvDataSegmentLength=262144");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t cdb[16];
        struct iscsi_pdu pdu;

        cdb_rw10(cdb, false, 0, rows[i].blocks);
        pdu = cmd_pdu(p, cdb, rows[i].edtl, true, false);
        peer_send(p, &pdu, NULL);
        peer_expect(p, rows[i].data ? ISCSI_OP_DATA_IN : ISCSI_OP_SCSI_RESP);
        assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
        if (rows[i].data) {
            assert_true(p->rsp.resp.has_status);
            assert_int_equal(p->data_len, rows[i].data);
        }
        assert_int_equal(p->rsp.resp.overflow, rows[i].o);
        assert_int_equal(p->rsp.resp.underflow, rows[i].u);
        assert_int_equal(p->rsp.resp.residual, rows[i].residual);
    }
    peer_logout(p);
}

/* INQUIRY says how much there is; the residual is measured against that and not against the allocation
 * length. */
static void test_residual_of_a_short_answer(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16] = { SCSI_INQUIRY, 0, 0, 0, 255 };
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, 255, true, false);
    uint32_t there;

    (void)state;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_DATA_IN);
    there = p->data_len;
    assert_true(there >= 36 && there < 255);
    assert_true(p->rsp.resp.underflow);
    assert_int_equal(p->rsp.resp.residual, 255 - there);
    pdu = cmd_pdu(p, cdb, 36, true, false);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_DATA_IN);
    assert_int_equal(p->data_len, 36);
    assert_true(p->rsp.resp.overflow);
    assert_int_equal(p->rsp.resp.residual, there - 36);
    peer_logout(p);
}

static void test_sense_comes_with_its_length(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    (void)state;
    cdb_rw10(cdb, false, 0x7fffffff, 1);
    pdu = cmd_pdu(p, cdb, 512, true, false);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_CHECK_CONDITION);
    assert_int_equal(load_be16(p->data) + 2u, p->data_len);
    assert_int_equal(p->data[2 + 2] & 0xf, SCSI_ILLEGAL_REQUEST);
    assert_int_equal(p->data[2 + 12], 0x21);
    assert_true(p->rsp.resp.underflow);
    assert_int_equal(p->rsp.resp.residual, 512);
    peer_logout(p);
}

/* ---- CmdSN ----------------------------------------------------------------------------------------------- */

static void test_commands_outside_the_window_are_ignored(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    send_tur(p, p->cmd_sn - 1, false);
    send_tur(p, p->cmd_sn - 100, false);
    send_tur(p, p->cmd_sn + SESS_WINDOW, false);
    send_tur(p, p->cmd_sn + 0x7fffffff, false);
    assert_false(peer_recv_ms(p, 200));
    /* None of them was kept: the numbers are still free when their turn comes. */
    for (unsigned i = 0; i <= SESS_WINDOW; i++) {
        send_tur(p, p->cmd_sn++, false);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        assert_int_equal(p->rsp.itt, p->itt);
        assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
    }
    peer_logout(p);
}

static void test_commands_out_of_order_wait_for_their_turn(void **state)
{
    struct peer_end *p = ready("");
    const uint32_t sn = p->cmd_sn, first = p->itt + 1;

    (void)state;
    send_tur(p, sn + 2, false);
    send_tur(p, sn + 1, false);
    send_tur(p, sn + 1, false);             /* twice: ignored */
    assert_false(peer_recv_ms(p, 100));
    send_tur(p, sn, false);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, first + 3);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, first + 1);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, first);
    assert_int_equal(p->rsp.exp_cmd_sn, sn + 3);
    p->cmd_sn += 3;
    peer_logout(p);
}

/* A write whose data were there before its turn. */
static void test_a_held_write_runs_when_its_turn_comes(void **state)
{
    struct peer_end *p = ready("ImmediateData=Yes");
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    (void)state;
    cdb_rw10(cdb, true, 77, 4);
    p->cmd_sn++;
    pdu = cmd_pdu(p, cdb, 2048, false, true);
    pdu.data_len = 2048;
    peer_send(p, &pdu, big + 99);
    assert_false(peer_recv_ms(p, 100));
    send_tur(p, p->cmd_sn - 2, false);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
    assert_int_equal(peer_read10(p, 77, 4, back), SCSI_GOOD);
    assert_memory_equal(back, big + 99, 2048);
    peer_logout(p);
}

static void test_cmd_sn_wraps(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    p->isid[5] = 1;
    p->cmd_sn = 0xfffffff0u;
    peer_login(p, "");
    for (int i = 0; i < 40; i++) {
        send_tur(p, p->cmd_sn++, false);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
        assert_int_equal(p->rsp.max_cmd_sn, p->cmd_sn + SESS_WINDOW - 1);
    }
    peer_logout(p);
}

/* A full window at once; the numbers of the answers must follow one another, and the window never shrinks. */
static void test_a_full_window_is_served(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=65536");
    uint8_t cdb[16];
    uint32_t stat_sn = p->exp_stat_sn, max = p->rsp.max_cmd_sn;

    (void)state;
    cdb_rw10(cdb, false, 0, 128);
    for (unsigned i = 0; i < SESS_WINDOW; i++) {
        struct iscsi_pdu pdu = cmd_pdu(p, cdb, 65536, true, false);

        peer_send(p, &pdu, NULL);
    }
    for (unsigned i = 0; i < SESS_WINDOW; i++) {
        peer_expect(p, ISCSI_OP_DATA_IN);
        assert_true(p->rsp.resp.has_status);
        assert_int_equal(p->rsp.stat_sn, stat_sn++);
        assert_false(iscsi_sn_lt(p->rsp.max_cmd_sn, max));
        max = p->rsp.max_cmd_sn;
    }
    assert_int_equal(max, p->cmd_sn + SESS_WINDOW - 1);
    peer_logout(p);
}

/* ---- tags, rejects --------------------------------------------------------------------------------------- */

static void test_a_tag_in_use_is_rejected(void **state)
{
    struct peer_end *p = ready("");
    static const uint8_t tur[16];
    struct iscsi_pdu write = hanging_write(p, 0), pdu;

    (void)state;
    p->itt--;
    pdu = cmd_pdu(p, tur, 0, false, false);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_REJECT);
    assert_int_equal(p->rsp.reject.reason, ISCSI_REJECT_TASK_IN_PROGRESS);
    assert_int_equal(p->data_len, ISCSI_BHS_LEN);
    assert_int_equal(load_be32(&p->data[16]), write.itt);
    pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = write.itt, .ttt = p->rsp.ttt };
    send_tur(p, p->cmd_sn++, false);        /* numbering goes on though the gap was not filled */
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    peer_logout(p);
}

static void test_pdus_that_cannot_be_are_rejected_and_the_session_lives(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu snack = { .opcode = ISCSI_OP_SNACK, .final = true, .itt = 5, .ttt = ISCSI_TAG_RESERVED,
                               .snack = { .type = 0, .beg_run = 0, .run_len = 0xffffffff } };
    uint8_t bhs[ISCSI_BHS_LEN] = { 0 };

    (void)state;
    peer_send(p, &snack, NULL);
    peer_expect(p, ISCSI_OP_REJECT);
    assert_int_equal(p->rsp.reject.reason, ISCSI_REJECT_SNACK);
    for (unsigned op = 0x1c; op <= 0x1e; op++) {
        bhs[0] = (uint8_t)(0x40 | op);
        bhs[1] = 0x80;
        peer_raw(p, bhs, sizeof(bhs));
        peer_expect(p, ISCSI_OP_REJECT);
        assert_int_equal(p->rsp.reject.reason, ISCSI_REJECT_NOT_SUPPORTED);
        assert_memory_equal(p->data, bhs, sizeof(bhs));
    }
    for (unsigned stages = 0; stages < 256; stages += 5) {     /* a Login, with T and C and all */
        struct iscsi_pdu again = login_pdu(p, 1, 3, true);

        iscsi_pdu_encode(bhs, &again);
        bhs[1] = (uint8_t)stages;
        peer_raw(p, bhs, sizeof(bhs));
        peer_expect(p, ISCSI_OP_REJECT);
        assert_int_equal(p->rsp.reject.reason, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    peer_settle(p);
    peer_logout(p);
}

/* AHS of every length byte: the header says so many bytes follow, and they are garbage. */
static void test_bad_ahs_never_costs_the_session(void **state)
{
    (void)state;
    for (unsigned words = 1; words < 255; words += 23) {
        struct peer_end *p = ready("");
        uint8_t pdu[ISCSI_BHS_LEN + ISCSI_AHS_LEN_MAX] = { ISCSI_OP_SCSI_CMD, 0x80 };

        pdu[4] = (uint8_t)words;
        store_be32(&pdu[16], ++p->itt);
        store_be32(&pdu[24], p->cmd_sn++);
        peer_raw(p, pdu, ISCSI_BHS_LEN + words * 4);   /* AHSLength 0 */
        peer_expect(p, ISCSI_OP_REJECT);
        send_tur(p, p->cmd_sn++, false);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        peer_logout(p);
    }
}

static void test_data_that_break_the_rules_end_the_command_only(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write, out;

    (void)state;
    for (int i = 0; i < 3; i++) {
        write = hanging_write(p, 0);
        out = (struct iscsi_pdu){
            .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = write.itt, .ttt = p->rsp.ttt, .data_len = 512
        };
        out.data_out.data_sn = i == 0 ? 27 : 0;
        out.data_out.offset = i == 1 ? 4096 : 0;
        out.data_len = i == 2 ? 512 : 8192;             /* F before all is there */
        peer_send(p, &out, big);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        assert_int_equal(p->rsp.resp.status, SCSI_CHECK_CONDITION);
        assert_int_equal(p->data[2 + 2] & 0xf, SCSI_ABORTED_COMMAND);
        peer_settle(p);
    }
    /* Immediate data, though there was to be none. */
    {
        uint8_t cdb[16];

        cdb_rw10(cdb, true, 0, 1);
        write = cmd_pdu(p, cdb, 512, false, true);
        write.data_len = 512;
        peer_send(p, &write, big);
        peer_expect(p, ISCSI_OP_SCSI_RESP);
        assert_int_equal(p->data[2 + 12], 0x0c);
        assert_int_equal(p->data[2 + 13], 0x0c);
    }
    peer_logout(p);
}

/* A write that the unit refuses is answered when its data are through, and they harm nobody. */
static void test_a_refused_write_swallows_its_data(void **state)
{
    struct peer_end *p = ready("InitialR2T=No");
    uint8_t cdb[16];
    struct iscsi_pdu pdu, out;

    (void)state;
    cdb_rw10(cdb, true, 0x7ffffff0, 128);
    pdu = cmd_pdu(p, cdb, 65536, false, true);
    pdu.final = false;
    pdu.data_len = 8192;
    peer_send(p, &pdu, big);
    assert_false(peer_recv_ms(p, 100));
    for (uint32_t off = 8192, sn = 0; off < 65536; off += 8192, sn++) {
        out = (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = off + 8192 == 65536, .itt = pdu.itt,
                                  .ttt = ISCSI_TAG_RESERVED, .data_len = 8192,
                                  .data_out = { .data_sn = sn, .offset = off } };
        peer_send(p, &out, big + off);
    }
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_CHECK_CONDITION);
    assert_int_equal(p->data[2 + 12], 0x21);
    peer_logout(p);
}

/* ---- task management ------------------------------------------------------------------------------------- */

static void test_abort_of_a_write_that_waits_for_data(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu write = hanging_write(p, 0), out;
    const uint32_t ttt = p->rsp.ttt;

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_COMPLETE);
    out = (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = write.itt, .ttt = ttt,
                              .data_len = 8192 };
    peer_send(p, &out, big);                /* what was on its way is thrown away */
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_NO_TASK);
    peer_settle(p);
    assert_int_equal(p->rsp.max_cmd_sn, p->cmd_sn + SESS_WINDOW - 1);   /* its place in the window is back */
    peer_logout(p);
}

static void test_abort_of_a_command_that_has_not_come(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_TMF, .final = true, .itt = 9999, .cmd_sn = p->cmd_sn + 1,
        .tmf = { .function = ISCSI_TMF_ABORT_TASK, .ref_task_tag = 4242, .ref_cmd_sn = p->cmd_sn },
    };

    (void)state;
    peer_send(p, &pdu, NULL);               /* held: the command before it is missing */
    assert_false(peer_recv_ms(p, 100));
    pdu.immediate = true;
    pdu.itt = 9998;
    pdu.cmd_sn = p->cmd_sn + 1;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.itt, 9998);
    assert_int_equal(p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    peer_expect(p, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.itt, 9999);     /* the hole is filled: the held one has its turn */
    p->cmd_sn += 2;
    peer_settle(p);
    peer_logout(p);
}

static void test_task_set_and_resets_end_waiting_writes(void **state)
{
    static const unsigned functions[] = {
        ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET, ISCSI_TMF_LUN_RESET, ISCSI_TMF_TARGET_WARM_RESET,
    };
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++) {
        struct iscsi_pdu a = hanging_write(p, 0), b = hanging_write(p, 32);

        assert_int_equal(peer_tmf(p, functions[i], ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
        assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, a.itt, a.cmd_sn, 0), ISCSI_TMF_NO_TASK);
        assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, b.itt, b.cmd_sn, 0), ISCSI_TMF_NO_TASK);
        peer_settle(p);
    }
    peer_logout(p);
}

/* Every session is told which reset it was: of the unit 29/03, of the target 29/02. */
static void test_resets_are_told_apart(void **state)
{
    struct peer_end *p = ready(""), *q = peer_logged_in(&bed, 2, "");

    (void)state;
    peer_settle(q);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_LUN_RESET, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
    assert_int_equal(peer_attention(p), 0x2903);
    assert_int_equal(peer_attention(q), 0x2903);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_TARGET_WARM_RESET, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
    assert_int_equal(peer_attention(p), 0x2902);
    assert_int_equal(peer_attention(q), 0x2902);
    peer_settle(p);
    peer_settle(q);
    peer_logout(q);
    peer_logout(p);
}

static void test_functions_that_are_not_there(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_CLEAR_ACA, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_NOT_SUPPORTED);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_TASK_REASSIGN, 1, 0, 0), ISCSI_TMF_NO_REASSIGN);
    assert_int_equal(peer_tmf(p, 99, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_NOT_SUPPORTED);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_LUN_RESET, ISCSI_TAG_RESERVED, 0, scsi_lun_encode(7)), ISCSI_TMF_NO_LUN);
    peer_logout(p);
}

static void test_cold_reset_ends_the_sessions(void **state)
{
    struct peer_end *p = ready(""), *q = peer_logged_in(&bed, 2, "");

    (void)state;
    assert_int_equal(peer_tmf(p, ISCSI_TMF_TARGET_COLD_RESET, ISCSI_TAG_RESERVED, 0, 0), ISCSI_TMF_COMPLETE);
    assert_true(peer_ended(p, PEER_MS));
    assert_true(peer_ended(q, PEER_MS));
    peer_close(p);
    peer_close(q);
}

/* ---- reinstatement --------------------------------------------------------------------------------------- */

/* The old session's write has an R2T out when a new one takes its place: the write must never land. */
static void test_reinstatement_ends_the_old_writer_first(void **state)
{
    struct peer_end *old = ready(""), *new;
    struct iscsi_pdu write, out;

    (void)state;
    memset(back, 0, 8192);
    assert_int_equal(peer_write10(old, 0, 8, back), SCSI_GOOD);
    write = hanging_write(old, 0);
    out = (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = write.itt, .ttt = old->rsp.ttt,
                              .data_len = 8192 };
    new = peer_logged_in(&bed, 1, "");
    peer_send(old, &out, big);
    assert_true(peer_ended(old, PEER_MS));
    peer_settle(new);
    assert_int_equal(peer_read10(new, 0, 8, back), SCSI_GOOD);
    for (int i = 0; i < 4096; i++)
        assert_int_equal(back[i], 0);
    bed_settle(&bed, 1);
    peer_close(old);
    peer_logout(new);
}

/* Holds a core up from when it says so until the test lets it go. */
struct block {
    struct rt_msg msg;
    sem_t begun, over;
};

static void block_core(struct rt_msg *m)
{
    struct block *b = container_of(m, struct block, msg);

    sem_post(&b->begun);
    while (sem_wait(&b->over))
        ;
}

/* Two sessions, one a core. Return: the one that is not on the first core; the other is logged out. */
static struct peer_end *on_the_second_core(void)
{
    struct peer_end *p[2] = { peer_logged_in(&bed, 50, ""), peer_logged_in(&bed, 51, "") };
    json_t *list = bed_call(&bed, "session.list", NULL);   /* core by core */
    const char *isid = json_string_value(json_object_get(json_array_get(list, 1), "isid"));
    const bool which = !strcmp(isid, "800000000033");

    assert_true(which || !strcmp(isid, "800000000032"));
    json_decref(list);
    peer_logout(p[!which]);
    bed_settle(&bed, 1);
    assert_true(rt_list_empty(&bed.tgt->cores[0].sessions));
    return p[which];
}

/* As long as the old session's core does not get round to ending it, the new one is not let in. */
static void test_reinstatement_waits_for_the_old_session(void **state)
{
    struct peer_end *old = on_the_second_core(), *new = peer_open(&bed);   /* that one is on the first core */
    static struct block block = { .msg.fn = block_core };
    struct iscsi_pdu pdu;
    char text[512];

    (void)state;
    memcpy(new->isid, old->isid, sizeof(new->isid));
    assert_int_equal(sem_init(&block.begun, 0, 0), 0);
    assert_int_equal(sem_init(&block.over, 0, 0), 0);
    rt_post(bed.tgt->cores[1].rt, &block.msg);
    while (sem_wait(&block.begun))
        ;
    pdu = login_pdu(new, 1, 3, true);
    pdu.data_len = keys_text(LOGIN_NAMES, text);
    peer_send(new, &pdu, text);
    assert_false(peer_recv_ms(new, 300));
    sem_post(&block.over);
    peer_expect(new, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(new->rsp.login.status, ISCSI_LOGIN_OK);
    assert_true(peer_ended(old, PEER_MS));
    peer_close(old);
    peer_settle(new);
    peer_logout(new);
}

/* Another ISID or another name is another session. */
static void test_sessions_of_other_isids_live_side_by_side(void **state)
{
    struct peer_end *p[6];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = peer_logged_in(&bed, (uint8_t)(10 + i), "");
        peer_settle(p[i]);
    }
    assert_int_equal(bed_sessions(&bed), ARRAY_SIZE(p));
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(p[i]->tsih, p[k]->tsih);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_logout(p[i]);
}

static void test_sessions_go_to_the_core_with_the_fewest(void **state)
{
    struct peer_end *p[4];
    unsigned nr[2] = { 0 };
    json_t *layout, *cores;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(p); i++)
        p[i] = peer_logged_in(&bed, (uint8_t)(20 + i), "");
    layout = bed_call(&bed, "layout.show", NULL);
    cores = json_object_get(layout, "cores");
    assert_int_equal(json_array_size(cores), 2);
    for (i = 0; i < 2; i++)
        nr[i] = (unsigned)json_array_size(json_object_get(json_array_get(cores, i), "sessions"));
    assert_int_equal(nr[0], 2);
    assert_int_equal(nr[1], 2);
    json_decref(layout);
    for (i = 0; i < ARRAY_SIZE(p); i++)
        peer_logout(p[i]);
}

/* ---- NOP, Text, Logout, Async ---------------------------------------------------------------------------- */

static void test_a_ping_comes_back_with_its_data(void **state)
{
    static const uint32_t lens[] = { 0, 1, 3, 4, 511, 8192, 65536 };
    struct peer_end *p = ready("MaxRecvDataSegmentLength=262144");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_NOP_OUT, .immediate = i & 1, .final = true, .itt = ++p->itt,
                                 .ttt = ISCSI_TAG_RESERVED, .cmd_sn = p->cmd_sn, .data_len = lens[i] };

        p->cmd_sn += !pdu.immediate;
        peer_send(p, &pdu, big);
        peer_expect(p, ISCSI_OP_NOP_IN);
        assert_int_equal(p->rsp.itt, p->itt);
        assert_int_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
        assert_int_equal(p->data_len, lens[i]);
        assert_memory_equal(p->data, big, lens[i]);
    }
    peer_logout(p);
}

static int text(struct peer_end *p, const char *keys, uint32_t ttt)
{
    char buf[4096];
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_TEXT, .immediate = true, .final = true, .itt = 77, .ttt = ttt,
                             .cmd_sn = p->cmd_sn };

    pdu.data_len = keys_text(keys, buf);
    peer_send(p, &pdu, buf);
    assert_true(peer_recv_ms(p, PEER_MS));
    return p->rsp.opcode;
}

static struct peer_end *discovery(void)
{
    struct peer_end *p = peer_open(&bed);

    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nSessionType=Discovery"),
                     ISCSI_LOGIN_OK);
    return p;
}

static void test_send_targets_names_the_portal_that_was_used(void **state)
{
    struct peer_end *p = discovery();
    char pair[64];

    (void)state;
    assert_int_equal(text(p, "SendTargets=All", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_true(p->rsp.final);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    snprintf(pair, sizeof(pair), "TargetAddress=127.0.0.1:%u,1", bed.port);
    assert_true(answer_has(p, pair));
    assert_int_equal(text(p, "SendTargets=iqn.2026-01.test:none", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_int_equal(p->data_len, 0);
    assert_int_equal(text(p, "X-what=ever", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_true(answer_has(p, "X-what=NotUnderstood"));
    assert_int_equal(text(p, "no pair", ISCSI_TAG_RESERVED), ISCSI_OP_REJECT);
    assert_int_equal(text(p, "", 4711), ISCSI_OP_REJECT);   /* a TTT that was never given */
    peer_logout(p);
}

static void test_send_targets_in_a_normal_session(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    assert_int_equal(text(p, "SendTargets=All", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_true(answer_has(p, "SendTargets=Reject"));
    assert_int_equal(text(p, "SendTargets=", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    assert_int_equal(text(p, "SendTargets=iqn.2026-01.test:other", ISCSI_TAG_RESERVED), ISCSI_OP_TEXT_RESP);
    assert_true(answer_has(p, "SendTargets=Reject"));
    peer_logout(p);
}

/* Hidden targets are not listed; a long list comes in pieces that fit what the initiator takes. */
static void test_a_long_list_comes_in_pieces(void **state)
{
    struct peer_end *p;
    static char all[65536];
    uint32_t len = 0, pieces = 0, ttt = ISCSI_TAG_RESERVED;
    unsigned found = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        char iqn[64];

        snprintf(iqn, sizeof(iqn), "iqn.2026-01.test:many.%02d", i);
        bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", iqn));
    }
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", "iqn.2026-01.test:many.30", "initiator",
                                      "iqn.2026-01.test:somebody.else"));
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nSessionType=Discovery\n"
                                "MaxRecvDataSegmentLength=512"), ISCSI_LOGIN_OK);
    do {
        assert_int_equal(text(p, ttt == ISCSI_TAG_RESERVED ? "SendTargets=All" : "", ttt), ISCSI_OP_TEXT_RESP);
        assert_true(p->data_len <= 512);
        memcpy(all + len, p->data, p->data_len);
        len += p->data_len;
        ttt = p->rsp.ttt;
        assert_true(++pieces < 100);
        assert_int_equal(p->rsp.final, ttt == ISCSI_TAG_RESERVED);
    } while (!p->rsp.final);
    for (uint32_t at = 0; at < len; at += (uint32_t)strlen(all + at) + 1)
        found += !strncmp(all + at, "TargetName=", 11);
    assert_int_equal(found, 60);            /* 59 of them, and the disk */
    peer_logout(p);
    for (int i = 0; i < 60; i++) {
        char iqn[64];

        snprintf(iqn, sizeof(iqn), "iqn.2026-01.test:many.%02d", i);
        bed_do(&bed, "target.delete", json_pack("{s:s}", "iqn", iqn));
    }
}

static void test_commands_in_a_discovery_session_are_rejected(void **state)
{
    struct peer_end *p = discovery();
    static const uint8_t tur[16];
    struct iscsi_pdu pdu = cmd_pdu(p, tur, 0, false, false);

    (void)state;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_REJECT);
    peer_close(p);
}

static void test_logout_reasons(void **state)
{
    static const struct {
        uint8_t reason;
        uint16_t cid;
        int response;
    } rows[] = {
        { ISCSI_LOGOUT_RECOVERY, 0, ISCSI_LOGOUT_NO_RECOVERY },
        { ISCSI_LOGOUT_CONNECTION, 5, ISCSI_LOGOUT_NO_CID },
        { ISCSI_LOGOUT_CONNECTION, 0, ISCSI_LOGOUT_OK },
    };
    struct peer_end *p = ready("");

    (void)state;
    hanging_write(p, 0);                    /* in flight all the while */
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = ++p->itt,
                                 .cmd_sn = p->cmd_sn,
                                 .logout = { .reason = rows[i].reason, .cid = rows[i].cid } };

        peer_send(p, &pdu, NULL);
        peer_expect(p, ISCSI_OP_LOGOUT_RESP);
        assert_int_equal(p->rsp.logout.response, rows[i].response);
    }
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
}

static void test_session_logout_asks_the_initiator(void **state)
{
    struct peer_end *p = ready("");
    json_t *list = bed_call(&bed, "session.list", NULL), *s = json_array_get(list, 0);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(s, "initiator")), I_IQN);
    assert_string_equal(json_string_value(json_object_get(s, "target")), T_IQN);
    assert_string_equal(json_string_value(json_object_get(s, "state")), "logged-in");
    assert_int_equal(json_integer_value(json_object_get(s, "tsih")), p->tsih);
    bed_do(&bed, "session.logout", json_pack("{s:O}", "id", json_object_get(s, "id")));
    peer_expect(p, ISCSI_OP_ASYNC);
    assert_int_equal(p->rsp.async.event, ISCSI_ASYNC_LOGOUT_REQUEST);
    json_decref(list);
    bed_refused(&bed, "session.logout", json_pack("{s:i}", "id", 999999), "no session 999999");
    peer_logout(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_write_is_read_back, fresh),
        cmocka_unit_test_setup(test_writes_in_all_four_combinations, fresh),
        cmocka_unit_test_setup(test_residuals_of_reads, fresh),
        cmocka_unit_test_setup(test_residual_of_a_short_answer, fresh),
        cmocka_unit_test_setup(test_sense_comes_with_its_length, fresh),
        cmocka_unit_test_setup(test_commands_outside_the_window_are_ignored, fresh),
        cmocka_unit_test_setup(test_commands_out_of_order_wait_for_their_turn, fresh),
        cmocka_unit_test_setup(test_a_held_write_runs_when_its_turn_comes, fresh),
        cmocka_unit_test_setup(test_cmd_sn_wraps, fresh),
        cmocka_unit_test_setup(test_a_full_window_is_served, fresh),
        cmocka_unit_test_setup(test_a_tag_in_use_is_rejected, fresh),
        cmocka_unit_test_setup(test_pdus_that_cannot_be_are_rejected_and_the_session_lives, fresh),
        cmocka_unit_test_setup(test_bad_ahs_never_costs_the_session, fresh),
        cmocka_unit_test_setup(test_data_that_break_the_rules_end_the_command_only, fresh),
        cmocka_unit_test_setup(test_a_refused_write_swallows_its_data, fresh),
        cmocka_unit_test_setup(test_abort_of_a_write_that_waits_for_data, fresh),
        cmocka_unit_test_setup(test_abort_of_a_command_that_has_not_come, fresh),
        cmocka_unit_test_setup(test_task_set_and_resets_end_waiting_writes, fresh),
        cmocka_unit_test_setup(test_resets_are_told_apart, fresh),
        cmocka_unit_test_setup(test_functions_that_are_not_there, fresh),
        cmocka_unit_test_setup(test_cold_reset_ends_the_sessions, fresh),
        cmocka_unit_test_setup(test_reinstatement_ends_the_old_writer_first, fresh),
        cmocka_unit_test_setup(test_reinstatement_waits_for_the_old_session, fresh),
        cmocka_unit_test_setup(test_sessions_of_other_isids_live_side_by_side, fresh),
        cmocka_unit_test_setup(test_sessions_go_to_the_core_with_the_fewest, fresh),
        cmocka_unit_test_setup(test_a_ping_comes_back_with_its_data, fresh),
        cmocka_unit_test_setup(test_send_targets_names_the_portal_that_was_used, fresh),
        cmocka_unit_test_setup(test_send_targets_in_a_normal_session, fresh),
        cmocka_unit_test_setup(test_a_long_list_comes_in_pieces, fresh),
        cmocka_unit_test_setup(test_commands_in_a_discovery_session_are_rejected, fresh),
        cmocka_unit_test_setup(test_logout_reasons, fresh),
        cmocka_unit_test_setup(test_session_logout_asks_the_initiator, fresh),
    };

    return cmocka_run_group_tests(tests, up, down);
}
