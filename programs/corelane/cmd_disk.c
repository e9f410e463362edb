/*
 * cmd_disk.c - discovery, sessions and disks: commands to corelaned
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi/name.h"
#include "programs/common/text.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/print.h"
#include "programs/corelane/where.h"

/* A login may be tried for login_timeout times initial_login_retry_max, 120 s as open-iscsi has it. */
#define LOGIN_WAIT_S 300u

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
    { "force", 0, OPT_FLAG, .key = "force", .help = "even where disks stand on them: those without another path are detached, even in use" },
    { 0 },
};
static const struct opt attach_opts[] = {
    { "portal", 'p', OPT_TEXT, .many = true, .arg = "ADDR[:PORT][,sessions=N][,transport=auto|tcp|shm]",
      .help = "where the target listens; each time it is given, one path more (or N)" },
    { "sessions", 0, OPT_NUM, .key = "sessions", .arg = "N", .lo = 1, .hi = 64,
      .help = "how many sessions to each portal, each a path on a core of its own (default: the node's nr_sessions, 1)" },
    { "lun", 0, OPT_NUM, .key = "lun", .arg = "N", .lo = 0, .hi = 16383, .help = "which of its LUNs" },
    { "export", 0, OPT_WORD, .key = "export", .arg = "auto|ublk|nbd|fuse|none",
      .help = "what kind of disk (default: auto, the best that works here)" },
    { "separate", 0, OPT_FLAG, .key = "separate",
      .help = "a disk of its own, or nothing: not a path of the disk that the LUN may be already" },
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

static int portal_needed(const struct opts *o)
{
    const char *text = opt_text(o, "portal", NULL);

    return text ? where_portal(o, text)
                : opt_usage(o->prog, o->cmd, "--portal is missing: where does the target listen?");
}

static int discover_prepare(const struct opts *o, json_t *params)
{
    const int status = where_portal(o, o->operand[0]);

    return status < 0 ? where_creds(o, params) : status;
}

static int login_prepare(const struct opts *o, json_t *params)
{
    const int status = portal_needed(o);

    return status < 0 ? where_creds(o, params) : status;
}

static int logout_prepare(const struct opts *o, json_t *params)
{
    return opt_has(o, "portal") ? portal_needed(o) : -1;
}

/* "ADDR:PORT,sessions=2,transport=tcp" as an object. Return: -1 to go on, else the exit status. */
static int portal_object(const struct opts *o, const char *given, json_t *list)
{
    char text[512], *at = text, *word;
    json_t *e = json_object();
    uint64_t n;

    json_array_append_new(list, e);
    if (strlen(given) >= sizeof(text))
        return opt_usage(o->prog, o->cmd, "--portal %.64s...: too long", given);
    snprintf(text, sizeof(text), "%s", given);
    word = strsep(&at, ",");
    if (where_portal(o, word) >= 0)
        return EXIT_USAGE;
    json_object_set_new(e, "portal", json_string(word));
    while ((word = strsep(&at, ","))) {
        if (!strncmp(word, "sessions=", 9) && !number_parse(word + 9, &n) && n >= 1 && n <= 64)
            json_object_set_new(e, "sessions", json_integer((json_int_t)n));
        else if (!strcmp(word, "transport=auto") || !strcmp(word, "transport=tcp") || !strcmp(word, "transport=shm"))
            json_object_set_new(e, "transport", json_string(word + 10));
        else
            return opt_usage(o->prog, o->cmd,
                             "--portal %s: behind the address may stand sessions=1..64 and transport=auto|tcp|shm", given);
    }
    return -1;
}

/* One portal that is nothing but an address is told as ever, for daemons that know of one only. */
static int portals_params(const struct opts *o, json_t *params)
{
    json_t *list = json_array();
    int status = -1;

    for (unsigned i = 0; status < 0 && i < o->given_nr; i++)
        if (!strcmp(o->given[i].opt->name, "portal"))
            status = portal_object(o, o->given[i].text, list);
    if (status < 0 && !json_array_size(list))
        status = opt_usage(o->prog, o->cmd, "--portal is missing: where does the target listen?");
    if (status < 0 && json_array_size(list) == 1 && json_object_size(json_array_get(list, 0)) == 1)
        json_object_set(params, "portal", json_object_get(json_array_get(list, 0), "portal"));
    else if (status < 0)
        json_object_set(params, "portals", list);
    json_decref(list);
    return status;
}

static int attach_prepare(const struct opts *o, json_t *params)
{
    int status = -1;

    if (!strncmp(o->operand[0], "iscsi:", 6)) {
        if (opt_has(o, "portal") || opt_has(o, "lun"))
            return opt_usage(o->prog, o->cmd, "the URL says portal and LUN: leave --portal and --lun out");
        status = where_url(o, o->operand[0], params);
    } else {
        if (json_object_set_new(params, "iqn", json_string(o->operand[0])))
            return opt_usage(o->prog, o->cmd, "'%s' is not UTF-8 text", o->operand[0]);
        status = portals_params(o, params);
        if (status < 0 && !opt_has(o, "lun"))
            status = opt_usage(o->prog, o->cmd,
                               "--lun is missing: which LUN of the target? 'corelane lun list' at the "
                               "target shows them; the first is 0");
    }
    return status < 0 ? where_creds(o, params) : status;
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

    if (json_object_get(result, "joined"))
        fprintf(stderr, "%s: %s\n", o->prog, text_of(result, "joined"));
    if (why && *why && !strcmp(opt_text(o, "export", "auto"), "auto"))
        fprintf(stderr, "%s: %s\n", o->prog, why);
    puts(path && *path ? path : text_of(result, "name"));
}

static void list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "NAME", "name", CELL_TEXT },           { "PATH", "path", CELL_TEXT },
        { "STATE", "state", CELL_TEXT },         { "SIZE", "size", CELL_SIZE },
        { "EXPORT", "export", CELL_TEXT },       { "PATHS", "paths_shown", CELL_TEXT },
        { "SESSION", "session", CELL_TEXT },     { "CORE", "core", CELL_TEXT },
        { "IN FLIGHT", "in_flight", CELL_TEXT }, { "READ", "read_bytes", CELL_SIZE },
        { "WRITTEN", "write_bytes", CELL_SIZE }, { "ERRORS", "errors", CELL_TEXT },
    };
    char paths[32];
    size_t i;
    json_t *d;

    json_array_foreach(result, i, d)
    {
        const uint64_t all = num_of(d, "paths"), up = num_of(d, "paths_up");

        if (up == all)
            snprintf(paths, sizeof(paths), "%" PRIu64, all);
        else
            snprintf(paths, sizeof(paths), "%" PRIu64 "/%" PRIu64, up, all);
        json_object_set_new(d, "paths_shown", json_string(paths));
    }
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
      .sets = { where_cred_opts, call_json_opts, opt_common },
      CALL("discover", .operand = { { "portal", OPT_TEXT } }, .prepare = discover_prepare,
           .print = discover_print) },
    { "login", "IQN", "log in to a target, each session on a core of its own",
      .more = "Not needed before 'corelane attach', which logs in by itself where there is no session "
              "yet.\n\n" SECRETS,
      .sets = { login_opts, where_cred_opts, call_json_opts, opt_common },
      CALL("login", .operand = { IQN }, .timeout_s = LOGIN_WAIT_S, .prepare = login_prepare,
           .print = login_print) },
    { "logout", "IQN", "end the sessions to a target", .sets = { logout_opts, call_json_opts, opt_common },
      CALL("logout", .operand = { IQN }, .timeout_s = LOGIN_WAIT_S, .prepare = logout_prepare) },
    { "attach", "IQN|URL", "make a LUN a disk of this host",
      .more = "Give IQN with --portal and --lun, or iscsi://[USER%SECRET@]ADDR[:PORT]/IQN/LUN. Returns when "
              "the disk can be\n"
              "used, and prints its path (its name with --export none). With several portals or sessions it has as many\n"
              "paths: it can be used over the first that is there, and the others join as they come up; 'corelane path list'\n"
              "shows them. A LUN that is attached already becomes a path of that disk.\n\n" SECRETS,
      .sets = { attach_opts, where_cred_opts, call_json_opts, opt_common },
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
