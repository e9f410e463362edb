/*
 * cmd_path.c - the paths of disks: commands to corelaned
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "programs/common/text.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/print.h"
#include "programs/corelane/where.h"

#define LOGIN_WAIT_S 300u
#define FOLLOW_S     1u

static const struct opt add_opts[] = {
    TRANSPORT,
    { 0 },
};
static const struct opt set_opts[] = {
    { "weight", 0, OPT_NUM, .key = "weight", .arg = "N", .lo = 1, .hi = 1000,
      .help = "weighted and service-time: its part of all requests (default: 1)" },
    { "prio", 0, OPT_NUM, .key = "prio", .arg = "N", .lo = 0, .hi = 1000,
      .help = "the larger the sooner it is used, among paths of the same access state; 0: by that state "
              "(default)" },
    { 0 },
};
static const struct opt policy_opts[] = {
    { "scope", 0, OPT_WORD, .arg = "nexus|lun",
      .help = "whose queue counts: all that is under way on the path's session, or this disk's part of it" },
    { "unit", 0, OPT_WORD, .arg = "requests|bytes", .help = "what is counted" },
    { "grouping", 0, OPT_WORD, .arg = "group_by_prio|multibus|failover|group_by_tpg",
      .help = "which paths are used together" },
    { "failback", 0, OPT_TEXT, .arg = "immediate|manual|SECONDS",
      .help = "when a better group is used again once it can be" },
    { "no-path", 0, OPT_TEXT, .arg = "queue|fail|SECONDS",
      .help = "what becomes of requests with no path left: they wait, fail, or wait so long" },
    { "rr-min-io", 0, OPT_NUM, .arg = "N", .lo = 1, .hi = 1000000,
      .help = "round-robin: requests before the next path" },
    { "suspect-ms", 0, OPT_NUM, .arg = "MS", .lo = 0, .hi = 3600000,
      .help = "how long a path may be silent before it is asked for a sign of life, and again before it is "
              "given up; 0: "
              "never asked" },
    { "marginal-fails", 0, OPT_NUM, .arg = "N", .lo = 0, .hi = 1000,
      .help = "so many failures within the window make a path marginal: it is used when no other can be; 0: "
              "never" },
    { "marginal-window", 0, OPT_NUM, .arg = "SECONDS", .lo = 1, .hi = 86400, .help = "that window" },
    { "marginal-hold", 0, OPT_NUM, .arg = "SECONDS", .lo = 1, .hi = 86400, .help = "and for how long" },
    { "reset", 0, OPT_FLAG, .help = "take back what was set by command before" },
    { 0 },
};
static const struct opt reserve_opts[] = {
    { "abort", 0, OPT_FLAG, .key = "abort", .help = "preempt: and abort what the other has under way" },
    { 0 },
};
static const struct opt events_opts[] = {
    { "follow", 'f', OPT_FLAG, .help = "go on, as things happen" },
    { 0 },
};

/* ---- what the tables cannot say -------------------------------------------------------------------------- */

static int add_prepare(const struct opts *o, json_t *params)
{
    const char *where = o->operand[1];
    int status;

    if (!strncmp(where, "iscsi:", 6)) {
        status = where_url(o, where, params);
    } else {
        status = where_portal(o, where);
        json_object_set_new(params, "portal", json_string(where));
    }
    return status < 0 ? where_creds(o, params) : status;
}

static void set_number_or_word(json_t *set, const char *key, const char *text)
{
    uint64_t n;

    json_object_set_new(
        set, key, !number_parse(text, &n) && n <= INT32_MAX ? json_integer((json_int_t)n) : json_string(text));
}

static int set_prepare(const struct opts *o, json_t *params)
{
    return opt_has(o, "weight") || opt_has(o, "prio") ? -1
                                                      : opt_usage(o->prog, o->cmd, "say --weight or --prio");
}

/* The settings that were given, by the names that the method has for them. */
static int policy_prepare(const struct opts *o, json_t *params)
{
    static const struct {
        const char *opt, *key;
    } rows[] = {
        { "scope", "scope" },
        { "unit", "unit" },
        { "grouping", "grouping" },
        { "failback", "failback" },
        { "no-path", "no_path" },
        { "rr-min-io", "rr_min_io" },
        { "suspect-ms", "suspect_ms" },
        { "marginal-fails", "marginal_fails" },
        { "marginal-window", "marginal_window_s" },
        { "marginal-hold", "marginal_hold_s" },
    };
    const int status =
        opt_operand_word(o, 1, "POLICY", "least-queue-depth|round-robin|service-time|failover-only|weighted");
    json_t *set;

    if (status >= 0)
        return status;
    set = json_object();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (opt_has(o, "reset"))
            json_object_set_new(set, rows[i].key, json_null());
        if (opt_has(o, rows[i].opt))
            set_number_or_word(set, rows[i].key, opt_text(o, rows[i].opt, ""));
    }
    if (opt_has(o, "reset"))
        json_object_set_new(set, "policy", json_null());
    if (o->operand_nr > 1)
        json_object_set_new(set, "policy", json_string(o->operand[1]));
    json_object_set_new(params, "set", set);
    return -1;
}

/* DISK ACTION [KEY|TYPE] */
static int reserve_prepare(const struct opts *o, json_t *params)
{
    const char *action = o->operand[1], *arg = o->operand_nr > 2 ? o->operand[2] : NULL;
    const bool key = !strcmp(action, "register") || !strcmp(action, "preempt"),
               type = !strcmp(action, "reserve");
    const int status =
        opt_operand_word(o, 1, "ACTION", "show|register|unregister|reserve|release|preempt|clear");

    if (status >= 0)
        return status;
    if (arg && !key && !type)
        return opt_usage(o->prog, o->cmd, "'%s' is one argument too many: %s takes none", arg, action);
    if (!arg && (type || !strcmp(action, "preempt")))
        return opt_usage(o->prog, o->cmd, type ? "reserve takes a TYPE" : "preempt takes a KEY");
    if (opt_has(o, "abort") && strcmp(action, "preempt"))
        return opt_usage(o->prog, o->cmd, "--abort is for preempt");
    if (arg && json_object_set_new(params, key ? "key" : "type", json_string(arg)))
        return opt_usage(o->prog, o->cmd, "'%s' is not UTF-8 text", arg);
    return -1;
}

/* ---- printing -------------------------------------------------------------------------------------------- */

static void add_print(const struct opts *o, const json_t *result)
{
    printf("%s\n", text_of(result, "name"));
}

static void list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "DISK", "disk", CELL_TEXT },
        { "PATH", "name", CELL_TEXT },
        { "STATE", "state", CELL_TEXT },
        { "SESSION", "session", CELL_TEXT },
        { "CORE", "core", CELL_TEXT },
        { "OVER", "transport", CELL_TEXT },
        { "PORTAL", "portal", CELL_TEXT },
        { "ALUA", "alua_state", CELL_TEXT },
        { "IN FLIGHT", "in_flight", CELL_TEXT },
        { "REQUESTS", "requests", CELL_TEXT },
        { "ERRORS", "errors", CELL_TEXT },
        { "DOWNS", "downs", CELL_TEXT },
        { "WHY", "why", CELL_TEXT },
    };
    json_t *rows = json_array(), *d, *p;
    size_t i, j;

    json_array_foreach(result, i, d)
    {
        json_array_foreach(json_object_get(d, "paths"), j, p)
        {
            json_t *alua = json_object_get(json_object_get(p, "alua"), "state");

            json_object_set(p, "disk", json_object_get(d, "name"));
            if (alua)
                json_object_set(p, "alua_state", alua);
            json_array_append(rows, p);
        }
    }
    table(rows, columns, "No disks. Attach one with 'corelane attach IQN --portal ADDR --lun N'.");
    json_decref(rows);
}

/* "least-queue-depth, scope nexus, ...": one line. */
static void policy_line(const json_t *policy, const char *indent)
{
    static const char *const keys[] = { "scope", "unit", "grouping", "failback", "no_path" };
    char text[CELL_LEN_MAX];

    printf("%s%s", indent, text_of(policy, "policy"));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        cell_format(json_object_get(policy, keys[i]), CELL_TEXT, text);
        printf(", %s %s%s", keys[i], text, json_is_integer(json_object_get(policy, keys[i])) ? " s" : "");
    }
    putchar('\n');
}

static void policy_print(const struct opts *o, const json_t *result)
{
    const json_t *said = json_object_get(result, "said");
    char text[CELL_LEN_MAX];
    const char *key;
    json_t *v;

    json_object_foreach(json_object_get(result, "policy"), key, v)
    {
        cell_format(v, CELL_TEXT, text);
        printf("%-18s %s%s\n", key, text, json_object_get(said, key) ? "  (by command)" : "");
    }
}

/* "-" for what is empty. */
static const char *word_of(const json_t *o, const char *key)
{
    const char *s = text_of(o, key);

    return *s ? s : "-";
}

/* @group_last: no group comes below it, so no line goes down there. */
static void path_line(const json_t *p, bool last, bool group_last)
{
    const char *const side = group_last ? " " : "|";
    const json_t *alua = json_object_get(p, "alua");
    char core[CELL_LEN_MAX];

    cell_format(json_object_get(p, "core"), CELL_TEXT, core);
    printf("%s %s- %s %s %s %s core %s %s", side, last ? "`" : "|", word_of(p, "name"), word_of(p, "session"),
           word_of(p, "portal"), word_of(p, "transport"), core, word_of(p, "state"));
    if (alua)
        printf(" %s tpg %" PRIu64 " port %" PRIu64, word_of(alua, "state"), num_of(alua, "group"),
               num_of(alua, "port"));
    if (json_object_get(p, "requests"))
        printf(" in-flight %" PRIu64 " requests %" PRIu64 " errors %" PRIu64 " downs %" PRIu64,
               num_of(p, "in_flight"), num_of(p, "requests"), num_of(p, "errors"), num_of(p, "downs"));
    putchar('\n');
    if (strcmp(word_of(p, "why"), "-"))
        printf("%s %s    %s\n", side, last ? " " : "|", word_of(p, "why"));
}

/* Those of one group; without one (@group UINT64_MAX): those that are not in the disk. @below: how many paths come in this
 * group and those after it. Return: how many were of it. */
static size_t group_print(const json_t *paths, uint64_t group, size_t below)
{
    size_t n = 0, left = 0;
    bool in_use = false, last;
    uint64_t prio = 0;
    size_t i;
    json_t *p;

    json_array_foreach(paths, i, p)
    {
        if ((json_object_get(p, "group") ? num_of(p, "group") : UINT64_MAX) != group)
            continue;
        in_use |= json_is_true(json_object_get(p, "in_use"));
        prio = num_of(p, "prio");
        left++;
    }
    if (!left)
        return 0;
    last = left == below;
    if (group == UINT64_MAX)
        printf("`-+- not in the disk\n");
    else
        printf("%s-+- group %" PRIu64 " prio=%" PRIu64 " status=%s\n", last ? "`" : "|", group, prio,
               in_use ? "active" : "enabled");
    json_array_foreach(paths, i, p)
    {
        if ((json_object_get(p, "group") ? num_of(p, "group") : UINT64_MAX) != group)
            continue;
        path_line(p, !--left, last);
        n++;
    }
    return n;
}

/* As `multipath -ll` draws it. */
static void topology_print(const struct opts *o, const json_t *result)
{
    char size[CELL_LEN_MAX], core[CELL_LEN_MAX];
    size_t i;
    json_t *d;

    if (!json_array_size(result))
        fprintf(stderr, "No disks.\n");
    json_array_foreach(result, i, d)
    {
        const json_t *paths = json_object_get(d, "paths");
        const size_t nr = json_array_size(paths);
        size_t shown = 0;

        cell_format(json_object_get(d, "size"), CELL_SIZE, size);
        cell_format(json_object_get(d, "core"), CELL_TEXT, core);
        printf("%s (%s) %s %s,%s\n", word_of(d, "name"), word_of(d, "wwid"), word_of(d, "path"),
               word_of(d, "vendor"), word_of(d, "product"));
        printf("size=%s state=%s core=%s ro=%s failovers=%" PRIu64 " waited=%" PRIu64 "\n", size,
               word_of(d, "state"), core, json_is_true(json_object_get(d, "readonly")) ? "yes" : "no",
               num_of(d, "failovers"), num_of(d, "waited"));
        if (json_is_object(json_object_get(d, "policy")))
            policy_line(json_object_get(d, "policy"), "policy=");
        for (uint64_t group = 0; group < 64 && shown < nr; group++)
            shown += group_print(paths, group, nr - shown);
        group_print(paths, UINT64_MAX, nr - shown);
    }
}

static void reserve_print(const struct opts *o, const json_t *result)
{
    const json_t *holder = json_object_get(result, "holder");
    char text[CELL_LEN_MAX];
    size_t i;
    json_t *key;

    if (!json_object_get(result, "keys"))
        return;
    cell_format(json_object_get(result, "key"), CELL_TEXT, text);
    printf("this host's key: %s\n", text);
    printf("registered keys:%s\n", json_array_size(json_object_get(result, "keys")) ? "" : " none");
    json_array_foreach(json_object_get(result, "keys"), i, key) printf("    %s\n", json_string_value(key));
    if (json_is_object(holder)) /* of all registrants no key is the holder's */
        printf("reserved: %s, by %s\n", text_of(holder, "type"),
               strstr(text_of(holder, "type"), "all-registrants") ? "all that are registered"
                                                                  : text_of(holder, "key"));
    else
        printf("reserved: no\n");
}

static void reconfigure_print(const struct opts *o, const json_t *result)
{
    if (!json_is_true(json_object_get(result, "there")))
        printf("%s is not there: defaults hold\n", text_of(result, "file"));
    else if (num_of(result, "remarks"))
        printf("%s was read; %" PRIu64 " remark%s, in corelaned's log\n", text_of(result, "file"),
               num_of(result, "remarks"), num_of(result, "remarks") == 1 ? "" : "s");
    else
        printf("%s was read\n", text_of(result, "file"));
}

/* ---- events ---------------------------------------------------------------------------------------------- */

static void event_print(const json_t *e)
{
    const time_t at = (time_t)num_of(e, "time_s");
    const char *path = text_of(e, "path");
    char when[32] = "";
    struct tm tm;

    if (localtime_r(&at, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s %-7s %s", when, text_of(e, "level"), text_of(e, "disk"));
    if (*path && strcmp(path, "-"))
        printf(" %s", path);
    printf(": %s\n", text_of(e, "text"));
}

static int events_run(const struct cmd *cmd, const struct opts *o)
{
    uint64_t after = 0;
    json_t *result, *e;
    size_t i;

    do {
        if (call_daemon(o, DAEMON_INITIATOR, "path.events", json_pack("{s:I}", "after", (json_int_t)after), 10,
                        false, &result))
            return 1;
        if (num_of(result, "last") < after) {
            after = 0; /* another daemon: from its beginning */
            json_decref(result);
            continue;
        }
        if (opt_has(o, "json") && !opt_has(o, "follow"))
            json_print(json_object_get(result, "events"));
        else
            json_array_foreach(json_object_get(result, "events"), i, e)
            {
                if (opt_has(o, "json")) {
                    json_dumpf(e, stdout, JSON_COMPACT);
                    putchar('\n');
                } else {
                    event_print(e);
                }
            }
        after = num_of(result, "last");
        json_decref(result);
        if (fflush(stdout))
            return 1;
    } while (opt_has(o, "follow") && !sleep(FOLLOW_S));
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

/* clang-format off */
#define DISK { "disk", OPT_TEXT }
#define PATH { "path", OPT_TEXT }
#define CALL(m, ...) \
    .run = call_run, .data = &(const struct call){ .daemon = DAEMON_INITIATOR, .method = m, __VA_ARGS__ }
/* clang-format on */

const struct cmd cmds_path[] = {
    { "path list", "[DISK]", "show the paths of disks: state, session, core, counters",
      .more = "With --json: every disk, its policy, and all there is to say of its paths.",
      .sets = { call_json_opts, opt_common }, CALL("path.list", .operand = { DISK }, .print = list_print) },
    { "path topology", "[DISK]", "show disks, groups and paths as 'multipath -ll' does",
      .sets = { call_json_opts, opt_common }, CALL("path.list", .operand = { DISK }, .print = topology_print) },
    { "path add", "DISK PORTAL|URL", "one more path to a disk",
      .more = "PORTAL is another portal of the first path's target, or one that is a path already: then it is "
              "one more "
              "session\n"
              "to it. A URL names another target that has the same LUN. It is refused where another LUN "
              "answers. Prints "
              "the path's\n"
              "name.\n\n" SECRETS,
      .sets = { add_opts, where_cred_opts, call_json_opts, opt_common },
      CALL("path.add", .operand = { DISK, { NULL, OPT_TEXT } }, .timeout_s = LOGIN_WAIT_S,
           .prepare = add_prepare, .print = add_print) },
    { "path remove", "DISK PATH",
      "take a path away; what is under way there is answered first, or goes elsewhere",
      .sets = { call_json_opts, opt_common },
      CALL("path.remove", .operand = { DISK, PATH }, .timeout_s = LOGIN_WAIT_S) },
    { "path fail", "DISK PATH", "send nothing over a path until it is reinstated",
      .more = "PATH is a name of 'corelane path list' (p1, or 1), or its session's.",
      .sets = { call_json_opts, opt_common }, CALL("path.fail", .operand = { DISK, PATH }) },
    { "path reinstate", "DISK PATH",
      "use a path again that was failed, is marginal, or waits to be tried again",
      .sets = { call_json_opts, opt_common }, CALL("path.reinstate", .operand = { DISK, PATH }) },
    { "path set", "DISK PATH", "set a path's weight or priority",
      .sets = { set_opts, call_json_opts, opt_common },
      CALL("path.set", .operand = { DISK, PATH }, .prepare = set_prepare) },
    { "path policy", "DISK [POLICY]", "show or set how a disk chooses among its paths",
      .more =
          "POLICY is least-queue-depth, round-robin, service-time, failover-only or weighted. What is set "
          "holds until "
          "the disk is\n"
          "detached, over restarts too, and goes before /etc/multipath.conf, which goes before the defaults.",
      .sets = { policy_opts, call_json_opts, opt_common },
      CALL("path.policy", .operand = { DISK }, .prepare = policy_prepare, .print = policy_print) },
    { "path resume", "DISK", "try all paths at once, and have requests wait again that were to fail",
      .sets = { call_json_opts, opt_common }, CALL("path.resume", .operand = { DISK }) },
    { "path fail-queued", "DISK",
      "with no path left: fail the requests that wait, and new ones until one is back",
      .sets = { call_json_opts, opt_common }, CALL("path.fail_queued", .operand = { DISK }) },
    { "path reconfigure", NULL, "read /etc/multipath.conf again", .sets = { call_json_opts, opt_common },
      CALL("path.reconfigure", .print = reconfigure_print) },
    { "path events", NULL, "show what happened to disks and their paths",
      .sets = { events_opts, call_json_opts, opt_common }, .run = events_run },
    { "reserve", "DISK ACTION [KEY|TYPE]", "persistent reservations, over all paths of a disk",
      .more = "ACTION is show, register [KEY], unregister, reserve TYPE, release, preempt KEY, or clear. KEY "
              "is up to "
              "16 hex digits;\n"
              "register takes the reservation_key of /etc/multipath.conf where none is given. TYPE is "
              "write-exclusive or\n"
              "exclusive-access, for disks of several paths with -registrants-only or -all-registrants behind "
              "it. A\n"
              "registration is kept with the disk: paths that come later register before they are used.",
      .sets = { reserve_opts, call_json_opts, opt_common },
      CALL("reserve", .operand = { DISK, { "action", OPT_TEXT } }, .prepare = reserve_prepare,
           .print = reserve_print) },
    { 0 },
};
