/*
 * test_failop_lib.c - a disk of our own target is opened, written, read and closed while one operation of the
 * initiator on its socket after another fails
 *
 * To a request a broken connection is a wait: each ends well, and what is read is what was written.
 */
#include "../target/fail_bed.h"
#include "corelane.h"
#include "../failop.h"

#define LEN (256u << 10)                    /* more than goes as one PDU, either way */

static struct bed bed;
static char url[160];

static void io_done(struct corelane_io *io, int res)
{
    *(int *)io->user = res;
}

static void request(struct corelane *c, struct corelane_disk *d, enum corelane_op op, uint8_t *buf,
                    unsigned flags)
{
    struct iovec iov = { buf, LEN };
    int res = 1;
    struct corelane_io io = { .op = op, .flags = flags, .length = op == CORELANE_FLUSH ? 0 : LEN, .iov = &iov,
                              .iov_nr = 1, .done = io_done, .user = &res };

    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(c, -1) >= 0);
    assert_int_equal(res, 0);
}

static void lib_once(void *arg)
{
    static const struct corelane_options options = {
        .core = -1, .mode = CORELANE_INTERRUPT, .initiator_name = I_IQN,
    };
    static uint8_t out[LEN], in[LEN], seed;
    struct corelane_disk *d = NULL;
    struct corelane *c = NULL;

    (void)arg;
    assert_int_equal(corelane_new(&c, &options), 0);
    failop_begin(FAILOP_HERE);
    while (corelane_disk_open(c, url, NULL, &d)) {
        if (!failop_hit())
            fail_msg("%s", corelane_error(c));
        assert_true(corelane_error(c)[0]);
    }
    for (size_t i = 0; i < LEN; i++)
        out[i] = (uint8_t)(seed + i / 512 * 7);
    seed++;
    request(c, d, CORELANE_WRITE, out, 0);
    request(c, d, CORELANE_READ, in, 0);
    assert_memory_equal(in, out, LEN);
    request(c, d, CORELANE_WRITE_ZEROES, NULL, 0);
    request(c, d, CORELANE_WRITE, out, CORELANE_FUA);
    request(c, d, CORELANE_FLUSH, NULL, 0);
    memset(in, 0, LEN);
    request(c, d, CORELANE_READ, in, 0);
    assert_memory_equal(in, out, LEN);
    corelane_disk_close(d);
    failop_end();
    corelane_free(c);
}

static int up(void **state)
{
    static const char conf[] = "{\"version\": 1, \"limits\": {\"buffer_mib\": 16}}";

    (void)state;
    failop_up();
    fail_bed_dir(&bed);
    assert_int_equal(rt_save(bed.config, conf, strlen(conf), 0600), 0);
    fail_bed_up(&bed, 1);
    bed_disk(&bed);
    rt_log_level(0);
    snprintf(url, sizeof(url), "iscsi://127.0.0.1:%u/" T_IQN "/0", bed.port);
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_down(&bed, true);
    return fail_bed_clear(&bed);
}

static void test_each_operation_of_the_initiator_fails(void **state)
{
    (void)state;
    failop_each("initiator", 400, lib_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_operation_of_the_initiator_fails, failop_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
