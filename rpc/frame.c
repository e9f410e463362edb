/*
 * frame.c - finds the ends of JSON values in a stream, without looking at any byte twice
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/frame.h"

#define FRAME_CAP_MIN 4096u

int rpc_frame_add(struct rpc_frame *f, const void *bytes, size_t n)
{
    if (!n)
        return 0;
    if (f->start) { /* what was taken makes room */
        memmove(f->buf, f->buf + f->start, f->len - f->start);
        f->len -= f->start;
        f->scan -= f->start;
        f->start = 0;
    }
    if (n > f->cap - f->len) {
        size_t cap = f->cap ? f->cap : FRAME_CAP_MIN;
        char *more;

        while (cap - f->len < n)
            cap *= 2;
        if (!(more = realloc(f->buf, cap)))
            return -ENOMEM;
        f->buf = more;
        f->cap = cap;
    }
    memcpy(f->buf + f->len, bytes, n);
    f->len += n;
    return 0;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Takes one byte of a value that has begun. Return: whether the value ends with it. */
static bool byte_ends(struct rpc_frame *f, char c)
{
    if (f->in_string) {
        if (f->escape)
            f->escape = false;
        else if (c == '\\')
            f->escape = true;
        else if (c == '"')
            f->in_string = false;
        return !f->container && c == '\n';
    }
    switch (c) {
    case '"': f->in_string = true; return false;
    case '{':
    case '[': f->depth++; return false;
    case '}':
    case ']': return f->depth && !--f->depth && f->container;
    default: return !f->container && c == '\n';
    }
}

static void value_begin(struct rpc_frame *f, char c)
{
    f->start = f->scan;
    f->begun = true;
    f->container = c == '{' || c == '[';
    f->depth = 0;
    f->in_string = f->escape = false;
}

int rpc_frame_next(struct rpc_frame *f, size_t max, const char **value, size_t *len)
{
    if (f->ended) { /* the one handed out last is done with */
        f->ended = f->begun = false;
        f->start = f->scan;
    }
    for (; f->scan < f->len; f->scan++) {
        const char c = f->buf[f->scan];

        if (!f->begun && blank(c)) {
            f->start = f->scan + 1;
            continue;
        }
        if (!f->begun)
            value_begin(f, c);
        if (f->scan - f->start >= max)
            return -EFBIG;
        if (byte_ends(f, c)) {
            f->ended = true;
            *value = f->buf + f->start;
            *len = ++f->scan - f->start;
            return 1;
        }
    }
    return 0;
}

bool rpc_frame_partial(const struct rpc_frame *f)
{
    return f->begun && !f->ended;
}

void rpc_frame_free(struct rpc_frame *f)
{
    free(f->buf);
    *f = (struct rpc_frame){ 0 };
}
