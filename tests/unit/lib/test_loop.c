/*
 * test_loop.c - libcorelane over shared memory: what is read is what was written, with the library's buffers and the
 * program's own, while our target is killed and started again; and what carries a disk is what was asked for
 *
 * The target is a process of its own, so that it can be killed at any instant: this program once more, executed anew so
 * that it holds none of our sockets open.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "../target/tgt_peer.h"
#include "corelane.h"

#define DISK_LEN (16ull << 20)
#define DEPTH 16u
#define UNIT 16384u                         /* bytes of one request of a stream */

struct world {
    struct bed bed;                         /* paths and port; host and target are the child's */
    pid_t child;
    char loop[100], image[100];
    struct corelane *c;
};

/* ---- the target ----------------------------------------------------------------------------------------- */

static void paths_make(struct world *w)
{
    snprintf(w->bed.sock, sizeof(w->bed.sock), "%s/rpc.sock", w->bed.dir);
    snprintf(w->bed.config, sizeof(w->bed.config), "%s/config.json", w->bed.dir);
    snprintf(w->loop, sizeof(w->loop), "%s/loop.sock", w->bed.dir);
    snprintf(w->image, sizeof(w->image), "%s/image", w->bed.dir);
}

/* Tells its port on standard output. */
static int target_main(const char *dir, const char *portal, bool loopback)
{
    static struct world world, *const w = &world;
    static const int cpu = -1;
    const struct rt_conf rc = { .cores = &cpu, .cores_nr = 1 };
    struct rt_addr at;
    const struct tgt_conf conf = { .config_path = w->bed.config, .state_dir = w->bed.dir, .portals = &at,
                                   .portals_nr = 1, .loop_path = loopback ? w->loop : NULL };

    snprintf(w->bed.dir, sizeof(w->bed.dir), "%s", dir);
    paths_make(w);
    rt_log_level(RT_ERR);
    if (rt_addr_parse(&at, portal, 0) || rt_host_new(&w->bed.host, &rc) || tgt_new(&w->bed.tgt, w->bed.host, &conf))
        return 1;
    w->bed.port = ntohs(w->bed.tgt->portals[0].addr.in.sin_port);
    if (rpc_listen(&w->bed.rpc, rt_host_at(w->bed.host, 0), w->bed.sock, tgt_methods, tgt_methods_nr, w->bed.tgt) ||
        write(1, &w->bed.port, sizeof(w->bed.port)) != sizeof(w->bed.port))
        return 1;
    return rt_host_run(w->bed.host) != 0;
}

/* At the port it had before, if it had one. */
static void target_start(struct world *w, bool loopback)
{
    char portal[32];
    int report[2];

    snprintf(portal, sizeof(portal), "127.0.0.1:%u", w->bed.port);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    w->child = fork();
    if (!w->child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(report[1], 1);
        execl("/proc/self/exe", "test_loop", w->bed.dir, portal, loopback ? "yes" : "no", (char *)NULL);
        _exit(127);
    }
    close(report[1]);
    assert_int_equal(read(report[0], &w->bed.port, sizeof(w->bed.port)), sizeof(w->bed.port));
    close(report[0]);
}

static void target_kill(struct world *w)
{
    if (w->child <= 0)
        return;
    kill(w->child, SIGKILL);
    waitpid(w->child, NULL, 0);
    w->child = 0;
}

static int up(void **state)
{
    static struct world w;
    static const char conf[] = "{\"version\": 1, \"limits\": {\"buffer_mib\": 16}}";

    *state = &w;
    memset(&w, 0, sizeof(w));
    strcpy(w.bed.dir, "/tmp/corelane-loop.XXXXXX");
    assert_non_null(mkdtemp(w.bed.dir));
    paths_make(&w);
    assert_int_equal(rt_save(w.bed.config, conf, strlen(conf), 0600), 0);
    target_start(&w, true);
    bed_do(&w.bed, "target.create", json_pack("{s:s}", "iqn", T_IQN));
    bed_do(&w.bed, "lun.create", json_pack("{s:s, s:s, s:s, s:I}", "iqn", T_IQN, "kind", "file", "path", w.image,
                                           "size", (json_int_t)DISK_LEN));
    assert_int_equal(corelane_new(&w.c, &(struct corelane_options){ .core = -1, .initiator_name = I_IQN }), 0);
    rt_log_level(RT_ERR);
    return 0;
}

static int down(void **state)
{
    struct world *w = *state;
    char cmd[120];

    target_kill(w);
    corelane_free(w->c);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", w->bed.dir);
    return system(cmd);
}

/* ---- the program's side --------------------------------------------------------------------------------- */

static int try_open(struct world *w, enum corelane_transport transport, struct corelane_disk **d)
{
    const struct corelane_disk_options o = { .transport = transport, .header_digest = true, .data_digest = true };
    char url[160];

    snprintf(url, sizeof(url), "iscsi://127.0.0.1:%u/" T_IQN "/0", w->bed.port);
    return corelane_disk_open(w->c, url, &o, d);
}

static struct corelane_disk *disk_open(struct world *w, enum corelane_transport transport)
{
    struct corelane_disk *d;

    if (try_open(w, transport, &d))
        fail_msg("%s", corelane_error(w->c));
    return d;
}

static void expect_over(struct corelane_disk *d, const char *transport, const char *why)
{
    struct corelane_disk_info info;

    corelane_disk_info(d, &info);
    if (strcmp(info.transport, transport) || !strstr(info.transport_why, why))
        fail_msg("over %s: %s", info.transport, info.transport_why);
}

static void note(struct corelane_io *io, int res)
{
    *(int *)io->user = res;
}

static void run(struct world *w, struct corelane_disk *d, enum corelane_op op, uint64_t off, void *buf, size_t len)
{
    struct iovec iov = { buf, len };
    int res = 1;
    struct corelane_io io = { .op = op, .offset = off, .length = len, .iov = &iov, .iov_nr = 1, .done = note,
                              .user = &res };

    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(w->c, -1) >= 0);
    assert_int_equal(res, 0);
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void round_trips(struct world *w, struct corelane_disk *d, uint8_t *out, uint8_t *in, size_t room)
{
    static const size_t lens[] = { 512, 4096, 8192, 65536, 65536 + 512, 1 << 20, (3 << 20) + 4096 };

    for (size_t i = 0; i < ARRAY_SIZE(lens) && lens[i] <= room; i++) {
        fill(out, lens[i], (uint32_t)i);
        memset(in, 0xee, lens[i]);
        run(w, d, CORELANE_WRITE, 512 * i, out, lens[i]);
        run(w, d, CORELANE_READ, 512 * i, in, lens[i]);
        assert_memory_equal(in, out, lens[i]);
    }
    run(w, d, CORELANE_FLUSH, 0, NULL, 0);
}

/* ---- one disk ------------------------------------------------------------------------------------------- */

static void test_what_was_written_is_read_back(void **state)
{
    const size_t room = 4 << 20;
    struct world *w = *state;
    struct corelane_disk *d = disk_open(w, CORELANE_TRANSPORT_AUTO);
    uint8_t *own[2] = { malloc(room), malloc(room) };
    uint8_t *lent[2] = { corelane_buffer_alloc(d, room), corelane_buffer_alloc(d, room) };

    expect_over(d, "shm", "on this host");
    assert_int_equal((uintptr_t)lent[0] & 4095, 0);
    round_trips(w, d, lent[0], lent[1], room);
    round_trips(w, d, own[0], own[1], room);
    round_trips(w, d, lent[0] + 512, own[1] + 7, 1 << 20);  /* not on a page boundary; not on any */
    round_trips(w, d, own[0] + 1, lent[1] + 1024, 1 << 20);
    for (unsigned i = 0; i < 2; i++) {
        corelane_buffer_free(d, lent[i], room);
        free(own[i]);
    }
    corelane_disk_close(d);
}

static void test_a_piece_of_each_kind_of_memory_goes_as_one_request(void **state)
{
    struct world *w = *state;
    struct corelane_disk *d = disk_open(w, CORELANE_TRANSPORT_SHM);
    uint8_t *lent = corelane_buffer_alloc(d, 8192), own[8192], back[16384];
    struct iovec iov[] = { { lent, 4096 }, { own, 8192 }, { lent + 4096, 4096 } };
    int res = 1;
    struct corelane_io io = { .op = CORELANE_WRITE, .length = 16384, .iov = iov, .iov_nr = 3, .done = note,
                              .user = &res };

    fill(lent, 8192, 1);
    fill(own, 8192, 2);
    assert_int_equal(corelane_submit(d, &io), 0);
    while (res == 1)
        assert_true(corelane_poll(w->c, -1) >= 0);
    assert_int_equal(res, 0);
    run(w, d, CORELANE_READ, 0, back, sizeof(back));
    assert_memory_equal(back, lent, 4096);
    assert_memory_equal(back + 4096, own, 8192);
    assert_memory_equal(back + 12288, lent + 4096, 4096);
    corelane_buffer_free(d, lent, 8192);
    corelane_disk_close(d);
}

static void test_tcp_is_had_where_it_is_asked_for(void **state)
{
    struct world *w = *state;
    struct corelane_disk *d = disk_open(w, CORELANE_TRANSPORT_TCP);
    uint8_t *buf = corelane_buffer_alloc(d, 8192), *back = buf + 4096;

    expect_over(d, "tcp", "asked for");
    fill(buf, 4096, 3);
    run(w, d, CORELANE_WRITE, 0, buf, 4096);
    run(w, d, CORELANE_READ, 0, back, 4096);
    assert_memory_equal(back, buf, 4096);
    corelane_buffer_free(d, buf, 8192);
    corelane_disk_close(d);
}

static void test_a_transport_that_is_none_is_refused(void **state)
{
    struct world *w = *state;
    struct corelane_disk *d = NULL;

    assert_int_equal(try_open(w, (enum corelane_transport)3, &d), -EINVAL);
    assert_non_null(strstr(corelane_error(w->c), "transport"));
    assert_null(d);
}

static void test_a_target_without_loopback_is_used_over_tcp_or_not_at_all(void **state)
{
    struct world *w = *state;
    struct corelane_disk *d = NULL;

    target_kill(w);
    target_start(w, false);
    assert_true(try_open(w, CORELANE_TRANSPORT_SHM, &d) < 0);
    assert_non_null(strstr(corelane_error(w->c), "transport = shm"));
    d = disk_open(w, CORELANE_TRANSPORT_AUTO);
    expect_over(d, "tcp", "");
    corelane_disk_close(d);
    target_kill(w);
    target_start(w, true);
}

/* ---- a target that comes and goes ------------------------------------------------------------------------ */

/* Each place of the disk belongs to one stream, which writes it and reads it back before it goes on. */
struct stream {
    struct corelane_disk *d;
    struct corelane_io io;
    struct iovec iov;
    uint8_t *buf, expect[UNIT];
    uint32_t seed;
    unsigned index, rounds, left, bad;
};

static void stream_go(struct stream *s, enum corelane_op op)
{
    s->io.op = op;
    s->io.offset = ((uint64_t)(s->seed >> 8) % (DISK_LEN / UNIT / DEPTH) * DEPTH + s->index) * UNIT;
    if (corelane_submit(s->d, &s->io)) {
        s->bad++;
        s->left = 0;
    }
}

static void stream_write(struct stream *s)
{
    s->seed = s->seed * 1664525u + 1013904223u;
    fill(s->expect, UNIT, s->seed);
    memcpy(s->buf, s->expect, UNIT);
    stream_go(s, CORELANE_WRITE);
}

static void stream_done(struct corelane_io *io, int res)
{
    struct stream *s = io->user;

    s->bad += res != 0;
    if (io->op == CORELANE_WRITE) {
        memset(s->buf, 0, UNIT);
        stream_go(s, CORELANE_READ);
        return;
    }
    s->bad += memcmp(s->buf, s->expect, UNIT) != 0;
    s->rounds++;
    if (s->left && --s->left)
        stream_write(s);
}

static unsigned streams_left(const struct stream *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < DEPTH; i++)
        n += s[i].left;
    return n;
}

/* Verified I/O while the target is killed and started, @loopback by turns; ends as @over. */
static void killed(struct world *w, bool own, const bool *loopback, unsigned nr, const char *over)
{
    static struct stream s[DEPTH];
    struct corelane_disk *d = disk_open(w, CORELANE_TRANSPORT_AUTO);
    unsigned kills = 0;

    memset(s, 0, sizeof(s));
    for (unsigned i = 0; i < DEPTH; i++) {
        s[i].d = d;
        s[i].index = s[i].seed = i;
        s[i].buf = own ? malloc(UNIT) : corelane_buffer_alloc(d, UNIT);
        s[i].left = 200;
        s[i].iov = (struct iovec){ s[i].buf, UNIT };
        s[i].io = (struct corelane_io){ .length = UNIT, .iov = &s[i].iov, .iov_nr = 1, .done = stream_done,
                                        .user = &s[i] };
        stream_write(&s[i]);
    }
    while (streams_left(s)) {
        assert_true(corelane_poll(w->c, -1) >= 0);
        if (kills == nr || streams_left(s) > DEPTH * 200 * (nr - kills) / (nr + 1))
            continue;
        target_kill(w);
        target_start(w, loopback[kills++]);
    }
    assert_int_equal(kills, nr);
    expect_over(d, over, "");
    for (unsigned i = 0; i < DEPTH; i++) {
        assert_int_equal(s[i].bad, 0);
        assert_int_equal(s[i].rounds, 200);
        if (own)
            free(s[i].buf);
        else
            corelane_buffer_free(d, s[i].buf, UNIT);
    }
    corelane_disk_close(d);
}

static void test_lent_buffers_outlive_their_target(void **state)
{
    static const bool loopback[] = { true, true, true };

    killed(*state, false, loopback, 3, "shm");
}

static void test_own_buffers_outlive_their_target(void **state)
{
    static const bool loopback[] = { true, true, true };

    killed(*state, true, loopback, 3, "shm");
}

static void test_a_target_that_comes_back_without_loopback_is_used_over_tcp(void **state)
{
    static const bool loopback[] = { false, true, false };
    struct world *w = *state;

    killed(w, false, loopback, 3, "tcp");
    target_kill(w);
    target_start(w, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read_back),
        cmocka_unit_test(test_a_piece_of_each_kind_of_memory_goes_as_one_request),
        cmocka_unit_test(test_tcp_is_had_where_it_is_asked_for),
        cmocka_unit_test(test_a_transport_that_is_none_is_refused),
        cmocka_unit_test(test_a_target_without_loopback_is_used_over_tcp_or_not_at_all),
        cmocka_unit_test(test_lent_buffers_outlive_their_target),
        cmocka_unit_test(test_own_buffers_outlive_their_target),
        cmocka_unit_test(test_a_target_that_comes_back_without_loopback_is_used_over_tcp),
    };

    if (argc == 4)
        return target_main(argv[1], argv[2], !strcmp(argv[3], "yes"));
    return cmocka_run_group_tests(tests, up, down);
}
