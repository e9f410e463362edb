/*
 * cmd_layout.c - which session is on which core: looking, asking why, changing it, keeping it in a file
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/layout_print.h"
#include "programs/corelane/print.h"
#include "reactor/rt.h"

#define MOVE_WAIT_S 660u         /* a restore moves sessions one after another */
#define PLAN_MAX    1024u
#define FILE_MAX    (768u << 10) /* bytes; a request is 1 MiB at most */

#define SESSION_WORDS                                                                                          \
    "SESSION is a name as in 'corelane session list' (s3), or TARGET[@PORTAL][#INDEX]: INDEX tells sessions\n" \
    "to the same target and portal apart, from 0, and stays the same when they log in again."

static const struct opt move_opts[] = {
    { "limit", 0, OPT_NUM, .key = "limit_ms", .arg = "MS", .lo = 1, .hi = 60000,
      .help = "how long to wait for what is under way before it stays where it is (default: 2000)" },
    { 0 },
};
static const struct opt pin_opts[] = {
    { "no-move", 0, OPT_FLAG, .key = "no_move", .help = "leave it where it is until its next login" },
    { "limit", 0, OPT_NUM, .key = "limit_ms", .arg = "MS", .lo = 1, .hi = 60000,
      .help = "as for 'layout move'" },
    { 0 },
};
static const struct opt explain_opts[] = {
    { "last", 0, OPT_NUM, .key = "last", .arg = "N", .lo = 1, .hi = 1000,
      .help = "how many decisions, the newest (default: 16)" },
    { 0 },
};
static const struct opt rebalance_opts[] = {
    { "budget", 0, OPT_NUM, .key = "budget", .arg = "N", .lo = 1, .hi = 60,
      .help = "moves per minute at most (default: 6)" },
    { 0 },
};
static const struct opt plan_opts[] = {
    { "target", 0, OPT_TEXT, .key = "target", .arg = "IQN", .help = "as sessions to that target are placed" },
    { "node", 0, OPT_NUM, .key = "node", .arg = "N", .hi = 65535,
      .help = "on that NUMA node, where there is room" },
    { 0 },
};
static const struct opt restore_opts[] = {
    { "dry-run", 0, OPT_FLAG, .key = "dry_run", .help = "only say what would be done" },
    { 0 },
};

/* ---- show ------------------------------------------------------------------------------------------------ */

static int show_run(const struct cmd *cmd, const struct opts *o)
{
    const char *daemon;
    json_t *result, *one;
    int status = call_both(o, "layout.show", &result);

    if (status)
        return status;
    if (opt_has(o, "json"))
        json_print(result);
    else
        json_object_foreach(result, daemon, one)
        {
            if (!json_is_null(one))
                layout_picture(stdout, daemon, one);
        }
    json_decref(result);
    return 0;
}

static void explain_print(const struct opts *o, const json_t *result)
{
    layout_reasons(stdout, result);
}

/* ---- move, pin, policy ----------------------------------------------------------------------------------- */

static void move_print(const struct opts *o, const json_t *result)
{
    char name[CELL_LEN_MAX];

    cell_format(json_object_get(result, "session"), CELL_TEXT, name);
    if (json_is_true(json_object_get(result, "moved")))
        printf("%s: core %llu, was on %llu; pause %.3f ms%s\n", name,
               (unsigned long long)num_of(result, "core"), (unsigned long long)num_of(result, "from"),
               (double)num_of(result, "pause_us") / 1000,
               json_is_true(json_object_get(result, "pinned")) ? "; pinned" : "");
    else if (json_object_get(result, "session"))
        printf("%s: core %lld, %s\n", name, (long long)json_integer_value(json_object_get(result, "core")),
               json_is_true(json_object_get(result, "pinned")) ? "pinned" : "not pinned");
}

static int policy_prepare(const struct opts *o, json_t *params)
{
    if (o->operand_nr)
        json_object_set_new(params, "policy", json_string(o->operand[0]));
    return opt_operand_word(o, 0, "POLICY", "free-core|numa|pinned|spread|pack");
}

static void policy_print(const struct opts *o, const json_t *result)
{
    puts(text_of(result, "policy"));
}

/* ---- rebalance, advice, plan ----------------------------------------------------------------------------- */

static int rebalance_prepare(const struct opts *o, json_t *params)
{
    if (o->operand_nr)
        json_object_set_new(params, "mode", json_string(o->operand[0]));
    return opt_operand_word(o, 0, "MODE", "off|on|advise");
}

static void rebalance_print(const struct opts *o, const json_t *result)
{
    printf("%s, %llu moves per minute at most: ", text_of(result, "mode"),
           (unsigned long long)num_of(result, "budget"));
    printf("%s\n", text_of(result, "why"));
}

static void advice_print(const struct opts *o, const json_t *result)
{
    layout_advice(stdout, result);
}

static int plan_prepare(const struct opts *o, json_t *params)
{
    const uint64_t nr = num_of(params, "sessions");

    return nr && nr <= PLAN_MAX
               ? -1
               : opt_usage(o->prog, o->cmd, "N %s: not a number from 1 to %u", o->operand[0], PLAN_MAX);
}

static void plan_print(const struct opts *o, const json_t *result)
{
    layout_plan(stdout, result);
}

/* ---- files ----------------------------------------------------------------------------------------------- */

/* What is there and is no file would be replaced by one, also a link like /dev/stdout. */
static int save_to(const char *path, const char *text)
{
    struct stat st;

    if (!strcmp(path, "-"))
        return fputs(text, stdout) < 0 ? -EIO : 0;
    if (!lstat(path, &st) && !S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    return rt_save(path, text, strlen(text), 0644);
}

static int save_run(const struct cmd *cmd, const struct opts *o)
{
    const char *path = o->operand[0], *text;
    json_t *result;
    int err;

    if (call_daemon(o, DAEMON_INITIATOR, "layout.save", json_object(), 60, false, &result))
        return 1;
    text = json_string_value(json_object_get(result, "text"));
    err = text ? save_to(path, text) : -EPROTO;
    if (err)
        fprintf(stderr, "%s: %s: %s\n", o->prog, path,
                err == -EINVAL ? "no regular file; '-' is standard output" : strerror(-err));
    json_decref(result);
    return err ? 1 : 0;
}

static int stdin_load(char **out)
{
    size_t len = 0, n;
    char *text = malloc(FILE_MAX + 1);

    if (!text)
        return -ENOMEM;
    while (len <= FILE_MAX && (n = fread(text + len, 1, FILE_MAX + 1 - len, stdin)))
        len += n;
    if (ferror(stdin) || len > FILE_MAX) {
        free(text);
        return len > FILE_MAX ? -EFBIG : -EIO;
    }
    text[len] = '\0';
    *out = text;
    return 0;
}

/* The file's text as a parameter. Return: -1 to go on, else the exit status. */
static int file_param(const struct opts *o, json_t *params)
{
    const char *path = o->operand[0];
    char *text = NULL;
    size_t len;
    int err = strcmp(path, "-") ? rt_load(path, FILE_MAX, &text, &len) : stdin_load(&text);

    if (!err && (json_object_set_new(params, "text", json_string(text)) ||
                 json_object_set_new(params, "name", json_string(strcmp(path, "-") ? path : "standard input"))))
        err = -EILSEQ;
    free(text);
    if (!err)
        return -1;
    fprintf(stderr, "%s: %s: %s\n", o->prog, path,
            err == -EILSEQ   ? "not UTF-8 text"
            : err == -EINVAL ? "no regular file; '-' is standard input"
                             : strerror(-err));
    return EXIT_USAGE;
}

static bool is_failed(const json_t *c)
{
    return json_is_false(json_object_get(c, "done"));
}

/* "s1 iqn... at 127.0.0.1:3260 #0: core 0 -> 1". */
static void change_print(const json_t *c)
{
    static const struct {
        const char *what, *words;
    } rows[] = {
        { "policy", "policy" },
        { "rebalance", "rebalance" },
        { "pin", "pin" },
        { "unpin", "unpin" },
        { "move", "core" },
        { "absent", "there is no such session: passed over" },
        { "extra", "not in the file: stays on core" },
    };
    const char *what = text_of(c, "what");
    char text[CELL_LEN_MAX];

    if (json_object_get(c, "target")) {
        if (json_object_get(c, "session"))
            printf("%s ", text_of(c, "session"));
        cell_format(json_object_get(c, "target"), CELL_TEXT, text);
        printf("%s", text);
        cell_format(json_object_get(c, "portal"), CELL_TEXT, text);
        printf(" at %s #%llu: ", text, (unsigned long long)num_of(c, "index"));
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!strcmp(rows[i].what, what))
            printf("%s", rows[i].words);
    if (json_object_get(c, "from")) {
        cell_format(json_object_get(c, "from"), CELL_TEXT, text);
        printf(" %s", text);
    }
    if (json_object_get(c, "to")) {
        cell_format(json_object_get(c, "to"), CELL_TEXT, text);
        printf("%s %s", json_object_get(c, "from") ? " ->" : "", text);
    }
    if (is_failed(c)) {
        cell_format(json_object_get(c, "why"), CELL_TEXT, text);
        printf(": FAILED: %s", text);
    }
    putchar('\n');
}

/* The others are notes: they say what the file and the sessions do not have in common; nothing is done about it. */
static bool is_change(const json_t *c)
{
    const char *what = text_of(c, "what");

    return strcmp(what, "absent") && strcmp(what, "extra");
}

static int restore_ask(const struct opts *o, bool dry, json_t **result)
{
    json_t *params = json_object();
    const int status = file_param(o, params);

    if (status >= 0) {
        json_decref(params);
        return status;
    }
    if (dry)
        json_object_set_new(params, "dry_run", json_true());
    return call_daemon(o, DAEMON_INITIATOR, "layout.restore", params, MOVE_WAIT_S, false, result) ? EXIT_USAGE
                                                                                                  : -1;
}

static void changes_print(const struct opts *o, const json_t *result)
{
    const json_t *c;
    size_t i;

    if (opt_has(o, "json")) {
        json_print(result);
        return;
    }
    json_array_foreach(json_object_get(result, "changes"), i, c)
        change_print(c);
}

static bool changes_any(const json_t *result, bool (*is_that)(const json_t *c))
{
    const json_t *c;
    size_t i;

    json_array_foreach(json_object_get(result, "changes"), i, c)
        if (is_that(c))
            return true;
    return false;
}

static int restore_run(const struct cmd *cmd, const struct opts *o)
{
    json_t *result;
    int status;

    if (restore_ask(o, opt_has(o, "dry-run"), &result) >= 0)
        return 1;
    status = changes_any(result, is_failed);
    changes_print(o, result);
    json_decref(result);
    return status;
}

/* As diff(1): 0 all is as the file says, 1 it is not, 2 it is not known. */
static int diff_run(const struct cmd *cmd, const struct opts *o)
{
    json_t *result;
    int status = restore_ask(o, true, &result);

    if (status >= 0)
        return status;
    status = changes_any(result, is_change);
    changes_print(o, result);
    json_decref(result);
    return status;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

#define CALL(...)                                                                                              \
    &(const struct call)                                                                                       \
    {                                                                                                          \
        .daemon = DAEMON_INITIATOR, __VA_ARGS__                                                                \
    }
#define SESSION_CORE                                                                                           \
    {                                                                                                          \
        { "session", OPT_TEXT },                                                                               \
        {                                                                                                      \
            "core", OPT_NUM                                                                                    \
        }                                                                                                      \
    }

const struct cmd cmds_layout[] = {
    { "layout show", NULL, "show every core: its load and its sessions",
      .more = "A core of '0+4' is CPU 0, which shares a whole core with CPU 4 (SMT). Free cores are taken "
              "together.\n"
              "With --json: an object with the answer of each daemon, null for one that does not run.",
      .sets = { call_json_opts, opt_common }, .run = show_run },
    { "layout explain", "SESSION", "why a session is on its core: each core's score, for each decision",
      .more = SESSION_WORDS, .sets = { explain_opts, call_json_opts, opt_common }, .run = call_run,
      .data =
          CALL(.method = "layout.explain", .operand = { { "session", OPT_TEXT } }, .print = explain_print) },
    { "layout move", "SESSION CORE", "move a session to another core, under I/O; prints the pause",
      .more = SESSION_WORDS, .sets = { move_opts, call_json_opts, opt_common }, .run = call_run,
      .data = CALL(.method = "layout.move", .operand = SESSION_CORE, .timeout_s = MOVE_WAIT_S,
                   .print = move_print) },
    { "layout pin", "SESSION CORE", "keep a session on a core, now and whenever it logs in",
      .more = SESSION_WORDS "\nIt is moved there at once.", .sets = { pin_opts, call_json_opts, opt_common },
      .run = call_run,
      .data = CALL(.method = "layout.pin", .operand = SESSION_CORE, .timeout_s = MOVE_WAIT_S,
                   .print = move_print) },
    { "layout unpin", "SESSION", "let a session be placed and moved again", .more = SESSION_WORDS,
      .sets = { call_json_opts, opt_common }, .run = call_run,
      .data = CALL(.method = "layout.unpin", .operand = { { "session", OPT_TEXT } }, .print = move_print) },
    { "layout policy", "[POLICY]", "show or set how new sessions are placed",
      .more = "free-core: a core without sessions on the right node first (the default); numa: never another "
              "node while\n"
              "the right one has a core; pinned: only where they are pinned; spread: fewest over packages, "
              "nodes, caches\n"
              "and cores in turn; pack: the fewest cores that bear it.",
      .sets = { call_json_opts, opt_common }, .run = call_run,
      .data = CALL(.method = "layout.policy", .prepare = policy_prepare, .print = policy_print) },
    { "layout rebalance", "[off|on|advise]", "show or set whether sessions move by themselves",
      .more = "advise, the default: it says in the log and in 'layout advice' what it would do. A session "
              "moves when its\n"
              "core was too busy for a while and another is better for it, and then not again for some time.",
      .sets = { rebalance_opts, call_json_opts, opt_common }, .run = call_run,
      .data = CALL(.method = "layout.rebalance", .prepare = rebalance_prepare, .print = rebalance_print) },
    { "layout advice", NULL, "what rebalancing would do, or why it does nothing",
      .sets = { call_json_opts, opt_common }, .run = call_run,
      .data = CALL(.method = "layout.advice", .print = advice_print) },
    { "layout plan", "N", "where N more sessions would go", .sets = { plan_opts, call_json_opts, opt_common },
      .run = call_run,
      .data = CALL(.method = "layout.plan", .operand = { { "sessions", OPT_NUM } }, .prepare = plan_prepare,
                   .print = plan_print) },
    { "layout save", "FILE", "write the layout to a file that can be edited ('-': standard output)",
      .sets = { call_opts, opt_common }, .run = save_run },
    { "layout restore", "FILE", "make the layout what a file says ('-': standard input)",
      .more = "Pins that it does not have are taken away; sessions that it does not name stay where they are.",
      .sets = { restore_opts, call_json_opts, opt_common }, .run = restore_run },
    { "layout diff", "FILE", "what restore would change; the status is 1 if anything",
      .sets = { call_json_opts, opt_common }, .run = diff_run },
    { 0 },
};
