/*
 * dm.h - the datamover: how control PDUs and data move over one connection (RFC 5047)
 *
 * The iSCSI layer of either end never knows how bytes move. It sends control PDUs (Send_Control) and gets
 * them (Control_Notify); SCSI data moves by itself on the initiator, by Put_Data and Get_Data on the target,
 * and ends in Data_Completion_Notify. Whether that is Data-In, Data-Out and R2T in a byte stream, a ring in
 * shared memory, or RDMA is the implementation's affair. What the implementation does:
 *   - framing, digests, padding, limits of segment and burst lengths, DataSN, R2TSN, offsets, TTTs;
 *   - on the initiator, immediate and unsolicited data, and the answers to R2Ts, from task->out;
 *     Data-In into task->in;
 *   - on the target, unsolicited data into task->out, R2Ts for Get_Data, Data-In for Put_Data.
 * What it leaves to the iSCSI layer: login, CmdSN, StatSN (stamped in the PDUs that are sent, in the order in
 * which they are sent: the implementation never reorders what it is given), task state, and every decision.
 *
 * All of it belongs to one core: the reactor that the connection was made on, or was moved to. Events are never
 * delivered from inside a call to an operation, except from dm_free(), which delivers none.
 *
 * An addition to RFC 5047: a connection can go on on another core (dm_rest(), dm_move(), dm_go_on()). First it comes to
 * rest: nothing of it is outstanding at the reactor, which only the implementation can bring about; only then can it be
 * handed over, in one step that cannot fail and with nobody on either core to meet it half way.
 */
#ifndef CORELANE_ISCSI_DM_H
#define CORELANE_ISCSI_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "iscsi/keys.h"
#include "iscsi/pdu.h"
#include "reactor/rt.h"
#include "reactor/rt_list.h"

struct dm;

/* Memory that belongs to a task: the iovecs and what they point to are borrowed by the datamover from the
 * moment it knows the task until the task is released. */
struct dm_buf {
    const struct iovec *iov;
    unsigned iov_nr;
    uint32_t len;                           /* bytes in all */
};

/* A place in a dm_buf: the datamover walks iovecs forward and does not search them again for each PDU. */
struct dm_cursor {
    uint32_t index, skip;                   /* iovec, and bytes into it */
    uint32_t pos;                           /* bytes before it, from the start of the buffer */
};

/* A place in the send queue. */
struct dm_tx {
    struct rt_link link;
    uint8_t kind;
    bool queued, header_digest, data_digest;
};

/* R2Ts that an initiator takes for one task before it answered the first: it offers at most so many as
 * MaxOutstandingR2T. */
#define DM_R2T_MAX 8u

/* What a datamover knows of a SCSI task; embedded in the iSCSI layer's own. */
struct dm_task {
    uint32_t itt;
    uint64_t lun;                           /* as in the header */
    uint32_t edtl;                          /* bytes */
    struct dm_buf out;                      /* data from initiator to target */
    struct dm_buf in;                       /* data from target to initiator */
    uint32_t out_done;                      /* bytes of out received (target) or handed to the network
                                             * (initiator) so far, from 0 on without a gap */
    uint32_t in_done;                       /* initiator: bytes of in received so far, likewise */

    /* The rest is the datamover's, which sets it up as it gets to know the task. The iSCSI layer clears known and
     * releasing before that, and reads nothing before it. Offsets count from the start of the buffer, bytes. */
    struct dm_task_own {
        struct dm_task *next;               /* hash chain by ITT */
        struct dm_ctl *cmd;                 /* initiator: the SCSI Command, until it is on its way */
        struct dm_tx tx;
        struct rt_link all;                 /* tasks that the connection knows */
        struct rt_link flight;              /* tasks whose memory the send under way reads */
        bool known, hashed, releasing, inflight;
        bool streaming;                     /* initiator: a sequence of Data-Outs is under way */
        bool discard;                       /* target: its data broke a rule, what still comes is thrown away */
        uint8_t awaiting;                   /* target: which Data-Out may come */
        struct dm_cursor rx_cur, tx_cur;
        uint32_t rx_pos, rx_end;            /* target: next byte and end of the sequence that is coming in */
        uint32_t rx_sn;                     /* target: DataSN of the next Data-Out */
        uint32_t get_end, r2t_pos;          /* target: end of the Get_Data; R2Ts were sent up to here */
        uint32_t r2t_nr;                    /* R2Ts outstanding (target), waiting (initiator) */
        uint32_t r2t_first;                 /* initiator: place of the oldest in r2t[] */
        uint32_t sn;                        /* DataSN or R2TSN of the next Data-In or R2T: one numbering */
        uint32_t data_in_nr;                /* target: Data-Ins sent */
        uint32_t ttt;                       /* of the sequence under way */
        uint32_t tx_pos, tx_end;            /* what Put_Data or a Data-Out sequence has still to send */
        uint32_t tx_sn;                     /* initiator: DataSN of the next Data-Out */
        uint32_t seq_left;                  /* target: bytes until a sequence of Data-Ins ends */
        uint32_t in_max, out_max;           /* initiator: bytes that may come in, and be asked for */
        bool put_final, put_status, put_gone;   /* target */
        uint8_t *place;                     /* shared memory: where its data lie in the arena; NULL: nowhere */
        bool bounced;                       /* initiator: place is a stand-in for the caller's memory */
        bool answered;                      /* initiator: the target is through with it */
    } own;
    struct iscsi_pdu status;                /* target: the response to collapse into the last Data-In */
    struct dm_r2t {
        uint32_t ttt, off, len;
    } r2t[DM_R2T_MAX];                      /* initiator: a ring of R2Ts that wait */
};

/* A control PDU on its way out. Kept until sent() is called, which is always, once. */
struct dm_ctl {
    struct iscsi_pdu pdu;                   /* ahs_len and data_len say how much follows */
    const void *ahs, *data;                 /* kept until sent(); NULL where the length is 0 */
    struct dm_task *task;                   /* initiator's SCSI Command: the task it starts; else NULL */
    bool at_once;                           /* dm_send_control() may say that it is over instead of sent() */
    /* 0: on its way, ctl may go. -ECANCELED: no byte of it left, nor ever will. Another -errno: the send that held
     * it broke, and the peer may have got all of it. May be NULL. */
    void (*sent)(struct dm_ctl *ctl, int err);
    struct dm_tx tx;                        /* the datamover's; zeroed by the iSCSI layer before first use */
};

enum dm_data {                              /* what ended, in Data_Completion_Notify */
    DM_DATA_UNSOLICITED,                    /* target: immediate and unsolicited data of a command are in */
    DM_DATA_GET,                            /* target: a Get_Data */
    DM_DATA_PUT,                            /* target: a Put_Data: the memory is free again */
};

enum dm_trouble {                           /* how it ended */
    DM_OK,
    DM_TOO_MUCH_UNSOLICITED,                /* sense 0B/0C/0C: more than FirstBurstLength, or none was allowed */
    DM_TOO_LITTLE_UNSOLICITED,              /* 0B/0C/0D: F came before the data that was due */
    DM_BAD_DATA_PDU,                        /* 0B/4B/00: tag, DataSN, offset or length not as solicited */
};

/* What the iSCSI layer is told. Any of these may call operations of the same datamover; none may free it
 * but closed(). */
struct dm_events {
    /* Control_Notify: any PDU but a target's SCSI Command, Data-Out, and an initiator's R2T and plain Data-In.
     * @data: borrowed for the call, pdu->data_len bytes. A status that came collapsed in the last Data-In
     * arrives as that Data-In (resp.has_status), whose data are in the task: @data is NULL. */
    void (*control_notify)(void *user, const struct iscsi_pdu *pdu, const uint8_t *data);
    /* Target: a SCSI Command. @ahs: borrowed, pdu->ahs_len bytes. Return: the task that will take part in data
     * transfer, itt, lun and edtl filled in; dm_put_data() for it may be called from in here already. When
     * unsolicited data is on its way (pdu->data_len, or !pdu->final) out holds at least
     * min(edtl, first_burst_max) bytes. DM_DATA_UNSOLICITED follows for every write that is returned here, at
     * once where nothing more is awaited. NULL: no data is to move, what comes is thrown away.
     * A task's tag is the initiator's again once its response was sent, which the initiator may know earlier
     * than we do: a command with that tag can come before DM_DATA_PUT or sent() of the task before. */
    struct dm_task *(*command_notify)(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs);
    void (*data_completion_notify)(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how);
    /* Answer to dm_release_task(). */
    void (*task_released)(void *user, struct dm_task *task);
    /* A PDU that cannot be: to be answered with Reject by a target; an initiator drops the session.
     * @bhs: borrowed, the offending header. The connection goes on. */
    void (*reject_notify)(void *user, const uint8_t bhs[static ISCSI_BHS_LEN], enum iscsi_reject reason);
    /* Connection_Terminate_Notify: the peer closed (-ECONNRESET), the network failed (-errno), a digest did not
     * match (-EBADMSG), or framing is lost (-EPROTO). No more notifies but closed(). Delivered at most once,
     * and not after dm_terminate(). */
    void (*terminate_notify)(void *user, int err);
    /* Answer to dm_rest(), once, from the reactor and as the last that is done with the connection on this core:
     * nothing is outstanding there. What had come by then has been told. */
    void (*at_rest)(void *user);
    /* Nothing reads or writes anybody's memory any more: every task is forgotten, every dm_ctl was given
     * back by sent(). The iSCSI layer may dm_free() from here on. Always comes, once, after dm_terminate(). */
    void (*closed)(void *user);
};

struct dm_stats {
    uint64_t rx_bytes, tx_bytes, rx_pdus, tx_pdus, digest_errors;
    uint64_t rx_at_ns, tx_at_ns;            /* rt_now() of the last progress in that direction; tx: or of when
                                             * there was something to send again */
    bool tx_waiting;                        /* something is queued or under way to be sent */
};

struct dm_ops {
    const char *transport;                  /* "tcp" */
    bool (*send_control)(struct dm *dm, struct dm_ctl *ctl);
    bool (*put_data)(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                     const struct iscsi_pdu *status);
    void (*get_data)(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len);
    bool (*release_task)(struct dm *dm, struct dm_task *task);
    void (*notice_key_values)(struct dm *dm, const struct iscsi_params *params);
    void (*enable)(struct dm *dm);
    void (*terminate)(struct dm *dm, bool drain);
    void (*stats)(const struct dm *dm, struct dm_stats *out);
    const uint8_t *(*header)(const struct dm *dm);
    void *(*place)(const struct dm *dm);    /* NULL: there never is one */
    void (*rest)(struct dm *dm);
    void (*move)(struct dm *dm, struct rt *to);
    void (*go_on)(struct dm *dm);
    void (*free)(struct dm *dm);
};

struct dm {                                 /* head of every implementation's own struct */
    const struct dm_ops *ops;
    const struct dm_events *events;         /* borrowed for life */
    void *user;
};

/* Send_Control. On an initiator a SCSI Command makes ctl->task known: its out data follow as the parameters
 * and R2Ts allow, its in data are taken, until it is released. On a target a SCSI Response gets its exp_data_sn
 * from the datamover, which counts Data-Ins. Return: true, only where ctl->at_once is set: it is on its way and ctl may go,
 * sent() is not called. */
static inline bool dm_send_control(struct dm *dm, struct dm_ctl *ctl)
{
    return dm->ops->send_control(dm, ctl);
}

/* Put_Data (target): bytes [off, off + len) of task->in to the initiator. @final: the last of the task (F).
 * @status: borrowed; the SCSI Response to collapse into the last Data-In (its resp.status, residual, stat_sn
 * and so on; GOOD or any status without sense), or NULL. len 0 is not allowed. One at a time a task. Return: true when all
 * of it has moved already: no DM_DATA_PUT follows. */
static inline bool dm_put_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len, bool final,
                               const struct iscsi_pdu *status)
{
    return dm->ops->put_data(dm, task, off, len, final, status);
}

/* Get_Data (target): bytes [off, off + len) into task->out, which the iSCSI layer has made large enough by
 * now (out may be replaced between DM_DATA_UNSOLICITED and this call). One at a time a task. */
static inline void dm_get_data(struct dm *dm, struct dm_task *task, uint32_t off, uint32_t len)
{
    dm->ops->get_data(dm, task, off, len);
}

/* Deallocate_Task_Resources: forget the task, whatever state it is in; data that still comes for it is thrown
 * away, data not yet sent is dropped (never in the middle of a PDU). On an initiator a command still queued
 * goes out without data, as its CmdSN is spent. task_released() comes once nothing touches its memory:
 * always from a later turn or event, never from inside this call. Return: true when nothing touches it on return:
 * task_released() does not come. */
static inline bool dm_release_task(struct dm *dm, struct dm_task *task)
{
    return dm->ops->release_task(dm, task);
}

/* Notice_Key_Values: what was negotiated. Borrowed for the call. An initiator negotiates r2t_max of DM_R2T_MAX
 * at most. */
static inline void dm_notice_key_values(struct dm *dm, const struct iscsi_params *params)
{
    dm->ops->notice_key_values(dm, params);
}

/* Enable_Datamover: full feature phase. Digests and limits hold for every PDU given to dm_send_control() after
 * this call and for every PDU received from now on. A target calls it right after it gave the final Login
 * Response to dm_send_control(), an initiator from the control_notify() that brings it. */
static inline void dm_enable(struct dm *dm)
{
    dm->ops->enable(dm);
}

/* Connection_Terminate: closed() follows. @drain: first send what is queued (a Logout Response, a Reject), for
 * at most a second. Without it what an initiator's peer has not got yet never gets there: whoever goes on elsewhere must not
 * be overtaken by a command that a kernel goes on sending. */
static inline void dm_terminate(struct dm *dm, bool drain)
{
    dm->ops->terminate(dm, drain);
}

static inline void dm_stats(const struct dm *dm, struct dm_stats *out)
{
    dm->ops->stats(dm, out);
}

/* Target: the header of the PDU that this control_notify() or command_notify() is about, as received,
 * ISCSI_BHS_LEN bytes; for the length of that call. A Reject gives it back (RFC 7143 11.17). */
static inline const uint8_t *dm_header(const struct dm *dm)
{
    return dm->ops->header(dm);
}

/* Target, for the length of command_notify(): memory that both ends share and that is the initiator's buffer for this
 * command's data, edtl bytes, on a page boundary; NULL: there is none, or it does not lie so. A device may read straight
 * into it: dm_put_data() with task->in at this very address then moves nothing. And may write straight from it: neither
 * task->out nor dm_get_data() is needed then, and DM_DATA_UNSOLICITED comes all the same. It stays until the task is
 * released. The other end can change it at any time: whoever looks at data and then uses them asks for a copy by
 * dm_get_data(). */
static inline void *dm_place(const struct dm *dm)
{
    return dm->ops->place ? dm->ops->place(dm) : NULL;
}

/* Ends what is outstanding at the reactor, and begins nothing new but what it is given to send; at_rest() follows once
 * all of that is out, and neither a send nor a release is under way. What the peer says meanwhile waits where it is. Not
 * for a connection whose tasks wait for the peer: those would wait for ever. It may fail or be terminated all the same, and
 * then at_rest() does not come. */
static inline void dm_rest(struct dm *dm)
{
    dm->ops->rest(dm);
}

/* From at_rest(), with no task known: it belongs to @to from now on, where dm_go_on() is the next that is called. On the
 * old core, which must not touch it any more; the caller's message to @to is what orders the two. */
static inline void dm_move(struct dm *dm, struct rt *to)
{
    dm->ops->move(dm, to);
}

/* It receives again. Also where it was, before at_rest(), which then does not come any more, or after it. */
static inline void dm_go_on(struct dm *dm)
{
    dm->ops->go_on(dm);
}

/* Deallocate_Connection_Resources: after closed(). */
static inline void dm_free(struct dm *dm)
{
    if (dm)
        dm->ops->free(dm);
}

/**
 * dm_tcp_new - Allocate_Connection_Resources for a TCP (or unix) stream in login phase
 * @out:    taken by the caller, who will dm_free() it after closed()
 * @sock:   given; belongs to @rt
 * @role:   ISCSI_INITIATOR or ISCSI_TARGET: which PDUs may come
 * @events: borrowed for life; @user is handed to each
 *
 * Receives at once: notifies may come from the next turn on. Return: 0, or -ENOMEM (the socket is closed).
 */
int dm_tcp_new(struct dm **out, struct rt *rt, struct rt_sock *sock, enum iscsi_role role,
               const struct dm_events *events, void *user);

#endif
