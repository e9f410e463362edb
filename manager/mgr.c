/*
 * mgr.c - life of the manager: start, taking over what a daemon that died left, stop; and trips between cores
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"

/* ---- hops ------------------------------------------------------------------------------------------------ */

static void hop_arrived(struct rt_msg *m)
{
    struct hop *h = container_of(m, struct hop, msg);

    h->run(h);
}

static void hop_returned(struct rt_msg *m)
{
    struct hop *h = container_of(m, struct hop, msg);
    struct sess *s = h->sess;

    h->sess = NULL;
    if (s)
        sess_returned(s); /* first: what follows may be its end */
    h->back(h);
}

void hop_go(struct hop *h, struct rt *home, struct rt *away, void (*run)(struct hop *h),
            void (*back)(struct hop *h))
{
    h->home = home;
    h->run = run;
    h->back = back;
    h->msg.fn = hop_arrived;
    rt_post(away, &h->msg);
}

void hop_back(struct hop *h)
{
    h->msg.fn = hop_returned;
    rt_post(h->home, &h->msg);
}

/* ---- start ----------------------------------------------------------------------------------------------- */

/* From the configuration directory, else as kept in the run directory, else made up and kept where that works.
 * */
static int name_find(struct mgr *m)
{
    char why[256];
    int err = ini_name_load(m->config_dir, m->initiator, why);

    if (!err)
        return 0;
    if (err != -ENOENT && err != -ENOTDIR) {
        rt_log(RT_ERR, "%s", why);
        return err;
    }
    if (!ini_name_load(m->run_dir, m->initiator, why))
        return 0;
    ini_name_make(m->rt, m->initiator);
    if (!(err = ini_name_save(m->config_dir, m->initiator))) {
        rt_log(RT_NOTICE, "this host is %s from now on: made up, and kept in %s/initiatorname.iscsi",
               m->initiator, m->config_dir);
        return 0;
    }
    rt_log(RT_WARN,
           "this host's name, %s, is made up and cannot be kept in %s (%s): targets that know it by name "
           "will not know it after a restart of the host",
           m->initiator, m->config_dir, strerror(-err));
    if ((err = ini_name_save(m->run_dir, m->initiator)))
        rt_log(RT_WARN, "nor can it be kept in %s: %s", m->run_dir, strerror(-err));
    return 0;
}

/* So that a mistake is told at start and not with the first login. */
static int settings_check(struct mgr *m)
{
    struct ini_settings set;
    char why[512] = "";
    int err;

    ini_settings_default(&set);
    err = ini_iscsid_conf_load(m->config_dir, &set, why);
    if (err)
        rt_log(RT_ERR, "%s", *why ? why : strerror(-err));
    else if (*why)
        rt_log(RT_NOTICE, "%s", why);
    explicit_bzero(&set, sizeof(set));
    return err;
}

static void restored(struct att *a, int err, const char *why, void *user)
{
    if (err)
        rt_log(RT_ERR, "%s: not taken over: %s", a->spec.name, why);
    else
        rt_log(RT_NOTICE, "%s: %s is served again, from session %s", a->spec.name, a->result.path,
               att_sess(a)->name);
}

static void owed_keep(struct mgr *m, const char *iqn, const uint8_t isid[static 6], const struct iscsi_portal *portal)
{
    if (isid_keep(m, iqn, isid, portal, true, NULL))
        rt_log(RT_ERR,
               "no memory to remember a session of before with %s: what it left there is not ended first", iqn);
}

/* What its sessions may have left is ended before anything else is done there. */
static void paths_owed(struct mgr *m, const struct path_spec *paths, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++)
        if (paths[i].has_isid)
            owed_keep(m, paths[i].wish.iqn, paths[i].isid, &paths[i].wish.portal);
}

static void restore_entry(struct mgr *m, const json_t *entry)
{
    struct path_spec *paths = calloc(MPIO_PATHS_MAX, sizeof(*paths));
    struct att_spec spec;
    char why[MGR_WHY_MAX];
    bool takes_over = false;
    uint8_t isid[6];
    const char *wrong = paths ? store_entry(entry, &spec, isid, &takes_over) : "no memory";
    unsigned nr;

    if (wrong) {
        rt_log(RT_ERR, "%s/attachments.json: an entry is passed over: %s", m->run_dir, wrong);
        free(paths);
        return;
    }
    nr = store_paths(entry, &spec, isid, paths);
    spec.restored = true;
    if (!takes_over) {
        rt_log(RT_WARN, "%s: its device ended with the corelaned of before: attach it again", spec.name);
        paths_owed(m, paths, nr);
    } else if (!att_open(m, &spec, paths, nr, restored, NULL, why)) {
        rt_log(RT_ERR, "%s: not taken over: %s", spec.name, why);
    }
    explicit_bzero(&spec, sizeof(spec));
    explicit_bzero(paths, MPIO_PATHS_MAX * sizeof(*paths));
    free(paths);
}

/* After the disks: theirs they log in with again themselves. */
static void restore_isid(struct mgr *m, const json_t *entry)
{
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];
    const char *wrong = isid_entry(entry, iqn, isid);
    struct iscsi_portal portal;

    isid_entry_portal(entry, &portal);
    if (wrong)
        rt_log(RT_ERR, "%s/attachments.json: an identity is passed over: %s", m->run_dir, wrong);
    else if (!att_has_isid(m, isid))
        owed_keep(m, iqn, isid, &portal);
}

/* In the first turn. */
static void restore(struct rt_op *op, int res)
{
    struct mgr *m = container_of(op, struct mgr, restore_op);
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(m->restore, "disks"), i, entry) restore_entry(m, entry);
    json_array_foreach(json_object_get(m->restore, "identities"), i, entry) restore_isid(m, entry);
    if (m->restore)
        store_save(m, NULL);
    json_decref(m->restore);
    m->restore = NULL;
}

int mgr_new(struct mgr **out, struct rt_host *host, const struct mgr_conf *conf)
{
    struct mgr *m = calloc(1, sizeof(*m));
    int err;

    if (!m)
        return -ENOMEM;
    m->host = host;
    m->rt = rt_host_at(host, 0);
    m->run_dir = conf->run_dir;
    m->config_dir = conf->config_dir;
    m->topo = conf->topo;
    m->start_s = rt_wall_s(m->rt);
    rt_list_init(&m->sessions);
    rt_list_init(&m->isids);
    rt_list_init(&m->atts);
    rt_list_init(&m->save_waits);
    m->multipath_conf = conf->multipath_conf;
    if (!(m->events = events_new())) {
        mgr_free(m);
        return -ENOMEM;
    }
    /* A mistake in it is no reason to be without disks. */
    (void)mpconf_read(m, &m->mpconf, &m->mpconf_remarks);
    if ((err = name_find(m)) || (err = settings_check(m)) || (err = bal_load_new(&m->load, host)) ||
        (err = layout_new(m)) || (err = store_load(m, &m->restore))) {
        mgr_free(m);
        return err;
    }
    if (m->topo && (err = bal_load_kernel(m->load)))
        rt_log(RT_WARN, "what others use of the cores is not known: %s", strerror(-err));
    rt_save_sweep(m->run_dir, "attachments.json");
    exp_cleanup(m->run_dir);
    m->restore_op.done = restore;
    rt_defer(m->rt, &m->restore_op);
    *out = m;
    return 0;
}

/* ---- stop ------------------------------------------------------------------------------------------------ */

struct stopper { /* one for each thing that is waited for */
    struct mgr *mgr;
    struct att *att;
    struct att_wait att_wait;
    struct sess_wait sess_wait;
};

static void stop_kept(struct mgr *m)
{
    m->stopped(m->stopped_arg);
}

static void stop_saved(struct store_wait *w)
{
    struct mgr *m = container_of(w, struct mgr, stop_save);

    layout_stop(m, stop_kept);
}

static void stop_over(struct mgr *m)
{
    m->stop_save.fn = stop_saved;
    store_save(m, &m->stop_save);
}

static void stop_sess_gone(struct sess_wait *w, int err, const char *why)
{
    struct stopper *st = container_of(w, struct stopper, sess_wait);
    struct mgr *m = st->mgr;

    free(st);
    if (!--m->stop_left)
        stop_over(m);
}

/* Sessions on which no disk stands are logged out. */
static void stop_sessions(struct mgr *m)
{
    m->stop_left = 1;
    rt_list_for_safe (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);
        struct stopper *st = s->users ? NULL : calloc(1, sizeof(*st));

        if (!st)
            continue;
        st->mgr = m;
        st->sess_wait.fn = stop_sess_gone;
        m->stop_left++;
        sess_end(s, &st->sess_wait);
    }
    if (!--m->stop_left)
        stop_over(m);
}

static void stop_att_closed(struct att_wait *w, int err, const char *why)
{
    struct stopper *st = container_of(w, struct stopper, att_wait);
    struct mgr *m = st->mgr;

    if (err && st->att->result.kind == EXP_UBLK)
        rt_log(RT_WARN, "%s: %s stays, and waits for the next corelaned: %s", st->att->spec.name,
               st->att->result.path, why);
    else if (err)
        rt_log(RT_WARN, "%s: %s ends with this daemon though it is in use: %s", st->att->spec.name,
               st->att->result.path, why);
    att_put(st->att);
    free(st);
    if (!--m->stop_left)
        stop_sessions(m);
}

void mgr_stop(struct mgr *m, void (*done)(void *arg), void *arg)
{
    assert(!m->stopping);
    m->stopping = true;
    m->stopped = done;
    m->stopped_arg = arg;
    m->stop_left = 1;
    rt_list_for_safe (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);
        struct stopper *st;

        if ((a->state != ATT_UP && a->state != ATT_CLOSING) || !(st = calloc(1, sizeof(*st))))
            continue;
        st->mgr = m;
        st->att = a;
        st->att_wait.fn = stop_att_closed;
        m->stop_left++;
        att_hold(a);
        att_close(a, false, &st->att_wait);
    }
    if (!--m->stop_left)
        stop_sessions(m);
}

void mgr_stop_hurry(struct mgr *m)
{
    rt_list_for_safe (l, &m->atts)
        att_hurry(rt_list_entry(l, struct att, link));
}

/* What is left on other cores when the host has stopped (sessions under disks that were in use) ends with the
 * process: their connections close, and nobody turns their reactors any more. */
void mgr_free(struct mgr *m)
{
    if (!m)
        return;
    isids_free(m);
    layout_free(m);
    bal_load_free(m->load);
    json_decref(m->restore);
    mpio_mpconf_free(m->mpconf);
    events_free(m->events);
    free(m->save_text);
    free(m);
}
