/*
 * test_history.c - the oracle by itself: what it must accept, and what it must not
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/history.h"
#include "tests/sim/history_pr.h"

static unsigned fails;
static char last[5000];

static void on_fail(void *user, const char *what)
{
    (void)user;
    fails++;
    snprintf(last, sizeof(last), "%s", what);
}

static struct hist *make(uint32_t sectors, bool volatile_mem)
{
    const struct hist_conf conf = { .sectors = sectors, .volatile_mem = volatile_mem, .fail = on_fail };
    struct hist *h = hist_new(&conf);

    assert_non_null(h);
    fails = 0;
    return h;
}

static void end(struct hist *h, bool good)
{
    if (good && fails)
        fail_msg("%s", last);
    if (!good && !fails)
        fail_msg("it was accepted");
    hist_free(h);
}

static void write_all(struct hist *h, uint64_t value, bool stable)
{
    hist_write_end(h, hist_write_begin(h, 0, 0, 1, value, stable), HIST_ACKED);
}

static void read_all(struct hist *h, uint64_t value)
{
    struct hist_read r;

    hist_read_begin(h, &r);
    hist_read_end(h, &r, 0, 1, &value);
}

static struct hist_write *caw(struct hist *h, unsigned nexus, uint64_t from, uint64_t to)
{
    return hist_caw_begin(h, nexus, 0, 1, &from, to, false);
}

/* ---- reads and writes ------------------------------------------------------------------------------------ */

static void test_a_write_is_read(void **state)
{
    struct hist *h = make(1, false);

    read_all(h, HIST_ZERO);
    write_all(h, 1, false);
    read_all(h, 1);
    write_all(h, 2, false);
    read_all(h, 2);
    end(h, true);
}

static void test_a_lost_write_is_found(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    write_all(h, 2, false);
    read_all(h, 1);
    end(h, false);
}

static void test_what_was_never_written_is_found(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    read_all(h, 7);
    end(h, false);
}

static void test_a_write_under_way_may_be_read_and_then_stays(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *w = hist_write_begin(h, 0, 0, 1, 1, false);

        read_all(h, HIST_ZERO);
        read_all(h, 1);
        read_all(h, good ? 1 : HIST_ZERO);
        hist_write_end(h, w, HIST_ACKED);
        end(h, good);
    }
}

static void test_an_early_acknowledgement_is_found(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    read_all(h, HIST_ZERO);
    end(h, false);
}

/* Two writes side by side are in one order for everybody. */
static void test_readers_agree_on_an_order(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *a = hist_write_begin(h, 0, 0, 1, 1, false),
                          *b = hist_write_begin(h, 1, 0, 1, 2, false);

        hist_write_end(h, a, HIST_ACKED);
        hist_write_end(h, b, HIST_ACKED);
        read_all(h, 1);
        read_all(h, 1);
        if (!good)
            read_all(h, 2);
        end(h, good);
    }
}

static void test_zeroes_by_several(void **state)
{
    struct hist *h = make(1, false);
    struct hist_write *a, *b;

    write_all(h, 1, false);
    a = hist_write_begin(h, 0, 0, 1, HIST_ZERO, false);
    b = hist_write_begin(h, 1, 0, 1, HIST_ZERO, false);
    read_all(h, HIST_ZERO);
    hist_write_end(h, a, HIST_ACKED);
    hist_write_end(h, b, HIST_ACKED);
    read_all(h, HIST_ZERO);
    assert_int_equal(fails, 0);
    read_all(h, 1);
    end(h, false);
}

/* ---- writes that failed ---------------------------------------------------------------------------------- */

static void test_a_failed_write_may_land_until_its_session_is_replaced(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *w = hist_write_begin(h, 3, 0, 1, 1, false);

        write_all(h, 2, false);
        hist_write_end(h, w, HIST_LATER);
        write_all(h, 3, false);
        read_all(h, 3);
        if (good)
            read_all(h, 1);
        hist_nexus_up(h, 3);
        if (!good) {
            read_all(h, 3);
            read_all(h, 1); /* a ghost */
        } else {
            read_all(h, 1);
        }
        end(h, good);
    }
}

static void test_a_refused_write_is_not_there(void **state)
{
    struct hist *h = make(1, false);
    struct hist_write *w = hist_write_begin(h, 0, 0, 1, 1, false);

    hist_write_end(h, w, HIST_NOT);
    read_all(h, 1);
    end(h, false);
}

/* Over several sessions: what failed before a newer write began is over once that is acknowledged, what failed later is not. */
static void test_a_failed_write_may_land_until_it_is_settled(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *old = hist_write_begin(h, 3, 0, 1, 1, false);
        struct hist_write *late = hist_write_begin(h, 3, 0, 1, 2, false);
        uint64_t newer;

        hist_write_end(h, old, HIST_LATER);
        newer = hist_now(h);
        write_all(h, 3, false);
        hist_write_end(h, late, HIST_LATER);
        hist_nexus_settled(h, 4, UINT64_MAX); /* another's are not concerned */
        if (good)
            read_all(h, 1);
        hist_nexus_settled(h, 3, newer);
        write_all(h, 4, false);
        read_all(h, good ? 2 : 1);
        end(h, good);
    }
    (void)state;
}

/* Sent again after a broken connection it is carried out twice, both before it is acknowledged. */
static void test_a_write_sent_again(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *w = hist_write_begin(h, 3, 0, 1, 1, false);

        read_all(h, 1);
        hist_nexus_again(h, 3);
        write_all(h, 2, false);
        read_all(h, 2);
        hist_nexus_up(h, 3);
        if (good)
            read_all(h, 1);
        hist_write_end(h, w, HIST_ACKED);
        read_all(h, 1);
        write_all(h, 4, false);
        if (!good)
            read_all(h, 1); /* replayed once more, after it was acknowledged */
        else
            read_all(h, 4);
        end(h, good);
    }
}

/* ---- COMPARE AND WRITE ----------------------------------------------------------------------------------- */

static void test_compare_and_write(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    hist_write_end(h, caw(h, 0, 1, 2), HIST_ACKED);
    read_all(h, 2);
    hist_caw_miscompared(h, caw(h, 0, 1, 3), 0);
    hist_write_end(h, caw(h, 0, 2, 4), HIST_ACKED);
    read_all(h, 4);
    end(h, true);
}

static void test_one_value_is_found_once(void **state)
{
    struct hist *h = make(1, false);
    struct hist_write *a, *b;

    write_all(h, 1, false);
    a = caw(h, 0, 1, 2);
    b = caw(h, 1, 1, 3);
    hist_write_end(h, a, HIST_ACKED);
    hist_write_end(h, b, HIST_ACKED);
    end(h, false);
}

static void test_a_match_with_what_is_gone(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    write_all(h, 2, false);
    hist_write_end(h, caw(h, 0, 1, 3), HIST_ACKED);
    end(h, false);
}

/* A write that came between the comparison and the writing is lost, though it was acknowledged. */
static void test_nothing_comes_between_compare_and_write(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, false);
        struct hist_write *c;

        write_all(h, 1, false);
        c = caw(h, 0, 1, 2);
        write_all(h, 3, false);
        hist_write_end(h, c, HIST_ACKED);
        read_all(h, good ? 3 : 2);
        read_all(h, good ? 3 : 2);
        end(h, good);
    }
}

static void test_a_miscompare_needs_another_value(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    hist_caw_miscompared(h, caw(h, 0, 1, 2), 0);
    read_all(h, 1);
    end(h, false);
}

/* As one does that was sent twice, and meets its own value. */
static void test_one_that_miscompared_wrote_nothing(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    hist_caw_miscompared(h, caw(h, 0, 1, 2), 0);
    read_all(h, 2);
    end(h, false);
}

/* ---- crashes --------------------------------------------------------------------------------------------- */

static void crash(struct hist *h)
{
    hist_target_down(h);
    hist_lost(h);
    hist_target_up(h);
    hist_nexus_up(h, 0);
}

static void test_what_is_not_stable_may_be_lost_once(void **state)
{
    for (int what = 0; what < 4; what++) {
        struct hist *h = make(1, false);

        write_all(h, 1, true);
        write_all(h, 2, false);
        write_all(h, 3, false);
        crash(h);
        read_all(h, 1 + (uint64_t)what % 3);
        read_all(h, what == 3 ? 2 : 1 + (uint64_t)what % 3);
        end(h, what < 3);
    }
}

static void test_what_is_stable_is_not_lost(void **state)
{
    for (int how = 0; how < 3; how++) {
        struct hist *h = make(1, false);
        uint64_t inv;

        write_all(h, 1, false);
        write_all(h, 2, how == 0);
        inv = hist_now(h);
        if (how == 1)
            hist_synced(h, 0, inv);
        crash(h);
        read_all(h, 1);
        end(h, how == 2);
    }
}

static void test_a_flush_heard_of_after_the_crash_counts(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(2, false);
        uint64_t inv;

        write_all(h, 1, false);
        write_all(h, 2, false);
        inv = hist_now(h);
        hist_target_down(h);
        hist_lost(h);
        hist_synced(h, 0, inv);
        hist_target_up(h);
        hist_nexus_up(h, 0);
        read_all(h, good ? 2 : 1);
        end(h, good);
    }
}

/* It made stable what was there; a write that failed may never have been. */
static void test_a_flush_heard_of_late_does_not_make_a_failed_write_true(void **state)
{
    struct hist *h = make(1, false);
    struct hist_write *w;
    uint64_t inv;

    write_all(h, 1, false);
    w = hist_write_begin(h, 0, 0, 1, 2, false);
    hist_write_end(h, w, HIST_MAYBE);
    inv = hist_now(h);
    hist_target_down(h);
    hist_lost(h);
    hist_synced(h, 0, inv);
    hist_target_up(h);
    read_all(h, 1);
    end(h, true);
}

/* The one that is acknowledged was carried out after the crash. */
static void test_a_flush_sent_again_after_the_crash_says_nothing(void **state)
{
    struct hist *h = make(1, false);
    uint64_t inv;

    write_all(h, 1, true);
    write_all(h, 2, false);
    inv = hist_now(h);
    crash(h);
    hist_synced(h, 0, inv);
    read_all(h, 1);
    end(h, true);
}

static void test_a_failed_flush_is_not_made_good_by_the_next(void **state)
{
    for (int how = 0; how < 3; how++) {
        struct hist *h = make(1, false);
        uint64_t before, after;

        write_all(h, 1, true);
        write_all(h, 2, false);
        before = hist_now(h);
        hist_sync_failed(h);
        after = hist_now(h);
        if (how == 1)
            hist_synced(h, 0, before); /* it failed, and said that it had not */
        hist_synced(h, 0, after);
        if (how == 2) {
            write_all(h, 3, false);
            hist_synced(h, 0, hist_now(h));
        }
        crash(h);
        read_all(h, 1);
        end(h, how == 0);
    }
}

/* The one under way when the second fails says nothing of what the first lost. */
static void test_two_failed_flushes_are_told_apart(void **state)
{
    struct hist *h = make(1, false);
    uint64_t inv;

    write_all(h, 1, true);
    write_all(h, 2, false);
    hist_sync_failed(h);
    hist_target_down(h);
    hist_target_up(h);
    hist_nexus_up(h, 0);
    inv = hist_now(h);
    hist_sync_failed(h);
    hist_synced(h, 0, inv);
    crash(h);
    read_all(h, 1);
    end(h, true);
}

static void test_a_killed_program_loses_nothing(void **state)
{
    struct hist *h = make(1, false);

    write_all(h, 1, false);
    hist_target_down(h);
    hist_target_up(h);
    read_all(h, HIST_ZERO);
    end(h, false);
}

static void test_memory_goes_with_its_program(void **state)
{
    for (int good = 0; good < 2; good++) {
        struct hist *h = make(1, true);

        write_all(h, 1, false);
        hist_target_down(h);
        hist_target_up(h);
        read_all(h, good ? HIST_ZERO : 1);
        end(h, good);
    }
}

/* ---- at random: histories of a true register are accepted, and little is remembered -------------------------- */

enum { OPS = 24, NEXUSES = 4, SECTORS = 4 };

struct op {
    enum { IDLE, WRITE, READ, CAW } kind;
    struct hist_write *w;
    struct hist_read r;
    uint32_t sector;
    uint64_t value, from;
    bool done, miss, stable, again;
    unsigned nexus;
};

struct truth {
    uint64_t now[SECTORS], *past[SECTORS]; /* past: what a crash may bring back */
    unsigned past_nr[SECTORS];
    struct op op[OPS];
    uint64_t value;
};

static uint32_t below(uint64_t *s, uint32_t n)
{
    *s = *s * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*s >> 33) % n;
}

static void truth_set(struct truth *t, const struct op *o, bool stable)
{
    if (stable)
        t->past_nr[o->sector] = 0;
    else if (t->past_nr[o->sector] < 4096)
        t->past[o->sector][t->past_nr[o->sector]++] = t->now[o->sector];
    t->now[o->sector] = o->value;
}

/* The instant at which an operation takes effect. */
static void effect(struct truth *t, struct op *o)
{
    if (o->kind == READ) {
        o->value = t->now[o->sector];
    } else if (o->kind == WRITE) {
        truth_set(t, o, o->stable);
    } else if (!o->done) {
        o->miss = t->now[o->sector] != o->from;
        if (!o->miss)
            truth_set(t, o, false);
    }
    o->done = true;
}

static void start(struct hist *h, struct truth *t, struct op *o, uint64_t *s)
{
    *o = (struct op){ .kind = WRITE + (int)below(s, 3),
                      .sector = below(s, SECTORS),
                      .nexus = below(s, NEXUSES) };
    o->value = below(s, 8) ? ++t->value : HIST_ZERO;
    o->stable = !below(s, 8);
    if (o->kind == READ) {
        hist_read_begin(h, &o->r);
    } else if (o->kind == WRITE) {
        o->w = hist_write_begin(h, o->nexus, o->sector, 1, o->value, o->stable);
    } else {
        o->value = ++t->value;
        o->from = below(s, 4) ? hist_guess(h, o->sector) : t->value / 2;
        o->w = hist_caw_begin(h, o->nexus, o->sector, 1, &o->from, o->value, false);
    }
}

static void stop(struct hist *h, struct truth *t, struct op *o, uint64_t *s)
{
    (void)s;
    if (!o->done || o->again)
        effect(t, o); /* the last time just before its end, when it was sent again */
    if (o->kind == READ)
        hist_read_end(h, &o->r, o->sector, 1, &o->value);
    else if (o->kind == WRITE)
        hist_write_end(h, o->w, HIST_ACKED);
    else if (o->miss)
        hist_caw_miscompared(h, o->w, 0);
    else
        hist_write_end(h, o->w, HIST_ACKED);
    o->kind = IDLE;
}

static void nexus_breaks(struct hist *h, struct truth *t, unsigned nexus, uint64_t *s)
{
    hist_nexus_again(h, nexus);
    for (unsigned i = 0; i < OPS; i++) {
        struct op *o = &t->op[i];

        if (o->kind == IDLE || o->nexus != nexus)
            continue;
        if (o->kind == WRITE && below(s, 2)) {
            o->again = true;
            continue;
        }
        if (below(s, 2))
            effect(t, o);
        if (o->kind == READ)
            hist_read_drop(h, &o->r);
        else
            hist_write_end(h, o->w, HIST_LATER);
        o->kind = IDLE;
    }
    hist_nexus_up(h, nexus);
}

static void power_fails(struct hist *h, struct truth *t, uint64_t *s)
{
    hist_target_down(h);
    for (unsigned i = 0; i < OPS; i++)
        if (t->op[i].kind == WRITE && below(s, 2))
            truth_set(t, &t->op[i], false);
    hist_lost(h);
    for (unsigned i = 0; i < SECTORS; i++) {
        const uint32_t n = below(s, t->past_nr[i] + 1);

        if (n < t->past_nr[i])
            t->now[i] = t->past[i][n];
        t->past_nr[i] = 0;
    }
    hist_target_up(h);
    for (unsigned i = 0; i < OPS; i++)
        if (t->op[i].kind == WRITE)
            t->op[i].done = t->op[i].again = true;
    for (unsigned n = 0; n < NEXUSES; n++)
        nexus_breaks(h, t, n, s);
}

static void random_history(uint64_t seed, unsigned steps)
{
    static uint64_t past[SECTORS][4096];
    struct hist *h = make(SECTORS, false);
    struct truth t = { .value = 100 };
    struct hist_stats st;

    for (unsigned i = 0; i < SECTORS; i++)
        t.past[i] = past[i];
    for (unsigned i = 0; i < steps && !fails; i++) {
        struct op *o = &t.op[below(&seed, OPS)];

        if (o->kind == IDLE)
            start(h, &t, o, &seed);
        else if (!o->done && below(&seed, 2))
            effect(&t, o);
        else
            stop(h, &t, o, &seed);
        if (!below(&seed, 40))
            nexus_breaks(h, &t, below(&seed, NEXUSES), &seed);
        if (!below(&seed, 300))
            power_fails(h, &t, &seed);
        if (!below(&seed, 60)) {
            const uint64_t inv = hist_now(h);

            for (unsigned k = 0; k < SECTORS; k++)
                t.past_nr[k] = 0;
            hist_synced(h, 0, inv);
        }
    }
    hist_stats(h, &st);
    if (fails)
        fail_msg("seed %llu: %s", (unsigned long long)seed, last);
    assert_true(st.clusters_max < 800);
    end(h, true);
}

static void test_true_registers_are_believed(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++)
        random_history(seed, 2000);
    random_history(12345, 200000); /* a long one does not need more memory */
}

/* ---- persistent reservations ----------------------------------------------------------------------------- */

static void pr_do(struct prh *p, enum prh_sa sa, unsigned nexus, uint64_t key, uint64_t sa_key,
                  enum prh_answer a)
{
    const struct prh_op op = {
        .sa = sa, .nexus = nexus, .key = key, .sa_key = sa_key, .type = PRH_WRITE_EXCLUSIVE
    };

    prh_begin(p, &op);
    prh_end(p, a);
}

static void test_a_write_against_a_reservation_is_found(void **state)
{
    struct prh p = { .fail = on_fail };

    fails = 0;
    pr_do(&p, PRH_REGISTER, 0, 0, 7, PRH_GOOD);
    pr_do(&p, PRH_RESERVE, 0, 7, 0, PRH_GOOD);
    prh_access(&p, prh_tick(&p), 0, true, false);
    prh_access(&p, prh_tick(&p), 1, false, false);
    prh_access(&p, prh_tick(&p), 1, true, true);
    assert_int_equal(fails, 0);
    prh_access(&p, prh_tick(&p), 1, true, false);
    assert_int_equal(fails, 1);
    pr_do(&p, PRH_RELEASE, 0, 7, 0, PRH_GOOD);
    prh_access(&p, prh_tick(&p), 1, true, true);
    assert_int_equal(fails, 2);
}

static void test_nothing_is_judged_while_a_command_is_lost(void **state)
{
    struct prh p = { .fail = on_fail };
    uint64_t keys[PRH_NEXUS_MAX] = { 7 };

    fails = 0;
    pr_do(&p, PRH_REGISTER, 0, 0, 7, PRH_GOOD);
    pr_do(&p, PRH_RESERVE, 0, 7, 0, PRH_LOST);
    assert_false(prh_free(&p));
    prh_access(&p, prh_tick(&p), 1, true, false);
    prh_access(&p, prh_tick(&p), 1, true, true);
    prh_nexus_up(&p, 0);
    assert_true(prh_free(&p));
    prh_read(&p, prh_tick(&p), keys, 0, PRH_WRITE_EXCLUSIVE);
    assert_int_equal(fails, 0);
    prh_access(&p, prh_tick(&p), 1, true, false);
    assert_int_equal(fails, 1);
}

/* Sent twice, REGISTER meets its own key. */
static void test_a_register_that_was_sent_twice_is_found(void **state)
{
    struct prh p = { .fail = on_fail };

    fails = 0;
    pr_do(&p, PRH_REGISTER, 0, 0, 7, PRH_CONFLICT);
    assert_int_equal(fails, 1);
}

static void test_registrations_that_were_to_be_kept(void **state)
{
    for (int aptpl = 0; aptpl < 2; aptpl++) {
        struct prh p = { .fail = on_fail };
        const struct prh_op op = { .sa = PRH_REGISTER, .sa_key = 7, .aptpl = aptpl };
        const uint64_t none[PRH_NEXUS_MAX] = { 0 };

        fails = 0;
        prh_begin(&p, &op);
        prh_end(&p, PRH_GOOD);
        prh_target_down(&p);
        prh_target_up(&p);
        prh_read(&p, prh_tick(&p), none, -1, PRH_NONE);
        assert_int_equal(fails, aptpl);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_write_is_read),
        cmocka_unit_test(test_a_lost_write_is_found),
        cmocka_unit_test(test_what_was_never_written_is_found),
        cmocka_unit_test(test_a_write_under_way_may_be_read_and_then_stays),
        cmocka_unit_test(test_an_early_acknowledgement_is_found),
        cmocka_unit_test(test_readers_agree_on_an_order),
        cmocka_unit_test(test_zeroes_by_several),
        cmocka_unit_test(test_a_failed_write_may_land_until_its_session_is_replaced),
        cmocka_unit_test(test_a_failed_write_may_land_until_it_is_settled),
        cmocka_unit_test(test_a_refused_write_is_not_there),
        cmocka_unit_test(test_a_write_sent_again),
        cmocka_unit_test(test_compare_and_write),
        cmocka_unit_test(test_one_value_is_found_once),
        cmocka_unit_test(test_a_match_with_what_is_gone),
        cmocka_unit_test(test_nothing_comes_between_compare_and_write),
        cmocka_unit_test(test_a_miscompare_needs_another_value),
        cmocka_unit_test(test_one_that_miscompared_wrote_nothing),
        cmocka_unit_test(test_what_is_not_stable_may_be_lost_once),
        cmocka_unit_test(test_what_is_stable_is_not_lost),
        cmocka_unit_test(test_a_flush_heard_of_after_the_crash_counts),
        cmocka_unit_test(test_a_flush_heard_of_late_does_not_make_a_failed_write_true),
        cmocka_unit_test(test_a_flush_sent_again_after_the_crash_says_nothing),
        cmocka_unit_test(test_a_failed_flush_is_not_made_good_by_the_next),
        cmocka_unit_test(test_two_failed_flushes_are_told_apart),
        cmocka_unit_test(test_a_killed_program_loses_nothing),
        cmocka_unit_test(test_memory_goes_with_its_program),
        cmocka_unit_test(test_true_registers_are_believed),
        cmocka_unit_test(test_a_write_against_a_reservation_is_found),
        cmocka_unit_test(test_nothing_is_judged_while_a_command_is_lost),
        cmocka_unit_test(test_a_register_that_was_sent_twice_is_found),
        cmocka_unit_test(test_registrations_that_were_to_be_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
