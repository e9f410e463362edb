/*
 * attach.c - attachments: paths to a unit, a disk over them, a device over that
 *
 * Home decides. The first path that is open founds the disk, on the core of its session, where disk and device stay; others
 * join when they are open, and are tried again for as long as they are not. What is taken over from a daemon that
 * died is written down before its device can be used, and not given up while its target cannot be reached: a file
 * system waits behind it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

#define PATIENCE_NS (10 * RT_S) /* for the other sessions of before a disk that is taken over */

/* ---- names and finding ----------------------------------------------------------------------------------- */

static const char name_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789.:-";

const char *att_name_refusal(const char *name)
{
    const size_t len = strlen(name);

    if (!len || len > MGR_NAME_MAX)
        return "a name has 1 to 64 characters";
    if (strspn(name, name_chars) != len)
        return "a name is made of a-z, 0-9, '.', ':' and '-'";
    if (*name == '.' || *name == '-')
        return "a name begins with a letter or digit";
    if (!strcmp(name, "list"))
        return "'list' is a command: choose another name";
    return NULL;
}

static struct att *find_name(const struct mgr *m, const char *name)
{
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (!strcmp(a->spec.name, name))
            return a;
    }
    return NULL;
}

const char *att_device(const struct att *a)
{
    return a->state >= ATT_UP ? a->result.path : ""; /* before that its core may be writing it */
}

struct att *att_find(struct mgr *m, const char *name_or_path)
{
    if (*name_or_path != '/')
        return find_name(m, name_or_path);
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (!strcmp(att_device(a), name_or_path))
            return a;
    }
    return NULL;
}

bool att_has_isid(const struct mgr *m, const uint8_t isid[static 6])
{
    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        rt_list_for (lp, &a->paths) {
            const struct path *p = rt_list_entry(lp, struct path, link);

            if (p->spec.has_isid && !memcmp(p->spec.isid, isid, 6))
                return true;
        }
    }
    return false;
}

/* "iqn.2026-11.org.example:disk" and 0 are "disk-0"; a name of another kind is taken whole. */
void att_name_make(const struct mgr *m, const char *iqn, unsigned lun, char out[static MGR_NAME_MAX + 1])
{
    const char *colon = strrchr(iqn, ':'), *from = colon && colon[1] ? colon + 1 : iqn;
    char base[MGR_NAME_MAX - 15];
    size_t n = 0;

    for (; *from && n < sizeof(base) - 1; from++) {
        const char c = strchr(name_chars, *from) ? *from : '-';

        if (n || (c != '.' && c != '-' && c != ':'))
            base[n++] = c;
    }
    base[n] = '\0';
    snprintf(out, MGR_NAME_MAX + 1, "%s-%u", n ? base : "disk", lun);
    for (unsigned i = 2; find_name(m, out); i++)
        snprintf(out, MGR_NAME_MAX + 1, "%s-%u.%u", n ? base : "disk", lun, i);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

void att_hold(struct att *a)
{
    a->holds++;
}

void att_put(struct att *a)
{
    assert(a->holds);
    if (--a->holds)
        return;
    assert(!a->disk && !a->exp && rt_list_empty(&a->paths));
    explicit_bzero(&a->spec, sizeof(a->spec));
    free(a);
}

const struct path *att_path_first(const struct att *a)
{
    return rt_list_empty(&a->paths) ? NULL : rt_list_entry(a->paths.next, struct path, link);
}

struct sess *att_sess(const struct att *a)
{
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        if (p->sess)
            return p->sess;
    }
    return NULL;
}

static void closed_tell(struct att *a, int err, const char *why)
{
    struct rt_link *l, mine;

    rt_list_init(&mine);
    while ((l = rt_list_pop(&a->close_waits)))
        rt_list_push(&mine, l);
    while ((l = rt_list_pop(&mine))) {
        struct att_wait *w = rt_list_entry(l, struct att_wait, link);

        w->fn(w, err, why);
    }
}

static void opened_tell(struct att *a, int err, const char *why)
{
    void (*const opened)(struct att *, int, const char *, void *) = a->opened;

    a->opened = NULL;
    if (opened)
        opened(a, err, why, a->opened_user);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

/* No core has a part of it any more: out of the books. */
static void att_over(struct att *a)
{
    if (a->state == ATT_CLOSING)
        rt_log(RT_INFO, "%s: detached", a->spec.name);
    rt_timer_disarm(a->mgr->rt, &a->patience);
    rt_list_del(&a->link);
    store_save(a->mgr, NULL);
    closed_tell(a, 0, NULL);
    opened_tell(a, a->end_err, a->end_why);
    if (a->merge)
        merge_go(a->merge);
    att_put(a);
}

static void disk_freed(struct hop *h)
{
    att_over(container_of(h, struct att, hop));
}

static void att_end_step(struct att *a)
{
    if (!rt_list_empty(&a->paths))
        return;
    a->ended = true;
    if (a->disk)
        hop_go(&a->hop, a->mgr->rt, a->rt, att_core_free, disk_freed);
    else
        att_over(a);
}

/* Its paths go, then the disk. */
static void att_end(struct att *a, int err, const char *why)
{
    assert(!a->ending);
    a->ending = true;
    a->end_err = err;
    snprintf(a->end_why, sizeof(a->end_why), "%s", why ? why : "");
    if (a->state != ATT_CLOSING)
        a->state = ATT_ENDING;
    att_hold(a);
    rt_list_for_safe (l, &a->paths)
        path_end(rt_list_entry(l, struct path, link), NULL, NULL);
    if (!a->ended)
        att_end_step(a);
    att_put(a);
}

void att_path_out(struct att *a)
{
    if (a->ending && !a->ended)
        att_end_step(a);
}

/* ---- what a path has come to ----------------------------------------------------------------------------- */

/* Two disks over one unit would each cache blocks that the other changes. */
static struct att *same_unit(const struct att *a, const struct ini_lun_info *info)
{
    rt_list_for (l, &a->mgr->atts) {
        struct att *b = rt_list_entry(l, struct att, link);

        if (b != a && (b->state == ATT_UP || b->state == ATT_EXPORTING || b->state == ATT_CLOSING) &&
            *b->info.wwid && !strcmp(b->info.wwid, info->wwid))
            return b;
    }
    return NULL;
}

/* Why no path came about: what became of the first, and of each other that came to something else. */
static void whys_say(const struct att *a, const struct path *first, char out[static MGR_WHY_MAX])
{
    size_t at;

    assert(first);
    at = (size_t)snprintf(out, MGR_WHY_MAX, "%s", first->why);
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        if (at < MGR_WHY_MAX && p != first && strcmp(p->why, first->why))
            at += (size_t)snprintf(out + at, MGR_WHY_MAX - at, "; at %s: %s", p->portal, p->why);
    }
}

/* A device that waits for its disk goes on waiting; for what will not mend by itself (another unit answers there
 * now) it is left to whoever reads the log. */
void att_path_failed(struct att *a, struct path *failed)
{
    const struct path *first = att_path_first(a);
    char why[MGR_WHY_MAX];

    if (a->ending || a->state == ATT_UP || a->state == ATT_CLOSING)
        return;
    if (a->restored) {
        if (a->state == ATT_LOGIN) {
            rt_log(RT_WARN, "%s: cannot be taken over yet: %s; trying again", a->spec.name, failed->why);
            a->state = ATT_WAITING;
        }
        att_founding(a); /* who was ready may have waited for this one */
        return;
    }
    rt_list_for (l, &a->paths)
        if (!path_refused(rt_list_entry(l, struct path, link)))
            return;
    whys_say(a, first, why);
    att_end(a, first->err, why);
}

/* ---- the disk is founded --------------------------------------------------------------------------------- */

static void attached_log(const struct att *a)
{
    const struct path *p = a->founder;

    if (a->result.kind == EXP_NONE)
        rt_log(RT_INFO, "%s: LUN %u of %s, no device, session %s", a->spec.name, p->spec.lun, p->spec.wish.iqn,
               p->sess->name);
    else
        rt_log(RT_INFO, "%s: LUN %u of %s is %s, session %s on core %d", a->spec.name, p->spec.lun,
               p->spec.wish.iqn, a->result.path, p->sess->name, p->sess->core);
}

/* Those that are open join; those that did not come about are tried again from now on. */
static void others_go_on(struct att *a)
{
    rt_list_for_safe (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (p->state == PATH_OPEN)
            att_path_open(a, p);
        else if (path_refused(p) && !rt_timer_armed(&p->retry)) {
            event_add(a->mgr, RT_WARN, a->spec.name, p->name, "LUN %u of %.120s at %s is no path yet: %.600s",
                      p->spec.lun, p->spec.wish.iqn, p->portal, p->why);
            snprintf(p->told, sizeof(p->told), "%s", p->why);
            path_start(p, RT_S);
        }
    }
}

static void exported(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    struct path *p = a->founder;

    if (a->err) { /* and the disk is gone */
        const int err = a->err;

        a->founder = NULL;
        p->state = PATH_OPEN;
        if (a->restored && err != -ESTALE && !a->dropped) {
            rt_log(RT_WARN, "%s: cannot be taken over yet: %s; trying again", a->spec.name, a->why);
            a->state = ATT_WAITING;
            path_drop(p, err, a->why);
        } else {
            att_end(a, err, a->why);
        }
        return;
    }
    p->state = PATH_IN;
    a->state = ATT_UP;
    a->restored = false;
    attached_log(a);
    a->founder = NULL;
    store_save(a->mgr, NULL);
    att_hold(a);
    others_go_on(a);
    opened_tell(a, 0, NULL);
    if (a->dropped)
        att_close(a, true, NULL);
    att_put(a);
}

static void stored(struct store_wait *w)
{
    struct att *a = container_of(w, struct att, store_wait);

    if (a->mgr->save_err && a->spec.kind != EXP_NONE)
        rt_log(RT_WARN,
               "%s: %s/attachments.json cannot be written (%s): its disk could not be taken over after a crash",
               a->spec.name, a->mgr->run_dir, strerror(-a->mgr->save_err));
    hop_go(&a->hop, a->mgr->rt, a->rt, att_core_export, exported);
}

/* A name that was made up gives way to the alias that multipath.conf has for the unit. */
static void alias_take(struct att *a)
{
    const char *alias = a->set.alias, *wrong;

    if (!*alias || !a->name_made || !strcmp(alias, a->spec.name))
        return;
    if (!(wrong = att_name_refusal(alias)) && find_name(a->mgr, alias))
        wrong = "another disk has that name";
    if (wrong)
        rt_log(RT_WARN, "%s: the alias '%.100s' of multipath.conf is not taken: %s", a->spec.name, alias,
               wrong);
    else
        snprintf(a->spec.name, sizeof(a->spec.name), "%.*s", (int)MGR_NAME_MAX, alias);
}

static void found(struct att *a, struct path *p)
{
    a->founder = p;
    a->info = p->info;
    a->rt = p->sess->rt;
    a->core = p->sess->core;
    p->state = PATH_JOINING;
    policy_for(a->mgr, &a->info, &a->over, &a->set);
    if (!a->restored)
        alias_take(a);
    a->state = ATT_EXPORTING;
    rt_timer_disarm(a->mgr->rt, &a->patience);
    a->store_wait.fn = stored;
    store_save(a->mgr, &a->store_wait);
}

/* Whether something may be left at the target under other identities of this disk's: a daemon of before had sessions with
 * them that have not logged in again. */
static bool others_owed(const struct att *a, const struct path *p)
{
    rt_list_for (l, &a->paths) {
        const struct path *q = rt_list_entry(l, struct path, link);

        if (q != p && q->spec.has_isid && !q->settled)
            return true;
    }
    return false;
}

static void reset_done(void *user, int resp, int err)
{
    struct att *a = user;

    a->err = err ? err : resp ? -EIO : 0;
    hop_back(&a->hop);
}

static void core_reset(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->founder->sess->ini)
        ini_lun_reset(a->founder->sess->ini, a->founder->spec.lun, reset_done, a);
    else
        reset_done(a, 0, -ENOTCONN);
}

static void were_reset(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    struct path *p = a->founder;

    a->founder = NULL;
    p->state = PATH_OPEN;
    a->was_reset = !a->err;
    if (a->dropped) {
        att_end(a, -ECANCELED, "detached");
    } else if (a->err) {
        a->state = a->restored ? ATT_WAITING : ATT_LOGIN;
        path_drop(p, a->err,
                  "the unit could not be reset, so that writes of before may still be on their way to it");
    } else {
        found(a, p);
    }
}

/* What was sent over a portal that cannot be reached now ends with the unit's reset, whoever sent it. */
static void others_reset(struct att *a, struct path *p)
{
    rt_log(RT_NOTICE,
           "%s: not every session of before could log in again: the unit is reset, so that nothing of them is "
           "carried out late",
           a->spec.name);
    a->founder = p;
    p->state = PATH_JOINING;
    a->state = ATT_EXPORTING;
    sess_go(p->sess, &a->hop, core_reset, were_reset);
}

static void founder_try(struct att *a, struct path *p)
{
    struct att *other;
    const char *cannot;
    char why[MGR_WHY_MAX];

    if (a->mgr->stopping) {
        att_end(a, -ESHUTDOWN, "corelaned is being stopped");
        return;
    }
    if (*a->wwid && strcmp(a->wwid, p->info.wwid)) {
        snprintf(why, sizeof(why), "LUN %u of %.230s at %s is the unit %.100s, and this disk is %.100s",
                 p->spec.lun, p->spec.wish.iqn, p->portal, p->info.wwid, a->wwid);
        path_drop(p, -EXDEV, why);
        return;
    }
    if ((other = same_unit(a, &p->info))) {
        cannot = merge_refusal(a, other);
        if (!cannot && merge_begin(a, other)) {
            att_end(a, 0, NULL);
            return;
        }
        snprintf(
            why, sizeof(why),
            "LUN %u of %.230s is the unit %.80s, which is attached as %s already (%s): two disks over one unit "
            "would lose writes; use %s, or detach it first",
            p->spec.lun, p->spec.wish.iqn, p->info.wwid, other->spec.name, cannot ? cannot : "no memory",
            other->spec.name);
        att_end(a, -EEXIST, why);
        return;
    }
    if (a->was_reset || (!others_owed(a, p) && !p->sess->unsure))
        found(a, p);
    else if (a->patient || !others_owed(a, p))
        others_reset(a, p);
    else if (!rt_timer_armed(&a->patience))
        rt_timer_arm(a->mgr->rt, &a->patience, PATIENCE_NS);
}

void att_founding(struct att *a)
{
    if (a->ending || (a->state != ATT_LOGIN && a->state != ATT_WAITING))
        return;
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (p->state == PATH_OPEN) {
            founder_try(a, p);
            return;
        }
    }
}

static void patience_over(struct rt_timer *t)
{
    struct att *a = container_of(t, struct att, patience);

    a->patient = true;
    att_founding(a);
}

static bool has_path(const struct att *a)
{
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        if (p->state == PATH_IN || p->state == PATH_JOINING)
            return true;
    }
    return false;
}

void att_path_open(struct att *a, struct path *p)
{
    char why[2 * MGR_WHY_MAX], listed[256];

    if (a->state == ATT_LOGIN || a->state == ATT_WAITING) {
        att_founding(a);
        return;
    }
    if (a->state != ATT_UP)
        return; /* others_go_on(), or the end, comes to it */
    if (strcmp(p->info.wwid, a->info.wwid)) {
        snprintf(why, sizeof(why),
                 "LUN %u of %.230s at %s is the unit %.100s, and %s is the unit %.100s: they are not "
                 "one",
                 p->spec.lun, p->spec.wish.iqn, p->portal, p->info.wwid, a->spec.name, a->info.wwid);
        path_drop(p, -EXDEV, why);
    } else if (has_path(a) && policy_one_path(a->mgr, &p->info, listed)) {
        snprintf(why, sizeof(why), "%s: the disk has one path only", listed);
        path_drop(p, -EPERM, why);
    } else if (a->has_pr_key && (!p->registers || p->pr.key != a->pr_key)) {
        path_drop(p, -EAGAIN, "it has to register for a reservation first");
    } else {
        path_join(p);
    }
}

/* ---- opening --------------------------------------------------------------------------------------------- */

/* What can be said against it before anybody is asked. */
static bool spec_refused(struct mgr *m, const struct att_spec *spec, const struct path_spec *paths, unsigned nr,
                         char why[static MGR_WHY_MAX])
{
    const struct att *a = find_name(m, spec->name);

    if (a) {
        snprintf(why, MGR_WHY_MAX, "the name '%s' is in use, for LUN %u of %s: choose another with --name",
                 spec->name, a->spec.lun, a->spec.wish.iqn);
        return true;
    }
    rt_list_for (l, &m->atts) {
        a = rt_list_entry(l, struct att, link);
        for (unsigned i = 0; i < nr; i++) {
            if (!path_like(a, &paths[i]))
                continue;
            snprintf(why, MGR_WHY_MAX,
                     "LUN %u of %s is attached already, as %s%s%s: use that, or detach it first", paths[i].lun,
                     paths[i].wish.iqn, a->spec.name, *att_device(a) ? " at " : "", att_device(a));
            return true;
        }
    }
    return false;
}

static bool paths_make(struct att *a, const struct path_spec *paths, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        struct path *p = path_new(a, &paths[i], NULL, NULL);

        if (!p)
            return false;
        path_start(p, 0); /* so that opened() never comes from inside */
    }
    return true;
}

struct att *att_open(struct mgr *m, const struct att_spec *spec, const struct path_spec *paths, unsigned nr,
                     void (*opened)(struct att *a, int err, const char *why, void *user), void *user,
                     char why[static MGR_WHY_MAX])
{
    struct att *a;

    assert(nr && nr <= MPIO_PATHS_MAX);
    if (spec_refused(m, spec, paths, nr, why))
        return NULL;
    if (!(a = calloc(1, sizeof(*a)))) {
        snprintf(why, MGR_WHY_MAX, "no memory");
        return NULL;
    }
    a->mgr = m;
    a->spec = *spec;
    a->spec.wish = paths[0].wish;
    a->spec.lun = paths[0].lun;
    a->over = spec->over;
    a->has_pr_key = spec->has_pr_key;
    a->pr_key = spec->pr_key;
    a->restored = spec->restored;
    a->separate = spec->separate;
    snprintf(a->wwid, sizeof(a->wwid), "%s", spec->wwid);
    a->holds = 1;
    a->patience.fn = patience_over;
    rt_list_init(&a->paths);
    rt_list_init(&a->close_waits);
    iscsi_portal_format(&paths[0].wish.portal, a->portal);
    if (!paths_make(a, paths, nr)) {
        snprintf(why, MGR_WHY_MAX, "no memory");
        rt_list_for_safe (l, &a->paths)
            path_end(rt_list_entry(l, struct path, link), NULL, NULL);
        att_put(a);
        return NULL;
    }
    a->opened = opened;
    a->opened_user = user;
    if (!*a->spec.name) {
        a->name_made = true;
        att_name_make(m, a->spec.wish.iqn, a->spec.lun, a->spec.name);
    }
    rt_list_push(&m->atts, &a->link);
    return a;
}

/* ---- closing --------------------------------------------------------------------------------------------- */

static void closed(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->err && a->force_more) { /* refused by what force does not ask */
        a->force = true;
        a->force_more = false;
        hop_go(&a->hop, a->mgr->rt, a->rt, att_core_close, closed);
    } else if (a->err) {
        a->state = ATT_UP;
        att_hold(a);
        others_go_on(a);
        closed_tell(a, a->err, a->why);
        att_put(a);
    } else {
        att_end(a, -ECANCELED, "detached");
    }
}

static void failed(struct hop *h)
{
    struct att *a = container_of(h, struct att, force_hop);

    a->force_out = false;
    att_put(a);
}

/* What waits for its target fails. */
static void requests_fail(struct att *a)
{
    if (a->force_out || a->ended)
        return;
    a->force_out = true;
    att_hold(a);
    hop_go(&a->force_hop, a->mgr->rt, a->rt, att_core_fail, failed);
}

/* Somebody waits for a detach that waits for the target, and has lost patience. */
static void close_harder(struct att *a)
{
    if (a->force || a->force_more)
        return;
    a->force_more = true;
    requests_fail(a);
}

void att_hurry(struct att *a)
{
    if (a->state != ATT_CLOSING && a->state != ATT_EXPORTING)
        return;
    rt_log(RT_WARN, "%s: its target does not answer: what waits for it fails, as this daemon is to end",
           a->spec.name);
    /* A ublk disk stays for the next corelaned. */
    if (a->state == ATT_CLOSING && a->result.kind != EXP_UBLK)
        close_harder(a);
    else
        requests_fail(a);
}

void att_close(struct att *a, bool force, struct att_wait *w)
{
    const bool dropped = force && (a->state == ATT_WAITING || (a->state == ATT_LOGIN && a->restored));
    const bool later = a->state == ATT_EXPORTING && a->restored && force;
    const bool taken = a->state == ATT_UP || a->state == ATT_CLOSING || dropped || later;

    if (w && taken)
        rt_list_push(&a->close_waits, &w->link);
    if (a->state == ATT_UP) {
        a->state = ATT_CLOSING;
        a->force = force;
        a->force_more = false;
        hop_go(&a->hop, a->mgr->rt, a->rt, att_core_close, closed);
    } else if (a->state == ATT_CLOSING && force) {
        close_harder(a);
    } else if (later) {
        a->dropped = true;
    } else if (dropped) {
        /* The device stays as it is, without a disk: only who owns it may say so. */
        rt_log(RT_WARN, "%s: given up before it could be taken over: its device is left without a disk",
               a->spec.name);
        att_end(a, -ECANCELED, "detached");
    } else if (w && !taken) {
        w->fn(w, -EBUSY,
              a->state == ATT_WAITING || a->restored
                  ? "its device waits for a target that cannot be reached: --force gives it up"
                  : "it is still being attached: wait until that is over");
    }
}
