/*
 * cmd_target.c - targets, LUNs, who may use them: commands to corelane-targetd
 */
#include <stdlib.h>
#include <string.h>

#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/print.h"

#define LUN_MAX      16383u /* flat space addressing, SAM */
#define LUN_SIZE_MAX (1ull << 62)

/* ---- options --------------------------------------------------------------------------------------------- */

static const struct opt force_opts[] = {
    { "force", 0, OPT_FLAG, .key = "force", .help = "even while sessions use it" },
    { 0 },
};
static const struct opt lun_create_opts[] = {
    { "file", 0, OPT_TEXT, .arg = "PATH",
      .help = "a regular file; made if --size is given and it is not there" },
    { "block", 0, OPT_TEXT, .arg = "DEV", .help = "a block device" },
    { "ram", 0, OPT_SIZE, .arg = "SIZE", .lo = 4096, .hi = LUN_SIZE_MAX,
      .help = "memory; its contents end with the daemon" },
    { "null", 0, OPT_SIZE, .arg = "SIZE", .lo = 4096, .hi = LUN_SIZE_MAX,
      .help = "keeps nothing and reads as zeroes: for measurements" },
    { "size", 0, OPT_SIZE, .key = "size", .arg = "SIZE", .lo = 4096, .hi = LUN_SIZE_MAX,
      .help = "size of the file" },
    { "lun", 0, OPT_NUM, .key = "lun", .arg = "N", .lo = 0, .hi = LUN_MAX,
      .help = "its number (default: the lowest free)" },
    { "readonly", 0, OPT_FLAG, .key = "readonly", .help = "refuse writes" },
    { "block-size", 0, OPT_WORD, .arg = "512|4096", .help = "bytes of a logical block (default: 512)" },
    { 0 },
};
static const struct opt acl_add_opts[] = {
    { "lun", 0, OPT_NUM, .many = true, .key = "luns", .arg = "N", .lo = 0, .hi = LUN_MAX,
      .help = "may use this LUN (default: all)" },
    { "readonly", 0, OPT_FLAG, .key = "readonly", .help = "may not write" },
    { 0 },
};
static const struct opt chap_set_opts[] = {
    { "discovery", 0, OPT_FLAG, .key = "discovery", .help = "for discovery sessions, instead of a target" },
    { "user", 0, OPT_TEXT, .key = "user", .arg = "NAME", .help = "CHAP name" },
    { "secret-file", 0, OPT_TEXT, .arg = "FILE", .help = "its first line is the secret; - is standard input" },
    { "direction", 0, OPT_WORD, .key = "direction", .arg = "in|out",
      .help = "in: initiators prove themselves (default); out: the target does" },
    { "initiator", 0, OPT_TEXT, .key = "initiator", .arg = "NAME", .help = "for this initiator only" },
    { "algs", 0, OPT_TEXT, .arg = "LIST",
      .help = "accepted digests, of SHA3-256,SHA256,SHA1,MD5 (default: all)" },
    { 0 },
};
static const struct opt chap_clear_opts[] = {
    { "discovery", 0, OPT_FLAG, .key = "discovery", .help = "of discovery sessions, instead of a target" },
    { "user", 0, OPT_TEXT, .key = "user", .arg = "NAME",
      .help = "only this one (default: all of that direction)" },
    { "direction", 0, OPT_WORD, .key = "direction", .arg = "in|out", .help = "default: in" },
    { 0 },
};
static const struct opt portal_add_opts[] = {
    { "group", 0, OPT_NUM, .key = "group", .arg = "N", .lo = 1, .hi = 65535,
      .help = "tag of the portal group it belongs to (default: 1)" },
    { 0 },
};
static const struct opt portal_remove_opts[] = {
    { "force", 0, OPT_FLAG, .key = "force", .help = "even while sessions use it: they are ended" },
    { 0 },
};
static const struct opt alua_set_opts[] = {
    { "group", 0, OPT_NUM, .key = "group", .arg = "N", .lo = 1, .hi = 65535,
      .help = "the portal group (required)" },
    { "state", 0, OPT_WORD, .key = "state", .arg = "optimized|non-optimized|standby|unavailable|offline",
      .help = "how well its ports reach the LUNs (required)" },
    { "lun", 0, OPT_NUM, .key = "lun", .arg = "N", .lo = 0, .hi = LUN_MAX,
      .help = "for this LUN only (default: all, also those to come)" },
    { "preferred", 0, OPT_FLAG, .key = "preferred",
      .help = "the group is a preferred one (default: it is not)" },
    { "transition-ms", 0, OPT_NUM, .key = "transition_ms", .arg = "MS", .lo = 0, .hi = 60000,
      .help = "the group is in transition for so long first (default: 0)" },
    { 0 },
};

/* ---- what the tables cannot say -------------------------------------------------------------------------- */

static int lun_create_prepare(const struct opts *o, json_t *params)
{
    static const char *const kinds[] = { "file", "block", "ram", "null" };
    const struct opt_given *kind = NULL;

    for (unsigned i = 0; i < 4; i++) {
        const struct opt_given *g = opt_get(o, kinds[i]);

        if (g && kind)
            return opt_usage(o->prog, o->cmd, "--%s and --%s: a LUN is one of them", kind->opt->name,
                             g->opt->name);
        kind = g ? g : kind;
    }
    if (!kind)
        return opt_usage(o->prog, o->cmd, "what is behind the LUN? Give --file, --block, --ram or --null");
    if (opt_has(o, "size") && strcmp(kind->opt->name, "file"))
        return opt_usage(o->prog, o->cmd,
                         "--size is for --file only: --ram and --null have theirs, a device has its own");
    json_object_set_new(params, "kind", json_string(kind->opt->name));
    if (kind->opt->kind == OPT_SIZE)
        json_object_set_new(params, "size", json_integer((json_int_t)kind->num));
    else if (*kind->text == '/')
        json_object_set_new(params, "path", json_string(kind->text));
    else /* the daemon's working directory is another */
        return opt_usage(o->prog, o->cmd, "--%s %s: give the whole path, from / on", kind->opt->name,
                         kind->text);
    if (opt_has(o, "block-size"))
        json_object_set_new(params, "block_size", json_integer(atoi(opt_text(o, "block-size", "512"))));
    return -1;
}

/* A target or --discovery: one of them. */
static int chap_place(const struct opts *o)
{
    if (!o->operand_nr == !opt_has(o, "discovery"))
        return opt_usage(o->prog, o->cmd,
                         o->operand_nr ? "IQN and --discovery: give one of them"
                                       : "for what? Give IQN or --discovery");
    return -1;
}

static int algs_param(const struct opts *o, json_t *params)
{
    const char *text = opt_text(o, "algs", NULL);
    char *list = text ? strdup(text) : NULL, *rest = list, *word;
    json_t *algs;

    if (!list)
        return -1;
    algs = json_array();
    while ((word = strsep(&rest, ",")))
        json_array_append_new(algs, json_string(word));
    json_object_set_new(params, "algs", algs);
    free(list);
    return -1;
}

static int chap_set_prepare(const struct opts *o, json_t *params)
{
    int status = chap_place(o);

    if (status < 0 && !opt_has(o, "user"))
        status = opt_usage(o->prog, o->cmd, "--user is missing");
    if (status < 0)
        status = secret_param(o, "secret-file", "CORELANE_SECRET", "secret", params);
    if (status < 0 && !json_object_get(params, "secret"))
        status =
            opt_usage(o->prog, o->cmd, "the secret is missing: give --secret-file, or set CORELANE_SECRET");
    if (!opt_has(o, "direction"))
        json_object_set_new(params, "direction", json_string("in"));
    return status < 0 ? algs_param(o, params) : status;
}

static int chap_clear_prepare(const struct opts *o, json_t *params)
{
    if (!opt_has(o, "direction"))
        json_object_set_new(params, "direction", json_string("in"));
    return chap_place(o);
}

static int alua_set_prepare(const struct opts *o, json_t *params)
{
    (void)params;
    if (!opt_has(o, "group") || !opt_has(o, "state"))
        return opt_usage(o->prog, o->cmd, "--group and --state are both needed");
    return -1;
}

/* ---- printing -------------------------------------------------------------------------------------------- */

static void target_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "TARGET", "iqn", CELL_TEXT }, { "LUNS", "luns", CELL_COUNT }, { "SESSIONS", "sessions", CELL_TEXT },
        { "RULES", "acls", CELL_TEXT }, { "OPEN", "open", CELL_YES },   { "PORTALS", "portals", CELL_TEXT },
    };
    table(result, columns, "No targets. Make one with 'corelane target create IQN'.");
}

static void lun_create_print(const struct opts *o, const json_t *result)
{
    char size[CELL_LEN_MAX];

    cell_format(json_object_get(result, "size"), CELL_SIZE, size);
    printf("LUN %llu of %s, %s, naa %s\n", (unsigned long long)num_of(result, "lun"), text_of(result, "iqn"),
           size, text_of(result, "naa"));
}

static void lun_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "TARGET", "iqn", CELL_TEXT },
        { "LUN", "lun", CELL_TEXT },
        { "KIND", "kind", CELL_TEXT },
        { "SIZE", "size", CELL_SIZE },
        { "BLOCK", "block_size", CELL_TEXT },
        { "RO", "readonly", CELL_YES },
        { "NAA", "naa", CELL_TEXT },
        { "READ", "read_bytes", CELL_SIZE },
        { "WRITTEN", "write_bytes", CELL_SIZE },
        { "ERRORS", "errors", CELL_TEXT },
        { "PATH", "path", CELL_TEXT },
    };
    table(result, columns, "No LUNs. Make one with 'corelane lun create IQN --file PATH --size SIZE'.");
}

static void acl_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "TARGET", "iqn", CELL_TEXT },
        { "INITIATOR", "initiator", CELL_TEXT },
        { "RO", "readonly", CELL_YES },
        { "LUNS", "luns", CELL_TEXT },
    };
    table(result, columns, "No rules: every initiator is admitted.");
}

static void chap_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "TARGET", "iqn", CELL_TEXT },          { "DISCOVERY", "discovery", CELL_YES },
        { "DIRECTION", "direction", CELL_TEXT }, { "USER", "user", CELL_TEXT },
        { "INITIATOR", "initiator", CELL_TEXT }, { "DIGESTS", "algs", CELL_TEXT },
    };
    table(result, columns, "No CHAP secrets: nobody is asked to prove who they are.");
}

static void portal_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = { { "PORTAL", "addr", CELL_TEXT }, { "GROUP", "tpgt", CELL_TEXT } };

    table(result, columns, "No portals.");
}

static void portal_add_print(const struct opts *o, const json_t *result)
{
    printf("portal %s of group %llu\n", text_of(result, "addr"), (unsigned long long)num_of(result, "tpgt"));
}

static void alua_list_print(const struct opts *o, const json_t *result)
{
    static const struct column columns[] = {
        { "TARGET", "iqn", CELL_TEXT },          { "LUN", "lun", CELL_TEXT },
        { "GROUP", "group", CELL_TEXT },         { "STATE", "state", CELL_TEXT },
        { "PREFERRED", "preferred", CELL_YES },  { "CHANGED BY", "changed_by", CELL_TEXT },
        { "PORTALS", "portals", CELL_TEXT },
    };
    table(result, columns, "No LUNs. Make one with 'corelane lun create IQN --file PATH --size SIZE'.");
}

/* ---- the table ------------------------------------------------------------------------------------------- */

/* clang-format off */
#define IQN { "iqn", OPT_TEXT }
#define LUN { "lun", OPT_NUM }
#define CALL(m, ...) \
    .run = call_run, .data = &(const struct call){ .daemon = DAEMON_TARGET, .method = m, __VA_ARGS__ }
/* clang-format on */

const struct cmd cmds_target[] = {
    { "target create", "IQN", "make a target",
      .more = "IQN is the target's name, iqn.YYYY-MM.domain:what. Nothing can log in to do harm before it has "
              "LUNs; it\n"
              "admits every initiator until 'corelane acl add' names some.",
      .sets = { call_json_opts, opt_common }, CALL("target.create", .operand = { IQN }) },
    { "target delete", "IQN", "take a target away, its LUNs included; what they stand on stays",
      .sets = { force_opts, call_json_opts, opt_common }, CALL("target.delete", .operand = { IQN }) },
    { "target list", NULL, "show targets", .sets = { call_json_opts, opt_common },
      CALL("target.list", .print = target_list_print) },
    { "lun create", "IQN", "add a LUN to a target", .sets = { lun_create_opts, call_json_opts, opt_common },
      CALL("lun.create", .operand = { IQN }, .prepare = lun_create_prepare, .print = lun_create_print) },
    { "lun resize", "IQN N SIZE", "grow or shrink a LUN; initiators see it at once",
      .sets = { call_json_opts, opt_common },
      CALL("lun.resize", .operand = { IQN, LUN, { "size", OPT_SIZE } }) },
    { "lun delete", "IQN N", "take a LUN away; what it stands on stays", .sets = { call_json_opts, opt_common },
      CALL("lun.delete", .operand = { IQN, LUN }) },
    { "lun list", "[IQN]", "show LUNs and their counters", .sets = { call_json_opts, opt_common },
      CALL("lun.list", .operand = { IQN }, .print = lun_list_print) },
    { "acl add", "IQN INITIATOR", "admit an initiator to a target, and from then on only those named",
      .more = "INITIATOR is its name, or * for any. Given again, the new rule takes the old one's place.",
      .sets = { acl_add_opts, call_json_opts, opt_common },
      CALL("acl.add", .operand = { IQN, { "initiator", OPT_TEXT } }) },
    { "acl remove", "IQN INITIATOR", "take a rule away; with the last one the target is open to all again",
      .sets = { call_json_opts, opt_common },
      CALL("acl.remove", .operand = { IQN, { "initiator", OPT_TEXT } }) },
    { "acl list", "[IQN]", "show who may use what", .sets = { call_json_opts, opt_common },
      CALL("acl.list", .operand = { IQN }, .print = acl_list_print) },
    { "chap set", "[IQN]", "ask initiators for a CHAP secret, or give the target one to prove itself with",
      .more = "A secret is 12 to 255 bytes, and not the same in both directions. It comes from --secret-file "
              "or from the\n"
              "environment variable CORELANE_SECRET, never from the command line, which every user can read.",
      .sets = { chap_set_opts, call_json_opts, opt_common },
      CALL("chap.set", .operand = { IQN }, .prepare = chap_set_prepare) },
    { "chap clear", "[IQN]", "forget CHAP secrets", .sets = { chap_clear_opts, call_json_opts, opt_common },
      CALL("chap.clear", .operand = { IQN }, .prepare = chap_clear_prepare) },
    { "chap list", "[IQN]", "show who proves what; never the secrets", .sets = { call_json_opts, opt_common },
      CALL("chap.list", .operand = { IQN }, .print = chap_list_print) },
    { "portal list", NULL, "show where the target listens", .sets = { call_json_opts, opt_common },
      CALL("portal.list", .print = portal_list_print) },
    { "portal add", "ADDR[:PORT]", "listen there as well, from now on and after a restart",
      .more = "Portals of one group are one port of a target: a path by any of them has the same access state. "
              "Give a portal\n"
              "a group of its own to set its state apart with 'corelane alua set'.",
      .sets = { portal_add_opts, call_json_opts, opt_common },
      CALL("portal.add", .operand = { { "addr", OPT_TEXT } }, .print = portal_add_print) },
    { "portal remove", "ADDR[:PORT]", "listen there no more",
      .sets = { portal_remove_opts, call_json_opts, opt_common },
      CALL("portal.remove", .operand = { { "addr", OPT_TEXT } }) },
    { "alua set", "IQN", "set how well a target's LUNs are reached by a portal group",
      .more = "Initiators use optimized paths first, then non-optimized ones; the other states serve no reads and "
              "writes.\n"
              "It holds after a restart, too. What an initiator sets (SET TARGET PORT GROUPS) holds until then.",
      .sets = { alua_set_opts, call_json_opts, opt_common },
      CALL("alua.set", .operand = { IQN }, .prepare = alua_set_prepare, .timeout_s = 120) },
    { "alua list", "[IQN]", "show how LUNs are reached by each portal group",
      .sets = { call_json_opts, opt_common },
      CALL("alua.list", .operand = { IQN }, .print = alua_list_print) },
    { 0 },
};
