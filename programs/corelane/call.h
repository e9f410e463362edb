/*
 * call.h - a command that is one request to a daemon: its row says which, and the command line becomes
 * parameters
 */
#ifndef CORELANE_CLI_CALL_H
#define CORELANE_CLI_CALL_H

#include <jansson.h>
#include "programs/common/opt.h"

enum daemon { DAEMON_INITIATOR, DAEMON_TARGET };

#define CALL_OPERANDS_MAX 3
struct call {
    enum daemon daemon;
    const char *method;
    struct {
        const char *key;
        enum opt_kind kind;
    } operand[CALL_OPERANDS_MAX];
    unsigned timeout_s; /* 0: 60 */
    /* What the tables cannot say: adds or checks parameters. Return: -1 to go on, else the exit status. */
    int (*prepare)(const struct opts *o, json_t *params);
    void (*print)(const struct opts *o, const json_t *result); /* NULL: nothing is printed without --json */
};

/* --run-dir for every command; --json besides it for those that print something. */
extern const struct opt call_opts[], call_json_opts[];

/* cmd->run of a row whose data is a struct call. */
int call_run(const struct cmd *cmd, const struct opts *o);

/* One request. Return: 0 with *result taken, -ENOENT with nothing said when the daemon does not run and @quiet,
 * else -errno, having said why. */
int call_daemon(const struct opts *o, enum daemon d, const char *method, json_t *params /* given */,
                unsigned timeout_s, bool quiet, json_t **result);
/* One method of both. Return: the exit status, having said why; at 0 *result is {corelaned, corelane-targetd}, null for one
 * that is not there. */
int call_both(const struct opts *o, const char *method, json_t **result);
const char *daemon_name(enum daemon d);

/* Reads a secret: from the file of option @file_opt ("-": standard input), else from environment variable @env.
 * Puts it under @key. Return: -1 to go on (with or without one), else the exit status. */
int secret_param(const struct opts *o, const char *file_opt, const char *env, const char *key, json_t *params);

void json_print(const json_t *value);

#endif
