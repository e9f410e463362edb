/*
 * test_nic.c - receive queues of network interfaces, and which interrupt is whose
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "balancer/nic.h"
#include "tests/unit/balancer/fake_sys.h"

static void test_nic_queues_in_order(void **state)
{
    const struct fake_sys *f = *state;
    unsigned q[4];
    char path[BAL_SYS_PATH_MAX];

    fake_put(f, "sys/class/net/eth0/queues/rx-10/rps_cpus", "0");
    fake_put(f, "sys/class/net/eth0/queues/rx-2/rps_cpus", "0");
    fake_put(f, "sys/class/net/eth0/queues/rx-x/rps_cpus", "0");
    fake_put(f, "sys/class/net/eth0/queues/rx-/rps_cpus", "0");
    fake_put(f, "sys/class/net/eth0/queues/tx-0/xps_cpus", "0");
    assert_int_equal(bal_nic_queues(f->sys, "eth0", q, 4), 2);
    assert_int_equal(q[0], 2);
    assert_int_equal(q[1], 10);
    assert_int_equal(bal_nic_queues(f->sys, "eth0", q, 1), 1);
    assert_int_equal(bal_nic_queues(f->sys, "eth1", q, 4), 0);
    assert_int_equal(bal_nic_queues(f->sys, "..", q, 4), 0);
    bal_nic_rps_path("eth0", 2, path);
    assert_string_equal(path, "sys/class/net/eth0/queues/rx-2/rps_cpus");
}

static void test_nic_what_is_below_a_bond_or_vlan(void **state)
{
    const struct fake_sys *f = *state;
    char b[4][BAL_IFNAME_MAX];

    fake_put(f, "sys/class/net/eth0/mtu", "1500");
    fake_put(f, "sys/class/net/eth1/mtu", "1500");
    fake_put(f, "sys/class/net/bond0/lower_eth0/mtu", "1500");
    fake_put(f, "sys/class/net/bond0/lower_eth1/mtu", "1500");
    fake_put(f, "sys/class/net/bond0.7/lower_bond0/mtu", "1500");
    assert_int_equal(bal_nic_bases(f->sys, "eth0", b, 4), 1);
    assert_string_equal(b[0], "eth0");
    assert_int_equal(bal_nic_bases(f->sys, "bond0.7", b, 4), 2);
    assert_string_equal(b[0], "eth0");
    assert_string_equal(b[1], "eth1");
    assert_int_equal(bal_nic_bases(f->sys, "bond0.7", b, 1), 1);
    assert_int_equal(bal_nic_bases(f->sys, "none", b, 4), 0);
    assert_int_equal(bal_nic_bases(f->sys, "../eth0", b, 4), 0);
    fake_put(f, "sys/class/net/a/lower_b/mtu", "1500"); /* a circle, which no kernel makes: it ends */
    fake_put(f, "sys/class/net/b/lower_a/mtu", "1500");
    assert_true(bal_nic_bases(f->sys, "a", b, 4) <= 4);
}

static void irq(const struct fake_sys *f, unsigned nr, const char *name, const char *file, const char *cpus)
{
    char path[256];

    snprintf(path, sizeof(path), "sys/class/net/eth0/device/msi_irqs/%u", nr);
    fake_put(f, path, "msix");
    snprintf(path, sizeof(path), "proc/irq/%u/%s/", nr, name);
    fake_dirs(f, path);
    snprintf(path, sizeof(path), "proc/irq/%u/%s", nr, file);
    fake_put(f, path, cpus);
}

static void test_nic_queue_of_a_core(void **state)
{
    static const char *const names[] = {
        "eth0-TxRx-3",     "eth0-rx-3", "i40e-eth0-TxRx-3", "virtio0-input.3", "mlx5_comp3@pci:0000:3b:00.0",
        "ena-eth0-queue-3"
    };
    const struct fake_sys *f = *state;

    for (unsigned i = 0; i < 4; i++) {
        char path[256];

        snprintf(path, sizeof(path), "sys/class/net/eth0/queues/rx-%u/rps_cpus", i);
        fake_put(f, path, "0");
    }
    assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 6), -ENOENT); /* no interrupts to be seen */
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        irq(f, 40 + i, names[i], "smp_affinity_list", i ? "0-7" : "6");
    assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 6), 3);
    assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 5), -ENOENT); /* on many is on none */
    for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        irq(f, 40 + i, names[i], "smp_affinity_list", "5");
        assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 5), 3);
        irq(f, 40 + i, names[i], "smp_affinity_list", "0-7");
    }
    irq(f, 41, names[1], "effective_affinity_list", "2"); /* what is so counts before what was asked for */
    assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 2), 3);
    irq(f, 50, "eth0-rx-9", "smp_affinity_list", "1"); /* no such queue */
    irq(f, 51, "eth0-tx-1", "smp_affinity_list", "1"); /* it sends */
    irq(f, 52, "eth0", "smp_affinity_list", "1");      /* link changes */
    irq(f, 53, "eth0-rx-1", "smp_affinity_list", "nonsense");
    assert_int_equal(bal_nic_queue_of(f->sys, "eth0", 1), -ENOENT);
    assert_int_equal(bal_nic_queue_of(f->sys, "eth1", 6), -ENOENT);
}

static void test_nic_node(void **state)
{
    const struct fake_sys *f = *state;

    assert_int_equal(bal_nic_node(f->sys, "eth0"), -1);
    fake_put(f, "sys/class/net/eth0/device/numa_node", "1");
    assert_int_equal(bal_nic_node(f->sys, "eth0"), 1);
    fake_put(f, "sys/class/net/eth0/device/numa_node", "-1"); /* as the kernel says none */
    assert_int_equal(bal_nic_node(f->sys, "eth0"), -1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        T(test_nic_queues_in_order),
        T(test_nic_what_is_below_a_bond_or_vlan),
        T(test_nic_queue_of_a_core),
        T(test_nic_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
