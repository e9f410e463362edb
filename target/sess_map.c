/*
 * sess_map.c - which logical units a session sees: the target's, less what the access list hides
 *
 * Owns the ITLs. The core's snapshot says what should be there; a change of it brings the map in line: new
 * units are joined, those gone are left as soon as their last task is over, and the initiator is told by a
 * unit attention on those that stay.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "target/sess.h"

struct itl *map_find(const struct sess *s, uint16_t number)
{
    struct itl **itls = s->nexus.itls;
    unsigned lo = 0, hi = s->nexus.itls_nr;

    while (lo < hi) {
        const unsigned mid = (lo + hi) / 2;

        if (itls[mid]->number == number)
            return itls[mid];
        if (itls[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

bool map_knows(const struct sess *s, const struct lun *lun)
{
    for (unsigned i = 0; i < s->nexus.itls_nr; i++) {
        if (s->nexus.itls[i]->lun == lun)
            return true;
    }
    rt_list_for(l, &s->dying) {
        if (rt_list_entry(l, struct sess_itl, dying)->itl.lun == lun)
            return true;
    }
    return false;
}

static void itl_end(struct sess_itl *si)
{
    rt_list_del(&si->dying);
    itl_detach(&si->itl);
    free(si);
}

void map_task_over(struct sess *s, struct itl *itl)
{
    struct sess_itl *si = container_of(itl, struct sess_itl, itl);

    if (!rt_list_empty(&s->dying) && !rt_list_empty(&si->dying) && !itl->tasks && !si->pins)
        itl_end(si);
}

/* Out of the map, which the caller has replaced: no new task finds it. A task that is aborted may be gone at once, and the
 * last one would take the ITL along: it is pinned meanwhile. */
static void itl_leave(struct sess *s, struct sess_itl *si)
{
    rt_list_push(&s->dying, &si->dying);
    si->pins++;
    rt_list_for_safe(l, &s->tasks) {
        struct sess_task *t = rt_list_entry(l, struct sess_task, link);

        if (t->lun_open && t->scsi.itl == &si->itl)
            task_abort(t, true);
    }
    si->pins--;
    map_task_over(s, &si->itl);
}

static void nexus_init(struct sess *s)
{
    if (s->nexus.rt)
        return;
    s->nexus.ops = &sess_nexus_ops;
    s->nexus.rt = s->rt;
    memcpy(s->nexus.initiator, s->initiator, sizeof(s->nexus.initiator));
    memcpy(s->nexus.target, s->target, sizeof(s->nexus.target));
    memcpy(s->nexus.isid, s->isid, sizeof(s->nexus.isid));
    s->nexus.tpgt = s->nexus.rel_port = s->group;   /* the groups of one target are its ports */
    s->nexus.session = s;
}

/* The unit as the session knows it already, or NULL. */
static struct itl *itl_of(const struct sess *s, const struct snap_lun *lun)
{
    struct itl *itl = map_find(s, lun->number);

    return itl && itl->lun == lun->lun ? itl : NULL;
}

/* Memory for the units that are new to the session, by ->dying in @fresh; all of it or none, for a session with half its
 * units looks like one whose other disks were taken away. Return: 0 or -ENOMEM. */
static int fresh_alloc(struct rt_link *fresh, unsigned nr)
{
    struct rt_link *l;

    while (nr--) {
        struct sess_itl *si = calloc(1, sizeof(*si));

        if (!si) {
            while ((l = rt_list_pop(fresh)))
                free(rt_list_entry(l, struct sess_itl, dying));
            return -ENOMEM;
        }
        rt_list_push(fresh, &si->dying);
    }
    return 0;
}

static struct itl *itl_join(struct sess *s, struct rt_link *fresh, const struct snap_lun *lun, bool readonly)
{
    struct sess_itl *si = rt_list_entry(rt_list_pop(fresh), struct sess_itl, dying);

    rt_list_init(&si->dying);
    itl_attach(&si->itl, &s->nexus, lun->lun, lun->number, readonly);
    return &si->itl;
}

int map_update(struct sess *s, bool tell)
{
    const struct snap_target *t = snap_find(s->core->snap, s->target);
    struct itl **old = s->nexus.itls, **itls;
    const unsigned old_nr = s->nexus.itls_nr;
    const struct snap_acl *acl;
    struct rt_link fresh;
    unsigned nr = 0, joins = 0, left = 0;
    bool open, readonly;

    if (!t || (!(acl = snap_acl_of(t, s->initiator, &open)) && !open))
        return -EACCES;
    readonly = acl && acl->readonly;
    rt_list_init(&fresh);
    for (unsigned i = 0; i < t->luns_nr; i++)
        joins += snap_acl_has(acl, t->luns[i].number) && !itl_of(s, &t->luns[i]);
    if (!(itls = calloc(t->luns_nr ? t->luns_nr : 1, sizeof(struct itl *))) || fresh_alloc(&fresh, joins)) {
        free(itls);
        return -ENOMEM;
    }
    nexus_init(s);
    for (unsigned i = 0; i < t->luns_nr; i++) {
        const struct snap_lun *lun = &t->luns[i];
        struct itl *itl;

        if (!snap_acl_has(acl, lun->number))
            continue;
        if ((itl = itl_of(s, lun)))
            itl->readonly = readonly;
        else
            itl = itl_join(s, &fresh, lun, readonly);
        itls[nr++] = itl;
    }
    s->nexus.itls = itls;
    s->nexus.itls_nr = nr;
    for (unsigned i = 0; i < old_nr; i++) {
        if (map_find(s, old[i]->number) == old[i])
            continue;
        left++;
        itl_leave(s, container_of(old[i], struct sess_itl, itl));
    }
    free(old);
    for (unsigned i = 0; tell && (joins || left) && i < nr; i++)
        itl_attention(itls[i], 0x3f, 0x0e); /* REPORTED LUNS DATA HAS CHANGED */
    return 0;
}

void map_clear(struct sess *s)
{
    for (unsigned i = 0; i < s->nexus.itls_nr; i++)
        itl_end(container_of(s->nexus.itls[i], struct sess_itl, itl));
    free(s->nexus.itls);
    s->nexus.itls = NULL;
    s->nexus.itls_nr = 0;
    assert(rt_list_empty(&s->dying));
}
