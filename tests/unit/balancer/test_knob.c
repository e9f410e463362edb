/*
 * test_knob.c - which settings of the kernel are ever written, with which values
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "balancer/knob.h"
#include "tests/unit/balancer/fake_flow.h"
#include "tests/unit/balancer/fake_sys.h"

static void test_knob_names_that_are_ours(void **state)
{
    (void)state;
    assert_int_equal(bal_knob_of("sys/devices/virtual/workqueue/iscsi_q_0/cpumask"), BAL_KNOB_WQ);
    assert_int_equal(bal_knob_of("sys/devices/virtual/workqueue/iscsi_q_123/cpumask"), BAL_KNOB_WQ);
    assert_int_equal(bal_knob_of("sys/module/iscsi_tcp/parameters/recv_from_iscsi_q"), BAL_KNOB_RECV);
    assert_int_equal(bal_knob_of("sys/class/net/eth0/queues/rx-0/rps_cpus"), BAL_KNOB_RPS);
    assert_int_equal(bal_knob_of("sys/class/net/enp1s0f0.100/queues/rx-63/rps_cpus"), BAL_KNOB_RPS);
    assert_int_equal(bal_knob_of("flow/eth0/192.0.2.9/3260/192.0.2.1/40000"), BAL_KNOB_FLOW);
    assert_int_equal(bal_knob_of("flow/eth0/2001:db8::9/3260/*/*"), BAL_KNOB_FLOW);
}

static void test_knob_refuses_all_other_names(void **state)
{
    static const char *const bad[] = {
        "",
        "/sys/devices/virtual/workqueue/iscsi_q_0/cpumask",
        "sys/devices/virtual/workqueue/iscsi_q_/cpumask",
        "sys/devices/virtual/workqueue/iscsi_q_-1/cpumask",
        "sys/devices/virtual/workqueue/iscsi_q_0x/cpumask",
        "sys/devices/virtual/workqueue/iscsi_q_0/nice",
        "sys/devices/virtual/workqueue/iscsi_q_0/../writeback/cpumask",
        "sys/devices/virtual/workqueue/iscsi_q_1234567890/cpumask",
        "sys/devices/virtual/workqueue/writeback/cpumask",
        "sys/module/iscsi_tcp/parameters/debug_iscsi_tcp",
        "sys/module/iscsi_tcp/parameters/recv_from_iscsi_q/",
        "sys/class/net/eth0/queues/rx-/rps_cpus",
        "sys/class/net/eth0/queues/tx-0/xps_cpus",
        "sys/class/net/../../kernel/queues/rx-0/rps_cpus",
        "sys/class/net/.hidden/queues/rx-0/rps_cpus",
        "sys/class/net//queues/rx-0/rps_cpus",
        "sys/class/net/sixteen-letters-/queues/rx-0/rps_cpus",
        "sys/class/net/a b/queues/rx-0/rps_cpus",
        "proc/sys/kernel/core_pattern",
        "flow/eth0/192.0.2.9/3260/192.0.2.1",
        "flow/eth0/192.0.2.9/3260/192.0.2.1/40000/",
        "flow/eth0/192.0.2.9/0/192.0.2.1/40000",
        "flow/eth0/192.0.2.9/65536/192.0.2.1/40000",
        "flow/eth0/*/3260/192.0.2.1/40000",
        "flow/eth0/192.0.2.9/3260/2001:db8::1/40000",
        "flow/eth0/host/3260/*/*",
        "flow//192.0.2.9/3260/*/*",
    };
    char path[BAL_SYS_TEXT_MAX];
    struct bal_knobs k = { .flow = &bal_flow_none };
    uint64_t id;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(bal_knob_of(bad[i]), -EINVAL);
        assert_int_equal(bal_knob_read(&k, bad[i], path, &id), -EINVAL);
        assert_int_equal(bal_knob_write(&k, bad[i], "1", 0), -EINVAL);
    }
}

static void test_knob_values(void **state)
{
    (void)state;
    assert_true(bal_knob_valid(BAL_KNOB_WQ, "ff"));
    assert_false(bal_knob_valid(BAL_KNOB_WQ, "0")); /* nobody would serve it */
    assert_false(bal_knob_valid(BAL_KNOB_WQ, "0-3"));
    assert_true(bal_knob_valid(BAL_KNOB_RPS, "00000000,00000000")); /* off */
    assert_false(bal_knob_valid(BAL_KNOB_RPS, ""));
    assert_true(bal_knob_valid(BAL_KNOB_RECV, "Y"));
    assert_true(bal_knob_valid(BAL_KNOB_RECV, "0"));
    assert_false(bal_knob_valid(BAL_KNOB_RECV, ""));
    assert_false(bal_knob_valid(BAL_KNOB_RECV, "yes"));
    assert_true(bal_knob_valid(BAL_KNOB_FLOW, ""));
    assert_true(bal_knob_valid(BAL_KNOB_FLOW, "0"));
    assert_true(bal_knob_valid(BAL_KNOB_FLOW, "12"));
    assert_false(bal_knob_valid(BAL_KNOB_FLOW, "012"));
    assert_false(bal_knob_valid(BAL_KNOB_FLOW, "-1"));
    assert_true(bal_knob_same(BAL_KNOB_WQ, "f", "00000000,0000000F"));
    assert_false(bal_knob_same(BAL_KNOB_WQ, "f", "1f"));
    assert_true(bal_knob_same(BAL_KNOB_RECV, "Y", "1"));
    assert_false(bal_knob_same(BAL_KNOB_RECV, "N", "1"));
    assert_false(bal_knob_same(BAL_KNOB_RECV, "N", "")); /* not a value at all */
    assert_false(bal_knob_same(BAL_KNOB_RECV, "nonsense", "N"));
    assert_false(bal_knob_same(BAL_KNOB_RPS, "x", "x"));
}

static void test_knob_files_are_read_and_written(void **state)
{
    const struct fake_sys *f = *state;
    const struct bal_knobs k = { .sys = f->sys, .flow = &bal_flow_none };
    const char *name = "sys/devices/virtual/workqueue/iscsi_q_4/cpumask";
    char text[BAL_SYS_TEXT_MAX];
    uint64_t id;

    assert_int_equal(bal_knob_read(&k, name, text, &id), -ENOENT);
    fake_put(f, name, "00000000,ffffffff");
    assert_int_equal(bal_knob_read(&k, name, text, &id), 0);
    assert_string_equal(text, "00000000,ffffffff");
    assert_int_equal(bal_knob_write(&k, name, "0", id), -EINVAL);
    assert_int_equal(bal_knob_write(&k, name, "1\n2", id), -EINVAL);
    assert_int_equal(bal_knob_write(&k, name, "2", id + 1), -ESTALE);
    assert_string_equal(fake_get(f, name), "00000000,ffffffff");
    assert_int_equal(bal_knob_write(&k, name, "2", id), 0);
    assert_string_equal(fake_get(f, name), "2");
    fake_put(f, name, "nonsense");
    assert_int_equal(bal_knob_read(&k, name, text, &id), -EBADMSG);
}

static void test_knob_flows_are_found_by_what_they_match(void **state)
{
    const struct fake_sys *f = *state;
    struct fake_card card = { .queues = 8 };
    const struct bal_knobs k = { f->sys, &fake_flow_ops, &card };
    const struct bal_knobs none = { f->sys, &bal_flow_none, NULL };
    const char *name = "flow/eth0/192.0.2.9/3260/192.0.2.1/40000";
    char text[BAL_SYS_TEXT_MAX], built[BAL_FLOW_NAME_MAX];
    uint64_t id;

    assert_int_equal(bal_flow_name(built, "eth0", "192.0.2.9", 3260, "192.0.2.1", 40000), 0);
    assert_string_equal(built, name);
    assert_int_equal(bal_flow_name(built, "eth0", "2001:db8::9", 3260, NULL, 0), 0);
    assert_string_equal(built, "flow/eth0/2001:db8::9/3260/*/*");
    assert_int_equal(bal_flow_name(built, "eth0", "192.0.2.9", 3260, "::1", 1), -EINVAL);
    assert_int_equal(bal_knob_read(&k, name, text, &id), 0);
    assert_string_equal(text, "");
    assert_int_equal(bal_knob_write(&k, name, "3", id), 0);
    assert_int_equal(bal_knob_write(&k, name, "5", id), 0); /* takes the place of the other */
    assert_int_equal(card.nr, 1);
    assert_int_equal(bal_knob_read(&k, name, text, &id), 0);
    assert_string_equal(text, "5");
    assert_int_equal(bal_knob_write(&k, name, "", id), 0);
    assert_int_equal(bal_knob_write(&k, name, "", id), 0);
    assert_int_equal(card.nr, 0);
    assert_int_equal(bal_knob_read(&none, name, text, &id), -ENOENT);
}

/* On the machine that runs this: lo has none, and there is no such card. */
static void test_knob_the_real_card_is_asked(void **state)
{
    char why[128] = "";
    unsigned queues, queue;
    struct bal_flow f;

    (void)state;
    assert_true(bal_flow_nic.able(NULL, "lo", &queues, why) < 0);
    assert_non_null(strstr(why, "lo "));
    assert_true(bal_flow_nic.able(NULL, "no-such-if", &queues, why) < 0);
    assert_int_equal(bal_flow_parse(&f, "flow/no-such-if/192.0.2.9/3260/*/*"), 0);
    assert_true(bal_flow_nic.find(NULL, &f, &queue) < 0);
    assert_true(bal_flow_nic.add(NULL, &f, 0) < 0);
    assert_true(bal_flow_nic.del(NULL, &f) < 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knob_names_that_are_ours),
        cmocka_unit_test(test_knob_refuses_all_other_names),
        cmocka_unit_test(test_knob_values),
        T(test_knob_files_are_read_and_written),
        T(test_knob_flows_are_found_by_what_they_match),
        cmocka_unit_test(test_knob_the_real_card_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
