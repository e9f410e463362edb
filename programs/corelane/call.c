/*
 * call.c - from a command line to a request, from its answer to what is printed
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/common/rundir.h"
#include "programs/common/text.h"
#include "programs/corelane/call.h"
#include "rpc/json.h"
#include "rpc/rpc.h"

#define TIMEOUT_S_DEFAULT 60u
#define SECRET_FILE_MAX   1024u
#define BOTH_TIMEOUT_S    10u

static const struct {
    const char *program, *socket;
} daemons[] = {
    [DAEMON_INITIATOR] = { "corelaned", "corelaned.sock" },
    [DAEMON_TARGET] = { "corelane-targetd", "targetd.sock" },
};

const struct opt call_opts[] = {
    { "run-dir", 0, OPT_TEXT, .arg = "DIR", .help = "the daemons' run directory" },
    { 0 },
};
const struct opt call_json_opts[] = {
    { "run-dir", 0, OPT_TEXT, .arg = "DIR", .help = "the daemons' run directory" },
    { "json", 0, OPT_FLAG, .help = "print the daemon's answer as JSON" },
    { 0 },
};

const char *daemon_name(enum daemon d)
{
    return daemons[d].program;
}

void json_print(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

static int ask(const char *socket, const char *method, json_t *params, unsigned timeout_s, json_t **result,
               char why[static 512])
{
    static const int anywhere = -1;
    const struct rt_conf conf = { .cores = &anywhere, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct rt_host *host;
    int err = rt_host_new(&host, &conf);

    if (err) {
        json_decref(params);
        snprintf(why, 512, "the event loop cannot be made: %s", strerror(-err));
        return err;
    }
    err = rpc_request(rt_host_at(host, 0), socket, method, params, timeout_s * RT_S, result, why);
    rt_host_free(host);
    return err;
}

int call_daemon(const struct opts *o, enum daemon d, const char *method, json_t *params, unsigned timeout_s,
                bool quiet, json_t **result)
{
    char dir[RUNDIR_MAX], socket[RUNDIR_PATH_MAX], why[512];
    int err;

    if (rpc_json_losses()) {                /* a parameter may be missing: half a command is another command */
        json_decref(params);
        fprintf(stderr, "%s: not enough memory\n", o->prog);
        return -ENOMEM;
    }
    if (!rundir_find(opt_text(o, "run-dir", NULL), dir, why)) {
        json_decref(params);
        fprintf(stderr, "%s: %s\n", o->prog, why);
        return -EINVAL;
    }
    rundir_path(dir, daemons[d].socket, socket);
    err = ask(socket, method, params, timeout_s, result, why);
    if (err == -ENOENT || err == -ECONNREFUSED) {
        if (!quiet)
            fprintf(stderr, "%s: %s: start it with '%s --run-dir %s', or say with --run-dir where it runs\n",
                    o->prog, why, daemons[d].program, dir);
        return -ENOENT;
    }
    if (err)
        fprintf(stderr, "%s: %s\n", o->prog, why);
    return err;
}

int call_both(const struct opts *o, const char *method, json_t **result)
{
    int found = 0;

    *result = json_object();
    for (enum daemon d = DAEMON_INITIATOR; d <= DAEMON_TARGET; d++) {
        json_t *one = NULL;
        int err = call_daemon(o, d, method, json_object(), BOTH_TIMEOUT_S, true, &one);

        if (err && err != -ENOENT) {
            json_decref(*result);
            return 1;
        }
        found += !err;
        json_object_set_new(*result, daemon_name(d), err ? json_null() : one);
    }
    if (found)
        return 0;
    json_decref(*result);
    /* Asked once more, so that the message names the socket and how to start the daemon. */
    if (!call_daemon(o, DAEMON_INITIATOR, method, json_object(), BOTH_TIMEOUT_S, false, result))
        json_decref(*result);
    return 1;
}

/* ---- parameters ------------------------------------------------------------------------------------------ */

static int operand_param(const struct opts *o, const char *key, enum opt_kind kind, const char *text,
                         json_t *params)
{
    uint64_t num;

    if (kind == OPT_TEXT)
        return json_object_set_new(params, key, json_string(text))
                   ? opt_usage(o->prog, o->cmd, "'%s' is not UTF-8 text", text)
                   : -1;
    if (kind == OPT_SIZE ? size_parse(text, &num) : number_parse(text, &num))
        return opt_usage(
            o->prog, o->cmd,
            kind == OPT_SIZE ? "'%s' is not a size: digits, then k, M, G or T" : "'%s' is not a number", text);
    if (num > INT64_MAX)
        return opt_usage(o->prog, o->cmd, "'%s' is too large", text);
    json_object_set_new(params, key, json_integer((json_int_t)num));
    return -1;
}

static json_t *option_value(const struct opt_given *g)
{
    switch (g->opt->kind) {
    case OPT_FLAG: return json_true();
    case OPT_NUM:
    case OPT_SIZE: return json_integer((json_int_t)g->num);
    default: return json_string(g->text);
    }
}

static int options_params(const struct opts *o, json_t *params)
{
    for (unsigned i = 0; i < o->given_nr; i++) {
        const struct opt_given *g = &o->given[i];
        json_t *value, *list;

        if (!g->opt->key)
            continue;
        if (!(value = option_value(g)))
            return opt_usage(o->prog, o->cmd, "--%s: not UTF-8 text", g->opt->name);
        if (!g->opt->many) {
            json_object_set_new(params, g->opt->key, value);
            continue;
        }
        if (!(list = json_object_get(params, g->opt->key)))
            json_object_set_new(params, g->opt->key, list = json_array());
        json_array_append_new(list, value);
    }
    return -1;
}

static int params_make(const struct opts *o, const struct call *call, json_t *params)
{
    int status = options_params(o, params);

    for (unsigned i = 0; status < 0 && i < o->operand_nr && i < CALL_OPERANDS_MAX; i++)
        if (call->operand[i].key)
            status = operand_param(o, call->operand[i].key, call->operand[i].kind, o->operand[i], params);
    if (status < 0 && call->prepare)
        status = call->prepare(o, params);
    return status;
}

int call_run(const struct cmd *cmd, const struct opts *o)
{
    const struct call *call = cmd->data;
    json_t *params = json_object(), *result;
    int status = params_make(o, call, params);

    if (status >= 0) {
        json_decref(params);
        return status;
    }
    if (call_daemon(o, call->daemon, call->method, params,
                    call->timeout_s ? call->timeout_s : TIMEOUT_S_DEFAULT, false, &result))
        return 1;
    if (opt_has(o, "json"))
        json_print(result);
    else if (call->print)
        call->print(o, result);
    json_decref(result);
    return 0;
}

/* ---- secrets --------------------------------------------------------------------------------------------- */

static int secret_stdin(char **out, size_t *len)
{
    char buf[SECRET_FILE_MAX];
    size_t n = fread(buf, 1, sizeof(buf), stdin);

    if (ferror(stdin))
        return -EIO;
    if (n == sizeof(buf))
        return -EFBIG;
    if (!(*out = malloc(n + 1)))
        return -ENOMEM;
    memcpy(*out, buf, n);
    (*out)[n] = '\0';
    *len = n;
    explicit_bzero(buf, sizeof(buf));
    return 0;
}

/* One line; its end is not part of the secret. */
static int secret_load(const struct opts *o, const char *file_opt, const char *path, char **out)
{
    size_t len;
    int err = strcmp(path, "-") ? rt_load(path, SECRET_FILE_MAX, out, &len) : secret_stdin(out, &len);

    if (err) {
        fprintf(stderr, "%s: --%s %s: %s\n", o->prog, file_opt, path,
                err == -EFBIG ? "too long for a secret: is it the right file?" : strerror(-err));
        return 1;
    }
    if (len && (*out)[len - 1] == '\n')
        (*out)[--len] = '\0';
    if (!len || strlen(*out) != len || strchr(*out, '\n')) {
        fprintf(stderr, "%s: --%s %s: a secret is one line of text that is not empty\n", o->prog, file_opt,
                path);
        free(*out);
        return 1;
    }
    return -1;
}

int secret_param(const struct opts *o, const char *file_opt, const char *env, const char *key, json_t *params)
{
    const char *path = opt_text(o, file_opt, NULL), *value = getenv(env);
    char *text = NULL;
    int status = -1;

    if (path)
        status = secret_load(o, file_opt, path, &text);
    else if (value && *value)
        text = strdup(value);
    if (status >= 0)
        return status;
    if (text && json_object_set_new(params, key, json_string(text))) {
        fprintf(stderr, "%s: the secret is not UTF-8 text\n", o->prog);
        status = 1;
    }
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    return status;
}
