/*
 * server.c - the daemons' end of the control socket
 *
 * It owns listener, clients and calls. A client lives until its socket is closed and nothing points at it any
 * more: an operation under way and each unanswered call hold it. A client with too many unanswered calls or
 * unsent answers is not read from until there are fewer: so nobody makes the daemon hold more than a bounded
 * amount for them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/rt_list.h"
#include "reactor/rt_log.h"
#include "rpc/frame.h"
#include "rpc/json.h"
#include "rpc/request.h"
#include "rpc/rpc.h"

#define CALLS_MAX  32u         /* unanswered, or answered and unsent, for one client */
#define PARTIAL_NS (30 * RT_S) /* how long a request may take to arrive whole */

struct answer {
    struct answer *next;
    size_t len;
    char text[];
};

struct client {
    struct rt_link link;       /* in server->clients until it is closed */
    struct rpc_server *server; /* NULL once closed */
    struct rt *rt;
    struct rt_sock *sock; /* NULL once closed */
    struct rt_op rx, tx;
    struct rt_timer slow; /* runs while a request has arrived in part */
    struct rpc_frame frame;
    struct iovec iov;
    struct answer *head, *tail; /* the first is being sent while sending */
    unsigned holds;             /* operations under way and unanswered calls */
    unsigned calls;             /* read and not yet answered and sent */
    bool receiving, sending, eof, parsing;
};

struct rpc_server {
    struct rt *rt;
    struct rt_sock *listener;
    struct rt_op accept_op;
    struct rt_sock *incoming;
    struct rt_addr incoming_addr;
    struct rt_link clients;
    unsigned clients_nr;
    const struct rpc_method *methods;
    unsigned methods_nr;
    void *user;
};

struct rpc_call {
    struct client *client;
    json_t *id; /* NULL: a notification, which gets no answer */
};

static void client_receive(struct client *c);
static void accept_next(struct rpc_server *s);

/* ---- clients --------------------------------------------------------------------------------------------- */

static void client_put(struct client *c)
{
    assert(c->holds);
    if (--c->holds || c->sock)
        return;
    for (struct answer *a = c->head, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    rpc_frame_free(&c->frame);
    free(c);
}

/* Outstanding operations end by themselves; calls may still be answered, into nothing. */
static void client_close(struct client *c)
{
    if (!c->sock)
        return;
    c->holds++; /* so that it is there until the end of this function */
    rt_timer_disarm(c->rt, &c->slow);
    rt_list_del(&c->link);
    c->server->clients_nr--;
    c->server = NULL;
    rt_sock_close(c->sock);
    c->sock = NULL;
    client_put(c);
}

static void client_send(struct client *c);

static void sent(struct rt_op *op, int res)
{
    struct client *c = container_of(op, struct client, tx);
    struct answer *a = c->head;

    c->sending = false;
    if (!(c->head = a->next))
        c->tail = NULL;
    c->calls--;
    if (c->sock && res != (int)a->len)
        client_close(c);
    free(a);
    if (c->sock)
        client_send(c);
    if (c->sock && c->eof && !c->calls)
        client_close(c);
    else if (c->sock)
        client_receive(c);
    client_put(c);
}

static void client_send(struct client *c)
{
    if (c->sending || !c->head)
        return;
    c->sending = true;
    c->holds++;
    c->iov = (struct iovec){ c->head->text, c->head->len };
    c->tx.done = sent;
    rt_send(c->sock, &c->tx, &c->iov, 1);
}

static void client_answer(struct client *c, json_t *message)
{
    char *text = rpc_json_text(message, JSON_COMPACT);
    const size_t len = text ? strlen(text) : 0;
    struct answer *a = text ? malloc(sizeof(*a) + len + 1) : NULL;

    json_decref(message);
    if (!a) {
        rt_log(RT_ERR, "no memory for an answer on the control socket");
        free(text);
        c->calls--;
        client_close(c);
        return;
    }
    memcpy(a->text, text, len);
    a->text[len] = '\n';
    a->len = len + 1;
    a->next = NULL;
    free(text);
    if (c->tail)
        c->tail->next = a;
    else
        c->head = a;
    c->tail = a;
    client_send(c);
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

static void call_end(struct rpc_call *call, const char *key, json_t *value)
{
    struct client *c = call->client;

    if (c->sock && call->id) {
        client_answer(c, json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", key, value, "id", call->id));
    } else {
        json_decref(value);
        c->calls--;
        if (c->sock && c->eof && !c->calls && !c->parsing)
            client_close(c);
        else if (c->sock && !c->parsing)
            client_receive(c);
    }
    json_decref(call->id);
    free(call);
    client_put(c);
}

void rpc_reply(struct rpc_call *call, json_t *result)
{
    call_end(call, "result", result ? result : json_object());
}

void rpc_fail(struct rpc_call *call, enum rpc_error code, const char *fmt, ...)
{
    char text[2048];
    json_t *message;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* A peer's words may be in it: what is no UTF-8 must not lose the answer. */
    if (!(message = json_string(text))) {
        for (char *p = text; *p; p++)
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        message = json_string(text);
    }
    call_end(call, "error", json_pack("{s:i, s:o}", "code", (int)code, "message", message));
}

void rpc_reply_whole(struct rpc_call *call, json_t *result, uint64_t losses)
{
    if (rpc_json_losses() == losses) {
        rpc_reply(call, result);
        return;
    }
    json_decref(result);
    rpc_fail(call, RPC_INTERNAL, "not enough memory for the answer");
}

static const struct rpc_method *method_find(const struct rpc_server *s, const char *name)
{
    for (unsigned i = 0; i < s->methods_nr; i++)
        if (!strcmp(s->methods[i].name, name))
            return &s->methods[i];
    return NULL;
}

static void call_run(struct client *c, struct rpc_call *call, const json_t *req)
{
    const struct rpc_server *s = c->server;
    const char *refusal = rpc_request_refusal(req);
    const struct rpc_method *m;
    json_t *params;

    if (refusal) {
        rpc_fail(call, RPC_INVALID_REQUEST, "%s", refusal);
        return;
    }
    if (!(m = method_find(s, json_string_value(json_object_get(req, "method"))))) {
        rpc_fail(call, RPC_NO_METHOD, "this daemon has no method '%.64s': is the command of another version?",
                 json_string_value(json_object_get(req, "method")));
        return;
    }
    params = json_object_get(req, "params");
    params = params ? json_incref(params) : json_object();
    if (!params) {
        rpc_fail(call, RPC_INTERNAL, "not enough memory for the request");
        return;
    }
    m->fn(s->user, call, params);
    json_decref(params);
}

static void request_take(struct client *c, const char *text, size_t len)
{
    struct rpc_call *call = calloc(1, sizeof(*call));
    json_error_t why;
    json_t *req = NULL;
    int err;

    if (!call) {
        client_close(c);
        return;
    }
    call->client = c;
    c->holds++;
    c->calls++;
    if ((err = rpc_json_read(&req, text, len, JSON_REJECT_DUPLICATES, &why))) {
        call->id = json_null();
        if (err == -ENOMEM)
            rpc_fail(call, RPC_INTERNAL, "not enough memory for the request");
        else
            rpc_fail(call, RPC_PARSE, "not JSON: %s (byte %d)", why.text, why.position);
        return;
    }
    call->id = json_is_object(req) ? json_incref(json_object_get(req, "id")) : json_null();
    call_run(c, call, req);
    json_decref(req);
}

/* An answer that no request asked for: why the client is turned away. It is closed once that is sent. */
static void client_refuse(struct client *c, enum rpc_error code, const char *why)
{
    c->eof = true;
    c->calls++;
    client_answer(c, json_pack("{s:s, s:{s:i, s:s}, s:n}", "jsonrpc", "2.0", "error", "code", (int)code,
                               "message", why, "id"));
}

/* ---- receiving ------------------------------------------------------------------------------------------- */

static void slow_fired(struct rt_timer *t)
{
    client_close(container_of(t, struct client, slow));
}

static void requests_take(struct client *c)
{
    const char *text;
    size_t len;
    int got = 0;

    c->parsing = true;
    while (c->sock && c->calls < CALLS_MAX &&
           (got = rpc_frame_next(&c->frame, RPC_REQUEST_MAX, &text, &len)) > 0)
        request_take(c, text, len);
    c->parsing = false;
    if (c->sock && got < 0)
        client_refuse(c, RPC_INVALID_REQUEST, "a request is at most 1 MiB long");
}

static void received(struct rt_op *op, int res)
{
    struct client *c = container_of(op, struct client, rx);

    c->receiving = false;
    if (c->sock && res > 0 && rpc_frame_add(&c->frame, op->buf, (size_t)res))
        client_close(c);
    if (res == 0)
        c->eof = true;
    else if (res < 0)
        client_close(c);
    if (c->sock)
        client_receive(c);
    client_put(c);
}

/* Takes what is there, then asks for more where there is room for it. */
static void client_receive(struct client *c)
{
    if (c->receiving || c->parsing)
        return;
    c->holds++;
    requests_take(c);
    if (c->sock && c->eof && !c->calls)
        client_close(c);
    if (c->sock && !c->eof && c->calls < CALLS_MAX) {
        if (!rpc_frame_partial(&c->frame))
            rt_timer_disarm(c->rt, &c->slow);
        else if (!rt_timer_armed(&c->slow))
            rt_timer_arm(c->rt, &c->slow, PARTIAL_NS);
        c->receiving = true;
        c->holds++;
        c->rx.done = received;
        rt_recv_shared(c->sock, &c->rx);
    } else if (c->sock) {
        rt_timer_disarm(c->rt, &c->slow);
    }
    client_put(c);
}

/* ---- accepting ------------------------------------------------------------------------------------------- */

static bool peer_allowed(const struct rt_sock *sock)
{
    uint32_t uid;
    int32_t pid;
    int err = rt_sock_peercred(sock, &uid, &pid);

    if (err) {
        rt_log_peer(RT_WARN, "control socket: the peer's credentials cannot be read: %s", strerror(-err));
        return false;
    }
    if (uid && uid != rt_uid()) {
        rt_log_peer(RT_WARN, "control socket: uid %u (pid %d) is neither root nor uid %u: turned away", uid,
                    pid, rt_uid());
        return false;
    }
    return true;
}

static void client_new(struct rpc_server *s, struct rt_sock *sock)
{
    struct client *c = peer_allowed(sock) ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        rt_sock_close(sock);
        return;
    }
    c->server = s;
    c->rt = s->rt;
    c->sock = sock;
    c->slow.fn = slow_fired;
    rt_list_push(&s->clients, &c->link);
    if (s->clients_nr++ >= RPC_CLIENTS_MAX)
        client_refuse(c, RPC_FAILED, "this daemon serves at most 64 control clients at a time: close some");
    else
        client_receive(c);
}

static void accepted(struct rt_op *op, int res)
{
    struct rpc_server *s = container_of(op, struct rpc_server, accept_op);

    if (!s->listener) { /* rpc_close() was called: the accept was the last to end */
        if (!res)
            rt_sock_close(s->incoming);
        free(s);
        return;
    }
    if (!res)
        client_new(s, s->incoming);
    else
        rt_log(RT_WARN, "control socket: accept: %s", strerror(-res));
    accept_next(s);
}

static void accept_next(struct rpc_server *s)
{
    s->accept_op.done = accepted;
    rt_accept(s->listener, &s->accept_op, &s->incoming, &s->incoming_addr);
}

int rpc_listen(struct rpc_server **out, struct rt *rt, const char *path, const struct rpc_method *methods,
               unsigned methods_nr, void *user)
{
    struct rpc_server *s = calloc(1, sizeof(*s));
    struct rt_addr at;
    int err;

    if (!s)
        return -ENOMEM;
    *s = (struct rpc_server){ .rt = rt, .methods = methods, .methods_nr = methods_nr, .user = user };
    rt_list_init(&s->clients);
    if ((err = rt_addr_parse(&at, path, 0)) || (err = rt_listen(rt, &at, &s->listener))) {
        free(s);
        return err;
    }
    accept_next(s);
    *out = s;
    return 0;
}

void rpc_close(struct rpc_server *s)
{
    if (!s)
        return;
    rt_list_for_safe (l, &s->clients)
        client_close(rt_list_entry(l, struct client, link));
    rt_sock_close(s->listener); /* removes the name; accepted() frees s */
    s->listener = NULL;
}
