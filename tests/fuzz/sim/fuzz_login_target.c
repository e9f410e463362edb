/*
 * fuzz_login_target.c - any sequence of Login PDUs to a target: stages, keys, CHAP, continuation, other PDUs between
 *
 * One world and one daemon serve all inputs; each has connections of its own, and the next begins when the daemon has
 * none left. What a daemon remembers of an address is cleared between them.
 */
#include <string.h>
#include "target/sess.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sim/disks.h"
#include "tests/fuzz/sim/peer.h"
#include "tests/fuzz/sim/stage.h"

#define GAP_NS (200 * RT_US)                /* for an answer to come */
#define WAIT_NS (20 * RT_S)                 /* for a connection to be gone: login_s, penalties, drains */
#define PEERS 3u
#define CONN_HEAP_MAX (192u << 10) /* bytes: a session, its datamover, 64 KiB of text joined by the C bit */

#define KINDS(X)                                                                                              \
    X(OPEN,   "n",        1) /* another connection */                                                         \
    X(KEY,    KEYS_SHAPE, 12)                                                                                 \
    X(NAMES,  "n",        3) /* InitiatorName, TargetName, SessionType in one */                              \
    X(CHAP,   "n",        3) /* what honest CHAP says next; with 0 it begins */                               \
    X(LOGIN,  "b00",      8) /* stages and flags, versions */                                                 \
    X(HONEST, "n",        3) /* the stage's usual flags */                                                    \
    X(ISID,   "rb",       1)                                                                                  \
    X(CID,    "w",        1)                                                                                  \
    X(NUMBER, "bd",       1) /* CmdSN or ITT of what follows */                                               \
    X(RAW,    "rr",       1) /* a header and data as they are */                                              \
    X(OTHER,  "bb",       1) /* a PDU that does not belong here */                                            \
    X(CHUNK,  "b",        1)                                                                                  \
    X(WAIT,   "b",        1)                                                                                  \
    X(CLOSE,  "n",        1)                                                                                  \
    X(SPOIL,  "bb0",      1)

enum {
#define X(name, shape, weight) OP_##name,
    KINDS(X)
#undef X
    OP_NR
};
static const struct op_kind kinds[] = {
#define X(name, shape, weight) { #name, shape, weight },
    KINDS(X)
#undef X
};
const struct op_table op_table = { kinds, OP_NR, NULL };

static struct sim *world;
static struct stage_tgt tgt = { .cores = 2, .config = CONFIG_PATH };
static struct stage_prog foe;
static struct peer peers[PEERS];
static struct rt_addr portal;
static uint64_t heap_at_rest;               /* bytes */

static struct play {
    struct op op;
    struct peer *p;
} play;

static void do_number(struct peer *p, struct op_args *a)
{
    const uint8_t which = arg_u8(a);

    if (which & 1)
        p->cmd_sn = arg_u32(a);
    else
        p->itt = arg_u32(a);
}

static void do_names(struct peer *p, struct op_args *a)
{
    static const char *const targets[] = { FUZZ_TARGET, FUZZ_TARGET_CHAP, FUZZ_TARGET_GOOD,
                                           "iqn.2026-01.fuzz:none" };
    const uint8_t how = arg_u8(a);

    keys_add_pair(&p->text, "InitiatorName", how & 16 ? FUZZ_INITIATOR_GOOD : FUZZ_INITIATOR);
    keys_add_pair(&p->text, "SessionType", how & 8 ? "Discovery" : "Normal");
    if (!(how & 8))
        keys_add_pair(&p->text, "TargetName", targets[how % ARRAY_SIZE(targets)]);
}

static void do_raw(struct peer *p, struct op_args *a)
{
    uint8_t bhs[ISCSI_BHS_LEN];
    const uint8_t *rest;
    size_t n;

    peer_bhs(p, bhs, ISCSI_OP_LOGIN, true);
    rest = arg_rest(a, &n);
    memcpy(bhs, rest, n < sizeof(bhs) ? n : sizeof(bhs));
    p->allowed += 16384;
    wire_raw(&p->w, bhs, sizeof(bhs));
    if (n > sizeof(bhs))
        wire_raw(&p->w, rest + sizeof(bhs), (uint32_t)(n - sizeof(bhs)));
}

static void do_other(struct peer *p, struct op_args *a)
{
    const uint8_t op = arg_u8(a);
    uint8_t bhs[ISCSI_BHS_LEN];

    peer_bhs(p, bhs, op & 0x3f, op & 0x40);
    peer_send(p, bhs, NULL, 0, peer_pattern(), arg_u8(a));
}

static void do_op(void *arg)
{
    struct play *y = arg;
    struct op_args *a = &y->op.args;
    struct peer *p = y->p;
    uint8_t n, version;

    switch (y->op.kind) {
    case OP_KEY:    keys_add(&p->text, a);                      break;
    case OP_NAMES:  do_names(p, a);                             break;
    case OP_CHAP:   peer_chap(p, !arg_u8(a));                   break;
    case OP_LOGIN:
        n = arg_u8(a);
        version = arg_u8(a);
        peer_login_send(p, n, version, arg_u8(a));
        break;
    case OP_HONEST:
        n = arg_u8(a);
        peer_login_send(p, n & 1 ? 0x81 : n & 2 ? 0x00 : 0x87, 0, 0);
        break;
    case OP_ISID:
        for (unsigned i = 0; i < sizeof(p->isid); i++)
            p->isid[i] = arg_u8(a);
        break;
    case OP_CID:
        p->cid = arg_u16(a);
        p->tsih = p->cid & 1 ? 0 : (uint16_t)(p->cid >> 8);
        break;
    case OP_NUMBER: do_number(p, a);                            break;
    case OP_RAW:    do_raw(p, a);                               break;
    case OP_OTHER:  do_other(p, a);                             break;
    case OP_CHUNK:  p->w.chunk = arg_u8(a);                     break;
    case OP_CLOSE:  peer_close(p);                              break;
    case OP_SPOIL:
        p->w.spoil.at = arg_u8(a);
        p->w.spoil.bits = arg_u8(a);
        p->w.spoil.after = arg_u8(a) & 1;
        break;
    default:
        break;
    }
}

static void do_open(void *arg)
{
    struct play *y = arg;

    if (peer_idle(y->p))
        peer_open(y->p, &portal, NULL);
}

static void do_close_all(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
}

static void do_init(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < PEERS; i++)
        peer_init(&peers[i], foe.rt);
}

static bool all_gone(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < PEERS; i++)
        if (!peer_idle(&peers[i]))
            return false;
    return !stage_tgt_load(&tgt);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sim_prog_info info;
    struct sim_machine *m;

    (void)argc, (void)argv;
    world = stage_new(0);
    m = stage_machine(world, "tgt", tgt.cores, ADDR_TARGET);
    sim_fs_save(m, CONFIG_PATH, CONFIG_TEXT, sizeof(CONFIG_TEXT) - 1);
    sim_fs_make(m, "/disk", 65536);
    stage_tgt_start(m, &tgt);
    stage_start(stage_machine(world, "foe", 1, ADDR_FOE), &foe);
    sim_call(foe.rt, do_init, NULL);
    fuzz_check(!rt_addr_parse(&portal, ADDR_TARGET, ISCSI_PORT));
    sim_run(world, 10 * RT_MS);
    sim_prog_info(tgt.prog, &info);
    heap_at_rest = info.heap_bytes;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_prog_info info;
    struct ops ops;

    ops_init(&ops, data, size);
    play.p = &peers[0];
    sim_call(foe.rt, do_open, &play);
    sim_run(world, GAP_NS);
    while (ops_next(&ops, &play.op)) {
        if (play.op.kind == OP_OPEN) {
            play.p = &peers[arg_u8(&play.op.args) % PEERS];
            sim_call(foe.rt, do_open, &play);
        } else if (play.op.kind == OP_WAIT) {
            sim_run(world, arg_u8(&play.op.args) * 30 * RT_MS);
        } else {
            sim_call(foe.rt, do_op, &play);
        }
        if (!play.op.no_wait &&
            (play.op.kind == OP_LOGIN || play.op.kind == OP_HONEST || play.op.kind == OP_OPEN))
            sim_run(world, GAP_NS);
    }
    sim_run(world, GAP_NS);
    sim_prog_info(tgt.prog, &info);
    stage_check(info.heap_bytes < heap_at_rest + PEERS * CONN_HEAP_MAX, "%llu bytes",
                (unsigned long long)info.heap_bytes);
    sim_call(foe.rt, do_close_all, NULL);
    stage_check(sim_run_until(world, all_gone, NULL, WAIT_NS), "%u connections are left", stage_tgt_load(&tgt));
    memset(tgt.tgt->peers, 0, TGT_PEERS_MAX * tgt_peer_size);
    return 0;
}
