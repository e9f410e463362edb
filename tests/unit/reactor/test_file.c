/* test_file.c - files of data: what may be opened, and what reads, writes, syncs and holes do */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
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

/* A loop device over f->path that goes away with its last user. Return: its descriptor, or -1 without the
 * privilege or the driver. */
static int loop_make(struct files *f, uint64_t size, char name[static 64])
{
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct loop_config conf = { .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
    int number, back, loop = -1;

    if (control < 0)
        return -1;
    assert_true((back = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0);
    assert_int_equal(ftruncate(back, (off_t)size), 0);
    for (unsigned tries = 0; tries < 5 && loop < 0; tries++) {
        if ((number = ioctl(control, LOOP_CTL_GET_FREE)) < 0)
            break;
        snprintf(name, 64, "/dev/loop%d", number);
        if ((loop = open(name, O_RDWR | O_CLOEXEC)) < 0)
            break;
        conf.fd = (uint32_t)back;
        if (ioctl(loop, LOOP_CONFIGURE, &conf)) {   /* somebody else was quicker */
            close(loop);
            loop = -1;
        }
    }
    close(back);
    close(control);
    return loop;
}

static void test_block_device_opens_by_a_link_too_and_does_it_all(void **state)
{
    enum { SIZE = 4 << 20, LEN = 64 << 10 };
    struct files f = setup();
    struct rt_file *file = NULL, *second = NULL;
    uint8_t *mem = rt_mem_alloc(LEN);
    struct rt_file_info info;
    struct noted n = { 0 };
    char name[64], link[160];
    const int loop = loop_make(&f, SIZE, name);

    if (loop < 0) {
        teardown(&f);
        rt_mem_free(mem, LEN);
        skip();
    }
    snprintf(link, sizeof(link), "%s/by-id", f.dir);
    assert_int_equal(symlink(name, link), 0);
    assert_int_equal(rt_file_open(link, RT_FILE_WRITE | RT_FILE_DIRECT | RT_FILE_EXCL, &file), 0);
    assert_int_equal(rt_file_open(name, RT_FILE_WRITE | RT_FILE_EXCL, &second), -EBUSY);
    assert_int_equal(rt_file_stat(file, &info), 0);
    assert_true(info.block_dev && !info.regular);
    assert_int_equal(info.size, SIZE);
    assert_true(info.block_len >= 512 && info.phys_len >= info.block_len && info.dio_align >= 1);
    assert_int_equal(rt_file_set_size(file, 2 * SIZE), -EINVAL);
    memset(mem, 'x', LEN);
    assert_int_equal(do_rw(&f, file, mem, LEN, SIZE - LEN, true), LEN);
    assert_int_equal(do_rw(&f, file, mem, LEN, 0, true), LEN);
    rt_file_sync(f.rt, file, noted_op(&n));
    assert_int_equal(turn_for(f.rt, &n), 0);
    rt_file_falloc(f.rt, file, noted_op(&n), RT_FALLOC_ZERO, 4096, 4096);
    assert_int_equal(turn_for(f.rt, &n), 0);
    if (info.discard) {
        rt_file_falloc(f.rt, file, noted_op(&n), RT_FALLOC_PUNCH, 16384, 4096);
        assert_int_equal(turn_for(f.rt, &n), 0);
    }
    assert_int_equal(do_rw(&f, file, mem, LEN, 0, false), LEN);
    assert_true(mem[4095] == 'x' && !mem[4096] && !mem[8191] && mem[8192] == 'x');
    assert_true(!info.discard || (!mem[16384] && !mem[20479] && mem[20480] == 'x'));
    assert_int_equal(do_rw(&f, file, mem, LEN, SIZE - 4096, false), 4096);      /* the end */
    assert_int_equal(do_rw(&f, file, mem, LEN, SIZE, true), -ENOSPC);
    rt_file_close(file);
    close(loop);
    rt_mem_free(mem, LEN);
    teardown(&f);
}

/* A process that has path open for a while, and alone: locked, or opened with O_EXCL. Return: its pid, once it
 * has. */
static pid_t holder(const char *path, int flags)
{
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    if (!(pid = fork())) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        const int fd = open(path, O_RDWR | flags);

        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) || write(ready[1], "r", 1) != 1)
            _exit(1);
        nanosleep(&(struct timespec){ .tv_nsec = 300 * 1000 * 1000 }, NULL);
        _exit(0);
    }
    assert_true(pid > 0);
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

/* As after the crash of a process whose last operations are not over yet. */
static void test_file_that_another_process_lets_go_of_is_waited_for(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    pid_t pid;

    assert_int_equal(rt_save(f.path, "x", 1, 0600), 0);
    pid = holder(f.path, 0);
    assert_int_equal(rt_file_open(f.path, RT_FILE_WRITE | RT_FILE_EXCL, &file), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    rt_file_close(file);
    teardown(&f);
}

static void test_block_device_that_another_process_lets_go_of_is_waited_for(void **state)
{
    struct files f = setup();
    struct rt_file *file = NULL;
    char name[64];
    int until[2];
    pid_t keeper, pid;
    const int loop = loop_make(&f, 1 << 20, name);

    if (loop < 0) {
        teardown(&f);
        skip();
    }
    assert_int_equal(pipe2(until, O_CLOEXEC), 0);
    keeper = fork();                        /* the device is there for as long as somebody has it open */
    if (!keeper) {
        char c;

        close(until[1]);
        (void)!read(until[0], &c, 1);
        _exit(0);
    }
    close(until[0]);
    close(loop);
    pid = holder(name, O_EXCL);
    assert_int_equal(rt_file_open(name, RT_FILE_WRITE | RT_FILE_EXCL, &file), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    rt_file_close(file);
    close(until[1]);
    assert_int_equal(waitpid(keeper, NULL, 0), keeper);
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
        cmocka_unit_test(test_block_device_opens_by_a_link_too_and_does_it_all),
        cmocka_unit_test(test_many_operations_at_once),
        cmocka_unit_test(test_file_that_another_process_lets_go_of_is_waited_for),
        cmocka_unit_test(test_block_device_that_another_process_lets_go_of_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
