/*
 * wish.c - what a caller asks for a session: target, portal, credentials, transport, from a method's parameters
 */
#include <stdio.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "manager/param.h"

/* Name and secret under the two keys. Return: NULL or what is wrong. */
static const char *cred_take(const json_t *params, const char *name_key, const char *secret_key,
                             const struct chap_cred *other, struct chap_cred *out)
{
    const char *name = param_text(params, name_key), *secret = param_text(params, secret_key);
    const size_t len = strlen(secret);
    const char *wrong;

    if (!*name)
        return *secret ? "a secret without a user: give both" : NULL;
    if (strlen(name) > CHAP_NAME_LEN_MAX)
        return "a CHAP name is at most 255 bytes long";
    if ((wrong = chap_secret_refusal(secret, len, other ? other->secret : NULL, other ? other->secret_len : 0)))
        return wrong;
    snprintf(out->name, sizeof(out->name), "%s", name);
    memcpy(out->secret, secret, len);
    out->secret_len = (uint32_t)len;
    return NULL;
}

/* What the parameters wish for; answers the call and returns false when they cannot be. */
bool mgr_wish_take(struct rpc_call *call, const json_t *params, struct mgr_wish *w)
{
    const char *wrong = NULL, *what = "iqn", *value = param_text(params, "iqn");
    struct ini_settings set;

    memset(w, 0, sizeof(*w));
    if (*value)
        wrong = iscsi_name_refusal(value, w->iqn);
    if (!wrong && *(value = param_text(params, "portal"))) {
        what = "portal";
        wrong = iscsi_portal_parse(&w->portal, value);
    }
    if (wrong) {
        rpc_fail(call, RPC_INVALID_PARAMS, "%s '%.230s': %s", what, value, wrong);
        return false;
    }
    if (!(wrong = cred_take(params, "user", "secret", NULL, &w->user)))
        wrong = cred_take(params, "user_in", "secret_in", &w->user, &w->user_in);
    if (!wrong && *w->user_in.name && !*w->user.name)
        wrong = "the target is to prove itself (user_in), but we do not: CHAP has our proof first, give user "
                "and secret too";
    if (wrong) {
        rpc_fail(call, RPC_INVALID_PARAMS, "CHAP: %s", wrong);
        return false;
    }
    /* Looked at here already: a session that exists may be the one that is wished for. */
    value = param_text(params, "transport");
    if (*value && (wrong = ini_settings_set(&set, "node.session.corelane.transport", value))) {
        rpc_fail(call, RPC_INVALID_PARAMS, "transport '%.32s': %s", value, wrong);
        return false;
    }
    snprintf(w->transport, sizeof(w->transport), "%s", value);
    snprintf(w->header_digest, sizeof(w->header_digest), "%s", param_text(params, "header_digest"));
    snprintf(w->data_digest, sizeof(w->data_digest), "%s", param_text(params, "data_digest"));
    return true;
}

bool mgr_refused_stopping(struct mgr *m, struct rpc_call *call)
{
    if (m->stopping)
        rpc_fail(call, RPC_FAILED, "corelaned is being stopped");
    return m->stopping;
}
