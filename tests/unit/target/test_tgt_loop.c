/*
 * test_tgt_loop.c - how a session comes to be in shared memory, or stays on TCP: offer, invitation, door, and the last
 * word of the login
 */
#include "tgt_bed.h"
#include "tgt_shm.h"

static int up(void **state)
{
    (void)state;
    bed_loopback = true;
    bed_start(&bed, 2);
    bed_disk(&bed);
    return 0;
}

/* What session.list says of the only session. */
static void listed(const char *transport, const char *why)
{
    json_t *list = bed_call(&bed, "session.list", NULL), *s = json_array_get(list, 0);

    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_string_value(json_object_get(s, "transport")), transport);
    if (!strstr(json_string_value(json_object_get(s, "transport_why")), why))
        fail_msg("\"%s\" does not say \"%s\"", json_string_value(json_object_get(s, "transport_why")), why);
    json_decref(list);
}

/* It serves over TCP, for that reason. */
static void on_tcp(struct peer_end *p, const char *why)
{
    peer_settle(p);
    peer_serves(p);
    listed("tcp", why);
    peer_logout(p);
    bed_settle(&bed, 0);
}

/* The login of @e ends on TCP, and the rest of @e goes. */
static void ends_on_tcp(struct shm_end *e, const char *keys, const char *answer, const char *why)
{
    peer_finish(e->p, keys);
    expect_answer(e->p, LOOP_KEY_GO, answer);
    peer_settle(e->p);
    peer_serves(e->p);
    listed("tcp", why);
    if (e->sock >= 0)
        assert_true(door_ended(e->sock));
    shm_close(e);
    bed_settle(&bed, 0);
}

/* ---- offers ---------------------------------------------------------------------------------------------- */

static void test_each_invitation_has_its_own_token(void **state)
{
    struct shm_end *a = shm_invited(&bed, 1, ""), *b = shm_invited(&bed, 2, "");

    (void)state;
    assert_memory_not_equal(a->inv.token, b->inv.token, LOOP_TOKEN_LEN);
    shm_close(a);
    shm_close(b);
}

static void test_a_session_without_offer_is_on_tcp(void **state)
{
    (void)state;
    on_tcp(peer_logged_in(&bed, 1, ""), "did not offer");
}

static void test_offers_of_others_are_declined(void **state)
{
    static const char *const offers[] = {
        "1,00000000-0000-0000-0000-000000000000",    "1,", "1", "", "No", "Yes", "2,x",
        "1,0123456789abcdef0123456789abcdef,/tmp/x",
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(offers); i++) {
        struct peer_end *p = peer_open(&bed);
        char all[1024];

        snprintf(all, sizeof(all), LOGIN_NAMES "\n" LOOP_KEY "=%s", offers[i]);
        assert_int_equal(login_step(p, 1, 3, false, all), ISCSI_LOGIN_OK);
        expect_answer(p, LOOP_KEY, "No");
        peer_finish(p, LOOP_KEY_GO "=Yes");
        expect_answer(p, LOOP_KEY_GO, "No");
        on_tcp(p, "another machine");
    }
}

static void test_an_offer_comes_once(void **state)
{
    struct peer_end *p = peer_offering(&bed, 1, "");
    char offer[LOOP_TEXT_MAX], keys[512];

    (void)state;
    assert_true(loop_offer_encode(offer));
    snprintf(keys, sizeof(keys), LOOP_KEY "=%s", offer);
    assert_int_equal(login_step(p, 1, 3, false, keys), ISCSI_LOGIN_INITIATOR_ERROR);
    peer_gone(p);
}

static void test_an_offer_comes_in_the_operational_stage(void **state)
{
    struct peer_end *p = peer_open(&bed);
    char offer[LOOP_TEXT_MAX], all[1024];

    (void)state;
    assert_true(loop_offer_encode(offer));
    snprintf(all, sizeof(all), LOGIN_NAMES "\nAuthMethod=None\n" LOOP_KEY "=%s\n" LOOP_KEY_GO "=Yes", offer);
    assert_int_equal(login_step(p, 0, 3, true, all), ISCSI_LOGIN_OK);
    expect_answer(p, LOOP_KEY, "Reject");
    expect_answer(p, LOOP_KEY_GO, "Reject");
    p->tsih = p->rsp.login.tsih;
    on_tcp(p, "did not offer");
}

static void test_discovery_has_no_use_for_it(void **state)
{
    struct peer_end *p = peer_open(&bed);
    char offer[LOOP_TEXT_MAX], all[1024];

    (void)state;
    assert_true(loop_offer_encode(offer));
    snprintf(all, sizeof(all),
             "InitiatorName=" I_IQN "\nSessionType=Discovery\n" LOOP_KEY "=%s\n" LOOP_KEY_GO "=Yes", offer);
    assert_int_equal(login_step(p, 1, 3, true, all), ISCSI_LOGIN_OK);
    expect_answer(p, LOOP_KEY, "Irrelevant");
    expect_answer(p, LOOP_KEY_GO, "Irrelevant");
    listed("tcp", "discovery");
    peer_close(p);
}

/* ---- the door -------------------------------------------------------------------------------------------- */

static void test_a_wrong_token_is_turned_away(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");
    uint8_t token[LOOP_TOKEN_LEN];

    (void)state;
    for (unsigned i = 0; i < LOOP_TOKEN_LEN; i++) {
        const int sock = door_connect(e->inv.path);

        memcpy(token, e->inv.token, sizeof(token));
        token[i] ^= 0x10;
        door_say(sock, token, e->fd);
        assert_int_equal(door_answer(sock), -ENOENT);
        assert_true(door_ended(sock));
        close(sock);
    }
    assert_int_equal(shm_join(e), 0); /* and the right one is as good as before */
    shm_close(e);
}

static void test_a_token_lets_one_in(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");
    int sock;

    (void)state;
    assert_int_equal(shm_join(e), 0);
    sock = door_connect(e->inv.path);
    door_say(sock, e->inv.token, e->fd);
    assert_int_equal(door_answer(sock), -ENOENT);
    close(sock);
    shm_close(e);
}

static void test_a_token_is_void_after_its_login(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");

    (void)state;
    peer_finish(e->p, "");
    assert_int_equal(shm_join(e), -ENOENT);
    peer_settle(e->p);
    listed("tcp", "did not come");
    shm_close(e);
    bed_settle(&bed, 0);

    e = shm_invited(&bed, 1, "");
    shutdown(e->p->fd, SHUT_RDWR);
    bed_settle(&bed, 0);
    assert_int_equal(shm_join(e), -ENOENT);
    shm_close(e);
}

/* What is no memory to work in ends the hand-over, not the login. */
static void test_memory_that_is_not_as_agreed(void **state)
{
    static const struct {
        size_t rings, arena;
        unsigned seals;
    } rows[] = {
        { LOOP_RINGS_LEN, SHM_ARENA, F_SEAL_SHRINK },
        { LOOP_RINGS_LEN - 4096, SHM_ARENA, SHM_SEALS },
        { LOOP_RINGS_LEN, LOOP_ARENA_MIN / 2, SHM_SEALS },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct shm_end *e = shm_invited(&bed, 1, "");
        void *mem[2];
        const int fd[2] = { shm_memory(rows[i].rings, rows[i].seals, &mem[0]),
                            shm_memory(rows[i].arena, rows[i].seals, &mem[1]) };

        e->sock = door_connect(e->inv.path);
        door_say(e->sock, e->inv.token, fd);
        assert_int_equal(door_answer(e->sock), -EPROTO);
        munmap(mem[0], rows[i].rings);
        munmap(mem[1], rows[i].arena);
        close(fd[0]);
        close(fd[1]);
        ends_on_tcp(e, LOOP_KEY_GO "=Yes", "No", "was not taken");
    }
}

/* ---- the last word --------------------------------------------------------------------------------------- */

static void test_go_without_a_guest_is_tcp(void **state)
{
    (void)state;
    ends_on_tcp(shm_invited(&bed, 1, ""), LOOP_KEY_GO "=Yes", "No", "did not come");
    on_tcp(peer_logged_in(&bed, 1, LOOP_KEY_GO "=Yes"), "did not offer");
}

static void test_a_guest_without_go_is_tcp(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");

    (void)state;
    assert_int_equal(shm_join(e), 0);
    ends_on_tcp(e, "", NULL, "did not go on");
    e = shm_invited(&bed, 1, "");
    assert_int_equal(shm_join(e), 0);
    ends_on_tcp(e, LOOP_KEY_GO "=No", "No", "did not go on");
    e = shm_invited(&bed, 1, "");
    assert_int_equal(shm_join(e), 0);
    ends_on_tcp(e, LOOP_KEY_GO "=Maybe", "Reject", "did not go on");
}

/* Yes belongs into the request that ends the login. */
static void test_go_too_early_is_declined(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");

    (void)state;
    assert_int_equal(shm_join(e), 0);
    assert_int_equal(login_step(e->p, 1, 3, false, LOOP_KEY_GO "=Yes"), ISCSI_LOGIN_OK);
    expect_answer(e->p, LOOP_KEY_GO, "No");
    ends_on_tcp(e, "", NULL, "did not go on");
}

static void test_a_target_without_it_says_so(void **state)
{
    struct bed other;
    struct peer_end *p;
    char offer[LOOP_TEXT_MAX], all[1024];

    (void)state;
    bed_loopback = false;
    bed_start(&other, 1);
    bed_loopback = true;
    bed_disk(&other);
    assert_true(loop_offer_encode(offer));
    snprintf(all, sizeof(all), LOGIN_NAMES "\n" LOOP_KEY "=%s", offer);
    p = peer_open(&other);
    assert_int_equal(login_step(p, 1, 3, true, all), ISCSI_LOGIN_OK);
    expect_answer(p, LOOP_KEY, "No");
    peer_close(p);
    bed_settle(&other, 0);
    bed_stop(&other);
}

/* ---- who leaves in the middle ---------------------------------------------------------------------------- */

enum step { INVITED, CONNECTED, HALF_SAID, SAID, WELCOME, ASKED, IN };

static void leave_at(enum step step)
{
    struct shm_end *e = shm_invited(&bed, 1, "");

    if (step >= CONNECTED)
        e->sock = door_connect(e->inv.path);
    if (step == HALF_SAID)
        assert_int_equal(send(e->sock, LOOP_MAGIC, 8, MSG_NOSIGNAL), 8);
    if (step >= SAID)
        door_say(e->sock, e->inv.token, e->fd);
    if (step >= WELCOME)
        assert_int_equal(door_answer(e->sock), 0);
    if (step == ASKED) {
        struct iscsi_pdu pdu = login_pdu(e->p, 1, 3, true);

        pdu.data_len = sizeof(LOOP_KEY_GO "=Yes");
        peer_send(e->p, &pdu, LOOP_KEY_GO "=Yes");
    }
    if (step == IN)
        peer_finish(e->p, LOOP_KEY_GO "=Yes");
    shm_close(e);
}

static void test_an_initiator_may_leave_at_any_step(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        for (enum step step = INVITED; step <= IN; step++)
            leave_at(step);
    }
    bed_settle(&bed, 0);
    on_tcp(peer_logged_in(&bed, 1, ""), "did not offer");
}

/* The TCP connection is the connection: a guest that goes alone leaves a login that goes on. */
static void test_a_guest_that_leaves_before_go(void **state)
{
    struct shm_end *e = shm_invited(&bed, 1, "");

    (void)state;
    e->sock = door_connect(e->inv.path);
    close(e->sock);
    e->sock = -1;
    ends_on_tcp(e, LOOP_KEY_GO "=Yes", "No", "did not come");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_invitation_has_its_own_token, fresh),
        cmocka_unit_test_setup(test_a_session_without_offer_is_on_tcp, fresh),
        cmocka_unit_test_setup(test_offers_of_others_are_declined, fresh),
        cmocka_unit_test_setup(test_an_offer_comes_once, fresh),
        cmocka_unit_test_setup(test_an_offer_comes_in_the_operational_stage, fresh),
        cmocka_unit_test_setup(test_discovery_has_no_use_for_it, fresh),
        cmocka_unit_test_setup(test_a_wrong_token_is_turned_away, fresh),
        cmocka_unit_test_setup(test_a_token_lets_one_in, fresh),
        cmocka_unit_test_setup(test_a_token_is_void_after_its_login, fresh),
        cmocka_unit_test_setup(test_memory_that_is_not_as_agreed, fresh),
        cmocka_unit_test_setup(test_go_without_a_guest_is_tcp, fresh),
        cmocka_unit_test_setup(test_a_guest_without_go_is_tcp, fresh),
        cmocka_unit_test_setup(test_go_too_early_is_declined, fresh),
        cmocka_unit_test_setup(test_a_target_without_it_says_so, fresh),
        cmocka_unit_test_setup(test_an_initiator_may_leave_at_any_step, fresh),
        cmocka_unit_test_setup(test_a_guest_that_leaves_before_go, fresh),
    };

    return cmocka_run_group_tests(tests, up, down);
}
