/* Names, kinds, and which kind is taken and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "export/export_internal.h"
#include "exports.h"

static char run_dir[64];

static void test_kinds_have_names_and_others_are_refused(void **state)
{
    static const char *const words[] = { "auto", "ublk", "nbd", "fuse", "none" };
    static const char *const wrong[] = { "", "AUTO", "ublk ", "loop", "autox" };
    enum exp_kind k = EXP_NBD;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        assert_int_equal(exp_kind_parse(words[i], &k), 0);
        assert_int_equal(k, i);
        assert_string_equal(exp_kind_name(k), words[i]);
    }
    k = EXP_NBD;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(exp_kind_parse(wrong[i], &k), -EINVAL);
        assert_int_equal(k, EXP_NBD);
    }
}

static void test_names_that_are_no_file_names_are_refused(void **state)
{
    static char long_ok[EXP_NAME_LEN_MAX + 1], long_bad[EXP_NAME_LEN_MAX + 2];
    const char *const bad[] = { "",    ".",   "..",     ".hidden",  "a/b",   "A",
                                "a b", "a\n", "disk_0", "\xc3\xa4", long_bad };
    struct exp_conf conf = { .kind = EXP_NONE, .run_dir = run_dir };
    struct exporter x;
    struct fake f;

    memset(long_ok, 'a', EXP_NAME_LEN_MAX);
    memset(long_bad, 'a', EXP_NAME_LEN_MAX + 1);
    assert_int_equal(fake_start(&f, 1 << 20, 512), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        conf.name = bad[i];
        assert_int_equal(exporter_open(&x, &f, &conf), -EINVAL);
    }
    conf.name = long_ok;
    assert_int_equal(exporter_open(&x, &f, &conf), 0);
    assert_int_equal(exporter_close(&x, false), 0);
    fake_stop(&f);
}

static void test_none_has_no_path(void **state)
{
    struct exp_conf conf = { .kind = EXP_NONE, .run_dir = run_dir, .name = "x" };
    struct exporter x;
    struct fake f;

    assert_int_equal(fake_start(&f, 1 << 20, 512), 0);
    assert_int_equal(exporter_open(&x, &f, &conf), 0);
    assert_string_equal(x.r.path, "");
    assert_int_equal(x.r.kind, EXP_NONE);
    fake_on_core(&f, exporter_resized_fn, &x);
    assert_int_equal(exporter_close(&x, false), 0);
    fake_stop(&f);
}

/* Whatever this machine has, auto says what it took, and names what it could not have. */
static void test_auto_says_what_it_tried(void **state)
{
    struct exp_conf conf = { .kind = EXP_AUTO, .run_dir = run_dir, .name = "auto-1" };
    struct exporter x;
    struct fake f;
    uint8_t buf[4096];

    memset(buf, 0x3c, sizeof(buf));
    assert_int_equal(fake_start(&f, 1 << 20, 512), 0);
    if (exporter_open(&x, &f, &conf)) {
        assert_non_null(strstr(x.r.why, "ublk: "));
        assert_non_null(strstr(x.r.why, "nbd: "));
        assert_non_null(strstr(x.r.why, "fuse: "));
    } else {
        assert_non_null(strstr(x.r.why, exp_kind_name(x.r.kind)));
        if (x.r.kind != EXP_UBLK)
            assert_non_null(strstr(x.r.why, "ublk: "));
        assert_true(x.r.path[0] == '/');
        /* what failed before it must not stick to it */
        const int fd = open(x.r.path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, buf, sizeof(buf), 4096), sizeof(buf));
        assert_int_equal(fsync(fd), 0);
        close(fd);
        assert_int_equal(f.disk.mem[4096], 0x3c);
        assert_int_equal(atomic_load(&x.lost), 0);
        assert_int_equal(exporter_close(&x, false), 0);
    }
    fake_stop(&f);
}

static void test_blocks_larger_than_a_page_are_refused(void **state)
{
    static const enum exp_kind kinds[] = { EXP_AUTO, EXP_UBLK, EXP_NBD, EXP_FUSE };
    struct exp_conf conf = { .run_dir = run_dir, .name = "x" };
    struct exporter x;
    struct fake f;

    assert_int_equal(fake_start(&f, 1 << 20, 65536), 0);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        conf.kind = kinds[i];
        assert_int_equal(exporter_open(&x, &f, &conf), -EOPNOTSUPP);
        assert_non_null(strstr(x.r.why, "blocks of 65536 bytes"));
    }
    fake_stop(&f);
}

/* ---- records ---- */

static void test_record_comes_back_as_it_was(void **state)
{
    struct exp e = { .ops = &exp_nbd, .wwid = "naa.6001405\"\\ x" };
    struct exp_record r;

    strcpy(e.run_dir, run_dir);
    strcpy(e.name, "iqn.2026-11.org.example:disk-0");
    assert_int_equal(exp_record_save(&e, 12), 0);
    assert_int_equal(exp_record_load(run_dir, e.name, &r), 0);
    assert_int_equal(r.kind, EXP_NBD);
    assert_int_equal(r.id, 12);
    assert_string_equal(r.wwid, e.wwid);
    exp_record_remove(run_dir, e.name);
    assert_int_equal(exp_record_load(run_dir, e.name, &r), -ENOENT);
}

static unsigned records_nr;

static void record_count(const char *dir, const char *name, const struct exp_record *r)
{
    records_nr++;
}

/* Cut off anywhere, or something else altogether: refused, and left where it is. */
static void test_damaged_records_are_refused_and_left(void **state)
{
    static const char good[] = "{\"kind\": \"ublk\", \"id\": 3, \"wwid\": \"naa.6\"}";
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"kind\": \"ublk\", \"id\": -1, \"wwid\": \"\"}",
        "{\"kind\": \"x\", \"id\": 1, \"wwid\": \"\"}",
        "{\"kind\": \"ublk\", \"id\": \"1\", \"wwid\": \"\"}",
        "{\"kind\": \"ublk\", \"id\": 1}",
    };
    struct exp_record r = { .id = 77 };
    char path[128];

    snprintf(path, sizeof(path), "%s/devices", run_dir);
    assert_int_equal(rt_mkdirs(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/devices/x", run_dir);
    for (size_t i = 0; i < ARRAY_SIZE(bad) + sizeof(good) - 1; i++) {
        const char *text = i < ARRAY_SIZE(bad) ? bad[i] : good;
        const size_t len = i < ARRAY_SIZE(bad) ? strlen(text) : i - ARRAY_SIZE(bad);

        assert_int_equal(rt_save(path, text, len, 0600), 0);
        assert_int_equal(exp_record_load(run_dir, "x", &r), -EINVAL);
        assert_int_equal(r.id, 77);
    }
    records_nr = 0;
    exp_records(run_dir, record_count);
    assert_int_equal(records_nr, 0);
    assert_int_equal(rt_save(path, good, strlen(good), 0600), 0);
    exp_records(run_dir, record_count);
    assert_int_equal(records_nr, 1);
    exp_record_remove(run_dir, "x");
}

static void test_cleanup_of_nothing_does_nothing(void **state)
{
    exp_cleanup("/nonexistent/run");
    exp_cleanup(run_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_have_names_and_others_are_refused),
        cmocka_unit_test(test_names_that_are_no_file_names_are_refused),
        cmocka_unit_test(test_none_has_no_path),
        cmocka_unit_test(test_auto_says_what_it_tried),
        cmocka_unit_test(test_blocks_larger_than_a_page_are_refused),
        cmocka_unit_test(test_record_comes_back_as_it_was),
        cmocka_unit_test(test_damaged_records_are_refused_and_left),
        cmocka_unit_test(test_cleanup_of_nothing_does_nothing),
    };
    char cmd[128];
    int ret;

    snprintf(run_dir, sizeof(run_dir), "/tmp/corelane-export-%d", (int)getpid());
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(cmd, sizeof(cmd), "%s/devices", run_dir);
    rmdir(cmd);
    snprintf(cmd, sizeof(cmd), "%s/disks", run_dir);
    rmdir(cmd);
    rmdir(run_dir);
    return ret;
}
