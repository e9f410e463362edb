/*
 * test_tgt_conf.c - the configuration document: what is refused, and that the message names thing and rule
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "target/tgt_internal.h"

#define IQN "iqn.2026-01.test:a"
#define TARGET(more) "{\"version\":1,\"targets\":[{\"iqn\":\"" IQN "\"" more "}]}"
#define LUN(more) TARGET(",\"luns\":[{\"lun\":3" more "}]")
#define CHAP(list) TARGET(",\"chap\":[" list "]")
#define CRED(dir, user, secret) "{\"direction\":\"" dir "\",\"user\":\"" user "\",\"secret\":\"" secret "\"}"

static const struct {
    const char *text, *words;               /* words: what the message must say */
} refused[] = {
    { "", "line 1" },
    { "{\"version\":1,\"targets\":[", "cut short" },
    { "[]", "one JSON object" },
    { "{}", "\"version\" is missing" },
    { "{\"version\":\"1\"}", "\"version\" must be a whole number" },
    { "{\"version\":2}", "version 2" },
    { "{\"version\":1,\"version\":1}", "duplicate" },
    { "{\"version\":1,\"tragets\":[]}", "\"tragets\" is not known" },
    { "{\"version\":1,\"targets\":{}}", "\"targets\" must be a list" },
    { "{\"version\":1,\"targets\":[7]}", "must be an object" },
    { "{\"version\":1,\"targets\":[{}]}", "\"iqn\" is missing" },
    { "{\"version\":1,\"targets\":[{\"iqn\":\"\"}]}", "is not an iSCSI name" },
    { "{\"version\":1,\"targets\":[{\"iqn\":\"iqn.2026-01.test:a b\"}]}", "is not an iSCSI name" },
    { "{\"version\":1,\"targets\":[{\"iqn\":\"iqn.2026-01.test:../etc\"}]}", "is not an iSCSI name" },
    { "{\"version\":1,\"targets\":[{\"iqn\":\"" IQN "\"},{\"iqn\":\"iqn.2026-01.TEST:A\"}]}",
      "is there already" },
    { "{\"version\":1,\"portals\":[\"nowhere\"]}", "portal \"nowhere\"" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:65536\"]}", "portal" },
    { "{\"version\":1,\"portals\":[\"/tmp/x.sock\"]}", "portal" },
    { "{\"version\":1,\"portals\":[7]}", "portal" },
    { TARGET(",\"alua\":{}"), "\"alua\" must be a list" },
    { TARGET(",\"alua\":[{\"state\":\"standby\"}]"), "\"group\" is missing" },
    { TARGET(",\"alua\":[{\"group\":2}]"), "port group 2: \"state\" is missing" },
    { TARGET(",\"alua\":[{\"group\":0,\"state\":\"standby\"}]"), "1 to 65535" },
    { TARGET(",\"alua\":[{\"group\":65536,\"state\":\"standby\"}]"), "1 to 65535" },
    { TARGET(",\"alua\":[{\"group\":1,\"state\":\"transitioning\"}]"), "it may be optimized" },
    { TARGET(",\"alua\":[{\"group\":1,\"state\":\"standby\",\"preferred\":1}]"), "true or false" },
    { TARGET(",\"alua\":[{\"group\":1,\"state\":\"standby\"},{\"group\":1,\"state\":\"offline\"}]"), "twice" },
    { LUN(",\"kind\":\"ram\",\"size\":4096,\"alua\":[{\"group\":1,\"state\":\"x\"}]"), "LUN 3, port group 1" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:3260,0\"]}", "portal group (1 to 65535)" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:3260,65536\"]}", "portal" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:3260,+1\"]}", "portal" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:3260,\"]}", "portal" },
    { "{\"version\":1,\"portals\":[\"192.0.2.1:3260,1,2\"]}", "portal" },
    { "{\"version\":1,\"portals\":[\",2\"]}", "portal" },
    { "{\"version\":1,\"limits\":[]}", "\"limits\" must be an object" },
    { "{\"version\":1,\"limits\":{\"stall\":1}}", "\"stall\" is not known" },
    { "{\"version\":1,\"limits\":{\"stall_s\":0}}", "\"stall_s\" must be a whole number from 1 to 3600" },
    { "{\"version\":1,\"limits\":{\"stall_s\":3601}}", "from 1 to 3600" },
    { "{\"version\":1,\"limits\":{\"idle_s\":\"30\"}}", "whole number" },
    { "{\"version\":1,\"limits\":{\"login_s\":-1}}", "whole number" },
    { "{\"version\":1,\"limits\":{\"tasks\":511}}", "from 512" },
    { "{\"version\":1,\"limits\":{\"buffer_mib\":15}}", "from 16 to 4095" },
    { "{\"version\":1,\"limits\":{\"buffer_mib\":4096}}", "from 16 to 4095" },
    { TARGET(",\"lun\":[]"), "\"lun\" is not known" },
    { LUN(""), "LUN 3: \"kind\" is missing" },
    { LUN(",\"kind\":\"tape\""), "kind \"tape\"" },
    { LUN(",\"kind\":\"ram\""), "needs a size" },
    { LUN(",\"kind\":\"ram\",\"size\":0"), "size 0" },
    { LUN(",\"kind\":\"ram\",\"size\":-512"), "size -512" },
    { LUN(",\"kind\":\"ram\",\"size\":1000"), "no multiple of the block size 512" },
    { LUN(",\"kind\":\"ram\",\"size\":512,\"block_size\":4096"), "no multiple of the block size 4096" },
    { LUN(",\"kind\":\"ram\",\"size\":8192,\"block_size\":1024"), "block size 1024" },
    { LUN(",\"kind\":\"ram\",\"size\":2305843009213693952"), "1 EiB" },
    { LUN(",\"kind\":\"ram\",\"size\":512,\"path\":\"/x\""), "has no path" },
    { LUN(",\"kind\":\"ram\",\"size\":\"512\""), "\"size\" must be a whole number" },
    { LUN(",\"kind\":\"file\""), "needs a path" },
    { LUN(",\"kind\":\"file\",\"path\":\"disk.img\""), "relative" },
    { LUN(",\"kind\":\"file\",\"path\":\"/a/../disk.img\""), "\"..\"" },
    { LUN(",\"kind\":\"file\",\"path\":\"/a//disk.img\""), "empty part" },
    { LUN(",\"kind\":\"file\",\"path\":\"/a/disk/\""), "empty part" },
    { LUN(",\"kind\":\"null\",\"size\":512,\"readonly\":1"), "\"readonly\" must be true or false" },
    { LUN(",\"kind\":\"null\",\"size\":512,\"naa\":\"6\""), "naa" },
    { LUN(",\"kind\":\"null\",\"size\":512,\"naa\":\"50000000000000000000000000000000\""), "naa" },
    { TARGET(",\"luns\":[{\"lun\":16384,\"kind\":\"null\",\"size\":512}]"), "out of range" },
    { TARGET(",\"luns\":[{\"lun\":-1,\"kind\":\"null\",\"size\":512}]"), "out of range" },
    { TARGET(
          ",\"luns\":[{\"lun\":1,\"kind\":\"null\",\"size\":512},{\"lun\":1,\"kind\":\"null\",\"size\":512}]"),
      "has LUN 1 already" },
    { TARGET(",\"luns\":[{\"lun\":1,\"kind\":\"file\",\"path\":\"/x\"},"
             "{\"lun\":2,\"kind\":\"file\",\"path\":\"/x\"}]"),
      "would corrupt it" },
    { TARGET(
          ",\"luns\":[{\"lun\":1,\"kind\":\"null\",\"size\":512,\"naa\":\"6000000000000000000000000000000a\"},"
          "{\"lun\":2,\"kind\":\"null\",\"size\":512,\"naa\":\"6000000000000000000000000000000A\"}]"),
      "naa" },
    { TARGET(",\"acls\":[{\"initiator\":\"bogus\"}]"), "is not an iSCSI name" },
    { TARGET(",\"acls\":[{\"initiator\":\"*\",\"luns\":[1,1]}]"), "names 1 twice" },
    { TARGET(",\"acls\":[{\"initiator\":\"*\",\"luns\":[\"1\"]}]"), "whole numbers" },
    { TARGET(",\"acls\":[{\"initiator\":\"*\",\"luns\":[99999]}]"), "out of range" },
    { TARGET(",\"acls\":[{\"initiator\":\"*\"},{\"initiator\":\"*\"}]"), "already" },
    { CHAP(CRED("sideways", "u", "123456789012")), "direction" },
    { CHAP(CRED("in", "", "123456789012")), "user name" },
    { CHAP(CRED("in", "u", "short")), "12" },
    { CHAP(CRED("in", "u", "123456789012") "," CRED("in", "u", "another secret")), "there twice" },
    { CHAP(CRED("in", "u", "123456789012") "," CRED("out", "t", "123456789012")), "" },
    { CHAP("{\"direction\":\"in\",\"user\":\"u\",\"secret\":\"123456789012\",\"algs\":[\"ROT13\"]}"),
      "\"algs\"" },
    { CHAP("{\"direction\":\"in\",\"user\":\"u\",\"secret\":\"123456789012\",\"algs\":[]}"), "empty" },
};

static void test_documents_that_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        char why[CONF_WHY_MAX] = "";

        if (conf_parse(refused[i].text, strlen(refused[i].text), why))
            fail_msg("taken: %s", refused[i].text);
        if (!*why || !strstr(why, refused[i].words))
            fail_msg("%s: \"%s\" does not say \"%s\"", refused[i].text, why, refused[i].words);
        assert_null(strstr(why, "123456789012"));       /* no secret in a message */
    }
}

/* Whatever is left of a file that was cut short is refused, byte by byte. */
static void test_every_truncation_is_refused(void **state)
{
    const char *text = CHAP(CRED("in", "u", "123456789012"));
    char why[CONF_WHY_MAX];
    json_t *doc;

    (void)state;
    for (size_t n = 0; n < strlen(text); n++)
        assert_null(conf_parse(text, n, why));
    doc = conf_parse(text, strlen(text), why);
    assert_non_null(doc);
    json_decref(doc);
}

static void test_a_portal_is_an_address_with_a_port_and_a_group(void **state)
{
    static const struct {
        const char *text, *addr;
        uint16_t group;
    } rows[] = {
        { "192.0.2.1", "192.0.2.1:3260", 1 },        { "192.0.2.1:7,65535", "192.0.2.1:7", 65535 },
        { "[2001:db8::1]:9,2", "[2001:db8::1]:9", 2 }, { "[::],3", "[::]:3260", 3 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[RT_ADDR_STR_MAX];
        struct rt_addr addr;
        uint16_t group;

        assert_int_equal(tgt_portal_parse(rows[i].text, &addr, &group), 0);
        rt_addr_format(&addr, text);
        assert_string_equal(text, rows[i].addr);
        assert_int_equal(group, rows[i].group);
    }
}

static void test_names_are_put_in_lower_case(void **state)
{
    const char *text = "{\"version\":1,\"targets\":[{\"iqn\":\"IQN.2026-01.Test:A\"}]}";
    char why[CONF_WHY_MAX];
    json_t *doc = conf_parse(text, strlen(text), why);

    (void)state;
    assert_non_null(doc);
    assert_non_null(conf_target(doc, IQN));
    json_decref(doc);
}

static void test_what_is_written_is_read_back(void **state)
{
    const char *text = TARGET(
        ",\"luns\":[{\"lun\":0,\"kind\":\"file\",\"path\":\"/x y/\\u00e4\",\"size\":4096,\"block_size\":4096,"
        "\"readonly\":true,\"naa\":\"6000000000000000000000000000000a\"}],"
        "\"acls\":[{\"initiator\":\"*\",\"luns\":[0],\"readonly\":true}],"
        "\"chap\":[{\"direction\":\"in\",\"user\":\"u\",\"secret\":\"\\\"quoted\\\\ secret\","
        "\"algs\":[\"SHA3-256\",\"MD5\"]}]");
    char why[CONF_WHY_MAX] = "", *out;
    json_t *doc = conf_parse(text, strlen(text), why), *again;

    (void)state;
    assert_string_equal(why, "");
    assert_non_null(doc);
    out = conf_text(doc);
    again = conf_parse(out, strlen(out), why);
    assert_true(json_equal(doc, again));
    assert_int_equal(
        conf_algs(json_object_get(json_array_get(json_object_get(conf_target(doc, IQN), "chap"), 0), "algs")),
        1u << CHAP_SHA3_256 | 1u << CHAP_MD5);
    free(out);
    json_decref(doc);
    json_decref(again);
}

static void test_limits_are_taken_and_the_others_keep_their_default(void **state)
{
    const char *text = "{\"version\":1,\"limits\":{\"stall_s\":3600,\"tasks\":512,\"buffer_mib\":4095}}";
    char why[CONF_WHY_MAX] = "";
    json_t *doc = conf_parse(text, strlen(text), why), *empty = conf_empty();
    struct tgt_limits lim;

    (void)state;
    assert_non_null(doc);
    conf_limits(doc, &lim);
    assert_int_equal(lim.stall_ns, 3600 * RT_S);
    assert_int_equal(lim.idle_ns, 30 * RT_S);
    assert_int_equal(lim.login_ns, 15 * RT_S);
    assert_int_equal(lim.tick_ns, 5 * RT_S);
    assert_int_equal(lim.tasks, 512);
    assert_int_equal(lim.buffer_mem, (size_t)4095 << 20);
    conf_limits(empty, &lim);
    assert_int_equal(lim.stall_ns, 30 * RT_S);
    assert_int_equal(lim.buffer_mem, BUF_MEM_DEFAULT);
    json_decref(doc);
    json_decref(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_that_are_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_limits_are_taken_and_the_others_keep_their_default),
        cmocka_unit_test(test_a_portal_is_an_address_with_a_port_and_a_group),
        cmocka_unit_test(test_names_are_put_in_lower_case),
        cmocka_unit_test(test_what_is_written_is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
