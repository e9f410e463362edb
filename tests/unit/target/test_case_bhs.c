/*
 * test_case_bhs.c - headers that cannot be: opcodes, flags, AHS, lengths, padding; the session outlives each
 */
#include <sched.h>
#include "tgt_bed.h"

static uint8_t data[300 * 1024], back[65536];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 5 + 3);
    return 0;
}

/* ---- opcodes (11.2.1.2) ---------------------------------------------------------------------------------- */

static bool is_request(unsigned opcode)
{
    return opcode <= ISCSI_OP_LOGOUT || opcode == ISCSI_OP_SNACK;
}

static bool is_response(unsigned opcode)
{
    return (opcode >= ISCSI_OP_NOP_IN && opcode <= ISCSI_OP_LOGOUT_RESP) || opcode == ISCSI_OP_R2T ||
           opcode == ISCSI_OP_ASYNC || opcode == ISCSI_OP_REJECT;
}

static void test_opcodes_nobody_knows_are_rejected_as_not_supported(void **state)
{
    struct peer_end *p = ready("");
    unsigned nr = 0;

    (void)state;
    for (unsigned first = 0; first < 256; first++) {        /* I, and the reserved bit above it */
        uint8_t bhs[ISCSI_BHS_LEN] = { [0] = (uint8_t)first, [1] = 0x80 };

        if (is_request(first & 0x3f) || is_response(first & 0x3f))
            continue;
        peer_raw(p, bhs, sizeof(bhs));
        expect_reject(p, ISCSI_REJECT_NOT_SUPPORTED);
        assert_memory_equal(p->data, bhs, sizeof(bhs));
        nr++;
    }
    assert_true(nr > 4 * 40);
    peer_serves(p);
    peer_logout(p);
}

static void test_opcodes_of_a_target_are_a_protocol_error(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned first = 0; first < 128; first++) {
        uint8_t bhs[ISCSI_BHS_LEN] = { [0] = (uint8_t)first, [1] = 0x80 };

        if (!is_response(first & 0x3f))
            continue;
        peer_raw(p, bhs, sizeof(bhs));
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
        assert_memory_equal(p->data, bhs, sizeof(bhs));
    }
    peer_serves(p);
    peer_logout(p);
}

/* What follows such a header is skipped by the lengths it gives. */
static void test_the_data_of_an_unknown_opcode_are_skipped(void **state)
{
    struct peer_end *p = ready("");
    uint8_t bhs[ISCSI_BHS_LEN] = { [0] = 0x1c, [1] = 0x80, [4] = 3 };

    (void)state;
    for (uint32_t len = 0; len <= 9; len++) {
        store_be24(&bhs[5], len);
        peer_raw(p, bhs, sizeof(bhs));
        peer_raw(p, data, 12 + iscsi_padded(len));
        expect_reject(p, ISCSI_REJECT_NOT_SUPPORTED);
        peer_serves(p);
    }
    peer_logout(p);
}

/* ---- flags ----------------------------------------------------------------------------------------------- */

/* 11.x: reserved bits are ignored by who receives them. */
static void test_reserved_bits_are_ignored(void **state)
{
    struct peer_end *p = ready("");
    static const uint8_t tur[16];
    struct iscsi_pdu pdus[] = { nop_pdu(p, 0), tmf_pdu(p, ISCSI_TMF_ABORT_TASK_SET),
                                cmd_pdu(p, tur, 0, false, false) };
    static const unsigned answers[] = { ISCSI_OP_NOP_IN, ISCSI_OP_TMF_RESP, ISCSI_OP_SCSI_RESP };
    static const uint8_t at[][8] = { { 1, 2, 3, 36, 40, 47 }, { 2, 3, 40, 47 }, { 2, 3 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pdus); i++) {
        uint8_t bhs[ISCSI_BHS_LEN];

        pdus[i].exp_stat_sn = p->exp_stat_sn;
        iscsi_pdu_encode(bhs, &pdus[i]);
        bhs[0] |= 0x80;
        for (unsigned k = 0; k < sizeof(at[i]) && at[i][k]; k++)
            bhs[at[i][k]] |= at[i][k] == 1 ? 0x7f : 0xff;
        peer_raw(p, bhs, sizeof(bhs));
        peer_expect(p, answers[i]);
        assert_int_equal(p->rsp.itt, pdus[i].itt);
    }
    peer_serves(p);
    peer_logout(p);
}

/* The F bit is 1 by the RFC in these. */
static void test_a_missing_f_bit_is_a_protocol_error(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdus[] = { nop_pdu(p, 0), tmf_pdu(p, ISCSI_TMF_ABORT_TASK_SET), logout_pdu(p, 0) };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pdus); i++) {
        uint8_t bhs[ISCSI_BHS_LEN];

        iscsi_pdu_encode(bhs, &pdus[i]);
        bhs[1] &= 0x7f;
        peer_raw(p, bhs, sizeof(bhs));
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    peer_serves(p);
    peer_logout(p);
}

/* 11.3.1: both R and W need an AHS we never agreed on; neither with a length moves nothing. */
static void test_commands_whose_direction_cannot_be(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned attr = 0; attr < 8; attr++) {
        for (unsigned rw = 0; rw < 4; rw++) {
            uint8_t cdb[16] = { SCSI_TEST_UNIT_READY }, bhs[ISCSI_BHS_LEN];
            struct iscsi_pdu pdu = cmd_pdu(p, cdb, 512, false, false);

            iscsi_pdu_encode(bhs, &(struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_CMD,
                                                       .final = true,
                                                       .itt = pdu.itt,
                                                       .cmd_sn = pdu.cmd_sn,
                                                       .exp_stat_sn = p->exp_stat_sn });
            bhs[1] = (uint8_t)(0x80 | rw << 5 | attr);
            store_be32(&bhs[20], 512);
            peer_raw(p, bhs, sizeof(bhs));
            assert_true(peer_recv_ms(p, PEER_MS));
            while (p->rsp.opcode == ISCSI_OP_R2T)
                assert_true(peer_recv_ms(p, PEER_MS));
            assert_true(p->rsp.opcode == ISCSI_OP_SCSI_RESP || p->rsp.opcode == ISCSI_OP_REJECT);
            if (p->rsp.opcode == ISCSI_OP_REJECT)
                p->cmd_sn--;
        }
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- AHS (11.2.2) ---------------------------------------------------------------------------------------- */

/* A TEST UNIT READY with that AHS area. */
static void send_with_ahs(struct peer_end *p, const uint8_t *ahs, uint32_t len)
{
    static const uint8_t tur[16];
    struct iscsi_pdu pdu = cmd_pdu(p, tur, 0, false, false);
    uint8_t bhs[ISCSI_BHS_LEN];

    assert_int_equal(len % 4, 0);
    pdu.exp_stat_sn = p->exp_stat_sn;
    iscsi_pdu_encode(bhs, &pdu);
    bhs[4] = (uint8_t)(len / 4);
    peer_raw(p, bhs, sizeof(bhs));
    peer_raw(p, ahs, len);
}

static void ahs_refused(struct peer_end *p, const uint8_t *ahs, uint32_t len)
{
    send_with_ahs(p, ahs, len);
    expect_reject(p, ISCSI_REJECT_INVALID_FIELD);
    p->cmd_sn--;
    peer_serves(p);
}

/* An AHSLength of 0 made LIO copy (size_t)-1 bytes. */
static void test_an_ahs_of_no_length_is_refused(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned type = 0; type < 256; type++)
        ahs_refused(p, (const uint8_t[8]){ 0, 0, (uint8_t)type }, 8);
    peer_logout(p);
}

static void test_an_ahs_past_its_area_is_refused(void **state)
{
    static const uint16_t lens[] = { 6, 7, 8, 255, 256, 1000, 0x7fff, 0x8000, 0xfffe, 0xffff };
    struct peer_end *p = ready("");
    uint8_t ahs[8] = { 0, 0, ISCSI_AHS_ECDB };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        store_be16(ahs, lens[i]);
        ahs_refused(p, ahs, 8);
    }
    peer_logout(p);
}

static void test_an_ahs_of_a_type_nobody_knows_is_refused(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned type = 0; type < 64; type++) {
        if (type != ISCSI_AHS_ECDB && type != ISCSI_AHS_BIDI_READ)
            ahs_refused(p, (const uint8_t[8]){ 0, 5, (uint8_t)type }, 8);
    }
    peer_logout(p);
}

static void test_two_ahs_of_a_kind_are_refused(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    ahs_refused(p, (const uint8_t[16]){ 0, 5, ISCSI_AHS_ECDB, 0, 1, 2, 3, 4, 0, 5, ISCSI_AHS_ECDB }, 16);
    ahs_refused(p, (const uint8_t[16]){ 0, 5, ISCSI_AHS_BIDI_READ, 0, 1, 2, 3, 4, 0, 5, ISCSI_AHS_BIDI_READ },
                16);
    peer_logout(p);
}

/* The area is not filled by its segments: what is left over is none. */
static void test_rests_of_an_ahs_area_are_refused(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    ahs_refused(p, (const uint8_t[12]){ 0, 5, ISCSI_AHS_ECDB }, 12);
    ahs_refused(p, (const uint8_t[4]){ 0 }, 4);
    peer_logout(p);
}

static void test_an_extended_cdb_reaches_the_unit(void **state)
{
    struct peer_end *p = ready("");
    uint8_t ahs[20] = { 0, 17, ISCSI_AHS_ECDB };

    (void)state;
    send_with_ahs(p, ahs, 20);              /* 32 bytes of CDB, of which TEST UNIT READY looks at six */
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
    peer_serves(p);
    peer_logout(p);
}

/* TotalAHSLength of every value, with zeroes in it. */
static void test_every_total_ahs_length_is_skipped(void **state)
{
    static const uint8_t zeroes[255 * 4];
    struct peer_end *p = ready("");

    (void)state;
    for (uint32_t words = 1; words < 256; words++)
        ahs_refused(p, zeroes, words * 4);
    peer_logout(p);
}

/* An AHS where none may be. */
static void test_an_ahs_on_other_pdus_is_a_protocol_error(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu w = { .itt = 77 };
    struct iscsi_pdu pdus[] = { nop_pdu(p, 0), tmf_pdu(p, ISCSI_TMF_ABORT_TASK_SET),
                                text_pdu(p, ISCSI_TAG_RESERVED, 0, false), logout_pdu(p, 0),
                                data_out_pdu(&w, 1, 0, 0, 0, true) };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pdus); i++) {
        uint8_t bhs[ISCSI_BHS_LEN];

        iscsi_pdu_encode(bhs, &pdus[i]);
        bhs[4] = 2;
        peer_raw(p, bhs, sizeof(bhs));
        peer_raw(p, (const uint8_t[8]){ 0, 5, ISCSI_AHS_ECDB }, 8);
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- DataSegmentLength ----------------------------------------------------------------------------------- */

static void test_a_segment_as_long_as_declared_is_taken(void **state)
{
    struct peer_end *p = ready("InitialR2T=No\nFirstBurstLength=65536");
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    (void)state;
    cdb_rw10(cdb, true, 0, 512);
    pdu = cmd_pdu(p, cdb, 262144, false, true);
    peer_send(p, &pdu, NULL);
    assert_int_equal(feed_r2ts(p, data, SESS_RECV_MAX), SCSI_GOOD);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_segment_longer_than_declared_is_rejected(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu ping = nop_pdu(p, 0);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(bhs, &ping);
    store_be24(&bhs[5], SESS_RECV_MAX + 1);
    peer_raw(p, bhs, sizeof(bhs));
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_raw(p, data, iscsi_padded(SESS_RECV_MAX + 1));
    peer_serves(p);
    peer_logout(p);
}

/* The most that the field can say is skipped as it comes. */
static void test_a_segment_of_sixteen_mebibytes_is_skipped(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu ping = nop_pdu(p, 0);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(bhs, &ping);
    store_be24(&bhs[5], 0xffffff);
    peer_raw(p, bhs, sizeof(bhs));
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    for (uint32_t left = 0x1000000, n; left; left -= n) {
        n = left < sizeof(data) ? left : (uint32_t)sizeof(data);
        peer_raw(p, data, n);
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_data_on_pdus_that_have_none_are_rejected_and_skipped(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdus[] = {
        tmf_pdu(p, ISCSI_TMF_ABORT_TASK_SET),
        logout_pdu(p, 0),
        { .opcode = ISCSI_OP_SNACK, .final = true, .itt = 3, .ttt = ISCSI_TAG_RESERVED }
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pdus); i++) {
        for (uint32_t len = 1; len <= 4097; len += 1024) {
            uint8_t bhs[ISCSI_BHS_LEN];

            iscsi_pdu_encode(bhs, &pdus[i]);
            store_be24(&bhs[5], len);
            peer_raw(p, bhs, sizeof(bhs));
            peer_raw(p, data, iscsi_padded(len));
            expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
        }
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_pings_of_every_length_come_back(void **state)
{
    static const uint32_t lens[] = { 0, 1, 2, 3, 4, 5, 1023, 1024, 1025, 8191, 8192, 65535, 65536 };
    struct peer_end *p = ready("MaxRecvDataSegmentLength=65536");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        struct iscsi_pdu ping = nop_pdu(p, lens[i]);

        peer_send(p, &ping, data);
        peer_expect(p, ISCSI_OP_NOP_IN);
        assert_int_equal(p->rsp.itt, ping.itt);
        assert_int_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
        assert_int_equal(p->data_len, lens[i]);
        assert_memory_equal(p->data, data, lens[i]);
    }
    peer_serves(p);
    peer_logout(p);
}

/* 11.18: what comes back is what the initiator declared it can receive. */
static void test_a_ping_comes_back_as_long_as_was_declared(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=512");
    struct iscsi_pdu ping = nop_pdu(p, 4000);

    (void)state;
    peer_send(p, &ping, data);
    peer_expect(p, ISCSI_OP_NOP_IN);
    assert_int_equal(p->data_len, 512);
    assert_memory_equal(p->data, data, 512);
    peer_serves(p);
    peer_logout(p);
}

/* ---- padding (11.2.3) ------------------------------------------------------------------------------------ */

/* Pad bytes should be 0 and need not be. */
static void test_padding_may_hold_anything(void **state)
{
    struct peer_end *p = ready("");
    uint8_t bhs[ISCSI_BHS_LEN], pad[4] = { 0xff, 0xfe, 0xfd, 0xfc };

    (void)state;
    for (uint32_t len = 1; len < 9; len++) {
        struct iscsi_pdu ping = nop_pdu(p, len);

        iscsi_pdu_encode(bhs, &ping);
        peer_raw(p, bhs, sizeof(bhs));
        peer_raw(p, data, len);
        peer_raw(p, pad, iscsi_padded(len) - len);
        peer_expect(p, ISCSI_OP_NOP_IN);
        assert_int_equal(p->data_len, len);
        assert_memory_equal(p->data, data, len);
    }
    peer_serves(p);
    peer_logout(p);
}

/* A stream cut at every byte: headers, AHS and data in pieces. */
static void test_a_stream_in_pieces_of_every_size_is_understood(void **state)
{
    struct peer_end *p = ready("");
    uint8_t stream[2 * ISCSI_BHS_LEN + 512 + 8];
    uint8_t cdb[16];

    (void)state;
    for (uint32_t cut = 1; cut < 2 * ISCSI_BHS_LEN + 512 + 8; cut += cut < 120 ? 1 : 53) {
        struct iscsi_pdu write, ping;

        cdb_rw10(cdb, true, cut, 1);
        write = cmd_pdu(p, cdb, 512, false, true);
        write.data_len = 512;
        write.exp_stat_sn = p->exp_stat_sn;
        iscsi_pdu_encode(stream, &write);
        memcpy(stream + ISCSI_BHS_LEN, data + cut, 512);
        ping = nop_pdu(p, 7);
        iscsi_pdu_encode(stream + ISCSI_BHS_LEN + 512, &ping);
        memcpy(stream + 2 * ISCSI_BHS_LEN + 512, data, 8);
        peer_raw(p, stream, cut);
        sched_yield();
        peer_raw(p, stream + cut, sizeof(stream) - cut);
        for (unsigned i = 0; i < 2; i++)
            assert_true(peer_recv_ms(p, PEER_MS));
        assert_int_equal(peer_read10(p, cut, 1, back), SCSI_GOOD);
        assert_memory_equal(back, data + cut, 512);
    }
    peer_logout(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_opcodes_nobody_knows_are_rejected_as_not_supported),
        CASE(test_opcodes_of_a_target_are_a_protocol_error),
        CASE(test_the_data_of_an_unknown_opcode_are_skipped),
        CASE(test_reserved_bits_are_ignored),
        CASE(test_a_missing_f_bit_is_a_protocol_error),
        CASE(test_commands_whose_direction_cannot_be),
        CASE(test_an_ahs_of_no_length_is_refused),
        CASE(test_an_ahs_past_its_area_is_refused),
        CASE(test_an_ahs_of_a_type_nobody_knows_is_refused),
        CASE(test_two_ahs_of_a_kind_are_refused),
        CASE(test_rests_of_an_ahs_area_are_refused),
        CASE(test_an_extended_cdb_reaches_the_unit),
        CASE(test_every_total_ahs_length_is_skipped),
        CASE(test_an_ahs_on_other_pdus_is_a_protocol_error),
        CASE(test_a_segment_as_long_as_declared_is_taken),
        CASE(test_a_segment_longer_than_declared_is_rejected),
        CASE(test_a_segment_of_sixteen_mebibytes_is_skipped),
        CASE(test_data_on_pdus_that_have_none_are_rejected_and_skipped),
        CASE(test_pings_of_every_length_come_back),
        CASE(test_a_ping_comes_back_as_long_as_was_declared),
        CASE(test_padding_may_hold_anything),
        CASE(test_a_stream_in_pieces_of_every_size_is_understood),
    };

    return cmocka_run_group_tests(tests, up, down);
}
