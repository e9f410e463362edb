/*
 * ini_internal.h - what the files of the initiator share; nobody else includes it
 *
 * ini_sess.c      life of a session: its state table, recovery, stop
 * ini_conn.c      its connection: addresses, attempts, what comes that is no command's answer
 * ini_login.c     the login phase: stages, CHAP, keys, redirection, what a refusal means
 * ini_loop.c      shared memory with a target on this host: the offer, arenas, buffers
 * ini_task.c      commands: window, numbering, answers, replay
 * ini_move.c      the session goes on on another core
 * ini_err.c       keep-alive, command timeouts and their escalation, task management
 * ini_discover.c  SendTargets
 * ini_cmd.c       small commands, sent again where that is right; REPORT LUNS
 * ini_lun.c       a logical unit: probe, identity, unit attentions
 * ini_alua.c      how a unit can be reached through this port
 * ini_io.c        bytes in and out of a unit: pieces, retries, errors
 * ini_fence.c     nothing is left at the target of what a broken session had sent
 * ini_hand.c      units whose requests are handed back when their session cannot carry them out
 */
#ifndef CORELANE_INI_INTERNAL_H
#define CORELANE_INI_INTERNAL_H

#include <assert.h>
#include <errno.h>
#include "initiator/ini.h"
#include "loopback/loop.h"
#include "reactor/rt_pool.h"

#define INI_TICK_NS (200 * RT_MS)           /* how exact command timeouts and pings are */
#define INI_TICK_MIN_NS (5 * RT_MS)         /* the same, of a session whose silence is watched */
#define INI_HOPS_MAX 4u                     /* login redirections followed */
#define INI_LOGIN_PDUS_MAX 64u              /* responses in one login: a target that never comes to an end */
#define INI_TEXT_MAX (16u * 1024)           /* bytes of login text joined by C bits */
#define INI_LOGIN_OUT_MAX 4096u             /* bytes of login text that we send in one PDU */
#define INI_BACKOFF_MIN_NS (100 * RT_MS)
#define INI_BACKOFF_MAX_NS (5 * RT_S)
#define INI_LASTED_NS (5 * RT_S)            /* a session that did so was one, whatever it did */
#define INI_REJECTS_MAX 64u                 /* in a row: more is a target that answers nothing else */
#define INI_NOTES_MAX 64u                   /* more are a target's that asks faster than it listens */
#define INI_HANGUPS_MAX 2u                  /* connections that end on the offer of shared memory: then it is not made */
#define INI_LOOP_VAIN_MAX 3u                /* connections in shared memory that led to nothing, in a row: TCP then */
#define INI_ARENAS_OLD_MAX 4u               /* retired ones that wait for their buffers: a target that wears one out after the
                                             * other gets no more of our memory than that */
#define INI_CMD_TRIES_MAX 8u
#define INI_OFFLINE_ERR (-ETIMEDOUT)        /* what requests end with when they have waited long enough */
#define INI_LUN_TRIES_MAX 60u               /* times half a second for a unit that becomes ready */

/* ---- tags: slot | generation << 16, so that the answer to a tag long gone is recognised ----------------- */

enum ini_tag {                              /* PDUs of the session's own, in slots beyond those of commands */
    INI_TAG_LOGIN,
    INI_TAG_TEXT,
    INI_TAG_LOGOUT,
    INI_TAG_TMF,
    INI_TAG_NOP,
    INI_TAG_NOTE,                           /* NOP-Outs that nobody waits for: see struct ini_note */
    INI_TAGS,
};
#define INI_TAG_SLOT 0xf000u
static_assert(INI_TAG_SLOT > 2048, "cmds_max slots come before");
static inline uint32_t ini_itt(uint16_t slot, uint16_t gen)
{
    return (uint32_t)gen << 16 | slot;
}

struct ini_slot {
    struct ini_task *task;                  /* NULL: free */
    uint16_t gen, next_free;
};

enum ini_task_state {
    TASK_IDLE,
    TASK_QUEUED,                            /* waits for the window, for the session, or for its unit */
    TASK_SENT,
    TASK_ENDING,                            /* results are in; waits until the datamover lets go */
    TASK_RETURNING,                         /* aborted: goes back to the queue when the datamover lets go */
};

/* A PDU of the session's own: one at a time of each kind. */
struct ini_ctl {
    struct dm_ctl ctl;
    struct ini_sess *sess;
    bool out;                               /* with the datamover: may not be touched */
    bool waits;                             /* for its answer */
    bool pending;                           /* next goes out when ctl is back: answers may overtake sent() */
    uint32_t itt;
    uint64_t sent_ns;
    struct iscsi_pdu next;
    const void *next_data;
};

/* A NOP-Out that owes nobody an answer: the one to a target's ping, or one that takes the number of a command that
 * the target has rejected (7.3: it counts as never received, and what follows it waits). */
struct ini_note {
    uint64_t lun;
    uint32_t ttt;                           /* of the ping; ISCSI_TAG_RESERVED: fills a gap */
    uint32_t cmd_sn;                        /* the gap */
};

/* ---- a session ------------------------------------------------------------------------------------------ */

enum ini_sess_event {
    EV_START, EV_LOGGED_IN, EV_LOST, EV_EXPIRED, EV_GIVE_UP, EV_STOP, EV_STOPPED,
};

enum ini_conn {                             /* where the connection is */
    CONN_NONE,
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_LOGIN,
    CONN_FULL,                              /* full feature phase */
    CONN_LOGOUT,                            /* Logout is sent */
    CONN_CLOSING,                           /* waits for the datamover's closed(), or the end of a connect */
};

/* A look-up outlives a session that is stopped meanwhile: then sess is NULL and it frees itself. */
struct ini_lookup {
    struct rt_resolve resolve;
    struct ini_sess *sess;
    bool busy;
};

enum ini_login_stage { LOGIN_START, LOGIN_AUTH_METHOD, LOGIN_CHAP_ALG, LOGIN_CHAP, LOGIN_SECURITY_END,
                       LOGIN_OPERATIONAL };

enum ini_loop_step {                        /* shared memory, in this login */
    LOOP_NONE,                              /* not offered, or nothing came of it */
    LOOP_OFFERED,
    LOOP_JOINING,                           /* invited: the arena is made, the memories are handed over */
    LOOP_JOINED,
};

struct ini_login {
    uint8_t stage;                          /* enum ini_login_stage */
    uint8_t loop;                           /* enum ini_loop_step */
    bool loop_told;                         /* the target has answered the offer */
    bool loop_yes;                          /* it goes on in shared memory when the login is over */
    struct loop_invitation invitation;
    struct iscsi_text answer;               /* JOINING: what the next request says beside the outcome */
    bool chap_done;
    unsigned pdus;
    int32_t tpgt;                           /* -1: not told */
    uint32_t itt;
    struct chap_initiator chap;
    struct iscsi_params offer;
    struct iscsi_negotiation keys;
    uint32_t in_len;
    char out[INI_LOGIN_OUT_MAX];
    char in[INI_TEXT_MAX];                  /* a response's text, joined where it came in several PDUs */
};

/* How the escalation of a command that does not come back stands. */
enum ini_eh { EH_IDLE, EH_ABORT, EH_LUN_RESET, EH_CALLER, EH_GHOSTS, EH_SET };

enum ini_move_step {
    MOVE_NONE,
    MOVE_DRAIN,                             /* what is under way is answered; nothing new is sent */
    MOVE_REST,                              /* the datamover comes to rest */
    MOVE_AWAY,                              /* the message is on its way to the new core */
    MOVE_OVER,                              /* to be told */
};

struct ini_move {
    uint8_t step;                           /* enum ini_move_step */
    bool armed;                             /* op is under way */
    struct rt *to;
    uint64_t began_ns, limit_ns, pause_ns;
    struct rt_timer limit;
    struct rt_op op;
    struct rt_msg msg;
    int err;
    char why[96];
    void (*done)(void *user, int err, const char *why, uint64_t pause_ns);
    void *user;
};

struct ini_sess {
    struct rt *rt;
    struct ini_conf conf;
    struct ini_sess_events events;
    void *user;
    bool discovery;
    uint8_t state;                          /* enum ini_state; sess_step() is the only writer */
    uint8_t conn;                           /* enum ini_conn */

    /* Connection. */
    struct iscsi_portal home, portal;       /* where logins start; where this one goes */
    struct iscsi_portal moved;              /* home from now on, if this login succeeds */
    struct iscsi_portal hop[INI_HOPS_MAX + 1];
    unsigned hops;
    struct ini_lookup *lookup;
    struct rt_addr addr[8];
    unsigned addr_nr, addr_at;
    struct rt_op connect_op, gone_op;
    bool attempting;                        /* an attempt to log in is under way: its end is a failed one */
    bool next_addr;                         /* it failed in a way that another address may not */
    struct rt_sock *sock;
    struct rt_addr peer;
    struct dm *dm;
    struct rt_timer phase;                  /* connect and login, drain, logout */
    struct rt_timer retry;                  /* the next attempt */
    struct rt_timer replacement;            /* requests have waited long enough */
    struct rt_timer tick;
    bool tick_soon;
    uint64_t tick_due_ns;
    uint64_t watch_ns;                      /* see ini_sess_watch(); 0: pings are those of noop_out_interval alone */
    uint64_t listened_ns;                   /* silence counts from here on: before, nobody turned the reactor */
    bool silent;                            /* that is why the connection was dropped */
    unsigned attempts;                      /* failed ones in a row */
    unsigned vain;                          /* ones in a row that succeeded and led to nothing */
    uint64_t up_ns;                         /* when the last of those did */
    bool useful;                            /* since then a command that is no probe was answered */
    uint64_t wait_ns;                       /* before the next attempt at least: Time2Wait */
    bool again;                             /* the next attempt is not a retry: redirect, other CHAP list */
    bool ever_up;
    bool hopeless;                          /* the refusal is one that a retry does not change */
    int err;                                /* why the last attempt or connection ended */
    char why[320];
    uint64_t down_ns;                       /* when recovery began */
    unsigned chap_algs;                     /* what may be offered */
    bool chap_md5_only;                     /* this attempt offers MD5 alone, as the one before was refused */
    struct {                                /* how the one before was */
        int err;
        char why[320];
    } chap_refusal;

    struct {                                /* ini_loop.c */
        bool same_host;                     /* the portal of this connection is an address of this host */
        bool on;                            /* this connection has gone over to shared memory */
        bool was;                           /* so had the last that logged in */
        unsigned hangups;                   /* connections of this attempt that ended on the offer, or soon after */
        unsigned vain;                      /* ones in a row that came to it and led to nothing: see vain above */
        struct loop_join *join;
        struct ini_arena *arena;            /* NULL: none yet */
        struct rt_link old;                 /* retired ones of which callers still have buffers */
        unsigned old_nr;
        bool full;                          /* the arena had no room for the last who asked */
        bool spent;                         /* the arena cannot serve a command that waits */
        bool making;                        /* work is under way: touches made and made_err alone */
        struct rt_work work;
        struct loop_arena *made;
        int made_err;
        bool settling;                      /* the arena follows its session to another node */
        size_t settled;                     /* bytes of it that have */
        struct rt_op settle;
        char why[160];                      /* why the transport is the one it is */
    } loop;

    struct ini_login *login;
    struct iscsi_params params;
    uint16_t tsih, tpgt;
    bool tpgt_told;
    struct ini_ctl ctl[INI_TAGS];           /* by enum ini_tag */
    struct ini_note note[INI_NOTES_MAX];    /* a ring of those that wait */
    unsigned note_first, note_nr;
    uint16_t gen;

    /* Numbers. */
    uint32_t cmd_sn, exp_cmd_sn, max_cmd_sn, exp_stat_sn;
    uint64_t shut_ns; /* since when the window admits nothing though something waits; 0: open */
    unsigned rejects;

    /* Commands. */
    struct ini_slot *slot;
    uint16_t slot_nr, slot_free;            /* slot_free: head of the list, slot_nr: none */
    struct rt_link queue;                   /* by seq */
    struct rt_link flight;                  /* sent, by CmdSN */
    struct rt_link ending;                  /* answered or aborted, not yet let go */
    struct rt_link ended;                   /* to be told by end_op */
    struct rt_op end_op;
    bool end_armed, pumping;
    uint32_t flight_nr, queue_nr;
    uint64_t seq;
    bool sending;                           /* commands may go out: up, and nobody asked us to leave */
    bool leaving;                           /* the target asked for a logout: log in again after it */
    uint8_t ghosts;                         /* given up, but the target may still run them: commands of 0, 1, 2:
                                             * more units */
    uint16_t ghost_lun;                     /* the last of them */
    uint64_t leave_ns;

    struct {
        uint8_t step;                       /* enum ini_eh */
        int32_t limit_s;                    /* for the answer */
        uint32_t itt;                       /* of the task that is late */
        uint16_t lun;
        void (*done)(void *user, int resp, int err);
        void *user;
    } eh;

    struct rt_link luns;
    unsigned gates;                         /* units that hold back what goes to them */
    struct rt_link cmds;                    /* struct ini_cmd that a timer sends again */
    struct ini_move move;

    /* Stop. */
    bool stopping, drain, draining;
    bool logged_out;                        /* the target has closed the session, and no command was open in it */
    void (*stopped)(void *user);
    void *stopped_user;
    struct rt_op stop_op;

    struct ini_fence *fence;                /* who waits for one; NULL: nobody */
    unsigned fences_nr;                     /* sessions of fences that are not gone yet */
    bool stop_held;                         /* the stop waits for them */

    /* Text, for discovery. */
    void (*text_done)(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data, int err);
    void *text_user;

    uint64_t commands, read_bytes, write_bytes, reconnects, resent, digest_errors, timeouts, aborts;
    uint64_t nop_rtt_ns;
};

/* ini_sess.c */
void ini_sess_step(struct ini_sess *s, enum ini_sess_event ev);
void ini_logout_send(struct ini_sess *s);
/* Something ended: whoever waits for the last command (a stop, a logout that the target asked for) goes on. */
void ini_drain_check(struct ini_sess *s);

/* ini_conn.c */
extern const struct dm_events ini_dm_events;
void ini_conn_init(struct ini_sess *s);
void ini_conn_open(struct ini_sess *s);     /* a new attempt, from the portal where logins start */
void ini_phase_arm(struct ini_sess *s, int32_t seconds);
void ini_why(struct ini_sess *s, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The connection is of no use any more; s->why and s->err say why. Nothing is told to it again; recovery, a
 * retry or the end of a stop follow when it is closed. */
void ini_conn_end(struct ini_sess *s);
/* The same for a session that was up, or an attempt that failed, with the reason: 0 when the target asked for
 * it. */
void ini_conn_lost(struct ini_sess *s, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void ini_logged_in(struct ini_sess *s);
/* Sends it when those before it are out. Return: false when too many wait. */
bool ini_note_send(struct ini_sess *s, const struct ini_note *note);
/* One of a kind at a time. Fills numbers, the immediate bit, and itt where that is 0; @data: kept until the
 * answer. */
void ini_ctl_send(struct ini_sess *s, enum ini_tag tag, const struct iscsi_pdu *pdu, const void *data);
static inline bool ini_ctl_free(const struct ini_sess *s, enum ini_tag tag)
{
    return !s->ctl[tag].out && !s->ctl[tag].waits;
}
/* Whether @pdu answers the one that is out; it does not wait any more then. */
bool ini_ctl_answered(struct ini_sess *s, enum ini_tag tag, uint32_t itt);

/* ini_login.c */
int ini_login_begin(struct ini_sess *s);
/* The target refuses the login, or hung up: the next attempt, which follows at once, may offer less. */
void ini_login_offer_less(struct ini_sess *s);
void ini_login_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);

/* Ends the operational stage, with login->answer. */
void ini_login_go_on(struct ini_sess *s);

/* ini_loop.c */
struct ini_arena {
    struct rt_link link;                    /* in loop.old, once it is retired */
    struct loop_arena *mem;
    unsigned out;                           /* buffers that callers hold */
};
void ini_loop_init(struct ini_sess *s);
void ini_loop_exit(struct ini_sess *s);
/* Adds the offer to the first request of the operational stage where one is to be made: login->loop says so, and the
 * request must not end the stage then. Return: false when the login is over. */
bool ini_loop_offer(struct ini_sess *s, struct iscsi_text *t);
/* One pair of an answer. Return: whether it was the offer's. */
bool ini_loop_told(struct ini_sess *s, const char *key, const char *value);
/* The target's answer to the first request of the stage is here. Return: true to go on with @answer; false: the login is
 * over, or ini_login_go_on() follows. */
bool ini_loop_answered(struct ini_sess *s, const struct iscsi_text *answer);
/* Full feature phase, over what was agreed on. Return: false when there is no connection any more. */
bool ini_loop_enable(struct ini_sess *s);
/* The target hung up or refused where it was to answer: the next connection, which follows at once, may not offer it.
 * @weight: INI_HANGUPS_MAX where it can have no other reason. */
void ini_loop_unanswered(struct ini_sess *s, unsigned weight);
/* The datamover ran out of stand-ins. */
void ini_loop_spent(struct ini_sess *s);
void ini_loop_gone(struct ini_sess *s);     /* the connection is */
void ini_loop_settle(struct ini_sess *s);   /* the session has come to this core: so should its memory */

/* ini_task.c */
int ini_tasks_init(struct ini_sess *s);
void ini_task_notify(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);
void ini_task_released(struct ini_sess *s, struct dm_task *dt);
void ini_tasks_window(struct ini_sess *s, const struct iscsi_pdu *pdu);
void ini_tasks_pump(struct ini_sess *s);
struct ini_task *ini_task_find(struct ini_sess *s, uint32_t itt);   /* sent and not answered; NULL: none */
/* Takes a command back that the target has aborted: into the queue again, or to its end. */
void ini_task_return(struct ini_sess *s, struct ini_task *t);
void ini_task_fail(struct ini_sess *s, struct ini_task *t, int err);    /* sent: ends when let go */
/* Rejected for want of room, as sent: ends like one that met a full task set, which its submitter knows how to
 * wait for. */
void ini_task_crowded(struct ini_sess *s, struct ini_task *t);
/* Those of one unit that are sent end when let go, though the target may still run them. Return: any? */
bool ini_tasks_give_up(struct ini_sess *s, uint16_t lun, int err);
/* The connection is closed: what was sent goes back into the queue. */
void ini_tasks_hold(struct ini_sess *s);
/* Those in the queue; told later in this turn or in the next. */
void ini_tasks_fail_all(struct ini_sess *s, int err);
void ini_task_end_later(struct ini_sess *s, struct ini_task *t, int err);
/* Ends it if it waits in the session's queue. */
void ini_task_unqueue(struct ini_sess *s, struct ini_task *t, int err);
void ini_queue_insert(struct rt_link *queue, struct ini_task *t);

/* ini_err.c */
void ini_tick(struct rt_timer *t);
void ini_tick_soon(struct ini_sess *s);
/* The connection is gone. Who waits for a reset (s->eh.done) is not told here. */
void ini_err_reset(struct ini_sess *s);
void ini_tmf_response(struct ini_sess *s, const struct iscsi_pdu *pdu);
/* @later: not for good, the target has no room for it now. */
void ini_tmf_rejected(struct ini_sess *s, bool later);
/* Asks the target to end what ini_tasks_give_up() left with it. */
void ini_ghosts_abort(struct ini_sess *s, uint16_t lun);
/* The connection is gone: who waits for ini_lun_abort_all() is told. */
void ini_aborts_over(struct ini_sess *s, int err);
void ini_nop_in(struct ini_sess *s, const struct iscsi_pdu *pdu);

/* ini_fence.c */
void ini_fence_end(struct ini_sess *s, int err);        /* who waits for one is told that */

/* ini_move.c */
void ini_move_init(struct ini_sess *s);
/* While this says so, commands stay in the queue. */
static inline bool ini_move_holds(const struct ini_sess *s)
{
    return s->move.step >= MOVE_DRAIN && s->move.step <= MOVE_AWAY;
}
/* Something ended that a move may wait for. */
void ini_move_check(struct ini_sess *s);
/* Ends a move, if there is one, where the session is; told in a coming turn. */
void ini_move_off(struct ini_sess *s, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void ini_move_at_rest(struct ini_sess *s);  /* the datamover is */

/* ini_discover.c */
void ini_text_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);

/* ---- a small command with its answer in memory, retried where that is right ----------------------------- */

struct ini_cmd {
    struct ini_task task;                   /* cdb, cdb_len and lun filled by the caller */
    struct ini_sess *sess;
    struct iovec iov;
    uint8_t *buf;
    uint32_t buf_len;
    bool out;                               /* buf is what is sent, not the answer */
    unsigned tries, attentions;
    struct rt_link waits;                   /* in sess->cmds while timer is armed */
    struct rt_timer timer;
    void (*done)(struct ini_cmd *c);        /* task.err, task.status, task.sense, task.in_len */
};
void ini_cmd_start(struct ini_sess *s, struct ini_cmd *c);
/* One that waits to be sent again is not. Return: whether it was. */
bool ini_cmd_cancel(struct ini_cmd *c);
/* 0: the target said GOOD; else -errno. */
int ini_cmd_result(const struct ini_cmd *c);

/* ---- a logical unit ------------------------------------------------------------------------------------- */

#define INI_PROBE_LEN 4096u
#define INI_PROBES_MAX 10u                  /* times that a unit may change while it is looked over */
#define INI_PIECE_IOV 32u

struct ini_pool_piece {
    struct ini_piece p;
    struct iovec iov[INI_PIECE_IOV];
};

/* What a probe reads; taken over into the unit when all of it agrees. */
struct ini_probe {
    struct scsi_inquiry inquiry;
    struct scsi_capacity capacity;
    struct scsi_limits limits;
    struct scsi_mode mode;
    struct scsi_port port;                  /* through which it was looked at */
    struct scsi_group access;
    char wwid[SCSI_WWID_MAX], serial[SCSI_WWID_MAX];
    uint8_t pages[256 / 8];                 /* VPD pages that are there */
    bool cap16_refused, mode6_refused, has_access;
    bool out_of_reach;                      /* this port does not admit to ask for its size */
};

struct ini_lun {
    struct ini_sess *sess;
    struct rt *rt;
    uint16_t lun;
    struct rt_link link;                    /* in sess->luns */
    struct ini_lun_info info;
    struct ini_lun **out;                   /* ini_lun_open()'s, written at done */
    void (*opened)(void *user, int err, const char *why);
    void (*event)(void *user, enum ini_event ev);
    void *user;

    /* Gate: while it is shut nothing but probes goes to the unit. */
    bool shut;
    bool open;                              /* was looked over once */
    bool late;                              /* the first look waited too long for the session */
    bool paused;                            /* the session is away, and the user was told */
    bool closing;                           /* freed when the probe under way is back */
    int err;                                /* -errno: requests fail with it from here on... */
    bool offline;                           /* ...until the session is back: nothing is known against the unit */
    bool hand;                              /* requests are handed back: see ini_lun_hand_back() */
    bool away;                              /* the session is up, but the port does not say who the unit is */
    struct rt_link held;                    /* tasks that the session would send, by seq */

    bool probing;                           /* cmd is under way */
    bool again;                             /* what was read so far may be old: from the start */
    unsigned step, probes;
    struct ini_cmd cmd;
    struct rt_timer probe_timer;
    struct rt_timer abandon;                /* given up by its user: its commands must end */
    bool given_up;                          /* those that were sent, too */
    void (*abort_done)(void *user, int err);        /* ini_lun_abort_all(); NULL: nobody waits */
    void *abort_user;
    bool aborting;                          /* it is with the target; else it waits for its turn */
    struct ini_probe got;
    struct ini_alua alua;
    struct scsi_port port;
    bool grouped;                           /* alua.group is the target's word */
    uint64_t alua_due_ns;                   /* when it is read again, where it is followed */
    struct ini_asym *asym;                  /* NULL: the unit has no asymmetric access */
    uint8_t *buf;                           /* INI_PROBE_LEN bytes */

    /* Requests. */
    struct rt_pool *pieces;
    struct rt_link waiting;                 /* ini_io not wholly handed out */
    struct rt_link delayed;                 /* pieces that are sent again later */
    struct rt_link ended;                   /* ini_io to be told by end_op */
    struct rt_timer delay;
    uint64_t delay_ns;                      /* when it is due */
    struct rt_op end_op;
    bool end_armed, no_write_same, no_zero_unmap, no_sync;
    bool cached;                            /* it has a write cache, or had one since it was opened */
    uint32_t flight_nr, limit, good_nr;     /* commands under way; how many may be, less after TASK SET FULL */
    uint32_t io_nr;                         /* requests not done */
    struct iovec *zero_iov;
    uint32_t zero_len;                      /* bytes that zero_iov holds */
};

/* ini_lun.c */
void ini_lun_down(struct ini_lun *l);       /* the session's connection broke */
void ini_lun_up(struct ini_lun *l);         /* the session is back */
void ini_lun_offline(struct ini_lun *l, int err);        /* it will not come back soon */
void ini_lun_failed(struct ini_lun *l, int err);
/* Something may have changed (unit attention): look again before anything more is sent. */
void ini_lun_recheck(struct ini_lun *l);
/* An attention that says so came to a task that is neither a request nor of a look at the unit. Whoever sent that may send
 * more: the first call lets nothing more out, the second, when the task is done with, looks. @lun: its number; Return:
 * whether the second is to be made. */
bool ini_lun_attention(struct ini_sess *s, const struct ini_task *t);
void ini_lun_attend(struct ini_sess *s, uint16_t lun);
void ini_lun_gone(struct ini_lun *l, int err, enum ini_event ev);
struct ini_lun *ini_lun_find(struct ini_sess *s, uint16_t lun);

/* ini_io.c */
bool ini_io_changes_unit(const struct scsi_sense *e); /* a unit attention after which it may be another one */
void ini_io_pump(struct ini_lun *l);
void ini_io_fail_all(struct ini_lun *l, int err);
int ini_io_init(struct ini_lun *l);         /* once info is known; 0 or -ENOMEM */
void ini_io_exit(struct ini_lun *l);        /* also of one that was never initialised */
/* The piece of a request that a command carries out; NULL: it is another's command. */
const struct ini_piece *ini_io_piece(const struct ini_task *t);
bool ini_io_writes(const struct ini_piece *p);          /* carried out late, it would do harm */

/* ini_alua.c */
unsigned ini_alua_build(uint8_t cdb[static 16]);        /* a step of the probe */
int ini_alua_take(struct ini_lun *l, int err, size_t len);
void ini_alua_probed(struct ini_lun *l);    /* a probe has read all that there is */
void ini_alua_away(struct ini_lun *l);      /* a probe found nobody to ask */
bool ini_alua_concerns(const struct scsi_sense *e);     /* what is known may be old */
bool ini_alua_out_of_reach(const struct scsi_sense *e); /* not through this port, now */
void ini_alua_stale(struct ini_lun *l);     /* reads it again */
/* Return: whether a unit is there that wants ticks for it. */
bool ini_alua_tick(struct ini_sess *s, uint64_t now);
void ini_alua_exit(struct ini_lun *l);

/* ini_hand.c */
/* What a request ends with at once, or that cannot go on; 0: nothing stands against it (but perhaps the gate). */
int ini_lun_refuses(const struct ini_lun *l);
/* What a command ends with instead of waiting for the session; 0: it waits. @left: a byte of it may have. */
int ini_hand_err(const struct ini_sess *s, const struct ini_task *t, bool left);
void ini_hand_waiting(struct ini_lun *l);   /* the session went away: what waits ends */

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
