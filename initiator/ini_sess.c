/*
 * ini_sess.c - the life of a session: its states, its connection, recovery and the end
 *
 * Owns which state a session is in, the connection from the look-up of a name to the datamover's closed(), and the
 * timers that bound each of its steps. What a login says is ini_login.c's, what becomes of commands ini_task.c's.
 *
 * A connection ends in one place, conn_gone(): by then nothing touches any command's memory, and what follows (the
 * next address, a retry, recovery, the end of a stop) depends on the state alone.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_bytes.h"
#include "reactor/rt_log.h"

static void conn_open(struct ini_sess *s);
static void conn_connect(struct ini_sess *s);
static void conn_gone(struct ini_sess *s);

/* ---- states -------------------------------------------------------------------------------------------- */

const char *ini_state_name(enum ini_state st)
{
    static const char *const names[] = { "FREE", "LOGIN", "LOGGED_IN", "RECOVERY", "LOGOUT", "FAILED" };

    return st < ARRAY_SIZE(names) ? names[st] : "?";
}

void ini_why(struct ini_sess *s, int err, const char *fmt, ...)
{
    va_list ap;

    s->err = err;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, ap);
    va_end(ap);
}

static void act_login(struct ini_sess *s)
{
    conn_open(s);
}

static void sess_came_up(struct ini_sess *s)
{
    rt_timer_disarm(s->rt, &s->replacement);
    s->attempts = 0;
    s->sending = true;
    ini_tick_soon(s);
    rt_list_for(l, &s->luns)
        ini_lun_up(rt_list_entry(l, struct ini_lun, link));
    ini_tasks_pump(s);
}

static void act_up(struct ini_sess *s)
{
    s->ever_up = true;
    sess_came_up(s);
    if (s->events.up)
        s->events.up(s->user);
}

static void act_resume(struct ini_sess *s)
{
    const uint64_t down = rt_now(s->rt) - s->down_ns;

    s->reconnects++;
    /* How long a path was away is bounded by replacement_timeout, not by a command's own patience. */
    rt_list_for(l, &s->queue) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        if (t->deadline_ns != UINT64_MAX)
            t->deadline_ns += down;
    }
    rt_log(RT_NOTICE, "%s: logged in again after %u.%u s", s->conf.target, (unsigned)(down / RT_S),
           (unsigned)(down / (RT_S / 10) % 10));
    sess_came_up(s);
    if (s->events.up)
        s->events.up(s->user);
}

static void act_hold(struct ini_sess *s)
{
    const int32_t hold_s = s->conf.set.replacement_timeout_s;
    char why[sizeof(s->why)];

    memcpy(why, s->why, sizeof(why));
    s->sending = s->leaving = false;
    s->down_ns = rt_now(s->rt);
    rt_timer_disarm(s->rt, &s->tick);
    if (hold_s > 0)
        rt_timer_arm(s->rt, &s->replacement, (uint64_t)hold_s * RT_S);
    if (!s->discovery)
        rt_log(RT_WARN, "%s: connection lost: %s; logging in again", s->conf.target, why);
    rt_list_for(l, &s->luns)
        ini_lun_down(rt_list_entry(l, struct ini_lun, link));
    ini_conn_end(s);
    if (s->events.down)
        s->events.down(s->user, s->err, why);
}

static void act_fail(struct ini_sess *s)
{
    char why[sizeof(s->why)];

    memcpy(why, s->why, sizeof(why));
    s->sending = false;
    if (!s->err)
        s->err = -ECONNRESET;
    rt_timer_disarm(s->rt, &s->replacement);
    rt_timer_disarm(s->rt, &s->retry);
    rt_timer_disarm(s->rt, &s->tick);
    if (s->ever_up && !s->discovery)        /* whoever asked for a first login is told, and tells */
        rt_log(RT_ERR, "%s: session failed: %s", s->conf.target, why);
    if (s->conn == CONN_NONE)
        ini_tasks_fail_all(s, s->err);
    else
        ini_conn_end(s);                    /* conn_gone() fails them */
    rt_list_for_safe(l, &s->luns)
        ini_lun_failed(rt_list_entry(l, struct ini_lun, link), s->err);
    if (s->events.failed)
        s->events.failed(s->user, s->err, why);
}

static void act_logout(struct ini_sess *s)
{
    s->sending = false;
    rt_timer_disarm(s->rt, &s->tick);
    ini_logout_send(s);
}

static void act_close(struct ini_sess *s)
{
    s->sending = false;
    rt_timer_disarm(s->rt, &s->replacement);
    rt_timer_disarm(s->rt, &s->retry);
    rt_timer_disarm(s->rt, &s->tick);
    if (s->conn != CONN_NONE)
        ini_conn_end(s);
    else
        rt_defer(s->rt, &s->stop_op);
}

static void act_stopped(struct ini_sess *s)
{
    ini_tasks_fail_all(s, -ECANCELED);
    rt_defer(s->rt, &s->stop_op);
}

/* RFC 7143 8.3.1, initiator side, with the phases before the first login and after the last told apart.
 * ini_sess_step() is the only writer of ->state. */
static const struct sess_edge {
    uint8_t from, on, to;
    void (*act)(struct ini_sess *s);        /* calls the user last, who may step again */
} edges[] = {
    /* from         on            to            act           */
    { INI_FREE,     EV_START,     INI_LOGIN,    act_login   },
    { INI_LOGIN,    EV_LOGGED_IN, INI_UP,       act_up      },  /* N1 */
    { INI_LOGIN,    EV_GIVE_UP,   INI_FAILED,   act_fail    },
    { INI_LOGIN,    EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_UP,       EV_LOST,      INI_RECOVERY, act_hold    },  /* N5 */
    { INI_UP,       EV_STOP,      INI_LOGOUT,   act_logout  },
    { INI_RECOVERY, EV_LOGGED_IN, INI_UP,       act_resume  },  /* N4 */
    { INI_RECOVERY, EV_GIVE_UP,   INI_FAILED,   act_fail    },  /* N6 */
    { INI_RECOVERY, EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_FAILED,   EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_FREE,     EV_STOP,      INI_LOGOUT,   act_close   },
    { INI_LOGOUT,   EV_STOPPED,   INI_FREE,     act_stopped },  /* N3 */
};

void ini_sess_step(struct ini_sess *s, enum ini_sess_event ev)
{
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        if (edges[i].from != s->state || edges[i].on != ev)
            continue;
        s->state = edges[i].to;
        edges[i].act(s);
        return;
    }
    assert(!"a state machine of our own: no peer chooses its events");
}

/* ---- PDUs of the session's own ----------------------------------------------------------------------------- */

static void ctl_put(struct ini_sess *s, struct ini_ctl *c, const struct iscsi_pdu *pdu, const void *data);

static void ctl_sent(struct dm_ctl *ctl, int err)
{
    struct ini_ctl *c = container_of(ctl, struct ini_ctl, ctl);
    struct ini_sess *s = c->sess;

    c->out = false;
    if (!c->pending || err || s->conn == CONN_NONE || s->conn == CONN_CLOSING)
        return;
    c->pending = false;
    ctl_put(s, c, &c->next, c->next_data);
}

static void ctl_put(struct ini_sess *s, struct ini_ctl *c, const struct iscsi_pdu *pdu, const void *data)
{
    c->ctl = (struct dm_ctl){ .pdu = *pdu, .data = data, .sent = ctl_sent };
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
    if (tag == INI_TAG_PONG)
        c->next.itt = ISCSI_TAG_RESERVED;
    else if (!c->next.itt)
        c->next.itt = ini_itt((uint16_t)(INI_TAG_SLOT + tag), ++s->gen);
    c->next_data = data;
    c->itt = c->next.itt;
    c->waits = tag != INI_TAG_PONG;
    c->sent_ns = rt_clock(s->rt);
    if (c->out)
        c->pending = true;
    else
        ctl_put(s, c, &c->next, data);
}

bool ini_ctl_answered(struct ini_sess *s, enum ini_tag tag, uint32_t itt)
{
    struct ini_ctl *c = &s->ctl[tag];

    if (!c->waits || c->itt != itt)
        return false;
    c->waits = false;
    return true;
}

/* ---- what comes ------------------------------------------------------------------------------------------- */

/* StatSN counts responses (RFC 7143 4.2.2.2). Without digest recovery a hole cannot be filled. */
static bool stat_sn_take(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    if (pdu->opcode == ISCSI_OP_NOP_IN && pdu->itt == ISCSI_TAG_RESERVED)
        return true;                        /* carries the next number without using it up, 11.19.3 */
    if (pdu->stat_sn == s->exp_stat_sn) {
        s->exp_stat_sn++;
        return true;
    }
    if (iscsi_sn_lt(pdu->stat_sn, s->exp_stat_sn))
        return false;                       /* a duplicate, ignored */
    ini_conn_lost(s, -EPROTO, "a response of the target is missing (StatSN %u instead of %u)", pdu->stat_sn,
                  s->exp_stat_sn);
    return false;
}

static void logout_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    (void)data;
    if (!ini_ctl_answered(s, INI_TAG_LOGOUT, pdu->itt))
        return;
    if (s->state == INI_LOGOUT)
        ini_conn_end(s);
    else
        ini_conn_lost(s, 0, "the target asked for a new login");
}

/* A SCSI event: sense data as in a response. Only "the list of LUNs changed" means something to a session. */
static void scsi_event(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct scsi_sense sense;
    uint32_t len;

    if (pdu->data_len < 2)
        return;
    len = min_u32(load_be16(data), pdu->data_len - 2);
    if (scsi_sense_decode(&sense, data + 2, len) || sense.key != SCSI_UNIT_ATTENTION)
        return;
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
        ini_conn_lost(s, -ECONNRESET, "the target drops the connection (asynchronous event %u)", pdu->async.event);
        return;
    case ISCSI_ASYNC_TASK_TERMINATION:
        ini_conn_lost(s, -ECONNRESET, "the target ended all tasks (asynchronous event %u)", pdu->async.event);
        return;
    default:
        return;                             /* vendor's; nothing that we know */
    }
}

/* RFC 7143 11.17: the header that was rejected is the data. */
static void rejected(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct iscsi_pdu bad;
    struct ini_task *t;

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
        t = ini_task_find(s, bad.itt);
        if (t && t->cmd_sn == bad.cmd_sn)
            ini_task_fail(s, t, -EPROTO);
        return;
    case ISCSI_OP_TMF:
        if (ini_ctl_answered(s, INI_TAG_TMF, bad.itt))
            ini_tmf_rejected(s);
        return;
    case ISCSI_OP_NOP_OUT:
        ini_ctl_answered(s, INI_TAG_NOP, bad.itt);          /* an answer of sorts: it lives */
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
    [ISCSI_OP_NOP_IN]      = { ini_nop_in },
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
    default:       return strerror(-err);
    }
}

static void on_terminate(void *user, int err)
{
    struct ini_sess *s = user;

    if (err == -EBADMSG)
        s->digest_errors++;
    if (s->conn == CONN_LOGIN && s->login->stage == LOGIN_CHAP_ALG && s->chap_algs != 1u << CHAP_MD5) {
        s->chap_algs = 1u << CHAP_MD5;      /* some targets hang up on a list of digests that they do not know */
        s->again = true;
    }
    ini_conn_lost(s, err, "%s", lost_words(err));
}

static void on_closed(void *user)
{
    struct ini_sess *s = user;

    dm_free(s->dm);
    s->dm = NULL;
    conn_gone(s);
}

static const struct dm_events dm_events = {
    .control_notify = on_control,
    .task_released = on_released,
    .reject_notify = on_reject,
    .terminate_notify = on_terminate,
    .closed = on_closed,
};

/* ---- a connection ---------------------------------------------------------------------------------------------- */

void ini_conn_end(struct ini_sess *s)
{
    const uint8_t conn = s->conn;

    rt_timer_disarm(s->rt, &s->phase);
    if (conn == CONN_NONE || conn == CONN_CLOSING)
        return;
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
        dm_terminate(s->dm, false);
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
    case CONN_CONNECTING:
        s->next_addr = true;
        ini_conn_lost(s, -ETIMEDOUT, "no answer to the connection request");
        return;
    case CONN_LOGIN:
        s->next_addr = true;
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

static void phase_arm(struct ini_sess *s, int32_t seconds)
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
    err = dm_tcp_new(&s->dm, s->rt, s->sock, ISCSI_INITIATOR, &dm_events, s);
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
    phase_arm(s, s->conf.set.login_timeout_s);
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
        ini_why(s, l->resolve.err ? l->resolve.err : -ENOENT, "cannot find the address of \"%s\": %s", s->portal.host,
                strerror(l->resolve.err ? -l->resolve.err : ENOENT));
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

static void conn_open(struct ini_sess *s)
{
    s->attempting = true;
    s->hopeless = false;
    s->hops = 0;
    s->portal = s->hop[0] = s->home;
    conn_resolve(s);
}

static uint64_t backoff_ns(struct ini_sess *s)
{
    const unsigned shift = s->attempts > 8 ? 8 : s->attempts;
    uint64_t ns = 0;
    uint8_t jitter;

    if (s->attempts) {
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
    conn_open(s);
}

static void attempt_failed(struct ini_sess *s)
{
    const struct ini_settings *set = &s->conf.set;

    if (s->attempting)
        s->attempts++;
    s->attempting = false;
    if (s->state == INI_LOGIN && (s->hopeless || s->attempts > (unsigned)set->login_retry_max)) {
        ini_sess_step(s, EV_GIVE_UP);
        return;
    }
    /* In recovery even "no such target" may be the word of one that has just begun to start. */
    if (s->state == INI_RECOVERY &&
        (!set->replacement_timeout_s || (set->reopen_max && s->attempts >= (unsigned)set->reopen_max))) {
        ini_sess_step(s, EV_GIVE_UP);
        return;
    }
    rt_timer_arm(s->rt, &s->retry, backoff_ns(s));
}

/* Nothing of the connection is left. */
static void conn_gone(struct ini_sess *s)
{
    rt_timer_disarm(s->rt, &s->phase);
    s->conn = CONN_NONE;
    free(s->login);
    s->login = NULL;
    ini_err_reset(s);
    ini_tasks_hold(s);
    switch (s->state) {
    case INI_LOGOUT:
        rt_defer(s->rt, &s->stop_op);
        return;
    case INI_FAILED:
        ini_tasks_fail_all(s, s->err);
        return;
    default:
        break;
    }
    if (s->again) {                         /* redirected, or to offer less: s->portal says where */
        s->again = false;
        conn_resolve(s);
    } else if (s->attempting && s->next_addr && s->addr_at + 1 < s->addr_nr) {
        s->addr_at++;
        conn_connect(s);
    } else {
        attempt_failed(s);
    }
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
    ini_why(s, -ETIMEDOUT, "no session for %d s (replacement_timeout); last: %.220s", s->conf.set.replacement_timeout_s,
            last);
    ini_sess_step(s, EV_GIVE_UP);
}

void ini_logged_in(struct ini_sess *s)
{
    rt_timer_disarm(s->rt, &s->phase);
    free(s->login);
    s->login = NULL;
    s->conn = CONN_FULL;
    s->attempting = false;
    s->wait_ns = 0;
    s->rejects = 0;
    s->shut_ns = 0;
    ini_sess_step(s, EV_LOGGED_IN);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

void ini_logout_send(struct ini_sess *s)
{
    const struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_LOGOUT,
        .final = true,
        .logout.reason = ISCSI_LOGOUT_SESSION,
    };

    s->conn = CONN_LOGOUT;
    s->sending = false;
    phase_arm(s, s->conf.set.logout_timeout_s);
    if (ini_ctl_free(s, INI_TAG_LOGOUT))
        ini_ctl_send(s, INI_TAG_LOGOUT, &pdu, NULL);
}

void ini_drain_check(struct ini_sess *s)
{
    if (s->conn != CONN_FULL || s->flight_nr || !rt_list_empty(&s->ending))
        return;
    if (s->leaving && s->state == INI_UP && !s->stopping)
        ini_logout_send(s);
    else if (s->draining && rt_list_empty(&s->queue) && s->state == INI_UP)
        ini_sess_step(s, EV_STOP);
}

/* Once tasks were told of their end, so that done() is the last that anybody hears of the session. */
static void stop_later(struct rt_op *op, int res)
{
    struct ini_sess *s = container_of(op, struct ini_sess, stop_op);

    (void)res;
    if (s->state == INI_LOGOUT) {
        ini_sess_step(s, EV_STOPPED);
        return;
    }
    if (s->end_armed || !rt_list_empty(&s->ended)) {
        rt_defer(s->rt, &s->stop_op);
        return;
    }
    assert(!s->flight_nr && rt_list_empty(&s->queue) && rt_list_empty(&s->ending));
    s->stopped(s->stopped_user);            /* s may be gone */
}

void ini_sess_stop(struct ini_sess *s, bool drain, void (*done)(void *user), void *user)
{
    rt_assert_here(s->rt);
    assert(!s->stopping);
    s->stopping = true;
    s->stopped = done;
    s->stopped_user = user;
    if (drain && s->state == INI_UP && (s->flight_nr || !rt_list_empty(&s->queue) || !rt_list_empty(&s->ending))) {
        s->draining = true;
        phase_arm(s, s->conf.set.logout_timeout_s);
        return;
    }
    if (s->conn == CONN_LOGOUT)             /* by the target's wish, which is under way */
        ini_conn_lost(s, -ECANCELED, "stopped");
    else
        ini_sess_step(s, EV_STOP);
}

void ini_sess_free(struct ini_sess *s)
{
    if (!s)
        return;
    assert(s->state == INI_FREE && s->conn == CONN_NONE && rt_list_empty(&s->luns));
    if (s->lookup && s->lookup->busy)
        s->lookup->sess = NULL;
    else
        free(s->lookup);
    free(s->slot);
    explicit_bzero(&s->conf.set.user, sizeof(s->conf.set.user));
    explicit_bzero(&s->conf.set.user_in, sizeof(s->conf.set.user_in));
    free(s);
}

/* ---- set-up and questions --------------------------------------------------------------------------------------- */

/* RFC 7143 11.12.5: T 10b, a random qualifier. */
static void isid_make(struct ini_sess *s)
{
    static const uint8_t none[6];

    if (memcmp(s->conf.isid, none, sizeof(none)))
        return;
    rt_random(s->rt, s->conf.isid, sizeof(s->conf.isid));
    s->conf.isid[0] = 0x80;
}

int ini_sess_new(struct ini_sess **out, struct rt *rt, const struct ini_conf *conf,
                 const struct ini_sess_events *events, void *user)
{
    struct ini_sess *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->rt = rt;
    s->conf = *conf;
    s->home = conf->portal;
    s->user = user;
    if (events)
        s->events = *events;
    s->discovery = !conf->target[0];
    s->chap_algs = conf->set.chap_algs ? conf->set.chap_algs : CHAP_ALGS_ALL;
    s->phase.fn = phase_over;
    s->retry.fn = retry_now;
    s->replacement.fn = replacement_over;
    s->tick.fn = ini_tick;
    s->gone_op.done = gone_later;
    s->stop_op.done = stop_later;
    rt_list_init(&s->luns);
    if (ini_tasks_init(s)) {
        ini_sess_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void ini_sess_start(struct ini_sess *s)
{
    rt_assert_here(s->rt);
    isid_make(s);
    rt_random(s->rt, &s->gen, sizeof(s->gen));
    ini_sess_step(s, EV_START);
}

struct rt *ini_sess_rt(const struct ini_sess *s)
{
    return s->rt;
}

void ini_sess_info(const struct ini_sess *s, struct ini_sess_info *out)
{
    *out = (struct ini_sess_info) {
        .state = s->state,
        .tsih = s->tsih,
        .tpgt = s->tpgt,
        .transport = s->dm ? s->dm->ops->transport : "tcp",
        .params = s->params,
        .commands = s->commands,
        .read_bytes = s->read_bytes,
        .write_bytes = s->write_bytes,
        .reconnects = s->reconnects,
        .digest_errors = s->digest_errors,
        .timeouts = s->timeouts,
        .aborts = s->aborts,
        .in_flight = s->flight_nr,
        .queued = s->queue_nr,
        .nop_rtt_us = s->nop_rtt_ns / RT_US,
    };
    memcpy(out->target, s->conf.target, sizeof(out->target));
    memcpy(out->isid, s->conf.isid, sizeof(out->isid));
    memcpy(out->why, s->why, sizeof(out->why));
    iscsi_portal_format(s->conn == CONN_NONE ? &s->home : &s->portal, out->portal);
    if (s->peer.len)
        rt_addr_format(&s->peer, out->peer);
    if (s->state == INI_UP && !iscsi_sn_lt(s->max_cmd_sn, s->cmd_sn))
        out->window = s->max_cmd_sn - s->cmd_sn + 1;
    if (s->dm)
        dm_stats(s->dm, &out->dm);
}
