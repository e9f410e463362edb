/* test_join.c - memories are handed over, or the initiator learns in words why not */
#include "tests/unit/loopback/hand_bed.h"

/* ---- it works ---------------------------------------------------------------------------------------- */

/* Both ends of a hand-over that went well have the same two memories, and a socket between them. */
static void handed_check(struct bed *b, const struct loop_handed *ini, const struct loop_handed *tgt)
{
    struct loop_rings *ours = rt_shm_mem(ini->rings), *theirs = rt_shm_mem(tgt->rings);

    assert_ptr_equal(ini->rt, b->rt);
    assert_int_equal(rt_shm_len(ini->rings), LOOP_RINGS_LEN);
    assert_int_equal(rt_shm_len(tgt->rings), LOOP_RINGS_LEN);
    assert_true(ours != theirs);
    ours->to_target.slot[LOOP_SLOTS - 1].len = 77;
    theirs->to_initiator.data[LOOP_DATA_LEN - 1] = 78;
    assert_int_equal(theirs->to_target.slot[LOOP_SLOTS - 1].len, 77);
    assert_int_equal(ours->to_initiator.data[LOOP_DATA_LEN - 1], 78);

    assert_ptr_equal(ini->arena, rt_shm_mem(loop_arena_shm(b->arena)));
    assert_int_equal(ini->arena_len, LOOP_ARENA_MIN);
    assert_int_equal(tgt->arena_len, LOOP_ARENA_MIN);
    assert_true(ini->arena != tgt->arena);
    ini->arena[LOOP_ARENA_MIN - 1] = 79;
    tgt->arena[0] = 80;
    assert_int_equal(tgt->arena[LOOP_ARENA_MIN - 1], 79);
    assert_int_equal(ini->arena[0], 80);
}

struct byte { /* one operation with one byte */
    struct rt_op op;
    struct iovec iov;
    char c;
    int res;
    bool over;
};

static void byte_over(struct rt_op *op, int res)
{
    struct byte *y = container_of(op, struct byte, op);

    y->res = res;
    y->over = true;
}

static struct byte *byte_init(struct byte *y, char c)
{
    *y = (struct byte){ .op.done = byte_over, .c = c };
    y->iov = (struct iovec){ &y->c, 1 };
    return y;
}

static void byte_passes(struct bed *b, struct rt_sock *from, struct rt_sock *to)
{
    struct byte tx, rx;

    rt_send(from, &byte_init(&tx, 'w')->op, &tx.iov, 1);
    rt_recv(to, &byte_init(&rx, 0)->op, &rx.iov, 1, 0);
    TURN_UNTIL(b, tx.over && rx.over);
    assert_int_equal(tx.res, 1);
    assert_int_equal(rx.res, 1);
    assert_int_equal(rx.c, 'w');
}

static void bed_join_well(struct bed *b, struct loop_handed *ini, struct loop_handed *tgt)
{
    bed_join(b);
    TURN_UNTIL(b, b->joined && b->admitted);
    assert_string_equal(b->join_why, "");
    assert_int_equal(b->join_err, 0);
    assert_int_equal(b->guest_err, 0);
    loop_join_take(b->join, ini);
    bed_join_free(b);
    loop_guest_handed(b->guest, tgt);
}

static void handed_drop(struct loop_handed *ini)
{
    rt_sock_close(ini->sock);
    rt_shm_free(ini->rings);
}

static void test_both_ends_have_the_same_memories(void **state)
{
    struct loop_handed ini, tgt;
    struct bed b;

    bed_open(&b);
    bed_join_well(&b, &ini, &tgt);
    handed_check(&b, &ini, &tgt);
    byte_passes(&b, ini.sock, tgt.sock);
    byte_passes(&b, tgt.sock, ini.sock);
    bed_settle(&b);
    assert_int_equal(b.joined + b.admitted + b.came, 3);
    handed_drop(&ini);
    bed_close(&b);
}

/* What the initiator has in its buffers when it logs in anew is there before and after. */
static void test_the_arena_outlives_a_connection(void **state)
{
    struct loop_handed ini, tgt;
    struct bed b;
    uint8_t *mem;

    bed_open(&b);
    mem = loop_arena_get(b.arena, 100000);
    memset(mem, 0x5a, 100000);
    for (unsigned i = 0; i < 3; i++) {
        b.joined = b.admitted = 0;
        bed_join_well(&b, &ini, &tgt);
        assert_memory_equal(mem, tgt.arena + (mem - ini.arena), 100000);
        bed_guest_free(&b);
        handed_drop(&ini);
        for (unsigned k = 0; k < 100000; k++)
            assert_int_equal(mem[k], 0x5a);
        mem[5] = 0x5b;
        mem[5] = 0x5a;
    }
    loop_arena_put(b.arena, mem, 100000);
    bed_close(&b);
}

struct elsewhere { /* a guest on its way to another core */
    struct bed *b;
    struct rt *to;
    struct rt_msg msg;
};

static void elsewhere_admit(struct rt_msg *m)
{
    struct elsewhere *e = container_of(m, struct elsewhere, msg);

    loop_guest_admit(e->b->guest, bed_admitted, e->b);
}

static void test_a_guest_is_admitted_on_another_core(void **state)
{
    struct elsewhere e = { .msg.fn = elsewhere_admit };
    struct loop_handed tgt;
    struct bed b;

    bed_open_on(&b, 2);
    e.b = &b;
    e.to = rt_host_at(b.h, 1);
    b.at_came = CAME_HOLD;
    bed_door_open(&b);
    bed_join(&b);
    TURN_UNTIL(&b, b.guest);
    loop_guest_move(b.guest, e.to);
    rt_post(e.to, &e.msg);
    for (const uint64_t end = rt_clock(b.rt) + WAIT_MAX_NS; !b.joined || !b.admitted;) {
        assert_true(rt_turn(e.to, 0) >= 0);
        assert_true(rt_turn(b.rt, RT_MS) >= 0);
        assert_true(rt_clock(b.rt) < end);
    }
    assert_int_equal(b.join_err, 0);
    assert_int_equal(b.guest_err, 0);
    loop_guest_handed(b.guest, &tgt);
    assert_ptr_equal(tgt.rt, e.to);
    assert_true(rt_turn(e.to, 0) >= 0); /* from here on we are its core */
    bed_guest_free(&b);
    assert_true(rt_turn(b.rt, 0) >= 0);
    bed_close(&b);
}

/* ---- the target cannot be reached -------------------------------------------------------------------- */

static void join_fails(struct bed *b, int err, const char *words)
{
    bed_join(b);
    TURN_UNTIL(b, b->joined);
    assert_int_equal(b->join_err, err);
    if (!strstr(b->join_why, words))
        fail_msg("\"%s\" does not say \"%s\"", b->join_why, words);
    bed_settle(b);
    assert_int_equal(b->joined, 1);
    bed_join_free(b);
}

static void test_a_socket_that_is_not_there_is_told(void **state)
{
    struct bed b;
    int fd;

    bed_open_on(&b, 1);
    join_fails(&b, -ENOENT, b.path);
    join_fails(&b, -ENOENT, "mount namespace");
    fd = plain_listen(&b);
    close(fd); /* the name stays */
    join_fails(&b, -ECONNREFUSED, "nobody listens");
    unlink(b.path);
    snprintf(b.inv.path, sizeof(b.inv.path), "/dev/null/x");
    join_fails(&b, -ENOTDIR, "cannot reach its socket /dev/null/x: Not a directory");
    strcpy(b.inv.path, "relative");
    join_fails(&b, -EINVAL, "cannot reach");
    bed_close(&b);
}

/* As another user in a child: the socket's mode keeps it out, and who gets past that is asked who it is. */
static void join_as_nobody(struct bed *b, int err, const char *words)
{
    int status;
    pid_t pid, ended;

    fflush(NULL);
    if (!(pid = fork())) {
        const int core = -1;
        const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
        struct bed c = { .inv = b->inv };

        if (setgid(65534) || setuid(65534) || rt_host_new(&c.h, &conf))
            _exit(3);
        c.rt = rt_host_at(c.h, 0);
        if (rt_turn(c.rt, 0) < 0 || loop_arena_new(&c.arena, LOOP_ARENA_MIN) ||
            loop_join_start(&c.join, c.rt, &c.inv, c.arena, bed_joined, &c))
            _exit(4);
        while (!c.joined)
            (void)rt_turn(c.rt, 10 * RT_MS);
        if (c.join_err != err || !strstr(c.join_why, words))
            fprintf(stderr, "%d: %s\n", c.join_err, c.join_why);
        _exit(c.join_err != err ? 5 : strstr(c.join_why, words) ? 0 : 6);
    }
    assert_true(pid > 0);
    TURN_UNTIL(b, (ended = waitpid(pid, &status, WNOHANG)));
    assert_int_equal(ended, pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_another_user_is_kept_out(void **state)
{
    struct stat st;
    struct bed b;

    bed_open(&b);
    assert_int_equal(stat(b.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    if (geteuid()) {
        bed_close(&b);
        print_message("not root: nobody else can be tried\n");
        skip();
    }
    assert_int_equal(chmod(b.dir, 0755), 0);
    join_as_nobody(&b, -EACCES, "it belongs to another user");
    assert_int_equal(chmod(b.path, 0666), 0);
    join_as_nobody(&b, -EPERM, "its own user and root alone");
    assert_int_equal(b.came, 0);
    bed_close(&b);
}

/* ---- the target says no, or nothing, or nonsense ----------------------------------------------------- */

/* A target that reads the hello when @reads, answers @len bytes and hangs up. */
static void answer_fails(const void *answer, size_t len, bool reads, int err, const char *words)
{
    struct loop_hello hello;
    int listener, fd;
    struct bed b;

    bed_open_on(&b, 1);
    listener = plain_listen(&b);
    bed_join(&b);
    fd = plain_accept(&b, listener);
    if (reads) {
        assert_int_equal(plain_recv(&b, fd, &hello, sizeof(hello)), sizeof(hello));
        assert_memory_equal(hello.magic, "corelane", 8);
        assert_memory_equal(hello.token, b.inv.token, LOOP_TOKEN_LEN);
        assert_int_equal(hello.version, LOOP_VERSION);
        assert_int_equal(hello.zero, 0);
    }
    if (len)
        assert_int_equal(send(fd, answer, len, MSG_NOSIGNAL), (ssize_t)len);
    close(fd);
    TURN_UNTIL(&b, b.joined);
    assert_int_equal(b.join_err, err);
    if (!strstr(b.join_why, words))
        fail_msg("\"%s\" does not say \"%s\"", b.join_why, words);
    close(listener);
    unlink(b.path);
    bed_close(&b);
}

static void test_a_refusal_is_told_in_words(void **state)
{
    static const struct {
        int err;
        const char *words;
    } cases[] = {
        { -EPERM, "its own user" },  { -ENOENT, "login that it was for" },   { -EPROTO, "another version" },
        { -ENOMEM, "refused it: " }, { -4095, "refused it: unknown error" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct loop_welcome w = { .err = cases[i].err };

        answer_fails(&w, sizeof(w), true, cases[i].err, cases[i].words);
    }
    /* Said before the hello was read: our send may have failed by then. */
    answer_fails(&(struct loop_welcome){ .err = -EPERM }, sizeof(struct loop_welcome), false, -EPERM,
                 "its own user");
}

static void test_nonsense_is_no_welcome(void **state)
{
    static const int32_t bad[] = { 1, -4096, INT32_MAX, INT32_MIN };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        answer_fails(&(struct loop_welcome){ .err = bad[i] }, sizeof(struct loop_welcome), true, -EPROTO,
                     "no sense");
}

static void test_a_target_that_hangs_up_is_told(void **state)
{
    answer_fails("", 0, true, -ECONNRESET, "hung up");
    answer_fails("\0\0\0", 3, true, -ECONNRESET, "hung up");
    answer_fails("\0\0\0", 1, true, -ECONNRESET, "hung up");
    answer_fails("", 0, false, -ECONNRESET, "hung up");
}

static void test_a_silent_target_is_not_waited_for(void **state)
{
    int listener, fd;
    struct bed b;

    bed_open_on(&b, 1);
    listener = plain_listen(&b);
    bed_join(&b);
    fd = plain_accept(&b, listener);
    TURN_UNTIL(&b, b.joined);
    assert_int_equal(b.join_err, -ETIMEDOUT);
    assert_non_null(strstr(b.join_why, "5 seconds"));
    close(fd);
    close(listener);
    unlink(b.path);
    bed_close(&b);
}

/* ---- given up in between ----------------------------------------------------------------------------- */

/* The initiator gives up after so many turns: nothing is told to it, nothing is left, and the door serves the next. */
static void test_a_join_is_given_up_at_each_step(void **state)
{
    struct loop_handed ini, tgt;
    struct bed b;

    bed_open(&b);
    for (unsigned turns = 0; turns < 30; turns++) {
        unsigned joined;

        b.admitted = b.came = 0;
        bed_join(&b);
        for (unsigned i = 0; i < turns; i++)
            assert_true(rt_turn(b.rt, 0) >= 0);
        joined = b.joined;
        bed_join_free(&b);
        bed_settle(&b);
        if (b.came)
            TURN_UNTIL(&b, b.admitted);
        assert_int_equal(b.joined, joined);
        bed_guest_free(&b);
        b.admitted = 0;
        bed_join_well(&b, &ini, &tgt);
        handed_drop(&ini);
        bed_guest_free(&b);
    }
    bed_close(&b);
}

/* The target gives its guest up after so many turns. */
static void test_a_guest_is_given_up_at_each_step(void **state)
{
    struct bed b;

    bed_open(&b);
    for (unsigned turns = 0; turns < 30; turns++) {
        unsigned admitted;

        b.admitted = 0;
        bed_join(&b);
        TURN_UNTIL(&b, b.guest);
        for (unsigned i = 0; i < turns; i++) /* it is mapped on another thread: some time has to pass */
            assert_true(rt_turn(b.rt, RT_MS / 8) >= 0);
        admitted = b.admitted;
        bed_guest_free(&b);
        TURN_UNTIL(&b, b.joined);
        bed_settle(&b);
        assert_int_equal(b.admitted, admitted);
        assert_true(!b.join_err || b.join_err == -ECONNRESET || b.join_err == -EPIPE);
        assert_true(!admitted || !b.join_err);
        bed_join_free(&b);
    }
    bed_close(&b);
}

static void test_both_may_go_from_inside_done(void **state)
{
    struct bed b;

    bed_open(&b);
    b.free_in_done = true;
    bed_join(&b);
    TURN_UNTIL(&b, b.joined && b.admitted);
    assert_int_equal(b.join_err, 0);
    assert_int_equal(b.guest_err, 0);
    assert_null(b.guest);
    assert_null(b.join);
    unlink(b.path);
    bed_join(&b);
    TURN_UNTIL(&b, b.joined);
    assert_int_equal(b.join_err, -ENOENT);
    bed_close(&b);
}

/* Who is turned away by the one that looks for its login is told that, whenever. */
static void test_a_token_that_is_nobodys_is_told(void **state)
{
    struct bed b;

    bed_open(&b);
    b.at_came = CAME_FREE;
    join_fails(&b, -ENOENT, "the login that it was for has ended");
    b.at_came = CAME_HOLD;
    bed_join(&b);
    TURN_UNTIL(&b, b.guest);
    bed_settle(&b);
    assert_int_equal(b.joined, 0);
    bed_guest_free(&b);
    TURN_UNTIL(&b, b.joined);
    assert_int_equal(b.join_err, -ENOENT);
    bed_close(&b);
}

/* Taken or not, what a join has is given back; the arena's last reference may be the join's. */
static void test_what_is_not_taken_is_freed(void **state)
{
    struct loop_arena *a;
    struct bed b;

    bed_open(&b);
    bed_join(&b);
    TURN_UNTIL(&b, b.joined && b.admitted);
    bed_join_free(&b);
    bed_guest_free(&b);

    a = b.arena;
    bed_join(&b);
    loop_arena_drop(a); /* while the memories are on their way */
    bed_join_free(&b);
    bed_settle(&b);
    bed_guest_free(&b);
    assert_int_equal(loop_arena_new(&b.arena, LOOP_ARENA_MIN), 0);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ends_have_the_same_memories),
        cmocka_unit_test(test_the_arena_outlives_a_connection),
        cmocka_unit_test(test_a_guest_is_admitted_on_another_core),
        cmocka_unit_test(test_a_socket_that_is_not_there_is_told),
        cmocka_unit_test(test_another_user_is_kept_out),
        cmocka_unit_test(test_a_refusal_is_told_in_words),
        cmocka_unit_test(test_nonsense_is_no_welcome),
        cmocka_unit_test(test_a_target_that_hangs_up_is_told),
        cmocka_unit_test(test_a_silent_target_is_not_waited_for),
        cmocka_unit_test(test_a_join_is_given_up_at_each_step),
        cmocka_unit_test(test_a_guest_is_given_up_at_each_step),
        cmocka_unit_test(test_both_may_go_from_inside_done),
        cmocka_unit_test(test_a_token_that_is_nobodys_is_told),
        cmocka_unit_test(test_what_is_not_taken_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
