/*
 * test_case_data.c - data that break the rules: immediate, unsolicited and solicited, tags, offsets, numbers, F
 */
#include "tgt_bed.h"

static uint8_t data[2 << 20], back[65536];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 13 + (i >> 10));
    return 0;
}

static struct iscsi_pdu write_pdu(struct peer_end *p, uint32_t lba, uint16_t blocks, uint32_t immediate,
                                  bool final)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    cdb_rw10(cdb, true, lba, blocks);
    pdu = cmd_pdu(p, cdb, blocks * T_BLOCK, false, true);
    pdu.data_len = immediate;
    pdu.final = final;
    return pdu;
}

/* What is on the disk must still be zeroes, which is what a case that ends badly has to leave. */
static void untouched(struct peer_end *p, uint32_t lba, uint16_t blocks)
{
    static const uint8_t zeroes[65536];

    assert_int_equal(peer_read10(p, lba, blocks, back), SCSI_GOOD);
    assert_memory_equal(back, zeroes, blocks * T_BLOCK);
}

static void zero(struct peer_end *p, uint32_t lba, uint16_t blocks)
{
    static const uint8_t zeroes[65536];

    assert_int_equal(peer_write10(p, lba, blocks, zeroes), SCSI_GOOD);
}

/* ---- Data-Out that does not fit its R2T (11.7) ----------------------------------------------------------- */

struct bad_out {
    const char *what;
    uint32_t ttt_off, sn, off, len;
    bool final;
};

/* A write of 8 KiB whose R2T is answered wrong: ended with what 11.4.7.2 says, nothing written, and the session
 * and the next write go on. */
static void bad_data_out(const struct bad_out *rows, size_t nr, unsigned asc)
{
    for (size_t i = 0; i < nr; i++) {
        struct peer_end *p = ready("ImmediateData=Yes");
        struct iscsi_pdu write, out;

        zero(p, 0, 16);
        write = hanging_write(p, 0);
        out = data_out_pdu(&write, p->rsp.ttt + rows[i].ttt_off, rows[i].sn, rows[i].off, rows[i].len,
                           rows[i].final);
        peer_send(p, &out, data);
        if (!peer_recv_ms(p, PEER_MS))
            fail_msg("%s: no answer", rows[i].what);
        if (p->rsp.opcode != ISCSI_OP_SCSI_RESP || p->rsp.resp.status != SCSI_CHECK_CONDITION)
            fail_msg("%s: %s with status %u", rows[i].what, iscsi_opcode_name(p->rsp.opcode),
                     p->rsp.resp.status);
        assert_int_equal(p->data[2 + 2] & 0xf, SCSI_ABORTED_COMMAND);
        assert_int_equal(p->data[2 + 12] << 8 | p->data[2 + 13], asc);
        untouched(p, 0, 16);
        write = hanging_write(p, 50);
        out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);
        peer_send(p, &out, data);
        expect_status(p, SCSI_GOOD);
        peer_logout(p);
    }
}

static void test_data_under_a_tag_nobody_gave_end_the_write(void **state)
{
    static const struct bad_out rows[] = {
        { "the next tag", 1, 0, 0, 8192, true },
        { "the one after", 2, 0, 0, 8192, true },
        { "one far off", 0x12345, 0, 0, 8192, true },
    };

    (void)state;
    bad_data_out(rows, ARRAY_SIZE(rows), 0x4b00);
}

static void test_data_at_another_offset_end_the_write(void **state)
{
    static const struct bad_out rows[] = {
        { "past what is due", 0, 0, 512, 512, false },
        { "past the R2T", 0, 0, 8192, 512, false },
        { "far past it", 0, 0, 0x7fffff00, 512, false },
    };

    (void)state;
    bad_data_out(rows, ARRAY_SIZE(rows), 0x4b00);
}

static void test_data_with_another_number_end_the_write(void **state)
{
    static const struct bad_out rows[] = {
        { "DataSN 1 first", 0, 1, 0, 512, false },
        { "DataSN -1", 0, 0xffffffff, 0, 512, false },
    };

    (void)state;
    bad_data_out(rows, ARRAY_SIZE(rows), 0x4b00);
}

static void test_an_early_or_missing_f_ends_the_write(void **state)
{
    static const struct bad_out rows[] = {
        { "F before all is there", 0, 0, 0, 512, true },
        { "F with nothing", 0, 0, 0, 0, true },
        { "all without F", 0, 0, 0, 8192, false },
    };

    (void)state;
    bad_data_out(rows, ARRAY_SIZE(rows), 0x4b00);
}

static void test_more_data_than_solicited_end_the_write(void **state)
{
    static const struct bad_out rows[] = {
        { "a byte too many", 0, 0, 0, 8193, true },
        { "much too many", 0, 0, 0, 262144, true },
    };

    (void)state;
    bad_data_out(rows, ARRAY_SIZE(rows), 0x4b00);
}

/* An offset whose end is past 2^32 is no header at all. */
static void test_an_offset_that_wraps_is_rejected(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0),
                     out = data_out_pdu(&write, p->rsp.ttt, 0, 0xffffff00, 512, false);

    (void)state;
    peer_send(p, &out, data);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    assert_int_equal(peer_tmf(p, ISCSI_TMF_ABORT_TASK, write.itt, write.cmd_sn, 0), ISCSI_TMF_COMPLETE);
    peer_serves(p);
    peer_logout(p);
}

/* The second of two pieces is wrong: what came of the first is not written either. */
static void test_a_write_that_breaks_half_way_writes_nothing(void **state)
{
    static const struct bad_out second[] = {
        { "overlapping", 0, 1, 0, 512, false }, { "a gap", 0, 1, 1024, 512, false },
        { "a number left out", 0, 2, 512, 512, false }, { "a number twice", 0, 0, 512, 512, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(second); i++) {
        struct peer_end *p = ready("ImmediateData=Yes");
        struct iscsi_pdu write, out;

        zero(p, 0, 16);
        write = hanging_write(p, 0);
        out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 512, false);
        peer_send(p, &out, data);
        out = data_out_pdu(&write, p->rsp.ttt, second[i].sn, second[i].off, second[i].len, second[i].final);
        peer_send(p, &out, data);
        peer_check(p, SCSI_ABORTED_COMMAND, 0x4b00);
        untouched(p, 0, 16);
        peer_logout(p);
    }
}

/* The LUN field of a Data-Out belongs to the tag; it moves nothing to another unit. */
static void test_data_that_name_another_unit_reach_none_but_their_own(void **state)
{
    struct peer_end *p;
    struct iscsi_pdu write, out;

    (void)state;
    bed_ram(&bed, T_IQN, 1, 1);
    p = ready("ImmediateData=No");
    write = hanging_write(p, 0);
    out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);
    out.lun = scsi_lun_encode(1);
    peer_send(p, &out, data);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    {
        uint8_t cdb[16];
        struct iscsi_pdu read;

        cdb_rw10(cdb, false, 0, 16);
        do {                                /* the unit attention of LUN 1 first */
            read = cmd_pdu(p, cdb, 8192, true, false);
            read.lun = scsi_lun_encode(1);
            peer_send(p, &read, NULL);
            assert_true(peer_recv_ms(p, PEER_MS));
        } while (p->rsp.opcode == ISCSI_OP_SCSI_RESP);
        for (uint32_t i = 0; i < p->data_len; i++)
            assert_int_equal(p->data[i], 0);
    }
    peer_logout(p);
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

/* ---- Data-Out without a right to it ---------------------------------------------------------------------- */

static void test_data_out_for_a_read_are_dropped(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16];
    struct iscsi_pdu pdu, out;

    (void)state;
    cdb_rw10(cdb, false, 0, 1);
    pdu = cmd_pdu(p, cdb, 512, true, false);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_DATA_IN);       /* it is over: what comes for it is dropped */
    out = data_out_pdu(&pdu, ISCSI_TAG_RESERVED, 0, 0, 512, true);
    peer_send(p, &out, data);
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

/* All of it is there: what still comes is nobody's. */
static void test_data_out_after_the_last_is_not_taken(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0), out;

    (void)state;
    out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);
    peer_send(p, &out, data);
    peer_send(p, &out, data + 8192);
    do
        assert_true(peer_recv_ms(p, PEER_MS));      /* too late for the task, or for its tag: a Reject then */
    while (p->rsp.opcode == ISCSI_OP_REJECT);
    assert_int_equal(p->rsp.opcode, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
    assert_int_equal(peer_read10(p, 0, 16, back), SCSI_GOOD);
    assert_memory_equal(back, data, 8192);
    peer_logout(p);
}

static void test_unsolicited_data_while_an_r2t_is_out_end_the_write(void **state)
{
    struct peer_end *p = ready("InitialR2T=No\nImmediateData=No");
    struct iscsi_pdu write = hanging_write(p, 0), out;

    (void)state;
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 0, 8192, true);
    peer_send(p, &out, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

/* ---- unsolicited and immediate data (4.2.5.2, 13.10, 13.11, 13.14) --------------------------------------- */

static void test_unsolicited_data_that_were_not_agreed_on_end_the_write(void **state)
{
    struct peer_end *p = ready("InitialR2T=Yes");
    struct iscsi_pdu write = write_pdu(p, 0, 16, 0, false), out;

    (void)state;
    peer_send(p, &write, NULL);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 0, 8192, true);
    peer_send(p, &out, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

static void test_immediate_data_that_were_not_agreed_on_end_the_write(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = write_pdu(p, 0, 1, 512, true);

    (void)state;
    peer_send(p, &write, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

static void test_immediate_data_past_first_burst_end_the_write(void **state)
{
    struct peer_end *p = ready("FirstBurstLength=4096");
    struct iscsi_pdu write;

    (void)state;
    write = write_pdu(p, 0, 16, 4096, true);        /* to the limit: the rest is asked for */
    peer_send(p, &write, data);
    assert_int_equal(feed_r2ts(p, data, 8192), SCSI_GOOD);
    write = write_pdu(p, 0, 16, 4100, true);
    peer_send(p, &write, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

static void test_immediate_data_past_what_the_command_moves_end_the_write(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu write = write_pdu(p, 0, 1, 1024, true);

    (void)state;
    peer_send(p, &write, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

static void test_unsolicited_data_past_first_burst_end_the_write(void **state)
{
    struct peer_end *p = ready("InitialR2T=No\nFirstBurstLength=4096");
    struct iscsi_pdu write = write_pdu(p, 0, 16, 2048, false), out;

    (void)state;
    peer_send(p, &write, data);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 2048, 2052, true);
    peer_send(p, &out, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0c);
    peer_serves(p);
    peer_logout(p);
}

/* 11.4.7.2: "not enough unsolicited data" when F comes before FirstBurstLength. */
static void test_too_little_unsolicited_data_end_the_write(void **state)
{
    struct peer_end *p = ready("InitialR2T=No\nFirstBurstLength=4096");
    struct iscsi_pdu write = write_pdu(p, 0, 16, 512, false), out;

    (void)state;
    peer_send(p, &write, data);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 512, 512, true);
    peer_send(p, &out, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x0c0d);
    peer_serves(p);
    peer_logout(p);
}

/* 11.7.1: F may come by itself, in an empty PDU. */
static void test_an_empty_last_data_out_ends_the_burst(void **state)
{
    struct peer_end *p = ready("InitialR2T=No\nFirstBurstLength=4096");
    struct iscsi_pdu write = write_pdu(p, 0, 8, 0, false), out;

    (void)state;
    peer_send(p, &write, NULL);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, 0, 4096, false);
    peer_send(p, &out, data);
    out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 1, 4096, 0, true);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

/* ---- R2Ts ------------------------------------------------------------------------------------------------ */

/* MaxBurstLength bounds each, MaxOutstandingR2T their number, R2TSN and offset go on without a gap. */
static void test_r2ts_keep_to_what_was_agreed_on(void **state)
{
    struct peer_end *p =
        ready("ImmediateData=No\nMaxBurstLength=8192\nFirstBurstLength=8192\nMaxOutstandingR2T=3");
    struct iscsi_pdu write = write_pdu(p, 0, 2048, 0, true), r2t[3], out;
    uint32_t sn = 0, asked = 0, sent = 0;
    unsigned waiting = 0, first = 0;

    (void)state;
    peer_send(p, &write, NULL);
    while (sent < 1 << 20) {
        while (waiting < 3 && asked < 1 << 20) {
            peer_expect(p, ISCSI_OP_R2T);
            assert_int_equal(p->rsp.r2t.r2t_sn, sn++);
            assert_int_equal(p->rsp.r2t.offset, asked);
            assert_int_equal(p->rsp.r2t.length, 8192);
            assert_int_not_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
            r2t[(first + waiting++) % 3] = p->rsp;
            asked += 8192;
        }
        out = data_out_pdu(&write, r2t[first].ttt, 0, r2t[first].r2t.offset, 8192, true);
        peer_send(p, &out, data + out.data_out.offset);
        first = (first + 1) % 3;
        waiting--;
        sent += 8192;
    }
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

/* One at a time unless more were agreed on. */
static void test_one_r2t_is_out_at_a_time_by_default(void **state)
{
    struct peer_end *p =
        ready("ImmediateData=No\nMaxBurstLength=8192\nFirstBurstLength=8192\nMaxOutstandingR2T=1");
    struct iscsi_pdu write = write_pdu(p, 0, 64, 0, true);

    (void)state;
    peer_send(p, &write, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    write.ttt = p->rsp.ttt;
    peer_quiet(p);
    p->rsp = (struct iscsi_pdu){ .itt = write.itt, .ttt = write.ttt };
    {
        struct iscsi_pdu out = data_out_pdu(&write, write.ttt, 0, 0, 8192, true);

        peer_send(p, &out, data);
    }
    assert_int_equal(feed_r2ts(p, data, 8192), SCSI_GOOD);
    peer_logout(p);
}

/* DataSequenceInOrder: the second R2T is not answered before the first. */
static void test_r2ts_answered_out_of_order_end_the_write(void **state)
{
    struct peer_end *p =
        ready("ImmediateData=No\nMaxBurstLength=8192\nFirstBurstLength=8192\nMaxOutstandingR2T=2");
    struct iscsi_pdu write = write_pdu(p, 0, 64, 0, true), out;

    (void)state;
    peer_send(p, &write, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    peer_expect(p, ISCSI_OP_R2T);
    out = data_out_pdu(&write, p->rsp.ttt, 0, 8192, 8192, true);
    peer_send(p, &out, data);
    peer_check(p, SCSI_ABORTED_COMMAND, 0x4b00);
    peer_serves(p);
    peer_logout(p);
}

/* The smallest pieces there are: slow, and right. */
static void test_data_out_of_one_byte_each_are_put_together(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = write_pdu(p, 3, 1, 0, true), out;

    (void)state;
    peer_send(p, &write, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    for (uint32_t i = 0; i < 512; i++) {
        out = data_out_pdu(&write, p->rsp.ttt, i, i, 1, i == 511);
        peer_send(p, &out, data + i);
    }
    expect_status(p, SCSI_GOOD);
    assert_int_equal(peer_read10(p, 3, 1, back), SCSI_GOOD);
    assert_memory_equal(back, data, 512);
    peer_logout(p);
}

/* Empty ones in between say nothing, but have a number. */
static void test_empty_data_out_count(void **state)
{
    struct peer_end *p = ready("ImmediateData=No");
    struct iscsi_pdu write = write_pdu(p, 3, 1, 0, true), out;

    (void)state;
    peer_send(p, &write, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    for (uint32_t i = 0; i < 100; i++) {
        out = data_out_pdu(&write, p->rsp.ttt, i, 0, 0, false);
        peer_send(p, &out, NULL);
    }
    out = data_out_pdu(&write, p->rsp.ttt, 100, 0, 512, true);
    peer_send(p, &out, data);
    expect_status(p, SCSI_GOOD);
    peer_logout(p);
}

/* A window full of writes that are never answered: other sessions are served, and it all ends with the session. */
static void test_r2ts_hoarded_by_one_session_do_not_stop_another(void **state)
{
    struct peer_end *p = ready("ImmediateData=No"), *q = peer_ready(&bed, 2, "");

    (void)state;
    for (unsigned i = 0; i < SESS_WINDOW; i++) {
        struct iscsi_pdu write = write_pdu(p, i * 16, 16, 0, true);

        peer_send(p, &write, NULL);
    }
    for (unsigned i = 0; i < SESS_WINDOW; i++)
        peer_expect(p, ISCSI_OP_R2T);
    assert_int_equal(peer_write10(q, 0, 16, data), SCSI_GOOD);
    assert_int_equal(peer_read10(q, 0, 16, back), SCSI_GOOD);
    assert_memory_equal(back, data, 8192);
    peer_close(p);
    peer_serves(q);
    peer_logout(q);
}

/* ---- Data-In --------------------------------------------------------------------------------------------- */

/* MaxRecvDataSegmentLength of the initiator, MaxBurstLength by F, DataSN and offset without a gap. */
static void test_data_in_keep_to_what_was_agreed_on(void **state)
{
    static const uint32_t segments[] = { 512, 1000, 4096, 65536 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
        char keys[128];
        struct peer_end *p;
        struct iscsi_pdu pdu;
        uint8_t cdb[16];
        uint32_t got = 0, sn = 0, burst = 0;

        snprintf(keys, sizeof(keys), "MaxRecvDataSegmentLength=%u\nMaxBurstLength=8192", segments[i]);
        p = ready(keys);
        cdb_rw10(cdb, false, 0, 128);
        pdu = cmd_pdu(p, cdb, 65536, true, false);
        peer_send(p, &pdu, NULL);
        do {
            peer_expect(p, ISCSI_OP_DATA_IN);
            assert_int_equal(p->rsp.itt, pdu.itt);
            assert_int_equal(p->rsp.resp.data_sn, sn++);
            assert_int_equal(p->rsp.resp.offset, got);
            assert_true(p->data_len <= segments[i]);
            got += p->data_len;
            burst += p->data_len;
            assert_true(burst <= 8192);
            assert_int_equal(p->rsp.final, burst == 8192);
            burst = p->rsp.final ? 0 : burst;
        } while (!p->rsp.resp.has_status);
        assert_int_equal(got, 65536);
        assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
        peer_logout(p);
    }
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_data_under_a_tag_nobody_gave_end_the_write),
        CASE(test_data_at_another_offset_end_the_write),
        CASE(test_data_with_another_number_end_the_write),
        CASE(test_an_early_or_missing_f_ends_the_write),
        CASE(test_more_data_than_solicited_end_the_write),
        CASE(test_an_offset_that_wraps_is_rejected),
        CASE(test_a_write_that_breaks_half_way_writes_nothing),
        CASE(test_data_that_name_another_unit_reach_none_but_their_own),
        CASE(test_data_out_for_a_read_are_dropped),
        CASE(test_data_out_after_the_last_is_not_taken),
        CASE(test_unsolicited_data_while_an_r2t_is_out_end_the_write),
        CASE(test_unsolicited_data_that_were_not_agreed_on_end_the_write),
        CASE(test_immediate_data_that_were_not_agreed_on_end_the_write),
        CASE(test_immediate_data_past_first_burst_end_the_write),
        CASE(test_immediate_data_past_what_the_command_moves_end_the_write),
        CASE(test_unsolicited_data_past_first_burst_end_the_write),
        CASE(test_too_little_unsolicited_data_end_the_write),
        CASE(test_an_empty_last_data_out_ends_the_burst),
        CASE(test_r2ts_keep_to_what_was_agreed_on),
        CASE(test_one_r2t_is_out_at_a_time_by_default),
        CASE(test_r2ts_answered_out_of_order_end_the_write),
        CASE(test_data_out_of_one_byte_each_are_put_together),
        CASE(test_empty_data_out_count),
        CASE(test_r2ts_hoarded_by_one_session_do_not_stop_another),
        CASE(test_data_in_keep_to_what_was_agreed_on),
    };

    return cmocka_run_group_tests(tests, up, down);
}
