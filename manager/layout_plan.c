/*
 * layout_plan.c - what would happen with so many more sessions
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/plan.h"
#include "manager/layout.h"
#include "manager/param.h"
#include "rpc/json.h"

#define MORE_MAX 1024

struct plan {
    struct mgr *mgr;
    struct rpc_call *call;
    struct rt_work work;
    struct bal_ask ask;
    char what[32];
    unsigned more, nr, placed;
    struct bal_planned *out;
    struct bal_core cores[];
};

static void plan_run(struct rt_work *w)
{
    struct plan *p = container_of(w, struct plan, work);

    p->placed = bal_plan(p->mgr->topo, p->cores, p->nr, &p->ask, p->more, 0, p->out);
}

static void plan_free(struct plan *p)
{
    free(p->out);
    free(p);
}

static void plan_done(struct rt_work *w)
{
    struct plan *p = container_of(w, struct plan, work);
    const uint64_t losses = rpc_json_losses();
    json_t *o, *list = json_array();

    for (unsigned i = 0; i < p->placed; i++) {
        const int cpu = p->cores[p->out[i].at].cpu;
        const struct bal_pu *pu = p->mgr->topo ? bal_topo_pu(p->mgr->topo, cpu) : NULL;
        json_t *one = json_pack("{s:i, s:s}", "core", cpu, "why", p->out[i].why);

        if (pu)
            json_object_set_new(one, "node", json_integer(pu->node));
        json_array_append_new(list, one);
    }
    o = json_pack("{s:s, s:o, s:i}", "policy", bal_policy_names[p->ask.policy], "sessions", list, "asked",
                  (int)p->more);
    if (p->ask.node != BAL_NODE_ANY)
        json_object_set_new(o, "node", json_integer(p->ask.node));
    if (p->placed < p->more)
        json_object_set_new(o, "refused", json_string(p->out[p->placed].why));
    rpc_reply_whole(p->call, o, losses);
    plan_free(p);
}

/* The node that sessions to that target want, by those that there are. Return: false: there are none. */
static bool node_of(struct mgr *m, const char *target, struct plan *p)
{
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->settler || strcmp(s->wish.iqn, target))
            continue;
        p->ask.node = s->node;
        snprintf(p->what, sizeof(p->what), "%s", s->nic);
        return true;
    }
    return false;
}

void do_layout_plan(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_INT("sessions", 1, MORE_MAX, .needed = true),
        PARAM_TEXT("target"),
        PARAM_INT("node", 0, 65535),
        { 0 },
    };
    const char *target = param_text(params, "target");
    struct mgr *m = user;
    const unsigned nr = rt_host_count(m->host);
    struct plan *p;

    if (!param_check(call, params, list))
        return;
    if (*target && param_given(params, "node")) {
        rpc_fail(call, RPC_INVALID_PARAMS,
                 "target and node: a target's sessions have a node already, give one of both");
        return;
    }
    p = calloc(1, sizeof(*p) + nr * sizeof(p->cores[0]));
    if (!p || !(p->out = calloc((size_t)param_int(params, "sessions", 0), sizeof(*p->out)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory for a plan");
        free(p);
        return;
    }
    p->mgr = m;
    p->call = call;
    p->nr = nr;
    p->more = (unsigned)param_int(params, "sessions", 0);
    p->ask = (struct bal_ask){ .policy = m->layout->policy, .pin = -1 };
    p->ask.node = (int)param_int(params, "node", BAL_NODE_ANY);
    if (*target && !node_of(m, target, p)) {
        rpc_fail(call, RPC_FAILED,
                 "there is no session to %.230s, so the node of its NIC is not known: leave --target out, or "
                 "give --node",
                 target);
        plan_free(p);
        return;
    }
    if (*p->what)
        p->ask.what = p->what;
    layout_cores(m, NULL, p->cores);
    p->work.run = plan_run;
    p->work.done = plan_done;
    rt_work(m->rt, &p->work);
}
