/*
 * test_watch.c - connections that go silent while commands are under way
 */
#include "case.h"

static atomic_bool deaf, slow;

/* While it is deaf nothing is answered on the first connection; a slow one answers pings alone. */
static bool hook(struct fake_conn *c)
{
    struct scene *x = scene_of(c);

    if (c->nr)
        return false;
    if (slow && is_cmd(c)) {
        x->seen++;
        return true;
    }
    if (!deaf)
        return false;
    x->seen++;
    x->sent += c->pdu.opcode == ISCSI_OP_NOP_OUT;
    return true;
}

static void watched(struct scene *x, uint32_t silence_ms)
{
    deaf = slow = false;
    scene_up(x, NULL, hook);
    ini_sess_watch(x->r.s, silence_ms);
}

/* On a busy machine the next one may be silent for that long as well. */
static void dropped(struct scene *x)
{
    rig_until(&x->r, x->r.downs);
    ini_sess_watch(x->r.s, 0);
    command_comes_to(x, IS_LOST);
}

static void test_a_silent_target_is_asked_once_and_then_dropped(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 100);
    deaf = true;
    cmd_write(&x.r, &x.c[0], 0, 1);
    dropped(&x);
    assert_int_equal(x.sent, 1); /* one ping */
    assert_non_null(strstr(x.r.why, "nothing came from the target for 100 ms"));
    scene_end(&x);
}

/* That the connection was of no use until then is no reason to wait: it is not the target that broke it. */
static void test_after_silence_the_first_login_waits_for_nothing(void **state)
{
    struct ini_sess_info info;
    struct scene x;

    (void)state;
    watched(&x, 20);
    deaf = true;
    cmd_read(&x.r, &x.c[0], 0, 1);
    dropped(&x);
    ini_sess_info(x.r.s, &info);
    assert_int_equal(info.timeouts, 1);
    assert_int_equal(x.f.conns, 2);
    scene_end(&x);
}

/* The command takes long, and pings are answered all the while. */
static void test_a_slow_target_is_not_a_silent_one(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 2000);
    slow = true;
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.f.nops >= 2);
    assert_int_equal(x.r.downs, 0);
    assert_false(x.c[0].ended);
    slow = false;
    cmd_read(&x.r, &x.c[1], 0, 1);
    rig_until(&x.r, x.c[1].ended);
    assert_int_equal(x.c[1].t.err, 0);
    scene_end(&x);
}

static void test_an_idle_connection_is_left_alone(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 0);
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.c[0].ended);
    ini_sess_watch(x.r.s, 20);
    deaf = true;
    rig_for(&x.r, 400);
    assert_int_equal(x.seen, 0);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* Long after the last answer a command is not late yet. */
static void test_silence_counts_from_the_command_that_is_under_way(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 20000);
    rig_for(&x.r, 300);
    for (unsigned i = 0; i < 50; i++) {
        cmd_read(&x.r, &x.c[0], 0, 1);
        rig_until(&x.r, x.c[0].ended);
    }
    assert_int_equal(x.f.nops, 0);
    scene_end(&x);
}

static void test_it_can_be_switched_off(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 20);
    ini_sess_watch(x.r.s, 0);
    deaf = true;
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_for(&x.r, 400);
    assert_int_equal(x.seen, 1);
    assert_int_equal(x.r.downs, 0);
    scene_end(&x);
}

/* Switched on while a command waits already. */
static void test_it_can_be_switched_on_late(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 0);
    deaf = true;
    cmd_read(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.seen == 1);
    ini_sess_watch(x.r.s, 50);
    dropped(&x);
    scene_end(&x);
}

/* The answer is there, and nobody has turned the reactor to see it. */
static void test_our_own_sleep_is_not_its_silence(void **state)
{
    struct scene x;

    (void)state;
    watched(&x, 800);
    cmd_read(&x.r, &x.c[0], 0, 1);
    assert_true(rt_turn(x.r.rt, 0) >= 0);
    usleep(950000);
    rig_until(&x.r, x.c[0].ended);
    assert_int_equal(x.c[0].t.err, 0);
    ini_sess_watch(x.r.s, 0);
    still_works(&x, 1);
    assert_int_equal(x.f.nops, 0);          /* none was before that command */
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_silent_target_is_asked_once_and_then_dropped),
        cmocka_unit_test(test_after_silence_the_first_login_waits_for_nothing),
        cmocka_unit_test(test_a_slow_target_is_not_a_silent_one),
        cmocka_unit_test(test_an_idle_connection_is_left_alone),
        cmocka_unit_test(test_silence_counts_from_the_command_that_is_under_way),
        cmocka_unit_test(test_it_can_be_switched_off),
        cmocka_unit_test(test_it_can_be_switched_on_late),
        cmocka_unit_test(test_our_own_sleep_is_not_its_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
