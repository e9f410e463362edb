/* Nobody is kept waiting: streams that share the receive buffers, calls that share the helper threads. */
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/reactor/rt_test.h"

/* ---- shared buffers ---------------------------------------------------------------------------------- */

/* A stream whose peer has sent again by the time it is received from again. */
struct busy_stream {
    struct rt_op op;
    struct rt_sock *sock;
    int theirs;
    unsigned count;
    bool stop;
};

static void busy_received(struct rt_op *op, int res)
{
    struct busy_stream *s = container_of(op, struct busy_stream, op);

    if (s->stop)
        return;
    assert_true(res > 0);
    s->count++;
    assert_int_equal(write(s->theirs, "x", 1), 1);
    rt_recv_shared(s->sock, op);
}

/* Three times as many busy streams as buffers: each gets its share, not only those that were there first. */
static void test_busy_streams_share_the_buffers_evenly(void **state)
{
    enum { N = 24, TURNS = 300 };
    struct busy_stream s[N] = { 0 };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    unsigned sum = 0;

    for (unsigned i = 0; i < N; i++) {
        s[i].op.done = busy_received;
        assert_int_equal(rt_socketpair(rt, &s[i].sock, &s[i].theirs), 0);
        assert_int_equal(write(s[i].theirs, "x", 1), 1);
        rt_recv_shared(s[i].sock, &s[i].op);
    }
    for (unsigned i = 0; i < TURNS; i++)
        assert_true(rt_turn(rt, 0) >= 0);
    for (unsigned i = 0; i < N; i++)
        sum += s[i].count;
    assert_true(sum >= TURNS);
    for (unsigned i = 0; i < N; i++)
        if (s[i].count < sum / N / 2)
            fail_msg("stream %u was received from %u times of %u", i, s[i].count, sum);
    for (unsigned i = 0; i < N; i++) {
        s[i].stop = true;
        close(s[i].theirs);
        rt_sock_close(s[i].sock);
    }
    rt_turn(rt, 0);
    rt_host_free(h);
}

/* Bytes for many streams at once cost an operation each, not one more for each time that others had all the buffers. */
static void test_many_streams_at_once_cost_an_operation_each(void **state)
{
    enum { N = 200 };
    struct noted n[N] = { 0 };
    struct rt_sock *sock[N];
    int theirs[N];
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    struct rt_stats before, after;

    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(rt_socketpair(rt, &sock[i], &theirs[i]), 0);
        assert_int_equal(write(theirs[i], &i, sizeof(i)), sizeof(i));
    }
    rt_turn(rt, 0);
    rt_stats(rt, &before);
    for (unsigned i = 0; i < N; i++)
        rt_recv_shared(sock[i], noted_op(&n[i]));
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(turn_for(rt, &n[i]), sizeof(i));
        assert_memory_equal(n[i].head, &i, sizeof(i));
    }
    rt_stats(rt, &after);
    assert_in_range(after.ops - before.ops, N, N + N / 4);
    for (unsigned i = 0; i < N; i++) {
        close(theirs[i]);
        rt_sock_close(sock[i]);
    }
    rt_host_free(h);
}

/* A stream that finds no buffer and has no bytes yet can be closed: done comes once, and nothing is left behind. */
static void test_stream_without_a_buffer_can_be_closed(void **state)
{
    enum { N = 24 };
    struct busy_stream s[N] = { 0 };
    struct noted last = { 0 };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    struct rt_sock *sock;
    int theirs;

    for (unsigned i = 0; i < N; i++) {
        s[i].op.done = busy_received;
        assert_int_equal(rt_socketpair(rt, &s[i].sock, &s[i].theirs), 0);
        assert_int_equal(write(s[i].theirs, "x", 1), 1);
        rt_recv_shared(s[i].sock, &s[i].op);
    }
    assert_int_equal(rt_socketpair(rt, &sock, &theirs), 0);
    rt_recv_shared(sock, noted_op(&last));
    for (unsigned i = 0; i < 3; i++)
        rt_turn(rt, 0);
    assert_int_equal(last.count, 0);
    rt_sock_close(sock);
    assert_int_equal(turn_for(rt, &last), -ECANCELED);
    close(theirs);
    for (unsigned i = 0; i < N; i++) {
        s[i].stop = true;
        close(s[i].theirs);
        rt_sock_close(s[i].sock);
    }
    for (unsigned i = 0; i < 4; i++)
        rt_turn(rt, 0);
    assert_int_equal(last.count, 1);
    rt_host_free(h);
}

/* ---- helpers ----------------------------------------------------------------------------------------- */

static atomic_bool second_ran;

struct job {
    struct rt_work w;
    unsigned *done_nr;
    bool met;
};

static void job_done(struct rt_work *w)
{
    ++*container_of(w, struct job, w)->done_nr;
}

static void job_quick(struct rt_work *w)
{
    atomic_store(&second_ran, true);
}

/* Like a name server that does not answer: over when the second has run, or after five seconds. */
static void job_slow(struct rt_work *w)
{
    struct job *j = container_of(w, struct job, w);

    for (unsigned i = 0; i < 5000 && !(j->met = atomic_load(&second_ran)); i++)
        usleep(1000);
}

static void test_slow_call_does_not_hold_up_the_next(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    unsigned done_nr = 0;
    struct job first = { .w = { .run = job_quick, .done = job_done }, .done_nr = &done_nr };
    struct job slow = { .w = { .run = job_slow, .done = job_done }, .done_nr = &done_nr };
    struct job quick = first;

    rt_work(rt, &first.w);                  /* so that one helper is there, and idle */
    turn_until(rt, &done_nr, 1);
    usleep(20000);
    atomic_store(&second_ran, false);
    rt_work(rt, &slow.w);
    rt_work(rt, &quick.w);
    turn_until(rt, &done_nr, 3);
    assert_true(slow.met);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_busy_streams_share_the_buffers_evenly),
        cmocka_unit_test(test_many_streams_at_once_cost_an_operation_each),
        cmocka_unit_test(test_stream_without_a_buffer_can_be_closed),
        cmocka_unit_test(test_slow_call_does_not_hold_up_the_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
