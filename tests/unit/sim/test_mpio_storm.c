/*
 * test_mpio_storm.c - all that can happen to the paths of a disk, at random instants, and what must hold all the same: no
 * request is lost or answered twice, and no write is carried out after a newer one was acknowledged
 *
 * MPIO_SEEDS=N plays as many; MPIO_SEED=N plays that one, SIM_LOG=1 with a log.
 */
#include "mpio_rig.h"

#define SLOTS   24u
#define STEP_NS (200 * RT_US)

struct slot {
    struct req *r;
    uint64_t acked;     /* what its block has to hold... */
    uint64_t maybe[64]; /* ...or any of these, of writes that ended in an error */
    unsigned maybe_nr;
    uint64_t next_ns;
    bool busy;
};

static struct storm {
    struct slot slot[SLOTS];
    struct sim_rng rng;
    struct sim_timer timer;
    unsigned sesses;
    uint64_t value, done, errors, haunts, moved;
    bool calm;
    unsigned joining[FAKE_SESSES], leaving[FAKE_SESSES], moving[FAKE_SESSES];
} st;

static uint64_t below(uint64_t n)
{
    return sim_rng_below(&st.rng, n);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static bool may_hold(const struct slot *s, uint64_t value)
{
    bool may = value == s->acked;

    for (unsigned i = 0; i < s->maybe_nr; i++)
        may |= value == s->maybe[i];
    return may;
}

static void slot_done(struct mpio_io *io, int res)
{
    struct req *r = container_of(io, struct req, io);
    struct slot *s = &st.slot[r - rig.req];

    assert_true(s->busy);
    s->busy = false;
    st.done++;
    st.errors += res != 0;
    s->next_ns = sim_now(fake.w) + below(3 * RT_MS);
    if (io->io.op == INI_WRITE && !res) {
        s->acked = r->data;
        s->maybe_nr = 0;
        assert_int_equal(fake.medium[r - rig.req], s->acked);
    } else if (io->io.op == INI_WRITE) {
        assert_true(s->maybe_nr < ARRAY_SIZE(s->maybe));
        s->maybe[s->maybe_nr++] = r->data;
    } else if (io->io.op == INI_READ && !res) {
        assert_true(may_hold(s, r->data));
    }
}

static void slot_go(void *arg)
{
    struct slot *s = arg;
    struct req *r = s->r;
    const uint64_t kind = below(10);
    const enum ini_io_op op = kind < 5 && s->maybe_nr < ARRAY_SIZE(s->maybe) ? INI_WRITE
                              : kind < 9                                     ? INI_READ
                                                                             : INI_FLUSH;

    memset(&r->io, 0, sizeof(r->io));
    r->data = op == INI_WRITE ? ++st.value : 0;
    r->iov = (struct iovec){ &r->data, FAKE_BLOCK };
    r->io.io.op = (uint8_t)op;
    r->io.io.off = op == INI_FLUSH ? 0 : (uint64_t)(s - st.slot) * FAKE_BLOCK;
    r->io.io.len = op == INI_FLUSH ? 0 : FAKE_BLOCK;
    r->io.io.iov = &r->iov;
    r->io.io.iov_nr = 1;
    r->io.done = slot_done;
    s->busy = true;
    mpio_submit(rig.disk, &r->io);
}

static void check(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (!st.slot[i].busy && !may_hold(&st.slot[i], fake.medium[i])) {
            fprintf(stderr, "block %u holds %llu, and was told to hold %llu\n", i,
                    (unsigned long long)fake.medium[i], (unsigned long long)st.slot[i].acked);
            fail();
        }
}

/* ---- what happens ---------------------------------------------------------------------------------------- */

static void storm_joined(void *user, int err, const char *why)
{
    assert_true(!err || err == -EXDEV); /* it led astray before it was in */
    (*(unsigned *)user)--;
}

static void storm_left(void *user)
{
    (*(unsigned *)user)--;
}

static void storm_moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    (*(unsigned *)user)--;
    st.moved += !err;
}

static void go_join(void *arg)
{
    const unsigned i = *(unsigned *)arg;

    st.joining[i]++;
    mpio_disk_join(rig.disk, rig.path[i], storm_joined, &st.joining[i]);
}

static void go_leave(void *arg)
{
    const unsigned i = *(unsigned *)arg;

    st.leaving[i]++;
    mpio_disk_leave(rig.disk, rig.path[i], storm_left, &st.leaving[i]);
}

static void go_admin(void *arg)
{
    const unsigned i = *(unsigned *)arg;

    mpio_disk_path_admin(rig.disk, rig.path[i], !below(3));
}

static void go_move(void *arg)
{
    const unsigned i = *(unsigned *)arg;

    st.moving[i]++;
    mpio_nexus_move(rig.nexus[i], fake.rt[below(4)], RT_S, storm_moved, &st.moving[i]);
}

static void go_answer(void *arg)
{
    struct ini_lun *l = rig.path[*(unsigned *)arg]->lun;

    if (l && !l->err)
        (void)fake_answer(l, (unsigned)below(l->ios_nr + 1), 0);
}

/* Carried out, but the answer does not come. */
static void go_exec(void *arg)
{
    struct ini_lun *l = rig.path[*(unsigned *)arg]->lun;

    if (l && l->s->up)
        rt_list_for (at, &l->ios)
            if (!below(3))
                fake_exec(rt_list_entry(at, struct ini_io, link));
}

static void go_alua(void *arg)
{
    static const uint8_t states[] = { INI_ALUA_OPTIMIZED, INI_ALUA_OPTIMIZED, INI_ALUA_NON_OPTIMIZED,
                                      INI_ALUA_STANDBY, INI_ALUA_TRANSITIONING };
    struct ini_lun *l = rig.path[*(unsigned *)arg]->lun;

    if (!l || l->s->moving || !l->open)
        return;
    l->alua.state = states[below(ARRAY_SIZE(states))];
    l->alua.is_explicit = below(2);
    l->event(l->user, INI_LUN_ALUA);
}

/* Another unit will be found there after the next login; or there is none any more. */
static void go_astray(void *arg)
{
    struct ini_lun *l = rig.path[*(unsigned *)arg]->lun;

    if (!l || l->s->moving || !l->open || l->err)
        return;
    if (below(2)) {
        l->changes = true;
        return;
    }
    l->err = -ENODEV;
    rt_list_for_safe (at, &l->ios)
        fake_end(l, rt_list_entry(at, struct ini_io, link), l->hand ? -ENOTCONN : -ENODEV);
    l->event(l->user, INI_LUN_GONE);
}

static void go_break(void *arg)
{
    fake_break(&fake.sess[*(unsigned *)arg]);
}
static void go_login(void *arg)
{
    fake_login(&fake.sess[*(unsigned *)arg]);
}

static void go_conf(void *arg)
{
    struct mpio_conf c;

    mpio_conf_default(&c);
    c.policy = (enum mpio_policy)below(MPIO_POLICIES);
    c.scope = (enum mpio_scope)below(2);
    c.unit = (enum mpio_unit)below(2);
    c.grouping = (enum mpio_grouping)below(4);
    c.failback = (enum mpio_failback)below(3);
    c.failback_s = 1;
    c.no_path = (enum mpio_no_path)below(3);
    c.no_path_s = (uint32_t)below(3);
    c.suspect_ms = (uint32_t)below(3) * 5;
    c.marginal_fails = (uint32_t)below(4);
    c.marginal_hold_s = 1;
    mpio_disk_conf_set(rig.disk, &c);
}

static bool at_home(unsigned i)
{
    return rig.path[i]->disk && !rig.path[i]->leaving && !rig.path[i]->joining && !st.joining[i];
}

/* The last may go whatever is left of it: whoever lets another join then has seen to that. */
static bool others_stay(unsigned i)
{
    bool stay = false;

    for (unsigned k = 0; k < st.sesses; k++)
        stay |= k != i && at_home(k);
    return stay && !st.leaving[i];
}

static void happen(unsigned i)
{
    struct ini_sess *s = &fake.sess[i];
    const uint64_t what = below(1000);

    if (what < 600)
        sim_call(s->rt, go_answer, &i);
    else if (what < 640)
        sim_call(s->rt, go_exec, &i);
    else if (what < 670)
        sim_call(s->rt, go_break, &i);
    else if (what < 770)
        sim_call(s->rt, go_login, &i);
    else if (what < 870 && s->ghosts_nr) {
        st.haunts++;
        fake_haunt(s, (unsigned)below(s->ghosts_nr));
    } else if (what < 890)
        s->fence_res = below(3) ? 0 : -ETIMEDOUT;
    else if (what < 900)
        s->fence_ns = below(50 * RT_MS);
    else if (what < 905)
        s->reset_err = below(3) ? 0 : -EIO;
    else if (what < 910)
        s->reset_ns = below(20 * RT_MS);
    else if (what < 930)
        sim_call(s->rt, go_alua, &i);
    else if (what < 945 && !st.moving[i])
        sim_call(mpio_nexus_rt(rig.nexus[i]), go_move, &i);
    else if (what < 960 && at_home(i))
        sim_call(rig.home, go_admin, &i);
    else if (what < 970 && at_home(i) && others_stay(i))
        sim_call(rig.home, go_leave, &i);
    else if (what < 990 && !rig.path[i]->disk && !st.joining[i] && !st.leaving[i])
        sim_call(rig.home, go_join, &i);
    else if (what < 992 && !below(40)) /* seldom, as it lasts */
        sim_call(s->rt, go_astray, &i);
    else if (what < 994)
        snprintf(fake.wwid[0], sizeof(fake.wwid[0]), below(8) ? "naa.unit0" : "naa.other");
    else if (what >= 995)
        sim_call(rig.home, go_conf, &i);
}

static void calm(unsigned i)
{
    struct ini_sess *s = &fake.sess[i];

    s->fence_res = 0;
    s->reset_err = 0;
    if (!s->moving)
        sim_call(s->rt, go_login, &i);
    for (unsigned n = 0; n < 8; n++)
        if (!s->moving && rig.path[i])
            sim_call(s->rt, go_answer, &i);
}

static void storm_step(struct sim_timer *t)
{
    check();
    for (unsigned i = 0; i < st.sesses; i++)
        if (st.calm)
            calm(i);
        else
            happen(i);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &st.slot[i];

        if (!s->busy && !st.calm && sim_now(fake.w) >= s->next_ns)
            sim_call(rig.home, slot_go, s);
    }
    check();
    sim_at(fake.w, &st.timer, below(STEP_NS) + 1);
}

static void go_gentle(void *arg)
{
    struct mpio_conf c;

    mpio_conf_default(&c);
    mpio_disk_conf_set(rig.disk, &c);
}

static void go_optimal(void *arg)
{
    struct ini_lun *l = rig.path[*(unsigned *)arg]->lun;

    l->alua.state = INI_ALUA_OPTIMIZED;
    l->event(l->user, INI_LUN_ALUA);
}

static void go_reinstate(void *arg)
{
    mpio_disk_path_admin(rig.disk, rig.path[*(unsigned *)arg], false);
}

static bool all_quiet(void)
{
    bool quiet = true;

    for (unsigned i = 0; i < SLOTS; i++)
        quiet &= !st.slot[i].busy;
    for (unsigned i = 0; i < st.sesses; i++)
        quiet &= !st.joining[i] && !st.leaving[i] && !st.moving[i];
    return quiet;
}

static void play(uint64_t seed)
{
    memset(&st, 0, sizeof(st));
    st.rng = sim_rng(seed, 5);
    rig_start(seed, (unsigned)below(4), NULL);
    st.sesses = 1 + (unsigned)below(5);
    st.value = 1000;
    for (unsigned i = 0; i < SLOTS; i++)
        st.slot[i].r = &rig.req[i];
    for (unsigned i = 0; i < st.sesses; i++) {
        fake.sess[i].tpgt = (uint16_t)(1 + below(2));
        sess_make(i, (unsigned)below(4));
        path_make(i, 0);
    }
    sim_call(rig.home, go_join, &(unsigned){ 0 });
    run(5 * RT_MS);
    st.timer.fn = storm_step;
    sim_at(fake.w, &st.timer, 1);
    run(RT_S + below(4 * RT_S));

    st.calm = true;
    snprintf(fake.wwid[0], sizeof(fake.wwid[0]), "naa.unit0");
    sim_call(rig.home, go_gentle, NULL);
    for (unsigned n = 0; n < 20; n++) {
        run(50 * RT_MS);
        for (unsigned i = 0; i < st.sesses; i++) {
            if (rig.path[i]->lun && !fake.sess[i].moving)
                sim_call(fake.sess[i].rt, go_optimal, &i);
            if (at_home(i) && n % 5 == 0)
                sim_call(rig.home, go_reinstate, &i);
            if (rig.path[i]->disk || st.joining[i] || st.leaving[i] || st.moving[i])
                continue;
            if (!rig.path[i]->lun || rig.path[i]->lun->err ||
                strcmp(rig.path[i]->lun->info.wwid, "naa.unit0") != 0) {
                path_end(i);
                path_make(i, 0);
            }
            sim_call(rig.home, go_join, &i);
        }
    }
    run(5 * RT_S);
    sim_at_cancel(fake.w, &st.timer);
    if (!all_quiet()) {
        for (unsigned i = 0; i < SLOTS; i++)
            if (st.slot[i].busy)
                fprintf(stderr, "request %u (op %u) is in place %u\n", i, st.slot[i].r->io.io.op,
                        st.slot[i].r->io.place);
        for (unsigned i = 0; i < st.sesses; i++)
            fprintf(
                stderr,
                "path %u: joining %u leaving %u moving %u state %u owed %u settled %u in flight %u fenced %u\n",
                i, st.joining[i], st.leaving[i], st.moving[i], rig.path[i]->state, rig.path[i]->owed,
                rig.path[i]->seen.settled, rig.path[i]->in_flight, rig.path[i]->fenced_nr);
        fail();
    }
    check();
    assert_int_equal(fake.wrong, 0);
    for (unsigned i = 0; i < st.sesses; i++)
        assert_int_equal(info(i).state, MPIO_PATH_UP);
    rig_end();
}

static void test_no_write_is_late_and_no_request_is_lost(void **state)
{
    const char *one = getenv("MPIO_SEED"), *many = getenv("MPIO_SEEDS");
    const uint64_t from = one ? strtoull(one, NULL, 0) : 1, nr = one ? 1 : many ? strtoull(many, NULL, 0) : 60;
    uint64_t done = 0, errors = 0, haunts = 0, moved = 0;

    (void)state;
    for (uint64_t seed = from; seed < from + nr; seed++) {
        if (one || many)
            fprintf(stderr, "seed %llu\r", (unsigned long long)seed);
        print_message("%s", "");
        play(seed);
        done += st.done, errors += st.errors, haunts += st.haunts, moved += st.moved;
    }
    print_message("%llu seeds: %llu requests, %llu errors, %llu late writes that did no harm, %llu moves\n",
                  (unsigned long long)nr, (unsigned long long)done, (unsigned long long)errors,
                  (unsigned long long)haunts, (unsigned long long)moved);
    assert_true(one || (done && errors && haunts && moved));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_write_is_late_and_no_request_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
