/*
 * mpio_internal.h - what mpio's files share; nobody else includes it, but tests that look inside
 *
 * nexus.c   a session's counters, its logins and its moves
 * path.c    a unit over a session, on the session's core: what it is told and asked there
 * disk.c    a disk's life, its paths' coming and going, and what is known of them
 * look.c    the state of all paths, and what follows from it: groups, waits, deadlines
 * fence.c   when a write may be sent a second time
 * io.c      requests
 * buf.c     memory for them
 * policy.c  which path a request takes
 *
 * A path has two sides, which may be on two cores. The nexus's side tells the disk's all it has to know in one
 * message (struct path_told), the disk's asks in another (struct path_ask); either is under way once at a time, and comes back
 * to who sent it. Requests go and come by messages of their own. From one core to another messages keep their order, so
 * once the disk's side has been told to hold, and that message is back, nothing of this path is on its way to the nexus's core.
 */
#ifndef CORELANE_MPIO_INTERNAL_H
#define CORELANE_MPIO_INTERNAL_H

#include "mpio/disk.h"
#include "reactor/rt_list.h"

/* ---- the nexus's side ----------------------------------------------------------------------------------- */

enum nexus_step {
    NEXUS_STILL,
    NEXUS_HOLD, /* to be moved: disks are told to hold back */
    NEXUS_AWAY, /* the session is between two cores, and all of this is between them too */
};

struct mpio_nexus {
    /* Outstanding over it, of all disks: counted up by a disk that chooses it, down when the answer is with the disk.
     * Relaxed: a choice made on a count that is a moment old is as good. */
    _Alignas(RT_CACHE_LINE) _Atomic uint32_t requests;
    _Atomic uint64_t bytes;

    _Alignas(RT_CACHE_LINE) _Atomic(struct rt *) rt; /* where it lives */
    _Atomic bool moving;
    struct ini_sess *s; /* this and the next two never change */
    char name[32];
    char target[ISCSI_NAME_LEN_MAX + 1];

    /* Its core's. */
    struct rt_link paths;
    bool up;
    /* Commands of the n-th login, or before, cannot be carried out any more where n < settled. */
    uint32_t logins, settled;
    bool fencing;
    uint32_t fence_login; /* what the fence under way settles */
    bool shm;
    uint16_t tpgt;
    struct iscsi_portal portal; /* where it is logged in; host empty: never was */
    uint32_t watch_ms;
    unsigned busy; /* calls to the session that have not answered */
    char why[160]; /* why it is down */

    uint8_t step; /* enum nexus_step */
    struct rt *to;
    uint64_t limit_ns, began_ns;
    void (*moved)(void *user, int err, const char *why, uint64_t pause_ns);
    void *moved_user;
    struct rt_op move_op;
    bool move_armed;
};

/* What the nexus's side says: all of it, each time. */
struct path_told {
    bool bound;   /* false: the last that is said */
    bool hold;    /* send nothing until it is false again */
    bool session; /* logged in */
    bool up;      /* the same, and the unit is the one it was */
    bool open;    /* there is a unit to send to, if only to be refused */
    bool gone;    /* it will not be there again without being opened anew */
    bool changed; /* another unit answers in its place */
    bool shm;
    struct rt *rt;
    uint32_t logins, settled;
    uint16_t tpgt;
    struct iscsi_portal portal;
    struct ini_alua alua;
    struct ini_lun_info info;
    /* Answers: to the question of that number. */
    struct {
        uint32_t nr;
        int err;
    } fence, reset, reopen;
    char why[160];
};

enum {
    ASK_BIND = 1,
    ASK_SET = 2,
    ASK_FENCE = 4,
    ASK_RESET = 8,
    ASK_ABORT = 16,
    ASK_ACTIVATE = 32,
    ASK_REOPEN = 64,
    ASK_DROP = 128,
    ASK_ABANDON = 256,
    ASK_UNBIND = 512,
};
struct path_ask {
    unsigned what;
    struct rt *home;   /* the disk's core */
    bool hand_back;    /* SET */
    uint32_t watch_ms; /* SET */
    uint32_t nr;       /* of FENCE */
    uint32_t reset_nr, reopen_nr;
    uint32_t login;             /* FENCE: what is to be settled */
    struct iscsi_portal portal; /* FENCE: where */
    int err;                    /* ABANDON */
};

/* ---- the disk's side ------------------------------------------------------------------------------------ */

#define PATH_FAILS_MAX 16u

enum fence_step {
    FENCE_IDLE,
    FENCE_GRACE, /* its own session may be back before any other way is tried */
    FENCE_LOGIN, /* asked: another login with its identity */
    FENCE_RESET, /* asked, of another path: a reset of the unit */
    FENCE_RETRY, /* nothing helped: again later */
};

struct mpio_path {
    /* Never change. */
    struct mpio_nexus *nexus;
    uint16_t lun_nr;

    /* The nexus's core's. */
    struct rt_link link; /* in nexus->paths */
    struct ini_lun *lun; /* NULL: not open, or not again yet */
    void (*opened)(void *user, int err, const char *why);
    void *opened_user;
    struct mpio_path **out;
    struct rt *home; /* the disk's core; NULL: not in a disk, or on its way there */
    struct path_told now;
    bool telling, again; /* told is under way; and not all of now is in it */
    bool holds;          /* the disk has read that it is to hold */
    bool unbind;
    bool fence_asked, reopening, hand_set;
    bool activating, aborting, abort_again; /* the unit was asked to be; again: once more when that is over */
    unsigned busy; /* calls to the unit that have not answered */
    uint32_t fence_nr, fence_login, reset_nr, reopen_nr;
    uint32_t watch_ms;
    struct rt_timer late; /* for what comes while the nexus is between cores */

    /* Whose turn it is to have them. */
    struct path_told told;
    struct rt_msg tell_msg;
    void (*told_back)(struct rt_msg *m); /* how it comes back */
    struct path_ask ask;
    struct rt_msg ask_msg;

    struct {
        struct rt_timer timer;
        int err;
        void (*joined)(void *user, int err, const char *why);
        void *user;
    } refused; /* a join that is none */

    /* The disk's core's. */
    _Alignas(RT_CACHE_LINE) struct mpio_disk *disk; /* NULL: in none */
#define DISK_SIDE disk
    bool in_use; /* requests may go over it now */
    bool suspect, admin, quarantine, leaving, parting, joining, asking, ever_up, dropped;
    bool reinstate, reopening_asked; /* its unit is to be looked over anew; is being */
    bool probation;                  /* came back to a better group than the one in use */
    bool hand_back;                  /* as asked */
    uint8_t state;                   /* enum mpio_path_state */
    uint8_t told_state, told_alua;   /* what was last told of it */
    uint8_t klass;  /* 0: healthy; of a higher one only where there is no lower */
    bool candidate; /* may be used, if its group is */
    uint32_t in_flight, fenced_nr;
    uint64_t in_flight_bytes;
    uint64_t latency_ns, answer_ns, busy_ns;
    uint64_t shun_ns, back_ns, stuck_ns;
    uint64_t activate_ns; /* when it was last asked to be optimized */
    uint64_t reopen_ns;   /* gone: when it is looked for again */
    uint32_t shun_login;
    uint32_t watch_asked;
    unsigned prio, weight; /* prio 0: by ALUA */
    uint64_t requests, read_bytes, write_bytes, errors, failovers, downs;
    uint64_t fails[PATH_FAILS_MAX]; /* when it went down: a ring */
    unsigned fails_nr;
    struct path_told seen;
    struct path_ask want;
    uint32_t reopen_nr_asked;
    uint32_t fence_max; /* what its requests need to be settled */
    uint32_t owed;      /* the same of those that ended without being sent again */
    uint32_t reset_settled;
    struct {
        uint8_t step; /* enum fence_step */
        uint32_t nr, login;
        uint64_t at_ns;
        struct mpio_path *via;       /* RESET: who was asked */
        uint64_t tried, tried_reset; /* bits by place in the disk */
    } fence;
    uint32_t fence_nr_asked, reset_nr_asked;
    bool reset_out; /* it was asked for one, for another */
    void (*joined)(void *user, int err, const char *why);
    void (*left)(void *user);
    void *user;
    int join_err;
    char join_why[2 * SCSI_WWID_MAX + 128];
    char why[160];      /* why it is in its state */
    char why_kept[160]; /* why it is in quarantine */
};

enum io_place { IO_NOWHERE, IO_ON_PATH, IO_WAITING, IO_FENCED, IO_ENDED };

#define BUF_BUCKETS 64u

struct mpio_disk {
    struct rt *rt;
    struct mpio_conf conf;
    void (*event)(void *user, enum mpio_event ev, const char *why);
    void *user;
    struct ini_lun_info info;
    bool has_info;
    int err; /* given up, with that */
    struct mpio_path *path[MPIO_PATHS_MAX];
    unsigned paths_nr, joining_nr;

    /* What look.c made of it. */
    bool multi;             /* several paths: requests come back from one that cannot carry them */
    struct mpio_path *lone; /* the one path of a disk that has one */
    struct mpio_path *only; /* the same, while it takes requests */
    int only_err;           /* or what they end with */
    unsigned use_nr;        /* paths in use */
    bool owed;              /* writes wait: an older one may still be carried out */
    bool paused, failed, given_up, looking, no_path;
    uint64_t lost_ns, activate_ns; /* activate: not before that a path is asked to be optimized again */
    struct mpio_turn turn;
    struct rt_timer look;
    uint64_t look_ns;

    struct rt_link waiting; /* for a path; by seq, as the next */
    struct rt_link fenced;  /* until they can be sent again */
    struct rt_link ended;   /* to be told by end */
    struct rt_timer end;
    uint64_t seq;
    struct mpio_stats stats;

    struct rt_link bufs[BUF_BUCKETS];
};

/* ---- nexus.c -------------------------------------------------------------------------------------------- */

/* To be called when something of a nexus that is to be moved has come to rest. */
void nexus_move_check(struct mpio_nexus *n);
void nexus_watch(struct mpio_nexus *n); /* as its paths want it */
void nexus_fence(struct mpio_nexus *n, struct mpio_path *p, const struct iscsi_portal *portal);

/* ---- path.c --------------------------------------------------------------------------------------------- */

void path_tell(struct mpio_path *p);       /* on the nexus's core */
void path_asked(struct rt_msg *m);         /* the same */
void path_nexus_look(struct mpio_path *p); /* takes over what is the nexus's; the same */

/* ---- disk.c --------------------------------------------------------------------------------------------- */

void path_told(struct rt_msg *m);     /* on the disk's core */
void path_ask_back(struct rt_msg *m); /* the same */
void path_want(struct mpio_path *p, unsigned what);
void path_ask_go(struct mpio_path *p); /* sends what is wanted, where it can be */

/* ---- look.c --------------------------------------------------------------------------------------------- */

void disk_look(struct mpio_disk *d);
void disk_look_by(struct mpio_disk *d, uint64_t at_ns); /* at the latest */
void disk_look_soon(struct mpio_disk *d);               /* in the next turn */
void disk_look_init(struct mpio_disk *d);
/* How long a request waits for something to send it over, or to have it settled; UINT64_MAX: for ever. */
uint64_t disk_patience_ns(const struct mpio_disk *d);
/* Whether requests can be sent over it as far as it is known. */
bool path_can(const struct mpio_path *p);

/* ---- fence.c -------------------------------------------------------------------------------------------- */

uint32_t path_settled(const struct mpio_path *p);
bool path_owes(const struct mpio_path *p); /* a write of it that ended in an error may yet be carried out */
void fence_look(struct mpio_disk *d, struct mpio_path *p, uint64_t now);
void fence_forget(struct mpio_disk *d); /* places in the disk are others: nobody was tried */

/* ---- io.c ----------------------------------------------------------------------------------------------- */

void io_init(struct mpio_disk *d);
void io_pump(struct mpio_disk *d);    /* sends what waits and can be sent */
void io_release(struct mpio_disk *d); /* what is settled waits no longer for that */
void io_fail_waiting(struct mpio_disk *d, int err);
/* Of those that wait to be settled, or behind such, all that do since before @before_ns. */
void io_fail_old(struct mpio_disk *d, uint64_t before_ns, int err);
uint64_t io_oldest(const struct mpio_disk *d); /* since when the first of them waits; UINT64_MAX: none */

/* ---- buf.c ---------------------------------------------------------------------------------------------- */

void buf_init(struct mpio_disk *d);
bool buf_of_nexus(const struct mpio_disk *d, const struct mpio_nexus *n); /* it holds some of it */
bool buf_going(const struct mpio_disk *d); /* back to a session on another core */
void buf_exit(struct mpio_disk *d);

#endif
