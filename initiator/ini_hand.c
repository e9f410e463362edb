/*
 * ini_hand.c - units whose requests are handed back when their session cannot carry them out
 *
 * Who has several sessions to one unit does not want a request kept until this one is back. Owns when that is so, and
 * what such a request ends with; the ends themselves are ini_task.c's (commands) and ini_io.c's (requests).
 *
 * What was sent ends when the connection is gone for good (ini_tasks_hold()): by then nothing touches its memory. What
 * was not ends as the session goes away.
 */
#include "initiator/ini_internal.h"

int ini_lun_refuses(const struct ini_lun *l)
{
    if (!l->hand)
        return l->err;
    return l->err || l->away || l->sess->state != INI_UP || l->sess->stopping ? -ENOTCONN : 0;
}

int ini_hand_err(const struct ini_sess *s, const struct ini_task *t, bool left)
{
    const struct ini_piece *p = ini_io_piece(t);

    if (!p || !p->io->lun->hand)
        return 0;
    if (s->state == INI_UP) /* whatever was sent before is over */
        return p->io->lun->away ? -ENOTCONN : 0;
    /* One that changes nothing may be carried out late as well. */
    return left && ini_io_writes(p) ? -ECONNABORTED : -ENOTCONN;
}

void ini_hand_waiting(struct ini_lun *l)
{
    struct ini_sess *s = l->sess;

    rt_list_for_safe (at, &l->held) {
        struct ini_task *t = rt_list_entry(at, struct ini_task, link);
        const int err = ini_hand_err(s, t, t->again);

        if (!err)
            continue;
        rt_list_del(at);
        s->queue_nr--;
        ini_task_end_later(s, t, err);
    }
    ini_io_fail_all(l, -ENOTCONN);
}

void ini_lun_hand_back(struct ini_lun *l, bool on)
{
    rt_assert_here(l->rt);
    assert(l->open);
    l->hand = on;
    if (on && (l->away || l->sess->state != INI_UP))
        ini_hand_waiting(l);
}
