/*
 * test_case_pdu.c - headers, lengths, padding and digests of what a target sends (RFC 7143 11.2)
 */
#include "case.h"

#define LEN 512u

static struct iscsi_pdu good_data(const struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED, .data_len = LEN
    };

    p.resp.has_status = true;
    return p;
}

/* ---- headers -------------------------------------------------------------------------------------------- */

enum row { OPCODE, AHS, DATA_LEN, NO_DATA_ALLOWED, RESERVED_BITS, IMMEDIATE_BIT };

/* The first command is answered, so that the session counts as one; the second gets the odd PDU. */
static bool odd_header(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const uint8_t arg = (uint8_t)(x->which >> 8);
    uint8_t bhs[ISCSI_BHS_LEN];
    static uint8_t ahs[1020];

    if (!is_cmd(c) || x->sent++ != 1)
        return false;
    numbered_bhs(c, bhs, good_data(c));
    switch ((enum row)(x->which & 0xff)) {
    case OPCODE:
        bhs[0] = arg;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case AHS:
        bhs[4] = arg;
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, ahs, 4u * arg);
        fake_write(c->fd, c->f->disk, LEN);
        return true;
    case DATA_LEN:                          /* what is announced; far less follows */
        bhs[5] = arg;
        bhs[6] = bhs[7] = 0xff;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case NO_DATA_ALLOWED:                   /* of a kind that has none */
        bhs[0] = arg;
        bhs[1] = 0x80;
        memset(bhs + 36, 0, 12);
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case RESERVED_BITS:
        bhs[1] |= 0x38;
        bhs[2] = 0xff;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    case IMMEDIATE_BIT:
        bhs[0] |= 0x40;
        fake_send_bhs(c, bhs, c->f->disk, LEN);
        return true;
    }
    return false;
}

static void header(uintptr_t which, enum outcome how)
{
    struct scene x;

    scene_init(&x, NULL, odd_header);
    x.which = which;
    memset(x.f.disk, 0x42, LEN);
    scene_go(&x);
    still_works(&x, 1);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, how);
    assert_memory_equal(x.c[0].buf, x.f.disk, LEN);
    scene_end(&x);
}

/* Each opcode that no target may send, to a session of its own. */
static void opcodes(uint8_t from, uint8_t to)
{
    for (unsigned op = from; op <= to; op++)
        switch (op) {
        case ISCSI_OP_NOP_IN:
        case ISCSI_OP_SCSI_RESP:
        case ISCSI_OP_TMF_RESP:
        case ISCSI_OP_TEXT_RESP:
        case ISCSI_OP_DATA_IN:
        case ISCSI_OP_LOGOUT_RESP:
        case ISCSI_OP_R2T:
        case ISCSI_OP_ASYNC:
        case ISCSI_OP_REJECT:
            break;
        default:
            header(OPCODE | op << 8, IS_LOST);
            break;
        }
}

static void test_no_ahs_of_any_length_is_taken(void **state)
{
    static const uint8_t words[] = { 1, 2, 63, 64, 128, 254, 255 };

    (void)state;
    for (size_t i = 0; i < sizeof(words); i++)
        header(AHS | (unsigned)words[i] << 8, IS_LOST);
}

static bool text_first(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_TEXT_RESP, .final = true, .itt = 0x00010000, .ttt = ISCSI_TAG_RESERVED
    };

    if (is_cmd(c) && !scene_of(c)->sent++)
        fake_send(c, p, "TargetName=iqn.2026-11.org.example:evil", 40);
    return false;
}

static void test_a_text_response_nobody_asked_for_is_ignored(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, text_first);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_GOOD);
    scene_end(&x);
}

/* ---- bytes ---------------------------------------------------------------------------------------------- */

static bool in_bytes(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    uint8_t whole[ISCSI_BHS_LEN + LEN];

    if (!is_cmd(c) || x->sent++)
        return false;
    numbered_bhs(c, whole, good_data(c));
    memcpy(whole + ISCSI_BHS_LEN, c->f->disk, LEN);
    for (size_t i = 0; i < sizeof(whole); i++)
        fake_write(c->fd, whole + i, 1);
    return true;
}

static void test_a_pdu_that_comes_byte_by_byte_is_one(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, NULL, in_bytes);
    memset(x.f.disk, 0x42, LEN);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_GOOD);
    assert_memory_equal(x.c[0].buf, x.f.disk, LEN);
    scene_end(&x);
}

/* The connection ends after so many bytes of an answer. */
static bool cut(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const struct linger none = { .l_onoff = 1 };
    uint8_t whole[ISCSI_BHS_LEN + LEN];

    if (!is_cmd(c) || x->sent++ != 1)
        return false;
    numbered_bhs(c, whole, good_data(c));
    memcpy(whole + ISCSI_BHS_LEN, c->f->disk, LEN);
    fake_write(c->fd, whole, x->which & 0xffff);
    if (x->which >> 16)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void cut_after(uintptr_t reset)
{
    static const uint16_t bytes[] = { 0, 1, 3, 4, 5, 7, 8, 16, 20, 24, 36, 44, 47, 48, 49, 52, 300, 558, 559 };

    for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
        struct scene x;

        scene_init(&x, NULL, cut);
        x.which = reset << 16 | bytes[i];
        memset(x.f.disk, 0x42, LEN);
        scene_go(&x);
        still_works(&x, 1);
        cmd_read(&x.r, &x.c[0], 0, 1);
        command_comes_to(&x, IS_LOST);
        assert_memory_equal(x.c[0].buf, x.f.disk, LEN);
        scene_end(&x);
    }
}

/* An answer that stands still in the middle: an unanswered ping ends it. */
static bool stands_still(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    uint8_t bhs[ISCSI_BHS_LEN];

    if (c->nr || !is_cmd(c) || x->sent++)
        return false;
    numbered_bhs(c, bhs, good_data(c));
    fake_write(c->fd, bhs, x->which);
    while (fake_recv(c))
        x->seen++;
    return true;
}

static void still(uintptr_t bytes)
{
    struct scene x;

    scene_init(&x, NULL, stands_still);
    x.which = bytes;
    x.r.conf.set.noop_interval_s = 1;
    x.r.conf.set.noop_timeout_s = 1;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_true(x.r.ups >= 2);
    assert_true(x.seen >= 1);               /* pinged, and given up */
    rig_end(&x.r);
    fake_stop(&x.f);
}

/* ---- digests -------------------------------------------------------------------------------------------- */

static const char digest_keys[] = CASE_KEYS("CRC32C", "No", "Yes", "1048576", "1048576", "262144");

static void digest_script(struct fake_conn *c)
{
    if (!LOGIN_WITH(c, digest_keys))
        return;
    c->digests = true;
    fake_serve(c);
}

enum digest_row { HEADER_BIT, DATA_BIT, ABSENT, PAD_NOT_IN, PAD_IN, STATUS_BIT, LENGTH_BIT };

static bool odd_digest(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const unsigned bit = (unsigned)(x->which >> 8);
    uint8_t bhs[ISCSI_BHS_LEN], crc[ISCSI_DIGEST_LEN], data[LEN + 4];
    struct iscsi_pdu p = good_data(c);
    const uint8_t pad[3] = { 1, 2, 3 };

    if (!is_cmd(c) || x->sent++ != 1)
        return false;
    numbered_bhs(c, bhs, p);
    iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, bhs, sizeof(bhs)), crc);
    memcpy(data, c->f->disk, LEN);
    switch ((enum digest_row)(x->which & 0xff)) {
    case HEADER_BIT:
        crc[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, crc, sizeof(crc));
        return true;
    case DATA_BIT:
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, crc, sizeof(crc));
        fake_write(c->fd, data, LEN);
        iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, data, LEN), crc);
        crc[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fake_write(c->fd, crc, sizeof(crc));
        return true;
    case ABSENT:
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, data, LEN);
        fake_write(c->fd, data, 4);
        return true;
    case PAD_NOT_IN:
    case PAD_IN:                            /* one byte of data, three of padding that are not zero */
        p.data_len = 1;
        p.final = p.resp.has_status = false;
        c->stat_sn--;
        numbered_bhs(c, bhs, p);
        c->stat_sn--;
        iscsi_crc_wire(iscsi_crc_feed(ISCSI_CRC_INIT, bhs, sizeof(bhs)), crc);
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, crc, sizeof(crc));
        fake_write(c->fd, data, 1);
        fake_write(c->fd, pad, 3);
        iscsi_crc_wire((x->which & 0xff) == PAD_IN
                           ? iscsi_crc_feed(iscsi_crc_feed(ISCSI_CRC_INIT, data, 1), pad, 3)
                           : iscsi_crc_feed(ISCSI_CRC_INIT, data, 1),
                       crc);
        fake_write(c->fd, crc, sizeof(crc));
        p = good_data(c);
        p.resp.data_sn = 1;
        p.resp.offset = 1;
        fake_send(c, p, c->f->disk + 1, LEN - 1);
        return true;
    case STATUS_BIT:                        /* the header changed on the way, the digest did not */
        bhs[3] ^= (uint8_t)(1u << bit);
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, crc, sizeof(crc));
        return true;
    case LENGTH_BIT:                        /* the length itself; what follows is read by nobody as a PDU */
        bhs[7] ^= (uint8_t)(4u << bit);
        fake_write(c->fd, bhs, sizeof(bhs));
        fake_write(c->fd, crc, sizeof(crc));
        fake_write(c->fd, data, LEN);
        return true;
    }
    return false;
}

static void digest(uintptr_t which, enum outcome how)
{
    struct scene x;
    struct ini_sess_info info;

    scene_init(&x, digest_script, odd_digest);
    x.which = which;
    x.r.conf.set.header_digest = x.r.conf.set.data_digest = ISCSI_DIGEST_CRC32C;
    for (unsigned i = 0; i < LEN; i++)
        x.f.disk[i] = (uint8_t)(i * 3 + 1);
    scene_go(&x);
    still_works(&x, 1);
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, how);
    assert_memory_equal(x.c[0].buf, x.f.disk, LEN);
    ini_sess_info(x.r.s, &info);
    assert_int_equal(info.digest_errors, how == IS_LOST);
    assert_int_equal(x.f.bad_digests, 0);
    scene_end(&x);
}

static void each_bit(enum digest_row which, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++)
        digest(which | i << 8, IS_LOST);
}

#define CASES(X)                                                                                              \
    /* 11.2.1.2: opcodes of initiators */                                                                     \
    X(test_opcodes_of_initiators_cost_the_session, opcodes, 0x00, 0x1f)                                       \
    /* 11.2.1.2: opcodes of targets that are not assigned, and a Login Response after the login */            \
    X(test_opcodes_that_are_none_cost_the_session, opcodes, 0x20, 0x3f)                                       \
    /* 11.2.1.6: DataSegmentLength of nearly 64 KiB, and one block comes: never a read past it */             \
    X(test_a_length_past_what_was_read_costs_the_session, header, DATA_LEN | 0 << 8, IS_LOST)                 \
    /* 11.2.1.6: DataSegmentLength ffffffh */                                                                 \
    X(test_a_length_of_16_m_costs_the_session, header, DATA_LEN | 0xff << 8, IS_LOST)                         \
    /* 11.2.1.6: data in a task management response */                                                        \
    X(test_data_in_a_task_management_response_cost_the_session, header, NO_DATA_ALLOWED | 0x22 << 8, IS_LOST) \
    /* 11.2.1.6: data in a Logout response */                                                                 \
    X(test_data_in_a_logout_response_cost_the_session, header, NO_DATA_ALLOWED | 0x26 << 8, IS_LOST)          \
    /* 11.2.1: reserved bits that are set */                                                                  \
    X(test_reserved_bits_are_ignored, header, RESERVED_BITS, IS_GOOD)                                         \
    /* 11.2.1.1: the I bit of a response */                                                                   \
    X(test_the_immediate_bit_of_a_response_is_ignored, header, IMMEDIATE_BIT, IS_GOOD)                        \
    /* hostile: closed at every part of a PDU */                                                              \
    X(test_a_connection_closed_anywhere_in_a_pdu_is_made_anew, cut_after, 0)                                  \
    /* hostile: the same, reset */                                                                            \
    X(test_a_connection_reset_anywhere_in_a_pdu_is_made_anew, cut_after, 1)                                   \
    /* hostile: a header that does not come to its end */                                                     \
    X(test_half_a_header_is_not_waited_for_for_ever, still, 47)                                               \
    /* hostile: data that do not come to their end */                                                         \
    X(test_half_a_segment_is_not_waited_for_for_ever, still, 48)                                              \
    /* 7.8: each bit of a header digest */                                                                    \
    X(test_a_header_digest_wrong_in_any_bit_costs_the_session, each_bit, HEADER_BIT, 32)                      \
    /* 7.8: each bit of a data digest */                                                                      \
    X(test_a_data_digest_wrong_in_any_bit_costs_the_session, each_bit, DATA_BIT, 32)                          \
    /* 13.1: agreed on, and left out */                                                                       \
    X(test_a_digest_left_out_costs_the_session, digest, ABSENT, IS_LOST)                                      \
    /* 11.2.4: padding is a part of what is digested */                                                       \
    X(test_a_digest_without_its_padding_costs_the_session, digest, PAD_NOT_IN, IS_LOST)                       \
    /* 11.2.4: padding that is not zero, digested as it is */                                                 \
    X(test_a_digest_over_padding_that_is_not_zero_is_taken, digest, PAD_IN, IS_GOOD)                          \
    /* 7.8: a status that changed on the way */                                                               \
    X(test_a_status_changed_on_the_way_is_noticed, each_bit, STATUS_BIT, 8)                                   \
    /* 7.8: a length that changed on the way */                                                               \
    X(test_a_length_changed_on_the_way_is_noticed, each_bit, LENGTH_BIT, 3)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(CASE_ENTRY)
        /* 11.2.2: no PDU of a target has an AHS */
        cmocka_unit_test(test_no_ahs_of_any_length_is_taken),
        /* 11.11: text in a session that asked for none */
        cmocka_unit_test(test_a_text_response_nobody_asked_for_is_ignored),
        /* 11.2: a stream has no boundaries */
        cmocka_unit_test(test_a_pdu_that_comes_byte_by_byte_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
