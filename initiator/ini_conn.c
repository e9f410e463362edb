/*
 * ini_conn.c - the connection of a session: from the look-up of a name to the datamover's closed()
 *
 * Owns what connects, what comes that is no command's answer, the timers that bound each step, and when the
 * next attempt is made. What a login says is ini_login.c's, what becomes of commands ini_task.c's.
 *
 * A connection ends in one place, conn_gone(): by then nothing touches any command's memory, and what follows
 * (the next address, a retry, recovery, the end of a stop) depends on the session's state alone.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"

static void conn_connect(struct ini_sess *s);
static void conn_gone(struct ini_sess *s);

void ini_why(struct ini_sess *s, int err, const char *fmt, ...)
{
    va_list ap;

    s->err = err;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, ap);
    va_end(ap);
}

/* ---- PDUs of the session's own -------------------------------------------------------------------------- */

static void ctl_put(struct ini_sess *s, struct ini_ctl *c, const struct iscsi_pdu *pdu, const void *data);
static void note_next(struct ini_sess *s);

static void ctl_sent(struct dm_ctl *ctl, int err)
{
    struct ini_ctl *c = container_of(ctl, struct ini_ctl, ctl);
    struct ini_sess *s = c->sess;

    c->out = false;
    if (err || s->conn == CONN_NONE || s->conn == CONN_CLOSING)
        return;
    if (c == &s->ctl[INI_TAG_NOTE]) {
        note_next(s);
    } else if (c->pending) {
        c->pending = false;
        ctl_put(s, c, &c->next, c->next_data);
    }
}

static void ctl_put(struct ini_sess *s, struct ini_ctl *c, const struct iscsi_pdu *pdu, const void *data)
{
    c->ctl = (struct dm_ctl){ .pdu = *pdu, .data = data, .sent = ctl_sent };
    if (pdu->immediate)
        c->ctl.pdu.cmd_sn = s->cmd_sn;
    c->ctl.pdu.exp_stat_sn = s->exp_stat_sn;
    c->sess = s;
    c->out = true;
    c->sent_ns = rt_clock(s->rt);
    dm_send_control(s->dm, &c->ctl);
}

void ini_ctl_send(struct ini_sess *s, enum ini_tag tag, const struct iscsi_pdu *pdu, const void *data)
{
    struct ini_ctl *c = &s->ctl[tag];

    assert(!c->pending);
    c->next = *pdu;
    c->next.immediate = true;               /* the window never stands in the way of these */
    if (!c->next.itt)
        c->next.itt = ini_itt((uint16_t)(INI_TAG_SLOT + tag), ++s->gen);
    c->next_data = data;
    c->itt = c->next.itt;
    c->waits = true;
    c->sent_ns = rt_clock(s->rt);
    if (c->out)
        c->pending = true;
    else
        ctl_put(s, c, &c->next, data);
}

/* 11.18: an answer has the reserved tag, which goes with the immediate bit alone; what fills a gap has neither,
 * and its answer is ignored. */
static void note_next(struct ini_sess *s)
{
    struct ini_ctl *c = &s->ctl[INI_TAG_NOTE];
    const struct ini_note *n = &s->note[s->note_first];
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_NOP_OUT, .final = true };
    const bool gap = n->ttt == ISCSI_TAG_RESERVED;

    if (c->out || !s->note_nr || s->conn != CONN_FULL)
        return;
    s->note_first = (s->note_first + 1) % INI_NOTES_MAX;
    s->note_nr--;
    pdu.immediate = !gap;
    pdu.lun = n->lun;
    pdu.ttt = n->ttt;
    pdu.cmd_sn = n->cmd_sn;
    pdu.itt = gap ? ini_itt(INI_TAG_SLOT + INI_TAG_NOTE, ++s->gen) : ISCSI_TAG_RESERVED;
    ctl_put(s, c, &pdu, NULL);
}

bool ini_note_send(struct ini_sess *s, const struct ini_note *note)
{
    if (s->conn != CONN_FULL)
        return true;                        /* nothing goes out behind a Logout, 11.14 */
    if (s->note_nr == INI_NOTES_MAX)
        return false;
    s->note[(s->note_first + s->note_nr++) % INI_NOTES_MAX] = *note;
    note_next(s);
    return true;
}

bool ini_ctl_answered(struct ini_sess *s, enum ini_tag tag, uint32_t itt)
{
    struct ini_ctl *c = &s->ctl[tag];

    /* What is pending has not gone out yet. Its tag may be that of the one before, as in a login: then this is a second
     * answer to that one. */
    if (!c->waits || c->pending || c->itt != itt)
        return false;
    c->waits = false;
    return true;
}

/* ---- what comes ----------------------------------------------------------------------------------------- */

/* StatSN counts responses (RFC 7143 4.2.2.2). Without digest recovery a hole cannot be filled. */
static bool stat_sn_take(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    if (pdu->opcode == ISCSI_OP_NOP_IN && pdu->itt == ISCSI_TAG_RESERVED)
        return true;                        /* carries the next number without using it up, 11.19.3 */
    if (pdu->stat_sn == s->exp_stat_sn) {
        s->exp_stat_sn++;
        return true;
    }
    /* A duplicate, ignored. There are none in memory, where the datamover holds that a command which was answered is over. */
    if (iscsi_sn_lt(pdu->stat_sn, s->exp_stat_sn) && !s->loop.on)
        return false;
    ini_conn_lost(s, -EPROTO, "a response of the target is missing (StatSN %u instead of %u)", pdu->stat_sn,
                  s->exp_stat_sn);
    return false;
}

static void logout_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)data;
    if (!ini_ctl_answered(s, INI_TAG_LOGOUT, pdu->itt))
        return;
    if (s->state == INI_LOGOUT) {
        s->logged_out = pdu->logout.response == ISCSI_LOGOUT_OK && !s->ghosts && !s->flight_nr;
        ini_conn_end(s);
    } else {
        if (pdu->logout.response == ISCSI_LOGOUT_OK)
            s->wait_ns = 0;                 /* nothing is left to wait for */
        ini_conn_lost(s, 0, "the target asked for a new login");
    }
}

/* A SCSI event: sense data as in a response. That the list of LUNs changed, and how one is reached, mean something. */
static void scsi_event(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct scsi_sense sense;
    struct ini_lun *l;
    uint16_t lun;
    uint32_t len;

    if (pdu->data_len < 2)
        return;
    len = min_u32(load_be16(data), pdu->data_len - 2);
    if (scsi_sense_decode(&sense, data + 2, len) || sense.key != SCSI_UNIT_ATTENTION)
        return;
    if (ini_alua_concerns(&sense) && !scsi_lun_decode(pdu->lun, &lun) && (l = ini_lun_find(s, lun)))
        ini_alua_stale(l);
    if (sense.asc == 0x3f && sense.ascq == 0x0e && s->events.luns_changed)
        s->events.luns_changed(s->user);
}

static void async_message(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    switch (pdu->async.event) {
    case ISCSI_ASYNC_SCSI:
        scsi_event(s, pdu, data);
        return;
    case ISCSI_ASYNC_LOGOUT_REQUEST:
    case ISCSI_ASYNC_NEGOTIATE:
        if (s->state != INI_UP || s->leaving)
            return;
        /* param3: seconds until the target drops us; what is in flight may end in half of them. */
        s->leaving = true;
        s->sending = false;
        s->leave_ns = rt_now(s->rt) + min_u64(pdu->async.param3 * RT_S / 2, 3 * RT_S);
        ini_tick_soon(s);
        ini_drain_check(s);
        return;
    case ISCSI_ASYNC_DROP_CONNECTION:
    case ISCSI_ASYNC_DROP_ALL:
        s->wait_ns = min_u64(pdu->async.param2 * RT_S, 60 * RT_S);
        ini_conn_lost(s, -ECONNRESET, "the target drops the connection (asynchronous event %u)",
                      pdu->async.event);
        return;
    case ISCSI_ASYNC_TASK_TERMINATION:
        ini_conn_lost(s, -ECONNRESET, "the target ended all tasks (asynchronous event %u)", pdu->async.event);
        return;
    default:
        return;                             /* vendor's; nothing that we know */
    }
}

/* 7.3: a command that was rejected counts as never received, and those after it wait for one with its number. Some
 * targets count it all the same: their ExpCmdSN says so; and should it say so later, what fills the gap is a
 * duplicate, which they ignore. */
static void gap_fill(struct ini_sess *s, const struct iscsi_pdu *bad)
{
    const struct ini_note note = { .ttt = ISCSI_TAG_RESERVED, .cmd_sn = bad->cmd_sn };

    if (bad->immediate || iscsi_sn_lt(bad->cmd_sn, s->exp_cmd_sn) || !iscsi_sn_lt(bad->cmd_sn, s->cmd_sn))
        return;
    if (!ini_note_send(s, &note))
        ini_conn_lost(s, -EPROTO, "the target rejects more than is taken from it");
}

/* Not a word against the request: the target has no room for it now. */
static bool no_room(const struct iscsi_pdu *pdu)
{
    return pdu->reject.reason == ISCSI_REJECT_IMMEDIATE || pdu->reject.reason == ISCSI_REJECT_LONG_OPERATION;
}

static void command_rejected(struct ini_sess *s, const struct iscsi_pdu *pdu, const struct iscsi_pdu *bad)
{
    struct ini_task *t = ini_task_find(s, bad->itt);

    if (!t || t->cmd_sn != bad->cmd_sn)
        return;
    if (no_room(pdu))
        ini_task_crowded(s, t);
    else
        ini_task_fail(s, t, -EPROTO);
    gap_fill(s, bad);
}

/* RFC 7143 11.17: the header that was rejected is the data. */
static void rejected(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct iscsi_pdu bad;

    if (++s->rejects > INI_REJECTS_MAX) {
        ini_conn_lost(s, -EPROTO, "the target rejects one request after another (%s)",
                      iscsi_reject_name(pdu->reject.reason));
        return;
    }
    if (pdu->reject.reason == ISCSI_REJECT_WAITING_FOR_LOGOUT) {
        s->leaving = true;
        s->sending = false;
        s->leave_ns = rt_now(s->rt);
        ini_drain_check(s);
        return;
    }
    if (pdu->data_len < ISCSI_BHS_LEN || iscsi_pdu_decode(&bad, data, ISCSI_FROM_INITIATOR))
        return;
    switch (bad.opcode) {
    case ISCSI_OP_SCSI_CMD:
        command_rejected(s, pdu, &bad);
        return;
    case ISCSI_OP_TMF:
        if (ini_ctl_answered(s, INI_TAG_TMF, bad.itt))
            ini_tmf_rejected(s, no_room(pdu));
        return;
    case ISCSI_OP_NOP_OUT:
        if (ini_ctl_answered(s, INI_TAG_NOP, bad.itt))
            s->rejects--;                   /* an answer of sorts: it lives; and no more of them than our pings */
        return;
    case ISCSI_OP_TEXT:
        if (ini_ctl_answered(s, INI_TAG_TEXT, bad.itt) && s->text_done)
            s->text_done(s, NULL, NULL, -EPROTO);
        return;
    case ISCSI_OP_LOGOUT:
        if (ini_ctl_answered(s, INI_TAG_LOGOUT, bad.itt))
            ini_conn_lost(s, -EPROTO, "the target rejects the logout");
        return;
    default:
        return;                             /* of data: the command's own response says what became of it */
    }
}

static void nop_in(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)data;
    ini_nop_in(s, pdu);
}

static void tmf_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)data;
    ini_tmf_response(s, pdu);
}

static const struct {
    void (*take)(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);
} takers[64] = {                            /* full feature phase, by opcode */
    [ISCSI_OP_SCSI_RESP]   = { ini_task_notify },
    [ISCSI_OP_DATA_IN]     = { ini_task_notify },
    [ISCSI_OP_TMF_RESP]    = { tmf_response },
    [ISCSI_OP_NOP_IN]      = { nop_in },
    [ISCSI_OP_TEXT_RESP]   = { ini_text_response },
    [ISCSI_OP_LOGOUT_RESP] = { logout_response },
    [ISCSI_OP_ASYNC]       = { async_message },
    [ISCSI_OP_REJECT]      = { rejected },
};

static void on_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct ini_sess *s = user;

    if (s->conn == CONN_LOGIN) {
        ini_login_response(s, pdu, data);
        return;
    }
    if (s->conn != CONN_FULL && s->conn != CONN_LOGOUT)
        return;
    if (!takers[pdu->opcode].take) {
        ini_conn_lost(s, -EPROTO, "the target sent a %s out of place", iscsi_opcode_name(pdu->opcode));
        return;
    }
    ini_tasks_window(s, pdu);
    if (!stat_sn_take(s, pdu))
        return;
    takers[pdu->opcode].take(s, pdu, data);
    ini_tasks_pump(s);
}

static void on_released(void *user, struct dm_task *task)
{
    ini_task_released(user, task);
}

static void on_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    ini_conn_lost(user, -EPROTO, "the target sent a PDU that breaks the protocol (%s: %s)",
                  iscsi_opcode_name(bhs[0] & 0x3f), iscsi_reject_name(reason));
}

static const char *lost_words(int err)
{
    switch (err) {
    case -EBADMSG: return "a digest does not match: data were damaged on the way";
    case -EPROTO:  return "what the target sent breaks the protocol";
    case -ENOBUFS: return "the memory shared with the target is used up";
    default:       return strerror(-err);
    }
}

static void on_terminate(void *user, int err)
{
    struct ini_sess *s = user;

    if (err == -EBADMSG)
        s->digest_errors++;
    if (err == -ENOBUFS)
        ini_loop_spent(s);
    if (s->conn == CONN_LOGIN) {
        ini_login_offer_less(s);
        ini_loop_unanswered(s, 1);
    }
    ini_conn_lost(s, err, "%s", lost_words(err));
}

static void on_at_rest(void *user)
{
    ini_move_at_rest(user);
}

static void on_closed(void *user)
{
    struct ini_sess *s = user;

    dm_free(s->dm);
    s->dm = NULL;
    conn_gone(s);
}

const struct dm_events ini_dm_events = {
    .control_notify = on_control,
    .task_released = on_released,
    .reject_notify = on_reject,
    .terminate_notify = on_terminate,
    .at_rest = on_at_rest,
    .closed = on_closed,
};

/* ---- a connection --------------------------------------------------------------------------------------- */

void ini_conn_end(struct ini_sess *s)
{
    const uint8_t conn = s->conn;

    rt_timer_disarm(s->rt, &s->phase);
    if (conn == CONN_NONE || conn == CONN_CLOSING)
        return;
    ini_move_off(s, -EAGAIN, "its connection broke");
    s->conn = CONN_CLOSING;
    switch (conn) {
    case CONN_RESOLVING:
        s->lookup->sess = NULL;             /* cannot be called back: it frees itself when it ends */
        s->lookup = NULL;
        rt_defer(s->rt, &s->gone_op);
        return;
    case CONN_CONNECTING:
        rt_cancel(&s->connect_op);
        return;
    default:
        dm_terminate(s->dm, s->logged_out); /* else what the target has not got yet is not to get there any more */
        return;
    }
}

void ini_conn_lost(struct ini_sess *s, int err, const char *fmt, ...)
{
    va_list ap;

    if (s->conn == CONN_NONE || s->conn == CONN_CLOSING)
        return;
    s->err = err;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, ap);
    va_end(ap);
    if (s->state == INI_UP && s->stopping)
        ini_sess_step(s, EV_STOP);          /* was draining: no way to log out any more */
    else if (s->state == INI_UP)
        ini_sess_step(s, EV_LOST);
    ini_conn_end(s);
}

static void phase_over(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, phase);

    switch (s->conn) {
    case CONN_RESOLVING:                    /* the look-up itself goes on, and is forgotten */
        ini_conn_lost(s, -ETIMEDOUT, "no answer to the look-up of \"%s\"", s->portal.host);
        return;
    case CONN_CONNECTING:
        s->next_addr = true;
        ini_conn_lost(s, -ETIMEDOUT, "no answer to the connection request");
        return;
    case CONN_LOGIN:
        s->next_addr = true;
        ini_loop_unanswered(s, INI_HANGUPS_MAX);
        ini_conn_lost(s, -ETIMEDOUT, "the target accepts connections but does not answer the login");
        return;
    case CONN_FULL:                         /* drained long enough */
        if (s->stopping && s->state == INI_UP)
            ini_sess_step(s, EV_STOP);
        return;
    case CONN_LOGOUT:
        ini_conn_lost(s, -ETIMEDOUT, "no answer to the logout");
        return;
    default:
        return;
    }
}

void ini_phase_arm(struct ini_sess *s, int32_t seconds)
{
    rt_timer_arm(s->rt, &s->phase, (uint64_t)seconds * RT_S);
}

/* res: 0 with s->sock ours, or -errno. */
static void connect_done(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, connect_op);
    int err;

    if (s->conn == CONN_CLOSING || res) {
        if (!res)
            rt_sock_close(s->sock);
        else if (s->conn == CONN_CONNECTING) {
            char addr[RT_ADDR_STR_MAX];

            rt_addr_format(&s->addr[s->addr_at], addr);
            s->next_addr = true;
            ini_why(s, res, "cannot connect to %s: %s", addr, strerror(-res));
        }
        s->sock = NULL;
        conn_gone(s);
        return;
    }
    s->peer = s->addr[s->addr_at];
    s->loop.same_host = rt_sock_same_host(s->sock);
    err = dm_tcp_new(&s->dm, s->rt, s->sock, ISCSI_INITIATOR, &ini_dm_events, s);
    s->sock = NULL;
    if (err) {
        ini_why(s, err, "no memory for a connection");
        conn_gone(s);
        return;
    }
    s->conn = CONN_LOGIN;
    for (unsigned i = 0; i < INI_TAGS; i++)
        s->ctl[i].out = s->ctl[i].waits = s->ctl[i].pending = false;
    err = ini_login_begin(s);
    if (err)
        ini_conn_lost(s, err, "no memory for a login");
}

static void conn_connect(struct ini_sess *s)
{
    s->conn = CONN_CONNECTING;
    s->next_addr = false;
    ini_phase_arm(s, s->conf.set.login_timeout_s);
    s->connect_op = (struct rt_op){ .done = connect_done };
    rt_connect(s->rt, &s->connect_op, &s->addr[s->addr_at], &s->sock);
}

static void lookup_done(struct rt_work *w)
{
    struct ini_lookup *l = container_of(w, struct ini_lookup, resolve.work);
    struct ini_sess *s = l->sess;

    l->busy = false;
    if (!s) {
        free(l);
        return;
    }
    if (l->resolve.err || !l->resolve.addr_nr) {
        ini_why(s, l->resolve.err ? l->resolve.err : -ENOENT, "cannot find the address of \"%s\": %s",
                s->portal.host, strerror(l->resolve.err ? -l->resolve.err : ENOENT));
        conn_gone(s);
        return;
    }
    s->addr_nr = l->resolve.addr_nr;
    memcpy(s->addr, l->resolve.addr, sizeof(s->addr[0]) * s->addr_nr);
    conn_connect(s);
}

/* To s->portal: a number is used as it is, a name goes to a helper thread first. */
static void conn_resolve(struct ini_sess *s)
{
    char text[ISCSI_PORTAL_STR_MAX];

    s->addr_at = 0;
    iscsi_portal_format(&s->portal, text);
    if (!rt_addr_parse(&s->addr[0], text, ISCSI_PORT)) {
        s->addr_nr = 1;
        conn_connect(s);
        return;
    }
    s->conn = CONN_RESOLVING;
    s->next_addr = false;
    ini_phase_arm(s, s->conf.set.login_timeout_s);
    if (!s->lookup)
        s->lookup = calloc(1, sizeof(*s->lookup));
    if (!s->lookup) {
        s->conn = CONN_CLOSING;
        ini_why(s, -ENOMEM, "no memory to look up a name");
        rt_defer(s->rt, &s->gone_op);
        return;
    }
    s->lookup->sess = s;
    s->lookup->busy = true;
    s->lookup->resolve.port = s->portal.port;
    memcpy(s->lookup->resolve.host, s->portal.host, sizeof(s->lookup->resolve.host));
    s->lookup->resolve.work.done = lookup_done;
    rt_resolve(s->rt, &s->lookup->resolve);
}

void ini_conn_open(struct ini_sess *s)
{
    s->attempting = true;
    s->hopeless = s->again = s->chap_md5_only = false;
    s->hops = 0;
    s->loop.hangups = 0;
    /* Where it once moved for good may be gone: every second attempt asks where the configuration says. */
    s->portal = s->hop[0] = s->moved = s->attempts % 2 ? s->conf.portal : s->home;
    conn_resolve(s);
}

static uint64_t backoff_ns(struct ini_sess *s)
{
    const unsigned bad = s->attempts > s->vain ? s->attempts : s->vain, shift = bad > 8 ? 8 : bad;
    uint64_t ns = 0;
    uint8_t jitter;

    if (bad) {
        ns = min_u64(INI_BACKOFF_MIN_NS << (shift - 1), INI_BACKOFF_MAX_NS);
        /* A thousand sessions to one target that restarts shall not come back in one instant. */
        rt_random(s->rt, &jitter, 1);
        ns = ns * 3 / 4 + ns / 2 * jitter / 255;
    }
    return ns > s->wait_ns ? ns : s->wait_ns;
}

static void retry_now(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, retry);

    s->wait_ns = 0;
    ini_conn_open(s);
}

static void attempt_failed(struct ini_sess *s)
{
    const struct ini_settings *set = &s->conf.set;

    if (s->chap_md5_only) {                 /* MD5 was no help: then what was said first is what is wrong */
        s->err = s->chap_refusal.err;
        memcpy(s->why, s->chap_refusal.why, sizeof(s->why));
        s->chap_md5_only = false;
    }
    if (s->attempting)
        s->attempts++;
    s->attempting = false;
    if (s->state == INI_LOGIN && (s->hopeless || s->attempts > (unsigned)set->login_retry_max)) {
        ini_sess_step(s, EV_GIVE_UP);
        return;
    }
    /* In recovery even "no such target" may be the word of one that has just begun to start. */
    if (s->state != INI_LOGIN &&
        (s->discovery || (set->reopen_max && s->attempts >= (unsigned)set->reopen_max))) {
        ini_sess_step(s, EV_GIVE_UP);
        return;
    }
    if (s->state == INI_RECOVERY && !set->replacement_timeout_s) {
        ini_sess_step(s, EV_EXPIRED);
        if (s->state != INI_OFFLINE)        /* who was told has stopped it */
            return;
    }
    rt_timer_arm(s->rt, &s->retry, backoff_ns(s));
}

/* What follows when nothing of the connection is left. */
static void conn_go_on(struct ini_sess *s)
{
    switch (s->state) {
    case INI_LOGOUT:
        rt_defer(s->rt, &s->stop_op);
        return;
    case INI_FAILED:
        ini_tasks_fail_all(s, s->err);
        return;
    case INI_OFFLINE:                       /* what the datamover had not let go of by then */
        ini_tasks_fail_all(s, INI_OFFLINE_ERR);
        break;
    default:
        break;
    }
    if (s->again) {                         /* redirected, or to offer less: s->portal says where */
        s->again = s->hopeless = false;
        if (s->chap_md5_only && !s->chap_refusal.err) {
            s->chap_refusal.err = s->err;
            memcpy(s->chap_refusal.why, s->why, sizeof(s->why));
        }
        conn_resolve(s);
    } else if (s->attempting && s->next_addr && s->addr_at + 1 < s->addr_nr) {
        s->addr_at++;
        conn_connect(s);
    } else {
        attempt_failed(s);
    }
}

/* Nothing of the connection is left. */
static void conn_gone(struct ini_sess *s)
{
    void (*reset_done)(void *user, int resp, int err) = s->eh.done;
    void *const user = s->eh.user;

    rt_timer_disarm(s->rt, &s->phase);
    s->conn = CONN_NONE;
    free(s->login);
    s->login = NULL;
    ini_loop_gone(s);
    s->ghosts = 0;                          /* the next login ends whatever the target still has of ours */
    ini_err_reset(s);
    ini_tasks_hold(s);
    conn_go_on(s);
    if (reset_done)                         /* last: whoever waited for it may stop the session */
        reset_done(user, -1, -ECONNRESET);
    ini_aborts_over(s, -ECONNRESET);
}

static void gone_later(struct rt_op *op, int res)
{
    (void)res;
    conn_gone(container_of(op, struct ini_sess, gone_op));
}

static void replacement_over(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, replacement);
    char last[sizeof(s->why)];

    if (s->state != INI_RECOVERY)
        return;
    memcpy(last, s->why, sizeof(last));
    ini_why(s, -ETIMEDOUT, "no session for %d s (replacement_timeout); last: %.220s",
            s->conf.set.replacement_timeout_s, last);
    ini_sess_step(s, EV_EXPIRED);
}

void ini_logged_in(struct ini_sess *s)
{
    rt_timer_disarm(s->rt, &s->phase);
    s->tpgt_told = s->login->tpgt >= 0;
    if (s->tpgt_told)
        s->tpgt = (uint16_t)s->login->tpgt;
    free(s->login);
    s->login = NULL;
    if (s->chap_md5_only) {
        s->chap_algs = 1u << CHAP_MD5;
        s->chap_md5_only = false;
        rt_log(RT_NOTICE, "%s: the target does CHAP with MD5 alone; nothing else is offered to it from now on",
               s->discovery ? s->portal.host : s->conf.target);
    }
    s->conn = CONN_FULL;
    s->home = s->moved;
    s->attempting = false;
    /* 7.5: how long the target is to be left alone when the connection breaks. A drop it announces says it anew. */
    s->wait_ns = s->params.time2wait_s * RT_S;
    s->rejects = 0;
    s->shut_ns = 0;
    ini_sess_step(s, EV_LOGGED_IN);
}

void ini_conn_init(struct ini_sess *s)
{
    s->phase.fn = phase_over;
    s->retry.fn = retry_now;
    s->replacement.fn = replacement_over;
    s->gone_op.done = gone_later;
}
