/* Memory crosses a unix stream with bytes; what is no memory, or too much of it, does not. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/reactor/rt_test.h"

#define PAGE 4096ul
#define LEN  32u /* bytes of a message here */

struct scene {
    struct rt_host *h;
    struct rt *rt;
    struct rt_sock *sock;
    int theirs;
    unsigned fds; /* open before anything was received */
    struct noted n;
    struct iovec iov[2];
    char buf[LEN];
    struct rt_shm *shm[RT_SHM_PASS_MAX];
    unsigned nr;
};

static unsigned fds_open(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void setup(struct scene *s)
{
    *s = (struct scene){ .h = host_make(1, RT_MODE_INTERRUPT) };
    s->rt = rt_host_at(s->h, 0);
    assert_int_equal(rt_socketpair(s->rt, &s->sock, &s->theirs), 0);
    assert_true(rt_turn(s->rt, 0) >= 0);
    /* Split where nothing else is split. */
    s->iov[0] = (struct iovec){ s->buf, 5 };
    s->iov[1] = (struct iovec){ s->buf + 5, LEN - 5 };
    s->fds = fds_open();
}

static void teardown(struct scene *s)
{
    while (s->nr)
        rt_shm_free(s->shm[--s->nr]);
    if (s->theirs >= 0)
        close(s->theirs);
    rt_sock_close(s->sock);
    assert_true(rt_turn(s->rt, 0) >= 0);
    rt_host_free(s->h);
}

/* Starts to receive, and lets the ring have it. */
static void expect_message(struct scene *s)
{
    s->nr = 99;
    rt_recv_shm(s->sock, noted_op(&s->n), s->iov, 2, s->shm, &s->nr);
    assert_int_equal(s->nr, 0);
    assert_true(rt_turn(s->rt, 0) >= 0);
}

/* What another process would send: @nr descriptors, which are closed here. */
static void their_send(int sock, const char *bytes, size_t len, const int *fds, unsigned nr)
{
    union {
        struct cmsghdr cmsg;
        uint8_t buf[CMSG_SPACE(8 * sizeof(int))];
    } control = { .cmsg = { CMSG_LEN(nr * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
    struct iovec iov = { (char *)bytes, len };
    const struct msghdr msg = { .msg_iov = &iov,
                                .msg_iovlen = 1,
                                .msg_control = nr ? &control : NULL,
                                .msg_controllen = nr ? CMSG_LEN(nr * sizeof(int)) : 0 };

    assert_true(nr <= 8);
    if (nr)
        memcpy(CMSG_DATA(&control.cmsg), fds, nr * sizeof(int));
    assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), len);
    for (unsigned i = 0; i < nr; i++)
        close(fds[i]);
}

/* A memory whose first byte says which. */
static int memory(char mark)
{
    const int fd = memfd_create("theirs", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(pwrite(fd, &mark, 1, 0), 1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    return fd;
}

static int pipe_end(void)
{
    int pair[2];

    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    close(pair[1]);
    return pair[0];
}

static void expect_marked(struct rt_shm *shm, char mark)
{
    assert_null(rt_shm_mem(shm));
    assert_int_equal(rt_shm_map(shm, PAGE, PAGE), 0);
    assert_int_equal(*(char *)rt_shm_mem(shm), mark);
}

static const char text[LEN + 1] = "0123456789abcdef0123456789ABCDEF";

static void test_message_with_memories_arrives(void **state)
{
    struct scene s;

    for (unsigned nr = 0; nr <= RT_SHM_PASS_MAX; nr++) {
        int fds[RT_SHM_PASS_MAX];

        setup(&s);
        expect_message(&s);
        for (unsigned i = 0; i < nr; i++)
            fds[i] = memory((char)('a' + i));
        their_send(s.theirs, text, LEN, fds, nr);
        assert_int_equal(turn_for(s.rt, &s.n), LEN);
        assert_memory_equal(s.buf, text, LEN);
        assert_int_equal(s.nr, nr);
        assert_int_equal(fds_open(), s.fds + nr);
        for (unsigned i = 0; i < nr; i++)
            expect_marked(s.shm[i], (char)('a' + i));
        teardown(&s);
    }
}

/* In whatever pieces the bytes come, and with whichever of them a memory. */
static void test_message_in_pieces_arrives(void **state)
{
    for (unsigned cut = 1; cut < LEN; cut++) {
        struct scene s;

        setup(&s);
        expect_message(&s);
        their_send(s.theirs, text, cut, (int[]){ memory('a') }, 1);
        for (unsigned i = 0; i < 3; i++)
            assert_true(rt_turn(s.rt, 0) >= 0);
        assert_int_equal(s.n.count, 0);
        their_send(s.theirs, text + cut, LEN - cut, (int[]){ memory('b') }, cut % 2);
        assert_int_equal(turn_for(s.rt, &s.n), LEN);
        assert_memory_equal(s.buf, text, LEN);
        assert_int_equal(s.nr, 1 + cut % 2);
        expect_marked(s.shm[0], 'a');
        if (s.nr == 2)
            expect_marked(s.shm[1], 'b');
        teardown(&s);
    }
}

/* What follows a message is the next one's. */
static void test_message_ends_where_it_ends(void **state)
{
    struct scene s;

    setup(&s);
    their_send(s.theirs, text, LEN, (int[]){ memory('a') }, 1);
    their_send(s.theirs, text, LEN, (int[]){ memory('b') }, 1);
    expect_message(&s);
    assert_int_equal(turn_for(s.rt, &s.n), LEN);
    assert_int_equal(s.nr, 1);
    expect_marked(s.shm[0], 'a');
    rt_shm_free(s.shm[0]);
    expect_message(&s);
    assert_int_equal(turn_for(s.rt, &s.n), LEN);
    assert_int_equal(s.nr, 1);
    expect_marked(s.shm[0], 'b');
    teardown(&s);
}

static void expect_refused(struct scene *s)
{
    assert_int_equal(turn_for(s->rt, &s->n), -EPROTO);
    assert_int_equal(s->nr, 0);
    assert_int_equal(fds_open(), s->fds);
    teardown(s);
}

static void test_more_memories_than_allowed_are_refused(void **state)
{
    struct scene s;

    for (unsigned nr = RT_SHM_PASS_MAX + 1; nr <= 8; nr++) {
        int fds[8];

        setup(&s);
        expect_message(&s);
        for (unsigned i = 0; i < nr; i++)
            fds[i] = memory('x');
        their_send(s.theirs, text, LEN, fds, nr);
        expect_refused(&s);
    }
    for (unsigned first = 1; first <= RT_SHM_PASS_MAX;
         first++) { /* over two pieces: one too many in the second */
        const unsigned second = RT_SHM_PASS_MAX + 1 - first;
        int fds[RT_SHM_PASS_MAX + 1];

        setup(&s);
        expect_message(&s);
        for (unsigned i = 0; i <= RT_SHM_PASS_MAX; i++)
            fds[i] = memory('x');
        their_send(s.theirs, text, 7, fds, first);
        their_send(s.theirs, text + 7, LEN - 7, fds + first, second);
        expect_refused(&s);
    }
}

static void test_what_is_no_memory_is_refused(void **state)
{
    struct scene s;

    setup(&s);
    expect_message(&s);
    their_send(s.theirs, text, LEN, (int[]){ pipe_end() }, 1);
    expect_refused(&s);

    setup(&s);
    expect_message(&s);
    their_send(s.theirs, text, LEN, (int[]){ memory('a'), pipe_end() }, 2);
    expect_refused(&s);

    setup(&s);
    expect_message(&s);
    their_send(s.theirs, text, LEN, (int[]){ open("/dev/null", O_RDWR | O_CLOEXEC), memory('a') }, 2);
    expect_refused(&s);

    setup(&s); /* after a good first piece */
    expect_message(&s);
    their_send(s.theirs, text, 3, (int[]){ memory('a') }, 1);
    their_send(s.theirs, text + 3, 3, (int[]){ pipe_end() }, 1);
    expect_refused(&s);
}

static void test_peer_that_ends_half_way_leaves_what_came(void **state)
{
    struct scene s;

    setup(&s);
    expect_message(&s);
    their_send(s.theirs, text, 9, (int[]){ memory('a') }, 1);
    close(s.theirs);
    s.theirs = -1;
    assert_int_equal(turn_for(s.rt, &s.n), 9);
    assert_int_equal(s.nr, 1);
    expect_marked(s.shm[0], 'a');
    teardown(&s);

    setup(&s);
    expect_message(&s);
    close(s.theirs);
    s.theirs = -1;
    assert_int_equal(turn_for(s.rt, &s.n), 0);
    assert_int_equal(s.nr, 0);
    teardown(&s);
}

/* Cancelled, or the socket closed, with a half of it here, or arriving in that very moment: nothing is left open. */
static void test_receive_that_is_given_up_leaves_nothing_open(void **state)
{
    for (unsigned how = 0; how < 8; how++) {
        struct scene s;

        setup(&s);
        if (how & 1)
            expect_message(&s);
        else
            rt_recv_shm(s.sock, noted_op(&s.n), s.iov, 2, s.shm, &s.nr);
        their_send(s.theirs, text, 9, (int[]){ memory('a'), memory('b') }, 2);
        if (how & 2)
            assert_true(rt_turn(s.rt, 0) >= 0);
        if (how & 4) {
            rt_sock_close(s.sock);
            s.sock = NULL;
            s.fds--;
        } else {
            rt_cancel(&s.n.op);
        }
        turn_for(s.rt, &s.n);
        if (s.n.res < 0) {
            assert_int_equal(s.n.res, -ECANCELED);
            assert_int_equal(s.nr, 0);
        } else {
            assert_int_equal(s.n.res, 9);
        }
        while (s.nr)
            rt_shm_free(s.shm[--s.nr]);
        assert_int_equal(fds_open(), s.fds);
        teardown(&s);
    }
}

/* ---- sending ------------------------------------------------------------------------------------------- */

static void test_sent_memories_arrive_and_stay_the_senders(void **state)
{
    struct scene s;
    struct rt_shm *shm[RT_SHM_PASS_MAX];
    struct rt_sock *peer;
    struct noted tx = { 0 };
    struct rt_addr at = { 0 }, from;
    struct rt_sock *listener = NULL, *client = NULL;
    struct noted acc = { 0 }, con = { 0 };
    char *dir = temp_dir(), path[128];
    struct iovec iov[2] = { { (char *)text, 20 }, { (char *)text + 20, LEN - 20 } };

    setup(&s);
    snprintf(path, sizeof(path), "%s/s", dir);
    assert_int_equal(rt_addr_parse(&at, path, 0), 0);
    assert_int_equal(rt_listen(s.rt, &at, &listener), 0);
    rt_accept(listener, noted_op(&acc), &peer, &from);
    rt_connect(s.rt, noted_op(&con), &at, &client);
    assert_int_equal(turn_for(s.rt, &acc), 0);
    assert_int_equal(turn_for(s.rt, &con), 0);
    for (unsigned i = 0; i < RT_SHM_PASS_MAX; i++) {
        assert_int_equal(rt_shm_new(&shm[i], (i + 1) * PAGE), 0);
        *(char *)rt_shm_mem(shm[i]) = (char)('a' + i);
    }
    rt_recv_shm(peer, noted_op(&s.n), s.iov, 2, s.shm, &s.nr);
    rt_send_shm(client, noted_op(&tx), iov, 2, shm, RT_SHM_PASS_MAX);
    assert_int_equal(turn_for(s.rt, &tx), LEN);
    assert_int_equal(turn_for(s.rt, &s.n), LEN);
    assert_memory_equal(s.buf, text, LEN);
    assert_int_equal(s.nr, RT_SHM_PASS_MAX);
    for (unsigned i = 0; i < RT_SHM_PASS_MAX; i++) {
        assert_int_equal(rt_shm_map(s.shm[i], PAGE, 8 * PAGE), 0);
        assert_int_equal(rt_shm_len(s.shm[i]), (i + 1) * PAGE);
        assert_int_equal(*(char *)rt_shm_mem(s.shm[i]), 'a' + (int)i);
        *(char *)rt_shm_mem(s.shm[i]) = 'z';
        assert_int_equal(*(char *)rt_shm_mem(shm[i]), 'z');
        rt_shm_free(shm[i]);
    }
    rt_sock_close(client);
    rt_sock_close(peer);
    rt_sock_close(listener);
    teardown(&s);
    temp_dir_remove(dir);
}

/* More than the socket takes at once: the memory crosses once. */
static void test_long_message_carries_its_memory_once(void **state)
{
    enum { BIG = 4 << 20 };
    uint8_t *out = malloc(BIG), *in = malloc(BIG);
    const struct iovec iov[3] = { { out, 100 },
                                  { out + 100, BIG / 2 },
                                  { out + 100 + BIG / 2, BIG / 2 - 100 } };
    struct rt_shm *shm;
    struct noted tx = { 0 };
    struct scene s;
    unsigned came = 0;
    size_t got = 0;

    setup(&s);
    for (size_t i = 0; i < BIG; i++)
        out[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(rt_shm_new(&shm, PAGE), 0);
    rt_send_shm(s.sock, noted_op(&tx), iov, 3, &shm, 1);
    while (got < BIG) {
        union {
            struct cmsghdr cmsg;
            uint8_t buf[CMSG_SPACE(8 * sizeof(int))];
        } control;
        struct iovec v = { in + got, BIG - got };
        struct msghdr msg = {
            .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n;

        assert_true(rt_turn(s.rt, 0) >= 0);
        n = recvmsg(s.theirs, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            continue;
        }
        assert_true(n > 0);
        got += (size_t)n;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
            int fd;

            assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
            close(fd);
            came++;
        }
    }
    assert_int_equal(turn_for(s.rt, &tx), BIG);
    assert_int_equal(came, 1);
    assert_memory_equal(in, out, BIG);
    rt_shm_free(shm);
    teardown(&s);
    free(out);
    free(in);
}

static void test_send_to_nobody_fails(void **state)
{
    struct rt_shm *shm;
    struct scene s;

    setup(&s);
    assert_int_equal(rt_shm_new(&shm, PAGE), 0);
    close(s.theirs);
    s.theirs = -1;
    s.iov[0] = (struct iovec){ (char *)text, LEN };
    rt_send_shm(s.sock, noted_op(&s.n), s.iov, 1, &shm, 1);
    assert_int_equal(turn_for(s.rt, &s.n), -EPIPE);
    rt_shm_free(shm);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_with_memories_arrives),
        cmocka_unit_test(test_message_in_pieces_arrives),
        cmocka_unit_test(test_message_ends_where_it_ends),
        cmocka_unit_test(test_more_memories_than_allowed_are_refused),
        cmocka_unit_test(test_what_is_no_memory_is_refused),
        cmocka_unit_test(test_peer_that_ends_half_way_leaves_what_came),
        cmocka_unit_test(test_receive_that_is_given_up_leaves_nothing_open),
        cmocka_unit_test(test_sent_memories_arrive_and_stay_the_senders),
        cmocka_unit_test(test_long_message_carries_its_memory_once),
        cmocka_unit_test(test_send_to_nobody_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
