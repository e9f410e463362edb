/*
 * rig.h - the initiator under test: one session on a reactor that the test turns itself
 */
#ifndef RIG_H
#define RIG_H

#include "fake_wire.h"

struct rig {
    struct rt_host *host;
    struct rt *rt;
    struct ini_conf conf;
    struct ini_sess *s;
    struct ini_lun *lun;
    unsigned ups, downs, faults, changes, stops;
    unsigned events[8];                     /* by enum ini_event */
    bool opened;
    int err;
    char why[512];
};

static inline void rig_up(void *user)
{
    ((struct rig *)user)->ups++;
}

static inline void rig_down(void *user, int err, const char *why)
{
    struct rig *r = user;

    (void)err;
    if (getenv("FAKE_TRACE"))
        print_message("down: %s\n", why);
    r->downs++;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_failed(void *user, int err, const char *why)
{
    struct rig *r = user;

    r->faults++;
    r->err = err;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_changed(void *user)
{
    ((struct rig *)user)->changes++;
}

static inline void rig_init(struct rig *r, uint16_t port)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1 };

    memset(r, 0, sizeof(*r));
    rt_log_level(RT_ERR);
    assert_int_equal(rt_host_new(&r->host, &conf), 0);
    r->rt = rt_host_at(r->host, 0);
    assert_true(rt_turn(r->rt, 0) >= 0);
    strcpy(r->conf.initiator, "iqn.2026-11.org.corelane.test:initiator");
    strcpy(r->conf.target, FAKE_IQN);
    strcpy(r->conf.portal.host, "127.0.0.1");
    r->conf.portal.port = port;
    ini_settings_default(&r->conf.set);
    r->conf.set.transport = INI_TRANSPORT_TCP;      /* a made-up target's scripts know no offer but test_loop.c's */
    r->conf.set.login_retry_max = 0;
    r->conf.set.login_timeout_s = 5;
}

static inline void rig_start(struct rig *r)
{
    static const struct ini_sess_events events = { rig_up, rig_down, rig_failed, rig_changed };

    assert_int_equal(ini_sess_new(&r->s, r->rt, &r->conf, &events, r), 0);
    ini_sess_start(r->s);
}

/* Turns until @cond, at most for a minute: on a busy machine a wait is no fault. */
#define rig_until(r, cond)                                                                                    \
    do {                                                                                                      \
        const uint64_t rig_end = rt_clock((r)->rt) + 60 * RT_S;                                               \
        while (!(cond) && rt_clock((r)->rt) < rig_end)                                                        \
            assert_true(rt_turn((r)->rt, 20 * RT_MS) >= 0);                                                   \
        assert_true(cond);                                                                                    \
    } while (0)

static inline void rig_for(struct rig *r, unsigned ms)
{
    const uint64_t end = rt_clock(r->rt) + ms * RT_MS;

    while (rt_clock(r->rt) < end)
        assert_true(rt_turn(r->rt, 5 * RT_MS) >= 0);
}

static inline void rig_stopped(void *user)
{
    ((struct rig *)user)->stops++;
}

static inline void rig_opened(void *user, int err, const char *why)
{
    struct rig *r = user;

    r->opened = true;
    r->err = err;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static inline void rig_event(void *user, enum ini_event ev)
{
    ((struct rig *)user)->events[ev]++;
}

static inline void rig_open(struct rig *r)
{
    assert_int_equal(ini_lun_open(r->s, 0, &r->lun, rig_opened, rig_event, r), 0);
    rig_until(r, r->opened);
    if (r->err)
        print_message("open: %s\n", r->why);
    assert_int_equal(r->err, 0);
}

static inline void rig_end(struct rig *r)
{
    if (r->lun)
        ini_lun_close(r->lun);
    if (r->s) {
        ini_sess_stop(r->s, false, rig_stopped, r);
        rig_until(r, r->stops);
        ini_sess_free(r->s);
    }
    rt_host_free(r->host);
}

/* A command of its own. */
struct cmd {
    struct ini_task t;
    struct iovec iov;
    uint8_t buf[8192];
    bool ended;
};

static inline void cmd_ended(struct ini_task *t)
{
    ((struct cmd *)t)->ended = true;
}

static inline void cmd_read(struct rig *r, struct cmd *c, uint32_t lba, uint32_t blocks)
{
    memset(c, 0, sizeof(*c));
    c->iov = (struct iovec){ c->buf, sizeof(c->buf) };
    c->t.cdb_len = (uint8_t)scsi_cdb_read(c->t.cdb, lba, blocks, false);
    c->t.edtl = blocks * 512;
    c->t.in = (struct dm_buf){ &c->iov, 1, c->t.edtl };
    c->t.done = cmd_ended;
    ini_submit(r->s, &c->t);
}

static inline void cmd_write(struct rig *r, struct cmd *c, uint32_t lba, uint32_t blocks)
{
    memset(&c->t, 0, sizeof(c->t));
    c->ended = false;
    c->iov = (struct iovec){ c->buf, sizeof(c->buf) };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, lba, blocks, false);
    c->t.edtl = blocks * 512;
    c->t.out = (struct dm_buf){ &c->iov, 1, c->t.edtl };
    c->t.done = cmd_ended;
    ini_submit(r->s, &c->t);
}

#endif
