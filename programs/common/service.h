/*
 * service.h - what both daemons do around their service: run directory, going to the background, reactors,
 * signals
 */
#ifndef CORELANE_COMMON_SERVICE_H
#define CORELANE_COMMON_SERVICE_H

#include "balancer/topo.h"
#include "programs/common/opt.h"
#include "programs/common/rundir.h"
#include "programs/common/text.h"
#include "reactor/rt.h"

/* -f, --run-dir, --cores, --mode: the options that both daemons have. */
extern const struct opt service_opts[];

struct service {
    const char *prog;
    char run_dir[RUNDIR_MAX];
    char socket[RUNDIR_PATH_MAX];
    struct rt_host *host;
    struct cores cores;
    struct bal_topo *topo;      /* NULL: the machine could not be read */
    /* The rest is service.c's. */
    int lock_fd, parent_fd;
    bool foreground;
    unsigned signals;
    struct rt_op ready_op;
    struct rt_timer limit;
    void (*stop)(void *arg), (*hurry)(void *arg);
    void *arg;
};

/**
 * service_open - from options to reactors that do not run yet
 * @s:      kept by the caller until service_close()
 * @socket: name of the control socket in the run directory
 * @unblock: as rundir_lock() has it; may be NULL
 *
 * Without -f the program goes to the background here: the caller goes on in the child, and the parent waits
 * until it is ready. Return: -1 to go on, else the exit status, having said why.
 */
int service_open(struct service *s, const struct opts *o, const char *socket, void (*unblock)(const char *run_dir));

/* Runs the reactors; says it is ready from their first turn on. On SIGTERM or SIGINT calls stop(arg) once, on
 * the first core, which ends in service_stopped(); after two seconds, or soon after a second signal, it ends all the
 * same. Some time before that it calls hurry(arg), once, if there is one (it may be NULL): what a thread of the process
 * waits for is to be over, since none can be ended. Return: the exit status. */
int service_run(struct service *s, void (*stop)(void *arg), void (*hurry)(void *arg), void *arg);
/* Stopping is over. What was posted or closed just before still gets a few turns. First core. */
void service_stopped(struct service *s);
void service_close(struct service *s);

#endif
