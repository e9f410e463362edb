/*
 * param.h - parameters of methods: each method has a table of them, against which a call is checked
 */
#ifndef CORELANE_MANAGER_PARAM_H
#define CORELANE_MANAGER_PARAM_H

#include "rpc/rpc.h"

enum param_kind { PARAM_IS_TEXT, PARAM_IS_INT, PARAM_IS_BOOL, PARAM_IS_LIST, PARAM_IS_OBJECT };
struct param {
    const char *key; /* NULL ends a table */
    enum param_kind kind;
    bool needed;
    json_int_t lo, hi; /* of a number */
};
/* clang-format off */
#define PARAM_TEXT(name, ...) { .key = name, .kind = PARAM_IS_TEXT, __VA_ARGS__ }
#define PARAM_BOOL(name) { .key = name, .kind = PARAM_IS_BOOL }
#define PARAM_LIST(name) { .key = name, .kind = PARAM_IS_LIST }
#define PARAM_OBJECT(name) { .key = name, .kind = PARAM_IS_OBJECT }
#define PARAM_INT(name, low, high, ...) { .key = name, .kind = PARAM_IS_INT, .lo = low, .hi = high, __VA_ARGS__ }
#define PARAMS_CRED PARAM_TEXT("user"), PARAM_TEXT("secret"), PARAM_TEXT("user_in"), PARAM_TEXT("secret_in")
/* clang-format on */

/* Answers the call and returns false when something is missing, unknown or of the wrong kind. */
bool param_check(struct rpc_call *call, json_t *params, const struct param *list);
const char *param_text(const json_t *params, const char *key); /* "" where it was not given */
bool param_flag(const json_t *params, const char *key);        /* false where it was not given */
bool param_given(const json_t *params, const char *key);
json_int_t param_int(const json_t *params, const char *key, json_int_t none);

#endif
