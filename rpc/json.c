/*
 * json.c - jansson's allocations, counted where they fail
 *
 * Its reader cannot be let run out of memory at all: the buffer in which it gathers a string loses what it
 * finds no room for, the closing quote too, and the reader then looks for that beyond the buffer's end. So
 * while a text is read memory comes from an arena, and when there is no more the reader is left by longjmp(),
 * the arena being all that it had. What was read whole is copied out: copying tells of every failure.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/json.h"

#define CHUNK_LEN 8192u                     /* a request, or a small configuration */
#define ALIGN _Alignof(max_align_t)

struct chunk {
    struct chunk *next;
    size_t len, used;                       /* bytes of mem */
    _Alignas(max_align_t) char mem[];
};

static _Thread_local uint64_t losses;
static _Thread_local struct {
    bool reading;                           /* allocations are the reader's */
    struct chunk *chunks;                   /* the first has room */
    json_t *json;
    jmp_buf out;
} arena;

/* ---- the arena ------------------------------------------------------------------------------------------- */

/* Does not return when there is no memory. */
static void *arena_take(size_t len)
{
    struct chunk *c = arena.chunks;
    void *mem;

    if (len > SIZE_MAX / 2)
        longjmp(arena.out, 1);
    len = (len + ALIGN - 1) & ~(ALIGN - 1);
    if (!c || len > c->len - c->used) {
        const size_t room = len > CHUNK_LEN ? len : CHUNK_LEN;

        if (!(c = malloc(sizeof(*c) + room)))
            longjmp(arena.out, 1);
        *c = (struct chunk){ .next = arena.chunks, .len = room };
        arena.chunks = c;
    }
    mem = c->mem + c->used;
    c->used += len;
    return mem;
}

static void arena_free(void)
{
    for (struct chunk *c; (c = arena.chunks);) {
        arena.chunks = c->next;
        explicit_bzero(c->mem, c->used);    /* there may be secrets in it */
        free(c);
    }
}

/* ---- in jansson's place for malloc() and free() ---------------------------------------------------------- */

static void *counting_malloc(size_t len)
{
    void *mem;

    if (arena.reading)
        return arena_take(len);
    mem = malloc(len);
    losses += !mem;
    return mem;
}

/* But for the arena's it is free(): what json_dumps() returns may still be given to that. */
static void counting_free(void *mem)
{
    if (!arena.reading)
        free(mem);
}

/* Before main(), as jansson's functions are the process's and must not change under a thread that uses them.
 * Only programs that have this file in them get it: libcorelane has not. */
__attribute__((constructor)) static void counting_install(void)
{
    json_set_alloc_funcs(counting_malloc, counting_free);
}

/* ---- reading and writing --------------------------------------------------------------------------------- */

uint64_t rpc_json_losses(void)
{
    return losses;
}

/* Into arena.json, which is NULL for what is no JSON. False: no memory. */
static bool arena_read(const char *text, size_t len, size_t flags, json_error_t *error)
{
    bool whole = false;

    arena.json = NULL;
    arena.reading = true;
    if (!setjmp(arena.out)) {
        arena.json = json_loadb(text, len, flags, error);
        whole = true;
    }
    arena.reading = false;
    return whole;
}

int rpc_json_read(json_t **out, const char *text, size_t len, size_t flags, json_error_t *error)
{
    json_t *json = NULL;
    int err = -EINVAL;

    assert(!arena.reading && !arena.chunks);
    if (!arena_read(text, len, flags, error)) {
        losses++;
        err = -ENOMEM;
    } else if (arena.json) {
        json = json_deep_copy(arena.json);  /* counts what it loses */
        err = json ? 0 : -ENOMEM;
    }
    arena_free();
    if (!err)
        *out = json;
    return err;
}

char *rpc_json_text(const json_t *json, size_t flags)
{
    const uint64_t before = losses;
    char *text = json ? json_dumps(json, flags) : NULL;

    if (text && losses != before) {
        explicit_bzero(text, strlen(text));
        free(text);
        return NULL;
    }
    return text;
}

void rpc_json_set_int(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

void rpc_json_set_text(json_t *o, const char *key, const char *text)
{
    char plain[1024];
    json_t *v = json_string(text);

    if (!v) {
        snprintf(plain, sizeof(plain), "%s", text);
        for (char *p = plain; *p; p++)
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        v = json_string(plain);
    }
    json_object_set_new(o, key, v);
}
