/*
 * attach.c - attachments: a LUN, a disk over it, a device over that
 *
 * Home decides; each step is a trip to the session's core and back: look the unit over, make the device, take
 * it away. What is taken over from a daemon that died is written down before its device can be used, and not
 * given up while its target cannot be reached: a file system waits behind it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

#define RETRY_NS (5 * RT_S)
#define FLUSH_NS (5 * RT_S)                 /* for what is left in the target's cache when a disk is detached */

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

struct att *att_find(struct mgr *m, const char *name_or_path)
{
    if (*name_or_path != '/')
        return find_name(m, name_or_path);
    rt_list_for (l, &m->atts) {
        struct att *a = rt_list_entry(l, struct att, link);

        if (a->state >= ATT_UP && !strcmp(a->result.path, name_or_path))
            return a;
    }
    return NULL;
}

bool att_has_isid(const struct mgr *m, const uint8_t isid[static 6])
{
    rt_list_for (l, &m->atts) {
        const struct att *a = rt_list_entry(l, struct att, link);

        if (a->has_isid && !memcmp(a->isid, isid, 6))
            return true;
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
    assert(!a->path && !a->disk && !a->exp && !a->sess);
    explicit_bzero(&a->spec, sizeof(a->spec));
    free(a);
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

static void sess_leave(struct att *a)
{
    struct sess *s = a->sess;

    a->sess = NULL;
    sess_unuse(s);
}

static void opened_tell(struct att *a, int err, const char *why)
{
    void (*const opened)(struct att *, int, const char *, void *) = a->opened;

    a->opened = NULL;
    if (opened)
        opened(a, err, why, a->opened_user);
}

/* It has no part on any core any more: out of the books. */
static void att_gone(struct att *a)
{
    if (a->sess)
        sess_leave(a);
    rt_timer_disarm(a->mgr->rt, &a->retry);
    rt_list_del(&a->link);
    store_save(a->mgr, NULL);
}

/* ---- on the session's core ------------------------------------------------------------------------------- */

static void core_disk_event(void *user, enum mpio_event ev, const char *why)
{
    struct att *a = user;

    if (ev == MPIO_RESIZED && a->exp)
        exp_resized(a->exp);
}

static void core_looked(void *user, int err, const char *why)
{
    struct att *a = user;

    a->err = err;
    if (err) {
        a->path = NULL;
        snprintf(a->why, sizeof(a->why), "%s", why && *why ? why : strerror(-err));
    } else {
        a->info = *mpio_path_lun_info(a->path);
    }
    hop_back(&a->hop);
}

static void core_look(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    int err;

    if (!a->sess->ini)
        err = -ENOTCONN;
    else if (!(err = mpio_path_open(&a->path, a->sess->nexus, a->spec.lun, core_looked, a)))
        return;
    core_looked(a, err, NULL);
}

static void core_left(void *user)
{
    struct att *a = user;

    a->joined = false;
    mpio_disk_free(a->disk);
    a->disk = NULL;
    mpio_path_close(a->path);
    a->path = NULL;
    hop_back(&a->hop);
}

static void core_release(struct rt_op *op, int res)
{
    struct att *a = container_of(op, struct att, core_op);

    if (a->joined)
        mpio_disk_leave(a->disk, a->path, core_left, a);
    else
        core_left(a);
}

/* In a turn of its own: what we are called from may still look at the disk. */
static void core_release_later(struct att *a)
{
    a->core_op.done = core_release;
    rt_defer(a->sess->rt, &a->core_op);
}

static void told_lost(struct rt_msg *m)
{
    struct att *a = container_of(m, struct att, lost_msg);

    if (a->state == ATT_UP) {
        rt_log(RT_WARN, "%s: %s was taken away by somebody else: detached", a->spec.name, a->result.path);
        att_close(a, true, NULL);
    }
}

static void core_exp_event(void *user, enum exp_event ev)
{
    struct att *a = user;

    if (ev != EXP_LOST || a->lost_told)
        return;
    a->lost_told = true;
    a->lost_msg.fn = told_lost;
    rt_post(a->mgr->rt, &a->lost_msg);
}

static void core_export_failed(struct att *a, int err, const char *why)
{
    a->exp = NULL;
    a->err = err;
    snprintf(a->why, sizeof(a->why), "%s", why && *why ? why : strerror(-err));
    core_release_later(a);
}

static void core_exported(void *user, const struct exp_result *r)
{
    struct att *a = user;

    if (r->err) {
        core_export_failed(a, r->err, r->why);
        return;
    }
    a->result = *r;
    a->err = 0;
    a->info = *mpio_disk_info(a->disk); /* it may have grown meanwhile */
    hop_back(&a->hop);
}

static void core_joined(void *user, int err, const char *why)
{
    struct att *a = user;
    const struct exp_conf conf = {
        .kind = a->spec.kind,
        .name = a->spec.name,
        .run_dir = a->mgr->run_dir,
        .readonly = a->spec.readonly,
    };

    a->joined = !err;
    if (!err)
        err = exp_open(&a->exp, a->disk, &conf, core_exported, core_exp_event, a);
    if (err)
        core_export_failed(a, err, a->joined ? NULL : why);
}

static void core_export(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    const int err = mpio_disk_new(&a->disk, a->sess->rt, NULL, core_disk_event, a);

    if (err) {
        a->disk = NULL;
        core_export_failed(a, err, NULL);
        return;
    }
    mpio_disk_join(a->disk, a->path, core_joined, a);
}

static void core_flushed(struct mpio_io *io, int res)
{
    struct att *a = container_of(io, struct att, flush);

    rt_timer_disarm(a->sess->rt, &a->flush_late);
    if (res)
        rt_log(RT_WARN,
               "%s: the last flush failed (%s): if the target loses its power now, written data can be lost",
               a->spec.name, strerror(-res));
    core_release_later(a);
}

static void core_flush_late(struct rt_timer *t)
{
    mpio_disk_fail(container_of(t, struct att, flush_late)->disk, -ETIMEDOUT);
}

/* Nobody can flush the disk once its device is gone, and not everybody did before: what it took is to be safe
 * when its user is told that it is detached, as a disk of the kernel's is when it goes. */
static void core_flush(struct att *a)
{
    a->flush = (struct mpio_io){ .io.op = INI_FLUSH, .done = core_flushed };
    a->flush_late.fn = core_flush_late;
    rt_timer_arm(a->sess->rt, &a->flush_late, FLUSH_NS);
    mpio_submit(a->disk, &a->flush);
}

static void core_closed(void *user, int err, const char *why)
{
    struct att *a = user;

    a->err = err;
    if (err) {
        snprintf(a->why, sizeof(a->why), "%s", why && *why ? why : strerror(-err));
        hop_back(&a->hop);
        return;
    }
    a->exp = NULL;
    if (a->force || a->spec.readonly || a->result.kind == EXP_NONE)
        core_release_later(a);
    else
        core_flush(a);
}

static void core_close(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->exp) {
        if (a->force)                       /* or it would wait for a target that cannot be reached */
            mpio_disk_fail(a->disk, -EIO);
        exp_close(a->exp, a->force, core_closed, a);
    } else {
        a->err = 0;
        core_release_later(a);
    }
}

/* ---- opening, at home ------------------------------------------------------------------------------------ */

static void att_start(struct att *a);

static void retry_fired(struct rt_timer *t)
{
    struct att *a = container_of(t, struct att, retry);

    att_start(a);
}

/* Nothing of it is left on any core. A device that waits for its disk goes on waiting; for what will not mend
 * by itself (another unit answers there now) it is left to whoever reads the log. */
static void att_failed(struct att *a, int err, const char *why)
{
    if (a->restored && err != -ESTALE && err != -ECANCELED) {
        if (a->state != ATT_WAITING)
            rt_log(RT_WARN, "%s: cannot be taken over yet: %s; trying again", a->spec.name, why);
        a->state = ATT_WAITING;
        if (a->sess)
            sess_leave(a);
        if (!a->mgr->stopping)
            rt_timer_arm(a->mgr->rt, &a->retry, RETRY_NS);
        return;
    }
    att_hold(a);
    att_gone(a);
    opened_tell(a, err, why);
    att_put(a);
    att_put(a);
}

static void undone(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    att_failed(a, a->result.err, a->result.why);
}

/* After the unit was looked over: it has a part on the core that is to go first. */
static void att_undo(struct att *a, int err, const char *why)
{
    a->result = (struct exp_result){ .err = err };
    snprintf(a->result.why, sizeof(a->result.why), "%.*s", (int)sizeof(a->result.why) - 1, why);
    sess_go(a->sess, &a->hop, core_close, undone);
}

static void exported(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->err) {
        att_failed(a, a->err, a->why);
        return;
    }
    a->state = ATT_UP;
    a->restored = false;
    if (a->result.kind == EXP_NONE)
        rt_log(RT_INFO, "%s: LUN %u of %s, no device, session %s", a->spec.name, a->spec.lun, a->spec.wish.iqn,
               a->sess->name);
    else
        rt_log(RT_INFO, "%s: LUN %u of %s is %s, session %s on core %d", a->spec.name, a->spec.lun,
               a->spec.wish.iqn, a->result.path, a->sess->name, a->sess->core);
    store_save(a->mgr, NULL);
    opened_tell(a, 0, NULL);
}

static void stored(struct store_wait *w)
{
    struct att *a = container_of(w, struct att, store_wait);

    if (a->mgr->save_err && a->spec.kind != EXP_NONE)
        rt_log(RT_WARN,
               "%s: %s/attachments.json cannot be written (%s): its disk could not be taken over after a crash",
               a->spec.name, a->mgr->run_dir, strerror(-a->mgr->save_err));
    sess_go(a->sess, &a->hop, core_export, exported);
}

/* Two disks over one unit would each cache blocks that the other changes. */
static const struct att *same_unit(const struct att *a)
{
    rt_list_for (l, &a->mgr->atts) {
        const struct att *b = rt_list_entry(l, struct att, link);

        if (b != a && (b->state == ATT_UP || b->state == ATT_EXPORTING || b->state == ATT_CLOSING) &&
            *b->info.wwid && !strcmp(b->info.wwid, a->info.wwid))
            return b;
    }
    return NULL;
}

static void looked(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);
    const struct att *other;
    char why[MGR_WHY_MAX];

    if (a->err) {
        att_failed(a, a->err, a->why);
        return;
    }
    if (a->mgr->stopping) {
        att_undo(a, -ESHUTDOWN, "corelaned is being stopped");
        return;
    }
    if ((other = same_unit(a))) {
        snprintf(why, sizeof(why),
                 "LUN %u of %s is the unit %.80s, which is attached as %s already: two disks over one unit "
                 "would lose writes; use %s, or detach it first",
                 a->spec.lun, a->spec.wish.iqn, a->info.wwid, other->spec.name, other->spec.name);
        att_undo(a, -EEXIST, why);
        return;
    }
    a->state = ATT_EXPORTING;
    a->store_wait.fn = stored;
    store_save(a->mgr, &a->store_wait);
}

static void att_look(struct att *a)
{
    a->state = ATT_OPENING;
    memcpy(a->isid, a->sess->conf.isid, sizeof(a->isid));
    sess_go(a->sess, &a->hop, core_look, looked);
}

static void sess_settled(struct sess_wait *w, int err, const char *why)
{
    struct att *a = container_of(w, struct att, sess_wait);

    if (err)
        att_failed(a, err, why);
    else
        att_look(a);
}

/* A write of an older session that is still on its way must not land after those of this disk. */
static void att_settle(struct att *a)
{
    a->sess_wait.fn = sess_settled;
    isid_settle(a->sess, &a->sess_wait);
}

static void sess_ready(struct sess_wait *w, int err, const char *why)
{
    struct att *a = container_of(w, struct att, sess_wait);

    if (err)
        att_failed(a, err, why);
    else
        att_settle(a);
}

static struct sess *sess_of_isid(struct mgr *m, const uint8_t isid[static 6])
{
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (sess_serves(s) && !memcmp(s->conf.isid, isid, 6))
            return s;
    }
    return NULL;
}

static void att_start(struct att *a)
{
    struct mgr *m = a->mgr;

    a->sess = a->has_isid ? sess_of_isid(m, a->isid) : sess_shared(m, &a->spec.wish);
    if (!a->sess)
        a->sess = sess_new(m, &a->spec.wish, a->has_isid ? a->isid : NULL, false);
    if (!a->sess) {
        att_failed(a, -ENOMEM, "no memory for a session");
        return;
    }
    sess_use(a->sess);
    if (a->sess->state == SESS_UP) {
        att_settle(a);
        return;
    }
    if (a->state != ATT_WAITING)
        a->state = ATT_LOGIN;
    a->sess_wait.fn = sess_ready;
    sess_wait_up(a->sess, &a->sess_wait);
}

/* What can be said against it before anybody is asked. */
static bool spec_refused(struct mgr *m, const struct att_spec *spec, char why[static MGR_WHY_MAX])
{
    const struct att *a = find_name(m, spec->name);

    if (a) {
        snprintf(why, MGR_WHY_MAX, "the name '%s' is in use, for LUN %u of %s: choose another with --name",
                 spec->name, a->spec.lun, a->spec.wish.iqn);
        return true;
    }
    rt_list_for (l, &m->atts) {
        a = rt_list_entry(l, struct att, link);
        if (a->spec.lun == spec->lun && !strcmp(a->spec.wish.iqn, spec->wish.iqn) &&
            a->spec.wish.portal.port == spec->wish.portal.port &&
            !strcmp(a->spec.wish.portal.host, spec->wish.portal.host)) {
            snprintf(why, MGR_WHY_MAX,
                     "LUN %u of %s is attached already, as %s%s%s: use that, or detach it first", spec->lun,
                     spec->wish.iqn, a->spec.name, a->result.path[0] ? " at " : "", a->result.path);
            return true;
        }
    }
    return false;
}

static void start_later(struct rt_op *op, int res)
{
    att_start(container_of(op, struct att, core_op));
}

struct att *att_open(struct mgr *m, const struct att_spec *spec, const uint8_t *isid,
                     void (*opened)(struct att *a, int err, const char *why, void *user), void *user,
                     char why[static MGR_WHY_MAX])
{
    struct att *a;

    if (spec_refused(m, spec, why))
        return NULL;
    if (!(a = calloc(1, sizeof(*a)))) {
        snprintf(why, MGR_WHY_MAX, "no memory");
        return NULL;
    }
    a->mgr = m;
    a->spec = *spec;
    a->holds = 1;
    a->opened = opened;
    a->opened_user = user;
    a->retry.fn = retry_fired;
    rt_list_init(&a->close_waits);
    iscsi_portal_format(&spec->wish.portal, a->portal);
    if (!*a->spec.name)
        att_name_make(m, spec->wish.iqn, spec->lun, a->spec.name);
    if (isid) {
        a->restored = a->has_isid = true;
        memcpy(a->isid, isid, sizeof(a->isid));
    }
    rt_list_push(&m->atts, &a->link);
    a->core_op.done = start_later; /* so that opened() never comes from inside */
    rt_defer(m->rt, &a->core_op);
    return a;
}

/* ---- closing, at home ------------------------------------------------------------------------------------ */

static void closed(struct hop *h)
{
    struct att *a = container_of(h, struct att, hop);

    if (a->err && a->force_more) {          /* refused by what force does not ask */
        a->force = true;
        a->force_more = false;
        sess_go(a->sess, &a->hop, core_close, closed);
        return;
    }
    if (a->err) {
        a->state = ATT_UP;
        closed_tell(a, a->err, a->why);
        return;
    }
    rt_log(RT_INFO, "%s: detached", a->spec.name);
    att_gone(a);
    closed_tell(a, 0, NULL);
    att_put(a);
}

/* The device stays as it is, without a disk: only who owns it may say so. */
static void waiting_drop(struct att *a)
{
    rt_log(RT_WARN, "%s: given up before it could be taken over: its device is left without a disk",
           a->spec.name);
    att_hold(a);
    if (a->sess)
        rt_list_del(&a->sess_wait.link);
    att_gone(a);
    closed_tell(a, 0, NULL);
    opened_tell(a, -ECANCELED, "detached");
    att_put(a);
    att_put(a);
}

static void core_fail(struct hop *h)
{
    struct att *a = container_of(h, struct att, force_hop);

    if (a->disk)
        mpio_disk_fail(a->disk, -EIO);
    hop_back(h);
}

static void failed(struct hop *h)
{
    struct att *a = container_of(h, struct att, force_hop);

    a->force_out = false;
    att_put(a);
}

/* Somebody waits for a detach that waits for the target, and has lost patience. */
static void close_harder(struct att *a)
{
    if (a->force || a->force_more)
        return;
    a->force_more = true;
    if (a->force_out)
        return;
    a->force_out = true;
    att_hold(a);
    sess_go(a->sess, &a->force_hop, core_fail, failed);
}

void att_close(struct att *a, bool force, struct att_wait *w)
{
    const bool dropped = a->state == ATT_WAITING && force;
    const bool taken = a->state == ATT_UP || a->state == ATT_CLOSING || dropped;

    if (w && taken)
        rt_list_push(&a->close_waits, &w->link);
    if (a->state == ATT_UP) {
        a->state = ATT_CLOSING;
        a->force = force;
        a->force_more = false;
        sess_go(a->sess, &a->hop, core_close, closed);
    } else if (a->state == ATT_CLOSING && force) {
        close_harder(a);
    } else if (dropped) {
        waiting_drop(a);
    } else if (w && !taken) {
        w->fn(w, -EBUSY,
              a->state == ATT_WAITING
                  ? "its device waits for a target that cannot be reached: --force gives it up"
                  : "it is still being attached: wait until that is over");
    }
}
