/*
 * pr.c - persistent reservations of disks: a host registers over all paths of a disk, with one key
 *
 * The key belongs to the disk: it is on record with it, a path registers before it joins and when its session has logged in
 * anew, and one over which that cannot be done now leaves the disk until it can. Reservations that only the session that
 * made them may use are refused where a disk has several.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "manager/param.h"
#include "mpio/pr.h"
#include "rpc/json.h"

struct one { /* a command over one path */
    struct hop hop;
    struct run *run;
    struct path *path; /* held */
    struct mpio_pr pr;
};

struct run { /* a method that is under way: one command over one path or all of them, perhaps another before */
    struct mgr *mgr;
    struct rpc_call *call;
    struct att *att; /* held */
    enum mpio_pr_action action;
    uint8_t type; /* 0: as it is reserved now */
    uint64_t key, other;
    bool had_key; /* of the disk, before */
    uint64_t old_key;
    void (*then)(struct run *r);
    unsigned at, left, nr;
    json_t *answer;
    struct one one[];
};

/* ---- one command, on its session's core ------------------------------------------------------------------ */

static void core_done(struct mpio_pr *pr)
{
    hop_back(&((struct one *)pr->user)->hop);
}

static void core_send(struct hop *h)
{
    struct one *o = container_of(h, struct one, hop);
    struct ini_sess_info i = { .state = INI_FREE };

    if (o->path->sess->ini)
        ini_sess_info(o->path->sess->ini, &i);
    o->pr.done = core_done;
    o->pr.user = o;
    if (i.state == INI_UP) {
        mpio_pr_send(o->path->sess->ini, o->path->spec.lun, &o->pr);
        return;
    }
    o->pr.err = -ENOTCONN; /* or it would wait for who knows how long */
    snprintf(o->pr.why, sizeof(o->pr.why), "its session is not logged in now");
    hop_back(h);
}

/* ---- over one path, over all ----------------------------------------------------------------------------- */

static void run_free(struct run *r)
{
    for (unsigned i = 0; i < r->nr; i++)
        path_put(r->one[i].path);
    json_decref(r->answer);
    att_put(r->att);
    free(r);
}

/* Whether it can be sent over that path still. */
static bool is_there(const struct path *p)
{
    assert(p);
    return p->state == PATH_IN && !p->ending && p->sess;
}

static void fill(struct run *r, struct one *o, enum mpio_pr_action action)
{
    o->run = r;
    o->pr.action = action;
    o->pr.type = r->type;
    o->pr.key = r->key;
    o->pr.other = r->other;
}

static void all_back(struct hop *h)
{
    struct run *r = container_of(h, struct one, hop)->run;

    if (!--r->left)
        r->then(r);
}

static void run_all(struct run *r, enum mpio_pr_action action, void (*then)(struct run *r))
{
    r->then = then;
    r->left = 1;
    for (unsigned i = 0; i < r->nr; i++) {
        struct one *o = &r->one[i];

        fill(r, o, action);
        if (!is_there(o->path)) {
            o->pr.err = -ENOTCONN;
            continue;
        }
        r->left++;
        sess_go(o->path->sess, &o->hop, core_send, all_back);
    }
    if (!--r->left)
        then(r);
}

static void run_one_next(struct run *r, enum mpio_pr_action action);

static void one_back(struct hop *h)
{
    struct one *o = container_of(h, struct one, hop);
    struct run *r = o->run;

    if (o->pr.err == -ENOTCONN && ++r->at < r->nr)
        run_one_next(r, o->pr.action);
    else
        r->then(r);
}

/* The first that can be asked; run_said() is what it said. */
static void run_one_next(struct run *r, enum mpio_pr_action action)
{
    while (r->at + 1 < r->nr && !is_there(r->one[r->at].path))
        r->at++;
    fill(r, &r->one[r->at], action);
    if (is_there(r->one[r->at].path)) {
        sess_go(r->one[r->at].path->sess, &r->one[r->at].hop, core_send, one_back);
        return;
    }
    r->one[r->at].pr.err = -ENOTCONN;
    snprintf(r->one[r->at].pr.why, sizeof(r->one[r->at].pr.why), "no path of it can be used now");
    r->then(r);
}

static void run_one(struct run *r, enum mpio_pr_action action, void (*then)(struct run *r))
{
    r->at = 0;
    r->then = then;
    run_one_next(r, action);
}

static const struct mpio_pr *run_said(const struct run *r)
{
    return &r->one[r->at].pr;
}

static void run_failed(struct run *r, const struct one *o, const char *what)
{
    rpc_fail(r->call, RPC_FAILED, "%s: %s over path %s: %s", r->att->spec.name, what, o->path->name, o->pr.why);
    run_free(r);
}

/* ---- register -------------------------------------------------------------------------------------------- */

static void key_set(struct att *a, bool has, uint64_t key)
{
    a->has_pr_key = has;
    a->pr_key = has ? key : 0;
    store_save(a->mgr, NULL);
}

static void registered(struct run *r)
{
    const struct one *bad = NULL;
    unsigned done = 0;

    for (unsigned i = 0; i < r->nr; i++) {
        struct one *o = &r->one[i];

        done += !o->pr.err;
        if (o->pr.err && o->pr.err != -ENOTCONN)
            bad = o;
    }
    if (!done) {
        key_set(r->att, r->had_key, r->old_key);
        run_failed(r, bad ? bad : &r->one[0], "registering");
        return;
    }
    /* What is not registered must not be used: it registers when it comes back. */
    for (unsigned i = 0; i < r->nr; i++)
        if (r->one[i].pr.err && is_there(r->one[i].path) && r->key)
            path_drop(r->one[i].path, r->one[i].pr.err, "it could not be registered for a reservation");
    if (bad)
        run_failed(r, bad, "registering; the other paths are registered, this one is not used until it is");
    else {
        rpc_reply(r->call, NULL);
        run_free(r);
    }
}

/* At once for paths that come meanwhile. */
static void run_register(struct run *r)
{
    r->had_key = r->att->has_pr_key;
    r->old_key = r->att->pr_key;
    key_set(r->att, r->key, r->key);
    run_all(r, MPIO_PR_REGISTER, registered);
}

/* ---- the others ------------------------------------------------------------------------------------------ */

static void acted(struct run *r)
{
    static const char *const words[] = {
        [MPIO_PR_RESERVE] = "reserving",  [MPIO_PR_RELEASE] = "releasing",        [MPIO_PR_CLEAR] = "clearing",
        [MPIO_PR_PREEMPT] = "preempting", [MPIO_PR_PREEMPT_ABORT] = "preempting",
    };

    if (run_said(r)->err) {
        run_failed(r, &r->one[r->at], words[r->action]);
        return;
    }
    if (r->action == MPIO_PR_CLEAR)
        key_set(r->att, false, 0);
    rpc_reply(r->call, NULL);
    run_free(r);
}

/* Only who made it can release it, and of all paths that is one: for the others it changes nothing. */
static void released(struct run *r)
{
    for (unsigned i = 0; i < r->nr; i++) {
        if (r->one[i].pr.err && r->one[i].pr.err != -ENOTCONN) {
            run_failed(r, &r->one[i], "releasing");
            return;
        }
    }
    rpc_reply(r->call, NULL);
    run_free(r);
}

static void release_known(struct run *r)
{
    const struct mpio_pr *pr = run_said(r);

    if (pr->err) {
        run_failed(r, &r->one[r->at], "releasing");
    } else if (!pr->held || (pr->held_key != r->key && pr->held_type < 7)) {
        rpc_fail(r->call, RPC_FAILED, "%s: it is not reserved by this host: 'corelane reserve %s show'",
                 r->att->spec.name, r->att->spec.name);
        run_free(r);
    } else {
        r->type = pr->held_type;
        run_all(r, MPIO_PR_RELEASE, released);
    }
}

static void preempt_known(struct run *r)
{
    const struct mpio_pr *pr = run_said(r);

    if (pr->err) {
        run_failed(r, &r->one[r->at], "preempting");
        return;
    }
    if (!r->type)
        r->type = pr->held ? pr->held_type : (uint8_t)mpio_pr_type_parse("write-exclusive-registrants-only");
    run_one(r, r->action, acted);
}

/* ---- show ------------------------------------------------------------------------------------------------ */

static json_t *key_json(uint64_t key)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%" PRIx64, key);
    return json_string(text);
}

static void shown(struct run *r)
{
    const struct mpio_pr *pr = run_said(r);

    if (pr->err) {
        run_failed(r, &r->one[r->at], "asking");
        return;
    }
    json_object_set_new(r->answer, "holder",
                        pr->held ? json_pack("{s:o, s:s}", "key", key_json(pr->held_key), "type",
                                             mpio_pr_type_name(pr->held_type))
                                 : json_null());
    rpc_reply(r->call, json_incref(r->answer));
    run_free(r);
}

static void show_keys(struct run *r)
{
    const struct mpio_pr *pr = run_said(r);
    json_t *keys;

    if (pr->err) {
        run_failed(r, &r->one[r->at], "asking");
        return;
    }
    keys = json_array();
    for (unsigned i = 0; i < pr->keys_nr; i++)
        json_array_append_new(keys, key_json(pr->keys[i]));
    r->answer = json_pack("{s:s, s:o, s:I, s:o, s:i}", "disk", r->att->spec.name, "key",
                          r->att->has_pr_key ? key_json(r->att->pr_key) : json_null(), "generation",
                          (json_int_t)pr->generation, "keys", keys, "keys_more", (int)pr->keys_more);
    run_one(r, MPIO_PR_READ_RESERVATION, shown);
}

/* ---- the method ------------------------------------------------------------------------------------------ */

enum verb { SHOW, REGISTER, UNREGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, VERBS };
static const char *const verbs[VERBS] = { "show",    "register", "unregister", "reserve",
                                          "release", "clear",    "preempt" };

bool pr_key_parse(const char *text, uint64_t *out)
{
    char *end;

    if (!strncmp(text, "0x", 2))
        text += 2;
    if (!*text || strlen(text) > 16 || strspn(text, "0123456789abcdefABCDEF") != strlen(text))
        return false;
    *out = strtoull(text, &end, 16);
    return *out;
}

static struct run *run_new(struct mgr *m, struct rpc_call *call, struct att *a)
{
    struct run *r;
    unsigned nr = 0;

    rt_list_for (l, &a->paths)
        nr += is_there(rt_list_entry(l, struct path, link));
    if (!nr) {
        rpc_fail(call, RPC_FAILED, "%s has no path now", a->spec.name);
        return NULL;
    }
    if (!(r = calloc(1, sizeof(*r) + nr * sizeof(r->one[0])))) {
        rpc_fail(call, RPC_INTERNAL, "no memory");
        return NULL;
    }
    r->mgr = m;
    r->call = call;
    r->att = a;
    att_hold(a);
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (!is_there(p))
            continue;
        r->one[r->nr++].path = p;
        path_hold(p);
    }
    assert(r->nr == nr);
    return r;
}

/* Return: NULL, or what is wrong with the parameters. */
static const char *run_take(struct run *r, enum verb verb, const json_t *params)
{
    const char *key = param_text(params, "key"), *type = param_text(params, "type");
    const struct att *a = r->att;
    int code;

    if (*type) {
        if ((code = mpio_pr_type_parse(type)) < 0)
            return "type: one of write-exclusive, exclusive-access, and these with -registrants-only or "
                   "-all-registrants";
        r->type = (uint8_t)code;
    }
    if (*key && !pr_key_parse(key, verb == PREEMPT ? &r->other : &r->key))
        return "key: 1 to 16 hex digits, and not 0";
    if (verb == REGISTER && !*key) {
        if (!a->set.has_pr_key)
            return "which key? Give one, or say reservation_key in multipath.conf";
        r->key = a->set.pr_key;
    }
    if (verb == SHOW || verb == REGISTER)
        return NULL;
    if (!a->has_pr_key)
        return "this host is not registered: 'corelane reserve DISK register KEY' first";
    r->key = verb == UNREGISTER ? 0 : a->pr_key;
    if (verb == RESERVE && !*type)
        return "which type? One of write-exclusive, exclusive-access, and these with -registrants-only or "
               "-all-registrants";
    if (verb == RESERVE && !mpio_pr_type_shared(r->type) && a->paths.next->next != &a->paths)
        return "of several paths only one could use that reservation: take one with -registrants-only or "
               "-all-registrants";
    if (verb == PREEMPT && !*key)
        return "whose key?";
    return NULL;
}

static void run_begin(struct run *r, enum verb verb)
{
    static const enum mpio_pr_action of[VERBS] = {
        [RESERVE] = MPIO_PR_RESERVE,
        [CLEAR] = MPIO_PR_CLEAR,
    };

    switch (verb) {
    case SHOW: run_one(r, MPIO_PR_READ_KEYS, show_keys); break;
    case REGISTER:
    case UNREGISTER: run_register(r); break;
    case RELEASE: run_one(r, MPIO_PR_READ_RESERVATION, release_known); break;
    case PREEMPT: run_one(r, MPIO_PR_READ_RESERVATION, preempt_known); break;
    default: r->action = of[verb]; run_one(r, r->action, acted);
    }
}

void mgr_rpc_reserve(void *user, struct rpc_call *call, json_t *params)
{
    static const struct param list[] = {
        PARAM_TEXT("disk", .needed = true),
        PARAM_TEXT("action", .needed = true),
        PARAM_TEXT("key"),
        PARAM_TEXT("type"),
        PARAM_BOOL("abort"),
        { 0 },
    };
    enum verb verb = SHOW;
    const char *wrong;
    struct run *r;
    struct att *a;

    if (!param_check(call, params, list))
        return;
    while (verb < VERBS && strcmp(verbs[verb], param_text(params, "action")))
        verb++;
    if (verb == VERBS) {
        rpc_fail(call, RPC_INVALID_PARAMS,
                 "action '%.32s': not one of show, register, unregister, reserve, release, clear, preempt",
                 param_text(params, "action"));
        return;
    }
    if (!(a = mgr_att_take(user, call, params, "disk")))
        return;
    if (a->state != ATT_UP) {
        rpc_fail(call, RPC_FAILED, "%s is not up: 'corelane list' says what it waits for", a->spec.name);
        return;
    }
    if (!(r = run_new(user, call, a)))
        return;
    r->action = param_flag(params, "abort") ? MPIO_PR_PREEMPT_ABORT : MPIO_PR_PREEMPT;
    if ((wrong = run_take(r, verb, params))) {
        rpc_fail(call, RPC_INVALID_PARAMS, "%s: %s", a->spec.name, wrong);
        run_free(r);
        return;
    }
    run_begin(r, verb);
}

/* ---- a session has logged in again ----------------------------------------------------------------------- */

struct again {
    struct hop hop;
    struct path *path; /* held */
    struct mpio_pr pr;
};

static void core_again_done(struct mpio_pr *pr)
{
    hop_back(&((struct again *)pr->user)->hop);
}

static void core_again(struct hop *h)
{
    struct again *g = container_of(h, struct again, hop);

    g->pr.done = core_again_done;
    g->pr.user = g;
    if (g->path->sess->ini) {
        mpio_pr_send(g->path->sess->ini, g->path->spec.lun, &g->pr);
    } else {
        g->pr.err = -ENOTCONN;
        hop_back(h);
    }
}

static void again_back(struct hop *h)
{
    struct again *g = container_of(h, struct again, hop);
    struct path *p = g->path;

    if (g->pr.err && is_there(p) && p->att->has_pr_key) {
        event_add(p->att->mgr, RT_WARN, p->att->spec.name, p->name,
                  "it could not be registered again for a reservation: %s", g->pr.why);
        path_drop(p, g->pr.err, "it could not be registered again for a reservation");
    }
    path_put(p);
    free(g);
}

/* A target that was restarted may have forgotten. */
void pr_sess_again(struct sess *s)
{
    rt_list_for (la, &s->mgr->atts) {
        struct att *a = rt_list_entry(la, struct att, link);

        if (!a->has_pr_key || a->state != ATT_UP)
            continue;
        rt_list_for (l, &a->paths) {
            struct path *p = rt_list_entry(l, struct path, link);
            struct again *g = p->sess == s && is_there(p) ? calloc(1, sizeof(*g)) : NULL;

            if (!g)
                continue;
            g->path = p;
            g->pr.action = MPIO_PR_REGISTER;
            g->pr.key = a->pr_key;
            path_hold(p);
            sess_go(s, &g->hop, core_again, again_back);
        }
    }
}
