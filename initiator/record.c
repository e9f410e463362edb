/*
 * record.c - where node records, iscsid.conf and the initiator's name are on disk, in open-iscsi's places
 *
 * What they say is record_text.c's business. A portal whose group tag is known has its record at
 * <addr>,<port>,<tpgt>/default, one without at the plain file <addr>,<port>, as open-iscsi has it: so both tools
 * may use one directory.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/record.h"

#define FILE_LEN_MAX (256u * 1024)
#define PATH_LEN_MAX 1024

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

/* What is in such files may be secret. */
static void text_drop(char *data, size_t len)
{
    explicit_bzero(data, len);
    free(data);
}

static const char *load_why(int err)
{
    return err == -EINVAL ? "there is a NUL byte in it: it is no text" : strerror(-err);
}

/* Text of a file. A NUL in it would hide what comes after. Return: 0 with *data and its length for the caller to
 * text_drop(), or -errno. */
static int text_load(const char *path, char **data, size_t *len)
{
    int err = rt_load(path, FILE_LEN_MAX, data, len);

    if (!err && strlen(*data) != *len) {
        text_drop(*data, *len);
        err = -EINVAL;
    }
    return err;
}

int ini_name_load(const char *dir, char out[static ISCSI_NAME_LEN_MAX + 1], char why[static 256])
{
    char path[PATH_LEN_MAX], *data;
    size_t len;
    int err = path_make(path, "%s/initiatorname.iscsi", dir);

    if (!err)
        err = text_load(path, &data, &len);
    if (err) {
        snprintf(why, 256, "%.180s: %s", path, load_why(err));
        return err;
    }
    err = ini_name_parse(data, path, out, why);
    text_drop(data, len);
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

/* ---- records on disk ------------------------------------------------------------------------------------ */

/* A name, address or number becomes a part of a path. */
static bool path_part(const char *s)
{
    const size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] < ' ' || s[i] == 0x7f || s[i] == '/')
            return false;
    return n && n < 256 && s[0] != '.';
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
        err = text_load(path, &data, &len);
    if (err)
        return err;
    err = ini_record_parse(data, out);
    text_drop(data, len);
    return err;
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

    if (!iqn || !host || !port || !path_part(host) || !path_part(port) || (iface && !path_part(iface)) ||
        (grouped && !path_part(tpgt)))
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
        err = ini_record_text(r, &text, &len);
    if (err)
        return err;
    err = rt_save(path, text, len, 0600);
    text_drop(text, len);
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

int ini_iscsid_conf_load(const char *dir, struct ini_settings *set, char why[static 512])
{
    char path[PATH_LEN_MAX], *data;
    size_t len;
    int err = path_make(path, "%s/iscsid.conf", dir);

    why[0] = '\0';
    if (!err)
        err = text_load(path, &data, &len);
    if (err == -ENOENT)
        return 0;
    if (err) {
        snprintf(why, 512, "%.300s: %s", path, load_why(err));
        return err;
    }
    err = ini_iscsid_conf_parse(data, path, set, why);
    text_drop(data, len);
    return err;
}
