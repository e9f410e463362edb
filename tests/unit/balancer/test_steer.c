/*
 * test_steer.c - made-up hosts with sessions of the stock kernel: who is steered where, by what, and what is left alone
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "balancer/steer.h"
#include "tests/unit/balancer/fake_flow.h"
#include "tests/unit/balancer/fake_sys.h"

#define ALL   (1u << BAL_KNOB_WQ | 1u << BAL_KNOB_RECV | 1u << BAL_KNOB_RPS | 1u << BAL_KNOB_FLOW)
#define WQ(n) "sys/devices/virtual/workqueue/iscsi_q_" n "/cpumask"
#define RX0   "sys/class/net/eth0/queues/rx-0/rps_cpus"
#define RX1   "sys/class/net/eth0/queues/rx-1/rps_cpus"
#define FLOW  "flow/eth0/192.0.2.9/3260/192.0.2.1/40000"

struct rig {
    struct fake_sys *f;
    struct fake_card card;
    struct bal_knobs knobs;
    struct bal_core core[128];
    struct bal_steer_conf conf;
    struct bal_log *log;
    struct bal_steer *plan;
    char why[256];
};

static int nic_eth0(const char *addr, char ifname[static 32], int *node, unsigned *queues)
{
    strcpy(ifname, "eth0");
    *node = BAL_NODE_ANY;
    *queues = 2;
    return strncmp(addr, "192.0.2.", 8) ? -ENETUNREACH : 0;
}

static void rig_fill(struct rig *r, void **state, unsigned cores)
{
    memset(r, 0, sizeof(*r));
    r->f = *state;
    fake_put(r->f, RX0, "0");
    fake_put(r->f, RX1, "0");
    fake_put(r->f, BAL_KNOB_RECV_PATH, "N");
    r->knobs = (struct bal_knobs){ r->f->sys, &fake_flow_ops, &r->card };
    assert_int_equal(bal_log_open(&r->log, r->f->root, true, &r->knobs, r->why), 0);
    for (unsigned i = 0; i < cores; i++)
        r->core[i].cpu = (int)i;
    r->conf = (struct bal_steer_conf){ .knobs = &r->knobs,
                                       .log = r->log,
                                       .core = r->core,
                                       .cores = cores,
                                       .policy = BAL_FREE_CORE,
                                       .kinds = ALL,
                                       .nic_of = nic_eth0 };
}

static void rig_plan(struct rig *r)
{
    bal_steer_free(r->plan);
    r->plan = NULL;
    assert_int_equal(bal_steer_plan(&r->plan, &r->conf, r->why), 0);
}

static void rig_end(struct rig *r)
{
    bal_steer_free(r->plan);
    bal_log_close(r->log);
}

/* What the plan makes of a setting; NULL: nothing. */
static const char *value(const struct rig *r, const char *name)
{
    for (unsigned i = 0; i < r->plan->changes; i++)
        if (!strcmp(r->plan->change[i].name, name))
            return r->plan->change[i].value;
    return NULL;
}

static bool noted(const struct rig *r, const char *word)
{
    for (unsigned i = 0; i < r->plan->notes; i++)
        if (strstr(r->plan->note[i], word))
            return true;
    return false;
}

static void told(void *user, const struct bal_steer_change *c, int result, const char *why)
{
    unsigned *n = user;

    n[0] += result == 1;
    n[1] += result < 0;
}

static void apply(struct rig *r, unsigned made, unsigned failed)
{
    unsigned n[2] = { 0 };

    assert_int_equal(bal_steer_apply(r->plan, r->log, told, n), failed);
    assert_int_equal(n[0], made);
    assert_int_equal(n[1], failed);
}

static void test_steer_two_sessions_get_two_cores_and_all_goes_back(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    rig_plan(&r);
    assert_int_equal(r.plan->seats, 2);
    assert_int_equal(r.plan->seat[0].cpu, 0);
    assert_int_equal(r.plan->seat[1].cpu, 1);
    assert_string_equal(r.plan->seat[0].nic, "eth0");
    assert_string_equal(value(&r, WQ("3")), "1");
    assert_string_equal(value(&r, WQ("4")), "2");
    assert_string_equal(value(&r, RX0), "3"); /* both cores, as nobody knows which flow comes by which queue */
    assert_string_equal(value(&r, RX1), "3");
    assert_string_equal(value(&r, BAL_KNOB_RECV_PATH), "Y");
    assert_int_equal(r.plan->changes, 5);
    assert_string_equal(fake_get(r.f, WQ("3")), "f"); /* a plan changes nothing */
    apply(&r, 5, 0);
    assert_string_equal(fake_get(r.f, WQ("4")), "2");
    assert_int_equal(bal_log_undo(r.log, false, NULL, NULL, r.why), 0);
    assert_string_equal(fake_get(r.f, WQ("3")), "f");
    assert_string_equal(fake_get(r.f, WQ("4")), "f");
    assert_string_equal(fake_get(r.f, RX0), "0");
    assert_string_equal(fake_get(r.f, RX1), "0");
    assert_string_equal(fake_get(r.f, BAL_KNOB_RECV_PATH), "N");
    rig_end(&r);
}

static void test_steer_again_changes_nothing_and_a_new_session_joins(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    rig_plan(&r);
    assert_string_equal(value(&r, RX0), "1");
    apply(&r, 4, 0);
    rig_plan(&r);
    assert_int_equal(r.plan->changes, 0);
    assert_true(r.plan->seat[0].kept);
    assert_non_null(strstr(r.plan->seat[0].why, "since it was steered"));
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    rig_plan(&r);
    assert_int_equal(r.plan->seat[1].cpu, 1);
    assert_string_equal(value(&r, RX0), "3"); /* our own steering grows */
    apply(&r, 3, 0);
    assert_int_equal(bal_log_undo(r.log, false, NULL, NULL, r.why), 0);
    assert_string_equal(fake_get(r.f, RX0), "0");
    rig_end(&r);
}

static void test_steer_what_an_administrator_has_set_is_kept(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_put(r.f, RX0, "c");
    fake_session(r.f, 1, 3, "192.0.2.9", "1");  /* on one core: it stays, and counts */
    fake_session(r.f, 2, 4, "192.0.2.9", "3");  /* on some: one of them */
    fake_session(r.f, 3, 5, "192.0.2.9", "30"); /* on none that there is to choose from */
    rig_plan(&r);
    assert_true(r.plan->seat[0].kept);
    assert_non_null(strstr(r.plan->seat[0].why, "not by us"));
    assert_null(value(&r, WQ("3")));
    assert_int_equal(r.plan->seat[1].cpu, 1);
    assert_int_equal(r.plan->seat[2].cpu, -1);
    assert_non_null(strstr(r.plan->seat[2].why, "4-5"));
    assert_null(value(&r, WQ("5")));
    assert_null(value(&r, RX0));
    assert_true(noted(&r, "rx-0/rps_cpus is in use (c)"));
    assert_string_equal(value(&r, RX1), "3");
    rig_end(&r);
}

static void test_steer_what_somebody_changed_since_is_left_alone(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    rig_plan(&r);
    apply(&r, 4, 0);
    fake_put(r.f, WQ("3"), "e");
    fake_put(r.f, RX0, "8");
    rig_plan(&r);
    assert_null(value(&r, WQ("3")));
    assert_null(value(&r, RX0));
    assert_true(noted(&r, "iscsi_q_3/cpumask: somebody else"));
    assert_true(noted(&r, "rx-0/rps_cpus: somebody else"));
    rig_end(&r);
}

static void test_steer_by_flow_filters_where_the_card_has_them(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    r.card.queues = 2;
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_put(r.f, "sys/class/net/eth0/device/msi_irqs/40", "msix");
    fake_dirs(r.f, "proc/irq/40/eth0-TxRx-1/");
    fake_put(r.f, "proc/irq/40/smp_affinity_list", "0");
    rig_plan(&r);
    assert_string_equal(value(&r, FLOW), "1");
    assert_null(value(&r, RX0)); /* no need of it */
    assert_int_equal(r.plan->changes, 3);
    apply(&r, 3, 0);
    assert_int_equal(r.card.nr, 1);
    fake_session(r.f, 2, 4, "192.0.2.9", "f"); /* its core has no queue of its own */
    rig_plan(&r);
    assert_int_equal(r.plan->seat[1].cpu, 1);
    assert_string_equal(value(&r, RX0), "2");
    r.card.queues = 1; /* the queue is not among those that filters may name */
    fake_session(r.f, 3, 5, "192.0.2.10", "1");
    rig_plan(&r);
    assert_string_equal(value(&r, RX0), "3");
    r.card.queues = 2;
    assert_int_equal(bal_log_undo(r.log, false, NULL, NULL, r.why), 0);
    assert_int_equal(r.card.nr, 0);
    rig_end(&r);
}

/* Without the local port a filter would take both sessions to that portal. */
static void test_steer_no_filter_that_two_sessions_would_share(void **state)
{
    struct rig r;

    rig_fill(&r, state, 1);
    r.card.queues = 2;
    fake_put(r.f, "sys/class/net/eth0/device/msi_irqs/40", "msix");
    fake_dirs(r.f, "proc/irq/40/eth0-TxRx-1/");
    fake_put(r.f, "proc/irq/40/smp_affinity_list", "0");
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_put(r.f, "sys/class/iscsi_connection/connection1:0/local_port", "0");
    rig_plan(&r);
    assert_string_equal(value(&r, "flow/eth0/192.0.2.9/3260/*/*"), "1"); /* alone: it may */
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    fake_put(r.f, "sys/class/iscsi_connection/connection2:0/local_port", "0");
    rig_plan(&r);
    assert_null(value(&r, "flow/eth0/192.0.2.9/3260/*/*"));
    assert_string_equal(value(&r, RX0), "1");
    rig_end(&r);
}

/* It came back from another port: the old connection's filter goes. And with the last session all that its card had. */
static void test_steer_what_nobody_needs_any_more_goes_back(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    r.card.queues = 2;
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    fake_put(r.f, "sys/class/iscsi_connection/connection2:0/local_port", "40001");
    fake_put(r.f, "sys/class/net/eth0/device/msi_irqs/40", "msix");
    fake_dirs(r.f, "proc/irq/40/eth0-TxRx-1/");
    fake_put(r.f, "proc/irq/40/smp_affinity_list", "0");
    rig_plan(&r);
    apply(&r, 6, 0); /* a filter for the first, packet steering for the second */
    assert_string_equal(fake_get(r.f, RX0), "2");
    fake_put(r.f, "sys/class/iscsi_connection/connection1:0/local_port", "50000");
    rig_plan(&r);
    assert_int_equal(r.plan->changes, 2);
    assert_string_equal(value(&r, FLOW), "");
    assert_string_equal(value(&r, "flow/eth0/192.0.2.9/3260/192.0.2.1/50000"), "1");
    apply(&r, 2, 0);
    assert_int_equal(r.card.nr, 1);
    assert_int_equal(r.card.flow[0].dst_port, 50000);
    assert_int_equal(bal_log_look(r.log, FLOW), -ENOENT);
    fake_remove(r.f, "sys/class/iscsi_session/session2");
    fake_remove(r.f, WQ("4"));
    rig_plan(&r);
    assert_string_equal(value(&r, RX0), "0");
    apply(&r, 2, 0);
    assert_string_equal(fake_get(r.f, RX0), "0");
    assert_int_equal(r.card.nr, 1);
    r.conf.kinds &= ~(1u << BAL_KNOB_FLOW); /* not asked about filters: they stay */
    fake_remove(r.f, "sys/class/iscsi_session/session1");
    rig_plan(&r);
    assert_int_equal(r.plan->changes, 0);
    rig_end(&r);
}

/* Who is asked anew sets it anew; who only watches does not fight with an administrator. */
static void test_steer_what_somebody_put_back_stays_so_while_watching(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    rig_plan(&r);
    apply(&r, 4, 0);
    fake_put(r.f, WQ("3"), "f");
    r.conf.watching = true;
    rig_plan(&r);
    assert_null(value(&r, WQ("3")));
    assert_true(noted(&r, "iscsi_q_3/cpumask: somebody else"));
    r.conf.watching = false;
    rig_plan(&r);
    assert_string_equal(value(&r, WQ("3")), "1");
    rig_end(&r);
}

static void test_steer_only_what_was_asked_for(void **state)
{
    static const struct {
        enum bal_knob kind;
        unsigned changes;
    } cases[] = { { BAL_KNOB_WQ, 1 }, { BAL_KNOB_RECV, 1 }, { BAL_KNOB_RPS, 2 }, { BAL_KNOB_FLOW, 0 } };
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        r.conf.kinds = 1u << cases[i].kind;
        rig_plan(&r);
        assert_int_equal(r.plan->changes, cases[i].changes);
    }
    rig_end(&r);
}

static void test_steer_leaves_alone_who_is_not_steerable(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_put(r.f, "sys/devices/platform/host3/session1/iscsi_session/session1/state", "FREE");
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    fake_put(r.f, "sys/class/scsi_host/host4/proc_name", "ib_iser");
    fake_session(r.f, 3, 5, "192.0.2.9", NULL); /* a kernel without the queue's file */
    fake_session(r.f, 4, 6, "192.0.2.9", "nonsense");
    rig_plan(&r);
    assert_int_equal(r.plan->changes, 0);
    assert_int_equal(r.plan->pending, 1);
    assert_true(r.plan->seat[0].pending);
    assert_non_null(strstr(r.plan->seat[1].why, "ib_iser"));
    assert_non_null(strstr(r.plan->seat[2].why, "iscsi_q_5"));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(r.plan->seat[i].cpu, -1);
    rig_end(&r);
}

static void test_steer_an_older_kernel_and_an_unknown_interface(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_remove(r.f, BAL_KNOB_RECV_PATH);
    fake_session(r.f, 1, 3, "198.51.100.9", "f"); /* nobody knows the way there */
    rig_plan(&r);
    assert_int_equal(r.plan->changes, 1);
    assert_true(noted(&r, "no recv_from_iscsi_q"));
    assert_true(noted(&r, "session 1: which network interface"));
    r.conf.nic_of = NULL;
    fake_put(r.f, "sys/class/iscsi_host/host3/netdev", "eth0"); /* it is bound to one */
    rig_plan(&r);
    assert_string_equal(value(&r, RX0), "1");
    rig_end(&r);
}

static void test_steer_on_96_cpus_and_no_isolated_ones(void **state)
{
    struct rig r;

    rig_fill(&r, state, 96);
    for (unsigned i = 0; i < 96; i++)
        r.core[i].cpu = 95 - (int)i; /* the order of preference is the caller's */
    fake_session(r.f, 1, 3, "192.0.2.9", "ffffffff,ffffffff,ffffffff");
    fake_session(r.f, 2, 4, "192.0.2.9", "ffffffff,ffffffff,ffffffff");
    rig_plan(&r);
    assert_string_equal(value(&r, WQ("3")), "80000000,00000000,00000000");
    assert_string_equal(value(&r, WQ("4")), "40000000,00000000,00000000");
    assert_string_equal(value(&r, RX0), "c0000000,00000000,00000000");
    apply(&r, 5, 0);
    assert_int_equal(bal_log_undo(r.log, false, NULL, NULL, r.why), 0);
    assert_string_equal(fake_get(r.f, WQ("3")), "ffffffff,ffffffff,ffffffff");
    rig_end(&r);
}

static void test_steer_siblings_last(void **state)
{
    struct bal_topo *topo = NULL;
    struct rig r;

    rig_fill(&r, state, 4);
    assert_int_equal(bal_topo_new(&topo, "pack:1 core:2 pu:2", r.why), 0);
    r.conf.topo = topo;
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    fake_session(r.f, 2, 4, "192.0.2.9", "f");
    rig_plan(&r);
    assert_int_not_equal(bal_topo_pu(topo, r.plan->seat[0].cpu)->core,
                         bal_topo_pu(topo, r.plan->seat[1].cpu)->core);
    rig_end(&r);
    bal_topo_free(topo);
}

static void test_steer_without_sessions_there_is_nothing_to_do(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    rig_plan(&r);
    assert_int_equal(r.plan->seats, 0);
    assert_int_equal(r.plan->changes, 0);
    assert_int_equal(r.plan->notes, 0);
    rig_end(&r);
}

/* What cannot be written is told, and the rest is done. */
static void test_steer_a_setting_that_went_meanwhile(void **state)
{
    struct rig r;

    rig_fill(&r, state, 4);
    fake_session(r.f, 1, 3, "192.0.2.9", "f");
    rig_plan(&r);
    fake_remove(r.f, WQ("3"));
    apply(&r, 3, 1);
    assert_int_equal(bal_log_undo(r.log, false, NULL, NULL, r.why), 0);
    assert_string_equal(fake_get(r.f, RX0), "0");
    rig_end(&r);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        T(test_steer_two_sessions_get_two_cores_and_all_goes_back),
        T(test_steer_again_changes_nothing_and_a_new_session_joins),
        T(test_steer_what_an_administrator_has_set_is_kept),
        T(test_steer_what_somebody_changed_since_is_left_alone),
        T(test_steer_by_flow_filters_where_the_card_has_them),
        T(test_steer_no_filter_that_two_sessions_would_share),
        T(test_steer_what_nobody_needs_any_more_goes_back),
        T(test_steer_what_somebody_put_back_stays_so_while_watching),
        T(test_steer_only_what_was_asked_for),
        T(test_steer_leaves_alone_who_is_not_steerable),
        T(test_steer_an_older_kernel_and_an_unknown_interface),
        T(test_steer_on_96_cpus_and_no_isolated_ones),
        T(test_steer_siblings_last),
        T(test_steer_without_sessions_there_is_nothing_to_do),
        T(test_steer_a_setting_that_went_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
