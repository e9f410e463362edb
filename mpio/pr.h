/*
 * pr.h - persistent reservations as an initiator uses them: one command over one session
 *
 * A host that has several paths to a unit registers over all of them with one key. Who sees to that is above; here is what is
 * said and what is understood.
 */
#ifndef CORELANE_MPIO_PR_H
#define CORELANE_MPIO_PR_H

#include "initiator/ini.h"

/* SPC-4 r36, "PERSISTENT RESERVE OUT service actions"; the first two are PERSISTENT RESERVE IN's. */
enum mpio_pr_action {
    MPIO_PR_READ_KEYS,
    MPIO_PR_READ_RESERVATION,
    MPIO_PR_REGISTER, /* and ignore the existing key; @key 0: unregister */
    MPIO_PR_RESERVE,
    MPIO_PR_RELEASE,
    MPIO_PR_CLEAR,
    MPIO_PR_PREEMPT,
    MPIO_PR_PREEMPT_ABORT,
};
/* "write-exclusive", "exclusive-access", and each with "-registrants-only" and "-all-registrants" behind it: those that
 * all paths of a host have in common. Return: the type's code, or -EINVAL. */
int mpio_pr_type_parse(const char *word);
const char *mpio_pr_type_name(unsigned type); /* "unknown" for what is none */
bool mpio_pr_type_shared(unsigned type);      /* every registered path may do what the holder may */

#define MPIO_PR_KEYS_MAX 255u
struct mpio_pr {
    /* Filled by the caller. */
    enum mpio_pr_action action;
    uint8_t type;   /* of a reservation */
    uint64_t key;   /* ours; of REGISTER: the one to be */
    uint64_t other; /* PREEMPT: whose */
    void (*done)(struct mpio_pr *pr);
    void *user;

    /* Results. */
    int err; /* 0; -EBADE: reservation conflict; -EOPNOTSUPP: the unit has none of it; -errno */
    char why[160];
    uint32_t generation;
    uint64_t keys[MPIO_PR_KEYS_MAX]; /* READ KEYS */
    unsigned keys_nr, keys_more;     /* more: there are, and are not told */
    bool held;                       /* READ RESERVATION: there is one, of held_key and held_type */
    uint64_t held_key;
    uint8_t held_type;

    /* The rest is private. */
    struct ini_task task;
    unsigned tries;
    struct iovec iov;
    uint8_t buf[8 + 8 * MPIO_PR_KEYS_MAX];
};
/* Sends it to the unit @lun of @s. done follows, never from inside; unit attentions and a busy unit are asked again. A connection
 * that breaks is waited for; REGISTER and the readers are said again then, others end with -ECONNRESET, as they may have been
 * carried out. On the session's core. */
void mpio_pr_send(struct ini_sess *s, uint16_t lun, struct mpio_pr *pr);

/* ---- bytes ---- */

unsigned mpio_pr_cdb(uint8_t cdb[static 16], const struct mpio_pr *pr, uint16_t alloc);
#define MPIO_PR_PARAM_LEN 24u
void mpio_pr_param(uint8_t out[static MPIO_PR_PARAM_LEN], const struct mpio_pr *pr);
/* Into pr's results. Return: 0 or -EPROTO. */
int mpio_pr_parse(struct mpio_pr *pr, const uint8_t *data, size_t len);

#endif
