/*
 * test_case_text.c - Text exchanges and NOPs in full feature phase
 */
#include "tgt_bed.h"

static uint8_t data[65536];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    memset(data, 0x61, sizeof(data));
    return 0;
}

/* One request of an exchange with @keys; what comes is in p->rsp. */
static void text_send(struct peer_end *p, uint32_t ttt, const char *keys, bool final, bool cont)
{
    char text[8192];
    struct iscsi_pdu pdu = text_pdu(p, ttt, 0, cont);

    pdu.final = final;
    pdu.data_len = keys_text(keys, text);
    peer_send(p, &pdu, text);
}

/* A whole exchange in one request and one response. */
static void text_ask(struct peer_end *p, const char *keys)
{
    p->itt++;
    text_send(p, ISCSI_TAG_RESERVED, keys, true, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_int_equal(p->rsp.itt, p->itt);
    assert_true(p->rsp.final);
    assert_int_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
}

/* ---- F, C and TTT (11.10, 11.11) ------------------------------------------------------------------------- */

/* 11.11.1: F in answer to a request without F is a protocol error; the exchange waits for one with it. */
static void test_f_is_not_answered_before_it_is_asked(void **state)
{
    struct peer_end *p = peer_discovery(&bed);
    uint32_t ttt;

    (void)state;
    text_send(p, ISCSI_TAG_RESERVED, "SendTargets=All", false, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_false(p->rsp.final);
    assert_false(p->rsp.text.cont);
    assert_int_not_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    ttt = p->rsp.ttt;
    text_send(p, ttt, "X-more=1", false, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_false(p->rsp.final);
    assert_int_equal(p->data_len, sizeof("X-more=NotUnderstood"));
    text_send(p, p->rsp.ttt, "", true, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_true(p->rsp.final);
    assert_int_equal(p->rsp.ttt, ISCSI_TAG_RESERVED);
    assert_int_equal(p->data_len, 0);
    text_send(p, ttt, "", true, false);     /* it is over */
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_logout(p);
}

static void test_a_request_in_pieces_is_answered_at_its_end(void **state)
{
    struct peer_end *p = ready("");
    static const char *const pieces[] = { "X-one=1", "X-two=2", "X-three=3" };
    uint32_t ttt = ISCSI_TAG_RESERVED;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        const bool last = i + 1 == ARRAY_SIZE(pieces);

        text_send(p, ttt, pieces[i], last, !last);
        peer_expect(p, ISCSI_OP_TEXT_RESP);
        assert_int_equal(p->rsp.final, last);
        assert_int_equal(p->data_len != 0, last);
        ttt = p->rsp.ttt;
    }
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        char key[16];

        snprintf(key, sizeof(key), "%.*s", (int)strcspn(pieces[i], "="), pieces[i]);
        expect_answer(p, key, "NotUnderstood");
    }
    peer_logout(p);
}

static void test_f_with_c_is_a_protocol_error(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu pdu = text_pdu(p, ISCSI_TAG_RESERVED, 0, false);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(bhs, &pdu);
    bhs[1] = 0xc0;
    peer_raw(p, bhs, sizeof(bhs));
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_tag_of_no_exchange_is_a_protocol_error(void **state)
{
    static const uint32_t tags[] = { 0, 1, 0x80000000, 0xfffffffe };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        text_send(p, tags[i], "X-y=1", true, false);
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    text_send(p, ISCSI_TAG_RESERVED, "X-y=1", false, true);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    text_send(p, p->rsp.ttt + 1, "X-z=1", true, false);     /* one that is under way, by another tag */
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_serves(p);
    peer_logout(p);
}

static void test_an_exchange_keeps_its_task_tag(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    text_send(p, ISCSI_TAG_RESERVED, "X-y=1", false, true);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    p->itt++;
    text_send(p, p->rsp.ttt, "X-z=1", true, false);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_logout(p);
}

/* 11.10.4: TTT ffffffff begins anew; what was said before is forgotten. */
static void test_a_new_exchange_takes_the_place_of_the_old(void **state)
{
    struct peer_end *p = ready("");
    uint32_t ttt;

    (void)state;
    text_send(p, ISCSI_TAG_RESERVED, "X-old=1", false, true);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    ttt = p->rsp.ttt;
    text_ask(p, "X-new=1");
    expect_answer(p, "X-new", "NotUnderstood");
    expect_answer(p, "X-old", NULL);
    p->itt--;
    text_send(p, ttt, "X-late=1", true, false);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_serves(p);
    peer_logout(p);
}

/* 6.2: while an answer is told in pieces, the requests that fetch them are empty. */
static void test_data_while_an_answer_is_told_end_the_exchange(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        char iqn[64];

        snprintf(iqn, sizeof(iqn), "iqn.2026-01.test:many-%u", i);
        bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", iqn));
    }
    assert_int_equal(login_step(p, 1, 3, true,
                                "InitiatorName=" I_IQN "\nSessionType=Discovery\nMaxRecvDataSegmentLength=512"),
                     ISCSI_LOGIN_OK);
    text_send(p, ISCSI_TAG_RESERVED, "SendTargets=All", true, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_true(p->rsp.text.cont);
    assert_false(p->rsp.final);
    assert_int_equal(p->data_len, 512);
    text_send(p, p->rsp.ttt, "X-more=1", true, false);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    text_send(p, ISCSI_TAG_RESERVED, "SendTargets=All", true, false);
    for (unsigned pieces = 1;; pieces++) {  /* from the start, whole */
        peer_expect(p, ISCSI_OP_TEXT_RESP);
        assert_true(p->data_len <= 512);
        if (p->rsp.final) {
            assert_true(pieces > 1);
            break;
        }
        text_send(p, p->rsp.ttt, "", true, false);
    }
    peer_logout(p);
    for (unsigned i = 0; i < 12; i++) {
        char iqn[64];

        snprintf(iqn, sizeof(iqn), "iqn.2026-01.test:many-%u", i);
        bed_do(&bed, "target.delete", json_pack("{s:s}", "iqn", iqn));
    }
}

static void test_exchanges_without_end_keep_nothing(void **state)
{
    struct peer_end *p = ready("");
    uint32_t ttt = ISCSI_TAG_RESERVED;

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        text_send(p, ttt, "X-again=1\nX-and=2", false, false);
        peer_expect(p, ISCSI_OP_TEXT_RESP);
        assert_false(p->rsp.final);
        expect_answer(p, "X-again", "NotUnderstood");
        ttt = p->rsp.ttt;
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

static void test_text_that_is_none_is_rejected(void **state)
{
    static const char *const bad[] = { "nonsense", "=x", "a=b", "Ab", "SendTargets" };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        p->itt++;
        text_send(p, ISCSI_TAG_RESERVED, bad[i], true, false);
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    {
        struct iscsi_pdu pdu = text_pdu(p, ISCSI_TAG_RESERVED, 5, false);

        peer_send(p, &pdu, "X-y=1");        /* and no NUL */
        expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_keys_of_the_login_are_rejected_after_it(void **state)
{
    static const char *const keys[] = {
        "InitiatorName",      "TargetName",        "SessionType",      "AuthMethod",
        "HeaderDigest",       "DataDigest",        "MaxConnections",   "InitialR2T",
        "ImmediateData",      "MaxBurstLength",    "FirstBurstLength", "DefaultTime2Wait",
        "DefaultTime2Retain", "MaxOutstandingR2T", "DataPDUInOrder",   "DataSequenceInOrder",
        "ErrorRecoveryLevel",
    };
    struct peer_end *p = ready("");
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        snprintf(pair, sizeof(pair), "%s=1", keys[i]);
        text_ask(p, pair);
        expect_answer(p, keys[i], "Reject");
    }
    peer_serves(p);
    peer_logout(p);
}

static void test_keys_nobody_knows_are_not_understood(void **state)
{
    struct peer_end *p = ready("");

    (void)state;
    text_ask(p, "X-com.example.a=1\nNonsense=2\nCHAP_A=5");
    expect_answer(p, "X-com.example.a", "NotUnderstood");
    expect_answer(p, "Nonsense", "NotUnderstood");
    expect_answer(p, "CHAP_A", "NotUnderstood");
    peer_logout(p);
}

static void test_keys_that_swell_the_answer_are_rejected(void **state)
{
    struct peer_end *p = ready("");
    static char text[8192];

    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        memcpy(text + 4 * i, "A=b", 4);
    {
        struct iscsi_pdu pdu = text_pdu(p, ISCSI_TAG_RESERVED, 8000, false);

        peer_send(p, &pdu, text);
        expect_reject(p, ISCSI_REJECT_LONG_OPERATION);
    }
    peer_serves(p);
    peer_logout(p);
}

/* How many bytes the first Data-In of a read has. */
static uint32_t segment_of_a_read(struct peer_end *p)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;
    uint32_t first = 0;

    cdb_rw10(cdb, false, 0, 16);
    pdu = cmd_pdu(p, cdb, 8192, true, false);
    peer_send(p, &pdu, NULL);
    do {
        peer_expect(p, ISCSI_OP_DATA_IN);
        first = first ? first : p->data_len;
    } while (!p->rsp.resp.has_status);
    return first;
}

/* 13.12: "Use: ALL". It is not answered, and holds once the exchange is over. */
static void test_the_segment_length_may_be_declared_anew(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=4096");

    (void)state;
    assert_int_equal(segment_of_a_read(p), 4096);
    text_ask(p, "MaxRecvDataSegmentLength=512");
    assert_int_equal(p->data_len, 0);
    assert_int_equal(segment_of_a_read(p), 512);
    text_ask(p, "MaxRecvDataSegmentLength=8192\nMaxRecvDataSegmentLength=2048");
    assert_int_equal(segment_of_a_read(p), 2048);
    text_ask(p, "MaxRecvDataSegmentLength=511");
    expect_answer(p, "MaxRecvDataSegmentLength", "Reject");
    text_ask(p, "MaxRecvDataSegmentLength=16777216");
    expect_answer(p, "MaxRecvDataSegmentLength", "Reject");
    assert_int_equal(segment_of_a_read(p), 2048);
    peer_logout(p);
}

/* 6.4: what an exchange that was given up had settled is forgotten. */
static void test_a_declaration_that_was_given_up_does_not_hold(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=4096");

    (void)state;
    text_send(p, ISCSI_TAG_RESERVED, "MaxRecvDataSegmentLength=512", false, false);
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    assert_int_equal(segment_of_a_read(p), 4096);
    text_ask(p, "X-y=1");
    assert_int_equal(segment_of_a_read(p), 4096);
    peer_logout(p);
}

/* ---- SendTargets (appendix C) ---------------------------------------------------------------------------- */

static void test_a_normal_session_is_told_of_its_target_only(void **state)
{
    struct peer_end *p;

    (void)state;
    bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", "iqn.2026-01.test:other"));
    p = ready("");
    text_ask(p, "SendTargets=");
    assert_true(answer_has(p, "TargetName=" T_IQN));
    assert_non_null(answer_of(p, "TargetAddress"));
    text_ask(p, "SendTargets=" T_IQN);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    text_ask(p, "SendTargets=All");
    expect_answer(p, "SendTargets", "Reject");
    expect_answer(p, "TargetName", NULL);
    text_ask(p, "SendTargets=iqn.2026-01.test:other");
    expect_answer(p, "SendTargets", "Reject");
    expect_answer(p, "TargetName", NULL);
    peer_logout(p);
    bed_do(&bed, "target.delete", json_pack("{s:s}", "iqn", "iqn.2026-01.test:other"));
}

static void test_discovery_is_told_of_what_it_may_see(void **state)
{
    struct peer_end *p;

    (void)state;
    bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", "iqn.2026-01.test:hidden"));
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", "iqn.2026-01.test:hidden", "initiator",
                                      "iqn.2026-01.test:chosen"));
    p = peer_discovery(&bed);
    text_ask(p, "SendTargets=All");
    assert_true(answer_has(p, "TargetName=" T_IQN));
    assert_false(answer_has(p, "TargetName=iqn.2026-01.test:hidden"));
    text_ask(p, "SendTargets=iqn.2026-01.test:hidden");
    assert_int_equal(p->data_len, 0);
    text_ask(p, "SendTargets=iqn.2026-01.test:not-there");
    assert_int_equal(p->data_len, 0);
    text_ask(p, "SendTargets=" T_IQN);
    assert_true(answer_has(p, "TargetName=" T_IQN));
    peer_logout(p);
    bed_do(&bed, "target.delete", json_pack("{s:s, s:b}", "iqn", "iqn.2026-01.test:hidden", "force", true));
}

static void test_send_targets_values_that_cannot_be(void **state)
{
    static const char *const bad[] = { "", "all", "ALL", "None", "../..", "iqn.", "*" };
    struct peer_end *p = peer_discovery(&bed);
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(pair, sizeof(pair), "SendTargets=%s", bad[i]);
        text_ask(p, pair);
        expect_answer(p, "SendTargets", "Reject");
    }
    p->itt++;
    text_send(p, ISCSI_TAG_RESERVED, "SendTargets=All\nSendTargets=All", true, false);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_logout(p);
}

/* ---- NOP (11.18, 11.19) ---------------------------------------------------------------------------------- */

/* Without a task tag nothing is asked, whatever the other tag says. */
static void test_a_nop_that_asks_nothing_gets_no_answer(void **state)
{
    static const uint32_t ttts[] = { ISCSI_TAG_RESERVED, 0, 1, 0x55aa55aa };
    struct peer_end *p = ready("");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ttts); i++) {
        struct iscsi_pdu nop = nop_pdu(p, i % 2 ? 100 : 0);

        nop.itt = ISCSI_TAG_RESERVED;
        nop.ttt = ttts[i];
        peer_send(p, &nop, data);
    }
    peer_quiet(p);
    peer_serves(p);
    peer_logout(p);
}

/* 11.18.1: such a one is immediate. In turn it would use a number that nothing reports. */
static void test_a_nop_that_asks_nothing_in_turn_is_rejected(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu nop = nop_pdu(p, 0);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    nop.itt = ISCSI_TAG_RESERVED;
    nop.exp_stat_sn = p->exp_stat_sn;
    iscsi_pdu_encode(bhs, &nop);
    bhs[0] &= 0xbf;
    peer_raw(p, bhs, sizeof(bhs));
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_nop_in_turn_is_answered_in_turn(void **state)
{
    struct peer_end *p = ready("");
    struct iscsi_pdu nop = nop_pdu(p, 5);

    (void)state;
    nop.immediate = false;
    nop.cmd_sn = p->cmd_sn + 1;
    peer_send(p, &nop, "hello");
    peer_quiet(p);
    send_tur(p, p->cmd_sn, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(peer_recv_ms(p, PEER_MS));
        if (p->rsp.opcode == ISCSI_OP_NOP_IN) {
            assert_int_equal(p->rsp.itt, nop.itt);
            assert_int_equal(p->data_len, 5);
            assert_memory_equal(p->data, "hello", 5);
        }
    }
    p->cmd_sn += 2;
    peer_serves(p);
    peer_logout(p);
}

/* Pings by the hundred: each is answered, with its data while there is room. */
static void test_a_flood_of_pings_is_answered(void **state)
{
    struct peer_end *p = ready("MaxRecvDataSegmentLength=8192");
    enum { NR = 400, ROUND = 20 };

    (void)state;
    for (unsigned i = 0; i < NR / ROUND; i++) {
        for (unsigned k = 0; k < ROUND; k++) {
            struct iscsi_pdu nop = nop_pdu(p, 8192);

            peer_send(p, &nop, data);
        }
        for (unsigned k = 0; k < ROUND; k++) {
            peer_expect(p, ISCSI_OP_NOP_IN);
            assert_true(p->data_len == 8192 || !p->data_len);
        }
    }
    peer_serves(p);
    peer_logout(p);
}

/* ---- Asynchronous Message (11.9) ------------------------------------------------------------------------- */

static void test_a_logout_that_the_operator_asks_for(void **state)
{
    struct peer_end *p = ready("");
    json_t *list = bed_call(&bed, "session.list", NULL);
    const json_int_t id = json_integer_value(json_object_get(json_array_get(list, 0), "id"));
    const uint32_t stat_sn = p->exp_stat_sn;

    (void)state;
    json_decref(list);
    bed_do(&bed, "session.logout", json_pack("{s:I}", "id", id));
    peer_expect(p, ISCSI_OP_ASYNC);
    assert_int_equal(p->rsp.async.event, ISCSI_ASYNC_LOGOUT_REQUEST);
    assert_int_equal(p->rsp.stat_sn, stat_sn);
    peer_serves(p);                         /* until it logs out it is served */
    assert_int_equal(p->rsp.stat_sn, stat_sn + 1);
    peer_logout(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_f_is_not_answered_before_it_is_asked),
        CASE(test_a_request_in_pieces_is_answered_at_its_end),
        CASE(test_f_with_c_is_a_protocol_error),
        CASE(test_a_tag_of_no_exchange_is_a_protocol_error),
        CASE(test_an_exchange_keeps_its_task_tag),
        CASE(test_a_new_exchange_takes_the_place_of_the_old),
        CASE(test_data_while_an_answer_is_told_end_the_exchange),
        CASE(test_exchanges_without_end_keep_nothing),
        CASE(test_text_that_is_none_is_rejected),
        CASE(test_keys_of_the_login_are_rejected_after_it),
        CASE(test_keys_nobody_knows_are_not_understood),
        CASE(test_keys_that_swell_the_answer_are_rejected),
        CASE(test_the_segment_length_may_be_declared_anew),
        CASE(test_a_declaration_that_was_given_up_does_not_hold),
        CASE(test_a_normal_session_is_told_of_its_target_only),
        CASE(test_discovery_is_told_of_what_it_may_see),
        CASE(test_send_targets_values_that_cannot_be),
        CASE(test_a_nop_that_asks_nothing_gets_no_answer),
        CASE(test_a_nop_that_asks_nothing_in_turn_is_rejected),
        CASE(test_a_nop_in_turn_is_answered_in_turn),
        CASE(test_a_flood_of_pings_is_answered),
        CASE(test_a_logout_that_the_operator_asks_for),
    };

    return cmocka_run_group_tests(tests, up, down);
}
