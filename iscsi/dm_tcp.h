/*
 * dm_tcp.h - what the files of the TCP datamover share; nobody else includes it
 *
 * dm_tcp.c      set-up, the table of tasks, release, failure and end of a connection
 * dm_tcp_rx.c   from received bytes to PDUs: framing, digests, where a data segment goes
 * dm_tcp_pdu.c  what a received PDU means: commands, Data-Out, Data-In, R2T
 * dm_tcp_tx.c   the send queue: many PDUs gathered into one send
 */
#ifndef CORELANE_ISCSI_DM_TCP_H
#define CORELANE_ISCSI_DM_TCP_H

#include <assert.h>
#include "iscsi/digest.h"
#include "iscsi/dm.h"

#define DM_HASH_BITS 8u                     /* buckets for 256 tasks, the usual depth; chains beyond */
#define DM_CTL_DATA_MAX (64u * 1024)        /* data of a control PDU that is taken, whatever was declared */
#define DM_SMALL_LEN 1024u                  /* control data that needs no memory of its own: sense, pings */
#define DM_TRAILER_MAX (3u + ISCSI_DIGEST_LEN)
#define DM_HEADER_MAX (ISCSI_BHS_LEN + ISCSI_AHS_LEN_MAX + ISCSI_DIGEST_LEN)

/* From so many outstanding bytes of a data segment on they are received in place. Below, a receive more costs
 * more than a copy out of a buffer that is in the cache. */
#define DM_DIRECT_MIN (32u * 1024)
#define DM_DIRECT_IOV 64u

/* One send. The header area holds headers, digests and padding of a batch in the order of the stream, so
 * that PDUs without data lie side by side and need one iovec together. */
#define DM_TX_IOV 256u
#define DM_TX_HEAD_LEN 4096u
#define DM_TX_BYTES_MAX (512u * 1024)
#define DM_TX_PDU_IOV 6u                    /* header, AHS, digest, data, trailer, and one to spare */
#define DM_DRAIN_NS RT_S

static_assert(DM_TX_IOV <= RT_IOV_MAX, "a batch is one send");

enum dm_conn_state {
    DM_OPEN,
    DM_FAILED,                              /* terminate_notify() was called: waits for dm_terminate() */
    DM_DRAINING,                            /* sends what is queued, throws away what comes */
    DM_CLOSING,                             /* waits for operations under way */
    DM_CLOSED,
};

enum dm_tx_kind { DM_TX_CTL, DM_TX_PUT, DM_TX_R2T, DM_TX_UNSOLICITED, DM_TX_SOLICITED };
enum dm_awaiting { DM_AWAIT_NOTHING, DM_AWAIT_UNSOLICITED, DM_AWAIT_SOLICITED };

enum dm_rx_state { DM_RX_HEADER, DM_RX_DATA, DM_RX_TRAILER };
enum dm_sink { DM_SINK_DISCARD, DM_SINK_TASK, DM_SINK_CTL };

struct dm_rx {
    struct rt_op op;
    bool busy, direct;                      /* an operation is under way; into a task's memory */
    bool recalled;                          /* it was cancelled for a rest, not for a task */
    bool taking;                            /* what came is being taken: the next is armed after it */
    bool bulk;                              /* the last PDU was received in place: its like may follow */
    bool ddigest;                           /* of this PDU */
    bool reject;                            /* this PDU means nothing: it was rejected */
    uint8_t state, sink;                    /* enum dm_rx_state, enum dm_sink */
    uint8_t trouble;                        /* enum dm_trouble, told when the PDU is complete */
    struct iscsi_pdu pdu;
    struct dm_task *task;                   /* that takes this data segment; NULL once released */
    struct dm_task *held;                   /* that op reads into, released meanwhile */
    uint32_t data_left;                     /* bytes */
    uint32_t crc;
    uint32_t header_have, trailer_have, trailer_len;
    uint8_t *ctl;                           /* control data that came in pieces: small[], or allocated */
    uint32_t ctl_have;
    uint8_t trailer[DM_TRAILER_MAX];
    uint8_t tail[DM_TRAILER_MAX + ISCSI_BHS_LEN + ISCSI_DIGEST_LEN];
    uint32_t direct_len;                    /* bytes that op may put into the task's memory */
    struct iovec iov[DM_DIRECT_IOV + 1];
    uint8_t header[DM_HEADER_MAX];
    const uint8_t *bhs;                     /* of the PDU that is being told; see dm_header() */
    uint8_t small[DM_SMALL_LEN];
};

struct dm_tx_side {
    struct rt_op send, turn;
    bool busy, armed;                       /* send, turn */
    /* ctl: everything of a target, in the order of StatSN; an initiator's control PDUs. An initiator's data
     * waits apart: unsolicited data in the order of its commands (RFC 7143 4.2.5.2), solicited in turn. */
    struct rt_link ctl, unsolicited, solicited;
    struct rt_link sent, flight;            /* dm_ctls and tasks of the send under way */
    uint32_t stat_sn, exp_cmd_sn, max_cmd_sn;   /* target: for R2Ts and Data-Ins, from the last response */
    uint32_t exp_stat_sn;                   /* initiator: for Data-Outs, from the last request */
    uint32_t len, iov_nr, head_len;
    struct iovec iov[DM_TX_IOV];
    uint8_t head[DM_TX_HEAD_LEN];
};

struct dm_tcp {
    struct dm dm;
    struct rt *rt;
    struct rt_sock *sock;
    enum iscsi_role role;
    uint8_t state;                          /* enum dm_conn_state */
    bool enabled;
    bool in_command;                        /* in command_notify(), which may already put data */
    bool in_event;                          /* in a completion, which delivers releases when it ends */
    bool defer_busy, close_busy, rest_busy;
    bool resting;                           /* receives nothing: see dm_rest() */
    struct iscsi_params params;             /* defaults until noticed */
    bool header_digest, data_digest;        /* from dm_enable() on */
    uint32_t next_ttt;
    uint32_t r2t_max;
    struct rt_op defer, close, rest;
    struct rt_timer drain;
    struct rt_link tasks;                   /* all that are known */
    struct rt_link released;                /* tasks whose task_released() is due */
    struct dm_stats stats;
    struct dm_rx rx;
    struct dm_tx_side tx;
    struct dm_task *hash[1u << DM_HASH_BITS];
};

static inline struct dm_tcp *dm_tcp_of(const struct dm *dm)
{
    return container_of(dm, struct dm_tcp, dm);
}

static inline bool dm_tcp_is_open(const struct dm_tcp *c)
{
    return c->state == DM_OPEN;
}

/* ---- dm_tcp.c ---- */

void dm_tcp_task_begin(struct dm_tcp *c, struct dm_task *task);
struct dm_task *dm_tcp_task_find(const struct dm_tcp *c, uint32_t itt);   /* NULL: none */
void dm_tcp_task_unhash(struct dm_tcp *c, struct dm_task *task);
/* A task whose release was asked for, and which nothing refers to any more. */
void dm_tcp_task_let_go(struct dm_tcp *c, struct dm_task *task);
/* The connection cannot go on; told to the iSCSI layer once. From a completion only. */
void dm_tcp_fail(struct dm_tcp *c, int err);
/* Brackets of each completion: releases are delivered and the end is looked for when it is over. */
void dm_tcp_event_begin(struct dm_tcp *c);
void dm_tcp_event_end(struct dm_tcp *c);

/* ---- dm_tcp_rx.c ---- */

void dm_tcp_rx_arm(struct dm_tcp *c);       /* the next receive, if the state asks for one */
void dm_tcp_rx_done(struct rt_op *op, int res);
/* The task is being released. Return: true when a receive still refers to its memory. */
bool dm_tcp_rx_drop(struct dm_tcp *c, struct dm_task *task);
void dm_tcp_rx_recall(struct dm_tcp *c);    /* ends the receive under way: what it has still comes */
void dm_tcp_rx_go_on(struct dm_tcp *c);     /* there need not be one under way, and shall be */
void dm_tcp_rx_free(struct dm_tcp *c);

/* ---- dm_tcp_pdu.c: called once the header is in and again once the PDU is complete ---- */

void dm_tcp_pdu_open(struct dm_tcp *c, const uint8_t *header);
void dm_tcp_pdu_finish(struct dm_tcp *c, const uint8_t *ctl_data);
/* Answers with a reason; what the PDU carries is skipped. */
void dm_tcp_pdu_reject(struct dm_tcp *c, const uint8_t *header, enum iscsi_reject why);

/* ---- dm_tcp_tx.c ---- */

void dm_tcp_tx_init(struct dm_tcp *c);
void dm_tcp_tx_queue(struct dm_tcp *c, struct rt_link *queue, struct dm_tx *tx, enum dm_tx_kind kind);
void dm_tcp_tx_unqueue(struct dm_tx *tx);
bool dm_tcp_tx_idle(const struct dm_tcp *c);          /* nothing queued, nothing under way */
void dm_tcp_tx_cancel(struct dm_tcp *c);              /* gives every dm_ctl back: nothing is under way */
/* Initiator: the task's next sequence of Data-Outs, if there is one and none is under way. */
void dm_tcp_tx_next_sequence(struct dm_tcp *c, struct dm_task *task);

bool dm_tcp_send_control(struct dm *dm, struct dm_ctl *ctl);
bool dm_tcp_put_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                     const struct iscsi_pdu *status);
void dm_tcp_get_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len);

/* ---- arithmetic ---- */

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Moves to @pos, which lies inside the buffer or at its end. */
static inline void dm_cursor_seek(struct dm_cursor *cur, const struct dm_buf *buf, uint32_t pos)
{
    assert(pos <= buf->len);
    if (pos < cur->pos)
        *cur = (struct dm_cursor){ 0 };
    while (cur->pos < pos) {
        const size_t left = buf->iov[cur->index].iov_len - cur->skip;
        const uint32_t want = pos - cur->pos;

        if (want < left) {
            cur->skip += want;
            cur->pos = pos;
            return;
        }
        cur->pos += (uint32_t)left;
        cur->skip = 0;
        cur->index++;
        assert(cur->pos == pos || cur->index < buf->iov_nr);
    }
}

/* The next bytes that lie together, at most @max of them; moves past them. */
static inline void *dm_cursor_next(struct dm_cursor *cur, const struct dm_buf *buf, uint32_t max, uint32_t *len)
{
    const struct iovec *v;
    void *at;

    assert(max && max <= buf->len - cur->pos);
    while (buf->iov[cur->index].iov_len == cur->skip) {
        cur->skip = 0;
        cur->index++;
        assert(cur->index < buf->iov_nr);
    }
    v = &buf->iov[cur->index];
    at = (uint8_t *)v->iov_base + cur->skip;
    *len = v->iov_len - cur->skip < max ? (uint32_t)(v->iov_len - cur->skip) : max;
    cur->skip += *len;
    cur->pos += *len;
    return at;
}

#endif
