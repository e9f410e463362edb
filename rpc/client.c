/*
 * client.c - one request and its answer: the command's end of the control socket
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/frame.h"
#include "rpc/json.h"
#include "rpc/rpc.h"

#define ANSWER_MAX (64u << 20) /* bytes; thousands of sessions fit many times */

struct request {
    struct rt_op op;
    struct rt_timer timer;
    struct rt_sock *sock;
    struct rpc_frame frame;
    struct iovec iov[2]; /* the request, a newline */
    json_t *answer;
    int err;
    bool over, op_out, late;
};

static void request_end(struct request *r, int err)
{
    r->over = true;
    r->err = err;
}

static void request_late(struct rt_timer *t)
{
    struct request *r = container_of(t, struct request, timer);

    r->late = true;
    request_end(r, -ETIMEDOUT);
}

static void received(struct rt_op *op, int res)
{
    struct request *r = container_of(op, struct request, op);
    const char *text;
    size_t len;
    int got;

    r->op_out = false;
    if (r->over)
        return;
    if (res <= 0) {
        request_end(r, res ? res : -ECONNRESET);
        return;
    }
    if (rpc_frame_add(&r->frame, op->buf, (size_t)res)) {
        request_end(r, -ENOMEM);
        return;
    }
    if (!(got = rpc_frame_next(&r->frame, ANSWER_MAX, &text, &len))) {
        r->op_out = true;
        rt_recv_shared(r->sock, &r->op);
        return;
    }
    got = got > 0 ? rpc_json_read(&r->answer, text, len, 0, NULL) : got;
    request_end(r, got && got != -ENOMEM ? -EPROTO : got);
}

static void sent(struct rt_op *op, int res)
{
    struct request *r = container_of(op, struct request, op);

    r->op_out = false;
    if (r->over)
        return;
    /* A daemon that turns us away says why before it closes: so an answer is read even then. */
    r->op.done = received;
    r->op_out = true;
    rt_recv_shared(r->sock, &r->op);
}

static void connected(struct rt_op *op, int res)
{
    struct request *r = container_of(op, struct request, op);

    r->op_out = false;
    if (r->over)
        return;
    if (res) {
        request_end(r, res);
        return;
    }
    r->op.done = sent;
    r->op_out = true;
    rt_send(r->sock, &r->op, r->iov, 2);
}

/* The answer's result, or the daemon's own words. */
static int answer_read(const struct request *r, const char *path, json_t **result, char why[static 512])
{
    json_t *res = json_object_get(r->answer, "result"), *err = json_object_get(r->answer, "error");
    const char *message = json_string_value(json_object_get(err, "message"));

    if (message) {
        snprintf(why, 512, "%s", message);
        return -EREMOTEIO;
    }
    if (!res) {
        snprintf(why, 512, "what answers at %s does not speak JSON-RPC 2.0: is it another program's socket?",
                 path);
        return -EPROTO;
    }
    *result = json_incref(res);
    return 0;
}

static void failure_words(int err, bool late, const char *path, const char *method, char why[static 512])
{
    if (err == -ENOENT || err == -ECONNREFUSED)
        snprintf(why, 512, "no daemon listens at %s", path);
    else if (err == -EACCES || err == -EPERM)
        snprintf(why, 512, "%s: not allowed: be root, or the user who runs the daemon", path);
    else if (late)
        snprintf(why, 512, "%s: no answer to '%s' in time", path, method);
    else if (err == -ECONNRESET || err == -EPIPE)
        snprintf(why, 512, "%s: the daemon closed the connection: its log says why", path);
    else
        snprintf(why, 512, "%s: %s", path, strerror(-err));
}

static int request_run(struct rt *rt, struct request *r, const struct rt_addr *to, uint64_t timeout_ns)
{
    int err = 0;

    r->timer.fn = request_late;
    rt_timer_arm(rt, &r->timer, timeout_ns);
    r->op.done = connected;
    r->op_out = true;
    rt_connect(rt, &r->op, to, &r->sock);
    while (!r->over && err >= 0)
        err = rt_turn(rt, UINT64_MAX);
    rt_timer_disarm(rt, &r->timer);
    r->over = true;
    if (r->op_out)
        rt_cancel(&r->op);
    rt_sock_close(r->sock);
    r->sock = NULL;
    while (r->op_out && err >= 0)
        err = rt_turn(rt, UINT64_MAX);
    rt_sock_close(r->sock); /* of a connect that won against its cancel */
    return err < 0 ? err : r->err;
}

int rpc_request(struct rt *rt, const char *path, const char *method, json_t *params, uint64_t timeout_ns,
                json_t **result, char why[static 512])
{
    const uint64_t losses = rpc_json_losses();
    json_t *req =
        json_pack("{s:s, s:s, s:o, s:i}", "jsonrpc", "2.0", "method", method, "params", params, "id", 1);
    char *text = rpc_json_text(req, JSON_COMPACT);
    struct request r = { 0 };
    struct rt_addr to;
    int err;

    json_decref(req);
    if (!text && rpc_json_losses() != losses) {
        failure_words(-ENOMEM, false, path, method, why);
        return -ENOMEM;
    }
    if (!text) {
        snprintf(why, 512, "'%s' cannot be asked: its parameters are not UTF-8 text", method);
        return -EINVAL;
    }
    if ((err = rt_addr_parse(&to, path, 0))) {
        snprintf(why, 512, "%s: no path for a unix socket: %s", path,
                 err == -ENAMETOOLONG ? "longer than 107 bytes, choose a shorter --run-dir"
                                      : "it starts with '/'");
        free(text);
        return err;
    }
    r.iov[0] = (struct iovec){ text, strlen(text) };
    r.iov[1] = (struct iovec){ (void *)"\n", 1 };
    err = request_run(rt, &r, &to, timeout_ns);
    if (err)
        failure_words(err, r.late, path, method, why);
    else
        err = answer_read(&r, path, result, why);
    json_decref(r.answer);
    rpc_frame_free(&r.frame);
    free(text);
    return err;
}
