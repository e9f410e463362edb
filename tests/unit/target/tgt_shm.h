/*
 * tgt_shm.h - scripted initiators that hand memory over and go on in it, on top of tgt_act.h
 *
 * The other end of the rings is written here once more, by hand: what a test writes there, in which order and whether it
 * makes sense is all of it in the test.
 */
#ifndef CORELANE_TESTS_TGT_SHM_H
#define CORELANE_TESTS_TGT_SHM_H

#include <fcntl.h>
#include <sys/mman.h>
#include "loopback/ring.h"
#include "tgt_act.h"

#define SHM_ARENA (16ul << 20)
#define SHM_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct shm_end {
    struct peer_end *p; /* its TCP connection, and what came last */
    struct loop_invitation inv;
    int sock;  /* -1: none */
    int fd[2]; /* rings, arena */
    struct loop_rings *rings;
    uint8_t *arena;
    uint32_t sent, got; /* slots */
    uint32_t data_at;   /* bytes of the data area given out */
    uint64_t off;       /* of what came last, in the arena */
};

/* ---- memory ---------------------------------------------------------------------------------------------- */

static inline int shm_memory(size_t len, unsigned seals, void **mem)
{
    const int fd = memfd_create("tgt-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(*mem, MAP_FAILED);
    return fd;
}

/* ---- the door -------------------------------------------------------------------------------------------- */

static inline int door_connect(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(at.sun_path, path, strlen(path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static inline void door_say(int sock, const uint8_t token[static LOOP_TOKEN_LEN], const int fd[static 2])
{
    struct loop_hello hello = { .magic = LOOP_MAGIC, .version = LOOP_VERSION };
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } ctl = { 0 };
    struct iovec iov = { &hello, sizeof(hello) };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof(ctl)
    };

    memcpy(hello.token, token, LOOP_TOKEN_LEN);
    ctl.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(2 * sizeof(int)),
                                 .cmsg_level = SOL_SOCKET,
                                 .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(&ctl.head), fd, 2 * sizeof(int));
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
        assert_int_equal(errno, EPIPE); /* the answer tells */
}

/* The target's word; -ECONNRESET: it hung up. */
static inline int door_answer(int sock)
{
    struct pollfd pfd = { .fd = sock, .events = POLLIN };
    struct loop_welcome w;

    assert_int_equal(poll(&pfd, 1, PEER_MS), 1);
    return recv(sock, &w, sizeof(w), MSG_WAITALL) == (ssize_t)sizeof(w) ? w.err : -ECONNRESET;
}

static inline bool door_ended(int sock)
{
    struct pollfd pfd = { .fd = sock, .events = POLLIN };
    char c;

    return poll(&pfd, 1, PEER_MS) == 1 && recv(sock, &c, 1, 0) <= 0;
}

/* ---- login ----------------------------------------------------------------------------------------------- */

/* The first request, with an offer of this machine's and @keys; not the last. */
static inline struct peer_end *peer_offering(struct bed *b, uint8_t isid, const char *keys)
{
    struct peer_end *p = peer_open(b);
    char offer[LOOP_TEXT_MAX], all[4096];

    p->isid[5] = isid;
    assert_true(loop_offer_encode(offer));
    snprintf(all, sizeof(all), LOGIN_NAMES "\n" LOOP_KEY "=%s%s%s", offer, *keys ? "\n" : "", keys);
    assert_int_equal(login_step(p, 1, 3, false, all), ISCSI_LOGIN_OK);
    assert_false(p->rsp.login.transit);
    return p;
}

/* The last request of a login. */
static inline void peer_finish(struct peer_end *p, const char *keys)
{
    assert_int_equal(login_step(p, 1, 3, true, keys), ISCSI_LOGIN_OK);
    assert_true(p->rsp.login.transit);
    p->tsih = p->rsp.login.tsih;
}

/* Invited, with its memories at hand. */
static inline struct shm_end *shm_invited(struct bed *b, uint8_t isid, const char *keys)
{
    struct shm_end *e = calloc(1, sizeof(*e));
    const char *value;
    void *mem;

    assert_non_null(e);
    e->p = peer_offering(b, isid, keys);
    e->sock = -1;
    value = answer_of(e->p, LOOP_KEY);
    assert_non_null(value);
    assert_null(loop_invitation_decode(&e->inv, value));
    assert_string_equal(e->inv.path, b->loop);
    e->fd[0] = shm_memory(LOOP_RINGS_LEN, SHM_SEALS, &mem);
    e->rings = mem;
    e->fd[1] = shm_memory(SHM_ARENA, SHM_SEALS, &mem);
    e->arena = mem;
    return e;
}

static inline int shm_join(struct shm_end *e)
{
    if (e->sock >= 0)
        close(e->sock);
    e->sock = door_connect(e->inv.path);
    door_say(e->sock, e->inv.token, e->fd);
    return door_answer(e->sock);
}

/* In full feature phase, in shared memory. */
static inline struct shm_end *shm_logged_in(struct bed *b, uint8_t isid, const char *keys)
{
    struct shm_end *e = shm_invited(b, isid, keys);

    assert_int_equal(shm_join(e), 0);
    peer_finish(e->p, LOOP_KEY_GO "=Yes");
    expect_answer(e->p, LOOP_KEY_GO, "Yes");
    return e;
}

/* All of it at once, as when it is killed. */
static inline void shm_close(struct shm_end *e)
{
    if (e->sock >= 0)
        close(e->sock);
    munmap(e->rings, LOOP_RINGS_LEN);
    munmap(e->arena, SHM_ARENA);
    close(e->fd[0]);
    close(e->fd[1]);
    peer_close(e->p);
    free(e);
}

/* ---- PDUs ------------------------------------------------------------------------------------------------ */

static inline void shm_wake(struct shm_end *e)
{
    atomic_thread_fence(memory_order_seq_cst); /* its partner is the sleeper's, before it looks once more */
    if (atomic_exchange(&e->rings->to_target.asleep, 0))
        (void)!send(e->sock, "", 1, MSG_NOSIGNAL);
}

/* @off, @len: as the slot has them. */
static inline void shm_push(struct shm_end *e, struct iscsi_pdu *pdu, uint64_t off, uint32_t len)
{
    struct loop_slot *slot = &e->rings->to_target.slot[e->sent % LOOP_SLOTS];

    for (int i = 0; e->sent - atomic_load(&e->rings->to_target.taken) >= LOOP_SLOTS; i++) {
        assert_true(i < PEER_MS);
        usleep(1000);
    }
    pdu->exp_stat_sn = e->p->exp_stat_sn;
    pdu->data_len = 0;
    iscsi_pdu_encode(slot->bhs, pdu);
    slot->off = off;
    slot->len = len;
    atomic_store_explicit(&slot->seq, ++e->sent, memory_order_release);
    shm_wake(e);
}

/* A command with @len bytes of the arena from @off on. */
static inline struct iscsi_pdu shm_cmd(struct shm_end *e, const uint8_t cdb[static 16], uint32_t edtl,
                                       bool read, bool write, uint64_t off)
{
    struct iscsi_pdu pdu = cmd_pdu(e->p, cdb, edtl, read, write);

    shm_push(e, &pdu, off, edtl);
    return pdu;
}

/* Any other PDU; nothing is freed of the data area, a test sends little of it. */
static inline void shm_send(struct shm_end *e, struct iscsi_pdu *pdu, const void *data, uint32_t len)
{
    const uint32_t at = e->data_at;

    assert_true(len <= LOOP_DATA_LEN - at);
    if (len)
        memcpy(e->rings->to_target.data + at, data, len);
    e->data_at += len;
    shm_push(e, pdu, len ? at : 0, len);
}

/* False: nothing came for so long. */
static inline bool shm_recv_ms(struct shm_end *e, int ms)
{
    struct loop_ring *r = &e->rings->to_initiator;
    struct loop_slot *slot = &r->slot[e->got % LOOP_SLOTS];
    struct peer_end *p = e->p;

    for (int i = 0; atomic_load_explicit(&slot->seq, memory_order_acquire) != e->got + 1; i++) {
        if (i == ms * 10)
            return false;
        usleep(100);
    }
    assert_int_equal(iscsi_pdu_decode(&p->rsp, slot->bhs, ISCSI_FROM_TARGET), ISCSI_REJECT_NONE);
    e->off = slot->off;
    p->data_len = slot->len;
    if (p->rsp.opcode != ISCSI_OP_DATA_IN && slot->len) {
        assert_true(slot->off <= LOOP_DATA_LEN && slot->len <= LOOP_DATA_LEN - slot->off);
        memcpy(p->data, r->data + slot->off, slot->len);
    }
    if (!(p->rsp.opcode == ISCSI_OP_DATA_IN && !p->rsp.resp.has_status) &&
        !(p->rsp.opcode == ISCSI_OP_NOP_IN && p->rsp.itt == ISCSI_TAG_RESERVED))
        p->exp_stat_sn = p->rsp.stat_sn + 1;
    atomic_store_explicit(&r->taken, ++e->got, memory_order_release);
    shm_wake(e); /* it may wait for room */
    return true;
}

static inline void shm_expect(struct shm_end *e, unsigned opcode)
{
    if (!shm_recv_ms(e, PEER_MS))
        fail_msg("no %s came", iscsi_opcode_name(opcode));
    if (e->p->rsp.opcode != opcode)
        fail_msg("a %s came, not a %s", iscsi_opcode_name(e->p->rsp.opcode), iscsi_opcode_name(opcode));
}

/* The end of a command: its status, with or without data. */
static inline int shm_status(struct shm_end *e, const struct iscsi_pdu *cmd)
{
    assert_true(shm_recv_ms(e, PEER_MS));
    assert_true(e->p->rsp.opcode == ISCSI_OP_SCSI_RESP ||
                (e->p->rsp.opcode == ISCSI_OP_DATA_IN && e->p->rsp.resp.has_status));
    assert_int_equal(e->p->rsp.itt, cmd->itt);
    return e->p->rsp.resp.status;
}

static inline int shm_exec(struct shm_end *e, const uint8_t cdb[static 16], uint32_t edtl, bool read,
                           bool write, uint64_t off)
{
    const struct iscsi_pdu cmd = shm_cmd(e, cdb, edtl, read, write, off);

    return shm_status(e, &cmd);
}

static inline int shm_rw10(struct shm_end *e, bool write, uint32_t lba, uint16_t blocks, uint64_t off)
{
    uint8_t cdb[16];

    cdb_rw10(cdb, write, lba, blocks);
    return shm_exec(e, cdb, blocks * T_BLOCK, !write, write, off);
}

/* Logged in, unit attentions taken. */
static inline struct shm_end *shm_ready(struct bed *b, uint8_t isid, const char *keys)
{
    static const uint8_t tur[16];
    struct shm_end *e = shm_logged_in(b, isid, keys);

    for (int i = 0; i < 8; i++) {
        if (shm_exec(e, tur, 0, false, false, 0) == SCSI_GOOD)
            return e;
    }
    fail_msg("unit attentions without end");
    return NULL;
}

#endif
