/*
 * ini.h - the initiator: sessions, what runs on them, logical units and discovery
 *
 * A session lives whole on one reactor. It logs in, keeps itself alive, and when its connection breaks logs in
 * again with the same ISID and sends again what was in flight, in the order in which it was submitted: by then
 * the target has ended the old session's tasks (RFC 7143 6.3.5, session reinstatement), so nothing is written
 * late by a ghost. Until replacement_timeout is over nobody above notices but by the wait; from then on
 * requests fail, while logging in goes on, and when it succeeds units that are still the same serve again.
 */
#ifndef CORELANE_INI_H
#define CORELANE_INI_H

#include <stdbool.h>
#include <stdint.h>
#include "iscsi/chap.h"
#include "iscsi/dm.h"
#include "iscsi/name.h"
#include "reactor/rt.h"
#include "scsi/cdb.h"
#include "scsi/scsi.h"

/* ---- settings, by the names of open-iscsi's node records ------------------------------------------------ */

/* DefaultTime2Wait: 0, where open-iscsi has 2: what holds is the longer of both sides' wishes, so a target that needs
 * the time gets it, and no other makes a disk wait. */
/* One row a setting: key of node record and iscsid.conf, field, kind, default, min, max. Kinds: NUM, BOOL
 * (Yes, No), DIGEST (lists of None and CRC32C), EIGHTS (a number that 8 divides), TRANSPORT (auto, tcp, shm). Times in
 * seconds. Keys of node.session.corelane are ours alone: open-iscsi warns of them and goes on. */
#define INI_SETTINGS(X)                                                                                       \
    X("node.session.timeo.replacement_timeout",      replacement_timeout_s, NUM,    120, -1, 86400)           \
    X("node.session.err_timeo.abort_timeout",        abort_timeout_s,       NUM,     15,  1, 3600)            \
    X("node.session.err_timeo.lu_reset_timeout",     lu_reset_timeout_s,    NUM,     30,  1, 3600)            \
    X("node.session.err_timeo.tgt_reset_timeout",    tgt_reset_timeout_s,   NUM,     30,  1, 3600)            \
    X("node.session.initial_login_retry_max",        login_retry_max,       NUM,      8,  0, 1000)            \
    X("node.session.cmds_max",                       cmds_max,              NUM,    128,  2, 2048)            \
    X("node.session.queue_depth",                    queue_depth,           NUM,     32,  1, 1024)            \
    X("node.session.nr_sessions",                    nr_sessions,           NUM,      1,  1, 1024)            \
    X("node.session.reopen_max",                     reopen_max,            NUM,      0,  0, 1000000)         \
    X("node.session.iscsi.InitialR2T",               initial_r2t,           BOOL,     0,  0, 1)               \
    X("node.session.iscsi.ImmediateData",            immediate_data,        BOOL,     1,  0, 1)               \
    X("node.session.iscsi.FirstBurstLength",         first_burst_max,       NUM, 262144, 512, 16777215)       \
    X("node.session.iscsi.MaxBurstLength",           burst_max,             NUM, 16776192, 512, 16777215)     \
    X("node.session.iscsi.DefaultTime2Wait",         time2wait_s,           NUM,      0,  0, 3600)            \
    X("node.session.iscsi.DefaultTime2Retain",       time2retain_s,         NUM,      0,  0, 3600)            \
    X("node.session.iscsi.MaxOutstandingR2T",        r2t_max,               NUM,      1,  1, 65535)           \
    X("node.conn[0].timeo.login_timeout",            login_timeout_s,       NUM,     15,  1, 3600)            \
    X("node.conn[0].timeo.logout_timeout",           logout_timeout_s,      NUM,     15,  1, 3600)            \
    X("node.conn[0].timeo.noop_out_interval",        noop_interval_s,       NUM,      5,  0, 3600)            \
    X("node.conn[0].timeo.noop_out_timeout",         noop_timeout_s,        NUM,      5,  0, 3600)            \
    X("node.conn[0].iscsi.MaxRecvDataSegmentLength", recv_data_max,         NUM, 262144, 512, 16777215)       \
    X("node.conn[0].iscsi.HeaderDigest",             header_digest,         DIGEST,   0,  0, 3)               \
    X("node.conn[0].iscsi.DataDigest",               data_digest,           DIGEST,   0,  0, 3)               \
    X("node.session.corelane.transport",             transport,             TRANSPORT, 0, 0, 2)               \
    X("node.session.corelane.arena_mib",             arena_mib,             EIGHTS,  32, 16, 1024)

/* What carries a session once it is logged in. */
enum ini_transport {
    INI_TRANSPORT_AUTO,                     /* memory shared with a target of ours on this host, else TCP */
    INI_TRANSPORT_TCP,
    INI_TRANSPORT_SHM,                      /* shared memory, or no session */
};
extern const char *const ini_transport_names[3];       /* "auto", "tcp", "shm" */

struct ini_settings {
#define X(key, field, kind, def, lo, hi) int32_t field;
    INI_SETTINGS(X)
#undef X
    uint32_t cmd_timeout_s;                 /* unanswered commands: abort, LUN reset, session; default 30 */
    unsigned chap_algs;                     /* bits of 1 << enum chap_alg; default all */
    struct chap_cred user;                  /* node.session.auth.username, password; name empty: no CHAP */
    struct chap_cred user_in;               /* ...username_in, password_in: what the target must prove */
    unsigned disc_chap_algs;                /* discovery.sendtargets.auth.*: the same for who asks a
                                             * portal what it has; sessions make no use of them */
    struct chap_cred disc_user, disc_user_in;
};
void ini_settings_default(struct ini_settings *out);
/* One key and value of a node record or iscsid.conf. Return: NULL; or what is wrong with the value; or
 * INI_KEY_UNKNOWN for a key that is not ours (kept by records, named once by who reads iscsid.conf). */
extern const char INI_KEY_UNKNOWN[];
const char *ini_settings_set(struct ini_settings *s, const char *key, const char *value);

/* ---- sessions ------------------------------------------------------------------------------------------- */

struct ini_sess;
struct ini_task;

/* RECOVERY: requests wait. OFFLINE: the same once replacement_timeout is over: they fail, logins go on. */
enum ini_state { INI_FREE, INI_LOGIN, INI_UP, INI_RECOVERY, INI_OFFLINE, INI_LOGOUT, INI_FAILED };
/* "FREE", "LOGIN", "LOGGED_IN", "RECOVERY", "OFFLINE", "LOGOUT", "FAILED" */
const char *ini_state_name(enum ini_state st);

struct ini_conf {
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    char alias[ISCSI_NAME_LEN_MAX + 1];     /* InitiatorAlias; may be empty */
    char target[ISCSI_NAME_LEN_MAX + 1];    /* empty: a discovery session */
    struct iscsi_portal portal;             /* where to start; a redirect is followed, and undone when a
                                             * temporary one fails */
    uint8_t isid[6];                        /* all zero: made at random (type 80h, RFC 7143 11.12.5) */
    struct ini_settings set;
};

struct ini_sess_events {                    /* any may be NULL; on the session's core */
    void (*up)(void *user);                 /* logged in, the first time and after each recovery */
    void (*down)(void *user, int err, const char *why);   /* the connection broke; recovery begins */
    /* For good: the first login refused, its retries or those of reopen_max used up. Tasks fail from here on;
     * the session is INI_FAILED. */
    void (*failed)(void *user, int err, const char *why);
    void (*luns_changed)(void *user);       /* 3F/0E arrived */
};
/* conf: copied. Return: 0 or -ENOMEM. */
int ini_sess_new(struct ini_sess **out, struct rt *rt, const struct ini_conf *conf,
                 const struct ini_sess_events *events, void *user);
void ini_sess_start(struct ini_sess *s);    /* log in; up() or failed() follows */
/* Logs out (waiting for what is in flight when @drain), ends in done(user): no task is left then. */
void ini_sess_stop(struct ini_sess *s, bool drain, void (*done)(void *user), void *user);
void ini_sess_free(struct ini_sess *s);     /* after stop's done, or never started; accepts NULL */
/* At stop's done: the target has said that the session is closed, and had answered every command before: nothing of it is
 * left there. */
bool ini_sess_logged_out(const struct ini_sess *s);

struct ini_sess_info {
    enum ini_state state;
    char target[ISCSI_NAME_LEN_MAX + 1], portal[ISCSI_PORTAL_STR_MAX], peer[RT_ADDR_STR_MAX];
    uint8_t isid[6];
    uint16_t tsih, tpgt;
    const char *transport;                  /* "tcp" or "shm" */
    char transport_why[160];                /* why it is that one, in words */
    struct iscsi_params params;             /* negotiated; valid once up */
    char why[320];                          /* last error in words; empty: none yet */
    uint64_t commands, read_bytes, write_bytes, reconnects, digest_errors, timeouts, aborts;
    uint64_t resent;                        /* commands sent again on a new connection */
    uint32_t in_flight, queued, window;     /* window: commands that the target admits now */
    uint64_t nop_rtt_us;
    struct dm_stats dm;
};
void ini_sess_info(const struct ini_sess *s, struct ini_sess_info *out);
struct rt *ini_sess_rt(const struct ini_sess *s);

/* A SCSI command. Memory and buffers are kept until done. */
struct ini_task {
    /* Filled by the caller. */
    uint16_t lun;
    uint8_t cdb[16];
    uint8_t cdb_len;
    bool once;                              /* must not be sent a second time: it may have been executed (COMPARE
                                             * AND WRITE, PERSISTENT RESERVE OUT...). A connection that breaks
                                             * when a byte of it may have left ends it with -ECONNRESET */
    bool probe;                             /* asks what the unit is: sent even while the gate is shut */
    uint32_t edtl;                          /* bytes */
    struct dm_buf out, in;                  /* at most one of them has a length */
    uint32_t timeout_s;                     /* 0: the session's cmd_timeout_s */
    void (*done)(struct ini_task *t);

    /* Results. */
    int err;                                /* 0: the target answered, see status; -errno: it did not */
    uint8_t status;                         /* enum scsi_status */
    struct scsi_sense sense;
    uint32_t in_len;                        /* bytes of in that are valid */
    uint32_t residual;                      /* bytes; underflow: edtl - residual were moved */
    bool overflow;

    /* The rest is the session's. */
    struct dm_task dm;
    struct dm_ctl ctl;
    struct rt_link link;
    uint64_t seq;                           /* order of submission */
    uint64_t sent_ns, deadline_ns;
    uint32_t cmd_sn;
    uint8_t state;                          /* enum ini_task_state */
    bool dm_knows, ctl_out, on_wire;
    bool again;                             /* was sent on a connection that broke */
    struct ini_sess *sess;
};
/* On the session's core. Always ends in done, never from inside. The command goes out when the target's window
 * and cmds_max admit it, in the order of submission. */
void ini_submit(struct ini_sess *s, struct ini_task *t);

/* Task management from above (the session does its own escalation). done(user, resp, err). */
void ini_lun_reset(struct ini_sess *s, uint16_t lun, void (*done)(void *user, int resp, int err), void *user);

/* Memory for requests of this session, on a page boundary, of whatever was in it before. Where the session shares memory
 * with its target no byte of a request that lies in such a buffer is copied between the two processes; elsewhere, and when
 * there is no room, it is plain memory. It stays what and where it is whatever becomes of the session, and is given back
 * before ini_sess_free(). A page of which a request has a part is written to on this core alone: a copy may take its place.
 * What the target can write to at any time is not for control data, nor for what is looked at twice. @len: bytes. NULL: no
 * memory. On the session's core. */
void *ini_buf_get(struct ini_sess *s, size_t len);
void ini_buf_put(struct ini_sess *s, void *mem, size_t len);
/* False: one that ini_buf_get() gave now might do better (the session was on TCP when this one was had, or had to take it
 * away from a target that did not answer). Cheap. */
bool ini_buf_good(const struct ini_sess *s, const void *mem, size_t len);

/* ---- for who has several sessions to one unit, and for who lays sessions out over cores --------------------- */

/* How long a connection with commands under way may bring nothing before it is asked for a sign of life (NOP-Out), and then
 * again before it is taken for dead, milliseconds; 0: as noop_out_interval and noop_out_timeout say. On the session's
 * core. */
void ini_sess_watch(struct ini_sess *s, uint32_t silence_ms);
/* Sees to it that nothing is left at the target of what a session whose connection is gone had sent: logs in with its ISID at
 * @portal, another of the same target and portal group, which has the target end the old session (RFC 7143 6.3.5), and out.
 * done: 0: nothing of it can be carried out any more, be it that the session itself came back meanwhile; else -errno (-EXDEV:
 * the portal is of another group, or does not say of which). One at a time (-EBUSY). Never from inside, but for -ENOMEM. On the
 * session's core. */
void ini_sess_fence(struct ini_sess *s, const struct iscsi_portal *portal, void (*done)(void *user, int err),
                    void *user);
/* Drops the connection, as if it had broken, with that reason; recovery begins. Where there is none: nothing. */
void ini_sess_drop(struct ini_sess *s, const char *why);
/* The session, and all that is open on it, goes on on another core of the same host. Commands wait meanwhile, those under
 * way are answered first. done: on the core where it is then. 0, or as for mpio_nexus_move(). Until done nobody may call
 * anything of the session or its units, and no ini_io_submit() may be on its way to it. On the session's core. */
void ini_sess_move(struct ini_sess *s, struct rt *to, uint64_t limit_ns,
                   void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user);

/* ---- discovery ------------------------------------------------------------------------------------------ */

#define INI_DISCOVER_MAX 16384              /* target-portal pairs kept; more is said to be cut */
struct ini_found {
    char target[ISCSI_NAME_LEN_MAX + 1];
    struct iscsi_portal portal;
};
struct ini_discovery {                      /* filled by the caller; kept until done */
    struct ini_conf conf;                   /* target empty */
    void (*done)(struct ini_discovery *d);
    /* Results: found is the caller's to free(). */
    int err;
    char why[256];
    struct ini_found *found;
    size_t found_nr;
    bool cut;
    void *priv;
};
void ini_discover(struct rt *rt, struct ini_discovery *d);

/* ---- a logical unit on a session: bytes in, bytes out --------------------------------------------------- */

struct ini_lun;

struct ini_lun_info {
    uint64_t size;                          /* bytes */
    uint32_t block_len, phys_len;           /* bytes */
    uint32_t io_max, io_opt;                /* bytes in one request at most, and best; larger ones are split */
    bool readonly, write_cache, fua, unmap, unmap_zeroes, rotational;
    uint32_t unmap_granularity;             /* bytes */
    uint64_t unmap_max, zero_max;           /* bytes in one request; larger ones are split */
    char wwid[SCSI_WWID_MAX], serial[SCSI_WWID_MAX], vendor[9], product[17], revision[5];
};

/* Asymmetric logical unit access (SPC-4 5.15): how the unit can be reached through this port. */
enum ini_alua_state {                       /* as REPORT TARGET PORT GROUPS codes them */
    INI_ALUA_OPTIMIZED = 0, INI_ALUA_NON_OPTIMIZED = 1, INI_ALUA_STANDBY = 2, INI_ALUA_UNAVAILABLE = 3,
    INI_ALUA_LBA_DEPENDENT = 4, INI_ALUA_OFFLINE = 14, INI_ALUA_TRANSITIONING = 15,
};
struct ini_alua {
    bool is_implicit, is_explicit;          /* both false: the unit has none of it, and the state is OPTIMIZED; or
                                             * UNAVAILABLE, where INQUIRY says so (peripheral qualifier 001b) */
    bool preferred;
    uint8_t state;                          /* enum ini_alua_state */
    uint16_t group, port;                   /* target port group, relative target port; of VPD 83 */
};

enum ini_event {
    INI_LUN_RESIZED,                        /* info has the new size */
    INI_LUN_GONE,                           /* 05/25/00, or no session for too long: requests fail from here on;
                                             * in the second case until INI_LUN_RESUMED */
    INI_LUN_CHANGED,                        /* another unit has this number now (VPD 83): it gets nothing */
    INI_LUN_PAUSED, INI_LUN_RESUMED,        /* the session recovers, is back */
    INI_LUN_ALUA,                           /* ini_lun_alua() says something else than before */
};
/* Looks the unit over: INQUIRY, VPD 00 83 80 B0 B1 B2, REPORT TARGET PORT GROUPS, READ CAPACITY, MODE SENSE.
 * done(user, err, why): err 0 and *out set, or -errno (-EAGAIN: this port does not tell its size now, as it is unavailable).
 * *out may be used from then until ini_lun_close(). event may be NULL. */
int ini_lun_open(struct ini_sess *s, uint16_t lun, struct ini_lun **out,
                 void (*done)(void *user, int err, const char *why),
                 void (*event)(void *user, enum ini_event ev), void *user);
/* Gives the unit up, for good: requests end with @err (-EIO, -ENODEV; what a broken connection brings back,
 * -ENODEV) at once, those with the target as soon as no connection touches their memory: in recovery at once,
 * else after a second in which they may still be answered. The target is asked to abort them; until it has,
 * nothing more is opened on the session without a new login, so that none of them is carried out late on a unit
 * that is in use again. A connection that does not move for a further second is made anew; that apart, other
 * units of the session are not disturbed. No event is told. On the session's core. */
void ini_lun_abandon(struct ini_lun *l, int err);
/* Nothing may be in flight (asserted). Accepts NULL. */
void ini_lun_close(struct ini_lun *l);
const struct ini_lun_info *ini_lun_info(const struct ini_lun *l);
struct ini_sess *ini_lun_sess(const struct ini_lun *l);
uint16_t ini_lun_number(const struct ini_lun *l);

const struct ini_alua *ini_lun_alua(const struct ini_lun *l);
/* Explicit: asks the unit to make this port's group active/optimized (SET TARGET PORT GROUPS). done: 0, or -errno; from inside
 * the call: -ENOTCONN, -EOPNOTSUPP (it has no explicit access), -EBUSY. The state has been read again by then, where it can be.
 * Who closes the unit first hears nothing. */
void ini_lun_activate(struct ini_lun *l, void (*done)(void *user, int err), void *user);
/* With @on, requests that this session cannot carry out now are not kept until it can: they end with
 *   -ENOTCONN      nothing of it was or will be carried out; also a path in standby or unavailable
 *   -ECONNABORTED  its connection broke when it may have left: it may have been carried out, or may yet be until
 *                  ini_sess_fence() says 0 or the session has logged in again
 * each once nothing can touch its memory any more, those of a broken connection in order of submission. Reads and flushes
 * end with -ENOTCONN whatever was the case. Also those that wait when it is switched on. Off by default. */
void ini_lun_hand_back(struct ini_lun *l, bool on);
/* After another session reset the unit: asks for the end of what this one has there (ABORT TASK SET) and sends it again.
 * done: 0 or -errno (the connection will be dropped then); from inside the call: -ENOTCONN, -EBUSY. Who closes the unit first
 * hears nothing. */
void ini_lun_abort_all(struct ini_lun *l, void (*done)(void *user, int err), void *user);

enum ini_io_op { INI_READ, INI_WRITE, INI_FLUSH, INI_UNMAP, INI_ZERO };
#define INI_FUA 1u                          /* a write is stable when done, if need be by a flush */
#define INI_NO_UNMAP 2u                     /* INI_ZERO: keep the space allocated */

struct ini_io;

/* The part of a request that is one command. */
struct ini_piece {
    struct ini_task task;
    struct ini_io *io;
    uint64_t off;                           /* bytes from the start of the unit */
    uint32_t len;                           /* bytes */
    uint8_t kind;                           /* enum piece_kind */
    uint8_t tries;
    uint64_t due_ns;                        /* when it is sent again */
    uint64_t waited_ns;                     /* for that so far: bounded by replacement_timeout */
    uint8_t param[24];                      /* UNMAP's list */
    struct iovec cut;                       /* where it begins inside an iovec, or has data of its own */
};

struct ini_io {
    /* Filled by the caller. */
    uint8_t op;                             /* enum ini_io_op */
    uint8_t flags;
    uint64_t off, len;                      /* bytes, multiples of block_len; both 0 for flush */
    const struct iovec *iov;                /* kept until done; len bytes */
    unsigned iov_nr;
    /* 0 or -errno: -EIO, -ENOSPC, -EROFS, -EREMOTEIO, -ENODATA (medium), -EBADE (reservation conflict),
     * -ENODEV, -ETIMEDOUT, -EINVAL, -EOPNOTSUPP */
    void (*done)(struct ini_io *io, int res);
    /* The rest is the unit's. */
    struct ini_lun *lun;
    struct rt_link link;
    uint64_t next;                          /* bytes given to pieces so far */
    uint64_t logins;                        /* the session's reconnects when the first piece was answered */
    unsigned iov_at;                        /* where in iov that is */
    size_t iov_skip;                        /* bytes */
    uint32_t left;                          /* pieces under way */
    int res;
    uint8_t stage;                          /* enum io_stage */
    bool cached;                            /* some of it went out without FUA */
    bool queued;
    struct ini_piece first;                 /* the first, or only, piece */
};
/* On the session's core; done is never called from inside. BUSY, TASK SET FULL and unit attentions are handled
 * here, short answers are errors, requests larger than io_max are split (pieces come from a pool, waiting when
 * it is empty). */
void ini_io_submit(struct ini_lun *l, struct ini_io *io);

/* REPORT LUNS on a session: done(user, err, luns, nr), luns borrowed for the call. */
void ini_report_luns(struct ini_sess *s, void (*done)(void *user, int err, const uint16_t *luns, unsigned nr),
                     void *user);

#endif
