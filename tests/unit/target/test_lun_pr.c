/*
 * test_lun_pr.c - reservations: who is let in, who is told, what outlives a power loss
 */
#include "tests/unit/target/lun_test.h"

enum { READ, WRITE, TOUCH };                /* what a nexus tries */

static uint8_t try(struct world *w, unsigned nexus, int what)
{
    static const uint8_t data[512] = { 1 };

    switch (what) {
    case READ: return status_of(w, nexus, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
    case WRITE: return status_of(w, nexus, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0);
    default: return status_of(w, nexus, TUR, NULL, 0, 0);
    }
}

static const uint8_t *pr_list(uint8_t p[static 24], uint64_t key, uint64_t sa_key, uint8_t flags)
{
    memset(p, 0, 24);
    store_be64(&p[0], key);
    store_be64(&p[8], sa_key);
    p[20] = flags;
    return p;
}

static uint8_t pr_out(struct world *w, unsigned nexus, uint8_t sa, uint8_t type, uint64_t key, uint64_t sa_key,
                      uint8_t flags)
{
    uint8_t p[24];

    return status_of(w, nexus, CDB(0x5f, sa, type, [8] = 24), pr_list(p, key, sa_key, flags), 24, 0);
}

static struct cmd *pr_in(struct world *w, unsigned nexus, uint8_t sa)
{
    struct cmd *c = exec(w, nexus, CDB(0x5e, sa, [7] = 0x10), NULL, 0, 4096);

    assert_int_equal(c->t.status, SCSI_GOOD);
    return c;
}

static unsigned keys(struct world *w, unsigned nexus)
{
    struct cmd *c = pr_in(w, nexus, 0);
    const unsigned n = load_be32(&c->in[4]) / 8;

    assert_int_equal(c->t.in_done, 8 + 8 * n);
    cmd_free(c);
    return n;
}

static uint8_t type_held(struct world *w, unsigned nexus)
{
    struct cmd *c = pr_in(w, nexus, 1);
    const uint8_t type = load_be32(&c->in[4]) ? c->in[21] : 0;

    cmd_free(c);
    return type;
}

static void both_registered(struct world *w)
{
    assert_int_equal(pr_out(w, 0, 0, 0, 0, 0xa, 0), SCSI_GOOD);
    assert_int_equal(pr_out(w, 1, 0, 0, 0, 0xb, 0), SCSI_GOOD);
}

static void test_registering(void **state)
{
    struct world w;

    world_ram(&w, 2, 2);
    assert_int_equal(pr_out(&w, 0, 0, 0, 7, 0xa, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
    assert_int_equal(keys(&w, 1), 0);
    both_registered(&w);
    assert_int_equal(keys(&w, 0), 2);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xb, 0xc, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xa, 0xc, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 6, 0, 0x77, 0xd, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xd, 0, 0), SCSI_GOOD);
    assert_int_equal(keys(&w, 0), 1);
    world_end(&w);
}

static void test_parameter_lists_of_a_wrong_length_or_place(void **state)
{
    uint8_t p[64] = { 0 };
    struct world w;

    world_ram(&w, 1, 1);
    for (unsigned len = 0; len < 24; len++)
        expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = (uint8_t)len), p, len, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = 25), p, 25, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x5f, 1, 1, [8] = 28), p, 28, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x5f, 0, 0, [5] = 0xff, [8] = 24), p, 24, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, CDB(0x5f, 1, 0x11, [8] = 24), p, 24, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, CDB(0x5f, 1, 0x02, [8] = 24), p, 24, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    expect_sense(&w, 0, CDB(0x5f, 0x08, 0, [8] = 24), p, 24, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    store_be64(&p[8], 5);
    p[20] = 0x08;                            /* SPEC_I_PT: lists that lie about their length */
    store_be32(&p[24], 1000);
    expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = 52), p, 52, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    store_be32(&p[24], 24);
    p[28] = 0x45;
    store_be16(&p[30], 0xfffc);
    expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = 52), p, 52, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    assert_int_equal(keys(&w, 0), 0);
    world_end(&w);
}

/* SPC-4's table for each type: the holder, a registrant, a stranger. */
static void test_who_is_let_in(void **state)
{
    static const struct { uint8_t type; bool reg_read, reg_write, other_read; } types[] = {
        { 1, true, false, true }, { 3, false, false, false }, { 5, true, true, true }, { 6, true, true, false },
        { 7, true, true, true }, { 8, true, true, false },
    };
    struct world w;

    world_ram(&w, 2, 3);
    both_registered(&w);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        const uint8_t bad = SCSI_RESERVATION_CONFLICT;

        assert_int_equal(pr_out(&w, 0, 1, types[i].type, 0xa, 0, 0), SCSI_GOOD);
        assert_int_equal(type_held(&w, 2), types[i].type);
        assert_int_equal(pr_out(&w, 0, 1, types[i].type, 0xa, 0, 0), SCSI_GOOD);
        assert_int_equal(pr_out(&w, 1, 1, types[i].type, 0xb, 0, 0), types[i].type >= 7 ? SCSI_GOOD : bad);
        assert_int_equal(pr_out(&w, 2, 1, types[i].type, 0, 0, 0), bad);
        assert_int_equal(try(&w, 0, READ), SCSI_GOOD);
        assert_int_equal(try(&w, 0, WRITE), SCSI_GOOD);
        assert_int_equal(try(&w, 1, READ), types[i].reg_read ? SCSI_GOOD : bad);
        assert_int_equal(try(&w, 1, WRITE), types[i].reg_write ? SCSI_GOOD : bad);
        assert_int_equal(try(&w, 2, READ), types[i].other_read ? SCSI_GOOD : bad);
        assert_int_equal(try(&w, 2, WRITE), bad);
        assert_int_equal(try(&w, 2, TOUCH), SCSI_GOOD);
        assert_int_equal(pr_out(&w, 0, 2, types[i].type, 0xa, 0, 0), SCSI_GOOD);
        assert_int_equal(attentions(&w, 1, NULL), types[i].type >= 5 ? 1 : 0);
        assert_int_equal(try(&w, 2, WRITE), SCSI_GOOD);
    }
    world_end(&w);
}

static void test_release_of_another_type_is_refused(void **state)
{
    uint8_t p[24];
    struct world w;

    world_ram(&w, 1, 2);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 0, 1, 1, 0xa, 0, 0), SCSI_GOOD);
    expect_sense(&w, 0, CDB(0x5f, 2, 3, [8] = 24), pr_list(p, 0xa, 0, 0), 24, 0, SCSI_ILLEGAL_REQUEST, 0x26,
                 0x04);
    assert_int_equal(pr_out(&w, 1, 2, 3, 0xb, 0, 0), SCSI_GOOD);   /* not the holder: nothing happens */
    assert_int_equal(pr_out(&w, 1, 2, 1, 0xa, 0, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(type_held(&w, 1), 1);
    world_end(&w);
}

static void test_unregistering_the_holder_releases(void **state)
{
    unsigned last;
    struct world w;

    world_ram(&w, 2, 2);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 0, 1, 6, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 1, &last), 1);
    assert_int_equal(last, 0x2a04);
    assert_int_equal(type_held(&w, 1), 0);
    /* with "all registrants" the last one holds it alone */
    assert_int_equal(pr_out(&w, 0, 0, 0, 0, 0xa, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 1, 8, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(type_held(&w, 1), 8);
    assert_int_equal(try(&w, 0, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 1, 0, 0, 0xb, 0, 0), SCSI_GOOD);
    assert_int_equal(try(&w, 0, READ), SCSI_GOOD);
    world_end(&w);
}

static void test_clear(void **state)
{
    unsigned last;
    struct world w;

    world_ram(&w, 2, 2);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 0, 1, 3, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 1, 3, 0, 0xa, 0, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 1, 3, 0, 0xb, 0, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, &last), 1);
    assert_int_equal(last, 0x2a03);
    assert_int_equal(attentions(&w, 1, NULL), 0);
    assert_int_equal(keys(&w, 0), 0);
    assert_int_equal(type_held(&w, 0), 0);
    world_end(&w);
}

static void test_preempt(void **state)
{
    uint8_t p[24];
    unsigned last;
    struct world w;

    world_ram(&w, 2, 3);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 2, 0, 0, 0, 0xc, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 1, 1, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 1, 4, 1, 0xb, 0x99, 0), SCSI_RESERVATION_CONFLICT);
    expect_sense(&w, 1, CDB(0x5f, 4, 1, [8] = 24), pr_list(p, 0xb, 0, 0), 24, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    assert_int_equal(pr_out(&w, 1, 4, 3, 0xb, 0xa, 0), SCSI_GOOD);
    assert_int_equal(type_held(&w, 1), 3);
    assert_int_equal(attentions(&w, 0, &last), 1);
    assert_int_equal(last, 0x2a05);
    assert_int_equal(attentions(&w, 2, &last), 1);   /* the kind of reservation is another */
    assert_int_equal(last, 0x2a04);
    assert_int_equal(try(&w, 0, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 1, WRITE), SCSI_GOOD);
    assert_int_equal(keys(&w, 1), 2);
    /* somebody who holds nothing */
    assert_int_equal(pr_out(&w, 1, 4, 3, 0xb, 0xc, 0), SCSI_GOOD);
    assert_int_equal(keys(&w, 1), 1);
    assert_int_equal(type_held(&w, 1), 3);
    assert_int_equal(try(&w, 1, WRITE), SCSI_GOOD);
    world_end(&w);
}

static void test_preempt_of_all_registrants(void **state)
{
    struct world w;

    world_ram(&w, 2, 3);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 2, 0, 0, 0, 0xc, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 1, 7, 0xa, 0, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 1, 4, 7, 0xb, 0xa, 0), SCSI_GOOD);   /* one of them */
    assert_int_equal(keys(&w, 1), 2);
    assert_int_equal(type_held(&w, 1), 7);
    assert_int_equal(pr_out(&w, 1, 4, 1, 0xb, 0, 0), SCSI_GOOD);     /* all of them */
    assert_int_equal(keys(&w, 1), 1);
    assert_int_equal(type_held(&w, 1), 1);
    assert_int_equal(attentions(&w, 2, NULL), 1);
    assert_int_equal(try(&w, 2, WRITE), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 1, WRITE), SCSI_GOOD);
    world_end(&w);
}

/* The fenced host's tasks are gone before the answer, those that wait for data and those that wait in line. */
static void test_preempt_and_abort_waits_for_the_end_of_the_others_tasks(void **state)
{
    uint8_t data[512] = { 1 }, p[24];
    struct cmd *waits, *fence, *mine;
    struct world w;

    world_ram(&w, 2, 2);
    both_registered(&w);
    assert_int_equal(pr_out(&w, 0, 1, 1, 0xa, 0, 0), SCSI_GOOD);
    waits = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0);
    on_core(&w, waits->t.nexus->rt, cmd_start_here, waits);
    mine = cmd_new(&w, 1, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
    on_core(&w, mine->t.nexus->rt, cmd_start_here, mine);
    fence = cmd_new(&w, 1, CDB(0x5f, 5, 1, [8] = 24), pr_list(p, 0xb, 0xa, 0), 24, 0);
    cmd_begin(&w, fence);
    turn_while(&w, !fence->done);
    assert_true(waits->aborted && waits->tas && waits->finished);
    assert_false(mine->aborted);
    assert_int_equal(fence->t.status, SCSI_GOOD);
    cmd_finish(&w, fence);
    on_core(&w, mine->t.nexus->rt, cmd_run_here, mine);
    turn_while(&w, !mine->done);
    assert_int_equal(mine->t.status, SCSI_GOOD);
    cmd_finish(&w, mine);
    cmd_free(waits);
    cmd_free(fence);
    cmd_free(mine);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(try(&w, 0, WRITE), SCSI_RESERVATION_CONFLICT);
    world_end(&w);
}

/* A write that was let in, and whose data come when its host has been fenced, is not written. */
static void test_a_write_overtaken_by_a_fence_is_refused(void **state)
{
    uint8_t data[512] = { 0x5a };
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 2);
    both_registered(&w);
    c = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0);
    on_core(&w, c->t.nexus->rt, cmd_start_here, c);
    assert_int_equal(pr_out(&w, 1, 1, 1, 0xb, 0, 0), SCSI_GOOD);
    on_core(&w, c->t.nexus->rt, cmd_run_here, c);
    turn_while(&w, !c->done);
    assert_int_equal(c->t.status, SCSI_RESERVATION_CONFLICT);
    cmd_finish(&w, c);
    cmd_free(c);
    c = exec(&w, 1, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
    assert_int_equal(c->in[0], 0);
    cmd_free(c);
    world_end(&w);
}

static uint32_t tid(uint8_t *p, const char *name, const char *isid)
{
    const int n = snprintf((char *)p + 4, 250, "%s,i,0x%s", name, isid);
    const uint32_t len = ((uint32_t)n + 4) & ~3u;

    p[0] = 0x45;
    store_be16(&p[2], (uint16_t)len);
    return 4 + len;
}

static void test_registering_others_and_moving(void **state)
{
    uint8_t p[300] = { 0 };
    uint32_t len;
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 3);
    store_be64(&p[8], 0xa);
    p[20] = 0x08;
    len = tid(&p[28], w.nexus[1].initiator, "000000000002");
    store_be32(&p[24], len);
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0, 0, [8] = (uint8_t)(28 + len)), p, 28 + len, 0), SCSI_GOOD);
    assert_int_equal(keys(&w, 2), 2);
    assert_int_equal(pr_out(&w, 1, 0, 0, 0xa, 0xb, 0), SCSI_GOOD);   /* it is registered with that key */
    assert_int_equal(pr_out(&w, 0, 1, 3, 0xa, 0, 0), SCSI_GOOD);
    /* the reservation goes to the third, and the first leaves */
    memset(p, 0, sizeof(p));
    store_be64(&p[0], 0xa);
    store_be64(&p[8], 0xc);
    p[17] = 0x02;
    store_be16(&p[18], 1);
    len = tid(&p[24], w.nexus[2].initiator, "000000000003");
    store_be32(&p[20], len);
    assert_int_equal(status_of(&w, 1, CDB(0x5f, 7, 0, [8] = (uint8_t)(24 + len)), p, 24 + len, 0),
                     SCSI_RESERVATION_CONFLICT);
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 7, 0, [8] = (uint8_t)(24 + len)), p, 24 + len, 0), SCSI_GOOD);
    assert_int_equal(keys(&w, 2), 2);
    assert_int_equal(try(&w, 0, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 2, WRITE), SCSI_GOOD);
    c = pr_in(&w, 1, 3);
    assert_int_equal(load_be32(&c->in[4]) + 8, c->t.in_done);
    assert_int_equal(load_be64(&c->in[8]), 0xb);
    cmd_free(c);
    world_end(&w);
}

/* Taken, it would be in the unit for good, and no list with it in can be written as JSON: every APTPL fails. */
static void test_a_name_nobody_can_log_in_by_is_not_registered(void **state)
{
    static const char *const names[] = { "host", "iqn.2024-01.org.example:\xff", "iqn.2024-01.org.example:a b" };
    uint8_t p[300];
    struct world w;

    world_ram(&w, 2, 2);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        uint32_t len;

        memset(p, 0, sizeof(p));
        store_be64(&p[8], 0xa);
        p[20] = 0x08 | 0x01;                /* SPEC_I_PT, APTPL */
        len = tid(&p[28], names[i], "000000000002");
        store_be32(&p[24], len);
        expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = (uint8_t)(28 + len)), p, 28 + len, 0, SCSI_ILLEGAL_REQUEST,
                     0x26, 0x00);
        assert_int_equal(keys(&w, 0), 0);
    }
    world_end(&w);
}

/* Names are compared in lower case, as those of sessions are kept. */
static void test_a_name_in_capitals_is_the_same_nexus(void **state)
{
    uint8_t p[300] = { 0 };
    uint32_t len;
    struct world w;

    world_ram(&w, 2, 2);
    store_be64(&p[8], 0xa);
    p[20] = 0x08;
    len = tid(&p[28], "IQN.2024-01.ORG.EXAMPLE:HOST1", "000000000002");
    store_be32(&p[24], len);
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0, 0, [8] = (uint8_t)(28 + len)), p, 28 + len, 0), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 1, 0, 0, 0xa, 0xb, 0), SCSI_GOOD);
    world_end(&w);
}

static void test_registrations_are_bounded(void **state)
{
    uint8_t p[300];
    unsigned nr = 0;
    struct world w;
    struct cmd *c;

    world_ram(&w, 1, 1);
    for (;; nr++) {
        char isid[13];
        uint32_t len;

        memset(p, 0, sizeof(p));
        p[20] = 0x08;
        store_be64(&p[8], 1);
        snprintf(isid, sizeof(isid), "%012x", 1000 + nr);
        len = tid(&p[28], "iqn.2024-01.org.example:other", isid);
        store_be32(&p[24], len);
        c = exec(&w, 0, CDB(0x5f, 0, 0, [8] = (uint8_t)(28 + len)), p, 28 + len, 0);
        if (c->t.status != SCSI_GOOD)
            break;
        cmd_free(c);
        assert_int_equal(pr_out(&w, 0, 0, 0, 1, 0, 0), SCSI_GOOD);   /* itself leaves again */
        assert_true(nr < 1000);
    }
    check_sense(c, SCSI_ILLEGAL_REQUEST, 0x55, 0x04);
    cmd_free(c);
    assert_int_equal(nr, LUN_REGS_MAX - 1);
    assert_int_equal(keys(&w, 0), LUN_REGS_MAX - 1);
    world_end(&w);
}

static void test_aptpl_outlives_the_unit(void **state)
{
    struct lun_conf conf = { .be = { .kind = "ram", .size = RAM_LEN }, .block_len = 512 };
    struct world w;

    world_ram(&w, 2, 2);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0, 0xa, 0x01), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 1, 0, 0, 0, 0xb, 0x01), SCSI_GOOD);
    assert_int_equal(pr_out(&w, 0, 1, 3, 0xa, 0, 0), SCSI_GOOD);
    world_close(&w);
    conf.state_path = w.state;
    world_open(&w, &conf);
    nexus_add(&w, false);
    nexus_add(&w, false);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(attentions(&w, 1, NULL), 1);
    assert_int_equal(keys(&w, 1), 2);
    assert_int_equal(type_held(&w, 1), 3);
    assert_int_equal(try(&w, 1, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 0, WRITE), SCSI_GOOD);
    /* without APTPL it is forgotten */
    assert_int_equal(pr_out(&w, 0, 0, 0, 0xa, 0xa, 0), SCSI_GOOD);
    world_close(&w);
    world_open(&w, &conf);
    nexus_add(&w, false);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(keys(&w, 0), 0);
    world_end(&w);
}

static void test_a_state_file_that_cannot_be_understood_is_not_ignored(void **state)
{
    static const char *const bad[] = {
        "", "{}", "[]", "{\"version\":2,\"type\":0,\"holder\":-1,\"registrations\":[]}",
        "{\"version\":1,\"type\":1,\"holder\":0,\"registrations\":[]}",
        "{\"version\":1,\"type\":2,\"holder\":0,\"registrations\":[]}",
        "{\"version\":1,\"type\":0,\"holder\":-1,\"registrations\":[{\"key\":\"1\"}]}",
    };
    struct lun_conf conf = { .be = { .kind = "null", .size = RAM_LEN }, .block_len = 512 };
    char why[256];
    struct world w;

    world_host(&w, 1);
    conf.state_path = w.state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(rt_save(w.state, bad[i], strlen(bad[i]), 0600), 0);
        assert_int_equal(lun_new(&w.lun, w.host, 0, &conf, why), -EINVAL);
        assert_non_null(strstr(why, w.state));
        assert_null(w.lun);
    }
    world_end(&w);
}

static void test_aptpl_without_a_place_to_keep_it_is_refused(void **state)
{
    struct lun_conf conf = { .be = { .kind = "null", .size = RAM_LEN }, .block_len = 512 };
    uint8_t p[24];
    struct world w;

    world_host(&w, 1);
    world_open(&w, &conf);
    nexus_add(&w, false);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    expect_sense(&w, 0, CDB(0x5f, 0, 0, [8] = 24), pr_list(p, 0, 1, 1), 24, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    assert_int_equal(keys(&w, 0), 0);
    world_end(&w);
}

/* ---- RESERVE and RELEASE --------------------------------------------------------------------------------- */

static void test_reserve_and_release(void **state)
{
    struct world w;

    world_ram(&w, 2, 2);
    assert_int_equal(status_of(&w, 0, CDB(0x16), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x16), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, CDB(0x56), NULL, 0, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 1, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 1, TOUCH), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 1, 0, 0, 0, 0xb, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(pr_out(&w, 0, 0, 0, 0, 0xa, 0), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(status_of(&w, 1, CDB(0x12, 0, 0, 0, 96), NULL, 0, 96), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, CDB(0x17), NULL, 0, 0), SCSI_GOOD);   /* not its own: nothing happens */
    assert_int_equal(try(&w, 1, READ), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(try(&w, 0, WRITE), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x57), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(try(&w, 1, WRITE), SCSI_GOOD);
    both_registered(&w);
    assert_int_equal(status_of(&w, 0, CDB(0x16), NULL, 0, 0), SCSI_RESERVATION_CONFLICT);
    world_end(&w);
}

static void test_a_holder_that_leaves_gives_its_reserve_back(void **state)
{
    struct world w;

    world_ram(&w, 2, 2);
    assert_int_equal(status_of(&w, 0, CDB(0x16), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(try(&w, 1, READ), SCSI_RESERVATION_CONFLICT);
    on_core(&w, w.nexus[0].rt, detach_here, &w.itl[0]);
    for (unsigned i = 0; i < 5; i++)
        turn_all(&w);
    assert_int_equal(try(&w, 1, READ), SCSI_GOOD);
    on_core(&w, w.nexus[1].rt, detach_here, &w.itl[1]);
    w.nexus_nr = 0;
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registering),
        cmocka_unit_test(test_parameter_lists_of_a_wrong_length_or_place),
        cmocka_unit_test(test_who_is_let_in),
        cmocka_unit_test(test_release_of_another_type_is_refused),
        cmocka_unit_test(test_unregistering_the_holder_releases),
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_preempt),
        cmocka_unit_test(test_preempt_of_all_registrants),
        cmocka_unit_test(test_preempt_and_abort_waits_for_the_end_of_the_others_tasks),
        cmocka_unit_test(test_a_write_overtaken_by_a_fence_is_refused),
        cmocka_unit_test(test_registering_others_and_moving),
        cmocka_unit_test(test_a_name_nobody_can_log_in_by_is_not_registered),
        cmocka_unit_test(test_a_name_in_capitals_is_the_same_nexus),
        cmocka_unit_test(test_registrations_are_bounded),
        cmocka_unit_test(test_aptpl_outlives_the_unit),
        cmocka_unit_test(test_a_state_file_that_cannot_be_understood_is_not_ignored),
        cmocka_unit_test(test_aptpl_without_a_place_to_keep_it_is_refused),
        cmocka_unit_test(test_reserve_and_release),
        cmocka_unit_test(test_a_holder_that_leaves_gives_its_reserve_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
