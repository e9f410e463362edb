/* test_msg.c - messages between reactors, waking sleepers, helpers, signals, and how a host starts and stops */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt_test.h"

#include "reactor/uring/rt_internal.h"

/* ---- order under load -------------------------------------------------------------------------------- */

enum { SENDERS = 2, MESSAGES = 200000, WINDOW = 64 };

struct flow;

struct item {
    struct rt_msg m;
    struct flow *f;
    unsigned number;
};

struct flow {                               /* from one reactor to another and back */
    struct rt *from, *to;
    struct item items[WINDOW];
    unsigned sent, received, returned;
    bool wrong, wrong_back;                 /* written at the far end, at the near end */
};

static struct rt_host *the_host;
static struct flow flows[SENDERS];
static atomic_uint flows_done;

static void item_received(struct rt_msg *m);

static void item_returned(struct rt_msg *m)
{
    struct item *i = container_of(m, struct item, m);
    struct flow *f = i->f;

    f->wrong_back |= rt_self() != f->from;
    f->returned++;
    if (f->sent < MESSAGES) {
        i->number = f->sent++;
        m->fn = item_received;
        rt_post(f->to, m);
    } else if (f->returned == MESSAGES && atomic_fetch_add(&flows_done, 1) + 1 == SENDERS) {
        rt_host_stop(the_host);
    }
}

static void item_received(struct rt_msg *m)
{
    struct item *i = container_of(m, struct item, m);
    struct flow *f = i->f;

    f->wrong |= rt_self() != f->to || i->number != f->received;
    f->received++;
    m->fn = item_returned;
    rt_post(f->from, m);
}

static void test_messages_of_one_sender_stay_in_order(void **state)
{
    the_host = host_make(2, RT_MODE_ADAPTIVE);
    atomic_store(&flows_done, 0);
    memset(flows, 0, sizeof(flows));
    for (unsigned s = 0; s < SENDERS; s++) {
        flows[s].from = rt_host_at(the_host, s);
        flows[s].to = rt_host_at(the_host, 1 - s);
        for (unsigned i = 0; i < WINDOW; i++) {             /* before the host runs */
            flows[s].items[i] = (struct item){ .m.fn = item_received, .f = &flows[s] };
            flows[s].items[i].number = flows[s].sent++;
            rt_post(flows[s].to, &flows[s].items[i].m);
        }
    }
    assert_int_equal(rt_host_run(the_host), 0);
    for (unsigned s = 0; s < SENDERS; s++) {
        assert_false(flows[s].wrong || flows[s].wrong_back);
        assert_int_equal(flows[s].received, MESSAGES);
    }
    rt_host_free(the_host);
}

/* ---- waking ------------------------------------------------------------------------------------------ */

struct ball {
    struct rt_msg m;
    struct rt_timer pause;
    struct rt *rts[2];
    unsigned hits, hits_max;
};

static void ball_hit(struct rt_msg *m);

static void ball_throw(struct rt_timer *t)
{
    struct ball *b = container_of(t, struct ball, pause);

    b->m.fn = ball_hit;
    rt_post(b->rts[b->hits % 2], &b->m);
}

static void ball_hit(struct rt_msg *m)
{
    struct ball *b = container_of(m, struct ball, m);

    if (++b->hits == b->hits_max) {
        rt_host_stop(the_host);
        return;
    }
    if (b->hits % 8) {                      /* at once, or when the other is surely asleep */
        rt_post(b->rts[b->hits % 2], &b->m);
    } else {
        b->pause = (struct rt_timer){ .fn = ball_throw };
        rt_timer_arm(rt_self(), &b->pause, 300 * RT_US);
    }
}

static void wakes_in(enum rt_mode mode)
{
    struct ball b = { .hits_max = 800 };
    struct rt_stats st;

    the_host = host_make(2, mode);
    b.rts[0] = rt_host_at(the_host, 0);
    b.rts[1] = rt_host_at(the_host, 1);
    b.m.fn = ball_hit;
    rt_post(b.rts[0], &b.m);
    assert_int_equal(rt_host_run(the_host), 0);             /* hangs if a wake-up is lost */
    assert_int_equal(b.hits, b.hits_max);
    rt_stats(b.rts[0], &st);
    assert_true(mode == RT_MODE_POLL ? st.sleeps == 0 : st.sleeps > 0);
    assert_true(st.messages > 0);
    rt_host_free(the_host);
}

static void test_sleeper_is_woken_in_adaptive_mode(void **state)
{
    wakes_in(RT_MODE_ADAPTIVE);
}

static void test_sleeper_is_woken_in_interrupt_mode(void **state)
{
    wakes_in(RT_MODE_INTERRUPT);
}

static void test_messages_pass_in_poll_mode(void **state)
{
    wakes_in(RT_MODE_POLL);
}

static void count_msg(struct rt_msg *m);
struct counted {
    struct rt_msg m;
    unsigned count;
};

static void count_msg(struct rt_msg *m)
{
    container_of(m, struct counted, m)->count++;
}

static void test_post_to_oneself_runs_in_a_coming_turn(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct counted c = { .m.fn = count_msg };

    rt_post(rt_host_at(h, 0), &c.m);
    assert_int_equal(c.count, 0);
    turn_until(rt_host_at(h, 0), &c.count, 1);
    assert_ptr_equal(rt_self(), rt_host_at(h, 0));
    rt_host_free(h);
    assert_null(rt_self());
}

/* ---- deferring --------------------------------------------------------------------------------------- */

static struct noted deferred;
static unsigned deferrals;

static void defer_again(struct rt_op *op, int res)
{
    assert_int_equal(res, 0);
    if (++deferrals < 3)
        rt_defer(op->rt, op);
}

static void test_deferred_operation_runs_once_a_turn(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);

    deferrals = 0;
    memset(&deferred, 0, sizeof(deferred));
    deferred.op.done = defer_again;
    rt_defer(rt, &deferred.op);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(deferrals, i);
        assert_int_equal(rt_turn(rt, RT_S), 1);
    }
    assert_int_equal(deferrals, 3);
    rt_host_free(h);
}

/* ---- helpers ----------------------------------------------------------------------------------------- */

struct job {
    struct rt_work w;
    unsigned *done_nr;
    atomic_uint *ran_nr;
    bool elsewhere;
    int cpus;
};

static void job_run(struct rt_work *w)
{
    struct job *j = container_of(w, struct job, w);
    cpu_set_t set;

    j->elsewhere = rt_self() == NULL;
    if (!sched_getaffinity(0, sizeof(set), &set))
        j->cpus = CPU_COUNT(&set);
    usleep(1000);
    atomic_fetch_add(j->ran_nr, 1);
}

static void job_done(struct rt_work *w)
{
    ++*container_of(w, struct job, w)->done_nr;
}

static struct job job_make(unsigned *done_nr, atomic_uint *ran_nr)
{
    return (struct job){ .w = { .run = job_run, .done = job_done }, .done_nr = done_nr, .ran_nr = ran_nr };
}

static void test_work_runs_elsewhere_and_returns_here(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct job jobs[20];
    unsigned done_nr = 0;
    atomic_uint ran_nr = 0;
    cpu_set_t set;

    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = job_make(&done_nr, &ran_nr);
        rt_work(rt_host_at(h, 0), &jobs[i].w);
    }
    turn_until(rt_host_at(h, 0), &done_nr, ARRAY_SIZE(jobs));
    for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
        assert_true(jobs[i].elsewhere);
        assert_int_equal(jobs[i].cpus, CPU_COUNT(&set));    /* not on a reactor's core alone */
    }
    rt_host_free(h);
}

static void test_queued_work_runs_before_the_host_is_gone(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct job jobs[20];
    unsigned done_nr = 0;
    atomic_uint ran_nr = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = job_make(&done_nr, &ran_nr);
        rt_work(rt_host_at(h, 0), &jobs[i].w);
    }
    rt_host_free(h);
    assert_int_equal(atomic_load(&ran_nr), ARRAY_SIZE(jobs));
}

/* ---- signals, stopping, refusals --------------------------------------------------------------------- */

static unsigned signals_seen;

static void on_signal(void *arg, int signo)
{
    assert_int_equal(signo, SIGUSR1);
    if (++signals_seen < 3)
        kill(getpid(), SIGUSR1);
    else
        rt_host_stop(arg);
}

static void test_signals_arrive_on_the_reactor(void **state)
{
    static const int signals[] = { SIGUSR1, 0 };
    struct rt_host *h = host_make(2, RT_MODE_INTERRUPT);

    signals_seen = 0;
    assert_int_equal(rt_signals(rt_host_at(h, 0), signals, on_signal, h), 0);
    kill(getpid(), SIGUSR1);
    assert_int_equal(rt_host_run(h), 0);
    assert_int_equal(signals_seen, 3);
    rt_host_free(h);
}

static void test_signals_refuses_a_number_that_is_none(void **state)
{
    static const int signals[] = { 4711, 0 };
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);

    assert_int_equal(rt_signals(rt_host_at(h, 0), signals, on_signal, h), -EINVAL);
    rt_host_free(h);
}

static void test_stop_before_run_returns_at_once(void **state)
{
    static const enum rt_mode modes[] = { RT_MODE_ADAPTIVE, RT_MODE_POLL, RT_MODE_INTERRUPT };

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct rt_host *h = host_make(3, modes[i]);

        rt_host_stop(h);
        assert_int_equal(rt_host_run(h), 0);
        rt_host_free(h);
    }
}

static void mode_flip(struct rt_timer *t)
{
    rt_set_mode(rt_host_at(the_host, 1), RT_MODE_INTERRUPT, 0);
    rt_host_stop(the_host);
}

static void test_mode_changes_while_another_core_polls(void **state)
{
    struct rt_timer t = { .fn = mode_flip };

    the_host = host_make(2, RT_MODE_POLL);
    rt_timer_arm(rt_host_at(the_host, 0), &t, 2 * RT_MS);
    assert_int_equal(rt_host_run(the_host), 0);
    assert_int_equal(rt_mode(rt_host_at(the_host, 1)), RT_MODE_INTERRUPT);
    rt_host_free(the_host);
}

static void test_host_refuses_a_core_that_is_not_there(void **state)
{
    static const int cores[] = { 0, 60000 }, negative[] = { -2 };
    struct rt_conf conf = { .cores = cores, .cores_nr = 2 };
    struct rt_host *h = NULL;

    assert_int_equal(rt_host_new(&h, &conf), -EINVAL);
    conf = (struct rt_conf){ .cores = negative, .cores_nr = 1 };
    assert_int_equal(rt_host_new(&h, &conf), -EINVAL);
    conf = (struct rt_conf){ .cores = cores, .cores_nr = 0 };
    assert_int_equal(rt_host_new(&h, &conf), -EINVAL);
    conf = (struct rt_conf){ .cores = cores, .cores_nr = RT_CORES_MAX + 1 };
    assert_int_equal(rt_host_new(&h, &conf), -EINVAL);
    assert_null(h);
    rt_host_free(NULL);
}

static cpu_set_t seen_on;

static void note_cpu(struct rt_timer *t)
{
    sched_getaffinity(0, sizeof(seen_on), &seen_on);
    rt_host_stop(the_host);
}

static void test_reactor_runs_on_its_core_and_gives_the_thread_back(void **state)
{
    cpu_set_t before, after;
    struct rt_timer t = { .fn = note_cpu };
    struct rt_conf conf;
    int core = 0;

    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET(core, &before))
        core++;
    conf = (struct rt_conf){ .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    assert_int_equal(rt_host_new(&the_host, &conf), 0);
    assert_int_equal(rt_core(rt_host_at(the_host, 0)), core);
    rt_timer_arm(rt_host_at(the_host, 0), &t, 0);
    assert_int_equal(rt_host_run(the_host), 0);
    assert_int_equal(CPU_COUNT(&seen_on), 1);
    assert_true(CPU_ISSET(core, &seen_on));
    assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    rt_host_free(the_host);
}

static void test_stats_tell_sleep_from_work(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt_stats st;

    assert_int_equal(rt_turn(rt_host_at(h, 0), 20 * RT_MS), 0);
    rt_stats(rt_host_at(h, 0), &st);
    assert_true(st.sleep_ns > st.busy_ns);
    assert_true(st.sleeps >= 1);
    assert_int_equal(st.messages, 0);
    rt_host_free(h);
}

static void test_polling_that_never_pays_is_left_off(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_ADAPTIVE);
    struct rt *rt = rt_host_at(h, 0);
    struct counted c = { .m.fn = count_msg };

    for (unsigned i = 1; i < 10000 && !rt->poll_skips; i++) {
        rt_post(rt, &c.m);
        turn_until(rt, &c.count, i);
        assert_int_equal(rt_turn(rt, RT_MS), 0);    /* nothing comes, however long it polls */
    }
    assert_true(rt->poll_skips > 0);
    rt_host_free(h);
}

/* Refused or granted, the host works: it says so and goes on. In a child, as it holds for the process. */
static void test_host_with_locked_memory_works(void **state)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        static const int core = -1;
        const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .lock_memory = true };
        struct rt_host *h = NULL;
        int bad = rt_host_new(&h, &conf) || rt_turn(rt_host_at(h, 0), 0) < 0;
        void *mem = rt_mem_alloc(64u << 20);

        bad |= !mem;
        rt_mem_free(mem, 64u << 20);
        rt_host_free(h);
        _exit(bad);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_random_bytes_differ(void **state)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    uint8_t a[300] = { 0 }, b[300] = { 0 };

    rt_random(rt_host_at(h, 0), a, sizeof(a));
    rt_random(rt_host_at(h, 0), b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_of_one_sender_stay_in_order),
        cmocka_unit_test(test_sleeper_is_woken_in_adaptive_mode),
        cmocka_unit_test(test_sleeper_is_woken_in_interrupt_mode),
        cmocka_unit_test(test_messages_pass_in_poll_mode),
        cmocka_unit_test(test_post_to_oneself_runs_in_a_coming_turn),
        cmocka_unit_test(test_deferred_operation_runs_once_a_turn),
        cmocka_unit_test(test_work_runs_elsewhere_and_returns_here),
        cmocka_unit_test(test_queued_work_runs_before_the_host_is_gone),
        cmocka_unit_test(test_signals_arrive_on_the_reactor),
        cmocka_unit_test(test_signals_refuses_a_number_that_is_none),
        cmocka_unit_test(test_stop_before_run_returns_at_once),
        cmocka_unit_test(test_mode_changes_while_another_core_polls),
        cmocka_unit_test(test_host_refuses_a_core_that_is_not_there),
        cmocka_unit_test(test_reactor_runs_on_its_core_and_gives_the_thread_back),
        cmocka_unit_test(test_stats_tell_sleep_from_work),
        cmocka_unit_test(test_polling_that_never_pays_is_left_off),
        cmocka_unit_test(test_host_with_locked_memory_works),
        cmocka_unit_test(test_random_bytes_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
