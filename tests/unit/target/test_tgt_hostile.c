/*
 * test_tgt_hostile.c - peers that are logged in, or nearly, and do without end what is allowed once
 */
#include <stdatomic.h>
#include "tgt_act.h"

static struct bed bed;
static uint8_t data[65536];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    return 0;
}

/* A text that never ends: empty pieces cost an answer each, and keys no more than there is room for. */
static void test_a_text_without_end_is_bounded(void **state)
{
    struct peer_end *p = peer_open(&bed);
    uint32_t ttt = ISCSI_TAG_RESERVED;
    struct iscsi_pdu pdu;
    unsigned taken = 0;

    (void)state;
    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nSessionType=Discovery"), ISCSI_LOGIN_OK);
    for (int i = 0; i < 500; i++) {
        pdu = text_pdu(p, ttt, 0, true);
        peer_send(p, &pdu, NULL);
        peer_expect(p, ISCSI_OP_TEXT_RESP);
        assert_false(p->rsp.final);
        ttt = p->rsp.ttt;
    }
    memset(data, 'a', 1024);
    for (;; taken++) {
        pdu = text_pdu(p, ttt, 1024, true);
        peer_send(p, &pdu, data);
        assert_true(peer_recv_ms(p, PEER_MS));
        if (p->rsp.opcode != ISCSI_OP_TEXT_RESP)
            break;
        ttt = p->rsp.ttt;
    }
    assert_int_equal(p->rsp.opcode, ISCSI_OP_REJECT);
    assert_int_equal(p->rsp.reject.reason, ISCSI_REJECT_LONG_OPERATION);
    assert_int_equal(taken, SESS_TEXT_LEN / 1024);
    peer_logout(p);
}

/* Each is answered, or rejected because there are too many; the session lives. */
static void test_resets_by_the_dozen_are_answered(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "");
    enum { NR = 150 };
    unsigned answers = 0, rejects = 0;

    (void)state;
    peer_settle(p);
    for (unsigned i = 0; i < NR; i++) {
        struct iscsi_pdu pdu = tmf_pdu(p, i % 2 ? ISCSI_TMF_LUN_RESET : ISCSI_TMF_TARGET_WARM_RESET);

        peer_send(p, &pdu, NULL);
    }
    for (unsigned i = 0; i < NR; i++) {
        assert_true(peer_recv_ms(p, PEER_MS));
        answers += p->rsp.opcode == ISCSI_OP_TMF_RESP && p->rsp.tmf.response == ISCSI_TMF_COMPLETE;
        rejects += p->rsp.opcode == ISCSI_OP_REJECT && p->rsp.reject.reason == ISCSI_REJECT_IMMEDIATE;
    }
    assert_int_equal(answers + rejects, NR);
    assert_true(answers >= 2);
    peer_settle(p);
    peer_logout(p);
}

/* Beyond the window nothing is heard, answered or kept. */
static void test_functions_beyond_the_window_are_ignored(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "");

    (void)state;
    peer_settle(p);
    for (unsigned i = 0; i < 2000; i++) {
        struct iscsi_pdu pdu = tmf_pdu(p, ISCSI_TMF_ABORT_TASK_SET);

        pdu.immediate = false;
        pdu.cmd_sn = p->cmd_sn + SESS_WINDOW + i;
        peer_send(p, &pdu, NULL);
    }
    assert_false(peer_recv_ms(p, 200));
    peer_settle(p);
    peer_logout(p);
}

/* A full window of pings with data, all before their turn, and then the one that was left out. */
static void test_pings_before_their_turn_are_bounded(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "MaxRecvDataSegmentLength=65536");
    const uint32_t first = p->cmd_sn;

    (void)state;
    for (unsigned i = 1; i < SESS_WINDOW; i++) {
        struct iscsi_pdu ping = { .opcode = ISCSI_OP_NOP_OUT, .final = true, .itt = ++p->itt,
                                  .ttt = ISCSI_TAG_RESERVED, .cmd_sn = first + i, .data_len = 8192 };

        peer_send(p, &ping, data);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct iscsi_pdu ping = { .opcode = ISCSI_OP_NOP_OUT, .final = true, .itt = ++p->itt,
                                  .ttt = ISCSI_TAG_RESERVED, .cmd_sn = first };

        peer_send(p, &ping, NULL);          /* the second is an old number: ignored */
    }
    for (unsigned i = 0; i <= SESS_CHUNKS_MAX; i++)
        peer_expect(p, ISCSI_OP_NOP_IN);
    assert_int_equal(p->rsp.exp_cmd_sn, first + 1 + SESS_CHUNKS_MAX);   /* the others were not taken */
    assert_false(peer_recv_ms(p, 100));
    peer_close(p);
}

/* Two hosts under one name and ISID take each other's place again and again. */
static void test_two_hosts_in_one_place_leave_one_session(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "");

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct peer_end *next = peer_logged_in(&bed, 1, "");

        if (i % 3)
            peer_settle(next);
        assert_true(peer_ended(p, PEER_MS));
        peer_close(p);
        p = next;
    }
    bed_settle(&bed, 1);
    peer_settle(p);
    peer_logout(p);
}

static void test_256_sessions_of_one_initiator(void **state)
{
    static struct peer_end *p[256];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        p[i] = peer_logged_in(&bed, (uint8_t)i, "");
    assert_int_equal(bed_sessions(&bed), ARRAY_SIZE(p));
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(p[i]->tsih, p[k]->tsih);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_settle(p[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        if (i % 2)
            peer_close(p[i]);
        else
            peer_logout(p[i]);
    }
    bed_settle(&bed, 0);
}

/* ---- logging in while the target stops ------------------------------------------------------------------- */

struct hammer {
    uint16_t port;
    uint8_t isid;
    atomic_bool stop;
    unsigned tries;
};

/* Connects, asks for a login and leaves, until nobody listens. */
static void *hammer_thread(void *arg)
{
    struct hammer *h = arg;
    const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(h->port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval tv = { .tv_usec = 200 * 1000 };
    struct peer_end p = { .isid = { 0x80, [5] = h->isid }, .itt = 1 };
    struct iscsi_pdu pdu = login_pdu(&p, 1, 3, true);
    uint8_t bhs[ISCSI_BHS_LEN], answer[ISCSI_BHS_LEN];
    char text[512];

    pdu.data_len = keys_text(LOGIN_NAMES, text);
    iscsi_pdu_encode(bhs, &pdu);
    while (!atomic_load(&h->stop)) {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (connect(fd, (const struct sockaddr *)&at, sizeof(at))) {
            close(fd);
            break;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        if (send(fd, bhs, sizeof(bhs), MSG_NOSIGNAL) > 0 &&
            send(fd, text, iscsi_padded(pdu.data_len), MSG_NOSIGNAL) > 0 && h->tries % 4)
            (void)!recv(fd, answer, sizeof(answer), 0);
        close(fd);
        h->tries++;
    }
    return NULL;
}

/* Whatever stage a login has reached, it ends, and everything is given back. */
static void test_logins_while_the_target_stops(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        struct bed b;
        struct hammer h[3];
        pthread_t thread[3];

        bed_start(&b, 2);
        bed_disk(&b);
        for (unsigned i = 0; i < ARRAY_SIZE(h); i++) {
            h[i] = (struct hammer){ .port = b.port, .isid = (uint8_t)(i / 2) };
            assert_int_equal(pthread_create(&thread[i], NULL, hammer_thread, &h[i]), 0);
        }
        usleep((20 + 17 * round) * 1000);
        bed_down(&b, true);
        for (unsigned i = 0; i < ARRAY_SIZE(h); i++) {
            atomic_store(&h[i].stop, true);
            assert_int_equal(pthread_join(thread[i], NULL), 0);
        }
        unlink(b.config);
        assert_int_equal(rmdir(b.dir), 0);
    }
}

/* By a message that is there before its own first one. */
static void test_a_target_stopped_before_its_first_turn(void **state)
{
    int cpu = -1;
    const struct rt_conf rc = { .cores = &cpu, .cores_nr = 1 };
    struct rt_addr at;
    struct tgt_conf conf = { .portals = &at, .portals_nr = 1 };
    struct bed b = { 0 };
    struct bed_stop stop = { .msg.fn = bed_stop_arrived, .bed = &b };

    (void)state;
    assert_int_equal(rt_addr_parse(&at, "127.0.0.1:0", 0), 0);
    assert_int_equal(rt_host_new(&b.host, &rc), 0);
    rt_post(rt_host_at(b.host, 0), &stop.msg);
    assert_int_equal(tgt_new(&b.tgt, b.host, &conf), 0);
    assert_int_equal(rt_host_run(b.host), 0);
    tgt_free(b.tgt);
    rt_host_free(b.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_text_without_end_is_bounded),
        cmocka_unit_test(test_resets_by_the_dozen_are_answered),
        cmocka_unit_test(test_functions_beyond_the_window_are_ignored),
        cmocka_unit_test(test_pings_before_their_turn_are_bounded),
        cmocka_unit_test(test_two_hosts_in_one_place_leave_one_session),
        cmocka_unit_test(test_256_sessions_of_one_initiator),
        cmocka_unit_test(test_logins_while_the_target_stops),
        cmocka_unit_test(test_a_target_stopped_before_its_first_turn),
    };

    return cmocka_run_group_tests(tests, up, down);
}
