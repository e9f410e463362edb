/* test_addr.c - addresses as text, and names */
#include <arpa/inet.h>
#include <errno.h>

#include "rt_test.h"

static const struct {
    const char *text, *formatted;           /* NULL: refused */
} rows[] = {
    { "192.0.2.1:3261", "192.0.2.1:3261" },
    { "192.0.2.1", "192.0.2.1:3260" },
    { "192.0.2.1:0", "192.0.2.1:0" },
    { "192.0.2.1:65535", "192.0.2.1:65535" },
    { "0.0.0.0", "0.0.0.0:3260" },
    { "[2001:db8::1]:3261", "[2001:db8::1]:3261" },
    { "[2001:db8::1]", "[2001:db8::1]:3260" },
    { "2001:db8::1", "[2001:db8::1]:3260" },
    { "::", "[::]:3260" },
    { "[::1]:1", "[::1]:1" },
    { "[fe80::1%lo]:3260", "[fe80::1%lo]:3260" },
    { "fe80::1%lo", "[fe80::1%lo]:3260" },
    { "[fe80::1%1]:3260", "[fe80::1%lo]:3260" },
    { "/run/x.sock", "/run/x.sock" },
    { "", NULL },
    { ":", NULL },
    { ":3260", NULL },
    { "192.0.2.1:", NULL },
    { "192.0.2.1:65536", NULL },
    { "192.0.2.1:000080", NULL },
    { "192.0.2.1:+1", NULL },
    { "192.0.2.1: 1", NULL },
    { "192.0.2.1:1x", NULL },
    { "192.0.2.1:-1", NULL },
    { " 192.0.2.1", NULL },
    { "192.0.2.1 ", NULL },
    { "192.0.2", NULL },
    { "192.0.2.256", NULL },
    { "192.0.2.01.1", NULL },
    { "[192.0.2.1]:3260", NULL },
    { "[::1", NULL },
    { "[::1]3260", NULL },
    { "[::1]:", NULL },
    { "[::1]:65536", NULL },
    { "[]:3260", NULL },
    { "::1]", NULL },
    { "[fe80::1%no-such-if]:3260", NULL },
    { "[fe80::1%]:3260", NULL },
    { "fe80::1%lo]", NULL },
    { "fe80::1%[lo", NULL },
    { "[fe80::1%0]:3260", NULL },
    { "[fe80::1%1x]:3260", NULL },
    { "2001:db8::12345", NULL },
    { "localhost", NULL },
    { "host.example:3260", NULL },
    { "iqn.2004-01.example", NULL },
    { "run/x.sock", NULL },
    { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff:0000:1111:2222", NULL },
};

static void test_addresses_parse_and_format_or_are_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rt_addr a = { .len = 7 };
        char text[RT_ADDR_STR_MAX];
        const int err = rt_addr_parse(&a, rows[i].text, 3260);

        if (!rows[i].formatted) {
            if (err != -EINVAL)
                fail_msg("\"%s\" gave %d", rows[i].text, err);
            assert_int_equal(a.len, 7);     /* left alone */
            continue;
        }
        if (err)
            fail_msg("\"%s\" gave %d", rows[i].text, err);
        rt_addr_format(&a, text);
        assert_string_equal(text, rows[i].formatted);
    }
}

static void test_unix_path_up_to_the_limit(void **state)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    struct rt_addr a;

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(rt_addr_parse(&a, path, 0), -ENAMETOOLONG);
    path[sizeof(path) - 2] = '\0';
    assert_int_equal(rt_addr_parse(&a, path, 0), 0);
    assert_string_equal(a.un.sun_path, path);
}

static void test_addresses_compare_by_all_that_counts(void **state)
{
    static const char *const texts[] = {
        "192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[::1]:1", "[::1]:2", "[::2]:1", "[fe80::1]:1",
        "[fe80::1%lo]:1", "/a", "/b",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        for (size_t j = 0; j < ARRAY_SIZE(texts); j++) {
            struct rt_addr a, b;

            assert_int_equal(rt_addr_parse(&a, texts[i], 0), 0);
            assert_int_equal(rt_addr_parse(&b, texts[j], 0), 0);
            assert_int_equal(rt_addr_equal(&a, &b), i == j);
        }
}

static unsigned resolved_nr;

static void resolved(struct rt_work *w)
{
    resolved_nr++;
}

static void resolve(struct rt_resolve *r, const char *host, uint16_t port)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);

    memset(r, 0, sizeof(*r));
    r->work.done = resolved;
    r->port = port;
    snprintf(r->host, sizeof(r->host), "%s", host);
    resolved_nr = 0;
    rt_resolve(rt_host_at(h, 0), r);
    turn_until(rt_host_at(h, 0), &resolved_nr, 1);
    rt_host_free(h);
}

static void test_localhost_resolves(void **state)
{
    struct rt_resolve r;

    resolve(&r, "localhost", 3260);
    assert_int_equal(r.err, 0);
    assert_true(r.addr_nr >= 1 && r.addr_nr <= ARRAY_SIZE(r.addr));
    for (unsigned i = 0; i < r.addr_nr; i++) {
        struct rt_addr v4, v6;

        assert_int_equal(rt_addr_parse(&v4, "127.0.0.1:3260", 0), 0);
        assert_int_equal(rt_addr_parse(&v6, "[::1]:3260", 0), 0);
        assert_true(rt_addr_equal(&r.addr[i], &v4) || rt_addr_equal(&r.addr[i], &v6));
    }
}

static void test_numbers_resolve_to_themselves(void **state)
{
    struct rt_resolve r;
    struct rt_addr v6;

    resolve(&r, "2001:db8::1", 3261);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.addr_nr, 1);
    assert_int_equal(rt_addr_parse(&v6, "[2001:db8::1]:3261", 0), 0);
    assert_true(rt_addr_equal(&r.addr[0], &v6));
}

static void test_names_that_are_none_do_not_resolve(void **state)
{
    static const char *const names[] = { "no such host", "a..b", "" };
    struct rt_resolve r;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        resolve(&r, names[i], 3260);
        assert_true(r.err < 0);
        assert_int_equal(r.addr_nr, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_parse_and_format_or_are_refused),
        cmocka_unit_test(test_unix_path_up_to_the_limit),
        cmocka_unit_test(test_addresses_compare_by_all_that_counts),
        cmocka_unit_test(test_localhost_resolves),
        cmocka_unit_test(test_numbers_resolve_to_themselves),
        cmocka_unit_test(test_names_that_are_none_do_not_resolve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
