/* Two datamovers back to back over TCP: every way that data can move, and the ends of a connection. */
#include "tests/unit/iscsi/dm_ends.h"

static void run_one(struct ends *b, bool write, uint32_t len)
{
    const uint32_t itt = write ? 7 : 9;
    struct xtask *x = end_submit(&b->ini, itt, write, len), *y = &b->tgt.task[itt];
    unsigned released = b->ini.released;

    assert_true(turn_until(b, &b->ini.released, released + 1));
    assert_int_equal(b->ini.terminated, 0);
    assert_int_equal(b->tgt.terminated, 0);
    assert_int_equal(b->tgt.rejects, 0);
    assert_int_equal(x->status, 0);
    if (write) {
        assert_int_equal(y->how, DM_OK);
        assert_int_equal(y->unsolicited, 1);
        assert_int_equal(y->t.out_done, len);
        assert_int_equal(pattern_differs(y->mem, itt, len), len);
        turn_until(b, &b->tgt.sent, b->tgt.sent);
        released = b->tgt.released;
        dm_release_task(b->tgt.dm, &y->t);
        assert_true(turn_until(b, &b->tgt.released, released + 1));
    } else {
        assert_int_equal(x->t.in_done, len);
        assert_int_equal(pattern_differs(x->mem, itt, len), len);
        assert_int_equal(x->mem[len], 0xdd);
        if (!len)
            dm_release_task(b->tgt.dm, &y->t);
        for (int i = 0; i < 100 && y->busy; i++)
            rt_turn(b->rt, RT_MS);
        assert_false(y->busy);
    }
}

/* InitialR2T x ImmediateData x digests x pieces of memory, reads and writes of sizes around every limit. */
static void test_moves_every_size_in_every_combination(void **state)
{
    static const uint32_t sizes[] = { 0,     1,     3,     511,   512,    4096,   8191,   8192,    8193,
                                      65535, 65536, 65537, 98304, 131073, 262144, 262145, 1048576, 1048579 };
    static const uint32_t pieces[] = { 0, 4096, 511 };

    (void)state;
    for (unsigned combo = 0; combo < 16; combo++) {
        for (unsigned p = 0; p < ARRAY_SIZE(pieces); p++) {
            struct iscsi_params params = params_usual();
            struct ends b;

            params.initial_r2t = combo & 1;
            params.immediate_data = combo >> 1 & 1;
            params.header_digest = combo >> 2 & 1;
            params.data_digest = combo >> 3 & 1;
            ends_start(&b);
            ends_connect(&b);
            b.ini.piece = b.tgt.piece = pieces[p];
            end_enable(&b.ini, &params);
            end_enable(&b.tgt, &params);
            for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
                run_one(&b, false, sizes[i]);
                run_one(&b, true, sizes[i]);
            }
            ends_stop(&b);
        }
    }
}

/* The smallest and oddest limits, and more than one R2T outstanding. */
static void test_honours_small_and_odd_limits(void **state)
{
    static const uint32_t limits[][4] = {   /* segment, first burst, burst, R2Ts */
        { 512, 512, 512, 1 }, { 513, 600, 1000, 1 }, { 512, 512, 1024, 4 }, { 8192, 65536, 262144, 8 },
        { 262144, 65536, 262144, 2 }, { 16777215, 16777215, 16777215, 1 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
        for (unsigned combo = 0; combo < 4; combo++) {
            struct iscsi_params params = params_usual();
            struct ends b;

            params.recv_data_max = params.peer_recv_data_max = limits[i][0];
            params.first_burst_max = limits[i][1];
            params.burst_max = limits[i][2];
            params.r2t_max = limits[i][3];
            params.initial_r2t = combo & 1;
            params.immediate_data = combo >> 1 & 1;
            params.data_digest = 1;
            ends_start(&b);
            ends_connect(&b);
            end_enable(&b.ini, &params);
            end_enable(&b.tgt, &params);
            b.tgt.step = 100000;            /* several puts and gets a task */
            b.tgt.piece = combo & 2 ? 1000 : 0;
            run_one(&b, false, 1);
            run_one(&b, true, 1);
            run_one(&b, false, 100001);
            run_one(&b, true, 100001);
            run_one(&b, true, 263000);
            b.tgt.step = 0;
            run_one(&b, false, 263000);
            run_one(&b, true, 263000);
            run_one(&b, true, 600);
            ends_stop(&b);
        }
    }
}

/* Many tasks at once, large and small mixed: all data right, all given back. */
static void test_many_tasks_share_a_connection(void **state)
{
    struct iscsi_params params = params_usual();
    struct ends b;

    (void)state;
    params.initial_r2t = 0;
    params.recv_data_max = params.peer_recv_data_max = 262144;
    ends_start(&b);
    ends_connect(&b);
    b.ini.piece = 4096;
    end_enable(&b.ini, &params);
    end_enable(&b.tgt, &params);
    for (uint32_t i = 0; i < TASKS; i++)
        end_submit(&b.ini, i, i % 3 == 0, i % 5 == 0 ? 700001 : 4096 + i);
    assert_true(turn_until(&b, &b.ini.released, TASKS));
    for (uint32_t i = 0; i < TASKS; i++) {
        const struct xtask *x = &b.ini.task[i], *y = &b.tgt.task[i];

        assert_int_equal(x->status, 0);
        assert_int_equal(pattern_differs(x->write ? y->mem : x->mem, i, x->t.edtl), x->t.edtl);
    }
    ends_stop(&b);
}

/* The digests of the very PDU that ends the login are those of before, on both ends. */
static void test_enable_counts_from_the_next_pdu(void **state)
{
    struct iscsi_params params = params_usual();
    struct dm_ctl resp = { .pdu = { .opcode = ISCSI_OP_LOGIN_RESP, .itt = 1, .stat_sn = 3, .data_len = 5 },
                           .data = "a=b\0c" };
    struct dm_ctl req = { .pdu = { .opcode = ISCSI_OP_LOGIN, .itt = 1, .data_len = 4 }, .data = "x=y" };
    struct ends b;

    (void)state;
    params.header_digest = params.data_digest = 1;
    req.pdu.login.csg = resp.pdu.login.csg = ISCSI_STAGE_OPERATIONAL;
    ends_start(&b);
    ends_connect(&b);
    dm_send_control(b.ini.dm, &req);
    assert_true(turn_until(&b, &b.tgt.controls, 1));
    assert_memory_equal(b.tgt.data, "x=y", 4);
    dm_send_control(b.tgt.dm, &resp);
    end_enable(&b.tgt, &params);            /* before the response was sent */
    assert_true(turn_until(&b, &b.ini.controls, 1));
    assert_int_equal(b.ini.last.data_len, 5);
    assert_memory_equal(b.ini.data, "a=b\0c", 5);
    end_enable(&b.ini, &params);
    run_one(&b, true, 70000);
    run_one(&b, false, 70000);
    ends_stop(&b);
}

/* Nothing to send for long, then something: that is no peer which takes nothing. */
static void test_silence_is_no_stall(void **state)
{
    struct dm_ctl req = { .pdu = { .opcode = ISCSI_OP_LOGIN, .itt = 1 } };
    struct dm_stats st;
    struct ends b;
    uint64_t began;

    (void)state;
    ends_start(&b);
    ends_connect(&b);
    began = rt_now(b.rt);
    while (rt_now(b.rt) < began + 20 * RT_MS)
        turn_some(&b, 1);
    dm_send_control(b.ini.dm, &req);
    dm_stats(b.ini.dm, &st);
    assert_true(st.tx_waiting);
    assert_true(st.tx_at_ns >= began + 20 * RT_MS);
    assert_true(turn_until(&b, &b.tgt.controls, 1));
    ends_stop(&b);
}

/* What was queued before a draining end arrives; what is queued without one comes back cancelled. */
static void test_terminate_drains_or_cancels(void **state)
{
    struct iscsi_params params = params_usual();

    (void)state;
    for (int drain = 0; drain < 2; drain++) {
        struct ends b;
        struct xtask *x;

        ends_start(&b);
        ends_connect(&b);
        end_enable(&b.ini, &params);
        end_enable(&b.tgt, &params);
        x = xtask_at(&b.tgt, 3);
        x->t.itt = 3;
        target_respond(x, 0);
        dm_terminate(b.tgt.dm, drain);
        assert_int_equal(b.tgt.closed, 0);  /* never from inside the call */
        assert_true(turn_until(&b, &b.tgt.closed, 1));
        assert_int_equal(b.tgt.sent, drain);
        assert_int_equal(b.tgt.cancelled, !drain);
        assert_true(turn_until(&b, &b.ini.terminated, 1));
        assert_int_equal(b.ini.controls, drain);
        assert_int_equal(b.ini.err, -ECONNRESET);
        ends_stop(&b);
    }
}

/* A task may be released in any state; the memory is quiet afterwards and the connection goes on. */
static void test_release_in_each_state_keeps_the_connection(void **state)
{
    static const uint32_t sizes[] = { 4096, 65536, 1048576 };
    struct iscsi_params params = params_usual();

    (void)state;
    params.recv_data_max = params.peer_recv_data_max = 262144;
    for (unsigned turns = 0; turns < 24; turns++) {
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
            const bool write = i & 1;
            const uint32_t len = sizes[i / 2];
            struct ends b;
            struct xtask *x;

            params.initial_r2t = turns & 1;
            params.data_digest = turns >> 1 & 1;
            ends_start(&b);
            ends_connect(&b);
            end_enable(&b.ini, &params);
            end_enable(&b.tgt, &params);
            b.ini.passive = true;
            x = end_submit(&b.ini, 5, write, len);
            for (unsigned n = 0; n < turns; n++)
                rt_turn(b.rt, 0);
            dm_release_task(b.ini.dm, &x->t);
            assert_false(x->released);      /* never from inside the call */
            assert_true(turn_until(&b, &b.ini.released, 1));
            memset(x->mem, 0xaa, len);
            turn_some(&b, 20);
            for (uint32_t n = 0; n < len; n++)
                assert_int_equal(x->mem[n], 0xaa);
            b.ini.passive = false;
            run_one(&b, !write, len);
            if (b.tgt.task[5].busy) {       /* a write that waits for data that will never come */
                const unsigned released = b.tgt.released;

                dm_release_task(b.tgt.dm, &b.tgt.task[5].t);
                assert_true(turn_until(&b, &b.tgt.released, released + 1));
            }
            ends_stop(&b);
        }
    }
}

/* Either end goes at any moment: the other is told once, and both close. */
static void test_peer_may_go_at_any_moment(void **state)
{
    struct iscsi_params params = params_usual();

    (void)state;
    for (unsigned turns = 0; turns < 20; turns++) {
        for (int who = 0; who < 2; who++) {
            struct ends b;
            struct end *goes, *stays;

            ends_start(&b);
            ends_connect(&b);
            end_enable(&b.ini, &params);
            end_enable(&b.tgt, &params);
            goes = who ? &b.ini : &b.tgt;
            stays = who ? &b.tgt : &b.ini;
            for (uint32_t n = 0; n < 8; n++)
                end_submit(&b.ini, n, n & 1, 300000);
            for (unsigned n = 0; n < turns; n++)
                rt_turn(b.rt, 0);
            dm_terminate(goes->dm, turns & 1);
            assert_true(turn_until(&b, &stays->terminated, 1));
            assert_true(turn_until(&b, &goes->closed, 1));
            dm_terminate(stays->dm, true);
            assert_true(turn_until(&b, &stays->closed, 1));
            assert_int_equal(stays->terminated, 1);
            assert_int_equal(goes->terminated, 0);
            assert_int_equal(b.ini.sent + b.ini.cancelled, 8);
            ends_stop(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_every_size_in_every_combination),
        cmocka_unit_test(test_honours_small_and_odd_limits),
        cmocka_unit_test(test_many_tasks_share_a_connection),
        cmocka_unit_test(test_enable_counts_from_the_next_pdu),
        cmocka_unit_test(test_silence_is_no_stall),
        cmocka_unit_test(test_terminate_drains_or_cancels),
        cmocka_unit_test(test_release_in_each_state_keeps_the_connection),
        cmocka_unit_test(test_peer_may_go_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
