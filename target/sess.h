/*
 * sess.h - a session and its one connection, whole on one core
 *
 * sess.c         life, numbering, what the datamover tells, timers
 * sess_login.c   from the first Login request to full feature phase
 * sess_cmd.c     SCSI tasks: buffers, data, residuals, status
 * sess_tmf.c     task management
 * sess_text.c    NOP, Text, Logout, Asynchronous Messages, Reject
 * sess_loop.c    shared memory instead of TCP
 * sess_map.c     which logical units the session sees
 *
 * The end of a session has one order: the datamover is terminated, tasks leave their units, the datamover says
 * closed(), the tasks are freed, what the initiator shared is let go, the units are detached, the registry is told;
 * then the memory goes.
 */
#ifndef CORELANE_TARGET_SESS_H
#define CORELANE_TARGET_SESS_H

#include "iscsi/dm.h"
#include "target/tgt_internal.h"

#define SESS_WINDOW 128u                    /* commands; MaxCmdSN - ExpCmdSN + 1 at rest */
#define SESS_IMMEDIATES_MAX 8u              /* immediate SCSI commands beyond the window */
#define SESS_TMFS_MAX 16u
/* A peer that keeps to the window can have a full one under way and another whose last status it has seen
 * before the reactor told us so. */
#define SESS_TASKS_MAX (2 * SESS_WINDOW + SESS_IMMEDIATES_MAX)
#define SESS_CTLS_MAX 192u                  /* control PDUs that the peer does not take off our hands */
#define SESS_BURST_MAX (1u << 20)           /* MaxBurstLength offered */
#define SESS_FIRST_BURST_MAX 65536u
#define SESS_RECV_MAX 262144u               /* MaxRecvDataSegmentLength declared */
#define SESS_CHUNKS_MAX 16u                 /* data of pings and text that it does not take off our hands */
#define SESS_TEXT_LEN 8192u

static_assert(SESS_FIRST_BURST_MAX <= BUF_LARGE_LEN, "a sink holds all unsolicited data of a command");

enum sess_state {
    SESS_LOGIN,
    SESS_ASKING,                            /* the registry is asked: the answer must be waited for */
    SESS_FULL,                              /* full feature phase */
    SESS_CLOSING,
};

/* Something that came before its turn: a task, a PDU, or a CmdSN that counts as received without one. */
struct sess_held {
    struct rt_link link;
    uint32_t cmd_sn;
    enum { HELD_TASK, HELD_PDU, HELD_SKIP } kind;
};

/* A control PDU on its way out, or one that is held, or the gap that a rejected one left. */
struct sess_ctl {
    struct dm_ctl ctl;
    struct sess *sess;
    struct sess_held held;
    void *chunk;                            /* NULL: none */
    uint32_t chunk_len;
    uint8_t small[ISCSI_BHS_LEN];           /* the header that a Reject carries; of one that is held, as received */
};

enum task_state {
    TASK_HELD,                              /* CmdSN not in turn */
    TASK_UNSOLICITED,                       /* data that come by themselves */
    TASK_BUFFERS,                           /* in core->waiting */
    TASK_GET,                               /* solicited data */
    TASK_READY,                             /* in sess->ready */
    TASK_RUN,                               /* lun_run() */
    TASK_PUT,                               /* data and perhaps the status are with the datamover */
    TASK_ENDING,                            /* answered or aborted: waits for sent() and task_released() */
};

struct sess_task {
    struct dm_task dm;
    struct scsi_task scsi;
    struct sess *sess;
    struct rt_link link;                    /* sess->tasks */
    struct rt_link wait;                    /* core->waiting, sess->ready or sess->aborts */
    struct sess_held held;
    uint8_t state;                          /* enum task_state */
    uint8_t refusal;                        /* SCSI status decided before the data are through; see answered */
    bool immediate, counted;                /* counted: takes a place in the window */
    bool lun_open;                          /* lun_start()ed and not lun_finish()ed */
    bool answered;                          /* lun_start() or we have decided: data are to be thrown away */
    bool unsolicited_over;                  /* of a held task */
    bool known;                             /* to the datamover, or about to be */
    bool direct;                            /* its data are at the place, and stay there */
    bool releasing, sending;                /* what TASK_ENDING waits for */
    bool aborted, abort_tas, abort_queued;
    uint8_t trouble;                        /* enum dm_trouble of unsolicited data */
    void *place;                            /* dm_place(); NULL: none */
    struct iovec flat;                      /* the place, for the unit */
    uint32_t put_len;                       /* bytes */
    uint32_t seen_out;                      /* out_done at the last look, and when it last moved */
    uint64_t seen_at;
    uint32_t cmd_sn;
    struct dm_ctl rsp;
    uint8_t cdb[SCSI_CDB_LEN_MAX];
    uint8_t sense[2 + SCSI_SENSE_LEN_MAX];
    struct buf_list buf;
};

struct sess_itl {
    struct itl itl;
    struct rt_link dying;                   /* sess->dying: out of the map, tasks not all gone */
    unsigned pins;                          /* task management that works on it */
};

/* What may become of a session whose initiator is on this host: sess_loop.c. */
struct sess_loop {
    struct loop_guest *guest;               /* until no task is left; NULL: none */
    bool admitted;                          /* the guest: ready for the datamover */
    bool go;                                /* the initiator wants to go on there: an answer is due */
    bool awaited;                           /* the login goes on once the guest is admitted or not */
    bool invited;                           /* the token lets one in */
    uint8_t token[LOOP_TOKEN_LEN];
    char why[128];                          /* that it is used, or not */
};

struct sess_login;
struct sess_text;

struct sess {
    struct tgt_core *core;
    struct rt *rt;
    struct dm *dm;                          /* NULL after closed() */
    struct rt_link link;                    /* core->sessions */
    uint8_t state;                          /* enum sess_state */
    bool discovery, joined, asking, auth_failed, logged_out, leaving;
    struct rt_addr peer, local;
    char peer_text[RT_ADDR_STR_MAX];
    uint16_t group;                         /* tag of the portal group it came in by */
    uint32_t portal;                        /* tgt_portal.id */
    uint32_t penalty_ms;
    char why_core[BAL_TEXT_MAX];            /* why this core */
    uint64_t id;
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    char target[ISCSI_NAME_LEN_MAX + 1];    /* empty in discovery */
    uint8_t isid[6];
    uint16_t tsih, cid;
    struct iscsi_params params;
    const char *auth;                       /* static text */
    struct sess_loop loop;
    struct reg_call reg;
    struct rt_msg gone;
    struct sess_login *login;               /* until full feature phase */

    uint32_t stat_sn;                       /* of the next response */
    uint32_t exp_cmd_sn;
    uint32_t active;                        /* tasks that take a place in the window */
    struct rt_link held;                    /* by CmdSN */
    struct rt_link gaps;                    /* sess_ctl.held: CmdSNs of what was rejected and did not come again */
    uint64_t held_at;                       /* when the first hole came to be */

    struct nexus nexus;
    struct rt_link dying;
    struct rt_link tasks, ready, aborts;
    uint32_t tasks_nr, immediates, ctls_nr, chunks_nr;
    struct rt_link tmfs;
    uint32_t tmfs_nr;
    struct rt_op turn;
    bool turn_armed;
    struct rt_timer timer;
    struct sess_text *text;                 /* a Text exchange under way */
    uint64_t ping_at;                       /* 0: none outstanding */
    uint32_t ping_ttt, next_ttt;
    uint64_t commands, read_bytes, write_bytes, rejects;
    struct dm_stats stats;                  /* kept when the datamover goes */
};

/* ---- sess.c ---------------------------------------------------------------------------------------------- */

/* On the core where it will live. @a: borrowed; its socket is given. Return: 0, or -ENOMEM when there is no
 * session. */
int sess_start(struct tgt_core *core, const struct tgt_arrival *a);
/* The connection is to end; @drain: after what is queued was sent. @why: for the log; NULL: says nothing. */
void sess_close(struct sess *s, bool drain, const char *why);
/* Everything but the memory is gone. From the first core's answer. */
void sess_free(struct sess *s);
void sess_answered(struct sess *s);         /* s->reg holds the registry's answer */
/* Goes on with the end of a closing session if nothing is left of it. s may be gone on return. */
void sess_try_end(struct sess *s);
void sess_turn(struct sess *s);             /* have ready and aborted tasks looked at when this turn ends */
json_t *sess_json(struct sess *s);          /* as session.list has it; NULL: no memory */
void sess_full(struct sess *s);             /* login is over */

static inline uint32_t sess_max_cmd_sn(const struct sess *s)
{
    return s->exp_cmd_sn + SESS_WINDOW - 1 - s->active;
}

/* Numbers of a response, in the order in which responses are given to the datamover. */
static inline void sess_stamp(struct sess *s, struct iscsi_pdu *pdu, bool advance)
{
    pdu->stat_sn = s->stat_sn;
    s->stat_sn += advance;
    pdu->exp_cmd_sn = s->exp_cmd_sn;
    pdu->max_cmd_sn = sess_max_cmd_sn(s);
}

enum sess_turn_of { SN_NOW, SN_LATER, SN_NEVER };
/* Of every PDU with a CmdSN, once: SN_NOW counts it as received. */
enum sess_turn_of sess_judge_sn(struct sess *s, const struct iscsi_pdu *pdu);
void sess_hold_back(struct sess *s, struct sess_held *h, uint32_t cmd_sn);
/* The CmdSN counts as received though nothing is to be done for it. */
void sess_skip_sn(struct sess *s, uint32_t cmd_sn);
/* A Reject with the header as received. A CmdSN in it, which was judged and was not SN_NEVER, does not count as
 * received. */
void sess_reject(struct sess *s, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason);

/* NULL: the peer takes nothing off our hands, or memory ran out; the session was closed. */
struct sess_ctl *ctl_get(struct sess *s);
void ctl_put(struct sess_ctl *c);
/* Room for so many bytes of data, at most BUF_LARGE_LEN, until ctl_put(). False: there is none, or the session
 * has its share. */
bool ctl_chunk(struct sess_ctl *c, uint32_t len);
/* Stamps and sends. */
void ctl_send(struct sess_ctl *c, bool advance);

extern const struct dm_events sess_events;

/* ---- sess_login.c ---------------------------------------------------------------------------------------- */

int login_begin(struct sess *s);            /* 0 or -ENOMEM */
void login_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);
void login_answered(struct sess *s);        /* by the registry */
void login_conclude(struct sess *s);        /* nothing is in the way of the last answer */
void login_timeout(struct sess *s);
void login_free(struct sess *s);
bool login_idle(const struct sess *s);      /* the datamover has nothing of it */

/* ---- sess_loop.c ----------------------------------------------------------------------------------------- */

/* LOOP_KEY was said; @operational: in that stage. @out: what it is answered with. */
void guest_invite(struct sess *s, const char *offer, bool operational, char out[static LOOP_TEXT_MAX]);
/* Who is invited by that token, and has not finished its login; NULL: nobody. */
struct sess *guest_find(const struct tgt_core *core, const uint8_t token[static LOOP_TOKEN_LEN]);
void guest_welcome(struct sess *s, struct loop_guest *g);   /* @g: given, on the session's core */
/* LOOP_KEY_GO was said; @last: in a request that may end the login. Return: what it is answered with; NULL: guest_settle()
 * will say. */
const char *guest_go(struct sess *s, const char *value, bool operational, bool last);
/* True: it is not decided yet; login_conclude() will be called. */
bool guest_await(struct sess *s);
/* The login is at its end. Return: whether the session goes on in shared memory. */
bool guest_settle(struct sess *s);
/* After the last Login Response: changes s->dm. False: no memory. */
bool guest_enable(struct sess *s);
void guest_end(struct sess *s);             /* no datamover and no task is left */

/* ---- sess_cmd.c ------------------------------------------------------------------------------------------ */

struct dm_task *cmd_notify(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *ahs);
void cmd_data(struct sess *s, struct dm_task *dm, enum dm_data what, enum dm_trouble how);
void cmd_released(struct sess *s, struct dm_task *dm);
void cmd_turn(struct sess *s);
void cmd_held_turn(struct sess *s, struct sess_task *t);   /* its CmdSN has come */
void task_abort(struct sess_task *t, bool tas);
void cmd_close(struct sess *s);             /* the session is closing: out of every queue, out of the units */
void cmd_closed(struct sess *s);            /* the datamover has forgotten every task */
void cmd_watch(struct sess *s, uint64_t now);   /* drops the session when a peer owes data too long */
extern const struct nexus_ops sess_nexus_ops;

/* ---- sess_tmf.c ------------------------------------------------------------------------------------------ */

/* @bhs, here and below: the header as received. */
void tmf_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t bhs[static ISCSI_BHS_LEN]);
void tmf_task_over(struct sess *s);         /* a task is gone: somebody may have waited for it */
void tmf_close(struct sess *s);

/* ---- sess_text.c ----------------------------------------------------------------------------------------- */

void text_nop_out(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data);
void text_request(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t *data,
                  const uint8_t bhs[static ISCSI_BHS_LEN]);
void text_logout(struct sess *s, const struct iscsi_pdu *pdu, const uint8_t bhs[static ISCSI_BHS_LEN]);
void text_ping(struct sess *s);
void text_async_logout(struct sess *s, uint16_t seconds);
void text_reject(struct sess *s, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason);
void text_free(struct sess *s);

/* ---- sess_map.c ------------------------------------------------------------------------------------------ */

/* Brings the session's view in line with the core's snapshot. Return: 0, -EACCES when it may not be here any more, or
 * -ENOMEM: it sees what it saw before. */
int map_update(struct sess *s, bool tell);
struct itl *map_find(const struct sess *s, uint16_t number);
bool map_knows(const struct sess *s, const struct lun *lun);   /* joined to it, or not yet quite apart */
void map_task_over(struct sess *s, struct itl *itl);   /* a task left it */
void map_clear(struct sess *s);             /* all tasks are gone */

#endif
