/*
 * test_case_chap.c - CHAP as hostile and odd targets do it (RFC 7143 12.1, 12.1.3; RFC 1994)
 *
 * The session offers MD5 alone unless a row says more, so that a refusal is not tried again with less.
 */
#include <openssl/evp.h>
#include "case.h"

#define SECRET "secret-of-user"
#define SECRET_IN "secret-of-target"

struct chap_text {
    const char *text;
    uint32_t len;
};
#define TEXT(t) (&(const struct chap_text){ t, sizeof(t) })

static void cred(struct chap_cred *c, const char *name, const char *secret)
{
    strcpy(c->name, name);
    c->secret_len = (uint32_t)strlen(secret);
    memcpy(c->secret, secret, c->secret_len);
}

/* The value of a key in the request received last; NULL: not there. */
static const char *value_of(const struct fake_conn *c, const char *key)
{
    for (uint32_t at = 0; at < c->len; at += (uint32_t)strlen((char *)c->data + at) + 1)
        if (!strncmp((char *)c->data + at, key, strlen(key)) && c->data[at + strlen(key)] == '=')
            return (char *)c->data + at + strlen(key) + 1;
    return NULL;
}

/* Up to our offer of digests, which is left in c->data. */
static bool to_the_offer(struct fake_conn *c)
{
    return fake_login_first(c) && fake_send(c, fake_login_resp(c, false, 0, 0, 0), "AuthMethod=CHAP", 16) &&
           fake_recv(c) && value_of(c, "CHAP_A");
}

static bool all_done(struct fake_conn *c)
{
    if (!fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c) ||
        !fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys)))
        return false;
    fake_serve(c);
    return true;
}

/* ---- the answer to AuthMethod --------------------------------------------------------------------------- */

static void method_script(struct fake_conn *c)
{
    const struct chap_text *t = c->f->arg;

    if (!fake_login_first(c))
        return;
    if (memmem(c->data, c->len, SECRET, strlen(SECRET)))
        scene_of(c)->faults++;
    fake_send(c, fake_login_resp(c, scene_of(c)->which, 0, scene_of(c)->which ? 1 : 0, 0), t->text, t->len);
    if (!fake_recv(c))
        return;
    if (value_of(c, "CHAP_A") && scene_of(c)->which) {      /* it insists: on to the next stage without a proof */
        fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0);
        if (fake_recv(c))
            scene_of(c)->seen = c->pdu.login.csg == ISCSI_STAGE_OPERATIONAL;
    }
}

static void begin(struct scene *x, fake_script *script, const struct chap_text *t)
{
    scene_init(x, script, NULL);
    x->f.arg = (void *)(uintptr_t)t;
    x->r.conf.set.chap_algs = 1u << CHAP_MD5;
    cred(&x->r.conf.set.user, "user", SECRET);
}

static void fails(struct scene *x)
{
    scene_refused(x);
    assert_null(strstr(x->r.why, SECRET));
    assert_null(strstr(x->r.why, SECRET_IN));
    scene_end(x);
    assert_int_equal(x->f.conns, 1);
}

static void method_refused(const struct chap_text *t, bool transit)
{
    struct scene x;

    begin(&x, method_script, t);
    x.which = transit;
    fails(&x);
    assert_int_equal(x.r.err, -EACCES);
    assert_int_equal(x.seen, 0);            /* never into the next stage */
}

/* ---- the challenge -------------------------------------------------------------------------------------- */

static void challenge_script(struct fake_conn *c)
{
    const struct chap_text *t = c->f->arg;

    if (!to_the_offer(c))
        return;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), t->text, t->len);
    if (!fake_recv(c))
        return;
    scene_of(c)->seen++;                    /* a proof was given */
    all_done(c);
}

static void challenge_refused(const struct chap_text *t)
{
    struct scene x;

    begin(&x, challenge_script, t);
    fails(&x);
    assert_int_equal(x.seen, 0);
}

/* What a right answer to id 7 and the challenge 01 02 03 04 is. */
static void proving_script(struct fake_conn *c)
{
    static const uint8_t plain[] = "\x07" SECRET "\x01\x02\x03\x04";
    const struct chap_text *t = c->f->arg;
    uint8_t digest[EVP_MAX_MD_SIZE], got[64];
    unsigned len = 0;
    const char *r, *n;

    if (!to_the_offer(c))
        return;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), t->text, t->len);
    if (!fake_recv(c))
        return;
    EVP_Digest(plain, sizeof(plain) - 1, digest, &len, EVP_md5(), NULL);
    r = value_of(c, "CHAP_R");
    n = value_of(c, "CHAP_N");
    if (!r || !n || strcmp(n, "user") != 0 || iscsi_text_binary(r, got, sizeof(got)) != 16 ||
        memcmp(got, digest, 16) != 0)
        scene_of(c)->faults++;
    all_done(c);
}

static void challenge_taken(const struct chap_text *t)
{
    struct scene x;

    begin(&x, proving_script, t);
    scene_go(&x);
    still_works(&x, 1);
    scene_end(&x);
}

/* A challenge of so many bytes; 1024 is the most that the RFC has. */
static void long_challenge(uint32_t bytes, bool taken)
{
    static char text[4096];
    struct chap_text t = { text, 0 };
    struct scene x;
    int n = snprintf(text, sizeof(text), "CHAP_A=5%cCHAP_I=7%cCHAP_C=0x", 0, 0);

    for (uint32_t i = 0; i < bytes; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", i & 0xff);
    t.len = (uint32_t)n + 1;
    begin(&x, challenge_script, &t);
    if (!taken) {
        fails(&x);
        return;
    }
    scene_go(&x);
    still_works(&x, 1);
    scene_end(&x);
}

/* ---- the target's own proof ----------------------------------------------------------------------------- */

enum proof {
    RIGHT, OTHER_NAME, NO_NAME, NO_PROOF, NOTHING, WRONG, SHORT, LONG, ODD, EMPTY, REFLECTED, OF_OUR_SECRET, TWICE,
    IN_BASE64, CHALLENGED_AGAIN,
};

static uint32_t proof_text(const struct fake_conn *c, enum proof how, char *text, size_t room)
{
    const char *id = value_of(c, "CHAP_I"), *challenge = value_of(c, "CHAP_C"), *ours = value_of(c, "CHAP_R");
    const char *secret = how == OF_OUR_SECRET ? SECRET : SECRET_IN;
    uint8_t plain[300], digest[EVP_MAX_MD_SIZE];
    char hex[80] = "";
    size_t n = 0;
    unsigned len = 0;
    int out;

    if (!id || !challenge || !ours)
        return 0;
    plain[n++] = (uint8_t)strtoul(id, NULL, 0);
    memcpy(plain + n, secret, strlen(secret));
    n += strlen(secret);
    n += (size_t)iscsi_text_binary(challenge, plain + n, sizeof(plain) - n);
    EVP_Digest(plain, n, digest, &len, EVP_md5(), NULL);
    digest[3] ^= how == WRONG;
    iscsi_text_hex(digest, len, hex);
    switch (how) {
    case OTHER_NAME:   out = snprintf(text, room, "CHAP_N=stranger%cCHAP_R=%s", 0, hex); break;
    case NO_NAME:      out = snprintf(text, room, "CHAP_R=%s", hex); break;
    case NO_PROOF:     out = snprintf(text, room, "CHAP_N=target"); break;
    case NOTHING:      return 0;
    case SHORT:        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%.*s", 0, 2 + 30, hex); break;
    case LONG:         out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s00", 0, hex); break;
    case ODD:          out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s0", 0, hex); break;
    case EMPTY:        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=0x", 0); break;
    case REFLECTED:    out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s", 0, ours); break;
    case TWICE:        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s%cCHAP_R=%s", 0, hex, 0, hex); break;
    case IN_BASE64:
        memcpy(hex, "0b", 3);
        EVP_EncodeBlock((unsigned char *)hex + 2, digest, (int)len);
        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s", 0, hex);
        break;
    case CHALLENGED_AGAIN:
        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s%cCHAP_I=9%cCHAP_C=0x0102030405", 0, hex, 0, 0);
        break;
    default:
        out = snprintf(text, room, "CHAP_N=target%cCHAP_R=%s", 0, hex);
        break;
    }
    return (uint32_t)out + 1;
}

static char seen_challenges[64][80];

static void mutual_script(struct fake_conn *c)
{
    static const char challenge[] = "CHAP_A=5\0CHAP_I=7\0CHAP_C=0x01020304";
    struct scene *x = scene_of(c);
    char text[600];
    uint32_t len;

    if (!to_the_offer(c))
        return;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), challenge, sizeof(challenge));
    if (!fake_recv(c))
        return;
    if (value_of(c, "CHAP_C") && c->nr < 64)
        snprintf(seen_challenges[c->nr], sizeof(seen_challenges[0]), "%s", value_of(c, "CHAP_C"));
    len = proof_text(c, (enum proof)x->which, text, sizeof(text));
    fake_send(c, fake_login_resp(c, true, 0, 1, 0), text, len);
    if (!fake_recv(c))
        return;
    x->seen += c->pdu.login.csg == ISCSI_STAGE_OPERATIONAL;
    if (fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys)))
        fake_serve(c);
}

static void mutual(enum proof which, bool believed)
{
    struct scene x;

    begin(&x, mutual_script, NULL);
    x.which = which;
    cred(&x.r.conf.set.user_in, "target", SECRET_IN);
    if (believed) {
        scene_go(&x);
        still_works(&x, 1);
        scene_end(&x);
        return;
    }
    fails(&x);
    assert_int_equal(x.r.err, -EACCES);
    assert_int_equal(x.seen, 0);
}

/* 12.1.3: a challenge is not to be foreseen: not one of many is like another. */
static void test_no_challenge_of_ours_is_like_another(void **state)
{
    unsigned n = 0;

    (void)state;
    for (unsigned k = 0; k < 24; k++) {
        struct scene x;

        begin(&x, mutual_script, NULL);
        x.which = RIGHT;
        cred(&x.r.conf.set.user_in, "target", SECRET_IN);
        scene_go(&x);
        scene_end(&x);
        memmove(seen_challenges[63 - k], seen_challenges[0], sizeof(seen_challenges[0]));
        n++;
    }
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 1; k < n; k++)
            assert_string_not_equal(seen_challenges[63 - i], seen_challenges[63 - k]);
}

/* The same secret both ways would let a target send our own proof back: no login is tried with it. */
static void test_the_same_secret_both_ways_is_not_used(void **state)
{
    struct scene x;

    (void)state;
    begin(&x, mutual_script, NULL);
    x.which = RIGHT;
    cred(&x.r.conf.set.user_in, "target", SECRET);
    scene_refused(&x);
    scene_end(&x);
    assert_int_equal(x.seen, 0);
}

/* Credentials without a secret prove nothing, and are not turned into a login without proof. */
static void test_a_user_without_a_secret_does_not_log_in(void **state)
{
    struct scene x;

    (void)state;
    begin(&x, challenge_script, TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x01020304"));
    x.r.conf.set.user.secret_len = 0;
    scene_refused(&x);
    scene_end(&x);
    assert_int_equal(x.seen, 0);
}

/* Without credentials CHAP is not even begun. */
static void asks_for_chap_script(struct fake_conn *c)
{
    if (fake_login_first(c))
        fake_send(c, fake_login_resp(c, false, 0, 0, 0), "AuthMethod=CHAP", 16);
    if (fake_recv(c))
        scene_of(c)->seen++;
}

static void test_without_credentials_chap_is_refused(void **state)
{
    struct scene x;

    (void)state;
    scene_init(&x, asks_for_chap_script, NULL);
    scene_refused(&x);
    assert_int_equal(x.r.err, -EACCES);
    scene_end(&x);
    assert_int_equal(x.seen, 0);
}

/* 12.1.3: strongest first, and nothing that was not allowed. */
static void offer_script(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    static const char *const lists[] = { "5", "7,5", "8,7,6,5", "8" };

    /* Hung up on, it may ask once more with MD5 alone. */
    if (to_the_offer(c) && !c->nr && strcmp(value_of(c, "CHAP_A"), lists[x->which]) != 0)
        x->faults++;
    x->seen++;
}

static void test_the_strongest_digest_is_offered_first(void **state)
{
    static const unsigned algs[] = { 1u << CHAP_MD5, 1u << CHAP_MD5 | 1u << CHAP_SHA256, CHAP_ALGS_ALL,
                                     1u << CHAP_SHA3_256 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(algs); i++) {
        struct scene x;

        begin(&x, offer_script, NULL);
        x.which = i;
        x.r.conf.set.chap_algs = algs[i];
        scene_refused(&x);
        scene_end(&x);
        assert_true(x.seen >= 1);
    }
}

#define CASES(X)                                                                                              \
    /* 12.1: AuthMethod=None for one who wants to be checked */                                               \
    X(test_no_authentication_is_no_answer, method_refused, TEXT("AuthMethod=None"), false)                    \
    /* 12.1: a list is no answer */                                                                           \
    X(test_a_list_of_methods_is_no_answer, method_refused, TEXT("AuthMethod=CHAP,None"), false)               \
    /* 12.1: a method nobody offered */                                                                       \
    X(test_a_method_nobody_offered_is_refused, method_refused, TEXT("AuthMethod=KRB5"), false)                \
    /* 12.1: Reject */                                                                                        \
    X(test_a_method_that_is_rejected_is_the_end, method_refused, TEXT("AuthMethod=Reject"), false)            \
    /* 12.1: no answer to AuthMethod */                                                                       \
    X(test_a_method_that_is_left_out_is_refused, method_refused, TEXT("TargetPortalGroupTag=1"), false)       \
    /* 12.1: straight on to the next stage without a word */                                                  \
    X(test_the_security_stage_is_not_skipped, method_refused, TEXT("TargetPortalGroupTag=1"), true)           \
    /* 12.1: CHAP agreed to, and then on without it */                                                        \
    X(test_chap_agreed_to_is_not_skipped, method_refused, TEXT("AuthMethod=CHAP"), true)                      \
    /* 12.1.3: CHAP_A that was not offered */                                                                 \
    X(test_a_digest_not_offered_is_refused, challenge_refused, TEXT("CHAP_A=7\0CHAP_I=7\0CHAP_C=0x01020304")) \
    /* 12.1.3: CHAP_A of no digest at all */                                                                  \
    X(test_digest_0_is_refused, challenge_refused, TEXT("CHAP_A=0\0CHAP_I=7\0CHAP_C=0x01020304"))             \
    /* 12.1.3: CHAP_A past a byte: not 5 once more */                                                         \
    X(test_digest_261_is_not_5, challenge_refused, TEXT("CHAP_A=261\0CHAP_I=7\0CHAP_C=0x01020304"))           \
    /* 12.1.3: CHAP_A in words */                                                                             \
    X(test_a_digest_by_name_is_refused, challenge_refused, TEXT("CHAP_A=MD5\0CHAP_I=7\0CHAP_C=0x01020304"))   \
    /* 12.1.3: CHAP_A is one, not a list */                                                                   \
    X(test_a_list_of_digests_is_refused, challenge_refused, TEXT("CHAP_A=5,6\0CHAP_I=7\0CHAP_C=0x01020304"))  \
    /* 12.1.3: no CHAP_A */                                                                                   \
    X(test_a_challenge_without_a_digest_is_refused, challenge_refused, TEXT("CHAP_I=7\0CHAP_C=0x01020304"))   \
    /* 12.1.3: CHAP_I past a byte */                                                                          \
    X(test_identifier_256_is_refused, challenge_refused, TEXT("CHAP_A=5\0CHAP_I=256\0CHAP_C=0x01020304"))     \
    /* 12.1.3: CHAP_I below zero */                                                                           \
    X(test_a_negative_identifier_is_refused, challenge_refused, TEXT("CHAP_A=5\0CHAP_I=-7\0CHAP_C=0x0102"))   \
    /* 12.1.3: CHAP_I in words */                                                                             \
    X(test_an_identifier_that_is_no_number_is_refused, challenge_refused,                                     \
      TEXT("CHAP_A=5\0CHAP_I=seven\0CHAP_C=0x01"))                                                            \
    /* 12.1.3: no CHAP_I */                                                                                   \
    X(test_a_challenge_without_an_identifier_is_refused, challenge_refused, TEXT("CHAP_A=5\0CHAP_C=0x0102"))  \
    /* 12.1.3: no CHAP_C */                                                                                   \
    X(test_a_digest_without_a_challenge_is_refused, challenge_refused, TEXT("CHAP_A=5\0CHAP_I=7"))            \
    /* 12.1.3: CHAP_C of nothing */                                                                           \
    X(test_an_empty_challenge_is_refused, challenge_refused, TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x"))           \
    /* 6.1: CHAP_C without a prefix is no binary value */                                                     \
    X(test_a_challenge_without_a_prefix_is_refused, challenge_refused,                                        \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=01020304"))                                                            \
    /* 6.1: CHAP_C in hex that is none */                                                                     \
    X(test_a_challenge_that_is_no_hex_is_refused, challenge_refused,                                          \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x0102030g"))                                                          \
    /* 6.1: CHAP_C in base64 that is none */                                                                  \
    X(test_a_challenge_that_is_no_base64_is_refused, challenge_refused,                                       \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0bAQ*DBA=="))                                                          \
    /* 6.3: a key twice */                                                                                    \
    X(test_two_challenges_are_refused, challenge_refused,                                                     \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x01\0CHAP_C=0x02"))                                                   \
    /* 12.1.3: a proof before its time */                                                                     \
    X(test_a_proof_before_the_challenge_is_refused, challenge_refused,                                        \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0x01\0CHAP_N=target\0CHAP_R=0x00112233445566778899aabbccddeeff"))      \
    /* 12.1.3: the keys in any order */                                                                       \
    X(test_the_keys_of_a_challenge_come_in_any_order, challenge_taken,                                        \
      TEXT("CHAP_C=0x01020304\0CHAP_I=7\0CHAP_A=5"))                                                          \
    /* 6.1: hex in capitals */                                                                                \
    X(test_a_challenge_in_capitals_is_read, challenge_taken, TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0X01020304"))   \
    /* 6.1: base64 */                                                                                         \
    X(test_a_challenge_in_base64_is_read, challenge_taken, TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0bAQIDBA=="))     \
    /* 6.1: base64 with its prefix in capitals */                                                             \
    X(test_a_challenge_in_base64_with_a_capital_is_read, challenge_taken,                                     \
      TEXT("CHAP_A=5\0CHAP_I=7\0CHAP_C=0BAQIDBA=="))                                                          \
    /* 6.1: numbers in hex */                                                                                 \
    X(test_an_identifier_in_hex_is_read, challenge_taken, TEXT("CHAP_A=0x5\0CHAP_I=0x07\0CHAP_C=0x01020304")) \
    /* 12.1.3: a challenge of 1024 bytes */                                                                   \
    X(test_a_challenge_of_1024_bytes_is_taken, long_challenge, 1024, true)                                    \
    /* 12.1.3: a challenge of 1025 bytes */                                                                   \
    X(test_a_challenge_of_1025_bytes_is_refused, long_challenge, 1025, false)                                 \
    /* 12.1.3: a challenge of one byte */                                                                     \
    X(test_a_challenge_of_one_byte_is_taken, long_challenge, 1, true)                                         \
    /* 12.1.3: the target's proof */                                                                          \
    X(test_a_target_that_proves_itself_is_believed, mutual, RIGHT, true)                                      \
    /* 6.1: the proof in base64 */                                                                            \
    X(test_a_proof_in_base64_is_believed, mutual, IN_BASE64, true)                                            \
    /* 12.1.3: another name than the one that was set */                                                      \
    X(test_a_proof_under_another_name_is_not_believed, mutual, OTHER_NAME, false)                             \
    /* 12.1.3: no name */                                                                                     \
    X(test_a_proof_without_a_name_is_not_believed, mutual, NO_NAME, false)                                    \
    /* 12.1.3: no proof */                                                                                    \
    X(test_a_name_without_a_proof_is_not_believed, mutual, NO_PROOF, false)                                   \
    /* 12.1.3: neither, and on to the next stage */                                                           \
    X(test_a_target_that_proves_nothing_is_not_believed, mutual, NOTHING, false)                              \
    /* 12.1.3: wrong in one bit */                                                                            \
    X(test_a_proof_wrong_in_a_bit_is_not_believed, mutual, WRONG, false)                                      \
    /* 12.1.3: 15 bytes of 16 */                                                                              \
    X(test_a_proof_cut_short_is_not_believed, mutual, SHORT, false)                                           \
    /* 12.1.3: 17 bytes */                                                                                    \
    X(test_a_proof_that_is_too_long_is_not_believed, mutual, LONG, false)                                     \
    /* 6.1: half a byte more */                                                                               \
    X(test_a_proof_of_odd_length_is_not_believed, mutual, ODD, false)                                         \
    /* 12.1.3: a proof of nothing */                                                                          \
    X(test_an_empty_proof_is_not_believed, mutual, EMPTY, false)                                              \
    /* 12.1.3: our own proof, sent back */                                                                    \
    X(test_our_own_proof_is_not_believed, mutual, REFLECTED, false)                                           \
    /* 12.1.3: the right answer to our challenge, by our own secret */                                        \
    X(test_a_proof_by_our_own_secret_is_not_believed, mutual, OF_OUR_SECRET, false)                           \
    /* 6.3: two proofs */                                                                                     \
    X(test_a_proof_given_twice_is_not_believed, mutual, TWICE, false)                                         \
    /* 12.1.3: a proof and one more challenge */                                                              \
    X(test_a_proof_with_another_challenge_is_not_believed, mutual, CHALLENGED_AGAIN, false)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(CASE_ENTRY)
        /* 12.1.3: challenges cannot be foreseen */
        cmocka_unit_test(test_no_challenge_of_ours_is_like_another),
        /* 12.1.3: different secrets for both directions */
        cmocka_unit_test(test_the_same_secret_both_ways_is_not_used),
        /* 12.1.3: half a setting */
        cmocka_unit_test(test_a_user_without_a_secret_does_not_log_in),
        /* 12.1: CHAP asked of one who has no name for it */
        cmocka_unit_test(test_without_credentials_chap_is_refused),
        /* 12.1.3: CHAP_A in order of preference */
        cmocka_unit_test(test_the_strongest_digest_is_offered_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
