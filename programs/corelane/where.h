/*
 * where.h - where a LUN is and who we are there: portals, URLs and credentials of a command line become parameters
 */
#ifndef CORELANE_CLI_WHERE_H
#define CORELANE_CLI_WHERE_H

#include <jansson.h>
#include "programs/common/opt.h"

#define SECRETS                                                                                                \
    "Credentials come from --user and --secret-file, else from the node record or iscsid.conf in "             \
    "corelaned's\n"                                                                                            \
    "--config-dir. Secrets are read from the files, or from the environment variables CORELANE_SECRET and\n"   \
    "CORELANE_SECRET_IN: a command line can be read by every user of the host."

#define TRANSPORT                                                                                              \
    {                                                                                                          \
        "transport", 0, OPT_WORD,                                                                              \
            .key = "transport", .arg = "auto|tcp|shm",                                                         \
            .help = "what carries the session (default: the node's, auto: shared memory on one host)"          \
    }

/* --user, --secret-file and the like. */
extern const struct opt where_cred_opts[];

/* Each returns -1 to go on, else the exit status, having said why. */
int where_creds(const struct opts *o, json_t *params);    /* those options */
int where_portal(const struct opts *o, const char *text); /* is it one? */
int where_url(const struct opts *o, const char *text, json_t *params);

#endif
