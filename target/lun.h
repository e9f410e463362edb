/*
 * lun.h - a logical unit: the SCSI device server behind one LUN, and the seam to the iSCSI sessions above
 *
 * Sessions on different cores serve the same logical unit. Reads and writes that conflict with nothing run on
 * the core where their session lives. What cores share (reservations, registrations, mode pages, capacity,
 * the ranges of COMPARE AND WRITE) belongs to the unit's owner core: other cores see a read-only view that
 * the owner publishes by message and that every core acknowledges before the command that changed it is
 * answered; commands that change it are carried to the owner and back. Nothing here takes a lock.
 *
 * Words: a nexus is an I_T nexus (one session); an ITL is one nexus's view of one logical unit.
 */
#ifndef CORELANE_TARGET_LUN_H
#define CORELANE_TARGET_LUN_H

#include <stdbool.h>
#include <stdint.h>
#include "iscsi/proto.h"
#include "reactor/rt.h"
#include "reactor/rt_list.h"
#include "scsi/scsi.h"
#include "target/backend/be.h"

struct lun;                                 /* a logical unit; one owner core, a part on each core */
struct nexus;
struct itl;
struct scsi_task;

#define LUN_TRANSFER_MAX (4u << 20)         /* bytes; MAXIMUM TRANSFER LENGTH of VPD B0 */

/* ---- the unit itself (control path: the host's first core) --------------------------------------------- */

struct lun_conf {
    struct be_conf be;
    uint32_t block_len;                     /* bytes: 512 or 4096 */
    bool readonly;
    uint8_t naa[16];                        /* all zero: made anew (NAA 6, random) */
    const char *state_path;                 /* where registrations live that outlast a power loss (APTPL); NULL: nowhere */
};

/* Opens the backend (blocks: call from rt_work or at set-up), restores APTPL state, lays the per-core parts out.
 * @owner: index of the core that will own shared state. Return: 0, or -errno with @why as be_open() has it. */
int lun_new(struct lun **out, struct rt_host *host, unsigned owner, const struct lun_conf *conf, char why[static 256]);
/* When no ITL is left on any core and lun_quiesce() has completed. Blocks (closes the backend). Accepts NULL. */
void lun_free(struct lun *lun);
/* Whether nothing is under way on it: no session knows it, no change of it is being made. Once the host has stopped. */
bool lun_idle(const struct lun *lun);

struct lun_info {
    uint64_t blocks;
    uint32_t block_len;
    bool readonly;
    uint8_t naa[16];
    char serial[33];
};
void lun_info(const struct lun *lun, struct lun_info *out);   /* any core: what was last published there */

/* Target port groups and their asymmetric access states, coded as in SPC-4 r36, "REPORT TARGET PORT GROUPS command". */
enum lun_port_state {
    LUN_PORT_OPTIMIZED = 0x0,
    LUN_PORT_NON_OPTIMIZED = 0x1,
    LUN_PORT_STANDBY = 0x2,
    LUN_PORT_UNAVAILABLE = 0x3,
    LUN_PORT_OFFLINE = 0xe,
    LUN_PORT_TRANSITIONING = 0xf,
    /* What a request may ask for besides. */
    LUN_PORT_KEEP = 0x10,                   /* as it is; of a new group: optimized */
    LUN_PORT_BACK = 0x11,                   /* what it was before the transition */
};
enum lun_group_why {                        /* status code */
    LUN_GROUP_NEW = 0,
    LUN_GROUP_EXPLICIT = 1,                 /* by SET TARGET PORT GROUPS */
    LUN_GROUP_IMPLICIT = 2,                 /* by us */
};
#define LUN_GROUPS_MAX 64u
#define LUN_GROUP_DEFAULT 1u
#define LUN_TRANSITION_MAX_S 60u            /* initiators are told how long a transition may take */
struct lun_group {
    uint16_t tag;                           /* portal group tag; the relative identifier of its port as well */
    uint8_t state;                          /* enum lun_port_state */
    bool preferred;
    uint8_t why;                            /* enum lun_group_why */
    uint8_t was;                            /* state before the transition; else the same as state */
};
const char *lun_port_state_name(uint8_t state);        /* as commands have it; "?" for none */
int lun_port_state_parse(const char *name);            /* of those that may be set. -1: no such name */
/* As they are on this core. Return: how many. */
unsigned lun_groups(const struct lun *lun, struct lun_group out[static LUN_GROUPS_MAX]);
/* Before any nexus knows the unit. Without it there is LUN_GROUP_DEFAULT alone. @groups: by ascending tag. */
void lun_init_groups(struct lun *lun, const struct lun_group *groups, unsigned nr);

/* Answers arrive as fn(arg, err) on the core that asked. */
struct lun_request {
    void (*fn)(struct lun_request *r, int err);
    char why[256];
    /* The rest is the unit's. */
    struct rt_msg msg;
    struct rt_work work;
    struct lun *lun;
    struct rt *asker;
    uint64_t arg;
    uint8_t reset, told;
    const struct lun_group *groups;
    unsigned left, groups_nr;
};
/* New size (0: read the backend's anew) on every core, and unit attention 2A/09 on every ITL. A unit grows first in its
 * backend and shrinks first in its view, so nobody reaches beyond it. */
void lun_resize(struct lun *lun, struct lun_request *r, uint64_t size);
/* LOGICAL UNIT RESET, or a target's for this unit: every task of the unit on every core is aborted
 * (nexus->ops->abort), reservations of RESERVE go, a unit attention follows on every ITL that says which it was.
 * Tasks of @by (NULL: nobody) are told to end without TASK ABORTED: who asked for the reset knows. Answers when all
 * that is done. Source: SAM-5 r21, "Hard reset" and "Logical unit reset". */
enum lun_reset_kind {
    LUN_RESET_TARGET = 0x02,                /* 29/02, SCSI BUS RESET OCCURRED */
    LUN_RESET_UNIT = 0x03,                  /* 29/03, BUS DEVICE RESET FUNCTION OCCURRED */
};
void lun_reset(struct lun *lun, struct lun_request *r, struct itl *by, enum lun_reset_kind kind);
/* Takes the unit away: tasks there are aborted, those to come are answered as for a LUN that is not there (25/00).
 * Answers when none is left on any core. */
void lun_quiesce(struct lun *lun, struct lun_request *r);

/* The groups there are from now on, and their states: @groups, kept until the answer, by ascending tag. Answers when no
 * core goes by the old ones; if something has changed, a unit attention on every ITL says what was @told. */
enum lun_groups_told {
    LUN_GROUPS_NOT_TOLD = 0,                /* a transition begins */
    LUN_GROUPS_CHANGED = 0x06,              /* 2A/06, ASYMMETRIC ACCESS STATE CHANGED */
    LUN_GROUPS_FAILED = 0x07,               /* 2A/07, IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED */
};
void lun_set_groups(struct lun *lun, struct lun_request *r, const struct lun_group *groups, unsigned nr,
                    enum lun_groups_told told);

/* Sums over the cores; any core, a snapshot. */
struct lun_stats {
    uint64_t reads, writes, read_bytes, write_bytes, others, errors, conflicts, in_flight;
};
void lun_stats(const struct lun *lun, struct lun_stats *out);

/* ---- nexus and ITL (on the session's core) ---------------------------------------------------------------- */

struct nexus_ops {
    /* The unit wants the task gone: LUN RESET, PREEMPT AND ABORT, CLEAR TASK SET, the unit's end. The session ends it without
     * an answer, or with TASK ABORTED when @tas, and calls lun_finish() once it is over: never from inside. */
    void (*abort)(struct scsi_task *t, bool tas);
};

struct nexus {                              /* filled by the session */
    const struct nexus_ops *ops;
    struct rt *rt;                          /* the session's core */
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];
    char target[ISCSI_NAME_LEN_MAX + 1];
    uint16_t tpgt;
    uint16_t rel_port;                      /* relative target port identifier, 1.. */
    struct itl **itls;                      /* by ascending LUN */
    unsigned itls_nr;
    void *session;                          /* for the session's own use */
};

#define ITL_UA_MAX 8
struct itl {                                /* made by the session, filled by itl_attach() */
    struct nexus *nexus;
    struct lun *lun;
    uint16_t number;                        /* LUN by which this nexus knows the unit */
    bool readonly;                          /* masked: this nexus may not write */
    /* The rest is the unit's. */
    struct rt_link link;                    /* in the core's part of the unit */
    struct { uint8_t asc, ascq; } ua[ITL_UA_MAX];
    uint8_t ua_nr;
    bool prevent;                           /* PREVENT ALLOW MEDIUM REMOVAL */
    bool doomed;                            /* its tasks are being aborted: PREEMPT AND ABORT */
    uint32_t tasks;                         /* started and not finished */
    uint32_t ordered;                       /* of them with attribute ORDERED */
    struct lun_part *part;                  /* the unit's part on this core */
    uint64_t id;                            /* never used twice in the unit's life */
    uint32_t access;                        /* what the published reservations allow: enum lun_access */
    int reg;                                /* place among the published registrations, -1: none */
    uint8_t port_state;                     /* enum lun_port_state of the nexus's group */
};
/* Joins: unit attention 29/00 (power on, reset) for a new nexus is set here. */
void itl_attach(struct itl *itl, struct nexus *nexus, struct lun *lun, uint16_t number, bool readonly);
/* Leaves: I_T nexus loss. All tasks of the ITL are finished (asserted). What the nexus held by RESERVE or PREVENT is given
 * back; the message that does so outlives the itl, which may be freed on return. */
void itl_detach(struct itl *itl);
/* For REPORTED LUNS DATA HAS CHANGED (3F/0E) and the like. Duplicates are kept once. */
void itl_attention(struct itl *itl, uint8_t asc, uint8_t ascq);

/* ---- tasks (on the session's core) -------------------------------------------------------------------------- */

struct scsi_task {
    /* Filled by the session before lun_start(). */
    struct nexus *nexus;
    struct itl *itl;                        /* NULL: no such LUN here */
    uint16_t number;                        /* the LUN asked for; SCSI_LUN_WELL_KNOWN included */
    const uint8_t *cdb;                     /* kept until lun_finish() */
    uint32_t cdb_len;
    uint32_t edtl;                          /* bytes; what the initiator expects to move */
    bool read, write;                       /* R and W of the command */
    uint8_t attr;                           /* enum iscsi_task_attr */
    uint32_t tag;
    void (*done)(struct scsi_task *t);      /* lun_run() is over: results are set */

    /* Filled by lun_start(): what data the command moves, as its CDB says. */
    uint32_t out_len;                       /* bytes from the initiator; 0: none */
    uint32_t in_len;                        /* bytes to the initiator at most (allocation length or blocks) */

    /* Filled by the session before lun_run(); kept until lun_finish(). Each page-aligned and a multiple of
     * 4096 bytes long but the last. */
    const struct iovec *out_iov, *in_iov;
    unsigned out_nr, in_nr;
    uint32_t out_got;                       /* bytes of out that came: min(out_len, edtl) */

    /* Results. */
    uint8_t status;                         /* enum scsi_status */
    uint8_t sense[SCSI_SENSE_LEN_MAX];
    uint32_t sense_len;
    uint32_t in_done;                       /* bytes of in that are valid */

    /* The rest is the unit's. */
    struct rt_link link;                    /* in the core's part of the unit, from start to finish */
    const struct lun_cmd *cmd;
    uint64_t lba;
    uint32_t blocks;
    uint32_t step;
    bool aborted, running, guarded;
    bool killed, awaited;                   /* a drain waits for its finish, for the end of its I/O */
    bool held, over, absent, bounced;
    uint8_t saved_status;
    struct be_io io;
    struct rt_msg msg;
    struct rt_link wait;
    void *scratch;
    struct iovec iov_tmp;
};

enum lun_next {
    LUN_DONE,                               /* status and sense are set; there is nothing to move */
    LUN_RUN,                                /* call lun_run(), with data in and out as out_len and in_len say */
};
/**
 * lun_start - take a command: decode, check, and say what data it moves
 *
 * Checks in SAM's order: LUN there, unit attentions, reservations, CDB, range, write protection. Links the task into the unit;
 * lun_finish() is due once for every task given here, also for one that is LUN_DONE.
 */
enum lun_next lun_start(struct scsi_task *t);
/* After lun_start(): a plain read or write. Its data may be in memory that somebody else changes meanwhile: each byte moves
 * once between there and the medium, and nothing is decided by it. */
bool lun_is_direct(const struct scsi_task *t);
/* The same, and lun_run() will follow when other tasks have been started: the medium may begin to fetch. */
void lun_soon(const struct scsi_task *t);
/* Executes. out data are there, in has room for min(in_len, edtl) bytes or in_len. Ends in t->done(t), which may be
 * called from inside. in_len may exceed what the session provided only by edtl's limit: bytes beyond are not produced. */
void lun_run(struct scsi_task *t);
/* Asks a running task to end early; done still comes, soon where that is possible. */
void lun_cancel(struct scsi_task *t);
/* The task is over and its memory the session's again: after done (or LUN_DONE, or when lun_run() was never
 * called because data never came). Sends no event. */
void lun_finish(struct scsi_task *t);

#endif
