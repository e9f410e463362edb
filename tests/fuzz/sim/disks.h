/*
 * disks.h - the configuration that the fuzzed target serves, and where everybody lives
 */
#ifndef CORELANE_FUZZ_DISKS_H
#define CORELANE_FUZZ_DISKS_H

#include "tests/fuzz/sim/keys.h"

#define ADDR_TARGET "10.0.0.2"
#define ADDR_FOE "10.0.0.3"
#define ADDR_GOOD "10.0.0.4"
#define CONFIG_PATH "/etc/target.json"

/* One target for everybody, one that asks for CHAP, and the good tenant's, which admits nobody else. */
#define CONFIG_TEXT                                                                                           \
    "{\"version\": 1, \"portals\": [\"" ADDR_TARGET "\"],"                                                    \
    " \"limits\": {\"login_s\": 5, \"idle_s\": 5, \"stall_s\": 10, \"tasks\": 512, \"buffer_mib\": 16},"       \
    " \"targets\": ["                                                                                         \
    "{\"iqn\": \"" FUZZ_TARGET "\", \"luns\": ["                                                              \
    "{\"lun\": 0, \"kind\": \"ram\", \"size\": 65536, \"naa\": \"60000000000000000000000000000001\"},"        \
    "{\"lun\": 1, \"kind\": \"ram\", \"size\": 65536, \"block_size\": 4096,"                                  \
    " \"naa\": \"60000000000000000000000000000002\"},"                                                        \
    "{\"lun\": 2, \"kind\": \"file\", \"path\": \"/disk\", \"size\": 65536,"                                  \
    " \"naa\": \"60000000000000000000000000000003\"},"                                                        \
    "{\"lun\": 3, \"kind\": \"null\", \"size\": 1099511627776, \"naa\": \"60000000000000000000000000000004\"}," \
    "{\"lun\": 300, \"kind\": \"ram\", \"size\": 65536, \"readonly\": true,"                                   \
    " \"naa\": \"60000000000000000000000000000005\"}]},"                                                      \
    "{\"iqn\": \"" FUZZ_TARGET_CHAP "\", \"chap\": ["                                                         \
    "{\"direction\": \"in\", \"user\": \"" FUZZ_USER "\", \"secret\": \"" FUZZ_SECRET "\"},"                   \
    "{\"direction\": \"out\", \"user\": \"" FUZZ_USER_OUT "\", \"secret\": \"" FUZZ_SECRET_OUT "\"}],"         \
    " \"luns\": [{\"lun\": 0, \"kind\": \"null\", \"size\": 65536,"                                            \
    " \"naa\": \"60000000000000000000000000000006\"}]},"                                                      \
    "{\"iqn\": \"" FUZZ_TARGET_GOOD "\", \"acls\": [{\"initiator\": \"" FUZZ_INITIATOR_GOOD "\"}],"           \
    " \"luns\": [{\"lun\": 0, \"kind\": \"ram\", \"size\": 65536,"                                            \
    " \"naa\": \"60000000000000000000000000000007\"}]}]}"

#endif
