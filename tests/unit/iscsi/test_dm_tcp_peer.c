/* A datamover against a peer that is only bytes: split anywhere, flipped, or written by somebody hostile. */
#include "tests/unit/iscsi/dm_bytes.h"

/* ---- splits ---- */

static void stream_to_target(struct bytes *s)
{
    s->len = 0;
    bytes_pdu(s, ping(1, 5), "hello");
    bytes_pdu(s, write_cmd(4, 1500, 701, false), text);
    bytes_pdu(s, data_out(4, ISCSI_TAG_RESERVED, 0, 701, 500, false), text + 701);
    bytes_pdu(s, data_out(4, ISCSI_TAG_RESERVED, 1, 1201, 299, true), text + 1201);
    bytes_pdu(s, data_out(77, 5, 0, 0, 100, true), text);   /* nobody's */
    bytes_pdu(s, ping(2, 0), "");
}

static void expect_stream_at_target(struct ends *b)
{
    assert_int_equal(b->tgt.terminated, 0);
    assert_int_equal(b->tgt.rejects, 0);
    assert_int_equal(b->tgt.controls, 2);
    assert_int_equal(b->tgt.commands, 1);
    assert_memory_equal(b->tgt.data, "hello", 5);
    assert_int_equal(b->tgt.task[4].unsolicited, 1);
    assert_int_equal(b->tgt.task[4].how, DM_OK);
    assert_int_equal(b->tgt.task[4].t.out_done, 1500);
    assert_int_equal(pattern_differs(b->tgt.task[4].mem, 4, 1500), 1500);
}

static void test_stream_may_be_split_at_every_byte(void **state)
{
    struct ends b = { 0 };
    static struct bytes s;

    (void)state;
    for (unsigned digests = 0; digests < 4; digests++) {
        const struct iscsi_params p = params_split(digests);

        s = (struct bytes){ .header_digest = p.header_digest, .data_digest = p.data_digest };
        stream_to_target(&s);
        for (uint32_t cut = 0; cut <= s.len; cut += digests ? 3 : 1) {

            raw_start(&b, ISCSI_TARGET, &p);
            raw_write(&b, s.at, cut);
            raw_write(&b, s.at + cut, s.len - cut);
            expect_stream_at_target(&b);
        }
    }
    ends_stop(&b);
}

static void test_stream_may_come_byte_by_byte(void **state)
{
    struct ends b = { 0 };
    static struct bytes s;

    (void)state;
    for (unsigned digests = 0; digests < 4; digests++) {
        const struct iscsi_params p = params_split(digests);

        s = (struct bytes){ .header_digest = p.header_digest, .data_digest = p.data_digest };
        stream_to_target(&s);
        raw_start(&b, ISCSI_TARGET, &p);
        for (uint32_t i = 0; i < s.len; i++) {
            assert_int_equal(write(b.fd, &s.at[i], 1), 1);
            rt_turn(b.rt, RT_MS);
            rt_turn(b.rt, 0);
        }
        turn_some(&b, 4);
        expect_stream_at_target(&b);
    }
    ends_stop(&b);
}

/* Large Data-Ins received in place, with the stream cut around headers, trailers and the threshold. */
static void test_bulk_data_may_be_split_anywhere(void **state)
{
    struct ends b = { 0 };
    static const int around[] = { -60, -49, -48, -47, -5, -4, -1, 0, 1, 3, 4, 5, 47, 48, 49, 52, 60, 40000 };
    static struct bytes s;

    (void)state;
    for (unsigned digests = 0; digests < 4; digests++) {
        struct iscsi_params p = params_split(digests);
        uint32_t mark[3];

        s = (struct bytes){ .header_digest = p.header_digest, .data_digest = p.data_digest };
        bytes_pdu(&s, data_in(4, 0, 0, 50001, false), text);
        mark[0] = s.len;
        bytes_pdu(&s, data_in(4, 1, 50001, 60002, false), text + 50001);
        mark[1] = s.len;
        bytes_pdu(&s, data_in(4, 2, 110003, 7, true), text + 110003);
        mark[2] = s.len;
        for (unsigned m = 0; m < 3; m++) {
            for (unsigned i = 0; i < ARRAY_SIZE(around); i++) {
                const uint32_t cut = (uint32_t)((int)mark[m] + around[i]);
                struct xtask *x;

                if (cut > s.len)
                    continue;
                raw_start(&b, ISCSI_INITIATOR, &p);
                b.ini.piece = i & 1 ? 4096 : 0;
                x = end_submit(&b.ini, 4, false, 110010);
                turn_some(&b, 2);
                raw_write(&b, s.at, 300);
                raw_write(&b, s.at + 300, cut - 300);
                raw_write(&b, s.at + cut, s.len - cut);
                assert_true(turn_until(&b, &b.ini.released, 1));
                assert_int_equal(x->status, 0);
                assert_int_equal(pattern_differs(x->mem, 4, 110010), 110010);
                assert_int_equal(x->mem[110010], 0xdd);
            }
        }
    }
    ends_stop(&b);
}

/* ---- hostile initiators ---- */

/* Before the login is over one wrong byte is enough. */
static void test_login_phase_forgives_nothing(void **state)
{
    struct ends b = { 0 };
    static const struct {
        const char *what;
        uint8_t bhs[ISCSI_BHS_LEN];
    } rows[] = {
        { "data over 8192", { 0x43, 0x87, [6] = 0x20, [7] = 0x01 } },
        { "data of 16 MiB", { 0x43, 0x87, [5] = 0xff, [6] = 0xff, [7] = 0xff } },
        { "AHS on a Login", { 0x43, 0x87, [4] = 255 } },
        { "unknown opcode", { 0x1f, 0x80 } },
        { "a target's opcode", { 0x23, 0x87 } },
        { "a SCSI Command", { 0x01, 0xc1, [20] = 0, 0, 0, 0 } },
        { "a NOP-Out", { 0x40, 0x80, [20] = 0xff, 0xff, 0xff, 0xff } },
        { "a Text Request", { 0x04, 0x80, [20] = 0xff, 0xff, 0xff, 0xff } },
        { "a Data-Out", { 0x05, 0x80, [20] = 0xff, 0xff, 0xff, 0xff } },
        { "HTTP", { 'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P', '/', '1', '.', '1' } },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {

        raw_start(&b, ISCSI_TARGET, NULL);
        raw_write(&b, rows[i].bhs, sizeof(rows[i].bhs));
        expect_fate(&b, &b.tgt, FATE_PROTO, rows[i].what);
        assert_int_equal(b.tgt.controls, 0);
    }
    ends_stop(&b);
}

/* 8192 bytes of login data are taken, in one piece or two. */
static void test_login_data_up_to_the_limit(void **state)
{
    struct ends b = { 0 };
    const uint8_t bhs[ISCSI_BHS_LEN] = { 0x43, 0x87, [6] = 0x20 };

    (void)state;
    raw_start(&b, ISCSI_TARGET, NULL);
    raw_write(&b, bhs, sizeof(bhs));
    raw_write(&b, text, 100);
    raw_write(&b, text + 100, 8092);
    assert_int_equal(b.tgt.terminated, 0);
    assert_int_equal(b.tgt.controls, 1);
    assert_memory_equal(b.tgt.data, text, 8192);
    ends_stop(&b);
}

/* After the login, what is wrong in a PDU whose length can be believed costs that PDU only. */
static void test_refused_pdus_are_skipped(void **state)
{
    struct ends b = { 0 };
    static const struct {
        const char *what;
        uint8_t bhs[ISCSI_BHS_LEN];
        enum iscsi_reject reason;
    } rows[] = {
        { "unknown opcode with data", { 0x1f, 0x80, [6] = 0x10 }, ISCSI_REJECT_NOT_SUPPORTED },
        { "data over what was declared", { 0x40, 0x80, [5] = 1, [7] = 4, [20] = 255, 255, 255, 255 },
          ISCSI_REJECT_PROTOCOL_ERROR },
        { "AHS on a NOP-Out", { 0x40, 0x80, [4] = 3, [20] = 255, 255, 255, 255 }, ISCSI_REJECT_PROTOCOL_ERROR },
        { "read with data", { 0x01, 0xc0, [7] = 8, [23] = 8 }, ISCSI_REJECT_PROTOCOL_ERROR },
        { "reserved tag", { 0x01, 0x80, [16] = 255, 255, 255, 255 }, ISCSI_REJECT_INVALID_FIELD },
        { "AHS of 1020 bytes", { 0x01, 0xc0, [4] = 255, [23] = 8 }, ISCSI_REJECT_INVALID_FIELD },
    };
    const struct iscsi_params p = params_usual();
    static struct bytes s;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {

        s.len = 0;
        bytes_add(&s, rows[i].bhs, ISCSI_BHS_LEN);
        bytes_add(&s, text, iscsi_bhs_ahs_len(rows[i].bhs) + iscsi_padded(iscsi_bhs_data_len(rows[i].bhs)));
        bytes_pdu(&s, ping(1, 5), "hello");
        raw_start(&b, ISCSI_TARGET, &p);
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.tgt, FATE_REJECT, rows[i].what);
        assert_int_equal(b.tgt.reject, rows[i].reason);
        assert_int_equal(b.tgt.controls, 1);
        assert_memory_equal(b.tgt.data, "hello", 5);
    }
    ends_stop(&b);
}

static void test_control_data_is_bounded(void **state)
{
    struct ends b = { 0 };
    struct iscsi_params p = params_usual();
    static struct bytes s;

    (void)state;
    p.recv_data_max = 1 << 20;
    raw_start(&b, ISCSI_TARGET, &p);
    s.len = 0;
    bytes_pdu(&s, ping(1, 65536), text);
    raw_write(&b, s.at, 1000);
    raw_write(&b, s.at + 1000, s.len - 1000);
    assert_int_equal(b.tgt.controls, 1);
    assert_memory_equal(b.tgt.data, text, 65536);
    s.len = 0;
    bytes_pdu(&s, ping(1, 65537), text);
    raw_write(&b, s.at, s.len);
    expect_fate(&b, &b.tgt, FATE_REJECT, "65537 bytes");
    assert_int_equal(b.tgt.reject, ISCSI_REJECT_LONG_OPERATION);
    assert_int_equal(b.tgt.controls, 1);
    ends_stop(&b);
}

/* A second command with the tag of a first is refused, and the first comes to its end. */
static void test_tag_in_use_is_refused_without_harm(void **state)
{
    struct ends b = { 0 };
    struct iscsi_params p = params_split(0);
    static struct bytes s;

    (void)state;
    raw_start(&b, ISCSI_TARGET, &p);
    s.len = 0;
    bytes_pdu(&s, write_cmd(4, 1500, 700, false), text);
    bytes_pdu(&s, write_cmd(4, 900, 900, true), text + 40000);
    bytes_pdu(&s, data_out(4, ISCSI_TAG_RESERVED, 0, 700, 800, true), text + 700);
    raw_write(&b, s.at, s.len);
    expect_fate(&b, &b.tgt, FATE_REJECT, "tag in use");
    assert_int_equal(b.tgt.reject, ISCSI_REJECT_TASK_IN_PROGRESS);
    assert_int_equal(b.tgt.commands, 1);
    assert_int_equal(b.tgt.task[4].how, DM_OK);
    assert_int_equal(pattern_differs(b.tgt.task[4].mem, 4, 1500), 1500);
    ends_stop(&b);
}

/* An initiator that has its status uses the tag again, though the send that carried it has not ended here. */
static void test_tag_is_free_once_its_status_is_on_the_way(void **state)
{
    const struct iscsi_params p = params_usual();
    struct iscsi_pdu read = { .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = 4 };
    static struct bytes s;
    struct ends b;

    (void)state;
    ends_start(&b);
    ends_raw(&b, ISCSI_TARGET, true);
    end_enable(&b.tgt, &p);
    read.cmd.read = true;
    read.cmd.edtl = 500000;                 /* more than the socket holds, less than a batch */
    s.len = 0;
    bytes_pdu(&s, read, "");
    raw_write(&b, s.at, s.len);
    assert_int_equal(b.tgt.task[4].puts, 0);
    raw_write(&b, s.at, s.len);
    expect_fate(&b, &b.tgt, FATE_GOES_ON, "the tag again");
    assert_int_equal(b.tgt.commands, 2);
    ends_stop(&b);
}

/* A refused command's data are nobody's: skipped, wherever they come. */
static void test_data_of_a_refused_command_are_skipped(void **state)
{
    struct ends b = { 0 };
    struct iscsi_params p = params_split(0);
    static struct bytes s;

    (void)state;
    raw_start(&b, ISCSI_TARGET, &p);
    b.tgt.refuse = true;
    s.len = 0;
    bytes_pdu(&s, write_cmd(4, 1500, 700, false), text);
    bytes_pdu(&s, data_out(4, ISCSI_TAG_RESERVED, 0, 700, 800, true), text + 700);
    bytes_pdu(&s, ping(1, 0), "");
    raw_write(&b, s.at, s.len);
    expect_fate(&b, &b.tgt, FATE_GOES_ON, "refused");
    assert_int_equal(b.tgt.commands, 1);
    assert_int_equal(b.tgt.controls, 1);
    ends_stop(&b);
}

/* Unsolicited data against FirstBurstLength 1024, EDTL 1500. */
static void test_unsolicited_data_are_held_to_their_rules(void **state)
{
    struct ends b = { 0 };
    enum { NO = -1 };
    static const struct {
        const char *what;
        uint32_t imm;
        bool cmd_final;
        int sn, off, len;                   /* of one Data-Out; len -1: none */
        bool final;
        unsigned initial_r2t, immediate;
        int how;                            /* -1: still waiting */
    } rows[] = {
        { "immediate only", 100, true, 0, 0, NO, 0, 0, 1, DM_OK },
        { "immediate to the limit", 1024, true, 0, 0, NO, 0, 0, 1, DM_OK },
        { "immediate one over", 1025, true, 0, 0, NO, 0, 0, 1, DM_TOO_MUCH_UNSOLICITED },
        { "immediate not agreed", 1, true, 0, 0, NO, 0, 0, 0, DM_TOO_MUCH_UNSOLICITED },
        { "unsolicited not agreed", 0, false, 0, 0, NO, 0, 1, 1, DM_TOO_MUCH_UNSOLICITED },
        { "to the limit", 100, false, 0, 100, 924, true, 0, 1, DM_OK },
        { "one over", 100, false, 0, 100, 925, true, 0, 1, DM_TOO_MUCH_UNSOLICITED },
        { "one short", 100, false, 0, 100, 923, true, 0, 1, DM_TOO_LITTLE_UNSOLICITED },
        { "empty", 100, false, 0, 100, 0, true, 0, 1, DM_TOO_LITTLE_UNSOLICITED },
        { "more to come", 100, false, 0, 100, 500, false, 0, 1, NO },
        { "wrong DataSN", 100, false, 1, 100, 924, true, 0, 1, DM_BAD_DATA_PDU },
        { "a gap", 100, false, 0, 104, 920, true, 0, 1, DM_BAD_DATA_PDU },
        { "an overlap", 100, false, 0, 96, 928, true, 0, 1, DM_BAD_DATA_PDU },
        { "far out", 100, false, 0, 0x7fffff00, 16, true, 0, 1, DM_BAD_DATA_PDU },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_params p = params_usual();
        static struct bytes s;
        const struct xtask *x;

        p.first_burst_max = 1024;
        p.initial_r2t = rows[i].initial_r2t;
        p.immediate_data = rows[i].immediate;
        raw_start(&b, ISCSI_TARGET, &p);
        b.tgt.passive = true;
        s.len = 0;
        bytes_pdu(&s, write_cmd(4, 1500, rows[i].imm, rows[i].cmd_final), text);
        if (rows[i].len >= 0)
            bytes_pdu(&s, data_out(4, ISCSI_TAG_RESERVED, (uint32_t)rows[i].sn, (uint32_t)rows[i].off,
                                   (uint32_t)rows[i].len, rows[i].final), text);
        bytes_pdu(&s, ping(1, 0), "");
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.tgt, FATE_GOES_ON, rows[i].what);
        assert_int_equal(b.tgt.controls, 1);
        x = &b.tgt.task[4];
        if (x->unsolicited != (rows[i].how != NO) || (rows[i].how != NO && (int)x->how != rows[i].how))
            fail_msg("%s: told %u times, %d", rows[i].what, x->unsolicited, x->how);
    }
    ends_stop(&b);
}

/* One R2T for bytes 0 to 1000 of 1500, MaxBurstLength 1000; then one Data-Out. */
static void test_solicited_data_are_held_to_their_r2t(void **state)
{
    struct ends b = { 0 };
    static const struct {
        const char *what;
        uint32_t tag_off, sn, off, len;
        bool final;
        int how;                            /* -1: the R2T stays open */
    } rows[] = {
        { "right", 0, 0, 0, 1000, true, -1 },               /* the second R2T is open then */
        { "part of it", 0, 0, 0, 500, false, -1 },
        { "F early", 0, 0, 0, 500, true, DM_BAD_DATA_PDU },
        { "F late", 0, 0, 0, 1000, false, DM_BAD_DATA_PDU },
        { "past its end", 0, 0, 0, 1001, true, DM_BAD_DATA_PDU },
        { "into the next", 0, 0, 1000, 500, true, DM_BAD_DATA_PDU },
        { "wrong DataSN", 0, 1, 0, 1000, true, DM_BAD_DATA_PDU },
        { "past the command", 0, 0, 1500, 1000, true, DM_BAD_DATA_PDU },
        { "wrong tag", 1, 0, 0, 1000, true, DM_BAD_DATA_PDU },
        { "another wrong tag", 0x80000000, 0, 0, 1000, true, DM_BAD_DATA_PDU },
        { "no tag", 0xffffffff, 0, 0, 1000, true, DM_TOO_MUCH_UNSOLICITED },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_params p = params_usual();
        static struct bytes s;
        uint8_t sent[ISCSI_BHS_LEN * 2];
        struct iscsi_pdu ask;
        const struct xtask *x;
        const bool right = i == 0;
        uint32_t tag;

        p.burst_max = p.first_burst_max = 1000;
        raw_start(&b, ISCSI_TARGET, &p);
        s.len = 0;
        bytes_pdu(&s, write_cmd(4, 1500, 0, true), text);
        raw_write(&b, s.at, s.len);
        b.tgt.passive = true;
        assert_int_equal(raw_read(&b, sent, sizeof(sent)), ISCSI_BHS_LEN);
        assert_int_equal(iscsi_pdu_decode(&ask, sent, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
        assert_int_equal(ask.opcode, ISCSI_OP_R2T);
        assert_int_equal(ask.r2t.offset, 0);
        assert_int_equal(ask.r2t.length, 1000);
        s.len = 0;
        tag = rows[i].tag_off == 0xffffffff ? ISCSI_TAG_RESERVED : ask.ttt + rows[i].tag_off;
        bytes_pdu(&s, data_out(4, tag, rows[i].sn, rows[i].off, rows[i].len, rows[i].final), text);
        bytes_pdu(&s, ping(1, 0), "");
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.tgt, FATE_GOES_ON, rows[i].what);
        assert_int_equal(b.tgt.controls, 1);
        x = &b.tgt.task[4];
        if (x->gets != (rows[i].how != -1) || (rows[i].how != -1 && (int)x->how != rows[i].how))
            fail_msg("%s: told %u times, %d", rows[i].what, x->gets, x->how);
        assert_int_equal(raw_read(&b, sent, sizeof(sent)), right ? ISCSI_BHS_LEN : 0);
    }
    ends_stop(&b);
}

/* Never more R2Ts outstanding than agreed. */
static void test_r2ts_outstanding_are_as_agreed(void **state)
{
    struct ends b = { 0 };

    (void)state;
    for (uint32_t most = 1; most <= 4; most++) {
        struct iscsi_params p = params_usual();
        static struct bytes s;
        uint8_t sent[ISCSI_BHS_LEN * 16];
        struct iscsi_pdu ask;

        p.burst_max = p.first_burst_max = 512;
        p.r2t_max = most;
        raw_start(&b, ISCSI_TARGET, &p);
        s.len = 0;
        bytes_pdu(&s, write_cmd(4, 512 * 10, 0, true), text);
        raw_write(&b, s.at, s.len);
        assert_int_equal(raw_read(&b, sent, sizeof(sent)), ISCSI_BHS_LEN * most);
        assert_int_equal(iscsi_pdu_decode(&ask, sent, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
        for (uint32_t n = 0; n < 10; n++) {
            s.len = 0;
            bytes_pdu(&s, data_out(4, ask.ttt + n, 0, 512 * n, 512, true), text + 512 * n);
            raw_write(&b, s.at, s.len);
            assert_int_equal(raw_read(&b, sent, sizeof(sent)), n == 9 || n + most < 10 ? ISCSI_BHS_LEN : 0);
        }
        assert_int_equal(b.tgt.task[4].how, DM_OK);
        assert_int_equal(pattern_differs(b.tgt.task[4].mem, 4, 5120), 5120);
    }
    ends_stop(&b);
}

/* ---- hostile targets ---- */

static void test_initiator_takes_data_only_where_they_belong(void **state)
{
    struct ends b = { 0 };
    static const struct {
        const char *what;
        uint32_t itt, sn, off, len;
        enum fate fate;
    } rows[] = {                            /* after bytes 0 to 100 of 1000 */
        { "right", 4, 1, 100, 900, FATE_GOES_ON },
        { "unknown tag", 5, 9, 77, 500, FATE_GOES_ON },
        { "one too many", 4, 1, 100, 901, FATE_PROTO },
        { "a gap", 4, 1, 104, 100, FATE_PROTO },
        { "again", 4, 1, 0, 100, FATE_PROTO },
        { "wrong DataSN", 4, 2, 100, 100, FATE_PROTO },
        { "past the end", 4, 1, 1000, 4, FATE_PROTO },
        { "far out", 4, 1, 0xfffffe00, 256, FATE_PROTO },
    };
    const struct iscsi_params p = params_usual();

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        static struct bytes s;
        struct xtask *x;

        raw_start(&b, ISCSI_INITIATOR, &p);
        x = end_submit(&b.ini, 4, false, 1000);
        turn_some(&b, 2);
        s.len = 0;
        bytes_pdu(&s, data_in(4, 0, 0, 100, false), text);
        bytes_pdu(&s, data_in(rows[i].itt, rows[i].sn, rows[i].off, rows[i].len, false), text + 100);
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.ini, rows[i].fate, rows[i].what);
        assert_int_equal(pattern_differs(x->mem, 4, 100), 100);
        for (uint32_t n = x->t.in_done; n < 2000; n++)
            assert_int_equal(x->mem[n], n <= 1000 ? 0xdd : 0);
    }
    ends_stop(&b);
}

static void test_initiator_answers_only_r2ts_that_can_be(void **state)
{
    struct ends b = { 0 };
    static const struct {
        const char *what;
        uint32_t itt, sn, off, len;
        bool twice;
        enum fate fate;
    } rows[] = {                            /* a write of 3000, MaxBurstLength 1024 */
        { "right", 4, 0, 0, 1024, false, FATE_GOES_ON },
        { "unknown tag", 5, 0, 0, 1024, false, FATE_GOES_ON },
        { "over MaxBurstLength", 4, 0, 0, 1025, false, FATE_PROTO },
        { "beyond the data", 4, 0, 2000, 1001, false, FATE_PROTO },
        { "beyond the end", 4, 0, 3001, 1, false, FATE_PROTO },
        { "wrong R2TSN", 4, 1, 0, 1024, false, FATE_PROTO },
        { "more than agreed", 4, 0, 0, 1024, true, FATE_PROTO },
        { "for a read", 6, 0, 0, 16, false, FATE_PROTO },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_params p = params_usual();
        static struct bytes s;
        static uint8_t sent[4096];
        uint32_t len;

        p.burst_max = p.first_burst_max = 1024;
        p.immediate_data = 0;
        raw_start(&b, ISCSI_INITIATOR, &p);
        end_submit(&b.ini, 4, true, 3000);
        end_submit(&b.ini, 6, false, 3000);
        assert_int_equal(raw_read(&b, sent, sizeof(sent)), 2 * ISCSI_BHS_LEN);
        s.len = 0;
        bytes_pdu(&s, r2t(rows[i].itt, 8, rows[i].sn, rows[i].off, rows[i].len), "");
        if (rows[i].twice)
            bytes_pdu(&s, r2t(rows[i].itt, 9, 1, 1024, 1024), "");
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.ini, rows[i].fate, rows[i].what);
        len = raw_read(&b, sent, sizeof(sent));
        assert_int_equal(len, i == 0 ? ISCSI_BHS_LEN + 1024 : 0);
        if (len)
            assert_int_equal(pattern_differs(sent + ISCSI_BHS_LEN, 4, 1024), 1024);
    }
    ends_stop(&b);
}

/* ---- digests ---- */

/* Each bit of a stream with digests flipped in turn: never is a wrong byte handed up as right. */
static void test_flipped_bits_are_never_believed(void **state)
{
    struct ends b = { 0 };
    struct iscsi_params p = params_split(3);
    static struct bytes s;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    bytes_pdu(&s, write_cmd(4, 101, 101, true), text);
    for (uint32_t bit = 0; bit < s.len * 8; bit++) {

        raw_start(&b, ISCSI_TARGET, &p);
        b.tgt.passive = true;
        s.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        raw_write(&b, s.at, s.len);
        s.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(b.tgt.task[4].unsolicited, 0);
        assert_int_equal(b.tgt.rejects, 0);
        /* A length flipped up waits for bytes that do not come; all else is found out at once. */
        if (b.tgt.terminated)
            assert_int_equal(b.tgt.err, -EBADMSG);
        else
            assert_true(bit / 8 == 4);
    }
    ends_stop(&b);
}

/* ---- ends ---- */

/* The peer goes after each prefix of a valid stream. */
static void test_peer_may_close_after_every_byte(void **state)
{
    struct ends b = { 0 };
    const struct iscsi_params p = params_split(3);
    static struct bytes s;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    stream_to_target(&s);
    for (uint32_t cut = 0; cut < s.len; cut += cut < 120 ? 1 : 13) {

        raw_start(&b, ISCSI_TARGET, &p);
        b.tgt.passive = true;
        raw_write(&b, s.at, cut);
        assert_int_equal(b.tgt.terminated, 0);
        close(b.fd);
        b.fd = -1;
        assert_true(turn_until(&b, &b.tgt.terminated, 1));
        assert_int_equal(b.tgt.err, -ECONNRESET);
    }
    ends_stop(&b);
}

/* A task whose memory is being received into can be released: its memory is quiet, and what is left of the
 * segment is skipped. */
static void test_release_while_received_in_place(void **state)
{
    struct ends b = { 0 };

    (void)state;
    for (unsigned digest = 0; digest < 2; digest++) {
        struct iscsi_params p = params_split(digest ? 3 : 0);
        static struct bytes s;
        struct xtask *x;

        s = (struct bytes){ .header_digest = p.header_digest, .data_digest = p.data_digest };
        bytes_pdu(&s, data_in(4, 0, 0, 60000, false), text);
        bytes_pdu(&s, data_in(6, 0, 0, 500, true), text);
        raw_start(&b, ISCSI_INITIATOR, &p);
        x = end_submit(&b.ini, 4, false, 60000);
        end_submit(&b.ini, 6, false, 500);
        turn_some(&b, 2);
        raw_write(&b, s.at, 5000);          /* 55,000 outstanding: received in place from here on */
        raw_write(&b, s.at + 5000, 5000);
        dm_release_task(b.ini.dm, &x->t);
        assert_false(x->released);
        assert_true(turn_until(&b, &b.ini.released, 1));
        memset(x->mem, 0xaa, 60000);
        raw_write(&b, s.at + 10000, s.len - 10000);
        assert_int_equal(b.ini.terminated, 0);
        assert_true(b.ini.task[6].done);
        for (uint32_t n = 0; n < 60000; n++)
            assert_int_equal(x->mem[n], 0xaa);
    }
    ends_stop(&b);
}

/* A peer that reads nothing: released tasks come back once their bytes are off, an end without draining comes
 * at once, and one with it within its second. */
static void test_peer_that_reads_nothing(void **state)
{
    struct iscsi_params p = params_usual();

    (void)state;
    for (int drain = 0; drain < 2; drain++) {
        static struct bytes s;
        struct ends b;

        ends_start(&b);
        ends_raw(&b, ISCSI_TARGET, true);
        end_enable(&b.tgt, &p);
        s.len = 0;
        for (uint32_t itt = 0; itt < 4; itt++) {
            struct iscsi_pdu read = { .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = itt };

            read.cmd.read = true;
            read.cmd.edtl = 1 << 20;
            bytes_pdu(&s, read, "");
        }
        raw_write(&b, s.at, s.len);
        turn_some(&b, 10);
        assert_int_equal(b.tgt.commands, 4);
        assert_int_equal(b.tgt.task[0].puts, 0);
        dm_release_task(b.tgt.dm, &b.tgt.task[0].t);    /* in the middle of being sent */
        dm_release_task(b.tgt.dm, &b.tgt.task[3].t);    /* not begun */
        assert_true(turn_until(&b, &b.tgt.released, 1));
        assert_true(b.tgt.task[3].released);
        assert_false(b.tgt.task[0].released);
        dm_terminate(b.tgt.dm, drain);
        assert_true(turn_until(&b, &b.tgt.closed, 1));
        ends_stop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_may_be_split_at_every_byte),
        cmocka_unit_test(test_stream_may_come_byte_by_byte),
        cmocka_unit_test(test_bulk_data_may_be_split_anywhere),
        cmocka_unit_test(test_login_phase_forgives_nothing),
        cmocka_unit_test(test_login_data_up_to_the_limit),
        cmocka_unit_test(test_refused_pdus_are_skipped),
        cmocka_unit_test(test_control_data_is_bounded),
        cmocka_unit_test(test_tag_in_use_is_refused_without_harm),
        cmocka_unit_test(test_tag_is_free_once_its_status_is_on_the_way),
        cmocka_unit_test(test_data_of_a_refused_command_are_skipped),
        cmocka_unit_test(test_unsolicited_data_are_held_to_their_rules),
        cmocka_unit_test(test_solicited_data_are_held_to_their_r2t),
        cmocka_unit_test(test_r2ts_outstanding_are_as_agreed),
        cmocka_unit_test(test_initiator_takes_data_only_where_they_belong),
        cmocka_unit_test(test_initiator_answers_only_r2ts_that_can_be),
        cmocka_unit_test(test_flipped_bits_are_never_believed),
        cmocka_unit_test(test_peer_may_close_after_every_byte),
        cmocka_unit_test(test_release_while_received_in_place),
        cmocka_unit_test(test_peer_that_reads_nothing),
    };

    pattern_fill(text, 4, sizeof(text));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
