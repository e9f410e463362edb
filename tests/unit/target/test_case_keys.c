/*
 * test_case_keys.c - text keys of the login: their form, their values, the answers to them
 */
#include "tgt_bed.h"

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 1);
    bed_disk(&bed);
    return 0;
}

/* ---- one login each -------------------------------------------------------------------------------------- */

/* @keys behind the names; the connection is open on return. */
static struct peer_end *login_with(const char *keys, int status)
{
    struct peer_end *p = peer_open(&bed);
    char text[8192];
    int got;

    snprintf(text, sizeof(text), LOGIN_NAMES "%s%s", *keys ? "\n" : "", keys);
    got = login_step(p, 1, 3, true, text);
    if (got != status)
        fail_msg("%.200s: status %04x, not %04x", keys, got, status);
    return p;
}

static void refused(const char *keys)
{
    peer_gone(login_with(keys, ISCSI_LOGIN_INITIATOR_ERROR));
}

/* The key is answered so; NULL: not at all. */
static void answered(const char *keys, const char *key, const char *value)
{
    struct peer_end *p = login_with(keys, ISCSI_LOGIN_OK);

    expect_answer(p, key, value);
    peer_logout(p);
}

/* ---- the form of a pair (6.1) ---------------------------------------------------------------------------- */

static void login_text_refused(const char *text, size_t len)
{
    char all[512];
    const uint32_t n = keys_text(LOGIN_NAMES, all);
    struct peer_end *p = peer_open(&bed);

    memcpy(all + n, text, len);
    assert_int_equal(login_bytes(p, 1, 3, true, all, n + (uint32_t)len), ISCSI_LOGIN_INITIATOR_ERROR);
    peer_gone(p);
}

static void test_a_pair_without_its_nul_is_refused(void **state)
{
    (void)state;
    login_text_refused("MaxBurstLength=512", 18);
}

static void test_a_pair_without_equals_is_refused(void **state)
{
    (void)state;
    login_text_refused("MaxBurstLength", sizeof("MaxBurstLength"));
}

static void test_a_pair_without_a_key_is_refused(void **state)
{
    (void)state;
    login_text_refused("=x", sizeof("=x"));
    login_text_refused("=", sizeof("="));
}

/* 6.1: "at least one null" between pairs. */
static void test_more_nuls_between_pairs_are_harmless(void **state)
{
    static const char text[] = "\0\0" LOGIN_NAMES "\0\0\0MaxBurstLength=512\0\0\0";
    char flat[sizeof(text)];
    struct peer_end *p = peer_open(&bed);

    (void)state;
    memcpy(flat, text, sizeof(text));
    for (size_t i = 0; i < sizeof(flat); i++)
        flat[i] = (char)(flat[i] == '\n' ? '\0' : flat[i]);
    assert_int_equal(login_bytes(p, 1, 3, true, flat, sizeof(flat)), ISCSI_LOGIN_OK);
    expect_answer(p, "MaxBurstLength", "512");
    peer_logout(p);
}

static void test_a_key_has_at_most_63_characters(void **state)
{
    char pair[80];

    (void)state;
    memset(pair, 'K', 63);
    strcpy(pair + 63, "=1");
    answered(pair, "KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK", "NotUnderstood");
    memset(pair, 'K', 64);
    strcpy(pair + 64, "=1");
    refused(pair);
}

/* A standard-label begins with a capital letter, and goes on with letters, digits and ".-+@_#". */
static void test_a_key_is_a_standard_label(void **state)
{
    static const char *const good[] = { "A", "A1", "Abc.d-e+f@g_h", "X-com.example.thing" };
    static const char *const bad[] = { "a", "1A", "-A", "Ab c", "Ab,c", "Ab/c", "Ab:c", "A\x80", "X!y" };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        snprintf(pair, sizeof(pair), "%s=1", good[i]);
        answered(pair, good[i], "NotUnderstood");
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(pair, sizeof(pair), "%s=1", bad[i]);
        refused(pair);
    }
}

static void test_values_of_unknown_keys_may_have_any_length(void **state)
{
    static const unsigned lens[] = { 0, 1, 255, 256, 7000 };
    char pair[7100];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        strcpy(pair, "Xyz=");
        memset(pair + 4, 'v', lens[i]);
        pair[4 + lens[i]] = '\0';
        answered(pair, "Xyz", "NotUnderstood");
    }
}

/* 6.1: 255 bytes. One more is no value. */
static void test_values_of_known_keys_have_at_most_255_bytes(void **state)
{
    char pair[400];

    (void)state;
    strcpy(pair, "HeaderDigest=");
    while (strlen(pair) < 13 + 255 - 8)
        strcat(pair, "abcdefg,");
    strcat(pair, "None");
    answered(pair, "HeaderDigest", "None");
    strcpy(pair, "HeaderDigest=");
    while (strlen(pair) < 13 + 255)
        strcat(pair, "abcdefg,");
    strcat(pair, "None");
    answered(pair, "HeaderDigest", "Reject");
}

static void test_a_list_of_a_thousand_items_is_rejected(void **state)
{
    char pair[4096] = "HeaderDigest=a";

    (void)state;
    for (int i = 0; i < 1000; i++)
        strcat(pair, ",a");
    strcat(pair, ",None");
    answered(pair, "HeaderDigest", "Reject");
}

/* Thousands of short pairs that each want a longer answer. */
static void test_pairs_that_swell_the_answer_are_refused(void **state)
{
    char text[8192];
    const uint32_t names = keys_text(LOGIN_NAMES, text);
    uint32_t n = names;
    struct peer_end *p = peer_open(&bed);

    (void)state;
    while (n + 4 <= sizeof(text)) {
        memcpy(text + n, "A=b", 4);
        n += 4;
    }
    assert_int_equal(login_bytes(p, 1, 3, true, text, n), ISCSI_LOGIN_INITIATOR_ERROR);
    assert_int_equal(p->data_len, 0);
    peer_gone(p);
    n = names;                              /* as many as there is room for are answered */
    for (int i = 0; i < 400; i++, n += 4)
        memcpy(text + n, "A=b", 4);
    p = peer_open(&bed);
    assert_int_equal(login_bytes(p, 1, 3, true, text, n), ISCSI_LOGIN_OK);
    assert_true(p->data_len >= 400 * sizeof("A=NotUnderstood") && p->data_len <= 8192);
    peer_logout(p);
}

/* 6.2: a pair may be cut anywhere, C says that it goes on. */
static void test_a_text_may_be_cut_at_every_byte(void **state)
{
    char text[256];
    const uint32_t len = keys_text(LOGIN_NAMES "\nMaxBurstLength=1024", text);

    (void)state;
    for (uint32_t cut = 0; cut <= len; cut += cut < 20 || cut > len - 20 ? 1 : 7) {
        struct peer_end *p = peer_open(&bed);
        struct iscsi_pdu pdu = login_pdu(p, 1, 3, false);

        pdu.login.cont = true;
        pdu.data_len = cut;
        peer_send(p, &pdu, text);
        peer_expect(p, ISCSI_OP_LOGIN_RESP);
        assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OK);
        assert_int_equal(p->data_len, 0);
        assert_false(p->rsp.login.transit);
        assert_int_equal(login_bytes(p, 1, 3, true, text + cut, len - cut), ISCSI_LOGIN_OK);
        expect_answer(p, "MaxBurstLength", "1024");
        peer_logout(p);
    }
}

/* ---- names ----------------------------------------------------------------------------------------------- */

static int login_as(const char *initiator, const char *target)
{
    char text[1024];
    struct peer_end *p = peer_open(&bed);
    int status;

    snprintf(text, sizeof(text), "InitiatorName=%s\nTargetName=%s\nSessionType=Normal", initiator, target);
    status = login_step(p, 1, 3, true, text);
    if (status)
        peer_gone(p);
    else
        peer_logout(p);
    return status;
}

static void test_a_name_has_at_most_223_bytes(void **state)
{
    char name[300] = "iqn.2026-01.test:";

    (void)state;
    memset(name + strlen(name), 'n', 223 - strlen(name));
    name[223] = '\0';
    assert_int_equal(login_as(name, T_IQN), ISCSI_LOGIN_OK);
    strcpy(name + 223, "n");
    assert_int_equal(login_as(name, T_IQN), ISCSI_LOGIN_INITIATOR_ERROR);
    assert_int_equal(login_as(I_IQN, name), ISCSI_LOGIN_INITIATOR_ERROR);
}

/* RFC 3722: names compare without case. */
static void test_names_in_capitals_are_the_same_names(void **state)
{
    (void)state;
    assert_int_equal(login_as("IQN.2026-01.TEST:HOST", "IQN.2026-01.Test:Disk"), ISCSI_LOGIN_OK);
}

static void test_names_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "iqn",
        "iqn.",
        "iqn.2026-13.test:x",
        "iqn.2026-1.test:x",
        "eui.123",
        "eui.0123456789abcdeg",
        "naa.1",
        "iqn.2026-01.test:a b",
        "iqn.2026-01.test:\xc3\xa9",
        "iqn.2026-01.test:a/b",
        "../../etc/passwd",
        "iqn.2026-01.test:%n%n",
        "host",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const int status = login_as(bad[i], T_IQN);

        /* An empty name is a missing one. */
        if (status != ISCSI_LOGIN_INITIATOR_ERROR && status != ISCSI_LOGIN_MISSING_PARAMETER)
            fail_msg("\"%s\": %04x", bad[i], status);
        assert_int_not_equal(login_as(I_IQN, bad[i]), ISCSI_LOGIN_OK);
    }
}

static void test_names_of_every_kind_are_taken(void **state)
{
    static const char *const good[] = {
        "iqn.1987-05.com.cisco:01.abc", "eui.0123456789ABCDEF", "naa.52004567ba64678d",
        "naa.62004567ba64678d0123456789abcdef",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(login_as(good[i], T_IQN), ISCSI_LOGIN_OK);
}

/* ---- a key twice (6.3) ----------------------------------------------------------------------------------- */

static const char *const negotiated[][2] = {
    { "HeaderDigest", "None" },       { "DataDigest", "None" },       { "MaxConnections", "1" },
    { "InitialR2T", "Yes" },          { "ImmediateData", "Yes" },     { "MaxBurstLength", "8192" },
    { "FirstBurstLength", "4096" },   { "DefaultTime2Wait", "2" },    { "DefaultTime2Retain", "0" },
    { "MaxOutstandingR2T", "1" },     { "DataPDUInOrder", "Yes" },    { "DataSequenceInOrder", "Yes" },
    { "ErrorRecoveryLevel", "0" },    { "TaskReporting", "RFC3720" }, { "iSCSIProtocolLevel", "1" },
};

static void test_a_key_negotiated_twice_is_refused(void **state)
{
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(negotiated); i++) {
        const char *key = negotiated[i][0], *value = negotiated[i][1];
        struct peer_end *p = peer_open(&bed);

        snprintf(text, sizeof(text), "%s=%s\n%s=%s", key, value, key, value);
        refused(text);
        snprintf(text, sizeof(text), LOGIN_NAMES "\n%s=%s", key, value);     /* and over two requests */
        assert_int_equal(login_step(p, 1, 3, false, text), ISCSI_LOGIN_OK);
        expect_answer(p, key, value);
        snprintf(text, sizeof(text), "%s=%s", key, value);
        assert_int_equal(login_step(p, 1, 3, true, text), ISCSI_LOGIN_INITIATOR_ERROR);
        peer_gone(p);
    }
}

static void test_max_recv_data_segment_length_may_be_declared_again(void **state)
{
    struct peer_end *p =
        login_with("MaxRecvDataSegmentLength=1024\nMaxRecvDataSegmentLength=512", ISCSI_LOGIN_OK);
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    (void)state;
    peer_settle(p);
    cdb_rw10(cdb, false, 0, 2);
    pdu = cmd_pdu(p, cdb, 1024, true, false);
    peer_send(p, &pdu, NULL);
    for (unsigned i = 0; i < 2; i++) {
        peer_expect(p, ISCSI_OP_DATA_IN);
        assert_int_equal(p->data_len, 512);
    }
    peer_logout(p);
}

static void test_a_name_said_again_must_be_the_same(void **state)
{
    static const struct {
        const char *again;
        int status;
    } rows[] = {
        { "TargetName=" T_IQN, ISCSI_LOGIN_OK },
        { "InitiatorName=" I_IQN, ISCSI_LOGIN_OK },
        { "InitiatorName=IQN.2026-01.TEST:HOST\nSessionType=Normal", ISCSI_LOGIN_OK },
        { "TargetName=iqn.2026-01.test:other", ISCSI_LOGIN_INITIATOR_ERROR },
        { "InitiatorName=iqn.2026-01.test:other", ISCSI_LOGIN_INITIATOR_ERROR },
        { "SessionType=Discovery", ISCSI_LOGIN_INITIATOR_ERROR },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p = peer_open(&bed);

        assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
        assert_int_equal(login_step(p, 1, 3, true, rows[i].again), rows[i].status);
        if (rows[i].status)
            peer_gone(p);
        else
            peer_logout(p);
    }
}

/* ---- words, numbers, lists ------------------------------------------------------------------------------- */

/* They answer an offer; nothing can be offered with them. */
static void test_the_words_of_refusal_are_no_offers(void **state)
{
    static const char *const words[] = { "Reject", "NotUnderstood", "Irrelevant" };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(negotiated); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(words); k++) {
            snprintf(pair, sizeof(pair), "%s=%s", negotiated[i][0], words[k]);
            refused(pair);
        }
    }
}

static void test_numbers_are_read_as_the_rfc_writes_them(void **state)
{
    static const char *const rows[][2] = {
        { "1024", "1024" },
        { "0x400", "1024" },
        { "0X400", "1024" },
        { "0x0400", "1024" },
        { "16777215", NULL },
        { "0xffffff", NULL }, /* the target's own limit is below */
        { "", "Reject" },
        { "-1", "Reject" },
        { "+1024", "Reject" },
        { " 1024", "Reject" },
        { "1024 ", "Reject" },
        { "01024", "Reject" },
        { "1024.0", "Reject" },
        { "1k", "Reject" },
        { "0x", "Reject" },
        { "0xg", "Reject" },
        { "511", "Reject" },
        { "16777216", "Reject" },
        { "4294967808", "Reject" },
        { "0b1024", "Reject" },
        { "18446744073709552128", "Reject" },
        { "0x10000000000000400", "Reject" },
        { "None", "Reject" },
        { "99999999999999999999999999999999999999999", "Reject" },
    };
    char pair[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(pair, sizeof(pair), "MaxBurstLength=%s", rows[i][0]);
        answered(pair, "MaxBurstLength", rows[i][1] ? rows[i][1] : "1048576");
    }
}

static void test_booleans_are_yes_and_no(void **state)
{
    static const char *const keys[] = { "InitialR2T", "ImmediateData", "DataPDUInOrder",
                                        "DataSequenceInOrder" };
    static const char *const bad[] = { "yes", "YES", "no", "1", "0", "true", "", "Yes,No", "Yes " };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            snprintf(pair, sizeof(pair), "%s=%s", keys[i], bad[k]);
            answered(pair, keys[i], "Reject");
        }
    }
}

/* Each by its rule: OR or AND, and the target would have InitialR2T=No, ImmediateData=Yes and both in order. */
static void test_booleans_are_combined_by_the_rule_of_their_key(void **state)
{
    static const char *const rows[][3] = {
        { "InitialR2T", "Yes", "Yes" },       { "InitialR2T", "No", "No" },
        { "ImmediateData", "Yes", "Yes" },    { "ImmediateData", "No", "No" },
        { "DataPDUInOrder", "Yes", "Yes" },   { "DataPDUInOrder", "No", "Yes" },
        { "DataSequenceInOrder", "Yes", "Yes" }, { "DataSequenceInOrder", "No", "Yes" },
    };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(pair, sizeof(pair), "%s=%s", rows[i][0], rows[i][1]);
        answered(pair, rows[i][0], rows[i][2]);
    }
}

/* 13.x: each number at its limits and one past them. */
static void test_numbers_are_held_to_the_range_of_their_key(void **state)
{
    static const struct {
        const char *key;
        const char *low, *below, *high, *above;
        const char *low_answer, *high_answer;
    } rows[] = {
        { "MaxConnections", "1", "0", "65535", "65536", "1", "1" },
        { "MaxBurstLength", "512", "511", "16777215", "16777216", "512", "1048576" },
        { "FirstBurstLength", "512", "511", "16777215", "16777216", "512", "65536" },
        { "MaxOutstandingR2T", "1", "0", "65535", "65536", "1", "8" },
        { "DefaultTime2Wait", "0", "-1", "3600", "3601", "0", "3600" },
        { "DefaultTime2Retain", "0", "-1", "3600", "3601", "0", "0" },
        { "ErrorRecoveryLevel", "0", "-1", "2", "3", "0", "0" },
    };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const values[][2] = { { rows[i].low, rows[i].low_answer },
                                          { rows[i].high, rows[i].high_answer },
                                          { rows[i].below, "Reject" },
                                          { rows[i].above, "Reject" } };

        for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
            snprintf(pair, sizeof(pair), "%s=%s", rows[i].key, values[k][0]);
            answered(pair, rows[i].key, values[k][1]);
        }
    }
}

static void test_a_declared_segment_length_out_of_range_is_rejected(void **state)
{
    (void)state;
    answered("MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength", "Reject");
    answered("MaxRecvDataSegmentLength=16777216", "MaxRecvDataSegmentLength", "Reject");
}

/* 13.12: a declaration is not answered; the target declares its own once. */
static void test_each_side_declares_its_own_segment_length(void **state)
{
    struct peer_end *p = login_with("MaxRecvDataSegmentLength=4096", ISCSI_LOGIN_OK);
    uint32_t nr = 0;

    (void)state;
    expect_answer(p, "MaxRecvDataSegmentLength", "262144");
    for (uint32_t at = 0; at < p->data_len; at += (uint32_t)strlen((char *)p->data + at) + 1)
        nr += !strncmp((char *)p->data + at, "MaxRecvDataSegmentLength=", 25);
    assert_int_equal(nr, 1);
    peer_logout(p);
}

static void test_digest_lists_are_answered_with_their_first_known(void **state)
{
    static const char *const rows[][2] = {
        { "None", "None" }, { "CRC32C", "CRC32C" }, { "CRC32C,None", "CRC32C" }, { "None,CRC32C", "None" },
        { "SHA,CRC32C", "CRC32C" }, { "CRC32", "Reject" }, { "crc32c", "Reject" }, { "none", "Reject" },
        { ",,", "Reject" }, { "", "Reject" }, { "CRC32C ,None", "None" },
    };
    char pair[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p;

        snprintf(pair, sizeof(pair), "DataDigest=%s", rows[i][0]);
        p = login_with(pair, ISCSI_LOGIN_OK);
        expect_answer(p, "DataDigest", rows[i][1]);
        peer_logout(p);                     /* without data: no digest is due */
    }
}

/* 13.14: never above MaxBurstLength, whichever comes first. */
static void test_first_burst_is_never_above_max_burst(void **state)
{
    (void)state;
    answered("MaxBurstLength=1024\nFirstBurstLength=4096", "FirstBurstLength", "1024");
    {
        struct peer_end *p = login_with("FirstBurstLength=4096\nMaxBurstLength=1024", ISCSI_LOGIN_OK);
        json_t *list = bed_call(&bed, "session.list", NULL), *s = json_array_get(list, 0);

        assert_int_equal(json_integer_value(json_object_get(s, "FirstBurstLength")), 1024);
        assert_int_equal(json_integer_value(json_object_get(s, "MaxBurstLength")), 1024);
        json_decref(list);
        peer_logout(p);
    }
}

/* ---- keys with answers of their own ---------------------------------------------------------------------- */

/* 13.25: markers are gone, and never "NotUnderstood". */
static void test_markers_are_declined(void **state)
{
    (void)state;
    answered("IFMarker=No", "IFMarker", "No");
    answered("OFMarker=Yes", "OFMarker", "No");
    answered("IFMarkInt=1~100", "IFMarkInt", "Reject");
    answered("OFMarkInt=65535", "OFMarkInt", "Reject");
}

static void test_task_reporting_and_protocol_level_are_answered(void **state)
{
    (void)state;
    answered("TaskReporting=RFC3720,ResponseFence,FastAbort", "TaskReporting", "RFC3720");
    answered("TaskReporting=FastAbort", "TaskReporting", "Reject");
    answered("iSCSIProtocolLevel=1", "iSCSIProtocolLevel", "1");
    answered("iSCSIProtocolLevel=2", "iSCSIProtocolLevel", "1");
    answered("iSCSIProtocolLevel=0", "iSCSIProtocolLevel", "0");
    answered("iSCSIProtocolLevel=32", "iSCSIProtocolLevel", "Reject");
}

/* 6.1: X- keys and the like of private extensions are answered like any that is not known. */
static void test_private_keys_are_not_understood(void **state)
{
    (void)state;
    answered("X-com.example.speed=warp", "X-com.example.speed", "NotUnderstood");
    answered("X#com.example=1", "X#com.example", "NotUnderstood");
    answered("RDMAExtensions=Yes", "RDMAExtensions", "NotUnderstood");
    answered("TargetRecvDataSegmentLength=8192", "TargetRecvDataSegmentLength", "NotUnderstood");
}

static void test_send_targets_belongs_into_full_feature_phase(void **state)
{
    (void)state;
    answered("SendTargets=All", "SendTargets", "Reject");
}

/* 13.7, 13.8: aliases are declared; nobody answers. */
static void test_an_alias_is_not_answered(void **state)
{
    char pair[300] = "InitiatorAlias=";

    (void)state;
    answered("InitiatorAlias=<script>alert(1)</script>", "InitiatorAlias", NULL);
    memset(pair + strlen(pair), 0xc3, 255);
    answered(pair, "InitiatorAlias", NULL);
}

/* 13.9: in the first answer of a normal session, and in no other. */
static void test_the_portal_group_is_told_in_the_first_answer(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    expect_answer(p, "TargetPortalGroupTag", "1");
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    expect_answer(p, "TargetPortalGroupTag", NULL);
    peer_logout(p);
    p = peer_discovery(&bed);
    expect_answer(p, "TargetPortalGroupTag", NULL);
    peer_logout(p);
}

/* 13.x "Irrelevant when: SessionType=Discovery". */
static void test_keys_of_data_are_irrelevant_to_discovery(void **state)
{
    static const char *const rows[][3] = {
        { "MaxConnections", "1", "Irrelevant" },       { "InitialR2T", "Yes", "Irrelevant" },
        { "ImmediateData", "Yes", "Irrelevant" },      { "MaxBurstLength", "8192", "Irrelevant" },
        { "FirstBurstLength", "4096", "Irrelevant" },  { "MaxOutstandingR2T", "1", "Irrelevant" },
        { "DataPDUInOrder", "Yes", "Irrelevant" },     { "DataSequenceInOrder", "Yes", "Irrelevant" },
        { "DataSequenceInOrder", "No", "Irrelevant" }, { "TaskReporting", "RFC3720", "Irrelevant" },
        { "HeaderDigest", "None", "None" },            { "DataDigest", "None", "None" },
        { "DefaultTime2Wait", "2", "2" },              { "DefaultTime2Retain", "0", "0" },
        { "ErrorRecoveryLevel", "0", "0" },
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p = peer_open(&bed);

        snprintf(text, sizeof(text), "InitiatorName=" I_IQN "\nSessionType=Discovery\n%s=%s", rows[i][0],
                 rows[i][1]);
        assert_int_equal(login_step(p, 1, 3, true, text), ISCSI_LOGIN_OK);
        expect_answer(p, rows[i][0], rows[i][2]);
        peer_logout(p);
    }
}

/* 6.3.3 has them follow the security stage; some send one or two early, and are answered once and for all. */
static void test_operational_keys_in_the_security_stage_are_answered(void **state)
{
    struct peer_end *p = peer_open(&bed);

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None\nHeaderDigest=None"),
                     ISCSI_LOGIN_OK);
    expect_answer(p, "HeaderDigest", "None");
    expect_answer(p, "AuthMethod", "None");
    assert_int_equal(login_step(p, 1, 3, true, "MaxBurstLength=512"), ISCSI_LOGIN_OK);
    expect_answer(p, "MaxBurstLength", "512");
    peer_logout(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        CASE(test_a_pair_without_its_nul_is_refused),
        CASE(test_a_pair_without_equals_is_refused),
        CASE(test_a_pair_without_a_key_is_refused),
        CASE(test_more_nuls_between_pairs_are_harmless),
        CASE(test_a_key_has_at_most_63_characters),
        CASE(test_a_key_is_a_standard_label),
        CASE(test_values_of_unknown_keys_may_have_any_length),
        CASE(test_values_of_known_keys_have_at_most_255_bytes),
        CASE(test_a_list_of_a_thousand_items_is_rejected),
        CASE(test_pairs_that_swell_the_answer_are_refused),
        CASE(test_a_text_may_be_cut_at_every_byte),
        CASE(test_a_name_has_at_most_223_bytes),
        CASE(test_names_in_capitals_are_the_same_names),
        CASE(test_names_that_are_none_are_refused),
        CASE(test_names_of_every_kind_are_taken),
        CASE(test_a_key_negotiated_twice_is_refused),
        CASE(test_max_recv_data_segment_length_may_be_declared_again),
        CASE(test_a_name_said_again_must_be_the_same),
        CASE(test_the_words_of_refusal_are_no_offers),
        CASE(test_numbers_are_read_as_the_rfc_writes_them),
        CASE(test_booleans_are_yes_and_no),
        CASE(test_booleans_are_combined_by_the_rule_of_their_key),
        CASE(test_numbers_are_held_to_the_range_of_their_key),
        CASE(test_a_declared_segment_length_out_of_range_is_rejected),
        CASE(test_each_side_declares_its_own_segment_length),
        CASE(test_digest_lists_are_answered_with_their_first_known),
        CASE(test_first_burst_is_never_above_max_burst),
        CASE(test_markers_are_declined),
        CASE(test_task_reporting_and_protocol_level_are_answered),
        CASE(test_private_keys_are_not_understood),
        CASE(test_send_targets_belongs_into_full_feature_phase),
        CASE(test_an_alias_is_not_answered),
        CASE(test_the_portal_group_is_told_in_the_first_answer),
        CASE(test_keys_of_data_are_irrelevant_to_discovery),
        CASE(test_operational_keys_in_the_security_stage_are_answered),
    };

    return cmocka_run_group_tests(tests, up, down);
}
