/*
 * scene.h - one seed: a target, one to three initiators, what they do to each other's blocks, and who judges it
 *
 * A scene is made from a seed and played once: storm (work under faults), calm (faults end, everything must come
 * to an end), audit (every sector is read by every session, before and after a power loss of the target), end
 * (everybody leaves, nothing may be left). Whatever is drawn is drawn from the seed.
 *
 * scene.c   what there is, drawn from the seed; its memory
 * tgtd.c    the target's program, as corelane-targetd composes it
 * inid.c    an initiator's program: sessions and disks, as corelaned composes them
 * work.c    requests of one place on one disk, and what they tell the oracle
 * resv.c    persistent reservations
 * near.c    sessions in shared memory: how far they are, and the memory that their requests use
 * paths.c   disks that have a path over each session of their initiator
 * swarm.c   which faults there are, and when; faults.c: what they are
 * stir.c    what else happens to such paths: they leave, are taken out of use, lead to another unit
 * drill.c   how soon I/O goes on when one of several paths breaks
 * move.c    sessions that go from core to core
 * play.c    the acts, and what has to be true in each
 *
 * All of a scene's memory is its own and outside of the programs: it stays when they are killed.
 */
#ifndef CORELANE_SIM_SCENE_H
#define CORELANE_SIM_SCENE_H

#include "initiator/ini.h"
#include "mpio/mpio_internal.h"
#include "reactor/sim/sim.h"
#include "rpc/rpc.h"
#include "target/tgt.h"
#include "tests/sim/history.h"
#include "tests/sim/history_pr.h"
#include "tests/sim/stamp.h"

#define UNITS_MAX   3u
#define CLIENTS_MAX 3u
#define SESS_MAX    4u                      /* of one initiator */
#define NEXUS_MAX   (CLIENTS_MAX * SESS_MAX)
#define DEPTH_MAX   6u
#define LEN_MAX     (64u * 1024)            /* bytes of a request */
#define SECTORS_LEN (LEN_MAX / STAMP_LEN)
#define CAW_MAX     16u                     /* sectors */

#define SCENE_IQN "iqn.2026-11.test.corelane:sim"

struct scene;
struct nexus_end;
struct desk;

/* ---- the table: what hit whom ---------------------------------------------------------------------------- */

/* Faults of ours, beside those of the world. */
#define SCENE_FAULTS(X)                                                                                          \
    X(TGT_STOP, "target stopped")                                                                                \
    X(LUN_RESET, "LUN reset")                                                                                    \
    X(LOGOUT, "logged out")                                                                                      \
    X(ABRUPT, "stopped with work under way")                                                                     \
    X(ABANDON, "disk given up")                                                                                  \
    X(RESIZE, "LUN resized")                                                                                     \
    X(ASKED, "asked to log out")                                                                                 \
    X(DISK_STALL, "disk stalled")                                                                                \
    X(CLIENT_POWER, "initiator lost power")                                                                      \
    X(TGT_KILLED, "target killed")                                                                               \
    X(CLIENT_KILLED, "initiator killed")                                                                         \
    X(TGT_FROZEN, "target frozen")                                                                               \
    X(CLIENT_FROZEN, "initiator frozen")                                                                         \
    X(DOOR_CUT, "unix socket cut")                                                                               \
    X(LOOP_OFF, "target restarted without loopback")                                                             \
    X(MOVE, "session moved")                                                                                     \
    X(PATH_LEAVE, "path left its disk")                                                                          \
    X(PATH_ADMIN, "path failed by command")                                                                      \
    X(POLICY, "policy changed")                                                                                  \
    X(ALUA, "access state changed")                                                                              \
    X(SWAP, "LUNs exchanged their units")                                                                        \
    X(CLOSE, "disk closed with work under way")                                                                  \
    X(FAIL_QUEUED, "waiting requests failed by command")                                                         \
    X(FAR, "way became long")                                                                                    \
    X(FLAP, "connection broke again and again")                                                                  \
    X(ALL_CUT, "all ways cut off")
enum scene_fault {
    SCENE_FAULT_BASE = SIM_FAULT_NR - 1,
#define X(name, text) SCENE_FAULT_##name,
    SCENE_FAULTS(X)
#undef X
    SCENE_FAULT_NR
};
const char *scene_fault_name(unsigned fault);

/* States of a session: those of enum ini_state, and one more. */
enum { STATE_ONCE = INI_FAILED + 1, STATES };
const char *scene_state_name(unsigned state);

/* How far a session in shared memory is: of the hand-over, and of a command. Several of the latter hold at a time. */
#define STEPS_OF(X)                                                                                              \
    X(OFFER, "offer")                       /* offered, and no answer yet */                                     \
    X(ARENA, "arena")                       /* invited; the memory is made */                                    \
    X(CONNECT, "connect")                   /* to the unix socket */                                             \
    X(HELLO, "hello")                       /* on its way to the session it is for */                            \
    X(MAP, "map")                           /* the target maps what came */                                      \
    X(WELCOME, "welcome")                   /* on its way to the initiator */                                    \
    X(GO, "go")                             /* so is the request that ends the login */                          \
    X(CHANGE, "change")                     /* the target is in shared memory, the initiator not yet */          \
    X(IDLE, "idle")                                                                                              \
    X(SENT, "sent")                         /* the target has not taken a command yet */                         \
    X(WORK, "work")                         /* it has, and has not answered it */                                \
    X(ANSWER, "answer")                     /* the initiator has not taken an answer yet */                      \
    X(CLOSE, "close")                       /* the initiator ends it */                                          \
    X(GHOST, "ghost")                       /* the target works for a connection that is no more */
enum step {
#define X(name, text) STEP_##name,
    STEPS_OF(X)
#undef X
    STEPS
};
const char *scene_step_name(unsigned step);

enum drill { DRILL_RESET, DRILL_CUT, DRILLS };

struct tally {
    uint64_t drills[DRILLS], drill_max_ns[DRILLS];          /* how many, and the longest that a request took */
    uint64_t hit[SCENE_FAULT_NR][STATES];
    uint64_t near[SCENE_FAULT_NR][STEPS];
    uint64_t logins[2];                     /* over TCP, in shared memory; of sessions on the target's host */
};

/* ---- what is drawn --------------------------------------------------------------------------------------- */

enum work_op { OP_READ, OP_WRITE, OP_FLUSH, OP_UNMAP, OP_ZERO, OP_SAME, OP_CAW, OP_MODE, OP_NR };

struct plan {
    unsigned clients, sessions[CLIENTS_MAX], units;
    unsigned tgt_cores, cli_cores[CLIENTS_MAX];
    enum rt_mode tgt_mode, cli_mode;
    unsigned depth;                         /* requests at once of one session on one unit */
    uint64_t storm_ns, think_ns;
    uint32_t weight[OP_NR], fua_ppm, miss_ppm, hot_ppm;
    bool reservations, aptpl;
    bool v6;
    unsigned chap;                          /* 0: none, 1: initiators prove themselves, 2: the target as well */
    bool digests;                           /* both, always: bits may be flipped */
    unsigned login_s, idle_s, stall_s;      /* of the target */
    uint64_t hold_ns;                       /* how long a session that ended stays away */
    bool near[CLIENTS_MAX];                 /* it is on the target's host */
    uint32_t loop_off_ppm;                  /* the target starts without loopback */
    uint32_t lent_ppm;                      /* a request uses memory that its session gave out */
    unsigned moves;                         /* of sessions from core to core, in a storm, about so many; 0: none */
    bool multi;                             /* disks have a path over each session of their initiator */
    bool drill;                             /* how soon I/O goes on is measured in the end */
    bool swaps;                             /* the LUNs 0 and 1 exchange their units at times */
    unsigned home[CLIENTS_MAX];             /* multi: the core of an initiator's disks */
    uint16_t group[CLIENTS_MAX][SESS_MAX];  /* multi: portal groups, of the sessions' portals */
};

/* ---- units ----------------------------------------------------------------------------------------------- */

struct unit_end {
    struct scene *scene;
    unsigned number;
    bool ram;
    unsigned per_block;                     /* sectors in a block */
    uint32_t sectors, sectors_max;          /* sectors: as it was made; it may grow to sectors_max */
    uint32_t hot;                           /* where most requests go: sectors from the start */
    char path[32];
    struct hist *hist;
    struct prh prh;
    struct desk *pr_desk;                   /* whose command changes reservations now */
    bool pr_shut;                           /* no new ones: they are being cleared */
};

/* ---- initiators ------------------------------------------------------------------------------------------ */

struct slot {
    struct desk *desk;
    struct rt_timer timer;
    bool busy;                              /* from submit to the last done */
    bool waiting;                           /* timer will send it again */
    uint8_t op;                             /* enum work_op */
    bool fua, audit;
    uint32_t first, n;                      /* sectors */
    uint64_t value, tick, pr_tick;          /* tick: a flush's begin */
    struct hist_write *write;
    struct hist_read read;
    unsigned tries, breaks, ups;
    bool never_up;                          /* there was no session when it was submitted */
    unsigned upsets;                        /* the target's, when it was submitted */
    bool cached;                            /* its disk has a write cache, or may have */
    struct mpio_io io;
    struct ini_task task;
    struct iovec iov[4];
    uint8_t *buf;                           /* LEN_MAX + 2 * CAW_MAX sectors: own, or in lent */
    uint8_t *own;
    uint8_t *lent;                          /* of ini_buf_get(); NULL: none */
    uint32_t lent_len, used;                /* bytes; used: from buf on */
    uint64_t print;                         /* of what is in it while nobody may change that */
    struct rt_timer meddle;                 /* changes it under the target's hands */
    bool meddled;
    uint64_t begun_ns;
};

/* Where disks have several paths: one of them, from being opened to being closed. */
enum route_step {
    ROUTE_NONE, ROUTE_OPENING, ROUTE_OPEN, ROUTE_JOINING, ROUTE_JOINED, ROUTE_LEAVING, ROUTE_LEFT,
};
struct route {
    struct desk *desk;
    struct nexus_end *nexus;
    struct mpio_path *path;
    enum route_step step;
    bool leave;                             /* it is to */
    bool used;                              /* something may have been sent over it since its session was made */
    bool ghost;                             /* what was may still be carried out, and no disk knows of that */
    uint64_t due_ns;                        /* when it is opened again */
};

struct desk {                               /* a session's place at a unit; with several paths, an initiator's */
    struct nexus_end *nexus;                /* with several paths: the first one */
    struct unit_end *unit;
    bool multi;                             /* with several paths; the next four are for such */
    struct route route[SESS_MAX];           /* one for each session */
    struct mpio_disk *made;                 /* disk is the same once it has had a path */
    bool closing;
    bool waits;                             /* for ghosts to be gone, before a path joins */
    struct mpio_path *path;                 /* NULL: none, not even one on its way out */
    struct ini_lun *lun;                    /* the path's */
    struct mpio_disk *disk;                 /* NULL: not open */
    struct mpio_disk *leaving;              /* was open: its path is leaving it */
    bool opening, abandoned;
    struct slot slot[DEPTH_MAX];
    uint32_t audit_next;
    bool audit_done, bursting;
    uint64_t count;                         /* of values written */

    struct {                                /* reservations */
        struct rt_timer timer;
        struct ini_task task;
        struct iovec iov;
        bool busy;
        bool aborts;                        /* PREEMPT AND ABORT: of others' commands; until it is known to be over */
        uint64_t tick;
        uint8_t buf[1024];
        uint32_t keys;
    } pr;
};

enum nexus_life { LIFE_OFF, LIFE_RUN, LIFE_CLOSING, LIFE_STOPPING, LIFE_STOPPED };
enum nexus_way { WAY_DRAIN, WAY_ABRUPT, WAY_ABANDON };

struct nexus_end {
    struct scene *scene;
    struct client *client;
    unsigned id;
    struct rt *rt;                          /* where its desks are; valid while its program runs */
    bool hurries;                           /* when its connection breaks: see client.hurry_ns */
    bool moving;                            /* nobody calls anything of the session */
    bool drain;                             /* as it is stopped */
    struct rt_msg start;
    struct rt_timer tick;
    struct ini_conf conf;
    struct ini_sess *s;                     /* NULL: none */
    struct mpio_nexus *nexus;               /* its */
    uint8_t life, way;
    bool failed;
    uint64_t due_ns;                        /* when it logs in again */
    unsigned breaks, ups;                   /* connections lost, and logins */
    unsigned once;                          /* commands under way that must not be sent twice */
    uint16_t reset_lun;                     /* the one to be reset next */
    struct desk desk[UNITS_MAX];
    struct sim_rng rng;
    uint64_t conn_id;                       /* of its last connection */
    uint64_t door_id;                       /* and at the target's unix socket */
    uint32_t seen_steps;                    /* a bit each */

    uint8_t seen_state, seen_once;          /* the swarm's */
    bool seen_reset;
    uint16_t seen_lun;
    uint64_t seen_aborts;
};

struct client {
    struct scene *scene;
    unsigned id, nexuses_nr;
    char name[16];
    struct sim_machine *machine;
    struct sim_prog *prog;
    struct rt_host *host;
    bool leaving;                           /* its sessions end, then it does */
    uint64_t hurry_ns;                      /* several paths: until then all want to write the same few blocks */
    struct nexus_end nexus[SESS_MAX];
    struct sim_timer boot;
};

/* ---- the target ------------------------------------------------------------------------------------------ */

struct tgtd {
    struct scene *scene;
    struct sim_machine *machine;
    struct sim_prog *prog;
    struct rt_host *host;
    struct tgt *tgt;
    struct rpc_server *rpc;
    struct rt_timer limit;
    bool serves, stopping, clean, boot_set;
    bool loop;                              /* with loopback, this time */
    unsigned starts;
    uint64_t sync_failed_ns;                /* a unit takes no more writes since; 0: none */
    unsigned upsets;                        /* it went down, or a sync failed: so often */
    bool swap, swapped;                     /* LUNs 0 and 1 are to be each other's units when it starts; are */
    struct sim_timer boot, watch;
};

/* A request to the target's control socket, by a program of its own. */
struct ctl {
    struct scene *scene;
    struct rt_host *host;
    struct rt_sock *sock;
    struct rt_op op;
    struct rt_addr addr;
    struct iovec iov;
    char text[512], answer[4096];
    size_t len;
    struct sim_prog *prog;
};

/* ---- all of it ------------------------------------------------------------------------------------------- */

enum act { ACT_STORM, ACT_CALM, ACT_AUDIT, ACT_DRILL, ACT_END };

struct scene {
    struct sim *w;
    uint64_t seed;
    struct plan plan;
    struct sim_rng rng, fault_rng, near_rng, move_rng, path_rng;
    struct sim_timer move_timer;
    enum act act;
    struct tgtd tgtd;
    struct ctl ctl;
    struct client client[CLIENTS_MAX];
    struct nexus_end *nexus[NEXUS_MAX];
    unsigned nexuses_nr;
    struct unit_end unit[UNITS_MAX];
    struct swarm *swarm;
    struct stir *stir;                      /* NULL: no disk has several paths */
    struct {
        struct client *client;              /* whose path is broken; NULL: nobody's */
        enum drill kind;
        uint64_t at_ns;
    } drill;
    struct {                                /* the world without faults */
        struct sim_net net;
        struct sim_disk disk;
        struct sim_sched sched;
    } whole;
    bool verbose;

    bool failed;
    char why[6000];
    struct tally *tally;
    uint64_t requests;
};

/* The first of a seed counts; the world stops. */
void scene_fail(struct scene *sc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define scene_log(sc, ...)                                                                                     \
    do {                                                                                                         \
        if ((sc)->verbose)                                                                                       \
            sim_logf((sc)->w, __VA_ARGS__);                                                                      \
    } while (0)

/* scene.c. Everything there is, nothing running. @buffers: SCENE_BUFFERS bytes for requests, borrowed. */
#define SCENE_BUF_LEN (LEN_MAX + 2 * CAW_MAX * STAMP_LEN)
#define SCENE_BUFFERS ((size_t)NEXUS_MAX * UNITS_MAX * DEPTH_MAX * SCENE_BUF_LEN)
enum scene_kind { SCENES_ALL, SCENES_PATHS };               /* PATHS: all disks have several */
struct scene *scene_new(uint64_t seed, enum scene_kind kind, uint8_t *buffers, struct tally *tally);
void scene_free(struct scene *sc);
void scene_config(struct scene *sc);        /* writes the target's configuration */

/* tgtd.c */
void tgtd_boot(struct scene *sc);           /* starts it now, if it can be */
void tgtd_boot_later(struct scene *sc, uint64_t ns);
void tgtd_gone(struct scene *sc, bool power);   /* it was killed */
void tgtd_stop(struct scene *sc);           /* as asked to by SIGTERM */
bool tgtd_whole(const struct scene *sc);    /* it serves all its units */
void tgtd_ask(struct scene *sc, const char *method, const char *params);   /* one at a time; else nothing happens */
/* What the target has of a session of that nexus, any time: a guest, admitted; it is in shared memory; it works for one
 * whose connection is at its end. */
enum { TGT_GUEST = 1, TGT_ADMITTED = 2, TGT_SHM = 4, TGT_GHOST = 8 };
unsigned tgtd_sees(const struct nexus_end *n);
void tgtd_ask_logout(struct scene *sc);     /* has all initiators asked to log out */

/* inid.c */
void client_boot(struct client *c);
void client_boot_later(struct client *c, uint64_t ns);
void client_gone(struct client *c);         /* it was killed */
void client_leave(struct client *c);        /* logs out everywhere and ends */
void nexus_close(struct nexus_end *n, enum nexus_way way);   /* on its desks' core */
uint8_t nexus_state(const struct nexus_end *n);              /* enum ini_state; any time */

/* paths.c; on the desks' core */
void paths_start(struct client *c);         /* its host is made */
void paths_gone(struct client *c);          /* it was killed; any time */
void paths_desks(struct client *c);         /* what is to be done with its disks now */
bool paths_closed(const struct client *c);  /* it has no disk */
void paths_run(struct nexus_end *n);        /* what is to be done with a session's paths now */
bool paths_leave(struct nexus_end *n);      /* they are to; whether all have */
void paths_up(struct nexus_end *n);         /* it has logged in */
void paths_down(struct nexus_end *n);       /* its connection broke */
void paths_hurry(struct client *c);         /* all write the same few blocks for a moment, now */
void paths_stopped(struct nexus_end *n);    /* it has stopped, and is still there */
void paths_disk_close(struct desk *d);      /* with all that is under way; it is opened again */
bool paths_calm(const struct client *c);    /* all are in use, and at rest; any time */
int paths_tell(const struct client *c, char *out, size_t len);      /* as snprintf() */
/* The one of that session to the desk's unit. */
static inline struct route *paths_route(struct nexus_end *n, unsigned unit)
{
    return &n->client->nexus[0].desk[unit].route[n - n->client->nexus];
}
static inline bool desk_ghosts(const struct desk *d)
{
    for (unsigned i = 0; i < SESS_MAX; i++)
        if (d->route[i].ghost)
            return true;
    return false;
}
/* By whose name the oracle knows what goes over that session. */
static inline unsigned nexus_hist(const struct nexus_end *n)
{
    return n->scene->plan.multi ? n->client->nexus[0].id : n->id;
}

/* stir.c */
void stir_draw(struct scene *sc, enum scene_kind kind);     /* after what else is drawn */
struct stir *stir_new(struct scene *sc);
void stir_free(struct stir *s);             /* accepts NULL */
void stir_start(struct scene *sc);
void stir_calm(struct scene *sc);           /* puts back what it changed at the target */
bool stir_is_calm(const struct scene *sc);
void stir_conf(struct scene *sc, struct mpio_conf *out);    /* draws one */

/* drill.c */
void drill_set(struct scene *sc);           /* all is calm: makes the world quick */
void drill_run(struct scene *sc);           /* under load, once; something may be under way at the end */
void drill_over(struct slot *s, int res);   /* a request ended in that act */

/* work.c; on the nexus's core but for desk_orphan() */
void desk_start(struct desk *d);            /* its disk is open */
bool desk_idle(const struct desk *d);       /* no request of it is under way */
void desk_burst(struct desk *d);            /* all that think begin now, in one turn */
void desk_orphan(struct desk *d);           /* its program is dead */
void desk_audit(struct desk *d);            /* reads all of it once */
void desk_attention(struct desk *d, const struct ini_task *t);  /* looks for one in the task's answer */

/* resv.c; likewise */
void pr_start(struct desk *d);
void pr_orphan(struct desk *d);
void pr_aborts_over(struct desk *d);        /* its old session is replaced, or it was answered */

/* near.c */
uint32_t near_steps(const struct nexus_end *n);              /* a bit each; any time */
bool near_shm(const struct nexus_end *n);                    /* its connection is in shared memory; any time */
/* On the nexus's core: memory for a request of @len bytes, in slot->buf. */
void near_take(struct slot *s, uint32_t len);
void near_used(struct slot *s);             /* what is in it now must not be changed until near_over() */
void near_over(struct slot *s);             /* the request is over; its memory may be kept for the next */
/* A COMPARE AND WRITE is about to be submitted: perhaps its memory will be changed while it is under way, to one that
 * could never write anything. */
void near_meddle(struct slot *s);
void near_give(struct slot *s);             /* gives back what was kept */

/* swarm.c */
void swarm_power(struct scene *sc, struct sim_machine *m, uint64_t ns);  /* off; programs start after ns, 0: drawn */
struct swarm *swarm_new(struct scene *sc);
void swarm_start(struct scene *sc);
void swarm_free(struct swarm *s);
void swarm_note(struct scene *sc, enum scene_fault f, const struct nexus_end *n);   /* NULL: all of them */
/* A command that must not be sent twice is about to be submitted, @bytes of it at once. Return: whether its send will
 * break soon after it, so that something more should be in it. */
bool swarm_once(struct nexus_end *n, uint32_t bytes);

/* move.c */
void moves_draw(struct scene *sc);
void moves_start(struct scene *sc);
/* Calls of a desk to its session, on the core where that is now; none while it moves. And back. */
static inline void nexus_on(struct nexus_end *n, void (*fn)(void *arg), void *arg)
{
    assert(!n->moving);
    sim_on(ini_sess_rt(n->s), fn, arg);
}
void nexus_submit(struct nexus_end *n, struct ini_task *t);
void *nexus_buf_get(struct nexus_end *n, size_t len);
void nexus_buf_put(struct nexus_end *n, void *mem, size_t len);

/* play.c */
struct result {
    bool failed;
    char why[6000];
    uint64_t sim_ns, requests, checked, skipped, judged, events, fingerprint;
    uint32_t clusters_max;
};
void scene_play(uint64_t seed, enum scene_kind kind, uint8_t *buffers, bool verbose, struct tally *tally, struct result *out);

#endif
