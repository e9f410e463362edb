/* Layouts as text: what is read, what is refused and with which words, and that
 * what is written reads the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/layout.h"

#define IQN "iqn.2026-11.org.example:disk"

static int parse(const char *text, struct bal_layout *l, char why[static BAL_TEXT_MAX])
{
    return bal_layout_parse(l, text, strlen(text), "f", why);
}

static void test_every_kind_of_line_is_read(void **state)
{
    static const char text[] = "# a comment\n"
                               "\n"
                               "  policy numa   # said here\r\n"
                               "rebalance on 12\n"
                               "session " IQN " 192.0.2.7 0 core 3\n"
                               "session " IQN " 192.0.2.7:3260 1 pin 5\n"
                               "\tsession IQN.2026-11.org.example:DISK [2001:db8::1]:860 0 pin 0";
    char why[BAL_TEXT_MAX];
    struct bal_layout l;

    assert_int_equal(parse(text, &l, why), 0);
    assert_true(l.has_policy && l.policy == BAL_NUMA);
    assert_true(l.has_rebalance && l.rebalance == BAL_AUTO_ON);
    assert_int_equal(l.budget, 12);
    assert_int_equal(l.seats_nr, 3);
    assert_string_equal(l.seats[0].target, IQN);
    assert_string_equal(l.seats[0].portal.host, "192.0.2.7");
    assert_int_equal(l.seats[0].portal.port, 3260);
    assert_int_equal(l.seats[0].cpu, 3);
    assert_false(l.seats[0].pinned);
    assert_int_equal(l.seats[1].index, 1);
    assert_true(l.seats[1].pinned);
    assert_int_equal(l.seats[1].line, 6);
    assert_string_equal(l.seats[2].target, IQN);
    assert_string_equal(l.seats[2].portal.host, "2001:db8::1");
    assert_ptr_equal(bal_layout_find(&l, IQN, &l.seats[1].portal, 1), &l.seats[1]);
    assert_null(bal_layout_find(&l, IQN, &l.seats[1].portal, 2));
    bal_layout_free(&l);
}

static void test_nothing_said_is_a_layout_too(void **state)
{
    static const char *const texts[] = { "", "\n\n", "#", "   # policy pack\n" };
    char why[BAL_TEXT_MAX];
    struct bal_layout l;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(parse(texts[i], &l, why), 0);
        assert_false(l.has_policy || l.has_rebalance || l.seats_nr);
        bal_layout_free(&l);
    }
}

static void test_what_is_wrong_is_told_with_file_and_line(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        { "policy", "f:1: 1 words: 'policy free-core|" },
        { "policy free-core numa", "f:1: 3 words" },
        { "\n#\npolicy fastest\n", "f:3: policy 'fastest': one of free-core" },
        { "policy numa\npolicy numa\n", "f:2: a second policy" },
        { "rebalance maybe", "f:1: rebalance 'maybe': one of off, on, advise" },
        { "rebalance on 0", "f:1: '0': moves per minute" },
        { "rebalance on 61", "f:1: '61': moves per minute" },
        { "rebalance on 6x", "f:1: '6x': moves per minute" },
        { "rebalance on 6 7", "f:1: 4 words" },
        { "rebalance off\nrebalance on\n", "f:2: a second rebalance" },
        { "pin s1 3", "f:1: 'pin': a line begins with" },
        { "session " IQN " 192.0.2.7 0 core", "f:1: 5 words: 'session TARGET" },
        { "session " IQN " 192.0.2.7 0 core 3 4", "f:1: 7 words" },
        { "session " IQN " 192.0.2.7 0 core 3 4 5 6 7 8", "f:1: 7 words" },
        { "session disk 192.0.2.7 0 core 3", "f:1: target 'disk'" },
        { "session " IQN " 192.0.2.7:0x 0 core 3", "f:1: portal '192.0.2.7:0x'" },
        { "session " IQN " 192.0.2.7 -1 core 3", "f:1: '-1': which of" },
        { "session " IQN " 192.0.2.7 65536 core 3", "f:1: '65536': which of" },
        { "session " IQN " 192.0.2.7 0 on 3", "f:1: 'on': 'core N'" },
        { "session " IQN " 192.0.2.7 0 core any", "f:1: core 'any'" },
        { "session " IQN " 192.0.2.7 0 core 65536", "f:1: core '65536'" },
        { "session " IQN " 192.0.2.7 0 core 99999999999999999999999", "f:1: core" },
        { "session " IQN " 192.0.2.7 0 core 3\n#\nsession " IQN " 192.0.2.7:3260,1 0 pin 4\n",
          "f:3: this session has line 1 already" },
    };
    char why[BAL_TEXT_MAX];
    struct bal_layout l = { .budget = 77 };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const int err = parse(rows[i].text, &l, why);

        if (err != -EINVAL || !strstr(why, rows[i].words))
            fail_msg("'%s': %d %s", rows[i].text, err, err ? why : "was read");
    }
    assert_int_equal(l.budget, 77); /* left alone */
}

static void test_bytes_that_are_no_text_are_refused(void **state)
{
    char why[BAL_TEXT_MAX], line[1100];
    struct bal_layout l;

    assert_int_equal(bal_layout_parse(&l, "policy\0 numa", 12, "f", why), -EINVAL);
    assert_non_null(strstr(why, "f:1: a NUL"));
    memset(line, '#', sizeof(line));
    assert_int_equal(bal_layout_parse(&l, line, 1023, "f", why), 0);
    assert_int_equal(bal_layout_parse(&l, line, 1024, "f", why), -EINVAL);
    assert_non_null(strstr(why, "1023 at most"));
}

static void test_sessions_are_bounded(void **state)
{
    char why[BAL_TEXT_MAX], *text = NULL;
    struct bal_layout l;
    size_t len;

    for (unsigned more = 0; more < 2; more++) {
        FILE *f = open_memstream(&text, &len);

        for (unsigned i = 0; i < BAL_LAYOUT_SEATS_MAX + more; i++)
            fprintf(f, "session " IQN " 192.0.2.7 %u core 3\n", i);
        fclose(f);
        assert_int_equal(bal_layout_parse(&l, text, len, "f", why), more ? -EINVAL : 0);
        if (!more) {
            assert_int_equal(l.seats_nr, BAL_LAYOUT_SEATS_MAX);
            bal_layout_free(&l);
        }
        free(text);
    }
    assert_non_null(strstr(why, "f:4097: more than 4096"));
}

static void test_what_is_written_reads_the_same(void **state)
{
    struct bal_seat seats[] = { { .target = IQN, .index = 7, .cpu = 3 },
                                { .target = "eui.02004567a425678d", .cpu = 95, .pinned = true } };
    const struct bal_layout l = { true, true, BAL_PACK, BAL_AUTO_ADVISE, 6, 2, seats };
    char why[BAL_TEXT_MAX], *text, *again;
    struct bal_layout read;

    assert_null(iscsi_portal_parse(&seats[0].portal, "host.example:860"));
    assert_null(iscsi_portal_parse(&seats[1].portal, "[2001:db8::1]"));
    assert_non_null(text = bal_layout_text(&l));
    assert_int_equal(parse(text, &read, why), 0);
    assert_int_equal(read.seats_nr, 2);
    assert_true(read.seats[1].pinned && read.seats[1].cpu == 95 && read.budget == 6);
    assert_non_null(again = bal_layout_text(&read));
    assert_string_equal(text, again);
    bal_layout_free(&read);
    free(text);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_line_is_read),
        cmocka_unit_test(test_nothing_said_is_a_layout_too),
        cmocka_unit_test(test_what_is_wrong_is_told_with_file_and_line),
        cmocka_unit_test(test_bytes_that_are_no_text_are_refused),
        cmocka_unit_test(test_sessions_are_bounded),
        cmocka_unit_test(test_what_is_written_reads_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
