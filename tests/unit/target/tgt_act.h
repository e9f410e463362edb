/*
 * tgt_act.h - what scripted initiators do again and again in full feature phase, on top of tgt_peer.h
 *
 * None of it measures time: that nothing comes is shown by what comes next.
 */
#ifndef CORELANE_TESTS_TGT_ACT_H
#define CORELANE_TESTS_TGT_ACT_H

#include "tgt_peer.h"

/* Logged in under ISID @isid, unit attentions taken. */
static inline struct peer_end *peer_ready(struct bed *b, uint8_t isid, const char *keys)
{
    struct peer_end *p = peer_logged_in(b, isid, keys);

    peer_settle(p);
    return p;
}

static inline struct peer_end *peer_discovery(struct bed *b)
{
    struct peer_end *p = peer_open(b);

    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nSessionType=Discovery"),
                     ISCSI_LOGIN_OK);
    return p;
}

/* The value of a key in the answer; NULL: it is not there. */
static inline const char *answer_of(const struct peer_end *p, const char *key)
{
    const size_t n = strlen(key);
    uint32_t at = 0;

    while (at < p->data_len) {
        const char *pair = (const char *)p->data + at;

        if (!strncmp(pair, key, n) && pair[n] == '=')
            return pair + n + 1;
        at += (uint32_t)strlen(pair) + 1;
    }
    return NULL;
}

/* The answer must give the key that value; NULL: must not speak of it. */
static inline void expect_answer(const struct peer_end *p, const char *key, const char *value)
{
    const char *is = answer_of(p, key);

    if (is && value ? strcmp(is, value) != 0 : is != value)
        fail_msg("%s=%s, not %s", key, is ? is : "(nothing)", value ? value : "(nothing)");
}

/* A Login request whose data segment is these very bytes. Return: the status, or -1 when the connection ended. */
static inline int login_bytes(struct peer_end *p, unsigned csg, unsigned nsg, bool transit, const void *text,
                              uint32_t len)
{
    struct iscsi_pdu pdu = login_pdu(p, csg, nsg, transit);

    pdu.data_len = len;
    peer_send(p, &pdu, text);
    if (!peer_recv_ms(p, PEER_MS))
        return -1;
    assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGIN_RESP);
    return p->rsp.login.status;
}

/* A login that was refused, or given up. */
static inline void peer_gone(struct peer_end *p)
{
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
}

/* ---- PDUs ------------------------------------------------------------------------------------------------ */

/* Immediate, as all that is made here; a test that wants it in turn says so and counts cmd_sn on. */
static inline struct iscsi_pdu nop_pdu(struct peer_end *p, uint32_t len)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .itt = ++p->itt,
                               .ttt = ISCSI_TAG_RESERVED, .cmd_sn = p->cmd_sn, .data_len = len };
}

static inline struct iscsi_pdu tmf_pdu(struct peer_end *p, unsigned function)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_TMF, .immediate = true, .final = true, .itt = ++p->itt,
                               .cmd_sn = p->cmd_sn, .tmf = { .function = (uint8_t)function,
                                                             .ref_task_tag = ISCSI_TAG_RESERVED } };
}

/* One step of an exchange: the tag is the peer's own to choose. */
static inline struct iscsi_pdu text_pdu(struct peer_end *p, uint32_t ttt, uint32_t len, bool cont)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_TEXT, .immediate = true, .final = !cont, .itt = p->itt,
                               .ttt = ttt, .cmd_sn = p->cmd_sn, .data_len = len, .text = { .cont = cont } };
}

static inline struct iscsi_pdu logout_pdu(struct peer_end *p, unsigned reason)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = ++p->itt,
                               .cmd_sn = p->cmd_sn, .logout = { .reason = (uint8_t)reason, .cid = p->cid } };
}

static inline struct iscsi_pdu data_out_pdu(const struct iscsi_pdu *write, uint32_t ttt, uint32_t sn,
                                            uint32_t off, uint32_t len, bool final)
{
    return (struct iscsi_pdu){ .opcode = ISCSI_OP_DATA_OUT, .final = final, .itt = write->itt, .ttt = ttt,
                               .lun = write->lun, .data_len = len,
                               .data_out = { .data_sn = sn, .offset = off } };
}

/* TEST UNIT READY under a number of the test's choice. */
static inline void send_tur(struct peer_end *p, uint32_t cmd_sn, bool immediate)
{
    static const uint8_t cdb[16];
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, 0, false, false);

    p->cmd_sn--;
    pdu.cmd_sn = cmd_sn;
    pdu.immediate = immediate;
    peer_send(p, &pdu, NULL);
}

/* ---- what is expected ------------------------------------------------------------------------------------ */

/* Nothing is to come: the answer to a ping is the next that does. */
static inline void peer_quiet(struct peer_end *p)
{
    struct iscsi_pdu ping = nop_pdu(p, 0);

    peer_send(p, &ping, NULL);
    peer_expect(p, ISCSI_OP_NOP_IN);
    assert_int_equal(p->rsp.itt, ping.itt);
}

/* The session serves: its next command is executed, and there was nothing before its answer. */
static inline void peer_serves(struct peer_end *p)
{
    send_tur(p, p->cmd_sn++, false);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, p->itt);
    assert_int_equal(p->rsp.resp.status, SCSI_GOOD);
    assert_int_equal(p->rsp.exp_cmd_sn, p->cmd_sn);
}

static inline void expect_reject(struct peer_end *p, unsigned reason)
{
    peer_expect(p, ISCSI_OP_REJECT);
    assert_int_equal(p->rsp.reject.reason, reason);
    assert_int_equal(p->data_len, ISCSI_BHS_LEN);
}

static inline void expect_status(struct peer_end *p, unsigned status)
{
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.resp.status, status);
}

/* @asc: ASC and ASCQ. */
static inline void peer_check(struct peer_end *p, unsigned key, unsigned asc)
{
    expect_status(p, SCSI_CHECK_CONDITION);
    assert_int_equal(load_be16(p->data) + 2u, p->data_len);
    assert_int_equal(p->data[2 + 2] & 0xf, key);
    assert_int_equal(p->data[2 + 12] << 8 | p->data[2 + 13], asc);
}

/* What the next TEST UNIT READY reports: ASC and ASCQ. */
static inline unsigned peer_attention(struct peer_end *p)
{
    send_tur(p, p->cmd_sn++, false);
    expect_status(p, SCSI_CHECK_CONDITION);
    return (unsigned)(p->data[2 + 12] << 8 | p->data[2 + 13]);
}

/* ---- longer acts ----------------------------------------------------------------------------------------- */

/* A write of 8 KiB that waits for its R2T to be answered: its tag is in use. */
static inline struct iscsi_pdu hanging_write(struct peer_end *p, uint32_t lba)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    cdb_rw10(cdb, true, lba, 16);
    pdu = cmd_pdu(p, cdb, 8192, false, true);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    assert_int_equal(p->rsp.itt, pdu.itt);
    assert_int_equal(p->rsp.r2t.length, 8192);
    return pdu;
}

/* Answers R2Ts, @segment bytes a PDU, until the status comes. @data: of the whole command. */
static inline int feed_r2ts(struct peer_end *p, const uint8_t *data, uint32_t segment)
{
    for (;;) {
        uint32_t done = 0, sn = 0;

        assert_true(peer_recv_ms(p, PEER_MS));
        if (p->rsp.opcode == ISCSI_OP_SCSI_RESP)
            return p->rsp.resp.status;
        assert_int_equal(p->rsp.opcode, ISCSI_OP_R2T);
        while (done < p->rsp.r2t.length) {
            const uint32_t left = p->rsp.r2t.length - done, n = left < segment ? left : segment;
            struct iscsi_pdu out =
                data_out_pdu(&p->rsp, p->rsp.ttt, sn++, p->rsp.r2t.offset + done, n, n == left);

            peer_send(p, &out, data + out.data_out.offset);
            done += n;
        }
    }
}

/* An immediate task management request. Return: the response. */
static inline int peer_tmf(struct peer_end *p, unsigned function, uint32_t ref_itt, uint32_t ref_sn,
                           uint64_t lun)
{
    struct iscsi_pdu pdu = tmf_pdu(p, function);

    pdu.lun = lun;
    pdu.tmf.ref_task_tag = ref_itt;
    pdu.tmf.ref_cmd_sn = ref_sn;
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_TMF_RESP);
    assert_int_equal(p->rsp.itt, pdu.itt);
    return p->rsp.tmf.response;
}

#endif
