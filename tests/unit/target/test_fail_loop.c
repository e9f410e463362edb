/*
 * test_fail_loop.c - from the offer of shared memory to the logout, while one allocation of the target after another fails
 *
 * The session is in shared memory in the end, on TCP, or gone; what comes of it serves, and asked again it is in shared
 * memory. Only what an allocation failed under may be anything else.
 */
#include "fail_bed.h"
#include "tgt_shm.h"
#include "../fail.h"

static struct bed bed;
static struct shm_end end; /* its memories; made once, as the test's own do not fail */

static int up(void **state)
{
    static const char conf[] = "{\"version\": 1, \"limits\": {\"buffer_mib\": 16}}";
    void *mem;

    (void)state;
    fail_up();
    rt_log_level(RT_ERR);
    bed_loopback = true;
    fail_bed_dir(&bed);
    assert_int_equal(rt_save(bed.config, conf, strlen(conf), 0600), 0);
    fail_bed_up(&bed, 2);
    bed_disk(&bed);
    end.fd[0] = shm_memory(LOOP_RINGS_LEN, SHM_SEALS, &mem);
    end.rings = mem;
    end.fd[1] = shm_memory(SHM_ARENA, SHM_SEALS, &mem);
    end.arena = mem;
    return 0;
}

static int down(void **state)
{
    (void)state;
    bed_settle(&bed, 0);
    bed_down(&bed, true);
    munmap(end.rings, LOOP_RINGS_LEN);
    munmap(end.arena, SHM_ARENA);
    return fail_bed_clear(&bed);
}

/* Waits for a PDU, or the end of the connection. */
static bool ring_recv(struct shm_end *e)
{
    while (!shm_recv_ms(e, 1)) {
        if (peer_ended(e->p, 0))
            return false;
    }
    return true;
}

/* Unit attentions, then a write and a read. False: the connection ended. */
static bool ring_serves(struct shm_end *e)
{
    uint8_t cdb[16] = { 0 };

    for (unsigned i = 0; i < 10; i++) {
        const bool data = i >= 8, write = i == 8;
        struct iscsi_pdu pdu;

        if (data)
            cdb_rw10(cdb, write, 0, 8);
        memset(e->arena, write ? 0x5a : 0, 4096);
        pdu = cmd_pdu(e->p, cdb, data ? 4096 : 0, data && !write, write);
        shm_push(e, &pdu, 0, data ? 4096 : 0);
        if (!ring_recv(e))
            return false;
        assert_int_equal(e->p->rsp.itt, pdu.itt);
        if (data)
            assert_int_equal(e->p->rsp.resp.status, SCSI_GOOD);
    }
    assert_int_equal(e->arena[0], 0x5a);
    assert_int_equal(e->arena[4095], 0x5a);
    return true;
}

static bool in_shm(struct shm_end *e)
{
    const struct loop_invitation *inv = &e->inv;
    char offer[LOOP_TEXT_MAX], all[1024];
    const char *value;

    assert_true(loop_offer_encode(offer));
    snprintf(all, sizeof(all), LOGIN_NAMES "\n" LOOP_KEY "=%s", offer);
    if (login_step(e->p, 1, 3, false, all) != ISCSI_LOGIN_OK)
        return false;
    value = answer_of(e->p, LOOP_KEY);
    assert_non_null(value);
    if (loop_invitation_decode(&e->inv, value))
        return false;
    e->sock = door_connect(inv->path);
    door_say(e->sock, inv->token, e->fd);
    (void)door_answer(e->sock);
    if (login_step(e->p, 1, 3, true, LOOP_KEY_GO "=Yes") != ISCSI_LOGIN_OK)
        return false;
    value = answer_of(e->p, LOOP_KEY_GO);
    assert_non_null(value);
    if (!strcmp(value, "Yes"))
        return ring_serves(e);
    assert_string_equal(value, "No");
    peer_settle(e->p);
    peer_serves(e->p);
    return false;
}

static void loop_once(void *arg)
{
    bool there;

    (void)arg;
    rt_log_level(fail_state.from ? 0 : RT_ERR);
    fail_begin(FAIL_OTHERS);
    do {
        const unsigned hits = fail_hits();
        struct shm_end e = end;

        memset(e.rings, 0, LOOP_RINGS_LEN);
        e.sock = -1;
        e.p = peer_open(&bed);
        e.p->isid[5] = 1;
        there = in_shm(&e);
        if (!there && fail_hits() == hits)
            fail_msg("not in shared memory, though nothing failed");
        if (e.sock >= 0)
            close(e.sock);
        peer_close(e.p);
    } while (!there);
    fail_end();
    bed_settle(&bed, 0);
}

static void test_each_allocation_on_the_way_to_shared_memory_fails(void **state)
{
    (void)state;
    fail_each("to shared memory", 1, 300, false, loop_once, NULL);
}

static void test_some_allocations_in_a_row_fail(void **state)
{
    (void)state;
    fail_each("to shared memory, three in a row", 3, 5, false, loop_once, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_allocation_on_the_way_to_shared_memory_fails, fail_down),
        cmocka_unit_test_teardown(test_some_allocations_in_a_row_fail, fail_down),
    };

    return cmocka_run_group_tests(tests, up, down);
}
