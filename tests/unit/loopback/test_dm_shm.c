/* The shared-memory datamover between two of our own: what test_dm_tcp.c says of TCP, and what only memory can do. */
#include <sys/resource.h>
#include "tests/unit/loopback/shm_ends.h"

static const uint32_t sizes[] = { 0, 1, 3, 511, 512, 4096, 8193, 65537, 262144, 1048579 };

/* One request, checked at both ends. */
static void run_one(struct shm_ends *b, bool write, uint32_t len)
{
    const uint32_t itt = 5;
    struct xtask *y = xtask_at(&b->e.tgt, itt), *x;
    const unsigned released = b->e.ini.released;

    x = end_submit(&b->e.ini, itt, write, len);
    assert_true(shm_until(b, &b->e.ini.released, released + 1));
    assert_true(x->done);
    assert_int_equal(x->status, 0);
    if (write) {
        assert_int_equal(x->t.out_done, len);
        assert_int_equal(y->t.out_done, len);
        assert_int_equal(pattern_differs(y->mem, itt, len), len);
    } else {
        assert_int_equal(x->t.in_done, len);
        assert_int_equal(pattern_differs(x->mem, itt, len), len);
        assert_int_equal(x->mem[len], 0xdd);
    }
    if (y->t.own.known)
        end_release(&b->e.tgt, &y->t);
    assert_false(y->busy);
}

static void test_moves_every_size_in_every_way(void **state)
{
    static const uint32_t pieces[] = { 0, 4096, 511 };

    (void)state;
    for (unsigned combo = 0; combo < 4; combo++) {
        struct shm_ends b;

        shm_start(&b);
        b.e.ini.at_once = b.e.tgt.at_once = combo & 1;
        b.e.tgt.step = combo & 2 ? 5000 : 0;
        for (unsigned p = 0; p < ARRAY_SIZE(pieces); p++) {
            b.e.ini.piece = b.e.tgt.piece = pieces[p];
            for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
                run_one(&b, false, sizes[i]);
                run_one(&b, true, sizes[i]);
            }
        }
        assert_int_equal(b.e.ini.cancelled + b.e.tgt.cancelled, 0);
        shm_stop(&b);
    }
}

/* ---- memory that both use -------------------------------------------------------------------------------- */

static unsigned places, odd_places;

/* A target whose device works in the shared memory. */
static struct dm_task *direct_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct end *e = user;
    struct xtask *x = xtask_at(e, pdu->itt);
    const struct iscsi_pdu status = { .opcode = ISCSI_OP_SCSI_RESP, .exp_cmd_sn = 1, .max_cmd_sn = 64 };
    uint8_t *place = dm_place(e->dm);

    if (!place) {
        odd_places++;
        return end_command(user, pdu, ahs);
    }
    places++;
    assert_false(x->t.own.known);
    x->t.itt = pdu->itt;
    x->t.edtl = pdu->cmd.edtl;
    x->write = pdu->cmd.write;
    x->busy = true;
    x->t.out = x->t.in = (struct dm_buf){ 0 };
    if (x->write) {
        assert_int_equal(pattern_differs(place, pdu->itt, pdu->cmd.edtl), pdu->cmd.edtl);
        return &x->t;
    }
    pattern_fill(place, pdu->itt, pdu->cmd.edtl);
    x->iov[0] = (struct iovec){ place, pdu->cmd.edtl };
    x->t.in = (struct dm_buf){ x->iov, 1, pdu->cmd.edtl };
    assert_true(dm_put_data(e->dm, &x->t, 0, pdu->cmd.edtl, true, &status));
    end_release(e, &x->t);
    return &x->t; /* released already: the datamover takes no notice of it */
}

static void direct_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct xtask *x = container_of(task, struct xtask, t);

    if (!task->out.len && what == DM_DATA_UNSOLICITED)
        target_respond(x, 0);
    else
        end_data(user, task, what, how);
}

static void test_device_works_in_the_callers_memory(void **state)
{
    struct dm_events events = end_events;
    struct shm_ends b;

    (void)state;
    events.command_notify = direct_command;
    events.data_completion_notify = direct_data;
    for (uint32_t skip = 0; skip < 1024; skip += 512) {
        places = odd_places = 0;
        shm_start_with(&b, false, false, &events);
        for (unsigned i = 1; i < ARRAY_SIZE(sizes); i++) {
            struct xtask *x, *y = xtask_at(&b.e.tgt, 9);

            for (int write = 0; write < 2; write++) {
                const unsigned released = b.e.ini.released;

                shm_lend(&b, 9, sizes[i], skip);
                x = end_submit(&b.e.ini, 9, write, sizes[i]);
                assert_false(x->t.own.bounced);
                assert_true(shm_until(&b, &b.e.ini.released, released + 1));
                if (!write)
                    assert_int_equal(pattern_differs(x->mem, 9, sizes[i]), sizes[i]);
                if (y->t.own.known)
                    end_release(&b.e.tgt, &y->t);
                shm_unlend(&b, 9, sizes[i], skip);
            }
        }
        assert_int_equal(places, skip ? 0 : 2 * (ARRAY_SIZE(sizes) - 1));
        assert_int_equal(odd_places, skip ? 2 * (ARRAY_SIZE(sizes) - 1) : 0);
        shm_stop(&b);
    }
}

/* Who is told of a command may release another one first: the new one is a task all the same. */
static struct dm_task *releasing_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    struct end *e = user;

    if (pdu->itt == 1)
        end_release(e, &e->task[0].t);
    return end_command(user, pdu, ahs);
}

static void test_release_of_another_while_a_command_is_told(void **state)
{
    struct dm_events events = end_events;
    struct shm_ends b;

    (void)state;
    events.command_notify = releasing_command;
    shm_start_with(&b, false, false, &events);
    b.e.tgt.passive = true;
    end_submit(&b.e.ini, 0, true, 4096);
    assert_true(shm_until(&b, &b.e.tgt.commands, 1));
    turn_some(&b.e, 2);
    assert_true(b.e.tgt.task[0].t.own.known);
    end_submit(&b.e.ini, 1, true, 4096);
    assert_true(shm_until(&b, &b.e.tgt.commands, 2));
    turn_some(&b.e, 2);
    assert_int_equal(b.e.tgt.released, 1);
    assert_false(b.e.tgt.task[0].t.own.known);
    assert_true(b.e.tgt.task[1].t.own.known);
    assert_int_equal(b.e.tgt.task[1].unsolicited, 1);
    b.e.tgt.passive = false;
    target_get_next(&b.e.tgt.task[1]);
    assert_true(shm_until(&b, &b.e.ini.controls, 1));
    assert_int_equal(pattern_differs(b.e.tgt.task[1].mem, 1, 4096), 4096);
    shm_stop(&b);
}

/* A stand-in begins on a page too: a device needs no more than one copy, on the initiator. */
static void test_stand_in_is_a_place(void **state)
{
    struct dm_events events = end_events;
    struct shm_ends b;

    (void)state;
    places = odd_places = 0;
    events.command_notify = direct_command;
    events.data_completion_notify = direct_data;
    shm_start_with(&b, false, false, &events);
    b.e.ini.piece = 511;
    for (unsigned n = 0; n < 2; n++) {
        struct xtask *y = xtask_at(&b.e.tgt, 5);
        struct xtask *x = end_submit(&b.e.ini, 5, n, 20000);

        assert_true(x->t.own.bounced);
        assert_true(shm_until(&b, &b.e.ini.released, n + 1));
        if (!n)
            assert_int_equal(pattern_differs(x->mem, 5, 20000), 20000);
        if (y->t.own.known)
            end_release(&b.e.tgt, &y->t);
    }
    assert_int_equal(places, 2);
    shm_stop(&b);
}

/* ---- control PDUs ---------------------------------------------------------------------------------------- */

static void ping(struct shm_ends *b, bool from_target, const void *data, uint32_t len, uint32_t n)
{
    struct end *e = from_target ? &b->e.tgt : &b->e.ini;
    struct xtask *x = xtask_at(e, n);

    x->ctl.pdu = (struct iscsi_pdu){ .opcode = from_target ? ISCSI_OP_NOP_IN : ISCSI_OP_NOP_OUT,
                                     .final = true,
                                     .immediate = !from_target,
                                     .itt = from_target ? ISCSI_TAG_RESERVED : n,
                                     .ttt = from_target ? n : ISCSI_TAG_RESERVED,
                                     .data_len = len };
    x->ctl.data = data;
    x->ctl.sent = end_sent;
    x->ctl_out = true;
    end_send(e, &x->ctl);
}

static void test_control_pdus_bring_their_data(void **state)
{
    static const uint32_t lens[] = { 0, 1, 1023, 1024, 1025, 8192, LOOP_DATA_MAX - 1, LOOP_DATA_MAX };
    uint8_t *data = malloc(LOOP_DATA_MAX);
    unsigned n = 0;
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    for (unsigned round = 0; round < 8; round++) { /* round the data area several times */
        for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
            for (int tgt = 0; tgt < 2; tgt++) {
                struct end *to = tgt ? &b.e.ini : &b.e.tgt, *from = tgt ? &b.e.tgt : &b.e.ini;
                const unsigned controls = to->controls, sent = from->sent;

                pattern_fill(data, ++n, lens[i]);
                ping(&b, tgt, data, lens[i], 3);
                assert_int_equal(from->sent, sent); /* never from inside the call */
                assert_true(shm_until(&b, &to->controls, controls + 1));
                assert_true(shm_until(&b, &from->sent, sent + 1));
                assert_int_equal(to->last.data_len, lens[i]);
                assert_int_equal(pattern_differs(to->data, n, lens[i]), lens[i]);
            }
        }
    }
    free(data);
    shm_stop(&b);
}

/* More than the ring and its data area hold: they wait, and arrive in order. */
static void test_full_ring_keeps_the_order(void **state)
{
    static uint8_t data[LOOP_DATA_MAX];
    struct dm_ctl *ctl = calloc(2000, sizeof(*ctl));
    struct dm_stats st;
    struct shm_ends b;

    (void)state;
    for (int big = 0; big < 2; big++) {
        const unsigned nr = big ? 40 : 2000;

        shm_start(&b);
        b.e.tgt.passive = true;
        for (unsigned i = 0; i < nr; i++) {
            ctl[i] = (struct dm_ctl){ .pdu = { .opcode = ISCSI_OP_NOP_OUT,
                                               .immediate = true,
                                               .final = true,
                                               .itt = i,
                                               .ttt = ISCSI_TAG_RESERVED,
                                               .data_len = big ? LOOP_DATA_MAX - i : 0 },
                                      .data = data };
            dm_send_control(b.e.ini.dm, &ctl[i]);
        }
        dm_stats(b.e.ini.dm, &st);
        assert_true(st.tx_waiting);
        while (b.e.tgt.controls < nr) {
            const unsigned before = b.e.tgt.controls;

            assert_true(shm_until(&b, &b.e.tgt.controls, before + 1));
            assert_int_equal(b.e.tgt.last.itt, b.e.tgt.controls - 1);
        }
        turn_some(&b.e, 4);
        dm_stats(b.e.ini.dm, &st);
        assert_false(st.tx_waiting);
        shm_stop(&b);
    }
    free(ctl);
}

static void test_many_tasks_share_a_connection(void **state)
{
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    for (unsigned round = 0; round < 20; round++) {
        const unsigned released = b.e.ini.released;

        for (uint32_t n = 0; n < TASKS / 2; n++)
            end_submit(&b.e.ini, n, (n + round) & 1, 1 + n * 7919 % 100000);
        assert_true(shm_until(&b, &b.e.ini.released, released + TASKS / 2));
        for (uint32_t n = 0; n < TASKS / 2; n++) {
            struct xtask *x = &b.e.ini.task[n], *y = &b.e.tgt.task[n];

            assert_int_equal(x->status, 0);
            if (!x->write)
                assert_int_equal(pattern_differs(x->mem, n, x->t.edtl), x->t.edtl);
            if (y->t.own.known)
                end_release(&b.e.tgt, &y->t);
        }
    }
    shm_stop(&b);
}

/* Sizes of stand-ins that do not fit side by side: later ones wait until earlier ones are answered. */
static void test_commands_wait_for_stand_ins(void **state)
{
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    for (uint32_t n = 0; n < 16; n++)
        end_submit(&b.e.ini, n, n & 1, MEM_MAX - 16);
    assert_true(b.e.ini.task[15].t.own.tx.queued || b.e.ini.task[15].ctl.tx.queued);
    assert_true(shm_until(&b, &b.e.ini.released, 16));
    for (uint32_t n = 0; n < 16; n++)
        assert_int_equal(b.e.ini.task[n].status, 0);
    shm_stop(&b);
}

static void send_immediate(struct shm_ends *b, struct dm_ctl *ctl, enum iscsi_tmf function, uint32_t itt)
{
    *ctl = (struct dm_ctl){ .pdu = { .opcode = function ? ISCSI_OP_TMF : ISCSI_OP_NOP_OUT,
                                     .immediate = true,
                                     .final = true,
                                     .itt = 1000 + itt } };
    if (function) {
        ctl->pdu.tmf.function = (uint8_t)function;
        ctl->pdu.tmf.ref_task_tag = itt;
    } else {
        ctl->pdu.ttt = ISCSI_TAG_RESERVED;
    }
    dm_send_control(b->e.ini.dm, ctl);
}

/* The target answers nothing, so commands wait for stand-ins. A ping goes out all the same, as does the abort of a command
 * that the target has; that of one that is queued stays behind it, and so does the reset of a unit. */
static void test_pings_do_not_wait_for_stand_ins(void **state)
{
    struct dm_ctl ping, abort_sent, abort_queued, reset;
    struct dm_stats st;
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    for (uint32_t n = 0; n < 5; n++)
        end_submit(&b.e.ini, n, true, MEM_MAX - 16);
    assert_true(b.e.ini.task[4].ctl.tx.queued);
    assert_true(shm_until(&b, &b.e.tgt.commands, 4));
    turn_some(&b.e, 2);
    dm_stats(b.e.ini.dm, &st);
    assert_false(st.tx_waiting);            /* the target has taken all that it could */
    send_immediate(&b, &abort_queued, ISCSI_TMF_ABORT_TASK, 4);
    send_immediate(&b, &reset, ISCSI_TMF_LUN_RESET, 1);
    send_immediate(&b, &ping, 0, 2);
    send_immediate(&b, &abort_sent, ISCSI_TMF_ABORT_TASK, 3);
    assert_true(shm_until(&b, &b.e.tgt.controls, 2));
    assert_int_equal(b.e.tgt.last.itt, 1003);
    turn_some(&b.e, 20);
    assert_int_equal(b.e.tgt.controls, 2);
    assert_int_equal(b.e.tgt.commands, 4);
    target_respond(&b.e.tgt.task[0], 0);
    assert_true(shm_until(&b, &b.e.tgt.controls, 4));
    assert_int_equal(b.e.tgt.commands, 5);
    assert_int_equal(b.e.tgt.last.itt, 1001);
    shm_stop(&b);
}

/* ---- release --------------------------------------------------------------------------------------------- */

/* Released in each state, at either end: the connection goes on, and memory is safe. */
static void test_release_in_each_state_keeps_the_connection(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 8; turns++) {
        for (int lent = 0; lent < 2; lent++) {
            for (int write = 0; write < 2; write++) {
                struct shm_ends b;
                struct xtask *x;

                shm_start(&b);
                b.e.tgt.passive = turns & 1;
                if (lent)
                    shm_lend(&b, 5, 8192, 0);
                x = end_submit(&b.e.ini, 5, write, 8192);
                for (unsigned n = 0; n < turns; n++)
                    rt_turn(b.e.rt, 0);
                if (x->busy) {
                    end_release(&b.e.ini, &x->t);
                    assert_true(shm_until(&b, &b.e.ini.released, 1));
                    if (lent)
                        assert_false(loop_arena_shared(b.arena, x->mem, 8192));
                }
                memset(x->mem, 0x5a, 8192);
                assert_true(shm_until(&b, &b.e.tgt.commands, 1));
                turn_some(&b.e, 20);
                for (uint32_t i = 0; i < TASKS; i++)
                    if (b.e.tgt.task[i].t.own.known)
                        end_release(&b.e.tgt, &b.e.tgt.task[i].t);
                for (uint32_t i = 0; i < 8192; i++)
                    assert_int_equal(x->mem[i], 0x5a); /* what is written late reaches nobody */
                if (lent)
                    shm_unlend(&b, 5, 8192, 0);
                b.e.tgt.passive = false;
                end_submit(&b.e.ini, 7, false, 4096);
                assert_true(shm_until(&b, &b.e.ini.released, 2));
                assert_int_equal(pattern_differs(b.e.ini.task[7].mem, 7, 4096), 4096);
                shm_stop(&b);
            }
        }
    }
}

/* A stand-in that the target may still use is no other command's; one that it is through with is. */
static void test_stand_in_of_an_unanswered_command_is_lost(void **state)
{
    struct shm_ends b;
    uint8_t *lost, *next;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    lost = end_submit(&b.e.ini, 1, false, 4096)->t.own.place;
    end_release(&b.e.ini, &b.e.ini.task[1].t);
    for (uint32_t n = 2; n < 40; n++) {
        next = end_submit(&b.e.ini, n, false, 4096)->t.own.place;
        assert_ptr_not_equal(next, lost);
    }
    assert_true(shm_until(&b, &b.e.tgt.commands, 39));
    target_put_next(&b.e.tgt.task[39], 0);
    assert_true(shm_until(&b, &b.e.ini.released, 2));
    assert_ptr_equal(end_submit(&b.e.ini, 40, false, 4096)->t.own.place, next);
    shm_stop(&b);
}

/* A command's memory cannot be taken away from the target, for want of a mapping: it is nobody else's until it can. */
static void test_memory_that_cannot_be_taken_away_is_not_given_back(void **state)
{
    struct rlimit was, none;
    struct shm_ends b;
    uint8_t *mem, *theirs;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    shm_lend(&b, 1, 4096, 0);
    mem = end_submit(&b.e.ini, 1, false, 4096)->mem;
    assert_true(shm_until(&b, &b.e.tgt.commands, 1));
    theirs = b.e.tgt.task[1].t.own.place;
    assert_int_equal(getrlimit(RLIMIT_AS, &was), 0);
    none = (struct rlimit){ .rlim_cur = 4096, .rlim_max = was.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    end_release(&b.e.ini, &b.e.ini.task[1].t);
    for (int i = 0; i < 30; i++)            /* three times as long as until it is tried again */
        rt_turn(b.e.rt, 10 * RT_MS);
    assert_int_equal(setrlimit(RLIMIT_AS, &was), 0);
    assert_int_equal(b.e.ini.released, 0);
    *theirs = 'x';
    assert_int_equal(*mem, 'x');
    assert_true(shm_until(&b, &b.e.ini.released, 1));
    *theirs = 'y';
    assert_int_equal(*mem, 'x');
    shm_unlend(&b, 1, 4096, 0);
    shm_stop(&b);
}

/* A command that waits for room is released: its number is spent, so something goes out, but it does nothing. */
static void test_queued_command_goes_out_as_nothing(void **state)
{
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    for (uint32_t n = 0; n < 8; n++)
        end_submit(&b.e.ini, n, true, MEM_MAX - 16);
    assert_true(b.e.ini.task[7].ctl.tx.queued);
    end_release(&b.e.ini, &b.e.ini.task[7].t);
    assert_int_equal(b.e.ini.released, 0);  /* in a later turn */
    assert_true(shm_until(&b, &b.e.ini.released, 1));
    assert_true(b.e.ini.task[7].ctl_out);   /* still to be sent */
    b.e.tgt.passive = false;
    for (uint32_t n = 0; n < 7; n++) {
        assert_true(shm_until(&b, &b.e.tgt.commands, n + 1 > 3 ? 3 : n + 1));
        if (b.e.tgt.task[n].t.own.known)
            target_respond(&b.e.tgt.task[n], 0);
    }
    assert_true(shm_until(&b, &b.e.tgt.commands, 8));
    assert_int_equal(b.e.tgt.last.itt, 7);
    assert_int_equal(b.e.tgt.last.cmd.edtl, 0);
    assert_int_equal(b.e.tgt.last.cmd.cdb[0], 0);
    assert_false(b.e.tgt.last.cmd.write);
    shm_stop(&b);
}

/* Two reads in one page, one of them given up: what the target writes for the other is lost to us, and must not be taken
 * for data. */
static void test_page_taken_away_under_another_read_ends_the_connection(void **state)
{
    struct shm_ends b;
    uint8_t *mem;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    mem = loop_arena_get(b.arena, 4096);
    for (uint32_t n = 0; n < 2; n++) {
        struct xtask *x = xtask_at(&b.e.ini, n);

        free(x->mem);
        x->mem = mem + n * 1024;
        end_submit(&b.e.ini, n, false, 512);
    }
    assert_true(shm_until(&b, &b.e.tgt.commands, 2));
    end_release(&b.e.ini, &b.e.ini.task[0].t);
    target_put_next(&b.e.tgt.task[1], 0);
    assert_true(shm_until(&b, &b.e.ini.terminated, 1));
    assert_int_equal(b.e.ini.err, -ECONNRESET);
    assert_false(b.e.ini.task[1].done);
    b.e.ini.task[0].mem = b.e.ini.task[1].mem = NULL;
    loop_arena_put(b.arena, mem, 4096);
    shm_stop(&b);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void test_terminate_drains_what_is_queued(void **state)
{
    struct dm_ctl *ctl = calloc(1000, sizeof(*ctl));
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    for (unsigned i = 0; i < 1000; i++) {
        ctl[i] = (struct dm_ctl){
            .pdu = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = i, .ttt = ISCSI_TAG_RESERVED }
        };
        dm_send_control(b.e.tgt.dm, &ctl[i]);
    }
    dm_terminate(b.e.tgt.dm, true);
    assert_true(shm_until(&b, &b.e.tgt.closed, 1));
    assert_true(shm_until(&b, &b.e.ini.terminated, 1));
    assert_int_equal(b.e.ini.controls, 1000);
    assert_int_equal(b.e.ini.err, -ECONNRESET);
    assert_int_equal(b.e.tgt.terminated, 0);
    shm_stop(&b);
    free(ctl);
}

/* A peer that takes nothing is waited for a second, and told apart by the statistics. */
static void test_drain_gives_up(void **state)
{
    struct dm_stats st;
    struct shm_ends b;
    uint64_t at;

    (void)state;
    shm_start_with(&b, false, true, NULL);
    end_submit(&b.e.ini, 1, false, 512);
    dm_stats(b.e.ini.dm, &st);
    at = st.tx_at_ns;
    assert_true(st.tx_waiting);
    turn_some(&b.e, 50);
    dm_stats(b.e.ini.dm, &st);
    assert_true(st.tx_waiting);
    assert_int_equal(st.tx_at_ns, at);
    dm_terminate(b.e.ini.dm, true);
    assert_true(shm_until(&b, &b.e.ini.closed, 1));
    assert_int_equal(b.e.ini.terminated, 0);
    shm_stop(&b);
}

/* What was answered before the end counts, though the socket tells of the end first. */
static void test_answers_before_the_end_are_heard(void **state)
{
    struct shm_ends b;

    (void)state;
    shm_start(&b);
    b.e.tgt.passive = true;
    for (uint32_t n = 0; n < 32; n++)
        end_submit(&b.e.ini, n, false, 512);
    assert_true(shm_until(&b, &b.e.tgt.commands, 32));
    for (uint32_t n = 0; n < 32; n++)
        target_put_next(&b.e.tgt.task[n], 0);
    dm_terminate(b.e.tgt.dm, false);
    assert_true(shm_until(&b, &b.e.ini.terminated, 1));
    assert_int_equal(b.e.ini.released, 32);
    shm_stop(&b);
}

/* Commands that a target has not read when its initiator gives up are sent again elsewhere: they must not be found later. */
static void test_what_was_not_taken_is_taken_back(void **state)
{
    (void)state;
    for (unsigned drain = 0; drain < 2; drain++) {
        struct shm_ends b;

        shm_start(&b);
        for (uint32_t n = 0; n < 8; n++)
            end_submit(&b.e.ini, n, true, 4096);
        dm_terminate(b.e.ini.dm, drain);
        assert_true(shm_until(&b, &b.e.tgt.terminated, 1));
        assert_true(shm_until(&b, &b.e.ini.closed, 1));
        assert_int_equal(b.e.tgt.commands, drain ? 8 : 0);
        shm_stop(&b);
    }
}

/* Either end goes at any moment: the other is told once, both close, and no unanswered memory is shared any more. */
static void test_peer_may_go_at_any_moment(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 12; turns++) {
        for (int who = 0; who < 4; who++) {
            struct shm_ends b;
            struct end *goes, *stays;

            shm_start(&b);
            goes = who & 1 ? &b.e.ini : &b.e.tgt;
            stays = who & 1 ? &b.e.tgt : &b.e.ini;
            b.e.tgt.passive = who & 2;
            shm_lend(&b, 3, 65536, 0);
            for (uint32_t n = 0; n < 8; n++)
                end_submit(&b.e.ini, n, n & 1, 65536);
            for (unsigned n = 0; n < turns; n++)
                rt_turn(b.e.rt, 0);
            dm_terminate(goes->dm, turns & 1);
            assert_true(shm_until(&b, &stays->terminated, 1));
            assert_true(shm_until(&b, &goes->closed, 1));
            dm_terminate(stays->dm, true);
            assert_true(shm_until(&b, &stays->closed, 1));
            assert_int_equal(stays->terminated, 1);
            assert_int_equal(goes->terminated, 0);
            assert_int_equal(b.e.ini.sent + b.e.ini.cancelled, 8);
            for (uint32_t n = 0; n < 8; n++)
                assert_false(b.e.ini.task[n].t.own.known);
            if (!b.e.ini.task[3].released)
                assert_false(loop_arena_shared(b.arena, b.e.ini.task[3].mem, 65536));
            shm_unlend(&b, 3, 65536, 0);
            shm_stop(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_every_size_in_every_way),
        cmocka_unit_test(test_device_works_in_the_callers_memory),
        cmocka_unit_test(test_release_of_another_while_a_command_is_told),
        cmocka_unit_test(test_stand_in_is_a_place),
        cmocka_unit_test(test_control_pdus_bring_their_data),
        cmocka_unit_test(test_full_ring_keeps_the_order),
        cmocka_unit_test(test_many_tasks_share_a_connection),
        cmocka_unit_test(test_commands_wait_for_stand_ins),
        cmocka_unit_test(test_pings_do_not_wait_for_stand_ins),
        cmocka_unit_test(test_release_in_each_state_keeps_the_connection),
        cmocka_unit_test(test_stand_in_of_an_unanswered_command_is_lost),
        cmocka_unit_test(test_memory_that_cannot_be_taken_away_is_not_given_back),
        cmocka_unit_test(test_queued_command_goes_out_as_nothing),
        cmocka_unit_test(test_page_taken_away_under_another_read_ends_the_connection),
        cmocka_unit_test(test_terminate_drains_what_is_queued),
        cmocka_unit_test(test_drain_gives_up),
        cmocka_unit_test(test_answers_before_the_end_are_heard),
        cmocka_unit_test(test_what_was_not_taken_is_taken_back),
        cmocka_unit_test(test_peer_may_go_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
