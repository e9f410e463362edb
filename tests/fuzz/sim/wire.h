/*
 * wire.h - one end of a connection that speaks PDUs as bytes: what a hostile peer is made of
 *
 * It frames what comes and queues what goes, and believes nothing: lengths, digests and headers that go out are
 * whatever the caller wrote. All calls on the core of the reactor it was given.
 */
#ifndef CORELANE_FUZZ_WIRE_H
#define CORELANE_FUZZ_WIRE_H

#include "iscsi/digest.h"
#include "iscsi/pdu.h"
#include "reactor/rt.h"
#include "reactor/rt_bytes.h"

#define WIRE_KEEP 16384u                    /* bytes of a data segment that are kept for pdu(); more is a bug */
#define WIRE_OUT_MAX (512u * 1024)          /* bytes that wait to be sent; more is left out */

struct wire;
struct wire_events {
    /* A whole PDU; @data: borrowed, @len bytes without padding. */
    void (*pdu)(struct wire *w, const uint8_t *bhs, const uint8_t *data, uint32_t len);
    /* The other side closed or the connection broke; wire_close() is the answer. */
    void (*ended)(struct wire *w, int err);
};

struct wire {
    struct rt *rt;
    struct rt_sock *sock;                   /* NULL: there is no connection */
    const struct wire_events *events;
    struct rt_op rx, tx;
    bool rx_busy, tx_busy;
    bool deaf;                              /* does not receive */
    bool header_digest, data_digest;
    uint32_t chunk;                         /* bytes of one send; 0: all that there is */
    uint64_t rx_bytes;
    /* What goes out next is spoiled: this byte of it, counted from the header's first, before or after its digest
     * was made. */
    struct { uint32_t at; uint8_t bits; bool after; } spoil;

    uint8_t *out;
    uint32_t out_at, out_len, out_room;
    struct iovec iov;

    uint8_t head[ISCSI_BHS_LEN + ISCSI_AHS_LEN_MAX + ISCSI_DIGEST_LEN];
    uint32_t head_have, data_have, data_all;   /* data_all: with padding and digest */
    uint8_t data[WIRE_KEEP + 8];
};

void wire_init(struct wire *w, struct rt *rt, const struct wire_events *events);
void wire_open(struct wire *w, struct rt_sock *sock);   /* given; starts to receive */
/* Nothing is told any more. Before it is opened again wire_idle() has to hold. */
void wire_close(struct wire *w);
bool wire_idle(const struct wire *w);
void wire_listen(struct wire *w, bool on);  /* whether it receives */

void wire_raw(struct wire *w, const void *bytes, uint32_t len);
/* Header, AHS (@ahs_len bytes, a multiple of 4) and @len bytes of data with their padding and digests. The length
 * fields of @bhs are as the caller has them. */
void wire_send(struct wire *w, const uint8_t bhs[static ISCSI_BHS_LEN], const void *ahs, uint32_t ahs_len,
               const void *data, uint32_t len);
static inline uint32_t wire_queued(const struct wire *w)
{
    return w->out_len - w->out_at;
}

#endif
