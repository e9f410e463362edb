/*
 * mpconf_keys.h - what the files that read /etc/multipath.conf share; nobody else includes it
 */
#ifndef CORELANE_MPIO_MPCONF_KEYS_H
#define CORELANE_MPIO_MPCONF_KEYS_H

#include "mpio/mpconf.h"

#define MPCONF_VALUE_MAX 256u /* bytes of a word, with the NUL */
#define MPCONF_POLL_S    5u   /* polling_interval where the file does not say: multipath-tools' own */

/* What holds for a unit, while it is worked out: some keys have a meaning together only. */
struct mpconf_draft {
    struct mpio_mpset *set;
    uint32_t poll_s, retries;    /* no_path_retry in polling intervals; 0: it is not a number */
    bool prio_const;             /* all paths are alike */
    uint32_t err_nr, err_forget; /* san_path_err_threshold, _forget_rate; 0: off */
    uint32_t err_hold_s;         /* san_path_err_recovery_time */
    uint32_t twice_s, gap_s;     /* marginal_path_double_failed_time, _err_recheck_gap_time */
};

/* Where a key may stand; anywhere: in defaults, a device, overrides, a multipath. */
enum mpconf_where { MPCONF_ANYWHERE, MPCONF_DEFAULTS, MPCONF_MULTIPATH };
struct mpconf_key {
    const char *name;
    const char *(*set)(struct mpconf_draft *d, const char *value); /* NULL, or what is wrong with the value */
    enum mpconf_where in;
};
const struct mpconf_key *mpconf_key_find(const char *name); /* NULL: none that has an effect */
enum mpconf_idle { MPCONF_QUIET, MPCONF_IDLE, MPCONF_UNKNOWN };
/* What to say of one that has none: nothing, that it has none, or that nobody knows it. */
enum mpconf_idle mpconf_key_idle(const char *name);
/* Once all keys were set: what they mean together. */
void mpconf_finish(struct mpconf_draft *d);

#endif
