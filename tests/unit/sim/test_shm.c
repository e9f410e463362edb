/* test_shm.c - memory that programs of a simulated machine share: handed over, revoked, outliving who is killed */
#include "sim_test.h"

#define DOOR "/srv/door"
#define DISK "/srv/disk"
#define LEN  (64u * 4096)

struct side {
    struct rt_host *host;
    struct rt *rt;
    struct sim_prog *p;
    struct rt_sock *sock;
    struct rt_shm *shm[RT_SHM_PASS_MAX];
    unsigned shm_nr;
    struct noted tx, rx, io;
    struct iovec out, in, mem;
    uint8_t text[8];
    struct rt_file *file;
};

struct rig {
    struct sim *w;
    struct sim_machine *m;
    struct side a, b; /* who gives, who is given */
    struct rt_sock *listener;
    struct noted acc, conn;
    struct rt_addr at, peer;
};

static int side_main(void *arg)
{
    static const int cores[] = { 0 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 1 };
    struct side *s = arg;
    const int err = rt_host_new(&s->host, &conf);

    if (!err)
        s->rt = rt_host_at(s->host, 0);
    return -err;
}

static void side_stopped(void *arg)
{
    rt_host_free(((struct side *)arg)->host);
}

static const struct sim_program program = { "side", side_main, side_stopped };

static bool noted_met(void *arg)
{
    return ((struct noted *)arg)->count;
}

static int wait_for(struct rig *r, struct noted *n)
{
    assert_true(sim_run_until(r->w, noted_met, n, 100 * RT_S));
    assert_int_equal(n->count, 1);
    return n->res;
}

static void do_listen(void *arg)
{
    struct rig *r = arg;

    assert_int_equal(rt_listen(r->b.rt, &r->at, &r->listener), 0);
    rt_accept(r->listener, noted_op(&r->acc), &r->b.sock, &r->peer);
}

static void do_connect(void *arg)
{
    struct rig *r = arg;

    rt_connect(r->a.rt, noted_op(&r->conn), &r->at, &r->a.sock);
}

static void do_new(void *arg)
{
    struct side *s = arg;

    for (unsigned i = 0; i < RT_SHM_PASS_MAX; i++)
        assert_int_equal(rt_shm_new(&s->shm[i], LEN << i), 0);
    s->shm_nr = RT_SHM_PASS_MAX;
}

static void do_send(void *arg)
{
    struct side *s = arg;

    memcpy(s->text, "welcome!", 8);
    s->out = (struct iovec){ s->text, 8 };
    rt_send_shm(s->sock, noted_op(&s->tx), &s->out, 1, s->shm, s->shm_nr);
}

static void do_recv(void *arg)
{
    struct side *s = arg;

    s->in = (struct iovec){ s->text, 8 };
    rt_recv_shm(s->sock, noted_op(&s->rx), &s->in, 1, s->shm, &s->shm_nr);
}

static void do_map(void *arg)
{
    struct side *s = arg;

    for (unsigned i = 0; i < s->shm_nr; i++) {
        assert_null(rt_shm_mem(s->shm[i]));
        assert_int_equal(rt_shm_map(s->shm[i], 1, (LEN << i) - 1), -EFBIG);
        assert_int_equal(rt_shm_map(s->shm[i], (LEN << i) + 1, SIZE_MAX), -EFBIG);
        assert_int_equal(rt_shm_map(s->shm[i], LEN << i, LEN << i), 0);
        assert_int_equal(rt_shm_len(s->shm[i]), LEN << i);
    }
}

static void do_free(void *arg)
{
    struct side *s = arg;

    while (s->shm_nr)
        rt_shm_free(s->shm[--s->shm_nr]);
}

static void do_close(void *arg)
{
    struct side *s = arg;

    rt_sock_close(s->sock);
    s->sock = NULL;
}

static void rig_start(struct rig *r, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->w = sim_new(seed);
    if (getenv("SIM_LOG"))
        sim_log_to(r->w, line_print, NULL, RT_DEBUG);
    r->m = sim_machine_new(r->w, "m", 2);
    sim_machine_addr(r->m, "10.0.0.1");
    sim_fs_make(r->m, DISK, 1 << 20);
    assert_int_equal(sim_start(r->m, &program, &r->a, &r->a.p), 0);
    assert_int_equal(sim_start(r->m, &program, &r->b, &r->b.p), 0);
    r->at = addr(DOOR);
    sim_call(r->b.rt, do_listen, r);
    sim_call(r->a.rt, do_connect, r);
    assert_int_equal(wait_for(r, &r->conn), 0);
    assert_int_equal(wait_for(r, &r->acc), 0);
    sim_call(r->a.rt, do_new, &r->a);
}

/* Both ends have the memories, mapped. */
static void rig_share(struct rig *r)
{
    sim_call(r->b.rt, do_recv, &r->b);
    sim_call(r->a.rt, do_send, &r->a);
    assert_int_equal(wait_for(r, &r->a.tx), 8);
    assert_int_equal(wait_for(r, &r->b.rx), 8);
    assert_memory_equal(r->b.text, "welcome!", 8);
    assert_int_equal(r->b.shm_nr, RT_SHM_PASS_MAX);
    sim_call(r->b.rt, do_map, &r->b);
}

static void do_unlisten(void *arg)
{
    rt_sock_close(((struct rig *)arg)->listener);
}

static void do_stop(void *arg)
{
    rt_host_stop(((struct side *)arg)->host);
}

/* What is left of a side ends; nothing of it may be left over. */
static void side_end(struct rig *r, struct side *s)
{
    struct sim_prog_info info;

    if (!sim_prog_runs(s->p))
        return;
    if (s == &r->b)
        sim_call(s->rt, do_unlisten, r);
    if (s->sock)
        sim_call(s->rt, do_close, s);
    sim_run(r->w, RT_S);
    sim_call(s->rt, do_free, s);
    sim_call(s->rt, do_stop, s);
    sim_run(r->w, RT_S);
    sim_prog_info(s->p, &info);
    assert_int_equal(info.state, SIM_EXITED);
    assert_int_equal(info.leaked_blocks, 0);
    assert_int_equal(info.leaked_bytes, 0);
}

static void rig_end(struct rig *r)
{
    side_end(r, &r->a);
    side_end(r, &r->b);
    sim_free(r->w);
}

static uint8_t *mem(const struct side *s, unsigned i)
{
    return rt_shm_mem(s->shm[i]);
}

/* ---- sharing ------------------------------------------------------------------------------------------ */

static void test_both_ends_see_the_same_bytes_at_different_addresses(void **state)
{
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rig_start(&r, seed);
        rig_share(&r);
        for (unsigned i = 0; i < RT_SHM_PASS_MAX; i++) {
            assert_ptr_not_equal(mem(&r.a, i), mem(&r.b, i));
            assert_int_equal(mem(&r.b, i)[(LEN << i) - 1], 0);
            mem(&r.a, i)[(LEN << i) - 1] = (uint8_t)(7 + i);
            assert_int_equal(mem(&r.b, i)[(LEN << i) - 1], 7 + i);
            mem(&r.b, i)[5] = 3;
            assert_int_equal(mem(&r.a, i)[5], 3);
        }
        rig_end(&r);
    }
}

static void test_a_length_that_is_not_whole_pages_is_refused(void **state)
{
    struct sim_prog *p;
    struct rt_host *h;
    struct rt_shm *shm = NULL;
    struct sim *w = sim_new(1);

    (void)state;
    (void)solo(sim_machine_new(w, "m", 2), &p, &h);
    assert_int_equal(rt_shm_new(&shm, 0), -EINVAL);
    assert_int_equal(rt_shm_new(&shm, 4095), -EINVAL);
    assert_null(shm);
    rt_shm_free(NULL);
    rt_host_free(h);
    sim_leave(w);
    sim_free(w);
}

static void do_recv_plain(void *arg)
{
    struct side *s = arg;

    s->in = (struct iovec){ s->text, 8 };
    rt_recv(s->sock, noted_op(&s->rx), &s->in, 1, RT_RECV_ALL);
}

static void do_recv_shared(void *arg)
{
    rt_recv_shared(((struct side *)arg)->sock, noted_op(&((struct side *)arg)->rx));
}

static void test_who_does_not_ask_for_memory_gets_none(void **state)
{
    struct rig r;

    (void)state;
    for (unsigned shared = 0; shared < 2; shared++) {
        rig_start(&r, 3);
        sim_call(r.b.rt, shared ? do_recv_shared : do_recv_plain, &r.b);
        sim_call(r.a.rt, do_send, &r.a);
        assert_true(wait_for(&r, &r.b.rx) > 0);
        rig_end(&r); /* the sanitizer would see it if it were left over */
    }
}

static void do_recv_two(void *arg)
{
    struct side *s = arg;
    static uint8_t room[16];

    s->in = (struct iovec){ room, 16 };
    rt_recv_shm(s->sock, noted_op(&s->rx), &s->in, 1, s->shm, &s->shm_nr);
}

static void test_more_memories_than_fit_are_not_taken(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 4);
    sim_call(r.b.rt, do_recv_two, &r.b);
    sim_call(r.a.rt, do_send, &r.a);
    assert_int_equal(wait_for(&r, &r.a.tx), 8);
    sim_call(r.a.rt, do_send, &r.a);
    assert_int_equal(wait_for(&r, &r.b.rx), -EPROTO);
    assert_int_equal(r.b.shm_nr, RT_SHM_PASS_MAX);
    rig_end(&r);
}

static void test_memory_under_way_to_nobody_is_freed(void **state)
{
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        rig_start(&r, seed);
        if (seed & 1)
            sim_call(r.b.rt, do_recv, &r.b);
        sim_call(r.a.rt, do_send, &r.a);
        sim_run(r.w, seed * RT_US / 4);
        if (seed & 2)
            sim_kill(seed & 4 ? r.a.p : r.b.p);
        else
            sim_call(seed & 4 ? r.a.rt : r.b.rt, do_close, seed & 4 ? &r.a : &r.b);
        rig_end(&r);
    }
}

static void do_new_refused(void *arg)
{
    struct rt_shm *shm;

    (void)arg;
    assert_int_equal(rt_shm_new(&shm, LEN), -ENOMEM);
}

static void test_a_want_of_memory_is_an_error_and_leaves_nothing(void **state)
{
    struct rig r;

    (void)state;
    for (unsigned nth = 1; nth <= 2; nth++) {
        rig_start(&r, 5);
        sim_fault_alloc(r.a.p, nth, 0);
        sim_call(r.a.rt, do_new_refused, &r.a);
        sim_call(r.b.rt, do_recv, &r.b);
        sim_fault_alloc(r.b.p, nth, 0); /* of its handles for what comes */
        sim_call(r.a.rt, do_send, &r.a);
        assert_int_equal(wait_for(&r, &r.b.rx), -ENOMEM);
        assert_int_equal(r.b.shm_nr, 1);
        rig_end(&r);
    }
}

static void test_memory_left_at_the_end_is_counted(void **state)
{
    struct rig r;
    struct sim_prog_info info;

    (void)state;
    rig_start(&r, 6);
    r.a.shm_nr--; /* forgotten */
    sim_call(r.a.rt, do_close, &r.a);
    sim_call(r.a.rt, do_free, &r.a);
    sim_call(r.a.rt, do_stop, &r.a);
    sim_run(r.w, RT_S);
    sim_prog_info(r.a.p, &info);
    assert_int_equal(info.leaked_blocks, 2);
    assert_true(info.leaked_bytes >= LEN << 1);
    rig_end(&r);
}

/* ---- revoking ----------------------------------------------------------------------------------------- */

static void do_revoke(void *arg)
{
    struct side *s = arg;

    assert_int_equal(rt_shm_revoke(s->shm[0], 4096, 8192), 0);
    assert_int_equal(rt_shm_revoke(s->shm[0], 8192, 8192), 0); /* a part of it again */
}

static void test_revoked_pages_keep_address_and_bytes_and_reach_nobody(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 7);
    rig_share(&r);
    memset(mem(&r.a, 0), 0x11, LEN);
    sim_call(r.a.rt, do_revoke, &r.a);
    for (unsigned i = 0; i < LEN; i++)
        assert_int_equal(mem(&r.a, 0)[i], 0x11);
    memset(mem(&r.b, 0), 0x22, LEN); /* by one who has not heard of it */
    for (unsigned i = 0; i < LEN; i++)
        assert_int_equal(mem(&r.a, 0)[i], i >= 4096 && i < 4 * 4096 ? 0x11 : 0x22);
    memset(mem(&r.a, 0), 0x33, LEN);
    for (unsigned i = 0; i < LEN; i++)
        assert_int_equal(mem(&r.b, 0)[i], i >= 4096 && i < 4 * 4096 ? 0x22 : 0x33);
    rig_end(&r);
}

/* ---- a killed program's disk -------------------------------------------------------------------------- */

static void do_open(void *arg)
{
    struct side *s = arg;

    assert_int_equal(rt_file_open(DISK, RT_FILE_WRITE, &s->file), 0);
}

static void do_read(void *arg)
{
    struct side *s = arg;

    s->mem = (struct iovec){ mem(s, 0) + 4096, 8192 };
    rt_file_read(s->rt, s->file, noted_op(&s->io), &s->mem, 1, 0);
}

static void do_write(void *arg)
{
    struct side *s = arg;

    s->mem = (struct iovec){ mem(s, 0) + 4096, 8192 };
    rt_file_write(s->rt, s->file, noted_op(&s->io), &s->mem, 1, 0);
}

static void rig_disk(struct rig *r, uint64_t seed)
{
    static const uint8_t was[8192] = { [0 ... 8191] = 0x55 };

    rig_start(r, seed);
    rig_share(r);
    sim_fs_save(r->m, DISK, was, sizeof(was));
    sim_call(r->b.rt, do_open, &r->b);
}

static void test_a_killed_programs_read_may_land_in_memory_that_lives_on(void **state)
{
    unsigned landed = 0, lost = 0;
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t late;

        rig_disk(&r, seed);
        sim_call(r.b.rt, do_read, &r.b);
        sim_kill(r.b.p);
        assert_int_equal(mem(&r.a, 0)[4096], 0);
        sim_run(r.w, RT_S);
        late = sim_fault_count(r.w, SIM_FAULT_LATE_READ);
        for (unsigned i = 0; i < LEN; i++)
            assert_int_equal(mem(&r.a, 0)[i], late && i >= 4096 && i < 3 * 4096 ? 0x55 : 0);
        landed += late == 1;
        lost += late == 0;
        rig_end(&r);
    }
    assert_true(landed && lost);
}

static void test_what_is_revoked_no_late_read_reaches(void **state)
{
    uint64_t late = 0;
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rig_disk(&r, seed);
        sim_call(r.b.rt, do_read, &r.b);
        sim_kill(r.b.p);
        sim_call(r.a.rt, do_revoke, &r.a);
        sim_run(r.w, RT_S);
        late += sim_fault_count(r.w, SIM_FAULT_LATE_READ);
        assert_int_equal(mem(&r.a, 0)[4096], 0);
        rig_end(&r);
    }
    assert_true(late);
}

static void test_a_killed_programs_write_takes_what_is_there_when_it_lands(void **state)
{
    unsigned landed = 0, lost = 0;
    uint8_t got[8192];
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        rig_disk(&r, seed);
        memset(mem(&r.a, 0), 0x66, LEN);
        sim_call(r.b.rt, do_write, &r.b);
        sim_kill(r.b.p);
        memset(mem(&r.a, 0), 0x77, LEN);
        sim_run(r.w, RT_S);
        assert_int_equal(sim_fs_peek(r.m, DISK, got, sizeof(got), 0, false), 0);
        assert_true(got[0] == 0x55 || got[0] == 0x77);
        for (unsigned i = 0; i < sizeof(got); i++)
            assert_int_equal(got[i], got[0]);
        landed += got[0] == 0x77;
        lost += got[0] == 0x55;
        rig_end(&r);
    }
    assert_true(landed && lost);
}

static void test_memory_that_a_late_read_lands_in_may_have_no_owner_left(void **state)
{
    struct rig r;

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rig_disk(&r, seed);
        sim_call(r.b.rt, do_read, &r.b);
        sim_kill(r.b.p);
        sim_kill(r.a.p);
        if (seed & 1)
            sim_run(r.w, RT_S);
        if (seed & 2)
            sim_machine_off(r.m);
        rig_end(&r);
    }
}

/* ---- which host --------------------------------------------------------------------------------------- */

static void boot_id(struct sim_machine *m, char out[static RT_BOOT_ID_LEN + 1])
{
    struct sim_prog *p;

    assert_int_equal(sim_start(m, &nobody, NULL, &p), 0);
    sim_enter(p);
    rt_boot_id(out);
    sim_kill(p);
    assert_int_equal(strlen(out), RT_BOOT_ID_LEN);
}

static void test_a_boot_id_is_of_one_machine_and_one_start_of_it(void **state)
{
    char a[RT_BOOT_ID_LEN + 1], b[RT_BOOT_ID_LEN + 1], c[RT_BOOT_ID_LEN + 1];
    struct sim *w = sim_new(8), *v = sim_new(9);
    struct sim_machine *m = sim_machine_new(w, "m", 1), *n = sim_machine_new(w, "n", 1);

    (void)state;
    rt_boot_id(a);
    assert_string_equal(a, ""); /* outside */
    boot_id(m, a);
    boot_id(m, b);
    assert_string_equal(a, b); /* another program */
    boot_id(n, b);
    assert_string_not_equal(a, b);
    sim_machine_off(m);
    sim_machine_on(m);
    boot_id(m, b);
    assert_string_not_equal(a, b);
    boot_id(sim_machine_new(v, "m", 1), c);
    assert_string_not_equal(a, c);
    sim_free(v);
    sim_free(w);
}

static void test_only_a_tcp_stream_to_its_own_address_is_of_the_same_host(void **state)
{
    static const struct {
        const char *to;
        bool same;
    } rows[] = { { "127.0.0.1", true }, { "[::1]", true },     { "10.0.0.1", true }, { "10.0.0.2", true },
                 { "[fd00::1]", true }, { "10.0.0.3", false }, { DOOR, false } };
    struct sim *w = sim_new(1);
    struct sim_machine *m = sim_machine_new(w, "m", 2), *far = sim_machine_new(w, "far", 2);
    struct side a = { 0 }, b = { 0 };
    struct sim_prog *p, *q;

    (void)state;
    sim_machine_addr(m, "10.0.0.1");
    sim_machine_addr(m, "10.0.0.2");
    sim_machine_addr(m, "fd00::1");
    sim_machine_addr(far, "10.0.0.3");
    sim_fs_make(m, DISK, 1); /* and the folder */
    assert_int_equal(sim_start(m, &program, &a, &p), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r = { .w = w, .at = addr(rows[i].to), .a.rt = a.rt };

        assert_int_equal(sim_start(strcmp(rows[i].to, "10.0.0.3") ? m : far, &program, &b, &q), 0);
        r.b.rt = b.rt;
        sim_call(b.rt, do_listen, &r);
        sim_call(a.rt, do_connect, &r);
        assert_int_equal(wait_for(&r, &r.conn), 0);
        assert_int_equal(wait_for(&r, &r.acc), 0);
        assert_int_equal(rt_sock_same_host(r.a.sock), rows[i].same);
        assert_int_equal(rt_sock_same_host(r.b.sock), rows[i].same);
        sim_kill(q);
        sim_call(a.rt, do_close, &r.a);
        sim_run(w, RT_S);
    }
    sim_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ends_see_the_same_bytes_at_different_addresses),
        cmocka_unit_test(test_a_length_that_is_not_whole_pages_is_refused),
        cmocka_unit_test(test_who_does_not_ask_for_memory_gets_none),
        cmocka_unit_test(test_more_memories_than_fit_are_not_taken),
        cmocka_unit_test(test_memory_under_way_to_nobody_is_freed),
        cmocka_unit_test(test_a_want_of_memory_is_an_error_and_leaves_nothing),
        cmocka_unit_test(test_memory_left_at_the_end_is_counted),
        cmocka_unit_test(test_revoked_pages_keep_address_and_bytes_and_reach_nobody),
        cmocka_unit_test(test_a_killed_programs_read_may_land_in_memory_that_lives_on),
        cmocka_unit_test(test_what_is_revoked_no_late_read_reaches),
        cmocka_unit_test(test_a_killed_programs_write_takes_what_is_there_when_it_lands),
        cmocka_unit_test(test_memory_that_a_late_read_lands_in_may_have_no_owner_left),
        cmocka_unit_test(test_a_boot_id_is_of_one_machine_and_one_start_of_it),
        cmocka_unit_test(test_only_a_tcp_stream_to_its_own_address_is_of_the_same_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
