/*
 * case.h - what the named cases of the initiator share: a target made up, a session on it, some commands
 */
#ifndef CASE_H
#define CASE_H

#include "fake_target.h"

#define SCENE_CMDS 8u

struct scene {
    struct fake f;
    struct rig r;
    struct cmd c[SCENE_CMDS];
    uintptr_t which;                        /* the row of a table that is tried */
    atomic_uint seen, sent, faults;         /* for hooks: what came, what they did, what they found wrong */
};

/* From a hook or script. */
static inline struct scene *scene_of(struct fake_conn *c)
{
    return container_of(c->f, struct scene, f);
}

/* A target is there; settings may be changed before scene_go(). Pings are off: a test that wants them says so. */
static inline void scene_init(struct scene *x, fake_script *script, fake_hook *hook)
{
    memset(x, 0, sizeof(*x));
    x->f.hook = hook;
    fake_start(&x->f, script);
    rig_init(&x->r, x->f.port);
    x->r.conf.set.noop_interval_s = 0;
    x->r.conf.set.login_timeout_s = 30;
}

static inline void scene_go(struct scene *x)
{
    rig_start(&x->r);
    rig_until(&x->r, x->r.ups || x->r.faults);
    if (!x->r.ups)
        print_message("login: %s\n", x->r.why);
    assert_int_equal(x->r.ups, 1);
}

static inline void scene_up(struct scene *x, fake_script *script, fake_hook *hook)
{
    scene_init(x, script, hook);
    scene_go(x);
}

/* The login is to fail. */
static inline void scene_refused(struct scene *x)
{
    rig_start(&x->r);
    rig_until(&x->r, x->r.ups || x->r.faults);
    if (x->r.ups)
        print_message("row %u was taken for a login\n", (unsigned)x->which);
    assert_int_equal(x->r.ups, 0);
    assert_true(x->r.err < 0);
    assert_true(x->r.why[0]);
}

static inline void scene_end(struct scene *x)
{
    rig_end(&x->r);
    fake_stop(&x->f);
    assert_int_equal(x->faults, 0);
}

/* A target's answers of the operational stage, as a string literal. */
#define CASE_KEYS(digest, r2t, immediate, data_max, burst, first_burst)                                       \
    "HeaderDigest=" digest "\0DataDigest=" digest "\0InitialR2T=" r2t "\0ImmediateData=" immediate            \
    "\0MaxRecvDataSegmentLength=" data_max "\0MaxBurstLength=" burst "\0FirstBurstLength=" first_burst        \
    "\0MaxConnections=1\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"                     \
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0ErrorRecoveryLevel=0"
#define LOGIN_WITH(c, keys) (fake_login_first(c) && fake_login_rest(c, keys, sizeof(keys)))

static inline bool is_cmd(const struct fake_conn *c)
{
    return c->pdu.opcode == ISCSI_OP_SCSI_CMD;
}

/* The numbers of a PDU that does not use StatSN up. */
static inline bool send_unnumbered(struct fake_conn *c, struct iscsi_pdu p, const void *data, uint32_t len)
{
    p.stat_sn = c->stat_sn;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    return fake_send_raw(c, p, data, len);
}

/* The header of @p with StatSN used up, to be bent before fake_send_bhs(). */
static inline void numbered_bhs(struct fake_conn *c, uint8_t bhs[static ISCSI_BHS_LEN], struct iscsi_pdu p)
{
    p.stat_sn = c->stat_sn++;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    iscsi_pdu_encode(bhs, &p);
}

/* A file's table of cases, X(test, function, argument): the functions, and their places in the list. */
#define CASE_FUNCTION(name, fn, ...)                                                                          \
    static void name(void **state)                                                                            \
    {                                                                                                         \
        (void)state;                                                                                          \
        fn(__VA_ARGS__);                                                                                      \
    }
#define CASE_ENTRY(name, fn, ...) cmocka_unit_test(name),

/* What becomes of a command that meets something odd. */
enum outcome {
    IS_GOOD,                                /* it is answered, as if nothing had been */
    IS_LOST,                                /* the session is made anew, and the command then answered */
    IS_BROKEN,                              /* the command fails with -EPROTO, the session goes on */
};

/* A command that works, after whatever came before: the session is as it was. */
static inline void still_works(struct scene *x, unsigned ups)
{
    struct cmd *c = &x->c[SCENE_CMDS - 1];

    cmd_read(&x->r, c, 0, 1);
    rig_until(&x->r, c->ended);
    assert_int_equal(c->t.err, 0);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_int_equal(x->r.ups, ups);
}

/* cmd_read() or cmd_write() of @x->c[0] was called. */
static inline void command_comes_to(struct scene *x, enum outcome how)
{
    struct cmd *c = &x->c[0];

    rig_until(&x->r, c->ended);
    assert_int_equal(c->t.err, how == IS_BROKEN ? -EPROTO : 0);
    assert_int_equal(c->t.status, SCSI_GOOD);
    still_works(x, how == IS_LOST ? 2 : 1);
}

#endif
