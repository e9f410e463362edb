/*
 * policy.h - which path a request takes: how paths are grouped, and the selectors
 *
 * Pure: what is known of the paths goes in, a choice comes out, so that it can be tried on made-up disks.
 */
#ifndef CORELANE_MPIO_POLICY_H
#define CORELANE_MPIO_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum mpio_policy { MPIO_LQD, MPIO_ROUND_ROBIN, MPIO_SERVICE_TIME, MPIO_FAILOVER, MPIO_WEIGHTED, MPIO_POLICIES };
enum mpio_scope { MPIO_SCOPE_NEXUS, MPIO_SCOPE_LUN };       /* whose queue: the session's, or this unit's on it */
enum mpio_unit { MPIO_UNIT_REQUESTS, MPIO_UNIT_BYTES };
enum mpio_grouping { MPIO_GROUP_BY_PRIO, MPIO_MULTIBUS, MPIO_GROUP_FAILOVER, MPIO_GROUP_BY_TPG };
enum mpio_failback { MPIO_FAILBACK_IMMEDIATE, MPIO_FAILBACK_DELAYED, MPIO_FAILBACK_MANUAL };
enum mpio_no_path { MPIO_NO_PATH_DEADLINE, MPIO_NO_PATH_QUEUE, MPIO_NO_PATH_FAIL };
/* "least-queue-depth", "round-robin", "service-time", "failover-only", "weighted"; NULL-terminated, as the others. */
extern const char *const mpio_policy_names[];
extern const char *const mpio_scope_names[];    /* "nexus", "lun" */
extern const char *const mpio_unit_names[];     /* "requests", "bytes" */
extern const char *const mpio_grouping_names[]; /* "group_by_prio", "multibus", "failover", "group_by_tpg" */

struct mpio_conf {
    enum mpio_policy policy;
    enum mpio_scope scope;
    enum mpio_unit unit;
    enum mpio_grouping grouping;
    enum mpio_failback failback;
    uint32_t failback_s;                    /* delayed */
    enum mpio_no_path no_path;
    uint32_t no_path_s;                     /* deadline: seconds from when the last path was lost; default 120 */
    uint32_t rr_min_io;                     /* round-robin: requests before the next path; default 1 */
    uint32_t suspect_ms;                    /* milliseconds that a path may be silent with requests under way before it is
                                             * asked for a sign of life, and again before it is given up; 0: never. Default
                                             * 400 */
    uint32_t marginal_fails;                /* so many failures ... default 3; 0: never marginal */
    uint32_t marginal_window_s;             /* ... in so many seconds make a path marginal ... default 60 */
    uint32_t marginal_hold_s;               /* ... for as long after its last failure; default 300 */
};
void mpio_conf_default(struct mpio_conf *out);

/* What a selector looks at. */
struct mpio_choice {
    bool usable;                            /* may be chosen now */
    bool same_core;
    uint32_t requests, weight;              /* outstanding, by the scope; weight: 1.. */
    uint64_t bytes;                         /* outstanding, by the scope */
    uint64_t latency_ns;                    /* moving mean; 0: not known */
};
struct mpio_turn {                          /* what a selector keeps between requests; zeroed before first use */
    unsigned last, left;
    int32_t credit[64];                     /* weighted */
};
#define MPIO_PATHS_MAX 64u
/**
 * mpio_select - the path of one request of @len bytes
 * @p: borrowed, those of the group in use; @nr: 1..MPIO_PATHS_MAX
 *
 * least-queue-depth: the fewest outstanding requests (or bytes), then the fewest bytes (requests), then who lives on the
 * disk's core, then in turn, so that no path starves. Return: an index into @p, or -1: none is usable.
 */
int mpio_select(const struct mpio_conf *conf, struct mpio_turn *turn, const struct mpio_choice *p, unsigned nr, uint64_t len);

#endif
