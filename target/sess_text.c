/*
 * sess_text.c - NOP, Text and Logout requests, Asynchronous Messages, Reject
 *
 * A Text answer is made piece by piece as the peer asks for it, so a list of any length costs a name and an
 * offset. Pings carry back what fits a chunk of the buffers.
 */
#include <stdlib.h>
#include <string.h>
#include "iscsi/name.h"
#include "target/sess.h"

/* ---- NOP ------------------------------------------------------------------------------------------------- */

void text_nop_out(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct sess_ctl *c;
    uint32_t len;

    /* ITT reserved: the answer to our ping, or a word of ExpStatSN only; neither is answered (11.18). */
    if (pdu->itt == ISCSI_TAG_RESERVED) {
        if (s->ping_at && pdu->ttt == s->ping_ttt)
            s->ping_at = 0;
        return;
    }
    if (!(c = ctl_get(s)))
        return;
    len = pdu->data_len < s->params.peer_recv_data_max ? pdu->data_len : s->params.peer_recv_data_max;
    len = len < BUF_LARGE_LEN ? len : BUF_LARGE_LEN;
    if (len && !ctl_chunk(c, len))
        len = 0;                            /* a ping without its data says more than none */
    if (len) {
        memcpy(c->chunk, data, len);
        c->ctl.data = c->chunk;
    }
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED, .lun = pdu->lun,
        .data_len = len,
    };
    ctl_send(c, true);
}

static uint32_t ttt_next(struct sess *s)
{
    if (++s->next_ttt == ISCSI_TAG_RESERVED)
        s->next_ttt = 1;
    return s->next_ttt;
}

void text_ping(struct sess *s)
{
    struct sess_ctl *c = ctl_get(s);

    if (!c)
        return;
    s->ping_ttt = ttt_next(s);
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = s->ping_ttt,
    };
    ctl_send(c, false);                     /* 11.19: StatSN is the next one, and is not used up */
}

/* ---- Reject ---------------------------------------------------------------------------------------------- */

void text_reject(struct sess *s, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    struct sess_ctl *c = ctl_get(s);

    if (!c)
        return;
    s->rejects++;
    rt_log_peer(RT_WARN, "session %llu of %s from %s: a PDU (%s) was rejected: %s", (unsigned long long)s->id,
                s->initiator, s->peer_text, iscsi_opcode_name(bhs[0] & 0x3f), iscsi_reject_name(reason));
    memcpy(c->small, bhs, ISCSI_BHS_LEN);
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED,
        .data_len = ISCSI_BHS_LEN, .reject = { .reason = (uint8_t)reason },
    };
    c->ctl.data = c->small;
    ctl_send(c, true);
}

/* ---- SendTargets ----------------------------------------------------------------------------------------- */

/* An exchange: what was asked, and how far the answer has come. One at a time. */
struct sess_text {
    uint32_t itt, ttt;
    uint32_t asked_len;                     /* keys of a request that spans PDUs */
    bool answering, all;
    char only[ISCSI_NAME_LEN_MAX + 1];      /* else this target alone */
    char done[ISCSI_NAME_LEN_MAX + 1];      /* the last target that was told whole; empty: none */
    uint32_t record_off;                    /* bytes of the next one's record that were told */
    char prefix[1024];                      /* answers to other keys, told first */
    uint32_t prefix_len, prefix_off;
    uint32_t recv_data_max;                 /* bytes, declared in this exchange, for its end on; 0: not */
    char asked[SESS_TEXT_LEN];
};

static bool addr_is_wildcard_of(const struct snap_portal *p, const struct rt_addr *local, struct rt_addr *out)
{
    if (p->addr.sa.sa_family != local->sa.sa_family)
        return false;
    *out = *local;
    if (local->sa.sa_family == AF_INET)
        out->in.sin_port = p->addr.in.sin_port;
    else
        out->in6.sin6_port = p->addr.in6.sin6_port;
    return true;
}

/* One target: its name and the portals by which this peer may reach it. */
static void record_make(const struct sess *s, const struct snap_target *t, struct iscsi_text *out)
{
    const struct snap *snap = s->core->snap;

    iscsi_text_add(out, "TargetName", t->iqn);
    for (unsigned i = 0; i < snap->portals_nr; i++) {
        const struct snap_portal *p = &snap->portals[i];
        struct rt_addr addr = p->addr;
        char text[RT_ADDR_STR_MAX];

        /* A wildcard is no address: the peer is told the one by which it has come. */
        if (addr.sa.sa_family == AF_UNIX || (p->wildcard && !addr_is_wildcard_of(p, &s->local, &addr)))
            continue;
        rt_addr_format(&addr, text);
        iscsi_text_addf(out, "TargetAddress", "%s,%u", text, p->group);
    }
}

/* The next target after @name that this peer may see. */
static const struct snap_target *target_after(const struct sess *s, const struct sess_text *x)
{
    const struct snap *snap = s->core->snap;
    unsigned lo = 0, hi = snap->targets_nr;
    bool open;

    while (lo < hi) {                       /* the first name behind x->done */
        const unsigned mid = (lo + hi) / 2;

        if (strcmp(snap->targets[mid].iqn, x->done) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < snap->targets_nr; lo++) {
        const struct snap_target *t = &snap->targets[lo];

        if ((x->all || !strcmp(t->iqn, x->only)) && (snap_acl_of(t, s->initiator, &open) || open))
            return t;
    }
    return NULL;
}

/* As much of the answer as fits. Return: bytes; *over when that was the last. */
static uint32_t piece_make(const struct sess *s, struct sess_text *x, char *to, uint32_t max, bool *over)
{
    char record[SESS_TEXT_LEN];
    const struct snap_target *t;
    uint32_t len = x->prefix_len - x->prefix_off;

    len = len < max ? len : max;
    memcpy(to, x->prefix + x->prefix_off, len);
    x->prefix_off += len;
    *over = false;
    if (x->prefix_off < x->prefix_len)
        return len;
    while ((t = target_after(s, x))) {
        struct iscsi_text text;
        uint32_t n;

        iscsi_text_init(&text, record, sizeof(record));
        record_make(s, t, &text);
        n = text.len > x->record_off ? text.len - x->record_off : 0;
        if (n > max - len)
            n = max - len;
        memcpy(to + len, record + x->record_off, n);
        len += n;
        x->record_off += n;
        if (x->record_off < text.len)
            return len;
        memcpy(x->done, t->iqn, sizeof(x->done));
        x->record_off = 0;
    }
    *over = true;
    return len;
}

/* ---- Text ------------------------------------------------------------------------------------------------ */

void text_free(struct sess *s)
{
    free(s->text);
    s->text = NULL;
}

/* Everything asked was told. 6.4: what an exchange settles holds once it is complete. */
static void text_over(struct sess *s, struct sess_text *x)
{
    if (x->recv_data_max) {
        s->params.peer_recv_data_max = x->recv_data_max;
        dm_notice_key_values(s->dm, &s->params);
    }
    text_free(s);
}

/* The peer has more to ask in this exchange: it did not say F. */
static void text_again(struct sess_text *x)
{
    x->asked_len = x->prefix_len = x->prefix_off = x->record_off = 0;
    x->answering = x->all = false;
    *x->only = *x->done = '\0';
}

static void text_answer(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t bhs[static ISCSI_BHS_LEN])
{
    struct sess_text *x = s->text;
    const uint32_t max =
        s->params.peer_recv_data_max < SESS_TEXT_LEN ? s->params.peer_recv_data_max : SESS_TEXT_LEN;
    struct sess_ctl *c = ctl_get(s);
    bool over = false, final;
    uint32_t len = 0;

    if (!c)
        return;
    if (x->answering && !ctl_chunk(c, SESS_TEXT_LEN)) {
        ctl_put(c);
        sess_reject(s, bhs, ISCSI_REJECT_LONG_OPERATION);
        text_free(s);
        return;
    }
    if (x->answering)
        len = piece_make(s, x, c->chunk, max, &over);
    final = over && pdu->final;             /* 11.11.1: never in answer to a request without F */
    x->ttt = final ? ISCSI_TAG_RESERVED : ttt_next(s);
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_TEXT_RESP, .final = final, .itt = pdu->itt, .ttt = x->ttt, .lun = pdu->lun,
        .data_len = len, .text = { .cont = x->answering && !over },
    };
    c->ctl.data = len ? c->chunk : NULL;
    ctl_send(c, true);
    if (final)
        text_over(s, x);
    else if (over)
        text_again(x);
}

/* @value: what SendTargets asks for. RFC 7143 appendix C. Return: the answer to the key itself, or NULL. */
static const char *send_targets(struct sess *s, struct sess_text *x, const char *value)
{
    if (!strcmp(value, "All")) {
        if (!s->discovery)
            return "Reject";
        x->all = true;
        return NULL;
    }
    if (!*value && s->discovery)
        return "Reject";
    if (*value && iscsi_name_refusal(value, x->only))
        return "Reject";
    if (!*value)
        memcpy(x->only, s->target, sizeof(x->only));
    if (!s->discovery && strcmp(x->only, s->target)) {
        *x->only = '\0';                    /* another one's addresses are not this session's to know */
        return "Reject";
    }
    return NULL;
}

/* What we say to a key other than SendTargets; NULL: nothing. Of the operational ones only
 * MaxRecvDataSegmentLength can be declared anew (13.12: "Use: ALL"); the others are the login's. */
static const char *text_key(struct sess *s, struct sess_text *x, const char *key, const char *value)
{
    static const char *const of_login[] = {
        "InitiatorName", "TargetName", "SessionType", "AuthMethod", "TargetAlias", "TargetAddress",
        "TargetPortalGroupTag",
    };
    struct iscsi_negotiation n;
    struct iscsi_text scrap;
    char waste[64];
    enum iscsi_key_result res;

    if (!strcmp(key, "InitiatorAlias"))     /* 13.7: at any time; is shown nowhere */
        return NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(of_login); i++) {
        if (!strcmp(key, of_login[i]))
            return "Reject";
    }
    iscsi_negotiation_init(&n, ISCSI_TARGET, s->discovery, &s->params);
    iscsi_text_init(&scrap, waste, sizeof(waste));
    res = iscsi_negotiation_take(&n, key, value, &scrap);
    if (res == ISCSI_KEY_NOT_OURS)
        return "NotUnderstood";
    if (res != ISCSI_KEY_OK || strcmp(key, "MaxRecvDataSegmentLength"))
        return "Reject";
    x->recv_data_max = n.result.peer_recv_data_max;
    return NULL;
}

/* All of the request is in: its keys are taken. */
static enum iscsi_reject text_keys(struct sess *s, struct sess_text *x)
{
    struct iscsi_text out;
    char *key, *value;
    uint32_t pos = 0;
    int more;

    iscsi_text_init(&out, x->prefix, sizeof(x->prefix));
    while ((more = iscsi_text_next(x->asked, x->asked_len, &pos, &key, &value)) > 0) {
        const bool list = !strcmp(key, "SendTargets");
        const char *answer;

        if (list && (x->all || *x->only))   /* twice */
            return ISCSI_REJECT_PROTOCOL_ERROR;
        answer = list ? send_targets(s, x, value) : text_key(s, x, key, value);
        if (answer)
            iscsi_text_add(&out, key, answer);
    }
    x->prefix_len = out.len;
    return more ? ISCSI_REJECT_PROTOCOL_ERROR : out.overflow ? ISCSI_REJECT_LONG_OPERATION : ISCSI_REJECT_NONE;
}

/* One more request of the exchange. */
static enum iscsi_reject text_take(struct sess *s, struct sess_text *x, const struct iscsi_pdu *pdu,
                                   const uint8_t *data)
{
    if (x->answering)                       /* 6.2: while our answer goes on it has nothing to say */
        return pdu->data_len || pdu->text.cont ? ISCSI_REJECT_PROTOCOL_ERROR : ISCSI_REJECT_NONE;
    if (pdu->data_len > sizeof(x->asked) - x->asked_len)
        return ISCSI_REJECT_LONG_OPERATION;
    if (pdu->data_len)
        memcpy(x->asked + x->asked_len, data, pdu->data_len);
    x->asked_len += pdu->data_len;
    x->answering = !pdu->text.cont;
    return x->answering ? text_keys(s, x) : ISCSI_REJECT_NONE;
}

void text_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data,
                  const uint8_t bhs[static ISCSI_BHS_LEN])
{
    struct sess_text *x = s->text;
    enum iscsi_reject why;

    if (pdu->ttt == ISCSI_TAG_RESERVED) {   /* a new exchange; one that was under way is over (11.10.4) */
        text_free(s);
        s->text = x = calloc(1, sizeof(*x));
        if (!x) {
            sess_reject(s, bhs, ISCSI_REJECT_LONG_OPERATION);
            return;
        }
        x->itt = pdu->itt;
    } else if (!x || pdu->ttt != x->ttt || pdu->itt != x->itt) {
        sess_reject(s, bhs, ISCSI_REJECT_PROTOCOL_ERROR);
        return;
    }
    if ((why = text_take(s, x, pdu, data))) {
        text_free(s);
        sess_reject(s, bhs, why);
        return;
    }
    text_answer(s, pdu, bhs);
}

/* ---- Logout and Asynchronous Messages -------------------------------------------------------------------- */

void text_logout(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t bhs[static ISCSI_BHS_LEN])
{
    struct sess_ctl *c;
    uint8_t response = ISCSI_LOGOUT_OK;

    if (pdu->logout.reason > ISCSI_LOGOUT_RECOVERY) {
        sess_reject(s, bhs, ISCSI_REJECT_INVALID_FIELD);
        return;
    }
    if (pdu->logout.reason == ISCSI_LOGOUT_RECOVERY)
        response = ISCSI_LOGOUT_NO_RECOVERY;
    else if (pdu->logout.reason == ISCSI_LOGOUT_CONNECTION && pdu->logout.cid != s->cid)
        response = ISCSI_LOGOUT_NO_CID;
    if (response == ISCSI_LOGOUT_OK) {      /* 11.14: what is under way ends without an answer */
        rt_list_for_safe(l, &s->tasks)
            task_abort(rt_list_entry(l, struct sess_task, link), false);
        s->logged_out = true;
    }
    if (!(c = ctl_get(s)))
        return;
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_LOGOUT_RESP, .final = true, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED,
        .logout = { .response = response, .time2wait_s = (uint16_t)s->params.time2wait_s,
                    .time2retain_s = (uint16_t)s->params.time2retain_s },
    };
    ctl_send(c, true);
    if (response == ISCSI_LOGOUT_OK) {
        rt_log_peer(RT_INFO, "session %llu of %s from %s logged out", (unsigned long long)s->id, s->initiator,
                    s->peer_text);
        sess_close(s, true, NULL);
    }
}

void text_async_logout(struct sess *s, uint16_t seconds)
{
    struct sess_ctl *c = ctl_get(s);

    if (!c)
        return;
    c->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED,
        .async = { .event = ISCSI_ASYNC_LOGOUT_REQUEST, .param3 = seconds },
    };
    ctl_send(c, true);
}
