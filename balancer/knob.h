/*
 * knob.h - the kernel's settings that steer its iSCSI sessions: all that are ever written, by name
 *
 *   sys/devices/virtual/workqueue/iscsi_q_N/cpumask     CPUs that send (and may receive) for host N
 *   sys/module/iscsi_tcp/parameters/recv_from_iscsi_q   receiving there too; for all sessions made from then on
 *   sys/class/net/IF/queues/rx-N/rps_cpus               CPUs that take what a receive queue brings in
 *   flow/IF/SRC/PORT/DST/PORT                           one flow to the receive queue of a CPU (flow.h); '*': any
 *
 * A name that is none of these is refused wherever it comes from, also from our own journal, and so is a value that is
 * none of the setting's. Every call but the pure ones blocks. Any thread.
 */
#ifndef CORELANE_BALANCER_KNOB_H
#define CORELANE_BALANCER_KNOB_H

#include "balancer/flow.h"
#include "balancer/sysfs.h"

enum bal_knob { BAL_KNOB_WQ, BAL_KNOB_RECV, BAL_KNOB_RPS, BAL_KNOB_FLOW, BAL_KNOBS };
extern const char *const bal_knob_names[]; /* "wq", "recv", "rps", "flow"; NULL at the end */

#define BAL_KNOB_RECV_PATH "sys/module/iscsi_tcp/parameters/recv_from_iscsi_q"

struct bal_knobs { /* where they are; borrowed by who uses them */
    const struct bal_sys *sys;
    const struct bal_flow_ops *flow;
    void *flow_user;
};

/* Pure. Return: which one, or -EINVAL: none of ours. */
int bal_knob_of(const char *name);
/* Pure. The value is one of that setting's. A flow's are "" (no filter) and the decimal number of a queue. */
bool bal_knob_valid(enum bal_knob kind, const char *value);
/* Pure. Both are values and mean the same, however they are written: "ff", "000000ff". */
bool bal_knob_same(enum bal_knob kind, const char *a, const char *b);

/* @id: whose setting it is; another object took the name if it differs later. Return: 0 or -errno: -ENOENT: it is gone or
 * was never there; -EBADMSG: what it says, in @out, is none of its values. */
int bal_knob_read(const struct bal_knobs *k, const char *name, char out[static BAL_SYS_TEXT_MAX], uint64_t *id);
/* Return: 0 or -errno: -EINVAL: not this name or value; -ESTALE: it is another object by now. */
int bal_knob_write(const struct bal_knobs *k, const char *name, const char *value, uint64_t id);

#endif
