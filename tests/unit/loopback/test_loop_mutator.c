/*
 * Somebody writes random bytes all over the shared memory of one connection, as fast as it can, while another on the same
 * reactor moves data that are verified. Whatever the first two ends make of it, the program goes on, and the neighbour
 * notices nothing. SEED=N repeats a run as far as two threads can be repeated.
 */
#include <pthread.h>
#include "tests/unit/loopback/shm_ends.h"

#define ROUNDS    200u /* of the neighbour, all its tasks each */
#define LIVES_MIN 10u  /* connections of the victim */
#define TURNS_MAX 400u /* of one life: some mutations only make it hang */

/* ---- the mutator ----------------------------------------------------------------------------------------- */

struct mutator {
    pthread_t thread;
    pthread_mutex_t lock;
    struct loop_rings *rings; /* NULL: nothing to write on */
    volatile uint8_t *arena;
    bool stop;
    uint64_t seed, writes;
};

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void mutate(struct mutator *m, uint64_t r)
{
    struct loop_ring *ring = r & 1 ? &m->rings->to_target : &m->rings->to_initiator;
    volatile uint8_t *bytes = (volatile uint8_t *)ring;
    struct loop_slot *s = &ring->slot[(r >> 16) % LOOP_SLOTS];

    switch (r >> 1 & 31) {
    case 0: /* rare, as it ends a connection at once */
        if ((r >> 8 & 0xfff) == 0)
            atomic_store_explicit(&ring->taken, (uint32_t)(r >> 32), memory_order_relaxed);
        break;
    case 1: atomic_store_explicit(&ring->asleep, (uint32_t)(r >> 32), memory_order_relaxed); break;
    case 2: /* a slot that is next, or was */
        if ((r >> 8 & 0xff) == 0)
            atomic_store_explicit(&s->seq,
                                  (uint32_t)(r >> 16) % LOOP_SLOTS + 1 + LOOP_SLOTS * (uint32_t)(r >> 40 & 7),
                                  memory_order_relaxed);
        break;
    case 3: *(volatile uint64_t *)&s->off = r >> 40; break;
    case 4: *(volatile uint32_t *)&s->len = (uint32_t)(r >> 44); break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9: ((volatile uint8_t *)s->bhs)[(r >> 32) % ISCSI_BHS_LEN] = (uint8_t)(r >> 56); break;
    case 10: /* anywhere, numbers too, but for the first lines */
        if ((r >> 8 & 0x3f) == 0)
            bytes[128 + (r >> 16) % (sizeof(*ring) - 128)] = (uint8_t)(r >> 56);
        break;
    default: m->arena[(r >> 16) % ARENA_LEN] = (uint8_t)(r >> 56);
    }
}

static void *mutator_run(void *arg)
{
    struct mutator *m = arg;
    bool stop = false;

    while (!stop) {
        pthread_mutex_lock(&m->lock);
        for (unsigned i = 0; i < 20000 && m->rings; i++) {
            mutate(m, next_random(&m->seed));
            m->writes++;
        }
        stop = m->stop;
        pthread_mutex_unlock(&m->lock);
        sched_yield();
    }
    return NULL;
}

/* Aims it at a connection's memories, as a third who was given them; NULL: at nothing. */
static void mutator_aim(struct mutator *m, struct shm_ends *b)
{
    struct loop_handed h;

    if (b)
        loop_guest_handed(b->guest, &h);
    pthread_mutex_lock(&m->lock);
    m->rings = b ? rt_shm_mem(h.rings) : NULL;
    m->arena = b ? h.arena : NULL;
    pthread_mutex_unlock(&m->lock);
}

/* ---- the victims: they take whatever comes ---------------------------------------------------------------- */

static void victim_sent(struct dm_ctl *ctl, int err)
{
    (void)err;
    container_of(ctl, struct xtask, ctl)->ctl_out = false;
}

static void victim_respond(struct xtask *x)
{
    struct end *e = x->end;

    dm_release_task(e->dm, &x->t);
    x->ctl.pdu = (struct iscsi_pdu){
        .opcode = ISCSI_OP_SCSI_RESP, .final = true, .itt = x->t.itt, .ttt = ISCSI_TAG_RESERVED
    };
    x->ctl.sent = victim_sent;
    x->ctl.at_once = true;
    x->ctl_out = !dm_send_control(e->dm, &x->ctl);
}

static struct dm_task *victim_command(void *user, const struct iscsi_pdu *pdu, const uint8_t *ahs)
{
    const struct iscsi_pdu status = { .opcode = ISCSI_OP_SCSI_RESP };
    struct end *e = user;
    struct xtask *x = xtask_at(e, pdu->itt);
    const uint32_t len = pdu->cmd.edtl;

    (void)ahs;
    e->commands++;
    if (x->t.own.known || x->ctl_out || len > MEM_MAX || (pdu->cmd.read && pdu->cmd.write))
        return NULL;
    x->t.itt = pdu->itt;
    x->t.edtl = len;
    x->iov[0] = (struct iovec){ x->mem, len };
    x->t.in = x->t.out = (struct dm_buf){ x->iov, 1, len };
    if (pdu->cmd.write || !len)
        return &x->t;
    if (!dm_put_data(e->dm, &x->t, 0, len, true, &status))
        return &x->t;
    dm_release_task(e->dm, &x->t);
    return NULL;
}

static void victim_data(void *user, struct dm_task *task, enum dm_data what, enum dm_trouble how)
{
    struct end *e = user;
    struct xtask *x = container_of(task, struct xtask, t);

    (void)how;
    if (what == DM_DATA_PUT)
        dm_release_task(e->dm, task);
    else if (what == DM_DATA_UNSOLICITED && task->edtl)
        dm_get_data(e->dm, task, 0, task->edtl);
    else
        victim_respond(x);
}

static void victim_control(void *user, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    struct end *e = user;
    struct xtask *x = &e->task[pdu->itt % TASKS];

    e->controls++;
    if (data)
        memcpy(e->data, data, pdu->data_len);
    if (e->role == ISCSI_INITIATOR && x->t.own.known && !x->t.own.releasing && x->t.itt == pdu->itt)
        x->busy = !dm_release_task(e->dm, &x->t);
}

static void victim_released(void *user, struct dm_task *task)
{
    (void)user;
    container_of(task, struct xtask, t)->busy = false;
}

static const struct dm_events victim_events = {
    .control_notify = victim_control,
    .command_notify = victim_command,
    .data_completion_notify = victim_data,
    .task_released = victim_released,
    .reject_notify = end_reject,
    .terminate_notify = end_terminated,
    .closed = end_closed,
};

static void victim_submit(struct shm_ends *b, uint64_t r)
{
    struct end *e = &b->e.ini;
    struct xtask *x = xtask_at(e, (uint32_t)(r >> 8) % 32);
    const uint32_t len = (uint32_t)(r >> 16) % 20000;

    if (x->busy) { /* given up, now and then, as after a timeout */
        if ((r >> 48 & 63) == 0 && x->t.own.known && !x->t.own.releasing)
            x->busy = !dm_release_task(e->dm, &x->t);
        return;
    }
    if (x->ctl_out)
        return;
    x->busy = x->ctl_out = true;
    x->t.itt = (uint32_t)(x - e->task);
    x->t.edtl = len;
    x->iov[0] = (struct iovec){ x->mem, len };
    x->t.in = x->t.out = (struct dm_buf){ 0 };
    *(r & 1 ? &x->t.out : &x->t.in) = (struct dm_buf){ x->iov, 1, len };
    x->ctl.pdu = (struct iscsi_pdu){ .opcode = ISCSI_OP_SCSI_CMD, .final = true, .itt = x->t.itt };
    x->ctl.pdu.cmd.read = !(r & 1);
    x->ctl.pdu.cmd.write = r & 1;
    x->ctl.pdu.cmd.edtl = len;
    x->ctl.task = &x->t;
    x->ctl.sent = victim_sent;
    x->ctl.at_once = true;
    if (dm_send_control(e->dm, &x->ctl))
        x->ctl_out = false;
}

static void victim_start(struct shm_ends *b, struct rt *rt)
{
    memset(b, 0, sizeof(*b));
    b->e = (struct ends){ .rt = rt, .fd = -1 };
    b->e.ini = (struct end){ .role = ISCSI_INITIATOR };
    b->e.tgt = (struct end){ .role = ISCSI_TARGET };
    for (int i = 0; i < 2; i++) {
        struct end *e = i ? &b->e.ini : &b->e.tgt;

        e->rt = rt;
        e->task = calloc(TASKS, sizeof(*e->task));
        e->data = malloc(MEM_MAX);
    }
    shm_connect(b, false, false, &victim_events, &victim_events);
}

/* ---- the neighbour --------------------------------------------------------------------------------------- */

static void neighbour_round(struct shm_ends *b, unsigned round)
{
    for (uint32_t n = 0; n < TASKS / 2; n++)
        end_submit(&b->e.ini, n, (n + round) & 1, 1 + (n * 7919 + round * 104729) % 60000);
}

static bool neighbour_done(struct shm_ends *b)
{
    for (uint32_t n = 0; n < TASKS / 2; n++)
        if (b->e.ini.task[n].busy)
            return false;
    return true;
}

static void neighbour_judge(struct shm_ends *b)
{
    for (uint32_t n = 0; n < TASKS / 2; n++) {
        struct xtask *x = &b->e.ini.task[n], *y = &b->e.tgt.task[n];

        assert_int_equal(x->status, 0);
        assert_int_equal(pattern_differs(x->write ? y->mem : x->mem, n, x->t.edtl), x->t.edtl);
        if (y->t.own.known)
            end_release(&b->e.tgt, &y->t);
    }
}

static void test_neighbour_of_a_mutated_connection_notices_nothing(void **state)
{
    const char *given = getenv("SEED");
    struct mutator m = { .lock = PTHREAD_MUTEX_INITIALIZER };
    struct shm_ends *good = calloc(1, sizeof(*good)), *victim = calloc(1, sizeof(*victim));
    unsigned rounds = 0, lives = 0, turns = 0, ended = 0;
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 0x9e3779b97f4a7c15ull;

    (void)state;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    m.seed = seed ^ 0x5555;
    shm_start(good);
    victim_start(victim, good->e.rt);
    assert_int_equal(pthread_create(&m.thread, NULL, mutator_run, &m), 0);
    mutator_aim(&m, victim);
    neighbour_round(good, 0);
    while (rounds < ROUNDS || lives < LIVES_MIN) {
        rt_turn(good->e.rt, 0);
        for (int i = 0; i < 8 && !victim->e.ini.terminated; i++)
            victim_submit(victim, next_random(&seed));
        if (neighbour_done(good)) {
            neighbour_judge(good);
            neighbour_round(good, ++rounds);
        }
        if (victim->e.ini.terminated || victim->e.tgt.terminated || ++turns > TURNS_MAX) {
            ended += victim->e.ini.terminated || victim->e.tgt.terminated;
            mutator_aim(&m, NULL);
            shm_stop(victim);
            victim_start(victim, good->e.rt);
            mutator_aim(&m, victim);
            lives++;
            turns = 0;
        }
    }
    assert_int_equal(good->e.ini.terminated + good->e.tgt.terminated, 0);
    assert_int_equal(good->e.ini.rejects + good->e.tgt.rejects, 0);
    mutator_aim(&m, NULL);
    pthread_mutex_lock(&m.lock);
    m.stop = true;
    pthread_mutex_unlock(&m.lock);
    pthread_join(m.thread, NULL);
    print_message("%llu writes, %u connections, %u of them ended by it; %u rounds beside\n",
                  (unsigned long long)m.writes, lives + 1, ended, rounds);
    shm_stop(victim);
    shm_stop(good);
    free(victim);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbour_of_a_mutated_connection_notices_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
