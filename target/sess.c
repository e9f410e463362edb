/*
 * sess.c - a session: its life, its numbering, and what the datamover tells it
 *
 * Owns the order in which a session comes and goes, CmdSN and StatSN, and the timer. What PDUs mean is in the
 * files beside it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "reactor/rt_bytes.h"
#include "target/sess.h"

/* ---- numbering ------------------------------------------------------------------------------------------- */

/* RFC 7143 4.2.2.1: what is outside the window is ignored without a word; one connection, so a hole is only
 * ever filled by a peer that numbers oddly, but then it must be. */
static enum sess_turn_of sn_place(const struct sess *s, uint32_t cmd_sn)
{
    if (cmd_sn == s->exp_cmd_sn)
        return SN_NOW;
    if (iscsi_sn_lt(cmd_sn, s->exp_cmd_sn) || iscsi_sn_lt(sess_max_cmd_sn(s), cmd_sn))
        return SN_NEVER;
    rt_list_for(l, &s->held) {
        if (rt_list_entry(l, struct sess_held, link)->cmd_sn == cmd_sn)
            return SN_NEVER;
    }
    return SN_LATER;
}

void sess_hold_back(struct sess *s, struct sess_held *h, uint32_t cmd_sn)
{
    struct rt_link *at = s->held.prev;

    if (rt_list_empty(&s->held))
        s->held_at = rt_now(s->rt);
    h->cmd_sn = cmd_sn;
    while (at != &s->held && iscsi_sn_lt(cmd_sn, rt_list_entry(at, struct sess_held, link)->cmd_sn))
        at = at->prev;
    rt_list_add_after(at, &h->link);
}

/* Has what is held looked at when the turn ends, and not before: who makes room may be walking the tasks, or be
 * in the middle of a command that the datamover does not know yet, and what is held may be a LOGICAL UNIT RESET
 * or a Logout. */
static void held_kick(struct sess *s)
{
    if (!rt_list_empty(&s->held))
        sess_turn(s);
}

static struct sess_ctl *ctl_of(struct rt_link *l)
{
    return container_of(rt_list_entry(l, struct sess_held, link), struct sess_ctl, held);
}

/* A PDU has come in the place of its CmdSN or behind it. RFC 7143 7.3 has the initiator fill the gap that a
 * rejected command leaves; many in use never do. One that has seen the Reject and goes on behind the gap will not
 * fill it: it counts as received then, or all that comes would wait for ever. */
static void gaps_look(struct sess *s, const struct iscsi_pdu *pdu)
{
    rt_list_for_safe(l, &s->gaps) {
        struct sess_ctl *c = ctl_of(l);
        const uint32_t sn = c->held.cmd_sn;

        if (sn == pdu->cmd_sn || sn_place(s, sn) == SN_NEVER) {
            rt_list_del(l);
            ctl_put(c);
        } else if (iscsi_sn_lt(sn, pdu->cmd_sn) && iscsi_sn_lt(c->ctl.pdu.stat_sn, pdu->exp_stat_sn)) {
            rt_list_del(l);
            sess_hold_back(s, &c->held, sn);
        }
    }
}

enum sess_turn_of sess_judge_sn(struct sess *s, const struct iscsi_pdu *pdu)
{
    enum sess_turn_of turn;

    if (pdu->immediate)
        return SN_NOW;
    turn = sn_place(s, pdu->cmd_sn);
    if (turn == SN_NEVER)
        return turn;
    if (!rt_list_empty(&s->gaps))
        gaps_look(s, pdu);
    s->exp_cmd_sn += turn == SN_NOW;
    held_kick(s);
    return turn;
}

void sess_skip_sn(struct sess *s, uint32_t cmd_sn)
{
    struct sess_ctl *c;

    switch (sn_place(s, cmd_sn)) {
    case SN_NEVER:
        return;
    case SN_NOW:
        s->exp_cmd_sn++;
        held_kick(s);
        return;
    case SN_LATER:
        break;
    }
    if (!(c = ctl_get(s)))
        return;
    c->held.kind = HELD_SKIP;
    sess_hold_back(s, &c->held, cmd_sn);
}

/* Whether a header, which perhaps could not be decoded, takes a place in the order of commands. */
static bool bhs_is_numbered(const uint8_t bhs[static ISCSI_BHS_LEN])
{
    switch (bhs[0] & 0x3f) {
    case ISCSI_OP_NOP_OUT:
    case ISCSI_OP_SCSI_CMD:
    case ISCSI_OP_TMF:
    case ISCSI_OP_TEXT:
    case ISCSI_OP_LOGOUT:
        return !(bhs[0] & 0x40);
    default:
        return false;
    }
}

/* @stat_sn: of the Reject. */
static void gap_note(struct sess *s, uint32_t cmd_sn, uint32_t stat_sn)
{
    struct sess_ctl *c = NULL;

    rt_list_for(l, &s->gaps) {
        if (ctl_of(l)->held.cmd_sn == cmd_sn)
            c = ctl_of(l);                  /* it came again, no better */
    }
    if (!c) {
        if (!(c = ctl_get(s)))
            return;
        c->held.kind = HELD_SKIP;
        c->held.cmd_sn = cmd_sn;
        rt_list_push(&s->gaps, &c->held.link);
    }
    c->ctl.pdu.stat_sn = stat_sn;
}

void sess_reject(struct sess *s, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    const uint32_t cmd_sn = load_be32(&bhs[24]), stat_sn = s->stat_sn;
    const bool numbered = bhs_is_numbered(bhs);

    if (numbered && cmd_sn + 1 == s->exp_cmd_sn)
        s->exp_cmd_sn--;                    /* it was in turn: 7.3 has it not received */
    text_reject(s, bhs, reason);
    if (numbered && s->state == SESS_FULL)
        gap_note(s, cmd_sn, stat_sn);
}

static void held_free(struct rt_link *list)
{
    struct rt_link *l;

    while ((l = rt_list_pop(list))) {
        if (rt_list_entry(l, struct sess_held, link)->kind != HELD_TASK)    /* tasks are in s->tasks as well */
            ctl_put(ctl_of(l));
    }
}

/* ---- control PDUs of our own ----------------------------------------------------------------------------- */

struct sess_ctl *ctl_get(struct sess *s)
{
    struct sess_ctl *c;

    if (s->ctls_nr >= SESS_CTLS_MAX) {
        sess_close(s, false, "it does not read what it is sent");
        return NULL;
    }
    if (!(c = rt_pool_get(s->core->ctls))) {
        sess_close(s, false, "this core has no memory left for answers");
        return NULL;
    }
    s->ctls_nr++;
    memset(&c->ctl, 0, sizeof(c->ctl));
    c->sess = s;
    c->chunk = NULL;
    rt_list_init(&c->held.link);
    return c;
}

void ctl_put(struct sess_ctl *c)
{
    struct sess *s = c->sess;

    if (c->chunk) {
        buf_one_put(s->core->bufs, c->chunk, c->chunk_len);
        s->chunks_nr--;
    }
    s->ctls_nr--;
    rt_pool_put(s->core->ctls, c);
}

bool ctl_chunk(struct sess_ctl *c, uint32_t len)
{
    struct sess *s = c->sess;

    if (s->chunks_nr >= SESS_CHUNKS_MAX || !(c->chunk = buf_one_get(s->core->bufs, len)))
        return false;
    c->chunk_len = len;
    s->chunks_nr++;
    return true;
}

static void ctl_sent(struct dm_ctl *ctl, int err)
{
    (void)err;                              /* the datamover tells of a broken connection by itself */
    ctl_put(container_of(ctl, struct sess_ctl, ctl));
}

void ctl_send(struct sess_ctl *c, bool advance)
{
    sess_stamp(c->sess, &c->ctl.pdu, advance);
    c->ctl.sent = ctl_sent;
    dm_send_control(c->sess->dm, &c->ctl);
}

/* ---- what the datamover tells ---------------------------------------------------------------------------- */

/* In turn, or immediate. */
static void control_do(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data,
                       const uint8_t bhs[static ISCSI_BHS_LEN])
{
    switch (pdu->opcode) {
    case ISCSI_OP_NOP_OUT: text_nop_out(s, pdu, data);                         break;
    case ISCSI_OP_TMF:     tmf_request(s, pdu, bhs);                           break;
    case ISCSI_OP_TEXT:    text_request(s, pdu, data, bhs);                    break;
    case ISCSI_OP_LOGOUT:  text_logout(s, pdu, bhs);                           break;
    default:               sess_reject(s, bhs, ISCSI_REJECT_PROTOCOL_ERROR);   break;
    }
}

static void held_pdu_turn(struct sess *s, struct sess_ctl *c)
{
    control_do(s, &c->ctl.pdu, c->chunk, c->small);
    ctl_put(c);
}

/* When a turn ends: what is held up to the next hole. */
static void held_turn(struct sess *s)
{
    while (s->state == SESS_FULL && !rt_list_empty(&s->held)) {
        struct sess_held *h = rt_list_entry(s->held.next, struct sess_held, link);

        if (h->cmd_sn != s->exp_cmd_sn)
            return;
        s->exp_cmd_sn++;
        s->held_at = rt_now(s->rt);
        rt_list_del(&h->link);
        switch (h->kind) {
        case HELD_TASK: cmd_held_turn(s, container_of(h, struct sess_task, held)); break;
        case HELD_PDU:  held_pdu_turn(s, container_of(h, struct sess_ctl, held));  break;
        case HELD_SKIP: ctl_put(container_of(h, struct sess_ctl, held));           break;
        }
    }
}

/* It waits for its CmdSN; what it carries is kept if it is short. */
static void control_hold(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct sess_ctl *c;

    if (pdu->data_len > BUF_SMALL_LEN || !(c = ctl_get(s)))
        return;
    c->ctl.pdu = *pdu;
    if (pdu->data_len) {
        if (!ctl_chunk(c, pdu->data_len)) {
            ctl_put(c);
            return;
        }
        memcpy(c->chunk, data, pdu->data_len);
    }
    memcpy(c->small, dm_header(s->dm), ISCSI_BHS_LEN);
    c->held.kind = HELD_PDU;
    sess_hold_back(s, &c->held, pdu->cmd_sn);
}

static void on_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct sess *s = user;

    switch (s->state) {
    case SESS_LOGIN:
    case SESS_ASKING:
        login_request(s, pdu, data);
        return;
    case SESS_CLOSING:
        return;
    case SESS_FULL:
        break;
    }
    if (pdu->opcode == ISCSI_OP_LOGIN) {    /* RFC 7143 11.12: after the login it is a protocol error */
        sess_reject(s, dm_header(s->dm), ISCSI_REJECT_PROTOCOL_ERROR);
        return;
    }
    if (pdu->opcode == ISCSI_OP_SNACK) {    /* has no CmdSN; nothing is resent at ErrorRecoveryLevel 0 */
        sess_reject(s, dm_header(s->dm), ISCSI_REJECT_SNACK);
        return;
    }
    switch (sess_judge_sn(s, pdu)) {
    case SN_NEVER: return;
    case SN_LATER: control_hold(s, pdu, data); return;
    case SN_NOW:   break;
    }
    control_do(s, pdu, data, dm_header(s->dm));
}

static struct dm_task *on_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct sess *s = user;

    return s->state == SESS_FULL ? cmd_notify(s, pdu, ahs) : NULL;
}

static void on_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    cmd_data(user, task, what, how);
}

static void on_released(void *user, struct dm_task *task)
{
    cmd_released(user, task);
}

static void on_reject(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason)
{
    struct sess *s = user;

    if (s->state != SESS_FULL)
        return;
    /* What is sent a second time, or outside the window, is ignored whatever else is wrong with it: it may be
     * the copy of a command that is under way. */
    if (bhs_is_numbered(bhs) && sn_place(s, load_be32(&bhs[24])) == SN_NEVER)
        return;
    sess_reject(s, bhs, reason);
}

static void on_terminate(void *user, int err)
{
    struct sess *s = user;

    if (s->state == SESS_CLOSING) {
        dm_terminate(s->dm, false);
        return;
    }
    sess_close(s, false, s->logged_out ? NULL : err == -ECONNRESET ? "the initiator closed the connection"
                                          : err == -EBADMSG     ? "a digest did not match"
                                          : err == -EPROTO      ? "what it sent is not iSCSI"
                                                                : "the connection failed");
}

static void on_closed(void *user)
{
    struct sess *s = user;

    assert(s->state == SESS_CLOSING);
    dm_stats(s->dm, &s->stats);
    dm_free(s->dm);
    s->dm = NULL;
    cmd_closed(s);
    sess_try_end(s);
}

const struct dm_events sess_events = {
    .control_notify = on_control,
    .command_notify = on_command,
    .data_completion_notify = on_data,
    .task_released = on_released,
    .reject_notify = on_reject,
    .terminate_notify = on_terminate,
    .closed = on_closed,
};

/* ---- timer and turn -------------------------------------------------------------------------------------- */

static void idle_check(struct sess *s, uint64_t now)
{
    const struct tgt_limits *lim = &s->core->tgt->limits;
    struct dm_stats st;

    dm_stats(s->dm, &st);
    if (st.tx_waiting && now - st.tx_at_ns > lim->stall_ns) {
        sess_close(s, false, "it took nothing of what it was sent for too long (stall_s)");
        return;
    }
    if (!rt_list_empty(&s->held) && now - s->held_at > lim->stall_ns) {
        sess_close(s, false, "a command before those it sent never came (a hole in CmdSN)");
        return;
    }
    if (s->ping_at) {
        if (st.rx_at_ns > s->ping_at)
            s->ping_at = 0;
        else if (now - s->ping_at > lim->stall_ns)
            sess_close(s, false, "it did not answer a NOP-In for too long (stall_s)");
    } else if (s->discovery) {              /* has no NOPs (4.3): who asks nothing more is not kept */
        if (now - st.rx_at_ns > lim->idle_ns + lim->stall_ns)
            sess_close(s, false, "a discovery session that asked nothing for too long (idle_s, stall_s)");
    } else if (now - st.rx_at_ns > lim->idle_ns) {
        s->ping_at = now;
        text_ping(s);
    }
}

static void on_timer(struct rt_timer *t)
{
    struct sess *s = container_of(t, struct sess, timer);
    const uint64_t now = rt_now(s->rt);

    if (s->state == SESS_CLOSING)
        return;
    if (s->state != SESS_FULL) {
        login_timeout(s);
        return;
    }
    cmd_watch(s, now);
    if (s->state == SESS_FULL)
        idle_check(s, now);
    if (s->state == SESS_FULL)
        rt_timer_arm(s->rt, &s->timer, s->core->tgt->limits.tick_ns);
}

static void on_turn(struct rt_op *op, int res)
{
    struct sess *s = container_of(op, struct sess, turn);

    (void)res;
    s->turn_armed = false;
    held_turn(s);
    cmd_turn(s);
    sess_try_end(s);
}

void sess_turn(struct sess *s)
{
    if (s->turn_armed)
        return;
    s->turn_armed = true;
    rt_turn_end(s->rt, &s->turn);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

int sess_start(struct tgt_core *core, const struct tgt_arrival *a)
{
    struct sess *s = calloc(1, sizeof(*s));

    if (!s) {
        rt_sock_close(a->sock);
        return -ENOMEM;
    }
    *s = (struct sess){
        .core = core, .rt = core->rt, .peer = a->peer, .local = a->local, .group = a->group,
        .portal = a->portal, .penalty_ms = a->penalty_ms,
        .stat_sn = 1, .auth = "None",
        .turn.done = on_turn, .timer.fn = on_timer,
        .reg.sess = s,
    };
    rt_addr_format(&s->peer, s->peer_text);
    memcpy(s->why_core, a->why_core, sizeof(s->why_core));
    rt_list_init(&s->held);
    rt_list_init(&s->gaps);
    rt_list_init(&s->dying);
    rt_list_init(&s->tasks);
    rt_list_init(&s->ready);
    rt_list_init(&s->aborts);
    rt_list_init(&s->tmfs);
    rt_list_push(&core->sessions, &s->link);
    iscsi_params_default(&s->params);
    if (login_begin(s) || dm_tcp_new(&s->dm, s->rt, a->sock, ISCSI_TARGET, &sess_events, s)) {
        rt_log(RT_ERR, "no memory for the connection from %s: it was closed", s->peer_text);
        s->state = SESS_CLOSING;
        if (!s->login)
            rt_sock_close(a->sock);
        sess_try_end(s);
        return 0;
    }
    rt_timer_arm(s->rt, &s->timer, core->tgt->limits.login_ns);
    if (core->stopping)
        sess_close(s, false, NULL);
    return 0;
}

void sess_full(struct sess *s)
{
    s->state = SESS_FULL;
    rt_timer_arm(s->rt, &s->timer, s->core->tgt->limits.tick_ns);
}

void sess_close(struct sess *s, bool drain, const char *why)
{
    if (s->state == SESS_CLOSING)
        return;
    if (why && s->state == SESS_FULL)
        rt_log_peer(RT_NOTICE, "session %llu of %s from %s with %s ended: %s", (unsigned long long)s->id,
                    s->initiator, s->peer_text, s->discovery ? "discovery" : s->target, why);
    else if (why)
        rt_log_peer(RT_NOTICE, "connection from %s%s%s ended before it was logged in: %s", s->peer_text,
                    *s->initiator ? ", initiator " : "", s->initiator, why);
    s->state = SESS_CLOSING;
    rt_timer_disarm(s->rt, &s->timer);
    dm_terminate(s->dm, drain);
    held_free(&s->held);
    held_free(&s->gaps);
    cmd_close(s);
    tmf_close(s);
    sess_turn(s);                           /* looks at what is left, once the caller is done with s */
}

void sess_try_end(struct sess *s)
{
    if (s->state != SESS_CLOSING || s->dm || s->tasks_nr || s->ctls_nr || s->tmfs_nr || s->turn_armed ||
        s->asking || s->leaving)
        return;
    assert(rt_list_empty(&s->held) && login_idle(s));
    s->leaving = true;
    login_free(s);
    guest_end(s);
    text_free(s);
    map_clear(s);
    rt_list_del(&s->link);
    reg_gone(s);
}

void sess_free(struct sess *s)
{
    assert(s->state == SESS_CLOSING && !s->dm && !s->tasks_nr);
    free(s);
}

void sess_answered(struct sess *s)
{
    s->asking = false;
    if (s->state == SESS_CLOSING) {
        sess_try_end(s);
        return;
    }
    login_answered(s);
}

/* ---- for the operator ------------------------------------------------------------------------------------ */

static const char *state_name(const struct sess *s)
{
    switch (s->state) {
    case SESS_LOGIN:
    case SESS_ASKING: return "login";
    case SESS_FULL:   return "logged-in";
    default:          return "closing";
    }
}

json_t *sess_json(struct sess *s)
{
    const struct iscsi_params *p = &s->params;
    char local[RT_ADDR_STR_MAX], isid[13];
    struct dm_stats st = s->stats;

    if (s->dm)
        dm_stats(s->dm, &st);
    rt_addr_format(&s->local, local);
    for (unsigned i = 0; i < sizeof(s->isid); i++)
        snprintf(isid + 2 * i, 3, "%02x", s->isid[i]);
    return json_pack(
        "{s:I, s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s,"
        " s:s, s:s, s:s, s:b, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i,"
        " s:I, s:I, s:I, s:i, s:I, s:I}",
        "id", (json_int_t)s->id, "tsih", (int)s->tsih, "tpgt", (int)s->group, "initiator", s->initiator, "isid", isid, "target",
        s->discovery ? "discovery" : s->target, "portal", local, "peer", s->peer_text, "core", rt_core(s->rt),
        "state", state_name(s), "transport", s->dm ? s->dm->ops->transport : "", "transport_why",
        s->loop.why, "why", s->why_core, "auth", s->auth,
        "header_digest", p->header_digest ? "CRC32C" : "None", "data_digest",
        p->data_digest ? "CRC32C" : "None", "InitialR2T", (int)p->initial_r2t, "ImmediateData",
        (int)p->immediate_data, "MaxRecvDataSegmentLength", (int)p->recv_data_max,
        "InitiatorMaxRecvDataSegmentLength", (int)p->peer_recv_data_max, "MaxBurstLength", (int)p->burst_max,
        "FirstBurstLength", (int)p->first_burst_max, "MaxOutstandingR2T", (int)p->r2t_max, "MaxConnections",
        (int)p->connections_max, "ErrorRecoveryLevel", (int)p->erl, "DefaultTime2Wait", (int)p->time2wait_s,
        "DefaultTime2Retain", (int)p->time2retain_s, "commands", (json_int_t)s->commands, "read_bytes",
        (json_int_t)s->read_bytes, "write_bytes", (json_int_t)s->write_bytes, "in_flight", (int)s->tasks_nr,
        "rx_bytes", (json_int_t)st.rx_bytes, "tx_bytes", (json_int_t)st.tx_bytes);
}
