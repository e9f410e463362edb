/*
 * test_tgt_rpc.c - changes while initiators are there: LUNs come, grow and go, access changes, and what is
 * saved
 */
#include "tgt_peer.h"

static struct bed bed;
static uint8_t data[4096], back[65536];

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    memset(data, 0xa5, sizeof(data));
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

/* The unit attention that a TEST UNIT READY to this LUN reports; 0: none, -1: no such LUN. */
static int attention(struct peer_end *p, uint16_t lun)
{
    static const uint8_t tur[16];
    struct iscsi_pdu pdu = cmd_pdu(p, tur, 0, false, false);

    pdu.lun = scsi_lun_encode(lun);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    if (p->rsp.resp.status == SCSI_GOOD)
        return 0;
    assert_int_equal(p->rsp.resp.status, SCSI_CHECK_CONDITION);
    if ((p->data[2 + 2] & 0xf) == SCSI_ILLEGAL_REQUEST && p->data[2 + 12] == 0x25)
        return -1;
    assert_int_equal(p->data[2 + 2] & 0xf, SCSI_UNIT_ATTENTION);
    return p->data[2 + 12] << 8 | p->data[2 + 13];
}

static void test_a_lun_appears_and_goes_under_a_session(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "");

    (void)state;
    peer_settle(p);
    assert_int_equal(attention(p, 5), -1);
    bed_ram(&bed, T_IQN, 5, 4);
    assert_int_equal(attention(p, 0), 0x3f0e);
    assert_int_equal(attention(p, 0), 0);
    assert_int_equal(attention(p, 5), 0x2900);
    while (attention(p, 5) > 0)
        ;
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 5));
    assert_int_equal(attention(p, 5), -1);
    assert_int_equal(attention(p, 0), 0x3f0e);
    peer_logout(p);
}

/* PERSISTENT RESERVE OUT, REGISTER with APTPL. */
static int register_key(struct peer_end *p, uint16_t lun)
{
    const uint8_t cdb[16] = { 0x5f, [8] = 24 }, list[24] = { [15] = 7, [20] = 1 };
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, sizeof(list), false, true);

    pdu.lun = scsi_lun_encode(lun);
    pdu.data_len = sizeof(list);
    peer_send(p, &pdu, list);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    return p->rsp.resp.status;
}

/* Registrations that outlast a power loss do not outlast the LUN, nor come back with its identity. */
static void test_reservations_go_with_their_lun(void **state)
{
    static const char naa[] = "6000000000000000000000000000abcd";
    struct peer_end *p = peer_logged_in(&bed, 1, "");
    char path[256];

    (void)state;
    snprintf(path, sizeof(path), "%s/%s.pr", bed.dir, naa);
    for (int i = 0; i < 2; i++) {
        bed_do(&bed, "lun.create", json_pack("{s:s, s:s, s:i, s:i, s:s}", "iqn", T_IQN, "kind", "ram", "size",
                                             1 << 20, "lun", 3, "naa", naa));
        while (attention(p, 3) > 0)
            ;
        assert_int_equal(register_key(p, 3), SCSI_GOOD);     /* refused if there were a key already */
        assert_int_equal(access(path, F_OK), 0);
        bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 3));
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(rt_save(path, "rubbish", 7, 0600), 0);   /* as if power had failed before that */
    }
    assert_int_equal(unlink(path), 0);
    peer_logout(p);
}

/* A write waits for its data when the LUN is deleted: the deletion does not wait for the peer. */
static void test_a_lun_goes_though_a_write_hangs(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, ""), *q = peer_logged_in(&bed, 2, "");
    uint8_t cdb[16];
    struct iscsi_pdu pdu;

    (void)state;
    bed_ram(&bed, T_IQN, 6, 4);
    while (attention(p, 6) > 0 || attention(q, 6) > 0)
        ;
    cdb_rw10(cdb, true, 0, 16);
    pdu = cmd_pdu(p, cdb, 8192, false, true);
    pdu.lun = scsi_lun_encode(6);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_R2T);
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 6));
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    assert_int_equal(p->rsp.itt, pdu.itt);
    assert_int_equal(p->rsp.resp.status, SCSI_TASK_ABORTED);
    assert_int_equal(attention(p, 6), -1);
    assert_int_equal(attention(q, 6), -1);
    bed_ram(&bed, T_IQN, 6, 4);             /* the number is free again */
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 6));
    peer_logout(p);
    peer_logout(q);
}

static void test_a_resize_is_told_to_every_session(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, ""), *q = peer_logged_in(&bed, 2, "");
    json_t *list;

    (void)state;
    peer_settle(p);
    peer_settle(q);
    bed_do(&bed, "lun.resize", json_pack("{s:s, s:i, s:i}", "iqn", T_IQN, "lun", 0, "size", 32 << 20));
    assert_int_equal(attention(p, 0), 0x2a09);
    assert_int_equal(attention(q, 0), 0x2a09);
    assert_int_equal(peer_write10(p, (32 << 11) - 8, 8, data), SCSI_GOOD);
    list = bed_call(&bed, "lun.list", json_pack("{s:s}", "iqn", T_IQN));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "size")), 32 << 20);
    json_decref(list);
    bed_refused(&bed, "lun.resize", json_pack("{s:s, s:i, s:i}", "iqn", T_IQN, "lun", 0, "size", 1000),
                "no multiple");
    bed_refused(&bed, "lun.resize", json_pack("{s:s, s:i, s:i}", "iqn", T_IQN, "lun", 9, "size", 512),
                "no LUN 9");
    peer_logout(p);
    peer_logout(q);
}

static void test_access_is_masked_and_withdrawn(void **state)
{
    struct peer_end *p;

    (void)state;
    bed_ram(&bed, T_IQN, 1, 4);
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s, s:[i], s:b}", "iqn", T_IQN, "initiator", I_IQN, "luns", 0,
                                      "readonly", 1));
    p = peer_logged_in(&bed, 1, "");
    peer_settle(p);
    assert_int_equal(attention(p, 1), -1);
    assert_int_equal(peer_read10(p, 0, 8, back), SCSI_GOOD);
    assert_int_equal(peer_write10(p, 0, 8, data), SCSI_CHECK_CONDITION);
    assert_int_equal(p->data[2 + 12], 0x27);
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "*"));
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN));
    while (attention(p, 1) > 0)             /* now under "*" */
        ;
    assert_int_equal(attention(p, 1), 0);
    while (attention(p, 0) > 0)
        ;
    assert_int_equal(peer_write10(p, 0, 8, data), SCSI_GOOD);
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "iqn.2026-01.test:other"));
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "*"));
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", "iqn.2026-01.test:other"));
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

static void test_a_target_in_use_is_not_deleted_unless_forced(void **state)
{
    const char *iqn = "iqn.2026-01.test:other";
    struct peer_end *p;

    (void)state;
    bed_do(&bed, "target.create", json_pack("{s:s}", "iqn", iqn));
    bed_ram(&bed, iqn, 0, 4);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 1, 3, true, "InitiatorName=" I_IQN "\nTargetName=iqn.2026-01.test:other"),
                     0);
    bed_refused(&bed, "target.delete", json_pack("{s:s}", "iqn", iqn), "has 1 session");
    bed_do(&bed, "target.delete", json_pack("{s:s, s:b}", "iqn", iqn, "force", 1));
    assert_true(peer_ended(p, PEER_MS));
    peer_close(p);
    bed_refused(&bed, "target.delete", json_pack("{s:s}", "iqn", iqn), "there is no target");
}

static void test_refused_changes_leave_nothing(void **state)
{
    json_t *before = bed_call(&bed, "target.list", NULL), *after;

    (void)state;
    bed_refused(&bed, "target.create", json_pack("{s:s}", "iqn", T_IQN), "already");
    bed_refused(&bed, "target.create", json_pack("{s:s}", "iqn", "bogus"), "not an iSCSI name");
    bed_refused(&bed, "target.create", json_pack("{s:s, s:i}", "iqn", "iqn.2026-01.test:x", "x", 1),
                "not known");
    bed_refused(&bed, "lun.create", json_pack("{s:s, s:s, s:s}", "iqn", T_IQN, "kind", "file", "path",
                                              "/nowhere/at/all.img"), "/nowhere");
    bed_refused(&bed, "lun.create",
                json_pack("{s:s, s:s, s:i, s:i}", "iqn", T_IQN, "kind", "ram", "size", 1 << 20, "lun", 0),
                "LUN 0 already");
    bed_refused(&bed, "lun.create",
                json_pack("{s:s, s:s, s:i}", "iqn", "iqn.2026-01.test:x", "kind", "ram", "size", 512),
                "no target");
    bed_refused(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN),
                "not in the access");
    bed_refused(
        &bed, "chap.set",
        json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", "u", "secret", "short"),
        "12");
    bed_refused(&bed, "chap.set", json_pack("{s:s, s:s, s:s}", "direction", "in", "user", "u", "secret",
                                            "long enough, this"), "discovery");
    bed_refused(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "in"),
                "nothing to clear");
    after = bed_call(&bed, "target.list", NULL);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static void test_secrets_do_not_come_out(void **state)
{
    json_t *list;
    char *text;

    (void)state;
    bed_do(&bed, "chap.set", json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", "u",
                                       "secret", "do not tell it"));
    list = bed_call(&bed, "chap.list", NULL);
    text = json_dumps(list, 0);
    assert_non_null(strstr(text, "\"u\""));
    assert_null(strstr(text, "do not tell"));
    free(text);
    json_decref(list);
    bed_do(&bed, "chap.clear", json_pack("{s:s, s:s}", "iqn", T_IQN, "direction", "in"));
}

/* What was configured is there after a restart, LUN identities included; the file is the owner's alone. */
static void test_configuration_survives_a_restart(void **state)
{
    json_t *before, *after;
    char path[200];
    struct stat st;

    (void)state;
    snprintf(path, sizeof(path), "%s/disk.img", bed.dir);
    bed_do(&bed, "lun.create",
           json_pack("{s:s, s:s, s:s, s:i}", "iqn", T_IQN, "kind", "file", "path", path, "size", 1 << 20));
    bed_do(&bed, "acl.add", json_pack("{s:s, s:s, s:[i]}", "iqn", T_IQN, "initiator", I_IQN, "luns", 0));
    assert_int_equal(stat(bed.config, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    before = bed_call(&bed, "lun.list", NULL);
    bed_down(&bed, true);
    bed_up(&bed, 1);
    after = bed_call(&bed, "lun.list", NULL);
    assert_int_equal(json_array_size(after), json_array_size(before));
    for (size_t i = 0; i < json_array_size(after); i++) {
        json_t *a = json_array_get(before, i), *b = json_array_get(after, i);

        assert_true(json_equal(json_object_get(a, "naa"), json_object_get(b, "naa")));
        assert_true(json_equal(json_object_get(a, "size"), json_object_get(b, "size")));
        assert_true(json_equal(json_object_get(a, "lun"), json_object_get(b, "lun")));
    }
    json_decref(before);
    json_decref(after);

    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
    bed_do(&bed, "acl.remove", json_pack("{s:s, s:s}", "iqn", T_IQN, "initiator", I_IQN));
    assert_int_equal(unlink(path), 0);
}

/* Restarts, and looks how LUN 1 fares beside LUN 0. */
static void restart_expecting(const char *state1)
{
    json_t *list;

    bed_up(&bed, 1);
    list = bed_call(&bed, "lun.list", NULL);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "state")), "online");
    if (strncmp(json_string_value(json_object_get(json_array_get(list, 1), "state")), state1, strlen(state1)))
        fail_msg("%s", json_string_value(json_object_get(json_array_get(list, 1), "state")));
    json_decref(list);
}

/* A backing file that is missing or cut short costs its LUN alone: it is neither made anew nor forgotten. */
static void test_a_lost_file_takes_its_lun_offline(void **state)
{
    char path[200];
    struct stat st;

    (void)state;
    rt_log_level(0);
    snprintf(path, sizeof(path), "%s/disk.img", bed.dir);
    bed_do(&bed, "lun.create",
           json_pack("{s:s, s:s, s:s, s:i, s:i}", "iqn", T_IQN, "kind", "file", "path", path, "size", 1 << 20,
                     "lun", 1));
    bed_down(&bed, true);
    assert_int_equal(truncate(path, 4096), 0);
    restart_expecting("offline: it has 4096 bytes and had 1048576");
    bed_down(&bed, true);
    assert_int_equal(truncate(path, 1 << 20), 0);
    restart_expecting("online");
    bed_down(&bed, true);
    assert_int_equal(unlink(path), 0);
    restart_expecting("offline: ");
    assert_int_equal(stat(path, &st), -1);
    bed_refused(&bed, "lun.resize", json_pack("{s:s, s:i, s:i}", "iqn", T_IQN, "lun", 1, "size", 1 << 20),
                "offline");
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

static void test_a_configuration_that_is_refused_starts_nothing(void **state)
{
    struct rt_addr at;
    struct tgt *tgt = NULL;
    struct rt_host *host;
    const int cpu = -1;
    const struct rt_conf rc = { .cores = &cpu, .cores_nr = 1 };
    char path[128];
    const struct tgt_conf conf = { .config_path = path, .portals = &at, .portals_nr = 1 };
    FILE *f;

    (void)state;
    rt_log_level(0);
    snprintf(path, sizeof(path), "%s/bad.json", bed.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"version\":1,\"targets\":[{\"iqn\":\"iqn.2026-01.test:a\",\"luns\":[{\"lun\"", f);
    fclose(f);
    assert_int_equal(rt_addr_parse(&at, "127.0.0.1:0", 0), 0);
    assert_int_equal(rt_host_new(&host, &rc), 0);
    assert_int_equal(tgt_new(&tgt, host, &conf), -EINVAL);
    assert_null(tgt);
    assert_int_equal(unlink(path), 0);
    /* A port that is taken. A program that starts would wait for it; who has turned a reactor does not. */
    rt_turn(rt_host_at(host, 0), 0);
    at.in.sin_port = htons(bed.port);
    assert_int_equal(tgt_new(&tgt, host, &conf), -EADDRINUSE);
    rt_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lun_appears_and_goes_under_a_session),
        cmocka_unit_test(test_reservations_go_with_their_lun),
        cmocka_unit_test(test_a_lun_goes_though_a_write_hangs),
        cmocka_unit_test(test_a_resize_is_told_to_every_session),
        cmocka_unit_test(test_access_is_masked_and_withdrawn),
        cmocka_unit_test(test_a_target_in_use_is_not_deleted_unless_forced),
        cmocka_unit_test(test_refused_changes_leave_nothing),
        cmocka_unit_test(test_secrets_do_not_come_out),
        cmocka_unit_test(test_configuration_survives_a_restart),
        cmocka_unit_test(test_a_lost_file_takes_its_lun_offline),
        cmocka_unit_test(test_a_configuration_that_is_refused_starts_nothing),
    };

    return cmocka_run_group_tests(tests, up, down);
}
