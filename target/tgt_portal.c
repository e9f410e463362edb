/*
 * tgt_portal.c - listeners, what a peer may cost before it is logged in, and the core that a session gets
 *
 * Belongs to the first core. Connections that are not logged in are counted, in all and by address; over the
 * limit they are closed at once. An address whose logins fail waits longer for each refusal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "target/sess.h"

/* Where a peer is reached: kept that long, as routes change. */
#define WAY_KEEP_NS (60 * RT_S)

#define ACCEPT_PAUSE_NS RT_S
#define PENALTY_MS 250u                     /* for each failure that is remembered */
#define PENALTIES_MAX 6u
#define FORGIVE_NS (10 * RT_S)              /* one failure is forgotten in */

struct peer {
    uint8_t ip[16];                         /* IPv4 in the first four */
    sa_family_t family;                     /* 0: a free place */
    uint32_t logins, failures;
    uint64_t failed_at;
    uint64_t way_at;                        /* 0: it was not asked where it is reached */
    int node;                               /* of the interface */
    char ifname[32];
};

const size_t tgt_peer_size = sizeof(struct peer);

/* ---- peers ----------------------------------------------------------------------------------------------- */

static void peer_key(const struct rt_addr *a, struct peer *out)
{
    *out = (struct peer){ .family = a->sa.sa_family };
    if (a->sa.sa_family == AF_INET)
        memcpy(out->ip, &a->in.sin_addr, 4);
    else if (a->sa.sa_family == AF_INET6)
        memcpy(out->ip, &a->in6.sin6_addr, 16);
}

static void peer_forgive(struct peer *p, uint64_t now)
{
    while (p->failures && now - p->failed_at >= FORGIVE_NS) {
        p->failures--;
        p->failed_at += FORGIVE_NS;
    }
}

/* @make: takes a place for an address not seen lately, the one that has been quiet longest. */
static struct peer *peer_find(struct tgt *t, const struct rt_addr *addr, bool make)
{
    struct peer key, *room = NULL;

    peer_key(addr, &key);
    for (unsigned i = 0; i < TGT_PEERS_MAX; i++) {
        struct peer *p = &t->peers[i];

        if (p->family == key.family && !memcmp(p->ip, key.ip, sizeof(key.ip)))
            return p;
        if (!p->logins && (!room || (room->family && (!p->family || p->failed_at < room->failed_at))))
            room = p;
    }
    if (!make || !room)
        return NULL;
    *room = key;
    return room;
}

void portal_login_over(struct tgt *t, const struct rt_addr *addr, bool failed)
{
    struct peer *p = peer_find(t, addr, false);

    assert(t->logins_nr);
    t->logins_nr--;
    if (!p)
        return;
    assert(p->logins);
    p->logins--;
    if (failed) {
        peer_forgive(p, rt_now(t->rt));
        if (p->failures < PENALTIES_MAX)
            p->failures++;
        p->failed_at = rt_now(t->rt);
    }
}

/* ---- placement ------------------------------------------------------------------------------------------- */

void portal_placed(struct tgt_core *core, int delta)
{
    core->sessions_nr += (unsigned)delta;
}

/* The node of the devices under all logical units, where they share one. Which target a connection is for shows in its login,
 * too late; most hosts have one kind of disk. */
static int units_node(const struct tgt *t)
{
    int node = BAL_NODE_ANY;

    rt_list_for(l, &t->units) {
        const struct unit *u = rt_list_entry(l, struct unit, link);

        if (!u->lun || u->node == BAL_NODE_ANY)
            continue;
        if (node != BAL_NODE_ANY && node != u->node)
            return BAL_NODE_ANY;
        node = u->node;
    }
    return node;
}

/* @peer: NULL: not remembered any more. */
static void core_choose(struct tgt *t, struct tgt_arrival *a, const struct peer *peer)
{
    struct bal_ask ask = { .policy = BAL_FREE_CORE, .node = BAL_NODE_ANY, .pin = -1 };
    struct bal_core cores[RT_CORES_MAX];
    int at;

    if (peer && peer->way_at && peer->node != BAL_NODE_ANY) {
        ask.node = peer->node;
        ask.what = peer->ifname;
    } else {
        ask.node = units_node(t);
        ask.what = "the logical units' disk";
    }
    for (unsigned i = 0; i < t->cores_nr; i++) {
        cores[i] = bal_load_core(t->load, i);
        cores[i].sessions = t->cores[i].sessions_nr;
    }
    at = bal_place(t->topo, cores, t->cores_nr, &ask, NULL, a->why_core);
    a->core = &t->cores[at < 0 ? 0 : at];   /* all were taken from the cpuset: somewhere it has to live */
}

static bool way_known(const struct tgt *t, const struct peer *p)
{
    return !t->topo || (p->way_at && rt_now(t->rt) - p->way_at < WAY_KEEP_NS);
}

/* The message is back on the first core. */
static void arrival_back(struct rt_msg *m)
{
    struct tgt_arrival *a = container_of(m, struct tgt_arrival, msg);

    if (a->err) {
        rt_log_peer(RT_ERR, "no memory for a session: a connection was closed");
        portal_login_over(a->core->tgt, &a->peer, false);
        portal_placed(a->core, -1);
    }
    free(a);
}

/* On the core where the session will live. */
static void arrival_arrived(struct rt_msg *m)
{
    struct tgt_arrival *a = container_of(m, struct tgt_arrival, msg);

    a->err = sess_start(a->core, a);
    m->fn = arrival_back;
    rt_post(a->core->tgt->rt, m);
}

static void arrival_send(struct tgt *t, struct tgt_arrival *a, const struct peer *peer)
{
    core_choose(t, a, peer);
    portal_placed(a->core, 1);
    rt_sock_move(a->sock, a->core->rt);
    a->msg.fn = arrival_arrived;
    rt_post(a->core->rt, &a->msg);
}

/* On a helper thread: the kernel is asked, and /sys read. */
static void way_find(struct rt_work *w)
{
    struct tgt_arrival *a = container_of(w, struct tgt_arrival, work);
    char text[RT_ADDR_STR_MAX];
    unsigned queues;

    a->node = BAL_NODE_ANY;
    rt_addr_format(&a->peer, text);
    *strrchr(text, ':') = '\0';            /* the port */
    if (bal_nic_of(text, a->ifname, &a->node, &queues))
        a->node = BAL_NODE_ANY;             /* it came from there all the same: placed without */
}

/* Back on the first core. A stop has waited for it. */
static void way_found(struct rt_work *w)
{
    struct tgt_arrival *a = container_of(w, struct tgt_arrival, work);
    struct tgt *t = a->core->tgt;
    struct peer *peer = peer_find(t, &a->peer, false);

    t->arrivals_nr--;
    if (t->stopping) {
        rt_sock_close(a->sock);
        portal_login_over(t, &a->peer, false);
        free(a);
        tgt_session_gone(t);
        return;
    }
    if (peer) {
        peer->way_at = rt_now(t->rt);
        peer->node = a->node;
        memcpy(peer->ifname, a->ifname, sizeof(peer->ifname));
    }
    arrival_send(t, a, peer);
}

/* ---- accepting ------------------------------------------------------------------------------------------- */

/* NULL: welcome. */
static const char *arrival_refusal(struct tgt *t, const struct peer *peer)
{
    if (t->logins_nr >= TGT_LOGINS_MAX)
        return "too many connections are not logged in";
    if (!peer)
        return "too many addresses have such";
    if (peer->logins >= TGT_LOGINS_PEER_MAX)
        return "too many connections from there are not logged in";
    return NULL;
}

static void arrival_take(struct tgt_portal *p)
{
    struct tgt *t = p->tgt;
    struct peer *peer = peer_find(t, &p->peer, true);
    const char *why = t->stopping ? "the target is stopping" : arrival_refusal(t, peer);
    struct tgt_arrival *a = why ? NULL : calloc(1, sizeof(*a));
    char text[RT_ADDR_STR_MAX];

    if (!a || rt_sock_addr(p->conn, &a->local)) {
        rt_addr_format(&p->peer, text);
        rt_log_peer(RT_WARN, "a connection from %s was closed: %s", text,
                    why ? why : "no memory, or it is gone");
        rt_sock_close(p->conn);
        free(a);
        return;
    }
    peer_forgive(peer, rt_now(t->rt));
    peer->logins++;
    t->logins_nr++;
    a->sock = p->conn;
    a->peer = p->peer;
    a->group = p->group;
    a->portal = p->id;
    a->penalty_ms = peer->failures * PENALTY_MS;
    if (way_known(t, peer)) {
        arrival_send(t, a, peer);
        return;
    }
    a->core = &t->cores[0];                 /* until it is chosen */
    t->arrivals_nr++;
    a->work = (struct rt_work){ .run = way_find, .done = way_found };
    rt_work(t->rt, &a->work);
}

static void accept_arm(struct tgt_portal *p)
{
    p->accepting = true;
    p->peer = (struct rt_addr){ 0 };
    rt_accept(p->listener, &p->op, &p->conn, &p->peer);
}

static void accept_again(struct rt_timer *timer)
{
    struct tgt_portal *p = container_of(timer, struct tgt_portal, retry);

    if (p->listener)
        accept_arm(p);
}

static void accept_done(struct rt_op *op, int res)
{
    struct tgt_portal *p = container_of(op, struct tgt_portal, op);

    p->accepting = false;
    if (!res)
        arrival_take(p);
    if (!p->listener)
        return;
    if (res && res != -ECONNABORTED) {      /* descriptors or memory ran out: those who are in go on */
        rt_log_peer(RT_WARN, "connections are not accepted for a second: %s", strerror(-res));
        rt_timer_arm(p->tgt->rt, &p->retry, ACCEPT_PAUSE_NS);
        return;
    }
    accept_arm(p);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static bool addr_is_any(const struct rt_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sa.sa_family == AF_INET6 && !memcmp(&a->in6.sin6_addr, &in6addr_any, sizeof(in6addr_any));
}

/* NULL: all are taken. */
static struct tgt_portal *place_find(struct tgt *t)
{
    for (unsigned i = 0; i < t->portals_nr; i++) {
        if (!t->portals[i].listener && !t->portals[i].accepting)
            return &t->portals[i];
    }
    return t->portals_nr < TGT_PORTALS_MAX ? &t->portals[t->portals_nr] : NULL;
}

int portal_listen(struct tgt *t, const struct rt_addr *at, uint16_t group, bool quiet, struct tgt_portal **out)
{
    struct tgt_portal *p = place_find(t);
    char text[RT_ADDR_STR_MAX];
    int err;

    rt_addr_format(at, text);
    if (!p) {
        if (!quiet)
            rt_log(RT_ERR, "portal %s: there are %u already, which is the most", text, TGT_PORTALS_MAX);
        return -E2BIG;
    }
    *p = (struct tgt_portal){ .tgt = t, .addr = *at, .wildcard = addr_is_any(at), .group = group,
                              .id = ++t->portal_ids, .op.done = accept_done, .retry.fn = accept_again };
    err = rt_listen(t->rt, at, &p->listener);
    if (!err)
        err = rt_sock_addr(p->listener, &p->addr);
    if (err) {
        if (!quiet)
            rt_log(RT_ERR, "portal %s cannot be opened: %s%s", text, strerror(-err),
                   err == -EADDRINUSE      ? "; another program listens there (tgtd, targetcli?), or another portal"
                   : err == -EADDRNOTAVAIL ? "; it is no address of this host"
                   : err == -EACCES        ? "; ports below 1024 need privilege"
                                           : "");
        rt_sock_close(p->listener);
        p->listener = NULL;
        return err;
    }
    if (p == &t->portals[t->portals_nr])
        t->portals_nr++;
    *out = p;
    return 0;
}

void portal_accept(struct tgt_portal *p)
{
    char text[RT_ADDR_STR_MAX];

    rt_addr_format(&p->addr, text);
    rt_log(RT_INFO, "portal %s of group %u is open", text, p->group);
    accept_arm(p);
}

void portal_start(struct tgt *t)
{
    for (unsigned i = 0; i < t->portals_nr; i++)
        portal_accept(&t->portals[i]);
}

bool portal_is_open(const struct tgt *t, uint32_t id)
{
    for (unsigned i = 0; i < t->portals_nr; i++) {
        if (t->portals[i].id == id && t->portals[i].listener && !t->portals[i].leaving)
            return true;
    }
    return false;
}

struct tgt_portal *portal_find(struct tgt *t, const struct rt_addr *addr)
{
    for (unsigned i = 0; i < t->portals_nr; i++) {
        struct tgt_portal *p = &t->portals[i];

        if (p->listener && !p->leaving && rt_addr_equal(&p->addr, addr))
            return p;
    }
    return NULL;
}

void portal_close(struct tgt_portal *p)
{
    struct rt_sock *listener = p->listener;

    p->listener = NULL;
    rt_timer_disarm(p->tgt->rt, &p->retry);
    rt_sock_close(listener);
}

void portal_stop(struct tgt *t)
{
    for (unsigned i = 0; i < t->portals_nr; i++)
        portal_close(&t->portals[i]);
}
