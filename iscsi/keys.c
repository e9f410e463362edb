/*
 * keys.c - the negotiation of operational keys, for both roles
 *
 * Every key is a row of ISCSI_KEYS; a few more that have no result of their own are rows of extras[]. Owns what
 * a key's rule makes of two values, what is answered, and what answer an offer allows. Keys that name things
 * (InitiatorName, SendTargets, CHAP_A ...) and unknown ones are left to the caller.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "iscsi/keys.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(i) ((uint64_t)1 << (i))

enum kind { KEY_BOOL, KEY_NUM, KEY_DIGEST };
enum rule { RULE_OR, RULE_AND, RULE_MIN, RULE_MAX, RULE_LIST, RULE_DECLARE };

struct row {
    const char *key;
    size_t field;                           /* offset in struct iscsi_params */
    enum kind kind;
    uint32_t def, min, max;
    enum rule rule;
};

enum row_index {
#define X(key, field, kind, def, lo, hi, rule) ROW_##field,
    ISCSI_KEYS(X)
#undef X
    ROW_NR
};

static const struct row rows[ROW_NR] = {
#define X(key, field, kind, def, lo, hi, rule) \
    { #key, offsetof(struct iscsi_params, field), KEY_##kind, def, lo, hi, RULE_##rule },
    ISCSI_KEYS(X)
#undef X
};

/* Where a key has a meaning: only on a session's first connection (LO), not in discovery (Irrelevant there). */
enum { LEADING = 1, NORMAL = 2 };
static const uint8_t scopes[ROW_NR] = {
    [ROW_connections_max] = LEADING | NORMAL,
    [ROW_initial_r2t]     = LEADING | NORMAL,
    [ROW_immediate_data]  = LEADING | NORMAL,
    [ROW_burst_max]       = LEADING | NORMAL,
    [ROW_first_burst_max] = LEADING | NORMAL,
    [ROW_time2wait_s]     = LEADING,
    [ROW_time2retain_s]   = LEADING,
    [ROW_r2t_max]         = LEADING | NORMAL,
    [ROW_pdu_in_order]    = LEADING | NORMAL,
    [ROW_seq_in_order]    = LEADING | NORMAL,
    [ROW_erl]             = LEADING,
};

/* Keys that we answer in one way and keep nothing of. We never offer them. */
static const char *protocol_level_answer(const char *value);
static const char *task_reporting_answer(const char *value);
static const struct extra {
    const char *key;
    const char *answer;                     /* a constant one; else: */
    const char *(*choose)(const char *value);   /* NULL for Reject */
    uint8_t scope;
} extras[] = {
    /* 13.25: SHOULD be "Reject", MAY be "No", never NotUnderstood. "No" is what an initiator of RFC 3720, which
     * still negotiates them, takes for an answer and not for a failure. The intervals MUST be "Reject". */
    { "IFMarker", "No", NULL, 0 },
    { "OFMarker", "No", NULL, 0 },
    { "IFMarkInt", "Reject", NULL, 0 },
    { "OFMarkInt", "Reject", NULL, 0 },
    { "TaskReporting", NULL, task_reporting_answer, LEADING | NORMAL },          /* 13.23 */
    { "iSCSIProtocolLevel", NULL, protocol_level_answer, LEADING | NORMAL },     /* 13.24 */
};
static_assert(ROW_NR + ARRAY_SIZE(extras) <= 64, "seen and sent have a bit for each");

/* ---- values -------------------------------------------------------------------------------------------- */

static uint32_t *field_of(struct iscsi_params *p, unsigned i)
{
    return (uint32_t *)((char *)p + rows[i].field);
}

/* What this side wants of a row, inside the RFC's limits whatever was configured. */
static uint32_t wanted(const struct iscsi_negotiation *n, unsigned i)
{
    uint32_t v = *(const uint32_t *)((const char *)n->offer + rows[i].field);

    if (i == ROW_first_burst_max && v > n->offer->burst_max)
        v = n->offer->burst_max;            /* 13.14: never over MaxBurstLength */
    if (v < rows[i].min)
        return rows[i].min;
    return v > rows[i].max ? rows[i].max : v;
}

static uint32_t combine(enum rule rule, uint32_t a, uint32_t b)
{
    switch (rule) {
    case RULE_OR:      return a || b;
    case RULE_AND:     return a && b;
    case RULE_MIN:     return a < b ? a : b;
    case RULE_MAX:     return a > b ? a : b;
    case RULE_LIST:
    case RULE_DECLARE: break;
    }
    assert(!"lists and declarations are not combined");
    return a;
}

/* A number or a boolean of a row. False when it is neither or out of range. */
static bool value_parse(const struct row *r, const char *value, uint32_t *out)
{
    uint64_t v;

    if (r->kind == KEY_BOOL) {
        *out = !strcmp(value, "Yes");
        return *out || !strcmp(value, "No");
    }
    if (iscsi_text_number(value, &v) || v < r->min || v > r->max)
        return false;
    *out = (uint32_t)v;
    return true;
}

static void value_add(struct iscsi_text *out, const struct row *r, uint32_t v)
{
    if (r->kind == KEY_BOOL)
        iscsi_text_add(out, r->key, v ? "Yes" : "No");
    else
        iscsi_text_addf(out, r->key, "%u", v);
}

/* True when @item is one of the comma-separated @list. */
static bool list_has(const char *list, const char *item)
{
    const size_t len = strlen(item);

    for (;;) {
        const size_t n = strcspn(list, ",");

        if (n == len && !memcmp(list, item, len))
            return true;
        if (!list[n])
            return false;
        list += n + 1;
    }
}

/* ---- digests ------------------------------------------------------------------------------------------- */

static const char *const digest_names[] = { "None", "CRC32C" };
static const struct digest_pref {
    const char *list;                       /* as offered */
    uint8_t accept;                         /* bits of 1 << index in digest_names */
} digest_prefs[] = {
    [ISCSI_DIGEST_NONE]        = { "None", 1 },
    [ISCSI_DIGEST_NONE_CRC32C] = { "None,CRC32C", 3 },
    [ISCSI_DIGEST_CRC32C_NONE] = { "CRC32C,None", 3 },
    [ISCSI_DIGEST_CRC32C]      = { "CRC32C", 2 },
};

static const struct digest_pref *digest_pref(const struct iscsi_negotiation *n, unsigned i)
{
    enum iscsi_digest_pref pref = i == ROW_header_digest ? n->offer->header_digest_pref
                                                         : n->offer->data_digest_pref;

    /* Whoever demands a digest demands it for data. Discovery carries none, and most initiators offer no digest
     * there: to insist would hide the targets. */
    if (n->discovery && pref == ISCSI_DIGEST_CRC32C)
        pref = ISCSI_DIGEST_CRC32C_NONE;
    return &digest_prefs[pref];
}

/* Index in digest_names of the first item of the peer's list that is accepted; -1 for none. */
static int digest_choose(const char *list, uint8_t accept)
{
    for (;;) {
        const size_t n = strcspn(list, ",");

        for (unsigned d = 0; d < ARRAY_SIZE(digest_names); d++)
            if (accept & 1u << d && n == strlen(digest_names[d]) && !memcmp(list, digest_names[d], n))
                return (int)d;
        if (!list[n])
            return -1;
        list += n + 1;
    }
}

/* ---- keys without a result ----------------------------------------------------------------------------- */

static const char *task_reporting_answer(const char *value)
{
    return list_has(value, "RFC3720") ? "RFC3720" : NULL;
}

/* The smaller of both, 0..31. Ours is 1: RFC 7143, without the commands of RFC 7144. */
static const char *protocol_level_answer(const char *value)
{
    uint64_t v;

    if (iscsi_text_number(value, &v) || v > 31)
        return NULL;
    return v ? "1" : "0";
}

/* ---- offers -------------------------------------------------------------------------------------------- */

void iscsi_params_default(struct iscsi_params *out)
{
    *out = (struct iscsi_params) {
#define X(key, field, kind, def, lo, hi, rule) .field = def,
        ISCSI_KEYS(X)
#undef X
        .peer_recv_data_max = ISCSI_LOGIN_DATA_MAX,
    };
}

void iscsi_negotiation_init(struct iscsi_negotiation *n, enum iscsi_role role, bool discovery,
                            const struct iscsi_params *offer)
{
    *n = (struct iscsi_negotiation) { .role = role, .discovery = discovery, .leading = true, .offer = offer };
    iscsi_params_default(&n->result);
}

static void row_offer(struct iscsi_negotiation *n, unsigned i, struct iscsi_text *out)
{
    const struct row *r = &rows[i];

    if (r->kind == KEY_DIGEST) {
        iscsi_text_add(out, r->key, digest_pref(n, i)->list);
    } else {
        const uint32_t v = wanted(n, i);

        value_add(out, r, v);
        /* A declaration holds at once; so does the value that decides a boolean, whose answer may be left out
         * (6.2.2): Yes for OR, No for AND. */
        if (!out->overflow && (r->rule == RULE_DECLARE || (r->rule == RULE_OR && v) ||
                               (r->rule == RULE_AND && !v)))
            *field_of(&n->result, i) = v;
    }
    if (!out->overflow)
        n->sent |= BIT(i);
}

void iscsi_negotiation_offer(struct iscsi_negotiation *n, struct iscsi_text *out)
{
    for (unsigned i = 0; i < ROW_NR; i++) {
        if (n->sent & BIT(i))
            continue;
        if (rows[i].rule != RULE_DECLARE) {
            if (n->role == ISCSI_TARGET || n->seen & BIT(i))
                continue;
            if ((n->discovery && scopes[i] & NORMAL) || (!n->leading && scopes[i] & LEADING))
                continue;
        }
        row_offer(n, i, out);
    }
}

/* ---- what comes ---------------------------------------------------------------------------------------- */

static bool is_word(const char *value)
{
    return !strcmp(value, "Reject") || !strcmp(value, "NotUnderstood") || !strcmp(value, "Irrelevant");
}

static enum iscsi_key_result key_reject(const char *key, struct iscsi_text *out)
{
    iscsi_text_add(out, key, "Reject");
    return ISCSI_KEY_REJECTED;
}

/* An offer that the peer left without a value: what is safe under the default and under the offer alike. */
static bool row_settle(struct iscsi_negotiation *n, unsigned i)
{
    const struct row *r = &rows[i];

    if (r->rule == RULE_DECLARE)
        return true;
    if (r->kind == KEY_DIGEST)              /* without an answer there is no digest; was it one we insist on? */
        return digest_pref(n, i)->accept & 1;
    *field_of(&n->result, i) = combine(r->rule, r->def, wanted(n, i));
    return true;
}

/* The peer's answer to row_offer(). */
static enum iscsi_key_result row_answered(struct iscsi_negotiation *n, unsigned i, const char *value)
{
    const struct row *r = &rows[i];
    uint32_t v;
    int d;

    if (!strcmp(value, "Reject"))
        return ISCSI_KEY_BAD_ANSWER;
    if (is_word(value))
        return row_settle(n, i) ? ISCSI_KEY_OK : ISCSI_KEY_BAD_ANSWER;
    if (r->kind == KEY_DIGEST) {
        d = strchr(value, ',') ? -1 : digest_choose(value, digest_pref(n, i)->accept);
        if (d < 0)
            return ISCSI_KEY_BAD_ANSWER;
        *field_of(&n->result, i) = (uint32_t)d;
        return ISCSI_KEY_OK;
    }
    /* An answer is the result. It is legal when combining it with the offer does not change it. */
    if (!value_parse(r, value, &v) || combine(r->rule, v, wanted(n, i)) != v)
        return ISCSI_KEY_BAD_ANSWER;
    *field_of(&n->result, i) = v;
    return ISCSI_KEY_OK;
}

/* The peer's offer: combined with what we want, and answered. */
static enum iscsi_key_result row_proposed(struct iscsi_negotiation *n, unsigned i, const char *value,
                                          struct iscsi_text *out)
{
    const struct row *r = &rows[i];
    uint32_t v;
    int d;

    if (r->kind == KEY_DIGEST) {
        d = digest_choose(value, digest_pref(n, i)->accept);
        if (d < 0)
            return key_reject(r->key, out);
        *field_of(&n->result, i) = (uint32_t)d;
        iscsi_text_add(out, r->key, digest_names[d]);
        return ISCSI_KEY_OK;
    }
    if (!value_parse(r, value, &v))
        return key_reject(r->key, out);
    if (r->rule == RULE_DECLARE) {
        n->result.peer_recv_data_max = v;
        return ISCSI_KEY_OK;
    }
    v = combine(r->rule, v, wanted(n, i));
    if (i == ROW_first_burst_max && n->seen & BIT(ROW_burst_max) && v > n->result.burst_max)
        v = n->result.burst_max;            /* the one key that leans on another */
    *field_of(&n->result, i) = v;
    value_add(out, r, v);
    return ISCSI_KEY_OK;
}

static enum iscsi_key_result row_take(struct iscsi_negotiation *n, unsigned i, const char *value,
                                      struct iscsi_text *out)
{
    const bool declare = rows[i].rule == RULE_DECLARE;
    const bool ours = n->sent & BIT(i);

    /* A declaration may be made again: it holds from then on. */
    if (n->seen & BIT(i) && !declare)
        return ISCSI_KEY_AGAIN;
    if (is_word(value) && !ours)            /* the words answer; nothing can be offered with them */
        return ISCSI_KEY_BAD_ANSWER;
    if (ours && (!declare || is_word(value))) {
        n->seen |= BIT(i);
        return row_answered(n, i, value);
    }
    n->seen |= BIT(i);
    return row_proposed(n, i, value, out);
}

static enum iscsi_key_result extra_take(struct iscsi_negotiation *n, unsigned i, const char *value,
                                        struct iscsi_text *out)
{
    const struct extra *e = &extras[i];
    const char *answer = e->answer;

    if (n->seen & BIT(ROW_NR + i))
        return ISCSI_KEY_AGAIN;
    n->seen |= BIT(ROW_NR + i);
    if (is_word(value))
        return ISCSI_KEY_BAD_ANSWER;
    if (!answer)
        answer = e->choose(value);
    if (!answer)
        return key_reject(e->key, out);
    iscsi_text_add(out, e->key, answer);
    return ISCSI_KEY_OK;
}

enum iscsi_key_result iscsi_negotiation_take(struct iscsi_negotiation *n, const char *key, const char *value,
                                             struct iscsi_text *out)
{
    unsigned i, scope;
    const bool too_long = strlen(value) > ISCSI_VALUE_LEN_MAX;

    for (i = 0; i < ROW_NR + ARRAY_SIZE(extras); i++)
        if (!strcmp(key, i < ROW_NR ? rows[i].key : extras[i - ROW_NR].key))
            break;
    if (i == ROW_NR + ARRAY_SIZE(extras))
        return ISCSI_KEY_NOT_OURS;
    scope = i < ROW_NR ? scopes[i] : extras[i - ROW_NR].scope;
    if (!(n->sent & BIT(i)) && !(n->seen & BIT(i)) && !is_word(value)) {
        if (n->discovery && scope & NORMAL) {
            n->seen |= BIT(i);
            iscsi_text_add(out, key, "Irrelevant");
            return ISCSI_KEY_OK;
        }
        if (too_long || (!n->leading && scope & LEADING)) {
            n->seen |= BIT(i);
            return key_reject(key, out);
        }
    }
    if (too_long)
        return ISCSI_KEY_BAD_ANSWER;
    return i < ROW_NR ? row_take(n, i, value, out) : extra_take(n, i - ROW_NR, value, out);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

/* Offers that still wait for an answer they must get. */
static bool row_waits(const struct iscsi_negotiation *n, unsigned i)
{
    const struct row *r = &rows[i];

    if (!(n->sent & BIT(i)) || n->seen & BIT(i) || r->rule == RULE_DECLARE)
        return false;
    if (r->rule == RULE_OR || r->rule == RULE_AND)
        return wanted(n, i) == (r->rule == RULE_AND);
    return true;
}

bool iscsi_negotiation_done(const struct iscsi_negotiation *n)
{
    for (unsigned i = 0; i < ROW_NR; i++)
        if (row_waits(n, i))
            return false;
    return true;
}

int iscsi_negotiation_finish(struct iscsi_negotiation *n)
{
    for (unsigned i = 0; i < ROW_NR; i++) {
        /* Targets that leave a key unanswered are in use; what both ends can live with is taken for it. */
        if (row_waits(n, i) && !row_settle(n, i))
            return -EPROTO;
        if (rows[i].kind == KEY_DIGEST && !(digest_pref(n, i)->accept & 1u << *field_of(&n->result, i)))
            return -EPROTO;
    }
    if (n->result.first_burst_max > n->result.burst_max)
        n->result.first_burst_max = n->result.burst_max;
    return 0;
}
