/*
 * test_case_r2t.c - what a target asks for, and how data go out to it (RFC 7143 4.2.5.2, 11.7, 11.8)
 *
 * Each row of the first part is a write of eight blocks, asked for in an odd way the first time; those of the
 * second part check every Data-Out under each combination of InitialR2T, ImmediateData and digests.
 */
#include "case.h"

#define LEN 4096u

static const char ask_keys[] = CASE_KEYS("None", "Yes", "No", "1048576", "4096", "4096");

static void ask_script(struct fake_conn *c)
{
    if (c->nr)
        fake_default_script(c);
    else if (LOGIN_WITH(c, ask_keys))
        fake_serve(c);
}

/* ---- R2Ts that cannot be -------------------------------------------------------------------------------- */

enum row {
    SN_FROM_ONE, SN_GAP, SN_TWICE, OFF_BEYOND, LEN_BEYOND, WRAPS, LEN_ZERO, PAST_BURST, TWO_AT_ONCE, FOR_A_READ,
    OTHER_TAG, AGAIN, TTT_RESERVED, SECOND_HALF_FIRST, AFTER_RESPONSE, TAG_RESERVED, NOT_F, WITH_DATA, IN_PIECES, STAT_SN,
};

static struct iscsi_pdu r2t_of(const struct iscsi_pdu *cmd, uint32_t sn, uint32_t off, uint32_t len)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_R2T, .final = true, .lun = cmd->lun, .itt = cmd->itt,
                           .ttt = 70 + sn };

    p.r2t.r2t_sn = sn;
    p.r2t.offset = off;
    p.r2t.length = len;
    return p;
}

static void ask(struct fake_conn *c, const struct iscsi_pdu *cmd, uint32_t sn, uint32_t off, uint32_t len)
{
    send_unnumbered(c, r2t_of(cmd, sn, off, len), NULL, 0);
}

/* Asks, and takes the answer into the disk: one Data-Out. */
static bool get(struct fake_conn *c, const struct iscsi_pdu *cmd, uint32_t sn, uint32_t off, uint32_t len)
{
    ask(c, cmd, sn, off, len);
    if (!fake_recv(c) || c->pdu.opcode != ISCSI_OP_DATA_OUT || c->pdu.ttt != 70 + sn || c->len != len ||
        c->pdu.data_out.offset != off || c->pdu.data_out.data_sn || !c->pdu.final || c->pdu.itt != cmd->itt ||
        c->pdu.lun != cmd->lun) {
        scene_of(c)->faults++;
        return false;
    }
    memcpy(c->f->disk + off, c->data, len);
    return true;
}

static void bent(struct fake_conn *c, const struct iscsi_pdu *cmd, unsigned at, uint32_t v)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    numbered_bhs(c, bhs, r2t_of(cmd, 0, 0, LEN));
    c->stat_sn--;                           /* does not use it up */
    store_be32(bhs + at, v);
    fake_send_bhs(c, bhs, NULL, 0);
}

static bool odd_r2t(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const struct iscsi_pdu cmd = c->pdu;
    struct iscsi_pdu p;
    uint8_t bhs[ISCSI_BHS_LEN], two[2 * ISCSI_BHS_LEN];

    if (!is_cmd(c) || x->sent++)
        return false;
    switch ((enum row)x->which) {
    case SN_FROM_ONE:
        ask(c, &cmd, 1, 0, LEN);
        return true;
    case SN_GAP:
        if (get(c, &cmd, 0, 0, 2048))
            ask(c, &cmd, 2, 2048, 2048);
        return true;
    case SN_TWICE:
        if (get(c, &cmd, 0, 0, 2048))
            ask(c, &cmd, 0, 2048, 2048);
        return true;
    case OFF_BEYOND:
        ask(c, &cmd, 0, LEN + 512, 512);
        return true;
    case LEN_BEYOND:
        ask(c, &cmd, 0, 512, LEN);
        return true;
    case WRAPS:
        ask(c, &cmd, 0, 0xfffffe00u, 1024);
        return true;
    case LEN_ZERO:
        bent(c, &cmd, 44, 0);
        return true;
    case PAST_BURST:                        /* of a write of 8 KiB */
        ask(c, &cmd, 0, 0, LEN + 512);
        return true;
    case TWO_AT_ONCE:                       /* in one segment, so that the first cannot have been answered */
        for (unsigned i = 0; i < 2; i++) {
            p = r2t_of(&cmd, i, i * 2048, 2048);
            numbered_bhs(c, two + i * ISCSI_BHS_LEN, p);
            c->stat_sn--;
        }
        fake_write(c->fd, two, sizeof(two));
        return true;
    case FOR_A_READ:
        ask(c, &cmd, 0, 0, 512);
        return true;
    case OTHER_TAG:
        p = r2t_of(&cmd, 0, 0, LEN);
        p.itt ^= 0x00330000;
        send_unnumbered(c, p, NULL, 0);
        break;
    case AGAIN:                             /* what was already sent */
        if (!get(c, &cmd, 0, 0, LEN))
            return true;
        get(c, &cmd, 1, 0, LEN);
        fake_status(c, cmd.itt, SCSI_GOOD);
        return true;
    case TTT_RESERVED:
        bent(c, &cmd, 20, ISCSI_TAG_RESERVED);
        return true;
    case SECOND_HALF_FIRST:                 /* DataSequenceInOrder=Yes */
        if (get(c, &cmd, 0, 2048, 2048) && get(c, &cmd, 1, 0, 2048))
            fake_status(c, cmd.itt, SCSI_GOOD);
        return true;
    case AFTER_RESPONSE:
        if (get(c, &cmd, 0, 0, LEN)) {
            fake_status(c, cmd.itt, SCSI_GOOD);
            ask(c, &cmd, 1, 0, LEN);
        }
        return true;
    case TAG_RESERVED:
        bent(c, &cmd, 16, ISCSI_TAG_RESERVED);
        return true;
    case NOT_F:
        bent(c, &cmd, 0, 0x31000000);
        return true;
    case WITH_DATA:
        p = r2t_of(&cmd, 0, 0, LEN);
        numbered_bhs(c, bhs, p);
        c->stat_sn--;
        bhs[7] = 4;
        fake_send_bhs(c, bhs, "data", 4);
        return true;
    case IN_PIECES:
        for (uint32_t i = 0; i < 8; i++)
            if (!get(c, &cmd, i, i * 512, 512))
                return true;
        fake_status(c, cmd.itt, SCSI_GOOD);
        return true;
    case STAT_SN:                           /* of R2Ts means nothing to us: it uses none up */
        p = r2t_of(&cmd, 0, 0, LEN);
        p.stat_sn = c->stat_sn + 500;
        p.exp_cmd_sn = c->exp_cmd_sn;
        p.max_cmd_sn = c->exp_cmd_sn + 63;
        fake_send_raw(c, p, NULL, 0);
        if (fake_recv(c)) {
            memcpy(c->f->disk, c->data, LEN);
            fake_status(c, cmd.itt, SCSI_GOOD);
        }
        return true;
    }
    c->pdu = cmd;
    c->len = 0;
    return false;
}

static void pattern(uint8_t *buf, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(i * 5 + i / 256 + 1);
}

static void write_comes_to(enum row which, enum outcome how)
{
    struct scene x;
    const uint32_t len = which == PAST_BURST ? 2 * LEN : LEN;

    scene_init(&x, ask_script, odd_r2t);
    x.which = which;
    scene_go(&x);
    if (which == FOR_A_READ) {
        cmd_read(&x.r, &x.c[0], 0, len / 512);
    } else {
        pattern(x.c[0].buf, len);
        cmd_write(&x.r, &x.c[0], 0, len / 512);
    }
    command_comes_to(&x, how);
    if (how != IS_BROKEN)
        assert_memory_equal(x.f.disk, x.c[0].buf, LEN);
    scene_end(&x);
}

/* ---- Data-Outs under all combinations ------------------------------------------------------------------- */

#define BIG 16384u                          /* bytes of a write: more than a first burst, four bursts */
#define PEER_MAX 1024u                      /* the target's MaxRecvDataSegmentLength */
#define FIRST_BURST 2560u                   /* two and a half segments */
#define BURST 4096u

struct expect {
    bool r2t, immediate, digests;
};

static const char *keys_of(const struct expect *e, uint32_t *len)
{
#define TEXT(d, r, i) CASE_KEYS(d, r, i, "1024", "4096", "2560")
#define ROW(d, r, i) { TEXT(d, r, i), sizeof(TEXT(d, r, i)) }
    static const struct {
        const char *text;
        uint32_t len;
    } keys[] = {
        ROW("None", "No", "No"),    ROW("None", "No", "Yes"),
        ROW("None", "Yes", "No"),   ROW("None", "Yes", "Yes"),
        ROW("CRC32C", "No", "No"),  ROW("CRC32C", "No", "Yes"),
        ROW("CRC32C", "Yes", "No"), ROW("CRC32C", "Yes", "Yes"),
    };
#undef ROW
#undef TEXT
    const unsigned i = 4u * e->digests + 2u * e->r2t + e->immediate;

    *len = keys[i].len;
    return keys[i].text;
}

static void combined_script(struct fake_conn *c)
{
    const struct expect *e = c->f->arg;
    uint32_t len;
    const char *text = keys_of(e, &len);

    if (!fake_login_first(c) || !fake_login_rest(c, text, len))
        return;
    c->digests = e->digests;
    fake_serve(c);
}

/* A run of Data-Outs from @from to @to under @ttt: DataSN from 0, offsets without a gap, F on the last alone, no
 * segment longer than declared and none shorter than it could be. */
static bool sequence(struct fake_conn *c, const struct iscsi_pdu *cmd, uint32_t ttt, uint32_t from, uint32_t to,
                     uint8_t *all)
{
    uint32_t sn = 0;

    while (from < to) {
        const uint32_t want = to - from < PEER_MAX ? to - from : PEER_MAX;

        if (!fake_recv_new(c) || c->pdu.opcode != ISCSI_OP_DATA_OUT || c->pdu.itt != cmd->itt ||
            c->pdu.ttt != ttt || c->pdu.data_out.data_sn != sn++ || c->pdu.data_out.offset != from || c->len != want ||
            c->pdu.final != (from + want == to) || c->pdu.exp_stat_sn != c->stat_sn)
            return false;
        memcpy(all + from, c->data, c->len);
        from += want;
    }
    return true;
}

static bool combined(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const struct expect *e = c->f->arg;
    const struct iscsi_pdu cmd = c->pdu;
    const uint32_t immediate = e->immediate ? PEER_MAX : 0;
    uint32_t at = immediate;
    static uint8_t all[BIG];

    if (!is_cmd(c) || !cmd.cmd.write)
        return false;
    if (c->len != immediate || cmd.final != e->r2t || cmd.cmd.edtl != BIG)
        x->faults++;
    memcpy(all, c->data, c->len);
    if (!e->r2t && !sequence(c, &cmd, ISCSI_TAG_RESERVED, at, FIRST_BURST, all))
        x->faults++;
    if (!e->r2t)
        at = FIRST_BURST;
    for (uint32_t sn = 0; at < BIG && !x->faults; sn++) {
        const uint32_t len = BIG - at < BURST ? BIG - at : BURST;

        ask(c, &cmd, sn, at, len);
        if (!sequence(c, &cmd, 70 + sn, at, at + len, all))
            x->faults++;
        at += len;
    }
    memcpy(c->f->disk, all, BIG);
    c->pdu = cmd;
    fake_status(c, cmd.itt, SCSI_GOOD);
    return true;
}

static void data_go_out(bool r2t, bool immediate, bool digests)
{
    struct scene x;
    struct expect e = { r2t, immediate, digests };
    static uint8_t buf[BIG];
    struct cmd *c;

    scene_init(&x, combined_script, combined);
    x.f.arg = &e;
    x.r.conf.set.header_digest = x.r.conf.set.data_digest = digests ? ISCSI_DIGEST_CRC32C : ISCSI_DIGEST_NONE;
    x.r.conf.set.initial_r2t = r2t;
    x.r.conf.set.immediate_data = immediate;
    scene_go(&x);
    pattern(buf, BIG);
    c = &x.c[0];
    c->iov = (struct iovec){ buf, BIG };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, 0, BIG / 512, false);
    c->t.edtl = BIG;
    c->t.out = (struct dm_buf){ &c->iov, 1, BIG };
    c->t.done = cmd_ended;
    ini_submit(x.r.s, &c->t);
    command_comes_to(&x, IS_GOOD);
    assert_memory_equal(x.f.disk, buf, BIG);
    assert_int_equal(x.f.bad_digests, 0);
    scene_end(&x);
}

#define CASES(X)                                                                                              \
    /* 11.8.2: R2TSN starts with 0 */                                                                         \
    X(test_an_r2t_sn_from_1_costs_the_session, write_comes_to, SN_FROM_ONE, IS_LOST)                          \
    /* 11.8.2: R2TSN advances by 1 */                                                                         \
    X(test_an_r2t_sn_that_is_missing_costs_the_session, write_comes_to, SN_GAP, IS_LOST)                      \
    /* 11.8.2: R2TSN does not repeat */                                                                       \
    X(test_an_r2t_sn_twice_costs_the_session, write_comes_to, SN_TWICE, IS_LOST)                              \
    /* 11.8.4: an offset past the Expected Data Transfer Length */                                            \
    X(test_an_r2t_past_the_data_costs_the_session, write_comes_to, OFF_BEYOND, IS_LOST)                       \
    /* 11.8.4: more than the Expected Data Transfer Length */                                                 \
    X(test_an_r2t_for_more_than_there_is_costs_the_session, write_comes_to, LEN_BEYOND, IS_LOST)              \
    /* 11.8.4: offset and length whose sum wraps */                                                           \
    X(test_an_r2t_that_wraps_costs_the_session, write_comes_to, WRAPS, IS_LOST)                               \
    /* 11.8.4: Desired Data Transfer Length is not 0 */                                                       \
    X(test_an_r2t_for_nothing_costs_the_session, write_comes_to, LEN_ZERO, IS_LOST)                           \
    /* 11.8.4: nor more than MaxBurstLength */                                                                \
    X(test_an_r2t_past_the_burst_costs_the_session, write_comes_to, PAST_BURST, IS_LOST)                      \
    /* 13.17: more than MaxOutstandingR2T */                                                                  \
    X(test_more_r2ts_than_agreed_cost_the_session, write_comes_to, TWO_AT_ONCE, IS_LOST)                      \
    /* 11.8: for a command that writes nothing */                                                             \
    X(test_an_r2t_for_a_read_costs_the_session, write_comes_to, FOR_A_READ, IS_LOST)                          \
    /* 11.2.1.8: for a tag that is not in use */                                                              \
    X(test_an_r2t_for_a_tag_not_in_use_is_not_answered, write_comes_to, OTHER_TAG, IS_GOOD)                   \
    /* 11.8: data that were already sent are sent again */                                                    \
    X(test_an_r2t_for_data_already_sent_is_answered, write_comes_to, AGAIN, IS_GOOD)                          \
    /* 11.8.5: the Target Transfer Tag is not the reserved one */                                             \
    X(test_an_r2t_without_a_transfer_tag_costs_the_session, write_comes_to, TTT_RESERVED, IS_LOST)            \
    /* 13.19: DataSequenceInOrder: a write fetched out of order is not taken for whole */                     \
    X(test_a_write_fetched_out_of_order_is_not_done, write_comes_to, SECOND_HALF_FIRST, IS_BROKEN)            \
    /* 11.4: nothing follows the response */                                                                  \
    X(test_an_r2t_after_the_response_is_not_answered, write_comes_to, AFTER_RESPONSE, IS_GOOD)                \
    /* 11.2.1.8: the reserved tag */                                                                          \
    X(test_an_r2t_for_the_reserved_tag_costs_the_session, write_comes_to, TAG_RESERVED, IS_LOST)              \
    /* 11.8: the F bit is always set */                                                                       \
    X(test_an_r2t_without_f_costs_the_session, write_comes_to, NOT_F, IS_LOST)                                \
    /* 11.8.1: it carries no data */                                                                          \
    X(test_an_r2t_with_data_costs_the_session, write_comes_to, WITH_DATA, IS_LOST)                            \
    /* 11.8: a write in as many pieces as the target likes */                                                 \
    X(test_a_write_fetched_block_by_block_is_done, write_comes_to, IN_PIECES, IS_GOOD)                        \
    /* 11.8.3: an R2T uses no StatSN up */                                                                    \
    X(test_the_stat_sn_of_an_r2t_means_nothing, write_comes_to, STAT_SN, IS_GOOD)                             \
    /* 4.2.5.2: InitialR2T=No, ImmediateData=No */                                                            \
    X(test_unsolicited_data_without_immediate, data_go_out, false, false, false)                              \
    /* 4.2.5.2: InitialR2T=No, ImmediateData=Yes */                                                           \
    X(test_immediate_data_then_unsolicited, data_go_out, false, true, false)                                  \
    /* 4.2.5.2: InitialR2T=Yes, ImmediateData=No */                                                           \
    X(test_all_data_are_waited_for, data_go_out, true, false, false)                                          \
    /* 4.2.5.2: InitialR2T=Yes, ImmediateData=Yes */                                                          \
    X(test_immediate_data_alone, data_go_out, true, true, false)                                              \
    /* 4.2.5.2, 13.1: the same with digests */                                                                \
    X(test_unsolicited_data_without_immediate_with_digests, data_go_out, false, false, true)                  \
    /* 4.2.5.2, 13.1: the same with digests */                                                                \
    X(test_immediate_data_then_unsolicited_with_digests, data_go_out, false, true, true)                      \
    /* 4.2.5.2, 13.1: the same with digests */                                                                \
    X(test_all_data_are_waited_for_with_digests, data_go_out, true, false, true)                              \
    /* 4.2.5.2, 13.1: the same with digests */                                                                \
    X(test_immediate_data_alone_with_digests, data_go_out, true, true, true)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = { CASES(CASE_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
