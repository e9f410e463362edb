/*
 * test_case_keys.c - text keys of a target in the operational stage (RFC 7143 6.1, 6.2, 13)
 *
 * Each row is what a target answers to the offer of a session with the settings of start(). A pair that is
 * given stands in for the right answer to the same key.
 */
#include "case.h"

static const char *const right[] = {
    "HeaderDigest=None", "DataDigest=None", "InitialR2T=No", "ImmediateData=Yes", "MaxRecvDataSegmentLength=65536",
    "MaxBurstLength=131072", "FirstBurstLength=32768", "MaxConnections=1", "DefaultTime2Wait=2",
    "DefaultTime2Retain=0", "MaxOutstandingR2T=1", "DataPDUInOrder=Yes", "DataSequenceInOrder=Yes",
    "ErrorRecoveryLevel=0",
};

struct answers {
    const char *pair;                       /* in place of the right one, or in addition */
    bool alone;                             /* nothing else */
    bool not_yet;                           /* T comes with the next response only */
    char asked[9000];                       /* what the initiator said to that */
    uint32_t asked_len;
};

static uint32_t answers_make(const struct answers *a, char *out)
{
    const size_t key_len = strcspn(a->pair, "=") + 1;
    uint32_t n = 0;

    for (size_t i = 0; !a->alone && i < ARRAY_SIZE(right); i++) {
        if (!strncmp(right[i], a->pair, key_len))
            continue;
        memcpy(out + n, right[i], strlen(right[i]) + 1);
        n += (uint32_t)strlen(right[i]) + 1;
    }
    if (a->pair[0]) {
        memcpy(out + n, a->pair, strlen(a->pair) + 1);
        n += (uint32_t)strlen(a->pair) + 1;
    }
    return n;
}

static void answering_script(struct fake_conn *c)
{
    struct answers *a = c->f->arg;
    static char text[9000];
    uint32_t n;

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    n = answers_make(a, text);
    fake_send(c, fake_login_resp(c, !a->not_yet, 1, a->not_yet ? 0 : 3, 0), text, n);
    if (a->not_yet) {
        if (!fake_recv(c))
            return;
        a->asked_len = c->len;
        memcpy(a->asked, c->data, c->len);
        fake_send(c, fake_login_resp(c, true, 1, 3, 0), NULL, 0);
    }
    fake_serve(c);
}

static void start(struct scene *x, struct answers *a)
{
    scene_init(x, answering_script, NULL);
    x->f.arg = a;
    x->r.conf.set.burst_max = 262144;
    x->r.conf.set.first_burst_max = 65536;
    x->r.conf.set.time2wait_s = 2;
}

/* The login fails, by one attempt. */
static void refused(const char *pair)
{
    struct answers a = { .pair = pair };
    struct scene x;

    start(&x, &a);
    scene_refused(&x);
    assert_int_equal(x.r.err, -EPROTO);
    scene_end(&x);
    assert_int_equal(x.f.conns, 1);
}

/* The login succeeds. What was agreed on is in *p. */
static void taken_as(const char *pair, bool alone, struct iscsi_params *p)
{
    struct answers a = { .pair = pair, .alone = alone };
    struct ini_sess_info info;
    struct scene x;

    start(&x, &a);
    scene_go(&x);
    still_works(&x, 1);
    ini_sess_info(x.r.s, &info);
    *p = info.params;
    scene_end(&x);
}

#define TAKEN(name, pair, field, value)                                                                       \
    static void name(void **state)                                                                            \
    {                                                                                                         \
        struct iscsi_params p;                                                                                \
                                                                                                              \
        (void)state;                                                                                          \
        taken_as(pair, false, &p);                                                                            \
        assert_int_equal(p.field, value);                                                                     \
    }
TAKEN(test_a_first_burst_up_to_the_offer_is_taken, "FirstBurstLength=65536", first_burst_max, 65536)
TAKEN(test_initial_r2t_may_be_turned_on, "InitialR2T=Yes", initial_r2t, 1)
TAKEN(test_immediate_data_may_be_turned_off, "ImmediateData=No", immediate_data, 0)
TAKEN(test_a_boolean_that_is_irrelevant_has_its_default, "InitialR2T=Irrelevant", initial_r2t, 1)
TAKEN(test_a_boolean_that_is_not_understood_has_its_default, "InitialR2T=NotUnderstood", initial_r2t, 1)
TAKEN(test_a_digest_that_is_not_understood_is_none, "HeaderDigest=NotUnderstood", header_digest, 0)
TAKEN(test_a_longer_wait_is_agreed_to, "DefaultTime2Wait=3600", time2wait_s, 3600)
TAKEN(test_numbers_may_be_hexadecimal, "MaxBurstLength=0x8000", burst_max, 32768)
TAKEN(test_hexadecimal_may_be_in_capitals, "MaxBurstLength=0X8A00", burst_max, 0x8a00)
TAKEN(test_the_least_burst_is_512, "MaxBurstLength=512", burst_max, 512)
TAKEN(test_the_least_segment_is_512, "MaxRecvDataSegmentLength=512", peer_recv_data_max, 512)
TAKEN(test_the_largest_segment_is_one_byte_short_of_16_m, "MaxRecvDataSegmentLength=16777215", peer_recv_data_max,
      16777215)
TAKEN(test_a_segment_below_512_is_not_taken, "MaxRecvDataSegmentLength=511", peer_recv_data_max, 8192)
TAKEN(test_a_segment_of_16_m_is_not_taken, "MaxRecvDataSegmentLength=16777216", peer_recv_data_max, 8192)

static void test_a_burst_below_the_first_burst_cuts_it(void **state)
{
    struct iscsi_params p;

    (void)state;
    taken_as("MaxBurstLength=1024", false, &p);
    assert_int_equal(p.burst_max, 1024);
    assert_int_equal(p.first_burst_max, 1024);
}

static void test_answers_that_are_left_out_are_what_both_can_live_with(void **state)
{
    struct iscsi_params p;

    (void)state;
    taken_as("", true, &p);
    assert_int_equal(p.initial_r2t, 1);
    assert_int_equal(p.burst_max, 262144);
    assert_int_equal(p.first_burst_max, 65536);
    assert_int_equal(p.peer_recv_data_max, 8192);
    assert_int_equal(p.r2t_max, 1);
    assert_int_equal(p.header_digest, 0);
}

/* ---- what is asked back --------------------------------------------------------------------------------- */

/* @said: NULL for nothing to this key. */
static void asked_back(const char *pair, const char *said)
{
    struct answers a = { .pair = pair, .not_yet = true };
    struct scene x;
    char *at;

    start(&x, &a);
    scene_go(&x);
    still_works(&x, 1);
    scene_end(&x);
    at = said ? memmem(a.asked, a.asked_len, said, strlen(said) + 1) : NULL;
    if (said && !at)
        print_message("said: %.*s\n", (int)a.asked_len, a.asked);
    assert_true(said ? at != NULL : a.asked_len == 0);
}

#define X63 "X-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"       /* 63 characters */
static_assert(sizeof(X63) == 64, "the longest key");

static void test_a_value_of_255_bytes_is_read(void **state)
{
    char pair[300] = "X-long=";

    (void)state;
    memset(pair + 7, 'v', 255);
    asked_back(pair, "X-long=NotUnderstood");
}

static void test_a_value_of_8000_bytes_is_read(void **state)
{
    static char pair[8001] = "X-long=";

    (void)state;
    memset(pair + 7, 'v', 7000);
    asked_back(pair, "X-long=NotUnderstood");
}

/* ---- text that is none ---------------------------------------------------------------------------------- */

struct raw {
    const char *text;
    uint32_t len;
};

static void raw_script(struct fake_conn *c)
{
    const struct raw *t = c->f->arg;

    if (fake_login_first(c) && fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) && fake_recv(c) &&
        fake_send(c, fake_login_resp(c, true, 1, 3, 0), t->text, t->len))
        fake_serve(c);
}

static void raw_text(const char *text, uint32_t len, bool taken)
{
    struct raw t = { text, len };
    struct scene x;

    scene_init(&x, raw_script, NULL);
    x.f.arg = &t;
    if (taken) {
        scene_go(&x);
        still_works(&x, 1);
    } else {
        scene_refused(&x);
        assert_int_equal(x.r.err, -EPROTO);
    }
    scene_end(&x);
}
#define RAW(text) text, sizeof(text) - 1    /* without the NUL that C adds */

/* Every split of the answers over two responses, with the C bit. */
static void split_script(struct fake_conn *c)
{
    const uint32_t at = (uint32_t)scene_of(c)->which, len = sizeof(fake_keys);
    struct iscsi_pdu p;

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    p = fake_login_resp(c, false, 1, 0, 0);
    p.login.cont = true;
    fake_send(c, p, fake_keys, at);
    if (!fake_recv(c) || c->len || c->pdu.login.transit || c->pdu.login.cont) {
        scene_of(c)->faults++;
        return;
    }
    if (fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys + at, len - at))
        fake_serve(c);
}

static void test_answers_may_be_split_at_every_byte(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < sizeof(fake_keys); at += at < 60 ? 1 : 17) {
        struct scene x;

        scene_init(&x, split_script, NULL);
        x.which = at;
        scene_go(&x);
        scene_end(&x);
    }
}

#define CASES(X)                                                                                              \
    /* 6.2.2: a boolean is Yes or No */                                                                       \
    X(test_a_boolean_of_maybe_is_refused, refused, "InitialR2T=Maybe")                                        \
    /* 6.1: values are case-sensitive */                                                                      \
    X(test_a_boolean_in_small_letters_is_refused, refused, "InitialR2T=yes")                                  \
    /* 13.13: below 512 */                                                                                    \
    X(test_a_burst_of_511_is_refused, refused, "MaxBurstLength=511")                                          \
    /* 6.2.2: more than was offered */                                                                        \
    X(test_a_burst_above_the_offer_is_refused, refused, "MaxBurstLength=262145")                              \
    /* 13.13: past 2^24 - 1 */                                                                                \
    X(test_a_burst_of_16_m_is_refused, refused, "MaxBurstLength=16777216")                                    \
    /* 6.1: no number is negative */                                                                          \
    X(test_a_negative_number_is_refused, refused, "MaxBurstLength=-512")                                      \
    /* 6.1: past 64 bits */                                                                                   \
    X(test_a_number_past_64_bits_is_refused, refused, "MaxBurstLength=18446744073709552128")                  \
    /* 6.1: no digits */                                                                                      \
    X(test_a_number_without_digits_is_refused, refused, "MaxBurstLength=0x")                                  \
    /* 6.1: noise behind the digits */                                                                        \
    X(test_a_number_with_noise_is_refused, refused, "MaxBurstLength=65536k")                                  \
    /* 6.1: an empty value */                                                                                 \
    X(test_an_empty_number_is_refused, refused, "MaxBurstLength=")                                            \
    /* 6.1: a blank is no part of a number */                                                                 \
    X(test_a_number_with_a_blank_is_refused, refused, "MaxBurstLength= 65536")                                \
    /* 6.2.1: a list is no answer */                                                                          \
    X(test_a_list_of_digests_is_no_answer, refused, "HeaderDigest=None,CRC32C")                               \
    /* 6.2.1: what was not offered */                                                                         \
    X(test_a_digest_nobody_offered_is_refused, refused, "DataDigest=CRC32C")                                  \
    /* 6.2.1: a digest nobody knows */                                                                        \
    X(test_a_digest_nobody_knows_is_refused, refused, "DataDigest=CRC64")                                     \
    /* 6.2: Reject ends what was offered */                                                                   \
    X(test_a_digest_that_is_rejected_is_the_end, refused, "DataDigest=Reject")                                \
    /* 6.2: Reject ends what was offered */                                                                   \
    X(test_a_burst_that_is_rejected_is_the_end, refused, "MaxBurstLength=Reject")                             \
    /* 13.20: more recovery than was offered */                                                               \
    X(test_an_error_recovery_level_above_the_offer_is_refused, refused, "ErrorRecoveryLevel=2")               \
    /* 13.2: more connections than were offered */                                                            \
    X(test_more_connections_than_offered_are_refused, refused, "MaxConnections=8")                            \
    /* 13.17: more R2Ts than were offered */                                                                  \
    X(test_more_r2ts_than_offered_are_refused, refused, "MaxOutstandingR2T=2")                                \
    /* 13.18: order was offered, OR makes it the result */                                                    \
    X(test_pdus_out_of_order_are_refused, refused, "DataPDUInOrder=No")                                       \
    /* 13.19: order was offered, OR makes it the result */                                                    \
    X(test_sequences_out_of_order_are_refused, refused, "DataSequenceInOrder=No")                             \
    /* 13.15: less than was offered is not the maximum */                                                     \
    X(test_a_shorter_wait_than_offered_is_refused, refused, "DefaultTime2Wait=0")                             \
    /* 13.15: past 3600 */                                                                                    \
    X(test_a_wait_of_3601_s_is_refused, refused, "DefaultTime2Wait=3601")                                     \
    /* 13.16: more than was offered is not the minimum */                                                     \
    X(test_a_longer_retention_than_offered_is_refused, refused, "DefaultTime2Retain=20")                      \
    /* 6.2: a key nobody knows */                                                                             \
    X(test_unknown_keys_are_not_understood, asked_back, "X-org.example.key=1",                                \
      "X-org.example.key=NotUnderstood")                                                                      \
    /* 6.1: a key begins with a capital letter */                                                             \
    X(test_a_key_in_small_letters_is_refused, refused, "initialr2t=No")                                       \
    /* 6.1: keys are case-sensitive */                                                                        \
    X(test_a_key_in_other_letters_is_not_understood, asked_back, "Initialr2t=No", "Initialr2t=NotUnderstood") \
    /* 6.1: a key of 63 characters */                                                                         \
    X(test_a_key_of_63_characters_is_read, asked_back, X63 "=1", X63 "=NotUnderstood")                        \
    /* 6.1: a key of 64 characters */                                                                         \
    X(test_a_key_of_64_characters_is_refused, refused, X63 "a=1")                                             \
    /* 6.2: NotUnderstood asks nothing back */                                                                \
    X(test_an_unknown_answer_gets_no_answer, asked_back, "X-org.example.key=NotUnderstood", NULL)             \
    /* 13.25: markers are declined */                                                                         \
    X(test_markers_are_declined, asked_back, "IFMarker=Yes", "IFMarker=No")                                   \
    /* 13.25: and their intervals rejected */                                                                 \
    X(test_marker_intervals_are_rejected, asked_back, "OFMarkInt=1~8", "OFMarkInt=Reject")                    \
    /* 13.24: the lower protocol level */                                                                     \
    X(test_the_protocol_level_is_1, asked_back, "iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1")               \
    /* 13.24: a protocol level past 31 */                                                                     \
    X(test_a_protocol_level_of_32_is_rejected, asked_back, "iSCSIProtocolLevel=32",                           \
      "iSCSIProtocolLevel=Reject")                                                                            \
    /* 13.23: task reporting as RFC 3720 had it */                                                            \
    X(test_task_reporting_is_rfc_3720_s, asked_back, "TaskReporting=ResponseFence,RFC3720",                   \
      "TaskReporting=RFC3720")                                                                                \
    /* 13.23: another is not done */                                                                          \
    X(test_other_task_reporting_is_rejected, asked_back, "TaskReporting=FastAbort", "TaskReporting=Reject")   \
    /* 13.6: TargetAlias says something and asks nothing */                                                   \
    X(test_an_alias_gets_no_answer, asked_back, "TargetAlias=T\xc3\xbcr zum Speicher", NULL)                  \
    /* 13.9: TargetPortalGroupTag asks nothing, also where it is none */                                      \
    X(test_a_group_tag_past_65535_is_ignored, asked_back, "TargetPortalGroupTag=65536", NULL)                 \
    /* 6.2: a declaration that cannot be is rejected */                                                       \
    X(test_a_segment_of_no_length_is_rejected, asked_back, "MaxRecvDataSegmentLength=0",                      \
      "MaxRecvDataSegmentLength=Reject")                                                                      \
    /* 6.1: a pair without "=" */                                                                             \
    X(test_a_pair_without_equals_is_refused, raw_text, RAW("InitialR2T\0"), false)                            \
    /* 6.1: a pair without a key */                                                                           \
    X(test_a_pair_without_a_key_is_refused, raw_text, RAW("=No\0"), false)                                    \
    /* 6.1: a pair without its NUL */                                                                         \
    X(test_a_pair_without_its_nul_is_refused, raw_text, RAW("InitialR2T=No"), false)                          \
    /* 6.1: NULs between pairs */                                                                             \
    X(test_nuls_between_pairs_are_taken, raw_text, RAW("InitialR2T=No\0\0\0ImmediateData=Yes\0\0"), true)     \
    /* 6.1: nothing but NULs */                                                                               \
    X(test_nothing_but_nuls_is_taken, raw_text, RAW("\0\0\0\0"), true)                                        \
    /* 6.1: bytes that are no text */                                                                         \
    X(test_bytes_that_are_no_text_are_refused, raw_text, RAW("\xff\xfe\x01\x02"), false)                      \
    /* 6.3: a key negotiated twice */                                                                         \
    X(test_a_key_negotiated_twice_is_refused, raw_text, RAW("InitialR2T=No\0InitialR2T=No\0"), false)         \
    /* 6.3: MaxRecvDataSegmentLength may be declared twice */                                                 \
    X(test_a_declaration_may_be_made_twice, raw_text,                                                         \
      RAW("MaxRecvDataSegmentLength=1024\0MaxRecvDataSegmentLength=2048\0"), true)                            \
    /* 6.3: TargetAddress and TargetAlias may be said twice */                                                \
    X(test_what_asks_nothing_may_be_said_twice, raw_text, RAW("TargetAlias=a\0TargetAlias=b\0"), true)        \
    /* 12.1: CHAP keys that nobody asked for */                                                               \
    X(test_chap_keys_in_the_operational_stage_do_nothing, raw_text, RAW("CHAP_A=5\0CHAP_I=1\0CHAP_C=0x01\0"), true)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(CASE_ENTRY)
        /* 13.14: FirstBurstLength up to the offer */
        cmocka_unit_test(test_a_first_burst_up_to_the_offer_is_taken),
        /* 13.10: Yes is always an answer */
        cmocka_unit_test(test_initial_r2t_may_be_turned_on),
        /* 13.11: No is always an answer */
        cmocka_unit_test(test_immediate_data_may_be_turned_off),
        /* 6.2: Irrelevant */
        cmocka_unit_test(test_a_boolean_that_is_irrelevant_has_its_default),
        /* 6.2: NotUnderstood */
        cmocka_unit_test(test_a_boolean_that_is_not_understood_has_its_default),
        /* 6.2: NotUnderstood of a list that has None */
        cmocka_unit_test(test_a_digest_that_is_not_understood_is_none),
        /* 13.15: the maximum of both */
        cmocka_unit_test(test_a_longer_wait_is_agreed_to),
        /* 6.1: hex-constant */
        cmocka_unit_test(test_numbers_may_be_hexadecimal),
        /* 6.1: hex-constant in capitals */
        cmocka_unit_test(test_hexadecimal_may_be_in_capitals),
        /* 13.13: the lower bound */
        cmocka_unit_test(test_the_least_burst_is_512),
        /* 13.12: the lower bound */
        cmocka_unit_test(test_the_least_segment_is_512),
        /* 13.12: the upper bound */
        cmocka_unit_test(test_the_largest_segment_is_one_byte_short_of_16_m),
        /* 13.12: below the lower bound the default holds */
        cmocka_unit_test(test_a_segment_below_512_is_not_taken),
        /* 13.12: above the upper bound the default holds */
        cmocka_unit_test(test_a_segment_of_16_m_is_not_taken),
        /* 13.14: FirstBurstLength is never over MaxBurstLength */
        cmocka_unit_test(test_a_burst_below_the_first_burst_cuts_it),
        /* 6.2: answers that are missing */
        cmocka_unit_test(test_answers_that_are_left_out_are_what_both_can_live_with),
        /* 6.1: a value of 255 bytes */
        cmocka_unit_test(test_a_value_of_255_bytes_is_read),
        /* 6.1: a value of thousands */
        cmocka_unit_test(test_a_value_of_8000_bytes_is_read),
        /* 6.2: the C bit anywhere */
        cmocka_unit_test(test_answers_may_be_split_at_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
