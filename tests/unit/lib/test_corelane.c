/*
 * test_corelane.c - libcorelane as its users see it, against tgtd on the loopback interface
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "corelane.h"

#define IQN "iqn.2026-11.org.corelane.test:disk"
#define DISK_LEN (32u << 20)

struct fixture {
    pid_t tgtd;                             /* 0: none here */
    unsigned port, control;
    char dir[64], image[128];
    struct corelane *c;
};

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
    char cmd[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    return system(cmd);
}

static int tgtd_start(struct fixture *f)
{
    char control[16], portal[64];

    snprintf(control, sizeof(control), "%u", f->control);
    snprintf(portal, sizeof(portal), "portal=127.0.0.1:%u", f->port);
    f->tgtd = fork();
    if (!f->tgtd) {
        const int null = open("/dev/null", O_RDWR);

        dup2(null, 1);
        dup2(null, 2);
        execlp("tgtd", "tgtd", "-f", "-C", control, "--iscsi", portal, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 600; i++) {
        usleep(100 * 1000);
        if (!sh("tgtadm -C %u --lld iscsi --op new --mode target --tid 1 -T " IQN " 2>/dev/null", f->control))
            break;
    }
    if (sh("tgtadm -C %u --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b %s", f->control, f->image))
        return -1;
    return sh("tgtadm -C %u --lld iscsi --op bind --mode target --tid 1 -I ALL", f->control);
}

static void tgtd_kill(struct fixture *f)
{
    if (f->tgtd > 0) {
        kill(f->tgtd, SIGKILL);
        waitpid(f->tgtd, NULL, 0);
    }
    f->tgtd = 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    if (sh("command -v tgtd >/dev/null && command -v tgtadm >/dev/null"))
        return 0;
    snprintf(f->dir, sizeof(f->dir), "/tmp/corelane-lib.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->image, sizeof(f->image), "%s/disk", f->dir);
    f->port = 10000 + (unsigned)getpid() % 20000;      /* below what the kernel gives to connections */
    f->control = f->port;                              /* tgtadm takes none above 32767 */
    if (sh("truncate -s %u %s", DISK_LEN, f->image) || tgtd_start(f))
        return -1;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    tgtd_kill(f);
    if (f->image[0]) {
        unlink(f->image);
        rmdir(f->dir);
    }
    free(f);
    return 0;
}

static struct fixture *need_target(void **state)
{
    struct fixture *f = *state;

    if (!f->tgtd) {
        print_message("tgtd is not installed: nothing to talk to\n");
        skip();
    }
    return f;
}

static struct corelane_disk *disk_open(struct fixture *f, struct corelane **c)
{
    struct corelane_disk *d = NULL;
    char url[256];
    int err;

    assert_int_equal(
        corelane_new(c, &(struct corelane_options){ .core = -1,
                                                    .mode = CORELANE_ADAPTIVE,
                                                    .initiator_name = "iqn.2026-11.org.corelane.test:us" }),
        0);
    snprintf(url, sizeof(url), "iscsi://127.0.0.1:%u/" IQN "/1", f->port);
    err = corelane_disk_open(*c, url, NULL, &d);
    if (err)
        print_message("open: %d %s\n", err, corelane_error(*c));
    assert_int_equal(err, 0);
    return d;
}

static void note(struct corelane_io *io, int res)
{
    *(int *)io->user = res;
}

static int run(struct corelane *c, struct corelane_disk *d, enum corelane_op op, uint64_t off, void *buf,
               size_t len, unsigned flags)
{
    struct iovec iov = { buf, len };
    int res = 1;
    struct corelane_io io = { .op = op,
                              .flags = flags,
                              .offset = off,
                              .length = len,
                              .iov = &iov,
                              .iov_nr = 1,
                              .done = note,
                              .user = &res };
    const int err = corelane_submit(d, &io);

    if (err)
        return err;
    while (res == 1)
        assert_true(corelane_poll(c, -1) >= 0);
    return res;
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void test_what_was_written_is_read_back(void **state)
{
    static const size_t lens[] = { 512, 4096, 65536, 1 << 20, (1 << 20) + 512, 5 << 20 };
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);
    uint8_t *out = malloc(8 << 20), *in = malloc(8 << 20);
    struct corelane_disk_info info;

    corelane_disk_info(d, &info);
    assert_int_equal(info.size, DISK_LEN);
    assert_int_equal(info.block_len, 512);
    assert_string_equal(info.transport, "tcp");
    assert_true(info.wwid[0]);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        fill(out, lens[i], (uint32_t)i);
        assert_int_equal(run(c, d, CORELANE_WRITE, 512 * (i + 1), out, lens[i], i & 1 ? CORELANE_FUA : 0), 0);
        memset(in, 0xee, lens[i]);
        assert_int_equal(run(c, d, CORELANE_READ, 512 * (i + 1), in, lens[i], 0), 0);
        assert_memory_equal(in, out, lens[i]);
    }
    assert_int_equal(run(c, d, CORELANE_FLUSH, 0, NULL, 0, 0), 0);
    corelane_disk_close(d);
    corelane_free(c);
    free(out);
    free(in);
}

static void test_pieces_begin_anywhere_in_the_caller_s_memory(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);
    const size_t len = 3 << 20;
    uint8_t *out = malloc(len), *in = malloc(len);
    struct iovec iov[64];
    unsigned n = 0;
    int res = 1;
    struct corelane_io io = {
        .op = CORELANE_WRITE, .offset = 4096, .length = len, .iov = iov, .done = note, .user = &res
    };

    fill(out, len, 99);
    for (size_t at = 0; at < len; n++) {
        size_t part = 1000 + 77777 * (n % 3);

        if (part > len - at)
            part = len - at;
        iov[n] = (struct iovec){ out + at, part };
        at += part;
    }
    io.iov_nr = n;
    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(c, -1) >= 0);
    assert_int_equal(res, 0);
    assert_int_equal(run(c, d, CORELANE_READ, 4096, in, len, 0), 0);
    assert_memory_equal(in, out, len);
    corelane_disk_close(d);
    corelane_free(c);
    free(out);
    free(in);
}

static void test_zeroes_are_written(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);
    uint8_t *buf = malloc(4 << 20);
    int res = 1;
    struct corelane_io io = {
        .op = CORELANE_WRITE_ZEROES, .offset = 8192, .length = 3 << 20, .done = note, .user = &res
    };

    memset(buf, 0x55, 4 << 20);
    assert_int_equal(run(c, d, CORELANE_WRITE, 0, buf, 4 << 20, 0), 0);
    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(c, -1) >= 0);
    assert_int_equal(res, 0);
    assert_int_equal(run(c, d, CORELANE_READ, 0, buf, 4 << 20, 0), 0);
    for (size_t i = 0; i < 4 << 20; i++)
        assert_int_equal(buf[i], i < 8192 || i >= 8192 + (3 << 20) ? 0x55 : 0);
    corelane_disk_close(d);
    corelane_free(c);
    free(buf);
}

static void test_what_can_never_be_right_is_refused_at_once(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);
    static uint8_t buf[4096];

    assert_int_equal(run(c, d, CORELANE_READ, 1, buf, 512, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, 0, buf, 513, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, DISK_LEN, buf, 512, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, DISK_LEN - 512, buf, 1024, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, UINT64_MAX - 511, buf, 512, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, 0, buf, 0, 0), -EINVAL);
    assert_int_equal(run(c, d, CORELANE_READ, DISK_LEN - 512, buf, 512, 0), 0);
    corelane_disk_close(d);
    corelane_free(c);
}

struct stream {
    struct corelane_disk *d;
    struct corelane_io io;
    struct iovec iov;
    uint8_t buf[4096];
    unsigned *left, *errors;
    uint32_t seed;
};

static void stream_done(struct corelane_io *io, int res)
{
    struct stream *s = io->user;

    *s->errors += res != 0;
    if (!*s->left)
        return;
    --*s->left;
    s->seed = s->seed * 1664525u + 1013904223u;
    io->offset = (uint64_t)(s->seed >> 8) % (DISK_LEN / 4096) * 4096;
    if (corelane_submit(s->d, io))
        ++*s->errors;
}

static void stream_run(struct fixture *f, struct corelane *c, struct corelane_disk *d, enum corelane_op op,
                       unsigned count, void (*midway)(struct fixture *f))
{
    static struct stream s[32];
    unsigned left = count, errors = 0, done = 0;
    struct timespec a, b;

    clock_gettime(CLOCK_MONOTONIC, &a);
    for (unsigned i = 0; i < 32; i++) {
        s[i] = (struct stream){ .d = d, .left = &left, .errors = &errors, .seed = i };
        s[i].iov = (struct iovec){ s[i].buf, sizeof(s[i].buf) };
        s[i].io = (struct corelane_io){
            .op = op, .length = 4096, .iov = &s[i].iov, .iov_nr = 1, .done = stream_done, .user = &s[i]
        };
        assert_int_equal(corelane_submit(d, &s[i].io), 0);
    }
    while (done < count + 32) {
        const int n = corelane_poll(c, -1);

        assert_true(n >= 0);
        done += (unsigned)n;
        if (midway && done > count / 2) {
            midway(f);
            midway = NULL;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("%u requests in %.2f s\n", count,
                  (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    assert_int_equal(errors, 0);
}

static void test_many_requests_at_once(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);

    stream_run(f, c, d, CORELANE_WRITE, 20000, NULL);
    stream_run(f, c, d, CORELANE_READ, 20000, NULL);
    corelane_disk_close(d);
    corelane_free(c);
}

static void tgtd_restart(struct fixture *f)
{
    tgtd_kill(f);
    assert_int_equal(tgtd_start(f), 0);
}

static void test_a_target_killed_and_started_again_is_only_a_wait(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d = disk_open(f, &c);

    stream_run(f, c, d, CORELANE_WRITE, 10000, tgtd_restart);
    stream_run(f, c, d, CORELANE_READ, 10000, tgtd_restart);
    corelane_disk_close(d);
    corelane_free(c);
}

static void test_refusals_name_the_reason(void **state)
{
    struct fixture *f = need_target(state);
    struct corelane *c;
    struct corelane_disk *d;
    char url[256];

    assert_int_equal(corelane_new(&c, NULL), 0);
    snprintf(url, sizeof(url), "iscsi://127.0.0.1:%u/iqn.2026-11.org.corelane.test:none/1", f->port);
    assert_int_equal(corelane_disk_open(c, url, NULL, &d), -ENOENT);
    assert_non_null(strstr(corelane_error(c), "0203"));
    snprintf(url, sizeof(url), "iscsi://127.0.0.1:%u/" IQN "/77", f->port);
    assert_int_equal(corelane_disk_open(c, url, NULL, &d), -ENODEV);
    assert_non_null(strstr(corelane_error(c), "lun 77"));
    assert_int_equal(corelane_disk_open(c, "iscsi://127.0.0.1/", NULL, &d), -EINVAL);
    assert_int_equal(corelane_disk_open(c, "iscsi://u%short@127.0.0.1/" IQN "/1", NULL, &d), -EINVAL);
    assert_non_null(strstr(corelane_error(c), "12"));
    corelane_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read_back),
        cmocka_unit_test(test_pieces_begin_anywhere_in_the_caller_s_memory),
        cmocka_unit_test(test_zeroes_are_written),
        cmocka_unit_test(test_what_can_never_be_right_is_refused_at_once),
        cmocka_unit_test(test_many_requests_at_once),
        cmocka_unit_test(test_a_target_killed_and_started_again_is_only_a_wait),
        cmocka_unit_test(test_refusals_name_the_reason),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
