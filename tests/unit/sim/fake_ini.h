/*
 * fake_ini.h - sessions and units that do what a test says, behind initiator/ini.h, on simulated cores
 *
 * Stands in for the initiator at link time: include it in one file of a program. A unit is a few numbered blocks that all
 * sessions reach. What a session had sent when it broke may be carried out until the target has ended it: by the session's
 * next login, by a fence, by a reset of the unit. Until then it is a ghost, and a test can have it haunt.
 */
#ifndef FAKE_INI_H
#define FAKE_INI_H

#include "sim_test.h"

#include "mpio/mpio_internal.h"

#define FAKE_BLOCKS 64u
#define FAKE_BLOCK  512u
#define FAKE_GHOSTS 256u
#define FAKE_SESSES 12u
#define FAKE_LUNS   (2 * FAKE_SESSES)

struct ghost {
    struct ini_lun *lun;
    uint64_t off, len, value;
};

struct ini_sess {
    struct rt *rt;
    struct mpio_nexus *nexus;
    char target[64], portal[64];
    uint16_t tpgt;
    bool up, shm, moving;
    bool refuses; /* takes no request, whatever it says of itself */
    bool slow;    /* calls to its units are answered by fake_calls_end() */
    uint32_t watch_ms;
    unsigned drops, fences, resets, moves, bufs, aborts;
    struct ghost ghost[FAKE_GHOSTS];
    unsigned ghosts_nr;
    struct rt_timer back; /* what its connection had is given back */

    int fence_res; /* what a fence says */
    uint64_t fence_ns, reset_ns;
    int reset_err;
    bool fencing;
    char fence_portal[64];
    struct rt_timer fence;
    void (*fence_done)(void *user, int err);
    void *fence_user;
    bool resetting;
    struct rt_timer reset;
    uint16_t reset_lun;
    void (*reset_done)(void *user, int resp, int err);
    void *reset_user;

    struct rt *to;
    int move_err;
    struct rt_msg move_msg;
    struct rt_timer move;
    void (*move_done)(void *user, int err, const char *why, uint64_t pause_ns);
    void *move_user;
};

struct ini_lun {
    bool used;
    struct ini_sess *s;
    uint16_t nr;
    struct ini_lun_info info;
    struct ini_alua alua;
    struct ini_lun **out;
    void (*opened)(void *user, int err, const char *why);
    void (*event)(void *user, enum ini_event ev);
    void *user;
    bool open, hand, paused, changes; /* changes: another unit, when it is looked over next */
    int err, open_err;
    struct rt_link ios; /* outstanding; io->left: 1 sent, 2 carried out, 3 lost by a reset */
    struct rt_link ending;
    unsigned ios_nr, submits;
    struct rt_timer timer, resume, probe;
    bool activated;
    void (*abort_done)(void *user, int err);
    void *abort_user;
    void (*activate_done)(void *user, int err);
    void *activate_user;
};

/* The world of one test. */
static struct fake {
    struct sim *w;
    struct sim_prog *prog;
    struct rt_host *host;
    struct rt *rt[4];
    uint64_t medium[FAKE_BLOCKS];
    struct ini_sess sess[FAKE_SESSES];
    struct ini_lun lun[FAKE_LUNS];
    char wwid[FAKE_LUNS][32]; /* by number: what a unit is when it is opened */
    uint64_t size;
    unsigned wrong;
    bool by_itself; /* commands are carried out and answered by themselves, sooner or later */
    struct sim_rng rng;
} fake;

static inline uint64_t fake_ns(uint64_t most)
{
    return sim_rng_below(&fake.rng, most);
}

/* ---- carrying out ---------------------------------------------------------------------------------------- */

static inline void fake_write(uint64_t off, uint64_t len, uint64_t value)
{
    for (uint64_t b = off / FAKE_BLOCK; b < (off + len) / FAKE_BLOCK; b++)
        fake.medium[b] = value;
}

static inline void fake_exec(struct ini_io *io)
{
    uint64_t *data = io->iov ? io->iov->iov_base : NULL;

    if (io->left != 1)
        return;
    io->left = 2;
    fake.wrong += strcmp(io->lun->info.wwid, "naa.unit0") != 0;
    if (io->op == INI_WRITE)
        fake_write(io->off, io->len, *data);
    else if (io->op == INI_READ)
        *data = fake.medium[io->off / FAKE_BLOCK];
}

static inline void fake_end(struct ini_lun *l, struct ini_io *io, int res)
{
    rt_list_del(&io->link);
    io->res = res;
    rt_list_push(&l->ending, &io->link);
    if (!rt_timer_armed(&l->timer))
        rt_timer_arm(l->s->rt, &l->timer, fake_ns(2000));
}

static inline void fake_ending(struct rt_timer *t)
{
    struct ini_lun *l = container_of(t, struct ini_lun, timer);
    struct rt_link mine, *at;

    rt_list_init(&mine);
    while ((at = rt_list_pop(&l->ending)))
        rt_list_push(&mine, at);
    while ((at = rt_list_pop(&mine))) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);

        l->ios_nr--;
        io->done(io, io->res);
    }
}

/* The @n-th that is outstanding is carried out and answered. Return: whether there is one. */
static inline bool fake_answer(struct ini_lun *l, unsigned n, int res)
{
    rt_list_for (at, &l->ios) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);

        if (n--)
            continue;
        if (!l->s->up || !io->left || io->left == 3)
            return false;
        if (!res)
            fake_exec(io);
        fake_end(l, io, res);
        return true;
    }
    return false;
}

static inline void fake_haunt(struct ini_sess *s, unsigned n)
{
    if (n < s->ghosts_nr)
        fake_write(s->ghost[n].off, s->ghost[n].len, s->ghost[n].value);
}

static inline void fake_exorcise(struct ini_sess *s)
{
    s->ghosts_nr = 0;
}

/* ---- sessions -------------------------------------------------------------------------------------------- */

struct rt *ini_sess_rt(const struct ini_sess *s)
{
    return s->rt;
}

void ini_sess_info(const struct ini_sess *s, struct ini_sess_info *out)
{
    memset(out, 0, sizeof(*out));
    snprintf(out->target, sizeof(out->target), "%s", s->target);
    snprintf(out->portal, sizeof(out->portal), "%s", s->portal);
    out->tpgt = s->tpgt;
    out->transport = s->shm ? "shm" : "tcp";
    snprintf(out->why, sizeof(out->why), "%s", s->up ? "" : "broken by the test");
}

void ini_sess_watch(struct ini_sess *s, uint32_t silence_ms)
{
    rt_assert_here(s->rt);
    assert(!s->moving);
    s->watch_ms = silence_ms;
}

static inline void fake_ghosts(struct ini_lun *l)
{
    rt_list_for (at, &l->ios) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);
        struct ini_sess *s = l->s;

        if (io->left != 1 || io->op != INI_WRITE)
            continue;
        assert(s->ghosts_nr < FAKE_GHOSTS);
        s->ghost[s->ghosts_nr++] = (struct ghost){ l, io->off, io->len, *(uint64_t *)io->iov->iov_base };
    }
}

static inline void fake_give_back(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, back);

    for (unsigned i = 0; i < FAKE_LUNS; i++) {
        struct ini_lun *l = &fake.lun[i];

        if (!l->used || l->s != s || !l->open)
            continue;
        rt_list_for_safe (at, &l->ios) {
            struct ini_io *io = rt_list_entry(at, struct ini_io, link);
            const bool idem = io->op == INI_READ || io->op == INI_FLUSH;
            const bool left = io->left;

            io->left = 0;
            if (l->err)
                fake_end(l, io, l->err);
            else if (l->hand)
                fake_end(l, io, left && !idem ? -ECONNABORTED : -ENOTCONN);
        }
    }
}

/* On its core. */
static inline void fake_break(struct ini_sess *s)
{
    rt_assert_here(s->rt);
    if (!s->up || s->moving)
        return;
    s->up = false;
    for (unsigned i = 0; i < FAKE_LUNS; i++) {
        struct ini_lun *l = &fake.lun[i];
        const bool was = l->paused;

        if (!l->used || l->s != s || !l->open)
            continue;
        fake_ghosts(l);
        rt_timer_disarm(s->rt, &l->resume);
        l->paused = true;
        if (!was && !l->err)
            l->event(l->user, INI_LUN_PAUSED);
    }
    mpio_nexus_down(s->nexus, -ECONNRESET, "broken by the test");
    s->back.fn = fake_give_back;
    rt_timer_arm(s->rt, &s->back, fake_ns(20000));
    if (s->resetting) {
        s->resetting = false;
        rt_timer_disarm(s->rt, &s->reset);
        s->reset_done(s->reset_user, -1, -ECONNRESET);
    }
}

void ini_sess_drop(struct ini_sess *s, const char *why)
{
    (void)why;
    s->drops++;
    fake_break(s);
}

static inline void fake_resume(struct rt_timer *t)
{
    struct ini_lun *l = container_of(t, struct ini_lun, resume);

    if (l->err || !l->paused)
        return;
    if (l->changes) {
        l->err = -ENODEV;
        rt_list_for_safe (at, &l->ios)
            fake_end(l, rt_list_entry(at, struct ini_io, link), l->hand ? -ENOTCONN : -ENODEV);
        l->event(l->user, INI_LUN_CHANGED);
        return;
    }
    rt_list_for (at, &l->ios)
        rt_list_entry(at, struct ini_io, link)->left = 1;
    l->paused = false;
    l->event(l->user, INI_LUN_RESUMED);
}

static inline void fake_fenced(struct rt_timer *t);

static inline void fake_login(struct ini_sess *s)
{
    rt_assert_here(s->rt);
    if (s->up || s->moving)
        return;
    if (rt_timer_armed(&s->back)) {
        rt_timer_disarm(s->rt, &s->back);
        fake_give_back(&s->back);
    }
    s->up = true;
    fake_exorcise(s);
    mpio_nexus_up(s->nexus);
    if (s->fencing)
        rt_timer_arm(s->rt, &s->fence, 0);
    for (unsigned i = 0; i < FAKE_LUNS; i++) {
        struct ini_lun *l = &fake.lun[i];

        if (!l->used || l->s != s || !l->open)
            continue;
        l->resume.fn = fake_resume;
        rt_timer_arm(s->rt, &l->resume, fake_ns(100000));
    }
}

static inline void fake_fenced(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, fence);
    const int err = s->up ? 0 : s->fence_res;

    s->fencing = false;
    if (!err && !s->up)
        fake_exorcise(s);
    s->fence_done(s->fence_user, err);
}

void ini_sess_fence(struct ini_sess *s, const struct iscsi_portal *portal, void (*done)(void *user, int err),
                    void *user)
{
    rt_assert_here(s->rt);
    assert(!s->fencing && !s->moving);
    s->fences++;
    s->fencing = true;
    snprintf(s->fence_portal, sizeof(s->fence_portal), "%.60s", portal->host);
    s->fence_done = done;
    s->fence_user = user;
    s->fence.fn = fake_fenced;
    rt_timer_arm(s->rt, &s->fence, s->fence_ns);
}

static inline void fake_was_reset(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, reset);

    s->resetting = false;
    if (!s->reset_err) {
        for (unsigned i = 0; i < FAKE_SESSES; i++)
            fake_exorcise(&fake.sess[i]);
        for (unsigned i = 0; i < FAKE_LUNS; i++) {
            struct ini_lun *l = &fake.lun[i];

            if (!l->used || l->s == s || !l->open)
                continue;
            rt_list_for (at, &l->ios) {
                struct ini_io *io = rt_list_entry(at, struct ini_io, link);

                io->left = io->left ? 3 : 0;
            }
        }
    }
    s->reset_done(s->reset_user, s->reset_err ? 5 : 0, 0);
}

void ini_lun_reset(struct ini_sess *s, uint16_t lun, void (*done)(void *user, int resp, int err), void *user)
{
    rt_assert_here(s->rt);
    assert(!s->moving);
    s->resets++;
    if (!s->up || s->resetting) {
        done(user, -1, s->up ? -EBUSY : -ENOTCONN);
        return;
    }
    s->resetting = true;
    s->reset_lun = lun;
    s->reset_done = done;
    s->reset_user = user;
    s->reset.fn = fake_was_reset;
    rt_timer_arm(s->rt, &s->reset, s->reset_ns);
}

/* ---- moves ----------------------------------------------------------------------------------------------- */

static inline void fake_arrived(struct rt_msg *m)
{
    struct ini_sess *s = container_of(m, struct ini_sess, move_msg);

    s->moving = false;
    s->moves++;
    s->move_done(s->move_user, 0, NULL, 1);
}

static inline void fake_move_now(struct rt_timer *t)
{
    struct ini_sess *s = container_of(t, struct ini_sess, move);

    for (unsigned i = 0; i < FAKE_LUNS; i++) {
        struct ini_lun *l = &fake.lun[i];

        if (l->used && l->s == s && l->open && (l->ios_nr || rt_timer_armed(&l->timer))) {
            /* Those under way are answered first. */
            while (fake_answer(l, 0, 0))
                ;
            rt_timer_arm(s->rt, &s->move, 5000);
            return;
        }
        if (l->used && l->s == s && rt_timer_armed(&l->resume)) {
            rt_timer_arm(s->rt, &s->move, 5000);
            return;
        }
    }
    if (s->move_err) {
        s->moving = false;
        s->move_done(s->move_user, s->move_err, "told to fail", 1);
        return;
    }
    s->rt = s->to;
    s->move_msg.fn = fake_arrived;
    rt_post(s->to, &s->move_msg);
}

void ini_sess_move(struct ini_sess *s, struct rt *to, uint64_t limit_ns,
                   void (*done)(void *user, int err, const char *why, uint64_t pause_ns), void *user)
{
    (void)limit_ns;
    rt_assert_here(s->rt);
    assert(!s->moving && s->up);
    s->moving = true;
    s->to = to;
    s->move_done = done;
    s->move_user = user;
    s->move.fn = fake_move_now;
    rt_timer_arm(s->rt, &s->move, fake_ns(50000));
}

/* ---- units ----------------------------------------------------------------------------------------------- */

static inline void fake_look(struct ini_lun *l)
{
    l->info = (struct ini_lun_info){
        .size = fake.size, .block_len = FAKE_BLOCK, .phys_len = 4096, .io_max = 1 << 20, .write_cache = true
    };
    snprintf(l->info.wwid, sizeof(l->info.wwid), "%s", fake.wwid[l->nr]);
}

static inline void fake_probed(struct rt_timer *t)
{
    struct ini_lun *l = container_of(t, struct ini_lun, probe);

    if (l->open_err || !l->s->up) {
        l->used = false;
        *l->out = NULL;
        l->opened(l->user, l->open_err ? l->open_err : -ENOTCONN, "told to fail");
        return;
    }
    l->open = true;
    fake_look(l);
    *l->out = l;
    l->opened(l->user, 0, "");
}

static int fake_open_err;

int ini_lun_open(struct ini_sess *s, uint16_t lun, struct ini_lun **out,
                 void (*done)(void *user, int err, const char *why),
                 void (*event)(void *user, enum ini_event ev), void *user)
{
    struct ini_lun *l = NULL;

    rt_assert_here(s->rt);
    assert(!s->moving);
    for (unsigned i = 0; i < FAKE_LUNS; i++) {
        assert(!fake.lun[i].used || fake.lun[i].s != s || fake.lun[i].nr != lun);
        if (!fake.lun[i].used)
            l = &fake.lun[i];
    }
    assert(l);
    memset(l, 0, sizeof(*l));
    *l = (struct ini_lun){ .used = true,
                           .s = s,
                           .nr = lun,
                           .out = out,
                           .opened = done,
                           .event = event,
                           .user = user,
                           .open_err = fake_open_err };
    rt_list_init(&l->ios);
    rt_list_init(&l->ending);
    l->timer.fn = fake_ending;
    l->probe.fn = fake_probed;
    *out = NULL;
    rt_timer_arm(s->rt, &l->probe, fake_ns(100000));
    return 0;
}

void ini_lun_close(struct ini_lun *l)
{
    if (!l)
        return;
    rt_assert_here(l->s->rt);
    assert(l->open && !l->ios_nr && !l->s->moving);
    rt_timer_disarm(l->s->rt, &l->resume);
    rt_timer_disarm(l->s->rt, &l->timer);
    l->used = false;
}

void ini_lun_abandon(struct ini_lun *l, int err)
{
    rt_assert_here(l->s->rt);
    assert(!l->s->moving);
    l->err = l->err ? l->err : err;
    l->hand = false;
    rt_list_for_safe (at, &l->ios)
        fake_end(l, rt_list_entry(at, struct ini_io, link), l->err);
}

const struct ini_lun_info *ini_lun_info(const struct ini_lun *l)
{
    return &l->info;
}
const struct ini_alua *ini_lun_alua(const struct ini_lun *l)
{
    return &l->alua;
}
struct ini_sess *ini_lun_sess(const struct ini_lun *l)
{
    return l->s;
}

void ini_lun_activate(struct ini_lun *l, void (*done)(void *user, int err), void *user)
{
    rt_assert_here(l->s->rt);
    assert(!l->s->moving);
    l->activated = true;
    if (l->s->slow) {
        l->activate_done = done;
        l->activate_user = user;
    } else {
        done(user, 0);
    }
}

void ini_lun_hand_back(struct ini_lun *l, bool on)
{
    rt_assert_here(l->s->rt);
    assert(!l->s->moving);
    l->hand = on;
    if (!on || l->s->up || rt_timer_armed(&l->s->back) || l->err)
        return;
    rt_list_for_safe (at, &l->ios) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);
        bool haunts = false;

        for (unsigned i = 0; i < l->s->ghosts_nr; i++)
            haunts |= io->op == INI_WRITE && l->s->ghost[i].value == *(uint64_t *)io->iov->iov_base;
        fake_end(l, io, haunts ? -ECONNABORTED : -ENOTCONN);
    }
}

void ini_lun_abort_all(struct ini_lun *l, void (*done)(void *user, int err), void *user)
{
    rt_assert_here(l->s->rt);
    assert(!l->s->moving);
    l->s->aborts++;
    rt_list_for (at, &l->ios) {
        struct ini_io *io = rt_list_entry(at, struct ini_io, link);

        io->left = io->left ? 1 : 0;
    }
    if (l->s->slow) {
        assert(!l->abort_done);
        l->abort_done = done;
        l->abort_user = user;
    } else {
        done(user, 0);
    }
}

static inline void fake_calls_end(struct ini_lun *l)
{
    void (*const aborted)(void *user, int err) = l->abort_done;
    void (*const activated)(void *user, int err) = l->activate_done;

    l->abort_done = l->activate_done = NULL;
    if (aborted)
        aborted(l->abort_user, 0);
    if (activated)
        activated(l->activate_user, 0);
}

void ini_io_submit(struct ini_lun *l, struct ini_io *io)
{
    rt_assert_here(l->s->rt);
    assert(l->used && l->open && !l->s->moving);
    l->ios_nr++;
    l->submits++;
    io->lun = l;
    io->left = 0;
    rt_list_push(&l->ios, &io->link);
    if (l->err)
        fake_end(l, io, l->hand ? -ENOTCONN : l->err);
    else if ((!l->s->up || l->s->refuses) && l->hand)
        fake_end(l, io, -ENOTCONN);
    else if (l->s->up && !l->paused)
        io->left = 1;
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

void *ini_buf_get(struct ini_sess *s, size_t len)
{
    rt_assert_here(s->rt);
    assert(!s->moving);
    s->bufs++;
    return rt_mem_alloc(len);
}

void ini_buf_put(struct ini_sess *s, void *mem, size_t len)
{
    rt_assert_here(s->rt);
    assert(!s->moving && s->bufs);
    s->bufs--;
    rt_mem_free(mem, len);
}

bool ini_buf_good(const struct ini_sess *s, const void *mem, size_t len)
{
    (void)mem, (void)len;
    rt_assert_here(s->rt);
    return true;
}

/* ---- the world ------------------------------------------------------------------------------------------- */

static int fake_main(void *arg)
{
    static const int cores[] = { 0, 1, 2, 3 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 4 };

    (void)arg;
    if (rt_host_new(&fake.host, &conf))
        return 1;
    for (unsigned i = 0; i < 4; i++)
        fake.rt[i] = rt_host_at(fake.host, i);
    return 0;
}

static void fake_stopped(void *arg)
{
    (void)arg;
    rt_host_free(fake.host);
}

static const struct sim_program fake_program = { "disks", fake_main, fake_stopped };

static inline void fake_world(uint64_t seed)
{
    struct sim_machine *m;

    memset(&fake, 0, sizeof(fake));
    fake_open_err = 0;
    fake.size = FAKE_BLOCKS * FAKE_BLOCK;
    fake.rng = sim_rng(seed, 77);
    fake.w = sim_new(seed);
    m = sim_machine_new(fake.w, "host", 4);
    if (getenv("SIM_LOG"))
        sim_log_to(fake.w, line_print, NULL, RT_INFO);
    assert_int_equal(sim_start(m, &fake_program, NULL, &fake.prog), 0);
    for (unsigned i = 0; i < FAKE_LUNS; i++)
        snprintf(fake.wwid[i], sizeof(fake.wwid[i]), "naa.unit%u", i);
    for (unsigned i = 0; i < FAKE_SESSES; i++) {
        struct ini_sess *s = &fake.sess[i];

        s->rt = fake.rt[0];
        snprintf(s->target, sizeof(s->target), "iqn.2026-01.test:t");
        snprintf(s->portal, sizeof(s->portal), "10.0.0.%u:3260", i + 1);
        s->tpgt = 1;
        s->fence_ns = s->reset_ns = RT_MS;
    }
}

/* What the program has not freed is told by the world. */
static inline void fake_world_end(void)
{
    struct sim_prog_info i;

    rt_host_stop(fake.host);
    sim_run(fake.w, 10 * RT_S);
    sim_prog_info(fake.prog, &i);
    assert_int_equal(i.state, SIM_EXITED);
    assert_int_equal(i.leaked_blocks, 0);
    sim_free(fake.w);
}

#endif
