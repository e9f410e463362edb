/*
 * fuzz_record.c - node records: as text, as settings, and changed key by key
 *
 * Input: a record's text; or keys and values to set in an empty or a full one, a line each. What is taken is the same after
 * it was written and read; settings from a record make a record that gives the same settings.
 */
#include "initiator/record.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_LEN_MAX (64u << 10)            /* a record of inputs as long as those here */

static const struct iscsi_portal portal = { .host = "192.0.2.7", .port = 3260, .tpgt = 1 };
static const char iqn[] = "iqn.2026-11.org.example:disk";

static bool cred_same(const struct chap_cred *a, const struct chap_cred *b)
{
    return !strcmp(a->name, b->name) && a->secret_len == b->secret_len &&
           !memcmp(a->secret, b->secret, a->secret_len);
}

static void settings_same(const struct ini_settings *a, const struct ini_settings *b)
{
#define X(key, field, kind, def, lo, hi) \
    fuzz_check(a->field == b->field); \
    fuzz_check(a->field >= lo && a->field <= hi);
    INI_SETTINGS(X)
#undef X
    fuzz_check(a->chap_algs == b->chap_algs && a->chap_algs && !(a->chap_algs & ~CHAP_ALGS_ALL));
    fuzz_check(cred_same(&a->user, &b->user) && cred_same(&a->user_in, &b->user_in));
}

/* The record, written and read. The caller frees it. */
static struct ini_record *reread(const struct ini_record *r)
{
    struct ini_record *again;
    char *text, *copy;
    size_t len;

    fuzz_check(!ini_record_text(r, &text, &len) && strlen(text) == len && len <= TEXT_LEN_MAX);
    copy = fuzz_string(text, len);
    fuzz_check(!ini_record_parse(copy, &again));
    free(copy);
    fuzz_check(!ini_record_text(again, &copy, &len) && !strcmp(copy, text));
    free(copy);
    free(text);
    return again;
}

static void settings_try(const struct ini_record *r)
{
    struct ini_settings s, again, before;
    struct ini_record *made, *read;
    char why[256];

    ini_settings_default(&before);
    s = before;
    if (ini_record_settings(r, &s, why)) {
        fuzz_check(why[0] && memchr(why, '\0', sizeof(why)));
        return;
    }
    fuzz_check(!why[0]);
    if (!memcmp(&s, &before, sizeof(s)))    /* it takes long, and has been done once */
        return;
    fuzz_check(!ini_record_new(iqn, &portal, &s, &made));
    read = reread(made);
    ini_settings_default(&again);
    fuzz_check(!ini_record_settings(read, &again, why));
    settings_same(&s, &again);
    ini_record_free(read);
    ini_record_free(made);
}

static void parse_try(const uint8_t *data, size_t len)
{
    char *text = fuzz_string(data, len);
    struct ini_record *r, *again;

    if (!ini_record_parse(text, &r)) {
        again = reread(r);
        settings_try(r);
        ini_record_free(again);
        ini_record_free(r);
    }
    free(text);
}

static void set_try(const uint8_t *data, size_t len, bool full)
{
    char *text = fuzz_string(data, len), *rest = text, *line, none[] = "";
    struct ini_settings s;
    struct ini_record *r;

    ini_settings_default(&s);
    fuzz_check(full ? !ini_record_new(iqn, &portal, &s, &r) : !ini_record_parse(none, &r));
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *value = strchr(line, '=');
        const char *got;

        if (value)
            *value++ = '\0';
        if (!value || ini_record_set(r, line, value))
            continue;
        got = ini_record_get(r, line);
        fuzz_check(*value && strcmp(value, "<empty>") ? got && !strcmp(got, value) : !got);
    }
    ini_record_free(reread(r));
    settings_try(r);
    ini_record_free(r);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };

    const uint8_t how = fuzz_u8(&in);

    if (how & 1)
        set_try(in.at, in.left, how & 2);
    else
        parse_try(in.at, in.left);
    return 0;
}
