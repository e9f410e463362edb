/*
 * test_lun.c - logical units: identity, gates, sizes, and what becomes of each answer a target can give
 */
#include "lun_rig.h"

/* ---- what it is ----------------------------------------------------------------------------------------- */

static void test_a_unit_is_looked_over(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    const struct ini_lun_info *i;

    (void)state;
    start(&r, &f);
    i = ini_lun_info(r.lun);
    assert_int_equal(i->size, FAKE_BLOCKS * 512);
    assert_int_equal(i->block_len, 512);
    assert_string_equal(i->wwid, "35001405aabbccdd1");
    assert_string_equal(i->vendor, "CORELANE");
    assert_true(i->write_cache);
    assert_false(i->fua);
    assert_false(i->readonly);
    assert_false(i->unmap);
    end(&r, &f);
}

static void test_bytes_go_and_come_back(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    start(&r, &f);
    memset(bufs[0], 0x11, 8192);
    assert_int_equal(run(&r, INI_WRITE, 4096, 8192, 0), 0);
    memset(bufs[0], 0, 8192);
    assert_int_equal(run(&r, INI_READ, 4096, 8192, 0), 0);
    for (unsigned i = 0; i < 8192; i++)
        assert_int_equal(bufs[0][i], 0x11);
    assert_int_equal(run(&r, INI_READ, 0, 3 << 19, 0), 0);  /* larger than one command may be */
    assert_int_equal(f.reads, 3);
    assert_int_equal(f.syncs, 0);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);   /* no DPOFUA: by a flush */
    assert_int_equal(f.syncs, 1);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.syncs, 2);
    end(&r, &f);
}

static void test_requests_that_cannot_be_are_refused(void **state)
{
    static const struct {
        enum ini_io_op op;
        uint64_t off, len;
        int res;
    } rows[] = {
        { INI_READ, 0, 0, -EINVAL },
        { INI_READ, 1, 512, -EINVAL },
        { INI_READ, 0, 511, -EINVAL },
        { INI_WRITE, FAKE_BLOCKS * 512, 512, -EINVAL },
        { INI_WRITE, FAKE_BLOCKS * 512 - 512, 1024, -EINVAL },
        { INI_WRITE, UINT64_MAX - 511, 512, -EINVAL },
        { INI_READ, 512, UINT64_MAX - 511, -EINVAL },
        { INI_FLUSH, 0, 512, -EINVAL },
        { INI_UNMAP, 0, 512, -EOPNOTSUPP },
        { 77, 0, 512, -EINVAL },
        { INI_READ, FAKE_BLOCKS * 512 - 512, 512, 0 },
    };
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    start(&r, &f);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(run(&r, rows[i].op, rows[i].off, rows[i].len, 0), rows[i].res);
    assert_int_equal(f.reads, 1);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

/* 0x20: it has no such command. 0x24: it has it, and something is wrong: that must not pass for "no cache". */
static bool no_flush_command(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_SYNC_CACHE_10)
        return false;
    c->f->syncs++;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    return true;
}

static bool flush_not_liked(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_SYNC_CACHE_10)
        return false;
    c->f->syncs++;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x24, 0);
    return true;
}

static void test_a_target_without_the_flush_command_is_asked_once(void **state)
{
    struct fake f = { .hook = no_flush_command };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

static void test_a_refused_flush_is_an_error_every_time(void **state)
{
    struct fake f = { .hook = flush_not_liked };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), -EOPNOTSUPP);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), -EOPNOTSUPP);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), -EOPNOTSUPP);
    assert_int_equal(f.syncs, 3);
    end(&r, &f);
}

static bool nothing_there(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_ILLEGAL_REQUEST, 0x25, 0);
    return true;
}

/* As a target that loses its power, and what it had not written, when the first flush comes. */
static bool break_at_the_flush(struct fake_conn *c)
{
    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD || c->pdu.cmd.cdb[0] != SCSI_SYNC_CACHE_10)
        return false;
    memset(c->f->disk, 0, 512);
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_a_flush_after_a_new_login_does_not_vouch_for_what_was_before(void **state)
{
    struct fake f = { .hook = break_at_the_flush };
    struct rig r;

    (void)state;
    start(&r, &f);
    memset(bufs[0], 0x11, 512);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);
    assert_int_equal(f.writes, 2);          /* the same once more */
    assert_int_equal(f.disk[0], 0x11);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.writes, 2);
    end(&r, &f);
}

/* It had no FUA when the write was made; it has when that is answered, after a new login. */
static bool break_and_learn_fua(struct fake_conn *c)
{
    if (c->nr || !is_data(c))
        return false;
    c->f->no_mode6 = true;                  /* its MODE SENSE (10) says so */
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_a_write_that_went_out_without_fua_is_flushed(void **state)
{
    struct fake f = { .hook = break_and_learn_fua };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_false(ini_lun_info(r.lun)->fua);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);
    assert_true(ini_lun_info(r.lun)->fua);
    assert_int_equal(f.syncs, 1);
    assert_int_equal(f.writes, 1);          /* answered and flushed on one and the same session */
    assert_int_equal(run(&r, INI_WRITE, 0, 512, INI_FUA), 0);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

/* Another initiator turns the cache off: what it still holds may be on its way to the medium. */
static bool cache_goes_off(struct fake_conn *c)
{
    uint8_t page[24] = { 23, 0, 0, 0, 0x08, 18 };

    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    if (c->pdu.cmd.cdb[0] == SCSI_MODE_SENSE_6 && c->f->arg) {
        fake_data(c, page, sizeof(page));
        return true;
    }
    if (!is_data(c) || c->f->arg)
        return false;
    c->f->arg = c->f;
    fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x2a, 0x01);
    return true;
}

static void test_a_cache_that_was_turned_off_is_flushed_all_the_same(void **state)
{
    struct fake f = { .hook = cache_goes_off };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);
    assert_false(ini_lun_info(r.lun)->write_cache);
    assert_int_equal(run(&r, INI_FLUSH, 0, 0, 0), 0);
    assert_int_equal(f.syncs, 1);
    end(&r, &f);
}

static void test_no_unit_is_said_so(void **state)
{
    struct fake f = { .hook = nothing_there };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    rig_start(&r);
    assert_int_equal(ini_lun_open(r.s, 5, &r.lun, rig_opened, rig_event, &r), 0);
    assert_int_equal(ini_lun_open(r.s, 5, &r.lun, rig_opened, rig_event, &r), -EEXIST);
    assert_int_equal(ini_lun_open(r.s, SCSI_LUN_MAX + 1, &r.lun, rig_opened, rig_event, &r), -EINVAL);
    rig_until(&r, r.opened);
    assert_int_equal(r.err, -ENODEV);
    assert_null(r.lun);
    assert_non_null(strstr(r.why, "lun 5"));
    end(&r, &f);
}

/* ---- gates ---------------------------------------------------------------------------------------------- */

static bool break_once_and_swap(struct fake_conn *c)
{
    if (c->nr || !is_data(c))
        return false;
    if (c->f->arg)
        strcpy(c->f->naa, "5001405ffffffff2");
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_not_one_byte_goes_to_another_unit(void **state)
{
    struct fake f = { .hook = break_once_and_swap, .arg = &f };
    struct rig r;

    (void)state;
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 512 * i, 512, 0);
    rig_until(&r, r.events[INI_LUN_CHANGED]);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, -ENODEV);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENODEV);
    assert_int_equal(run(&r, INI_READ, 0, 512, 0), -ENODEV);
    assert_int_equal(f.writes + f.reads, 0);
    assert_int_equal(r.ups, 2);             /* the session itself lives */
    end(&r, &f);
}

static void test_the_same_unit_goes_on(void **state)
{
    struct fake f = { .hook = break_once_and_swap };
    struct rig r;

    (void)state;
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 512 * i, 512, 0);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, 0);
    assert_int_equal(f.writes, N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(f.lba[i], i);
    assert_int_equal(r.events[INI_LUN_PAUSED], 1);
    assert_int_equal(r.events[INI_LUN_RESUMED], 1);
    end(&r, &f);
}

static void test_without_page_83_the_serial_number_tells(void **state)
{
    struct fake f = { .hook = break_once_and_swap, .arg = &f, .no_vpd83 = true };
    struct rig r;

    (void)state;
    start(&r, &f);
    assert_non_null(strstr(ini_lun_info(r.lun)->wwid, "5001405aabbccdd1"));
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENODEV);
    assert_int_equal(r.events[INI_LUN_CHANGED], 1);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

/* A unit attention that may mean another disk: looked at before the next write goes out. */
static atomic_uint attention;

static bool swap_and_tell(struct fake_conn *c)
{
    if (!is_data(c) || attention++)
        return false;
    strcpy(c->f->naa, "5001405ffffffff2");
    fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x3f, 0x03);
    return true;
}

static void test_an_attention_that_may_mean_another_unit_shuts_the_gate(void **state)
{
    struct fake f = { .hook = swap_and_tell };
    struct rig r;

    (void)state;
    attention = 0;
    start(&r, &f);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), -ENODEV);
    assert_int_equal(r.events[INI_LUN_CHANGED], 1);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

static bool grow_and_tell(struct fake_conn *c)
{
    if (!is_data(c) || attention++)
        return false;
    c->f->blocks = FAKE_BLOCKS * 2;
    fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x2a, 0x09);
    return true;
}

static void test_a_new_size_is_seen(void **state)
{
    struct fake f = { .hook = grow_and_tell };
    struct rig r;

    (void)state;
    attention = 0;
    start(&r, &f);
    assert_int_equal(run(&r, INI_WRITE, 0, 512, 0), 0);     /* the attention is no error */
    assert_int_equal(r.events[INI_LUN_RESIZED], 1);
    assert_int_equal(ini_lun_info(r.lun)->size, FAKE_BLOCKS * 1024);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

/* ---- answers -------------------------------------------------------------------------------------------- */

struct answer {
    uint8_t status, key, asc, ascq;
    unsigned times;                         /* then it is served; 0: always */
    int res;
};

static bool give(struct fake_conn *c)
{
    const struct answer *a = c->f->arg;

    if (!is_data(c) || (a->times && attention >= a->times))
        return false;
    attention++;
    if (a->status == SCSI_CHECK_CONDITION)
        fake_sense(c, c->pdu.itt, a->key, a->asc, a->ascq);
    else
        fake_status(c, c->pdu.itt, a->status);
    return true;
}

static void test_each_answer_has_its_meaning(void **state)
{
    static const struct answer rows[] = {
        { SCSI_BUSY, 0, 0, 0, 3, 0 },
        { SCSI_TASK_SET_FULL, 0, 0, 0, 3, 0 },
        { SCSI_TASK_ABORTED, 0, 0, 0, 2, 0 },
        { SCSI_TASK_ABORTED, 0, 0, 0, 0, -EIO },
        { SCSI_RESERVATION_CONFLICT, 0, 0, 0, 0, -EBADE },
        { 0x3e, 0, 0, 0, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_UNIT_ATTENTION, 0x29, 0x00, 2, 0 },
        { SCSI_CHECK_CONDITION, SCSI_UNIT_ATTENTION, 0x3f, 0x0e, 1, 0 },
        { SCSI_CHECK_CONDITION, SCSI_UNIT_ATTENTION, 0x28, 0x00, 3, 0 },
        { SCSI_CHECK_CONDITION, SCSI_UNIT_ATTENTION, 0x28, 0x00, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_NOT_READY, 0x04, 0x01, 3, 0 },
        { SCSI_CHECK_CONDITION, SCSI_NOT_READY, 0x04, 0x0a, 2, 0 },
        { SCSI_CHECK_CONDITION, SCSI_NOT_READY, 0x3a, 0x00, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_MEDIUM_ERROR, 0x11, 0x00, 0, -ENODATA },
        { SCSI_CHECK_CONDITION, SCSI_HARDWARE_ERROR, 0x44, 0x00, 0, -EREMOTEIO },
        { SCSI_CHECK_CONDITION, SCSI_DATA_PROTECT, 0x27, 0x00, 0, -EROFS },
        { SCSI_CHECK_CONDITION, SCSI_DATA_PROTECT, 0x27, 0x07, 0, -ENOSPC },
        { SCSI_CHECK_CONDITION, SCSI_NO_SENSE, 0x00, 0x00, 2, 0 },
        { SCSI_CHECK_CONDITION, SCSI_NO_SENSE, 0x00, 0x00, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_ABORTED_COMMAND, 0x47, 0x05, 3, 0 },
        { SCSI_CHECK_CONDITION, SCSI_ABORTED_COMMAND, 0x47, 0x05, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_ILLEGAL_REQUEST, 0x21, 0x00, 0, -EIO },
        { SCSI_CHECK_CONDITION, SCSI_ILLEGAL_REQUEST, 0x25, 0x00, 0, -ENODEV },
        { SCSI_CHECK_CONDITION, 0xf, 0x01, 0x02, 0, -EIO },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fake f = { .hook = give, .arg = (void *)(uintptr_t)&rows[i] };
        struct rig r;
        int res;

        attention = 0;
        start(&r, &f);
        memset(bufs[0], 0x77, 4096);
        res = run(&r, INI_WRITE, 0, 4096, 0);
        if (res != rows[i].res)
            print_message("row %zu: %d\n", i, res);
        assert_int_equal(res, rows[i].res);
        assert_int_equal(f.writes, rows[i].res ? 0 : 1);
        end(&r, &f);
    }
}

static bool half(struct fake_conn *c)
{
    if (!is_data(c) || attention++ >= 2)
        return false;
    fake_data(c, c->f->disk, 2048);         /* with a residual, as is right */
    return true;
}

static void test_short_answers_are_never_success(void **state)
{
    struct fake f = { .hook = half };
    struct rig r;

    (void)state;
    attention = 0;
    start(&r, &f);
    memset(f.disk, 0x42, 4096);
    assert_int_equal(run(&r, INI_READ, 0, 4096, 0), 0);
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(bufs[0][i], 0x42);
    assert_int_equal(attention, 3);
    end(&r, &f);
}

static bool one_at_a_time(struct fake_conn *c)
{
    if (!is_data(c) || attention++ % 3 != 2) {
        if (!is_data(c))
            return false;
        fake_status(c, c->pdu.itt, SCSI_TASK_SET_FULL);
        return true;
    }
    return false;
}

static void test_a_full_task_set_is_waited_for_by_all(void **state)
{
    struct fake f = { .hook = one_at_a_time };
    struct rig r;

    (void)state;
    attention = 0;
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 4096 * i, 4096, 0);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, 0);
    assert_int_equal(f.writes, N);
    end(&r, &f);
}

static void test_zeroes_by_what_the_target_has(void **state)
{
    (void)state;
    for (unsigned without = 0; without < 2; without++) {
        struct fake f = { .no_write_same = without };
        struct rig r;

        start(&r, &f);
        memset(f.disk, 0x55, FAKE_BLOCKS * 512);
        assert_int_equal(run(&r, INI_ZERO, 4096, (3 << 19) + 512, 0), 0);
        for (size_t i = 0; i < FAKE_BLOCKS * 512; i++)
            assert_int_equal(f.disk[i], i < 4096 || i >= 4096 + (3 << 19) + 512 ? 0x55 : 0);
        assert_int_equal(f.sames > 0, !without);
        assert_int_equal(f.writes, without ? 1 + 1 : 0);
        end(&r, &f);
    }
}

/* One iovec per odd number of bytes: pieces begin in the middle of one. */
static void test_pieces_of_odd_memory(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    struct iovec iov[40];
    const uint32_t len = FAKE_BLOCKS * 512;
    unsigned n = 0;

    (void)state;
    start(&r, &f);
    for (uint32_t i = 0; i < len; i++)
        bufs[1][i] = (uint8_t)(i * 7 + i / 512);
    for (uint32_t at = 0; at < len;) {
        uint32_t part = n % 2 ? 131072 - 333 : 777;

        if (part > len - at || n == 39)
            part = len - at;
        iov[n++] = (struct iovec){ bufs[1] + at, part };
        at += part;
    }
    memset(&reqs[0], 0, sizeof(reqs[0]));
    reqs[0].io = (struct ini_io){ .op = INI_WRITE, .len = len, .iov = iov, .iov_nr = n, .done = req_done };
    ini_io_submit(r.lun, &reqs[0].io);
    rig_until(&r, reqs[0].ended);
    assert_int_equal(reqs[0].res, 0);
    assert_memory_equal(f.disk, bufs[1], len);
    end(&r, &f);
}

/* ---- neighbours ----------------------------------------------------------------------------------------- */

static void test_closing_one_unit_does_not_disturb_another(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    struct ini_lun *first, *second;

    (void)state;
    start(&r, &f);
    first = r.lun;
    r.opened = false;
    assert_int_equal(ini_lun_open(r.s, 1, &r.lun, rig_opened, NULL, &r), 0);
    rig_until(&r, r.opened);
    second = r.lun;
    r.lun = first;
    for (unsigned i = 0; i < N; i++)
        submit(&r, i, INI_WRITE, 4096 * i, 4096, 0);
    ini_lun_close(second);
    for (unsigned i = 0; i < N; i++)
        rig_until(&r, reqs[i].ended);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(reqs[i].res, 0);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_unit_is_looked_over),
        cmocka_unit_test(test_bytes_go_and_come_back),
        cmocka_unit_test(test_requests_that_cannot_be_are_refused),
        cmocka_unit_test(test_a_target_without_the_flush_command_is_asked_once),
        cmocka_unit_test(test_a_refused_flush_is_an_error_every_time),
        cmocka_unit_test(test_a_flush_after_a_new_login_does_not_vouch_for_what_was_before),
        cmocka_unit_test(test_a_write_that_went_out_without_fua_is_flushed),
        cmocka_unit_test(test_a_cache_that_was_turned_off_is_flushed_all_the_same),
        cmocka_unit_test(test_no_unit_is_said_so),
        cmocka_unit_test(test_not_one_byte_goes_to_another_unit),
        cmocka_unit_test(test_the_same_unit_goes_on),
        cmocka_unit_test(test_without_page_83_the_serial_number_tells),
        cmocka_unit_test(test_an_attention_that_may_mean_another_unit_shuts_the_gate),
        cmocka_unit_test(test_a_new_size_is_seen),
        cmocka_unit_test(test_each_answer_has_its_meaning),
        cmocka_unit_test(test_short_answers_are_never_success),
        cmocka_unit_test(test_a_full_task_set_is_waited_for_by_all),
        cmocka_unit_test(test_zeroes_by_what_the_target_has),
        cmocka_unit_test(test_pieces_of_odd_memory),
        cmocka_unit_test(test_closing_one_unit_does_not_disturb_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
