/*
 * chap.c - CHAP: what each side answers to the keys of the other, and when it believes them
 *
 * Owns the order of the exchange (RFC 7143 12.1.3), the digests (by OpenSSL) and the checks against replayed
 * and reflected challenges that one connection can make. Left to others: AuthMethod, the lookup of users, the
 * limits on guessing, and the quality of the random bytes.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "iscsi/chap.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- algorithms ---------------------------------------------------------------------------------------- */

static const struct chap_alg_row {
    unsigned alg;
    const char *name;                       /* as in node.session.auth.chap_algs */
    const char *evp;
    uint32_t digest_len;                    /* bytes */
} algs[] = {                                /* strongest first: the order of the offer */
    { CHAP_SHA3_256, "SHA3-256", "SHA3-256", 32 },
    { CHAP_SHA256, "SHA256", "SHA256", 32 },
    { CHAP_SHA1, "SHA1", "SHA1", 20 },
    { CHAP_MD5, "MD5", "MD5", 16 },
};

static const struct chap_alg_row *alg_row(uint64_t alg)
{
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++)
        if (algs[i].alg == alg)
            return &algs[i];
    return NULL;
}

unsigned chap_alg_from_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++)
        if (!strcmp(algs[i].name, name))
            return algs[i].alg;
    return 0;
}

const char *chap_alg_name(unsigned alg)
{
    const struct chap_alg_row *r = alg_row(alg);

    return r ? r->name : "unknown CHAP digest";
}

/* The algorithms of @mask that this machine's OpenSSL computes: under FIPS, MD5 is not among them. */
static unsigned algs_available(unsigned mask)
{
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++) {
        EVP_MD *md = EVP_MD_fetch(NULL, algs[i].evp, NULL);

        if (!md)
            mask &= ~(1u << algs[i].alg);
        EVP_MD_free(md);
    }
    return mask & CHAP_ALGS_ALL;
}

/* H(id || secret || challenge), RFC 1994 4.1. False when the library refuses. */
static bool chap_digest(unsigned alg, uint8_t id, const uint8_t *secret, size_t secret_len,
                        const uint8_t *challenge, size_t challenge_len, uint8_t out[static CHAP_DIGEST_LEN_MAX])
{
    const struct chap_alg_row *r = alg_row(alg);
    EVP_MD *md = r ? EVP_MD_fetch(NULL, r->evp, NULL) : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    bool ok = md && ctx && EVP_DigestInit_ex2(ctx, md, NULL) && EVP_DigestUpdate(ctx, &id, 1) &&
              EVP_DigestUpdate(ctx, secret, secret_len) && EVP_DigestUpdate(ctx, challenge, challenge_len) &&
              EVP_DigestFinal_ex(ctx, digest, &len);

    ok = ok && len == r->digest_len;
    if (ok)
        memcpy(out, digest, len);
    OPENSSL_cleanse(digest, sizeof(digest));
    EVP_MD_CTX_free(ctx);
    EVP_MD_free(md);
    return ok;
}

/* ---- credentials --------------------------------------------------------------------------------------- */

static bool secret_same(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (!a_len || !CRYPTO_memcmp(a, b, a_len));
}

const char *chap_secret_refusal(const void *secret, size_t len, const void *other, size_t other_len)
{
    if (!len)
        return "the CHAP secret is empty: give one of 12 to 255 bytes";
    if (len < CHAP_SECRET_LEN_MIN)
        return "the CHAP secret is shorter than 12 bytes and can be guessed from one login: give 12 to 255";
    if (len > CHAP_SECRET_LEN_MAX)
        return "the CHAP secret is longer than 255 bytes: give 12 to 255 bytes";
    if (other && other_len && secret_same(secret, len, other, other_len))
        return "the CHAP secrets of both directions are the same, so a stranger could send our own proof back "
               "to us: give each direction a secret of its own";
    return NULL;
}

/* A user alone, or a secret alone, is a half-made setting: it must fail and not turn into "no proof needed". */
static bool cred_given(const struct chap_cred *c)
{
    return c && (c->name[0] || c->secret_len);
}

/* ---- the keys of one step ------------------------------------------------------------------------------ */

enum { KEY_A, KEY_I, KEY_C, KEY_N, KEY_R, KEY_NR };
#define HAS(k) (1u << (k))
static const char *const key_names[KEY_NR] = { "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R" };

struct chap_keys {
    char *value[KEY_NR];                    /* borrowed from the data */
    unsigned have;                          /* HAS() of those that came */
};

/* Finds the CHAP keys. False for bad text and for a key that comes twice: which one should count? */
static bool keys_read(struct chap_keys *k, char *data, uint32_t len)
{
    uint32_t pos = 0;
    char *key, *value;
    int r;

    *k = (struct chap_keys) { .have = 0 };
    if (!data)
        return false;
    while ((r = iscsi_text_next(data, len, &pos, &key, &value)) == 1) {
        for (unsigned i = 0; i < KEY_NR; i++) {
            if (strcmp(key, key_names[i]) != 0)
                continue;
            if (k->have & HAS(i))
                return false;
            k->have |= HAS(i);
            k->value[i] = value;
        }
    }
    return r == 0;
}

/* CHAP_I is one octet. */
static bool id_read(const char *value, uint8_t *out)
{
    uint64_t v;

    if (iscsi_text_number(value, &v) || v > 255)
        return false;
    *out = (uint8_t)v;
    return true;
}

/* A proof is as long as its digest, to the byte. */
static bool proof_read(unsigned alg, const char *value, uint8_t out[static CHAP_DIGEST_LEN_MAX])
{
    const int want = (int)alg_row(alg)->digest_len;

    return iscsi_text_binary(value, out, (size_t)want) == want;
}

static void hex_add(struct iscsi_text *out, const char *key, const uint8_t *bytes, uint32_t len)
{
    char hex[2 * CHAP_DIGEST_LEN_MAX + 3];

    iscsi_text_hex(bytes, len, hex);
    iscsi_text_add(out, key, hex);
}

/* Adds CHAP_N and CHAP_R for the peer's challenge. @own: our own challenge, which must not come back as the
 * peer's: whoever has no secret would have us work out the proof for him (12.1.3). */
static bool proof_add(struct iscsi_text *out, const struct chap_cred *cred, unsigned alg, const char *id_value,
                      const char *challenge_value, const uint8_t *own, uint32_t own_len)
{
    uint8_t id, challenge[CHAP_CHALLENGE_LEN_MAX], digest[CHAP_DIGEST_LEN_MAX];
    int len;

    if (!id_read(id_value, &id))
        return false;
    len = iscsi_text_binary(challenge_value, challenge, sizeof(challenge));
    if (len < 1 || secret_same(challenge, (size_t)len, own, own_len))
        return false;
    if (!chap_digest(alg, id, cred->secret, cred->secret_len, challenge, (size_t)len, digest))
        return false;
    iscsi_text_add(out, "CHAP_N", cred->name);
    hex_add(out, "CHAP_R", digest, alg_row(alg)->digest_len);
    return true;
}

/* ---- initiator ----------------------------------------------------------------------------------------- */

enum { INI_START, INI_WAITS_CHALLENGE, INI_WAITS_PROOF, INI_DONE, INI_FAILED };

void chap_initiator_init(struct chap_initiator *c, const struct chap_cred *out, const struct chap_cred *in,
                         unsigned mask, const uint8_t random[static 33])
{
    *c = (struct chap_initiator) {
        .out = out,
        .in = cred_given(in) ? in : NULL,
        .algs = algs_available(mask),
        .state = INI_START,
        .own_id = random[0],
    };
    memcpy(c->own_challenge, random + 1, sizeof(c->own_challenge));
}

/* "CHAP_A=8,7,6,5" */
static enum chap_step ini_offer(struct chap_initiator *c, struct iscsi_text *out)
{
    char list[2 * ARRAY_SIZE(algs) + 1] = "";
    size_t n = 0;

    /* Settings that cannot prove anything, or prove it to anybody, do not start. */
    if (!c->out || !c->out->name[0] || !c->out->secret_len || (c->in && !c->in->secret_len))
        return CHAP_FAILED;
    if (c->in && secret_same(c->out->secret, c->out->secret_len, c->in->secret, c->in->secret_len))
        return CHAP_FAILED;
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++)
        if (c->algs & 1u << algs[i].alg) {
            if (n)
                list[n++] = ',';
            list[n++] = (char)('0' + algs[i].alg);
        }
    if (!n)
        return CHAP_NO_ALG;
    iscsi_text_add(out, "CHAP_A", list);
    c->state = INI_WAITS_CHALLENGE;
    return CHAP_CONTINUE;
}

static enum chap_step ini_challenged(struct chap_initiator *c, const struct chap_keys *k,
                                     struct iscsi_text *out)
{
    uint64_t alg;

    if (k->have == HAS(KEY_A) && !strcmp(k->value[KEY_A], "Reject"))
        return CHAP_NO_ALG;
    if (k->have != (HAS(KEY_A) | HAS(KEY_I) | HAS(KEY_C)))
        return CHAP_FAILED;
    /* One that we did not offer would be a way to make us use a weaker one. */
    if (iscsi_text_number(k->value[KEY_A], &alg) || !alg_row(alg) || !(c->algs & 1u << alg))
        return CHAP_FAILED;
    c->alg = (unsigned)alg;
    c->own_challenge_len = alg_row(alg)->digest_len;    /* what targets of every age have room for */
    if (!proof_add(out, c->out, c->alg, k->value[KEY_I], k->value[KEY_C], c->own_challenge,
                   c->own_challenge_len))
        return CHAP_FAILED;
    if (!c->in) {
        c->state = INI_DONE;
        return CHAP_DONE;
    }
    iscsi_text_addf(out, "CHAP_I", "%u", c->own_id);
    hex_add(out, "CHAP_C", c->own_challenge, c->own_challenge_len);
    c->state = INI_WAITS_PROOF;
    return CHAP_CONTINUE;
}

static enum chap_step ini_proved(struct chap_initiator *c, const struct chap_keys *k)
{
    uint8_t want[CHAP_DIGEST_LEN_MAX], got[CHAP_DIGEST_LEN_MAX];
    bool same;

    if (k->have != (HAS(KEY_N) | HAS(KEY_R)))
        return CHAP_FAILED;
    if (c->in->name[0] && strcmp(k->value[KEY_N], c->in->name) != 0)
        return CHAP_FAILED;
    if (!proof_read(c->alg, k->value[KEY_R], got) ||
        !chap_digest(c->alg, c->own_id, c->in->secret, c->in->secret_len, c->own_challenge,
                     c->own_challenge_len, want))
        return CHAP_FAILED;
    same = !CRYPTO_memcmp(want, got, alg_row(c->alg)->digest_len);
    OPENSSL_cleanse(want, sizeof(want));
    if (!same)
        return CHAP_FAILED;
    c->state = INI_DONE;
    return CHAP_DONE;
}

enum chap_step chap_initiator_step(struct chap_initiator *c, char *data, uint32_t len, struct iscsi_text *out)
{
    enum chap_step step = CHAP_FAILED;
    struct chap_keys k;

    if (c->state == INI_START)
        step = ini_offer(c, out);
    else if (!keys_read(&k, data, len))
        step = CHAP_FAILED;
    else if (c->state == INI_WAITS_CHALLENGE)
        step = ini_challenged(c, &k, out);
    else if (c->state == INI_WAITS_PROOF)
        step = ini_proved(c, &k);
    if (out->overflow)
        step = CHAP_FAILED;
    if (step == CHAP_FAILED || step == CHAP_NO_ALG)
        c->state = INI_FAILED;              /* for good: a second try is a new login with a new challenge */
    return step;
}

/* ---- target -------------------------------------------------------------------------------------------- */

enum { TGT_WAITS_ALGS, TGT_WAITS_PROOF, TGT_DONE, TGT_FAILED };

void chap_target_init(struct chap_target *c, unsigned mask, const uint8_t random[static 33])
{
    *c = (struct chap_target) { .algs = algs_available(mask), .state = TGT_WAITS_ALGS, .id = random[0] };
    memcpy(c->challenge, random + 1, sizeof(c->challenge));
}

/* The first of the initiator's list that is accepted (6.2.1). 0: none, or a list with what is no number. */
static unsigned alg_choose(char *list, unsigned accept)
{
    unsigned chosen = 0;
    char *next;

    for (; list; list = next) {
        uint64_t v;

        next = strchr(list, ',');
        if (next)
            *next++ = '\0';
        if (iscsi_text_number(list, &v))
            return 0;
        if (!chosen && alg_row(v) && accept & 1u << v)
            chosen = (unsigned)v;
    }
    return chosen;
}

static enum chap_step tgt_challenge(struct chap_target *c, const struct chap_keys *k, struct iscsi_text *out)
{
    if (k->have != HAS(KEY_A) || strlen(k->value[KEY_A]) > ISCSI_VALUE_LEN_MAX)
        return CHAP_FAILED;
    c->alg = alg_choose(k->value[KEY_A], c->algs);
    if (!c->alg)
        return CHAP_FAILED;
    c->challenge_len = alg_row(c->alg)->digest_len;
    iscsi_text_addf(out, "CHAP_A", "%u", c->alg);
    iscsi_text_addf(out, "CHAP_I", "%u", c->id);
    hex_add(out, "CHAP_C", c->challenge, c->challenge_len);
    c->state = TGT_WAITS_PROOF;
    return CHAP_CONTINUE;
}

/* Whether @got proves one of @in under the name that was given. Every record costs one digest, matching or not,
 * so the time tells neither whether the user exists nor where the proof went wrong. */
static const struct chap_cred *tgt_verify(const struct chap_target *c, const struct chap_cred *in,
                                          unsigned in_nr, const uint8_t *got)
{
    const uint32_t len = alg_row(c->alg)->digest_len;
    const struct chap_cred *found = NULL;
    uint8_t want[CHAP_DIGEST_LEN_MAX];

    for (unsigned i = 0; i < in_nr; i++) {
        const bool usable = in[i].name[0] && in[i].secret_len;
        const bool named = !strcmp(in[i].name, c->user);
        const bool made = chap_digest(c->alg, c->id, in[i].secret, in[i].secret_len, c->challenge,
                                      c->challenge_len, want);
        const bool same = made && !CRYPTO_memcmp(want, got, len);

        if (usable & named & same)
            found = &in[i];
    }
    OPENSSL_cleanse(want, sizeof(want));
    return found;
}

static enum chap_step tgt_prove(struct chap_target *c, const struct chap_cred *in, unsigned in_nr,
                                const struct chap_cred *own, const struct chap_keys *k, struct iscsi_text *out)
{
    const unsigned proof = HAS(KEY_N) | HAS(KEY_R), mutual = proof | HAS(KEY_I) | HAS(KEY_C);
    const struct chap_cred *user;
    uint8_t got[CHAP_DIGEST_LEN_MAX];
    size_t name_len;

    if (k->have != proof && k->have != mutual)
        return CHAP_FAILED;
    name_len = strlen(k->value[KEY_N]);
    if (name_len > CHAP_NAME_LEN_MAX)
        return CHAP_FAILED;
    memcpy(c->user, k->value[KEY_N], name_len + 1);
    if (!proof_read(c->alg, k->value[KEY_R], got))
        return CHAP_FAILED;
    user = tgt_verify(c, in, in_nr, got);
    if (!user)
        return CHAP_FAILED;
    if (k->have == mutual) {
        if (!own || !own->name[0] || !own->secret_len ||
            secret_same(own->secret, own->secret_len, user->secret, user->secret_len))
            return CHAP_FAILED;
        if (!proof_add(out, own, c->alg, k->value[KEY_I], k->value[KEY_C], c->challenge, c->challenge_len))
            return CHAP_FAILED;
        c->mutual_done = true;
    }
    c->state = TGT_DONE;
    return CHAP_DONE;
}

enum chap_step chap_target_step(struct chap_target *c, const struct chap_cred *in, unsigned in_nr,
                                const struct chap_cred *out_cred, char *data, uint32_t len,
                                struct iscsi_text *out)
{
    enum chap_step step = CHAP_FAILED;
    struct chap_keys k;

    if (keys_read(&k, data, len)) {
        if (c->state == TGT_WAITS_ALGS)
            step = tgt_challenge(c, &k, out);
        else if (c->state == TGT_WAITS_PROOF)
            step = tgt_prove(c, in, in_nr, out_cred, &k, out);
    }
    if (out->overflow)
        step = CHAP_FAILED;
    if (step == CHAP_FAILED) {
        c->state = TGT_FAILED;
        c->mutual_done = false;
    }
    return step;
}
