/*
 * test_chap.c - CHAP: known answers, both ends together, and everyone who is not who they say they are
 *
 * The known answers are those of `openssl dgst` over the bytes of id, secret and challenge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/chap.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define TEXT_MAX 8192

static struct chap_cred cred(const char *name, const char *secret)
{
    struct chap_cred c = { .secret_len = (uint32_t)strlen(secret) };

    snprintf(c.name, sizeof(c.name), "%s", name);
    memcpy(c.secret, secret, c.secret_len);
    return c;
}

static const uint8_t random_a[33] = {
    42, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    1,  2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,   16,
};
static const uint8_t random_b[33] = { 200, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99 };

/* A text and the room for it. */
struct msg {
    struct iscsi_text t;
    char buf[TEXT_MAX];
};

static struct iscsi_text *fresh(struct msg *m)
{
    iscsi_text_init(&m->t, m->buf, sizeof(m->buf));
    return &m->t;
}

static const char *said(const struct msg *m, const char *key)
{
    const size_t n = strlen(key);

    for (uint32_t at = 0; at < m->t.len; at += (uint32_t)strlen(m->buf + at) + 1)
        if (!strncmp(m->buf + at, key, n) && m->buf[at + n] == '=')
            return m->buf + at + n + 1;
    return NULL;
}

/* "A=1|B=2" with NULs for bars, as it comes in a PDU. */
static void set(struct msg *m, const char *text)
{
    const size_t len = strlen(text);

    fresh(m);
    memcpy(m->buf, text, len + 1);
    for (size_t i = 0; i < len; i++)
        if (m->buf[i] == '|')
            m->buf[i] = '\0';
    m->t.len = (uint32_t)len + 1;
}

static enum chap_step ini_hears(struct chap_initiator *c, struct msg *in, struct msg *out)
{
    return chap_initiator_step(c, in->buf, in->t.len, fresh(out));
}

/* ---- known answers ------------------------------------------------------------------------------------- */

static const struct {
    unsigned alg;
    const char *proof;
} known[] = {
    { CHAP_MD5, "0x9e0019f47cfcd27618f9c9399bf6c567" },
    { CHAP_SHA1, "0x858d87753ea171ca77b8e921c07db47b0ed07eee" },
    { CHAP_SHA256, "0xc5285e1d1b4ca2e1003d3e1613ee3b2d9e63cb099c0a9068de47c347ef9e3c58" },
    { CHAP_SHA3_256, "0x6eb1055aee3835f39c3b29734f4a975473b1c308d4f8e9fa770bb95e6eae5408" },
};

/* The challenge in each form the RFC has, the identifier in both. */
static void test_initiator_gives_the_known_answers(void **state)
{
    static const char *const forms[] = {
        "CHAP_I=42|CHAP_C=0x00112233445566778899aabbccddeeff",
        "CHAP_C=0X00112233445566778899AABBCCDDEEFF|CHAP_I=0x2a",
        "X-other=1|CHAP_I=0X2A|CHAP_C=0bABEiM0RVZneImaq7zN3u/w==",
    };
    const struct chap_cred out = cred("me", "a secret of ours");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        for (size_t f = 0; f < ARRAY_SIZE(forms); f++) {
            struct chap_initiator c;
            struct msg in, answer;
            char text[256];

            chap_initiator_init(&c, &out, NULL, CHAP_ALGS_ALL, random_b);
            assert_int_equal(chap_initiator_step(&c, NULL, 0, fresh(&answer)), CHAP_CONTINUE);
            assert_string_equal(said(&answer, "CHAP_A"), "8,7,6,5");
            snprintf(text, sizeof(text), "CHAP_A=%u|%s", known[i].alg, forms[f]);
            set(&in, text);
            assert_int_equal(ini_hears(&c, &in, &answer), CHAP_DONE);
            assert_string_equal(said(&answer, "CHAP_N"), "me");
            assert_string_equal(said(&answer, "CHAP_R"), known[i].proof);
            assert_null(said(&answer, "CHAP_C"));
            assert_int_equal(c.alg, known[i].alg);
        }
}

/* ---- secrets and names --------------------------------------------------------------------------------- */

static void test_secrets_are_judged_where_they_are_configured(void **state)
{
    char long_secret[257];

    (void)state;
    memset(long_secret, 's', sizeof(long_secret));
    assert_non_null(chap_secret_refusal("", 0, NULL, 0));
    assert_non_null(strstr(chap_secret_refusal("elevenbytes", 11, NULL, 0), "shorter than 12"));
    assert_null(chap_secret_refusal("twelve bytes", 12, NULL, 0));
    assert_null(chap_secret_refusal(long_secret, 255, NULL, 0));
    assert_non_null(strstr(chap_secret_refusal(long_secret, 256, NULL, 0), "longer than 255"));
    assert_non_null(strstr(chap_secret_refusal("twelve bytes", 12, "twelve bytes", 12), "same"));
    assert_null(chap_secret_refusal("twelve bytes", 12, "twelve bytesX", 13));
    assert_null(chap_secret_refusal("twelve bytes", 12, "twelve byteZ", 12));
    assert_null(chap_secret_refusal("twelve bytes", 12, "", 0));
}

static void test_algorithms_have_the_names_of_the_configuration(void **state)
{
    static const char *const names[] = { "MD5", "SHA1", "SHA256", "SHA3-256" };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(chap_alg_from_name(names[i]), CHAP_MD5 + i);
        assert_string_equal(chap_alg_name(CHAP_MD5 + i), names[i]);
    }
    assert_int_equal(chap_alg_from_name("md5"), 0);
    assert_int_equal(chap_alg_from_name(""), 0);
    assert_non_null(chap_alg_name(0));
    assert_non_null(chap_alg_name(99));
}

static void test_offer_holds_what_is_allowed_and_known(void **state)
{
    static const struct {
        unsigned mask;
        const char *offer;                  /* NULL: nothing left to offer */
    } cases[] = {
        { CHAP_ALGS_ALL, "8,7,6,5" },
        { ~0u, "8,7,6,5" },
        { 1u << CHAP_MD5, "5" },
        { 1u << CHAP_SHA1 | 1u << CHAP_SHA3_256, "8,6" },
        { 0, NULL },
        { 1u << 4, NULL },
    };
    const struct chap_cred out = cred("me", "a secret of ours");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_initiator c;
        struct msg m;

        chap_initiator_init(&c, &out, NULL, cases[i].mask, random_a);
        assert_int_equal(chap_initiator_step(&c, NULL, 0, fresh(&m)),
                         cases[i].offer ? CHAP_CONTINUE : CHAP_NO_ALG);
        if (cases[i].offer)
            assert_string_equal(said(&m, "CHAP_A"), cases[i].offer);
    }
}

/* Half a setting must not become a login with no proof, or with a proof that anybody can give. */
static void test_initiator_does_not_start_with_half_a_setting(void **state)
{
    const struct chap_cred good = cred("me", "a secret of ours"), no_secret = cred("me", ""),
                           no_name = cred("", "a secret of ours"), none = cred("", ""),
                           twin = cred("you", "a secret of ours"), in = cred("you", "a secret of yours");
    const struct {
        const struct chap_cred *out, *in;
        enum chap_step want;
    } cases[] = {
        { NULL, NULL, CHAP_FAILED },     { &none, NULL, CHAP_FAILED },       { &no_secret, NULL, CHAP_FAILED },
        { &no_name, NULL, CHAP_FAILED }, { &good, &no_secret, CHAP_FAILED }, { &good, &twin, CHAP_FAILED },
        { &good, NULL, CHAP_CONTINUE },  { &good, &none, CHAP_CONTINUE },    { &good, &in, CHAP_CONTINUE },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_initiator c;
        struct msg m;

        chap_initiator_init(&c, cases[i].out, cases[i].in, CHAP_ALGS_ALL, random_a);
        assert_int_equal(chap_initiator_step(&c, NULL, 0, fresh(&m)), cases[i].want);
    }
}

/* ---- both ends ----------------------------------------------------------------------------------------- */

struct ends {
    struct chap_initiator i;
    struct chap_target t;
    struct msg a, b;                        /* to the target, to the initiator */
    enum chap_step i_step, t_step;
};

/* A whole login. @users: what the target knows; @own: what it proves. */
static void run(struct ends *e, const struct chap_cred *out, const struct chap_cred *in, unsigned i_algs,
                const struct chap_cred *users, unsigned users_nr, const struct chap_cred *own, unsigned t_algs)
{
    chap_initiator_init(&e->i, out, in, i_algs, random_a);
    chap_target_init(&e->t, t_algs, random_b);
    e->t_step = CHAP_CONTINUE;
    e->i_step = chap_initiator_step(&e->i, NULL, 0, fresh(&e->a));
    for (int turn = 0; turn < 5 && e->i_step != CHAP_FAILED && e->t_step == CHAP_CONTINUE; turn++) {
        e->t_step = chap_target_step(&e->t, users, users_nr, own, e->a.buf, e->a.t.len, fresh(&e->b));
        if (e->t_step == CHAP_FAILED || e->i_step == CHAP_DONE)
            return;
        e->i_step = ini_hears(&e->i, &e->b, &e->a);
    }
}

static void test_one_way_and_mutual_succeed_with_each_algorithm(void **state)
{
    const struct chap_cred out = cred("me", "a secret of ours"), in = cred("target", "a secret of its own");

    (void)state;
    for (unsigned alg = CHAP_MD5; alg <= CHAP_SHA3_256; alg++)
        for (int mutual = 0; mutual < 2; mutual++) {
            struct ends e;

            run(&e, &out, mutual ? &in : NULL, CHAP_ALGS_ALL, &out, 1, &in, 1u << alg);
            assert_int_equal(e.i_step, CHAP_DONE);
            assert_int_equal(e.t_step, CHAP_DONE);
            assert_int_equal(e.i.alg, alg);
            assert_int_equal(e.t.mutual_done, mutual);
            assert_string_equal(e.t.user, "me");
        }
}

static void test_the_strongest_common_algorithm_is_taken(void **state)
{
    const struct chap_cred out = cred("me", "a secret of ours");
    struct ends e;

    (void)state;
    run(&e, &out, NULL, CHAP_ALGS_ALL, &out, 1, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t.alg, CHAP_SHA3_256);
    run(&e, &out, NULL, 1u << CHAP_MD5 | 1u << CHAP_SHA256, &out, 1, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t.alg, CHAP_SHA256);
    run(&e, &out, NULL, 1u << CHAP_MD5, &out, 1, NULL, 1u << CHAP_SHA256);
    assert_int_equal(e.t_step, CHAP_FAILED);
}

static void test_wrong_users_and_secrets_fail(void **state)
{
    const struct chap_cred right = cred("me", "a secret of ours"), wrong = cred("me", "a secret of theirs"),
                           other = cred("someone", "a secret of ours"), none = cred("", "");
    const struct chap_cred both[] = { wrong, other, right }, neither[] = { wrong, other, none };
    struct ends e;

    (void)state;
    run(&e, &right, NULL, CHAP_ALGS_ALL, &wrong, 1, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t_step, CHAP_FAILED);
    run(&e, &right, NULL, CHAP_ALGS_ALL, &other, 1, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t_step, CHAP_FAILED);
    run(&e, &right, NULL, CHAP_ALGS_ALL, NULL, 0, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t_step, CHAP_FAILED);
    run(&e, &right, NULL, CHAP_ALGS_ALL, neither, 3, NULL, CHAP_ALGS_ALL);
    assert_int_equal(e.t_step, CHAP_FAILED);
    run(&e, &right, NULL, CHAP_ALGS_ALL, both, 3, NULL, CHAP_ALGS_ALL);     /* one of several users is enough */
    assert_int_equal(e.t_step, CHAP_DONE);
}

static void test_initiator_does_not_believe_a_target_that_cannot_prove_itself(void **state)
{
    const struct chap_cred out = cred("me", "a secret of ours"), in = cred("target", "a secret of its own"),
                           other_name = cred("tarjet", "a secret of its own"),
                           other_secret = cred("target", "a secret of another");
    struct ends e;

    (void)state;
    run(&e, &out, &in, CHAP_ALGS_ALL, &out, 1, &other_name, CHAP_ALGS_ALL);
    assert_int_equal(e.i_step, CHAP_FAILED);
    run(&e, &out, &in, CHAP_ALGS_ALL, &out, 1, &other_secret, CHAP_ALGS_ALL);
    assert_int_equal(e.i_step, CHAP_FAILED);
    run(&e, &out, &in, CHAP_ALGS_ALL, &out, 1, NULL, CHAP_ALGS_ALL);    /* nothing to prove with */
    assert_int_equal(e.t_step, CHAP_FAILED);
    assert_int_equal(e.i_step, CHAP_CONTINUE);
    run(&e, &out, &in, CHAP_ALGS_ALL, &out, 1, &out, CHAP_ALGS_ALL);    /* or only the initiator's own secret */
    assert_int_equal(e.t_step, CHAP_FAILED);
    assert_false(e.t.mutual_done);
}

/* ---- what an initiator may hear ------------------------------------------------------------------------ */

#define C16 "0x00000000000000000000000000000001"

static void test_initiator_refuses_challenges(void **state)
{
    static const struct {
        const char *text;
        enum chap_step want;
    } cases[] = {
        { "CHAP_A=5|CHAP_I=0|CHAP_C=" C16, CHAP_DONE },
        { "CHAP_A=5|CHAP_I=255|CHAP_C=0x01", CHAP_DONE },
        { "CHAP_A=0x5|CHAP_I=0xff|CHAP_C=0x01|TargetPortalGroupTag=1", CHAP_DONE },
        { "CHAP_A=Reject", CHAP_NO_ALG },
        { "CHAP_A=7|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },       /* not offered here */
        { "CHAP_A=0|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5,6|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=261|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=4294967301|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=MD5|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=256|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=0x100|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=-1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=x|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=0x", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=0x123", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=1234", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=0b====", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1", CHAP_FAILED },
        { "CHAP_A=5|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_A=5|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_I=2|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=" C16 "|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=" C16 "|CHAP_N=me", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=" C16, CHAP_FAILED },           /* a proof before there was a challenge */
        { "CHAP_A=5|CHAP_I=1|CHAP_C=" C16 "|rubbish", CHAP_FAILED },
        { "TargetPortalGroupTag=1", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=0x00112233445566778899aabbccddeeff", CHAP_FAILED },    /* our own, back */
        { "CHAP_A=5|CHAP_I=1|CHAP_C=0bABEiM0RVZneImaq7zN3u/w==", CHAP_FAILED },
    };
    const struct chap_cred out = cred("me", "a secret of ours");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_initiator c;
        struct msg in, answer;
        enum chap_step got;

        chap_initiator_init(&c, &out, NULL, 1u << CHAP_MD5 | 1u << CHAP_SHA1, random_a);
        chap_initiator_step(&c, NULL, 0, fresh(&answer));
        set(&in, cases[i].text);
        got = ini_hears(&c, &in, &answer);
        if (got != cases[i].want)
            fail_msg("%s: %d", cases[i].text, got);
        if (got == CHAP_DONE)
            continue;
        assert_int_equal(answer.t.len, 0);      /* no proof for a challenge that was refused */
        set(&in, "CHAP_A=5|CHAP_I=1|CHAP_C=" C16);
        assert_int_equal(ini_hears(&c, &in, &answer), CHAP_FAILED);    /* and no second try */
    }
}

/* From 1 to 1024 bytes, in hex and base64; one more is refused. */
static void test_challenges_up_to_1024_bytes(void **state)
{
    static const size_t lens[] = { 1, 16, 255, 1023, 1024, 1025, 2000 };
    const struct chap_cred out = cred("me", "a secret of ours");

    (void)state;
    for (size_t l = 0; l < ARRAY_SIZE(lens); l++)
        for (int base64 = 0; base64 < 2; base64++) {
            struct chap_initiator c;
            struct msg in, answer;
            char text[4200];
            size_t n = (size_t)sprintf(text, "CHAP_A=8|CHAP_I=1|CHAP_C=0%c", base64 ? 'b' : 'x');
            const size_t chars = base64 ? (lens[l] * 4 + 2) / 3 : lens[l] * 2;

            memset(text + n, 'A', chars);
            text[n + chars] = '\0';
            chap_initiator_init(&c, &out, NULL, CHAP_ALGS_ALL, random_a);
            chap_initiator_step(&c, NULL, 0, fresh(&answer));
            set(&in, text);
            assert_int_equal(ini_hears(&c, &in, &answer), lens[l] <= 1024 ? CHAP_DONE : CHAP_FAILED);
        }
}

static void test_initiator_refuses_proofs(void **state)
{
    /* The right proof for random_a: id 42, challenge 00 11 .. ff, the secret "a secret of ours" in MD5. */
    static const struct {
        const char *text;
        enum chap_step want;
    } cases[] = {
        { "CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_DONE },
        { "CHAP_R=0X9E0019F47CFCD27618F9C9399BF6C567|CHAP_N=target", CHAP_DONE },
        { "CHAP_N=target|CHAP_R=0bngAZ9Hz80nYY+ck5m/bFZw==", CHAP_DONE },
        { "CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c566", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c5", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c56700", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c56", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=0x", CHAP_FAILED },
        { "CHAP_N=target|CHAP_R=", CHAP_FAILED },
        { "CHAP_N=Target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_N=|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_N=target", CHAP_FAILED },
        { "CHAP_A=5|CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_N=target|CHAP_N=target|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c567", CHAP_FAILED },
        { "CHAP_A=5|CHAP_I=1|CHAP_C=" C16, CHAP_FAILED },
        { "TargetAlias=none", CHAP_FAILED },        /* a target that simply goes on proves nothing */
    };
    const struct chap_cred out = cred("me", "another secret"), in = cred("target", "a secret of ours");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_initiator c;
        struct msg hear, answer;
        enum chap_step got;

        chap_initiator_init(&c, &out, &in, 1u << CHAP_MD5, random_a);
        chap_initiator_step(&c, NULL, 0, fresh(&answer));
        set(&hear, "CHAP_A=5|CHAP_I=9|CHAP_C=" C16);
        assert_int_equal(ini_hears(&c, &hear, &answer), CHAP_CONTINUE);
        assert_string_equal(said(&answer, "CHAP_I"), "42");
        assert_string_equal(said(&answer, "CHAP_C"), "0x00112233445566778899aabbccddeeff");
        set(&hear, cases[i].text);
        got = ini_hears(&c, &hear, &answer);
        if (got != cases[i].want)
            fail_msg("%s: %d", cases[i].text, got);
        set(&hear, cases[0].text);
        assert_int_equal(ini_hears(&c, &hear, &answer), CHAP_FAILED);      /* over, either way */
    }
}

static void test_initiator_fails_when_its_answer_does_not_fit(void **state)
{
    const struct chap_cred out = cred("me", "a secret of ours");
    struct chap_initiator c;
    struct msg in, answer;
    struct iscsi_text small;

    (void)state;
    chap_initiator_init(&c, &out, NULL, CHAP_ALGS_ALL, random_b);
    chap_initiator_step(&c, NULL, 0, fresh(&answer));
    set(&in, "CHAP_A=8|CHAP_I=1|CHAP_C=" C16);
    iscsi_text_init(&small, answer.buf, 40);
    assert_int_equal(chap_initiator_step(&c, in.buf, in.t.len, &small), CHAP_FAILED);
}

/* ---- what a target may hear ---------------------------------------------------------------------------- */

static enum chap_step tgt_hears(struct chap_target *c, const struct chap_cred *user,
                                const struct chap_cred *own, const char *text, struct msg *out)
{
    struct msg in;

    set(&in, text);
    return chap_target_step(c, user, 1, own, in.buf, in.t.len, fresh(out));
}

static void test_target_chooses_from_the_list(void **state)
{
    static const struct {
        const char *text;
        unsigned alg;                       /* 0: refused */
    } cases[] = {
        { "CHAP_A=5", 5 }, { "CHAP_A=8,7,6,5", 7 }, { "CHAP_A=5,7", 5 }, { "CHAP_A=1,2,99,7", 7 },
        { "CHAP_A=0x7", 7 }, { "X-a=b|CHAP_A=7", 7 },
        { "CHAP_A=", 0 }, { "CHAP_A=0", 0 }, { "CHAP_A=8", 0 }, { "CHAP_A=6,8", 0 }, { "CHAP_A=MD5", 0 },
        { "CHAP_A=7,", 0 }, { "CHAP_A=,7", 0 }, { "CHAP_A=7,x", 0 }, { "CHAP_A=7 ", 0 }, { "CHAP_A=263", 0 },
        { "CHAP_A=18446744073709551623", 0 }, { "CHAP_A=-7", 0 }, { "CHAP_A=Reject", 0 },
        { "CHAP_A=7|CHAP_A=7", 0 }, { "CHAP_A=7|CHAP_N=me", 0 }, { "CHAP_A=7|CHAP_I=1|CHAP_C=" C16, 0 },
        { "CHAP_N=me|CHAP_R=" C16, 0 }, { "AuthMethod=CHAP", 0 }, { "rubbish", 0 },
    };
    const struct chap_cred user = cred("me", "a secret of ours");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_target c;
        struct msg out;
        char alg[16];

        chap_target_init(&c, 1u << CHAP_MD5 | 1u << CHAP_SHA256, random_a);
        if (tgt_hears(&c, &user, NULL, cases[i].text, &out) != (cases[i].alg ? CHAP_CONTINUE : CHAP_FAILED))
            fail_msg("%s", cases[i].text);
        if (!cases[i].alg) {
            assert_int_equal(out.t.len, 0);
            assert_int_equal(tgt_hears(&c, &user, NULL, "CHAP_A=5", &out), CHAP_FAILED);
            continue;
        }
        snprintf(alg, sizeof(alg), "%u", cases[i].alg);
        assert_string_equal(said(&out, "CHAP_A"), alg);
        assert_string_equal(said(&out, "CHAP_I"), "42");
        assert_int_equal(strlen(said(&out, "CHAP_C")), 2 + 2 * (cases[i].alg == 5 ? 16 : 32));
    }
}

static void test_target_never_asks_twice_the_same(void **state)
{
    const struct chap_cred user = cred("me", "a secret of ours");
    struct chap_target a, b;
    struct msg out_a, out_b;

    (void)state;
    chap_target_init(&a, CHAP_ALGS_ALL, random_a);
    chap_target_init(&b, CHAP_ALGS_ALL, random_b);
    tgt_hears(&a, &user, NULL, "CHAP_A=5", &out_a);
    tgt_hears(&b, &user, NULL, "CHAP_A=5", &out_b);
    assert_string_not_equal(said(&out_a, "CHAP_C"), said(&out_b, "CHAP_C"));
    assert_string_not_equal(said(&out_a, "CHAP_I"), said(&out_b, "CHAP_I"));
}

#define PROOF "0x9e0019f47cfcd27618f9c9399bf6c567"

static void test_target_refuses_proofs(void **state)
{
    static const struct {
        const char *text;
        enum chap_step want;
    } cases[] = {
        { "CHAP_N=me|CHAP_R=" PROOF, CHAP_DONE },
        { "CHAP_R=0bngAZ9Hz80nYY+ck5m/bFZw==|CHAP_N=me", CHAP_DONE },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=1|CHAP_C=" C16, CHAP_DONE },
        { "CHAP_N=me|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c568", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=0x9e0019f47cfcd27618f9c9399bf6c5", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "00", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "0", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=0x", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=0b", CHAP_FAILED },
        { "CHAP_N=Me|CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_N=|CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_N=me", CHAP_FAILED },
        { "CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_N=me|CHAP_N=me|CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_A=5|CHAP_N=me|CHAP_R=" PROOF, CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=1", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=256|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=x|CHAP_C=" C16, CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=1|CHAP_C=0x1", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=1|CHAP_C=", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=42|CHAP_C=0x00112233445566778899aabbccddeeff", CHAP_FAILED },
        { "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=7|CHAP_C=0bABEiM0RVZneImaq7zN3u/w==", CHAP_FAILED },
        { "CHAP_A=5", CHAP_FAILED },
    };
    const struct chap_cred user = cred("me", "a secret of ours"), own = cred("target", "a secret of its own");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct chap_target c;
        struct msg out;
        enum chap_step got;

        chap_target_init(&c, CHAP_ALGS_ALL, random_a);
        assert_int_equal(tgt_hears(&c, &user, &own, "CHAP_A=5", &out), CHAP_CONTINUE);
        got = tgt_hears(&c, &user, &own, cases[i].text, &out);
        if (got != cases[i].want)
            fail_msg("%s: %d", cases[i].text, got);
        if (got == CHAP_FAILED) {
            assert_null(said(&out, "CHAP_R"));      /* nothing is proved to whom nothing is believed */
            assert_false(c.mutual_done);
        }
        assert_int_equal(tgt_hears(&c, &user, &own, cases[0].text, &out), CHAP_FAILED);
    }
}

/* A record without a secret or without a name is nobody's: its proof is one that anyone can work out. */
static void test_target_takes_no_user_without_name_or_secret(void **state)
{
    const struct chap_cred no_secret = cred("me", ""), no_name = cred("", "a secret of ours");
    struct chap_target c;
    struct msg out;

    (void)state;
    chap_target_init(&c, CHAP_ALGS_ALL, random_a);
    tgt_hears(&c, &no_secret, NULL, "CHAP_A=5", &out);
    assert_int_equal(tgt_hears(&c, &no_secret, NULL, "CHAP_N=me|CHAP_R=0xe18842a4344d874cdc6283351a63fbb3",
                               &out), CHAP_FAILED);
    chap_target_init(&c, CHAP_ALGS_ALL, random_a);
    tgt_hears(&c, &no_name, NULL, "CHAP_A=5", &out);
    assert_int_equal(tgt_hears(&c, &no_name, NULL, "CHAP_N=|CHAP_R=" PROOF, &out), CHAP_FAILED);
}

/* Base64 and hex of every length as a response: measured, never copied past the digest. */
static void test_target_measures_responses_of_every_length(void **state)
{
    const struct chap_cred user = cred("me", "a secret of ours");

    (void)state;
    for (size_t len = 0; len < 3000; len = len < 140 ? len + 1 : len + 251)
        for (int base64 = 0; base64 < 2; base64++) {
            struct chap_target c;
            struct msg out;
            char text[3100];
            size_t n = (size_t)sprintf(text, "CHAP_N=me|CHAP_R=0%c", base64 ? 'b' : 'x');

            memset(text + n, 'A', len);
            text[n + len] = '\0';
            chap_target_init(&c, CHAP_ALGS_ALL, random_a);
            tgt_hears(&c, &user, NULL, "CHAP_A=5", &out);
            assert_int_equal(tgt_hears(&c, &user, NULL, text, &out), CHAP_FAILED);
        }
}

/* A name is text: "0x..." and "0b..." are names like others, 255 bytes are the most. */
static void test_names_that_look_like_numbers_are_names(void **state)
{
    char longest[300];
    const char *const names[] = { "0x6d65", "0bbWU=", "0x", "user=with=equals", "iqn.2003-01.com.example:host",
                                  "n\xc3\xa4me", longest };

    (void)state;
    memset(longest, 'n', 255);
    longest[255] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct chap_cred out = cred(names[i], "a secret of ours");
        const struct chap_cred in = cred(names[i], "a secret of its own");
        struct ends e;

        run(&e, &out, &in, CHAP_ALGS_ALL, &out, 1, &in, CHAP_ALGS_ALL);
        assert_int_equal(e.i_step, CHAP_DONE);
        assert_int_equal(e.t_step, CHAP_DONE);
        assert_string_equal(e.t.user, names[i]);
    }
}

static void test_target_refuses_a_name_over_255_bytes(void **state)
{
    const struct chap_cred user = cred("me", "a secret of ours");
    struct chap_target c;
    struct msg out;
    char text[600] = "CHAP_R=" PROOF "|CHAP_N=";

    (void)state;
    memset(text + strlen(text), 'n', 256);
    chap_target_init(&c, CHAP_ALGS_ALL, random_a);
    tgt_hears(&c, &user, NULL, "CHAP_A=5", &out);
    assert_int_equal(tgt_hears(&c, &user, NULL, text, &out), CHAP_FAILED);
    assert_string_equal(c.user, "");
}

/* The classic: a stranger asks us with the challenge we put to him on another connection, and hands our own
 * proof in as his. With a secret of its own in each direction the proof is worth nothing there. */
static void test_a_proof_of_the_target_does_not_open_the_target(void **state)
{
    const struct chap_cred user = cred("me", "a secret of ours"), own = cred("target", "a secret of its own");
    struct chap_target first, second;
    struct msg asked, stolen, out;
    char text[512];

    (void)state;
    chap_target_init(&first, CHAP_ALGS_ALL, random_b);
    tgt_hears(&first, &user, &own, "CHAP_A=5", &asked);
    /* Without a proof of his own he does not even get ours. */
    chap_target_init(&second, CHAP_ALGS_ALL, random_a);
    tgt_hears(&second, &user, &own, "CHAP_A=5", &out);
    snprintf(text, sizeof(text), "CHAP_N=me|CHAP_R=" C16 "|CHAP_I=%s|CHAP_C=%s", said(&asked, "CHAP_I"),
             said(&asked, "CHAP_C"));
    assert_int_equal(tgt_hears(&second, &user, &own, text, &stolen), CHAP_FAILED);
    assert_int_equal(stolen.t.len, 0);
    /* Even one that he got in some way does not fit. */
    chap_target_init(&second, CHAP_ALGS_ALL, random_a);
    tgt_hears(&second, &user, &own, "CHAP_A=5", &out);
    snprintf(text, sizeof(text), "CHAP_N=me|CHAP_R=" PROOF "|CHAP_I=%s|CHAP_C=%s", said(&asked, "CHAP_I"),
             said(&asked, "CHAP_C"));
    assert_int_equal(tgt_hears(&second, &user, &own, text, &stolen), CHAP_DONE);
    snprintf(text, sizeof(text), "CHAP_N=me|CHAP_R=%s", said(&stolen, "CHAP_R"));
    assert_int_equal(tgt_hears(&first, &user, &own, text, &out), CHAP_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initiator_gives_the_known_answers),
        cmocka_unit_test(test_secrets_are_judged_where_they_are_configured),
        cmocka_unit_test(test_algorithms_have_the_names_of_the_configuration),
        cmocka_unit_test(test_offer_holds_what_is_allowed_and_known),
        cmocka_unit_test(test_initiator_does_not_start_with_half_a_setting),
        cmocka_unit_test(test_one_way_and_mutual_succeed_with_each_algorithm),
        cmocka_unit_test(test_the_strongest_common_algorithm_is_taken),
        cmocka_unit_test(test_wrong_users_and_secrets_fail),
        cmocka_unit_test(test_initiator_does_not_believe_a_target_that_cannot_prove_itself),
        cmocka_unit_test(test_initiator_refuses_challenges),
        cmocka_unit_test(test_challenges_up_to_1024_bytes),
        cmocka_unit_test(test_initiator_refuses_proofs),
        cmocka_unit_test(test_initiator_fails_when_its_answer_does_not_fit),
        cmocka_unit_test(test_target_chooses_from_the_list),
        cmocka_unit_test(test_target_never_asks_twice_the_same),
        cmocka_unit_test(test_target_refuses_proofs),
        cmocka_unit_test(test_target_takes_no_user_without_name_or_secret),
        cmocka_unit_test(test_target_measures_responses_of_every_length),
        cmocka_unit_test(test_names_that_look_like_numbers_are_names),
        cmocka_unit_test(test_target_refuses_a_name_over_255_bytes),
        cmocka_unit_test(test_a_proof_of_the_target_does_not_open_the_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
