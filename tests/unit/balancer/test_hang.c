/* Which node an interface or a disk hangs at: over trees made up like /sys, and the kernel's answers on the way to an address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "balancer/hang.h"
#include "balancer/topo.h"

/* ---- a tree ---------------------------------------------------------------------------------------------- */

struct tree {
    char sys[64];
};

__attribute__((format(printf, 1, 2))) static void run(const char *fmt, ...)
{
    char cmd[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    assert_int_equal(system(cmd), 0);
}

static int tree_open(void **state)
{
    struct tree *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    snprintf(t->sys, sizeof(t->sys), "/tmp/test_hang.XXXXXX");
    assert_non_null(mkdtemp(t->sys));
    *state = t;
    return 0;
}

static int tree_close(void **state)
{
    struct tree *t = *state;

    run("rm -r %s", t->sys);
    free(t);
    return 0;
}

static void dir(const struct tree *t, const char *path)
{
    run("mkdir -p %s/%s", t->sys, path);
}

static void file(const struct tree *t, const char *path, const char *text)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof(full), "%s/%s", t->sys, path);
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void link_to(const struct tree *t, const char *path, const char *target)
{
    run("mkdir -p $(dirname %s/%s) && ln -s %s/%s %s/%s", t->sys, path, t->sys, target, t->sys, path);
}

/* A card at a bus, with @queues, on @node as the file has it. */
static void nic(const struct tree *t, const char *name, const char *slot, const char *node, unsigned queues)
{
    char at[128], path[192];

    snprintf(at, sizeof(at), "devices/pci0000:00/%s/net/%s", slot, name);
    dir(t, at);
    for (unsigned i = 0; i < queues; i++) {
        snprintf(path, sizeof(path), "%s/queues/rx-%u", at, i);
        dir(t, path);
        snprintf(path, sizeof(path), "%s/queues/tx-%u", at, i);
        dir(t, path);
    }
    snprintf(path, sizeof(path), "devices/pci0000:00/%s/numa_node", slot);
    file(t, path, node);
    snprintf(path, sizeof(path), "class/net/%s", name);
    link_to(t, path, at);
}

static void stacked(const struct tree *t, const char *name, const char *below, const char *lower)
{
    char at[128], path[192], target[192];

    snprintf(at, sizeof(at), "devices/virtual/net/%s", name);
    snprintf(path, sizeof(path), "%s/queues/rx-0", at);
    dir(t, path);
    snprintf(path, sizeof(path), "%s/lower_%s", at, lower);
    snprintf(target, sizeof(target), "class/net/%s", below);
    link_to(t, path, target);
    snprintf(path, sizeof(path), "class/net/%s", name);
    if (access(path, F_OK))
        run("ln -sfn %s/%s %s/class/net/%s", t->sys, at, t->sys, name);
}

static void expect_net(const struct tree *t, const char *name, int node, unsigned queues)
{
    unsigned got = 99;

    if (bal_net_node(t->sys, name, &got) != node || got != queues)
        fail_msg("%s: node %d, %u queues", name, bal_net_node(t->sys, name, &got), got);
}

/* ---- interfaces ------------------------------------------------------------------------------------------ */

static void test_a_card_is_where_its_slot_is(void **state)
{
    struct tree *t = *state;

    nic(t, "eth0", "0000:00:03.0", "1\n", 8);
    nic(t, "eth1", "0000:00:04.0", "-1\n", 1);
    nic(t, "eth2", "0000:00:05.0", "x\n", 0);
    expect_net(t, "eth0", 1, 8);
    expect_net(t, "eth1", BAL_NODE_ANY, 1);
    expect_net(t, "eth2", 0, 0);
    expect_net(t, "eth3", BAL_NODE_ANY, 0);
    expect_net(t, "../net/eth0", BAL_NODE_ANY, 0);
}

/* virtio: the card of the class is a device of a device that knows. */
static void test_a_device_above_may_know(void **state)
{
    struct tree *t = *state;

    dir(t, "devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/queues/rx-0");
    file(t, "devices/pci0000:00/0000:00:03.0/numa_node", "2\n");
    link_to(t, "class/net/eth0", "devices/pci0000:00/0000:00:03.0/virtio0/net/eth0");
    expect_net(t, "eth0", 2, 1);
}

static void test_what_stands_on_cards_is_where_they_are(void **state)
{
    struct tree *t = *state;

    nic(t, "eth0", "0000:00:03.0", "1", 4);
    nic(t, "eth1", "0000:00:04.0", "1", 4);
    nic(t, "eth2", "0000:80:03.0", "0", 2);
    stacked(t, "bond0", "eth0", "eth0");
    stacked(t, "bond0", "eth1", "eth1");
    stacked(t, "vlan7", "bond0", "bond0");
    stacked(t, "br0", "eth0", "eth0");
    stacked(t, "br0", "eth2", "eth2");
    expect_net(t, "bond0", 1, 8);
    expect_net(t, "vlan7", 1, 8);
    expect_net(t, "br0", BAL_NODE_ANY, 6); /* on both */
}

static void test_interfaces_in_a_circle_end(void **state)
{
    struct tree *t = *state;

    dir(t, "class/net");
    stacked(t, "a", "b", "b");
    stacked(t, "b", "a", "a");
    expect_net(t, "a", BAL_NODE_ANY, 1);
}

static void test_virtual_interfaces_are_nowhere(void **state)
{
    struct tree *t = *state;

    dir(t, "devices/virtual/net/lo/queues/rx-0");
    link_to(t, "class/net/lo", "devices/virtual/net/lo");
    expect_net(t, "lo", BAL_NODE_ANY, 1);
}

/* ---- disks ----------------------------------------------------------------------------------------------- */

static void disk(const struct tree *t, const char *number, const char *at)
{
    char path[64];

    dir(t, at);
    snprintf(path, sizeof(path), "dev/block/%s", number);
    link_to(t, path, at);
}

static void test_a_disk_and_its_partition_are_where_the_slot_is(void **state)
{
    struct tree *t = *state;

    disk(t, "259:0", "devices/pci0000:80/0000:80:01.0/nvme/nvme0/nvme0n1");
    disk(t, "259:1", "devices/pci0000:80/0000:80:01.0/nvme/nvme0/nvme0n1/nvme0n1p1");
    file(t, "devices/pci0000:80/0000:80:01.0/numa_node", "1\n");
    assert_int_equal(bal_block_node(t->sys, 259, 0), 1);
    assert_int_equal(bal_block_node(t->sys, 259, 1), 1);
    assert_int_equal(bal_block_node(t->sys, 259, 2), BAL_NODE_ANY);
}

static void test_what_stands_on_disks_is_where_they_are(void **state)
{
    struct tree *t = *state;

    disk(t, "8:0", "devices/pci0000:00/a/block/sda");
    disk(t, "8:16", "devices/pci0000:80/b/block/sdb");
    disk(t, "8:17", "devices/pci0000:80/b/block/sdb/sdb1");
    file(t, "devices/pci0000:00/a/numa_node", "0");
    file(t, "devices/pci0000:80/b/numa_node", "1");
    disk(t, "253:0", "devices/virtual/block/dm-0");
    link_to(t, "devices/virtual/block/dm-0/slaves/sdb1", "devices/pci0000:80/b/block/sdb/sdb1");
    disk(t, "9:0", "devices/virtual/block/md0");
    disk(t, "259:3", "devices/virtual/block/md0/md0p1");
    link_to(t, "devices/virtual/block/md0/slaves/sda", "devices/pci0000:00/a/block/sda");
    link_to(t, "devices/virtual/block/md0/slaves/dm-0", "devices/virtual/block/dm-0");
    assert_int_equal(bal_block_node(t->sys, 253, 0), 1);
    assert_int_equal(bal_block_node(t->sys, 9, 0), BAL_NODE_ANY);
    run("rm %s/devices/virtual/block/md0/slaves/sda", t->sys);
    assert_int_equal(bal_block_node(t->sys, 9, 0), 1);
    assert_int_equal(bal_block_node(t->sys, 259, 3), 1);
    link_to(t, "devices/virtual/block/dm-0/slaves/md0", "devices/virtual/block/md0"); /* a circle */
    assert_int_equal(bal_block_node(t->sys, 9, 0), BAL_NODE_ANY);
}

/* The disk hangs at the subsystem; the controllers below that know their slots. */
static void test_an_nvme_disk_of_several_paths(void **state)
{
    struct tree *t = *state;

    disk(t, "259:0", "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
    dir(t, "devices/pci0000:80/c/nvme/nvme0");
    dir(t, "devices/pci0000:80/d/nvme/nvme1");
    file(t, "devices/pci0000:80/c/numa_node", "1");
    file(t, "devices/pci0000:80/d/numa_node", "1");
    link_to(t, "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0", "devices/pci0000:80/c/nvme/nvme0");
    link_to(t, "devices/virtual/nvme-subsystem/nvme-subsys0/nvme1", "devices/pci0000:80/d/nvme/nvme1");
    assert_int_equal(bal_block_node(t->sys, 259, 0), 1);
    file(t, "devices/pci0000:80/d/numa_node", "0");
    assert_int_equal(bal_block_node(t->sys, 259, 0), BAL_NODE_ANY);
}

/* A file in memory: a device that no /sys has. */
static void test_a_loop_device_is_where_its_file_is(void **state)
{
    struct tree *t = *state;

    disk(t, "7:0", "devices/virtual/block/loop0");
    dir(t, "devices/virtual/block/loop0/loop");
    file(t, "devices/virtual/block/loop0/loop/backing_file", "/nowhere/at/all (deleted)\n");
    assert_int_equal(bal_block_node(t->sys, 7, 0), BAL_NODE_ANY);
    assert_int_equal(bal_dev_node("/proc/self/stat"), BAL_NODE_ANY);
    assert_int_equal(bal_dev_node("/nowhere/at/all"), BAL_NODE_ANY);
}

static void test_a_loop_device_on_a_file_of_a_disk(void **state)
{
    struct tree *t = *state;
    char number[32], path[128];
    struct stat st;

    /* The tree's own file system is given a disk. */
    assert_int_equal(stat(t->sys, &st), 0);
    snprintf(number, sizeof(number), "%u:%u", (unsigned)(st.st_dev >> 8 & 0xfff), (unsigned)(st.st_dev & 0xff));
    disk(t, number, "devices/pci0000:00/a/block/sda");
    file(t, "devices/pci0000:00/a/numa_node", "3");
    disk(t, "7:250", "devices/virtual/block/loop0");
    dir(t, "devices/virtual/block/loop0/loop");
    file(t, "image", "");
    snprintf(path, sizeof(path), "%s/image\n", t->sys);
    file(t, "devices/virtual/block/loop0/loop/backing_file", path);
    assert_int_equal(bal_block_node(t->sys, 7, 250), 3);
}

/* ---- the kernel's answers --------------------------------------------------------------------------------- */

struct answer {
    struct nlmsghdr head;
    struct rtmsg rt;
    struct rtattr table;
    uint32_t table_v;
    struct rtattr oif;
    int oif_v;
};

static struct answer answer_make(void)
{
    return (struct answer){
        .head = { .nlmsg_len = sizeof(struct answer), .nlmsg_type = RTM_NEWROUTE, .nlmsg_seq = 7 },
        .rt = { .rtm_family = AF_INET, .rtm_type = RTN_UNICAST },
        .table = { .rta_len = 8, .rta_type = RTA_TABLE },
        .table_v = 254,
        .oif = { .rta_len = 8, .rta_type = RTA_OIF },
        .oif_v = 3,
    };
}

static void test_a_route_names_its_interface(void **state)
{
    struct answer a = answer_make();

    assert_int_equal(bal_route_read(&a, sizeof(a), 7), 3);
    assert_int_equal(bal_route_read(&a, sizeof(a), 8), 0); /* somebody else's */
    a.rt.rtm_type = RTN_BLACKHOLE;
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), -ENETUNREACH);
    a = answer_make();
    a.oif.rta_type = RTA_GATEWAY;
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), -ENETUNREACH);
    a = answer_make();
    a.oif_v = 0;
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), -EPROTO);
    a = answer_make();
    a.head.nlmsg_type = NLMSG_NOOP;
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), 0);
}

static void test_an_error_is_passed_on(void **state)
{
    struct answer a = answer_make();
    int err = -EHOSTUNREACH;

    a.head.nlmsg_type = NLMSG_ERROR;
    memcpy(&a.rt, &err, sizeof(err));
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), -EHOSTUNREACH);
    err = 0;
    memcpy(&a.rt, &err, sizeof(err));
    assert_int_equal(bal_route_read(&a, sizeof(a), 7), -EPROTO);
}

/* Whatever its lengths say, nothing beyond the bytes is read: each prefix in memory of its own size. */
static void test_no_length_is_believed(void **state)
{
    struct answer a = answer_make();

    for (uint32_t len = 0; len < sizeof(a); len++) {
        uint8_t *part = malloc(len ? len : 1);

        assert_non_null(part);
        memcpy(part, &a, len);
        assert_true(bal_route_read(part, len, 7) <= 0);
        if (len >= sizeof(a.head)) {
            ((struct nlmsghdr *)part)->nlmsg_len = len;
            assert_true(bal_route_read(part, len, 7) <= 0);
        }
        free(part);
    }
    for (unsigned len = 0; len < 70000; len += len < 20 ? 1 : 1111) {
        a = answer_make();
        a.table.rta_len = (uint16_t)len;
        (void)bal_route_read(&a, sizeof(a), 7);
        a.head.nlmsg_len = len;
        (void)bal_route_read(&a, sizeof(a), 7);
    }
}

/* ---- this host ------------------------------------------------------------------------------------------- */

static void test_the_way_to_ourselves_is_the_loopback(void **state)
{
    char ifname[32] = "";
    unsigned queues = 99;
    int node = 99;

    assert_int_equal(bal_nic_of("127.0.0.1", ifname, &node, &queues), 0);
    assert_int_equal(if_nametoindex(ifname), if_nametoindex("lo"));
    assert_int_equal(node, BAL_NODE_ANY);
    if (!access("/proc/net/if_inet6", F_OK)) {
        const int err = bal_nic_of("[::1]", ifname, &node, &queues);

        assert_true(!err || err == -ENETUNREACH || err == -EADDRNOTAVAIL); /* IPv6 may be switched off */
    }
}

static void test_what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "host.example",
        "127.0.0.1:3260",
        "[::1",
        "[::1]:3260",
        "1.2.3",
        "fe80::1%there-is-none",
        "::1%",
        "0000000000000000000000000000000000000000000000000000000000000000000000001"
    };
    char ifname[32] = "kept";
    unsigned queues = 99;
    int node = 99;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(bal_nic_of(bad[i], ifname, &node, &queues) < 0);
    assert_string_equal(ifname, "kept");
    assert_int_equal(node, 99);
    assert_int_equal(queues, 99);
}

#define with_tree(fn) cmocka_unit_test_setup_teardown(fn, tree_open, tree_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_tree(test_a_card_is_where_its_slot_is),
        with_tree(test_a_device_above_may_know),
        with_tree(test_what_stands_on_cards_is_where_they_are),
        with_tree(test_interfaces_in_a_circle_end),
        with_tree(test_virtual_interfaces_are_nowhere),
        with_tree(test_a_disk_and_its_partition_are_where_the_slot_is),
        with_tree(test_what_stands_on_disks_is_where_they_are),
        with_tree(test_an_nvme_disk_of_several_paths),
        with_tree(test_a_loop_device_is_where_its_file_is),
        with_tree(test_a_loop_device_on_a_file_of_a_disk),
        cmocka_unit_test(test_a_route_names_its_interface),
        cmocka_unit_test(test_an_error_is_passed_on),
        cmocka_unit_test(test_no_length_is_believed),
        cmocka_unit_test(test_the_way_to_ourselves_is_the_loopback),
        cmocka_unit_test(test_what_is_no_address_is_refused),
    };

    return cmocka_run_group_tests_name("where things hang", tests, NULL, NULL);
}
