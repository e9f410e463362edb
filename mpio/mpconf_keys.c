/*
 * mpconf_keys.c - the keys of /etc/multipath.conf: where each may stand, and what its value means
 */
#include <stdio.h>
#include <string.h>
#include "mpio/mpconf_keys.h"

#define VALUE_LEN_MAX MPCONF_VALUE_MAX

/* ---- values ---------------------------------------------------------------------------------------------- */

static bool number(const char *v, uint32_t lo, uint32_t hi, uint32_t *out)
{
    uint64_t n = 0;

    if (!*v)
        return false;
    for (; *v; v++) {
        if (*v < '0' || *v > '9' || (n = n * 10 + (uint64_t)(*v - '0')) > hi)
            return false;
    }
    *out = (uint32_t)n;
    return n >= lo;
}

/* A number, or "no", which is 0 here. */
static bool number_or_no(const char *v, uint32_t *out)
{
    *out = 0;
    return !strcmp(v, "no") || !strcmp(v, "0") || number(v, 1, 1000000, out);
}

/* "NAME [0] [nexus|lun] [requests|bytes]": the number is how many arguments the kernel's selector gets, and the words
 * behind it are ours. */
static const char *set_selector(struct mpconf_draft *d, const char *v)
{
    static const struct {
        const char *name;
        enum mpio_policy policy;
        bool by_lun; /* the kernel's queues are a disk's own */
    } rows[] = {
        { "least-queue-depth", MPIO_LQD, false },
        { "queue-length", MPIO_LQD, true },
        { "round-robin", MPIO_ROUND_ROBIN, false },
        { "service-time", MPIO_SERVICE_TIME, false },
        { "historical-service-time", MPIO_SERVICE_TIME, false },
        { "failover-only", MPIO_FAILOVER, false },
        { "weighted", MPIO_WEIGHTED, false },
    };
    struct mpio_conf *c = &d->set->conf, now = *c;
    char text[VALUE_LEN_MAX], *at = text, *word;
    bool known = false;

    snprintf(text, sizeof(text), "%s", v);
    if (!(word = strsep(&at, " \t")))
        return "no name";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(word, rows[i].name))
            continue;
        known = true;
        now.policy = rows[i].policy;
        now.scope = rows[i].by_lun ? MPIO_SCOPE_LUN : MPIO_SCOPE_NEXUS;
        now.unit = MPIO_UNIT_REQUESTS;
    }
    if (!known)
        return "not one of service-time, round-robin, queue-length, historical-service-time, "
               "least-queue-depth, "
               "failover-only, weighted";
    while ((word = strsep(&at, " \t"))) {
        if (!strcmp(word, "lun"))
            now.scope = MPIO_SCOPE_LUN;
        else if (!strcmp(word, "nexus"))
            now.scope = MPIO_SCOPE_NEXUS;
        else if (!strcmp(word, "bytes"))
            now.unit = MPIO_UNIT_BYTES;
        else if (!strcmp(word, "requests"))
            now.unit = MPIO_UNIT_REQUESTS;
        else if (strspn(word, "0123456789") != strlen(word))
            return "behind the name only nexus or lun, and requests or bytes, mean something";
    }
    *c = now;
    return NULL;
}

static const char *set_grouping(struct mpconf_draft *d, const char *v)
{
    static const struct {
        const char *name;
        enum mpio_grouping grouping;
    } rows[] = {
        { "failover", MPIO_GROUP_FAILOVER },
        { "multibus", MPIO_MULTIBUS },
        { "group_by_prio", MPIO_GROUP_BY_PRIO },
        { "group_by_tpg", MPIO_GROUP_BY_TPG },
        /* One target has one serial number and one name, and that is what all paths of ours lead to. */
        { "group_by_serial", MPIO_MULTIBUS },
        { "group_by_node_name", MPIO_MULTIBUS },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!strcmp(v, rows[i].name)) {
            d->set->conf.grouping = rows[i].grouping;
            return NULL;
        }
    }
    return "not one of failover, multibus, group_by_prio, group_by_tpg, group_by_serial, group_by_node_name";
}

static const char *set_no_path(struct mpconf_draft *d, const char *v)
{
    struct mpio_conf *c = &d->set->conf;
    uint32_t n = 0;

    if (!strcmp(v, "fail") || !strcmp(v, "0"))
        c->no_path = MPIO_NO_PATH_FAIL;
    else if (!strcmp(v, "queue"))
        c->no_path = MPIO_NO_PATH_QUEUE;
    else if (number(v, 1, 1000000, &n))
        c->no_path = MPIO_NO_PATH_DEADLINE;
    else
        return "not fail, queue or a number of polling intervals";
    d->retries = c->no_path == MPIO_NO_PATH_DEADLINE ? n : 0;
    return NULL;
}

static const char *set_failback(struct mpconf_draft *d, const char *v)
{
    struct mpio_conf *c = &d->set->conf;
    uint32_t n;

    if (!strcmp(v, "manual") || !strcmp(v, "followover")) {
        c->failback = MPIO_FAILBACK_MANUAL;
    } else if (!strcmp(v, "immediate") || !strcmp(v, "0")) {
        c->failback = MPIO_FAILBACK_IMMEDIATE;
    } else if (number(v, 1, 1000000, &n)) {
        c->failback = MPIO_FAILBACK_DELAYED;
        c->failback_s = n;
    } else {
        return "not manual, immediate, followover or a number of seconds";
    }
    return NULL;
}

static const char *set_prio(struct mpconf_draft *d, const char *v)
{
    d->prio_const = !strcmp(v, "const");
    return d->prio_const || !strcmp(v, "alua") || !strcmp(v, "sysfs")
               ? NULL
               : "not alua, sysfs or const: priorities are those of ALUA here";
}

static const char *set_poll(struct mpconf_draft *d, const char *v)
{
    return number(v, 1, 86400, &d->poll_s) ? NULL : "not a number of seconds, 1 to 86400";
}

/* How long a path may keep its checker waiting: here it is first silent for half of that, then asked, and given up after the
 * other half. */
static const char *set_checker_timeout(struct mpconf_draft *d, const char *v)
{
    uint32_t s;

    if (!number(v, 1, 3600, &s))
        return "not a number of seconds, 1 to 3600";
    d->set->conf.suspect_ms = s * 500;
    return NULL;
}

static const char *set_rr_min_io(struct mpconf_draft *d, const char *v)
{
    return number(v, 1, 1000000, &d->set->conf.rr_min_io) ? NULL : "not a number of requests, 1 to 1000000";
}

static const char *set_key(struct mpconf_draft *d, const char *v)
{
    const char *p = v;
    uint64_t key = 0;
    unsigned digits = 0;

    if (!strcmp(v, "file"))
        return "the prkeys file is not read here: give the key itself";
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
        p += 2;
    for (; *p && *p != ':'; p++, digits++) {
        const char low = (char)(*p | 0x20);
        const int digit = *p >= '0' && *p <= '9' ? *p - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;

        if (digit < 0 || digits == 16)
            return "not a key of 1 to 16 hex digits";
        key = key << 4 | (uint64_t)digit;
    }
    if (!digits || (*p && strcmp(p, ":aptpl")))
        return "not a key of 1 to 16 hex digits";
    if (!key)
        return "a key of 0 means no registration";
    d->set->has_pr_key = true;
    d->set->pr_key = key;
    return NULL;
}

static const char *set_alias(struct mpconf_draft *d, const char *v)
{
    if (!*v || strlen(v) >= sizeof(d->set->alias))
        return "an alias has 1 to 127 characters";
    snprintf(d->set->alias, sizeof(d->set->alias), "%s", v);
    return NULL;
}

/* clang-format off */
#define AS_COUNT(name, field) \
    static const char *name(struct mpconf_draft *d, const char *v) \
    { \
        return number_or_no(v, &d->field) ? NULL : "not no or a number, 1 to 1000000"; \
    }
/* clang-format on */
AS_COUNT(set_err_nr, err_nr)
AS_COUNT(set_err_forget, err_forget)
AS_COUNT(set_err_hold, err_hold_s)
AS_COUNT(set_twice, twice_s)
AS_COUNT(set_gap, gap_s)

/* ---- the table ------------------------------------------------------------------------------------------- */

static const struct mpconf_key keys[] = {
    { "path_selector", set_selector, MPCONF_ANYWHERE },
    { "selector", set_selector, MPCONF_ANYWHERE },
    { "path_grouping_policy", set_grouping, MPCONF_ANYWHERE },
    { "no_path_retry", set_no_path, MPCONF_ANYWHERE },
    { "failback", set_failback, MPCONF_ANYWHERE },
    { "prio", set_prio, MPCONF_ANYWHERE },
    { "polling_interval", set_poll, MPCONF_DEFAULTS },
    { "checker_timeout", set_checker_timeout, MPCONF_DEFAULTS },
    { "rr_min_io_rq", set_rr_min_io, MPCONF_ANYWHERE },
    { "rr_min_io", set_rr_min_io, MPCONF_ANYWHERE },
    { "reservation_key", set_key, MPCONF_ANYWHERE },
    { "alias", set_alias, MPCONF_MULTIPATH },
    { "san_path_err_threshold", set_err_nr, MPCONF_ANYWHERE },
    { "san_path_err_forget_rate", set_err_forget, MPCONF_ANYWHERE },
    { "san_path_err_recovery_time", set_err_hold, MPCONF_ANYWHERE },
    { "marginal_path_double_failed_time", set_twice, MPCONF_ANYWHERE },
    { "marginal_path_err_recheck_gap_time", set_gap, MPCONF_ANYWHERE },
};
/* clang-format off */
/* What these ask for is so here anyway, or is about what only the kernel's devices have: not worth a word. */
static const char *const quiet[] = {
    "user_friendly_names", "path_checker", "checker", "detect_prio", "detect_checker", "detect_pgpolicy",
    "detect_pgpolicy_use_tpg", "hardware_handler", "retain_attached_hw_handler", "find_multipaths",
    "find_multipaths_timeout", "verbosity", "max_polling_interval", "uid_attribute", "uid_attrs",
    "getuid_callout", "recheck_wwid", "skip_kpartx", "auto_resize", "vpd_vendor", "alias_prefix", "mode",
    "uid", "gid", "udev_dir", "multipath_dir", "max_fds", "force_sync", "strict_timing", "reassign_maps",
    "bindings_file", "wwids_file", "log_checker_err", "retrigger_tries", "retrigger_delay",
    "missing_uev_wait_timeout", "uev_wait_timeout", "uxsock_timeout", "disable_changed_wwids",
    "remove_retries", "enable_foreign", NULL,
};
/* Somebody wanted something with these that does not happen. */
static const char *const idle[] = {
    "features", "prio_args", "rr_weight", "pg_timeout", "fast_io_fail_tmo", "dev_loss_tmo", "eh_deadline",
    "flush_on_last_del", "deferred_remove", "delay_watch_checks", "delay_wait_checks",
    "marginal_path_err_sample_time", "marginal_path_err_rate_threshold", "marginal_pathgroups",
    "max_sectors_kb", "ghost_delay", "all_tg_pt", "purge_disconnected", "product_blacklist", "config_dir",
    "prkeys_file", "default_features", NULL,
};
/* clang-format on */

const struct mpconf_key *mpconf_key_find(const char *name)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!strcmp(keys[i].name, name))
            return &keys[i];
    return NULL;
}

static bool listed(const char *const *list, const char *name)
{
    while (*list && strcmp(*list, name))
        list++;
    return *list;
}

enum mpconf_idle mpconf_key_idle(const char *name)
{
    return listed(quiet, name) ? MPCONF_QUIET : listed(idle, name) ? MPCONF_IDLE : MPCONF_UNKNOWN;
}

void mpconf_finish(struct mpconf_draft *d)
{
    struct mpio_conf *c = &d->set->conf;

    if (d->retries) {
        const uint64_t s = (uint64_t)d->retries * d->poll_s;

        c->no_path_s = s < UINT32_MAX ? (uint32_t)s : UINT32_MAX;
    }
    if (d->prio_const && c->grouping == MPIO_GROUP_BY_PRIO)
        c->grouping = MPIO_MULTIBUS;
    /* A failure is forgotten after so many checks, so @err_nr of them add up within that time for each. */
    if (d->err_nr && d->err_forget && d->err_hold_s) {
        const uint64_t s = (uint64_t)d->err_nr * d->err_forget * d->poll_s;

        c->marginal_fails = d->err_nr;
        c->marginal_window_s = s < 86400 ? (uint32_t)s : 86400;
        c->marginal_hold_s = d->err_hold_s;
    }
    if (d->twice_s) {
        c->marginal_fails = 2;
        c->marginal_window_s = d->twice_s;
        if (d->gap_s)
            c->marginal_hold_s = d->gap_s;
    }
}
