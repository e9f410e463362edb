/*
 * test_lun_alua.c - target port groups: what is said of them, who may set them, and what each state admits
 *
 * Nexus i comes in by group i + 1.
 */
#include "reactor/rt_log.h"
#include "scsi/cdb.h"
#include "tests/unit/target/lun_test.h"

#define RTPG(b1, alloc) CDB(0xa3, 0x0a | (b1), 0, 0, 0, 0, 0, 0, (alloc) >> 8, (alloc)&0xff)
#define STPG(len)       CDB(0xa4, 0x0a, 0, 0, 0, 0, 0, 0, (len) >> 8, (len)&0xff)
#define READ            OP16(SCSI_READ_16, 0, 0, 1)

static const struct lun_group two[] = { { .tag = 1 }, { .tag = 2 } };

struct set {
    struct asked a;
    const struct lun_group *groups;
    unsigned nr;
    enum lun_groups_told told;
};

static void set_here(void *arg)
{
    struct set *s = arg;

    lun_set_groups(s->a.w->lun, &s->a.r, s->groups, s->nr, s->told);
}

static void set_groups(struct world *w, const struct lun_group *groups, unsigned nr, enum lun_groups_told told)
{
    struct set s = { .groups = groups, .nr = nr, .told = told };

    s.a.w = w;
    s.a.r.fn = asked_done;
    on_core(w, rt_host_at(w->host, 0), set_here, &s);
    turn_while(w, !s.a.done);
    assert_int_equal(s.a.err, 0);
}

static void set_state(struct world *w, uint16_t tag, uint8_t state, enum lun_groups_told told)
{
    struct lun_group g[] = { { .tag = 1, .state = LUN_PORT_KEEP }, { .tag = 2, .state = LUN_PORT_KEEP } };

    g[tag - 1].state = state;
    set_groups(w, g, 2, told);
}

static void group_move(struct world *w, unsigned nexus, uint16_t tag)
{
    on_core(w, w->nexus[nexus].rt, detach_here, &w->itl[nexus]);
    w->nexus[nexus].tpgt = w->nexus[nexus].rel_port = tag;
    on_core(w, w->nexus[nexus].rt, attach_here, &(struct attach){ w, nexus, false });
}

/* Two groups, one nexus in each, on two cores. */
static void world_groups(struct world *w)
{
    world_ram(w, 2, 2);
    set_groups(w, two, 2, LUN_GROUPS_NOT_TOLD);
    group_move(w, 1, 2);
    for (unsigned i = 0; i < 2; i++)
        attentions(w, i, NULL);
}

/* What REPORT TARGET PORT GROUPS says of a group: its first byte; *why: its status code. */
static uint8_t state_told(struct world *w, unsigned nexus, uint16_t tag, uint8_t *why)
{
    struct cmd *c = exec(w, nexus, RTPG(0, 1024), NULL, 0, 1024);
    uint8_t state = 0xee;

    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(load_be32(c->in) + 4, c->t.in_done);
    for (uint32_t at = 4; at < c->t.in_done; at += 8 + 4u * c->in[at + 7]) {
        if (load_be16(&c->in[at + 2]) != tag)
            continue;
        state = c->in[at];
        if (why)
            *why = c->in[at + 5];
    }
    cmd_free(c);
    return state;
}

static uint8_t stpg(struct world *w, unsigned nexus, const uint8_t *list, uint32_t len)
{
    return status_of(w, nexus, STPG(len), list, len, 0);
}

static void test_inquiry_tells_of_both_kinds_and_of_the_port(void **state)
{
    struct world w;
    struct cmd *c;
    bool group = false, port = false;

    world_groups(&w);
    c = exec(&w, 1, CDB(0x12, 0, 0, 0, 96), NULL, 0, 96);
    assert_int_equal(c->in[0], 0);
    assert_int_equal(c->in[5] & 0x30, 0x30);
    cmd_free(c);
    c = exec(&w, 1, CDB(0x12, 1, 0x83, 1, 0), NULL, 0, 256);
    for (uint32_t at = 4; at < c->t.in_done; at += 4u + c->in[at + 3]) {
        if ((c->in[at + 1] & 0x3f) == 0x15)
            group = load_be16(&c->in[at + 6]) == 2;
        if ((c->in[at + 1] & 0x3f) == 0x14)
            port = load_be16(&c->in[at + 6]) == 2;
    }
    assert_true(group && port);
    cmd_free(c);
    world_end(&w);
}

static void test_groups_are_reported_in_both_formats_and_cut_to_the_allocation_length(void **state)
{
    const struct lun_group groups[] = { { .tag = 1, .state = LUN_PORT_NON_OPTIMIZED },
                                        { .tag = 2, .preferred = true },
                                        { .tag = 65535 } };
    struct world w;
    struct cmd *c;

    world_groups(&w);
    set_groups(&w, groups, 3, LUN_GROUPS_NOT_TOLD);
    c = exec(&w, 0, RTPG(0, 255), NULL, 0, 255);
    assert_int_equal(c->t.in_done, 4 + 3 * 12);
    assert_int_equal(load_be32(c->in), 3 * 12);
    assert_int_equal(c->in[4], 0x01);
    assert_int_equal(c->in[5], 0xcf);
    assert_int_equal(c->in[4 + 7], 1);
    assert_int_equal(load_be16(&c->in[4 + 10]), 1);
    assert_int_equal(c->in[16], 0x80);
    assert_int_equal(load_be16(&c->in[28 + 2]), 65535);
    cmd_free(c);
    c = exec(&w, 0, RTPG(0x20, 255), NULL, 0, 255);
    assert_int_equal(c->t.in_done, 8 + 3 * 12);
    assert_int_equal(load_be32(c->in), 4 + 3 * 12);
    assert_int_equal(c->in[4], 0x10);
    assert_int_equal(c->in[5], LUN_TRANSITION_MAX_S);
    assert_int_equal(load_be16(&c->in[8 + 12 + 2]), 2);
    cmd_free(c);
    c = exec(&w, 0, RTPG(0, 4), NULL, 0, 4);
    assert_int_equal(c->t.in_done, 4);
    assert_int_equal(load_be32(c->in), 3 * 12);
    assert_int_equal(c->in[4], 0xee);
    cmd_free(c);
    expect_sense(&w, 0, RTPG(0x40, 255), NULL, 0, 255, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    world_end(&w);
}

/* As many as there can be, from one end to the other. */
static void test_the_most_groups_there_can_be(void **state)
{
    struct lun_group groups[LUN_GROUPS_MAX];
    uint8_t list[4 + 4 * LUN_GROUPS_MAX] = { 0 };
    struct world w;
    struct cmd *c;

    for (unsigned i = 0; i < LUN_GROUPS_MAX; i++) {
        groups[i] = (struct lun_group){ .tag = (uint16_t)(i + 1) };
        list[4 + 4 * i] = LUN_PORT_NON_OPTIMIZED;
        store_be16(&list[4 + 4 * i + 2], groups[i].tag);
    }
    world_groups(&w);
    set_groups(&w, groups, LUN_GROUPS_MAX, LUN_GROUPS_NOT_TOLD);
    c = exec(&w, 0, RTPG(0, 4096), NULL, 0, 4096);
    assert_int_equal(c->t.in_done, 4 + 12 * LUN_GROUPS_MAX);
    cmd_free(c);
    assert_int_equal(stpg(&w, 0, list, sizeof(list)), SCSI_GOOD);
    for (unsigned i = 0; i < LUN_GROUPS_MAX; i++)
        assert_int_equal(state_told(&w, 0, groups[i].tag, NULL), LUN_PORT_NON_OPTIMIZED);
    world_end(&w);
}

static void test_a_set_holds_on_every_core_and_is_told_to_the_others(void **state)
{
    const uint8_t list[] = { 0, 0, 0, 0, LUN_PORT_STANDBY, 0, 0, 2, LUN_PORT_NON_OPTIMIZED, 0, 0, 1 };
    unsigned last = 0;
    struct world w;
    uint8_t why = 0;

    world_groups(&w);
    assert_int_equal(stpg(&w, 0, list, sizeof(list)), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, NULL), 0);
    assert_int_equal(w.itl[1].ua_nr, 1);
    expect_sense(&w, 1, READ, NULL, 0, 512, SCSI_UNIT_ATTENTION, 0x2a, 0x06);
    expect_sense(&w, 1, READ, NULL, 0, 512, SCSI_NOT_READY, 0x04, 0x0b);
    assert_int_equal(status_of(&w, 0, READ, NULL, 0, 512), SCSI_GOOD); /* non-optimized serves */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(state_told(&w, i, 1, &why), LUN_PORT_NON_OPTIMIZED);
        assert_int_equal(why, LUN_GROUP_EXPLICIT);
        assert_int_equal(state_told(&w, i, 2, &why), LUN_PORT_STANDBY);
    }
    assert_int_equal(stpg(&w, 0, list, sizeof(list)), SCSI_GOOD); /* as it is: nobody hears of it */
    assert_int_equal(w.itl[1].ua_nr, 0);
    assert_int_equal(attentions(&w, 0, &last), 0);
    world_end(&w);
}

/* Out of each state by the very port that is in it. */
static void test_a_port_can_be_set_from_itself(void **state)
{
    static const uint8_t states[] = { LUN_PORT_STANDBY, LUN_PORT_UNAVAILABLE, LUN_PORT_OFFLINE };
    struct world w;

    world_groups(&w);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        uint8_t list[] = { 0, 0, 0, 0, states[i], 0, 0, 2 };

        assert_int_equal(stpg(&w, 1, list, sizeof(list)), SCSI_GOOD);
        assert_int_equal(state_told(&w, 1, 2, NULL), states[i]);
        list[4] = LUN_PORT_OPTIMIZED;
        assert_int_equal(stpg(&w, 1, list, sizeof(list)), SCSI_GOOD);
        assert_int_equal(status_of(&w, 1, READ, NULL, 0, 512), SCSI_GOOD);
    }
    world_end(&w);
}

static void test_lists_that_are_refused_change_nothing(void **state)
{
    static const struct {
        uint8_t list[16];
        uint32_t len;
        uint8_t asc;
        uint16_t field;
    } rows[] = {
        { { 0 }, 1, 0x24, 6 },
        { { 0 }, 4, 0x24, 6 },
        { { 0, 0, 0, 0, 1, 0, 0 }, 7, 0x24, 6 },
        { { 0, 0, 0, 0, 1, 0, 0, 1, 0 }, 9, 0x24, 6 },
        { { 0, 0, 0, 0, 4, 0, 0, 1 }, 8, 0x26, 4 }, /* dependent on the block */
        { { 0, 0, 0, 0, 5, 0, 0, 1 }, 8, 0x26, 4 },
        { { 0, 0, 0, 0, 0xd, 0, 0, 1 }, 8, 0x26, 4 },
        { { 0, 0, 0, 0, 0xf, 0, 0, 1 }, 8, 0x26, 4 }, /* transitioning */
        { { 0, 0, 0, 0, 1, 0, 0, 0 }, 8, 0x26, 6 },
        { { 0, 0, 0, 0, 1, 0, 0, 3 }, 8, 0x26, 6 },
        { { 0, 0, 0, 0, 1, 0, 0xff, 0xff }, 8, 0x26, 6 },
        { { 0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 1 }, 12, 0x26, 10 }, /* the same group twice */
        { { 0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 3 }, 12, 0x26, 10 }, /* the first was good */
    };
    uint8_t list[8] = { [4] = 1, [7] = 1 };
    struct world w;
    struct cmd *c;

    world_groups(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        c = exec(&w, 0, STPG(rows[i].len), rows[i].list, rows[i].len, 0);
        check_sense(c, SCSI_ILLEGAL_REQUEST, rows[i].asc, 0);
        assert_true(c->sense.has_field);
        assert_int_equal(c->sense.field, rows[i].field);
        cmd_free(c);
    }
    /* longer than any list, by the word of the CDB alone */
    expect_sense(&w, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc), list, 8, 0, SCSI_ILLEGAL_REQUEST,
                 0x24, 0);
    expect_sense(&w, 0, STPG(4 + 4 * LUN_GROUPS_MAX + 4), list, 8, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    /* less comes than is announced; and it is not said that anything comes */
    expect_sense(&w, 0, STPG(12), list, 8, 0, SCSI_ILLEGAL_REQUEST, 0x1a, 0);
    expect_sense(&w, 0, STPG(8), NULL, 0, 8, SCSI_ILLEGAL_REQUEST, 0x0e, 3);
    expect_sense(&w, 0, CDB(0xa4, 0x0b, [9] = 8), list, 8, 0, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    assert_int_equal(status_of(&w, 0, STPG(0), NULL, 0, 0), SCSI_GOOD);
    for (uint16_t tag = 1; tag <= 2; tag++)
        assert_int_equal(state_told(&w, 0, tag, NULL), LUN_PORT_OPTIMIZED);
    assert_int_equal(w.itl[1].ua_nr, 0);
    world_end(&w);
}

static void test_what_each_state_admits(void **state)
{
    static const struct {
        const char *what;
        uint8_t cdb[16];
        uint32_t in_len;
        bool standby, none; /* admitted in standby; and by no access at all */
    } rows[] = {
        { "INQUIRY", { 0x12, [4] = 96 }, 96, true, true },
        { "VPD", { 0x12, 1, 0x83, 0, 255 }, 255, true, true },
        { "REPORT LUNS", { 0xa0, [9] = 64 }, 64, true, true },
        { "REQUEST SENSE", { 0x03, [4] = 32 }, 32, true, true },
        { "REPORT TARGET PORT GROUPS", { 0xa3, 0x0a, [9] = 64 }, 64, true, true },
        { "SET TARGET PORT GROUPS", { 0xa4, 0x0a }, 0, true, true },
        { "MODE SENSE (6)", { 0x1a, 0x08, 0x3f, 0, 192 }, 192, true, false },
        { "MODE SENSE (10)", { 0x5a, 0x08, 0x3f, [8] = 192 }, 192, true, false },
        { "LOG SENSE", { 0x4d, [8] = 16 }, 16, true, false },
        { "SEND DIAGNOSTIC", { 0x1d, 0x04 }, 0, true, false },
        { "READ KEYS", { 0x5e, 0x00, [8] = 64 }, 64, true, false },
        { "READ CAPACITY (10)", { 0x25 }, 8, true, false },
        { "READ CAPACITY (16)", { 0x9e, 0x10, [13] = 32 }, 32, true, false },
        { "REPORT SUPPORTED OPERATION CODES", { 0xa3, 0x0c, [9] = 64 }, 64, true, false },
        { "TEST UNIT READY", { 0x00 }, 0, false, false },
        { "READ (10)", { 0x28, [8] = 1 }, 512, false, false },
        { "READ (16)", { 0x88, [13] = 1 }, 512, false, false },
        { "SYNCHRONIZE CACHE (10)", { 0x35 }, 0, false, false },
        { "START STOP UNIT", { 0x1b, [4] = 1 }, 0, false, false },
        { "RESERVE (6)", { 0x16 }, 0, false, false },
    };
    static const struct {
        uint8_t state, ascq;
    } states[] = {
        { LUN_PORT_OPTIMIZED, 0 },      { LUN_PORT_NON_OPTIMIZED, 0 }, { LUN_PORT_STANDBY, 0x0b },
        { LUN_PORT_UNAVAILABLE, 0x0c }, { LUN_PORT_OFFLINE, 0x12 },    { LUN_PORT_TRANSITIONING, 0x0a },
    };
    struct world w;

    world_groups(&w);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        set_state(&w, 2, states[i].state, LUN_GROUPS_NOT_TOLD);
        for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
            const bool admitted =
                !states[i].ascq || rows[k].none || (rows[k].standby && states[i].state == LUN_PORT_STANDBY);
            struct cmd *c = exec(&w, 1, rows[k].cdb, NULL, 0, rows[k].in_len);

            if (admitted && c->t.status != SCSI_GOOD)
                fail_msg("%s is refused in state %u: %02x/%02x", rows[k].what, states[i].state, c->sense.asc,
                         c->sense.ascq);
            if (!admitted)
                check_sense(c, SCSI_NOT_READY, 0x04, states[i].ascq);
            if (rows[k].cdb[0] == 0x12)
                assert_int_equal(c->in[0] >> 5, states[i].state == LUN_PORT_UNAVAILABLE ||
                                                    states[i].state == LUN_PORT_OFFLINE);
            cmd_free(c);
            assert_int_equal(status_of(&w, 1, CDB(0x17), NULL, 0, 0),
                             states[i].ascq ? SCSI_CHECK_CONDITION : SCSI_GOOD);
        }
        assert_int_equal(status_of(&w, 0, READ, NULL, 0, 512), SCSI_GOOD); /* the other group serves */
    }
    world_end(&w);
}

static void test_every_write_is_refused_by_a_port_in_standby(void **state)
{
    uint8_t data[512] = { 7 }, caw[1024] = { 0 };
    struct world w;

    world_groups(&w);
    set_state(&w, 2, LUN_PORT_STANDBY, LUN_GROUPS_NOT_TOLD);
    expect_sense(&w, 1, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0, SCSI_NOT_READY, 0x04, 0x0b);
    expect_sense(&w, 1, CDB(0x89, [13] = 1), caw, 1024, 0, SCSI_NOT_READY, 0x04, 0x0b);
    expect_sense(&w, 1, OP16(0x93, 0, 0, 1), data, 512, 0, SCSI_NOT_READY, 0x04, 0x0b);
    world_end(&w);
}

static void test_a_transition_is_told_when_it_is_over(void **state)
{
    const uint8_t list[] = { 0, 0, 0, 0, LUN_PORT_OPTIMIZED, 0, 0, 1 };
    unsigned last = 0;
    struct world w;
    uint8_t why = 0;

    world_groups(&w);
    set_state(&w, 2, LUN_PORT_TRANSITIONING, LUN_GROUPS_NOT_TOLD);
    assert_int_equal(state_told(&w, 0, 2, NULL), LUN_PORT_TRANSITIONING);
    assert_int_equal(w.itl[1].ua_nr, 0);
    expect_sense(&w, 1, TUR, NULL, 0, 0, SCSI_NOT_READY, 0x04, 0x0a);
    expect_sense(&w, 0, STPG(8), list, 8, 0, SCSI_NOT_READY, 0x04, 0x0a); /* not while that goes on */
    set_state(&w, 2, LUN_PORT_NON_OPTIMIZED, LUN_GROUPS_CHANGED);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(attentions(&w, i, &last), 1);
        assert_int_equal(last, 0x2a06);
    }
    assert_int_equal(state_told(&w, 0, 2, &why), LUN_PORT_NON_OPTIMIZED);
    assert_int_equal(why, LUN_GROUP_IMPLICIT);
    world_end(&w);
}

static void test_a_transition_that_failed_leaves_what_was(void **state)
{
    unsigned last = 0;
    struct world w;

    world_groups(&w);
    set_state(&w, 2, LUN_PORT_STANDBY, LUN_GROUPS_NOT_TOLD);
    set_state(&w, 2, LUN_PORT_TRANSITIONING, LUN_GROUPS_NOT_TOLD);
    set_state(&w, 2, LUN_PORT_TRANSITIONING, LUN_GROUPS_NOT_TOLD);
    set_state(&w, 2, LUN_PORT_BACK, LUN_GROUPS_FAILED);
    assert_int_equal(attentions(&w, 0, &last), 1);
    assert_int_equal(last, 0x2a07);
    assert_int_equal(state_told(&w, 0, 2, NULL), LUN_PORT_STANDBY);
    set_state(&w, 2, LUN_PORT_BACK, LUN_GROUPS_FAILED); /* of nothing */
    assert_int_equal(attentions(&w, 0, NULL), 0);
    world_end(&w);
}

static void test_groups_come_and_go(void **state)
{
    const struct lun_group one[] = { { .tag = 1, .state = LUN_PORT_KEEP } };
    const struct lun_group more[] = { { .tag = 1, .state = LUN_PORT_KEEP },
                                      { .tag = 2, .state = LUN_PORT_NON_OPTIMIZED, .preferred = true } };
    struct world w;
    uint8_t why = 7;

    world_groups(&w);
    set_state(&w, 1, LUN_PORT_NON_OPTIMIZED, LUN_GROUPS_CHANGED);
    set_groups(&w, one, 1, LUN_GROUPS_CHANGED);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(state_told(&w, 0, 2, NULL), 0xee);
    assert_int_equal(w.itl[1].ua_nr, 1);
    w.itl[1].ua_nr = 0;
    expect_sense(&w, 1, READ, NULL, 0, 512, SCSI_NOT_READY, 0x04, 0x0c); /* its group is gone */
    set_groups(&w, more, 2, LUN_GROUPS_CHANGED);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    assert_int_equal(state_told(&w, 0, 1, NULL), LUN_PORT_NON_OPTIMIZED);
    assert_int_equal(state_told(&w, 0, 2, &why), 0x80 | LUN_PORT_NON_OPTIMIZED);
    assert_int_equal(why, LUN_GROUP_NEW);
    assert_int_equal(attentions(&w, 1, NULL), 1);
    assert_int_equal(status_of(&w, 1, READ, NULL, 0, 512), SCSI_GOOD);
    world_end(&w);
}

/* A reservation keeps others from changing states, as from writing; looking is free. */
static void test_a_reservation_holds_for_states(void **state)
{
    const uint8_t reg[24] = { [15] = 1 }, res[24] = { [7] = 1 }, list[] = { 0, 0, 0, 0, 1, 0, 0, 1 };
    struct world w;

    world_groups(&w);
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0x00, [8] = 24), reg, 24, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0x01, 0x01, [8] = 24), res, 24, 0), SCSI_GOOD);
    assert_int_equal(stpg(&w, 1, list, sizeof(list)), SCSI_RESERVATION_CONFLICT);
    assert_int_equal(state_told(&w, 1, 1, NULL), LUN_PORT_OPTIMIZED);
    assert_int_equal(stpg(&w, 0, list, sizeof(list)), SCSI_GOOD);
    world_end(&w);
}

/* REGISTER AND MOVE names the port of the new holder: one that is there. */
static void test_a_reservation_moves_to_a_port_that_is_there(void **state)
{
    uint8_t p[512] = { 0 };
    struct lun_reg to = { .key = 0 };
    struct world w;
    uint32_t len;

    world_groups(&w);
    p[15] = 1;
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0x00, [8] = 24), p, 24, 0), SCSI_GOOD);
    p[7] = 1;
    assert_int_equal(status_of(&w, 0, CDB(0x5f, 0x01, 0x01, [8] = 24), p, 24, 0), SCSI_GOOD);
    memcpy(to.initiator, w.nexus[1].initiator, sizeof(to.initiator));
    memcpy(to.isid, w.nexus[1].isid, sizeof(to.isid));
    len = pr_tid_encode(&p[24], &to);
    store_be32(&p[20], len);
    p[15] = 2;
    p[19] = 3;
    expect_sense(&w, 0, CDB(0x5f, 0x07, 0x01, [7] = (uint8_t)((24 + len) >> 8), [8] = (uint8_t)(24 + len)), p,
                 24 + len, 0, SCSI_ILLEGAL_REQUEST, 0x26, 0);
    p[19] = 2;
    assert_int_equal(
        status_of(&w, 0, CDB(0x5f, 0x07, 0x01, [7] = (uint8_t)((24 + len) >> 8), [8] = (uint8_t)(24 + len)), p,
                  24 + len, 0),
        SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_WRITE_16, 0, 0, 1), p, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), p, 512, 0), SCSI_RESERVATION_CONFLICT);
    world_end(&w);
}

/* A write whose data come after the port has changed its state is judged by the new one. */
static void test_data_that_come_late_meet_the_new_state(void **state)
{
    const uint8_t data[512] = { 1 };
    struct world w;
    struct cmd *c;

    world_groups(&w);
    c = cmd_new(&w, 1, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0);
    on_core(&w, c->t.nexus->rt, cmd_start_here, c);
    assert_false(c->done);
    set_state(&w, 2, LUN_PORT_STANDBY, LUN_GROUPS_CHANGED);
    on_core(&w, c->t.nexus->rt, cmd_run_here, c);
    turn_while(&w, !c->done);
    check_sense(c, SCSI_NOT_READY, 0x04, 0x0b);
    cmd_finish(&w, c);
    cmd_free(c);
    world_end(&w);
}

/* What is in the backend by a port that stops serving has ended before anybody is told so: here a WRITE SAME of many
 * pieces. */
static void test_a_state_is_told_when_what_ran_before_it_has_ended(void **state)
{
    const uint8_t block[512] = { 0xaa };
    struct set s = { .told = LUN_GROUPS_CHANGED };
    const struct lun_group g[] = { { .tag = 1 }, { .tag = 2, .state = LUN_PORT_UNAVAILABLE } };
    struct world w;
    struct cmd *c;

    world_groups(&w);
    c = cmd_new(&w, 1, OP16(0x93, 0, 0, RAM_LEN / 512), block, 512, 0);
    cmd_begin(&w, c);
    assert_false(c->done);
    s.groups = g;
    s.nr = 2;
    s.a.w = &w;
    s.a.r.fn = asked_done;
    on_core(&w, rt_host_at(w.host, 0), set_here, &s);
    turn_while(&w, !s.a.done);
    assert_true(c->done);
    assert_int_equal(c->t.status, SCSI_GOOD);
    cmd_finish(&w, c);
    cmd_free(c);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inquiry_tells_of_both_kinds_and_of_the_port),
        cmocka_unit_test(test_groups_are_reported_in_both_formats_and_cut_to_the_allocation_length),
        cmocka_unit_test(test_the_most_groups_there_can_be),
        cmocka_unit_test(test_a_set_holds_on_every_core_and_is_told_to_the_others),
        cmocka_unit_test(test_a_port_can_be_set_from_itself),
        cmocka_unit_test(test_lists_that_are_refused_change_nothing),
        cmocka_unit_test(test_what_each_state_admits),
        cmocka_unit_test(test_every_write_is_refused_by_a_port_in_standby),
        cmocka_unit_test(test_a_transition_is_told_when_it_is_over),
        cmocka_unit_test(test_a_transition_that_failed_leaves_what_was),
        cmocka_unit_test(test_groups_come_and_go),
        cmocka_unit_test(test_a_reservation_holds_for_states),
        cmocka_unit_test(test_a_reservation_moves_to_a_port_that_is_there),
        cmocka_unit_test(test_data_that_come_late_meet_the_new_state),
        cmocka_unit_test(test_a_state_is_told_when_what_ran_before_it_has_ended),
    };

    rt_log_level(RT_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
