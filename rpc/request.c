/*
 * request.c - what a JSON-RPC request looks like; one more thing than the section asks: parameters go by name
 */
#include <string.h>

#include "rpc/request.h"

const char *rpc_request_refusal(const json_t *req)
{
    const json_t *id = json_object_get(req, "id"), *params = json_object_get(req, "params");
    const char *version = json_string_value(json_object_get(req, "jsonrpc"));

    if (json_is_array(req))
        return "batches are not served: send one request after another";
    if (!json_is_object(req))
        return "a request is an object";
    if (!version || strcmp(version, "2.0"))
        return "\"jsonrpc\" is not \"2.0\"";
    if (!json_is_string(json_object_get(req, "method")))
        return "\"method\" is not a string";
    if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
        return "\"id\" is neither a string nor a number";
    if (params && !json_is_object(params))
        return "\"params\" is not an object: parameters go by name";
    return NULL;
}
