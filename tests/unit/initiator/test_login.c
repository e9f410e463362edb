/*
 * test_login.c - the login phase against targets that are busy, moved, strict, confused or hostile
 */
#include "fake_target.h"

/* ---- what goes well ------------------------------------------------------------------------------------- */

static void test_logs_in_and_out(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    struct ini_sess_info info;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    ini_sess_info(r.s, &info);
    assert_int_equal(info.state, INI_UP);
    assert_string_equal(info.transport, "tcp");
    assert_int_equal(info.tsih, 1);
    assert_int_equal(info.window, 64);
    assert_int_equal(info.params.peer_recv_data_max, 1048576);
    assert_int_equal(info.params.first_burst_max, 262144);
    rig_end(&r);
    assert_int_equal(f.logouts, 1);
    fake_stop(&f);
}

static void test_host_names_are_looked_up(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    rig_init(&r, f.port);
    strcpy(r.conf.portal.host, "localhost");        /* ::1 first, where nobody listens */
    rig_start(&r);
    rig_until(&r, r.ups == 1 || r.faults);
    assert_int_equal(r.ups, 1);
    rig_end(&r);
    fake_stop(&f);
}

static void test_unknown_names_are_named(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 3260);
    strcpy(r.conf.portal.host, "no-such-host.invalid");
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_non_null(strstr(r.why, "no-such-host.invalid"));
    rig_end(&r);
}

/* The target's own answers come in pieces, with the C bit. */
static void pieces_script(struct fake_conn *c)
{
    struct iscsi_pdu p;

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    p = fake_login_resp(c, false, 1, 0, 0);
    p.login.cont = true;
    fake_send(c, p, fake_keys, 100);
    if (!fake_recv(c) || c->len || c->pdu.login.transit)
        return;
    fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys + 100, sizeof(fake_keys) - 100);
    fake_serve(c);
}

static void test_keys_split_anywhere_are_joined(void **state)
{
    struct fake f = { 0 };
    struct rig r;
    struct ini_sess_info info;

    (void)state;
    fake_start(&f, pieces_script);
    rig_init(&r, f.port);
    rig_start(&r);
    rig_until(&r, r.ups || r.faults);
    assert_int_equal(r.ups, 1);
    ini_sess_info(r.s, &info);
    assert_int_equal(info.params.burst_max, 1048576);
    rig_end(&r);
    fake_stop(&f);
}

/* ---- redirection ---------------------------------------------------------------------------------------- */

static void moved_script(struct fake_conn *c)
{
    const struct fake *to = c->f->arg;
    char text[64];

    snprintf(text, sizeof(text), "TargetAddress=127.0.0.1:%u,1", to->port);
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_TEMP, text);
}

static void moved_for_good_script(struct fake_conn *c)
{
    const struct fake *to = c->f->arg;
    char text[64];

    snprintf(text, sizeof(text), "TargetAddress=127.0.0.1:%u,1", to->port);
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_PERM, text);
}

static bool hang_up_at_read(struct fake_conn *c)
{
    if (c->nr == 0 && c->pdu.opcode == ISCSI_OP_SCSI_CMD)
        shutdown(c->fd, SHUT_RDWR);
    return c->nr == 0 && c->pdu.opcode == ISCSI_OP_SCSI_CMD;
}

/* A temporary move is followed, and asked about again at the portal that was configured. */
static void move_and_return(fake_script *script, unsigned asked_in_all)
{
    struct fake home = { 0 }, away = { .hook = hang_up_at_read };
    struct rig r;
    static struct cmd c;

    home.arg = &away;
    fake_start(&away, NULL);
    fake_start(&home, script);
    rig_init(&r, home.port);
    rig_start(&r);
    rig_until(&r, r.ups || r.faults);
    assert_int_equal(r.ups, 1);
    cmd_read(&r, &c, 1, 1);
    rig_until(&r, c.ended);
    assert_int_equal(c.t.err, 0);
    assert_int_equal(home.conns, asked_in_all);
    assert_int_equal(away.conns, 2);
    rig_end(&r);
    fake_stop(&home);
    fake_stop(&away);
}

static void test_temporary_moves_are_followed_from_home_each_time(void **state)
{
    (void)state;
    move_and_return(moved_script, 2);
}

static void test_permanent_moves_are_remembered(void **state)
{
    (void)state;
    move_and_return(moved_for_good_script, 1);
}

static void test_redirection_in_a_circle_is_noticed(void **state)
{
    struct fake a = { 0 }, b = { 0 };
    struct rig r;

    (void)state;
    a.arg = &b;
    b.arg = &a;
    fake_start(&a, moved_script);
    fake_start(&b, moved_script);
    rig_init(&r, a.port);
    r.conf.set.login_retry_max = 100;
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(r.err, -ELOOP);
    assert_non_null(strstr(r.why, "circle"));
    assert_int_equal(a.conns + b.conns, 2);
    rig_end(&r);
    fake_stop(&a);
    fake_stop(&b);
}

static void moved_nowhere_script(struct fake_conn *c)
{
    if (fake_login_first(c))
        fake_refuse(c, ISCSI_LOGIN_MOVED_TEMP, c->f->arg);
}

static void test_redirection_to_nowhere_is_an_error(void **state)
{
    static const char *const texts[] = { NULL, "TargetAddress=", "TargetAddress=[::1:3260", "TargetAddress" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct fake f = { .arg = (void *)(uintptr_t)texts[i] };
        struct rig r;

        fake_start(&f, moved_nowhere_script);
        rig_init(&r, f.port);
        rig_start(&r);
        rig_until(&r, r.faults);
        assert_int_equal(r.err, -EPROTO);
        rig_end(&r);
        fake_stop(&f);
    }
}

/* ---- refusals ------------------------------------------------------------------------------------------- */

static atomic_uint refusal;

static void refuse_script(struct fake_conn *c)
{
    if (fake_login_first(c))
        fake_refuse(c, (uint16_t)refusal, NULL);
}

static void test_refusals_are_told_in_words_and_not_repeated(void **state)
{
    static const struct {
        uint16_t status;
        int err;
        const char *word;
    } rows[] = {
        { ISCSI_LOGIN_AUTH_FAILED, -EACCES, "0201" }, { ISCSI_LOGIN_FORBIDDEN, -EACCES, "0202" },
        { ISCSI_LOGIN_NOT_FOUND, -ENOENT, "0203" },   { ISCSI_LOGIN_REMOVED, -ENOENT, "0204" },
        { ISCSI_LOGIN_TOO_MANY, -EUSERS, "0206" },    { 0x02ee, -EPROTO, "02ee" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fake f = { 0 };
        struct rig r;

        refusal = rows[i].status;
        fake_start(&f, refuse_script);
        rig_init(&r, f.port);
        r.conf.set.login_retry_max = 50;
        rig_start(&r);
        rig_until(&r, r.faults);
        assert_int_equal(r.err, rows[i].err);
        assert_non_null(strstr(r.why, rows[i].word));
        assert_int_equal(f.conns, 1);
        rig_end(&r);
        fake_stop(&f);
    }
}

static void busy_script(struct fake_conn *c)
{
    if (c->nr == 3) {
        fake_default_script(c);
        return;
    }
    if (fake_login_first(c))
        fake_refuse(c, c->nr == 0 ? ISCSI_LOGIN_UNAVAILABLE : ISCSI_LOGIN_OUT_OF_RESOURCES, NULL);
}

static void test_a_target_that_cannot_now_is_asked_again(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, busy_script);
    rig_init(&r, f.port);
    r.conf.set.login_retry_max = 8;
    rig_start(&r);
    rig_until(&r, r.ups || r.faults);
    assert_int_equal(r.ups, 1);
    assert_int_equal(f.conns, 4);
    rig_end(&r);
    fake_stop(&f);
}

static void test_retries_of_the_first_login_end(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    refusal = ISCSI_LOGIN_UNAVAILABLE;
    fake_start(&f, refuse_script);
    rig_init(&r, f.port);
    r.conf.set.login_retry_max = 2;
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(f.conns, 3);
    assert_int_equal(r.err, -EAGAIN);
    rig_end(&r);
    fake_stop(&f);
}

static void test_nobody_listens(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, NULL);
    fake_stop(&f);
    rig_init(&r, f.port);
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(r.err, -ECONNREFUSED);
    assert_non_null(strstr(r.why, "127.0.0.1"));
    rig_end(&r);
}

static void silent_script(struct fake_conn *c)
{
    while (fake_recv(c))
        ;
}

static void test_a_target_that_says_nothing_costs_login_timeout(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, silent_script);
    rig_init(&r, f.port);
    r.conf.set.login_timeout_s = 1;
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(r.err, -ETIMEDOUT);
    rig_end(&r);
    fake_stop(&f);
}

static void test_stop_ends_a_login_under_way(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, silent_script);
    rig_init(&r, f.port);
    rig_start(&r);
    rig_until(&r, f.conns == 1);
    rig_end(&r);                            /* with a session that waits for a login response */
    rig_init(&r, f.port);
    rig_start(&r);
    rig_end(&r);                            /* while it connects */
    rig_init(&r, f.port);
    strcpy(r.conf.portal.host, "localhost");
    rig_start(&r);
    ini_sess_stop(r.s, false, rig_stopped, &r);     /* while it looks the name up */
    rig_until(&r, r.stops);
    ini_sess_free(r.s);
    r.s = NULL;
    rig_for(&r, 300);                       /* the look-up itself ends later, and puts itself away */
    rig_end(&r);
    fake_stop(&f);
}

/* ---- CHAP ----------------------------------------------------------------------------------------------- */

struct chap_case {
    unsigned accepts;                       /* digests the target knows */
    enum { BY_STATUS, BY_REJECT, BY_CLOSE, BY_PROOF, BY_PROOF_CLOSE, BY_RULES } how;
    struct chap_cred in, out;
    char first_list[64], last_list[64];
};

static bool chap_login(struct fake_conn *c, struct chap_case *x)
{
    static const uint8_t random[33] = { 7, 1, 2, 3 };
    struct chap_target t;
    char text[2048], *list;
    struct iscsi_text out;
    enum chap_step step;
    uint32_t len;

    if (!fake_login_first(c))
        return false;
    if (!memmem(c->data, c->len, "AuthMethod=CHAP", 16))
        return false;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), "AuthMethod=CHAP", 16);
    if (!fake_recv(c))
        return false;
    list = memmem(c->data, c->len, "CHAP_A=", 7);
    if (!list)
        return false;
    snprintf(x->first_list[0] ? x->last_list : x->first_list, 64, "%s", list + 7);
    if (strchr(list, ',') && x->accepts == 1u << CHAP_MD5) {
        static const char sha[] = "CHAP_A=7\0CHAP_I=9\0CHAP_C=0x0102030405060708090a0b0c0d0e0f10";

        if (x->how == BY_STATUS)
            fake_refuse(c, ISCSI_LOGIN_AUTH_FAILED, NULL);
        else if (x->how == BY_RULES)        /* a digest that was not offered */
            fake_send(c, fake_login_resp(c, false, 0, 0, 0), "CHAP_A=6,5\0CHAP_I=9\0CHAP_C=0x0102", 34);
        else if (x->how >= BY_PROOF) {      /* takes one that it does not know, as tgt does */
            fake_send(c, fake_login_resp(c, false, 0, 0, 0), sha, sizeof(sha));
            if (fake_recv(c) && x->how == BY_PROOF)
                fake_refuse(c, 0x0200, NULL);
        }
        else if (x->how == BY_REJECT)
            fake_send(c, fake_login_resp(c, false, 0, 0, 0), "CHAP_A=Reject", 14);
        return false;
    }
    chap_target_init(&t, x->accepts, random);
    len = c->len;
    iscsi_text_init(&out, text, sizeof(text));
    step = chap_target_step(&t, &x->in, 1, &x->out, (char *)c->data, len, &out);
    if (step != CHAP_CONTINUE)
        return false;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), text, out.len);
    if (!fake_recv(c))
        return false;
    iscsi_text_init(&out, text, sizeof(text));
    step = chap_target_step(&t, &x->in, 1, &x->out, (char *)c->data, c->len, &out);
    if (step != CHAP_DONE) {
        fake_refuse(c, ISCSI_LOGIN_AUTH_FAILED, NULL);
        return false;
    }
    fake_send(c, fake_login_resp(c, true, 0, 1, 0), text, out.len);
    if (!fake_recv(c))
        return false;
    return fake_login_rest(c, fake_keys, sizeof(fake_keys));
}

static bool hang_up_at_second(struct fake_conn *c)
{
    if (c->nr == 1 && c->pdu.opcode == ISCSI_OP_SCSI_CMD)
        shutdown(c->fd, SHUT_RDWR);
    return c->nr == 1 && c->pdu.opcode == ISCSI_OP_SCSI_CMD;
}

static void chap_script(struct fake_conn *c)
{
    if (chap_login(c, c->f->arg))
        fake_serve(c);
}

static void cred(struct chap_cred *c, const char *name, const char *secret)
{
    strcpy(c->name, name);
    c->secret_len = (uint32_t)strlen(secret);
    memcpy(c->secret, secret, c->secret_len);
}

static void test_chap_offers_less_to_a_target_that_refuses_the_list(void **state)
{
    (void)state;
    for (int how = BY_STATUS; how <= BY_RULES; how++) {
        struct chap_case x = { .accepts = 1u << CHAP_MD5, .how = (unsigned)how };
        struct fake f = { .arg = &x };
        struct rig r;

        cred(&x.in, "user", "secret-of-user");
        fake_start(&f, chap_script);
        rig_init(&r, f.port);
        cred(&r.conf.set.user, "user", "secret-of-user");
        rig_start(&r);
        rig_until(&r, r.ups || r.faults);
        assert_int_equal(r.ups, 1);
        assert_non_null(strchr(x.first_list, ','));
        assert_string_equal(x.last_list, "5");
        assert_int_equal(f.conns, 2);
        rig_end(&r);
        fake_stop(&f);
    }
}

static void test_mutual_chap(void **state)
{
    static const char *const secrets[] = { "secret-of-target", "another-secret-xx" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct chap_case x = { .accepts = CHAP_ALGS_ALL };
        struct fake f = { .arg = &x };
        struct rig r;

        cred(&x.in, "user", "secret-of-user");
        cred(&x.out, "target", "secret-of-target");
        fake_start(&f, chap_script);
        rig_init(&r, f.port);
        r.conf.set.login_retry_max = 9;
        cred(&r.conf.set.user, "user", "secret-of-user");
        cred(&r.conf.set.user_in, "target", secrets[i]);
        rig_start(&r);
        rig_until(&r, r.ups || r.faults);
        assert_int_equal(r.ups, i == 0);
        if (i) {
            assert_int_equal(r.err, -EACCES);
            assert_non_null(strstr(r.why, "password_in"));
        }
        assert_int_equal(f.conns, i ? 2 : 1);       /* MD5 alone could have been what it meant */
        rig_end(&r);
        fake_stop(&f);
    }
}

/* At most once, with MD5 alone, where that is allowed and is something else than what was refused. */
static void test_a_wrong_secret_is_not_tried_for_ever(void **state)
{
    static const struct {
        unsigned offers, accepts, conns;
    } rows[] = {
        { CHAP_ALGS_ALL, CHAP_ALGS_ALL, 2 },
        { CHAP_ALGS_ALL, 1u << CHAP_SHA1 | 1u << CHAP_MD5, 2 },
        { CHAP_ALGS_ALL & ~(1u << CHAP_MD5), CHAP_ALGS_ALL, 1 },
        { 1u << CHAP_MD5, CHAP_ALGS_ALL, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct chap_case x = { .accepts = rows[i].accepts };
        struct fake f = { .arg = &x };
        struct rig r;

        cred(&x.in, "user", "secret-of-user");
        fake_start(&f, chap_script);
        rig_init(&r, f.port);
        r.conf.set.login_retry_max = 9;
        r.conf.set.chap_algs = rows[i].offers;
        cred(&r.conf.set.user, "user", "secret-of-nobody");
        rig_start(&r);
        rig_until(&r, r.faults);
        assert_int_equal(r.err, -EACCES);
        assert_non_null(strstr(r.why, "0201"));
        assert_int_equal(f.conns, rows[i].conns);
        rig_end(&r);
        fake_stop(&f);
    }
}

/* The first says what is wrong, the second only that MD5 was no help. */
static void two_refusals_script(struct fake_conn *c)
{
    if (!fake_login_first(c))
        return;
    fake_send(c, fake_login_resp(c, false, 0, 0, 0), "AuthMethod=CHAP", 16);
    if (fake_recv(c))
        fake_refuse(c, c->nr ? ISCSI_LOGIN_NOT_FOUND : ISCSI_LOGIN_FORBIDDEN, NULL);
}

static void test_the_first_refusal_is_the_one_told(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, two_refusals_script);
    rig_init(&r, f.port);
    cred(&r.conf.set.user, "user", "secret-of-user");
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(f.conns, 2);
    assert_int_equal(r.err, -EACCES);
    assert_non_null(strstr(r.why, "0202"));
    rig_end(&r);
    fake_stop(&f);
}

/* What a session learned it offers after a recovery as well, at once. */
static void test_md5_alone_is_remembered_by_the_session(void **state)
{
    struct chap_case x = { .accepts = 1u << CHAP_MD5, .how = BY_PROOF };
    struct fake f = { .arg = &x, .hook = hang_up_at_second };
    static struct cmd c;
    struct rig r;

    (void)state;
    cred(&x.in, "user", "secret-of-user");
    fake_start(&f, chap_script);
    rig_init(&r, f.port);
    cred(&r.conf.set.user, "user", "secret-of-user");
    rig_start(&r);
    rig_until(&r, r.ups == 1);
    assert_int_equal(f.conns, 2);
    cmd_read(&r, &c, 0, 1);
    rig_until(&r, c.ended);
    assert_int_equal(c.t.err, 0);
    assert_int_equal(f.conns, 3);
    rig_end(&r);
    fake_stop(&f);
}

static void no_chap_script(struct fake_conn *c)
{
    if (!fake_login_first(c))
        return;
    fake_send(c, fake_login_resp(c, true, 0, 1, 0), "AuthMethod=None", 16);
    (void)fake_recv(c);
}

/* Whoever set a user wants the target to check it: a login without is not one. */
static void test_credentials_are_never_left_out_silently(void **state)
{
    struct fake f = { 0 };
    struct rig r;

    (void)state;
    fake_start(&f, no_chap_script);
    rig_init(&r, f.port);
    cred(&r.conf.set.user, "user", "secret-of-user");
    rig_start(&r);
    rig_until(&r, r.faults);
    assert_int_equal(r.err, -EACCES);
    rig_end(&r);
    fake_stop(&f);
}

/* ---- nonsense ------------------------------------------------------------------------------------------- */

static void nonsense_script(struct fake_conn *c)
{
    const uintptr_t which = (uintptr_t)c->f->arg;
    struct iscsi_pdu p;
    uint8_t noise[512];

    if (!fake_login_first(c))
        return;
    p = fake_login_resp(c, true, 0, 1, 0);
    switch (which) {
    case 0:                                 /* bytes */
        memset(noise, 0xa5, sizeof(noise));
        fake_write(c->fd, noise, sizeof(noise));
        break;
    case 1:                                 /* a stage that was not asked for */
        p.login.nsg = 3;
        fake_send(c, p, NULL, 0);
        break;
    case 2:                                 /* another's session */
        p.login.isid[3] ^= 1;
        fake_send(c, p, NULL, 0);
        break;
    case 3:                                 /* no text */
        fake_send(c, p, "nothing of the kind", 20);
        break;
    case 4:                                 /* text without an end */
        fake_send(c, p, "InitialR2T=Yes", 14);
        break;
    case 5:                                 /* another kind of PDU */
        p = fake_resp(0);
        p.itt = c->pdu.itt;
        fake_send(c, p, NULL, 0);
        break;
    case 6:                                 /* another tag */
        p.itt ^= 0x10000;
        fake_send(c, p, NULL, 0);
        break;
    case 7:                                 /* a version to come */
        p.login.version_min = 9;
        fake_send(c, p, NULL, 0);
        break;
    case 8:                                 /* C bits for ever */
        p = fake_login_resp(c, false, 0, 0, 0);
        p.login.cont = true;
        while (fake_send(c, p, "a=b", 4) && fake_recv(c))
            p.itt = c->pdu.itt;
        return;
    case 9:                                 /* no C bits, and no end either */
        do
            p = fake_login_resp(c, false, c->pdu.login.csg, 0, 0);
        while (fake_send(c, p, NULL, 0) && fake_recv(c));
        return;
    case 10:                                /* a key twice */
        fake_send(c, p, NULL, 0);
        if (fake_recv(c))
            fake_send(c, fake_login_resp(c, true, 1, 3, 0), "InitialR2T=No\0InitialR2T=No", 28);
        break;
    case 11:                                /* an answer that was not offered */
        fake_send(c, p, NULL, 0);
        if (fake_recv(c))
            fake_send(c, fake_login_resp(c, true, 1, 3, 0), "HeaderDigest=CRC32C", 20);
        break;
    case 12:                                /* thousands of questions */
        fake_send(c, p, NULL, 0);
        if (fake_recv(c)) {
            char many[8190];

            for (size_t i = 0; i < sizeof(many); i += 9)
                snprintf(many + i, 10 < sizeof(many) - i ? 10 : sizeof(many) - i, "X-%04zx=a", i / 9);
            for (size_t i = 8; i < sizeof(many); i += 9)
                many[i] = '\0';
            fake_send(c, fake_login_resp(c, false, 1, 0, 0), many, 8190 / 9 * 9);
        }
        break;
    default:                                /* no session number */
        fake_send(c, p, NULL, 0);
        c->tsih = 0;
        if (fake_recv(c))
            fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys));
        break;
    }
    (void)fake_recv(c);
}

static void test_nonsense_fails_the_login_and_nothing_else(void **state)
{
    (void)state;
    for (uintptr_t which = 0; which <= 13; which++) {
        struct fake f = { .arg = (void *)which };
        struct rig r;

        fake_start(&f, nonsense_script);
        rig_init(&r, f.port);
        rig_start(&r);
        rig_until(&r, r.faults || r.ups);
        if (r.ups)
            print_message("case %u was taken for a login\n", (unsigned)which);
        assert_int_equal(r.faults, 1);
        assert_true(r.err < 0);
        assert_true(r.why[0]);
        rig_end(&r);
        fake_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs_in_and_out),
        cmocka_unit_test(test_host_names_are_looked_up),
        cmocka_unit_test(test_unknown_names_are_named),
        cmocka_unit_test(test_keys_split_anywhere_are_joined),
        cmocka_unit_test(test_temporary_moves_are_followed_from_home_each_time),
        cmocka_unit_test(test_permanent_moves_are_remembered),
        cmocka_unit_test(test_redirection_in_a_circle_is_noticed),
        cmocka_unit_test(test_redirection_to_nowhere_is_an_error),
        cmocka_unit_test(test_refusals_are_told_in_words_and_not_repeated),
        cmocka_unit_test(test_a_target_that_cannot_now_is_asked_again),
        cmocka_unit_test(test_retries_of_the_first_login_end),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_target_that_says_nothing_costs_login_timeout),
        cmocka_unit_test(test_stop_ends_a_login_under_way),
        cmocka_unit_test(test_chap_offers_less_to_a_target_that_refuses_the_list),
        cmocka_unit_test(test_mutual_chap),
        cmocka_unit_test(test_a_wrong_secret_is_not_tried_for_ever),
        cmocka_unit_test(test_the_first_refusal_is_the_one_told),
        cmocka_unit_test(test_md5_alone_is_remembered_by_the_session),
        cmocka_unit_test(test_credentials_are_never_left_out_silently),
        cmocka_unit_test(test_nonsense_fails_the_login_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
