/*
 * record_text.c - node records, iscsid.conf and the initiator's name as text, in open-iscsi's formats
 *
 * A record is an ordered list of keys and values; those that mean something here go through
 * ini_settings_set(), the others are carried along untouched. Where the text is kept is record.c's business.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/record.h"

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

/* ---- the initiator's name ------------------------------------------------------------------------------- */

int ini_name_parse(char *data, const char *from, char out[static ISCSI_NAME_LEN_MAX + 1], char why[static 256])
{
    char *at = data, *key, *value;
    unsigned line = 0;
    int got;

    while ((got = line_next(&at, &line, &key, &value)) != 0) {
        const char *bad;

        if (got < 0 || strcmp(key, "InitiatorName"))
            continue;
        bad = iscsi_name_refusal(value, out);
        if (bad)
            snprintf(why, 256, "%.100s line %u: \"%.60s\": %.70s", from, line, value, bad);
        else
            why[0] = '\0';
        return bad ? -EINVAL : 0;
    }
    snprintf(why, 256, "%.180s: no line InitiatorName=", from);
    return -EINVAL;
}

/* ---- what a record holds -------------------------------------------------------------------------------- */

/* Every key that open-iscsi 2.1.8 writes for a node over TCP, in its order, and ours, which are left out where they have
 * their defaults: it need not see them then. A value of NULL comes from the settings, "" is left out until it is set. */
static const struct {
    const char *key;
    size_t key_len;
    const char *value;
} rows[] = {
#define ROW(key, value) { key, sizeof(key) - 1, value }
    ROW("node.name", ""),
    ROW("node.tpgt", "-1"),
    ROW("node.startup", "manual"),
    ROW("node.leading_login", "No"),
    ROW("iface.hwaddress", ""),
    ROW("iface.ipaddress", ""),
    ROW("iface.iscsi_ifacename", "default"),
    ROW("iface.net_ifacename", ""),
    ROW("iface.prefix_len", "0"),
    ROW("iface.transport_name", "tcp"),
    ROW("iface.initiatorname", ""),
    ROW("iface.vlan_id", "0"),
    ROW("iface.vlan_priority", "0"),
    ROW("iface.iface_num", "0"),
    ROW("iface.mtu", "0"),
    ROW("iface.port", "0"),
    ROW("iface.tos", "0"),
    ROW("iface.ttl", "0"),
    ROW("iface.tcp_wsf", "0"),
    ROW("iface.tcp_timer_scale", "0"),
    ROW("iface.def_task_mgmt_timeout", "0"),
    ROW("iface.erl", "0"),
    ROW("iface.max_receive_data_len", "0"),
    ROW("iface.first_burst_len", "0"),
    ROW("iface.max_outstanding_r2t", "0"),
    ROW("iface.max_burst_len", "0"),
    ROW("node.discovery_address", ""),
    ROW("node.discovery_port", "0"),
    ROW("node.discovery_type", "static"),
    ROW("node.session.initial_cmdsn", "0"),
    ROW("node.session.initial_login_retry_max", NULL),
    ROW("node.session.xmit_thread_priority", "-20"),
    ROW("node.session.cmds_max", NULL),
    ROW("node.session.queue_depth", NULL),
    ROW("node.session.nr_sessions", NULL),
    ROW("node.session.auth.authmethod", NULL),
    ROW("node.session.auth.username", NULL),
    ROW("node.session.auth.password", NULL),
    ROW("node.session.auth.username_in", NULL),
    ROW("node.session.auth.password_in", NULL),
    ROW("node.session.auth.chap_algs", NULL),
    ROW("node.session.timeo.replacement_timeout", NULL),
    ROW("node.session.err_timeo.abort_timeout", NULL),
    ROW("node.session.err_timeo.lu_reset_timeout", NULL),
    ROW("node.session.err_timeo.tgt_reset_timeout", NULL),
    ROW("node.session.err_timeo.host_reset_timeout", "60"),
    ROW("node.session.iscsi.FastAbort", "Yes"),
    ROW("node.session.iscsi.InitialR2T", NULL),
    ROW("node.session.iscsi.ImmediateData", NULL),
    ROW("node.session.iscsi.FirstBurstLength", NULL),
    ROW("node.session.iscsi.MaxBurstLength", NULL),
    ROW("node.session.iscsi.DefaultTime2Retain", NULL),
    ROW("node.session.iscsi.DefaultTime2Wait", NULL),
    ROW("node.session.iscsi.MaxConnections", "1"),
    ROW("node.session.iscsi.MaxOutstandingR2T", NULL),
    ROW("node.session.iscsi.ERL", "0"),
    ROW("node.session.scan", "auto"),
    ROW("node.session.reopen_max", NULL),
    ROW("node.session.corelane.transport", NULL),
    ROW("node.session.corelane.arena_mib", NULL),
    ROW("node.conn[0].address", ""),
    ROW("node.conn[0].port", "3260"),
    ROW("node.conn[0].startup", "manual"),
    ROW("node.conn[0].tcp.window_size", "524288"),
    ROW("node.conn[0].tcp.type_of_service", "0"),
    ROW("node.conn[0].timeo.logout_timeout", NULL),
    ROW("node.conn[0].timeo.login_timeout", NULL),
    ROW("node.conn[0].timeo.auth_timeout", "45"),
    ROW("node.conn[0].timeo.noop_out_interval", NULL),
    ROW("node.conn[0].timeo.noop_out_timeout", NULL),
    ROW("node.conn[0].iscsi.MaxXmitDataSegmentLength", "0"),
    ROW("node.conn[0].iscsi.MaxRecvDataSegmentLength", NULL),
    ROW("node.conn[0].iscsi.HeaderDigest", NULL),
    ROW("node.conn[0].iscsi.DataDigest", NULL),
    ROW("node.conn[0].iscsi.IFMarker", "No"),
    ROW("node.conn[0].iscsi.OFMarker", "No"),
#undef ROW
};

/* Lengths first, here and below: most keys begin alike, and there are many. */
static size_t row_of(const char *key)
{
    const size_t len = strlen(key);
    size_t i = 0;

    while (i < ARRAY_SIZE(rows) && (rows[i].key_len != len || memcmp(rows[i].key, key, len)))
        i++;
    return i;
}

static void setting_text(const struct ini_settings *s, const char *key, char out[static VALUE_LEN_MAX])
{
    static const char *const digests[] = { "None", "None,CRC32C", "CRC32C,None", "CRC32C" };
    static const char ours[] = "node.session.corelane.";
    enum { NUM, BOOL, DIGEST, EIGHTS, TRANSPORT };
    static const struct {
        const char *key;
        size_t key_len, off;
        int kind;
        int32_t def;
    } fields[] = {
#define X(k, field, kind, def, lo, hi) { k, sizeof(k) - 1, offsetof(struct ini_settings, field), kind, def },
        INI_SETTINGS(X)
#undef X
    };

    const size_t len = strlen(key);

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const int32_t v = *(const int32_t *)((const char *)s + fields[i].off);

        if (fields[i].key_len != len || memcmp(fields[i].key, key, len))
            continue;
        if (!strncmp(key, ours, sizeof(ours) - 1) && v == fields[i].def)
            break;
        switch (fields[i].kind) {
        case BOOL:      strcpy(out, v ? "Yes" : "No"); return;
        case DIGEST:    strcpy(out, digests[v & 3]); return;
        case TRANSPORT: strcpy(out, ini_transport_names[v]); return;
        default:        snprintf(out, VALUE_LEN_MAX, "%d", v); return;
        }
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

/* Return: 0, or -EINVAL for a secret that is no text. */
static int auth_text(const struct ini_settings *s, const char *key, char out[static VALUE_LEN_MAX])
{
    const struct chap_cred *c = strstr(key, "_in") ? &s->user_in : &s->user;

    if (strstr(key, "authmethod")) {
        strcpy(out, s->user.name[0] ? "CHAP" : "None");
    } else if (strstr(key, "chap_algs")) {
        algs_text(s->chap_algs, out);
    } else if (strstr(key, "username")) {
        snprintf(out, VALUE_LEN_MAX, "%s", c->name);
    } else {
        if (memchr(c->secret, '\0', c->secret_len))
            return -EINVAL;
        snprintf(out, VALUE_LEN_MAX, "%.*s", (int)c->secret_len, (const char *)c->secret);
    }
    return 0;
}

/* ---- a record in memory --------------------------------------------------------------------------------- */

struct ini_record {
    char version[40];
    unsigned nr, room;
    struct pair {
        uint32_t key_len;
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
    const size_t len = strlen(key);

    for (unsigned i = 0; i < r->nr; i++)
        if (r->pair[i].key_len == len && !memcmp(r->pair[i].key, key, len))
            return &r->pair[i];
    return NULL;
}

const char *ini_record_get(const struct ini_record *r, const char *key)
{
    const struct pair *p = pair_find(r, key);

    return p ? p->value : NULL;
}

/* Room for one more. */
static int pair_room(struct ini_record *r)
{
    const unsigned room = r->room ? 2 * r->room : 16;
    struct pair *more;

    if (r->nr < r->room)
        return 0;
    if (r->nr == KEYS_MAX)
        return -E2BIG;
    more = calloc(room, sizeof(*more));     /* not realloc(): the old ones may hold secrets, and are wiped */
    if (!more)
        return -ENOMEM;
    if (r->nr) {
        memcpy(more, r->pair, r->nr * sizeof(*more));
        explicit_bzero(r->pair, r->nr * sizeof(*r->pair));
    }
    free(r->pair);
    r->pair = more;
    r->room = room;
    return 0;
}

static int pair_insert(struct ini_record *r, unsigned at, const char *key, const char *value)
{
    const int err = pair_room(r);

    if (err)
        return err;
    memmove(&r->pair[at + 1], &r->pair[at], (r->nr - at) * sizeof(*r->pair));
    r->nr++;
    r->pair[at].key_len = (uint32_t)strlen(key);
    strcpy(r->pair[at].key, key);
    strcpy(r->pair[at].value, value);
    return 0;
}

/* As open-iscsi: what is empty is not written, and shown as "<empty>". */
static bool is_empty(const char *value)
{
    return !value[0] || !strcmp(value, "<empty>");
}

static void pair_assign(struct ini_record *r, struct pair *p, const char *value)
{
    if (is_empty(value)) {
        memmove(p, p + 1, (size_t)(r->pair + r->nr - (p + 1)) * sizeof(*p));
        r->nr--;
        explicit_bzero(&r->pair[r->nr], sizeof(*p));
    } else {
        strcpy(p->value, value);
    }
}

/* Whether a line holds a value so that it is the same when it is read again. */
static bool value_ok(const char *s)
{
    const size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < ' ' || s[i] == 0x7f)
            return false;
    return n < VALUE_LEN_MAX && (!n || (s[0] != ' ' && s[n - 1] != ' '));
}

int ini_record_set(struct ini_record *r, const char *key, const char *value)
{
    struct pair *p = pair_find(r, key);
    const size_t row = row_of(key);
    unsigned at = r->nr;

    if (!key[0] || strpbrk(key, "= \t#") || strlen(key) >= KEY_LEN_MAX || !value_ok(key) || !value_ok(value))
        return -EINVAL;
    if (p) {
        pair_assign(r, p, value);
        return 0;
    }
    if (is_empty(value))
        return 0;
    if (row < ARRAY_SIZE(rows))
        for (at = 0; at < r->nr; at++) {
            const size_t other = row_of(r->pair[at].key);

            if (other < ARRAY_SIZE(rows) && other > row)
                break;
        }
    return pair_insert(r, at, key, value);
}

/* What a new record says under a row's key. Return: 0, or -EINVAL for what no line can hold. */
static int row_text(const char *key, const char *fixed, const char *iqn, const struct iscsi_portal *portal,
                    const struct ini_settings *set, char value[static VALUE_LEN_MAX])
{
    int err = 0;

    if (!strcmp(key, "node.name"))
        fixed = iqn;
    else if (!strcmp(key, "node.conn[0].address"))
        fixed = portal->host;
    if (!strcmp(key, "node.conn[0].port"))
        snprintf(value, VALUE_LEN_MAX, "%u", portal->port);
    else if (!strcmp(key, "node.tpgt") && portal->tpgt)
        snprintf(value, VALUE_LEN_MAX, "%u", portal->tpgt);
    else if (fixed)
        snprintf(value, VALUE_LEN_MAX, "%s", fixed);
    else if (!strncmp(key, "node.session.auth.", 18))
        err = auth_text(set, key, value);
    else
        setting_text(set, key, value);
    /* A name that reads as none, or as another, would have the session log in as somebody else. */
    return err || !value_ok(value) || (value[0] && is_empty(value)) ? -EINVAL : 0;
}

int ini_record_new(const char *iqn, const struct iscsi_portal *portal, const struct ini_settings *set,
                   struct ini_record **out)
{
    struct ini_record *r = record_alloc();
    char value[VALUE_LEN_MAX];
    int err = r ? 0 : -ENOMEM;

    for (size_t i = 0; !err && i < ARRAY_SIZE(rows); i++) {
        err = row_text(rows[i].key, rows[i].value, iqn, portal, set, value);
        if (!err && value[0])
            err = pair_insert(r, r->nr, rows[i].key, value);
    }
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

/* ---- a record as text ----------------------------------------------------------------------------------- */

int ini_record_parse(char *data, struct ini_record **out)
{
    struct ini_record *r = record_alloc();
    char *at = data, *key, *value;
    unsigned line = 0;
    int got, err = r ? 0 : -ENOMEM;

    if (!err && !strncmp(data, "# BEGIN RECORD ", 15))
        sscanf(data + 15, "%39[^ \n]", r->version);
    while (!err && (got = line_next(&at, &line, &key, &value)) != 0) {
        struct pair *p;

        if (got < 0 || strlen(key) >= KEY_LEN_MAX || strlen(value) >= VALUE_LEN_MAX)
            err = -EINVAL;
        else if (value[0] && (p = pair_find(r, key)))
            pair_assign(r, p, value);
        else if (!is_empty(value))
            err = pair_insert(r, r->nr, key, value);
    }
    if (err) {
        ini_record_free(r);
        return err;
    }
    *out = r;
    return 0;
}

int ini_record_text(const struct ini_record *r, char **out, size_t *len)
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

static int conf_take(char *data, const char *from, struct ini_settings *set, char why[static 512])
{
    char *at = data, *key, *value, names[440] = "";
    unsigned line = 0, unknown = 0;
    int got;

    while ((got = line_next(&at, &line, &key, &value)) != 0) {
        const char *bad;

        if (got < 0) {
            snprintf(why, 512, "%.200s line %u: not of the form key = value", from, line);
            return -EINVAL;
        }
        bad = ini_settings_set(set, key, value);
        if (bad == INI_KEY_UNKNOWN) {
            if (!known_elsewhere(key))
                unknown_note(why, ++unknown, key, names, sizeof(names));
        } else if (bad) {
            snprintf(why, 512, "%.200s line %u: %.80s%s%.60s: %.120s", from, line, key,
                     strstr(key, "password") ? "" : " = ", strstr(key, "password") ? "" : value, bad);
            return -EINVAL;
        }
    }
    return 0;
}

int ini_iscsid_conf_parse(char *data, const char *from, struct ini_settings *set, char why[static 512])
{
    struct ini_settings fresh = *set;
    int err;

    why[0] = '\0';
    err = conf_take(data, from, &fresh, why);
    if (!err)
        *set = fresh;
    explicit_bzero(&fresh, sizeof(fresh));
    return err;
}
