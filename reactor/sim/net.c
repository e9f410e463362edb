/*
 * net.c - the simulated network: who is where, listeners, and how a connection is made
 *
 * What a made connection carries is stream.c's; sock.c owns the sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "reactor/sim/net.h"

#define BACKLOG 1024u
#define SYN_RETRY_NS RT_S                   /* doubled with each */
#define NO_HOST_NS (3 * RT_S)
#define PORT_FIRST 32768u
#define PORT_LAST 60999u

static void syn_due(struct sim *w, struct sim_event *ev);

/* ---- who is where ------------------------------------------------------------------------------------- */

struct sim_pair {                           /* from one machine to another */
    bool cut, own;
    struct sim_net net;
};

bool sim_same_number(const struct rt_addr *a, const struct rt_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
}

static bool is_loopback(const struct rt_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static bool is_any(const struct rt_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return !a->in.sin_addr.s_addr;
    return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

static uint16_t port_of(const struct rt_addr *a)
{
    return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

static void port_set(struct rt_addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons(port);
    else
        a->in6.sin6_port = htons(port);
}

bool sim_machine_has(const struct sim_machine *m, const struct rt_addr *a)
{
    if (is_loopback(a))
        return true;
    for (unsigned i = 0; i < m->addrs_nr; i++)
        if (sim_same_number(&m->addrs[i], a))
            return true;
    return false;
}

struct sim_machine *sim_machine_at(struct sim *w, struct sim_machine *near, const struct rt_addr *a)
{
    if (sim_machine_has(near, a) || is_any(a))
        return near;
    rt_list_for(l, &w->machines) {
        struct sim_machine *m = rt_list_entry(l, struct sim_machine, link);

        if (sim_machine_has(m, a))
            return m;
    }
    return NULL;
}

static struct sim_pair *pair_at(const struct sim *w, const struct sim_machine *from, const struct sim_machine *to)
{
    if (from->index >= w->pairs_nr || to->index >= w->pairs_nr)
        return NULL;
    return &w->pairs[from->index * w->pairs_nr + to->index];
}

static struct sim_pair *pair_make(struct sim *w, const struct sim_machine *from, const struct sim_machine *to)
{
    const unsigned nr = w->machines_nr, old = w->pairs_nr;

    if (old < nr) {
        struct sim_pair *pairs = sim_zalloc((size_t)nr * nr * sizeof(*pairs));

        for (unsigned i = 0; i < old; i++)
            memcpy(&pairs[i * nr], &w->pairs[i * old], old * sizeof(*pairs));
        sim_release(w->pairs);
        w->pairs = pairs;
        w->pairs_nr = nr;
    }
    return pair_at(w, from, to);
}

static const struct sim_net *net_between(const struct sim *w, const struct sim_machine *from,
                                         const struct sim_machine *to)
{
    const struct sim_pair *p = pair_at(w, from, to);

    return p && p->own ? &p->net : &w->net;
}

const struct sim_net *sim_net_of(const struct sim_conn *c, unsigned i)
{
    return net_between(c->w, c->machine[i], c->machine[!i]);
}

void sim_net_get(const struct sim *w, struct sim_net *out)
{
    *out = w->net;
}

static void faultless(struct sim_net *n)
{
    n->reset_ppm = n->half_close_ppm = n->blackhole_ppm = n->stall_ppm = n->flip_ppm = n->refuse_ppm = 0;
    n->connect_lost_ppm = 0;
}

void sim_net_set(struct sim *w, const struct sim_net *net)
{
    assert(net->window && net->segment_max);
    w->net = *net;
}

void sim_net_set_between(struct sim_machine *from, struct sim_machine *to, const struct sim_net *net)
{
    struct sim_pair *p = pair_make(from->w, from, to);

    p->own = net;
    if (net)
        p->net = *net;
}

bool sim_partitioned(const struct sim_machine *from, const struct sim_machine *to)
{
    const struct sim_pair *p = pair_at(from->w, from, to);

    return p && p->cut;
}

/* Whether a segment of direction i does not get through now. */
bool sim_dir_blocked(const struct sim_conn *c, unsigned i)
{
    if (c->local)
        return false;
    if (c->way && c->machine[1]->ways[c->way - 1].cut[i])
        return true;
    return c->hole || !c->machine[!i]->on || sim_partitioned(c->machine[i], c->machine[!i]);
}

/* ---- listeners ---------------------------------------------------------------------------------------- */

static bool clash(const struct rt_addr *a, const struct rt_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_UNIX)
        return rt_addr_equal(a, b);
    return port_of(a) == port_of(b) && (is_any(a) || is_any(b) || sim_same_number(a, b));
}

static struct listener *listener_find(struct sim_machine *m, const struct rt_addr *a)
{
    rt_list_for(l, &m->listeners) {
        struct listener *t = rt_list_entry(l, struct listener, link);

        if (clash(&t->at, a))
            return t;
    }
    return NULL;
}

static uint16_t port_next(struct sim_machine *m)
{
    m->port_next = m->port_next == PORT_LAST ? (uint16_t)PORT_FIRST : (uint16_t)(m->port_next + 1);
    return m->port_next;
}

int sim_listener_open(struct sim_machine *m, const struct rt_addr *at, struct listener **out)
{
    struct listener *l;
    struct rt_addr a = *at;

    if (at->sa.sa_family != AF_UNIX) {
        if (!is_any(at) && !sim_machine_has(m, at))
            return -EADDRNOTAVAIL;
        for (unsigned i = 0; !port_of(at) && i < 64; i++) {
            port_set(&a, port_next(m));
            if (!listener_find(m, &a))
                break;
        }
    }
    if (listener_find(m, &a))
        return -EADDRINUSE;
    l = sim_zalloc(sizeof(*l));
    l->machine = m;
    l->at = a;
    rt_list_init(&l->queue);
    rt_list_push(&m->listeners, &l->link);
    *out = l;
    return 0;
}

void sim_listener_close(struct listener *l)
{
    struct rt_link *k;

    while ((k = rt_list_pop(&l->queue))) {
        struct sim_conn *c = rt_list_entry(k, struct sim_conn, accept);

        c->waiting = NULL;
        sim_end_close(c, 1, true);
    }
    rt_list_del(&l->link);
    sim_release(l);
}

/* ---- connecting --------------------------------------------------------------------------------------- */

/* Where it comes from: an address of its machine and a port. */
static struct rt_addr source(struct sim_machine *m, const struct rt_addr *to)
{
    struct rt_addr a = *to;

    if (to->sa.sa_family == AF_UNIX)
        return (struct rt_addr){ .len = sizeof(sa_family_t), .sa.sa_family = AF_UNIX };
    /* To itself a machine talks from the very address it talks to. */
    for (unsigned i = 0; i < m->addrs_nr && !sim_machine_has(m, to) && !is_any(to); i++) {
        if (m->addrs[i].sa.sa_family == to->sa.sa_family) {
            a = m->addrs[i];
            break;
        }
    }
    port_set(&a, port_next(m));
    return a;
}

struct sim_conn *sim_conn_new(struct sim_prog *p, const struct rt_addr *to, struct rt_sock *client)
{
    struct sim_machine *m = p->machine;
    struct sim *w = m->w;
    struct sim_conn *c = sim_zalloc(sizeof(*c));

    c->w = w;
    c->id = ++w->conn_ids;
    c->local = to->sa.sa_family == AF_UNIX;
    c->machine[0] = m;
    c->machine[1] = c->local ? m : sim_machine_at(w, m, to);
    c->prog[0] = p;
    c->to = c->addr[1] = *to;
    c->addr[0] = source(m, to);
    for (unsigned i = 0; !c->local && c->machine[1] && i < c->machine[1]->addrs_nr; i++)
        if (sim_same_number(&c->machine[1]->addrs[i], to))
            c->way = i + 1;
    c->end[0].sock = client;
    sim_dir_init(c, 0);
    sim_dir_init(c, 1);
    c->syn.fn = syn_due;
    c->syn_since = w->now;
    rt_list_init(&c->accept);
    rt_list_push(&w->conns, &c->link);
    w->conns_nr++;
    if (!c->machine[1]) {
        c->state = CONN_REFUSED;
        c->syn_err = -EHOSTUNREACH;
        sim_ev_set(w, &c->syn, w->now + NO_HOST_NS);
    } else {
        sim_ev_set(w, &c->syn, w->now + sim_latency(c, 0));
    }
    return c;
}

void sim_conn_free(struct sim_conn *c)
{
    struct sim *w = c->w;

    if (c->waiting) {
        rt_list_del(&c->accept);
        c->waiting->queued--;
    }
    sim_dir_free(c, 0);
    sim_dir_free(c, 1);
    sim_ev_del(w, &c->syn);
    sim_ev_del(w, &c->hole_end);
    rt_list_del(&c->link);
    w->conns_nr--;
    sim_release(c);
}

/* The client learns how it ended. */
static void syn_end(struct sim_conn *c, int err)
{
    struct sim *w = c->w;
    struct rt_sock *s = c->end[0].sock;

    if (sim_log_wanted(w, RT_DEBUG)) {
        char from[RT_ADDR_STR_MAX], to[RT_ADDR_STR_MAX];

        rt_addr_format(&c->addr[0], from);
        rt_addr_format(&c->to, to);
        sim_debug(w, "connection %llu, %s to %s: %s", (unsigned long long)c->id, from, to,
                  err ? strerror(-err) : "made");
    }
    if (!err) {
        c->state = CONN_UP;
        if (w->on_connect) {
            const struct sim_context before = sim_context_enter(w, NULL, NULL);

            w->on_connect(w->on_connect_arg, c);
            sim_context_leave(w, &before);
        }
        sim_sock_connected(s, 0);
        return;
    }
    c->end[0].sock = NULL;
    sim_sock_connected(s, err);
    sim_conn_free(c);
}

/* The request arrives, or does not. */
static void syn_arrive(struct sim_conn *c)
{
    struct sim *w = c->w;
    const struct sim_net *n = sim_net_of(c, 0);
    struct listener *l;
    bool lost = false, refused = false;

    if (!c->local && !c->syn_tries) {
        lost = sim_rng_chance(&w->net_rng, n->connect_lost_ppm);
        refused = sim_rng_chance(&w->net_rng, n->refuse_ppm);
    }
    if (lost) {
        sim_fault_note(w, SIM_FAULT_CONNECT_LOST, c->machine[1], c);
        c->state = CONN_REFUSED;
        c->syn_err = -ETIMEDOUT;
        sim_ev_set(w, &c->syn, w->now + n->connect_timeout_ns);
        return;
    }
    l = listener_find(c->machine[1], &c->to);
    if (sim_dir_blocked(c, 0) || sim_dir_blocked(c, 1) || (l && l->queued >= BACKLOG)) {
        const uint64_t end = c->syn_since + n->connect_timeout_ns;
        uint64_t at = w->now + (SYN_RETRY_NS << (c->syn_tries < 20 ? c->syn_tries : 20));

        c->syn_tries++;
        if (at >= end) {
            c->state = CONN_REFUSED;
            c->syn_err = -ETIMEDOUT;
            at = end > w->now ? end : w->now;
        }
        sim_ev_set(w, &c->syn, at);
        return;
    }
    if (!l || refused) {
        if (l)
            sim_fault_note(w, SIM_FAULT_REFUSE, c->machine[1], c);
        c->state = CONN_REFUSED;
        c->syn_err = -ECONNREFUSED;
    } else {
        c->state = CONN_ANSWERED;
        c->prog[1] = NULL;
        c->waiting = l;
        l->queued++;
        rt_list_push(&l->queue, &c->accept);
        sim_sock_readable(l->sock);
    }
    sim_ev_set(w, &c->syn, w->now + sim_latency(c, 1));
}

static void syn_due(struct sim *w, struct sim_event *ev)
{
    struct sim_conn *c = container_of(ev, struct sim_conn, syn);

    switch (c->state) {
    case CONN_SYN:
        syn_arrive(c);
        break;
    case CONN_REFUSED:
        syn_end(c, c->syn_err);
        break;
    case CONN_ANSWERED:
        syn_end(c, 0);
        break;
    case CONN_UP:
        break;
    }
}

/* ---- what the world's owner does ---------------------------------------------------------------------- */

void sim_partition(struct sim_machine *from, struct sim_machine *to, bool on)
{
    struct sim *w = from->w;
    struct sim_pair *p = pair_make(w, from, to);

    if (p->cut == on)
        return;
    p->cut = on;
    if (on)
        sim_fault_note(w, SIM_FAULT_PARTITION, from, NULL);
    else
        sim_net_healed(w);
}

static struct sim_way *way_of(struct sim_machine *m, const char *number)
{
    struct rt_addr a;

    if (rt_addr_parse(&a, number, 0))
        assert(!"not an address");
    for (unsigned i = 0; i < m->addrs_nr; i++)
        if (sim_same_number(&m->addrs[i], &a))
            return &m->ways[i];
    assert(!"not an address of this machine");
    return NULL;
}

void sim_addr_cut(struct sim_machine *m, const char *number, bool to, bool from)
{
    struct sim_way *way = way_of(m, number);
    const bool more = (to && !way->cut[0]) || (from && !way->cut[1]);

    way->cut[0] = to;
    way->cut[1] = from;
    if (more)
        sim_fault_note(m->w, SIM_FAULT_ADDR_CUT, m, NULL);
    sim_net_healed(m->w);
}

void sim_addr_delay(struct sim_machine *m, const char *number, uint64_t ns)
{
    way_of(m, number)->delay_ns = ns;
}

/* Something that kept segments back has ended: those directions that are free now go on. */
void sim_net_healed(struct sim *w)
{
    rt_list_for(l, &w->conns) {
        struct sim_conn *c = rt_list_entry(l, struct sim_conn, link);

        sim_dir_kick(c, 0);
        sim_dir_kick(c, 1);
    }
}

/* Return: false: the connection was not made, and is no more. */
static bool power_off(struct sim_conn *c, const struct sim_machine *m)
{
    if (c->machine[0] == m && c->state != CONN_UP) {
        if (c->state != CONN_ANSWERED || c->waiting || c->end[1].gone) {
            if (c->end[0].sock)
                sim_sock_lost(c->end[0].sock);
            sim_conn_free(c);
            return false;
        }
        sim_ev_del(c->w, &c->syn);          /* the other end takes it for made */
        c->state = CONN_UP;
    }
    for (unsigned i = 0; i < 2; i++) {
        const bool exists = i == 0 || c->state == CONN_UP || c->state == CONN_ANSWERED;

        if (c->machine[i] == m && exists && !c->end[i].gone)
            sim_end_vanish(c, i);
    }
    return true;
}

/* All of its ends are gone without a word. */
void sim_net_power_off(struct sim_machine *m)
{
    rt_list_for_safe(l, &m->w->conns) {
        struct sim_conn *c = rt_list_entry(l, struct sim_conn, link);

        if (power_off(c, m) && c->end[0].gone && c->end[1].gone)
            sim_conn_free(c);
    }
}

void sim_net_free(struct sim *w)
{
    while (!rt_list_empty(&w->conns))
        sim_conn_free(rt_list_entry(w->conns.next, struct sim_conn, link));
}

void sim_calm_net(struct sim *w)
{
    for (unsigned i = 0; i < w->pairs_nr * w->pairs_nr; i++) {
        struct sim_pair *p = &w->pairs[i];

        p->cut = false;
        faultless(&p->net);
    }
    faultless(&w->net);
    rt_list_for(l, &w->conns)
        sim_conn_hole(rt_list_entry(l, struct sim_conn, link), 0);
    rt_list_for(l, &w->machines) {
        struct sim_machine *m = rt_list_entry(l, struct sim_machine, link);

        memset(m->ways, 0, m->addrs_nr * sizeof(*m->ways));
    }
    sim_net_healed(w);
}

void sim_conn_info(const struct sim_conn *c, struct sim_conn_info *out)
{
    *out = (struct sim_conn_info){ .id = c->id, .blackhole = c->hole };
    for (unsigned i = 0; i < 2; i++) {
        out->machine[i] = c->machine[i];
        out->prog[i] = c->end[i].gone ? NULL : c->prog[i];
        out->addr[i] = c->addr[i];
        out->bytes[i] = c->dir[i].read;
    }
}

/* Connections stand in the order of their ids. The first after that one. */
static struct sim_conn *conn_after(struct sim *w, uint64_t id)
{
    rt_list_for(l, &w->conns) {
        struct sim_conn *c = rt_list_entry(l, struct sim_conn, link);

        if (c->id > id)
            return c;
    }
    return NULL;
}

void sim_conn_each(struct sim *w, void (*fn)(void *arg, struct sim_conn *c), void *arg)
{
    uint64_t id = 0;

    /* From the front each time: fn may end any of them, by killing a program for one. */
    for (struct sim_conn *c; (c = conn_after(w, id));) {
        id = c->id;
        fn(arg, c);
    }
}

struct sim_conn *sim_conn_find(struct sim *w, uint64_t id)
{
    struct sim_conn *c = id ? conn_after(w, id - 1) : NULL;

    return c && c->id == id ? c : NULL;
}

unsigned sim_conn_count(const struct sim *w)
{
    return w->conns_nr;
}

void sim_on_connect(struct sim *w, void (*fn)(void *arg, struct sim_conn *c), void *arg)
{
    w->on_connect = fn;
    w->on_connect_arg = arg;
}

void sim_on_flip(struct sim *w, bool (*ok)(void *arg, struct sim_conn *c, unsigned from), void *arg)
{
    w->on_flip = ok;
    w->on_flip_arg = arg;
}
