/* test_disk.c - the simulated disk: what survives what, locks, faults, names */
#include "sim_test.h"

#define PATH "/srv/disk"

struct rig {
    struct sim *w;
    struct sim_machine *m;
    struct sim_prog *p;
    struct rt_host *host;
    struct rt *rt;
    struct rt_file *f;
    struct noted n[2];
    struct iovec iov[2];
    uint8_t buf[65536], back[65536];
};

static void rig_enter(struct rig *r)
{
    r->rt = solo(r->m, &r->p, &r->host);
    r->f = NULL;
    memset(r->n, 0, sizeof(r->n));          /* what a killed program had outstanding never ends */
}

static void rig_start(struct rig *r, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->w = sim_new(seed);
    if (getenv("SIM_LOG"))
        sim_log_to(r->w, line_print, NULL, RT_DEBUG);
    r->m = sim_machine_new(r->w, "m", 2);
    sim_fs_make(r->m, PATH, 1 << 20);
    rig_enter(r);
}

static void rig_open(struct rig *r, unsigned flags)
{
    assert_int_equal(rt_file_open(PATH, flags, &r->f), 0);
}

static void write_start(struct rig *r, uint8_t fill, size_t len, uint64_t off)
{
    memset(r->buf, fill, len);
    r->iov[0] = (struct iovec){ r->buf, len };
    rt_file_write(r->rt, r->f, noted_op(&r->n[0]), r->iov, 1, off);
}

static int write_at(struct rig *r, uint8_t fill, size_t len, uint64_t off)
{
    write_start(r, fill, len, off);
    return turn_for(r->rt, &r->n[0]);
}

static int sync_file(struct rig *r)
{
    rt_file_sync(r->rt, r->f, noted_op(&r->n[1]));
    return turn_for(r->rt, &r->n[1]);
}

static int read_at(struct rig *r, size_t len, uint64_t off)
{
    memset(r->back, 0xee, sizeof(r->back));
    r->iov[1] = (struct iovec){ r->back, len };
    rt_file_read(r->rt, r->f, noted_op(&r->n[1]), &r->iov[1], 1, off);
    return turn_for(r->rt, &r->n[1]);
}

static bool all(const uint8_t *mem, size_t len, uint8_t fill)
{
    for (size_t i = 0; i < len; i++)
        if (mem[i] != fill)
            return false;
    return true;
}

static void rig_end(struct rig *r)
{
    if (r->f)
        rt_file_close(r->f);
    rt_host_free(r->host);
    sim_leave(r->w);
    sim_free(r->w);
}

static void test_what_was_written_is_read_short_at_the_end(void **state)
{
    struct rig r;
    struct rt_file_info info;

    (void)state;
    rig_start(&r, 1);
    rig_open(&r, RT_FILE_WRITE);
    assert_int_equal(read_at(&r, 4096, 0), 4096);
    assert_true(all(r.back, 4096, 0));
    assert_int_equal(write_at(&r, 0x11, 10000, 777), 10000);
    assert_int_equal(read_at(&r, 12000, 0), 12000);
    assert_true(all(r.back, 777, 0) && all(r.back + 777, 10000, 0x11) && all(r.back + 10777, 1223, 0));
    assert_int_equal(read_at(&r, 8192, (1 << 20) - 100), 100);
    assert_int_equal(read_at(&r, 8192, 1 << 20), 0);
    assert_int_equal(write_at(&r, 0x22, 200, (1 << 20) - 100), 200);
    assert_int_equal(rt_file_stat(r.f, &info), 0);
    assert_int_equal(info.size, (1 << 20) + 100);
    assert_true(info.regular && !info.block_dev && info.discard);
    assert_int_equal(rt_file_set_size(r.f, 1000), 0);
    assert_int_equal(rt_file_set_size(r.f, 2000), 0);
    assert_int_equal(read_at(&r, 2000, 0), 2000);
    assert_true(all(r.back + 777, 223, 0x11) && all(r.back + 1000, 1000, 0));
    rig_end(&r);
}

static void test_punched_and_zeroed_ranges_read_as_zeroes(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 2);
    rig_open(&r, RT_FILE_WRITE);
    assert_int_equal(write_at(&r, 0x33, 16384, 0), 16384);
    rt_file_falloc(r.rt, r.f, noted_op(&r.n[0]), RT_FALLOC_PUNCH, 512, 8192);
    assert_int_equal(turn_for(r.rt, &r.n[0]), 0);
    rt_file_falloc(r.rt, r.f, noted_op(&r.n[0]), RT_FALLOC_ZERO, 12000, 1 << 20);
    assert_int_equal(turn_for(r.rt, &r.n[0]), 0);
    assert_int_equal(read_at(&r, 16384, 0), 16384);
    assert_true(all(r.back, 512, 0x33) && all(r.back + 512, 8192, 0));
    assert_true(all(r.back + 8704, 12000 - 8704, 0x33) && all(r.back + 12000, 16384 - 12000, 0));
    rig_end(&r);
}

static void test_refusals(void **state)
{
    struct rig r;
    struct rt_file *f;

    (void)state;
    rig_start(&r, 3);
    assert_int_equal(rt_file_open("/srv", RT_FILE_WRITE, &f), -EINVAL);
    assert_int_equal(rt_file_open("/nowhere", 0, &f), -ENOENT);
    assert_int_equal(rt_file_open(PATH "/x", RT_FILE_CREATE, &f), -ENOTDIR);
    assert_int_equal(rt_file_open("/new/x", RT_FILE_CREATE, &f), -ENOENT);
    rig_open(&r, RT_FILE_DIRECT);
    assert_int_equal(write_at(&r, 1, 512, 0), -EBADF);
    assert_int_equal(read_at(&r, 100, 0), -EINVAL);
    assert_int_equal(rt_file_set_size(r.f, 1), -EINVAL);
    rig_end(&r);
}

static void test_block_device_has_its_size_and_no_more(void **state)
{
    struct rig r;
    struct rt_file_info info;

    (void)state;
    rig_start(&r, 4);
    sim_fs_make_block(r.m, "/dev/sda", 8192, 4096);
    assert_int_equal(rt_file_open("/dev/sda", RT_FILE_WRITE | RT_FILE_EXCL, &r.f), 0);
    assert_int_equal(rt_file_stat(r.f, &info), 0);
    assert_true(info.block_dev && !info.regular && info.block_len == 4096 && info.size == 8192);
    assert_int_equal(write_at(&r, 1, 8192, 4096), -ENOSPC);
    assert_int_equal(write_at(&r, 1, 4096, 4096), 4096);
    assert_int_equal(rt_file_set_size(r.f, 1), -EINVAL);
    rig_end(&r);
}

/* ---- crashes --------------------------------------------------------------------------------------------- */

static void test_a_killed_program_s_finished_writes_stay(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 5);
    rig_open(&r, RT_FILE_WRITE);
    assert_int_equal(write_at(&r, 0x44, 8192, 0), 8192);
    sim_kill(r.p);
    rig_enter(&r);
    rig_open(&r, 0);
    assert_int_equal(read_at(&r, 8192, 0), 8192);
    assert_true(all(r.back, 8192, 0x44));
    rig_end(&r);
}

static void test_power_loss_takes_any_sectors_that_were_not_synced(void **state)
{
    unsigned kept = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct rig r;

        rig_start(&r, seed);
        rig_open(&r, RT_FILE_WRITE);
        assert_int_equal(write_at(&r, 0x55, 16384, 0), 16384);
        assert_int_equal(sync_file(&r), 0);
        assert_int_equal(write_at(&r, 0x66, 8192, 0), 8192);
        assert_int_equal(write_at(&r, 0x77, 8192, 0), 8192);
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 8192, 0, false), 0);
        assert_true(all(r.back, 8192, 0x77));
        sim_leave(r.w);
        sim_machine_off(r.m);
        sim_machine_on(r.m);
        rig_enter(&r);
        rig_open(&r, 0);
        assert_int_equal(read_at(&r, 16384, 0), 16384);
        assert_true(all(r.back + 8192, 8192, 0x55));
        for (unsigned i = 0; i < 16; i++) {
            const uint8_t was = r.back[i * 512];

            assert_true(all(r.back + i * 512, 512, was));   /* a sector is never torn */
            assert_true(was == 0x55 || was == 0x66 || was == 0x77);
            kept += was == 0x77;
            lost += was != 0x77;
        }
        rig_end(&r);
    }
    assert_true(kept > 100 && lost > 100);
}

/* A write that ended after the sync was submitted is not covered by it, whenever its answer comes. */
static void test_sync_covers_what_ended_before_it_and_nothing_else(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rig r;

        rig_start(&r, seed);
        rig_open(&r, RT_FILE_WRITE);
        assert_int_equal(write_at(&r, 0x11, 512, 0), 512);
        rt_file_sync(r.rt, r.f, noted_op(&r.n[1]));
        write_start(&r, 0x22, 512, 0);
        (void)turn_for(r.rt, &r.n[0]);
        while (!r.n[1].count)
            (void)rt_turn(r.rt, RT_S);
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 512, 0, true), 0);
        assert_int_equal(r.back[0], 0x11);
        assert_int_equal(sync_file(&r), 0);
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 512, 0, true), 0);
        assert_int_equal(r.back[0], 0x22);
        rig_end(&r);
    }
}

static void test_failed_sync_loses_what_no_later_one_tells_of(void **state)
{
    struct sim_disk d;
    unsigned lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct rig r;

        rig_start(&r, seed);
        rig_open(&r, RT_FILE_WRITE);
        assert_int_equal(write_at(&r, 0x11, 4096, 0), 4096);
        sim_disk_get(r.m, &d);
        d.sync_eio_ppm = 1000000;
        sim_disk_set(r.m, &d);
        assert_int_equal(sync_file(&r), -EIO);
        sim_calm(r.w);
        assert_int_equal(sync_file(&r), 0);
        assert_int_equal(read_at(&r, 4096, 0), 4096);
        assert_true(all(r.back, 4096, 0x11));
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 4096, 0, true), 0);
        for (unsigned i = 0; i < 8; i++)
            lost += r.back[i * 512] != 0x11;
        assert_int_equal(write_at(&r, 0x12, 4096, 0), 4096);
        assert_int_equal(sync_file(&r), 0);
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 4096, 0, true), 0);
        assert_true(all(r.back, 4096, 0x12));
        rig_end(&r);
    }
    assert_true(lost > 10);
}

/* What the first part brought, and another write has replaced since, does not come back with the second. */
static void test_each_sector_of_a_torn_write_lands_once(void **state)
{
    unsigned first = 0, second = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint8_t seen[8192] = { 0 };
        struct sim_disk d;
        struct rig r;

        rig_start(&r, seed);
        rig_open(&r, RT_FILE_WRITE);
        sim_disk_get(r.m, &d);
        d.latency_ns = 100 * RT_MS;
        d.torn_ppm = 1000000;
        sim_disk_set(r.m, &d);
        write_start(&r, 0x99, sizeof(seen), 0);
        while (!r.n[0].count && all(seen, sizeof(seen), 0)) {
            (void)rt_turn(r.rt, RT_MS);
            assert_int_equal(sim_fs_peek(r.m, PATH, seen, sizeof(seen), 0, false), 0);
        }
        d.latency_ns = d.jitter_ns = d.torn_ppm = 0;
        sim_disk_set(r.m, &d);
        memset(r.back, 0xaa, sizeof(seen));
        r.iov[1] = (struct iovec){ r.back, sizeof(seen) };
        if (!r.n[0].count) {
            rt_file_write(r.rt, r.f, noted_op(&r.n[1]), &r.iov[1], 1, 0);
            assert_int_equal(turn_for(r.rt, &r.n[1]), sizeof(seen));
        }
        if (r.n[1].count && !r.n[0].count) {
            assert_int_equal(turn_for(r.rt, &r.n[0]), sizeof(seen));
            assert_int_equal(sim_fs_peek(r.m, PATH, r.back, sizeof(seen), 0, false), 0);
            for (unsigned i = 0; i < sizeof(seen) / 512; i++) {
                assert_int_equal(r.back[i * 512], seen[i * 512] ? 0xaa : 0x99);
                first += seen[i * 512] != 0;
                second += !seen[i * 512];
            }
        }
        while (!r.n[0].count)
            (void)rt_turn(r.rt, RT_S);
        rig_end(&r);
    }
    assert_true(first > 20 && second > 20);
}

static void test_a_killed_program_s_write_lands_later_or_never(void **state)
{
    unsigned landed = 0, never = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rig r;
        struct sim_disk d;

        rig_start(&r, seed);
        sim_disk_get(r.m, &d);
        d.latency_ns = 100 * RT_MS;
        d.torn_ppm = 300000;
        sim_disk_set(r.m, &d);
        rig_open(&r, RT_FILE_WRITE | RT_FILE_EXCL);
        write_start(&r, 0x99, 4096, 0);
        (void)rt_turn(r.rt, 0);
        sim_kill(r.p);
        if (seed % 2)
            sim_run(r.w, RT_S);
        rig_enter(&r);
        rig_open(&r, RT_FILE_WRITE | RT_FILE_EXCL);         /* behind the lock: all that will land has */
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 4096, 0, false), 0);
        landed += all(r.back, 4096, 0x99);
        never += all(r.back, 4096, 0);
        assert_int_equal(write_at(&r, 0xaa, 4096, 0), 4096);
        sim_run(r.w, RT_S);
        assert_int_equal(sim_fs_peek(r.m, PATH, r.back, 4096, 0, false), 0);
        assert_true(all(r.back, 4096, 0xaa));
        rig_end(&r);
    }
    assert_int_equal(landed + never, 60);
    assert_true(landed > 10 && never > 5);
}

static void test_exclusive_means_alone_for_writers(void **state)
{
    struct rig r;
    struct rt_file *g;

    (void)state;
    rig_start(&r, 6);
    rig_open(&r, RT_FILE_EXCL);
    assert_int_equal(rt_file_open("//srv/./disk", RT_FILE_EXCL, &g), 0);
    rt_file_close(g);
    assert_int_equal(rt_file_open(PATH, RT_FILE_EXCL | RT_FILE_WRITE, &g), -EBUSY);
    assert_int_equal(rt_file_open(PATH, RT_FILE_WRITE, &g), 0);
    rt_file_close(g);
    rt_file_close(r.f);
    rig_open(&r, RT_FILE_EXCL | RT_FILE_WRITE);
    assert_int_equal(rt_file_open(PATH, RT_FILE_EXCL, &g), -EBUSY);
    rig_end(&r);
}

/* ---- faults ---------------------------------------------------------------------------------------------- */

static void test_faults_are_told_and_counted_where_they_are_wanted(void **state)
{
    struct rig r;
    struct sim_disk d;
    char *text;

    (void)state;
    rig_start(&r, 7);
    sim_disk_get(r.m, &d);
    d.read_eio_ppm = d.write_eio_ppm = d.sync_eio_ppm = d.save_ppm = d.load_ppm = d.slow_ppm = 1000000;
    d.slow_ns = 100 * RT_S;
    sim_disk_set(r.m, &d);
    rig_open(&r, RT_FILE_WRITE);
    assert_int_equal(read_at(&r, 512, 0), -EIO);
    assert_int_equal(write_at(&r, 1, 512, 0), -EIO);
    assert_int_equal(sync_file(&r), -EIO);
    assert_true(rt_save("/srv/a", "x", 1, 0600) < 0);
    assert_int_equal(rt_load(PATH, 1 << 30, &text, NULL), -EIO);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_READ_EIO), 1);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_WRITE_EIO), 1);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_SYNC_EIO), 1);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_SAVE), 1);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_LOAD), 1);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_SLOW_DISK), 3);
    sim_disk_faults_in(r.m, "/elsewhere");
    assert_int_equal(write_at(&r, 1, 512, 0), 512);
    assert_int_equal(rt_save("/srv/a", "x", 1, 0600), 0);
    rig_end(&r);
}

static void test_full_and_stalled_disks(void **state)
{
    struct rig r;
    struct sim_disk d;

    (void)state;
    rig_start(&r, 8);
    sim_disk_get(r.m, &d);
    d.capacity = 8192;
    sim_disk_set(r.m, &d);
    rig_open(&r, RT_FILE_WRITE);
    assert_int_equal(write_at(&r, 1, 8192, 0), 8192);
    assert_int_equal(write_at(&r, 1, 4096, 8192), -ENOSPC);
    assert_int_equal(write_at(&r, 2, 8192, 0), 8192);
    sim_disk_stall(r.m, true);
    write_start(&r, 3, 512, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(rt_turn(r.rt, RT_S), 0);
    sim_disk_stall(r.m, false);
    assert_int_equal(turn_for(r.rt, &r.n[0]), 512);
    rig_end(&r);
}

/* ---- names ----------------------------------------------------------------------------------------------- */

static void name_count(void *arg, const char *name)
{
    *(unsigned *)arg += (unsigned)strlen(name);
}

static void test_names_do_as_in_a_real_file_system(void **state)
{
    struct rig r;
    unsigned n = 0;
    char *text;
    size_t len;

    (void)state;
    rig_start(&r, 9);
    assert_int_equal(rt_save("/no/x", "1", 1, 0600), -ENOENT);
    assert_int_equal(rt_mkdirs("/etc//a/b/", 0700), 0);
    assert_int_equal(rt_mkdirs("/etc/a/b", 0700), 0);
    assert_int_equal(rt_mkdirs("", 0700), -EINVAL);
    assert_int_equal(rt_mkdirs("/", 0700), 0);
    assert_int_equal(rt_save("/etc/a/x", "12", 2, 0600), 0);
    assert_int_equal(rt_save("/etc/a/x", "345", 3, 0600), 0);
    assert_int_equal(rt_save("/etc/a", "1", 1, 0600), -EISDIR);
    assert_int_equal(rt_save("/etc/a/", "1", 1, 0600), -EINVAL);
    assert_int_equal(rt_save("/etc/a/x/y", "1", 1, 0600), -ENOTDIR);
    assert_int_equal(rt_mkdirs("/etc/a/x", 0700), -ENOTDIR);
    assert_int_equal(rt_mkdirs("/etc/a/x/y", 0700), -ENOTDIR);
    assert_int_equal(rt_load("etc/a/../a/./x", 3, &text, &len), 0);
    assert_int_equal(len, 3);
    assert_string_equal(text, "345");
    free(text);
    assert_int_equal(rt_load("/etc/a/x", 2, &text, &len), -EFBIG);
    assert_int_equal(rt_load("/etc/a", 2, &text, &len), -EISDIR);
    assert_int_equal(rt_load("/etc/a/y", 2, &text, &len), -ENOENT);
    assert_int_equal(rt_dir_each("/etc/a", name_count, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(rt_dir_each("/etc/a/x", name_count, &n), -ENOTDIR);
    assert_int_equal(rt_kind("/etc/a"), RT_KIND_DIR);
    assert_int_equal(rt_kind("/etc/a/x"), RT_KIND_FILE);
    assert_int_equal(rt_kind("/etc/a/y"), -ENOENT);
    assert_int_equal(rt_rmdir("/etc/a"), -ENOTEMPTY);
    assert_int_equal(rt_rmdir("/etc/a/x"), -ENOTDIR);
    assert_int_equal(rt_remove("/etc/a"), -EISDIR);
    assert_int_equal(rt_remove("/etc/a/x"), 0);
    assert_int_equal(rt_remove("/etc/a/x"), 0);
    assert_int_equal(rt_rmdir("/etc/a/b"), 0);
    assert_int_equal(rt_rmdir("/etc/a"), 0);
    assert_int_equal(rt_rmdir("/etc/a"), -ENOENT);
    assert_int_equal(rt_rmdir("/"), -ENOTEMPTY);
    rig_end(&r);
}

static void test_who_has_a_replaced_file_open_keeps_it(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 10);
    rig_open(&r, 0);
    assert_int_equal(rt_save(PATH, "new", 3, 0600), 0);
    assert_int_equal(read_at(&r, 512, 0), 512);
    assert_true(all(r.back, 512, 0));
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read_short_at_the_end),
        cmocka_unit_test(test_punched_and_zeroed_ranges_read_as_zeroes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_block_device_has_its_size_and_no_more),
        cmocka_unit_test(test_a_killed_program_s_finished_writes_stay),
        cmocka_unit_test(test_power_loss_takes_any_sectors_that_were_not_synced),
        cmocka_unit_test(test_sync_covers_what_ended_before_it_and_nothing_else),
        cmocka_unit_test(test_failed_sync_loses_what_no_later_one_tells_of),
        cmocka_unit_test(test_each_sector_of_a_torn_write_lands_once),
        cmocka_unit_test(test_a_killed_program_s_write_lands_later_or_never),
        cmocka_unit_test(test_exclusive_means_alone_for_writers),
        cmocka_unit_test(test_faults_are_told_and_counted_where_they_are_wanted),
        cmocka_unit_test(test_full_and_stalled_disks),
        cmocka_unit_test(test_names_do_as_in_a_real_file_system),
        cmocka_unit_test(test_who_has_a_replaced_file_open_keeps_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
