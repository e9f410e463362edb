/*
 * test_case_discovery.c - discovery sessions and SendTargets (RFC 7143 4.3, 11.10, 11.11, appendix C)
 */
#include "case.h"

struct search {
    struct ini_discovery d;
    bool done;
};

static void search_done(struct ini_discovery *d)
{
    ((struct search *)d)->done = true;
}

static bool text(struct fake_conn *c, bool final, bool cont, uint32_t ttt, const char *data, uint32_t len)
{
    struct iscsi_pdu p = { .opcode = ISCSI_OP_TEXT_RESP, .final = final, .itt = c->pdu.itt, .ttt = ttt,
                           .text.cont = cont };

    return fake_send(c, p, data, len);
}

static void search(struct search *q, struct scene *x, fake_script *script, fake_hook *hook, uintptr_t which)
{
    memset(q, 0, sizeof(*q));
    scene_init(x, script, hook);
    x->which = which;
    q->d.conf = x->r.conf;
    q->d.done = search_done;
    ini_discover(x->r.rt, &q->d);
}

static void search_end(struct search *q, struct scene *x)
{
    free(q->d.found);
    scene_end(x);
}

/* ---- what the session asks ------------------------------------------------------------------------------ */

static bool has(const struct fake_conn *c, const char *pair)
{
    return memmem(c->data, c->len, pair, strlen(pair) + 1) != NULL;
}

static bool has_key(const struct fake_conn *c, const char *key)
{
    return memmem(c->data, c->len, key, strlen(key)) != NULL;
}

/* 13.21, 13.4: SessionType=Discovery, no TargetName; and no key that has no meaning there is offered (13.x). */
static void discovery_login_script(struct fake_conn *c)
{
    static const char *const normal[] = { "MaxConnections", "InitialR2T", "ImmediateData", "MaxBurstLength",
                                          "FirstBurstLength", "MaxOutstandingR2T", "DataPDUInOrder",
                                          "DataSequenceInOrder" };
    static const char keys[] = "HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=8192\0"
                               "DefaultTime2Wait=0\0DefaultTime2Retain=0\0ErrorRecoveryLevel=0";

    if (!fake_login_first(c))
        return;
    if (!has(c, "SessionType=Discovery") || has_key(c, "TargetName"))
        scene_of(c)->faults++;
    if (!fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(normal); i++)
        if (has_key(c, normal[i]))
            scene_of(c)->faults++;
    c->tsih = 0;                            /* nor need a discovery session have a number */
    if (fake_send(c, fake_login_resp(c, true, 1, 3, 0), keys, sizeof(keys)))
        fake_serve(c);
}

static bool one_target(struct fake_conn *c)
{
    static const char list[] = "TargetName=iqn.2026-11.org.example:a\0TargetAddress=192.0.2.1:3260,1";

    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    if (!c->pdu.immediate || !c->pdu.final || c->pdu.ttt != ISCSI_TAG_RESERVED || !has(c, "SendTargets=All") ||
        c->pdu.cmd_sn != c->exp_cmd_sn)
        scene_of(c)->faults++;
    text(c, true, false, ISCSI_TAG_RESERVED, list, sizeof(list));
    return true;
}

static void test_a_discovery_login_offers_what_has_a_meaning_there(void **state)
{
    struct search q;
    struct scene x;

    (void)state;
    search(&q, &x, discovery_login_script, one_target, 0);
    rig_until(&x.r, q.done);
    assert_int_equal(q.d.err, 0);
    assert_int_equal(q.d.found_nr, 1);
    search_end(&q, &x);
    assert_int_equal(x.f.logouts, 1);
}

/* A target that negotiates them all the same is told that they are irrelevant. */
static void irrelevant_script(struct fake_conn *c)
{
    static const char keys[] = "MaxRecvDataSegmentLength=8192\0DataSequenceInOrder=Yes\0InitialR2T=Yes\0"
                               "MaxBurstLength=65536";

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c) ||
        !fake_send(c, fake_login_resp(c, false, 1, 0, 0), keys, sizeof(keys)) || !fake_recv(c))
        return;
    if (!has(c, "DataSequenceInOrder=Irrelevant") || !has(c, "InitialR2T=Irrelevant") ||
        !has(c, "MaxBurstLength=Irrelevant"))
        scene_of(c)->faults++;
    if (fake_send(c, fake_login_resp(c, true, 1, 3, 0), NULL, 0))
        fake_serve(c);
}

static void test_keys_of_normal_sessions_are_irrelevant(void **state)
{
    struct search q;
    struct scene x;

    (void)state;
    search(&q, &x, irrelevant_script, one_target, 0);
    rig_until(&x.r, q.done);
    assert_int_equal(q.d.err, 0);
    search_end(&q, &x);
}

/* ---- lists ---------------------------------------------------------------------------------------------- */

struct list {
    const char *text;
    uint32_t len;
};
#define LIST(t) (&(const struct list){ t, sizeof(t) })

static bool tell_list(struct fake_conn *c)
{
    const struct list *l = c->f->arg;

    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    text(c, true, false, ISCSI_TAG_RESERVED, l->text, l->len);
    return true;
}

/* @host: of the last one found; NULL: where the portal is that was asked. */
static void found(const struct list *l, size_t nr, const char *host)
{
    struct search q;
    struct scene x;

    memset(&q, 0, sizeof(q));
    scene_init(&x, NULL, tell_list);
    x.f.arg = (void *)(uintptr_t)l;
    q.d.conf = x.r.conf;
    q.d.done = search_done;
    ini_discover(x.r.rt, &q.d);
    rig_until(&x.r, q.done);
    assert_int_equal(q.d.err, 0);
    assert_int_equal(q.d.found_nr, nr);
    if (nr)
        assert_string_equal(q.d.found[nr - 1].portal.host, host ? host : "127.0.0.1");
    search_end(&q, &x);
}

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NAME_223 "iqn.2026-11.org.example:" A50 A50 A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
static_assert(sizeof(NAME_223) == 224, "the longest name");

/* ---- answers that go wrong ------------------------------------------------------------------------------ */

enum row {
    OTHER_TAG, FINAL_WITH_TTT, NOT_FINAL, F_AND_C, NO_DATA, LOGOUT_FIRST, PING_FIRST, LOOP, EVENT, IN_TWO, BREAKS,
};

static bool odd_text(struct fake_conn *c)
{
    static const char list[] = "TargetName=iqn.2026-11.org.example:a\0TargetAddress=192.0.2.1:3260,1";
    struct scene *x = scene_of(c);
    uint8_t bhs[ISCSI_BHS_LEN];
    struct iscsi_pdu p = { .opcode = ISCSI_OP_ASYNC, .final = true, .itt = ISCSI_TAG_RESERVED,
                           .ttt = ISCSI_TAG_RESERVED };
    const uint32_t itt = c->pdu.itt;

    if (c->pdu.opcode == ISCSI_OP_NOP_OUT) {
        x->seen++;
        return true;
    }
    if (c->pdu.opcode != ISCSI_OP_TEXT)
        return false;
    switch ((enum row)x->which) {
    case OTHER_TAG:                         /* ignored; then the right one */
        c->pdu.itt ^= 0x00230000;
        text(c, true, false, ISCSI_TAG_RESERVED, "TargetName=iqn.2026-11.org.example:evil", 40);
        c->pdu.itt = itt;
        break;
    case FINAL_WITH_TTT:
        text(c, true, false, 77, list, sizeof(list));
        return true;
    case NOT_FINAL:                         /* F 0 without C: more pairs, asked for by an empty request */
        text(c, false, false, 5, list, 37);
        if (!fake_recv(c) || c->pdu.opcode != ISCSI_OP_TEXT || c->len || c->pdu.ttt != 5 || c->pdu.itt != itt)
            x->faults++;
        text(c, true, false, ISCSI_TAG_RESERVED, list + 37, sizeof(list) - 37);
        return true;
    case F_AND_C:
        numbered_bhs(c, bhs, (struct iscsi_pdu){ .opcode = ISCSI_OP_TEXT_RESP, .final = true, .itt = itt,
                                                 .ttt = ISCSI_TAG_RESERVED });
        bhs[1] |= 0x40;
        fake_send_bhs(c, bhs, list, 0);
        return true;
    case NO_DATA:
        text(c, true, false, ISCSI_TAG_RESERVED, NULL, 0);
        return true;
    case LOGOUT_FIRST:                      /* the portal wants to be left */
        p.async.event = ISCSI_ASYNC_DROP_ALL;
        fake_send(c, p, NULL, 0);
        return true;
    case PING_FIRST:
        send_unnumbered(c, (struct iscsi_pdu){ .opcode = ISCSI_OP_NOP_IN, .final = true,
                                               .itt = ISCSI_TAG_RESERVED, .ttt = 3 }, NULL, 0);
        break;
    case LOOP:                              /* a few bytes each time, under the same tag for ever */
        text(c, false, true, 9, "X", 1);
        return true;
    case EVENT:
        p.async.event = 200;
        fake_send(c, p, NULL, 0);
        break;
    case IN_TWO:                            /* split in the middle of a key */
        text(c, false, true, 5, list, 3);
        if (!fake_recv(c) || c->len)
            x->faults++;
        text(c, true, false, ISCSI_TAG_RESERVED, list + 3, sizeof(list) - 3);
        return true;
    case BREAKS:
        text(c, false, true, 5, list, 20);
        shutdown(c->fd, SHUT_RDWR);
        return true;
    }
    text(c, true, false, ISCSI_TAG_RESERVED, list, sizeof(list));
    return true;
}

static void answer_taken(enum row which, size_t nr)
{
    struct search q;
    struct scene x;

    search(&q, &x, NULL, odd_text, which);
    rig_until(&x.r, q.done);
    assert_int_equal(q.d.err, 0);
    assert_int_equal(q.d.found_nr, nr);
    search_end(&q, &x);
}

static void answer_refused(enum row which)
{
    struct search q;
    struct scene x;

    search(&q, &x, NULL, odd_text, which);
    rig_until(&x.r, q.done);
    assert_true(q.d.err < 0);
    assert_int_equal(q.d.found_nr, 0);
    assert_true(q.d.why[0]);
    search_end(&q, &x);
}

#define CASES(X)                                                                                              \
    /* C: no target at all */                                                                                 \
    X(test_no_targets_are_none, answer_taken, NO_DATA, 0)                                                     \
    /* 11.11: an answer under another tag */                                                                  \
    X(test_a_list_under_another_tag_is_ignored, answer_taken, OTHER_TAG, 1)                                   \
    /* 11.11.4: a tag in the last answer asks nothing */                                                      \
    X(test_a_tag_in_the_last_answer_is_ignored, answer_taken, FINAL_WITH_TTT, 1)                              \
    /* 11.11: F 0: more to come */                                                                            \
    X(test_a_list_that_is_not_final_is_asked_on, answer_taken, NOT_FINAL, 1)                                  \
    /* 11.11.2: split inside a key */                                                                         \
    X(test_a_list_split_inside_a_key_is_joined, answer_taken, IN_TWO, 1)                                      \
    /* 11.19: a ping in the middle */                                                                         \
    X(test_a_ping_in_a_discovery_session_is_answered, answer_taken, PING_FIRST, 1)                            \
    /* 11.9: a vendor's event in the middle */                                                                \
    X(test_an_event_in_a_discovery_session_is_ignored, answer_taken, EVENT, 1)                                \
    /* 11.11.2: F and C exclude each other */                                                                 \
    X(test_a_last_list_with_more_to_come_is_refused, answer_refused, F_AND_C)                                 \
    /* 11.9.1: the portal drops the session */                                                                \
    X(test_a_portal_that_drops_us_has_no_list, answer_refused, LOGOUT_FIRST)                                  \
    /* 11.11: closed in the middle */                                                                         \
    X(test_half_a_list_is_none, answer_refused, BREAKS)                                                       \
    /* 11.11: a pair without end */                                                                           \
    X(test_a_list_of_one_pair_without_end_is_refused, answer_refused, LOOP)                                   \
    /* C: a target without an address is where it was asked */                                                \
    X(test_a_target_without_an_address_is_at_the_portal, found, LIST("TargetName=iqn.2026-11.org.example:a"), \
      1, NULL)                                                                                                \
    /* C: addresses before any target */                                                                      \
    X(test_an_address_without_a_target_is_left_out, found,                                                    \
      LIST("TargetAddress=192.0.2.1:3260,1\0TargetName=iqn.2026-11.org.example:a"), 1, NULL)                  \
    /* 13.8: an address that is none, among others */                                                         \
    X(test_an_address_that_is_none_is_left_out, found,                                                        \
      LIST("TargetName=iqn.2026-11.org.example:a\0TargetAddress=[::1:3260\0TargetAddress=192.0.2.9:3260,1"),  \
      1,                                                                                                      \
      "192.0.2.9")                                                                                            \
    /* 13.8: without a port */                                                                                \
    X(test_an_address_without_a_port_is_read, found,                                                          \
      LIST("TargetName=iqn.2026-11.org.example:a\0TargetAddress=192.0.2.9,1"), 1, "192.0.2.9")                \
    /* 13.8: IPv6 */                                                                                          \
    X(test_an_address_of_ipv6_is_read, found,                                                                 \
      LIST("TargetName=iqn.2026-11.org.example:a\0TargetAddress=[2001:db8::9]:3260,1"), 1, "2001:db8::9")     \
    /* 4.2.7.1: a name of 223 bytes */                                                                        \
    X(test_a_name_of_223_bytes_is_kept, found, LIST("TargetName=" NAME_223), 1, NULL)                         \
    /* 4.2.7.1: a name of 224 bytes */                                                                        \
    X(test_a_name_of_224_bytes_is_left_out, found, LIST("TargetName=" NAME_223 "a"), 0, NULL)                 \
    /* 4.2.7: a name that would be a path */                                                                  \
    X(test_a_name_with_a_slash_is_left_out, found, LIST("TargetName=iqn.2026-11.org.example:../../etc"), 0,   \
      NULL)                                                                                                   \
    /* 4.2.7: a name that would be a line of its own */                                                       \
    X(test_a_name_with_a_line_feed_is_left_out, found, LIST("TargetName=iqn.2026-11.org.example:a\nb"), 0,    \
      NULL)                                                                                                   \
    /* 4.2.7: no name */                                                                                      \
    X(test_an_empty_name_is_left_out, found, LIST("TargetName=\0TargetAddress=192.0.2.1:3260,1"), 0, NULL)    \
    /* 6.1: keys that nobody knows */                                                                         \
    X(test_other_keys_in_a_list_are_ignored, found,                                                           \
      LIST("X-org.example=1\0TargetName=iqn.2026-11.org.example:a\0TargetAlias=disk"), 1, NULL)

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 4.3, 13: the keys of a discovery login; TSIH may be 0 */
        cmocka_unit_test(test_a_discovery_login_offers_what_has_a_meaning_there),
        /* 13.19 and others: Irrelevant in a discovery session */
        cmocka_unit_test(test_keys_of_normal_sessions_are_irrelevant),
        CASES(CASE_ENTRY)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
