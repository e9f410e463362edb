/*
 * test_pdu.c - headers against bytes written by hand from RFC 7143 11, and what is refused
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/pdu.h"
#include "reactor/rt_bytes.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NO_TAG ISCSI_TAG_RESERVED
#define LUN5 0x0005000000000000

struct vector {
    enum iscsi_from from;
    uint8_t wire[ISCSI_BHS_LEN];
    struct iscsi_pdu pdu;
};

/* One of each opcode, with every field that it has. */
static const struct vector vectors[] = {
    { ISCSI_FROM_INITIATOR,
      { 0x40, 0x80, 0, 0, 0, 0, 0, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02, 0x03, 0x04,
        0, 0, 0, 9, 0, 0, 0, 8 },
      { .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .data_len = 5, .lun = LUN5, .itt = NO_TAG,
        .ttt = 0x01020304, .cmd_sn = 9, .exp_stat_sn = 8 } },
    { ISCSI_FROM_INITIATOR,
      { 0x01, 0xc1, 0, 0, 2, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0xa1, 0xa2, 0xa3, 0xa4, 0, 0, 0x10, 0,
        0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0x28, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x99 },
      { .opcode = ISCSI_OP_SCSI_CMD, .final = true, .ahs_len = 8, .lun = LUN5, .itt = 0xa1a2a3a4, .ttt = NO_TAG,
        .cmd_sn = 0xffffffff, .exp_stat_sn = 256,
        .cmd = { .read = true, .attr = ISCSI_ATTR_SIMPLE, .edtl = 4096,
                 .cdb = { 0x28, 0, 0, 0, 0, 7, 0, 0, 8, [15] = 0x99 } } } },
    { ISCSI_FROM_INITIATOR,
      { 0x41, 0x23, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
        0, 0, 0, 2, 0, 0, 0, 3, 0x2a },
      { .opcode = ISCSI_OP_SCSI_CMD, .immediate = true, .final = false, .data_len = 0xffffff, .itt = 1,
        .ttt = NO_TAG, .cmd_sn = 2, .exp_stat_sn = 3,
        .cmd = { .write = true, .attr = ISCSI_ATTR_HEAD, .edtl = 0xffffffff, .cdb = { 0x2a } } } },
    { ISCSI_FROM_INITIATOR,
      { 0x42, 0x81, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 3,
        0, 0, 0, 4, 0, 0, 0, 5 },
      { .opcode = ISCSI_OP_TMF, .immediate = true, .final = true, .lun = LUN5, .itt = 7, .ttt = NO_TAG,
        .cmd_sn = 2, .exp_stat_sn = 3,
        .tmf = { .function = ISCSI_TMF_ABORT_TASK, .ref_task_tag = 6, .ref_cmd_sn = 4, .exp_data_sn = 5 } } },
    { ISCSI_FROM_INITIATOR,
      { 0x43, 0x87, 1, 0, 0, 0, 1, 0, 0x80, 1, 2, 3, 4, 5, 0xab, 0xcd, 0, 0, 0, 7, 0x12, 0x34, 0, 0,
        0, 0, 0, 2, 0, 0, 0, 3 },
      { .opcode = ISCSI_OP_LOGIN, .immediate = true, .final = true, .data_len = 256, .itt = 7, .ttt = NO_TAG,
        .cmd_sn = 2, .exp_stat_sn = 3,
        .login = { .transit = true, .csg = 1, .nsg = 3, .version_max = 1, .version_min = 0,
                   .isid = { 0x80, 1, 2, 3, 4, 5 }, .tsih = 0xabcd, .cid = 0x1234 } } },
    { ISCSI_FROM_INITIATOR,
      { 0x04, 0x40, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff,
        0, 0, 0, 2, 0, 0, 0, 3 },
      { .opcode = ISCSI_OP_TEXT, .data_len = 4, .itt = 7, .ttt = NO_TAG, .cmd_sn = 2, .exp_stat_sn = 3,
        .text = { .cont = true } } },
    { ISCSI_FROM_INITIATOR,
      { 0x05, 0x80, 0, 0, 0, 0, 2, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 3,
        0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xfd, 0xff },
      { .opcode = ISCSI_OP_DATA_OUT, .final = true, .data_len = 512, .lun = LUN5, .itt = 7, .ttt = 6,
        .exp_stat_sn = 3, .data_out = { .data_sn = 4, .offset = 0xfffffdff } } },
    { ISCSI_FROM_INITIATOR,
      { 0x46, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x12, 0x34, 0, 0, 0, 0, 0, 2,
        0, 0, 0, 3 },
      { .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = 7, .ttt = NO_TAG, .cmd_sn = 2,
        .exp_stat_sn = 3, .logout = { .reason = ISCSI_LOGOUT_CONNECTION, .cid = 0x1234 } } },
    { ISCSI_FROM_INITIATOR,
      { 0x10, 0x81, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 6, 0, 0, 0, 0,
        0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5 },
      { .opcode = ISCSI_OP_SNACK, .final = true, .lun = LUN5, .itt = NO_TAG, .ttt = 6, .exp_stat_sn = 3,
        .snack = { .type = 1, .beg_run = 4, .run_len = 5 } } },
    { ISCSI_FROM_TARGET,
      { 0x20, 0x80, 0, 0, 0, 0, 0, 3, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff,
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3 },
      { .opcode = ISCSI_OP_NOP_IN, .final = true, .data_len = 3, .lun = LUN5, .itt = 7, .ttt = NO_TAG,
        .stat_sn = 1, .exp_cmd_sn = 2, .max_cmd_sn = 3 } },
    { ISCSI_FROM_TARGET,
      { 0x21, 0x94, 1, 2, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 8 },
      { .opcode = ISCSI_OP_SCSI_RESP, .final = true, .data_len = 20, .itt = 7, .ttt = NO_TAG, .stat_sn = 1,
        .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .resp = { .overflow = true, .bidi_overflow = true, .has_status = true, .response = 1, .status = 2,
                  .snack_tag = 6, .exp_data_sn = 4, .bidi_residual = 5, .residual = 8 } } },
    { ISCSI_FROM_TARGET,
      { 0x21, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7 },
      { .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = 7, .ttt = NO_TAG,
        .resp = { .underflow = true, .bidi_underflow = true, .has_status = true } } },
    { ISCSI_FROM_TARGET,
      { 0x22, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 0, 0, 3 },
      { .opcode = ISCSI_OP_TMF_RESP, .final = true, .itt = 7, .ttt = NO_TAG, .stat_sn = 1, .exp_cmd_sn = 2,
        .max_cmd_sn = 3, .tmf = { .response = ISCSI_TMF_NOT_SUPPORTED } } },
    { ISCSI_FROM_TARGET,
      { 0x23, 0x81, 0, 0, 0, 0, 0, 1, 0x80, 1, 2, 3, 4, 5, 0xab, 0xcd, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1,
        0, 0, 0, 2, 0, 0, 0, 3 },
      { .opcode = ISCSI_OP_LOGIN_RESP, .final = true, .data_len = 1, .itt = 7, .ttt = NO_TAG, .stat_sn = 1,
        .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .login = { .transit = true, .csg = 0, .nsg = 1, .isid = { 0x80, 1, 2, 3, 4, 5 }, .tsih = 0xabcd } } },
    { ISCSI_FROM_TARGET,
      { 0x23, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 0, 0, 3, 0x02, 0x01 },
      { .opcode = ISCSI_OP_LOGIN_RESP, .itt = 7, .ttt = NO_TAG, .stat_sn = 1, .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .login = { .csg = 1, .status = ISCSI_LOGIN_AUTH_FAILED } } },
    { ISCSI_FROM_TARGET,
      { 0x24, 0x80, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff,
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3 },
      { .opcode = ISCSI_OP_TEXT_RESP, .final = true, .data_len = 9, .itt = 7, .ttt = NO_TAG, .stat_sn = 1,
        .exp_cmd_sn = 2, .max_cmd_sn = 3 } },
    { ISCSI_FROM_TARGET,
      { 0x25, 0x83, 0, 8, 0, 0, 4, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff,
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 2, 0, 0, 0, 0, 8 },
      { .opcode = ISCSI_OP_DATA_IN, .final = true, .data_len = 1024, .lun = LUN5, .itt = 7, .ttt = NO_TAG,
        .stat_sn = 1, .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .resp = { .underflow = true, .has_status = true, .status = 8, .data_sn = 4, .offset = 512,
                  .residual = 8 } } },
    { ISCSI_FROM_TARGET,
      { 0x25, 0x40, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 2,
        0, 0, 0, 3 },
      { .opcode = ISCSI_OP_DATA_IN, .data_len = 1024, .itt = 7, .ttt = 6, .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .resp = { .ack = true } } },
    { ISCSI_FROM_TARGET,
      { 0x26, 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 0, 0, 3, 0, 0, 0, 0, 0, 2, 0, 20 },
      { .opcode = ISCSI_OP_LOGOUT_RESP, .final = true, .itt = 7, .ttt = NO_TAG, .stat_sn = 1, .exp_cmd_sn = 2,
        .max_cmd_sn = 3,
        .logout = { .response = ISCSI_LOGOUT_NO_RECOVERY, .time2wait_s = 2, .time2retain_s = 20 } } },
    { ISCSI_FROM_TARGET,
      { 0x31, 0x80, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 0, 0, 3, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1 },
      { .opcode = ISCSI_OP_R2T, .final = true, .lun = LUN5, .itt = 7, .ttt = 6, .stat_sn = 1, .exp_cmd_sn = 2,
        .max_cmd_sn = 3, .r2t = { .r2t_sn = 4, .offset = 0xfffffffe, .length = 1 } } },
    { ISCSI_FROM_TARGET,
      { 0x32, 0x80, 0, 0, 0, 0, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1,
        0, 0, 0, 2, 0, 0, 0, 3, 255, 9, 0, 1, 0, 2, 0, 3 },
      { .opcode = ISCSI_OP_ASYNC, .final = true, .data_len = 2, .lun = LUN5, .itt = NO_TAG, .ttt = NO_TAG,
        .stat_sn = 1, .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .async = { .event = ISCSI_ASYNC_VENDOR, .vendor_code = 9, .param1 = 1, .param2 = 2, .param3 = 3 } } },
    { ISCSI_FROM_TARGET,
      { 0x3f, 0x80, 4, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1,
        0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4 },
      { .opcode = ISCSI_OP_REJECT, .final = true, .data_len = 48, .itt = NO_TAG, .ttt = NO_TAG, .stat_sn = 1,
        .exp_cmd_sn = 2, .max_cmd_sn = 3,
        .reject = { .reason = ISCSI_REJECT_PROTOCOL_ERROR, .data_sn = 4 } } },
};

static const struct vector *vector_of(uint8_t opcode)
{
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
        if (vectors[i].pdu.opcode == opcode)
            return &vectors[i];
    return NULL;
}

static void test_encode_writes_the_bytes_of_every_opcode(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        uint8_t wire[ISCSI_BHS_LEN];

        memset(wire, 0xee, sizeof(wire));
        iscsi_pdu_encode(wire, &vectors[i].pdu);
        if (memcmp(wire, vectors[i].wire, sizeof(wire)) != 0)
            print_error("vector %zu: %s\n", i, iscsi_opcode_name(vectors[i].pdu.opcode));
        assert_memory_equal(wire, vectors[i].wire, sizeof(wire));
    }
}

static void test_decode_reads_the_bytes_of_every_opcode(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        struct iscsi_pdu pdu;

        assert_int_equal(iscsi_pdu_decode(&pdu, vectors[i].wire, vectors[i].from), ISCSI_REJECT_NONE);
        print_message("%s\n", iscsi_opcode_name(pdu.opcode));
        assert_memory_equal(&pdu, &vectors[i].pdu, sizeof(pdu));
    }
}

static void test_every_known_opcode_has_a_vector_and_a_name(void **state)
{
    unsigned known = 0;

    (void)state;
    for (unsigned op = 0; op < 64; op++) {
        const bool named = strcmp(iscsi_opcode_name(op), "unknown opcode");

        assert_int_equal(named, vector_of((uint8_t)op) != NULL);
        known += named;
    }
    assert_int_equal(known, 18);
    assert_string_equal(iscsi_opcode_name(64), "unknown opcode");
    assert_string_equal(iscsi_opcode_name(~0u), "unknown opcode");
}

/* Every opcode, with and without I, from both sides: each gets one of three verdicts, and a refusal leaves the
 * caller's struct alone. */
static void test_decode_judges_opcode_and_direction(void **state)
{
    (void)state;
    for (unsigned op = 0; op < 64; op++)
        for (unsigned i_bit = 0; i_bit < 4; i_bit++)
            for (int from = ISCSI_FROM_INITIATOR; from <= ISCSI_FROM_TARGET; from++) {
                const struct vector *v = vector_of((uint8_t)op);
                enum iscsi_reject want = ISCSI_REJECT_NOT_SUPPORTED, got;
                uint8_t wire[ISCSI_BHS_LEN] = { 0 };
                struct iscsi_pdu pdu;

                if (v) {
                    memcpy(wire, v->wire, sizeof(wire));
                    want = (int)v->from == from ? ISCSI_REJECT_NONE : ISCSI_REJECT_PROTOCOL_ERROR;
                }
                wire[0] = (uint8_t)(op | i_bit << 6);
                if (op == ISCSI_OP_NOP_OUT && from == ISCSI_FROM_INITIATOR && !(i_bit & 1))
                    want = ISCSI_REJECT_PROTOCOL_ERROR;     /* the vector's ITT is the reserved one */
                memset(&pdu, 0x5a, sizeof(pdu));
                got = iscsi_pdu_decode(&pdu, wire, (enum iscsi_from)from);
                assert_int_equal(got, want);
                if (got != ISCSI_REJECT_NONE)
                    assert_int_equal(pdu.itt, 0x5a5a5a5a);
            }
}

/* Reserved bits and bytes do not matter: they are tried all at once, on top of each vector. */
static void test_decode_ignores_reserved_fields(void **state)
{
    static const struct {
        uint8_t opcode, at, bits;
    } reserved[] = {
        { ISCSI_OP_NOP_OUT, 0, 0x80 },    { ISCSI_OP_NOP_OUT, 1, 0x7f },     { ISCSI_OP_NOP_OUT, 2, 0xff },
        { ISCSI_OP_NOP_OUT, 32, 0xff },   { ISCSI_OP_NOP_OUT, 47, 0xff },    { ISCSI_OP_SCSI_CMD, 0, 0x80 },
        { ISCSI_OP_SCSI_CMD, 1, 0x18 },   { ISCSI_OP_SCSI_CMD, 2, 0xff },    { ISCSI_OP_SCSI_CMD, 3, 0xff },
        { ISCSI_OP_TMF, 40, 0xff },       { ISCSI_OP_LOGIN, 0, 0x80 },       { ISCSI_OP_LOGIN, 1, 0x30 },
        { ISCSI_OP_LOGIN, 22, 0xff },     { ISCSI_OP_LOGIN, 32, 0xff },      { ISCSI_OP_TEXT, 1, 0x3f },
        { ISCSI_OP_DATA_OUT, 0, 0xc0 },   { ISCSI_OP_DATA_OUT, 1, 0x7f },    { ISCSI_OP_DATA_OUT, 24, 0xff },
        { ISCSI_OP_DATA_OUT, 44, 0xff },  { ISCSI_OP_LOGOUT, 8, 0xff },      { ISCSI_OP_SNACK, 1, 0x70 },
        { ISCSI_OP_NOP_IN, 0, 0xc0 },     { ISCSI_OP_NOP_IN, 1, 0x7f },      { ISCSI_OP_SCSI_RESP, 1, 0x61 },
        { ISCSI_OP_SCSI_RESP, 8, 0xff },  { ISCSI_OP_TMF_RESP, 1, 0x7f },    { ISCSI_OP_TMF_RESP, 8, 0xff },
        { ISCSI_OP_LOGIN_RESP, 38, 0xff },{ ISCSI_OP_TEXT_RESP, 36, 0xff },  { ISCSI_OP_DATA_IN, 1, 0x38 },
        { ISCSI_OP_DATA_IN, 2, 0xff },    { ISCSI_OP_LOGOUT_RESP, 36, 0xff },{ ISCSI_OP_R2T, 1, 0x7f },
        { ISCSI_OP_R2T, 2, 0xff },        { ISCSI_OP_ASYNC, 16, 0xff },      { ISCSI_OP_ASYNC, 44, 0xff },
        { ISCSI_OP_REJECT, 8, 0xff },     { ISCSI_OP_REJECT, 40, 0xff },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
        const struct vector *v = vector_of(reserved[i].opcode);
        uint8_t wire[ISCSI_BHS_LEN];
        struct iscsi_pdu pdu;

        memcpy(wire, v->wire, sizeof(wire));
        wire[reserved[i].at] |= reserved[i].bits;
        assert_int_equal(iscsi_pdu_decode(&pdu, wire, v->from), ISCSI_REJECT_NONE);
        assert_memory_equal(&pdu, &v->pdu, sizeof(pdu));
    }
}

/* A vector with up to two bytes changed, and the verdict. */
static void test_decode_refuses_what_a_header_alone_shows(void **state)
{
    static const struct {
        uint8_t opcode;
        enum iscsi_reject want;
        uint8_t at, byte, at2, byte2;
        const char *why;
    } cases[] = {
        { ISCSI_OP_TMF, ISCSI_REJECT_PROTOCOL_ERROR, 7, 1, 7, 1, "data on a TMF" },
        { ISCSI_OP_LOGOUT, ISCSI_REJECT_PROTOCOL_ERROR, 5, 1, 5, 1, "data on a Logout" },
        { ISCSI_OP_SNACK, ISCSI_REJECT_PROTOCOL_ERROR, 6, 1, 6, 1, "data on a SNACK" },
        { ISCSI_OP_TMF_RESP, ISCSI_REJECT_PROTOCOL_ERROR, 7, 1, 7, 1, "data on a TMF response" },
        { ISCSI_OP_LOGOUT_RESP, ISCSI_REJECT_PROTOCOL_ERROR, 7, 1, 7, 1, "data on a Logout response" },
        { ISCSI_OP_R2T, ISCSI_REJECT_PROTOCOL_ERROR, 7, 1, 7, 1, "data on an R2T" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_NONE, 4, 64, 4, 64, "the longest AHS" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_INVALID_FIELD, 4, 65, 4, 65, "an AHS no kind can fill" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_INVALID_FIELD, 4, 255, 4, 255, "the longest that can be said" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_INVALID_FIELD, 1, 0x41, 1, 0x41, "neither W nor F" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_INVALID_FIELD, 1, 0x81, 1, 0x81, "a length and no direction" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_INVALID_FIELD, 1, 0xc5, 1, 0xc5, "a reserved task attribute" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_PROTOCOL_ERROR, 7, 1, 7, 1, "immediate data for a read" },
        { ISCSI_OP_SCSI_CMD, ISCSI_REJECT_NONE, 1, 0xe1, 7, 1, "immediate data, bidirectional" },
        { ISCSI_OP_DATA_OUT, ISCSI_REJECT_NONE, 5, 0, 6, 2, "an end at 2^32 - 1" },
        { ISCSI_OP_DATA_OUT, ISCSI_REJECT_INVALID_FIELD, 43, 0xff, 7, 1, "an end that wraps" },
        { ISCSI_OP_R2T, ISCSI_REJECT_INVALID_FIELD, 47, 0, 47, 0, "an R2T of nothing" },
        { ISCSI_OP_R2T, ISCSI_REJECT_INVALID_FIELD, 47, 2, 47, 2, "an R2T that wraps" },
        { ISCSI_OP_SCSI_RESP, ISCSI_REJECT_INVALID_FIELD, 1, 0x86, 1, 0x86, "O and U" },
        { ISCSI_OP_SCSI_RESP, ISCSI_REJECT_INVALID_FIELD, 1, 0x98, 1, 0x98, "o and u" },
        { ISCSI_OP_DATA_IN, ISCSI_REJECT_INVALID_FIELD, 1, 0x87, 1, 0x87, "O and U with S" },
        { ISCSI_OP_DATA_IN, ISCSI_REJECT_INVALID_FIELD, 1, 0x01, 1, 0x01, "S without F" },
        { ISCSI_OP_DATA_IN, ISCSI_REJECT_NONE, 1, 0x86, 1, 0x86, "O and U without S mean nothing" },
        { ISCSI_OP_TEXT, ISCSI_REJECT_PROTOCOL_ERROR, 1, 0xc0, 1, 0xc0, "F and C" },
        { ISCSI_OP_TEXT_RESP, ISCSI_REJECT_PROTOCOL_ERROR, 1, 0xc0, 1, 0xc0, "F and C in the answer" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct vector *v = vector_of(cases[i].opcode);
        uint8_t wire[ISCSI_BHS_LEN];
        struct iscsi_pdu pdu = { .itt = 0x5a5a };

        memcpy(wire, v->wire, sizeof(wire));
        wire[cases[i].at] = cases[i].byte;
        wire[cases[i].at2] = cases[i].byte2;
        if (cases[i].want != iscsi_pdu_decode(&pdu, wire, v->from))
            fail_msg("%s: %s", iscsi_opcode_name(cases[i].opcode), cases[i].why);
        if (cases[i].want != ISCSI_REJECT_NONE)
            assert_int_equal(pdu.itt, 0x5a5a);
    }
}

static void test_decode_refuses_an_ahs_except_on_a_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
        for (unsigned words = 1; words < 256; words++) {
            const bool cmd = vectors[i].pdu.opcode == ISCSI_OP_SCSI_CMD;
            uint8_t wire[ISCSI_BHS_LEN];
            struct iscsi_pdu pdu;
            enum iscsi_reject r;

            memcpy(wire, vectors[i].wire, sizeof(wire));
            wire[4] = (uint8_t)words;
            r = iscsi_pdu_decode(&pdu, wire, vectors[i].from);
            assert_int_equal(r, !cmd ? ISCSI_REJECT_PROTOCOL_ERROR
                                     : words > 64 ? ISCSI_REJECT_INVALID_FIELD : ISCSI_REJECT_NONE);
        }
}

static void test_decode_refuses_a_missing_fixed_f(void **state)
{
    static const uint8_t fixed[] = { ISCSI_OP_NOP_OUT, ISCSI_OP_TMF, ISCSI_OP_LOGOUT, ISCSI_OP_SNACK,
                                     ISCSI_OP_NOP_IN, ISCSI_OP_SCSI_RESP, ISCSI_OP_TMF_RESP,
                                     ISCSI_OP_LOGOUT_RESP, ISCSI_OP_R2T, ISCSI_OP_ASYNC, ISCSI_OP_REJECT };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        const struct vector *v = vector_of(fixed[i]);
        uint8_t wire[ISCSI_BHS_LEN];
        struct iscsi_pdu pdu;

        memcpy(wire, v->wire, sizeof(wire));
        wire[1] &= 0x7f;
        assert_int_equal(iscsi_pdu_decode(&pdu, wire, v->from), ISCSI_REJECT_PROTOCOL_ERROR);
    }
}

/* A caller that forgets F where there is no choice does not put a wrong header on the wire. */
static void test_encode_sets_a_fixed_f(void **state)
{
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_R2T, .itt = 1, .ttt = 2, .r2t = { .length = 512 } };
    uint8_t wire[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(wire, &pdu);
    assert_int_equal(wire[1], 0x80);
}

static void test_decode_refuses_the_reserved_tag_for_a_task(void **state)
{
    static const uint8_t tasks[] = { ISCSI_OP_SCSI_CMD, ISCSI_OP_TMF, ISCSI_OP_LOGIN, ISCSI_OP_TEXT,
                                     ISCSI_OP_DATA_OUT, ISCSI_OP_LOGOUT, ISCSI_OP_SCSI_RESP, ISCSI_OP_TMF_RESP,
                                     ISCSI_OP_TEXT_RESP, ISCSI_OP_DATA_IN, ISCSI_OP_LOGOUT_RESP, ISCSI_OP_R2T };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tasks); i++) {
        const struct vector *v = vector_of(tasks[i]);
        uint8_t wire[ISCSI_BHS_LEN];
        struct iscsi_pdu pdu;

        memcpy(wire, v->wire, sizeof(wire));
        store_be32(&wire[16], NO_TAG);
        assert_int_equal(iscsi_pdu_decode(&pdu, wire, v->from), ISCSI_REJECT_INVALID_FIELD);
    }
}

/* All 16 pairs of stages, with T and without, both ways: a request's are the login's to judge, so that it can
 * answer; a refusal whose stages are rubbish still arrives. */
static void test_login_stages_go_forward(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 32; b++) {
        const bool t = b & 16;
        const unsigned csg = b >> 2 & 3, nsg = b & 3;
        const bool good = csg <= 1 && (!t || (nsg != 2 && nsg > csg));
        const enum iscsi_reject want = good ? ISCSI_REJECT_NONE : ISCSI_REJECT_INVALID_FIELD;
        uint8_t req[ISCSI_BHS_LEN], resp[ISCSI_BHS_LEN], back[ISCSI_BHS_LEN];
        struct iscsi_pdu pdu;

        memcpy(req, vector_of(ISCSI_OP_LOGIN)->wire, sizeof(req));
        memcpy(resp, vector_of(ISCSI_OP_LOGIN_RESP)->wire, sizeof(resp));
        req[1] = resp[1] = (uint8_t)((t ? 0x80 : 0) | csg << 2 | nsg);
        assert_int_equal(iscsi_pdu_decode(&pdu, req, ISCSI_FROM_INITIATOR), ISCSI_REJECT_NONE);
        assert_int_equal(pdu.login.csg, csg);
        assert_int_equal(pdu.login.nsg, t ? nsg : 0);
        assert_int_equal(pdu.final, t);
        req[1] |= 0x40;
        assert_int_equal(iscsi_pdu_decode(&pdu, req, ISCSI_FROM_INITIATOR), ISCSI_REJECT_NONE);
        assert_true(pdu.login.cont);
        iscsi_pdu_encode(back, &pdu);       /* as a Reject carries it */
        assert_int_equal(back[1], t ? req[1] : req[1] & ~3);
        assert_int_equal(iscsi_pdu_decode(&pdu, resp, ISCSI_FROM_TARGET), want);
        resp[36] = 3;
        resp[37] = 2;
        resp[1] |= 0x40;
        assert_int_equal(iscsi_pdu_decode(&pdu, resp, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
        assert_int_equal(pdu.login.status, ISCSI_LOGIN_OUT_OF_RESOURCES);
        assert_false(pdu.login.transit);
        assert_false(pdu.login.cont);
    }
}

/* Without S, what only has a meaning with it reads as nothing. */
static void test_data_in_without_status_has_no_status_fields(void **state)
{
    uint8_t wire[ISCSI_BHS_LEN];
    struct iscsi_pdu pdu;

    (void)state;
    memcpy(wire, vector_of(ISCSI_OP_DATA_IN)->wire, sizeof(wire));
    wire[1] = 0x86;
    assert_int_equal(iscsi_pdu_decode(&pdu, wire, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
    assert_false(pdu.resp.has_status);
    assert_false(pdu.resp.overflow);
    assert_false(pdu.resp.underflow);
    assert_int_equal(pdu.resp.status, 0);
    assert_int_equal(pdu.resp.residual, 0);
    assert_int_equal(pdu.stat_sn, 0);
}

/* A sender that fills in its counters all the same does not make the other side count a status. */
static void test_data_in_without_status_carries_no_stat_sn(void **state)
{
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_DATA_IN, .itt = 1, .ttt = NO_TAG, .stat_sn = 77,
                             .resp = { .status = 2, .residual = 3, .overflow = true } };
    uint8_t wire[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(wire, &pdu);
    assert_int_equal(wire[1], 0);
    assert_int_equal(wire[3], 0);
    assert_int_equal(load_be32(&wire[24]), 0);
    assert_int_equal(load_be32(&wire[44]), 0);
}

/* Any 48 bytes: a verdict or a struct that encodes to what decodes to the same. */
static void test_decode_of_noise_is_stable(void **state)
{
    uint64_t x = 0x9e3779b97f4a7c15;

    (void)state;
    print_message("seed %llx\n", (unsigned long long)x);
    for (unsigned i = 0; i < 300000; i++) {
        uint8_t wire[ISCSI_BHS_LEN], again[ISCSI_BHS_LEN];
        struct iscsi_pdu a, b;
        enum iscsi_from from;

        for (size_t j = 0; j < sizeof(wire); j += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(&wire[j], &x, 8);
        }
        if (x & 1)
            memset(&wire[4], 0, 4);         /* or hardly any would get past the lengths */
        from = wire[0] & 0x20 ? ISCSI_FROM_TARGET : ISCSI_FROM_INITIATOR;
        if (iscsi_pdu_decode(&a, wire, from) != ISCSI_REJECT_NONE)
            continue;
        iscsi_pdu_encode(again, &a);
        assert_int_equal(iscsi_pdu_decode(&b, again, from), ISCSI_REJECT_NONE);
        assert_memory_equal(&a, &b, sizeof(a));
    }
}

static void test_lengths_are_read_before_anything_is_believed(void **state)
{
    uint8_t wire[ISCSI_BHS_LEN] = { [4] = 255, 0xff, 0xff, 0xff };

    (void)state;
    assert_int_equal(iscsi_bhs_ahs_len(wire), ISCSI_AHS_LEN_MAX);
    assert_int_equal(iscsi_bhs_data_len(wire), 0xffffff);
    assert_int_equal(iscsi_padded(0), 0);
    assert_int_equal(iscsi_padded(1), 4);
    assert_int_equal(iscsi_padded(4), 4);
    assert_int_equal(iscsi_padded(0xffffff), 0x1000000);
}

/* ---- AHS ----------------------------------------------------------------------------------------------- */

static const uint8_t cdb16[16] = { 0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static void test_a_command_without_ahs_has_16_bytes_of_cdb(void **state)
{
    uint8_t out[260];
    uint32_t len, bidi;

    (void)state;
    assert_int_equal(iscsi_ahs_cdb(cdb16, NULL, 0, out, &len, &bidi), ISCSI_REJECT_NONE);
    assert_int_equal(len, 16);
    assert_int_equal(bidi, 0);
    assert_memory_equal(out, cdb16, 16);
}

static void test_an_extended_cdb_and_a_bidirectional_length_are_read_in_any_order(void **state)
{
    static const uint8_t ahs[] = { 0, 17, 1, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                   0, 5, 0xc2, 0, 0, 1, 0, 0 };     /* the top bits of AHSType are reserved */
    uint8_t swapped[sizeof(ahs)], out[260];
    uint32_t len, bidi;

    (void)state;
    memcpy(swapped, ahs + 20, 8);
    memcpy(swapped + 8, ahs, 20);
    for (int i = 0; i < 2; i++) {
        memset(out, 0xee, sizeof(out));
        assert_int_equal(iscsi_ahs_cdb(cdb16, i ? swapped : ahs, sizeof(ahs), out, &len, &bidi),
                         ISCSI_REJECT_NONE);
        assert_int_equal(len, 32);
        assert_int_equal(bidi, 65536);
        for (unsigned j = 0; j < 32; j++)
            assert_int_equal(out[j], j ? j : 0x7f);
        assert_int_equal(out[32], 0xee);
    }
}

/* Every AHSLength in every area: never read past the area nor write past the CDB (the sanitizers watch). */
static void test_every_extended_cdb_length_is_bounded(void **state)
{
    (void)state;
    for (uint32_t area = 4; area <= 256; area += 4)
        for (uint32_t ahs_length = 0; ahs_length <= 300; ahs_length++) {
            uint8_t *ahs = test_malloc(area);
            uint8_t out[260];
            uint32_t len = 99, bidi = 99;
            const bool fits = ahs_length >= 2 && ahs_length <= 245 && iscsi_padded(3 + ahs_length) == area;

            memset(ahs, 0, area);
            store_be16(ahs, (uint16_t)ahs_length);
            ahs[2] = ISCSI_AHS_ECDB;
            if (fits) {
                assert_int_equal(iscsi_ahs_cdb(cdb16, ahs, area, out, &len, &bidi), ISCSI_REJECT_NONE);
                assert_int_equal(len, 15 + ahs_length);
            } else {
                assert_int_equal(iscsi_ahs_cdb(cdb16, ahs, area, out, &len, &bidi), ISCSI_REJECT_INVALID_FIELD);
                assert_int_equal(len, 99);
                assert_int_equal(bidi, 99);
            }
            test_free(ahs);
        }
}

static void test_ahs_refusals(void **state)
{
    static const struct {
        const char *why;
        uint32_t len;
        uint8_t bytes[24];
    } cases[] = {
        { "AHSLength 0", 4, { 0, 0, 1, 0 } },
        { "an unknown type", 8, { 0, 5, 3, 0, 0, 0, 0, 0 } },
        { "type 0", 8, { 0, 5, 0, 0, 0, 0, 0, 0 } },
        { "a length past the area", 8, { 0, 6, 2, 0, 0, 0, 0, 0 } },
        { "the longest length there is", 8, { 0xff, 0xff, 1, 0, 0, 0, 0, 0 } },
        { "a bidirectional length that is short", 8, { 0, 4, 2, 0, 0, 0, 0, 0 } },
        { "a bidirectional length that is long", 12, { 0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
        { "two extended CDBs", 16, { 0, 5, 1, 0, 1, 2, 3, 4, 0, 5, 1, 0, 1, 2, 3, 4 } },
        { "two bidirectional lengths", 16, { 0, 5, 2, 0, 0, 0, 0, 9, 0, 5, 2, 0, 0, 0, 0, 9 } },
        { "an extended CDB without CDB", 4, { 0, 1, 1, 0 } },
        { "rubbish after a good one", 12, { 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0 } },
        { "an area cut short", 2, { 0, 5 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t out[260];
        uint32_t len = 99, bidi = 99;

        if (iscsi_ahs_cdb(cdb16, cases[i].bytes, cases[i].len, out, &len, &bidi) != ISCSI_REJECT_INVALID_FIELD)
            fail_msg("accepted: %s", cases[i].why);
        assert_int_equal(len, 99);
        assert_int_equal(bidi, 99);
    }
}

/* ---- words --------------------------------------------------------------------------------------------- */

static void test_numbers_have_words_whatever_they_are(void **state)
{
    (void)state;
    assert_string_equal(iscsi_reject_name(ISCSI_REJECT_TASK_IN_PROGRESS), "task in progress");
    assert_string_equal(iscsi_tmf_name(ISCSI_TMF_LUN_RESET), "LOGICAL UNIT RESET");
    for (unsigned i = 0; i < 70000; i++) {
        const char *advice = NULL;

        assert_non_null(iscsi_reject_name(i));
        assert_non_null(iscsi_tmf_name(i));
        assert_non_null(iscsi_login_status_text(i, &advice));
        assert_non_null(advice);
    }
    assert_non_null(iscsi_login_status_text(0x0201, NULL));
}

static void test_login_advice_does_not_call_everything_authentication(void **state)
{
    const char *advice;

    (void)state;
    assert_string_equal(iscsi_login_status_text(0x0201, &advice), "authentication failed");
    assert_non_null(strstr(advice, "secret"));
    assert_non_null(strstr(advice, "chap_algs"));
    assert_null(strstr(iscsi_login_status_text(0x0302, &advice), "authentication"));
    assert_non_null(strstr(advice, "not an authentication problem"));
    iscsi_login_status_text(0x0202, &advice);
    assert_non_null(strstr(advice, "ACL"));
    iscsi_login_status_text(0x02ee, &advice);
    assert_non_null(strstr(advice, "log"));
}

/* The short way writes what the long one does. */
static void test_data_in_encode_is_pdu_encode(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 16; bits++) {
        const bool with = bits & 1;
        const struct iscsi_pdu status = {
            .opcode = ISCSI_OP_SCSI_RESP, .stat_sn = 0x01020304, .exp_cmd_sn = 0x05060708, .max_cmd_sn = 0x090a0b0c,
            .resp = { .status = 0x18, .residual = 0x11121314, .overflow = bits >> 1 & 1, .underflow = (bits >> 1 & 3) == 2 },
        };
        struct iscsi_pdu p = with ? status : (struct iscsi_pdu){ 0 };
        uint8_t want[ISCSI_BHS_LEN], got[ISCSI_BHS_LEN];

        p.opcode = ISCSI_OP_DATA_IN;
        p.final = with || bits & 8;
        p.itt = 0x21222324;
        p.ttt = ISCSI_TAG_RESERVED;
        p.resp.has_status = with;
        p.resp.data_sn = 0x31323334;
        p.resp.offset = 0x41424344;
        iscsi_pdu_encode(want, &p);
        memset(got, 0xee, sizeof(got));
        iscsi_data_in_encode(got, p.itt, p.resp.data_sn, p.resp.offset, p.final, with ? &status : NULL);
        assert_memory_equal(got, want, ISCSI_BHS_LEN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_writes_the_bytes_of_every_opcode),
        cmocka_unit_test(test_decode_reads_the_bytes_of_every_opcode),
        cmocka_unit_test(test_every_known_opcode_has_a_vector_and_a_name),
        cmocka_unit_test(test_decode_judges_opcode_and_direction),
        cmocka_unit_test(test_decode_ignores_reserved_fields),
        cmocka_unit_test(test_decode_refuses_what_a_header_alone_shows),
        cmocka_unit_test(test_decode_refuses_an_ahs_except_on_a_command),
        cmocka_unit_test(test_decode_refuses_a_missing_fixed_f),
        cmocka_unit_test(test_encode_sets_a_fixed_f),
        cmocka_unit_test(test_decode_refuses_the_reserved_tag_for_a_task),
        cmocka_unit_test(test_login_stages_go_forward),
        cmocka_unit_test(test_data_in_without_status_has_no_status_fields),
        cmocka_unit_test(test_data_in_without_status_carries_no_stat_sn),
        cmocka_unit_test(test_decode_of_noise_is_stable),
        cmocka_unit_test(test_lengths_are_read_before_anything_is_believed),
        cmocka_unit_test(test_a_command_without_ahs_has_16_bytes_of_cdb),
        cmocka_unit_test(test_an_extended_cdb_and_a_bidirectional_length_are_read_in_any_order),
        cmocka_unit_test(test_every_extended_cdb_length_is_bounded),
        cmocka_unit_test(test_ahs_refusals),
        cmocka_unit_test(test_numbers_have_words_whatever_they_are),
        cmocka_unit_test(test_login_advice_does_not_call_everything_authentication),
        cmocka_unit_test(test_data_in_encode_is_pdu_encode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
