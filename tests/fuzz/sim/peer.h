/*
 * peer.h - a hostile initiator: one connection that can log in like an honest one, and then does as it is told
 *
 * It checks what comes back: each PDU decodes, its data are no longer than was declared, Data-In stays inside the
 * command that it belongs to, and all of it together is bounded by what was asked for. A target that breaks that
 * is a finding, and aborts.
 */
#ifndef CORELANE_FUZZ_PEER_H
#define CORELANE_FUZZ_PEER_H

#include "iscsi/chap.h"
#include "tests/fuzz/sim/keys.h"
#include "tests/fuzz/sim/wire.h"

#define PEER_CMDS 64u                       /* commands whose answers are judged; a power of two */
#define PEER_R2TS 8u

enum peer_state { PEER_CLOSED, PEER_CONNECTING, PEER_LOGIN, PEER_FULL, PEER_CLOSING };

struct peer_login {                         /* an honest login */
    const char *initiator, *target;         /* target NULL: discovery */
    uint8_t isid;
    bool digests, initial_r2t, immediate_data;
    uint32_t recv_max;                      /* bytes */
};

struct peer {
    struct wire w;
    void (*full)(struct peer *p);           /* an honest login has come to its end; may be NULL */
    struct rt_op conn_op;
    struct rt_sock *fresh;
    uint8_t state;                          /* enum peer_state */
    bool scripted;                          /* login PDUs are the input's, not peer_login()'s */
    struct peer_login login;
    uint8_t isid[6];
    uint16_t tsih, cid;
    uint32_t cmd_sn, exp_stat_sn, itt;
    uint32_t ttt;                           /* of the last Text Response or NOP-In */
    uint32_t recv_max;                      /* what we declared; 0: not known */
    bool auto_data;                         /* answers R2Ts by itself */
    bool lenient; /* what was sent is not known any more, so neither is what may come */
    bool digest[2];                         /* agreed: header, data */
    uint16_t status;                        /* of the last Login Response */
    struct peer_cmd {
        uint32_t itt, edtl;
    } cmd[PEER_CMDS];                       /* by number, the newest over the oldest */
    unsigned cmd_nr;
    struct peer_r2t {
        uint64_t lun;
        uint32_t itt, ttt, off, len;
    } r2t[PEER_R2TS];                       /* unanswered, the newest over the oldest */
    unsigned r2t_nr;
    uint64_t allowed;                       /* bytes that may come back for what was sent */
    struct keys_text text;                  /* of the next Login or Text request */
    char got[WIRE_KEEP];                    /* text of the last Login or Text Response */
    uint32_t got_len;
    struct chap_initiator chap;
    struct chap_cred user, user_in;
};

void peer_init(struct peer *p, struct rt *rt);
/* Connects, and logs in when @login is given (copied; its texts are kept). Must be closed and idle. */
void peer_open(struct peer *p, const struct rt_addr *to, const struct peer_login *login);
void peer_close(struct peer *p);
bool peer_idle(const struct peer *p);       /* closed, and nothing is outstanding: may be opened again */

/* A header with opcode, F, ITT and numbers in place; @immediate leaves CmdSN where it is. */
void peer_bhs(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], uint8_t opcode, bool immediate);
/* Sends it with the length fields that belong to the data. */
void peer_send(struct peer *p, uint8_t bhs[static ISCSI_BHS_LEN], const void *ahs, uint32_t ahs_len,
               const void *data, uint32_t len);
/* A SCSI Command's answers are judged by its tag from now on. */
void peer_expect(struct peer *p, uint32_t itt, uint32_t edtl);
/* Something else than we know of is sent: answers are judged by themselves only from here on. */
void peer_lenient(struct peer *p);
/* The last R2T is answered as asked for, with a pattern. */
void peer_answer_r2t(struct peer *p);
/* The text under construction goes out in a Login request. */
void peer_login_send(struct peer *p, uint8_t flags, uint8_t version_max, uint8_t version_min);
/* Adds what an honest initiator would say next of CHAP, as far as it can judge by the last answer. */
void peer_chap(struct peer *p, bool begin);

/* Bytes for data of all kinds. */
#define PEER_PATTERN_LEN (256u * 1024)
const uint8_t *peer_pattern(void);

#endif
