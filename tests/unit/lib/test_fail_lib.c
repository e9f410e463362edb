/*
 * test_fail_lib.c - libcorelane opens a disk of our own target, reads, writes and closes it while one
 * allocation of the library after another fails
 *
 * Each call succeeds, or returns -ENOMEM or what came of it, with words, and succeeds when it is made again. Over TCP,
 * and where shared memory may be had: what fails on the way there is no error.
 */
#include "../target/tgt_peer.h"
#include "corelane.h"
#include "../fail.h"

#define USER "somebody"
#define SECRET "a secret of length"
#define LEN 8192u

static struct bed bed;
static char url[160];

static int up(void **state)
{
    (void)state;
    fail_up();
    bed_loopback = true;
    bed_start(&bed, 1);
    bed_disk(&bed);
    bed_do(&bed, "chap.set", json_pack("{s:s, s:s, s:s, s:s}", "iqn", T_IQN, "direction", "in", "user", USER,
                                       "secret", SECRET));
    snprintf(url, sizeof(url), "iscsi://%s:%u/" T_IQN "/0", fail_localhost(), bed.port);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_stop(&bed);
    return 0;
}

static void io_done(struct corelane_io *io, int res)
{
    *(int *)io->user = res;
}

/* No request takes memory: none fails. */
static void request(struct corelane *c, struct corelane_disk *d, enum corelane_op op, uint8_t *buf)
{
    struct iovec iov = { buf, LEN };
    int res = 1;
    struct corelane_io io = { .op = op, .length = op == CORELANE_FLUSH ? 0 : LEN, .iov = &iov, .iov_nr = 1,
                              .done = io_done, .user = &res };

    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(c, -1) >= 0);
    assert_int_equal(res, 0);
}

/* Half of it out of buffers of the library's, where it has any. */
static void open_and_use(struct corelane *c, enum corelane_transport transport)
{
    const struct corelane_disk_options options = { .user = USER, .secret = SECRET, .transport = transport };
    static uint8_t out[LEN], in[LEN];
    struct corelane_disk *d = NULL;
    void *lent;
    int err;

    do {
        const unsigned hits = fail_hits();

        err = corelane_disk_open(c, url, &options, &d);
        if (err) {
            if (fail_hits() == hits)
                fail_msg("%s", corelane_error(c));
            assert_null(d);
            assert_true(corelane_error(c)[0]);
        }
    } while (err);
    memset(out, out[0] + 1, sizeof(out));
    request(c, d, CORELANE_WRITE, out);
    request(c, d, CORELANE_FLUSH, NULL);
    lent = corelane_buffer_alloc(d, LEN);
    request(c, d, CORELANE_READ, lent ? lent : in);
    assert_memory_equal(lent ? lent : in, out, LEN);
    corelane_buffer_free(d, lent, LEN);
    request(c, d, CORELANE_WRITE_ZEROES, NULL);
    corelane_disk_close(d);
}

static void lib_once(void *arg)
{
    static const struct corelane_options options = {
        .core = -1, .mode = CORELANE_INTERRUPT, .initiator_name = I_IQN,
    };
    struct corelane *c = NULL;
    int err;

    rt_log_level(0);
    fail_begin(FAIL_HERE);
    do {
        const unsigned hits = fail_hits();

        err = corelane_new(&c, &options);
        if (err) {
            assert_true(fail_hits() != hits);
            assert_int_equal(err, -ENOMEM);
            assert_null(c);
        }
    } while (err);
    open_and_use(c, *(const enum corelane_transport *)arg);
    corelane_free(c);
    fail_end();
}

static enum corelane_transport tcp = CORELANE_TRANSPORT_TCP, either = CORELANE_TRANSPORT_AUTO;

static void test_each_allocation_of_the_library_fails(void **state)
{
    (void)state;
    fail_each("libcorelane", 1, 800, true, lib_once, &tcp);
}

static void test_allocations_in_a_row_fail(void **state)
{
    (void)state;
    fail_each("libcorelane, three in a row", 3, 800, false, lib_once, &tcp);
}

static void test_each_allocation_on_the_way_to_shared_memory_fails(void **state)
{
    (void)state;
    fail_each("libcorelane, shared memory", 1, 800, true, lib_once, &either);
}

static void test_allocations_in_a_row_on_the_way_to_shared_memory_fail(void **state)
{
    (void)state;
    fail_each("libcorelane, shared memory, three in a row", 3, 800, false, lib_once, &either);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_of_the_library_fails, fail_down),
        cmocka_unit_test_teardown(test_allocations_in_a_row_fail, fail_down),
        cmocka_unit_test_teardown(test_each_allocation_on_the_way_to_shared_memory_fails, fail_down),
        cmocka_unit_test_teardown(test_allocations_in_a_row_on_the_way_to_shared_memory_fail, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
