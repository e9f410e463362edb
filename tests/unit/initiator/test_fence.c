/*
 * test_fence.c - what a broken session may have left at its target is ended by way of another portal
 */
#include "lun_rig.h"

#define TAG(n) "TargetPortalGroupTag=" #n

static atomic_bool serving, open_door; /* the session's portal, the other one: lets in who comes */
static atomic_uint logins, closings;   /* at the other portal */
static uint8_t isid_seen[6];
static atomic_uint tsih_seen;

static const char *home_keys; /* of the operational stage at the session's portal; NULL: fake_keys */
static uint32_t home_keys_len;

/* With the tag of the portal group in the first response. Return: false when there is none to talk to any more. */
static bool login_in_group(struct fake_conn *c, const char *tag, const char *keys, uint32_t len)
{
    if (!fake_send(c, fake_login_resp(c, true, 0, 1, 0), tag, tag ? (uint32_t)strlen(tag) + 1 : 0) ||
        !fake_recv(c))
        return false;
    return fake_send(c, fake_login_resp(c, true, 1, 3, 0), keys, len);
}

/* The session's portal: the first connection breaks at the first read or write. */
static void home_script(struct fake_conn *c)
{
    const char *keys = home_keys ? home_keys : fake_keys;
    const uint32_t len = home_keys ? home_keys_len : sizeof(fake_keys);

    if ((c->nr && !serving) || !fake_login_first(c) || !login_in_group(c, c->f->arg, keys, len))
        return;
    while (fake_recv(c)) {
        if (!c->nr && is_data(c))
            return;
        if (!fake_answer(c))
            return;
    }
}

/* The other one. */
static void other_script(struct fake_conn *c)
{
    logins++;
    while (!open_door && !c->f->stop)
        usleep(1000);
    if (!open_door || !fake_login_first(c))
        goto out;
    memcpy(isid_seen, c->isid, sizeof(isid_seen));
    tsih_seen = c->pdu.login.tsih;
    if (login_in_group(c, c->f->arg, fake_keys, sizeof(fake_keys)))
        fake_serve(c);
out:
    closings++;
}

struct two {
    struct fake home, other;
    struct rig r;
    struct iscsi_portal portal;
    unsigned told;
    int err;
};

/* The session was up, its connection broke, and it is not let in again; the other portal is of group @tag. */
static void two_start(struct two *t, const char *tag, fake_script *script, int32_t login_timeout_s)
{
    memset(t, 0, sizeof(*t));
    serving = false;
    open_door = true;
    logins = closings = 0;
    tsih_seen = 1;
    t->home.arg = (void *)(uintptr_t)TAG(7);
    t->other.arg = (void *)(uintptr_t)tag;
    fake_start(&t->home, home_script);
    fake_start(&t->other, script);
    rig_init(&t->r, t->home.port);
    t->portal = t->r.conf.portal;
    t->portal.port = t->other.port;
    t->r.conf.set.noop_interval_s = 0;
    t->r.conf.set.login_timeout_s = login_timeout_s;
    rig_start(&t->r);
    rig_open(&t->r);
    ini_lun_hand_back(t->r.lun, true);
}

static void two_break(struct two *t)
{
    assert_int_equal(run(&t->r, INI_WRITE, 0, 512, 0), -ECONNABORTED);
}

static void two_end(struct two *t)
{
    open_door = true;
    rig_end(&t->r);
    fake_stop(&t->home);
    fake_stop(&t->other);
}

static void fenced(void *user, int err)
{
    struct two *t = user;

    t->told++;
    t->err = err;
}

static int fence(struct two *t)
{
    const unsigned before = t->told;

    ini_sess_fence(t->r.s, &t->portal, fenced, t);
    assert_int_equal(t->told, before); /* never from inside */
    rig_until(&t->r, t->told > before);
    return t->err;
}

/* ---- it is done ----------------------------------------------------------------------------------------- */

static void test_a_fence_logs_in_in_the_sessions_place_and_out(void **state)
{
    struct ini_sess_info info;
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), 0);
    rig_until(&t.r, closings == 1);
    ini_sess_info(t.r.s, &info);
    assert_memory_equal(isid_seen, info.isid, 6);
    assert_int_equal(tsih_seen, 0);
    assert_int_equal(t.other.logouts, 1);
    assert_int_equal(t.told, 1);
    serving = true;
    rig_until(&t.r, t.r.events[INI_LUN_RESUMED]);
    assert_int_equal(run(&t.r, INI_WRITE, 0, 512, 0), 0);
    assert_int_equal(t.r.ups, 2);
    two_end(&t);
}

static void test_a_fence_can_be_had_again(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), 0);
    assert_int_equal(fence(&t), 0);
    rig_until(&t.r, closings == 2);
    two_end(&t);
}

static void test_a_session_that_is_up_needs_none(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    assert_int_equal(fence(&t), 0);
    assert_int_equal(logins, 0);
    two_end(&t);
}

static void test_a_session_that_comes_back_is_its_own_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    open_door = false;
    ini_sess_fence(t.r.s, &t.portal, fenced, &t);
    rig_until(&t.r, logins == 1);
    assert_int_equal(t.told, 0);
    serving = true;
    rig_until(&t.r, t.told == 1);
    assert_int_equal(t.err, 0);
    assert_int_equal(t.r.ups, 2);
    open_door = true; /* too late: nobody logs in there any more */
    rig_until(&t.r, closings == 1);
    assert_int_equal(t.other.logouts, 0);
    assert_int_equal(run(&t.r, INI_READ, 0, 512, 0), 0);
    assert_int_equal(t.r.downs, 1);
    two_end(&t);
}

/* Keys of a target that wants to be left alone for a while. */
#define PATIENT(s)                                                                                             \
    "HeaderDigest=None\0DataDigest=None\0InitialR2T=No\0ImmediateData=Yes\0MaxRecvDataSegmentLength=1048576\0" \
    "MaxBurstLength=1048576\0FirstBurstLength=262144\0MaxConnections=1\0DefaultTime2Wait=" s                   \
    "\0DefaultTime2Retain=0\0MaxOutstandingR2T=1\0DataPDUInOrder=Yes\0DataSequenceInOrder="                    \
    "Yes\0ErrorRecoveryLevel=0"

static void test_a_fence_waits_as_long_as_the_target_wants(void **state)
{
    static const char keys[] = PATIENT("1");
    uint64_t broke_ns;
    struct two t;

    (void)state;
    home_keys = keys;
    home_keys_len = sizeof(keys);
    two_start(&t, TAG(7), other_script, 30);
    broke_ns = rt_clock(t.r.rt);
    two_break(&t);
    assert_int_equal(fence(&t), 0);
    assert_true(rt_clock(t.r.rt) >= broke_ns + 900 * RT_MS);
    home_keys = NULL;
    two_end(&t);
}

static void test_but_for_no_longer_than_a_login_may_take(void **state)
{
    static const char keys[] = PATIENT("60");
    struct two t;

    (void)state;
    home_keys = keys;
    home_keys_len = sizeof(keys);
    two_start(&t, TAG(7), other_script, 1);
    two_break(&t);
    assert_int_equal(fence(&t), -ETIMEDOUT);
    assert_int_equal(logins, 0);
    home_keys = NULL;
    two_end(&t);
}

/* ---- it is not ------------------------------------------------------------------------------------------ */

static void test_another_portal_group_is_no_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(8), other_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), -EXDEV);
    rig_until(&t.r, closings == 1);
    assert_int_equal(t.other.logouts, 1);
    two_end(&t);
}

static void test_a_portal_that_does_not_tell_its_group_is_no_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, NULL, other_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), -EXDEV);
    two_end(&t);
}

static void refuse_script(struct fake_conn *c)
{
    logins++;
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_FORBIDDEN, NULL);
    closings++;
}

static void test_a_refused_login_is_no_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), refuse_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), -EACCES);
    assert_int_equal(logins, 1);
    two_end(&t);
}

static void hang_up_script(struct fake_conn *c)
{
    logins++;
    (void)fake_login_first(c);
}

static void test_a_portal_that_hangs_up_is_no_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), hang_up_script, 30);
    two_break(&t);
    assert_true(fence(&t) < 0);
    assert_int_equal(logins, 2); /* the session itself may have been the reason: once more, no oftener */
    two_end(&t);
}

static void test_a_portal_that_says_nothing_is_waited_for_for_so_long(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 1);
    two_break(&t);
    open_door = false;
    assert_int_equal(fence(&t), -ETIMEDOUT);
    two_end(&t);
}

static void test_one_at_a_time(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    open_door = false;
    ini_sess_fence(t.r.s, &t.portal, fenced, &t);
    assert_int_equal(fence(&t), -EBUSY);
    open_door = true;
    rig_until(&t.r, t.told == 2);
    assert_int_equal(t.err, 0);
    two_end(&t);
}

static void test_a_stop_ends_the_wait(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    open_door = false;
    ini_sess_fence(t.r.s, &t.portal, fenced, &t);
    rig_until(&t.r, logins == 1);
    ini_sess_stop(t.r.s, false, rig_stopped, &t.r);
    rig_until(&t.r, t.r.stops);
    assert_int_equal(t.told, 1);
    assert_int_equal(t.err, -ECANCELED);
    ini_sess_fence(t.r.s, &t.portal, fenced, &t);
    rig_until(&t.r, t.told == 2);
    assert_int_equal(t.err, -ECANCELED);
    ini_lun_close(t.r.lun);
    t.r.lun = NULL;
    ini_sess_free(t.r.s);
    t.r.s = NULL;
    two_end(&t);
}

/* A stop right after the answer waits for the logout that is under way. */
static void test_a_stop_waits_for_what_is_left_of_a_fence(void **state)
{
    struct two t;

    (void)state;
    two_start(&t, TAG(7), other_script, 30);
    two_break(&t);
    assert_int_equal(fence(&t), 0);
    ini_sess_stop(t.r.s, false, rig_stopped, &t.r);
    rig_until(&t.r, t.r.stops);
    assert_int_equal(t.other.logouts, 1);
    ini_lun_close(t.r.lun);
    t.r.lun = NULL;
    ini_sess_free(t.r.s);
    t.r.s = NULL;
    two_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fence_logs_in_in_the_sessions_place_and_out),
        cmocka_unit_test(test_a_fence_can_be_had_again),
        cmocka_unit_test(test_a_session_that_is_up_needs_none),
        cmocka_unit_test(test_a_session_that_comes_back_is_its_own_fence),
        cmocka_unit_test(test_a_fence_waits_as_long_as_the_target_wants),
        cmocka_unit_test(test_but_for_no_longer_than_a_login_may_take),
        cmocka_unit_test(test_another_portal_group_is_no_fence),
        cmocka_unit_test(test_a_portal_that_does_not_tell_its_group_is_no_fence),
        cmocka_unit_test(test_a_refused_login_is_no_fence),
        cmocka_unit_test(test_a_portal_that_hangs_up_is_no_fence),
        cmocka_unit_test(test_a_portal_that_says_nothing_is_waited_for_for_so_long),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_a_stop_ends_the_wait),
        cmocka_unit_test(test_a_stop_waits_for_what_is_left_of_a_fence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
