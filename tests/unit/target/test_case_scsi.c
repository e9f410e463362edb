/*
 * test_case_scsi.c - commands whose CDB, expected length and flags do not fit together, through a whole session
 */
#include "tgt_bed.h"

static uint8_t data[65536 * 2];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 11 + (i >> 9));
    return 0;
}

/* ---- flags and expected length --------------------------------------------------------------------------- */

/* R says that data are wanted; W that they come. One that reads and says W alone gets none, all of it is missing
 * in the residual count, and however much that is nobody is harmed. */
static void test_a_read_that_says_it_writes_gets_no_data(void **state)
{
    static const uint16_t blocks[] = { 1, 127, 128, 129, 1000, 4000 };
    struct peer_end *p = ready("ImmediateData=Yes");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
        const uint32_t len = blocks[i] * T_BLOCK, edtls[] = { 0, 512, len, len + 512 };

        for (unsigned k = 0; k < ARRAY_SIZE(edtls); k++) {
            uint8_t cdb[16];
            struct iscsi_pdu pdu;

            cdb_rw10(cdb, false, 0, blocks[i]);
            pdu = cmd_pdu(p, cdb, edtls[k], false, true);
            pdu.data_len = edtls[k] < 512 ? edtls[k] : 512;
            peer_send(p, &pdu, data);
            peer_expect(p, ISCSI_OP_SCSI_RESP);
            assert_int_equal(p->rsp.itt, pdu.itt);
        }
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- helpers --------------------------------------------------------------------------------------------- */

#define CDB(...) ((const uint8_t[16]){ __VA_ARGS__ })

enum { R = 1, W = 2 };

/* Sends a command with @immediate bytes of data[]. Return: what was sent. */
static struct iscsi_pdu send_cdb(struct peer_end *p, const uint8_t cdb[static 16], unsigned rw, uint32_t edtl,
                                 uint32_t immediate)
{
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, edtl, rw & R, rw & W);

    pdu.data_len = immediate;
    peer_send(p, &pdu, data);
    return pdu;
}

/* The end of a command, whatever comes before it: R2Ts are answered from data[], Data-Ins put together in
 * p->data. Return: bytes of Data-In. */
static uint32_t finish(struct peer_end *p)
{
    uint32_t got = 0;

    for (;;) {
        assert_true(peer_recv_ms(p, PEER_MS));
        if (p->rsp.opcode == ISCSI_OP_R2T) {
            struct iscsi_pdu out =
                data_out_pdu(&p->rsp, p->rsp.ttt, 0, p->rsp.r2t.offset, p->rsp.r2t.length, true);

            peer_send(p, &out, data + out.data_out.offset);
            continue;
        }
        if (p->rsp.opcode == ISCSI_OP_SCSI_RESP)
            return got;
        assert_int_equal(p->rsp.opcode, ISCSI_OP_DATA_IN);
        got += p->data_len;
        if (p->rsp.resp.has_status)
            return got;
    }
}

static void refused_with(struct peer_end *p, const uint8_t cdb[static 16], unsigned rw, uint32_t edtl,
                         uint32_t immediate, unsigned asc)
{
    send_cdb(p, cdb, rw, edtl, immediate);
    finish(p);
    if (p->rsp.resp.status != SCSI_CHECK_CONDITION ||
        (unsigned)(p->data[2 + 12] << 8 | p->data[2 + 13]) != asc)
        fail_msg("CDB %02x: status %02x, sense %02x%02x, not %04x", cdb[0], p->rsp.resp.status, p->data[14],
                 p->data[15], asc);
}

static const uint8_t *cdb_rw16(uint8_t cdb[static 16], uint8_t op, uint64_t lba, uint32_t blocks)
{
    memset(cdb, 0, 16);
    cdb[0] = op;
    store_be64(&cdb[2], lba);
    store_be32(&cdb[10], blocks);
    return cdb;
}

/* ---- opcodes --------------------------------------------------------------------------------------------- */

/* All 256 with nothing else set: each is answered, and the session goes on. */
static void test_every_operation_code_is_answered(void **state)
{
    struct peer_end *p = ready("");
    unsigned unknown = 0;

    (void)state;
    for (unsigned op = 0; op < 256; op++) {
        struct iscsi_pdu pdu = send_cdb(p, CDB((uint8_t)op), 0, 0, 0);

        finish(p);
        assert_int_equal(p->rsp.itt, pdu.itt);
        if (p->rsp.resp.status == SCSI_CHECK_CONDITION)
            unknown += p->data[2 + 12] == 0x20;
    }
    assert_true(unknown > 150);
    peer_settle(p);
    peer_logout(p);
}

/* CVE-2020-28374: a copy that names other units by designator. There is none here. */
static void test_copies_between_units_are_not_there(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned sa = 0; sa < 32; sa++) {
        refused_with(p, CDB(0x83, (uint8_t)sa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), W, 64, 64, 0x2000);
        refused_with(p, CDB(0x84, (uint8_t)sa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), R, 64, 0, 0x2000);
    }
    peer_serves(p);
    peer_logout(p);
}

/* NACA, and the flags of linked commands that once were there. */
static void test_control_bits_that_mean_nothing_are_refused(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    for (unsigned bit = 0; bit < 8; bit++)
        refused_with(p, CDB(SCSI_TEST_UNIT_READY, 0, 0, 0, 0, (uint8_t)(1u << bit)), 0, 0, 0, 0x2400);
    peer_serves(p);
    peer_logout(p);
}

static void test_every_task_attribute_is_answered(void **state)
{
    static const uint8_t attrs[] = { ISCSI_ATTR_UNTAGGED, ISCSI_ATTR_SIMPLE, ISCSI_ATTR_ORDERED,
                                     ISCSI_ATTR_HEAD };
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu;

    (void)state;
    for (size_t i = 0; i < sizeof(attrs); i++) {
        pdu = cmd_pdu(p, CDB(0), 0, false, false);
        pdu.cmd.attr = attrs[i];
        peer_send(p, &pdu, NULL);
        expect_status(p, SCSI_GOOD);
    }
    pdu = cmd_pdu(p, CDB(0), 0, false, false);      /* there is no ACA to belong to */
    pdu.cmd.attr = ISCSI_ATTR_ACA;
    peer_send(p, &pdu, NULL);
    peer_check(p, SCSI_ILLEGAL_REQUEST, 0x4900);
    peer_serves(p);
    peer_logout(p);
}

/* ---- lengths and ranges ---------------------------------------------------------------------------------- */

/* An allocation length of 0, 1 and the most there is: no more comes than that, and than EDTL. */
static void test_allocation_lengths_bound_the_answer(void **state)
{
    static const struct {
        uint8_t cdb[16], at, len;
    } rows[] = {
        { { SCSI_INQUIRY }, 3, 2 }, { { SCSI_INQUIRY, 1, 0x00 }, 3, 2 }, { { SCSI_INQUIRY, 1, 0x83 }, 3, 2 },
        { { SCSI_INQUIRY, 1, 0xb0 }, 3, 2 }, { { 0x1a, 0, 0x3f }, 4, 1 }, { { 0x5a, 0, 0x3f }, 7, 2 },
        { { 0xa0 }, 6, 4 }, { { 0x9e, 0x10 }, 10, 4 }, { { 0x9e, 0x12 }, 10, 4 }, { { 0x5e, 0x00 }, 7, 2 },
        { { 0x5e, 0x02 }, 7, 2 }, { { 0xa3, 0x0c }, 6, 4 }, { { 0xa3, 0x0d }, 6, 4 }, { { 0x03 }, 4, 1 },
        { { 0xa3, 0x0a }, 6, 4 },
    };
    struct peer_end *p = ready("MaxRecvDataSegmentLength=65536");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const uint64_t max = rows[i].len == 4 ? 0xffffffff : rows[i].len == 2 ? 0xffff : 0xff;
        const uint64_t lens[] = { 0, 1, 4, 8, 255, max };
        uint32_t whole = 0;

        for (size_t k = ARRAY_SIZE(lens); k--;) {
            uint8_t cdb[16];
            uint32_t got;

            memcpy(cdb, rows[i].cdb, 16);
            for (unsigned b = 0; b < rows[i].len; b++)
                cdb[rows[i].at + b] = (uint8_t)(lens[k] >> 8 * (rows[i].len - 1 - b));
            send_cdb(p, cdb, R, 65536, 0);
            got = finish(p);
            if (k + 1 == ARRAY_SIZE(lens))
                whole = got;
            if (p->rsp.resp.status != SCSI_GOOD) {      /* some need four bytes to say anything */
                assert_true(lens[k] < 4);
                continue;
            }
            assert_int_equal(got, whole < lens[k] ? whole : lens[k]);
            assert_true(p->rsp.resp.underflow);
            assert_int_equal(p->rsp.resp.residual, 65536 - got);
        }
    }
    peer_serves(p);
    peer_logout(p);
}

/* The sum of LBA and length wraps at 2^64; neither may be believed alone. */
static void test_ranges_that_wrap_are_refused(void **state)
{
    static const uint8_t ops[] = { 0x88, 0x8a, 0x8e, 0x8f, 0x90, 0x91, 0x93 };
    static const struct {
        uint64_t lba;
        uint32_t blocks;
    } rows[] = {
        { UINT64_MAX, 1 }, { UINT64_MAX, 2 }, { UINT64_MAX - 7, 8 }, { UINT64_MAX - 7, 16 }, { 32768, 1 },
        { 32767, 2 }, { 0x8000000000000000ull, 1 }, { 0x0080000000000000ull, 1 },
    };
    struct peer_end *p = ready("");
    uint8_t cdb[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
            refused_with(p, cdb_rw16(cdb, ops[i], rows[k].lba, rows[k].blocks), 0, 0, 0, 0x2100);
    }
    peer_serves(p);
    peer_logout(p);
}

/* 2^32 - 1 blocks are no length to make room for. */
static void test_lengths_past_the_transfer_limit_are_refused(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16];

    (void)state;
    refused_with(p, cdb_rw16(cdb, 0x88, 0, 0xffffffff), R, 0xffffffff, 0, 0x2100);
    refused_with(p, cdb_rw16(cdb, 0x8a, 0, 0xffffffff), W, 0xffffffff, 0, 0x2100);
    refused_with(p, cdb_rw16(cdb, 0x88, 0, LUN_TRANSFER_MAX / T_BLOCK + 1), R, LUN_TRANSFER_MAX + T_BLOCK, 0,
                 0x2400);
    refused_with(p, cdb_rw16(cdb, 0x8a, 0, LUN_TRANSFER_MAX / T_BLOCK + 1), W, LUN_TRANSFER_MAX + T_BLOCK, 0,
                 0x2400);
    peer_serves(p);
    peer_logout(p);
}

/* A count of 0 once meant the whole disk: WSNZ says that it does not. */
static void test_write_same_of_no_blocks_does_not_wipe_the_disk(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16], was[512];

    (void)state;
    assert_int_equal(peer_write10(p, 100, 1, data), SCSI_GOOD);
    refused_with(p, cdb_rw16(cdb, 0x93, 0, 0), W, 512, 512, 0x2400);
    refused_with(p, CDB(0x41), W, 512, 512, 0x2400);
    assert_int_equal(peer_read10(p, 100, 1, was), SCSI_GOOD);
    assert_memory_equal(was, data, 512);
    peer_logout(p);
}

/* Lengths that differ: of the list, of what its header says, of the descriptors. */
static void test_unmap_lists_that_do_not_hold_together_unmap_nothing(void **state)
{
    static const struct {
        uint16_t cdb_len, data_len, descs_len;
        uint32_t edtl;
    } rows[] = {
        { 24, 22, 16, 8 }, { 24, 22, 16, 0 }, { 24, 23, 17, 24 }, { 24, 22, 0xfff0, 24 }, { 7, 22, 16, 24 },
        { 24, 0xffff, 0xfff0, 24 }, { 8, 22, 16, 8 },
    };
    struct peer_end *p = ready("");
    uint8_t was[512], list[24] = { 0 };

    (void)state;
    assert_int_equal(peer_write10(p, 0, 1, data), SCSI_GOOD);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t cdb[16] = { 0x42 };
        struct iscsi_pdu pdu;

        store_be16(&cdb[7], rows[i].cdb_len);
        store_be16(&list[0], rows[i].data_len);
        store_be16(&list[2], rows[i].descs_len);
        store_be32(&list[16], 1);
        pdu = cmd_pdu(p, cdb, rows[i].edtl, false, true);
        pdu.data_len = rows[i].edtl;
        peer_send(p, &pdu, list);
        finish(p);
        /* A list that is shorter than it says is cut off where it ends, or refused: nothing past it is believed. */
        assert_true(p->rsp.resp.status == SCSI_GOOD || p->data[2 + 12] == 0x1a || p->data[2 + 12] == 0x26);
        if (p->rsp.resp.status == SCSI_GOOD)
            assert_int_equal(peer_write10(p, 0, 1, data), SCSI_GOOD);
        assert_int_equal(peer_read10(p, 0, 1, was), SCSI_GOOD);
        assert_memory_equal(was, data, 512);
    }
    peer_logout(p);
}

static void test_parameter_lists_of_a_wrong_length_are_refused(void **state)
{
    static const uint32_t lens[] = { 1, 8, 23, 25, 0xffff };
    static const uint8_t list[512];
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        uint8_t cdb[16] = { 0x5f, 0x00 };   /* REGISTER; the list has 24 bytes */

        struct iscsi_pdu pdu;

        store_be32(&cdb[5], lens[i]);
        pdu = cmd_pdu(p, cdb, lens[i] < 512 ? lens[i] : 512, false, true);
        pdu.data_len = pdu.cmd.edtl;
        peer_send(p, &pdu, list);
        peer_check(p, SCSI_ILLEGAL_REQUEST, 0x1a00);
    }
    peer_serves(p);
    peer_logout(p);
}

/* Twice the blocks are due. Less or none of them is not compared with what lies about. */
static void test_compare_and_write_needs_all_of_its_data(void **state)
{
    static const uint32_t edtls[] = { 0, 1, 511, 512, 513, 1023 };
    struct peer_end *p = ready("");
    uint8_t cdb[16] = { 0x89 }, was[512];

    (void)state;
    memset(was, 0, sizeof(was));
    assert_int_equal(peer_write10(p, 5, 1, was), SCSI_GOOD);
    store_be64(&cdb[2], 5);
    cdb[13] = 1;
    for (size_t i = 0; i < ARRAY_SIZE(edtls); i++) {
        send_cdb(p, cdb, W, edtls[i], edtls[i]);
        finish(p);
        assert_int_equal(p->rsp.resp.status, SCSI_CHECK_CONDITION);
        assert_int_equal(p->data[2 + 2] & 0xf, SCSI_ILLEGAL_REQUEST);
    }
    assert_int_equal(peer_read10(p, 5, 1, was), SCSI_GOOD);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(was[i], 0);
    peer_logout(p);
}

/* ---- residuals (11.4.5) ---------------------------------------------------------------------------------- */

/* What the CDB moves against what is expected, for writes: as much is written as fits both. */
static void test_residuals_of_writes(void **state)
{
    static const struct {
        uint16_t blocks;
        uint32_t edtl;
        bool o, u;
        uint32_t residual;
    } rows[] = {
        { 1, 512, false, false, 0 },     { 2, 1024, false, false, 0 },     { 1, 1024, false, true, 512 },
        { 1, 4096, false, true, 3584 },  { 2, 512, true, false, 512 },     { 16, 512, true, false, 15 * 512 },
        { 0, 512, false, true, 512 },    { 1, 0, true, false, 512 },       { 256, 65536, true, false, 65536 },
        { 128, 131072, false, true, 65536 },
    };
    static const char *const keys[] = { "ImmediateData=Yes", "ImmediateData=No" };

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        struct peer_end *p = ready(keys[k]);

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            const uint32_t edtl = rows[i].edtl, immediate = k ? 0 : edtl < 65536 ? edtl : 65536;
            uint8_t cdb[16];

            cdb_rw10(cdb, true, 0, rows[i].blocks);
            send_cdb(p, cdb, W, edtl, immediate);
            finish(p);
            assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
            assert_int_equal(p->rsp.resp.overflow, rows[i].o);
            assert_int_equal(p->rsp.resp.underflow, rows[i].u);
            assert_int_equal(p->rsp.resp.residual, rows[i].residual);
        }
        peer_serves(p);
        peer_logout(p);
    }
}

/* Blocks past what was expected are not touched. */
static void test_a_write_of_less_than_its_cdb_writes_no_more(void **state)
{
    struct peer_end *p = ready("ImmediateData=Yes");
    uint8_t cdb[16], was[1024];

    (void)state;
    memset(was, 0xaa, sizeof(was));
    assert_int_equal(peer_write10(p, 0, 2, was), SCSI_GOOD);
    cdb_rw10(cdb, true, 0, 2);
    send_cdb(p, cdb, W, 512, 512);
    finish(p);
    assert_int_equal(peer_read10(p, 0, 2, was), SCSI_GOOD);
    assert_memory_equal(was, data, 512);
    for (unsigned i = 512; i < 1024; i++)
        assert_int_equal(was[i], 0xaa);
    peer_logout(p);
}

/* Data for a command that wants none are swallowed, and missing in the count. */
static void test_data_that_a_command_does_not_want_are_swallowed(void **state)
{
    static const uint8_t ops[] = { SCSI_TEST_UNIT_READY, 0x35, SCSI_INQUIRY, 0x25 };
    struct peer_end *p = ready("ImmediateData=Yes");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        send_cdb(p, CDB(ops[i]), W, 4096, 4096);
        finish(p);
        assert_true(p->rsp.resp.underflow);
        assert_int_equal(p->rsp.resp.residual, 4096);
        send_cdb(p, CDB(SCSI_TEST_UNIT_READY), R, 4096, 0);
        assert_int_equal(finish(p), 0);
        assert_true(p->rsp.resp.underflow);
        assert_int_equal(p->rsp.resp.residual, 4096);
    }
    peer_serves(p);
    peer_logout(p);
}

/* Neither R nor W: nothing is expected, so everything is too much. */
static void test_a_read_that_expects_nothing_gets_nothing(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16];

    (void)state;
    for (uint16_t blocks = 1; blocks < 300; blocks = (uint16_t)(blocks * 3)) {
        cdb_rw10(cdb, false, 0, blocks);
        send_cdb(p, cdb, 0, 0, 0);
        assert_int_equal(finish(p), 0);
        assert_true(p->rsp.resp.overflow);
        assert_int_equal(p->rsp.resp.residual, blocks * T_BLOCK);
    }
    peer_logout(p);
}

static void test_a_write_that_says_it_reads_is_refused(void **state)
{
    struct peer_end *p = ready("");
    uint8_t cdb[16];

    (void)state;
    cdb_rw10(cdb, true, 0, 1);
    refused_with(p, cdb, R, 512, 0, 0x0e03);
    peer_serves(p);
    peer_logout(p);
}

/* R and W together: no command here moves data both ways, and each is run for the way it has. */
static void test_both_directions_at_once_harm_nobody(void **state)
{
    struct peer_end *p = ready("ImmediateData=Yes");
    uint8_t cdb[16];

    (void)state;
    for (uint16_t blocks = 1; blocks <= 256; blocks = (uint16_t)(blocks * 16)) {
        cdb_rw10(cdb, true, 0, blocks);
        send_cdb(p, cdb, R | W, blocks * T_BLOCK, 512);
        finish(p);
        cdb_rw10(cdb, false, 0, blocks);
        send_cdb(p, cdb, R | W, blocks * T_BLOCK, 512);
        finish(p);
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- units that are not there ---------------------------------------------------------------------------- */

static void test_a_lun_that_is_not_there_answers_three_commands(void **state)
{
    const uint64_t luns[] = { scsi_lun_encode(1),    scsi_lun_encode(255),  scsi_lun_encode(16383),
                              0xffffffffffffffffull, 0x8000000000000000ull, 1 };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(luns); i++) {
        struct iscsi_pdu pdu = cmd_pdu(p, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 36, true, false);

        pdu.lun = luns[i];
        peer_send(p, &pdu, NULL);
        finish(p);
        assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
        assert_int_equal(p->data[0], 0x7f); /* "not capable of supporting a unit at this LUN" */
        pdu = cmd_pdu(p, CDB(0), 0, false, false);
        pdu.lun = luns[i];
        peer_send(p, &pdu, NULL);
        peer_check(p, SCSI_ILLEGAL_REQUEST, 0x2500);
        pdu = cmd_pdu(p, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1), 512, true, false);
        pdu.lun = luns[i];
        peer_send(p, &pdu, NULL);
        peer_check(p, SCSI_ILLEGAL_REQUEST, 0x2500);
        pdu = cmd_pdu(p, CDB(SCSI_WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1), 512, false, true);
        pdu.lun = luns[i];
        pdu.data_len = 512;
        peer_send(p, &pdu, data);
        peer_check(p, SCSI_ILLEGAL_REQUEST, 0x2500);
    }
    peer_serves(p);
    peer_logout(p);
}

/* One unit is masked from an initiator: it does not exist for it, by no address. */
static void test_a_masked_unit_cannot_be_reached(void **state)
{
    struct peer_end *p;

    (void)state;
    bed_ram(&bed, T_IQN, 1, 1);
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s, s:[i]}", "iqn", T_IQN, "initiator", I_IQN, "luns", 0));
    p = ready("");
    for (unsigned method = 0; method < 4; method++) {
        struct iscsi_pdu pdu = cmd_pdu(p, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1), 512, true, false);

        pdu.lun = ((uint64_t)method << 62) | 1ull << 48;
        peer_send(p, &pdu, NULL);
        peer_check(p, SCSI_ILLEGAL_REQUEST, 0x2500);
    }
    send_cdb(p, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 1), R, 256, 0);
    finish(p);
    assert_int_equal(load_be32(p->data), 8);
    peer_logout(p);
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN));
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_a_read_that_says_it_writes_gets_no_data),
        CASE(test_every_operation_code_is_answered),
        CASE(test_copies_between_units_are_not_there),
        CASE(test_control_bits_that_mean_nothing_are_refused),
        CASE(test_every_task_attribute_is_answered),
        CASE(test_allocation_lengths_bound_the_answer),
        CASE(test_ranges_that_wrap_are_refused),
        CASE(test_lengths_past_the_transfer_limit_are_refused),
        CASE(test_write_same_of_no_blocks_does_not_wipe_the_disk),
        CASE(test_unmap_lists_that_do_not_hold_together_unmap_nothing),
        CASE(test_parameter_lists_of_a_wrong_length_are_refused),
        CASE(test_compare_and_write_needs_all_of_its_data),
        CASE(test_residuals_of_writes),
        CASE(test_a_write_of_less_than_its_cdb_writes_no_more),
        CASE(test_data_that_a_command_does_not_want_are_swallowed),
        CASE(test_a_read_that_expects_nothing_gets_nothing),
        CASE(test_a_write_that_says_it_reads_is_refused),
        CASE(test_both_directions_at_once_harm_nobody),
        CASE(test_a_lun_that_is_not_there_answers_three_commands),
        CASE(test_a_masked_unit_cannot_be_reached),
    };

    return cmocka_run_group_tests(tests, up, down);
}
