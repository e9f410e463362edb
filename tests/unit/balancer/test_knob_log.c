/*
 * test_knob_log.c - changed kernel settings are put back, whatever came between
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/wait.h>

#include "balancer/knob_log.h"
#include "tests/unit/balancer/fake_flow.h"
#include "tests/unit/balancer/fake_sys.h"

#define WQ1  "sys/devices/virtual/workqueue/iscsi_q_1/cpumask"
#define WQ2  "sys/devices/virtual/workqueue/iscsi_q_2/cpumask"
#define RPS  "sys/class/net/eth0/queues/rx-0/rps_cpus"
#define RECV BAL_KNOB_RECV_PATH
#define FLOW "flow/eth0/192.0.2.9/3260/192.0.2.1/40000"
#define BOOT "proc/sys/kernel/random/boot_id"

struct rig {
    struct fake_sys *f;
    struct fake_card card;
    struct bal_knobs knobs;
    struct bal_log *log;
    char why[256];
};

static void rig_open(struct rig *r)
{
    assert_int_equal(bal_log_open(&r->log, r->f->root, true, &r->knobs, r->why), 0);
}

/* As another process that comes later. */
static void rig_again(struct rig *r)
{
    bal_log_close(r->log);
    r->log = NULL;
    rig_open(r);
}

static struct rig rig_make(void **state)
{
    struct rig r = { .f = *state, .card = { .queues = 4 } };

    fake_put(r.f, WQ1, "0000,0000000f");
    fake_put(r.f, WQ2, "ff");
    fake_put(r.f, RPS, "00");
    fake_put(r.f, RECV, "N");
    fake_put(r.f, BOOT, "b00t");
    return r;
}
#define RIG(r)                                                                                                 \
    struct rig r = rig_make(state);                                                                            \
    r.knobs = (struct bal_knobs){ r.f->sys, &fake_flow_ops, &r.card };                                         \
    rig_open(&r)

static void set(struct rig *r, const char *name, const char *value, int want)
{
    assert_int_equal(bal_log_set(r->log, name, value, "a test", r->why), want);
}

struct seen {
    enum bal_log_state state[8];
    char name[8][64], now[8][64];
    unsigned nr;
};
static void see(void *user, const struct bal_log_view *v)
{
    struct seen *s = user;

    assert_true(s->nr < 8);
    s->state[s->nr] = v->state;
    snprintf(s->name[s->nr], 64, "%s", v->name);
    snprintf(s->now[s->nr++], 64, "%s", v->now);
}

static int undo(struct rig *r, bool force, struct seen *s)
{
    memset(s, 0, sizeof(*s));
    return bal_log_undo(r->log, force, see, s, r->why);
}

static long log_size(const struct rig *r)
{
    char path[768];
    struct stat st;

    fake_path(r->f, BAL_LOG_FILE, path);
    assert_int_equal(stat(path, &st), 0);
    return (long)st.st_size;
}

static void test_log_puts_everything_back_to_the_byte(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    set(&r, WQ2, "4", 1);
    set(&r, RPS, "6", 1);
    set(&r, RECV, "Y", 1);
    set(&r, FLOW, "3", 1);
    assert_string_equal(fake_get(r.f, WQ1), "2");
    assert_int_equal(r.card.nr, 1);
    assert_int_equal(bal_log_each(r.log, NULL, NULL), 0);
    rig_again(&r);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_int_equal(s.nr, 5);
    assert_string_equal(s.name[0], FLOW); /* the last one first */
    assert_string_equal(s.name[4], WQ1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(s.state[i], BAL_LOG_BACK);
    assert_string_equal(fake_get(r.f, WQ1), "0000,0000000f");
    assert_string_equal(fake_get(r.f, WQ2), "ff");
    assert_string_equal(fake_get(r.f, RPS), "00");
    assert_string_equal(fake_get(r.f, RECV), "N");
    assert_int_equal(r.card.nr, 0);
    assert_int_equal(log_size(&r), 0);
    assert_int_equal(undo(&r, false, &s), 0); /* again: nothing to do */
    assert_int_equal(s.nr, 0);
    bal_log_close(r.log);
}

static void test_log_a_chain_of_changes_goes_back_to_the_first_value(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, RPS, "1", 1);
    set(&r, RPS, "3", 1);
    set(&r, RPS, "3", 0); /* has it already */
    set(&r, RPS, "00000003", 0);
    rig_again(&r);
    set(&r, RPS, "1", 1);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_int_equal(s.nr, 1);
    assert_string_equal(fake_get(r.f, RPS), "00");
    bal_log_close(r.log);
}

static void test_log_what_somebody_else_set_is_left_alone(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    set(&r, WQ2, "4", 1);
    fake_put(r.f, WQ1, "8");
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_int_equal(s.state[0], BAL_LOG_DRIFT);
    assert_string_equal(s.now[0], "8");
    assert_int_equal(s.state[1], BAL_LOG_HOLDS);
    assert_int_equal(bal_log_look(r.log, WQ1), BAL_LOG_DRIFT);
    assert_int_equal(bal_log_look(r.log, WQ2), BAL_LOG_HOLDS);
    assert_int_equal(bal_log_look(r.log, RPS), -ENOENT);
    set(&r, WQ1, "1", -EEXIST);
    assert_non_null(strstr(r.why, "somebody else"));
    assert_int_equal(undo(&r, false, &s), 1);
    assert_string_equal(fake_get(r.f, WQ1), "8");
    assert_string_equal(fake_get(r.f, WQ2), "ff");
    rig_again(&r);
    assert_int_equal(undo(&r, false, &s), 1); /* still */
    assert_int_equal(undo(&r, true, &s), 0);
    assert_string_equal(fake_get(r.f, WQ1), "0000,0000000f");
    bal_log_close(r.log);
}

static void test_log_nonsense_in_a_setting_is_drift(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, RECV, "Y", 1);
    fake_put(r.f, RECV, "");
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_int_equal(s.state[0], BAL_LOG_DRIFT);
    fake_put(r.f, RECV, "perhaps\x1b[2J\xff");
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_string_equal(s.now[0], "perhaps?[2J?"); /* nothing for a terminal */
    fake_put(r.f, RECV, "perhaps");
    assert_int_equal(undo(&r, false, &s), 1);
    assert_string_equal(fake_get(r.f, RECV), "perhaps");
    assert_int_equal(undo(&r, true, &s), 0);
    assert_string_equal(fake_get(r.f, RECV), "N");
    bal_log_close(r.log);
}

static void test_log_what_was_put_back_by_hand_is_done(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    fake_put(r.f, WQ1, "f"); /* what it was, in other words */
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_int_equal(s.state[0], BAL_LOG_BACK);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_string_equal(fake_get(r.f, WQ1), "f");
    bal_log_close(r.log);
}

/* The session ended, and another has its number now: its setting was never ours. */
static void test_log_another_object_of_the_same_name_is_not_touched(void **state)
{
    char from[768], to[768];
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    fake_put(r.f, "sys/new", "ff");
    fake_path(r.f, "sys/new", from);
    fake_path(r.f, WQ1, to);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_int_equal(s.state[0], BAL_LOG_GONE);
    assert_int_equal(bal_log_look(r.log, WQ1), -ENOENT);
    set(&r, WQ1, "4", 1); /* the new one's own first change */
    assert_int_equal(bal_log_look(r.log, WQ1), BAL_LOG_HOLDS);
    assert_int_equal(undo(&r, true, &s), 0);
    assert_int_equal(s.nr, 2);
    assert_int_equal(s.state[0], BAL_LOG_BACK);
    assert_int_equal(s.state[1], BAL_LOG_GONE);
    assert_string_equal(fake_get(r.f, WQ1), "ff");
    bal_log_close(r.log);
}

static void test_log_a_restart_of_the_host_ends_all_of_it(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    set(&r, RECV, "Y", 1);
    fake_put(r.f, BOOT, "another");
    rig_again(&r);
    assert_int_equal(bal_log_look(r.log, RECV), -ENOENT);
    assert_int_equal(undo(&r, true, &s), 0);
    assert_int_equal(s.state[0], BAL_LOG_GONE);
    assert_string_equal(fake_get(r.f, WQ1), "2"); /* not ours any more */
    assert_int_equal(log_size(&r), 0);
    bal_log_close(r.log);
}

static void test_log_forgets_what_is_gone(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    set(&r, WQ2, "2", 1);
    fake_remove(r.f, WQ1);
    assert_int_equal(bal_log_prune(r.log, r.why), 0);
    rig_again(&r);
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 0);
    assert_int_equal(s.nr, 1);
    assert_string_equal(s.name[0], WQ2);
    bal_log_close(r.log);
}

static void test_log_refusals_change_nothing(void **state)
{
    struct seen s;
    char path[768];

    RIG(r);
    set(&r, "sys/kernel/mm/ksm/run", "1", -EINVAL);
    set(&r, WQ1, "0", -EINVAL);
    set(&r, WQ1, "1;2", -EINVAL);
    set(&r, "sys/devices/virtual/workqueue/iscsi_q_9/cpumask", "1", -ENOENT);
    fake_put(r.f, WQ2, "not a mask");
    set(&r, WQ2, "1", -EBADMSG);
    fake_path(r.f, WQ1, path);
    if (geteuid()) { /* root may do it all the same */
        assert_int_equal(chmod(path, 0400), 0);
        set(&r, WQ1, "1", -EACCES);
        assert_non_null(strstr(r.why, "refused"));
    }
    r.card.nr = FAKE_FLOWS;
    memset(r.card.flow, 0, sizeof(r.card.flow));
    set(&r, FLOW, "1", -ENOSPC); /* announced, refused by the card: forgotten again */
    assert_non_null(strstr(r.why, "refused"));
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 0);
    assert_int_equal(s.nr, 0);
    assert_int_equal(log_size(&r), 0);
    bal_log_close(r.log);
}

/* What cannot be put back now stays in the journal, and the rest is put back. */
static void test_log_undo_that_is_refused_is_tried_again(void **state)
{
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    set(&r, FLOW, "1", 1);
    set(&r, WQ2, "2", 1);
    r.card.refusal = -EPERM;
    set(&r, FLOW, "2", -EPERM);
    assert_int_equal(bal_log_look(r.log, FLOW), BAL_LOG_HOLDS); /* it has the value of before */
    assert_int_equal(undo(&r, false, &s), 1);
    assert_int_equal(s.nr, 3);
    assert_int_equal(s.state[1], BAL_LOG_FAILED);
    assert_string_equal(fake_get(r.f, WQ1), "0000,0000000f");
    assert_string_equal(fake_get(r.f, WQ2), "ff");
    r.card.refusal = 0;
    rig_again(&r);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_int_equal(s.nr, 1);
    assert_int_equal(r.card.nr, 0);
    assert_int_equal(log_size(&r), 0);
    bal_log_close(r.log);
}

static void die(void)
{
    _exit(7);
}

/* Killed between journal and setting. */
static void test_log_a_crash_before_the_write_leaves_nothing_to_do(void **state)
{
    struct seen s;
    pid_t pid;
    int rc;

    RIG(r);
    set(&r, WQ1, "2", 1);
    bal_log_close(r.log);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        r.card.on_add = die;
        if (!bal_log_open(&r.log, r.f->root, true, &r.knobs, r.why))
            bal_log_set(r.log, FLOW, "1", "a test", r.why);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &rc, 0), pid);
    assert_int_equal(WEXITSTATUS(rc), 7);
    rig_open(&r); /* its lock went with it */
    assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 1);
    assert_string_equal(s.name[1], FLOW);
    assert_int_equal(s.state[1], BAL_LOG_BACK);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_string_equal(fake_get(r.f, WQ1), "0000,0000000f");
    bal_log_close(r.log);
}

static void journal_add(const struct rig *r, const char *text)
{
    char path[768];
    FILE *out;

    fake_path(r->f, BAL_LOG_FILE, path);
    assert_non_null(out = fopen(path, "a"));
    fputs(text, out);
    fclose(out);
}

static void journal_line(const struct rig *r, const char *old, const char *new)
{
    char line[512], path[768];
    struct stat st;

    fake_path(r->f, WQ1, path);
    assert_int_equal(stat(path, &st), 0);
    snprintf(line, sizeof(line),
             "{\"op\":\"set\",\"name\":\"" WQ1
             "\",\"id\":%llu,\"boot\":\"b00t\",\"time\":1,\"old\":\"%s\",\"new\":\"%s\","
             "\"why\":\"\"}\n",
             (unsigned long long)st.st_ino, old, new);
    journal_add(r, line);
}

/* At each point of a second change: announced and not written; written. */
static void test_log_a_crash_in_a_chain_still_goes_back_to_the_first_value(void **state)
{
    struct seen s;

    RIG(r);
    for (unsigned written = 0; written < 2; written++) {
        set(&r, WQ1, "2", 1);
        bal_log_close(r.log);
        journal_line(&r, "2", "4");
        if (written)
            fake_put(r.f, WQ1, "4");
        rig_open(&r);
        assert_int_equal(bal_log_look(r.log, WQ1), written ? BAL_LOG_HOLDS : BAL_LOG_EARLIER);
        assert_int_equal(undo(&r, false, &s), 0);
        assert_string_equal(fake_get(r.f, WQ1), "0000,0000000f");
    }
    bal_log_close(r.log);
}

/* The journal's last line at each length that a crash may leave. */
static void test_log_a_line_cut_off_was_never_carried_out(void **state)
{
    static const char line[] =
        "{\"op\":\"set\",\"name\":\"" RECV "\",\"id\":1,\"boot\":\"b00t\",\"time\":1,\"old\":\"N\","
        "\"new\":\"Y\",\"why\":\"\"}";
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    bal_log_close(r.log);
    for (size_t len = 1; len < sizeof(line); len++) {
        char cut[sizeof(line)], path[768];
        long before;

        snprintf(cut, len + 1, "%s", line);
        before = log_size(&r);
        journal_add(&r, cut);
        rig_open(&r);
        assert_int_equal(bal_log_each(r.log, see, memset(&s, 0, sizeof(s))), 0);
        assert_int_equal(s.nr, 1);
        bal_log_close(r.log);
        fake_path(r.f, BAL_LOG_FILE, path);
        assert_int_equal(truncate(path, before), 0);
    }
    journal_add(&r, "{\"op\":\"set\",\"na");
    rig_open(&r);
    set(&r, WQ2, "1", 1); /* takes the place of the piece */
    rig_again(&r);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_int_equal(s.nr, 2);
    bal_log_close(r.log);
}

static void test_log_refuses_a_journal_that_is_not_ours(void **state)
{
    static const char *const bad[] = {
        "nonsense\n",
        "[]\n",
        "{}\n",
        "\n",
        "{\"op\":\"set\",\"name\":\"sys/kernel/uevent_helper\",\"id\":1,\"boot\":\"\",\"old\":\"/bin/"
        "sh\",\"new\":\"\"}\n",
        "{\"op\":\"set\",\"name\":\"proc/sys/kernel/"
        "core_pattern\",\"id\":1,\"boot\":\"\",\"old\":\"|x\",\"new\":\"y\"}\n",
        "{\"op\":\"set\",\"name\":\"" WQ1 "\",\"id\":1,\"boot\":\"\",\"old\":\"0\",\"new\":\"1\"}\n",
        "{\"op\":\"set\",\"name\":\"" WQ1 "\",\"id\":1,\"boot\":\"\",\"old\":\"1\"}\n",
        "{\"op\":\"set\",\"name\":\"" WQ1 "\",\"id\":\"1\",\"boot\":\"\",\"old\":\"1\",\"new\":\"1\"}\n",
        "{\"op\":\"set\",\"op\":\"end\",\"name\":\"" WQ1
        "\",\"id\":1,\"boot\":\"\",\"old\":\"1\",\"new\":\"1\"}\n",
        "{\"op\":\"run\",\"name\":\"" WQ1 "\",\"id\":1,\"boot\":\"\"}\n",
        "{\"op\":\"set\",\"name\":\"sys/devices/virtual/workqueue/iscsi_q_1/../x/"
        "cpumask\",\"id\":1,\"boot\":\"\",\"old\":"
        "\"1\",\"new\":\"1\"}\n",
    };
    struct bal_log *l = NULL;
    char path[768];

    RIG(r);
    set(&r, WQ2, "1", 1);
    bal_log_close(r.log);
    fake_path(r.f, BAL_LOG_FILE, path);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const long before = log_size(&r);

        journal_add(&r, bad[i]);
        assert_int_equal(bal_log_open(&l, r.f->root, true, &r.knobs, r.why), -EBADMSG);
        assert_non_null(strstr(r.why, "line 2"));
        assert_int_equal(bal_log_open(&l, r.f->root, false, &r.knobs, r.why), -EBADMSG);
        assert_null(l);
        assert_int_equal(truncate(path, before), 0);
    }
    assert_int_equal(unlink(path), 0);
    fake_link(r.f, BAL_LOG_FILE, WQ2); /* nor is a link followed */
    assert_int_equal(bal_log_open(&l, r.f->root, true, &r.knobs, r.why), -ELOOP);
    assert_string_equal(fake_get(r.f, WQ2), "1");
}

static void test_log_one_writer_at_a_time_and_lookers_besides(void **state)
{
    struct bal_log *l = NULL;
    struct seen s;

    RIG(r);
    set(&r, WQ1, "2", 1);
    assert_int_equal(bal_log_open(&l, r.f->root, true, &r.knobs, r.why), -EBUSY);
    assert_non_null(strstr(r.why, "another"));
    assert_int_equal(bal_log_open(&l, r.f->root, false, &r.knobs, r.why), 0);
    assert_int_equal(bal_log_each(l, see, memset(&s, 0, sizeof(s))), 0);
    assert_int_equal(s.nr, 1);
    assert_int_equal(bal_log_set(l, WQ2, "1", "", r.why), -EINVAL); /* it may only look */
    bal_log_close(l);
    bal_log_close(r.log);
    fake_remove(r.f, BAL_LOG_FILE);
    assert_int_equal(bal_log_open(&l, r.f->root, false, &r.knobs, r.why),
                     0); /* none: nothing, and none is made */
    assert_int_equal(bal_log_each(l, NULL, NULL), 0);
    bal_log_close(l);
    assert_int_equal(bal_log_open(&l, "/nonexistent", true, &r.knobs, r.why), -ENOENT);
}

/* A setting that goes to and fro for weeks must not fill the disk. */
static void test_log_stays_small(void **state)
{
    struct seen s;
    long most = 0;

    RIG(r);
    set(&r, WQ2, "1", 1);
    for (unsigned i = 0; i < 6000; i++) {
        set(&r, RPS, i % 2 ? "1" : "2", 1);
        most = log_size(&r) > most ? log_size(&r) : most;
    }
    assert_true(most < 2 << 20);
    rig_again(&r);
    assert_int_equal(undo(&r, false, &s), 0);
    assert_int_equal(s.nr, 2);
    assert_string_equal(fake_get(r.f, RPS), "00");
    assert_string_equal(fake_get(r.f, WQ2), "ff");
    bal_log_close(r.log);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        T(test_log_puts_everything_back_to_the_byte),
        T(test_log_a_chain_of_changes_goes_back_to_the_first_value),
        T(test_log_what_somebody_else_set_is_left_alone),
        T(test_log_nonsense_in_a_setting_is_drift),
        T(test_log_what_was_put_back_by_hand_is_done),
        T(test_log_another_object_of_the_same_name_is_not_touched),
        T(test_log_a_restart_of_the_host_ends_all_of_it),
        T(test_log_forgets_what_is_gone),
        T(test_log_refusals_change_nothing),
        T(test_log_undo_that_is_refused_is_tried_again),
        T(test_log_a_crash_before_the_write_leaves_nothing_to_do),
        T(test_log_a_crash_in_a_chain_still_goes_back_to_the_first_value),
        T(test_log_a_line_cut_off_was_never_carried_out),
        T(test_log_refuses_a_journal_that_is_not_ours),
        T(test_log_one_writer_at_a_time_and_lookers_besides),
        T(test_log_stays_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
