/* test_prog.c - programs in a simulated world: their start, end and memory, their cores, and misuse that is caught */
#include <signal.h>

#include "death.h"

#define CORES 3

struct box {                                /* what a program is given, and the test looks at */
    struct rt_host *host;
    void (*setup)(struct box *b);
    void *leak;
    unsigned stopped, n, order_wrong;
    bool flag;
    struct rt_msg msg[64];
    struct noted noted;
    struct rt_timer timer;
    struct rt_work work;
    struct rt_resolve resolve;
    struct rt_sock *sock;
    int status, signo;
};

struct world {
    struct sim *w;
    struct sim_machine *m;
    struct sim_prog *p;
    struct box b;
};

static int box_main(void *arg)
{
    static const int cores[CORES] = { 0, 1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = CORES };
    struct box *b = arg;

    if (b->status)
        return b->status;
    if (rt_host_new(&b->host, &conf))
        return 1;
    if (b->setup)
        b->setup(b);
    return 0;
}

static void box_stopped(void *arg)
{
    struct box *b = arg;

    b->stopped++;
    rt_host_free(b->host);
}

static const struct sim_program program = { "box", box_main, box_stopped };

static int world_start(struct world *w, uint64_t seed, void (*setup)(struct box *b))
{
    memset(w, 0, sizeof(*w));
    w->w = sim_new(seed);
    if (getenv("SIM_LOG"))
        sim_log_to(w->w, line_print, NULL, RT_DEBUG);
    w->m = sim_machine_new(w->w, "m", CORES);
    sim_machine_addr(w->m, "10.0.0.1");
    sim_machine_addr(w->m, "fd00::1");
    w->b.setup = setup;
    return sim_start(w->m, &program, &w->b, &w->p);
}

static struct rt *core(const struct world *w, unsigned i)
{
    return rt_host_at(w->b.host, i);
}

static struct sim_prog_info info_of(const struct world *w)
{
    struct sim_prog_info info;

    sim_prog_info(w->p, &info);
    return info;
}

/* ---- start and end --------------------------------------------------------------------------------------- */

static void stop_msg(struct rt_msg *m)
{
    rt_host_stop(rt_host_of(rt_self()));
}

static void do_stop(void *arg)
{
    struct box *b = arg;

    rt_host_stop(b->host);
}

static void setup_stop(struct box *b)
{
    rt_host_stop(b->host);
}

static void test_program_ends_when_its_host_stops(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    sim_run(w.w, RT_S);
    assert_true(sim_prog_runs(w.p));
    assert_ptr_equal(sim_prog_host(w.p), w.b.host);
    sim_call(core(&w, 1), do_stop, &w.b);
    assert_int_equal(w.b.stopped, 0);
    sim_run(w.w, RT_S);
    assert_int_equal(w.b.stopped, 1);
    assert_int_equal(info_of(&w).state, SIM_EXITED);
    assert_null(sim_prog_host(w.p));
    sim_free(w.w);

    assert_int_equal(world_start(&w, 1, setup_stop), 0);    /* before it ran */
    sim_run(w.w, RT_S);
    assert_int_equal(w.b.stopped, 1);
    sim_free(w.w);

    assert_int_equal(world_start(&w, 1, NULL), 0);          /* from a callback */
    w.b.msg[0].fn = stop_msg;
    rt_post(core(&w, 0), &w.b.msg[0]);
    sim_run(w.w, RT_S);
    assert_int_equal(w.b.stopped, 1);
    sim_free(w.w);
}

static void test_program_that_refuses_to_start_is_over(void **state)
{
    struct world w = { .b.status = 3 };

    (void)state;
    w.w = sim_new(1);
    w.m = sim_machine_new(w.w, "m", 1);
    assert_int_equal(sim_start(w.m, &program, &w.b, &w.p), 3);
    assert_int_equal(info_of(&w).state, SIM_EXITED);
    assert_int_equal(info_of(&w).status, 3);
    w.b.status = 0;                                         /* it wants three cores */
    assert_int_equal(sim_start(w.m, &program, &w.b, &w.p), 1);
    sim_free(w.w);
}

static void test_entered_program_runs_its_host_itself(void **state)
{
    struct sim *w = sim_new(1);
    struct sim_prog *p;
    struct rt_host *h;
    struct rt_msg m = { .fn = stop_msg };
    struct rt *rt = solo(sim_machine_new(w, "m", 1), &p, &h);

    (void)state;
    rt_post(rt, &m);
    assert_int_equal(rt_host_run(h), 0);
    assert_null(rt_self());
    rt_host_free(h);
    assert_true(sim_prog_runs(p));
    sim_kill(p);                                            /* also leaves it */
    sim_free(w);
}

static struct sim_prog *to_kill;

static void kill_msg(struct rt_msg *m)
{
    sim_kill(to_kill);
    assert_true(sim_prog_runs(to_kill));                    /* it stands on its own memory */
}

static void test_kill_from_inside_comes_at_the_end_of_the_turn(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    to_kill = w.p;
    w.b.msg[0].fn = kill_msg;
    rt_post(core(&w, 2), &w.b.msg[0]);
    sim_run(w.w, RT_S);
    assert_int_equal(info_of(&w).state, SIM_KILLED);
    assert_int_equal(w.b.stopped, 0);
    sim_kill(w.p);                                          /* dead already */
    assert_int_equal(sim_fault_count(w.w, SIM_FAULT_KILL), 1);
    sim_free(w.w);
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static void setup_allocs(struct box *b)
{
    char *text;

    b->leak = malloc(1000);
    text = strdup("abc");
    text = realloc(text, 100);
    assert_string_equal(text, "abc");
    free(text);
    assert_int_equal(asprintf(&text, "%d-%s", 7, "x"), 3);
    assert_string_equal(text, "7-x");
    free(text);
    assert_non_null(text = strndup("abcdef", 2));
    assert_string_equal(text, "ab");
    free(text);
    b->n = !rt_mem_alloc(1 << 20);
}

static void test_memory_is_booked_and_goes_with_the_program(void **state)
{
    struct world w;
    struct sim_prog_info info;

    (void)state;
    assert_int_equal(world_start(&w, 1, setup_allocs), 0);
    assert_int_equal(w.b.n, 0);
    info = info_of(&w);
    assert_true(info.bytes > (1 << 20) + 1000 && info.bytes_max >= info.bytes);
    assert_true(info.heap_bytes > 1000 && info.heap_bytes < 1 << 20);
    assert_true(info.allocs > info.blocks);
    sim_call(core(&w, 0), do_stop, &w.b);
    sim_run(w.w, RT_S);
    info = info_of(&w);
    assert_int_equal(info.leaked_blocks, 2);
    assert_int_equal(info.leaked_bytes, (1 << 20) + 1000);
    assert_int_equal(info.blocks, 0);
    assert_int_equal(info.bytes, 0);
    sim_free(w.w);

    assert_int_equal(world_start(&w, 1, setup_allocs), 0);
    sim_kill(w.p);
    assert_int_equal(info_of(&w).blocks, 0);
    sim_free(w.w);
}

static void do_alloc(void *arg)
{
    struct box *b = arg;
    void *volatile mem = malloc(100);       /* else the compiler knows how that ends */

    b->n += !mem;
    free(mem);
    mem = rt_mem_alloc(4096);
    b->n += !mem;
    rt_mem_free(mem, 4096);
}

static void test_allocations_fail_as_asked(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    for (unsigned nth = 1; nth <= 3; nth++) {
        w.b.n = 0;
        sim_fault_alloc(w.p, nth, 0);
        sim_call(core(&w, 0), do_alloc, &w.b);
        assert_int_equal(w.b.n, nth <= 2);
    }
    sim_fault_alloc(w.p, 1, UINT64_MAX);
    w.b.n = 0;
    sim_call(core(&w, 0), do_alloc, &w.b);
    assert_int_equal(w.b.n, 2);
    sim_fault_alloc(w.p, 0, 0);
    sim_prog_limit(w.p, info_of(&w).heap_bytes + 99);
    w.b.n = 0;
    sim_call(core(&w, 0), do_alloc, &w.b);
    assert_int_equal(w.b.n, 1);                             /* the heap's; a mapping has no limit */
    sim_free(w.w);
}

/* ---- cores ----------------------------------------------------------------------------------------------- */

static struct box *the_box;

static void msg_in_order(struct rt_msg *m)
{
    struct box *b = the_box;

    b->order_wrong += m != &b->msg[b->n] || rt_self() != rt_host_at(b->host, 1);
    b->n++;
}

static void do_post_many(void *arg)
{
    struct box *b = arg;

    for (unsigned i = 0; i < ARRAY_SIZE(b->msg); i++) {
        b->msg[i].fn = msg_in_order;
        rt_post(rt_host_at(b->host, 1), &b->msg[i]);
    }
}

static void test_messages_arrive_in_order_on_their_core(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world w;

        assert_int_equal(world_start(&w, seed, NULL), 0);
        the_box = &w.b;
        sim_call(core(&w, 0), do_post_many, &w.b);
        sim_run(w.w, RT_S);
        assert_int_equal(w.b.n, ARRAY_SIZE(w.b.msg));
        assert_int_equal(w.b.order_wrong, 0);
        sim_free(w.w);
    }
}

static void msg_first(struct rt_msg *m)
{
    if (!the_box->n)
        the_box->n = (unsigned)(m - the_box->msg) + 1;
}

static void do_post_race(void *arg)
{
    struct box *b = arg;
    const unsigned i = rt_index(rt_self());

    b->msg[i].fn = msg_first;
    rt_post(rt_host_at(b->host, 2), &b->msg[i]);
}

static void race_hop(struct rt_msg *m)
{
    do_post_race(the_box);
}

static void do_race(void *arg)
{
    struct box *b = arg;

    for (unsigned i = 0; i < 2; i++) {
        b->msg[10 + i].fn = race_hop;
        rt_post(rt_host_at(b->host, i), &b->msg[10 + i]);
    }
}

/* Which of two cores is first is drawn. */
static void test_cores_race(void **state)
{
    unsigned first[3] = { 0 };

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct world w;

        assert_int_equal(world_start(&w, seed, NULL), 0);
        sim_run(w.w, RT_MS);
        the_box = &w.b;
        sim_call(core(&w, 2), do_race, &w.b);
        sim_run(w.w, RT_S);
        assert_true(w.b.n == 1 || w.b.n == 2);
        first[w.b.n]++;
        sim_free(w.w);
    }
    assert_true(first[1] > 10 && first[2] > 10);
}

static void work_run_there(struct rt_work *w)
{
    struct box *b = container_of(w, struct box, work);

    b->flag = !rt_self() && rt_save("/x", "1", 1, 0600) == 0;
}

static void work_done_here(struct rt_work *w)
{
    struct box *b = container_of(w, struct box, work);

    b->n = 1 + rt_index(rt_self());
}

static void do_work(void *arg)
{
    struct box *b = arg;

    b->work.run = work_run_there;
    b->work.done = work_done_here;
    rt_work(rt_self(), &b->work);
    assert_false(b->flag);
}

static void test_work_runs_elsewhere_and_returns_here(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    sim_call(core(&w, 1), do_work, &w.b);
    assert_false(w.b.flag);
    sim_run(w.w, RT_S);
    assert_true(w.b.flag);
    assert_int_equal(w.b.n, 2);
    w.b.flag = false;
    sim_call(core(&w, 1), do_work, &w.b);                   /* it is run before the host is gone */
    sim_call(core(&w, 0), do_stop, &w.b);
    sim_run(w.w, RT_S);
    assert_true(w.b.flag);
    assert_int_equal(w.b.stopped, 1);
    sim_free(w.w);
}

static void resolved(struct rt_work *w)
{
    container_of(w, struct box, resolve.work)->flag = true;
}

static void do_resolve(void *arg)
{
    struct box *b = arg;

    b->flag = false;
    b->resolve.work.done = resolved;
    b->resolve.port = 7;
    rt_resolve(rt_self(), &b->resolve);
}

static void resolve_name(struct world *w, const char *name)
{
    snprintf(w->b.resolve.host, sizeof(w->b.resolve.host), "%s", name);
    sim_call(core(w, 0), do_resolve, &w->b);
    sim_run(w->w, RT_S);
    assert_true(w->b.flag);
}

static void test_names_of_machines_resolve(void **state)
{
    struct world w;
    char text[RT_ADDR_STR_MAX];

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    resolve_name(&w, "m");
    assert_int_equal(w.b.resolve.err, 0);
    assert_int_equal(w.b.resolve.addr_nr, 2);
    rt_addr_format(&w.b.resolve.addr[0], text);
    assert_string_equal(text, "10.0.0.1:7");
    rt_addr_format(&w.b.resolve.addr[1], text);
    assert_string_equal(text, "[fd00::1]:7");
    resolve_name(&w, "fd00::9");
    assert_int_equal(w.b.resolve.addr_nr, 1);
    resolve_name(&w, "nobody");
    assert_int_equal(w.b.resolve.err, -ENOENT);
    sim_free(w.w);
}

static void signal_came(void *arg, int signo)
{
    struct box *b = arg;

    b->signo = signo;
    b->n = rt_index(rt_self()) + 1;
}

static void setup_signals(struct box *b)
{
    static const int signals[] = { 15, 2, 0 };

    assert_int_equal(rt_signals(rt_host_at(b->host, 1), signals, signal_came, b), 0);
}

static void test_signals_arrive_or_kill(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, setup_signals), 0);
    sim_signal(w.p, 15);
    assert_int_equal(w.b.signo, 0);
    sim_run(w.w, RT_S);
    assert_int_equal(w.b.signo, 15);
    assert_int_equal(w.b.n, 2);
    sim_signal(w.p, 1);
    assert_int_equal(info_of(&w).state, SIM_KILLED);
    sim_free(w.w);
}

/* ---- unix sockets ---------------------------------------------------------------------------------------- */

static void do_unix_listen(void *arg)
{
    struct box *b = arg;
    const struct rt_addr at = addr("/run/x.sock");

    b->status = rt_listen(rt_self(), &at, &b->sock);
}

static void test_unix_socket_stands_over_a_stale_one_only(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    sim_call(core(&w, 0), do_unix_listen, &w.b);
    assert_int_equal(w.b.status, -ENOENT);                  /* no such directory */
    sim_fs_save(w.m, "/run/pid", "1", 1);
    sim_call(core(&w, 0), do_unix_listen, &w.b);
    assert_int_equal(w.b.status, 0);
    sim_call(core(&w, 0), do_unix_listen, &w.b);
    assert_int_equal(w.b.status, -EADDRINUSE);
    sim_kill(w.p);
    memset(&w.b, 0, sizeof(w.b));
    assert_int_equal(sim_start(w.m, &program, &w.b, &w.p), 0);
    sim_call(core(&w, 0), do_unix_listen, &w.b);
    assert_int_equal(w.b.status, 0);
    sim_kill(w.p);
    sim_fs_save(w.m, "/run/x.sock", "1", 1);
    memset(&w.b, 0, sizeof(w.b));
    assert_int_equal(sim_start(w.m, &program, &w.b, &w.p), 0);
    sim_call(core(&w, 0), do_unix_listen, &w.b);
    assert_int_equal(w.b.status, -EADDRINUSE);
    sim_free(w.w);
}

/* ---- the world ------------------------------------------------------------------------------------------- */

static unsigned looked;

static void look(void *arg)
{
    struct world *w = arg;

    if (++looked == 5)
        sim_kill(w->p);
}

static void test_hook_comes_before_each_event(void **state)
{
    struct world w;
    uint64_t before;

    (void)state;
    assert_int_equal(world_start(&w, 1, NULL), 0);
    looked = 0;
    before = sim_events(w.w);
    sim_on_event(w.w, look, &w);
    the_box = &w.b;
    for (unsigned i = 0; i < 50 && sim_prog_runs(w.p); i++) {
        w.b.n = 0;
        sim_call(core(&w, 0), do_post_many, &w.b);
        sim_run(w.w, RT_MS);
    }
    assert_int_equal(looked, 5);
    assert_int_equal(info_of(&w).state, SIM_KILLED);
    assert_int_equal(sim_events(w.w) - before, 4);
    sim_free(w.w);
}

static struct sim *the_world;

static void at_stop(struct sim_timer *t)
{
    sim_stop(the_world);
}

static void test_time_jumps(void **state)
{
    struct sim *w = sim_new(1);
    struct sim_timer t = { .fn = at_stop };
    const uint64_t from = sim_now(w);

    (void)state;
    the_world = w;
    sim_run(w, 3600 * RT_S);
    assert_int_equal(sim_now(w), from + 3600 * RT_S);
    sim_at(w, &t, RT_S);
    sim_at(w, &t, 2 * RT_S);
    sim_run(w, 10 * RT_S);
    assert_int_equal(sim_now(w), from + 3602 * RT_S);
    sim_at(w, &t, RT_S);
    sim_at_cancel(w, &t);
    assert_false(sim_step(w));
    sim_free(w);
}

/* ---- misuse: it ends the process, with a word on stderr ------------------------------------------------------ */

static void spin(struct rt_op *op, int res)
{
    rt_defer(op->rt, op);
}

static void do_spin(void *arg)
{
    struct box *b = arg;

    b->noted.op.done = spin;
    rt_defer(rt_self(), &b->noted.op);
}

static void die_spinning(void)
{
    struct world w;
    struct sim_sched s;

    (void)world_start(&w, 1, NULL);
    sim_sched_get(w.w, &s);
    s.spin_max = 10000;
    sim_sched_set(w.w, &s);
    sim_call(core(&w, 1), do_spin, &w.b);
    sim_run(w.w, RT_S);
}

static void do_wait(void *arg)
{
    const uint64_t due = rt_clock(rt_self()) + 1;

    while (rt_clock(rt_self()) < due)
        ;
}

static void die_waiting_for_the_clock(void)
{
    struct world w;

    (void)world_start(&w, 1, NULL);
    sim_call(core(&w, 0), do_wait, &w.b);
}

static void do_twice(void *arg)
{
    struct box *b = arg;

    rt_defer(rt_self(), noted_op(&b->noted));
    rt_defer(rt_self(), &b->noted.op);
}

static void die_submitting_twice(void)
{
    struct world w;

    (void)world_start(&w, 1, NULL);
    sim_call(core(&w, 0), do_twice, &w.b);
}

static void do_wrong_core(void *arg)
{
    struct box *b = arg;

    rt_defer(rt_host_at(b->host, 1), noted_op(&b->noted));
}

static void die_on_the_wrong_core(void)
{
    struct world w;

    (void)world_start(&w, 1, NULL);
    sim_call(core(&w, 0), do_wrong_core, &w.b);
}

static void do_free_outstanding(void *arg)
{
    struct noted *n = calloc(1, sizeof(*n));

    rt_defer(rt_self(), noted_op(n));
    free(n);
}

static void die_of_a_freed_operation(void)
{
    struct world w;

    (void)world_start(&w, 1, NULL);
    sim_call(core(&w, 0), do_free_outstanding, &w.b);
    sim_run(w.w, RT_S);
}

static void do_free_twice(void *arg)
{
    void *mem = malloc(1), *volatile again = mem;

    free(mem);
    free(again);
}

static void die_freeing_twice(void)
{
    struct world w;

    (void)world_start(&w, 1, NULL);
    sim_call(core(&w, 0), do_free_twice, &w.b);
}

static void die_outside_of_a_program(void)
{
    char *text;

    (void)rt_load("/x", 1, &text, NULL);
}

static void test_misuse_is_named(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    const char *freed = "AddressSanitizer", *twice = "AddressSanitizer";
#else
    const char *freed = "RT_OP_READY", *twice = "MARK";
#endif

    (void)state;
    expect_death(die_spinning, "core 1: 10001 turns in a row");
    expect_death(die_waiting_for_the_clock, "waits for the clock");
    expect_death(die_submitting_twice, "RT_OP_IDLE");
    expect_death(die_on_the_wrong_core, "rt_owned");
    expect_death(die_of_a_freed_operation, freed);
    expect_death(die_freeing_twice, twice);
    expect_death(die_outside_of_a_program, "sim_cur");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_ends_when_its_host_stops),
        cmocka_unit_test(test_program_that_refuses_to_start_is_over),
        cmocka_unit_test(test_entered_program_runs_its_host_itself),
        cmocka_unit_test(test_kill_from_inside_comes_at_the_end_of_the_turn),
        cmocka_unit_test(test_memory_is_booked_and_goes_with_the_program),
        cmocka_unit_test(test_allocations_fail_as_asked),
        cmocka_unit_test(test_messages_arrive_in_order_on_their_core),
        cmocka_unit_test(test_cores_race),
        cmocka_unit_test(test_work_runs_elsewhere_and_returns_here),
        cmocka_unit_test(test_names_of_machines_resolve),
        cmocka_unit_test(test_signals_arrive_or_kill),
        cmocka_unit_test(test_unix_socket_stands_over_a_stale_one_only),
        cmocka_unit_test(test_hook_comes_before_each_event),
        cmocka_unit_test(test_time_jumps),
        cmocka_unit_test(test_misuse_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
