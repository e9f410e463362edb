/*
 * test_abilities.c - units that can more or less than others: thin ones, old ones; and digests
 */
#include "lun_rig.h"

/* ---- UNMAP ---------------------------------------------------------------------------------------------- */

static void test_unmap_goes_out_in_parts_that_the_unit_takes(void **state)
{
    struct fake f = { .lbpme = true, .vpd_b2 = 0x80, .unmap_max = 100 };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_true(ini_lun_info(r.lun)->unmap);
    assert_int_equal(ini_lun_info(r.lun)->unmap_max, 100 * 512);
    memset(f.disk, 0x55, FAKE_BLOCKS * 512);
    assert_int_equal(run(&r, INI_UNMAP, 512 * 10, 512 * 250, 0), 0);
    assert_int_equal(f.unmaps, 3);
    for (size_t i = 0; i < FAKE_BLOCKS * 512; i++)
        assert_int_equal(f.disk[i], i < 512 * 10 || i >= 512 * 260 ? 0x55 : 0);
    assert_int_equal(run(&r, INI_UNMAP, FAKE_BLOCKS * 512, 512, 0), -EINVAL);
    assert_int_equal(run(&r, INI_UNMAP, 0, 100, 0), -EINVAL);
    assert_int_equal(f.unmaps, 3);
    end(&r, &f);
}

static void test_unmap_by_write_same_where_the_unit_has_only_that(void **state)
{
    struct fake f = { .lbpme = true, .vpd_b2 = 0x40 };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_true(ini_lun_info(r.lun)->unmap);
    assert_int_equal(run(&r, INI_UNMAP, 0, 4096, 0), 0);
    assert_int_equal(f.unmaps, 0);
    assert_int_equal(f.sames, 1);
    end(&r, &f);
}

static void test_units_that_are_not_thin_are_not_unmapped(void **state)
{
    (void)state;
    for (unsigned thin = 0; thin < 2; thin++) {
        struct fake f = { .lbpme = thin, .vpd_b2 = thin ? 0x20 : 0x80 };    /* LBPWS10 alone is not used */
        struct rig r;

        start(&r, &f);
        assert_false(ini_lun_info(r.lun)->unmap);
        assert_int_equal(run(&r, INI_UNMAP, 0, 4096, 0), -EOPNOTSUPP);
        assert_int_equal(f.unmaps + f.sames, 0);
        end(&r, &f);
    }
}

static bool refuse_unmap(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_UNMAP)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    return true;
}

static void test_an_unmap_that_is_refused_is_said_so(void **state)
{
    struct fake f = { .lbpme = true, .vpd_b2 = 0x80, .unmap_max = 100, .hook = refuse_unmap };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(run(&r, INI_UNMAP, 0, 512 * 250, 0), -EOPNOTSUPP);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    end(&r, &f);
}

/* ---- zeroes --------------------------------------------------------------------------------------------- */

static atomic_uint with_unmap, without_unmap;

static bool no_unmap_bit(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_WRITE_SAME_16)
        return false;
    if (!(c->pdu.cmd.cdb[1] & 0x08)) {
        without_unmap++;
        return false;
    }
    with_unmap++;
    if (!c->f->arg)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    return true;
}

static void test_zeroes_may_free_space_where_freed_space_reads_as_zeroes(void **state)
{
    static const struct {
        bool lbprz, refuses;
        uint8_t flags;
        unsigned with, without;             /* after two requests */
    } rows[] = {
        { true, false, 0, 2, 0 },
        { true, false, INI_NO_UNMAP, 0, 2 },
        { false, false, 0, 0, 2 },          /* what is freed may read as anything */
        { true, true, 0, 1, 2 },            /* found out once */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fake f = { .lbpme = true, .vpd_b2 = 0xc0, .lbprz = rows[i].lbprz, .hook = no_unmap_bit,
                          .arg = rows[i].refuses ? &f : NULL };
        struct rig r;

        with_unmap = without_unmap = 0;
        start(&r, &f);
        memset(f.disk, 0x55, 8192);
        assert_int_equal(run(&r, INI_ZERO, 0, 4096, rows[i].flags), 0);
        assert_int_equal(run(&r, INI_ZERO, 4096, 4096, rows[i].flags), 0);
        for (unsigned k = 0; k < 8192; k++)
            assert_int_equal(f.disk[k], 0);
        assert_int_equal(with_unmap, rows[i].with);
        assert_int_equal(without_unmap, rows[i].without);
        end(&r, &f);
    }
}

/* Neither form: by writing, and the next time at once. */
static void test_zeroes_are_written_where_nothing_else_is_known(void **state)
{
    struct fake f = { .lbpme = true, .lbprz = true, .vpd_b2 = 0x80, .no_write_same = true };
    struct rig r;

    (void)state;
    start(&r, &f);
    memset(f.disk, 0x55, FAKE_BLOCKS * 512);
    assert_int_equal(run(&r, INI_ZERO, 512, 512 * 3000, INI_FUA), 0);
    for (size_t i = 0; i < FAKE_BLOCKS * 512; i++)
        assert_int_equal(f.disk[i], i < 512 || i >= 512 * 3001 ? 0x55 : 0);
    assert_int_equal(f.writes, 2);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

/* ---- old units ------------------------------------------------------------------------------------------ */

static void test_a_unit_without_read_capacity_16_is_asked_by_10(void **state)
{
    struct fake f = { .no_cap16 = true };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(ini_lun_info(r.lun)->size, FAKE_BLOCKS * 512);
    assert_false(ini_lun_info(r.lun)->unmap);
    assert_int_equal(run(&r, INI_READ, FAKE_BLOCKS * 512 - 512, 512, 0), 0);
    end(&r, &f);
}

/* It says "more than I can say", and has no other way to say it. */
static void test_a_size_that_10_cannot_say_is_refused(void **state)
{
    struct fake f = { .no_cap16 = true, .blocks = 1ull << 33 };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    rig_start(&r);
    assert_int_equal(ini_lun_open(r.s, 0, &r.lun, rig_opened, rig_event, &r), 0);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, -EFBIG);
    assert_null(r.lun);
    end(&r, &f);
}

static void test_mode_sense_10_where_6_is_refused(void **state)
{
    struct fake f = { .no_mode6 = true };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_true(ini_lun_info(r.lun)->write_cache);
    assert_true(ini_lun_info(r.lun)->fua);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);
    assert_int_equal(f.syncs, 0);           /* by the bit in the command */
    end(&r, &f);
}

/* Nobody knows whether it caches: then it is flushed. */
static bool no_mode_at_all(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD ||
        (c->pdu.cmd.cdb[0] != SCSI_MODE_SENSE_6 && c->pdu.cmd.cdb[0] != SCSI_MODE_SENSE_10))
        return false;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    return true;
}

static void test_without_mode_pages_a_cache_is_assumed(void **state)
{
    struct fake f = { .hook = no_mode_at_all };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_true(ini_lun_info(r.lun)->write_cache);
    assert_false(ini_lun_info(r.lun)->fua);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

/* ---- digests -------------------------------------------------------------------------------------------- */

static const char digest_keys[] =
    "HeaderDigest=CRC32C\0DataDigest=CRC32C\0InitialR2T=Yes\0ImmediateData=Yes\0"
    "MaxRecvDataSegmentLength=16384\0MaxBurstLength=1048576\0FirstBurstLength=65536\0"
    "MaxConnections=1\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0ErrorRecoveryLevel=0";

static void digest_script(struct fake_conn *c)
{
    if (!fake_login_first(c) || !fake_login_rest(c, digest_keys, sizeof(digest_keys)))
        return;
    c->digests = true;
    fake_serve(c);
}

static bool spoil_first_read(struct fake_conn *c)
{
    if (c->nr == 0 && is_data(c))
        c->spoil = (unsigned)(uintptr_t)c->f->arg;
    return false;
}

static void digest_start(struct rig *r, struct fake *f)
{
    fake_start(f, digest_script);
    rig_init(r, f->port);
    r->conf.set.noop_interval_s = 0;
    r->conf.set.header_digest = r->conf.set.data_digest = ISCSI_DIGEST_CRC32C;
    rig_start(r);
    rig_open(r);
}

static void test_digests_are_right_on_every_pdu(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    struct ini_sess_info info;

    (void)state;
    digest_start(&r, &f);
    ini_sess_info(r.s, &info);
    assert_int_equal(info.params.header_digest, 1);
    assert_int_equal(info.params.data_digest, 1);
    for (unsigned i = 0; i < 300000; i++)
        bufs[0][i] = (uint8_t)(i * 13 + i / 251);
    assert_int_equal(run(&r, INI_WRITE, 512, 299520, 0), 0);        /* immediate data and R2Ts */
    assert_memory_equal(f.disk + 512, bufs[0], 299520);
    memset(bufs[0], 0, 299520);
    assert_int_equal(run(&r, INI_READ, 512, 299520, 0), 0);
    assert_memory_equal(f.disk + 512, bufs[0], 299520);
    assert_int_equal(f.bad_digests, 0);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
    assert_int_equal(f.logouts, 1);
}

static void test_damage_on_the_way_is_never_read_as_data(void **state)
{
    (void)state;
    for (uintptr_t which = 1; which <= 2; which++) {
        struct fake f = { .hook = spoil_first_read, .arg = (void *)which };
        struct rig r;
        struct ini_sess_info info;

        digest_start(&r, &f);
        memset(f.disk, 0x42, 65536);
        assert_int_equal(run(&r, INI_READ, 0, 65536, 0), 0);
        for (unsigned i = 0; i < 65536; i++)
            assert_int_equal(bufs[0][i], 0x42);
        assert_int_equal(r.downs, 1);
        assert_int_equal(f.conns, 2);
        ini_sess_info(r.s, &info);
        assert_int_equal(info.digest_errors, 1);
        end(&r, &f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unmap_goes_out_in_parts_that_the_unit_takes),
        cmocka_unit_test(test_unmap_by_write_same_where_the_unit_has_only_that),
        cmocka_unit_test(test_units_that_are_not_thin_are_not_unmapped),
        cmocka_unit_test(test_an_unmap_that_is_refused_is_said_so),
        cmocka_unit_test(test_zeroes_may_free_space_where_freed_space_reads_as_zeroes),
        cmocka_unit_test(test_zeroes_are_written_where_nothing_else_is_known),
        cmocka_unit_test(test_a_unit_without_read_capacity_16_is_asked_by_10),
        cmocka_unit_test(test_a_size_that_10_cannot_say_is_refused),
        cmocka_unit_test(test_mode_sense_10_where_6_is_refused),
        cmocka_unit_test(test_without_mode_pages_a_cache_is_assumed),
        cmocka_unit_test(test_digests_are_right_on_every_pdu),
        cmocka_unit_test(test_damage_on_the_way_is_never_read_as_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
