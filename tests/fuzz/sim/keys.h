/*
 * keys.h - login and negotiation text put together from operations
 */
#ifndef CORELANE_FUZZ_KEYS_H
#define CORELANE_FUZZ_KEYS_H

#include "tests/fuzz/sim/ops.h"

#define KEYS_TEXT_MAX 8192u

struct keys_text {
    char buf[KEYS_TEXT_MAX];
    uint32_t len;
};
/* Appends one pair: b the key, b how its value is made, then what that takes. Or bytes as they are. */
#define KEYS_SHAPE "bbdr"
void keys_add(struct keys_text *t, struct op_args *a);
void keys_add_pair(struct keys_text *t, const char *key, const char *value);
void keys_add_raw(struct keys_text *t, const void *bytes, size_t len);

/* Names that both ends of these fuzzers agree on. */
#define FUZZ_INITIATOR "iqn.2026-01.fuzz:foe"
#define FUZZ_INITIATOR_GOOD "iqn.2026-01.fuzz:good"
#define FUZZ_TARGET "iqn.2026-01.fuzz:disk"
#define FUZZ_TARGET_CHAP "iqn.2026-01.fuzz:chap"
#define FUZZ_TARGET_GOOD "iqn.2026-01.fuzz:good-disk"
#define FUZZ_USER "foe"
#define FUZZ_SECRET "secret-of-a-foe"
#define FUZZ_USER_OUT "disk"
#define FUZZ_SECRET_OUT "secret-of-a-disk"

#endif
