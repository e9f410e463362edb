/*
 * test_case_unit.c - answers of a logical unit whose lengths and numbers lie (hostile target; SPC-4, SBC-3)
 *
 * Each row stands in for one answer to the look that is taken at a unit when it is opened.
 */
#include "case.h"

enum {
    INQ = 0x12, PAGE_00 = 0x100, PAGE_80 = 0x180, PAGE_83 = 0x183, PAGE_B0 = 0x1b0, CAP_16 = 0x9e, CAP_10 = 0x25,
    MODE_6 = 0x1a, READY = 0x00, LUNS = 0xa0,
};

struct lie {
    unsigned which;                         /* opcode, or 100h + page */
    const uint8_t *data;
    uint32_t len;
    uint8_t status;                         /* instead of data: SCSI status, or... */
    uint8_t sense[3];
    unsigned times;                         /* 0: always */
};

static bool lying(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const struct lie *l = c->f->arg;
    const uint8_t *cdb = c->pdu.cmd.cdb;
    unsigned what;

    if (!is_cmd(c))
        return false;
    what = cdb[0] == INQ && cdb[1] & 1 ? 0x100u + cdb[2] : cdb[0];
    if (l->which == PAGE_B0 && what == PAGE_00) {           /* so that it is asked for */
        static const uint8_t pages[] = { 0, 0, 0, 4, 0x00, 0x80, 0x83, 0xb0 };

        fake_data(c, pages, sizeof(pages));
        return true;
    }
    if (l->which == CAP_10 && what == CAP_16) {
        fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
        return true;
    }
    if (what != l->which || (l->times && x->sent >= l->times))
        return false;
    x->sent++;
    if (l->data)
        fake_data(c, l->data, l->len);
    else if (l->status == SCSI_CHECK_CONDITION)
        fake_sense(c, c->pdu.itt, l->sense[0], l->sense[1], l->sense[2]);
    else
        fake_status(c, c->pdu.itt, l->status);
    return true;
}

static int open_at(struct scene *x, const struct lie *l)
{
    scene_init(x, NULL, lying);
    x->f.arg = (void *)(uintptr_t)l;
    scene_go(x);
    assert_int_equal(ini_lun_open(x->r.s, 0, &x->r.lun, rig_opened, rig_event, &x->r), 0);
    rig_until(&x->r, x->r.opened);
    return x->r.err;
}

static void opens(const struct lie *l)
{
    struct scene x;

    assert_int_equal(open_at(&x, l), 0);
    assert_true(x.r.lun && ini_lun_info(x.r.lun)->wwid[0]);
    assert_int_equal(ini_lun_info(x.r.lun)->block_len, 512);
    assert_true(ini_lun_info(x.r.lun)->io_max >= 512 && ini_lun_info(x.r.lun)->io_max % 512 == 0);
    still_works(&x, 1);
    scene_end(&x);
}

static void does_not_open(const struct lie *l, int err)
{
    struct scene x;

    assert_int_equal(open_at(&x, l), err);
    assert_null(x.r.lun);
    assert_true(x.r.why[0]);
    still_works(&x, 1);
    scene_end(&x);
}

#define DATA(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
#define LIE(which, ...) (&(const struct lie){ which, DATA(__VA_ARGS__), 0, { 0 }, 0 })
#define STATUS(which, st, times) (&(const struct lie){ which, NULL, 0, st, { 0 }, times })
#define SENSE(which, key, asc, ascq, times)                                                                   \
    (&(const struct lie){ which, NULL, 0, SCSI_CHECK_CONDITION, { key, asc, ascq }, times })

/* ---- REPORT LUNS ---------------------------------------------------------------------------------------- */

struct luns {
    bool done;
    int err;
    unsigned nr;
    uint16_t lun[300];
};

static void luns_done(void *user, int err, const uint16_t *luns, unsigned nr)
{
    struct luns *l = user;

    l->done = true;
    l->err = err;
    l->nr = nr;
    for (unsigned i = 0; i < nr && i < 300; i++)
        l->lun[i] = luns[i];
}

static void luns(const struct lie *lie, int err, unsigned nr, uint16_t last)
{
    struct scene x;
    struct luns l = { 0 };

    scene_init(&x, NULL, lying);
    x.f.arg = (void *)(uintptr_t)lie;
    scene_go(&x);
    ini_report_luns(x.r.s, luns_done, &l);
    rig_until(&x.r, l.done);
    assert_int_equal(l.err, err);
    assert_int_equal(l.nr, nr);
    if (nr)
        assert_int_equal(l.lun[nr - 1], last);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_more_luns_than_are_kept_are_cut(void **state)
{
    static uint8_t many[8 + 8 * 20000];
    const struct lie l = { LUNS, many, sizeof(many), 0, { 0 }, 0 };
    struct scene x;
    static struct luns out;

    (void)state;
    store_be32(many, sizeof(many) - 8);
    for (uint32_t i = 0; i < 20000; i++)
        store_be64(many + 8 + 8 * i, scsi_lun_encode((uint16_t)(i % 256)));
    memset(&out, 0, sizeof(out));
    scene_init(&x, NULL, lying);
    x.f.arg = (void *)(uintptr_t)&l;
    scene_go(&x);
    ini_report_luns(x.r.s, luns_done, &out);
    rig_until(&x.r, out.done);
    assert_int_equal(out.err, 0);
    assert_true(out.nr >= 256 && out.nr <= SCSI_LUN_MAX + 1);
    still_works(&x, 1);
    scene_end(&x);
}

#define CASES(X)                                                                                              \
    /* SPC-4 INQUIRY: fewer bytes than say their own length */                                                \
    X(test_an_inquiry_of_4_bytes_opens_nothing, does_not_open, LIE(INQ, 0, 0, 6, 2), -EPROTO)                 \
    /* SPC-4 INQUIRY: ADDITIONAL LENGTH beyond the data */                                                    \
    X(test_an_inquiry_longer_than_its_data_is_read_as_far_as_it_goes, opens, LIE(INQ, 0, 0, 6, 2, 255, 0, 0,  \
      2))                                                                                                     \
    /* SPC-4 INQUIRY: PERIPHERAL QUALIFIER 3 */                                                               \
    X(test_a_unit_that_is_not_there_is_not_opened, does_not_open, LIE(INQ, 0x7f, 0, 6, 2, 31), -ENODEV)       \
    /* SPC-4 INQUIRY: a device that is no disk */                                                             \
    X(test_a_cd_is_no_disk, does_not_open, LIE(INQ, 0x05, 0x80, 6, 2, 31), -ENODEV)                           \
    /* SPC-4 INQUIRY: GOOD without data */                                                                    \
    X(test_an_inquiry_without_data_opens_nothing, does_not_open, STATUS(INQ, SCSI_GOOD, 0), -EPROTO)          \
    /* SPC-4 VPD 00: PAGE LENGTH beyond the data */                                                           \
    X(test_a_list_of_pages_longer_than_its_data, opens, LIE(PAGE_00, 0, 0, 0xff, 0xff, 0x00, 0x83))           \
    /* SPC-4 VPD 00: not sorted, and twice the same */                                                        \
    X(test_a_list_of_pages_out_of_order, opens, LIE(PAGE_00, 0, 0, 0, 5, 0x83, 0x80, 0x00, 0x83, 0x83))       \
    /* SPC-4 VPD 00: another page's header */                                                                 \
    X(test_a_list_of_pages_that_is_another_page, opens, LIE(PAGE_00, 0, 0x83, 0, 2, 0x00, 0x83))              \
    /* SPC-4 VPD 83: PAGE LENGTH beyond the data */                                                           \
    X(test_an_identity_longer_than_its_data, opens, LIE(PAGE_83, 0, 0x83, 0xff, 0xff, 1, 3, 0, 8, 0x50))      \
    /* SPC-4 VPD 83: a designator beyond the page */                                                          \
    X(test_a_designator_past_its_page, opens, LIE(PAGE_83, 0, 0x83, 0, 8, 1, 3, 0, 255, 0x50, 1, 2, 3))       \
    /* SPC-4 VPD 83: half a designator's header */                                                            \
    X(test_half_a_designator, opens, LIE(PAGE_83, 0, 0x83, 0, 2, 1, 3))                                       \
    /* SPC-4 VPD 83: designators of no length, without end */                                                 \
    X(test_designators_of_no_length, opens, LIE(PAGE_83, 0, 0x83, 0, 12, 1, 3, 0, 0, 1, 3, 0, 0, 1, 3, 0, 0)) \
    /* SPC-4 VPD 83: NAA of 3 bytes */                                                                        \
    X(test_a_name_of_3_bytes, opens, LIE(PAGE_83, 0, 0x83, 0, 7, 1, 3, 0, 3, 0x50, 1, 2))                     \
    /* SPC-4 VPD 83: a page without designators */                                                            \
    X(test_a_unit_without_an_identity_has_its_serial_number, opens, LIE(PAGE_83, 0, 0x83, 0, 0))              \
    /* SPC-4 VPD 80: PAGE LENGTH beyond the data */                                                           \
    X(test_a_serial_number_longer_than_its_data, opens, LIE(PAGE_80, 0, 0x80, 0xff, 0xff, 'a', 'b'))          \
    /* SPC-4 VPD 80: control characters */                                                                    \
    X(test_a_serial_number_of_control_characters, opens, LIE(PAGE_80, 0, 0x80, 0, 4, 0x1b, '[', '2', 'J'))    \
    /* SBC-3 VPD B0: cut short */                                                                             \
    X(test_limits_cut_short, opens, LIE(PAGE_B0, 0, 0xb0, 0, 0x3c, 0, 0, 0))                                  \
    /* SBC-3 VPD B0: a transfer of one block at most */                                                       \
    X(test_a_limit_of_one_block, opens, LIE(PAGE_B0, 0, 0xb0, 0, 0x3c, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 8))   \
    /* SBC-3 VPD B0: all ones */                                                                              \
    X(test_limits_of_all_ones, opens,                                                                         \
      LIE(PAGE_B0, 0, 0xb0, 0, 0x3c, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  \
      0xff,                                                                                                   \
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,     \
      0xff, 0xff,                                                                                             \
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))                                              \
    /* SBC-3 READ CAPACITY (16): 8 of 32 bytes */                                                             \
    X(test_half_a_capacity_opens_nothing, does_not_open, LIE(CAP_16, 0, 0, 0, 0, 0, 0, 16, 0), -EPROTO)       \
    /* SBC-3 READ CAPACITY (16): blocks of nothing */                                                         \
    X(test_blocks_of_no_length_open_nothing, does_not_open, LIE(CAP_16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0), \
      -EPROTO)                                                                                                \
    /* SBC-3 READ CAPACITY (16): blocks of 513 bytes */                                                       \
    X(test_blocks_of_513_bytes_open_nothing, does_not_open, LIE(CAP_16, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 1), \
      -EPROTO)                                                                                                \
    /* SBC-3 READ CAPACITY (16): blocks of 2 GiB */                                                           \
    X(test_blocks_of_2_gib_open_nothing, does_not_open, LIE(CAP_16, 0, 0, 0, 0, 0, 0, 16, 0, 0x80, 0, 0, 0),  \
      -EPROTO)                                                                                                \
    /* SBC-3 READ CAPACITY (16): 2^64 blocks */                                                               \
    X(test_2_to_the_64_blocks_open_nothing, does_not_open,                                                    \
      LIE(CAP_16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0), -EPROTO)                       \
    /* SBC-3 READ CAPACITY (16): a size that does not fit 63 bits */                                          \
    X(test_a_size_past_63_bits_opens_nothing, does_not_open,                                                  \
      LIE(CAP_16, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0), -EPROTO)                                            \
    /* SBC-3 READ CAPACITY (10): "ask with 16", from one that has no 16 */                                    \
    X(test_a_capacity_of_10_bytes_that_is_too_large_opens_nothing, does_not_open,                             \
      LIE(CAP_10, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0), -EFBIG)                                                \
    /* SPC-4 MODE SENSE: MODE DATA LENGTH beyond the data */                                                  \
    X(test_mode_data_longer_than_they_are, opens, LIE(MODE_6, 255, 0, 0, 0, 8, 18, 4))                        \
    /* SPC-4 MODE SENSE: BLOCK DESCRIPTOR LENGTH beyond the data */                                           \
    X(test_a_block_descriptor_past_the_data, opens, LIE(MODE_6, 23, 0, 0, 255, 8, 18, 4))                     \
    /* SPC-4 MODE SENSE: PAGE LENGTH beyond the data */                                                       \
    X(test_a_mode_page_past_the_data, opens, LIE(MODE_6, 6, 0, 0, 0, 8, 255, 4))                              \
    /* SPC-4 MODE SENSE: another page */                                                                      \
    X(test_another_mode_page_than_asked_for, opens, LIE(MODE_6, 15, 0, 0, 0, 0x0a, 10, 0, 0, 0, 0, 0, 0, 0,   \
      0, 0, 0))                                                                                               \
    /* SPC-4 MODE SENSE: 3 bytes */                                                                           \
    X(test_mode_data_of_3_bytes, opens, LIE(MODE_6, 2, 0, 0))                                                 \
    /* SAM-5: BUSY for a while */                                                                             \
    X(test_a_busy_unit_is_waited_for, opens, STATUS(READY, SCSI_BUSY, 2))                                     \
    /* SAM-5: TASK SET FULL for a while */                                                                    \
    X(test_a_full_unit_is_waited_for, opens, STATUS(PAGE_83, SCSI_TASK_SET_FULL, 2))                          \
    /* SPC-4: becoming ready */                                                                               \
    X(test_a_unit_that_becomes_ready_is_waited_for, opens, SENSE(READY, SCSI_NOT_READY, 0x04, 0x01, 2))       \
    /* SAM-5: a reservation of another's does not hide the unit */                                            \
    X(test_a_reserved_unit_is_looked_at, opens, STATUS(READY, SCSI_RESERVATION_CONFLICT, 0))                  \
    /* SAM-5: one unit attention after another */                                                             \
    X(test_attentions_without_end_open_nothing, does_not_open,                                                \
      SENSE(INQ, SCSI_UNIT_ATTENTION, 0x29, 0, 0), -EIO)                                                      \
    /* SPC-4: LOGICAL UNIT NOT SUPPORTED */                                                                   \
    X(test_a_unit_not_supported_is_not_opened, does_not_open, SENSE(READY, SCSI_ILLEGAL_REQUEST, 0x25, 0, 0), \
      -ENODEV)                                                                                                \
    /* SPC-4: MEDIUM NOT PRESENT */                                                                           \
    X(test_a_unit_without_a_medium_is_not_opened, does_not_open, SENSE(READY, SCSI_NOT_READY, 0x3a, 0, 0),    \
      -ENODEV)                                                                                                \
    /* SPC-4 REPORT LUNS: LUN LIST LENGTH beyond the data */                                                  \
    X(test_a_list_of_luns_longer_than_its_data, luns,                                                         \
      LIE(LUNS, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0), 0, 1, 7)                         \
    /* SPC-4 REPORT LUNS: LUN LIST LENGTH short of the data */                                                \
    X(test_a_list_of_luns_shorter_than_its_data, luns,                                                        \
      LIE(LUNS, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0), 0, 1, 7)             \
    /* SPC-4 REPORT LUNS: one and a half of them */                                                           \
    X(test_half_a_lun_is_none, luns, LIE(LUNS, 0, 0, 0, 12, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0),  \
      0, 1, 7)                                                                                                \
    /* SAM-5: flat space addressing */                                                                        \
    X(test_a_flat_lun_is_read, luns, LIE(LUNS, 0, 0, 0, 8, 0, 0, 0, 0, 0x41, 2, 0, 0, 0, 0, 0, 0), 0, 1,      \
      0x102)                                                                                                  \
    /* SAM-5: a LUN of levels that a disk does not have, and a well-known one */                              \
    X(test_luns_that_are_no_disk_s_are_left_out, luns,                                                        \
      LIE(LUNS, 0, 0, 0, 24, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0xc1, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, \
      0, 0),                                                                                                  \
      0, 1, 7)                                                                                                \
    /* SPC-4 REPORT LUNS: no room for its own length */                                                       \
    X(test_a_list_of_luns_of_4_bytes_is_none, luns, LIE(LUNS, 0, 0, 0, 8), -EPROTO, 0, 0)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(CASE_ENTRY)
        /* SPC-4 REPORT LUNS: 20,000 of them */
        cmocka_unit_test(test_more_luns_than_are_kept_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
