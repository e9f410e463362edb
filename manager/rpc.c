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

    if (!param_check(call, params, list) || mgr_refused_stopping(user, call) || !mgr_wish_take(call, params, &wish))
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
    else if (!mgr_refused_stopping(ask->mgr, ask->call))
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

    if (!param_check(call, params, list) || mgr_refused_stopping(user, call) || !mgr_wish_take(call, params, &wish))
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

/* Also one that has no session now: it would make one. */
static bool logout_path(const struct logout *lo, const struct path *p)
{
    return p->sess ? logout_means(lo, p->sess)
                   : !strcmp(p->spec.wish.iqn, lo->wish.iqn) &&
                         (lo->any_portal || (p->spec.wish.portal.port == lo->wish.portal.port &&
                                             !strcmp(p->spec.wish.portal.host, lo->wish.portal.host)));
}

/* A path of it that goes with its session, or NULL. *others: it has other paths that can be used. */
static struct path *logout_of(const struct logout *lo, const struct att *a, bool *others)
{
    struct path *found = NULL;

    *others = false;
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (!logout_path(lo, p))
            *others |= p->state == PATH_IN && !p->ending;
        else if (!found || found->ending)
            found = p;
    }
    return found;
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

static void logout_next(struct logout *lo);

static void logout_att_closed(struct att_wait *w, int err, const char *why)
{
    struct logout *lo = container_of(w, struct logout, att_wait);

    if (err) {
        rpc_fail(lo->call, RPC_FAILED, "logout of %s: a disk on it cannot be detached: %s", lo->wish.iqn, why);
        free(lo);
    } else {
        logout_next(lo);
    }
}

static void logout_path_gone(void *user)
{
    logout_next(user);
}

/* Paths of disks that have others, then disks that have none, then the sessions. */
static void logout_next(struct logout *lo)
{
    rt_list_for (l, &lo->mgr->atts) {
        struct att *a = rt_list_entry(l, struct att, link);
        bool others;
        struct path *p = a->state >= ATT_UP ? logout_of(lo, a, &others) : NULL;

        if (!p)
            continue;
        if (a->state == ATT_UP && others)
            path_end(p, logout_path_gone, lo);
        else
            att_close(a, true, &lo->att_wait);
        return;
    }
    logout_sessions(lo);
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
        bool others;
        const struct path *p = logout_of(lo, a, &others);

        if (!p)
            continue;
        if (p->ending && a->state == ATT_UP) {
            rpc_fail(call, RPC_FAILED, "a path of %s is being taken away: try again", a->spec.name);
            return false;
        }
        if (!force || a->state < ATT_UP) {
            rpc_fail(call, RPC_FAILED, "the disk %s%s%s stands on a session to %s: detach it first%s",
                     a->spec.name, *att_device(a) ? " at " : "", att_device(a), lo->wish.iqn,
                     force    ? ""
                     : others ? ", or say --force to have it go on over its other paths"
                              : ", or say --force to have its requests fail");
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
    if (!mgr_wish_take(call, params, &lo->wish) || !logout_possible(user, call, lo, param_flag(params, "force"))) {
        free(lo);
        return;
    }
    logout_next(lo);
}

const struct rpc_method mgr_methods[] = {
    { "status", do_status },
    { "session.list", do_session_list },
    { "discover", do_discover },
    { "login", do_login },
    { "logout", do_logout },
    { "attach", mgr_rpc_attach },
    { "detach", mgr_rpc_detach },
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
    { "path.list", mgr_rpc_path_list },
    { "path.add", mgr_rpc_path_add },
    { "path.remove", mgr_rpc_path_remove },
    { "path.fail", mgr_rpc_path_fail },
    { "path.reinstate", mgr_rpc_path_reinstate },
    { "path.set", mgr_rpc_path_set },
    { "path.policy", mgr_rpc_path_policy },
    { "path.resume", mgr_rpc_path_resume },
    { "path.fail_queued", mgr_rpc_path_fail_queued },
    { "path.reconfigure", mgr_rpc_path_reconfigure },
    { "path.events", mgr_rpc_path_events },
    { "reserve", mgr_rpc_reserve },
};
const unsigned mgr_methods_nr = ARRAY_SIZE(mgr_methods);
