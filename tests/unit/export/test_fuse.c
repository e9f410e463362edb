/* The FUSE export with a real kernel: a file, and a loop device where the machine has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exports.h"

#define SIZE (8ull << 20)
#define BLOCK 512u

static char run_dir[64];

struct world {
    struct fake fake;
    struct exporter x;
    char file[256];
};

static int world_make(void **state, uint32_t block_len, bool readonly)
{
    struct world *w = calloc(1, sizeof(*w));
    struct exp_conf conf = { .kind = EXP_FUSE, .name = "iqn.2026-11.org.example:disk-0", .run_dir = run_dir,
                             .readonly = readonly, .queue_depth = 32 };

    *state = w;
    if (access("/dev/fuse", R_OK | W_OK))
        return 0;
    if (fake_start(&w->fake, SIZE, block_len))
        return -1;
    if (exporter_open(&w->x, &w->fake, &conf)) {
        print_error("%s\n", w->x.r.why);
        return -1;
    }
    snprintf(w->file, sizeof(w->file), "%s/disks/%s/disk", run_dir, conf.name);
    return 0;
}

static int world_512(void **state)
{
    return world_make(state, 512, false);
}

static int world_4096(void **state)
{
    return world_make(state, 4096, false);
}

static int world_readonly(void **state)
{
    return world_make(state, 512, true);
}

static int world_end(void **state)
{
    struct world *w = *state;
    int err = 0;

    if (w->fake.host) {
        if (w->x.e && exporter_close(&w->x, false)) {
            print_error("close: %s\n", w->x.why);
            err = -1;
        }
        if (!err && !access(w->file, F_OK))
            err = -1;
        fake_stop(&w->fake);
    }
    free(w);
    return err;
}

#define NEED_FUSE(w)                                                                                         \
    do {                                                                                                     \
        if (!(w)->fake.host)                                                                                 \
            skip();                                                                                          \
    } while (0)
#define NEED_LOOP(w)                                                                                         \
    do {                                                                                                     \
        NEED_FUSE(w);                                                                                        \
        if (strncmp((w)->x.r.path, "/dev/loop", 9))                                                          \
            skip();                                                                                          \
    } while (0)

static int open_file(const struct world *w, int flags)
{
    const int fd = open(w->file, flags | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* A byte that depends on its place, for data that end up elsewhere. */
static void pattern(uint8_t *buf, size_t len, uint64_t off, unsigned salt)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)((off + i) * 2654435761u >> 13 ^ salt);
}

static void test_file_has_the_size_and_says_why_it_was_taken(void **state)
{
    struct world *w = *state;
    struct stat st;

    NEED_FUSE(w);
    assert_int_equal(stat(w->file, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(w->x.r.kind, EXP_FUSE);
    assert_non_null(strstr(w->x.r.why, "fuse"));
}

static void test_whole_blocks_go_through(void **state)
{
    struct world *w = *state;
    static uint8_t out[3 << 20], in[3 << 20];
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    pattern(out, sizeof(out), 65536, 1);
    assert_int_equal(pwrite(fd, out, sizeof(out), 65536), sizeof(out));
    assert_memory_equal(w->fake.disk.mem + 65536, out, sizeof(out));
    assert_int_equal(pread(fd, in, sizeof(in), 65536), sizeof(in));
    assert_memory_equal(in, out, sizeof(out));
    assert_int_equal(fsync(fd), 0);
    assert_true(atomic_load(&w->fake.disk.count[INI_FLUSH]) > 0);
    close(fd);
}

/* Where the target can use them as they lie: whole blocks do, whatever the headers before a write's data. */
static void test_data_lie_in_the_shared_buffer(void **state)
{
    static const size_t lens[] = { 4096, 512, 65536, 1 << 20 };
    struct world *w = *state;
    void *buf = NULL;
    int fd;

    NEED_FUSE(w);
    assert_int_equal(posix_memalign(&buf, 4096, 1 << 20), 0);
    fd = open_file(w, O_RDWR | O_DIRECT);
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        const unsigned pieces = (unsigned)((lens[i] + (512 << 10) - 1) / (512 << 10));

        memset(buf, (int)i + 1, lens[i]);
        atomic_store(&w->fake.disk.placed, 0);
        assert_int_equal(pwrite(fd, buf, lens[i], 8192), lens[i]);
        assert_int_equal(atomic_load(&w->fake.disk.placed), pieces);
        assert_int_equal(w->fake.disk.mem[8192 + lens[i] - 1], i + 1);
        memset(buf, 0, lens[i]);
        assert_int_equal(pread(fd, buf, lens[i], 8192), lens[i]);
        assert_int_equal(atomic_load(&w->fake.disk.placed), 2 * pieces);
        assert_memory_equal(buf, w->fake.disk.mem + 8192, lens[i]);
    }
    close(fd);
    free(buf);
}

/* Many large requests at once, more than the shared buffer holds, and that buffer exchanged while they are under way:
 * some are copied, none is lost or mixed up. */
/* What a request says is not where a target could change it while it is looked at: of all of them only a write's data are
 * there. */
static void test_requests_themselves_are_in_no_shared_buffer(void **state)
{
    struct world *w = *state;
    static uint8_t data[4096];
    unsigned foreign = 0, ours = 0;
    char other[300];
    struct stat st;
    int fd;

    NEED_FUSE(w);
    for (size_t i = 0; i < ARRAY_SIZE(w->fake.disk.buf); i++)
        if (w->fake.disk.buf[i].mem)
            memset(w->fake.disk.buf[i].mem, 0xee, w->fake.disk.buf[i].len);
    memset(data, 0x5a, sizeof(data));
    snprintf(other, sizeof(other), "%sX", w->file);
    assert_int_equal(stat(w->file, &st), 0);
    assert_int_equal(stat(other, &st), -1);
    fd = open_file(w, O_RDWR);
    assert_int_equal(pwrite(fd, data, sizeof(data), 4096), sizeof(data));
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096), 0);
    close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(w->fake.disk.buf); i++) {
        for (size_t at = 0; w->fake.disk.buf[i].mem && at < w->fake.disk.buf[i].len; at++) {
            const uint8_t byte = w->fake.disk.buf[i].mem[at];

            ours += byte == 0x5a;
            foreign += byte != 0x5a && byte != 0xee;
        }
    }
    assert_int_equal(ours, sizeof(data));
    assert_int_equal(foreign, 0);
}

/* A name longer than a write's headers. */
static void test_long_requests_arrive_whole(void **state)
{
    struct world *w = *state;
    char other[600];
    struct stat st;
    size_t n;

    NEED_FUSE(w);
    n = (size_t)snprintf(other, sizeof(other), "%s", w->file);
    memset(other + n, 'x', 240);
    other[n + 240] = '\0';
    assert_int_equal(stat(other, &st), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(stat(w->file, &st), 0);
    assert_int_equal(utimensat(AT_FDCWD, w->file, NULL, 0), 0);    /* more than a write's headers, too */
    assert_int_equal(truncate(w->file, 1), -1);
    assert_int_equal(errno, EINVAL);
}

static void test_requests_beyond_the_shared_buffer_are_as_right(void **state)
{
    enum { NR = 16, LEN = 512 << 10 };
    struct world *w = *state;
    struct io_uring_cqe *cqe;
    struct io_uring ring;
    uint8_t *buf = NULL;
    int fd;

    NEED_FUSE(w);
    assert_int_equal(posix_memalign((void **)&buf, 4096, NR * LEN), 0);
    assert_int_equal(io_uring_queue_init(NR, &ring, 0), 0);
    fd = open_file(w, O_RDWR | O_DIRECT);
    atomic_store(&w->fake.disk.delay_ns, 20 * RT_MS);
    atomic_store(&w->fake.disk.scatter, true);
    for (unsigned round = 0; round < 8; round++) {
        const bool write = round % 2 == 0;

        for (unsigned i = 0; i < NR; i++) {
            memset(buf + i * LEN, write ? (int)(round * NR + i + 1) : 0, LEN);
            if (write)
                io_uring_prep_write(io_uring_get_sqe(&ring), fd, buf + i * LEN, LEN, i * LEN);
            else
                io_uring_prep_read(io_uring_get_sqe(&ring), fd, buf + i * LEN, LEN, i * LEN);
        }
        io_uring_submit(&ring);
        if (round == 3) {                       /* the next one is too small for all of them */
            atomic_store(&w->fake.disk.buf_room, 2u << 20);
            atomic_store(&w->fake.disk.bad_bufs, 1);
        }
        for (unsigned i = 0; i < NR; i++) {
            assert_int_equal(io_uring_wait_cqe(&ring, &cqe), 0);
            assert_int_equal(cqe->res, LEN);
            io_uring_cqe_seen(&ring, cqe);
        }
        assert_memory_equal(w->fake.disk.mem, buf, NR * LEN);
    }
    assert_in_range(atomic_load(&w->fake.disk.placed), 1, 8 * NR * (LEN >> 19) - 1);
    io_uring_queue_exit(&ring);
    close(fd);
    free(buf);
}

/* Every combination of where a request begins and ends within its blocks. */
static void test_any_offset_and_length_reads_and_writes(void **state)
{
    struct world *w = *state;
    uint32_t block;
    static uint8_t model[64 << 10], buf[64 << 10];
    unsigned salt = 0;
    int fd;

    NEED_FUSE(w);
    block = w->fake.disk.info.block_len;
    fd = open_file(w, O_RDWR);
    pattern(model, sizeof(model), 0, 99);
    memcpy(w->fake.disk.mem, model, sizeof(model));
    for (unsigned at = 0; at < 3; at++) {
        const uint64_t offs[] = { 4 * block, 4 * block + 1, 5 * block - 1 };

        for (unsigned l = 0; l < 8; l++) {
            const size_t lens[] = { 1,         block - 1,     block,    block + 1, 2 * block - 1,
                                    2 * block, 2 * block + 1, 3 * block };

            pattern(buf, lens[l], offs[at], ++salt);
            assert_int_equal(pwrite(fd, buf, lens[l], (off_t)offs[at]), lens[l]);
            memcpy(model + offs[at], buf, lens[l]);
            assert_memory_equal(w->fake.disk.mem, model, sizeof(model));
            assert_int_equal(pread(fd, buf, lens[l] + 3, (off_t)offs[at] - 1), lens[l] + 3);
            assert_memory_equal(buf, model + offs[at] - 1, lens[l] + 3);
        }
    }
    close(fd);
}

/* Eight writes at once, each of its own bytes of the same blocks: none of them may vanish. Asynchronous and
 * direct, as the kernel lets only one plain write() into a file at a time. */
static void test_writers_of_parts_of_one_block_lose_nothing(void **state)
{
    struct world *w = *state;
    static uint8_t data[8][4096];
    struct io_uring_cqe *cqe;
    struct io_uring ring;
    unsigned slice;
    uint32_t block;
    int fd;

    NEED_FUSE(w);
    block = w->fake.disk.info.block_len;
    slice = block / 8;
    assert_int_equal(io_uring_queue_init(16, &ring, 0), 0);
    fd = open_file(w, O_RDWR | O_DIRECT);
    atomic_store(&w->fake.disk.scatter, true);
    for (unsigned round = 1; round <= 100; round++) {
        const uint64_t at = (uint64_t)(round % 5) * block;

        for (unsigned i = 0; i < 8; i++) {
            /* Some end in the next block. */
            const unsigned len = i == 7 && round % 2 ? slice + slice / 2 : slice;

            memset(data[i], (int)(round * 8 + i), len);
            io_uring_prep_write(io_uring_get_sqe(&ring), fd, data[i], len, at + i * slice);
        }
        io_uring_submit(&ring);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(io_uring_wait_cqe(&ring, &cqe), 0);
            assert_true(cqe->res >= (int)slice);
            io_uring_cqe_seen(&ring, cqe);
        }
        for (unsigned i = 0; i < block; i++)
            assert_int_equal(w->fake.disk.mem[at + i], (uint8_t)(round * 8 + i / slice));
    }
    io_uring_queue_exit(&ring);
    close(fd);
}

static void test_end_of_the_disk_is_as_on_a_block_device(void **state)
{
    struct world *w = *state;
    uint8_t buf[1024] = { 0 };
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    assert_int_equal(pread(fd, buf, sizeof(buf), SIZE - 100), 100);
    assert_int_equal(pread(fd, buf, sizeof(buf), SIZE), 0);
    assert_int_equal(pwrite(fd, buf, sizeof(buf), SIZE - 100), 100);
    assert_int_equal(pwrite(fd, buf, sizeof(buf), SIZE), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(ftruncate(fd, SIZE / 2), -1);
    assert_int_equal(errno, EINVAL);
    close(fd);
    fd = open_file(w, O_RDWR | O_TRUNC);        /* has no effect */
    assert_int_equal(lseek(fd, 0, SEEK_END), SIZE);
    close(fd);
}

static void test_errors_arrive_as_they_are(void **state)
{
    static const int errs[] = { EIO, ENOSPC, EROFS, EREMOTEIO, ENODATA, EBADE, ETIMEDOUT };
    struct world *w = *state;
    uint8_t buf[512] = { 0 };
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    for (size_t i = 0; i < ARRAY_SIZE(errs); i++) {
        for (unsigned op = 0; op <= INI_FLUSH; op++)
            atomic_store(&w->fake.disk.fail[op], errs[i]);
        assert_int_equal(pread(fd, buf, sizeof(buf), 0), -1);
        assert_int_equal(errno, errs[i]);
        assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), -1);
        assert_int_equal(errno, errs[i]);
        assert_int_equal(pwrite(fd, buf, 10, 3), -1);       /* the read before the write */
        assert_int_equal(errno, errs[i]);
        assert_int_equal(fsync(fd), -1);
        assert_int_equal(errno, errs[i]);
    }
    for (unsigned op = 0; op <= INI_FLUSH; op++)
        atomic_store(&w->fake.disk.fail[op], 0);
    assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
    close(fd);
}

/* The second read of a write with two partial ends fails: nothing is written, and the range is free again. */
static void test_failed_edge_leaves_the_block_and_frees_it(void **state)
{
    struct world *w = *state;
    uint8_t buf[4096] = { 0 }, was[8192];
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    memset(w->fake.disk.mem, 0x5a, 8192);
    memcpy(was, w->fake.disk.mem, sizeof(was));
    atomic_store(&w->fake.disk.fail[INI_READ], EIO);
    assert_int_equal(pwrite(fd, buf, 4096, 100), -1);
    assert_memory_equal(w->fake.disk.mem, was, sizeof(was));
    atomic_store(&w->fake.disk.fail[INI_READ], 0);
    assert_int_equal(pwrite(fd, buf, 4096, 100), 4096);
    assert_int_equal(w->fake.disk.mem[99], 0x5a);
    assert_int_equal(w->fake.disk.mem[100], 0);
    assert_int_equal(w->fake.disk.mem[4196], 0x5a);
    close(fd);
}

static void test_holes_and_zeroes_reach_the_disk(void **state)
{
    struct world *w = *state;
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    memset(w->fake.disk.mem, 1, 64 << 10);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_ZERO_RANGE, 32768, 4096), 0);
    assert_int_equal(w->fake.disk.mem[4095], 1);
    assert_int_equal(w->fake.disk.mem[4096], 0);
    assert_int_equal(w->fake.disk.mem[12287], 0);
    assert_int_equal(w->fake.disk.mem[12288], 1);
    assert_int_equal(w->fake.disk.mem[32768], 0);
    assert_int_equal(atomic_load(&w->fake.disk.count[INI_ZERO]), 2);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 8192), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(fallocate(fd, 0, 0, 4096), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(fallocate(fd, FALLOC_FL_ZERO_RANGE, SIZE - 4096, 8192), -1);
    assert_int_equal(errno, EINVAL);
    close(fd);
}

static void test_dsync_becomes_fua(void **state)
{
    struct world *w = *state;
    uint8_t buf[512] = { 0 };
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR | O_DSYNC);
    assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
    assert_true(atomic_load(&w->fake.disk.fua) == 1);
    close(fd);
}

static void test_readonly_refuses_writers(void **state)
{
    struct world *w = *state;
    uint8_t buf[512];
    int fd, ro = 0;

    NEED_FUSE(w);
    assert_int_equal(open(w->file, O_RDWR), -1);
    assert_int_equal(errno, EROFS);
    fd = open_file(w, O_RDONLY);
    assert_int_equal(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
    close(fd);
    NEED_LOOP(w);
    fd = open(w->x.r.path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, BLKROGET, &ro), 0);
    assert_int_equal(ro, 1);
    close(fd);
}

/* Not by us: by a process that the message names. */
static void test_close_is_refused_while_the_file_is_open(void **state)
{
    struct world *w = *state;
    int ready[2], status;
    char byte;
    pid_t pid;

    NEED_FUSE(w);
    assert_int_equal(pipe(ready), 0);
    if (!(pid = fork())) {
        const int fd = open(w->file, O_RDONLY);

        prctl(PR_SET_PDEATHSIG, SIGKILL);       /* or a test that fails leaves a process that holds the mount */
        if (fd < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_int_equal(exporter_close(&w->x, false), -EBUSY);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_non_null(strstr(w->x.why, "held open by test_fuse"));
}

/* ---- the loop device ---- */

static void test_loop_has_size_and_blocks(void **state)
{
    struct world *w = *state;
    uint64_t size = 0;
    int fd, bs = 0;

    NEED_LOOP(w);
    fd = open(w->x.r.path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
    assert_int_equal(ioctl(fd, BLKSSZGET, &bs), 0);
    assert_int_equal(size, SIZE);
    assert_int_equal(bs, w->fake.disk.info.block_len);
    close(fd);
}

/* The loop driver syncs the file that it takes, with locks held that others on the host wait for. */
static void test_loop_is_taken_without_a_flush(void **state)
{
    struct world *w = *state;

    NEED_LOOP(w);
    assert_int_equal(atomic_load(&w->fake.disk.count[INI_FLUSH]), 0);
}

static void test_loop_reads_writes_and_discards(void **state)
{
    struct world *w = *state;
    uint64_t range[2] = { 1 << 20, 1 << 20 };
    void *out = NULL, *in = NULL;
    int fd;

    NEED_LOOP(w);
    assert_int_equal(posix_memalign(&out, 4096, 2 << 20), 0);
    assert_int_equal(posix_memalign(&in, 4096, 2 << 20), 0);
    fd = open(w->x.r.path, O_RDWR | O_DIRECT | O_CLOEXEC);
    assert_true(fd >= 0);
    pattern(out, 2 << 20, 4096, 5);
    assert_int_equal(pwrite(fd, out, 2 << 20, 4096), 2 << 20);
    assert_memory_equal(w->fake.disk.mem + 4096, out, 2 << 20);
    assert_int_equal(pread(fd, in, 2 << 20, 4096), 2 << 20);
    assert_memory_equal(in, out, 2 << 20);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(ioctl(fd, BLKDISCARD, range), 0);
    assert_int_equal(w->fake.disk.mem[(1 << 20) + 77], 0);
    memset(w->fake.disk.mem, 9, 2 << 20);
    assert_int_equal(ioctl(fd, BLKZEROOUT, range), 0);
    assert_int_equal(w->fake.disk.mem[(1 << 20) + 77], 0);
    close(fd);
    free(out);
    free(in);
}

static void test_loop_close_is_refused_while_held(void **state)
{
    struct world *w = *state;
    int fd;

    NEED_LOOP(w);
    fd = open(w->x.r.path, O_RDONLY | O_EXCL | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(exporter_close(&w->x, false), -EBUSY);
    assert_non_null(strstr(w->x.why, "in use"));
    close(fd);
}

/* Buffered writes, never synced by who made them: they are the device's to write out before it goes. */
static void test_loop_close_writes_out_the_cache(void **state)
{
    struct world *w = *state;
    uint8_t buf[4096];
    int fd;

    NEED_LOOP(w);
    fd = open(w->x.r.path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    memset(buf, 0x77, sizeof(buf));
    assert_int_equal(pwrite(fd, buf, sizeof(buf), 8192), sizeof(buf));
    close(fd);
    assert_int_equal(exporter_close(&w->x, false), 0);
    w->x.e = NULL;
    assert_int_equal(w->fake.disk.mem[8192], 0x77);
    assert_int_equal(w->fake.disk.mem[8192 + 4095], 0x77);
}

static void grow_fn(void *arg)
{
    struct world *w = arg;

    w->fake.disk.info.size = 2 * SIZE;
    exp_resized(w->x.e);
}

static void test_loop_follows_a_resize(void **state)
{
    struct world *w = *state;
    uint64_t size = 0;

    NEED_LOOP(w);
    fake_on_core(&w->fake, grow_fn, w);
    for (int i = 0; i < 100 && size != 2 * SIZE; i++) {
        const int fd = open(w->x.r.path, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(ioctl(fd, BLKGETSIZE64, &size), 0);
        close(fd);
        usleep(20000);
    }
    assert_int_equal(size, 2 * SIZE);
}

/* Taken away under a user: requests fail, and nothing hangs. */
static void test_forced_close_fails_requests(void **state)
{
    struct world *w = *state;
    uint8_t buf[512];
    int fd;

    NEED_FUSE(w);
    fd = open_file(w, O_RDWR);
    assert_int_equal(exporter_close(&w->x, true), 0);
    w->x.e = NULL;
    assert_int_equal(pread(fd, buf, sizeof(buf), 0), -1);
    close(fd);
}

static void test_unmounted_by_somebody_is_an_event(void **state)
{
    struct world *w = *state;
    char dir[256];

    NEED_FUSE(w);
    if (geteuid())
        skip();
    if (!strncmp(w->x.r.path, "/dev/loop", 9)) {
        const int fd = open(w->x.r.path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(ioctl(fd, 0x4C01 /* LOOP_CLR_FD */), 0);
        close(fd);
    }
    snprintf(dir, sizeof(dir), "%s", w->file);
    *strrchr(dir, '/') = '\0';
    for (int i = 0; i < 50 && umount2(dir, 0); i++)
        usleep(20000);
    for (int i = 0; i < 100 && !atomic_load(&w->x.lost); i++)
        usleep(20000);
    assert_int_equal(atomic_load(&w->x.lost), 1);
}

/* More requests at once than there are tags. */
static void *reader(void *arg)
{
    struct world *w = arg;
    static _Thread_local uint8_t buf[4096];
    int fd = open(w->file, O_RDONLY | O_CLOEXEC);
    intptr_t bad = fd < 0;

    for (unsigned i = 0; !bad && i < 20; i++)
        bad = pread(fd, buf, sizeof(buf), i * 4096) != sizeof(buf) || buf[0] != (uint8_t)i;
    close(fd);
    return (void *)bad;
}

static void test_more_requests_than_tags_all_get_served(void **state)
{
    struct world *w = *state;
    pthread_t t[100];

    NEED_FUSE(w);
    for (unsigned i = 0; i < 20; i++)
        memset(w->fake.disk.mem + i * 4096, (int)i, 4096);
    atomic_store(&w->fake.disk.delay_ns, 2 * RT_MS);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, w), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        void *bad;

        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

/* Each as large as one can be, and more of them than there is memory for: those beyond wait, none is lost. */
static void *large_reader(void *arg)
{
    enum { LEN = 512 << 10 };
    struct world *w = arg;
    uint8_t *buf = NULL;
    int fd = open(w->file, O_RDONLY | O_DIRECT | O_CLOEXEC);
    intptr_t bad = fd < 0 || posix_memalign((void **)&buf, 4096, LEN);

    for (unsigned i = 0; !bad && i < 4; i++)
        bad = pread(fd, buf, LEN, i * LEN) != LEN || buf[0] != (uint8_t)(i + 1) || buf[LEN - 1] != (uint8_t)(i + 1);
    free(buf);
    close(fd);
    return (void *)bad;
}

static void test_more_than_there_is_memory_for_gets_served(void **state)
{
    struct world *w = *state;
    pthread_t t[80];
    struct stat st;

    NEED_FUSE(w);
    for (unsigned i = 0; i < 4; i++)
        memset(w->fake.disk.mem + i * (512 << 10), (int)i + 1, 512 << 10);
    atomic_store(&w->fake.disk.delay_ns, 100 * RT_MS);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, large_reader, w), 0);
    assert_int_equal(stat(w->file, &st), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        void *bad;

        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

#define T(name, make) cmocka_unit_test_setup_teardown(test_##name, world_##make, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(file_has_the_size_and_says_why_it_was_taken, 512),
        T(whole_blocks_go_through, 512),
        T(data_lie_in_the_shared_buffer, 512),
        T(requests_themselves_are_in_no_shared_buffer, 512),
        T(long_requests_arrive_whole, 512),
        T(requests_beyond_the_shared_buffer_are_as_right, 512),
        T(any_offset_and_length_reads_and_writes, 512),
        T(any_offset_and_length_reads_and_writes, 4096),
        T(writers_of_parts_of_one_block_lose_nothing, 512),
        T(writers_of_parts_of_one_block_lose_nothing, 4096),
        T(end_of_the_disk_is_as_on_a_block_device, 512),
        T(errors_arrive_as_they_are, 512),
        T(failed_edge_leaves_the_block_and_frees_it, 512),
        T(holes_and_zeroes_reach_the_disk, 512),
        T(dsync_becomes_fua, 512),
        T(readonly_refuses_writers, readonly),
        T(close_is_refused_while_the_file_is_open, 512),
        T(loop_has_size_and_blocks, 512),
        T(loop_has_size_and_blocks, 4096),
        T(loop_is_taken_without_a_flush, 512),
        T(loop_reads_writes_and_discards, 512),
        T(loop_reads_writes_and_discards, 4096),
        T(loop_close_is_refused_while_held, 512),
        T(loop_close_writes_out_the_cache, 512),
        T(loop_follows_a_resize, 512),
        T(forced_close_fails_requests, 512),
        T(unmounted_by_somebody_is_an_event, 512),
        T(more_requests_than_tags_all_get_served, 512),
        T(more_than_there_is_memory_for_gets_served, 512),
    };

    snprintf(run_dir, sizeof(run_dir), "/tmp/corelane-fuse-%d", (int)getpid());
    const int ret = cmocka_run_group_tests(tests, NULL, NULL);
    char cmd[128];

    snprintf(cmd, sizeof(cmd), "%s/disks", run_dir);
    rmdir(cmd);
    rmdir(run_dir);
    return ret;
}
