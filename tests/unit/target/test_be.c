/*
 * test_be.c - backends: what may be one, what each operation does, and what a failure becomes
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target/backend/be_internal.h"

#include <cmocka.h>

struct fixture {
    struct rt_host *host;
    struct rt *rt;
    char dir[32], path[64];
};

static void up(struct fixture *f)
{
    static const int cores[] = { -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };

    assert_int_equal(rt_host_new(&f->host, &conf), 0);
    f->rt = rt_host_at(f->host, 0);
    strcpy(f->dir, "/tmp/be-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
}

static void down(struct fixture *f)
{
    char cmd[64];

    rt_host_free(f->host);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
    assert_int_equal(system(cmd), 0);
}

struct result {
    struct be_io io;
    bool done;
    int res;
};

static void io_done(struct be_io *io, int res)
{
    struct result *r = container_of(io, struct result, io);

    assert_false(r->done);
    r->done = true;
    r->res = res;
}

enum op { READ, WRITE, WRITE_FUA, SYNC, ZERO, UNMAP };

struct job {
    struct rt_msg msg;
    struct be *be;
    struct rt *rt;
    enum op op;
    const struct iovec *iov;
    unsigned nr;
    uint64_t off, len;
    struct result r;
};

static void job_run(struct rt_msg *m)
{
    struct job *j = container_of(m, struct job, msg);

    switch (j->op) {
    case READ: be_read(j->be, j->rt, &j->r.io, j->iov, j->nr, j->off, j->len); break;
    case WRITE: be_write(j->be, j->rt, &j->r.io, j->iov, j->nr, j->off, j->len, false); break;
    case WRITE_FUA: be_write(j->be, j->rt, &j->r.io, j->iov, j->nr, j->off, j->len, true); break;
    case SYNC: be_sync(j->be, j->rt, &j->r.io); break;
    case ZERO: be_zero(j->be, j->rt, &j->r.io, j->off, j->len, false); break;
    case UNMAP: be_zero(j->be, j->rt, &j->r.io, j->off, j->len, true); break;
    }
}

static int io(struct fixture *f, struct be *be, enum op op, const struct iovec *iov, unsigned nr, uint64_t off,
              uint64_t len)
{
    struct job j = {
        .msg.fn = job_run, .be = be, .rt = f->rt, .op = op, .iov = iov, .nr = nr, .off = off, .len = len
    };

    j.r.io.done = io_done;
    rt_post(f->rt, &j.msg);
    while (!j.r.done)
        assert_true(rt_turn(f->rt, RT_MS) >= 0);
    return j.r.res;
}

static int io1(struct fixture *f, struct be *be, enum op op, void *buf, uint64_t off, uint64_t len)
{
    const struct iovec iov = { buf, len };

    return io(f, be, op, &iov, 1, off, len);
}

static struct be *open_ok(const struct be_conf *conf)
{
    char why[256] = "";
    struct be *be = NULL;
    const int err = be_open(&be, conf, why);

    if (err)
        fail_msg("be_open: %d: %s", err, why);
    return be;
}

static void refused(const struct be_conf *conf, int err, const char *word)
{
    char why[256] = "";
    struct be *be = NULL;

    assert_int_equal(be_open(&be, conf, why), err);
    assert_null(be);
    if (!strstr(why, word))
        fail_msg("\"%s\" does not say \"%s\"", why, word);
    if (conf->path && !strstr(why, conf->path))
        fail_msg("\"%s\" does not name \"%s\"", why, conf->path);
}

#define LEN (4u << 20)

/* Every kind that keeps data: read what was written, zero it, across buffers of any shape. */
static void roundtrip(struct fixture *f, struct be *be)
{
    uint8_t *a = aligned_alloc(4096, 1 << 20), *b = aligned_alloc(4096, 1 << 20);
    struct iovec iov[3] = { { b, 4096 },
                            { b + 4096, 8192 },
                            { b + 12288, 1 << 16 } }; /* the last is longer than needed */
    struct be_info info;

    be_info(be, &info);
    assert_int_equal(info.size, LEN);
    for (unsigned i = 0; i < 1 << 20; i++)
        a[i] = (uint8_t)(i * 31 + (i >> 8));
    assert_int_equal(io1(f, be, WRITE, a, 512 * 3, 1 << 20), 0);
    memset(b, 0xee, 1 << 20);
    assert_int_equal(io(f, be, READ, iov, 3, 512 * 3, 20480), 0);
    assert_memory_equal(a, b, 20480);
    assert_int_equal(b[20480], 0xee);
    assert_int_equal(io(f, be, WRITE_FUA, iov, 3, 1 << 21, 20480), 0);
    assert_int_equal(io1(f, be, SYNC, NULL, 0, 0), 0);
    assert_int_equal(io1(f, be, READ, b, 1 << 21, 20480), 0);
    assert_memory_equal(a, b, 20480);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(io1(f, be, WRITE, a, 0, 1 << 20), 0);
        assert_int_equal(io1(f, be, i ? UNMAP : ZERO, NULL, 512, 700 * 1024), 0);
        assert_int_equal(io1(f, be, READ, b, 0, 1 << 20), 0);
        assert_memory_equal(b, a, 512);
        for (unsigned j = 512; j < 512 + 700 * 1024; j++)
            assert_int_equal(b[j], 0);
        assert_memory_equal(b + 512 + 700 * 1024, a + 512 + 700 * 1024, (1 << 20) - 512 - 700 * 1024);
    }
    assert_int_equal(io1(f, be, READ, b, LEN - 512, 1024), -EIO);
    assert_int_equal(io1(f, be, WRITE, a, LEN, 512), -EIO);
    assert_int_equal(io1(f, be, ZERO, NULL, UINT64_MAX - 511, 1024), -EIO);
    free(a);
    free(b);
}

static void test_ram_keeps_data(void **state)
{
    struct fixture f;
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "ram", .size = LEN, .block_len = 512 });
    roundtrip(&f, be);
    be_close(be);
    down(&f);
}

static void test_ram_keeps_data_while_it_grows(void **state)
{
    uint8_t a[8192], b[8192];
    struct fixture f;
    char why[256];
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "ram", .size = 4096, .block_len = 512 });
    memset(a, 7, sizeof(a));
    assert_int_equal(io1(&f, be, WRITE, a, 0, 4096), 0);
    for (unsigned i = 2; i < 20; i++)
        assert_int_equal(be_resize(be, 4096 * i, why), 0);
    assert_int_equal(io1(&f, be, READ, b, 0, 4096), 0);
    assert_memory_equal(a, b, 4096);
    assert_int_equal(io1(&f, be, WRITE, a, 4096 * 3 - 512, 8192), 0);   /* over three pieces */
    assert_int_equal(io1(&f, be, READ, b, 4096 * 3 - 512, 8192), 0);
    assert_memory_equal(a, b, 8192);
    be_close(be);
    down(&f);
}

static void test_a_file_keeps_data(void **state)
{
    struct fixture f;
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .size = LEN, .block_len = 512 });
    roundtrip(&f, be);
    be_close(be);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512 });
    roundtrip(&f, be);
    be_close(be);
    down(&f);
}

/* tmpfs takes no direct I/O, and other file systems no zeroing by range: both are made up for. */
static void test_a_file_on_tmpfs_keeps_data(void **state)
{
    char path[64];
    struct fixture f;
    struct be *be;

    snprintf(path, sizeof(path), "/dev/shm/be-test-%d", (int)getpid());
    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = path, .size = LEN, .block_len = 512 });
    roundtrip(&f, be);
    be_close(be);
    unlink(path);
    down(&f);
}

static void test_null_reads_zeroes_and_forgets(void **state)
{
    uint8_t a[1024];
    struct fixture f;
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "null", .size = LEN, .block_len = 512 });
    memset(a, 7, sizeof(a));
    assert_int_equal(io1(&f, be, WRITE, a, 0, 1024), 0);
    assert_int_equal(io1(&f, be, READ, a, 0, 512), 0);
    assert_int_equal(a[511], 0);
    assert_int_equal(a[512], 7);
    assert_int_equal(io1(&f, be, READ, a, LEN, 512), -EIO);
    be_close(be);
    down(&f);
}

static void test_what_may_not_be_a_unit(void **state)
{
    char other[64];
    struct fixture f;

    up(&f);
    refused(&(struct be_conf){ .kind = "tape", .size = 512, .block_len = 512 }, -EINVAL, "tape");
    refused(&(struct be_conf){ .kind = "ram", .size = 512, .block_len = 520 }, -EINVAL, "520");
    refused(&(struct be_conf){ .kind = "ram", .size = 0, .block_len = 512 }, -EINVAL, "size is 0");
    refused(&(struct be_conf){ .kind = "null", .size = 1000, .block_len = 512 }, -EINVAL, "multiple");
    refused(&(struct be_conf){ .kind = "ram", .size = 1ull << 60, .block_len = 512 }, -ENOMEM, "machine");
    refused(&(struct be_conf){ .kind = "file", .block_len = 512 }, -EINVAL, "path");
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512 }, -ENOENT, "does not exist");
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .size = 1000, .block_len = 512 }, -EINVAL,
            "multiple");
    assert_int_not_equal(access(f.path, F_OK), 0);   /* refused before anything was made */
    refused(&(struct be_conf){ .kind = "file", .path = "/dev/null", .block_len = 512 }, -EINVAL,
            "character device");
    refused(&(struct be_conf){ .kind = "file", .path = f.dir, .block_len = 512 }, -EINVAL, "directory");
    assert_int_equal(mkfifo(f.path, 0600), 0);
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512 }, -EINVAL, "FIFO");
    unlink(f.path);
    assert_int_equal(rt_save(f.path, "x", 1, 0600), 0);
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512 }, -EINVAL, "multiple");
    refused(&(struct be_conf){ .kind = "block", .path = f.path, .block_len = 512 }, -EINVAL, "block device");
    snprintf(other, sizeof(other), "%s/link", f.dir);
    assert_int_equal(symlink(f.path, other), 0);
    refused(&(struct be_conf){ .kind = "file", .path = other, .block_len = 512 }, -ELOOP, "symbolic link");
    assert_int_equal(truncate(f.path, 0), 0);
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512 }, -EINVAL, "size is 0");
    assert_int_equal(truncate(f.path, 8192), 0);
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .size = 4096, .block_len = 512 }, -EFBIG,
            "8192");
    down(&f);
}

static void test_a_read_only_unit_is_not_written(void **state)
{
    uint8_t a[512] = { 1 };
    struct be_info info;
    struct fixture f;
    char why[256];
    struct be *be;

    up(&f);
    be_close(open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .size = LEN, .block_len = 512 }));
    assert_int_equal(chmod(f.path, 0400), 0);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 512, .readonly = true });
    be_info(be, &info);
    assert_true(info.readonly && !info.thin);
    assert_int_equal(io1(&f, be, WRITE, a, 0, 512), -EROFS);
    assert_int_equal(io1(&f, be, ZERO, NULL, 0, 512), -EROFS);
    assert_int_equal(io1(&f, be, SYNC, NULL, 0, 0), 0);
    assert_int_equal(io1(&f, be, READ, a, 0, 512), 0);
    assert_int_equal(be_resize(be, 2 * LEN, why), -EROFS);
    be_close(be);
    down(&f);
}

/* More iovecs than one operation takes. */
static void test_many_small_buffers(void **state)
{
    enum { NR = 1024 };
    uint8_t *mem = aligned_alloc(4096, NR * 512), *back = aligned_alloc(4096, NR * 512);
    static struct iovec out[NR], in[NR];
    struct fixture f;
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .size = LEN, .block_len = 512 });
    for (unsigned i = 0; i < NR * 512; i++)
        mem[i] = (uint8_t)(i * 11 + (i >> 10));
    for (unsigned i = 0; i < NR; i++) {
        out[i] = (struct iovec){ mem + i * 512, 512 };
        in[i] = (struct iovec){ back + i * 512, 512 };
    }
    assert_int_equal(io(&f, be, WRITE, out, NR, 4096, NR * 512), 0);
    assert_int_equal(io(&f, be, READ, in, NR, 4096, NR * 512), 0);
    assert_memory_equal(mem, back, NR * 512);
    be_close(be);
    free(mem);
    free(back);
    down(&f);
}

static void test_a_file_that_ends_before_its_size_is_an_error(void **state)
{
    uint8_t a[8192];
    struct fixture f;
    struct be *be;

    up(&f);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .size = LEN, .block_len = 512 });
    assert_int_equal(truncate(f.path, 4096), 0);
    assert_int_equal(io1(&f, be, READ, a, 0, 4096), 0);
    assert_int_equal(io1(&f, be, READ, a, 0, 8192), -EIO);
    assert_int_equal(io1(&f, be, READ, a, 8192, 4096), -EIO);
    be_close(be);
    down(&f);
}

/* By another name, too: two units would write over each other. Readers may share. */
static void test_a_file_is_one_units_alone(void **state)
{
    struct be_conf conf = { .kind = "file", .size = LEN, .block_len = 4096 };
    struct be *be, *second;
    char hard[80];
    struct fixture f;

    (void)state;
    up(&f);
    conf.path = f.path;
    be = open_ok(&conf);
    snprintf(hard, sizeof(hard), "%s.2", f.path);
    assert_int_equal(link(f.path, hard), 0);
    refused(&(struct be_conf){ .kind = "file", .path = hard, .block_len = 4096 }, -EBUSY, "locked");
    refused(&(struct be_conf){ .kind = "file", .path = f.path, .block_len = 4096, .readonly = true }, -EBUSY,
            "locked");
    be_close(be);
    conf.size = 0;
    conf.readonly = true;
    be = open_ok(&conf);
    conf.path = hard;
    second = open_ok(&conf);
    be_close(be);
    be_close(second);
    down(&f);
}

/* From two cores: those that come while one is under way wait for the next, which is begun by whoever was first
 * of them, and each gets its answer on its own core. */
static void test_many_syncs_at_once_all_end(void **state)
{
    static const int cores[] = { -1, -1 };
    const struct rt_conf two = { .cores = cores, .cores_nr = 2, .mode = RT_MODE_INTERRUPT };
    struct rt_host *host;
    struct job jobs[80];
    struct fixture f;
    struct be *be;
    bool busy = true;

    (void)state;
    up(&f);
    assert_int_equal(rt_host_new(&host, &two), 0);
    be = open_ok(&(struct be_conf){ .kind = "file", .path = f.path, .size = LEN, .block_len = 4096 });
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = (struct job){
            .msg.fn = job_run, .be = be, .rt = rt_host_at(host, i % 2), .op = SYNC, .r.io.done = io_done,
        };
        rt_post(jobs[i].rt, &jobs[i].msg);
        if (i % 7 == 3)                     /* some begin while others wait */
            assert_true(rt_turn(rt_host_at(host, i % 3 ? 1 : 0), 0) >= 0);
    }
    while (busy) {
        busy = false;
        for (unsigned i = 0; i < 2; i++)
            assert_true(rt_turn(rt_host_at(host, i), RT_MS / 10) >= 0);
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
            busy |= !jobs[i].r.done;
    }
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
        assert_int_equal(jobs[i].r.res, 0);
    be_close(be);
    rt_host_free(host);
    down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ram_keeps_data),
        cmocka_unit_test(test_ram_keeps_data_while_it_grows),
        cmocka_unit_test(test_a_file_keeps_data),
        cmocka_unit_test(test_a_file_on_tmpfs_keeps_data),
        cmocka_unit_test(test_null_reads_zeroes_and_forgets),
        cmocka_unit_test(test_what_may_not_be_a_unit),
        cmocka_unit_test(test_a_read_only_unit_is_not_written),
        cmocka_unit_test(test_many_small_buffers),
        cmocka_unit_test(test_a_file_is_one_units_alone),
        cmocka_unit_test(test_many_syncs_at_once_all_end),
        cmocka_unit_test(test_a_file_that_ends_before_its_size_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
