/*
 * test_case_flow.c - peers that trickle, break off, half close, reset, and talk without listening
 *
 * Where time is part of the case, only what must end is waited for, and nobody who must not be dropped is on the
 * clock.
 */
#include "tgt_act.h"

static struct bed bed;
static uint8_t data[65536], back[65536];

/* @limits: NULL for those that nobody reaches. */
static void start(const char *limits)
{
    if (limits)
        bed_start_with(&bed, 2, limits);
    else
        bed_start(&bed, 2);
    bed_disk(&bed);
}

static int up(void **state)
{
    (void)state;
    memset(data, 0x3c, sizeof(data));
    start(NULL);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    return 0;
}

/* ---- slow ones ------------------------------------------------------------------------------------------- */

/* A byte at a time in header and data of the login: bytes buy no time beyond what a login has in all. */
static void test_a_login_that_trickles_is_dropped(void **state)
{
    struct peer_end *p[3];
    uint8_t wire[3][WIRE_MAX(512)];
    uint32_t len[3], sent[3] = { 0, 20, ISCSI_BHS_LEN + 10 };
    bool ended[3] = { false };
    unsigned left = ARRAY_SIZE(p);
    char text[512];

    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    start("{\"login_s\": 2}");
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        struct iscsi_pdu pdu;

        p[i] = peer_open(&bed);
        pdu = login_pdu(p[i], 1, 3, true);
        pdu.data_len = keys_text(LOGIN_NAMES, text);
        len[i] = peer_wire(p[i], &pdu, text, wire[i]);
        peer_raw(p[i], wire[i], sent[i]);
    }
    while (left) {
        for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
            if (ended[i])
                continue;
            if (sent[i] + 1 < len[i])       /* never the last */
                peer_raw(p[i], &wire[i][sent[i]++], 1);
            ended[i] = peer_ended(p[i], 50);
            left -= ended[i];
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_close(p[i]);
    bed_settle(&bed, 0);
    bed_stop(&bed);
    start(NULL);
}

/* A header, and half of one more: it is no sign of life that nothing follows. */
static void test_half_a_pdu_does_not_keep_a_session(void **state)
{
    static const uint32_t cuts[] = { 1, 47, 48, 100 };
    struct peer_end *p[ARRAY_SIZE(cuts)];

    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    start("{\"stall_s\": 1, \"idle_s\": 1}");
    for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
        uint8_t wire[WIRE_MAX(512)];
        struct iscsi_pdu ping;

        p[i] = peer_logged_in(&bed, (uint8_t)i, "");
        ping = nop_pdu(p[i], 512);
        peer_wire(p[i], &ping, data, wire);
        peer_raw(p[i], wire, cuts[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++)
        peer_gone(p[i]);
    bed_settle(&bed, 0);
    bed_stop(&bed);
    start(NULL);
}

/* ---- broken off ------------------------------------------------------------------------------------------ */

static void reset_close(struct peer_end *p)
{
    const struct linger now = { .l_onoff = 1 };

    assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    peer_close(p);
}

/* A reset after every byte of a login. */
static void test_a_reset_at_every_byte_of_a_login_leaves_nothing(void **state)
{
    struct peer_end *other = peer_ready(&bed, 99, "");
    uint8_t wire[WIRE_MAX(512)];
    uint32_t len;
    char text[512];

    (void)state;
    for (uint32_t cut = 0, end = 1; cut < end; cut++) {
        struct peer_end *p = peer_open(&bed);
        struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);

        pdu.data_len = keys_text(LOGIN_NAMES, text);
        end = len = peer_wire(p, &pdu, text, wire);
        peer_raw(p, wire, cut < len ? cut : len);
        reset_close(p);
        if (cut % 32 == 0)
            bed_settle(&bed, 1);            /* an address has a bounded number of logins under way */
    }
    bed_settle(&bed, 1);
    peer_serves(other);
    peer_logout(other);
}

/* And after every byte of a write with immediate data and of the ping behind it. */
static void test_a_reset_at_every_byte_of_a_write_leaves_nothing(void **state)
{
    struct peer_end *other = peer_ready(&bed, 99, "");
    const uint32_t all = ISCSI_BHS_LEN + T_BLOCK + ISCSI_BHS_LEN;

    (void)state;
    for (uint32_t cut = 0; cut <= all; cut += cut < 60 || cut > all - 60 ? 1 : 31) {
        struct peer_end *p = peer_logged_in(&bed, 1, "");
        uint8_t cdb[16], wire[2 * WIRE_MAX(T_BLOCK)];
        struct iscsi_pdu write, ping;
        uint32_t len;

        cdb_rw10(cdb, true, 1000, 1);
        write = cmd_pdu(p, cdb, T_BLOCK, false, true);
        write.data_len = T_BLOCK;
        len = peer_wire(p, &write, data, wire);
        ping = nop_pdu(p, 0);
        peer_wire(p, &ping, NULL, wire + len);
        peer_raw(p, wire, cut);
        reset_close(p);
    }
    bed_settle(&bed, 1);
    peer_serves(other);
    peer_logout(other);
}

/* The initiator says no more and still listens: what it asked for before comes, then the connection ends. */
static void test_a_half_closed_connection_ends_and_frees_its_place(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    hanging_write(p, 0);
    assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
    peer_gone(p);
    bed_settle(&bed, 0);
    p = peer_open(&bed);                    /* and in the middle of a login */
    assert_int_equal(login_step(p, 1, 3, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
    peer_gone(p);
    bed_settle(&bed, 0);
}

/* With everything under way that there is: reads on their way, writes that wait, functions, an exchange. */
static void test_a_reset_with_everything_under_way_leaves_nothing(void **state)
{
    struct peer_end *other = peer_ready(&bed, 99, "");

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct peer_end *p = peer_logged_in(&bed, 1, "");
        struct iscsi_pdu pdu;
        uint8_t cdb[16];

        for (unsigned i = 0; i < 30; i++) {
            const bool write = i & 1;

            cdb_rw10(cdb, write, i * 100, 128);
            pdu = cmd_pdu(p, cdb, 65536, !write, write);
            pdu.cmd_sn += i % 7 == 6;       /* some ahead of their turn */
            peer_send(p, &pdu, NULL);
        }
        pdu = tmf_pdu(p, round % 2 ? ISCSI_TMF_LUN_RESET : ISCSI_TMF_ABORT_TASK_SET);
        peer_send(p, &pdu, NULL);
        ++p->itt;
        pdu = text_pdu(p, ISCSI_TAG_RESERVED, 0, true);
        peer_send(p, &pdu, NULL);
        if (round % 3)
            reset_close(p);
        else
            peer_close(p);
    }
    bed_settle(&bed, 1);
    peer_settle(other);
    peer_logout(other);
}

/* ---- talking without listening --------------------------------------------------------------------------- */

/* A mebibyte of pings without reading an answer. The peer is served, or cut off, and nobody else waits for it. */
static void test_a_mebibyte_of_requests_without_reading_is_bounded(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "MaxRecvDataSegmentLength=8192"), *other = peer_ready(&bed, 2, "");
    unsigned answers = 0;

    (void)state;
    for (unsigned i = 0; i < 128; i++) {
        struct iscsi_pdu ping = nop_pdu(p, 8192);

        peer_send(p, &ping, data);
    }
    peer_serves(other);
    while (answers < 128 && peer_recv_ms(p, PEER_MS)) {
        assert_int_equal(p->rsp.opcode, ISCSI_OP_NOP_IN);
        answers++;
    }
    if (answers == 128)
        peer_logout(p);
    else
        peer_gone(p);
    peer_logout(other);
}

/* Rejects are answers too: who provokes them without end is answered or cut off. */
static void test_rejects_that_nobody_reads_are_bounded(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, ""), *other = peer_ready(&bed, 2, "");
    const uint8_t bhs[ISCSI_BHS_LEN] = { 0x1c, 0x80 };

    (void)state;
    for (unsigned i = 0; i < 5000; i++)
        peer_raw(p, bhs, sizeof(bhs));
    peer_serves(other);
    reset_close(p);
    bed_settle(&bed, 1);
    peer_logout(other);
}

/* Session after session that asks for the targets and goes. */
static void test_a_thousand_discoveries_leave_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        struct peer_end *p = peer_discovery(&bed);
        struct iscsi_pdu text;
        char keys[64];

        ++p->itt;
        text = text_pdu(p, ISCSI_TAG_RESERVED, keys_text("SendTargets=All", keys), false);
        peer_send(p, &text, keys);
        if (i % 3) {
            peer_expect(p, ISCSI_OP_TEXT_RESP);
            assert_true(answer_has(p, "TargetName=" T_IQN));
        }
        peer_close(p);
        if (i % 32 == 31)
            bed_settle(&bed, 0);
    }
    bed_settle(&bed, 0);
}

/* Writes of one session end half way, at random places, while another one checks what it wrote. */
static void test_a_session_that_breaks_off_harms_no_other(void **state)
{
    struct peer_end *other = peer_ready(&bed, 2, "");

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        struct peer_end *p = peer_logged_in(&bed, 1, "ImmediateData=No");
        uint8_t cdb[16], mark = (uint8_t)i;
        struct iscsi_pdu write, out;

        memset(back, mark, 8192);
        assert_int_equal(peer_write10(other, 2000, 16, back), SCSI_GOOD);
        cdb_rw10(cdb, true, 2016, 16);
        write = cmd_pdu(p, cdb, 8192, false, true);
        peer_send(p, &write, NULL);
        if (peer_recv_ms(p, PEER_MS) && p->rsp.opcode == ISCSI_OP_R2T) {
            uint8_t wire[WIRE_MAX(8192)];

            out = data_out_pdu(&write, p->rsp.ttt, 0, 0, 8192, true);
            peer_wire(p, &out, data, wire);
            peer_raw(p, wire, 48 + i * 160);
        }
        reset_close(p);
        memset(back, 0, 8192);
        assert_int_equal(peer_read10(other, 2000, 16, back), SCSI_GOOD);
        for (unsigned k = 0; k < 8192; k++)
            assert_int_equal(back[k], mark);
    }
    bed_settle(&bed, 1);
    assert_int_equal(peer_read10(other, 2016, 16, back), SCSI_GOOD);
    for (unsigned k = 0; k < 8192; k++)
        assert_int_equal(back[k], 0);
    peer_logout(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_login_that_trickles_is_dropped),
        cmocka_unit_test(test_half_a_pdu_does_not_keep_a_session),
        cmocka_unit_test(test_a_reset_at_every_byte_of_a_login_leaves_nothing),
        cmocka_unit_test(test_a_reset_at_every_byte_of_a_write_leaves_nothing),
        cmocka_unit_test(test_a_half_closed_connection_ends_and_frees_its_place),
        cmocka_unit_test(test_a_reset_with_everything_under_way_leaves_nothing),
        cmocka_unit_test(test_a_mebibyte_of_requests_without_reading_is_bounded),
        cmocka_unit_test(test_rejects_that_nobody_reads_are_bounded),
        cmocka_unit_test(test_a_thousand_discoveries_leave_nothing),
        cmocka_unit_test(test_a_session_that_breaks_off_harms_no_other),
    };

    return cmocka_run_group_tests(tests, up, down);
}
