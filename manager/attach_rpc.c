/*
 * attach_rpc.c - attach and detach: parameters in, answers out
 *
 * How many paths an attachment is to have is said by portals and how many sessions each of them gets; where the caller
 * does not say that, node.session.nr_sessions does, which is in files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "manager/param.h"
#include "rpc/json.h"

#define PORTALS_MAX 16u

struct attach_ask {
    struct mgr *mgr;
    struct rpc_call *call;
    struct att_spec spec;
    struct attach_portal {
        struct mgr_wish wish;
        unsigned sessions; /* 0: not known yet */
    } portal[PORTALS_MAX];
    unsigned portals, at;
    struct settings_load load;
    struct path_spec paths[MPIO_PATHS_MAX];
};

static void ask_free(struct attach_ask *ask)
{
    explicit_bzero(ask, sizeof(*ask));
    free(ask);
}

static void attached(struct att *a, int err, const char *why, void *user)
{
    const uint64_t losses = rpc_json_losses();
    struct rpc_call *call = user;
    json_t *o;

    if (err) {
        rpc_fail(call, RPC_FAILED, "LUN %u of %s at %s is not attached: %s", a->spec.lun, a->spec.wish.iqn,
                 a->portal, why);
        return;
    }
    o = att_json(a);
    if (why && *why) /* it is a path of another disk now */
        json_object_set_new(o, "joined", json_string(why));
    rpc_reply_whole(call, o, losses);
}

static void attach_go(struct attach_ask *ask)
{
    char why[MGR_WHY_MAX];
    unsigned nr = 0;

    for (unsigned i = 0; i < ask->portals; i++) {
        for (unsigned k = 0; k < ask->portal[i].sessions; k++) {
            if (nr == MPIO_PATHS_MAX) {
                rpc_fail(ask->call, RPC_FAILED, "a disk has %u paths at most: ask for fewer sessions",
                         MPIO_PATHS_MAX);
                ask_free(ask);
                return;
            }
            ask->paths[nr++] = (struct path_spec){ .wish = ask->portal[i].wish, .lun = ask->spec.lun };
        }
    }
    if (!att_open(ask->mgr, &ask->spec, ask->paths, nr, attached, ask->call, why))
        rpc_fail(ask->call, RPC_FAILED, "%s", why);
    ask_free(ask);
}

static void attach_next(struct attach_ask *ask);

static void attach_loaded(struct settings_load *l)
{
    struct attach_ask *ask = container_of(l, struct attach_ask, load);
    struct attach_portal *p = &ask->portal[ask->at];
    const struct mgr_wish *w = &p->wish;
    char portal[ISCSI_PORTAL_STR_MAX];

    if (l->err) {
        iscsi_portal_format(&w->portal, portal);
        rpc_fail(ask->call, RPC_FAILED, "LUN %u of %s at %s is not attached: %s", ask->spec.lun, w->iqn, portal,
                 l->why);
        ask_free(ask);
    } else if (mgr_refused_stopping(ask->mgr, ask->call)) {
        ask_free(ask);
    } else {
        p->sessions = (unsigned)l->set.nr_sessions;
        attach_next(ask);
    }
}

/* Asks the files for the next portal of which nothing was said. */
static void attach_next(struct attach_ask *ask)
{
    for (ask->at = 0; ask->at < ask->portals; ask->at++) {
        if (ask->portal[ask->at].sessions)
            continue;
        ask->load.mgr = ask->mgr;
        ask->load.wish = &ask->portal[ask->at].wish;
        ask->load.done = attach_loaded;
        settings_load(&ask->load);
        return;
    }
    attach_go(ask);
}

/* One element of "portals" over what holds for all. Answers the call and returns false when it cannot be. */
static bool portal_take(struct rpc_call *call, json_t *e, const struct mgr_wish *all, struct attach_portal *out)
{
    static const struct param list[] = {
        PARAM_TEXT("portal", .needed = true),
        PARAM_TEXT("transport"),
        PARAM_INT("sessions", 1, MPIO_PATHS_MAX),
        { 0 },
    };
    struct mgr_wish own;

    if (!json_is_object(e)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "parameter 'portals' is a list of objects");
        return false;
    }
    if (!param_check(call, e, list) || !mgr_wish_take(call, e, &own))
        return false;
    out->wish = *all;
    out->wish.portal = own.portal;
    if (*own.transport)
        snprintf(out->wish.transport, sizeof(out->wish.transport), "%s", own.transport);
    out->sessions = (unsigned)param_int(e, "sessions", 0);
    return true;
}

static bool portals_take(struct rpc_call *call, json_t *params, struct attach_ask *ask)
{
    const json_t *portals = json_object_get(params, "portals");
    size_t i;
    json_t *e;

    if (!portals == !param_given(params, "portal")) {
        rpc_fail(call, RPC_INVALID_PARAMS, "%s",
                 portals ? "give 'portal' or 'portals', not both" : "parameter 'portal' is missing");
        return false;
    }
    if (!portals) {
        ask->portal[0].wish = ask->spec.wish;
        ask->portal[0].sessions = (unsigned)param_int(params, "sessions", 0);
        ask->portals = 1;
        return true;
    }
    if (!json_array_size(portals) || json_array_size(portals) > PORTALS_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMS, "parameter 'portals' has 1 to %u elements", PORTALS_MAX);
        return false;
    }
    json_array_foreach(portals, i, e)
    {
        if (!portal_take(call, e, &ask->spec.wish, &ask->portal[i]))
            return false;
        if (!ask->portal[i].sessions)
            ask->portal[i].sessions = (unsigned)param_int(params, "sessions", 0);
        ask->portals++;
    }
    return true;
}

/* Answers the call and returns false when it cannot be. */
static bool attach_take(struct mgr *m, struct rpc_call *call, json_t *params, struct attach_ask *ask)
{
    const char *name = param_text(params, "name"), *kind = param_text(params, "export"), *wrong;
    struct att_spec *spec = &ask->spec;

    if (mgr_refused_stopping(m, call) || !mgr_wish_take(call, params, &spec->wish))
        return false;
    if (*kind && exp_kind_parse(kind, &spec->kind)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "export '%.32s': not one of auto, ublk, nbd, fuse, none", kind);
        return false;
    }
    if (param_given(params, "name") && (wrong = att_name_refusal(name))) {
        rpc_fail(call, RPC_INVALID_PARAMS, "name '%.80s': %s", name, wrong);
        return false;
    }
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    spec->lun = (uint16_t)param_int(params, "lun", 0);
    spec->readonly = param_flag(params, "readonly");
    spec->separate = param_flag(params, "separate");
    return portals_take(call, params, ask);
}

static bool lun_given(struct rpc_call *call, const json_t *params)
{
    if (!param_given(params, "lun"))
        rpc_fail(call, RPC_INVALID_PARAMS, "parameter 'lun' is missing");
    return param_given(params, "lun");
}

void mgr_rpc_attach(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("iqn", .needed = true),
        PARAM_TEXT("portal"),
        PARAM_LIST("portals"),
        PARAM_INT("sessions", 1, MPIO_PATHS_MAX),
        PARAM_INT("lun", 0, 16383),
        PARAM_TEXT("export"),
        PARAM_BOOL("readonly"),
        PARAM_BOOL("separate"),
        PARAM_TEXT("name"),
        PARAM_TEXT("header_digest"),
        PARAM_TEXT("data_digest"),
        PARAM_TEXT("transport"),
        PARAMS_CRED,
        { 0 },
    };
    struct attach_ask *ask;

    if (!param_check(call, params, list))
        return;
    if (!(ask = calloc(1, sizeof(*ask)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    ask->mgr = user;
    ask->call = call;
    if (attach_take(user, call, params, ask) && lun_given(call, params))
        attach_next(ask);
    else
        ask_free(ask);
}

/* ---- detach ---------------------------------------------------------------------------------------------- */

struct detach {
    struct att_wait wait;
    struct rpc_call *call;
    char name[MGR_NAME_MAX + 1], path[256];
};

static void detached(struct att_wait *w, int err, const char *why)
{
    struct detach *d = container_of(w, struct detach, wait);

    if (err)
        rpc_fail(d->call, RPC_FAILED, "%s%s%s is not detached: %s", d->name, *d->path ? " at " : "", d->path,
                 why);
    else
        rpc_reply(d->call, NULL);
    free(d);
}

struct att *mgr_att_take(struct mgr *m, struct rpc_call *call, const json_t *params, const char *key)
{
    struct att *a = att_find(m, param_text(params, key));

    if (!a)
        rpc_fail(call, RPC_FAILED, "there is no disk '%.256s': 'corelane list' shows those there are",
                 param_text(params, key));
    return a;
}

void mgr_rpc_detach(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("name", .needed = true), PARAM_BOOL("force"), { 0 } };
    struct detach *d;
    struct att *a;

    if (!param_check(call, params, list) || !(a = mgr_att_take(user, call, params, "name")))
        return;
    if (!(d = calloc(1, sizeof(*d)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    d->call = call;
    d->wait.fn = detached;
    snprintf(d->name, sizeof(d->name), "%s", a->spec.name);
    snprintf(d->path, sizeof(d->path), "%s", att_device(a));
    att_close(a, param_flag(params, "force"), &d->wait);
}
