/*
 * test_disk.c - a disk over four sessions on reactors that run on threads of their own, against the real target, over TCP and
 * shared memory, while connections break, sessions move and paths fail, leave and join: all that is read is what was written
 *
 * ROUNDS=n: so many things that happen instead of 300.
 */
#include <semaphore.h>
#include "mpio/disk.h"
#include "verify.h"

#define WAYS   4u
#define SLOTS  48u
#define REGION (64u << 10) /* bytes: each slot's own part of the unit */

static struct load *load;

/* ---- a session, and a path over it ------------------------------------------------------------------------ */

enum doing { NOTHING, START, OPEN, DROP, MOVE, CLOSE, STOP };

struct way {
    struct ini_conf conf;
    struct rt *first; /* core */
    struct ini_sess *s;
    struct mpio_nexus *nexus;
    struct mpio_path *path;
    bool in, admin, up_told;
    /* One thing at a time: home's while it is NOTHING. */
    enum doing doing;
    struct rt_msg msg;
    struct rt *to;
    int err;
};

struct slot {
    struct mpio_io io;
    struct iovec iov[2];
    uint8_t *mem;
    uint32_t seed, len;
    bool reading, busy;
};

struct load {
    struct rt_host *host;
    struct rt *home;
    struct mpio_disk *disk;
    struct way way[WAYS];
    struct slot slot[SLOTS];
    struct rt_timer chaos;
    struct rt_msg go;
    unsigned rounds, rounds_max, ios, wrong, failed, moves, drops, leaves, busy, left;
    uint32_t seed;
    bool started, ending;
};

static uint32_t draw(uint32_t n)
{
    load->seed = verify_next(load->seed);
    return (load->seed >> 8) % n;
}

static void home_told(struct rt_msg *m);

/* Back to home: what was being done is over. */
static void way_back(struct way *w, int err)
{
    w->err = err;
    w->msg.fn = home_told;
    rt_post(load->home, &w->msg);
}

static void on_up(void *user)
{
    struct way *w = user;

    mpio_nexus_up(w->nexus);
    if (w->up_told)
        return;
    w->up_told = true;
    way_back(w, 0);
}

static void on_down(void *user, int err, const char *why)
{
    mpio_nexus_down(((struct way *)user)->nexus, err, why);
}

static void on_failed(void *user, int err, const char *why)
{
    struct way *w = user;

    mpio_nexus_failed(w->nexus, err, why);
    if (!w->up_told)
        way_back(w, err);
}

static void on_opened(void *user, int err, const char *why)
{
    (void)why;
    way_back(user, err);
}

static void on_moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    (void)why, (void)pause_ns;
    way_back(user, err);
}

static void on_stopped(void *user)
{
    way_back(user, 0);
}

static void way_there(struct rt_msg *m)
{
    static const struct ini_sess_events events = { .up = on_up, .down = on_down, .failed = on_failed };
    struct way *w = container_of(m, struct way, msg);
    int err;

    switch (w->doing) {
    case START:
        assert_int_equal(ini_sess_new(&w->s, rt_self(), &w->conf, &events, w), 0);
        assert_int_equal(mpio_nexus_new(&w->nexus, w->s, "way"), 0);
        ini_sess_start(w->s);
        return;
    case OPEN:
        err = mpio_path_open(&w->path, w->nexus, 0, on_opened, w);
        if (err)
            way_back(w, err);
        return;
    case DROP:
        ini_sess_drop(w->s, "dropped by the test");
        way_back(w, 0);
        return;
    case MOVE: mpio_nexus_move(w->nexus, w->to, 30 * RT_S, on_moved, w); return;
    case CLOSE:
        mpio_path_close(w->path);
        w->path = NULL;
        ini_sess_stop(w->s, true, on_stopped, w);
        return;
    case STOP:
        mpio_nexus_free(w->nexus);
        ini_sess_free(w->s);
        way_back(w, 0);
        return;
    case NOTHING: break;
    }
    fail();
}

static void way_do(struct way *w, enum doing what)
{
    assert_int_equal(w->doing, NOTHING);
    w->doing = what;
    w->msg.fn = way_there;
    rt_post(what == START ? w->first : mpio_nexus_rt(w->nexus), &w->msg);
}

/* ---- load ------------------------------------------------------------------------------------------------ */

static void io_done(struct mpio_io *io, int res);

static void slot_go(struct slot *x)
{
    const unsigned at = (unsigned)(x - load->slot);
    uint32_t cut;

    if (!x->reading) {
        x->seed = verify_next(x->seed);
        x->len = (x->seed >> 8) % 8 ? 4096 : ((x->seed >> 16) % (REGION / 512) + 1) * 512;
        verify_fill(x->mem, x->len, x->seed);
    } else {
        memset(x->mem, 0xee, x->len);
    }
    cut = x->seed % 3 ? x->len : x->len / 1024 * 512;
    x->iov[0] = (struct iovec){ x->mem, cut };
    x->iov[1] = (struct iovec){ x->mem + cut, x->len - cut };
    x->io = (struct mpio_io){ .io = { .op = x->reading ? INI_READ : INI_WRITE,
                                      .off = (uint64_t)at * REGION,
                                      .len = x->len,
                                      .iov = x->iov,
                                      .iov_nr = 2 },
                              .done = io_done };
    x->busy = true;
    load->busy++;
    mpio_submit(load->disk, &x->io);
}

static void ways_leave(void);

static void io_done(struct mpio_io *io, int res)
{
    struct slot *x = container_of(io, struct slot, io);

    rt_assert_here(load->home);
    assert_true(x->busy);
    x->busy = false;
    load->busy--;
    load->ios++;
    load->failed += res != 0;
    load->wrong += x->reading && !res && !verify_right(x->mem, x->len, x->seed);
    x->reading = !x->reading;
    if (!load->ending)
        slot_go(x);
    else if (!load->busy)
        ways_leave();
}

static void load_start(void)
{
    if (load->started)
        return;
    load->started = true;
    for (unsigned i = 0; i < SLOTS; i++) {
        load->slot[i].seed = i * 77777 + 1;
        load->slot[i].mem = mpio_buf_get(load->disk, REGION);
        assert_non_null(load->slot[i].mem);
        slot_go(&load->slot[i]);
    }
}

/* ---- what happens, at home ------------------------------------------------------------------------------- */

static void on_joined(void *user, int err, const char *why)
{
    struct way *w = user;

    if (err)
        fail_msg("join: %d: %s", err, why);
    w->in = true;
    w->doing = NOTHING;
    if (w == load->way) /* on home's core, with shared memory: requests have their memory from it */
        load_start();
}

static void on_left(void *user)
{
    struct way *w = user;
    const bool closes = w->doing == CLOSE;

    w->in = false;
    w->admin = false;
    w->doing = NOTHING;
    load->leaves++;
    if (closes)
        way_do(w, CLOSE);
}

static void home_told(struct rt_msg *m)
{
    struct way *w = container_of(m, struct way, msg);
    const enum doing was = w->doing;

    rt_assert_here(load->home);
    if (w->err && was != MOVE)
        fail_msg("%d: %d", was, w->err);
    w->doing = NOTHING;
    switch (was) {
    case START: way_do(w, OPEN); break;
    case OPEN:
        w->doing = OPEN; /* until it has joined */
        mpio_disk_join(load->disk, w->path, on_joined, w);
        break;
    case MOVE: load->moves += !w->err; break;
    case DROP: load->drops++; break;
    case CLOSE: way_do(w, STOP); break;
    case STOP:
        if (++load->left == WAYS) {
            mpio_disk_free(load->disk);
            rt_host_stop(load->host);
        }
        break;
    case NOTHING: fail();
    }
}

/* All requests are over. What is being done to a path is waited for first. */
static void ways_leave(void)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (load->way[i].doing != NOTHING || !load->way[i].in) {
            rt_timer_arm(load->home, &load->chaos, RT_MS);
            return;
        }
    rt_timer_disarm(load->home, &load->chaos);
    for (unsigned i = 0; i < SLOTS; i++)
        mpio_buf_put(load->disk, load->slot[i].mem, REGION);
    for (unsigned i = 0; i < WAYS; i++) {
        load->way[i].doing = CLOSE;
        mpio_disk_leave(load->disk, load->way[i].path, on_left, &load->way[i]);
    }
}

static unsigned in_nr(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < WAYS; i++)
        n += load->way[i].in && !load->way[i].admin;
    return n;
}

static void happen(struct way *w)
{
    struct mpio_conf conf;

    switch (draw(8)) {
    case 0:
    case 1: way_do(w, DROP); break;
    case 2:
    case 3:
    case 4:
        w->to = rt_host_at(load->host, draw(rt_host_count(load->host)));
        way_do(w, MOVE);
        break;
    case 5:
        if (!w->in || (!w->admin && in_nr() < 2))
            break;
        w->admin = !w->admin;
        mpio_disk_path_admin(load->disk, w->path, w->admin);
        break;
    case 6:
        /* The first has the memory of the requests, and would wait for it. */
        if (!w->in) {
            w->doing = OPEN;
            mpio_disk_join(load->disk, w->path, on_joined, w);
        } else if (w != load->way && in_nr() > 2) {
            w->doing = OPEN;
            w->in = false;
            mpio_disk_leave(load->disk, w->path, on_left, w);
        }
        break;
    default:
        mpio_conf_default(&conf);
        conf.policy = (enum mpio_policy)draw(MPIO_POLICIES);
        conf.scope = (enum mpio_scope)draw(2);
        conf.marginal_fails = 0;
        mpio_disk_conf_set(load->disk, &conf);
    }
}

static void chaos(struct rt_timer *t)
{
    struct way *w = &load->way[draw(WAYS)];

    if (load->ending) {
        for (unsigned i = 0; i < WAYS; i++) {
            w = &load->way[i];
            if (w->doing != NOTHING)
                continue;
            if (w->admin)
                mpio_disk_path_admin(load->disk, w->path, w->admin = false);
            if (!w->in) {
                w->doing = OPEN;
                mpio_disk_join(load->disk, w->path, on_joined, w);
            }
        }
        if (!load->busy)
            ways_leave();
        return;
    }
    if (load->started && w->doing == NOTHING) {
        happen(w);
        load->rounds++;
    }
    load->ending = load->rounds >= load->rounds_max;
    rt_timer_arm(load->home, t, RT_MS * (1 + draw(8)));
}

static void start(struct rt_msg *m)
{
    struct mpio_conf conf;

    (void)m;
    mpio_conf_default(&conf);
    conf.marginal_fails = 0;
    assert_int_equal(mpio_disk_new(&load->disk, load->home, &conf, NULL, NULL), 0);
    for (unsigned i = 0; i < WAYS; i++)
        way_do(&load->way[i], START);
    load->chaos.fn = chaos;
    rt_timer_arm(load->home, &load->chaos, RT_MS);
}

static void test_four_paths_on_three_cores_lose_nothing(void **state)
{
    static const int cores[] = { -1, -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 3 };
    const char *rounds = getenv("ROUNDS");

    (void)state;
    load = calloc(1, sizeof(*load));
    assert_non_null(load);
    assert_int_equal(rt_host_new(&load->host, &conf), 0);
    load->home = rt_host_at(load->host, 0);
    load->rounds_max = rounds ? (unsigned)strtoul(rounds, NULL, 0) : 300;
    load->seed = 1;
    for (unsigned i = 0; i < WAYS; i++) {
        struct way *w = &load->way[i];

        w->first = rt_host_at(load->host, i % 3);
        strcpy(w->conf.initiator, I_IQN);
        strcpy(w->conf.target, T_IQN);
        strcpy(w->conf.portal.host, "127.0.0.1");
        w->conf.portal.port = bed.port;
        ini_settings_default(&w->conf.set);
        w->conf.set.transport = i % 2 ? INI_TRANSPORT_TCP : INI_TRANSPORT_SHM;
    }
    load->go.fn = start;
    rt_post(load->home, &load->go);
    assert_int_equal(rt_host_run(load->host), 0);
    rt_host_free(load->host);
    print_message("%u requests, %u connections dropped, %u moves, %u paths left\n", load->ios, load->drops,
                  load->moves, load->leaves);
    assert_int_equal(load->wrong, 0);
    assert_int_equal(load->failed, 0);
    assert_true(load->ios > SLOTS);
    free(load);
}

static int bed_begin(void **state)
{
    (void)state;
    return verify_bed(SLOTS * REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_paths_on_three_cores_lose_nothing),
    };

    return cmocka_run_group_tests(tests, bed_begin, verify_bed_end);
}
