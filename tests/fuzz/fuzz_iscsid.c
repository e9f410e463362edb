/*
 * fuzz_iscsid.c - iscsid.conf, and initiatorname.iscsi
 *
 * Input: which of them, and its text. A bad line changes nothing and is named.
 */
#include <errno.h>

#include "initiator/record.h"
#include "tests/fuzz/fuzz.h"

static void conf_try(const uint8_t *data, size_t len)
{
    static const char name[] = "/etc/iscsi/iscsid.conf";
    char *text = fuzz_string(data, len), *again = fuzz_string(data, len), why[512], why_again[512];
    struct ini_settings before, s, twice;
    int err;

    ini_settings_default(&before);
    s = twice = before;
    memset(why, 0xa5, sizeof(why));
    err = ini_iscsid_conf_parse(text, name, &s, why);
    fuzz_check(memchr(why, '\0', sizeof(why)));
    if (err)
        fuzz_check(err == -EINVAL && !memcmp(&s, &before, sizeof(s)) && strstr(why, "line"));
#define X(key, field, kind, def, lo, hi) fuzz_check(s.field >= lo && s.field <= hi);
    INI_SETTINGS(X)
#undef X
    fuzz_check(s.user.secret_len <= CHAP_SECRET_LEN_MAX && memchr(s.user.name, '\0', sizeof(s.user.name)));
    fuzz_check(!s.user.secret_len || s.user.secret_len >= CHAP_SECRET_LEN_MIN);
    /* The same text says the same again. */
    fuzz_check(ini_iscsid_conf_parse(again, name, &twice, why_again) == err);
    fuzz_check(!strcmp(why, why_again) && !memcmp(&s, &twice, sizeof(s)));
    free(again);
    free(text);
}

static void name_try(const uint8_t *data, size_t len)
{
    char *text = fuzz_string(data, len), why[256], name[ISCSI_NAME_LEN_MAX + 1] = "", norm[ISCSI_NAME_LEN_MAX + 1];

    memset(why, 0xa5, sizeof(why));
    if (ini_name_parse(text, "/etc/iscsi/initiatorname.iscsi", name, why))
        fuzz_check(!name[0] && why[0] && memchr(why, '\0', sizeof(why)));
    else
        fuzz_check(!why[0] && !iscsi_name_refusal(name, norm) && !strcmp(name, norm));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };

    if (fuzz_u8(&in) & 1)
        name_try(in.at, in.left);
    else
        conf_try(in.at, in.left);
    return 0;
}
