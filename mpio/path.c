/*
 * path.c - one logical unit over one nexus
 */
#include <errno.h>
#include <stdlib.h>
#include "mpio/mpio_internal.h"

static void lun_event(void *user, enum ini_event ev)
{
    mpio_path_event(user, ev);
}

static void lun_opened(void *user, int err, const char *why)
{
    struct mpio_path *p = user;
    void (*const opened)(void *, int, const char *) = p->opened;
    void *const opened_user = p->opened_user;

    if (err) {
        p->nexus->paths_nr--;
        free(p);
    } else {
        *p->out = p;
    }
    opened(opened_user, err, why);
}

int mpio_path_open(struct mpio_path **out, struct mpio_nexus *n, uint16_t lun,
                   void (*done)(void *user, int err, const char *why), void *user)
{
    struct mpio_path *p;
    int err;

    rt_assert_here(mpio_nexus_rt(n));
    if (!(p = calloc(1, sizeof(*p))))
        return -ENOMEM;
    p->nexus = n;
    p->opened = done;
    p->opened_user = user;
    p->out = out;
    *out = NULL;
    n->paths_nr++;
    err = ini_lun_open(n->s, lun, &p->lun, lun_opened, lun_event, p);
    if (err) {
        n->paths_nr--;
        free(p);
    }
    return err;
}

void mpio_path_close(struct mpio_path *p)
{
    if (!p)
        return;
    rt_assert_here(mpio_nexus_rt(p->nexus));
    assert(!p->disk);
    ini_lun_close(p->lun);
    p->nexus->paths_nr--;
    free(p);
}

const struct ini_lun_info *mpio_path_lun_info(const struct mpio_path *p)
{
    return ini_lun_info(p->lun);
}

struct mpio_nexus *mpio_path_nexus(const struct mpio_path *p)
{
    return p->nexus;
}
