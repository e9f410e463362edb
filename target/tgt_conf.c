/*
 * tgt_conf.c - the configuration document: what may be in it, and how it is read and written
 *
 * One JSON document is the whole configuration; a change edits a copy of it, has it checked here, and puts
 * it in place. So what a command may set and what a file may say are one set of rules, in the tables below.
 * A file of a version or with a key that is not known is refused whole: to run with half of what was meant
 * loses data.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "iscsi/name.h"
#include "rpc/json.h"
#include "target/tgt_internal.h"

/* Where in the document a check is, and what it has to say. */
struct conf_at {
    char *why;                              /* CONF_WHY_MAX bytes */
    char path[320];
};

static int refuse(struct conf_at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct conf_at *at, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(at->why, CONF_WHY_MAX, "%s%s", at->path, *at->path ? ": " : "");

    if (n < 0 || n >= CONF_WHY_MAX)
        return -EINVAL;
    va_start(ap, fmt);
    vsnprintf(at->why + n, CONF_WHY_MAX - (size_t)n, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

/* ---- objects by table ------------------------------------------------------------------------------------ */

struct conf_key {
    const char *name;
    json_type type;                         /* JSON_TRUE stands for both booleans */
    bool required;
    int (*check)(struct conf_at *at, json_t *v);   /* NULL: the type says all */
};

static const char *type_name(json_type t)
{
    switch (t) {
    case JSON_OBJECT:  return "an object";
    case JSON_ARRAY:   return "a list";
    case JSON_STRING:  return "a string";
    case JSON_INTEGER: return "a whole number";
    default:           return "true or false";
    }
}

static bool type_fits(json_type want, const json_t *v)
{
    return want == JSON_TRUE ? json_is_boolean(v) : json_typeof(v) == want;
}

static int object_check(struct conf_at *at, json_t *obj, const struct conf_key *keys, size_t n)
{
    const char *name;
    json_t *v;

    if (!json_is_object(obj))
        return refuse(at, "this must be an object, {...}");
    for (size_t i = 0; i < n; i++) {
        if (keys[i].required && !json_object_get(obj, keys[i].name))
            return refuse(at, "\"%s\" is missing", keys[i].name);
    }
    json_object_foreach(obj, name, v) {
        const struct conf_key *k = NULL;
        int err;

        for (size_t i = 0; i < n && !k; i++)
            k = strcmp(keys[i].name, name) ? NULL : &keys[i];
        if (!k)
            return refuse(
                at, "the key \"%.64s\" is not known here; remove it, or use the version that wrote it", name);
        if (!type_fits(k->type, v))
            return refuse(at, "\"%s\" must be %s", name, type_name(k->type));
        if (k->check && (err = k->check(at, v)))
            return err;
    }
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static int check_name(struct conf_at *at, json_t *v)
{
    char norm[ISCSI_NAME_LEN_MAX + 1];
    const char *why = iscsi_name_refusal(json_string_value(v), norm);

    if (why)
        return refuse(at, "\"%.100s\" is not an iSCSI name: %s", json_string_value(v), why);
    json_string_set(v, norm);               /* names are compared in lower case */
    return 0;
}

static int check_initiator(struct conf_at *at, json_t *v)
{
    return strcmp(json_string_value(v), "*") ? check_name(at, v) : 0;
}

static int check_number(struct conf_at *at, json_t *v)
{
    const json_int_t n = json_integer_value(v);

    if (n < 0 || n > SCSI_LUN_MAX)
        return refuse(at, "LUN %lld is out of range; it may be 0 to %u", (long long)n, SCSI_LUN_MAX);
    return 0;
}

static int check_tag(struct conf_at *at, json_t *v)
{
    const json_int_t n = json_integer_value(v);

    return n >= 1 && n <= UINT16_MAX ? 0 : refuse(at, "portal group %lld; it may be 1 to 65535", (long long)n);
}

static int check_state(struct conf_at *at, json_t *v)
{
    if (lun_port_state_parse(json_string_value(v)) < 0)
        return refuse(at, "state \"%.32s\" is not known; it may be optimized, non-optimized, standby, "
                      "unavailable or offline", json_string_value(v));
    return 0;
}

static const char *const kinds[] = { "file", "block", "ram", "null" };

static int check_kind(struct conf_at *at, json_t *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!strcmp(kinds[i], json_string_value(v)))
            return 0;
    }
    return refuse(at, "kind \"%.32s\" is not known; it may be file, block, ram or null", json_string_value(v));
}

/* Paths are compared as text, so one file must have one spelling. */
static int check_path(struct conf_at *at, json_t *v)
{
    const char *p = json_string_value(v);
    const size_t len = strlen(p);

    if (*p != '/')
        return refuse(at, "path \"%.200s\" is relative; give it from the root, /...", p);
    if (strstr(p, "//") || strstr(p, "/./") || strstr(p, "/../") || p[len - 1] == '/' ||
        (len >= 3 && !strcmp(p + len - 3, "/..")) || (len >= 2 && !strcmp(p + len - 2, "/.")))
        return refuse(at, "path \"%.200s\" has an empty part, \".\" or \"..\"; write it without", p);
    if (len >= 4096)
        return refuse(at, "the path has %zu bytes; it may have 4095", len);
    return 0;
}

static int check_size(struct conf_at *at, json_t *v)
{
    const json_int_t n = json_integer_value(v);

    if (n <= 0)
        return refuse(at, "size %lld is none; give a number of bytes above 0", (long long)n);
    if (n > (json_int_t)1 << 60)
        return refuse(at, "size %lld is over 1 EiB, which is the most", (long long)n);
    return 0;
}

static int check_block_size(struct conf_at *at, json_t *v)
{
    const json_int_t n = json_integer_value(v);

    return n == 512 || n == 4096 ? 0 : refuse(at, "block size %lld; it may be 512 or 4096", (long long)n);
}

static int check_naa(struct conf_at *at, json_t *v)
{
    uint8_t naa[16];

    if (conf_naa_parse(json_string_value(v), naa))
        return refuse(
            at, "naa \"%.40s\" must be 32 hexadecimal digits, the first a 6; leave it out to have one made",
            json_string_value(v));
    return 0;
}

static int check_numbers(struct conf_at *at, json_t *v)
{
    size_t i, k;
    json_t *n, *m;

    json_array_foreach(v, i, n) {
        if (!json_is_integer(n))
            return refuse(at, "\"luns\" must list whole numbers");
        if (check_number(at, n))
            return -EINVAL;
        json_array_foreach(v, k, m) {
            if (k < i && json_equal(n, m))
                return refuse(at, "\"luns\" names %lld twice", (long long)json_integer_value(n));
        }
    }
    return 0;
}

static int check_direction(struct conf_at *at, json_t *v)
{
    const char *d = json_string_value(v);

    if (!strcmp(d, "in") || !strcmp(d, "out"))
        return 0;
    return refuse(at, "direction \"%.32s\"; it may be \"in\" (initiators prove themselves) or \"out\" (we do)",
                  d);
}

static int check_user(struct conf_at *at, json_t *v)
{
    const size_t len = strlen(json_string_value(v));

    if (!len || len > CHAP_NAME_LEN_MAX)
        return refuse(at, "a user name has 1 to %u bytes; this one has %zu", CHAP_NAME_LEN_MAX, len);
    return 0;
}

/* The secret itself is never repeated in a message. */
static int check_secret(struct conf_at *at, json_t *v)
{
    const char *why = chap_secret_refusal(json_string_value(v), json_string_length(v), NULL, 0);

    return why ? refuse(at, "%s", why) : 0;
}

static int check_algs(struct conf_at *at, json_t *v)
{
    size_t i;
    json_t *a;

    json_array_foreach(v, i, a) {
        if (!json_is_string(a) || !chap_alg_from_name(json_string_value(a)))
            return refuse(at, "\"algs\" may list MD5, SHA1, SHA256 and SHA3-256");
    }
    return json_array_size(v) ? 0 : refuse(at, "\"algs\" is empty; leave it out to allow all");
}

static int check_portal(struct conf_at *at, json_t *v)
{
    struct rt_addr addr;
    uint16_t group;

    if (!json_is_string(v) || tgt_portal_parse(json_string_value(v), &addr, &group))
        return refuse(at, "portal \"%.100s\" must be an address with an optional port and portal group (1 to "
                      "65535): 192.0.2.1:3260 or [2001:db8::1]:3260,2",
                      json_is_string(v) ? json_string_value(v) : "?");
    return 0;
}

/* ---- lists ----------------------------------------------------------------------------------------------- */

/* Runs a check on each element, with "NAME[i]" (or what it is called) added to the place. */
static int list_check(struct conf_at *at, json_t *list, const char *name, const char *id,
                      int (*check)(struct conf_at *at, json_t *v))
{
    const size_t len = strlen(at->path);
    size_t i;
    json_t *v;

    json_array_foreach(list, i, v) {
        const json_t *called = id && json_is_object(v) ? json_object_get(v, id) : NULL;
        int err;

        if (json_is_string(called))
            snprintf(at->path + len, sizeof(at->path) - len, "%s%s \"%.100s\"", len ? ", " : "", name,
                     json_string_value(called));
        else if (json_is_integer(called))
            snprintf(at->path + len, sizeof(at->path) - len, "%s%s %lld", len ? ", " : "", name,
                     (long long)json_integer_value(called));
        else
            snprintf(at->path + len, sizeof(at->path) - len, "%s%s[%zu]", len ? ", " : "", name, i);
        err = check(at, v);
        if (err)
            return err;
    }
    at->path[len] = '\0';
    return 0;
}

static const char *member(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s ? s : "";
}

static int check_alua(struct conf_at *at, json_t *v)
{
    static const struct conf_key keys[] = {
        { "group",     JSON_INTEGER, true,  check_tag },
        { "state",     JSON_STRING,  true,  check_state },
        { "preferred", JSON_TRUE,    false, NULL },
    };

    return object_check(at, v, keys, ARRAY_SIZE(keys));
}

/* The access states of an object: each group once. */
static int check_states(struct conf_at *at, json_t *obj)
{
    json_t *list = json_object_get(obj, "alua"), *a, *b;
    size_t i, k;

    if (list_check(at, list, "port group", "group", check_alua))
        return -EINVAL;
    json_array_foreach(list, i, a) {
        json_array_foreach(list, k, b) {
            if (k < i && json_equal(json_object_get(a, "group"), json_object_get(b, "group")))
                return refuse(at, "\"alua\" names port group %lld twice",
                              (long long)json_integer_value(json_object_get(a, "group")));
        }
    }
    return 0;
}

static int check_lun(struct conf_at *at, json_t *v)
{
    static const struct conf_key keys[] = {
        { "lun",        JSON_INTEGER, true,  check_number },
        { "kind",       JSON_STRING,  true,  check_kind },
        { "path",       JSON_STRING,  false, check_path },
        { "size",       JSON_INTEGER, false, check_size },
        { "block_size", JSON_INTEGER, false, check_block_size },
        { "readonly",   JSON_TRUE,    false, NULL },
        { "naa",        JSON_STRING,  false, check_naa },
        { "alua",       JSON_ARRAY,   false, NULL },
    };
    const char *kind;
    bool on_path;
    json_int_t size, block;

    if (object_check(at, v, keys, ARRAY_SIZE(keys)))
        return -EINVAL;
    kind = member(v, "kind");
    on_path = !strcmp(kind, "file") || !strcmp(kind, "block");
    if (on_path && !json_object_get(v, "path"))
        return refuse(at, "a LUN of kind %s needs a path", kind);
    if (!on_path && json_object_get(v, "path"))
        return refuse(at, "a LUN of kind %s has no path; leave it out, or make it a file", kind);
    if (!on_path && !json_object_get(v, "size"))
        return refuse(at, "a LUN of kind %s needs a size", kind);
    block = json_object_get(v, "block_size") ? json_integer_value(json_object_get(v, "block_size")) : 512;
    size = json_integer_value(json_object_get(v, "size"));
    if (size % block)
        return refuse(at, "size %lld is no multiple of the block size %lld; the next smaller is %lld",
                      (long long)size, (long long)block, (long long)(size - size % block));
    return check_states(at, v);
}

static int check_acl(struct conf_at *at, json_t *v)
{
    static const struct conf_key keys[] = {
        { "initiator", JSON_STRING, true,  check_initiator },
        { "luns",      JSON_ARRAY,  false, check_numbers },
        { "readonly",  JSON_TRUE,   false, NULL },
    };

    return object_check(at, v, keys, ARRAY_SIZE(keys));
}

static int check_chap(struct conf_at *at, json_t *v)
{
    static const struct conf_key keys[] = {
        { "direction", JSON_STRING, true,  check_direction },
        { "user",      JSON_STRING, true,  check_user },
        { "secret",    JSON_STRING, true,  check_secret },
        { "initiator", JSON_STRING, false, check_name },
        { "algs",      JSON_ARRAY,  false, check_algs },
    };

    return object_check(at, v, keys, ARRAY_SIZE(keys));
}

/* ---- limits ---------------------------------------------------------------------------------------------- */

#define LIMIT_S_MAX 3600                    /* beyond, nobody would be told in time that a host is stuck */

/* What may be under "limits": name, default, least, most. */
static const struct limit {
    const char *name;
    json_int_t def, min, max;
} limits[] = {
    { "login_s",    15,                     1,                   LIMIT_S_MAX },
    { "idle_s",     30,                     1,                   LIMIT_S_MAX },
    { "stall_s",    30,                     1,                   LIMIT_S_MAX },
    { "tasks",      16384,                  512,                 1 << 20 },
    { "buffer_mib", BUF_MEM_DEFAULT >> 20,  BUF_MEM_MIN >> 20,   4095 },
};

static int check_limits(struct conf_at *at, json_t *v)
{
    const char *name;
    json_t *n;

    json_object_foreach(v, name, n) {
        const struct limit *l = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(limits) && !l; i++)
            l = strcmp(limits[i].name, name) ? NULL : &limits[i];
        if (!l)
            return refuse(at, "limits: the key \"%.64s\" is not known here; it may be login_s, idle_s, stall_s, "
                          "tasks or buffer_mib", name);
        if (!json_is_integer(n) || json_integer_value(n) < l->min || json_integer_value(n) > l->max)
            return refuse(at, "limits: \"%s\" must be a whole number from %lld to %lld", name,
                          (long long)l->min, (long long)l->max);
    }
    return 0;
}

static uint64_t limit_get(const json_t *doc, const char *name)
{
    const json_t *v = json_object_get(json_object_get(doc, "limits"), name);
    size_t i = 0;

    while (strcmp(limits[i].name, name))
        i++;
    return (uint64_t)(v ? json_integer_value(v) : limits[i].def);
}

void conf_limits(const json_t *doc, struct tgt_limits *out)
{
    uint64_t shortest;

    *out = (struct tgt_limits){
        .login_ns = limit_get(doc, "login_s") * RT_S,
        .idle_ns = limit_get(doc, "idle_s") * RT_S,
        .stall_ns = limit_get(doc, "stall_s") * RT_S,
        .tasks = (uint32_t)limit_get(doc, "tasks"),
        .buffer_mem = (size_t)limit_get(doc, "buffer_mib") << 20,
    };
    shortest = out->idle_ns < out->stall_ns ? out->idle_ns : out->stall_ns;
    out->tick_ns = shortest / 6;            /* late by so much at most */
}

/* ---- what entries may not be to one another -------------------------------------------------------------- */

/* Two credentials: not the same one twice, and no secret that serves both ways (a reflection). */
static int chap_pairs_check(struct conf_at *at, json_t *list)
{
    size_t i, k;
    json_t *a, *b;

    json_array_foreach(list, i, a) {
        json_array_foreach(list, k, b) {
            const char *sa = member(a, "secret"), *sb = member(b, "secret"), *why;
            const bool same_way = !strcmp(member(a, "direction"), member(b, "direction"));

            if (k <= i)
                continue;
            if (same_way && !strcmp(member(a, "user"), member(b, "user")) &&
                !strcmp(member(a, "initiator"), member(b, "initiator")))
                return refuse(at, "CHAP user \"%.100s\" is there twice; clear the old one first",
                              member(a, "user"));
            if (!same_way && (why = chap_secret_refusal(sa, strlen(sa), sb, strlen(sb))))
                return refuse(at, "%s", why);
        }
    }
    return 0;
}

/* One LUN against all of the document: numbers are a target's, paths and identities everybody's. */
static int lun_pairs_check(struct conf_at *at, json_t *doc, json_t *target, json_t *lun)
{
    const char *path = member(lun, "path"), *naa = member(lun, "naa");
    size_t i, k;
    json_t *t, *l;

    json_array_foreach(json_object_get(doc, "targets"), i, t) {
        json_array_foreach(json_object_get(t, "luns"), k, l) {
            const int a = (int)json_integer_value(json_object_get(l, "lun"));
            const int b = (int)json_integer_value(json_object_get(lun, "lun"));

            if (l == lun)
                continue;
            if (t == target && a == b)
                return refuse(at, "target %s has LUN %d already; choose another number", member(target, "iqn"),
                              a);
            if (*path && !strcmp(path, member(l, "path")))
                return refuse(at, "%s is LUN %d of target %s already; two LUNs on one device would corrupt it",
                              path, a, member(t, "iqn"));
            if (*naa && !strcasecmp(naa, member(l, "naa")))
                return refuse(at,
                              "naa %s is that of LUN %d of target %s already; leave it out to have one made",
                              naa, a, member(t, "iqn"));
        }
    }
    return 0;
}

static int target_pairs_check(struct conf_at *at, json_t *doc, json_t *target)
{
    json_t *acls = json_object_get(target, "acls"), *list = json_object_get(doc, "targets"), *a, *b, *t, *l;
    size_t i, k;

    json_array_foreach(list, i, t) {
        if (t != target && !strcmp(member(t, "iqn"), member(target, "iqn")))
            return refuse(at, "target %s is there already", member(target, "iqn"));
    }
    json_array_foreach(acls, i, a) {
        json_array_foreach(acls, k, b) {
            if (k < i && !strcmp(member(a, "initiator"), member(b, "initiator")))
                return refuse(at, "initiator %s is in the access list already; remove it first",
                              member(a, "initiator"));
        }
    }
    json_array_foreach(json_object_get(target, "luns"), i, l) {
        if (lun_pairs_check(at, doc, target, l))
            return -EINVAL;
    }
    return chap_pairs_check(at, json_object_get(target, "chap"));
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static int check_target(struct conf_at *at, json_t *v)
{
    static const struct conf_key keys[] = {
        { "iqn",  JSON_STRING, true,  check_name },
        { "luns", JSON_ARRAY,  false, NULL },
        { "acls", JSON_ARRAY,  false, NULL },
        { "chap", JSON_ARRAY,  false, NULL },
        { "alua", JSON_ARRAY,  false, NULL },
    };

    if (object_check(at, v, keys, ARRAY_SIZE(keys)) ||
        list_check(at, json_object_get(v, "luns"), "LUN", "lun", check_lun) ||
        list_check(at, json_object_get(v, "acls"), "access list", "initiator", check_acl) ||
        list_check(at, json_object_get(v, "chap"), "CHAP user", "user", check_chap))
        return -EINVAL;
    return check_states(at, v);
}

static int doc_check(json_t *doc, char why[static CONF_WHY_MAX])
{
    static const struct conf_key keys[] = {
        { "version",        JSON_INTEGER, true,  NULL },
        { "portals",        JSON_ARRAY,   false, NULL },
        { "limits",         JSON_OBJECT,  false, check_limits },
        { "targets",        JSON_ARRAY,   false, NULL },
        { "discovery_chap", JSON_ARRAY,   false, NULL },
    };
    struct conf_at at = { .why = why };
    json_int_t version;
    size_t i;
    json_t *t;

    if (!json_is_object(doc))
        return refuse(&at, "the configuration must be one JSON object");
    version = json_integer_value(json_object_get(doc, "version"));
    if (json_is_integer(json_object_get(doc, "version")) && version != CONF_VERSION)
        return refuse(
            &at,
            "the configuration is of version %lld and this program knows version %d; use the version that "
            "wrote it",
            (long long)version, CONF_VERSION);
    if (object_check(&at, doc, keys, ARRAY_SIZE(keys)) ||
        list_check(&at, json_object_get(doc, "portals"), "portals", NULL, check_portal) ||
        list_check(&at, json_object_get(doc, "targets"), "target", "iqn", check_target) ||
        list_check(&at, json_object_get(doc, "discovery_chap"), "discovery, CHAP user", "user", check_chap))
        return -EINVAL;
    json_array_foreach(json_object_get(doc, "targets"), i, t) {
        if (target_pairs_check(&at, doc, t))
            return -EINVAL;
    }
    snprintf(at.path, sizeof(at.path), "discovery");
    return chap_pairs_check(&at, json_object_get(doc, "discovery_chap"));
}

int conf_check(json_t *doc, char why[static CONF_WHY_MAX])
{
    const uint64_t losses = rpc_json_losses();
    int err = doc_check(doc, why);

    if (!err && rpc_json_losses() != losses) {  /* of a name to be written in lower case */
        snprintf(why, CONF_WHY_MAX, "not enough memory to check the configuration");
        err = -ENOMEM;
    }
    return err;
}

json_t *conf_empty(void)
{
    return json_pack("{s:i, s:[]}", "version", CONF_VERSION, "targets");
}

json_t *conf_parse(const char *text, size_t len, char why[static CONF_WHY_MAX])
{
    json_error_t error;
    json_t *doc;
    int err = rpc_json_read(&doc, text, len, JSON_REJECT_DUPLICATES, &error);

    if (err == -ENOMEM) {
        snprintf(why, CONF_WHY_MAX, "not enough memory to read it");
        return NULL;
    }
    if (err) {
        snprintf(why, CONF_WHY_MAX, "line %d, column %d: %.200s; was the file cut short?", error.line,
                 error.column, error.text);
        return NULL;
    }
    if (conf_check(doc, why)) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}

char *conf_text(json_t *doc)
{
    return rpc_json_text(doc, JSON_INDENT(2));
}

int tgt_portal_parse(const char *text, struct rt_addr *addr, uint16_t *group)
{
    const char *comma = strrchr(text, ',');
    char host[RT_ADDR_STR_MAX];
    unsigned long tag = TGT_GROUP_DEFAULT;

    if (comma) {
        const char *digits = comma + 1;

        if (strspn(digits, "0123456789") != strlen(digits) || !*digits || strlen(digits) > 5)
            return -EINVAL;
        tag = strtoul(digits, NULL, 10);
    }
    if (!tag || tag > UINT16_MAX ||
        snprintf(host, sizeof(host), "%.*s", comma ? (int)(comma - text) : (int)sizeof(host), text) >=
            (int)sizeof(host) ||
        rt_addr_parse(addr, host, ISCSI_PORT) || addr->sa.sa_family == AF_UNIX)
        return -EINVAL;
    *group = (uint16_t)tag;
    return 0;
}

/* ---- looking things up ----------------------------------------------------------------------------------- */

json_t *conf_target(json_t *doc, const char *iqn)
{
    size_t i;
    json_t *t;

    json_array_foreach(json_object_get(doc, "targets"), i, t) {
        if (!strcmp(member(t, "iqn"), iqn))
            return t;
    }
    return NULL;
}

json_t *conf_lun(json_t *target, uint16_t number)
{
    size_t i;
    json_t *l;

    json_array_foreach(json_object_get(target, "luns"), i, l) {
        if (json_integer_value(json_object_get(l, "lun")) == number)
            return l;
    }
    return NULL;
}

unsigned conf_algs(json_t *algs)
{
    unsigned bits = 0;
    size_t i;
    json_t *a;

    json_array_foreach(algs, i, a)
        bits |= 1u << chap_alg_from_name(json_string_value(a));
    return bits ? bits : CHAP_ALGS_ALL;
}

void conf_naa_text(const uint8_t naa[static 16], char out[static 33])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", naa[i]);
}

int conf_naa_parse(const char *text, uint8_t out[static 16])
{
    if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32 || *text != '6')
        return -EINVAL;
    for (int i = 0; i < 16; i++) {
        const char byte[3] = { text[2 * i], text[2 * i + 1], '\0' };

        out[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return 0;
}
