/*
 * cmd_kernel.c - the stock kernel's iSCSI sessions: looking at them, steering them, putting everything back
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/mask.h"
#include "programs/common/text.h"
#include "programs/corelane/call.h"
#include "programs/corelane/commands.h"
#include "programs/corelane/kernel.h"
#include "programs/corelane/print.h"

static const char *const state_words[] = {
    [BAL_LOG_HOLDS] = "as set",   [BAL_LOG_EARLIER] = "as set before, the last change was cut off",
    [BAL_LOG_BACK] = "as before", [BAL_LOG_DRIFT] = "changed by somebody else",
    [BAL_LOG_GONE] = "gone",      [BAL_LOG_FAILED] = "not known",
};

/* ---- tables ---------------------------------------------------------------------------------------------- */

static const struct column sess_columns[] = {
    { "session", "sid", CELL_TEXT },   { "target", "target", CELL_TEXT }, { "portal", "portal", CELL_TEXT },
    { "state", "state", CELL_TEXT },   { "disks", "disks", CELL_TEXT },   { "nic", "nic", CELL_TEXT },
    { "cpus now", "cpus", CELL_TEXT }, { "core", "core", CELL_TEXT },     { "why", "why", CELL_TEXT },
};
static const struct column change_columns[] = {
    { "setting", "name", CELL_TEXT },
    { "now", "old", CELL_TEXT },
    { "is to be", "new", CELL_TEXT },
    { "why", "why", CELL_TEXT },
};
static const struct column setting_columns[] = {
    { "setting", "name", CELL_TEXT }, { "before", "old", CELL_TEXT },  { "set to", "new", CELL_TEXT },
    { "now", "now", CELL_TEXT },      { "state", "state", CELL_TEXT }, { "why", "why", CELL_TEXT },
};

static json_t *seat_json(const struct bal_steer_seat *s)
{
    char cpus[128] = "", portal[96] = "";
    json_t *disks = json_array();

    if (s->sess.has_wq)
        bal_mask_format_list(&s->sess.wq, cpus, sizeof(cpus));
    if (*s->sess.portal)
        snprintf(portal, sizeof(portal), strchr(s->sess.portal, ':') ? "[%s]:%u" : "%s:%u", s->sess.portal,
                 s->sess.portal_port);
    for (unsigned i = 0; i < s->sess.disks; i++)
        json_array_append_new(disks, json_string(s->sess.disk[i]));
    return json_pack("{s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:b, s:s}", "sid", (int)s->sess.sid,
                     "host", (int)s->sess.host, "target", s->sess.target, "portal", portal, "state",
                     s->sess.state, "transport", s->sess.transport, "nic", s->nic, "disks", disks, "cpus", cpus,
                     "core", s->cpu < 0 ? json_null() : json_integer(s->cpu), "kept", (int)s->kept, "why",
                     s->why);
}

static json_t *seats_json(const struct bal_steer *p)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < p->seats; i++)
        json_array_append_new(list, seat_json(&p->seat[i]));
    return list;
}

static json_t *change_json(const struct kernel *k, const struct bal_steer_change *c)
{
    char name[600], now[BAL_SYS_TEXT_MAX] = "";
    uint64_t id;

    (void)bal_knob_read(&k->knobs, c->name, now, &id);
    return json_pack("{s:s, s:s, s:s, s:s}", "name", kernel_name(c->name, name), "old", now, "new", c->value,
                     "why", c->why);
}

static json_t *plan_json(const struct kernel *k, const struct bal_steer *p)
{
    json_t *o = json_object(), *changes = json_array(), *notes = json_array();

    for (unsigned i = 0; i < p->changes; i++)
        json_array_append_new(changes, change_json(k, &p->change[i]));
    for (unsigned i = 0; i < p->notes; i++)
        json_array_append_new(notes, json_string(p->note[i]));
    json_object_set_new(o, "sessions", seats_json(p));
    json_object_set_new(o, "changes", changes);
    json_object_set_new(o, "notes", notes);
    return o;
}

static void view_add(void *user, const struct bal_log_view *v)
{
    char name[600];

    json_array_append_new(
        user, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "name", kernel_name(v->name, name), "old",
                        v->old, "new", v->want, "now", v->now, "state",
                        v->err && v->state == BAL_LOG_FAILED ? strerror(-v->err) : state_words[v->state], "why",
                        v->reason, "since", (json_int_t)v->since));
}

static int plan_make(struct kernel *k, struct bal_steer **p)
{
    char why[256];

    return bal_steer_plan(p, &k->conf, why) ? kernel_say(k, "%s", why) : -1;
}

/* ---- show, plan ------------------------------------------------------------------------------------------ */

static int show_run(struct kernel *k)
{
    json_t *o = json_object(), *settings = json_array(), *seats, *s;
    struct bal_steer *p = NULL;
    size_t i;
    int status = plan_make(k, &p);

    if (status < 0) {
        bal_log_each(k->log, view_add, settings);
        seats = seats_json(p);
        json_array_foreach(seats, i, s)
        {
            if (p->seat[i].cpu < 0 || p->seat[i].kept)
                continue;
            json_object_set_new(s, "core", json_null()); /* where it would go is for the plan to say */
            json_object_set_new(s, "why", json_string("not steered"));
        }
        json_object_set_new(o, "sessions", seats);
        json_object_set(o, "settings", settings);
        if (opt_has(k->o, "json")) {
            json_print(o);
        } else {
            table(seats, sess_columns, "no sessions of the kernel's own initiator");
            if (json_array_size(settings)) {
                printf("\nSettings changed by us ('layout undo' puts them back):\n");
                table(settings, setting_columns, "");
            }
        }
        status = 0;
    }
    bal_steer_free(p);
    json_decref(settings);
    json_decref(o);
    return status;
}

static void notes_print(const struct kernel *k, const struct bal_steer *p)
{
    for (unsigned i = 0; i < p->notes; i++)
        kernel_say(k, "note: %s", p->note[i]);
}

static int plan_run(struct kernel *k)
{
    struct bal_steer *p = NULL;
    json_t *o;
    int status;

    kernel_load(k);
    status = plan_make(k, &p);

    if (status >= 0)
        return status;
    o = plan_json(k, p);
    if (opt_has(k->o, "json")) {
        json_print(o);
    } else {
        table(json_object_get(o, "sessions"), sess_columns, "no sessions of the kernel's own initiator");
        if (p->seats)
            putchar('\n');
        table(json_object_get(o, "changes"), change_columns, "nothing to change");
        notes_print(k, p);
    }
    json_decref(o);
    bal_steer_free(p);
    return 0;
}

/* ---- apply ----------------------------------------------------------------------------------------------- */

struct telling {
    const struct kernel *k;
    json_t *result; /* NULL: for people */
};

static void change_told(void *user, const struct bal_steer_change *c, int rc, const char *why)
{
    const struct telling *t = user;
    char name[600];

    if (t->result)
        json_array_append_new(t->result,
                              json_pack("{s:s, s:s, s:s, s:b, s:s}", "name", kernel_name(c->name, name), "new",
                                        c->value, "why", c->why, "done", rc >= 0, "error", rc < 0 ? why : ""));
    if (rc < 0)
        kernel_say(t->k, "%s", why);
    else if (!t->result && rc)
        printf("%s%s%s: %s\n", kernel_name(c->name, name), *c->value ? " = " : "", c->value, c->why);
}

unsigned kernel_apply(struct kernel *k, const struct bal_steer *p, json_t *result)
{
    struct telling t = { k, result };

    return bal_steer_apply(p, k->log, change_told, &t);
}

static int apply_run(struct kernel *k)
{
    json_t *changes = json_array(), *o;
    struct bal_steer *p = NULL;
    char why[256];
    const bool as_json = opt_has(k->o, "json");
    int status;

    kernel_load(k);
    if (bal_log_prune(k->log, why))
        status = kernel_say(k, "%s", why);
    else if ((status = plan_make(k, &p)) < 0) {
        if (!as_json)
            for (unsigned i = 0; i < p->seats; i++)
                if (!p->seat[i].kept)
                    printf("session %u, %s: %s\n", p->seat[i].sess.sid,
                           *p->seat[i].sess.target ? p->seat[i].sess.target : "-", p->seat[i].why);
        status = kernel_apply(k, p, as_json ? changes : NULL) ? 1 : 0;
        o = plan_json(k, p);
        json_object_set(o, "changes", changes);
        if (as_json)
            json_print(o);
        else if (!p->seats)
            printf("no sessions of the kernel's own initiator\n");
        else if (!p->changes)
            printf("nothing to change\n");
        json_decref(o);
        notes_print(k, p);
    }
    json_decref(changes);
    bal_steer_free(p);
    return status;
}

/* ---- undo, drift ----------------------------------------------------------------------------------------- */

static void undo_told(void *user, const struct bal_log_view *v)
{
    const struct telling *t = user;
    char name[600];

    kernel_name(v->name, name);
    if (t->result)
        view_add(t->result, v);
    if (v->state == BAL_LOG_FAILED)
        kernel_say(t->k, "%s: cannot be put back to '%s': %s", name, v->old, strerror(-v->err));
    else if (v->state == BAL_LOG_DRIFT)
        kernel_say(t->k,
                   "%s: is '%s' by now, neither what it was ('%s') nor what we set ('%s'): left alone; --force "
                   "sets it "
                   "to what it was",
                   name, v->now, v->old, v->want);
    else if (!t->result && v->state == BAL_LOG_GONE)
        printf("%s: gone, with its session or at a restart\n", name);
    else if (!t->result)
        printf("%s%s%s: as before\n", name, *v->old ? " = " : "", v->old);
}

static int undo_run(struct kernel *k)
{
    json_t *list = json_array();
    struct telling t = { k, opt_has(k->o, "json") ? list : NULL };
    char why[256];
    int left;

    if (opt_has(k->o, "dry-run")) {
        bal_log_each(k->log, view_add, list);
        if (t.result)
            json_print(list);
        else
            table(list, setting_columns, "nothing to put back");
        json_decref(list);
        return 0;
    }
    left = bal_log_undo(k->log, opt_has(k->o, "force"), undo_told, &t, why);
    if (t.result)
        json_print(list);
    json_decref(list);
    if (left < 0)
        return kernel_say(k, "%s", why);
    return left ? 1 : 0;
}

static void drift_add(void *user, const struct bal_log_view *v)
{
    if (v->state != BAL_LOG_HOLDS && v->state != BAL_LOG_GONE)
        view_add(user, v);
}

static int drift_run(struct kernel *k)
{
    json_t *list = json_array();
    size_t n;

    bal_log_each(k->log, drift_add, list);
    n = json_array_size(list);
    if (opt_has(k->o, "json"))
        json_print(list);
    else
        table(list, setting_columns, "no drift: what was set is as it was set");
    json_decref(list);
    return n ? 1 : 0;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static const struct action {
    const char *word;
    bool write, place;
    int (*run)(struct kernel *k);
    const char *opts; /* those that it has beside the common ones, with blanks around */
} actions[] = {
    { "show", false, true, show_run, " cores topology " },
    { "plan", false, true, plan_run, " cores policy only topology dry-run " },
    { "apply", true, true, apply_run, " cores policy only topology dry-run watch " },
    { "undo", true, false, undo_run, " force dry-run " },
    { "drift", false, false, drift_run, " " },
};
#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

static int opts_check(const struct opts *o, const struct action *a)
{
    for (unsigned i = 0; i < o->given_nr; i++) {
        const char *name = o->given[i].opt->name;
        char word[32];

        snprintf(word, sizeof(word), " %.28s ", name);
        if (!strcmp(name, "json") || !strcmp(name, "run-dir") || !strcmp(name, "root") || strstr(a->opts, word))
            continue;
        return opt_usage(o->prog, o->cmd, "--%s is not for '%s'", name, a->word);
    }
    if (opt_has(o, "watch") && (opt_has(o, "json") || opt_has(o, "dry-run")))
        return opt_usage(o->prog, o->cmd, "--watch and --%s: give one of them",
                         opt_has(o, "json") ? "json" : "dry-run");
    return -1;
}

static int action_run(const struct opts *o, const struct action *a)
{
    const bool dry = opt_has(o, "dry-run");
    struct kernel k;
    int status = opts_check(o, a);

    if (status >= 0)
        return status;
    status = kernel_open(&k, o, a->write && !dry, a->place);
    if (status < 0)
        status = dry && a->run == apply_run ? plan_run(&k)
                 : opt_has(o, "watch")      ? kernel_watch(&k)
                                            : a->run(&k);
    kernel_close(&k);
    return status;
}

static int kernel_run(const struct cmd *cmd, const struct opts *o)
{
    const char *word = o->operand_nr ? o->operand[0] : "show", *list[ACTIONS + 1] = { NULL }, *near;

    for (size_t i = 0; i < ACTIONS; i++) {
        if (!strcmp(word, actions[i].word))
            return action_run(o, &actions[i]);
        list[i] = actions[i].word;
    }
    if ((near = word_nearest(word, list)))
        return opt_usage(o->prog, cmd, "'%s': did you mean '%s'?", word, near);
    return opt_usage(o->prog, cmd, "'%s': not one of show, plan, apply, undo and drift", word);
}

static int undo_cmd_run(const struct cmd *cmd, const struct opts *o)
{
    for (size_t i = 0; i < ACTIONS; i++)
        if (actions[i].run == undo_run)
            return action_run(o, &actions[i]);
    return 1;
}

static const struct opt common_opts[] = {
    { "root", 0, OPT_TEXT, .arg = "DIR", .help = "a made-up tree instead of / (for tests)" },
    { "dry-run", 0, OPT_FLAG, .help = "only say what would be done" },
    { "force", 0, OPT_FLAG, .help = "undo: also what somebody else has changed since" },
    { 0 },
};
static const struct opt place_opts[] = {
    { "cores", 0, OPT_TEXT, .arg = "LIST",
      .help = "CPUs to choose from, like 0,2-5 (default: all that are not isolated)" },
    { "policy", 0, OPT_WORD, .arg = "free-core|numa|spread|pack", .help = "which core (default: free-core)" },
    { "only", 0, OPT_TEXT, .arg = "LIST", .help = "settings to use, of wq,recv,rps,flow (default: all)" },
    { "topology", 0, OPT_TEXT, .arg = "TEXT", .help = "a made-up machine in hwloc's notation (for tests)" },
    { "watch", 0, OPT_FLAG, .help = "apply: stay, and steer sessions as they come" },
    { 0 },
};

#define MORE                                                                                                   \
    "show    the kernel's sessions, and the settings that were changed (default)\n"                            \
    "plan    which core each would get, and what would be set for that\n"                                      \
    "apply   set it; each setting's old value goes into a journal first\n"                                     \
    "undo    put everything back; what somebody else has changed since only with --force\n"                    \
    "drift   what is no longer as it was set: ends with status 1 if there is something\n\n"                    \
    "Settings: wq, the session's work queue to one core; recv, recv_from_iscsi_q, a switch for all sessions "  \
    "that are\n"                                                                                               \
    "made from then on; rps, receive packet steering of the network card to the sessions' cores; flow, "       \
    "filters in the\n"                                                                                         \
    "card that bring a session's packets to its core, instead of rps where the card has them. Needs no "       \
    "daemon."

const struct cmd cmds_kernel[] = {
    { "layout kernel", "[ACTION]", "steer the kernel's own sessions: show, plan, apply, undo, drift",
      .more = MORE, .sets = { place_opts, common_opts, call_json_opts, opt_common }, .run = kernel_run },
    { "layout undo", NULL, "put back what 'layout kernel apply' has set",
      .more = "The same as 'layout kernel undo'.", .sets = { common_opts, call_json_opts, opt_common },
      .run = undo_cmd_run },
    { 0 },
};
