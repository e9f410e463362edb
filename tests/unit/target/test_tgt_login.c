/*
 * test_tgt_login.c - the login machine against a scripted initiator: every status that can be reached, every
 * stage
 */
#include <time.h>
#include "tgt_peer.h"

static struct bed bed;

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 1);
    bed_disk(&bed);
    return 0;
}

/* Each test from an address of its own: failed logins are held against it. */
static int elsewhere(void **state)
{
    (void)state;
    peer_host++;
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

static void test_login_in_one_request_reaches_full_feature_phase(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    peer_login(p,
               "MaxRecvDataSegmentLength=262144\nInitialR2T=No\nImmediateData=Yes\nHeaderDigest=None,CRC32C");
    assert_int_equal(p->rsp.login.csg, 1);
    assert_int_equal(p->rsp.login.nsg, 3);
    assert_true(answer_has(p, "TargetPortalGroupTag=1"));
    assert_true(answer_has(p, "InitialR2T=No"));
    assert_true(answer_has(p, "HeaderDigest=None"));
    assert_true(answer_has(p, "MaxRecvDataSegmentLength=262144"));
    assert_int_equal(p->rsp.exp_cmd_sn, 1000);
    assert_int_equal(p->rsp.max_cmd_sn, 1000 + SESS_WINDOW - 1);
    peer_logout(p);
}

static void test_login_through_both_stages(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=CHAP,None"), ISCSI_LOGIN_OK);
    assert_true(p->rsp.login.transit);
    assert_true(answer_has(p, "AuthMethod=None"));
    assert_int_equal(p->rsp.login.tsih, 0);
    assert_int_equal(login_step(p, 1, 1, false, "MaxBurstLength=16776192"), ISCSI_LOGIN_OK);
    assert_false(p->rsp.login.transit);
    assert_int_equal(login_step(p, 1, 3, true, "FirstBurstLength=262144"), ISCSI_LOGIN_OK);
    assert_true(p->rsp.login.transit);
    assert_int_not_equal(p->rsp.login.tsih, 0);
    peer_logout(p);
}

/* One request that must be refused, from a new connection each. */
struct refusal {
    const char *what;
    unsigned csg, nsg;
    bool transit;
    const char *keys;
    int status;
};

static const struct refusal refusals[] = {
    { "InitiatorName missing", 1, 3, true, "TargetName=" T_IQN, ISCSI_LOGIN_MISSING_PARAMETER },
    { "TargetName missing", 1, 3, true, "InitiatorName=" I_IQN, ISCSI_LOGIN_MISSING_PARAMETER },
    { "nothing at all", 1, 3, true, "", ISCSI_LOGIN_MISSING_PARAMETER },
    { "unknown target", 1, 3, true, "InitiatorName=" I_IQN "\nTargetName=iqn.2026-01.test:none",
      ISCSI_LOGIN_NOT_FOUND },
    { "session type", 1, 3, true, LOGIN_NAMES "x", ISCSI_LOGIN_SESSION_TYPE },
    { "initiator's name is none", 1, 3, true, "InitiatorName=bogus\nTargetName=" T_IQN,
      ISCSI_LOGIN_INITIATOR_ERROR },
    { "a key twice", 1, 3, true, LOGIN_NAMES "\nMaxBurstLength=512\nMaxBurstLength=1024",
      ISCSI_LOGIN_INITIATOR_ERROR },
    { "a name twice", 1, 3, true, LOGIN_NAMES "\nTargetName=" T_IQN, ISCSI_LOGIN_INITIATOR_ERROR },
    { "no key=value", 1, 3, true, LOGIN_NAMES "\nnonsense", ISCSI_LOGIN_INITIATOR_ERROR },
    { "CSG 2", 2, 3, true, LOGIN_NAMES, ISCSI_LOGIN_INITIATOR_ERROR },
    { "CSG 3", 3, 3, true, LOGIN_NAMES, ISCSI_LOGIN_INITIATOR_ERROR },
    { "NSG 2", 1, 2, true, LOGIN_NAMES, ISCSI_LOGIN_INITIATOR_ERROR },
    { "NSG equal to CSG", 1, 1, true, LOGIN_NAMES, ISCSI_LOGIN_INITIATOR_ERROR },
    { "NSG below CSG", 1, 0, true, LOGIN_NAMES, ISCSI_LOGIN_INITIATOR_ERROR },
    { "AuthMethod in the wrong stage", 1, 3, true, LOGIN_NAMES "\nAuthMethod=None",
      ISCSI_LOGIN_INITIATOR_ERROR },
    { "only CHAP, and no secrets here", 0, 1, true, LOGIN_NAMES "\nAuthMethod=CHAP", ISCSI_LOGIN_AUTH_FAILED },
    { "no method we know", 0, 1, true, LOGIN_NAMES "\nAuthMethod=KRB5", ISCSI_LOGIN_AUTH_FAILED },
    { "CHAP keys without CHAP", 0, 1, true, LOGIN_NAMES "\nCHAP_A=5", ISCSI_LOGIN_INITIATOR_ERROR },
};

static void test_login_refusals_say_why_and_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct peer_end *p = peer_open(&bed);
        uint8_t bhs[ISCSI_BHS_LEN];
        char text[1024];
        struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);

        /* Stages that no initiator may ask for are put into the bytes. */
        pdu.data_len = keys_text(r->keys, text);
        iscsi_pdu_encode(bhs, &pdu);
        bhs[1] = (uint8_t)((r->transit ? 0x80 : 0) | r->csg << 2 | r->nsg);
        peer_raw(p, bhs, sizeof(bhs));
        peer_raw(p, text, iscsi_padded(pdu.data_len));
        if (!peer_recv_ms(p, PEER_MS))
            fail_msg("%s: no answer", r->what);
        if (p->rsp.login.status != r->status)
            fail_msg("%s: status %04x, not %04x", r->what, p->rsp.login.status, r->status);
        assert_true(peer_ended(p, PEER_MS));
        peer_close(p);
    }
    bed_settle(&bed, 0);
}

static void test_login_with_t_and_c_is_refused(void **state)
{
    struct peer_end *p = peer_open(&bed);
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);
    uint8_t bhs[ISCSI_BHS_LEN];

    (void)state;
    iscsi_pdu_encode(bhs, &pdu);
    bhs[1] |= 0x40;
    peer_raw(p, bhs, sizeof(bhs));
    peer_expect(p, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_INITIATOR_ERROR);
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
}

/* T, C, CSG and NSG in all their combinations, in the first request and in a later one: a Login Response comes,
 * and one of success only where 11.12.3 allows it. */
static void test_every_pair_of_stages_is_answered(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 128; b++) {
        const bool later = b & 64, t = b & 16, c = b & 32;
        const unsigned csg = b >> 2 & 3, nsg = b & 3;
        const bool legal = csg <= 1 && (!t || (!c && nsg != 2 && nsg > csg)) && (!later || csg == 1);
        struct peer_end *p = peer_open(&bed);
        struct iscsi_pdu pdu = login_pdu(p, 1, 3, false);
        char text[512];
        uint8_t bhs[ISCSI_BHS_LEN];

        if (later)
            assert_int_equal(login_step(p, 1, 0, false, LOGIN_NAMES), ISCSI_LOGIN_OK);
        pdu.data_len = later ? 0 : keys_text(LOGIN_NAMES, text);
        iscsi_pdu_encode(bhs, &pdu);
        bhs[1] = (uint8_t)((t ? 0x80 : 0) | (c ? 0x40 : 0) | csg << 2 | nsg);
        peer_raw(p, bhs, sizeof(bhs));
        peer_raw(p, text, iscsi_padded(pdu.data_len));
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        if (!legal)
            assert_int_equal(p->rsp.login.status >> 8, 2);
        else
            assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OK);
        if (!legal)
            assert_true(peer_ended(p, PEER_MS));
        peer_close(p);
        if (legal)
            bed_settle(&bed, 0);            /* one of them may be in */
    }
    bed_settle(&bed, 0);
}

static void test_login_of_another_version_is_refused(void **state)
{
    struct peer_end *p = peer_open(&bed);
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);
    char text[512];

    (void)state;
    pdu.login.version_max = pdu.login.version_min = 1;
    pdu.data_len = keys_text(LOGIN_NAMES, text);
    peer_send(p, &pdu, text);
    peer_expect(p, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_VERSION);
    peer_close(p);
}

/* RFC 7143 6.3.1: what a TSIH other than 0 is told. */
static void test_login_with_a_tsih(void **state)
{
    struct peer_end *first = peer_logged_in(&bed, 1, ""), *p;

    (void)state;
    p = peer_open(&bed);
    p->tsih = (uint16_t)(first->tsih + 77);
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_NO_SESSION);
    peer_close(p);
    p = peer_open(&bed);
    p->tsih = first->tsih;
    p->isid[5] = 1;
    p->cid = 9;
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_TOO_MANY);
    peer_close(p);
    p = peer_open(&bed);
    p->tsih = first->tsih;
    p->isid[5] = 1;
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_CANNOT_INCLUDE);
    peer_close(p);
    p = peer_open(&bed);
    p->tsih = first->tsih;
    p->isid[5] = 2;
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_NO_SESSION);
    peer_close(p);
    peer_settle(first);                     /* which nobody disturbed */
    peer_logout(first);
}

static void test_login_text_may_span_requests(void **state)
{
    const char *text = "InitiatorName=" I_IQN "\nTargetName=" T_IQN;
    char keys[512];
    const uint32_t len = keys_text(text, keys);

    (void)state;
    for (uint32_t cut = 1; cut < len; cut += 7) {
        struct peer_end *p = peer_open(&bed);
        struct iscsi_pdu pdu = login_pdu(p, 1, 0, false);

        p->isid[5] = 3;
        pdu = login_pdu(p, 1, 0, false);
        pdu.login.cont = true;
        pdu.data_len = cut;
        peer_send(p, &pdu, keys);
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OK);
        assert_false(p->rsp.login.transit);
        assert_int_equal(p->data_len, 0);
        pdu = login_pdu(p, 1, 3, true);
        pdu.data_len = len - cut;
        peer_send(p, &pdu, keys + cut);
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OK);
        assert_true(p->rsp.login.transit);
        peer_logout(p);
    }
}

static void test_login_text_without_end_is_cut_off(void **state)
{
    struct peer_end *p = peer_open(&bed);
    char junk[8192];
    int status = ISCSI_LOGIN_OK;

    (void)state;
    memset(junk, 'A', sizeof(junk));
    for (int i = 0; i < 100 && status == ISCSI_LOGIN_OK; i++) {
        struct iscsi_pdu pdu = login_pdu(p, 1, 0, false);

        pdu.login.cont = true;
        pdu.data_len = sizeof(junk);
        peer_send(p, &pdu, junk);
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        status = p->rsp.login.status;
        assert_true(i < 12);
    }
    assert_int_equal(status, ISCSI_LOGIN_OUT_OF_RESOURCES);
    peer_close(p);
}

/* 2048 unknown keys: each is answered with 15 bytes more than it had, and that must end somewhere. */
static void test_login_keys_that_swell_the_answer_are_refused(void **state)
{
    struct peer_end *p = peer_open(&bed);
    struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);
    char text[8192];
    uint32_t len = keys_text("InitiatorName=" I_IQN "\nTargetName=" T_IQN, text);

    (void)state;
    while (len + 4 <= sizeof(text)) {
        memcpy(text + len, "X=b", 4);
        len += 4;
    }
    pdu.data_len = len;
    peer_send(p, &pdu, text);
    peer_expect(p, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_INITIATOR_ERROR);
    peer_close(p);
}

static void test_login_requests_must_follow_from_one_another(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 0, 1, true, ""), ISCSI_LOGIN_INVALID_REQUEST); /* back to the first stage */
    peer_close(p);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES), ISCSI_LOGIN_OK);
    p->isid[4] = 1;
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_close(p);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 1, 3, true, "SessionType=Discovery"), ISCSI_LOGIN_INITIATOR_ERROR);
    peer_close(p);
}

static void test_login_of_an_initiator_that_is_not_listed(void **state)
{
    struct peer_end *p;

    (void)state;
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "iqn.2026-01.test:other"));
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_FORBIDDEN);
    peer_close(p);
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN));
    p = peer_logged_in(&bed, 1, "");
    peer_logout(p);
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN));
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "iqn.2026-01.test:other"));
}

static void test_garbage_instead_of_a_login_ends_the_connection(void **state)
{
    struct peer_end *p;
    uint8_t junk[ISCSI_BHS_LEN * 4];

    (void)state;
    for (unsigned op = 0; op < 64; op++) {
        if (op == ISCSI_OP_LOGIN)
            continue;
        p = peer_open(&bed);
        memset(junk, 0, sizeof(junk));
        junk[0] = (uint8_t)op;
        peer_raw(p, junk, sizeof(junk));
        assert_true(peer_ended(p, PEER_MS));
        peer_close(p);
    }
    p = peer_open(&bed);
    peer_raw(p, "GET / HTTP/1.0\r\nHost: x\r\nAccept: everything there is, please\r\n\r\n", 64);
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
    bed_settle(&bed, 0);
}

/* ---- CHAP ------------------------------------------------------------------------------------------------ */

#include "iscsi/chap.h"

/* Runs the security stage with our own initiator's CHAP. Return: the last status. */
static int chap_login(struct peer_end *p, const char *user, const char *secret, const char *in_user,
                      const char *in_secret, const char *names)
{
    struct chap_cred out = { 0 }, in = { 0 };
    struct chap_initiator c;
    uint8_t random[33];
    char text[8192], data[8192];
    struct iscsi_text t;
    enum chap_step step;
    int status;

    snprintf(out.name, sizeof(out.name), "%s", user);
    out.secret_len = (uint32_t)snprintf((char *)out.secret, sizeof(out.secret), "%s", secret);
    if (in_user) {
        snprintf(in.name, sizeof(in.name), "%s", in_user);
        in.secret_len = (uint32_t)snprintf((char *)in.secret, sizeof(in.secret), "%s", in_secret);
    }
    memset(random, 0x5a, sizeof(random));
    chap_initiator_init(&c, &out, in_user ? &in : NULL, CHAP_ALGS_ALL, random);
    snprintf(text, sizeof(text), "%s\nAuthMethod=CHAP,None", names);
    if ((status = login_step(p, 0, 1, false, text)))
        return status;
    assert_true(answer_has(p, "AuthMethod=CHAP"));
    iscsi_text_init(&t, text, sizeof(text));
    step = chap_initiator_step(&c, NULL, 0, &t);
    for (;;) {
        struct iscsi_pdu pdu = login_pdu(p, 0, 1, t.len != 0);

        pdu.data_len = t.len;
        peer_send(p, &pdu, text);
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        if (p->rsp.login.status || p->rsp.login.transit)
            break;
        memcpy(data, p->data, p->data_len);
        iscsi_text_init(&t, text, sizeof(text));
        step = chap_initiator_step(&c, data, p->data_len, &t);
        assert_true(step != CHAP_FAILED && step != CHAP_NO_ALG);
    }
    if (!p->rsp.login.status && in_user) {
        memcpy(data, p->data, p->data_len);
        iscsi_text_init(&t, text, sizeof(text));
        assert_int_equal(chap_initiator_step(&c, data, p->data_len, &t), CHAP_DONE);
    }
    return p->rsp.login.status;
}

static void chap_set(const char *direction, const char *user, const char *secret)
{
    bed_do(&bed, "chap.set",
           json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", direction, "user", user, "secret",
                     secret));
}

static void test_chap_is_demanded_once_configured(void **state)
{
    struct peer_end *p;

    (void)state;
    chap_set("in", "alice", "a secret of hers");
    p = peer_open(&bed);                    /* no security stage */
    assert_int_equal(login_step(p, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    p = peer_open(&bed);                    /* not offered */
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    p = peer_open(&bed);                    /* not mentioned */
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES), ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    p = peer_open(&bed);                    /* agreed on, then passed over */
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=CHAP"), ISCSI_LOGIN_OK);
    assert_false(p->rsp.login.transit);
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_close(p);
    p = peer_open(&bed);
    assert_int_equal(chap_login(p, "alice", "a secret of hers", NULL, NULL, LOGIN_NAMES), ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    peer_settle(p);
    peer_logout(p);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "in"));
}

/* A wrong secret, a wrong user: the same status. */
static void test_chap_with_a_wrong_secret_or_user_fails(void **state)
{
    struct peer_end *p;

    (void)state;
    chap_set("in", "alice", "a secret of hers");
    p = peer_open(&bed);
    assert_int_equal(chap_login(p, "alice", "another secret", NULL, NULL, LOGIN_NAMES),
                     ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    p = peer_open(&bed);
    assert_int_equal(chap_login(p, "bob", "a secret of hers", NULL, NULL, LOGIN_NAMES),
                     ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "in"));
}

/* Who guesses waits: the second refusal is not given at once, and the longer the oftener. */
static void test_chap_failures_make_an_address_wait(void **state)
{
    struct timespec begin, end;
    struct peer_end *p;

    (void)state;
    for (int i = 0; i < 3; i++) {
        p = peer_open(&bed);
        assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=CHAP"), ISCSI_LOGIN_AUTH_FAILED);
        assert_true(peer_ended(p, PEER_MS));
        peer_close(p);
        bed_settle(&bed, 0);
    }
    p = peer_open(&bed);
    {
        struct iscsi_pdu pdu = login_pdu(p, 0, 1, true);
        char text[512];

        pdu.data_len = keys_text(LOGIN_NAMES "\nAuthMethod=CHAP", text);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        peer_send(p, &pdu, text);
    }
    peer_expect(p, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_AUTH_FAILED);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 >= 200);
    peer_close(p);
    p = peer_logged_in(&bed, 9, "");        /* whoever is let in is let in at once */
    peer_logout(p);
}

static void test_chap_both_ways(void **state)
{
    struct peer_end *p;

    (void)state;
    chap_set("in", "alice", "a secret of hers");
    chap_set("out", "disk", "the target's own");
    p = peer_open(&bed);
    assert_int_equal(chap_login(p, "alice", "a secret of hers", "disk", "the target's own", LOGIN_NAMES),
                     ISCSI_LOGIN_OK);
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    peer_logout(p);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "out"));
    p = peer_open(&bed);                    /* asked to prove ourselves, and nothing to prove it with */
    assert_int_equal(chap_login(p, "alice", "a secret of hers", "disk", "the target's own", LOGIN_NAMES),
                     ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "in"));
}

static void test_discovery_has_its_own_credentials(void **state)
{
    const char *names = "InitiatorName=" I_IQN "\nSessionType=Discovery";
    struct peer_end *p;

    (void)state;
    bed_do(&bed, "chap.set",
           json_pack("{s:b, s:s, s:s, s:s}", "discovery", 1, "direction", "in", "user", "finder", "secret",
                     "for finding only"));
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, true, names), ISCSI_LOGIN_AUTH_FAILED);
    peer_close(p);
    p = peer_logged_in(&bed, 1, "");        /* the target itself asks for none */
    peer_logout(p);
    p = peer_open(&bed);
    assert_int_equal(chap_login(p, "finder", "for finding only", NULL, NULL, names), ISCSI_LOGIN_OK);
    peer_close(p);
    bed_do(&bed, "chap.clear", json_pack("{s:b, s:s}", "discovery", 1, "direction", "in"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_login_in_one_request_reaches_full_feature_phase, elsewhere),
        cmocka_unit_test_setup(test_login_through_both_stages, elsewhere),
        cmocka_unit_test_setup(test_login_refusals_say_why_and_close, elsewhere),
        cmocka_unit_test_setup(test_login_with_t_and_c_is_refused, elsewhere),
        cmocka_unit_test_setup(test_every_pair_of_stages_is_answered, elsewhere),
        cmocka_unit_test_setup(test_login_of_another_version_is_refused, elsewhere),
        cmocka_unit_test_setup(test_login_with_a_tsih, elsewhere),
        cmocka_unit_test_setup(test_login_text_may_span_requests, elsewhere),
        cmocka_unit_test_setup(test_login_text_without_end_is_cut_off, elsewhere),
        cmocka_unit_test_setup(test_login_keys_that_swell_the_answer_are_refused, elsewhere),
        cmocka_unit_test_setup(test_login_requests_must_follow_from_one_another, elsewhere),
        cmocka_unit_test_setup(test_login_of_an_initiator_that_is_not_listed, elsewhere),
        cmocka_unit_test_setup(test_garbage_instead_of_a_login_ends_the_connection, elsewhere),
        cmocka_unit_test_setup(test_chap_is_demanded_once_configured, elsewhere),
        cmocka_unit_test_setup(test_chap_with_a_wrong_secret_or_user_fails, elsewhere),
        cmocka_unit_test_setup(test_chap_failures_make_an_address_wait, elsewhere),
        cmocka_unit_test_setup(test_chap_both_ways, elsewhere),
        cmocka_unit_test_setup(test_discovery_has_its_own_credentials, elsewhere),
    };

    return cmocka_run_group_tests(tests, up, down);
}
