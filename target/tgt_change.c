/*
 * tgt_change.c - the methods that change the configuration
 *
 * One at a time: a copy of the document is edited and checked; what must be opened or resized is; the snapshot
 * for the cores is made; the copy is saved; it takes the document's place and cores get the snapshot; units get
 * their port groups; what is no longer in it is closed; then the caller is told. A step that fails leaves everything as it was, and after saving
 * none can: a change that was refused must not be there after the next start.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/name.h"
#include "rpc/json.h"
#include "target/sess.h"
#include "target/tgt_edit.h"

static const char *member(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

/* ---- from one to the next -------------------------------------------------------------------------------- */

static void change_next(struct tgt *t);

static void change_free(struct change *c)
{
    struct tgt *t = c->tgt;

    assert(rt_list_empty(&c->leaving));
    json_decref(c->params);
    json_decref(c->doc);
    json_decref(c->result);
    snap_free(c->publish.snap);
    free(c);
    t->change = NULL;
    change_next(t);
}

static void fail_now(struct change *c)
{
    rpc_fail(c->call, RPC_FAILED, "%s", c->why);
    change_free(c);
}

static void undo_run(struct rt_work *w)
{
    unit_free(container_of(w, struct change, work)->unit);
}

static void undo_done(struct rt_work *w)
{
    fail_now(container_of(w, struct change, work));
}

/* c->why says it. Closes what was opened for it. */
void change_fail(struct change *c)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&c->leaving)))  /* they stay in service */
        rt_list_push(&c->tgt->units, l);
    if (!c->made) {
        group_undo(c, fail_now);
        return;
    }
    rt_list_del(&c->unit->link);
    c->work = (struct rt_work){ .run = undo_run, .done = undo_done };
    rt_work(c->tgt->rt, &c->work);
}

enum edit_next change_refuse(struct change *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, ap);
    va_end(ap);
    return EDIT_REFUSED;
}

/* ---- save, publish, retire ------------------------------------------------------------------------------- */

/* Whether something that should be in the copy or in the answer may not be. */
static bool lost(const struct change *c)
{
    return rpc_json_losses() != c->losses;
}

static const char *outcome(const struct change *c)
{
    return c->resized ? "the LUN has its new size all the same: save it by resizing again"
                      : "nothing was changed";
}

static void change_over(struct change *c)
{
    rpc_reply(c->call, c->result ? json_incref(c->result) : NULL);
    change_free(c);
}

static void one_retired(void *arg)
{
    struct change *c = arg;

    if (!--c->left)
        change_over(c);
}

static void settled(struct change *c)
{
    struct rt_link *l;

    c->left = 1;
    while ((l = rt_list_pop(&c->leaving))) {
        struct unit *u = rt_list_entry(l, struct unit, link);

        c->left++;
        unit_retire(c->tgt, u, one_retired, c);
    }
    one_retired(c);
}

/* Every core has the new snapshot. */
static void published(struct model_publish *p)
{
    p->snap = NULL;                         /* the cores' */
    group_settle(container_of(p, struct change, publish), settled);
}

static void change_publish(struct change *c)
{
    struct tgt *t = c->tgt;

    json_decref(t->doc);
    t->doc = c->doc;
    c->doc = NULL;
    c->publish.over = published;
    model_publish(t, &c->publish);
}

static void save_run(struct rt_work *w)
{
    struct change *c = container_of(w, struct change, work);

    c->err = rt_save(c->tgt->config_path, c->text, strlen(c->text), 0600);
}

static void save_done(struct rt_work *w)
{
    struct change *c = container_of(w, struct change, work);

    explicit_bzero(c->text, strlen(c->text));   /* secrets are in it */
    free(c->text);
    if (c->err) {
        change_refuse(c, "%s cannot be written: %s; %s", c->tgt->config_path, strerror(-c->err), outcome(c));
        change_fail(c);
        return;
    }
    change_publish(c);
}

/* Everything that takes memory has it from here on. */
void change_save(struct change *c)
{
    if (c->made)
        rt_list_push(&c->tgt->units, &c->unit->link);
    if (lost(c) || !(c->publish.snap = model_snap(c->tgt, c->doc))) {
        change_refuse(c, "not enough memory for a change; %s", outcome(c));
        change_fail(c);
        return;
    }
    if (!c->tgt->config_path) {
        change_publish(c);
        return;
    }
    if (!(c->text = conf_text(c->doc))) {
        change_refuse(c, "not enough memory to save the configuration; %s", outcome(c));
        change_fail(c);
        return;
    }
    c->work = (struct rt_work){ .run = save_run, .done = save_done };
    rt_work(c->tgt->rt, &c->work);
}

static void change_next(struct tgt *t)
{
    struct rt_link *l;

    if (t->change || !(l = rt_list_pop(&t->changes)))
        return;
    t->change = rt_list_entry(l, struct change, link);
    t->change->losses = rpc_json_losses();
    if (!(t->change->doc = json_deep_copy(t->doc))) {
        change_refuse(t->change, "not enough memory for a change");
        change_fail(t->change);
        return;
    }
    switch (t->change->edit(t->change)) {
    case EDIT_REFUSED: change_fail(t->change); break;
    case EDIT_SAVE:    change_save(t->change); break;
    case EDIT_WAIT:    break;
    }
}

static void change_queue(struct tgt *t, struct rpc_call *call, json_t *params,
                         enum edit_next (*edit)(struct change *c))
{
    struct change *c = t->stopping ? NULL : calloc(1, sizeof(*c));

    if (!c) {
        rpc_fail(call, RPC_FAILED, t->stopping ? "the target is stopping" : "not enough memory for a change");
        return;
    }
    c->tgt = t;
    c->call = call;
    c->params = json_incref(params);
    c->edit = edit;
    rt_list_init(&c->leaving);
    rt_list_push(&t->changes, &c->link);
    change_next(t);
}

/* ---- helpers of the edits -------------------------------------------------------------------------------- */

/* What iqn of the parameters names, in the copy. NULL: c->why. */
json_t *change_target(struct change *c, const char *iqn)
{
    char norm[ISCSI_NAME_LEN_MAX + 1];
    json_t *target;

    if (iscsi_name_refusal(iqn, norm) || !(target = conf_target(c->doc, norm))) {
        change_refuse(c, "there is no target %.223s; `corelane target list` shows those there are", iqn);
        return NULL;
    }
    return target;
}

/* A list of the object, made if it is not there. */
json_t *change_list(json_t *obj, const char *key)
{
    json_t *list = json_object_get(obj, key);

    if (!list) {
        list = json_array();
        json_object_set_new(obj, key, list);
    }
    return list;
}

enum edit_next change_edited(struct change *c)
{
    if (lost(c))
        return change_refuse(c, "not enough memory for a change; nothing was changed");
    return conf_check(c->doc, c->why) ? EDIT_REFUSED : EDIT_SAVE;
}

static void set_optional(json_t *to, const char *key, json_t *from)
{
    json_t *v = json_object_get(from, key);

    if (v && !json_is_null(v))
        json_object_set(to, key, v);
}

/* Refuses parameters that the method does not know. @known: NULL-terminated. */
bool change_params_known(struct change *c, const char *const *known)
{
    const char *name;
    json_t *v;

    json_object_foreach(c->params, name, v) {
        const char *const *k = known;

        while (*k && strcmp(*k, name))
            k++;
        if (!*k) {
            change_refuse(c, "parameters: \"%.64s\" is not known", name);
            return false;
        }
    }
    return true;
}

/* A string parameter that must be there. NULL: c->why. */
const char *change_text(struct change *c, const char *key)
{
    const char *s = json_string_value(json_object_get(c->params, key));

    if (!s)
        change_refuse(c, "parameters: \"%s\" is missing, or no string", key);
    return s;
}

/* ---- targets --------------------------------------------------------------------------------------------- */

static enum edit_next edit_target_create(struct change *c)
{
    static const char *const known[] = { "iqn", NULL };
    const char *iqn;
    json_t *target;

    if (!change_params_known(c, known) || !(iqn = change_text(c, "iqn")))
        return EDIT_REFUSED;
    target = json_pack("{s:s}", "iqn", iqn);
    if (!target && !lost(c))
        return change_refuse(c, "the name is no text");
    json_array_append_new(change_list(c->doc, "targets"), target);
    if (change_edited(c) != EDIT_SAVE)
        return EDIT_REFUSED;
    c->result = json_pack("{s:s}", "iqn", member(target, "iqn"));
    return EDIT_SAVE;
}

static void units_leave(struct change *c, const char *iqn, int number)
{
    rt_list_for_safe(l, &c->tgt->units) {
        struct unit *u = rt_list_entry(l, struct unit, link);

        if (strcmp(u->iqn, iqn) || (number >= 0 && u->number != number))
            continue;
        rt_list_del(&u->link);
        rt_list_push(&c->leaving, &u->link);
    }
}

static enum edit_next edit_target_delete(struct change *c)
{
    static const char *const known[] = { "iqn", "force", NULL };
    const bool force = json_is_true(json_object_get(c->params, "force"));
    json_t *target, *list = json_object_get(c->doc, "targets"), *t;
    const char *iqn;
    unsigned n;
    size_t i;

    if (!change_params_known(c, known) || !(iqn = change_text(c, "iqn")) || !(target = change_target(c, iqn)))
        return EDIT_REFUSED;
    n = reg_count(c->tgt, member(target, "iqn"));
    if (n && !force)
        return change_refuse(c, "target %s has %u session%s; log the initiators out first, or force it",
                      member(target, "iqn"), n, n == 1 ? "" : "s");
    units_leave(c, member(target, "iqn"), -1);
    json_array_foreach(list, i, t) {
        if (t == target) {
            json_array_remove(list, i);
            break;
        }
    }
    return EDIT_SAVE;
}

/* ---- LUNs ------------------------------------------------------------------------------------------------ */

static json_t *lun_result(const char *iqn, json_t *lun)
{
    json_t *out = json_pack("{s:s}", "iqn", iqn);

    set_optional(out, "lun", lun);
    set_optional(out, "naa", lun);
    set_optional(out, "size", lun);
    return out;
}

static void lun_open_run(struct rt_work *w)
{
    struct change *c = container_of(w, struct change, work);

    c->err = unit_open(c->unit, c->entry, false, c->req.why);
}

static void lun_open_done(struct rt_work *w)
{
    struct change *c = container_of(w, struct change, work);

    if (c->err) {
        change_refuse(c, "%s", c->req.why);
        change_fail(c);
        return;
    }
    unit_note(c->unit, c->entry);
    if (conf_check(c->doc, c->why)) {
        change_fail(c);
        return;
    }
    unit_groups(c->unit, c->doc);
    c->result = lun_result(c->unit->iqn, c->entry);
    change_save(c);
}

static uint16_t lowest_free(json_t *target)
{
    uint16_t n = 0;

    while (n < SCSI_LUN_MAX && conf_lun(target, n))
        n++;
    return n;
}

static enum edit_next edit_lun_create(struct change *c)
{
    static const char *const known[] = {
        "iqn", "kind", "path", "size", "lun", "readonly", "block_size", "naa", NULL
    };
    uint16_t number;
    const char *iqn;
    json_t *target;

    if (!change_params_known(c, known) || !(iqn = change_text(c, "iqn")) || !(target = change_target(c, iqn)))
        return EDIT_REFUSED;
    number = lowest_free(target);
    c->entry = json_object();
    json_array_append_new(change_list(target, "luns"), c->entry);
    for (const char *const *k = known + 1; *k; k++)
        set_optional(c->entry, *k, c->params);
    if (!json_object_get(c->entry, "lun"))
        json_object_set_new(c->entry, "lun", json_integer(number));
    if (change_edited(c) != EDIT_SAVE)
        return EDIT_REFUSED;
    c->unit =
        unit_new(c->tgt, member(target, "iqn"), (uint16_t)json_integer_value(json_object_get(c->entry, "lun")));
    if (!c->unit)
        return change_refuse(c, "not enough memory for a LUN");
    c->made = true;
    c->work = (struct rt_work){ .run = lun_open_run, .done = lun_open_done };
    rt_work(c->tgt->rt, &c->work);
    return EDIT_WAIT;
}

/* The unit and the entry that iqn and lun of the parameters name. False: c->why. */
bool change_lun(struct change *c, json_t **target)
{
    json_t *number = json_object_get(c->params, "lun");
    const char *iqn = change_text(c, "iqn");

    if (!iqn || !(*target = change_target(c, iqn)))
        return false;
    if (!json_is_integer(number)) {
        change_refuse(c, "parameters: \"lun\" is missing, or no whole number");
        return false;
    }
    c->entry = json_integer_value(number) < 0 || json_integer_value(number) > SCSI_LUN_MAX
                   ? NULL : conf_lun(*target, (uint16_t)json_integer_value(number));
    if (!c->entry) {
        change_refuse(c, "target %s has no LUN %lld; `corelane lun list` shows those there are",
               member(*target, "iqn"), (long long)json_integer_value(number));
        return false;
    }
    c->unit = unit_find(c->tgt, member(*target, "iqn"), (uint16_t)json_integer_value(number));
    return true;
}

static void lun_resized(struct lun_request *req, int err)
{
    struct change *c = container_of(req, struct change, req);

    if (err) {
        change_refuse(c, "%s", *req->why ? req->why : strerror(-err));
        change_fail(c);
        return;
    }
    c->resized = true;
    unit_note(c->unit, c->entry);
    c->result = lun_result(c->unit->iqn, c->entry);
    change_save(c);
}

static enum edit_next edit_lun_resize(struct change *c)
{
    static const char *const known[] = { "iqn", "lun", "size", NULL };
    json_t *target, *size = json_object_get(c->params, "size");

    if (!change_params_known(c, known) || !change_lun(c, &target))
        return EDIT_REFUSED;
    if (!c->unit || !c->unit->lun)
        return change_refuse(c, "the LUN is offline: %s", c->unit ? c->unit->offline : "it is being closed");
    if (!json_is_integer(size))
        return change_refuse(c, "parameters: \"size\" is missing, or no whole number of bytes");
    if (json_integer_value(size) || strcmp(member(c->entry, "kind"), "block")) {   /* 0: as the device says */
        json_object_set(c->entry, "size", size);
        if (change_edited(c) != EDIT_SAVE)
            return EDIT_REFUSED;
    }
    c->req.fn = lun_resized;
    lun_resize(c->unit->lun, &c->req, (uint64_t)json_integer_value(size));
    return EDIT_WAIT;
}

static enum edit_next edit_lun_delete(struct change *c)
{
    static const char *const known[] = { "iqn", "lun", NULL };
    json_t *target, *list, *l;
    size_t i;

    if (!change_params_known(c, known) || !change_lun(c, &target))
        return EDIT_REFUSED;
    units_leave(c, member(target, "iqn"), (int)json_integer_value(json_object_get(c->params, "lun")));
    list = json_object_get(target, "luns");
    json_array_foreach(list, i, l) {
        if (l == c->entry) {
            json_array_remove(list, i);
            break;
        }
    }
    return EDIT_SAVE;
}

/* ---- access lists ---------------------------------------------------------------------------------------- */

static enum edit_next edit_acl_add(struct change *c)
{
    static const char *const known[] = { "iqn", "initiator", "luns", "readonly", NULL };
    const char *iqn;
    json_t *target, *acl;

    if (!change_params_known(c, known) || !(iqn = change_text(c, "iqn")) || !(target = change_target(c, iqn)))
        return EDIT_REFUSED;
    acl = json_object();
    json_array_append_new(change_list(target, "acls"), acl);
    for (const char *const *k = known + 1; *k; k++)
        set_optional(acl, *k, c->params);
    return change_edited(c);
}

static enum edit_next edit_acl_remove(struct change *c)
{
    static const char *const known[] = { "iqn", "initiator", NULL };
    const char *iqn, *initiator;
    char norm[ISCSI_NAME_LEN_MAX + 1];
    json_t *target, *list, *a;
    size_t i;

    if (!change_params_known(c, known) || !(iqn = change_text(c, "iqn")) || !(initiator = change_text(c, "initiator")) ||
        !(target = change_target(c, iqn)))
        return EDIT_REFUSED;
    if (strcmp(initiator, "*") && !iscsi_name_refusal(initiator, norm))
        initiator = norm;
    list = json_object_get(target, "acls");
    json_array_foreach(list, i, a) {
        if (strcmp(member(a, "initiator"), initiator))
            continue;
        if (json_array_size(list) == 1)
            rt_log(RT_NOTICE, "target %s has no access list any more: it admits any initiator",
                   member(target, "iqn"));
        json_array_remove(list, i);
        return EDIT_SAVE;
    }
    return change_refuse(c, "initiator %.223s is not in the access list of %s", initiator, member(target, "iqn"));
}

/* ---- CHAP ------------------------------------------------------------------------------------------------ */

/* The list that "iqn" or "discovery" of the parameters means. NULL: c->why. */
static json_t *chap_list(struct change *c)
{
    const bool discovery = json_is_true(json_object_get(c->params, "discovery"));
    const char *iqn = json_string_value(json_object_get(c->params, "iqn"));
    json_t *target;

    if (discovery == (iqn != NULL)) {
        change_refuse(c, "parameters: give either \"iqn\" or \"discovery\": true");
        return NULL;
    }
    if (discovery)
        return change_list(c->doc, "discovery_chap");
    target = change_target(c, iqn);
    return target ? change_list(target, "chap") : NULL;
}

static enum edit_next edit_chap_set(struct change *c)
{
    static const char *const known[] = {
        "direction", "user", "secret", "initiator", "algs", "iqn", "discovery", NULL
    };
    json_t *list, *entry, *e;
    size_t i;

    if (!change_params_known(c, known) || !(list = chap_list(c)))
        return EDIT_REFUSED;
    entry = json_object();
    for (unsigned k = 0; k < 5; k++)
        set_optional(entry, known[k], c->params);
    json_array_foreach(list, i, e) {        /* a new secret takes the old one's place */
        if (!strcmp(member(e, "direction"), member(entry, "direction")) &&
            !strcmp(member(e, "user"), member(entry, "user")) &&
            !strcasecmp(member(e, "initiator"), member(entry, "initiator"))) {
            json_array_remove(list, i);
            break;
        }
    }
    json_array_append_new(list, entry);
    return change_edited(c);
}

static enum edit_next edit_chap_clear(struct change *c)
{
    static const char *const known[] = { "iqn", "discovery", "direction", "user", NULL };
    const char *direction, *user = json_string_value(json_object_get(c->params, "user"));
    json_t *list;
    size_t before;

    if (!change_params_known(c, known) || !(direction = change_text(c, "direction")) || !(list = chap_list(c)))
        return EDIT_REFUSED;
    before = json_array_size(list);
    for (size_t i = before; i-- > 0;) {
        json_t *e = json_array_get(list, i);

        if (!strcmp(member(e, "direction"), direction) && (!user || !strcmp(member(e, "user"), user)))
            json_array_remove(list, i);
    }
    if (json_array_size(list) == before)
        return change_refuse(c, "there is nothing to clear; `corelane chap list` shows what there is");
    return change_edited(c);
}

/* ---- the methods ----------------------------------------------------------------------------------------- */

#define X(name, fn, edit)                                                                                    \
    void fn(void *user, struct rpc_call *call, json_t *params)                                               \
    {                                                                                                        \
        change_queue(user, call, params, edit);                                                              \
    }
TGT_CHANGES(X)
#undef X
