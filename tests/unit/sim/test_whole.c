/* test_whole.c - the target and the initiator, unmodified, on two machines of a simulated world */
#include "sim_test.h"

#include "initiator/ini.h"
#include "target/tgt.h"

#define IQN "iqn.2026-01.test:disk"
#define IO_LEN 8192u
#define IOS 4u
#define DISK_LEN (16u << 20)

static const char config[] =
    "{\"version\":1,\"targets\":[{\"iqn\":\"" IQN "\",\"luns\":["
    "{\"lun\":0,\"kind\":\"file\",\"path\":\"/srv/disk\",\"size\":16777216},"
    "{\"lun\":1,\"kind\":\"ram\",\"size\":16777216}],\"acls\":[{\"initiator\":\"*\"}]}]}";

/* ---- the target's machine -------------------------------------------------------------------------------- */

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
        .config_path = "/etc/corelane/target.json", .state_dir = "/etc/corelane/state",
        .portals = &portal, .portals_nr = 1,
    };

    (void)rt_addr_parse(&portal, "10.0.0.1:3260", 0);
    if (rt_host_new(&b->host, &rc) || rt_mkdirs(conf.state_dir, 0700) || tgt_new(&b->tgt, b->host, &conf))
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
    struct tgt_box *b = arg;

    rt_host_stop(b->host);
}

static void tgt_stop_begin(void *arg)
{
    struct tgt_box *b = arg;

    tgt_stop(b->tgt, tgt_quiet, b);
}

/* ---- the initiator's ------------------------------------------------------------------------------------- */

struct slot {
    struct ini_io io;
    struct iovec iov;
    struct ini_box *b;
    struct rt_timer rest;
    uint8_t data[IO_LEN];
    bool busy, read;
};

struct ini_box {
    struct rt_host *host;
    struct rt *rt;
    struct rt_msg go;
    struct ini_sess *sess;
    struct ini_lun *lun;
    uint16_t lun_nr;
    bool open, failed, stopping, stopped;
    unsigned done, errors, wrong;
    struct slot slot[IOS];
};

static void slot_start(struct slot *s);

static uint8_t pattern(uint64_t off)
{
    return (uint8_t)(off / 512 * 37 + 11);
}

static void slot_rested(struct rt_timer *t)
{
    struct slot *s = container_of(t, struct slot, rest);

    if (!s->b->stopping)
        slot_start(s);
}

static void slot_done(struct ini_io *io, int res)
{
    struct slot *s = container_of(io, struct slot, io);
    struct ini_box *b = s->b;

    s->busy = false;
    b->done++;
    if (res)
        b->errors++;
    else if (s->read)
        for (unsigned i = 0; i < IO_LEN; i += 512)
            b->wrong += s->data[i] != pattern(s->io.off + i);
    s->read = !s->read;
    s->rest.fn = slot_rested;
    rt_timer_arm(b->rt, &s->rest, RT_MS);
}

/* Each slot writes a stretch of its own and reads it again, on and on. */
static void slot_start(struct slot *s)
{
    const unsigned nr = (unsigned)(s - s->b->slot);

    if (!s->read) {
        s->io.off = (nr + IOS * (s->b->done / IOS % (DISK_LEN / IO_LEN / IOS))) * IO_LEN;
        for (unsigned i = 0; i < IO_LEN; i += 512)
            memset(s->data + i, pattern(s->io.off + i), 512);
    }
    s->iov = (struct iovec){ s->data, IO_LEN };
    s->io.op = s->read ? INI_READ : INI_WRITE;
    s->io.flags = s->read ? 0 : INI_FUA;
    s->io.len = IO_LEN;
    s->io.iov = &s->iov;
    s->io.iov_nr = 1;
    s->io.done = slot_done;
    s->busy = true;
    ini_io_submit(s->b->lun, &s->io);
}

static void lun_opened(void *user, int err, const char *why)
{
    struct ini_box *b = user;

    if (err) {
        b->failed = true;
        return;
    }
    b->open = true;
    for (unsigned i = 0; i < IOS; i++) {
        b->slot[i].b = b;
        slot_start(&b->slot[i]);
    }
}

static void sess_up(void *user)
{
    struct ini_box *b = user;

    if (!b->lun)
        (void)ini_lun_open(b->sess, b->lun_nr, &b->lun, lun_opened, NULL, b);
}

static void sess_failed(void *user, int err, const char *why)
{
    ((struct ini_box *)user)->failed = true;
}

static void ini_go(struct rt_msg *m)
{
    ini_sess_start(container_of(m, struct ini_box, go)->sess);
}

static int ini_main(void *arg)
{
    static const struct ini_sess_events events = { .up = sess_up, .failed = sess_failed };
    static const int cores[] = { 0 };
    const struct rt_conf rc = { .cores = cores, .cores_nr = 1 };
    struct ini_box *b = arg;
    struct ini_conf conf = { .initiator = "iqn.2026-01.test:host", .target = IQN,
                             .portal = { .host = "10.0.0.1", .port = 3260, .tpgt = 1 } };

    ini_settings_default(&conf.set);
    if (rt_host_new(&b->host, &rc))
        return 1;
    b->rt = rt_host_at(b->host, 0);
    if (ini_sess_new(&b->sess, b->rt, &conf, &events, b))
        return 1;
    b->go.fn = ini_go;
    rt_post(b->rt, &b->go);
    return 0;
}

static void ini_main_stopped(void *arg)
{
    struct ini_box *b = arg;

    rt_host_free(b->host);
}

static const struct sim_program ini_program = { "initiator", ini_main, ini_main_stopped };

static void sess_stopped(void *user)
{
    struct ini_box *b = user;

    ini_lun_close(b->lun);
    ini_sess_free(b->sess);
    rt_host_stop(b->host);
}

static void ini_stop_begin(void *arg)
{
    struct ini_box *b = arg;

    b->stopping = true;
    ini_sess_stop(b->sess, true, sess_stopped, b);
}

/* ---- the scene ------------------------------------------------------------------------------------------- */

struct scene {
    struct sim *w;
    struct sim_machine *mt, *mi;
    struct sim_prog *pt, *pi;
    struct tgt_box tgt;
    struct ini_box *ini;
};

static void scene_start(struct scene *s, uint64_t seed, uint16_t lun)
{
    *s = (struct scene){ .w = sim_new(seed), .ini = calloc(1, sizeof(*s->ini)) };
    if (getenv("SIM_LOG"))
        sim_log_to(s->w, line_print, NULL, RT_DEBUG);
    s->ini->lun_nr = lun;
    s->mt = sim_machine_new(s->w, "tgt", 2);
    sim_machine_addr(s->mt, "10.0.0.1");
    s->mi = sim_machine_new(s->w, "ini", 1);
    sim_machine_addr(s->mi, "10.0.0.2");
    sim_fs_save(s->mt, "/etc/corelane/target.json", config, strlen(config));
    sim_fs_make(s->mt, "/srv/disk", DISK_LEN);
    assert_int_equal(sim_start(s->mt, &tgt_program, &s->tgt, &s->pt), 0);
    assert_int_equal(sim_start(s->mi, &ini_program, s->ini, &s->pi), 0);
}

static void scene_end(struct scene *s)
{
    sim_free(s->w);
    free(s->ini);
}

static void leak_check(const struct sim_prog *p)
{
    struct sim_prog_info info;

    sim_prog_info(p, &info);
    assert_int_equal(info.state, SIM_EXITED);
    assert_int_equal(info.status, 0);
    assert_int_equal(info.leaked_blocks, 0);
    assert_int_equal(info.bytes, 0);
}

static void stop_clean(struct scene *s)
{
    sim_call(s->ini->rt, ini_stop_begin, s->ini);
    sim_run(s->w, 10 * RT_S);
    leak_check(s->pi);
    sim_call(rt_host_at(s->tgt.host, 0), tgt_stop_begin, &s->tgt);
    sim_run(s->w, 10 * RT_S);
    leak_check(s->pt);
    assert_int_equal(s->ini->errors, 0);
    assert_int_equal(s->ini->wrong, 0);
}

static void test_io_runs_and_both_end_without_a_leak(void **state)
{
    (void)state;
    for (uint16_t lun = 0; lun < 2; lun++) {
        struct scene s;

        scene_start(&s, 1, lun);
        sim_run(s.w, RT_S);
        assert_true(s.ini->open);
        assert_true(s.ini->done > 100);
        stop_clean(&s);
        scene_end(&s);
    }
}

static uint64_t eventful(uint64_t seed)
{
    struct scene s;
    struct sim_net net;
    uint64_t print;

    scene_start(&s, seed, 0);
    sim_run(s.w, RT_S);
    assert_true(s.ini->open);
    sim_net_get(s.w, &net);
    net.reset_ppm = 200;
    net.half_close_ppm = 100;
    net.blackhole_ppm = 20;
    net.blackhole_ns = 30 * RT_S;
    net.stall_ppm = 1000;
    net.stall_ns = 100 * RT_MS;
    net.connect_lost_ppm = net.refuse_ppm = 100000;
    sim_net_set(s.w, &net);
    sim_run(s.w, 30 * RT_S);
    sim_kill(s.pt);
    sim_run(s.w, 2 * RT_S);
    assert_int_equal(sim_start(s.mt, &tgt_program, &s.tgt, &s.pt), 0);
    sim_run(s.w, 10 * RT_S);
    sim_machine_off(s.mt);
    sim_run(s.w, 2 * RT_S);
    sim_machine_on(s.mt);
    assert_int_equal(sim_start(s.mt, &tgt_program, &s.tgt, &s.pt), 0);
    sim_run(s.w, 10 * RT_S);
    sim_calm(s.w);
    sim_run(s.w, 60 * RT_S);
    assert_true(sim_fault_count(s.w, SIM_FAULT_RESET) > 0);
    stop_clean(&s);
    print = sim_fingerprint(s.w);
    scene_end(&s);
    return print;
}

static void test_faults_kills_and_power_losses_are_survived_and_replayed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++)
        assert_true(eventful(seed) == eventful(seed));
}

/* Killed at some event of everything, early ones each: nothing of the world may point into it any more. */
static void test_either_can_be_killed_at_any_event(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 40; n++) {
        struct scene s;

        scene_start(&s, n, n / 2 % 2);
        for (unsigned i = 0; i < n * 11; i++)
            (void)sim_step(s.w);
        sim_kill(n % 2 ? s.pt : s.pi);
        sim_run(s.w, RT_S);
        if (n % 2) {
            assert_int_equal(sim_start(s.mt, &tgt_program, &s.tgt, &s.pt), 0);
            sim_run(s.w, 3 * RT_S);
            assert_int_equal(s.ini->errors, 0);
            if (!s.ini->lun_nr)             /* the other is in memory, and went with the target */
                assert_int_equal(s.ini->wrong, 0);
        }
        scene_end(&s);
    }
}

static void test_a_world_is_cheap_to_make(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        struct sim *w = sim_new(i);

        sim_machine_addr(sim_machine_new(w, "a", 1), "10.0.0.1");
        sim_machine_addr(sim_machine_new(w, "b", 1), "10.0.0.2");
        sim_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io_runs_and_both_end_without_a_leak),
        cmocka_unit_test(test_faults_kills_and_power_losses_are_survived_and_replayed),
        cmocka_unit_test(test_either_can_be_killed_at_any_event),
        cmocka_unit_test(test_a_world_is_cheap_to_make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
