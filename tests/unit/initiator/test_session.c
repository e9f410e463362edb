/*
 * test_session.c - commands of a session: replay, order, escalation, numbering, and targets that cheat with
 * them
 */
#include "fake_target.h"

#define N 12

static struct cmd cmds[N];

static void start(struct rig *r, struct fake *f)
{
    rig_init(r, f->port);
    r->conf.set.abort_timeout_s = 1;
    r->conf.set.lu_reset_timeout_s = 1;
    r->conf.set.noop_interval_s = 0;
    rig_start(r);
    rig_until(r, r->ups == 1);
}

static unsigned ended(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < N; i++)
        n += cmds[i].ended;
    return n;
}

static void end(struct rig *r, struct fake *f)
{
    rig_end(r);
    fake_stop(f);
}

/* ---- recovery ------------------------------------------------------------------------------------------- */

/* The first connection answers four commands, swallows the rest, and breaks. */
static bool break_after_four(struct fake_conn *c)
{
    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    if (c->exp_cmd_sn - 1 - (uint32_t)(uintptr_t)c->f->arg < 4)
        return false;
    fake_note(c->f, 1000 + load_be32(c->pdu.cmd.cdb + 2));
    if (load_be32(c->pdu.cmd.cdb + 2) == N - 1)
        shutdown(c->fd, SHUT_RDWR);
    return true;
}

static bool note_first_sn(struct fake_conn *c)
{
    if (!c->nr && !c->f->arg)
        c->f->arg = (void *)(uintptr_t)(c->exp_cmd_sn - 1);
    return break_after_four(c);
}

static void test_what_was_in_flight_is_sent_again_in_order_and_nothing_else(void **state)
{
    struct fake f = { .hook = note_first_sn };
    struct ini_sess_info info;
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        cmd_write(&r, &cmds[i], i, 1);
    rig_until(&r, ended() == N);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(cmds[i].t.err, 0);
        assert_int_equal(cmds[i].t.status, SCSI_GOOD);
    }
    assert_int_equal(r.downs, 1);
    assert_int_equal(r.ups, 2);
    assert_int_equal(f.writes, N);          /* four once, eight once: none twice, none not */
    assert_int_equal(f.lba_nr, 4 + 8 + 8);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(f.lba[i], i);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(f.lba[4 + i], 1000 + 4 + i);
        assert_int_equal(f.lba[12 + i], 4 + i);
    }
    ini_sess_info(r.s, &info);
    assert_int_equal(info.resent, 8);
    assert_int_equal(info.reconnects, 1);
    end(&r, &f);
}

static bool hang_up_on_write(struct fake_conn *c)
{
    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_what_may_not_be_repeated_ends_with_the_connection(void **state)
{
    struct fake f = { .hook = hang_up_on_write };
    struct rig r;
    struct cmd *c = &cmds[0];

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    memset(c, 0, sizeof(*c));
    c->iov = (struct iovec){ c->buf, sizeof(c->buf) };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, 0, 1, false);
    c->t.edtl = 512;
    c->t.once = true;
    c->t.out = (struct dm_buf){ &c->iov, 1, 512 };
    c->t.done = cmd_ended;
    ini_submit(r.s, &c->t);
    rig_until(&r, c->ended);
    assert_int_equal(c->t.err, -ECONNRESET);
    rig_until(&r, r.ups == 2);
    assert_int_equal(f.writes, 0);
    end(&r, &f);
}

static void once_up_script(struct fake_conn *c)
{
    if (c->nr)
        return;                             /* connects, and is hung up on, for ever */
    if (fake_login(c))
        (void)fake_recv(c);
}

static void test_replacement_timeout_ends_the_wait(void **state)
{
    struct fake f = { 0 };
    struct ini_sess_info info;
    struct rig r;

    (void)state;
    fake_start(&f, once_up_script);
    rig_init(&r, f.port);
    r.conf.set.replacement_timeout_s = 1;
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    cmd_read(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, -ETIMEDOUT);
    ini_sess_info(r.s, &info);
    assert_string_equal(ini_state_name(info.state), "OFFLINE");
    assert_int_equal(r.faults, 0);
    cmd_read(&r, &cmds[1], 0, 1);           /* and from then on at once, but never from inside */
    assert_false(cmds[1].ended);
    rig_until(&r, cmds[1].ended);
    assert_int_equal(cmds[1].t.err, -ETIMEDOUT);
    end(&r, &f);
}

static void refuse_then_serve_script(struct fake_conn *c)
{
    if (c->nr == 1 || c->nr == 2) {         /* back already, but its configuration is not */
        if (fake_login_first(c))
            fake_refuse(c, c->nr == 1 ? ISCSI_LOGIN_NOT_FOUND : ISCSI_LOGIN_AUTH_FAILED, NULL);
        return;
    }
    fake_default_script(c);
}

static void test_in_recovery_a_refusal_is_not_the_last_word(void **state)
{
    struct fake f = { .hook = hang_up_on_write };
    struct rig r;

    (void)state;
    fake_start(&f, refuse_then_serve_script);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(f.conns, 4);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

static void test_draining_stop_waits_for_what_is_in_flight(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        cmd_write(&r, &cmds[i], i, 1);
    ini_sess_stop(r.s, true, rig_stopped, &r);
    rig_until(&r, r.stops);
    assert_int_equal(ended(), N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(cmds[i].t.err, 0);
    assert_int_equal(f.logouts, 1);
    assert_true(ini_sess_logged_out(r.s));
    ini_sess_free(r.s);
    r.s = NULL;
    end(&r, &f);
}

static bool deaf(struct fake_conn *c)
{
    (void)c;
    return true;
}

static void test_stop_ends_even_when_nobody_answers(void **state)
{
    struct fake f = { .hook = deaf };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    r.conf.set.logout_timeout_s = 1;
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    cmd_write(&r, &cmds[0], 0, 1);
    ini_sess_stop(r.s, true, rig_stopped, &r);
    rig_until(&r, r.stops);
    assert_true(cmds[0].ended);
    assert_int_equal(cmds[0].t.err, -ECANCELED);
    assert_false(ini_sess_logged_out(r.s));
    ini_sess_free(r.s);
    r.s = NULL;
    end(&r, &f);
}

static atomic_uint writes_swallowed;

static bool swallow_writes(struct fake_conn *c)
{
    const bool write = c->pdu.opcode == ISCSI_OP_SCSI_CMD && (c->pdu.cmd.cdb[0] == 0x2a || c->pdu.cmd.cdb[0] == 0x8a);

    writes_swallowed += write;
    return write;
}

/* The target says goodbye, but what became of a command it does not say. */
static void test_a_logout_over_unanswered_commands_is_no_clean_one(void **state)
{
    struct fake f = { .hook = swallow_writes };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 0, 1);
    rig_until(&r, writes_swallowed == 1);
    ini_sess_stop(r.s, false, rig_stopped, &r);
    rig_until(&r, r.stops);
    assert_int_equal(f.logouts, 1);
    assert_int_equal(cmds[0].t.err, -ECANCELED);
    assert_false(ini_sess_logged_out(r.s));
    ini_sess_free(r.s);
    r.s = NULL;
    end(&r, &f);
}

/* ---- escalation ----------------------------------------------------------------------------------------- */

static atomic_uint swallowed;

static bool swallow_first(struct fake_conn *c)
{
    return c->pdu.opcode == ISCSI_OP_SCSI_CMD && swallowed++ == 0;
}

static void test_a_late_command_is_aborted_and_sent_again(void **state)
{
    struct fake f = { .hook = swallow_first };
    struct rig r;

    (void)state;
    swallowed = 0;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 7, 1);
    cmds[0].t.timeout_s = 1;
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(f.aborts, 1);
    assert_int_equal(f.resets, 0);
    assert_int_equal(f.writes, 1);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

static bool refuse_abort(struct fake_conn *c)
{
    if (swallow_first(c))
        return true;
    if (c->pdu.opcode != ISCSI_OP_TMF || c->pdu.tmf.function != ISCSI_TMF_ABORT_TASK)
        return false;
    c->f->aborts++;
    fake_tmf(c, ISCSI_TMF_NOT_SUPPORTED);
    return true;
}

static void test_what_cannot_be_aborted_is_reset(void **state)
{
    struct fake f = { .hook = refuse_abort };
    struct rig r;

    (void)state;
    swallowed = 0;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 7, 1);
    cmds[0].t.timeout_s = 1;
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(f.aborts, 1);
    assert_int_equal(f.resets, 1);
    assert_int_equal(f.writes, 1);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

static bool deaf_first_connection(struct fake_conn *c)
{
    return c->nr == 0 && (c->pdu.opcode == ISCSI_OP_SCSI_CMD || c->pdu.opcode == ISCSI_OP_TMF);
}

static void test_what_cannot_be_reset_costs_the_session(void **state)
{
    struct fake f = { .hook = deaf_first_connection };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 7, 1);
    cmds[0].t.timeout_s = 1;
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(r.downs, 1);
    assert_int_equal(f.writes, 1);
    end(&r, &f);
}

/* The answer overtakes the abort's: the command was executed, once. */
static bool answer_at_abort(struct fake_conn *c)
{
    static struct iscsi_pdu late;

    if (c->pdu.opcode == ISCSI_OP_SCSI_CMD && swallowed++ == 0) {
        late = c->pdu;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_TMF)
        return false;
    fake_status(c, late.itt, SCSI_GOOD);
    fake_tmf(c, ISCSI_TMF_NO_TASK);
    fake_status(c, late.itt, SCSI_BUSY);    /* and a third time, for a tag that is gone */
    return true;
}

static void test_an_answer_that_overtakes_the_abort_counts(void **state)
{
    struct fake f = { .hook = answer_at_abort };
    struct rig r;

    (void)state;
    swallowed = 0;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_write(&r, &cmds[0], 7, 1);
    cmds[0].t.timeout_s = 1;
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(cmds[0].t.status, SCSI_GOOD);
    cmd_read(&r, &cmds[1], 0, 1);
    rig_until(&r, cmds[1].ended);
    assert_int_equal(cmds[1].t.status, SCSI_GOOD);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

/* ---- pings ---------------------------------------------------------------------------------------------- */

static bool deaf_to_pings(struct fake_conn *c)
{
    return c->nr == 0 && c->pdu.opcode == ISCSI_OP_NOP_OUT;
}

static void test_an_unanswered_ping_costs_the_connection(void **state)
{
    struct fake f = { .hook = deaf_to_pings };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    r.conf.set.noop_interval_s = r.conf.set.noop_timeout_s = 1;
    rig_start(&r);
    rig_until(&r, r.downs == 1);
    assert_non_null(strstr(r.why, "ping"));
    rig_until(&r, r.ups == 2);
    rig_until(&r, f.nops >= 1);             /* and the next connection's are answered */
    rig_for(&r, 1500);
    assert_int_equal(r.downs, 1);
    end(&r, &f);
}

static bool ask_back(struct fake_conn *c)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = 0x1234 };

    if (c->pdu.opcode == ISCSI_OP_NOP_OUT) {
        if (c->pdu.ttt == 0x1234 && c->pdu.itt == ISCSI_TAG_RESERVED && c->len == 0)
            c->f->nops++;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    p.stat_sn = c->stat_sn;                 /* does not use the number up */
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + 63;
    fake_send_raw(c, p, "ping", 4);
    return false;
}

static void test_the_target_s_pings_are_answered(void **state)
{
    struct fake f = { .hook = ask_back };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_read(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended && f.nops == 1);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

static atomic_uint most;

/* One at a time: MaxCmdSN never lets a second one in before the first is answered. */
static void window_script(struct fake_conn *c)
{
    c->window = 1;
    if (!fake_login(c))
        return;
    while (fake_recv(c)) {
        struct timeval quick = { .tv_usec = 30000 }, slow = { .tv_sec = 60 };
        uint8_t b;

        if (c->pdu.opcode == ISCSI_OP_SCSI_CMD) {
            setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &quick, sizeof(quick));
            if (recv(c->fd, &b, 1, MSG_PEEK) > 0)
                most++;
            setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &slow, sizeof(slow));
        }
        if (!fake_answer(c))
            return;
    }
}

static void test_the_target_s_window_is_kept(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    most = 0;
    fake_start(&f, window_script);
    start(&r, &f);
    for (unsigned i = 0; i < N; i++)
        cmd_write(&r, &cmds[i], i, 1);
    rig_until(&r, ended() == N);
    assert_int_equal(most, 0);
    assert_int_equal(f.writes, N);
    end(&r, &f);
}

/* Windows that go back, or make no sense, are as if they were not there. */
static bool odd_windows(struct fake_conn *c)
{
    struct iscsi_pdu p = fake_resp(SCSI_GOOD);

    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    p.itt = c->pdu.itt;
    p.stat_sn = c->stat_sn++;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + 63;
    switch (swallowed++ % 4) {
    case 0: p.max_cmd_sn = p.exp_cmd_sn - 2;                      break;
    case 1: p.exp_cmd_sn -= 5, p.max_cmd_sn = p.exp_cmd_sn;       break;
    case 2: p.exp_cmd_sn += 1000, p.max_cmd_sn = p.exp_cmd_sn;    break;
    default:                                                      break;
    }
    fake_send_raw(c, p, NULL, 0);
    return true;
}

static void test_windows_without_sense_are_ignored(void **state)
{
    struct fake f = { .hook = odd_windows };
    struct rig r;

    (void)state;
    swallowed = 0;
    fake_start(&f, NULL);
    start(&r, &f);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++)
            cmd_write(&r, &cmds[i], i, 1);
        rig_until(&r, ended() == N);
    }
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

static void shut_script(struct fake_conn *c)
{
    c->window = c->nr ? 64 : 0;             /* admits nothing */
    fake_default_script(c);
}

static void test_a_window_that_never_opens_costs_the_session(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, shut_script);
    rig_init(&r, f.port);
    r.conf.set.cmd_timeout_s = 1;
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    cmd_write(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, 0);
    assert_int_equal(r.downs, 1);
    end(&r, &f);
}

/* ---- answers that lie ----------------------------------------------------------------------------------- */

static bool lie(struct fake_conn *c)
{
    const uintptr_t which = (uintptr_t)c->f->arg;
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_DATA_IN, .final = true, .itt = c->pdu.itt, .ttt = ISCSI_TAG_RESERVED
    };
    static const uint8_t sense[64] = { 0x7f, 0xff, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21 };
    static uint8_t data[8192];

    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    memset(data, 0x99, sizeof(data));
    p.resp.has_status = true;
    switch (which) {
    case 0:                                 /* half of it, and all is well */
        fake_send(c, p, data, 2048);
        return true;
    case 1:                                 /* all of it, and half is missing */
        p.resp.underflow = true;
        p.resp.residual = 2048;
        fake_send(c, p, data, 4096);
        return true;
    case 2:                                 /* more is missing than there is */
        p.resp.underflow = true;
        p.resp.residual = 0xfffffff0;
        fake_send(c, p, data, 4096);
        return true;
    case 3:                                 /* GOOD without data */
        fake_status(c, c->pdu.itt, SCSI_GOOD);
        return true;
    case 4:                                 /* no status, but a failure of the target */
        p = fake_resp(SCSI_GOOD);
        p.itt = c->pdu.itt;
        p.resp.response = ISCSI_RESPONSE_TARGET_FAILURE;
        fake_send(c, p, NULL, 0);
        return true;
    case 5:                                 /* sense longer than the data that carry it */
        p = fake_resp(SCSI_CHECK_CONDITION);
        p.itt = c->pdu.itt;
        fake_send(c, p, sense, 20);
        return true;
    case 6:                                 /* more than was asked for */
        fake_send(c, p, data, 4096 + 4);
        return true;
    case 7:                                 /* beyond the end */
        p.resp.offset = 4096;
        fake_send(c, p, data, 512);
        return true;
    case 8:                                 /* twice the same place */
        p.resp.has_status = p.final = false;
        fake_send_raw(c, p, data, 2048);
        p.resp.data_sn = 1;
        fake_send_raw(c, p, data, 2048);
        return true;
    case 9:                                 /* a response is missing */
        c->stat_sn++;
        return false;
    case 10:                                /* an answer to nobody */
        p = fake_resp(SCSI_GOOD);
        p.itt = 0x00017777;
        fake_send(c, p, NULL, 0);
        return true;
    case 11:                                /* an R2T for a read */
        p = (struct iscsi_pdu){
            .opcode = ISCSI_OP_R2T, .final = true, .itt = c->pdu.itt, .ttt = 1, .r2t.length = 512
        };
        p.stat_sn = c->stat_sn;
        p.exp_cmd_sn = c->exp_cmd_sn;
        p.max_cmd_sn = c->exp_cmd_sn + 63;
        fake_send_raw(c, p, NULL, 0);
        return true;
    default:                                /* no iSCSI at all */
        memset(data, 0xee, 512);
        fake_write(c->fd, data, 512);
        return true;
    }
}

static void test_answers_that_lie_are_never_taken_for_data(void **state)
{
    (void)state;
    for (uintptr_t which = 0; which <= 12; which++) {
        struct fake f = { .hook = lie, .arg = (void *)which };
        struct rig r;

        fake_start(&f, NULL);
        memset(f.disk, 0x42, 4096);
        start(&r, &f);
        cmd_read(&r, &cmds[0], 0, 8);
        if (which == 12)                    /* the beginning of a header: its end is never sent */
            cmds[0].t.timeout_s = 1;
        rig_until(&r, cmds[0].ended);
        if (cmds[0].t.err || cmds[0].t.status || cmds[0].t.residual) {
            if (which == 5) {               /* read as far as it went */
                assert_int_equal(cmds[0].t.sense.key, SCSI_ILLEGAL_REQUEST);
                assert_int_equal(cmds[0].t.sense.asc, 0x21);
            }
        } else {                            /* by a new session, and then rightly */
            assert_int_equal(r.downs, 1);
            for (unsigned i = 0; i < 4096; i++)
                assert_int_equal(cmds[0].buf[i], 0x42);
        }
        assert_true(cmds[0].t.in_len <= 4096);
        for (unsigned i = 4096; i < sizeof(cmds[0].buf); i++)
            assert_int_equal(cmds[0].buf[i], 0);
        end(&r, &f);
    }
}

/* Everything of a write has to be asked for. */
static const char ask_keys[] =
    "HeaderDigest=None\0DataDigest=None\0InitialR2T=Yes\0ImmediateData=No\0"
    "MaxRecvDataSegmentLength=1048576\0MaxBurstLength=1048576\0FirstBurstLength=262144\0"
    "MaxConnections=1\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0ErrorRecoveryLevel=0";

static void ask_script(struct fake_conn *c)
{
    if (fake_login_first(c) && fake_login_rest(c, ask_keys, sizeof(ask_keys)))
        fake_serve(c);
}

static bool ask_for(struct fake_conn *c, const struct iscsi_pdu *cmd, uint32_t off, uint32_t len, uint32_t sn)
{
    struct iscsi_pdu r2t = { .opcode = ISCSI_OP_R2T, .final = true, .lun = cmd->lun, .itt = cmd->itt,
                             .ttt = 70 + sn, .stat_sn = c->stat_sn, .exp_cmd_sn = c->exp_cmd_sn,
                             .max_cmd_sn = c->exp_cmd_sn + 63 };

    r2t.r2t.r2t_sn = sn;
    r2t.r2t.offset = off;
    r2t.r2t.length = len;
    return fake_send_raw(c, r2t, NULL, 0) && fake_recv(c) && c->pdu.opcode == ISCSI_OP_DATA_OUT &&
           c->len == len;
}

static bool believe_me(struct fake_conn *c)
{
    const uintptr_t which = (uintptr_t)c->f->arg;
    const struct iscsi_pdu cmd = c->pdu;
    struct iscsi_pdu p = fake_resp(SCSI_GOOD);
    bool ok = true;

    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    switch (which) {
    case 0:                                 /* nothing */
        break;
    case 1:                                 /* half of it */
        ok = ask_for(c, &cmd, 0, 2048, 0);
        break;
    case 2:                                 /* the first half twice */
        ok = ask_for(c, &cmd, 0, 2048, 0) && ask_for(c, &cmd, 0, 2048, 1);
        break;
    case 3:                                 /* the second half */
        ok = ask_for(c, &cmd, 2048, 2048, 0);
        break;
    case 4:                                 /* half, and it says so */
        ok = ask_for(c, &cmd, 0, 2048, 0);
        p.resp.underflow = true;
        p.resp.residual = 2048;
        break;
    default:                                /* all */
        ok = ask_for(c, &cmd, 0, 2048, 0) && ask_for(c, &cmd, 2048, 2048, 1);
        break;
    }
    p.itt = cmd.itt;
    if (ok)                                 /* else the command is late, which the test sees */
        fake_send(c, p, NULL, 0);
    return true;
}

static void test_a_write_that_was_never_fetched_is_not_done(void **state)
{
    (void)state;
    for (uintptr_t which = 0; which <= 5; which++) {
        struct fake f = { .hook = believe_me, .arg = (void *)which };
        struct rig r;

        fake_start(&f, ask_script);
        start(&r, &f);
        cmd_write(&r, &cmds[0], 0, 8);
        rig_until(&r, cmds[0].ended);
        assert_int_equal(cmds[0].t.err, which < 4 ? -EPROTO : 0);
        assert_int_equal(cmds[0].t.residual, which == 4 ? 2048 : 0);
        assert_int_equal(r.downs, 0);
        end(&r, &f);
    }
}

/* ---- messages ------------------------------------------------------------------------------------------- */

static bool ask_to_leave(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD || swallowed++)
        return false;
    p.async.event = (uint8_t)(uintptr_t)c->f->arg;
    p.async.param3 = 3;
    fake_send(c, p, NULL, 0);
    return false;
}

static void test_a_target_that_asks_for_a_new_login_gets_it(void **state)
{
    static const uint8_t events[] = { ISCSI_ASYNC_LOGOUT_REQUEST, ISCSI_ASYNC_NEGOTIATE,
                                      ISCSI_ASYNC_DROP_CONNECTION, ISCSI_ASYNC_DROP_ALL };

    (void)state;
    for (size_t i = 0; i < sizeof(events); i++) {
        struct fake f = { .hook = ask_to_leave, .arg = (void *)(uintptr_t)events[i] };
        struct rig r;

        swallowed = 0;
        fake_start(&f, NULL);
        start(&r, &f);
        for (unsigned k = 0; k < N; k++)
            cmd_write(&r, &cmds[k], k, 1);
        rig_until(&r, ended() == N);
        rig_until(&r, r.ups == 2);
        for (unsigned k = 0; k < N; k++)
            assert_int_equal(cmds[k].t.err, 0);
        assert_int_equal(f.logouts, i < 2);
        end(&r, &f);
    }
}

static bool tell_of_luns(struct fake_conn *c)
{
    if (c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    fake_sense(c, c->pdu.itt, SCSI_UNIT_ATTENTION, 0x3f, 0x0e);
    return true;
}

static void test_changed_luns_are_told(void **state)
{
    struct fake f = { .hook = tell_of_luns };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_read(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(r.changes, 1);
    assert_int_equal(cmds[0].t.status, SCSI_CHECK_CONDITION);
    end(&r, &f);
}

static bool reject(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    if (c->nr || c->pdu.opcode != ISCSI_OP_SCSI_CMD)
        return false;
    p.reject.reason = ISCSI_REJECT_PROTOCOL_ERROR;
    fake_send(c, p, c->bhs, sizeof(c->bhs));
    for (unsigned i = 0; c->f->arg && i < 100; i++)
        fake_send(c, p, c->bhs, sizeof(c->bhs));
    return true;
}

static void test_a_rejected_command_ends(void **state)
{
    struct fake f = { .hook = reject };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_read(&r, &cmds[0], 0, 1);
    rig_until(&r, cmds[0].ended);
    assert_int_equal(cmds[0].t.err, -EPROTO);
    assert_int_equal(r.downs, 0);
    end(&r, &f);
}

static void test_a_storm_of_rejects_costs_the_session(void **state)
{
    struct fake f = { .hook = reject, .arg = &f };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    start(&r, &f);
    cmd_read(&r, &cmds[0], 0, 1);
    rig_until(&r, r.ups == 2);
    assert_true(cmds[0].ended);
    assert_int_equal(r.downs, 1);
    end(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_in_flight_is_sent_again_in_order_and_nothing_else),
        cmocka_unit_test(test_what_may_not_be_repeated_ends_with_the_connection),
        cmocka_unit_test(test_replacement_timeout_ends_the_wait),
        cmocka_unit_test(test_in_recovery_a_refusal_is_not_the_last_word),
        cmocka_unit_test(test_draining_stop_waits_for_what_is_in_flight),
        cmocka_unit_test(test_stop_ends_even_when_nobody_answers),
        cmocka_unit_test(test_a_logout_over_unanswered_commands_is_no_clean_one),
        cmocka_unit_test(test_a_late_command_is_aborted_and_sent_again),
        cmocka_unit_test(test_what_cannot_be_aborted_is_reset),
        cmocka_unit_test(test_what_cannot_be_reset_costs_the_session),
        cmocka_unit_test(test_an_answer_that_overtakes_the_abort_counts),
        cmocka_unit_test(test_an_unanswered_ping_costs_the_connection),
        cmocka_unit_test(test_the_target_s_pings_are_answered),
        cmocka_unit_test(test_the_target_s_window_is_kept),
        cmocka_unit_test(test_windows_without_sense_are_ignored),
        cmocka_unit_test(test_a_window_that_never_opens_costs_the_session),
        cmocka_unit_test(test_answers_that_lie_are_never_taken_for_data),
        cmocka_unit_test(test_a_write_that_was_never_fetched_is_not_done),
        cmocka_unit_test(test_a_target_that_asks_for_a_new_login_gets_it),
        cmocka_unit_test(test_changed_luns_are_told),
        cmocka_unit_test(test_a_rejected_command_ends),
        cmocka_unit_test(test_a_storm_of_rejects_costs_the_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
