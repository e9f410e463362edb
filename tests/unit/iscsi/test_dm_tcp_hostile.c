/* A datamover against a peer that says valid things at the wrong time, and against one that says anything. */
#include "tests/unit/iscsi/dm_bytes.h"

/* ---- too early ----------------------------------------------------------------------------------------- */

/* Tags can be guessed: a target must not move the data of a command that it was not yet sent. */
static void test_answers_to_a_command_not_yet_sent_end_the_connection(void **state)
{
    const struct {
        const char *what;
        bool write;
        struct iscsi_pdu pdu;
    } rows[] = {
        { "R2T", true, r2t(4, 8, 0, 0, 1000) },
        { "Data-In", false, data_in(4, 0, 0, 1000, true) },
        { "SCSI Response", true, { .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = 4 } },
    };
    struct ends b = { 0 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iscsi_params p = params_usual();
        static struct bytes s;

        p.initial_r2t = 0;                  /* so that the command begins a sequence of its own */
        p.immediate_data = 0;
        raw_start(&b, ISCSI_INITIATOR, &p);
        s.len = 0;
        bytes_pdu(&s, rows[i].pdu, text);
        turn_some(&b, 2);
        assert_int_equal(write(b.fd, s.at, s.len), s.len);
        end_submit(&b.ini, 4, rows[i].write, 100000);   /* leaves at the end of the coming turn */
        expect_fate(&b, &b.ini, FATE_PROTO, rows[i].what);
        assert_int_equal(b.ini.task[4].t.in_done, 0);
        assert_int_equal(b.ini.controls, 0);
    }
    ends_stop(&b);
}

/* ---- many pieces --------------------------------------------------------------------------------------- */

/* A command with an AHS, its digest and immediate data in more pieces than a send takes. */
static void test_command_with_ahs_and_scattered_data_fits_into_a_send(void **state)
{
    static const uint8_t ahs[8] = { 0, 5, 1 };
    struct ends b = { 0 };

    (void)state;
    for (uint32_t pieces = 240; pieces < 262; pieces++) {
        struct iscsi_params p = params_split(1);
        static uint8_t sent[4096];
        const uint8_t *data;
        struct iscsi_pdu cmd;
        struct xtask *x;

        p.initial_r2t = 1;
        raw_start(&b, ISCSI_INITIATOR, &p);
        x = end_submit(&b.ini, 4, true, pieces * 2);
        for (uint32_t i = 0; i < pieces; i++)   /* apart from each other, so that none can be joined */
            x->iov[i] = (struct iovec){ x->mem + i * 8, 2 };
        for (uint32_t i = 0; i < pieces * 2; i++)
            x->mem[i / 2 * 8 + i % 2] = pattern(4, i);
        x->t.out = (struct dm_buf){ x->iov, pieces, pieces * 2 };
        x->ctl.pdu.ahs_len = sizeof(ahs);
        x->ctl.ahs = ahs;
        assert_in_range(raw_read(&b, sent, sizeof(sent)), ISCSI_BHS_LEN + sizeof(ahs), sizeof(sent));
        assert_int_equal(iscsi_pdu_decode(&cmd, sent, ISCSI_FROM_INITIATOR), ISCSI_REJECT_NONE);
        assert_true(cmd.data_len > 400 && cmd.data_len <= pieces * 2);
        data = sent + ISCSI_BHS_LEN + sizeof(ahs) + ISCSI_DIGEST_LEN;
        assert_int_equal(pattern_differs(data, 4, cmd.data_len), cmd.data_len);
    }
    ends_stop(&b);
}

/* ---- data that nobody asked for ------------------------------------------------------------------------ */

/* A Data-Out for a known task that waits for none: answered, and the task is left alone. */
static void test_data_out_that_no_one_waits_for_is_rejected(void **state)
{
    struct ends b = { 0 };
    const struct iscsi_params p = params_usual();
    static struct bytes s;

    (void)state;
    for (int solicited = 0; solicited < 2; solicited++) {
        raw_start(&b, ISCSI_TARGET, &p);
        b.tgt.passive = true;
        s.len = 0;
        bytes_pdu(&s, write_cmd(4, 1000, 1000, true), text);
        bytes_pdu(&s, data_out(4, solicited ? 0 : ISCSI_TAG_RESERVED, 0, 0, 500, true), text + 500);
        bytes_pdu(&s, ping(1, 0), "");
        raw_write(&b, s.at, s.len);
        expect_fate(&b, &b.tgt, FATE_REJECT, "data after the end");
        assert_int_equal(b.tgt.reject, ISCSI_REJECT_PROTOCOL_ERROR);
        assert_int_equal(b.tgt.controls, 1);
        assert_int_equal(b.tgt.task[4].unsolicited, 1);
        assert_int_equal(b.tgt.task[4].how, DM_OK);
        assert_int_equal(pattern_differs(b.tgt.task[4].mem, 4, 1000), 1000);
    }
    ends_stop(&b);
}

/* ---- an end with much under way ------------------------------------------------------------------------ */

/* While it drains it goes on taking what comes, even if a receive was just cut short for a released task: a
 * peer that first wants to be rid of its own bytes would never read ours. */
static void test_drain_after_a_release_goes_on_receiving(void **state)
{
    enum { PINGS = 6, MORE = 1 << 20 };
    static struct dm_ctl pings[PINGS];
    static struct bytes s;
    static uint8_t sink[1 << 16];
    const struct iscsi_params p = params_usual();
    struct ends b = { 0 };
    uint32_t more = 0, got = 0;
    ssize_t n;

    (void)state;
    raw_start(&b, ISCSI_INITIATOR, &p);
    end_submit(&b.ini, 4, false, 60000);
    turn_some(&b, 2);
    s.len = 0;
    bytes_pdu(&s, data_in(4, 0, 0, 60000, false), text);
    raw_write(&b, s.at, 5000);              /* the rest is received in place */
    for (unsigned i = 0; i < PINGS; i++) {  /* more than the socket holds */
        pings[i] = (struct dm_ctl){ .pdu = ping(100 + i, 65536), .data = text };
        dm_send_control(b.ini.dm, &pings[i]);
    }
    turn_some(&b, 4);
    dm_release_task(b.ini.dm, &b.ini.task[4].t);
    dm_terminate(b.ini.dm, true);
    for (unsigned idle = 0; idle < 20 && more < MORE; idle++) {
        turn_some(&b, 1);
        while (more < MORE && (n = send(b.fd, text, sizeof(text), MSG_NOSIGNAL)) > 0) {
            more += (uint32_t)n;
            idle = 0;
            turn_some(&b, 1);
        }
    }
    assert_true(more >= MORE);
    for (unsigned idle = 0; idle < 20; idle++, turn_some(&b, 1))
        while ((n = read(b.fd, sink, sizeof(sink))) > 0)
            got += (uint32_t)n;
    assert_true(got > PINGS * 65536);       /* all that was queued has come through */
    assert_true(turn_until(&b, &b.ini.closed, 1));
    ends_stop(&b);
}

/* ---- anything ------------------------------------------------------------------------------------------ */

struct fuzz {
    struct ends b;
    uint64_t rng;
    struct bytes s;
    uint32_t guess_ttt;
};

static uint32_t rnd(struct fuzz *f, uint32_t below)
{
    f->rng ^= f->rng << 13;
    f->rng ^= f->rng >> 7;
    f->rng ^= f->rng << 17;
    return (uint32_t)(f->rng >> 16) % below;
}

static uint32_t rnd_len(struct fuzz *f)
{
    static const uint32_t lens[] = { 0, 1, 3, 4, 500, 512, 1000, 1024, 1500, 4096, 40000, 65536 };

    return lens[rnd(f, ARRAY_SIZE(lens))];
}

/* Mostly what could be next, sometimes what could not. */
static void fuzz_to_target(struct fuzz *f)
{
    const uint32_t itt = rnd(f, 6), len = rnd_len(f), off = rnd(f, 3) ? 0 : rnd_len(f);
    struct iscsi_pdu read = { .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = itt };

    switch (rnd(f, 6)) {
    case 0:
        bytes_pdu(&f->s, ping(rnd(f, 3) ? itt : ISCSI_TAG_RESERVED, len), text);
        break;
    case 1:
        read.cmd.read = true;
        read.cmd.edtl = rnd_len(f);
        bytes_pdu(&f->s, read, "");
        break;
    case 2:
        bytes_pdu(&f->s, write_cmd(itt, rnd_len(f), rnd(f, 2) ? len : 0, rnd(f, 2)), text);
        break;
    default:
        bytes_pdu(&f->s, data_out(itt, rnd(f, 3) ? f->guess_ttt + rnd(f, 3) : ISCSI_TAG_RESERVED,
                                  rnd(f, 4) ? 0 : rnd(f, 3), off, len, rnd(f, 3)), text);
        break;
    }
}

static void fuzz_to_initiator(struct fuzz *f)
{
    const uint32_t itt = rnd(f, 6), len = rnd_len(f);
    const struct xtask *x = &f->b.ini.task[itt];
    struct iscsi_pdu resp = { .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = itt, .data_len = len % 900 };

    switch (rnd(f, 4)) {
    case 0:
        bytes_pdu(&f->s, resp, text);
        break;
    case 1:
        bytes_pdu(&f->s, r2t(itt, rnd(f, 9), rnd(f, 5) ? x->t.own.sn : rnd(f, 4), rnd(f, 2) ? 0 : rnd_len(f),
                             len ? len : 1), "");
        break;
    default:
        bytes_pdu(&f->s, data_in(itt, rnd(f, 9) ? x->t.own.sn : rnd(f, 3),
                                 rnd(f, 9) ? x->t.in_done : rnd_len(f), len, rnd(f, 2)), text);
        break;
    }
}

static void fuzz_submit(struct fuzz *f)
{
    const uint32_t itt = rnd(f, 6);
    struct xtask *x = xtask_at(&f->b.ini, itt);

    if (x->busy || x->ctl_out)
        return;
    x->ctl = (struct dm_ctl){ 0 };
    f->b.ini.piece = rnd(f, 2) ? 0 : 700;
    end_submit(&f->b.ini, itt, rnd(f, 2), rnd_len(f));
}

static void fuzz_release(struct fuzz *f, struct end *e)
{
    struct xtask *x = &e->task[rnd(f, 2) ? rnd(f, 6) : TASKS / 2 + rnd(f, 6)];

    if (x->t.own.known && !x->t.own.releasing)
        dm_release_task(e->dm, &x->t);
}

static void fuzz_stir(struct fuzz *f, enum iscsi_role role)
{
    struct end *e = role == ISCSI_TARGET ? &f->b.tgt : &f->b.ini;
    static uint8_t sink[1 << 16];
    ssize_t n;

    if (role == ISCSI_INITIATOR && !e->terminated)
        fuzz_submit(f);
    f->s.len = 0;
    if (role == ISCSI_TARGET)
        fuzz_to_target(f);
    else
        fuzz_to_initiator(f);
    if (!rnd(f, 40) && f->s.len)            /* a bit gone wrong */
        f->s.at[rnd(f, f->s.len < 48 ? f->s.len : 48)] ^= (uint8_t)(1u << rnd(f, 8));
    for (uint32_t at = 0, tries = 0; at < f->s.len && tries < 50; tries++) {
        const uint32_t part = f->s.len - at < 3 ? f->s.len - at : 1 + rnd(f, f->s.len - at);

        n = send(f->b.fd, f->s.at + at, part, MSG_NOSIGNAL);
        at += n > 0 ? (uint32_t)n : 0;
        if (rnd(f, 2))
            rt_turn(f->b.rt, 0);
    }
    if (!rnd(f, 6) && !e->terminated)
        fuzz_release(f, e);
    if (rnd(f, 3) && (n = read(f->b.fd, sink, sizeof(sink))) >= ISCSI_BHS_LEN && sink[0] == ISCSI_OP_R2T)
        f->guess_ttt = load_be32(&sink[20]);
    turn_some(&f->b, rnd(f, 3));
}

/* Whatever comes: no assertion, no byte outside a task's memory (ASan), every command given back once, and one
 * end. A failure prints its seed; DM_SEED gives it back. */
static void fuzz_role(enum iscsi_role role)
{
    const char *given = getenv("DM_SEED");
    const uint64_t first = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() << 20;
    static struct fuzz f;

    memset(&f, 0, sizeof(f));
    for (uint64_t seed = first; seed < first + (given ? 1 : 150); seed++) {
        struct iscsi_params p;
        struct end *e = role == ISCSI_TARGET ? &f.b.tgt : &f.b.ini;
        unsigned submitted;

        f.rng = seed * 0x9e3779b97f4a7c15u + 1;
        p = params_split(rnd(&f, 8) ? 0 : 3);
        f.s = (struct bytes){ .header_digest = p.header_digest, .data_digest = p.data_digest };
        p.initial_r2t = rnd(&f, 2);
        p.immediate_data = rnd(&f, 2);
        p.burst_max = 1024u << rnd(&f, 8);
        p.first_burst_max = 1024;
        p.r2t_max = 1 + rnd(&f, 3);
        raw_start(&f.b, role, &p);
        e->step = rnd(&f, 2) ? 0 : 3000;
        e->fuzz = true;
        for (int i = 0; i < 60 && !e->terminated; i++)
            fuzz_stir(&f, role);
        if (rnd(&f, 2)) {
            close(f.b.fd);
            f.b.fd = -1;
        }
        dm_terminate(e->dm, rnd(&f, 2));
        if (!turn_until(&f.b, &e->closed, 1))
            fail_msg("DM_SEED=%llu: never closed", (unsigned long long)seed);
        submitted = role == ISCSI_INITIATOR ? e->cmd_sn - 1 : e->responses;
        if (e->sent + e->cancelled != submitted || e->terminated > 1 || e->closed != 1)
            fail_msg("DM_SEED=%llu: %u given, %u + %u came back, terminated %u, closed %u",
                     (unsigned long long)seed, submitted, e->sent, e->cancelled, e->terminated, e->closed);
    }
    ends_stop(&f.b);
}

static void test_target_survives_any_initiator(void **state)
{
    (void)state;
    fuzz_role(ISCSI_TARGET);
}

static void test_initiator_survives_any_target(void **state)
{
    (void)state;
    fuzz_role(ISCSI_INITIATOR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_to_a_command_not_yet_sent_end_the_connection),
        cmocka_unit_test(test_command_with_ahs_and_scattered_data_fits_into_a_send),
        cmocka_unit_test(test_data_out_that_no_one_waits_for_is_rejected),
        cmocka_unit_test(test_drain_after_a_release_goes_on_receiving),
        cmocka_unit_test(test_target_survives_any_initiator),
        cmocka_unit_test(test_initiator_survives_any_target),
    };

    pattern_fill(text, 4, sizeof(text));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
