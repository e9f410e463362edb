/*
 * paths.h - what the manager's files share about disks with several paths: paths, policies, events
 */
#ifndef CORELANE_MANAGER_PATHS_H
#define CORELANE_MANAGER_PATHS_H

#include <jansson.h>
#include "mpio/disk.h"
#include "mpio/mpconf.h"
#include "mpio/pr.h"

struct att;
struct mgr;
struct rpc_call;

/* ---- paths ----------------------------------------------------------------------------------------------- */

enum path_state {
    PATH_LOGIN,   /* waits for its session */
    PATH_OPENING, /* the unit is looked over */
    PATH_OPEN,    /* and waits for the disk */
    PATH_JOINING, /* the disk takes it in */
    PATH_IN,      /* is in the disk */
    PATH_LEAVING, /* leaves it, is closed */
    PATH_WAITING, /* is to be tried, or tried again */
};

#define PATH_WEIGHT_MAX 1000u /* of prio too */

struct path_spec {
    struct mgr_wish wish;
    uint16_t lun;
    uint32_t prio, weight; /* 0: by ALUA; 1 */
    bool has_isid; /* of the session it stood on before, to be reinstated */
    uint8_t isid[6];
};

/* One way to a disk's unit. Home's, but for what is said to be another core's. */
struct path {
    struct rt_link link; /* in att->paths until it is gone */
    struct att *att;     /* held */
    struct path_spec spec;
    char name[16]; /* "p1", of its disk */
    char portal[ISCSI_PORTAL_STR_MAX];
    enum path_state state;
    bool ending;  /* goes for good */
    bool gone;    /* out of the books; somebody holds it still */
    bool tried;   /* did not come about at least once */
    bool settled; /* a session with its identity has logged in: what an older one left is over */
    unsigned holds;
    struct sess *sess;
    struct sess_wait sess_wait;
    struct rt_timer retry;
    struct hop hop;
    struct ini_lun_info info; /* of its unit, once it was looked over */
    struct mpio_path *mp;     /* the session's core's */
    bool registers;           /* before it joins, with pr's key */
    struct mpio_pr pr;
    int err;                  /* why it did not come about the last time, or left */
    char why[MGR_WHY_MAX];
    char told[MGR_WHY_MAX]; /* what the log said of it last: once is enough */
    void (*done)(struct path *p, int err, const char *why,
                 void *user); /* once: it is in, or did not come about */
    void *done_user;
    void (*ended)(void *user); /* it is gone */
    void *ended_user;
};

/* In a's list from then on, waiting for path_start(). done may be NULL. Return: NULL: no memory. */
struct path *path_new(struct att *a, const struct path_spec *spec,
                      void (*done)(struct path *p, int err, const char *why, void *user), void *user);
void path_start(struct path *p, uint64_t in_ns); /* that much later */
void path_go(struct path *p);                    /* now: done may be called from inside */
void path_join(struct path *p);                  /* PATH_OPEN: into the disk, which is up */
/* Out of the disk, and closed; then it is tried again, or gone when it is ending. */
void path_drop(struct path *p, int err, const char *why);
void path_core_weight(struct path *p); /* what is said of it, to the disk that it has joined; on the disk's core */
/* For good, from whatever state; ended may be NULL. p may be gone on return. */
void path_end(struct path *p, void (*ended)(void *user), void *user);
void path_hold(struct path *p);
void path_put(struct path *p);
struct path *path_find(const struct att *a, const char *name_or_session);
/* That way is a path of the disk already, or NULL. One portal may be given several times: to have as many sessions. */
const struct path *path_like(const struct att *a, const struct path_spec *spec);
/* A session that served is over for good: what stands on it is put on another. */
void paths_sess_failed(struct mgr *m, struct sess *s);
/* Answers call with the disks, or that one, and their paths. */
void path_list(struct mgr *m, struct rpc_call *call, struct att *only);
bool path_refused(const struct path *p); /* tried and not possible as things are */

/* ---- an attachment that becomes paths of another disk ------------------------------------------------------ */

struct merge;
/* Return: NULL, or why @a cannot become part of @b. */
const char *merge_refusal(const struct att *a, const struct att *b);
/* @a, which somebody waits for, is to be ended then; who waits is told with @b. Return: false: no memory, or nobody waits. */
bool merge_begin(struct att *a, struct att *b);
void merge_go(struct merge *mg); /* @a is gone; mg is not there any more after that */

/* ---- persistent reservations ----------------------------------------------------------------------------- */

bool pr_key_parse(const char *text, uint64_t *out); /* "0x123abc", not 0 */
void pr_sess_again(struct sess *s);                 /* it has logged in again */

/* ---- policies -------------------------------------------------------------------------------------------- */

/* What was said of one disk by command: over what /etc/multipath.conf says, which goes over the defaults. */
struct policy_over {
    uint32_t has; /* bits by row of the table in policy.c */
    struct mpio_conf conf;
};
/* One setting, as parameters and attachments.json have it. Return: NULL, or what is wrong, in words; POLICY_UNKNOWN: no
 * such setting. JSON null takes back what was said. */
extern const char POLICY_UNKNOWN[];
const char *policy_set(struct policy_over *o, const char *key, const json_t *value);
void policy_apply(const struct policy_over *o, struct mpio_conf *conf);
json_t *policy_json(const struct mpio_conf *conf);     /* all settings */
json_t *policy_over_json(const struct policy_over *o); /* those that were said */
/* What holds for a disk of that unit. */
void policy_for(const struct mgr *m, const struct ini_lun_info *info, const struct policy_over *over,
                struct mpio_mpset *out);
/* Whether multipath.conf wants it to have one path. */
bool policy_one_path(const struct mgr *m, const struct ini_lun_info *info, char why[static 256]);

/* The file that multipath.conf is. @quiet: that there is none needs no word. Blocks. Return: 0 with *out set or NULL (no
 * file), or -errno having logged why. */
int mpconf_read(const struct mgr *m, struct mpio_mpconf **out, unsigned *remarks);

/* ---- events ---------------------------------------------------------------------------------------------- */

#define EVENTS_MAX     512u
#define EVENT_TEXT_MAX 512u
struct events; /* the last ones, in memory */
struct events *events_new(void);
void events_free(struct events *e);
/* Logs it and keeps it. @path: may be empty. */
void event_add(struct mgr *m, int level, const char *disk, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
json_t *events_json(const struct events *e, uint64_t after); /* those with higher numbers */

#endif
