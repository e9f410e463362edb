/*
 * tgt.h - the target: portals, sessions, targets and their LUNs, access control, configuration
 *
 * Sessions live on the core they were accepted for. The configuration (which targets, LUNs, initiators and
 * secrets there are) belongs to the host's first core, which publishes a read-only snapshot to the others.
 */
#ifndef CORELANE_TGT_H
#define CORELANE_TGT_H

#include <jansson.h>
#include "balancer/topo.h"
#include "reactor/rt.h"
#include "rpc/rpc.h"

struct tgt;

#define TGT_GROUP_DEFAULT 1u                /* portal group tag where none is said */

/* "ADDR[:PORT][,GROUP]", as --portal and the configuration have it; GROUP is a portal group tag, 1 to 65535.
 * Return: 0, or -EINVAL. */
int tgt_portal_parse(const char *text, struct rt_addr *addr, uint16_t *group);

struct tgt_conf {
    const char *config_path;                /* borrowed; JSON, saved atomically with mode 0600; NULL: keep nothing */
    const char *state_dir;                  /* borrowed; for APTPL; NULL: none */
    const struct rt_addr *portals;          /* borrowed; opened besides those of the configuration; none there
                                             * either: 0.0.0.0:3260 and [::]:3260 */
    const uint16_t *groups;                 /* borrowed; the portal group tag of each; NULL: TGT_GROUP_DEFAULT */
    unsigned portals_nr;
    const char *loop_path;                  /* borrowed; unix socket where initiators of this host hand their memory
                                             * over; NULL: no loopback */
    const struct bal_topo *topo;            /* borrowed for life; NULL: nothing is known of the machine, every CPU is
                                             * a core, and where addresses and devices hang is not asked */
    uint32_t buffer_mem;                    /* bytes of data buffers a core; 0: what the config says, or the default */
};

/* Reads the configuration (a refused one names the line or key, the rule and the remedy, and nothing starts), opens the
 * portals. Blocks: before the host runs. Return: 0 or -errno, having logged why. */
int tgt_new(struct tgt **out, struct rt_host *host, const struct tgt_conf *conf);
/* Asks sessions to log out, closes portals, waits for tasks, at most two seconds; then calls done(arg) on the first core. */
void tgt_stop(struct tgt *t, void (*done)(void *arg), void *arg);
void tgt_free(struct tgt *t);               /* after the host stopped; accepts NULL */

/* What the daemon's socket serves; user is the struct tgt. The methods are in docs/rpc.md. */
extern const struct rpc_method tgt_methods[];
extern const unsigned tgt_methods_nr;

#endif
