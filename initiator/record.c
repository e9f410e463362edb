/*
 * record.c - node records, iscsid.conf and the initiator's name on disk, in open-iscsi's formats
 *
 * A record is an ordered list of keys and values; those that mean something here go through
 * ini_settings_set(), the others are carried along untouched, so both tools may use one directory. A portal
 * whose group tag is known has its record at <addr>,<port>,<tpgt>/default, one without at the plain file
 * <addr>,<port>, as open-iscsi has it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/record.h"

#define FILE_LEN_MAX (256u * 1024)
#define PATH_LEN_MAX 1024
#define KEY_LEN_MAX 100
#define VALUE_LEN_MAX 300
#define KEYS_MAX 512

/* ---- lines of "key = value" ----------------------------------------------------------------------------- */

static char *trimmed(char *s)
{
    size_t n;

    while (*s == ' ' || *s == '\t')
        s++;
    n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\r'))
        s[--n] = '\0';
    return s;
}

/* The next line that has a key; *at moves past it, *line counts. Return: 1, 0 at the end, -EINVAL for one
 * without '='. */
static int line_next(char **at, unsigned *line, char **key, char **value)
{
    while (**at) {
        char *text = *at, *end = strchr(text, '\n'), *eq;

        (*line)++;
        *at = end ? end + 1 : text + strlen(text);
        if (end)
            *end = '\0';
        text = trimmed(text);
        if (!*text || *text == '#')
            continue;
        eq = strchr(text, '=');
        if (!eq)
            return -EINVAL;
        *eq = '\0';
        *key = trimmed(text);
        *value = trimmed(eq + 1);
        return **key ? 1 : -EINVAL;
    }
    return 0;
}

static int path_make(char out[static PATH_LEN_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int path_make(char out[static PATH_LEN_MAX], const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, PATH_LEN_MAX, fmt, ap);
    va_end(ap);
    return n < 0 || n >= PATH_LEN_MAX ? -ENAMETOOLONG : 0;
}

/* ---- the initiator's name ------------------------------------------------------------------------------- */

int ini_name_load(const char *dir, char out[static ISCSI_NAME_LEN_MAX + 1], char why[static 256])
{
    char path[PATH_LEN_MAX], *data, *at, *key, *value;
    unsigned line = 0;
    size_t len;
    int err = path_make(path, "%s/initiatorname.iscsi", dir), got;

    why[0] = '\0';
    if (!err)
        err = rt_load(path, FILE_LEN_MAX, &data, &len);
    if (err) {
        snprintf(why, 256, "%.180s: %s", path, strerror(-err));
        return err;
    }
    err = -EINVAL;
    snprintf(why, 256, "%.180s: no line InitiatorName=", path);
    for (at = data; (got = line_next(&at, &line, &key, &value)) != 0;) {
        const char *bad;

        if (got < 0 || strcmp(key, "InitiatorName"))
            continue;
        bad = iscsi_name_refusal(value, out);
        if (bad)
            snprintf(why, 256, "%.100s line %u: \"%.60s\": %.70s", path, line, value, bad);
        else
            why[0] = '\0';
        err = bad ? -EINVAL : 0;
        break;
    }
    free(data);
    return err;
}

int ini_name_save(const char *dir, const char *name)
{
    char path[PATH_LEN_MAX], text[ISCSI_NAME_LEN_MAX + 32];
    int err = path_make(path, "%s/initiatorname.iscsi", dir);

    if (err)
        return err;
    snprintf(text, sizeof(text), "InitiatorName=%s\n", name);
    err = rt_mkdirs(dir, 0755);
    return err ? err : rt_save(path, text, strlen(text), 0600);
}

void ini_name_make(struct rt *rt, char out[static ISCSI_NAME_LEN_MAX + 1])
{
    uint8_t r[6];

    rt_random(rt, r, sizeof(r));
    snprintf(out, ISCSI_NAME_LEN_MAX + 1, "iqn.2026-11.org.corelane:%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2],
             r[3], r[4], r[5]);
}

/* ---- what a record holds -------------------------------------------------------------------------------- */

/* Every key that open-iscsi 2.1.8 writes for a node over TCP, in its order. A value of NULL comes from the
 * settings, "" is left out until it is set. */
static const struct {
    const char *key, *value;
} rows[] = {
    { "node.name", "" },
    { "node.tpgt", "-1" },
    { "node.startup", "manual" },
    { "node.leading_login", "No" },
    { "iface.hwaddress", "" },
    { "iface.ipaddress", "" },
    { "iface.iscsi_ifacename", "default" },
    { "iface.net_ifacename", "" },
    { "iface.prefix_len", "0" },
    { "iface.transport_name", "tcp" },
    { "iface.initiatorname", "" },
    { "iface.vlan_id", "0" },
    { "iface.vlan_priority", "0" },
    { "iface.iface_num", "0" },
    { "iface.mtu", "0" },
    { "iface.port", "0" },
    { "iface.tos", "0" },
    { "iface.ttl", "0" },
    { "iface.tcp_wsf", "0" },
    { "iface.tcp_timer_scale", "0" },
    { "iface.def_task_mgmt_timeout", "0" },
    { "iface.erl", "0" },
    { "iface.max_receive_data_len", "0" },
    { "iface.first_burst_len", "0" },
    { "iface.max_outstanding_r2t", "0" },
    { "iface.max_burst_len", "0" },
    { "node.discovery_address", "" },
    { "node.discovery_port", "0" },
    { "node.discovery_type", "static" },
    { "node.session.initial_cmdsn", "0" },
    { "node.session.initial_login_retry_max", NULL },
    { "node.session.xmit_thread_priority", "-20" },
    { "node.session.cmds_max", NULL },
    { "node.session.queue_depth", NULL },
    { "node.session.nr_sessions", NULL },
    { "node.session.auth.authmethod", NULL },
    { "node.session.auth.username", NULL },
    { "node.session.auth.password", NULL },
    { "node.session.auth.username_in", NULL },
    { "node.session.auth.password_in", NULL },
    { "node.session.auth.chap_algs", NULL },
    { "node.session.timeo.replacement_timeout", NULL },
    { "node.session.err_timeo.abort_timeout", NULL },
    { "node.session.err_timeo.lu_reset_timeout", NULL },
    { "node.session.err_timeo.tgt_reset_timeout", NULL },
    { "node.session.err_timeo.host_reset_timeout", "60" },
    { "node.session.iscsi.FastAbort", "Yes" },
    { "node.session.iscsi.InitialR2T", NULL },
    { "node.session.iscsi.ImmediateData", NULL },
    { "node.session.iscsi.FirstBurstLength", NULL },
    { "node.session.iscsi.MaxBurstLength", NULL },
    { "node.session.iscsi.DefaultTime2Retain", NULL },
    { "node.session.iscsi.DefaultTime2Wait", NULL },
    { "node.session.iscsi.MaxConnections", "1" },
    { "node.session.iscsi.MaxOutstandingR2T", NULL },
    { "node.session.iscsi.ERL", "0" },
    { "node.session.scan", "auto" },
    { "node.session.reopen_max", NULL },
    { "node.conn[0].address", "" },
    { "node.conn[0].port", "3260" },
    { "node.conn[0].startup", "manual" },
    { "node.conn[0].tcp.window_size", "524288" },
    { "node.conn[0].tcp.type_of_service", "0" },
    { "node.conn[0].timeo.logout_timeout", NULL },
    { "node.conn[0].timeo.login_timeout", NULL },
    { "node.conn[0].timeo.auth_timeout", "45" },
    { "node.conn[0].timeo.noop_out_interval", NULL },
    { "node.conn[0].timeo.noop_out_timeout", NULL },
    { "node.conn[0].iscsi.MaxXmitDataSegmentLength", "0" },
    { "node.conn[0].iscsi.MaxRecvDataSegmentLength", NULL },
    { "node.conn[0].iscsi.HeaderDigest", NULL },
    { "node.conn[0].iscsi.DataDigest", NULL },
    { "node.conn[0].iscsi.IFMarker", "No" },
    { "node.conn[0].iscsi.OFMarker", "No" },
};

static size_t row_of(const char *key)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(rows) && strcmp(rows[i].key, key))
        i++;
    return i;
}

static void setting_text(const struct ini_settings *s, const char *key, char out[static VALUE_LEN_MAX])
{
    static const char *const digests[] = { "None", "None,CRC32C", "CRC32C,None", "CRC32C" };
    enum { NUM, BOOL, DIGEST };
    static const struct {
        const char *key;
        size_t off;
        int kind;
    } fields[] = {
#define X(k, field, kind, def, lo, hi) { k, offsetof(struct ini_settings, field), kind },
        INI_SETTINGS(X)
#undef X
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const int32_t v = *(const int32_t *)((const char *)s + fields[i].off);

        if (strcmp(key, fields[i].key))
            continue;
        if (fields[i].kind == NUM)
            snprintf(out, VALUE_LEN_MAX, "%d", v);
        else
            snprintf(out, VALUE_LEN_MAX, "%s", fields[i].kind == DIGEST ? digests[v & 3] : v ? "Yes" : "No");
        return;
    }
    out[0] = '\0';
}

static void algs_text(unsigned algs, char out[static VALUE_LEN_MAX])
{
    out[0] = '\0';
    for (unsigned a = CHAP_SHA3_256; a >= CHAP_MD5; a--)
        if (algs & 1u << a) {
            if (out[0])
                strcat(out, ",");
            strcat(out, chap_alg_name(a));
        }
}

static void auth_text(const struct ini_settings *s, const char *key, char out[static VALUE_LEN_MAX])
{
    const struct chap_cred *c = strstr(key, "_in") ? &s->user_in : &s->user;

    if (strstr(key, "authmethod"))
        strcpy(out, s->user.name[0] ? "CHAP" : "None");
    else if (strstr(key, "chap_algs"))
        algs_text(s->chap_algs, out);
    else if (strstr(key, "username"))
        snprintf(out, VALUE_LEN_MAX, "%s", c->name);
    else
        snprintf(out, VALUE_LEN_MAX, "%.*s", (int)c->secret_len, (const char *)c->secret);
}

/* ---- a record in memory --------------------------------------------------------------------------------- */

struct ini_record {
    char version[40];
    unsigned nr;
    struct pair {
        char key[KEY_LEN_MAX], value[VALUE_LEN_MAX];
    } *pair;
};

void ini_record_free(struct ini_record *r)
{
    if (!r)
        return;
    if (r->pair)
        explicit_bzero(r->pair, r->nr * sizeof(*r->pair));  /* secrets */
    free(r->pair);
    free(r);
}

static struct ini_record *record_alloc(void)
{
    struct ini_record *r = calloc(1, sizeof(*r));

    if (r)
        strcpy(r->version, "2.1.8");
    return r;
}

static struct pair *pair_find(const struct ini_record *r, const char *key)
{
    for (unsigned i = r->nr; i--;)          /* of a key that is there twice the last holds */
        if (!strcmp(r->pair[i].key, key))
            return &r->pair[i];
    return NULL;
}

const char *ini_record_get(const struct ini_record *r, const char *key)
{
    const struct pair *p = pair_find(r, key);

    return p ? p->value : NULL;
}

static int pair_insert(struct ini_record *r, unsigned at, const char *key, const char *value)
{
    struct pair *more;

    if (r->nr == KEYS_MAX)
        return -E2BIG;
    more = calloc(r->nr + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    if (r->nr) {
        memcpy(more, r->pair, at * sizeof(*more));
        memcpy(more + at + 1, r->pair + at, (r->nr - at) * sizeof(*more));
        explicit_bzero(r->pair, r->nr * sizeof(*r->pair));
    }
    free(r->pair);
    r->pair = more;
    r->nr++;
    strcpy(more[at].key, key);
    strcpy(more[at].value, value);
    return 0;
}

static bool is_text(const char *s, size_t max)
{
    const size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < ' ' || s[i] == 0x7f)
            return false;
    return n < max;
}

/* What a line would not give back as it was. */
static bool has_blank_end(const char *s)
{
    const size_t n = strlen(s);

    return n && (strchr(" \t", s[0]) || strchr(" \t", s[n - 1]));
}

int ini_record_set(struct ini_record *r, const char *key, const char *value)
{
    struct pair *p = pair_find(r, key);
    const size_t row = row_of(key);
    unsigned at = r->nr;

    if (!key[0] || strpbrk(key, "= \t#") || !is_text(key, KEY_LEN_MAX) || !is_text(value, VALUE_LEN_MAX) ||
        has_blank_end(value))
        return -EINVAL;
    if (!value[0] || !strcmp(value, "<empty>")) {           /* as open-iscsi: what is empty is not written */
        if (p) {
            memmove(p, p + 1, (size_t)(r->pair + r->nr - (p + 1)) * sizeof(*p));
            r->nr--;
        }
        return 0;
    }
    if (p) {
        strcpy(p->value, value);
        return 0;
    }
    if (row < ARRAY_SIZE(rows))
        for (at = 0; at < r->nr; at++) {
            const size_t other = row_of(r->pair[at].key);

            if (other < ARRAY_SIZE(rows) && other > row)
                break;
        }
    return pair_insert(r, at, key, value);
}

int ini_record_new(const char *iqn, const struct iscsi_portal *portal, const struct ini_settings *set,
                   struct ini_record **out)
{
    struct ini_record *r = record_alloc();
    char value[VALUE_LEN_MAX];
    int err = r ? 0 : -ENOMEM;

    for (size_t i = 0; !err && i < ARRAY_SIZE(rows); i++) {
        const char *key = rows[i].key;

        if (rows[i].value)
            strcpy(value, rows[i].value);
        else if (!strncmp(key, "node.session.auth.", 18))
            auth_text(set, key, value);
        else
            setting_text(set, key, value);
        if (value[0])
            err = ini_record_set(r, key, value);
    }
    if (!err)
        err = ini_record_set(r, "node.name", iqn);
    if (!err)
        err = ini_record_set(r, "node.conn[0].address", portal->host);
    snprintf(value, sizeof(value), "%u", portal->port);
    if (!err)
        err = ini_record_set(r, "node.conn[0].port", value);
    snprintf(value, sizeof(value), "%u", portal->tpgt);
    if (!err && portal->tpgt)
        err = ini_record_set(r, "node.tpgt", value);
    explicit_bzero(value, sizeof(value));
    if (err) {
        ini_record_free(r);
        return err;
    }
    *out = r;
    return 0;
}

int ini_record_settings(const struct ini_record *r, struct ini_settings *set, char why[static 256])
{
    why[0] = '\0';
    for (unsigned i = 0; i < r->nr; i++) {
        const struct pair *p = &r->pair[i];
        const char *bad = ini_settings_set(set, p->key, p->value);

        if (!bad || bad == INI_KEY_UNKNOWN)
            continue;
        if (strstr(p->key, "password"))     /* its value is nobody's business */
            snprintf(why, 256, "%s: %.150s", p->key, bad);
        else
            snprintf(why, 256, "%s = %.60s: %.90s", p->key, p->value, bad);
        return -EINVAL;
    }
    return 0;
}

/* ---- records on disk ------------------------------------------------------------------------------------ */

/* A name or address becomes a part of a path. */
static bool path_part(const char *s)
{
    return s[0] && s[0] != '.' && !strchr(s, '/') && is_text(s, 256);
}

static int node_dir(char out[static PATH_LEN_MAX], const char *dir, const char *iqn)
{
    return path_part(iqn) ? path_make(out, "%s/nodes/%s", dir, iqn) : -EINVAL;
}

/* The first, by name, of a directory's entries that are wanted. */
struct pick {
    const char *want;                       /* the entry: starts so */
    size_t want_len;
    bool any_group;                         /* ... and may go on with ",<tpgt>" */
    char best[300];
};

static void entry_pick(void *arg, const char *name)
{
    struct pick *p = arg;

    if (strncmp(name, p->want, p->want_len) || strlen(name) >= sizeof(p->best))
        return;
    if (name[p->want_len] && (!p->any_group || name[p->want_len] != ','))
        return;
    if (!p->best[0] || strcmp(name, p->best) < 0)
        strcpy(p->best, name);
}

/* The entry of @node that belongs to a portal: "<addr>,<port>,<tpgt>", with any group tag where none is given,
 * or "<addr>,<port>". Return: 0, or -ENOENT, -errno. */
static int entry_find(const char *node, const struct iscsi_portal *portal, char out[static PATH_LEN_MAX])
{
    char want[300], path[PATH_LEN_MAX];
    struct pick p = { .want = want, .any_group = !portal->tpgt };
    int err;

    snprintf(want, sizeof(want), portal->tpgt ? "%s,%u,%u" : "%s,%u", portal->host, portal->port, portal->tpgt);
    p.want_len = strlen(want);
    if ((err = rt_dir_each(node, entry_pick, &p)))
        return err;
    if (!p.best[0] && portal->tpgt) {       /* made before its group tag was known */
        snprintf(p.best, sizeof(p.best), "%s,%u", portal->host, portal->port);
        if (path_make(path, "%s/%s", node, p.best) || rt_kind(path) < 0)
            p.best[0] = '\0';
    }
    return p.best[0] ? path_make(out, "%s/%s", node, p.best) : -ENOENT;
}

static void iface_pick(void *arg, const char *name)
{
    struct pick *p = arg;

    if (name[0] == '.' || strlen(name) >= sizeof(p->best))
        return;
    if (!strcmp(name, "default") || !p->best[0] || (strcmp(p->best, "default") && strcmp(name, p->best) < 0))
        strcpy(p->best, name);
}

/* The file: the entry itself, or its "default", or the first interface's. */
static int entry_file(const char *entry, char out[static PATH_LEN_MAX])
{
    struct pick p = { .best = "" };
    int err, kind = rt_kind(entry);

    if (kind < 0)
        return kind;
    if (kind != RT_KIND_DIR)
        return path_make(out, "%s", entry);
    if ((err = rt_dir_each(entry, iface_pick, &p)))
        return err;
    return p.best[0] ? path_make(out, "%s/%s", entry, p.best) : -ENOENT;
}

static int record_parse(char *data, struct ini_record **out)
{
    struct ini_record *r = record_alloc();
    char *at = data, *key, *value;
    unsigned line = 0;
    int got, err = r ? 0 : -ENOMEM;

    if (!err && !strncmp(data, "# BEGIN RECORD ", 15))
        sscanf(data + 15, "%39[^ \n]", r->version);
    while (!err && (got = line_next(&at, &line, &key, &value)) != 0) {
        if (got < 0 || strlen(key) >= KEY_LEN_MAX || strlen(value) >= VALUE_LEN_MAX)
            err = -EINVAL;
        else if (value[0])
            err = pair_find(r, key) ? ini_record_set(r, key, value) : pair_insert(r, r->nr, key, value);
    }
    if (err) {
        ini_record_free(r);
        return err;
    }
    *out = r;
    return 0;
}

int ini_record_load(const char *dir, const char *iqn, const struct iscsi_portal *portal,
                    struct ini_record **out)
{
    char node[PATH_LEN_MAX], entry[PATH_LEN_MAX], path[PATH_LEN_MAX], *data;
    size_t len;
    int err = node_dir(node, dir, iqn);

    if (!err)
        err = entry_find(node, portal, entry);
    if (!err)
        err = entry_file(entry, path);
    if (!err)
        err = rt_load(path, FILE_LEN_MAX, &data, &len);
    if (err)
        return err;
    err = strlen(data) == len ? record_parse(data, out) : -EINVAL;
    explicit_bzero(data, len);
    free(data);
    return err;
}

static int record_text(const struct ini_record *r, char **out, size_t *len)
{
    const size_t room = (r->nr + 2) * sizeof(struct pair);
    char *text = malloc(room);
    size_t n;

    if (!text)
        return -ENOMEM;
    n = (size_t)snprintf(text, room, "# BEGIN RECORD %s\n", r->version);
    for (unsigned i = 0; i < r->nr; i++)
        n += (size_t)snprintf(text + n, room - n, "%s = %s\n", r->pair[i].key, r->pair[i].value);
    n += (size_t)snprintf(text + n, room - n, "# END RECORD\n");
    *out = text;
    *len = n;
    return 0;
}

/* Where a record goes: over the one that is there, else where open-iscsi would make it. */
static int record_path(const char *dir, const struct ini_record *r, char out[static PATH_LEN_MAX])
{
    const char *iqn = ini_record_get(r, "node.name"), *host = ini_record_get(r, "node.conn[0].address");
    const char *port = ini_record_get(r, "node.conn[0].port"), *tpgt = ini_record_get(r, "node.tpgt");
    const char *iface = ini_record_get(r, "iface.iscsi_ifacename");
    char node[PATH_LEN_MAX], entry[PATH_LEN_MAX];
    const bool grouped = tpgt && atoi(tpgt) > 0;
    int err, kind;

    if (!iqn || !host || !port || !path_part(host) || !path_part(port) || (iface && !path_part(iface)))
        return -EINVAL;
    err = node_dir(node, dir, iqn);
    if (!err)
        err = grouped ? path_make(entry, "%s/%s,%s,%s", node, host, port, tpgt)
                      : path_make(entry, "%s/%s,%s", node, host, port);
    if (err)
        return err;
    kind = rt_kind(entry);
    if (kind < 0 ? grouped : kind == RT_KIND_DIR) {
        err = rt_mkdirs(entry, 0700);
        return err ? err : path_make(out, "%s/%s", entry, iface ? iface : "default");
    }
    err = rt_mkdirs(node, 0700);
    return err ? err : path_make(out, "%s", entry);
}

int ini_record_save(const char *dir, const struct ini_record *r)
{
    char path[PATH_LEN_MAX], *text;
    size_t len;
    int err = record_path(dir, r, path);

    if (!err)
        err = record_text(r, &text, &len);
    if (err)
        return err;
    err = rt_save(path, text, len, 0600);
    explicit_bzero(text, len);
    free(text);
    return err;
}

int ini_record_delete(const char *dir, const char *iqn, const struct iscsi_portal *portal)
{
    char node[PATH_LEN_MAX], entry[PATH_LEN_MAX], path[PATH_LEN_MAX];
    int err = node_dir(node, dir, iqn);

    if (!err)
        err = entry_find(node, portal, entry);
    if (!err)
        err = entry_file(entry, path);
    if (err)
        return err;
    if ((err = rt_remove(path)))
        return err;
    (void)rt_rmdir(entry);                  /* of other interfaces' records: stays, not empty */
    (void)rt_rmdir(node);
    return 0;
}

/* ---- iscsid.conf ---------------------------------------------------------------------------------------- */

/* Keys that are right in the file and mean something to open-iscsi alone. */
static bool known_elsewhere(const char *key)
{
    static const char *const prefixes[] = { "iscsid.", "discovery.", "iface.", "isns.", "host." };
    static const char *const others[] = { "node.session.sess_reopen_log_freq",
                                          "node.conn[0].tcp.congestion_control",
                                          "node.session.auth.password_length",
                                          "node.session.auth.password_in_length", "node.boot_lun" };

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (!strncmp(key, prefixes[i], strlen(prefixes[i])))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (!strcmp(key, others[i]))
            return true;
    return row_of(key) < ARRAY_SIZE(rows);
}

/* Adds a key to "3 keys are not known: a, b". */
static void unknown_note(char why[static 512], unsigned nr, const char *key, char *names, size_t room)
{
    if (nr <= 5) {
        const size_t n = strlen(names);

        snprintf(names + n, room - n, "%s%.80s", nr > 1 ? ", " : "", key);
    }
    snprintf(why, 512, "%u key%s not known and ignored: %s%s", nr, nr == 1 ? "" : "s", names,
             nr > 5 ? ", ..." : "");
}

static int conf_take(const char *path, char *data, struct ini_settings *set, char why[static 512])
{
    char *at = data, *key, *value, names[440] = "";
    unsigned line = 0, unknown = 0;
    int got;

    while ((got = line_next(&at, &line, &key, &value)) != 0) {
        const char *bad;

        if (got < 0) {
            snprintf(why, 512, "%.200s line %u: not of the form key = value", path, line);
            return -EINVAL;
        }
        bad = ini_settings_set(set, key, value);
        if (bad == INI_KEY_UNKNOWN) {
            if (!known_elsewhere(key))
                unknown_note(why, ++unknown, key, names, sizeof(names));
        } else if (bad) {
            snprintf(why, 512, "%.200s line %u: %.80s%s%.60s: %.120s", path, line, key,
                     strstr(key, "password") ? "" : " = ", strstr(key, "password") ? "" : value, bad);
            return -EINVAL;
        }
    }
    return 0;
}

int ini_iscsid_conf_load(const char *dir, struct ini_settings *set, char why[static 512])
{
    char path[PATH_LEN_MAX], *data;
    struct ini_settings fresh = *set;
    size_t len;
    int err = path_make(path, "%s/iscsid.conf", dir);

    why[0] = '\0';
    if (!err)
        err = rt_load(path, FILE_LEN_MAX, &data, &len);
    if (err == -ENOENT)
        return 0;
    if (err) {
        snprintf(why, 512, "%.300s: %s", path, strerror(-err));
        return err;
    }
    err = conf_take(path, data, &fresh, why);
    if (!err)
        *set = fresh;
    explicit_bzero(data, len);
    explicit_bzero(&fresh, sizeof(fresh));
    free(data);
    return err;
}
