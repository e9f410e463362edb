/*
 * merge.c - an attachment whose unit is attached already: its paths go over to the disk that there is
 *
 * What was opened of it is closed first, as nothing can be open twice on a session; its sessions stay for the paths that are to
 * come. Who asked for it is told when each of those has come to something.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

struct merge { /* who asked for an attachment that becomes paths of another */
    void (*opened)(struct att *a, int err, const char *why, void *user);
    void *user;
    struct att *into;                  /* held until they are begun */
    struct sess *sess[MPIO_PATHS_MAX]; /* those that are there already, used until then */
    unsigned sess_nr;
    unsigned left; /* paths that have not come to anything yet, and one until they are begun */
    int err;
    bool in; /* one of them is in */
    char why[MGR_WHY_MAX], words[MGR_WHY_MAX];
};

static void merge_left(struct merge *mg, struct att *into)
{
    if (--mg->left)
        return;
    mg->opened(into, mg->in ? 0 : mg->err ? mg->err : -ECANCELED, mg->in ? mg->words : mg->why, mg->user);
    free(mg);
}

static void merge_path_done(struct path *p, int err, const char *why, void *user)
{
    struct merge *mg = user;

    mg->in |= !err;
    if (err && !mg->err) {
        mg->err = err;
        snprintf(mg->why, sizeof(mg->why), "%s", why);
    }
    merge_left(mg, p->att);
}

/* The attachment is gone, and what was open on its sessions with it: nothing can be open there twice. */
void merge_go(struct merge *mg)
{
    struct att *into = mg->into;

    rt_list_for_safe (l, &into->paths) {
        struct path *q = rt_list_entry(l, struct path, link);

        if (q->done == merge_path_done && q->done_user == mg && !q->ending)
            path_go(q);
    }
    for (unsigned i = 0; i < mg->sess_nr; i++)
        sess_unuse(mg->sess[i]);
    merge_left(mg, into);
    att_put(into);
}

const char *merge_refusal(const struct att *a, const struct att *b)
{
    if (a->separate)
        return "it was to be a disk of its own";
    if (b->state != ATT_UP)
        return "that disk is not up";
    if (a->spec.readonly != b->spec.readonly)
        return a->spec.readonly ? "that disk can be written to" : "that disk cannot be written to";
    if (!a->name_made && strcmp(a->spec.name, b->spec.name))
        return "another name was asked for";
    if (a->spec.kind != EXP_AUTO && a->spec.kind != b->result.kind)
        return "another kind of device was asked for";
    return NULL;
}

bool merge_begin(struct att *a, struct att *b)
{
    struct merge *mg = a->opened ? calloc(1, sizeof(*mg)) : NULL;

    if (!mg)
        return false;
    *mg = (struct merge){ .opened = a->opened, .user = a->opened_user, .into = b, .left = 1 };
    snprintf(mg->words, sizeof(mg->words),
             "LUN %u of %.230s is the unit %.80s, which is attached as %s: it is a path of that disk now",
             a->spec.lun, a->spec.wish.iqn, b->info.wwid, b->spec.name);
    rt_list_for (l, &a->paths) {
        const struct path *p = rt_list_entry(l, struct path, link);
        struct path *q = path_new(b, &p->spec, merge_path_done, mg);

        if (!q)
            break;
        mg->left++;
        if (p->sess) {
            mg->sess[mg->sess_nr++] = p->sess;
            sess_use(p->sess);
        }
    }
    if (mg->left == 1) {
        free(mg);
        return false;
    }
    att_hold(b);
    a->opened = NULL;
    a->merge = mg;
    return true;
}
