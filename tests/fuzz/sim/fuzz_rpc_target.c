/*
 * fuzz_rpc_target.c - JSON-RPC requests to a whole target daemon
 *
 * One daemon serves all inputs; what one of them has made is taken away again before the next. Every request gets one
 * answer, which is JSON, has its id, and no secret in it; and the daemon's configuration is at all times one that it
 * would accept.
 */
#include <stdarg.h>
#include <string.h>
#include "scsi/scsi.h"
#include "target/sess.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/disks.h"
#include "tests/fuzz/sim/peer.h"
#include "tests/fuzz/sim/stage.h"

#define SOCKET "/run/targetd.sock"
#define CLIENTS 2u
#define IDS 128u
#define TEXT_MAX 16384u
#define LINE_MAX (2u << 20)                 /* bytes of an answer */
#define GAP_NS (200 * RT_US)
#define ANSWER_NS (60 * RT_S)
#define SETTLE_NS (20 * RT_MS)              /* what a client that is gone had sent has arrived by then */
#define HEAP_MAX (16u << 20)                /* bytes of the daemon: OPS_MAX units, each with its views */
#define SECRET_MARK "kept-to-itself"

#define KINDS(X)                                                                                              \
    X(METHOD,  "b",    3) /* begins a request */                                                              \
    X(USUAL,   "bbb", 10) /* a whole request that makes sense, nearly: method, which thing, which number */   \
    X(PARAM,   "bbd", 10) /* adds a parameter: key, kind of value, value */                                   \
    X(SEND,    "0",    6) /* as request, without id, with another id, spoiled */                              \
    X(RAW,     "r",    1)                                                                                     \
    X(NEST,    "bw",   1) /* brackets */                                                                      \
    X(CHUNK,   "b",    1)                                                                                     \
    X(CLIENT,  "n",    1) /* goes on as the other one */                                                      \
    X(CLOSE,   "",     1)                                                                                     \
    X(LOGIN,   "nb",   2) /* an initiator logs in to one of the targets */                                    \
    X(LOGOUT,  "n",    1)                                                                                     \
    X(WAIT,    "b",    1) /* milliseconds, squared */                                                         \
    X(IO,      "nnb",  1) /* of one who is logged in: unit, whether it is a write whose data never come */
enum {
#define X(name, shape, weight) OP_##name,
    KINDS(X)
#undef X
    OP_NR
};
static const struct op_kind kinds[] = {
#define X(name, shape, weight) { #name, shape, weight },
    KINDS(X)
#undef X
};
const struct op_table op_table = { kinds, OP_NR, NULL };

struct client {
    struct rt_sock *sock, *fresh;
    struct rt_op conn, rx, tx;
    bool connecting, rx_busy, tx_busy;
    bool blind;                             /* what was sent is not known, so neither are the answers */
    char out[TEXT_MAX];
    uint32_t out_len, out_at, chunk;
    struct iovec iov;
    char *line;
    size_t line_len, line_room;
    bool asked[IDS];
    unsigned id, waiting;
};

static struct sim *world;
static struct stage_tgt tgt = { .cores = 2, .config = CONFIG_PATH, .rpc = SOCKET };
static struct stage_prog admin, foe;
static struct client clients[CLIENTS], *now;
static struct peer peers[2];
static struct rt_addr socket_at, portal;
static struct op op;
static char request[TEXT_MAX];              /* under construction: the parameters so far */
static const char *method;

static const char *const methods[] = {
    "target.create", "lun.create",     "acl.add",     "chap.set",   "target.delete",
    "lun.delete",    "lun.resize",     "acl.remove",  "chap.clear", "target.list",
    "lun.list",      "acl.list",       "chap.list",   "status",     "layout.show",
    "session.list",  "session.logout", "portal.list", "none.such",  "",
};
static const char *const iqns[] = { "iqn.2026-01.fuzz:a", "iqn.2026-01.fuzz:b", "iqn.2026-01.fuzz:A",
                                    "eui.0123456789abcdef", "iqn.", "" };
static const char *const paths[] = { "/disk",    "/b",     "/no/such/dir/x", "/blockdev", "/etc/target.json",
                                     "relative", "/a/../b" };
static const char *const keys[] = { "iqn",      "kind",       "path",      "size",  "lun",
                                    "readonly", "block_size", "naa",       "force", "initiator",
                                    "luns",     "discovery",  "direction", "user",  "secret",
                                    "algs",     "id",         "portal",    "other", "" };
static const char *const texts[] = {
    "iqn.2026-01.fuzz:a", "iqn.2026-01.fuzz:b", "ram", "null", "file", "block", "/disk", "/b", "/blockdev", "in",
    "out", "user", "other", "*", "iqn.2026-01.fuzz:x", "MD5", "SHA256", "60000000000000000000000000000009", "6zz",
    "", "\\u0000", "\\ud800", "\xff\xfe", "\\n\\\\\\\"", "true",
};

/* ---- a client -------------------------------------------------------------------------------------------- */

static void client_over(struct client *c)
{
    rt_sock_close(c->sock);
    c->sock = NULL;
}

static void answer_judge(struct client *c, const char *line, size_t len)
{
    json_error_t err;
    json_t *v = json_loadb(line, len, 0, &err), *id;
    json_int_t n;

    fuzz_check(v && json_is_object(v));
    fuzz_check(!strcmp(json_string_value(json_object_get(v, "jsonrpc")), "2.0"));
    fuzz_check(!json_object_get(v, "result") != !json_object_get(v, "error"));
    if (json_object_get(v, "error"))
        fuzz_check(json_is_integer(json_object_get(json_object_get(v, "error"), "code")) &&
                   json_is_string(json_object_get(json_object_get(v, "error"), "message")));
    id = json_object_get(v, "id");
    fuzz_check(id);
    if (!c->blind) {
        n = json_integer_value(id);
        fuzz_check(json_is_integer(id) && n >= 0 && n < (json_int_t)IDS && c->asked[n]);
        c->asked[n] = false;
        c->waiting--;
        fuzz_check(!memmem(line, len, SECRET_MARK, sizeof(SECRET_MARK) - 1));
    }
    json_decref(v);
}

static void on_received(struct rt_op *o, int res)
{
    struct client *c = container_of(o, struct client, rx);
    char *end;

    c->rx_busy = false;
    if (!c->sock)
        return;
    if (res <= 0) {
        fuzz_check(c->blind || !c->waiting);
        client_over(c);
        return;
    }
    fuzz_check(c->line_len + (size_t)res <= LINE_MAX);
    if (c->line_len + (size_t)res > c->line_room) {
        c->line_room = 2 * (c->line_len + (size_t)res);
        c->line = realloc(c->line, c->line_room);
    }
    memcpy(c->line + c->line_len, o->buf, (size_t)res);
    c->line_len += (size_t)res;
    while ((end = memchr(c->line, '\n', c->line_len))) {
        const size_t n = (size_t)(end - c->line);

        answer_judge(c, c->line, n);
        memmove(c->line, end + 1, c->line_len - n - 1);
        c->line_len -= n + 1;
    }
    c->rx_busy = true;
    rt_recv_shared(c->sock, &c->rx);
}

static void tx_pump(struct client *c);

static void on_sent(struct rt_op *o, int res)
{
    struct client *c = container_of(o, struct client, tx);

    c->tx_busy = false;
    if (!c->sock || res < 0)
        return;
    c->out_at += (uint32_t)res;
    tx_pump(c);
}

static void tx_pump(struct client *c)
{
    uint32_t len = c->out_len - c->out_at;

    if (c->tx_busy || !c->sock)
        return;
    if (!len) {
        c->out_at = c->out_len = 0;
        return;
    }
    if (c->chunk && len > c->chunk)
        len = c->chunk;
    c->iov = (struct iovec){ c->out + c->out_at, len };
    c->tx_busy = true;
    rt_send(c->sock, &c->tx, &c->iov, 1);
}

static bool say(struct client *c, const char *text, size_t len)
{
    if (!c->sock || len > sizeof(c->out) - c->out_len)
        return false;
    memcpy(c->out + c->out_len, text, len);
    c->out_len += (uint32_t)len;
    tx_pump(c);
    return true;
}

static void on_connected(struct rt_op *o, int res)
{
    struct client *c = container_of(o, struct client, conn);

    c->connecting = false;
    if (res)
        return;
    c->sock = c->fresh;
    c->rx_busy = true;
    rt_recv_shared(c->sock, &c->rx);
}

static void client_open(void *arg)
{
    struct client *c = arg;

    if (c->sock || c->connecting || c->rx_busy || c->tx_busy)
        return;
    c->out_len = c->out_at = c->chunk = 0;
    c->line_len = 0;
    c->blind = false;
    c->waiting = c->id = 0;
    memset(c->asked, 0, sizeof(c->asked));
    c->conn.done = on_connected;
    c->rx.done = on_received;
    c->tx.done = on_sent;
    c->connecting = true;
    rt_connect(admin.rt, &c->conn, &socket_at, &c->fresh);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static void param_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void param_add(const char *fmt, ...)
{
    const size_t have = strlen(request);
    va_list ap;

    if (sizeof(request) - have < 600)
        return;
    va_start(ap, fmt);
    vsnprintf(request + have, sizeof(request) - have, fmt, ap);
    va_end(ap);
}

static void do_param(struct op_args *a)
{
    const char *key = keys[arg_u8(a) % ARRAY_SIZE(keys)];
    const uint8_t how = arg_u8(a);
    const uint32_t v = arg_u32(a);
    const char *text = strcmp(key, "secret") ? texts[v % ARRAY_SIZE(texts)] : SECRET_MARK;

    if (*request)
        param_add(", ");
    switch (how % 10) {
    case 0:
    case 1:
    case 2:  param_add("\"%s\": \"%s\"", key, text);                                  break;
    case 3:  param_add("\"%s\": %u", key, v % 16 * 512);                              break;
    case 4:  param_add("\"%s\": %u", key, v);                                         break;
    case 5:  param_add("\"%s\": %s", key, v & 1 ? "true" : "false");                  break;
    case 6:  param_add("\"%s\": [\"%s\", %u]", key, text, v % 8);                     break;
    case 7:  param_add("\"%s\": [%u, %u]", key, v % 4, v >> 4 & 3);                   break;
    case 8:  param_add("\"%s\": -%u", key, v);                                        break;
    default: param_add("\"%s\": %s", key, v & 1 ? "null" : v & 2 ? "1e999" : "{\"a\": 1.5}"); break;
    }
}

static void do_send(uint8_t how)
{
    static char text[TEXT_MAX + 512];
    struct client *c = now;
    int n;

    if (c->id == IDS || !method)
        return;
    if (how & 1)
        n = snprintf(text, sizeof(text), "{\"jsonrpc\": \"2.0\", \"method\": \"%s\", \"params\": {%s}}\n",
                     method, request);
    else
        n = snprintf(text, sizeof(text),
                     "{\"jsonrpc\": \"2.0\", \"id\": %u, \"method\": \"%s\", \"params\": {%s}}\n", c->id,
                     method, request);
    if (n >= (int)sizeof(text))
        return;
    if (how & 2) {                          /* cut, or one byte is another */
        text[(unsigned)how * 7 % (unsigned)n] ^= (char)(how >> 2);
        c->blind = true;
    }
    /* What is no JSON has no id, and this was put together from pieces. */
    if (!c->blind && !(how & 1)) {
        json_t *v = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);

        c->blind = !v;
        json_decref(v);
    }
    if (say(c, text, (size_t)n) && !c->blind && !(how & 1)) {
        c->asked[c->id++] = true;
        c->waiting++;
    }
    *request = '\0';
    method = NULL;
}

static void do_usual(struct op_args *a)
{
    const uint8_t which = arg_u8(a), thing = arg_u8(a), number = arg_u8(a);
    const char *iqn = iqns[thing % 3];

    *request = '\0';
    switch (which % 12) {
    case 0:
    case 1:
        method = "target.create";
        param_add("\"iqn\": \"%s\"", iqn);
        break;
    case 2:
    case 3:
        method = "lun.create";
        param_add("\"iqn\": \"%s\", \"kind\": \"%s\", \"size\": %u", iqn, number & 1 ? "null" : "ram",
                  (1u + number) * 4096);
        break;
    case 4:
        method = "lun.create";
        param_add("\"iqn\": \"%s\", \"kind\": \"%s\", \"path\": \"%s\", \"size\": %u", iqn,
                  number & 1 ? "file" : "block", paths[number / 2 % ARRAY_SIZE(paths)],
                  number & 0x40 ? 0 : 8192u);
        break;
    case 5:
        method = "acl.add";
        param_add("\"iqn\": \"%s\", \"initiator\": \"%s\", \"luns\": [%u]", iqn,
                  number & 1 ? "*" : FUZZ_INITIATOR, number & 3);
        break;
    case 6:
        method = "chap.set";
        if (number & 1)
            param_add("\"discovery\": true");
        else
            param_add("\"iqn\": \"%s\"", iqn);
        param_add(", \"direction\": \"%s\", \"user\": \"user%u\", \"secret\": \"" SECRET_MARK "-%u\"",
                  number & 2 ? "in" : "out", number & 4, number & 8);
        break;
    case 7:
        method = "target.delete";
        param_add("\"iqn\": \"%s\", \"force\": %s", iqn, number & 1 ? "true" : "false");
        break;
    case 8:
        method = "lun.delete";
        param_add("\"iqn\": \"%s\", \"lun\": %u", iqn, number % 4);
        break;
    case 9:
        method = "lun.resize";
        param_add("\"iqn\": \"%s\", \"lun\": %u, \"size\": %u", iqn, number % 4, number * 512u);
        break;
    case 10:
        method = number & 1 ? "acl.remove" : "chap.clear";
        param_add("\"iqn\": \"%s\", ", iqn);
        if (number & 1)
            param_add("\"initiator\": \"%s\"", number & 2 ? "*" : FUZZ_INITIATOR);
        else
            param_add("\"direction\": \"%s\"", number & 2 ? "in" : "out");
        break;
    default:
        method = methods[9 + number % 9];
        if (!strcmp(method, "session.logout"))
            param_add("\"id\": %u", (unsigned)(tgt.tgt->id_last - thing % 3));
        break;
    }
    do_send(0);
}

static void do_nest(struct op_args *a)
{
    static char text[8192];
    const uint8_t what = arg_u8(a);

    memset(text, what & 1 ? '[' : what & 2 ? '{' : '"', sizeof(text));
    now->blind = true;
    say(now, text, arg_u16(a) % sizeof(text));
}

static void do_raw(struct op_args *a)
{
    size_t n;
    const uint8_t *p = arg_rest(a, &n);

    now->blind = true;
    say(now, (const char *)p, n);
}

static void do_op(void *arg)
{
    struct op_args *a = &op.args;

    (void)arg;
    switch (op.kind) {
    case OP_METHOD:
        method = methods[arg_u8(a) % ARRAY_SIZE(methods)];
        *request = '\0';
        break;
    case OP_USUAL:  do_usual(a);                                  break;
    case OP_PARAM:  do_param(a);                                  break;
    case OP_SEND:   do_send(arg_u8(a));                           break;
    case OP_RAW:    do_raw(a);                                    break;
    case OP_NEST:   do_nest(a);                                   break;
    case OP_CHUNK:  now->chunk = arg_u8(a);                       break;
    case OP_CLIENT: now = &clients[arg_u8(a) % CLIENTS];          break;
    case OP_CLOSE:
        now->blind = true;
        if (now->sock)
            client_over(now);
        break;
    default:
        break;
    }
}

static void do_io(struct peer *p, struct op_args *a)
{
    const uint8_t lun = arg_u8(a) % 4, write = arg_u8(a) & 1;
    uint8_t bhs[ISCSI_BHS_LEN];

    if (p->state != PEER_FULL)
        return;
    p->auto_data = false;
    peer_bhs(p, bhs, ISCSI_OP_SCSI_CMD, false);
    bhs[1] = (uint8_t)(0x81 | (write ? 0x20 : 0x40));
    bhs[9] = lun;
    store_be32(&bhs[20], 4096);
    bhs[32] = write ? SCSI_WRITE_10 : SCSI_READ_10;
    bhs[32 + 8] = 8;
    peer_expect(p, load_be32(&bhs[16]), 4096);
    peer_send(p, bhs, NULL, 0, NULL, 0);
}

static void do_peer(void *arg)
{
    struct peer *p = &peers[arg_u8(&op.args) % 2];
    const uint8_t which = op.kind == OP_LOGIN ? arg_u8(&op.args) : 0;
    const struct peer_login l = { .initiator = which & 4 ? FUZZ_INITIATOR_GOOD : FUZZ_INITIATOR,
                                  .target = iqns[which % 2],
                                  .isid = which >> 4,
                                  .immediate_data = true,
                                  .recv_max = 8192 };

    (void)arg;
    if (op.kind == OP_IO)
        do_io(p, &op.args);
    else if (op.kind == OP_LOGOUT)
        peer_close(p);
    else if (peer_idle(p))
        peer_open(p, &portal, &l);
}

/* ---- between inputs -------------------------------------------------------------------------------------- */

static bool answered(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].sock && !clients[i].blind && clients[i].waiting)
            return false;
    return true;
}

static void hang_up(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].blind = true;
        if (clients[i].sock)
            client_over(&clients[i]);
    }
}

static void foe_hang_up(void *arg)
{
    (void)arg;
    peer_close(&peers[0]);
    peer_close(&peers[1]);
}

static bool at_rest(void)
{
    return !stage_tgt_load(&tgt) && !tgt.tgt->change && rt_list_empty(&tgt.tgt->changes) && !tgt.tgt->retiring;
}

static bool alone(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].rx_busy || clients[i].tx_busy || clients[i].connecting)
            return false;
    return peer_idle(&peers[0]) && peer_idle(&peers[1]) && at_rest();
}

static bool is_open(void *arg)
{
    return ((struct client *)arg)->sock != NULL;
}

/* Deletes what there is, with the daemon's own methods. */
static void tidy(void *arg)
{
    json_t *doc = tgt.tgt->doc, *t;
    char text[512];
    size_t i;

    (void)arg;
    now->blind = true;
    json_array_foreach(json_object_get(doc, "targets"), i, t) {
        snprintf(text, sizeof(text),
                 "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"target.delete\", \"params\": {\"iqn\": "
                 "\"%s\", \"force\": true}}\n",
                 json_string_value(json_object_get(t, "iqn")));
        say(now, text, strlen(text));
    }
    for (unsigned k = 0; k < 2 && json_array_size(json_object_get(doc, "discovery_chap")); k++) {
        snprintf(text, sizeof(text),
                 "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"chap.clear\", \"params\": {\"discovery\": "
                 "true, \"direction\": \"%s\"}}\n",
                 k ? "in" : "out");
        say(now, text, strlen(text));
    }
}

static bool tidied(void *arg)
{
    (void)arg;
    return !json_array_size(json_object_get(tgt.tgt->doc, "targets")) &&
           !json_array_size(json_object_get(tgt.tgt->doc, "discovery_chap")) && at_rest();
}

static void files_go(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 2; i++)
        (void)rt_remove(paths[i]);
}

/* What is in force must be what could be read from a file. */
static void doc_judge(void)
{
    char why[CONF_WHY_MAX], *text = conf_text(tgt.tgt->doc);
    json_t *doc = conf_parse(text, strlen(text), why);

    stage_check(doc, "%s", why);
    json_decref(doc);
    free(text);
}

static void foe_begin(void *arg)
{
    (void)arg;
    peer_init(&peers[0], foe.rt);
    peer_init(&peers[1], foe.rt);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char config[] =
        "{\"version\": 1, \"portals\": [\"" ADDR_TARGET "\"], \"targets\": [],"
        " \"limits\": {\"login_s\": 5, \"idle_s\": 5, \"stall_s\": 10, \"tasks\": 512, \"buffer_mib\": 16}}";
    struct sim_machine *m;

    (void)argc, (void)argv;
    world = stage_new(0);
    m = stage_machine(world, "tgt", tgt.cores, ADDR_TARGET);
    sim_fs_save(m, CONFIG_PATH, config, sizeof(config) - 1);
    sim_fs_make_block(m, "/blockdev", 65536, 512);
    stage_tgt_start(m, &tgt);
    stage_start(m, &admin);
    stage_start(stage_machine(world, "foe", 1, ADDR_FOE), &foe);
    sim_call(foe.rt, foe_begin, NULL);
    fuzz_check(!rt_addr_parse(&socket_at, SOCKET, 0) && !rt_addr_parse(&portal, ADDR_TARGET, ISCSI_PORT));
    sim_run(world, 10 * RT_MS);
    return 0;
}

static void client_ready(struct client *c)
{
    sim_call(admin.rt, client_open, c);
    stage_check(sim_run_until(world, is_open, c, RT_S), "the control socket takes nobody");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_prog_info info;
    struct ops ops;
    uint64_t ms;

    ops_init(&ops, data, size);
    *request = '\0';
    method = NULL;
    for (unsigned i = 0; i < CLIENTS; i++)
        client_ready(&clients[i]);
    now = &clients[0];
    while (ops_next(&ops, &op)) {
        if (op.kind == OP_WAIT) {
            ms = arg_u8(&op.args);
            sim_run(world, ms * ms * RT_MS);
        } else if (op.kind == OP_LOGIN || op.kind == OP_LOGOUT || op.kind == OP_IO) {
            sim_call(foe.rt, do_peer, NULL);
        } else {
            sim_call(admin.rt, do_op, NULL);
        }
        if (!op.no_wait && op.kind != OP_PARAM && op.kind != OP_METHOD)
            sim_run(world, GAP_NS);
    }
    stage_check(sim_run_until(world, answered, NULL, ANSWER_NS), "%u and %u requests have no answer",
                clients[0].waiting, clients[1].waiting);
    doc_judge();
    sim_prog_info(tgt.prog, &info);
    stage_check(info.heap_bytes < HEAP_MAX, "%llu bytes", (unsigned long long)info.heap_bytes);
    sim_call(admin.rt, hang_up, NULL);
    sim_call(foe.rt, foe_hang_up, NULL);
    sim_run(world, SETTLE_NS);
    stage_check(sim_run_until(world, alone, NULL, ANSWER_NS), "the daemon does not come to rest");
    now = &clients[0];
    client_ready(now);
    sim_call(admin.rt, tidy, NULL);
    stage_check(sim_run_until(world, tidied, NULL, ANSWER_NS), "something cannot be deleted");
    sim_call(admin.rt, hang_up, NULL);
    stage_check(sim_run_until(world, alone, NULL, ANSWER_NS), "the daemon does not come to rest");
    sim_call(admin.rt, files_go, NULL);
    memset(tgt.tgt->peers, 0, TGT_PEERS_MAX * tgt_peer_size);
    return 0;
}
