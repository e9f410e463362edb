/*
 * test_tgt_shm.c - full feature phase in shared memory: data where the initiator has them, data that are copied first,
 * and everything of iSCSI that is not data; and how it ends
 */
#include "tgt_bed.h"
#include "tgt_shm.h"

#define MIB (1u << 20)

static uint8_t big[2 * MIB];
static char disk[100];

static int up(void **state)
{
    (void)state;
    bed_loopback = true;
    bed_start(&bed, 2);
    bed_disk(&bed);
    snprintf(disk, sizeof(disk), "%s/disk", bed.dir);
    bed_do(&bed, "lun.create",
           json_pack("{s:s, s:s, s:s, s:i, s:i}", "iqn", T_IQN, "kind", "file", "path", disk, "size",
                     16 * (int)MIB, "lun", 1));
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 131 + (i >> 9));
    return 0;
}

static int down_with_disk(void **state)
{
    unlink(disk);
    return down(state);
}

static struct shm_end *shm(const char *keys)
{
    return shm_ready(&bed, 1, keys);
}

/* It ends as it should: by a logout. */
static void shm_logout(struct shm_end *e)
{
    struct iscsi_pdu pdu = logout_pdu(e->p, 0);

    shm_send(e, &pdu, NULL, 0);
    shm_expect(e, ISCSI_OP_LOGOUT_RESP);
    assert_int_equal(e->p->rsp.logout.response, ISCSI_LOGOUT_OK);
    assert_true(peer_ended(e->p, PEER_MS));
    assert_true(door_ended(e->sock));
    shm_close(e);
    bed_settle(&bed, 0);
}

static void shm_serves(struct shm_end *e)
{
    static const uint8_t tur[16];

    assert_int_equal(shm_exec(e, tur, 0, false, false, 0), SCSI_GOOD);
    assert_int_equal(e->p->rsp.exp_cmd_sn, e->p->cmd_sn);
}

/* ---- what it is ------------------------------------------------------------------------------------------ */

static void test_it_is_listed_and_has_no_digests(void **state)
{
    struct shm_end *e = shm("HeaderDigest=CRC32C\nDataDigest=CRC32C");
    json_t *list = bed_call(&bed, "session.list", NULL), *s = json_array_get(list, 0);

    (void)state;
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_string_value(json_object_get(s, "transport")), "shm");
    assert_string_equal(json_string_value(json_object_get(s, "transport_why")), "on this host");
    assert_string_equal(json_string_value(json_object_get(s, "header_digest")), "None");
    assert_string_equal(json_string_value(json_object_get(s, "data_digest")), "None");
    assert_string_equal(json_string_value(json_object_get(s, "state")), "logged-in");
    json_decref(list);
    shm_logout(e);
}

/* ---- data ------------------------------------------------------------------------------------------------ */

/* At a page's beginning, where the unit works in the arena itself, and elsewhere, where it gets copies; on both kinds of
 * unit. What was written is what TCP reads, and the other way round. */
static void test_data_are_the_same_by_either_way(void **state)
{
    static const uint16_t blocks[] = { 1, 7, 8, 9, 128, 129, 1000, 2048 };
    static const uint64_t offs[] = { 0, 4096 * 3, 512, 1, 4095 };
    static uint8_t back[MIB];
    struct shm_end *e = shm("");
    struct peer_end *p = peer_ready(&bed, 2, "MaxRecvDataSegmentLength=262144");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
        for (unsigned k = 0; k < ARRAY_SIZE(offs); k++) {
            const uint32_t len = blocks[i] * T_BLOCK;
            const uint8_t *data = big + 512 * i + k;

            memcpy(e->arena + offs[k], data, len);
            assert_int_equal(shm_rw10(e, true, i, blocks[i], offs[k]), SCSI_GOOD);
            assert_false(e->p->rsp.resp.overflow || e->p->rsp.resp.underflow);
            assert_int_equal(peer_read10(p, i, blocks[i], back), SCSI_GOOD);
            assert_memory_equal(back, data, len);

            memset(e->arena + 2 * MIB, 0xee, 2 * MIB);
            assert_int_equal(shm_rw10(e, false, i, blocks[i], 2 * MIB + offs[k]), SCSI_GOOD);
            assert_int_equal(e->p->rsp.opcode, ISCSI_OP_DATA_IN);
            assert_int_equal(e->off, 2 * MIB + offs[k]);
            assert_int_equal(e->p->data_len, len);
            assert_memory_equal(e->arena + 2 * MIB + offs[k], data, len);
            assert_int_equal(e->arena[2 * MIB + offs[k] + len], 0xee);
        }
    }
    peer_close(p);
    shm_logout(e);
}

static int lun1_rw10(struct shm_end *e, bool write, uint32_t lba, uint16_t blocks, uint64_t off)
{
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    cdb_rw10(cdb, write, lba, blocks);
    pdu = cmd_pdu(e->p, cdb, blocks * T_BLOCK, !write, write);
    pdu.lun = scsi_lun_encode(1);
    shm_push(e, &pdu, off, blocks * T_BLOCK);
    return shm_status(e, &pdu);
}

static void test_a_file_works_in_the_arena(void **state)
{
    static const uint64_t offs[] = { 0, 4096, 512 };
    struct shm_end *e = shm("");

    (void)state;
    while (lun1_rw10(e, false, 0, 1, 0) == SCSI_CHECK_CONDITION)
        ; /* unit attentions */
    for (unsigned k = 0; k < ARRAY_SIZE(offs); k++) {
        memcpy(e->arena + offs[k], big + k, MIB);
        assert_int_equal(lun1_rw10(e, true, 8 * k + k, 2048, offs[k]), SCSI_GOOD);
        memset(e->arena, 0, 4 * MIB);
        assert_int_equal(lun1_rw10(e, false, 8 * k + k, 2048, offs[k] + 2 * MIB), SCSI_GOOD);
        assert_memory_equal(e->arena + offs[k] + 2 * MIB, big + k, MIB);
    }
    shm_logout(e);
}

/* As over TCP, and what is behind the data stays as it is. */
static void test_residuals_of_reads(void **state)
{
    static const struct {
        uint16_t blocks;
        uint32_t edtl;
        bool o, u;
        uint32_t residual, data;
    } rows[] = {
        { 1, 512, false, false, 0, 512 },          { 1, 0, true, false, 512, 0 },
        { 1, 200, true, false, 312, 200 },         { 2, 512, true, false, 512, 512 },
        { 1, 10000, false, true, 9488, 512 },      { 0, 512, false, true, 512, 0 },
        { 256, 512, true, false, 255 * 512, 512 },
    };
    struct shm_end *e = shm("");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t cdb[16];

        cdb_rw10(cdb, false, 0, rows[i].blocks);
        memset(e->arena, 0xee, 16384);
        assert_int_equal(shm_exec(e, cdb, rows[i].edtl, true, false, 0), SCSI_GOOD);
        assert_int_equal(e->p->rsp.opcode, rows[i].data ? ISCSI_OP_DATA_IN : ISCSI_OP_SCSI_RESP);
        assert_int_equal(e->p->data_len, rows[i].data);
        assert_int_equal(e->p->rsp.resp.overflow, rows[i].o);
        assert_int_equal(e->p->rsp.resp.underflow, rows[i].u);
        assert_int_equal(e->p->rsp.resp.residual, rows[i].residual);
        assert_int_equal(e->arena[rows[i].data], 0xee);
    }
    shm_logout(e);
}

static void test_residuals_of_writes(void **state)
{
    struct shm_end *e = shm("");
    uint8_t cdb[16];

    (void)state;
    memset(e->arena, 0, 4096);
    assert_int_equal(shm_rw10(e, true, 100, 8, 0), SCSI_GOOD);
    memcpy(e->arena, big, 4096);
    cdb_rw10(cdb, true, 100, 4);
    assert_int_equal(shm_exec(e, cdb, 1024, false, true, 0), SCSI_GOOD); /* two of four blocks */
    assert_true(e->p->rsp.resp.overflow);
    assert_int_equal(e->p->rsp.resp.residual, 1024);
    cdb_rw10(cdb, true, 104, 1);
    assert_int_equal(shm_exec(e, cdb, 4096, false, true, 0), SCSI_GOOD); /* one, of more than it takes */
    assert_true(e->p->rsp.resp.underflow);
    assert_int_equal(e->p->rsp.resp.residual, 4096 - 512);
    memset(e->arena, 0xee, 4096);
    assert_int_equal(shm_rw10(e, false, 100, 8, 0), SCSI_GOOD);
    assert_memory_equal(e->arena, big, 1024);
    assert_memory_equal(e->arena + 2048, big, 512);
    for (unsigned i = 1024; i < 2048; i++)
        assert_int_equal(e->arena[i], 0);
    for (unsigned i = 2560; i < 4096; i++)
        assert_int_equal(e->arena[i], 0);
    cdb_rw10(cdb, true, 100, 2);
    assert_int_equal(shm_exec(e, cdb, 700, false, true, 0), SCSI_CHECK_CONDITION); /* half a block */
    shm_logout(e);
}

static void test_compare_and_write(void **state)
{
    struct shm_end *e = shm("");
    uint8_t cdb[16] = { 0x89, [9] = 200, [13] = 2 };

    (void)state;
    memcpy(e->arena, big, 1024);
    assert_int_equal(shm_rw10(e, true, 200, 2, 0), SCSI_GOOD);
    memcpy(e->arena + 1024, big + 4096, 1024);
    assert_int_equal(shm_exec(e, cdb, 2048, false, true, 0), SCSI_GOOD);
    assert_int_equal(shm_rw10(e, false, 200, 2, 8192), SCSI_GOOD);
    assert_memory_equal(e->arena + 8192, big + 4096, 1024);

    assert_int_equal(shm_exec(e, cdb, 2048, false, true, 0),
                     SCSI_CHECK_CONDITION); /* it is not that any more */
    assert_int_equal(e->p->data[2 + 2] & 0xf, SCSI_MISCOMPARE);
    assert_int_equal(e->p->data[2 + 12], 0x1d);
    assert_int_equal(shm_rw10(e, false, 200, 2, 8192), SCSI_GOOD);
    assert_memory_equal(e->arena + 8192, big + 4096, 1024);
    shm_logout(e);
}

static void test_reservations(void **state)
{
    struct shm_end *e = shm("");
    struct peer_end *p = peer_ready(&bed, 2, "");
    uint8_t out[16] = { 0x5f, 0, [8] = 24 }, in[16] = { 0x5e, 0, [8] = 64 };

    (void)state;
    memset(e->arena, 0, 64);
    store_be64(e->arena + 8, 0x1234567890abcdef);
    assert_int_equal(shm_exec(e, out, 24, false, true, 0), SCSI_GOOD);   /* REGISTER */
    assert_int_equal(shm_exec(e, in, 64, true, false, 4096), SCSI_GOOD); /* READ KEYS */
    assert_int_equal(load_be32(e->arena + 4096 + 4), 8);
    assert_true(load_be64(e->arena + 4096 + 8) == 0x1234567890abcdef);
    assert_true(e->p->rsp.resp.underflow);
    memset(e->arena, 0, 64);
    store_be64(e->arena, 0x1234567890abcdef);
    out[1] = 1;
    out[2] = 3; /* RESERVE, Exclusive Access */
    assert_int_equal(shm_exec(e, out, 24, false, true, 0), SCSI_GOOD);
    assert_int_equal(peer_write10(p, 0, 1, big), SCSI_RESERVATION_CONFLICT);
    out[1] = 3; /* CLEAR */
    out[2] = 0;
    assert_int_equal(shm_exec(e, out, 24, false, true, 0), SCSI_GOOD);
    peer_close(p);
    shm_logout(e);
}

/* A command ahead of its CmdSN keeps its place in the arena until its turn comes. */
static void test_commands_out_of_order(void **state)
{
    struct shm_end *e = shm("");
    uint8_t cdb[16];
    struct iscsi_pdu first, second;

    (void)state;
    memcpy(e->arena, big, 4096);
    memcpy(e->arena + 4096, big + 4096, 4096);
    cdb_rw10(cdb, true, 300, 8);
    first = cmd_pdu(e->p, cdb, 4096, false, true);
    second = cmd_pdu(e->p, cdb, 4096, false, true);
    shm_push(e, &second, 4096, 4096);
    shm_push(e, &first, 0, 4096);
    assert_int_equal(shm_status(e, &first), SCSI_GOOD);
    assert_int_equal(shm_status(e, &second), SCSI_GOOD);
    assert_int_equal(shm_rw10(e, false, 300, 8, 8192), SCSI_GOOD);
    assert_memory_equal(e->arena + 8192, big + 4096, 4096);
    shm_logout(e);
}

/* A window full of commands, and more than the ring has slots in all. */
static void test_many_at_once(void **state)
{
    struct shm_end *e = shm("");
    uint8_t cdb[16];

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        uint32_t first = e->p->itt + 1;

        for (unsigned i = 0; i < SESS_WINDOW; i++) {
            const bool write = i % 2;
            struct iscsi_pdu pdu;

            cdb_rw10(cdb, write, i * 8, 8);
            pdu = cmd_pdu(e->p, cdb, 4096, !write, write);
            shm_push(e, &pdu, i * 4096ul, 4096);
        }
        for (unsigned i = 0; i < SESS_WINDOW; i++) {
            assert_true(shm_recv_ms(e, PEER_MS));
            assert_int_equal(e->p->rsp.resp.status, SCSI_GOOD);
            assert_true(e->p->rsp.itt - first < SESS_WINDOW);
        }
    }
    shm_logout(e);
}

/* ---- what is refused ------------------------------------------------------------------------------------- */

static void test_a_place_outside_the_arena_is_rejected(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t len;
    } rows[] = {
        { SHM_ARENA, 512 },  { SHM_ARENA - 511, 512 },
        { UINT64_MAX, 512 }, { UINT64_MAX - 511, 512 },
        { 0, 511 },          { 0, 0 },
        { 1, UINT32_MAX },   { 1ull << 63, 512 },
    };
    struct shm_end *e = shm("");
    uint8_t cdb[16];

    (void)state;
    cdb_rw10(cdb, true, 0, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_pdu pdu = cmd_pdu(e->p, cdb, 512, false, true);

        shm_push(e, &pdu, rows[i].off, rows[i].len);
        shm_expect(e, ISCSI_OP_REJECT);
        assert_int_equal(e->p->rsp.reject.reason, ISCSI_REJECT_PROTOCOL_ERROR);
        e->p->cmd_sn--; /* it counts as not received */
    }
    shm_serves(e);
    shm_logout(e);
}

static void test_data_out_is_rejected(void **state)
{
    struct shm_end *e = shm("");
    struct iscsi_pdu cmd = { .itt = 7 }, pdu = data_out_pdu(&cmd, ISCSI_TAG_RESERVED, 0, 0, 0, true);

    (void)state;
    shm_push(e, &pdu, 0, 0);
    shm_expect(e, ISCSI_OP_REJECT);
    shm_serves(e);
    shm_logout(e);
}

/* ---- control PDUs ---------------------------------------------------------------------------------------- */

static void test_pings_of_any_length(void **state)
{
    static const uint32_t lens[] = { 0, 1, 1023, 1024, 1025, 8192, LOOP_DATA_MAX };
    struct shm_end *e = shm("MaxRecvDataSegmentLength=262144");

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        struct iscsi_pdu ping = nop_pdu(e->p, 0);

        shm_send(e, &ping, big + i, lens[i]);
        shm_expect(e, ISCSI_OP_NOP_IN);
        assert_int_equal(e->p->rsp.itt, ping.itt);
        assert_int_equal(e->p->data_len, lens[i]);
        assert_memory_equal(e->p->data, big + i, lens[i]);
    }
    shm_logout(e);
}

static void test_text(void **state)
{
    struct shm_end *e = shm("");
    struct iscsi_pdu pdu = text_pdu(e->p, ISCSI_TAG_RESERVED, 0, false);

    (void)state;
    pdu.itt = ++e->p->itt;
    shm_send(e, &pdu, "SendTargets=", sizeof("SendTargets="));
    shm_expect(e, ISCSI_OP_TEXT_RESP);
    expect_answer(e->p, "TargetName", T_IQN);
    shm_logout(e);
}

static void test_task_management(void **state)
{
    struct shm_end *e = shm("");
    struct iscsi_pdu pdu = tmf_pdu(e->p, ISCSI_TMF_ABORT_TASK);
    static const uint8_t tur[16];

    (void)state;
    pdu.tmf.ref_task_tag = 0x1234;
    pdu.tmf.ref_cmd_sn = e->p->cmd_sn - 1;
    shm_send(e, &pdu, NULL, 0);
    shm_expect(e, ISCSI_OP_TMF_RESP);
    assert_int_equal(e->p->rsp.tmf.response, ISCSI_TMF_NO_TASK);
    pdu = tmf_pdu(e->p, ISCSI_TMF_LUN_RESET);
    shm_send(e, &pdu, NULL, 0);
    shm_expect(e, ISCSI_OP_TMF_RESP);
    assert_int_equal(e->p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    assert_int_equal(shm_exec(e, tur, 0, false, false, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(e->p->data[2 + 12], 0x29);
    shm_serves(e);
    shm_logout(e);
}

/* A write that waits for the one before it, which never comes, is aborted and its memory back. */
static void test_an_abort_of_a_held_command(void **state)
{
    struct shm_end *e = shm("");
    struct iscsi_pdu held, tmf;
    uint8_t cdb[16];

    (void)state;
    cdb_rw10(cdb, true, 0, 8);
    e->p->cmd_sn++;
    held = cmd_pdu(e->p, cdb, 4096, false, true);
    shm_push(e, &held, 0, 4096);
    tmf = tmf_pdu(e->p, ISCSI_TMF_ABORT_TASK);
    tmf.cmd_sn = held.cmd_sn - 1;
    tmf.tmf.ref_task_tag = held.itt;
    tmf.tmf.ref_cmd_sn = held.cmd_sn;
    shm_send(e, &tmf, NULL, 0);
    shm_expect(e, ISCSI_OP_TMF_RESP);
    assert_int_equal(e->p->rsp.tmf.response, ISCSI_TMF_COMPLETE);
    send_tur(e->p, held.cmd_sn - 1, false); /* goes to TCP, which is not for that any more */
    assert_true(peer_ended(e->p, PEER_MS));
    shm_close(e);
    bed_settle(&bed, 0);
}

static void test_it_is_asked_to_log_out(void **state)
{
    struct shm_end *e = shm("");
    json_t *list = bed_call(&bed, "session.list", NULL);

    (void)state;
    bed_do(&bed, "session.logout", json_pack("{s:O}", "id", json_object_get(json_array_get(list, 0), "id")));
    json_decref(list);
    shm_expect(e, ISCSI_OP_ASYNC);
    assert_int_equal(e->p->rsp.async.event, ISCSI_ASYNC_LOGOUT_REQUEST);
    shm_logout(e);
}

/* Its unit is taken away while a command waits for buffers, all of which are another session's: it is over in the very
 * call that ends it. */
static void test_a_unit_goes_while_a_command_waits(void **state)
{
    struct iscsi_pdu pdu, ping;
    struct peer_end *hog;
    struct shm_end *e;
    uint8_t cdb[16];
    struct bed other;

    (void)state;
    bed_start_with(&other, 1, "{\"login_s\": 600, \"idle_s\": 3600, \"stall_s\": 3600, \"buffer_mib\": 16}");
    bed_disk(&other);
    bed_ram(&other, T_IQN, 1, 16);
    e = shm_ready(&other, 1, "");
    cdb_rw10(cdb, false, 0, 8);
    do { /* unit attentions first */
        pdu = cmd_pdu(e->p, cdb, 4096, true, false);
        pdu.lun = scsi_lun_encode(1);
        shm_push(e, &pdu, 1, 4096);
    } while (shm_status(e, &pdu) != SCSI_GOOD);
    hog = peer_ready(&other, 2, "");
    cdb_rw10(cdb, true, 0, 8192);
    for (unsigned i = 0; i < 6; i++) {
        pdu = cmd_pdu(hog, cdb, 4 * MIB, false, true);
        peer_send(hog, &pdu, NULL);
    }
    ping = nop_pdu(hog, 0);
    peer_send(hog, &ping, NULL);
    do {
        assert_true(peer_recv_ms(hog, PEER_MS));
    } while (hog->rsp.opcode == ISCSI_OP_R2T);
    assert_int_equal(hog->rsp.opcode, ISCSI_OP_NOP_IN);

    cdb_rw10(cdb, false, 0, 8);
    pdu = cmd_pdu(e->p, cdb, 4096, true, false);
    pdu.lun = scsi_lun_encode(1);
    shm_push(e, &pdu, 1, 4096);
    ping = nop_pdu(e->p, 0);
    shm_send(e, &ping, NULL, 0);
    shm_expect(e, ISCSI_OP_NOP_IN);
    bed_do(&other, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
    assert_int_equal(shm_status(e, &pdu), SCSI_TASK_ABORTED);
    while (shm_rw10(e, false, 0, 8, 4096) !=
           SCSI_GOOD) { /* the others are there, and it is told of the change */
    }
    shm_close(e);
    peer_close(hog);
    bed_settle(&other, 0);
    bed_stop(&other);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

/* A window full of reads and writes of a file, direct and copied, is under way as everything of the initiator goes. */
static void test_an_initiator_killed_in_the_middle(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct shm_end *e = shm("");
        uint8_t cdb[16];

        while (lun1_rw10(e, false, 0, 1, 0) == SCSI_CHECK_CONDITION)
            ;
        for (unsigned i = 0; i < SESS_WINDOW; i++) {
            const bool write = i % 3 == 1;
            struct iscsi_pdu pdu;

            cdb_rw10(cdb, write, i * 8, 128);
            pdu = cmd_pdu(e->p, cdb, 65536, !write, write);
            pdu.lun = scsi_lun_encode(1);
            shm_push(e, &pdu, i * 65536ul + (i % 2 ? 512 : 0), 65536);
        }
        if (round % 2)
            usleep(round * 50);
        shm_close(e);
    }
    bed_settle(&bed, 0);
}

static void test_either_socket_is_the_end(void **state)
{
    struct shm_end *e = shm("");

    (void)state;
    shutdown(e->p->fd, SHUT_RDWR);
    assert_true(door_ended(e->sock));
    shm_close(e);
    bed_settle(&bed, 0);
    e = shm("");
    shutdown(e->sock, SHUT_RDWR);
    assert_true(peer_ended(e->p, PEER_MS));
    shm_close(e);
    bed_settle(&bed, 0);
}

/* The same initiator again, before the target knows that the old session is dead. */
static void test_reinstatement(void **state)
{
    struct shm_end *old = shm(""), *e = shm_ready(&bed, 1, "");

    (void)state;
    assert_true(peer_ended(old->p, PEER_MS));
    assert_true(door_ended(old->sock));
    shm_serves(e);
    shm_close(old);
    shm_logout(e);
}

/* Two sessions have nothing of each other's. */
static void test_two_at_once(void **state)
{
    struct shm_end *a = shm(""), *b = shm_ready(&bed, 2, "");

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        memcpy(a->arena, big + i, 4096);
        memcpy(b->arena, big + i + 7, 4096);
        assert_int_equal(shm_rw10(a, true, 1000, 8, 0), SCSI_GOOD);
        assert_int_equal(shm_rw10(b, true, 2000, 8, 0), SCSI_GOOD);
        assert_int_equal(shm_rw10(a, false, 1000, 8, 4096), SCSI_GOOD);
        assert_int_equal(shm_rw10(b, false, 2000, 8, 4096), SCSI_GOOD);
        assert_memory_equal(a->arena + 4096, big + i, 4096);
        assert_memory_equal(b->arena + 4096, big + i + 7, 4096);
    }
    shm_close(a);
    shm_close(b);
    bed_settle(&bed, 0);
}

/* Rings and the one who serves them are left in the middle: nothing is ever taken of what it is sent. */
static void test_a_peer_that_takes_nothing_is_dropped(void **state)
{
    struct bed other;
    struct shm_end *e;
    uint8_t cdb[16];

    (void)state;
    bed_start_with(&other, 1, "{\"login_s\": 600, \"idle_s\": 3600, \"stall_s\": 1}");
    bed_disk(&other);
    e = shm_ready(&other, 1, "");
    for (unsigned i = 0; i < SESS_WINDOW; i++) {
        struct iscsi_pdu pdu;

        cdb_rw10(cdb, false, 0, 8);
        pdu = cmd_pdu(e->p, cdb, 4096, true, false);
        shm_push(e, &pdu, 0, 4096);
    }
    assert_true(peer_ended(e->p, PEER_MS));
    shm_close(e);
    bed_settle(&other, 0);
    bed_stop(&other);
}

/* A ping after silence; the answer keeps the session, its lack ends it. */
static void test_silence(void **state)
{
    struct bed other;
    struct shm_end *e;

    (void)state;
    bed_start_with(&other, 1, "{\"login_s\": 600, \"idle_s\": 1, \"stall_s\": 2}");
    bed_disk(&other);
    e = shm_ready(&other, 1, "");
    for (unsigned i = 0; i < 2; i++) {
        struct iscsi_pdu pong = {
            .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .itt = ISCSI_TAG_RESERVED
        };

        shm_expect(e, ISCSI_OP_NOP_IN);
        pong.ttt = e->p->rsp.ttt;
        pong.lun = e->p->rsp.lun;
        pong.cmd_sn = e->p->cmd_sn;
        shm_send(e, &pong, NULL, 0);
    }
    shm_expect(e, ISCSI_OP_NOP_IN);
    assert_true(peer_ended(e->p, PEER_MS));
    shm_close(e);
    bed_settle(&other, 0);
    bed_stop(&other);
}

struct takers {
    struct shm_end *e[4];
    atomic_bool over;
};

/* Takes whatever comes to each of them. */
static void *take(void *arg)
{
    struct takers *t = arg;

    while (!atomic_load(&t->over)) {
        for (unsigned i = 0; i < ARRAY_SIZE(t->e); i++) {
            while (shm_recv_ms(t->e[i], 0))
                ;
        }
        usleep(1000);
    }
    return NULL;
}

/* With sessions in the middle of their work; the socket's file is gone after it. */
static void test_a_target_that_stops(void **state)
{
    struct takers t = { 0 };
    struct shm_end **e = t.e;
    struct bed other;
    pthread_t thread;
    uint8_t cdb[16];

    (void)state;
    bed_start(&other, 2);
    bed_disk(&other);
    for (unsigned i = 0; i < ARRAY_SIZE(t.e); i++) {
        e[i] = shm_ready(&other, (uint8_t)(i + 1), "");
        for (unsigned k = 0; k < 32; k++) {
            struct iscsi_pdu pdu;

            cdb_rw10(cdb, k % 2, 0, 128);
            pdu = cmd_pdu(e[i]->p, cdb, 65536, k % 2 == 0, k % 2);
            shm_push(e[i], &pdu, k * 65536ul, 65536);
        }
    }
    assert_int_equal(pthread_create(&thread, NULL, take, &t), 0);
    bed_stop(&other);
    atomic_store(&t.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(t.e); i++)
        shm_close(e[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_it_is_listed_and_has_no_digests, fresh),
        cmocka_unit_test_setup(test_data_are_the_same_by_either_way, fresh),
        cmocka_unit_test_setup(test_a_file_works_in_the_arena, fresh),
        cmocka_unit_test_setup(test_residuals_of_reads, fresh),
        cmocka_unit_test_setup(test_residuals_of_writes, fresh),
        cmocka_unit_test_setup(test_compare_and_write, fresh),
        cmocka_unit_test_setup(test_reservations, fresh),
        cmocka_unit_test_setup(test_commands_out_of_order, fresh),
        cmocka_unit_test_setup(test_many_at_once, fresh),
        cmocka_unit_test_setup(test_a_place_outside_the_arena_is_rejected, fresh),
        cmocka_unit_test_setup(test_data_out_is_rejected, fresh),
        cmocka_unit_test_setup(test_pings_of_any_length, fresh),
        cmocka_unit_test_setup(test_text, fresh),
        cmocka_unit_test_setup(test_task_management, fresh),
        cmocka_unit_test_setup(test_an_abort_of_a_held_command, fresh),
        cmocka_unit_test_setup(test_it_is_asked_to_log_out, fresh),
        cmocka_unit_test_setup(test_a_unit_goes_while_a_command_waits, fresh),
        cmocka_unit_test_setup(test_an_initiator_killed_in_the_middle, fresh),
        cmocka_unit_test_setup(test_either_socket_is_the_end, fresh),
        cmocka_unit_test_setup(test_reinstatement, fresh),
        cmocka_unit_test_setup(test_two_at_once, fresh),
        cmocka_unit_test_setup(test_a_peer_that_takes_nothing_is_dropped, fresh),
        cmocka_unit_test_setup(test_silence, fresh),
        cmocka_unit_test_setup(test_a_target_that_stops, fresh),
    };

    return cmocka_run_group_tests(tests, up, down_with_disk);
}
