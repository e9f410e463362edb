/*
 * rpc.h - JSON-RPC 2.0 over a unix socket: the daemons' control door, and the command's way in
 *
 * One JSON value after another in a stream, a newline after each. The server takes requests from the same uid
 * or root only (credentials read on the accepted socket), at most RPC_REQUEST_MAX bytes each, RPC_CLIENTS_MAX
 * clients, and answers in the order in which handlers finish.
 */
#ifndef CORELANE_RPC_H
#define CORELANE_RPC_H

#include <jansson.h>
#include "reactor/rt.h"

#define RPC_REQUEST_MAX (1u << 20) /* bytes */
#define RPC_CLIENTS_MAX 64u

enum rpc_error { /* JSON-RPC 2.0 section 5.1; ours from -32000 down */
                 RPC_PARSE = -32700,
                 RPC_INVALID_REQUEST = -32600,
                 RPC_NO_METHOD = -32601,
                 RPC_INVALID_PARAMS = -32602,
                 RPC_INTERNAL = -32603,
                 RPC_FAILED = -32000, /* it was tried and failed: the message says why and what to do */
};

struct rpc_server;
struct rpc_call; /* one request; lives until it is answered */

struct rpc_method {
    const char *name;
    /* @params: borrowed for the call, an object (an empty one if none came). Answers exactly once, now or
     * later, on the same core. */
    void (*fn)(void *user, struct rpc_call *call, json_t *params);
};
/* @methods, @user: borrowed for life. May be called before the host runs. Return: 0 or -errno. */
int rpc_listen(struct rpc_server **out, struct rt *rt, const char *path, const struct rpc_method *methods,
               unsigned methods_nr, void *user);
/* Closes clients (their calls may still be answered, into nothing) and removes the socket. Accepts NULL. */
void rpc_close(struct rpc_server *s);

void rpc_reply(struct rpc_call *call, json_t *result); /* result: given; NULL: {} */
/* The same, but a failure that says so when jansson lost something on this thread since rpc_json_losses() was
 * @losses: a list that lacks entries is not told as if it were whole. */
void rpc_reply_whole(struct rpc_call *call, json_t *result, uint64_t losses);
void rpc_fail(struct rpc_call *call, enum rpc_error code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* One request and its answer, driving @rt (which nobody else turns) until then.
 * *result: taken by the caller on success. On failure @why says what is wrong (no daemon there: which socket
 * was tried). Return: 0, -EREMOTEIO for an error that the daemon answered, -ENOENT or -ECONNREFUSED where none
 * listens, or -errno. */
int rpc_request(struct rt *rt, const char *path, const char *method, json_t *params /* given */,
                uint64_t timeout_ns, json_t **result, char why[static 512]);

#endif
