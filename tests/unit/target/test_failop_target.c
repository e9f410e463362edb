/*
 * test_failop_target.c - reads, writes, flushes and zeroes on a file while one operation of the target after
 * another fails
 *
 * What an operation on the file failed under is not GOOD; what is read is what was written, or for a write
 * that failed the old or the new, and never anything else. What a socket's operation failed under ends its
 * connection, and a new login serves. After a restart all that was acknowledged with a flush, and here all
 * else too, is there.
 */
#include "fail_bed.h"
#include "../failop.h"

#define BLOCKS 256u
#define LEN_MAX (BLOCKS * T_BLOCK)

/* Each block is filled with one byte: the one it has, or the one that a write which failed may have left. */
struct model {
    uint8_t is[BLOCKS], may[BLOCKS];
};

static struct bed bed;
static struct model model;
static char disk_path[128];
static bool sync_failed;                    /* from then on the unit takes no writes, until it is opened again */

/* ---- the initiator --------------------------------------------------------------------------------------- */

static struct peer_end *login(void)
{
    for (;;) {
        struct peer_end *p = peer_open(&bed);
        struct iscsi_pdu pdu = login_pdu(p, 1, 3, true);
        char text[1024];

        pdu.data_len = keys_text(LOGIN_NAMES "\nInitialR2T=Yes\nImmediateData=Yes\nMaxRecvDataSegmentLength=65536",
                                 text);
        peer_send(p, &pdu, text);
        if (peer_recv_ms(p, ANSWER_MS)) {
            assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGIN_RESP);
            assert_int_equal(p->rsp.login.status, ISCSI_LOGIN_OK);
            return p;
        }
        assert_true(peer_ended(p, ANSWER_MS));
        assert_non_null(failop_hit());
        peer_close(p);
    }
}

/* What is asked for by R2T. */
static void send_data_out(struct peer_end *p, const uint8_t *data)
{
    struct iscsi_pdu out = {
        .opcode = ISCSI_OP_DATA_OUT, .final = true, .itt = p->rsp.itt, .ttt = p->rsp.ttt, .lun = p->rsp.lun,
        .data_len = p->rsp.r2t.length, .data_out = { .offset = p->rsp.r2t.offset },
    };

    peer_send(p, &out, data + out.data_out.offset);
}

/* Return: the SCSI status, data that came in @in; -1: the connection ended. */
static int exchange(struct peer_end *p, struct iscsi_pdu *pdu, const uint8_t *out, uint8_t *in)
{
    peer_send(p, pdu, out);
    for (;;) {
        if (!peer_recv_ms(p, ANSWER_MS)) {
            assert_true(peer_ended(p, ANSWER_MS));
            return -1;
        }
        switch (p->rsp.opcode) {
        case ISCSI_OP_R2T:
            send_data_out(p, out);
            break;
        case ISCSI_OP_DATA_IN:
            assert_true(p->rsp.resp.offset + p->data_len <= LEN_MAX);
            memcpy(in + p->rsp.resp.offset, p->data, p->data_len);
            if (p->rsp.resp.has_status)
                return p->rsp.resp.status;
            break;
        default:
            assert_int_equal(p->rsp.opcode, ISCSI_OP_SCSI_RESP);
            return p->rsp.resp.status;
        }
    }
}

static bool on_file(const char *kind)
{
    return kind && !strncmp(kind, "rt_file_", 8);
}

/* One command, and whether its end may be what it was. Return: it is GOOD. */
static bool command(struct peer_end **p, const uint8_t cdb[static 16], uint32_t len, uint32_t immediate,
                    const uint8_t *out, uint8_t *in)
{
    for (;;) {
        const char *before = failop_hit();
        struct iscsi_pdu pdu = cmd_pdu(*p, cdb, len, in, out);
        int status;

        pdu.data_len = immediate;
        status = exchange(*p, &pdu, out, in);
        if (status == SCSI_CHECK_CONDITION && ((*p)->data[2 + 2] & 0xf) == SCSI_UNIT_ATTENTION)
            continue;                       /* of the login, or of the same by another */
        if (status < 0) {
            assert_non_null(failop_hit());
            peer_close(*p);
            *p = login();
            return false;
        }
        if (!before && on_file(failop_hit())) {
            if (status == SCSI_GOOD)
                fail_msg("GOOD though %s failed", failop_hit());
            sync_failed |= !strcmp(failop_hit(), "rt_file_sync");
        } else if (status != SCSI_GOOD && !sync_failed) {
            fail_msg("status %02x though nothing failed", (unsigned)status);
        }
        return status == SCSI_GOOD;
    }
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

static void expect(uint32_t lba, uint32_t blocks, uint8_t value, bool good)
{
    for (uint32_t i = lba; i < lba + blocks; i++) {
        model.may[i] = value;
        if (good)
            model.is[i] = value;
    }
}

static void write_blocks(struct peer_end **p, uint32_t lba, uint16_t blocks, uint8_t value, bool immediate,
                         bool fua)
{
    static uint8_t data[LEN_MAX];
    uint8_t cdb[16];

    memset(data, value, blocks * T_BLOCK);
    cdb_rw10(cdb, true, lba, blocks);
    cdb[1] |= fua ? 8 : 0;
    expect(lba, blocks, value,
           command(p, cdb, blocks * T_BLOCK, immediate ? blocks * T_BLOCK : 0, data, NULL));
}

static void flush(struct peer_end **p)
{
    const uint8_t cdb[16] = { SCSI_SYNC_CACHE_10 };

    command(p, cdb, 0, 0, NULL, NULL);
}

/* WRITE SAME (16) of zeroes: with UNMAP a hole, else zeroes that stay allocated. */
static void zero(struct peer_end **p, uint32_t lba, uint32_t blocks, bool unmap)
{
    uint8_t cdb[16] = { SCSI_WRITE_SAME_16, unmap ? 8 : 0 }, block[T_BLOCK] = { 0 };

    store_be64(&cdb[2], lba);
    store_be32(&cdb[10], blocks);
    expect(lba, blocks, 0, command(p, cdb, T_BLOCK, T_BLOCK, block, NULL));
}

/* COMPARE AND WRITE of one block that is known. */
static void swap(struct peer_end **p, uint32_t lba, uint8_t value)
{
    uint8_t cdb[16] = { SCSI_COMPARE_AND_WRITE, [13] = 1 }, data[2 * T_BLOCK];

    if (model.is[lba] != model.may[lba])
        return;
    store_be64(&cdb[2], lba);
    memset(data, model.is[lba], T_BLOCK);
    memset(data + T_BLOCK, value, T_BLOCK);
    expect(lba, 1, value, command(p, cdb, sizeof(data), sizeof(data), data, NULL));
}

/* All there is, as the model has it. What is read is what is from then on. */
static void read_all(struct peer_end **p)
{
    static uint8_t data[LEN_MAX];
    uint8_t cdb[16];
    unsigned tries = 0;

    cdb_rw10(cdb, false, 0, BLOCKS);
    do {
        assert_true(tries++ < 2);           /* but one operation fails */
        memset(data, 0xee, sizeof(data));
    } while (!command(p, cdb, LEN_MAX, 0, NULL, data));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const uint8_t *b = data + i * T_BLOCK;

        assert_memory_equal(b, b + 1, T_BLOCK - 1);
        if (*b != model.is[i] && *b != model.may[i])
            fail_msg("block %u has %02x, and was written %02x or %02x", i, *b, model.is[i], model.may[i]);
        model.is[i] = model.may[i] = *b;
    }
}

static void logout(struct peer_end *p)
{
    struct iscsi_pdu pdu = { .opcode = ISCSI_OP_LOGOUT, .immediate = true, .final = true, .itt = ++p->itt,
                             .cmd_sn = p->cmd_sn };

    peer_send(p, &pdu, NULL);
    if (peer_recv_ms(p, ANSWER_MS))
        assert_int_equal(p->rsp.opcode, ISCSI_OP_LOGOUT_RESP);
    else
        assert_non_null(failop_hit());
    assert_true(peer_ended(p, ANSWER_MS));
    peer_close(p);
}

static void steps(uint8_t seed)
{
    struct peer_end *p = login();

    read_all(&p);
    write_blocks(&p, 0, 8, seed, true, false);
    write_blocks(&p, 4, 200, (uint8_t)(seed + 1), false, false);
    write_blocks(&p, 2, 4, (uint8_t)(seed + 2), true, true);
    flush(&p);
    read_all(&p);
    zero(&p, 16, 16, true);
    zero(&p, 40, 16, false);
    swap(&p, 48, (uint8_t)(seed + 3));
    flush(&p);
    read_all(&p);
    logout(p);
}

/* ---- the scenario ---------------------------------------------------------------------------------------- */

static void target_once(void *arg)
{
    static uint8_t seed;

    (void)arg;
    sync_failed = false;
    fail_bed_up(&bed, 2);
    failop_begin(FAILOP_OTHERS);
    steps(seed += 8);
    failop_end();
    steps(seed += 8);                       /* works again, but for a unit whose flush failed */
    bed_settle(&bed, 0);
    bed_down(&bed, true);
}

static int up(void **state)
{
    char conf[512];

    (void)state;
    failop_up();
    rt_log_level(0);
    fail_bed_dir(&bed);
    snprintf(disk_path, sizeof(disk_path), "%s/disk.img", bed.dir);
    snprintf(conf, sizeof(conf),
             "{\"version\": 1, \"limits\": {\"buffer_mib\": 16}, \"targets\": [{\"iqn\": \"" T_IQN "\", \"luns\":"
             " [{\"lun\": 0, \"kind\": \"file\", \"path\": \"%s\", \"size\": %u}]}]}", disk_path, LEN_MAX);
    return rt_save(bed.config, conf, strlen(conf), 0600);
}

static int down(void **state)
{
    (void)state;
    return fail_bed_clear(&bed);
}

static void test_each_operation_of_the_target_fails(void **state)
{
    (void)state;
    failop_each("target", 300, target_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_operation_of_the_target_fails, failop_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
