/*
 * request.h - whether a JSON value is a request
 */
#ifndef CORELANE_RPC_REQUEST_H
#define CORELANE_RPC_REQUEST_H

#include <jansson.h>

/* What it breaks of JSON-RPC 2.0 section 4, or NULL: then "method" is a string, "params" an object or not there, "id" a
 * string, a number, null or not there. @req: borrowed, any value. */
const char *rpc_request_refusal(const json_t *req);

#endif
