/*
 * test_case_digest.c - header and data digests: every bit of them, all combinations, and what a wrong one ends
 *
 * At ErrorRecoveryLevel 0 a wrong digest ends the connection (RFC 7143 7.8 leaves nothing else), and nothing that
 * it covered is used.
 */
#include "tgt_bed.h"

static uint8_t data[1 << 20], back[1 << 20];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 17 + (i >> 11));
    return 0;
}

static struct peer_end *digesting(bool header, bool body, const char *keys)
{
    char text[512];
    struct peer_end *p;

    snprintf(text, sizeof(text), "HeaderDigest=%s\nDataDigest=%s%s%s", header ? "CRC32C" : "None",
             body ? "CRC32C" : "None", *keys ? "\n" : "", keys);
    p = peer_logged_in(&bed, 1, text);
    assert_string_equal(answer_of(p, "HeaderDigest"), header ? "CRC32C" : "None");
    assert_string_equal(answer_of(p, "DataDigest"), body ? "CRC32C" : "None");
    p->header_digest = header;
    p->data_digest = body;
    peer_settle(p);
    return p;
}

/* A write of one block of @fill, all of it immediate, as bytes. */
static uint32_t write_wire(struct peer_end *p, uint32_t lba, uint8_t fill, uint8_t *out)
{
    uint8_t cdb[16], block[T_BLOCK];
    struct iscsi_pdu write;

    cdb_rw10(cdb, true, lba, 1);
    write = cmd_pdu(p, cdb, T_BLOCK, false, true);
    write.data_len = T_BLOCK;
    write.exp_stat_sn = p->exp_stat_sn;
    memset(block, fill, sizeof(block));
    return peer_wire(p, &write, block, out);
}

static void block_is(uint32_t lba, uint8_t fill)
{
    struct peer_end *p = peer_ready(&bed, 2, "");

    assert_int_equal(peer_read10(p, lba, 1, back), SCSI_GOOD);
    for (unsigned i = 0; i < T_BLOCK; i++)
        assert_int_equal(back[i], fill);
    peer_logout(p);
}

static void block_set(uint32_t lba, uint8_t fill)
{
    struct peer_end *p = peer_ready(&bed, 2, "");

    memset(back, fill, T_BLOCK);
    assert_int_equal(peer_write10(p, lba, 1, back), SCSI_GOOD);
    peer_logout(p);
}

/* ---- what is right --------------------------------------------------------------------------------------- */

/* Both digests, InitialR2T and ImmediateData: sixteen ways to write and read. */
static void test_every_combination_of_digests_and_bursts_moves_data(void **state)
{
    static const uint32_t lens[] = { 512, 8192, 65536, 66048, 600 * 512 };

    (void)state;
    for (unsigned bits = 0; bits < 16; bits++) {
        const bool unsolicited = bits & 4, immediate = bits & 8;
        char keys[128];
        struct peer_end *p;

        snprintf(keys, sizeof(keys), "InitialR2T=%s\nImmediateData=%s\nMaxRecvDataSegmentLength=65536",
                 unsolicited ? "No" : "Yes", immediate ? "Yes" : "No");
        p = digesting(bits & 1, bits & 2, keys);
        for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
            const uint32_t len = lens[i], first = len < 65536 ? len : 65536;
            uint8_t cdb[16];
            struct iscsi_pdu write;
            uint32_t ahead;

            cdb_rw10(cdb, true, 0, (uint16_t)(len / T_BLOCK));
            write = cmd_pdu(p, cdb, len, false, true);
            ahead = write.data_len = immediate ? (first < 8192 ? first : 8192) : 0;
            write.final = !unsolicited || ahead == first;
            peer_send(p, &write, data + i);
            if (unsolicited && ahead < first) {
                struct iscsi_pdu out = data_out_pdu(&write, ISCSI_TAG_RESERVED, 0, ahead, first - ahead, true);

                peer_send(p, &out, data + i + ahead);
            }
            assert_int_equal(feed_r2ts(p, data + i, 8192), SCSI_GOOD);
            assert_int_equal(peer_read10(p, 0, (uint16_t)(len / T_BLOCK), back), SCSI_GOOD);
            assert_memory_equal(back, data + i, len);
        }
        peer_logout(p);
    }
}

/* Lengths that need padding, in both directions; an empty segment has no digest. */
static void test_digests_cover_the_padding(void **state)
{
    struct peer_end *p = digesting(true, true, "");

    (void)state;
    for (uint32_t len = 0; len < 18; len++) {
        struct iscsi_pdu ping = nop_pdu(p, len);

        peer_send(p, &ping, data);
        peer_expect(p, ISCSI_OP_NOP_IN);
        assert_int_equal(p->data_len, len);
        assert_memory_equal(p->data, data, len);
    }
    peer_logout(p);
}

static void test_padding_of_anything_counts(void **state)
{
    struct peer_end *p = digesting(false, true, "");
    uint8_t wire[WIRE_MAX(8)];
    struct iscsi_pdu ping = nop_pdu(p, 5);
    const uint32_t len = peer_wire(p, &ping, data, wire);

    (void)state;
    memset(wire + ISCSI_BHS_LEN + 5, 0xee, 3);
    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, wire + ISCSI_BHS_LEN, 8), wire + ISCSI_BHS_LEN + 8);
    peer_raw(p, wire, len);
    peer_expect(p, ISCSI_OP_NOP_IN);
    assert_int_equal(p->data_len, 5);
    peer_logout(p);
}

/* Sense, Reject and text are data segments like any. */
static void test_every_kind_of_answer_has_its_digests(void **state)
{
    struct peer_end *p = digesting(true, true, "");
    struct iscsi_pdu text = text_pdu(p, ISCSI_TAG_RESERVED, 0, false), snack = { .opcode = ISCSI_OP_SNACK };
    uint8_t cdb[16];
    struct iscsi_pdu read;
    char keys[64];

    (void)state;
    cdb_rw10(cdb, false, 0x7fffffff, 1);
    read = cmd_pdu(p, cdb, 512, true, false);
    peer_send(p, &read, NULL);
    peer_check(p, SCSI_ILLEGAL_REQUEST, 0x2100);
    text.data_len = keys_text("X-a=1", keys);
    text.itt = ++p->itt;
    peer_send(p, &text, keys);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    snack.final = true;
    snack.itt = snack.ttt = ISCSI_TAG_RESERVED;
    peer_send(p, &snack, NULL);
    expect_reject(p, ISCSI_REJECT_SNACK);
    hanging_write(p, 0);
    peer_logout(p);
}

/* An AHS is under the header digest. */
static void test_a_header_digest_covers_the_ahs(void **state)
{
    struct peer_end *p = digesting(true, false, "");
    static const uint8_t tur[16];
    uint8_t wire[ISCSI_BHS_LEN + 20 + ISCSI_DIGEST_LEN] = { 0 };

    (void)state;
    for (unsigned wrong = 0; wrong < 2; wrong++) {
        struct iscsi_pdu pdu = cmd_pdu(p, tur, 0, false, false);

        pdu.exp_stat_sn = p->exp_stat_sn;
        iscsi_pdu_encode(wire, &pdu);
        wire[4] = 5;
        memset(wire + ISCSI_BHS_LEN, 0, 20);
        wire[ISCSI_BHS_LEN + 1] = 17;
        wire[ISCSI_BHS_LEN + 2] = ISCSI_AHS_ECDB;
        iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, wire, ISCSI_BHS_LEN + 20), wire + ISCSI_BHS_LEN + 20);
        wire[ISCSI_BHS_LEN + 19] ^= (uint8_t)wrong;
        peer_raw(p, wire, sizeof(wire));
        if (!wrong)
            expect_status(p, SCSI_GOOD);
    }
    peer_gone(p);
}

/* ---- what is wrong --------------------------------------------------------------------------------------- */

/* More bytes than any length that a flipped bit makes of a header could wait for. */
static uint8_t filler[2048];

/* Each bit of a header and of its digest. */
static void test_every_bit_of_a_header_is_watched(void **state)
{
    (void)state;
    block_set(7, 0x11);
    for (unsigned bit = 0; bit < (ISCSI_BHS_LEN + ISCSI_DIGEST_LEN) * 8; bit++) {
        struct peer_end *p = digesting(true, false, "");
        uint8_t wire[WIRE_MAX(T_BLOCK)];
        const uint32_t len = write_wire(p, 7, 0x22, wire);

        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_raw(p, wire, len);
        peer_raw(p, filler, sizeof(filler));
        peer_gone(p);
    }
    block_is(7, 0x11);
}

/* Each bit of a digest and some of the data: nothing of the write is used. */
static void test_every_bit_of_data_is_watched(void **state)
{
    const unsigned first = ISCSI_BHS_LEN * 8, end = (ISCSI_BHS_LEN + T_BLOCK) * 8;

    (void)state;
    block_set(8, 0x11);
    for (unsigned bit = first; bit < end + ISCSI_DIGEST_LEN * 8; bit += bit < end ? 61 : 1) {
        struct peer_end *p = digesting(false, true, "");
        uint8_t wire[WIRE_MAX(T_BLOCK)];
        const uint32_t len = write_wire(p, 8, 0x22, wire);

        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_raw(p, wire, len);
        peer_gone(p);
        bed_settle(&bed, 0);
        block_is(8, 0x11);
    }
}

/* In a Data-Out that an R2T asked for, the last of several. */
static void test_a_wrong_digest_in_solicited_data_leaves_the_block_as_it_was(void **state)
{
    struct peer_end *p;
    struct iscsi_pdu write, out;
    uint8_t wire[WIRE_MAX(4096)];
    uint32_t len;

    (void)state;
    block_set(0, 0x11);
    p = digesting(true, true, "ImmediateData=No");
    write = hanging_write(p, 0);
    out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 4096, false);
    peer_send(p, &out, data);
    out = data_out_pdu(&write, p->rsp.ttt, 1, 4096, 4096, true);
    out.exp_stat_sn = p->exp_stat_sn;
    len = peer_wire(p, &out, data, wire);
    wire[len - 1] ^= 0x80;
    peer_raw(p, wire, len);
    peer_gone(p);
    bed_settle(&bed, 0);
    block_is(0, 0x11);
}

static void test_digests_that_are_left_out_end_the_connection(void **state)
{
    (void)state;
    block_set(9, 0x11);
    for (unsigned which = 0; which < 2; which++) {
        struct peer_end *p = digesting(!which, which, "");
        uint8_t wire[WIRE_MAX(T_BLOCK)];
        uint32_t len;

        p->header_digest = p->data_digest = false;
        len = write_wire(p, 9, 0x22, wire);
        peer_raw(p, wire, len);
        peer_raw(p, filler, sizeof(filler));
        peer_gone(p);
    }
    bed_settle(&bed, 0);
    block_is(9, 0x11);
}

/* Padding left out of the sum, and the sum in the other byte order. */
static void test_digests_made_otherwise_end_the_connection(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        struct peer_end *p = digesting(false, true, "");
        struct iscsi_pdu ping = nop_pdu(p, 5);
        uint8_t wire[WIRE_MAX(8)], *digest;
        const uint32_t len = peer_wire(p, &ping, data, wire);

        digest = wire + len - ISCSI_DIGEST_LEN;
        if (how)
            store_be32(digest, load_be32((uint8_t[4]){ digest[3], digest[2], digest[1], digest[0] }));
        else
            iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, wire + ISCSI_BHS_LEN, 5), digest);
        peer_raw(p, wire, len);
        peer_gone(p);
    }
}

/* What was right before it stands; what came with it does not. */
static void test_a_wrong_digest_in_the_middle_of_a_stream(void **state)
{
    struct peer_end *p;
    uint8_t wire[3 * WIRE_MAX(T_BLOCK)];
    uint32_t one, two, len;

    (void)state;
    block_set(20, 0x11);
    block_set(21, 0x11);
    block_set(22, 0x11);
    p = digesting(true, true, "");
    one = write_wire(p, 20, 0x22, wire);
    two = one + write_wire(p, 21, 0x22, wire + one);
    len = two + write_wire(p, 22, 0x22, wire + two);
    wire[two + 30] ^= 4;
    peer_raw(p, wire, len);
    peer_gone(p);
    bed_settle(&bed, 0);
    block_is(20, 0x22);
    block_is(21, 0x22);
    block_is(22, 0x11);
}

/* LIO freed the request a second time when its tag came again. */
static void test_a_text_with_a_wrong_digest_and_its_tag_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        struct peer_end *p = digesting(false, true, "");
        struct iscsi_pdu text = text_pdu(p, ISCSI_TAG_RESERVED, 12, false);
        uint8_t wire[2 * WIRE_MAX(12)];
        const uint32_t len = peer_wire(p, &text, "SendTargets=", wire);

        memcpy(wire + len, wire, len);
        wire[len - 1] ^= 1;
        peer_raw(p, wire, 2 * len);
        peer_gone(p);
    }
}

/* It is one connection that ends; others, and other digests, go on. */
static void test_a_wrong_digest_harms_no_other_session(void **state)
{
    struct peer_end *q = peer_ready(&bed, 3, "");

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct peer_end *p = digesting(true, true, "");
        uint8_t wire[WIRE_MAX(T_BLOCK)];
        const uint32_t len = write_wire(p, 30, 0x33, wire);

        wire[ISCSI_BHS_LEN] ^= 1;
        peer_raw(p, wire, len);
        peer_gone(p);
        peer_serves(q);
    }
    peer_logout(q);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_every_combination_of_digests_and_bursts_moves_data),
        CASE(test_digests_cover_the_padding),
        CASE(test_padding_of_anything_counts),
        CASE(test_every_kind_of_answer_has_its_digests),
        CASE(test_a_header_digest_covers_the_ahs),
        CASE(test_every_bit_of_a_header_is_watched),
        CASE(test_every_bit_of_data_is_watched),
        CASE(test_a_wrong_digest_in_solicited_data_leaves_the_block_as_it_was),
        CASE(test_digests_that_are_left_out_end_the_connection),
        CASE(test_digests_made_otherwise_end_the_connection),
        CASE(test_a_wrong_digest_in_the_middle_of_a_stream),
        CASE(test_a_text_with_a_wrong_digest_and_its_tag_again),
        CASE(test_a_wrong_digest_harms_no_other_session),
    };

    return cmocka_run_group_tests(tests, up, down);
}
