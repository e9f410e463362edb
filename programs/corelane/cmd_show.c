/*
 * cmd_show.c - what is going on: sessions, daemons
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "programs/common/text.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/print.h"

#define SHOW_TIMEOUT_S 10u

/* ---- sessions -------------------------------------------------------------------------------------------- */

static const struct opt session_opts[] = {
    { "target", 0, OPT_FLAG, .help = "the target daemon's sessions, not the initiator's" },
    { 0 },
};
static const struct opt logout_opts[] = {
    { "target", 0, OPT_FLAG,
      .help = "needed: it is the target daemon that asks (for the initiator: 'corelane logout')" },
    { 0 },
};

static const struct column counters[] = {
    { "commands", "commands", CELL_TEXT },     { "read", "read_bytes", CELL_SIZE },
    { "written", "write_bytes", CELL_SIZE },   { "in flight", "in_flight", CELL_TEXT },
    { "reconnects", "reconnects", CELL_TEXT }, { "resent", "resent", CELL_TEXT },
    { "digest errors", "digest_errors", CELL_TEXT },
    { "timeouts", "timeouts", CELL_TEXT },     { "ping us", "nop_rtt_us", CELL_TEXT },
};
static const struct column facts[] = {
    { "initiator", "initiator", CELL_TEXT },
    { "peer", "peer", CELL_TEXT },
    { "isid", "isid", CELL_TEXT },
    { "tsih", "tsih", CELL_TEXT },
    { "auth", "auth", CELL_TEXT },
    { "header digest", "header_digest", CELL_TEXT },
    { "data digest", "data_digest", CELL_TEXT },
};

/* "    commands 12, read 4.0M": what of the columns the session has. */
static void facts_print(const json_t *s, const struct column *c, size_t nr)
{
    const char *sep = "    ";

    for (size_t i = 0; i < nr; i++) {
        const json_t *v = json_object_get(s, c[i].key);
        char text[CELL_LEN_MAX];

        if (!v)
            continue;
        cell_format(v, c[i].cell, text);
        printf("%s%s %s", sep, c[i].title, text);
        sep = ", ";
    }
    putchar('\n');
}

/* What was negotiated goes by the RFC's own names, which begin with a capital. */
static void negotiated_print(json_t *s)
{
    char text[CELL_LEN_MAX];
    const char *key;
    unsigned n = 0;
    json_t *v;

    json_object_foreach(s, key, v)
    {
        if (!isupper((unsigned char)*key))
            continue;
        cell_format(v, CELL_TEXT, text);
        printf("%s%s=%s", n % 4 ? " " : n ? "\n    " : "    ", key, text);
        n++;
    }
    if (n)
        putchar('\n');
}

static void session_print(const struct opts *o, const json_t *result)
{
    static const char *const head[] = { "state", "core", "transport", "target", "portal" };
    static const struct column reasons[] = {
        { "transport", "transport_why", CELL_TEXT },
        { "placed", "why", CELL_TEXT },
        { "last error", "last_error", CELL_TEXT },
    };
    char text[CELL_LEN_MAX];
    size_t i;
    json_t *s;

    if (!json_array_size(result))
        fprintf(
            stderr, "No sessions.%s\n",
            opt_has(o, "target")
                ? ""
                : " (Of the initiator; 'corelane session list --target' shows those of this host's target.)");
    json_array_foreach(result, i, s)
    {
        const json_t *name = json_object_get(s, "name");

        cell_format(name ? name : json_object_get(s, "id"), CELL_TEXT, text);
        printf("%s", text);
        for (size_t j = 0; j < sizeof(head) / sizeof(head[0]); j++) {
            cell_format(json_object_get(s, head[j]), CELL_TEXT, text);
            printf("  %s%s", j == 1 ? "core " : "", text);
        }
        putchar('\n');
        facts_print(s, facts, sizeof(facts) / sizeof(facts[0]));
        negotiated_print(s);
        facts_print(s, counters, sizeof(counters) / sizeof(counters[0]));
        for (size_t j = 0; j < sizeof(reasons) / sizeof(reasons[0]); j++) {
            const char *words = json_string_value(json_object_get(s, reasons[j].key));

            if (words && *words) {
                cell_format(json_object_get(s, reasons[j].key), CELL_TEXT, text);
                printf("    %s: %s\n", reasons[j].title, text);
            }
        }
    }
}

static int session_list_run(const struct cmd *cmd, const struct opts *o)
{
    json_t *result;

    if (call_daemon(o, opt_has(o, "target") ? DAEMON_TARGET : DAEMON_INITIATOR, "session.list", json_object(),
                    SHOW_TIMEOUT_S, false, &result))
        return 1;
    if (opt_has(o, "json"))
        json_print(result);
    else
        session_print(o, result);
    json_decref(result);
    return 0;
}

static int session_logout_prepare(const struct opts *o, json_t *params)
{
    return opt_has(o, "target") ? -1
                                : opt_usage(o->prog, o->cmd,
                                            "--target is missing: this asks an initiator to leave "
                                            "the target; to log out yourself use 'corelane logout IQN'");
}

static int status_run(const struct cmd *cmd, const struct opts *o)
{
    const char *daemon, *key;
    char text[CELL_LEN_MAX];
    json_t *result, *one, *v;
    int status = call_both(o, "status", &result);

    if (status)
        return status;
    if (opt_has(o, "json")) {
        json_print(result);
        json_decref(result);
        return 0;
    }
    json_object_foreach(result, daemon, one)
    {
        if (json_is_null(one)) {
            printf("%s: not running\n", daemon);
            continue;
        }
        printf("%s: running\n", daemon);
        json_object_foreach(one, key, v)
        {
            cell_format(v, CELL_TEXT, text);
            printf("    %-14s %s\n", key, text);
        }
    }
    json_decref(result);
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

const struct cmd cmds_show[] = {
    { "session list", NULL, "show sessions: state, core, portal, what was negotiated, counters",
      .more = "The initiator's sessions; with --target those of the target daemon.",
      .sets = { session_opts, call_json_opts, opt_common }, .run = session_list_run },
    { "session logout", "ID", "ask an initiator to log out of the target (ID as in 'session list --target')",
      .sets = { logout_opts, call_json_opts, opt_common }, .run = call_run,
      .data = &(const struct call){ .daemon = DAEMON_TARGET,
                                    .method = "session.logout",
                                    .operand = { { "id", OPT_NUM } },
                                    .prepare = session_logout_prepare } },
    { "status", NULL, "show which daemons run and what they serve",
      .more = "With --json: an object with the answer of each daemon, null for one that does not run.",
      .sets = { call_json_opts, opt_common }, .run = status_run },
    { 0 },
};
