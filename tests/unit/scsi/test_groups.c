/*
 * test_groups.c - target port groups: commands as built, and answers as read from targets that cut them short or lie
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scsi/cdb.h"
#include "scsi/scsi.h"

#include <cmocka.h>

static void test_commands(void **state)
{
    uint8_t cdb[16], param[8];

    (void)state;
    memset(cdb, 0xff, sizeof(cdb));
    assert_int_equal(scsi_cdb_report_groups(cdb, 0x01020304), 12);
    assert_memory_equal(cdb, ((uint8_t[16]){ 0xa3, 0x0a, [6] = 1, 2, 3, 4 }), 16);
    memset(cdb, 0xff, sizeof(cdb));
    assert_int_equal(scsi_cdb_set_groups(cdb, 8), 12);
    assert_memory_equal(cdb, ((uint8_t[16]){ 0xa4, 0x0a, [9] = 8 }), 16);
    memset(param, 0xff, sizeof(param));
    scsi_set_groups_param(param, 0x0102, 2);
    assert_memory_equal(param, ((uint8_t[8]){ [4] = 2, [6] = 1, 2 }), 8);
}

/* ---- through which port ---------------------------------------------------------------------------------- */

/* A unit's name, a port of the target's that is not of the association, then both designators. */
static const uint8_t page_83[] = {
    0, 0x83, 0, 36, 1, 0x03, 0, 8, 0x50, 1, 2, 3, 4, 5,    6, 7, 1, 0x25, 0, 4,
    0, 0,    9, 9,  1, 0x94, 0, 4, 0,    0, 1, 2, 1, 0x95, 0, 4, 0, 0,    3, 4,
};

static void test_port_and_group_of_a_page(void **state)
{
    struct scsi_port p;

    (void)state;
    assert_int_equal(scsi_vpd_83_port(&p, page_83, sizeof(page_83)), 0);
    assert_true(p.has_port && p.has_group);
    assert_int_equal(p.port, 0x0102);
    assert_int_equal(p.group, 0x0304);
}

/* Each prefix, in memory of its own so that a step beyond is seen. */
static void test_a_page_that_is_cut_short(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(page_83); n++) {
        struct scsi_port p = { .port = 77, .group = 77 };
        uint8_t *cut = malloc(n ? n : 1);
        int err;

        memcpy(cut, page_83, n);
        err = scsi_vpd_83_port(&p, cut, n);
        assert_int_equal(err, n < 4 ? -EPROTO : n < 32 ? -ENOENT : 0);
        assert_int_equal(p.port, err ? 77 : 0x0102);
        assert_int_equal(p.group, err ? 77 : 0);
        free(cut);
    }
}

static void test_designators_that_are_none(void **state)
{
    static const struct {
        uint8_t page[12];
        int err;
    } rows[] = {
        { { 0, 0x80, 0, 8, 1, 0x94, 0, 4, 0, 0, 1, 2 }, -EPROTO }, /* another page */
        { { 0, 0x83, 0, 8, 1, 0x84, 0, 4, 0, 0, 1, 2 }, -ENOENT }, /* of the unit */
        { { 0, 0x83, 0, 8, 1, 0xa4, 0, 4, 0, 0, 1, 2 }, -ENOENT }, /* of the target */
        { { 0, 0x83, 0, 8, 1, 0x94, 0, 3, 0, 0, 1, 2 }, -ENOENT }, /* too short */
        { { 0, 0x83, 0, 8, 1, 0x94, 0, 5, 0, 0, 1, 2 }, -ENOENT }, /* longer than the page */
        { { 0, 0x83, 0, 7, 1, 0x94, 0, 4, 0, 0, 1, 2 }, -ENOENT }, /* and than the page says of itself */
        { { 0, 0x83, 0, 8, 1, 0x94, 0, 4, 0, 0, 1, 2 }, 0 },
        { { 0, 0x83, 0xff, 0xff, 1, 0x94, 0, 4, 0, 0, 1, 2 }, 0 }, /* says more than there is */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scsi_port p;

        assert_int_equal(scsi_vpd_83_port(&p, rows[i].page, sizeof(rows[i].page)), rows[i].err);
    }
}

/* ---- the groups ------------------------------------------------------------------------------------------ */

/* Two groups: 1, optimized, with ports 1 and 2; 2, standby and preferred, with port 3. */
static const uint8_t answer[] = {
    0, 0, 0, 28, 0x00, 0x8f, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x82, 0x8f, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3,
};

static void test_the_group_of_a_port(void **state)
{
    static const struct {
        struct scsi_port at;
        int err;
        uint8_t state;
        uint16_t group;
    } rows[] = {
        { { .has_group = true, .group = 1 }, 0, 0, 1 },
        { { .has_group = true, .group = 2 }, 0, 2, 2 },
        { { .has_group = true, .group = 3 }, -ENOENT, 0, 0 },
        { { .has_port = true, .port = 2 }, 0, 0, 1 },
        { { .has_port = true, .port = 3 }, 0, 2, 2 },
        { { .has_port = true, .port = 4 }, -ENOENT, 0, 0 },
        { { .has_group = true, .group = 2, .has_port = true, .port = 1 },
          0,
          2,
          2 },                                     /* the group's number counts */
        { { .has_group = false }, -ENOENT, 0, 0 }, /* which of the two */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scsi_group g = { .state = 77, .group = 77 };

        assert_int_equal(scsi_groups_parse(&g, &rows[i].at, answer, sizeof(answer)), rows[i].err);
        assert_int_equal(g.group, rows[i].err ? 77 : rows[i].group);
        assert_int_equal(g.state, rows[i].err ? 77 : rows[i].state);
        if (!rows[i].err)
            assert_int_equal(g.preferred, g.group == 2);
    }
}

static void test_the_only_group_is_the_one(void **state)
{
    static const uint8_t one[] = { 0, 0, 0, 8, 0x01, 0, 0, 5, 0, 0, 0, 0 };
    const struct scsi_port nothing = { .has_group = false };
    struct scsi_group g;

    (void)state;
    assert_int_equal(scsi_groups_parse(&g, &nothing, one, sizeof(one)), 0);
    assert_int_equal(g.group, 5);
    assert_int_equal(g.state, 1);
}

static void test_an_answer_that_is_cut_short(void **state)
{
    const struct scsi_port by_group = { .has_group = true, .group = 2 },
                           by_port = { .has_port = true, .port = 3 };

    (void)state;
    for (size_t n = 0; n < sizeof(answer); n++) {
        struct scsi_group g = { .group = 77 };
        uint8_t *cut = malloc(n ? n : 1);

        memcpy(cut, answer, n);
        assert_int_equal(scsi_groups_parse(&g, &by_port, cut, n), n < 4 ? -EPROTO : -ENOENT);
        assert_int_equal(g.group, 77);
        assert_int_equal(scsi_groups_parse(&g, &by_group, cut, n), n < 4 ? -EPROTO : n < 28 ? -ENOENT : 0);
        free(cut);
    }
}

/* Lengths and counts inside that are not true, states that there are not. */
static void test_an_answer_that_lies(void **state)
{
    static const struct {
        uint8_t data[16];
        int err;
    } rows[] = {
        { { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, 0 },
        { { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, -ENOENT },
        { { 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, -ENOENT },
        { { 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0, 7 }, 0 },
        { { 0, 0, 0, 12, 5, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, -EPROTO },
        { { 0, 0, 0, 12, 13, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, -EPROTO },
        { { 0, 0, 0, 12, 14, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, 0 },
        { { 0, 0, 0, 12, 0x7f, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7 }, 0 },
        { { 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8 }, -ENOENT },
    };
    const struct scsi_port at = { .has_port = true, .port = 7 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scsi_group g;

        assert_int_equal(scsi_groups_parse(&g, &at, rows[i].data, sizeof(rows[i].data)), rows[i].err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_port_and_group_of_a_page),
        cmocka_unit_test(test_a_page_that_is_cut_short),
        cmocka_unit_test(test_designators_that_are_none),
        cmocka_unit_test(test_the_group_of_a_port),
        cmocka_unit_test(test_the_only_group_is_the_one),
        cmocka_unit_test(test_an_answer_that_is_cut_short),
        cmocka_unit_test(test_an_answer_that_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
