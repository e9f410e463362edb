/*
 * json.h - JSON that is whole or not there
 *
 * jansson does not pass every lack of memory on: a string that is read loses the bytes for which there was no
 * room, and what is appended to a list or set in an object without looking at the answer is simply missing. A
 * name one letter short would be served, and saved. So its failed allocations are counted, and who makes a
 * document looks at the count before it believes in it.
 */
#ifndef CORELANE_RPC_JSON_H
#define CORELANE_RPC_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/**
 * rpc_json_losses - how many allocations jansson has been refused on this thread
 *
 * Any thread, never blocks. Taken before and after documents are made or edited: equal, and they are whole.
 */
uint64_t rpc_json_losses(void);

/**
 * rpc_json_read - one JSON value from text, whole
 * @out:   taken by the caller on success, else untouched
 * @text:  borrowed; @len bytes, UTF-8, need not end with a NUL
 * @flags: jansson's, JSON_REJECT_DUPLICATES and the like
 * @error: filled on -EINVAL; may be NULL
 *
 * Any thread, never blocks. Return: 0, -EINVAL for what is no JSON, -ENOMEM.
 */
int rpc_json_read(json_t **out, const char *text, size_t len, size_t flags, json_error_t *error);

/**
 * rpc_json_text - a JSON value as text, whole
 * @json:  borrowed; NULL gives NULL
 * @flags: jansson's, JSON_COMPACT and the like
 *
 * Any thread, never blocks. Return: NUL-terminated, given to the caller to free(); NULL: no memory.
 */
char *rpc_json_text(const json_t *json, size_t flags);

/* Set a key of @o, which is borrowed; what is lost is counted. Any thread, never block. */
void rpc_json_set_int(json_t *o, const char *key, uint64_t v);
/* Words that a peer had a part in may be no UTF-8: those are told as their ASCII letters, of 1023 bytes at most, with '?' for
 * the others. */
void rpc_json_set_text(json_t *o, const char *key, const char *text);

#endif
