/*
 * test_tgt_group.c - portals that come and go, their groups, and the access states of groups, with initiators there
 */
#include <sys/stat.h>

#include "tgt_bed.h"

#define OTHER "127.0.0.2:0" /* nobody else binds there: the port is still free after a restart */

static uint16_t port1, port2;

/* Where peers connect to. */
static void by(uint16_t port)
{
    bed.port = port;
}

static uint16_t portal_add(const char *addr, int group)
{
    json_t *r = bed_call(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", addr, "group", group));
    const char *text = json_string_value(json_object_get(r, "addr"));
    const uint16_t port = (uint16_t)atoi(strrchr(text, ':') + 1);

    assert_int_equal(json_integer_value(json_object_get(r, "tpgt")), group);
    json_decref(r);
    return port;
}

static json_t *portal_named(uint16_t port, bool force)
{
    char addr[32];

    snprintf(addr, sizeof(addr), "127.0.0.1:%u", port);
    return json_pack("{s:s, s:b}", "addr", addr, "force", (int)force);
}

static int up(void **state)
{
    (void)state;
    bed_start(&bed, 2);
    bed_disk(&bed);
    port1 = bed.port;
    port2 = portal_add("127.0.0.1:0", 2);
    return 0;
}

/* Before each test: no session, both groups optimized for all LUNs. */
static int settled(void **state)
{
    by(port1);
    for (int tag = 1; tag <= 2; tag++)
        bed_do(&bed, "alua.set",
               json_pack("{s:s, s:i, s:s}", "iqn", T_IQN, "group", tag, "state", "optimized"));
    return fresh(state);
}

static json_t *alua_params(int lun, int group, const char *state)
{
    json_t *p = json_pack("{s:s, s:i, s:s}", "iqn", T_IQN, "group", group, "state", state);

    if (lun >= 0)
        json_object_set_new(p, "lun", json_integer(lun));
    return p;
}

static void alua_set(int lun, int group, const char *state)
{
    bed_do(&bed, "alua.set", alua_params(lun, group, state));
}

/* "state", "state*" when preferred, or "" for a group that is not there. */
static const char *alua_of(int lun, int group, char out[static 32])
{
    json_t *list = bed_call(&bed, "alua.list", json_pack("{s:s}", "iqn", T_IQN)), *v;
    size_t i;

    *out = '\0';
    json_array_foreach(list, i, v)
    {
        if (json_integer_value(json_object_get(v, "lun")) == lun &&
            json_integer_value(json_object_get(v, "group")) == group)
            snprintf(out, 32, "%s%s", json_string_value(json_object_get(v, "state")),
                     json_is_true(json_object_get(v, "preferred")) ? "*" : "");
    }
    json_decref(list);
    return out;
}

static void expect_alua(int lun, int group, const char *want)
{
    char is[32];

    assert_string_equal(alua_of(lun, group, is), want);
}

/* What TEST UNIT READY to a LUN says: ASC and ASCQ, 0 for GOOD. */
static unsigned tur(struct peer_end *p, uint16_t lun)
{
    static const uint8_t cdb[16];
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, 0, false, false);

    pdu.lun = scsi_lun_encode(lun);
    peer_send(p, &pdu, NULL);
    peer_expect(p, ISCSI_OP_SCSI_RESP);
    return p->rsp.resp.status == SCSI_GOOD ? 0 : (unsigned)(p->data[2 + 12] << 8 | p->data[2 + 13]);
}

/* As the session is older than the changes to come, it hears of them. */
static struct peer_end *ready_by(uint16_t port, uint8_t isid)
{
    struct peer_end *p;

    by(port);
    p = peer_ready(&bed, isid, "");
    by(port1);
    return p;
}

/* ---- portals --------------------------------------------------------------------------------------------- */

static void test_each_portal_tells_its_group(void **state)
{
    struct iscsi_pdu pdu;
    struct peer_end *p;
    char want[64];

    (void)state;
    by(port2);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    expect_answer(p, "TargetPortalGroupTag", "2");
    peer_close(p);
    bed_settle(&bed, 0);
    p = peer_discovery(&bed);
    pdu = text_pdu(p, ISCSI_TAG_RESERVED, sizeof("SendTargets=All"), false);
    peer_send(p, &pdu, "SendTargets=All");
    peer_expect(p, ISCSI_OP_TEXT_RESP);
    snprintf(want, sizeof(want), "TargetAddress=127.0.0.1:%u,1", port1);
    assert_true(answer_has(p, want));
    snprintf(want, sizeof(want), "TargetAddress=127.0.0.1:%u,2", port2);
    assert_true(answer_has(p, want));
    peer_logout(p);
}

/* RFC 7143 4.4.3: the target's end of a nexus is the portal group. */
static void test_an_isid_names_a_session_in_each_group(void **state)
{
    struct peer_end *p = ready_by(port1, 1), *q = ready_by(port2, 1), *r;

    (void)state;
    assert_int_equal(tur(p, 0), 0);
    assert_int_equal(bed_sessions(&bed), 2);
    r = ready_by(port2, 1); /* this one is reinstatement */
    assert_true(peer_ended(q, PEER_MS));
    peer_close(q);
    assert_int_equal(tur(p, 0), 0);
    assert_int_equal(tur(r, 0), 0);
    peer_logout(p);
    peer_logout(r);
}

static void test_a_portal_goes_and_its_sessions_with_it_when_forced(void **state)
{
    const uint16_t port = portal_add("127.0.0.1:0", 3);
    struct peer_end *p = ready_by(port1, 1), *q = ready_by(port, 2);

    (void)state;
    expect_alua(0, 3, "optimized");
    bed_refused(&bed, "portal.remove", portal_named(port, false),
                "has 1 session; log the initiators out first");
    assert_int_equal(tur(q, 0), 0);
    expect_alua(0, 3, "optimized");
    bed_do(&bed, "portal.remove", portal_named(port, true));
    peer_gone(q);
    expect_alua(0, 3, "");
    assert_int_equal(tur(p, 0), 0x2a06);
    assert_int_equal(tur(p, 0), 0);
    bed_refused(&bed, "portal.remove", portal_named(port, true), "there is no portal");
    bed_settle(&bed, 1);
    peer_logout(p);
}

/* A connection that came in before its portal went logs in nowhere. */
static void test_a_login_by_a_portal_that_went_is_refused(void **state)
{
    const uint16_t port = portal_add("127.0.0.1:0", 3);
    struct peer_end *p;

    (void)state;
    by(port);
    p = peer_open(&bed);
    assert_int_equal(login_step(p, 0, 1, true, LOGIN_NAMES "\nAuthMethod=None"), ISCSI_LOGIN_OK);
    bed_do(&bed, "portal.remove", portal_named(port, false));
    assert_int_equal(login_step(p, 1, 3, true, ""), ISCSI_LOGIN_UNAVAILABLE);
    peer_gone(p);
}

/* Places are used again; as many come and go as there are, and then one more is refused. */
static void test_portals_up_to_the_most_there_can_be(void **state)
{
    uint16_t ports[TGT_PORTALS_MAX];
    unsigned nr = 0;

    (void)state;
    while (nr < TGT_PORTALS_MAX - 2) {
        ports[nr] = portal_add("127.0.0.1:0", (int)(100 + nr));
        nr++;
    }
    bed_refused(&bed, "portal.add", json_pack("{s:s}", "addr", "127.0.0.1:0"), "as many as there can be");
    while (nr)
        bed_do(&bed, "portal.remove", portal_named(ports[--nr], false));
    ports[0] = portal_add("127.0.0.1:0", 3);
    bed_do(&bed, "portal.remove", portal_named(ports[0], false));
}

static void test_portals_that_are_refused(void **state)
{
    char taken[32];

    (void)state;
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", port2);
    bed_refused(&bed, "portal.add", json_pack("{s:s}", "addr", taken), "it is a portal already");
    bed_refused(&bed, "portal.add", json_pack("{s:s}", "addr", "here"), "is no portal");
    bed_refused(&bed, "portal.add", json_pack("{s:s}", "addr", "/tmp/x"), "is no portal");
    bed_refused(&bed, "portal.add", json_pack("{s:s}", "addr", "192.0.2.77:0"), "no address of this host");
    bed_refused(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", "127.0.0.1:0", "group", 0), "1 to 65535");
    bed_refused(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", "127.0.0.1:0", "group", 65536),
                "1 to 65535");
    bed_refused(&bed, "portal.add", json_pack("{s:s, s:s}", "addr", "127.0.0.1:0", "group", "2"), "1 to 65535");
    bed_refused(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", "127.0.0.1:0", "tpgt", 2), "not known");
    bed_refused(&bed, "portal.add", NULL, "\"addr\" is missing");
    bed_refused(&bed, "portal.remove", json_pack("{s:s}", "addr", "192.0.2.1:3260"), "there is no portal");
}

/* ---- states ---------------------------------------------------------------------------------------------- */

static void test_a_state_is_served_and_told(void **state)
{
    static const struct {
        const char *state;
        unsigned asc;
    } rows[] = {
        { "non-optimized", 0 }, { "standby", 0x040b }, { "unavailable", 0x040c },
        { "offline", 0x0412 },  { "optimized", 0 },
    };
    struct peer_end *p = ready_by(port1, 1), *q = ready_by(port2, 2);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        alua_set(-1, 2, rows[i].state);
        expect_alua(0, 2, rows[i].state);
        assert_int_equal(tur(p, 0), 0x2a06);
        assert_int_equal(tur(p, 0), 0);
        assert_int_equal(tur(q, 0), 0x2a06);
        assert_int_equal(tur(q, 0), rows[i].asc);
    }
    peer_logout(p);
    peer_logout(q);
}

static void test_a_lun_can_have_a_state_of_its_own(void **state)
{
    json_t *p = alua_params(0, 2, "non-optimized");

    (void)state;
    bed_ram(&bed, T_IQN, 1, 4);
    alua_set(-1, 2, "standby");
    json_object_set_new(p, "preferred", json_true());
    bed_do(&bed, "alua.set", p);
    expect_alua(0, 2, "non-optimized*");
    expect_alua(1, 2, "standby");
    expect_alua(0, 1, "optimized");
    bed_ram(&bed, T_IQN, 2, 4); /* is as the target says */
    expect_alua(2, 2, "standby");
    alua_set(-1, 2, "unavailable"); /* for all, whatever they had */
    for (int lun = 0; lun < 3; lun++)
        expect_alua(lun, 2, "unavailable");
    for (int lun = 1; lun < 3; lun++)
        bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", lun));
}

static void test_states_that_are_refused(void **state)
{
    json_t *p = alua_params(-1, 1, "standby");

    (void)state;
    bed_refused(&bed, "alua.set", alua_params(-1, 1, "transitioning"), "it may be optimized");
    bed_refused(&bed, "alua.set", alua_params(-1, 1, ""), "it may be optimized");
    bed_refused(&bed, "alua.set", alua_params(-1, 9, "standby"), "no portal is of group 9");
    bed_refused(&bed, "alua.set", alua_params(-1, 0, "standby"), "1 to 65535");
    bed_refused(&bed, "alua.set", alua_params(7, 1, "standby"), "has no LUN 7");
    bed_refused(&bed, "alua.set",
                json_pack("{s:s, s:i, s:s}", "iqn", "iqn.2026-01.test:none", "group", 1, "state", "standby"),
                "there is no target");
    bed_refused(&bed, "alua.set", json_pack("{s:s, s:i}", "iqn", T_IQN, "group", 1), "\"state\" is missing");
    bed_refused(&bed, "alua.set", json_pack("{s:s, s:s}", "iqn", T_IQN, "state", "standby"), "\"group\"");
    json_object_set_new(p, "transition_ms", json_integer(60001));
    bed_refused(&bed, "alua.set", p, "0 to 60000");
    expect_alua(0, 1, "optimized");
}

/* What an initiator sets is seen from outside, and overruled from there. */
static void test_an_initiator_sets_a_state(void **state)
{
    static const uint8_t cdb[16] = { 0xa4, 0x0a, [9] = 8 }, list[8] = { [4] = 2, [7] = 2 };
    struct peer_end *p = ready_by(port1, 1), *q = ready_by(port2, 2);
    struct iscsi_pdu pdu = cmd_pdu(p, cdb, sizeof(list), false, true);

    (void)state;
    pdu.data_len = sizeof(list);
    peer_send(p, &pdu, list);
    expect_status(p, SCSI_GOOD);
    assert_int_equal(tur(p, 0), 0);
    assert_int_equal(tur(q, 0), 0x2a06);
    assert_int_equal(tur(q, 0), 0x040b);
    expect_alua(0, 2, "standby");
    alua_set(-1, 1, "non-optimized"); /* of the other group: this one stays */
    expect_alua(0, 2, "standby");
    alua_set(-1, 2, "optimized");
    expect_alua(0, 2, "optimized");
    peer_logout(p);
    peer_logout(q);
}

static void test_a_transition_comes_first(void **state)
{
    struct peer_end *p = ready_by(port2, 1);
    json_t *params = alua_params(-1, 2, "standby");

    (void)state;
    json_object_set_new(params, "transition_ms", json_integer(1));
    bed_do(&bed, "alua.set", params);
    expect_alua(0, 2, "standby");
    assert_int_equal(tur(p, 0), 0x2a06);
    assert_int_equal(tur(p, 0), 0x040b);
    peer_logout(p);
}

/* It cannot be saved: after the transition everything is as it was, and initiators hear that it failed. */
static void test_a_transition_that_cannot_be_kept_is_taken_back(void **state)
{
    struct peer_end *p = ready_by(port2, 1);
    json_t *params = alua_params(-1, 2, "standby");
    char aside[128];

    (void)state;
    snprintf(aside, sizeof(aside), "%s.aside", bed.config);
    assert_int_equal(rename(bed.config, aside), 0);
    assert_int_equal(mkdir(bed.config, 0700), 0);
    json_object_set_new(params, "transition_ms", json_integer(1));
    bed_refused(&bed, "alua.set", params, "cannot be written");
    bed_refused(&bed, "alua.set", alua_params(-1, 2, "offline"), "cannot be written");
    bed_refused(&bed, "portal.add", json_pack("{s:s, s:i}", "addr", "127.0.0.1:0", "group", 7),
                "cannot be written");
    bed_refused(&bed, "portal.remove", portal_named(port2, true), "cannot be written");
    assert_int_equal(rmdir(bed.config), 0);
    assert_int_equal(rename(aside, bed.config), 0);
    expect_alua(0, 2, "optimized");
    expect_alua(0, 7, "");
    assert_int_equal(tur(p, 0), 0x2a07);
    assert_int_equal(tur(p, 0), 0);
    peer_logout(p);
}

/* ---- a restart ------------------------------------------------------------------------------------------- */

static void portal_there(const char *addr, bool there)
{
    json_t *list = bed_call(&bed, "portal.list", NULL), *v;
    bool found = false;
    size_t i;

    json_array_foreach(list, i, v) found |= !strcmp(json_string_value(json_object_get(v, "addr")), addr);
    assert_int_equal(found, there);
    json_decref(list);
}

static void test_portals_and_states_are_kept(void **state)
{
    char addr[32];

    (void)state;
    bed_do(&bed, "portal.remove", portal_named(port2, false)); /* another may have it after the restart */
    snprintf(addr, sizeof(addr), "127.0.0.2:%u", portal_add(OTHER, 7));
    alua_set(-1, 7, "standby");
    bed_ram(&bed, T_IQN, 1, 4);
    alua_set(1, 7, "non-optimized");
    bed_down(&bed, true);
    bed_up(&bed, 2);
    portal_there(addr, true);
    expect_alua(0, 7, "standby");
    expect_alua(1, 7, "non-optimized");
    expect_alua(1, 1, "optimized");
    expect_alua(1, 2, "");
    bed_do(&bed, "portal.remove", json_pack("{s:s}", "addr", addr));
    bed_down(&bed, true);
    bed_up(&bed, 2);
    portal_there(addr, false);
    port1 = bed.port;
    bed_refused(&bed, "portal.remove", portal_named(port1, true), "is the last");
    port2 = portal_add("127.0.0.1:0", 2);
    bed_do(&bed, "lun.delete", json_pack("{s:s, s:i}", "iqn", T_IQN, "lun", 1));
}

/* ---- a stop ---------------------------------------------------------------------------------------------- */

static void *set_slowly(void *arg)
{
    json_t *params = alua_params(-1, 2, "standby"), *answer;

    (void)arg;
    json_object_set_new(params, "transition_ms", json_integer(60000));
    answer = bed_call_any(&bed, "alua.set", params);
    json_decref(answer);
    return NULL;
}

/* Last: the target stops. It does not wait for the end of the transition, and forgets nothing. */
static void test_a_stop_ends_a_transition(void **state)
{
    pthread_t thread;
    struct peer_end *p = ready_by(port2, 1);
    char is[32];

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, set_slowly, NULL), 0);
    for (int i = 0; i < PEER_MS / 5 && strcmp(alua_of(0, 2, is), "transitioning"); i++)
        usleep(5000);
    assert_int_equal(tur(p, 0), 0x040a);
    expect_alua(0, 1, "optimized");
    peer_logout(p);
    bed_settle(&bed, 0);
    bed_down(&bed, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    bed_up(&bed, 2);
    port1 = bed.port;
    expect_alua(0, 2, "optimized");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_portal_tells_its_group, settled),
        cmocka_unit_test_setup(test_an_isid_names_a_session_in_each_group, settled),
        cmocka_unit_test_setup(test_a_portal_goes_and_its_sessions_with_it_when_forced, settled),
        cmocka_unit_test_setup(test_a_login_by_a_portal_that_went_is_refused, settled),
        cmocka_unit_test_setup(test_portals_up_to_the_most_there_can_be, settled),
        cmocka_unit_test_setup(test_portals_that_are_refused, settled),
        cmocka_unit_test_setup(test_a_state_is_served_and_told, settled),
        cmocka_unit_test_setup(test_a_lun_can_have_a_state_of_its_own, settled),
        cmocka_unit_test_setup(test_states_that_are_refused, settled),
        cmocka_unit_test_setup(test_an_initiator_sets_a_state, settled),
        cmocka_unit_test_setup(test_a_transition_comes_first, settled),
        cmocka_unit_test_setup(test_a_transition_that_cannot_be_kept_is_taken_back, settled),
        cmocka_unit_test_setup(test_portals_and_states_are_kept, settled),
        cmocka_unit_test_setup(test_a_stop_ends_a_transition, settled),
    };

    return cmocka_run_group_tests(tests, up, down);
}
