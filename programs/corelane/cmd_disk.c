/*
 * cmd_disk.c - discovery, sessions and disks: commands to corelaned
 */
#include <stdlib.h>
#include <string.h>

#include "iscsi/name.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/print.h"

/* A login may be tried for login_timeout times initial_login_retry_max, 120 s as open-iscsi has it. */
#define LOGIN_WAIT_S 300u

#define SECRETS                                                                                                \
    "Credentials come from --user and --secret-file, else from the node record or iscsid.conf in "             \
    "corelaned's\n"                                                                                            \
    "--config-dir. Secrets are read from the files, or from the environment variables CORELANE_SECRET and\n"   \
    "CORELANE_SECRET_IN: a command line can be read by every user of the host."

#define TRANSPORT                                                                                              \
    { "transport", 0, OPT_WORD, .key = "transport", .arg = "auto|tcp|shm",                                    \
      .help = "what carries the session (default: the node's, auto: shared memory on one host)" }

static const struct opt cred_opts[] = {
    { "user", 0, OPT_TEXT, .key = "user", .arg = "NAME", .help = "CHAP name that we prove" },
    { "secret-file", 0, OPT_TEXT, .arg = "FILE", .help = "its first line is the secret; - is standard input" },
    { "user-in", 0, OPT_TEXT, .key = "user_in", .arg = "NAME", .help = "CHAP name that the target must prove" },
    { "secret-in-file", 0, OPT_TEXT, .arg = "FILE", .help = "and its secret" },
    { 0 },
};
static const struct opt login_opts[] = {
    { "portal", 'p', OPT_TEXT, .key = "portal", .arg = "ADDR[:PORT]", .help = "where the target listens" },
    { "sessions", 0, OPT_NUM, .key = "sessions", .arg = "N", .lo = 1, .hi = 1024,
      .help = "bring the number of sessions up to N, each on a core of its own (default: the node's nr_sessions, 1)" },
    { "header-digest", 0, OPT_TEXT, .key = "header_digest", .arg = "LIST",
      .help = "None, CRC32C, or both in order of preference" },
    { "data-digest", 0, OPT_TEXT, .key = "data_digest", .arg = "LIST", .help = "the same for data" },
    TRANSPORT,
    { 0 },
};
static const struct opt logout_opts[] = {
    { "portal", 'p', OPT_TEXT, .key = "portal", .arg = "ADDR[:PORT]",
      .help = "only the sessions to this portal" },
    { "force", 0, OPT_FLAG, .key = "force", .help = "detach the disks first, even those in use" },
    { 0 },
};
static const struct opt attach_opts[] = {
    { "portal", 'p', OPT_TEXT, .key = "portal", .arg = "ADDR[:PORT]", .help = "where the target listens" },
    { "lun", 0, OPT_NUM, .key = "lun", .arg = "N", .lo = 0, .hi = 16383, .help = "which of its LUNs" },
    { "export", 0, OPT_WORD, .key = "export", .arg = "auto|ublk|nbd|fuse|none",
      .help = "what kind of disk (default: auto, the best that works here)" },
    { "readonly", 0, OPT_FLAG, .key = "readonly", .help = "a disk that cannot be written to" },
    { "name", 0, OPT_TEXT, .key = "name", .arg = "NAME",
      .help = "what to call it (default: made from IQN and LUN)" },
    TRANSPORT,
    { 0 },
};
static const struct opt detach_opts[] = {
    { "force", 0, OPT_FLAG, .key = "force",
      .help = "even while it is mounted or open: what is under way fails" },
    { 0 },
};

/* ---- what the tables cannot say -------------------------------------------------------------------------- */

static int creds_prepare(const struct opts *o, json_t *params)
{
    int status = -1;

    if (opt_has(o, "secret-file") && !json_object_get(params, "user"))
        return opt_usage(o->prog, o->cmd, "--secret-file needs --user");
    if (opt_has(o, "secret-in-file") && !opt_has(o, "user-in"))
        return opt_usage(o->prog, o->cmd, "--secret-in-file needs --user-in");
    if (opt_has(o, "user"))
        status = secret_param(o, "secret-file", "CORELANE_SECRET", "secret", params);
    if (status < 0 && opt_has(o, "user") && !json_object_get(params, "secret"))
        status =
            opt_usage(o->prog, o->cmd, "--user needs a secret: give --secret-file, or set CORELANE_SECRET");
    if (status < 0 && opt_has(o, "user-in"))
        status = secret_param(o, "secret-in-file", "CORELANE_SECRET_IN", "secret_in", params);
    if (status < 0 && opt_has(o, "user-in") && !json_object_get(params, "secret_in"))
        status = opt_usage(o->prog, o->cmd,
                           "--user-in needs a secret: give --secret-in-file, or set CORELANE_SECRET_IN");
    return status;
}

static int portal_check(const struct opts *o, const char *text)
{
    struct iscsi_portal portal;
    const char *wrong = iscsi_portal_parse(&portal, text);

    return wrong ? opt_usage(o->prog, o->cmd, "portal '%s': %s", text, wrong) : -1;
}

static int portal_needed(const struct opts *o)
{
    const char *text = opt_text(o, "portal", NULL);

    return text ? portal_check(o, text)
                : opt_usage(o->prog, o->cmd, "--portal is missing: where does the target listen?");
}

static int discover_prepare(const struct opts *o, json_t *params)
{
    const int status = portal_check(o, o->operand[0]);

    return status < 0 ? creds_prepare(o, params) : status;
}

static int login_prepare(const struct opts *o, json_t *params)
{
    const int status = portal_needed(o);

    return status < 0 ? creds_prepare(o, params) : status;
}

static int logout_prepare(const struct opts *o, json_t *params)
{
    return opt_has(o, "portal") ? portal_needed(o) : -1;
}

static int url_params(const struct opts *o, json_t *params)
{
    char portal[ISCSI_PORTAL_STR_MAX];
    struct iscsi_url url;
    const char *wrong = iscsi_url_parse(&url, o->operand[0]);

    if (wrong)
        return opt_usage(o->prog, o->cmd, "'%s': %s", o->operand[0], wrong);
    if (opt_has(o, "portal") || opt_has(o, "lun"))
        return opt_usage(o->prog, o->cmd, "the URL says portal and LUN: leave --portal and --lun out");
    if (*url.user && opt_has(o, "user"))
        return opt_usage(o->prog, o->cmd,
                         "the URL says the user: leave --user out, or the user out of the URL");
    iscsi_portal_format(&url.portal, portal);
    json_object_set_new(params, "iqn", json_string(url.target));
    json_object_set_new(params, "portal", json_string(portal));
    json_object_set_new(params, "lun", json_integer(url.lun));
    if (!*url.user)
        return -1;
    json_object_set_new(params, "user", json_string(url.user));
    if (*url.secret) {
        json_object_set_new(params, "secret", json_string(url.secret));
        return -1;
    }
    return secret_param(o, "secret-file", "CORELANE_SECRET", "secret", params);
}

static int attach_prepare(const struct opts *o, json_t *params)
{
    int status = -1;

    if (!strncmp(o->operand[0], "iscsi:", 6)) {
        status = url_params(o, params);
    } else {
        if (json_object_set_new(params, "iqn", json_string(o->operand[0])))
            return opt_usage(o->prog, o->cmd, "'%s' is not UTF-8 text", o->operand[0]);
        status = portal_needed(o);
        if (status < 0 && !opt_has(o, "lun"))
            status = opt_usage(o->prog, o->cmd,
                               "--lun is missing: which LUN of the target? 'corelane lun list' at the "
                               "target shows them; the first is 0");
    }
    return status < 0 ? creds_prepare(o, params) : status;
}

/* ---- printing -------------------------------------------------------------------------------------------- */

/* As open-iscsi prints them: "192.0.2.1:3260,1 iqn...". */
static void discover_print(const struct opts *o, const json_t *result)
{
    char text[CELL_LEN_MAX], name[CELL_LEN_MAX];
    size_t i, j;
    json_t *found, *portal;

    json_array_foreach(result, i, found)
    {
        cell_format(json_object_get(found, "iqn"), CELL_TEXT, name);
        json_array_foreach(json_object_get(found, "portals"), j, portal)
        {
            cell_format(portal, CELL_TEXT, text);
            printf("%s %s\n", text, name);
        }
    }
    if (!json_array_size(result))
        fprintf(stderr, "%s: no targets there for this initiator\n", o->prog);
}

static void login_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "SESSION", "name", CELL_TEXT },  { "STATE", "state", CELL_TEXT },
        { "CORE", "core", CELL_TEXT },     { "OVER", "transport", CELL_TEXT },
        { "TARGET", "target", CELL_TEXT }, { "PORTAL", "portal", CELL_TEXT },
        { "WHY THIS CORE", "why", CELL_TEXT },
    };
    table(result, columns, "No sessions.");
}

/* The path alone on stdout, so that a script can take it as it is. */
static void attach_print(const struct opts *o, const json_t *result)
{
    const char *path = json_string_value(json_object_get(result, "path"));
    const char *why = json_string_value(json_object_get(result, "why"));

    if (why && *why && !strcmp(opt_text(o, "export", "auto"), "auto"))
        fprintf(stderr, "%s: %s\n", o->prog, why);
    puts(path && *path ? path : text_of(result, "name"));
}

static void list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "NAME", "name", CELL_TEXT },       { "PATH", "path", CELL_TEXT },
        { "STATE", "state", CELL_TEXT },     { "SIZE", "size", CELL_SIZE },
        { "EXPORT", "export", CELL_TEXT },   { "SESSION", "session", CELL_TEXT },
        { "CORE", "core", CELL_TEXT },       { "IN FLIGHT", "in_flight", CELL_TEXT },
        { "READ", "read_bytes", CELL_SIZE }, { "WRITTEN", "write_bytes", CELL_SIZE },
        { "ERRORS", "errors", CELL_TEXT },
    };
    table(result, columns, "No disks. Attach one with 'corelane attach IQN --portal ADDR --lun N'.");
}

/* ---- the table ------------------------------------------------------------------------------------------- */

/* clang-format off */
#define IQN { "iqn", OPT_TEXT }
#define CALL(m, ...) \
    .run = call_run, .data = &(const struct call){ .daemon = DAEMON_INITIATOR, .method = m, __VA_ARGS__ }
/* clang-format on */

const struct cmd cmds_disk[] = {
    { "discover", "ADDR[:PORT]", "ask a portal which targets there are, and keep them as node records",
      .more = "Prints ADDR:PORT,GROUP IQN for each. Records that exist are left as they are.\n\n" SECRETS,
      .sets = { cred_opts, call_json_opts, opt_common },
      CALL("discover", .operand = { { "portal", OPT_TEXT } }, .prepare = discover_prepare,
           .print = discover_print) },
    { "login", "IQN", "log in to a target, each session on a core of its own",
      .more = "Not needed before 'corelane attach', which logs in by itself where there is no session "
              "yet.\n\n" SECRETS,
      .sets = { login_opts, cred_opts, call_json_opts, opt_common },
      CALL("login", .operand = { IQN }, .timeout_s = LOGIN_WAIT_S, .prepare = login_prepare,
           .print = login_print) },
    { "logout", "IQN", "end the sessions to a target", .sets = { logout_opts, call_json_opts, opt_common },
      CALL("logout", .operand = { IQN }, .timeout_s = LOGIN_WAIT_S, .prepare = logout_prepare) },
    { "attach", "IQN|URL", "make a LUN a disk of this host",
      .more = "Give IQN with --portal and --lun, or iscsi://[USER%SECRET@]ADDR[:PORT]/IQN/LUN. Returns when "
              "the disk can be\n"
              "used, and prints its path (its name with --export none).\n\n" SECRETS,
      .sets = { attach_opts, cred_opts, call_json_opts, opt_common },
      CALL("attach", .operand = { { NULL, OPT_TEXT } }, .timeout_s = LOGIN_WAIT_S, .prepare = attach_prepare,
           .print = attach_print) },
    { "detach list", NULL, "the same as 'corelane list'", .sets = { call_json_opts, opt_common },
      CALL("list", .print = list_print) },
    { "detach", "NAME", "take a disk away, by its name or path",
      .sets = { detach_opts, call_json_opts, opt_common },
      CALL("detach", .operand = { { "name", OPT_TEXT } }, .timeout_s = LOGIN_WAIT_S) },
    { "list", NULL, "show the disks", .sets = { call_json_opts, opt_common },
      CALL("list", .print = list_print) },
    { 0 },
};
