/*
 * fuzz_initiator.c - a hostile target against a whole initiator with I/O under way
 *
 * A world for each input. One program has two sessions: one with a target that answers as the input says, and one with
 * an honest target, whose tenant has to see its data and no error. When the input is over the hostile one turns honest:
 * from then on all that is under way with it must come to an end, and the session be up again, unless it has failed
 * for good and said so.
 */
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/foe.h"
#include "tests/fuzz/sim/stage.h"
#include "tests/fuzz/sim/tenant.h"

#define ADDR_HOST "10.0.0.1"
#define ADDR_FOE "10.0.0.2"
#define ADDR_HONEST "10.0.0.5"
#define PLAY_NS     (900 * RT_S) /* for all of a script: each answer that does not come is waited for */
#define CALM_NS (300 * RT_S)
#define HEAP_MAX (8u << 20)
#define CALM_IO 4u

static const struct op_kind kinds[] = { FOE_OPS };
enum { HEAD_FLAGS, HEAD_SEED, HEAD_SKIP, HEAD_MORE };
#define DIGESTS 0x01u                       /* the initiator wants them */
#define R2T 0x02u                           /* InitialR2T=Yes */
#define NO_IMMEDIATE 0x04u
#define FOE_DIGESTS 0x08u                   /* the target does them, and likes small bursts */
#define PINGS 0x10u
/* HEAD_MORE; its upper half: so many fifths of a second after the start it leaves, whatever the target does by then. */
#define BY_NAME 0x01u                       /* the portal's host is looked up */
#define CURIOUS 0x02u
#define ABANDON 0x04u                       /* does not wait for its requests in the end */
#define HAND 0x08u                          /* the unit has other paths, and target port groups */
#define EARLY_NS (200 * RT_MS)
/* Seed 1; the first 14 commands, which look the unit over, are answered honestly. */
static const uint8_t head[OPS_HEAD_LEN] = { 0, 1, 14, 0 };
const struct op_table op_table = { kinds, FOE_OPS_NR, head };

struct scene {
    struct sim *w;
    struct stage_prog host, foe_prog, honest_prog;
    struct foe foe, honest;
    struct tenant bad, good;
    struct ops ops;
    uint64_t io;
    bool up;
};

static void foe_begin(void *arg)
{
    struct scene *s = arg;
    struct rt_addr at;

    stage_check(!rt_addr_parse(&at, ADDR_FOE, ISCSI_PORT) && !foe_start(&s->foe, s->foe_prog.rt, &at),
                "no foe");
    s->foe.script = &s->ops;
    s->foe.skip = s->ops.head[HEAD_SKIP] % 32;
    s->foe.digests = s->ops.head[HEAD_FLAGS] & FOE_DIGESTS;
    s->foe.groups = s->ops.head[HEAD_MORE] & HAND;
}

static void honest_begin(void *arg)
{
    struct scene *s = arg;
    struct rt_addr at;

    stage_check(!rt_addr_parse(&at, ADDR_HONEST, ISCSI_PORT) && !foe_start(&s->honest, s->honest_prog.rt, &at),
                "no honest target");
}

static void host_begin(void *arg)
{
    struct scene *s = arg;
    const uint8_t flags = s->ops.head[HEAD_FLAGS], more = s->ops.head[HEAD_MORE];
    struct ini_settings *set = &s->bad.conf.set;

    tenant_init(&s->good, s->host.rt, FUZZ_INITIATOR_GOOD, FUZZ_TARGET_GOOD, ADDR_HONEST, ISCSI_PORT);
    s->good.strict = true;
    tenant_init(&s->bad, s->host.rt, FUZZ_INITIATOR, FUZZ_TARGET, more & BY_NAME ? "foe" : ADDR_FOE,
                ISCSI_PORT);
    s->bad.curious = more & CURIOUS;
    s->bad.hand = more & HAND;
    set->login_timeout_s = 3;
    set->logout_timeout_s = 2;
    set->cmd_timeout_s = 4;
    set->abort_timeout_s = 2;
    set->lu_reset_timeout_s = 2;
    set->tgt_reset_timeout_s = 2;
    set->replacement_timeout_s = 20;
    set->login_retry_max = 2;
    set->noop_interval_s = flags & PINGS ? 1 : 3;
    set->noop_timeout_s = 2;
    set->header_digest = set->data_digest = flags & DIGESTS ? ISCSI_DIGEST_CRC32C_NONE : ISCSI_DIGEST_NONE;
    set->initial_r2t = flags & R2T ? 1 : 0;
    set->immediate_data = flags & NO_IMMEDIATE ? 0 : 1;
    set->first_burst_max = 4096;
    stage_check(!tenant_start(&s->good) && !tenant_start(&s->bad), "no session");
}

static bool good_opened(void *arg)
{
    return ((struct scene *)arg)->good.opened;
}

static bool played(void *arg)
{
    const struct scene *s = arg;

    return s->foe.over || s->bad.failed;
}

static bool good_worked(void *arg)
{
    const struct scene *s = arg;

    return s->good.done >= s->io;
}

static void look(void *arg)
{
    struct scene *s = arg;
    struct ini_sess_info info;

    ini_sess_info(s->bad.sess, &info);
    s->up = info.state == INI_UP || info.state == INI_FAILED;
}

/* Looks at it as often as something happens to it; cheaper than a snapshot after each event. */
static bool bad_is_up(struct scene *s)
{
    for (uint64_t left = CALM_NS; left; left -= RT_S) {
        sim_call(s->host.rt, look, s);
        if (s->up)
            return true;
        sim_run(s->w, RT_S);
    }
    return false;
}

static void finish_good(void *arg)
{
    tenant_finish(&((struct scene *)arg)->good);
}

static void finish_bad(void *arg)
{
    struct scene *s = arg;

    if (s->ops.head[HEAD_MORE] & ABANDON)
        tenant_abandon(&s->bad);
    else
        tenant_finish(&s->bad);
}

static bool good_over(void *arg)
{
    return ((struct scene *)arg)->good.over;
}

static bool bad_over(void *arg)
{
    return ((struct scene *)arg)->bad.over;
}

static void host_stop(void *arg)
{
    rt_host_stop(((struct scene *)arg)->host.host);
}

static bool host_over(void *arg)
{
    return !sim_prog_runs(((struct scene *)arg)->host.prog);
}

static void scene_end(struct scene *s, bool early)
{
    struct sim_prog_info info;

    s->io = s->good.done + CALM_IO;
    stage_check(sim_run_until(s->w, good_worked, s, CALM_NS), "the neighbour's requests do not end");
    stage_check(early || bad_is_up(s), "the session does not come back to a target that is honest now");
    sim_call(s->host.rt, finish_bad, s);
    stage_check(sim_run_until(s->w, bad_over, s, early ? PLAY_NS : CALM_NS), "%u requests do not end, of %llu",
                tenant_busy(&s->bad), (unsigned long long)s->bad.done);
    sim_call(s->host.rt, finish_good, s);
    stage_check(sim_run_until(s->w, good_over, s, CALM_NS), "the neighbour does not come to an end");
    sim_prog_info(s->host.prog, &info);
    stage_check(info.heap_max < HEAP_MAX, "%llu bytes", (unsigned long long)info.heap_max);
    sim_run(s->w, 200 * RT_S);              /* a look-up that nobody waits for any more has come back */
    sim_call(s->host.rt, host_stop, s);
    stage_check(sim_run_until(s->w, host_over, s, RT_S), "the program does not end");
    sim_prog_info(s->host.prog, &info);
    stage_check(!info.leaked_blocks, "%llu bytes in %llu blocks", (unsigned long long)info.leaked_bytes,
                (unsigned long long)info.leaked_blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    struct scene *const s = &scene;
    unsigned early;

    memset(s, 0, sizeof(*s));
    ops_init(&s->ops, data, size);
    s->w = stage_new(1 + s->ops.head[HEAD_SEED]);
    stage_start(stage_machine(s->w, "foe", 1, ADDR_FOE), &s->foe_prog);
    stage_start(stage_machine(s->w, "honest", 1, ADDR_HONEST), &s->honest_prog);
    stage_start(stage_machine(s->w, "host", 1, ADDR_HOST), &s->host);
    sim_call(s->foe_prog.rt, foe_begin, s);
    sim_call(s->honest_prog.rt, honest_begin, s);
    sim_call(s->host.rt, host_begin, s);
    stage_check(sim_run_until(s->w, good_opened, s, CALM_NS), "the neighbour cannot open its unit");
    early = s->ops.head[HEAD_MORE] >> 4;
    if (early) {
        sim_run(s->w, early * EARLY_NS);
    } else {
        sim_run_until(s->w, played, s, PLAY_NS);
        s->foe.over = true;                 /* what is left of the script is left out */
    }
    scene_end(s, early);
    stage_end(s->w);
    return 0;
}
