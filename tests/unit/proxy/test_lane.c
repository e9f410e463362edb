/* test_lane.c - one direction of a connection: what goes on, what waits, what is lost, how it ends */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/proxy/lane.h"

#include <cmocka.h>

#define NO_LIMIT UINT64_MAX

struct rig { /* near -> lane -> far */
    int near, in, out, far;
    struct lane *lane;
    unsigned sends;
};

static void sent(void *arg, const uint8_t *bytes, size_t len)
{
    ((struct rig *)arg)->sends++;
}

static struct rig rig_open(void)
{
    struct rig r = { .lane = malloc(sizeof(*r.lane)) };
    int a[2], b[2];

    assert_non_null(r.lane);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    r.near = a[0], r.in = a[1], r.out = b[0], r.far = b[1];
    lane_open(r.lane, r.in, r.out);
    return r;
}

static void rig_close(struct rig *r)
{
    close(r->near);
    close(r->in);
    close(r->out);
    close(r->far);
    free(r->lane);
}

static void put(struct rig *r, const char *text)
{
    assert_int_equal(send(r->near, text, strlen(text), 0), strlen(text));
    lane_read(r->lane, 0);
}

static void move_at(struct rig *r, uint64_t now, uint64_t limit)
{
    lane_write(r->lane, now, limit, sent, r);
}

static const char *got(struct rig *r)
{
    static char text[256];
    const ssize_t n = recv(r->far, text, sizeof(text) - 1, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN ? "(nothing)" : "(error)";
    text[n] = '\0';
    return n ? text : "(end)";
}

static void fault(struct rig *r, enum fault_kind kind, uint32_t a, uint32_t b, uint64_t now)
{
    const struct fault f = { kind, { a, b } };

    lane_fault(r->lane, &f, now);
}

static void test_bytes_go_on_and_stop_at_the_limit(void **state)
{
    struct rig r = rig_open();

    put(&r, "abcdef");
    move_at(&r, 0, 4);
    assert_string_equal(got(&r), "abcd");
    move_at(&r, 0, 4);
    assert_string_equal(got(&r), "(nothing)");
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "ef");
    assert_int_equal(r.lane->out, 6);
    rig_close(&r);
}

static void test_delay_holds_bytes_and_end(void **state)
{
    struct rig r = rig_open();

    put(&r, "ab");
    fault(&r, FAULT_DELAY, 100, 0, 1000);
    close(r.near);
    r.near = -1;
    lane_read(r.lane, 1000);
    move_at(&r, 1099, NO_LIMIT);
    assert_string_equal(got(&r), "(nothing)");
    assert_int_equal(lane_wake(r.lane, 1000), 1100);
    move_at(&r, 1100, NO_LIMIT);
    assert_string_equal(got(&r), "ab");
    assert_string_equal(got(&r), "(end)");
    assert_true(lane_done(r.lane));
    assert_true(lane_wake(r.lane, 1100) == LANE_NEVER);
    rig_close(&r);
}

static void test_drop_loses_bytes_and_end_silently(void **state)
{
    struct rig r = rig_open();

    put(&r, "ab");
    fault(&r, FAULT_DROP, 0, 0, 0);
    put(&r, "cd");
    close(r.near);
    r.near = -1;
    lane_read(r.lane, 0);
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "(nothing)");
    assert_true(lane_done(r.lane));
    assert_false(lane_reset_due(r.lane));
    assert_false(lane_calm(r.lane));
    rig_close(&r);
}

static void test_half_close_ends_the_stream_and_swallows_the_rest(void **state)
{
    struct rig r = rig_open();

    put(&r, "ab");
    fault(&r, FAULT_HALF_CLOSE, 0, 0, 0);
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "(end)");
    put(&r, "cd");
    assert_int_equal(r.lane->len, 0);
    assert_int_equal(send(r.far, "x", 1, 0), 1); /* the other direction goes on */
    assert_true(lane_done(r.lane));
    rig_close(&r);
}

static void test_split_sends_byte_by_byte_for_as_long_as_told(void **state)
{
    struct rig r = rig_open();

    fault(&r, FAULT_SPLIT, 5, 0, 0);
    put(&r, "abcdefgh");
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "abcdefgh");
    assert_int_equal(r.sends, 6);
    rig_close(&r);
}

static void test_flip_inverts_a_bit_of_the_next_byte(void **state)
{
    struct rig r = rig_open();

    put(&r, "ab");
    move_at(&r, 0, 1);
    fault(&r, FAULT_FLIP, 5, 0, 0);
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "aB");
    rig_close(&r);
}

static void test_slow_reads_a_little_and_then_waits(void **state)
{
    struct rig r = rig_open();

    fault(&r, FAULT_SLOW, 40, 1000, 0);
    put(&r, "abcdefgh");
    assert_int_equal(r.lane->in, 3); /* 40 / 20 and one */
    assert_false(lane_wants_read(r.lane, 10));
    assert_true(lane_wants_read(r.lane, r.lane->read_at));
    assert_int_equal(r.lane->read_at, 76); /* 3 bytes at 40 a second */
    lane_read(r.lane, 1000);               /* over: all at once */
    assert_int_equal(r.lane->in, 8);
    rig_close(&r);
}

static void test_calm_lets_what_was_held_go(void **state)
{
    struct rig r = rig_open();

    fault(&r, FAULT_DELAY, 1000, 0, 0);
    fault(&r, FAULT_SLOW, 1, 1000, 0);
    put(&r, "ab");
    assert_true(lane_calm(r.lane));
    move_at(&r, 1, NO_LIMIT);
    assert_string_equal(got(&r), "a");
    assert_true(lane_wants_read(r.lane, 1));
    rig_close(&r);
}

static void test_a_lag_makes_bytes_late_and_not_few(void **state)
{
    struct rig r = rig_open();

    fault(&r, FAULT_LAG, 5, 0, 0);
    put(&r, "ab"); /* at 0 */
    assert_int_equal(send(r.near, "cd", 2, 0), 2);
    lane_read(r.lane, 3);
    move_at(&r, 5, NO_LIMIT);
    assert_string_equal(got(&r), "(nothing)");
    assert_int_equal(lane_wake(r.lane, 5), 6);
    move_at(&r, 6, NO_LIMIT);
    assert_string_equal(got(&r), "ab");
    assert_int_equal(lane_wake(r.lane, 6), 9);
    move_at(&r, 9, NO_LIMIT);
    assert_string_equal(got(&r), "cd");
    assert_true(lane_wake(r.lane, 9) == LANE_NEVER);
    rig_close(&r);
}

/* Without a lag from now on: but what comes does not overtake what is late. */
static void test_a_lag_that_ends_keeps_the_order(void **state)
{
    struct rig r = rig_open();

    fault(&r, FAULT_LAG, 100, 0, 0);
    put(&r, "ab");
    fault(&r, FAULT_LAG, 0, 0, 0);
    put(&r, "cd");
    move_at(&r, 100, NO_LIMIT);
    assert_string_equal(got(&r), "(nothing)");
    move_at(&r, 101, NO_LIMIT);
    assert_string_equal(got(&r), "abcd");
    put(&r, "ef");
    move_at(&r, 101, NO_LIMIT);
    assert_string_equal(got(&r), "ef");
    fault(&r, FAULT_LAG, 100, 0, 0);
    put(&r, "gh");
    assert_true(lane_calm(r.lane));
    move_at(&r, 102, NO_LIMIT);
    assert_string_equal(got(&r), "gh");
    rig_close(&r);
}

/* More comes than is held without a lag, for longer than there are marks. */
static void test_a_lag_holds_what_a_fast_peer_sends(void **state)
{
    struct rig r = rig_open();
    static char block[16384];
    uint64_t got_nr = 0;

    fault(&r, FAULT_LAG, 1000, 0, 0);
    for (uint64_t now = 0; now < 6 * LAG_MAX_MS; now++) {
        (void)!send(r.near, block, now < 4 * LAG_MAX_MS ? 1500 : 0, MSG_DONTWAIT);
        if (lane_wants_read(r.lane, now))
            lane_read(r.lane, now);
        move_at(&r, now, NO_LIMIT);
        assert_true(r.lane->marks <= LANE_MARKS);
        for (ssize_t n; (n = recv(r.far, block, sizeof(block), MSG_DONTWAIT)) > 0;)
            got_nr += (uint64_t)n;
        if (now == 2 * LAG_MAX_MS)
            assert_int_equal(r.lane->in - r.lane->out, 1500 * (LAG_MAX_MS + 1));
    }
    assert_int_equal(got_nr, 4 * LAG_MAX_MS * 1500);
    rig_close(&r);
}

/* The reset of a peer that died does not overtake what it had sent. */
static void test_reset_comes_after_the_bytes_under_way(void **state)
{
    struct rig r = rig_open();

    put(&r, "ab");
    assert_int_equal(send(r.in, "unread", 6, 0), 6);
    close(r.near); /* with bytes unread: the other side sees ECONNRESET */
    r.near = -1;
    lane_read(r.lane, 0);
    assert_int_equal(r.lane->end, LANE_RST);
    assert_false(lane_reset_due(r.lane));
    move_at(&r, 0, NO_LIMIT);
    assert_string_equal(got(&r), "ab");
    assert_true(lane_reset_due(r.lane));
    rig_close(&r);
}

static void test_a_receiver_that_is_gone_makes_the_lane_swallow(void **state)
{
    struct rig r = rig_open();

    close(r.far);
    r.far = -1;
    put(&r, "ab");
    move_at(&r, 0, NO_LIMIT);
    assert_true(r.lane->dead);
    assert_true(lane_wants_read(r.lane, 0));
    assert_false(lane_done(r.lane));
    close(r.near);
    r.near = -1;
    lane_read(r.lane, 0);
    assert_true(lane_done(r.lane));
    rig_close(&r);
}

static void test_a_full_receiver_blocks_and_the_buffer_bounds_what_is_taken(void **state)
{
    struct rig r = rig_open();
    char block[4096] = { 0 };
    unsigned turns = 0;

    for (; !(r.lane->blocked && r.lane->len == LANE_HELD) && turns < 100000; turns++) {
        (void)!send(r.near, block, sizeof(block), MSG_DONTWAIT);
        if (lane_wants_read(r.lane, 0))
            lane_read(r.lane, 0);
        move_at(&r, 0, NO_LIMIT);
    }
    assert_true(r.lane->blocked);
    assert_int_equal(r.lane->len, LANE_HELD);
    assert_false(lane_wants_read(r.lane, 0));
    assert_true(lane_wants_write(r.lane, 0));
    assert_true(lane_wake(r.lane, 0) == LANE_NEVER);
    rig_close(&r);
}

/* Past the end of the ring, too: it never runs empty. */
static void test_bytes_stay_in_order_for_megabytes(void **state)
{
    struct rig r = rig_open();
    uint8_t block[5000];
    uint64_t put_nr = 0, got_nr = 0;
    const uint64_t all = LANE_BUF + LANE_BUF / 2;

    while (got_nr < all) {
        size_t n = 0;
        ssize_t res;

        for (; n < sizeof(block) && put_nr + n < all; n++)
            block[n] = (uint8_t)((put_nr + n) * 7 >> 3);
        if (n && (res = send(r.near, block, n, MSG_DONTWAIT)) > 0)
            put_nr += (uint64_t)res;
        if (lane_wants_read(r.lane, 0))
            lane_read(r.lane, 0);
        move_at(&r, 0, r.lane->in == all ? NO_LIMIT : r.lane->in - !!r.lane->in);
        while ((res = recv(r.far, block, 777, MSG_DONTWAIT)) > 0)
            for (ssize_t i = 0; i < res; i++, got_nr++)
                assert_int_equal(block[i], (uint8_t)(got_nr * 7 >> 3));
    }
    assert_int_equal(r.lane->len, 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_go_on_and_stop_at_the_limit),
        cmocka_unit_test(test_delay_holds_bytes_and_end),
        cmocka_unit_test(test_drop_loses_bytes_and_end_silently),
        cmocka_unit_test(test_half_close_ends_the_stream_and_swallows_the_rest),
        cmocka_unit_test(test_split_sends_byte_by_byte_for_as_long_as_told),
        cmocka_unit_test(test_flip_inverts_a_bit_of_the_next_byte),
        cmocka_unit_test(test_slow_reads_a_little_and_then_waits),
        cmocka_unit_test(test_calm_lets_what_was_held_go),
        cmocka_unit_test(test_a_lag_makes_bytes_late_and_not_few),
        cmocka_unit_test(test_a_lag_that_ends_keeps_the_order),
        cmocka_unit_test(test_a_lag_holds_what_a_fast_peer_sends),
        cmocka_unit_test(test_reset_comes_after_the_bytes_under_way),
        cmocka_unit_test(test_a_receiver_that_is_gone_makes_the_lane_swallow),
        cmocka_unit_test(test_a_full_receiver_blocks_and_the_buffer_bounds_what_is_taken),
        cmocka_unit_test(test_bytes_stay_in_order_for_megabytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
