/*
 * nic.c - which network interface a session's packets leave by, and the NUMA node where that is
 *
 * Asked before a session is placed, on machines where it matters: those of several nodes. Names and routes are looked up
 * on helper threads; what cannot be found out is no reason not to log in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"

struct nic {
    struct sess *sess;
    void (*found)(struct sess *s);
    struct rt_resolve name;
    struct rt_work work;
    struct iscsi_portal at; /* the portal by number */
    char ifname[32];
    int node, err;
    unsigned queues;
};

static void nic_over(struct nic *n)
{
    struct sess *s = n->sess;
    void (*const found)(struct sess *) = n->found;

    if (!n->err) {
        s->node = n->node;
        memcpy(s->nic, n->ifname, sizeof(s->nic));
        s->nic[sizeof(s->nic) - 1] = '\0';
    }
    free(n);
    found(s);
}

static void route_run(struct rt_work *w)
{
    struct nic *n = container_of(w, struct nic, work);

    n->err = bal_nic_of(n->at.host, n->ifname, &n->node, &n->queues);
}

static void route_done(struct rt_work *w)
{
    nic_over(container_of(w, struct nic, work));
}

static void name_done(struct rt_work *w)
{
    struct nic *n = container_of(w, struct nic, name.work);
    char text[RT_ADDR_STR_MAX];

    if (!(n->err = n->name.err)) {
        rt_addr_format(&n->name.addr[0], text);
        n->err = iscsi_portal_parse(&n->at, text) ? -EINVAL : 0;
    }
    if (n->err) {
        nic_over(n);
        return;
    }
    n->work.run = route_run;
    n->work.done = route_done;
    rt_work(n->sess->mgr->rt, &n->work);
}

void nic_find(struct sess *s, void (*found)(struct sess *s))
{
    struct nic *n = s->mgr->layout->nodes ? calloc(1, sizeof(*n)) : NULL;

    if (!n) {
        found(s);
        return;
    }
    n->sess = s;
    n->found = found;
    n->name.port = s->wish.portal.port;
    n->name.work.done = name_done;
    strcpy(n->name.host, s->wish.portal.host);
    rt_resolve(s->mgr->rt, &n->name);
}
