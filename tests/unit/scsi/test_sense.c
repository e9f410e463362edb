/*
 * test_sense.c - sense data, LUN addresses, names
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "scsi/scsi.h"

#include <cmocka.h>

static struct scsi_sense full(void)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0x00);

    s.has_info = true;
    s.info = 0x12345678;
    s.has_field = true;
    s.field_in_cdb = true;
    s.field = 0x0102;
    s.bit = 5;
    return s;
}

static void test_both_formats_bring_back_what_went_in(void **state)
{
    for (unsigned descriptor = 0; descriptor < 2; descriptor++) {
        const struct scsi_sense s = full();
        struct scsi_sense back;
        uint8_t wire[32];
        const uint32_t len = scsi_sense_encode(wire, &s, descriptor);

        assert_int_equal(wire[0] & 0x7f, descriptor ? 0x72 : 0x70);
        assert_int_equal(len, descriptor ? 28 : 18);
        assert_int_equal(wire[7], len - 8);
        assert_int_equal(scsi_sense_decode(&back, wire, len), 0);
        assert_int_equal(back.key, s.key);
        assert_int_equal(back.asc, s.asc);
        assert_true(back.has_info && back.info == s.info);
        assert_true(back.has_field && back.field_in_cdb);
        assert_int_equal(back.field, s.field);
        assert_int_equal(back.bit, 5);
    }
}

/* A value that does not fit the fixed format's field is left out there, and whole in the other. */
static void test_information_above_32_bits(void **state)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0x00), back;
    uint8_t wire[32];

    s.has_info = true;
    s.info = 1ull << 32;
    scsi_sense_encode(wire, &s, false);
    assert_int_equal(wire[0], 0x70);
    assert_int_equal(scsi_sense_decode(&back, wire, 18), 0);
    assert_false(back.has_info);
    assert_int_equal(scsi_sense_decode(&back, wire, scsi_sense_encode(wire, &s, true)), 0);
    assert_true(back.has_info && back.info == 1ull << 32);
}

/* Each prefix, in a block of just that length so that a byte beyond is found out. */
static void test_every_prefix_is_read_as_far_as_it_goes(void **state)
{
    for (unsigned descriptor = 0; descriptor < 2; descriptor++) {
        const struct scsi_sense s = full();
        uint8_t wire[32];
        const uint32_t len = scsi_sense_encode(wire, &s, descriptor);

        for (uint32_t n = 0; n <= len; n++) {
            uint8_t *copy = malloc(n ? n : 1);
            struct scsi_sense back = { .key = 9 };

            memcpy(copy, wire, n);
            assert_int_equal(scsi_sense_decode(&back, copy, n), n ? 0 : -EPROTO);
            assert_int_equal(back.key, !n ? 9 : n > (descriptor ? 1 : 2) ? s.key : 0);
            free(copy);
        }
    }
}

static void test_lengths_that_lie_are_not_believed(void **state)
{
    uint8_t d[12] = { 0x72, 5, 0x21, 0, 0, 0, 0, 200, 0x00, 200, 0x80, 0 };
    struct scsi_sense s;

    assert_int_equal(scsi_sense_decode(&s, d, sizeof(d)), 0);
    assert_false(s.has_info);
    d[9] = 0;                                /* a descriptor without a body, and the walk goes on */
    assert_int_equal(scsi_sense_decode(&s, d, sizeof(d)), 0);
    assert_int_equal(s.asc, 0x21);
    d[0] = 0x7f;
    assert_int_equal(scsi_sense_decode(&s, d, sizeof(d)), -EPROTO);
    d[0] = 0x00;
    assert_int_equal(scsi_sense_decode(&s, d, sizeof(d)), -EPROTO);
}

static void test_in_words(void **state)
{
    struct scsi_sense s = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0x00);
    char text[96];

    scsi_sense_format(&s, text);
    assert_string_equal(text, "ILLEGAL REQUEST, INVALID FIELD IN CDB (24/00)");
    s = SCSI_SENSE(SCSI_UNIT_ATTENTION, 0xfe, 0xdc);
    scsi_sense_format(&s, text);
    assert_string_equal(text, "UNIT ATTENTION (FE/DC)");
    assert_string_equal(scsi_status_name(SCSI_TASK_SET_FULL), "TASK SET FULL");
    assert_non_null(scsi_status_name(0x77));
    assert_string_equal(scsi_op_name(SCSI_READ_16), "READ (16)");
    for (unsigned op = 0; op < 256; op++)
        assert_non_null(scsi_op_name((uint8_t)op));
}

static void test_lun_addresses(void **state)
{
    static const uint64_t bad[] = {
        0x0100ull << 48,                    /* bus 1 */
        0x8000ull << 48, 0xc102ull << 48, 0xffffull << 48,
        (0x0001ull << 48) | 1, (0x4001ull << 48) | (1ull << 32),
    };
    uint16_t lun = 77;

    for (unsigned i = 0; i <= SCSI_LUN_MAX; i++) {
        assert_int_equal(scsi_lun_decode(scsi_lun_encode((uint16_t)i), &lun), 0);
        assert_int_equal(lun, i);
    }
    assert_int_equal(scsi_lun_encode(5), 5ull << 48);
    assert_int_equal(scsi_lun_encode(256), 0x4100ull << 48);
    assert_int_equal(scsi_lun_decode(0x4005ull << 48, &lun), 0);
    assert_int_equal(lun, 5);
    assert_int_equal(scsi_lun_decode(0xc101ull << 48, &lun), 0);
    assert_int_equal(lun, SCSI_LUN_WELL_KNOWN);
    lun = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(scsi_lun_decode(bad[i], &lun), -EINVAL);
    assert_int_equal(lun, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_formats_bring_back_what_went_in),
        cmocka_unit_test(test_information_above_32_bits),
        cmocka_unit_test(test_every_prefix_is_read_as_far_as_it_goes),
        cmocka_unit_test(test_lengths_that_lie_are_not_believed),
        cmocka_unit_test(test_in_words),
        cmocka_unit_test(test_lun_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
