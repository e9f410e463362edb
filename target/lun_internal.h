/*
 * lun_internal.h - what the files of the SCSI device server share
 *
 * The life of a task: lun_start() checks it and links it into its core's part of the unit. lun_run() admits
 * it: now, or once the ORDERED task before it, the guard over its range or the want of a scratch buffer has
 * gone (held, first in first out). Then its row's run() executes it here; or on the owner core, for the
 * commands that change shared state; or here under a guard over its range that every core respects.
 * task_end() is the one way out of all of these.
 *
 * Shared state is a struct lun_view. The owner writes the next one while the published one is read
 * everywhere, then sends every core to it and goes on when all have said so: which is why two buffers are
 * enough.
 */
#ifndef CORELANE_LUN_INTERNAL_H
#define CORELANE_LUN_INTERNAL_H

#include <stdatomic.h>

#include "reactor/rt_pool.h"
#include "target/lun.h"

#define LUN_SCRATCH_LEN (256u << 10)        /* bytes; a multiple of every block length */
#define LUN_SCRATCH_NR 2u                   /* a core: those who want one and find none wait */
#define LUN_GUARDS_MAX 16u                  /* ranges guarded at a time; more wait */
#define LUN_REGS_MAX 128u                   /* persistent registrations of a unit */
#define LUN_CAW_MAX 255u                    /* blocks; the field in VPD B0 has one byte */
#define LUN_UNMAP_MAX (1u << 20)            /* blocks a command */
#define LUN_UNMAP_DESCS_MAX 256u
#define LUN_WRITE_SAME_MAX 65535u           /* blocks: what WRITE SAME (10) can say */
#define LUN_PR_PARAM_MAX 8192u              /* bytes of PERSISTENT RESERVE OUT's list */
#define LUN_MODE_PARAM_MAX 256u             /* bytes of MODE SELECT's list */

/* ---- commands -------------------------------------------------------------------------------------------- */

enum lun_access {                           /* what reservations may take from a nexus */
    ACC_TOUCH = 1,                          /* the unit as such: RESERVE by another takes it */
    ACC_READ = 2,                           /* reading the medium and the like */
    ACC_WRITE = 4,                          /* changing the medium or the unit */
    ACC_ALL = 7,
};

enum lun_flag {
    F_SA = 1u << 0,                         /* told apart further by its service action */
    F_IN_BLOCKS = 1u << 1,                  /* count: blocks to the initiator */
    F_OUT_BLOCKS = 1u << 2,                 /* count: blocks from it */
    F_OUT_TWICE = 1u << 3,                  /* count: blocks, and twice as many come */
    F_OUT_ONE = 1u << 4,                    /* one block comes, whatever the count */
    F_IN_ALLOC = 1u << 5,                   /* count: allocation length */
    F_OUT_PARAM = 1u << 6,                  /* count: parameter list length */
    F_RANGE = 1u << 7,                      /* LBA and count lie inside the unit, and are what guards look at */
    F_ALL = 1u << 8,                        /* works on ranges named later: guards see the whole unit */
    F_LIMIT = 1u << 9,                      /* count is under the transfer limit */
    F_WRITE = 1u << 10,                     /* changes the medium */
    F_GUARD = 1u << 11,                     /* atomic on its range */
    F_SCRATCH = 1u << 12,                   /* needs a scratch buffer */
    F_OWNER = 1u << 13,                     /* run() is called on the owner core */
    F_NO_UA = 1u << 14,                     /* runs past a unit attention */
    F_SIX = 1u << 15,                       /* 21 bits of LBA; count 0 means 256 */
    F_THIN = 1u << 16,                      /* there only where unmapping gives space back */
    F_ATOMIC = 1u << 17,                    /* there only where a power loss cannot tear a write */
    F_ABSENT = 1u << 18,                    /* answered for a LUN that is not there too */
    F_DIRECT = 1u << 19,                    /* moves its data once, and nobody looks at them on the way */
    F_STANDBY = 1u << 20,                   /* by a port in standby too */
    F_NO_ACCESS = 1u << 21,                 /* by one that is unavailable, offline or in transition too */
};
#define F_MEDIUM (F_RANGE | F_ALL)
#define F_ANY_PORT (F_STANDBY | F_NO_ACCESS)

struct lun_field {
    uint8_t off, len;                       /* bytes in the CDB; len 0: not there */
};

struct lun_cmd {
    const char *name;
    uint8_t op, sa, len;                    /* len: bytes of CDB; 0: no such command */
    struct lun_field lba, count;
    uint32_t flags;                         /* enum lun_flag */
    uint8_t need;                           /* enum lun_access */
    uint32_t param_max;                     /* bytes; with F_IN_ALLOC and F_OUT_PARAM */
    enum lun_next (*check)(struct scsi_task *t);   /* after decoding; NULL: nothing more to check */
    void (*run)(struct scsi_task *t);       /* ends in task_end() or, on the owner core, owner_end() */
    uint8_t usage[16];                      /* bits of the CDB that mean something */
};

/* NULL: no such command. cdb_len 0: by operation code alone. */
const struct lun_cmd *lun_cmd_find(const uint8_t *cdb, uint32_t cdb_len);
bool lun_cmd_there(const struct lun *lun, const struct lun_cmd *cmd);   /* of those that not every unit has */

/* ---- shared state ---------------------------------------------------------------------------------------- */

enum pr_type {                              /* SPC-4 r36, "Persistent reservation type codes" */
    PR_NONE = 0,
    PR_WRITE_EXCLUSIVE = 1,
    PR_EXCLUSIVE_ACCESS = 3,
    PR_WRITE_EXCLUSIVE_RO = 5,              /* registrants only */
    PR_EXCLUSIVE_ACCESS_RO = 6,
    PR_WRITE_EXCLUSIVE_AR = 7,              /* all registrants */
    PR_EXCLUSIVE_ACCESS_AR = 8,
};

struct lun_reg {                            /* a registered I_T nexus */
    uint64_t key;
    char initiator[ISCSI_NAME_LEN_MAX + 1];
    char target[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];
    uint16_t tpgt, rel_port;
    bool any_isid;                          /* registered by device name: SPEC_I_PT */
    bool any_port;                          /* ALL_TG_PT */
};

/* A unit attention that goes with a view. */
struct lun_event {
    uint8_t asc, ascq;
    bool regs_only;                         /* to registrants of the view before; else to all */
    uint64_t except;                        /* ITL that gets none; 0: none */
    uint64_t regs[LUN_REGS_MAX / 64];
};

struct lun_view {
    uint64_t blocks;
    bool quiet;                             /* the unit is going: as if it were not there */
    bool wce, d_sense, swp;
    uint64_t legacy;                        /* ITL that holds RESERVE; 0: none */
    uint32_t pr_gen;
    uint8_t pr_type;                        /* enum pr_type */
    bool aptpl;
    int pr_holder;                          /* place in regs; -1: none, or all of them */
    unsigned groups_nr;
    struct lun_group groups[LUN_GROUPS_MAX];   /* by ascending tag */
    struct lun_event events[3];
    unsigned events_nr;
    uint64_t doomed[LUN_REGS_MAX / 64];     /* registrants of the view before whose tasks are to be aborted */
    unsigned regs_nr;
    struct lun_reg regs[LUN_REGS_MAX];
};

static inline void regs_set(uint64_t *set, unsigned i)
{
    set[i / 64] |= 1ull << i % 64;
}

static inline bool regs_has(const uint64_t *set, int i)
{
    return i >= 0 && set[i / 64] >> i % 64 & 1;
}

/* ---- a core's part, the owner's, the unit ---------------------------------------------------------------- */

struct lun_counts {                         /* one writer, read by any core */
    _Atomic uint64_t reads, writes, read_bytes, write_bytes, others, errors, conflicts, in_flight;
};

static inline void lun_count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

struct lun_part {
    _Alignas(RT_CACHE_LINE) struct lun *lun;
    struct rt *rt;
    unsigned index;
    const struct lun_view *view;
    struct rt_link itls, tasks;             /* tasks from start to finish, in order of arrival */
    struct rt_link held;                    /* by ->wait: may not begin yet */
    struct rt_link guards;                  /* by lun_guard_part.link: ranges that are another's for now */
    struct rt_pool *scratch;
    struct rt_op kick;                      /* looks at held again, in a coming turn */
    bool kicking, in_kick, kick_again;
    struct rt_msg *drain_ack;               /* to be sent when drain_left is 0 and no kick is due */
    uint32_t drain_left, await_left;
    struct rt_msg *await_ack;
    uint64_t itl_seq;
    struct rt_msg gone_msg;                 /* the holder of RESERVE has left */
    uint64_t gone_id;
    struct lun_counts n;
};

struct lun_guard;
struct lun_guard_part {                     /* a guard on one core */
    struct rt_msg msg;
    struct rt_link link;
    struct lun_guard *guard;
    unsigned part;
    bool acked;
    bool released;                          /* by its task, which may be another one by now */
};

struct lun_guard {                          /* the owner writes it; others read range and task */
    struct lun *lun;
    uint64_t lba, blocks;
    struct scsi_task *task;
    unsigned left;
    bool busy;                              /* the slot is taken */
    bool gone;                              /* released: it conflicts with nothing any more */
    struct lun_guard_part *parts;
};

struct lun_fan {                            /* a message to each core and back */
    struct rt_msg msg;
    struct lun *lun;
    unsigned part;
};

struct lun_owner {                          /* touched on the owner core only */
    struct rt_msg *head, *tail;             /* waiting for their turn */
    bool busy, looping;
    bool draining;                          /* tasks that come go home again: they may have to die */
    unsigned left;
    void (*then)(struct lun *lun);
    struct lun_fan *fan;
    struct scsi_task *task;                 /* the one under way, or the request */
    struct lun_request *req;
    void (*req_after)(struct lun *lun);
    bool drain_all, abort;
    uint64_t reset_by;                      /* ITL */
    struct rt_work work;                    /* saving registrations */
    char *text;
    int err;
    struct be_io io;
    struct lun_guard guards[LUN_GUARDS_MAX];
    struct rt_link guard_wait;              /* tasks, by ->wait */
    unsigned guards_nr;
    bool guards_idle_wanted, guard_loop;
};

struct lun {
    struct rt_host *host;
    struct rt *owner_rt;
    struct be *be;
    uint32_t block_len, block_shift;
    uint32_t phys_len;                      /* bytes */
    bool readonly, thin, zeroes, cached, atomic;
    uint8_t naa[16];
    char serial[33];
    char *state_path;
    unsigned parts_nr;
    struct lun_part *parts;
    struct lun_view *views[2];
    unsigned cur;                           /* owner's: which of them is published */
    struct lun_owner own;
};

static inline struct lun *task_lun(const struct scsi_task *t)
{
    return t->itl->lun;
}

static inline const struct lun_view *task_view(const struct scsi_task *t)
{
    return t->itl->part->view;
}

/* ---- lun.c ------------------------------------------------------------------------------------------------ */

const struct lun_view *lun_view_here(const struct lun *lun);
void request_send(struct lun *lun, struct lun_request *r, void (*arrive)(struct rt_msg *m));

/* ---- lun_alua.c ------------------------------------------------------------------------------------------- */

const struct lun_group *view_group(const struct lun_view *v, uint16_t tag);   /* NULL: none */
uint8_t view_port_state(const struct lun_view *v, uint16_t tag);
bool view_in_transition(const struct lun_view *v);
enum lun_next task_no_access(struct scsi_task *t);

static inline bool port_admits(uint8_t state, const struct lun_cmd *cmd)
{
    return state <= LUN_PORT_NON_OPTIMIZED ||
           (cmd->flags & (state == LUN_PORT_STANDBY ? F_STANDBY : F_NO_ACCESS));
}

/* ---- lun_task.c: the core's side ------------------------------------------------------------------------- */

/* CHECK CONDITION; the caller ends the task or returns LUN_DONE. */
void task_sense(struct scsi_task *t, const struct scsi_sense *s);
void task_check(struct scsi_task *t, uint8_t key, uint8_t asc, uint8_t ascq);
/* INVALID FIELD IN CDB and IN PARAMETER LIST, pointing at it; bit -1: the byte. */
enum lun_next task_bad_cdb(struct scsi_task *t, unsigned byte, int bit);
void task_bad_param(struct scsi_task *t, unsigned byte, int bit);
/* The initiator's expected length and direction cannot carry the command's data. */
enum lun_next task_bad_data(struct scsi_task *t);
/* What an error of the backend is in SCSI's words. */
void task_be_error(struct scsi_task *t, int err, bool write);
/* Execution is over, results are set; t may be gone on return. */
void task_end(struct scsi_task *t);
/* Sends a task on its way once nothing is before it. */
void task_begin_guarded(struct scsi_task *t);
void task_back(struct rt_msg *m);           /* from the owner, done */
void task_bounced(struct rt_msg *m);        /* from the owner, to be sent again */
bool task_overlaps(const struct scsi_task *t, uint64_t lba, uint64_t blocks);
/* Looks at held tasks: now, or in a coming turn. */
void part_kick(struct lun_part *p);
void part_kick_later(struct lun_part *p);
void part_drain_check(struct lun_part *p);

/* Answers: bytes at t's answer, as far as allocation length and buffers go. */
struct resp {
    struct scsi_task *t;
    uint32_t at;                            /* bytes put, clipped or not */
    uint32_t limit;
};
void resp_init(struct resp *r, struct scsi_task *t);
void resp_put(struct resp *r, const void *data, uint32_t len);
void resp_end(struct resp *r);              /* GOOD, with in_len and in_done set; the caller ends the task */
void resp_send(struct scsi_task *t, const void *data, uint32_t len);   /* all of it, and task_end() */

/* Copies between the session's iovecs and memory. Return: bytes copied, less than @len at the end of the
 * iovecs. */
size_t iov_get(const struct iovec *iov, unsigned nr, uint64_t off, void *out, size_t len);
size_t iov_put(const struct iovec *iov, unsigned nr, uint64_t off, const void *data, size_t len);
uint64_t iov_total(const struct iovec *iov, unsigned nr);

/* ---- lun_owner.c: the owner's side ----------------------------------------------------------------------- */

/* Calls fn there: at once when that is here. */
void core_send(struct rt *to, struct rt_msg *m, void (*fn)(struct rt_msg *m));
void owner_take(struct scsi_task *t);       /* from the task's core: run() will be called on the owner's */
void owner_queue(struct lun *lun, struct rt_msg *m, void (*start)(struct rt_msg *m));
/* On the owner core, inside a command or request. */
struct lun_view *owner_draft(struct lun *lun);          /* a copy of what is published, without its events */
const struct lun_view *owner_view(const struct lun *lun);
void owner_publish(struct lun *lun, void (*then)(struct lun *lun));
void owner_end(struct lun *lun);            /* answers the task or request (own.err) and takes the next */
void owner_drain(struct lun *lun, void (*then)(struct lun *lun));    /* aborts: all, or tasks of doomed ITLs */
void part_ack(struct lun_part *p, struct rt_msg *m);    /* this core is through with a round */
void owner_gone(struct rt_msg *m);          /* lun_part.gone_msg */
void part_access(struct itl *itl, const struct lun_view *v);
struct lun_event *view_event(struct lun_view *v, uint8_t asc, uint8_t ascq, uint64_t except);

/* ---- lun_guard.c ----------------------------------------------------------------------------------------- */

int guards_new(struct lun *lun);
void guards_free(struct lun *lun);
void guard_ask(struct scsi_task *t);        /* on the task's core; goes on with task_begin_guarded() */
struct lun_guard_part *guard_of(struct scsi_task *t);
void guard_release(struct lun_guard_part *g);
bool guard_blocks(const struct lun_part *p, const struct scsi_task *t);
void guards_recheck(struct lun_part *p);    /* something that ran here has ended */

/* ---- dev_*.c: commands ----------------------------------------------------------------------------------- */

/* dev_sbc.c, dev_cmp.c */
enum lun_next dev_rw_check(struct scsi_task *t);
enum lun_next dev_verify_check(struct scsi_task *t);
enum lun_next dev_write_same_check(struct scsi_task *t);
enum lun_next dev_unmap_check(struct scsi_task *t);
enum lun_next dev_caw_check(struct scsi_task *t);
enum lun_next dev_whole_check(struct scsi_task *t);     /* all of the data must come */
enum lun_next dev_lba_status_check(struct scsi_task *t);
enum lun_next dev_capacity_10_check(struct scsi_task *t);
/* Bytes to write. Return: false when there are none or their number is refused: the task only has to end. */
bool dev_write_len(struct scsi_task *t, uint32_t *len);
bool dev_fua(const struct scsi_task *t);    /* a write must be stable before it is answered */
void dev_read(struct scsi_task *t);
void dev_write(struct scsi_task *t);
void dev_verify(struct scsi_task *t);
void dev_write_verify(struct scsi_task *t);
void dev_write_same(struct scsi_task *t);
void dev_unmap(struct scsi_task *t);
void dev_caw(struct scsi_task *t);
void dev_orwrite(struct scsi_task *t);
void dev_sync(struct scsi_task *t);
void dev_lba_status(struct scsi_task *t);
void dev_good(struct scsi_task *t);
void dev_read_capacity_10(struct scsi_task *t);
void dev_read_capacity_16(struct scsi_task *t);
void dev_read_defect(struct scsi_task *t);
/* dev_spc.c, dev_vpd.c */
enum lun_next dev_inquiry_check(struct scsi_task *t);
void dev_inquiry(struct scsi_task *t);
uint8_t dev_peripheral(const struct scsi_task *t);      /* qualifier and device type */
void dev_vpd(struct scsi_task *t);
enum lun_next dev_report_luns_check(struct scsi_task *t);
void dev_report_luns(struct scsi_task *t);
void dev_request_sense(struct scsi_task *t);
enum lun_next dev_start_stop_check(struct scsi_task *t);
enum lun_next dev_prevent_check(struct scsi_task *t);
void dev_prevent(struct scsi_task *t);
enum lun_next dev_diagnostic_check(struct scsi_task *t);
enum lun_next dev_log_sense_check(struct scsi_task *t);
void dev_log_sense(struct scsi_task *t);
void dev_report_tmfs(struct scsi_task *t);
void dev_report_opcodes(struct scsi_task *t);           /* dev_table.c */
/* dev_alua.c */
void dev_report_groups(struct scsi_task *t);
enum lun_next dev_set_groups_check(struct scsi_task *t);
void dev_set_groups(struct scsi_task *t);
/* dev_mode.c */
enum lun_next dev_mode_sense_check(struct scsi_task *t);
void dev_mode_sense(struct scsi_task *t);
enum lun_next dev_mode_select_check(struct scsi_task *t);
void dev_mode_select(struct scsi_task *t);
/* dev_resv.c */
void dev_reserve(struct scsi_task *t);
void dev_release(struct scsi_task *t);
/* dev_pr.c, dev_pr_in.c, dev_pr_save.c */
enum lun_next dev_pr_out_check(struct scsi_task *t);
void dev_pr_out(struct scsi_task *t);
void dev_pr_in(struct scsi_task *t);
bool pr_matches(const struct lun_reg *r, const struct nexus *n);
int pr_find(const struct lun_view *v, const struct nexus *n);   /* -1: not registered */
bool pr_all(uint8_t type);                  /* all registrants hold it */
bool pr_type_ok(unsigned type);
/* TransportID of iSCSI (SPC-4 r36, "TransportID for initiator ports using SCSI over iSCSI"). */
#define PR_TID_MAX 260u
uint32_t pr_tid_encode(uint8_t out[static PR_TID_MAX], const struct lun_reg *r);
/* Return: bytes it took, or 0 for one that is not iSCSI's or does not hold together. */
uint32_t pr_tid_decode(struct lun_reg *r, const uint8_t *data, uint32_t len);
char *pr_state_text(const struct lun_view *v);          /* given to the caller to free(); NULL: no memory */
/* Writes registrations and reservation of @v, also when it then fails. Return: 0, -EINVAL for what is no such text,
 * or -ENOMEM. */
int pr_state_parse(struct lun_view *v, const char *text, size_t len);
int pr_state_load(struct lun_view *v, const char *path, char why[static 256]);

#endif
