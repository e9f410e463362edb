/*
 * proxy.h - connections between initiators and a target, with faults
 *
 * One thread, poll(2). For each connection that is accepted one is made to the target, and bytes are handed on both
 * ways until a fault of the plan, of the seed or of the control file is due. All of it is printed on stdout.
 */
#ifndef CORELANE_PROXY_PROXY_H
#define CORELANE_PROXY_PROXY_H

#include <signal.h>

#include "reactor/rt.h"
#include "tests/proxy/plan.h"

struct proxy;

struct proxy_conf {
    struct rt_addr listen, target;
    const struct plan *plan; /* borrowed for life; may be empty */
    uint64_t seed;
    struct mix mix;          /* what is drawn; sum 0: nothing is */
    uint64_t every_bytes;    /* on average between two faults of a stream; 0: none by bytes */
    uint64_t every_ms;       /* on average between two faults of one connection or another; 0: none by time */
    const char *control;     /* borrowed; path of a FIFO to be made; NULL: none */
};

/* Listens. Return: 0, or -errno having said why on stderr. */
int proxy_new(struct proxy **out, const struct proxy_conf *conf);
/* Until *stop, which a signal sets that is blocked outside of @unblocked, poll's mask. Return: 0 or -errno. */
int proxy_run(struct proxy *p, const volatile sig_atomic_t *stop, const sigset_t *unblocked);
/* Closes everything and prints the sums; accepts NULL. */
void proxy_free(struct proxy *p);

#endif
