/*
 * rpc.c - corelaned's methods: parameters are checked against a table, then sess.c and attach.c do the work
 *
 * A method that fails leaves things as it found them, and its message names the thing, the rule and the remedy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "corelane.h"
#include "manager/layout.h"
#include "manager/param.h"
#include "rpc/json.h"

/* ---- parameters ------------------------------------------------------------------------------------------ */

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
static bool wish_take(struct rpc_call *call, const json_t *params, struct mgr_wish *w)
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

static bool refused_stopping(struct mgr *m, struct rpc_call *call)
{
    if (m->stopping)
        rpc_fail(call, RPC_FAILED, "corelaned is being stopped");
    return m->stopping;
}

/* ---- looking --------------------------------------------------------------------------------------------- */

static const struct param no_params[] = { { 0 } };

const char *mgr_mode_word(enum rt_mode mode)
{
    static const char *const words[] = {
        [RT_MODE_ADAPTIVE] = "adaptive",
        [RT_MODE_POLL] = "poll",
        [RT_MODE_INTERRUPT] = "interrupt",
    };

    return words[mode];
}

static void do_status(void *user, struct rpc_call *call, json_t *params)
{
    struct mgr *m = user;
    const uint64_t losses = rpc_json_losses();
    json_t *o, *cores;
    int sessions = 0, disks = 0;

    if (!param_check(call, params, no_params))
        return;
    rt_list_for (l, &m->sessions)
        sessions++;
    rt_list_for (l, &m->atts)
        disks++;
    cores = json_array();
    for (unsigned i = 0; i < rt_host_count(m->host); i++)
        json_array_append_new(cores, json_integer(rt_core(rt_host_at(m->host, i))));
    o = json_pack("{s:s, s:i, s:I, s:s, s:o, s:s, s:i, s:i}", "version", CORELANE_VERSION, "pid", (int)getpid(),
                  "uptime_s", (json_int_t)(rt_wall_s(m->rt) - m->start_s), "mode", mgr_mode_word(rt_mode(m->rt)),
                  "cores", cores, "initiator", m->initiator, "sessions", sessions, "disks", disks);
    rpc_reply_whole(call, o, losses);
}

static void do_session_list(void *user, struct rpc_call *call, json_t *params)
{
    if (param_check(call, params, no_params))
        list_sessions(user, call, NULL, NULL);
}

static void do_list(void *user, struct rpc_call *call, json_t *params)
{
    if (param_check(call, params, no_params))
        list_atts(user, call);
}

/* ---- discover -------------------------------------------------------------------------------------------- */

static void do_discover(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("portal", .needed = true), PARAMS_CRED, { 0 } };
    struct mgr_wish wish;

    if (!param_check(call, params, list) || refused_stopping(user, call) || !wish_take(call, params, &wish))
        return;
    mgr_discover(user, call, &wish);
    explicit_bzero(&wish, sizeof(wish));
}

/* ---- login ----------------------------------------------------------------------------------------------- */

struct login {
    struct mgr *mgr;
    struct rpc_call *call;
    struct mgr_wish wish;
    unsigned left, nr;
    int err;
    char why[MGR_WHY_MAX];
    struct login_one {
        struct login *login;
        struct sess_wait wait;
        unsigned id; /* of the session, which may be gone by the time it is looked for */
        bool made;   /* by this call */
    } one[];
};

static bool of_login(const struct sess *s, const void *arg)
{
    const struct login *lg = arg;

    for (unsigned i = 0; i < lg->nr; i++)
        if (lg->one[i].id == s->id)
            return true;
    return false;
}

static void login_free(struct login *lg)
{
    explicit_bzero(lg, sizeof(*lg));
    free(lg);
}

/* All or nothing: with one refused, those that this call made go again. */
static void login_over(struct login *lg)
{
    char portal[ISCSI_PORTAL_STR_MAX];

    for (unsigned i = 0; i < lg->nr; i++) {
        struct sess *s = sess_find(lg->mgr, lg->one[i].id);

        if (s && lg->err && lg->one[i].made && !s->users)
            sess_end(s, NULL);
        else if (s && !lg->err)
            s->keep = true;
    }
    if (lg->err) {
        iscsi_portal_format(&lg->wish.portal, portal);
        rpc_fail(lg->call, RPC_FAILED, "login to %s at %s: %s", lg->wish.iqn, portal, lg->why);
    } else {
        list_sessions(lg->mgr, lg->call, of_login, lg);
    }
    login_free(lg);
}

static void login_one_over(struct sess_wait *w, int err, const char *why)
{
    struct login_one *one = container_of(w, struct login_one, wait);
    struct login *lg = one->login;

    if (err && !lg->err) {
        lg->err = err;
        snprintf(lg->why, sizeof(lg->why), "%s", why);
    }
    if (!--lg->left)
        login_over(lg);
}

static void login_add(struct login *lg, struct sess *s, bool made)
{
    struct login_one *one = &lg->one[lg->nr++];

    one->login = lg;
    one->id = s->id;
    one->made = made;
    if (s->state != SESS_LOGIN)
        return;
    one->wait.fn = login_one_over;
    lg->left++;
    sess_wait_up(s, &one->wait);
}

static void login_start(struct mgr *m, struct rpc_call *call, const struct mgr_wish *wish, unsigned wanted)
{
    struct login *lg = calloc(1, sizeof(*lg) + wanted * sizeof(lg->one[0]));

    if (!lg) {
        rpc_fail(call, RPC_INTERNAL, "no memory for %u sessions", wanted);
        return;
    }
    lg->mgr = m;
    lg->call = call;
    lg->wish = *wish;
    lg->left = 1;
    /* The number is what there is to be, not what is to be added: a script may say it twice. */
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (lg->nr < wanted && sess_serves(s) && sess_matches(s, wish->iqn, &wish->portal) &&
            sess_carried(s, wish))
            login_add(lg, s, false);
    }
    while (lg->nr < wanted && !lg->err) {
        struct sess *s = sess_new(m, wish, NULL, true);

        if (s) {
            login_add(lg, s, true);
        } else {
            lg->err = -ENOMEM;
            snprintf(lg->why, sizeof(lg->why), "no memory for a session");
        }
    }
    if (!--lg->left)
        login_over(lg);
}

/* How many there are to be if the caller does not say: node.session.nr_sessions, which is in files. */
struct login_ask {
    struct mgr *mgr;
    struct rpc_call *call;
    struct mgr_wish wish;
    struct settings_load load;
};

static void login_asked(struct settings_load *l)
{
    struct login_ask *ask = container_of(l, struct login_ask, load);

    if (l->err)
        rpc_fail(ask->call, RPC_FAILED, "%s", l->why);
    else if (!refused_stopping(ask->mgr, ask->call))
        login_start(ask->mgr, ask->call, &ask->wish, (unsigned)l->set.nr_sessions);
    explicit_bzero(ask, sizeof(*ask));
    free(ask);
}

static void login_ask(struct mgr *m, struct rpc_call *call, const struct mgr_wish *wish)
{
    struct login_ask *ask = calloc(1, sizeof(*ask));

    if (!ask) {
        rpc_fail(call, RPC_INTERNAL, "no memory for a login");
        return;
    }
    ask->mgr = m;
    ask->call = call;
    ask->wish = *wish;
    ask->load.mgr = m;
    ask->load.wish = &ask->wish;
    ask->load.done = login_asked;
    settings_load(&ask->load);
}

static void do_login(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("iqn", .needed = true),
        PARAM_TEXT("portal", .needed = true),
        PARAM_INT("sessions", 1, 1024),
        PARAM_TEXT("header_digest"),
        PARAM_TEXT("data_digest"),
        PARAM_TEXT("transport"),
        PARAMS_CRED,
        { 0 },
    };
    const json_t *sessions = json_object_get(params, "sessions");
    struct mgr_wish wish;

    if (!param_check(call, params, list) || refused_stopping(user, call) || !wish_take(call, params, &wish))
        return;
    if (sessions)
        login_start(user, call, &wish, (unsigned)json_integer_value(sessions));
    else
        login_ask(user, call, &wish);
    explicit_bzero(&wish, sizeof(wish));
}

/* ---- logout ---------------------------------------------------------------------------------------------- */

struct logout { /* first the disks one after another, then the sessions together */
    struct mgr *mgr;
    struct rpc_call *call;
    struct mgr_wish wish;
    bool any_portal;
    bool unwatched; /* a session was told to end, and there was no memory to wait for it */
    unsigned left;
    struct att_wait att_wait;
};
struct logout_one {
    struct logout *logout;
    struct sess_wait wait;
};

static bool logout_means(const struct logout *lo, const struct sess *s)
{
    return sess_matches(s, lo->wish.iqn, lo->any_portal ? NULL : &lo->wish.portal);
}

static void logout_left(struct logout *lo)
{
    if (--lo->left)
        return;
    if (lo->unwatched)
        rpc_fail(lo->call, RPC_FAILED,
                 "not enough memory to see every session to %s end: 'corelane session list' shows "
                 "what is left",
                 lo->wish.iqn);
    else
        rpc_reply(lo->call, NULL);
    free(lo);
}

static void logout_sess_gone(struct sess_wait *w, int err, const char *why)
{
    struct logout_one *one = container_of(w, struct logout_one, wait);
    struct logout *lo = one->logout;

    free(one);
    logout_left(lo);
}

static void logout_sessions(struct logout *lo)
{
    lo->left = 1;
    rt_list_for_safe (l, &lo->mgr->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);
        struct logout_one *one;

        if (!logout_means(lo, s))
            continue;
        if (!(one = calloc(1, sizeof(*one)))) {
            lo->unwatched = true;
            sess_end(s, NULL);
            continue;
        }
        one->logout = lo;
        one->wait.fn = logout_sess_gone;
        lo->left++;
        sess_end(s, &one->wait);
    }
    logout_left(lo);
}

static struct att *logout_next_att(const struct logout *lo)
{
    rt_list_for (l, &lo->mgr->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (a->sess && a->state >= ATT_UP && logout_means(lo, a->sess))
            return a;
    }
    return NULL;
}

static void logout_att_closed(struct att_wait *w, int err, const char *why)
{
    struct logout *lo = container_of(w, struct logout, att_wait);
    struct att *a;

    if (err) {
        rpc_fail(lo->call, RPC_FAILED, "logout of %s: a disk on it cannot be detached: %s", lo->wish.iqn, why);
        free(lo);
    } else if ((a = logout_next_att(lo))) {
        att_close(a, true, w);
    } else {
        logout_sessions(lo);
    }
}

/* Answers the call when there is nothing to do or something in the way. */
static bool logout_possible(struct mgr *m, struct rpc_call *call, const struct logout *lo, bool force)
{
    unsigned found = 0;

    rt_list_for (l, &m->sessions)
        found += logout_means(lo, rt_list_entry(l, struct sess, link));
    if (!found) {
        rpc_fail(call, RPC_FAILED, "there is no session to %s%s: 'corelane session list' shows those there are",
                 lo->wish.iqn, lo->any_portal ? "" : " at that portal");
        return false;
    }
    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        if (!a->sess || !logout_means(lo, a->sess))
            continue;
        if (!force || a->state < ATT_UP) {
            rpc_fail(call, RPC_FAILED, "the disk %s%s%s stands on a session to %s: detach it first%s",
                     a->spec.name, a->result.path[0] ? " at " : "", a->result.path, lo->wish.iqn,
                     force ? "" : ", or say --force to have its requests fail");
            return false;
        }
    }
    return true;
}

static void do_logout(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("iqn", .needed = true),
        PARAM_TEXT("portal"),
        PARAM_BOOL("force"),
        { 0 },
    };
    struct logout *lo;

    if (!param_check(call, params, list))
        return;
    if (!(lo = calloc(1, sizeof(*lo)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    lo->mgr = user;
    lo->call = call;
    lo->any_portal = !json_object_get(params, "portal");
    lo->att_wait.fn = logout_att_closed;
    if (!wish_take(call, params, &lo->wish) || !logout_possible(user, call, lo, param_flag(params, "force"))) {
        free(lo);
        return;
    }
    logout_att_closed(&lo->att_wait, 0, NULL);
}

/* ---- attach, detach -------------------------------------------------------------------------------------- */

static void attached(struct att *a, int err, const char *why, void *user)
{
    const uint64_t losses = rpc_json_losses();
    struct rpc_call *call = user;

    if (err)
        rpc_fail(call, RPC_FAILED, "LUN %u of %s at %s is not attached: %s", a->spec.lun, a->spec.wish.iqn,
                 a->portal, why);
    else
        rpc_reply_whole(call, att_json(a), losses);
}

static void do_attach(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("iqn", .needed = true),
        PARAM_TEXT("portal", .needed = true),
        PARAM_INT("lun", 0, 16383, .needed = true),
        PARAM_TEXT("export"),
        PARAM_BOOL("readonly"),
        PARAM_TEXT("name"),
        PARAM_TEXT("header_digest"),
        PARAM_TEXT("data_digest"),
        PARAM_TEXT("transport"),
        PARAMS_CRED,
        { 0 },
    };
    struct att_spec spec = { 0 };
    char why[MGR_WHY_MAX];
    const char *name = param_text(params, "name"), *kind = param_text(params, "export"), *wrong;

    if (!param_check(call, params, list) || refused_stopping(user, call) ||
        !wish_take(call, params, &spec.wish))
        return;
    if (*kind && exp_kind_parse(kind, &spec.kind)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "export '%.32s': not one of auto, ublk, nbd, fuse, none", kind);
        return;
    }
    if (json_object_get(params, "name") && (wrong = att_name_refusal(name))) {
        rpc_fail(call, RPC_INVALID_PARAMS, "name '%.80s': %s", name, wrong);
        return;
    }
    snprintf(spec.name, sizeof(spec.name), "%s", name);
    spec.lun = (uint16_t)json_integer_value(json_object_get(params, "lun"));
    spec.readonly = param_flag(params, "readonly");
    if (!att_open(user, &spec, NULL, attached, call, why))
        rpc_fail(call, RPC_FAILED, "%s", why);
    explicit_bzero(&spec, sizeof(spec));
}

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

static void do_detach(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = { PARAM_TEXT("name", .needed = true), PARAM_BOOL("force"), { 0 } };
    struct detach *d;
    struct att *a;

    if (!param_check(call, params, list))
        return;
    if (!(a = att_find(user, param_text(params, "name")))) {
        rpc_fail(call, RPC_FAILED, "there is no disk '%.256s': 'corelane list' shows those there are",
                 param_text(params, "name"));
        return;
    }
    if (!(d = calloc(1, sizeof(*d)))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return;
    }
    d->call = call;
    d->wait.fn = detached;
    snprintf(d->name, sizeof(d->name), "%s", a->spec.name);
    snprintf(d->path, sizeof(d->path), "%s", a->result.path);
    att_close(a, param_flag(params, "force"), &d->wait);
}

const struct rpc_method mgr_methods[] = {
    { "status", do_status },
    { "session.list", do_session_list },
    { "discover", do_discover },
    { "login", do_login },
    { "logout", do_logout },
    { "attach", do_attach },
    { "detach", do_detach },
    { "list", do_list },
    { "layout.show", do_layout_show },
    { "layout.explain", do_layout_explain },
    { "layout.move", do_layout_move },
    { "layout.pin", do_layout_pin },
    { "layout.unpin", do_layout_unpin },
    { "layout.policy", do_layout_policy },
    { "layout.rebalance", do_layout_rebalance },
    { "layout.advice", do_layout_advice },
    { "layout.plan", do_layout_plan },
    { "layout.save", do_layout_save },
    { "layout.restore", do_layout_restore },
};
const unsigned mgr_methods_nr = ARRAY_SIZE(mgr_methods);
