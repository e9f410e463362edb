/*
 * test_lun_io.c - block commands: data, ranges, refusals; on one core and on two
 */
#include "tests/unit/target/lun_test.h"

#define BLOCKS (RAM_LEN / 512)

static void fill(uint8_t *p, size_t len, uint8_t seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(seed + i * 7 + (i >> 9));
}

static void expect_block(struct world *w, unsigned nexus, uint64_t lba, const uint8_t *want)
{
    struct cmd *c = exec(w, nexus, OP16(SCSI_READ_16, 0, lba, 1), NULL, 0, 512);

    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(c->t.in_done, 512);
    assert_memory_equal(c->in, want, 512);
    cmd_free(c);
}

static void write_blocks(struct world *w, unsigned nexus, uint64_t lba, const uint8_t *data, uint32_t blocks)
{
    assert_int_equal(status_of(w, nexus, OP16(SCSI_WRITE_16, 0, lba, blocks), data, blocks * 512, 0),
                     SCSI_GOOD);
}

static void test_what_one_core_writes_another_reads(void **state)
{
    uint8_t data[4096];
    struct world w;

    world_ram(&w, 2, 2);
    fill(data, sizeof(data), 3);
    write_blocks(&w, 0, 5, data, 8);
    for (unsigned i = 0; i < 8; i++)
        expect_block(&w, 1, 5 + i, data + 512 * i);
    world_end(&w);
}

static void test_every_width_of_read_and_write_reaches_the_same_block(void **state)
{
    static const uint8_t writes[][16] = {
        { 0x0a, 0, 0, 9, 1 },
        { 0x2a, [5] = 9, [8] = 1 },
        { 0xaa, [5] = 9, [9] = 1 },
        { 0x8a, [9] = 9, [13] = 1 },
        { 0x2e, [5] = 9, [8] = 1 },
        { 0xae, [5] = 9, [9] = 1 },
        { 0x8e, [1] = 2, [9] = 9, [13] = 1 },
        { 0x9c, [9] = 9, [13] = 1 },
    };
    static const uint8_t reads[][16] = {
        { 0x08, 0, 0, 9, 1 },
        { 0x28, [5] = 9, [8] = 1 },
        { 0xa8, [5] = 9, [9] = 1 },
        { 0x88, [9] = 9, [13] = 1 },
    };
    uint8_t data[512];
    struct world w;

    world_ram(&w, 1, 1);
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        fill(data, sizeof(data), (uint8_t)(40 + i));
        assert_int_equal(status_of(&w, 0, writes[i], data, 512, 0), SCSI_GOOD);
        for (size_t j = 0; j < ARRAY_SIZE(reads); j++) {
            struct cmd *c = exec(&w, 0, reads[j], NULL, 0, 512);

            assert_int_equal(c->t.status, SCSI_GOOD);
            assert_memory_equal(c->in, data, 512);
            cmd_free(c);
        }
    }
    world_end(&w);
}

/* Plain reads and writes of each width, and nothing that looks at its data, or uses them twice. */
static void test_what_may_work_on_memory_that_others_change(void **state)
{
    static const uint8_t direct[] = { 0x08, 0x0a, 0x28, 0x2a, 0x88, 0x8a, 0xa8, 0xaa };
    unsigned left = ARRAY_SIZE(direct);
    struct world w;

    world_ram(&w, 1, 1);
    for (unsigned op = 0; op < 256; op++) {
        struct cmd *c = cmd_new(&w, 0, (const uint8_t[16]){ (uint8_t)op }, NULL, 0, 0);
        const bool may = memchr(direct, (int)op, sizeof(direct)) != NULL;

        on_core(&w, c->t.nexus->rt, cmd_start_here, c);
        assert_int_equal(lun_is_direct(&c->t), may);
        left -= may;
        on_core(&w, c->t.nexus->rt, cmd_finish_here, c);
        cmd_free(c);
    }
    assert_int_equal(left, 0);
    world_end(&w);
}

static void test_a_range_is_judged_without_wrapping(void **state)
{
    static const uint8_t ops[] = { 0x88, 0x8a, 0x8f, 0x8e, 0x8b, 0x90, 0x91, 0x93 };
    static const struct { uint64_t lba; uint32_t blocks;
    } bad[] = {
        { BLOCKS, 1 },
        { BLOCKS - 1, 2 },
        { BLOCKS + 1, 0 },
        { 1ull << 63, 1 },
        { UINT64_MAX, 1 },
        { UINT64_MAX, 2 },
        { UINT64_MAX - 0xfffffffe, 0xffffffff },
    };
    struct world w;

    world_ram(&w, 1, 1);
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        for (size_t j = 0; j < ARRAY_SIZE(bad); j++)
            expect_sense(&w, 0, OP16(ops[i], 0, bad[j].lba, bad[j].blocks), NULL, 0, 0, SCSI_ILLEGAL_REQUEST,
                         0x21, 0);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_READ_16, 0, BLOCKS, 0), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_READ_16, 0, 0, 0), NULL, 0, 0), SCSI_GOOD);
    world_end(&w);
}

static void test_the_transfer_limit_is_held(void **state)
{
    struct world w;

    world_ram(&w, 1, 1);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, 0, LUN_TRANSFER_MAX / 512 + 1), NULL, 0, 512,
                 SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, OP16(SCSI_VERIFY_16, 0, 0, LUN_TRANSFER_MAX / 512 + 1), NULL, 0, 0,
                 SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

static void test_bits_that_mean_nothing_here_are_refused_with_their_place(void **state)
{
    static const struct { uint8_t cdb[16]; uint16_t byte; int8_t bit; } bad[] = {
        { { 0x28, 0x20, [8] = 1 }, 1, 5 },             /* RDPROTECT */
        { { 0x2a, 0xe0, [8] = 1 }, 1, 7 },             /* WRPROTECT */
        { { 0x28, 0x02, [8] = 1 }, 1, 1 },             /* FUA_NV */
        { { 0x41, 0x10, [8] = 1 }, 1, 4 },             /* ANCHOR */
        { { 0x28, [8] = 1, [9] = 0x04 }, 9, 2 },       /* NACA */
        { { 0x00, [5] = 0x04 }, 5, 2 },
    };
    struct world w;

    world_ram(&w, 1, 1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct cmd *c = exec(&w, 0, bad[i].cdb, NULL, 0, 512);

        check_sense(c, SCSI_ILLEGAL_REQUEST, 0x24, 0);
        assert_true(c->sense.has_field && c->sense.field_in_cdb);
        assert_int_equal(c->sense.field, bad[i].byte);
        assert_int_equal(c->sense.bit, bad[i].bit);
        cmd_free(c);
    }
    expect_sense(&w, 0, CDB(0xc0), NULL, 0, 0, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    expect_sense(&w, 0, CDB(0x9e, 0x1f), NULL, 0, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

/* Fewer bytes expected than asked for: whole blocks move, and a read may end inside one. */
static void test_less_expected_than_asked_for(void **state)
{
    uint8_t data[1024], other[1024];
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    fill(data, sizeof(data), 1);
    fill(other, sizeof(other), 99);
    write_blocks(&w, 0, 0, data, 2);
    c = exec(&w, 0, OP16(SCSI_READ_16, 0, 0, 2), NULL, 0, 700);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(c->t.in_done, 700);
    assert_int_equal(c->t.in_len, 1024);
    assert_memory_equal(c->in, data, 700);
    assert_int_equal(c->in[700], 0xee);
    cmd_free(c);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 2), other, 512, 0), SCSI_GOOD);
    expect_block(&w, 0, 0, other);
    expect_block(&w, 0, 1, data + 512);
    expect_sense(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 2), data, 700, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 0x03);
    expect_block(&w, 0, 0, other);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), NULL, 0, 0), SCSI_GOOD);
    expect_block(&w, 0, 0, other);
    world_end(&w);
}

static void test_a_write_that_says_it_reads_is_refused(void **state)
{
    struct world w;

    world_ram(&w, 1, 1);
    expect_sense(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), NULL, 0, 512, SCSI_ILLEGAL_REQUEST, 0x0e, 0x03);
    world_end(&w);
}

static void test_verify_finds_the_first_different_byte(void **state)
{
    static uint8_t data[700 * 512];          /* more than one scratch buffer */
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    fill(data, sizeof(data), 8);
    write_blocks(&w, 0, 10, data, 700);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_VERIFY_16, 0x02, 10, 700), data, sizeof(data), 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_VERIFY_16, 0x00, 10, 700), NULL, 0, 0), SCSI_GOOD);
    data[600 * 512 + 17] ^= 1;
    c = exec(&w, 0, OP16(SCSI_VERIFY_16, 0x02, 10, 700), data, sizeof(data), 0);
    check_sense(c, SCSI_MISCOMPARE, 0x1d, 0);
    assert_true(c->sense.has_info);
    assert_int_equal(c->sense.info, 600 * 512 + 17);
    cmd_free(c);
    expect_sense(&w, 0, OP16(SCSI_VERIFY_16, 0x04, 10, 1), data, 512, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, OP16(SCSI_VERIFY_16, 0x06, 10, 2), data, 512, 0, SCSI_MISCOMPARE, 0x1d, 0);
    write_blocks(&w, 0, 11, data, 1);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_VERIFY_16, 0x06, 10, 2), data, 512, 0), SCSI_GOOD);
    world_end(&w);
}

static void test_write_same(void **state)
{
    uint8_t one[512], zero[512] = { 0 };
    struct world w;

    world_ram(&w, 2, 2);
    fill(one, sizeof(one), 77);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 100, 2000), one, 512, 0), SCSI_GOOD);
    expect_block(&w, 1, 100, one);
    expect_block(&w, 1, 1500, one);
    expect_block(&w, 1, 2099, one);
    expect_block(&w, 1, 99, zero);
    expect_block(&w, 1, 2100, zero);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0x09, 200, 1000), NULL, 0, 0), SCSI_GOOD);
    expect_block(&w, 1, 199, one);
    expect_block(&w, 1, 200, zero);
    expect_block(&w, 1, 1199, zero);
    expect_block(&w, 1, 1200, one);
    /* UNMAP of what unmapped blocks do not read as: it is written */
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0x08, 300, 2), one, 512, 0), SCSI_GOOD);
    expect_block(&w, 1, 301, one);
    world_end(&w);
}

/* The pattern goes out by pieces of LUN_SCRATCH_LEN: lengths around one and several of them, each block looked
 * at, with its neighbours. */
static void test_write_same_fills_each_block_and_no_other(void **state)
{
    for (uint32_t block_len = 512; block_len <= 4096; block_len *= 8) {
        const uint32_t piece = LUN_SCRATCH_LEN / block_len, around = 2;
        const uint32_t counts[] = { 1, 2, piece - 1, piece, piece + 1, 2 * piece - 1, 2 * piece, 3 * piece + 5 };
        struct lun_conf conf = { .be = { .kind = "ram", .size = 4 * LUN_SCRATCH_LEN, .block_len = block_len },
                                 .block_len = block_len };
        uint8_t one[4096], before[4096];
        struct world w;

        fill(before, sizeof(before), 3);
        world_host(&w, 1);
        world_open(&w, &conf);
        nexus_add(&w, false);
        assert_int_equal(attentions(&w, 0, NULL), 1);
        for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
            const uint32_t lba = 7, n = counts[i];

            fill(one, sizeof(one), 100 + i);
            assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, n + lba + around), before, block_len,
                                       0), SCSI_GOOD);
            assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, lba, n), one, block_len, 0), SCSI_GOOD);
            for (uint32_t at = 0; at < n + lba + around; at++) {
                struct cmd *c = exec(&w, 0, OP16(SCSI_READ_16, 0, at, 1), NULL, 0, block_len);

                assert_int_equal(c->t.status, SCSI_GOOD);
                assert_memory_equal(c->in, at < lba || at >= lba + n ? before : one, block_len);
                cmd_free(c);
            }
        }
        world_end(&w);
    }
}

static void test_write_same_refusals(void **state)
{
    uint8_t data[1024] = { 1 };
    struct world w;

    world_ram(&w, 1, 1);
    expect_sense(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, 0), data, 512, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, 1), data, 1024, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    expect_sense(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, 1), data, 256, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    expect_sense(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, 1), NULL, 0, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    world_end(&w);
}

static void unmap_list(uint8_t *p, uint16_t data_len, uint16_t descs_len)
{
    memset(p, 0, 8 + 16 * 3);
    store_be16(&p[0], data_len);
    store_be16(&p[2], descs_len);
}

static void unmap_add(uint8_t *p, unsigned i, uint64_t lba, uint32_t blocks)
{
    store_be64(&p[8 + 16 * i], lba);
    store_be32(&p[16 + 16 * i], blocks);
}

#define UNMAP(len) CDB(0x42, [7] = (len) >> 8, [8] = (len) & 0xff)

static void test_unmap(void **state)
{
    uint8_t data[8 * 512], zero[512] = { 0 }, p[56];
    struct world w;

    world_ram(&w, 2, 2);
    fill(data, sizeof(data), 5);
    write_blocks(&w, 0, 0, data, 8);
    unmap_list(p, 54, 48);
    unmap_add(p, 0, 1, 2);
    unmap_add(p, 1, 4, 0);
    unmap_add(p, 2, 6, 1);
    assert_int_equal(status_of(&w, 1, UNMAP(56), p, 56, 0), SCSI_GOOD);
    for (unsigned i = 0; i < 8; i++)
        expect_block(&w, 0, i, i == 1 || i == 2 || i == 6 ? zero : data + 512 * i);
    assert_int_equal(status_of(&w, 1, UNMAP(0), NULL, 0, 0), SCSI_GOOD);
    world_end(&w);
}

/* Its descriptors were judged by the size it began with: a unit does not shrink under it. */
static void test_shrinking_waits_for_an_unmap_under_way(void **state)
{
    enum { DESCS = 200 };
    static uint8_t p[8 + 16 * DESCS];
    struct asked a = { .size = RAM_LEN / 2 };
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 2);
    store_be16(&p[0], sizeof(p) - 2);
    store_be16(&p[2], sizeof(p) - 8);
    for (unsigned i = 0; i < DESCS; i++)
        unmap_add(p, i, BLOCKS - DESCS + i, 1);
    c = cmd_new(&w, 1, UNMAP(sizeof(p)), p, sizeof(p), 0);
    cmd_begin(&w, c);
    assert_false(c->done);
    ask(&w, &a, 0, resize_here);
    for (unsigned i = 0; i < 20; i++) {     /* a few steps of the UNMAP, and much time for the owner */
        assert_true(rt_turn(rt_host_at(w.host, 1), 0) >= 0);
        for (unsigned k = 0; k < 3; k++)
            assert_true(rt_turn(rt_host_at(w.host, 0), RT_MS) >= 0);
    }
    assert_false(c->done);
    assert_false(a.done);
    turn_while(&w, !a.done);
    assert_int_equal(a.err, 0);
    assert_true(c->done);
    assert_int_equal(c->t.status, SCSI_GOOD);
    cmd_finish(&w, c);
    cmd_free(c);
    world_end(&w);
}

/* One bad descriptor among good ones: nothing is unmapped. */
static void test_unmap_refuses_lists_that_do_not_hold_together(void **state)
{
    uint8_t data[512], p[56];
    struct world w;

    world_ram(&w, 1, 1);
    fill(data, sizeof(data), 5);
    write_blocks(&w, 0, 0, data, 1);
    unmap_list(p, 38, 32);
    unmap_add(p, 0, 0, 1);
    unmap_add(p, 1, BLOCKS, 1);
    expect_sense(&w, 0, UNMAP(40), p, 40, 0, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    unmap_add(p, 1, UINT64_MAX, 2);
    expect_sense(&w, 0, UNMAP(40), p, 40, 0, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    unmap_list(p, 22, 32);                   /* more descriptors than the list says it has */
    expect_sense(&w, 0, UNMAP(40), p, 40, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    unmap_list(p, 54, 48);                   /* more than came */
    expect_sense(&w, 0, UNMAP(40), p, 40, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    unmap_list(p, 22, 16);
    unmap_add(p, 0, 0, 1);
    expect_sense(&w, 0, UNMAP(7), p, 7, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, UNMAP(24), p, 23, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, UNMAP(0xffff), p, 24, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_block(&w, 0, 0, data);
    world_end(&w);
}

#define CAW(lba, n) CDB(0x89, [8] = (lba) >> 8, [9] = (lba) & 0xff, [13] = n)

static void test_compare_and_write(void **state)
{
    uint8_t was[1024], list[2048];
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 2);
    fill(was, sizeof(was), 1);
    write_blocks(&w, 0, 20, was, 2);
    memcpy(list, was, 1024);
    fill(list + 1024, 1024, 50);
    assert_int_equal(status_of(&w, 0, CAW(20, 2), list, 2048, 0), SCSI_GOOD);
    expect_block(&w, 1, 20, list + 1024);
    expect_block(&w, 1, 21, list + 1536);
    memcpy(list, list + 1024, 1024);
    list[600] ^= 0x80;
    c = exec(&w, 1, CAW(20, 2), list, 2048, 0);
    check_sense(c, SCSI_MISCOMPARE, 0x1d, 0);
    assert_int_equal(c->sense.info, 600);
    cmd_free(c);
    expect_sense(&w, 0, CAW(20, 1), list, 2048, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    expect_sense(&w, 0, CAW(20, 2), list, 1024, 0, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    assert_int_equal(status_of(&w, 0, CAW(20, 0), list, 512, 0), SCSI_GOOD);
    expect_sense(&w, 0, CAW(20, 0), list, 1024, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

static void test_compare_and_write_of_the_most_blocks(void **state)
{
    static uint8_t list[2 * 255 * 512];
    struct world w;

    world_ram(&w, 1, 1);
    fill(list, sizeof(list), 9);
    write_blocks(&w, 0, 0, list, 255);
    assert_int_equal(status_of(&w, 0, CAW(0, 255), list, sizeof(list), 0), SCSI_GOOD);
    expect_block(&w, 0, 0, list + 255 * 512);
    expect_block(&w, 0, 254, list + 509 * 512);
    world_end(&w);
}

static void test_orwrite(void **state)
{
    uint8_t a[512], b[512];
    struct world w;

    world_ram(&w, 2, 2);
    fill(a, sizeof(a), 3);
    fill(b, sizeof(b), 200);
    write_blocks(&w, 0, 7, a, 1);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_ORWRITE_16, 0, 7, 1), b, 512, 0), SCSI_GOOD);
    for (unsigned i = 0; i < 512; i++)
        a[i] |= b[i];
    expect_block(&w, 0, 7, a);
    world_end(&w);
}

/* Two cores count up in one block by COMPARE AND WRITE, with reads and writes of others around: no step is
 * lost. */
static void test_compare_and_write_from_two_cores_loses_nothing(void **state)
{
    enum { STEPS = 200 };
    uint32_t taken[2] = { 0, 0 }, seen[2] = { 0, 0 };
    struct cmd *caw[2] = { NULL, NULL };
    struct world w;
    uint32_t n = 0;

    world_ram(&w, 2, 2);
    while (taken[0] + taken[1] < STEPS) {
        for (unsigned i = 0; i < 2; i++) {
            uint8_t list[1024] = { 0 };

            if (caw[i])
                continue;
            store_be32(&list[0], seen[i]);
            store_be32(&list[512], seen[i] + 1);
            caw[i] = cmd_new(&w, i, CAW(3, 1), list, 1024, 0);
            cmd_begin(&w, caw[i]);
        }
        turn_all(&w);
        for (unsigned i = 0; i < 2; i++) {
            struct cmd *r;

            if (!caw[i]->done)
                continue;
            taken[i] += caw[i]->t.status == SCSI_GOOD;
            cmd_finish(&w, caw[i]);
            cmd_free(caw[i]);
            caw[i] = NULL;
            r = exec(&w, i, OP16(SCSI_READ_16, 0, 3, 1), NULL, 0, 512);
            seen[i] = load_be32(r->in);
            cmd_free(r);
        }
        assert_true(++n < 100000);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!caw[i])
            continue;
        turn_while(&w, !caw[i]->done);
        taken[i] += caw[i]->t.status == SCSI_GOOD;
        cmd_finish(&w, caw[i]);
        cmd_free(caw[i]);
    }
    {
        struct cmd *r = exec(&w, 0, OP16(SCSI_READ_16, 0, 3, 1), NULL, 0, 512);

        assert_int_equal(load_be32(r->in), taken[0] + taken[1]);
        cmd_free(r);
    }
    world_end(&w);
}

/* A guard of one core holds back the other's write in its range and no other. */
static void test_a_guarded_range_holds_back_other_cores(void **state)
{
    uint8_t list[1024] = { 0 }, data[512] = { 9 };
    struct cmd *caw, *in, *out;
    struct world w;

    world_ram(&w, 2, 2);
    caw = cmd_new(&w, 0, CAW(3, 1), list, 1024, 0);
    in = cmd_new(&w, 1, OP16(SCSI_WRITE_16, 0, 3, 1), data, 512, 0);
    out = cmd_new(&w, 1, OP16(SCSI_WRITE_16, 0, 4, 1), data, 512, 0);
    on_core(&w, caw->t.nexus->rt, cmd_start_here, caw);
    on_core(&w, in->t.nexus->rt, cmd_start_here, in);
    on_core(&w, out->t.nexus->rt, cmd_start_here, out);
    on_core(&w, caw->t.nexus->rt, cmd_run_here, caw);       /* asks the owner, core 1 */
    while (rt_list_empty(&w.lun->parts[1].guards) && !caw->done)
        assert_true(rt_turn(rt_host_at(w.host, 1), 0) >= 0);
    assert_false(caw->done);
    {
        struct call c = { .msg.fn = call_run, .fn = cmd_run_here, .arg = in };
        struct call d = { .msg.fn = call_run, .fn = cmd_run_here, .arg = out };

        rt_post(in->t.nexus->rt, &c.msg);
        rt_post(out->t.nexus->rt, &d.msg);
        while (!d.done)                      /* core 1 only: core 0 cannot give its part of the guard */
            assert_true(rt_turn(rt_host_at(w.host, 1), 0) >= 0);
        assert_true(c.done);
    }
    assert_true(out->done);
    assert_false(in->done);
    turn_while(&w, !in->done || !caw->done);
    assert_int_equal(caw->t.status, SCSI_GOOD);
    cmd_finish(&w, caw);
    cmd_finish(&w, in);
    cmd_finish(&w, out);
    expect_block(&w, 0, 3, data);            /* after it */
    cmd_free(caw);
    cmd_free(in);
    cmd_free(out);
    world_end(&w);
}

/* What is in the backend when a range is to be guarded ends first: here a WRITE SAME of many pieces on the
 * other core. */
static void test_a_guard_waits_for_what_is_under_way(void **state)
{
    enum { NR = 8000 };
    uint8_t list[1024], one[512];
    struct cmd *same, *caw;
    struct world w;

    world_ram(&w, 2, 2);
    fill(one, sizeof(one), 6);
    memcpy(list, one, 512);
    memset(list + 512, 0x77, 512);
    same = cmd_new(&w, 1, OP16(SCSI_WRITE_SAME_16, 0, 0, NR), one, 512, 0);
    caw = cmd_new(&w, 0, CAW(NR - 1, 1), list, 1024, 0);
    on_core(&w, caw->t.nexus->rt, cmd_start_here, caw);
    cmd_begin(&w, same);
    assert_false(same->done);
    on_core(&w, caw->t.nexus->rt, cmd_run_here, caw);
    while (!caw->done) {
        const bool over = same->done;

        turn_all(&w);
        assert_true(over || !caw->t.running);
    }
    assert_int_equal(caw->t.status, SCSI_GOOD);   /* it found what the other one wrote */
    cmd_finish(&w, same);
    cmd_finish(&w, caw);
    expect_block(&w, 1, NR - 1, list + 512);
    cmd_free(same);
    cmd_free(caw);
    world_end(&w);
}

/* One slow command and guards that wait behind it, all cancelled: in one go, so that nothing has ended yet. */
struct pile {
    struct cmd *slow, *caws[2];
};

static void pile_up_here(void *arg)
{
    struct pile *p = arg;

    cmd_start_here(p->slow);
    cmd_run_here(p->slow);
    assert_false(p->slow->done);
    for (unsigned i = 0; i < ARRAY_SIZE(p->caws); i++) {
        cmd_start_here(p->caws[i]);
        cmd_run_here(p->caws[i]);
        lun_cancel(&p->caws[i]->t);
    }
}

/* When the slow one ends, each guard that is granted ends its task at once, and with it a guard further down the
 * list that is being looked through. */
static void test_guards_of_aborted_tasks_behind_a_slow_command_all_end(void **state)
{
    uint8_t list[1024] = { 0 }, data[4096];
    struct lun_conf conf = { .be = { .kind = "file", .size = 1 << 20 }, .block_len = 512 };
    char path[80];
    struct world w;
    struct pile p;

    world_host(&w, 1);
    snprintf(path, sizeof(path), "%s/disk", w.dir);
    conf.be.path = path;
    world_open(&w, &conf);
    nexus_add(&w, false);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    fill(data, sizeof(data), 6);
    p.slow = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 8), data, sizeof(data), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(p.caws); i++)
        p.caws[i] = cmd_new(&w, 0, CAW(i, 1), list, sizeof(list), 0);
    on_core(&w, p.slow->t.nexus->rt, pile_up_here, &p);
    turn_while(&w, !p.slow->done || !p.caws[0]->done || !p.caws[1]->done);
    cmd_finish(&w, p.slow);
    for (unsigned i = 0; i < ARRAY_SIZE(p.caws); i++) {
        cmd_finish(&w, p.caws[i]);
        cmd_free(p.caws[i]);
    }
    expect_block(&w, 0, 0, data);
    expect_block(&w, 0, 1, data + 512);
    cmd_free(p.slow);
    world_end(&w);
}

/* An ORDERED task waits for what its nexus sent before, and what comes after waits for it; other nexuses do
 * not. */
static void test_ordered_is_a_barrier_in_its_nexus(void **state)
{
    uint8_t a[512] = { 1 }, b[512] = { 2 }, d[512] = { 3 };
    struct cmd *first, *ordered, *after, *other;
    struct world w;

    world_ram(&w, 1, 2);
    first = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), a, 512, 0);
    ordered = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), b, 512, 0);
    ordered->t.attr = ISCSI_ATTR_ORDERED;
    after = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 1, 1), d, 512, 0);
    other = cmd_new(&w, 1, OP16(SCSI_WRITE_16, 0, 2, 1), d, 512, 0);
    on_core(&w, first->t.nexus->rt, cmd_start_here, first);   /* its data are still on their way */
    cmd_begin(&w, ordered);
    cmd_begin(&w, after);
    cmd_begin(&w, other);
    turn_all(&w);
    assert_true(other->done);
    assert_false(ordered->done);
    assert_false(after->done);
    on_core(&w, first->t.nexus->rt, cmd_run_here, first);
    turn_while(&w, !ordered->done || !after->done);
    cmd_finish(&w, first);
    cmd_finish(&w, ordered);
    cmd_finish(&w, after);
    cmd_finish(&w, other);
    expect_block(&w, 0, 0, b);
    cmd_free(first);
    cmd_free(ordered);
    cmd_free(after);
    cmd_free(other);
    world_end(&w);
}

/* More at a time than there are scratch buffers: they take turns. */
static void test_scratch_buffers_are_waited_for(void **state)
{
    enum { NR = 9 };
    uint8_t one[512];
    struct cmd *c[NR];
    struct world w;

    world_ram(&w, 1, 1);
    fill(one, sizeof(one), 4);
    for (unsigned i = 0; i < NR; i++) {
        c[i] = cmd_new(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, i * 1000, 1000), one, 512, 0);
        cmd_begin(&w, c[i]);
    }
    for (unsigned i = 0; i < NR; i++) {
        turn_while(&w, !c[i]->done);
        assert_int_equal(c[i]->t.status, SCSI_GOOD);
        cmd_finish(&w, c[i]);
        cmd_free(c[i]);
    }
    expect_block(&w, 0, NR * 1000 - 1, one);
    assert_int_equal(rt_pool_left(w.lun->parts[0].scratch), LUN_SCRATCH_NR);
    world_end(&w);
}

static void test_a_read_only_nexus_and_unit_refuse_writes(void **state)
{
    static const uint8_t ops[] = { 0x8a, 0x8b, 0x8e, 0x93, 0x9c };
    uint8_t data[512] = { 1 }, list[24] = { 0, 22, 0, 16 };
    struct world w;

    world_ram(&w, 1, 1);
    nexus_add(&w, true);
    assert_int_equal(attentions(&w, 1, NULL), 1);
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        expect_sense(&w, 1, OP16(ops[i], 0, 0, 1), data, 512, 0, SCSI_DATA_PROTECT, 0x27, 0);
    expect_sense(&w, 1, UNMAP(24), list, 24, 0, SCSI_DATA_PROTECT, 0x27, 0);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0), SCSI_GOOD);
    world_end(&w);
}

static void test_counters(void **state)
{
    uint8_t data[512] = { 1 };
    struct lun_stats s;
    struct world w;

    world_ram(&w, 2, 2);
    write_blocks(&w, 0, 0, data, 1);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_READ_16, 0, 0, 4), NULL, 0, 2048), SCSI_GOOD);
    expect_sense(&w, 1, OP16(SCSI_READ_16, 0, BLOCKS, 1), NULL, 0, 512, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    lun_stats(w.lun, &s);
    assert_int_equal(s.reads, 1);
    assert_int_equal(s.read_bytes, 2048);
    assert_int_equal(s.writes, 1);
    assert_int_equal(s.write_bytes, 512);
    assert_int_equal(s.in_flight, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_one_core_writes_another_reads),
        cmocka_unit_test(test_every_width_of_read_and_write_reaches_the_same_block),
        cmocka_unit_test(test_what_may_work_on_memory_that_others_change),
        cmocka_unit_test(test_a_range_is_judged_without_wrapping),
        cmocka_unit_test(test_the_transfer_limit_is_held),
        cmocka_unit_test(test_bits_that_mean_nothing_here_are_refused_with_their_place),
        cmocka_unit_test(test_less_expected_than_asked_for),
        cmocka_unit_test(test_a_write_that_says_it_reads_is_refused),
        cmocka_unit_test(test_verify_finds_the_first_different_byte),
        cmocka_unit_test(test_write_same),
        cmocka_unit_test(test_write_same_fills_each_block_and_no_other),
        cmocka_unit_test(test_write_same_refusals),
        cmocka_unit_test(test_unmap),
        cmocka_unit_test(test_shrinking_waits_for_an_unmap_under_way),
        cmocka_unit_test(test_unmap_refuses_lists_that_do_not_hold_together),
        cmocka_unit_test(test_compare_and_write),
        cmocka_unit_test(test_compare_and_write_of_the_most_blocks),
        cmocka_unit_test(test_orwrite),
        cmocka_unit_test(test_compare_and_write_from_two_cores_loses_nothing),
        cmocka_unit_test(test_a_guarded_range_holds_back_other_cores),
        cmocka_unit_test(test_a_guard_waits_for_what_is_under_way),
        cmocka_unit_test(test_guards_of_aborted_tasks_behind_a_slow_command_all_end),
        cmocka_unit_test(test_ordered_is_a_barrier_in_its_nexus),
        cmocka_unit_test(test_scratch_buffers_are_waited_for),
        cmocka_unit_test(test_a_read_only_nexus_and_unit_refuse_writes),
        cmocka_unit_test(test_counters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
