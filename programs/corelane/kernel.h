/*
 * kernel.h - what the commands about the stock kernel's sessions share: the machine, the journal, tables
 */
#ifndef CORELANE_CLI_KERNEL_H
#define CORELANE_CLI_KERNEL_H

#include <jansson.h>

#include "balancer/kstat.h"
#include "balancer/steer.h"
#include "programs/common/opt.h"
#include "programs/common/rundir.h"

struct kernel {
    const struct opts *o;
    struct bal_sys *sys;
    struct bal_knobs knobs;
    struct bal_topo *topo; /* NULL: nothing is known */
    struct bal_core *core;
    struct bal_kstat *kstat; /* NULL: not asked for yet, or not this machine */
    struct bal_steer_conf conf;
    char dir[RUNDIR_MAX];
    struct bal_log *log;
};

/* Opens the machine and the journal. @write: settings are to be changed. @place: it is asked where sessions are to go, so the
 * cores and what lives there are needed. Return: -1 to go on, else the exit status, the reason having been said;
 * kernel_close() either way. */
int kernel_open(struct kernel *k, const struct opts *o, bool write, bool place);
void kernel_close(struct kernel *k);
/* How busy the cores are, before somebody is placed: the first time it takes a second to see. */
void kernel_load(struct kernel *k);
/* "corelane: message" on stderr. Return: 1. */
int kernel_say(const struct kernel *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A name of knob.h for people: an absolute path, or the flow in words. */
const char *kernel_name(const char *name, char out[static 600]);

/* Steers, and what comes after. Return: the exit status. */
int kernel_watch(struct kernel *k);
/* Carries a plan out and tells it; @result: NULL, or a list that gets an object for each change. Return: how many failed. */
unsigned kernel_apply(struct kernel *k, const struct bal_steer *p, json_t *result);

#endif
