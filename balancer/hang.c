/*
 * hang.c - what hangs where: the interface that leads to an address, and the NUMA nodes of interfaces and disks
 *
 * The way to an address is the kernel's to tell (a route request by netlink, in the network namespace that we are in), where
 * a device is, /sys. The devices of /sys have a file numa_node at their bus or above; virtual ones have none, and those that
 * stand on others are where these are.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include "balancer/hang.h"
#include "balancer/topo.h"

#define DEPTH_MAX    8u /* VLAN on bond on...; a loop device on a file on a loop device... */
#define ANSWER_MAX   8192u
#define TRIES_MAX    8u   /* messages that are not our answer */
#define NODE_NOTHING (-2) /* nobody was asked yet */

/* ---- /sys ------------------------------------------------------------------------------------------------ */

static bool path_make(char out[static PATH_MAX], const char *dir, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

/* The first line of a file. Return: whether there is one. */
static bool line_read(const char *dir, const char *name, char *out, int max)
{
    char path[PATH_MAX];
    FILE *f = path_make(path, dir, name) ? fopen(path, "re") : NULL;
    bool ok = f && fgets(out, max, f);

    if (ok)
        out[strcspn(out, "\n")] = '\0';
    if (f)
        fclose(f);
    return ok;
}

/* Of the device that a directory of /sys is, or the nearest above it that knows. */
static int node_above(const char *sys, const char *dir)
{
    char top[PATH_MAX], at[PATH_MAX], text[32], *slash;

    if (!realpath(sys, top) || !realpath(dir, at))
        return BAL_NODE_ANY;
    while (strlen(at) > strlen(top)) {
        if (line_read(at, "numa_node", text, sizeof(text))) {
            const long node = strtol(text, NULL, 10);

            return node >= 0 && node < INT_MAX ? (int)node : BAL_NODE_ANY;
        }
        if (!(slash = strrchr(at, '/')))
            break;
        *slash = '\0';
    }
    return BAL_NODE_ANY;
}

static int node_join(int a, int b)
{
    return a == NODE_NOTHING || a == b ? b : BAL_NODE_ANY;
}

/* Calls fn for each name in @dir that begins with @prefix. Return: how many there were. */
static unsigned names_each(const char *dir, const char *prefix, void (*fn)(void *arg, const char *path),
                           void *arg)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    unsigned nr = 0;

    while (d && (e = readdir(d))) {
        char path[PATH_MAX];

        if (*e->d_name == '.' || strncmp(e->d_name, prefix, strlen(prefix)) || !path_make(path, dir, e->d_name))
            continue;
        nr++;
        if (fn)
            fn(arg, path);
    }
    if (d)
        closedir(d);
    return nr;
}

/* ---- interfaces ------------------------------------------------------------------------------------------ */

struct below {
    const char *sys;
    unsigned depth, queues;
    int node;
};

static int net_node(const char *sys, const char *dir, unsigned depth, unsigned *queues);

static void net_below(void *arg, const char *path)
{
    struct below *b = arg;
    unsigned queues;

    b->node = node_join(b->node, net_node(b->sys, path, b->depth + 1, &queues));
    b->queues += queues;
}

/* @dir: of the interface. */
static int net_node(const char *sys, const char *dir, unsigned depth, unsigned *queues)
{
    struct below b = { .sys = sys, .depth = depth, .node = NODE_NOTHING };
    char path[PATH_MAX];

    *queues = 0;
    if (depth < DEPTH_MAX && names_each(dir, "lower_", net_below, &b)) {
        *queues = b.queues;
        return b.node;
    }
    if (path_make(path, dir, "queues"))
        *queues = names_each(path, "rx-", NULL, NULL);
    return node_above(sys, dir);
}

int bal_net_node(const char *sys, const char *ifname, unsigned *queues)
{
    char dir[PATH_MAX];

    *queues = 0;
    if (strchr(ifname, '/') || snprintf(dir, sizeof(dir), "%s/class/net/%s", sys, ifname) >= (int)sizeof(dir))
        return BAL_NODE_ANY;
    return net_node(sys, dir, 0, queues);
}

/* /sys is that of the network namespace in which it was mounted: in another an interface of that name may be a stranger. */
static bool sys_knows(const char *ifname, int index)
{
    char dir[PATH_MAX], text[32];

    return snprintf(dir, sizeof(dir), "/sys/class/net/%s", ifname) < (int)sizeof(dir) &&
           line_read(dir, "ifindex", text, sizeof(text)) && strtol(text, NULL, 10) == index;
}

/* ---- the way to an address ------------------------------------------------------------------------------- */

struct route_ask {
    struct nlmsghdr head;
    struct rtmsg rt;
    uint8_t attrs[64];
};

static void attr_add(struct route_ask *a, uint16_t type, const void *data, uint16_t len)
{
    struct rtattr *at = (struct rtattr *)((uint8_t *)a + NLMSG_ALIGN(a->head.nlmsg_len));

    at->rta_type = type;
    at->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(at), data, len);
    a->head.nlmsg_len = NLMSG_ALIGN(a->head.nlmsg_len) + (uint32_t)RTA_ALIGN(at->rta_len);
}

/* "192.0.2.1", "2001:db8::1", "[fe80::1%eth0]". */
static int ask_make(struct route_ask *a, const char *addr, uint32_t seq)
{
    const bool bracket = *addr == '[';
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 2], *scope;
    uint8_t bytes[16];
    size_t len;

    if (snprintf(text, sizeof(text), "%s", addr + bracket) >= (int)sizeof(text))
        return -EINVAL;
    len = strlen(text);
    if (bracket && (!len || text[len - 1] != ']'))
        return -EINVAL;
    if (bracket)
        text[len - 1] = '\0';
    if ((scope = strchr(text, '%')))
        *scope++ = '\0';
    *a = (struct route_ask){
        .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(a->rt)),
                  .nlmsg_type = RTM_GETROUTE,
                  .nlmsg_flags = NLM_F_REQUEST,
                  .nlmsg_seq = seq },
    };
    if (inet_pton(AF_INET, text, bytes) == 1)
        a->rt.rtm_family = AF_INET;
    else if (inet_pton(AF_INET6, text, bytes) == 1)
        a->rt.rtm_family = AF_INET6;
    else
        return -EINVAL;
    a->rt.rtm_dst_len = a->rt.rtm_family == AF_INET ? 32 : 128;
    attr_add(a, RTA_DST, bytes, a->rt.rtm_dst_len / 8);
    if (scope) {
        const uint32_t index =
            if_nametoindex(scope) ? if_nametoindex(scope) : (uint32_t)strtoul(scope, NULL, 10);

        if (!index)
            return -ENODEV;
        attr_add(a, RTA_OIF, &index, sizeof(index));
    }
    return 0;
}

/* An answer's attributes. Return: the interface, or -errno. */
static int oif_find(const uint8_t *at, size_t left)
{
    while (left >= sizeof(struct rtattr)) {
        struct rtattr a;
        size_t step;

        memcpy(&a, at, sizeof(a));
        if (a.rta_len < sizeof(a) || a.rta_len > left)
            return -EPROTO;
        if (a.rta_type == RTA_OIF && a.rta_len >= RTA_LENGTH(sizeof(int))) {
            int index;

            memcpy(&index, at + RTA_LENGTH(0), sizeof(index));
            return index > 0 ? index : -EPROTO;
        }
        step = RTA_ALIGN(a.rta_len);
        if (step > left)
            break;
        at += step;
        left -= step;
    }
    return -ENETUNREACH;
}

int bal_route_read(const void *msg, uint32_t len, uint32_t seq)
{
    const uint8_t *at = msg;
    struct nlmsghdr h;
    struct rtmsg rt;
    int err;

    if (len < sizeof(h))
        return 0;
    memcpy(&h, at, sizeof(h));
    if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
        return -EPROTO;
    if (h.nlmsg_seq != seq)
        return 0;
    if (h.nlmsg_type == NLMSG_ERROR) {
        if (h.nlmsg_len < NLMSG_LENGTH(sizeof(err)))
            return -EPROTO;
        memcpy(&err, at + NLMSG_HDRLEN, sizeof(err));
        return err < 0 && err > -4096 ? err : -EPROTO;
    }
    if (h.nlmsg_type != RTM_NEWROUTE)
        return 0;
    if (h.nlmsg_len < NLMSG_LENGTH(sizeof(rt)))
        return -EPROTO;
    memcpy(&rt, at + NLMSG_HDRLEN, sizeof(rt));
    if (rt.rtm_type != RTN_UNICAST && rt.rtm_type != RTN_LOCAL && rt.rtm_type != RTN_BROADCAST &&
        rt.rtm_type != RTN_MULTICAST && rt.rtm_type != RTN_ANYCAST)
        return -ENETUNREACH; /* blackhole, prohibit... */
    return oif_find(at + NLMSG_LENGTH(sizeof(rt)), h.nlmsg_len - NLMSG_LENGTH(sizeof(rt)));
}

/* Return: the index of the interface, or -errno. */
static int route_ask(const char *addr)
{
    const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    const struct timeval limit = { .tv_sec = 2 };
    const uint32_t seq = (uint32_t)getpid();
    struct route_ask ask;
    uint8_t answer[ANSWER_MAX];
    int fd, ret;

    if ((ret = ask_make(&ask, addr, seq)))
        return ret;
    if ((fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (sendto(fd, &ask, ask.head.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
        ret = -errno;
    for (unsigned i = 0; !ret && i < TRIES_MAX; i++) {
        struct sockaddr_nl from = { 0 };
        socklen_t from_len = sizeof(from);
        const ssize_t n = recvfrom(fd, answer, sizeof(answer), 0, (struct sockaddr *)&from, &from_len);

        if (n < 0 && errno != EINTR)
            ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
        else if (n > 0 && !from.nl_pid) /* another process may send to us as well */
            ret = bal_route_read(answer, (uint32_t)n, seq);
    }
    close(fd);
    return ret ? ret : -ETIMEDOUT;
}

int bal_nic_of(const char *addr, char ifname[static 32], int *node, unsigned *queues)
{
    const int index = route_ask(addr);
    char name[IF_NAMESIZE];
    unsigned nr = 0;
    int at = BAL_NODE_ANY;

    if (index < 0)
        return index;
    if (!if_indextoname((unsigned)index, name))
        return -errno;
    if (sys_knows(name, index))
        at = bal_net_node("/sys", name, &nr);
    snprintf(ifname, 32, "%s", name);
    *node = at;
    *queues = nr;
    return 0;
}

/* ---- block devices --------------------------------------------------------------------------------------- */

static int block_node(const char *sys, const char *dir, unsigned depth);
static int path_node(const char *sys, const char *path, unsigned depth);

static void block_below(void *arg, const char *path)
{
    struct below *b = arg;

    b->node = node_join(b->node, block_node(b->sys, path, b->depth + 1));
}

/* Beside the controllers, "nvme0", the subsystem has its disks, "nvme0n1". */
static void controller_below(void *arg, const char *path)
{
    struct below *b = arg;
    const char *number = strrchr(path, '/') + sizeof("/nvme") - 1;

    if (number[strspn(number, "0123456789")])
        return;
    b->node = node_join(b->node, node_above(b->sys, path));
}

/* @dir: of a disk or a partition, which stands where its disk does. */
static int block_node(const char *sys, const char *dir, unsigned depth)
{
    static const char *const slaves[] = { "slaves", "../slaves" };
    struct below b = { .sys = sys, .depth = depth, .node = NODE_NOTHING };
    char at[PATH_MAX], path[PATH_MAX], file[PATH_MAX], *slash;

    if (depth >= DEPTH_MAX || !realpath(dir, at))
        return BAL_NODE_ANY;
    for (unsigned i = 0; i < 2; i++)
        if (path_make(path, at, slaves[i]) && names_each(path, "", block_below, &b))
            return b.node;
    if (line_read(at, "loop/backing_file", file, sizeof(file)) ||
        line_read(at, "../loop/backing_file", file, sizeof(file)))
        return path_node(sys, file, depth + 1);
    /* An NVMe disk of several paths hangs at none of them: its subsystem, above it, names their controllers. */
    if ((slash = strstr(at, "/nvme-subsystem/")) &&
        (slash = strchr(slash + sizeof("/nvme-subsystem/") - 1, '/'))) {
        *slash = '\0';
        (void)names_each(at, "nvme", controller_below, &b);
        if (b.node != NODE_NOTHING)
            return b.node;
        *slash = '/';
    }
    return node_above(sys, at);
}

static int number_node(const char *sys, unsigned dev_major, unsigned dev_minor, unsigned depth)
{
    char dir[PATH_MAX];

    if (snprintf(dir, sizeof(dir), "%s/dev/block/%u:%u", sys, dev_major, dev_minor) >= (int)sizeof(dir))
        return BAL_NODE_ANY;
    return block_node(sys, dir, depth);
}

/* A file system without a device of its own (btrfs, tmpfs, overlay) shows a number that /sys does not have. */
static int path_node(const char *sys, const char *path, unsigned depth)
{
    struct stat st;

    if (stat(path, &st))
        return BAL_NODE_ANY;
    if (S_ISBLK(st.st_mode))
        return number_node(sys, major(st.st_rdev), minor(st.st_rdev), depth);
    return number_node(sys, major(st.st_dev), minor(st.st_dev), depth);
}

int bal_block_node(const char *sys, unsigned dev_major, unsigned dev_minor)
{
    return number_node(sys, dev_major, dev_minor, 0);
}

int bal_dev_node(const char *path)
{
    return path_node("/sys", path, 0);
}
