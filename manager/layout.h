/*
 * layout.h - which session is on which core, why, and how that changes; for the manager's files alone
 *
 * layout.c      the policy, pins, placement of new sessions; what of it is kept; the journal's entries
 * nic.c         where the interface is that a session's packets leave by
 * move.c        a session goes to another core while it lives
 * layout_rpc.c  methods: show, explain, move, pin, policy
 * layout_plan.c methods: plan
 * rebalance.c   once a second: what should move; methods: rebalance, advice
 * layout_file.c methods: save, restore and what differs
 */
#ifndef CORELANE_MANAGER_LAYOUT_H
#define CORELANE_MANAGER_LAYOUT_H

#include "balancer/layout.h"
#include "manager/journal.h"
#include "manager/mgr_internal.h"

#define LAYOUT_BUDGET 6u /* moves per minute, where nothing else was said */

struct layout_pin {
    struct rt_link link;
    struct bal_seat seat;
};

struct layout {
    struct mgr *mgr;
    struct journal *journal;
    enum bal_policy policy;
    enum bal_auto rebalance;
    unsigned budget;     /* moves per minute */
    struct rt_link pins; /* also of sessions that are not there now */
    unsigned pins_nr;
    struct rebalance *auto_moves;
    bool nodes; /* the machine has several: where a NIC is matters */

    struct rt_work save_work; /* layout.conf */
    char *save_text;
    bool saving, save_again, save_told;

    void (*stopped)(struct mgr *m); /* waits for what is being written */
    struct journal_wait stop_wait;
};

/* Reads what a daemon of before kept. Blocks: at set-up. Return: 0 or -ENOMEM. */
int layout_new(struct mgr *m);
void layout_free(struct mgr *m);
/* done() once all is on disk. */
void layout_stop(struct mgr *m, void (*done)(struct mgr *m));
void layout_save(struct mgr *m); /* after a change */

/* found() is called once s->node and s->nic are known, or cannot be; perhaps at once. s stays until then. */
void nic_find(struct sess *s, void (*found)(struct sess *s));
/* Chooses s->rt and s->core and says why, in the journal too. */
void layout_place(struct sess *s);
/* What bal_place() is asked about each reactor; @but: a session that is not counted, or NULL. @cores: rt_host_count(). */
void layout_cores(const struct mgr *m, const struct sess *but, struct bal_core *cores);
/* What is thought of each core for that session now: a list for the journal; NULL: no memory. @chosen: -1: none. */
json_t *layout_verdicts(const struct sess *s, int chosen);
/* An entry. @from, @to: CPU numbers; @cores: given, may be NULL; @pause_ns: UINT64_MAX: no move. */
void layout_told(const struct sess *s, const char *event, const char *by, int from, int to, uint64_t pause_ns,
                 const char *why, json_t *cores);

/* The one of a session of that name: "s3", "3", "TARGET[@PORTAL][#INDEX]". Return: NULL with @why. */
struct sess *layout_find(struct mgr *m, const char *name, char why[static MGR_WHY_MAX]);
/* The same words as what tells a session for longer than it lives. Return: false: they name none. */
bool layout_seat_of(const char *name, struct bal_seat *out);
void layout_seat(const struct sess *s, struct bal_seat *out);
struct sess *layout_sess_of(struct mgr *m, const struct bal_seat *seat); /* or NULL */

struct layout_pin *layout_pin_of(const struct mgr *m, const struct bal_seat *seat);
int layout_pin(struct mgr *m, const struct bal_seat *seat); /* in place of an older one; 0 or -ENOMEM */
void layout_unpin(struct mgr *m, struct layout_pin *p);
/* The reactor on that CPU, or NULL with @why: which there are. */
struct rt *layout_reactor(struct mgr *m, int cpu, char why[static MGR_WHY_MAX]);

/* ---- moves ----------------------------------------------------------------------------------------------- */

#define MOVE_LIMIT_MS 2000u

struct move {
    /* Filled by the caller; kept until done. */
    struct sess *sess;
    struct rt *to;
    uint64_t limit_ns;
    const char *by;     /* whose wish it is, for the journal: "request", "pin", ... */
    const char *reason; /* in words, or NULL; kept */
    void (*done)(struct move *mv);
    /* At done: */
    int err, from; /* from: CPU number */
    char why[MGR_WHY_MAX];
    uint64_t pause_ns;
    /* move.c's. */
    struct hop hop;
    struct rt_timer late;
    json_t *cores;
};
/* Return: NULL and done() follows; or why it cannot be begun. */
const char *move_begin(struct move *mv);
void move_ready(struct sess *s); /* a session that is to move has no trip under way any more */

/* ---- by itself ------------------------------------------------------------------------------------------- */

struct rebalance;
int rebalance_new(struct mgr *m);         /* m->layout->auto_moves; 0 or -ENOMEM */
void rebalance_stop(struct rebalance *r); /* begins nothing any more */
void rebalance_free(struct rebalance *r); /* accepts NULL */

/* ---- methods --------------------------------------------------------------------------------------------- */

void do_layout_show(void *user, struct rpc_call *call, json_t *params);
void do_layout_explain(void *user, struct rpc_call *call, json_t *params);
void do_layout_move(void *user, struct rpc_call *call, json_t *params);
void do_layout_pin(void *user, struct rpc_call *call, json_t *params);
void do_layout_unpin(void *user, struct rpc_call *call, json_t *params);
void do_layout_policy(void *user, struct rpc_call *call, json_t *params);
void do_layout_rebalance(void *user, struct rpc_call *call, json_t *params);
void do_layout_advice(void *user, struct rpc_call *call, json_t *params);
void do_layout_plan(void *user, struct rpc_call *call, json_t *params);
void do_layout_save(void *user, struct rpc_call *call, json_t *params);
void do_layout_restore(void *user, struct rpc_call *call, json_t *params);

#endif
