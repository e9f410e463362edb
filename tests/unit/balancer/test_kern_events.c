/*
 * test_kern_events.c - messages of the kernel's iSCSI transport class, made by hand; a real one is heard in tests/kernel
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "balancer/kern_events.h"

#define LEN 64

static void event_make(uint8_t msg[static LEN], uint32_t type, uint32_t a, uint32_t b)
{
    memset(msg, 0xee, LEN);
    memcpy(msg, &type, sizeof(type));
    memcpy(msg + 40, &a, sizeof(a));
    memcpy(msg + 44, &b, sizeof(b));
}

static void test_kern_event_of_each_kind(void **state)
{
    static const struct {
        uint32_t type, a, b;
        struct bal_kern_event want;
    } cases[] = {
        { 106, 7, 3, { BAL_KERN_CREATED, 7, 3 } },
        { 105, 7, 3, { BAL_KERN_UNBOUND, 7, 3 } },
        { 104, 3, 7, { BAL_KERN_DESTROYED, 7, 3 } },
        { 102, 7, 0, { BAL_KERN_FAILED, 7, 0 } },
    };
    uint8_t msg[LEN];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bal_kern_event ev;

        event_make(msg, cases[i].type, cases[i].a, cases[i].b);
        assert_int_equal(bal_kern_event_parse(&ev, msg, LEN), 0);
        assert_int_equal(ev.what, cases[i].want.what);
        assert_int_equal(ev.sid, cases[i].want.sid);
        assert_int_equal(ev.host, cases[i].want.host);
        assert_int_equal(bal_kern_event_parse(&ev, msg, 48), 0);
        for (size_t len = 0; len < 48; len++)
            assert_int_equal(bal_kern_event_parse(&ev, msg, len), -EINVAL);
    }
}

static void test_kern_event_others_are_not_ours(void **state)
{
    struct bal_kern_event ev = { .sid = 5 };
    uint8_t msg[LEN];

    (void)state;
    for (uint32_t type = 0; type < 300; type++) {
        if (type == 102 || (type >= 104 && type <= 106))
            continue;
        event_make(msg, type, 1, 1);
        assert_int_equal(bal_kern_event_parse(&ev, msg, LEN), -ENOENT);
    }
    assert_int_equal(ev.sid, 5);
}

/* Whatever this machine has: it opens, and there is nothing to read, or it says why not. */
static void test_kern_events_open_or_say_why_not(void **state)
{
    struct bal_kern_events *e = NULL;
    char why[256] = "";
    const int err = bal_kern_events_open(&e, why);

    (void)state;
    if (err) {
        assert_true(err < 0);
        assert_null(e);
        assert_non_null(strstr(why, "events cannot be had"));
        return;
    }
    assert_true(bal_kern_events_fd(e) >= 0);
    bal_kern_events_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kern_event_of_each_kind),
        cmocka_unit_test(test_kern_event_others_are_not_ours),
        cmocka_unit_test(test_kern_events_open_or_say_why_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
