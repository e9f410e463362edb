/* test_net.c - the simulated network: streams between machines and inside one, and how they end */
#include "sim_test.h"

struct rig {
    struct sim *w;
    struct sim_machine *a, *b;
    struct sim_prog *pa, *pb;
    struct rt_host *ha, *hb;
    struct rt *ra, *rb;
    struct rt_sock *listener, *client, *server;
    struct noted conn, acc, rx, tx;
    struct rt_addr peer;
};

/* Both programs are turned by the world; what the test does on them it does by on(). */
static int main_none(void *arg)
{
    static const int cores[] = { 0 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 1 };

    return -rt_host_new(arg, &conf);
}

static const struct sim_program plain = { .name = "plain", .main = main_none };

static void rig_start(struct rig *r, uint64_t seed)
{
    *r = (struct rig){ .w = sim_new(seed) };
    if (getenv("SIM_LOG"))
        sim_log_to(r->w, line_print, NULL, RT_DEBUG);
    r->a = sim_machine_new(r->w, "a", 1);
    r->b = sim_machine_new(r->w, "b", 1);
    sim_machine_addr(r->a, "10.0.0.1");
    sim_machine_addr(r->a, "fd00::1");
    sim_machine_addr(r->b, "10.0.0.2");
    sim_machine_addr(r->b, "fd00::2");
    assert_int_equal(sim_start(r->a, &plain, &r->ha, &r->pa), 0);
    assert_int_equal(sim_start(r->b, &plain, &r->hb, &r->pb), 0);
    r->ra = rt_host_at(r->ha, 0);
    r->rb = rt_host_at(r->hb, 0);
}

static bool noted_met(void *arg)
{
    return ((struct noted *)arg)->count;
}

static int wait_for(struct rig *r, struct noted *n)
{
    assert_true(sim_run_until(r->w, noted_met, n, 2000 * RT_S));
    assert_int_equal(n->count, 1);
    return n->res;
}

static struct rt_addr at;

static void do_listen(void *arg)
{
    struct rig *r = arg;

    assert_int_equal(rt_listen(r->rb, &at, &r->listener), 0);
    rt_accept(r->listener, noted_op(&r->acc), &r->server, &r->peer);
}

static void do_connect(void *arg)
{
    struct rig *r = arg;

    rt_connect(r->ra, noted_op(&r->conn), &at, &r->client);
}

static void rig_connect(struct rig *r, const char *text)
{
    at = addr(text);
    sim_call(r->rb, do_listen, r);
    sim_call(r->ra, do_connect, r);
    assert_int_equal(wait_for(r, &r->conn), 0);
    assert_int_equal(wait_for(r, &r->acc), 0);
    assert_int_equal(sim_conn_count(r->w), 1);
}

/* ---- bulk: bytes through both kinds of receive, whatever pieces they come in -------------------------------- */

enum { BULK = 3 << 20 };

struct bulk {
    struct rig *r;
    uint8_t *out, *in;
    size_t got;
    bool shared, over;
    int end;
    struct rt_op rx;
    struct iovec iov[3], to;
};

static void bulk_recv(struct bulk *b);

static void bulk_got(struct rt_op *op, int res)
{
    struct bulk *b = container_of(op, struct bulk, rx);

    if (res <= 0) {
        b->over = true;
        b->end = res;
        return;
    }
    assert_true((size_t)res <= BULK - b->got);
    if (b->shared)
        memcpy(b->in + b->got, op->buf, (size_t)res);
    b->got += (size_t)res;
    if (b->got < BULK)
        bulk_recv(b);
    else
        b->over = true;
}

static void bulk_recv(struct bulk *b)
{
    b->rx.done = bulk_got;
    if (b->shared) {
        rt_recv_shared(b->r->server, &b->rx);
        return;
    }
    b->to = (struct iovec){ b->in + b->got, BULK - b->got > 100000 ? 100000 : BULK - b->got };
    rt_recv(b->r->server, &b->rx, &b->to, 1, 0);
}

static void bulk_start(void *arg)
{
    bulk_recv(arg);
}

static void bulk_send(void *arg)
{
    struct bulk *b = arg;

    b->iov[0] = (struct iovec){ b->out, 1 };
    b->iov[1] = (struct iovec){ b->out + 1, 0 };
    b->iov[2] = (struct iovec){ b->out + 1, BULK - 1 };
    rt_send(b->r->client, noted_op(&b->r->tx), b->iov, 3);
}

static bool bulk_over(void *arg)
{
    return ((struct bulk *)arg)->over;
}

static void bulk_make(struct bulk *b, struct rig *r, bool shared)
{
    *b = (struct bulk){ .r = r, .shared = shared, .out = malloc(BULK), .in = calloc(1, BULK) };
    for (size_t i = 0; i < BULK; i++)
        b->out[i] = (uint8_t)(i * 7 + i / 251);
}

static void bulk_free(struct bulk *b)
{
    free(b->out);
    free(b->in);
}

static uint64_t bulk_over_net(uint64_t seed, const char *where, bool shared)
{
    struct rig r;
    struct bulk b;
    uint64_t print;

    rig_start(&r, seed);
    rig_connect(&r, where);
    bulk_make(&b, &r, shared);
    sim_call(r.rb, bulk_start, &b);
    sim_call(r.ra, bulk_send, &b);
    assert_true(sim_run_until(r.w, bulk_over, &b, 100 * RT_S));
    assert_int_equal(b.got, BULK);
    assert_memory_equal(b.in, b.out, BULK);
    assert_int_equal(wait_for(&r, &r.tx), BULK);
    print = sim_fingerprint(r.w);
    bulk_free(&b);
    sim_free(r.w);
    return print;
}

static void test_bytes_pass_in_pieces_over_ipv4_ipv6_and_unix(void **state)
{
    static const char *const where[] = { "10.0.0.2:3260", "[fd00::2]:3260" };

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        for (unsigned i = 0; i < ARRAY_SIZE(where); i++)
            for (unsigned shared = 0; shared < 2; shared++)
                (void)bulk_over_net(seed, where[i], shared);
}

static void test_same_seed_same_world(void **state)
{
    const uint64_t print = bulk_over_net(5, "10.0.0.2:3260", true);

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_true(bulk_over_net(5, "10.0.0.2:3260", true) == print);
    assert_true(bulk_over_net(6, "10.0.0.2:3260", true) != print);
}

/* ---- ends ---------------------------------------------------------------------------------------------------- */

static void do_recv(void *arg)
{
    struct rig *r = arg;

    rt_recv_shared(r->server, noted_op(&r->rx));
}

static void do_client_recv(void *arg)
{
    struct rig *r = arg;

    rt_recv_shared(r->client, noted_op(&r->rx));
}

static uint8_t some_bytes[1 << 20];
static struct iovec some_iov = { some_bytes, sizeof(some_bytes) };

static void do_send(void *arg)
{
    struct rig *r = arg;

    rt_send(r->client, noted_op(&r->tx), &some_iov, 1);
}

static void do_close_client(void *arg)
{
    struct rig *r = arg;

    rt_sock_close(r->client);
}

static void do_close_server(void *arg)
{
    struct rig *r = arg;

    rt_sock_close(r->server);
}

static void test_close_ends_the_peer_s_receive_and_then_its_sends(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 1);
    rig_connect(&r, "10.0.0.2:3260");
    sim_call(r.rb, do_recv, &r);
    sim_call(r.ra, do_close_client, &r);
    assert_int_equal(wait_for(&r, &r.rx), 0);
    some_iov.iov_len = 100;
    r.client = r.server;                                    /* the same, the other way */
    sim_call(r.rb, do_send, &r);
    assert_int_equal(wait_for(&r, &r.tx), 100);             /* into the socket's buffer; a reset answers */
    sim_run(r.w, RT_S);
    sim_call(r.rb, do_recv, &r);
    assert_int_equal(wait_for(&r, &r.rx), -ECONNRESET);
    sim_call(r.rb, do_recv, &r);
    assert_int_equal(wait_for(&r, &r.rx), 0);
    sim_call(r.rb, do_send, &r);
    assert_int_equal(wait_for(&r, &r.tx), -EPIPE);
    sim_call(r.rb, do_close_server, &r);
    assert_int_equal(sim_conn_count(r.w), 0);
    sim_free(r.w);
}

static void test_reset_ends_both_with_any_part_delivered(void **state)
{
    unsigned parts = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rig r;
        struct bulk b;
        struct sim_conn *c;

        rig_start(&r, seed);
        rig_connect(&r, "10.0.0.2:3260");
        bulk_make(&b, &r, true);
        sim_call(r.rb, bulk_start, &b);
        sim_call(r.ra, bulk_send, &b);
        sim_run(r.w, 300 * RT_US);
        assert_non_null(c = sim_conn_find(r.w, 1));
        sim_fault_reset(c);
        assert_true(sim_run_until(r.w, bulk_over, &b, 10 * RT_S));
        (void)wait_for(&r, &r.tx);
        assert_true(r.tx.res > 0 || r.tx.res == -ECONNRESET);
        assert_true(b.end == -ECONNRESET);
        assert_true((int)b.got <= r.tx.res);
        assert_memory_equal(b.in, b.out, b.got);
        parts += b.got && b.got < BULK;
        assert_int_equal(sim_fault_count(r.w, SIM_FAULT_RESET), 1);
        bulk_free(&b);
        sim_free(r.w);
    }
    assert_true(parts > 10);
}

static void test_cut_breaks_a_send_where_it_was_asked_to(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 3);
    rig_connect(&r, "10.0.0.2:3260");
    some_iov.iov_len = 5000;
    sim_fault_cut(sim_conn_find(r.w, 1), 0, 1234);
    sim_call(r.ra, do_send, &r);
    assert_int_equal(wait_for(&r, &r.tx), 1234);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_CUT), 1);
    sim_call(r.ra, do_client_recv, &r);
    assert_int_equal(wait_for(&r, &r.rx), -ECONNRESET);
    sim_free(r.w);
}

static void test_half_close_ends_one_way_only(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 4);
    rig_connect(&r, "10.0.0.2:3260");
    sim_call(r.rb, do_recv, &r);
    sim_fault_half_close(sim_conn_find(r.w, 1), 0);
    assert_int_equal(wait_for(&r, &r.rx), 0);
    sim_call(r.ra, do_client_recv, &r);
    r.client = r.server;
    some_iov.iov_len = 10;
    sim_call(r.rb, do_send, &r);
    assert_int_equal(wait_for(&r, &r.tx), 10);
    assert_int_equal(wait_for(&r, &r.rx), 10);
    sim_free(r.w);
}

static void test_blackhole_keeps_bytes_until_it_ends_or_patience_does(void **state)
{
    struct rig r;
    struct sim_conn *c;

    (void)state;
    rig_start(&r, 5);
    rig_connect(&r, "10.0.0.2:3260");
    c = sim_conn_find(r.w, 1);
    some_iov.iov_len = 100;
    sim_fault_blackhole(c, true);
    sim_call(r.rb, do_recv, &r);
    sim_call(r.ra, do_send, &r);
    assert_int_equal(wait_for(&r, &r.tx), 100);
    sim_run(r.w, 60 * RT_S);
    assert_int_equal(r.rx.count, 0);
    sim_fault_blackhole(c, false);
    assert_true(wait_for(&r, &r.rx) > 0);
    sim_run(r.w, RT_S);

    sim_call(r.ra, do_client_recv, &r);
    sim_fault_blackhole(c, true);
    sim_call(r.ra, do_send, &r);
    assert_int_equal(wait_for(&r, &r.rx), -ETIMEDOUT);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_TCP_TIMEOUT), 1);
    sim_free(r.w);
}

static void test_partition_is_one_way_and_heals(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 6);
    rig_connect(&r, "10.0.0.2:3260");
    some_iov.iov_len = 100;
    sim_partition(r.b, r.a, true);                          /* answers would be lost, requests are not */
    sim_call(r.rb, do_recv, &r);
    sim_call(r.ra, do_send, &r);
    assert_true(wait_for(&r, &r.rx) > 0);
    sim_partition(r.a, r.b, true);
    sim_run(r.w, RT_S);
    sim_call(r.ra, do_send, &r);
    while (r.rx.res > 0 && r.rx.count) {                    /* what had arrived of the first */
        sim_call(r.rb, do_recv, &r);
        sim_run(r.w, 10 * RT_S);
    }
    sim_run(r.w, 100 * RT_S);
    assert_int_equal(r.rx.count, 0);
    sim_calm(r.w);
    assert_true(wait_for(&r, &r.rx) > 0);
    sim_free(r.w);
}

static void test_a_cut_address_leaves_the_others(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 10);
    at = addr("10.0.0.2:3260");
    sim_call(r.rb, do_listen, &r);
    sim_addr_cut(r.b, "fd00::2", true, true);
    sim_addr_cut(r.b, "10.0.0.2", true, false);
    assert_int_equal(sim_fault_count(r.w, SIM_FAULT_ADDR_CUT), 2);
    sim_call(r.ra, do_connect, &r);
    sim_run(r.w, 20 * RT_S);
    assert_int_equal(r.conn.count, 0);
    sim_addr_cut(r.b, "10.0.0.2", false, false);            /* the other one stays as it is */
    assert_int_equal(wait_for(&r, &r.conn), 0);
    assert_int_equal(wait_for(&r, &r.acc), 0);
    sim_free(r.w);

    rig_start(&r, 11);
    rig_connect(&r, "10.0.0.2:3260");
    some_iov.iov_len = 100;
    sim_addr_cut(r.b, "10.0.0.2", false, true);             /* what goes there gets through */
    sim_call(r.rb, do_recv, &r);
    sim_call(r.ra, do_send, &r);
    assert_true(wait_for(&r, &r.rx) > 0);
    sim_run(r.w, RT_S);
    sim_addr_cut(r.b, "10.0.0.2", true, true);
    sim_call(r.ra, do_send, &r);
    while (r.rx.res > 0 && r.rx.count) {                    /* what had arrived of the first */
        sim_call(r.rb, do_recv, &r);
        sim_run(r.w, 10 * RT_S);
    }
    sim_run(r.w, 100 * RT_S);
    assert_int_equal(r.rx.count, 0);
    sim_calm(r.w);
    assert_true(wait_for(&r, &r.rx) > 0);
    sim_free(r.w);
}

static void do_abort(void *arg)
{
    struct rig *r = arg;

    rt_sock_abort(r->client);
    rt_sock_close(r->client);
    r->client = NULL;
}

/* What was sent into a cut arrives once that is over, though who sent it is gone; unless he said that it must not. */
static void test_what_was_sent_arrives_after_a_close_not_after_an_abort(void **state)
{
    struct rig r;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rig_start(&r, 13);
        rig_connect(&r, "10.0.0.2:3260");
        some_iov.iov_len = 100;
        sim_addr_cut(r.b, "10.0.0.2", true, true);
        sim_call(r.rb, do_recv, &r);
        sim_call(r.ra, do_send, &r);
        sim_run(r.w, RT_S);
        sim_call(r.ra, i ? do_abort : do_close_client, &r);
        sim_run(r.w, RT_S);
        sim_addr_cut(r.b, "10.0.0.2", false, false);
        sim_run(r.w, 100 * RT_S);
        assert_int_equal(r.rx.count, !i);
        sim_free(r.w);
    }
}

static void test_an_address_can_be_far_away(void **state)
{
    struct rig r;
    uint64_t begun;

    (void)state;
    rig_start(&r, 12);
    sim_addr_delay(r.b, "10.0.0.2", 50 * RT_MS);
    begun = sim_now(r.w);
    rig_connect(&r, "10.0.0.2:3260");
    assert_true(sim_now(r.w) >= begun + 100 * RT_MS);
    sim_free(r.w);

    rig_start(&r, 12);
    sim_addr_delay(r.b, "10.0.0.2", 50 * RT_MS);
    begun = sim_now(r.w);
    rig_connect(&r, "[fd00::2]:3260");
    assert_true(sim_now(r.w) < begun + 50 * RT_MS);
    sim_free(r.w);
}

static bool flip_ok(void *arg, struct sim_conn *c, unsigned from)
{
    (void)c;
    return from == 0 && *(bool *)arg;
}

static void test_flip_changes_one_bit_where_allowed(void **state)
{
    struct rig r;
    struct bulk b;
    bool allowed = false;
    struct sim_net net;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        unsigned bits = 0;

        rig_start(&r, 7);
        rig_connect(&r, "10.0.0.2:3260");
        sim_net_get(r.w, &net);
        net.flip_ppm = 100000;
        sim_net_set(r.w, &net);
        allowed = i;
        sim_on_flip(r.w, flip_ok, &allowed);
        bulk_make(&b, &r, true);
        sim_call(r.rb, bulk_start, &b);
        sim_call(r.ra, bulk_send, &b);
        assert_true(sim_run_until(r.w, bulk_over, &b, 100 * RT_S));
        assert_int_equal(b.got, BULK);
        for (size_t k = 0; k < BULK; k++)
            bits += (unsigned)__builtin_popcount(b.in[k] ^ b.out[k]);
        assert_int_equal(bits, sim_fault_count(r.w, SIM_FAULT_FLIP));
        assert_true(allowed ? bits > 0 : !bits);
        bulk_free(&b);
        sim_free(r.w);
    }
}

/* ---- connecting ------------------------------------------------------------------------------------------ */

static int connect_to(struct rig *r, const char *text)
{
    at = addr(text);
    sim_call(r->ra, do_connect, r);
    return wait_for(r, &r->conn);
}

static void test_connect_tells_why_not(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 8);
    assert_int_equal(connect_to(&r, "10.0.0.2:3260"), -ECONNREFUSED);
    assert_int_equal(connect_to(&r, "10.0.0.9:3260"), -EHOSTUNREACH);
    assert_int_equal(connect_to(&r, "127.0.0.1:3260"), -ECONNREFUSED);
    sim_partition(r.a, r.b, true);
    assert_int_equal(connect_to(&r, "10.0.0.2:3260"), -ETIMEDOUT);
    sim_partition(r.a, r.b, false);
    sim_machine_off(r.b);
    assert_int_equal(connect_to(&r, "10.0.0.2:3260"), -ETIMEDOUT);
    assert_int_equal(sim_conn_count(r.w), 0);
    sim_free(r.w);
}

static void test_connect_gets_through_when_the_way_is_free_again(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 9);
    at = addr("10.0.0.2:3260");
    sim_call(r.rb, do_listen, &r);
    sim_partition(r.a, r.b, true);
    sim_call(r.ra, do_connect, &r);
    sim_run(r.w, 20 * RT_S);
    assert_int_equal(r.conn.count, 0);
    sim_partition(r.a, r.b, false);
    assert_int_equal(wait_for(&r, &r.conn), 0);
    assert_int_equal(wait_for(&r, &r.acc), 0);
    sim_free(r.w);
}

static void do_cancel_connect(void *arg)
{
    struct rig *r = arg;

    rt_cancel(&r->conn.op);
}

/* At every event of it: no connection stays. */
static void test_connect_can_be_cancelled_at_any_event(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        struct rig r;

        rig_start(&r, 10);
        at = addr("10.0.0.2:3260");
        sim_call(r.rb, do_listen, &r);
        sim_call(r.ra, do_connect, &r);
        for (unsigned i = 0; i < n; i++)
            (void)sim_step(r.w);
        if (!r.conn.count)
            sim_call(r.ra, do_cancel_connect, &r);
        (void)wait_for(&r, &r.conn);
        assert_true(r.conn.res == 0 || r.conn.res == -ECANCELED);
        sim_run(r.w, RT_S);
        if (!r.conn.res)
            sim_call(r.ra, do_close_client, &r);
        sim_run(r.w, RT_S);
        if (r.acc.count)
            sim_call(r.rb, do_close_server, &r);
        assert_int_equal(sim_conn_count(r.w), 0);
        sim_free(r.w);
    }
}

/* ---- programs and machines that go ------------------------------------------------------------------------- */

static void test_killed_peer_ends_the_stream_a_dark_machine_says_nothing(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 11);
    rig_connect(&r, "10.0.0.2:3260");
    sim_call(r.ra, do_client_recv, &r);
    sim_kill(r.pb);
    (void)wait_for(&r, &r.rx);
    assert_true(r.rx.res == 0 || r.rx.res == -ECONNRESET);
    assert_false(sim_prog_runs(r.pb));
    sim_free(r.w);

    rig_start(&r, 12);
    rig_connect(&r, "10.0.0.2:3260");
    sim_call(r.ra, do_client_recv, &r);
    sim_machine_off(r.b);
    sim_run(r.w, 3600 * RT_S);
    assert_int_equal(r.rx.count, 0);
    sim_machine_on(r.b);
    sim_run(r.w, 10 * RT_S);
    assert_int_equal(r.rx.count, 0);                        /* nobody asked yet */
    some_iov.iov_len = 10;
    sim_call(r.ra, do_send, &r);
    assert_int_equal(wait_for(&r, &r.rx), -ECONNRESET);
    sim_free(r.w);
}

/* Killed at every event of a transfer, either end: the other one always learns it. */
static void test_kill_at_any_event(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 120; n++) {
        struct rig r;
        struct bulk b;

        rig_start(&r, n);
        rig_connect(&r, "10.0.0.2:3260");
        bulk_make(&b, &r, n % 4 < 2);
        sim_call(r.rb, bulk_start, &b);
        sim_call(r.ra, bulk_send, &b);
        for (unsigned i = 0; i < n; i++)
            (void)sim_step(r.w);
        sim_kill(n % 2 ? r.pa : r.pb);
        if (n % 2)
            assert_true(sim_run_until(r.w, bulk_over, &b, 10 * RT_S));
        else
            (void)wait_for(&r, &r.tx);
        sim_run(r.w, 10 * RT_S);
        bulk_free(&b);
        sim_free(r.w);
    }
}

static void test_closing_and_cancelling_what_is_outstanding(void **state)
{
    struct rig r;

    (void)state;
    rig_start(&r, 13);
    rig_connect(&r, "10.0.0.2:3260");
    some_iov.iov_len = sizeof(some_bytes);
    sim_call(r.ra, do_send, &r);                            /* more than the window */
    sim_call(r.ra, do_client_recv, &r);
    sim_run(r.w, RT_S);
    assert_int_equal(r.tx.count, 0);
    sim_call(r.ra, do_close_client, &r);
    assert_int_equal(r.rx.count + r.tx.count, 0);           /* never from inside the call */
    assert_int_equal(wait_for(&r, &r.rx), -ECANCELED);
    assert_int_equal(wait_for(&r, &r.tx), -ECANCELED);
    sim_call(r.rb, do_close_server, &r);
    assert_int_equal(sim_conn_count(r.w), 0);
    sim_free(r.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_pass_in_pieces_over_ipv4_ipv6_and_unix),
        cmocka_unit_test(test_same_seed_same_world),
        cmocka_unit_test(test_close_ends_the_peer_s_receive_and_then_its_sends),
        cmocka_unit_test(test_reset_ends_both_with_any_part_delivered),
        cmocka_unit_test(test_cut_breaks_a_send_where_it_was_asked_to),
        cmocka_unit_test(test_half_close_ends_one_way_only),
        cmocka_unit_test(test_blackhole_keeps_bytes_until_it_ends_or_patience_does),
        cmocka_unit_test(test_partition_is_one_way_and_heals),
        cmocka_unit_test(test_flip_changes_one_bit_where_allowed),
        cmocka_unit_test(test_connect_tells_why_not),
        cmocka_unit_test(test_connect_gets_through_when_the_way_is_free_again),
        cmocka_unit_test(test_connect_can_be_cancelled_at_any_event),
        cmocka_unit_test(test_killed_peer_ends_the_stream_a_dark_machine_says_nothing),
        cmocka_unit_test(test_kill_at_any_event),
        cmocka_unit_test(test_a_cut_address_leaves_the_others),
        cmocka_unit_test(test_what_was_sent_arrives_after_a_close_not_after_an_abort),
        cmocka_unit_test(test_an_address_can_be_far_away),
        cmocka_unit_test(test_closing_and_cancelling_what_is_outstanding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
