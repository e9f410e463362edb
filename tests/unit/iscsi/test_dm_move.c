/*
 * test_dm_move.c - a TCP datamover that comes to rest, goes to another reactor and goes on there
 *
 * One thread turns both reactors: what is called on one is called after it was turned.
 */
#include "dm_bytes.h"

static void here(struct rt *rt)
{
    assert_true(rt_turn(rt, 0) >= 0);
}

static struct rt *other(const struct ends *b, const struct rt *rt)
{
    return rt_host_at(b->host, rt == rt_host_at(b->host, 0));
}

/* A peer that is bytes. */
static void start(struct ends *b, enum iscsi_role role, bool small_socket)
{
    const struct iscsi_params p = params_split(3);

    ends_start_of(b, 2);
    ends_raw(b, role, small_socket);
    end_enable(role == ISCSI_TARGET ? &b->tgt : &b->ini, &p);
    turn_some(b, 2);
}

static void rest(struct ends *b, struct end *e)
{
    const unsigned rests = e->rests;

    dm_rest(e->dm);
    assert_int_equal(e->rests, rests); /* not from inside */
    assert_true(turn_until(b, &e->rests, rests + 1));
}

/* From the reactor that is turned to the other one, which is turned from then on. */
static void move(struct ends *b, struct end *e)
{
    rest(b, e);
    dm_move(e->dm, other(b, b->rt));
    b->rt = e->rt = other(b, b->rt);
    here(b->rt);
    dm_go_on(e->dm);
}

static void add_ping(struct bytes *s, uint32_t sn, uint32_t len)
{
    const struct iscsi_pdu p = { .opcode = ISCSI_OP_NOP_IN,
                                 .final = true,
                                 .itt = 5,
                                 .ttt = ISCSI_TAG_RESERVED,
                                 .stat_sn = sn,
                                 .data_len = len };

    bytes_pdu(s, p, text);
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

/* Cut at each byte: what had come is told, what is to come is awaited on the other core. */
static void test_a_pdu_may_be_half_way_in(void **state)
{
    static struct bytes s;
    struct ends b;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    pattern_fill(text, 4, sizeof(text));
    add_ping(&s, 1, 21);
    add_ping(&s, 2, 1500);
    add_ping(&s, 3, 0);
    start(&b, ISCSI_INITIATOR, false);
    for (uint32_t cut = 0; cut <= s.len; cut += cut < 100 || s.len - cut < 100 ? 1 : 97) {
        const unsigned before = b.ini.controls;

        raw_write(&b, s.at, cut);
        move(&b, &b.ini);
        raw_write(&b, s.at + cut, s.len - cut);
        assert_true(turn_until(&b, &b.ini.controls, before + 3));
        assert_int_equal(b.ini.last.stat_sn, 3);
        assert_int_equal(pattern_differs(b.ini.data, 4, 1500), 1500);
    }
    assert_int_equal(b.ini.terminated + b.ini.rejects, 0);
    ends_stop(&b);
}

/* Bytes that are there when the receive is called back are told before, or after, never not. */
static void test_what_comes_in_the_midst_is_told_once(void **state)
{
    static struct bytes s;
    struct ends b;

    (void)state;
    start(&b, ISCSI_INITIATOR, false);
    for (uint32_t i = 0; i < 200; i++) {
        s = (struct bytes){ .header_digest = true, .data_digest = true };
        add_ping(&s, i, i % 30);
        if (i % 2)
            assert_int_equal(write(b.fd, s.at, s.len), s.len);
        dm_rest(b.ini.dm);
        if (!(i % 2))
            assert_int_equal(write(b.fd, s.at, s.len), s.len);
        assert_true(turn_until(&b, &b.ini.rests, i + 1));
        dm_move(b.ini.dm, other(&b, b.rt));
        b.rt = other(&b, b.rt);
        here(b.rt);
        dm_go_on(b.ini.dm);
        assert_true(turn_until(&b, &b.ini.controls, i + 1));
        assert_int_equal(b.ini.controls, i + 1);
        assert_int_equal(b.ini.last.stat_sn, i);
    }
    assert_int_equal(b.ini.terminated, 0);
    ends_stop(&b);
}

static void test_called_off_it_goes_on_where_it_was(void **state)
{
    static struct bytes s;
    struct ends b;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    add_ping(&s, 1, 21);
    start(&b, ISCSI_INITIATOR, false);
    dm_rest(b.ini.dm); /* before it came to rest... */
    dm_go_on(b.ini.dm);
    raw_write(&b, s.at, s.len);
    assert_true(turn_until(&b, &b.ini.controls, 1));
    assert_int_equal(b.ini.rests, 0);
    rest(&b, &b.ini); /* ...and after */
    dm_go_on(b.ini.dm);
    raw_write(&b, s.at, s.len);
    assert_true(turn_until(&b, &b.ini.controls, 2));
    assert_int_equal(b.ini.rests, 1);
    assert_int_equal(b.ini.terminated, 0);
    ends_stop(&b);
}

static void go_on_when_told(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct end *e = user;

    end_control(user, pdu, data);
    dm_go_on(e->dm);
}

static void terminate_when_told(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct end *e = user;

    end_control(user, pdu, data);
    dm_terminate(e->dm, true);
}

/* By who is told what the receive still brought, in the midst of a PDU that is not all there. */
static void test_called_off_or_ended_by_who_is_told(void **state)
{
    struct dm_events events = end_events;
    struct dm_ctl last = { .pdu = ping(1, 0) };
    static struct bytes s;
    struct ends b;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    add_ping(&s, 1, 21);
    add_ping(&s, 2, 90);
    start(&b, ISCSI_INITIATOR, false);
    b.ini.dm->events = &events;
    events.control_notify = go_on_when_told;
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(write(b.fd, s.at, s.len - 7), s.len - 7);
        dm_rest(b.ini.dm);
        turn_some(&b, 6);
        if (b.ini.controls == 2 * i) /* the cancel was faster */
            dm_go_on(b.ini.dm);
        assert_int_equal(write(b.fd, s.at + s.len - 7, 7), 7);
        assert_true(turn_until(&b, &b.ini.controls, 2 * i + 2));
    }
    events.control_notify = terminate_when_told;
    assert_int_equal(write(b.fd, s.at, s.len - 7), s.len - 7);
    dm_send_control(b.ini.dm, &last);
    dm_rest(b.ini.dm);
    turn_some(&b, 6);
    dm_terminate(b.ini.dm, true);
    assert_true(turn_until(&b, &b.ini.closed, 1));
    assert_int_equal(b.ini.terminated, 0);
    ends_stop(&b);
}

/* ---- sending -------------------------------------------------------------------------------------------- */

/* What it is given meanwhile goes out first. */
static void test_what_is_to_be_sent_is_sent_before(void **state)
{
    struct dm_ctl ctl[20] = { 0 };
    uint8_t got[20 * ISCSI_BHS_LEN + 100];
    struct iscsi_params p = params_usual();
    struct ends b;

    (void)state;
    ends_start_of(&b, 2);
    ends_raw(&b, ISCSI_INITIATOR, false);
    end_enable(&b.ini, &p);
    turn_some(&b, 2);
    for (uint32_t i = 0; i < ARRAY_SIZE(ctl); i++) {
        ctl[i].pdu = ping(i, 0);
        if (i == 10)
            dm_rest(b.ini.dm);
        dm_send_control(b.ini.dm, &ctl[i]);
        if (i == 5)
            turn_some(&b, 1);
    }
    assert_true(turn_until(&b, &b.ini.rests, 1));
    dm_move(b.ini.dm, other(&b, b.rt));
    b.rt = other(&b, b.rt);
    here(b.rt);
    assert_int_equal(raw_read(&b, got, sizeof(got)), ARRAY_SIZE(ctl) * ISCSI_BHS_LEN);
    for (uint32_t i = 0; i < ARRAY_SIZE(ctl); i++)
        assert_int_equal(load_be32(&got[i * ISCSI_BHS_LEN + 16]), i);
    dm_go_on(b.ini.dm);
    ends_stop(&b);
}

/* No rest while a send is under way that the peer does not take; called off, it is as ever. */
static void test_a_peer_that_takes_nothing_is_waited_for(void **state)
{
    static uint8_t got[1 << 20];
    static struct bytes s;
    struct dm_ctl ctl[8] = { 0 };
    struct ends b;

    (void)state;
    s = (struct bytes){ .header_digest = true, .data_digest = true };
    add_ping(&s, 1, 0);
    start(&b, ISCSI_INITIATOR, true);
    for (uint32_t i = 0; i < ARRAY_SIZE(ctl); i++) {
        ctl[i].pdu = ping(i, sizeof(text) / 2);
        ctl[i].data = text;
        dm_send_control(b.ini.dm, &ctl[i]);
    }
    dm_rest(b.ini.dm);
    turn_some(&b, 50);
    assert_int_equal(b.ini.rests, 0);
    dm_go_on(b.ini.dm);
    raw_write(&b, s.at, s.len);
    assert_true(turn_until(&b, &b.ini.controls, 1));
    dm_rest(b.ini.dm);
    for (unsigned i = 0; i < 3000 && !b.ini.rests; i++)
        raw_read(&b, got, sizeof(got));
    assert_int_equal(b.ini.rests, 1);
    dm_go_on(b.ini.dm);
    assert_int_equal(b.ini.terminated, 0);
    ends_stop(&b);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static void test_a_peer_that_goes_meanwhile_is_noticed_after(void **state)
{
    struct ends b;

    (void)state;
    start(&b, ISCSI_INITIATOR, false);
    rest(&b, &b.ini);
    close(b.fd);
    b.fd = -1;
    dm_move(b.ini.dm, other(&b, b.rt));
    turn_some(&b, 3);
    assert_int_equal(b.ini.terminated, 0);
    b.rt = other(&b, b.rt);
    here(b.rt);
    dm_go_on(b.ini.dm);
    assert_true(turn_until(&b, &b.ini.terminated, 1));
    assert_int_equal(b.ini.err, -ECONNRESET);
    ends_stop(&b);
}

/* An end that comes first is the end: no rest is told after it. */
static void test_it_may_end_before_it_rests(void **state)
{
    struct dm_ctl ctl = { .pdu = ping(1, 0) };
    struct ends b;

    (void)state;
    for (int how = 0; how < 4; how++) {
        start(&b, ISCSI_INITIATOR, false);
        if (how == 3)
            dm_send_control(b.ini.dm, &ctl);
        dm_rest(b.ini.dm);
        if (how == 1)
            turn_some(&b, 1);
        if (how == 2) {
            close(b.fd);
            b.fd = -1;
        }
        dm_terminate(b.ini.dm, how == 3);
        assert_true(turn_until(&b, &b.ini.closed, 1));
        assert_true(b.ini.rests <= (how == 1));
        ends_stop(&b);
    }
}

static void test_it_may_end_at_rest(void **state)
{
    struct ends b;

    (void)state;
    for (int drain = 0; drain < 2; drain++) {
        start(&b, ISCSI_INITIATOR, false);
        move(&b, &b.ini);
        rest(&b, &b.ini);
        dm_terminate(b.ini.dm, drain);
        assert_true(turn_until(&b, &b.ini.closed, 1));
        ends_stop(&b);
    }
}

/* ---- both ends ------------------------------------------------------------------------------------------ */

static void turn_both(struct ends *b, struct rt *tgt, const unsigned *what, unsigned at_least)
{
    const uint64_t end = rt_clock(tgt) + 30 * RT_S;

    while (*what < at_least && rt_clock(tgt) < end) {
        rt_turn(tgt, 0);
        rt_turn(b->rt, 50 * RT_US);
    }
    assert_true(*what >= at_least);
}

/* Reads and writes of all sizes between moves, there and back. */
static void test_data_move_as_ever_between_moves(void **state)
{
    static const uint32_t sizes[] = { 512, 65536, 4096, 262144, 98304, 1 };
    struct iscsi_params p = params_split(0);
    struct rt *tgt;
    struct ends b;

    (void)state;
    p.initial_r2t = 1;
    ends_start_of(&b, 2);
    ends_connect(&b);
    end_enable(&b.ini, &p);
    end_enable(&b.tgt, &p);
    tgt = b.rt;
    for (uint32_t i = 0; i < 200; i++) {
        const uint32_t len = sizes[i % ARRAY_SIZE(sizes)], itt = i % 32;
        const unsigned released = b.ini.released, over = b.tgt.released;
        struct xtask *x = end_submit(&b.ini, itt, i % 3 == 0, len), *y = &b.tgt.task[itt];

        turn_both(&b, tgt, &b.ini.released, released + 1);
        assert_int_equal(x->status, 0);
        here(tgt);
        if (i % 3 == 0) {
            assert_int_equal(pattern_differs(y->mem, itt, len), len);
            while (y->ctl_out)
                here(tgt);
            end_release(&b.tgt, &y->t);
        } else {
            assert_int_equal(pattern_differs(x->mem, itt, len), len);
        }
        turn_both(&b, tgt, &b.tgt.released, over + 1);
        here(b.rt);
        move(&b, &b.ini);
    }
    assert_int_equal(b.ini.terminated + b.tgt.terminated, 0);
    end_stop(&b, &b.ini);
    b.rt = tgt;
    here(tgt);
    end_stop(&b, &b.tgt);
    b.ini.dm = b.tgt.dm = NULL;
    ends_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pdu_may_be_half_way_in),
        cmocka_unit_test(test_what_comes_in_the_midst_is_told_once),
        cmocka_unit_test(test_called_off_it_goes_on_where_it_was),
        cmocka_unit_test(test_called_off_or_ended_by_who_is_told),
        cmocka_unit_test(test_what_is_to_be_sent_is_sent_before),
        cmocka_unit_test(test_a_peer_that_takes_nothing_is_waited_for),
        cmocka_unit_test(test_a_peer_that_goes_meanwhile_is_noticed_after),
        cmocka_unit_test(test_it_may_end_before_it_rests),
        cmocka_unit_test(test_it_may_end_at_rest),
        cmocka_unit_test(test_data_move_as_ever_between_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
