/* test_door.c - who comes to the door with something else than an honest initiator's hand-over */
#include "loopback/door.h"
#include "tests/unit/loopback/hand_bed.h"

#define GUESTS_MAX 64u /* the door's own limit */

/* ---- the socket -------------------------------------------------------------------------------------- */

static void test_a_door_needs_a_path_it_can_have(void **state)
{
    char longest[LOOP_PATH_LEN_MAX + 2];
    struct loop_door *d = NULL;
    struct bed b;
    int fd;

    bed_open_on(&b, 1);
    assert_int_equal(loop_door_open(&d, b.rt, "relative", bed_came, &b), -EINVAL);
    assert_int_equal(loop_door_open(&d, b.rt, "", bed_came, &b), -EINVAL);
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[LOOP_PATH_LEN_MAX + 1] = '\0';
    assert_int_equal(loop_door_open(&d, b.rt, longest, bed_came, &b), -EINVAL);
    assert_int_equal(loop_door_open(&d, b.rt, "/nowhere/at/all", bed_came, &b), -ENOENT);
    fd = plain_listen(&b); /* somebody's, who lives */
    assert_int_equal(loop_door_open(&d, b.rt, b.path, bed_came, &b), -EADDRINUSE);
    assert_null(d);
    close(fd);
    assert_int_equal(loop_door_open(&b.door, b.rt, b.path, bed_came, &b), 0); /* who died */
    bed_close(&b);
}

/* Closed while one stands there, one is being turned away and one waits outside: all learn it, and the path is free. */
static void test_a_door_closes_before_its_guests(void **state)
{
    struct loop_hello hello;
    int silent, wrong, fresh;
    struct bed b;
    char c;

    bed_open(&b);
    for (unsigned turns = 0; turns < 8; turns++) {
        hello = hello_good(&b);
        hello.version++;
        silent = plain_connect(&b);
        wrong = plain_connect(&b);
        plain_send(wrong, &hello, sizeof(hello), NULL, 0);
        for (unsigned i = 0; i < turns; i++)
            assert_true(rt_turn(b.rt, 0) >= 0);
        fresh = plain_connect(&b);
        bed_door_close(&b);
        assert_int_equal(plain_recv(&b, silent, &c, 1), 0);
        assert_int_equal(plain_recv(&b, fresh, &c, 1), 0);
        while (plain_recv(&b, wrong, &c, 1) > 0)
            ;
        bed_settle(&b);
        assert_int_not_equal(access(b.path, F_OK), 0);
        close(silent);
        close(wrong);
        close(fresh);
        bed_door_open(&b);
    }
    assert_int_equal(b.came, 0);
    bed_close(&b);
}

/* ---- the hello --------------------------------------------------------------------------------------- */

/* Refused with -EPROTO, and nobody is told that somebody came. @fds: what comes with it, closed here. */
static void hello_refused(struct bed *b, const void *bytes, size_t len, const int *fds, unsigned nr)
{
    const int sock = plain_connect(b);

    plain_send(sock, bytes, len, fds, nr);
    if (len < sizeof(struct loop_hello))
        assert_int_equal(shutdown(sock, SHUT_WR), 0);
    assert_int_equal(plain_refusal(b, sock), -EPROTO);
    close(sock);
    assert_int_equal(b->came, 0);
}

static void memories_make(int fds[2])
{
    fds[0] = memory_make(LOOP_RINGS_LEN, SEALS_GOOD);
    fds[1] = memory_make(LOOP_ARENA_MIN, SEALS_GOOD);
}

static void test_a_wrong_hello_is_refused(void **state)
{
    struct loop_hello hello;
    int fds[2];
    struct bed b;

    bed_open(&b);
    for (unsigned byte = 0; byte < sizeof(hello); byte++) {
        if (byte >= offsetof(struct loop_hello, token) && byte < offsetof(struct loop_hello, version))
            continue; /* any token is one: whose it is, others know */
        hello = hello_good(&b);
        ((uint8_t *)&hello)[byte] ^= 0x20;
        memories_make(fds);
        hello_refused(&b, &hello, sizeof(hello), fds, 2);
    }
    bed_close(&b);
}

static void test_a_short_hello_is_refused(void **state)
{
    struct loop_hello hello;
    int fds[2];
    struct bed b;

    bed_open(&b);
    hello = hello_good(&b);
    for (unsigned len = 1; len < sizeof(hello); len++) {
        memories_make(fds);
        hello_refused(&b, &hello, len, fds, len % 3);
        for (unsigned i = len % 3; i < 2; i++)
            close(fds[i]);
    }
    bed_close(&b);
}

static void test_two_memories_come_with_it_or_it_is_refused(void **state)
{
    struct loop_hello hello;
    int fds[8], pipes[2];
    struct bed b;

    bed_open(&b);
    hello = hello_good(&b);
    hello_refused(&b, &hello, sizeof(hello), NULL, 0);
    memories_make(fds);
    hello_refused(&b, &hello, sizeof(hello), fds, 1);
    close(fds[1]);
    for (unsigned nr = 3; nr <= 8; nr++) {
        for (unsigned i = 0; i < nr; i++)
            fds[i] = memory_make(4096, SEALS_GOOD);
        hello_refused(&b, &hello, sizeof(hello), fds, nr);
    }
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    hello_refused(&b, &hello, sizeof(hello), pipes, 2);
    memories_make(fds);
    close(fds[1]);
    fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    hello_refused(&b, &hello, sizeof(hello), fds, 2);
    bed_close(&b);
}

/* In pieces it is as good as at once. */
static void test_a_hello_may_come_in_pieces(void **state)
{
    struct loop_hello hello;
    struct loop_welcome welcome;
    int fds[2], sock;
    struct bed b;

    bed_open(&b);
    hello = hello_good(&b);
    memories_make(fds);
    sock = plain_connect(&b);
    plain_send(sock, &hello, 5, &fds[0], 1);
    bed_settle(&b);
    plain_send(sock, (uint8_t *)&hello + 5, sizeof(hello) - 5, &fds[1], 1);
    assert_int_equal(plain_recv(&b, sock, &welcome, sizeof(welcome)), sizeof(welcome));
    assert_int_equal(welcome.err, 0);
    TURN_UNTIL(&b, b.admitted);
    assert_int_equal(b.guest_err, 0);
    close(sock);
    bed_close(&b);
}

static void test_who_leaves_without_a_word_leaves_nothing(void **state)
{
    struct loop_hello hello;
    int fds[2], sock;
    struct bed b;

    bed_open(&b);
    hello = hello_good(&b);
    for (unsigned i = 0; i < 200; i++) {
        sock = plain_connect(&b);
        if (i % 2) {
            memories_make(fds);
            plain_send(sock, &hello, 1 + i % 31, fds, 2);
        }
        for (unsigned k = i % 5; k; k--)
            assert_true(rt_turn(b.rt, 0) >= 0);
        close(sock);
    }
    bed_settle(&b);
    assert_int_equal(b.came, 0);
    bed_join(&b); /* and the next is served */
    TURN_UNTIL(&b, b.joined && b.admitted);
    assert_int_equal(b.join_err, 0);
    bed_close(&b);
}

/* ---- the memories ------------------------------------------------------------------------------------ */

/* Sent by somebody whose hello is good: both sides learn that it is not admitted. */
static void memories_refused(struct bed *b, int rings, int arena)
{
    const struct loop_hello hello = hello_good(b);
    const int fds[2] = { rings, arena }, sock = plain_connect(b);
    struct loop_welcome welcome;
    char c;

    b->admitted = 0;
    plain_send(sock, &hello, sizeof(hello), fds, 2);
    assert_int_equal(plain_recv(b, sock, &welcome, sizeof(welcome)), sizeof(welcome));
    assert_int_equal(welcome.err, -EPROTO);
    TURN_UNTIL(b, b->admitted);
    assert_int_equal(b->guest_err, -EPROTO);
    assert_non_null(strstr(b->guest_why, "no sealed memory of the size"));
    bed_guest_free(b);
    assert_int_equal(plain_recv(b, sock, &c, 1), 0);
    close(sock);
}

static void test_memories_are_as_agreed_or_refused(void **state)
{
    const size_t rings = LOOP_RINGS_LEN, arena = LOOP_ARENA_MIN;
    static const unsigned seals[] = { 0,
                                      F_SEAL_SHRINK,
                                      F_SEAL_SHRINK | F_SEAL_GROW,
                                      F_SEAL_SHRINK | F_SEAL_SEAL,
                                      F_SEAL_GROW | F_SEAL_SEAL,
                                      SEALS_GOOD | F_SEAL_WRITE };
    int same;
    struct bed b;

    bed_open(&b);
    memories_refused(&b, memory_make(rings - 4096, SEALS_GOOD), memory_make(arena, SEALS_GOOD));
    memories_refused(&b, memory_make(rings + 4096, SEALS_GOOD), memory_make(arena, SEALS_GOOD));
    memories_refused(&b, memory_make(0, SEALS_GOOD), memory_make(arena, SEALS_GOOD));
    memories_refused(&b, memory_make(rings, SEALS_GOOD), memory_make(arena - 4096, SEALS_GOOD));
    memories_refused(&b, memory_make(rings, SEALS_GOOD), memory_make(arena + 1, SEALS_GOOD));
    memories_refused(&b, memory_make(rings, SEALS_GOOD), memory_make(LOOP_ARENA_MAX + 4096, SEALS_GOOD));
    memories_refused(&b, memory_make(rings, SEALS_GOOD), memory_make(0, SEALS_GOOD));
    memories_refused(&b, memory_make(arena, SEALS_GOOD), memory_make(rings, SEALS_GOOD));
    for (unsigned i = 0; i < ARRAY_SIZE(seals); i++) {
        memories_refused(&b, memory_make(rings, seals[i]), memory_make(arena, SEALS_GOOD));
        memories_refused(&b, memory_make(rings, SEALS_GOOD), memory_make(arena, seals[i]));
    }
    same = memory_make(rings, SEALS_GOOD);
    memories_refused(&b, same, fcntl(same, F_DUPFD_CLOEXEC, 0));
    bed_close(&b);
}

/* Guests may map so much and no more; what one gives back is another's. */
static void test_guests_share_a_bounded_memory(void **state)
{
    const uint64_t one = LOOP_RINGS_LEN + LOOP_ARENA_MIN;
    struct loop_guest *first;
    struct bed b;

    bed_open(&b);
    loop_door_limit(b.door, 2 * one - 1);
    bed_join(&b);
    TURN_UNTIL(&b, b.joined && b.admitted);
    assert_int_equal(b.join_err, 0);
    first = b.guest;
    b.guest = NULL;
    for (unsigned i = 0; i < 2; i++) { /* who is refused has nothing of it */
        bed_join_free(&b);
        b.admitted = 0;
        bed_join(&b);
        TURN_UNTIL(&b, b.joined && b.admitted);
        assert_int_equal(b.join_err, -EDQUOT);
        assert_non_null(strstr(b.join_why, "make arenas smaller"));
        assert_int_equal(b.guest_err, -EDQUOT);
        assert_non_null(strstr(b.guest_why, "a quarter of its memory"));
        bed_guest_free(&b);
    }
    loop_guest_free(first);
    bed_join_free(&b);
    b.admitted = 0;
    bed_join(&b);
    TURN_UNTIL(&b, b.joined && b.admitted);
    assert_int_equal(b.join_err, 0);
    assert_int_equal(b.guest_err, 0);
    bed_door_close(&b); /* the guest outlives it */
    bed_close(&b);
}

/* ---- who is gone when it is admitted ----------------------------------------------------------------- */

static void test_a_guest_that_vanished_is_not_admitted(void **state)
{
    struct loop_hello hello;
    int fds[2], sock;
    struct bed b;

    bed_open(&b);
    b.at_came = CAME_HOLD;
    hello = hello_good(&b);
    memories_make(fds);
    sock = plain_connect(&b);
    plain_send(sock, &hello, sizeof(hello), fds, 2);
    TURN_UNTIL(&b, b.guest);
    close(sock);
    loop_guest_admit(b.guest, bed_admitted, &b);
    TURN_UNTIL(&b, b.admitted);
    assert_true(b.guest_err < 0);
    assert_non_null(strstr(b.guest_why, "hung up"));
    bed_guest_free(&b);

    memories_make(fds); /* and turned away it is as well */
    sock = plain_connect(&b);
    plain_send(sock, &hello, sizeof(hello), fds, 2);
    TURN_UNTIL(&b, b.guest);
    close(sock);
    bed_guest_free(&b);
    bed_close(&b);
}

/* ---- too many ---------------------------------------------------------------------------------------- */

struct crowd {
    struct bed b;
    int sock[GUESTS_MAX];
    unsigned gone_at_came; /* of them */
};

static unsigned crowd_gone(const struct crowd *c)
{
    unsigned n = 0;
    char byte;

    for (unsigned i = 0; i < GUESTS_MAX; i++)
        n += recv(c->sock[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    return n;
}

static void crowd_came(void *user, struct loop_guest *g)
{
    struct crowd *c = user;

    c->gone_at_came = crowd_gone(c);
    bed_came(&c->b, g);
}

/* As many as may stand there stand there in silence. Who comes then waits until the first has been sent away, and is
 * served. */
static void test_a_silent_crowd_is_sent_away(void **state)
{
    struct crowd c;

    bed_open_on(&c.b, 1);
    assert_int_equal(loop_door_open(&c.b.door, c.b.rt, c.b.path, crowd_came, &c), 0);
    for (unsigned i = 0; i < GUESTS_MAX; i++)
        c.sock[i] = plain_connect(&c.b);
    bed_join(&c.b);
    TURN_UNTIL(&c.b, c.b.joined && c.b.admitted);
    assert_int_equal(c.b.join_err, 0);
    assert_true(c.gone_at_came > 0);
    TURN_UNTIL(&c.b, crowd_gone(&c) == GUESTS_MAX);
    for (unsigned i = 0; i < GUESTS_MAX; i++)
        close(c.sock[i]);
    bed_close(&c.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_door_needs_a_path_it_can_have),
        cmocka_unit_test(test_a_door_closes_before_its_guests),
        cmocka_unit_test(test_a_wrong_hello_is_refused),
        cmocka_unit_test(test_a_short_hello_is_refused),
        cmocka_unit_test(test_two_memories_come_with_it_or_it_is_refused),
        cmocka_unit_test(test_a_hello_may_come_in_pieces),
        cmocka_unit_test(test_who_leaves_without_a_word_leaves_nothing),
        cmocka_unit_test(test_memories_are_as_agreed_or_refused),
        cmocka_unit_test(test_guests_share_a_bounded_memory),
        cmocka_unit_test(test_a_guest_that_vanished_is_not_admitted),
        cmocka_unit_test(test_a_silent_crowd_is_sent_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
