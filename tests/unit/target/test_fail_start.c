/*
 * test_fail_start.c - a target starts from a configuration while one allocation after another fails
 *
 * It says so and leaves nothing, or it starts with all of the configuration; a LUN alone may be offline, with
 * the reason. What it saved is what it was given. The next start, with memory, is a whole one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "rpc/json.h"
#include "target/sess.h"
#include "../fail.h"

#define NAA_FILE "60000000000000000000000000000001"
#define NAA_RAM "60000000000000000000000000000002"

/* LUN 7 has no identity yet: it gets one, and the configuration is saved. */
static const char conf_text_of[] =
    "{\"version\": 1, \"portals\": [\"127.0.0.1:0\"], \"limits\": {\"buffer_mib\": 16, \"tasks\": 512},"
    " \"targets\": ["
    "  {\"iqn\": \"iqn.2026-01.test:a-target-with-a-name-of-some-length\", \"luns\": ["
    "    {\"lun\": 0, \"kind\": \"file\", \"path\": \"%s/disk.img\", \"size\": 65536, \"naa\": \"" NAA_FILE "\"},"
    "    {\"lun\": 1, \"kind\": \"ram\", \"size\": 1048576, \"naa\": \"" NAA_RAM "\"},"
    "    {\"lun\": 7, \"kind\": \"null\", \"size\": 1048576}],"
    "   \"acls\": [{\"initiator\": \"iqn.2026-01.test:host\", \"luns\": [0, 1]}, {\"initiator\": \"*\"}],"
    "   \"chap\": [{\"direction\": \"in\", \"user\": \"somebody\", \"secret\": \"a secret of some length\","
    "               \"algs\": [\"SHA256\", \"SHA3-256\"]}]},"
    "  {\"iqn\": \"iqn.2026-01.test:b\"}],"
    " \"discovery_chap\": [{\"direction\": \"out\", \"user\": \"we\", \"secret\": \"another secret, long\"}]}";

static const char resv_text[] =
    "{\"version\": 1, \"type\": 5, \"holder\": 0, \"registrations\": [{\"key\": \"00000000000000aa\","
    " \"initiator\": \"iqn.2026-01.test:host\", \"isid\": \"800000000001\","
    " \"target\": \"iqn.2026-01.test:a-target-with-a-name-of-some-length\", \"tpgt\": 1, \"port\": 1,"
    " \"any_isid\": false, \"any_port\": false}]}";

struct place {
    char dir[64], config[128], disk[128], resv[128];
    char text[2048];
    json_t *doc;                            /* what text says, and what must be served and saved */
};

/* ---- looking --------------------------------------------------------------------------------------------- */

/* A document without what opening finds out. */
static void plain(json_t *doc)
{
    json_t *lun = conf_lun(json_array_get(json_object_get(doc, "targets"), 0), 7);

    assert_non_null(lun);
    json_object_del(lun, "naa");
}

static void assert_whole(const struct place *p, json_t *doc)
{
    json_t *copy = json_deep_copy(doc);

    plain(copy);
    if (!json_equal(copy, p->doc)) {
        json_dumpf(copy, stderr, JSON_INDENT(1));
        fail_msg("the configuration is another");
    }
    json_decref(copy);
}

static void assert_saved_whole(const struct place *p)
{
    char *text;
    json_t *doc;

    assert_int_equal(rt_load(p->config, CONF_LEN_MAX, &text, NULL), 0);
    assert_int_equal(rpc_json_read(&doc, text, strlen(text), 0, NULL), 0);
    assert_whole(p, doc);
    json_decref(doc);
    free(text);
}

static unsigned units_offline(struct tgt *t)
{
    unsigned n = 0;

    rt_list_for(l, &t->units) {
        const struct unit *u = rt_list_entry(l, struct unit, link);

        if (u->lun)
            continue;
        n++;
        assert_true(*u->offline);
    }
    return n;
}

/* ---- the scenario ---------------------------------------------------------------------------------------- */

static void stopped(void *arg)
{
    *(bool *)arg = true;
}

static void stop(struct rt *rt, struct tgt *t)
{
    bool over = false, quiet = false;

    assert_true(rt_turn(rt, 0) >= 0);
    tgt_stop(t, stopped, &over);
    while (!over || !quiet) {
        assert_true(rt_turn(rt, over ? 0 : RT_S) >= 0);
        quiet = true;
        for (unsigned i = 0; i < t->portals_nr; i++)
            quiet &= !t->portals[i].accepting;
    }
    tgt_free(t);
}

static void start_once(void *arg)
{
    const struct place *p = arg;
    static const int core = -1;
    const struct rt_conf rc = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    const struct tgt_conf tc = { .config_path = p->config, .state_dir = p->dir };
    struct rt_host *host = NULL;
    struct tgt *t = NULL;
    int err;

    assert_int_equal(rt_save(p->config, p->text, strlen(p->text), 0600), 0);
    rt_log_level(fail_state.from ? 0 : RT_ERR);
    fail_begin(FAIL_HERE);
    err = rt_host_new(&host, &rc);
    if (!err)
        err = tgt_new(&t, host, &tc);
    fail_end();
    if (err) {
        assert_true(fail_hit());
        assert_int_equal(err, -ENOMEM);
        assert_null(t);
    } else {
        assert_non_null(t);
        assert_whole(p, t->doc);
        assert_true(units_offline(t) <= (fail_hit() ? 1 : 0));
        assert_int_equal(t->snap->targets_nr, 2);
        assert_int_equal(t->snap->targets[0].luns_nr, 3 - units_offline(t));
        assert_int_equal(t->snap->targets[0].acls_nr, 2);
        assert_int_equal(t->snap->targets[0].auth.in_nr, 1);
        assert_int_equal(t->snap->discovery.out_nr, 1);
        stop(rt_host_at(host, 0), t);
    }
    rt_host_free(host);
    assert_saved_whole(p);
}

/* ---- tests ----------------------------------------------------------------------------------------------- */

static struct place place;

static int up(void **state)
{
    struct place *p = &place;

    (void)state;
    fail_up();
    strcpy(p->dir, "/tmp/fail-test-XXXXXX");
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->config, sizeof(p->config), "%s/config.json", p->dir);
    snprintf(p->disk, sizeof(p->disk), "%s/disk.img", p->dir);
    snprintf(p->resv, sizeof(p->resv), "%s/%s.pr", p->dir, NAA_FILE);
    snprintf(p->text, sizeof(p->text), conf_text_of, p->dir);
    if (rpc_json_read(&p->doc, p->text, strlen(p->text), 0, NULL) || rt_save(p->disk, "", 0, 0600) ||
        truncate(p->disk, 65536))
        return -1;
    return rt_save(p->resv, resv_text, strlen(resv_text), 0600);
}

static int down(void **state)
{
    struct place *p = &place;

    (void)state;
    json_decref(p->doc);
    unlink(p->config);
    unlink(p->disk);
    unlink(p->resv);
    return rmdir(p->dir);
}

static void test_each_allocation_of_a_start_fails(void **state)
{
    (void)state;
    fail_each("start", 1, 800, true, start_once, &place);
}

/* What cleans up after one that failed may ask for memory too. */
static void test_all_allocations_of_a_start_fail_from_one_on(void **state)
{
    (void)state;
    fail_each("start, from one on", 1u << 20, 800, false, start_once, &place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_of_a_start_fails, fail_down),
        cmocka_unit_test_teardown(test_all_allocations_of_a_start_fail_from_one_on, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
