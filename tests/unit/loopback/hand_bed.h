/*
 * hand_bed.h - one reactor with a door, a join, and what both say; and ends that are no Corelane, by plain system calls
 */
#ifndef HAND_BED_H
#define HAND_BED_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loopback/arena.h"
#include "loopback/handover.h"
#include "loopback/ring.h"

#include <cmocka.h>

#define WAIT_MAX_NS (30 * RT_S) /* only a hang takes that long */

enum at_came { CAME_ADMIT, CAME_HOLD, CAME_FREE };

struct bed {
    struct rt_host *h;
    struct rt *rt;
    char dir[32], path[64];
    unsigned fds; /* the program's before it had any of this */
    struct loop_door *door;
    struct loop_arena *arena;
    struct loop_invitation inv;
    enum at_came at_came;

    struct loop_join *join; /* and what became of it */
    unsigned joined;
    int join_err;
    char join_why[256];
    bool free_in_done; /* each of both, from inside its done */

    struct loop_guest *guest; /* the last one that came */
    unsigned came, admitted;
    int guest_err;
    char guest_why[256];
};

#define TURN_UNTIL(b, cond)                                                                                    \
    for (const uint64_t end_ = rt_clock((b)->rt) + WAIT_MAX_NS; !(cond);) {                                    \
        assert_true(rt_turn((b)->rt, RT_MS) >= 0);                                                             \
        assert_true(rt_clock((b)->rt) < end_);                                                                 \
    }

static inline unsigned fds_count(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- the two ends that are ours ---------------------------------------------------------------------- */

static inline void bed_admitted(void *user, int err, const char *why)
{
    struct bed *b = user;

    b->admitted++;
    b->guest_err = err;
    snprintf(b->guest_why, sizeof(b->guest_why), "%s", why ? why : "");
    assert_int_equal(!err, !why);
    if (b->free_in_done) {
        loop_guest_free(b->guest);
        b->guest = NULL;
    }
}

static inline void bed_came(void *user, struct loop_guest *g)
{
    struct bed *b = user;

    b->came++;
    assert_memory_equal(loop_guest_token(g), b->inv.token, LOOP_TOKEN_LEN);
    if (b->at_came == CAME_FREE) {
        loop_guest_free(g);
        return;
    }
    assert_null(b->guest);
    b->guest = g;
    if (b->at_came == CAME_ADMIT)
        loop_guest_admit(g, bed_admitted, b);
}

static inline void bed_joined(void *user, int err, const char *why)
{
    struct bed *b = user;

    b->joined++;
    b->join_err = err;
    snprintf(b->join_why, sizeof(b->join_why), "%s", why ? why : "");
    assert_int_equal(!err, !why);
    if (b->free_in_done) {
        loop_join_free(b->join);
        b->join = NULL;
    }
}

static inline void bed_join(struct bed *b)
{
    assert_null(b->join);
    b->joined = 0;
    assert_int_equal(loop_join_start(&b->join, b->rt, &b->inv, b->arena, bed_joined, b), 0);
    assert_int_equal(b->joined, 0);
}

static inline void bed_join_free(struct bed *b)
{
    loop_join_free(b->join);
    b->join = NULL;
}

static inline void bed_guest_free(struct bed *b)
{
    loop_guest_free(b->guest);
    b->guest = NULL;
}

static inline void bed_door_open(struct bed *b)
{
    assert_null(b->door);
    assert_int_equal(loop_door_open(&b->door, b->rt, b->path, bed_came, b), 0);
}

static inline void bed_door_close(struct bed *b)
{
    loop_door_close(b->door);
    b->door = NULL;
}

/* @cores: reactors of the host; b->rt is the first. No door yet. */
static inline void bed_open_on(struct bed *b, unsigned cores)
{
    static const int any[] = { -1, -1 };
    const struct rt_conf conf = { .cores = any, .cores_nr = cores, .mode = RT_MODE_INTERRUPT };

    *b = (struct bed){ .dir = "/tmp/loop-test-XXXXXX", .fds = fds_count() };
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->path, sizeof(b->path), "%s/loop.sock", b->dir);
    assert_int_equal(rt_host_new(&b->h, &conf), 0);
    b->rt = rt_host_at(b->h, 0);
    assert_true(rt_turn(b->rt, 0) >= 0);
    assert_int_equal(loop_arena_new(&b->arena, LOOP_ARENA_MIN), 0);
    rt_random(b->rt, b->inv.token, sizeof(b->inv.token));
    snprintf(b->inv.path, sizeof(b->inv.path), "%s", b->path);
}

static inline void bed_open(struct bed *b)
{
    bed_open_on(b, 1);
    bed_door_open(b);
}

/* Some turns, for what ends by itself. */
static inline void bed_settle(struct bed *b)
{
    for (unsigned i = 0; i < 20; i++)
        assert_true(rt_turn(b->rt, RT_MS) >= 0);
}

/* Everything was given back: no descriptor is left, and with SAN=1 no memory. */
static inline void bed_close(struct bed *b)
{
    bed_join_free(b);
    bed_guest_free(b);
    bed_door_close(b);
    bed_settle(b);
    assert_int_not_equal(access(b->path, F_OK), 0);
    loop_arena_drop(b->arena);
    rt_host_free(b->h);
    assert_int_equal(rmdir(b->dir), 0);
    assert_int_equal(fds_count(), b->fds);
}

/* ---- other ends -------------------------------------------------------------------------------------- */

/* A memory as @seals say. */
static inline int memory_make(size_t len, unsigned seals)
{
    const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

#define SEALS_GOOD (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static inline struct sockaddr_un plain_address(const struct bed *b)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", b->path);
    return at;
}

/* An initiator at the door. */
static inline int plain_connect(const struct bed *b)
{
    const struct sockaddr_un at = plain_address(b);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* Sends, with descriptors, which are closed here. */
static inline void plain_send(int sock, const void *bytes, size_t len, const int *fds, unsigned nr)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    assert_true(nr <= 8);
    if (nr) {
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(nr * sizeof(int)),
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control.head), fds, nr * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nr * sizeof(int));
    }
    assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), (ssize_t)len);
    for (unsigned i = 0; i < nr; i++)
        close(fds[i]);
}

static inline struct loop_hello hello_good(const struct bed *b)
{
    struct loop_hello hello = { .magic = LOOP_MAGIC, .version = LOOP_VERSION };

    memcpy(hello.token, b->inv.token, sizeof(hello.token));
    return hello;
}

/* Turns until something can be read. Return: bytes, 0 at the end. */
static inline ssize_t plain_recv(struct bed *b, int sock, void *bytes, size_t len)
{
    ssize_t n;

    TURN_UNTIL(b, (n = recv(sock, bytes, len, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    return n < 0 && errno == ECONNRESET ? 0 : n;
}

/* What the door answers, after which it hangs up. */
static inline int plain_refusal(struct bed *b, int sock)
{
    struct loop_welcome welcome = { .err = 0 };
    char more;

    assert_int_equal(plain_recv(b, sock, &welcome, sizeof(welcome)), sizeof(welcome));
    assert_int_equal(plain_recv(b, sock, &more, 1), 0);
    return welcome.err;
}

/* A target's socket. */
static inline int plain_listen(const struct bed *b)
{
    const struct sockaddr_un at = plain_address(b);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static inline int plain_accept(struct bed *b, int listener)
{
    int fd;

    TURN_UNTIL(b, (fd = accept(listener, NULL, NULL)) >= 0);
    return fd;
}

#endif
