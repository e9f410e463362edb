/*
 * test_move.c - a session goes from one reactor to another: under load and idle, with what the target says meanwhile, and
 * with everything that may end a move half way
 *
 * One thread turns both reactors. The target is made up and checks numbers and order. Sessions on threads of their own, and
 * over shared memory, with the real target: tests/unit/mpio/test_sess_move.c.
 */
#include "case.h"
#include "initiator/ini_internal.h"

#define DEPTH 32u
#define LIMIT (60 * RT_S)

struct told {
    unsigned nr;
    int err;
    char why[128];
    uint64_t pause_ns;
    struct rt *on;
};

static void moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct told *t = user;

    t->nr++;
    t->err = err;
    snprintf(t->why, sizeof(t->why), "%s", why);
    t->pause_ns = pause_ns;
    t->on = rt_self();
}

static struct rt *at(const struct rig *r, unsigned i)
{
    return rt_host_at(r->host, i);
}

static struct rt *other(const struct rig *r, const struct ini_sess *s)
{
    return at(r, ini_sess_rt(s) == at(r, 0));
}

/* So that the session's core is the one that this thread is on. */
static void here(struct rig *r)
{
    r->rt = ini_sess_rt(r->s);
    assert_true(rt_turn(r->rt, 0) >= 0);
    r->rt = ini_sess_rt(r->s);
    assert_true(rt_turn(r->rt, 0) >= 0);
}

#define both_until(r, cond)                                                                                    \
    do {                                                                                                       \
        const uint64_t both_end = rt_clock((r)->rt) + 60 * RT_S;                                               \
        while (!(cond) && rt_clock((r)->rt) < both_end) {                                                      \
            assert_true(rt_turn(at((r), 0), 100 * RT_US) >= 0);                                                \
            assert_true(rt_turn(at((r), 1), 100 * RT_US) >= 0);                                                \
        }                                                                                                      \
        assert_true(cond);                                                                                     \
        here(r);                                                                                               \
    } while (0)

static void up(struct scene *x, fake_script *script, fake_hook *hook)
{
    static const int cores[] = { -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 2 };

    scene_init(x, script, hook);
    rt_host_free(x->r.host);
    assert_int_equal(rt_host_new(&x->r.host, &conf), 0);
    x->r.rt = at(&x->r, 0);
    assert_true(rt_turn(at(&x->r, 1), 0) >= 0);
    assert_true(rt_turn(x->r.rt, 0) >= 0);
}

static void go(struct scene *x, fake_script *script, fake_hook *hook)
{
    up(x, script, hook);
    scene_go(x);
}

/* Begins a move and looks at nothing. */
static void move_begin(struct scene *x, struct told *t, uint64_t limit_ns)
{
    *t = (struct told){ 0 };
    here(&x->r);
    ini_sess_move(x->r.s, other(&x->r, x->r.s), limit_ns, moved, t);
    assert_int_equal(t->nr, 0); /* never from inside */
}

static void move(struct scene *x)
{
    struct told t;
    struct rt *to = other(&x->r, x->r.s);

    move_begin(x, &t, LIMIT);
    both_until(&x->r, t.nr);
    if (t.err)
        fail_msg("%s", t.why);
    assert_ptr_equal(ini_sess_rt(x->r.s), to);
    assert_ptr_equal(t.on, to);
}

/* ---- under load ----------------------------------------------------------------------------------------- */

struct stream {
    struct scene *x;
    struct cmd c[DEPTH];
    bool write[DEPTH];
    uint32_t next;      /* number of the next command, which is what it writes, and where */
    uint32_t nr[DEPTH]; /* number of each that is out */
    uint32_t want, wrong;
};

static struct stream st;

static void stream_fill(uint8_t *p, uint32_t lba)
{
    for (unsigned i = 0; i < 512; i++)
        p[i] = (uint8_t)(lba * 31 + i * 7 + (lba >> 8));
}

static void stream_done(struct ini_task *t);

/* Writes block after block; every third command reads one that was written, 2 * DEPTH commands before. */
static void stream_next(unsigned i)
{
    struct cmd *c = &st.c[i];
    const uint32_t nr = st.next++, lba = nr % FAKE_BLOCKS;

    st.nr[i] = nr;
    st.write[i] = nr % 3 || nr < 3 * DEPTH;
    if (st.write[i]) {
        stream_fill(c->buf, lba);
        cmd_write(&st.x->r, c, lba, 1);
    } else {
        cmd_read(&st.x->r, c, (nr - 2 * DEPTH) % FAKE_BLOCKS, 1);
    }
    c->t.done = stream_done;
}

static void stream_done(struct ini_task *t)
{
    struct cmd *c = (struct cmd *)t;
    const unsigned i = (unsigned)(c - st.c);
    uint8_t want[512];

    rt_assert_here(ini_sess_rt(st.x->r.s));
    c->ended = true;
    stream_fill(want, (st.nr[i] - 2 * DEPTH) % FAKE_BLOCKS);
    st.wrong += t->err || t->status || (!st.write[i] && memcmp(want, c->buf, 512));
    if (st.next < st.want)
        stream_next(i);
}

/* Each command's number is one more than the one before it, and they come in the order in which they were submitted. */
static bool stream_check(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    uint32_t nr, lba;

    if (!is_cmd(c) || c->pdu.cmd.cdb[0] == SCSI_INQUIRY)
        return false;
    nr = x->seen++;
    lba = nr % 3 || nr < 3 * DEPTH ? nr : nr - 2 * DEPTH;
    x->faults += c->pdu.cmd_sn != c->exp_cmd_sn - 1; /* it was the one that was due */
    x->faults += load_be32(c->pdu.cmd.cdb + 2) != lba % FAKE_BLOCKS;
    return false;
}

static void test_nothing_is_lost_failed_doubled_or_reordered(void **state)
{
    struct ini_sess_info info;
    struct scene x;

    (void)state;
    go(&x, NULL, stream_check);
    memset(&st, 0, sizeof(st));
    st.x = &x;
    st.want = UINT32_MAX;
    here(&x.r);
    for (unsigned i = 0; i < DEPTH; i++)
        stream_next(i);
    for (unsigned i = 0; i < 200; i++) {
        const uint32_t before = st.next;

        move(&x);
        if (i % 4)
            both_until(&x.r, st.next > before + DEPTH);
    }
    st.want = st.next;
    for (unsigned i = 0; i < DEPTH; i++)
        both_until(&x.r, st.c[i].ended);
    assert_int_equal(st.wrong, 0);
    ini_sess_info(x.r.s, &info);
    assert_int_equal(info.reconnects + info.resent + info.aborts + info.timeouts, 0);
    assert_int_equal(info.queued + info.in_flight, 0);
    assert_int_equal(x.seen, st.next);
    scene_end(&x);
}

static void test_an_idle_session_moves_there_and_back(void **state)
{
    struct scene x;

    (void)state;
    go(&x, NULL, NULL);
    for (unsigned i = 0; i < 100; i++)
        move(&x);
    here(&x.r);
    cmd_read(&x.r, &x.c[0], 0, 1);
    both_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

static void test_to_the_core_where_it_is_there_is_no_pause(void **state)
{
    struct told t = { 0 };
    struct scene x;

    (void)state;
    go(&x, NULL, NULL);
    here(&x.r);
    ini_sess_move(x.r.s, ini_sess_rt(x.r.s), LIMIT, moved, &t);
    assert_int_equal(t.nr, 0);
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, 0);
    assert_int_equal(t.pause_ns, 0);
    assert_ptr_equal(t.on, at(&x.r, 0));
    scene_end(&x);
}

/* Who is told may begin the next at once. */
struct tour {
    struct scene *x;
    unsigned left;
    bool failed;
};

static void tour_next(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct tour *t = user;

    (void)why, (void)pause_ns;
    t->failed |= err;
    if (t->left && t->left--)
        ini_sess_move(t->x->r.s, other(&t->x->r, t->x->r.s), LIMIT, tour_next, t);
}

static void test_one_move_after_the_other(void **state)
{
    struct tour t;
    struct scene x;

    (void)state;
    go(&x, NULL, NULL);
    t = (struct tour){ .x = &x, .left = 30 };
    tour_next(&t, 0, "", 0);
    both_until(&x.r, !t.left);
    both_until(&x.r, !x.r.s->move.step);
    assert_false(t.failed);
    scene_end(&x);
}

/* ---- refusals ------------------------------------------------------------------------------------------- */

static bool never_login(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    while (!x->sent)
        usleep(1000);
    return false;
}

static void slow_login(struct fake_conn *c)
{
    never_login(c);
    if (fake_login(c))
        fake_serve(c);
}

static void test_one_that_is_not_logged_in_stays(void **state)
{
    struct told t;
    struct scene x;

    (void)state;
    up(&x, slow_login, NULL);
    assert_int_equal(ini_sess_new(&x.r.s, x.r.rt, &x.r.conf, NULL, &x.r), 0);
    move_begin(&x, &t, LIMIT);
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -EAGAIN);
    assert_string_equal(t.why, "it is not logged in (FREE)");
    ini_sess_start(x.r.s);
    move_begin(&x, &t, LIMIT);
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -EAGAIN);
    assert_ptr_equal(t.on, at(&x.r, 0));
    x.sent = 1;
    both_until(&x.r, x.r.s->state == INI_UP);
    move(&x);
    scene_end(&x);
}

/* A READ of block 7 is answered when the test says so. */
static bool hold_block_7(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (is_cmd(c) && c->pdu.cmd.cdb[0] == SCSI_READ_10 && load_be32(c->pdu.cmd.cdb + 2) == 7)
        while (!x->sent)
            usleep(1000);
    return false;
}

static void test_a_second_move_is_refused(void **state)
{
    struct told t, second = { 0 };
    struct scene x;

    (void)state;
    go(&x, NULL, hold_block_7);
    cmd_read(&x.r, &x.c[0], 7, 1);
    move_begin(&x, &t, LIMIT);
    ini_sess_move(x.r.s, at(&x.r, 0), LIMIT, moved, &second);
    assert_int_equal(second.nr, 1);
    assert_int_equal(second.err, -EBUSY);
    x.sent = 1;
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, 0);
    assert_true(x.c[0].ended);
    scene_end(&x);
}

/* What is under way is not answered in time: the move is off, what waited goes out. */
static void test_what_takes_too_long_calls_it_off(void **state)
{
    struct told t;
    struct scene x;

    (void)state;
    go(&x, NULL, hold_block_7);
    here(&x.r);
    cmd_read(&x.r, &x.c[0], 7, 1);
    here(&x.r);
    move_begin(&x, &t, 20 * RT_MS);
    cmd_read(&x.r, &x.c[1], 8, 1);
    here(&x.r);
    assert_int_equal(x.r.s->flight_nr, 1); /* the second waits */
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -ETIMEDOUT);
    assert_string_equal(t.why, "1 of its commands got no answer within 20 ms");
    assert_true(t.pause_ns >= 20 * RT_MS);
    assert_ptr_equal(t.on, at(&x.r, 0));
    assert_int_equal(x.r.s->flight_nr, 2);
    x.sent = 1;
    both_until(&x.r, x.c[0].ended && x.c[1].ended);
    assert_int_equal(x.c[0].t.err + x.c[1].t.err, 0);
    move(&x);
    scene_end(&x);
}

/* ---- an end in the midst -------------------------------------------------------------------------------- */

/* The first connection hangs up on a READ of block 7, when the test says so. */
static bool hang_up_on_block_7(struct fake_conn *c)
{
    if (c->nr || !is_cmd(c) || c->pdu.cmd.cdb[0] != SCSI_READ_10 || load_be32(c->pdu.cmd.cdb + 2) != 7)
        return false;
    while (!scene_of(c)->sent)
        usleep(1000);
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void test_a_connection_that_breaks_recovers_where_it_is(void **state)
{
    struct told t;
    struct scene x;

    (void)state;
    go(&x, NULL, hang_up_on_block_7);
    cmd_read(&x.r, &x.c[0], 7, 1);
    move_begin(&x, &t, LIMIT);
    cmd_read(&x.r, &x.c[1], 8, 1);
    x.sent = 1;
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -EAGAIN);
    assert_string_equal(t.why, "its connection broke");
    assert_ptr_equal(t.on, at(&x.r, 0));
    both_until(&x.r, x.c[0].ended && x.c[1].ended);
    assert_int_equal(x.c[0].t.err + x.c[1].t.err, 0);
    assert_int_equal(x.r.ups, 2);
    move(&x);
    scene_end(&x);
}

/* The same at each point of a move: after so many turns of the old core. */
static void test_it_may_be_dropped_at_any_point(void **state)
{
    struct scene x;

    (void)state;
    go(&x, NULL, NULL);
    for (unsigned turns = 0; turns < 12; turns++) {
        const unsigned ups = x.r.ups;
        struct told t;
        struct rt *from;

        here(&x.r);
        from = ini_sess_rt(x.r.s);
        cmd_read(&x.r, &x.c[0], 1, 1);
        move_begin(&x, &t, LIMIT);
        cmd_read(&x.r, &x.c[1], 2, 1);
        for (unsigned i = 0; i < turns && ini_sess_rt(x.r.s) == from; i++)
            assert_true(rt_turn(from, 200 * RT_US) >= 0);
        if (ini_sess_rt(x.r.s) == from)
            ini_conn_lost(x.r.s, -ECONNRESET, "dropped by the test");
        both_until(&x.r, t.nr && x.c[0].ended && x.c[1].ended);
        assert_int_equal(x.c[0].t.err + x.c[1].t.err, 0);
        assert_true(t.err == -EAGAIN || (!t.err && ini_sess_rt(x.r.s) != from));
        both_until(&x.r, x.r.ups == ups + (t.err != 0));
        assert_int_equal(t.nr, 1);
    }
    scene_end(&x);
}

static struct told *stop_told;

static void stopped(void *user)
{
    assert_int_equal(stop_told->nr, 1); /* was told before: this is the last that anybody hears */
    rig_stopped(user);
}

static void test_it_may_be_stopped_at_any_point(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        const bool drain = i % 2;
        struct scene x;
        struct told t;

        go(&x, NULL, NULL);
        stop_told = &t;
        cmd_read(&x.r, &x.c[0], 1, 1);
        move_begin(&x, &t, LIMIT);
        cmd_read(&x.r, &x.c[1], 2, 1);
        for (unsigned turns = 0; turns < i / 2 && ini_sess_rt(x.r.s) == at(&x.r, 0); turns++)
            assert_true(rt_turn(at(&x.r, 0), 200 * RT_US) >= 0);
        if (ini_sess_rt(x.r.s) != at(&x.r, 0)) {
            both_until(&x.r, t.nr);
            assert_int_equal(t.err, 0);
        }
        ini_sess_stop(x.r.s, drain, stopped, &x.r);
        both_until(&x.r, x.r.stops);
        assert_true(x.c[0].ended && x.c[1].ended);
        if (drain)
            assert_int_equal(x.c[0].t.err + x.c[1].t.err, 0);
        assert_int_equal(t.nr, 1);
        assert_true(t.err == -EAGAIN || !t.err);
        ini_sess_free(x.r.s);
        x.r.s = NULL;
        scene_end(&x);
    }
}

/* ---- what the target says meanwhile --------------------------------------------------------------------- */

/* A ping behind each answer. What comes back says which. */
static bool ping_after_each(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = { .opcode = ISCSI_OP_NOP_IN, .final = true, .itt = ISCSI_TAG_RESERVED };

    if (c->pdu.opcode == ISCSI_OP_NOP_OUT && c->pdu.itt == ISCSI_TAG_RESERVED) {
        x->faults += c->pdu.ttt != x->seen++;
        return true;
    }
    if (!is_cmd(c))
        return false;
    fake_answer(c);
    p.ttt = x->sent++;
    p.stat_sn = c->stat_sn;
    p.exp_cmd_sn = c->exp_cmd_sn;
    p.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    fake_send_raw(c, p, NULL, 0);
    return true;
}

static void test_every_ping_of_the_target_is_answered_once(void **state)
{
    struct scene x;

    (void)state;
    go(&x, NULL, ping_after_each);
    for (unsigned i = 0; i < 100; i++) {
        here(&x.r);
        for (unsigned n = 0; n < SCENE_CMDS; n++)
            cmd_read(&x.r, &x.c[n], n, 1);
        move(&x);
        for (unsigned n = 0; n < SCENE_CMDS; n++)
            both_until(&x.r, x.c[n].ended);
    }
    both_until(&x.r, x.seen == 100 * SCENE_CMDS);
    assert_int_equal(x.sent, x.seen);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* "The list of LUNs changed", and a request to log out, as the answer to the command that the move waits for. */
static bool async_with_block_7(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_ASYNC, .final = true, .lun = UINT64_MAX, .itt = ISCSI_TAG_RESERVED
    };
    uint8_t data[34] = { 0 };
    const struct scsi_sense sense = SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x3f, 0x0e);
    uint32_t len = 0;

    if (!is_cmd(c) || c->pdu.cmd.cdb[0] != SCSI_READ_10 || load_be32(c->pdu.cmd.cdb + 2) != 7 || c->nr)
        return false;
    while (!x->sent)
        usleep(1000);
    if (x->which) {
        p.async.event = ISCSI_ASYNC_LOGOUT_REQUEST;
        p.async.param3 = 5;
    } else {
        len = (uint32_t)scsi_sense_encode(data + 2, &sense, false);
        store_be16(data, (uint16_t)len);
        len += 2;
    }
    fake_send(c, p, data, len);
    return false;
}

static void test_an_event_in_the_midst_is_told_once(void **state)
{
    struct told t;
    struct scene x;

    (void)state;
    go(&x, NULL, async_with_block_7);
    cmd_read(&x.r, &x.c[0], 7, 1);
    move_begin(&x, &t, LIMIT);
    x.sent = 1;
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, 0);
    both_until(&x.r, x.r.changes);
    assert_int_equal(x.r.changes, 1);
    scene_end(&x);
}

static void test_a_request_to_log_out_comes_first(void **state)
{
    struct told t;
    struct scene x;

    (void)state;
    go(&x, NULL, async_with_block_7);
    x.which = 1;
    cmd_read(&x.r, &x.c[0], 7, 1);
    move_begin(&x, &t, LIMIT);
    cmd_read(&x.r, &x.c[1], 8, 1);
    x.sent = 1;
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -EAGAIN);
    both_until(&x.r, x.c[0].ended && x.c[1].ended);
    assert_int_equal(x.c[0].t.err + x.c[1].t.err, 0);
    assert_int_equal(x.r.ups, 2);
    assert_int_equal(x.f.logouts, 1);
    move(&x);
    scene_end(&x);
}

/* ---- timers --------------------------------------------------------------------------------------------- */

/* Our ping is on its way when the session goes; the answer comes to the new core. */
static bool hold_ping(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->pdu.opcode != ISCSI_OP_NOP_OUT)
        return false;
    x->seen++;
    while (!x->sent)
        usleep(1000);
    return false;
}

static void test_a_ping_may_be_on_its_way(void **state)
{
    struct scene x;

    (void)state;
    up(&x, NULL, hold_ping);
    x.r.conf.set.noop_interval_s = 1;
    x.r.conf.set.noop_timeout_s = 60;
    scene_go(&x);
    both_until(&x.r, x.seen == 1); /* the tick sent it */
    move(&x);
    x.sent = 1;
    both_until(&x.r, x.r.s->nop_rtt_ns);
    both_until(&x.r, x.seen == 2); /* and ticks on there */
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* A READ of block 7 is never answered. */
static bool swallow_block_7(struct fake_conn *c)
{
    return is_cmd(c) && c->pdu.cmd.cdb[0] == SCSI_READ_10 && load_be32(c->pdu.cmd.cdb + 2) == 7 &&
           !scene_of(c)->seen++;
}

static void test_a_late_command_is_aborted_on_the_new_core(void **state)
{
    struct scene x;

    (void)state;
    go(&x, NULL, swallow_block_7);
    move(&x);
    here(&x.r);
    cmd_read(&x.r, &x.c[0], 7, 1);
    x.c[0].t.timeout_s = 1;
    both_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0); /* sent again after the abort */
    assert_int_equal(x.f.aborts, 1);
    scene_end(&x);
}

/* BUSY to each second command: what waits to be sent again waits on the new core. */
static bool busy_every_other(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (!is_cmd(c) || !x->which || x->seen++ % 2)
        return false;
    fake_status(c, c->pdu.itt, SCSI_BUSY);
    return true;
}

static void io_noted(struct ini_io *io, int res)
{
    io->off = 1000000 + (uint64_t)-res;
}

static void reported(void *user, int err, const uint16_t *luns, unsigned nr)
{
    (void)err, (void)luns, (void)nr;
    ++*(unsigned *)user;
}

static void test_what_waits_to_be_sent_again_goes_along(void **state)
{
    uint8_t buf[512];
    struct iovec iov = { buf, sizeof(buf) };
    unsigned reports = 0;
    struct scene x;

    (void)state;
    go(&x, NULL, busy_every_other);
    rig_open(&x.r);
    for (unsigned i = 0; i < 3; i++) {
        struct ini_io io = { .op = INI_READ, .len = 512, .iov = &iov, .iov_nr = 1, .done = io_noted };

        x.which = 1;
        here(&x.r);
        ini_io_submit(x.r.lun, &io);
        both_until(&x.r, !rt_list_empty(&x.r.lun->delayed));
        here(&x.r);
        ini_report_luns(x.r.s, reported, &reports);
        both_until(&x.r, !rt_list_empty(&x.r.s->cmds) || reports == i + 1);
        move(&x);
        both_until(&x.r, io.off >= 1000000 && reports == i + 1);
        assert_int_equal(io.off, 1000000);
        x.which = 0;
        both_until(&x.r, rt_list_empty(&x.r.s->cmds));
    }
    scene_end(&x);
}

/* A unit is closed while it is looked at, and the session is elsewhere when that ends. */
static void test_a_unit_that_was_closed_ends_on_the_new_core(void **state)
{
    struct scene x;

    (void)state;
    go(&x, NULL, busy_every_other);
    rig_open(&x.r);
    x.which = 1;
    here(&x.r);
    ini_lun_abandon(x.r.lun, -EIO); /* its timer runs */
    x.r.lun->err = 0;
    ini_lun_recheck(x.r.lun);
    ini_lun_close(x.r.lun);
    x.r.lun = NULL;
    both_until(&x.r, !rt_list_empty(&x.r.s->cmds));
    move(&x);
    both_until(&x.r, rt_list_empty(&x.r.s->cmds));
    x.which = 0;
    x.r.opened = false;
    rig_open(&x.r);
    scene_end(&x);
}

/* A reset of the unit that is under way is waited for. */
static bool hold_tmf(struct fake_conn *c)
{
    if (c->pdu.opcode == ISCSI_OP_TMF)
        while (!scene_of(c)->sent)
            usleep(1000);
    return false;
}

static void reset_done(void *user, int resp, int err)
{
    assert_int_equal(err, 0);
    *(int *)user = resp;
    rt_assert_here(rt_self());
}

static void test_task_management_is_answered_first(void **state)
{
    int resp = -7;
    struct told t;
    struct scene x;

    (void)state;
    go(&x, NULL, hold_tmf);
    here(&x.r);
    ini_lun_reset(x.r.s, 0, reset_done, &resp);
    move_begin(&x, &t, 20 * RT_MS);
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, -ETIMEDOUT);
    move_begin(&x, &t, LIMIT);
    x.sent = 1;
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, 0);
    assert_int_equal(resp, ISCSI_TMF_COMPLETE);
    scene_end(&x);
}

/* That lives on the core where it began; see test_fence.c. */
static void test_a_move_waits_for_what_is_left_of_a_fence(void **state)
{
    struct scene x;
    struct told t;

    (void)state;
    go(&x, NULL, NULL);
    x.r.s->fences_nr = 1;
    move_begin(&x, &t, LIMIT);
    for (unsigned i = 0; i < 50; i++) {
        assert_true(rt_turn(at(&x.r, 0), 100 * RT_US) >= 0);
        assert_true(rt_turn(at(&x.r, 1), 100 * RT_US) >= 0);
    }
    assert_int_equal(t.nr, 0);
    here(&x.r);
    x.r.s->fences_nr = 0;
    ini_move_check(x.r.s);
    both_until(&x.r, t.nr);
    assert_int_equal(t.err, 0);
    still_works(&x, 1);
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost_failed_doubled_or_reordered),
        cmocka_unit_test(test_an_idle_session_moves_there_and_back),
        cmocka_unit_test(test_to_the_core_where_it_is_there_is_no_pause),
        cmocka_unit_test(test_one_move_after_the_other),
        cmocka_unit_test(test_one_that_is_not_logged_in_stays),
        cmocka_unit_test(test_a_second_move_is_refused),
        cmocka_unit_test(test_what_takes_too_long_calls_it_off),
        cmocka_unit_test(test_a_connection_that_breaks_recovers_where_it_is),
        cmocka_unit_test(test_it_may_be_dropped_at_any_point),
        cmocka_unit_test(test_it_may_be_stopped_at_any_point),
        cmocka_unit_test(test_every_ping_of_the_target_is_answered_once),
        cmocka_unit_test(test_an_event_in_the_midst_is_told_once),
        cmocka_unit_test(test_a_request_to_log_out_comes_first),
        cmocka_unit_test(test_a_ping_may_be_on_its_way),
        cmocka_unit_test(test_a_late_command_is_aborted_on_the_new_core),
        cmocka_unit_test(test_what_waits_to_be_sent_again_goes_along),
        cmocka_unit_test(test_a_unit_that_was_closed_ends_on_the_new_core),
        cmocka_unit_test(test_task_management_is_answered_first),
        cmocka_unit_test(test_a_move_waits_for_what_is_left_of_a_fence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
