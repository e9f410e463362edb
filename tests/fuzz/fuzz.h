/*
 * fuzz.h - what all fuzzers share: a check that no build leaves out, and a reader that never runs dry
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input. Called by libFuzzer, or by replay.c for the corpora. Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A property that holds for every input. */
#define fuzz_check(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: %s: does not hold: %s\n", __FILE__, __LINE__, __func__, #what); \
            abort(); \
        } \
    } while (0)

struct fuzz_in {
    const uint8_t *at;
    size_t left;
};

/* The next byte; 0 when there are no more. */
static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
    const uint8_t hi = fuzz_u8(in);

    return (uint16_t)(hi << 8 | fuzz_u8(in));
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
    const uint32_t hi = fuzz_u16(in);

    return hi << 16 | fuzz_u16(in);
}

/* Up to @n bytes; *got of them are there. */
static inline const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t n, size_t *got)
{
    const uint8_t *at = in->at;

    *got = n < in->left ? n : in->left;
    in->at += *got;
    in->left -= *got;
    return at;
}

/* A copy of its own of @n bytes, exactly as long as they are, so that a step beyond is seen. Taken by the caller. */
static inline void *fuzz_copy(const void *bytes, size_t n)
{
    void *p = malloc(n ? n : 1);

    fuzz_check(p);
    if (n)
        memcpy(p, bytes, n);
    return p;
}

/* The same with a NUL after them. Taken by the caller. */
static inline char *fuzz_string(const void *bytes, size_t n)
{
    char *s = malloc(n + 1);

    fuzz_check(s);
    if (n)
        memcpy(s, bytes, n);
    s[n] = '\0';
    return s;
}

#endif
