/*
 * test_lun_own.c - resets, resizing and the end of a unit, with tasks under way; and units in files
 */
#include <sys/stat.h>

#include "tests/unit/target/lun_test.h"

#define BLOCKS (RAM_LEN / 512)

static void test_reset_aborts_everything_and_tells_everybody(void **state)
{
    uint8_t data[512] = { 1 }, p[16] = { 0, 0, 0, 0, 0x0a, 0x0a, 0x20, 0x10, 0x08, 0x40 };
    struct asked a = { 0 };
    struct cmd *waits[2];
    struct world w;

    world_ram(&w, 2, 2);
    assert_int_equal(status_of(&w, 0, CDB(0x15, 0x10, 0, 0, 16), p, 16, 0), SCSI_GOOD);   /* write protected */
    assert_int_equal(status_of(&w, 0, CDB(0x16), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 0, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        waits[i] = cmd_new(&w, 0, OP16(SCSI_READ_16, 0, i, 1), NULL, 0, 512);
        on_core(&w, waits[i]->t.nexus->rt, cmd_start_here, waits[i]);
    }
    ask(&w, &a, 1, reset_here);
    turn_while(&w, !a.done);
    assert_int_equal(a.err, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(waits[i]->aborted && waits[i]->finished);
        cmd_free(waits[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_true(attentions(&w, i, NULL) >= 1);
        assert_int_equal(status_of(&w, i, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0), SCSI_GOOD);
    }
    world_end(&w);
}

/* Who asked for it knows what became of its tasks; the others are told by status, and all by unit attention. */
static void reset_is_told(bool of_target, unsigned attention)
{
    struct asked a = { .of_target = of_target };
    struct cmd *c[2];
    struct world w;
    unsigned last;

    world_ram(&w, 2, 2);
    for (unsigned i = 0; i < 2; i++) {
        c[i] = cmd_new(&w, i, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
        on_core(&w, c[i]->t.nexus->rt, cmd_start_here, c[i]);
    }
    a.by = &w.itl[0];
    ask(&w, &a, 0, reset_here);
    turn_while(&w, !a.done);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(c[i]->aborted && c[i]->finished);
        assert_int_equal(c[i]->tas, i == 1);
        cmd_free(c[i]);
        assert_int_equal(attentions(&w, i, &last), 1);
        assert_int_equal(last, attention);
    }
    world_end(&w);
}

static void test_who_resets_gets_the_attention_and_no_status(void **state)
{
    reset_is_told(false, 0x2903);
    reset_is_told(true, 0x2902);
}

/* Tasks that a guard holds back, tasks in line for a guard and for the owner: a reset ends them all, and
 * the unit works. */
static void test_reset_with_tasks_held_in_every_way(void **state)
{
    enum { NR = 24 };
    uint8_t list[1024] = { 0 }, data[512] = { 7 }, p[24] = { 0 };
    struct call runs[NR];
    struct cmd *c[NR];
    struct asked a = { 0 };
    struct world w;
    unsigned n = 0;

    world_ram(&w, 2, 2);
    store_be64(&p[8], 1);
    for (unsigned i = 0; i < NR; i++) {
        switch (i % 4) {
        case 0: c[i] = cmd_new(&w, i / 4 & 1, CDB(0x89, [13] = 1), list, 1024, 0); break;
        case 1: c[i] = cmd_new(&w, i / 4 & 1, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0); break;
        case 2: c[i] = cmd_new(&w, i / 4 & 1, CDB(0x5f, 6, 0, [8] = 24), p, 24, 0); break;
        default: c[i] = cmd_new(&w, i / 4 & 1, OP16(SCSI_WRITE_SAME_16, 0, 0, 2000), data, 512, 0); break;
        }
        on_core(&w, c[i]->t.nexus->rt, cmd_start_here, c[i]);
    }
    for (unsigned i = 0; i < NR; i++) {
        runs[i] = (struct call){ .msg.fn = call_run, .fn = cmd_run_here, .arg = c[i] };
        rt_post(c[i]->t.nexus->rt, &runs[i].msg);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_true(rt_turn(rt_host_at(w.host, i), 0) >= 0);
    a.w = &w;
    a.r.fn = asked_done;
    {
        struct call call = { .msg.fn = call_run, .fn = reset_here, .arg = &a };

        rt_post(rt_host_at(w.host, 0), &call.msg);
        while (!a.done) {
            turn_all(&w);
            for (unsigned i = 0; i < NR; i++)
                if (c[i]->done && !c[i]->finished)
                    cmd_finish(&w, c[i]);
            assert_true(++n < 100000);
        }
    }
    for (unsigned i = 0; i < NR; i++) {
        if (!c[i]->finished) {
            turn_while(&w, !c[i]->done);
            cmd_finish(&w, c[i]);
        }
        cmd_free(c[i]);
    }
    attentions(&w, 0, NULL);
    attentions(&w, 1, NULL);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, CDB(0x89, [13] = 1), list, 1024, 0), SCSI_CHECK_CONDITION);
    world_end(&w);
}

static void test_growing_is_seen_on_every_core_after_its_unit_attention(void **state)
{
    uint8_t data[512] = { 3 };
    struct asked a = { .size = 2 * RAM_LEN };
    struct lun_info info;
    struct world w;
    unsigned last;
    struct cmd *c;

    world_ram(&w, 2, 2);
    ask(&w, &a, 0, resize_here);
    turn_while(&w, !a.done);
    assert_int_equal(a.err, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(attentions(&w, i, &last), 1);
        assert_int_equal(last, 0x2a09);
    }
    lun_info(w.lun, &info);
    assert_int_equal(info.blocks, 2 * BLOCKS);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 2 * BLOCKS - 1, 1), data, 512, 0), SCSI_GOOD);
    c = exec(&w, 1, OP16(SCSI_READ_16, 0, 2 * BLOCKS - 1, 1), NULL, 0, 512);
    assert_memory_equal(c->in, data, 512);
    cmd_free(c);
    world_end(&w);
}

/* What was cut off does not come back when the unit grows again. */
static void test_shrinking_and_growing_again_gives_zeroes(void **state)
{
    uint8_t data[512] = { 3 }, zero[512] = { 0 };
    struct asked less = { .size = RAM_LEN / 2 }, more = { .size = RAM_LEN };
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 1);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, BLOCKS - 1, 1), data, 512, 0), SCSI_GOOD);
    c = cmd_new(&w, 0, OP16(SCSI_WRITE_16, 0, BLOCKS - 1, 1), data, 512, 0);
    on_core(&w, c->t.nexus->rt, cmd_start_here, c);
    ask(&w, &less, 1, resize_here);
    turn_while(&w, !less.done);
    assert_int_equal(less.err, 0);
    on_core(&w, c->t.nexus->rt, cmd_run_here, c);   /* its data come when its blocks are gone */
    turn_while(&w, !c->done);
    check_sense(c, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    cmd_finish(&w, c);
    cmd_free(c);
    assert_int_equal(attentions(&w, 0, NULL), 1);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, BLOCKS / 2, 1), NULL, 0, 512, SCSI_ILLEGAL_REQUEST, 0x21, 0);
    ask(&w, &more, 1, resize_here);
    turn_while(&w, !more.done);
    assert_int_equal(more.err, 0);
    attentions(&w, 0, NULL);
    c = exec(&w, 0, OP16(SCSI_READ_16, 0, BLOCKS - 1, 1), NULL, 0, 512);
    assert_memory_equal(c->in, zero, 512);
    cmd_free(c);
    world_end(&w);
}

static void test_a_size_that_cannot_be_is_refused_and_nothing_changes(void **state)
{
    struct asked a = { .size = RAM_LEN + 100 };
    struct lun_info info;
    struct world w;

    world_ram(&w, 2, 1);
    ask(&w, &a, 0, resize_here);
    turn_while(&w, !a.done);
    assert_int_equal(a.err, -EINVAL);
    assert_non_null(strstr(a.r.why, "multiple"));
    lun_info(w.lun, &info);
    assert_int_equal(info.blocks, BLOCKS);
    assert_int_equal(attentions(&w, 0, NULL), 0);
    world_end(&w);
}

static void test_after_quiescing_the_unit_is_not_there(void **state)
{
    struct asked a = { 0 };
    struct world w;
    struct cmd *c;

    world_ram(&w, 2, 2);
    c = cmd_new(&w, 1, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512);
    on_core(&w, c->t.nexus->rt, cmd_start_here, c);
    ask(&w, &a, 0, quiesce_here);
    turn_while(&w, !a.done);
    assert_true(c->aborted && c->finished);
    cmd_free(c);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, 0, 1), NULL, 0, 512, SCSI_ILLEGAL_REQUEST, 0x25, 0);
    for (unsigned i = 0; i < 2; i++)
        on_core(&w, w.nexus[i].rt, detach_here, &w.itl[i]);
    w.nexus_nr = 0;
    lun_free(w.lun);
    w.lun = NULL;
    world_end(&w);
}

/* ---- files ----------------------------------------------------------------------------------------------- */

static void world_file(struct world *w, char path[64], uint64_t size)
{
    struct lun_conf conf = { .be = { .kind = "file", .size = size }, .block_len = 512 };

    world_host(w, 2);
    snprintf(path, 64, "%s/disk", w->dir);
    conf.be.path = path;
    world_open(w, &conf);
    nexus_add(w, false);
    nexus_add(w, false);
    attentions(w, 0, NULL);
    attentions(w, 1, NULL);
}

static void test_a_unit_in_a_file(void **state)
{
    static uint8_t data[64 * 512];
    uint8_t zero[512] = { 0 }, list[24] = { 0, 22, 0, 16 };
    struct world w;
    struct cmd *c;
    char path[64];

    world_file(&w, path, RAM_LEN);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 13 + (i >> 9));
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0x08, 3, 64), data, sizeof(data), 0), SCSI_GOOD);
    c = exec(&w, 1, OP16(SCSI_READ_16, 0x08, 3, 64), NULL, 0, sizeof(data));
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_memory_equal(c->in, data, sizeof(data));
    cmd_free(c);
    c = exec(&w, 1, OP16(SCSI_READ_16, 0, 3, 64), NULL, 0, 30000);   /* ends inside a block */
    assert_int_equal(c->t.in_done, 30000);
    assert_memory_equal(c->in, data, 30000);
    cmd_free(c);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 10, 1000), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_VERIFY_16, 0x06, 10, 1000), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0x01, 20, 900), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_VERIFY_16, 0x06, 20, 900), zero, 512, 0), SCSI_GOOD);
    store_be64(&list[8], 11);
    store_be32(&list[16], 3);
    assert_int_equal(status_of(&w, 0, CDB(0x42, [8] = 24), list, 24, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_VERIFY_16, 0x06, 11, 3), zero, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_VERIFY_16, 0x06, 14, 6), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, CDB(0x35), NULL, 0, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_VERIFY_16, 0x02, 0, 64), data, sizeof(data), 0),
                     SCSI_GOOD);
    /* a power loss could tear it, so it is not offered */
    expect_sense(&w, 0, OP16(SCSI_WRITE_ATOMIC_16, 0, 0, 1), data, 512, 0, SCSI_ILLEGAL_REQUEST, 0x20, 0);
    world_end(&w);
}

static void test_the_write_cache_can_be_switched_off(void **state)
{
    uint8_t p[24] = { 0, 0, 0, 0, 0x08, 18 }, data[512] = { 1 };
    struct world w;
    char path[64];
    struct cmd *c;

    world_file(&w, path, RAM_LEN);
    assert_int_equal(status_of(&w, 0, CDB(0x15, 0x10, 0, 0, 24), p, 24, 0), SCSI_GOOD);
    assert_int_equal(attentions(&w, 1, NULL), 1);
    c = exec(&w, 1, CDB(0x1a, 0x08, 0x08, 0, 255), NULL, 0, 255);
    assert_int_equal(c->in[4 + 2] & 0x04, 0);
    cmd_free(c);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_16, 0, 0, 1), data, 512, 0), SCSI_GOOD);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_WRITE_SAME_16, 0, 0, 100), data, 512, 0), SCSI_GOOD);
    world_end(&w);
}

/* The file is cut behind the unit's back: an error, and no zeroes that nobody wrote. */
static void test_a_file_cut_short_is_a_medium_error(void **state)
{
    struct world w;
    char path[64];

    world_file(&w, path, RAM_LEN);
    assert_int_equal(truncate(path, 4096), 0);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, 100, 1), NULL, 0, 512, SCSI_MEDIUM_ERROR, 0x11, 0);
    expect_sense(&w, 0, OP16(SCSI_READ_16, 0, 7, 2), NULL, 0, 1024, SCSI_MEDIUM_ERROR, 0x11, 0);
    assert_int_equal(status_of(&w, 0, OP16(SCSI_READ_16, 0, 7, 1), NULL, 0, 512), SCSI_GOOD);
    world_end(&w);
}

static void test_a_file_grows_with_its_unit(void **state)
{
    struct asked a = { .size = 2 * RAM_LEN };
    struct world w;
    struct stat st;
    char path[64];

    world_file(&w, path, RAM_LEN);
    ask(&w, &a, 0, resize_here);
    turn_while(&w, !a.done);
    assert_int_equal(a.err, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 2 * RAM_LEN);
    assert_int_equal(attentions(&w, 1, NULL), 1);
    assert_int_equal(status_of(&w, 1, OP16(SCSI_READ_16, 0, 2 * BLOCKS - 1, 1), NULL, 0, 512), SCSI_GOOD);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_aborts_everything_and_tells_everybody),
        cmocka_unit_test(test_who_resets_gets_the_attention_and_no_status),
        cmocka_unit_test(test_reset_with_tasks_held_in_every_way),
        cmocka_unit_test(test_growing_is_seen_on_every_core_after_its_unit_attention),
        cmocka_unit_test(test_shrinking_and_growing_again_gives_zeroes),
        cmocka_unit_test(test_a_size_that_cannot_be_is_refused_and_nothing_changes),
        cmocka_unit_test(test_after_quiescing_the_unit_is_not_there),
        cmocka_unit_test(test_a_unit_in_a_file),
        cmocka_unit_test(test_the_write_cache_can_be_switched_off),
        cmocka_unit_test(test_a_file_cut_short_is_a_medium_error),
        cmocka_unit_test(test_a_file_grows_with_its_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
