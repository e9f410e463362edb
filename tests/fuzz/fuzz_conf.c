/*
 * fuzz_conf.c - the target's configuration file
 *
 * Input: its text. A document that was taken is taken again as it is written, and is the same then; one that
 * was refused comes with a reason.
 */
#include "iscsi/name.h"
#include "target/tgt_internal.h"
#include "tests/fuzz/fuzz.h"

static void limits_check(const json_t *doc)
{
    struct tgt_limits l;

    conf_limits(doc, &l);
    fuzz_check(l.login_ns && l.idle_ns && l.stall_ns && l.tick_ns);
    fuzz_check(l.tasks >= 512 && l.tasks <= 1 << 20 && l.buffer_mem >= BUF_MEM_MIN);
}

static void targets_check(json_t *doc)
{
    char norm[ISCSI_NAME_LEN_MAX + 1];
    size_t i, k;
    json_t *t, *l;

    json_array_foreach(json_object_get(doc, "targets"), i, t) {
        const char *iqn = json_string_value(json_object_get(t, "iqn"));

        fuzz_check(iqn && !iscsi_name_refusal(iqn, norm) && !strcmp(norm, iqn));
        fuzz_check(conf_target(doc, iqn) == t);
        json_array_foreach(json_object_get(t, "luns"), k, l) {
            const json_int_t number = json_integer_value(json_object_get(l, "lun"));

            fuzz_check(number >= 0 && number <= SCSI_LUN_MAX && conf_lun(t, (uint16_t)number) == l);
        }
        json_array_foreach(json_object_get(t, "chap"), k, l)
            fuzz_check(conf_algs(json_object_get(l, "algs")) & CHAP_ALGS_ALL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[CONF_WHY_MAX], *text, *again;
    json_t *doc, *twice;

    memset(why, 0xa5, sizeof(why));
    doc = conf_parse((const char *)data, size, why);
    if (!doc) {
        fuzz_check(why[0] && memchr(why, '\0', sizeof(why)));
        return 0;
    }
    limits_check(doc);
    targets_check(doc);
    text = conf_text(doc);
    fuzz_check(text);
    twice = conf_parse(text, strlen(text), why);
    fuzz_check(twice && json_equal(doc, twice));
    again = conf_text(twice);
    fuzz_check(again && !strcmp(text, again));
    free(again);
    free(text);
    json_decref(twice);
    json_decref(doc);
    return 0;
}
