/*
 * settings.c - what a session is to be like: defaults, iscsid.conf, the node record, what the caller said
 *
 * The files are read anew for each session, on a helper thread: who edits them sees it with the next login.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "manager/mgr_internal.h"

static int record_apply(struct settings_load *l, char why[static MGR_WHY_MAX])
{
    struct ini_record *rec;
    char wrong[256];
    int err = ini_record_load(l->mgr->config_dir, l->wish->iqn, &l->wish->portal, &rec);

    if (err == -ENOENT || err == -ENOTDIR)
        return 0;
    if (err) {
        snprintf(why, MGR_WHY_MAX, "the node record of %s in %s/nodes cannot be read: %s", l->wish->iqn,
                 l->mgr->config_dir, strerror(-err));
        return err;
    }
    if ((err = ini_record_settings(rec, &l->set, wrong)))
        snprintf(why, MGR_WHY_MAX, "the node record of %s in %s/nodes: %.250s", l->wish->iqn,
                 l->mgr->config_dir, wrong);
    ini_record_free(rec);
    return err;
}

/* Over the files, where something was said. */
static int word_apply(struct settings_load *l, const char *key, const char *value)
{
    const char *wrong = *value ? ini_settings_set(&l->set, key, value) : NULL;

    if (!wrong)
        return 0;
    snprintf(l->why, sizeof(l->why), "%s = %s: %s", key, value, wrong);
    return -EINVAL;
}

static int wish_apply(struct settings_load *l)
{
    int err;

    /* Credentials come as a set: a name of ours with a secret of the record's would be a riddle to solve.
     * Without a target it is a discovery, whose credentials are for the portal alone. */
    if (*l->wish->iqn && *l->wish->user.name) {
        l->set.user = l->wish->user;
        l->set.user_in = l->wish->user_in;
    }
    if ((err = word_apply(l, "node.conn[0].iscsi.HeaderDigest", l->wish->header_digest)))
        return err;
    if ((err = word_apply(l, "node.conn[0].iscsi.DataDigest", l->wish->data_digest)))
        return err;
    return word_apply(l, "node.session.corelane.transport", l->wish->transport);
}

static void load_run(struct rt_work *w)
{
    struct settings_load *l = container_of(w, struct settings_load, work);
    char notes[512]; /* unknown keys: named once, at start */

    ini_settings_default(&l->set);
    if ((l->err = ini_iscsid_conf_load(l->mgr->config_dir, &l->set, notes))) {
        snprintf(l->why, sizeof(l->why), "%s", notes);
        return;
    }
    if (*l->wish->iqn && (l->err = record_apply(l, l->why)))
        return;
    l->err = wish_apply(l);
}

static void load_done(struct rt_work *w)
{
    struct settings_load *l = container_of(w, struct settings_load, work);

    l->done(l);
}

void settings_load(struct settings_load *l)
{
    l->err = 0;
    l->why[0] = '\0';
    l->work.run = load_run;
    l->work.done = load_done;
    rt_work(l->mgr->rt, &l->work);
}
