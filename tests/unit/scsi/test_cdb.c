/*
 * test_cdb.c - commands as built, and answers as read from targets that cut them short or lie
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt_bytes.h"
#include "scsi/cdb.h"
#include "scsi/scsi.h"

#include <cmocka.h>

/* ---- builders -------------------------------------------------------------------------------------------- */

static void test_read_and_write_take_the_short_form_while_it_fits(void **state)
{
    static const struct { uint64_t lba; uint32_t blocks; unsigned len; } sizes[] = {
        { 0, 0, 10 },       { UINT32_MAX, 0xffff, 10 },     { 1ull << 32, 1, 16 },
        { 0, 0x10000, 16 }, { UINT64_MAX, UINT32_MAX, 16 },
    };
    uint8_t cdb[16];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const bool ten = sizes[i].len == 10;

        memset(cdb, 0xff, sizeof(cdb));
        assert_int_equal(scsi_cdb_write(cdb, sizes[i].lba, sizes[i].blocks, true), sizes[i].len);
        assert_int_equal(cdb[0], ten ? SCSI_WRITE_10 : SCSI_WRITE_16);
        assert_int_equal(cdb[1], 0x08);
        assert_true((ten ? load_be32(&cdb[2]) : load_be64(&cdb[2])) == sizes[i].lba);
        assert_int_equal(ten ? load_be16(&cdb[7]) : load_be32(&cdb[10]), sizes[i].blocks);
        assert_int_equal(cdb[15], 0);
        scsi_cdb_read(cdb, sizes[i].lba, sizes[i].blocks, false);
        assert_int_equal(cdb[0], ten ? SCSI_READ_10 : SCSI_READ_16);
        assert_int_equal(cdb[1], 0);
    }
}

static void test_the_other_builders(void **state)
{
    uint8_t cdb[16], list[24];

    assert_int_equal(scsi_cdb_inquiry_vpd(cdb, 0x83, 0x0102), 6);
    assert_memory_equal(cdb, ((uint8_t[6]){ 0x12, 1, 0x83, 1, 2 }), 6);
    assert_int_equal(scsi_cdb_report_luns(cdb, 0x01020304), 12);
    assert_int_equal(load_be32(&cdb[6]), 0x01020304);
    assert_int_equal(scsi_cdb_read_capacity_16(cdb, 32), 16);
    assert_int_equal(cdb[1], 0x10);
    assert_int_equal(load_be32(&cdb[10]), 32);
    assert_int_equal(scsi_cdb_mode_sense_10(cdb, 0x3f, 0x200), 10);
    assert_int_equal(load_be16(&cdb[7]), 0x200);
    assert_int_equal(scsi_cdb_write_same_16(cdb, 1, 2, true, true), 16);
    assert_int_equal(cdb[1], 0x09);
    assert_int_equal(scsi_cdb_unmap(cdb, 24), 10);
    assert_int_equal(load_be16(&cdb[7]), 24);
    scsi_unmap_param(list, 0x1122334455667788, 9);
    assert_int_equal(load_be16(&list[0]), 22);
    assert_int_equal(load_be16(&list[2]), 16);
    assert_true(load_be64(&list[8]) == 0x1122334455667788);
    assert_int_equal(load_be32(&list[16]), 9);
}

/* ---- parsers --------------------------------------------------------------------------------------------- */

/* A copy that ends where memory ends: a read beyond it is found by the sanitizers. */
static uint8_t *exact(const void *data, size_t len)
{
    uint8_t *p = malloc(len ? len : 1);

    memcpy(p, data, len);
    return p;
}

/* Each prefix of @data, and each with its bytes turned to ones, one after another: any answer, no crash. */
static void batter(const uint8_t *data, size_t len, void (*parse)(const uint8_t *data, size_t len))
{
    for (size_t n = 0; n <= len; n++) {
        uint8_t *p = exact(data, n);

        parse(p, n);
        for (size_t i = 0; i < n && i < 64; i++) {
            const uint8_t was = p[i];

            p[i] = 0xff;
            parse(p, n);
            p[i] = was;
        }
        free(p);
    }
}

static const uint8_t vpd_83[] = {
    0, 0x83, 0, 68,
    0x02, 0x01, 0, 16, 'A', 'C', 'M', 'E', ' ', ' ', ' ', ' ', 'd', 'i', 's', 'k', '/', '1', ' ', ' ',
    0x01, 0x02, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8,
    0x01, 0x03, 0, 16, 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    0x51, 0x94, 0, 4, 0, 0, 0, 1,
    0x01, 0x03, 0, 0,
};

static void parse_83(const uint8_t *data, size_t len)
{
    char wwid[SCSI_WWID_MAX];

    scsi_vpd_83_parse(wwid, data, len);
}

static void parse_pages(const uint8_t *data, size_t len)
{
    struct scsi_limits l = { 0 };
    struct scsi_inquiry inq;
    struct scsi_capacity cap;
    struct scsi_mode m;
    char serial[SCSI_WWID_MAX];
    uint16_t luns[4];

    scsi_vpd_b0_parse(&l, data, len);
    scsi_vpd_b1_parse(&l, data, len);
    scsi_vpd_b2_parse(&l, data, len);
    scsi_vpd_80_parse(serial, data, len);
    scsi_vpd_00_has(data, len, 0x83);
    scsi_inquiry_parse(&inq, data, len);
    scsi_capacity_10_parse(&cap, data, len);
    scsi_capacity_16_parse(&cap, data, len);
    scsi_mode_parse(&m, data, len, false);
    scsi_mode_parse(&m, data, len, true);
    scsi_report_luns_parse(luns, 4, data, len);
}

static void test_nothing_reads_beyond_what_came(void **state)
{
    uint8_t page[96] = { 0 };

    batter(vpd_83, sizeof(vpd_83), parse_83);
    batter(page, sizeof(page), parse_pages);
    page[1] = 0xb0;
    page[3] = 60;
    batter(page, sizeof(page), parse_pages);
    page[1] = 0x80;
    batter(page, sizeof(page), parse_pages);
}

static void test_the_best_identity_is_taken(void **state)
{
    char wwid[SCSI_WWID_MAX] = "untouched";
    uint8_t page[sizeof(vpd_83)];

    assert_int_equal(scsi_vpd_83_parse(wwid, vpd_83, sizeof(vpd_83)), 0);
    assert_string_equal(wwid, "3600102030405060708090a0b0c0d0e0f");
    memcpy(page, vpd_83, sizeof(page));
    page[37] = 0x13;                         /* the NAA is the port's */
    assert_int_equal(scsi_vpd_83_parse(wwid, page, sizeof(page)), 0);
    assert_string_equal(wwid, "20102030405060708");
    page[25] = 0x12;
    assert_int_equal(scsi_vpd_83_parse(wwid, page, sizeof(page)), 0);
    assert_string_equal(wwid, "1ACME_disk_1");
    strcpy(wwid, "untouched");
    page[5] = 0x11;
    assert_int_equal(scsi_vpd_83_parse(wwid, page, sizeof(page)), -ENOENT);
    page[1] = 0x80;
    assert_int_equal(scsi_vpd_83_parse(wwid, page, sizeof(page)), -EPROTO);
    assert_string_equal(wwid, "untouched");
    assert_int_equal(scsi_vpd_83_parse(wwid, vpd_83, 50), 0);   /* the NAA is cut: the EUI-64 is whole */
    assert_string_equal(wwid, "20102030405060708");
}

static void test_inquiry(void **state)
{
    uint8_t d[96] = { 0x00, 0x80, 0x06, 0x02, 91, 0x30 };
    struct scsi_inquiry inq = { .version = 9 };

    memcpy(&d[8], "  ACME  two\x01words\0xxxxxx1.0 ", 28);
    assert_int_equal(scsi_inquiry_parse(&inq, d, sizeof(d)), 0);
    assert_true(inq.removable && inq.tpgs_implicit && inq.tpgs_explicit);
    assert_string_equal(inq.vendor, "ACME");
    assert_string_equal(inq.product, "two?words");
    d[4] = 7;                                /* says it is shorter than it is */
    assert_int_equal(scsi_inquiry_parse(&inq, d, sizeof(d)), 0);
    assert_string_equal(inq.product, "");
    assert_int_equal(scsi_inquiry_parse(&inq, d, 4), -EPROTO);
}

static void test_capacity_bounds(void **state)
{
    uint8_t d[32] = { 0 };
    struct scsi_capacity cap = { .blocks = 42 };

    store_be32(&d[0], UINT32_MAX);
    store_be32(&d[4], 512);
    assert_int_equal(scsi_capacity_10_parse(&cap, d, 8), 0);
    assert_true(cap.blocks == 0x100000000ull);
    cap.blocks = 42;
    for (unsigned i = 0; i < 4; i++) {
        static const uint32_t bad[] = { 0, 520, 256, 131072 };

        store_be32(&d[4], bad[i]);
        assert_int_equal(scsi_capacity_10_parse(&cap, d, 8), -EPROTO);
    }
    store_be64(&d[0], UINT64_MAX);           /* as many blocks as would wrap to none */
    store_be32(&d[8], 512);
    assert_int_equal(scsi_capacity_16_parse(&cap, d, 32), -EPROTO);
    store_be64(&d[0], INT64_MAX / 512);
    assert_int_equal(scsi_capacity_16_parse(&cap, d, 32), -EPROTO);
    assert_int_equal(cap.blocks, 42);
    store_be64(&d[0], INT64_MAX / 512 - 1);
    d[13] = 3;
    d[14] = 0xc0;
    assert_int_equal(scsi_capacity_16_parse(&cap, d, 32), 0);
    assert_int_equal(cap.phys_block_len, 4096);
    assert_true(cap.lbpme && cap.lbprz && !cap.prot);
    assert_int_equal(scsi_capacity_16_parse(&cap, d, 12), 0);
    assert_false(cap.lbpme);
    assert_int_equal(scsi_capacity_16_parse(&cap, d, 11), -EPROTO);
}

static void test_report_luns(void **state)
{
    uint8_t d[8 + 8 * 5] = { 0 };
    uint16_t luns[8];

    store_be32(&d[0], 40);
    store_be64(&d[8], scsi_lun_encode(0));
    store_be64(&d[16], scsi_lun_encode(300));
    store_be64(&d[24], 0xc101ull << 48);
    store_be64(&d[32], 0xffffull << 48);
    store_be64(&d[40], scsi_lun_encode(7));
    assert_int_equal(scsi_report_luns_parse(luns, 8, d, sizeof(d)), 3);
    assert_int_equal(luns[1], 300);
    assert_int_equal(luns[2], 7);
    assert_int_equal(scsi_report_luns_parse(luns, 2, d, sizeof(d)), 2);
    assert_int_equal(scsi_report_luns_parse(luns, 8, d, 23), 1);
    store_be32(&d[0], UINT32_MAX);           /* more than came */
    assert_int_equal(scsi_report_luns_parse(luns, 8, d, sizeof(d)), 3);
    store_be32(&d[0], 7);
    assert_int_equal(scsi_report_luns_parse(luns, 8, d, sizeof(d)), 0);
    assert_int_equal(scsi_report_luns_parse(luns, 8, d, 7), -EPROTO);
}

static void test_limits(void **state)
{
    uint8_t d[64] = { 0, 0xb0, 0, 60, 1, 255 };
    struct scsi_limits l = { 0 };

    store_be32(&d[8], 8192);
    store_be32(&d[20], 1000);
    store_be32(&d[32], 5);
    store_be64(&d[36], 1ull << 40);
    assert_int_equal(scsi_vpd_b0_parse(&l, d, sizeof(d)), 0);
    assert_int_equal(l.transfer_max, 8192);
    assert_int_equal(l.unmap_max, 1000);
    assert_int_equal(l.unmap_alignment, 0);  /* not said to be valid */
    assert_true(l.write_same_max == 1ull << 40);
    store_be32(&d[32], 0x80000005);
    d[3] = 12;                               /* the short page of SBC-2 */
    l = (struct scsi_limits){ 0 };
    assert_int_equal(scsi_vpd_b0_parse(&l, d, sizeof(d)), 0);
    assert_int_equal(l.unmap_max, 0);
    d[3] = 11;
    assert_int_equal(scsi_vpd_b0_parse(&l, d, sizeof(d)), -EPROTO);
    assert_int_equal(scsi_vpd_b1_parse(&l, d, sizeof(d)), -EPROTO);
    assert_int_equal(scsi_vpd_b1_parse(&l, (uint8_t[]){ 0, 0xb1, 0, 2, 0, 1 }, 6), 0);
    assert_int_equal(l.rotation, 1);
    assert_int_equal(scsi_vpd_b2_parse(&l, (uint8_t[]){ 0, 0xb2, 0, 4, 0, 0xa0, 2, 0 }, 8), 0);
    assert_true(l.lbpu && !l.lbpws && l.lbpws10);
    assert_true(scsi_vpd_00_has((uint8_t[]){ 0, 0, 0, 2, 0x00, 0x83 }, 6, 0x83));
    assert_false(scsi_vpd_00_has((uint8_t[]){ 0, 0, 0, 1, 0x00, 0x83 }, 6, 0x83));
}

static void test_serial(void **state)
{
    char serial[SCSI_WWID_MAX] = "untouched";

    assert_int_equal(scsi_vpd_80_parse(serial, (uint8_t[]){ 0, 0x80, 0, 3, ' ', ' ', ' ' }, 7), -ENOENT);
    assert_int_equal(scsi_vpd_80_parse(serial, (uint8_t[]){ 0, 0x83, 0, 1, 'x' }, 5), -EPROTO);
    assert_string_equal(serial, "untouched");
    assert_int_equal(scsi_vpd_80_parse(serial, (uint8_t[]){ 0, 0x80, 0xff, 0xff, ' ', 'A', '1', ' ' }, 8), 0);
    assert_string_equal(serial, "A1");
}

static void test_mode(void **state)
{
    uint8_t six[] = { 23 + 12, 0, 0x90, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x0a, 2, 0, 0, 0x08, 0x12, 0x05, [35] = 0 };
    uint8_t ten[] = { 0, 13, 0, 0x10, 0, 0, 0, 0, 0x48, 0x01, 0x00, 0x00, 0x08, 0x12, 0x04 };
    struct scsi_mode m;

    assert_int_equal(scsi_mode_parse(&m, six, sizeof(six), false), 0);
    assert_true(m.write_protect && m.dpofua && m.has_caching && m.wce && m.rcd);
    assert_int_equal(scsi_mode_parse(&m, ten, sizeof(ten), true), 0);
    assert_true(!m.write_protect && m.dpofua && m.has_caching && m.wce && !m.rcd);
    assert_int_equal(scsi_mode_parse(&m, ten, sizeof(ten) - 1, true),
                     0); /* the byte that says it is not there */
    assert_false(m.has_caching);
    six[3] = 255;                            /* block descriptors longer than everything */
    assert_int_equal(scsi_mode_parse(&m, six, sizeof(six), false), 0);
    assert_false(m.has_caching);
    assert_int_equal(scsi_mode_parse(&m, six, 3, false), -EPROTO);
    assert_int_equal(scsi_mode_parse(&m, ten, 7, true), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_and_write_take_the_short_form_while_it_fits),
        cmocka_unit_test(test_the_other_builders),
        cmocka_unit_test(test_nothing_reads_beyond_what_came),
        cmocka_unit_test(test_the_best_identity_is_taken),
        cmocka_unit_test(test_inquiry),
        cmocka_unit_test(test_capacity_bounds),
        cmocka_unit_test(test_report_luns),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
