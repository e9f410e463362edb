/*
 * fuzz_keys.c - the negotiation of operational keys
 *
 * Input: the kind of session and what this side wants; then either text from a peer that keeps no rule, or what
 * an honest peer wants. Results are always within the RFC's bounds; two honest ends agree on all of them.
 */
#include "iscsi/keys.h"
#include "tests/fuzz/fuzz.h"

enum { AS_TARGET = 1, DISCOVERY = 2, NOT_LEADING = 4, OFFERS_FIRST = 8, HONEST = 16 };

static void params_read(struct fuzz_in *in, struct iscsi_params *p)
{
    const uint8_t digests = fuzz_u8(in);

    iscsi_params_default(p);
    p->header_digest_pref = digests & 3;
    p->data_digest_pref = digests >> 2 & 3;
    p->connections_max = fuzz_u16(in);
    p->initial_r2t = digests >> 4 & 1;
    p->immediate_data = digests >> 5 & 1;
    p->recv_data_max = fuzz_u32(in);
    p->burst_max = fuzz_u32(in);
    p->first_burst_max = fuzz_u32(in);
    p->time2wait_s = fuzz_u16(in);
    p->time2retain_s = fuzz_u16(in);
    p->r2t_max = fuzz_u16(in);
    p->erl = digests >> 6;
}

/* A wish inside the RFC's bounds. FirstBurstLength leans on MaxBurstLength, which is judged elsewhere. */
static uint32_t clamped(uint32_t v, uint32_t lo, uint32_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* What comes of two wishes by a key's rule, RFC 7143 6.2.2 and 13. */
static uint32_t expected(const char *rule, uint32_t a, uint32_t b)
{
    if (!strcmp(rule, "MIN"))
        return a < b ? a : b;
    if (!strcmp(rule, "MAX"))
        return a > b ? a : b;
    return !strcmp(rule, "OR") ? a || b : a && b;
}

static void agreement_check(const struct iscsi_params *got, const struct iscsi_params *a,
                            const struct iscsi_params *b, const struct iscsi_negotiation *n)
{
    const bool few = n->discovery || !n->leading;       /* keys without a meaning there keep their default */

#define X(key, field, kind, def, lo, hi, rule) \
    if (strcmp(#rule, "LIST") && strcmp(#rule, "DECLARE") && strcmp(#key, "FirstBurstLength") && \
        !(few && got->field == def)) \
        fuzz_check(got->field == expected(#rule, clamped(a->field, lo, hi), clamped(b->field, lo, hi)));
    ISCSI_KEYS(X)
#undef X
}

/* Whatever a peer says, this side is held to no more than it wished for, or the default where nothing was said. */
static void wish_check(const struct iscsi_params *got, const struct iscsi_params *want)
{
#define X(key, field, kind, def, lo, hi, rule) \
    fuzz_check(strcmp(#rule, "MIN") || got->field <= def || got->field <= clamped(want->field, lo, hi)); \
    fuzz_check(strcmp(#rule, "DECLARE") || got->field == def || got->field == clamped(want->field, lo, hi));
    ISCSI_KEYS(X)
#undef X
}

static void results_check(const struct iscsi_params *p)
{
#define X(key, field, kind, def, lo, hi, rule) fuzz_check(p->field + 1ull > lo && p->field <= hi);
    ISCSI_KEYS(X)
#undef X
    fuzz_check(p->peer_recv_data_max >= 512 && p->peer_recv_data_max <= 16777215);
}

/* One pair to @n. What it adds to @out is one pair with the same key and a bounded value. */
static enum iscsi_key_result pair_take(struct iscsi_negotiation *n, const char *key, const char *value,
                                       struct iscsi_text *out)
{
    const uint32_t before = out->len;
    const enum iscsi_key_result r = iscsi_negotiation_take(n, key, value, out);
    const size_t len = out->len - before;

    if (r == ISCSI_KEY_NOT_OURS || r == ISCSI_KEY_AGAIN || r == ISCSI_KEY_BAD_ANSWER)
        fuzz_check(!len);
    if (len) {
        fuzz_check(len > strlen(key) + 1 && len <= strlen(key) + 1 + 16);
        fuzz_check(!memcmp(out->buf + before, key, strlen(key)) && out->buf[out->len - 1] == '\0');
    }
    results_check(&n->result);
    return r;
}

static void hostile_try(struct iscsi_negotiation *n, struct fuzz_in *in, bool offers)
{
    char *text = fuzz_copy(in->at, in->left), *key, *value, buf[ISCSI_LOGIN_DATA_MAX];
    struct iscsi_text out;
    uint32_t pos = 0;

    iscsi_text_init(&out, buf, sizeof(buf));
    if (offers)
        iscsi_negotiation_offer(n, &out);
    while (iscsi_text_next(text, (uint32_t)in->left, &pos, &key, &value) == 1 && !out.overflow)
        pair_take(n, key, value, &out);
    if (!offers)
        iscsi_negotiation_offer(n, &out);
    iscsi_negotiation_done(n);
    if (!iscsi_negotiation_finish(n))
        fuzz_check(n->result.first_burst_max <= n->result.burst_max);
    results_check(&n->result);
    wish_check(&n->result, n->offer);
    free(text);
}

/* Everything in @from, to @n. Return: whether nothing was wrong with it. */
static bool text_take(struct iscsi_negotiation *n, struct iscsi_text *from, struct iscsi_text *out)
{
    char *key, *value;
    uint32_t pos = 0;
    bool ok = true;

    while (iscsi_text_next(from->buf, from->len, &pos, &key, &value) == 1)
        ok &= pair_take(n, key, value, out) == ISCSI_KEY_OK;
    return ok;
}

static void honest_try(struct iscsi_negotiation *ini, struct iscsi_negotiation *tgt)
{
    char buf_i[2048], buf_t[2048], buf_r[2048];
    struct iscsi_text from_i, from_t, rest;
    bool ok;

    iscsi_text_init(&from_i, buf_i, sizeof(buf_i));
    iscsi_text_init(&from_t, buf_t, sizeof(buf_t));
    iscsi_text_init(&rest, buf_r, sizeof(buf_r));
    iscsi_negotiation_offer(ini, &from_i);
    ok = text_take(tgt, &from_i, &from_t);
    iscsi_negotiation_offer(tgt, &from_t);
    fuzz_check(!from_i.overflow && !from_t.overflow);
    ok &= text_take(ini, &from_t, &rest);
    fuzz_check(!rest.len);                  /* nobody answers an answer */
    if (!ok)                                /* digests that cannot be had together are the only reason */
        return;
    fuzz_check(iscsi_negotiation_done(ini) && iscsi_negotiation_done(tgt));
    fuzz_check(!iscsi_negotiation_finish(ini) && !iscsi_negotiation_finish(tgt));
    fuzz_check(ini->result.peer_recv_data_max == tgt->result.recv_data_max);
    fuzz_check(tgt->result.peer_recv_data_max == ini->result.recv_data_max);
#define X(key, field, kind, def, lo, hi, rule) \
    fuzz_check(!strcmp(#rule, "DECLARE") || ini->result.field == tgt->result.field);
    ISCSI_KEYS(X)
#undef X
    agreement_check(&ini->result, ini->offer, tgt->offer, ini);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t flags = fuzz_u8(&in);
    struct iscsi_params want, peer_wants;
    struct iscsi_negotiation n, peer;

    params_read(&in, &want);
    iscsi_negotiation_init(&n, flags & AS_TARGET ? ISCSI_TARGET : ISCSI_INITIATOR, flags & DISCOVERY, &want);
    n.leading = !(flags & NOT_LEADING);
    if (!(flags & HONEST)) {
        hostile_try(&n, &in, flags & OFFERS_FIRST);
        return 0;
    }
    params_read(&in, &peer_wants);
    iscsi_negotiation_init(&peer, flags & AS_TARGET ? ISCSI_INITIATOR : ISCSI_TARGET, flags & DISCOVERY,
                           &peer_wants);
    peer.leading = n.leading;
    honest_try(flags & AS_TARGET ? &peer : &n, flags & AS_TARGET ? &n : &peer);
    return 0;
}
