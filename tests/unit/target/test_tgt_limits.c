/*
 * test_tgt_limits.c - what a peer may cost: connections by the thousand, half logins, floods, peers that
 * read nothing
 */
#include "tgt_peer.h"

static struct bed bed;

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    return 0;
}

/* Every pool must have all it gave out: bed_stop() looks. */
static int down(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

static size_t logins(void)
{
    json_t *st = bed_call(&bed, "status", NULL);
    const size_t n = (size_t)json_integer_value(json_object_get(st, "logins"));

    json_decref(st);
    return n;
}

static void logins_settle(size_t want)
{
    for (int i = 0; i < PEER_MS / 10 && logins() != want; i++)
        usleep(10 * 1000);
    assert_int_equal(logins(), want);
}

static void test_ten_thousand_connections_leave_nothing(void **state)
{
    struct peer_end *other = peer_logged_in(&bed, 200, "");

    (void)state;
    peer_settle(other);
    for (int i = 0; i < 10000; i++) {
        struct peer_end *p = peer_open(&bed);

        if (i % 3 == 1) {                   /* part of a header */
            peer_raw(p, "\x43\x87", 2);
        } else if (i % 97 == 0) {           /* all the way, and gone without a word */
            if (login_step(p, 1, 3, true, LOGIN_NAMES) == ISCSI_LOGIN_OK)
                peer_settle(p);
        }
        peer_close(p);
        if (i % 1000 == 0)
            peer_settle(other);
    }
    bed_settle(&bed, 1);
    peer_settle(other);
    peer_logout(other);
}

/* One address may not take all places; those who are in go on, and places come back. */
static void test_connections_that_say_nothing_are_bounded(void **state)
{
    struct peer_end *p[TGT_LOGINS_PEER_MAX + 40], *other = peer_logged_in(&bed, 201, "");
    unsigned refused = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        p[i] = peer_open(&bed);
    logins_settle(TGT_LOGINS_PEER_MAX);
    peer_settle(other);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        refused += peer_ended(p[i], i < TGT_LOGINS_PEER_MAX ? 0 : PEER_MS);
    assert_int_equal(refused, 40);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_close(p[i]);
    logins_settle(0);
    peer_logout(peer_logged_in(&bed, 202, ""));
    peer_logout(other);
}

static void test_too_many_immediate_commands_are_rejected(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "InitialR2T=Yes\nImmediateData=No");
    uint8_t cdb[16];
    unsigned r2ts = 0, rejects = 0;

    (void)state;
    peer_settle(p);
    cdb_rw10(cdb, true, 0, 8);
    for (unsigned i = 0; i < SESS_IMMEDIATES_MAX + 5; i++) {
        struct iscsi_pdu pdu = cmd_pdu(p, cdb, 4096, false, true);

        p->cmd_sn--;
        pdu.cmd_sn = p->cmd_sn;
        pdu.immediate = true;
        peer_send(p, &pdu, NULL);
    }
    for (unsigned i = 0; i < SESS_IMMEDIATES_MAX + 5; i++) {
        assert_true(peer_recv_ms(p, PEER_MS));
        r2ts += p->rsp.opcode == ISCSI_OP_R2T;
        rejects += p->rsp.opcode == ISCSI_OP_REJECT && p->rsp.reject.reason == ISCSI_REJECT_IMMEDIATE;
    }
    assert_int_equal(r2ts, SESS_IMMEDIATES_MAX);
    assert_int_equal(rejects, 5);
    peer_settle(p);
    peer_logout(p);
}

/* Pings without end, and nothing is read: the connection ends, and others do not notice. */
static void test_a_peer_that_reads_nothing_is_cut_off(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "MaxRecvDataSegmentLength=65536");
    struct peer_end *other = peer_logged_in(&bed, 2, "");
    struct timeval tv = { .tv_sec = 3 };
    static uint8_t data[65536];
    bool cut = false;

    (void)state;
    setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    for (int i = 0; i < 4000 && !cut; i++) {
        struct iscsi_pdu pdu = { .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .itt = ++p->itt,
                                 .ttt = ISCSI_TAG_RESERVED, .cmd_sn = p->cmd_sn, .data_len = sizeof(data) };
        uint8_t bhs[ISCSI_BHS_LEN];

        iscsi_pdu_encode(bhs, &pdu);
        cut = send(p->fd, bhs, sizeof(bhs), MSG_NOSIGNAL) != sizeof(bhs) ||
              send(p->fd, data, sizeof(data), MSG_NOSIGNAL) != sizeof(data);
    }
    assert_true(cut);
    peer_settle(other);
    peer_close(p);
    peer_logout(other);
}

/* A window of writes that never send a byte of data, from many sessions: others still read and write. */
static void test_writes_that_hoard_buffers_do_not_stop_others(void **state)
{
    struct peer_end *p[3], *other = peer_logged_in(&bed, 100, "MaxRecvDataSegmentLength=65536");
    static uint8_t data[65536], back[65536];
    uint8_t cdb[16];

    (void)state;
    peer_settle(other);
    cdb_rw10(cdb, true, 0, 16);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = peer_logged_in(&bed, (uint8_t)(101 + i), "InitialR2T=Yes\nImmediateData=No");
        peer_settle(p[i]);
        for (unsigned k = 0; k < SESS_WINDOW; k++) {
            struct iscsi_pdu pdu = cmd_pdu(p[i], cdb, 8192, false, true);

            peer_send(p[i], &pdu, NULL);
        }
    }
    memset(data, 7, sizeof(data));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(peer_write10(other, 256, 128, data), SCSI_GOOD);
        assert_int_equal(peer_read10(other, 256, 128, back), SCSI_GOOD);
        assert_memory_equal(data, back, sizeof(data));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_close(p[i]);
    peer_logout(other);
}

/* Commands past the window, which the target never allowed. */
static void test_reads_that_are_not_read_are_bounded(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "MaxRecvDataSegmentLength=262144");
    struct timeval tv = { .tv_sec = 2 };
    uint8_t cdb[16];

    (void)state;
    peer_settle(p);
    setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    cdb_rw10(cdb, false, 0, 512);
    for (unsigned i = 0; i < 20000; i++) {
        struct iscsi_pdu pdu = cmd_pdu(p, cdb, 512 * T_BLOCK, true, false);
        uint8_t bhs[ISCSI_BHS_LEN];

        iscsi_pdu_encode(bhs, &pdu);
        if (send(p->fd, bhs, sizeof(bhs), MSG_NOSIGNAL) != sizeof(bhs))
            break;
    }
    peer_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_thousand_connections_leave_nothing),
        cmocka_unit_test(test_connections_that_say_nothing_are_bounded),
        cmocka_unit_test(test_too_many_immediate_commands_are_rejected),
        cmocka_unit_test(test_a_peer_that_reads_nothing_is_cut_off),
        cmocka_unit_test(test_writes_that_hoard_buffers_do_not_stop_others),
        cmocka_unit_test(test_reads_that_are_not_read_are_bounded),
    };

    return cmocka_run_group_tests(tests, up, down);
}
