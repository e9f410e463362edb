/*
 * tgt_bed.h - the target that the tests of one file share: started by the file's own group set-up, settled
 * before each test, stopped after the last. Included once by a test file.
 */
#ifndef CORELANE_TEST_TGT_BED_H
#define CORELANE_TEST_TGT_BED_H

#include "tgt_act.h"

static struct bed bed;

/* Before each test: no session of the one before is left. */
static inline int fresh(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    return 0;
}

static inline int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_stop(&bed);
    return 0;
}

/* A peer in full feature phase, as peer_ready() makes it. */
static inline struct peer_end *ready(const char *keys)
{
    return peer_ready(&bed, 1, keys);
}

#endif
