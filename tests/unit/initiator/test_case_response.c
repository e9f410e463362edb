/*
 * test_case_response.c - SCSI Responses whose parts do not fit each other (RFC 7143 11.4)
 */
#include "case.h"

#define LEN 4096u

enum row {
    SENSE_PAST_DATA, SENSE_OF_NOTHING, SENSE_HALF_A_LENGTH, SENSE_HUGE, SENSE_NOISE, SENSE_DESCRIPTOR, SENSE_SHORT,
    SENSE_WITH_RESPONSE_DATA, NO_SENSE, TARGET_FAILURE, VENDOR_RESPONSE, STATUS_UNKNOWN, OVERFLOW_GOOD, PAST_EDTL,
    BOTH, NO_FLAG, BIDI_FLAGS, GOOD_WITHOUT_DATA, GOOD_SAYS_NOTHING_CAME, LATE_GENERATION, TASK_ABORTED, WITH_TTT,
};

static struct iscsi_pdu response(const struct fake_conn *c, uint8_t status)
{
    struct iscsi_pdu p = fake_resp(status);

    p.itt = c->pdu.itt;
    return p;
}

static void check(struct fake_conn *c, const uint8_t *data, uint32_t len)
{
    struct iscsi_pdu p = response(c, SCSI_CHECK_CONDITION);

    p.resp.underflow = true;
    p.resp.residual = LEN;
    fake_send(c, p, data, len);
}

static bool odd_response(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    static uint8_t data[8192] = { 0, 18, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0 };
    static const uint8_t descriptor[10] = { 0, 8, 0x72, 5, 0x21, 0 };
    uint8_t noise[20], bhs[ISCSI_BHS_LEN], huge[20] = { 0xff, 0xff };
    struct iscsi_pdu p = response(c, SCSI_GOOD);

    if (!is_cmd(c) || x->sent++)
        return false;
    switch ((enum row)x->which) {
    case SENSE_PAST_DATA:
        memcpy(huge + 2, data + 2, 18);
        huge[0] = 0;
        huge[1] = 252;
        check(c, huge, sizeof(huge));
        return true;
    case SENSE_OF_NOTHING:
        check(c, huge + 2, 2);
        return true;
    case SENSE_HALF_A_LENGTH:
        check(c, huge + 2, 1);
        return true;
    case SENSE_HUGE:
        memcpy(huge + 2, data + 2, 18);
        check(c, huge, sizeof(huge));
        return true;
    case SENSE_NOISE:
        memset(noise, 0xee, sizeof(noise));
        check(c, noise, sizeof(noise));
        return true;
    case SENSE_DESCRIPTOR:
        check(c, descriptor, sizeof(descriptor));
        return true;
    case SENSE_SHORT:                       /* ends before the additional sense code */
        check(c, data, 2 + 8);
        return true;
    case SENSE_WITH_RESPONSE_DATA:          /* 4.2: more behind the sense data */
        check(c, data, sizeof(data));
        return true;
    case NO_SENSE:
        check(c, NULL, 0);
        return true;
    case TARGET_FAILURE:
        p.resp.response = ISCSI_RESPONSE_TARGET_FAILURE;
        fake_send(c, p, NULL, 0);
        return true;
    case VENDOR_RESPONSE:
        p.resp.response = 0x80;
        fake_send(c, p, NULL, 0);
        return true;
    case STATUS_UNKNOWN:
        p.resp.status = 0x3e;
        p.resp.underflow = true;
        p.resp.residual = LEN;
        fake_send(c, p, NULL, 0);
        return true;
    case OVERFLOW_GOOD:
        fake_send_raw(c, (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt,
                                             .ttt = ISCSI_TAG_RESERVED }, c->f->disk, LEN);
        p.resp.overflow = true;
        p.resp.residual = 512;
        fake_send(c, p, NULL, 0);
        return true;
    case PAST_EDTL:
        p.resp.underflow = true;
        p.resp.residual = LEN + 1;
        fake_send(c, p, NULL, 0);
        return true;
    case BOTH:
        numbered_bhs(c, bhs, p);
        bhs[1] |= 0x06;
        fake_send_bhs(c, bhs, NULL, 0);
        return true;
    case NO_FLAG:                           /* a residual without U or O is none */
        fake_send_raw(c, (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt,
                                             .ttt = ISCSI_TAG_RESERVED }, c->f->disk, LEN);
        numbered_bhs(c, bhs, p);
        store_be32(bhs + 44, 512);
        fake_send_bhs(c, bhs, NULL, 0);
        return true;
    case BIDI_FLAGS:                        /* of a command that is not bidirectional */
        fake_send_raw(c, (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt,
                                             .ttt = ISCSI_TAG_RESERVED }, c->f->disk, LEN);
        p.resp.bidi_underflow = true;
        p.resp.bidi_residual = 512;
        fake_send(c, p, NULL, 0);
        return true;
    case GOOD_WITHOUT_DATA:
        fake_send(c, p, NULL, 0);
        return true;
    case GOOD_SAYS_NOTHING_CAME:
        p.resp.underflow = true;
        p.resp.residual = LEN;
        fake_send(c, p, NULL, 0);
        return true;
    case LATE_GENERATION:                   /* a tag of its slot, but of long ago */
        p.itt ^= 0x00220000;
        p.resp.status = SCSI_BUSY;
        fake_send(c, p, NULL, 0);
        return false;
    case TASK_ABORTED:
        p.resp.status = SCSI_TASK_ABORTED;
        p.resp.underflow = true;
        p.resp.residual = LEN;
        fake_send(c, p, NULL, 0);
        return true;
    case WITH_TTT:                          /* where the SNACK tag stands: nothing at level 0 */
        p.resp.snack_tag = 77;
        p.resp.underflow = true;
        p.resp.residual = LEN;
        fake_send(c, p, NULL, 0);
        return true;
    }
    return false;
}

/* What the session says of the command. */
static void read_ends(enum row which, int err, uint8_t status, uint32_t residual)
{
    struct scene x;

    scene_init(&x, NULL, odd_response);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, LEN / 512);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, err);
    assert_int_equal(x.c[0].t.status, status);
    if (!err)
        assert_int_equal(x.c[0].t.residual, residual);
    if (!err && residual == LEN)
        assert_int_equal(x.c[0].t.in_len, 0);
    for (uint32_t i = LEN; i < sizeof(x.c[0].buf); i++)
        assert_int_equal(x.c[0].buf[i], 0);
    still_works(&x, 1);
    scene_end(&x);
}

static void sense_read(enum row which, uint8_t key, uint8_t asc)
{
    struct scene x;

    scene_init(&x, NULL, odd_response);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, LEN / 512);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.c[0].t.status, SCSI_CHECK_CONDITION);
    assert_int_equal(x.c[0].t.sense.key, key);
    assert_int_equal(x.c[0].t.sense.asc, asc);
    still_works(&x, 1);
    scene_end(&x);
}

static void read_comes_to(enum row which, enum outcome how)
{
    struct scene x;

    scene_init(&x, NULL, odd_response);
    x.which = which;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, LEN / 512);
    command_comes_to(&x, how);
    scene_end(&x);
}

#define CASES(X)                                                                                              \
    /* 11.4.7.1: SenseLength beyond the data that carry it */                                                 \
    X(test_sense_longer_than_its_data_is_read_as_far_as_it_goes, sense_read, SENSE_PAST_DATA, 5, 0x21)        \
    /* 11.4.7.1: SenseLength 65,535 */                                                                        \
    X(test_sense_of_64_k_is_read_as_far_as_it_goes, sense_read, SENSE_HUGE, 5, 0x21)                          \
    /* 11.4.7.1: SenseLength 0 */                                                                             \
    X(test_sense_of_no_length_is_none, sense_read, SENSE_OF_NOTHING, 0, 0)                                    \
    /* 11.4.7.1: a data segment of one byte */                                                                \
    X(test_half_a_sense_length_is_none, sense_read, SENSE_HALF_A_LENGTH, 0, 0)                                \
    /* 11.4.7.2: what is no sense data */                                                                     \
    X(test_noise_is_no_sense, sense_read, SENSE_NOISE, 0, 0)                                                  \
    /* 11.4.7.2: descriptor format */                                                                         \
    X(test_sense_in_descriptor_format_is_read, sense_read, SENSE_DESCRIPTOR, 5, 0x21)                         \
    /* 11.4.7.2: sense data cut before the additional sense code */                                           \
    X(test_short_sense_has_a_key, sense_read, SENSE_SHORT, 5, 0)                                              \
    /* 11.4.7: response data behind the sense data */                                                         \
    X(test_what_follows_the_sense_is_ignored, sense_read, SENSE_WITH_RESPONSE_DATA, 5, 0x21)                  \
    /* 11.4.7: CHECK CONDITION without a data segment */                                                      \
    X(test_a_check_condition_without_sense_is_one, sense_read, NO_SENSE, 0, 0)                                \
    /* 11.4.3: "target failure" has no status */                                                              \
    X(test_a_target_failure_is_no_status, read_ends, TARGET_FAILURE, -EREMOTEIO, 0, 0)                        \
    /* 11.4.3: a vendor's response code has none either */                                                    \
    X(test_a_response_of_a_vendor_is_no_status, read_ends, VENDOR_RESPONSE, -EREMOTEIO, 0, 0)                 \
    /* 11.4.2: a status that SAM does not know is handed on */                                                \
    X(test_a_status_nobody_knows_is_handed_on, read_ends, STATUS_UNKNOWN, 0, 0x3e, LEN)                       \
    /* 11.4.5.1: overflow: all that was expected came */                                                      \
    X(test_an_overflow_is_told, read_ends, OVERFLOW_GOOD, 0, 0, 512)                                          \
    /* 11.4.5.1: an underflow of more than was expected */                                                    \
    X(test_a_residual_beyond_what_was_expected_is_a_lie, read_ends, PAST_EDTL, -EPROTO, 0, 0)                 \
    /* 11.4.1: O and U exclude each other */                                                                  \
    X(test_both_residuals_cost_the_session, read_comes_to, BOTH, IS_LOST)                                     \
    /* 11.4.5.1: a residual count without O or U */                                                           \
    X(test_a_residual_without_its_flag_is_none, read_ends, NO_FLAG, 0, 0, 0)                                  \
    /* 11.4.6: bidirectional residuals of a command that is not */                                            \
    X(test_residuals_of_another_direction_are_ignored, read_ends, BIDI_FLAGS, 0, 0, 0)                        \
    /* 11.4.5.1: GOOD, and no data came */                                                                    \
    X(test_good_without_data_is_a_lie, read_ends, GOOD_WITHOUT_DATA, -EPROTO, 0, 0)                           \
    /* 11.4.5.1: GOOD, no data came, and it says so */                                                        \
    X(test_good_without_data_that_says_so_is_taken, read_ends, GOOD_SAYS_NOTHING_CAME, 0, 0, LEN)             \
    /* 11.2.1.8: a response to a tag of long ago */                                                           \
    X(test_a_response_to_a_tag_of_long_ago_is_ignored, read_comes_to, LATE_GENERATION, IS_GOOD)               \
    /* 11.4.2: TASK ABORTED is handed on */                                                                   \
    X(test_task_aborted_is_handed_on, read_ends, TASK_ABORTED, 0, SCSI_TASK_ABORTED, LEN)                     \
    /* 11.4.4: a SNACK tag asks nothing at ErrorRecoveryLevel 0 */                                            \
    X(test_a_snack_tag_is_ignored, read_ends, WITH_TTT, 0, 0, LEN)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = { CASES(CASE_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
