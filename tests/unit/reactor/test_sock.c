/* test_sock.c - listeners and streams, and above all how they end */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "rt_test.h"

#include "reactor/uring/rt_internal.h"

#define TEXT(s) { (void *)(uintptr_t)(s), sizeof(s) - 1 }   /* an iovec of a literal */

struct pair {                               /* a reactor with both ends of a connection on it */
    struct rt_host *h;
    struct rt *rt;
    struct rt_sock *lst, *a, *b;            /* a connected, b was accepted */
    struct rt_addr at, peer;
};

static void pair_listen(struct pair *p, const char *at)
{
    *p = (struct pair){ .h = host_make(1, RT_MODE_INTERRUPT) };
    p->rt = rt_host_at(p->h, 0);
    assert_int_equal(rt_addr_parse(&p->at, at, 0), 0);
    assert_int_equal(rt_listen(p->rt, &p->at, &p->lst), 0);
    assert_int_equal(rt_sock_addr(p->lst, &p->at), 0);
}

static void pair_connect(struct pair *p)
{
    struct noted con = { 0 }, acc = { 0 };

    rt_accept(p->lst, noted_op(&acc), &p->b, &p->peer);
    rt_connect(p->rt, noted_op(&con), &p->at, &p->a);
    assert_int_equal(turn_for(p->rt, &con), 0);
    assert_int_equal(turn_for(p->rt, &acc), 0);
}

static void pair_open(struct pair *p, const char *at)
{
    pair_listen(p, at);
    pair_connect(p);
}

static void pair_close(struct pair *p)
{
    rt_sock_close(p->a);
    rt_sock_close(p->b);
    rt_sock_close(p->lst);
    rt_turn(p->rt, 0);
    rt_host_free(p->h);
}

/* How many descriptors the program has: what leaks shows here. */
static unsigned fds_count(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- bytes ------------------------------------------------------------------------------------------- */

static void bytes_pass(const char *at)
{
    struct noted tx = { 0 }, rx = { 0 };
    char text[RT_ADDR_STR_MAX];
    struct pair p;
    uint8_t got[16] = { 0 };
    struct iovec out[2] = { TEXT("hello, "), TEXT("world") }, in[2] = { { got, 3 }, { got + 3, 13 } };

    pair_open(&p, at);
    rt_recv(p.b, noted_op(&rx), in, 2, 0);
    rt_send(p.a, noted_op(&tx), out, 2);
    assert_int_equal(turn_for(p.rt, &tx), 12);
    assert_int_equal(turn_for(p.rt, &rx), 12);
    assert_memory_equal(got, "hello, world", 12);
    rt_addr_format(&p.peer, text);
    assert_true(strlen(text) > 0);
    rt_send(p.b, noted_op(&tx), out, 1);    /* and back, into the reactor's buffer */
    assert_int_equal(turn_for(p.rt, &tx), 7);
    rt_recv_shared(p.a, noted_op(&rx));
    assert_int_equal(turn_for(p.rt, &rx), 7);
    assert_memory_equal(rx.head, "hello, ", 7);
    pair_close(&p);
}

static void test_bytes_pass_over_ipv4(void **state)
{
    bytes_pass("127.0.0.1:0");
}

static void test_bytes_pass_over_ipv6(void **state)
{
    bytes_pass("[::1]:0");
}

static void test_bytes_pass_over_unix(void **state)
{
    char *dir = temp_dir(), path[128];

    snprintf(path, sizeof(path), "%s/s", dir);
    bytes_pass(path);
    assert_int_not_equal(access(path, F_OK), 0);    /* the listener took its name with it */
    temp_dir_remove(dir);
}

/* More than the socket buffers hold, in awkward pieces, both ends resumed many times. */
static void bulk_passes(bool whole)
{
    enum { LEN = 24 << 20, PIECES = 500 };
    struct noted tx = { 0 }, rx = { 0 };
    uint8_t *out = malloc(LEN), *in = calloc(1, LEN);
    struct iovec iov[PIECES], in_iov[3];
    struct pair p;
    size_t at = 0, got = 0;

    for (size_t i = 0; i < LEN; i++)
        out[i] = (uint8_t)(i * 7 + (i >> 11));
    for (unsigned i = 0; i < PIECES; i++) {
        iov[i] = (struct iovec){ out + at, i == PIECES - 1 ? LEN - at : i % 50 ? 30000 + i * 31 : 0 };
        at += iov[i].iov_len;
        assert_true(at <= LEN);
    }
    pair_open(&p, "127.0.0.1:0");
    rt_send(p.a, noted_op(&tx), iov, PIECES);
    if (whole) {
        in_iov[0] = (struct iovec){ in, 5 };
        in_iov[1] = (struct iovec){ in + 5, 0 };
        in_iov[2] = (struct iovec){ in + 5, LEN - 5 };
        rt_recv(p.b, noted_op(&rx), in_iov, 3, RT_RECV_ALL);
        assert_int_equal(turn_for(p.rt, &rx), LEN);
    } else {
        for (; got < LEN; got += (size_t)rx.res) {
            in_iov[0] = (struct iovec){ in + got, LEN - got < 100001 ? LEN - got : 100001 };
            rt_recv(p.b, noted_op(&rx), in_iov, 1, 0);
            assert_true(turn_for(p.rt, &rx) > 0);
        }
    }
    turn_until(p.rt, &tx.count, 1);
    assert_int_equal(tx.res, LEN);
    assert_memory_equal(in, out, LEN);
    pair_close(&p);
    free(out);
    free(in);
}

static void test_bulk_passes_received_whole(void **state)
{
    bulk_passes(true);
}

static void test_bulk_passes_received_in_parts(void **state)
{
    bulk_passes(false);
}

static void test_receive_all_ends_short_when_the_peer_ends(void **state)
{
    struct noted tx = { 0 }, rx = { 0 };
    uint8_t got[10];
    struct iovec in = { got, 10 }, out = TEXT("abc");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv(p.b, noted_op(&rx), &in, 1, RT_RECV_ALL);
    rt_send(p.a, noted_op(&tx), &out, 1);
    turn_for(p.rt, &tx);
    rt_turn(p.rt, RT_MS);
    assert_int_equal(rx.count, 0);          /* three bytes are not all */
    rt_sock_close(p.a);
    p.a = NULL;
    assert_int_equal(turn_for(p.rt, &rx), 3);
    rt_recv(p.b, noted_op(&rx), &in, 1, RT_RECV_ALL);
    assert_int_equal(turn_for(p.rt, &rx), 0);
    pair_close(&p);
}

static void test_sending_nothing_completes(void **state)
{
    struct iovec none = { NULL, 0 };
    struct noted tx = { 0 };
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_send(p.a, noted_op(&tx), &none, 1);
    assert_int_equal(tx.count, 0);
    assert_int_equal(turn_for(p.rt, &tx), 0);
    pair_close(&p);
}

/* ---- shared buffers ---------------------------------------------------------------------------------- */

/* More streams with bytes at once than there are buffers, with and without the kernel's buffer rings. */
static void shared_serves_many(bool ring)
{
    enum { N = 40, LEN = 50000 };
    struct rt_sock *ours[N];
    struct noted rx[N];
    uint8_t *bytes = malloc(LEN);
    size_t got[N] = { 0 };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    int theirs[N];
    unsigned left = N;

    rt_turn(rt, 0);
    if (!ring) {
        struct io_uring_buf_ring *r = rt->shared.ring;

        assert_non_null(r);
        io_uring_unregister_buf_ring(&rt->ring, 0);
        rt_mem_free(r, rt->shared.ring_len);
        rt->shared.ring = NULL;             /* as on a kernel without them */
    }
    memset(rx, 0, sizeof(rx));
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(rt_socketpair(rt, &ours[i], &theirs[i]), 0);
        rt_recv_shared(ours[i], noted_op(&rx[i]));
    }
    for (unsigned i = 0; i < N; i++) {
        memset(bytes, (int)i, LEN);
        assert_int_equal(write(theirs[i], bytes, LEN), LEN);
    }
    while (left) {
        assert_true(rt_turn(rt, RT_S) > 0);
        for (unsigned i = 0; i < N; i++) {
            if (!rx[i].count)
                continue;
            assert_int_equal(rx[i].count, 1);
            assert_true(rx[i].res > 0);
            assert_int_equal(rx[i].head[0], i);
            got[i] += (size_t)rx[i].res;
            left -= got[i] == LEN;
            rt_recv_shared(ours[i], noted_op(&rx[i]));
        }
    }
    for (unsigned i = 0; i < N; i++) {
        close(theirs[i]);
        turn_until(rt, &rx[i].count, 1);
        assert_int_equal(rx[i].res, 0);
        rt_sock_close(ours[i]);
    }
    rt_host_free(h);
    free(bytes);
}

static void test_shared_receive_serves_more_streams_than_buffers(void **state)
{
    shared_serves_many(true);
}

static void test_shared_receive_works_without_buffer_rings(void **state)
{
    shared_serves_many(false);
}

/* ---- endings ----------------------------------------------------------------------------------------- */

static void test_close_completes_what_is_outstanding_once(void **state)
{
    enum { LEN = 32 << 20 };
    const unsigned fds = fds_count();
    struct noted tx = { 0 }, rx = { 0 }, acc = { 0 };
    struct rt_sock *never = NULL;
    struct rt_addr peer;
    uint8_t *bytes = calloc(1, LEN);
    struct iovec out = { bytes, LEN };
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv_shared(p.a, noted_op(&rx));
    rt_send(p.a, noted_op(&tx), &out, 1);   /* nobody reads: it cannot end */
    rt_accept(p.lst, noted_op(&acc), &never, &peer);
    rt_turn(p.rt, RT_MS);
    assert_int_equal(rx.count + tx.count + acc.count, 0);
    rt_sock_close(p.a);
    rt_sock_close(p.lst);
    p.a = p.lst = NULL;
    assert_int_equal(rx.count + tx.count + acc.count, 0);   /* not inside the call */
    assert_int_equal(turn_for(p.rt, &rx), -ECANCELED);
    turn_until(p.rt, &tx.count, 1);
    turn_until(p.rt, &acc.count, 1);
    assert_int_equal(tx.res, -ECANCELED);
    assert_int_equal(acc.res, -ECANCELED);
    rt_turn(p.rt, RT_MS);
    assert_int_equal(rx.count + tx.count + acc.count, 3);
    assert_null(never);
    pair_close(&p);
    assert_int_equal(fds_count(), fds);
    free(bytes);
}

static void test_close_before_the_kernel_saw_the_operation(void **state)
{
    struct noted tx = { 0 }, rx = { 0 };
    struct iovec out = TEXT("x");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv_shared(p.a, noted_op(&rx));
    rt_send(p.a, noted_op(&tx), &out, 1);
    rt_sock_close(p.a);
    p.a = NULL;
    turn_until(p.rt, &tx.count, 1);
    assert_int_equal(turn_for(p.rt, &rx), -ECANCELED);
    assert_int_equal(tx.res, -ECANCELED);
    pair_close(&p);
}

static void test_abandoned_operations_leave_nothing_open(void **state)
{
    const unsigned fds = fds_count();
    struct noted rx = { 0 };
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv_shared(p.a, noted_op(&rx));
    rt_turn(p.rt, 0);
    rt_sock_close(p.a);
    p.a = NULL;
    rt_sock_close(p.b);
    rt_sock_close(p.lst);
    rt_host_free(p.h);                      /* without another turn */
    assert_int_equal(rx.count, 0);
    assert_int_equal(fds_count(), fds);
}

static struct rt_sock *closing;

static void close_in_done(struct rt_op *op, int res)
{
    noted_done(op, res);
    rt_sock_close(closing);
}

static void test_close_inside_done(void **state)
{
    struct noted tx = { 0 }, rx = { 0 };
    struct iovec out = TEXT("x");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv_shared(p.b, noted_op(&rx));
    rx.op.done = close_in_done;
    closing = p.b;
    rt_send(p.a, noted_op(&tx), &out, 1);
    assert_int_equal(turn_for(p.rt, &rx), 1);
    p.b = NULL;
    rt_recv_shared(p.a, noted_op(&rx));
    assert_int_equal(turn_for(p.rt, &rx), 0);       /* the peer sees an end, not a reset */
    pair_close(&p);
}

/* What was sent last reaches the peer, though we close with its bytes unread. */
static void test_close_with_bytes_unread_does_not_reset(void **state)
{
    struct noted op = { 0 };
    uint8_t *bytes = calloc(1, 100000);
    struct iovec much = { bytes, 100000 }, last = TEXT("refused");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_send(p.a, noted_op(&op), &much, 1);
    assert_int_equal(turn_for(p.rt, &op), 100000);
    rt_send(p.b, noted_op(&op), &last, 1);
    assert_int_equal(turn_for(p.rt, &op), 7);
    rt_sock_close(p.b);
    p.b = NULL;
    rt_recv_shared(p.a, noted_op(&op));
    assert_int_equal(turn_for(p.rt, &op), 7);
    rt_recv_shared(p.a, noted_op(&op));
    assert_int_equal(turn_for(p.rt, &op), 0);
    pair_close(&p);
    free(bytes);
}

/* What the peer has not read yet may stay with its kernel; what has not left ours is gone, and the peer is told. */
static void test_abort_throws_away_what_was_not_sent(void **state)
{
    struct noted op = { 0 };
    uint8_t *bytes = calloc(1, 64u << 20);
    struct iovec much = { bytes, 64u << 20 };
    struct noted sent = { 0 };
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_send(p.a, noted_op(&sent), &much, 1);    /* more than all buffers take */
    for (unsigned i = 0; i < 20; i++)
        rt_turn(p.rt, RT_MS);
    assert_int_equal(sent.count, 0);
    rt_sock_abort(p.a);
    rt_sock_close(p.a);
    p.a = NULL;
    turn_until(p.rt, &sent.count, 1);
    do {
        rt_recv_shared(p.b, noted_op(&op));
    } while (turn_for(p.rt, &op) > 0);
    assert_int_equal(op.res, -ECONNRESET);
    pair_close(&p);
    free(bytes);
}

static void test_shutdown_ends_both_directions(void **state)
{
    struct noted rx = { 0 }, tx = { 0 }, peer_rx = { 0 };
    struct iovec out = TEXT("x");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    rt_recv_shared(p.a, noted_op(&rx));
    rt_recv_shared(p.b, noted_op(&peer_rx));
    rt_turn(p.rt, 0);
    rt_sock_shutdown(p.a);
    assert_int_equal(turn_for(p.rt, &rx), -ESHUTDOWN);
    turn_until(p.rt, &peer_rx.count, 1);
    assert_int_equal(peer_rx.res, 0);
    rt_send(p.a, noted_op(&tx), &out, 1);
    assert_int_equal(turn_for(p.rt, &tx), -EPIPE);  /* and no SIGPIPE */
    pair_close(&p);
}

static void test_peer_reset_is_an_error(void **state)
{
    const struct linger hard = { 1, 0 };
    struct noted rx = { 0 };
    struct pair p;
    struct rt_addr at;
    int fd;

    pair_listen(&p, "127.0.0.1:0");
    at = p.at;
    rt_accept(p.lst, noted_op(&rx), &p.b, &p.peer);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &at.sa, at.len), 0);
    assert_int_equal(turn_for(p.rt, &rx), 0);
    rt_recv_shared(p.b, noted_op(&rx));
    rt_turn(p.rt, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    assert_int_equal(turn_for(p.rt, &rx), -ECONNRESET);
    pair_close(&p);
}

static void test_send_reports_what_went_before_the_peer_broke(void **state)
{
    enum { LEN = 32 << 20 };
    uint8_t *bytes = calloc(1, LEN);
    struct iovec out = { bytes, LEN };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct noted tx = { 0 };
    struct rt_sock *s;
    int theirs;

    assert_int_equal(rt_socketpair(rt_host_at(h, 0), &s, &theirs), 0);
    rt_send(s, noted_op(&tx), &out, 1);
    rt_turn(rt_host_at(h, 0), RT_MS);
    assert_int_equal(tx.count, 0);
    close(theirs);
    assert_true(turn_for(rt_host_at(h, 0), &tx) < LEN);
    rt_sock_close(s);
    rt_host_free(h);
    free(bytes);
}

/* ---- cancelling -------------------------------------------------------------------------------------- */

static void test_cancel_ends_a_receive_and_the_stream_goes_on(void **state)
{
    struct noted rx = { 0 }, tx = { 0 };
    struct iovec out = TEXT("later");
    struct pair p;

    pair_open(&p, "127.0.0.1:0");
    for (unsigned turns = 0; turns < 2; turns++) {      /* not yet shown to the kernel, and shown */
        rt_recv_shared(p.b, noted_op(&rx));
        if (turns)
            rt_turn(p.rt, 0);
        rt_cancel(&rx.op);
        rt_cancel(&rx.op);
        assert_int_equal(rx.count, 0);
        assert_int_equal(turn_for(p.rt, &rx), -ECANCELED);
        rt_cancel(&rx.op);                              /* no longer outstanding: nothing */
    }
    rt_recv_shared(p.b, noted_op(&rx));
    rt_send(p.a, noted_op(&tx), &out, 1);
    assert_int_equal(turn_for(p.rt, &tx), 5);
    turn_until(p.rt, &rx.count, 1);
    assert_int_equal(rx.res, 5);
    pair_close(&p);
}

/* A cancel that comes when the operation has ended in the kernel must not hit the next use of the op. */
static void test_cancel_does_not_hit_the_next_operation(void **state)
{
    struct noted rx = { 0 };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    struct rt_sock *s;
    int theirs;

    assert_int_equal(rt_socketpair(rt, &s, &theirs), 0);
    for (unsigned i = 0; i < 200; i++) {
        rt_recv_shared(s, noted_op(&rx));
        rt_turn(rt, 0);
        assert_int_equal(write(theirs, "x", 1), 1);
        rt_cancel(&rx.op);
        turn_for(rt, &rx);
        assert_true(rx.res == 1 || rx.res == -ECANCELED);
        if (rx.res == 1) {
            rt_recv_shared(s, noted_op(&rx));
            rt_turn(rt, 0);
            assert_int_equal(rx.count, 0);
            assert_int_equal(write(theirs, "y", 1), 1);
            assert_int_equal(turn_for(rt, &rx), 1);
            assert_int_equal(rx.head[0], 'y');
        } else {
            rt_recv_shared(s, noted_op(&rx));
            assert_int_equal(turn_for(rt, &rx), 1);     /* the byte is not lost */
        }
    }
    close(theirs);
    rt_sock_close(s);
    rt_host_free(h);
}

static struct noted *others;

static void cancel_others(struct rt_op *op, int res)
{
    noted_done(op, res);
    for (unsigned i = 0; i < 4; i++)
        rt_cancel(&others[i].op);
}

/* Asked for an end in the very turn that brings it: the op is the caller's again, to free or to use. */
static void test_cancel_of_what_ends_in_the_same_turn(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    struct rt_sock *s[4];
    int theirs[4];

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(rt_socketpair(rt, &s[i], &theirs[i]), 0);
    for (unsigned round = 0; round < 50; round++) {
        struct noted *rx = others = calloc(4, sizeof(*rx));

        for (unsigned i = 0; i < 4; i++) {
            rt_recv_shared(s[i], noted_op(&rx[i]));
            rx[i].op.done = round % 2 ? cancel_others : noted_done;
        }
        rt_turn(rt, 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(write(theirs[i], "x", 1), 1);
        for (unsigned i = 0; i < 4; i++)
            turn_until(rt, &rx[i].count, 1);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(rx[i].res, 1);     /* the bytes were there before anybody asked */
        free(rx);
    }
    for (unsigned i = 0; i < 4; i++) {
        close(theirs[i]);
        rt_sock_close(s[i]);
    }
    rt_host_free(h);
}

static void test_cancelled_connect_leaves_no_socket(void **state)
{
    const unsigned fds = fds_count();
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct noted con = { 0 };
    struct rt_sock *s = NULL;
    struct rt_addr to;

    assert_int_equal(rt_addr_parse(&to, "192.0.2.1:3260", 0), 0);   /* TEST-NET: silence, or no route */
    rt_connect(rt_host_at(h, 0), noted_op(&con), &to, &s);
    rt_turn(rt_host_at(h, 0), 0);
    rt_cancel(&con.op);
    assert_true(turn_for(rt_host_at(h, 0), &con) < 0);
    assert_null(s);
    rt_host_free(h);
    assert_int_equal(fds_count(), fds);
}

/* ---- connecting and accepting ------------------------------------------------------------------------ */

static void test_connect_to_nobody_is_refused(void **state)
{
    struct noted con = { 0 };
    struct rt_sock *s = NULL;
    struct pair p;

    pair_listen(&p, "127.0.0.1:0");
    rt_sock_close(p.lst);
    p.lst = NULL;
    rt_turn(p.rt, 0);
    rt_connect(p.rt, noted_op(&con), &p.at, &s);
    assert_int_equal(turn_for(p.rt, &con), -ECONNREFUSED);
    assert_null(s);
    pair_close(&p);
}

static void test_listen_refuses_a_taken_port(void **state)
{
    struct rt_sock *second = NULL;
    struct pair p;

    pair_listen(&p, "127.0.0.1:0");
    rt_turn(p.rt, 0);                       /* who turns a reactor does not wait for it */
    assert_int_equal(rt_listen(p.rt, &p.at, &second), -EADDRINUSE);
    assert_null(second);
    pair_close(&p);
}

/* As a service that is started while the kernel still takes its predecessor apart. */
static void *listen_later(void *arg)
{
    struct pair *p = arg;

    return (void *)(intptr_t)rt_listen(p->rt, &p->at, &p->a);
}

static void test_listen_waits_for_a_port_that_is_let_go(void **state)
{
    struct pair p;
    pthread_t starter;                      /* turns no reactor, as a program that starts */
    void *err;

    pair_listen(&p, "127.0.0.1:0");
    assert_int_equal(pthread_create(&starter, NULL, listen_later, &p), 0);
    nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 * 1000 }, NULL);   /* it is refused at first, most likely */
    rt_sock_close(p.lst);
    rt_turn(p.rt, 0);
    assert_int_equal(pthread_join(starter, &err), 0);
    assert_int_equal((intptr_t)err, 0);
    p.lst = p.a;
    p.a = NULL;
    pair_connect(&p);                       /* and it works */
    pair_close(&p);
}

static void test_ipv6_listener_leaves_ipv4_alone(void **state)
{
    struct rt_sock *v4 = NULL;
    struct rt_addr at;
    struct pair p;
    int err = -EADDRINUSE;

    for (unsigned i = 0; err && i < 5; i++) {   /* somebody else may use that port of IPv4 just now */
        pair_listen(&p, "[::]:0");
        assert_int_equal(rt_addr_parse(&at, "0.0.0.0", ntohs(p.at.in6.sin6_port)), 0);
        err = rt_listen(p.rt, &at, &v4);
        rt_sock_close(v4);
        pair_close(&p);
    }
    assert_int_equal(err, 0);
}

static void test_accept_waits_for_a_descriptor(void **state)
{
    struct rlimit old, tight;
    struct noted acc = { 0 };
    struct rt_addr at;
    struct rt_stats st;
    struct pair p;
    int fd, fill[64];
    unsigned n = 0;

    pair_listen(&p, "127.0.0.1:0");
    at = p.at;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    while (n < ARRAY_SIZE(fill) && (fill[n] = dup(fd)) >= 0)
        n++;
    rt_accept(p.lst, noted_op(&acc), &p.b, &p.peer);
    assert_int_equal(connect(fd, &at.sa, at.len), 0);
    for (unsigned i = 0; i < 20; i++)
        rt_turn(p.rt, RT_MS);
    assert_int_equal(acc.count, 0);
    rt_stats(p.rt, &st);
    assert_true(st.ops < 20);               /* it waits, it does not spin */
    while (n)
        close(fill[--n]);
    assert_int_equal(turn_for(p.rt, &acc), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(fd);
    pair_close(&p);
}

static void test_accept_waiting_for_a_descriptor_can_be_closed(void **state)
{
    struct rlimit old, tight;
    struct noted acc = { 0 };
    struct pair p;
    int fd, fill[64];
    unsigned n = 0;

    pair_listen(&p, "127.0.0.1:0");
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    while (n < ARRAY_SIZE(fill) && (fill[n] = dup(fd)) >= 0)
        n++;
    rt_accept(p.lst, noted_op(&acc), &p.b, &p.peer);
    assert_int_equal(connect(fd, &p.at.sa, p.at.len), 0);
    for (unsigned i = 0; i < 5; i++)
        rt_turn(p.rt, RT_MS);
    rt_sock_close(p.lst);
    p.lst = NULL;
    assert_int_equal(turn_for(p.rt, &acc), -ECANCELED);
    while (n)
        close(fill[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(fd);
    pair_close(&p);
}

/* ---- unix sockets ------------------------------------------------------------------------------------ */

static void test_unix_socket_is_private_whatever_the_umask(void **state)
{
    char *dir = temp_dir(), path[128];
    const mode_t old = umask(0);
    struct stat st;
    struct pair p;

    snprintf(path, sizeof(path), "%s/s", dir);
    pair_open(&p, path);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    pair_close(&p);
    temp_dir_remove(dir);
}

static void test_unix_peer_is_known(void **state)
{
    char *dir = temp_dir(), path[128];
    uint32_t uid = 99999;
    int32_t pid = 0;
    struct pair p;

    snprintf(path, sizeof(path), "%s/s", dir);
    pair_open(&p, path);
    assert_int_equal(rt_sock_peercred(p.b, &uid, &pid), 0);
    assert_int_equal(uid, getuid());
    assert_int_equal(pid, getpid());
    pair_close(&p);
    pair_open(&p, "127.0.0.1:0");
    assert_int_equal(rt_sock_peercred(p.b, &uid, &pid), -EOPNOTSUPP);
    pair_close(&p);
    temp_dir_remove(dir);
}

static void test_stale_unix_socket_is_replaced_a_live_one_is_not(void **state)
{
    char *dir = temp_dir(), path[128];
    struct rt_sock *second = NULL;
    struct rt_addr at;
    struct pair p;
    int fd;

    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(rt_addr_parse(&at, path, 0), 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &at.sa, at.len), 0);
    close(fd);                              /* what a killed daemon leaves */
    pair_listen(&p, path);
    rt_turn(p.rt, 0);
    assert_int_equal(rt_listen(p.rt, &at, &second), -EADDRINUSE);
    pair_connect(&p);                       /* and it still works */
    pair_close(&p);
    temp_dir_remove(dir);
}

static void test_file_in_a_unix_socket_s_place_is_kept(void **state)
{
    char *dir = temp_dir(), path[128];
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt_sock *s = NULL;
    struct rt_addr at;

    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(rt_save(path, "precious", 8, 0600), 0);
    assert_int_equal(rt_addr_parse(&at, path, 0), 0);
    assert_int_equal(rt_listen(rt_host_at(h, 0), &at, &s), -EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
    rt_host_free(h);
    temp_dir_remove(dir);
}

/* ---- several reactors, descriptors ------------------------------------------------------------------- */

static void test_socket_moves_to_another_reactor(void **state)
{
    struct noted rx = { 0 };
    struct rt_host *h = host_make(2, RT_MODE_INTERRUPT);
    struct rt_sock *s;
    int theirs;

    assert_int_equal(rt_socketpair(rt_host_at(h, 0), &s, &theirs), 0);
    rt_turn(rt_host_at(h, 0), 0);
    rt_sock_move(s, rt_host_at(h, 1));
    rt_recv_shared(s, noted_op(&rx));
    assert_int_equal(write(theirs, "abc", 3), 3);
    assert_int_equal(turn_for(rt_host_at(h, 1), &rx), 3);
    rt_sock_close(s);
    close(theirs);
    rt_host_free(h);
}

static void test_more_operations_than_the_ring_has_room_for(void **state)
{
    enum { N = 300 };
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT, .entries = 8 };
    static struct noted polls[N];
    struct rt_host *h = NULL;
    int fds[2];

    assert_int_equal(rt_host_new(&h, &conf), 0);
    assert_int_equal(pipe(fds), 0);
    memset(polls, 0, sizeof(polls));
    for (unsigned i = 0; i < N; i++)        /* all before the first turn */
        rt_fd_poll(rt_host_at(h, 0), noted_op(&polls[i]), fds[0], POLLIN);
    for (unsigned i = 0; i < N / 4; i++)
        rt_turn(rt_host_at(h, 0), 0);
    for (unsigned i = 0; i < N; i += 2)
        rt_cancel(&polls[i].op);
    for (unsigned i = 0; i < N; i += 2)
        turn_until(rt_host_at(h, 0), &polls[i].count, 1);
    assert_int_equal(write(fds[1], "x", 1), 1);
    for (unsigned i = 0; i < N; i++) {
        turn_until(rt_host_at(h, 0), &polls[i].count, 1);
        assert_int_equal(polls[i].count, 1);
        assert_int_equal(polls[i].res, i % 2 ? POLLIN : -ECANCELED);
    }
    close(fds[0]);
    close(fds[1]);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_pass_over_ipv4),
        cmocka_unit_test(test_bytes_pass_over_ipv6),
        cmocka_unit_test(test_bytes_pass_over_unix),
        cmocka_unit_test(test_bulk_passes_received_whole),
        cmocka_unit_test(test_bulk_passes_received_in_parts),
        cmocka_unit_test(test_receive_all_ends_short_when_the_peer_ends),
        cmocka_unit_test(test_sending_nothing_completes),
        cmocka_unit_test(test_shared_receive_serves_more_streams_than_buffers),
        cmocka_unit_test(test_shared_receive_works_without_buffer_rings),
        cmocka_unit_test(test_close_completes_what_is_outstanding_once),
        cmocka_unit_test(test_close_before_the_kernel_saw_the_operation),
        cmocka_unit_test(test_abandoned_operations_leave_nothing_open),
        cmocka_unit_test(test_close_inside_done),
        cmocka_unit_test(test_close_with_bytes_unread_does_not_reset),
        cmocka_unit_test(test_abort_throws_away_what_was_not_sent),
        cmocka_unit_test(test_shutdown_ends_both_directions),
        cmocka_unit_test(test_peer_reset_is_an_error),
        cmocka_unit_test(test_send_reports_what_went_before_the_peer_broke),
        cmocka_unit_test(test_cancel_ends_a_receive_and_the_stream_goes_on),
        cmocka_unit_test(test_cancel_does_not_hit_the_next_operation),
        cmocka_unit_test(test_cancel_of_what_ends_in_the_same_turn),
        cmocka_unit_test(test_cancelled_connect_leaves_no_socket),
        cmocka_unit_test(test_connect_to_nobody_is_refused),
        cmocka_unit_test(test_listen_refuses_a_taken_port),
        cmocka_unit_test(test_listen_waits_for_a_port_that_is_let_go),
        cmocka_unit_test(test_ipv6_listener_leaves_ipv4_alone),
        cmocka_unit_test(test_accept_waits_for_a_descriptor),
        cmocka_unit_test(test_accept_waiting_for_a_descriptor_can_be_closed),
        cmocka_unit_test(test_unix_socket_is_private_whatever_the_umask),
        cmocka_unit_test(test_unix_peer_is_known),
        cmocka_unit_test(test_stale_unix_socket_is_replaced_a_live_one_is_not),
        cmocka_unit_test(test_file_in_a_unix_socket_s_place_is_kept),
        cmocka_unit_test(test_socket_moves_to_another_reactor),
        cmocka_unit_test(test_more_operations_than_the_ring_has_room_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
