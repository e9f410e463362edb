/*
 * path.c - one way to a disk's unit: a session for it, the unit on it, into the disk, and out again
 *
 * Home decides; each step is a trip to the core concerned and back: that of the session for what has to do with the
 * unit, that of the disk for joining and leaving. Which path founds the disk, and when others may join, attach.c says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

#define RETRY_NS (5 * RT_S)

/* ---- holding on, finding --------------------------------------------------------------------------------- */

void path_hold(struct path *p)
{
    p->holds++;
}

void path_put(struct path *p)
{
    struct att *a = p->att;

    assert(p->holds);
    if (--p->holds)
        return;
    assert(!p->mp && !p->sess && !p->done);
    explicit_bzero(&p->spec, sizeof(p->spec));
    free(p);
    att_put(a);
}

/* "p2" or "2", or the session it stands on. */
struct path *path_find(const struct att *a, const char *name)
{
    rt_list_for (l, &a->paths) {
        struct path *p = rt_list_entry(l, struct path, link);

        if (!strcmp(p->name, name) || !strcmp(p->name + 1, name) || (p->sess && !strcmp(p->sess->name, name)))
            return p;
    }
    return NULL;
}

const struct path *path_like(const struct att *a, const struct path_spec *spec)
{
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);

        if (p->spec.lun == spec->lun && !strcmp(p->spec.wish.iqn, spec->wish.iqn) &&
            p->spec.wish.portal.port == spec->wish.portal.port &&
            !strcmp(p->spec.wish.portal.host, spec->wish.portal.host))
            return p;
    }
    return NULL;
}

bool path_refused(const struct path *p)
{
    return p->state == PATH_WAITING && p->tried;
}

static void done_tell(struct path *p, int err, const char *why)
{
    void (*const done)(struct path *, int, const char *, void *) = p->done;

    p->done = NULL;
    if (done)
        done(p, err, why, p->done_user);
}

static void sess_leave(struct path *p)
{
    struct sess *s = p->sess;

    p->sess = NULL;
    if (s)
        sess_unuse(s);
}

/* Out of the books: no core has a part of it. */
static void path_gone(struct path *p)
{
    struct att *a = p->att;
    void (*const ended)(void *user) = p->ended;

    sess_leave(p);
    rt_timer_disarm(a->mgr->rt, &p->retry);
    rt_list_del(&p->link);
    p->gone = true;
    done_tell(p, -ECANCELED, "it was taken away");
    if (ended)
        ended(p->ended_user);
    att_path_out(a);
    path_put(p);
}

/* No core has a part of it: it waits to be tried again, where somebody will do that. */
static void path_failed(struct path *p, int err, const char *why)
{
    struct att *a = p->att;

    if (p->ending) {
        path_gone(p);
        return;
    }
    sess_leave(p);
    p->state = PATH_WAITING;
    p->tried = true;
    p->err = err;
    if (why != p->why)
        snprintf(p->why, sizeof(p->why), "%s", why && *why ? why : strerror(-err));
    if (strcmp(p->told, p->why) && a->state == ATT_UP) {
        snprintf(p->told, sizeof(p->told), "%s", p->why);
        event_add(a->mgr, RT_WARN, a->spec.name, p->name, "LUN %u of %.120s at %s is no path now: %.600s",
                  p->spec.lun, p->spec.wish.iqn, p->portal, p->why);
    }
    path_hold(p);
    done_tell(p, err, p->why); /* who asked may end it */
    if (!p->gone) {
        if (a->state == ATT_UP || a->restored)
            path_start(p, RETRY_NS);
        att_path_failed(a, p);
    }
    path_put(p);
}

/* ---- on the session's core ------------------------------------------------------------------------------- */

static void core_registered(struct mpio_pr *pr)
{
    struct path *p = pr->user;

    if ((p->err = pr->err))
        snprintf(p->why, sizeof(p->why), "it cannot be registered for a reservation: %s", pr->why);
    hop_back(&p->hop);
}

/* Before it joins: what is not registered may have its writes refused. */
static void core_register(struct path *p)
{
    p->pr.action = MPIO_PR_REGISTER;
    p->pr.done = core_registered;
    p->pr.user = p;
    mpio_pr_send(p->sess->ini, p->spec.lun, &p->pr);
}

static void core_looked(void *user, int err, const char *why)
{
    struct path *p = user;

    p->err = err;
    if (err) {
        p->mp = NULL;
        snprintf(p->why, sizeof(p->why), "%s", why && *why ? why : strerror(-err));
    } else {
        p->info = *mpio_path_lun_info(p->mp);
        if (p->registers) {
            core_register(p);
            return;
        }
    }
    hop_back(&p->hop);
}

static void core_look(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);
    int err;

    if (!p->sess->ini)
        err = -ENOTCONN;
    else if (!(err = mpio_path_open(&p->mp, p->sess->nexus, p->spec.lun, core_looked, p)))
        return;
    core_looked(p, err, NULL);
}

static void core_shut(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);

    mpio_path_close(p->mp);
    p->mp = NULL;
    hop_back(h);
}

/* ---- on the disk's core ---------------------------------------------------------------------------------- */

void path_core_weight(struct path *p)
{
    if (p->spec.prio || p->spec.weight)
        mpio_disk_path_weight(p->att->disk, p->mp, p->spec.prio, p->spec.weight);
}

static void core_joined(void *user, int err, const char *why)
{
    struct path *p = user;

    p->err = err;
    if (err)
        snprintf(p->why, sizeof(p->why), "%s", why && *why ? why : strerror(-err));
    else
        path_core_weight(p);
    hop_back(&p->hop);
}

static void core_join(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);

    mpio_disk_join(p->att->disk, p->mp, core_joined, p);
}

static void core_left(void *user)
{
    struct path *p = user;

    hop_back(&p->hop);
}

static void core_leave(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);

    mpio_disk_leave(p->att->disk, p->mp, core_left, p);
    if (p->att->exp)
        exp_memory_look(p->att->exp);
}

/* ---- out, at home ---------------------------------------------------------------------------------------- */

static void shut(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);

    path_failed(p, p->err, p->why);
}

/* It is in no disk. */
static void path_shut(struct path *p)
{
    p->state = PATH_LEAVING;
    sess_go(p->sess, &p->hop, core_shut, shut);
}

static void left(struct hop *h)
{
    path_shut(container_of(h, struct path, hop));
}

void path_drop(struct path *p, int err, const char *why)
{
    p->err = err;
    if (why != p->why)
        snprintf(p->why, sizeof(p->why), "%s", why);
    if (p->state == PATH_OPEN) {
        path_shut(p);
    } else if (p->state == PATH_IN) {
        p->state = PATH_LEAVING;
        hop_go(&p->hop, p->att->mgr->rt, p->att->rt, core_leave, left);
    }
}

void path_end(struct path *p, void (*ended)(void *user), void *user)
{
    if (ended) {
        assert(!p->ended);
        p->ended = ended;
        p->ended_user = user;
    }
    if (p->ending)
        return;
    p->ending = true;
    switch (p->state) {
    case PATH_LOGIN:
        rt_list_del(&p->sess_wait.link);
        path_gone(p);
        break;
    case PATH_WAITING: path_gone(p); break;
    case PATH_OPEN:
    case PATH_IN: path_drop(p, -ECANCELED, "it was taken away"); break;
    case PATH_OPENING:
    case PATH_JOINING:
    case PATH_LEAVING: break; /* whoever is on the way comes back, and sees it */
    }
}

/* ---- in, at home ----------------------------------------------------------------------------------------- */

static void joined(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);
    struct att *a = p->att;

    if (p->err) {
        path_shut(p);
        return;
    }
    p->state = PATH_IN;
    p->tried = false;
    p->told[0] = '\0';
    if (p->ending) {
        path_drop(p, -ECANCELED, "it was taken away");
        return;
    }
    event_add(a->mgr, RT_INFO, a->spec.name, p->name,
              "LUN %u of %.120s at %s is a path of it, session %s on core %d", p->spec.lun, p->spec.wish.iqn,
              p->portal, p->sess->name, p->sess->core);
    store_save(a->mgr, NULL);
    done_tell(p, 0, NULL);
}

void path_join(struct path *p)
{
    struct att *a = p->att;

    assert(p->state == PATH_OPEN && a->state == ATT_UP);
    p->state = PATH_JOINING;
    hop_go(&p->hop, a->mgr->rt, a->rt, core_join, joined);
}

static void looked(struct hop *h)
{
    struct path *p = container_of(h, struct path, hop);

    if (p->err && p->mp) {
        path_shut(p);
        return;
    }
    if (p->err) {
        path_failed(p, p->err, p->why);
        return;
    }
    p->state = PATH_OPEN;
    if (p->ending)
        path_shut(p);
    else
        att_path_open(p->att, p);
}

static void path_look(struct path *p)
{
    p->state = PATH_OPENING;
    p->registers = p->att->has_pr_key;
    p->pr.key = p->att->pr_key;
    memcpy(p->spec.isid, p->sess->conf.isid, sizeof(p->spec.isid));
    sess_go(p->sess, &p->hop, core_look, looked);
}

static void sess_settled(struct sess_wait *w, int err, const char *why)
{
    struct path *p = container_of(w, struct path, sess_wait);

    if (err)
        path_failed(p, err, why);
    else
        path_look(p);
}

/* A write of an older session that is still on its way must not land after those of this disk. */
static void path_settle(struct path *p)
{
    p->settled = true;
    p->sess_wait.fn = sess_settled;
    isid_settle(p->sess, &p->sess_wait);
}

static void sess_ready(struct sess_wait *w, int err, const char *why)
{
    struct path *p = container_of(w, struct path, sess_wait);

    if (err)
        path_failed(p, err, why);
    else
        path_settle(p);
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

void path_go(struct path *p)
{
    struct mgr *m = p->att->mgr;

    p->sess = p->spec.has_isid ? sess_of_isid(m, p->spec.isid) : sess_shared(m, &p->spec.wish, p->att);
    if (!p->sess)
        p->sess = sess_new(m, &p->spec.wish, p->spec.has_isid ? p->spec.isid : NULL, false);
    if (!p->sess) {
        path_failed(p, -ENOMEM, "no memory for a session");
        return;
    }
    sess_use(p->sess);
    p->state = PATH_LOGIN;
    if (p->sess->state == SESS_UP) {
        path_settle(p);
        return;
    }
    p->sess_wait.fn = sess_ready;
    sess_wait_up(p->sess, &p->sess_wait);
}

static void retry_fired(struct rt_timer *t)
{
    struct path *p = container_of(t, struct path, retry);

    if (!p->att->mgr->stopping)
        path_go(p);
}

void path_start(struct path *p, uint64_t in_ns)
{
    assert(p->state == PATH_WAITING);
    rt_timer_arm(p->att->mgr->rt, &p->retry, in_ns);
}

struct path *path_new(struct att *a, const struct path_spec *spec,
                      void (*done)(struct path *p, int err, const char *why, void *user), void *user)
{
    struct path *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->att = a;
    p->spec = *spec;
    p->state = PATH_WAITING;
    p->holds = 1;
    p->done = done;
    p->done_user = user;
    p->retry.fn = retry_fired;
    snprintf(p->name, sizeof(p->name), "p%u", ++a->path_last);
    iscsi_portal_format(&spec->wish.portal, p->portal);
    att_hold(a);
    rt_list_push(&a->paths, &p->link);
    return p;
}

/* One path alone is left as it is: its disk shows what became of it, and is not without any. */
void paths_sess_failed(struct mgr *m, struct sess *s)
{
    rt_list_for (la, &m->atts) {
        struct att *a = rt_list_entry(la, struct att, link);

        if (a->state != ATT_UP || a->paths.next->next == &a->paths)
            continue;
        rt_list_for (l, &a->paths) {
            struct path *p = rt_list_entry(l, struct path, link);

            if (p->sess == s && p->state == PATH_IN)
                path_drop(p, s->err, s->why_failed);
        }
    }
}
