/* Who is a neighbour: streams whose peer is this very host, and which start of which machine this is. */
#include <ifaddrs.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/reactor/rt_test.h"

struct scene {
    struct rt_host *h;
    struct rt *rt;
    struct rt_sock *listener, *accepted;
    struct rt_addr at, peer;
    struct noted acc;
};

static bool setup(struct scene *s, const char *at)
{
    *s = (struct scene){ .h = host_make(1, RT_MODE_INTERRUPT) };
    s->rt = rt_host_at(s->h, 0);
    assert_int_equal(rt_addr_parse(&s->at, at, 0), 0);
    if (rt_listen(s->rt, &s->at, &s->listener)) { /* a host without such addresses */
        rt_host_free(s->h);
        return false;
    }
    assert_int_equal(rt_sock_addr(s->listener, &s->at), 0);
    rt_accept(s->listener, noted_op(&s->acc), &s->accepted, &s->peer);
    return true;
}

static void teardown(struct scene *s)
{
    rt_sock_close(s->accepted);
    rt_sock_close(s->listener);
    assert_true(rt_turn(s->rt, 0) >= 0);
    rt_host_free(s->h);
}

static void both_ends(const char *at, bool same)
{
    struct rt_sock *client = NULL;
    struct noted con = { 0 };
    struct scene s;

    if (!setup(&s, at))
        return;
    rt_connect(s.rt, noted_op(&con), &s.at, &client);
    assert_int_equal(turn_for(s.rt, &con), 0);
    assert_int_equal(turn_for(s.rt, &s.acc), 0);
    assert_int_equal(rt_sock_same_host(client), same);
    assert_int_equal(rt_sock_same_host(s.accepted), same);
    assert_false(rt_sock_same_host(s.listener)); /* has no peer */
    rt_sock_close(client);
    teardown(&s);
}

static void test_streams_of_this_host_are_told(void **state)
{
    both_ends("127.0.0.1", true);
    both_ends("127.0.0.7", true);
    both_ends("[::1]", true);
}

static void test_unix_streams_are_not_meant(void **state)
{
    char *dir = temp_dir(), path[128];

    snprintf(path, sizeof(path), "%s/s", dir);
    both_ends(path, false);
    temp_dir_remove(dir);
}

/* An IPv6 socket that talks IPv4: as an IPv4 one. */
static void test_mapped_addresses_are_what_they_stand_for(void **state)
{
    struct sockaddr_in6 to = { .sin6_family = AF_INET6 };
    const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rt_sock *client = NULL;
    struct noted con = { 0 };
    struct rt_addr mapped;
    struct scene s;

    if (fd < 0)
        skip(); /* a host without IPv6 */
    close(fd);
    assert_true(setup(&s, "127.0.0.1"));
    to.sin6_port = s.at.in.sin_port;
    to.sin6_addr.s6_addr[10] = to.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&to.sin6_addr.s6_addr[12], &s.at.in.sin_addr, 4);
    mapped = (struct rt_addr){ .len = sizeof(to), .in6 = to };
    rt_connect(s.rt, noted_op(&con), &mapped, &client);
    assert_int_equal(turn_for(s.rt, &con), 0);
    assert_int_equal(turn_for(s.rt, &s.acc), 0);
    assert_true(rt_sock_same_host(client));
    rt_sock_close(client);
    teardown(&s);
}

/* From one address to another: it may be this host, and it cannot be told. */
static void test_ends_with_two_addresses_are_not_taken_for_one_host(void **state)
{
    const struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct ifaddrs *all = NULL, *i;
    struct sockaddr_in to;
    struct scene s;
    int fd;

    assert_int_equal(getifaddrs(&all), 0);
    for (i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
            ntohl(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
            break;
    if (!i) {
        freeifaddrs(all);
        skip(); /* a host without a network */
    }
    to = *(struct sockaddr_in *)i->ifa_addr;
    freeifaddrs(all);
    assert_true(setup(&s, "0.0.0.0"));
    to.sin_port = s.at.in.sin_port;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    if (!connect(fd, (const struct sockaddr *)&to, sizeof(to))) { /* else a firewall minds */
        assert_int_equal(turn_for(s.rt, &s.acc), 0);
        assert_false(rt_sock_same_host(s.accepted));
    }
    close(fd);
    teardown(&s);
}

static void test_boot_id_is_the_kernels(void **state)
{
    char id[RT_BOOT_ID_LEN + 1], again[RT_BOOT_ID_LEN + 1], *text;
    size_t len;

    rt_boot_id(id);
    rt_boot_id(again);
    assert_string_equal(id, again);
    assert_int_equal(strlen(id), RT_BOOT_ID_LEN);
    assert_int_equal(strspn(id, "0123456789abcdef-"), RT_BOOT_ID_LEN);
    assert_int_equal(rt_load("/proc/sys/kernel/random/boot_id", 64, &text, &len), 0);
    assert_memory_equal(text, id, RT_BOOT_ID_LEN);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_of_this_host_are_told),
        cmocka_unit_test(test_unix_streams_are_not_meant),
        cmocka_unit_test(test_mapped_addresses_are_what_they_stand_for),
        cmocka_unit_test(test_ends_with_two_addresses_are_not_taken_for_one_host),
        cmocka_unit_test(test_boot_id_is_the_kernels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
