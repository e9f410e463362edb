/* The nbd export's own end of the socket, against a client that is not the kernel and does what the kernel
 * never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "export/export_internal.h"
#include "export/nbd_nl.h"
#include "export/nbd_wire.h"
#include "exports.h"

#define SIZE (16ull << 20)
#define ID 7

/* ---- the kernel that is not there: link-time stand-ins for nbd_nl.c and device.c ---- */

static struct {
    int sock;
    int connect_err, claim_err;
    uint64_t flags, size;
    unsigned disconnects, resizes;
} kernel;

int nbd_nl_connect(const struct nbd_nl_conf *conf)
{
    if (kernel.connect_err)
        return kernel.connect_err;
    kernel.sock = dup(conf->sock);
    kernel.flags = conf->flags;
    kernel.size = conf->size;
    return ID;
}

int nbd_nl_disconnect(int id)
{
    assert(id == ID);
    kernel.disconnects++;
    if (kernel.sock >= 0)
        close(kernel.sock);
    kernel.sock = -1;
    return 0;
}

int nbd_nl_resize(int id, const char *ident, uint64_t size)
{
    kernel.resizes++;
    kernel.size = size;
    return 0;
}

int exp_node(const char *path, const char *sysfs, bool block)
{
    return 0;
}

void exp_module(const char *name)
{
}

int exp_claim(struct exp *e, int *fd)
{
    *fd = -1;
    if (kernel.claim_err)
        exp_note(e, "in use");
    return kernel.claim_err;
}

int exp_size_check(struct exp *e)
{
    return kernel.size == e->size ? 0 : -EIO;
}

bool exp_find_holder(const char *path, char *out, size_t len)
{
    return false;
}

void exp_sleep_ms(unsigned ms)
{
}

int exp_read_line(const char *path, char *out, size_t len)
{
    snprintf(out, len, "corelane:disk-0");
    return 0;
}

/* ---- the client ---- */

static char run_dir[64];

struct world {
    struct fake fake;
    struct exporter x;
};

static int world_make(void **state, bool readonly)
{
    struct world *w = calloc(1, sizeof(*w));
    struct exp_conf conf = {
        .kind = EXP_NBD, .name = "disk-0", .run_dir = run_dir, .readonly = readonly, .queue_depth = 16
    };

    memset(&kernel, 0, sizeof(kernel));
    kernel.sock = -1;
    *state = w;
    if (fake_start(&w->fake, SIZE, 512))
        return -1;
    return exporter_open(&w->x, &w->fake, &conf);
}

static int world(void **state)
{
    return world_make(state, false);
}

static int world_readonly(void **state)
{
    return world_make(state, true);
}

static int world_end(void **state)
{
    struct world *w = *state;
    int err = 0;

    if (w->x.e)
        err = exporter_close(&w->x, false);
    if (!err && atomic_load(&w->fake.disk.in_flight))
        err = -1;
    fake_stop(&w->fake);
    free(w);
    return err;
}

static void put(const void *data, size_t len)
{
    assert_int_equal(send(kernel.sock, data, len, MSG_NOSIGNAL), len);
}

static void request(uint8_t out[static NBD_REQUEST_LEN], unsigned flags, unsigned type, uint64_t handle,
                    uint64_t off, uint32_t len)
{
    store_be32(&out[0], NBD_WIRE_REQUEST);
    store_be16(&out[4], (uint16_t)flags);
    store_be16(&out[6], (uint16_t)type);
    store_be64(&out[8], handle);
    store_be64(&out[16], off);
    store_be32(&out[24], len);
}

static void ask(unsigned flags, unsigned type, uint64_t handle, uint64_t off, uint32_t len)
{
    uint8_t wire[NBD_REQUEST_LEN];

    request(wire, flags, type, handle, off, len);
    put(wire, sizeof(wire));
}

static void get(void *data, size_t len)
{
    struct pollfd p = { .fd = kernel.sock, .events = POLLIN };
    size_t got = 0;

    while (got < len) {
        assert_int_equal(poll(&p, 1, 10000), 1);
        const ssize_t n = recv(kernel.sock, (uint8_t *)data + got, len - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
}

/* Return: the error of the next reply; *handle is whose it is. */
static uint32_t reply(uint64_t *handle)
{
    uint8_t wire[NBD_REPLY_LEN];

    get(wire, sizeof(wire));
    assert_int_equal(load_be32(wire), NBD_WIRE_REPLY);
    if (handle)
        *handle = load_be64(wire + 8);
    return load_be32(wire + 4);
}

static void expect_end(void)
{
    struct pollfd p = { .fd = kernel.sock, .events = POLLIN };
    uint8_t byte;

    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(recv(kernel.sock, &byte, 1, 0) <= 0);
}

static void expect_lost(struct world *w)
{
    for (int i = 0; i < 500 && !atomic_load(&w->x.lost); i++)
        usleep(10000);
    assert_int_equal(atomic_load(&w->x.lost), 1);
}

/* ---- tests ---- */

static void test_decode_takes_a_request_and_refuses_other_magic(void **state)
{
    uint8_t wire[NBD_REQUEST_LEN];
    struct nbd_rq rq = { .len = 7 };

    request(wire, NBD_RQ_FUA, NBD_WRITE, 0x1122334455667788, 0x8000000000001000, 0xfffffe00);
    assert_int_equal(nbd_rq_decode(&rq, wire), 0);
    assert_int_equal(rq.type, NBD_WRITE);
    assert_int_equal(rq.flags, NBD_RQ_FUA);
    assert_int_equal(rq.off, 0x8000000000001000);
    assert_int_equal(rq.len, 0xfffffe00);
    for (unsigned i = 0; i < 4; i++) {
        wire[i] ^= 1;
        rq.len = 7;
        assert_int_equal(nbd_rq_decode(&rq, wire), -EPROTO);
        assert_int_equal(rq.len, 7);
        wire[i] ^= 1;
    }
}

static void test_reply_carries_the_nearest_error(void **state)
{
    static const struct {
        int err;
        uint32_t wire;
    } rows[] = { { 0, 0 },        { -EIO, 5 },   { -ENOSPC, 28 }, { -EROFS, 1 },
                 { -EINVAL, 22 }, { -EBADE, 5 }, { -ENODATA, 5 } };
    uint8_t wire[NBD_REPLY_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        nbd_reply_encode(wire, 0x0102030405060708, rows[i].err);
        assert_int_equal(load_be32(wire + 4), rows[i].wire);
    }
}

static void test_flags_say_what_the_disk_can(void **state)
{
    assert_int_equal(kernel.flags,
                     NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES);
}

static void test_data_go_both_ways(void **state)
{
    struct world *w = *state;
    static uint8_t out[1 << 20], in[1 << 20];
    uint64_t handle;

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + i / 4096);
    ask(0, NBD_WRITE, 1, 4096, sizeof(out));
    for (size_t at = 0; at < sizeof(out); at += 65536)
        put(out + at, 65536);
    assert_int_equal(reply(&handle), 0);
    assert_int_equal(handle, 1);
    assert_memory_equal(w->fake.disk.mem + 4096, out, sizeof(out));
    ask(0, NBD_READ, 2, 4096, sizeof(in));
    assert_int_equal(reply(&handle), 0);
    assert_int_equal(handle, 2);
    get(in, sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
}

/* Where the target can use them as they lie, but for what no such memory is left. */
static void test_data_lie_in_the_shared_buffer_while_it_has_room(void **state)
{
    struct world *w = *state;
    static uint8_t out[1 << 20], in[1 << 20];
    unsigned placed;

    memset(out, 3, sizeof(out));
    ask(0, NBD_WRITE, 1, 0, sizeof(out));
    for (size_t at = 0; at < sizeof(out); at += 65536)
        put(out + at, 65536);
    assert_int_equal(reply(NULL), 0);
    assert_int_equal(atomic_load(&w->fake.disk.placed), 1);
    atomic_store(&w->fake.disk.delay_ns, 50 * RT_MS);
    for (unsigned i = 0; i < 8; i++)
        ask(0, NBD_READ, i, 0, sizeof(in));
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(reply(NULL), 0);
        get(in, sizeof(in));
        assert_memory_equal(in, out, sizeof(in));
    }
    placed = atomic_load(&w->fake.disk.placed);
    assert_in_range(placed, 1 + 4, 8);
    atomic_store(&w->fake.disk.delay_ns, 0);
    ask(0, NBD_READ, 9, 0, 512);
    assert_int_equal(reply(NULL), 0);
    get(in, 512);
    assert_int_equal(atomic_load(&w->fake.disk.placed), placed + 1);
}

/* Larger than a tag's buffer and all that is shared: one after another, each whole. */
static void *large_writer(void *arg)
{
    static uint8_t out[5 << 20];

    for (unsigned i = 0; i < 3; i++) {
        uint8_t wire[NBD_REQUEST_LEN];

        memset(out, (int)i + 1, sizeof(out));
        request(wire, 0, NBD_WRITE, i, i * sizeof(out), sizeof(out));
        if (send(kernel.sock, wire, sizeof(wire), MSG_NOSIGNAL) < 0 ||
            send(kernel.sock, out, sizeof(out), MSG_NOSIGNAL) < 0)
            break;
    }
    return NULL;
}

static void test_large_requests_share_one_buffer(void **state)
{
    struct world *w = *state;
    pthread_t t;

    pthread_create(&t, NULL, large_writer, NULL);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(reply(NULL), 0);
    pthread_join(t, NULL);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(w->fake.disk.mem[i * (5ul << 20)], i + 1);
        assert_int_equal(w->fake.disk.mem[(i + 1) * (5ul << 20) - 1], i + 1);
    }
}

static void test_a_stream_split_at_every_byte_is_the_same(void **state)
{
    struct world *w = *state;
    uint8_t wire[NBD_REQUEST_LEN + 512];
    uint64_t handle;

    for (size_t cut = 1; cut < sizeof(wire); cut += 7) {
        request(wire, 0, NBD_WRITE, cut, 512, 512);
        memset(wire + NBD_REQUEST_LEN, (int)cut, 512);
        put(wire, cut);
        usleep(300);
        put(wire + cut, sizeof(wire) - cut);
        assert_int_equal(reply(&handle), 0);
        assert_int_equal(handle, cut);
        assert_int_equal(w->fake.disk.mem[512], (uint8_t)cut);
        assert_int_equal(w->fake.disk.mem[1023], (uint8_t)cut);
    }
}

/* Many more in one go than there are tags, answered out of order: each once. */
static void test_a_burst_beyond_the_tags_is_answered_whole(void **state)
{
    struct world *w = *state;
    static uint8_t burst[600 * NBD_REQUEST_LEN];
    static bool seen[600];
    uint8_t data[512];

    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < 600; i++) {
        memset(w->fake.disk.mem + i * 512, (int)i, 512);
        request(burst + i * NBD_REQUEST_LEN, 0, NBD_READ, i, i * 512, 512);
    }
    atomic_store(&w->fake.disk.scatter, true);
    put(burst, sizeof(burst));
    for (unsigned i = 0; i < 600; i++) {
        uint64_t handle;

        assert_int_equal(reply(&handle), 0);
        assert_true(handle < 600 && !seen[handle]);
        seen[handle] = true;
        get(data, sizeof(data));
        assert_int_equal(data[0], (uint8_t)handle);
        assert_int_equal(data[511], (uint8_t)handle);
    }
    atomic_store(&w->fake.disk.scatter, false);
}

static void test_commands_reach_the_disk_as_what_they_are(void **state)
{
    struct world *w = *state;
    struct mpio_disk *d = &w->fake.disk;
    uint8_t data[512] = { 0 };

    memset(d->mem, 1, 4096);
    ask(0, NBD_FLUSH, 1, 0, 0);
    assert_int_equal(reply(NULL), 0);
    ask(0, NBD_TRIM, 2, 0, 512);
    assert_int_equal(reply(NULL), 0);
    ask(NBD_RQ_NO_HOLE, NBD_WRITE_ZEROES, 3, 512, 512);
    assert_int_equal(reply(NULL), 0);
    ask(NBD_RQ_FUA, NBD_WRITE, 4, 1024, 512);
    put(data, sizeof(data));
    assert_int_equal(reply(NULL), 0);
    assert_int_equal(atomic_load(&d->count[INI_FLUSH]), 1);
    assert_int_equal(atomic_load(&d->count[INI_UNMAP]), 1);
    assert_int_equal(atomic_load(&d->count[INI_ZERO]), 1);
    assert_int_equal(atomic_load(&d->fua), 1);
    assert_int_equal(d->mem[512], 0);
}

/* Refused, and the stream goes on: what follows a refused write is its data, not the next request. */
static void test_refusals_keep_the_stream(void **state)
{
    uint8_t data[1024] = { 0 };
    uint64_t handle;

    ask(0, 99, 1, 0, 512);
    assert_int_equal(reply(&handle), 22);
    assert_int_equal(handle, 1);
    ask(0, 5, 2, 0, 512);                       /* NBD_CMD_CACHE, not ours */
    assert_int_equal(reply(NULL), 22);
    ask(0, NBD_READ, 3, SIZE, 512);
    assert_int_equal(reply(NULL), 22);
    ask(0, NBD_READ, 4, UINT64_MAX - 511, 1024);
    assert_int_equal(reply(NULL), 22);
    ask(0, NBD_READ, 5, 100, 512);
    assert_int_equal(reply(NULL), 22);
    ask(0, NBD_WRITE, 6, SIZE - 512, 1024);
    put(data, 1024);
    assert_int_equal(reply(&handle), 22);
    assert_int_equal(handle, 6);
    ask(0, NBD_WRITE, 7, 0, 0);
    assert_int_equal(reply(NULL), 22);
    ask(0, NBD_READ, 8, 0, 512);
    assert_int_equal(reply(&handle), 0);
    assert_int_equal(handle, 8);
    get(data, 512);
}

static void test_failed_read_has_no_data(void **state)
{
    struct world *w = *state;
    uint8_t data[512];

    atomic_store(&w->fake.disk.fail[INI_READ], EREMOTEIO);
    ask(0, NBD_READ, 1, 0, 512);
    assert_int_equal(reply(NULL), 5);
    atomic_store(&w->fake.disk.fail[INI_READ], 0);
    ask(0, NBD_READ, 2, 0, 512);
    assert_int_equal(reply(NULL), 0);
    get(data, 512);
}

static void test_readonly_refuses_changes(void **state)
{
    struct world *w = *state;
    uint8_t data[512] = { 0 };

    assert_true(kernel.flags & NBD_READ_ONLY);
    ask(0, NBD_WRITE, 1, 0, 512);
    put(data, 512);
    assert_int_equal(reply(NULL), 1);
    ask(0, NBD_TRIM, 2, 0, 512);
    assert_int_equal(reply(NULL), 1);
    ask(0, NBD_READ, 3, 0, 512);
    assert_int_equal(reply(NULL), 0);
    get(data, 512);
    assert_int_equal(atomic_load(&w->fake.disk.count[INI_WRITE]), 0);
}

static void test_garbage_ends_the_stream_and_nothing_else(void **state)
{
    struct world *w = *state;
    uint8_t junk[64];

    memset(junk, 0xa5, sizeof(junk));
    put(junk, sizeof(junk));
    expect_end();
    expect_lost(w);
}

static void test_absurd_length_ends_the_stream(void **state)
{
    struct world *w = *state;

    ask(0, NBD_WRITE, 1, 0, 0xfffffe00);
    expect_end();
    expect_lost(w);
}

static void test_disconnect_by_the_kernel_is_an_event(void **state)
{
    struct world *w = *state;

    ask(0, NBD_DISC, 1, 0, 0);
    expect_lost(w);
}

/* The kernel's end goes while requests are with the disk: they are waited for, and nothing is left. */
static void test_end_with_requests_in_flight(void **state)
{
    struct world *w = *state;
    uint8_t wire[NBD_REQUEST_LEN], part[100] = { 0 };

    atomic_store(&w->fake.disk.delay_ns, 50 * RT_MS);
    for (unsigned i = 0; i < 10; i++)
        ask(0, NBD_READ, i, i * 4096, 4096);
    request(wire, 0, NBD_WRITE, 99, 0, 4096);   /* half a write */
    put(wire, sizeof(wire));
    put(part, sizeof(part));
    usleep(5000);
    close(kernel.sock);
    kernel.sock = -1;
    expect_lost(w);
}

static void test_refused_close_leaves_it_working(void **state)
{
    struct world *w = *state;
    uint8_t data[512];

    kernel.claim_err = -EBUSY;
    assert_int_equal(exporter_close(&w->x, false), -EBUSY);
    assert_string_equal(w->x.why, "in use");
    assert_int_equal(kernel.disconnects, 0);
    kernel.claim_err = 0;
    ask(0, NBD_READ, 1, 0, 512);
    assert_int_equal(reply(NULL), 0);
    get(data, 512);
}

static void test_resize_is_told_once(void **state)
{
    struct world *w = *state;

    fake_on_core(&w->fake, exporter_resized_fn, &w->x);     /* the same size: nothing to tell */
    w->fake.disk.info.size = 2 * SIZE;
    fake_on_core(&w->fake, exporter_resized_fn, &w->x);
    for (int i = 0; i < 500 && kernel.size != 2 * SIZE; i++)
        usleep(10000);
    assert_int_equal(kernel.size, 2 * SIZE);
    assert_int_equal(kernel.resizes, 1);
}

static void test_refused_connect_says_the_remedy(void **state)
{
    struct exp_conf conf = { .kind = EXP_NBD, .name = "disk-0", .run_dir = run_dir };
    struct world *w = calloc(1, sizeof(*w));

    memset(&kernel, 0, sizeof(kernel));
    kernel.sock = -1;
    kernel.connect_err = -ENOENT;
    assert_int_equal(fake_start(&w->fake, SIZE, 512), 0);
    assert_int_equal(exporter_open(&w->x, &w->fake, &conf), -ENOENT);
    assert_non_null(strstr(w->x.r.why, "modprobe nbd"));
    fake_stop(&w->fake);
    free(w);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, world, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_takes_a_request_and_refuses_other_magic),
        cmocka_unit_test(test_reply_carries_the_nearest_error),
        T(flags_say_what_the_disk_can),
        T(data_go_both_ways),
        T(data_lie_in_the_shared_buffer_while_it_has_room),
        T(large_requests_share_one_buffer),
        T(a_stream_split_at_every_byte_is_the_same),
        T(a_burst_beyond_the_tags_is_answered_whole),
        T(commands_reach_the_disk_as_what_they_are),
        T(refusals_keep_the_stream),
        T(failed_read_has_no_data),
        cmocka_unit_test_setup_teardown(test_readonly_refuses_changes, world_readonly, world_end),
        T(garbage_ends_the_stream_and_nothing_else),
        T(absurd_length_ends_the_stream),
        T(disconnect_by_the_kernel_is_an_event),
        T(end_with_requests_in_flight),
        T(refused_close_leaves_it_working),
        T(resize_is_told_once),
        cmocka_unit_test(test_refused_connect_says_the_remedy),
    };
    char dir[96];
    int ret;

    snprintf(run_dir, sizeof(run_dir), "/tmp/corelane-nbd-%d", (int)getpid());
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(dir, sizeof(dir), "%s/devices", run_dir);
    rmdir(dir);
    rmdir(run_dir);
    return ret;
}
