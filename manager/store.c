/*
 * store.c - attachments.json: what a daemon that starts after this one died has to know
 *
 * Mode 0600 in a run directory of 0700: it holds CHAP secrets that came with a command and are in no other
 * file. One save at a time, on a helper thread; changes meanwhile are in the next.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"
#include "rpc/json.h"

#define STORE_LEN_MAX (16u << 20)

static void store_path(const struct mgr *m, char *out, size_t len)
{
    snprintf(out, len, "%s/attachments.json", m->run_dir);
}

/* ---- saving ---------------------------------------------------------------------------------------------- */

static void cred_put(json_t *entry, const char *name_key, const char *secret_key, const struct chap_cred *c)
{
    if (!*c->name)
        return;
    json_object_set_new(entry, name_key, json_string(c->name));
    json_object_set_new(entry, secret_key, json_stringn((const char *)c->secret, c->secret_len));
}

/* What says a path of a disk: target, portal, LUN, and the identity of its session. */
static void path_put_in(json_t *e, const struct path *p)
{
    const struct mgr_wish *w = &p->spec.wish;
    /* Zeroes where it has no session: what an earlier one may have left is among the identities. */
    const bool lives = p->sess ? p->state != PATH_LOGIN || p->spec.has_isid : p->spec.has_isid && !p->settled;
    char isid[ISID_STR_MAX];

    isid_format(lives ? p->spec.isid : (const uint8_t[6]){ 0 }, isid);
    json_object_set_new(e, "iqn", json_string(w->iqn));
    json_object_set_new(e, "portal", json_string(p->portal));
    json_object_set_new(e, "lun", json_integer(p->spec.lun));
    json_object_set_new(e, "isid", json_string(isid));
    cred_put(e, "user", "secret", &w->user);
    cred_put(e, "user_in", "secret_in", &w->user_in);
    if (*w->transport)
        json_object_set_new(e, "transport", json_string(w->transport));
    if (p->spec.prio)
        json_object_set_new(e, "prio", json_integer(p->spec.prio));
    if (p->spec.weight)
        json_object_set_new(e, "weight", json_integer(p->spec.weight));
}

/* The first path in the entry itself, where daemons look for it that know of one only; the others in a list. */
static json_t *entry_of(const struct att *a)
{
    json_t *e, *more = json_array();
    char key[24];

    e = json_pack("{s:s, s:s, s:b, s:s}", "name", a->spec.name, "export",
                  a->state == ATT_EXPORTING && !a->restored
                      ? "pending"
                      : exp_kind_name(a->restored ? a->spec.kind : a->result.kind),
                  "readonly", (int)a->spec.readonly, "wwid", *a->info.wwid ? a->info.wwid : a->wwid);
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);
        json_t *one;

        if (p->ending)
            continue;
        if (!json_object_get(e, "iqn")) {
            path_put_in(e, p);
            continue;
        }
        one = json_object();
        path_put_in(one, p);
        json_array_append_new(more, one);
    }
    json_object_set_new(e, "paths", more);
    json_object_set_new(e, "policy", policy_over_json(&a->over));
    if (a->has_pr_key) {
        snprintf(key, sizeof(key), "0x%" PRIx64, a->pr_key);
        json_object_set_new(e, "pr_key", json_string(key));
    }
    return e;
}

static char *store_text(const struct mgr *m)
{
    const uint64_t losses = rpc_json_losses();
    json_t *list = json_array(), *top;
    char *text;

    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        if (!a->ending && (a->restored || a->state >= ATT_EXPORTING))
            json_array_append_new(list, entry_of(a));
    }
    top = json_pack("{s:i, s:o, s:o}", "version", 1, "disks", list, "identities", isid_list(m));
    /* A disk or a secret left out would be forgotten by the next daemon: better to keep what was saved before. */
    text = rpc_json_losses() == losses ? rpc_json_text(top, JSON_INDENT(1)) : NULL;
    json_decref(top);
    return text;
}

static void save_run(struct rt_work *w)
{
    struct mgr *m = container_of(w, struct mgr, save_work);
    char path[512];

    store_path(m, path, sizeof(path));
    m->save_err = m->save_text ? rt_save(path, m->save_text, strlen(m->save_text), 0600) : -ENOMEM;
}

static void save_start(struct mgr *m);

static void save_done(struct rt_work *w)
{
    struct mgr *m = container_of(w, struct mgr, save_work);
    struct rt_link *l, mine;

    if (m->save_text)
        explicit_bzero(m->save_text, strlen(m->save_text));
    free(m->save_text);
    m->save_text = NULL;
    m->saving = false;
    if (m->save_again) {
        save_start(m); /* who waits waits for what was said last */
        return;
    }
    rt_list_init(&mine);
    while ((l = rt_list_pop(&m->save_waits)))
        rt_list_push(&mine, l);
    while ((l = rt_list_pop(&mine))) {
        struct store_wait *sw = rt_list_entry(l, struct store_wait, link);

        sw->fn(sw);
    }
}

static void save_start(struct mgr *m)
{
    m->saving = true;
    m->save_again = false;
    m->save_text = store_text(m);
    m->save_work.run = save_run;
    m->save_work.done = save_done;
    rt_work(m->rt, &m->save_work);
}

void store_save(struct mgr *m, struct store_wait *w)
{
    if (w)
        rt_list_push(&m->save_waits, &w->link);
    if (m->saving)
        m->save_again = true;
    else
        save_start(m);
}

/* ---- loading --------------------------------------------------------------------------------------------- */

int store_load(struct mgr *m, json_t **out)
{
    char path[512], *text;
    json_error_t why;
    json_t *top = NULL, *list;
    size_t len;
    int err;

    *out = NULL;
    store_path(m, path, sizeof(path));
    if ((err = rt_load(path, STORE_LEN_MAX, &text, &len))) {
        if (err != -ENOENT)
            rt_log(RT_ERR, "%s: %s: disks of before are not taken over", path, strerror(-err));
        return err == -ENOMEM ? err : 0;
    }
    if ((err = rpc_json_read(&top, text, len, 0, &why)) == -EINVAL)
        rt_log(RT_ERR, "%s: line %d: %s: disks of before are not taken over", path, why.line, why.text);
    explicit_bzero(text, len);
    free(text);
    if (err == -ENOMEM)
        return err;
    list = json_object_get(top, "disks");
    if (top && !json_is_array(list)) {
        rt_log(RT_ERR, "%s: no list of disks in it: disks of before are not taken over", path);
        json_decref(top);
        top = NULL;
    }
    *out = top;
    return 0;
}

static void cred_get(const json_t *entry, const char *name_key, const char *secret_key, struct chap_cred *c)
{
    const char *name = json_string_value(json_object_get(entry, name_key));
    const json_t *secret = json_object_get(entry, secret_key);

    if (!name || !json_is_string(secret) || json_string_length(secret) > CHAP_SECRET_LEN_MAX)
        return;
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->secret_len = (uint32_t)json_string_length(secret);
    memcpy(c->secret, json_string_value(secret), c->secret_len);
}

/* Return: NULL or what is wrong. */
static const char *path_get(const json_t *e, struct mgr_wish *wish, uint16_t *lun, uint8_t isid[static 6])
{
    const char *iqn, *portal, *isid_text, *wrong;
    const char *transport = json_string_value(json_object_get(e, "transport"));
    int number;

    if (json_unpack((json_t *)e, "{s:s, s:s, s:i, s:s}", "iqn", &iqn, "portal", &portal, "lun", &number, "isid",
                    &isid_text))
        return "iqn, portal, lun or isid is missing";
    if ((wrong = iscsi_name_refusal(iqn, wish->iqn)) || (wrong = iscsi_portal_parse(&wish->portal, portal)))
        return wrong;
    if (number < 0 || number > UINT16_MAX)
        return "lun is out of range";
    if (!isid_parse(isid_text, isid))
        return "isid is not 12 hex digits";
    *lun = (uint16_t)number;
    cred_get(e, "user", "secret", &wish->user);
    cred_get(e, "user_in", "secret_in", &wish->user_in);
    if (transport)
        snprintf(wish->transport, sizeof(wish->transport), "%s", transport);
    return NULL;
}

const char *store_entry(const json_t *entry, struct att_spec *spec, uint8_t isid[static 6], bool *takes_over)
{
    const char *wwid = json_string_value(json_object_get(entry, "wwid")), *name, *kind, *wrong, *key, *pr_key;
    json_t *value;
    int readonly;

    memset(spec, 0, sizeof(*spec));
    if (json_unpack((json_t *)entry, "{s:s, s:s, s:b}", "name", &name, "export", &kind, "readonly", &readonly))
        return "name, export or readonly is missing";
    if ((wrong = att_name_refusal(name)) || (wrong = path_get(entry, &spec->wish, &spec->lun, isid)))
        return wrong;
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    spec->readonly = readonly;
    *takes_over = !exp_kind_parse(kind, &spec->kind) && spec->kind == EXP_UBLK;
    if (wwid && strlen(wwid) < sizeof(spec->wwid))
        snprintf(spec->wwid, sizeof(spec->wwid), "%s", wwid);
    pr_key = json_string_value(json_object_get(entry, "pr_key"));
    spec->has_pr_key = pr_key && pr_key_parse(pr_key, &spec->pr_key);
    json_object_foreach(json_object_get(entry, "policy"), key, value)(void)
        policy_set(&spec->over, key, value); /* what is not known any more holds no longer */
    return NULL;
}

static uint32_t small_get(const json_t *e, const char *key)
{
    const json_int_t v = json_integer_value(json_object_get(e, key));

    return v > 0 && v <= (json_int_t)PATH_WEIGHT_MAX ? (uint32_t)v : 0;
}

static void weight_get(const json_t *e, struct path_spec *spec)
{
    spec->prio = small_get(e, "prio");
    spec->weight = small_get(e, "weight");
}

unsigned store_paths(const json_t *entry, const struct att_spec *spec, const uint8_t isid[static 6],
                     struct path_spec *paths)
{
    static const uint8_t none[6];
    unsigned nr = 1;
    const char *wrong;
    size_t i;
    json_t *e;

    paths[0] = (struct path_spec){ .wish = spec->wish, .lun = spec->lun };
    memcpy(paths[0].isid, isid, 6);
    paths[0].has_isid = memcmp(isid, none, 6);
    weight_get(entry, &paths[0]);
    json_array_foreach(json_object_get(entry, "paths"), i, e)
    {
        if (nr == MPIO_PATHS_MAX)
            break;
        paths[nr] = (struct path_spec){ 0 };
        if ((wrong = path_get(e, &paths[nr].wish, &paths[nr].lun, paths[nr].isid))) {
            rt_log(RT_ERR, "%s: a path of it is passed over: %s", spec->name, wrong);
            continue;
        }
        paths[nr].has_isid = memcmp(paths[nr].isid, none, 6);
        weight_get(e, &paths[nr]);
        nr++;
    }
    return nr;
}
