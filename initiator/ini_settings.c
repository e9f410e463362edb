/*
 * ini_settings.c - settings of a session by the names of open-iscsi's node records
 *
 * One table, from INI_SETTINGS in ini.h, says each key's kind and bounds; credentials are the few that are no
 * numbers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini.h"

const char INI_KEY_UNKNOWN[] = "not a setting that is known here";

enum kind { KIND_NUM, KIND_BOOL, KIND_DIGEST, KIND_EIGHTS, KIND_TRANSPORT };

const char *const ini_transport_names[] = { "auto", "tcp", "shm" };

static const struct row {
    const char *key;
    size_t key_len, off;
    uint8_t kind;
    int32_t def, lo, hi;
} rows[] = {
#define X(key, field, kind, def, lo, hi)                                                                       \
    { key, sizeof(key) - 1, offsetof(struct ini_settings, field), KIND_##kind, def, lo, hi },
    INI_SETTINGS(X)
#undef X
};

static int32_t *field_of(struct ini_settings *s, const struct row *r)
{
    return (int32_t *)((char *)s + r->off);
}

void ini_settings_default(struct ini_settings *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        *field_of(out, &rows[i]) = rows[i].def;
    out->cmd_timeout_s = 30;
    out->chap_algs = out->disc_chap_algs = CHAP_ALGS_ALL;
}

static const char *number_set(int32_t *to, const struct row *r, const char *value)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(value, &end, 10);
    if (end == value || *end || errno || value[0] == ' ' || value[0] == '+')
        return "is not a whole number";
    if (v < r->lo)
        return "is below what is allowed";
    if (v > r->hi)
        return "is above what is allowed";
    *to = (int32_t)v;
    return NULL;
}

static const char *eights_set(int32_t *to, const struct row *r, const char *value)
{
    int32_t v;
    const char *bad = number_set(&v, r, value);

    if (!bad && v % 8)
        bad = "is not a multiple of 8";
    if (!bad)
        *to = v;
    return bad;
}

static const char *bool_set(int32_t *to, const char *value)
{
    if (strcmp(value, "Yes") && strcmp(value, "No"))
        return "must be Yes or No";
    *to = value[0] == 'Y';
    return NULL;
}

static const char *digest_set(int32_t *to, const char *value)
{
    static const char *const lists[] = {    /* by enum iscsi_digest_pref */
        [ISCSI_DIGEST_NONE] = "None",
        [ISCSI_DIGEST_NONE_CRC32C] = "None,CRC32C",
        [ISCSI_DIGEST_CRC32C_NONE] = "CRC32C,None",
        [ISCSI_DIGEST_CRC32C] = "CRC32C",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (!strcmp(value, lists[i])) {
            *to = (int32_t)i;
            return NULL;
        }
    return "must be None, CRC32C, \"None,CRC32C\" or \"CRC32C,None\"";
}

static const char *transport_set(int32_t *to, const char *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(ini_transport_names); i++)
        if (!strcmp(value, ini_transport_names[i])) {
            *to = (int32_t)i;
            return NULL;
        }
    return "must be auto, tcp or shm";
}

/* ---- credentials ---------------------------------------------------------------------------------------- */

/* As open-iscsi writes and reads what is not set. */
static const char *or_empty(const char *value)
{
    return strcmp(value, "<empty>") ? value : "";
}

/* A record is lines of key = value: what it would give back otherwise is not taken, or a login that works today
 * would fail after a restart. */
static const char *line_refusal(const char *value)
{
    static const char blanks[] = " \t";
    const size_t n = strlen(value);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)value[i] < ' ' || value[i] == 0x7f)
            return "has a control character, which no node record can hold";
    if (n && (strchr(blanks, value[0]) || strchr(blanks, value[n - 1])))
        return "begins or ends with a blank, which no node record can hold";
    return NULL;
}

static const char *name_set(struct chap_cred *c, const char *value)
{
    const char *text = or_empty(value), *bad = line_refusal(text);
    const size_t n = strlen(text);

    if (n > CHAP_NAME_LEN_MAX)
        return "is longer than 255 bytes";
    if (bad)
        return bad;
    memset(c->name, 0, sizeof(c->name));
    memcpy(c->name, text, n);
    return NULL;
}

static const char *secret_set(struct chap_cred *c, const struct chap_cred *other, const char *value)
{
    const char *text = or_empty(value), *bad = line_refusal(text);
    const size_t n = strlen(text);

    if (!bad && n)
        bad = chap_secret_refusal(text, n, other->secret_len ? other->secret : NULL, other->secret_len);
    if (bad)
        return bad;
    memset(c->secret, 0, sizeof(c->secret));
    memcpy(c->secret, text, n);
    c->secret_len = (uint32_t)n;
    return NULL;
}

static const char *algs_set(unsigned *to, const char *value)
{
    unsigned algs = 0;

    while (*value) {
        const size_t n = strcspn(value, ",");
        char word[16];
        unsigned alg;

        if (!n || n >= sizeof(word))
            return "must be a list of MD5, SHA1, SHA256, SHA3-256";
        memcpy(word, value, n);
        word[n] = '\0';
        alg = chap_alg_from_name(word);
        if (!alg)
            return "must be a list of MD5, SHA1, SHA256, SHA3-256";
        algs |= 1u << alg;
        value += n + (value[n] == ',');
    }
    *to = algs ? algs : CHAP_ALGS_ALL;
    return NULL;
}

static const char *auth_set(struct chap_cred *user, struct chap_cred *user_in, unsigned *algs, const char *key,
                            const char *value)
{
    if (!strcmp(key, "username"))
        return name_set(user, value);
    if (!strcmp(key, "password"))
        return secret_set(user, user_in, value);
    if (!strcmp(key, "username_in"))
        return name_set(user_in, value);
    if (!strcmp(key, "password_in"))
        return secret_set(user_in, user, value);
    if (!strcmp(key, "chap_algs"))
        return algs_set(algs, value);
    /* As open-iscsi: checked, and then CHAP is done exactly where a name is set. Orchestrators set both. */
    if (!strcmp(key, "authmethod"))
        return !strcmp(value, "CHAP") || !strcmp(value, "None") ? NULL : "must be CHAP or None";
    return INI_KEY_UNKNOWN;
}

const char *ini_settings_set(struct ini_settings *s, const char *key, const char *value)
{
    static const char auth[] = "node.session.auth.", disc[] = "discovery.sendtargets.auth.";

    const size_t len = strlen(key);

    if (!strncmp(key, auth, sizeof(auth) - 1))
        return auth_set(&s->user, &s->user_in, &s->chap_algs, key + sizeof(auth) - 1, value);
    if (!strncmp(key, disc, sizeof(disc) - 1))
        return auth_set(&s->disc_user, &s->disc_user_in, &s->disc_chap_algs, key + sizeof(disc) - 1, value);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];

        if (r->key_len != len || memcmp(r->key, key, len))
            continue;
        switch (r->kind) {
        case KIND_NUM:       return number_set(field_of(s, r), r, value);
        case KIND_BOOL:      return bool_set(field_of(s, r), value);
        case KIND_EIGHTS:    return eights_set(field_of(s, r), r, value);
        case KIND_TRANSPORT: return transport_set(field_of(s, r), value);
        default:             return digest_set(field_of(s, r), value);
        }
    }
    return INI_KEY_UNKNOWN;
}
