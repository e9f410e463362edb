/*
 * test_case_login.c - the login's stages, versions, ISID, TSIH and CID, and every status it ends with
 */
#include "tgt_bed.h"

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    return 0;
}

/* A Login request of any bits. Return: the status, or -1. */
static int login_raw(struct peer_end *p, const uint8_t bhs[ISCSI_BHS_LEN], const char *text, uint32_t len)
{
    static const uint8_t zeroes[4];

    peer_raw(p, bhs, ISCSI_BHS_LEN);
    peer_raw(p, text, len);
    peer_raw(p, zeroes, iscsi_padded(len) - len);
    if (!peer_recv_ms(p, PEER_MS))
        return -1;
    assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGIN_RESP);
    return p->rsp.login.status;
}

static uint32_t login_header(struct peer_end *p, uint8_t bhs[ISCSI_BHS_LEN], char *text)
{
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);

    pdu.data_len = keys_text(LOGIN_NAMES, text);
    iscsi_pdu_encode(bhs, &pdu);
    return pdu.data_len;
}

/* ---- stages ---------------------------------------------------------------------------------------------- */

/* Every T, C, CSG and NSG as the first request: accepted or refused, never dropped without a word. */
static void test_every_combination_of_stage_bits_is_answered(void **state)
{
    char text[256];
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    for (unsigned bits = 0; bits < 64; bits++) {
        const bool t = bits & 32, c = bits & 16;
        const unsigned csg = bits >> 2 & 3, nsg = bits & 3;
        const bool legal = csg <= 1 && !(t && c) && (!t || (nsg != 2 && nsg > csg));
        struct peer_end *p = peer_open(&bed);
        const uint32_t len = login_header(p, bhs, text);

        bhs[1] = (uint8_t)((t ? 0x80 : 0) | (c ? 0x40 : 0) | csg << 2 | nsg);
        if (login_raw(p, bhs, text, len) != (legal ? ISCSI_LOGIN_OK : ISCSI_LOGIN_INITIATOR_ERROR))
            fail_msg("T %d C %d CSG %u NSG %u: %04x", t, c, csg, nsg, p->rsp.login.status);
        if (legal) {
            assert_int_equal(p->rsp.login.transit, t);
            assert_int_equal(p->rsp.login.csg, csg);
            peer_close(p);
        } else {
            peer_gone(p);
        }
    }
}

static void test_a_stage_is_not_gone_back_to(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 1, 3, false, ""), ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 0, 1, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_gone(p);
}

/* 6.3.1: from the security stage straight to the end. */
static void test_the_operational_stage_may_be_left_out(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 3, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    assert_true(p->rsp.login.transit);
    assert_int_equal(p->rsp.login.nsg, ISCSI_STAGE_FULL_FEATURE);
    peer_settle(p);
    peer_logout(p);
}

static void test_a_stage_may_take_many_requests(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 1, 3, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    for (unsigned i = 0; i < 20; i++) {
        const uint32_t sn = p->rsp.stat_sn;

        assert_int_equal(login_step(p, 1, 3, false, ""), ISCSI_LOGIN_OK);
        assert_false(p->rsp.login.transit);
        assert_int_equal(p->rsp.login.tsih, 0);         /* 11.13.3: not before the last */
        assert_int_equal(p->rsp.stat_sn, sn + 1);
    }
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    assert_int_not_equal(p->rsp.login.tsih, 0);
    peer_logout(p);
}

static void test_a_login_without_end_is_ended(void **state)
{
    struct peer_end *p = peer_open(&bed);
    int status = login_step(p, 1, 3, false, LOGIN_NAMES);
    unsigned nr = 1;

    (void)state;
    for (; !status; nr++)
        status = login_step(p, 1, 3, false, "");
    assert_int_equal(status, ISCSI_LOGIN_INITIATOR_ERROR);
    assert_true(nr <= 100);
    peer_gone(p);
}

/* ---- what a response says -------------------------------------------------------------------------------- */

static void test_a_response_gives_back_isid_and_tag(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    memcpy(p->isid, "\x80\x12\x34\x56\x78\x9a", 6);
    p->itt = 0xdeadbeef;
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_int_equal(p->rsp.itt, 0xdeadbeef);
    assert_memory_equal(p->rsp.login.isid, p->isid, 6);
    assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
    assert_int_equal(p->rsp.max_cmd_sn, p->cmd_sn + SESS_WINDOW - 1);
    assert_int_equal(p->rsp.login.version_max, 0);
    assert_int_equal(p->rsp.login.version_min, 0);
    peer_logout(p);
}

/* 11.12.5: types 00b to 10b; which one makes no difference here. */
static void test_an_isid_of_every_type_is_taken(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 4; type++) {
        struct peer_end *p = peer_open(&bed);

        p->isid[0] = (uint8_t)(type << 6);
        peer_login(p, "");
        peer_settle(p);
        peer_logout(p);
    }
}

static void test_versions_other_than_zero(void **state)
{
    static const struct {
        uint8_t max, min;
        int status;
    } rows[] = {
        { 0, 0, ISCSI_LOGIN_OK }, { 1, 0, ISCSI_LOGIN_OK }, { 255, 0, ISCSI_LOGIN_OK },
        { 1, 1, ISCSI_LOGIN_VERSION }, { 255, 255, ISCSI_LOGIN_VERSION }, { 0, 1, ISCSI_LOGIN_VERSION },
    };
    char text[256];
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p = peer_open(&bed);
        const uint32_t len = login_header(p, bhs, text);

        bhs[2] = rows[i].max;
        bhs[3] = rows[i].min;
        assert_int_equal(login_raw(p, bhs, text, len), rows[i].status);
        if (rows[i].status)
            peer_gone(p);
        else
            peer_logout(p);
    }
}

/* ---- TSIH, ISID, CID ------------------------------------------------------------------------------------- */

static int login_to(uint8_t isid, uint16_t tsih, uint16_t cid, const char *initiator)
{
    struct peer_end *p = peer_open(&bed);
    char text[512];
    int status;

    p->isid[5] = isid;
    p->tsih = tsih;
    p->cid = cid;
    snprintf(text, sizeof(text), "InitiatorName=%s\nTargetName=" T_IQN "\nSessionType=Normal", initiator);
    status = login_step(p, 1, 3, true, text);
    if (status)
        peer_gone(p);
    else
        peer_logout(p);
    return status;
}

static void test_a_tsih_nobody_has_is_refused(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    assert_int_equal(login_to(1, (uint16_t)(p->tsih + 100), 1, I_IQN), ISCSI_LOGIN_NO_SESSION);
    peer_serves(p);
    peer_logout(p);
}

static void test_the_tsih_of_another_isid_is_refused(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    assert_int_not_equal(login_to(2, p->tsih, 1, I_IQN), ISCSI_LOGIN_OK);
    peer_serves(p);
    peer_logout(p);
}

static void test_a_second_connection_is_refused(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "MaxConnections=4");

    (void)state;
    assert_int_equal(login_to(1, p->tsih, 7, I_IQN), ISCSI_LOGIN_TOO_MANY);
    peer_serves(p);
    peer_logout(p);
}

/* Reinstatement of a connection: what was lost is not taken over at ErrorRecoveryLevel 0. */
static void test_a_connection_is_not_reinstated(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    assert_int_not_equal(login_to(1, p->tsih, p->cid, I_IQN), ISCSI_LOGIN_OK);
    peer_serves(p);
    peer_logout(p);
}

/* The TSIH is public to whoever guesses it: another initiator cannot do anything with it. */
static void test_another_initiator_cannot_use_a_tsih(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    for (uint16_t cid = 0; cid < 3; cid++)
        assert_int_not_equal(login_to(1, p->tsih, cid, "iqn.2026-01.test:thief"), ISCSI_LOGIN_OK);
    peer_serves(p);
    peer_logout(p);
}

/* Nor does its ISID end the session of another name. */
static void test_the_isid_of_another_initiator_is_no_reinstatement(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");

    (void)state;
    assert_int_equal(login_to(1, 0, 0, "iqn.2026-01.test:other"), ISCSI_LOGIN_OK);
    peer_serves(p);
    peer_logout(p);
}

static void test_the_same_isid_takes_the_place_of_the_old_session(void **state)
{
    struct peer_end *old = peer_ready(&bed, 1, ""), *new = peer_open(&bed);
    const uint16_t tsih = old->tsih;

    (void)state;
    new->isid[5] = 1;
    peer_login(new, "");
    assert_int_not_equal(new->tsih, tsih);
    peer_gone(old);
    peer_settle(new);
    peer_logout(new);
}

/* 4.3: a discovery session is its own; it ends no normal one of its ISID. */
static void test_discovery_under_the_same_isid_ends_nobody(void **state)
{
    struct peer_end *p = peer_ready(&bed, 0, ""), *d = peer_discovery(&bed);

    (void)state;
    peer_serves(p);
    peer_logout(d);
    peer_serves(p);
    peer_logout(p);
}

static void test_every_tsih_is_another_and_not_zero(void **state)
{
    struct peer_end *p[40];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = peer_logged_in(&bed, (uint8_t)i, "");
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(p[i]->tsih, p[k]->tsih);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_logout(p[i]);
}

/* Requests of one login belong together: CID and ISID stay. */
static void test_a_login_that_changes_its_cid_or_isid_is_refused(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 1, 3, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    p->cid = 5;
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_gone(p);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    p->isid[3] = 5;
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_gone(p);
    p = peer_open(&bed);                    /* and so does the TSIH */
    assert_int_equal(login_step(p, 1, 3, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
    p->tsih = 99;
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_gone(p);
}

/* ---- PDUs where they do not belong ----------------------------------------------------------------------- */

/* 6.3.1: nothing but Login before full feature phase; there is nothing to say to it. */
static void test_every_other_pdu_before_the_login_ends_the_connection(void **state)
{
    (void)state;
    for (unsigned opcode = 0; opcode < 64; opcode++) {
        uint8_t bhs[ISCSI_BHS_LEN] = { [0] = (uint8_t)(0x40 | opcode), [1] = 0x80 };
        struct peer_end *p;

        if (opcode == ISCSI_OP_LOGIN)
            continue;
        p = peer_open(&bed);
        store_be32(&bhs[20], ISCSI_TAG_RESERVED);
        peer_raw(p, bhs, sizeof(bhs));
        peer_gone(p);
    }
}

static void test_a_command_in_the_middle_of_the_login_ends_it(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    send_tur(p, p->cmd_sn, false);
    peer_gone(p);
}

static void test_a_login_in_full_feature_phase_is_rejected(void **state)
{
    struct peer_end *p = peer_ready(&bed, 1, "");
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);

    (void)state;
    peer_send(p, &pdu, NULL);
    expect_reject(p, ISCSI_REJECT_PROTOCOL_ERROR);
    peer_serves(p);
    peer_logout(p);
}

/* Two requests at once: the second is not what follows from the answer to the first. */
static void test_requests_that_do_not_wait_for_answers_are_bounded(void **state)
{
    struct peer_end *p = peer_open(&bed);
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, false);
    char text[256];

    (void)state;
    pdu.data_len = keys_text(LOGIN_NAMES, text);
    for (unsigned i = 0; i < 200; i++) {
        peer_send(p, &pdu, text);
        pdu.data_len = 0;
    }
    peer_gone(p);
}

static void test_login_data_of_8192_bytes_are_taken_and_no_more(void **state)
{
    static char text[8196];
    struct peer_end *p = peer_open(&bed);
    uint32_t n = keys_text(LOGIN_NAMES "\nXyz=", text) - 1;

    (void)state;
    memset(text + n, 'v', 8191 - n);
    text[8191] = '\0';
    assert_int_equal(login_bytes(p, 1, 3, true, text, 8192), ISCSI_LOGIN_OK);
    peer_logout(p);
    p = peer_open(&bed);
    assert_int_equal(login_bytes(p, 1, 3, true, text, 8193), -1);
    peer_gone(p);
}

/* Announced, and never to come: nothing is kept for it. */
static void test_login_data_of_sixteen_mebibytes_end_the_connection(void **state)
{
    struct peer_end *p = peer_open(&bed);
    char text[256];
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    login_header(p, bhs, text);
    store_be24(&bhs[5], 0xffffff);
    peer_raw(p, bhs, sizeof(bhs));
    peer_gone(p);
}

static void test_a_login_with_an_ahs_ends_the_connection(void **state)
{
    static const uint8_t words[] = { 1, 2, 255 };
    char text[256];
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        struct peer_end *p = peer_open(&bed);

        login_header(p, bhs, text);
        bhs[4] = words[i];
        peer_raw(p, bhs, sizeof(bhs));
        peer_gone(p);
    }
}

/* ---- discovery and normal sessions ----------------------------------------------------------------------- */

static void test_a_discovery_session_needs_no_target(void **state)
{
    struct peer_end *p = peer_discovery(&bed);

    (void)state;
    assert_int_not_equal(p->rsp.login.tsih, 0);
    peer_logout(p);
}

/* 13.21: without SessionType it is a normal one. */
static void test_a_session_is_normal_unless_it_says_discovery(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nTargetName=" T_IQN), ISCSI_LOGIN_OK);
    peer_settle(p);
    peer_logout(p);
}

/* ---- every status that a target of ours gives (11.13.5) -------------------------------------------------- */

static void test_every_status_that_can_be_is_given(void **state)
{
    static const struct {
        const char *keys;
        unsigned csg, nsg;
        int status;
    } rows[] = {
        { LOGIN_NAMES, 1, 3, ISCSI_LOGIN_OK },
        { LOGIN_NAMES "\nnonsense", 1, 3, ISCSI_LOGIN_INITIATOR_ERROR },
        { LOGIN_NAMES "\nAuthMethod=CHAP", 0, 1, ISCSI_LOGIN_AUTH_FAILED },
        { "InitiatorName=" I_IQN "\nTargetName=iqn.2026-01.test:closed", 1, 3, ISCSI_LOGIN_FORBIDDEN },
        { "InitiatorName=" I_IQN "\nTargetName=iqn.2026-01.test:none", 1, 3, ISCSI_LOGIN_NOT_FOUND },
        { "TargetName=" T_IQN, 1, 3, ISCSI_LOGIN_MISSING_PARAMETER },
        { LOGIN_NAMES "ish", 1, 3, ISCSI_LOGIN_SESSION_TYPE },
    };

    (void)state;
    bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", "iqn.2026-01.test:closed"));
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", "iqn.2026-01.test:closed", "initiator",
                                      "iqn.2026-01.test:chosen"));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p = peer_open(&bed);

        assert_int_equal(login_step(p, rows[i].csg, rows[i].nsg, true, rows[i].keys), rows[i].status);
        if (rows[i].status) {
            assert_false(p->rsp.login.transit);
            assert_int_equal(p->data_len, 0);
            peer_gone(p);
        } else {
            peer_logout(p);
        }
    }
    /* 0205, 0206, 0208, 020a and 020b have tests of their own here; 0302 and 0301 in test_tgt_*.c. */
    bed_do(&bed, "target.delete", json_pack("{s:s, s:b}", "iqn", "iqn.2026-01.test:closed", "force", true));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_every_combination_of_stage_bits_is_answered),
        CASE(test_a_stage_is_not_gone_back_to),
        CASE(test_the_operational_stage_may_be_left_out),
        CASE(test_a_stage_may_take_many_requests),
        CASE(test_a_login_without_end_is_ended),
        CASE(test_a_response_gives_back_isid_and_tag),
        CASE(test_an_isid_of_every_type_is_taken),
        CASE(test_versions_other_than_zero),
        CASE(test_a_tsih_nobody_has_is_refused),
        CASE(test_the_tsih_of_another_isid_is_refused),
        CASE(test_a_second_connection_is_refused),
        CASE(test_a_connection_is_not_reinstated),
        CASE(test_another_initiator_cannot_use_a_tsih),
        CASE(test_the_isid_of_another_initiator_is_no_reinstatement),
        CASE(test_the_same_isid_takes_the_place_of_the_old_session),
        CASE(test_discovery_under_the_same_isid_ends_nobody),
        CASE(test_every_tsih_is_another_and_not_zero),
        CASE(test_a_login_that_changes_its_cid_or_isid_is_refused),
        CASE(test_every_other_pdu_before_the_login_ends_the_connection),
        CASE(test_a_command_in_the_middle_of_the_login_ends_it),
        CASE(test_a_login_in_full_feature_phase_is_rejected),
        CASE(test_requests_that_do_not_wait_for_answers_are_bounded),
        CASE(test_login_data_of_8192_bytes_are_taken_and_no_more),
        CASE(test_login_data_of_sixteen_mebibytes_end_the_connection),
        CASE(test_a_login_with_an_ahs_ends_the_connection),
        CASE(test_a_discovery_session_needs_no_target),
        CASE(test_a_session_is_normal_unless_it_says_discovery),
        CASE(test_every_status_that_can_be_is_given),
    };

    return cmocka_run_group_tests(tests, up, down);
}
