/*
 * store.c - attachments.json: what a daemon that starts after this one died has to know
 *
 * Mode 0600 in a run directory of 0700: it holds CHAP secrets that came with a command and are in no other
 * file. One save at a time, on a helper thread; changes meanwhile are in the next.
 */
#include <errno.h>
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

static json_t *entry_of(const struct att *a)
{
    char isid[ISID_STR_MAX];
    json_t *e;

    isid_format(a->isid, isid);
    e = json_pack("{s:s, s:s, s:s, s:i, s:s, s:b, s:s}", "name", a->spec.name, "iqn", a->spec.wish.iqn,
                  "portal", a->portal, "lun", (int)a->spec.lun, "export",
                  a->state == ATT_EXPORTING && !a->restored
                      ? "pending"
                      : exp_kind_name(a->restored ? a->spec.kind : a->result.kind),
                  "readonly", (int)a->spec.readonly, "isid", isid);
    cred_put(e, "user", "secret", &a->spec.wish.user);
    cred_put(e, "user_in", "secret_in", &a->spec.wish.user_in);
    if (*a->spec.wish.transport)
        json_object_set_new(e, "transport", json_string(a->spec.wish.transport));
    return e;
}

static char *store_text(const struct mgr *m)
{
    const uint64_t losses = rpc_json_losses();
    json_t *list = json_array(), *top;
    char *text;

    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        if (a->restored || a->state >= ATT_EXPORTING)
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

const char *store_entry(const json_t *entry, struct att_spec *spec, uint8_t isid[static 6], bool *takes_over)
{
    const char *name, *iqn, *portal, *kind, *isid_text, *wrong;
    const char *transport = json_string_value(json_object_get(entry, "transport"));
    int lun, readonly;

    memset(spec, 0, sizeof(*spec));
    if (json_unpack((json_t *)entry, "{s:s, s:s, s:s, s:i, s:s, s:b, s:s}", "name", &name, "iqn", &iqn,
                    "portal", &portal, "lun", &lun, "export", &kind, "readonly", &readonly, "isid", &isid_text))
        return "name, iqn, portal, lun, export, readonly or isid is missing";
    if ((wrong = att_name_refusal(name)) || (wrong = iscsi_name_refusal(iqn, spec->wish.iqn)) ||
        (wrong = iscsi_portal_parse(&spec->wish.portal, portal)))
        return wrong;
    if (lun < 0 || lun > UINT16_MAX)
        return "lun is out of range";
    if (!isid_parse(isid_text, isid))
        return "isid is not 12 hex digits";
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    spec->lun = (uint16_t)lun;
    spec->readonly = readonly;
    *takes_over = !exp_kind_parse(kind, &spec->kind) && spec->kind == EXP_UBLK;
    cred_get(entry, "user", "secret", &spec->wish.user);
    cred_get(entry, "user_in", "secret_in", &spec->wish.user_in);
    if (transport)
        snprintf(spec->wish.transport, sizeof(spec->wish.transport), "%s", transport);
    return NULL;
}
