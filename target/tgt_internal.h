/*
 * tgt_internal.h - what the files of the target share; nobody else includes it
 *
 * tgt.c           life: cores, rounds over the cores, stop
 * tgt_portal.c    listeners, accepting, limits before login, placement on a core
 * tgt_door.c      the loopback socket, and the way from there to a session
 * tgt_registry.c  sessions by name and ISID, TSIH, reinstatement
 * tgt_conf.c      the configuration document: load, check, save
 * tgt_change.c    the methods that change it, one after another
 * tgt_group.c     those that concern portals and port groups
 * tgt_model.c     logical units, and the snapshot that cores read
 * tgt_rpc.c       the methods of docs/rpc.md that only look
 * tgt_buf.c       data buffers of a core
 * sess*.c         sessions, on their cores (sess.h)
 *
 * All but sessions belongs to the host's first core. Other cores get what they need by message: a snapshot
 * of the configuration, and answers to what their sessions ask of the registry.
 */
#ifndef CORELANE_TARGET_TGT_INTERNAL_H
#define CORELANE_TARGET_TGT_INTERNAL_H

#include <jansson.h>
#include "balancer/load.h"
#include "balancer/place.h"
#include "iscsi/chap.h"
#include "iscsi/proto.h"
#include "loopback/loop.h"
#include "reactor/rt.h"
#include "reactor/rt_list.h"
#include "reactor/rt_log.h"
#include "reactor/rt_pool.h"
#include "target/lun.h"
#include "target/tgt.h"
#include "target/tgt_buf.h"

#define TGT_PORTALS_MAX 64u                 /* a target's answer to SendTargets stays below 8 KiB */
#define TGT_LOGINS_MAX 256u                 /* connections that are not logged in, in all */
#define TGT_LOGINS_PEER_MAX 64u             /* and from one address */
#define TGT_PEERS_MAX 1024u                 /* addresses that are remembered */
#define TGT_SESSIONS_MAX 32768u             /* TSIHs are found quickly in a space half empty */
#define TGT_CTLS_PER_CORE 8192u

static_assert(LUN_GROUP_DEFAULT == TGT_GROUP_DEFAULT && LUN_GROUPS_MAX >= TGT_PORTALS_MAX, "every group is in a unit");

struct sess;
struct tgt_core;

/* ---- limits: "limits" of the configuration, read at start ------------------------------------------------- */

struct tgt_limits {
    uint64_t login_ns;                      /* for a login, from the connection on */
    uint64_t idle_ns;                       /* a NOP-In after so much silence */
    uint64_t stall_ns;                      /* no answer to it, no Data-Out, nothing taken of what is sent: dropped */
    uint64_t tick_ns;                       /* how often that is looked at */
    uint32_t tasks;                         /* SCSI commands under way on a core */
    size_t buffer_mem;                      /* bytes of data buffers of a core */
};

/* ---- the snapshot: what sessions may know of the configuration ------------------------------------------- */

/* Made on the first core, read by all, never changed. Freed once every core has a newer one. */
struct snap_cred {
    struct chap_cred cred;
    char initiator[ISCSI_NAME_LEN_MAX + 1]; /* empty: for any */
    unsigned algs;                          /* bits of 1 << enum chap_alg */
};
struct snap_auth {
    struct snap_cred *in, *out;             /* what initiators prove; what we prove */
    unsigned in_nr, out_nr;
};
struct snap_acl {
    char initiator[ISCSI_NAME_LEN_MAX + 1]; /* or "*" */
    bool all, readonly;
    uint16_t *luns;
    unsigned luns_nr;
};
struct snap_lun {
    uint16_t number;
    struct lun *lun;                        /* never NULL: a unit that could not be opened is not in here */
};
struct snap_target {
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    struct snap_lun *luns;                  /* by ascending number */
    unsigned luns_nr;
    struct snap_acl *acls;
    unsigned acls_nr;
    struct snap_auth auth;
};
struct snap_portal {
    struct rt_addr addr;
    bool wildcard;
    uint16_t group;
};
struct snap {
    struct snap_target *targets;            /* by name */
    unsigned targets_nr;
    struct snap_portal portals[TGT_PORTALS_MAX];
    unsigned portals_nr;
    struct snap_auth discovery;
};
const struct snap_target *snap_find(const struct snap *snap, const char *iqn);   /* NULL: no such target */
/* The rule for an initiator: its own before "*". *open: the target admits anybody. NULL and !*open: not
 * admitted. */
const struct snap_acl *snap_acl_of(const struct snap_target *t, const char *initiator, bool *open);
bool snap_acl_has(const struct snap_acl *acl, uint16_t number);   /* acl NULL: all */
void snap_free(struct snap *snap);          /* accepts NULL */

/* ---- cores ----------------------------------------------------------------------------------------------- */

struct tgt_core {
    struct tgt *tgt;
    struct rt *rt;
    unsigned index;
    const struct snap *snap;
    struct rt_link sessions;
    struct buf_pool *bufs;
    struct rt_pool *tasks, *ctls;
    struct rt_link waiting;                 /* tasks that wait for buffers, in order */
    void *sink;                             /* where data go that nobody wants: BUF_LARGE_LEN */
    bool stopping;

    /* The first core's, for placement and layout.show. */
    unsigned sessions_nr;                   /* placed there and not gone */
};

/* A call made on every core in turn, the last answer at home. */
struct tgt_round {
    void (*each)(struct tgt_core *core, struct tgt_round *r);
    void (*over)(struct tgt_round *r);      /* on @home; r is its again */
    struct rt *home;
    struct rt_msg msg;                      /* the rest is tgt_round_start()'s */
    struct tgt *tgt;
    unsigned at;
};
void tgt_round_start(struct tgt *t, struct tgt_round *r);   /* any core of the target */

/* ---- portals --------------------------------------------------------------------------------------------- */

struct tgt_portal {
    struct tgt *tgt;
    struct rt_addr addr;                    /* as bound */
    bool wildcard;
    uint16_t group;                         /* portal group tag, and the relative port identifier of its ports */
    uint32_t id;                            /* never used twice */
    bool given;                             /* on the command line: no part of the configuration */
    bool leaving;                           /* is being closed: in no snapshot */
    struct rt_sock *listener;               /* NULL: closed; the place is free once nothing is outstanding */
    struct rt_op op;
    struct rt_timer retry;                  /* accepting pauses when descriptors ran out */
    bool accepting;                         /* op is outstanding */
    struct rt_sock *conn;
    struct rt_addr peer;
};

/* A socket on its way to the core where its session will live; given. */
struct tgt_arrival {
    struct rt_msg msg;
    struct tgt_core *core;
    struct rt_sock *sock;
    struct rt_addr peer, local;
    uint16_t group;
    uint32_t portal;
    uint32_t penalty_ms;                    /* how long a failed authentication is to wait for its answer */
    char why_core[BAL_TEXT_MAX];            /* why it got that core */
    struct rt_work work;                    /* which interface leads to the peer, and its node */
    char ifname[32];
    int node;
    int err;                                /* on the way back: of sess_start() */
};

/* Any port for 0. @quiet: logs nothing. Return: 0 with *out, or -errno. */
int portal_listen(struct tgt *t, const struct rt_addr *at, uint16_t group, bool quiet, struct tgt_portal **out);
void portal_accept(struct tgt_portal *p);   /* first core: from now on */
void portal_close(struct tgt_portal *p);
void portal_start(struct tgt *t);           /* on the first core: accept from now on */
void portal_stop(struct tgt *t);
/* Tags of the groups whose portals are open, ascending. Return: how many. */
unsigned portal_groups(const struct tgt *t, uint16_t tags[static TGT_PORTALS_MAX]);
bool portal_is_open(const struct tgt *t, uint32_t id);  /* and is to stay so */
struct tgt_portal *portal_find(struct tgt *t, const struct rt_addr *addr);   /* open; NULL: none */
/* A connection of that address is logged in or gone; @failed: it could not prove who it is. */
void portal_login_over(struct tgt *t, const struct rt_addr *peer, bool failed);
extern const size_t tgt_peer_size;          /* of one of t->peers */
void portal_placed(struct tgt_core *core, int delta);

/* ---- the loopback socket ---------------------------------------------------------------------------------- */

/* Set-up. @path: NULL: loopback is not wanted. Where it cannot be opened the target goes without, having logged why. */
void door_open(struct tgt *t, const char *path);
void door_close(struct tgt *t);             /* first core */

/* ---- registry -------------------------------------------------------------------------------------------- */

struct reg_entry;
/* A session's question, embedded in it; answered by sess_answered(). One at a time. */
struct reg_call {
    struct rt_msg msg;
    struct sess *sess;
    uint16_t status;                        /* enum iscsi_login_status */
    uint16_t tsih;
    uint64_t id;
    struct reg_entry *entry;                /* NULL: not let in */
    unsigned steals;                        /* how often lately another host took this place */
    uint64_t steal_at;
};
/* On the session's core: may this session live? Older ones of its name and ISID are ended first. */
void reg_join(struct sess *s);
/* On the session's core: what to say to a TSIH other than 0, which never succeeds. */
void reg_probe(struct sess *s);
/* On the session's core: it is over, and holds nothing any more. sess_free() follows. */
void reg_gone(struct sess *s);
void reg_free(struct tgt *t);
/* First core. */
unsigned reg_count(struct tgt *t, const char *iqn);   /* NULL: all */
/* Has an initiator asked to log out (Asynchronous Message 1). @id 0: all. Return: 0, or -ENOENT. */
int reg_ask_logout(struct tgt *t, uint64_t id);
/* Of those that came in by a portal (tgt_portal.id): how many, and their end. */
unsigned reg_count_portal(struct tgt *t, uint32_t portal);
void reg_end_portal(struct tgt *t, uint32_t portal, const char *why);
/* Ends the sessions with a target, or all for NULL. @why: static text. */
void reg_end(struct tgt *t, const char *iqn, const char *why);
/* From a session's core: reg_end() for its target, soon. */
void reg_end_later(struct sess *s, const char *why);

/* ---- model ----------------------------------------------------------------------------------------------- */

/* A logical unit of the configuration, open or not. */
struct unit {
    struct rt_link link;
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    uint16_t number;
    struct tgt *tgt;
    unsigned owner;                         /* index of its core */
    struct lun *lun;                        /* NULL: offline */
    uint8_t fresh[16];                      /* the identity it gets if it has none */
    char naa[33];                           /* as text, once it was to be opened */
    char offline[256];                      /* why */
    int node;                               /* NUMA node of the device under it, BAL_NODE_ANY */

    /* On its way out, when there may be no memory to remember more. */
    struct lun_request req;
    struct tgt_round round;
    struct rt_timer again;
    struct rt_work work;
    unsigned knowing;                       /* sessions that know it still */
    void (*gone)(void *arg);
    void *gone_arg;
};
struct unit *unit_find(struct tgt *t, const char *iqn, uint16_t number);
/* Not yet in t->units, and not open. NULL: no memory. */
struct unit *unit_new(struct tgt *t, const char *iqn, uint16_t number);
/* Blocks. @lun: of the document, checked. @known: it was there before: a file must be there, and no shorter
 * than it was. Return: 0 or -errno with @why. */
int unit_open(struct unit *u, json_t *lun, bool known, char why[static 256]);
void unit_note(const struct unit *u, json_t *lun);   /* what opening found out goes into the document */
/* The port groups of an open unit that no session knows yet. */
void unit_groups(struct unit *u, json_t *doc);
void unit_free(struct unit *u);             /* blocks; in no list; accepts NULL */

/* Opens the units of the document; those that cannot be opened are logged and stay offline. Set-up. */
int model_open(struct tgt *t);
/* Port groups and the first snapshot, once the portals are open. Set-up. */
int model_start(struct tgt *t);
void model_close(struct tgt *t);
bool model_is_idle(const struct tgt *t);    /* nothing is under way on a unit; once the host has stopped */
/* Builds a snapshot of a document and the units. NULL: no memory. */
struct snap *model_snap(struct tgt *t, json_t *doc);
/* Puts a snapshot in place on all cores, then calls over(). */
struct model_publish {
    struct tgt_round round;
    struct snap *snap;                      /* given */
    const struct snap *old;
    void (*over)(struct model_publish *p);
};
void model_publish(struct tgt *t, struct model_publish *p);
/* Takes a logical unit out of service that was deleted: quiesces it, waits until no session knows it, closes it,
 * removes the reservations that were kept for it, then done(arg).
 * The unit is no longer in the published snapshot. @unit: given. */
void unit_retire(struct tgt *t, struct unit *unit, void (*done)(void *arg), void *arg);

/* ---- configuration --------------------------------------------------------------------------------------- */

#define CONF_VERSION 1
#define CONF_LEN_MAX (16u << 20)            /* bytes of file */
#define CONF_WHY_MAX 512
json_t *conf_empty(void);
/* The whole document, checked. Return: NULL with @why naming thing, rule and remedy, or the lack of memory, which
 * rpc_json_losses() tells of too. */
json_t *conf_parse(const char *text, size_t len, char why[static CONF_WHY_MAX]);
/* Names become lower case. 0, or -EINVAL or -ENOMEM with @why. */
int conf_check(json_t *doc, char why[static CONF_WHY_MAX]);
char *conf_text(json_t *doc);               /* given to the caller to free(); NULL: no memory */
void conf_limits(const json_t *doc, struct tgt_limits *out);
json_t *conf_target(json_t *doc, const char *iqn);         /* borrowed; NULL: none */
json_t *conf_lun(json_t *target, uint16_t number);         /* borrowed; NULL: none */
/* What the configuration has a port group be for a LUN. @lun: NULL: for LUNs that say nothing else. */
void conf_group(json_t *target, json_t *lun, struct lun_group *g);
unsigned conf_algs(json_t *algs);           /* NULL: all */
void conf_naa_text(const uint8_t naa[static 16], char out[static 33]);
int conf_naa_parse(const char *text, uint8_t out[static 16]);

/* ---- the target itself ----------------------------------------------------------------------------------- */

struct change;
struct peer;
struct tgt {
    struct rt_host *host;
    struct rt *rt;                          /* the first core */
    struct tgt_core *cores;
    unsigned cores_nr;
    const struct bal_topo *topo;            /* NULL: nothing is known of the machine */
    struct tgt_limits limits;               /* does not change once the target is up */
    char *config_path, *state_dir;          /* NULL: none */
    uint64_t started_s;

    json_t *doc;
    struct rt_link units;
    unsigned units_made;                    /* owners go round the cores */
    unsigned retiring;
    bool unsaved;                           /* opening found out something that must be kept */
    struct snap *snap;                      /* the newest */

    struct rt_link changes;                 /* waiting for the one under way */
    struct change *change;

    struct rt_link entries;                 /* registry */
    unsigned entries_nr;
    uint16_t tsih_last;
    uint64_t tsih_used[UINT16_MAX / 64 + 1];    /* one bit each */
    uint64_t id_last;

    struct tgt_portal portals[TGT_PORTALS_MAX];
    unsigned portals_nr;                    /* places that are or were used */
    uint32_t portal_ids;
    struct loop_door *door;                 /* NULL: none, or closed */
    char loop_path[LOOP_PATH_LEN_MAX + 1];  /* its socket; empty: none. Does not change once the target is up */
    const char *loop_off;                   /* why there is none; static text */
    unsigned logins_nr;
    struct peer *peers;                     /* TGT_PEERS_MAX */
    struct rt_msg start_msg;
    struct bal_load *load;                  /* NULL once the target has stopped */
    unsigned arrivals_nr;                   /* connections of which it is being asked where they come from */

    bool stopping;
    void (*stop_done)(void *arg);
    void *stop_arg;
    struct rt_timer stop_timer;
    struct tgt_round stop_round;
    unsigned stop_step, stop_left;
};
void tgt_session_gone(struct tgt *t);       /* first core: one less */
void change_hurry(struct tgt *t);           /* the target stops: a change that only waits fails */

#endif
