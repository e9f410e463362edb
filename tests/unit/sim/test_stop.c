/*
 * test_stop.c - a target that is stopped in the middle of something
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "reactor/sim/sim.h"
#include "target/tgt_internal.h"

#define CONFIG "/etc/target.json"

static struct {
    struct rt_host *host;
    struct tgt *tgt;
    struct rt_msg msg;
    struct lun_request req;
    bool stopped;
} d;

static void resized(struct lun_request *req, int err)
{
    (void)req, (void)err;
}

/* A second signal, or the end of the two seconds that a stop may take, ends the reactors whatever they do. */
static void resize_and_stop(struct rt_msg *m)
{
    struct unit *u = unit_find(d.tgt, "iqn.2026-11.test:x", 0);

    (void)m;
    d.req.fn = resized;
    lun_resize(u->lun, &d.req, 1 << 20);
    rt_host_stop(d.host);
}

static int tgt_main(void *arg)
{
    const int cores[] = { 0, 1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 2 };
    const struct tgt_conf tconf = { .config_path = CONFIG };

    (void)arg;
    assert_int_equal(rt_host_new(&d.host, &conf), 0);
    assert_int_equal(tgt_new(&d.tgt, d.host, &tconf), 0);
    d.msg.fn = resize_and_stop;
    rt_post(rt_host_at(d.host, 0), &d.msg);
    return 0;
}

static void tgt_stopped(void *arg)
{
    (void)arg;
    tgt_free(d.tgt); /* leaves what is at work alone */
    rt_host_free(d.host);
    d.stopped = true;
}

static void test_a_stop_in_the_middle_of_a_change_is_no_crash(void **state)
{
    static const struct sim_program program = { .name = "targetd", .main = tgt_main, .stopped = tgt_stopped };
    static const char config[] =
        "{\"version\": 1, \"targets\": [{\"iqn\": \"iqn.2026-11.test:x\", \"luns\": [{\"lun\": 0, "
        "\"kind\": \"file\", \"path\": \"/data/x\", \"size\": 524288}]}]}";
    struct sim *w = sim_new(1);
    struct sim_machine *m = sim_machine_new(w, "tgt", 2);

    (void)state;
    sim_fs_make(m, "/data/x", 524288);
    sim_fs_save(m, CONFIG, config, sizeof(config) - 1);
    assert_int_equal(sim_start(m, &program, NULL, NULL), 0);
    sim_run(w, RT_S);
    assert_true(d.stopped);
    sim_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stop_in_the_middle_of_a_change_is_no_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
