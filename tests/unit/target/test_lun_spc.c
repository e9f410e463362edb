/*
 * test_lun_spc.c - what a unit says of itself, unit attentions, mode pages, and the table against itself
 */
#include "scsi/cdb.h"
#include "tests/unit/target/lun_test.h"

static struct cmd *inquiry(struct world *w, uint8_t evpd, uint8_t page, uint16_t alloc)
{
    return exec(w, 0, CDB(0x12, evpd, page, alloc >> 8, alloc & 0xff), NULL, 0, alloc);
}

static void test_inquiry(void **state)
{
    struct scsi_inquiry inq;
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    c = inquiry(&w, 0, 0, 255);
    assert_int_equal(c->t.in_done, 96);
    assert_int_equal(scsi_inquiry_parse(&inq, c->in, c->t.in_done), 0);
    assert_string_equal(inq.vendor, "CORELANE");
    assert_string_equal(inq.product, "VIRTUAL-DISK");
    assert_int_equal(inq.version, 6);
    assert_true(inq.tpgs_implicit && inq.tpgs_explicit && !inq.removable);
    cmd_free(c);
    c = inquiry(&w, 0, 0, 5);
    assert_int_equal(c->t.in_done, 5);
    assert_int_equal(c->in[5], 0xee);
    cmd_free(c);
    assert_int_equal(status_of(&w, 0, CDB(0x12), NULL, 0, 0), SCSI_GOOD);
    expect_sense(&w, 0, CDB(0x12, 0, 0x80, 0, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, CDB(0x12, 1, 0x99, 0, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, CDB(0x12, 2, 0x28, 0, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

static void test_every_page_listed_is_there_and_says_its_length(void **state)
{
    struct scsi_limits l = { 0 };
    char wwid[SCSI_WWID_MAX], want[64];
    struct world w;
    struct cmd *list;

    world_ram(&w, 1, 1);
    list = inquiry(&w, 1, 0, 255);
    for (unsigned i = 4; i < list->t.in_done; i++) {
        struct cmd *c = inquiry(&w, 1, list->in[i], 1024);

        assert_int_equal(c->t.status, SCSI_GOOD);
        assert_int_equal(c->in[1], list->in[i]);
        assert_int_equal(c->t.in_done, 4 + load_be16(&c->in[2]));
        if (i > 4)
            assert_true(list->in[i] > list->in[i - 1]);
        cmd_free(c);
    }
    cmd_free(list);
    list = inquiry(&w, 1, 0x83, 1024);
    assert_int_equal(scsi_vpd_83_parse(wwid, list->in, list->t.in_done), 0);
    snprintf(want, sizeof(want), "3%s", w.lun->serial);
    assert_string_equal(wwid, want);
    assert_int_equal(want[1], '6');
    cmd_free(list);
    list = inquiry(&w, 1, 0xb0, 255);
    assert_int_equal(list->t.in_done, 64);
    assert_int_equal(scsi_vpd_b0_parse(&l, list->in, list->t.in_done), 0);
    assert_int_equal(l.transfer_max, LUN_TRANSFER_MAX / 512);
    assert_int_equal(l.caw_max, 255);
    cmd_free(list);
    world_end(&w);
}

static void test_a_lun_that_is_not_there(void **state)
{
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    c = cmd_new(&w, 0, CDB(0x12, 0, 0, 0, 96), NULL, 0, 96);
    c->t.itl = NULL;
    c->t.number = 7;
    cmd_begin(&w, c);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(c->in[0], 0x7f);
    cmd_finish(&w, c);
    cmd_free(c);
    c = cmd_new(&w, 0, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
    c->t.itl = NULL;
    cmd_begin(&w, c);
    check_sense(c, SCSI_ILLEGAL_REQUEST, 0x25, 0);
    cmd_finish(&w, c);
    cmd_free(c);
    c = cmd_new(&w, 0, CDB(0xa0, 0, 2, [9] = 64), NULL, 0, 64);
    c->t.itl = NULL;
    c->t.number = SCSI_LUN_WELL_KNOWN;
    cmd_begin(&w, c);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(c->t.in_done, 24);
    assert_int_equal(load_be64(&c->in[8]), 0);
    assert_int_equal(load_be64(&c->in[16]) >> 48, 0xc101);
    cmd_finish(&w, c);
    cmd_free(c);
    world_end(&w);
}

static void test_a_unit_attention_is_told_once_and_not_to_those_who_do_not_ask(void **state)
{
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    itl_attention(&w.itl[0], 0x3f, 0x0e);
    itl_attention(&w.itl[0], 0x2a, 0x09);
    itl_attention(&w.itl[0], 0x2a, 0x09);
    assert_int_equal(status_of(&w, 0, CDB(0x12, 0, 0, 0, 96), NULL, 0, 96), SCSI_GOOD);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512, SCSI_UNIT_ATTENTION, 0x3f, 0x0e);
    c = exec(&w, 0, CDB(0x03, [4] = 32), NULL, 0, 32);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(scsi_sense_decode(&c->sense, c->in, c->t.in_done), 0);
    assert_int_equal(c->sense.key, SCSI_UNIT_ATTENTION);
    assert_int_equal(c->sense.asc, 0x2a);
    cmd_free(c);
    assert_int_equal(attentions(&w, 0, NULL), 0);
    itl_attention(&w.itl[0], 0x3f, 0x0e);
    assert_int_equal(status_of(&w, 0, CDB(0xa0, [9] = 64), NULL, 0, 64), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, NULL), 0);   /* REPORT LUNS answered that one */
    world_end(&w);
}

static void test_too_many_unit_attentions_end_in_the_one_for_everything(void **state)
{
    unsigned last = 0;
    struct world w;

    world_ram(&w, 1, 1);
    for (unsigned i = 0; i < 2 * ITL_UA_MAX; i++)
        itl_attention(&w.itl[0], 0x3f, (uint8_t)i);
    assert_int_equal(attentions(&w, 0, &last), ITL_UA_MAX);
    assert_int_equal(last, 0x2900);
    world_end(&w);
}

static void test_capacity(void **state)
{
    struct scsi_capacity cap;
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    c = exec(&w, 0, CDB(0x25), NULL, 0, 8);
    assert_int_equal(scsi_capacity_10_parse(&cap, c->in, c->t.in_done), 0);
    assert_int_equal(cap.blocks, RAM_LEN / 512);
    cmd_free(c);
    c = exec(&w, 0, CDB(0x9e, 0x10, [13] = 32), NULL, 0, 32);
    assert_int_equal(scsi_capacity_16_parse(&cap, c->in, c->t.in_done), 0);
    assert_int_equal(cap.blocks, RAM_LEN / 512);
    assert_true(cap.lbpme && cap.lbprz && !cap.prot);
    cmd_free(c);
    world_end(&w);
}

/* ---- mode pages ------------------------------------------------------------------------------------------ */

static void control_list(uint8_t p[static 16], uint8_t byte2, uint8_t byte4)
{
    const uint8_t list[16] = { 0, 0, 0, 0, 0x0a, 0x0a, byte2, 0x10, byte4, 0x40 };

    memcpy(p, list, sizeof(list));
}

static void test_mode_sense(void **state)
{
    struct scsi_mode m;
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    c = exec(&w, 0, CDB(0x1a, 0, 0x3f, 0, 255), NULL, 0, 255);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(c->t.in_done, c->in[0] + 1);
    assert_int_equal(scsi_mode_parse(&m, c->in, c->t.in_done, false), 0);
    assert_true(m.has_caching && m.dpofua && !m.write_protect && !m.wce);
    cmd_free(c);
    c = exec(&w, 0, CDB(0x5a, 0x10, 0x08, [8] = 255), NULL, 0, 255);
    assert_int_equal(c->t.in_done, load_be16(c->in) + 2);
    assert_int_equal(load_be16(&c->in[6]), 16);
    cmd_free(c);
    expect_sense(&w, 0, CDB(0x1a, 0, 0xc8, 0, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x39, 0);
    expect_sense(&w, 0, CDB(0x1a, 0, 0x08, 1, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, CDB(0x1a, 0, 0x15, 0, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

static void test_write_protection_and_sense_format_hold_on_every_core(void **state)
{
    uint8_t p[16], data[512] = { 1 };
    struct world w;
    struct cmd *c;
    unsigned last;

    world_ram(&w, 2, 2);
    control_list(p, 0x24, 0x08);             /* D_SENSE, SWP */
    assert_int_equal(status_of(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, NULL), 0);
    assert_int_equal(attentions(&w, 1, &last), 1);
    assert_int_equal(last, 0x2a01);
    c = exec(&w, 1, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0);
    check_sense(c, SCSI_DATA_PROTECT, 0x27, 0x02);
    assert_int_equal(c->t.sense[0], 0x72);
    cmd_free(c);
    c = exec(&w, 1, OP16(SCSI_READ_16, 0, UINT64_MAX, 1), NULL, 0, 512);
    check_sense(c, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    assert_true(c->sense.has_info && c->sense.info == UINT64_MAX);
    cmd_free(c);
    control_list(p, 0x20, 0);
    assert_int_equal(status_of(&w, 1, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 1, NULL), 0);   /* nothing changed */
    world_end(&w);
}

static void test_mode_select_refusals(void **state)
{
    uint8_t p[32] = { 0 };
    struct world w;

    world_ram(&w, 1, 1);
    control_list(p, 0x20, 0);
    expect_sense(&w, 0, CDB(0x15, 0x11, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);   /* SP */
    expect_sense(&w, 0, CDB(0x15, 0x00, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);   /* not PF */
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 15), p, 15, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 3), p, 3, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 10, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    p[9] = 0x00;                             /* TAS cannot be changed */
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    control_list(p, 0x20, 0);
    p[5] = 0x0b;
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    control_list(p, 0x20, 0);
    p[4] = 0x01;
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    control_list(p, 0x20, 0);
    p[3] = 8;                                /* a block descriptor that is no block length */
    expect_sense(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    assert_int_equal(status_of(&w, 0, CDB(0x15, 0x10, 0, 0, 0), NULL, 0, 0), SCSI_GOOD);
    world_end(&w);
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static void test_what_is_reported_supported_is_and_what_is_not_is_not(void **state)
{
    bool listed[256] = { false };
    struct world w;
    struct cmd *all;
    uint32_t len;

    world_ram(&w, 1, 1);
    all = exec(&w, 0, CDB(0xa3, 0x0c, 0x80, [8] = 0x40), NULL, 0, 16384);
    assert_int_equal(all->t.status, SCSI_GOOD);
    len = load_be32(all->in);
    assert_int_equal(all->t.in_done, len + 4);
    for (uint32_t at = 4; at < len + 4; at += 20) {
        const uint8_t *d = &all->in[at];
        const bool sa = d[5] & 1;
        struct cmd *one = exec(&w, 0, CDB(0xa3, 0x0c, sa ? 2 : 1, d[0], d[2], d[3], [9] = 255), NULL, 0, 255);

        assert_true(d[5] & 2);
        assert_int_equal(load_be16(&d[8]), 10);
        assert_int_equal(one->t.status, SCSI_GOOD);
        assert_int_equal(one->in[1] & 7, 3);
        assert_int_equal(load_be16(&one->in[2]), load_be16(&d[6]));
        assert_int_equal(one->in[4], d[0]);
        if (sa)
            assert_int_equal(one->in[5] & 0x1f, d[3]);
        cmd_free(one);
        expect_sense(&w, 0, CDB(0xa3, 0x0c, sa ? 1 : 2, d[0], d[2], d[3], [9] = 255), NULL, 0, 255,
                     SCSI_ILLEGAL_REQUEST, 0x24, 0);
        listed[d[0]] = true;
    }
    cmd_free(all);
    for (unsigned op = 0; op < 256; op++) {
        struct cmd *c;

        if (listed[op])
            continue;
        expect_sense(&w, 0, CDB((uint8_t)op), NULL, 0, 0, SCSI_ILLEGAL_REQUEST, 0x20, 0);
        c = exec(&w, 0, CDB(0xa3, 0x0c, 1, (uint8_t)op, [9] = 255), NULL, 0, 255);
        assert_int_equal(c->t.status, SCSI_GOOD);
        assert_int_equal(c->in[1] & 7, 1);
        cmd_free(c);
    }
    world_end(&w);
}

/* Every operation code with ones everywhere and with random bits: an answer, and nothing else. */
static void test_any_cdb_gets_an_answer(void **state)
{
    uint32_t seed = 20240607;
    static uint8_t data[8192];
    struct world w;

    print_message("seed %u\n", seed);
    srand(seed);
    world_ram(&w, 2, 2);
    for (unsigned n = 0; n < 20000; n++) {
        uint8_t cdb[16];
        struct cmd *c;

        for (unsigned i = 0; i < 16; i++)
            cdb[i] = n < 256 ? 0xff : (uint8_t)(rand() & (n & 1 ? 0xff : rand()));
        cdb[0] = (uint8_t)n;
        for (unsigned i = 0; i < 64; i++)
            data[i] = (uint8_t)rand();
        c = exec(&w, n & 1, cdb, data, n & 2 ? sizeof(data) : 0, n & 2 ? 0 : 4096);
        cmd_free(c);
    }
    world_end(&w);
}

static void test_small_commands(void **state)
{
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    expect_sense(&w, 0, CDB(0x1b, 0, 0, 0, 0x02), NULL, 0, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    assert_int_equal(status_of(&w, 0, CDB(0x1b, 0, 0, 0, 0x01), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x1b, 0, 0, 0, 0x00), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x1e, 0, 0, 0, 0x01), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x1d, 0x04), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x34, [8] = 4), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x35), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x37, 0, 0x1d, [8] = 32), NULL, 0, 32), SCSI_GOOD);
    c = exec(&w, 0, CDB(0xa3, 0x0a, [9] = 64), NULL, 0, 64);
    assert_int_equal(c->t.in_done, 16);
    assert_int_equal(c->in[4], 0);           /* active/optimized */
    assert_int_equal(load_be16(&c->in[14]), 1);
    cmd_free(c);
    c = exec(&w, 0, CDB(0x9e, 0x12, [9] = 5, [13] = 24), NULL, 0, 24);
    assert_int_equal(load_be64(&c->in[8]), 5);
    assert_int_equal(load_be32(&c->in[16]), RAM_LEN / 512 - 5);
    cmd_free(c);
    expect_sense(&w, 0, OP16(0x9e, 0x12, RAM_LEN / 512, 24), NULL, 0, 24, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inquiry),
        cmocka_unit_test(test_every_page_listed_is_there_and_says_its_length),
        cmocka_unit_test(test_a_lun_that_is_not_there),
        cmocka_unit_test(test_a_unit_attention_is_told_once_and_not_to_those_who_do_not_ask),
        cmocka_unit_test(test_too_many_unit_attentions_end_in_the_one_for_everything),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_mode_sense),
        cmocka_unit_test(test_write_protection_and_sense_format_hold_on_every_core),
        cmocka_unit_test(test_mode_select_refusals),
        cmocka_unit_test(test_what_is_reported_supported_is_and_what_is_not_is_not),
        cmocka_unit_test(test_any_cdb_gets_an_answer),
        cmocka_unit_test(test_small_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
