/*
 * test_case_login.c - the login's stages, statuses and redirections (RFC 7143 6, 11.12, 11.13)
 */
#include "case.h"

/* ---- what the session asks ------------------------------------------------------------------------------ */

static bool has(const struct fake_conn *c, const char *pair)
{
    return memmem(c->data, c->len, pair, strlen(pair) + 1) != NULL;
}

/* Each request of a login: immediate, under one tag and one CmdSN, ISID of type 80h, TSIH 0, version 0. */
static void look_at_login(struct fake_conn *c)
{
    static struct iscsi_pdu first;
    static uint8_t isid[6];
    struct scene *x = scene_of(c);
    const struct iscsi_pdu *p = &c->pdu;
    const bool security = p->login.csg == ISCSI_STAGE_SECURITY;

    if (!x->seen++) {
        first = *p;
        memcpy(isid, p->login.isid, sizeof(isid));
    }
    if (security) {
        if (p->exp_stat_sn || !has(c, "InitiatorName=iqn.2026-11.org.corelane.test:initiator") ||
            !has(c, "TargetName=" FAKE_IQN) || !has(c, "SessionType=Normal") || !has(c, "AuthMethod=None"))
            x->faults++;
        first = *p;
    } else if (p->exp_stat_sn != c->stat_sn || p->itt != first.itt || p->cmd_sn != first.cmd_sn ||
               p->login.nsg != ISCSI_STAGE_FULL_FEATURE) {
        x->faults++;
    }
    if (!p->immediate || !p->login.transit || p->login.cont || p->login.tsih || p->login.version_min ||
        (p->login.isid[0] & 0xc0) != 0x80 || memcmp(p->login.isid, isid, sizeof(isid)) != 0)
        x->faults++;
}

static void looking_script(struct fake_conn *c)
{
    if (!fake_login_first(c))
        return;
    look_at_login(c);
    if (!fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    look_at_login(c);
    if (fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys)))
        fake_serve(c);
}

static void test_the_requests_of_a_login_are_by_the_rules(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, looking_script, NULL);
    still_works(&x, 1);
    scene_end(&x);
    assert_int_equal(x.seen, 2);
}

static bool hang_up_once(struct fake_conn *c)
{
    if (c->nr || !is_cmd(c))
        return false;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

/* 6.3.5: the same ISID and TSIH 0 again: that ends the old session at the target. */
static void test_a_session_is_reinstated_by_its_isid(void **state)
{
    struct scene x;

    (void)state;
    scene_up(&x, looking_script, hang_up_once);
    cmd_write(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_LOST);
    scene_end(&x);
    assert_int_equal(x.seen, 4);
}

/* ---- responses that do not fit -------------------------------------------------------------------------- */

enum row {
    STAGE_AHEAD, STAGE_SKIPPED, STAGE_RESERVED, STAGE_BACK, STAGE_FULL, T_AND_C, VERSION_ACTIVE, VERSION_MAX, ISID,
    TAG, OPCODE, TOO_LONG, WITH_AHS, TSIH_EARLY, CLASS_0_DETAIL, NOT_YET, BYTES, STAT_SN, CLOSED, C_EMPTY,
    C_FOR_EVER, ANSWERED_TWICE, TAKEN_BACK,
    T_EARLY_FINAL,
};

static void send_bent(struct fake_conn *c, struct iscsi_pdu p, unsigned at, uint8_t with)
{
    uint8_t bhs[ISCSI_BHS_LEN];

    numbered_bhs(c, bhs, p);
    bhs[at] = with;
    fake_send_bhs(c, bhs, NULL, 0);
}

static void odd_login_script(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    const uint8_t arg = (uint8_t)(x->which >> 8);
    struct iscsi_pdu p;
    uint8_t bhs[ISCSI_BHS_LEN];
    static char long_text[8200];

    if (!fake_login_first(c))
        return;
    p = fake_login_resp(c, true, 0, 1, 0);
    switch ((enum row)(x->which & 0xff)) {
    case STAGE_AHEAD:
        send_bent(c, p, 1, 0x80 | 1 << 2 | 3);
        break;
    case STAGE_SKIPPED:                     /* right to full feature, where the operational stage was asked for */
        send_bent(c, p, 1, 0x80 | 3);
        break;
    case STAGE_RESERVED:
        send_bent(c, p, 1, 0x80 | 2);
        break;
    case STAGE_BACK:
        send_bent(c, p, 1, 0x80 | 0);
        break;
    case STAGE_FULL:
        send_bent(c, p, 1, 0x80 | 3 << 2 | 3);
        break;
    case T_AND_C:
        send_bent(c, p, 1, 0xc0 | 1);
        break;
    case VERSION_ACTIVE:
        send_bent(c, p, 3, 1);
        break;
    case VERSION_MAX:
        send_bent(c, p, 2, 5);
        goto operational;
    case ISID:
        send_bent(c, p, 8 + arg, (uint8_t)(p.login.isid[arg] ^ 0x40));
        break;
    case TAG:
        send_bent(c, p, 16, (uint8_t)((p.itt >> 24) ^ 1));
        break;
    case OPCODE:
        send_bent(c, p, 0, arg);
        break;
    case TOO_LONG:                          /* one byte over 8192, of text that is right */
        memset(long_text, 'a', sizeof(long_text));
        memcpy(long_text, "X-a=", 4);
        for (unsigned i = 200; i < sizeof(long_text); i += 200)
            memcpy(long_text + i - 1, "\0X-a=", 5);
        long_text[8192] = '\0';
        fake_send(c, p, long_text, 8193);
        break;
    case WITH_AHS:
        numbered_bhs(c, bhs, p);
        bhs[4] = 1;
        fake_send_bhs(c, bhs, NULL, 0);
        fake_write(c->fd, long_text, 4);
        break;
    case TSIH_EARLY:
        p.login.tsih = 77;
        fake_send(c, p, NULL, 0);
        goto operational;
    case CLASS_0_DETAIL:
        numbered_bhs(c, bhs, p);
        bhs[37] = 1;
        fake_send_bhs(c, bhs, NULL, 0);
        break;
    case NOT_YET:                           /* it wants to be asked three times, in each stage */
        for (unsigned i = 0; i < 3; i++)
            if (!fake_send(c, fake_login_resp(c, false, 0, 0, 0), NULL, 0) || !fake_recv(c) || c->len ||
                !c->pdu.login.transit)
                return;
        fake_send(c, p, NULL, 0);
        if (!fake_recv(c))
            return;
        fake_send(c, fake_login_resp(c, false, 1, 0, 0), fake_keys, sizeof(fake_keys));
        for (unsigned i = 0; i < 3; i++)
            if (!fake_recv(c) || c->len ||
                !fake_send(c, fake_login_resp(c, i == 2, 1, i == 2 ? 3 : 0, 0), NULL, 0))
                return;
        fake_serve(c);
        return;
    case BYTES:
        numbered_bhs(c, bhs, p);
        for (unsigned i = 0; i < sizeof(bhs); i++)
            fake_write(c->fd, bhs + i, 1);
        goto operational;
    case STAT_SN:                           /* each with a number of its own making: the last one counts */
        fake_send(c, p, NULL, 0);
        c->stat_sn += 1000;
        goto operational;
    case CLOSED:
        fake_send(c, p, NULL, 0);
        return;
    case C_EMPTY:                           /* 64 times "more follows", of nothing */
    case C_FOR_EVER:
        do {
            p = fake_login_resp(c, false, 0, 0, 0);
            p.login.cont = true;
        } while (fake_send(c, p, "a=b", (x->which & 0xff) == C_EMPTY ? 0 : 4) && fake_recv(c));
        return;
    case ANSWERED_TWICE:                    /* the same response twice at once */
        fake_send(c, p, NULL, 0);
        fake_send(c, p, NULL, 0);
        break;
    case TAKEN_BACK:                        /* an operational response from the security stage */
        fake_send(c, p, NULL, 0);
        if (fake_recv(c))
            fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0);
        break;
    case T_EARLY_FINAL:                     /* full feature phase in a response that is no Login Response */
        fake_send(c, p, NULL, 0);
        if (fake_recv(c)) {
            p = fake_resp(SCSI_GOOD);
            p.itt = c->pdu.itt;
            fake_send(c, p, NULL, 0);
        }
        break;
    }
    (void)fake_recv(c);
    return;
operational:
    if (fake_recv(c) && fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys)))
        fake_serve(c);
}

static void login_fails(uintptr_t which)
{
    struct scene x;

    scene_init(&x, odd_login_script, NULL);
    x.which = which;
    scene_refused(&x);
    scene_end(&x);
    assert_int_equal(x.f.conns, 1);
}

static void login_succeeds(uintptr_t which)
{
    struct scene x;

    scene_init(&x, odd_login_script, NULL);
    x.which = which;
    scene_go(&x);
    still_works(&x, 1);
    scene_end(&x);
}

static void test_a_response_with_another_isid_is_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++)
        login_fails(ISID | i << 8);
}

static void test_nothing_but_login_responses_is_taken_in_a_login(void **state)
{
    static const uint8_t opcodes[] = { 0x00, 0x03, 0x1f, 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3e, 0x3f };

    (void)state;
    for (size_t i = 0; i < sizeof(opcodes); i++)
        login_fails(OPCODE | (unsigned)opcodes[i] << 8);
}

/* ---- statuses ------------------------------------------------------------------------------------------- */

static void status_script(struct fake_conn *c)
{
    if (fake_login_first(c))
        fake_refuse(c, (uint16_t)scene_of(c)->which, NULL);
}

/* Class 2 is the initiator's own fault: told at once. Class 3 may pass: tried again, as often as is set. */
static void status(uint16_t code, int err, const char *word)
{
    struct scene x;
    char digits[8];
    const char *advice = NULL, *text = iscsi_login_status_text(code, &advice);

    scene_init(&x, status_script, NULL);
    x.which = code;
    x.r.conf.set.login_retry_max = 2;
    scene_refused(&x);
    snprintf(digits, sizeof(digits), "%04x", code);
    assert_int_equal(x.r.err, err);
    assert_non_null(strstr(x.r.why, digits));
    assert_non_null(strstr(x.r.why, text));
    assert_non_null(strstr(x.r.why, word));
    if (advice)
        assert_non_null(strstr(x.r.why, advice));
    scene_end(&x);
    assert_int_equal(x.f.conns, code >> 8 == 3 ? 3 : 1);
}

/* ---- redirections --------------------------------------------------------------------------------------- */

#define PORTALS 7u

struct portals {
    struct fake f[PORTALS];
    char to[PORTALS][80];
    unsigned last;
};

static void portal_script(struct fake_conn *c)
{
    const struct portals *p = c->f->arg;
    const unsigned i = (unsigned)(c->f - p->f);

    if (i == p->last)
        fake_default_script(c);
    else if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_TEMP, p->to[i]);
}

/* A chain of @hops portals, each of which knows the next. */
static void chain(unsigned hops, bool ends)
{
    static struct portals p;
    struct rig r;

    memset(&p, 0, sizeof(p));
    p.last = hops;
    for (unsigned i = 0; i < PORTALS; i++) {
        p.f[i].arg = &p;
        fake_start(&p.f[i], portal_script);
    }
    for (unsigned i = 0; i + 1 < PORTALS; i++)
        snprintf(p.to[i], sizeof(p.to[i]), "TargetAddress=127.0.0.1:%u,1", p.f[i + 1].port);
    rig_init(&r, p.f[0].port);
    rig_start(&r);
    rig_until(&r, r.ups || r.faults);
    assert_int_equal(r.ups, ends);
    if (!ends) {
        assert_int_equal(r.err, -ELOOP);
        assert_non_null(strstr(r.why, "redirected"));
    }
    rig_end(&r);
    for (unsigned i = 0; i < PORTALS; i++) {
        fake_stop(&p.f[i]);
        assert_int_equal(p.f[i].conns, i <= hops && i <= 4);
    }
}

static void address_script(struct fake_conn *c)
{
    struct scene *x = scene_of(c);
    char text[600];

    if (!fake_login_first(c))
        return;
    snprintf(text, sizeof(text), "TargetAddress=%s", (const char *)x->f.arg);
    fake_refuse(c, (uint16_t)x->which, text);
}

/* An address that is none: the login fails, and says so. */
static void bad_address(const char *address)
{
    struct scene x;

    scene_init(&x, address_script, NULL);
    x.f.arg = (void *)(uintptr_t)address;
    x.which = ISCSI_LOGIN_MOVED_PERM;
    scene_refused(&x);
    assert_int_equal(x.r.err, -EPROTO);
    scene_end(&x);
    assert_int_equal(x.f.conns, 1);
}

static void to_itself_script(struct fake_conn *c)
{
    char text[80];

    snprintf(text, sizeof(text), "TargetAddress=127.0.0.1:%u,1", c->f->port);
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_PERM, text);
}

static void test_a_portal_that_redirects_to_itself_is_a_circle(void **state)
{
    struct scene x;

    (void)state;
    scene_init(&x, to_itself_script, NULL);
    x.r.conf.set.login_retry_max = 50;
    scene_refused(&x);
    assert_int_equal(x.r.err, -ELOOP);
    scene_end(&x);
    assert_int_equal(x.f.conns, 1);
}

/* A redirection without T, in the stage where it was asked; other keys around the address. */
static void wordy_script(struct fake_conn *c)
{
    const struct fake *to = c->f->arg;
    char text[200];
    int n;

    if (!fake_login_first(c))
        return;
    n = snprintf(text, sizeof(text),
                 "TargetAlias=old%cX-org.example=1%cTargetAddress=127.0.0.1:%u%cTargetAlias=older", 0, 0, to->port, 0);
    fake_send(c, fake_login_resp(c, false, 0, 0, ISCSI_LOGIN_MOVED_TEMP), text, (uint32_t)n + 1);
}

static void test_the_address_is_found_among_other_keys(void **state)
{
    struct scene x;
    struct fake away = { 0 };

    (void)state;
    fake_start(&away, NULL);
    scene_init(&x, wordy_script, NULL);
    x.f.arg = &away;
    scene_go(&x);
    still_works(&x, 1);
    scene_end(&x);
    fake_stop(&away);
}

#define CASES(X)                                                                                              \
    /* 11.12.3: a response from a stage that was not reached */                                               \
    X(test_a_response_from_the_stage_ahead_is_refused, login_fails, STAGE_AHEAD)                              \
    /* 11.13.6: NSG beyond what was asked for */                                                              \
    X(test_a_stage_that_is_skipped_is_refused, login_fails, STAGE_SKIPPED)                                    \
    /* 11.12.3: NSG 2 is reserved */                                                                          \
    X(test_a_reserved_stage_is_refused, login_fails, STAGE_RESERVED)                                          \
    /* 11.12.3: NSG not above CSG */                                                                          \
    X(test_a_stage_that_goes_nowhere_is_refused, login_fails, STAGE_BACK)                                     \
    /* 11.12.3: CSG 3 is no stage of a login */                                                               \
    X(test_a_login_in_full_feature_phase_is_refused, login_fails, STAGE_FULL)                                 \
    /* 11.13.7: T and C exclude each other */                                                                 \
    X(test_done_with_more_to_come_is_refused, login_fails, T_AND_C)                                           \
    /* 11.13.2: Version-active other than 0 */                                                                \
    X(test_a_version_to_come_is_refused, login_fails, VERSION_ACTIVE)                                         \
    /* 11.13.1: Version-max says what else there is */                                                        \
    X(test_a_target_that_knows_more_versions_is_taken, login_succeeds, VERSION_MAX)                           \
    /* 11.2.1.8: a response under another tag */                                                              \
    X(test_a_response_under_another_tag_is_refused, login_fails, TAG)                                         \
    /* 13.12: more than 8192 bytes before anything else is declared */                                        \
    X(test_a_response_of_8193_bytes_is_refused, login_fails, TOO_LONG)                                        \
    /* 11.2.2: a Login Response has no AHS */                                                                 \
    X(test_a_response_with_an_ahs_is_refused, login_fails, WITH_AHS)                                          \
    /* 11.13.3: TSIH in a response that is not the last */                                                    \
    X(test_an_early_session_handle_is_not_the_session_s, login_succeeds, TSIH_EARLY)                          \
    /* 11.13.5: class 0 has detail 0 alone */                                                                 \
    X(test_success_with_a_detail_is_none, login_fails, CLASS_0_DETAIL)                                        \
    /* 6.2: a target that is not ready to go on is asked again */                                             \
    X(test_a_target_that_does_not_go_on_yet_is_asked_again, login_succeeds, NOT_YET)                          \
    /* 11.2: a response in single bytes */                                                                    \
    X(test_a_login_byte_by_byte_succeeds, login_succeeds, BYTES)                                              \
    /* 4.2.2.2: StatSN starts with the last response of the login */                                          \
    X(test_numbers_start_with_the_last_login_response, login_succeeds, STAT_SN)                               \
    /* 6.3: closed in the middle */                                                                           \
    X(test_a_login_that_is_hung_up_on_fails, login_fails, CLOSED)                                             \
    /* 6.2: the C bit without end, and without text */                                                        \
    X(test_more_of_nothing_for_ever_is_refused, login_fails, C_EMPTY)                                         \
    /* 6.2: the C bit without end */                                                                          \
    X(test_more_text_for_ever_is_refused, login_fails, C_FOR_EVER)                                            \
    /* 11.13: two responses to one request */                                                                 \
    X(test_a_response_nobody_asked_for_is_refused, login_fails, ANSWERED_TWICE)                               \
    /* 6.3: back to a stage that is over */                                                                   \
    X(test_a_stage_that_is_over_stays_over, login_fails, TAKEN_BACK)                                          \
    /* 6.3: full feature phase before its time */                                                             \
    X(test_a_scsi_response_in_a_login_is_refused, login_fails, T_EARLY_FINAL)                                 \
    /* 11.13.5: 0200 */                                                                                       \
    X(test_status_0200_is_told, status, ISCSI_LOGIN_INITIATOR_ERROR, -EPROTO, "refused")                      \
    /* 11.13.5: 0201 */                                                                                       \
    X(test_status_0201_is_told, status, ISCSI_LOGIN_AUTH_FAILED, -EACCES, "refused")                          \
    /* 11.13.5: 0202 */                                                                                       \
    X(test_status_0202_is_told, status, ISCSI_LOGIN_FORBIDDEN, -EACCES, "refused")                            \
    /* 11.13.5: 0203 */                                                                                       \
    X(test_status_0203_is_told, status, ISCSI_LOGIN_NOT_FOUND, -ENOENT, "refused")                            \
    /* 11.13.5: 0204 */                                                                                       \
    X(test_status_0204_is_told, status, ISCSI_LOGIN_REMOVED, -ENOENT, "refused")                              \
    /* 11.13.5: 0205 */                                                                                       \
    X(test_status_0205_is_told, status, ISCSI_LOGIN_VERSION, -EPROTO, "refused")                              \
    /* 11.13.5: 0206 */                                                                                       \
    X(test_status_0206_is_told, status, ISCSI_LOGIN_TOO_MANY, -EUSERS, "refused")                             \
    /* 11.13.5: 0207 */                                                                                       \
    X(test_status_0207_is_told, status, ISCSI_LOGIN_MISSING_PARAMETER, -EPROTO, "refused")                    \
    /* 11.13.5: 0208 */                                                                                       \
    X(test_status_0208_is_told, status, ISCSI_LOGIN_CANNOT_INCLUDE, -EPROTO, "refused")                       \
    /* 11.13.5: 0209 */                                                                                       \
    X(test_status_0209_is_told, status, ISCSI_LOGIN_SESSION_TYPE, -EPROTO, "refused")                         \
    /* 11.13.5: 020a */                                                                                       \
    X(test_status_020a_is_told, status, ISCSI_LOGIN_NO_SESSION, -EPROTO, "refused")                           \
    /* 11.13.5: 020b */                                                                                       \
    X(test_status_020b_is_told, status, ISCSI_LOGIN_INVALID_REQUEST, -EPROTO, "refused")                      \
    /* 11.13.5: 0300 */                                                                                       \
    X(test_status_0300_is_told_and_tried_again, status, ISCSI_LOGIN_TARGET_ERROR, -EREMOTEIO, "refused")      \
    /* 11.13.5: 0301 */                                                                                       \
    X(test_status_0301_is_told_and_tried_again, status, ISCSI_LOGIN_UNAVAILABLE, -EAGAIN, "refused")          \
    /* 11.13.5: 0302 */                                                                                       \
    X(test_status_0302_is_told_and_tried_again, status, ISCSI_LOGIN_OUT_OF_RESOURCES, -EUSERS, "refused")     \
    /* 11.13.5: a class to come */                                                                            \
    X(test_a_status_of_a_class_to_come_is_told, status, 0x0701, -EPROTO, "refused")                           \
    /* 11.13.5: 0101: a chain that ends is followed */                                                        \
    X(test_four_redirections_are_followed, chain, 4, true)                                                    \
    /* 11.13.5: 0101: a chain without end is not */                                                           \
    X(test_a_fifth_redirection_is_one_too_many, chain, 5, false)                                              \
    /* 13.8: TargetAddress without an address */                                                              \
    X(test_a_redirection_to_a_port_alone_is_refused, bad_address, ":3260")                                    \
    /* 13.8: TargetAddress with a port past 65535 */                                                          \
    X(test_a_redirection_to_port_65536_is_refused, bad_address, "127.0.0.1:65536,1")                          \
    /* 13.8: TargetAddress with port 0 */                                                                     \
    X(test_a_redirection_to_port_0_is_refused, bad_address, "127.0.0.1:0,1")                                  \
    /* 13.8: a bracket that does not close */                                                                 \
    X(test_a_redirection_with_half_a_bracket_is_refused, bad_address, "[::1:3260,1")                          \
    /* 13.8: noise behind the address */                                                                      \
    X(test_a_redirection_with_noise_is_refused, bad_address, "127.0.0.1:3260,1,2 and more")                   \
    /* 13.8: a group tag past 65535 */                                                                        \
    X(test_a_redirection_to_group_65536_is_refused, bad_address, "127.0.0.1:3260,65536")

CASES(CASE_FUNCTION)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* 11.12: the header and the keys of each request */
        cmocka_unit_test(test_the_requests_of_a_login_are_by_the_rules),
        /* 6.3.5: session reinstatement */
        cmocka_unit_test(test_a_session_is_reinstated_by_its_isid),
        CASES(CASE_ENTRY)
        /* 11.12.5: ISID, each byte of it */
        cmocka_unit_test(test_a_response_with_another_isid_is_refused),
        /* 6.3: any other PDU in the login */
        cmocka_unit_test(test_nothing_but_login_responses_is_taken_in_a_login),
        /* 11.13.5: 0102 to the same place */
        cmocka_unit_test(test_a_portal_that_redirects_to_itself_is_a_circle),
        /* 11.13.5: the address may stand anywhere in the text */
        cmocka_unit_test(test_the_address_is_found_among_other_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
