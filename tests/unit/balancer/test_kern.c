/*
 * test_kern.c - the stock kernel's sessions as sysfs shows them, whole, half gone, and hostile
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "balancer/kern.h"
#include "tests/unit/balancer/fake_sys.h"

#define SESSION5 "sys/devices/platform/host7/session5/iscsi_session/session5/"

static void test_kern_finds_a_session_with_all_it_has(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256];

    fake_session(f, 5, 7, "192.0.2.9", "ff");
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 1);
    assert_int_equal(k->sid, 5);
    assert_int_equal(k->host, 7);
    assert_string_equal(k->target, "iqn.2026-11.org.example:disk");
    assert_string_equal(k->state, "LOGGED_IN");
    assert_string_equal(k->transport, "iscsi_tcp");
    assert_string_equal(k->portal, "192.0.2.9");
    assert_string_equal(k->addr, "192.0.2.9");
    assert_string_equal(k->local, "192.0.2.1");
    assert_int_equal(k->port, 3260);
    assert_int_equal(k->portal_port, 3260);
    assert_int_equal(k->local_port, 40000);
    assert_string_equal(k->netdev, "");
    assert_string_equal(k->iface, ""); /* the default one */
    assert_true(k->has_wq);
    assert_int_equal(bal_mask_count(&k->wq), 8);
    assert_int_equal(k->disks, 1);
    assert_string_equal(k->disk[0], "sdf");
    assert_true(bal_kern_settled(k));
    free(k);
}

static void test_kern_without_the_module_there_are_none(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256];

    assert_int_equal(bal_kern_scan(f->sys, &k, why), 0);
    assert_null(k);
    fake_put(f, "sys/class/iscsi_session", "a file where a directory should be");
    assert_true(bal_kern_scan(f->sys, &k, why) < 0);
    assert_non_null(strstr(why, "iscsi_session"));
}

static void test_kern_sessions_in_order_of_their_numbers(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256];

    fake_session(f, 10, 3, "192.0.2.9", "3");
    fake_session(f, 2, 4, "2001:db8::9", "ffffffff,ffffffff,ffffffff"); /* 96 CPUs */
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 2);
    assert_int_equal(k[0].sid, 2);
    assert_int_equal(k[1].sid, 10);
    assert_string_equal(k[0].portal, "2001:db8::9");
    assert_int_equal(bal_mask_count(&k[0].wq), 96);
    free(k);
}

static void test_kern_a_session_being_set_up_is_not_settled(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256];

    fake_session(f, 5, 7, "192.0.2.9", NULL);
    fake_put(f, SESSION5 "state", "FREE");
    fake_remove(f, "sys/class/iscsi_connection/connection5:0/persistent_address");
    fake_remove(f, "sys/class/iscsi_connection/connection5:0/address");
    fake_remove(f, "sys/class/iscsi_connection/connection5:0/port");
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 1);
    assert_false(bal_kern_settled(k));
    assert_false(k->has_wq);
    assert_string_equal(k->portal, "");
    assert_int_equal(k->port, 0);
    free(k);
    fake_put(f, SESSION5 "state", "LOGGED_IN");
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 1);
    assert_false(bal_kern_settled(k)); /* nobody knows yet where to */
    free(k);
}

static void test_kern_believes_no_nonsense(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256], big[300];

    fake_session(f, 5, 7, "not-an-address", "0-3");
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    fake_put(f, SESSION5 "targetname", big);
    fake_put(f, SESSION5 "state", "LOGGED\x1b[2J");
    fake_put(f, "sys/class/iscsi_host/host7/netdev", "../../eth0");
    fake_put(f, "sys/class/iscsi_host/host7/ipaddress", "1.2.3.4 ; reboot");
    fake_put(f, "sys/class/iscsi_connection/connection5:0/port", "65536");
    fake_put(f, "sys/class/iscsi_connection/connection5:0/local_port", "-1");
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 1);
    assert_string_equal(k->target, "");
    assert_string_equal(k->state, "");
    assert_string_equal(k->netdev, "");
    assert_string_equal(k->local, "");
    assert_string_equal(k->portal, "");
    assert_int_equal(k->port, 0);
    assert_int_equal(k->local_port, 0);
    assert_false(k->has_wq); /* a list is no mask */
    assert_false(bal_kern_settled(k));
    free(k);
}

static void test_kern_skips_what_is_no_session(void **state)
{
    const struct fake_sys *f = *state;
    struct bal_kern_sess *k = NULL;
    char why[256];

    fake_session(f, 1, 1, "192.0.2.9", "1");
    fake_put(f, "sys/class/iscsi_session/session2/state", "LOGGED_IN"); /* no link: of no host */
    fake_link(f, "sys/class/iscsi_session/session3", "../../../../etc");
    fake_link(f, "sys/class/iscsi_session/session4",
              "../../devices/platform/host4x/session4/iscsi_session/session4");
    fake_link(f, "sys/class/iscsi_session/session5", "../../devices/platform/host99999999999/session5/x");
    fake_link(f, "sys/class/iscsi_session/session", "../../devices/platform/host1/session/x");
    fake_link(f, "sys/class/iscsi_session/session6x", "../../devices/platform/host1/session6x/x");
    assert_int_equal(bal_kern_scan(f->sys, &k, why), 1);
    assert_int_equal(k->sid, 1);
    free(k);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        T(test_kern_finds_a_session_with_all_it_has),
        T(test_kern_without_the_module_there_are_none),
        T(test_kern_sessions_in_order_of_their_numbers),
        T(test_kern_a_session_being_set_up_is_not_settled),
        T(test_kern_believes_no_nonsense),
        T(test_kern_skips_what_is_no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
