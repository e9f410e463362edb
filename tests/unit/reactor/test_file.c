/* test_file.c - files of data: what may be opened, and what reads, writes, syncs and holes do */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt_test.h"

struct files {
    struct rt_host *h;
    struct rt *rt;
    char *dir;
    char path[128];
};

static struct files setup(void)
{
    struct files f = { .h = host_make(1, RT_MODE_INTERRUPT), .dir = temp_dir() };

    f.rt = rt_host_at(f.h, 0);
    snprintf(f.path, sizeof(f.path), "%s/disk", f.dir);
    return f;
}

static void teardown(struct files *f)
{
    rt_host_free(f->h);
    temp_dir_remove(f->dir);
}

static int do_rw(struct files *f, struct rt_file *file, void *buf, size_t len, uint64_t off, bool write)
{
    const struct iovec iov = { buf, len };
    struct noted n = { 0 };

    if (write)
        rt_file_write(f->rt, file, noted_op(&n), &iov, 1, off);
    else
        rt_file_read(f->rt, file, noted_op(&n), &iov, 1, off);
    return turn_for(f->rt, &n);
}

static void test_what_was_written_and_synced_is_read(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    struct rt_file_info info;
    uint8_t out[3][5000], in[15000] = { 0 };
    struct iovec iov[3];
    struct noted n = { 0 };
    struct stat st;

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE, &file), 0);
    for (unsigned i = 0; i < 3; i++) {
        memset(out[i], 'a' + (int)i, sizeof(out[i]));
        iov[i] = (struct iovec){ out[i], sizeof(out[i]) };
    }
    rt_file_write(f.rt, file, noted_op(&n), iov, 3, 777);
    assert_int_equal(turn_for(f.rt, &n), 15000);
    rt_file_sync(f.rt, file, noted_op(&n));
    assert_int_equal(turn_for(f.rt, &n), 0);
    assert_int_equal(do_rw(&f, file, in, sizeof(in), 777, false), 15000);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_int_equal(info.size, 15777);
    assert_true(info.regular && !info.block_dev);
    assert_int_equal(info.block_len, 512);
    assert_int_equal(info.dio_align, 1);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    rt_file_close(file);
    teardown(&f);
}

static void test_read_past_the_end_is_short(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    uint8_t buf[1000];

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE, &file), 0);
    assert_int_equal(rt_file_set_size(file, 1500), 0);
    assert_int_equal(do_rw(&f, file, buf, 1000, 1000, false), 500);
    assert_int_equal(do_rw(&f, file, buf, 1000, 1500, false), 0);
    assert_int_equal(do_rw(&f, file, buf, 1000, 1u << 30, false), 0);
    assert_int_equal(do_rw(&f, file, buf, 0, 0, false), 0);
    assert_int_equal(do_rw(&f, file, buf, 0, 0, true), 0);
    rt_file_close(file);
    teardown(&f);
}

static void test_write_to_a_read_only_file_fails(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    uint8_t buf[512] = { 0 };

    assert_int_equal(rt_save(f.path, buf, sizeof(buf), 0600), 0);
    assert_int_equal(rt_file_open(f.path, 0, &file), 0);
    assert_int_equal(do_rw(&f, file, buf, sizeof(buf), 0, true), -EBADF);
    assert_true(rt_file_set_size(file, 0) < 0);
    rt_file_close(file);
    teardown(&f);
}

static uint32_t direct_in(const char *path)
{
    enum { LEN = 64 * 1024 };
    struct files f = setup();
    struct rt_file *file = NULL;
    struct rt_file_info info;
    uint8_t *mem = rt_mem_alloc(2 * LEN);

    if (path)
        snprintf(f.path, sizeof(f.path), "%s", path);
    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE | RT_FILE_DIRECT, &file), 0);
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_true(info.dio_align >= 1 && info.dio_align <= 4096);
    assert_int_equal(info.dio_align & (info.dio_align - 1), 0);
    assert_int_equal(rt_file_set_size(file, LEN + info.dio_align + 100), 0);
    memset(mem, 0x5a, LEN);
    assert_int_equal(do_rw(&f, file, mem, LEN, info.dio_align, true), LEN);
    assert_int_equal(do_rw(&f, file, mem + LEN, info.dio_align, info.dio_align, false), info.dio_align);
    assert_int_equal(mem[LEN], 0x5a);
    /* The end of the file is at no multiple of the alignment: still a short read and no error. */
    memset(mem, 1, LEN);
    assert_int_equal(do_rw(&f, file, mem, LEN, LEN, false), info.dio_align + 100);
    if (info.dio_align > 1)
        assert_int_equal(do_rw(&f, file, mem + 1, info.dio_align, 1, false), -EINVAL);
    rt_file_close(file);
    unlink(f.path);
    rt_mem_free(mem, 2 * LEN);
    teardown(&f);
    return info.dio_align;
}

static void test_direct_file_tells_its_alignment(void **state)
{
    direct_in(NULL);
}

static void test_direct_falls_back_where_it_is_refused(void **state)
{
    if (access("/dev/shm", W_OK))
        skip();
    assert_int_equal(direct_in("/dev/shm/rt-test-direct"), 1);
}

static void hole(enum rt_falloc how)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    struct rt_file_info info;
    struct noted n = { 0 };
    uint8_t buf[16384];
    int res;

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE, &file), 0);
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(do_rw(&f, file, buf, sizeof(buf), 0, true), sizeof(buf));
    assert_int_equal(rt_file_stat(file, &info), 0);
    rt_file_falloc(f.rt, file, noted_op(&n), how, 4096, 8192);
    res = turn_for(f.rt, &n);
    assert_true(res == 0 || res == -EOPNOTSUPP);
    if (how == RT_FALLOC_PUNCH)
        assert_int_equal(info.discard, !res);
    if (!res) {
        assert_int_equal(do_rw(&f, file, buf, sizeof(buf), 0, false), sizeof(buf));
        for (unsigned i = 0; i < sizeof(buf); i++)
            assert_int_equal(buf[i], i >= 4096 && i < 12288 ? 0 : 'x');
    }
    rt_file_falloc(f.rt, file, noted_op(&n), how, 1u << 20, 4096);  /* beyond the end: the size stays */
    turn_for(f.rt, &n);
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_int_equal(info.size, sizeof(buf));
    rt_file_falloc(f.rt, file, noted_op(&n), how, 0, 0);
    assert_int_equal(turn_for(f.rt, &n), 0);
    rt_file_close(file);
    teardown(&f);
}

static void test_punched_range_reads_as_zeroes(void **state)
{
    hole(RT_FALLOC_PUNCH);
}

static void test_zeroed_range_reads_as_zeroes(void **state)
{
    hole(RT_FALLOC_ZERO);
}

static void test_open_refuses_what_is_no_disk(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    char path[160];

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE, &file), -ENOENT);
    assert_int_equal(rt_file_open(f.dir, 0, &file), -EINVAL);
    assert_int_equal(rt_file_open(f.dir, RT_FILE_WRITE | RT_FILE_CREATE, &file), -EINVAL);
    assert_int_equal(rt_file_open("/dev/null", RT_FILE_WRITE, &file), -EINVAL);
    snprintf(path, sizeof(path), "%s/fifo", f.dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(rt_file_open(path, 0, &file), -EINVAL);        /* and does not hang */
    snprintf(path, sizeof(path), "%s/none/disk", f.dir);
    assert_int_equal(rt_file_open(path, RT_FILE_WRITE | RT_FILE_CREATE, &file), -ENOENT);
    assert_null(file);
    rt_file_close(NULL);
    teardown(&f);
}

static void test_open_follows_no_link_to_a_file(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    char link[160];

    assert_int_equal(rt_save(f.path, "data", 4, 0600), 0);
    snprintf(link, sizeof(link), "%s/link", f.dir);
    assert_int_equal(symlink(f.path, link), 0);
    assert_int_equal(rt_file_open(link, RT_FILE_WRITE | RT_FILE_CREATE, &file), -ELOOP);
    snprintf(link, sizeof(link), "%s/dangling", f.dir);
    assert_int_equal(symlink("/nonexistent/target", link), 0);
    assert_true(rt_file_open(link, RT_FILE_WRITE | RT_FILE_CREATE, &file) < 0);
    assert_null(file);
    teardown(&f);
}

static void test_set_size_grows_with_zeroes_and_shrinks(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    struct rt_file_info info;
    uint8_t buf[512];

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE, &file), 0);
    assert_int_equal(rt_file_set_size(file, 1ull << 40), 0);
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_true(info.size == 1ull << 40);
    memset(buf, 1, sizeof(buf));
    assert_int_equal(do_rw(&f, file, buf, sizeof(buf), (1ull << 40) - 512, false), 512);
    assert_int_equal(buf[511], 0);
    assert_int_equal(rt_file_set_size(file, 512), 0);
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_int_equal(info.size, 512);
    assert_int_equal(rt_file_set_size(file, UINT64_MAX), -EINVAL);
    rt_file_close(file);
    teardown(&f);
}

/* Many at once, verified: nothing is lost or mixed up, whatever order they end in. */
static void test_many_operations_at_once(void **state)
{
    enum { N = 256, LEN = 4096 };
    struct files f = setup();
    struct rt_file *file = NULL;
    uint8_t *mem = rt_mem_alloc((size_t)N * LEN);
    struct noted *ops = calloc(N, sizeof(*ops));
    struct iovec *iov = calloc(N, sizeof(*iov));

    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_CREATE | RT_FILE_DIRECT, &file), 0);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < N; i++) {
            iov[i] = (struct iovec){ mem + (size_t)i * LEN, LEN };
            memset(iov[i].iov_base, pass ? 0 : (int)i, LEN);
            (pass ? rt_file_read : rt_file_write)(f.rt, file, noted_op(&ops[i]), &iov[i], 1, (uint64_t)i * LEN);
        }
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(turn_for(f.rt, &ops[i]), LEN);
    }
    for (unsigned i = 0; i < N; i++)
        assert_true(mem[(size_t)i * LEN] == (uint8_t)i && mem[(size_t)i * LEN + LEN - 1] == (uint8_t)i);
    rt_file_close(file);
    rt_mem_free(mem, (size_t)N * LEN);
    free(ops);
    free(iov);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_and_synced_is_read),
        cmocka_unit_test(test_read_past_the_end_is_short),
        cmocka_unit_test(test_write_to_a_read_only_file_fails),
        cmocka_unit_test(test_direct_file_tells_its_alignment),
        cmocka_unit_test(test_direct_falls_back_where_it_is_refused),
        cmocka_unit_test(test_punched_range_reads_as_zeroes),
        cmocka_unit_test(test_zeroed_range_reads_as_zeroes),
        cmocka_unit_test(test_open_refuses_what_is_no_disk),
        cmocka_unit_test(test_open_follows_no_link_to_a_file),
        cmocka_unit_test(test_set_size_grows_with_zeroes_and_shrinks),
        cmocka_unit_test(test_many_operations_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
