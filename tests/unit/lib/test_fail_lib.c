/*
 * test_fail_lib.c - libcorelane opens a disk of our own target, reads, writes and closes it while one
 * allocation of the library after another fails
 *
 * Each call succeeds, or returns -ENOMEM or what came of it, with words, and succeeds when it is made again.
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

static void open_and_use(struct corelane *c)
{
    static const struct corelane_disk_options options = { .user = USER, .secret = SECRET };
    static uint8_t out[LEN], in[LEN];
    struct corelane_disk *d = NULL;
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
    request(c, d, CORELANE_READ, in);
    assert_memory_equal(in, out, LEN);
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

    (void)arg;
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
    open_and_use(c);
    corelane_free(c);
    fail_end();
}

static void test_each_allocation_of_the_library_fails(void **state)
{
    (void)state;
    fail_each("libcorelane", 1, 800, true, lib_once, NULL);
}

static void test_allocations_in_a_row_fail(void **state)
{
    (void)state;
    fail_each("libcorelane, three in a row", 3, 800, false, lib_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_of_the_library_fails, fail_down),
        cmocka_unit_test_teardown(test_allocations_in_a_row_fail, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
