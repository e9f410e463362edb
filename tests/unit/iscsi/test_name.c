/*
 * test_name.c - names, portals and URLs: what is taken, and the sentence that each mistake gets
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "iscsi/name.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_names_in_use_are_taken_in_lower_case(void **state)
{
    static const char *const cases[][2] = {
        { "iqn.2003-01.org.linux-iscsi.host:sn.1234", "iqn.2003-01.org.linux-iscsi.host:sn.1234" },
        { "IQN.1991-05.COM.Microsoft:WIN-Host", "iqn.1991-05.com.microsoft:win-host" },
        { "iqn.2008-08.com.starwindsoftware:sw1-csv_1", "iqn.2008-08.com.starwindsoftware:sw1-csv_1" },
        { "iqn.2001-04.com.example", "iqn.2001-04.com.example" },
        { "iqn.2001-12.3com.x:a:b:c", "iqn.2001-12.3com.x:a:b:c" },
        { "eui.02004567A425678D", "eui.02004567a425678d" },
        { "naa.52004567BA64678D", "naa.52004567ba64678d" },
        { "naa.62004567BA64678D0123456789ABCDEF", "naa.62004567ba64678d0123456789abcdef" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[ISCSI_NAME_LEN_MAX + 1];

        assert_null(iscsi_name_refusal(cases[i][0], out));
        assert_string_equal(out, cases[i][1]);
    }
}

static void test_bad_names_are_refused_with_the_reason(void **state)
{
    static const char *const cases[][2] = {
        { "", "empty" },
        { "host", "no known type" },
        { "iqn", "no known type" },
        { "iqn-2001-04.com.example", "no known type" },
        { "eui", "no known type" },
        { "iqn.", "date" },
        { "iqn.com.example", "date" },
        { "iqn.01-04.com.example", "date" },
        { "iqn.2001-4.com.example", "date" },
        { "iqn.2001.04.com.example", "date" },
        { "iqn.2001-04", "date" },
        { "iqn.2001-04:com", "date" },
        { "iqn.2001-00.com.example", "month" },
        { "iqn.2001-13.com.example", "month" },
        { "iqn.2001-04.", "domain name" },
        { "iqn.2001-04..com", "domain name" },
        { "iqn.2001-04.:x", "domain name" },
        { "eui.02004567A425678", "16 hexadecimal" },
        { "eui.02004567A425678DE", "16 hexadecimal" },
        { "eui.02004567A425678G", "16 hexadecimal" },
        { "naa.", "16 or 32" },
        { "naa.52004567BA64678D0", "16 or 32" },
        { "iqn.2001-04.com.example:a b", "character" },
        { " iqn.2001-04.com.example", "character" },
        { "iqn.2001-04.com.example:a/b", "character" },
        { "iqn.2001-04.com.example:../x", "character" },
        { "iqn.2001-04.com.example:a\n", "character" },
        { "iqn.2001-04.com.example:\x7f", "character" },
        { "iqn.2001-04.com.example:;reboot", "character" },
        { "iqn.2001-04.com.example:$(x)", "character" },
        { "iqn.2001-04.com.example:a,1", "character" },
        { "iqn.2001-04.com.ex\xd0\xb0mple", "character" },     /* a Cyrillic a */
        { "iqn.2001-04.com.example:<b>", "character" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[ISCSI_NAME_LEN_MAX + 1] = "untouched";
        const char *why = iscsi_name_refusal(cases[i][0], out);

        if (!why || !strstr(why, cases[i][1]))
            fail_msg("\"%s\": %s", cases[i][0], why ? why : "taken");
        assert_string_equal(out, "untouched");
    }
}

static void test_names_have_at_most_223_bytes(void **state)
{
    char name[300] = "iqn.2001-04.com.example:", out[ISCSI_NAME_LEN_MAX + 1];

    (void)state;
    memset(name + strlen(name), 'x', 223 - strlen(name));
    assert_null(iscsi_name_refusal(name, out));
    assert_int_equal(strlen(out), 223);
    name[223] = 'x';
    assert_non_null(strstr(iscsi_name_refusal(name, out), "223"));
}

/* ---- portals ------------------------------------------------------------------------------------------- */

static void test_portals_are_read_and_written(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port, tpgt;
        const char *back;
    } cases[] = {
        { "192.0.2.1", "192.0.2.1", 3260, 0, "192.0.2.1:3260" },
        { "192.0.2.1:3261", "192.0.2.1", 3261, 0, "192.0.2.1:3261" },
        { "192.0.2.1:3260,1", "192.0.2.1", 3260, 1, "192.0.2.1:3260" },
        { "192.0.2.1,65535", "192.0.2.1", 3260, 65535, "192.0.2.1:3260" },
        { "san.example.com:1", "san.example.com", 1, 0, "san.example.com:1" },
        { "my_host-1", "my_host-1", 3260, 0, "my_host-1:3260" },
        { "[2001:db8::1]", "2001:db8::1", 3260, 0, "[2001:db8::1]:3260" },
        { "[2001:db8::1]:65535", "2001:db8::1", 65535, 0, "[2001:db8::1]:65535" },
        { "[2001:db8::1]:3260,2", "2001:db8::1", 3260, 2, "[2001:db8::1]:3260" },
        { "[2001:db8::1],2", "2001:db8::1", 3260, 2, "[2001:db8::1]:3260" },
        { "2001:db8::1", "2001:db8::1", 3260, 0, "[2001:db8::1]:3260" },
        { "::1", "::1", 3260, 0, "[::1]:3260" },
        { "[::]:3260", "::", 3260, 0, "[::]:3260" },
        { "fe80::1%eth0", "fe80::1%eth0", 3260, 0, "[fe80::1%eth0]:3260" },
        { "[fe80::1%eth0]:3262", "fe80::1%eth0", 3262, 0, "[fe80::1%eth0]:3262" },
        { "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", 3260, 0, "[1:2:3:4:5:6:7:8]:3260" },
        { "::ffff:192.0.2.1", "::ffff:192.0.2.1", 3260, 0, "[::ffff:192.0.2.1]:3260" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct iscsi_portal p;
        char back[ISCSI_PORTAL_STR_MAX];
        const char *why = iscsi_portal_parse(&p, cases[i].text);

        if (why)
            fail_msg("\"%s\": %s", cases[i].text, why);
        assert_string_equal(p.host, cases[i].host);
        assert_int_equal(p.port, cases[i].port);
        assert_int_equal(p.tpgt, cases[i].tpgt);
        iscsi_portal_format(&p, back);
        assert_string_equal(back, cases[i].back);
    }
}

static void test_bad_portals_are_refused_with_the_reason(void **state)
{
    static const char *const cases[][2] = {
        { "", "no host" },
        { ":3260", "no host" },
        { ",1", "no host" },
        { "[]:3260", "no host" },
        { "host:", "port" },
        { "host:0", "port" },
        { "[::]:0", "port" },
        { "host:65536", "port" },
        { "host:99999999999", "port" },
        { "host:-1", "port" },
        { "host:3260x", "port" },
        { "host: 3260", "port" },
        { "[::1]:", "port" },
        { "host:3260,", "portal group" },
        { "host:3260,65536", "portal group" },
        { "host:3260,x", "portal group" },
        { "host,1,2", "portal group" },
        { "[::1", "no ']'" },
        { "[::1]3260", "may follow" },
        { "[::1]x:3260", "may follow" },
        { "[192.0.2.1]:3260", "IPv6" },
        { "[host]:3260", "IPv6" },
        { "::1::2", "IPv6" },
        { "1:2:3", "IPv6" },
        { "1:2:3:4:5:6:7:8:9", "IPv6" },
        { "1::2:3:4:5:6:7:8", "IPv6" },
        { "12345::1", "IPv6" },
        { "::g", "IPv6" },
        { ":1:2:3:4:5:6:7", "IPv6" },
        { "1:2:3:4:5:6:7:", "IPv6" },
        { ":::", "IPv6" },
        { "fe80::1%", "IPv6" },
        { "fe80::1%a]b", "IPv6" },          /* written as [fe80::1%a]b]:3260, it would be another host */
        { "fe80::1%[a", "IPv6" },
        { "[fe80::1%[a]:3260", "IPv6" },
        { "::1.2.3", "IPv6" },
        { "::1.2.3.4:5", "IPv6" },
        { "ho st", "host name" },
        { "-host", "host name" },
        { ".host", "host name" },
        { "host/path", "host name" },
        { "h\xc3\xb6st", "host name" },
        { "host\n:3260", "host name" },
        { "$(x):3260", "host name" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct iscsi_portal p = { .port = 7 };
        const char *why = iscsi_portal_parse(&p, cases[i][0]);

        if (!why || !strstr(why, cases[i][1]))
            fail_msg("\"%s\": %s", cases[i][0], why ? why : "taken");
        assert_int_equal(p.port, 7);
    }
}

static void test_hosts_have_at_most_255_bytes(void **state)
{
    struct iscsi_portal p;
    char text[300], back[ISCSI_PORTAL_STR_MAX];

    (void)state;
    memset(text, 'h', sizeof(text));
    memcpy(text + 255, ":65535", 7);
    assert_null(iscsi_portal_parse(&p, text));
    iscsi_portal_format(&p, back);
    assert_string_equal(back, text);
    memset(text, 'h', sizeof(text));
    text[256] = '\0';
    assert_non_null(strstr(iscsi_portal_parse(&p, text), "255"));
}

/* ---- URLs ---------------------------------------------------------------------------------------------- */

#define IQN "iqn.2001-04.com.example:disk"

static void test_urls_are_read(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port, lun;
        const char *user, *secret;
    } cases[] = {
        { "iscsi://192.0.2.1/" IQN "/0", "192.0.2.1", 3260, 0, "", "" },
        { "iscsi://192.0.2.1:3261/" IQN "/16383", "192.0.2.1", 3261, 16383, "", "" },
        { "iscsi://[2001:db8::1]:3261/" IQN "/7", "2001:db8::1", 3261, 7, "", "" },
        { "iscsi://me@host/" IQN "/1", "host", 3260, 1, "me", "" },
        { "iscsi://me%secret of mine@host:1/" IQN "/1", "host", 1, 1, "me", "secret of mine" },
        { "iscsi://iqn.x:me%12345678abcd@host/" IQN "/1", "host", 3260, 1, "iqn.x:me", "12345678abcd" },
        { "iscsi://me%p%40ss%2Fw%25rd@host/" IQN "/1", "host", 3260, 1, "me", "p@ss/w%rd" },
        { "iscsi://me%100%sure@host/" IQN "/1", "host", 3260, 1, "me", "100%sure" },
        { "iscsi://a@b%secret@host/" IQN "/1", "host", 3260, 1, "a@b", "secret" },
        { "iscsi://host/IQN.2001-04.COM.EXAMPLE%3Adisk/1", "host", 3260, 1, "", "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct iscsi_url u;
        const char *why = iscsi_url_parse(&u, cases[i].text);

        if (why)
            fail_msg("%s: %s", cases[i].text, why);
        assert_string_equal(u.portal.host, cases[i].host);
        assert_int_equal(u.portal.port, cases[i].port);
        assert_int_equal(u.lun, cases[i].lun);
        assert_string_equal(u.user, cases[i].user);
        assert_string_equal(u.secret, cases[i].secret);
        assert_string_equal(u.target, IQN);
    }
}

static void test_bad_urls_are_refused_with_the_reason(void **state)
{
    static const char *const cases[][2] = {
        { "", "iscsi://" },
        { "iscsi:/", "iscsi://" },
        { "http://host/" IQN "/1", "iscsi://" },
        { "iscsi://host", "iscsi://" },
        { "iscsi://host/" IQN, "iscsi://" },
        { "iscsi:///" IQN "/1", "no host" },
        { "iscsi://host/" IQN "/", "LUN" },
        { "iscsi://host/" IQN "/x", "LUN" },
        { "iscsi://host/" IQN "/-1", "LUN" },
        { "iscsi://host/" IQN "/16384", "LUN" },
        { "iscsi://host/" IQN "/99999999999", "LUN" },
        { "iscsi://host/" IQN "/1/2", "LUN" },
        { "iscsi://host/" IQN "/1?iser", "?" },
        { "iscsi://host//1", "empty" },
        { "iscsi://host/disk/1", "no known type" },
        { "iscsi://host/iqn.2001-04.com.example:%2e%2e%2f/1", "character" },
        { "iscsi://host:0/" IQN "/1", "port" },
        { "iscsi://ho st/" IQN "/1", "host" },
        { "iscsi://@host/" IQN "/1", "no user" },
        { "iscsi://%secret@host/" IQN "/1", "no user" },
        { "iscsi://me%@host/" IQN "/1", "empty" },
        { "iscsi://me%ab%00cd@host/" IQN "/1", "%00" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct iscsi_url u = { .lun = 7 };
        const char *why = iscsi_url_parse(&u, cases[i][0]);

        if (!why || !strstr(why, cases[i][1]))
            fail_msg("\"%s\": %s", cases[i][0], why ? why : "taken");
        assert_int_equal(u.lun, 7);
    }
}

/* Each part at its longest and one more, and thousands of bytes anywhere. */
static void test_long_urls_stay_inside(void **state)
{
    static const struct {
        const char *before, *after;
        size_t longest;                     /* bytes between them that are taken */
    } cases[] = {
        { "iscsi://", "/" IQN "/1", 255 },
        { "iscsi://", "@host/" IQN "/1", 255 },
        { "iscsi://me%", "@host/" IQN "/1", 255 },
        { "iscsi://host/iqn.2001-04.com.example:", "/1", 199 },
    };

    (void)state;
    for (size_t c = 0; c < ARRAY_SIZE(cases); c++)
        for (size_t n = 1; n < 3000; n = n < 600 ? n + 1 : n + 777) {
            char middle[3800], text[4096];
            struct iscsi_url u;

            memset(middle, 'x', n);
            middle[n] = '\0';
            snprintf(text, sizeof(text), "%s%s%s", cases[c].before, middle, cases[c].after);
            assert_int_equal(!iscsi_url_parse(&u, text), n <= cases[c].longest);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_in_use_are_taken_in_lower_case),
        cmocka_unit_test(test_bad_names_are_refused_with_the_reason),
        cmocka_unit_test(test_names_have_at_most_223_bytes),
        cmocka_unit_test(test_portals_are_read_and_written),
        cmocka_unit_test(test_bad_portals_are_refused_with_the_reason),
        cmocka_unit_test(test_hosts_have_at_most_255_bytes),
        cmocka_unit_test(test_urls_are_read),
        cmocka_unit_test(test_bad_urls_are_refused_with_the_reason),
        cmocka_unit_test(test_long_urls_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
