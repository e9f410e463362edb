/*
 * policy.c - how a disk with several paths chooses among them: the defaults, /etc/multipath.conf, what commands said
 *
 * A setting is one row: its name in parameters, in answers and in attachments.json, what values it takes, where it is kept.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "manager/mgr_internal.h"

const char POLICY_UNKNOWN[] = "no such setting";

enum kind { WORD, NUMBER, FAILBACK, NO_PATH };
struct row {
    const char *key;
    enum kind kind;
    size_t at; /* in struct mpio_conf */
    const char *const *words;
    uint32_t lo, hi;
};
#define AT(field) offsetof(struct mpio_conf, field)
static const struct row rows[] = {
    { "policy", WORD, AT(policy), mpio_policy_names, 0, 0 },
    { "scope", WORD, AT(scope), mpio_scope_names, 0, 0 },
    { "unit", WORD, AT(unit), mpio_unit_names, 0, 0 },
    { "grouping", WORD, AT(grouping), mpio_grouping_names, 0, 0 },
    { "failback", FAILBACK, AT(failback), NULL, 1, 86400 },
    { "no_path", NO_PATH, AT(no_path), NULL, 1, 1000000 },
    { "rr_min_io", NUMBER, AT(rr_min_io), NULL, 1, 1000000 },
    { "suspect_ms", NUMBER, AT(suspect_ms), NULL, 0, 3600000 },
    { "marginal_fails", NUMBER, AT(marginal_fails), NULL, 0, 1000 },
    { "marginal_window_s", NUMBER, AT(marginal_window_s), NULL, 1, 86400 },
    { "marginal_hold_s", NUMBER, AT(marginal_hold_s), NULL, 1, 86400 },
};
static_assert(sizeof(enum mpio_policy) == sizeof(uint32_t), "words and numbers are kept alike");

static uint32_t *field(struct mpio_conf *c, const struct row *r)
{
    return (uint32_t *)(void *)((char *)c + r->at);
}

static uint32_t field_get(const struct mpio_conf *c, const struct row *r)
{
    uint32_t v;

    memcpy(&v, (const char *)c + r->at, sizeof(v));
    return v;
}

/* ---- said by commands ------------------------------------------------------------------------------------ */

static const char *set_word(struct mpio_conf *c, const struct row *r, const json_t *v)
{
    const char *word = json_string_value(v);

    for (uint32_t i = 0; word && r->words[i]; i++) {
        if (!strcmp(r->words[i], word)) {
            *field(c, r) = i;
            return NULL;
        }
    }
    return r->words == mpio_policy_names
               ? "one of least-queue-depth, round-robin, service-time, failover-only, weighted"
           : r->words == mpio_scope_names ? "nexus or lun"
           : r->words == mpio_unit_names  ? "requests or bytes"
                                          : "one of group_by_prio, multibus, failover, group_by_tpg";
}

static bool number(const struct row *r, const json_t *v, uint32_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)r->lo ||
        json_integer_value(v) > (json_int_t)r->hi)
        return false;
    *out = (uint32_t)json_integer_value(v);
    return true;
}

static const char *set_number(struct mpio_conf *c, const struct row *r, const json_t *v)
{
    return number(r, v, field(c, r)) ? NULL
           : !r->lo                  ? r->hi == 1000 ? "a number from 0 to 1000" : "a number from 0 to 3600000"
           : r->hi == 86400          ? "a number of seconds from 1 to 86400"
                                     : "a number from 1 to 1000000";
}

static const char *set_failback(struct mpio_conf *c, const struct row *r, const json_t *v)
{
    const char *word = json_string_value(v);

    if (number(r, v, &c->failback_s))
        c->failback = MPIO_FAILBACK_DELAYED;
    else if (word && !strcmp(word, "immediate"))
        c->failback = MPIO_FAILBACK_IMMEDIATE;
    else if (word && !strcmp(word, "manual"))
        c->failback = MPIO_FAILBACK_MANUAL;
    else
        return "immediate, manual, or seconds from 1 to 86400";
    return NULL;
}

static const char *set_no_path(struct mpio_conf *c, const struct row *r, const json_t *v)
{
    const char *word = json_string_value(v);

    if (number(r, v, &c->no_path_s))
        c->no_path = MPIO_NO_PATH_DEADLINE;
    else if (word && !strcmp(word, "queue"))
        c->no_path = MPIO_NO_PATH_QUEUE;
    else if (word && !strcmp(word, "fail"))
        c->no_path = MPIO_NO_PATH_FAIL;
    else
        return "queue, fail, or seconds from 1 to 1000000";
    return NULL;
}

const char *policy_set(struct policy_over *o, const char *key, const json_t *value)
{
    static const char *(*const set[])(struct mpio_conf *, const struct row *, const json_t *) = {
        [WORD] = set_word,
        [NUMBER] = set_number,
        [FAILBACK] = set_failback,
        [NO_PATH] = set_no_path,
    };
    const char *wrong;

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].key, key))
            continue;
        if (json_is_null(value)) {
            o->has &= ~(1u << i);
            return NULL;
        }
        if (!(wrong = set[rows[i].kind](&o->conf, &rows[i], value)))
            o->has |= 1u << i;
        return wrong;
    }
    return POLICY_UNKNOWN;
}

void policy_apply(const struct policy_over *o, struct mpio_conf *c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!(o->has & 1u << i))
            continue;
        *field(c, &rows[i]) = field_get(&o->conf, &rows[i]);
        if (rows[i].kind == FAILBACK)
            c->failback_s = o->conf.failback_s;
        else if (rows[i].kind == NO_PATH)
            c->no_path_s = o->conf.no_path_s;
    }
}

/* ---- as JSON --------------------------------------------------------------------------------------------- */

static json_t *row_json(const struct mpio_conf *c, const struct row *r)
{
    static const char *const failback[] = { "immediate", NULL, "manual" }, *const no_path[] = { NULL, "queue",
                                                                                                "fail" };
    const uint32_t v = field_get(c, r);

    switch (r->kind) {
    case WORD: return json_string(r->words[v]);
    case FAILBACK: return failback[v] ? json_string(failback[v]) : json_integer(c->failback_s);
    case NO_PATH: return no_path[v] ? json_string(no_path[v]) : json_integer(c->no_path_s);
    case NUMBER: break;
    }
    return json_integer(v);
}

json_t *policy_json(const struct mpio_conf *conf)
{
    json_t *o = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        json_object_set_new(o, rows[i].key, row_json(conf, &rows[i]));
    return o;
}

json_t *policy_over_json(const struct policy_over *over)
{
    json_t *o = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (over->has & 1u << i)
            json_object_set_new(o, rows[i].key, row_json(&over->conf, &rows[i]));
    return o;
}

/* ---- multipath.conf -------------------------------------------------------------------------------------- */

static struct mpio_whose whose(const struct ini_lun_info *info)
{
    return (struct mpio_whose){
        .wwid = info->wwid, .vendor = info->vendor, .product = info->product, .revision = info->revision
    };
}

void policy_for(const struct mgr *m, const struct ini_lun_info *info, const struct policy_over *over,
                struct mpio_mpset *out)
{
    const struct mpio_whose w = whose(info);

    mpio_conf_default(&out->conf);
    mpio_mpconf_for(m->mpconf, &w, out);
    policy_apply(over, &out->conf);
}

bool policy_one_path(const struct mgr *m, const struct ini_lun_info *info, char why[static 256])
{
    const struct mpio_whose w = whose(info);

    return mpio_mpconf_blacklisted(m->mpconf, &w, why);
}

static void remarked(void *user, bool bad, const char *remark)
{
    unsigned *nr = user;

    ++*nr;
    rt_log(bad ? RT_WARN : RT_NOTICE, "%s", remark);
}

int mpconf_read(const struct mgr *m, struct mpio_mpconf **out, unsigned *remarks)
{
    const struct mpio_mpconf_say say = { remarked, remarks };
    int err;

    *out = NULL;
    *remarks = 0;
    if (!m->multipath_conf)
        return 0;
    err = mpio_mpconf_load(out, m->multipath_conf, &say);
    if (err && err != -ENOENT && err != -ENOTDIR)
        rt_log(RT_ERR, "%s: %s", m->multipath_conf,
               err == -EINVAL ? "its sections do not nest, or it is no text" : strerror(-err));
    return err == -ENOENT || err == -ENOTDIR ? 0 : err;
}
