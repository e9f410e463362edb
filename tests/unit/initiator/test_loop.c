/*
 * test_loop.c - shared memory in the initiator's login: what is offered, each answer, each way that handing over fails,
 * the buffers of a session that has an arena, and targets that go over to it and are no good there
 *
 * The target is made up: it invites, takes the memories at a unix socket of its own or does not, and serves a command at a
 * time in them. Sessions with the real target are in tests/unit/lib/test_loop.c.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "case.h"
#include "initiator/ini_internal.h"
#include "loopback/ring.h"

struct plan {
    const char *answer;                     /* to the offer; NULL: none; "@": an invitation */
    bool end_early;                         /* T though it was not asked for */
    unsigned hang_up;                       /* so many connections on the offer */
    uint16_t refuse;                        /* status, on the offer */
    bool mute;                              /* no answer to the offer, on the first connection */
    enum { DOOR_NONE, DOOR_SHUT, DOOR_HANGS_UP, DOOR_ANSWERS } door;
    int32_t welcome;
    const char *go;                         /* the target's last word; NULL: none */
    unsigned vanish;                        /* so many connections instead of that word */
    unsigned breaks;                        /* so many that have gone over, at once */
    bool frozen;                            /* the first connection that has gone over, and takes nothing there */
    bool stale;                             /* the first command's answer has a number that was used before */
    char path[80];
    int listener;
    struct loop_rings *rings;               /* as the guest brought them, with the arena */
    uint8_t *arena;
    size_t arena_len;
    uint32_t taken, head;
    /* What was seen. */
    atomic_uint offers, plain, gos, hellos, rounds;
};

static char dir[40];                        /* of the door */

/* ---- the made-up target --------------------------------------------------------------------------------- */

static void door_open(struct plan *p)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const struct timeval patience = { .tv_sec = 30 };

    snprintf(p->path, sizeof(p->path), "%s/door", dir);
    p->listener = -1;
    if (p->door == DOOR_NONE)
        return;
    strcpy(a.sun_path, p->path);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    if (p->door != DOOR_SHUT)
        assert_int_equal(listen(p->listener, 4), 0);
    setsockopt(p->listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static void door_close(struct plan *p)
{
    if (p->listener >= 0)
        close(p->listener);
    unlink(p->path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/corelane-loop.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* Also when the test failed half way. */
static int teardown(void **state)
{
    char path[80];

    (void)state;
    snprintf(path, sizeof(path), "%s/door", dir);
    unlink(path);
    return rmdir(dir);
}

static void memories_drop(struct plan *p)
{
    if (p->rings)
        munmap(p->rings, LOOP_RINGS_LEN);
    if (p->arena)
        munmap(p->arena, p->arena_len);
    p->rings = NULL;
    p->arena = NULL;
}

static void *map(int fd, size_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return mem == MAP_FAILED ? NULL : mem;
}

static void memories_take(struct plan *p, int rings, int arena)
{
    struct stat st = { 0 };

    fstat(arena, &st);
    memories_drop(p);
    p->arena_len = (size_t)st.st_size;
    p->rings = map(rings, LOOP_RINGS_LEN);
    p->arena = map(arena, p->arena_len);
    p->taken = p->head = 0;
}

/* One guest: the hello with two memories, and the word about it. */
static void door_serve(struct plan *p, int *guest)
{
    struct loop_hello hello;
    struct iovec iov = { &hello, sizeof(hello) };
    char control[CMSG_SPACE(4 * sizeof(int))];
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    const struct loop_welcome welcome = { .err = p->welcome };
    struct cmsghdr *cm;

    *guest = accept(p->listener, NULL, NULL);
    if (*guest < 0)
        return;
    if (p->door == DOOR_HANGS_UP) {
        close(*guest);
        *guest = -1;
        return;
    }
    if (recvmsg(*guest, &m, MSG_WAITALL | MSG_CMSG_CLOEXEC) == sizeof(hello) && (cm = CMSG_FIRSTHDR(&m)) &&
        cm->cmsg_len == CMSG_LEN(2 * sizeof(int)) && !memcmp(hello.magic, LOOP_MAGIC, sizeof(hello.magic)) &&
        hello.token[0] == 0xa5) {
        p->hellos++;
        memories_take(p, ((int *)(void *)CMSG_DATA(cm))[0], ((int *)(void *)CMSG_DATA(cm))[1]);
    }
    for (cm = CMSG_FIRSTHDR(&m); cm; cm = CMSG_NXTHDR(&m, cm))
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= cm->cmsg_len; i++)
            close(((int *)(void *)CMSG_DATA(cm))[i]);
    fake_write(*guest, &welcome, sizeof(welcome));
}

static bool has_pair(const struct fake_conn *c, const char *start)
{
    return memmem(c->data, c->len, start, strlen(start)) != NULL;
}

static uint32_t answer_make(const struct plan *p, char *out)
{
    uint32_t n = sizeof(fake_keys);

    memcpy(out, fake_keys, n);
    if (p->answer && !strcmp(p->answer, "@"))
        n += (uint32_t)sprintf(out + n, LOOP_KEY "=1,a5000000000000000000000000000000,%s", p->path) + 1;
    else if (p->answer)
        n += (uint32_t)sprintf(out + n, LOOP_KEY "=%s", p->answer) + 1;
    return n;
}

/* The request with the operational keys is here, with an offer. Return: false when the connection is over. */
static bool offer_meet(struct fake_conn *c, struct plan *p, int *guest)
{
    char text[2048];

    if (c->pdu.login.transit)
        scene_of(c)->faults++;
    if (c->nr < p->hang_up)
        return false;
    if (p->refuse) {
        fake_refuse(c, p->refuse, NULL);
        return false;
    }
    if (p->mute && !c->nr) {
        fake_recv(c);                       /* it hangs up */
        return false;
    }
    if (!fake_send(c, fake_login_resp(c, p->end_early, 1, p->end_early ? 3 : 0, 0), text, answer_make(p, text)))
        return false;
    if (p->end_early)
        return true;
    if (p->door >= DOOR_HANGS_UP)
        door_serve(p, guest);
    if (!fake_recv(c))
        return false;
    p->gos += has_pair(c, LOOP_KEY_GO "=Yes");
    if (c->nr < p->vanish)
        return false;
    if (!c->pdu.login.transit || has_pair(c, LOOP_KEY "="))
        scene_of(c)->faults++;
    memset(text, 0, sizeof(text));
    return fake_send(c, fake_login_resp(c, true, 1, 3, 0), text,
                     p->go ? (uint32_t)snprintf(text, sizeof(text), LOOP_KEY_GO "=%s", p->go) + 1 : 0);
}

/* ---- the made-up target in shared memory ---------------------------------------------------------------- */

static void ring_send(struct fake_conn *c, int guest, struct iscsi_pdu pdu, uint64_t off, uint32_t len)
{
    struct plan *p = c->f->arg;
    struct loop_ring *r = &p->rings->to_initiator;
    struct loop_slot *s = &r->slot[p->head % LOOP_SLOTS];

    pdu.final = true;
    pdu.exp_cmd_sn = c->exp_cmd_sn;
    pdu.max_cmd_sn = c->exp_cmd_sn + c->window - 1;
    iscsi_pdu_encode(s->bhs, &pdu);
    s->off = off;
    s->len = len;
    atomic_store(&s->seq, ++p->head);
    if (atomic_exchange(&r->asleep, 0))
        (void)send(guest, "", 1, MSG_NOSIGNAL);
}

/* READ and WRITE (16) of the disk, or (10); GOOD to all others. */
static void ring_command(struct fake_conn *c, int guest, const struct iscsi_pdu *pdu, uint64_t off)
{
    struct plan *p = c->f->arg;
    const uint8_t *cdb = pdu->cmd.cdb;
    uint8_t *disk = c->f->disk + 512 * (cdb[0] & 0x80 ? load_be64(&cdb[2]) : load_be32(&cdb[2]));
    struct iscsi_pdu answer = { .opcode = ISCSI_OP_SCSI_RESP, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED };
    const struct iscsi_pdu data = { .opcode = ISCSI_OP_DATA_IN, .itt = pdu->itt, .ttt = ISCSI_TAG_RESERVED };

    if (pdu->cmd.write)
        memcpy(disk, p->arena + off, pdu->cmd.edtl);
    if (pdu->cmd.read) {
        memcpy(p->arena + off, disk, pdu->cmd.edtl);
        ring_send(c, guest, data, off, pdu->cmd.edtl);
    }
    answer.resp.has_status = true;
    answer.stat_sn = c->stat_sn;
    if (p->stale && p->rounds == 1)
        answer.stat_sn -= 3;
    else
        c->stat_sn++;
    ring_send(c, guest, answer, 0, 0);
}

/* Until the other end has closed its TCP connection. */
static void ring_serve(struct fake_conn *c, int guest)
{
    struct plan *p = c->f->arg;
    struct loop_ring *r = &p->rings->to_target;
    char byte;

    if (p->rounds++ < p->breaks)
        return;
    while (recv(c->fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        struct loop_slot *s = &r->slot[p->taken % LOOP_SLOTS];
        struct iscsi_pdu pdu, bye = { .opcode = ISCSI_OP_LOGOUT_RESP };

        if ((p->frozen && p->rounds == 1) || atomic_load(&s->seq) != p->taken + 1) {
            usleep(1000);
            continue;
        }
        if (iscsi_pdu_decode(&pdu, s->bhs, ISCSI_FROM_INITIATOR))
            return;
        c->exp_cmd_sn += !pdu.immediate;
        bye.itt = pdu.itt;
        bye.stat_sn = c->stat_sn;
        if (pdu.opcode == ISCSI_OP_SCSI_CMD)
            ring_command(c, guest, &pdu, s->off);
        else if (pdu.opcode == ISCSI_OP_LOGOUT)
            ring_send(c, guest, bye, 0, 0);
        atomic_store(&r->taken, ++p->taken);
    }
}

static void loop_script(struct fake_conn *c)
{
    struct plan *p = c->f->arg;
    int guest = -1;
    bool up;

    if (!fake_login_first(c) || !fake_send(c, fake_login_resp(c, true, 0, 1, 0), NULL, 0) || !fake_recv(c))
        return;
    if (has_pair(c, LOOP_KEY "=1,")) {
        p->offers++;
        up = offer_meet(c, p, &guest);
    } else {
        p->plain++;
        if (!c->pdu.login.transit)
            scene_of(c)->faults++;
        up = fake_send(c, fake_login_resp(c, true, 1, 3, 0), fake_keys, sizeof(fake_keys));
    }
    if (up && guest >= 0 && p->go && !strcmp(p->go, "Yes"))
        ring_serve(c, guest);
    else if (up)
        fake_serve(c);
    memories_drop(p);
    if (guest >= 0)
        close(guest);
}

static void start(struct scene *x, struct plan *p, enum ini_transport transport)
{
    door_open(p);
    scene_init(x, loop_script, NULL);
    x->f.arg = p;
    x->r.conf.set.transport = transport;
    x->r.conf.set.arena_mib = 16;
}

static void end(struct scene *x, struct plan *p)
{
    scene_end(x);
    door_close(p);
}

static void expect_over(struct scene *x, const char *transport, const char *why)
{
    struct ini_sess_info info;

    ini_sess_info(x->r.s, &info);
    assert_string_equal(info.transport, transport);
    if (!strstr(info.transport_why, why))
        print_message("why: %s\n", info.transport_why);
    assert_non_null(strstr(info.transport_why, why));
}

static void expect_tcp(struct scene *x, const char *why)
{
    expect_over(x, "tcp", why);
}

/* A login that may have shared memory ends on TCP, in one attempt, and says why. */
static void falls_back(struct plan *p, const char *why)
{
    struct scene x;

    start(&x, p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    expect_tcp(&x, why);
    still_works(&x, 1);
    end(&x, p);
}

/* One that must have it fails, after @conns connections, and says why and what to do. */
static void fails(struct plan *p, const char *why, unsigned conns)
{
    struct scene x;

    start(&x, p, INI_TRANSPORT_SHM);
    x.r.conf.set.login_retry_max = 1;
    scene_refused(&x);
    if (!strstr(x.r.why, why) || !strstr(x.r.why, "transport = shm"))
        print_message("why: %s\n", x.r.why);
    assert_non_null(strstr(x.r.why, why));
    assert_non_null(strstr(x.r.why, "transport = shm"));
    assert_non_null(strstr(x.r.why, "auto"));
    end(&x, p);
    assert_int_equal(x.f.conns, conns);
    assert_int_equal(p->plain, 0);
    assert_int_equal(p->gos, p->go != NULL ? conns : 0);
}

/* ---- answers to the offer ------------------------------------------------------------------------------- */

static const char too_long[] = "1,a5000000000000000000000000000000,/"
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
static const struct {
    const char *answer, *why;
} refusals[] = {
    { NULL, "does not know it" },
    { "NotUnderstood", "does not know it (NotUnderstood)" },
    { "Reject", "(Reject)" },
    { "Irrelevant", "(Irrelevant)" },
    { "No", "another machine" },
    { "Yes", "cannot be read" },
    { "", "cannot be read" },
    { "1,a5,/tmp/x", "cannot be read" },
    { "1,a5000000000000000000000000000000,tmp/x", "cannot be read" },
    { too_long, "cannot be read" },
    { "2,a5000000000000000000000000000000,/tmp/x", "another version" },
};

static void test_what_is_no_invitation_means_tcp(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct plan p = { .answer = refusals[i].answer };

        falls_back(&p, refusals[i].why);
        assert_int_equal(p.offers, 1);
        assert_int_equal(p.plain, 0);
        assert_int_equal(p.gos, 0);
    }
}

static void test_what_is_no_invitation_ends_a_login_that_demands_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        struct plan p = { .answer = refusals[i].answer };

        fails(&p, refusals[i].why, 1);
    }
}

static void test_a_login_that_ends_on_the_offer_is_one_over_tcp(void **state)
{
    struct plan p = { .end_early = true }, q = { .answer = "@", .end_early = true };

    (void)state;
    falls_back(&p, "ended the login");
    falls_back(&q, "ended the login");
    fails(&p, "ended the login", 1);
}

static void test_nothing_is_offered_where_tcp_is_asked_for(void **state)
{
    struct plan p = { .answer = "No" };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_TCP);
    scene_go(&x);
    expect_tcp(&x, "asked for (transport = tcp)");
    end(&x, &p);
    assert_int_equal(p.offers, 0);
    assert_int_equal(p.plain, 1);
}

/* ---- targets that do not bear the key ------------------------------------------------------------------- */

static void test_one_that_hangs_up_on_the_offer_is_asked_without(void **state)
{
    struct plan p = { .hang_up = 100 };

    (void)state;
    falls_back(&p, "no answer where shared memory is offered");
    assert_int_equal(p.offers, INI_HANGUPS_MAX);
    assert_int_equal(p.plain, 1);
}

static void test_one_broken_connection_is_no_reason_to_offer_less(void **state)
{
    struct plan p = { .hang_up = INI_HANGUPS_MAX - 1, .answer = "No" };

    (void)state;
    falls_back(&p, "another machine");
    assert_int_equal(p.offers, INI_HANGUPS_MAX);
    assert_int_equal(p.plain, 0);
}

static void test_one_that_refuses_the_login_for_it_is_asked_without(void **state)
{
    struct plan p = { .refuse = ISCSI_LOGIN_INITIATOR_ERROR };

    (void)state;
    falls_back(&p, "no answer where shared memory is offered");
    assert_int_equal(p.offers, 1);
    assert_int_equal(p.plain, 1);
}

static void test_one_that_says_nothing_to_it_is_asked_without(void **state)
{
    struct plan p = { .mute = true };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    x.r.conf.set.login_timeout_s = 5;
    scene_go(&x);
    expect_tcp(&x, "no answer where shared memory is offered");
    end(&x, &p);
    assert_int_equal(p.offers, 1);
}

static void test_a_demand_is_never_offered_less(void **state)
{
    struct plan p = { .hang_up = 100 };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_SHM);
    x.r.conf.set.login_retry_max = 3;
    scene_refused(&x);
    end(&x, &p);
    assert_int_equal(p.offers, 4);
    assert_int_equal(p.plain, 0);
}

/* ---- handing over --------------------------------------------------------------------------------------- */

static const struct {
    struct plan p;
    const char *why;
    unsigned conns;                         /* of one that may try twice */
} doors[] = {
    { { .answer = "@", .door = DOOR_NONE }, "cannot reach its socket", 1 },
    { { .answer = "@", .door = DOOR_SHUT }, "cannot reach its socket", 2 },
    { { .answer = "@", .door = DOOR_HANGS_UP }, "hung up", 2 },
    { { .answer = "@", .door = DOOR_ANSWERS, .welcome = -EPERM }, "the target refused it", 1 },
    { { .answer = "@", .door = DOOR_ANSWERS, .welcome = -ENOMEM }, "the target refused it", 2 },
    { { .answer = "@", .door = DOOR_ANSWERS, .welcome = 7 }, "makes no sense", 1 },
    { { .answer = "@", .door = DOOR_ANSWERS, .go = "No" }, "went on without it", 2 },
    { { .answer = "@", .door = DOOR_ANSWERS, .go = "NotUnderstood" }, "went on without it", 2 },
};

static void test_a_hand_over_that_fails_means_tcp(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(doors); i++) {
        struct plan p = doors[i].p;

        falls_back(&p, doors[i].why);
        assert_int_equal(p.offers, 1);
        assert_int_equal(p.hellos, p.door == DOOR_ANSWERS);
        assert_int_equal(p.gos, p.go != NULL);
    }
}

static void test_a_hand_over_that_fails_ends_a_login_that_demands_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(doors); i++) {
        struct plan p = doors[i].p;

        fails(&p, doors[i].why, doors[i].conns);
    }
}

/* The target takes the hello and is silent; the session is stopped meanwhile, at once. */
static void test_a_session_is_stopped_while_it_hands_over(void **state)
{
    struct plan p = { .answer = "@", .door = DOOR_SHUT };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    assert_int_equal(listen(p.listener, 4), 0);     /* connected by the kernel, and nobody accepts */
    rig_start(&x.r);
    rig_until(&x.r, x.r.s->loop.join);
    end(&x, &p);
    assert_int_equal(p.gos, 0);
}

/* It takes the memories and then is gone, each time: so none are handed over to it. */
static void test_one_that_vanishes_once_it_has_the_memories_is_asked_without(void **state)
{
    struct plan p = { .answer = "@", .door = DOOR_ANSWERS, .vanish = 100 };

    (void)state;
    falls_back(&p, "no answer where shared memory is offered");
    assert_int_equal(p.gos, INI_HANGUPS_MAX);
    assert_int_equal(p.plain, 1);
}

/* It takes connections and is silent at its socket, for longer than a login may take. */
static void test_a_login_too_short_to_hand_over_is_made_without(void **state)
{
    struct plan p = { .answer = "@", .door = DOOR_SHUT };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    assert_int_equal(listen(p.listener, 4), 0);     /* connected by the kernel, and nobody accepts */
    x.r.conf.set.login_timeout_s = 1;
    scene_go(&x);
    expect_tcp(&x, "no answer where shared memory is offered");
    still_works(&x, 1);
    end(&x, &p);
    assert_int_equal(p.offers, 1);
}

/* ---- in shared memory ----------------------------------------------------------------------------------- */

#define GOES_OVER .answer = "@", .door = DOOR_ANSWERS, .go = "Yes"

/* Each connection in shared memory breaks at once, when the login is done: after a few of them it is TCP, until one was of
 * use. */
static void test_shared_memory_that_leads_to_nothing_is_given_up(void **state)
{
    struct plan p = { GOES_OVER, .breaks = INI_LOOP_VAIN_MAX };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    rig_until(&x.r, x.r.ups == INI_LOOP_VAIN_MAX + 1);
    expect_tcp(&x, "broke at once");
    still_works(&x, INI_LOOP_VAIN_MAX + 1);
    assert_int_equal(p.offers, INI_LOOP_VAIN_MAX);
    assert_int_equal(p.plain, 1);
    ini_conn_lost(x.r.s, -ECONNRESET, "broken by the test");
    rig_until(&x.r, x.r.ups == INI_LOOP_VAIN_MAX + 2);
    expect_over(&x, "shm", "");
    still_works(&x, INI_LOOP_VAIN_MAX + 2);
    end(&x, &p);
}

/* An answer with an old number: on TCP a duplicate, ignored, while the command still waits; here the datamover has taken the
 * command for answered, and its memory is back. */
static void test_an_answer_with_an_old_number_ends_the_connection(void **state)
{
    struct plan p = { GOES_OVER, .stale = true };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    expect_over(&x, "shm", "");
    cmd_read(&x.r, &x.c[0], 0, 1);
    command_comes_to(&x, IS_LOST);
    end(&x, &p);
}

/* So that no stand-in of a MiB lies together any more, though nearly all of them is there. */
static void standins_spoil(struct scene *x)
{
    static void *page[8192];
    struct loop_arena *a = x->r.s->loop.arena->mem;
    const size_t block = (1u << 20) / 4096;
    const uintptr_t start = (uintptr_t)rt_shm_mem(loop_arena_shm(a));
    unsigned n = 0;

    while (n < ARRAY_SIZE(page) && (page[n] = loop_arena_get_standin(a, 4096)))
        n++;
    for (unsigned i = 0; i < n; i++) {
        if (((uintptr_t)page[i] - start) / 4096 % block)
            loop_arena_put_standin(a, page[i], 4096);
        else
            loop_arena_lose_standin(a, page[i], 4096);
    }
    assert_false(loop_arena_worn(a));
    assert_null(loop_arena_get_standin(a, 1u << 20));
}

static uint8_t bulk[1u << 20];

static void write_large(struct scene *x)
{
    struct cmd *c = &x->c[0];

    for (size_t i = 0; i < sizeof(bulk); i++)
        bulk[i] = (uint8_t)(i * 7 + (i >> 12));
    c->iov = (struct iovec){ bulk, sizeof(bulk) };
    c->t.cdb_len = (uint8_t)scsi_cdb_write(c->t.cdb, 8, sizeof(bulk) / 512, false);
    c->t.edtl = sizeof(bulk);
    c->t.out = (struct dm_buf){ &c->iov, 1, c->t.edtl };
    c->t.done = cmd_ended;
    ini_submit(x->r.s, &c->t);
    rig_until(&x->r, c->ended);
    assert_int_equal(c->t.err, 0);
    assert_int_equal(c->t.status, SCSI_GOOD);
    assert_memory_equal(x->f.disk + 8ul * 512, bulk, sizeof(bulk));
}

/* A command for which there is no stand-in, nor ever will be in that arena: it is sent again with the next. */
static void test_a_spent_arena_is_replaced(void **state)
{
    struct plan p = { GOES_OVER };
    struct ini_arena *arena;
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    expect_over(&x, "shm", "");
    still_works(&x, 1);
    arena = x.r.s->loop.arena;
    arena->out++;                           /* so that the next one cannot lie where it did */
    standins_spoil(&x);
    write_large(&x);
    assert_int_equal(x.r.ups, 2);
    expect_over(&x, "shm", "");
    assert_ptr_not_equal(x.r.s->loop.arena, arena);
    arena->out--;
    still_works(&x, 2);
    end(&x, &p);
}

/* ---- buffers -------------------------------------------------------------------------------------------- */

/* A session on TCP whose arena was handed over, so that there is one. */
static void with_arena(struct scene *x, struct plan *p)
{
    *p = (struct plan){ .answer = "@", .door = DOOR_ANSWERS, .go = "No" };
    start(x, p, INI_TRANSPORT_AUTO);
    scene_go(x);
    assert_non_null(x->r.s->loop.arena);
}

static void relogin(struct scene *x)
{
    const unsigned ups = x->r.ups;

    ini_conn_lost(x->r.s, -ECONNRESET, "broken by the test");
    rig_until(&x->r, x->r.ups > ups);
}

static void test_buffers_before_there_is_an_arena_are_plain(void **state)
{
    struct plan p = { 0 };
    struct scene x;
    void *mem;

    (void)state;
    start(&x, &p, INI_TRANSPORT_TCP);
    rig_start(&x.r);
    assert_null(ini_buf_get(x.r.s, 0));
    mem = ini_buf_get(x.r.s, 100);
    assert_int_equal((uintptr_t)mem & 4095, 0);
    memset(mem, 7, 100);
    assert_true(ini_buf_good(x.r.s, mem, 100));
    rig_until(&x.r, x.r.ups);
    assert_true(ini_buf_good(x.r.s, mem, 100));
    ini_buf_put(x.r.s, mem, 100);
    end(&x, &p);
}

static void test_buffers_come_from_the_arena(void **state)
{
    const size_t quarter = 4u << 20;
    struct plan p;
    struct scene x;
    void *plain, *mem, *large;

    (void)state;
    with_arena(&x, &p);
    plain = rt_mem_alloc(4096);
    mem = ini_buf_get(x.r.s, 4096);
    large = ini_buf_get(x.r.s, quarter + 1);
    assert_int_equal((uintptr_t)mem & 4095, 0);
    assert_true(loop_arena_shared(x.r.s->loop.arena->mem, mem, 4096));
    assert_false(loop_arena_has(x.r.s->loop.arena->mem, large));
    assert_null(ini_buf_get(x.r.s, 0));
    assert_true(ini_buf_good(x.r.s, plain, 4096));          /* on TCP none is better than another */
    x.r.s->loop.on = true;
    assert_false(ini_buf_good(x.r.s, plain, 4096));
    assert_true(ini_buf_good(x.r.s, mem, 4096));
    assert_true(ini_buf_good(x.r.s, large, quarter + 1));   /* it would be plain again */
    x.r.s->loop.on = false;
    ini_buf_put(x.r.s, large, quarter + 1);
    ini_buf_put(x.r.s, mem, 4096);
    ini_buf_put(x.r.s, plain, 4096);
    assert_int_equal(x.r.s->loop.arena->out, 0);
    end(&x, &p);
}

static void test_an_arena_without_room_is_no_reason_to_change_buffers(void **state)
{
    const size_t len = 1u << 20;
    void *mem[64];
    unsigned n = 0;
    struct plan p;
    struct scene x;

    (void)state;
    with_arena(&x, &p);
    do {
        assert_true(n < ARRAY_SIZE(mem));
        mem[n] = ini_buf_get(x.r.s, len);
        assert_non_null(mem[n]);
    } while (loop_arena_has(x.r.s->loop.arena->mem, mem[n++]));
    x.r.s->loop.on = true;
    assert_true(ini_buf_good(x.r.s, mem[n - 1], len));      /* plain, and there is nothing better */
    ini_buf_put(x.r.s, mem[0], len);
    assert_false(ini_buf_good(x.r.s, mem[n - 1], len));
    x.r.s->loop.on = false;
    for (unsigned i = 1; i < n; i++)
        ini_buf_put(x.r.s, mem[i], len);
    end(&x, &p);
}

static void test_buffers_and_arena_stay_over_a_recovery(void **state)
{
    struct ini_arena *arena;
    struct plan p;
    struct scene x;
    uint8_t *mem;

    (void)state;
    with_arena(&x, &p);
    arena = x.r.s->loop.arena;
    mem = ini_buf_get(x.r.s, 8192);
    memset(mem, 0x5a, 8192);
    relogin(&x);
    assert_ptr_equal(x.r.s->loop.arena, arena);
    assert_int_equal(p.hellos, 2);
    assert_int_equal(mem[8191], 0x5a);
    x.r.s->loop.on = true;
    assert_true(ini_buf_good(x.r.s, mem, 8192));
    x.r.s->loop.on = false;
    ini_buf_put(x.r.s, mem, 8192);
    end(&x, &p);
}

/* Wears the arena out; one buffer of it stays out. */
static uint8_t *wear(struct scene *x)
{
    struct ini_arena *a = x->r.s->loop.arena;
    const size_t len = 1u << 20;
    uint8_t *kept = NULL;

    for (unsigned i = 0; i < 64 && !loop_arena_worn(a->mem); i++) {
        uint8_t *mem = loop_arena_get(a->mem, len);

        assert_non_null(mem);
        assert_int_equal(loop_arena_revoke(a->mem, mem, len), 0);
        if (kept) {
            loop_arena_put(a->mem, mem, len);
        } else {
            kept = mem;
            a->out++;
        }
    }
    assert_true(loop_arena_worn(a->mem));
    memset(kept, 0x5a, len);
    return kept;
}

static void test_a_worn_arena_is_replaced_at_the_next_login(void **state)
{
    struct ini_arena *arena;
    struct plan p;
    struct scene x;
    uint8_t *mem;

    (void)state;
    with_arena(&x, &p);
    arena = x.r.s->loop.arena;
    mem = wear(&x);
    relogin(&x);
    assert_ptr_not_equal(x.r.s->loop.arena, arena);
    assert_int_equal(x.r.s->loop.old_nr, 1);
    assert_int_equal(mem[(1u << 20) - 1], 0x5a);
    x.r.s->loop.on = true;
    assert_false(ini_buf_good(x.r.s, mem, 1u << 20));
    x.r.s->loop.on = false;
    ini_buf_put(x.r.s, mem, 1u << 20);
    assert_int_equal(x.r.s->loop.old_nr, 0);
    still_works(&x, 2);
    end(&x, &p);
}

static void test_worn_arenas_are_bounded(void **state)
{
    uint8_t *mem[INI_ARENAS_OLD_MAX + 1];
    struct ini_arena *last;
    struct plan p;
    struct scene x;

    (void)state;
    with_arena(&x, &p);
    for (unsigned i = 0; i < INI_ARENAS_OLD_MAX; i++) {
        mem[i] = wear(&x);
        relogin(&x);
        assert_int_equal(x.r.s->loop.old_nr, i + 1);
    }
    last = x.r.s->loop.arena;
    mem[INI_ARENAS_OLD_MAX] = wear(&x);
    relogin(&x);
    assert_ptr_equal(x.r.s->loop.arena, last);
    for (unsigned i = 0; i < ARRAY_SIZE(mem); i++)
        ini_buf_put(x.r.s, mem[i], 1u << 20);
    assert_int_equal(x.r.s->loop.old_nr, 0);
    end(&x, &p);
}

/* No other can take its place: TCP, until buffers of the old ones are back. */
static void test_a_spent_arena_that_cannot_be_replaced_means_tcp(void **state)
{
    uint8_t *mem[INI_ARENAS_OLD_MAX + 1];
    struct plan p = { GOES_OVER };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    for (unsigned i = 0; i < INI_ARENAS_OLD_MAX; i++) {
        mem[i] = wear(&x);
        still_works(&x, i + 1);             /* or that connection would have been in vain */
        relogin(&x);
    }
    mem[INI_ARENAS_OLD_MAX] = ini_buf_get(x.r.s, 1u << 20);
    standins_spoil(&x);
    write_large(&x);
    assert_int_equal(x.r.ups, INI_ARENAS_OLD_MAX + 2);
    expect_tcp(&x, "used up");
    assert_int_equal(x.r.s->loop.old_nr, INI_ARENAS_OLD_MAX);
    ini_buf_put(x.r.s, mem[0], 1u << 20);
    relogin(&x);
    expect_over(&x, "shm", "");
    for (unsigned i = 1; i < ARRAY_SIZE(mem); i++)
        ini_buf_put(x.r.s, mem[i], 1u << 20);
    end(&x, &p);
}

/* A process that has been stopped answers nothing, though its memory is there and its connections are. */
static void test_the_silence_of_a_frozen_target_is_noticed(void **state)
{
    struct plan p = { GOES_OVER, .frozen = true };
    struct scene x;

    (void)state;
    start(&x, &p, INI_TRANSPORT_AUTO);
    scene_go(&x);
    ini_sess_watch(x.r.s, 100);
    cmd_write(&x.r, &x.c[0], 0, 1);
    rig_until(&x.r, x.r.downs);
    ini_sess_watch(x.r.s, 0);
    command_comes_to(&x, IS_LOST);
    assert_non_null(strstr(x.r.why, "nothing came"));
    expect_over(&x, "shm", "");
    end(&x, &p);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_what_is_no_invitation_means_tcp),
        T(test_what_is_no_invitation_ends_a_login_that_demands_one),
        T(test_a_login_that_ends_on_the_offer_is_one_over_tcp),
        T(test_nothing_is_offered_where_tcp_is_asked_for),
        T(test_one_that_hangs_up_on_the_offer_is_asked_without),
        T(test_one_broken_connection_is_no_reason_to_offer_less),
        T(test_one_that_refuses_the_login_for_it_is_asked_without),
        T(test_one_that_says_nothing_to_it_is_asked_without),
        T(test_a_demand_is_never_offered_less),
        T(test_a_hand_over_that_fails_means_tcp),
        T(test_a_hand_over_that_fails_ends_a_login_that_demands_one),
        T(test_a_session_is_stopped_while_it_hands_over),
        T(test_one_that_vanishes_once_it_has_the_memories_is_asked_without),
        T(test_a_login_too_short_to_hand_over_is_made_without),
        T(test_shared_memory_that_leads_to_nothing_is_given_up),
        T(test_an_answer_with_an_old_number_ends_the_connection),
        T(test_a_spent_arena_is_replaced),
        T(test_buffers_before_there_is_an_arena_are_plain),
        T(test_buffers_come_from_the_arena),
        T(test_an_arena_without_room_is_no_reason_to_change_buffers),
        T(test_buffers_and_arena_stay_over_a_recovery),
        T(test_a_worn_arena_is_replaced_at_the_next_login),
        T(test_worn_arenas_are_bounded),
        T(test_a_spent_arena_that_cannot_be_replaced_means_tcp),
        T(test_the_silence_of_a_frozen_target_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
