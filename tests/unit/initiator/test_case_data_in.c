/*
 * test_case_data_in.c - data that a target sends where, when and as it must not (RFC 7143 11.7)
 *
 * Each row is a read of eight blocks, answered in an odd way the first time. Whatever comes, the caller's memory
 * holds what the disk does or the command has failed, and nothing around it was touched.
 */
#include "case.h"

#define LEN 4096u

enum row {
    WHOLE, WITH_RESPONSE, IN_BYTES, EMPTY_FIRST, TAGS_SET, ACK_ASKED, NOT_F, AFTER_STATUS, STATUS_TWICE, OTHER_TAG,
    FOREIGN_SLOT, MORE_THAN_ASKED, BEYOND_END, FAR_OFFSET, TWICE, GAP, BACKWARDS, SN_FROM_ONE, SN_GAP, SN_TWICE,
    TOO_LONG, TAG_RESERVED, FEWER, CHECKED, BOTH_RESIDUALS, EXP_DATA_SN, AHEAD, STAT_SN_AHEAD, SHORT_PAD,
};

static struct iscsi_pdu data_in(const struct fake_conn *c, uint32_t sn, uint32_t off, bool last)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_DATA_IN, .final = last, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };

    p.resp.data_sn = sn;
    p.resp.offset = off;
    p.resp.has_status = last;
    return p;
}

static void part(struct fake_conn *c, uint32_t sn, uint32_t off, uint32_t len)
{
    send_unnumbered(c, data_in(c, sn, off, false), c->f->disk + off, len);
}

static void last(struct fake_conn *c, uint32_t sn, uint32_t off, uint32_t len)
{
    fake_send(c, data_in(c, sn, off, true), c->f->disk + off, len);
}

static bool odd_data(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    static uint8_t noise[300000];
    struct iscsi_pdu p = data_in(c, 0, 0, true);
    uint8_t bhs[ISCSI_BHS_LEN];

    if (!is_cmd(c) || x->sent++)
        return false;
    memset(noise, 0xee, sizeof(noise));
    switch ((enum row)x->which) {
    case WHOLE:
        last(c, 0, 0, LEN);
        return true;
    case WITH_RESPONSE:
        part(c, 0, 0, LEN);
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return true;
    case IN_BYTES:
        for (uint32_t i = 0; i < LEN - 1; i++)
            part(c, i, i, 1);
        last(c, LEN - 1, LEN - 1, 1);
        return true;
    case EMPTY_FIRST:
        part(c, 0, 0, 0);
        last(c, 1, 0, LEN);
        return true;
    case TAGS_SET:
        p.ttt = 0x1234;
        fake_send(c, p, c->f->disk, LEN);
        return true;
    case ACK_ASKED:
        p.resp.ack = true;
        p.lun = c->pdu.lun;
        p.ttt = 5;
        fake_send(c, p, c->f->disk, LEN);
        return true;
    case NOT_F:                             /* S without F */
        p.data_len = LEN;
        numbered_bhs(c, bhs, p);
        bhs[1] &= 0x7f;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case AFTER_STATUS:
        last(c, 0, 0, LEN);
        send_unnumbered(c, data_in(c, 1, 0, false), noise, LEN);
        return true;
    case STATUS_TWICE:
        last(c, 0, 0, LEN);
        fake_status(c, c->pdu.itt, SCSI_BUSY);
        return true;
    case OTHER_TAG:                         /* another generation of the same slot */
        p = data_in(c, 0, 0, false);
        p.itt ^= 0x00400000;
        send_unnumbered(c, p, noise, LEN);
        last(c, 0, 0, LEN);
        return true;
    case FOREIGN_SLOT:
        p.itt = 0x00017777;
        fake_send(c, p, noise, LEN);
        return true;
    case MORE_THAN_ASKED:
        fake_send(c, p, noise, LEN + 4);
        return true;
    case BEYOND_END:
        part(c, 0, 0, LEN);
        part(c, 1, LEN, 4);
        return true;
    case FAR_OFFSET:
        send_unnumbered(c, data_in(c, 0, 0xfffffffcu, false), noise, 8);
        return true;
    case TWICE:
        part(c, 0, 0, 2048);
        part(c, 1, 0, 2048);
        return true;
    case GAP:
        part(c, 0, 0, 1024);
        part(c, 1, 2048, 1024);
        return true;
    case BACKWARDS:
        part(c, 0, 2048, 2048);
        last(c, 1, 0, 2048);
        return true;
    case SN_FROM_ONE:
        last(c, 1, 0, LEN);
        return true;
    case SN_GAP:
        part(c, 0, 0, 2048);
        last(c, 2, 2048, 2048);
        return true;
    case SN_TWICE:
        part(c, 0, 0, 2048);
        last(c, 0, 2048, 2048);
        return true;
    case TOO_LONG:                          /* than the initiator's MaxRecvDataSegmentLength */
        send_unnumbered(c, data_in(c, 0, 0, false), noise, 262148);
        return true;
    case TAG_RESERVED:
        p.data_len = LEN;
        numbered_bhs(c, bhs, p);
        store_be32(bhs + 16, ISCSI_TAG_RESERVED);
        fake_send_bhs(c, bhs, noise, LEN);
        return true;
    case FEWER:                             /* half, and it says so */
        p.resp.underflow = true;
        p.resp.residual = 2048;
        fake_send(c, p, c->f->disk, 2048);
        return true;
    case CHECKED:                           /* sense data have no place here */
        p.resp.status = SCSI_CHECK_CONDITION;
        fake_send(c, p, c->f->disk, LEN);
        return true;
    case BOTH_RESIDUALS:
        p.data_len = LEN;
        numbered_bhs(c, bhs, p);
        bhs[1] |= 0x06;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case EXP_DATA_SN:                       /* a response that counts what nobody sent, beside data that are whole */
        part(c, 0, 0, LEN);
        p = fake_resp(SCSI_GOOD);
        p.itt = c->pdu.itt;
        p.resp.exp_data_sn = 77;
        fake_send(c, p, NULL, 0);
        return true;
    case AHEAD:                             /* for a command to come, by its tag to come */
        p.itt = 0x00010001;
        fake_send(c, p, noise, 512);
        last(c, 0, 0, LEN);
        return true;
    case STAT_SN_AHEAD:                     /* a StatSN where there is no status means nothing */
        p = data_in(c, 0, 0, false);
        p.stat_sn = c->stat_sn + 1000;
        fake_send_raw(c, p, c->f->disk, LEN);
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return true;
    case SHORT_PAD:                         /* 3 bytes of padding, not zero */
        p = data_in(c, 0, 0, false);
        p.data_len = 1;
        numbered_bhs(c, bhs, p);
        c->stat_sn--;
        fake_write(c->fd, bhs, sizeof(bhs));
        noise[0] = c->f->disk[0];
        fake_write(c->fd, noise, 4);
        last(c, 1, 1, LEN - 1);
        return true;
    }
    return false;
}

static void check_read(const struct scene *x, uint32_t good)
{
    for (uint32_t i = 0; i < good; i++)
        assert_int_equal(x->c[0].buf[i], x->f.disk[i]);
    for (uint32_t i = LEN; i < sizeof(x->c[0].buf); i++)
        assert_int_equal(x->c[0].buf[i], 0);
}

static void begin(struct scene *x, enum row which)
{
    scene_init(x, NULL, odd_data);
    x->which = which;
    for (uint32_t i = 0; i < LEN; i++)
        x->f.disk[i] = (uint8_t)(i * 7 + i / 256 + 1);
    scene_go(x);
    cmd_read(&x->r, &x->c[0], 0, LEN / 512);
}

static void read_comes_to(enum row which, enum outcome how)
{
    struct scene x;

    begin(&x, which);
    command_comes_to(&x, how);
    check_read(&x, how == IS_BROKEN ? 0 : LEN);
    scene_end(&x);
}

static void half_a_read(enum row which)
{
    struct scene x;

    begin(&x, which);
    command_comes_to(&x, IS_GOOD);
    assert_int_equal(x.c[0].t.residual, 2048);
    assert_int_equal(x.c[0].t.in_len, 2048);
    check_read(&x, 2048);
    scene_end(&x);
}

static void checked_read(enum row which)
{
    struct scene x;

    begin(&x, which);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.c[0].t.status, SCSI_CHECK_CONDITION);
    assert_int_equal(x.c[0].t.sense.key, SCSI_NO_SENSE);
    still_works(&x, 1);
    scene_end(&x);
}

/* Data for a write. */
static bool data_for_write(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || x->sent++)
        return false;
    part(c, 0, 0, LEN);
    return true;
}

static void data_in_for_a_write(enum row which)
{
    struct scene x;

    (void)which;
    scene_up(&x, NULL, data_for_write);
    for (uint32_t i = 0; i < LEN; i++)
        x.c[0].buf[i] = (uint8_t)(i + 3);
    cmd_write(&x.r, &x.c[0], 0, LEN / 512);
    command_comes_to(&x, IS_LOST);
    for (uint32_t i = 0; i < LEN; i++) {
        assert_int_equal(x.c[0].buf[i], (uint8_t)(i + 3));
        assert_int_equal(x.f.disk[i], (uint8_t)(i + 3));
    }
    scene_end(&x);
}

#define CASES(X)                                                                                              \
    /* 11.7.3: the status may come in the last Data-In */                                                     \
    X(test_data_with_their_status_are_taken, read_comes_to, WHOLE, IS_GOOD)                                   \
    /* 11.4: or in a response after it */                                                                     \
    X(test_data_with_a_response_are_taken, read_comes_to, WITH_RESPONSE, IS_GOOD)                             \
    /* 11.7: PDUs of a byte, each padded */                                                                   \
    X(test_data_in_single_bytes_are_taken, read_comes_to, IN_BYTES, IS_GOOD)                                  \
    /* 11.7: a Data-In without data */                                                                        \
    X(test_an_empty_data_in_is_taken, read_comes_to, EMPTY_FIRST, IS_GOOD)                                    \
    /* 11.7.4: a Target Transfer Tag without A means nothing */                                               \
    X(test_a_transfer_tag_in_data_is_ignored, read_comes_to, TAGS_SET, IS_GOOD)                               \
    /* 11.7.2: A asks nothing at ErrorRecoveryLevel 0 */                                                      \
    X(test_an_acknowledgement_asked_for_at_level_0_is_not_given, read_comes_to, ACK_ASKED, IS_GOOD)           \
    /* 11.7.3: S goes with F */                                                                               \
    X(test_a_status_in_data_that_are_not_the_last_costs_the_session, read_comes_to, NOT_F, IS_LOST)           \
    /* 11.7: after the status nothing is written to the caller's memory */                                    \
    X(test_data_after_the_status_go_nowhere, read_comes_to, AFTER_STATUS, IS_GOOD)                            \
    /* 11.4: a second status is nobody's */                                                                   \
    X(test_a_second_status_is_ignored, read_comes_to, STATUS_TWICE, IS_GOOD)                                  \
    /* 11.2.1.8: a tag that is not in use */                                                                  \
    X(test_data_for_a_tag_not_in_use_go_nowhere, read_comes_to, OTHER_TAG, IS_GOOD)                           \
    /* 11.2.1.8: a tag that never was one */                                                                  \
    X(test_data_for_a_tag_that_never_was_cost_the_session, read_comes_to, FOREIGN_SLOT, IS_LOST)              \
    /* 11.7: more than the Expected Data Transfer Length in one PDU */                                        \
    X(test_more_data_than_expected_cost_the_session, read_comes_to, MORE_THAN_ASKED, IS_LOST)                 \
    /* 11.7: the same after all that was expected */                                                          \
    X(test_data_beyond_the_end_cost_the_session, read_comes_to, BEYOND_END, IS_LOST)                          \
    /* 11.7.6: a Buffer Offset whose sum with the length wraps */                                             \
    X(test_an_offset_that_wraps_costs_the_session, read_comes_to, FAR_OFFSET, IS_LOST)                        \
    /* 13.18: DataPDUInOrder: no overlap */                                                                   \
    X(test_data_for_one_place_twice_cost_the_session, read_comes_to, TWICE, IS_LOST)                          \
    /* 13.18: DataPDUInOrder: no gap */                                                                       \
    X(test_a_gap_in_the_data_costs_the_session, read_comes_to, GAP, IS_LOST)                                  \
    /* 13.18: DataPDUInOrder: increasing offsets */                                                           \
    X(test_data_backwards_cost_the_session, read_comes_to, BACKWARDS, IS_LOST)                                \
    /* 11.7.5: DataSN starts with 0 */                                                                        \
    X(test_a_data_sn_from_1_costs_the_session, read_comes_to, SN_FROM_ONE, IS_LOST)                           \
    /* 11.7.5: DataSN advances by 1 */                                                                        \
    X(test_a_data_sn_that_is_missing_costs_the_session, read_comes_to, SN_GAP, IS_LOST)                       \
    /* 11.7.5: DataSN does not repeat */                                                                      \
    X(test_a_data_sn_twice_costs_the_session, read_comes_to, SN_TWICE, IS_LOST)                               \
    /* 13.12: longer than MaxRecvDataSegmentLength */                                                         \
    X(test_a_segment_longer_than_declared_costs_the_session, read_comes_to, TOO_LONG, IS_LOST)                \
    /* 11.2.1.8: the reserved tag */                                                                          \
    X(test_data_for_the_reserved_tag_cost_the_session, read_comes_to, TAG_RESERVED, IS_LOST)                  \
    /* 11.4.5.1: fewer data, and a residual that says so */                                                   \
    X(test_fewer_data_with_their_residual_are_taken, half_a_read, FEWER)                                      \
    /* 11.7: a CHECK CONDITION without the sense data that a Data-In cannot carry */                          \
    X(test_a_check_condition_in_data_has_no_sense, checked_read, CHECKED)                                     \
    /* 11.7.3: O and U exclude each other */                                                                  \
    X(test_both_residuals_in_data_cost_the_session, read_comes_to, BOTH_RESIDUALS, IS_LOST)                   \
    /* 11.4.8: ExpDataSN does not make data that came whole any worse */                                      \
    X(test_an_exp_data_sn_too_high_changes_nothing, read_comes_to, EXP_DATA_SN, IS_GOOD)                      \
    /* 11.2.1.8: a status for a command that is not sent yet */                                               \
    X(test_a_status_for_a_command_to_come_is_ignored, read_comes_to, AHEAD, IS_GOOD)                          \
    /* 11.7.3: StatSN means something with S alone */                                                         \
    X(test_a_stat_sn_without_a_status_means_nothing, read_comes_to, STAT_SN_AHEAD, IS_GOOD)                   \
    /* 11.2.4: padding need not be zero */                                                                    \
    X(test_padding_that_is_not_zero_is_taken, read_comes_to, SHORT_PAD, IS_GOOD)                              \
    /* 11.3.1: data for a command that reads none */                                                          \
    X(test_data_for_a_write_cost_the_session, data_in_for_a_write, WHOLE)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = { CASES(CASE_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
