/*
 * ini_login.c - the login phase (RFC 7143 6, 11.12, 11.13, 12.1)
 *
 * Security stage, operational stage, full feature phase. With credentials CHAP alone is offered, without them
 * None alone: nobody is to find out later that the other one was used. Owns the text of both directions and
 * what a refusal means; connections and retries are ini_sess.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"

static bool with_chap(const struct ini_sess *s)
{
    return s->conf.set.user.name[0];
}

/* ---- requests ------------------------------------------------------------------------------------------- */

static void offer_make(const struct ini_sess *s, struct iscsi_params *out)
{
    const struct ini_settings *set = &s->conf.set;

    iscsi_params_default(out);
    out->connections_max = 1;
    out->initial_r2t = (uint32_t)set->initial_r2t;
    out->immediate_data = (uint32_t)set->immediate_data;
    out->recv_data_max = s->discovery ? 32768 : (uint32_t)set->recv_data_max;
    out->burst_max = (uint32_t)set->burst_max;
    out->first_burst_max = min_u32((uint32_t)set->first_burst_max, (uint32_t)set->burst_max);
    out->time2wait_s = (uint32_t)set->time2wait_s;
    out->time2retain_s = (uint32_t)set->time2retain_s;
    out->r2t_max = min_u32((uint32_t)set->r2t_max, DM_R2T_MAX);
    out->pdu_in_order = out->seq_in_order = 1;
    out->erl = 0;
    out->header_digest_pref = (enum iscsi_digest_pref)set->header_digest;
    out->data_digest_pref = (enum iscsi_digest_pref)set->data_digest;
}

static void login_send(struct ini_sess *s, const struct iscsi_text *text, bool transit)
{
    struct ini_login *l = s->login;
    const bool operational = l->stage == LOGIN_OPERATIONAL;
    struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_LOGIN,
        .data_len = text ? text->len : 0,
        .final = transit,
        .itt = s->login->itt,               /* one for the whole login */
        .login = {
            .transit = transit,
            .csg = operational ? ISCSI_STAGE_OPERATIONAL : ISCSI_STAGE_SECURITY,
            .nsg = !transit ? 0 : operational ? ISCSI_STAGE_FULL_FEATURE : ISCSI_STAGE_OPERATIONAL,
        },
    };

    memcpy(pdu.login.isid, s->conf.isid, sizeof(pdu.login.isid));
    if (text && text->overflow) {
        s->hopeless = true;
        ini_conn_lost(s, -EPROTO, "the target asks for more in its login than fits an answer");
        return;
    }
    ini_ctl_send(s, INI_TAG_LOGIN, &pdu, l->out);
    l->itt = s->ctl[INI_TAG_LOGIN].itt;
}

int ini_login_begin(struct ini_sess *s)
{
    struct ini_login *l = malloc(sizeof(*l));
    struct iscsi_text t;
    uint8_t random[33];

    if (!l)
        return -ENOMEM;
    s->login = l;
    l->stage = with_chap(s) ? LOGIN_AUTH_METHOD : LOGIN_SECURITY_END;
    l->chap_done = false;
    l->pdus = 0;
    l->tpgt = -1;
    l->itt = 0;
    l->in_len = 0;
    l->loop = LOOP_NONE;
    l->loop_told = l->loop_yes = false;
    offer_make(s, &l->offer);
    iscsi_negotiation_init(&l->keys, ISCSI_INITIATOR, s->discovery, &l->offer);
    rt_random(s->rt, random, sizeof(random));
    chap_initiator_init(&l->chap, &s->conf.set.user,
                        s->conf.set.user_in.name[0] || s->conf.set.user_in.secret_len ? &s->conf.set.user_in
                                                                                      : NULL,
                        s->chap_md5_only ? 1u << CHAP_MD5 : s->chap_algs, random);
    rt_random(s->rt, random, 4);
    s->cmd_sn = load_be32(random);
    s->exp_stat_sn = 0;

    iscsi_text_init(&t, l->out, sizeof(l->out));
    iscsi_text_add(&t, "InitiatorName", s->conf.initiator);
    if (s->conf.alias[0])
        iscsi_text_add(&t, "InitiatorAlias", s->conf.alias);
    if (!s->discovery)
        iscsi_text_add(&t, "TargetName", s->conf.target);
    iscsi_text_add(&t, "SessionType", s->discovery ? "Discovery" : "Normal");
    iscsi_text_add(&t, "AuthMethod", with_chap(s) ? "CHAP" : "None");
    login_send(s, &t, !with_chap(s));
    return 0;
}

/* ---- refusals ------------------------------------------------------------------------------------------- */

static void refuse(struct ini_sess *s, int err, const char *what)
{
    s->hopeless = true;
    ini_conn_lost(s, err, "login to %s: %s", s->discovery ? "the portal" : "the target", what);
}

/* What is found in the text of a response, whatever else it says. */
static const char *text_find(const char *in, uint32_t len, const char *key)
{
    const size_t n = strlen(key);

    for (uint32_t at = 0; at < len;) {
        const char *p = in + at;
        const size_t left = len - at, size = strnlen(p, left);

        if (size == left)
            return NULL;                    /* not terminated */
        if (size > n && p[n] == '=' && !strncmp(p, key, n))
            return p + n + 1;
        at += (uint32_t)size + 1;
    }
    return NULL;
}

static bool same_portal(const struct iscsi_portal *a, const struct iscsi_portal *b)
{
    return a->port == b->port && !strcasecmp(a->host, b->host);
}

static void redirected(struct ini_sess *s, bool for_good)
{
    const char *to = text_find(s->login->in, s->login->in_len, "TargetAddress"), *bad;
    struct iscsi_portal portal;
    char text[ISCSI_PORTAL_STR_MAX];

    bad = to ? iscsi_portal_parse(&portal, to) : "no TargetAddress";
    if (bad) {
        ini_conn_lost(s, -EPROTO, "the target has moved but does not say where: %s", bad);
        return;
    }
    iscsi_portal_format(&portal, text);
    for (unsigned i = 0; i <= s->hops; i++)
        if (same_portal(&s->hop[i], &portal)) {
            s->hopeless = true;
            ini_conn_lost(s, -ELOOP,
                          "the target's portals redirect logins in a circle (%s again); mend its configuration",
                          text);
            return;
        }
    if (s->hops == INI_HOPS_MAX) {
        s->hopeless = true;
        ini_conn_lost(s, -ELOOP, "the login was redirected more than %u times, last to %s", INI_HOPS_MAX, text);
        return;
    }
    if (s->hops == 0 || for_good)
        rt_log(RT_INFO, "%s: has moved%s to %s", s->conf.target, for_good ? " for good" : "", text);
    s->hop[++s->hops] = s->portal = portal;
    if (for_good)
        s->moved = portal;
    s->again = true;
    ini_conn_lost(s, -EAGAIN, "moved to %s", text);
}

static int status_errno(uint16_t status)
{
    switch (status) {
    case ISCSI_LOGIN_AUTH_FAILED:
    case ISCSI_LOGIN_FORBIDDEN:        return -EACCES;
    case ISCSI_LOGIN_NOT_FOUND:
    case ISCSI_LOGIN_REMOVED:          return -ENOENT;
    case ISCSI_LOGIN_TOO_MANY:
    case ISCSI_LOGIN_OUT_OF_RESOURCES: return -EUSERS;
    case ISCSI_LOGIN_UNAVAILABLE:      return -EAGAIN;
    default:                           return status >> 8 == 3 ? -EREMOTEIO : -EPROTO;
    }
}

/* A list of digests is refused by targets that know MD5 alone, each in its own way: by a status, by "Reject",
 * by hanging up. tgt takes 7 for SHA-1 (it is SHA-256) and refuses a proof that is right. So whatever goes wrong
 * from the offer to the end of the stage is tried once more with MD5, unless that is what was tried. */
void ini_login_offer_less(struct ini_sess *s)
{
    const struct ini_login *l = s->login;
    const unsigned md5 = 1u << CHAP_MD5;

    if (!with_chap(s) || l->stage < LOGIN_CHAP_ALG || l->stage == LOGIN_OPERATIONAL)
        return;
    if (!(l->chap.algs & md5) || l->chap.algs == md5 || l->chap.alg == CHAP_MD5)
        return;
    s->chap_md5_only = true;
    s->chap_refusal.err = 0;                /* to be noted with its reason when the connection is gone */
    s->again = true;
}

static void refused(struct ini_sess *s, uint16_t status)
{
    const char *advice = NULL, *text = iscsi_login_status_text(status, &advice);

    if (status == ISCSI_LOGIN_MOVED_TEMP || status == ISCSI_LOGIN_MOVED_PERM) {
        redirected(s, status == ISCSI_LOGIN_MOVED_PERM);
        return;
    }
    if (status >> 8 == 2) {
        ini_login_offer_less(s);
        ini_loop_unanswered(s, INI_HANGUPS_MAX);
    }
    s->hopeless = status >> 8 != 3;         /* class 3: the target's own trouble, which may pass */
    ini_conn_lost(s, status_errno(status), "login refused: %s (status %04x)%s%s", text, status,
                  advice ? "; " : "", advice ? advice : "");
}

/* ---- responses ------------------------------------------------------------------------------------------ */

/* Keys that say something and ask nothing. */
static bool told(struct ini_sess *s, const char *key, const char *value)
{
    static const char *const heard[] = { "TargetAlias",    "TargetAddress", "TargetName", "InitiatorName",
                                         "InitiatorAlias", "SessionType",   "SendTargets" };
    uint64_t v;

    if (!strcmp(key, "TargetPortalGroupTag")) {
        if (!iscsi_text_number(value, &v) && v <= 0xffff)
            s->login->tpgt = (int32_t)v;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(heard); i++)
        if (!strcmp(key, heard[i]))
            return true;
    return false;
}

static bool is_refusal(const char *value)
{
    return !strcmp(value, "Reject") || !strcmp(value, "NotUnderstood") || !strcmp(value, "Irrelevant");
}

/* One pair. Return: false when the login is over. */
static bool key_take(struct ini_sess *s, const char *key, const char *value, struct iscsi_text *answer)
{
    struct ini_login *l = s->login;
    char why[ISCSI_KEY_LEN_MAX + 60];

    if (told(s, key, value) || ini_loop_told(s, key, value))
        return true;
    if (!strcmp(key, "AuthMethod")) {
        const char *want = with_chap(s) ? "CHAP" : "None";

        if (!strcmp(value, want))
            return true;
        refuse(s, -EACCES,
               with_chap(s) ? "it does not do CHAP; remove the user name from the settings, or set CHAP up "
                              "on the target"
                            : "it asks for CHAP; set a user name and a secret");
        return false;
    }
    if (!strncmp(key, "CHAP_", 5))
        return true;                        /* chap_initiator_step() reads them itself */
    if (l->stage != LOGIN_OPERATIONAL && is_refusal(value))
        return true;
    switch (iscsi_negotiation_take(&l->keys, key, value, answer)) {
    case ISCSI_KEY_OK:
    case ISCSI_KEY_REJECTED:
        return true;
    case ISCSI_KEY_NOT_OURS:
        if (!is_refusal(value))
            iscsi_text_add(answer, key, "NotUnderstood");
        return true;
    case ISCSI_KEY_AGAIN:
        snprintf(why, sizeof(why), "it negotiates %.63s a second time", key);
        break;
    default:
        snprintf(why, sizeof(why), "%.63s: not an answer to what was offered", key);
        break;
    }
    refuse(s, -EPROTO, why);
    return false;
}

static void operational_begin(struct ini_sess *s)
{
    struct ini_login *l = s->login;
    struct iscsi_text t;

    l->stage = LOGIN_OPERATIONAL;
    iscsi_text_init(&t, l->out, sizeof(l->out));
    iscsi_negotiation_offer(&l->keys, &t);
    if (ini_loop_offer(s, &t))
        login_send(s, &t, l->loop == LOOP_NONE);
}

void ini_login_go_on(struct ini_sess *s)
{
    login_send(s, &s->login->answer, true);
}

/* Return: true when the stage may end, false when something was sent or the login is over. */
static bool chap_go_on(struct ini_sess *s, char *copy, uint32_t len, struct iscsi_text *t)
{
    struct ini_login *l = s->login;
    const bool mutual = s->conf.set.user_in.secret_len;
    enum chap_step step;

    if (l->chap_done)
        return true;
    step = chap_initiator_step(&l->chap, copy, len, t);
    if (step == CHAP_FAILED || step == CHAP_NO_ALG) {
        ini_login_offer_less(s);
        refuse(s, -EACCES,
               step == CHAP_NO_ALG                ? "it knows none of the CHAP digests that we may use"
               : l->stage == LOGIN_CHAP && mutual ? "it does not know the secret that it must prove "
                                                    "(username_in, password_in)"
                                                  : "its CHAP does not follow the rules");
        return false;
    }
    if (l->stage == LOGIN_AUTH_METHOD) {
        l->stage = LOGIN_CHAP_ALG;
        login_send(s, t, false);
        return false;
    }
    l->chap_done = step == CHAP_DONE;
    if (l->stage == LOGIN_CHAP)
        return true;                        /* the target's own proof, which was the last */
    l->stage = LOGIN_CHAP;
    login_send(s, t, true);
    return false;
}

/* Return: true to go on with this response. */
static bool text_take(struct ini_sess *s, struct iscsi_text *answer)
{
    struct ini_login *l = s->login;
    uint32_t pos = 0;
    char *key, *value;
    int got;

    while ((got = iscsi_text_next(l->in, l->in_len, &pos, &key, &value)) == 1)
        if (!key_take(s, key, value, answer))
            return false;
    if (got < 0) {
        refuse(s, -EPROTO, "what it answers is no text of keys and values");
        return false;
    }
    return true;
}

static void security_response(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    struct ini_login *l = s->login;
    char *copy = NULL;
    struct iscsi_text t;
    const uint32_t len = l->in_len;
    bool end = true;

    iscsi_text_init(&t, l->out, sizeof(l->out));
    if (with_chap(s)) {
        copy = malloc(len + 1);             /* the walk over the keys writes into the text */
        if (!copy) {
            ini_conn_lost(s, -ENOMEM, "no memory for a login");
            return;
        }
        memcpy(copy, l->in, len);
        if (l->stage == LOGIN_AUTH_METHOD && !text_find(l->in, len, "AuthMethod")) {
            free(copy);
            refuse(s, -EACCES, "it does not say whether it does CHAP");
            return;
        }
    }
    if (!text_take(s, &t)) {
        free(copy);
        return;
    }
    if (copy)
        end = chap_go_on(s, copy, len, &t);
    free(copy);
    if (!end)
        return;
    l->stage = LOGIN_SECURITY_END;
    if (pdu->login.transit && pdu->login.nsg == ISCSI_STAGE_OPERATIONAL && t.len == 0)
        operational_begin(s);
    else if (pdu->login.transit)
        refuse(s, -EPROTO, "it goes to a stage of the login that was not asked for");
    else
        login_send(s, &t, true);
}

static void login_finished(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    struct ini_login *l = s->login;

    if (iscsi_negotiation_finish(&l->keys)) {
        refuse(s, -EPROTO, "it leaves a key unanswered that must be agreed on");
        return;
    }
    if (!pdu->login.tsih && !s->discovery) {
        refuse(s, -EPROTO, "it gives the session no number");
        return;
    }
    s->params = l->keys.result;
    s->tsih = pdu->login.tsih;
    s->exp_cmd_sn = pdu->exp_cmd_sn;
    s->max_cmd_sn = pdu->max_cmd_sn;
    /* 4.2.2.1: a window that makes no sense admits one command. */
    if (pdu->exp_cmd_sn != s->cmd_sn || iscsi_sn_lt(pdu->max_cmd_sn, pdu->exp_cmd_sn - 1)) {
        s->exp_cmd_sn = s->cmd_sn;
        if (iscsi_sn_lt(pdu->max_cmd_sn, s->cmd_sn))
            s->max_cmd_sn = s->cmd_sn;
    }
    if (ini_loop_enable(s))
        ini_logged_in(s);
}

static void operational_response(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    struct ini_login *l = s->login;
    struct iscsi_text t;

    iscsi_text_init(&t, l->out, sizeof(l->out));
    if (!text_take(s, &t))
        return;
    if (pdu->login.transit && pdu->login.nsg == ISCSI_STAGE_FULL_FEATURE)
        login_finished(s, pdu);
    else if (pdu->login.transit)
        refuse(s, -EPROTO, "it goes to a stage of the login that was not asked for");
    else if (ini_loop_answered(s, &t))
        login_send(s, &t, true);
}

/* Whether the header is one that may come here and now. */
static const char *response_refusal(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    struct ini_login *l = s->login;

    if (pdu->opcode != ISCSI_OP_LOGIN_RESP)
        return "it sent something else than a login response";
    if (!ini_ctl_answered(s, INI_TAG_LOGIN, pdu->itt))
        return "it answered a login that was not sent";
    if (++l->pdus > INI_LOGIN_PDUS_MAX)
        return "it does not come to an end";
    if (pdu->login.status)
        return NULL;
    if (pdu->login.version_min)             /* Version-active stands there in a response */
        return "it speaks a version of iSCSI other than 0";
    if (memcmp(pdu->login.isid, s->conf.isid, sizeof(pdu->login.isid)))
        return "it answered another initiator's login (ISID)";
    if (pdu->login.csg != (l->stage == LOGIN_OPERATIONAL ? ISCSI_STAGE_OPERATIONAL : ISCSI_STAGE_SECURITY))
        return "it is in another stage of the login";
    if (pdu->login.transit && pdu->login.cont)
        return "it says that it is done and that there is more";
    if (pdu->data_len > INI_TEXT_MAX - l->in_len)
        return "its text has no end";
    return NULL;
}

void ini_login_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct ini_login *l = s->login;
    const char *bad = response_refusal(s, pdu);

    if (bad) {
        refuse(s, -EPROTO, bad);
        return;
    }
    s->exp_stat_sn = pdu->stat_sn + 1;
    if (pdu->data_len && pdu->data_len <= INI_TEXT_MAX - l->in_len) {
        memcpy(l->in + l->in_len, data, pdu->data_len);
        l->in_len += pdu->data_len;
    }
    if (pdu->login.status) {
        refused(s, pdu->login.status);
        return;
    }
    if (pdu->login.cont) {                  /* more of the same text follows an empty request */
        login_send(s, NULL, false);
        return;
    }
    if (l->stage == LOGIN_OPERATIONAL)
        operational_response(s, pdu);
    else
        security_response(s, pdu);
    if (s->login)                           /* not yet through */
        s->login->in_len = 0;
}
