/*
 * policy.c - which path a request takes
 *
 * Pure. One function a selector; what they share is the walk over the usable paths and the turn that settles ties.
 */
#include <assert.h>
#include <stddef.h>
#include "mpio/policy.h"

const char *const mpio_policy_names[] = { "least-queue-depth", "round-robin", "service-time",
                                          "failover-only",     "weighted",    NULL };
const char *const mpio_scope_names[] = { "nexus", "lun", NULL };
const char *const mpio_unit_names[] = { "requests", "bytes", NULL };
const char *const mpio_grouping_names[] = { "group_by_prio", "multibus", "failover", "group_by_tpg", NULL };

void mpio_conf_default(struct mpio_conf *out)
{
    *out = (struct mpio_conf){
        .failback_s = 60,
        .no_path_s = 120,
        .rr_min_io = 1,
        .suspect_ms = 400,
        .marginal_fails = 3,
        .marginal_window_s = 60,
        .marginal_hold_s = 300,
    };
}
