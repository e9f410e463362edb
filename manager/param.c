/*
 * param.c - parameters of methods are checked against tables
 */
#include <string.h>

#include "manager/param.h"

static const struct param *param_find(const struct param *list, const char *key)
{
    for (; list->key; list++)
        if (!strcmp(list->key, key))
            return list;
    return NULL;
}

static bool param_fits(const struct param *p, const json_t *v)
{
    switch (p->kind) {
    case PARAM_IS_TEXT: return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
    case PARAM_IS_BOOL: return json_is_boolean(v);
    case PARAM_IS_LIST: return json_is_array(v);
    case PARAM_IS_OBJECT: return json_is_object(v);
    case PARAM_IS_INT:
        return json_is_integer(v) && json_integer_value(v) >= p->lo && json_integer_value(v) <= p->hi;
    }
    return false;
}

bool param_check(struct rpc_call *call, json_t *params, const struct param *list)
{
    static const char *const kinds[] = { [PARAM_IS_TEXT] = "a string", [PARAM_IS_BOOL] = "true or false",
                                         [PARAM_IS_LIST] = "a list", [PARAM_IS_OBJECT] = "an object" };
    const struct param *p;
    const char *key;
    json_t *v;

    json_object_foreach(params, key, v)
    {
        if (!(p = param_find(list, key))) {
            rpc_fail(call, RPC_INVALID_PARAMS, "parameter '%.64s' is not known to this method", key);
            return false;
        }
        if (!param_fits(p, v) && p->kind == PARAM_IS_INT) {
            rpc_fail(call, RPC_INVALID_PARAMS, "parameter '%s' is a number from %lld to %lld", p->key,
                     (long long)p->lo, (long long)p->hi);
            return false;
        }
        if (!param_fits(p, v)) {
            rpc_fail(call, RPC_INVALID_PARAMS, "parameter '%s' is %s", p->key, kinds[p->kind]);
            return false;
        }
    }
    for (p = list; p->key; p++) {
        if (p->needed && !json_object_get(params, p->key)) {
            rpc_fail(call, RPC_INVALID_PARAMS, "parameter '%s' is missing", p->key);
            return false;
        }
    }
    return true;
}

const char *param_text(const json_t *params, const char *key)
{
    const char *s = json_string_value(json_object_get(params, key));

    return s ? s : "";
}

bool param_flag(const json_t *params, const char *key)
{
    return json_is_true(json_object_get(params, key));
}

bool param_given(const json_t *params, const char *key)
{
    return json_object_get(params, key);
}

json_int_t param_int(const json_t *params, const char *key, json_int_t none)
{
    const json_t *v = json_object_get(params, key);

    return v ? json_integer_value(v) : none;
}
