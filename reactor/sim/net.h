/*
 * net.h - connections of the simulated network, as sock.c and net.c share them
 *
 * A connection belongs to the world and has two ends and two directions. An end is what a kernel holds for a socket:
 * it may outlive the program's handle (bytes sent before a close still arrive) or the handle may outlive what it can
 * do (a reset). Direction i carries what end i sends.
 */
#ifndef CORELANE_SIM_NET_H
#define CORELANE_SIM_NET_H

#include "reactor/sim/sim_internal.h"

enum seg_kind { SEG_DATA, SEG_FIN, SEG_RST };

struct seg {                                /* a segment under way, or received and not read yet */
    struct seg *next;
    uint64_t due;
    uint32_t len, off;                      /* off: bytes read of it */
    uint8_t kind;
    bool judged;                            /* its faults have been drawn */
    uint8_t shm_nr;                         /* memories that its first byte brings */
    struct sim_shm *shm[RT_SHM_PASS_MAX];
    uint8_t data[];
};

struct segs {
    struct seg *head, *tail;
};

struct dir {
    struct sim_conn *c;
    unsigned i;                             /* c->dir[i] */
    struct segs way;                        /* under way */
    struct sim_event deliver, pump, timeout;
    uint64_t due_last, wire_free;           /* of the last segment; when the wire is free for the next */
    uint64_t taken, read;                   /* bytes: from the sender, by the receiver */
    uint64_t cut_at;                        /* of taken; UINT64_MAX: not asked for */
    uint64_t stuck_since;                   /* 0: not */
    bool ack_stuck;                         /* the receiver read, and the sender cannot learn it */
    bool finished;                          /* nothing more is sent this way */
    bool flip;                              /* asked for by sim_fault_flip() */
};

struct end {
    struct rt_sock *sock;                   /* NULL: the handle is gone, or not there yet */
    struct sim_prog *prog;
    struct segs rx;                         /* received, not read */
    int err;                                /* to be told once: -ECONNRESET, -ETIMEDOUT; 0: none */
    bool eof, dead;                         /* the peer's end came; a reset or timeout */
    bool shut;                              /* what arrives is thrown away, reading ends */
    bool abort;                             /* once closed it sends nothing again */
    bool gone;                              /* closed: data that arrives is answered by a reset */
};

enum conn_state { CONN_SYN, CONN_REFUSED, CONN_ANSWERED, CONN_UP };

struct sim_conn {
    struct rt_link link;                    /* on w->conns */
    struct sim *w;
    uint64_t id;
    enum conn_state state;
    struct sim_event syn;                   /* what the client waits for */
    uint64_t syn_since;
    unsigned syn_tries;
    int syn_err;
    bool local;                             /* a unix socket */
    bool hole;
    struct sim_event hole_end;
    struct sim_machine *machine[2];
    struct rt_addr addr[2];
    struct rt_addr to;                      /* as the client asked */
    unsigned way;                           /* which of machine[1]'s that is, from 1; 0: none of its */
    struct sim_prog *prog[2];
    struct end end[2];
    struct dir dir[2];
    struct listener *waiting;               /* not accepted yet: where */
    struct rt_link accept;
};

struct listener {
    struct rt_link link;                    /* on machine->listeners */
    struct sim_machine *machine;
    struct rt_addr at;
    struct rt_sock *sock;
    struct rt_link queue;                   /* connections to be accepted */
    unsigned queued;
};

/* ---- net.c */
const struct sim_net *sim_net_of(const struct sim_conn *c, unsigned i);
bool sim_dir_blocked(const struct sim_conn *c, unsigned i);   /* nothing gets through that way now */
void sim_conn_free(struct sim_conn *c);
bool sim_same_number(const struct rt_addr *a, const struct rt_addr *b);     /* but for the port */
int sim_listener_open(struct sim_machine *m, const struct rt_addr *at, struct listener **out);
void sim_listener_close(struct listener *l);
/* A connection on its way from a socket of program p; sock.c's tx operation ends when it is decided. */
struct sim_conn *sim_conn_new(struct sim_prog *p, const struct rt_addr *to, struct rt_sock *client);

/* ---- stream.c */
void sim_dir_init(struct sim_conn *c, unsigned i);
void sim_dir_free(struct sim_conn *c, unsigned i);
uint64_t sim_latency(struct sim_conn *c, unsigned i);
void sim_dir_kick(struct sim_conn *c, unsigned i);   /* the way is free: goes on, soon */
void sim_conn_hole(struct sim_conn *c, uint64_t ns); /* for so long; UINT64_MAX: until it is taken back; 0: it is */
/* Power loss of its machine. */
void sim_end_vanish(struct sim_conn *c, unsigned i);
/* Moves what the end's outstanding send has into the direction, as far as there is room. */
void sim_end_pump(struct sim_conn *c, unsigned i);
/* Bytes read: makes room. */
void sim_end_read(struct sim_conn *c, unsigned i, uint32_t bytes);
void sim_end_shut(struct sim_conn *c, unsigned i);
void sim_end_abort(struct sim_conn *c, unsigned i);
/* The handle goes. rude: with the program, which may mean a reset. */
void sim_end_close(struct sim_conn *c, unsigned i, bool rude);
struct seg *sim_seg_pop(struct segs *q);
void sim_seg_free(struct seg *s);           /* accepts NULL; with the memories that it still has */

/* ---- sock.c: what the network tells a socket, if there is one (NULL: not) */
void sim_sock_connected(struct rt_sock *s, int err);
void sim_sock_lost(struct rt_sock *s);      /* there is no connection any more */
/* The iovec of the outstanding send that comes next. Return: bytes; 0: no send is outstanding. */
size_t sim_sock_sending(struct rt_sock *s, const uint8_t **from);
void sim_sock_sent(struct rt_sock *s, uint32_t bytes);
/* What that send brings with its first byte, if this is it. */
void sim_sock_pass(struct rt_sock *s, struct seg *to);

#endif
