/*
 * steer.h - which core each of the stock kernel's sessions gets, and the settings that bring it there
 *
 * A session's work queue (iscsi_q_N) goes to one core, chosen as for our own sessions. recv_from_iscsi_q lets it receive
 * there as well: one switch for all sessions that are made from then on. What the network card brings in goes to the
 * sessions' cores by flow filters where it has them and one of its queues is served by that core, else by receive packet
 * steering, which counts for everything that the card receives.
 *
 * A session whose queue is on one core already stays there. What an administrator has set is kept: a queue that may use some
 * of the cores only gets one of those, and a card's packet steering that is in use is not touched.
 */
#ifndef CORELANE_BALANCER_STEER_H
#define CORELANE_BALANCER_STEER_H

#include "balancer/kern.h"
#include "balancer/knob_log.h"
#include "balancer/place.h"

struct bal_steer_conf { /* borrowed for the call */
    const struct bal_knobs *knobs;
    const struct bal_log *log;   /* what is ours already; NULL: nothing */
    const struct bal_topo *topo; /* as bal_place() has it */
    const struct bal_core *core; /* the cores there are to choose from, and what else lives there */
    unsigned cores;
    enum bal_policy policy;
    unsigned kinds; /* of settings: bits 1 << enum bal_knob */
    bool watching;  /* nobody asked for it just now: what somebody has put back since stays so */
    /* As bal_nic_of(). NULL: only where the kernel says what interface a session is bound to. */
    int (*nic_of)(const char *addr, char ifname[static 32], int *node, unsigned *queues);
};

struct bal_steer_seat {
    struct bal_kern_sess sess;
    int cpu;      /* -1: not steered, why says the reason */
    bool kept;    /* it was there before */
    bool pending; /* still being set up: to be looked at again */
    char nic[32]; /* empty: not known */
    int node;
    char why[BAL_TEXT_MAX];
};
struct bal_steer_change {
    char name[BAL_SYS_PATH_MAX]; /* of knob.h */
    char *value;
    char why[160];
    bool back; /* ours, and nobody needs it any more: it gets its old value */
};
struct bal_steer {
    struct bal_steer_seat *seat;
    unsigned seats, pending;
    struct bal_steer_change *change; /* what is not yet as it is to be */
    unsigned changes;
    char (*note)[BAL_TEXT_MAX]; /* what is left alone, and why */
    unsigned notes;
};

/* Looks, and changes nothing. Blocks; any thread. Return: 0 with *out taken by the caller, or -errno with @why. */
int bal_steer_plan(struct bal_steer **out, const struct bal_steer_conf *conf, char why[static 256]);
void bal_steer_free(struct bal_steer *p); /* accepts NULL */

/* Carries it out. @fn: told of each change: 1: made, 0: was so by now, -errno with @why. Blocks. Return: how many failed. */
unsigned bal_steer_apply(const struct bal_steer *p, struct bal_log *log,
                         void (*fn)(void *user, const struct bal_steer_change *c, int result, const char *why),
                         void *user);

#endif
