/*
 * stage.h - the world that the fuzzers of sessions play in: machines, and programs that are nothing but a reactor
 */
#ifndef CORELANE_FUZZ_STAGE_H
#define CORELANE_FUZZ_STAGE_H

#include "reactor/sim/sim.h"
#include "target/tgt.h"

/* A world. @seed 0: nothing in it is left to chance, so that one may live over many inputs and each of them still does
 * what it would do alone. Otherwise segments are cut and turns come as they like. With FUZZ_TRACE it logs to stdout. */
struct sim *stage_new(uint64_t seed);
/* Frees it. With FUZZ_TRACE it says what sim_fingerprint() does: equal for equal runs of an input. */
void stage_end(struct sim *w);
/* A machine with its address. */
struct sim_machine *stage_machine(struct sim *w, const char *name, unsigned cores, const char *addr);

/* A program of one reactor, driven by sim_call(). */
struct stage_prog {
    struct sim_prog *prog;
    struct rt_host *host;
    struct rt *rt;
};
void stage_start(struct sim_machine *m, struct stage_prog *p);

/* The target daemon. */
struct stage_tgt {
    unsigned cores;                         /* filled by the caller, as are these: */
    const char *config;                     /* path; the file is there */
    const char *rpc;                        /* path of its control socket, or NULL */
    struct sim_prog *prog;
    struct rt_host *host;
    struct tgt *tgt;
    struct rpc_server *server;
    bool stopped;
};
void stage_tgt_start(struct sim_machine *m, struct stage_tgt *t);
/* Stops it as SIGTERM does. A daemon that does not end, or leaves memory behind, is a finding. */
void stage_tgt_stop(struct sim *w, struct stage_tgt *t);
/* Sessions and connections that are not yet logged in. */
unsigned stage_tgt_load(const struct stage_tgt *t);

#define stage_check(cond, ...)                                                                                \
    do {                                                                                                      \
        if (!(cond))                                                                                          \
            stage_finding(__FILE__, __LINE__, #cond, __VA_ARGS__);                                            \
    } while (0)
void stage_finding(const char *file, int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), noreturn));

#endif
