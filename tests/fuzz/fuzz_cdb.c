/*
 * fuzz_cdb.c - commands to a logical unit: any CDB with any data, from two initiators on two cores
 *
 * The unit keeps its bytes in memory or in a file, its registrations in a file, of a simulated machine. Input: how soon
 * cores wake, and steps; each is a command (run to its end, left under way, cancelled, or without the data it waits
 * for), or what else befalls a unit: a reset, a new size, other access states of its port groups (each initiator has one
 * of its own), an initiator that leaves and comes back, a disk that fails.
 * Every command ends once, with a status and sense of the standard's, and no more data than it was to have; what our
 * initiator's parsers are for, they take. Registrations are the same in a unit opened after it. Nothing leaks.
 */
#include "reactor/rt_bytes.h"
#include "reactor/sim/sim.h"
#include "scsi/cdb.h"
#include "target/lun_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/lists.h"

#define BLOCK_LEN   512u
#define BLOCKS      64u
#define ROOM        (96u << 10)             /* bytes of data either way: more than the unit or any list */
#define DATA_LEN    8192u                   /* bytes of data that inputs can differ in; zeroes after them */
#define CANARY_LEN  64                      /* bytes after where data may go */
#define STEPS_MAX   24
#define SLOTS       8                       /* commands under way at a time */
#define HEAP_MAX    (4u << 20)              /* bytes of the program, whatever comes */
#define LONG        (100 * RT_S)            /* of the world's time; no command may take so long */

enum { CORES = 2, NEXUSES = 2 };
static const uint8_t canary[CANARY_LEN] = "nobody may write here, whatever length the initiator gave";
static const char state_path[] = "/state.json", file_path[] = "/disk";

struct cmd {
    struct scsi_task t;
    uint8_t cdb[16];
    struct iovec out_iov, in_iov;
    uint8_t *out, *in;                      /* ROOM bytes, page-aligned; in has a canary after what is expected */
    bool used, ran, done, finishing, finished, aborted;
    struct rt_msg msg;
};

static struct rig {
    struct sim *world;
    struct sim_machine *machine;
    struct sim_prog *prog;
    struct rt_host *host;
    struct lun *lun;
    struct nexus nexus[NEXUSES];
    struct itl itl[NEXUSES], *list[NEXUSES];
    struct cmd cmd[SLOTS];
    bool drawn;                             /* something was left to chance: the world is not used again */
    const struct lun_cmd *known[256];       /* every row of the table of commands */
    unsigned known_nr;
    bool kept;                              /* the unit of the input before is there, as it was made */
    const char *kind;                       /* of the unit's backend */
    uint64_t blocks, blocks_kept;           /* allocated by the program without a unit, and with a kept one */
} rig;

/* ---- the world ------------------------------------------------------------------------------------------- */

static int rig_main(void *arg)
{
    static const int cores[] = { 0, 1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = CORES, .mode = RT_MODE_INTERRUPT };

    return rt_host_new(&rig.host, &conf);
}

static void rig_stopped(void *arg)
{
    rt_host_free(rig.host);
}

static const struct sim_program program = { "unit", rig_main, rig_stopped };

static void call(struct rt *rt, void (*fn)(void *arg), void *arg)
{
    sim_call(rt, fn, arg);
}

static void until(bool (*met)(void *arg), void *arg)
{
    fuzz_check(sim_run_until(rig.world, met, arg, LONG));
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static void cmd_finish_here(void *arg)
{
    struct cmd *c = arg;

    fuzz_check(!c->finished);
    c->finished = true;
    lun_finish(&c->t);
}

static void cmd_finish_msg(struct rt_msg *m)
{
    cmd_finish_here(container_of(m, struct cmd, msg));
}

/* From inside the unit. */
static void cmd_finish_later(struct cmd *c)
{
    fuzz_check(!c->finishing);
    c->finishing = true;
    c->msg.fn = cmd_finish_msg;
    rt_post(c->t.nexus->rt, &c->msg);
}

static void cmd_done(struct scsi_task *t)
{
    struct cmd *c = container_of(t, struct cmd, t);

    fuzz_check(!c->done && !c->finished);
    c->done = true;
    if (c->aborted)
        cmd_finish_later(c);
}

/* As a session does: what runs is cancelled and finished when done, what waits or has been answered at once. */
static void nexus_abort(struct scsi_task *t, bool tas)
{
    struct cmd *c = container_of(t, struct cmd, t);

    fuzz_check(!c->finished);
    if (c->aborted)
        return;
    c->aborted = true;
    if (c->ran && !c->done)
        lun_cancel(t);
    else
        cmd_finish_later(c);
}

static const struct nexus_ops ops = { .abort = nexus_abort };

static void cmd_start_here(void *arg)
{
    struct cmd *c = arg;
    struct scsi_task *t = &c->t;

    if (lun_start(t) == LUN_DONE) {
        cmd_done(t);
        return;
    }
    fuzz_check(t->out_len <= LUN_TRANSFER_MAX && t->in_len <= LUN_TRANSFER_MAX);
    t->out_got = t->out_len < t->edtl ? t->out_len : t->edtl;
    c->out_iov = (struct iovec){ c->out, t->out_got };
    c->in_iov = (struct iovec){ c->in, t->in_len < t->edtl ? t->in_len : t->edtl };
    fuzz_check(c->out_iov.iov_len <= ROOM && c->in_iov.iov_len <= ROOM - CANARY_LEN);
    memcpy(c->in + c->in_iov.iov_len, canary, sizeof(canary));
    t->out_iov = &c->out_iov;
    t->in_iov = &c->in_iov;
    t->out_nr = t->out_got ? 1 : 0;
    t->in_nr = c->in_iov.iov_len ? 1 : 0;
}

static void cmd_run_here(void *arg)
{
    struct cmd *c = arg;

    if (c->done || c->aborted)
        return;
    c->ran = true;
    lun_run(&c->t);
}

static void cmd_cancel_here(void *arg)
{
    lun_cancel(&((struct cmd *)arg)->t);
}

/* What our own initiator would make of an answer. */
static void answer_check(const struct cmd *c)
{
    const uint8_t *cdb = c->cdb;
    const size_t len = c->t.in_done;
    struct scsi_inquiry inquiry;
    struct scsi_capacity capacity;
    struct scsi_limits limits = { 0 };
    struct scsi_mode mode;
    char id[SCSI_WWID_MAX];
    uint16_t luns[4];

    if (cdb[0] == SCSI_INQUIRY && !(cdb[1] & 1) && len >= 36)
        fuzz_check(!scsi_inquiry_parse(&inquiry, c->in, len));
    if (cdb[0] == SCSI_INQUIRY && cdb[1] & 1 && cdb[2] == 0x83 && len >= 64 && c->t.itl)
        fuzz_check(!scsi_vpd_83_parse(id, c->in, len));
    if (cdb[0] == SCSI_INQUIRY && cdb[1] & 1 && cdb[2] == 0xb0 && len >= 64)
        fuzz_check(!scsi_vpd_b0_parse(&limits, c->in, len) && limits.transfer_max == LUN_TRANSFER_MAX / BLOCK_LEN);
    if (cdb[0] == SCSI_READ_CAPACITY_10 && len == 8)
        fuzz_check(!scsi_capacity_10_parse(&capacity, c->in, len) && capacity.block_len == BLOCK_LEN);
    if (cdb[0] == SCSI_SERVICE_IN_16 && (cdb[1] & 0x1f) == 0x10 && len >= 16)
        fuzz_check(!scsi_capacity_16_parse(&capacity, c->in, len) && capacity.block_len == BLOCK_LEN);
    if (cdb[0] == SCSI_REPORT_LUNS && len >= 16)
        fuzz_check(scsi_report_luns_parse(luns, 4, c->in, len) >= 0);
    if ((cdb[0] == SCSI_MODE_SENSE_6 && len >= 4) || (cdb[0] == SCSI_MODE_SENSE_10 && len >= 8))
        fuzz_check(!scsi_mode_parse(&mode, c->in, len, cdb[0] == SCSI_MODE_SENSE_10));
}

static void result_check(const struct cmd *c)
{
    const struct scsi_task *t = &c->t;
    struct scsi_sense sense;

    fuzz_check(strcmp(scsi_status_name(t->status), "UNKNOWN STATUS"));
    if (t->status == SCSI_CHECK_CONDITION) {
        fuzz_check(t->sense_len && t->sense_len <= 32 && !scsi_sense_decode(&sense, t->sense, t->sense_len));
        fuzz_check(sense.key && sense.key != SCSI_RECOVERED_ERROR);
    } else {
        fuzz_check(!t->sense_len);
    }
    fuzz_check(t->in_done <= t->in_len && t->in_done <= t->edtl);
    if (c->ran)
        fuzz_check(!memcmp(c->in + c->in_iov.iov_len, canary, sizeof(canary)));
    if (t->status == SCSI_GOOD && c->ran)
        answer_check(c);
}

static bool cmd_over(void *arg)
{
    const struct cmd *c = arg;

    return c->finished || (c->done && !c->aborted);
}

/* Those whose data never came: a session gives them up in the end, and others wait behind them until then. */
static void stalled_end(void)
{
    for (struct cmd *c = rig.cmd; c < rig.cmd + SLOTS; c++) {
        if (!c->used || c->ran || c->done || c->aborted)
            continue;
        call(c->t.nexus->rt, cmd_finish_here, c);
        c->used = false;
    }
}

/* Waits for its end. */
static void cmd_end(struct cmd *c)
{
    stalled_end();
    if (!c->used)
        return;
    until(cmd_over, c);
    if (!c->aborted)
        result_check(c);
    if (!c->finished)
        call(c->t.nexus->rt, cmd_finish_here, c);
    c->used = false;
}

static void all_end(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        cmd_end(&rig.cmd[i]);
}

static struct cmd *cmd_new(unsigned nexus, uint8_t flags)
{
    struct cmd *c = rig.cmd;

    while (c < rig.cmd + SLOTS && c->used)
        c++;
    if (c == rig.cmd + SLOTS) {
        all_end();
        c = rig.cmd;
    }
    c->t = (struct scsi_task){
        .nexus = &rig.nexus[nexus], .itl = flags & 1 ? NULL : &rig.itl[nexus],
        .number = flags & 1 ? (flags & 2 ? SCSI_LUN_WELL_KNOWN : 7) : rig.itl[nexus].number,
        .cdb = c->cdb, .cdb_len = 16, .attr = (flags >> 2) % 5, .done = cmd_done,
    };
    memset(c->cdb, 0, sizeof(c->cdb));
    c->used = true;
    c->ran = c->done = c->finishing = c->finished = c->aborted = false;
    return c;
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

/* How a command goes on once it has begun. */
enum { TO_END, UNDER_WAY, NO_DATA, CANCELLED };

static void cmd_go(struct cmd *c, unsigned how)
{
    call(c->t.nexus->rt, cmd_start_here, c);
    if (how != NO_DATA)
        call(c->t.nexus->rt, cmd_run_here, c);
    if (how == CANCELLED && c->ran && !c->done)
        call(c->t.nexus->rt, cmd_cancel_here, c);
    if (how == TO_END || c->done)
        cmd_end(c);
}

/* The data: up to 255 bytes of the input, over and over again. */
static uint8_t data_read(struct cmd *c, struct fuzz_in *in)
{
    const uint8_t n = fuzz_u8(in);
    const uint8_t *bytes;
    size_t got, used = 0;

    bytes = fuzz_bytes(in, n, &got);
    if (got)
        memcpy(c->out, bytes, used = got);
    else
        memset(c->out, 0, DATA_LEN);
    for (; used && used < DATA_LEN; used *= 2)
        memcpy(c->out + used, c->out, used < DATA_LEN - used ? used : DATA_LEN - used);
    return n;
}

/* Bytes of a CDB, by its group (SPC-4 r36, "Operation code"). */
static unsigned cdb_len(uint8_t op)
{
    static const uint8_t lens[8] = { 6, 10, 10, 16, 16, 12, 16, 16 };

    return lens[op >> 5];
}

/* Anything. */
static void step_raw(struct fuzz_in *in, unsigned nexus, unsigned how)
{
    struct cmd *c = cmd_new(nexus, fuzz_u8(in));
    const uint8_t *bytes;
    size_t got;
    uint8_t n;

    c->cdb[0] = fuzz_u8(in);
    bytes = fuzz_bytes(in, cdb_len(c->cdb[0]) - 1, &got);
    if (got)
        memcpy(c->cdb + 1, bytes, got);
    c->t.edtl = fuzz_u16(in);
    n = data_read(c, in);
    c->t.read = c->t.edtl && !(n & 1);
    c->t.write = c->t.edtl && (n & 1);
    cmd_go(c, how);
}

/* Where a row says that a field is. */
static void field_put(uint8_t *cdb, const struct lun_field *f, uint64_t v)
{
    for (unsigned i = f->len; i--; v >>= 8)
        cdb[f->off + i] |= (uint8_t)v;
}

/* What a command of this row moves with that count. */
static uint32_t data_len(const struct lun_cmd *row, uint32_t count, bool *out)
{
    *out = row->flags & (F_OUT_BLOCKS | F_OUT_TWICE | F_OUT_ONE | F_OUT_PARAM);
    if (row->flags & F_OUT_ONE)
        return BLOCK_LEN;
    if (row->flags & F_OUT_TWICE)
        return 2 * count * BLOCK_LEN;
    if (row->flags & (F_IN_ALLOC | F_OUT_PARAM))
        return count;
    if (row->flags & (F_IN_BLOCKS | F_OUT_BLOCKS))
        return count * BLOCK_LEN;
    *out = true;                            /* VERIFY, or nothing at all */
    return count * BLOCK_LEN;
}

/* A command that there is, most of it as it should be: bits that its row knows, a range near the unit's, as much
 * data as it is to move. */
static void step_known(struct fuzz_in *in, unsigned nexus, unsigned how)
{
    const struct lun_cmd *row = rig.known[fuzz_u8(in) % rig.known_nr];
    struct cmd *c = cmd_new(nexus, fuzz_u8(in));
    const uint8_t lba = fuzz_u8(in), tweak = fuzz_u8(in);
    uint32_t count = fuzz_u8(in), len;
    bool out;

    c->cdb[0] = row->op;
    c->cdb[1] = (uint8_t)(fuzz_u8(in) & row->usage[1]);
    if (row->sa || lun_cmd_find(c->cdb, 0)->flags & F_SA)
        c->cdb[1] = (uint8_t)((c->cdb[1] & 0xe0) | row->sa);
    c->cdb[2] = (uint8_t)(fuzz_u8(in) & row->usage[2]);
    c->cdb[3] = (uint8_t)(fuzz_u8(in) & row->usage[3]);
    if (row->lba.len)
        memset(c->cdb + row->lba.off, 0, row->lba.len);
    if (row->count.len)
        memset(c->cdb + row->count.off, 0, row->count.len);
    count = row->flags & F_IN_ALLOC ? 8 * count : row->flags & F_OUT_PARAM ? count : count % (BLOCKS + 2);
    if (row->count.len == 1 && count > 255)
        count = 255;
    field_put(c->cdb, &row->lba, lba == 255 ? UINT64_MAX : lba % (BLOCKS + 2));
    field_put(c->cdb, &row->count, count);
    len = data_len(row, count, &out);
    if (tweak & 8)
        c->cdb[fuzz_u8(in) & 15] ^= fuzz_u8(in);
    c->t.edtl = (tweak & 3) == 1 ? len + BLOCK_LEN : (tweak & 3) == 2 ? len / 2 : len;
    c->t.write = c->t.edtl && out == !(tweak & 4);
    c->t.read = c->t.edtl && !c->t.write;
    data_read(c, in);
    cmd_go(c, how);
}

/* A command with a list that holds together. @which: of the five that have one worth it. */
static void step_list(struct fuzz_in *in, unsigned nexus, unsigned how, unsigned which)
{
    struct cmd *c = cmd_new(nexus, 0);
    const bool ten = which == 1;
    uint32_t len;
    uint8_t harm;

    memset(c->out, 0, DATA_LEN);
    if (which < 2) {
        c->cdb[0] = ten ? SCSI_MODE_SELECT_10 : SCSI_MODE_SELECT_6;
        c->cdb[1] = 0x10;
        len = list_mode(c->out, in, ten, BLOCKS, BLOCK_LEN);
    } else if (which == 2) {
        c->cdb[0] = SCSI_UNMAP;
        len = list_unmap(c->out, in);
    } else if (which == 3) {
        c->cdb[0] = SCSI_PR_OUT;
        len = list_reserve(c->out, in, &c->cdb[1], &c->cdb[2]);
    } else {
        c->cdb[0] = 0xa4;                   /* SET TARGET PORT GROUPS */
        c->cdb[1] = 0x0a;
        len = list_groups(c->out, in);
    }
    harm = fuzz_u8(in);
    if (harm & 0x80)                        /* cut short, or with one byte wrong */
        len -= (harm & 31u) < len ? harm & 31u : len;
    else if (harm)
        c->out[harm & 31] ^= (uint8_t)(harm >> 5 | 1);
    if (which == 0)
        c->cdb[4] = (uint8_t)len;
    else
        store_be16(&c->cdb[which == 4 ? 8 : 7], (uint16_t)len);
    c->t.edtl = len;
    c->t.write = len > 0;
    cmd_go(c, how);
}

/* From now on the disk fails in these ways. What a failed write leaves behind, or the reason why a file
 * cannot be saved, is drawn. */
static void step_disk(uint8_t how)
{
    struct sim_disk d;

    sim_disk_get(rig.machine, &d);
    d.read_eio_ppm = how & 1 ? 1000000 : 0;
    d.write_eio_ppm = how & 2 ? 1000000 : 0;
    d.sync_eio_ppm = how & 4 ? 1000000 : 0;
    d.enospc_ppm = how & 8 ? 1000000 : 0;
    d.save_ppm = how & 16 ? 1000000 : 0;
    sim_disk_set(rig.machine, &d);
    rig.drawn |= how & 26;
}

static bool flag_set(void *arg)
{
    return *(bool *)arg;
}

static bool answered;

/* One request at a time: a unit is asked, and answers. */
static void request_done(struct lun_request *r, int err)
{
    fuzz_check(!answered);
    answered = true;
}

static struct lun_request request;
static unsigned request_how;
static uint64_t request_size;
static struct lun_group request_groups[NEXUSES];

static void request_here(void *arg)
{
    switch (request_how) {
    case 0:  lun_reset(rig.lun, &request, &rig.itl[0], LUN_RESET_UNIT); break;
    case 1:  lun_reset(rig.lun, &request, NULL, LUN_RESET_TARGET); break;
    case 2:  lun_resize(rig.lun, &request, request_size); break;
    case 4:
        lun_set_groups(rig.lun, &request, request_groups, NEXUSES, LUN_GROUPS_CHANGED);
        break;
    default: lun_quiesce(rig.lun, &request); break;
    }
}

/* What is asked of a unit from outside SCSI. Tasks that wait for data are among those that go. */
static void ask(unsigned how, uint64_t size)
{
    request = (struct lun_request){ .fn = request_done };
    request_how = how;
    request_size = size;
    answered = false;
    call(rt_host_at(rig.host, 0), request_here, NULL);
}

/* The states of the groups that nexuses come in by, from outside: any that a request may name. */
static void ask_groups(uint8_t what)
{
    static const uint8_t states[8] = {
        LUN_PORT_OPTIMIZED, LUN_PORT_NON_OPTIMIZED, LUN_PORT_STANDBY,       LUN_PORT_UNAVAILABLE,
        LUN_PORT_OFFLINE,   LUN_PORT_TRANSITIONING, LUN_PORT_KEEP,          LUN_PORT_BACK,
    };

    for (unsigned i = 0; i < NEXUSES; i++)
        request_groups[i] = (struct lun_group){ .tag = (uint16_t)(i + 1), .state = states[what >> 3 * i & 7],
                                                .preferred = what >> (6 + i) & 1 };
    ask(4, 0);
}

static void attach_here(void *arg)
{
    const unsigned i = (unsigned)((struct nexus *)arg - rig.nexus);

    itl_attach(&rig.itl[i], &rig.nexus[i], rig.lun, 0, false);
}

static void detach_here(void *arg)
{
    const unsigned i = (unsigned)((struct nexus *)arg - rig.nexus);

    itl_detach(&rig.itl[i]);
}

/* A reservation has a holder, all registrants hold it, or there is none. */
static void view_check(const struct lun_view *v)
{
    fuzz_check(v->regs_nr <= LUN_REGS_MAX && v->blocks && v->blocks <= BLOCKS);
    if (!v->pr_type)
        fuzz_check(v->pr_holder == -1);
    else if (pr_all(v->pr_type))
        fuzz_check(v->regs_nr && v->pr_holder == -1);
    else
        fuzz_check(v->pr_holder >= 0 && v->pr_holder < (int)v->regs_nr && pr_type_ok(v->pr_type));
    for (unsigned i = 0; i < v->regs_nr; i++)
        fuzz_check(v->regs[i].key);
    fuzz_check(v->groups_nr == NEXUSES);
    for (unsigned i = 0; i < v->groups_nr; i++) {
        const struct lun_group *g = &v->groups[i];

        fuzz_check(g->tag == i + 1 && *lun_port_state_name(g->state) != '?' && g->was != LUN_PORT_TRANSITIONING);
    }
}

static void step(struct fuzz_in *in)
{
    const uint8_t what = fuzz_u8(in);
    const unsigned nexus = what >> 4 & 1, how = what >> 5 & 3;
    uint8_t chosen;

    switch (what & 15) {
    case 8: case 9:
        step_list(in, nexus, how, 3);
        break;
    case 10:
        chosen = fuzz_u8(in);
        step_list(in, nexus, how, chosen >= 0xc0 ? 4 : chosen % 3);
        break;
    case 11:
        all_end();
        break;
    case 12:
        if (how == 3) {
            stalled_end();
            ask_groups(fuzz_u8(in));
        } else {
            ask(how & 1, 0);
        }
        until(flag_set, &answered);
        break;
    case 13:
        stalled_end();
        ask(2, (uint64_t)(fuzz_u8(in) % BLOCKS + 1) * BLOCK_LEN);
        until(flag_set, &answered);
        break;
    case 14:
        all_end();
        call(rig.nexus[nexus].rt, detach_here, &rig.nexus[nexus]);
        call(rig.nexus[nexus].rt, attach_here, &rig.nexus[nexus]);
        break;
    case 15:
        step_disk(fuzz_u8(in));
        break;
    case 7:
        step_raw(in, nexus, how);
        break;
    default:
        step_known(in, nexus, how);
        break;
    }
    for (unsigned i = 0; i < CORES; i++)
        view_check(rig.lun->parts[i].view);
}

/* Nothing is drawn, so that an input does the same whatever ran before it: it chooses how soon a core wakes. */
static void pace_set(uint8_t how)
{
    struct sim_sched s;

    sim_sched_get(rig.world, &s);
    s.wake_ns = 100u + 400u * (how & 15);
    s.work_ns = 1000u * (how >> 4 & 7) + 1;
    sim_sched_set(rig.world, &s);
}

static void chance_end(void)
{
    struct sim_sched s;
    struct sim_disk d;

    sim_sched_get(rig.world, &s);
    s.wake_jitter_ns = s.late_mail_ppm = s.hiccup_ppm = 0;
    s.work_jitter_ns = 0;
    sim_sched_set(rig.world, &s);
    sim_disk_get(rig.machine, &d);
    d.jitter_ns = d.sync_jitter_ns = 0;
    sim_disk_set(rig.machine, &d);
}

/* ---- one input ------------------------------------------------------------------------------------------- */

static void unit_make(bool file)
{
    const struct lun_conf conf = {
        .be = { .kind = file ? "file" : "ram", .path = file ? file_path : NULL, .size = BLOCKS * BLOCK_LEN },
        .block_len = BLOCK_LEN, .naa = { 0x60, 1, 2, 3 },
        .state_path = state_path,
    };
    struct lun_group groups[NEXUSES];
    char why[256];

    sim_enter(rig.prog);
    fuzz_check(!rt_remove(state_path) && !rt_remove(file_path));
    if (lun_new(&rig.lun, rig.host, CORES - 1, &conf, why))
        fprintf(stderr, "%s\n", why);
    fuzz_check(rig.lun);
    for (unsigned i = 0; i < NEXUSES; i++)
        groups[i] = (struct lun_group){ .tag = (uint16_t)(i + 1) };
    lun_init_groups(rig.lun, groups, NEXUSES);
    sim_leave(rig.world);
}

static void unit_free(void)
{
    ask(3, 0);
    until(flag_set, &answered);
    sim_enter(rig.prog);
    lun_free(rig.lun);
    rig.lun = NULL;
    rig.kept = false;
    sim_leave(rig.world);
}

static void wiped(struct be_io *io, int res)
{
    fuzz_check(!res);
}

static void wipe_here(void *arg)
{
    static struct be_io io;

    io = (struct be_io){ .done = wiped };
    be_zero(rig.lun->be, rt_host_at(rig.host, 0), &io, 0, BLOCKS * BLOCK_LEN, false);
}

static bool groups_unchanged(const struct lun_view *v)
{
    for (unsigned i = 0; i < v->groups_nr; i++)
        if (v->groups[i].state || v->groups[i].preferred || v->groups[i].why)
            return false;
    return true;
}

/* A unit that is as it was when it was made, but for what is on it, serves the next input too: to make one takes longer
 * than most inputs. */
static bool unit_unchanged(void)
{
    const struct lun_view *v = rig.lun->parts[0].view;

    return v->blocks == BLOCKS && v->wce == rig.lun->cached && !v->quiet && !v->d_sense && !v->swp && !v->legacy &&
           !v->pr_gen && !v->pr_type && !v->aptpl && !v->regs_nr && groups_unchanged(v) && !strcmp(rig.kind, "ram");
}

static void unit_begin(bool file)
{
    if (rig.kept && file)
        unit_free();
    if (rig.kept)
        call(rt_host_at(rig.host, 0), wipe_here, NULL);
    else
        unit_make(file);
    rig.kept = false;
    rig.kind = file ? "file" : "ram";
    for (unsigned i = 0; i < NEXUSES; i++)
        call(rig.nexus[i].rt, attach_here, &rig.nexus[i]);
}

/* What was promised to outlive a power loss is there when the unit is opened again. */
static void state_check(void)
{
    static struct lun_view v;
    const struct lun_view *now = rig.lun->parts[0].view;
    char why[256];

    memset(&v, 0, offsetof(struct lun_view, regs));
    v.pr_holder = -1;
    sim_enter(rig.prog);
    fuzz_check(!pr_state_load(&v, state_path, why));
    sim_leave(rig.world);
    fuzz_check(v.regs_nr == (now->aptpl ? now->regs_nr : 0));
    if (!now->aptpl)
        return;
    fuzz_check(v.pr_type == now->pr_type && v.pr_holder == now->pr_holder);
    for (unsigned i = 0; i < v.regs_nr; i++)
        fuzz_check(v.regs[i].key == now->regs[i].key && !strcmp(v.regs[i].initiator, now->regs[i].initiator));
}

static bool nothing(void *arg)
{
    return false;
}

static uint64_t blocks_now(void)
{
    struct sim_prog_info info;

    sim_prog_info(rig.prog, &info);
    fuzz_check(info.heap_max < HEAP_MAX);
    return info.blocks;
}

static void nexuses_leave(void)
{
    for (unsigned i = 0; i < NEXUSES; i++)
        call(rig.nexus[i].rt, detach_here, &rig.nexus[i]);
    /* What an itl held goes back by a message that outlives it: the unit must not be gone when it arrives. */
    sim_run_until(rig.world, nothing, NULL, RT_S);
}

static void unit_end(void)
{
    all_end();
    state_check();
    step_disk(0);
    rig.kept = unit_unchanged();
    if (!rig.kept) {                        /* as a target goes: the unit is quiet before its sessions leave */
        ask(3, 0);
        until(flag_set, &answered);
    }
    nexuses_leave();
    if (!rig.kept)
        unit_free();
}

static void known_find(void)
{
    for (unsigned op = 0; op < 256; op++)
        for (unsigned sa = 0; sa < 32; sa++) {
            const uint8_t cdb[16] = { (uint8_t)op, (uint8_t)sa };
            const struct lun_cmd *row = lun_cmd_find(cdb, sizeof(cdb));

            if (row && (!sa || row->sa))
                rig.known[rig.known_nr++] = row;
        }
}

static void rig_new(void)
{
    rig.kept = rig.drawn = false;
    rig.world = sim_new(1);
    rig.machine = sim_machine_new(rig.world, "tgt", CORES);
    chance_end();
    fuzz_check(!sim_start(rig.machine, &program, NULL, &rig.prog));
    for (unsigned i = 0; i < NEXUSES; i++) {
        struct nexus *n = &rig.nexus[i];

        *n = (struct nexus){ .ops = &ops, .rt = rt_host_at(rig.host, i % CORES), .tpgt = (uint16_t)(i + 1), .rel_port = (uint16_t)(i + 1) };
        snprintf(n->initiator, sizeof(n->initiator), "iqn.2024-01.org.example:host%u", i);
        snprintf(n->target, sizeof(n->target), "iqn.2024-01.org.example:target");
        n->isid[5] = (uint8_t)(i + 1);
        rig.list[i] = &rig.itl[i];
        n->itls = &rig.list[i];
        n->itls_nr = 1;
    }
    unit_begin(false);                      /* what is made once is made now */
    unit_end();
    fuzz_check(rig.kept);
    rig.blocks_kept = blocks_now();
    unit_free();
    rig.blocks = blocks_now();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    known_find();
    for (unsigned i = 0; i < SLOTS; i++) {
        rig.cmd[i].out = aligned_alloc(4096, ROOM);
        rig.cmd[i].in = aligned_alloc(4096, ROOM);
        fuzz_check(rig.cmd[i].out && rig.cmd[i].in);
        memset(rig.cmd[i].out, 0, ROOM);
    }
    rig_new();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t how = fuzz_u8(&in);

    pace_set(how);
    unit_begin(how >= 0xe0);                /* a file takes longer, so fewer have one */
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(&in);
    unit_end();
    fuzz_check(blocks_now() == (rig.kept ? rig.blocks_kept : rig.blocks));
    if (rig.drawn) {
        sim_free(rig.world);
        rig_new();
    }
    return 0;
}
