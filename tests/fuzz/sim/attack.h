/*
 * attack.h - what hostile initiators do to a target once they are logged in: operations, and their carrying out
 */
#ifndef CORELANE_FUZZ_ATTACK_H
#define CORELANE_FUZZ_ATTACK_H

#include "tests/fuzz/sim/ops.h"
#include "tests/fuzz/sim/peer.h"

#define ATTACK_PEERS 4u

/* All begin with the number of a connection. */
#define ATTACK_KINDS(X)                                                                                       \
    X(OPEN,     "nbbb",      3) /* ISID, who to whom, parameters: a login as it should be */                  \
    X(CMD,      "nbnwbb0000", 12) /* opcode, LUN, LBA, blocks, how the data go, CmdSN, tag, EDTL, attributes */ \
    X(CDB,      "nbwnr",     3) /* flags, EDTL, LUN, CDB */                                                   \
    X(PARAM,    "nnnbdr",    5) /* commands with a parameter list: which, LUN, service action, key */         \
    X(DATA_OUT, "nbwwb0",    4) /* which R2T or tag, offset, length, DataSN, flags */                         \
    X(TMF,      "nnn00n",    4) /* function, whose tag, CmdSN, LUN, immediate */                              \
    X(NOP,      "nbw0",      2)                                                                               \
    X(TEXT,     "nbb0",      2) /* flags, TTT */                                                              \
    X(KEY,      "n" KEYS_SHAPE, 2)                                                                            \
    X(LOGOUT,   "nn0b",      1) /* reason, CmdSN, immediate */                                                \
    X(SNACK,    "nbdd",      1)                                                                               \
    X(LOGIN,    "nb",        1)                                                                               \
    X(RAW,      "nbr",       1)                                                                               \
    X(SPOIL,    "nbb0",      2)                                                                               \
    X(MANUAL,   "nb",        2) /* whether R2Ts are answered by themselves */                                 \
    X(ANSWER,   "n",         2) /* the last R2T is */                                                         \
    X(DEAF,     "nb",        1)                                                                               \
    X(CHUNK,    "nb",        1)                                                                               \
    X(CMD_SN,   "nb",        1)                                                                               \
    X(CLOSE,    "n",         1)                                                                               \
    X(RESET,    "n",         1) /* by the network */                                                          \
    X(FLOOD,    "nnn",       1) /* many small commands at once */                                             \
    X(WAIT,     "b",         2) /* milliseconds, squared */
enum attack_op {
#define X(name, shape, weight) ATTACK_##name,
    ATTACK_KINDS(X)
#undef X
    ATTACK_NR
};

struct attack {
    struct peer peer[ATTACK_PEERS];
    struct rt_addr portal;
};
/* On the reactor of the peers. */
void attack_init(struct attack *x, struct rt *rt, const struct rt_addr *portal);
/* All but WAIT and RESET. */
void attack_do(struct attack *x, struct op *op);
struct peer *attack_peer(struct attack *x, struct op_args *a);

#endif
