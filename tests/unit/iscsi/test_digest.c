/*
 * test_digest.c - CRC32C against the examples of RFC 7143 (first in RFC 3720 B.4)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/digest.h"

static void digest(const uint8_t *data, size_t len, uint8_t out[static ISCSI_DIGEST_LEN])
{
    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, data, len), out);
}

static void test_digests_of_the_rfc_examples(void **state)
{
    static const uint8_t read10[48] = { 0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18,
                                        [32] = 0x28, [40] = 0x02 };
    static const uint8_t want[5][ISCSI_DIGEST_LEN] = {
        { 0xaa, 0x36, 0x91, 0x8a },         /* 32 bytes of zeros */
        { 0x43, 0xab, 0xa8, 0x62 },         /* 32 bytes of ones */
        { 0x4e, 0x79, 0xdd, 0x46 },         /* 0 to 31 */
        { 0x5c, 0xdb, 0x3f, 0x11 },         /* 31 to 0 */
        { 0x56, 0x3a, 0x96, 0xd9 },         /* a SCSI Read (10) Command PDU */
    };
    uint8_t data[32], got[ISCSI_DIGEST_LEN];

    (void)state;
    for (unsigned v = 0; v < 4; v++) {
        for (unsigned i = 0; i < sizeof(data); i++)
            data[i] = (uint8_t)(v == 0 ? 0 : v == 1 ? 0xff : v == 2 ? i : 31 - i);
        digest(data, sizeof(data), got);
        assert_memory_equal(got, want[v], sizeof(got));
    }
    digest(read10, sizeof(read10), got);
    assert_memory_equal(got, want[4], sizeof(got));
}

/* Data arrives in pieces; any cut gives the same digest, and no bytes change nothing. */
static void test_a_digest_may_be_fed_in_pieces(void **state)
{
    uint8_t data[257], whole[ISCSI_DIGEST_LEN], pieces[ISCSI_DIGEST_LEN];

    (void)state;
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37 + 11);
    digest(data, sizeof(data), whole);
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        uint32_t crc = iscsi_crc_feed(ISCSI_CRC_INIT, data, cut);

        crc = iscsi_crc_feed(crc, NULL, 0);
        crc = iscsi_crc_feed(crc, data + cut, sizeof(data) - cut);
        iscsi_crc_wire(crc, pieces);
        assert_memory_equal(pieces, whole, sizeof(whole));
        assert_true(iscsi_crc_matches(crc, whole));
    }
}

static void test_every_flipped_bit_is_seen(void **state)
{
    uint8_t data[48] = { 1, 2, 3 }, good[ISCSI_DIGEST_LEN];

    (void)state;
    digest(data, sizeof(data), good);
    for (unsigned bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(iscsi_crc_matches(iscsi_crc_feed(ISCSI_CRC_INIT, data, sizeof(data)), good));
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 8 * sizeof(good); bit++) {
        uint8_t bad[ISCSI_DIGEST_LEN];

        memcpy(bad, good, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(iscsi_crc_matches(iscsi_crc_feed(ISCSI_CRC_INIT, data, sizeof(data)), bad));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_of_the_rfc_examples),
        cmocka_unit_test(test_a_digest_may_be_fed_in_pieces),
        cmocka_unit_test(test_every_flipped_bit_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
