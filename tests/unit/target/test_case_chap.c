/*
 * test_case_chap.c - CHAP against a peer that makes every step by hand: codecs, order, replay, reflection
 *
 * Each connection comes from an address of its own: a failed login is held against the one it came from.
 */
#include <openssl/evp.h>
#include "tgt_bed.h"

#define USER "alice"
#define SECRET "a secret of hers"
#define OUR_USER "disk"
#define OUR_SECRET "the target's own"


static void chap_set(const char *direction, const char *user, const char *secret)
{
    bed_do(&bed, "chap.set",
           json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", direction, "user", user, "secret",
                     secret));
}

static void chap_clear(const char *direction)
{
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", direction));
}

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 1);
    bed_disk(&bed);
    chap_set("in", USER, SECRET);
    return 0;
}

/* ---- a peer that knows CHAP ------------------------------------------------------------------------------ */

struct challenge {
    unsigned alg, id, len;
    uint8_t bytes[64];
};

static const struct {
    unsigned alg;
    const char *evp;
    unsigned len;
} algs[] = { { 5, "MD5", 16 }, { 6, "SHA1", 20 }, { 7, "SHA256", 32 }, { 8, "SHA3-256", 32 } };

static unsigned proof_make(const struct challenge *c, const char *secret, uint8_t out[static EVP_MAX_MD_SIZE])
{
    const uint8_t id = (uint8_t)c->id;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned len = 0;

    for (size_t i = 0; i < ARRAY_SIZE(algs); i++) {
        if (algs[i].alg == c->alg)
            assert_true(EVP_DigestInit_ex(ctx, EVP_get_digestbyname(algs[i].evp), NULL));
    }
    assert_true(EVP_DigestUpdate(ctx, &id, 1) && EVP_DigestUpdate(ctx, secret, strlen(secret)) &&
                EVP_DigestUpdate(ctx, c->bytes, c->len) && EVP_DigestFinal_ex(ctx, out, &len));
    EVP_MD_CTX_free(ctx);
    return len;
}

/* "0x..." of what is to be proved. */
static const char *proof_hex(const struct challenge *c, const char *secret)
{
    static char hex[2 * EVP_MAX_MD_SIZE + 3];
    uint8_t proof[EVP_MAX_MD_SIZE];

    iscsi_text_hex(proof, proof_make(c, secret, proof), hex);
    return hex;
}

/* A connection that has agreed on CHAP. */
static struct peer_end *chap_open(void)
{
    struct peer_end *p;

    peer_host++;
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 0, 1, false, LOGIN_NAMES "\nAuthMethod=CHAP,None"), ISCSI_LOGIN_OK);
    expect_answer(p, "AuthMethod", "CHAP");
    return p;
}

/* And has been given a challenge. */
static struct peer_end *chap_challenged(const char *list, struct challenge *c)
{
    struct peer_end *p = chap_open();
    char text[300];
    int len;

    snprintf(text, sizeof(text), "CHAP_A=%s", list);
    assert_int_equal(login_step(p, 0, 1, false, text), ISCSI_LOGIN_OK);
    assert_non_null(answer_of(p, "CHAP_A"));
    assert_non_null(answer_of(p, "CHAP_I"));
    assert_non_null(answer_of(p, "CHAP_C"));
    c->alg = (unsigned)atoi(answer_of(p, "CHAP_A"));
    c->id = (unsigned)atoi(answer_of(p, "CHAP_I"));
    len = iscsi_text_binary(answer_of(p, "CHAP_C"), c->bytes, sizeof(c->bytes));
    assert_true(len > 0);
    c->len = (unsigned)len;
    return p;
}

/* The next step must fail the login as a failed proof. */
static void fails(struct peer_end *p, const char *keys)
{
    const int status = login_step(p, 0, 1, true, keys);

    if (status != ISCSI_LOGIN_AUTH_FAILED)
        fail_msg("%.200s: %04x", keys, status);
    assert_int_equal(p->data_len, 0);
    peer_gone(p);
}

/* The next step must prove it. */
static void proves(struct peer_end *p, const char *keys)
{
    const int status = login_step(p, 0, 1, true, keys);

    if (status || !p->rsp.login.transit)
        fail_msg("%.200s: %04x", keys, status);
}

static void ends_well(struct peer_end *p)
{
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    peer_settle(p);
    peer_logout(p);
}

/* ---- the right way --------------------------------------------------------------------------------------- */

static void test_every_digest_proves(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++) {
        struct challenge c;
        struct peer_end *p;
        char text[300];

        snprintf(text, sizeof(text), "%u", algs[i].alg);
        p = chap_challenged(text, &c);
        assert_int_equal(c.alg, algs[i].alg);
        assert_int_equal(c.len, algs[i].len);
        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
        proves(p, text);
        ends_well(p);
    }
}

/* 12.1.3: the first of the initiator's list that the target has. */
static void test_the_first_known_digest_is_chosen(void **state)
{
    static const struct {
        const char *list;
        unsigned alg;
    } rows[] = { { "5", 5 }, { "7,5", 7 }, { "5,7", 5 }, { "0,1,2,99,6", 6 }, { "18446744073709551615,8", 8 } };
    struct challenge c;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p = chap_challenged(rows[i].list, &c);

        assert_int_equal(c.alg, rows[i].alg);
        peer_close(p);
    }
}

static void test_lists_without_a_known_digest_fail(void **state)
{
    static const char *const lists[] = {
        "", "0", "4", "9", "5x", "MD5", "-5", "5;7", ",", "0x", "5,,7", "5,abc"
    };
    char text[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        snprintf(text, sizeof(text), "CHAP_A=%s", lists[i]);
        fails(chap_open(), text);
    }
    strcpy(text, "CHAP_A=99");
    while (strlen(text) < 7 + 256)
        strcat(text, ",99");
    strcat(text, ",5");
    fails(chap_open(), text);
}

/* A secret that is bound to a stronger digest is not proved by a weaker one. */
static void test_a_digest_that_is_not_allowed_is_no_downgrade(void **state)
{
    struct challenge c;
    char text[300];

    (void)state;
    chap_clear("in");
    bed_do(&bed, "chap.set",
           json_pack("{s:s, s:s, s:s, s:s, s:[s]}", "iqn", T_IQN, "direction", "in", "user", USER, "secret",
                     SECRET, "algs", "SHA256"));
    fails(chap_open(), "CHAP_A=5");
    fails(chap_open(), "CHAP_A=5,6");
    {
        struct peer_end *p = chap_challenged("5,6,7", &c);

        assert_int_equal(c.alg, 7);
        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
        proves(p, text);
        ends_well(p);
    }
    chap_clear("in");
    chap_set("in", USER, SECRET);
}

/* ---- CHAP_R ---------------------------------------------------------------------------------------------- */

static void base64(const uint8_t *in, unsigned len, char *out)
{
    strcpy(out, "0b");
    EVP_EncodeBlock((uint8_t *)out + 2, in, (int)len);
}

static void test_proofs_in_every_notation_are_taken(void **state)
{
    struct challenge c;
    char text[300], value[200];
    uint8_t proof[EVP_MAX_MD_SIZE];

    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct peer_end *p = chap_challenged("7", &c);
        const unsigned len = proof_make(&c, SECRET, proof);

        if (how == 0) {
            base64(proof, len, value);
        } else {
            strcpy(value, proof_hex(&c, SECRET));
            for (char *at = value + (how == 2 ? 2 : 0); how > 1 && *at; at++)
                *at = (char)(*at >= 'a' && *at <= 'z' && (how == 3 || *at != 'x') ? *at - 32 : *at);
        }
        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", value);
        proves(p, text);
        ends_well(p);
    }
}

/* LIO decoded 95 bytes into 32; edk2 took an empty or a halved one. */
static void test_proofs_that_are_none_fail(void **state)
{
    static const char *const bad[] = {
        "", "0x", "0b", "0x1", "0", "1", "0xzz", "0b====", "0b!!!!", "0x0", "00", "abcdef", "0bAAAA", "0xAAAAA",
    };
    struct challenge c;
    char text[8192];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct peer_end *p = chap_challenged("7", &c);

        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", bad[i]);
        fails(p, text);
    }
}

static void test_proofs_of_a_wrong_length_fail(void **state)
{
    static const unsigned digits[] = { 62, 63, 65, 66, 128, 510, 2048, 7000 };
    struct challenge c;
    char text[8192];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(digits); i++) {
        for (unsigned b64 = 0; b64 < 2; b64++) {
            struct peer_end *p = chap_challenged("7", &c);

            /* It begins with the right proof. */
            snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", b64 ? "0b" : proof_hex(&c, SECRET));
            while (strlen(text) < strlen("CHAP_N=" USER "\nCHAP_R=0x") + digits[i])
                strcat(text, "A");
            text[strlen("CHAP_N=" USER "\nCHAP_R=0x") + digits[i]] = '\0';
            fails(p, text);
        }
    }
}

static void test_each_byte_of_a_proof_counts(void **state)
{
    struct challenge c;
    char text[300];

    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        struct peer_end *p = chap_challenged("7", &c);
        char *digit;

        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
        digit = strstr(text, "CHAP_R=0x") + 9 + 2 * i;
        *digit = *digit == '0' ? '1' : '0';
        fails(p, text);
    }
}

/* ---- CHAP_N ---------------------------------------------------------------------------------------------- */

/* The same status, and no word about what was wrong. */
static void test_a_wrong_user_fails_like_a_wrong_secret(void **state)
{
    static const char *const users[] = { "", "bob", "alic", "alicee", "Alice", "alice ", "0x616c696365", "*" };
    struct challenge c;
    char text[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
        struct peer_end *p = chap_challenged("7", &c);

        snprintf(text, sizeof(text), "CHAP_N=%s\nCHAP_R=%s", users[i], proof_hex(&c, SECRET));
        fails(p, text);
    }
    {
        struct peer_end *p = chap_challenged("7", &c);

        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, "another secret"));
        fails(p, text);
    }
}

/* A name is text, though it look like a number. */
static void test_a_user_whose_name_looks_like_hex_is_taken_by_the_letter(void **state)
{
    struct challenge c;
    char text[300];
    struct peer_end *p;

    (void)state;
    chap_set("in", "0x616263", "the secret of 0x");
    p = chap_challenged("7", &c);
    snprintf(text, sizeof(text), "CHAP_N=0x616263\nCHAP_R=%s", proof_hex(&c, "the secret of 0x"));
    proves(p, text);
    ends_well(p);
    p = chap_challenged("7", &c);
    snprintf(text, sizeof(text), "CHAP_N=abc\nCHAP_R=%s", proof_hex(&c, "the secret of 0x"));
    fails(p, text);
    bed_do(&bed, "chap.clear",
           json_pack("{s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", "0x616263"));
}

static void test_user_names_are_bounded(void **state)
{
    static const unsigned lens[] = { 254, 255, 256, 257, 1000, 7000 };
    struct challenge c;
    char text[8192];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        struct peer_end *p = chap_challenged("7", &c);

        strcpy(text, "CHAP_N=");
        memset(text + 7, 'n', lens[i]);
        snprintf(text + 7 + lens[i], 200, "\nCHAP_R=%s", proof_hex(&c, SECRET));
        fails(p, text);
    }
}

/* ---- CHAP_I and CHAP_C: the target proves itself --------------------------------------------------------- */

/* With a right proof of our own, and the rest as given. */
static int ask_proof(const char *id, const char *challenge, struct peer_end **out)
{
    static char text[8192];
    struct challenge c;
    struct peer_end *p = chap_challenged("7", &c);

    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s\nCHAP_I=%s\nCHAP_C=%s", proof_hex(&c, SECRET), id,
             challenge);
    *out = p;
    return login_step(p, 0, 1, true, text);
}

static int mutual_up(void **state)
{
    chap_set("out", OUR_USER, OUR_SECRET);
    return fresh(state);
}

static int mutual_down(void **state)
{
    (void)state;
    chap_clear("out");
    return 0;
}

static void test_the_target_proves_itself_when_asked(void **state)
{
    struct challenge ours = { .alg = 7, .len = 4, .bytes = { 0xde, 0xad, 0xbe, 0xef } };
    static const char *const ids[] = { "0", "1", "255", "0xff", "0x0" };
    struct peer_end *p;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_int_equal(ask_proof(ids[i], "0xdeadbeef", &p), ISCSI_LOGIN_OK);
        ours.id = (unsigned)strtoul(ids[i], NULL, 0);
        expect_answer(p, "CHAP_N", OUR_USER);
        expect_answer(p, "CHAP_R", proof_hex(&ours, OUR_SECRET));
        ends_well(p);
    }
}

/* LIO read 256 as 0. */
static void test_identifiers_that_are_no_byte_fail(void **state)
{
    static const char *const bad[] = { "",   "256", "257", "65536", "4294967296", "18446744073709551616",
                                       "-1", "x",   "0x",  "0x100", "1.0",        " 1",
                                       "1,2" };
    struct peer_end *p;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(ask_proof(bad[i], "0xdeadbeef", &p), ISCSI_LOGIN_AUTH_FAILED);
        assert_int_equal(p->data_len, 0);
        peer_gone(p);
    }
}

static void test_challenges_that_are_none_fail(void **state)
{
    static const char *const bad[] = {
        "", "0x", "0b", "0x1", "0xabc", "0xzz", "deadbeef", "1", "0b=", "0b===="
    };
    struct peer_end *p;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(ask_proof("1", bad[i], &p), ISCSI_LOGIN_AUTH_FAILED);
        peer_gone(p);
    }
}

/* 12.1.3: up to 1024 bytes. */
static void test_challenges_have_at_most_1024_bytes(void **state)
{
    static char hex[2 * 1030 + 3] = "0x";
    struct peer_end *p;

    (void)state;
    memset(hex + 2, 'a', 2 * 1024);
    assert_int_equal(ask_proof("1", hex, &p), ISCSI_LOGIN_OK);
    ends_well(p);
    memset(hex + 2, 'a', 2 * 1025);
    assert_int_equal(ask_proof("1", hex, &p), ISCSI_LOGIN_AUTH_FAILED);
    peer_gone(p);
}

static void test_half_a_question_to_the_target_fails(void **state)
{
    static const char *const rest[] = { "CHAP_I=1", "CHAP_C=0xdeadbeef" };
    struct challenge c;
    char text[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rest); i++) {
        struct peer_end *p = chap_challenged("7", &c);

        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s\n%s", proof_hex(&c, SECRET), rest[i]);
        fails(p, text);
    }
}

static void test_asked_for_a_proof_that_is_not_configured_fails(void **state)
{
    struct peer_end *p;

    (void)state;
    assert_int_equal(ask_proof("1", "0xdeadbeef", &p), ISCSI_LOGIN_AUTH_FAILED);
    peer_gone(p);
}

/* ---- reflection and replay ------------------------------------------------------------------------------- */

/* The target's own challenge, sent back as ours. */
static void test_the_targets_own_challenge_is_not_answered(void **state)
{
    struct challenge c;
    char text[500], hex[100];
    struct peer_end *p = chap_challenged("7", &c);

    (void)state;
    iscsi_text_hex(c.bytes, c.len, hex);
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s\nCHAP_I=%u\nCHAP_C=%s", proof_hex(&c, SECRET),
             c.id, hex);
    fails(p, text);
}

/* Without a proof of one's own the target works nothing out: no second connection helps to answer the first. */
static void test_the_target_answers_nobody_who_has_not_proved_himself(void **state)
{
    struct challenge first, second;
    struct peer_end *a = chap_challenged("7", &first), *b = chap_challenged("7", &second);
    char text[500], hex[100];

    (void)state;
    iscsi_text_hex(first.bytes, first.len, hex);
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s\nCHAP_I=%u\nCHAP_C=%s",
             proof_hex(&second, "guessed wrongly"), first.id, hex);
    fails(b, text);
    snprintf(text, sizeof(text), "CHAP_I=%u\nCHAP_C=%s", first.id, hex);
    fails(chap_open(), text);
    peer_close(a);
}

/* And what it works out for one who has is of no use: it proves with another secret. */
static void test_a_proof_of_the_target_opens_no_session(void **state)
{
    struct challenge first;
    struct peer_end *a = chap_challenged("7", &first), *b;
    char text[500], hex[100], id[8];

    (void)state;
    iscsi_text_hex(first.bytes, first.len, hex);
    snprintf(id, sizeof(id), "%u", first.id);
    if (!ask_proof(id, hex, &b)) {
        snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", answer_of(b, "CHAP_R"));
        fails(a, text);
        peer_close(b);
    } else {
        peer_gone(b);
        peer_close(a);
    }
}

static void test_a_proof_is_good_for_its_own_challenge_only(void **state)
{
    struct challenge first, second;
    struct peer_end *a = chap_challenged("7", &first), *b = chap_challenged("7", &second);
    char text[300];

    (void)state;
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&first, SECRET));
    fails(b, text);
    proves(a, text);
    ends_well(a);
}

/* tgt drew challenges from an unseeded generator: the same ones after every start. */
static void test_no_challenge_comes_twice(void **state)
{
    enum { STARTS = 3, NR = 400 };
    static uint8_t seen[STARTS * NR][32];
    struct bed kept = bed;
    const uint32_t host = peer_host;
    unsigned n = 0;

    (void)state;
    for (unsigned s = 0; s < STARTS; s++) {
        bed_start(&bed, 1);
        bed_disk(&bed);
        chap_set("in", USER, SECRET);
        for (unsigned i = 0; i < NR; i++) {
            struct challenge c;

            peer_close(chap_challenged("7", &c));
            peer_host = host;               /* gone without failing: nothing is held against it */
            memcpy(seen[n], c.bytes, 32);
            for (unsigned k = 0; k < n; k++)
                assert_memory_not_equal(seen[k], seen[n], 32);
            n++;
        }
        bed_settle(&bed, 0);
        bed_stop(&bed);
    }
    bed = kept;
}

/* ---- order ----------------------------------------------------------------------------------------------- */

static void test_keys_out_of_their_order_fail(void **state)
{
    struct challenge c;
    char text[300];
    struct peer_end *p;

    (void)state;
    fails(chap_open(), "CHAP_N=" USER "\nCHAP_R=0x00");     /* before any challenge */
    fails(chap_open(), "CHAP_A=7\nCHAP_N=" USER "\nCHAP_R=0x00");
    fails(chap_open(), "CHAP_A=7\nCHAP_I=1\nCHAP_C=0x00");
    fails(chap_open(), "CHAP_A=7\nCHAP_A=7");
    fails(chap_challenged("7", &c), "CHAP_A=7");            /* a second one */
    fails(chap_challenged("7", &c), "CHAP_N=" USER);
    p = chap_challenged("7", &c);
    snprintf(text, sizeof(text), "CHAP_R=%s", proof_hex(&c, SECRET));
    fails(p, text);
    p = chap_challenged("7", &c);
    snprintf(text, sizeof(text), "CHAP_A=7\nCHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
    fails(p, text);
    p = chap_challenged("7", &c);
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
    fails(p, text);
}

/* T asks for the next stage; until the proof is there the answer is no. */
static void test_the_stage_is_not_left_before_the_proof(void **state)
{
    struct peer_end *p = chap_open();

    (void)state;
    assert_int_equal(login_step(p, 0, 1, true, "CHAP_A=7"), ISCSI_LOGIN_OK);
    assert_false(p->rsp.login.transit);
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_INVALID_REQUEST);
    peer_gone(p);
    p = chap_open();
    assert_int_equal(login_step(p, 0, 3, true, "CHAP_A=7"), ISCSI_LOGIN_OK);
    assert_false(p->rsp.login.transit);
    assert_int_equal(p->rsp.login.tsih, 0);
    peer_close(p);
}

static void test_chap_keys_in_the_operational_stage_are_refused(void **state)
{
    struct peer_end *p;

    (void)state;
    peer_host++;
    p = peer_open(&bed);
    assert_int_not_equal(login_step(p, 1, 3, true, LOGIN_NAMES "\nCHAP_A=7"), ISCSI_LOGIN_OK);
    peer_gone(p);
}

static void test_ways_around_the_proof_are_refused(void **state)
{
    static const struct {
        unsigned csg, nsg;
        const char *keys;
    } rows[] = {
        { 0, 1, LOGIN_NAMES },
        { 0, 3, LOGIN_NAMES },
        { 1, 3, LOGIN_NAMES },
        { 0, 1, LOGIN_NAMES "\nAuthMethod=None" },
        { 0, 3, LOGIN_NAMES "\nAuthMethod=None" },
        { 0, 1, LOGIN_NAMES "\nAuthMethod=SRP,KRB5,None" },
        { 0, 1, LOGIN_NAMES "\nAuthMethod=chap" },
        { 0, 1, LOGIN_NAMES "\nAuthMethod=" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p;

        peer_host++;
        p = peer_open(&bed);
        assert_int_equal(login_step(p, rows[i].csg, rows[i].nsg, true, rows[i].keys), ISCSI_LOGIN_AUTH_FAILED);
        peer_gone(p);
    }
}

/* A proof that failed is not tried again on the same connection. */
static void test_a_failed_proof_ends_the_connection(void **state)
{
    struct challenge c;
    struct peer_end *p = chap_challenged("7", &c);
    char text[300], right[300];
    struct iscsi_pdu pdu = login_pdu(p, 0, 1, true);

    (void)state;
    pdu.data_len = keys_text("CHAP_N=" USER "\nCHAP_R=0x00", text);
    peer_send(p, &pdu, text);
    snprintf(right, sizeof(right), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
    pdu.data_len = keys_text(right, text);
    peer_send(p, &pdu, text);
    peer_expect(p, ISCSI_OP_LOGIN_RESP);
    assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_AUTH_FAILED);
    peer_gone(p);
    assert_int_equal(bed_sessions(&bed), 0);
}

/* ---- who takes whose place -------------------------------------------------------------------------------- */

/* The name and the ISID of a living session are no secret: without a proof they end nothing. */
static void test_nobody_takes_a_session_over_without_a_proof(void **state)
{
    struct challenge c;
    struct peer_end *p = chap_challenged("7", &c), *thief;
    char text[300];

    (void)state;
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, SECRET));
    proves(p, text);
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_OK);
    peer_settle(p);
    thief = chap_challenged("7", &c);       /* the same name, the same ISID */
    assert_memory_equal(thief->isid, p->isid, sizeof(p->isid));
    snprintf(text, sizeof(text), "CHAP_N=" USER "\nCHAP_R=%s", proof_hex(&c, "another secret"));
    fails(thief, text);
    peer_host++;
    thief = peer_open(&bed);
    assert_int_equal(login_step(thief, 1, 3, true, LOGIN_NAMES), ISCSI_LOGIN_AUTH_FAILED);
    peer_gone(thief);
    peer_serves(p);
    peer_logout(p);
}

/* A secret that is one initiator's does not prove another. */
static void test_a_secret_of_one_initiator_is_not_anothers(void **state)
{
    struct challenge c;
    struct peer_end *p;
    char text[300];

    (void)state;
    bed_do(&bed, "chap.set",
           json_pack("{s:s, s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", "bob", "secret",
                     "a secret of his", "initiator", "iqn.2026-01.test:bob"));
    p = chap_challenged("7", &c);           /* as I_IQN */
    snprintf(text, sizeof(text), "CHAP_N=bob\nCHAP_R=%s", proof_hex(&c, "a secret of his"));
    fails(p, text);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", "bob"));
}

/* ---- configuration --------------------------------------------------------------------------------------- */

static void chap_refused(const char *direction, const char *secret, const char *words)
{
    bed_refused(&bed, "chap.set",
                json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", direction, "user", "carol",
                          "secret", secret),
                words);
}

/* 12.1.3.1: 96 bits at least, and never the same both ways. */
static void test_secrets_that_are_too_short_or_the_same_are_refused(void **state)
{
    char secret[300];

    (void)state;
    chap_refused("in", "", "secret");
    chap_refused("in", "elevenbytes", "12");
    chap_refused("out", SECRET, "");
    memset(secret, 's', 256);
    secret[256] = '\0';
    chap_refused("in", secret, "255");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup(fn, fresh)
#define MUTUAL(fn) cmocka_unit_test_setup_teardown(fn, mutual_up, mutual_down)
    const struct CMUnitTest tests[] = {
        CASE(test_every_digest_proves),
        CASE(test_the_first_known_digest_is_chosen),
        CASE(test_lists_without_a_known_digest_fail),
        CASE(test_a_digest_that_is_not_allowed_is_no_downgrade),
        CASE(test_proofs_in_every_notation_are_taken),
        CASE(test_proofs_that_are_none_fail),
        CASE(test_proofs_of_a_wrong_length_fail),
        CASE(test_each_byte_of_a_proof_counts),
        CASE(test_a_wrong_user_fails_like_a_wrong_secret),
        CASE(test_a_user_whose_name_looks_like_hex_is_taken_by_the_letter),
        CASE(test_user_names_are_bounded),
        MUTUAL(test_the_target_proves_itself_when_asked),
        MUTUAL(test_identifiers_that_are_no_byte_fail),
        MUTUAL(test_challenges_that_are_none_fail),
        MUTUAL(test_challenges_have_at_most_1024_bytes),
        MUTUAL(test_half_a_question_to_the_target_fails),
        CASE(test_asked_for_a_proof_that_is_not_configured_fails),
        MUTUAL(test_the_targets_own_challenge_is_not_answered),
        MUTUAL(test_the_target_answers_nobody_who_has_not_proved_himself),
        MUTUAL(test_a_proof_of_the_target_opens_no_session),
        CASE(test_a_proof_is_good_for_its_own_challenge_only),
        CASE(test_no_challenge_comes_twice),
        CASE(test_keys_out_of_their_order_fail),
        CASE(test_the_stage_is_not_left_before_the_proof),
        CASE(test_chap_keys_in_the_operational_stage_are_refused),
        CASE(test_ways_around_the_proof_are_refused),
        CASE(test_a_failed_proof_ends_the_connection),
        CASE(test_nobody_takes_a_session_over_without_a_proof),
        CASE(test_a_secret_of_one_initiator_is_not_anothers),
        CASE(test_secrets_that_are_too_short_or_the_same_are_refused),
    };

    return cmocka_run_group_tests(tests, up, down);
}
