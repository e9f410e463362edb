/* test_poll.c - pollers of simulated cores: found by looking, found just before rest, woken; and never else */
#include "death.h"

#define DOOR  "/srv/door"
#define ITEMS 200u

/* What two programs share: plain memory does, it is one process. */
struct ring {
    uint64_t put, taken;
    bool asleep;
};

struct eater {
    struct rt_host *host;
    struct rt *rt;
    struct sim_prog *p;
    struct rt_poller poller;
    struct ring *ring;
    struct rt_sock *listener, *sock;
    struct rt_addr peer;
    struct noted acc;
    struct rt_op rx;
    bool forgets; /* to look again before it sleeps */
    bool told;    /* that it sleeps */
    unsigned rests, saved, woken, wrong, polls;
};

struct feeder {
    struct rt_host *host;
    struct rt *rt;
    struct sim_prog *p;
    struct rt_sock *sock;
    struct rt_timer timer;
    struct ring *ring;
    struct noted conn, tx;
    struct iovec iov;
    uint8_t byte;
    unsigned wakes;
    uint64_t gap_ns;
    struct sim_rng rng;
};

struct rig {
    struct sim *w;
    struct sim_machine *m;
    struct ring ring;
    struct eater e;
    struct feeder f;
    struct rt_addr at;
};

static int eater_main(void *arg)
{
    static const int cores[] = { 0 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 1 };
    struct eater *e = arg;
    const int err = rt_host_new(&e->host, &conf);

    if (!err)
        e->rt = rt_host_at(e->host, 0);
    return -err;
}

static int feeder_main(void *arg)
{
    static const int cores[] = { 1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 1 };
    struct feeder *f = arg;
    const int err = rt_host_new(&f->host, &conf);

    if (!err)
        f->rt = rt_host_at(f->host, 0);
    return -err;
}

static const struct sim_program eats = { .name = "eater", .main = eater_main };
static const struct sim_program feeds = { .name = "feeder", .main = feeder_main };

static bool eat(struct rt_poller *p)
{
    struct eater *e = container_of(p, struct eater, poller);

    e->polls++;
    e->wrong += e->told;
    if (e->ring->taken == e->ring->put)
        return false;
    e->ring->taken++;
    return true;
}

static bool eater_rest(struct rt_poller *p, bool asleep)
{
    struct eater *e = container_of(p, struct eater, poller);

    e->wrong += e->told == asleep;
    e->told = e->ring->asleep = asleep;
    if (!asleep)
        return true;
    e->rests++;
    if (e->forgets || e->ring->taken == e->ring->put)
        return true;
    e->saved++;
    return false;
}

static void woken(struct rt_op *op, int res)
{
    struct eater *e = container_of(op, struct eater, rx);

    e->woken++;
    if (res > 0)
        rt_recv_shared(e->sock, &e->rx);
}

static void do_receive(void *arg)
{
    struct eater *e = arg;

    e->rx.done = woken;
    rt_recv_shared(e->sock, &e->rx);
}

static void do_poll(void *arg)
{
    struct eater *e = arg;

    e->poller = (struct rt_poller){ .poll = eat, .rest = eater_rest };
    rt_poller_add(e->rt, &e->poller);
}

static void do_unpoll(void *arg)
{
    struct eater *e = arg;

    rt_poller_del(e->rt, &e->poller);
}

static void feed(struct rt_timer *t)
{
    struct feeder *f = container_of(t, struct feeder, timer);

    f->ring->put++;
    if (f->ring->asleep && f->sock) {
        f->ring->asleep = false;
        f->wakes++;
        f->iov = (struct iovec){ &f->byte, 1 };
        rt_send(f->sock, noted_op(&f->tx), &f->iov, 1);
    }
    if (f->ring->put < ITEMS)
        rt_timer_arm(f->rt, t, sim_rng_below(&f->rng, f->gap_ns));
}

static void do_feed(void *arg)
{
    struct feeder *f = arg;

    f->timer.fn = feed;
    rt_timer_arm(f->rt, &f->timer, 1);
}

static void do_listen(void *arg)
{
    struct rig *r = arg;

    assert_int_equal(rt_listen(r->e.rt, &r->at, &r->e.listener), 0);
    rt_accept(r->e.listener, noted_op(&r->e.acc), &r->e.sock, &r->e.peer);
}

static void do_connect(void *arg)
{
    struct rig *r = arg;

    rt_connect(r->f.rt, noted_op(&r->f.conn), &r->at, &r->f.sock);
}

static void rig_start(struct rig *r, uint64_t seed, bool connected)
{
    memset(r, 0, sizeof(*r));
    r->w = sim_new(seed);
    r->m = sim_machine_new(r->w, "m", 2);
    sim_fs_make(r->m, "/srv/disk", 1);
    r->e.ring = r->f.ring = &r->ring;
    r->f.rng = sim_rng(seed, 99);
    r->f.gap_ns = 60 * RT_US;
    assert_int_equal(sim_start(r->m, &eats, &r->e, &r->e.p), 0);
    assert_int_equal(sim_start(r->m, &feeds, &r->f, &r->f.p), 0);
    r->at = addr(DOOR);
    if (connected) {
        sim_call(r->e.rt, do_listen, r);
        sim_call(r->f.rt, do_connect, r);
        sim_run(r->w, RT_S);
        assert_true(r->e.sock && r->f.sock);
        sim_call(r->e.rt, do_receive, &r->e);
    }
    sim_call(r->e.rt, do_poll, &r->e);
}

static void test_work_is_found_by_looking_before_rest_and_when_woken(void **state)
{
    unsigned saved = 0, wakes = 0, looked = 0;
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        rig_start(&r, seed, true);
        sim_call(r.f.rt, do_feed, &r.f);
        sim_run(r.w, RT_S);
        assert_int_equal(r.ring.taken, ITEMS);
        assert_int_equal(r.e.wrong, 0);
        assert_true(r.e.told); /* it sleeps now, and costs nothing */
        assert_int_equal(r.e.woken, r.f.wakes);
        saved += r.e.saved;
        wakes += r.f.wakes;
        looked += ITEMS > r.e.saved + r.f.wakes;
        sim_free(r.w);
    }
    assert_true(saved && wakes && looked);
}

/* As a program does that forgets to look again, or to wake: some runs get stuck. */
static void test_a_wake_up_that_is_forgotten_is_missed(void **state)
{
    unsigned stuck = 0, through = 0;
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rig_start(&r, seed, seed & 1);
        r.e.forgets = seed & 1;
        r.f.gap_ns = 400;
        sim_call(r.f.rt, do_feed, &r.f);
        sim_run(r.w, RT_S);
        stuck += r.ring.taken < ITEMS;
        through += r.ring.taken == ITEMS;
        sim_free(r.w);
    }
    assert_true(stuck && through);
}

static void test_no_poller_no_turns(void **state)
{
    struct rt_stats before, after;
    struct rig r;

    (void)state;
    rig_start(&r, 1, false);
    sim_run(r.w, RT_S);
    assert_true(r.e.told);
    sim_call(r.e.rt, do_unpoll, &r.e);
    sim_run(r.w, RT_S);
    assert_false(r.e.told);
    rt_stats(r.e.rt, &before);
    r.e.polls = 0;
    sim_call(r.f.rt, do_feed, &r.f);
    sim_run(r.w, RT_S);
    rt_stats(r.e.rt, &after);
    assert_int_equal(r.e.polls, 0);
    assert_int_equal(after.turns, before.turns);
    sim_free(r.w);
}

static void do_interrupt(void *arg)
{
    rt_set_mode(((struct eater *)arg)->rt, RT_MODE_INTERRUPT, 0);
}

static void test_a_core_that_does_not_poll_rests_at_once(void **state)
{
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rig_start(&r, seed, true);
        sim_run(r.w, RT_S);
        sim_call(r.e.rt, do_interrupt, &r.e);
        sim_run(r.w, RT_S);
        r.e.polls = r.e.rests = 0;
        sim_call(r.e.rt, do_interrupt, &r.e);
        sim_run(r.w, RT_S);
        assert_int_equal(r.e.polls, 1);
        assert_int_equal(r.e.rests, 1);
        sim_free(r.w);
    }
}

static uint64_t print_of(uint64_t seed)
{
    struct rig r;
    uint64_t print;

    rig_start(&r, seed, true);
    sim_call(r.f.rt, do_feed, &r.f);
    sim_run(r.w, RT_S);
    print = sim_fingerprint(r.w);
    sim_free(r.w);
    return print;
}

static void test_the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++)
        assert_true(print_of(seed) == print_of(seed));
    assert_true(print_of(1) != print_of(2));
}

/* ---- several on a core -------------------------------------------------------------------------------- */

struct one {
    struct rt_poller poller;
    struct many *all;
    unsigned polls, rests, wakes;
    bool refuses, there;
};

struct many {
    struct rt *rt;
    struct one one[3];
    unsigned goes, takes; /* in its next poll, number goes deletes number takes */
};

static bool one_poll(struct rt_poller *p)
{
    struct one *o = container_of(p, struct one, poller);
    struct many *m = o->all;

    assert_true(o->there);
    o->polls++;
    if (o == &m->one[m->goes] && m->one[m->takes].there) {
        m->one[m->takes].there = false;
        rt_poller_del(m->rt, &m->one[m->takes].poller);
        return true;
    }
    return false;
}

static bool one_rest(struct rt_poller *p, bool asleep)
{
    struct one *o = container_of(p, struct one, poller);

    o->rests += asleep;
    o->wakes += !asleep;
    if (!asleep || !o->refuses)
        return true;
    o->refuses = false;
    return false;
}

static void test_pollers_may_delete_each_other(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        struct many m = { .goes = i % 3, .takes = i / 3 };
        struct sim *w = sim_new(i + 1);
        struct sim_prog *p;
        struct rt_host *h;

        m.rt = solo(sim_machine_new(w, "m", 2), &p, &h);
        for (unsigned k = 0; k < 3; k++) {
            m.one[k] =
                (struct one){ .all = &m, .there = true, .poller = { .poll = one_poll, .rest = one_rest } };
            rt_poller_add(m.rt, &m.one[k].poller);
        }
        assert_int_equal(rt_turn(m.rt, 0), 1);
        assert_false(m.one[m.takes].there);
        assert_int_equal(rt_turn(m.rt, RT_MS), 0);
        for (unsigned k = 0; k < 3; k++)
            assert_true(k == m.takes ? m.one[k].polls <= 1 : m.one[k].polls > 1);
        rt_host_free(h);
        sim_leave(w);
        sim_free(w);
    }
}

static void test_one_that_does_not_rest_wakes_all(void **state)
{
    struct many m = { .goes = 0, .takes = 0 };
    struct sim *w = sim_new(1);
    struct sim_prog *p;
    struct rt_host *h;
    uint64_t from;

    (void)state;
    m.rt = solo(sim_machine_new(w, "m", 2), &p, &h);
    rt_set_mode(m.rt, RT_MODE_INTERRUPT, 0);
    for (unsigned k = 0; k < 3; k++) {
        m.one[k] = (struct one){ .all = &m, .there = k, .poller = { .poll = one_poll, .rest = one_rest } };
        m.one[k].refuses = k == 1;
        if (k)
            rt_poller_add(m.rt, &m.one[k].poller);
    }
    from = sim_now(w);
    assert_int_equal(rt_turn(m.rt, 0), 0);
    assert_int_equal(m.one[1].rests + m.one[2].rests, 0); /* it does not wait, so it does not sleep */
    assert_int_equal(rt_turn(m.rt, RT_MS), 0);
    assert_int_equal(sim_now(w), from + RT_MS);
    assert_false(m.one[1].refuses);
    assert_int_equal(m.one[1].rests, 2);
    for (unsigned k = 1; k < 3; k++)
        assert_int_equal(m.one[k].wakes, 2);
    rt_host_free(h);
    sim_leave(w);
    sim_free(w);
}

/* ---- misuse ------------------------------------------------------------------------------------------- */

static void spin_little(struct sim *w)
{
    struct sim_sched s;

    sim_sched_get(w, &s);
    s.spin_max = 10000;
    sim_sched_set(w, &s);
}

static bool always(struct rt_poller *p)
{
    return true;
}

static bool never_rests(struct rt_poller *p, bool asleep)
{
    return !asleep;
}

static void die_of_work_that_never_ends(void)
{
    struct rig r;

    rig_start(&r, 1, false);
    spin_little(r.w);
    r.e.poller.poll = always;
    sim_run(r.w, RT_S);
}

static void die_of_a_core_that_never_rests(void)
{
    struct rig r;

    rig_start(&r, 1, false);
    spin_little(r.w);
    r.e.poller.rest = never_rests;
    sim_run(r.w, RT_S);
}

static void die_of_a_poller_deleted_twice(void)
{
    struct rig r;

    rig_start(&r, 1, false);
    sim_call(r.e.rt, do_unpoll, &r.e);
    sim_call(r.e.rt, do_unpoll, &r.e);
}

static void test_misuse_is_caught(void **state)
{
    (void)state;
    expect_death(die_of_work_that_never_ends, "the core spins");
    expect_death(die_of_a_core_that_never_rests, "the core spins");
    expect_death(die_of_a_poller_deleted_twice, "rt->pollers == p");
}

/* ---- frozen programs ---------------------------------------------------------------------------------- */

static void test_a_frozen_program_does_nothing_and_then_goes_on(void **state)
{
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const uint64_t before = seed * 5;
        uint64_t taken;

        rig_start(&r, seed, true);
        sim_call(r.f.rt, do_feed, &r.f);
        while (r.ring.put < before)
            assert_true(sim_step(r.w));
        sim_freeze(r.e.p, true);
        assert_true(sim_frozen(r.e.p));
        taken = r.ring.taken;
        sim_run(r.w, 5 * RT_S);
        assert_int_equal(r.ring.put, ITEMS);
        assert_int_equal(r.ring.taken, taken);
        sim_freeze(r.e.p, false);
        assert_false(sim_frozen(r.e.p));
        sim_run(r.w, RT_S);
        assert_int_equal(r.ring.taken, ITEMS);
        sim_free(r.w);
    }
}

static void test_a_frozen_programs_timers_come_late_and_in_order(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 1, true);
    sim_call(r.f.rt, do_feed, &r.f);
    sim_run(r.w, RT_MS);
    sim_freeze(r.f.p, true);
    sim_freeze(r.f.p, true); /* once is enough */
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_FREEZE), 1);
    sim_run(r.w, 10 * RT_S);
    assert_true(r.ring.put < ITEMS);
    sim_calm(r.w);
    sim_run(r.w, RT_S);
    assert_int_equal(r.ring.taken, ITEMS);
    sim_free(r.w);
}

static void do_stop(void *arg)
{
    rt_host_stop(((struct eater *)arg)->host);
}

struct job {
    struct rt_work work;
    struct rt *rt;
    bool ran, back;
};

static void job_run(struct rt_work *work)
{
    container_of(work, struct job, work)->ran = true;
}

static void job_back(struct rt_work *work)
{
    container_of(work, struct job, work)->back = true;
}

static void do_job(void *arg)
{
    struct job *j = arg;

    j->work = (struct rt_work){ .run = job_run, .done = job_back };
    rt_work(j->rt, &j->work);
}

static void test_helpers_of_a_frozen_program_are_frozen_too(void **state)
{
    struct job j = { 0 };
    struct rig r;

    (void)state;
    rig_start(&r, 1, false);
    j.rt = r.e.rt;
    sim_call(r.e.rt, do_job, &j);
    sim_freeze(r.e.p, true);
    sim_run(r.w, RT_S);
    assert_false(j.ran || j.back);
    sim_freeze(r.e.p, false);
    sim_run(r.w, RT_S);
    assert_true(j.ran && j.back);
    sim_free(r.w);
}

static void test_a_frozen_program_can_be_killed_and_ends_when_it_goes_on(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 1, false);
    sim_freeze(r.e.p, true);
    sim_kill(r.e.p);
    assert_false(sim_prog_runs(r.e.p));
    sim_freeze(r.e.p, false);
    sim_free(r.w);

    rig_start(&r, 1, false);
    sim_call(r.e.rt, do_stop, &r.e);
    sim_freeze(r.e.p, true);
    sim_run(r.w, RT_S);
    assert_true(sim_prog_runs(r.e.p));
    sim_freeze(r.e.p, false);
    sim_run(r.w, RT_S);
    assert_false(sim_prog_runs(r.e.p));
    sim_free(r.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_is_found_by_looking_before_rest_and_when_woken),
        cmocka_unit_test(test_a_wake_up_that_is_forgotten_is_missed),
        cmocka_unit_test(test_no_poller_no_turns),
        cmocka_unit_test(test_a_core_that_does_not_poll_rests_at_once),
        cmocka_unit_test(test_the_same_seed_is_the_same_run),
        cmocka_unit_test(test_pollers_may_delete_each_other),
        cmocka_unit_test(test_one_that_does_not_rest_wakes_all),
        cmocka_unit_test(test_misuse_is_caught),
        cmocka_unit_test(test_a_frozen_program_does_nothing_and_then_goes_on),
        cmocka_unit_test(test_a_frozen_programs_timers_come_late_and_in_order),
        cmocka_unit_test(test_helpers_of_a_frozen_program_are_frozen_too),
        cmocka_unit_test(test_a_frozen_program_can_be_killed_and_ends_when_it_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
