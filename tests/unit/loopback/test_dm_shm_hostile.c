/* A peer that is a mapping in the test's hands: each thing that it may write, and what the datamover makes of it. */
#include "tests/unit/loopback/shm_ends.h"

struct raw {
    struct loop_ring *ring; /* that the test produces */
    uint32_t head;
};

static void raw_push(struct raw *r, const uint8_t bhs[ISCSI_BHS_LEN], uint64_t off, uint32_t len)
{
    struct loop_slot *s = &r->ring->slot[r->head % LOOP_SLOTS];

    memcpy(s->bhs, bhs, ISCSI_BHS_LEN);
    s->off = off;
    s->len = len;
    atomic_store(&s->seq, ++r->head);
}

static void raw_pdu(struct raw *r, const struct iscsi_pdu *pdu, uint64_t off, uint32_t len)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    iscsi_pdu_encode(bhs, pdu);
    raw_push(r, bhs, off, len);
}

static struct iscsi_pdu command_pdu(uint32_t itt, bool write, uint32_t edtl)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = itt, .cmd_sn = 1 };

    p.cmd.read = !write;
    p.cmd.write = write;
    p.cmd.edtl = edtl;
    return p;
}

/* ---- a target against any initiator ---------------------------------------------------------------------- */

struct command_case {
    const char *what;
    uint64_t off;
    uint32_t len, edtl;
    bool ok;
};

static void test_target_judges_where_data_lie(void **state)
{
    static const struct command_case cases[] = {
        { "all of the arena's end", ARENA_LEN - 4096, 4096, 4096, true },
        { "one byte past the arena", ARENA_LEN - 4095, 4096, 4096, false },
        { "behind the arena", ARENA_LEN, 4096, 4096, false },
        { "nothing behind the arena", ARENA_LEN, 0, 4096, false },
        { "off wraps", UINT64_MAX - 4095, 4096, 4096, false },
        { "off wraps to inside", UINT64_MAX - 100, 4096, 4096, false },
        { "len of everything", 0, UINT32_MAX, 4096, false },
        { "edtl of everything", 0, 4096, UINT32_MAX, false },
        { "both of everything", 0, UINT32_MAX, UINT32_MAX, false },
        { "a byte short", 0, 4095, 4096, false },
        { "more than is needed", 0, 8192, 4096, true },
        { "no data, off anywhere", UINT64_MAX, UINT32_MAX, 0, true },
    };
    struct shm_ends b;
    struct raw r = { 0 };

    (void)state;
    shm_start_with(&b, true, false, NULL);
    r.ring = &b.rings->to_target;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int write = 0; write < 2; write++) {
            const struct iscsi_pdu p = command_pdu(i, write && cases[i].edtl, cases[i].edtl);
            const unsigned commands = b.e.tgt.commands, rejects = b.e.tgt.rejects;

            raw_pdu(&r, &p, cases[i].off, cases[i].len);
            if (cases[i].ok) {
                assert_true(shm_until(&b, &b.e.tgt.commands, commands + 1));
            } else {
                assert_true(shm_until(&b, &b.e.tgt.rejects, rejects + 1));
                assert_int_equal(b.e.tgt.reject, ISCSI_REJECT_PROTOCOL_ERROR);
            }
            assert_int_equal(b.e.tgt.commands, commands + cases[i].ok);
            turn_some(&b.e, 2);
            if (b.e.tgt.task[i].t.own.known)
                end_release(&b.e.tgt, &b.e.tgt.task[i].t);
        }
    }
    assert_int_equal(b.e.tgt.terminated, 0);
    shm_stop(&b);
}

static void test_target_rejects_what_cannot_be(void **state)
{
    uint8_t good[ISCSI_BHS_LEN], bhs[ISCSI_BHS_LEN];
    const struct iscsi_pdu p = command_pdu(1, true, 4096);
    struct shm_ends b;
    struct raw r = { 0 };
    unsigned n = 0;

    (void)state;
    iscsi_pdu_encode(good, &p);
    shm_start_with(&b, true, false, NULL);
    b.e.tgt.passive = true;
    r.ring = &b.rings->to_target;

    memcpy(bhs, good, sizeof(bhs));
    bhs[4] = 1; /* an AHS */
    raw_push(&r, bhs, 0, 4096);
    assert_true(shm_until(&b, &b.e.tgt.rejects, ++n));
    assert_int_equal(b.e.tgt.reject, ISCSI_REJECT_NOT_SUPPORTED);

    bhs[4] = 0;
    bhs[0] = ISCSI_OP_DATA_OUT;
    raw_push(&r, bhs, 0, 4096);
    assert_true(shm_until(&b, &b.e.tgt.rejects, ++n));
    assert_int_equal(b.e.tgt.reject, ISCSI_REJECT_PROTOCOL_ERROR);

    for (unsigned op = 0x20; op < 0x40; op++) { /* what only targets send, and what nobody does */
        bhs[0] = (uint8_t)op;
        raw_push(&r, bhs, 0, 0);
        assert_true(shm_until(&b, &b.e.tgt.rejects, ++n));
    }
    bhs[0] = ISCSI_OP_TMF; /* data where the kind has none */
    raw_push(&r, bhs, 0, 1);
    assert_true(shm_until(&b, &b.e.tgt.rejects, ++n));
    assert_int_equal(b.e.tgt.reject, ISCSI_REJECT_PROTOCOL_ERROR);

    memset(&good[5], 0xff, 3); /* a data segment that is not there: nobody asks */
    raw_push(&r, good, 0, 4096);
    assert_true(shm_until(&b, &b.e.tgt.commands, 1));
    assert_int_equal(b.e.tgt.last.data_len, 0);
    raw_push(&r, good, 0, 4096); /* a tag twice */
    assert_true(shm_until(&b, &b.e.tgt.rejects, ++n));
    assert_int_equal(b.e.tgt.reject, ISCSI_REJECT_TASK_IN_PROGRESS);
    assert_int_equal(b.e.tgt.commands, 1);
    assert_int_equal(b.e.tgt.terminated, 0);
    shm_stop(&b);
}

/* Data of other PDUs: a place that is none ends the connection; the bytes are copied before they are told. */
static void test_target_bounds_control_data(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t len;
        bool ok;
    } cases[] = {
        { LOOP_DATA_LEN - 8, 8, true },  { LOOP_DATA_LEN - 7, 8, false }, { LOOP_DATA_LEN, 1, false },
        { UINT64_MAX, 1, false },        { UINT64_MAX - 7, 8, false },    { 0, LOOP_DATA_MAX, true },
        { 0, LOOP_DATA_MAX + 1, false }, { 0, UINT32_MAX, false },        { UINT64_MAX, 0, true },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct iscsi_pdu p = {
            .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .itt = 1, .ttt = ISCSI_TAG_RESERVED
        };
        struct shm_ends b;
        struct raw r = { 0 };

        shm_start_with(&b, true, false, NULL);
        r.ring = &b.rings->to_target;
        if (cases[i].ok)
            pattern_fill(r.ring->data + (cases[i].len ? cases[i].off : 0), 1, cases[i].len);
        raw_pdu(&r, &p, cases[i].off, cases[i].len);
        if (cases[i].ok) {
            assert_true(shm_until(&b, &b.e.tgt.controls, 1));
            assert_int_equal(b.e.tgt.last.data_len, cases[i].len);
            assert_int_equal(pattern_differs(b.e.tgt.data, 1, cases[i].len), cases[i].len);
        } else {
            assert_true(shm_until(&b, &b.e.tgt.terminated, 1));
            assert_int_equal(b.e.tgt.err, -EPROTO);
        }
        shm_stop(&b);
    }
}

/* ---- indexes --------------------------------------------------------------------------------------------- */

/* The producer believes nothing that cannot be: more was taken than was written, or less than before. */
static void test_taken_that_cannot_be_ends_the_connection(void **state)
{
    static const uint32_t jumps[] = { LOOP_SLOTS + 1, LOOP_SLOTS + 2,   0x7fffffff,
                                      0x80000000,     UINT32_MAX - 600, UINT32_MAX };
    struct dm_ctl *ctl = calloc(2000, sizeof(*ctl));

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
        struct shm_ends b;

        shm_start_with(&b, true, false, NULL);
        for (unsigned n = 0; n < LOOP_SLOTS; n++) {
            ctl[n] = (struct dm_ctl){
                .pdu = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = n, .ttt = ISCSI_TAG_RESERVED }
            };
            dm_send_control(b.e.tgt.dm, &ctl[n]);
        }
        atomic_store(&b.rings->to_initiator.taken, jumps[i]);
        ctl[LOOP_SLOTS] = ctl[0];
        ctl[LOOP_SLOTS].tx = (struct dm_tx){ 0 };
        assert_false(dm_send_control(b.e.tgt.dm, &ctl[LOOP_SLOTS]));
        assert_int_equal(b.e.tgt.terminated, 0); /* never from inside the call */
        assert_true(shm_until(&b, &b.e.tgt.terminated, 1));
        assert_int_equal(b.e.tgt.err, -EPROTO);
        shm_stop(&b);
    }
    free(ctl);
}

static void test_taken_that_goes_back_ends_the_connection(void **state)
{
    struct dm_ctl *ctl = calloc(2000, sizeof(*ctl));
    struct dm_stats st;
    struct shm_ends b;

    (void)state;
    shm_start_with(&b, true, false, NULL);
    for (unsigned n = 0; n < 100; n++) {
        ctl[n] = (struct dm_ctl){
            .pdu = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = n, .ttt = ISCSI_TAG_RESERVED }
        };
        dm_send_control(b.e.tgt.dm, &ctl[n]);
    }
    atomic_store(&b.rings->to_initiator.taken, 50);
    dm_stats(b.e.tgt.dm, &st);
    assert_true(st.tx_waiting);
    atomic_store(&b.rings->to_initiator.taken, 49);
    dm_stats(b.e.tgt.dm, &st);
    assert_true(shm_until(&b, &b.e.tgt.terminated, 1));
    assert_int_equal(b.e.tgt.err, -EPROTO);
    shm_stop(&b);
    free(ctl);
}

/* However much is asked for at once: others of the core get their turn. */
static void test_one_turn_takes_a_bounded_amount(void **state)
{
    static const struct {
        uint32_t len;    /* of each */
        unsigned a_turn; /* commands taken in one */
    } cases[] = {
        /* 64 slots and 1 MiB, but for one slot's: dm_shm.h */
        { 0, 64 }, { 4096, 64 }, { 32768, 32 }, { (512u << 10) + 1, 2 }, { 1u << 20, 1 }, { 4u << 20, 1 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct shm_ends b;
        struct raw r = { 0 };

        shm_start_with(&b, true, false, NULL);
        b.e.tgt.refuse = true;
        r.ring = &b.rings->to_target;
        for (unsigned itt = 0; itt < 3 * 64; itt++) {
            const struct iscsi_pdu p = command_pdu(itt, false, cases[i].len);

            raw_pdu(&r, &p, 0, cases[i].len);
        }
        for (unsigned turns = 1; turns <= 2; turns++) {
            assert_true(rt_turn(b.e.rt, 0) >= 0);
            assert_int_equal(b.e.tgt.commands, turns * cases[i].a_turn);
        }
        shm_stop(&b);
    }
}

/* Numbers of slots that are not the next one are no slots, wherever they stand. */
static void test_slots_out_of_turn_are_not_seen(void **state)
{
    static const uint32_t seqs[] = { 0, 2, 3, LOOP_SLOTS, LOOP_SLOTS + 1, 0x80000001, UINT32_MAX };
    struct shm_ends b;
    struct raw r = { 0 };
    const struct iscsi_pdu p = {
        .opcode = ISCSI_OP_NOP_OUT, .immediate = true, .final = true, .itt = 1, .ttt = ISCSI_TAG_RESERVED
    };

    (void)state;
    shm_start_with(&b, true, false, NULL);
    r.ring = &b.rings->to_target;
    for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++) {
        iscsi_pdu_encode(r.ring->slot[0].bhs, &p);
        atomic_store(&r.ring->slot[0].seq, seqs[i]);
        atomic_store(&r.ring->slot[1].seq, 2); /* one that is, behind one that is not */
        turn_some(&b.e, 5);
        assert_int_equal(b.e.tgt.controls, 0);
    }
    raw_pdu(&r, &p, 0, 0);
    assert_true(shm_until(&b, &b.e.tgt.controls, 1));
    shm_stop(&b);
}

/* A flood of bytes, and a sleeper that never is one, cost wake-ups and nothing else. */
static void test_floods_of_wake_ups_do_nothing(void **state)
{
    struct shm_ends b;
    struct raw r = { 0 };
    const struct iscsi_pdu p = command_pdu(1, false, 512);

    (void)state;
    shm_start_with(&b, true, false, NULL);
    r.ring = &b.rings->to_target;
    for (unsigned i = 0; i < 200; i++) {
        static const uint8_t junk[1000];
        const struct iovec v = { (void *)(uintptr_t)junk, sizeof(junk) };
        struct sock_wait w = { .op.done = sock_wait_done };
        const unsigned commands = b.e.tgt.commands;

        rt_send(b.raw.sock, &w.op, &v, 1);
        atomic_store(&b.rings->to_initiator.asleep, 1);
        raw_pdu(&r, &p, 0, 512);
        assert_true(shm_until(&b, &b.e.tgt.commands, commands + 1));
        assert_true(shm_until(&b, &w.done, 1));
        atomic_store(&b.rings->to_initiator.taken, r.head);
    }
    assert_int_equal(b.e.tgt.terminated, 0);
    shm_stop(&b);
}

/* One byte for what a turn wrote, and none for who does not sleep. */
static void test_who_sleeps_is_woken_by_one_byte(void **state)
{
    struct dm_ctl ctl[4] = { 0 };
    struct sock_wait w = { .op.done = sock_wait_done };
    uint8_t bytes[16];
    const struct iovec v = { bytes, sizeof(bytes) };
    struct shm_ends b;

    (void)state;
    shm_start_with(&b, true, false, NULL);
    rt_recv(b.raw.sock, &w.op, &v, 1, 0);
    for (unsigned n = 0; n < 4; n++) {
        ctl[n].pdu =
            (struct iscsi_pdu){ .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = n };
        if (n == 1) {
            turn_some(&b.e, 20);
            assert_false(w.done);
            atomic_store(&b.rings->to_initiator.asleep, 1);
        }
        dm_send_control(b.e.tgt.dm, &ctl[n]);
    }
    assert_true(shm_until(&b, &w.done, 1));
    assert_int_equal(w.res, 1);
    assert_int_equal(atomic_load(&b.rings->to_initiator.asleep), 0);
    assert_int_equal(atomic_load(&b.rings->to_initiator.slot[3].seq), 4);
    shm_stop(&b);
}

/* ---- an initiator against any target --------------------------------------------------------------------- */

static void slot_respond(struct raw *r, uint32_t itt, uint64_t off, uint32_t len)
{
    const struct iscsi_pdu p = {
        .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = itt, .ttt = ISCSI_TAG_RESERVED
    };

    raw_pdu(r, &p, off, len);
}

struct in_case {
    const char *what;
    uint32_t itt, sn, offset, len;
    int64_t off; /* from where the command's place is */
    int want;    /* -EPROTO: it ends; 0: status is told; 1: told, of no task */
};

static void test_initiator_takes_data_only_where_they_belong(void **state)
{
    static const struct in_case cases[] = {
        { "as it should be", 1, 0, 0, 4096, 0, 0 },
        { "less", 1, 0, 0, 100, 0, 0 },
        { "no data", 1, 0, 0, 0, 0, 0 },
        { "one byte too much", 1, 0, 0, 4097, 0, -EPROTO },
        { "everything", 1, 0, 0, UINT32_MAX, 0, -EPROTO },
        { "another place", 1, 0, 0, 4096, 4096, -EPROTO },
        { "a place before", 1, 0, 0, 4096, -1, -EPROTO },
        { "outside", 1, 0, 0, 4096, INT64_MAX, -EPROTO },
        { "with a gap", 1, 0, 512, 512, 0, -EPROTO },
        { "past its end", 1, 0, UINT32_MAX, 1, 0, -EPROTO },
        { "DataSN", 1, 1, 0, 4096, 0, -EPROTO },
        { "unknown tag", 77, 0, 0, 4096, 0, 1 },
        { "a write's tag", 2, 0, 0, 4096, 0, -EPROTO },
    };

    (void)state;
    for (int lent = 0; lent < 2; lent++) {
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
            const struct in_case *c = &cases[i];
            struct iscsi_pdu p = {
                .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->itt, .ttt = ISCSI_TAG_RESERVED
            };
            struct shm_ends b;
            struct raw r = { 0 };
            struct xtask *x;

            shm_start_with(&b, false, true, NULL);
            r.ring = &b.rings->to_initiator;
            if (lent)
                shm_lend(&b, 1, 4096, 0);
            x = end_submit(&b.e.ini, 1, false, 4096);
            end_submit(&b.e.ini, 2, true, 4096);
            p.resp.has_status = true;
            p.resp.data_sn = c->sn;
            p.resp.offset = c->offset;
            raw_pdu(&r, &p, b.rings->to_target.slot[0].off + (uint64_t)c->off, c->len);
            if (c->want == -EPROTO) {
                assert_true(shm_until(&b, &b.e.ini.terminated, 1));
                assert_int_equal(b.e.ini.err, -EPROTO);
                assert_false(x->done);
            } else {
                assert_true(shm_until(&b, &b.e.ini.controls, 1));
                assert_int_equal(x->done, !c->want);
                assert_int_equal(x->t.in_done, c->want ? 0 : c->len);
            }
            assert_int_equal(x->mem[4096], 0xdd);
            dm_terminate(b.e.ini.dm, false);
            assert_true(shm_until(&b, &b.e.ini.closed, 1));
            if (lent)
                shm_unlend(&b, 1, 4096, 0);
            shm_stop(&b);
        }
    }
}

/* An answer twice, one to a command that is still here, an R2T, data that no area holds, a status that is rewritten. */
static void test_initiator_believes_no_answer_twice(void **state)
{
    const struct iscsi_pdu r2t = {
        .opcode = ISCSI_OP_R2T, .itt = 2, .final = true, .ttt = 1, .r2t = { .length = 1 }
    };

    (void)state;
    for (unsigned how = 0; how < 5; how++) {
        struct shm_ends b;
        struct raw r = { 0 };

        shm_start_with(&b, false, true, NULL);
        r.ring = &b.rings->to_initiator;
        b.e.ini.passive = how == 0;
        for (uint32_t n = 0; n < 8; n++) /* of 8 MiB of stand-ins the first four take all */
            end_submit(&b.e.ini, n, true, MEM_MAX - 16);
        assert_true(b.e.ini.task[7].ctl_out);
        switch (how) {
        case 0:
            slot_respond(&r, 1, 0, 0);
            slot_respond(&r, 1, 0, 0);
            assert_true(shm_until(&b, &b.e.ini.controls, 2));
            assert_int_equal(b.e.ini.terminated, 0);
            break;
        case 1: slot_respond(&r, 7, 0, 0); break;
        case 2: raw_pdu(&r, &r2t, 0, 0); break;
        case 3: slot_respond(&r, 2, LOOP_DATA_LEN - 1, 2); break;
        case 4: slot_respond(&r, 2, 0, LOOP_DATA_MAX + 1); break;
        }
        if (how) {
            assert_true(shm_until(&b, &b.e.ini.terminated, 1));
            assert_int_equal(b.e.ini.err, -EPROTO);
        }
        shm_stop(&b);
    }
}

/* Nothing but those that cannot be: undecodable ones are told as rejects, and the connection goes on. */
static void test_initiator_tells_pdus_that_break_the_protocol(void **state)
{
    struct shm_ends b;
    struct raw r = { 0 };
    unsigned n = 0;

    (void)state;
    shm_start_with(&b, false, true, NULL);
    r.ring = &b.rings->to_initiator;
    for (unsigned op = 0; op < 0x20; op++) {
        const uint8_t bhs[ISCSI_BHS_LEN] = { (uint8_t)op, 0x80 };

        raw_push(&r, bhs, 0, 0);
        assert_true(shm_until(&b, &b.e.ini.rejects, ++n));
    }
    assert_int_equal(b.e.ini.terminated, 0);
    shm_stop(&b);
}

/* A peer that speaks where nothing is to come any more. */
static void test_words_on_tcp_end_the_connection(void **state)
{
    struct dm_ctl ctl = { .pdu = { .opcode = ISCSI_OP_LOGIN, .itt = 1, .login = { .csg = 1 } } };
    struct shm_ends b;

    (void)state;
    shm_start_with(&b, true, false, NULL);
    dm_send_control(b.e.ini.dm, &ctl); /* still the TCP datamover */
    assert_true(shm_until(&b, &b.e.tgt.terminated, 1));
    assert_int_equal(b.e.tgt.err, -EPROTO);
    shm_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target_judges_where_data_lie),
        cmocka_unit_test(test_target_rejects_what_cannot_be),
        cmocka_unit_test(test_target_bounds_control_data),
        cmocka_unit_test(test_taken_that_cannot_be_ends_the_connection),
        cmocka_unit_test(test_taken_that_goes_back_ends_the_connection),
        cmocka_unit_test(test_one_turn_takes_a_bounded_amount),
        cmocka_unit_test(test_slots_out_of_turn_are_not_seen),
        cmocka_unit_test(test_floods_of_wake_ups_do_nothing),
        cmocka_unit_test(test_who_sleeps_is_woken_by_one_byte),
        cmocka_unit_test(test_initiator_takes_data_only_where_they_belong),
        cmocka_unit_test(test_initiator_believes_no_answer_twice),
        cmocka_unit_test(test_initiator_tells_pdus_that_break_the_protocol),
        cmocka_unit_test(test_words_on_tcp_end_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
