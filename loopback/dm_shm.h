/*
 * dm_shm.h - what the files of the shared-memory datamover share; nobody else includes it
 *
 * dm_shm.c      rings, wake-ups, the queue of what has no room yet, tasks, and the end of a connection
 * dm_shm_move.c a connection that comes to rest, and goes on on another core
 * dm_shm_ini.c  initiator: commands and their memory, Data-In and answers
 * dm_shm_tgt.c  target: commands, Put_Data and Get_Data
 * shm_ring.h    one end of a ring
 *
 * The way of a PDU is short. A sender writes the slot inside the call and is done; the receiver's poller finds it. Data do
 * not move at all where both use the same memory; else the initiator copies between its caller's memory and the arena, the
 * target between the arena and its buffers, inside the call. So nothing here is ever under way: a task can be released at any
 * moment, and only the initiator has to see to what the other process may still do with its memory.
 */
#ifndef CORELANE_LOOPBACK_DM_SHM_H
#define CORELANE_LOOPBACK_DM_SHM_H

#include "loopback/handover.h"
#include "loopback/shm_ring.h"

#define SHM_HASH_BITS  8u         /* as in dm_tcp.h */
#define SHM_POLL_SLOTS 64u        /* taken in one poll: others of the core want their turn */
#define SHM_POLL_LEN   (1u << 20) /* bytes of data that they stand for, but for the last one, likewise */
#define SHM_SMALL_LEN  1024u      /* data of a control PDU that need no memory of their own */
#define SHM_TICK_NS    RT_MS      /* a look at the ring while something waits for room in it: nobody tells */
#define SHM_DRAIN_NS   RT_S
#define SHM_RETRY_NS   (100 * RT_MS) /* until memory is taken away that the system would not let us have */

enum shm_state {
    SHM_OPEN,
    SHM_FAILED,   /* terminate_notify() was called: waits for dm_terminate() */
    SHM_DRAINING, /* until the peer has taken what is queued; throws away what comes */
    SHM_CLOSING,  /* waits for operations under way, and for the TCP connection */
    SHM_CLOSED,
};

/* What a struct dm_tx waits for: room in the ring, or the end of this event or turn, to be told. */
enum shm_tx_kind { SHM_TX_CTL, SHM_TX_PUT, SHM_DUE_SENT, SHM_DUE_GOT, SHM_DUE_PUT, SHM_DUE_RELEASED };

struct dm_shm {
    struct dm dm;
    struct rt_poller poller;
    struct shm_rx rx;
    void (*take)(struct dm_shm *c, struct loop_slot *s); /* the role's; s is private */
    struct rt *rt;
    uint8_t *arena;
    uint64_t arena_len; /* bytes */
    uint8_t state;      /* enum shm_state */
    uint8_t role;       /* enum iscsi_role */
    bool in_event;      /* what is due is told when it ends */
    bool polled;        /* the poller is the reactor's */
    bool defer_busy, turn_busy, close_busy, recv_busy, wake_busy, rest_busy;
    bool resting;         /* receives nothing: see dm_rest() */
    bool recalled;        /* the receive was cancelled for that */
    bool tcp_rests;
    bool arrived;         /* on another core, where it has not gone on yet */
    bool wake_again;
    int end_err;          /* why it ends, to be told; 0: it does not */
    struct rt_link queue; /* dm_tx: what has no room yet, in order */
    struct rt_link due;   /* dm_tx: what is to be told */
    struct dm_stats stats;
    const uint8_t *bhs; /* target: of the PDU that is being told */

    /* Target, for the length of command_notify(). */
    bool in_command;
    struct dm_task *begun; /* its task, once a Put_Data has begun it; NULL again once it is released */
    bool command_over;     /* that has happened */
    uint8_t *place;        /* where its data lie, NULL: nowhere */
    uint32_t place_len;    /* bytes */
    uint32_t exp_cmd_sn, max_cmd_sn; /* target: of the last response, for Data-Ins without one */

    /* Initiator. */
    struct loop_arena *lender; /* whose arena it is; borrowed for life */
    uint32_t standins;         /* out */
    struct rt_link stuck;      /* tasks being released whose memory is not safe yet */
    bool stuck_told;

    struct shm_tx tx;
    struct dm_task *hash[1u << SHM_HASH_BITS];
    uint32_t mark;    /* slots that are to be taken, since */
    uint64_t mark_ns; /* then; or since one was taken: for stats */
    struct dm *tcp;   /* of the login; NULL once it is closed */
    struct rt_sock *sock;
    struct rt_shm *rings; /* NULL: they are the guest's, and so is sock */
    struct rt_op defer, turn, close, recv, wake, rest;
    struct rt_timer tick, drain, retry;
    struct iovec recv_iov, wake_iov;
    uint8_t recv_buf[64], wake_byte;
    uint8_t small[SHM_SMALL_LEN];
};

static inline struct dm_shm *dm_shm_of(const struct dm *dm)
{
    return container_of(dm, struct dm_shm, dm);
}

/* PDUs go out and come in. */
static inline bool shm_is_open(const struct dm_shm *c)
{
    return c->state == SHM_OPEN && !c->end_err;
}

/* And nothing waits that would be overtaken. */
static inline bool shm_may_send(const struct dm_shm *c)
{
    return (c->state == SHM_OPEN || c->state == SHM_DRAINING) && rt_list_empty(&c->queue);
}

/* ---- dm_shm.c ---- */

/* Initialises what of the task is the datamover's. */
void shm_task_begin(struct dm_shm *c, struct dm_task *task);
struct dm_task *shm_task_find(const struct dm_shm *c, uint32_t itt); /* one without an answer yet; NULL: none */
void shm_task_forget(struct dm_shm *c, struct dm_task *task);

/* The connection cannot go on: told when the event ends, or in the next turn. */
void shm_fail(struct dm_shm *c, int err);
/* Told when the event ends, or in the next turn. */
void shm_due(struct dm_shm *c, struct dm_tx *tx, enum shm_tx_kind kind);
void shm_unqueue(struct dm_tx *tx);
/* Behind all that waits for room. */
void shm_queue(struct dm_shm *c, struct dm_tx *tx, enum shm_tx_kind kind);
/* Whether a slot with @len bytes in the data area can go out now; fails the connection when the peer's word is none. */
bool shm_has_room(struct dm_shm *c, uint32_t len);
/* The slot of shm_tx_slot() is written, with @len bytes: pushes it, and sees that the peer learns of it. */
void shm_push(struct dm_shm *c, uint32_t len);
/* Brackets of whatever the reactor calls. */
void shm_event_begin(struct dm_shm *c);
void shm_event_end(struct dm_shm *c);
/* A PDU whose data lie in the data area. */
void shm_take_control(struct dm_shm *c, struct loop_slot *s);
/* In two steps, the first of which can fail (NULL): nothing has changed hands then. */
struct dm_shm *shm_alloc(void);
void shm_start(struct dm_shm *c, struct dm *tcp, const struct loop_handed *h, enum iscsi_role role,
               const struct dm_events *events, void *user);

void shm_poller_start(struct dm_shm *c);
void shm_poller_stop(struct dm_shm *c);
void shm_recv_arm(struct dm_shm *c);
void shm_try_close(struct dm_shm *c); /* an operation ended, which may have been the last that is waited for */

/* ---- dm_shm_move.c ---- */

void shm_try_rest(struct dm_shm *c);  /* likewise */
void shm_rest_done(struct rt_op *op, int res);
void shm_rest(struct dm *dm);
void shm_move(struct dm *dm, struct rt *to);
void shm_go_on(struct dm *dm);

/* ---- dm_shm_ini.c ---- */

void shm_ini_begin(struct dm_shm *c, struct dm_ctl *ctl);         /* a command, given to dm_send_control() */
bool shm_ini_command_write(struct dm_shm *c, struct dm_ctl *ctl); /* false: it has to wait */
void shm_ini_answered(struct dm_shm *c, struct dm_task *task);
bool shm_ini_release(struct dm_shm *c, struct dm_task *task);
/* Takes the memory of tasks that were released, or of @all, away from the peer. False: not yet possible. */
bool shm_ini_revoke(struct dm_shm *c, bool all);

/* ---- dm_shm_tgt.c ---- */

bool shm_tgt_put_write(struct dm_shm *c, struct dm_task *task); /* false: it has to wait */
bool shm_put_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                  const struct iscsi_pdu *status);
void shm_get_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len);
bool shm_tgt_release(struct dm_shm *c, struct dm_task *task);
void *shm_place(const struct dm *dm);

#endif
