/*
 * commands.h - the command's tables
 */
#ifndef CORELANE_CLI_COMMANDS_H
#define CORELANE_CLI_COMMANDS_H

#include "programs/common/opt.h"

/* Each ends with a row without words. */
extern const struct cmd cmds_target[], cmds_disk[], cmds_path[], cmds_show[], cmds_layout[], cmds_kernel[], cmds_bench[];

#endif
