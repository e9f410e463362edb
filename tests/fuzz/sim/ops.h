/*
 * ops.h - inputs that are lists of operations: how they are read, and how libFuzzer is taught to change them
 *
 * An input is a short header of settings and then operations, each a byte of kind, a byte of length and so many
 * bytes of arguments. Every sequence of bytes is a valid input: kinds wrap around, arguments that are not there
 * read as zero. So a mutation never loses the session that was built up before it, and the mutators here insert,
 * remove, copy and change whole operations rather than bytes.
 */
#ifndef CORELANE_FUZZ_OPS_H
#define CORELANE_FUZZ_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPS_HEAD_LEN 4u                     /* bytes of settings */
#define OPS_MAX 96u                         /* operations that are carried out; what follows is left out */
#define OP_NO_WAIT 0x80u                    /* of the kind byte: the next one follows at once */

/* One kind of operation. Each letter of @shape is an argument, as new ones are made up: b a byte, n a small
 * number, w two bytes, d four bytes (both with a taste for limits), r up to 24 bytes at random, and 0 a byte that is
 * nearly always zero. Decimal digits are bytes of that value, to begin with. */
struct op_kind {
    const char *name;
    const char *shape;
    uint8_t weight;                         /* how often a new one is of this kind; 0: 1 */
};
struct op_table {
    const struct op_kind *kinds;
    unsigned nr;
    /* What new inputs begin with, or NULL: OPS_HEAD_LEN bytes. */
    const uint8_t *head;
};
/* The fuzzer's own, used by the mutators. */
extern const struct op_table op_table;

/* ---- reading --------------------------------------------------------------------------------------------- */

/* Arguments: read in order, big-endian; zero beyond the end. */
struct op_args {
    const uint8_t *at, *end;
};
uint8_t arg_u8(struct op_args *a);
uint16_t arg_u16(struct op_args *a);
uint32_t arg_u32(struct op_args *a);
/* What is left, borrowed from the input. */
const uint8_t *arg_rest(struct op_args *a, size_t *len);

struct op {
    unsigned kind;                          /* below op_table.nr */
    bool no_wait;
    struct op_args args;
};
struct ops {
    uint8_t head[OPS_HEAD_LEN];
    const uint8_t *at, *end;
    unsigned left;
};
void ops_init(struct ops *o, const uint8_t *data, size_t size);
bool ops_next(struct ops *o, struct op *out);   /* false: there is none left */

/* Prints operations as they are carried out when the environment has FUZZ_TRACE. */
bool ops_trace(void);

#endif
