/*
 * mpio_rig.h - a disk over fake sessions, and what a test does with it
 */
#ifndef MPIO_RIG_H
#define MPIO_RIG_H

#include "fake_ini.h"

#define REQS 128u

struct req {
    struct mpio_io io;
    struct iovec iov;
    uint64_t data;
    unsigned done;
    int res;
};

static struct rig {
    struct mpio_disk *disk;
    struct rt *home;
    struct mpio_nexus *nexus[FAKE_SESSES];
    struct mpio_path *path[FAKE_SESSES];
    unsigned opened, left;
    int open_err, join_err;
    char join_why[600], why[400];
    unsigned joins, moves, events[MPIO_PATH_CHANGED + 1];
    int move_err;
    struct req req[REQS];
    unsigned order[REQS], order_nr; /* as they were done */
} rig;

/* ---- steps ---- */

static inline void run(uint64_t ns)
{
    sim_run(fake.w, ns);
}

static inline void on_event(void *user, enum mpio_event ev, const char *why)
{
    rig.events[ev]++;
    if (why)
        snprintf(rig.why, sizeof(rig.why), "%s", why);
}

struct call {
    unsigned i, n;
    int a;
    const struct mpio_conf *conf;
    struct rt *rt;
};

static inline void do_disk(void *arg)
{
    struct call *c = arg;

    assert_int_equal(mpio_disk_new(&rig.disk, rt_self(), c->conf, on_event, NULL), 0);
}

static inline void rig_start(uint64_t seed, unsigned home, const struct mpio_conf *conf)
{
    struct call c = { .conf = conf };

    fake_world(seed);
    memset(&rig, 0, sizeof(rig));
    rig.home = fake.rt[home];
    sim_call(rig.home, do_disk, &c);
}

static inline void do_sess(void *arg)
{
    struct call *c = arg;
    struct ini_sess *s = &fake.sess[c->i];
    char name[16];

    s->rt = rt_self();
    snprintf(name, sizeof(name), "s%u", c->i);
    assert_int_equal(mpio_nexus_new(&rig.nexus[c->i], s, name), 0);
    s->nexus = rig.nexus[c->i];
    fake_login(s);
}

static inline void sess_make(unsigned i, unsigned core)
{
    struct call c = { .i = i };

    sim_call(fake.rt[core], do_sess, &c);
}

static inline void on_opened(void *user, int err, const char *why)
{
    rig.opened++;
    rig.open_err = err;
}

static inline void do_open(void *arg)
{
    struct call *c = arg;

    assert_int_equal(mpio_path_open(&rig.path[c->i], rig.nexus[c->i], (uint16_t)c->n, on_opened, NULL), 0);
}

static inline void path_make(unsigned i, unsigned lun)
{
    struct call c = { .i = i, .n = lun };
    const unsigned was = rig.opened;

    sim_call(mpio_nexus_rt(rig.nexus[i]), do_open, &c);
    run(RT_MS);
    assert_int_equal(rig.opened, was + 1);
}

static inline void on_joined(void *user, int err, const char *why)
{
    rig.joins++;
    rig.join_err = err;
    snprintf(rig.join_why, sizeof(rig.join_why), "%s", why ? why : "");
}

static inline void do_join(void *arg)
{
    struct call *c = arg;

    mpio_disk_join(rig.disk, rig.path[c->i], on_joined, NULL);
}

static inline int join(unsigned i)
{
    struct call c = { .i = i };
    const unsigned was = rig.joins;

    sim_call(rig.home, do_join, &c);
    run(2 * RT_MS);
    assert_int_equal(rig.joins, was + 1);
    return rig.join_err;
}

/* A session on @core with a path to unit 0 that is in the disk. */
static inline void way(unsigned i, unsigned core)
{
    sess_make(i, core);
    path_make(i, 0);
    assert_int_equal(join(i), 0);
}

static inline void on_left(void *user)
{
    rig.left++;
}

static inline void do_leave(void *arg)
{
    struct call *c = arg;

    mpio_disk_leave(rig.disk, rig.path[c->i], on_left, NULL);
}

static inline void leave(unsigned i)
{
    struct call c = { .i = i };

    sim_call(rig.home, do_leave, &c);
}

static inline void do_close(void *arg)
{
    struct call *c = arg;

    mpio_path_close(rig.path[c->i]);
    rig.path[c->i] = NULL;
}

static inline void path_end(unsigned i)
{
    struct call c = { .i = i };

    sim_call(mpio_nexus_rt(rig.nexus[i]), do_close, &c);
}

static inline void do_nexus_free(void *arg)
{
    struct call *c = arg;

    mpio_nexus_free(rig.nexus[c->i]);
    rig.nexus[c->i] = NULL;
}

static inline void do_disk_free(void *arg)
{
    mpio_disk_free(rig.disk);
}

static inline void do_answer_all(void *arg)
{
    struct call *c = arg;

    for (unsigned i = 0; i < FAKE_LUNS; i++)
        if (fake.lun[i].used && fake.lun[i].s == &fake.sess[c->i])
            while (fake_answer(&fake.lun[i], 0, c->a))
                ;
}

static inline void answer_all(unsigned i)
{
    struct call c = { .i = i };

    sim_call(fake.sess[i].rt, do_answer_all, &c);
}

static inline void do_break(void *arg)
{
    fake_break(&fake.sess[((struct call *)arg)->i]);
}
static inline void do_login(void *arg)
{
    fake_login(&fake.sess[((struct call *)arg)->i]);
}

static inline void break_sess(unsigned i)
{
    struct call c = { .i = i };

    sim_call(fake.sess[i].rt, do_break, &c);
}

static inline void login_sess(unsigned i)
{
    struct call c = { .i = i };

    sim_call(fake.sess[i].rt, do_login, &c);
}

/* All that was made goes, in order; nothing may be under way. */
static inline void rig_end(void)
{
    unsigned leaving = 0, left = rig.left;

    for (unsigned i = 0; i < FAKE_SESSES; i++)
        if (rig.nexus[i] && !fake.sess[i].up)
            login_sess(i);
    run(5 * RT_MS);
    for (unsigned i = 0; i < FAKE_SESSES; i++)
        if (rig.path[i] && rig.path[i]->disk && !rig.path[i]->leaving) {
            leave(i);
            leaving++;
        }
    run(RT_S);
    assert_int_equal(rig.left, left + leaving);
    sim_call(rig.home, do_disk_free, NULL);
    for (unsigned i = 0; i < FAKE_SESSES; i++) {
        struct call c = { .i = i };

        if (rig.path[i])
            path_end(i);
        if (rig.nexus[i]) {
            assert_int_equal(atomic_load(&rig.nexus[i]->requests), 0);
            assert_int_equal(atomic_load(&rig.nexus[i]->bytes), 0);
            sim_call(mpio_nexus_rt(rig.nexus[i]), do_nexus_free, &c);
        }
        assert_int_equal(fake.sess[i].bufs, 0);
    }
    fake_world_end();
}

/* ---- requests ---- */

static inline void on_done(struct mpio_io *io, int res)
{
    struct req *r = container_of(io, struct req, io);

    assert_false(r->done);
    r->done++;
    r->res = res;
    rig.order[rig.order_nr++ % REQS] = (unsigned)(r - rig.req);
}

static inline void do_submit(void *arg)
{
    struct call *c = arg;
    struct req *r = &rig.req[c->i];

    memset(&r->io, 0, sizeof(r->io));
    r->done = 0;
    r->iov = (struct iovec){ &r->data, FAKE_BLOCK };
    r->io.io.op = (uint8_t)c->a;
    r->io.io.off = c->a == INI_FLUSH ? 0 : (uint64_t)c->n * FAKE_BLOCK;
    r->io.io.len = c->a == INI_FLUSH ? 0 : FAKE_BLOCK;
    r->io.io.iov = &r->iov;
    r->io.io.iov_nr = 1;
    r->io.done = on_done;
    mpio_submit(rig.disk, &r->io);
    assert_false(r->done); /* never from inside */
}

/* Request @i on block @i. */
static inline void submit(unsigned i, enum ini_io_op op)
{
    struct call c = { .i = i, .n = i % FAKE_BLOCKS, .a = op };

    if (op == INI_WRITE)
        rig.req[i].data = 1000 + i;
    sim_call(rig.home, do_submit, &c);
}

static inline void do_conf(void *arg)
{
    mpio_disk_conf_set(rig.disk, ((struct call *)arg)->conf);
}

static inline void conf_set(const struct mpio_conf *conf)
{
    struct call c = { .conf = conf };

    sim_call(rig.home, do_conf, &c);
}

static inline void do_admin(void *arg)
{
    struct call *c = arg;

    mpio_disk_path_admin(rig.disk, rig.path[c->i], c->a);
}

static inline void admin(unsigned i, bool failed)
{
    struct call c = { .i = i, .a = failed };

    sim_call(rig.home, do_admin, &c);
}

static inline void do_fail(void *arg)
{
    mpio_disk_fail(rig.disk, -EIO);
}
static inline void do_no_path_fail(void *arg)
{
    mpio_disk_no_path_fail(rig.disk);
}

/* Of the unit behind path @i: what is outstanding there. */
static inline unsigned there(unsigned i)
{
    return rig.path[i]->lun ? rig.path[i]->lun->ios_nr : 0;
}

static inline struct mpio_path_info info(unsigned i)
{
    struct mpio_path_info out;

    mpio_disk_path_info(rig.disk, rig.path[i], &out);
    return out;
}

static inline void do_alua(void *arg)
{
    struct call *c = arg;
    struct ini_lun *l = rig.path[c->i]->lun;

    l->alua.state = (uint8_t)c->a;
    l->alua.is_implicit = true;
    l->alua.is_explicit = c->n;
    l->event(l->user, INI_LUN_ALUA);
}

static inline void alua(unsigned i, enum ini_alua_state st, bool is_explicit)
{
    struct call c = { .i = i, .a = (int)st, .n = is_explicit };

    sim_call(fake.sess[i].rt, do_alua, &c);
    run(RT_MS);
}

static inline void on_moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    rig.moves++;
    rig.move_err = err;
}

static inline void do_move(void *arg)
{
    struct call *c = arg;

    mpio_nexus_move(rig.nexus[c->i], c->rt, RT_S, on_moved, NULL);
}

static inline void move(unsigned i, unsigned core)
{
    struct call c = { .i = i, .rt = fake.rt[core] };

    sim_call(mpio_nexus_rt(rig.nexus[i]), do_move, &c);
}

static inline struct mpio_conf conf_of(enum mpio_policy policy)
{
    struct mpio_conf c;

    mpio_conf_default(&c);
    c.policy = policy;
    return c;
}

static inline void do_gone(void *arg)
{
    struct ini_lun *l = rig.path[((struct call *)arg)->i]->lun;

    l->err = -ENODEV;
    rt_list_for_safe (at, &l->ios)
        fake_end(l, rt_list_entry(at, struct ini_io, link), -ENODEV);
    l->event(l->user, INI_LUN_GONE);
}

#endif
