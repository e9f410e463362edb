/*
 * flow.c - filters of a network card by ethtool's ioctl, and their names
 *
 * A filter is known by what it matches, not by its place in the card's table: where a driver chooses the place itself,
 * the place is known only after the filter is there, and a journal must say before what is going to be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/flow.h"

#define RULES_MAX 8192u /* more than any table we know */

/* ---- names ----------------------------------------------------------------------------------------------- */

bool bal_ifname_valid(const char *name)
{
    if (!*name || strlen(name) >= BAL_IFNAME_MAX || *name == '.')
        return false;
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p >= 0x7f || *p == '/' || *p == ':')
            return false;
    return true;
}

/* The next part of a name between slashes. */
static bool part(const char **p, char *out, size_t len)
{
    const size_t n = strcspn(*p, "/");

    if (!n || n >= len)
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n + ((*p)[n] == '/');
    return true;
}

static bool port_of(const char *text, uint16_t *out)
{
    char *end;
    const unsigned long n = strtoul(text, &end, 10);

    if (*text < '1' || *text > '9' || *end || n > UINT16_MAX)
        return false;
    *out = (uint16_t)n;
    return true;
}

static bool addr_of(const char *text, bool v6, uint8_t out[static 16])
{
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, out) == 1;
}

int bal_flow_parse(struct bal_flow *out, const char *name)
{
    char head[8], src[64], sport[8], dst[64], dport[8];
    struct bal_flow f = { 0 };
    const char *p = name;

    if (!part(&p, head, sizeof(head)) || strcmp(head, "flow") || !part(&p, f.ifname, sizeof(f.ifname)) ||
        !bal_ifname_valid(f.ifname) || !part(&p, src, sizeof(src)) || !part(&p, sport, sizeof(sport)) ||
        !part(&p, dst, sizeof(dst)) || !part(&p, dport, sizeof(dport)) || *p || p[-1] == '/')
        return -EINVAL;
    f.v6 = strchr(src, ':');
    f.any_dst = !strcmp(dst, "*");
    if (!addr_of(src, f.v6, f.src) || !port_of(sport, &f.src_port) ||
        (!f.any_dst && !addr_of(dst, f.v6, f.dst)) || (strcmp(dport, "*") && !port_of(dport, &f.dst_port)))
        return -EINVAL;
    *out = f;
    return 0;
}

int bal_flow_name(char out[static BAL_FLOW_NAME_MAX], const char *ifname, const char *src, uint16_t src_port,
                  const char *dst, uint16_t dst_port)
{
    struct bal_flow f;
    char port[8] = "*";

    if (dst_port)
        snprintf(port, sizeof(port), "%u", dst_port);
    if (snprintf(out, BAL_FLOW_NAME_MAX, "flow/%s/%s/%u/%s/%s", ifname, src, src_port, dst && *dst ? dst : "*",
                 port) >= BAL_FLOW_NAME_MAX)
        return -EINVAL;
    return bal_flow_parse(&f, out);
}

/* ---- the card -------------------------------------------------------------------------------------------- */

static int ethtool(const char *ifname, void *cmd)
{
    struct ifreq req = { 0 };
    int fd, err = 0;

    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
    req.ifr_data = cmd;
    if ((fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return -errno;
    if (ioctl(fd, SIOCETHTOOL, &req))
        err = -errno;
    close(fd);
    return err;
}

static int nic_able(void *user, const char *ifname, unsigned *queues, char why[static 128])
{
    struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };
    struct ethtool_rxnfc rings = { .cmd = ETHTOOL_GRXRINGS }, count = { .cmd = ETHTOOL_GRXCLSRLCNT };
    int err;

    if ((err = ethtool(ifname, &count)) || (err = ethtool(ifname, &rings)) || (err = ethtool(ifname, &flags))) {
        snprintf(why, 128, "%s has no flow filters (%s)", ifname, strerror(-err));
        return err;
    }
    if (!(flags.data & ETH_FLAG_NTUPLE)) {
        snprintf(why, 128, "%s may have flow filters, but they are off: 'ethtool -K %s ntuple on' if it can",
                 ifname, ifname);
        return -EOPNOTSUPP;
    }
    *queues = (unsigned)rings.data;
    return 0;
}

/* What matches and what does not matter: in ethtool's structures, ones in the mask count. */
static void spec_fill(struct ethtool_rx_flow_spec *s, const struct bal_flow *f, unsigned queue)
{
    const uint16_t sport = htons(f->src_port), dport = htons(f->dst_port);

    memset(s, 0, sizeof(*s));
    s->ring_cookie = queue;
    if (f->v6) {
        struct ethtool_tcpip6_spec *v = &s->h_u.tcp_ip6_spec, *m = &s->m_u.tcp_ip6_spec;

        s->flow_type = TCP_V6_FLOW;
        memcpy(v->ip6src, f->src, sizeof(v->ip6src));
        memset(m->ip6src, 0xff, sizeof(m->ip6src));
        memcpy(v->ip6dst, f->dst, sizeof(v->ip6dst));
        memset(m->ip6dst, f->any_dst ? 0 : 0xff, sizeof(m->ip6dst));
        v->psrc = sport;
        v->pdst = dport;
        m->psrc = 0xffff;
        m->pdst = dport ? 0xffff : 0;
    } else {
        struct ethtool_tcpip4_spec *v = &s->h_u.tcp_ip4_spec, *m = &s->m_u.tcp_ip4_spec;

        s->flow_type = TCP_V4_FLOW;
        memcpy(&v->ip4src, f->src, sizeof(v->ip4src));
        memset(&m->ip4src, 0xff, sizeof(m->ip4src));
        memcpy(&v->ip4dst, f->dst, sizeof(v->ip4dst));
        memset(&m->ip4dst, f->any_dst ? 0 : 0xff, sizeof(m->ip4dst));
        v->psrc = sport;
        v->pdst = dport;
        m->psrc = 0xffff;
        m->pdst = dport ? 0xffff : 0;
    }
}

/* Looks through the card's table for the flow's filter. @table: taken by the caller on 0 and -ENOENT, who will free() it;
 * NULL: not wanted. Return: 0 with @found, -ENOENT: there is none, -errno. */
static int nic_search(const struct bal_flow *f, struct ethtool_rx_flow_spec *found,
                      struct ethtool_rxnfc **table)
{
    struct ethtool_rxnfc count = { .cmd = ETHTOOL_GRXCLSRLCNT }, *all;
    /* Addresses and ports: what comes behind them in the structures, a driver may show as it likes. */
    const size_t len = f->v6 ? offsetof(struct ethtool_tcpip6_spec, tclass) : offsetof(struct ethtool_tcpip4_spec, tos);
    struct ethtool_rx_flow_spec want;
    int err = ethtool(f->ifname, &count);

    if (err)
        return err;
    if (count.rule_cnt > RULES_MAX)
        return -E2BIG;
    if (!(all = calloc(1, sizeof(*all) + count.rule_cnt * sizeof(uint32_t))))
        return -ENOMEM;
    all->cmd = ETHTOOL_GRXCLSRLALL;
    all->rule_cnt = count.rule_cnt;
    if ((err = ethtool(f->ifname, all))) {
        free(all);
        return err;
    }
    all->data |= count.data & RX_CLS_LOC_SPECIAL; /* the place may be left to the driver */
    spec_fill(&want, f, 0);
    err = -ENOENT;
    for (uint32_t i = 0; i < all->rule_cnt && i < count.rule_cnt && err == -ENOENT; i++) {
        struct ethtool_rxnfc one = { .cmd = ETHTOOL_GRXCLSRULE, .fs.location = all->rule_locs[i] };

        if (ethtool(f->ifname, &one))
            continue; /* went meanwhile */
        if (one.fs.flow_type == want.flow_type && !memcmp(&one.fs.h_u, &want.h_u, len) &&
            !memcmp(&one.fs.m_u, &want.m_u, len)) {
            *found = one.fs;
            err = 0;
        }
    }
    if (table)
        *table = all;
    else
        free(all);
    return err;
}

static int nic_find(void *user, const struct bal_flow *f, unsigned *queue)
{
    struct ethtool_rx_flow_spec s;
    const int err = nic_search(f, &s, NULL);

    if (!err)
        *queue = (unsigned)ethtool_get_flow_spec_ring(s.ring_cookie);
    return err;
}

/* The last free place: drivers put their own rules, and people theirs, in front. */
static int place_free(const struct ethtool_rxnfc *t, uint32_t *out)
{
    const uint64_t size = t->data & ~(uint64_t)RX_CLS_LOC_SPECIAL;

    if (t->data & RX_CLS_LOC_SPECIAL) {
        *out = RX_CLS_LOC_ANY;
        return 0;
    }
    for (uint64_t place = size > RULES_MAX ? RULES_MAX : size; place-- > 0;) {
        bool taken = false;

        for (uint32_t i = 0; i < t->rule_cnt; i++)
            taken |= t->rule_locs[i] == place;
        if (!taken) {
            *out = (uint32_t)place;
            return 0;
        }
    }
    return -ENOSPC;
}

static int nic_add(void *user, const struct bal_flow *f, unsigned queue)
{
    struct ethtool_rxnfc add = { .cmd = ETHTOOL_SRXCLSRLINS }, *table = NULL;
    struct ethtool_rx_flow_spec s;
    int err = nic_search(f, &s, &table);

    if (!err)
        err = -EEXIST;
    else if (err == -ENOENT) {
        spec_fill(&add.fs, f, queue);
        if (!(err = place_free(table, &add.fs.location)))
            err = ethtool(f->ifname, &add);
    }
    free(table);
    return err;
}

static int nic_del(void *user, const struct bal_flow *f)
{
    struct ethtool_rx_flow_spec s;
    int err = nic_search(f, &s, NULL);

    if (!err) {
        struct ethtool_rxnfc del = { .cmd = ETHTOOL_SRXCLSRLDEL, .fs.location = s.location };

        err = ethtool(f->ifname, &del);
    }
    return err;
}

const struct bal_flow_ops bal_flow_nic = { nic_able, nic_find, nic_add, nic_del };

static int none_able(void *user, const char *ifname, unsigned *queues, char why[static 128])
{
    snprintf(why, 128, "%s has no flow filters", ifname);
    return -EOPNOTSUPP;
}

static int none_find(void *user, const struct bal_flow *f, unsigned *queue)
{
    return -EOPNOTSUPP;
}

static int none_add(void *user, const struct bal_flow *f, unsigned queue)
{
    return -EOPNOTSUPP;
}

static int none_del(void *user, const struct bal_flow *f)
{
    return -EOPNOTSUPP;
}

const struct bal_flow_ops bal_flow_none = { none_able, none_find, none_add, none_del };
