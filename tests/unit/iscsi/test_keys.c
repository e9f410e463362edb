/*
 * test_keys.c - the negotiation: both roles against tables, and against each other
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/keys.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define TEXT_MAX 4096

static struct iscsi_params params(void)
{
    struct iscsi_params p;

    iscsi_params_default(&p);
    return p;
}

/* One side of a negotiation with its text. */
struct side {
    struct iscsi_params offer;
    struct iscsi_negotiation n;
    struct iscsi_text out;
    char buf[TEXT_MAX];
};

static void side_init(struct side *s, enum iscsi_role role, bool discovery)
{
    iscsi_negotiation_init(&s->n, role, discovery, &s->offer);
    iscsi_text_init(&s->out, s->buf, sizeof(s->buf));
}

static enum iscsi_key_result take(struct side *s, const char *key, const char *value)
{
    return iscsi_negotiation_take(&s->n, key, value, &s->out);
}

/* The value that @t gives @key; NULL when it is not there. */
static const char *said(const struct iscsi_text *t, const char *key)
{
    const size_t n = strlen(key);

    for (uint32_t at = 0; at < t->len; at += (uint32_t)strlen(t->buf + at) + 1)
        if (!strncmp(t->buf + at, key, n) && t->buf[at + n] == '=')
            return t->buf + at + n + 1;
    return NULL;
}

/* Feeds what @from said to @to, which answers. */
static enum iscsi_key_result hear(struct side *to, struct side *from)
{
    enum iscsi_key_result worst = ISCSI_KEY_OK;
    char *key, *value;
    uint32_t pos = 0;

    iscsi_text_init(&to->out, to->buf, sizeof(to->buf));
    while (iscsi_text_next(from->buf, from->out.len, &pos, &key, &value) == 1) {
        const enum iscsi_key_result r = take(to, key, value);

        if (r != ISCSI_KEY_OK)
            worst = r;
    }
    return worst;
}

/* ---- defaults ------------------------------------------------------------------------------------------ */

static void test_defaults_are_the_rfcs(void **state)
{
    const struct iscsi_params p = params();

    (void)state;
    assert_int_equal(p.header_digest, 0);
    assert_int_equal(p.data_digest, 0);
    assert_int_equal(p.connections_max, 1);
    assert_int_equal(p.initial_r2t, 1);
    assert_int_equal(p.immediate_data, 1);
    assert_int_equal(p.recv_data_max, 8192);
    assert_int_equal(p.peer_recv_data_max, 8192);
    assert_int_equal(p.burst_max, 262144);
    assert_int_equal(p.first_burst_max, 65536);
    assert_int_equal(p.time2wait_s, 2);
    assert_int_equal(p.time2retain_s, 20);
    assert_int_equal(p.r2t_max, 1);
    assert_int_equal(p.pdu_in_order, 1);
    assert_int_equal(p.seq_in_order, 1);
    assert_int_equal(p.erl, 0);
}

/* ---- the target's answers ------------------------------------------------------------------------------ */

/* What a target that wants `own` answers to `value`; NULL answer: none. */
struct answer_case {
    const char *key, *value;
    const char *answer;
    enum iscsi_key_result result;
};

static void check_answers(const struct iscsi_params *own, bool discovery, bool leading,
                          const struct answer_case *cases, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        struct side t = { .offer = *own };
        enum iscsi_key_result r;
        const char *answer;

        side_init(&t, ISCSI_TARGET, discovery);
        t.n.leading = leading;
        r = take(&t, cases[i].key, cases[i].value);
        answer = said(&t.out, cases[i].key);
        if (r != cases[i].result || !answer != !cases[i].answer ||
            (answer && strcmp(answer, cases[i].answer) != 0))
            fail_msg("%s=%.40s: result %d, answer %s", cases[i].key, cases[i].value, r, answer ? answer : "-");
    }
}

static void test_target_answers_by_each_keys_rule(void **state)
{
    static const struct answer_case cases[] = {
        { "InitialR2T", "Yes", "Yes", ISCSI_KEY_OK },           /* decided by the offer, still answered */
        { "InitialR2T", "No", "No", ISCSI_KEY_OK },
        { "ImmediateData", "Yes", "No", ISCSI_KEY_OK },
        { "ImmediateData", "No", "No", ISCSI_KEY_OK },
        { "DataPDUInOrder", "No", "Yes", ISCSI_KEY_OK },
        { "DataSequenceInOrder", "Yes", "Yes", ISCSI_KEY_OK },
        { "MaxConnections", "8", "1", ISCSI_KEY_OK },
        { "MaxConnections", "65535", "1", ISCSI_KEY_OK },
        { "MaxBurstLength", "512", "512", ISCSI_KEY_OK },
        { "MaxBurstLength", "16777215", "131072", ISCSI_KEY_OK },
        { "MaxBurstLength", "0x10000", "65536", ISCSI_KEY_OK },
        { "FirstBurstLength", "16777215", "65536", ISCSI_KEY_OK },
        { "FirstBurstLength", "4096", "4096", ISCSI_KEY_OK },
        { "DefaultTime2Wait", "0", "2", ISCSI_KEY_OK },
        { "DefaultTime2Wait", "3600", "3600", ISCSI_KEY_OK },
        { "DefaultTime2Retain", "0", "0", ISCSI_KEY_OK },
        { "DefaultTime2Retain", "3600", "20", ISCSI_KEY_OK },
        { "MaxOutstandingR2T", "65535", "16", ISCSI_KEY_OK },
        { "ErrorRecoveryLevel", "2", "0", ISCSI_KEY_OK },
        { "MaxRecvDataSegmentLength", "512", NULL, ISCSI_KEY_OK },      /* declared, not answered */
        { "MaxRecvDataSegmentLength", "16777215", NULL, ISCSI_KEY_OK },
    };
    struct iscsi_params own = params();

    (void)state;
    own.initial_r2t = 0;
    own.immediate_data = 0;
    own.burst_max = 131072;
    own.r2t_max = 16;
    check_answers(&own, false, true, cases, ARRAY_SIZE(cases));
}

static void test_target_rejects_values_outside_a_keys_rule(void **state)
{
    static const char *const bools[] = { "InitialR2T", "ImmediateData", "DataPDUInOrder",
                                         "DataSequenceInOrder" };
    static const char *const bad_bools[] = { "", "yes", "NO", "True", "1", "Yes,No", "Yes ", " Yes", "?" };
    static const struct {
        const char *key;
        const char *below, *above;
    } nums[] = {
        { "MaxConnections", "0", "65536" },
        { "MaxBurstLength", "511", "16777216" },
        { "FirstBurstLength", "511", "16777216" },
        { "MaxRecvDataSegmentLength", "511", "16777216" },
        { "DefaultTime2Wait", "-1", "3601" },
        { "DefaultTime2Retain", "-1", "3601" },
        { "MaxOutstandingR2T", "0", "65536" },
        { "ErrorRecoveryLevel", "-1", "3" },
        { "iSCSIProtocolLevel", "-1", "32" },
    };
    static const char *const bad_nums[] = { "", "x", "-1", "1.5", "0x", "010", "4294967296",
                                            "18446744073709551616", "4294968320", "1,2", "Yes" };
    const struct iscsi_params own = params();
    struct answer_case c = { .answer = "Reject", .result = ISCSI_KEY_REJECTED };

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(bools); k++)
        for (size_t v = 0; v < ARRAY_SIZE(bad_bools); v++) {
            c.key = bools[k], c.value = bad_bools[v];
            check_answers(&own, false, true, &c, 1);
        }
    for (size_t k = 0; k < ARRAY_SIZE(nums); k++) {
        c.key = nums[k].key, c.value = nums[k].below;
        check_answers(&own, false, true, &c, 1);
        c.value = nums[k].above;
        check_answers(&own, false, true, &c, 1);
        for (size_t v = 0; v < ARRAY_SIZE(bad_nums); v++) {
            c.value = bad_nums[v];
            check_answers(&own, false, true, &c, 1);
        }
    }
}

/* A rejected key leaves its value alone. */
static void test_a_rejected_key_keeps_its_default(void **state)
{
    struct side t = { .offer = params() };

    (void)state;
    side_init(&t, ISCSI_TARGET, false);
    t.offer.burst_max = 1024;
    assert_int_equal(take(&t, "MaxBurstLength", "1"), ISCSI_KEY_REJECTED);
    assert_int_equal(take(&t, "MaxRecvDataSegmentLength", "1"), ISCSI_KEY_REJECTED);
    assert_int_equal(t.n.result.burst_max, 262144);
    assert_int_equal(t.n.result.peer_recv_data_max, 8192);
}

static void test_target_takes_the_first_digest_of_the_list_it_accepts(void **state)
{
    static const struct {
        enum iscsi_digest_pref own;
        const char *offer, *answer;
    } cases[] = {
        { ISCSI_DIGEST_NONE, "None", "None" },
        { ISCSI_DIGEST_NONE, "CRC32C,None", "None" },
        { ISCSI_DIGEST_NONE, "CRC32C", "Reject" },
        { ISCSI_DIGEST_NONE_CRC32C, "CRC32C,None", "CRC32C" },      /* the offerer's order counts, 6.2.1 */
        { ISCSI_DIGEST_NONE_CRC32C, "None,CRC32C", "None" },
        { ISCSI_DIGEST_CRC32C_NONE, "None,CRC32C", "None" },
        { ISCSI_DIGEST_CRC32C_NONE, "CRC32C", "CRC32C" },
        { ISCSI_DIGEST_CRC32C, "None,CRC32C", "CRC32C" },
        { ISCSI_DIGEST_CRC32C, "None", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, "Z-com.example.xx,CRC64,CRC32C", "CRC32C" },
        { ISCSI_DIGEST_CRC32C_NONE, "crc32c,none", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, "CRC32", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, "CRC32CX", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, "", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, ",,,", "Reject" },
        { ISCSI_DIGEST_CRC32C_NONE, ",,None", "None" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (int data = 0; data < 2; data++) {
            const char *const key = data ? "DataDigest" : "HeaderDigest";
            struct side t = { .offer = params() };
            const bool reject = !strcmp(cases[i].answer, "Reject");

            t.offer.header_digest_pref = t.offer.data_digest_pref = cases[i].own;
            side_init(&t, ISCSI_TARGET, false);
            assert_int_equal(take(&t, key, cases[i].offer), reject ? ISCSI_KEY_REJECTED : ISCSI_KEY_OK);
            assert_string_equal(said(&t.out, key), cases[i].answer);
            assert_int_equal(data ? t.n.result.data_digest : t.n.result.header_digest,
                             !strcmp(cases[i].answer, "CRC32C"));
        }
}

static void test_values_over_255_bytes_are_rejected(void **state)
{
    const struct iscsi_params own = params();
    char value[8192] = "";
    struct answer_case c[] = { { "HeaderDigest", value, "Reject", ISCSI_KEY_REJECTED },
                               { "TaskReporting", value, "Reject", ISCSI_KEY_REJECTED } };

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    check_answers(&own, false, true, c, 2);
    for (size_t i = 0; i + 2 < sizeof(value); i += 2)      /* a list of thousands of items, a good one first */
        memcpy(value + i, i ? "N," : "e,", 2);
    memcpy(value, "None,", 5);
    value[sizeof(value) - 1] = '\0';
    check_answers(&own, false, true, c, 1);
    value[255] = '\0';
    c[0].answer = "None", c[0].result = ISCSI_KEY_OK;
    check_answers(&own, false, true, c, 1);
    value[255] = 'x', value[256] = '\0';
    c[0].answer = "Reject", c[0].result = ISCSI_KEY_REJECTED;
    check_answers(&own, false, true, c, 1);
}

static void test_keys_of_rfc_3720_and_later_levels_have_their_answers(void **state)
{
    static const struct answer_case cases[] = {
        { "IFMarker", "Yes", "No", ISCSI_KEY_OK },
        { "OFMarker", "No", "No", ISCSI_KEY_OK },
        { "IFMarkInt", "2048~65535", "Reject", ISCSI_KEY_OK },
        { "OFMarkInt", "2048", "Reject", ISCSI_KEY_OK },
        { "TaskReporting", "FastAbort,ResponseFence,RFC3720", "RFC3720", ISCSI_KEY_OK },
        { "TaskReporting", "RFC3720", "RFC3720", ISCSI_KEY_OK },
        { "TaskReporting", "FastAbort", "Reject", ISCSI_KEY_REJECTED },
        { "iSCSIProtocolLevel", "2", "1", ISCSI_KEY_OK },
        { "iSCSIProtocolLevel", "1", "1", ISCSI_KEY_OK },
        { "iSCSIProtocolLevel", "0", "0", ISCSI_KEY_OK },
        { "iSCSIProtocolLevel", "31", "1", ISCSI_KEY_OK },
    };
    const struct iscsi_params own = params();

    (void)state;
    check_answers(&own, false, true, cases, ARRAY_SIZE(cases));
}

static void test_keys_that_name_things_are_the_callers(void **state)
{
    static const char *const keys[] = {
        "InitiatorName", "InitiatorAlias", "TargetName", "TargetAlias", "TargetAddress", "SessionType",
        "TargetPortalGroupTag", "AuthMethod", "SendTargets", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R",
        "X-com.example.thing", "X#Thing", "RDMAExtensions", "initialR2T", "InitialR2", "InitialR2TT", "",
    };
    struct side t = { .offer = params() };

    (void)state;
    side_init(&t, ISCSI_TARGET, false);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        for (int again = 0; again < 2; again++)
            assert_int_equal(take(&t, keys[i], "Yes"), ISCSI_KEY_NOT_OURS);
    assert_int_equal(t.out.len, 0);
}

static const char *const all_keys[] = {
    "HeaderDigest", "DataDigest", "MaxConnections", "InitialR2T", "ImmediateData", "MaxRecvDataSegmentLength",
    "MaxBurstLength", "FirstBurstLength", "DefaultTime2Wait", "DefaultTime2Retain", "MaxOutstandingR2T",
    "DataPDUInOrder", "DataSequenceInOrder", "ErrorRecoveryLevel", "IFMarker", "OFMarker", "IFMarkInt",
    "OFMarkInt", "TaskReporting", "iSCSIProtocolLevel",
};

/* The three words are answers; as an offer they break 6.2, whatever the key and the role. */
static void test_reserved_words_cannot_be_offered(void **state)
{
    static const char *const words[] = { "Reject", "NotUnderstood", "Irrelevant" };

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(all_keys); k++)
        for (size_t w = 0; w < ARRAY_SIZE(words); w++)
            for (int role = ISCSI_INITIATOR; role <= ISCSI_TARGET; role++)
                for (int discovery = 0; discovery < 2; discovery++) {
                    struct side s = { .offer = params() };

                    side_init(&s, (enum iscsi_role)role, discovery);
                    assert_int_equal(take(&s, all_keys[k], words[w]), ISCSI_KEY_BAD_ANSWER);
                    assert_int_equal(s.out.len, 0);
                }
}

/* A second time ends the login (6.3), even with the same value and after a Reject. Only the declaration of a
 * segment length may be repeated. */
static void test_a_key_is_negotiated_once(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(all_keys); k++)
        for (int good = 0; good < 2; good++) {
            struct side t = { .offer = params() };
            const bool declared = !strcmp(all_keys[k], "MaxRecvDataSegmentLength");
            const char *const value = !good ? "rubbish" : declared ? "8192" : "None";

            side_init(&t, ISCSI_TARGET, false);
            take(&t, all_keys[k], value);
            if (declared)
                assert_int_not_equal(take(&t, all_keys[k], value), ISCSI_KEY_AGAIN);
            else
                assert_int_equal(take(&t, all_keys[k], value), ISCSI_KEY_AGAIN);
        }
}

static void test_the_last_declaration_holds(void **state)
{
    struct side t = { .offer = params() };

    (void)state;
    side_init(&t, ISCSI_TARGET, false);
    assert_int_equal(take(&t, "MaxRecvDataSegmentLength", "65536"), ISCSI_KEY_OK);
    assert_int_equal(take(&t, "MaxRecvDataSegmentLength", "4096"), ISCSI_KEY_OK);
    assert_int_equal(t.n.result.peer_recv_data_max, 4096);
    assert_int_equal(t.n.result.recv_data_max, 8192);
}

static void test_discovery_answers_irrelevant_where_the_rfc_says_so(void **state)
{
    static const struct answer_case cases[] = {
        { "MaxConnections", "1", "Irrelevant", ISCSI_KEY_OK },
        { "InitialR2T", "rubbish", "Irrelevant", ISCSI_KEY_OK },
        { "ImmediateData", "Yes", "Irrelevant", ISCSI_KEY_OK },
        { "MaxBurstLength", "262144", "Irrelevant", ISCSI_KEY_OK },
        { "FirstBurstLength", "65536", "Irrelevant", ISCSI_KEY_OK },
        { "MaxOutstandingR2T", "1", "Irrelevant", ISCSI_KEY_OK },
        { "DataPDUInOrder", "Yes", "Irrelevant", ISCSI_KEY_OK },
        { "DataSequenceInOrder", "Yes", "Irrelevant", ISCSI_KEY_OK },
        { "TaskReporting", "RFC3720", "Irrelevant", ISCSI_KEY_OK },
        { "iSCSIProtocolLevel", "2", "Irrelevant", ISCSI_KEY_OK },
        { "HeaderDigest", "None", "None", ISCSI_KEY_OK },
        { "DefaultTime2Wait", "0", "2", ISCSI_KEY_OK },
        { "DefaultTime2Retain", "0", "0", ISCSI_KEY_OK },
        { "ErrorRecoveryLevel", "0", "0", ISCSI_KEY_OK },
        { "MaxRecvDataSegmentLength", "32768", NULL, ISCSI_KEY_OK },
    };
    struct iscsi_params own = params();

    (void)state;
    own.header_digest_pref = ISCSI_DIGEST_CRC32C;       /* demanded for data; discovery carries none */
    check_answers(&own, true, true, cases, ARRAY_SIZE(cases));
}

static void test_session_wide_keys_belong_to_the_leading_connection(void **state)
{
    static const struct answer_case cases[] = {
        { "MaxConnections", "1", "Reject", ISCSI_KEY_REJECTED },
        { "InitialR2T", "Yes", "Reject", ISCSI_KEY_REJECTED },
        { "MaxBurstLength", "512", "Reject", ISCSI_KEY_REJECTED },
        { "ErrorRecoveryLevel", "0", "Reject", ISCSI_KEY_REJECTED },
        { "DefaultTime2Wait", "2", "Reject", ISCSI_KEY_REJECTED },
        { "HeaderDigest", "None", "None", ISCSI_KEY_OK },
        { "MaxRecvDataSegmentLength", "512", NULL, ISCSI_KEY_OK },
    };
    const struct iscsi_params own = params();
    struct side i = { .offer = params() };

    (void)state;
    check_answers(&own, false, false, cases, ARRAY_SIZE(cases));
    side_init(&i, ISCSI_INITIATOR, false);
    i.n.leading = false;
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_non_null(said(&i.out, "HeaderDigest"));
    assert_non_null(said(&i.out, "MaxRecvDataSegmentLength"));
    assert_null(said(&i.out, "MaxConnections"));
    assert_null(said(&i.out, "ErrorRecoveryLevel"));
}

/* ---- the initiator's offers and what may answer them --------------------------------------------------- */

static void test_initiator_offers_every_key_once(void **state)
{
    struct side i = { .offer = params() };

    (void)state;
    i.offer.recv_data_max = 262144;
    i.offer.header_digest_pref = ISCSI_DIGEST_CRC32C_NONE;
    side_init(&i, ISCSI_INITIATOR, false);
    assert_int_equal(i.n.result.recv_data_max, 8192);
    iscsi_negotiation_offer(&i.n, &i.out);
    for (size_t k = 0; k < 14; k++)
        assert_non_null(said(&i.out, all_keys[k]));
    assert_string_equal(said(&i.out, "HeaderDigest"), "CRC32C,None");
    assert_string_equal(said(&i.out, "DataDigest"), "None");
    assert_int_equal(i.n.result.recv_data_max, 262144);
    assert_false(iscsi_negotiation_done(&i.n));
    iscsi_text_init(&i.out, i.buf, sizeof(i.buf));
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_int_equal(i.out.len, 0);
}

static void test_initiator_offers_only_what_discovery_has(void **state)
{
    struct side i = { .offer = params() };
    unsigned pairs = 0;

    (void)state;
    side_init(&i, ISCSI_INITIATOR, true);
    iscsi_negotiation_offer(&i.n, &i.out);
    for (uint32_t at = 0; at < i.out.len; at += (uint32_t)strlen(i.buf + at) + 1)
        pairs++;
    assert_int_equal(pairs, 6);
    assert_non_null(said(&i.out, "MaxRecvDataSegmentLength"));
    assert_null(said(&i.out, "MaxBurstLength"));
}

/* Whatever was configured, what is offered is inside the RFC's limits. */
static void test_offers_are_kept_inside_the_limits(void **state)
{
    struct side i = { .offer = params() };

    (void)state;
    i.offer.burst_max = 4096;
    i.offer.first_burst_max = 65536;
    i.offer.recv_data_max = 0;
    i.offer.connections_max = 1000000;
    side_init(&i, ISCSI_INITIATOR, false);
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_string_equal(said(&i.out, "FirstBurstLength"), "4096");
    assert_string_equal(said(&i.out, "MaxRecvDataSegmentLength"), "512");
    assert_string_equal(said(&i.out, "MaxConnections"), "65535");
}

static void test_an_offer_that_does_not_fit_is_not_sent(void **state)
{
    struct side i = { .offer = params() };

    (void)state;
    for (uint32_t size = 0; size < 350; size++) {
        char *buf = test_malloc(size + 1);

        side_init(&i, ISCSI_INITIATOR, false);
        iscsi_text_init(&i.out, buf, size);
        iscsi_negotiation_offer(&i.n, &i.out);
        for (size_t k = 0; k < 14; k++)
            assert_int_equal(said(&i.out, all_keys[k]) != NULL, i.n.sent >> k & 1);
        test_free(buf);
    }
}

static void test_initiator_judges_answers_by_its_offer(void **state)
{
    static const struct {
        const char *key, *value;
        enum iscsi_key_result want;
    } cases[] = {
        /* offered: InitialR2T No, bursts 65536 and 16384, wait 5, retain 10, 4 R2Ts, digest CRC32C,None */
        { "InitialR2T", "Yes", ISCSI_KEY_OK },
        { "InitialR2T", "No", ISCSI_KEY_OK },
        { "InitialR2T", "Maybe", ISCSI_KEY_BAD_ANSWER },
        { "ImmediateData", "No", ISCSI_KEY_OK },
        { "ImmediateData", "Yes", ISCSI_KEY_OK },
        { "DataPDUInOrder", "Yes", ISCSI_KEY_OK },
        { "DataPDUInOrder", "No", ISCSI_KEY_BAD_ANSWER },       /* Yes was offered, and OR cannot undo it */
        { "MaxBurstLength", "65536", ISCSI_KEY_OK },
        { "MaxBurstLength", "512", ISCSI_KEY_OK },
        { "MaxBurstLength", "65537", ISCSI_KEY_BAD_ANSWER },
        { "MaxBurstLength", "511", ISCSI_KEY_BAD_ANSWER },
        { "FirstBurstLength", "16384", ISCSI_KEY_OK },
        { "FirstBurstLength", "16385", ISCSI_KEY_BAD_ANSWER },
        { "DefaultTime2Wait", "5", ISCSI_KEY_OK },
        { "DefaultTime2Wait", "6", ISCSI_KEY_OK },
        { "DefaultTime2Wait", "4", ISCSI_KEY_BAD_ANSWER },
        { "DefaultTime2Wait", "3601", ISCSI_KEY_BAD_ANSWER },
        { "DefaultTime2Retain", "10", ISCSI_KEY_OK },
        { "DefaultTime2Retain", "0", ISCSI_KEY_OK },
        { "DefaultTime2Retain", "11", ISCSI_KEY_BAD_ANSWER },
        { "MaxOutstandingR2T", "4", ISCSI_KEY_OK },
        { "MaxOutstandingR2T", "5", ISCSI_KEY_BAD_ANSWER },
        { "MaxOutstandingR2T", "0", ISCSI_KEY_BAD_ANSWER },
        { "MaxConnections", "1", ISCSI_KEY_OK },
        { "MaxConnections", "2", ISCSI_KEY_BAD_ANSWER },
        { "ErrorRecoveryLevel", "0", ISCSI_KEY_OK },
        { "ErrorRecoveryLevel", "1", ISCSI_KEY_BAD_ANSWER },
        { "HeaderDigest", "CRC32C", ISCSI_KEY_OK },
        { "HeaderDigest", "None", ISCSI_KEY_OK },
        { "HeaderDigest", "CRC32C,None", ISCSI_KEY_BAD_ANSWER },        /* an answer is one value */
        { "HeaderDigest", "CRC64", ISCSI_KEY_BAD_ANSWER },
        { "HeaderDigest", "", ISCSI_KEY_BAD_ANSWER },
        { "DataDigest", "CRC32C", ISCSI_KEY_BAD_ANSWER },       /* only None was offered */
        { "HeaderDigest", "Reject", ISCSI_KEY_BAD_ANSWER },
        { "MaxBurstLength", "Reject", ISCSI_KEY_BAD_ANSWER },
        { "MaxRecvDataSegmentLength", "Reject", ISCSI_KEY_BAD_ANSWER },
        { "MaxBurstLength", "NotUnderstood", ISCSI_KEY_OK },
        { "MaxRecvDataSegmentLength", "NotUnderstood", ISCSI_KEY_OK },
        { "FirstBurstLength", "Irrelevant", ISCSI_KEY_OK },
        { "HeaderDigest", "NotUnderstood", ISCSI_KEY_OK },
        { "MaxRecvDataSegmentLength", "65536", ISCSI_KEY_OK },  /* no answer: the target's own declaration */
        { "MaxRecvDataSegmentLength", "0", ISCSI_KEY_REJECTED },
    };
    struct iscsi_params own = params();

    (void)state;
    own.initial_r2t = 0;
    own.burst_max = 65536;
    own.first_burst_max = 16384;
    own.time2wait_s = 5;
    own.time2retain_s = 10;
    own.r2t_max = 4;
    own.header_digest_pref = ISCSI_DIGEST_CRC32C_NONE;
    for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
        struct side i = { .offer = own };
        enum iscsi_key_result r;

        side_init(&i, ISCSI_INITIATOR, false);
        iscsi_negotiation_offer(&i.n, &i.out);
        r = take(&i, cases[c].key, cases[c].value);
        if (r != cases[c].want)
            fail_msg("%s=%s: %d", cases[c].key, cases[c].value, r);
    }
}

/* 6.2.2: the value that decides a boolean need not be answered, every other offer must be. */
static void test_done_when_every_offer_that_needs_it_is_answered(void **state)
{
    static const char *const answers[][2] = {
        { "HeaderDigest", "None" }, { "DataDigest", "None" }, { "MaxConnections", "1" },
        { "ImmediateData", "Yes" }, { "MaxBurstLength", "262144" }, { "FirstBurstLength", "65536" },
        { "DefaultTime2Wait", "2" },
        { "DefaultTime2Retain", "20" }, { "MaxOutstandingR2T", "1" }, { "ErrorRecoveryLevel", "0" },
    };
    struct side i = { .offer = params() };

    (void)state;
    side_init(&i, ISCSI_INITIATOR, false);
    iscsi_negotiation_offer(&i.n, &i.out);
    for (size_t a = 0; a < ARRAY_SIZE(answers); a++) {
        assert_false(iscsi_negotiation_done(&i.n));
        assert_int_equal(take(&i, answers[a][0], answers[a][1]), ISCSI_KEY_OK);
    }
    assert_true(iscsi_negotiation_done(&i.n));
    assert_int_equal(take(&i, "InitialR2T", "Yes"), ISCSI_KEY_OK);      /* answered all the same: fine, once */
    assert_int_equal(take(&i, "InitialR2T", "Yes"), ISCSI_KEY_AGAIN);
}

/* A target that leaves keys out: what both ends can live with, never more than either side said. */
static void test_unanswered_offers_settle_on_the_safe_side(void **state)
{
    struct side i = { .offer = params() };

    (void)state;
    i.offer.initial_r2t = 0;
    i.offer.immediate_data = 0;
    i.offer.burst_max = 16776192;
    i.offer.first_burst_max = 4096;
    i.offer.time2wait_s = 5;
    i.offer.time2retain_s = 0;
    i.offer.r2t_max = 8;
    side_init(&i, ISCSI_INITIATOR, false);
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_int_equal(i.n.result.immediate_data, 0);
    assert_int_equal(iscsi_negotiation_finish(&i.n), 0);
    assert_int_equal(i.n.result.initial_r2t, 1);
    assert_int_equal(i.n.result.immediate_data, 0);
    assert_int_equal(i.n.result.burst_max, 262144);
    assert_int_equal(i.n.result.first_burst_max, 4096);
    assert_int_equal(i.n.result.time2wait_s, 5);
    assert_int_equal(i.n.result.time2retain_s, 0);
    assert_int_equal(i.n.result.r2t_max, 1);
}

/* A digest that the user insists on is never lost in silence. */
static void test_a_demanded_digest_is_had_or_the_login_fails(void **state)
{
    static const char *const dodges[] = { "None", "NotUnderstood", "Irrelevant", "Reject", NULL };
    struct side i = { .offer = params() }, t = { .offer = params() };

    (void)state;
    i.offer.data_digest_pref = t.offer.header_digest_pref = ISCSI_DIGEST_CRC32C;
    for (size_t d = 0; d < ARRAY_SIZE(dodges); d++) {
        side_init(&i, ISCSI_INITIATOR, false);
        iscsi_negotiation_offer(&i.n, &i.out);
        if (dodges[d])
            assert_int_equal(take(&i, "DataDigest", dodges[d]), ISCSI_KEY_BAD_ANSWER);
        assert_int_equal(iscsi_negotiation_finish(&i.n), -EPROTO);
    }
    side_init(&i, ISCSI_INITIATOR, false);
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_int_equal(take(&i, "DataDigest", "CRC32C"), ISCSI_KEY_OK);
    assert_int_equal(iscsi_negotiation_finish(&i.n), 0);
    assert_int_equal(i.n.result.data_digest, 1);

    side_init(&t, ISCSI_TARGET, false);
    assert_int_equal(iscsi_negotiation_finish(&t.n), -EPROTO);      /* the initiator never spoke of it */
    side_init(&t, ISCSI_TARGET, true);
    assert_int_equal(iscsi_negotiation_finish(&t.n), 0);            /* discovery */
}

/* Targets may propose, too: the initiator answers as a target would. */
static void test_initiator_answers_a_key_the_target_proposes(void **state)
{
    struct side i = { .offer = params() };

    (void)state;
    side_init(&i, ISCSI_INITIATOR, false);
    assert_int_equal(take(&i, "ErrorRecoveryLevel", "2"), ISCSI_KEY_OK);
    assert_string_equal(said(&i.out, "ErrorRecoveryLevel"), "0");
    iscsi_text_init(&i.out, i.buf, sizeof(i.buf));
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_null(said(&i.out, "ErrorRecoveryLevel"));
    side_init(&i, ISCSI_INITIATOR, true);
    assert_int_equal(take(&i, "MaxConnections", "1"), ISCSI_KEY_OK);
    assert_string_equal(said(&i.out, "MaxConnections"), "Irrelevant");
}

static void test_first_burst_never_exceeds_max_burst(void **state)
{
    struct side t = { .offer = params() }, i = { .offer = params() };

    (void)state;
    t.offer.burst_max = t.offer.first_burst_max = 1 << 20;
    side_init(&t, ISCSI_TARGET, false);
    assert_int_equal(take(&t, "MaxBurstLength", "8192"), ISCSI_KEY_OK);
    assert_int_equal(take(&t, "FirstBurstLength", "65536"), ISCSI_KEY_OK);
    assert_string_equal(said(&t.out, "FirstBurstLength"), "8192");

    side_init(&t, ISCSI_TARGET, false);             /* the other order: mended at the end, as the peer must */
    assert_int_equal(take(&t, "FirstBurstLength", "65536"), ISCSI_KEY_OK);
    assert_int_equal(take(&t, "MaxBurstLength", "8192"), ISCSI_KEY_OK);
    assert_int_equal(iscsi_negotiation_finish(&t.n), 0);
    assert_int_equal(t.n.result.first_burst_max, 8192);

    side_init(&i, ISCSI_INITIATOR, false);          /* each answer legal, together not */
    iscsi_negotiation_offer(&i.n, &i.out);
    assert_int_equal(take(&i, "MaxBurstLength", "4096"), ISCSI_KEY_OK);
    assert_int_equal(take(&i, "FirstBurstLength", "65536"), ISCSI_KEY_OK);
    assert_int_equal(iscsi_negotiation_finish(&i.n), 0);
    assert_int_equal(i.n.result.first_burst_max, 4096);
}

/* ---- both ends ----------------------------------------------------------------------------------------- */

/* Runs a whole negotiation. False when it fails; else both ends must have agreed on the same. */
static bool agree(struct side *i, struct side *t, bool discovery)
{
    side_init(i, ISCSI_INITIATOR, discovery);
    side_init(t, ISCSI_TARGET, discovery);
    iscsi_negotiation_offer(&i->n, &i->out);
    assert_false(i->out.overflow);
    if (hear(t, i) != ISCSI_KEY_OK)
        return false;
    iscsi_negotiation_offer(&t->n, &t->out);
    assert_non_null(said(&t->out, "MaxRecvDataSegmentLength"));
    if (hear(i, t) != ISCSI_KEY_OK)
        return false;
    assert_int_equal(i->out.len, 0);
    assert_true(iscsi_negotiation_done(&i->n));
    assert_true(iscsi_negotiation_done(&t->n));
    assert_int_equal(iscsi_negotiation_finish(&i->n), 0);
    assert_int_equal(iscsi_negotiation_finish(&t->n), 0);
    assert_int_equal(i->n.result.recv_data_max, t->n.result.peer_recv_data_max);
    assert_int_equal(t->n.result.recv_data_max, i->n.result.peer_recv_data_max);
#define X(key, field, kind, def, lo, hi, rule) \
    if (strcmp(#key, "MaxRecvDataSegmentLength") != 0) \
        assert_int_equal(i->n.result.field, t->n.result.field);
    ISCSI_KEYS(X)
#undef X
    return true;
}

static void test_both_ends_agree_in_every_combination(void **state)
{
    static const struct {
        uint8_t none, crc;
    } takes[] = { { 1, 0 }, { 1, 1 }, { 1, 1 }, { 0, 1 } };
    unsigned agreed = 0;

    (void)state;
    for (unsigned c = 0; c < 1u << 12; c++) {
        struct side i = { .offer = params() }, t = { .offer = params() };
        const unsigned ih = c >> 4 & 3, th = c >> 6 & 3, id = c >> 8 & 3, td = c >> 10 & 3;
        const bool head = (takes[ih].none && takes[th].none) || (takes[ih].crc && takes[th].crc);
        const bool data = (takes[id].none && takes[td].none) || (takes[id].crc && takes[td].crc);

        i.offer.initial_r2t = c & 1;
        t.offer.initial_r2t = c >> 1 & 1;
        i.offer.immediate_data = c >> 2 & 1;
        t.offer.immediate_data = c >> 3 & 1;
        i.offer.header_digest_pref = (enum iscsi_digest_pref)ih;
        t.offer.header_digest_pref = (enum iscsi_digest_pref)th;
        i.offer.data_digest_pref = (enum iscsi_digest_pref)id;
        t.offer.data_digest_pref = (enum iscsi_digest_pref)td;
        i.offer.recv_data_max = 262144;
        t.offer.recv_data_max = 65536;
        assert_int_equal(agree(&i, &t, false), head && data);
        if (!head || !data)
            continue;
        agreed++;
        assert_int_equal(i.n.result.initial_r2t, (c & 1) | (c >> 1 & 1));
        assert_int_equal(i.n.result.immediate_data, (c >> 2 & 1) & (c >> 3 & 1));
        assert_int_equal(i.n.result.recv_data_max, 262144);
        assert_int_equal(i.n.result.peer_recv_data_max, 65536);
        if (!takes[ih].none || !takes[th].none)
            assert_int_equal(i.n.result.header_digest, 1);
        else if (ih == ISCSI_DIGEST_CRC32C_NONE && takes[th].crc)
            assert_int_equal(i.n.result.header_digest, 1);
        else
            assert_int_equal(i.n.result.header_digest, 0);
    }
    assert_int_equal(agreed, 16 * 14 * 14);
}

static void test_both_ends_agree_on_any_numbers(void **state)
{
    static const uint32_t sizes[] = { 0, 512, 4096, 65536, 262144, 16776192, 16777215, 0xffffffff };

    (void)state;
    for (size_t a = 0; a < ARRAY_SIZE(sizes); a++)
        for (size_t b = 0; b < ARRAY_SIZE(sizes); b++)
            for (size_t c = 0; c < ARRAY_SIZE(sizes); c++)
                for (int discovery = 0; discovery < 2; discovery++) {
                    struct side i = { .offer = params() }, t = { .offer = params() };

                    i.offer.burst_max = sizes[a];
                    i.offer.first_burst_max = sizes[b];
                    t.offer.burst_max = sizes[c];
                    t.offer.first_burst_max = sizes[b];
                    i.offer.recv_data_max = sizes[c];
                    t.offer.recv_data_max = sizes[a];
                    i.offer.time2wait_s = sizes[a];
                    t.offer.r2t_max = sizes[b];
                    assert_true(agree(&i, &t, discovery));
                    assert_in_range(i.n.result.first_burst_max, 512, i.n.result.burst_max);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_the_rfcs),
        cmocka_unit_test(test_target_answers_by_each_keys_rule),
        cmocka_unit_test(test_target_rejects_values_outside_a_keys_rule),
        cmocka_unit_test(test_a_rejected_key_keeps_its_default),
        cmocka_unit_test(test_target_takes_the_first_digest_of_the_list_it_accepts),
        cmocka_unit_test(test_values_over_255_bytes_are_rejected),
        cmocka_unit_test(test_keys_of_rfc_3720_and_later_levels_have_their_answers),
        cmocka_unit_test(test_keys_that_name_things_are_the_callers),
        cmocka_unit_test(test_reserved_words_cannot_be_offered),
        cmocka_unit_test(test_a_key_is_negotiated_once),
        cmocka_unit_test(test_the_last_declaration_holds),
        cmocka_unit_test(test_discovery_answers_irrelevant_where_the_rfc_says_so),
        cmocka_unit_test(test_session_wide_keys_belong_to_the_leading_connection),
        cmocka_unit_test(test_initiator_offers_every_key_once),
        cmocka_unit_test(test_initiator_offers_only_what_discovery_has),
        cmocka_unit_test(test_offers_are_kept_inside_the_limits),
        cmocka_unit_test(test_an_offer_that_does_not_fit_is_not_sent),
        cmocka_unit_test(test_initiator_judges_answers_by_its_offer),
        cmocka_unit_test(test_done_when_every_offer_that_needs_it_is_answered),
        cmocka_unit_test(test_unanswered_offers_settle_on_the_safe_side),
        cmocka_unit_test(test_a_demanded_digest_is_had_or_the_login_fails),
        cmocka_unit_test(test_initiator_answers_a_key_the_target_proposes),
        cmocka_unit_test(test_first_burst_never_exceeds_max_burst),
        cmocka_unit_test(test_both_ends_agree_in_every_combination),
        cmocka_unit_test(test_both_ends_agree_on_any_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
