/*
 * test_case_recovery.c - connections that break: what is sent again, what must not be, when and where to
 */
#include "case.h"

/* ---- what must not be sent twice ------------------------------------------------------------------------ */

#define BIG (16u << 20)                     /* bytes: more than two sockets hold */

static const char big_keys[] = CASE_KEYS("None", "No", "Yes", "16777215", "16777215", "16777215");

/* Takes the header of the first command, and resets the connection while its data are on the way. */
static void half_way_script(struct fake_conn *c)
{
    const struct linger none = { .l_onoff = 1 };

    if (c->nr) {
        fake_default_script(c);
        return;
    }
    if (LOGIN_WITH(c, big_keys) && fake_read(c->fd, c->bhs, sizeof(c->bhs)))
        scene_of(c)->seen++;
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

static bool count_commands(struct fake_conn *c)
{
    if (is_cmd(c) && c->pdu.cmd.write)
        scene_of(c)->sent++;
    return false;
}

static void once_write(struct scene *x, unsigned i, void *buf, uint32_t len)
{
    struct cmd *c = &x->c[i];

    memset(&c->t, 0, sizeof(c->t));
    c->ended = false;
    c->iov = (struct iovec){ buf, len };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, i, len / 512, false);
    c->t.edtl = len;
    c->t.once = true;
    c->t.out = (struct dm_buf){ &c->iov, 1, len };
    c->t.done = cmd_ended;
    ini_submit(x->r.s, &c->t);
}

/* 7.1.1, 6.3.5: reinstatement ends tasks, it does not undo them. What may have been executed ends with an
 * error; what never left is sent. */
static void test_a_command_for_once_is_not_repeated_when_its_send_breaks_half_way(void **state)
{
    struct scene x;
    void *big = calloc(1, BIG - 512);

    (void)state;
    scene_init(&x, half_way_script, count_commands);
    x.r.conf.set.first_burst_max = x.r.conf.set.burst_max = 16777215;
    scene_go(&x);
    once_write(&x, 0, big, BIG - 512);
    once_write(&x, 1, x.c[1].buf, 512);     /* waits behind the other */
    rig_until(&x.r, x.c[0].ended && x.c[1].ended);
    assert_int_equal(x.seen, 1);
    assert_int_equal(x.c[0].t.err, -ECONNRESET);
    assert_int_equal(x.c[1].t.err, 0);
    assert_int_equal(x.c[1].t.status, SCSI_GOOD);
    still_works(&x, 2);
    assert_int_equal(x.sent, 1);
    scene_end(&x);
    free(big);
}

/* ---- when ----------------------------------------------------------------------------------------------- */

static void revolving_door_script(struct fake_conn *c)
{
    if (fake_login(c))
        scene_of(c)->seen++;
}

/* 6.3.5: a new login each time, but not as fast as the network allows. */
static void test_a_target_that_drops_each_session_at_once_is_not_hammered(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, revolving_door_script, NULL);
    rig_for(&x.r, 1000);
    rig_until(&x.r, x.seen >= 3);
    assert_true(x.seen < 20);
    scene_end(&x);
}

/* 7.5: after a connection that broke, no login for Time2Wait, as it was agreed on, or as the drop announced it. An
 * hour is long enough to see that nobody comes. */
static void waiting_script(struct fake_conn *c)
{
    static const char an_hour[] = "DefaultTime2Wait=3600";

    if (scene_of(c)->which == 2 ? !fake_login(c) : !LOGIN_WITH(c, an_hour))
        return;
    fake_serve(c);
}

static bool breaks(struct fake_conn *c)
{
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    if (!is_cmd(c) || c->nr)
        return false;
    p.async.event = scene_of(c)->which == 3 ? ISCSI_ASYNC_LOGOUT_REQUEST : ISCSI_ASYNC_DROP_ALL;
    p.async.param2 = scene_of(c)->which == 2 ? 3600 : 0;
    p.async.param3 = 1;
    if (scene_of(c)->which)
        fake_send(c, p, NULL, 0);
    if (scene_of(c)->which == 3)
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

static void waits(uintptr_t which, bool comes)
{
    struct scene x;

    scene_init(&x, waiting_script, breaks);
    x.which = which;
    scene_go(&x);
    cmd_write(&x.r, &x.c[0], 0, 1);
    if (comes) {
        rig_until(&x.r, x.c[0].ended && x.r.ups == 2);
        assert_int_equal(x.c[0].t.err, 0);
    } else {
        rig_until(&x.r, x.r.downs == 1);
        rig_for(&x.r, 600);
        assert_int_equal(x.f.conns, 1);
    }
    scene_end(&x);
}

static void test_no_login_within_the_wait_that_was_agreed_on(void **state)
{
    (void)state;
    waits(0, false);
}

static void test_a_drop_that_says_at_once_is_followed_by_a_login(void **state)
{
    (void)state;
    waits(1, true);
}

static void test_no_login_within_the_wait_of_a_drop(void **state)
{
    (void)state;
    waits(2, false);
}

static void test_after_a_logout_there_is_nothing_to_wait_for(void **state)
{
    (void)state;
    waits(3, true);
}

/* ---- where to ------------------------------------------------------------------------------------------- */

static void moved_for_good_script(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    char text[64];

    if (x->which && c->nr == x->which) {    /* it has come back */
        fake_default_script(c);
        return;
    }
    snprintf(text, sizeof(text), "TargetAddress=127.0.0.1:%u,1", (unsigned)(uintptr_t)x->f.arg);
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_PERM, text);
}

/* A port on which nobody listens, nor can while the socket that is returned is open. */
static int dead_port(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* 11.13.5: moved for good, but nobody is there: the portal that said so is asked again. */
static void test_a_permanent_move_to_nowhere_is_not_remembered(void **state)
{
    struct scene x;
    uint16_t port;
    const int fd = dead_port(&port);

    (void)state;
    scene_init(&x, moved_for_good_script, NULL);
    x.f.arg = (void *)(uintptr_t)port;
    x.which = 2;
    x.r.conf.set.login_retry_max = 8;
    scene_go(&x);
    still_works(&x, 1);
    assert_int_equal(x.f.conns, 3);
    scene_end(&x);
    close(fd);
}

static void hang_up_script(struct fake_conn *c)
{
    if (c->nr == 0 && fake_login(c))
        (void)fake_recv(c);
}

/* Moved, served there, and later nobody is left there: what is configured may know. */
static void test_when_the_new_home_dies_the_old_one_is_asked(void **state)
{
    struct scene x;
    struct fake away = { 0 };

    (void)state;
    fake_start(&away, hang_up_script);
    scene_init(&x, moved_for_good_script, NULL);
    x.f.arg = (void *)(uintptr_t)away.port;
    x.which = 1;
    scene_go(&x);
    cmd_read(&x.r, &x.c[0], 0, 1);          /* makes the new home hang up, for ever */
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    still_works(&x, 2);
    assert_int_equal(x.f.conns, 2);
    scene_end(&x);
    fake_stop(&away);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* hostile: lets us in and breaks, again and again */
        cmocka_unit_test(test_a_target_that_drops_each_session_at_once_is_not_hammered),
        /* 7.5, 13.15: DefaultTime2Wait before a session is reinstated */
        cmocka_unit_test(test_no_login_within_the_wait_that_was_agreed_on),
        /* 11.9.1: Parameter2 of events 2 and 3 stands for it: 0 */
        cmocka_unit_test(test_a_drop_that_says_at_once_is_followed_by_a_login),
        /* 11.9.1: Parameter2 of events 2 and 3 stands for it: an hour */
        cmocka_unit_test(test_no_login_within_the_wait_of_a_drop),
        /* 7.5: not after a Logout, which leaves nothing behind */
        cmocka_unit_test(test_after_a_logout_there_is_nothing_to_wait_for),
        /* 11.13.5: 0102 to where nobody answers */
        cmocka_unit_test(test_a_permanent_move_to_nowhere_is_not_remembered),
        /* 11.13.5: 0102 to a place that is left later */
        cmocka_unit_test(test_when_the_new_home_dies_the_old_one_is_asked),
        /* 6.3.5: COMPARE AND WRITE and the like are not sent twice, also when half of one went out */
        cmocka_unit_test(test_a_command_for_once_is_not_repeated_when_its_send_breaks_half_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
