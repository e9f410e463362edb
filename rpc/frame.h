/*
 * frame.h - where one JSON value ends and the next begins, in a stream of them
 *
 * Values follow each other with white space between; an object or list ends with its closing bracket, anything
 * else with the line. Only brackets and strings are looked at: whether it is JSON is for the parser to say.
 */
#ifndef CORELANE_RPC_FRAME_H
#define CORELANE_RPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>

struct rpc_frame { /* zeroed at first */
    char *buf;
    size_t start, scan, len, cap; /* bytes: of the value under way, looked at, there, allocated */
    unsigned depth;
    bool begun, container, in_string, escape, ended;
};

/* Appends bytes. Return: 0 or -ENOMEM. */
int rpc_frame_add(struct rpc_frame *f, const void *bytes, size_t n);
/* The next whole value; *value is valid until the next call of any of these and is not terminated.
 * Return: 1 with a value, 0 when more bytes are needed, -EFBIG for a value longer than @max bytes. */
int rpc_frame_next(struct rpc_frame *f, size_t max, const char **value, size_t *len);
/* True when a value has begun and has not ended. */
bool rpc_frame_partial(const struct rpc_frame *f);
void rpc_frame_free(struct rpc_frame *f);

#endif
