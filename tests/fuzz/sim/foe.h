/*
 * foe.h - a target that answers as an input tells it to, and as an honest RAM disk where it tells nothing
 *
 * Each request that comes takes operations from the script until one of them has dealt with it. Once the script is
 * at its end the target is honest for ever: what an initiator has under way then must come to an end.
 */
#ifndef CORELANE_FUZZ_FOE_H
#define CORELANE_FUZZ_FOE_H

#include "iscsi/chap.h"
#include "tests/fuzz/sim/keys.h"
#include "tests/fuzz/sim/ops.h"
#include "tests/fuzz/sim/wire.h"

#define FOE_CONNS 6u                        /* connections at a time; more wait to be accepted */
#define FOE_WRITES 64u                      /* writes that wait for data, on one connection */
#define FOE_BLOCKS 512u
#define FOE_BLOCK_LEN 512u
#define FOE_RECV_MAX 8192u                  /* what it declares */

/* Operations; FOE_OPS goes into the fuzzer's own table. Those above FOE_TAKES leave the request to the next one. */
#define FOE_KINDS(X)                                                                                          \
    X(HONEST,    "n",        6) /* this and so many more */                                                   \
    X(SPOIL,     "bb0",      6) /* honest, with some bits of it wrong */                                      \
    X(DROP,      "",         1)                                                                               \
    X(DELAY,     "b",        2) /* honest, later */                                                           \
    X(STATUS,    "b5bb0d00", 4) /* status, sense key, asc, ascq, flags, residual, tag, StatSN */              \
    X(DATA_IN,   "bdw0d00r", 5) /* flags, offset, length, DataSN, residual, tag, StatSN, data */              \
    X(R2T,       "ddb00",    4) /* offset, length, R2TSN, TTT, tag */                                         \
    X(REJECT,    "400",      2) /* reason, whose header, tag */                                               \
    X(ASYNC,     "2wwwb",    2) /* event, parameters, sense */                                                \
    X(PING,      "bwb",      2) /* which tags, bytes */                                                       \
    X(TMF_RESP,  "n0",       2)                                                                               \
    X(LOGOUT_RESP, "n0w",    1)                                                                               \
    X(TEXT_RESP, "bb0",      3) /* flags, TTT, tag */                                                         \
    X(LOGIN_RESP, "bw000",   3) /* flags, status, version, TSIH, tag */                                       \
    X(RAW,       "brr",      1) /* opcode, header, data */                                                    \
    X(AGAIN,     "",         1) /* the last PDU once more */                                                  \
    X(CLOSE,     "",         1)                                                                               \
    X(LENGTH,    "bw",       1) /* honest, with another length in its header */                               \
    /* those that do not deal with the request */                                                             \
    X(KEY,       KEYS_SHAPE, 5)                                                                               \
    X(CHAP,      "",         1)                                                                               \
    X(WINDOW,    "b0",       1) /* MaxCmdSN and ExpCmdSN of what follows */                                   \
    X(STAT_SN,   "b",        1)                                                                               \
    X(CHUNK,     "b",        1) /* sends in pieces of so many bytes */                                        \
    X(DEAF,      "b",        1) /* does not read for so long */                                               \
    X(HOSTILE_LOGIN, "n",    1) /* so many login requests more take from the script */
#define FOE_TAKES FOE_OP_LENGTH
enum foe_op {
#define X(name, shape, weight) FOE_OP_##name,
    FOE_KINDS(X)
#undef X
    FOE_OPS_NR
};
#define FOE_OPS                                                                                               \
    FOE_KINDS(FOE_ROW)
#define FOE_ROW(name, shape, weight) { #name, shape, weight },

struct foe;

struct foe_write {
    uint32_t itt, ttt, edtl, have;
    uint64_t at;                            /* bytes from the start of the disk */
    bool used, solicited;
    uint32_t r2t_sn;
};

struct foe_conn {
    struct wire w;
    struct foe *foe;
    bool open, login, full, bye;
    uint32_t stat_sn, exp_cmd_sn;
    int32_t window, sn_shift;
    uint8_t isid[6];
    struct iscsi_negotiation neg;
    bool neg_begun;
    struct chap_target chap;
    bool chap_on;
    uint32_t peer_recv_max, burst_max;
    bool digest[2];
    struct foe_write write[FOE_WRITES];
    /* A request that is answered later; one at a time, others are answered at once. */
    struct rt_timer later, hearing;
    bool late;
    uint8_t late_bhs[ISCSI_BHS_LEN], late_data[WIRE_KEEP];
    uint32_t late_len;
    uint8_t last[ISCSI_BHS_LEN];            /* header sent last, with the first of its data */
    uint8_t last_data[512];
    uint32_t last_len;
    char text_in[KEYS_TEXT_MAX];            /* the request's */
    uint32_t text_in_len;
};

struct foe {
    struct rt *rt;
    struct rt_sock *listener, *fresh;
    struct rt_op accept_op;
    struct rt_addr from;
    struct ops *script;                     /* borrowed; NULL: honest */
    bool over;                              /* the script has come to its end */
    unsigned skip;                          /* SCSI commands that are answered honestly first */
    unsigned honest;                        /* requests more that are */
    unsigned hostile_logins;                /* login requests that take from the script */
    bool login_scripted;                    /* all of them do */
    bool digests;                           /* does them, and likes small bursts */
    bool groups;                            /* has target port groups */
    struct keys_text text;
    uint8_t *disk;                          /* FOE_BLOCKS */
    struct foe_conn *conn[FOE_CONNS];
    struct chap_cred user, user_out;
};

int foe_start(struct foe *f, struct rt *rt, const struct rt_addr *at);   /* 0 or -errno */
/* Ends all connections, and begins with another script (borrowed until the next). */
void foe_script(struct foe *f, struct ops *script);

/* ---- foe_disk.c ------------------------------------------------------------------------------------------ */

/* Answers as an honest target does. */
void foe_honest(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len);
/* A PDU with StatSN (@advance) and the window in place. */
void foe_send(struct foe_conn *c, uint8_t bhs[static ISCSI_BHS_LEN], const void *data, uint32_t len,
              bool advance);
void foe_data_out(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len);
/* Honest for a login and for text. */
void foe_login(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len);
void foe_text(struct foe_conn *c, const struct iscsi_pdu *pdu, const uint8_t *data, uint32_t len);
void foe_chap(struct foe_conn *c, struct keys_text *out);

#endif
