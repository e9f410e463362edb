/*
 * tenant.h - a session of our own initiator that reads and writes a unit and knows what must be there
 *
 * A strict tenant is somebody else's neighbour: an error or a wrong byte is a finding, and aborts. One that is not
 * strict deals with a hostile target: anything may come back, but everything has to come back.
 */
#ifndef CORELANE_FUZZ_TENANT_H
#define CORELANE_FUZZ_TENANT_H

#include "initiator/ini.h"

#define TENANT_SLOTS 3u
#define TENANT_SLOT_BLOCKS 40u              /* blocks of a slot's own */
#define TENANT_BLOCK_LEN 512u
#define TENANT_IO_BLOCKS 24u                /* in one request at most */

struct tenant;
struct tenant_io {
    struct ini_io io;
    struct tenant *t;
    struct rt_timer gap;
    struct iovec iov[2];
    unsigned nr;                            /* requests made so far */
    uint32_t first, blocks;
    bool busy, unsure;                      /* unsure: a write failed, so what is there is not known */
    uint8_t version[TENANT_SLOT_BLOCKS];    /* 0: never written */
    uint8_t buf[TENANT_IO_BLOCKS * TENANT_BLOCK_LEN];
};

struct tenant {
    struct rt *rt;
    struct ini_conf conf;                   /* filled by tenant_init(), may be changed before the start */
    bool strict;
    uint64_t seed;
    struct ini_sess *sess;
    struct ini_lun *lun;
    bool up, opening, opened, failed, over, finishing, stopping;
    bool curious;                           /* asks for the list of units, and resets its own now and then */
    bool hand;                              /* as one path of several: requests are handed back, silence is watched */
    bool asking;                            /* such a question has no answer yet */
    unsigned opens;
    uint64_t done, errors;
    struct tenant_io slot[TENANT_SLOTS];
};

void tenant_init(struct tenant *t, struct rt *rt, const char *initiator, const char *target, const char *host,
                 uint16_t port);
int tenant_start(struct tenant *t);         /* logs in, opens LUN 0, reads and writes until tenant_finish() */
/* Makes no more requests; once those under way have ended closes the unit and logs out: over. */
void tenant_finish(struct tenant *t);
/* The same, but does not wait for what is under way: the unit is given up first. */
void tenant_abandon(struct tenant *t);
/* Requests that have not ended. */
unsigned tenant_busy(const struct tenant *t);

#endif
