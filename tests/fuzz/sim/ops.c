/*
 * ops.c - lists of operations: reading, and the mutators that libFuzzer calls
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/sim/ops.h"

/* ---- reading --------------------------------------------------------------------------------------------- */

uint8_t arg_u8(struct op_args *a)
{
    return a->at < a->end ? *a->at++ : 0;
}

uint16_t arg_u16(struct op_args *a)
{
    const unsigned high = arg_u8(a);

    return (uint16_t)(high << 8 | arg_u8(a));
}

uint32_t arg_u32(struct op_args *a)
{
    const uint32_t high = arg_u16(a);

    return high << 16 | arg_u16(a);
}

const uint8_t *arg_rest(struct op_args *a, size_t *len)
{
    const uint8_t *at = a->at;

    *len = (size_t)(a->end - a->at);
    a->at = a->end;
    return at;
}

bool ops_trace(void)
{
    static int on = -1;

    if (on < 0) {
        on = getenv("FUZZ_TRACE") != NULL;
        if (on)
            setvbuf(stdout, NULL, _IOLBF, 0);   /* the last lines are those that matter */
    }
    return on;
}

void ops_init(struct ops *o, const uint8_t *data, size_t size)
{
    const size_t head = size < OPS_HEAD_LEN ? size : OPS_HEAD_LEN;

    memset(o, 0, sizeof(*o));
    if (head)
        memcpy(o->head, data, head);
    o->at = data + head;
    o->end = data + size;
    o->left = OPS_MAX;
}

/* Where the operation at @at ends. */
static const uint8_t *op_end(const uint8_t *at, const uint8_t *end)
{
    const size_t left = (size_t)(end - at);

    return left <= 2 || at[1] >= left - 2 ? end : at + 2 + at[1];
}

bool ops_next(struct ops *o, struct op *out)
{
    const uint8_t *end;

    if (o->at == o->end || !o->left)
        return false;
    o->left--;
    end = op_end(o->at, o->end);
    out->kind = (o->at[0] & ~OP_NO_WAIT) % op_table.nr;
    out->no_wait = o->at[0] & OP_NO_WAIT;
    out->args = (struct op_args){ end - o->at > 2 ? o->at + 2 : end, end };
    if (ops_trace()) {
        printf("op %s%s:", op_table.kinds[out->kind].name, out->no_wait ? " (no wait)" : "");
        for (const uint8_t *p = out->args.at; p < end; p++)
            printf(" %02x", *p);
        printf("\n");
    }
    o->at = end;
    return true;
}

/* ---- making up ------------------------------------------------------------------------------------------- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t *out,
                                 size_t max, unsigned seed);

static uint32_t rnd(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static uint8_t *put_number(uint8_t *p, uint32_t v, unsigned bytes)
{
    while (bytes--)
        *p++ = (uint8_t)(v >> 8 * bytes);
    return p;
}

/* Numbers that something may turn on. */
static uint32_t number(uint64_t *r)
{
    static const uint32_t odd[] = { 0,        1,         2,          3,          4,          7,         8,
                                    15,       16,        31,         32,         48,         64,        127,
                                    128,      255,       256,        511,        512,        513,       1023,
                                    1024,     4095,      4096,       8191,       8192,       8193,      16383,
                                    16384,    32767,     32768,      65535,      65536,      131072,    262144,
                                    0xffffff, 0x1000000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff };

    switch (rnd(r) % 4) {
    case 0:  return odd[rnd(r) % (sizeof(odd) / sizeof(odd[0]))];
    case 1:  return rnd(r) % 16;
    case 2:  return rnd(r) % 1024;
    default: return rnd(r);
    }
}

/* One argument. @p has room for 24 bytes. */
static uint8_t *arg_make(uint8_t *p, char shape, uint64_t *r)
{
    unsigned n;

    switch (shape) {
    case 'b': return put_number(p, rnd(r), 1);
    case 'n': return put_number(p, rnd(r) % 4 ? rnd(r) % 4 : rnd(r) % 24, 1);
    case 'w': return put_number(p, number(r), 2);
    case 'd': return put_number(p, number(r), 4);
    case '0': return put_number(p, rnd(r) % 16 ? 0 : rnd(r), 1);
    case 'r':
        for (n = rnd(r) % 25; n; n--)
            *p++ = (uint8_t)(rnd(r) % 3 ? rnd(r) : 0);
        return p;
    default:  return put_number(p, rnd(r) % 8 ? (uint32_t)(shape - '0') : rnd(r), 1);
    }
}

static const struct op_kind *kind_pick(uint64_t *r)
{
    unsigned all = 0, at;

    for (unsigned i = 0; i < op_table.nr; i++)
        all += op_table.kinds[i].weight ? op_table.kinds[i].weight : 1;
    at = rnd(r) % all;
    for (unsigned i = 0; i < op_table.nr; i++) {
        const unsigned w = op_table.kinds[i].weight ? op_table.kinds[i].weight : 1;

        if (at < w)
            return &op_table.kinds[i];
        at -= w;
    }
    return op_table.kinds;
}

#define OP_LEN_MAX (2u + 255)

/* A new operation. Return: its length, or 0 when there is no room. */
static size_t op_make(uint8_t *out, size_t room, uint64_t *r)
{
    const struct op_kind *k = kind_pick(r);
    uint8_t buf[OP_LEN_MAX + 32], *p = buf + 2;

    for (const char *s = k->shape; *s && p < buf + OP_LEN_MAX - 24; s++)
        p = arg_make(p, *s, r);
    buf[0] = (uint8_t)((k - op_table.kinds) | (rnd(r) % 4 ? 0 : OP_NO_WAIT));
    buf[1] = (uint8_t)(p - buf - 2);
    if ((size_t)(p - buf) > room)
        return 0;
    memcpy(out, buf, (size_t)(p - buf));
    return (size_t)(p - buf);
}

/* ---- an input taken apart -------------------------------------------------------------------------------- */

#define CUTS_MAX 256u

struct cuts {
    size_t at[CUTS_MAX + 1];                /* where each operation begins; the last: the end */
    unsigned nr;                            /* operations */
};

static void cuts_find(struct cuts *c, const uint8_t *data, size_t size)
{
    const uint8_t *at = data + OPS_HEAD_LEN, *const end = data + size;

    c->nr = 0;
    while (at < end && c->nr < CUTS_MAX) {
        c->at[c->nr++] = (size_t)(at - data);
        at = op_end(at, end);
    }
    c->at[c->nr] = (size_t)(at - data);
}

/* The bytes [at, at + old) become @len bytes of @with. Return: the new size, or 0 when there is no room. */
static size_t splice(uint8_t *data, size_t size, size_t max, size_t at, size_t old, const uint8_t *with,
                     size_t len)
{
    if (size - old + len > max)
        return 0;
    memmove(data + at + len, data + at + old, size - at - old);
    if (len)
        memcpy(data + at, with, len);
    return size - old + len;
}

/* Changes the arguments of one operation, which may become longer or shorter. */
static size_t args_mutate(uint8_t *data, size_t size, size_t max, size_t at, size_t end, uint64_t *r)
{
    uint8_t buf[OP_LEN_MAX];
    size_t len = end - at > 2 ? end - at - 2 : 0, changed;

    if (!len || rnd(r) % 3 == 0) {
        if (!len || !LLVMFuzzerMutate)
            return 0;
        memcpy(buf + 2, data + at + 2, len);
        changed = LLVMFuzzerMutate(buf + 2, len, 255);
        if (changed > 255)
            return 0;
        buf[0] = data[at];
        buf[1] = (uint8_t)changed;
        return splice(data, size, max, at, end - at, buf, changed + 2);
    }
    at += 2 + rnd(r) % len;
    if (rnd(r) % 2)
        data[at] = (uint8_t)(rnd(r) % 2 ? number(r) : rnd(r));
    else
        data[at] = (uint8_t)(data[at] + (rnd(r) % 2 ? 1 : -1));
    return size;
}

static size_t mutate_once(uint8_t *data, size_t size, size_t max, uint64_t *r)
{
    uint8_t fresh[2 * OP_LEN_MAX];
    struct cuts c;
    unsigned i, n;
    size_t len;

    cuts_find(&c, data, size);
    if (!c.nr || rnd(r) % 4 == 0) {         /* a new one, mostly at the end */
        i = rnd(r) % 2 ? c.nr : rnd(r) % (c.nr + 1);
        len = op_make(fresh, sizeof(fresh), r);
        return splice(data, size, max, c.at[i], 0, fresh, len);
    }
    i = rnd(r) % c.nr;
    len = c.at[i + 1] - c.at[i];
    switch (rnd(r) % 10) {
    case 0:                                 /* some go */
        n = rnd(r) % 4 ? 1 : 1 + rnd(r) % (c.nr - i);
        return splice(data, size, max, c.at[i], c.at[i + n] - c.at[i], NULL, 0);
    case 1:                                 /* one comes again, here or elsewhere */
        if (len > sizeof(fresh))
            return 0;
        memcpy(fresh, data + c.at[i], len);
        return splice(data, size, max, c.at[rnd(r) % (c.nr + 1)], 0, fresh, len);
    case 2:                                 /* one moves */
        if (len > sizeof(fresh))
            return 0;
        memcpy(fresh, data + c.at[i], len);
        size = splice(data, size, max, c.at[i], len, NULL, 0);
        cuts_find(&c, data, size);
        return splice(data, size, max, c.at[rnd(r) % (c.nr + 1)], 0, fresh, len);
    case 3:                                 /* one becomes another */
        n = (unsigned)op_make(fresh, sizeof(fresh), r);
        return splice(data, size, max, c.at[i], len, fresh, n);
    case 4:
        data[c.at[i]] ^= OP_NO_WAIT;
        return size;
    case 5:
        data[rnd(r) % OPS_HEAD_LEN] = (uint8_t)rnd(r);
        return size;
    default:
        return args_mutate(data, size, max, c.at[i], c.at[i + 1], r);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint64_t r = seed * 0x9e3779b97f4a7c15u + 1;
    unsigned times;

    rnd(&r);
    if (max < OPS_HEAD_LEN + 2)
        return LLVMFuzzerMutate ? LLVMFuzzerMutate(data, size, max) : size;
    if (size < OPS_HEAD_LEN) {
        memset(data, 0, OPS_HEAD_LEN);
        if (op_table.head)
            memcpy(data, op_table.head, OPS_HEAD_LEN);
        size = OPS_HEAD_LEN;
    }
    for (times = 1 + (rnd(&r) % 2 ? 0 : rnd(&r) % 4); times; times--) {
        const size_t n = mutate_once(data, size, max, &r);

        size = n ? n : size;
    }
    return size;
}

/* The beginning of one and the end of the other, or a piece of the other somewhere in between. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t *out,
                                 size_t max, unsigned seed)
{
    uint64_t r = seed * 0x9e3779b97f4a7c15u + 2;
    struct cuts ca, cb;
    size_t at, from, to, tail;

    rnd(&r);
    if (a_len < OPS_HEAD_LEN || b_len < OPS_HEAD_LEN || a_len > max)
        return 0;
    cuts_find(&ca, a, a_len);
    cuts_find(&cb, b, b_len);
    at = ca.at[rnd(&r) % (ca.nr + 1)];
    from = cb.at[rnd(&r) % (cb.nr + 1)];
    to = rnd(&r) % 2 ? cb.at[cb.nr] : cb.at[rnd(&r) % (cb.nr + 1)];
    if (to < from)
        to = cb.at[cb.nr];
    tail = rnd(&r) % 2 ? a_len - at : 0;
    if (at + (to - from) + tail > max)
        return 0;
    memcpy(out, a, at);
    memcpy(out + at, b + from, to - from);
    memcpy(out + at + (to - from), a + at, tail);
    return at + (to - from) + tail;
}
