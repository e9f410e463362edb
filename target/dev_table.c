/*
 * dev_table.c - every command once: its row drives dispatch, decoding, checks and the report of commands
 *
 * A CDB with a bit that its row's usage map does not have is refused with a pointer to the bit: an
 * initiator that asks for what is not done here (protection information, FUA_NV, anchoring) hears so and
 * does not assume it.
 */
#include <string.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

#define LBA4 0xff, 0xff, 0xff, 0xff
#define LBA8 LBA4, LBA4
#define GROUP 0x1f
#define DPO_FUA 0x18
#define DPO 0x10
#define BLOCKS_10 .lba = { 2, 4 }, .count = { 7, 2 }
#define BLOCKS_12 .lba = { 2, 4 }, .count = { 6, 4 }
#define BLOCKS_16 .lba = { 2, 8 }, .count = { 10, 4 }
#define USE_10(op, b1) .usage = { op, b1, LBA4, GROUP, 0xff, 0xff }
#define USE_12(op, b1) .usage = { op, b1, LBA4, LBA4, GROUP }
#define USE_16(op, b1) .usage = { op, b1, LBA8, LBA4, GROUP }

#define READS (F_IN_BLOCKS | F_RANGE | F_LIMIT | F_DIRECT)
#define WRITES (F_OUT_BLOCKS | F_RANGE | F_LIMIT | F_WRITE)
#define PLAIN_WRITES (WRITES | F_DIRECT)

/* Rows without service actions stand at their operation code. One with F_SA says that rows of that code are
 * in sa_cmds. "need" follows SPC-4 r36 and SBC-3 r36, "Commands allowed in the presence of various
 * reservations"; F_STANDBY and F_NO_ACCESS follow SPC-4 r36, "Standby state", "Unavailable state" and
 * "Transitions between target port asymmetric access states". In standby the capacity may be read, too: who
 * looks a path over in that state can tell what it leads to. */
static const struct lun_cmd cmds[256] = {
    [0x00] = { "TEST UNIT READY", 0x00, 0, 6, .need = ACC_TOUCH, .run = dev_good, .usage = { 0x00 } },
    [0x03] = { "REQUEST SENSE", 0x03, 0, 6, .count = { 4, 1 }, .param_max = 32,
               .flags = F_IN_ALLOC | F_NO_UA | F_ABSENT | F_ANY_PORT, .run = dev_request_sense,
               .usage = { 0x03, 0x01, 0, 0, 0xff } },
    [0x08] = { "READ (6)", 0x08, 0, 6, { 1, 3 }, { 4, 1 }, READS | F_SIX, ACC_READ, 0, dev_rw_check, dev_read,
               { 0x08, 0x1f, 0xff, 0xff, 0xff } },
    [0x0a] = { "WRITE (6)", 0x0a, 0, 6, { 1, 3 }, { 4, 1 }, PLAIN_WRITES | F_SIX, ACC_WRITE, 0, dev_rw_check,
               dev_write, { 0x0a, 0x1f, 0xff, 0xff, 0xff } },
    [0x12] = { "INQUIRY", 0x12, 0, 6, .count = { 3, 2 }, .param_max = 4096,
               .flags = F_IN_ALLOC | F_NO_UA | F_ABSENT | F_ANY_PORT,
               .check = dev_inquiry_check, .run = dev_inquiry, .usage = { 0x12, 0x01, 0xff, 0xff, 0xff } },
    [0x15] = { "MODE SELECT (6)", 0x15, 0, 6, .count = { 4, 1 }, .flags = F_OUT_PARAM | F_OWNER | F_STANDBY,
               .need = ACC_WRITE,
               .param_max = LUN_MODE_PARAM_MAX, .check = dev_mode_select_check, .run = dev_mode_select,
               .usage = { 0x15, 0x11, 0, 0, 0xff } },
    [0x16] = { "RESERVE (6)", 0x16, 0, 6, .flags = F_OWNER, .run = dev_reserve, .usage = { 0x16 } },
    [0x17] = { "RELEASE (6)", 0x17, 0, 6, .flags = F_OWNER, .run = dev_release, .usage = { 0x17 } },
    [0x1a] = { "MODE SENSE (6)", 0x1a, 0, 6, .count = { 4, 1 }, .flags = F_IN_ALLOC | F_STANDBY,
               .need = ACC_READ, .param_max = 256, .check = dev_mode_sense_check, .run = dev_mode_sense,
               .usage = { 0x1a, 0x08, 0xff, 0xff, 0xff } },
    [0x1b] = { "START STOP UNIT", 0x1b, 0, 6, .need = ACC_TOUCH, .check = dev_start_stop_check, .run = dev_sync,
               .usage = { 0x1b, 0x01, 0, 0x0f, 0xf7 } },
    [0x1d] = { "SEND DIAGNOSTIC", 0x1d, 0, 6, .flags = F_STANDBY, .need = ACC_WRITE,
               .check = dev_diagnostic_check, .run = dev_good, .usage = { 0x1d, 0xf7, 0, 0xff, 0xff } },
    [0x1e] = { "PREVENT ALLOW MEDIUM REMOVAL", 0x1e, 0, 6, .check = dev_prevent_check, .run = dev_prevent,
               .usage = { 0x1e, 0, 0, 0, 0x03 } },
    [0x25] = { "READ CAPACITY (10)", 0x25, 0, 10, .flags = F_IN_ALLOC | F_STANDBY, .need = ACC_TOUCH,
               .param_max = 8, .check = dev_capacity_10_check, .run = dev_read_capacity_10, .usage = { 0x25 } },
    [0x28] = { "READ (10)", 0x28, 0, 10, BLOCKS_10, READS, ACC_READ, 0, dev_rw_check, dev_read,
               USE_10(0x28, DPO_FUA) },
    [0x2a] = { "WRITE (10)", 0x2a, 0, 10, BLOCKS_10, PLAIN_WRITES, ACC_WRITE, 0, dev_rw_check, dev_write,
               USE_10(0x2a, DPO_FUA) },
    [0x2e] = { "WRITE AND VERIFY (10)", 0x2e, 0, 10, BLOCKS_10, WRITES | F_SCRATCH, ACC_WRITE, 0, dev_rw_check,
               dev_write_verify, USE_10(0x2e, DPO | 0x02) },
    [0x2f] = { "VERIFY (10)", 0x2f, 0, 10, BLOCKS_10, F_RANGE | F_LIMIT | F_SCRATCH, ACC_READ, 0,
               dev_verify_check, dev_verify, USE_10(0x2f, DPO | 0x06) },
    [0x34] = { "PRE-FETCH (10)", 0x34, 0, 10, BLOCKS_10, F_RANGE, ACC_READ, .run = dev_good, USE_10(0x34,
               0x02) },
    [0x35] = { "SYNCHRONIZE CACHE (10)", 0x35, 0, 10, BLOCKS_10, F_RANGE, ACC_WRITE, .run = dev_sync,
               USE_10(0x35, 0x06) },
    [0x37] = { "READ DEFECT DATA (10)", 0x37, 0, 10, .count = { 7, 2 }, .flags = F_IN_ALLOC, .need = ACC_READ,
               .param_max = 8, .run = dev_read_defect, .usage = { 0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff } },
    [0x41] = { "WRITE SAME (10)", 0x41, 0, 10, BLOCKS_10, F_OUT_ONE | F_RANGE | F_WRITE | F_SCRATCH,
               ACC_WRITE, 0, dev_write_same_check, dev_write_same, USE_10(0x41, 0x08) },
    [0x42] = { "UNMAP", 0x42, 0, 10, .count = { 7, 2 }, .flags = F_OUT_PARAM | F_ALL | F_WRITE | F_THIN,
               .need = ACC_WRITE, .param_max = 8 + 16 * LUN_UNMAP_DESCS_MAX, .check = dev_unmap_check,
               .run = dev_unmap, .usage = { 0x42, 0, 0, 0, 0, 0, GROUP, 0xff, 0xff } },
    [0x4d] = { "LOG SENSE", 0x4d, 0, 10, .count = { 7, 2 }, .flags = F_IN_ALLOC | F_STANDBY, .param_max = 16,
               .check = dev_log_sense_check, .run = dev_log_sense,
               .usage = { 0x4d, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff } },
    [0x55] = { "MODE SELECT (10)", 0x55, 0, 10, .count = { 7, 2 }, .flags = F_OUT_PARAM | F_OWNER | F_STANDBY,
               .need = ACC_WRITE,
               .param_max = LUN_MODE_PARAM_MAX, .check = dev_mode_select_check, .run = dev_mode_select,
               .usage = { 0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff } },
    [0x56] = { "RESERVE (10)", 0x56, 0, 10, .flags = F_OWNER, .run = dev_reserve, .usage = { 0x56 } },
    [0x57] = { "RELEASE (10)", 0x57, 0, 10, .flags = F_OWNER, .run = dev_release, .usage = { 0x57 } },
    [0x5a] = { "MODE SENSE (10)", 0x5a, 0, 10, .count = { 7, 2 }, .flags = F_IN_ALLOC | F_STANDBY,
               .need = ACC_READ, .param_max = 256, .check = dev_mode_sense_check, .run = dev_mode_sense,
               .usage = { 0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff } },
    [0x5e] = { "PERSISTENT RESERVE IN", 0x5e, .len = 10, .flags = F_SA },
    [0x5f] = { "PERSISTENT RESERVE OUT", 0x5f, .len = 10, .flags = F_SA },
    [0x88] = { "READ (16)", 0x88, 0, 16, BLOCKS_16, READS, ACC_READ, 0, dev_rw_check, dev_read,
               USE_16(0x88, DPO_FUA) },
    [0x89] = { "COMPARE AND WRITE", 0x89, 0, 16, { 2, 8 }, { 13, 1 },
               F_OUT_TWICE | F_RANGE | F_WRITE | F_GUARD | F_SCRATCH,
               ACC_WRITE, 0, dev_caw_check, dev_caw, { 0x89, DPO_FUA, LBA8, 0, 0, 0, 0xff, GROUP } },
    [0x8a] = { "WRITE (16)", 0x8a, 0, 16, BLOCKS_16, PLAIN_WRITES, ACC_WRITE, 0, dev_rw_check, dev_write,
               USE_16(0x8a, DPO_FUA) },
    [0x8b] = { "ORWRITE (16)", 0x8b, 0, 16, BLOCKS_16, WRITES | F_GUARD | F_SCRATCH, ACC_WRITE, 0,
               dev_whole_check, dev_orwrite, USE_16(0x8b, DPO_FUA) },
    [0x8e] = { "WRITE AND VERIFY (16)", 0x8e, 0, 16, BLOCKS_16, WRITES | F_SCRATCH, ACC_WRITE, 0, dev_rw_check,
               dev_write_verify, USE_16(0x8e, DPO | 0x02) },
    [0x8f] = { "VERIFY (16)", 0x8f, 0, 16, BLOCKS_16, F_RANGE | F_LIMIT | F_SCRATCH, ACC_READ, 0,
               dev_verify_check, dev_verify, USE_16(0x8f, DPO | 0x06) },
    [0x90] = { "PRE-FETCH (16)", 0x90, 0, 16, BLOCKS_16, F_RANGE, ACC_READ, .run = dev_good, USE_16(0x90,
               0x02) },
    [0x91] = { "SYNCHRONIZE CACHE (16)", 0x91, 0, 16, BLOCKS_16, F_RANGE, ACC_WRITE, .run = dev_sync,
               USE_16(0x91, 0x06) },
    [0x93] = { "WRITE SAME (16)", 0x93, 0, 16, BLOCKS_16, F_OUT_ONE | F_RANGE | F_WRITE | F_SCRATCH,
               ACC_WRITE, 0, dev_write_same_check, dev_write_same, USE_16(0x93, 0x09) },
    [0x9c] = { "WRITE ATOMIC (16)", 0x9c, 0, 16, { 2, 8 }, { 12, 2 }, WRITES | F_GUARD | F_ATOMIC, ACC_WRITE, 0,
               dev_whole_check, dev_write, { 0x9c, DPO_FUA, LBA8, 0, 0, 0xff, 0xff, GROUP } },
    [0x9e] = { "SERVICE ACTION IN (16)", 0x9e, .len = 16, .flags = F_SA },
    [0xa0] = { "REPORT LUNS", 0xa0, 0, 12, .count = { 6, 4 },
               .flags = F_IN_ALLOC | F_NO_UA | F_ABSENT | F_ANY_PORT, .param_max = 8 + 8 * (SCSI_LUN_MAX + 2),
               .check = dev_report_luns_check, .run = dev_report_luns,
               .usage = { 0xa0, 0, 0xff, 0, 0, 0, LBA4 } },
    [0xa3] = { "MAINTENANCE IN", 0xa3, .len = 12, .flags = F_SA },
    [0xa4] = { "MAINTENANCE OUT", 0xa4, .len = 12, .flags = F_SA },
    [0xa8] = { "READ (12)", 0xa8, 0, 12, BLOCKS_12, READS, ACC_READ, 0, dev_rw_check, dev_read,
               USE_12(0xa8, DPO_FUA) },
    [0xaa] = { "WRITE (12)", 0xaa, 0, 12, BLOCKS_12, PLAIN_WRITES, ACC_WRITE, 0, dev_rw_check, dev_write,
               USE_12(0xaa, DPO_FUA) },
    [0xae] = { "WRITE AND VERIFY (12)", 0xae, 0, 12, BLOCKS_12, WRITES | F_SCRATCH, ACC_WRITE, 0, dev_rw_check,
               dev_write_verify, USE_12(0xae, DPO | 0x02) },
    [0xaf] = { "VERIFY (12)", 0xaf, 0, 12, BLOCKS_12, F_RANGE | F_LIMIT | F_SCRATCH, ACC_READ, 0,
               dev_verify_check, dev_verify, USE_12(0xaf, DPO | 0x06) },
    [0xb7] = { "READ DEFECT DATA (12)", 0xb7, 0, 12, .count = { 6, 4 }, .flags = F_IN_ALLOC, .need = ACC_READ,
               .param_max = 8, .run = dev_read_defect, .usage = { 0xb7, 0x1f, LBA4, LBA4 } },
};

#define PR_IN(text, sa)                                                                                        \
    { text, 0x5e, sa, 10, .count = { 7, 2 }, .flags = F_IN_ALLOC | F_STANDBY, .need = ACC_TOUCH,               \
      .param_max = 65535,                                                                                      \
      .run = dev_pr_in, .usage = { 0x5e, sa, 0, 0, 0, 0, 0, 0xff, 0xff } }
#define PR_OUT(text, sa, b2)                                                                                   \
    { text, 0x5f, sa, 10, .count = { 5, 4 }, .flags = F_OUT_PARAM | F_OWNER | F_STANDBY, .need = ACC_TOUCH,    \
      .param_max = LUN_PR_PARAM_MAX, .check = dev_pr_out_check, .run = dev_pr_out,                             \
      .usage = { 0x5f, sa, b2, 0, 0, 0xff, 0xff, 0xff, 0xff } }

static const struct lun_cmd sa_cmds[] = {
    PR_IN("PERSISTENT RESERVE IN, READ KEYS", 0x00),
    PR_IN("PERSISTENT RESERVE IN, READ RESERVATION", 0x01),
    PR_IN("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x02),
    PR_IN("PERSISTENT RESERVE IN, READ FULL STATUS", 0x03),
    PR_OUT("PERSISTENT RESERVE OUT, REGISTER", 0x00, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, RESERVE", 0x01, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, RELEASE", 0x02, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, CLEAR", 0x03, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, PREEMPT", 0x04, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x05, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x06, 0xff),
    PR_OUT("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x07, 0xff),
    { "READ CAPACITY (16)", 0x9e, 0x10, 16, .count = { 10, 4 }, .flags = F_IN_ALLOC | F_STANDBY,
      .need = ACC_TOUCH, .param_max = 32, .run = dev_read_capacity_16,
      .usage = { 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, LBA4 } },
    { "GET LBA STATUS", 0x9e, 0x12, 16, { 2, 8 }, { 10, 4 }, .flags = F_IN_ALLOC, .need = ACC_READ,
      .param_max = 24,
      .check = dev_lba_status_check, .run = dev_lba_status, .usage = { 0x9e, 0x12, LBA8, LBA4 } },
    { "REPORT TARGET PORT GROUPS", 0xa3, 0x0a, 12, .count = { 6, 4 }, .flags = F_IN_ALLOC | F_ANY_PORT,
      .need = ACC_TOUCH,
      .param_max = 1024, .run = dev_report_groups, .usage = { 0xa3, 0x2a, 0, 0, 0, 0, LBA4 } },
    { "REPORT SUPPORTED OPERATION CODES", 0xa3, 0x0c, 12, .count = { 6, 4 }, .flags = F_IN_ALLOC | F_STANDBY,
      .need = ACC_READ,
      .param_max = 4096, .run = dev_report_opcodes, .usage = { 0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, LBA4 } },
    { "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xa3, 0x0d, 12, .count = { 6, 4 },
      .flags = F_IN_ALLOC | F_STANDBY, .need = ACC_READ, .param_max = 16, .run = dev_report_tmfs,
      .usage = { 0xa3, 0x0d, 0x80, 0, 0, 0, LBA4 } },
    { "SET TARGET PORT GROUPS", 0xa4, 0x0a, 12, .count = { 6, 4 }, .flags = F_OUT_PARAM | F_OWNER | F_ANY_PORT,
      .need = ACC_WRITE, .param_max = UINT32_MAX, .check = dev_set_groups_check, .run = dev_set_groups,
      .usage = { 0xa4, 0x0a, 0, 0, 0, 0, LBA4 } },
};

static const struct lun_cmd *sa_find(uint8_t op, unsigned sa)
{
    for (size_t i = 0; i < ARRAY_SIZE(sa_cmds); i++)
        if (sa_cmds[i].op == op && sa_cmds[i].sa == sa)
            return &sa_cmds[i];
    return NULL;
}

const struct lun_cmd *lun_cmd_find(const uint8_t *cdb, uint32_t cdb_len)
{
    const struct lun_cmd *cmd = &cmds[cdb[0]];

    if (!cmd->len)
        return NULL;
    if ((cmd->flags & F_SA) && cdb_len)
        return sa_find(cdb[0], cdb[1] & 0x1f);
    return cmd;
}

bool lun_cmd_there(const struct lun *lun, const struct lun_cmd *cmd)
{
    return (!(cmd->flags & F_THIN) || lun->thin) && (!(cmd->flags & F_ATOMIC) || lun->atomic);
}

/* ---- REPORT SUPPORTED OPERATION CODES -------------------------------------------------------------------- */

#define TIMEOUT_DESC_LEN 12u

static bool has_sa(const struct lun_cmd *cmd)
{
    return cmds[cmd->op].flags & F_SA;
}

static void put_timeouts(struct resp *r)
{
    const uint8_t desc[TIMEOUT_DESC_LEN] = { 0, TIMEOUT_DESC_LEN - 2 };   /* no times are promised */

    resp_put(r, desc, sizeof(desc));
}

static uint32_t put_descriptor(struct resp *r, const struct lun_cmd *cmd, bool timeouts)
{
    uint8_t desc[8] = { cmd->op };

    if (!r)
        return sizeof(desc) + (timeouts ? TIMEOUT_DESC_LEN : 0);
    store_be16(&desc[2], cmd->sa);
    desc[5] = (uint8_t)((timeouts ? 0x02 : 0) | (has_sa(cmd) ? 0x01 : 0));
    store_be16(&desc[6], cmd->len);
    resp_put(r, desc, sizeof(desc));
    if (timeouts)
        put_timeouts(r);
    return 0;
}

/* r NULL: only counts the bytes. */
static uint32_t put_all(struct resp *r, const struct lun *lun, bool timeouts)
{
    uint32_t len = 0;

    for (unsigned i = 0; i < 256; i++)
        if (cmds[i].len && !(cmds[i].flags & F_SA) && lun_cmd_there(lun, &cmds[i]))
            len += put_descriptor(r, &cmds[i], timeouts);
    for (size_t i = 0; i < ARRAY_SIZE(sa_cmds); i++)
        len += put_descriptor(r, &sa_cmds[i], timeouts);
    return len;
}

static void report_all(struct scsi_task *t, bool timeouts)
{
    uint8_t head[4];
    struct resp r;

    store_be32(head, put_all(NULL, task_lun(t), timeouts));
    resp_init(&r, t);
    resp_put(&r, head, sizeof(head));
    put_all(&r, task_lun(t), timeouts);
    resp_end(&r);
    task_end(t);
}

static void report_one(struct scsi_task *t, const struct lun_cmd *cmd, bool timeouts)
{
    uint8_t head[4] = { 0, 1 };             /* SUPPORT 001b: not supported */
    struct resp r;

    resp_init(&r, t);
    if (cmd) {
        head[1] = (uint8_t)(3 | (timeouts ? 0x80 : 0));   /* 011b: as in a standard */
        store_be16(&head[2], cmd->len);
    }
    resp_put(&r, head, sizeof(head));
    if (cmd)
        resp_put(&r, cmd->usage, cmd->len);
    if (cmd && timeouts)
        put_timeouts(&r);
    resp_end(&r);
    task_end(t);
}

/* Source: SPC-4 r36, "REPORT SUPPORTED OPERATION CODES command". */
void dev_report_opcodes(struct scsi_task *t)
{
    const unsigned options = t->cdb[2] & 7, sa = load_be16(&t->cdb[4]);
    const bool timeouts = t->cdb[2] & 0x80;
    const struct lun_cmd *cmd = &cmds[t->cdb[3]];
    const bool sas = cmd->flags & F_SA;

    if (!cmd->len || !lun_cmd_there(task_lun(t), cmd))
        cmd = NULL;
    if (options == 0) {
        report_all(t, timeouts);
    } else if (options > 3) {
        task_bad_cdb(t, 2, 2);
        task_end(t);
    } else if (cmd && ((options == 1 && sas) || (options == 2 && !sas))) {
        task_bad_cdb(t, options == 1 ? 2 : 4, -1);
        task_end(t);
    } else {
        if (cmd && sas)
            cmd = sa_find(cmd->op, sa);
        else if (cmd && options == 3 && sa)
            cmd = NULL;
        report_one(t, cmd, timeouts);
    }
}
