/*
 * test_dm_shm_move.c - the initiator's end of a connection in shared memory goes to another reactor and back
 *
 * One thread turns both reactors, but where one has to sleep; the target stays where it is. Reactors that have nothing to do
 * sleep for longer than a test waits: what is in the ring has to be found without.
 */
#include <pthread.h>
#include "shm_ends.h"

static void here(struct rt *rt)
{
    assert_true(rt_turn(rt, 0) >= 0);
}

static struct rt *other(const struct shm_ends *b, const struct rt *rt)
{
    return rt_host_at(b->e.host, rt == rt_host_at(b->e.host, 0));
}

/* Turns the initiator's reactor, and the target's, until... */
static void until(struct shm_ends *b, const unsigned *what, unsigned at_least)
{
    const uint64_t end = rt_clock(b->e.rt) + 30 * RT_S;

    while (*what < at_least && rt_clock(b->e.rt) < end) {
        if (b->e.rt != b->e.tgt.rt)
            rt_turn(b->e.tgt.rt, 0);
        rt_turn(b->e.rt, 50 * RT_US);
    }
    assert_true(*what >= at_least);
}

static void rest(struct shm_ends *b)
{
    const unsigned rests = b->e.ini.rests;

    here(b->e.rt);
    dm_rest(b->e.ini.dm);
    until(b, &b->e.ini.rests, rests + 1);
    here(b->e.rt);
}

static void leave(struct shm_ends *b)
{
    dm_move(b->e.ini.dm, other(b, b->e.rt));
    b->e.rt = b->e.ini.rt = other(b, b->e.rt);
    here(b->e.rt);
}

static void move(struct shm_ends *b)
{
    rest(b);
    leave(b);
    dm_go_on(b->e.ini.dm);
}

/* Both ends go on the first reactor. */
static void home(struct shm_ends *b)
{
    if (b->e.rt != b->e.tgt.rt)
        move(b);
}

#define SLEEP_NS (60 * RT_S)
#define HANG_NS  (30 * RT_S) /* only who slept through it takes that long */

/* What was sent is found, and not because the reactor had slept long enough. */
static void until_found(struct shm_ends *b, unsigned controls)
{
    const uint64_t begin = rt_clock(b->e.rt);

    while (b->e.ini.controls < controls)
        rt_turn(b->e.rt, SLEEP_NS);
    assert_int_equal(b->e.ini.controls, controls);
    assert_true(rt_clock(b->e.rt) - begin < HANG_NS);
}

static void nop_in(struct shm_ends *b, struct dm_ctl *ctl, uint32_t sn)
{
    *ctl = (struct dm_ctl){
        .pdu = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = 5, .ttt = ISCSI_TAG_RESERVED, .stat_sn = sn }
    };
    here(b->e.tgt.rt);
    dm_send_control(b->e.tgt.dm, ctl);
    here(b->e.tgt.rt);
    here(b->e.rt);
}

/* Reads and writes between moves, in the arena and elsewhere. */
static void test_data_move_as_ever_between_moves(void **state)
{
    static const uint32_t sizes[] = { 512, 65536, 4096, 262144, 98304, 1 };
    struct shm_ends b;

    (void)state;
    shm_start_of(&b, 2, false);
    shm_lend(&b, 3, 262144, 0);
    for (uint32_t i = 0; i < 200; i++) {
        const uint32_t len = sizes[i % ARRAY_SIZE(sizes)], itt = i % 8;
        const unsigned released = b.e.ini.released, over = b.e.tgt.released;
        struct xtask *x, *y = &b.e.tgt.task[itt];

        here(b.e.rt);
        b.e.ini.passive = true;
        x = end_submit(&b.e.ini, itt, i % 3 == 0, len);
        while (!x->done) {
            here(b.e.tgt.rt);
            here(b.e.rt);
        }
        end_release(&b.e.ini, &x->t);
        until(&b, &b.e.ini.released, released + 1);
        assert_int_equal(x->status, 0);
        here(b.e.tgt.rt);
        if (i % 3 == 0) {
            assert_int_equal(pattern_differs(y->mem, itt, len), len);
            while (y->ctl_out)
                here(b.e.tgt.rt);
            end_release(&b.e.tgt, &y->t);
        } else {
            assert_int_equal(pattern_differs(x->mem, itt, len), len);
        }
        until(&b, &b.e.tgt.released, over + 1);
        move(&b);
    }
    assert_int_equal(b.e.ini.terminated + b.e.tgt.terminated, 0);
    home(&b);
    shm_unlend(&b, 3, 262144, 0);
    shm_stop(&b);
}

/* What comes while it belongs to nobody lies in the ring, and no byte says so: seen to before the new core sleeps. */
static void test_what_comes_in_the_midst_is_found_without_a_byte(void **state)
{
    struct dm_ctl ctl[3];
    struct shm_ends b;

    (void)state;
    shm_start_of(&b, 2, false);
    for (uint32_t i = 0; i < 50; i++) {
        const unsigned before = b.e.ini.controls;

        nop_in(&b, &ctl[0], 3 * i); /* found, or not: it may be at the poller yet */
        rest(&b);
        nop_in(&b, &ctl[1], 3 * i + 1);
        dm_move(b.e.ini.dm, other(&b, b.e.rt));
        nop_in(&b, &ctl[2], 3 * i + 2); /* the old core has another turn, and finds nothing */
        b.e.rt = b.e.ini.rt = other(&b, b.e.rt);
        here(b.e.rt);
        dm_go_on(b.e.ini.dm);
        assert_true(b.e.ini.controls <= before + 1);
        until_found(&b, before + 3);
        assert_int_equal(b.e.ini.last.stat_sn, 3 * i + 2);
    }
    assert_int_equal(b.e.ini.terminated + b.e.tgt.terminated, 0);
    home(&b);
    shm_stop(&b);
}

#define WAKES 20u

/* Has the second reactor, and turns it until so many PDUs have come, each of which found it asleep. */
struct sleeper {
    struct shm_ends *b;
    struct rt *rt, *back;
    atomic_uint got;
    atomic_bool overslept;
};

static void *sleeper_main(void *arg)
{
    struct sleeper *s = arg;
    struct end *e = &s->b->e.ini;

    rt_turn(s->rt, 0);
    dm_go_on(e->dm);
    while (s->got < WAKES && !s->overslept) {
        const uint64_t begin = rt_clock(s->rt);

        rt_turn(s->rt, SLEEP_NS);
        s->overslept = rt_clock(s->rt) - begin >= HANG_NS;
        s->got = e->controls;
    }
    dm_rest(e->dm);
    while (!e->terminated && e->rests < 2)
        rt_turn(s->rt, RT_MS);
    if (!e->terminated)
        dm_move(e->dm, s->back);
    return NULL;
}

static void test_it_is_woken_where_it_is(void **state)
{
    struct dm_ctl ctl[WAKES];
    struct loop_handed h;
    struct loop_rings *rings;
    struct sleeper s = { 0 };
    pthread_t thread;
    struct shm_ends b;

    (void)state;
    shm_start_of(&b, 2, false);
    loop_guest_handed(b.guest, &h);
    rings = rt_shm_mem(h.rings);
    rest(&b);
    s.b = &b;
    s.back = b.e.rt;
    s.rt = other(&b, b.e.rt);
    dm_move(b.e.ini.dm, s.rt);
    assert_int_equal(pthread_create(&thread, NULL, sleeper_main, &s), 0);
    for (uint32_t i = 0; i < WAKES && !s.overslept; i++) {
        while (!atomic_load(&rings->to_initiator.asleep) && !s.overslept)
            usleep(100);
        ctl[i] = (struct dm_ctl){ .pdu = { .opcode = ISCSI_OP_NOP_IN,
                                           .final = true,
                                           .itt = 5,
                                           .ttt = ISCSI_TAG_RESERVED,
                                           .stat_sn = i } };
        dm_send_control(b.e.tgt.dm, &ctl[i]);
        while (s.got <= i && !s.overslept)
            rt_turn(b.e.tgt.rt, RT_MS);
    }
    pthread_join(thread, NULL);
    here(b.e.rt);
    dm_go_on(b.e.ini.dm);
    assert_false(s.overslept);
    assert_int_equal(s.got, WAKES);
    shm_stop(&b);
}

static void test_called_off_it_goes_on_where_it_was(void **state)
{
    struct dm_ctl ctl;
    struct shm_ends b;

    (void)state;
    shm_start_of(&b, 2, false);
    dm_rest(b.e.ini.dm); /* before it came to rest... */
    dm_go_on(b.e.ini.dm);
    nop_in(&b, &ctl, 1);
    until(&b, &b.e.ini.controls, 1);
    assert_int_equal(b.e.ini.rests, 0);
    rest(&b); /* ...and after */
    nop_in(&b, &ctl, 2);
    assert_int_equal(b.e.ini.controls, 1);
    dm_go_on(b.e.ini.dm);
    until(&b, &b.e.ini.controls, 2);
    assert_int_equal(b.e.ini.terminated, 0);
    move(&b); /* and can be moved all the same */
    nop_in(&b, &ctl, 3);
    until(&b, &b.e.ini.controls, 3);
    home(&b);
    shm_stop(&b);
}

/* What it is given meanwhile goes into the ring before it rests, whatever room there is. */
static void test_what_is_to_be_sent_is_sent_before(void **state)
{
    enum { NR = LOOP_SLOTS + 40 };
    static struct dm_ctl ctl[NR];
    struct shm_ends b;

    (void)state;
    memset(ctl, 0, sizeof(ctl));
    shm_start_of(&b, 2, false);
    here(b.e.rt);
    for (uint32_t i = 0; i < NR; i++) {
        ctl[i].pdu = (struct iscsi_pdu){
            .opcode = ISCSI_OP_NOP_OUT, .final = true, .immediate = true, .itt = i, .ttt = ISCSI_TAG_RESERVED
        };
        if (i == 10)
            dm_rest(b.e.ini.dm);
        dm_send_control(b.e.ini.dm, &ctl[i]);
    }
    until(&b, &b.e.ini.rests, 1);
    leave(&b);
    until(&b, &b.e.tgt.controls, NR);
    assert_int_equal(b.e.tgt.last.itt, NR - 1);
    here(b.e.rt);
    dm_go_on(b.e.ini.dm);
    home(&b);
    shm_stop(&b);
}

/* The peer's end of the unix socket or of the TCP connection is noticed on the new core. */
static void test_a_peer_that_goes_meanwhile_is_noticed_after(void **state)
{
    struct shm_ends b;

    (void)state;
    shm_start_of(&b, 2, false);
    rest(&b);
    here(b.e.tgt.rt);
    dm_terminate(b.e.tgt.dm, false);
    until(&b, &b.e.tgt.closed, 1);
    assert_int_equal(b.e.ini.terminated, 0);
    here(b.e.rt);
    leave(&b);
    dm_go_on(b.e.ini.dm);
    until(&b, &b.e.ini.terminated, 1);
    dm_terminate(b.e.ini.dm, false);
    until(&b, &b.e.ini.closed, 1);
    b.e.rt = b.e.tgt.rt;
    here(b.e.rt);
    shm_stop(&b);
}

static void test_it_may_end_before_and_at_rest(void **state)
{
    struct shm_ends b;

    (void)state;
    for (int how = 0; how < 3; how++) {
        shm_start_of(&b, 2, false);
        here(b.e.rt);
        if (how == 2)
            rest(&b);
        else
            dm_rest(b.e.ini.dm);
        if (how == 1)
            here(b.e.rt);
        dm_terminate(b.e.ini.dm, false);
        until(&b, &b.e.ini.closed, 1);
        assert_true(b.e.ini.rests <= (how == 2));
        shm_stop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_move_as_ever_between_moves),
        cmocka_unit_test(test_what_comes_in_the_midst_is_found_without_a_byte),
        cmocka_unit_test(test_it_is_woken_where_it_is),
        cmocka_unit_test(test_called_off_it_goes_on_where_it_was),
        cmocka_unit_test(test_what_is_to_be_sent_is_sent_before),
        cmocka_unit_test(test_a_peer_that_goes_meanwhile_is_noticed_after),
        cmocka_unit_test(test_it_may_end_before_and_at_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
