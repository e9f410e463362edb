/*
 * test_tgt_stall.c - peers that stop in the middle, and what runs out: time limits, buffers, tasks
 *
 * Each test has a target of its own, with limits that it can reach. Where somebody must not be dropped, he has
 * seconds more than he needs: the machine may be busy with something else.
 */
#include "tgt_act.h"

static struct bed bed;
static uint8_t data[65536];

static void start(const char *limits)
{
    bed_start_with(&bed, 1, limits);
    bed_disk(&bed);
}

static struct peer_end *in(uint8_t isid, const char *keys)
{
    return peer_ready(&bed, isid, keys);
}

/* A WRITE (10) or READ (10) of so many blocks, without a byte of data. */
static struct iscsi_pdu rw(struct peer_end *p, bool write, uint16_t blocks)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    cdb_rw10(cdb, write, 0, blocks);
    pdu = cmd_pdu(p, cdb, blocks * T_BLOCK, !write, write);
    peer_send(p, &pdu, NULL);
    return pdu;
}

static void abort_task(struct peer_end *p, const struct iscsi_pdu *task)
{
    struct iscsi_pdu pdu = tmf_pdu(p, ISCSI_TMF_ABORT_TASK);

    pdu.tmf.ref_task_tag = task->itt;
    pdu.tmf.ref_cmd_sn = task->cmd_sn;
    peer_send(p, &pdu, NULL);
}

/* The peer's session ends by itself within some seconds; the other one's, which goes on working, does not. */
static void ends_alone(struct peer_end *p, struct peer_end *other)
{
    for (int i = 0; i < PEER_MS / 100 && bed_sessions(&bed) > 1; i++) {
        peer_settle(other);
        usleep(100 * 1000);
    }
    assert_int_equal(bed_sessions(&bed), 1);
    peer_settle(other);
    peer_close(p);
    peer_logout(other);
    bed_stop(&bed);
}

/* ---- time ------------------------------------------------------------------------------------------------ */

static void test_a_login_that_does_not_go_on_is_dropped(void **state)
{
    struct peer_end *p, *other;

    (void)state;
    start("{\"login_s\": 3}");
    other = in(1, "");
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 0, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_true(peer_ended(p, PEER_MS));
    ends_alone(p, other);
}

static void test_an_r2t_that_is_not_answered_ends_the_session(void **state)
{
    struct peer_end *p, *other;

    (void)state;
    start("{\"stall_s\": 1}");
    other = in(1, "");
    p = in(2, "");
    rw(p, true, 16);
    peer_expect(p, ISCSI_OP_R2T);
    ends_alone(p, other);
}

/* Bytes of the sequence keep it alive for longer than the limit. */
static void test_slow_data_are_waited_for(void **state)
{
    struct peer_end *p;
    struct iscsi_pdu write;
    uint32_t ttt;

    (void)state;
    start("{\"stall_s\": 5}");
    p = in(1, "");
    write = rw(p, true, 16);
    peer_expect(p, ISCSI_OP_R2T);
    ttt = p->rsp.ttt;
    for (uint32_t i = 0; i < 8; i++) {
        struct iscsi_pdu out = data_out_pdu(&write, ttt, i, i * 1024, 1024, i == 7);

        usleep(800 * 1000);
        peer_send(p, &out, data);
    }
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
    peer_logout(p);
    bed_stop(&bed);
}

static void small_window(struct peer_end *p)
{
    const int small = 65536;

    assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
}

static void test_a_peer_that_takes_nothing_is_dropped(void **state)
{
    struct peer_end *p, *other;

    (void)state;
    start("{\"stall_s\": 1}");
    other = in(1, "");
    p = in(2, "");
    small_window(p);
    for (int i = 0; i < 8; i++)
        rw(p, false, 8192);
    ends_alone(p, other);
}

/* Nothing was sent for longer than the limit, because nothing was asked; then an answer takes its time. */
static void test_silence_does_not_count_as_taking_nothing(void **state)
{
    struct peer_end *p;
    int reads = 2;

    (void)state;
    start("{\"stall_s\": 5, \"idle_s\": 3600}");
    p = in(1, "MaxRecvDataSegmentLength=262144");
    small_window(p);
    usleep(5500 * 1000);
    for (int i = 0; i < reads; i++)
        rw(p, false, 8192);
    usleep(900 * 1000);
    while (reads) {
        peer_expect(p, ISCSI_OP_DATA_IN);
        reads -= p->rsp.resp.has_status;
    }
    peer_logout(p);
    bed_stop(&bed);
}

static void test_a_silent_peer_is_pinged_and_dropped(void **state)
{
    struct peer_end *p, *other;

    (void)state;
    start("{\"stall_s\": 5, \"idle_s\": 1}");
    other = in(1, "");
    p = in(2, "");
    peer_close(other);
    peer_expect(p, ISCSI_OP_NOP_IN);
    for (int i = 0; i < 3; i++) {           /* who answers stays */
        struct iscsi_pdu pong = { .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true,
                                  .itt = ISCSI_TAG_RESERVED, .ttt = p->rsp.ttt, .cmd_sn = p->cmd_sn };

        assert_int_equal(p->rsp.itt, ISCSI_TAG_RESERVED);
        peer_send(p, &pong, NULL);
        peer_expect(p, ISCSI_OP_NOP_IN);
    }
    assert_true(peer_ended(p, PEER_MS));
    bed_settle(&bed, 0);
    peer_close(p);
    bed_stop(&bed);
}

/* A discovery session has no pings, and is not kept for ever either. */
static void test_a_silent_discovery_session_is_dropped(void **state)
{
    struct peer_end *p;

    (void)state;
    start("{\"stall_s\": 1, \"idle_s\": 1}");
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nSessionType=Discovery"), ISCSI_LOGIN_OK);
    assert_false(peer_recv_ms(p, 1500));
    assert_true(peer_ended(p, PEER_MS));
    bed_settle(&bed, 0);
    peer_close(p);
    bed_stop(&bed);
}

static void test_a_hole_in_cmd_sn_ends_the_session(void **state)
{
    struct peer_end *p, *other;

    (void)state;
    start("{\"stall_s\": 1}");
    other = in(1, "");
    p = in(2, "");
    p->cmd_sn++;
    rw(p, false, 1);
    ends_alone(p, other);
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

/* Three writes of 4 MiB take most of 16 MiB. The fourth waits, and a small one behind it does too, though there
 * would be room for it: who came first is served first. */
static void test_buffers_are_had_in_the_order_of_asking(void **state)
{
    static const char keys[] = "InitialR2T=Yes\nImmediateData=No";
    struct iscsi_pdu big[4], small;
    struct peer_end *p[4], *last;

    (void)state;
    start("{\"buffer_mib\": 16}");
    for (unsigned i = 0; i < 4; i++)
        p[i] = in((uint8_t)(1 + i), keys);
    last = in(5, keys);
    for (unsigned i = 0; i < 3; i++) {
        big[i] = rw(p[i], true, 8192);
        peer_expect(p[i], ISCSI_OP_R2T);
    }
    big[3] = rw(p[3], true, 8192);
    assert_false(peer_recv_ms(p[3], 200));
    small = rw(last, true, 128);
    assert_false(peer_recv_ms(last, 200));
    abort_task(p[0], &big[0]);
    peer_expect(p[0], ISCSI_OP_TMF_RESP);
    peer_expect(p[3], ISCSI_OP_R2T);
    assert_int_equal(p[3]->rsp.itt, big[3].itt);
    peer_expect(last, ISCSI_OP_R2T);
    assert_int_equal(last->rsp.itt, small.itt);
    for (unsigned i = 0; i < 4; i++)
        peer_logout(p[i]);
    peer_logout(last);
    bed_stop(&bed);
}

/* One that waits for buffers can be aborted, and what is behind it goes on. */
static void test_an_abort_takes_a_task_out_of_the_queue(void **state)
{
    static const char keys[] = "InitialR2T=Yes\nImmediateData=No";
    struct peer_end *p[4], *last;
    struct iscsi_pdu waiting;

    (void)state;
    start("{\"buffer_mib\": 16}");
    for (unsigned i = 0; i < 4; i++)
        p[i] = in((uint8_t)(1 + i), keys);
    last = in(5, keys);
    for (unsigned i = 0; i < 3; i++) {
        rw(p[i], true, 8192);
        peer_expect(p[i], ISCSI_OP_R2T);
    }
    waiting = rw(p[3], true, 8192);
    assert_false(peer_recv_ms(p[3], 100));
    rw(last, true, 128);
    assert_false(peer_recv_ms(last, 100));
    abort_task(p[3], &waiting);
    peer_expect(p[3], ISCSI_OP_TMF_RESP);
    assert_int_equal(p[3]->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    peer_expect(last, ISCSI_OP_R2T);
    for (unsigned i = 0; i < 4; i++)
        peer_logout(p[i]);
    peer_logout(last);
    bed_stop(&bed);
}

/* ---- tasks ----------------------------------------------------------------------------------------------- */

/* Every task of the core is taken: a command gets TASK SET FULL, the data that come with it are swallowed, and
 * the session goes on as soon as there are tasks again. */
static void test_without_tasks_commands_are_told_to_come_again(void **state)
{
    enum { HOARDERS = 4 };
    struct peer_end *p[HOARDERS], *other;
    struct iscsi_pdu write, out;

    (void)state;
    start("{\"tasks\": 512}");
    other = in(100, "InitialR2T=No\nImmediateData=Yes\nMaxRecvDataSegmentLength=65536");
    for (unsigned i = 0; i < HOARDERS; i++) {
        p[i] = in((uint8_t)(1 + i), "InitialR2T=Yes\nImmediateData=No");
        for (unsigned k = 0; k < 512 / HOARDERS; k++)
            rw(p[i], true, 1);
        for (unsigned k = 0; k < 512 / HOARDERS; k++)
            peer_expect(p[i], ISCSI_OP_R2T);
    }
    for (int i = 0; i < 3; i++) {
        uint8_t cdb[16];

        rw(other, false, 1);
        peer_expect(other, ISCSI_OP_SCSI_RESP);
        assert_int_equal(other->rsp.resp.status, SCSI_TASK_SET_FULL);
        assert_true(other->rsp.resp.underflow);
        assert_int_equal(other->rsp.resp.residual, T_BLOCK);
        cdb_rw10(cdb, true, 0, 16);
        write = cmd_pdu(other, cdb, 8192, false, true);
        write.data_len = 4096;
        write.final = false;
        out = (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = write.itt,
                                  .ttt = ISCSI_TAG_RESERVED, .data_len = 4096, .data_out = { .offset = 4096 } };
        peer_send(other, &write, data);
        peer_send(other, &out, data);
        peer_expect(other, ISCSI_OP_SCSI_RESP);
        assert_int_equal(other->rsp.itt, write.itt);
        assert_int_equal(other->rsp.resp.status, SCSI_TASK_SET_FULL);
    }
    peer_logout(p[0]);
    bed_settle(&bed, HOARDERS);
    assert_int_equal(peer_write10(other, 0, 8, data), SCSI_GOOD);
    peer_settle(other);
    for (unsigned i = 1; i < HOARDERS; i++)
        peer_logout(p[i]);
    peer_logout(other);
    bed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_login_that_does_not_go_on_is_dropped),
        cmocka_unit_test(test_an_r2t_that_is_not_answered_ends_the_session),
        cmocka_unit_test(test_slow_data_are_waited_for),
        cmocka_unit_test(test_a_peer_that_takes_nothing_is_dropped),
        cmocka_unit_test(test_silence_does_not_count_as_taking_nothing),
        cmocka_unit_test(test_a_silent_peer_is_pinged_and_dropped),
        cmocka_unit_test(test_a_silent_discovery_session_is_dropped),
        cmocka_unit_test(test_a_hole_in_cmd_sn_ends_the_session),
        cmocka_unit_test(test_buffers_are_had_in_the_order_of_asking),
        cmocka_unit_test(test_an_abort_takes_a_task_out_of_the_queue),
        cmocka_unit_test(test_without_tasks_commands_are_told_to_come_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
