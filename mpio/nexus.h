/*
 * nexus.h - an I_T nexus: what all paths over one session have in common
 *
 * It lives where its session lives, and moves with it. Its counters are read by every disk that has a path over it, from
 * any core: least queue depth counts what is outstanding on the nexus, over all logical units.
 */
#ifndef CORELANE_MPIO_NEXUS_H
#define CORELANE_MPIO_NEXUS_H

#include <stdatomic.h>
#include "initiator/ini.h"

struct mpio_nexus;
struct mpio_path;

/* @name: copied, for messages ("s1"). On the session's core, before the session is started. Return: 0 or -ENOMEM. */
int mpio_nexus_new(struct mpio_nexus **out, struct ini_sess *s, const char *name);
void mpio_nexus_free(struct mpio_nexus *n);     /* no path is on it (asserted); on its core; accepts NULL */
/* Forward the session's events here, first of all. On its core. */
void mpio_nexus_up(struct mpio_nexus *n);
void mpio_nexus_down(struct mpio_nexus *n, int err, const char *why);
void mpio_nexus_failed(struct mpio_nexus *n, int err, const char *why);

struct ini_sess *mpio_nexus_sess(const struct mpio_nexus *n);
/* Where it lives now; any thread, a snapshot. */
struct rt *mpio_nexus_rt(const struct mpio_nexus *n);

/* Moves the session, and what is open on it, to another core, under I/O: disks hold back what would go over it (or send it
 * over other paths), what is under way is answered, then it goes on there. Nothing fails, is sent twice or overtakes.
 * On its core; one move at a time (-EBUSY). done: on the core where the session is then; @pause_ns: for how long nothing
 * could be sent over it. err: 0; -ETIMEDOUT: what was under way was not answered within @limit_ns; -EAGAIN: it is
 * not logged in now; in both cases it goes on where it was. */
void mpio_nexus_move(struct mpio_nexus *n, struct rt *to, uint64_t limit_ns,
                     void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user);

/* ---- a path: one logical unit over one nexus -------------------------------------------------------------- */

/* Opens the unit (ini_lun_open()). On the nexus's core. done: err 0, or -errno, and the path is gone then. */
int mpio_path_open(struct mpio_path **out, struct mpio_nexus *n, uint16_t lun,
                   void (*done)(void *user, int err, const char *why), void *user);
/* After it left its disk, or was never in one (asserted). On the nexus's core. */
void mpio_path_close(struct mpio_path *p);
/* What the unit told of itself when it was opened or last looked over. On the nexus's core. */
const struct ini_lun_info *mpio_path_lun_info(const struct mpio_path *p);
struct mpio_nexus *mpio_path_nexus(const struct mpio_path *p);

#endif
