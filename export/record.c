/*
 * record.c - a file per device, so that a daemon that starts after one that died knows what is whose
 *
 * JSON in run_dir/devices/NAME, written atomically before the device can be used and removed after it is gone.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/export_internal.h"
#include "reactor/rt_log.h"
#include "rpc/json.h"

#define RECORD_LEN_MAX 4096

static int record_path(const char *run_dir, const char *name, char out[static PATH_MAX])
{
    const int n = snprintf(out, PATH_MAX, "%s/devices%s%s", run_dir, name ? "/" : "", name ? name : "");

    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int exp_record_save(const struct exp *e, int id)
{
    char path[PATH_MAX], *text;
    json_t *j;
    int err;

    if ((err = record_path(e->run_dir, NULL, path)) || (err = rt_mkdirs(path, 0700)) ||
        (err = record_path(e->run_dir, e->name, path)))
        return err;
    j = json_pack("{s:s, s:i, s:s}", "kind", exp_kind_name(e->ops->kind), "id", id, "wwid",
                  e->wwid);
    text = rpc_json_text(j, JSON_INDENT(1));
    err = text ? rt_save(path, text, strlen(text), 0600) : -ENOMEM;
    free(text);
    json_decref(j);
    return err;
}

int exp_record_load(const char *run_dir, const char *name, struct exp_record *out)
{
    char path[PATH_MAX], *text;
    const char *kind, *wwid;
    json_t *j = NULL;
    size_t len;
    int err, id;

    if ((err = record_path(run_dir, name, path)) || (err = rt_load(path, RECORD_LEN_MAX, &text, &len)))
        return err;
    err = rpc_json_read(&j, text, len, 0, NULL);
    free(text);
    if (err)
        return err;
    err = -EINVAL;
    if (!json_unpack(j, "{s:s, s:i, s:s}", "kind", &kind, "id", &id, "wwid", &wwid) && id >= 0 &&
        strlen(wwid) < sizeof(out->wwid) && !exp_kind_parse(kind, &out->kind)) {
        out->id = id;
        memcpy(out->wwid, wwid, strlen(wwid) + 1);
        err = 0;
    }
    json_decref(j);
    return err;
}

int exp_record_clash(struct exp *e)
{
    struct exp_record r;
    char path[64];

    if (exp_record_load(e->run_dir, e->name, &r) || r.kind != EXP_UBLK)
        return 0;
    snprintf(path, sizeof(path), "/sys/block/ublkb%d", r.id);
    if (access(path, F_OK))
        return 0;
    exp_note(e, "/dev/ublkb%d, left by a daemon that died, waits to be served again: attach with --export ublk",
             r.id);
    return -ESTALE;
}

void exp_record_remove(const char *run_dir, const char *name)
{
    char path[PATH_MAX];

    if (!record_path(run_dir, name, path) && unlink(path) && errno != ENOENT)
        rt_log(RT_WARN, "%s: %s", path, strerror(errno));
}

void exp_records(const char *run_dir,
                 void (*fn)(const char *run_dir, const char *name, const struct exp_record *r))
{
    char path[PATH_MAX];
    struct exp_record r;
    struct dirent *d;
    DIR *dir;
    int err;

    if (record_path(run_dir, NULL, path))
        return;
    rt_save_sweep(path, NULL);
    if (!(dir = opendir(path)))
        return;
    while ((d = readdir(dir))) {
        if (d->d_name[0] == '.')
            continue;
        if ((err = exp_record_load(run_dir, d->d_name, &r)))
            rt_log(RT_WARN, "%s/%s: not a record of a device (%s), left alone", path, d->d_name,
                   strerror(-err));
        else
            fn(run_dir, d->d_name, &r);
    }
    closedir(dir);
}
