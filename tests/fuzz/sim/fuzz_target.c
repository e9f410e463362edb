/*
 * fuzz_target.c - hostile initiators against a whole target: several connections, sessions, names, all kinds of PDUs
 *
 * A world for each input, whose seed is in the input. Beside the hostile ones a tenant works on a unit of its own: it
 * has to see its data, and no error, whatever happens beside it. When the operations are over the target has to come
 * to rest, to stop, and to have freed all of its memory.
 */
#include <string.h>
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/attack.h"
#include "tests/fuzz/sim/disks.h"
#include "tests/fuzz/sim/stage.h"
#include "tests/fuzz/sim/tenant.h"

#define GAP_NS (300 * RT_US)                /* between operations: time for an answer */
#define CALM_NS (600 * RT_S)                /* for all to come to an end */
#define SILENT_NS (30 * RT_S)               /* those who say nothing are dropped by then */
#define SLOW_NS (3 * RT_S)                  /* what a slow disk takes for one of several operations of a command */
#define SLOW_END_NS (60 * RT_S)
#define HEAP_MAX (4u << 20)                 /* bytes that the daemon may have besides its pools */
#define CALM_IO 4u                          /* requests that the tenant gets done after the last operation */

static const struct op_kind kinds[] = {
#define X(name, shape, weight) { #name, shape, weight },
    ATTACK_KINDS(X)
#undef X
};
/* To begin with: two cores, chance as of seed 1, connections are closed at the end, one session is open. */
static const uint8_t head[OPS_HEAD_LEN] = { 0, 1, 0, 0 };
const struct op_table op_table = { kinds, ATTACK_NR, head };

enum { HEAD_FLAGS, HEAD_SEED, HEAD_DISK };
#define ONE_CORE 0x01u
#define LEAVE_OPEN 0x02u                    /* connections stay, and say nothing more */
#define NOTHING_OPEN 0x04u
#define STOP_AT_ONCE 0x08u                  /* the target is stopped with all of it under way; the tenant is gone */
/* HEAD_DISK: faults of the disk that the hostile ones' file is on, and what the target keeps. */
#define DISK_ERRORS 0x01u
#define DISK_SLOW 0x02u
#define DISK_SAVES 0x04u

struct scene {
    struct sim *w;
    struct stage_tgt tgt;
    struct stage_prog foe, good;
    struct sim_machine *foe_at;
    struct attack attack;
    struct tenant tenant;
    struct op op;
    uint64_t io;
};
static struct scene *now;                   /* the one that is played, for hooks without an argument */

static void tenant_begin(void *arg)
{
    struct scene *s = arg;

    tenant_init(&s->tenant, s->good.rt, FUZZ_INITIATOR_GOOD, FUZZ_TARGET_GOOD, ADDR_TARGET, ISCSI_PORT);
    s->tenant.strict = true;
    stage_check(!tenant_start(&s->tenant), "no tenant");
}

static void attack_begin(void *arg)
{
    struct scene *s = arg;
    struct rt_addr portal;

    stage_check(!rt_addr_parse(&portal, ADDR_TARGET, ISCSI_PORT), "no address");
    attack_init(&s->attack, s->foe.rt, &portal);
}

static void step(void *arg)
{
    struct scene *s = arg;

    attack_do(&s->attack, &s->op);
}

static void open_first(void *arg)
{
    static const uint8_t none;
    struct scene *s = arg;

    s->op = (struct op){ .kind = ATTACK_OPEN, .args = { &none, &none } };
    attack_do(&s->attack, &s->op);
}

static void close_all(void *arg)
{
    struct scene *s = arg;

    for (unsigned i = 0; i < ATTACK_PEERS; i++)
        peer_close(&s->attack.peer[i]);
}

static void reset_one(void *arg, struct sim_conn *c)
{
    struct sim_conn_info info;

    (void)arg;
    sim_conn_info(c, &info);
    if (info.machine[0] == now->foe_at && !now->io--)
        sim_fault_reset(c);
}

static bool tenant_opened(void *arg)
{
    return ((struct scene *)arg)->tenant.opened;
}

static bool tenant_worked(void *arg)
{
    struct scene *s = arg;

    return s->tenant.done >= s->io;
}

static void tenant_end(void *arg)
{
    tenant_finish(&((struct scene *)arg)->tenant);
}

static bool tenant_over(void *arg)
{
    return ((struct scene *)arg)->tenant.over;
}

static void play(struct scene *s, struct ops *ops)
{
    uint64_t ms;

    while (ops_next(ops, &s->op)) {
        switch (s->op.kind) {
        case ATTACK_WAIT:
            ms = arg_u8(&s->op.args);
            sim_run(s->w, ms * ms * RT_MS);
            break;
        case ATTACK_RESET:
            s->io = arg_u8(&s->op.args) % ATTACK_PEERS;
            sim_conn_each(s->w, reset_one, NULL);
            break;
        default:
            sim_call(s->foe.rt, step, s);
        }
        if (!s->op.no_wait)
            sim_run(s->w, GAP_NS);
    }
}

/* Faults in a fourth of all cases. */
static void disk_make(struct sim_machine *m, uint8_t how)
{
    struct sim_disk d;

    sim_disk_get(m, &d);
    if (how & DISK_ERRORS)
        d.read_eio_ppm = d.write_eio_ppm = d.sync_eio_ppm = d.torn_ppm = 250000;
    if (how & DISK_SLOW) {
        d.slow_ppm = 250000;
        d.slow_ns = SLOW_NS;
    }
    if (how & DISK_SAVES)
        d.save_ppm = 250000;
    sim_disk_set(m, &d);
}

static void scene_begin(struct scene *s, const struct ops *ops)
{
    struct sim_machine *m;

    s->w = stage_new(1 + ops->head[HEAD_SEED]);
    s->tgt = (struct stage_tgt){ .cores = ops->head[HEAD_FLAGS] & ONE_CORE ? 1 : 2, .config = CONFIG_PATH };
    m = stage_machine(s->w, "tgt", s->tgt.cores, ADDR_TARGET);
    sim_fs_save(m, CONFIG_PATH, CONFIG_TEXT, sizeof(CONFIG_TEXT) - 1);
    sim_fs_make(m, "/disk", 65536);
    stage_tgt_start(m, &s->tgt);
    s->foe_at = stage_machine(s->w, "foe", 1, ADDR_FOE);
    stage_start(s->foe_at, &s->foe);
    stage_start(stage_machine(s->w, "good", 1, ADDR_GOOD), &s->good);
    sim_call(s->foe.rt, attack_begin, s);
    sim_call(s->good.rt, tenant_begin, s);
    stage_check(sim_run_until(s->w, tenant_opened, s, CALM_NS), "the tenant cannot open its unit");
    disk_make(m, ops->head[HEAD_DISK]);
    if (!(ops->head[HEAD_FLAGS] & NOTHING_OPEN))
        sim_call(s->foe.rt, open_first, s);
    sim_run(s->w, RT_MS);
}

static void scene_end(struct scene *s, bool leave_open, bool slow_disk)
{
    struct sim_prog_info info;

    if (!leave_open)
        sim_call(s->foe.rt, close_all, s);
    s->io = s->tenant.done + CALM_IO;
    stage_check(sim_run_until(s->w, tenant_worked, s, CALM_NS), "the tenant's requests do not end");
    sim_call(s->good.rt, tenant_end, s);
    stage_check(sim_run_until(s->w, tenant_over, s, CALM_NS), "the tenant does not come to an end");
    sim_prog_info(s->tgt.prog, &info);
    stage_check(info.heap_max < HEAP_MAX, "%llu bytes", (unsigned long long)info.heap_max);
    if (leave_open)
        sim_run(s->w, SILENT_NS);
    if (slow_disk)                          /* a stop does not wait for it, and frees nothing then */
        sim_run(s->w, SLOW_END_NS);
    stage_tgt_stop(s->w, &s->tgt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    struct ops ops;

    memset(&scene, 0, sizeof(scene));
    now = &scene;
    ops_init(&ops, data, size);
    scene_begin(&scene, &ops);
    play(&scene, &ops);
    if (ops.head[HEAD_FLAGS] & STOP_AT_ONCE && !(ops.head[HEAD_DISK] & DISK_SLOW)) {
        sim_kill(scene.good.prog);
        stage_tgt_stop(scene.w, &scene.tgt);
    } else {
        scene_end(&scene, ops.head[HEAD_FLAGS] & LEAVE_OPEN, ops.head[HEAD_DISK] & DISK_SLOW);
    }
    stage_end(scene.w);
    return 0;
}
