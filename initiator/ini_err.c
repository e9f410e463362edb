/*
 * ini_err.c - what does not answer: pings, late commands, and task management
 *
 * A command that is late is aborted, then its unit is reset, then the session is dropped and made anew. One
 * step is under way at a time; a command that was aborted goes back into the queue, so to whoever submitted it
 * a slow target is a wait, until its deadline. A unit that other sessions reach too is not reset: it would take their
 * commands along, without a word to them.
 */
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

#define STALL_NS RT_S                       /* a tick this late says that nobody turned the reactor */

static void tick_arm(struct ini_sess *s, uint64_t ns)
{
    s->tick_due_ns = rt_clock(s->rt) + ns;
    rt_timer_arm(s->rt, &s->tick, ns);
}

void ini_tick_soon(struct ini_sess *s)
{
    uint64_t ns = INI_TICK_NS;

    if (s->watch_ns && s->watch_ns / 8 < ns)
        ns = s->watch_ns / 8 > INI_TICK_MIN_NS ? s->watch_ns / 8 : INI_TICK_MIN_NS;
    s->tick_soon = true;
    tick_arm(s, ns);
}

/* A program that was stopped, or a library's caller who did not poll for a while, wakes with answers unread:
 * the time that nobody listened is not the target's. */
static bool was_asleep(struct ini_sess *s, uint64_t now)
{
    const uint64_t gap = now - s->tick_due_ns;

    if (s->watch_ns && now >= s->tick_due_ns + s->watch_ns / 2)
        s->listened_ns = now;               /* too short a sleep for the rest, too long for silence to count */
    if (now < s->tick_due_ns + STALL_NS)
        return false;
    rt_list_for(l, &s->flight)
        rt_list_entry(l, struct ini_task, link)->sent_ns += gap;
    for (unsigned i = 0; i < INI_TAGS; i++)
        s->ctl[i].sent_ns += gap;
    ini_tick_soon(s);
    return true;
}

void ini_err_reset(struct ini_sess *s)
{
    memset(&s->eh, 0, sizeof(s->eh));
    for (unsigned i = 0; i < INI_TAGS; i++)
        s->ctl[i].out = s->ctl[i].waits = s->ctl[i].pending = false;
    s->note_nr = 0;
    s->tick_soon = false;
    s->shut_ns = 0;
}

/* ---- pings ---------------------------------------------------------------------------------------------- */

static void ping_send(struct ini_sess *s)
{
    const struct iscsi_pdu pdu = { .opcode = ISCSI_OP_NOP_OUT, .final = true, .ttt = ISCSI_TAG_RESERVED };

    if (ini_ctl_free(s, INI_TAG_NOP))
        ini_ctl_send(s, INI_TAG_NOP, &pdu, NULL);
}

void ini_nop_in(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    const struct ini_note pong = { .lun = pdu->lun, .ttt = pdu->ttt };

    if (pdu->itt != ISCSI_TAG_RESERVED) {
        if (ini_ctl_answered(s, INI_TAG_NOP, pdu->itt))
            s->nop_rtt_ns = rt_clock(s->rt) - s->ctl[INI_TAG_NOP].sent_ns;
        return;
    }
    /* A ping of the target's has no data (11.19), so none is echoed. Beyond so many that wait, none is answered:
     * a target that pings faster than it listens gets no queue of ours. */
    if (pdu->ttt != ISCSI_TAG_RESERVED)
        (void)ini_note_send(s, &pong);
}

/* The last sign of life while a ping is under way. Anything that comes is one; so are bytes that leave while a long
 * write keeps the ping waiting. */
static uint64_t heard_of(const struct ini_sess *s, const struct dm_stats *st)
{
    const uint64_t heard = max_u64(st->rx_at_ns, s->ctl[INI_TAG_NOP].sent_ns);

    return st->tx_waiting ? max_u64(heard, st->tx_at_ns) : heard;
}

/* Commands are under way, and whoever submitted them has other ways: nobody waits for as long as pings of an idle
 * connection may take. Return: false when the connection was given up. */
static bool silence_check(struct ini_sess *s, uint64_t now, const struct dm_stats *st)
{
    const struct ini_task *oldest;
    uint64_t heard;

    if (!s->watch_ns || rt_list_empty(&s->flight))
        return true;
    oldest = rt_list_entry(s->flight.next, struct ini_task, link);
    heard = max_u64(max_u64(st->rx_at_ns, oldest->sent_ns), s->listened_ns);
    if (st->tx_waiting)
        heard = max_u64(heard, st->tx_at_ns);
    if (!s->ctl[INI_TAG_NOP].waits) {
        if (now >= heard + s->watch_ns)
            ping_send(s);
        return true;
    }
    if (now < max_u64(heard, heard_of(s, st)) + s->watch_ns)
        return true;
    s->timeouts++;
    s->silent = true;
    ini_conn_lost(s, -ETIMEDOUT, "nothing came from the target for %u ms, nor did it answer a ping for as long",
                  (unsigned)(s->watch_ns / RT_MS));
    return false;
}

/* Return: false when the connection was given up. */
static bool ping_check(struct ini_sess *s, uint64_t now)
{
    const uint64_t interval = (uint64_t)s->conf.set.noop_interval_s * RT_S;
    const uint64_t timeout = (uint64_t)s->conf.set.noop_timeout_s * RT_S;
    struct dm_stats st;

    if (!interval && !s->watch_ns)
        return true;
    dm_stats(s->dm, &st);
    if (!silence_check(s, now, &st))
        return false;
    if (!interval)
        return true;
    if (!s->ctl[INI_TAG_NOP].waits) {
        if (now >= st.rx_at_ns + interval)
            ping_send(s);
        return true;
    }
    if (!timeout || now < heard_of(s, &st) + timeout)
        return true;
    s->timeouts++;
    ini_conn_lost(s, -ETIMEDOUT, "the target did not answer a ping for %d s", s->conf.set.noop_timeout_s);
    return false;
}

void ini_sess_watch(struct ini_sess *s, uint32_t silence_ms)
{
    rt_assert_here(s->rt);
    s->watch_ns = silence_ms * RT_MS;
    if (s->state == INI_UP && s->conn == CONN_FULL)
        ini_tick_soon(s);                   /* one that is armed may be far off */
}

/* ---- task management ------------------------------------------------------------------------------------ */

static void tmf_send(struct ini_sess *s, enum iscsi_tmf function, uint16_t lun, const struct ini_task *t)
{
    const struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_TMF,
        .final = true,
        .lun = scsi_lun_encode(lun),
        .tmf = {
            .function = (uint8_t)function,
            .ref_task_tag = t ? t->dm.itt : ISCSI_TAG_RESERVED,
            .ref_cmd_sn = t ? t->cmd_sn : 0,
        },
    };

    s->eh.lun = lun;
    s->eh.limit_s =
        function != ISCSI_TMF_LUN_RESET ? s->conf.set.abort_timeout_s : s->conf.set.lu_reset_timeout_s;
    ini_ctl_send(s, INI_TAG_TMF, &pdu, NULL);
}

static void lun_reset_begin(struct ini_sess *s)
{
    const struct ini_lun *l = ini_lun_find(s, s->eh.lun);

    if (l && l->hand) {
        ini_conn_lost(s, -ETIMEDOUT, "the target does not abort a command to lun %u, which has other paths", l->lun);
        return;
    }
    s->eh.step = EH_LUN_RESET;
    rt_log(RT_WARN, "%s: lun %u: the target does not abort a command; resetting the unit", s->conf.target,
           s->eh.lun);
    tmf_send(s, ISCSI_TMF_LUN_RESET, s->eh.lun, NULL);
}

/* The unit was reset: every command of ours that it had by then is gone. */
static void lun_was_reset(struct ini_sess *s)
{
    /* By the number that went out with the request: one that follows another may have waited until that had left. */
    const uint32_t sn = s->ctl[INI_TAG_TMF].ctl.pdu.cmd_sn;

    rt_list_for_safe(l, &s->flight) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        if (t->lun == s->eh.lun && iscsi_sn_lt(t->cmd_sn, sn))
            ini_task_return(s, t);
    }
}

/* ---- all that one unit has ------------------------------------------------------------------------------ */

static void abort_tell(struct ini_lun *l, int err)
{
    void (*done)(void *user, int e) = l->abort_done;

    l->abort_done = NULL;
    l->aborting = false;
    done(l->abort_user, err);
}

/* One task management request at a time: who comes when another is under way is next. */
static void aborts_next(struct ini_sess *s)
{
    if (s->state != INI_UP || s->conn != CONN_FULL || s->eh.step || !ini_ctl_free(s, INI_TAG_TMF))
        return;
    rt_list_for(at, &s->luns) {
        struct ini_lun *l = rt_list_entry(at, struct ini_lun, link);

        if (!l->abort_done)
            continue;
        l->aborting = true;
        s->eh.step = EH_SET;
        tmf_send(s, ISCSI_TMF_ABORT_TASK_SET, l->lun, NULL);
        if (!s->tick_soon)
            ini_tick_soon(s);
        return;
    }
}

static void abort_ended(struct ini_sess *s, bool ok)
{
    struct ini_lun *l = ini_lun_find(s, s->eh.lun);

    s->eh.step = EH_IDLE;
    if (ok)
        lun_was_reset(s);                   /* as far as this session's commands go */
    else
        ini_conn_lost(s, -EIO, "the target does not abort the commands of lun %u", s->eh.lun);
    if (l && l->aborting)
        abort_tell(l, ok ? 0 : -EIO);
}

void ini_aborts_over(struct ini_sess *s, int err)
{
    for (struct rt_link *at = s->luns.next; at != &s->luns;) {
        struct ini_lun *l = rt_list_entry(at, struct ini_lun, link);

        at = at->next;
        if (!l->abort_done)
            continue;
        abort_tell(l, err);
        at = s->luns.next;                  /* who is told may close units */
    }
}

void ini_lun_abort_all(struct ini_lun *l, void (*done)(void *user, int err), void *user)
{
    rt_assert_here(l->rt);
    assert(l->open);
    if (l->sess->state != INI_UP || l->abort_done) {
        done(user, l->abort_done ? -EBUSY : -ENOTCONN);
        return;
    }
    l->abort_done = done;
    l->abort_user = user;
    aborts_next(l->sess);
}

/* ---- what becomes of a request -------------------------------------------------------------------------- */

/* resp: enum iscsi_tmf_resp. */
static void tmf_ended(struct ini_sess *s, uint8_t resp)
{
    const bool ok = resp == ISCSI_TMF_COMPLETE;
    void (*done)(void *user, int r, int err) = s->eh.done;
    struct ini_task *late;

    switch (s->eh.step) {
    case EH_ABORT:
        late = ini_task_find(s, s->eh.itt);
        if (!late) {                        /* answered meanwhile */
            s->eh.step = EH_IDLE;
        } else if (ok || resp == ISCSI_TMF_NO_TASK) {
            s->eh.step = EH_IDLE;
            s->aborts++;
            ini_task_return(s, late);
        } else {
            lun_reset_begin(s);
        }
        return;
    case EH_LUN_RESET:
        s->eh.step = EH_IDLE;
        if (ok)
            lun_was_reset(s);
        else
            ini_conn_lost(s, -ETIMEDOUT, "commands to lun %u get no answer, and the target does not reset it",
                          s->eh.lun);
        return;
    case EH_SET:
        abort_ended(s, ok);
        return;
    case EH_GHOSTS:                         /* not done: ini_lun_open() sees to it, if it ever matters */
        s->eh.step = EH_IDLE;
        if (ok && s->ghosts == 1 && s->ghost_lun == s->eh.lun)
            s->ghosts = 0;
        return;
    case EH_CALLER:
        s->eh.step = EH_IDLE;
        s->eh.done = NULL;
        if (ok)
            lun_was_reset(s);
        done(s->eh.user, resp, 0);
        return;
    default:
        return;
    }
}

void ini_tmf_response(struct ini_sess *s, const struct iscsi_pdu *pdu)
{
    if (ini_ctl_answered(s, INI_TAG_TMF, pdu->itt))
        tmf_ended(s, pdu->tmf.response);
    aborts_next(s);
    ini_move_check(s);
}

void ini_tmf_rejected(struct ini_sess *s, bool later)
{
    if (later && (s->eh.step == EH_ABORT || s->eh.step == EH_SET))
        s->eh.step = EH_IDLE;               /* the next tick finds that it is to be done still, and asks again */
    else
        tmf_ended(s, ISCSI_TMF_REJECTED);
    ini_move_check(s);
}

void ini_lun_reset(struct ini_sess *s, uint16_t lun, void (*done)(void *user, int resp, int err), void *user)
{
    rt_assert_here(s->rt);
    if (s->state != INI_UP || s->eh.step || !ini_ctl_free(s, INI_TAG_TMF)) {
        done(user, -1, s->state == INI_UP ? -EBUSY : -ENOTCONN);
        return;
    }
    s->eh.step = EH_CALLER;
    s->eh.done = done;
    s->eh.user = user;
    tmf_send(s, ISCSI_TMF_LUN_RESET, lun, NULL);
    if (!s->tick_soon)
        ini_tick_soon(s);                   /* where its limit is watched: an idle session ticks rarely */
}

void ini_ghosts_abort(struct ini_sess *s, uint16_t lun)
{
    if (s->state != INI_UP || s->conn != CONN_FULL || s->eh.step || !ini_ctl_free(s, INI_TAG_TMF))
        return;
    s->eh.step = EH_GHOSTS;
    tmf_send(s, ISCSI_TMF_ABORT_TASK_SET, lun, NULL);
    if (!s->tick_soon)
        ini_tick_soon(s);
}

static void eh_check(struct ini_sess *s, uint64_t now)
{
    const struct ini_ctl *tmf = &s->ctl[INI_TAG_TMF];

    if (!tmf->waits || now < tmf->sent_ns + (uint64_t)s->eh.limit_s * RT_S)
        return;
    if (s->eh.step == EH_ABORT && !tmf->out) {
        lun_reset_begin(s);
        return;
    }
    ini_conn_lost(s, -ETIMEDOUT, "the target does not answer task management for lun %u", s->eh.lun);
}

static void late_check(struct ini_sess *s, uint64_t now)
{
    rt_list_for(l, &s->flight) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);
        const uint64_t limit = (t->timeout_s ? t->timeout_s : s->conf.set.cmd_timeout_s) * RT_S;

        if (now < t->sent_ns + limit)
            continue;
        s->timeouts++;
        if (!ini_ctl_free(s, INI_TAG_TMF))
            return;
        rt_log(RT_WARN, "%s: lun %u: no answer to %s for %u s; aborting it", s->conf.target, t->lun,
               scsi_op_name(t->cdb[0]), (unsigned)(limit / RT_S));
        s->eh.step = EH_ABORT;
        s->eh.itt = t->dm.itt;
        tmf_send(s, ISCSI_TMF_ABORT_TASK, t->lun, t);
        return;
    }
}

/* Commands wait, none is under way that could open the window: the target shut it and forgot. */
static void window_check(struct ini_sess *s, uint64_t now)
{
    if (rt_list_empty(&s->queue) || !rt_list_empty(&s->flight) || iscsi_sn_le(s->cmd_sn, s->max_cmd_sn)) {
        s->shut_ns = 0;
        return;
    }
    if (!s->shut_ns)
        s->shut_ns = now;
    rt_list_for_safe(l, &s->queue) {
        struct ini_task *t = rt_list_entry(l, struct ini_task, link);

        if (now < t->deadline_ns)
            continue;
        rt_list_del(l);
        s->queue_nr--;
        ini_task_end_later(s, t, -ETIMEDOUT);
    }
    if (now >= s->shut_ns + s->conf.set.cmd_timeout_s * RT_S)
        ini_conn_lost(s, -ETIMEDOUT, "the target admits no commands (MaxCmdSN %u, next is %u)", s->max_cmd_sn,
                      s->cmd_sn);
}

void ini_tick(struct rt_timer *timer)
{
    struct ini_sess *s = container_of(timer, struct ini_sess, tick);
    const uint64_t now = rt_now(s->rt);
    bool followed;

    s->tick_soon = false;
    if (s->conn != CONN_FULL || s->state != INI_UP || was_asleep(s, now) || !ping_check(s, now))
        return;
    ini_move_check(s);                      /* whatever else it waits for */
    if (s->leaving && now >= s->leave_ns && !s->stopping) {
        ini_logout_send(s);
        return;
    }
    if (s->eh.step)
        eh_check(s, now);
    else
        late_check(s, now);
    aborts_next(s);
    if (s->conn == CONN_FULL)
        window_check(s, now);
    if (s->conn != CONN_FULL)
        return;
    followed = ini_alua_tick(s, now);
    if (s->leaving || s->eh.step || s->ctl[INI_TAG_NOP].waits || !rt_list_empty(&s->flight) ||
        !rt_list_empty(&s->queue))
        ini_tick_soon(s);
    else                                    /* idle: as often as pings need */
        tick_arm(s, s->conf.set.noop_interval_s && !followed ? (uint64_t)s->conf.set.noop_interval_s * RT_S / 2
                                                             : RT_S);
}
