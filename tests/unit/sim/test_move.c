/*
 * test_move.c - sessions that move between the cores of their program at random instants, under faults: whatever was
 * written is read, and nothing fails
 *
 * A world for each seed, over TCP and on the target's own host in shared memory. SEEDS=n FROM=n: others than the usual ones.
 */
#include "sim_test.h"

#include "initiator/ini_internal.h"
#include "target/tgt.h"

#define IQN      "iqn.2026-01.test:disk"
#define IO_LEN   8192u
#define IOS      8u
#define CORES    3u
#define DISK_LEN (1u << 20)

static const char config[] = "{\"version\":1,\"targets\":[{\"iqn\":\"" IQN "\",\"luns\":["
                             "{\"lun\":0,\"kind\":\"file\",\"path\":\"/srv/"
                             "disk\",\"size\":1048576}],\"acls\":[{\"initiator\":\"*\"}]}]}";

/* ---- the target ------------------------------------------------------------------------------------------ */

struct tgt_box {
    struct rt_host *host;
    struct tgt *tgt;
};

static int tgt_main(void *arg)
{
    static const int cores[] = { 0, 1 };
    const struct rt_conf rc = { .cores = cores, .cores_nr = 2 };
    struct tgt_box *b = arg;
    struct rt_addr portal;
    const struct tgt_conf conf = {
        .config_path = "/etc/corelane/target.json",
        .state_dir = "/etc/corelane/state",
        .portals = &portal,
        .portals_nr = 1,
        .loop_path = "/run/loop.sock",
    };

    (void)rt_addr_parse(&portal, "10.0.0.1:3260", 0);
    if (rt_host_new(&b->host, &rc) || rt_mkdirs(conf.state_dir, 0700) || rt_mkdirs("/run", 0700) ||
        tgt_new(&b->tgt, b->host, &conf))
        return 1;
    return 0;
}

static void tgt_main_stopped(void *arg)
{
    struct tgt_box *b = arg;

    tgt_free(b->tgt);
    rt_host_free(b->host);
}

static const struct sim_program tgt_program = { "target", tgt_main, tgt_main_stopped };

static void tgt_quiet(void *arg)
{
    rt_host_stop(((struct tgt_box *)arg)->host);
}

static void tgt_stop_begin(void *arg)
{
    struct tgt_box *b = arg;

    tgt_stop(b->tgt, tgt_quiet, b);
}

/* ---- the initiator --------------------------------------------------------------------------------------- */

struct slot {
    struct ini_io io;
    struct iovec iov;
    struct ini_box *b;
    struct rt_timer rest;
    uint8_t *data; /* IO_LEN bytes */
    bool read, parked;
    uint8_t gen; /* of what it wrote last */
    unsigned turn;
};

struct ini_box {
    struct rt_host *host;
    struct rt_msg go;
    struct rt_timer mover;
    struct ini_sess *sess;
    struct ini_lun *lun;
    struct sim_rng rng;
    bool open, failed, moving, strict, quiet;
    unsigned done, errors, wrong, moves, refusals, timeouts, shm, stops;
    uint64_t spread_ns; /* between moves, at most */
    struct slot slot[IOS];
};

static void slot_start(struct slot *s);

static uint8_t pattern(const struct slot *s, uint64_t off)
{
    return (uint8_t)(off / 512 * 37 + s->gen);
}

static void slot_rested(struct rt_timer *t)
{
    struct slot *s = container_of(t, struct slot, rest);

    if (!s->b->quiet)
        slot_start(s);
}

static void slot_done(struct ini_io *io, int res)
{
    struct slot *s = container_of(io, struct slot, io);
    struct ini_box *b = s->b;

    rt_assert_here(ini_sess_rt(b->sess));
    b->done++;
    if (res)
        b->errors++;
    else if (s->read)
        for (unsigned i = 0; i < IO_LEN; i++)
            b->wrong += s->data[i] != pattern(s, s->io.off + i);
    s->read = !s->read;
    s->parked = true;
    if (b->quiet || (b->moving && b->strict))
        return;
    if (b->moving || sim_rng_below(&b->rng, 2)) {
        slot_start(s); /* in the session's queue, which goes along */
        return;
    }
    rt_timer_arm(ini_sess_rt(b->sess), &s->rest, 1 + sim_rng_below(&b->rng, RT_MS));
}

/* Each writes a stretch of its own and reads it again, on and on. */
static void slot_start(struct slot *s)
{
    const unsigned nr = (unsigned)(s - s->b->slot);

    s->parked = false;
    if (!s->read) {
        s->io.off = (nr + IOS * (s->turn++ % (DISK_LEN / IO_LEN / IOS))) * IO_LEN;
        s->gen = (uint8_t)sim_rng_below(&s->b->rng, 256);
        for (unsigned i = 0; i < IO_LEN; i++)
            s->data[i] = pattern(s, s->io.off + i);
    } else {
        memset(s->data, 0xee, IO_LEN);
    }
    s->iov = (struct iovec){ s->data, IO_LEN };
    s->io.op = s->read ? INI_READ : INI_WRITE;
    s->io.flags = s->read ? 0 : INI_FUA;
    s->io.len = IO_LEN;
    s->io.iov = &s->iov;
    s->io.iov_nr = 1;
    s->io.done = slot_done;
    ini_io_submit(s->b->lun, &s->io);
}

/* ---- moves ----------------------------------------------------------------------------------------------- */

static void timers_each(struct ini_box *b, void (*fn)(struct rt *rt, struct rt_timer *t))
{
    for (unsigned i = 0; i < IOS; i++)
        fn(ini_sess_rt(b->sess), &b->slot[i].rest);
}

static void moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct ini_box *b = user;
    struct rt *rt = ini_sess_rt(b->sess);

    (void)why, (void)pause_ns;
    rt_assert_here(rt);
    b->moving = false;
    b->moves += !err;
    b->refusals += err == -EAGAIN;
    b->timeouts += err == -ETIMEDOUT;
    b->errors += err && err != -EAGAIN && err != -ETIMEDOUT;
    timers_each(b, rt_timer_enter);
    for (unsigned i = 0; i < IOS && b->open && !b->quiet; i++)
        if (b->slot[i].parked && !rt_timer_armed(&b->slot[i].rest))
            slot_start(&b->slot[i]);
    if (!b->quiet)
        rt_timer_arm(rt, &b->mover, (err ? 10 * RT_MS : 1) + sim_rng_below(&b->rng, b->spread_ns));
}

static void move_now(struct rt_timer *t)
{
    static const uint64_t limits[] = { 10 * RT_US, RT_MS, RT_S, 60 * RT_S, 60 * RT_S };
    struct ini_box *b = container_of(t, struct ini_box, mover);

    b->moving = true;
    b->shm += b->sess->loop.on;
    timers_each(b, rt_timer_leave);
    ini_sess_move(b->sess, rt_host_at(b->host, (unsigned)sim_rng_below(&b->rng, CORES)),
                  limits[sim_rng_below(&b->rng, ARRAY_SIZE(limits))], moved, b);
}

/* ---- its life -------------------------------------------------------------------------------------------- */

static void lun_opened(void *user, int err, const char *why)
{
    struct ini_box *b = user;

    if (err) {
        b->failed = true;
        return;
    }
    b->open = true;
    for (unsigned i = 0; i < IOS; i++) {
        struct slot *s = &b->slot[i];

        s->b = b;
        s->rest.fn = slot_rested;
        s->data = i % 2 ? ini_buf_get(b->sess, IO_LEN) : rt_mem_alloc(IO_LEN);
        slot_start(s);
    }
}

static void sess_up(void *user)
{
    struct ini_box *b = user;

    if (!b->lun)
        (void)ini_lun_open(b->sess, 0, &b->lun, lun_opened, NULL, b);
}

static void sess_failed(void *user, int err, const char *why)
{
    ((struct ini_box *)user)->failed = true;
}

static void ini_go(struct rt_msg *m)
{
    struct ini_box *b = container_of(m, struct ini_box, go);

    ini_sess_start(b->sess);
    b->mover.fn = move_now;
    rt_timer_arm(ini_sess_rt(b->sess), &b->mover, 1);
}

static int ini_main(void *arg)
{
    static const struct ini_sess_events events = { .up = sess_up, .failed = sess_failed };
    static const int cores[] = { 0, 1, 2 };
    const struct rt_conf rc = { .cores = cores, .cores_nr = CORES };
    struct ini_box *b = arg;
    struct ini_conf conf = { .initiator = "iqn.2026-01.test:host",
                             .target = IQN,
                             .portal = { .host = "10.0.0.1", .port = 3260, .tpgt = 1 } };

    ini_settings_default(&conf.set);
    conf.set.login_retry_max = 1000;
    if (rt_host_new(&b->host, &rc) || ini_sess_new(&b->sess, rt_host_at(b->host, 0), &conf, &events, b))
        return 1;
    b->go.fn = ini_go;
    rt_post(rt_host_at(b->host, 0), &b->go);
    return 0;
}

static void ini_main_stopped(void *arg)
{
    rt_host_free(((struct ini_box *)arg)->host);
}

static const struct sim_program ini_program = { "initiator", ini_main, ini_main_stopped };

static void sess_stopped(void *user)
{
    struct ini_box *b = user;

    for (unsigned i = 0; i < IOS; i++) {
        b->errors += b->open && !b->slot[i].parked;
        if (i % 2)
            ini_buf_put(b->sess, b->slot[i].data, IO_LEN);
        else
            rt_mem_free(b->slot[i].data, IO_LEN);
    }
    ini_lun_close(b->lun);
    ini_sess_free(b->sess);
    b->stops++;
    rt_host_stop(b->host);
}

/* In the midst of whatever there is: a move is told of its end before. */
static void ini_stop_begin(void *arg)
{
    struct ini_box *b = arg;

    b->quiet = true;
    rt_timer_disarm(ini_sess_rt(b->sess), &b->mover);
    ini_sess_stop(b->sess, true, sess_stopped, b);
}

/* ---- a world --------------------------------------------------------------------------------------------- */

struct scene {
    struct sim *w;
    struct sim_machine *mt, *mi;
    struct sim_prog *pt, *pi;
    struct tgt_box tgt;
    struct ini_box *ini;
};

static void scene_start(struct scene *s, uint64_t seed, bool near)
{
    *s = (struct scene){ .w = sim_new(seed), .ini = calloc(1, sizeof(*s->ini)) };
    if (getenv("SIM_LOG"))
        sim_log_to(s->w, line_print, NULL, RT_DEBUG);
    s->ini->rng = sim_rng(seed, 1 + near);
    s->ini->strict = sim_rng_below(&s->ini->rng, 2);
    s->ini->spread_ns = 4 * RT_US << sim_rng_below(&s->ini->rng, 15);
    s->mt = sim_machine_new(s->w, "tgt", 4);
    sim_machine_addr(s->mt, "10.0.0.1");
    s->mi = near ? s->mt : sim_machine_new(s->w, "ini", 4);
    if (!near)
        sim_machine_addr(s->mi, "10.0.0.2");
    sim_fs_save(s->mt, "/etc/corelane/target.json", config, strlen(config));
    sim_fs_make(s->mt, "/srv/disk", DISK_LEN);
    assert_int_equal(sim_start(s->mt, &tgt_program, &s->tgt, &s->pt), 0);
    assert_int_equal(sim_start(s->mi, &ini_program, s->ini, &s->pi), 0);
}

static void leak_check(const struct sim_prog *p, uint64_t seed)
{
    struct sim_prog_info info;

    sim_prog_info(p, &info);
    if (info.state != SIM_EXITED || info.status || info.leaked_blocks || info.bytes)
        fail_msg("seed %llu: state %d, %llu bytes left", (unsigned long long)seed, (int)info.state,
                 (unsigned long long)info.bytes);
}

static void faults(struct scene *s)
{
    struct sim_net net;

    sim_net_get(s->w, &net);
    net.reset_ppm = 300;
    net.half_close_ppm = 100;
    net.blackhole_ppm = 20;
    net.blackhole_ns = 30 * RT_S;
    net.stall_ppm = 2000;
    net.stall_ns = 100 * RT_MS;
    net.connect_lost_ppm = net.refuse_ppm = 100000;
    sim_net_set(s->w, &net);
}

static void stop_clean(struct scene *s, uint64_t seed)
{
    /* On its way from core to core it is nobody's to stop. */
    while (s->ini->sess->move.step == MOVE_AWAY)
        (void)sim_step(s->w);
    sim_call(ini_sess_rt(s->ini->sess), ini_stop_begin, s->ini);
    sim_run(s->w, 60 * RT_S);
    leak_check(s->pi, seed);
    sim_call(rt_host_at(s->tgt.host, 0), tgt_stop_begin, &s->tgt);
    sim_run(s->w, 10 * RT_S);
    leak_check(s->pt, seed);
}

struct tally {
    unsigned moves, refusals, timeouts, shm, done;
};

/* Return: the world's fingerprint. */
static uint64_t play(uint64_t seed, bool near, bool wild, struct tally *t)
{
    struct scene s;
    struct ini_box *b;
    uint64_t print;

    scene_start(&s, seed, near);
    b = s.ini;
    sim_run(s.w, RT_S);
    if (wild) {
        faults(&s);
        sim_run(s.w, 2 * RT_S);
        sim_kill(s.pt);
        sim_run(s.w, RT_S / 2);
        assert_int_equal(sim_start(s.mt, &tgt_program, &s.tgt, &s.pt), 0);
        sim_run(s.w, 2 * RT_S);
        sim_calm(s.w);
        sim_run(s.w, 20 * RT_S);
    }
    stop_clean(&s, seed);
    if (b->failed || b->errors || b->wrong || !b->moves || !b->done || (near && !b->shm))
        fail_msg("seed %llu %s%s: %u errors, %u bytes wrong, %u moves, %u requests, %u in shared memory%s",
                 (unsigned long long)seed, near ? "near" : "far", wild ? " wild" : "", b->errors, b->wrong,
                 b->moves, b->done, b->shm, b->failed ? ", failed" : "");
    t->moves += b->moves;
    t->refusals += b->refusals;
    t->timeouts += b->timeouts;
    t->shm += b->shm;
    t->done += b->done;
    print = sim_fingerprint(s.w);
    sim_free(s.w);
    free(b);
    return print;
}

static uint64_t number(const char *name, uint64_t usual)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : usual;
}

static void plays(bool near, bool wild, uint64_t usual)
{
    const uint64_t from = number("FROM", 1), nr = number("SEEDS", usual);
    struct tally t = { 0 };

    for (uint64_t seed = from; seed < from + nr; seed++)
        (void)play(seed, near, wild, &t);
    print_message(
        "%u moves, %u off as not logged in, %u by their limit, %u begun in shared memory; %u requests\n",
        t.moves, t.refusals, t.timeouts, t.shm, t.done);
}

static void test_moves_at_random_instants(void **state)
{
    (void)state;
    plays(false, false, 20);
}

static void test_moves_at_random_instants_in_shared_memory(void **state)
{
    (void)state;
    plays(true, false, 20);
}

static void test_moves_under_faults(void **state)
{
    (void)state;
    plays(false, true, 3);
}

static void test_moves_under_faults_in_shared_memory(void **state)
{
    (void)state;
    plays(true, true, 3);
}

static void test_a_move_is_replayed(void **state)
{
    struct tally t = { 0 };

    (void)state;
    for (int near = 0; near < 2; near++)
        assert_true(play(7, near, true, &t) == play(7, near, true, &t));
}

/* Either end dies at some event: nothing of the world may point into it any more. */
static void test_either_may_be_killed_in_the_midst(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 40; n++) {
        struct scene s;

        scene_start(&s, n, n / 2 % 2);
        s.ini->spread_ns = 20 * RT_US;
        sim_run(s.w, 100 * RT_MS);
        for (unsigned i = 0; i < n * 7; i++)
            (void)sim_step(s.w);
        sim_kill(n % 2 ? s.pt : s.pi);
        sim_run(s.w, RT_S);
        if (n % 2) {
            assert_int_equal(sim_start(s.mt, &tgt_program, &s.tgt, &s.pt), 0);
            sim_run(s.w, 5 * RT_S);
            assert_int_equal(s.ini->errors + s.ini->wrong, 0);
        }
        sim_free(s.w);
        free(s.ini);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_at_random_instants),
        cmocka_unit_test(test_moves_at_random_instants_in_shared_memory),
        cmocka_unit_test(test_moves_under_faults),
        cmocka_unit_test(test_moves_under_faults_in_shared_memory),
        cmocka_unit_test(test_a_move_is_replayed),
        cmocka_unit_test(test_either_may_be_killed_in_the_midst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
