/*
 * test_discover.c - SendTargets against portals that tell much, little, or nothing sensible
 */
#include "fake_target.h"

struct found {
    struct ini_discovery d;
    bool done;
};

static void on_done(struct ini_discovery *d)
{
    ((struct found *)d)->done = true;
}

static bool text(struct fake_conn *c, bool more, uint32_t ttt, const char *data, uint32_t len)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_TEXT_RESP, .final = !more, .itt = c->pdu.itt,
                           .ttt = more ? ttt : ISCSI_TAG_RESERVED, .text.cont = more };

    return fake_send(c, p, data, len);
}

static void discover(struct found *x, struct rig *r, struct fake *f)
{
    memset(x, 0, sizeof(*x));
    rig_init(r, f->port);
    x->d.conf = r->conf;
    x->d.conf.set.login_timeout_s = 2;
    x->d.done = on_done;
    ini_discover(r->rt, &x->d);
    rig_until(r, x->done);
}

static void end(struct found *x, struct rig *r, struct fake *f)
{
    free(x->d.found);
    rig_end(r);
    fake_stop(f);
}

static const char list[] = "TargetName=iqn.2026-11.org.example:a\0TargetAddress=192.0.2.1:3260,1\0"
                           "TargetAddress=[2001:db8::1]:3261,2\0TargetName=iqn.2026-11.org.example:b_C\0"
                           "TargetName=iqn.2026-11.org.example:c\0TargetAddress=storage.example.org:3260,7";

/* In pieces of @arg bytes. */
static bool tell(struct fake_conn *c)
{
    const uint32_t step = (uint32_t)(uintptr_t)c->f->arg;

    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    if (c->len != 16 || memcmp(c->data, "SendTargets=All", 16))
        return false;
    for (uint32_t at = 0; at < sizeof(list);) {
        const uint32_t n = step < sizeof(list) - at ? step : (uint32_t)sizeof(list) - at;
        const uint32_t itt = c->pdu.itt;

        text(c, at + n < sizeof(list), 0x55, list + at, n);
        at += n;
        if (at < sizeof(list) && (!fake_recv(c) || c->pdu.itt != itt || c->pdu.ttt != 0x55 || c->len))
            return false;
    }
    return true;
}

static void test_targets_and_portals_are_listed_however_they_are_split(void **state)
{
    static const unsigned steps[] = { 8192, 100, 7, 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct fake f = { .hook = tell, .arg = (void *)(uintptr_t)steps[i] };
        struct found x;
        struct rig r;

        fake_start(&f, NULL);
        discover(&x, &r, &f);
        assert_int_equal(x.d.err, 0);
        assert_int_equal(x.d.found_nr, 4);
        assert_string_equal(x.d.found[0].target, "iqn.2026-11.org.example:a");
        assert_string_equal(x.d.found[0].portal.host, "192.0.2.1");
        assert_string_equal(x.d.found[1].portal.host, "2001:db8::1");
        assert_int_equal(x.d.found[1].portal.tpgt, 2);
        assert_string_equal(x.d.found[2].target, "iqn.2026-11.org.example:b_C");
        assert_string_equal(x.d.found[2].portal.host, "127.0.0.1");     /* where it was asked */
        assert_string_equal(x.d.found[3].portal.host, "storage.example.org");
        assert_false(x.d.cut);
        end(&x, &r, &f);
    }
}

static bool tell_nonsense(struct fake_conn *c)
{
    static const char slash[] = "TargetName=iqn.2026-11.org.example:../../x\0TargetAddress=192.0.2.1\0"
                                "TargetName=iqn a\0TargetAddress=192.0.2.1";
    char many[8192];
    struct iscsi_pdu p = {
        .opcode = ISCSI_OP_REJECT, .final = true, .itt = ISCSI_TAG_RESERVED, .ttt = ISCSI_TAG_RESERVED
    };

    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    switch ((uintptr_t)c->f->arg) {
    case 0:
        text(c, false, 0, "no pairs here", 14);
        return true;
    case 1:
        text(c, false, 0, "TargetName=iqn.2026-11.org.example:a", 36);  /* not terminated */
        return true;
    case 2:                                 /* one that never ends */
        memset(many, 'x', sizeof(many));
        text(c, true, 1, many, sizeof(many));
        return true;
    case 3:                                 /* more to come, without a tag to ask by */
        text(c, true, ISCSI_TAG_RESERVED, "a=b", 4);
        return true;
    case 4:
        p.reject.reason = ISCSI_REJECT_NOT_SUPPORTED;
        fake_send(c, p, c->bhs, sizeof(c->bhs));
        return true;
    case 5:
        shutdown(c->fd, SHUT_RDWR);
        return true;
    case 6:
        return true;                        /* silence */
    default:
        text(c, false, 0, slash, sizeof(slash));
        return true;
    }
}

static void test_lists_that_are_none_are_errors(void **state)
{
    (void)state;
    for (uintptr_t which = 0; which <= 7; which++) {
        struct fake f = { .hook = tell_nonsense, .arg = (void *)which };
        struct found x;
        struct rig r;

        fake_start(&f, NULL);
        discover(&x, &r, &f);
        assert_int_equal(x.d.found_nr, 0);
        if (which < 7) {
            assert_true(x.d.err < 0);
            assert_true(x.d.why[0]);
        } else {
            assert_int_equal(x.d.err, 0);   /* names that could become paths are left out */
        }
        end(&x, &r, &f);
    }
}

static bool tell_all(struct fake_conn *c)
{
    char many[4096];
    unsigned n = 0;

    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    while (n < INI_DISCOVER_MAX + 100) {
        uint32_t len = 0;

        for (unsigned i = 0; i < 50; i++)
            len += (uint32_t)snprintf(many + len, sizeof(many) - len, "TargetName=iqn.2026-11.org.example:%u",
                                      n++) +
                   1;
        text(c, n < INI_DISCOVER_MAX + 100, 9, many, len);
        if (n < INI_DISCOVER_MAX + 100 && !fake_recv(c))
            return false;
    }
    return true;
}

static void test_what_is_kept_is_bounded(void **state)
{
    struct fake f = { .hook = tell_all };
    struct found x;
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    discover(&x, &r, &f);
    assert_int_equal(x.d.err, 0);
    assert_int_equal(x.d.found_nr, INI_DISCOVER_MAX);
    assert_true(x.d.cut);
    end(&x, &r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_and_portals_are_listed_however_they_are_split),
        cmocka_unit_test(test_lists_that_are_none_are_errors),
        cmocka_unit_test(test_what_is_kept_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
