/*
 * sess_login.c - from the first Login request to full feature phase (RFC 7143 6.3, 11.12, 11.13, 12, 13)
 *
 * Owns the stages, the keys that say who talks to whom, authentication and its policy, and the answer. All
 * memory of it is taken with the connection and given back when the login is over: a peer cannot make it more.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/name.h"
#include "target/sess.h"

#define LOGIN_TEXT_MAX (64u * 1024)         /* bytes of keys over the C bit */
#define LOGIN_PDUS_MAX 64u

/* A response on its way. Two: the peer may answer the first before we are told that it was sent, but not the
 * second before the first. */
struct login_rsp {
    struct dm_ctl ctl;
    struct sess *sess;
    bool busy;
    char text[SESS_TEXT_LEN];
};

struct sess_login {
    struct login_rsp rsp[2];
    struct iscsi_text out;                  /* of the response under construction */
    struct login_rsp *next;
    struct iscsi_pdu req;                   /* the request that is being answered */
    char *text;                             /* keys of this request and those joined to it by C */
    uint32_t text_len;
    unsigned pdus;
    uint8_t stage;                          /* enum iscsi_stage */
    bool begun, identified, need_chap, method_chosen, auth_done, tpgt_sent, finished;
    bool failing;                           /* a failure waits for its time */
    uint16_t fail_status;
    uint32_t seen;                          /* bits of login_keys[] */
    struct chap_target chap;
    bool chap_on, chap_fresh;               /* chap_fresh: the method was chosen in this very request */
    struct iscsi_params offer;
    struct iscsi_negotiation neg;
};

/* ---- answers --------------------------------------------------------------------------------------------- */

static void rsp_sent(struct dm_ctl *ctl, int err)
{
    struct login_rsp *r = container_of(ctl, struct login_rsp, ctl);
    struct sess *s = r->sess;

    (void)err;
    r->busy = false;
    if (s->state == SESS_FULL && login_idle(s))
        login_free(s);
}

bool login_idle(const struct sess *s)
{
    return !s->login || (!s->login->rsp[0].busy && !s->login->rsp[1].busy);
}

void login_free(struct sess *s)
{
    struct sess_login *l = s->login;

    if (!l)
        return;
    assert(login_idle(s));
    free(l->text);
    explicit_bzero(&l->chap, sizeof(l->chap));
    free(l);
    s->login = NULL;
}

static const struct iscsi_params login_offer = {
    .header_digest_pref = ISCSI_DIGEST_NONE_CRC32C, .data_digest_pref = ISCSI_DIGEST_NONE_CRC32C,
    .connections_max = 1,
    .initial_r2t = 0,
    .immediate_data = 1,
    .recv_data_max = SESS_RECV_MAX,
    .burst_max = SESS_BURST_MAX,
    .first_burst_max = SESS_FIRST_BURST_MAX,
    .time2wait_s = 0,                       /* a new login may come at once: it ends what the old one left */
    .time2retain_s = 0,                     /* nothing is retained at ErrorRecoveryLevel 0 */
    .r2t_max = 8,
    .pdu_in_order = 1,
    .seq_in_order = 1,
    .erl = 0,
};

int login_begin(struct sess *s)
{
    struct sess_login *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->offer = login_offer;
    for (unsigned i = 0; i < ARRAY_SIZE(l->rsp); i++)
        l->rsp[i].sess = s;
    s->login = l;
    return 0;
}

/* A place for the next response. NULL: both are on their way, so the peer does not wait for answers. */
static struct login_rsp *rsp_prepare(struct sess_login *l)
{
    l->next = !l->rsp[0].busy ? &l->rsp[0] : !l->rsp[1].busy ? &l->rsp[1] : NULL;
    if (l->next)
        iscsi_text_init(&l->out, l->next->text, sizeof(l->next->text));
    return l->next;
}

static void rsp_send(struct sess *s, uint16_t status, bool transit)
{
    struct sess_login *l = s->login;
    struct login_rsp *r = l->next;
    struct iscsi_pdu *p = &r->ctl.pdu;

    memset(&r->ctl, 0, sizeof(r->ctl));
    p->opcode = ISCSI_OP_LOGIN_RESP;
    p->itt = l->req.itt;
    p->final = transit;
    p->data_len = status ? 0 : l->out.len;
    p->login.transit = transit;
    p->login.csg = l->req.login.csg;
    p->login.nsg = transit ? l->req.login.nsg : 0;
    memcpy(p->login.isid, l->req.login.isid, sizeof(p->login.isid));
    p->login.tsih = s->tsih ? s->tsih : l->req.login.tsih;
    p->login.status = status;
    sess_stamp(s, p, true);
    r->ctl.data = p->data_len ? r->text : NULL;
    r->ctl.sent = rsp_sent;
    r->busy = true;
    l->next = NULL;
    dm_send_control(s->dm, &r->ctl);
}

static void fail_now(struct sess *s, uint16_t status)
{
    if (s->login->next || rsp_prepare(s->login))
        rsp_send(s, status, false);
    sess_close(s, true, NULL);
}

/* Ends the login with a status. @why: for the log, with what the operator can do. */
static void login_fail(struct sess *s, uint16_t status, const char *why)
{
    struct sess_login *l = s->login;

    rt_log_peer(RT_WARN, "login refused with %04x (%s): initiator \"%s\" from %s to \"%s\": %s", status,
                iscsi_login_status_text(status, NULL), s->initiator, s->peer_text,
                s->discovery ? "discovery" : s->target, why);
    s->auth_failed = status == ISCSI_LOGIN_AUTH_FAILED;
    if (s->auth_failed && s->penalty_ms) {
        l->failing = true;
        l->fail_status = status;
        rt_timer_arm(s->rt, &s->timer, s->penalty_ms * RT_MS);
        return;
    }
    fail_now(s, status);
}

void login_timeout(struct sess *s)
{
    if (s->login->failing)
        fail_now(s, s->login->fail_status);
    else if (s->state == SESS_ASKING)
        login_fail(
            s, ISCSI_LOGIN_UNAVAILABLE,
            "the older session of this name and ISID did not end in time; see whether its disk is stuck");
    else
        sess_close(s, false, "the login was not finished in time (login_s)");
}

/* ---- who talks to whom ----------------------------------------------------------------------------------- */

static const struct snap_target *login_target(const struct sess *s)
{
    return s->discovery ? NULL : snap_find(s->core->snap, s->target);
}

/* NULL when the target went away meanwhile. */
static const struct snap_auth *login_auth(const struct sess *s)
{
    const struct snap_target *t = login_target(s);

    return s->discovery ? &s->core->snap->discovery : t ? &t->auth : NULL;
}

/* The first request names both ends (6.3: "in the first Login Request"). False: refused. */
static bool login_identify(struct sess *s)
{
    struct sess_login *l = s->login;
    const struct snap_target *t;
    const struct snap_auth *auth;
    bool open;

    if (!*s->initiator) {
        login_fail(s, ISCSI_LOGIN_MISSING_PARAMETER, "InitiatorName is missing");
        return false;
    }
    if (!s->discovery && !*s->target) {
        login_fail(s, ISCSI_LOGIN_MISSING_PARAMETER, "TargetName is missing");
        return false;
    }
    if (!s->discovery) {
        if (!(t = login_target(s))) {
            login_fail(s, ISCSI_LOGIN_NOT_FOUND,
                       "there is no such target; `corelane target list` shows those there are");
            return false;
        }
        if (!snap_acl_of(t, s->initiator, &open) && !open) {
            login_fail(s, ISCSI_LOGIN_FORBIDDEN,
                       "the target's access list does not name this initiator; `corelane acl add` would");
            return false;
        }
    }
    auth = login_auth(s);
    l->need_chap = auth && auth->in_nr;
    l->identified = true;
    return true;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

struct login_key {
    const char *name;
    /* False: the login was refused. */
    bool (*take)(struct sess *s, const char *value);
};

static bool take_name(struct sess *s, const char *value, char out[static ISCSI_NAME_LEN_MAX + 1],
                      const char *key)
{
    const char *why = iscsi_name_refusal(value, out);
    char text[256];

    if (!why)
        return true;
    *out = '\0';
    snprintf(text, sizeof(text), "%s \"%.100s\" is not a name: %s", key, value, why);
    login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, text);
    return false;
}

static bool take_initiator_name(struct sess *s, const char *value)
{
    return take_name(s, value, s->initiator, "InitiatorName");
}

static bool take_target_name(struct sess *s, const char *value)
{
    return take_name(s, value, s->target, "TargetName");
}

static bool take_nothing(struct sess *s, const char *value)
{
    (void)s, (void)value;
    return true;
}

static bool take_session_type(struct sess *s, const char *value)
{
    if (!strcmp(value, "Normal"))
        return true;
    if (!strcmp(value, "Discovery")) {
        s->discovery = true;
        return true;
    }
    login_fail(s, ISCSI_LOGIN_SESSION_TYPE, "SessionType is neither Normal nor Discovery");
    return false;
}

static bool list_has(const char *list, const char *item)
{
    const size_t n = strlen(item);

    for (;; list++) {
        const size_t len = strcspn(list, ",");

        if (len == n && !memcmp(list, item, n))
            return true;
        list += len;
        if (!*list)
            return false;
    }
}

static unsigned auth_algs(const struct snap_auth *auth, const char *initiator)
{
    unsigned algs = 0;

    for (unsigned i = 0; i < auth->in_nr; i++) {
        if (!*auth->in[i].initiator || !strcmp(auth->in[i].initiator, initiator))
            algs |= auth->in[i].algs;
    }
    return algs ? algs : CHAP_ALGS_ALL;     /* nobody fits: fail at the secret, like anyone else */
}

static bool take_auth_method(struct sess *s, const char *value)
{
    struct sess_login *l = s->login;
    const struct snap_auth *auth = login_auth(s);
    uint8_t random[33];

    if (l->stage != ISCSI_STAGE_SECURITY) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "AuthMethod outside the security stage");
        return false;
    }
    l->method_chosen = true;
    if (!l->need_chap && list_has(value, "None")) {
        iscsi_text_add(&l->out, "AuthMethod", "None");
        return true;
    }
    if (l->need_chap && auth && list_has(value, "CHAP")) {
        iscsi_text_add(&l->out, "AuthMethod", "CHAP");
        rt_random(s->rt, random, sizeof(random));
        chap_target_init(&l->chap, auth_algs(auth, s->initiator), random);
        l->chap_on = l->chap_fresh = true;
        return true;
    }
    login_fail(
        s, ISCSI_LOGIN_AUTH_FAILED,
        l->need_chap
            ? "CHAP is required and it was not offered; give the initiator a user and a secret"
            : "it insists on CHAP, and no credentials are configured here; `corelane chap set` adds them");
    return false;
}

static bool take_send_targets(struct sess *s, const char *value)
{
    (void)value;
    iscsi_text_add(&s->login->out, "SendTargets", "Reject");   /* 13.? full feature phase only */
    return true;
}

static bool take_loop(struct sess *s, const char *value)
{
    struct sess_login *l = s->login;
    char answer[LOOP_TEXT_MAX];

    guest_invite(s, value, l->stage == ISCSI_STAGE_OPERATIONAL, answer);
    iscsi_text_add(&l->out, LOOP_KEY, answer);
    return true;
}

static bool take_loop_go(struct sess *s, const char *value)
{
    struct sess_login *l = s->login;
    const bool last = l->req.login.transit && l->req.login.nsg == ISCSI_STAGE_FULL_FEATURE;
    const char *answer = guest_go(s, value, l->stage == ISCSI_STAGE_OPERATIONAL, last);

    if (answer)
        iscsi_text_add(&l->out, LOOP_KEY_GO, answer);
    return true;
}

/* What names the ends comes first, in the table and in time: the others are judged by it. */
enum { KEY_NAMES = 3 };
static const struct login_key login_keys[] = {
    { "InitiatorName",        take_initiator_name },
    { "TargetName",           take_target_name },
    { "SessionType",          take_session_type },
    { "AuthMethod",           take_auth_method },
    { "InitiatorAlias",       take_nothing },
    { "TargetAlias",          take_nothing },
    { "TargetAddress",        take_nothing },
    { "TargetPortalGroupTag", take_nothing },
    { "SendTargets",          take_send_targets },
    { LOOP_KEY,               take_loop },
    { LOOP_KEY_GO,            take_loop_go },
};
static_assert(ARRAY_SIZE(login_keys) <= 32, "one bit each in seen");

static int login_key_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(login_keys); i++) {
        if (!strcmp(login_keys[i].name, name))
            return (int)i;
    }
    return -1;
}

static bool login_key_take(struct sess *s, int i, const char *value)
{
    struct sess_login *l = s->login;

    if (l->seen & 1u << i) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "a key was sent twice");
        return false;
    }
    l->seen |= 1u << i;
    return login_keys[i].take(s, value);
}

static bool operational_key_take(struct sess *s, const char *key, const char *value)
{
    struct sess_login *l = s->login;

    switch (iscsi_negotiation_take(&l->neg, key, value, &l->out)) {
    case ISCSI_KEY_OK:
    case ISCSI_KEY_REJECTED:
        return true;
    case ISCSI_KEY_NOT_OURS:
        if (strncmp(key, "CHAP_", 5))       /* those are chap_step()'s */
            iscsi_text_add(&l->out, key, "NotUnderstood");
        else if (!l->chap_on) {
            login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "CHAP keys, though CHAP was not agreed on");
            return false;
        }
        return true;
    case ISCSI_KEY_AGAIN:
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "a key was negotiated twice");
        return false;
    case ISCSI_KEY_BAD_ANSWER:
        break;
    }
    login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR,
               "an answer to what was not offered, or not one that was allowed");
    return false;
}

/* True when a name, or the session type, is what it was in the first request. */
static bool name_again(const struct sess *s, int i, const char *value)
{
    char name[ISCSI_NAME_LEN_MAX + 1];

    if (!(s->login->seen & 1u << i))
        return false;
    if (!strcmp(login_keys[i].name, "SessionType"))
        return !strcmp(value, s->discovery ? "Discovery" : "Normal");
    return !iscsi_name_refusal(value, name) &&
           !strcmp(name, login_keys[i].take == take_initiator_name ? s->initiator : s->target);
}

enum pass { PASS_NAMES, PASS_REST };

/* One walk over a copy of the text, as the walk writes into it. False: the login was refused. */
static bool login_walk(struct sess *s, char *text, uint32_t len, enum pass pass)
{
    uint32_t pos = 0;
    char *key, *value;
    int more;

    while ((more = iscsi_text_next(text, len, &pos, &key, &value)) > 0) {
        const int i = login_key_find(key);
        const bool name = i >= 0 && i < KEY_NAMES;

        if (pass == PASS_NAMES && !name)
            continue;
        if (pass == PASS_REST && name) {    /* taken in the first request; repeating one is harmless */
            if (name_again(s, i, value))
                continue;
            login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR,
                       "names and session type belong into the first request, and do not change after it");
            return false;
        }
        if (!(i >= 0 ? login_key_take(s, i, value) : operational_key_take(s, key, value)))
            return false;
    }
    if (more < 0) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "text that is no list of key=value pairs");
        return false;
    }
    return true;
}

/* ---- authentication -------------------------------------------------------------------------------------- */

/* The credentials that may prove this initiator. *out: taken, to be cleared and freed. */
static unsigned creds_for(const struct snap_auth *auth, const char *initiator, struct chap_cred **out)
{
    unsigned n = 0;

    *out = calloc(auth->in_nr ? auth->in_nr : 1, sizeof(**out));
    if (!*out)
        return 0;
    for (unsigned i = 0; i < auth->in_nr; i++) {
        if (!*auth->in[i].initiator || !strcmp(auth->in[i].initiator, initiator))
            (*out)[n++] = auth->in[i].cred;
    }
    return n;
}

static const struct chap_cred *cred_of_ours(const struct snap_auth *auth, const char *initiator)
{
    const struct chap_cred *any = NULL;

    for (unsigned i = 0; i < auth->out_nr; i++) {
        if (!strcmp(auth->out[i].initiator, initiator))
            return &auth->out[i].cred;
        if (!*auth->out[i].initiator && !any)
            any = &auth->out[i].cred;
    }
    return any;
}

/* A secret may be bound to certain digests: what the others of the list allow does not count for it. */
static bool alg_allowed(const struct snap_auth *auth, const struct sess *s)
{
    const struct chap_target *c = &s->login->chap;

    for (unsigned i = 0; i < auth->in_nr; i++) {
        const struct snap_cred *in = &auth->in[i];

        if ((!*in->initiator || !strcmp(in->initiator, s->initiator)) && !strcmp(in->cred.name, c->user) &&
            in->algs & 1u << c->alg)
            return true;
    }
    return false;
}

/* @text: written over. False: the login was refused. */
static bool login_chap(struct sess *s, char *text, uint32_t len)
{
    struct sess_login *l = s->login;
    const struct snap_auth *auth = login_auth(s);
    struct chap_cred *creds = NULL;
    enum chap_step step = CHAP_FAILED;
    unsigned n = auth ? creds_for(auth, s->initiator, &creds) : 0;
    char why[CHAP_NAME_LEN_MAX + 96];

    if (auth && creds)
        step = chap_target_step(&l->chap, creds, n, cred_of_ours(auth, s->initiator), text, len, &l->out);
    if (creds)
        explicit_bzero(creds, n * sizeof(*creds));
    free(creds);
    if (step == CHAP_DONE && !alg_allowed(auth, s))
        step = CHAP_FAILED;
    switch (step) {
    case CHAP_CONTINUE:
        return true;
    case CHAP_DONE:
        l->auth_done = true;
        l->chap_on = false;
        s->auth = l->chap.mutual_done ? "CHAP, mutual" : "CHAP";
        return true;
    default:
        snprintf(why, sizeof(why), "CHAP failed for user \"%s\"; compare user and secret on both sides",
                 l->chap.user);
        login_fail(s, ISCSI_LOGIN_AUTH_FAILED, why);
        return false;
    }
}

/* ---- stages ---------------------------------------------------------------------------------------------- */

/* 11.12.3: which stage may follow which. */
static bool stages_legal(const struct iscsi_pdu *pdu)
{
    static const bool next[4][4] = {
        [ISCSI_STAGE_SECURITY]    = { [ISCSI_STAGE_OPERATIONAL] = true, [ISCSI_STAGE_FULL_FEATURE] = true },
        [ISCSI_STAGE_OPERATIONAL] = { [ISCSI_STAGE_FULL_FEATURE] = true },
    };

    if (pdu->login.csg > ISCSI_STAGE_OPERATIONAL)
        return false;
    return !pdu->login.transit || (!pdu->login.cont && next[pdu->login.csg][pdu->login.nsg & 3]);
}

/* False: refused. */
static bool request_judge(struct sess *s, const struct iscsi_pdu *pdu)
{
    struct sess_login *l = s->login;
    const char *why = NULL;
    uint16_t status = ISCSI_LOGIN_INITIATOR_ERROR;

    if (pdu->login.version_min > 0) {
        status = ISCSI_LOGIN_VERSION;
        why = "it speaks no version of iSCSI that is known here";
    } else if (!stages_legal(pdu)) {
        why = "stages (CSG, NSG, T, C) that cannot be";
    } else if (l->begun && (pdu->login.csg != l->stage || pdu->login.cid != s->cid || pdu->login.tsih ||
                            memcmp(pdu->login.isid, s->isid, sizeof(s->isid)))) {
        status = ISCSI_LOGIN_INVALID_REQUEST;
        why = "a request that does not follow from those before it";
    } else if (++l->pdus > LOGIN_PDUS_MAX) {
        why = "a negotiation without end";
    }
    if (!why)
        return true;
    l->req = *pdu;
    login_fail(s, status, why);
    return false;
}

static void login_first(struct sess *s, const struct iscsi_pdu *pdu)
{
    struct sess_login *l = s->login;

    l->begun = true;
    l->stage = pdu->login.csg;
    memcpy(s->isid, pdu->login.isid, sizeof(s->isid));
    s->cid = pdu->login.cid;
    s->exp_cmd_sn = pdu->cmd_sn;            /* 4.2.2.1: Login is immediate, the first command has its number */
}

/* All keys of the request are in. False: refused. */
static bool login_keys_take(struct sess *s)
{
    struct sess_login *l = s->login;
    const uint32_t len = l->text_len;
    const char *text = l->text ? l->text : "";
    char *copy = malloc(len + 1);
    bool ok = true;

    if (!copy) {
        login_fail(s, ISCSI_LOGIN_OUT_OF_RESOURCES, "no memory");
        return false;
    }
    l->chap_fresh = false;
    if (!l->identified) {
        memcpy(copy, text, len);
        ok = login_walk(s, copy, len, PASS_NAMES) && login_identify(s);
        if (ok)
            iscsi_negotiation_init(&l->neg, ISCSI_TARGET, s->discovery, &l->offer);
    }
    memcpy(copy, text, len);
    ok = ok && login_walk(s, copy, len, PASS_REST);
    if (ok && l->chap_on && !l->chap_fresh) {
        memcpy(copy, text, len);
        ok = login_chap(s, copy, len);
    }
    free(copy);
    return ok;
}

static void login_finish(struct sess *s)
{
    struct sess_login *l = s->login;

    if (!iscsi_negotiation_done(&l->neg) || iscsi_negotiation_finish(&l->neg)) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "parameters that cannot be together");
        return;
    }
    s->params = l->neg.result;
    s->state = SESS_ASKING;
    s->asking = true;
    reg_join(s);
}

/* The keys were taken and answered in l->out: now the stage. */
static void login_advance(struct sess *s)
{
    struct sess_login *l = s->login;
    const bool wants = l->req.login.transit;

    if (l->stage == ISCSI_STAGE_SECURITY && wants && l->need_chap && !l->auth_done && !l->chap_on) {
        login_fail(s, ISCSI_LOGIN_AUTH_FAILED, "CHAP is required; give the initiator a user and a secret");
        return;
    }
    if (l->stage == ISCSI_STAGE_OPERATIONAL && l->need_chap && !l->auth_done) {
        login_fail(s, ISCSI_LOGIN_AUTH_FAILED, "CHAP is required, and the security stage was left out");
        return;
    }
    if (!s->discovery && !l->tpgt_sent) {
        iscsi_text_addf(&l->out, "TargetPortalGroupTag", "%u", s->group);   /* 13.9: in the first answer */
        l->tpgt_sent = true;
    }
    if (l->stage == ISCSI_STAGE_OPERATIONAL)
        iscsi_negotiation_offer(&l->neg, &l->out);
    if (l->out.overflow) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "more keys than can be answered");
        return;
    }
    if (!wants || (l->stage == ISCSI_STAGE_SECURITY && l->need_chap && !l->auth_done)) {
        rsp_send(s, ISCSI_LOGIN_OK, false);
        return;
    }
    if (l->req.login.nsg == ISCSI_STAGE_FULL_FEATURE) {
        login_finish(s);
        return;
    }
    l->stage = l->req.login.nsg;
    rsp_send(s, ISCSI_LOGIN_OK, true);
}

static bool text_append(struct sess_login *l, const uint8_t *data, uint32_t len)
{
    char *text;

    if (!len)
        return true;
    if (len > LOGIN_TEXT_MAX - l->text_len || !(text = realloc(l->text, l->text_len + len)))
        return false;
    memcpy(text + l->text_len, data, len);
    l->text = text;
    l->text_len += len;
    return true;
}

void login_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct sess_login *l = s->login;

    if (s->state == SESS_ASKING || l->failing)
        return; /* it was told to wait for the answer; what it says meanwhile is lost */
    if (pdu->opcode != ISCSI_OP_LOGIN) {
        sess_close(s, false, "it sent something else than Login requests");
        return;
    }
    if (!rsp_prepare(l)) {
        sess_close(s, false, "it does not wait for answers to its Login requests");
        return;
    }
    if (!request_judge(s, pdu))
        return;
    l->req = *pdu;
    if (!l->begun) {
        login_first(s, pdu);
        if (pdu->login.tsih) {
            s->tsih = pdu->login.tsih;
            s->state = SESS_ASKING;
            s->asking = true;
            reg_probe(s);
            return;
        }
    }
    if (!text_append(l, data, pdu->data_len)) {
        login_fail(s, ISCSI_LOGIN_OUT_OF_RESOURCES, "more than 64 KiB of keys, or no memory for them");
        return;
    }
    if (pdu->login.cont) {
        rsp_send(s, ISCSI_LOGIN_OK, false);
        return;
    }
    if (!login_keys_take(s))
        return;
    l->text_len = 0;
    login_advance(s);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

void login_answered(struct sess *s)
{
    int err;

    if (s->reg.status) {
        s->tsih = 0;
        login_fail(s, s->reg.status,
                   s->reg.status == ISCSI_LOGIN_NO_SESSION ? "no session has that TSIH"
                   : s->reg.status == ISCSI_LOGIN_TOO_MANY ? "a session has one connection here"
                   : s->reg.status == ISCSI_LOGIN_CANNOT_INCLUDE
                       ? "a lost connection is not taken over; log in anew with TSIH 0"
                       : "see the message before");
        return;
    }
    s->joined = true;
    s->tsih = s->reg.tsih;
    s->id = s->reg.id;
    if (!s->discovery && (err = map_update(s, false))) {
        if (err == -ENOMEM)
            login_fail(s, ISCSI_LOGIN_OUT_OF_RESOURCES, "no memory");
        else
            login_fail(s, ISCSI_LOGIN_FORBIDDEN, "access was withdrawn meanwhile");
        return;
    }
    if (!guest_await(s))
        login_conclude(s);
}

void login_conclude(struct sess *s)
{
    struct sess_login *l = s->login;
    const bool shm = guest_settle(s);

    if (s->loop.go)
        iscsi_text_add(&l->out, LOOP_KEY_GO, shm ? "Yes" : "No");
    if (l->out.overflow) {
        login_fail(s, ISCSI_LOGIN_INITIATOR_ERROR, "more keys than can be answered");
        return;
    }
    if (shm)
        s->params.header_digest = s->params.data_digest = 0;   /* whatever else was agreed on */
    rt_log_peer(RT_INFO, "session %llu: %s from %s logged in to %s on core %d (%s%s)", (unsigned long long)s->id,
                s->initiator, s->peer_text, s->discovery ? "discovery" : s->target, rt_core(s->core->rt),
                s->auth, shm ? ", shared memory" : "");
    rsp_send(s, ISCSI_LOGIN_OK, true);
    if (!shm) {
        dm_notice_key_values(s->dm, &s->params);
        dm_enable(s->dm);
    } else if (!guest_enable(s)) {
        sess_close(s, false, "no memory for the change to shared memory");
        return;
    }
    free(l->text);
    l->text = NULL;
    sess_full(s);
}
