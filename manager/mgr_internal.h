/*
 * mgr_internal.h - what the manager's files share; nobody else includes it
 *
 * mgr.c       life: start, taking over, stop; hops between cores
 * settings.c  what a session is to be like: iscsid.conf, node record, parameters
 * sess.c      sessions: made, shared by disks, ended
 * isid.c      their identities, and what may be left at targets under them
 * path.c      one way to a disk's unit: session, unit, into the disk, and out
 * attach.c    attachments: paths, a disk, a device, in that order, and back
 * merge.c     an attachment whose unit is attached already: its paths go over
 * att_core.c  the disk's and the device's part of that, on their core
 * pr.c        persistent reservations, over all paths of a disk
 * policy.c    settings of a disk with several paths: multipath.conf, and what commands say
 * events.c    what happened to disks and paths, for who asks later
 * list.c      what is known of them, gathered from their cores as JSON
 * discover.c  SendTargets, and keeping what was found
 * store.c     attachments.json
 * rpc.c       the methods: parameters in, answers out; attach_rpc.c and path_rpc.c have those of disks and paths, layout.h
 *             names those of the layout
 * wish.c      what a caller asks for a session
 * path_list.c disks with all there is to say of their paths, as JSON
 * param.c     parameters against tables
 */
#ifndef CORELANE_MANAGER_MGR_INTERNAL_H
#define CORELANE_MANAGER_MGR_INTERNAL_H

#include <jansson.h>
#include <stdatomic.h>
#include "balancer/load.h"
#include "balancer/place.h"
#include "balancer/rebalance.h"
#include "export/export.h"
#include "initiator/ini.h"
#include "initiator/record.h"
#include "manager/mgr.h"
#include "mpio/disk.h"
#include "reactor/rt_list.h"
#include "reactor/rt_log.h"

#define MGR_NAME_MAX 64u /* of an attachment, bytes */
#define MGR_WHY_MAX  768

/* ---- to another core and back ---------------------------------------------------------------------------- */

struct sess;
struct att;

/* run() on @away; when what it began is over, hop_back() there, which calls back() at home. One trip at a
 * time. To a session's core: sess_go(). */
struct hop {
    struct rt_msg msg;
    struct rt *home;
    struct sess *sess;    /* whose trips it is one of; NULL: none's */
    struct rt_link link;  /* among those of the session that wait */
    void (*run)(struct hop *h);
    void (*back)(struct hop *h);
};
void hop_go(struct hop *h, struct rt *home, struct rt *away, void (*run)(struct hop *h),
            void (*back)(struct hop *h));
void hop_back(struct hop *h);

/* ---- settings -------------------------------------------------------------------------------------------- */

/* What a caller asked for beyond files: empty where nothing was said. */
struct mgr_wish {
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    struct iscsi_portal portal;
    struct chap_cred user, user_in;
    char header_digest[32], data_digest[32];
    char transport[8];
};

struct settings_load {   /* filled by the caller but for the results */
    struct rt_work work; /* the loader's */
    struct mgr *mgr;
    const struct mgr_wish *wish; /* borrowed until done */
    void (*done)(struct settings_load *l);
    int err; /* results */
    char why[MGR_WHY_MAX];
    struct ini_settings set;
};
/* Defaults, iscsid.conf, the node record, the wish: each over what came before. */
void settings_load(struct settings_load *l);

/* ---- sessions -------------------------------------------------------------------------------------------- */

enum sess_state {
    SESS_LOGIN,  /* settings are read, login is tried */
    SESS_UP,     /* logged in once; recovery from then on is the session's own affair */
    SESS_FAILED, /* for good */
    SESS_ENDING, /* logs out */
};

/* Waits for a session to be up (or not), or to be gone. */
struct sess_wait {
    struct rt_link link;
    void (*fn)(struct sess_wait *w, int err, const char *why);
};

struct sess {
    /* Home's. */
    struct rt_link link; /* in mgr->sessions until it is gone */
    struct mgr *mgr;
    struct mgr_wish wish;
    unsigned id;
    char name[16]; /* "s1" */
    char portal[ISCSI_PORTAL_STR_MAX];
    enum sess_state state;
    bool keep;      /* asked for by login: stays when no disk uses it */
    bool settler;   /* serves nobody: logs in with an old identity, and out, to end what is left under it */
    bool elsewhere; /* and not where the session is that waits for it */
    bool unsure;    /* something may be left at the target that was sent by a portal which cannot be reached */
    bool fresh;     /* its identity was made up for it: no session had it before */
    bool clean;     /* once it is gone: nothing is left at the target under its identity */
    unsigned users; /* attachments that stand on it or wait for it */
    unsigned holds; /* in the list, on a trip, looked at by a listing */
    unsigned index; /* which one of those to its target and portal */
    int core;       /* -1: it has none yet */
    int node;       /* NUMA node of what packets to its portal leave by; BAL_NODE_ANY */
    char nic[32];   /* and its name; empty: not known, or of no consequence */
    struct move *move;   /* it is to go to another core */
    unsigned trips;      /* under way: it stays on its core until they are back */
    bool away;           /* it is between two cores: trips wait */
    struct rt_link held; /* those */
    char why_core[BAL_TEXT_MAX];
    char why_failed[MGR_WHY_MAX];
    int err;
    struct rt_link up_waits, end_waits, settle_waits;
    struct isid *record; /* to keep its identity in when it is over: there may be no memory then */
    struct settings_load load;
    bool loading, located; /* until it is placed; and may be */
    struct hop start, stop;
    struct hop sample;   /* to learn how much it does */
    uint64_t work;       /* that: written on its core on such a trip */
    struct bal_past past;

    /* Set before the start, read by both from then on; rt changes while it is away. */
    struct rt *rt;
    struct ini_conf conf;

    /* Its core's, from the start on. */
    struct ini_sess *ini;             /* NULL: never started, or gone */
    struct mpio_nexus *nexus;         /* while there is ini */
    struct rt_msg up_msg, failed_msg; /* to home, each once */
    bool up_told, failed_told;
    struct rt_msg again_msg; /* to home: logged in again */
    atomic_bool again_told;  /* and it is on its way */
    int core_err;
    char core_why[256];
    struct rt_op free_op;
};

/* A trip to the core where it lives, from home: it does not leave that core before h is back, and while it is on its way
 * to another, h waits, and goes there. All that is done to a session, or to what stands on it, is done on such trips. It is
 * not to go before h is back (sess_hold(), sess_use()). */
void sess_go(struct sess *s, struct hop *h, void (*run)(struct hop *h), void (*back)(struct hop *h));
void sess_returned(struct sess *s); /* hops tell: one of its trips is back */
/* From now on trips to it wait, none being under way (asserted); sess_arrived(): they go to where s->rt is now. */
void sess_leaves(struct sess *s);
void sess_arrived(struct sess *s);
/* The session to that portal that a path of @a may stand on, or NULL: one over which it has no path yet. */
struct sess *sess_shared(struct mgr *m, const struct mgr_wish *wish, const struct att *a);
/* A new one, placed on a core; its login begins. isid: NULL: that of one to the same target which ended, or one
 * made up. Return: NULL: no memory. */
struct sess *sess_new(struct mgr *m, const struct mgr_wish *wish, const uint8_t *isid, bool keep);
/* w->fn is called in a coming turn or later, once; 0: it is up. */
void sess_wait_up(struct sess *s, struct sess_wait *w);
/* Ends it (if it does not end already) and calls w->fn when it is gone; w may be NULL. */
void sess_end(struct sess *s, struct sess_wait *w);
void sess_waits_call(struct rt_link *waits, int err, const char *why); /* each once, and empties the list */
/* Whether it may be given to who wants a session: is up or will be, and for that. */
bool sess_serves(const struct sess *s);
void sess_use(struct sess *s);
/* The last user of a session that nobody asked to keep ends it. */
void sess_unuse(struct sess *s);
void sess_hold(struct sess *s);
void sess_put(struct sess *s);
bool sess_matches(const struct sess *s, const char *iqn, const struct iscsi_portal *portal /* NULL: any */);
/* By the transport that is wished for, if any is. */
bool sess_carried(const struct sess *s, const struct mgr_wish *wish);
struct sess *sess_find(struct mgr *m, unsigned id);

/* ---- identities ------------------------------------------------------------------------------------------ */

/* RFC 7143 10.1.1, conservative reuse: a session that could not log out may have left writes at its target or on their way
 * there, which would land late, on newer ones. A login with its identity has the target end what is left of it
 * first. So identities are kept, on record too, until a session with them has logged out in order: the next
 * session to that target takes one, and no disk is served before the others have been settled. */

struct isid;
struct isid *isid_record(void); /* to free(); NULL: no memory */
/* @owed: something may be left under it; else it is kept for the next session to have one that the target knows.
 * @portal: where it was used; host empty: not known.
 * @record: taken where one is needed; NULL, or NULL in it: one is made. Return: 0 or -ENOMEM. */
int isid_keep(struct mgr *m, const char *iqn, const uint8_t isid[static 6], const struct iscsi_portal *portal, bool owed,
              struct isid **record);
void isids_free(struct mgr *m);
/* For a new session. Return: whether it was made up. */
bool isid_choose(struct mgr *m, const char *iqn, uint8_t out[static 6]);
/* For a new session that is to have this one. */
void isid_take(struct mgr *m, const uint8_t isid[static 6], uint8_t out[static 6]);
bool isid_lives(const struct mgr *m, const uint8_t isid[static 6]); /* a session has it that does not end */
/* w->fn is called when nothing is left at the target of s, which is up, under any other identity of ours (perhaps
 * at once), or with why not. Sessions log in for that, where each identity was used, and out. Those of other portals than
 * that of s that cannot be reached do not fail it: s->unsure is set, and a unit is reset before its disk is made. */
void isid_settle(struct sess *s, struct sess_wait *w);
void isid_settled(struct sess *settler); /* it is gone, and clean or not */
json_t *isid_list(const struct mgr *m);  /* those under which something may be left, as on record; NULL: no memory */
/* One of that list. Return: NULL, or what is wrong with it. */
void isid_entry_portal(const json_t *entry, struct iscsi_portal *out);
const char *isid_entry(const json_t *entry, char iqn[static ISCSI_NAME_LEN_MAX + 1], uint8_t isid[static 6]);
#define ISID_STR_MAX 13
void isid_format(const uint8_t isid[static 6], char out[static ISID_STR_MAX]);
bool isid_parse(const char *text, uint8_t out[static 6]);

#include "manager/paths.h"

/* ---- attachments ----------------------------------------------------------------------------------------- */

enum att_state {
    ATT_LOGIN,     /* waits for a path */
    ATT_ENDING,    /* did not come about: its paths go */
    ATT_EXPORTING, /* disk and device are made */
    ATT_UP,
    ATT_CLOSING,
    ATT_WAITING, /* to be taken over; its target cannot be reached yet */
};

/* Waits until what the books say now is in attachments.json. */
struct store_wait {
    struct rt_link link;
    void (*fn)(struct store_wait *w);
};

struct att_spec {
    struct mgr_wish wish; /* of the first path, as is the LUN */
    uint16_t lun;
    enum exp_kind kind;
    bool readonly;
    bool separate; /* never a path of another disk */
    bool restored; /* a device of before waits for it */
    char name[MGR_NAME_MAX + 1]; /* empty: made up */
    char wwid[SCSI_WWID_MAX];    /* empty: whatever the first path leads to */
    struct policy_over over;
    bool has_pr_key;
    uint64_t pr_key;
};
struct att_wait {
    struct rt_link link;
    void (*fn)(struct att_wait *w, int err, const char *why);
};

#define PARCEL_MAX 8u
struct parcel_text {
    enum mpio_event ev;
    char why[200];
};
struct parcel { /* what a disk told, on its way home; the disk's core's but while it is away */
    struct rt_msg msg;
    struct parcel_text text[PARCEL_MAX];
    unsigned nr, lost_out;
    /* The disk's core's always. */
    struct parcel_text next[PARCEL_MAX];
    unsigned next_nr, lost;
    bool away;
    void (*closing)(struct att *a);
};

struct att {
    /* Home's. */
    struct rt_link link; /* in mgr->atts until it is gone */
    struct mgr *mgr;
    struct att_spec spec;
    char portal[ISCSI_PORTAL_STR_MAX];
    char wwid[SCSI_WWID_MAX]; /* what it has to be; empty: not known before */
    enum att_state state;
    bool restored;  /* a device of before waits for it: it is not given up */
    bool name_made; /* nobody asked for that name */
    bool separate;
    bool dropped;       /* is to go as soon as what is under way is over */
    bool was_reset;     /* its unit, so that nothing of sessions of before is left */
    struct merge *merge; /* it becomes paths of another disk; NULL: not */
    bool ending, ended; /* its paths go; they are gone */
    bool patient;      /* waited long enough for other sessions of before */
    unsigned holds;
    struct rt_link paths;
    unsigned path_last;
    struct path *founder; /* while the disk is made over it */
    struct policy_over over;
    bool has_pr_key; /* this host is registered for persistent reservations */
    uint64_t pr_key;
    struct store_wait store_wait;
    struct rt_timer patience;
    struct hop hop, force_hop;
    bool force_more; /* a close under way was asked to be a forced one */
    bool force_out;  /* force_hop is on its trip */
    struct rt_link close_waits;
    void (*opened)(struct att *a, int err, const char *why, void *user);
    void *opened_user;
    int end_err;
    char end_why[MGR_WHY_MAX];

    /* Set at home before the disk is made: where it lives from then on, and how it chooses. */
    struct rt *rt;
    int core;
    struct mpio_mpset set;

    /* Written on the disk's core while a trip is under way, read at home when it is over. */
    int err;
    char why[MGR_WHY_MAX];
    struct ini_lun_info info;
    struct exp_result result;
    bool force;

    /* The disk's core's. */
    struct mpio_disk *disk;
    bool joined; /* the founder is in the disk */
    struct exp *exp;
    struct rt_op core_op;
    struct mpio_io flush; /* the last of all */
    struct rt_timer flush_late;
    struct rt_msg lost_msg; /* to home, once */
    bool lost_told;
    struct parcel parcel;
};

/* opened() is called once, later; on failure the attachment is gone on its return. Return: NULL with @why when
 * it is refused out of hand. @paths: @nr of them, 1..MPIO_PATHS_MAX; @spec's wish and LUN are the first's. Where the unit
 * turns out to be attached already, its paths join that disk, which is what opened() is told of then, with words. */
struct att *att_open(struct mgr *m, const struct att_spec *spec, const struct path_spec *paths, unsigned nr,
                     void (*opened)(struct att *a, int err, const char *why, void *user), void *user,
                     char why[static MGR_WHY_MAX]);
/* w->fn follows; with an error all is as before. */
void att_close(struct att *a, bool force, struct att_wait *w);
/* The daemon ends: what waits for the target of a disk that is being made or taken away fails. */
void att_hurry(struct att *a);
struct att *att_find(struct mgr *m, const char *name_or_path);
const char *att_device(const struct att *a); /* its path; empty: it has none, or not yet */
/* Whether a disk that is taken over is to stand on the session of that identity again. */
bool att_has_isid(const struct mgr *m, const uint8_t isid[static 6]);
void att_hold(struct att *a); /* as a listing does that has sent somebody to look at it */
void att_put(struct att *a);
const struct path *att_path_first(const struct att *a); /* NULL: none */
struct sess *att_sess(const struct att *a);             /* of the first path that has one; NULL: none has */
/* What a path tells: it is open, did not come about, is gone. */
void att_path_open(struct att *a, struct path *p);
void att_path_failed(struct att *a, struct path *p);
void att_path_out(struct att *a);
void att_founding(struct att *a); /* makes the disk if it can be made now */
/* Trips of a->hop (att_core_fail: of a->force_hop) to the disk's core. */
void att_core_export(struct hop *h);
void att_core_close(struct hop *h);
void att_core_free(struct hop *h);
void att_core_fail(struct hop *h);
void att_core_post(struct att *a);
/* Whether a name may be given to an attachment. Return: NULL or what is wrong. */
const char *att_name_refusal(const char *name);
/* A name from IQN and LUN, not the same as one in use. */
void att_name_make(const struct mgr *m, const char *iqn, unsigned lun, char out[static MGR_NAME_MAX + 1]);

/* ---- the rest -------------------------------------------------------------------------------------------- */

struct mgr {
    struct rt_host *host;
    struct rt *rt; /* home */
    const char *run_dir, *config_dir, *multipath_conf;
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    struct bal_load *load;
    const struct bal_topo *topo; /* NULL: nothing is known of the machine */
    struct layout *layout;
    struct rt_link sessions, atts;
    struct rt_link isids; /* identities of sessions that ended */
    unsigned sess_last;
    struct events *events;
    struct mpio_mpconf *mpconf; /* multipath.conf; NULL: none */
    unsigned mpconf_remarks;
    uint64_t start_s;
    bool stopping;
    struct rt_op restore_op;
    json_t *restore; /* attachments.json as it was at start; NULL: nothing to take over */

    struct rt_work save_work; /* attachments.json */
    char *save_text;
    int save_err;
    bool saving, save_again;
    struct rt_link save_waits;

    unsigned stop_left;
    struct store_wait stop_save;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

void store_save(struct mgr *m, struct store_wait *w /* may be NULL */);
/* Blocks. *out: NULL: nothing to take over; else "disks" is a list in it. Return: 0, or -ENOMEM: what is there is not to
 * be overwritten. */
int store_load(struct mgr *m, json_t **out);
/* One entry of it. Return: NULL or what is wrong with it. */
const char *store_entry(const json_t *entry, struct att_spec *spec, uint8_t isid[static 6], bool *takes_over);
/* Its paths into paths[MPIO_PATHS_MAX], the first of which is what store_entry() gave. Those that are wrong are passed
 * over. Return: how many. */
unsigned store_paths(const json_t *entry, const struct att_spec *spec, const uint8_t isid[static 6],
                     struct path_spec *paths);

/* Answers call with the sessions of which keep(s, arg) is true; NULL: all. */
void list_sessions(struct mgr *m, struct rpc_call *call, bool (*keep)(const struct sess *s, const void *arg),
                   const void *arg);
void list_atts(struct mgr *m, struct rpc_call *call);
json_t *att_json(const struct att *a);

const char *mgr_mode_word(enum rt_mode mode);
/* What the parameters wish for; answers the call and returns false when they cannot be. */
bool mgr_wish_take(struct rpc_call *call, const json_t *params, struct mgr_wish *w);
bool mgr_refused_stopping(struct mgr *m, struct rpc_call *call); /* and answers it */
/* The disk of parameter @key; answers the call and returns NULL when there is none. */
struct att *mgr_att_take(struct mgr *m, struct rpc_call *call, const json_t *params, const char *key);
/* Methods that have files of their own. */
#define MGR_RPC(name) void mgr_rpc_##name(void *user, struct rpc_call *call, json_t *params)
MGR_RPC(attach);
MGR_RPC(detach);
MGR_RPC(path_list);
MGR_RPC(path_add);
MGR_RPC(path_remove);
MGR_RPC(path_fail);
MGR_RPC(path_reinstate);
MGR_RPC(path_set);
MGR_RPC(path_policy);
MGR_RPC(path_resume);
MGR_RPC(path_fail_queued);
MGR_RPC(path_reconfigure);
MGR_RPC(path_events);
MGR_RPC(reserve);

/* Answers call. */
void mgr_discover(struct mgr *m, struct rpc_call *call, const struct mgr_wish *wish);

#endif
