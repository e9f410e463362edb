/*
 * fuzz_login_initiator.c - hostile answers to a login: stages, keys, CHAP, redirection, and to SendTargets
 *
 * One world serves all inputs; each has a session of its own, which ends before the next begins. Once the script is over
 * the target is honest: by then the session is up, or it has failed and said so, within bounded time.
 */
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/foe.h"
#include "tests/fuzz/sim/stage.h"
#include "initiator/ini.h"

#define ADDR_HOST "10.0.0.1"
#define ADDR_FOE "10.0.0.2"
#define ADDR_OTHER "10.0.0.3"               /* the same target's; redirections lead there */
#define PLAY_NS (900 * RT_S)
#define END_NS (300 * RT_S)
#define HEAP_MAX (48u << 20)                /* SendTargets may bring 32 MiB */

static const struct op_kind kinds[] = { FOE_OPS };
enum { HEAD_FLAGS, HEAD_SET, HEAD_EARLY };
#define EARLY_NS  (10 * RT_MS) /* times HEAD_EARLY, squared: then the session is stopped, up or not */
#define BY_NAME 0x20u                       /* the portal's host is looked up */
#define DISCOVERY 0x01u
#define CHAP 0x02u
#define MUTUAL 0x04u
#define DIGESTS 0x08u
#define LATER     0x10u /* the first login is answered honestly, the connection then closed */
const struct op_table op_table = { kinds, FOE_OPS_NR, NULL };

static struct sim *world;
static struct stage_prog host, foe_prog, other_prog;
static struct foe foe, other;
static uint64_t blocks_at_rest;

static struct play {
    struct ops ops;
    struct ini_conf conf;
    struct ini_sess *sess;
    struct ini_discovery discovery;
    unsigned ups;
    bool failed, over, found;
} play;

static void on_up(void *user)
{
    ((struct play *)user)->ups++;
}

static void on_failed(void *user, int err, const char *why)
{
    (void)err, (void)why;
    ((struct play *)user)->failed = true;
}

static void on_found(struct ini_discovery *d)
{
    struct play *y = container_of(d, struct play, discovery);

    fuzz_check(d->found_nr <= INI_DISCOVER_MAX && (d->found || !d->found_nr));
    for (size_t i = 0; i < d->found_nr; i++) {
        const char *t = d->found[i].target;

        fuzz_check(memchr(t, 0, sizeof(d->found[i].target)) && *t && !strpbrk(t, "/\\ \n\t"));
        fuzz_check(memchr(d->found[i].portal.host, 0, sizeof(d->found[i].portal.host)));
    }
    free(d->found);
    y->found = true;
}

static void cred_set(struct chap_cred *c, const char *name, const char *secret)
{
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->secret_len = (uint32_t)strlen(secret);
    memcpy(c->secret, secret, c->secret_len);
}

static void conf_make(struct ini_conf *c, uint8_t flags, uint8_t how)
{
    struct ini_settings *set = &c->set;

    memset(c, 0, sizeof(*c));
    snprintf(c->initiator, sizeof(c->initiator), FUZZ_INITIATOR);
    if (!(flags & DISCOVERY))
        snprintf(c->target, sizeof(c->target), FUZZ_TARGET);
    snprintf(c->portal.host, sizeof(c->portal.host), flags & BY_NAME ? "foe" : ADDR_FOE);
    c->portal.port = ISCSI_PORT;
    c->isid[0] = 0x80;
    c->isid[5] = 1;
    ini_settings_default(set);
    set->login_timeout_s = 2;
    set->logout_timeout_s = 1;
    set->replacement_timeout_s = 10;
    set->login_retry_max = how & 3;
    set->cmds_max = 2;
    set->noop_interval_s = 0;
    set->initial_r2t = how >> 2 & 1;
    if (flags & DIGESTS)
        set->header_digest = set->data_digest = how >> 3 & 3;
    if (!(flags & CHAP))
        return;
    set->chap_algs = set->disc_chap_algs = how & 0x20 ? 1u << CHAP_MD5 : CHAP_ALGS_ALL;
    cred_set(&set->user, FUZZ_USER, FUZZ_SECRET);
    if (flags & MUTUAL)
        cred_set(&set->user_in, FUZZ_USER_OUT, FUZZ_SECRET_OUT);
    set->disc_user = set->user;
    set->disc_user_in = set->user_in;
}

static void begin(void *arg)
{
    static const struct ini_sess_events events = { .up = on_up, .failed = on_failed };
    struct play *y = arg;

    if (y->ops.head[HEAD_FLAGS] & DISCOVERY) {
        y->discovery.conf = y->conf;
        y->discovery.done = on_found;
        ini_discover(host.rt, &y->discovery);
        return;
    }
    fuzz_check(!ini_sess_new(&y->sess, host.rt, &y->conf, &events, y));
    ini_sess_start(y->sess);
}

static void on_stopped(void *user)
{
    struct play *y = user;

    ini_sess_free(y->sess);
    y->sess = NULL;
    y->over = true;
}

static void end(void *arg)
{
    struct play *y = arg;

    ini_sess_stop(y->sess, true, on_stopped, y);
}

static void script(void *arg)
{
    struct play *y = arg;

    foe_script(&foe, &y->ops);
    foe.login_scripted = !(y->ops.head[HEAD_FLAGS] & LATER);
    foe.digests = y->ops.head[HEAD_SET] & 0x40;
}

static void script_later(void *arg)
{
    (void)arg;
    foe_script(&foe, &play.ops);            /* which ends the connection */
    foe.login_scripted = true;
}

static void hang_up(void *arg)
{
    foe_script(arg, NULL);
}

static bool is_up(void *arg)
{
    const struct play *y = arg;

    return y->ups || y->failed;
}

static bool is_back(void *arg)
{
    const struct play *y = arg;

    return y->ups > 1 || y->failed;
}

static bool is_over(void *arg)
{
    const struct play *y = arg;

    return y->over || y->found;
}

static bool at_rest(void *arg)
{
    struct sim_prog_info info;

    (void)arg;
    sim_prog_info(host.prog, &info);
    return info.blocks == blocks_at_rest;
}

static void foe_begin(void *arg)
{
    struct rt_addr at;

    fuzz_check(!rt_addr_parse(&at, arg == &foe ? ADDR_FOE : ADDR_OTHER, ISCSI_PORT));
    fuzz_check(!foe_start(arg, arg == &foe ? foe_prog.rt : other_prog.rt, &at));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sim_prog_info info;

    (void)argc, (void)argv;
    world = stage_new(0);
    stage_start(stage_machine(world, "foe", 1, ADDR_FOE), &foe_prog);
    stage_start(stage_machine(world, "other", 1, ADDR_OTHER), &other_prog);
    stage_start(stage_machine(world, "host", 1, ADDR_HOST), &host);
    sim_call(foe_prog.rt, foe_begin, &foe);
    sim_call(other_prog.rt, foe_begin, &other);
    sim_run(world, RT_MS);
    sim_prog_info(host.prog, &info);
    blocks_at_rest = info.blocks;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_prog_info info;
    uint64_t early;

    memset(&play, 0, sizeof(play));
    ops_init(&play.ops, data, size);
    conf_make(&play.conf, play.ops.head[HEAD_FLAGS], play.ops.head[HEAD_SET]);
    early = play.ops.head[HEAD_EARLY] % 32;
    sim_call(foe_prog.rt, script, &play);
    sim_call(host.rt, begin, &play);
    if (play.sess && early) {
        sim_run(world, early * early * EARLY_NS);
        sim_call(host.rt, end, &play);
    } else if (play.sess) {
        stage_check(sim_run_until(world, is_up, &play, PLAY_NS), "a login comes to no end");
        if (play.ups && play.ops.head[HEAD_FLAGS] & LATER) {
            sim_call(foe_prog.rt, script_later, NULL);
            stage_check(sim_run_until(world, is_back, &play, PLAY_NS), "a session does not come back");
        }
        sim_prog_info(host.prog, &info);
        stage_check(info.heap_bytes < HEAP_MAX, "%llu bytes", (unsigned long long)info.heap_bytes);
        sim_call(host.rt, end, &play);
    }
    stage_check(sim_run_until(world, is_over, &play, PLAY_NS), "a session comes to no end");
    stage_check(sim_run_until(world, at_rest, NULL, END_NS), "memory is left");
    sim_call(foe_prog.rt, hang_up, &foe);
    sim_call(other_prog.rt, hang_up, &other);
    sim_run(world, RT_MS);
    return 0;
}
