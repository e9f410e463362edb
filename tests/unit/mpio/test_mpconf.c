/*
 * test_mpconf.c - /etc/multipath.conf: what it says of a unit, and what is said of it
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "mpio/mpconf.h"

static const struct mpio_whose ours = { "36001405aaaa", "CORELANE", "RAM", "0001" };
static const struct mpio_whose theirs = { "3600a0980bbbb", "NETAPP", "LUN C-Mode", "9.9" };

static char said[16384]; /* remarks, a line each */
static unsigned bad_nr, remarks_nr;

static void say(void *user, bool bad, const char *remark)
{
    (void)user;
    bad_nr += bad;
    remarks_nr++;
    snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", remark);
}

static int try(const char *text, size_t len, struct mpio_mpconf **f)
{
    const struct mpio_mpconf_say to = { say, NULL };

    *f = NULL;
    said[0] = '\0';
    bad_nr = remarks_nr = 0;
    return mpio_mpconf_parse(f, text, len, "m.conf", &to);
}

static struct mpio_mpconf *read_ok(const char *text)
{
    struct mpio_mpconf *f;

    assert_int_equal(try(text, strlen(text), &f), 0);
    assert_non_null(f);
    return f;
}

/* Values that no default has, so that what the file leaves alone is seen. */
static void before(struct mpio_mpset *set)
{
    memset(set, 0xa5, sizeof(*set));
    set->conf = (struct mpio_conf){
        .policy = MPIO_WEIGHTED,
        .scope = MPIO_SCOPE_NEXUS,
        .unit = MPIO_UNIT_REQUESTS,
        .grouping = MPIO_GROUP_BY_PRIO,
        .failback = MPIO_FAILBACK_IMMEDIATE,
        .failback_s = 77,
        .no_path = MPIO_NO_PATH_DEADLINE,
        .no_path_s = 120,
        .rr_min_io = 9,
        .suspect_ms = 400,
        .marginal_fails = 3,
        .marginal_window_s = 60,
        .marginal_hold_s = 300,
    };
}

static struct mpio_mpset asked(const char *text, const struct mpio_whose *whose)
{
    struct mpio_mpconf *f = read_ok(text);
    struct mpio_mpset set;

    before(&set);
    mpio_mpconf_for(f, whose, &set);
    mpio_mpconf_free(f);
    return set;
}

static struct mpio_conf in_defaults(const char *line)
{
    char text[512];

    snprintf(text, sizeof(text), "defaults {\n%s\n}\n", line);
    return asked(text, &ours).conf;
}

static void test_a_silent_file_changes_nothing(void **state)
{
    static const char *const texts[] = { "",
                                         "\n\n",
                                         "# nothing\n! nor here\n",
                                         "defaults {\n}\n",
                                         "blacklist { \n}",
                                         "defaults {\n user_friendly_names yes\n find_multipaths strict\n}\n" };
    struct mpio_mpset set, was;

    (void)state;
    before(&was);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        set = asked(texts[i], &ours);
        assert_memory_equal(&set.conf, &was.conf, sizeof(set.conf));
        assert_string_equal(set.alias, "");
        assert_false(set.has_pr_key);
        assert_int_equal(remarks_nr, 0);
    }
    before(&set);
    mpio_mpconf_for(NULL, &ours, &set);
    assert_memory_equal(&set.conf, &was.conf, sizeof(set.conf));
    assert_string_equal(set.alias, "");
}

static void test_selectors(void **state)
{
    static const struct {
        const char *value;
        enum mpio_policy policy;
        enum mpio_scope scope;
        enum mpio_unit unit;
    } rows[] = {
        { "\"service-time 0\"", MPIO_SERVICE_TIME, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "\"historical-service-time 0\"", MPIO_SERVICE_TIME, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "\"round-robin 0\"", MPIO_ROUND_ROBIN, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "\"queue-length 0\"", MPIO_LQD, MPIO_SCOPE_LUN, MPIO_UNIT_REQUESTS },
        { "least-queue-depth", MPIO_LQD, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "\"least-queue-depth lun bytes\"", MPIO_LQD, MPIO_SCOPE_LUN, MPIO_UNIT_BYTES },
        { "\"queue-length 0 nexus\"", MPIO_LQD, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "failover-only", MPIO_FAILOVER, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
        { "weighted", MPIO_WEIGHTED, MPIO_SCOPE_NEXUS, MPIO_UNIT_REQUESTS },
    };
    char line[128];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mpio_conf c;

        snprintf(line, sizeof(line), "path_selector %s", rows[i].value);
        c = in_defaults(line);
        assert_int_equal(c.policy, rows[i].policy);
        assert_int_equal(c.scope, rows[i].scope);
        assert_int_equal(c.unit, rows[i].unit);
        assert_int_equal(remarks_nr, 0);
    }
}

static void test_grouping_and_prio(void **state)
{
    (void)state;
    assert_int_equal(in_defaults("path_grouping_policy failover").grouping, MPIO_GROUP_FAILOVER);
    assert_int_equal(in_defaults("path_grouping_policy multibus").grouping, MPIO_MULTIBUS);
    assert_int_equal(in_defaults("path_grouping_policy group_by_prio").grouping, MPIO_GROUP_BY_PRIO);
    assert_int_equal(in_defaults("path_grouping_policy group_by_tpg").grouping, MPIO_GROUP_BY_TPG);
    assert_int_equal(in_defaults("prio alua").grouping, MPIO_GROUP_BY_PRIO);
    assert_int_equal(in_defaults("prio sysfs").grouping, MPIO_GROUP_BY_PRIO);
    /* All alike: one group of all. */
    assert_int_equal(in_defaults("prio const").grouping, MPIO_MULTIBUS);
    assert_int_equal(in_defaults("prio const\npath_grouping_policy failover").grouping, MPIO_GROUP_FAILOVER);
}

static void test_no_path_retry_counts_polling_intervals(void **state)
{
    struct mpio_conf c;

    (void)state;
    assert_int_equal(in_defaults("no_path_retry fail").no_path, MPIO_NO_PATH_FAIL);
    assert_int_equal(in_defaults("no_path_retry 0").no_path, MPIO_NO_PATH_FAIL);
    assert_int_equal(in_defaults("no_path_retry queue").no_path, MPIO_NO_PATH_QUEUE);
    c = in_defaults("no_path_retry 12");
    assert_int_equal(c.no_path, MPIO_NO_PATH_DEADLINE);
    assert_int_equal(c.no_path_s, 60);
    /* Whichever comes first in the file. */
    assert_int_equal(in_defaults("no_path_retry 12\npolling_interval 10").no_path_s, 120);
    assert_int_equal(in_defaults("polling_interval 10\nno_path_retry 12").no_path_s, 120);
    /* The last word counts, and leaves nothing of the one before. */
    assert_int_equal(in_defaults("no_path_retry 12\nno_path_retry queue").no_path, MPIO_NO_PATH_QUEUE);
    assert_int_equal(in_defaults("no_path_retry 1000000\npolling_interval 86400").no_path_s, UINT32_MAX);
}

static void test_failback_and_times(void **state)
{
    struct mpio_conf c;

    (void)state;
    assert_int_equal(in_defaults("failback manual").failback, MPIO_FAILBACK_MANUAL);
    assert_int_equal(in_defaults("failback followover").failback, MPIO_FAILBACK_MANUAL);
    assert_int_equal(in_defaults("failback immediate").failback, MPIO_FAILBACK_IMMEDIATE);
    c = in_defaults("failback 30");
    assert_int_equal(c.failback, MPIO_FAILBACK_DELAYED);
    assert_int_equal(c.failback_s, 30);
    assert_int_equal(in_defaults("rr_min_io_rq 8").rr_min_io, 8);
    assert_int_equal(in_defaults("checker_timeout 3").suspect_ms, 1500);
}

static void test_marginal_paths(void **state)
{
    struct mpio_conf c = in_defaults("san_path_err_threshold 4\nsan_path_err_forget_rate 6\n"
                                     "san_path_err_recovery_time 600\npolling_interval 10");

    (void)state;
    assert_int_equal(c.marginal_fails, 4);
    assert_int_equal(c.marginal_window_s, 240);
    assert_int_equal(c.marginal_hold_s, 600);
    /* Half of what it takes is nothing. */
    c = in_defaults("san_path_err_threshold 4");
    assert_int_equal(c.marginal_fails, 3);
    c = in_defaults("marginal_path_double_failed_time 40\nmarginal_path_err_recheck_gap_time 120\n"
                    "marginal_path_err_sample_time 60\nmarginal_path_err_rate_threshold 10");
    assert_int_equal(c.marginal_fails, 2);
    assert_int_equal(c.marginal_window_s, 40);
    assert_int_equal(c.marginal_hold_s, 120);
    assert_int_equal(bad_nr, 0);
    assert_int_equal(remarks_nr, 2); /* the sampling is not done here */
    c = in_defaults("marginal_path_double_failed_time no");
    assert_int_equal(c.marginal_fails, 3);
}

static void test_reservation_key(void **state)
{
    static const struct {
        const char *value;
        uint64_t key;
    } rows[] = {
        { "0x123abc", 0x123abc },
        { "123ABC", 0x123abc },
        { "0xffffffffffffffff", UINT64_MAX },
        { "0x1:aptpl", 1 },
        { "0", 0 },
        { "0x", 0 },
        { "0x1ffffffffffffffff", 0 },
        { "key", 0 },
        { "file", 0 },
        { "0x1:other", 0 },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mpio_mpset set;

        snprintf(text, sizeof(text), "defaults {\nreservation_key %s\n}\n", rows[i].value);
        set = asked(text, &ours);
        assert_int_equal(set.has_pr_key, rows[i].key != 0);
        assert_int_equal(set.pr_key, rows[i].key);
        assert_int_equal(bad_nr, rows[i].key == 0);
    }
}

static const char ranked[] = "multipaths {\n"
                             "    multipath {\n"
                             "        wwid 36001405aaaa\n"
                             "        alias first\n"
                             "        rr_min_io_rq 4\n"
                             "    }\n"
                             "}\n"
                             "overrides {\n"
                             "    rr_min_io_rq 3\n"
                             "    failback 3\n"
                             "    protocol {\n"
                             "        type \"scsi:fcp\"\n"
                             "        fast_io_fail_tmo 5\n"
                             "    }\n"
                             "}\n"
                             "devices {\n"
                             "    device {\n"
                             "        vendor \"COREL.*\"\n"
                             "        product \"^RAM$\"\n"
                             "        rr_min_io_rq 2\n"
                             "        failback 2\n"
                             "        checker_timeout 2\n"
                             "        no_path_retry 2\n"
                             "    }\n"
                             "    device {\n"
                             "        vendor NETAPP\n"
                             "        no_path_retry queue\n"
                             "    }\n"
                             "}\n"
                             "defaults {\n"
                             "    rr_min_io_rq 1\n"
                             "    failback 1\n"
                             "    no_path_retry 1\n"
                             "    path_grouping_policy multibus\n"
                             "}\n";

/* defaults < device < overrides < multipath, wherever they stand. */
static void test_sections_go_before_one_another(void **state)
{
    struct mpio_mpset set = asked(ranked, &ours);

    (void)state;
    assert_int_equal(set.conf.rr_min_io, 4);
    assert_int_equal(set.conf.failback_s, 3);
    assert_int_equal(set.conf.no_path_s, 10);
    assert_int_equal(set.conf.grouping, MPIO_MULTIBUS);
    assert_string_equal(set.alias, "first");
    set = asked(ranked, &theirs);
    assert_int_equal(set.conf.rr_min_io, 3);
    assert_int_equal(set.conf.no_path, MPIO_NO_PATH_QUEUE);
    assert_string_equal(set.alias, "");
    /* checker_timeout is for all, and belongs into defaults. */
    assert_int_equal(bad_nr, 1);
    assert_non_null(strstr(said, "m.conf line 22: 'checker_timeout' belongs into defaults"));
}

static void test_later_devices_go_over_earlier_ones(void **state)
{
    struct mpio_mpset set = asked("devices {\ndevice {\nvendor .*\nrr_min_io_rq 5\nfailback 5\n}\n"
                                  "device {\nvendor CORELANE\nproduct RAM\nrr_min_io_rq 6\n}\n"
                                  "device {\nvendor CORELANE\nproduct \"!RAM\"\nrr_min_io_rq 7\n}\n"
                                  "device {\nrr_min_io_rq 8\n}\n}\n",
                                  &ours);

    (void)state;
    assert_int_equal(set.conf.rr_min_io, 6);
    assert_int_equal(set.conf.failback_s, 5);
}

static bool is_listed(const char *text, const struct mpio_whose *whose)
{
    struct mpio_mpconf *f = read_ok(text);
    char why[256] = "";
    const bool is = mpio_mpconf_blacklisted(f, whose, why);

    mpio_mpconf_free(f);
    assert_int_equal(is, *why != '\0');
    return is;
}

static void test_blacklists(void **state)
{
    (void)state;
    assert_false(is_listed("", &ours));
    assert_true(is_listed("blacklist {\nwwid 36001405aaaa\n}\n", &ours));
    assert_false(is_listed("blacklist {\nwwid 36001405aaaa\n}\n", &theirs));
    assert_true(is_listed("blacklist {\nwwid \"*\"\n}\n", &theirs));
    assert_true(is_listed("blacklist {\nwwid \"!^36001405\"\n}\n", &theirs));
    assert_false(is_listed("blacklist {\nwwid \"!^36001405\"\n}\n", &ours));
    assert_false(is_listed("blacklist {\nwwid .*\n}\nblacklist_exceptions {\nwwid 36001405aaaa\n}\n", &ours));
    assert_true(is_listed("blacklist {\nwwid .*\n}\nblacklist_exceptions {\nwwid 36001405aaaa\n}\n", &theirs));
    assert_true(is_listed("blacklist {\ndevice {\nvendor CORELANE\n}\n}\n", &ours));
    assert_false(is_listed("blacklist {\ndevice {\nvendor CORELANE\nproduct DISK\n}\n}\n", &ours));
    assert_false(is_listed("blacklist {\ndevice {\n}\n}\n", &ours));
    assert_false(is_listed("blacklist {\ndevice {\nvendor .*\n}\n}\n"
                           "blacklist_exceptions {\ndevice {\nvendor CORELANE\n}\n}\n",
                           &ours));
    /* An exception of one kind does not lift a blacklist of the other. */
    assert_true(
        is_listed("blacklist {\nwwid .*\n}\nblacklist_exceptions {\ndevice {\nvendor CORELANE\n}\n}\n", &ours));
    assert_true(
        is_listed("blacklist {\ndevice {\nvendor .*\n}\n}\nblacklist_exceptions {\nwwid .*\n}\n", &ours));
    /* What all files of the world say has no effect, and is said to. */
    assert_false(is_listed(
        "blacklist {\ndevnode \"^(ram|raw|loop|fd|md|dm-|sr|scd|st)[0-9]*\"\ndevnode \".*\"\n}\n", &ours));
    assert_int_equal(remarks_nr, 1);
    assert_int_equal(bad_nr, 0);
}

static void test_words_and_comments(void **state)
{
    struct mpio_mpset set = asked("  defaults\t{   # of all\r\n"
                                  "\trr_min_io_rq\t7 ! seven\r\n"
                                  "  failback \"9\"#nine\r\n"
                                  "}\r\n"
                                  "multipaths {\n multipath {\n wwid \"36001405aaaa\"\n"
                                  " alias \"a \"\"b\"\" #c !d {}\"\n }\n}",
                                  &ours);

    (void)state;
    assert_int_equal(remarks_nr, 0);
    assert_int_equal(set.conf.rr_min_io, 7);
    assert_int_equal(set.conf.failback_s, 9);
    assert_string_equal(set.alias, "a \"b\" #c !d {}");
}

/* Each: one remark with its line; and what is right around it holds. */
static void test_what_is_wrong_is_named_and_passed_over(void **state)
{
    static const struct {
        const char *line, *remark;
    } rows[] = {
        { "path_selector \"fastest 0\"", "m.conf line 3: path_selector 'fastest 0': not one of" },
        { "path_selector \"round-robin quickly\"", "line 3: path_selector" },
        { "path_grouping_policy by_colour", "line 3: path_grouping_policy 'by_colour'" },
        { "no_path_retry never", "line 3: no_path_retry 'never'" },
        { "no_path_retry -1", "line 3: no_path_retry" },
        { "no_path_retry 1000001", "line 3: no_path_retry" },
        { "failback soon", "line 3: failback" },
        { "prio hp_sw", "line 3: prio 'hp_sw'" },
        { "polling_interval 0", "line 3: polling_interval" },
        { "checker_timeout 3601", "line 3: checker_timeout" },
        { "rr_min_io_rq 0", "line 3: rr_min_io_rq" },
        { "san_path_err_threshold many", "line 3: san_path_err_threshold" },
        { "alias this", "line 3: 'alias' belongs into a multipath" },
        { "no_path_retry", "line 3: 'no_path_retry' has no value" },
        { "nonsense 1", "line 3: 'nonsense' is not known here" },
        { "no_path_retry \"fail", "line 3: a word is longer" },
        { "failback 5 6", "line 3: what follows on this line" },
        { "fast_io_fail_tmo 5", "line 3: 'fast_io_fail_tmo' has no effect here" },
        { "\x01\xff 1", "line 3: '?"
                        "?' is not known here" },
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mpio_mpset set;

        snprintf(text, sizeof(text), "defaults {\nrr_min_io_rq 11\n%s\nfailback 12\n}\n", rows[i].line);
        set = asked(text, &ours);
        assert_int_equal(remarks_nr, 1);
        if (!strstr(said, rows[i].remark))
            fail_msg("%s: %s", rows[i].line, said);
        assert_int_equal(set.conf.rr_min_io, 11);
        assert_int_equal(set.conf.failback_s, 12);
        assert_int_equal(set.conf.policy, MPIO_WEIGHTED);
        assert_int_equal(set.conf.no_path_s, 120);
    }
}

static void test_expressions_that_cannot_be(void **state)
{
    static const char *const bad[] = { "(", "[a", "a{1000}", "(a)\\1", "!(" };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text),
                 "devices {\ndevice {\nvendor CORELANE\nproduct \"%s\"\nrr_min_io_rq 5\n}\n}\n", bad[i]);
        assert_int_equal(asked(text, &ours).conf.rr_min_io, 9); /* it is for nobody then, not for all */
        assert_int_equal(bad_nr, 1);
    }
}

static void test_each_unknown_word_is_named_once(void **state)
{
    struct mpio_mpconf *f = read_ok("defaults {\nfoo 1\nfoo 2\nbar 1\n}\noverrides {\nfoo 3\n}\nbaz {\nq 1\n}\n"
                                    "baz {\nq 1\n}\ndevice {\n}\n");

    (void)state;
    assert_int_equal(remarks_nr, 4);
    assert_non_null(strstr(said, "section 'baz' is not known here"));
    mpio_mpconf_free(f);
}

static void test_sections_that_do_not_nest_are_no_file(void **state)
{
    static const char *const texts[] = {
        "defaults {\n",
        "}\n",
        "defaults {\n}\n}\n",
        "devices {\ndevice {\n}\n",
        "{\n}\n",
        "defaults\n{\n}\n",
        "a {\nb {\nc {\nd {\n}\n}\n}\n}\n",
    };
    struct mpio_mpconf *f;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(try(texts[i], strlen(texts[i]), &f), -EINVAL);
        assert_null(f);
        assert_true(bad_nr);
        assert_non_null(strstr(said, "m.conf line "));
    }
    assert_int_equal(try("a\0b", 3, &f), -EINVAL);
}

/* A file of nothing but mistakes cannot fill a log, nor one of nothing but sections memory. */
static void test_bounds(void **state)
{
    const size_t room = (1u << 20) + 2;
    char *text = calloc(1, room + 16), *at = text;
    struct mpio_mpconf *f;

    (void)state;
    assert_non_null(text);
    at += sprintf(at, "defaults {\n");
    for (unsigned i = 0; i < 1000; i++)
        at += sprintf(at, "failback never%u\n", i);
    sprintf(at, "}\n");
    assert_int_equal(try(text, strlen(text), &f), 0);
    assert_int_equal(remarks_nr, 65);
    mpio_mpconf_free(f);

    at = text + sprintf(text, "devices {\n");
    for (unsigned i = 0; i < 1024; i++)
        at += sprintf(at, "device {\n}\n");
    strcpy(at, "}\n");
    assert_int_equal(try(text, strlen(text), &f), 0);
    mpio_mpconf_free(f);
    strcpy(at, "device {\n}\n}\n");
    assert_int_equal(try(text, strlen(text), &f), -E2BIG);

    at = text + sprintf(text, "defaults {\n");
    for (unsigned i = 0; i < 8192; i++)
        at += sprintf(at, "failback 1\n");
    strcpy(at, "}\n");
    assert_int_equal(try(text, strlen(text), &f), 0);
    mpio_mpconf_free(f);
    strcpy(at, "failback 1\n}\n");
    assert_int_equal(try(text, strlen(text), &f), -E2BIG);

    memset(text, '\n', room);
    assert_int_equal(try(text, 1u << 20, &f), 0);
    mpio_mpconf_free(f);
    assert_int_equal(try(text, (1u << 20) + 1, &f), -E2BIG);
    free(text);
}

static void test_every_beginning_of_a_file(void **state)
{
    (void)state;
    for (size_t len = 0; len <= sizeof(ranked) - 1; len++) {
        char *copy = malloc(len + 1); /* so that a sanitizer sees what is read behind it */
        struct mpio_mpconf *f;
        int err;

        assert_non_null(copy);
        memcpy(copy, ranked, len);
        err = try(copy, len, &f);
        assert_true(!err || err == -EINVAL);
        mpio_mpconf_free(f);
        free(copy);
    }
}

static void test_no_such_file(void **state)
{
    struct mpio_mpconf *f = NULL;

    (void)state;
    assert_int_equal(mpio_mpconf_load(&f, "/nonexistent/multipath.conf", NULL), -ENOENT);
    assert_null(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_silent_file_changes_nothing),
        cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_grouping_and_prio),
        cmocka_unit_test(test_no_path_retry_counts_polling_intervals),
        cmocka_unit_test(test_failback_and_times),
        cmocka_unit_test(test_marginal_paths),
        cmocka_unit_test(test_reservation_key),
        cmocka_unit_test(test_sections_go_before_one_another),
        cmocka_unit_test(test_later_devices_go_over_earlier_ones),
        cmocka_unit_test(test_blacklists),
        cmocka_unit_test(test_words_and_comments),
        cmocka_unit_test(test_what_is_wrong_is_named_and_passed_over),
        cmocka_unit_test(test_expressions_that_cannot_be),
        cmocka_unit_test(test_each_unknown_word_is_named_once),
        cmocka_unit_test(test_sections_that_do_not_nest_are_no_file),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_every_beginning_of_a_file),
        cmocka_unit_test(test_no_such_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
